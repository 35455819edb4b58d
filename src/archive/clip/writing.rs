//! Takes what was cut to the disk: parts, gaps, `recording.json`, and the clip's end. Must not decide where frames stand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::placing::moved;
use super::{ClipWriter, DEADLINE_REACHED, STOPPED};
use crate::archive::ArchiveError;
use crate::archive::clip_part::{Part, PartEnd};
use crate::archive::cut::{Batch, BatchFacts, Sample, Step, VideoSpan};
use crate::archive::description::{ClipCompletion, ClipPart, ClipState, Description};
use crate::archive::index::Gap;
use crate::archive::writer::file_mark;
use crate::media::frame::{Configuration, RunId, UtcMicros};

/// What is written is synced this often.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// At most so many gaps are written down; a camera that flaps for hours must not grow the file without bound.
const GAPS: usize = 1000;

impl ClipWriter {
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
        self.index.set_live_clip(Some(part.whole()));
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
                part.finish(&self.index, PartEnd { until: at - self.part_from })?;
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
            part.finish(&self.index, PartEnd { until })?;
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

/// The same frames with times from the beginning of a part, `from` microseconds into the clip.
fn within_part(batch: &Batch, configuration: &Configuration, from: i64) -> Batch {
    let placed = batch.samples.iter().filter_map(|sample| {
        let timescale = i64::from(configuration.track(sample.frame.track)?.timescale.max(1));
        Some(Sample { frame: Arc::new(moved(&sample.frame, timescale, -from)), duration: sample.duration })
    });
    let video = batch.facts.video.map(|video| VideoSpan { from: video.from - from, to: video.to - from, ..video });
    Batch { samples: placed.collect(), facts: BatchFacts { video, ..batch.facts } }
}
