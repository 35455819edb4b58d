//! Deleting many files of a recording, so that each hour's playlist is written once. Must not decide what goes.

use std::sync::MutexGuard;

use super::RecordingIndex;
use crate::archive::ArchiveError;
use crate::archive::description::Description;
use crate::archive::index::{FileEntry, FileName};
use crate::archive::names::RetiredNames;
use crate::media::frame::UtcMicros;

impl RecordingIndex {
    /// Deletes one media file and takes it out of its hour's playlist; folders that are empty then go too. Returns its size.
    ///
    /// # Errors
    /// [`ArchiveError::InUse`], [`ArchiveError::NotFound`], or what the disk says.
    pub fn delete_file(&self, name: FileName) -> Result<u64, ArchiveError> {
        let not_found = || ArchiveError::NotFound { what: format!("{name} of recording {}", self.path) };
        self.delete_files(&[name]).pop().unwrap_or_else(|| Err(not_found()))
    }

    /// Deletes media files of one hour and takes them out of its playlist; folders that are empty then go too. Returns for each
    /// its size, or why it stays.
    pub fn delete_files(&self, names: &[FileName]) -> Vec<Result<u64, ArchiveError>> {
        let disk = self.disk();
        self.retire(names, &disk);
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
        // Again, where there was no room to write it down before.
        self.retire(names, &disk);
        drop(disk);
        self.changed();
        results
    }

    /// Sees to it that names are never given again, before their files go: a program that is killed in between must know it too.
    pub fn retire_names(&self, names: &[FileName]) {
        self.retire(names, &self.disk());
    }

    pub(super) fn retire(&self, names: &[FileName], disk: &MutexGuard<'_, ()>) {
        let retired = {
            let mut state = self.state();
            state.retired = names.iter().fold(state.retired, |known, name| Some(RetiredNames::with(known, *name)));
            state.retired
        };
        // A folder that nobody claimed is written by nobody.
        let Some(description) = self.description().filter(|description| description.retired_names != retired) else {
            return;
        };
        let description = Description { retired_names: retired, ..(*description).clone() };
        if let Err(error) = self.put_description(description, disk) {
            // Known as long as the program runs; on a full volume the files must go first.
            tracing::warn!(recording = %self.path, %error, "cannot write down the names of files that go");
        }
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
