//! Conditions of a status: the standard type of Kubernetes, our condition types in one place, and a bounded schema for the
//! list. What a condition says is decided in `plan::status`; its reasons are `plan::report::Reason`.

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::{Schema, SchemaGenerator, json_schema};

/// The object does what its spec asks for.
pub const READY: &str = "Ready";
/// Cameras: the device answers.
pub const REACHABLE: &str = "Reachable";
/// Clips: the whole clip is on disk.
pub const COMPLETE: &str = "Complete";
/// Recordings: given up; needs a person.
pub const FAILED: &str = "Failed";

/// `status` of a condition that holds.
pub const TRUE: &str = "True";
/// `status` of a condition that does not hold.
pub const FALSE: &str = "False";
/// `status` of a condition that cannot be told.
pub const UNKNOWN: &str = "Unknown";

/// The condition of one type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Schema of a list of conditions: a map by `type`, so that server-side apply merges it.
pub(super) fn list_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "description": "What is true of the object now, by type.",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "type": "string", "maxLength": 63, "pattern": "^[A-Za-z][A-Za-z0-9]*$",
                    "description": "What is said, such as Ready."
                },
                "status": {
                    "type": "string", "enum": ["True", "False", "Unknown"],
                    "description": "Whether it holds."
                },
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "metadata.generation that this condition speaks of."
                },
                "lastTransitionTime": {
                    "type": "string", "format": "date-time",
                    "description": "When status last changed."
                },
                "reason": {
                    "type": "string", "maxLength": 63, "pattern": "^[A-Za-z][A-Za-z0-9]*$",
                    "description": "Why, as one CamelCase word."
                },
                "message": {
                    "type": "string", "maxLength": 1024,
                    "description": "Why, as one sentence: what is wrong and what to do."
                }
            }
        }
    })
}

/// Schema of an instant of a status.
pub(super) fn time_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}
