//! What builders need to know beside the plan: the image, and what whoever runs the operator has set for all pods. Plain
//! values; read from flags and files elsewhere.

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use serde::{Deserialize, Serialize};

use crate::api::pod::{Amounts, Resources};
use crate::plan::unit::ObjectKind;

/// What all pods have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Image of agents and retention jobs.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; absent = as Kubernetes decides by the image's tag.
    pub image_pull_policy: Option<String>,
    /// Namespace of the operator, whose pods may reach every agent.
    pub operator_namespace: String,
    /// Processor and memory where `spec.pod.resources` says nothing.
    pub resources: DefaultResources,
    /// Whether agents get a `NetworkPolicy`, and whom it lets in.
    pub network_policy: Option<NetworkPolicySettings>,
}

/// Whom agents' network policies let in, beside the agents that need them and the operator's namespace.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkPolicySettings {
    /// Such as the monitoring, which scrapes metrics, or an ingress controller.
    #[serde(default)]
    pub allowed: Vec<NetworkPolicyPeer>,
}

/// Processor and memory by the kind of pod: the format of the operator's resources file (YAML or JSON). What the file leaves
/// out is as it is by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DefaultResources {
    /// Of a Camera's agent.
    pub camera: Resources,
    /// Of a Stream's own agent.
    pub stream: Resources,
    /// Of an Archive's recorder.
    pub archive: Resources,
    /// Of a retention job.
    pub retention: Resources,
}

impl DefaultResources {
    /// Those of an owner's agent.
    pub const fn of(&self, kind: ObjectKind) -> &Resources {
        match kind {
            ObjectKind::Camera => &self.camera,
            ObjectKind::Stream => &self.stream,
            ObjectKind::Archive | ObjectKind::Recording | ObjectKind::AlertRoute => &self.archive,
        }
    }
}

impl Default for DefaultResources {
    /// Requests are what the benchmark of one camera shows, with room. There is no limit on processor time: a throttled camera
    /// loses pictures. The memory limit is a safety net; a recorder's leaves room for the rings of some dozens of cameras.
    fn default() -> Self {
        Self {
            camera: resources("50m", "64Mi", "512Mi"),
            stream: resources("100m", "96Mi", "512Mi"),
            archive: resources("100m", "256Mi", "2Gi"),
            retention: resources("10m", "32Mi", "128Mi"),
        }
    }
}

fn resources(cpu: &str, memory: &str, most_memory: &str) -> Resources {
    Resources {
        requests: Some(Amounts { cpu: Some(cpu.to_owned()), memory: memory.parse().ok() }),
        limits: Some(Amounts { cpu: None, memory: most_memory.parse().ok() }),
    }
}
