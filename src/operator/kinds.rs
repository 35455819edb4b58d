//! The kinds of objects that the operator watches and makes, and how the API names them. Must not talk to anybody.

use kube::core::{ApiResource, GroupVersionKind};

use super::names;
use crate::api;
use crate::plan::unit::ObjectKind;

/// What is made for our objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// Who a pod is.
    ServiceAccount,
    /// The plan.
    ConfigMap,
    /// How an agent is found.
    Service,
    /// Who may reach it.
    NetworkPolicy,
    /// A `PersistentVolumeClaim`.
    Claim,
    /// What asks for retention.
    CronJob,
    /// The agent.
    Deployment,
}

impl ChildKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Service,
        Self::NetworkPolicy,
        Self::Claim,
        Self::CronJob,
        Self::Deployment,
    ];

    /// As manifests write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::ConfigMap => "ConfigMap",
            Self::Service => "Service",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Claim => "PersistentVolumeClaim",
            Self::CronJob => "CronJob",
            Self::Deployment => "Deployment",
        }
    }
}

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// What people write.
    Object(ObjectKind),
    /// What is made for it.
    Child(ChildKind),
    /// Between a Deployment and its pods.
    ReplicaSet,
    /// Where agents run.
    Pod,
    /// One run of a `CronJob`.
    Job,
}

/// The kinds that people write and that something runs for. Nothing is made for alert routes; `alerts` looks at them.
pub const OBJECT_KINDS: [ObjectKind; 4] =
    [ObjectKind::Camera, ObjectKind::Stream, ObjectKind::Archive, ObjectKind::Recording];

impl Watched {
    /// Everything that is watched.
    pub fn all() -> Vec<Self> {
        let objects = OBJECT_KINDS.into_iter().chain([ObjectKind::AlertRoute]).map(Self::Object);
        let children = ChildKind::ALL.map(Self::Child);
        objects.chain(children).chain([Self::ReplicaSet, Self::Pod, Self::Job]).collect()
    }

    /// How the API names it.
    pub fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::Object(kind) => {
                let name = format!("{kind:?}");
                let gvk = GroupVersionKind::gvk(api::GROUP, api::VERSION, &name);
                return ApiResource::from_gvk_with_plural(&gvk, kind.plural());
            }
            Self::Child(ChildKind::ServiceAccount) => ("", "v1", "ServiceAccount", "serviceaccounts"),
            Self::Child(ChildKind::ConfigMap) => ("", "v1", "ConfigMap", "configmaps"),
            Self::Child(ChildKind::Service) => ("", "v1", "Service", "services"),
            Self::Child(ChildKind::NetworkPolicy) => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            Self::Child(ChildKind::Claim) => ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            Self::Child(ChildKind::CronJob) => ("batch", "v1", "CronJob", "cronjobs"),
            Self::Child(ChildKind::Deployment) => ("apps", "v1", "Deployment", "deployments"),
            Self::ReplicaSet => ("apps", "v1", "ReplicaSet", "replicasets"),
            Self::Pod => ("", "v1", "Pod", "pods"),
            Self::Job => ("batch", "v1", "Job", "jobs"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// Which of them are watched: all of ours; of the others those that carry our labels. A label proves nothing, it only
    /// keeps the rest of the cluster out of memory.
    pub fn labels(self) -> Option<String> {
        match self {
            Self::Object(_) => None,
            _ => Some(format!(
                "{}={},{}={}",
                names::LABEL_MANAGED_BY,
                names::APPLICATION,
                names::LABEL_NAME,
                names::APPLICATION
            )),
        }
    }
}
