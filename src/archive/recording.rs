//! The index of one recording, shared by its writer and any number of readers: which hours there are, which files an hour
//! holds (the one that is being written included), who reads which. Hours are read from their playlists when they are first
//! asked for, and forgotten when others are. Blocks on the disk; must not look into media files itself (that is
//! [`super::recovery`]).

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::ArchiveError;
use super::description::Description;
use super::folder::{Folder, Kind};
use super::index::{FileEntry, FileName, Hour, RecordingPath};
use super::layout::parse_date;
use super::names::RetiredNames;
use crate::media::frame::UtcMicros;

mod clips;
mod hours;
mod lease;
mod removal;
mod writing;

pub use clips::ClipFile;
pub use hours::HourSummary;
use hours::{HourState, summarise, with};
pub use lease::Lease;

/// A file begins in one hour and is forced to end within this many later ones.
const LONGEST_FILE_HOURS: i64 = 3;

#[derive(Debug, Default)]
struct State {
    hours: BTreeMap<Hour, HourState>,
    live: Option<Arc<FileEntry>>,
    /// The file that is being written, from before its first byte on.
    writing: Option<FileName>,
    /// The part of a clip that is being written, and how many bytes of it are whole.
    live_clip: Option<(u32, u64)>,
    leases: BTreeMap<String, usize>,
    description: Option<Arc<Description>>,
    /// As in the description, or ahead of it where that could not be written.
    retired: Option<RetiredNames>,
    /// The file that was closed or recovered last, by run and sequence.
    last: Option<FileName>,
    clock: u64,
}

/// The index of one recording.
#[derive(Debug)]
pub struct RecordingIndex {
    path: RecordingPath,
    folder: Folder,
    state: Mutex<State>,
    /// Held while the disk is changed or an hour is read, so that neither sees the other half done. Taken before `state`.
    disk: Mutex<()>,
    changes: watch::Sender<u64>,
}

impl RecordingIndex {
    pub(super) fn open(path: RecordingPath, folder: Folder) -> Result<Self, ArchiveError> {
        let mut hours = BTreeMap::new();
        for (date, kind) in folder.list()? {
            if kind != Kind::Folder || parse_date(&date).is_none() {
                continue;
            }
            let Some(day) = folder.child(&date)? else { continue };
            for (name, kind) in day.list()? {
                if kind == Kind::Folder
                    && let Ok(hour) = Hour::from_folders(&date, &name)
                {
                    hours.insert(hour, HourState::OnDisk(None));
                }
            }
        }
        let description = Description::read(&folder)?.map(Arc::new);
        let retired = description.as_ref().and_then(|description| description.retired_names);
        let state = State { hours, description, retired, ..State::default() };
        Ok(Self { path, folder, state: Mutex::new(state), disk: Mutex::new(()), changes: watch::channel(0).0 })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> MutexGuard<'_, ()> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Which recording.
    pub fn path(&self) -> &RecordingPath {
        &self.path
    }

    /// Tells of every change: a flush, a closed file, a deletion. The value counts them.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whose it is and how far its clip has got; `None` for a folder that nobody claimed.
    pub fn description(&self) -> Option<Arc<Description>> {
        self.state().description.clone()
    }

    pub(super) fn change_description(
        &self,
        change: impl FnOnce(Option<Description>) -> Result<Description, ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let disk = self.disk();
        let before = self.state().description.clone();
        let after = change(before.as_deref().cloned())?;
        if before.as_deref() == Some(&after) { Ok(()) } else { self.put_description(after, &disk) }
    }

    fn put_description(&self, description: Description, _disk: &MutexGuard<'_, ()>) -> Result<(), ArchiveError> {
        let retired_names = self.state().retired;
        let description = Description { retired_names, ..description };
        description.write(&self.folder)?;
        self.state().description = Some(Arc::new(description));
        self.changed();
        Ok(())
    }

    /// The UTC hours that hold files, oldest first.
    pub fn hours(&self) -> Vec<Hour> {
        let state = self.state();
        let mut hours: Vec<Hour> = state.hours.keys().copied().collect();
        if let Some(live) = &state.live
            && let Err(place) = hours.binary_search(&live.name.hour)
        {
            hours.insert(place, live.name.hour);
        }
        hours
    }

    /// How much an hour holds, the file that is being written included.
    pub fn summary(&self, hour: Hour) -> Result<HourSummary, ArchiveError> {
        let known = {
            let state = self.state();
            match state.hours.get(&hour) {
                Some(HourState::OnDisk(summary)) if state.live.as_ref().is_none_or(|live| live.name.hour != hour) => {
                    *summary
                }
                _ => None,
            }
        };
        match known {
            Some(summary) => Ok(summary),
            None => Ok(summarise(&self.files(hour)?)),
        }
    }

    /// The files that begin in an hour, by run and sequence, the one that is being written included; empty for an hour that
    /// holds none.
    pub fn files(&self, hour: Hour) -> Result<Arc<Vec<FileEntry>>, ArchiveError> {
        if let Some(files) = self.files_in_memory(hour) {
            return Ok(files);
        }
        let disk = self.disk();
        self.load(hour, &disk)?;
        drop(disk);
        Ok(self.files_in_memory(hour).unwrap_or_default())
    }

    fn files_in_memory(&self, hour: Hour) -> Option<Arc<Vec<FileEntry>>> {
        let mut state = self.state();
        state.clock += 1;
        let now = state.clock;
        let live = state.live.clone().filter(|live| live.name.hour == hour);
        match (state.hours.get_mut(&hour), live) {
            (Some(HourState::OnDisk(_)), _) => None,
            (Some(HourState::Loaded { files, used }), live) => {
                *used = now;
                let files = files.clone();
                drop(state);
                Some(live.map_or_else(|| files.clone(), |live| Arc::new(with(&files, &live))))
            }
            (None, live) => Some(Arc::new(live.iter().map(|live| (**live).clone()).collect())),
        }
    }

    /// Files of which any part lies within `from..to`, by run and sequence.
    pub fn files_between(&self, from: UtcMicros, to: UtcMicros) -> Result<Vec<FileEntry>, ArchiveError> {
        let (first, last) = (Hour::of(from).plus_hours(-LONGEST_FILE_HOURS), Hour::of(to));
        let mut found = Vec::new();
        for hour in self.hours().into_iter().filter(|hour| (first..=last).contains(hour)) {
            let files = self.files(hour)?;
            found.extend(files.iter().filter(|file| file.start < to && file.end > from).cloned());
        }
        found.sort_by_key(FileEntry::order);
        Ok(found)
    }

    /// The file with the newest frames (by run and sequence): the one being written, the one that was closed last, else the
    /// newest of the newest hours.
    pub fn newest(&self) -> Result<Option<FileEntry>, ArchiveError> {
        let (live, last) = {
            let state = self.state();
            (state.live.clone(), state.last)
        };
        if let Some(live) = live {
            return Ok(Some((*live).clone()));
        }
        if let Some(last) = last
            && let Some(file) = self.file(last)?
        {
            return Ok(Some(file));
        }
        let mut newest: Option<FileEntry> = None;
        for hour in self.hours().into_iter().rev().take(2) {
            let files = self.files(hour)?;
            if let Some(last) = files.iter().max_by_key(|file| file.order())
                && newest.as_ref().is_none_or(|newest| newest.order() < last.order())
            {
                newest = Some(last.clone());
            }
        }
        Ok(newest)
    }

    /// The file that is being written, as of its last flush.
    pub fn live(&self) -> Option<Arc<FileEntry>> {
        self.state().live.clone()
    }

    /// What the index knows of one file.
    pub fn file(&self, name: FileName) -> Result<Option<FileEntry>, ArchiveError> {
        Ok(self.files(name.hour)?.iter().find(|file| file.name == name).cloned())
    }

    /// Opens a media file for reading. Bytes beyond [`FileEntry::bytes`] are not whole yet: do not read them.
    pub fn open_media(&self, name: FileName) -> Result<File, ArchiveError> {
        let not_found = || ArchiveError::NotFound { what: format!("{name} of recording {}", self.path) };
        let folder = self.hour_folder(name.hour)?.ok_or_else(not_found)?;
        folder.open_file(&name.file())?.ok_or_else(not_found)
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }
}
