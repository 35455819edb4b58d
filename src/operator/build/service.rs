//! How others find an agent: by a name that leads straight to its pod.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::owner::metadata;
use crate::operator::names::{self, AGENT, AGENT_PORT};
use crate::plan::agents::AgentPlan;

/// A Service without an address of its own. Pods that are not ready are found too: a camera that is down is asked why.
pub fn service(plan: &AgentPlan) -> Service {
    let port = ServicePort {
        name: Some(AGENT.to_owned()),
        port: AGENT_PORT,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(AGENT.to_owned())),
        ..ServicePort::default()
    };
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(true),
        selector: Some(names::selector(names::component(plan.owner.kind), &plan.owner, &plan.owner_uid)),
        ports: Some(vec![port]),
        ..ServiceSpec::default()
    };
    Service { metadata: metadata(plan), spec: Some(spec), ..Service::default() }
}
