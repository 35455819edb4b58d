//! Walks a media file of the archive from mark to mark, without reading the media, and finds out up to where it is whole. The
//! base of recovery, of rebuilding an index and of finishing a clip. Reads only.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::mark::{self, EndMark, FileMark, FragmentMark, Mark};

/// Checksums are verified of so many bytes at the end of a file that was not closed: more than the seconds that a loss of power
/// can leave half-written.
pub const VERIFIED_TAIL: u64 = 64 << 20;

/// A fragment where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where its mark begins.
    pub offset: u64,
    /// Where its `moof` begins.
    pub moof: u64,
    /// What its mark says.
    pub mark: FragmentMark,
}

impl Found {
    /// The first byte after it.
    pub const fn end(&self) -> u64 {
        self.moof + self.mark.length
    }
}

/// What a walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// What all fragments have in common.
    pub file: FileMark,
    /// Bytes before the first mark: `ftyp` and `moov`.
    pub header_bytes: u64,
    /// Bytes up to the first fragment.
    pub start: u64,
    /// All whole fragments.
    pub fragments: Vec<Found>,
    /// The end mark; `None`: it was never closed.
    pub end: Option<EndMark>,
    /// The first byte that does not belong: the size of a file that is whole.
    pub whole: u64,
    /// Size of the file.
    pub size: u64,
}

/// Type and whole size of the box at `offset`, and where its body begins; `None` where there is none that fits into `size`.
fn box_at(file: &File, offset: u64, size: u64) -> io::Result<Option<([u8; 4], u64, u64)>> {
    let mut header = [0; 16];
    let available = usize::try_from((size.saturating_sub(offset)).min(16)).unwrap_or(16);
    if available < 8 {
        return Ok(None);
    }
    file.read_exact_at(&mut header[..available], offset)?;
    let kind = [header[4], header[5], header[6], header[7]];
    let short = u64::from(u32::from_be_bytes([header[0], header[1], header[2], header[3]]));
    let (length, body) = if short == 1 {
        if available < 16 {
            return Ok(None);
        }
        let long = [header[8], header[9], header[10], header[11], header[12], header[13], header[14], header[15]];
        (u64::from_be_bytes(long), 16)
    } else {
        (short, 8)
    };
    let fits = length >= body && offset.checked_add(length).is_some_and(|end| end <= size);
    Ok(fits.then_some((kind, length, body)))
}

fn mark_at(file: &File, offset: u64, size: u64) -> io::Result<Option<(Mark, u64)>> {
    match box_at(file, offset, size)? {
        Some((kind, length, body)) if kind == *b"uuid" && length <= mark::LARGEST => {
            let mut content = vec![0; usize::try_from(length - body).unwrap_or(0)];
            file.read_exact_at(&mut content, offset + body)?;
            Ok(mark::parse(&content).map(|mark| (mark, length)))
        }
        _ => Ok(None),
    }
}

/// Whether the bytes that a fragment mark announces are a `moof` and an `mdat`.
fn is_fragment(file: &File, offset: u64, length: u64, size: u64) -> io::Result<bool> {
    let Some((kind, moof, _)) = box_at(file, offset, size)? else { return Ok(false) };
    if kind != *b"moof" {
        return Ok(false);
    }
    Ok(matches!(box_at(file, offset + moof, size)?, Some((kind, mdat, _)) if kind == *b"mdat" && moof + mdat == length))
}

/// CRC-32 of a stretch of a file.
fn checksum(file: &File, mut offset: u64, mut length: u64) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    while length > 0 {
        let take = usize::try_from(length).unwrap_or(buffer.len()).min(buffer.len());
        file.read_exact_at(&mut buffer[..take], offset)?;
        hasher.update(&buffer[..take]);
        offset += take as u64;
        length -= take as u64;
    }
    Ok(hasher.finalize())
}

/// Walks a file. `None`: it has no whole header with our mark, so it is not ours or nothing was written into it. Checksums of
/// the newest fragments of a file without an end mark are verified; the first that does not fit ends the walk.
pub fn scan(file: &File) -> io::Result<Option<Scan>> {
    let size = file.metadata()?.len();
    let mut offset = 0;
    let mut movie = false;
    let header_bytes = loop {
        match box_at(file, offset, size)? {
            Some((kind, length, _)) if matches!(&kind, b"ftyp" | b"free" | b"moov" | b"mdat") => {
                // An `mdat` here is the placeholder of a finished clip: what it holds was walked when it was finished.
                if kind == *b"mdat" {
                    return Ok(None);
                }
                movie |= kind == *b"moov";
                offset += length;
            }
            _ => break offset,
        }
    };
    let Some((Mark::File(first), length)) = mark_at(file, offset, size)? else { return Ok(None) };
    if !movie {
        return Ok(None);
    }
    let start = offset + length;
    let mut scan = Scan { file: first, header_bytes, start, fragments: Vec::new(), end: None, whole: start, size };
    while let Some((mark, length)) = mark_at(file, scan.whole, size)? {
        match mark {
            Mark::Fragment(mark) => {
                let found = Found { offset: scan.whole, moof: scan.whole + length, mark };
                if !is_fragment(file, found.moof, found.mark.length, size)? {
                    break;
                }
                scan.whole = found.end();
                scan.fragments.push(found);
            }
            Mark::End(end) => {
                scan.end = Some(end);
                scan.whole += length;
                break;
            }
            Mark::File(_) => break,
        }
    }
    if scan.end.is_none() {
        verify(file, &mut scan)?;
    }
    Ok(Some(scan))
}

/// Cuts `scan` short at the first fragment near its end whose content is not what was written.
fn verify(file: &File, scan: &mut Scan) -> io::Result<()> {
    let from = scan.whole.saturating_sub(VERIFIED_TAIL);
    let first = scan.fragments.partition_point(|found| found.end() <= from);
    for number in first..scan.fragments.len() {
        let found = &scan.fragments[number];
        if checksum(file, found.moof, found.mark.length)? != found.mark.checksum {
            scan.whole = found.offset;
            scan.fragments.truncate(number);
            break;
        }
    }
    Ok(())
}
