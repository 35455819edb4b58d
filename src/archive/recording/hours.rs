//! The hours of a recording in memory and on the disk: read when they are first asked for, forgotten when others are, and
//! written as playlists. Must not know who changes them.

use std::sync::{Arc, MutexGuard};

use super::{RecordingIndex, State};
use crate::archive::folder::Folder;
use crate::archive::index::{FileEntry, Hour};
use crate::archive::layout::PLAYLIST;
use crate::archive::recovery::{self, LoadedHour};
use crate::archive::{ArchiveError, playlist};

/// How many hours of one recording are kept in memory: an hour is some 50 kB, and there may be many recordings.
const LOADED_HOURS: usize = 6;

/// What an hour amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HourSummary {
    /// Media files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Debug)]
pub(super) enum HourState {
    OnDisk(Option<HourSummary>),
    Loaded { files: Arc<Vec<FileEntry>>, used: u64 },
}

impl RecordingIndex {
    pub(super) fn hour_folder(&self, hour: Hour) -> Result<Option<Folder>, ArchiveError> {
        match self.folder.child(&hour.date_folder())? {
            Some(day) => day.child(&hour.hour_folder()),
            None => Ok(None),
        }
    }

    pub(super) fn loaded(&self, hour: Hour) -> Arc<Vec<FileEntry>> {
        match self.state().hours.get(&hour) {
            Some(HourState::Loaded { files, .. }) => files.clone(),
            _ => Arc::default(),
        }
    }

    /// Reads an hour from the disk unless it is in memory.
    pub(super) fn load(&self, hour: Hour, disk: &MutexGuard<'_, ()>) -> Result<(), ArchiveError> {
        if !matches!(self.state().hours.get(&hour), Some(HourState::OnDisk(_))) {
            return Ok(());
        }
        let Some(folder) = self.hour_folder(hour)? else {
            self.state().hours.remove(&hour);
            return Ok(());
        };
        let live = self.state().writing;
        let LoadedHour { files, changed, gone } = recovery::load_hour(&folder, hour, live)?;
        // Somebody took them away, or the program was killed between a deletion and its entry in the index.
        self.retire(&gone, disk);
        if changed && let Err(error) = self.write_playlist(hour, &files, live.is_some_and(|live| live.hour == hour)) {
            // What is known is known; on a full volume the playlist is written when there is room.
            tracing::warn!(recording = %self.path, %hour, %error, "cannot write the index of an hour");
        }
        let mut state = self.state();
        let used = state.clock;
        state.hours.insert(hour, HourState::Loaded { files: Arc::new(files), used });
        forget(&mut state);
        Ok(())
    }

    /// Puts the files of an hour in place, in memory and on the disk.
    pub(super) fn put(
        &self,
        hour: Hour,
        files: Vec<FileEntry>,
        _disk: &MutexGuard<'_, ()>,
    ) -> Result<(), ArchiveError> {
        let live_here = self.state().writing.is_some_and(|live| live.hour == hour);
        let written = self.write_playlist(hour, &files, live_here);
        let mut state = self.state();
        if files.is_empty() && !live_here {
            state.hours.remove(&hour);
        } else {
            let used = state.clock;
            state.hours.insert(hour, HourState::Loaded { files: Arc::new(files), used });
        }
        drop(state);
        written
    }

    pub(super) fn write_playlist(&self, hour: Hour, files: &[FileEntry], live_here: bool) -> Result<(), ArchiveError> {
        let Some(day) = self.folder.child(&hour.date_folder())? else { return Ok(()) };
        let Some(folder) = day.child(&hour.hour_folder())? else { return Ok(()) };
        if !files.is_empty() {
            folder.replace(PLAYLIST, playlist::format(hour, files, !live_here).as_bytes())?;
            return folder.sync();
        }
        folder.remove(PLAYLIST)?;
        if !live_here && day.remove_empty_child(&hour.hour_folder())? {
            self.folder.remove_empty_child(&hour.date_folder())?;
        }
        Ok(())
    }
}

pub(super) fn summarise(files: &[FileEntry]) -> HourSummary {
    HourSummary { files: files.len(), bytes: files.iter().map(|file| file.bytes).sum() }
}

/// `files` with `live` in its place.
pub(super) fn with(files: &[FileEntry], live: &FileEntry) -> Vec<FileEntry> {
    let mut all = files.to_vec();
    let place = all.partition_point(|file| file.order() < live.order());
    all.insert(place, live.clone());
    all
}

/// Drops the hours that were longest unused, beyond what is kept in memory.
pub(super) fn forget(state: &mut State) {
    let live = state.live.as_ref().map(|live| live.name.hour);
    loop {
        let mut loaded = 0;
        let mut oldest: Option<(u64, Hour, HourSummary)> = None;
        for (hour, hour_state) in &state.hours {
            if let HourState::Loaded { files, used } = hour_state {
                loaded += 1;
                if Some(*hour) != live && oldest.is_none_or(|(oldest, ..)| *used < oldest) {
                    oldest = Some((*used, *hour, summarise(files)));
                }
            }
        }
        match oldest {
            Some((_, hour, summary)) if loaded > LOADED_HOURS => {
                state.hours.insert(hour, HourState::OnDisk(Some(summary)));
            }
            _ => return,
        }
    }
}
