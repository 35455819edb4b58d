//! The recordings on disk: layout, index, coverage, retention, export, recovery. Imports `media` only; must not know of
//! agents, HTTP or Kubernetes.
//!
//! [`Archive::open`] takes the archive's lock: whoever has an [`Archive`] is its one writer. Readers share its
//! [`RecordingIndex`]es. Everything here blocks on the disk: call it off the async runtime.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

pub mod clip;
pub mod clip_part;
#[cfg(test)]
mod clip_tests;
pub mod coverage;
pub mod cut;
pub mod description;
pub mod entry;
pub mod export;
pub mod export_timeline;
pub mod folder;
pub mod fragments;
pub mod index;
pub mod layout;
pub mod ledger;
pub mod lock;
pub mod mark;
pub mod media_file;
pub mod names;
pub mod playlist;
pub mod recording;
pub mod recovery;
pub mod retention;
pub mod retention_run;
#[cfg(test)]
mod samples;
pub mod scan;
pub mod schedule;
pub mod span;
pub mod writer;
#[cfg(test)]
mod writer_tests;

pub use clip::ClipWriter;
use cut::Rules;
use description::{Claim, Description};
use folder::{Folder, Kind};
use index::{FileName, RecordingPath};
use layout::is_object_name;
use lock::{Holder, Lock};
pub use recording::{Lease, RecordingIndex};
pub use writer::Writer;

/// What can go wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Another process writes this archive.
    #[error("the archive {} is in use by {holder}", root.display())]
    Locked {
        /// The archive.
        root: PathBuf,
        /// Who, for a person.
        holder: String,
    },
    /// The folder belongs to another object.
    #[error(
        "the folder of recording {path} belongs to another object (uid {owner}); to take it over with all that it holds, write `adopt: true` in spec; else choose another name, or move the folder away"
    )]
    OwnedByAnother {
        /// The recording.
        path: RecordingPath,
        /// The owner's uid.
        owner: String,
    },
    /// The volume (or the quota) is full.
    #[error("the volume is full: cannot {what}")]
    Full {
        /// What was tried.
        what: String,
    },
    /// The file is being written or exported, and must stay.
    #[error("{name} of recording {path} is {by}")]
    InUse {
        /// The recording.
        path: RecordingPath,
        /// The file within its folder.
        name: String,
        /// `being written` or `being exported`.
        by: &'static str,
    },
    /// There is no such recording or file.
    #[error("the archive holds no {what}")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// A file of the archive's own cannot be understood.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        what: String,
    },
    /// The disk failed in some other way.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl ArchiveError {
    /// From an IO error; a full volume or quota is told apart.
    pub fn io(what: String, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { what },
            _ => Self::Io { what, source },
        }
    }
}

/// Room on an archive's volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// Bytes of the volume.
    pub total_bytes: u64,
}

/// An archive that this process owns until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Archive {
    inner: Arc<Inner>,
}

/// An archive that may have been closed meanwhile.
#[derive(Debug, Clone)]
pub struct WeakArchive(Weak<Inner>);

impl WeakArchive {
    /// The archive, if anybody still has it open.
    pub fn upgrade(&self) -> Option<Archive> {
        self.0.upgrade().map(|inner| Archive { inner })
    }
}

#[derive(Debug)]
struct Inner {
    root: Folder,
    recordings: Mutex<BTreeMap<RecordingPath, Arc<RecordingIndex>>>,
    /// Held by a retention run: one at a time.
    retention: Mutex<()>,
    _lock: Lock,
}

impl Archive {
    /// Opens the archive in a folder, made if it is missing, and takes its lock.
    ///
    /// # Errors
    /// [`ArchiveError::Locked`] naming the holder when another process owns it.
    pub fn open(root: &Path, holder: &Holder) -> Result<Self, ArchiveError> {
        let root = Folder::open_root(root)?;
        let lock = Lock::take(&root, holder)?;
        Ok(Self {
            inner: Arc::new(Inner { root, recordings: Mutex::default(), retention: Mutex::default(), _lock: lock }),
        })
    }

    /// A handle that does not keep it open.
    pub fn downgrade(&self) -> WeakArchive {
        WeakArchive(Arc::downgrade(&self.inner))
    }

    /// Where it is, for messages.
    pub fn root(&self) -> &Path {
        self.inner.root.path()
    }

    /// Room on its volume.
    pub fn space(&self) -> Result<Space, ArchiveError> {
        self.inner.root.space()
    }

    /// All recordings that have a folder, sorted; whether or not any object declares them.
    pub fn recordings(&self) -> Result<Vec<RecordingPath>, ArchiveError> {
        let mut found = Vec::new();
        for (namespace, kind) in self.inner.root.list()? {
            if kind != Kind::Folder || !is_object_name(&namespace) {
                continue;
            }
            let Some(folder) = self.inner.root.child(&namespace)? else { continue };
            for (name, kind) in folder.list()? {
                if kind == Kind::Folder
                    && let Ok(path) = RecordingPath::new(namespace.clone(), name)
                {
                    found.push(path);
                }
            }
        }
        Ok(found)
    }

    /// A recording's index, for readers and for retention.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when it has no folder.
    pub fn recording(&self, path: &RecordingPath) -> Result<Arc<RecordingIndex>, ArchiveError> {
        self.index(path, false)
    }

    fn index(&self, path: &RecordingPath, make: bool) -> Result<Arc<RecordingIndex>, ArchiveError> {
        let mut recordings = self.inner.recordings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = recordings.get(path) {
            return Ok(index.clone());
        }
        let not_found = || ArchiveError::NotFound { what: format!("recording {path}") };
        // The parts may come from a URL.
        RecordingPath::new(path.namespace.clone(), path.name.clone()).map_err(|_| not_found())?;
        let root = &self.inner.root;
        let folder = if make {
            root.make_child(&path.namespace)?.make_child(&path.name)?
        } else {
            let namespace = root.child(&path.namespace)?.ok_or_else(not_found)?;
            namespace.child(&path.name)?.ok_or_else(not_found)?
        };
        let index = Arc::new(RecordingIndex::open(path.clone(), folder)?);
        recordings.insert(path.clone(), index.clone());
        Ok(index)
    }

    /// Makes a recording's folder the claimant's, so that it can be written.
    ///
    /// # Errors
    /// [`ArchiveError::OwnedByAnother`] when it belongs to another object.
    pub fn claim(&self, path: &RecordingPath, claim: &Claim) -> Result<Arc<RecordingIndex>, ArchiveError> {
        let index = self.index(path, true)?;
        let now = crate::media::frame::UtcMicros::from_timestamp(jiff::Timestamp::now());
        index.change_description(|existing| Description::claimed(existing, path, claim, now))?;
        index.take_over()?;
        Ok(index)
    }

    /// Begins to write a clip of `duration_micros`, or goes on with it. What a crash left behind is put right first.
    ///
    /// # Errors
    /// [`ArchiveError::OwnedByAnother`] when the folder belongs to another object.
    pub fn start_clip(
        &self,
        path: &RecordingPath,
        claim: &Claim,
        duration_micros: i64,
        audio: bool,
    ) -> Result<ClipWriter, ArchiveError> {
        ClipWriter::new(self.claim(path, claim)?, duration_micros, audio)
    }

    /// Begins to write a recording around the clock. What a crash left behind is put right first.
    ///
    /// # Errors
    /// [`ArchiveError::OwnedByAnother`] when the folder belongs to another object.
    pub fn start_writer(&self, path: &RecordingPath, claim: &Claim, rules: Rules) -> Result<Writer, ArchiveError> {
        Writer::new(self.claim(path, claim)?, rules)
    }

    /// Deletes one media file and takes it out of its hour's playlist. Returns its size in bytes.
    ///
    /// # Errors
    /// [`ArchiveError::InUse`] when it is being written or leased; [`ArchiveError::NotFound`] when there is none.
    pub fn delete_file(&self, path: &RecordingPath, name: FileName) -> Result<u64, ArchiveError> {
        self.recording(path)?.delete_file(name)
    }
}
