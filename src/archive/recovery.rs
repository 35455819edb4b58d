//! Puts an archive right after a crash: files that were not closed end where they are whole, and say that the recorder was
//! down; indexes that are missing or torn are made again from the media files. Touches only files that carry the archive's
//! own marks. Safe to be interrupted anywhere: what is not done is done the next time.

use std::fs::File;
use std::io;

use super::ArchiveError;
use super::entry::EntryBuilder;
use super::folder::{Folder, Kind};
use super::index::{FileEntry, FileName, Hour, RECORDER_DOWN};
use super::layout::{PLAYLIST, TEMPORARY_SUFFIX};
use super::mark::{self, EndMark, Mark};
use super::media_file::MediaFile;
use super::playlist;
use super::scan::{Scan, scan};

/// No honest playlist is larger.
const LARGEST_PLAYLIST: u64 = 64 << 20;

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// It holds frames, and is whole now.
    File(FileEntry),
    /// The archive began it, and no frame got into it.
    Empty,
    /// It is not the archive's.
    Foreign,
}

/// The index entry of a file that was walked.
pub fn entry(name: FileName, scan: &Scan) -> FileEntry {
    let mut builder = EntryBuilder::new(name, scan.file.clone(), name.minute_start(), scan.header_bytes, scan.start);
    for found in &scan.fragments {
        builder.add(&found.mark.facts, found.end() - found.offset);
    }
    if let Some(end) = &scan.end {
        let before = scan.fragments.last().map_or(scan.start, super::scan::Found::end);
        builder.end(end, scan.whole - before);
    }
    builder.into_entry()
}

/// Makes a file whole that may have been left behind in the middle of a write.
pub fn recover_file(name: FileName, file: File) -> io::Result<Recovered> {
    let Some(mut scan) = scan(&file)? else { return Ok(Recovered::Foreign) };
    if scan.fragments.is_empty() {
        return Ok(Recovered::Empty);
    }
    if scan.end.is_some() {
        if scan.whole < scan.size {
            // Nothing of ours is ever written behind the end.
            MediaFile::new(file, scan.whole).append(&[])?;
        }
        return Ok(Recovered::File(entry(name, &scan)));
    }
    let mut media = MediaFile::new(file, scan.whole);
    let end = EndMark { gap: Some(RECORDER_DOWN.to_owned()), until: None, closed: false };
    // Cut off first, so that a volume that is full gets the room that the mark needs.
    media.append(&[])?;
    match media.append(&[mark::write(&Mark::End(end.clone()))]) {
        Ok(length) => {
            scan.whole += length;
            scan.end = Some(end);
            media.sync()?;
            Ok(Recovered::File(entry(name, &scan)))
        }
        // Without room for the mark the file is as good: the next time it is walked again.
        Err(_) => Ok(Recovered::File(FileEntry { gap_after: end.gap, ..entry(name, &scan) })),
    }
}

/// What was found of an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedHour {
    /// The files, by run and sequence.
    pub files: Vec<FileEntry>,
    /// Whether the playlist must be written again.
    pub changed: bool,
    /// Names in the playlist whose files are gone.
    pub gone: Vec<FileName>,
}

/// The files of an hour: from its playlist where that is whole and fits the folder, from the media files where not. `live` is
/// being written and left alone.
pub fn load_hour(folder: &Folder, hour: Hour, live: Option<FileName>) -> Result<LoadedHour, ArchiveError> {
    let text = folder.read(PLAYLIST, LARGEST_PLAYLIST).ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
    let parsed = text.map(|text| playlist::parse(hour, &text));
    if let Some(Err(error)) = &parsed {
        tracing::warn!(folder = %folder.path().display(), %error, "the index of this hour is damaged; rebuilding it");
    }
    let listed = parsed.and_then(Result::ok).unwrap_or_default();
    let mut files = Vec::with_capacity(listed.len());
    for (file, kind) in folder.list()? {
        if kind != Kind::File {
            continue;
        }
        if file == format!("{PLAYLIST}{TEMPORARY_SUFFIX}") {
            folder.remove(&file)?;
            continue;
        }
        let Ok(name) = FileName::from_file(hour, &file) else { continue };
        if live == Some(name) {
            continue;
        }
        let size = folder.size(&file)?;
        match listed.iter().find(|entry| entry.name == name) {
            Some(entry) if size == Some(entry.bytes) => files.push(entry.clone()),
            _ => files.extend(recover_in(folder, name)?),
        }
    }
    files.sort_by_key(FileEntry::order);
    let changed = files != listed;
    let is_there = |name: FileName| live == Some(name) || files.iter().any(|file| file.name == name);
    let gone = listed.iter().map(|entry| entry.name).filter(|name| !is_there(*name)).collect();
    Ok(LoadedHour { files, changed, gone })
}

fn recover_in(folder: &Folder, name: FileName) -> Result<Option<FileEntry>, ArchiveError> {
    let Some(file) = folder.open_for_writing(&name.file())? else { return Ok(None) };
    let problem = |error| ArchiveError::io(format!("recover {}", folder.path().join(name.file()).display()), error);
    match recover_file(name, file).map_err(problem)? {
        Recovered::File(entry) => {
            tracing::info!(file = %name, end = %entry.end, "recovered a file that was not in its index");
            Ok(Some(entry))
        }
        Recovered::Empty => {
            folder.remove(&name.file())?;
            Ok(None)
        }
        Recovered::Foreign => {
            tracing::warn!(file = %name, "a file here is not the archive's; leaving it alone");
            Ok(None)
        }
    }
}
