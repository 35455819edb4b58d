//! The objects of a cluster with the lookups that plans of single agents need, kept up to date one object at a time: an event
//! costs as much as what it touches, not as much as there is. Pure; must not decide what a change leads to, only whom it
//! concerns.

use std::collections::{BTreeMap, BTreeSet};

use super::objects::{Objects, archive_of, has_ended, key};
use super::unit::{ObjectKey, ObjectKind, ObjectRef};
use crate::api::{Archive, Camera, Recording, Stream};

/// Sets of keys by another key.
type Lookup = BTreeMap<ObjectKey, BTreeSet<ObjectKey>>;

/// One object of any kind.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)] // moved once, from the watch into the index
pub enum Object {
    /// A camera.
    Camera(Camera),
    /// A stream.
    Stream(Stream),
    /// An archive.
    Archive(Archive),
    /// A recording.
    Recording(Recording),
}

impl Object {
    /// Which object it is.
    pub fn reference(&self) -> ObjectRef {
        let (kind, key) = match self {
            Self::Camera(camera) => (ObjectKind::Camera, key(camera)),
            Self::Stream(stream) => (ObjectKind::Stream, key(stream)),
            Self::Archive(archive) => (ObjectKind::Archive, key(archive)),
            Self::Recording(recording) => (ObjectKind::Recording, key(recording)),
        };
        ObjectRef { kind, key }
    }
}

/// All objects, and who refers to whom.
#[derive(Debug, Clone, Default)]
pub struct Index {
    objects: Objects,
    streams_of_camera: Lookup,
    recordings_of_camera: Lookup,
    recordings_of_archive: Lookup,
    /// Clips that are declared, by namespace.
    clips: BTreeMap<String, BTreeSet<ObjectKey>>,
}

impl Index {
    /// All objects.
    pub const fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Takes in an object that is new or has changed. Returns all objects whose plan or status may be another one now, the
    /// object itself among them.
    pub fn put(&mut self, object: Object) -> BTreeSet<ObjectRef> {
        let reference = object.reference();
        // What it referred to before is concerned as much as what it refers to now.
        let mut concerned = self.concerned(&reference);
        self.forget(&reference);
        let key = reference.key.clone();
        match object {
            Object::Camera(camera) => self.objects.insert_camera(camera),
            Object::Stream(stream) => {
                insert(&mut self.streams_of_camera, camera_of_stream(&stream), key);
                self.objects.insert_stream(stream);
            }
            Object::Archive(archive) => self.objects.insert_archive(archive),
            Object::Recording(recording) => {
                insert(&mut self.recordings_of_camera, camera_of_recording(&recording), key.clone());
                insert(&mut self.recordings_of_archive, archive_of(&recording), key.clone());
                if recording.spec.clip.is_some() {
                    self.clips.entry(key.namespace.clone()).or_default().insert(key);
                }
                self.objects.insert_recording(recording);
            }
        }
        concerned.extend(self.concerned(&reference));
        concerned
    }

    /// Forgets an object. Returns all objects whose plan or status may be another one now, the object itself among them.
    pub fn remove(&mut self, reference: &ObjectRef) -> BTreeSet<ObjectRef> {
        let concerned = self.concerned(reference);
        self.forget(reference);
        concerned
    }

    /// The streams of a camera, whether or not there is such a camera.
    pub fn streams_of_camera(&self, camera: &ObjectKey) -> impl Iterator<Item = (&ObjectKey, &Stream)> {
        found(&self.streams_of_camera, camera, &self.objects.streams)
    }

    /// The recordings of a camera, whether or not there is such a camera.
    pub fn recordings_of_camera(&self, camera: &ObjectKey) -> impl Iterator<Item = (&ObjectKey, &Recording)> {
        found(&self.recordings_of_camera, camera, &self.objects.recordings)
    }

    /// The recordings into an archive, whether or not there is such an archive.
    pub fn recordings_of_archive(&self, archive: &ObjectKey) -> impl Iterator<Item = (&ObjectKey, &Recording)> {
        found(&self.recordings_of_archive, archive, &self.objects.recordings)
    }

    /// The clips of a namespace.
    pub fn clips(&self, namespace: &str) -> impl Iterator<Item = (&ObjectKey, &Recording)> {
        let keys = self.clips.get(namespace).into_iter().flatten();
        keys.filter_map(|key| Some((key, self.objects.recordings.get(key)?)))
    }

    /// Whom a change of this object concerns, as it is known now.
    fn concerned(&self, reference: &ObjectRef) -> BTreeSet<ObjectRef> {
        let mut concerned = BTreeSet::from([reference.clone()]);
        let mut add = |kind, key: &ObjectKey| concerned.insert(ObjectRef { kind, key: key.clone() });
        let key = &reference.key;
        match reference.kind {
            ObjectKind::Camera => {
                for (stream, _) in self.streams_of_camera(key) {
                    add(ObjectKind::Stream, stream);
                }
                for (recording_key, recording) in self.recordings_of_camera(key) {
                    add(ObjectKind::Recording, recording_key);
                    add(ObjectKind::Archive, &archive_of(recording));
                }
            }
            ObjectKind::Stream => {
                if let Some(stream) = self.objects.streams.get(key) {
                    add(ObjectKind::Camera, &camera_of_stream(stream));
                }
            }
            ObjectKind::Archive => {
                for (recording, _) in self.recordings_of_archive(key) {
                    add(ObjectKind::Recording, recording);
                }
            }
            ObjectKind::Recording => {
                let Some(recording) = self.objects.recordings.get(key) else { return concerned };
                add(ObjectKind::Camera, &camera_of_recording(recording));
                add(ObjectKind::Archive, &archive_of(recording));
                // A clip that ends lets another one begin. Those that have ended, by far the most, are not concerned.
                if recording.spec.clip.is_some() {
                    for (other, clip) in self.clips(&key.namespace).filter(|(_, clip)| !has_ended(clip)) {
                        add(ObjectKind::Recording, other);
                        add(ObjectKind::Archive, &archive_of(clip));
                    }
                }
            }
            ObjectKind::AlertRoute => {}
        }
        concerned
    }

    fn forget(&mut self, reference: &ObjectRef) {
        let key = &reference.key;
        match reference.kind {
            ObjectKind::Camera => {
                self.objects.cameras.remove(key);
            }
            ObjectKind::Stream => {
                if let Some(stream) = self.objects.streams.remove(key) {
                    remove(&mut self.streams_of_camera, &camera_of_stream(&stream), key);
                }
            }
            ObjectKind::Archive => {
                self.objects.archives.remove(key);
            }
            ObjectKind::Recording => {
                if let Some(recording) = self.objects.recordings.remove(key) {
                    remove(&mut self.recordings_of_camera, &camera_of_recording(&recording), key);
                    remove(&mut self.recordings_of_archive, &archive_of(&recording), key);
                    if let Some(clips) = self.clips.get_mut(&key.namespace) {
                        clips.remove(key);
                        if clips.is_empty() {
                            self.clips.remove(&key.namespace);
                        }
                    }
                }
            }
            ObjectKind::AlertRoute => {}
        }
    }
}

impl FromIterator<Object> for Index {
    fn from_iter<T: IntoIterator<Item = Object>>(objects: T) -> Self {
        let mut index = Self::default();
        for object in objects {
            index.put(object);
        }
        index
    }
}

/// The camera that a stream shows.
pub fn camera_of_stream(stream: &Stream) -> ObjectKey {
    ObjectKey::new(key(stream).namespace, &*stream.spec.camera_ref.name)
}

/// The camera that a recording records.
pub fn camera_of_recording(recording: &Recording) -> ObjectKey {
    ObjectKey::new(key(recording).namespace, &*recording.spec.camera_ref.name)
}

fn insert(lookup: &mut Lookup, from: ObjectKey, to: ObjectKey) {
    lookup.entry(from).or_default().insert(to);
}

fn remove(lookup: &mut Lookup, from: &ObjectKey, to: &ObjectKey) {
    if let Some(keys) = lookup.get_mut(from) {
        keys.remove(to);
        if keys.is_empty() {
            lookup.remove(from);
        }
    }
}

fn found<'a, T>(
    lookup: &'a Lookup,
    from: &ObjectKey,
    objects: &'a BTreeMap<ObjectKey, T>,
) -> impl Iterator<Item = (&'a ObjectKey, &'a T)> + use<'a, T> {
    lookup.get(from).into_iter().flatten().filter_map(|key| Some((key, objects.get(key)?)))
}
