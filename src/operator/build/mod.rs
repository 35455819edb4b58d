//! Plan → the objects that run it in a cluster. PURE: no client, no clock; the same plan and settings always make the same
//! objects, byte for byte. One kind of object a file. What is made here is written by `operator::apply` and nobody else.

mod claim;
mod config_map;
mod cron_job;
mod deployment;
mod network_policy;
mod owner;
mod pod;
mod resources;
mod service;
mod service_account;
pub mod settings;
pub mod template;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;

use crate::plan::agents::AgentPlan;

pub use settings::Settings;

/// Everything that is made for an agent. Whoever applies it takes it apart field by field, so that a kind that is added here
/// cannot be forgotten there.
#[derive(Debug, Clone, PartialEq)]
pub struct Children {
    /// Who the agent is; without any permission.
    pub service_account: ServiceAccount,
    /// The plan.
    pub config_map: ConfigMap,
    /// How others find the agent.
    pub service: Service,
    /// Who may reach it; absent when the settings want none.
    pub network_policy: Option<NetworkPolicy>,
    /// An archive's volume; absent for others, and where somebody else has made it.
    pub claim: Option<PersistentVolumeClaim>,
    /// What asks an archive's recorder for retention; archives only.
    pub retention: Option<Retention>,
    /// The agent. Last, since it needs all others.
    pub deployment: Deployment,
}

/// What asks a recorder for retention, on its schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Retention {
    /// Who the job is, so that its token opens this recorder and no camera.
    pub service_account: ServiceAccount,
    /// When it runs.
    pub cron_job: CronJob,
}

/// The objects that run a plan.
pub fn children(plan: &AgentPlan, settings: &Settings) -> Children {
    Children {
        service_account: service_account::agent(plan),
        config_map: config_map::config_map(plan),
        service: service::service(plan),
        network_policy: settings.network_policy.as_ref().map(|policy| network_policy::agent(plan, settings, policy)),
        claim: claim::claim(plan),
        retention: plan.plan.archives.first().map(|archive| Retention {
            service_account: service_account::retention(plan),
            cron_job: cron_job::cron_job(plan, archive, settings),
        }),
        deployment: deployment::deployment(plan, settings),
    }
}

#[cfg(test)]
mod tests;
