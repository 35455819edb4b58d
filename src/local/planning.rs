//! Between the store's objects, which are JSON, and the planner's, which are typed. Must not decide anything.

use serde_json::Value;

use super::control::Declarations;
use crate::plan::objects::Objects;
use crate::plan::unit::{ObjectKind, ObjectRef};

/// The typed objects. One that cannot be typed is left out and told: it was checked when it was read, so this is a mistake
/// of the program, which must not keep the other cameras from running.
pub fn typed<'a>(objects: impl IntoIterator<Item = (&'a ObjectRef, &'a Value)>) -> Objects {
    let mut typed = Objects::default();
    for (reference, object) in objects {
        if let Err(error) = typed.insert_value(reference.kind, object.clone()) {
            tracing::error!(object = %reference, "cannot be planned: {error}");
        }
    }
    typed
}

/// Adds the archives that recordings go to although nobody declares them, so that they are listed like all others.
pub fn with_default_archives(mut objects: Declarations) -> Declarations {
    for archive in typed(&objects).default_archives() {
        let reference = ObjectRef { kind: ObjectKind::Archive, key: crate::plan::objects::key(&archive) };
        match serde_json::to_value(&archive) {
            Ok(value) => {
                objects.insert(reference, value);
            }
            Err(error) => tracing::error!(object = %reference, "cannot be written as JSON: {error}"),
        }
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::unit::ObjectKey;

    #[test]
    fn a_recording_brings_its_default_archive_once() {
        let text = "apiVersion: camera-operator.dev/v1alpha1\nkind: Recording\nmetadata: {name: day}\n\
            spec: {cameraRef: {name: door}, continuous: {}}\n";
        let recording = crate::check::load_text("day.yaml", text).manifests.recordings.remove(0);
        let reference = ObjectRef { kind: ObjectKind::Recording, key: ObjectKey::new("default", "day") };
        let objects = Declarations::from([(reference, serde_json::to_value(recording).unwrap())]);
        let all = with_default_archives(objects);
        let archive = ObjectRef { kind: ObjectKind::Archive, key: ObjectKey::new("default", "default") };
        assert_eq!(all.len(), 2);
        assert_eq!(all[&archive]["kind"], "Archive");
        assert_eq!(with_default_archives(all.clone()), all);
    }
}
