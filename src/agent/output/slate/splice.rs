//! Puts slate pictures in where the camera's are missing: pure, moments are handed in. Frames of the camera pass as long as they
//! come; a slate is a run of its own that ends before the camera's first key frame. UTC never goes back over either seam: a
//! camera that comes back with pictures from before the end of the slate is dated on by as much, for that run. Must not know
//! how slate pictures are made or when they are wanted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::card::RATE;
use crate::agent::hub::Event;
use crate::media::clock::{micros_to_ticks, ticks_to_micros};
use crate::media::frame::{Configuration, Frame, FrameKind, RunId, TrackKind, UtcMicros};
use crate::media::silence;

/// From one slate picture to the next.
const INTERVAL_MICROS: i64 = 1_000_000 / RATE;

/// A camera of few pictures is away when so many of them are missing.
const MISSING_PICTURES: u32 = 3;
/// However few they are.
const LONGEST_PATIENCE: Duration = Duration::from_mins(1);
/// A picture from so long before the slate, at most, is one that was held back somewhere. If it is older, clocks were set.
const MOST_HELD_BACK_MICROS: i64 = 30_000_000;

/// A picture that was captured so long before the end of the slate is as new as pictures of this camera are: a slate is counted in
/// pictures, and networks are not even.
const LATE_MICROS: i64 = 500_000;
/// What was held up on its way comes in a rush that is over sooner than this. Whoever is late even then stays late.
const RUSH: Duration = Duration::from_secs(2);

/// A slate that is shown.
#[derive(Debug)]
struct Line {
    run: RunId,
    configuration: Arc<Configuration>,
    began: Instant,
    /// UTC of its first picture.
    base: UtcMicros,
    /// Number of the next picture, counted by time.
    next: i64,
    sequence: u64,
    /// Ticks of silence so far.
    silence: i64,
    /// Since when the camera sends pictures that it made while the slate was shown.
    rush: Option<Instant>,
}

impl Line {
    /// A moment of the slate in ticks: all runs begin at one second.
    fn ticks(timescale: u32, micros: i64) -> i64 {
        i64::from(timescale) + micros_to_ticks(micros, timescale)
    }

    /// Since its beginning, in microseconds.
    fn elapsed(&self, now: Instant) -> i64 {
        i64::try_from(now.saturating_duration_since(self.began).as_micros()).unwrap_or(i64::MAX)
    }

    fn frame(&mut self, track: TrackKind, decode_time: i64, duration: u32, micros: i64, payload: Bytes) -> Frame {
        self.sequence += 1;
        Frame {
            run: self.run,
            sequence: self.sequence - 1,
            track,
            decode_time,
            composition_offset: 0,
            duration,
            kind: FrameKind::Key,
            generation: self.configuration.generation,
            utc: self.base.plus_micros(micros),
            payload,
        }
    }
}

/// Where something that was passed on ends.
#[derive(Debug, Clone, Copy)]
struct End {
    /// As it was passed on.
    utc: UtcMicros,
    /// By how many microseconds it was moved.
    shift: i64,
    /// When it was passed on.
    at: Instant,
}

/// What passes, and what is put in.
#[derive(Debug, Default)]
pub struct Splice {
    slate: Option<Line>,
    /// What the camera's frames need.
    known: Option<(RunId, Arc<Configuration>)>,
    /// By how much UTC of the camera's run is moved, in microseconds.
    shift: i64,
    /// The end of what was passed on last.
    end: Option<End>,
    /// How long the camera's newest picture lasts.
    interval: Duration,
}

impl Splice {
    /// Whether the slate is shown.
    pub const fn shows_slate(&self) -> bool {
        self.slate.is_some()
    }

    /// The configuration of the camera, once there was one.
    pub fn camera(&self) -> Option<&Arc<Configuration>> {
        self.known.as_ref().map(|(_, configuration)| configuration)
    }

    /// How long the camera may send nothing, where `after` is asked for.
    pub fn patience(&self, after: Duration) -> Duration {
        after.max((self.interval * MISSING_PICTURES).min(LONGEST_PATIENCE))
    }

    /// Takes what the camera sent; gives what passes of it.
    pub fn pass(&mut self, events: Vec<Event>, now: Instant) -> Vec<Event> {
        let mut passed = Vec::with_capacity(events.len());
        for event in events {
            match event {
                Event::Configuration { run, configuration } => {
                    if self.known.as_ref().is_none_or(|(known, _)| *known != run) {
                        self.shift = 0;
                    }
                    self.known = Some((run, configuration.clone()));
                    if self.slate.is_none() {
                        passed.push(Event::Configuration { run, configuration });
                    }
                }
                Event::Frame(frame) => {
                    if self.slate.is_some() {
                        let Some(configuration) = self.leave(&frame, now) else { continue };
                        passed.push(configuration);
                    }
                    passed.push(Event::Frame(self.dated(frame, now)));
                }
                other => {
                    if self.slate.is_none() {
                        passed.push(other);
                    }
                }
            }
        }
        passed
    }

    /// The end of the slate, if the camera can be shown from this frame on. What was captured before the slate began is no sign that the
    /// camera is back: a source hands out what it held back when its run ends. Nor is what was captured long before now a place to go
    /// on at, when it was only held up: the slate stood for that time already, and shown once more it would put all that follows
    /// behind the clock, each time.
    fn leave(&mut self, frame: &Frame, now: Instant) -> Option<Event> {
        let line = self.slate.as_mut()?;
        let utc = frame.utc.0.saturating_add(self.shift);
        if (1..=MOST_HELD_BACK_MICROS).contains(&line.base.0.saturating_sub(utc)) {
            return None;
        }
        let (run, configuration) = self.known.clone().filter(|(run, _)| *run == frame.run && frame.is_video_key())?;
        let end = line.base.plus_micros(line.next * INTERVAL_MICROS);
        // Pictures that an encoder caught up with are numbered beyond now, and the camera cannot be measured by those.
        let shown = end.min(line.base.plus_micros(line.elapsed(now)));
        let is_late = (LATE_MICROS + 1..=MOST_HELD_BACK_MICROS).contains(&shown.0.saturating_sub(utc));
        if is_late && now.saturating_duration_since(*line.rush.get_or_insert(now)) < RUSH {
            return None;
        }
        self.slate = None;
        self.shift = self.shift.max(end.0.saturating_sub(frame.utc.0));
        Some(Event::Configuration { run, configuration })
    }

    /// The frame at its time, which is taken note of.
    fn dated(&mut self, mut frame: Arc<Frame>, now: Instant) -> Arc<Frame> {
        if self.shift != 0 {
            let utc = frame.utc.plus_micros(self.shift);
            frame = Arc::new(Frame { utc, ..(*frame).clone() });
        }
        if frame.track == TrackKind::Video
            && let Some((_, configuration)) = &self.known
        {
            let lasts = ticks_to_micros(i64::from(frame.duration), configuration.video.timescale).max(0);
            self.interval = Duration::from_micros(lasts.unsigned_abs());
            self.end = Some(End { utc: frame.utc.plus_micros(lasts), shift: self.shift, at: now });
        }
        frame
    }

    /// Begins a slate; `utc` is the host's time, for one that nothing was before.
    pub fn enter(&mut self, run: RunId, configuration: Arc<Configuration>, now: Instant, utc: UtcMicros) -> Event {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        // Where the camera's time goes on; but what it was moved by comes off again, or many slates would add up.
        let goes_on = |end: End| end.utc.plus_micros(micros(now.saturating_duration_since(end.at)) - end.shift);
        let base = self.end.map_or(utc, |end| goes_on(end).min(utc).max(end.utc));
        self.slate = Some(Line {
            run,
            configuration: configuration.clone(),
            began: now,
            base,
            next: 0,
            sequence: 0,
            silence: 0,
            rush: None,
        });
        Event::Configuration { run, configuration }
    }

    /// Gives what is shown up, so that it begins anew: whoever read it reads from the start.
    pub fn begin_again(&mut self, now: Instant) {
        if let Some(line) = self.slate.take() {
            self.end = Some(End { utc: line.base.plus_micros(line.next * INTERVAL_MICROS), shift: 0, at: now });
        }
    }

    /// Puts slate pictures in, coded picture and whether it is a key frame, with silence beside them.
    pub fn put_in(&mut self, pictures: Vec<(Bytes, bool)>, now: Instant) -> Vec<Event> {
        let Some(line) = self.slate.as_mut() else { return Vec::new() };
        let elapsed = line.elapsed(now);
        let count = i64::try_from(pictures.len()).unwrap_or(0);
        // Those that waited belong to the time before now.
        let mut number = line.next.max(elapsed / INTERVAL_MICROS + 1 - count);
        let timescale = line.configuration.video.timescale;
        let mut events = Vec::with_capacity(pictures.len());
        for (payload, is_key) in pictures {
            let (from, to) = (number * INTERVAL_MICROS, (number + 1) * INTERVAL_MICROS);
            let decode_time = Line::ticks(timescale, from);
            let duration = u32::try_from(Line::ticks(timescale, to) - decode_time).unwrap_or(1);
            let kind = if is_key { FrameKind::Key } else { FrameKind::Delta };
            let frame = line.frame(TrackKind::Video, decode_time, duration, from, payload);
            events.push(Event::Frame(Arc::new(Frame { kind, ..frame })));
            number += 1;
            line.next = number;
            let Some(audio) = line.configuration.audio.clone() else { continue };
            let Some((unit, ticks)) = silence::of(&audio) else { continue };
            let scale = i64::from(audio.timescale.max(1));
            let end = micros_to_ticks(to, audio.timescale.max(1));
            while line.silence + i64::from(ticks) <= end {
                let at = line.silence;
                let micros = ticks_to_micros(at, audio.timescale);
                let frame = line.frame(TrackKind::Audio, scale + at, ticks, micros, unit.clone());
                events.push(Event::Frame(Arc::new(frame)));
                line.silence += i64::from(ticks);
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::output::fixture::{Coded, H264, coded};

    fn moved(coded: &Coded, run: u64, micros: i64) -> Vec<Event> {
        let configuration = coded.configuration.clone();
        let frames = coded.frames.iter().map(|frame| {
            let utc = frame.utc.plus_micros(micros);
            Event::Frame(Arc::new(Frame { run: RunId(run), utc, ..frame.clone() }))
        });
        std::iter::once(Event::Configuration { run: RunId(run), configuration }).chain(frames).collect()
    }

    fn frames(events: &[Event]) -> Vec<Arc<Frame>> {
        let frame = |event: &Event| if let Event::Frame(frame) = event { Some(frame.clone()) } else { None };
        events.iter().filter_map(frame).collect()
    }

    #[test]
    fn the_seams_have_no_overlap_and_the_camera_comes_back_at_a_key_frame() {
        let coded = coded(&H264, 25, 2, true);
        let began = Instant::now();
        let seconds = |seconds: u64| began + Duration::from_secs(seconds);
        let mut splice = Splice::default();
        let mut all = splice.pass(moved(&coded, 1, 0), seconds(2));
        assert_eq!(frames(&all).len(), coded.frames.len());
        all.push(splice.enter(RunId(2), coded.configuration.clone(), seconds(5), UtcMicros(i64::MAX)));
        let picture = |is_key| (Bytes::from_static(b"slate"), is_key);
        all.extend(splice.put_in(vec![picture(true)], seconds(5)));
        // The one that waited is not late, and time is not made up for in a rush.
        all.extend(splice.put_in(vec![picture(false), picture(false)], seconds(7)));
        assert!(splice.shows_slate());
        // One that was held back from before.
        let held_back = moved(&coded, 1, 3_000_000).into_iter().take(2).collect();
        assert!(splice.pass(held_back, seconds(7)).is_empty());
        // Sound, and pictures that need others, are not enough. Pictures from before the end of the slate are dated on.
        let mut back = moved(&coded, 3, 6_700_000);
        let first = back.remove(1);
        assert!(matches!(&first, Event::Frame(frame) if frame.is_video_key()));
        let deltas: Vec<Event> = back
            .iter()
            .filter(|event| !matches!(event, Event::Frame(frame) if frame.is_video_key()))
            .cloned()
            .collect();
        assert!(splice.pass(deltas, seconds(8)).is_empty());
        let back = splice.pass(moved(&coded, 3, 6_700_000), seconds(8));
        assert!(matches!(back[0], Event::Configuration { run: RunId(3), .. }) && !splice.shows_slate());
        all.extend(back);
        let frames = frames(&all);
        let pictures: Vec<_> = frames.iter().filter(|frame| frame.track == TrackKind::Video).collect();
        assert!(pictures.windows(2).all(|pair| pair[0].utc < pair[1].utc));
        let slate: Vec<_> = pictures.iter().filter(|frame| frame.run == RunId(2)).collect();
        assert_eq!(slate.len(), 3);
        assert_eq!(slate[1].utc.0 - slate[0].utc.0, 1_900_000);
        assert_eq!(slate[0].utc.0 - pictures[0].utc.0, 5_000_000);
        let silence = frames.iter().filter(|frame| frame.run == RunId(2) && frame.track == TrackKind::Audio).count();
        assert!((85..=92).contains(&silence), "{silence} units for 2.1 s");
        let back = pictures.iter().find(|frame| frame.run == RunId(3)).unwrap();
        assert_eq!(back.utc, slate[2].utc.plus_micros(INTERVAL_MICROS));
    }

    #[test]
    fn a_slate_that_was_caught_up_with_does_not_make_the_camera_late() {
        let coded = coded(&H264, 25, 1, false);
        let began = Instant::now();
        let at = |millis: u64| began + Duration::from_millis(millis);
        let mut splice = Splice::default();
        splice.pass(moved(&coded, 1, 0), at(1000));
        splice.enter(RunId(100), coded.configuration.clone(), at(3000), UtcMicros(i64::MAX));
        // The encoder stood still for two seconds; what it has made meanwhile comes one by one, and fast.
        let picture = || vec![(Bytes::from_static(b"slate"), true)];
        for millis in [3000, 5000].into_iter().chain((0..20).map(|more| 5001 + more)) {
            splice.put_in(picture(), at(millis));
        }
        let back = frames(&splice.pass(moved(&coded, 2, 5_000_000), at(5100)));
        assert!(!splice.shows_slate(), "a camera that shows what is now is back at once");
        assert_eq!(back[0].utc, coded.frames[0].utc.plus_micros(7_100_000), "behind the slate");
    }

    #[test]
    fn what_was_held_up_on_its_way_is_not_shown_behind_the_slate() {
        let coded = coded(&H264, 25, 1, false);
        let began = Instant::now();
        let at = |millis: u64| began + Duration::from_millis(millis);
        let utc = |millis: i64| coded.frames[0].utc.plus_micros(millis * 1000);
        let mut splice = Splice::default();
        let mut run = 0;
        // A camera that is away from this second on, and a slate up to that one, in milliseconds.
        let mut show_slate = |splice: &mut Splice, from: u64, to: u64| {
            if !splice.shows_slate() {
                run += 100;
                splice.enter(RunId(run), coded.configuration.clone(), at(from), UtcMicros(i64::MAX));
            }
            for millis in (from..to).step_by(100) {
                splice.put_in(vec![(Bytes::from_static(b"slate"), true)], at(millis));
            }
        };
        assert_eq!(splice.pass(moved(&coded, 1, 0), at(1000)).len(), 26);
        show_slate(&mut splice, 3000, 6000);
        // Three seconds come at once: what they show the slate stood for.
        for second in [3, 4, 5] {
            assert!(splice.pass(moved(&coded, 1, second * 1_000_000), at(6000)).is_empty(), "{second}");
        }
        show_slate(&mut splice, 6000, 6200);
        let back = frames(&splice.pass(moved(&coded, 1, 6_000_000), at(6200)));
        assert!(!splice.shows_slate() && back[0].utc == utc(6200), "of now, dated on by what a slate picture lasts");
        // One that stays late is shown even so, behind the slate.
        show_slate(&mut splice, 9000, 12_000);
        assert!(splice.pass(moved(&coded, 2, 10_500_000), at(12_000)).is_empty());
        show_slate(&mut splice, 12_000, 14_000);
        let back = frames(&splice.pass(moved(&coded, 2, 11_500_000), at(14_000)));
        assert!((14_000..15_000).any(|millis| back[0].utc == utc(millis)), "{:?}", back[0].utc);
        // What it was dated on by does not stay.
        show_slate(&mut splice, 18_000, 18_100);
        let back = frames(&splice.pass(moved(&coded, 3, 19_000_000), at(18_100)));
        assert_eq!(back[0].utc, utc(19_000));
    }
}
