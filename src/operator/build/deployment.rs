//! The agent's pod, and how one follows another.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Affinity, ConfigMapVolumeSource, Container, ContainerPort, HTTPGetAction, PersistentVolumeClaimVolumeSource,
    PodSpec, PodTemplateSpec, Probe, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::claim::claim_name;
use super::owner::metadata;
use super::resources::resources;
use super::settings::Settings;
use super::{pod, template};
use crate::api::pod::PodOverrides;
use crate::operator::names::{
    self, AGENT, AGENT_PORT, ANNOTATION_POD_SPEC, ANNOTATION_TEMPLATE_HASH, ARCHIVE_ROOT, PLAN_FOLDER, PLAN_KEY,
};
use crate::plan::agents::{AgentPlan, Rollout};
use crate::plan::unit::ObjectKind;

/// How long an agent may take to end: it lets viewers go, and a recorder closes its files.
const GRACE_SECONDS: i64 = 30;
/// How long a recorder may take.
const RECORDER_GRACE_SECONDS: i64 = 60;

/// The agent's Deployment.
pub fn deployment(plan: &AgentPlan, settings: &Settings) -> Deployment {
    let component = names::component(plan.owner.kind);
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(names::labels(component, &plan.owner, &plan.owner_uid)),
            ..ObjectMeta::default()
        }),
        spec: Some(pod_spec(plan, settings)),
    };
    let mut metadata = metadata(plan);
    metadata.annotations = Some(BTreeMap::from([
        (ANNOTATION_TEMPLATE_HASH.to_owned(), template::hash(&template)),
        (ANNOTATION_POD_SPEC.to_owned(), template::pod_spec(&template)),
    ]));
    let spec = DeploymentSpec {
        replicas: Some(i32::from(plan.runs)),
        revision_history_limit: Some(2),
        selector: LabelSelector {
            match_labels: Some(names::selector(component, &plan.owner, &plan.owner_uid)),
            match_expressions: None,
        },
        strategy: Some(strategy(plan.rollout)),
        template,
        ..DeploymentSpec::default()
    };
    Deployment { metadata, spec, status: None }
}

fn strategy(rollout: Rollout) -> DeploymentStrategy {
    match rollout {
        Rollout::Overlap => DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(1)),
                max_unavailable: Some(IntOrString::Int(0)),
            }),
        },
        Rollout::OneAtATime => DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None },
    }
}

fn pod_spec(plan: &AgentPlan, settings: &Settings) -> PodSpec {
    let overrides = &plan.overrides;
    let (volumes, mounts): (Vec<Volume>, Vec<VolumeMount>) = mounted(plan).into_iter().unzip();
    let pull_secrets: Vec<String> = overrides.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect();
    let host_network = overrides.host_network.unwrap_or(false);
    let grace = if plan.owner.kind == ObjectKind::Archive { RECORDER_GRACE_SECONDS } else { GRACE_SECONDS };
    PodSpec {
        containers: vec![container(plan, settings, mounts)],
        volumes: Some(volumes),
        termination_grace_period_seconds: Some(grace),
        node_selector: (!overrides.node_selector.is_empty()).then(|| overrides.node_selector.clone()),
        tolerations: (!overrides.tolerations.is_empty()).then(|| tolerations(overrides)),
        affinity: overrides.affinity.as_ref().and_then(affinity),
        priority_class_name: overrides.priority_class_name.clone(),
        host_network: host_network.then_some(true),
        // Names of Services resolve there only with this.
        dns_policy: host_network.then(|| "ClusterFirstWithHostNet".to_owned()),
        ..pod::restricted(&plan.name, &pull_secrets, plan.opens_device)
    }
}

fn container(plan: &AgentPlan, settings: &Settings, mounts: Vec<VolumeMount>) -> Container {
    let overrides = &plan.overrides;
    let defaults = settings.resources.of(plan.owner.kind);
    Container {
        name: AGENT.to_owned(),
        image: Some(settings.image.clone()),
        image_pull_policy: settings.image_pull_policy.clone(),
        // No command: the image's own entry point stands before it, which passes signals on and reaps what FFmpeg leaves.
        args: Some(vec!["agent".to_owned(), "--plan".to_owned(), format!("{PLAN_FOLDER}/{PLAN_KEY}")]),
        ports: Some(vec![ContainerPort {
            name: Some(AGENT.to_owned()),
            container_port: AGENT_PORT,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        // A recorder looks through its archive before it answers, which takes a while after a crash.
        startup_probe: Some(probe("/healthz", 1, 120)),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        liveness_probe: Some(probe("/healthz", 10, 3)),
        resources: Some(resources(defaults, overrides.resources.as_ref(), &overrides.device_resources)),
        security_context: Some(pod::container_security()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    let get = HTTPGetAction {
        path: Some(path.to_owned()),
        port: IntOrString::String(AGENT.to_owned()),
        ..HTTPGetAction::default()
    };
    Probe {
        http_get: Some(get),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

fn mounted(plan: &AgentPlan) -> Vec<pod::Mounted> {
    let config_map = ConfigMapVolumeSource { name: plan.name.clone(), ..ConfigMapVolumeSource::default() };
    let volume = Volume { name: "plan".to_owned(), config_map: Some(config_map), ..Volume::default() };
    let mut mounted = vec![pod::mounted(volume, PLAN_FOLDER, true), pod::temporary()];
    mounted.extend(pod::secrets(&plan.secrets));
    mounted.extend(pod::config_maps(&plan.config_maps));
    if plan.reads_agents {
        mounted.push(pod::token());
    }
    if let Some(claim_name) = claim_name(plan) {
        let claim = PersistentVolumeClaimVolumeSource { claim_name: claim_name.to_owned(), read_only: None };
        let volume = Volume { name: "archive".to_owned(), persistent_volume_claim: Some(claim), ..Volume::default() };
        mounted.push(pod::mounted(volume, ARCHIVE_ROOT, false));
    }
    mounted
}

fn tolerations(overrides: &PodOverrides) -> Vec<Toleration> {
    let convert = |toleration: &crate::api::pod::Toleration| Toleration {
        key: toleration.key.clone(),
        operator: toleration.operator.map(|operator| format!("{operator:?}")),
        value: toleration.value.clone(),
        effect: toleration.effect.map(|effect| format!("{effect:?}")),
        toleration_seconds: toleration.toleration_seconds,
    };
    overrides.tolerations.iter().map(convert).collect()
}

/// Ours is a bounded part of the shape that Kubernetes has, so that every one of ours is one of theirs; a test holds that.
fn affinity(ours: &crate::api::affinity::Affinity) -> Option<Affinity> {
    serde_json::to_value(ours).and_then(serde_json::from_value).ok()
}
