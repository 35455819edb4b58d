//! The declared objects that a plan is made of, by key, wherever they came from: files or a cluster. Holds no secret.

use std::collections::BTreeMap;

use kube::{Resource, ResourceExt as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::unit::{ObjectKey, ObjectKind, hex};
use crate::api::condition::{self, COMPLETE, FAILED, TRUE};
use crate::api::{Archive, ArchiveSpec, Camera, DEFAULT_ARCHIVE, DEFAULT_NAMESPACE, Recording, Stream};

/// All objects, by key.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Objects {
    /// Cameras.
    pub cameras: BTreeMap<ObjectKey, Camera>,
    /// Streams.
    pub streams: BTreeMap<ObjectKey, Stream>,
    /// Archives.
    pub archives: BTreeMap<ObjectKey, Archive>,
    /// Recordings.
    pub recordings: BTreeMap<ObjectKey, Recording>,
}

/// Namespace and name of an object; the namespace is `default` where none is named.
pub fn key<T: Resource>(object: &T) -> ObjectKey {
    ObjectKey::new(object.namespace().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()), object.name_any())
}

/// A uid that stays the same for the same kind, namespace and name: of the form of a UUID, version 8 (RFC 9562). For objects
/// that no API server has given one.
pub fn stable_uid(kind: ObjectKind, key: &ObjectKey) -> String {
    let digest = Sha256::digest(format!("{}/{}/{}", kind.plural(), key.namespace, key.name));
    let hex = hex(&digest);
    format!("{}-{}-8{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

/// The archive that a recording goes to.
pub fn archive_of(recording: &Recording) -> ObjectKey {
    let name = recording.spec.archive_ref.as_ref().map_or(DEFAULT_ARCHIVE, |archive| archive.name.as_str());
    ObjectKey::new(key(recording).namespace, name)
}

/// Whether a recording is complete or was given up, as its status says: nothing more will be recorded.
pub fn has_ended(recording: &Recording) -> bool {
    let conditions = recording.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let holds = |type_| condition::find(conditions, type_).is_some_and(|condition| condition.status == TRUE);
    holds(COMPLETE) || holds(FAILED)
}

impl Objects {
    /// Adds one object of any kind, as JSON, in place of an earlier one of the same key.
    pub fn insert_value(&mut self, kind: ObjectKind, value: Value) -> Result<(), serde_json::Error> {
        match kind {
            ObjectKind::Camera => self.insert_camera(serde_json::from_value(value)?),
            ObjectKind::Stream => self.insert_stream(serde_json::from_value(value)?),
            ObjectKind::Archive => self.insert_archive(serde_json::from_value(value)?),
            ObjectKind::Recording => self.insert_recording(serde_json::from_value(value)?),
            // Nothing is planned for it.
            ObjectKind::AlertRoute => {}
        }
        Ok(())
    }

    /// Adds a camera.
    pub fn insert_camera(&mut self, camera: Camera) {
        self.cameras.insert(key(&camera), camera);
    }

    /// Adds a stream.
    pub fn insert_stream(&mut self, stream: Stream) {
        self.streams.insert(key(&stream), stream);
    }

    /// Adds an archive.
    pub fn insert_archive(&mut self, archive: Archive) {
        self.archives.insert(key(&archive), archive);
    }

    /// Adds a recording.
    pub fn insert_recording(&mut self, recording: Recording) {
        self.recordings.insert(key(&recording), recording);
    }

    /// The archives named `default` that recordings go to although nobody declares them: one for each such namespace, with
    /// everything by default.
    pub fn default_archives(&self) -> Vec<Archive> {
        let mut archives = BTreeMap::new();
        for recording in self.recordings.values() {
            let wanted = archive_of(recording);
            if wanted.name != DEFAULT_ARCHIVE || self.archives.contains_key(&wanted) || archives.contains_key(&wanted) {
                continue;
            }
            let mut archive = Archive::new(DEFAULT_ARCHIVE, ArchiveSpec::default());
            archive.metadata.namespace = Some(wanted.namespace.clone());
            archive.metadata.uid = Some(stable_uid(ObjectKind::Archive, &wanted));
            archive.metadata.generation = Some(1);
            archives.insert(wanted, archive);
        }
        archives.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_stable_and_differ() {
        let uid = |kind, name: &str| stable_uid(kind, &ObjectKey::new("default", name));
        assert_eq!(uid(ObjectKind::Camera, "a"), uid(ObjectKind::Camera, "a"));
        assert_ne!(uid(ObjectKind::Camera, "a"), uid(ObjectKind::Stream, "a"));
        assert_ne!(uid(ObjectKind::Camera, "a"), uid(ObjectKind::Camera, "b"));
        assert_eq!(uid(ObjectKind::Camera, "a").len(), 36);
    }
}
