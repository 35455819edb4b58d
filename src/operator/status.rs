//! How an agent is doing, from everything that can be known of it: what could not be written, its Deployment, claim and pods,
//! and what it reports itself. Pure. The conditions are then made by `plan::status`, the same as in `camera-operator run`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::apply::{CLAIM_TOO_LARGE, Problem, UPDATE_PENDING};
use super::live::{ClaimFacts, DeploymentFacts, Pod};
use super::pod_problem::{PodEvent, pod_problem, starting};
use super::reports::Heard;
use crate::api::condition::TRUE;
use crate::plan::report::{Notice, Reason, Report};

/// Condition: the last retention job of an archive failed.
pub const RETENTION_FAILED: &str = "RetentionFailed";
/// Conditions that this module adds beside those of `plan::status`.
const NOTICES: [&str; 3] = [UPDATE_PENDING, CLAIM_TOO_LARGE, RETENTION_FAILED];

/// What is known of an agent.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Whether it is to run at all.
    pub runs: bool,
    /// What could not be written.
    pub problems: Vec<Problem>,
    /// Hash of its current plan.
    pub plan_hash: String,
    /// Its pods, and what each has said.
    pub pods: Vec<(Pod, Option<Heard>)>,
    /// Its Deployment.
    pub deployment: Option<DeploymentFacts>,
    /// The claim that was made for it, and its name.
    pub claim: Option<(String, ClaimFacts)>,
    /// What the cluster says of pods (by uid) that take long to start.
    pub starting: BTreeMap<String, Vec<PodEvent>>,
}

/// How an agent is doing.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentState {
    /// It runs the current plan and says this.
    Reports(Arc<Report>),
    /// It does not run, for this reason.
    Stopped(Reason, String),
    /// It runs, and cannot be asked.
    Unavailable(String),
    /// Nothing is known yet, and nothing is wrong.
    Unheard,
}

/// How an agent is doing.
pub fn agent_state(view: &View, now: Instant) -> AgentState {
    if let Some((reason, problem)) = view.problems.iter().find_map(|problem| Some((problem.reason?, problem))) {
        return AgentState::Stopped(reason, problem.message.clone());
    }
    if !view.runs {
        return AgentState::Stopped(
            Reason::CameraUnavailable,
            "the camera does not run: see its condition Ready".to_owned(),
        );
    }
    // Of several pods that run the current plan (a roll-out overlaps), one that stays speaks before one that goes, and the
    // newest before the others.
    let mut pods: Vec<&(Pod, Option<Heard>)> = view.pods.iter().collect();
    pods.sort_by_key(|(pod, _)| (pod.terminating, !pod.ready, std::cmp::Reverse(pod.created)));
    let current = pods.iter().find_map(|(pod, heard)| {
        let heard = heard.as_ref()?;
        let report = heard.report.as_ref().filter(|report| report.plan_hash == view.plan_hash)?;
        (heard.unavailable(now).is_none() && !pod.terminating).then(|| report.clone())
    });
    if let Some(report) = current {
        return AgentState::Reports(report);
    }
    let refused = pods.iter().find_map(|(_, heard)| heard.as_ref()?.report.as_ref()?.plan_problem.clone());
    if let Some(problem) = refused {
        return AgentState::Stopped(Reason::PlanRefused, format!("the agent goes on with its earlier plan: {problem}"));
    }
    let staying: Vec<&(Pod, Option<Heard>)> = pods.into_iter().filter(|(pod, _)| !pod.terminating).collect();
    if let Some((reason, message)) = staying.iter().find_map(|(pod, _)| pod_problem(pod)) {
        let claim = view.claim.as_ref().filter(|_| reason == Reason::Unschedulable);
        return claim
            .and_then(|(name, claim)| claim_problem(name, claim))
            .map_or(AgentState::Stopped(reason, message), |(reason, message)| AgentState::Stopped(reason, message));
    }
    if let Some(failure) = view.deployment.as_ref().and_then(|deployment| deployment.failure.as_ref()) {
        return AgentState::Stopped(Reason::PodRefused, format!("no pod can be made: {failure}"));
    }
    if let Some((name, claim)) = &view.claim
        && staying.iter().any(|(pod, _)| pod.phase == "Pending")
        && let Some((reason, message)) = claim_problem(name, claim)
    {
        return AgentState::Stopped(reason, message);
    }
    let slow = staying.iter().find_map(|(pod, _)| Some(starting(&pod.key.name, view.starting.get(&pod.uid)?)));
    if let Some((reason, message)) = slow {
        return AgentState::Stopped(reason, message);
    }
    // A pod that is not ready is still starting; one that is ready answers its kubelet, and so should answer us.
    let silent = staying.iter().find_map(|(pod, heard)| {
        let why = heard.as_ref()?.unavailable(now)?;
        pod.ready.then(|| format!("pod {} runs and does not answer the operator: {why}", pod.key.name))
    });
    silent.map_or(AgentState::Unheard, AgentState::Unavailable)
}

fn claim_problem(name: &str, claim: &ClaimFacts) -> Option<(Reason, String)> {
    let class = claim.class.as_deref().map_or("the default class".to_owned(), |class| format!("class {class}"));
    let size = claim.requested.as_deref().unwrap_or("its size");
    match claim.phase.as_str() {
        "Lost" => Some((
            Reason::ClaimPending,
            format!(
                "the volume of claim {name} is gone: restore its PersistentVolume, or delete the claim to start anew"
            ),
        )),
        "Pending" => Some((
            Reason::ClaimPending,
            format!("claim {name} ({size}, {class}) has no volume yet: see kubectl describe pvc {name}"),
        )),
        _ => None,
    }
}

/// Puts notices beside the conditions of a status, and takes those away that hold no more.
pub fn with_notices(status: &mut Value, before: &Value, generation: Option<i64>, now: &str, notices: &[Notice]) {
    let Some(object) = status.as_object_mut() else { return };
    let conditions = object.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    conditions.retain(|condition| !NOTICES.iter().any(|notice| condition["type"] == *notice));
    for notice in notices {
        let old = before["conditions"].as_array().into_iter().flatten().find(|old| old["type"] == *notice.kind);
        let since = old.map_or_else(|| Value::from(now), |old| old["lastTransitionTime"].clone());
        let message: String = notice.message.chars().take(1024).collect();
        let mut condition = json!({
            "type": notice.kind, "status": TRUE, "reason": notice.kind, "message": message, "lastTransitionTime": since,
        });
        if let Some(generation) = generation {
            condition["observedGeneration"] = generation.into();
        }
        conditions.push(condition);
    }
    if conditions.is_empty() {
        object.remove("conditions");
    }
}

/// What an object's state is called in metrics.
pub fn state(status: &Value) -> &'static str {
    let conditions = status["conditions"].as_array();
    let find = |type_: &str| conditions.into_iter().flatten().find(|condition| condition["type"] == type_);
    if find("Complete").is_some_and(|complete| complete["status"] == TRUE) {
        return "Ready";
    }
    let Some(ready) = find("Ready") else { return "Unknown" };
    match (ready["status"].as_str().unwrap_or_default(), ready["reason"].as_str().unwrap_or_default()) {
        ("True", _) => "Ready",
        ("False", "Suspended") => "Suspended",
        (
            "False",
            "CameraUnavailable" | "ArchiveUnavailable" | "ClipLimitReached" | "ClaimMissing" | "DeviceMissing",
        ) => "Waiting",
        ("False", _) => "NotReady",
        _ => "Unknown",
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
