//! What every object that is made carries: name, labels, and to whom it belongs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::api::API_VERSION;
use crate::operator::names;
use crate::plan::agents::AgentPlan;

/// Metadata of what belongs to the plan's owner and is deleted with it.
pub fn metadata(plan: &AgentPlan) -> ObjectMeta {
    ObjectMeta { owner_references: Some(vec![reference(plan)]), ..unowned_metadata(plan) }
}

/// Metadata of what outlives the plan's owner.
pub fn unowned_metadata(plan: &AgentPlan) -> ObjectMeta {
    named(plan, plan.name.clone(), names::component(plan.owner.kind))
}

/// Metadata of what belongs to the plan's owner beside its agent.
pub fn retention_metadata(plan: &AgentPlan) -> ObjectMeta {
    let name = names::retention_name(&plan.owner.key.name);
    ObjectMeta { owner_references: Some(vec![reference(plan)]), ..named(plan, name, names::COMPONENT_RETENTION) }
}

fn named(plan: &AgentPlan, name: String, component: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(plan.owner.key.namespace.clone()),
        labels: Some(names::labels(component, &plan.owner, &plan.owner_uid)),
        ..ObjectMeta::default()
    }
}

/// That the plan's owner controls an object.
pub fn reference(plan: &AgentPlan) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: format!("{:?}", plan.owner.kind),
        name: plan.owner.key.name.clone(),
        uid: plan.owner_uid.clone(),
        controller: Some(true),
        // The owner need not wait for what it owns.
        block_owner_deletion: None,
    }
}
