//! What `run` remembers over a restart, beyond the manifests: generations and creation times of objects, and what people
//! set over REST. One small JSON file in the data folder, replaced as a whole. Must not know what the fields lead to.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::store::Identity;
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// Name of the file.
pub const FILE: &str = "state.json";

/// The version of the file that this program writes.
const VERSION: u32 = 1;

/// A field of a spec that can be set over REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Field {
    /// `spec.suspend`.
    #[serde(rename = "spec.suspend")]
    Suspend,
    /// `spec.clip.stop`.
    #[serde(rename = "spec.clip.stop")]
    ClipStop,
}

impl Field {
    /// Its value in an object; absent means false.
    pub fn read(self, object: &Value) -> bool {
        let spec = &object["spec"];
        let value = match self {
            Self::Suspend => &spec["suspend"],
            Self::ClipStop => &spec["clip"]["stop"],
        };
        value.as_bool().unwrap_or(false)
    }

    /// Sets it in an object. A recording that is no clip has no `stop` to set.
    pub fn write(self, object: &mut Value, value: bool) {
        match self {
            Self::Suspend => object["spec"]["suspend"] = value.into(),
            Self::ClipStop => {
                if let Some(clip) = object["spec"].get_mut("clip").and_then(Value::as_object_mut) {
                    clip.insert("stop".into(), value.into());
                }
            }
        }
    }
}

/// A value that was set over REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// What was set.
    pub value: bool,
    /// What the manifest said then. When the manifest says something else, its word is the newer one.
    pub manifest: bool,
}

/// All overrides, by object and field.
pub type Overrides = BTreeMap<ObjectRef, BTreeMap<Field, Override>>;

/// Everything that is remembered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// Of every object that was declared last.
    pub identities: BTreeMap<ObjectRef, Identity>,
    /// What people set over REST.
    pub overrides: Overrides,
}

/// Sets a field over REST: the override that then holds. Setting what the manifest says anyway ends the override.
pub fn set(overrides: &mut Overrides, reference: &ObjectRef, declared: &Value, field: Field, value: bool) {
    let manifest = field.read(declared);
    let fields = overrides.entry(reference.clone()).or_default();
    if value == manifest {
        fields.remove(&field);
    } else {
        fields.insert(field, Override { value, manifest });
    }
    if fields.is_empty() {
        overrides.remove(reference);
    }
}

/// Applies the overrides of an object to its manifest, and drops those whose manifest has changed its own word since.
pub fn apply(overrides: &mut Overrides, reference: &ObjectRef, declared: &Value) -> Value {
    let mut object = declared.clone();
    if let Some(fields) = overrides.get_mut(reference) {
        fields.retain(|field, set| field.read(declared) == set.manifest);
        for (field, set) in fields.iter() {
            field.write(&mut object, set.value);
        }
        if fields.is_empty() {
            overrides.remove(reference);
        }
    }
    object
}

/// An object as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    kind: ObjectKind,
    namespace: String,
    name: String,
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    identity: Option<Identity>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    overrides: BTreeMap<Field, Override>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    objects: Vec<Entry>,
}

impl State {
    fn document(&self) -> Document {
        let mut references: Vec<_> = self.identities.keys().chain(self.overrides.keys()).cloned().collect();
        references.sort();
        references.dedup();
        let objects = references
            .into_iter()
            .map(|reference| Entry {
                identity: self.identities.get(&reference).cloned(),
                overrides: self.overrides.get(&reference).cloned().unwrap_or_default(),
                kind: reference.kind,
                namespace: reference.key.namespace,
                name: reference.key.name,
            })
            .collect();
        Document { version: VERSION, objects }
    }

    fn from_document(document: Document) -> Self {
        let mut state = Self::default();
        for entry in document.objects {
            let reference = ObjectRef { kind: entry.kind, key: ObjectKey::new(entry.namespace, entry.name) };
            if let Some(identity) = entry.identity {
                state.identities.insert(reference.clone(), identity);
            }
            if !entry.overrides.is_empty() {
                state.overrides.insert(reference, entry.overrides);
            }
        }
        state
    }

    /// What the folder's file says; nothing, where there is no file. A file that cannot be understood is put aside, so that
    /// the program starts and nothing is lost: the second value is where it went.
    ///
    /// # Errors
    /// When the file is there and cannot be read or put aside.
    pub fn load(folder: &Path) -> std::io::Result<(Self, Option<PathBuf>)> {
        let path = folder.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Self::default(), None)),
            Err(error) => return Err(error),
        };
        match serde_json::from_slice::<Document>(&text) {
            Ok(document) if document.version == VERSION => Ok((Self::from_document(document), None)),
            _ => {
                let aside = folder.join(format!("{FILE}.unreadable"));
                std::fs::rename(&path, &aside)?;
                Ok((Self::default(), Some(aside)))
            }
        }
    }

    /// Replaces the folder's file: after a crash it holds the old state or the new, never a part.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, folder: &Path) -> std::io::Result<()> {
        let temporary = folder.join(format!("{FILE}.new"));
        let mut text = serde_json::to_vec_pretty(&self.document())?;
        text.push(b'\n');
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&temporary, folder.join(FILE))?;
        std::fs::File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn door() -> ObjectRef {
        ObjectRef { kind: ObjectKind::Camera, key: ObjectKey::new("default", "door") }
    }

    #[test]
    fn an_override_holds_until_the_manifest_changes_its_own_word() {
        let (absent, suspended) = (json!({"spec": {}}), json!({"spec": {"suspend": true}}));
        let mut overrides = Overrides::new();
        set(&mut overrides, &door(), &absent, Field::Suspend, true);
        assert_eq!(apply(&mut overrides, &door(), &absent)["spec"]["suspend"], true);
        let same = json!({"spec": {"suspend": false, "width": 3}});
        assert_eq!(
            apply(&mut overrides, &door(), &same)["spec"]["suspend"],
            true,
            "absent and false are the same word"
        );
        assert_eq!(apply(&mut overrides, &door(), &suspended)["spec"]["suspend"], true);
        assert!(overrides.is_empty(), "the manifest has spoken");
        assert_eq!(apply(&mut overrides, &door(), &absent), absent);
    }

    #[test]
    fn setting_what_the_manifest_says_ends_the_override() {
        let manifest = json!({"spec": {"suspend": true}});
        let mut overrides = Overrides::new();
        set(&mut overrides, &door(), &manifest, Field::Suspend, false);
        assert_eq!(overrides.len(), 1);
        set(&mut overrides, &door(), &manifest, Field::Suspend, true);
        assert!(overrides.is_empty());
    }

    #[test]
    fn only_a_clip_can_be_stopped() {
        let (mut clip, mut continuous) = (json!({"spec": {"clip": {}}}), json!({"spec": {"continuous": {}}}));
        Field::ClipStop.write(&mut clip, true);
        Field::ClipStop.write(&mut continuous, true);
        assert!(Field::ClipStop.read(&clip));
        assert_eq!(continuous, json!({"spec": {"continuous": {}}}));
    }

    #[test]
    fn what_is_saved_is_loaded_again_and_a_torn_file_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(State::load(folder.path()).unwrap(), (State::default(), None));
        let mut state = State::default();
        let identity = Identity { creation_timestamp: Timestamp::UNIX_EPOCH, generation: 7, spec_hash: "ab".into() };
        state.identities.insert(door(), identity);
        set(&mut state.overrides, &door(), &json!({}), Field::Suspend, true);
        let only_override = ObjectRef { kind: ObjectKind::Stream, ..door() };
        set(&mut state.overrides, &only_override, &json!({}), Field::Suspend, true);
        state.save(folder.path()).unwrap();
        assert_eq!(State::load(folder.path()).unwrap(), (state, None));
        std::fs::write(folder.path().join(FILE), "{\"version\": 1, \"obj").unwrap();
        let (loaded, aside) = State::load(folder.path()).unwrap();
        assert_eq!(loaded, State::default());
        assert!(aside.unwrap().exists());
    }
}
