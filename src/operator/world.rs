//! Everything that is known of the cluster, and who is concerned when something of it changes. Pure and in memory; the
//! watches feed it. Must not decide what is done about a change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::kinds::{ChildKind, Watched};
use super::live::{self, Job, Live, Pod};
use super::rollout;
use crate::api::{AlertRoute, Archive, Camera, Recording, Stream};
use crate::plan::index::{Index, Object};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// How many of those that went are remembered: an answer is late by milliseconds, not by thousands of deletions.
const MOST_GONE: usize = 4096;

/// Who is concerned by a change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Concerned {
    /// What is wanted of these changed.
    pub wanted: BTreeSet<ObjectRef>,
    /// Something around these changed.
    pub around: BTreeSet<ObjectRef>,
    /// Whether pods came, went, or changed.
    pub pods: bool,
    /// An object that cannot be read.
    pub malformed: Option<Malformed>,
}

/// An object that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Which.
    pub object: ObjectRef,
    /// `metadata.uid`.
    pub uid: String,
    /// Why.
    pub why: String,
}

/// A child by kind and name.
pub type ChildKey = (ChildKind, ObjectKey);

/// What is known.
#[derive(Debug, Default)]
pub struct World {
    index: Index,
    malformed: BTreeMap<ObjectRef, String>,
    routes: BTreeMap<ObjectKey, Arc<AlertRoute>>,
    children: BTreeMap<ChildKey, Live>,
    children_of: BTreeMap<ObjectRef, BTreeSet<ChildKey>>,
    /// Deployments by uid.
    deployments: HashMap<String, ObjectKey>,
    /// uid of a `ReplicaSet` → its key and uid of its controller.
    replica_sets: HashMap<String, (ObjectKey, String)>,
    pods: BTreeMap<ObjectKey, Pod>,
    pods_of: BTreeMap<ObjectRef, BTreeSet<ObjectKey>>,
    jobs: BTreeMap<ObjectKey, Job>,
    jobs_of: BTreeMap<ObjectRef, BTreeSet<ObjectKey>>,
    /// The resource versions at which things went, so that an answer to a write that is late does not bring them back.
    gone: BTreeMap<(Watched, ObjectKey), String>,
    /// Owners whose pods wait for their turn.
    pending: BTreeSet<ObjectRef>,
    /// Owners whose turn has come and whose Deployment is being written.
    turning: BTreeSet<ObjectRef>,
}

impl World {
    /// The objects that people wrote.
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// Objects that cannot be read, and why.
    pub const fn malformed(&self) -> &BTreeMap<ObjectRef, String> {
        &self.malformed
    }

    /// The alert routes.
    pub const fn routes(&self) -> &BTreeMap<ObjectKey, Arc<AlertRoute>> {
        &self.routes
    }

    /// Whether an object is there.
    pub fn contains(&self, object: &ObjectRef) -> bool {
        meta(&self.index, object).is_some()
    }

    /// Takes in something that is new or has changed.
    pub fn put(&mut self, kind: Watched, object: Value) -> Concerned {
        if !self.gone.is_empty() {
            let entry = (kind, live::key(&object));
            let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            if self.gone.get(&entry).is_some_and(|gone| !is_newer(version, gone)) {
                return Concerned::default();
            }
            self.gone.remove(&entry);
        }
        match kind {
            Watched::Object(kind) => self.put_object(kind, object),
            Watched::Child(kind) => self.put_child(kind, object),
            Watched::ReplicaSet => self.put_replica_set(&object),
            Watched::Pod => self.put_pod(&object),
            Watched::Job => self.put_job(&object),
        }
    }

    /// Forgets what is gone. `version` is the resource version at which it went: a newer object of the same name stays.
    pub fn remove(&mut self, kind: Watched, key: &ObjectKey, version: Option<&str>) -> Concerned {
        let mut concerned = Concerned::default();
        if let Some(version) = version {
            if self.gone.len() >= MOST_GONE {
                self.gone.clear();
            }
            self.gone.insert((kind, key.clone()), version.to_owned());
        }
        match kind {
            Watched::Object(kind) => {
                let object = ObjectRef { kind, key: key.clone() };
                self.malformed.remove(&object);
                self.pending.remove(&object);
                if kind == ObjectKind::AlertRoute {
                    self.routes.remove(key);
                }
                concerned.wanted = self.index.remove(&object);
            }
            Watched::Child(kind) => {
                let child = (kind, key.clone());
                let Some(live) = self.children.get(&child) else { return concerned };
                if version.is_some_and(|version| is_newer(&live.resource_version, version)) {
                    return concerned;
                }
                concerned.around.extend(live.labelled.clone());
                concerned.around.extend(self.turns());
                self.forget_child(&child);
                concerned.pods = kind == ChildKind::Deployment;
            }
            Watched::ReplicaSet => {
                self.replica_sets.retain(|_, (other, _)| other != key);
                concerned.pods = true;
            }
            Watched::Pod => {
                if let Some(owner) = self.pods.remove(key).and_then(|pod| pod.labelled) {
                    forget(&mut self.pods_of, &owner, key);
                    concerned.around.insert(owner);
                }
                concerned.pods = true;
            }
            Watched::Job => {
                if let Some(owner) = self.jobs.remove(key).and_then(|job| job.labelled) {
                    forget(&mut self.jobs_of, &owner, key);
                    concerned.around.insert(owner);
                }
            }
        }
        concerned
    }

    /// Keys of everything of a kind, to find what went while no watch was open.
    pub fn keys(&self, kind: Watched) -> BTreeSet<ObjectKey> {
        let objects = self.index.objects();
        match kind {
            Watched::Object(kind) => {
                let malformed = self.malformed.keys().filter(|object| object.kind == kind).map(|object| &object.key);
                let read: Vec<&ObjectKey> = match kind {
                    ObjectKind::Camera => objects.cameras.keys().collect(),
                    ObjectKind::Stream => objects.streams.keys().collect(),
                    ObjectKind::Archive => objects.archives.keys().collect(),
                    ObjectKind::Recording => objects.recordings.keys().collect(),
                    ObjectKind::AlertRoute => self.routes.keys().collect(),
                };
                read.into_iter().chain(malformed).cloned().collect()
            }
            Watched::Child(kind) => {
                let children = self.children.keys().filter(|(other, _)| *other == kind);
                children.map(|(_, key)| key.clone()).collect()
            }
            Watched::ReplicaSet => self.replica_sets.values().map(|(key, _)| key.clone()).collect(),
            Watched::Pod => self.pods.keys().cloned().collect(),
            Watched::Job => self.jobs.keys().cloned().collect(),
        }
    }

    fn put_object(&mut self, kind: ObjectKind, object: Value) -> Concerned {
        let reference = ObjectRef { kind, key: live::key(&object) };
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (uid, version) = (text("uid"), text("resourceVersion"));
        let route = self.routes.get(&reference.key).filter(|_| kind == ObjectKind::AlertRoute);
        let known = route.map(|route| &route.metadata).or_else(|| meta(&self.index, &reference));
        let known = known.and_then(|known| known.resource_version.as_deref());
        if known.is_some_and(|known| !is_newer(&version, known)) {
            // An echo of what this process wrote itself, or older.
            return Concerned::default();
        }
        let parsed = match kind {
            ObjectKind::Camera => serde_json::from_value(object).map(Object::Camera),
            ObjectKind::Stream => serde_json::from_value(object).map(Object::Stream),
            ObjectKind::Archive => serde_json::from_value(object).map(Object::Archive),
            ObjectKind::Recording => serde_json::from_value(object).map(Object::Recording),
            ObjectKind::AlertRoute => match serde_json::from_value(object) {
                Ok(route) => {
                    self.malformed.remove(&reference);
                    self.routes.insert(reference.key, Arc::new(route));
                    // Alerts are looked at every second anyway.
                    return Concerned::default();
                }
                Err(error) => Err(error),
            },
        };
        let object = match parsed {
            Ok(object) => object,
            Err(error) => {
                // What ran goes on as it was last understood. Told once for each text.
                let why = error.to_string();
                let told = self.malformed.insert(reference.clone(), why.clone());
                let is_news = told.as_ref() != Some(&why);
                let malformed = is_news.then_some(Malformed { object: reference, uid, why });
                return Concerned { malformed, ..Concerned::default() };
            }
        };
        self.malformed.remove(&reference);
        let is_news = self.is_news(&object);
        let concerned = self.index.put(object);
        if is_news {
            Concerned { wanted: concerned, ..Concerned::default() }
        } else {
            // Most likely our own writing of its status. If it was not, it is put right.
            Concerned { around: BTreeSet::from([reference]), ..Concerned::default() }
        }
    }

    /// Whether an object differs from what is known in more than its status, or in a status that others depend on.
    fn is_news(&self, object: &Object) -> bool {
        fn differs<T: kube::Resource>(old: &T, new: &T) -> bool {
            let (old, new) = (old.meta(), new.meta());
            old.uid != new.uid
                || old.generation != new.generation
                || old.deletion_timestamp != new.deletion_timestamp
                || new.generation.is_none()
        }
        /// How far a clip is decides whether another may begin.
        fn ended(recording: &Recording) -> (bool, Vec<(&str, &str)>) {
            let Some(status) = recording.status.as_ref().filter(|_| recording.spec.clip.is_some()) else {
                return (false, Vec::new());
            };
            let conditions =
                status.conditions.iter().filter(|condition| condition.type_ != crate::api::condition::READY);
            let ended = conditions.map(|condition| (condition.type_.as_str(), condition.status.as_str())).collect();
            (status.start_time.is_some(), ended)
        }
        let objects = self.index.objects();
        let key = object.reference().key;
        match object {
            Object::Camera(new) => objects.cameras.get(&key).is_none_or(|old: &Camera| differs(old, new)),
            Object::Stream(new) => objects.streams.get(&key).is_none_or(|old: &Stream| differs(old, new)),
            Object::Archive(new) => objects.archives.get(&key).is_none_or(|old: &Archive| differs(old, new)),
            Object::Recording(new) => {
                objects.recordings.get(&key).is_none_or(|old| differs(old, new) || ended(old) != ended(new))
            }
        }
    }

    fn put_child(&mut self, kind: ChildKind, object: Value) -> Concerned {
        let key = live::key(&object);
        let live = Live::of(object);
        let child = (kind, key.clone());
        let mut concerned = Concerned::default();
        let before = self.children.get(&child);
        if before.is_some_and(|before| !is_newer(&live.resource_version, &before.resource_version)) {
            // An echo of what this process wrote itself, or older.
            return concerned;
        }
        let same = before.is_some_and(|before| {
            before.uid == live.uid
                && before.content == live.content
                && before.facts == live.facts
                && before.terminating == live.terminating
        });
        if !same {
            concerned.around.extend(live.labelled.clone());
            concerned.around.extend(before.and_then(|before| before.labelled.clone()));
            concerned.pods = kind == ChildKind::Deployment && before.is_none_or(|before| before.uid != live.uid);
        }
        let was_paced = before.is_some_and(rollout::is_paced);
        self.forget_child(&child);
        if let Some(owner) = &live.labelled {
            self.children_of.entry(owner.clone()).or_default().insert(child.clone());
        }
        if kind == ChildKind::Deployment {
            self.deployments.insert(live.uid.clone(), key);
        }
        let is_paced = rollout::is_paced(&live);
        self.children.insert(child, live);
        if was_paced && !is_paced {
            concerned.around.extend(self.turns());
        }
        concerned
    }

    fn forget_child(&mut self, child: &ChildKey) {
        let Some(live) = self.children.remove(child) else { return };
        self.deployments.remove(&live.uid);
        if let Some(owner) = &live.labelled {
            forget(&mut self.children_of, owner, child);
        }
    }

    fn put_replica_set(&mut self, object: &Value) -> Concerned {
        let owners = object["metadata"]["ownerReferences"].as_array();
        let controller = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let controller = controller.and_then(|owner| owner["uid"].as_str()).unwrap_or_default().to_owned();
        let known = self.replica_sets.insert(uid, (live::key(object), controller));
        Concerned { pods: known.is_none(), ..Concerned::default() }
    }

    fn put_pod(&mut self, object: &Value) -> Concerned {
        let pod = Pod::of(object);
        let mut concerned = Concerned::default();
        let before = self.pods.get(&pod.key);
        if before == Some(&pod) {
            return concerned;
        }
        concerned.pods = true;
        if let Some(owner) = before.and_then(|before| before.labelled.clone()) {
            forget(&mut self.pods_of, &owner, &pod.key);
            concerned.around.insert(owner);
        }
        if let Some(owner) = pod.labelled.clone() {
            self.pods_of.entry(owner.clone()).or_default().insert(pod.key.clone());
            concerned.around.insert(owner);
        }
        self.pods.insert(pod.key.clone(), pod);
        concerned
    }

    fn put_job(&mut self, object: &Value) -> Concerned {
        let (key, job) = (live::key(object), Job::of(object));
        let mut concerned = Concerned::default();
        let before = self.jobs.get(&key);
        if before == Some(&job) {
            return concerned;
        }
        if let Some(owner) = before.and_then(|before| before.labelled.clone()) {
            forget(&mut self.jobs_of, &owner, &key);
        }
        if let Some(owner) = job.labelled.clone() {
            self.jobs_of.entry(owner.clone()).or_default().insert(key.clone());
            concerned.around.insert(owner);
        }
        self.jobs.insert(key, job);
        concerned
    }

    /// A child by kind and name, whoever made it.
    pub fn child(&self, kind: ChildKind, key: &ObjectKey) -> Option<&Live> {
        self.children.get(&(kind, key.clone()))
    }

    /// The children that the labels say are an object's, and that it really controls.
    pub fn controlled_by(&self, owner: &ObjectRef, uid: &str) -> Vec<(ChildKey, Live)> {
        let children = self.children_of.get(owner).into_iter().flatten();
        let children = children.filter_map(|child| Some((child.clone(), self.children.get(child)?.clone())));
        children.filter(|(_, live)| live.controller.as_ref().is_some_and(|controller| controller.uid == uid)).collect()
    }

    /// The pods of an object: those whose owner references lead to it, by way of a `ReplicaSet` and a Deployment. Whatever
    /// a pod's labels say proves nothing.
    pub fn pods_of(&self, owner: &ObjectRef) -> Vec<&Pod> {
        let Some(uid) = meta(&self.index, owner).and_then(|meta| meta.uid.as_deref()) else { return Vec::new() };
        let pods = self.pods_of.get(owner).into_iter().flatten().filter_map(|key| self.pods.get(key));
        pods.filter(|pod| self.leads_to(pod, uid)).collect()
    }

    fn leads_to(&self, pod: &Pod, owner_uid: &str) -> bool {
        let controls = || {
            let controller = pod.controller.as_ref().filter(|controller| controller.kind == "ReplicaSet")?;
            let (_, deployment) = self.replica_sets.get(&controller.uid)?;
            let deployment = self.child(ChildKind::Deployment, self.deployments.get(deployment)?)?;
            Some(deployment.controller.as_ref()?.uid == owner_uid)
        };
        controls().unwrap_or(false)
    }

    /// All pods of all objects, each with its object.
    pub fn all_pods(&self) -> impl Iterator<Item = (&ObjectRef, &Pod)> {
        self.pods_of.keys().flat_map(|owner| self.pods_of(owner).into_iter().map(move |pod| (owner, pod)))
    }

    /// The newest retention job of an archive that has ended: its name, and whether it ended well.
    pub fn last_job(&self, archive: &ObjectRef, cron_job_uid: &str) -> Option<(&ObjectKey, bool)> {
        let jobs = self.jobs_of.get(archive).into_iter().flatten().filter_map(|key| Some((key, self.jobs.get(key)?)));
        let jobs = jobs.filter(|(_, job)| job.controller.as_ref().is_some_and(|owner| owner.uid == cron_job_uid));
        let ended = jobs.filter_map(|(key, job)| job.ended.map(|(at, well)| (at, key, well)));
        ended.max_by_key(|(at, ..)| *at).map(|(_, key, well)| (key, well))
    }

    /// How many roll-outs at a pace are under way beside this owner's.
    pub fn rolling(&self, except: &ObjectRef) -> usize {
        let written = self.deployments.values().filter_map(|key| self.child(ChildKind::Deployment, key));
        let written = written.filter(|live| live.labelled.as_ref() != Some(except) && rollout::is_paced(live));
        let written: BTreeSet<&ObjectRef> = written.filter_map(|live| live.labelled.as_ref()).collect();
        let being_written = self.turning.iter().filter(|owner| *owner != except && !written.contains(owner));
        written.len() + being_written.count()
    }

    /// Notes that an owner's turn has come, until [`Self::turned`].
    pub fn take_turn(&mut self, owner: &ObjectRef) {
        self.pending.remove(owner);
        self.turning.insert(owner.clone());
    }

    /// The Deployment of an owner whose turn had come is written, or could not be.
    pub fn turned(&mut self, owner: &ObjectRef) {
        self.turning.remove(owner);
    }

    /// Notes whether an owner's pods wait for their turn.
    pub fn wait_for_turn(&mut self, owner: &ObjectRef, waits: bool) {
        if waits {
            self.pending.insert(owner.clone());
        } else {
            self.pending.remove(owner);
        }
    }

    /// Who may be next, now that a place is free.
    fn turns(&self) -> impl Iterator<Item = ObjectRef> + use<'_> {
        self.pending.iter().take(8).cloned()
    }
}

/// Metadata of an object.
pub fn meta<'a>(
    index: &'a Index,
    object: &ObjectRef,
) -> Option<&'a k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta> {
    let objects = index.objects();
    let key = &object.key;
    match object.kind {
        ObjectKind::Camera => objects.cameras.get(key).map(|object| &object.metadata),
        ObjectKind::Stream => objects.streams.get(key).map(|object| &object.metadata),
        ObjectKind::Archive => objects.archives.get(key).map(|object| &object.metadata),
        ObjectKind::Recording => objects.recordings.get(key).map(|object| &object.metadata),
        ObjectKind::AlertRoute => None,
    }
}

fn forget<K: Ord, V: Ord>(lookup: &mut BTreeMap<K, BTreeSet<V>>, from: &K, to: &V) {
    if let Some(values) = lookup.get_mut(from) {
        values.remove(to);
        if values.is_empty() {
            lookup.remove(from);
        }
    }
}

/// Whether one resource version is newer than another. They are numbers that grow; where a server's are not, whatever comes
/// later is newer.
fn is_newer(one: &str, other: &str) -> bool {
    if one.is_empty() || other.is_empty() {
        return true;
    }
    match (one.parse::<u64>(), other.parse::<u64>()) {
        (Ok(one), Ok(other)) => one > other,
        _ => one != other,
    }
}

#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;
