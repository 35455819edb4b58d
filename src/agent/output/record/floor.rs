//! Where a recording begins among frames that a hub replays. A hub that is fed by another agent's starts with all that the other
//! one still holds: that may be older than the recording, or recorded already under the name of another run. Pure.

use crate::media::frame::{Frame, RunId, UtcMicros};

/// What a camera sends now may be dated this much before now, microseconds.
const NOW: i64 = 3_000_000;
/// No hub replays more than this; what lies further back does so because a clock was set, and counts.
const REPLAYED: i64 = 60_000_000;
/// What is no older than this when it comes is not replayed: it is dated as it is because the clock was set back.
const FRESH: i64 = 1_000_000;

/// Frames below it are left out, until the first that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Floor {
    utc: UtcMicros,
    /// Frames of this run are told by their sequence, not by their time.
    except: Option<RunId>,
}

impl Floor {
    /// For a recording that was recorded up to `to`, last in run `run`.
    pub(super) const fn recorded(run: RunId, to: UtcMicros) -> Self {
        Self { utc: to, except: Some(run) }
    }

    /// For a recording that begins now.
    pub(super) const fn beginning(now: UtcMicros) -> Self {
        Self { utc: now.plus_micros(-NOW), except: None }
    }

    /// Whether a frame that came at `now` is left out.
    pub(super) fn is_above(self, frame: &Frame, now: UtcMicros) -> bool {
        let below = self.utc.0.saturating_sub(frame.utc.0);
        let replayed = now.0.saturating_sub(frame.utc.0) > FRESH;
        Some(frame.run) != self.except && replayed && (1..=REPLAYED).contains(&below)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::frame::{FrameKind, TrackKind};

    fn frame(run: u64, utc: i64) -> Frame {
        Frame {
            run: RunId(run),
            sequence: 0,
            track: TrackKind::Video,
            decode_time: 0,
            composition_offset: 0,
            duration: 3600,
            kind: FrameKind::Key,
            generation: 0,
            utc: UtcMicros(utc),
            payload: Bytes::new(),
        }
    }

    #[test]
    fn only_what_is_replayed_is_left_out() {
        const T: i64 = 1_800_000_000_000_000;
        const NOW: UtcMicros = UtcMicros(T + 2_000_000);
        let recorded = Floor::recorded(RunId(1), UtcMicros(T));
        assert!(recorded.is_above(&frame(2, T - 5_000_000), NOW), "recorded already, under another name");
        assert!(!recorded.is_above(&frame(1, T - 5_000_000), NOW), "the sequence tells");
        assert!(!recorded.is_above(&frame(2, T), NOW));
        assert!(!recorded.is_above(&frame(2, T - 3_600_000_000), NOW), "the clock was set back by an hour");
        let back = UtcMicros(T - 30_000_000);
        assert!(!recorded.is_above(&frame(2, back.0 - 100_000), back), "the clock was set back by half a minute");
        let beginning = Floor::beginning(UtcMicros(T));
        assert!(beginning.is_above(&frame(1, T - 9_000_000), UtcMicros(T)));
        assert!(!beginning.is_above(&frame(1, T - 1_000_000), UtcMicros(T)));
    }
}
