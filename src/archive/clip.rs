//! Records a clip: ONE MP4 of a fixed length, counted from its first frame, whatever the camera does meanwhile. While it is
//! recorded it is a fragmented file behind a placeholder, so that a kill takes a second at most; at its end a full index is
//! appended and the placeholder becomes the header of one media data box around everything before (a "hybrid" MP4), so that
//! every player seeks at once. Blocks on the disk.
//!
//! - Time runs by UTC from the first frame: where the camera is gone, the last picture stands, and 90 minutes stay 90. A
//!   stepped clock moves start and deadline with it.
//! - A changed codec or size begins `clip-2.mp4`; the parts together last as long as was asked for.
//! - What must survive a restart is in `recording.json`; the program goes on in the same file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ArchiveError;
use super::clip_part::{Part, PartEnd};
use super::cut::{Cutter, Input, Rules};
use super::description::ClipState;
use super::index::RECORDER_DOWN;
use super::recording::RecordingIndex;
use crate::media::frame::{Configuration, RunId, UtcMicros};

mod placing;
mod writing;

use placing::Anchor;

/// Reason of a run's end after which UTC is another: the clip's time goes on, its clock moves.
const CLOCK_STEPPED: &str = "ClockStepped";
/// A clip that reached its length.
pub const DEADLINE_REACHED: &str = "DeadlineReached";
/// A clip that somebody ended.
pub const STOPPED: &str = "Stopped";
/// Frames may still be on the way when the deadline is over, microseconds.
const GRACE: i64 = 1_000_000;
/// The one writer of a clip.
#[derive(Debug)]
pub struct ClipWriter {
    index: Arc<RecordingIndex>,
    duration: i64,
    cutter: Cutter,
    /// What of the clip is in `recording.json`; `None` before its first frame.
    state: Option<ClipState>,
    /// `recording.json` is behind.
    unsaved: bool,
    /// The run whose frames are being taken.
    anchor: Option<Anchor>,
    /// Clip time up to which pictures and sound have been taken, microseconds: what would overlap is moved or left out.
    taken: (i64, i64),
    /// The run and configuration of what is being written.
    writing: Option<(RunId, Arc<Configuration>)>,
    part: Option<Part>,
    /// Clip time up to which pictures are written, microseconds.
    position: i64,
    /// Clip time at which `part` begins.
    part_from: i64,
    /// Since when nothing has come, as clip time, and why.
    gap: Option<(i64, String)>,
    /// The clip goes on after this without regard to UTC.
    stepped: bool,
    finished: Option<&'static str>,
    synced: Instant,
    /// What an earlier writer had, run and sequence.
    resume: Option<(RunId, u64)>,
    /// When it was known where in the clip one is, and where that was.
    heard: (Instant, i64),
}

impl ClipWriter {
    /// A writer for a clip of `duration` microseconds. One that was begun by an earlier program goes on; one that is complete
    /// stays as it is.
    pub(super) fn new(index: Arc<RecordingIndex>, duration: i64, audio: bool) -> Result<Self, ArchiveError> {
        let state = index.description().and_then(|description| description.clip.clone());
        let mut writer = Self {
            index,
            duration: duration.max(1),
            cutter: Cutter::new(Rules { segment_micros: None, audio }),
            state,
            unsaved: false,
            anchor: None,
            taken: (0, 0),
            writing: None,
            part: None,
            position: 0,
            part_from: 0,
            gap: None,
            stepped: false,
            finished: None,
            synced: Instant::now(),
            resume: None,
            heard: (Instant::now(), 0),
        };
        writer.take_over()?;
        Ok(writer)
    }

    /// Goes on where an earlier program was.
    fn take_over(&mut self) -> Result<(), ArchiveError> {
        let Some(state) = &mut self.state else { return Ok(()) };
        // What was to be finished is finished: the intent was written down first.
        for ended in &state.parts {
            let Some(end) = ended.end else { continue };
            if let Some((mut part, _)) = Part::recover(&self.index, ended.part)? {
                part.finish(&self.index, PartEnd { until: end.0 - ended.start.0 })?;
            }
        }
        self.index.set_live_clip(None);
        if state.completion.is_some() {
            return Ok(());
        }
        let deadline = state.start.plus_micros(self.duration);
        if state.deadline != deadline {
            // Somebody changed the length.
            state.deadline = deadline;
            self.unsaved = true;
        }
        if let Some(last) = state.parts.last().cloned() {
            self.part_from = last.start.0 - state.start.0;
            self.position = last.end.map_or(self.part_from, |end| end.0 - state.start.0);
            if last.end.is_none() {
                if let Some((part, recovered)) = Part::recover(&self.index, last.part)? {
                    self.taken.1 = self.position + recovered.audio_until;
                    self.position += recovered.video_until;
                    self.resume = Some(recovered.through);
                    self.part = Some(part);
                } else {
                    // Nothing of it reached the disk, or somebody took it away.
                    state.parts.pop();
                    self.unsaved = true;
                }
            }
        }
        self.taken.0 = self.position;
        self.gap = Some((self.position, RECORDER_DOWN.to_owned()));
        let now = UtcMicros::from_timestamp(jiff::Timestamp::now());
        let at = self.position.max(now.0 - state.start.0);
        self.heard(at);
        if let Some((run, through)) = self.resume {
            self.cutter.resume_after(run, through);
        }
        Ok(())
    }

    /// Remembers that it is `at` in the clip now.
    fn heard(&mut self, at: i64) {
        self.heard = (Instant::now(), at);
    }

    /// Where in the clip it is now, by a clock that nobody sets.
    fn elapsed(&self) -> i64 {
        let (since, at) = self.heard;
        at.saturating_add(i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    /// How long it takes from now until the clip has to end even if no frame comes; `None` before its first frame and after its
    /// end.
    pub fn remaining(&self) -> Option<Duration> {
        if self.is_finished() {
            return None;
        }
        self.state.as_ref()?;
        let left = self.duration.saturating_add(GRACE).saturating_sub(self.elapsed());
        Some(Duration::from_micros(u64::try_from(left).unwrap_or(0)))
    }

    /// How much of the clip's time has passed, in percent.
    pub fn percent(&self) -> u8 {
        if self.state.is_none() {
            return 0;
        }
        if self.is_complete() {
            return 100;
        }
        u8::try_from((i128::from(self.elapsed()) * 100 / i128::from(self.duration)).clamp(0, 99)).unwrap_or(0)
    }

    /// The run and sequence up to which frames are in the clip already.
    pub const fn resume_point(&self) -> Option<(RunId, u64)> {
        self.resume
    }

    /// The index that it belongs to.
    pub const fn index(&self) -> &Arc<RecordingIndex> {
        &self.index
    }

    /// How far the clip has got.
    pub const fn state(&self) -> Option<&ClipState> {
        self.state.as_ref()
    }

    /// Whether it is complete, on the disk and all.
    pub fn is_complete(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.completion.is_some()) && !self.unsaved && self.part.is_none()
    }

    /// Whether its end has come: what is left is to flush.
    pub fn is_finished(&self) -> bool {
        self.finished.is_some() || self.is_complete()
    }

    /// Takes what comes next. Writes nothing yet.
    pub fn push(&mut self, input: Input) {
        if self.is_finished() {
            return;
        }
        match input {
            Input::Configuration { run, ref configuration } => {
                let shift = self.anchor.as_ref().filter(|anchor| anchor.run == run).and_then(|anchor| anchor.shift);
                self.anchor = Some(Anchor { run, configuration: configuration.clone(), shift });
                self.cutter.push(input);
            }
            Input::Frame(frame) => {
                if let Some(frame) = self.place(&frame) {
                    self.cutter.push(Input::Frame(Arc::new(frame)));
                }
            }
            Input::Ended { ref reason } => {
                // At once: the frames that follow are of another clock.
                self.stepped |= reason == CLOCK_STEPPED;
                self.cutter.push(input);
            }
            Input::Lost { .. } => self.cutter.push(input),
        }
    }

    /// Time has passed; see [`super::writer::Writer::tick`].
    pub fn tick(&mut self) {
        self.cutter.tick();
    }

    /// No frame is there: ends the clip when its time is over.
    pub fn check_deadline(&mut self) {
        if self.remaining() == Some(Duration::ZERO) {
            self.finish(DEADLINE_REACHED);
        }
    }

    /// Ends the clip at the next flush: [`DEADLINE_REACHED`] or [`STOPPED`].
    pub fn finish(&mut self, reason: &'static str) {
        if !self.is_finished() {
            self.cutter.finish(reason);
            self.finished = Some(reason);
        }
    }

    /// Nothing more comes for now, for this condition reason; the clip is not over.
    pub fn pause(&mut self, reason: &str) {
        if !self.is_finished() {
            self.cutter.finish(reason);
        }
    }

    /// Whether anything can be written now.
    pub fn is_due(&self) -> bool {
        self.cutter.has_steps() || self.unsaved || (self.finished.is_some() && !self.is_complete())
    }

    /// Whether all that was taken is written.
    pub fn is_idle(&self) -> bool {
        self.cutter.is_idle() && !self.unsaved && (self.finished.is_none() || self.is_complete())
    }
}

impl Drop for ClipWriter {
    fn drop(&mut self) {
        self.index.set_live_clip(None);
    }
}
