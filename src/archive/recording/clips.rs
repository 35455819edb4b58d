//! The files of a clip, in the recording's own folder. Must not look into them (that is `archive::clip_part`).

use std::fs::File;
use std::sync::Arc;

use super::{Lease, RecordingIndex};
use crate::archive::ArchiveError;
use crate::archive::folder::Kind;
use crate::archive::layout::{clip_file, parse_clip_file};
use crate::media::frame::UtcMicros;

/// One file of a clip, as it is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipFile {
    /// `clip.mp4`, `clip-2.mp4`, …
    pub name: String,
    /// Counts from 1.
    pub part: u32,
    /// Bytes.
    pub bytes: u64,
    /// Last written.
    pub modified: UtcMicros,
}

impl RecordingIndex {
    /// The files of the clip, in order.
    pub fn clip_files(&self) -> Result<Vec<ClipFile>, ArchiveError> {
        let mut found = Vec::new();
        for (name, kind) in self.folder.list()? {
            let Ok(part) = parse_clip_file(&name) else { continue };
            if kind != Kind::File {
                continue;
            }
            let Some(file) = self.folder.open_file(&name)? else { continue };
            let metadata =
                file.metadata().map_err(|error| ArchiveError::io(format!("look at {name} of {}", self.path), error))?;
            let modified = metadata.modified().ok().and_then(|at| jiff::Timestamp::try_from(at).ok());
            found.push(ClipFile {
                name,
                part,
                bytes: metadata.len(),
                modified: modified.map_or(UtcMicros(0), UtcMicros::from_timestamp),
            });
        }
        found.sort_by_key(|file| file.part);
        Ok(found)
    }

    /// Opens a part of the clip for reading. While it is recorded it is a fragmented MP4 that grows: see
    /// [`RecordingIndex::clip_live_bytes`].
    pub fn open_clip(&self, part: u32) -> Result<File, ArchiveError> {
        let name = clip_file(part);
        let file = self.folder.open_file(&name)?;
        file.ok_or_else(|| ArchiveError::NotFound { what: format!("{name} of recording {}", self.path) })
    }

    /// Whether a part of the clip is being written.
    pub fn clip_is_live(&self, part: u32) -> bool {
        self.clip_live_bytes(part).is_some()
    }

    /// Of a part that is being written: so many bytes of it are whole. Do not read further; `None` for one that is not.
    pub fn clip_live_bytes(&self, part: u32) -> Option<u64> {
        self.state().live_clip.filter(|(live, _)| *live == part).map(|(_, bytes)| bytes)
    }

    /// Keeps a part of the clip from being deleted while the lease lives.
    pub fn lease_clip(self: &Arc<Self>, part: u32) -> Result<Lease, ArchiveError> {
        let _disk = self.disk();
        self.open_clip(part)?;
        Ok(self.lease_key(clip_file(part)))
    }

    /// Whether a part of the clip may be deleted now; else who has it.
    pub fn clip_in_use(&self, part: u32) -> Option<&'static str> {
        if self.clip_is_live(part) {
            return Some("being written");
        }
        self.state().leases.contains_key(&clip_file(part)).then_some("being exported")
    }

    /// Deletes a part of the clip. Returns its size.
    ///
    /// # Errors
    /// [`ArchiveError::InUse`], [`ArchiveError::NotFound`], or what the disk says.
    pub fn delete_clip(&self, part: u32) -> Result<u64, ArchiveError> {
        let _disk = self.disk();
        let name = clip_file(part);
        if let Some(by) = self.clip_in_use(part) {
            return Err(ArchiveError::InUse { path: self.path.clone(), name, by });
        }
        let bytes = self.open_clip(part)?.metadata().map_or(0, |metadata| metadata.len());
        self.folder.remove(&name)?;
        self.changed();
        Ok(bytes)
    }

    /// Which part is being written, and how many bytes of it are whole.
    pub(in crate::archive) fn set_live_clip(&self, live: Option<(u32, u64)>) {
        self.state().live_clip = live;
        self.changed();
    }
}
