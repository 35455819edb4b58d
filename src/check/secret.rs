//! `v1` `Secret` manifests, which `run` takes from the same files. The values are never printed.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use regex::Regex;
use serde_json::{Value, json};

use super::definitions::object_properties;
use super::schema::{self, Violation};
use super::yaml::Node;
use crate::api::reference::{SECRET_KEY_PATTERN, SECRET_NAME_PATTERN};
use crate::plan::unit::ObjectKey;

/// A Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Namespace and name.
    pub key: ObjectKey,
    values: BTreeMap<String, Vec<u8>>,
}

impl Secret {
    /// The value of a key, if it is there and is a text.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.values.keys().collect();
        formatter.debug_struct("Secret").field("key", &self.key).field("keys", &keys).finish_non_exhaustive()
    }
}

/// Checks a Secret's manifest and reads it.
pub fn read(node: &Node, key: ObjectKey) -> (Secret, Vec<Violation>) {
    let mut properties = object_properties();
    let texts = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    properties.insert("type".to_owned(), json!({ "type": "string" }));
    properties.insert("immutable".to_owned(), json!({ "type": "boolean" }));
    properties.insert("data".to_owned(), texts.clone());
    properties.insert("stringData".to_owned(), texts);
    let schema = json!({ "type": "object", "required": ["metadata"], "properties": properties });

    let mut violations = Vec::new();
    let object = schema::validate(node, &schema, "", &mut violations);
    let mut refuse = |path: String, message: &str| {
        violations.push(Violation {
            line: node.line_of(&path),
            path,
            message: message.to_owned(),
            blocks_rules: false,
            is_pattern: false,
        });
    };
    let is_match = |pattern: &str, text: &str| Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text));
    if !is_match(SECRET_NAME_PATTERN, &key.name) {
        refuse("metadata.name".to_owned(), "must be lower-case letters, digits, hyphens and dots, such as front-door");
    }
    let mut values = BTreeMap::new();
    for (field, decode) in [("data", true), ("stringData", false)] {
        for (name, value) in object[field].as_object().into_iter().flatten() {
            let path = format!("{field}.{name}");
            if !is_match(SECRET_KEY_PATTERN, name) {
                refuse(path.clone(), "must be a key of letters, digits, hyphens, underscores and dots");
            }
            let bytes = match value {
                Value::String(text) if !decode => Some(text.clone().into_bytes()),
                // What is no text at all has been refused already.
                value if !value.is_string() => continue,
                value => serde_json::from_value::<ByteString>(value.clone()).ok().map(|bytes| bytes.0),
            };
            match bytes {
                Some(bytes) => drop(values.insert(name.clone(), bytes)),
                None => refuse(path, "must be base64: write plain text under stringData instead of data"),
            }
        }
    }
    (Secret { key, values }, violations)
}
