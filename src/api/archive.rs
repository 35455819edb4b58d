//! `Archive`: one volume of recordings and the one recorder that owns it.

use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::{Condition, Time};
use super::duration::{self, Duration};
use super::pod::PodOverrides;
use super::quantity::{self, Quantity};
use super::reference::{self, SECRET_NAME_PATTERN};
use super::rule::{matches, rule};

/// What is wanted of an archive.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[kube(
    group = "camera-operator.dev",
    version = "v1alpha1",
    kind = "Archive",
    plural = "archives",
    shortname = "arc",
    category = "video",
    namespaced,
    status = "ArchiveStatus",
    derive = "PartialEq",
    doc = "A volume of recordings. Recordings that name no archive go to the one named default.",
    validation = reference::name_rule(),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.conditions[?(@.type==\"Ready\")].lastTransitionTime"),
    printcolumn(name = "Size", type_ = "string", json_path = ".spec.claim.size"),
    printcolumn(name = "Last-Retention", type_ = "date", json_path = ".status.retention.lastRun"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    "!(has(self.claim) && has(self.existingClaim))",
    "must not hold both claim and existingClaim: write claim to have a volume made, or existingClaim for one that is there"
))]
#[x_kube(validation = rule(
    "!(has(self.existingClaim) && has(self.reclaimPolicy) && self.reclaimPolicy == 'Delete')",
    "must not hold reclaimPolicy: Delete with existingClaim, which is yours to delete: leave reclaimPolicy out"
))]
#[x_kube(validation = rule(
    "!has(oldSelf.claim) || has(self.claim)",
    "must keep claim, because recordings are on it: make another Archive for another volume"
))]
pub struct ArchiveSpec {
    /// The volume that is made for this archive: a PersistentVolumeClaim. In a cluster there is exactly one of claim and
    /// existingClaim; camera-operator run keeps recordings in its data folder and needs neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// Name of a PersistentVolumeClaim in the same namespace that is there already. Instead of claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_NAME_PATTERN))]
    #[x_kube(validation = matches(SECRET_NAME_PATTERN,
        "must be the name of a PersistentVolumeClaim: lower-case letters, digits, hyphens and dots, such as recordings"))]
    pub existing_claim: Option<String>,
    /// What becomes of the claim, and all recordings on it, when the Archive is deleted. Default: Retain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaim_policy: Option<ReclaimPolicy>,
    /// When the volume has less free space than this, the oldest recordings are deleted before their time, as far as their
    /// retention allows, and the archive says so. Default: 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = quantity::between("1Mi", "100Ti", "5Gi"))]
    pub min_free: Option<Quantity>,
    /// When the retention of all recordings of this archive is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<ArchiveRetention>,
    /// What is asked of the recorder's pod in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodOverrides>,
}

/// The volume of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    "has(self.storageClassName) == has(oldSelf.storageClassName) && \
     (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
    "must keep its storageClassName, which a volume cannot change: make another Archive for another class"
))]
#[x_kube(validation = rule(
    "has(self.accessModes) == has(oldSelf.accessModes) && (!has(self.accessModes) || self.accessModes == oldSelf.accessModes)",
    "must keep its accessModes, which a volume cannot change: make another Archive for other modes"
))]
pub struct Claim {
    /// How much room there is to be. It can grow later, where the storage class allows it, and never shrink.
    #[x_kube(validation = quantity::between("1Mi", "1000Ti", "100Gi"), validation = grows())]
    pub size: Quantity,
    /// The kind of storage. Default: the cluster's default storage class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_NAME_PATTERN))]
    #[x_kube(validation = matches(SECRET_NAME_PATTERN,
        "must be the name of a StorageClass: lower-case letters, digits, hyphens and dots, such as fast"))]
    pub storage_class_name: Option<String>,
    /// How the volume is mounted; one writer is all that is needed. Default: ReadWriteOnce.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 3))]
    pub access_modes: Vec<AccessMode>,
}

/// How a volume is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// By the pods of one node.
    ReadWriteOnce,
    /// By one pod.
    ReadWriteOncePod,
    /// By pods of many nodes.
    ReadWriteMany,
}

impl AccessMode {
    /// As a claim writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadWriteOncePod => "ReadWriteOncePod",
            Self::ReadWriteMany => "ReadWriteMany",
        }
    }
}

/// What becomes of the claim, and all recordings on it, when the Archive is deleted. Default: Retain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub enum ReclaimPolicy {
    /// The claim stays with all recordings.
    #[default]
    Retain,
    /// The claim is deleted with all recordings.
    Delete,
}

/// When retention runs, and what becomes of recordings that nobody declares any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveRetention {
    /// When it runs, in cron syntax of five fields (minute, hour, day of month, month, day of week). Default: 0 3 * * *.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 128))]
    #[x_kube(validation = schedule_rule())]
    pub schedule: Option<String>,
    /// Time zone of the schedule, by its IANA name, such as Europe/Madrid. Default: Etc/UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = matches("^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9][A-Za-z0-9_+-]*)*$",
        "must be the IANA name of a time zone, such as Etc/UTC or Europe/Madrid"))]
    pub time_zone: Option<String>,
    /// Recordings that no Recording object declares any more are deleted when their newest file is older than this. Default:
    /// never; they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("1h", "36500d", "30d"))]
    pub orphans: Option<Duration>,
}

/// How an archive is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveStatus {
    /// metadata.generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: the archive can be written. Others when there is something to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::list_schema")]
    pub conditions: Vec<Condition>,
    /// What the last retention run did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionStatus>,
}

/// What a retention run did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionStatus {
    /// When it ran.
    #[schemars(schema_with = "super::condition::time_schema")]
    pub last_run: Time,
    /// Files deleted.
    pub deleted_segments: i64,
    /// Bytes deleted.
    pub deleted_bytes: i64,
}

/// Five fields of cron syntax with their ranges: whatever this takes, a Kubernetes `CronJob` takes too.
pub fn schedule_pattern() -> String {
    // Value, range, step (a star or a range may be stepped), comma-separated.
    let field = |value: &str| {
        let item = format!(r"(\*(/[1-9][0-9]?)?|({value})(-({value})(/[1-9][0-9]?)?)?)");
        format!("{item}(,{item})*")
    };
    let fields = [
        "[0-5]?[0-9]",
        "[01]?[0-9]|2[0-3]",
        "0?[1-9]|[12][0-9]|3[01]",
        "0?[1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC",
        "[0-6]|SUN|MON|TUE|WED|THU|FRI|SAT",
    ];
    format!("^{}$", fields.map(field).join(" "))
}

fn grows() -> Rule {
    // What is no quantity has a message of its own.
    let is = |path: &str| format!("{path}.matches({})", super::rule::literal(quantity::PATTERN));
    rule(
        format!("!{} || !{} || quantity(self).compareTo(quantity(oldSelf)) >= 0", is("self"), is("oldSelf")),
        "must not be smaller than before, because a volume cannot shrink: write at least the size that was there",
    )
}

fn schedule_rule() -> Rule {
    matches(
        &schedule_pattern(),
        "must be five fields of cron syntax separated by single spaces (minute, hour, day of month, month, day of week), such as \
         0 3 * * * for every day at 03:00",
    )
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use kube::CustomResourceExt as _;
    use kube::core::cel::{Validator, compile_schema};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_claim_changes_only_as_a_volume_can() {
        let rules = compile_schema(&super::super::crds::schema(&Archive::crd()));
        let archive = |spec: &Value| json!({"metadata": {"name": "a"}, "spec": spec});
        let said = |old: Value, new: Value| {
            let validated = Validator::new().validate_compiled(&rules, &archive(&new), Some(&archive(&old)));
            let failures = if let Err(failures) = validated { failures.into_vec() } else { Vec::new() };
            failures.into_iter().map(|failure| failure.message).collect::<Vec<_>>().join("; ")
        };
        let claim = |size: &str| json!({"claim": {"size": size, "storageClassName": "fast"}});
        assert_eq!(said(claim("10Gi"), claim("20Gi")), "");
        assert_eq!(said(claim("10Gi"), claim("10Gi")), "");
        assert_eq!(said(json!({}), claim("10Gi")), "", "an archive gets its volume when it comes to a cluster");
        for (old, new, message) in [
            (claim("10Gi"), claim("9Gi"), "a volume cannot shrink"),
            (claim("10Gi"), json!({}), "must keep claim"),
            (claim("10Gi"), json!({"existingClaim": "other"}), "must keep claim"),
            (
                claim("10Gi"),
                json!({"claim": {"size": "10Gi", "storageClassName": "slow"}}),
                "must keep its storageClassName",
            ),
            (claim("10Gi"), json!({"claim": {"size": "10Gi"}}), "must keep its storageClassName"),
            (
                claim("10Gi"),
                json!({"claim": {"size": "10Gi", "storageClassName": "fast", "accessModes": ["ReadWriteMany"]}}),
                "must keep its accessModes",
            ),
        ] {
            let said = said(old, new);
            assert!(said.contains(message) && !said.contains(';'), "{message}: {said}");
        }
    }

    #[test]
    fn schedules() {
        let pattern = regex::Regex::new(&schedule_pattern()).unwrap_or_else(|error| panic!("{error}"));
        for good in ["0 3 * * *", "*/15 * * * *", "0 0-6/2 1,15 * MON-FRI", "59 23 31 DEC 6", "5,35 * * * SUN"] {
            assert!(pattern.is_match(good), "{good}");
            assert!(croner::Cron::from_str(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "@daily",
            "0 3 * *",
            "0 3 * * * *",
            "60 3 * * *",
            "0 24 * * *",
            "0 3 0 * *",
            "0 3 * 13 *",
            "0  3 * * *",
            "*/0 * * * *",
        ] {
            assert!(!pattern.is_match(bad), "{bad}");
        }
    }
}
