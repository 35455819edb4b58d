//! Where a recording begins among frames that a hub replays. A hub that is fed by another agent's starts with all that the other
//! one still holds: that may be older than the recording, or recorded already, under the name of this run or of another. No IO
//! and no clock.
//!
//! What is recorded already is told by its sequence where the run has the same name, else by the pictures that were recorded
//! last, which are looked for among those that come; only where they are not found by time: two agents may date one picture
//! differently.

use std::time::Duration;

use crate::agent::hub::Event;
use crate::agent::recognition::{Picture, is_newest};
use crate::media::frame::{Frame, RunId, TrackKind, UtcMicros};

/// What a camera sends now may be dated this much before now, microseconds.
const NOW: i64 = 3_000_000;
/// No hub replays more than this; what lies further back does so because a clock was set, and counts.
const REPLAYED: i64 = 60_000_000;
/// What is no older than this when it comes is not replayed: it is dated as it is because the clock was set back.
const FRESH: i64 = 1_000_000;
/// How long frames are kept back at most until the newest recorded picture is found among them.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What was recorded last, before this recorder began.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub(super) run: RunId,
    /// Sequence of the last frame.
    pub(super) through: u64,
    /// Where it ends.
    pub(super) to: UtcMicros,
    /// Its last pictures, the newest last; at least as many as a hub replays.
    pub(super) pictures: Vec<Picture>,
}

/// Frames below it are left out, until the first that is not.
#[derive(Debug)]
pub(super) struct Floor {
    utc: UtcMicros,
    recorded: Option<Recorded>,
    /// What came and is not decided about.
    held: Vec<Event>,
    /// The pictures among it.
    pictures: Vec<Picture>,
    /// Whether the newest recorded picture may be among those that come.
    seeks: bool,
}

/// What a floor lets through.
#[derive(Debug)]
pub(super) struct Sifted {
    /// What is to be recorded, and what goes with it.
    pub(super) events: Vec<Event>,
    /// Whether all that comes from here on is to be recorded.
    pub(super) is_over: bool,
}

impl Floor {
    /// For a recording that goes on.
    pub(super) const fn recorded(recorded: Recorded) -> Self {
        let seeks = !recorded.pictures.is_empty();
        Self { utc: recorded.to, recorded: Some(recorded), held: Vec::new(), pictures: Vec::new(), seeks }
    }

    /// For a recording that begins now.
    pub(super) const fn beginning(now: UtcMicros) -> Self {
        let utc = now.plus_micros(-NOW);
        Self { utc, recorded: None, held: Vec::new(), pictures: Vec::new(), seeks: false }
    }

    /// Whether something is kept back: [`PATIENCE`] later it is to be let go.
    pub(super) const fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes what came at `now`.
    pub(super) fn sift(&mut self, events: Vec<Event>, now: UtcMicros) -> Sifted {
        let mut recognised = None;
        for event in events {
            if let Event::Frame(frame) = &event
                && self.seeks
                && self.is_newest_recorded(frame)
            {
                recognised = Some(self.held.len());
            }
            self.held.push(event);
        }
        if self.seeks && recognised.is_none() {
            return Sifted { events: Vec::new(), is_over: false };
        }
        self.let_through(recognised, now)
    }

    /// Nothing more is waited for: what is kept back is told by its time.
    pub(super) fn let_go(&mut self, now: UtcMicros) -> Sifted {
        self.seeks = false;
        self.let_through(None, now)
    }

    fn is_newest_recorded(&mut self, frame: &Frame) -> bool {
        let Some(recorded) = &self.recorded else { return false };
        if frame.run == recorded.run {
            // Its sequence tells.
            self.seeks = false;
            return false;
        }
        if frame.track != TrackKind::Video {
            return false;
        }
        let picture = Picture::of(frame);
        if self.pictures.is_empty() {
            // What is replayed begins with what is oldest: where that is not recorded, nothing of it is.
            self.seeks = recorded.pictures.iter().any(|known| known.hash == picture.hash);
        }
        self.pictures.push(picture);
        self.seeks && is_newest(recorded.pictures.iter().rev(), self.pictures.iter().rev())
    }

    /// Everything after the frame at `recognised`, where that is known; else what is not below.
    fn let_through(&mut self, recognised: Option<usize>, now: UtcMicros) -> Sifted {
        let mut is_over = false;
        let held = std::mem::take(&mut self.held);
        let mut events = Vec::with_capacity(held.len());
        for (place, event) in held.into_iter().enumerate() {
            if let Event::Frame(frame) = &event {
                let is_below = recognised.map_or_else(|| self.is_above(frame, now), |through| place <= through);
                if is_below && !is_over {
                    continue;
                }
                is_over = true;
            }
            events.push(event);
        }
        Sifted { events, is_over: is_over || recognised.is_some() }
    }

    /// Whether a frame that came at `now` is left out.
    fn is_above(&self, frame: &Frame, now: UtcMicros) -> bool {
        if let Some(recorded) = self.recorded.as_ref().filter(|recorded| recorded.run == frame.run) {
            return frame.sequence <= recorded.through;
        }
        let below = self.utc.0.saturating_sub(frame.utc.0);
        let replayed = now.0.saturating_sub(frame.utc.0) > FRESH;
        replayed && (1..=REPLAYED).contains(&below)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::media::frame::FrameKind;

    const T: i64 = 1_800_000_000_000_000;
    const NOW: UtcMicros = UtcMicros(T + 2_000_000);

    /// Picture `n` of a camera that sends ten a second, a group of them each second, by an agent that dates it `late`.
    fn picture(run: u64, n: i64, late: i64) -> Frame {
        Frame {
            run: RunId(run),
            sequence: n.unsigned_abs(),
            track: TrackKind::Video,
            decode_time: 0,
            composition_offset: 0,
            duration: 9000,
            kind: if n % 10 == 0 { FrameKind::Key } else { FrameKind::Delta },
            generation: 0,
            utc: UtcMicros(T + n * 100_000 + late),
            payload: Bytes::from(format!("picture {n}")),
        }
    }

    fn frame(run: u64, utc: i64) -> Frame {
        Frame { utc: UtcMicros(utc), sequence: 0, ..picture(run, 0, 0) }
    }

    fn recorded(pictures: std::ops::Range<i64>) -> Floor {
        let pictures = pictures.map(|n| Picture::of(&picture(1, n, 0))).collect();
        Floor::recorded(Recorded { run: RunId(1), through: 200, to: UtcMicros(T), pictures })
    }

    fn events(frames: impl IntoIterator<Item = Frame>) -> Vec<Event> {
        frames.into_iter().map(|frame| Event::Frame(Arc::new(frame))).collect()
    }

    fn sequences(sifted: &Sifted) -> Vec<u64> {
        let frames =
            sifted.events.iter().filter_map(|event| if let Event::Frame(frame) = event { Some(frame) } else { None });
        frames.map(|frame| frame.sequence).collect()
    }

    #[test]
    fn only_what_is_replayed_is_left_out() {
        let by_time = recorded(0..0);
        assert!(by_time.is_above(&frame(2, T - 5_000_000), NOW), "recorded already, under another name");
        assert!(by_time.is_above(&frame(1, T + 5_000_000), NOW), "the sequence tells");
        assert!(!by_time.is_above(&frame(2, T), NOW));
        assert!(!by_time.is_above(&frame(2, T - 3_600_000_000), NOW), "the clock was set back by an hour");
        let back = UtcMicros(T - 30_000_000);
        assert!(!by_time.is_above(&frame(2, back.0 - 100_000), back), "the clock was set back by half a minute");
        let beginning = Floor::beginning(UtcMicros(T));
        assert!(beginning.is_above(&frame(1, T - 9_000_000), UtcMicros(T)));
        assert!(!beginning.is_above(&frame(1, T - 1_000_000), UtcMicros(T)));
    }

    #[test]
    fn what_was_recorded_is_recognised_whatever_its_name_and_date() {
        for late in [0, 6_300_000, -400_000] {
            let mut floor = recorded(100..200);
            // In pieces, as they come.
            let sifted = floor.sift(events((130..160).map(|n| picture(2, n, late))), NOW);
            assert!(sequences(&sifted).is_empty() && !sifted.is_over && floor.holds());
            let sifted = floor.sift(events((160..230).map(|n| picture(2, n, late))), NOW);
            assert_eq!(sequences(&sifted), (200..230).collect::<Vec<_>>(), "dated {late} later");
            assert!(sifted.is_over);
        }
    }

    #[test]
    fn frames_of_the_same_run_do_not_open_the_way_for_those_of_another() {
        let mut floor = recorded(100..200);
        // The agent that was recorded from is still there, and ends; what it had is recorded.
        let sifted = floor.sift(events((130..190).map(|n| picture(1, n, 0))), NOW);
        assert!(sequences(&sifted).is_empty() && !sifted.is_over && !floor.holds());
        let sifted = floor.sift(events([picture(1, 201, 0)]), NOW);
        assert!(sifted.is_over && sequences(&sifted) == [201]);
    }

    #[test]
    fn what_cannot_be_recognised_is_told_by_its_time() {
        let at = UtcMicros(T + 25_000_000);
        let floor = || {
            let mut floor = recorded(100..200);
            floor.utc = UtcMicros(T + 20_000_000);
            floor
        };
        // Another encoder: nothing is alike, and nothing is waited for.
        let other = |n| Frame { payload: Bytes::from(format!("other {n}")), ..picture(2, n, 0) };
        let sifted = floor().sift(events((150..240).map(other)), at);
        assert!(sifted.is_over && sequences(&sifted) == (200..240).collect::<Vec<_>>());
        // It begins with what was recorded, and the newest is missing.
        let mut floor = floor();
        assert!(sequences(&floor.sift(events((150..190).chain(201..240).map(|n| picture(2, n, 0))), at)).is_empty());
        let sifted = floor.let_go(at);
        assert!(sifted.is_over && sequences(&sifted) == (201..240).collect::<Vec<_>>());
    }
}
