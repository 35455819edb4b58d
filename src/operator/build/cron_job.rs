//! What asks an archive's recorder for retention on the archive's schedule. The recorder does the work, so that the job needs
//! no second mount of the volume. "Run now" is `kubectl create job --from=cronjob/<archive>-retention <name>`.

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, JobSpec, JobTemplateSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::owner::retention_metadata;
use super::pod;
use super::resources::resources;
use super::settings::Settings;
use crate::operator::names::{self, COMPONENT_RETENTION, labels};
use crate::plan::address::agent_url;
use crate::plan::agents::AgentPlan;
use crate::plan::unit::ArchivePlan;

/// A run that could not start for so long is left to the next one.
const START_WITHIN_SECONDS: i64 = 3600;
/// A run that takes longer is stopped: the recorder has finished it, or will not.
const END_WITHIN_SECONDS: i64 = 3600;
/// How many jobs that went well, and how many that did not, are kept to be looked at.
const HISTORY: i32 = 3;

/// The `CronJob` of an archive.
pub fn cron_job(plan: &AgentPlan, archive: &ArchivePlan, settings: &Settings) -> CronJob {
    let labels = labels(COMPONENT_RETENTION, &plan.owner, &plan.owner_uid);
    let metadata = || ObjectMeta { labels: Some(labels.clone()), ..ObjectMeta::default() };
    let job = JobSpec {
        backoff_limit: Some(3),
        active_deadline_seconds: Some(END_WITHIN_SECONDS),
        template: PodTemplateSpec { metadata: Some(metadata()), spec: Some(pod_spec(plan, settings)) },
        ..JobSpec::default()
    };
    let spec = CronJobSpec {
        schedule: archive.retention.schedule.clone(),
        time_zone: Some(archive.retention.time_zone.clone()),
        concurrency_policy: Some("Forbid".to_owned()),
        starting_deadline_seconds: Some(START_WITHIN_SECONDS),
        successful_jobs_history_limit: Some(HISTORY),
        failed_jobs_history_limit: Some(HISTORY),
        job_template: JobTemplateSpec { metadata: Some(metadata()), spec: Some(job) },
        ..CronJobSpec::default()
    };
    CronJob { metadata: retention_metadata(plan), spec, status: None }
}

fn pod_spec(plan: &AgentPlan, settings: &Settings) -> PodSpec {
    let (volume, mount) = pod::token();
    let container = Container {
        name: COMPONENT_RETENTION.to_owned(),
        image: Some(settings.image.clone()),
        image_pull_policy: settings.image_pull_policy.clone(),
        // No command: the image's own entry point stands before it.
        args: Some(vec![
            "retain".to_owned(),
            "--recorder".to_owned(),
            agent_url(&plan.owner),
            "--archive".to_owned(),
            plan.owner.key.to_string(),
        ]),
        resources: Some(resources(&settings.resources.retention, None, &[])),
        security_context: Some(pod::container_security()),
        volume_mounts: Some(vec![mount]),
        ..Container::default()
    };
    let pull_secrets: Vec<String> =
        plan.overrides.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect();
    PodSpec {
        containers: vec![container],
        volumes: Some(vec![volume]),
        restart_policy: Some("Never".to_owned()),
        ..pod::restricted(&names::retention_name(&plan.owner.key.name), &pull_secrets, false)
    }
}
