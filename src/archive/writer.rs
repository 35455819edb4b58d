//! Writes one recording around the clock: takes what [`super::cut`] decides to the disk and keeps the index up to date. Blocks
//! on the disk; must not decide where files begin and end.
//!
//! Nothing is lost by an error: what could not be written waits, and the next [`Writer::flush`] goes on there. So on a full
//! volume the caller stops handing over frames (they wait in the hub's ring) until there is room again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ArchiveError;
use super::cut::{Batch, Cutter, Input, Rules, Step, VideoEnd};
use super::entry::EntryBuilder;
use super::fragments;
use super::index::{FileEntry, FileName, RECORDER_DOWN};
use super::mark::{self, EndMark, FileMark, Mark};
use super::media_file::MediaFile;
use super::recording::RecordingIndex;
use crate::media::fmp4::writer::{Fragment, FragmentOptions, write_fragment, write_header};
use crate::media::frame::{Configuration, RunId, TrackKind, UtcMicros};

/// How much written video a loss of power may take: what is written is synced this often.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// So much of what was recorded last can be looked at again: more than any hub replays. Microseconds.
const SHOWN_MICROS: i64 = 15_000_000;

/// What a file is begun with.
#[derive(Debug, Clone)]
struct Opening {
    run: RunId,
    configuration: Arc<Configuration>,
}

#[derive(Debug)]
struct OpenFile {
    name: FileName,
    media: MediaFile,
    entry: EntryBuilder,
    fragments: u32,
    /// The end mark is written.
    ended: bool,
    /// The file's name survives a loss of power.
    named: bool,
}

/// The one writer of a recording around the clock.
#[derive(Debug)]
pub struct Writer {
    index: Arc<RecordingIndex>,
    cutter: Cutter,
    opening: Option<Opening>,
    file: Option<OpenFile>,
    /// The file before the one that is open.
    last: Option<FileEntry>,
    /// Covered by the files that this writer has ended, microseconds.
    covered_micros: i64,
    synced: Instant,
}

impl Writer {
    /// A writer that goes on where the index ends. There must be no other one of this recording.
    pub(super) fn new(index: Arc<RecordingIndex>, rules: Rules) -> Result<Self, ArchiveError> {
        let last = index.newest()?;
        let mut cutter = Cutter::new(rules);
        if let Some(last) = &last {
            cutter.resume_after(last.run, last.last_sequence);
        }
        Ok(Self { synced: first_sync(&index), index, cutter, opening: None, file: None, last, covered_micros: 0 })
    }

    /// The index that it writes.
    pub const fn index(&self) -> &Arc<RecordingIndex> {
        &self.index
    }

    /// How much this writer has put on the disk, microseconds, as coverage counts it.
    pub fn covered_micros(&self) -> i64 {
        self.covered_micros + self.file.as_ref().map_or(0, |file| file.entry.entry().covered_micros)
    }

    /// The run and sequence up to which frames are in files that were closed before this writer began: a hub that still holds
    /// the frame after it lets the recording go on without a gap.
    pub fn resume_point(&self) -> Option<(RunId, u64)> {
        self.last.as_ref().map(|last| (last.run, last.last_sequence))
    }

    /// UTC up to which there was video before this writer began.
    pub fn recorded_to(&self) -> Option<UtcMicros> {
        self.last.as_ref().map(|last| last.end)
    }

    /// Shows the last pictures before this writer began, the newest last: their bytes, and whether one begins a group. At least
    /// those of the last [`SHOWN_MICROS`] of the newest file and the one before it, if they hold as much.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn newest_pictures(&self, mut show: impl FnMut(&[u8], bool)) -> Result<(), ArchiveError> {
        let Some(last) = &self.last else { return Ok(()) };
        let mut hours = self.index.hours();
        hours.retain(|hour| *hour <= last.name.hour);
        let mut files = Vec::new();
        for hour in hours.into_iter().rev().take(2) {
            files.extend(self.index.files(hour)?.iter().filter(|file| file.order() <= last.order()).cloned());
        }
        files.sort_by_key(FileEntry::order);
        let ranges = files.iter().flat_map(|file| file.ranges.iter().map(move |range| (file, range)));
        let mut shown = 0;
        let mut wanted: Vec<_> = ranges
            .rev()
            .take_while(|(_, range)| {
                let more = shown < SHOWN_MICROS;
                shown += range.duration_micros;
                more
            })
            .collect();
        wanted.reverse();
        let mut bytes = Vec::new();
        for (file, range) in wanted {
            let failed =
                |error| ArchiveError::io(format!("read {} of recording {}", file.name, self.index.path()), error);
            let media = self.index.open_media(file.name)?;
            let mut pictures = Vec::new();
            fragments::walk(&media, range.offset, range.length, |fragment| pictures.extend(fragment.video))
                .map_err(|what| failed(std::io::Error::other(what)))?;
            for picture in pictures {
                bytes.resize(picture.size as usize, 0);
                media.read_exact_at(&mut bytes, picture.offset).map_err(failed)?;
                show(&bytes, picture.sync);
            }
        }
        Ok(())
    }

    /// Takes what comes next. Writes nothing yet.
    pub fn push(&mut self, input: Input) {
        self.cutter.push(input);
    }

    /// Time has passed: what waits is to be written at the next flush, but for the newest picture, whose duration the next one
    /// tells. When nothing else waits, that too.
    pub fn tick(&mut self) {
        self.cutter.tick();
    }

    /// No more will come: the next flush closes the file, with this condition reason for the gap that follows.
    pub fn finish(&mut self, reason: &str) {
        self.cutter.finish(reason);
    }

    /// Whether anything can be written now.
    pub fn is_due(&self) -> bool {
        self.cutter.has_steps()
    }

    /// Whether all that was taken is written.
    pub fn is_idle(&self) -> bool {
        self.cutter.is_idle()
    }

    /// Writes what is due, and syncs when that is due. After an error it can be called again and goes on where it was.
    ///
    /// # Errors
    /// [`ArchiveError::Full`] when there is no room; [`ArchiveError::Io`] when the disk fails: then the file is given up, and
    /// what waits goes into a new one.
    pub fn flush(&mut self) -> Result<(), ArchiveError> {
        while let Some(step) = self.cutter.next_step() {
            if let Err(error) = self.take(&step) {
                self.cutter.put_back(step);
                if !matches!(error, ArchiveError::Full { .. }) {
                    self.abandon();
                }
                return Err(error);
            }
        }
        if self.synced.elapsed() >= SYNC_INTERVAL {
            self.synced = Instant::now();
            if let Err(error) = self.sync() {
                self.abandon();
                return Err(error);
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), ArchiveError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.media.sync() {
            return Err(self.problem("sync", error));
        }
        if !file.named {
            self.index.sync_hour(file.name.hour)?;
            file.named = true;
        }
        Ok(())
    }

    fn problem(&self, verb: &str, error: std::io::Error) -> ArchiveError {
        let name = self.file.as_ref().map(|file| file.name.to_string()).unwrap_or_default();
        ArchiveError::io(format!("{verb} {name} of recording {}", self.index.path()), error)
    }

    fn take(&mut self, step: &Step) -> Result<(), ArchiveError> {
        match step {
            Step::Open { run, configuration, start, first_sequence, dependent, resumes } => {
                let opening = Opening { run: *run, configuration: configuration.clone() };
                self.open(&opening, *start, *first_sequence, *dependent)?;
                if *resumes {
                    self.join()?;
                }
                self.tell();
                self.opening = Some(opening);
                Ok(())
            }
            Step::Write(batch) => self.write(batch),
            Step::Close { gap, until } => self.close(gap.as_deref(), *until),
            Step::Gap { reason } => match &mut self.last {
                Some(last) => {
                    last.gap_after = Some(reason.clone());
                    self.index.set_gap(last.name, Some(reason.clone()))
                }
                None => Ok(()),
            },
        }
    }

    /// Tells readers how far the open file has got.
    fn tell(&self) {
        if let Some(file) = &self.file {
            self.index.set_live(file.entry.entry().clone());
        }
    }

    fn open(
        &mut self,
        opening: &Opening,
        start: UtcMicros,
        first_sequence: u64,
        dependent: bool,
    ) -> Result<(), ArchiveError> {
        if self.file.is_some() {
            // Opened at an earlier attempt.
            return Ok(());
        }
        let (name, file) = self.index.create_media(start)?;
        let mark = file_mark(opening.run, &opening.configuration, dependent);
        let header = write_header(&opening.configuration, true);
        let header_bytes = header.len() as u64;
        let mut media = MediaFile::new(file, 0);
        if let Err(error) = media.append(&[header, mark::write(&Mark::File(mark.clone()))]) {
            self.index.discard_media(name);
            return Err(ArchiveError::io(format!("begin {name} of recording {}", self.index.path()), error));
        }
        let mut entry = EntryBuilder::new(name, mark, start, header_bytes, media.length());
        entry.begin_at(first_sequence);
        if let Some(last) = &self.last
            && last.name.hour != name.hour
            && let Err(error) = self.index.end_hour(last.name.hour)
        {
            tracing::warn!(recording = %self.index.path(), hour = %last.name.hour, %error, "cannot end an hour's playlist");
        }
        self.file = Some(OpenFile { name, media, entry, fragments: 0, ended: false, named: false });
        Ok(())
    }

    /// The new file goes on exactly where the last one ends: there is no gap after that one.
    fn join(&mut self) -> Result<(), ArchiveError> {
        let Some((last, file)) = self.last.as_mut().zip(self.file.as_ref()) else { return Ok(()) };
        let now = file.entry.entry();
        if last.codecs == now.codecs && (last.width, last.height) == (now.width, now.height) {
            last.gap_after = None;
            self.index.set_gap(last.name, None)?;
        }
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<(), ArchiveError> {
        if self.file.is_none() {
            // The file that this was meant for has been given up.
            let start = batch.facts.video.map(|video| video.utc).or_else(|| Some(batch.samples.first()?.frame.utc));
            if let (Some(opening), Some(start)) = (self.opening.clone(), start) {
                self.open(&opening, start, batch.facts.first_sequence, !batch.facts.independent)?;
            }
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let fragment = fragment(file.fragments + 1, batch);
        let run = file.entry.entry().run;
        match file.media.append_fragment(batch.facts, run, fragment) {
            Ok(length) => {
                file.fragments += 1;
                file.entry.add(&batch.facts, length);
                self.tell();
                Ok(())
            }
            Err(error) => Err(self.problem("write", error)),
        }
    }

    fn close(&mut self, gap: Option<&str>, until: Option<VideoEnd>) -> Result<(), ArchiveError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if !file.ended {
            let end = EndMark { gap: gap.map(str::to_owned), until, closed: true };
            match file.media.append(&[mark::write(&Mark::End(end.clone()))]) {
                Ok(length) => {
                    file.entry.end(&end, length);
                    file.ended = true;
                }
                Err(error) => return Err(self.problem("end", error)),
            }
        }
        if let Err(error) = file.media.sync() {
            return Err(self.problem("sync", error));
        }
        let entry = file.entry.entry().clone();
        self.index.close_live(&entry)?;
        self.synced = Instant::now();
        self.covered_micros += entry.covered_micros;
        self.last = Some(entry);
        self.file = None;
        Ok(())
    }

    /// Gives up the open file, as a crash would.
    fn abandon(&mut self) {
        let Some(file) = self.file.take() else { return };
        let mut entry = file.entry.into_entry();
        if entry.ranges.is_empty() {
            self.index.discard_media(entry.name);
            return;
        }
        entry.gap_after.get_or_insert_with(|| RECORDER_DOWN.to_owned());
        self.index.abandon_live(&entry);
        self.covered_micros += entry.covered_micros;
        self.last = Some(entry);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// What the file's own mark says of it.
pub(super) fn file_mark(run: RunId, configuration: &Configuration, dependent: bool) -> FileMark {
    let tracks = [Some(&configuration.video), configuration.audio.as_ref()];
    let codecs: Vec<&str> = tracks
        .into_iter()
        .flatten()
        .map(|track| track.codec_string.as_str())
        .filter(|codec| !codec.is_empty())
        .collect();
    let video = &configuration.video;
    FileMark { run, codecs: codecs.join(","), width: video.width, height: video.height, dependent }
}

/// A batch as a fragment. Only the newest picture's duration is not in the frames.
pub(super) fn fragment(sequence_number: u32, batch: &Batch) -> Fragment {
    let last = batch.samples.iter().rfind(|sample| sample.frame.track == TrackKind::Video);
    let options =
        FragmentOptions { last_video_duration: last.map(|sample| sample.duration), ..FragmentOptions::default() };
    write_fragment(sequence_number, &batch.samples, true, options)
}

/// Writers that begin together must not sync together.
fn first_sync(index: &RecordingIndex) -> Instant {
    let mut hasher = DefaultHasher::new();
    index.path().hash(&mut hasher);
    let early = Duration::from_millis(hasher.finish() % SYNC_INTERVAL.as_millis() as u64);
    Instant::now().checked_sub(early).unwrap_or_else(Instant::now)
}
