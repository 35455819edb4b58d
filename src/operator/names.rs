//! Names that the operator writes on what it makes and looks for on what it reads: labels, annotations, folders of pods. One
//! place, because other pods, the chart and people's monitoring rely on them. What agents are called is in `plan::address`,
//! since plans name them too.

use std::collections::BTreeMap;

use crate::plan::unit::{ObjectKind, ObjectRef};

pub use crate::plan::address::{AGENT_AUDIENCE, AGENT_PORT, ARCHIVE_ROOT, child_name, retention_name};

/// Who wrote a field (server-side apply).
pub const FIELD_MANAGER: &str = "camera-operator";
/// Name of the operator's Lease in its own namespace, and of its pods' application.
pub const APPLICATION: &str = "camera-operator";

/// Label: the application; always [`APPLICATION`].
pub const LABEL_NAME: &str = "app.kubernetes.io/name";
/// Label: `camera`, `stream`, `archive` or `retention`.
pub const LABEL_COMPONENT: &str = "app.kubernetes.io/component";
/// Label: name of the object that it is for.
pub const LABEL_INSTANCE: &str = "app.kubernetes.io/instance";
/// Label: always [`APPLICATION`].
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label: uid of the object that it is for.
pub const LABEL_OWNER_UID: &str = "camera-operator.dev/owner-uid";
/// Component of the pods that ask for retention.
pub const COMPONENT_RETENTION: &str = "retention";

/// Annotation of an object: SHA-256 of what was computed for it, so that what a server adds is never a difference.
pub const ANNOTATION_HASH: &str = "camera-operator.dev/hash";
/// Annotation of a Deployment: SHA-256 of the pod template that was computed for it.
pub const ANNOTATION_TEMPLATE_HASH: &str = "camera-operator.dev/template-hash";
/// Annotation of a Deployment: the pod specification that was computed for it, as JSON, to say later what has changed.
pub const ANNOTATION_POD_SPEC: &str = "camera-operator.dev/pod-spec";
/// Annotation of a Deployment: SHA-256 of what its owner's spec says about the pod, to tell what people want from what a new
/// operator does.
pub const ANNOTATION_POD_INPUTS: &str = "camera-operator.dev/pod-inputs";
/// Annotation of a Deployment: the template hash that was rolled out when its turn came.
pub const ANNOTATION_PACED: &str = "camera-operator.dev/paced-rollout";
/// Annotation of a Pod (not of the template): hash of the newest plan, written to make the kubelet look at its ConfigMap at
/// once.
pub const ANNOTATION_PLAN_HASH: &str = "camera-operator.dev/plan-hash";

/// Key of the plan in its ConfigMap.
pub const PLAN_KEY: &str = "plan.json";
/// Folder of the plan in a pod.
pub const PLAN_FOLDER: &str = "/etc/camera-operator";
/// Folder of users' Secrets in a pod: `<secret>/<key>` beneath it.
pub const SECRETS_FOLDER: &str = "/var/run/secrets/camera-operator.dev/users";
/// Where keys of users' ConfigMaps are mounted, as `<name>/<key>`.
pub const CONFIG_MAPS_FOLDER: &str = "/var/run/secrets/camera-operator.dev/pictures";
/// Folder of the agent's token in a pod.
pub const TOKEN_FOLDER: &str = "/var/run/secrets/camera-operator.dev/agent";
/// File of the token in [`TOKEN_FOLDER`].
pub const TOKEN_FILE: &str = "token";
/// Name of an agent's container, and of its port.
pub const AGENT: &str = "agent";

/// The component of an owner's agent.
pub const fn component(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Camera => "camera",
        ObjectKind::Stream => "stream",
        ObjectKind::Archive => "archive",
        ObjectKind::Recording => "recording",
        ObjectKind::AlertRoute => "alertroute",
    }
}

/// What selects the pods of an owner. Its uid is part of it, so that an object that is deleted and made anew under the same
/// name never takes over its predecessor's pods.
pub fn selector(component: &str, owner: &ObjectRef, uid: &str) -> BTreeMap<String, String> {
    [(LABEL_NAME, APPLICATION), (LABEL_COMPONENT, component), (LABEL_INSTANCE, &owner.key.name), (LABEL_OWNER_UID, uid)]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The labels of everything that is made for an owner.
pub fn labels(component: &str, owner: &ObjectRef, uid: &str) -> BTreeMap<String, String> {
    let mut labels = selector(component, owner, uid);
    labels.insert(LABEL_MANAGED_BY.to_owned(), APPLICATION.to_owned());
    labels
}
