//! Whether each field of a definition has an edit, and each edit is of a field. Needs no cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use super::edits::{Addresses, cameras, outputs};
use crate::support::cluster::definitions;

/// The leaves of a merge patch of a spec, as [`fields_of`] names fields.
fn leaves(patch: &Value, path: &str, found: &mut BTreeSet<String>) {
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match patch {
        _ if KUBERNETES_OWN.contains(&path) => {
            found.insert(path.to_owned());
        }
        Value::Object(members) => members.iter().for_each(|(name, value)| leaves(value, &join(name), found)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().for_each(|item| leaves(item, &join("[]"), found));
        }
        Value::Null => {}
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// Kubernetes' own shapes, passed on as they are: one edit is as good as another.
const KUBERNETES_OWN: [&str; 1] = ["pod.affinity"];

/// The fields of a schema that hold something themselves.
fn fields_of(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if let Some(properties) = schema["properties"].as_object().filter(|_| !KUBERNETES_OWN.contains(&path)) {
        properties.iter().for_each(|(name, schema)| fields_of(schema, &join(name), found));
    } else if schema["items"]["properties"].is_object() {
        fields_of(&schema["items"], &join("[]"), found);
    } else if schema["additionalProperties"].is_object() {
        // A map: whichever name stands in it.
        found.insert(join("*"));
    } else {
        found.insert(path.to_owned());
    }
}

/// Each field of Camera, Stream, Archive and Recording has an edit here, and each edit is of a field.
pub fn every_field_of_a_spec_is_edited() {
    let at = || "rtsp://192.0.2.1/x".to_owned();
    let at = Addresses { front: at(), back: at(), push: at(), other_push: at() };
    let mut edited: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for edit in cameras(&at).into_iter().chain(outputs(&at)).flatten() {
        let (kind, _) = edit.object.split_once('/').unwrap();
        leaves(&edit.spec, "", edited.entry(kind).or_default());
    }
    for file in definitions() {
        let definition: Value = serde_yaml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let kind = definition["spec"]["names"]["singular"].as_str().unwrap();
        let Some(edited) = edited.get(kind) else { continue };
        let mut fields = BTreeSet::new();
        fields_of(
            &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"],
            "",
            &mut fields,
        );
        // A map's names are the user's.
        let is_of_map =
            |field: &String| fields.iter().any(|map| map.strip_suffix('*').is_some_and(|map| field.starts_with(map)));
        let missing: Vec<_> = fields
            .iter()
            .filter(|field| {
                let map = field.strip_suffix('*');
                !edited.contains(*field) && !map.is_some_and(|map| edited.iter().any(|edited| edited.starts_with(map)))
            })
            .collect();
        assert!(missing.is_empty(), "{kind}: no edit in tests/cluster/fields/edits.rs tries {missing:?}");
        let unknown: Vec<_> = edited.iter().filter(|field| !fields.contains(*field) && !is_of_map(field)).collect();
        assert!(unknown.is_empty(), "{kind} has no fields {unknown:?}");
    }
}
