//! The time of an encoder that never ends, and the way back from it to the camera's: where each picture stands for the encoder,
//! and which run, decode time and UTC belong to what comes out. Pure: no clock, no IO.
//!
//! To the encoder all runs are one timeline. Within a run, and where one follows another without a hole (a slate that stands in
//! for the camera), time goes on as it did. After a hole it goes on at the next moment that a key frame is made at anyway, so
//! that nothing before the hole is needed to decode what is behind it. What an encoder at a constant rate puts into the space
//! between is left out when it comes back: nothing is invented for a time of which there are no pictures.

use std::collections::VecDeque;

use crate::media::clock::{micros_to_ticks, ticks_to_micros};
use crate::media::frame::{Frame, RunId, TrackKind, UtcMicros};

/// Ticks a second of the encoder's time, and of the runs that come of it.
pub const SCALE: i64 = TIMESCALE as i64;
/// The same, as configurations say it.
pub const TIMESCALE: u32 = 90_000;
/// Where a run begins, so that sound has room before it.
const FIRST: i64 = SCALE;
/// A picture that comes so much later than the one before it has ended is behind a hole, in ticks; or later than three
/// pictures last, where that is longer.
const HOLE: i64 = SCALE;
/// What follows another run within this goes on where that ended, in ticks.
const SEAM: i64 = SCALE / 2;
/// A camera's clock that differs from the host's by no more than this since the run began only ran fast or slow, in ticks: behind a
/// hole the run goes on by the host's. If it is more, clocks were set.
const DRIFT: i64 = 60 * SCALE;
/// Pictures whose capture time is kept: more than any encoder holds.
const MARKS: usize = 1024;

/// Ticks of a timescale as ticks of [`SCALE`].
pub fn to_scale(ticks: i64, timescale: u32) -> i64 {
    (i128::from(ticks) * i128::from(SCALE) / i128::from(timescale.max(1))) as i64
}

/// Where a picture stands for the encoder, in ticks of [`SCALE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// When it is decoded.
    pub decode: i64,
    /// When it is shown.
    pub presentation: i64,
    /// How long it lasts.
    pub duration: i64,
}

/// Where a picture of the encoder belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The run.
    pub run: RunId,
    /// Its presentation time in that run, in ticks of [`SCALE`].
    pub presentation: i64,
    /// When it was captured.
    pub utc: UtcMicros,
    /// For how long it may last, in ticks, where it is the last one before a hole.
    pub left: Option<i64>,
}

/// Where sound belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sound {
    /// The run.
    pub run: RunId,
    /// What is added to its decode time, in ticks of its own.
    pub offset: i64,
    /// The encoder's time at which it is heard, in ticks of [`SCALE`].
    pub heard: i64,
}

/// A stretch of the encoder's time without a hole.
#[derive(Debug)]
struct Span {
    /// Presentation time of its first picture.
    from: i64,
    /// Where its last picture ends.
    end: i64,
    /// Whether more may come.
    open: bool,
    run: RunId,
    /// From the encoder's time to the run's.
    shift: i64,
}

/// What is being read.
#[derive(Debug, Clone, Copy)]
struct Source {
    run: RunId,
    /// From the source's time to the encoder's.
    offset: i64,
    /// Decode time, in the source's ticks turned into [`SCALE`], at which its newest picture ends.
    end: i64,
    /// How long that picture lasts.
    duration: i64,
    /// When it ends.
    utc: UtcMicros,
}

/// See the module.
#[derive(Debug)]
pub struct Timeline {
    /// Distance of key frames.
    grid: i64,
    /// No picture may be decoded before this.
    next: i64,
    /// Where the newest picture ends, in decoding order.
    end: i64,
    source: Option<Source>,
    /// When the first picture of the newest run that comes of this was captured.
    began: UtcMicros,
    spans: VecDeque<Span>,
    marks: VecDeque<(i64, UtcMicros)>,
}

impl Timeline {
    /// One whose encoder makes a key frame at every multiple of `grid` ticks.
    pub const fn new(grid: i64) -> Self {
        let grid = if grid > 0 { grid } else { SCALE };
        Self {
            grid,
            next: 0,
            end: 0,
            source: None,
            began: UtcMicros(0),
            spans: VecDeque::new(),
            marks: VecDeque::new(),
        }
    }

    /// Finds a picture its place. `name_run` names a run that begins.
    pub fn place(&mut self, frame: &Frame, timescale: u32, name_run: impl FnOnce() -> RunId) -> Place {
        let decode = to_scale(frame.decode_time, timescale);
        let offset = to_scale(frame.composition_offset.into(), timescale);
        let duration = to_scale(frame.duration.into(), timescale).max(1);
        let offset_of = match self.source.filter(|source| source.run == frame.run) {
            Some(source) if decode - source.end <= HOLE.max(3 * source.duration) => source.offset,
            Some(source) => self.after_hole(decode, offset, frame.utc, decode - source.end, name_run),
            None => {
                let gap =
                    self.source.map(|source| micros_to_ticks(frame.utc.0.saturating_sub(source.utc.0), TIMESCALE));
                match gap {
                    Some(gap) if gap.abs() <= SEAM && self.is_open() => self.end + gap.max(0) - decode,
                    gap => self.after_hole(decode, offset, frame.utc, gap.unwrap_or(0), name_run),
                }
            }
        };
        let utc = frame.utc;
        self.source = Some(Source {
            run: frame.run,
            offset: offset_of,
            end: decode + duration,
            duration,
            utc: utc.plus_micros(ticks_to_micros(duration, TIMESCALE)),
        });
        let place = Place { decode: (decode + offset_of).max(self.next), presentation: 0, duration };
        // No two pictures at one moment, whatever the camera says; their distance is not known better than that.
        self.next = place.decode + 1;
        self.end = place.decode + duration;
        let place = Place { presentation: place.decode + offset, ..place };
        if let Some(span) = self.spans.back_mut() {
            span.end = span.end.max(place.presentation + duration);
        }
        self.mark(place.presentation, utc.plus_micros(ticks_to_micros(offset, TIMESCALE)));
        place
    }

    fn is_open(&self) -> bool {
        self.spans.back().is_some_and(|span| span.open)
    }

    /// Begins a stretch behind a hole of `gap` ticks. Returns what is added to the source's times.
    fn after_hole(
        &mut self,
        decode: i64,
        offset: i64,
        utc: UtcMicros,
        gap: i64,
        name_run: impl FnOnce() -> RunId,
    ) -> i64 {
        let earliest = self.next.max(self.spans.back().map_or(0, |span| span.end)) + offset.max(0);
        let from = (earliest + self.grid - 1).div_euclid(self.grid).max(1) * self.grid;
        let (run, shift) = if let Some(span) = self.spans.back_mut().filter(|span| span.open) {
            span.open = false;
            let end = span.end + span.shift;
            let by_camera = end + gap.max(0);
            // Or what the camera's clock is wrong by would add up over a run that never ends.
            let by_host = FIRST + offset + micros_to_ticks(utc.0.saturating_sub(self.began.0), TIMESCALE);
            let goes_on = if (by_host - by_camera).abs() <= DRIFT { by_host.max(end) } else { by_camera };
            (span.run, goes_on - from)
        } else {
            self.began = utc;
            (name_run(), FIRST + offset - from)
        };
        self.spans.push_back(Span { from, end: from, open: true, run, shift });
        if self.spans.len() > 64 {
            self.spans.pop_front();
        }
        from - offset - decode
    }

    fn mark(&mut self, presentation: i64, utc: UtcMicros) {
        let at = self.marks.iter().rposition(|mark| mark.0 <= presentation).map_or(0, |at| at + 1);
        self.marks.insert(at, (presentation, utc));
        if self.marks.len() > MARKS {
            self.marks.pop_front();
        }
    }

    /// Where sound belongs: that of the run that is being read. `None` for what has no pictures beside it.
    pub fn sound(&self, frame: &Frame, timescale: u32) -> Option<Sound> {
        debug_assert_eq!(frame.track, TrackKind::Audio);
        let source = self.source.filter(|source| source.run == frame.run)?;
        let span = self.spans.back().filter(|span| span.open)?;
        let heard = to_scale(frame.decode_time, timescale) + source.offset;
        let offset = i128::from(source.offset + span.shift) * i128::from(timescale) / i128::from(SCALE);
        Some(Sound { run: span.run, offset: offset as i64, heard }).filter(|sound| sound.heard >= span.from - SEAM)
    }

    /// No more pictures of this run will come; the next begin another one. Returns the run and where it ends, if there is one.
    pub fn end(&mut self) -> Option<(RunId, i64)> {
        let span = self.spans.back_mut().filter(|span| span.open)?;
        span.open = false;
        Some((span.run, span.end))
    }

    /// Room for pictures behind the end, `distance` ticks apart, that only push out what the encoder holds.
    pub fn fill(&mut self, count: i64, distance: i64) -> impl Iterator<Item = Place> + use<> {
        let duration = distance.max(1);
        let begin = self.next.max(self.spans.back().map_or(0, |span| span.end));
        self.next = begin + count * duration;
        (0..count).map(move |number| {
            let at = begin + number * duration;
            Place { decode: at, presentation: at, duration }
        })
    }

    /// Where a picture that the encoder shows at this time belongs; `None` for one that belongs nowhere.
    pub fn find(&self, presentation: i64) -> Option<Found> {
        let span = self.spans.iter().rev().find(|span| span.from <= presentation)?;
        if !span.open && presentation >= span.end {
            return None;
        }
        let mark = self.marks.iter().rev().find(|mark| mark.0 <= presentation).or_else(|| self.marks.front())?;
        let utc = mark.1.plus_micros(ticks_to_micros(presentation - mark.0, TIMESCALE));
        let left = (!span.open).then(|| span.end - presentation);
        Some(Found { run: span.run, presentation: presentation + span.shift, utc, left })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::frame::FrameKind;

    const START: i64 = 1_800_000_000_000_000;

    fn frame(run: u64, decode: i64, utc: i64) -> Frame {
        Frame {
            run: RunId(run),
            sequence: 0,
            track: TrackKind::Video,
            decode_time: decode,
            composition_offset: 0,
            duration: 40,
            kind: FrameKind::Key,
            generation: 0,
            utc: UtcMicros(START + utc),
            payload: Bytes::new(),
        }
    }

    /// Milliseconds of encoder's ticks.
    fn ms(ticks: i64) -> i64 {
        ticks / 90
    }

    fn fed(timeline: &mut Timeline, frames: impl IntoIterator<Item = Frame>, name: u64) -> Vec<i64> {
        frames.into_iter().map(|frame| ms(timeline.place(&frame, 1000, || RunId(name)).presentation)).collect()
    }

    #[test]
    fn a_cut_goes_on_at_a_key_frame_and_is_a_hole_for_those_who_read() {
        let mut timeline = Timeline::new(2 * SCALE);
        let first = fed(&mut timeline, (0..10).map(|n| frame(1, 5000 + n * 40, n * 40_000)), 100);
        assert_eq!(first[..2], [2000, 2040], "the first one stands where a key frame is made");
        assert_eq!(timeline.end(), Some((RunId(100), 2400 * 90)));
        let fill: Vec<i64> = timeline.fill(3, 40 * 90).map(|place| ms(place.presentation)).collect();
        assert_eq!(fill, [2400, 2440, 2480]);
        // A minute later.
        let second = fed(&mut timeline, (0..10).map(|n| frame(2, 7000 + n * 40, 60_000_000 + n * 40_000)), 200);
        assert_eq!(second[..2], [4000, 4040]);
        let found = timeline.find(2040 * 90).unwrap();
        assert_eq!((found.run, ms(found.presentation), found.utc.0 - START), (RunId(100), 1040, 40_000));
        assert_eq!(timeline.find(2360 * 90).unwrap().left, Some(40 * 90), "the last one lasts no longer");
        assert_eq!(timeline.find(2400 * 90), None, "what only pushed it out");
        assert_eq!(timeline.find(3999 * 90), None, "what a constant rate filled in");
        let found = timeline.find(4000 * 90).unwrap();
        assert_eq!((found.run, ms(found.presentation), found.utc.0 - START), (RunId(200), 1000, 60_000_000));
        assert_eq!(found.left, None);
    }

    #[test]
    fn a_slate_goes_on_where_the_camera_ended() {
        let mut timeline = Timeline::new(2 * SCALE);
        fed(&mut timeline, (0..10).map(|n| frame(1, n * 40, n * 40_000)), 100);
        let slate = fed(&mut timeline, (0..10).map(|n| frame(9, 70_000 + n * 100, 420_000 + n * 100_000)), 0);
        assert_eq!(slate[..2], [2420, 2520]);
        let found = timeline.find(slate[0] * 90).unwrap();
        assert_eq!(found.run, RunId(100), "one run");
    }

    #[test]
    fn a_hole_within_a_run_stays_one_run() {
        let mut timeline = Timeline::new(2 * SCALE);
        fed(&mut timeline, (0..10).map(|n| frame(1, n * 40, n * 40_000)), 100);
        let behind = fed(&mut timeline, [frame(1, 30_400, 30_400_000)], 0);
        assert_eq!(behind, [4000]);
        let found = timeline.find(4000 * 90).unwrap();
        assert_eq!((found.run, ms(found.presentation)), (RunId(100), 31_400), "thirty seconds later, as it was");
        assert_eq!(found.utc.0 - START, 30_400_000);
        assert_eq!(timeline.find(3000 * 90), None);
    }

    #[test]
    fn a_slow_camera_has_no_holes() {
        let mut timeline = Timeline::new(2 * SCALE);
        let slow = |n: i64| Frame { duration: 3000, ..frame(1, n * 3000, n * 3_000_000) };
        let times = fed(&mut timeline, (0..4).map(slow), 100);
        assert_eq!(times, [2000, 5000, 8000, 11_000]);
    }

    #[test]
    fn pictures_that_are_reordered_find_their_own_capture_time() {
        let mut timeline = Timeline::new(SCALE);
        for (n, offset) in [80, 160, 40, 0].into_iter().enumerate() {
            let decode = n as i64 * 40;
            let frame = Frame { composition_offset: offset, ..frame(1, decode, decode * 1000) };
            let place = timeline.place(&frame, 1000, || RunId(5));
            let found = timeline.find(place.presentation).unwrap();
            assert_eq!(found.utc.0 - START, (decode + i64::from(offset)) * 1000);
        }
    }

    #[test]
    fn sound_stays_beside_its_pictures() {
        let mut timeline = Timeline::new(2 * SCALE);
        fed(&mut timeline, (0..10).map(|n| frame(1, 5000 + n * 40, n * 40_000)), 100);
        let sound = Frame { track: TrackKind::Audio, ..frame(1, 5040 * 48, 40_000) };
        let place = timeline.sound(&sound, 48_000).unwrap();
        assert_eq!((place.run, ms(place.heard)), (RunId(100), 2040));
        assert_eq!((sound.decode_time + place.offset) / 48, 1040);
        assert_eq!(timeline.sound(&Frame { run: RunId(7), ..sound }, 48_000), None);
    }
}
