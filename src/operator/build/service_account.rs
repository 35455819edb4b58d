//! Who an agent, or a retention job, is. Neither is bound to any role: their tokens open other agents, not the API server.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::owner::{metadata, retention_metadata};
use crate::plan::agents::AgentPlan;

/// The agent's.
pub fn agent(plan: &AgentPlan) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(plan),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// The retention job's.
pub fn retention(plan: &AgentPlan) -> ServiceAccount {
    ServiceAccount { metadata: retention_metadata(plan), ..agent(plan) }
}
