//! What a writer tells the index: a file begun, grown, closed or given up, and why nothing follows it. Must not write media.

use std::fs::File;
use std::sync::{Arc, MutexGuard};

use super::RecordingIndex;
use super::hours::{HourState, forget, with};
use crate::archive::ArchiveError;
use crate::archive::index::{FileEntry, FileName, Hour, RECORDER_DOWN};
use crate::archive::layout::WRITING;
use crate::archive::names::RetiredNames;
use crate::media::frame::UtcMicros;

impl RecordingIndex {
    /// Looks after what the last writer left behind: recovers the newest hours, and explains the gap after the last file.
    pub(in crate::archive) fn take_over(&self) -> Result<(), ArchiveError> {
        let disk = self.disk();
        if self.state().writing.is_some() {
            return Ok(());
        }
        let mut hours: Vec<Hour> = self.hours().into_iter().rev().take(2).collect();
        // Where the clock had been set back, the file that was written last is in no newest hour.
        let marked = self.folder.read(WRITING, 256)?.and_then(|bytes| String::from_utf8(bytes).ok());
        let marked: Option<FileName> = marked.and_then(|text| text.trim().parse().ok());
        hours.extend(marked.map(|name| name.hour));
        if let Some(last) = self.state().last {
            // This program has written here before, and knows.
            hours = vec![last.hour];
        }
        let mut last: Option<FileEntry> = None;
        for hour in hours {
            self.load(hour, &disk)?;
            for file in self.loaded(hour).iter() {
                if last.as_ref().is_none_or(|last| last.order() < file.order()) {
                    last = Some(file.clone());
                }
            }
        }
        self.state().last = last.as_ref().map(|last| last.name);
        match last {
            Some(last) if last.gap_after.is_none() => self.change_gap(last.name, Some(RECORDER_DOWN.to_owned()), &disk),
            _ => Ok(()),
        }
    }

    /// Makes a new file for frames that begin at `start`. No name is ever given twice, not even that of a file that is gone.
    pub(in crate::archive) fn create_media(&self, start: UtcMicros) -> Result<(FileName, File), ArchiveError> {
        let disk = self.disk();
        let first = FileName::of(start);
        self.load(first.hour, &disk)?;
        let mut name = RetiredNames::first_free(self.state().retired, first);
        for listed in self.loaded(first.hour).iter().filter(|file| file.name.minute == name.minute) {
            name.counter = name.counter.max(listed.name.counter.saturating_add(1));
        }
        let folder = self.folder.make_child(&name.hour.date_folder())?.make_child(&name.hour.hour_folder())?;
        loop {
            // A file that is in no index may be there all the same.
            if let Some(file) = folder.create_new(&name.file())? {
                // Only a help to recovery: may be lost with the power.
                if let Err(error) = self.folder.replace_unsynced(WRITING, format!("{name}\n").as_bytes()) {
                    drop(file);
                    folder.remove(&name.file())?;
                    return Err(error);
                }
                self.state().writing = Some(name);
                return Ok((name, file));
            }
            name = name.next();
        }
    }

    /// Removes a file into which not even the header got.
    pub(in crate::archive) fn discard_media(&self, name: FileName) {
        let _disk = self.disk();
        self.state().writing = None;
        if let Ok(Some(folder)) = self.hour_folder(name.hour) {
            let _ = folder.remove(&name.file());
        }
    }

    /// The file that is being written has grown.
    pub(in crate::archive) fn set_live(&self, entry: FileEntry) {
        self.state().live = Some(Arc::new(entry));
        self.changed();
    }

    /// The file that was being written is closed: its hour's playlist lists it from now on. May be called again after an error.
    pub(in crate::archive) fn close_live(&self, entry: &FileEntry) -> Result<(), ArchiveError> {
        let disk = self.disk();
        let hour = entry.name.hour;
        let files = self.files_with(entry, &disk)?;
        self.write_playlist(hour, &files, true)?;
        self.no_longer_live(entry.name, files);
        Ok(())
    }

    /// The file that was being written cannot be written any more, nor closed in order.
    pub(in crate::archive) fn abandon_live(&self, entry: &FileEntry) {
        let disk = self.disk();
        let hour = entry.name.hour;
        let name = entry.name;
        let files = self.files_with(entry, &disk).unwrap_or_else(|_| vec![entry.clone()]);
        if let Err(error) = self.write_playlist(hour, &files, true) {
            // The file is not in the playlist then, so that it is recovered when the hour is read again.
            tracing::warn!(recording = %self.path, %hour, %error, "cannot write the index of an hour");
        }
        self.no_longer_live(name, files);
    }

    fn files_with(&self, entry: &FileEntry, disk: &MutexGuard<'_, ()>) -> Result<Vec<FileEntry>, ArchiveError> {
        self.load(entry.name.hour, disk)?;
        let listed = self.loaded(entry.name.hour);
        let others: Vec<FileEntry> = listed.iter().filter(|file| file.name != entry.name).cloned().collect();
        Ok(with(&others, entry))
    }

    fn no_longer_live(&self, name: FileName, files: Vec<FileEntry>) {
        let mut state = self.state();
        let used = state.clock;
        state.last = Some(name);
        state.hours.insert(name.hour, HourState::Loaded { files: Arc::new(files), used });
        state.live = None;
        state.writing = None;
        forget(&mut state);
        drop(state);
        self.changed();
    }

    /// Makes the names in an hour's folder survive a loss of power.
    pub(in crate::archive) fn sync_hour(&self, hour: Hour) -> Result<(), ArchiveError> {
        self.hour_folder(hour)?.map_or(Ok(()), |folder| folder.sync())
    }

    /// Says why nothing follows a file, or that something does.
    pub(in crate::archive) fn set_gap(&self, name: FileName, gap: Option<String>) -> Result<(), ArchiveError> {
        let disk = self.disk();
        self.change_gap(name, gap, &disk)
    }

    fn change_gap(&self, name: FileName, gap: Option<String>, disk: &MutexGuard<'_, ()>) -> Result<(), ArchiveError> {
        self.load(name.hour, disk)?;
        let mut files = self.loaded(name.hour).as_ref().clone();
        let Some(file) = files.iter_mut().find(|file| file.name == name) else { return Ok(()) };
        if file.gap_after == gap {
            return Ok(());
        }
        file.gap_after = gap;
        self.put(name.hour, files, disk)?;
        self.changed();
        Ok(())
    }

    /// The hour's playlist, as it would be written if no file were added; for an hour that has ended.
    pub(in crate::archive) fn end_hour(&self, hour: Hour) -> Result<(), ArchiveError> {
        let disk = self.disk();
        self.load(hour, &disk)?;
        let files = self.loaded(hour);
        if files.is_empty() { Ok(()) } else { self.write_playlist(hour, &files, false) }
    }
}
