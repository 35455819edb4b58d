//! Cuts a camera's frames into HLS segments and parts: pure, events in, segments out. Must not read the clock, must not keep
//! segments (that is [`super::window`]) and must not copy payloads.
//!
//! How it cuts. A segment ends before the first key frame at or after the wanted duration. `EXT-X-TARGETDURATION` may never
//! change, so nothing is published until the first distance between such key frames is known; then it is fixed. Where key
//! frames are further apart than that measuring takes, or come later than the target allows, segments are cut inside the GOP
//! and say so. A hole in time (lost frames, a camera that stalled) ends a segment, and the next one begins with a
//! discontinuity, as it does after another run or another configuration. `PART-TARGET` is fixed too: pictures that do not fit
//! it (a camera that slows down at night) make segments without parts, until they fit again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::agent::hub::Event;
use crate::media::clock::ticks_to_micros;
use crate::media::fmp4::writer::{Fragment, FragmentOptions, write_fragment};
use crate::media::frame::{Configuration, Frame, RunId, TrackKind, UtcMicros};

/// A key frame so little before the wanted duration, at most, counts as being there: clocks of cameras are not exact.
const EARLY_MICROS: u64 = 100_000;
/// `EXTINF`, rounded to seconds, may not exceed the target: half a second more than it, less some room for one late frame.
const OVER_TARGET_MICROS: u64 = 400_000;
/// How late a picture is taken into account to be.
const LATE_MICROS: u64 = 100_000;
/// Up to here a hole in time is left to the player; a longer one is a discontinuity.
const SMALL_HOLE_MICROS: u64 = 250_000;
/// Longer than this beyond the wanted duration is not waited for the second key frame.
const PATIENCE_MICROS: u64 = 8_000_000;
/// How far segment numbers may run ahead of the clock before the next run or configuration has to wait for it.
const NUMBERS_AHEAD: u64 = 8;
/// Segment numbers a second: more than there ever are segments, on average.
const NUMBERS_PER_SECOND: i64 = 4;
/// Where segment numbers begin: 2025-01-01T00:00:00Z. They stay within 31 bits, which some players need, until 2042.
const NUMBERS_EPOCH_MICROS: i64 = 1_735_689_600_000_000;

/// The segment number of an instant. As a stream starts with the number of its instant and then makes fewer segments than
/// there are numbers, numbers never go back over a restart, wherever it happens.
pub fn number_at(now: UtcMicros) -> u64 {
    let micros = now.0.saturating_sub(NUMBERS_EPOCH_MICROS).max(0);
    (micros / (1_000_000 / NUMBERS_PER_SECOND)) as u64
}

/// Discontinuity numbers begin here, 2026-11-01T00:00:00Z, and grow by one in ten minutes: far slower than segment numbers,
/// because hls.js keeps an array that it walks from zero to the discontinuity number at every part. Millions stop the page.
const DISCONTINUITIES_EPOCH_MICROS: i64 = 1_793_491_200_000_000;
const DISCONTINUITY_MICROS: i64 = 600_000_000;

/// The numbers that a stream goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Of the next segment.
    pub segment: u64,
    /// How many discontinuities there were (`EXT-X-DISCONTINUITY-SEQUENCE`).
    pub discontinuity: u64,
}

impl Numbers {
    /// The numbers of a stream that starts now and of which nothing is known (see [`number_at`]). More than one discontinuity
    /// in ten minutes on average uses up more numbers than time makes: those are only right where they are remembered.
    pub fn at(now: UtcMicros) -> Self {
        let micros = now.0.saturating_sub(DISCONTINUITIES_EPOCH_MICROS).max(0);
        Self { segment: number_at(now), discontinuity: (micros / DISCONTINUITY_MICROS) as u64 }
    }

    /// The larger of each: what a stream that ran before in this process must not fall behind.
    #[must_use]
    pub fn no_less_than(self, before: Self) -> Self {
        Self { segment: self.segment.max(before.segment), discontinuity: self.discontinuity.max(before.discontinuity) }
    }
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Segments end at the first key frame at or after this, microseconds.
    pub segment: u64,
    /// Low latency: the wanted duration of a part, microseconds.
    pub part: Option<u64>,
    /// Whether sound is carried.
    pub audio: bool,
}

/// What is fixed for the life of a playlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// `EXT-X-TARGETDURATION`, seconds.
    pub target: u64,
    /// `PART-TARGET`, microseconds; `None` without low latency.
    pub part_target: Option<u64>,
}

impl Timing {
    fn longest_segment(self) -> u64 {
        self.target * 1_000_000 + OVER_TARGET_MICROS
    }
}

/// A part of a segment, or the whole of one where there are no parts.
#[derive(Debug, Clone)]
pub struct Part {
    /// One `moof` and its `mdat`.
    pub fragment: Fragment,
    /// Microseconds.
    pub duration: u64,
    /// Whether it starts with a key frame.
    pub independent: bool,
}

/// A segment, whole or still being made.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Media sequence number.
    pub number: u64,
    /// Discontinuity sequence number, its own discontinuity counted.
    pub discontinuity_sequence: u64,
    /// Whether it does not go on where the one before ended.
    pub discontinuity: bool,
    /// The run of its frames.
    pub run: RunId,
    /// The configuration of its frames.
    pub configuration: Arc<Configuration>,
    /// Capture time of the first picture.
    pub utc: UtcMicros,
    /// Its parts, one after the other: their fragments make up the segment.
    pub parts: Vec<Arc<Part>>,
    /// Whether the parts are offered as such; else the only one is the whole segment.
    pub offers_parts: bool,
    /// Of all parts, microseconds.
    pub duration: u64,
    /// Pictures in all parts.
    pub pictures: u64,
}

impl Segment {
    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.fragment.len()).sum()
    }

    /// Whether nothing is in it yet.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether it starts with a key frame.
    pub fn independent(&self) -> bool {
        self.parts.first().is_some_and(|part| part.independent)
    }
}

/// What came of an event.
#[derive(Debug, Clone)]
pub enum Output {
    /// The timing is fixed; comes once, before everything else.
    Timing(Timing),
    /// A segment is being made: with its parts so far, of which the first frame of the next one is already there. Low latency
    /// only.
    Open(Arc<Segment>),
    /// A segment is whole.
    Segment(Arc<Segment>),
    /// Nothing is being made: the run has ended.
    Idle,
}

#[derive(Debug)]
struct Current {
    segment: Segment,
    /// Decode time of the segment's first picture, ticks.
    start: i64,
    /// Decode time of the first picture that is not in a part yet, ticks.
    part_start: i64,
    /// Frames that are not in a part yet; the first is a picture.
    frames: Vec<Arc<Frame>>,
    /// The newest picture.
    newest: Arc<Frame>,
}

/// The state between events.
#[derive(Debug)]
pub struct Segmenter {
    settings: Settings,
    timing: Option<Timing>,
    /// While the timing is not known: what has come of the current run and configuration, with the pictures' times.
    held: Vec<Arc<Frame>>,
    known: Option<(RunId, Arc<Configuration>)>,
    current: Option<Current>,
    next_number: u64,
    next_discontinuity: u64,
    /// The next segment begins with a discontinuity.
    broken: bool,
    /// The next segment begins at a key frame only.
    wait_for_key: bool,
    /// Pictures did not fit `PART-TARGET` just now: the next segment offers no parts.
    unfit: bool,
    fragments: u32,
}

impl Segmenter {
    /// A stream that begins with these numbers.
    pub const fn new(settings: Settings, first: Numbers) -> Self {
        Self {
            settings,
            timing: None,
            held: Vec::new(),
            known: None,
            current: None,
            next_number: first.segment,
            next_discontinuity: first.discontinuity,
            broken: false,
            wait_for_key: true,
            unfit: false,
            fragments: 0,
        }
    }

    /// What a stream that follows this one goes on with: as between any two runs, there is a discontinuity.
    pub const fn next_numbers(&self) -> Numbers {
        Numbers { segment: self.next_number, discontinuity: self.next_discontinuity + 1 }
    }

    /// Bytes of the segment that is being made, and of what waits for the timing to be known.
    pub fn making(&self) -> usize {
        let frames = self.held.iter().chain(self.current.iter().flat_map(|current| &current.frames));
        let parts = self.current.as_ref().map_or(0, |current| current.segment.len());
        parts + frames.map(|frame| frame.payload.len()).sum::<usize>()
    }

    /// Takes the next event of a hub's reader; `now` is the host's time.
    pub fn accept(&mut self, event: &Event, now: UtcMicros) -> Vec<Output> {
        let mut out = Vec::new();
        match event {
            Event::Configuration { run, configuration } => {
                self.interrupt(&mut out);
                self.known = Some((*run, configuration.clone()));
            }
            Event::Ended(_) => {
                self.interrupt(&mut out);
                self.known = None;
                out.push(Output::Idle);
            }
            Event::Lost(_) => self.interrupt(&mut out),
            Event::Frame(frame) if frame.track == TrackKind::Audio && !self.settings.audio => {}
            Event::Frame(frame) if self.timing.is_some() => self.frame(frame, now, &mut out),
            Event::Frame(frame) => {
                if !self.held.is_empty() || frame.is_video_key() {
                    self.held.push(frame.clone());
                }
                if let Some(timing) = self.measure(frame) {
                    self.timing = Some(timing);
                    out.push(Output::Timing(timing));
                    for held in std::mem::take(&mut self.held) {
                        self.frame(&held, now, &mut out);
                    }
                }
            }
        }
        out
    }

    /// What comes next does not go on from here.
    fn interrupt(&mut self, out: &mut Vec<Output>) {
        self.held.clear();
        self.wait_for_key = true;
        // Before the first segment there is nothing to break with.
        if let Some(timing) = self.timing {
            self.broken = true;
            if let Some(current) = self.current.take() {
                let video = current.segment.configuration.video.timescale;
                let end = current.newest.decode_time + i64::from(current.newest.duration);
                let longest = Self::longest(timing, &current);
                let micros = (ticks_to_micros(end - current.start, video) as u64).min(longest);
                self.finish(current, micros, out);
            }
        }
    }

    /// How long the current segment may become, microseconds, without another part.
    fn longest(timing: Timing, current: &Current) -> u64 {
        let video = current.segment.configuration.video.timescale;
        let before_part = ticks_to_micros(current.part_start - current.start, video) as u64;
        let by_part = part_limit(timing, current).map_or(u64::MAX, |target| before_part + target);
        timing.longest_segment().min(by_part)
    }

    /// The timing, once the held frames tell it.
    fn measure(&self, newest: &Frame) -> Option<Timing> {
        let timescale = self.known.as_ref()?.1.video.timescale;
        let first = self.held.first()?;
        if newest.track != TrackKind::Video {
            return None;
        }
        let wanted = self.settings.segment;
        let elapsed = ticks_to_micros(newest.decode_time - first.decode_time, timescale).max(0) as u64;
        let whole_seconds = |micros: u64| (micros + 500_000) / 1_000_000;
        let target = if newest.is_video_key() && elapsed + early(wanted) >= wanted && elapsed > 0 {
            // With room for a segment that comes out a little longer than this one.
            whole_seconds(wanted)
                .max(elapsed.saturating_sub(OVER_TARGET_MICROS - LATE_MICROS).div_ceil(1_000_000))
                .max(1)
        } else if elapsed > wanted + wanted.max(PATIENCE_MICROS) {
            wanted.div_ceil(1_000_000).max(1)
        } else {
            return None;
        };
        let part_target = self.settings.part.map(|part| part_target(part, frame_interval(&self.held, timescale)));
        Some(Timing { target, part_target })
    }

    fn frame(&mut self, frame: &Arc<Frame>, now: UtcMicros, out: &mut Vec<Output>) {
        let Some(timing) = self.timing else { return };
        if frame.track == TrackKind::Audio {
            if let Some(current) = &mut self.current {
                current.frames.push(frame.clone());
            }
            return;
        }
        if let Some(mut current) = self.current.take() {
            match decide(self.settings, timing, &current, frame) {
                Decision::Append => {
                    current.frames.push(frame.clone());
                    current.newest = frame.clone();
                    self.current = Some(current);
                    return;
                }
                Decision::ClosePart => {
                    let video = current.segment.configuration.video.timescale;
                    let micros = ticks_to_micros(frame.decode_time - current.start, video) as u64;
                    self.close_part(&mut current, micros);
                    current.part_start = frame.decode_time;
                    current.frames.push(frame.clone());
                    current.newest = frame.clone();
                    out.push(Output::Open(Arc::new(current.segment.clone())));
                    self.current = Some(current);
                    return;
                }
                Decision::Cut { micros, hole, unfit } => {
                    self.broken |= hole > SMALL_HOLE_MICROS;
                    self.unfit = unfit || !fits(timing, &current);
                    self.finish(current, micros, out);
                }
            }
        }
        self.begin(frame, now, out);
    }

    fn begin(&mut self, frame: &Arc<Frame>, now: UtcMicros, out: &mut Vec<Output>) {
        let Some((run, configuration)) = self.known.clone() else { return };
        if self.wait_for_key {
            // A camera that comes and goes many times a second must not use up the numbers of the future.
            let ahead = self.next_number > number_at(now) + NUMBERS_AHEAD && self.broken;
            if !frame.is_video_key() || ahead {
                return;
            }
        }
        self.wait_for_key = false;
        let discontinuity = std::mem::take(&mut self.broken);
        let offers_parts = self.settings.part.is_some() && !std::mem::take(&mut self.unfit);
        self.next_discontinuity += u64::from(discontinuity);
        let segment = Segment {
            number: self.next_number,
            discontinuity_sequence: self.next_discontinuity,
            discontinuity,
            run,
            configuration,
            utc: frame.utc,
            parts: Vec::new(),
            offers_parts,
            duration: 0,
            pictures: 0,
        };
        self.next_number += 1;
        if offers_parts {
            out.push(Output::Open(Arc::new(segment.clone())));
        }
        self.current = Some(Current {
            segment,
            start: frame.decode_time,
            part_start: frame.decode_time,
            frames: vec![frame.clone()],
            newest: frame.clone(),
        });
    }

    /// Puts the frames that wait into a part, so that the segment becomes `micros` long.
    fn close_part(&mut self, current: &mut Current, micros: u64) {
        let video = current.segment.configuration.video.timescale;
        let end = current.start + ((i128::from(micros) * i128::from(video) + 500_000) / 1_000_000) as i64;
        let last = u32::try_from(end - current.newest.decode_time).unwrap_or(current.newest.duration);
        self.fragments = self.fragments.wrapping_add(1);
        let options = FragmentOptions { last_video_duration: Some(last.max(1)), ..FragmentOptions::default() };
        let fragment = write_fragment(self.fragments, &current.frames, self.settings.audio, options);
        let independent = current.frames.first().is_some_and(|frame| frame.is_video_key());
        let pictures = current.frames.iter().filter(|frame| frame.track == TrackKind::Video).count();
        current.frames.clear();
        let duration = micros - current.segment.duration.min(micros);
        current.segment.parts.push(Arc::new(Part { fragment, duration, independent }));
        current.segment.duration = micros;
        current.segment.pictures += pictures as u64;
    }

    fn finish(&mut self, mut current: Current, micros: u64, out: &mut Vec<Output>) {
        self.close_part(&mut current, micros);
        out.push(Output::Segment(Arc::new(current.segment)));
    }
}

/// The longest that a part of the current segment may be, if it offers parts.
fn part_limit(timing: Timing, current: &Current) -> Option<u64> {
    timing.part_target.filter(|_| current.segment.offers_parts)
}

/// Whether pictures at the distance of those in this segment make parts of the right length.
fn fits(timing: Timing, current: &Current) -> bool {
    let Some(target) = timing.part_target else { return true };
    let video = current.segment.configuration.video.timescale;
    let shown = ticks_to_micros(current.newest.decode_time - current.start, video) as u64;
    let pictures =
        current.segment.pictures + current.frames.iter().filter(|frame| frame.track == TrackKind::Video).count() as u64;
    // Of one picture nothing is known but what it says itself.
    let interval = match pictures {
        0 | 1 => ticks_to_micros(i64::from(current.newest.duration), video) as u64,
        _ => shown / (pictures - 1),
    };
    interval > 0 && target / interval * interval * 100 >= target * 85
}

fn early(segment: u64) -> u64 {
    EARLY_MICROS.min(segment / 20)
}

/// The median distance between pictures, microseconds; 0 with less than two.
fn frame_interval(frames: &[Arc<Frame>], timescale: u32) -> u64 {
    let times: Vec<i64> =
        frames.iter().filter(|frame| frame.track == TrackKind::Video).map(|frame| frame.decode_time).collect();
    let mut steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).map_or(0, |step| ticks_to_micros(*step, timescale).max(0) as u64)
}

/// `PART-TARGET` for the wanted part duration and frame distance: parts consist of whole pictures, must not exceed it and must
/// reach 85 % of it. With many pictures in a part there is always a place to cut; with few the target follows the pictures,
/// with some room to either side for those that come early or late.
fn part_target(wanted: u64, interval: u64) -> u64 {
    if interval * 10 <= wanted {
        return wanted;
    }
    let pictures = (wanted / interval).max(1);
    pictures * interval * 100 / 92
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Append,
    /// The part ends before this picture; the segment goes on.
    ClosePart,
    /// The segment ends before this picture with this duration; the next begins `hole` microseconds later. `unfit`: because no
    /// part could be made of what there is.
    Cut {
        micros: u64,
        hole: u64,
        unfit: bool,
    },
}

/// What to do with what is there before `frame` is added.
fn decide(settings: Settings, timing: Timing, current: &Current, frame: &Frame) -> Decision {
    let timescale = current.segment.configuration.video.timescale;
    let since = |ticks: i64| u64::try_from(ticks_to_micros(frame.decode_time - ticks, timescale)).unwrap_or(0);
    let longest = Segmenter::longest(timing, current);
    let elapsed = since(current.start);
    let step = since(current.newest.decode_time);
    if frame.decode_time <= current.newest.decode_time {
        // Time went back within a run: the driver's mistake, but the playlist stays right.
        let newest = ticks_to_micros(current.newest.decode_time - current.start, timescale) as u64;
        return Decision::Cut { micros: (newest + 1).min(longest), hole: u64::MAX, unfit: false };
    }
    if elapsed > longest {
        let unfit = elapsed <= timing.longest_segment();
        return Decision::Cut { micros: longest, hole: elapsed - longest, unfit };
    }
    if frame.is_video_key() && elapsed + early(settings.segment) >= settings.segment {
        return Decision::Cut { micros: elapsed, hole: 0, unfit: false };
    }
    // How long this picture will last, as far as one can say.
    let expected = step.max(ticks_to_micros(i64::from(frame.duration), timescale) as u64);
    if elapsed + expected + (expected / 3).min(LATE_MICROS) > timing.longest_segment() {
        return Decision::Cut { micros: elapsed, hole: 0, unfit: false };
    }
    let Some(target) = part_limit(timing, current) else { return Decision::Append };
    let part = since(current.part_start);
    let enough = part * 100 >= target * 85;
    if part + expected > target {
        // Only the last part of a segment may be this short.
        return if enough { Decision::ClosePart } else { Decision::Cut { micros: elapsed, hole: 0, unfit: true } };
    }
    if enough && part + 2 * expected > target { Decision::ClosePart } else { Decision::Append }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_with_time_and_discontinuities_stay_small_enough_for_players() {
        let at = |text: &str| {
            let timestamp: jiff::Timestamp = text.parse().unwrap_or_else(|error| panic!("{error}"));
            Numbers::at(UtcMicros::from_timestamp(timestamp))
        };
        let (now, later) = (at("2026-11-21T00:00:00Z"), at("2036-11-21T00:00:00Z"));
        assert_eq!(now, Numbers { segment: 238_118_400, discontinuity: 2_880 });
        assert!(later.segment < 1 << 31 && later.discontinuity < 1 << 20, "{later:?}");
        // A clock that was set back, or a camera that came and went: what was there before wins.
        let before = Numbers { segment: now.segment - 1, discontinuity: now.discontinuity + 9 };
        assert_eq!(now.no_less_than(before), Numbers { segment: now.segment, discontinuity: now.discontinuity + 9 });
        assert_eq!(at("1970-01-01T00:00:00Z"), Numbers { segment: 0, discontinuity: 0 });
    }
}
