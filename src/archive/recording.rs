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
use super::index::{FileEntry, FileName, Hour, RECORDER_DOWN, RecordingPath};
use super::layout::{PLAYLIST, WRITING, clip_file, parse_clip_file, parse_date};
use super::{playlist, recovery};
use crate::media::frame::UtcMicros;

mod removal;

/// How many hours of one recording are kept in memory: an hour is some 50 kB, and there may be many recordings.
const LOADED_HOURS: usize = 6;
/// A file begins in one hour and is forced to end within this many later ones.
const LONGEST_FILE_HOURS: i64 = 3;

/// What an hour amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HourSummary {
    /// Media files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

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

#[derive(Debug)]
enum HourState {
    OnDisk(Option<HourSummary>),
    Loaded { files: Arc<Vec<FileEntry>>, used: u64 },
}

#[derive(Debug, Default)]
struct State {
    hours: BTreeMap<Hour, HourState>,
    live: Option<Arc<FileEntry>>,
    /// The file that is being written, from before its first byte on.
    writing: Option<FileName>,
    /// The part of a clip that is being written.
    live_clip: Option<String>,
    leases: BTreeMap<String, usize>,
    description: Option<Arc<Description>>,
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
        let state = State { hours, description, ..State::default() };
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
        let _disk = self.disk();
        let before = self.state().description.clone();
        let after = change(before.as_deref().cloned())?;
        if before.as_deref() != Some(&after) {
            after.write(&self.folder)?;
            self.state().description = Some(Arc::new(after));
            self.changed();
        }
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

    /// Opens a part of the clip for reading. While it is recorded it is a fragmented MP4 that grows.
    pub fn open_clip(&self, part: u32) -> Result<File, ArchiveError> {
        let name = clip_file(part);
        let file = self.folder.open_file(&name)?;
        file.ok_or_else(|| ArchiveError::NotFound { what: format!("{name} of recording {}", self.path) })
    }

    /// Whether a part of the clip is being written.
    pub fn clip_is_live(&self, part: u32) -> bool {
        self.state().live_clip.as_deref() == Some(&clip_file(part))
    }

    /// Keeps a file from being deleted while the lease lives (an export).
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when it is gone already.
    pub fn lease(self: &Arc<Self>, name: FileName) -> Result<Lease, ArchiveError> {
        // Under the same lock as a deletion: a file that is leased here is still there, and stays.
        let _disk = self.disk();
        self.open_media(name)?;
        Ok(self.lease_key(name.to_string()))
    }

    /// Keeps a part of the clip from being deleted while the lease lives.
    pub fn lease_clip(self: &Arc<Self>, part: u32) -> Result<Lease, ArchiveError> {
        let _disk = self.disk();
        self.open_clip(part)?;
        Ok(self.lease_key(clip_file(part)))
    }

    fn lease_key(self: &Arc<Self>, key: String) -> Lease {
        *self.state().leases.entry(key.clone()).or_default() += 1;
        Lease { index: self.clone(), key }
    }

    /// Whether a file may be deleted now; else who has it: `being written` or `being exported`.
    pub fn in_use(&self, name: FileName) -> Option<&'static str> {
        let state = self.state();
        if state.writing == Some(name) {
            return Some("being written");
        }
        state.leases.contains_key(&name.to_string()).then_some("being exported")
    }

    /// Deletes one file and takes it out of its hour's playlist; folders that are empty then go too. Returns its size.
    ///
    /// # Errors
    /// [`ArchiveError::InUse`], [`ArchiveError::NotFound`], or what the disk says.
    pub fn delete_file(&self, name: FileName) -> Result<u64, ArchiveError> {
        let disk = self.disk();
        if let Some(by) = self.in_use(name) {
            return Err(ArchiveError::InUse { path: self.path.clone(), name: name.to_string(), by });
        }
        self.load(name.hour, &disk)?;
        let not_found = || ArchiveError::NotFound { what: format!("{name} of recording {}", self.path) };
        let folder = self.hour_folder(name.hour)?.ok_or_else(not_found)?;
        let before = self.loaded(name.hour);
        let size = before.iter().find(|file| file.name == name).map(|file| file.bytes);
        // First the file, then its entry: an entry without a file is dropped when the hour is read again.
        let existed = folder.remove(&name.file())?;
        let after: Vec<FileEntry> = before.iter().filter(|file| file.name != name).cloned().collect();
        self.put(name.hour, after, &disk)?;
        self.changed();
        if existed { Ok(size.unwrap_or(0)) } else { Err(not_found()) }
    }

    /// Deletes a part of the clip. Returns its size.
    ///
    /// # Errors
    /// [`ArchiveError::InUse`], [`ArchiveError::NotFound`], or what the disk says.
    pub fn delete_clip(&self, part: u32) -> Result<u64, ArchiveError> {
        let _disk = self.disk();
        let name = clip_file(part);
        let by = {
            let state = self.state();
            let live = state.live_clip.as_deref() == Some(&name);
            if live { Some("being written") } else { state.leases.contains_key(&name).then_some("being exported") }
        };
        if let Some(by) = by {
            return Err(ArchiveError::InUse { path: self.path.clone(), name, by });
        }
        let bytes = self.open_clip(part)?.metadata().map_or(0, |metadata| metadata.len());
        self.folder.remove(&name)?;
        self.changed();
        Ok(bytes)
    }

    /// Looks after what the last writer left behind: recovers the newest hours, and explains the gap after the last file.
    pub(super) fn take_over(&self) -> Result<(), ArchiveError> {
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

    /// Makes a new file for frames that begin at `start`; no name is ever used twice.
    pub(super) fn create_media(&self, start: UtcMicros) -> Result<(FileName, File), ArchiveError> {
        let _disk = self.disk();
        let mut name = FileName::of(start);
        let folder = self.folder.make_child(&name.hour.date_folder())?.make_child(&name.hour.hour_folder())?;
        loop {
            // A file that was deleted while the index was in memory leaves its name free; a name on the disk is taken.
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
    pub(super) fn discard_media(&self, name: FileName) {
        let _disk = self.disk();
        self.state().writing = None;
        if let Ok(Some(folder)) = self.hour_folder(name.hour) {
            let _ = folder.remove(&name.file());
        }
    }

    /// The file that is being written has grown.
    pub(super) fn set_live(&self, entry: FileEntry) {
        self.state().live = Some(Arc::new(entry));
        self.changed();
    }

    /// The file that was being written is closed: its hour's playlist lists it from now on. May be called again after an error.
    pub(super) fn close_live(&self, entry: &FileEntry) -> Result<(), ArchiveError> {
        let disk = self.disk();
        let hour = entry.name.hour;
        let files = self.files_with(entry, &disk)?;
        self.write_playlist(hour, &files, true)?;
        self.no_longer_live(entry.name, files);
        Ok(())
    }

    /// The file that was being written cannot be written any more, nor closed in order.
    pub(super) fn abandon_live(&self, entry: &FileEntry) {
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
    pub(super) fn sync_hour(&self, hour: Hour) -> Result<(), ArchiveError> {
        self.hour_folder(hour)?.map_or(Ok(()), |folder| folder.sync())
    }

    /// Says why nothing follows a file, or that something does.
    pub(super) fn set_gap(&self, name: FileName, gap: Option<String>) -> Result<(), ArchiveError> {
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
    pub(super) fn end_hour(&self, hour: Hour) -> Result<(), ArchiveError> {
        let disk = self.disk();
        self.load(hour, &disk)?;
        let files = self.loaded(hour);
        if files.is_empty() { Ok(()) } else { self.write_playlist(hour, &files, false) }
    }

    pub(super) fn set_live_clip(&self, part: Option<u32>) {
        self.state().live_clip = part.map(clip_file);
        self.changed();
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    fn hour_folder(&self, hour: Hour) -> Result<Option<Folder>, ArchiveError> {
        match self.folder.child(&hour.date_folder())? {
            Some(day) => day.child(&hour.hour_folder()),
            None => Ok(None),
        }
    }

    fn loaded(&self, hour: Hour) -> Arc<Vec<FileEntry>> {
        match self.state().hours.get(&hour) {
            Some(HourState::Loaded { files, .. }) => files.clone(),
            _ => Arc::default(),
        }
    }

    /// Reads an hour from the disk unless it is in memory.
    fn load(&self, hour: Hour, _disk: &MutexGuard<'_, ()>) -> Result<(), ArchiveError> {
        if !matches!(self.state().hours.get(&hour), Some(HourState::OnDisk(_))) {
            return Ok(());
        }
        let Some(folder) = self.hour_folder(hour)? else {
            self.state().hours.remove(&hour);
            return Ok(());
        };
        let live = self.state().writing;
        let (files, changed) = recovery::load_hour(&folder, hour, live)?;
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
    fn put(&self, hour: Hour, files: Vec<FileEntry>, _disk: &MutexGuard<'_, ()>) -> Result<(), ArchiveError> {
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

    fn write_playlist(&self, hour: Hour, files: &[FileEntry], live_here: bool) -> Result<(), ArchiveError> {
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

fn summarise(files: &[FileEntry]) -> HourSummary {
    HourSummary { files: files.len(), bytes: files.iter().map(|file| file.bytes).sum() }
}

/// `files` with `live` in its place.
fn with(files: &[FileEntry], live: &FileEntry) -> Vec<FileEntry> {
    let mut all = files.to_vec();
    let place = all.partition_point(|file| file.order() < live.order());
    all.insert(place, live.clone());
    all
}

/// Drops the hours that were longest unused, beyond what is kept in memory.
fn forget(state: &mut State) {
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

/// Keeps a file from being deleted while it lives.
#[derive(Debug)]
pub struct Lease {
    index: Arc<RecordingIndex>,
    key: String,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.index.state();
        if let Some(count) = state.leases.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                state.leases.remove(&self.key);
            }
        }
    }
}
