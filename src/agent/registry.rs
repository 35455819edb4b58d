//! Where HTTP handlers and other units find what runs: hubs by camera, outputs by stream, archives by name. Entries appear
//! when a unit starts and go when it ends; nothing is ever waited for here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::watch;

use super::access::gate::Gate;
use super::hub::Hub;
use super::numbering::Numbering;
use super::output::hls::HlsStream;
use super::output::mjpeg::MjpegStream;
use super::output::push::meter::PushMeter;
use super::output::record::meter::Meter;
use super::output::slate::meter::SlateMeter;
use super::output::snapshot::Snapshots;
use super::retention::Retention;
use super::source::guard::Guard;
use super::source::turns::Turns;
use super::transcode::encoders::Encoders;
use super::transcode::meter::EncodeMeter;
use crate::archive::lock::Holder;
use crate::archive::{Archive, ArchiveError, WeakArchive};
use crate::media::chunks::Chunks;
use crate::plan::unit::{DeclaredRecording, ObjectKey, ObjectRef};

/// One kind of thing by object key, or by another where objects of several kinds have it.
#[derive(Debug)]
pub struct Table<T, K = ObjectKey> {
    entries: RwLock<BTreeMap<K, Arc<T>>>,
    /// Counts changes, for those who wait until something appears.
    changes: watch::Sender<u64>,
}

impl<T, K> Default for Table<T, K> {
    fn default() -> Self {
        Self { entries: RwLock::default(), changes: watch::channel(0).0 }
    }
}

impl<T, K: Ord + Clone> Table<T, K> {
    /// The entry of `key`, if it runs.
    pub fn get(&self, key: &K) -> Option<Arc<T>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// All entries, by key.
    pub fn all(&self) -> Vec<(K, Arc<T>)> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Puts an entry in, in place of any earlier one.
    pub fn insert(&self, key: K, value: Arc<T>) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).insert(key, value);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Takes `value` out, unless another has taken its place meanwhile.
    pub fn remove(&self, key: &K, value: &Arc<T>) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.get(key).is_some_and(|current| Arc::ptr_eq(current, value)) {
            entries.remove(key);
            drop(entries);
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// Waits until the entry of `key` is no longer `value`. Cancel safe.
    pub async fn wait_while(&self, key: &K, value: &Arc<T>) {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if self.get(key).is_none_or(|current| !Arc::ptr_eq(&current, value)) {
                return;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until `key` has an entry. Cancel safe.
    pub async fn wait_for(&self, key: &K) -> Arc<T> {
        self.wait_for_other(key, None).await
    }

    /// Waits until `key` has an entry that is not `known`: for those who have seen the end of that one. Cancel safe.
    pub async fn wait_for_other(&self, key: &K, known: Option<&Arc<T>>) -> Arc<T> {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(value) = self.get(key).filter(|value| known.is_none_or(|known| !Arc::ptr_eq(known, value))) {
                return value;
            }
            if changes.changed().await.is_err() {
                // The table outlives its waiters; without a sender nothing can ever come.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// All that runs in this agent. Outputs add their own tables here.
#[derive(Debug, Default)]
pub struct Registry {
    /// Hubs, by camera. A hub outlives the runs of its camera.
    pub hubs: Table<Hub>,
    /// The newest snapshot of each camera.
    pub snapshots: Snapshots,
    /// The camera of each stream that runs.
    pub stream_cameras: Table<ObjectKey>,
    /// Motion JPEG outputs, by stream.
    pub mjpeg: Table<MjpegStream>,
    /// What pushes have sent, by stream.
    pub pushes: Table<PushMeter>,
    /// How often and how long slates were shown, by stream.
    pub slates: Table<SlateMeter>,
    /// What is encoded anew, by the stream or recording that it is for.
    pub encodes: Table<EncodeMeter, ObjectRef>,
    /// Open archives, by archive.
    pub archives: Table<Archive>,
    /// Which of them are open in this process, by folder.
    pub opened_archives: OpenedArchives,
    /// What keeps open archives within their rules, by archive.
    pub retention: Table<Retention>,
    /// Streams as HLS, by stream.
    pub hls: Table<HlsStream>,
    /// How much of what is wanted continuous recordings hold, by recording.
    pub meters: Table<Meter>,
    /// Names of runs and numbers of streams.
    pub numbering: Numbering,
    /// The recordings that the plan declares, running or not.
    pub declared: Declared,
    /// Who may ask this agent for what.
    pub gate: Arc<Gate>,
    /// Where sources may not connect to.
    pub source_guard: Guard,
    /// The thread on which sources are read.
    pub turns: Turns,
    /// Where what sources send stays while it is held.
    pub chunks: Arc<Chunks>,
    /// Which encoders work on this machine.
    pub encoders: Encoders,
}

/// Archives that somebody in this process still has open: opening one again shares it, instead of failing at our own lock.
#[derive(Debug, Default)]
pub struct OpenedArchives {
    archives: Mutex<BTreeMap<PathBuf, WeakArchive>>,
}

impl OpenedArchives {
    /// Opens the archive in a folder. Blocks on the disk.
    ///
    /// # Errors
    /// See [`Archive::open`].
    pub fn open(&self, root: &Path) -> Result<Archive, ArchiveError> {
        let mut archives = self.archives.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(archive) = archives.get(root).and_then(WeakArchive::upgrade) {
            return Ok(archive);
        }
        let archive = Archive::open(root, &Holder::this_process("camera-operator"))?;
        archives.insert(root.to_owned(), archive.downgrade());
        Ok(archive)
    }
}

/// The recordings that the plan in force declares; tells of changes.
#[derive(Debug)]
pub struct Declared {
    recordings: watch::Sender<Arc<Vec<DeclaredRecording>>>,
}

impl Default for Declared {
    fn default() -> Self {
        Self { recordings: watch::channel(Arc::default()).0 }
    }
}

impl Declared {
    /// Puts a plan's list in force.
    pub fn set(&self, recordings: &[DeclaredRecording]) {
        self.recordings.send_if_modified(|current| {
            let changed = current.as_slice() != recordings;
            if changed {
                *current = Arc::new(recordings.to_vec());
            }
            changed
        });
    }

    /// All of them.
    pub fn get(&self) -> Arc<Vec<DeclaredRecording>> {
        self.recordings.borrow().clone()
    }

    /// Tells of every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Vec<DeclaredRecording>>> {
        self.recordings.subscribe()
    }
}
