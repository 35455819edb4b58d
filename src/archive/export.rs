//! Any time span of a recording as one progressive MP4 that seeks at once in every player: header first, then the media as it
//! lies in the archive, nothing re-encoded. Its size is known before its first byte is sent, and the same span gives the same
//! bytes, so that HTTP ranges work. Blocks on the disk; memory is bounded by the sample table (about 12 bytes a picture or
//! sound), whatever the media weighs.
//!
//! The file begins at the key frame at or before the span and hides what is too early by an edit list. Time is kept: in a gap
//! the last picture stands still. Where the archive holds nothing at the beginning or at the end of the span, the file begins
//! later or ends earlier. Runs that overlap, because the clock was set back, follow each other. Files in use are leased, so
//! that retention cannot delete them.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::ArchiveError;
use super::export_timeline::{Slice, Timeline, TrackSetup};
use super::fragments;
use super::index::{FileEntry, FileName, RecordingPath};
use super::recording::{Lease, RecordingIndex};
use super::span::{self, Piece, range_end};
use crate::media::fmp4::boxes::write_file_type;
use crate::media::fmp4::progressive::write_movie;
use crate::media::frame::UtcMicros;

/// The longest span: it bounds the sample table (some 60 MB for a day of 25 pictures and 50 sounds a second).
pub const LONGEST_MICROS: i64 = 86_400_000_000;

/// A part of a span that can be exported by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubSpan {
    /// Its beginning.
    pub from: UtcMicros,
    /// Its end.
    pub to: UtcMicros,
}

/// Why a span cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The archive holds no video of it.
    #[error("nothing is recorded between {from} and {to}")]
    Nothing {
        /// As asked.
        from: UtcMicros,
        /// As asked.
        to: UtcMicros,
    },
    /// It ends before it begins, or is too long.
    #[error("a span must be longer than nothing and not longer than 24 hours")]
    BadSpan,
    /// The camera's codec, size or the like changed within it.
    #[error("the camera's configuration changed within the span; export its parts one by one")]
    ConfigurationChanged {
        /// What can be exported.
        spans: Vec<SubSpan>,
    },
    /// A file is not what the index says.
    #[error("{name} of the archive is damaged: {what}")]
    Damaged {
        /// Which.
        name: FileName,
        /// How.
        what: String,
    },
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// A span, ready to be sent any number of times.
#[derive(Debug)]
pub struct Export {
    index: Arc<RecordingIndex>,
    header: Bytes,
    slices: Vec<Slice>,
    sources: Vec<(FileName, Lease)>,
    length: u64,
    tag: String,
    /// First instant that is shown.
    pub from: UtcMicros,
    /// How long it plays, microseconds.
    pub duration_micros: u64,
}

impl Export {
    /// Looks up a span and lays the file out. Reads the headers of all fragments of the span, not the media.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn prepare(index: &Arc<RecordingIndex>, from: UtcMicros, to: UtcMicros) -> Result<Self, ExportError> {
        if to <= from || to.0.saturating_sub(from.0) > LONGEST_MICROS {
            return Err(ExportError::BadSpan);
        }
        // A key frame that the span needs may be in the file before.
        let files = index.files_between(from.plus_micros(-span::LEAD_IN_MICROS), to)?;
        let mut pieces = span::pieces(&files, from, to);
        if pieces.is_empty() {
            return Err(ExportError::Nothing { from, to });
        }
        look_ahead(&mut pieces);
        let setups = pieces.iter().map(|piece| setup(index, piece.file)).collect::<Result<Vec<_>, _>>()?;
        let Some(common) = TrackSetup::common(&setups) else {
            return Err(ExportError::ConfigurationChanged { spans: sub_spans(&pieces, &setups, from, to) });
        };
        let mut timeline = Timeline::new(common, from, to);
        let mut sources = Vec::with_capacity(pieces.len());
        for piece in &pieces {
            add(&mut timeline, &mut sources, index, piece)?;
        }
        timeline.finish();
        let movie = timeline.movie().ok_or(ExportError::Nothing { from, to })?;

        let payload = timeline.payload();
        let mut header = Vec::new();
        write_file_type(&mut header, *b"ftyp", *b"isom", 0x200, &[*b"isom", *b"iso2", *b"mp41"]);
        let file_type = header.len() as u64;
        let mut measure = Vec::new();
        write_movie(&mut measure, &movie.tracks, 0, false);
        // 64-bit places when the last chunk may lie beyond 4 GiB; the media data's own header then takes 16 bytes.
        let wide = file_type + measure.len() as u64 + payload + (1 << 20) > u64::from(u32::MAX);
        if wide {
            measure.clear();
            write_movie(&mut measure, &movie.tracks, 0, true);
        }
        let data_start = file_type + measure.len() as u64 + if wide { 16 } else { 8 };
        drop(measure);
        write_movie(&mut header, &movie.tracks, data_start, wide);
        if wide {
            header.put_u32(1);
            header.put_slice(b"mdat");
            header.put_u64(payload + 16);
        } else {
            header.put_u32((payload + 8) as u32);
            header.put_slice(b"mdat");
        }
        let start = header.len() as u64;
        let mut digest = Sha256::new();
        digest.update(&header);
        let slices: Vec<Slice> =
            timeline.slices().iter().map(|slice| Slice { at: start + slice.at, ..*slice }).collect();
        for slice in &slices {
            digest.update(sources[slice.source].0.to_string());
            digest.update(slice.offset.to_be_bytes());
        }
        let mut tag = String::with_capacity(32);
        for byte in digest.finalize().iter().take(16) {
            let _ = write!(tag, "{byte:02x}");
        }
        Ok(Self {
            index: index.clone(),
            header: header.into(),
            slices,
            sources,
            length: start + payload,
            tag,
            from: movie.from,
            duration_micros: movie.duration_micros,
        })
    }

    /// Of which recording.
    pub fn path(&self) -> &RecordingPath {
        self.index.path()
    }

    /// Size in bytes.
    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Never: an export without media is an error.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// A strong validator (RFC 9110 §8.8.3) without its quotes: the same for the same bytes.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

/// Reads a stretch of an export, chunk by chunk.
#[derive(Debug)]
pub struct ExportReader {
    export: Arc<Export>,
    at: u64,
    end: u64,
    open: Option<(usize, File)>,
}

impl ExportReader {
    /// Reads the bytes `start..end`, as far as there are such.
    pub fn new(export: Arc<Export>, start: u64, end: u64) -> Self {
        let end = end.min(export.length);
        Self { export, at: start, end, open: None }
    }

    /// The next bytes, at most `most`; empty at the end.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn next_chunk(&mut self, most: usize) -> Result<Bytes, ArchiveError> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(most);
        if left == 0 {
            return Ok(Bytes::new());
        }
        let header = &self.export.header;
        if self.at < header.len() as u64 {
            let start = usize::try_from(self.at).unwrap_or(0);
            let chunk = header.slice(start..header.len().min(start + left));
            self.at += chunk.len() as u64;
            return Ok(chunk);
        }
        let mut chunk = vec![0; left];
        let mut filled = 0;
        while filled < left {
            let number = self.export.slices.partition_point(|slice| slice.at + slice.length <= self.at);
            let Some(slice) = self.export.slices.get(number).copied() else { break };
            let skip = self.at - slice.at;
            let take = usize::try_from(slice.length - skip).unwrap_or(usize::MAX).min(left - filled);
            let name = self.export.sources[slice.source].0;
            let file = match self.open.take() {
                Some((source, file)) if source == slice.source => file,
                _ => self.export.index.open_media(name)?,
            };
            file.read_exact_at(&mut chunk[filled..filled + take], slice.offset + skip)
                .map_err(|error| ArchiveError::io(format!("read {name}"), error))?;
            self.open = Some((slice.source, file));
            filled += take;
            self.at += take as u64;
        }
        chunk.truncate(filled);
        Ok(chunk.into())
    }
}

/// Adds the range after the last one, if its file has it: sound that belongs to the last pictures may lie there.
fn look_ahead(pieces: &mut [Piece<'_>]) {
    let Some(last) = pieces.last_mut() else { return };
    let next = last.ranges.last().and_then(|range| last.file.ranges.iter().position(|other| other == range));
    let first = last.file.ranges.iter().position(|range| Some(range) == last.ranges.first());
    if let (Some(first), Some(next)) = (first, next.map(|place| place + 1))
        && let Some(longer) = last.file.ranges.get(first..=next)
    {
        last.ranges = longer;
    }
}

/// Adds a file to a timeline, leased.
fn add(
    timeline: &mut Timeline,
    sources: &mut Vec<(FileName, Lease)>,
    index: &Arc<RecordingIndex>,
    piece: &Piece<'_>,
) -> Result<(), ExportError> {
    let name = piece.file.name;
    // Leased before it is read, so that what is found there stays.
    let lease = index.lease(name)?;
    let file = index.open_media(name)?;
    let source = sources.len();
    sources.push((name, lease));
    if !piece.follows {
        timeline.break_run();
    }
    for range in piece.ranges {
        let mut utc = Some(range.start);
        fragments::walk(&file, range.offset, range.length, |fragment| timeline.add(fragment, source, utc.take()))
            .map_err(|what| ExportError::Damaged { name, what })?;
    }
    Ok(())
}

fn setup(index: &RecordingIndex, file: &FileEntry) -> Result<TrackSetup, ExportError> {
    let damaged = |what: String| ExportError::Damaged { name: file.name, what };
    if file.header_bytes > fragments::LARGEST_HEADER {
        return Err(damaged("its header is too large".to_owned()));
    }
    let mut header = vec![0; usize::try_from(file.header_bytes).unwrap_or(0)];
    index
        .open_media(file.name)?
        .read_exact_at(&mut header, 0)
        .map_err(|error: io::Error| damaged(format!("its header cannot be read: {error}")))?;
    TrackSetup::read(&header, file.width, file.height).map_err(damaged)
}

/// What can be exported of a span whose configuration changes.
fn sub_spans(pieces: &[Piece<'_>], setups: &[TrackSetup], from: UtcMicros, to: UtcMicros) -> Vec<SubSpan> {
    let mut spans: Vec<(usize, SubSpan)> = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let start = piece.ranges.first().map_or(piece.file.start, |range| range.start).max(from);
        let end = piece.ranges.last().map_or(piece.file.end, range_end).min(to);
        match spans.last_mut() {
            Some((first, span)) if TrackSetup::common(&setups[*first..=number]).is_some() => span.to = end,
            _ => spans.push((number, SubSpan { from: start, to: end })),
        }
    }
    spans.into_iter().map(|(_, span)| span).collect()
}
