//! Deleting many files of a recording, so that each hour's playlist is written once. Must not decide what goes.

use super::RecordingIndex;
use crate::archive::ArchiveError;
use crate::archive::description::Description;
use crate::archive::index::{FileEntry, FileName};
use crate::archive::layout::clip_file;
use crate::media::frame::UtcMicros;

impl RecordingIndex {
    /// Deletes media files of one hour and takes them out of its playlist; folders that are empty then go too. Returns for each
    /// its size, or why it stays.
    pub fn delete_files(&self, names: &[FileName]) -> Vec<Result<u64, ArchiveError>> {
        let disk = self.disk();
        let mut results = Vec::with_capacity(names.len());
        for group in names.chunk_by(|one, other| one.hour == other.hour) {
            let Some(hour) = group.first().map(|name| name.hour) else { continue };
            let folder = self.load(hour, &disk).and_then(|()| self.hour_folder(hour));
            let before = self.loaded(hour);
            let mut gone: Vec<FileName> = Vec::new();
            for name in group {
                let not_found = || ArchiveError::NotFound { what: format!("{name} of recording {}", self.path) };
                if let Some(by) = self.in_use(*name) {
                    results.push(Err(ArchiveError::InUse { path: self.path.clone(), name: name.to_string(), by }));
                    continue;
                }
                let removed = match &folder {
                    Ok(Some(folder)) => folder.remove(&name.file()),
                    Ok(None) => Ok(false),
                    Err(error) => Err(ArchiveError::Io {
                        what: format!("open the folder of {name}"),
                        source: std::io::Error::other(error.to_string()),
                    }),
                };
                let size = before.iter().find(|file| file.name == *name).map_or(0, |file| file.bytes);
                results.push(match removed {
                    Ok(existed) => {
                        gone.push(*name);
                        if existed { Ok(size) } else { Err(not_found()) }
                    }
                    Err(error) => Err(error),
                });
            }
            if gone.is_empty() {
                continue;
            }
            let after: Vec<FileEntry> = before.iter().filter(|file| !gone.contains(&file.name)).cloned().collect();
            if let Err(error) = self.put(hour, after, &disk) {
                // An entry without a file is dropped when the hour is read again.
                tracing::warn!(recording = %self.path, %hour, %error, "cannot write the index of an hour");
            }
        }
        drop(disk);
        self.changed();
        results
    }

    /// Whether a part of the clip may be deleted now; else who has it.
    pub fn clip_in_use(&self, part: u32) -> Option<&'static str> {
        if self.clip_is_live(part) {
            return Some("being written");
        }
        self.state().leases.contains_key(&clip_file(part)).then_some("being exported")
    }

    /// Remembers that retention deleted files up to an instant, so that coverage can say so.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn note_deleted(&self, until: UtcMicros) -> Result<(), ArchiveError> {
        // A folder that nobody claimed has no description, and nobody asks for its coverage.
        if self.description().is_none() {
            return Ok(());
        }
        self.change_description(|existing| {
            let missing = || ArchiveError::NotFound { what: format!("description of recording {}", self.path) };
            let description = existing.ok_or_else(missing)?;
            let deleted_until = description.deleted_until.max(Some(until));
            Ok(Description { deleted_until, ..description })
        })
    }
}
