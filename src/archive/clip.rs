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
use super::cut::{Batch, BatchFacts, Cutter, Input, Rules, Sample, Step, VideoSpan, to_micros};
use super::description::{ClipCompletion, ClipPart, ClipState, Description};
use super::index::{Gap, RECORDER_DOWN};
use super::recording::RecordingIndex;
use super::writer::file_mark;
use crate::media::frame::{Configuration, Frame, RunId, TrackKind, UtcMicros};

/// What is written is synced this often.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// Reason of a run's end after which UTC is another: the clip's time goes on, its clock moves.
const CLOCK_STEPPED: &str = "ClockStepped";
/// A clip that reached its length.
pub const DEADLINE_REACHED: &str = "DeadlineReached";
/// A clip that somebody ended.
pub const STOPPED: &str = "Stopped";
/// Sound of a new run that begins this much before the end of the sound there is counts as following it, microseconds.
const SOUND_OVERLAP: i64 = 1000;
/// Frames may still be on the way when the deadline is over, microseconds.
const GRACE: i64 = 1_000_000;
/// At most so many gaps are written down; a camera that flaps for hours must not grow the file without bound.
const GAPS: usize = 1000;

/// Where the frames of one run stand in the clip.
#[derive(Debug, Clone)]
struct Anchor {
    run: RunId,
    configuration: Arc<Configuration>,
    /// Clip time minus media time of the run, microseconds; `None` until its first picture tells.
    shift: Option<i64>,
}

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
                part.finish(PartEnd { until: end.0 - ended.start.0 })?;
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

    /// The frame with its time in the clip; `None` when it has none. Ends the clip at its deadline.
    fn place(&mut self, frame: &Frame) -> Option<Frame> {
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

    /// Writes what is due. After an error it can be called again and goes on where it was.
    pub fn flush(&mut self) -> Result<(), ArchiveError> {
        while let Some(step) = self.cutter.next_step() {
            if let Err(error) = self.take(&step) {
                self.cutter.put_back(step);
                return Err(error);
            }
        }
        if let Some(reason) = self.finished
            && !self.is_complete()
        {
            self.complete(reason)?;
        }
        self.save()?;
        if self.synced.elapsed() >= SYNC_INTERVAL {
            self.synced = Instant::now();
            if let Some(part) = &mut self.part {
                part.sync()?;
            }
        }
        Ok(())
    }

    /// Writes `recording.json` when it is behind.
    fn save(&mut self) -> Result<(), ArchiveError> {
        if self.unsaved {
            let clip = self.state.clone();
            let missing = || ArchiveError::NotFound { what: format!("description of recording {}", self.index.path()) };
            self.index.change_description(|existing| Ok(Description { clip, ..existing.ok_or_else(missing)? }))?;
            self.unsaved = false;
        }
        Ok(())
    }

    fn take(&mut self, step: &Step) -> Result<(), ArchiveError> {
        match step {
            Step::Open { run, configuration, .. } => {
                self.writing = Some((*run, configuration.clone()));
                Ok(())
            }
            Step::Write(batch) => self.write(batch),
            Step::Close { gap, .. } => {
                if let Some(reason) = gap {
                    self.gap.get_or_insert((self.position, reason.clone()));
                }
                Ok(())
            }
            Step::Gap { reason } => {
                if let Some((_, known)) = &mut self.gap {
                    known.clone_from(reason);
                }
                Ok(())
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<(), ArchiveError> {
        let Some((run, configuration)) = self.writing.clone() else { return Ok(()) };
        let at = batch.facts.video.map_or(self.position, |video| video.from);
        self.open_part(run, &configuration, at)?;
        self.save()?;
        let Some(part) = &mut self.part else { return Ok(()) };
        let batch = within_part(batch, &configuration, self.part_from);
        part.append(&batch, run)?;
        let Some(video) = &batch.facts.video else { return Ok(()) };
        if let (Some((from, reason)), Some(state)) = (self.gap.take(), &mut self.state)
            && at > from
            && state.gaps.len() < GAPS
        {
            let (from, to) = (state.start.plus_micros(from), state.start.plus_micros(at));
            state.gaps.push(Gap { from, to, reason });
            self.unsaved = true;
        }
        self.position = self.position.max(video.to + self.part_from);
        Ok(())
    }

    /// Makes sure that the open part can take frames of this configuration; `at` is the clip time of the first of them.
    fn open_part(&mut self, run: RunId, configuration: &Configuration, at: i64) -> Result<(), ArchiveError> {
        let Some(state) = &mut self.state else { return Ok(()) };
        if let Some(part) = &mut self.part {
            if part.takes(configuration) {
                return Ok(());
            }
            // The last picture stands until the next part begins.
            let end = state.start.plus_micros(at);
            if let Some(last) = state.parts.last_mut()
                && last.end != Some(end)
            {
                last.end = Some(end);
                self.unsaved = true;
            }
            self.save()?;
            if let Some(part) = &mut self.part {
                part.finish(PartEnd { until: at - self.part_from })?;
            }
            self.part = None;
        }
        let Some(state) = &mut self.state else { return Ok(()) };
        let taken = state.parts.iter().map(|part| part.part).max().unwrap_or(0);
        let mark = file_mark(run, configuration, false);
        // A whole part may be gone between two others; the first begins at the first frame.
        let from = if state.parts.is_empty() { 0 } else { at };
        let (codecs, width, height) = (mark.codecs.clone(), mark.width, mark.height);
        let (number, part) = Part::create(&self.index, taken + 1, mark, configuration)?;
        let start = state.start.plus_micros(from);
        state.parts.push(ClipPart { part: number, start, end: None, codecs, width, height });
        self.part = Some(part);
        self.part_from = from;
        self.unsaved = true;
        Ok(())
    }

    /// Ends the clip: the intent is written down, then its file gets its full index.
    fn complete(&mut self, reason: &'static str) -> Result<(), ArchiveError> {
        if self.state.as_ref().is_none_or(|state| state.completion.is_none()) {
            self.decide_end(reason);
        }
        self.save()?;
        if let (Some(part), Some(last)) = (&mut self.part, self.state.as_ref().and_then(|state| state.parts.last())) {
            let until = last.end.map_or(0, |end| end.0 - last.start.0);
            part.finish(PartEnd { until })?;
        }
        self.part = None;
        self.index.set_live_clip(None);
        Ok(())
    }

    fn decide_end(&mut self, reason: &'static str) {
        let (position, duration) = (self.position, self.duration);
        let until = if reason == DEADLINE_REACHED {
            duration
        } else {
            // Somebody ends it now: until now the last picture stands.
            self.elapsed().clamp(position, duration.max(position))
        };
        let state = self.state.get_or_insert_with(|| {
            // Stopped before its first frame: it holds nothing.
            let now = UtcMicros::from_timestamp(jiff::Timestamp::now());
            ClipState { start: now, deadline: now.plus_micros(duration), parts: vec![], gaps: vec![], completion: None }
        });
        let end = state.start.plus_micros(if state.parts.is_empty() { 0 } else { until });
        if let Some(last) = state.parts.last_mut() {
            last.end = Some(end);
        }
        if let Some((from, cause)) = self.gap.take()
            && until > from
            && cause != DEADLINE_REACHED
            && cause != STOPPED
            && state.gaps.len() < GAPS
        {
            state.gaps.push(Gap { from: state.start.plus_micros(from), to: end, reason: cause });
        }
        state.completion = Some(ClipCompletion { at: end, reason: reason.to_owned() });
        self.unsaved = true;
    }
}

impl Drop for ClipWriter {
    fn drop(&mut self) {
        self.index.set_live_clip(None);
    }
}

/// The frame `shift` microseconds later. Rounded to the nearest tick, the same for all frames of a track, so that distances stay
/// exact.
fn moved(frame: &Frame, timescale: i64, shift: i64) -> Frame {
    let ticks = (i128::from(shift) * i128::from(timescale) + 500_000).div_euclid(1_000_000);
    let decode_time = frame.decode_time + i64::try_from(ticks).unwrap_or(0);
    Frame { decode_time: decode_time.max(0), ..frame.clone() }
}

/// The same frames with times from the beginning of a part, `from` microseconds into the clip.
fn within_part(batch: &Batch, configuration: &Configuration, from: i64) -> Batch {
    let placed = batch.samples.iter().filter_map(|sample| {
        let timescale = i64::from(configuration.track(sample.frame.track)?.timescale.max(1));
        Some(Sample { frame: Arc::new(moved(&sample.frame, timescale, -from)), duration: sample.duration })
    });
    let video = batch.facts.video.map(|video| VideoSpan { from: video.from - from, to: video.to - from, ..video });
    Batch { samples: placed.collect(), facts: BatchFacts { video, ..batch.facts } }
}
