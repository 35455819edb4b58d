//! Who may reach an agent at all. What callers may ask for is decided by their tokens; this is the wall before the door.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::owner::metadata;
use super::settings::{NetworkPolicySettings, Settings};
use crate::operator::names::{
    self, AGENT_PORT, APPLICATION, COMPONENT_RETENTION, LABEL_COMPONENT, LABEL_INSTANCE, LABEL_NAME,
};
use crate::plan::agents::AgentPlan;
use crate::plan::unit::ObjectKind;

/// Label that Kubernetes puts on every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// An agent's policy: its port, from those that need it. What it connects to is not narrowed, since cameras may be anywhere.
pub fn agent(plan: &AgentPlan, settings: &Settings, policy: &NetworkPolicySettings) -> NetworkPolicy {
    let mut from: Vec<NetworkPolicyPeer> = vec![operator(settings)];
    from.extend(readers(plan));
    from.extend(policy.allowed.iter().cloned());
    let port = NetworkPolicyPort {
        port: Some(IntOrString::Int(AGENT_PORT)),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    let spec = NetworkPolicySpec {
        pod_selector: Some(LabelSelector {
            match_labels: Some(names::selector(names::component(plan.owner.kind), &plan.owner, &plan.owner_uid)),
            match_expressions: None,
        }),
        policy_types: Some(vec!["Ingress".to_owned()]),
        ingress: Some(vec![NetworkPolicyIngressRule { from: Some(from), ports: Some(vec![port]) }]),
        egress: None,
    };
    NetworkPolicy { metadata: metadata(plan), spec: Some(spec) }
}

/// The operator and what is installed with it.
fn operator(settings: &Settings) -> NetworkPolicyPeer {
    let namespace = BTreeMap::from([(NAMESPACE_NAME.to_owned(), settings.operator_namespace.clone())]);
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector { match_labels: Some(namespace), match_expressions: None }),
        pod_selector: Some(application(Vec::new(), BTreeMap::new())),
        ip_block: None,
    }
}

/// The pods of the same namespace that read this agent.
fn readers(plan: &AgentPlan) -> Option<NetworkPolicyPeer> {
    let of = |components: &[&str], labels: BTreeMap<String, String>| NetworkPolicyPeer {
        pod_selector: Some(application(components.iter().map(|component| (*component).to_owned()).collect(), labels)),
        ..NetworkPolicyPeer::default()
    };
    match plan.owner.kind {
        ObjectKind::Camera => {
            Some(of(&[names::component(ObjectKind::Archive), names::component(ObjectKind::Stream)], BTreeMap::new()))
        }
        ObjectKind::Archive => {
            let own = BTreeMap::from([(LABEL_INSTANCE.to_owned(), plan.owner.key.name.clone())]);
            Some(of(&[COMPONENT_RETENTION], own))
        }
        ObjectKind::Stream | ObjectKind::Recording | ObjectKind::AlertRoute => None,
    }
}

/// Pods of ours, of these components or of any.
fn application(components: Vec<String>, mut labels: BTreeMap<String, String>) -> LabelSelector {
    labels.insert(LABEL_NAME.to_owned(), APPLICATION.to_owned());
    let requirement = LabelSelectorRequirement {
        key: LABEL_COMPONENT.to_owned(),
        operator: "In".to_owned(),
        values: Some(components),
    };
    let has_components = requirement.values.as_ref().is_some_and(|components| !components.is_empty());
    LabelSelector { match_labels: Some(labels), match_expressions: has_components.then(|| vec![requirement]) }
}
