//! One media file being written: appends whole pieces or nothing, and syncs. Must not know when files begin or end.

use std::fs::File;
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};

use bytes::Bytes;

use super::cut::BatchFacts;
use super::mark::{self, FragmentMark, Mark};
use crate::media::fmp4::writer::Fragment;
use crate::media::frame::RunId;

/// Slices handed over in one call (Linux takes at most 1024).
const SLICES: usize = 512;

/// A file that only grows by whole pieces.
#[derive(Debug)]
pub struct MediaFile {
    file: File,
    /// Bytes that are whole.
    length: u64,
    unsynced: bool,
    /// A failed append may have left bytes behind.
    torn: bool,
}

impl MediaFile {
    /// A file that is whole up to `length`; what follows is cut off.
    pub const fn new(file: File, length: u64) -> Self {
        Self { file, length, unsynced: true, torn: true }
    }

    /// Bytes that are whole.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The file itself, for reading.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Appends all the pieces; on an error (a full volume) the file ends where it ended before.
    pub fn append(&mut self, pieces: &[Bytes]) -> io::Result<u64> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
            self.torn = false;
        }
        let result = self.write_all(pieces);
        if result.is_err() {
            self.torn = true;
            // At once, so that a full volume has the room; if that fails, it is done before the next attempt.
            if self.file.set_len(self.length).is_ok() && self.file.seek(SeekFrom::Start(self.length)).is_ok() {
                self.torn = false;
            }
        }
        let written = result?;
        self.length += written;
        self.unsynced = true;
        Ok(written)
    }

    fn write_all(&mut self, pieces: &[Bytes]) -> io::Result<u64> {
        let mut total = 0;
        for group in pieces.chunks(SLICES) {
            let mut slices: Vec<IoSlice<'_>> = group.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut rest = &mut slices[..];
            // Empty slices at the front count as written.
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match self.file.write_vectored(rest) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        total += written as u64;
                        IoSlice::advance_slices(&mut rest, written);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(total)
    }

    /// Appends a fragment behind its mark. Returns the bytes of both.
    pub fn append_fragment(&mut self, facts: BatchFacts, run: RunId, fragment: Fragment) -> io::Result<u64> {
        let mut hasher = crc32fast::Hasher::new();
        fragment.chunks().for_each(|chunk| hasher.update(chunk));
        let length = fragment.len() as u64;
        let mark = mark::write(&Mark::Fragment(FragmentMark { facts, run, length, checksum: hasher.finalize() }));
        let pieces: Vec<Bytes> = std::iter::once(mark).chain(fragment.into_chunks()).collect();
        self.append(&pieces)
    }

    /// Makes what was written survive a loss of power. Nothing to do costs nothing.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.file.sync_data()?;
            self.unsynced = false;
        }
        Ok(())
    }
}
