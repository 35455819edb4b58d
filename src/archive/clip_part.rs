//! One file of a clip: a fragmented MP4 behind a placeholder while it is recorded, one that every player seeks in once it is
//! finished. Times are microseconds from the part's first picture. Must not know why a part begins or ends.
//!
//! ```text
//! ftyp  free(16)                     moov mark [mark moof mdat]…         while it is recorded
//! ftyp  mdat(64-bit length: all of   moov mark [mark moof mdat]…)  moov  when it is finished
//! ```
//! The last write of a finish puts the 16 bytes of the `mdat` header in place of the `free` box: before it the file is a whole
//! fragmented one, after it a whole progressive one.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use bytes::{BufMut as _, Bytes};

use super::ArchiveError;
use super::cut::{Batch, to_micros};
use super::export_timeline::{TrackSetup, same};
use super::fragments;
use super::layout::clip_file;
use super::mark::{self, FileMark, Mark};
use super::media_file::MediaFile;
use super::recording::RecordingIndex;
use super::scan::{Scan, scan};
use super::writer::fragment;
use crate::media::fmp4::boxes::write_file_type;
use crate::media::fmp4::progressive::{Edit, MovieTrack, SampleTable, TableSample, write_movie};
use crate::media::fmp4::writer::write_header;
use crate::media::frame::{Configuration, RunId, TrackConfiguration, TrackKind};

/// Size of the placeholder: an `mdat` header with a 64-bit length (ISO/IEC 14496-12 §4.2).
const PLACEHOLDER: u64 = 16;

/// Sound is looked for in so many of the newest fragments; where there was none for so long, none can overlap.
const FRAGMENTS_WITHOUT_SOUND: usize = 20;

/// The beginning of a part's file, up to and with its placeholder: all of it that a finish changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// From the first byte of the file.
    pub bytes: Bytes,
    /// The part was finished when this was read.
    pub finished: bool,
}

impl Head {
    /// Reads it; `None` when the file is no part of a clip, or nothing of it is there yet.
    pub fn read(file: &File) -> Option<Self> {
        /// No file type box of ours is longer.
        const LONGEST: u64 = 4096;
        let mut size = [0; 4];
        file.read_exact_at(&mut size, 0).ok()?;
        let placeholder = u64::from(u32::from_be_bytes(size));
        let length = usize::try_from((placeholder <= LONGEST).then_some(placeholder + PLACEHOLDER)?).ok()?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let finished = bytes.get(length.checked_sub(12)?..length - 8)? == b"mdat";
        Some(Self { bytes: bytes.into(), finished })
    }
}

/// Where a part ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartEnd {
    /// The last picture stands until then.
    pub until: i64,
}

/// What a part held that an earlier program left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredPart {
    /// Up to where there are pictures.
    pub video_until: i64,
    /// Up to where there is sound.
    pub audio_until: i64,
    /// Run and sequence up to which all frames are there.
    pub through: (RunId, u64),
}

/// A part that is being written.
#[derive(Debug)]
pub struct Part {
    number: u32,
    name: String,
    recording: String,
    media: MediaFile,
    fragments: u32,
    setup: TrackSetup,
    /// Offset of the placeholder.
    placeholder: u64,
    /// Offset of the first fragment's mark.
    start: u64,
    /// The full index is appended, here; the placeholder is still to be replaced.
    indexed: Option<u64>,
}

impl Part {
    /// Makes a part for frames of this configuration, with the number given or the next that is free. Returns its number.
    pub fn create(
        index: &RecordingIndex,
        number: u32,
        mark: FileMark,
        configuration: &Configuration,
    ) -> Result<(u32, Self), ArchiveError> {
        let mut number = number;
        let file = loop {
            // Said before the file is there: whoever finds it knows that none of it is whole yet.
            index.set_live_clip(Some((number, 0)));
            match index.folder().create_new(&clip_file(number)) {
                Ok(Some(file)) => break file,
                Ok(None) => number += 1,
                Err(error) => {
                    index.set_live_clip(None);
                    return Err(error);
                }
            }
        };
        let (header, placeholder) = header(configuration);
        let mut part = Self {
            number,
            name: clip_file(number),
            recording: index.path().to_string(),
            media: MediaFile::new(file, 0),
            fragments: 0,
            setup: TrackSetup { video: (*configuration.video).clone(), audio: configuration.audio.as_deref().cloned() },
            placeholder,
            start: 0,
            indexed: None,
        };
        let begun = part.append_pieces(&[header, mark::write(&Mark::File(mark))]).and_then(|()| index.folder().sync());
        if let Err(error) = begun {
            let _ = index.folder().remove(&part.name);
            index.set_live_clip(None);
            return Err(error);
        }
        part.start = part.media.length();
        index.set_live_clip(Some(part.whole()));
        Ok((number, part))
    }

    /// Opens a part that an earlier program left; a torn end is cut off. `None` when it is not there, holds no frame or is
    /// finished.
    pub fn recover(index: &RecordingIndex, number: u32) -> Result<Option<(Self, RecoveredPart)>, ArchiveError> {
        let name = clip_file(number);
        let problem = |error| ArchiveError::io(format!("recover {name} of recording {}", index.path()), error);
        let Some(file) = index.folder().open_for_writing(&name)? else { return Ok(None) };
        let Some(scan) = scan(&file).map_err(problem)? else { return Ok(None) };
        let Some(last) = scan.fragments.last() else { return Ok(None) };
        let damaged = |what: String| ArchiveError::Damaged { path: index.folder().path().join(&name), what };
        let length = usize::try_from(scan.header_bytes).unwrap_or(usize::MAX);
        if scan.header_bytes > fragments::LARGEST_HEADER {
            return Err(damaged("its header is too large".into()));
        }
        let mut header = vec![0; length];
        file.read_exact_at(&mut header, 0).map_err(problem)?;
        let setup = TrackSetup::read(&header, scan.file.width, scan.file.height).map_err(damaged)?;
        let placeholder = header.first_chunk::<4>().map_or(0, |size| u64::from(u32::from_be_bytes(*size)));
        let video = scan.fragments.iter().rev().find_map(|found| found.mark.facts.video);
        let through = (last.mark.run, last.mark.facts.through);
        let audio_until = audio_until(&file, &scan, setup.audio.as_ref()).map_err(damaged)?;
        let recovered = RecoveredPart { video_until: video.map_or(0, |video| video.to), audio_until, through };
        let fragments = u32::try_from(scan.fragments.len()).unwrap_or(u32::MAX);
        index.set_live_clip(Some((number, scan.whole)));
        let mut part = Self {
            number,
            name: clip_file(number),
            recording: index.path().to_string(),
            media: MediaFile::new(file, scan.whole),
            fragments,
            setup,
            placeholder,
            start: scan.start,
            indexed: None,
        };
        // Cuts the torn end off, or the full index of a finish that did not come to its end.
        part.append_pieces(&[])?;
        Ok(Some((part, recovered)))
    }

    fn problem(&self, verb: &str, error: std::io::Error) -> ArchiveError {
        ArchiveError::io(format!("{verb} {} of recording {}", self.name, self.recording), error)
    }

    fn append_pieces(&mut self, pieces: &[Bytes]) -> Result<(), ArchiveError> {
        match self.media.append(pieces) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.problem("write", error)),
        }
    }

    /// Whether frames of this configuration can go into this file. Where sound has gone, the pictures go on.
    pub fn takes(&self, configuration: &Configuration) -> bool {
        same(&self.setup.video, &configuration.video)
            && match (&self.setup.audio, &configuration.audio) {
                (_, None) => true,
                (Some(one), Some(other)) => same(one, other),
                (None, Some(_)) => false,
            }
    }

    /// Appends frames whose times are the part's.
    pub fn append(&mut self, batch: &Batch, run: RunId) -> Result<(), ArchiveError> {
        let fragment = fragment(self.fragments + 1, batch);
        match self.media.append_fragment(batch.facts, run, fragment) {
            Ok(_) => {
                self.fragments += 1;
                Ok(())
            }
            Err(error) => Err(self.problem("write", error)),
        }
    }

    /// Its number, and how many bytes of it are whole.
    pub fn whole(&self) -> (u32, u64) {
        (self.number, self.media.length())
    }

    /// Makes what was written survive a loss of power.
    pub fn sync(&mut self) -> Result<(), ArchiveError> {
        self.media.sync().map_err(|error| self.problem("sync", error))
    }

    /// Gives the file its full index. May be called again after an error.
    pub fn finish(&mut self, index: &RecordingIndex, end: PartEnd) -> Result<(), ArchiveError> {
        let media_end = if let Some(media_end) = self.indexed {
            media_end
        } else {
            let media_end = self.media.length();
            let movie = self.movie(end)?;
            self.append_pieces(&[movie])?;
            self.indexed = Some(media_end);
            media_end
        };
        // The index must be there before anything points to it, for readers too.
        self.sync()?;
        index.set_live_clip(Some(self.whole()));
        let mut header = Vec::with_capacity(16);
        header.put_u32(1);
        header.put_slice(b"mdat");
        header.put_u64(media_end - self.placeholder);
        let file = self.media.file();
        file.write_all_at(&header, self.placeholder)
            .and_then(|()| file.sync_data())
            .map_err(|error| self.problem("finish", error))
    }

    /// The full index of all fragments.
    fn movie(&self, end: PartEnd) -> Result<Bytes, ArchiveError> {
        let mut video = Track::new(&self.setup.video);
        let mut audio = self.setup.audio.as_ref().map(Track::new);
        let length = self.media.length() - self.start;
        fragments::walk(self.media.file(), self.start, length, |fragment| {
            fragment.video.iter().for_each(|sample| video.push(sample));
            if let Some(audio) = &mut audio {
                fragment.audio.iter().for_each(|sample| audio.push(sample));
            }
        })
        .map_err(|what| ArchiveError::Damaged { path: self.name.clone().into(), what })?;
        let until = end.until.max(1);
        video.close(Some(until));
        // The first picture is shown at once: what the decoder needs to sort pictures is taken off all times.
        let delay = video.delay.unwrap_or(0);
        let mut tracks = vec![video.track(TrackKind::Video, until, -delay)];
        if let Some(audio) = &mut audio {
            audio.close(None);
            if !audio.table.is_empty() {
                tracks.push(audio.track(TrackKind::Audio, until, -delay));
            }
        }
        let mut out = Vec::new();
        write_movie(&mut out, &tracks, 0, self.media.length() > u64::from(u32::MAX));
        Ok(out.into())
    }
}

/// Where the sound ends, as far as the newest fragments tell; 0 where there is none.
fn audio_until(file: &File, scan: &Scan, audio: Option<&TrackConfiguration>) -> Result<i64, String> {
    let Some(audio) = audio else { return Ok(0) };
    for found in scan.fragments.iter().rev().take(FRAGMENTS_WITHOUT_SOUND) {
        let mut last = None;
        fragments::walk(file, found.moof, found.mark.length, |fragment| last = fragment.audio.last().copied())?;
        if let Some(last) = last {
            return Ok(to_micros(last.decode_time + i64::from(last.duration), i64::from(audio.timescale)));
        }
    }
    Ok(0)
}

/// A track's table being gathered.
struct Track<'a> {
    configuration: &'a TrackConfiguration,
    table: SampleTable,
    /// The newest sample: it is put in when it is known how long it lasts.
    last: Option<fragments::PlacedSample>,
    /// Decode time of the first sample, ticks.
    first: Option<i64>,
    /// From the first sample's decode time to the earliest presentation of those that may come first, microseconds.
    delay: Option<i64>,
}

impl<'a> Track<'a> {
    fn new(configuration: &'a TrackConfiguration) -> Self {
        Self { configuration, table: SampleTable::default(), last: None, first: None, delay: None }
    }

    fn timescale(&self) -> i64 {
        i64::from(self.configuration.timescale.max(1))
    }

    fn push(&mut self, sample: &fragments::PlacedSample) {
        if self.first.is_none() {
            self.first = Some(sample.decode_time);
            // The first sample is a random access point: it is presented first.
            self.delay = Some(to_micros(sample.composition_offset.into(), self.timescale()));
        }
        if let Some(last) = self.last.replace(*sample) {
            self.put(&last);
        }
    }

    fn put(&mut self, sample: &fragments::PlacedSample) {
        let row = TableSample {
            decode_time: sample.decode_time,
            composition_offset: sample.composition_offset,
            duration: sample.duration,
            size: sample.size,
            sync: sample.sync,
        };
        self.table.push(row, sample.offset);
    }

    /// Puts the last sample in; it lasts until `until` microseconds.
    fn close(&mut self, until: Option<i64>) {
        let timescale = self.timescale();
        let Some(mut last) = self.last.take() else { return };
        if let Some(until) = until {
            let end = i128::from(until) * i128::from(timescale) / 1_000_000;
            let duration = end - i128::from(last.decode_time);
            last.duration = u32::try_from(duration.max(1)).unwrap_or(u32::MAX);
        }
        self.put(&last);
    }

    /// The track, presented from its own time minus `shift` on, until `until` at most.
    fn track(&self, kind: TrackKind, until: i64, shift: i64) -> MovieTrack<'_> {
        let first = self.first.unwrap_or(0);
        // When the first sample's decode time is presented.
        let begins = to_micros(first, self.timescale()) + shift;
        let length = to_micros(self.table.end() - first, self.timescale());
        let mut edits = Vec::new();
        let shown_until = if kind == TrackKind::Video { until } else { (begins + length).min(until) };
        if begins > 0 {
            edits.push(Edit { duration: begins.unsigned_abs(), media_time: -1 });
        }
        let media_time = i128::from((-begins).max(0)) * i128::from(self.timescale()) / 1_000_000;
        edits.push(Edit {
            duration: (shown_until - begins.max(0)).max(0).unsigned_abs(),
            media_time: i64::try_from(media_time).unwrap_or(0),
        });
        MovieTrack { kind, configuration: self.configuration, table: &self.table, edits }
    }
}

/// `ftyp`, placeholder and `moov` of a part, and where the placeholder stands.
fn header(configuration: &Configuration) -> (Bytes, u64) {
    let fragmented = write_header(configuration, true);
    let file_type = fragmented.first_chunk::<4>().map_or(0, |size| u32::from_be_bytes(*size) as usize);
    let mut out = Vec::with_capacity(fragmented.len() + 32);
    write_file_type(&mut out, *b"ftyp", *b"isom", 0x200, &[*b"isom", *b"iso6", *b"mp41", *b"mp42"]);
    let placeholder = out.len() as u64;
    out.put_u32(PLACEHOLDER as u32);
    out.put_slice(b"free");
    out.put_u64(0);
    out.put_slice(fragmented.get(file_type..).unwrap_or_default());
    (out.into(), placeholder)
}
