//! `spec.pod` of every kind that has a pod of its own: what the person who runs a cluster may ask of that pod. Bounded
//! shapes of our own with the field names of Kubernetes; `camera-operator run` has no pods and ignores them.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::affinity::Affinity;
use super::quantity::{self, Quantity};
use super::reference::SecretReference;
use super::rule::{literal, matches, rule};

/// What a processor quantity looks like: cores with up to three decimals, or thousandths with the suffix `m`.
pub const CPU_PATTERN: &str = "^([1-9][0-9]{0,5}m|[1-9][0-9]{0,2}([.][0-9]{1,3})?|0[.][0-9]{1,3})$";
/// What the name of a device plugin's resource looks like.
pub const DEVICE_PATTERN: &str = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?/[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$";
/// What a label's name looks like, with its prefix.
pub const LABEL_NAME_PATTERN: &str = "^([a-z0-9]([-.a-z0-9]*[a-z0-9])?/)?[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$";
/// What a label's value looks like.
pub const LABEL_VALUE_PATTERN: &str = "^([A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?)?$";

/// What is asked of the pod that does the work. Everything left out is as the operator's settings say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct PodOverrides {
    /// Processor and memory. What is left out is as the operator's settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels_schema")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that do not keep the pod away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
    /// Which nodes, and beside which pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Whether the pod has the network of its node, for cameras that only the node reaches. A node then holds one such pod,
    /// and the namespace must allow it: the Pod Security Standards baseline and restricted do not. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_network: Option<bool>,
    /// Devices of the node, as a device plugin offers them: what a camera with source.v4l2 needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub device_resources: Vec<DeviceResource>,
    /// Secrets with which the image is pulled, in the same namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Vec<SecretReference>,
    /// Which pods go first when a node is full: the name of a PriorityClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = super::reference::SECRET_NAME_PATTERN))]
    #[x_kube(validation = matches(super::reference::SECRET_NAME_PATTERN,
        "must be the name of a PriorityClass: lower-case letters, digits, hyphens and dots, such as high-priority"))]
    pub priority_class_name: Option<String>,
}

/// Processor and memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = no_more_than_its_limit("cpu"), validation = no_more_than_its_limit("memory"))]
pub struct Resources {
    /// What is set aside for the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Amounts>,
    /// What it may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Amounts>,
}

/// Amounts of processor and memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct Amounts {
    /// Cores, such as 500m or "2".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = matches(CPU_PATTERN, "must be an amount of processor: thousandths of a core such as 500m, or cores such as \"2\" or \"0.5\""))]
    pub cpu: Option<String>,
    /// Memory, such as 256Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = quantity::between("16Mi", "1Ti", "256Mi"))]
    pub memory: Option<Quantity>,
}

/// Devices of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceResource {
    /// Name of the resource that the device plugin offers, such as squat.ai/video.
    #[schemars(length(min = 3, max = 253))]
    #[x_kube(validation = matches(DEVICE_PATTERN, "must be the name of a device plugin's resource, such as squat.ai/video"))]
    pub name: String,
    /// How many of them. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub count: Option<i32>,
}

/// A taint that does not keep the pod away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule("has(self.key) || (has(self.operator) && self.operator == 'Exists')",
    "must hold key, or operator: Exists to tolerate every taint"))]
#[x_kube(validation = rule("!has(self.value) || !has(self.operator) || self.operator == 'Equal'",
    "must not hold value with operator: Exists, which takes any: leave value out"))]
#[x_kube(validation = rule("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
    "must hold tolerationSeconds only with effect: NoExecute: add effect: NoExecute or leave tolerationSeconds out"))]
pub struct Toleration {
    /// Key of the taint; absent with operator Exists = every taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(validation = matches(LABEL_NAME_PATTERN, "must be the key of a taint, such as dedicated or example.com/video"))]
    pub key: Option<String>,
    /// Equal: key and value are the taint's. Exists: the key is. Default: Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// Value of the taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = matches(LABEL_VALUE_PATTERN, "must be the value of a taint: letters, digits, hyphens, underscores and dots, such as video"))]
    pub value: Option<String>,
    /// Which effect of the taint; absent = all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// How long the pod stays on a node that gets a NoExecute taint; absent = for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub toleration_seconds: Option<i64>,
}

/// Equal: key and value are the taint's. Exists: the key is. Default: Equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// Key and value are the taint's.
    Equal,
    /// The key is the taint's.
    Exists,
}

/// Which effect of the taint; absent = all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// No new pod.
    NoSchedule,
    /// No new pod if there is another node.
    PreferNoSchedule,
    /// No pod at all.
    NoExecute,
}

/// Schema of labels. Rules could not bound the cost of looking at names, so that wrong ones are refused when the pod is made.
pub(super) fn labels_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE_PATTERN }
    })
}

fn no_more_than_its_limit(resource: &str) -> kube::core::Rule {
    let (requested, most) = (format!("self.requests.{resource}"), format!("self.limits.{resource}"));
    // What is no quantity has a message of its own.
    let pattern = if resource == "cpu" { CPU_PATTERN } else { quantity::PATTERN };
    let is = |path: &str| format!("{path}.matches({})", literal(pattern));
    rule(
        format!(
            "!has(self.requests) || !has(self.limits) || !has({requested}) || !has({most}) || !{} || !{} || \
             quantity({requested}).compareTo(quantity({most})) <= 0",
            is(&requested),
            is(&most)
        ),
        format!(
            "must have requests.{resource} no larger than limits.{resource}: write a smaller request or a larger limit"
        ),
    )
}
