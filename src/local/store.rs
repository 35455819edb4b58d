//! The objects of `run`, in memory: what a Kubernetes API server is to the operator. Keeps metadata as an API server would
//! (uid, generation, creation time, resource version) and remembers the latest changes for those who watch. Must not read
//! files, and must not know what the objects mean.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::check::stable_uid;
use crate::gateway::world::{Change, ChangeKind, Object, Snapshot, Update};
use crate::plan::unit::{ObjectKind, ObjectRef};

/// How many changes are remembered; a watcher that is further behind gets a new snapshot.
const HISTORY: usize = 1024;

/// What is remembered of an object beyond its manifest, over restarts too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// When the object was first declared.
    pub creation_timestamp: Timestamp,
    /// Counts changes of the spec, from 1.
    pub generation: i64,
    /// First half of the SHA-256 of the spec that `generation` stands for, in hex.
    pub spec_hash: String,
}

#[derive(Debug)]
struct Inner {
    objects: BTreeMap<ObjectRef, Object>,
    identities: BTreeMap<ObjectRef, Identity>,
    history: VecDeque<Change>,
    version: u64,
}

/// The objects. Clones share them.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Mutex<Inner>>,
    version: Arc<watch::Sender<u64>>,
}

fn spec_hash(object: &Value) -> String {
    let mut half = [0; 16];
    half.copy_from_slice(&Sha256::digest(object["spec"].to_string())[..16]);
    format!("{:032x}", u128::from_be_bytes(half))
}

impl Inner {
    fn record(&mut self, kind: ChangeKind, reference: &ObjectRef, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Arc::new(object);
        if kind == ChangeKind::Deleted {
            self.objects.remove(reference);
        } else {
            self.objects.insert(reference.clone(), object.clone());
        }
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Change { reference: reference.clone(), kind, object, version: self.version });
    }

    fn snapshot(&self) -> Snapshot {
        let objects = self.objects.iter().map(|(reference, object)| (reference.clone(), object.clone())).collect();
        Snapshot { version: self.version, objects }
    }

    /// The changes after `since`, or `None` where some of them are forgotten.
    fn changes_after(&self, since: u64) -> Option<Vec<Change>> {
        let oldest = self.version - self.history.len() as u64;
        (oldest..=self.version)
            .contains(&since)
            .then(|| self.history.iter().filter(|change| change.version > since).cloned().collect())
    }

    /// The object as it stands in the store once `declared` is applied over what was there.
    fn complete(&mut self, reference: &ObjectRef, mut declared: Value, now: Timestamp) -> Value {
        let hash = spec_hash(&declared);
        let identity = self.identities.entry(reference.clone()).or_insert_with(|| Identity {
            creation_timestamp: now,
            generation: 1,
            spec_hash: hash.clone(),
        });
        if identity.spec_hash != hash {
            identity.generation += 1;
            identity.spec_hash = hash;
        }
        let old = self.objects.get(reference);
        let mut metadata = Map::new();
        metadata.insert("name".into(), reference.key.name.clone().into());
        metadata.insert("namespace".into(), reference.key.namespace.clone().into());
        // The same on every run and every machine, so that an object keeps its recordings whatever else is forgotten.
        metadata.insert("uid".into(), stable_uid(reference.kind, &reference.key).into());
        metadata.insert("generation".into(), identity.generation.into());
        // Kubernetes writes whole seconds.
        metadata.insert("creationTimestamp".into(), format!("{:.0}", identity.creation_timestamp).into());
        metadata.insert(
            "resourceVersion".into(),
            old.map_or(Value::Null, |old| old["metadata"]["resourceVersion"].clone()),
        );
        for user in ["labels", "annotations"] {
            if let Some(value) = declared["metadata"].get(user).filter(|value| !value.is_null()) {
                metadata.insert(user.into(), value.clone());
            }
        }
        declared["metadata"] = metadata.into();
        if let Some(status) = old.and_then(|old| old.get("status")) {
            declared["status"] = status.clone();
        } else if let Some(fields) = declared.as_object_mut() {
            fields.remove("status");
        }
        declared
    }
}

impl Store {
    /// An empty store. `identities` is what was remembered of objects; `version` is where versions begin, which must be
    /// beyond any that was handed out before.
    pub fn new(identities: BTreeMap<ObjectRef, Identity>, version: u64) -> Self {
        let inner = Inner { objects: BTreeMap::new(), identities, history: VecDeque::new(), version };
        Self { inner: Arc::new(Mutex::new(inner)), version: Arc::new(watch::channel(version).0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = change(&mut inner);
        let version = inner.version;
        drop(inner);
        self.version.send_if_modified(|known| std::mem::replace(known, version) != version);
        result
    }

    /// Makes `declared` all that there is: objects that are not in it are deleted, the others added or changed. An object
    /// that comes out the same is left alone. Returns what changed.
    pub fn apply(&self, declared: Vec<(ObjectRef, Value)>, now: Timestamp) -> Vec<(ChangeKind, ObjectRef)> {
        self.change(|inner| {
            let mut changed = Vec::new();
            let wanted: BTreeSet<_> = declared.iter().map(|(reference, _)| reference.clone()).collect();
            let gone: Vec<_> = inner.objects.keys().filter(|&known| !wanted.contains(known)).cloned().collect();
            for reference in gone {
                if let Some(object) = inner.objects.get(&reference).cloned() {
                    inner.record(ChangeKind::Deleted, &reference, (*object).clone());
                    inner.identities.remove(&reference);
                    changed.push((ChangeKind::Deleted, reference));
                }
            }
            for (reference, object) in declared {
                let object = inner.complete(&reference, object, now);
                let kind = match inner.objects.get(&reference) {
                    None => ChangeKind::Added,
                    Some(old) if **old != object => ChangeKind::Modified,
                    Some(_) => continue,
                };
                inner.record(kind, &reference, object);
                changed.push((kind, reference));
            }
            changed
        })
    }

    /// Replaces an object's status. Returns whether that changed anything.
    pub fn set_status(&self, reference: &ObjectRef, status: Value) -> bool {
        self.change(|inner| {
            let Some(object) = inner.objects.get(reference) else { return false };
            if object.get("status") == Some(&status) {
                return false;
            }
            let mut object = (**object).clone();
            object["status"] = status;
            inner.record(ChangeKind::Modified, reference, object);
            true
        })
    }

    /// One object.
    pub fn get(&self, reference: &ObjectRef) -> Option<Object> {
        self.lock().objects.get(reference).cloned()
    }

    /// The objects of one kind or of all, in one namespace or in all.
    pub fn list(&self, kind: Option<ObjectKind>, namespace: Option<&str>) -> Snapshot {
        let mut snapshot = self.lock().snapshot();
        snapshot.objects.retain(|(reference, _)| {
            kind.is_none_or(|kind| reference.kind == kind)
                && namespace.is_none_or(|namespace| reference.key.namespace == namespace)
        });
        snapshot
    }

    /// What is to be remembered over a restart.
    pub fn identities(&self) -> BTreeMap<ObjectRef, Identity> {
        self.lock().identities.clone()
    }

    /// A snapshot and then every change; see [`crate::gateway::world::World::watch`].
    pub fn watch(&self, since: Option<u64>) -> BoxStream<'static, Update> {
        let start = (self.clone(), self.version.subscribe(), since);
        stream::unfold(start, |(store, mut versions, known)| async move {
            loop {
                versions.mark_unchanged();
                let (updates, version) = store.updates(known);
                if !updates.is_empty() {
                    return Some((stream::iter(updates), (store, versions, Some(version))));
                }
                // The store holds the sender, so this cannot fail while it is here.
                versions.changed().await.ok()?;
            }
        })
        .flatten()
        .boxed()
    }

    fn updates(&self, known: Option<u64>) -> (Vec<Update>, u64) {
        let inner = self.lock();
        let updates = match known.and_then(|known| inner.changes_after(known)) {
            Some(changes) => changes.into_iter().map(Update::Change).collect(),
            None => vec![Update::Snapshot(inner.snapshot())],
        };
        (updates, inner.version)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::unit::ObjectKey;

    fn door() -> ObjectRef {
        ObjectRef { kind: ObjectKind::Camera, key: ObjectKey::new("default", "door") }
    }

    fn manifest(width: i32, site: &str) -> (ObjectRef, Value) {
        (door(), json!({"kind": "Camera", "metadata": {"labels": {"site": site}}, "spec": {"width": width}}))
    }

    fn store() -> Store {
        Store::new(BTreeMap::new(), 100)
    }

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn the_generation_counts_changes_of_the_spec_only() {
        let store = store();
        assert_eq!(store.apply(vec![manifest(1, "shop")], now()), [(ChangeKind::Added, door())]);
        let first = store.get(&door()).unwrap();
        assert_eq!(first["metadata"]["generation"], 1);
        assert_eq!(first["metadata"]["creationTimestamp"], "1970-01-01T00:00:00Z");
        store.set_status(&door(), json!({"ready": true}));
        assert!(store.apply(vec![manifest(1, "shop")], now()).is_empty(), "the same manifest changes nothing");
        assert_eq!(store.apply(vec![manifest(1, "yard")], now()), [(ChangeKind::Modified, door())]);
        assert_eq!(store.get(&door()).unwrap()["metadata"]["generation"], 1);
        store.apply(vec![manifest(2, "yard")], now());
        let last = store.get(&door()).unwrap();
        assert_eq!(last["metadata"]["generation"], 2);
        assert_eq!(last["status"], json!({"ready": true}), "the status outlives an edit");
        assert_eq!(last["metadata"]["uid"], first["metadata"]["uid"]);
        assert_eq!(last["metadata"]["labels"], json!({"site": "yard"}));
    }

    #[test]
    fn generation_and_creation_time_go_on_after_a_restart() {
        let before = store();
        before.apply(vec![manifest(1, "shop")], now());
        before.apply(vec![manifest(2, "shop")], now());
        let after = Store::new(before.identities(), 200);
        after.apply(vec![manifest(2, "shop")], Timestamp::MAX);
        let object = after.get(&door()).unwrap();
        assert_eq!(object["metadata"]["generation"], 2);
        assert_eq!(object["metadata"]["creationTimestamp"], "1970-01-01T00:00:00Z");
        after.apply(vec![manifest(3, "shop")], Timestamp::MAX);
        assert_eq!(after.get(&door()).unwrap()["metadata"]["generation"], 3);
    }

    #[tokio::test]
    async fn a_watch_begins_with_a_snapshot_and_goes_on_where_it_was() {
        let store = store();
        store.apply(vec![manifest(1, "shop")], now());
        let mut watch = store.watch(None);
        let Some(Update::Snapshot(snapshot)) = watch.next().await else { panic!("no snapshot") };
        assert_eq!(snapshot.objects.len(), 1);
        store.set_status(&door(), json!({"ready": true}));
        store.apply(Vec::new(), now());
        let mut seen = Vec::new();
        for _ in 0..2 {
            let Some(Update::Change(change)) = watch.next().await else { panic!("no change") };
            seen.push((change.kind, change.version));
        }
        assert_eq!(seen, [(ChangeKind::Modified, 102), (ChangeKind::Deleted, 103)]);
        let Some(Update::Change(again)) = store.watch(Some(102)).next().await else { panic!("no change") };
        assert_eq!(again.version, 103);
    }

    #[tokio::test]
    async fn who_asks_for_what_is_forgotten_or_never_was_gets_a_snapshot() {
        let store = store();
        for width in 0..(HISTORY as i32 + 5) {
            store.apply(vec![manifest(width, "shop")], now());
        }
        for since in [0, 100, 104, u64::MAX] {
            let first = store.watch(Some(since)).next().await;
            assert!(matches!(first, Some(Update::Snapshot(_))), "since {since}: {first:?}");
        }
        assert!(matches!(store.watch(Some(105)).next().await, Some(Update::Change(_))));
    }
}
