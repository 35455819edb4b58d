//! Where a frame stands in the clip: by UTC from the first frame on, whatever runs and clocks do. Must not write.

use std::sync::Arc;

use super::{ClipWriter, DEADLINE_REACHED};
use crate::archive::cut::to_micros;
use crate::archive::description::ClipState;
use crate::media::frame::{Configuration, Frame, RunId, TrackKind, UtcMicros};

/// Sound of a new run that begins this much before the end of the sound there is counts as following it, microseconds.
const SOUND_OVERLAP: i64 = 1000;

/// Where the frames of one run stand in the clip.
#[derive(Debug, Clone)]
pub(super) struct Anchor {
    pub(super) run: RunId,
    pub(super) configuration: Arc<Configuration>,
    /// Clip time minus media time of the run, microseconds; `None` until its first picture tells.
    pub(super) shift: Option<i64>,
}

impl ClipWriter {
    /// The frame with its time in the clip; `None` when it has none. Ends the clip at its deadline.
    pub(super) fn place(&mut self, frame: &Frame) -> Option<Frame> {
        let anchor = self.anchor.clone().filter(|anchor| anchor.run == frame.run)?;
        if self.resume.is_some_and(|(run, through)| run == frame.run && frame.sequence <= through) {
            return None;
        }
        let timescale = i64::from(anchor.configuration.track(frame.track)?.timescale.max(1));
        let media = to_micros(frame.decode_time, timescale);
        let video = frame.track == TrackKind::Video;
        let shift = match anchor.shift {
            Some(shift) => shift,
            None if video => {
                let shift = self.begin_run(frame.utc) - media;
                self.anchor = Some(Anchor { shift: Some(shift), ..anchor });
                shift
            }
            // Sound that goes on where an earlier writer was: UTC tells its place.
            None if self.resume.is_some_and(|(run, _)| run == frame.run) => {
                frame.utc.0 - self.state.as_ref()?.start.0 - media
            }
            // Sound before the first picture of a run.
            None => return None,
        };
        let at = media + shift;
        let end = at + to_micros(frame.duration.into(), timescale);
        if video {
            if at >= self.duration {
                self.finish(DEADLINE_REACHED);
                return None;
            }
            self.heard(at);
            self.taken.0 = self.taken.0.max(end);
        } else {
            if at < self.taken.1 - SOUND_OVERLAP || at < 0 {
                return None;
            }
            self.taken.1 = end;
        }
        Some(moved(frame, timescale, shift))
    }

    /// Where in the clip a run begins whose first picture was captured at `utc`.
    fn begin_run(&mut self, utc: UtcMicros) -> i64 {
        let (from, duration) = (self.taken.0, self.duration);
        let Some(state) = &mut self.state else {
            let deadline = utc.plus_micros(duration);
            self.state = Some(ClipState { start: utc, deadline, parts: vec![], gaps: vec![], completion: None });
            self.unsaved = true;
            return 0;
        };
        if std::mem::take(&mut self.stepped) {
            // The clip's time goes on; the host's clock says something else now.
            let start = utc.plus_micros(-from);
            let step = start.0 - state.start.0;
            state.start = start;
            state.deadline = start.plus_micros(duration);
            for part in &mut state.parts {
                part.start = part.start.plus_micros(step);
                part.end = part.end.map(|end| end.plus_micros(step));
            }
            for gap in &mut state.gaps {
                (gap.from, gap.to) = (gap.from.plus_micros(step), gap.to.plus_micros(step));
            }
            self.unsaved = true;
        }
        // Never before what is there already: two runs may overlap by a little.
        (utc.0 - state.start.0).max(from)
    }
}

/// The frame `shift` microseconds later. Rounded to the nearest tick, the same for all frames of a track, so that distances stay
/// exact.
pub(super) fn moved(frame: &Frame, timescale: i64, shift: i64) -> Frame {
    let ticks = (i128::from(shift) * i128::from(timescale) + 500_000).div_euclid(1_000_000);
    let decode_time = frame.decode_time + i64::try_from(ticks).unwrap_or(0);
    Frame { decode_time: decode_time.max(0), ..frame.clone() }
}
