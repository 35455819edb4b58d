//! What is remembered of an object as the API server last showed it: the little that decisions need, so that a thousand
//! cameras fit into little memory. Pure; must not decide anything.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DeploymentStatus;
use k8s_openapi::api::batch::v1::JobStatus;
use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::names;
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// Something that was made for one of our objects, or claims so.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// The owner reference that says `controller`.
    pub controller: Option<OwnerReference>,
    /// For whom its labels say it is. Anybody may write labels.
    pub labelled: Option<ObjectRef>,
    /// The uid of that object by its labels.
    pub labelled_uid: Option<String>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether the operator has written it.
    pub applied: bool,
    /// Whether it is as the operator has made it, and not applied yet: it must own its fields by apply before it applies.
    pub created: bool,
    /// Annotations of ours.
    pub annotations: BTreeMap<String, String>,
    /// The object as JSON without status and bookkeeping.
    pub content: Box<str>,
    /// What its status says.
    pub facts: Facts,
}

/// What the status of a child says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Facts {
    /// Nothing of interest.
    #[default]
    None,
    /// Of a Deployment.
    Deployment(DeploymentFacts),
    /// Of a claim.
    Claim(ClaimFacts),
}

/// How far a Deployment is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeploymentFacts {
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`.
    pub observed: i64,
    /// `spec.replicas`.
    pub wanted: i32,
    /// `status.replicas`.
    pub replicas: i32,
    /// `status.updatedReplicas`.
    pub updated: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// Why pods cannot even be made (condition `ReplicaFailure`).
    pub failure: Option<String>,
}

impl DeploymentFacts {
    /// Whether a roll-out is under way or stuck.
    pub const fn is_rolling(&self) -> bool {
        self.observed < self.generation
            || self.updated < self.wanted
            || self.replicas > self.updated
            || self.available < self.updated
    }
}

/// How a claim is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClaimFacts {
    /// `Pending`, `Bound`, `Lost`.
    pub phase: String,
    /// Size that is asked for.
    pub requested: Option<String>,
    /// The class, if any is named.
    pub class: Option<String>,
}

/// What is remembered of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// Name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// The owner reference that says `controller`.
    pub controller: Option<OwnerReference>,
    /// For whom its labels say it is.
    pub labelled: Option<ObjectRef>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub phase: String,
    /// `status.podIP`.
    pub address: Option<String>,
    /// Condition `Ready`.
    pub ready: bool,
    /// Why no node takes it.
    pub unschedulable: Option<String>,
    /// Why it ended or was turned away as a whole, such as `Evicted`.
    pub failed: Option<(String, String)>,
    /// The plan hash that was written on it.
    pub nudged: Option<String>,
    /// Its containers.
    pub containers: Vec<Container>,
}

/// What is remembered of a pod's container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// Why it waits, with what the kubelet says of it.
    pub waiting: Option<(String, String)>,
    /// How often it was started again.
    pub restarts: i32,
    /// Why it last ended: reason and exit code.
    pub ended: Option<(String, i32)>,
}

/// What is remembered of a retention job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The owner reference that says `controller`.
    pub controller: Option<OwnerReference>,
    /// For whom its labels say it is.
    pub labelled: Option<ObjectRef>,
    /// When it ended, and whether well.
    pub ended: Option<(Timestamp, bool)>,
}

fn metadata(object: &Value) -> ObjectMeta {
    // The API server checks metadata itself; what cannot be read is nobody's.
    serde_json::from_value(object["metadata"].clone()).unwrap_or_default()
}

fn parsed<T: serde::de::DeserializeOwned + Default>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

/// Namespace and name.
pub fn key(object: &Value) -> ObjectKey {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    ObjectKey { namespace: text("namespace"), name: text("name") }
}

/// The owner reference that says `controller`.
pub fn controller(metadata: &ObjectMeta) -> Option<OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true)).cloned()
}

/// For whom the labels say that something was made.
fn labelled(metadata: &ObjectMeta) -> Option<ObjectRef> {
    let labels = metadata.labels.as_ref()?;
    if labels.get(names::LABEL_MANAGED_BY).map(String::as_str) != Some(names::APPLICATION) {
        return None;
    }
    let kind = match labels.get(names::LABEL_COMPONENT)?.as_str() {
        "camera" => ObjectKind::Camera,
        "stream" => ObjectKind::Stream,
        "archive" | names::COMPONENT_RETENTION => ObjectKind::Archive,
        _ => return None,
    };
    let name = labels.get(names::LABEL_INSTANCE)?;
    Some(ObjectRef { kind, key: ObjectKey::new(metadata.namespace.clone()?, name.clone()) })
}

impl Live {
    /// What is remembered of a child.
    pub fn of(mut object: Value) -> Self {
        let metadata = metadata(&object);
        let facts = facts(&object, &metadata);
        let is_ours = |name: &&String| name.starts_with("camera-operator.dev/");
        let annotations = metadata.annotations.iter().flatten().filter(|(name, _)| is_ours(name));
        let annotations = annotations.map(|(name, value)| (name.clone(), value.clone())).collect();
        let managers = metadata.managed_fields.iter().flatten();
        let ours: Vec<_> = managers.filter(|entry| entry.manager.as_deref() == Some(names::FIELD_MANAGER)).collect();
        let applied = !ours.is_empty();
        let created = applied && ours.iter().all(|entry| entry.operation.as_deref() == Some("Update"));
        let (controller, labelled) = (controller(&metadata), labelled(&metadata));
        let labelled_uid = metadata.labels.as_ref().and_then(|labels| labels.get(names::LABEL_OWNER_UID)).cloned();
        if let Some(object) = object.as_object_mut() {
            object.remove("status");
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                for field in ["managedFields", "resourceVersion", "generation"] {
                    metadata.remove(field);
                }
            }
        }
        Self {
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            controller,
            labelled,
            labelled_uid,
            terminating: metadata.deletion_timestamp.is_some(),
            applied,
            created,
            annotations,
            content: object.to_string().into_boxed_str(),
            facts,
        }
    }

    /// The content as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.content).unwrap_or_default()
    }

    /// A Deployment's state.
    pub const fn deployment(&self) -> Option<&DeploymentFacts> {
        match &self.facts {
            Facts::Deployment(facts) => Some(facts),
            _ => None,
        }
    }

    /// A claim's state.
    pub const fn claim(&self) -> Option<&ClaimFacts> {
        match &self.facts {
            Facts::Claim(facts) => Some(facts),
            _ => None,
        }
    }
}

fn facts(object: &Value, metadata: &ObjectMeta) -> Facts {
    let (spec, status) = (&object["spec"], &object["status"]);
    // Lists carry no kind for their items, so the shape tells.
    if spec["template"].is_object() && spec["selector"].is_object() {
        let status: DeploymentStatus = parsed(status);
        let failure =
            status.conditions.iter().flatten().find(|condition| condition.type_.as_deref() == Some("ReplicaFailure"));
        let failure = failure.filter(|condition| condition.status.as_deref() == Some("True"));
        return Facts::Deployment(DeploymentFacts {
            generation: metadata.generation.unwrap_or(0),
            observed: status.observed_generation.unwrap_or(0),
            wanted: spec["replicas"].as_i64().and_then(|replicas| i32::try_from(replicas).ok()).unwrap_or(1),
            replicas: status.replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            failure: failure.map(|condition| condition.message.clone().unwrap_or_default()),
        });
    }
    if spec["accessModes"].is_array() {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        return Facts::Claim(ClaimFacts {
            phase: text(&status["phase"]).unwrap_or_default(),
            requested: text(&spec["resources"]["requests"]["storage"]),
            class: text(&spec["storageClassName"]),
        });
    }
    Facts::None
}

impl Pod {
    /// What is remembered of a pod.
    pub fn of(object: &Value) -> Self {
        let metadata = metadata(object);
        let status: PodStatus = parsed(&object["status"]);
        let conditions = status.conditions.unwrap_or_default();
        let condition = |type_: &str| conditions.iter().find(|condition| condition.type_ == type_);
        let scheduled = condition("PodScheduled").filter(|condition| condition.status == "False");
        let failed = status.reason.map(|reason| (reason, status.message.unwrap_or_default()));
        Self {
            key: key(object),
            controller: controller(&metadata),
            labelled: labelled(&metadata),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            terminating: metadata.deletion_timestamp.is_some(),
            phase: status.phase.unwrap_or_default(),
            address: status.pod_ip.filter(|address| !address.is_empty()),
            ready: condition("Ready").is_some_and(|condition| condition.status == "True"),
            unschedulable: scheduled.map(|condition| condition.message.clone().unwrap_or_default()),
            failed,
            nudged: metadata.annotations.and_then(|mut annotations| annotations.remove(names::ANNOTATION_PLAN_HASH)),
            containers: status.container_statuses.iter().flatten().map(Container::of).collect(),
            uid: metadata.uid.unwrap_or_default(),
        }
    }
}

impl Container {
    fn of(status: &ContainerStatus) -> Self {
        let state = status.state.as_ref();
        let waiting = state.and_then(|state| state.waiting.as_ref());
        let now = state.and_then(|state| state.terminated.as_ref());
        let before = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        Self {
            waiting: waiting.map(|waiting| {
                (waiting.reason.clone().unwrap_or_default(), waiting.message.clone().unwrap_or_default())
            }),
            restarts: status.restart_count,
            ended: now.or(before).map(|ended| (ended.reason.clone().unwrap_or_default(), ended.exit_code)),
        }
    }
}

impl Job {
    /// What is remembered of a job.
    pub fn of(object: &Value) -> Self {
        let metadata = metadata(object);
        let status: JobStatus = parsed(&object["status"]);
        let ended = status.conditions.iter().flatten().find_map(|condition| {
            let well = match condition.type_.as_str() {
                "Complete" => true,
                "Failed" => false,
                _ => return None,
            };
            let at = condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
            (condition.status == "True").then_some((at, well))
        });
        Self { controller: controller(&metadata), labelled: labelled(&metadata), ended }
    }
}
