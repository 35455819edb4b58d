//! The plan, where the agent reads it. It changes in place, without a new pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::owner::metadata;
use crate::operator::names::PLAN_KEY;
use crate::plan::agents::AgentPlan;

/// The plan's ConfigMap. A plan holds no secret, only where one is.
pub fn config_map(plan: &AgentPlan) -> ConfigMap {
    // Plain types of ours: they cannot fail to serialise.
    let json = serde_json::to_string(&plan.plan).unwrap_or_default();
    ConfigMap {
        metadata: metadata(plan),
        data: Some(BTreeMap::from([(PLAN_KEY.to_owned(), json)])),
        ..ConfigMap::default()
    }
}
