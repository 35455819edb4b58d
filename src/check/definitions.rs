//! The kinds that are checked: each one's structural schema, completed with what an API server knows of every object
//! (`apiVersion`, `kind`, `metadata`), and its compiled CEL rules.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use kube::core::cel::{CompiledSchema, ErrorKind, Validator, compile_schema};
use serde_json::{Value, json};

use super::schema::{self, Violation};
use super::yaml::{Content, Field, Node};
use crate::api::crds;
use crate::plan::unit::ObjectKind;

/// The kinds of ours, ready to check objects.
pub struct Definitions {
    kinds: BTreeMap<ObjectKind, Definition>,
    validator: Validator,
}

struct Definition {
    schema: Value,
    rules: CompiledSchema,
}

/// Our kind of that name.
pub fn kind(name: &str) -> Option<ObjectKind> {
    match name {
        "Camera" => Some(ObjectKind::Camera),
        "Stream" => Some(ObjectKind::Stream),
        "Archive" => Some(ObjectKind::Archive),
        "Recording" => Some(ObjectKind::Recording),
        "AlertRoute" => Some(ObjectKind::AlertRoute),
        _ => None,
    }
}

/// Compiling rules takes a while; they never change.
static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(Definitions::new);

impl Definitions {
    /// The definitions of this program.
    pub fn get() -> &'static Self {
        &DEFINITIONS
    }

    fn new() -> Self {
        let mut kinds = BTreeMap::new();
        for definition in crds::all() {
            let Some(kind) = kind(&definition.spec.names.kind) else { continue };
            let mut schema = crds::schema(&definition);
            let rules = compile_schema(&schema);
            if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
                // Users' manifests may hold the status of an object that was read from a cluster; it is not theirs to write.
                properties.shift_remove("status");
                properties.extend(object_properties());
            }
            kinds.insert(kind, Definition { schema, rules });
        }
        Self { kinds, validator: Validator::new() }
    }

    /// What an API server would say of an object of `kind`, and the object as it would store it.
    pub fn check(&self, kind: ObjectKind, node: &Node) -> (Value, Vec<Violation>) {
        let mut violations = Vec::new();
        let Some(definition) = self.kinds.get(&kind) else { return (node.json(), violations) };
        let object = schema::validate(&as_decoded(node), &definition.schema, "", &mut violations);
        if violations.iter().any(|violation| violation.blocks_rules) {
            drop_what_is_said_better(&mut violations);
            return (object, violations);
        }
        let failures = match self.validator.validate_compiled(&definition.rules, &object, None) {
            Ok(()) => Vec::new(),
            Err(failures) => failures.into_vec(),
        };
        for failure in failures {
            // A rule on the whole object speaks of the name: nothing else is visible to rules at the root.
            let is_name = failure.field_path.is_empty() && failure.rule.contains("self.metadata.name");
            let path = if is_name { "metadata.name".to_owned() } else { failure.field_path };
            let message = match failure.kind {
                ErrorKind::ValidationFailure => {
                    // The path stands before the message already.
                    failure.message.strip_prefix(&format!("{path} ")).unwrap_or(&failure.message).to_owned()
                }
                _ => format!("cannot be checked: {} (rule {})", failure.message, failure.rule),
            };
            violations.push(Violation {
                line: node.line_of(&path),
                path,
                message,
                blocks_rules: false,
                is_pattern: false,
            });
        }
        drop_what_is_said_better(&mut violations);
        (object, violations)
    }
}

/// A pattern says less than the rule on the same field.
fn drop_what_is_said_better(violations: &mut Vec<Violation>) {
    let better: Vec<String> =
        violations.iter().filter(|violation| !violation.is_pattern).map(|violation| violation.path.clone()).collect();
    violations.retain(|violation| !violation.is_pattern || !better.contains(&violation.path));
    violations.sort_by(|one, other| (one.line, &one.path).cmp(&(other.line, &other.path)));
}

/// The object as an API server's decoder hands it on: the status of an object that was read from a cluster is not the user's to
/// write; where there is no metadata, there is empty metadata, in which the name is missing.
fn as_decoded(node: &Node) -> Node {
    let mut node = node.clone();
    let line = node.line;
    if let Content::Mapping(fields) = &mut node.content {
        fields.retain(|field| {
            field.key != "status" && !(field.key == "metadata" && field.value.content == Content::Null)
        });
        if !fields.iter().any(|field| field.key == "metadata") {
            let value = Node { line, content: Content::Mapping(Vec::new()) };
            fields.push(Field { key: "metadata".to_owned(), line, value });
        }
    }
    node
}

/// Schema of what every Kubernetes object has. The bounds are those of the API conventions.
pub fn object_properties() -> serde_json::Map<String, Value> {
    let text = json!({ "type": "string", "maxLength": 1024 });
    let texts = json!({ "type": "object", "additionalProperties": { "type": "string", "maxLength": 262_144 } });
    let label_values = json!({ "type": "object", "additionalProperties": {
        "type": "string", "maxLength": 63, "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
    }});
    let properties = json!({
        "apiVersion": text,
        "kind": text,
        "metadata": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": { "type": "string", "maxLength": 253, "minLength": 1, "description": "The name of the object, such as front-door." },
                "namespace": { "type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" },
                "labels": label_values,
                "annotations": texts,
                // What a cluster adds; it is taken from files that were read from one, and not used.
                "uid": text,
                "resourceVersion": text,
                "generation": { "type": "integer" },
                "creationTimestamp": text,
                "selfLink": text,
                "generateName": text,
                "finalizers": { "type": "array", "items": text },
                "ownerReferences": { "type": "array", "items": { "type": "object", "additionalProperties": text } },
                "managedFields": { "type": "array", "items": { "type": "object", "additionalProperties": text } }
            }
        }
    });
    match properties {
        Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}
