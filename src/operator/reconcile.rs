//! One look at one object: plan it, build and write its children, tell its status. The steps are other modules' work; this
//! only puts them in order. What is decided here is whom else the outcome concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::access::Known;
use super::apply::{Applied, Applier, Problem};
use super::build::{self, Settings};
use super::events::Events;
use super::kinds::{ChildKind, Watched};
use super::metrics::Metrics;
use super::names::{FIELD_MANAGER, child_name, retention_name};
use super::pod_events;
use super::pod_problem::{PodEvent, starts_slowly};
use super::queue::Outcome;
use super::reports::Reports;
use super::status::{self, AgentState, View};
use super::watches::Feed;
use super::world::{self, World};
use crate::api::API_VERSION;
use crate::api::condition::{FALSE, TRUE};
use crate::plan::agents::{self, AgentPlan, Cluster};
use crate::plan::report::{ArchiveReport, Notice, Reason, UnitReport};
use crate::plan::resolve::Waiting;
use crate::plan::status as plan_status;
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// What stands in the way of an object may be somebody else's, of which no watch tells; and who waits for a turn must not wait
/// for ever because a turn was missed.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// A change of an agent's state is passed on to what it runs after this long.
const SETTLE: Duration = Duration::from_millis(20);
/// How soon an agent that has not taken up its plan is looked at again.
const UNHEARD: Duration = Duration::from_secs(20);

/// What is known of the agent of an owner since this process first looked at it.
#[derive(Debug, Clone, Default)]
struct Agent {
    runs: bool,
    plan_hash: String,
    problems: Vec<Problem>,
    notices: Vec<Notice>,
    starting: BTreeMap<String, Vec<PodEvent>>,
}

/// Looks at objects.
pub struct Reconciler {
    /// Writes statuses; only while this process leads.
    pub client: Client,
    /// What is known, and where to pass on whom a change concerns.
    pub feed: Feed,
    /// Writes children.
    pub applier: Applier,
    /// What agents say.
    pub reports: Reports,
    /// What agents need to know of the cluster.
    pub known: Known,
    /// What all pods have in common.
    pub settings: Settings,
    /// Agents by owner.
    pub agents: Agents,
}

/// Agents by owner.
#[derive(Debug, Default)]
pub struct Agents(Mutex<BTreeMap<ObjectRef, (Agent, Option<String>)>>);

impl Agents {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectRef, (Agent, Option<String>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said of one object.
struct Subject {
    object: ObjectRef,
    uid: String,
    version: Option<String>,
    generation: Option<i64>,
    before: Value,
}

impl Reconciler {
    /// Looks at one object.
    pub async fn look_at(self: Arc<Self>, object: ObjectRef) -> Outcome {
        let begun = Instant::now();
        let kind = object.kind.plural();
        let problems = Box::pin(self.bring_in_line(&object)).await;
        let metrics = &self.feed.metrics;
        metrics.reconciled(kind, begun.elapsed());
        for problem in &problems {
            metrics.reconcile_failed(kind, problem.error);
            tracing::warn!(%object, error = problem.error, "{}", problem.message);
        }
        if problems.iter().any(|problem| problem.reason.is_none()) {
            // Likely to pass by itself. What a person has to mend is looked at as before, so that the rest of the object's
            // status stays true meanwhile.
            Outcome::Failed
        } else {
            let agents = self.agents.lock();
            let (waits, unheard) = agents.get(&object).map_or((false, false), |(agent, told)| {
                let unheard = told.as_deref() == Some("Unheard") || !agent.starting.is_empty();
                (!agent.notices.is_empty(), unheard)
            });
            let later = (waits || !problems.is_empty()).then_some(LOOK_AGAIN);
            Outcome::Done(if unheard { Some(UNHEARD) } else { later })
        }
    }

    async fn bring_in_line(&self, object: &ObjectRef) -> Vec<Problem> {
        // Nothing is made before it is known how agents can tell who calls them; this process is told when it is.
        let Some(cluster) = self.known.borrow().clone() else { return Vec::new() };
        let planned = {
            let world = self.feed.world.lock();
            let meta = world::meta(world.index(), object);
            match meta.filter(|meta| meta.deletion_timestamp.is_none()) {
                Some(meta) => {
                    let uid = meta.uid.clone().unwrap_or_default();
                    Some((uid, agents::agent_plan(world.index(), object, &cluster)))
                }
                None => None,
            }
        };
        let Some((uid, plan)) = planned else {
            // Its children go with it: they name it as their owner.
            self.agents.lock().remove(object);
            self.feed.queue.forget(object);
            return Vec::new();
        };
        let mut problems = Vec::new();
        if let Some(plan) = plan {
            let children = build::children(&plan, &self.settings);
            let applied = Box::pin(self.applier.apply(&plan, children)).await;
            problems.extend(applied.problems.iter().cloned());
            problems.extend(self.nudge(&plan).await);
            let starting = self.starting(object).await;
            self.remember(&plan, applied, starting);
        } else {
            self.agents.lock().remove(object);
            problems.extend(self.applier.remove_orphans(object, &uid, &BTreeSet::new()).await);
        }
        problems.extend(self.tell(object, &cluster).await);
        problems
    }

    fn remember(&self, plan: &AgentPlan, applied: Applied, starting: BTreeMap<String, Vec<PodEvent>>) {
        let Applied { problems, notices } = applied;
        let agent = Agent { runs: plan.runs, plan_hash: plan.plan.hash(), problems, notices, starting };
        let mut agents = self.agents.lock();
        let told = agents.remove(&plan.owner).and_then(|(_, told)| told);
        agents.insert(plan.owner.clone(), (agent, told));
    }

    /// What the cluster says of an agent's pods that take long to start. Asked only then, so that it costs nothing otherwise.
    async fn starting(&self, owner: &ObjectRef) -> BTreeMap<String, Vec<PodEvent>> {
        let now = Timestamp::now();
        let slow: Vec<_> = {
            let world = self.feed.world.lock();
            let pods = world.pods_of(owner).into_iter().filter(|pod| starts_slowly(pod, now));
            pods.map(|pod| (pod.key.namespace.clone(), pod.uid.clone())).collect()
        };
        let mut starting = BTreeMap::new();
        for (namespace, uid) in slow {
            let events = pod_events::of(&self.client, &namespace, &uid).await;
            starting.insert(uid, events);
        }
        starting
    }

    /// Pods that still run an earlier plan are told to look.
    async fn nudge(&self, plan: &AgentPlan) -> Option<Problem> {
        let hash = plan.plan.hash();
        let pods: Vec<_> = self.feed.world.lock().pods_of(&plan.owner).into_iter().cloned().collect();
        for pod in pods {
            let runs = self.reports.of(&pod.uid).and_then(|heard| heard.report);
            let is_behind = runs.is_some_and(|report| report.plan_hash != hash);
            if is_behind
                && pod.nudged.as_deref() != Some(&hash)
                && let Err(error) = self.applier.nudge(&pod, &hash).await
            {
                let message = format!("pod {} cannot be told of its new plan: {error}", pod.key.name);
                return Some(Problem { reason: None, message, error: "Nudge" });
            }
        }
        None
    }

    /// What is known of an agent at this moment.
    fn view(&self, world: &World, owner: &ObjectRef, agent: Agent) -> View {
        let name = ObjectKey::new(&*owner.key.namespace, child_name(owner.kind, &owner.key.name));
        let pods = world.pods_of(owner).into_iter().map(|pod| (pod.clone(), self.reports.of(&pod.uid)));
        let claim = world.child(ChildKind::Claim, &name).and_then(|claim| claim.claim().cloned());
        View {
            runs: agent.runs,
            problems: agent.problems,
            plan_hash: agent.plan_hash,
            pods: pods.collect(),
            deployment: world.child(ChildKind::Deployment, &name).and_then(|live| live.deployment().cloned()),
            claim: claim.map(|claim| (name.name, claim)),
            starting: agent.starting,
        }
    }

    /// Tells the status of an object, where that changed; and passes on to what its agent runs how that agent is doing.
    async fn tell(&self, object: &ObjectRef, cluster: &Cluster) -> Option<Problem> {
        let told = {
            let world = self.feed.world.lock();
            self.status(&world, object, cluster)
        };
        let (subject, status) = told?;
        if status == subject.before {
            return None;
        }
        self.write(&subject, &status).await
    }

    fn status(&self, world: &World, object: &ObjectRef, cluster: &Cluster) -> Option<(Subject, Value)> {
        let index = world.index();
        let meta = world::meta(index, object)?;
        let waiting = agents::waiting(index, object, cluster);
        let host = agents::host(index, object)?;
        let agent = self.agents.lock().get(&host).map(|(agent, _)| agent.clone());
        let notices = agent.as_ref().map(|agent| agent.notices.clone()).unwrap_or_default();
        let state = agent
            .map_or(AgentState::Unheard, |agent| status::agent_state(&self.view(world, &host, agent), Instant::now()));
        if host == *object {
            self.pass_on(world, object, &state);
        }
        let now = Timestamp::now();
        let (before, mut status) = conditions(world, object, &host, waiting.as_ref(), &state, now)?;
        if host == *object {
            let mut notices = notices;
            notices.extend(retention_notice(world, object));
            let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
            status::with_notices(&mut status, &before, meta.generation, &seconds, &notices);
        }
        let (uid, generation) = (meta.uid.clone().unwrap_or_default(), meta.generation);
        let version = meta.resource_version.clone();
        Some((Subject { object: object.clone(), uid, version, generation, before }, status))
    }

    /// What an agent runs for others is looked at when the agent's state changes.
    fn pass_on(&self, world: &World, owner: &ObjectRef, state: &AgentState) {
        let now = match state {
            AgentState::Reports(report) => format!("Reports {} {}", report.plan_hash, report.sequence),
            AgentState::Stopped(reason, message) => format!("Stopped {reason:?} {message}"),
            AgentState::Unavailable(message) => format!("Unavailable {message}"),
            AgentState::Unheard => "Unheard".to_owned(),
        };
        let mut agents = self.agents.lock();
        let Some((_, told)) = agents.get_mut(owner) else { return };
        if told.as_ref() == Some(&now) {
            return;
        }
        *told = Some(now);
        drop(agents);
        self.feed.queue.add(hosted(world, owner), SETTLE);
    }

    async fn write(&self, subject: &Subject, status: &Value) -> Option<Problem> {
        let Subject { object, uid, version, .. } = subject;
        let kind = Watched::Object(object.kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &object.key.namespace, &kind.resource());
        let patch = json!({
            "apiVersion": API_VERSION,
            "kind": format!("{:?}", object.kind),
            // Off an object of the same name that was made meanwhile, and off what somebody has written since it was seen.
            "metadata": {
                "name": object.key.name, "namespace": object.key.namespace, "uid": uid, "resourceVersion": version,
            },
            "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch_status(&object.key.name, &parameters, &Patch::Apply(&patch)).await {
            Ok(written) => {
                if let Ok(written) = serde_json::to_value(written) {
                    let concerned = self.feed.world.lock().put(kind, written);
                    self.feed.pass_on(concerned);
                }
                announce(&self.feed.events, subject, status);
                None
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => None,
            Err(kube::Error::Api(status)) if status.is_conflict() => Some(Problem {
                reason: None,
                message: format!("the status is written anew: {status}"),
                error: "Conflict",
            }),
            Err(error) => Some(Problem {
                reason: None,
                message: format!("the status cannot be written: {error}"),
                error: "Status",
            }),
        }
    }
}

/// The status without our notices: how it was, and how it is.
fn conditions(
    world: &World,
    object: &ObjectRef,
    host: &ObjectRef,
    waiting: Option<&Waiting>,
    state: &AgentState,
    now: Timestamp,
) -> Option<(Value, Value)> {
    let objects = world.index().objects();
    let key = &object.key;
    // What is wrong with another object's agent is said with whose it is.
    let said = |message: &str| {
        if host == object { message.to_owned() } else { format!("{:?} {}: {message}", host.kind, host.key.name) }
    };
    let other = match (waiting, state) {
        (Some(waiting), _) => Some(waiting.clone()),
        (None, AgentState::Stopped(reason, message)) => {
            Some(Waiting { object: object.clone(), reason: *reason, message: said(message) })
        }
        (None, AgentState::Unavailable(message)) => {
            Some(Waiting { object: object.clone(), reason: Reason::ReportUnavailable, message: said(message) })
        }
        (None, AgentState::Reports(_) | AgentState::Unheard) => None,
    };
    let report = match (&other, state) {
        (None, AgentState::Reports(report)) => Some(report),
        _ => None,
    };
    let unit = report.and_then(|report| report.units.iter().find(|unit| unit.object == *object));
    let archive = report.and_then(|report| report.archives.iter().find(|archive| archive.key == *key));
    let is_unknown = waiting.is_none() && matches!(state, AgentState::Unavailable(_));
    let unit: plan_status::Outcome<'_, UnitReport> = outcome(other.as_ref(), is_unknown, unit);
    let archive: plan_status::Outcome<'_, ArchiveReport> = outcome(other.as_ref(), is_unknown, archive);
    let both = match object.kind {
        ObjectKind::Camera => {
            let camera = objects.cameras.get(key)?;
            (json_of(&camera.status), json_of(&plan_status::camera_status(camera, unit, now)))
        }
        ObjectKind::Stream => {
            let stream = objects.streams.get(key)?;
            (json_of(&stream.status), json_of(&plan_status::stream_status(stream, unit, now)))
        }
        ObjectKind::Archive => {
            let declared = objects.archives.get(key)?;
            (json_of(&declared.status), json_of(&plan_status::archive_status(declared, archive, now)))
        }
        ObjectKind::Recording => {
            let recording = objects.recordings.get(key)?;
            (json_of(&recording.status), json_of(&plan_status::recording_status(recording, unit, now)))
        }
        ObjectKind::AlertRoute => return None,
    };
    Some(both)
}

fn outcome<'a, R>(other: Option<&'a Waiting>, is_unknown: bool, report: Option<&'a R>) -> plan_status::Outcome<'a, R> {
    match (other, report) {
        (Some(waiting), _) if is_unknown => plan_status::Outcome::Unknown(waiting),
        (Some(waiting), _) => plan_status::Outcome::Waiting(waiting),
        (None, Some(report)) => plan_status::Outcome::Reported(report),
        (None, None) => plan_status::Outcome::Unheard,
    }
}

fn json_of<T: serde::Serialize>(status: &T) -> Value {
    // Plain types of ours: they cannot fail to serialise.
    serde_json::to_value(status).unwrap_or_default()
}

/// The objects beside its owner whose units an agent runs.
pub fn hosted(world: &World, owner: &ObjectRef) -> Vec<ObjectRef> {
    let index = world.index();
    let of = |kind| move |key: &ObjectKey| ObjectRef { kind, key: key.clone() };
    match owner.kind {
        ObjectKind::Camera => index.streams_of_camera(&owner.key).map(|(key, _)| of(ObjectKind::Stream)(key)).collect(),
        ObjectKind::Archive => {
            index.recordings_of_archive(&owner.key).map(|(key, _)| of(ObjectKind::Recording)(key)).collect()
        }
        ObjectKind::Stream | ObjectKind::Recording | ObjectKind::AlertRoute => Vec::new(),
    }
}

fn retention_notice(world: &World, object: &ObjectRef) -> Option<Notice> {
    if object.kind != ObjectKind::Archive {
        return None;
    }
    let name = ObjectKey::new(&*object.key.namespace, retention_name(&object.key.name));
    let cron_job = world.child(ChildKind::CronJob, &name)?;
    let (job, well) = world.last_job(object, &cron_job.uid)?;
    (!well).then(|| Notice {
        kind: status::RETENTION_FAILED.to_owned(),
        message: format!("the last retention job failed: see kubectl logs job/{}", job.name),
    })
}

/// Events for what matters: an object is ready, is so no more, or is so for another reason.
fn announce(events: &Events, subject: &Subject, status: &Value) {
    let find = |status: &Value, type_: &str| {
        let conditions = status["conditions"].as_array()?;
        conditions.iter().find(|condition| condition["type"] == type_).cloned()
    };
    for type_ in ["Ready", "Complete", "Failed"] {
        let Some(after) = find(status, type_) else { continue };
        let before = find(&subject.before, type_).unwrap_or_default();
        if before["status"] == after["status"] && before["reason"] == after["reason"] {
            continue;
        }
        if reason_of(&after) == "Pending" {
            continue;
        }
        // A clip says at its end that it is complete; before, what keeps it is said with Ready.
        if type_ != "Ready" && after["status"] != TRUE {
            continue;
        }
        let reason = reason_of(&after);
        let note = after["message"].as_str().unwrap_or_default().to_owned();
        let is_bad = if type_ == "Ready" {
            after["status"] == FALSE && !matches!(reason, "Connecting" | "PodStarting" | "Suspended" | "Stopped")
        } else {
            type_ == "Failed"
        };
        tracing::info!(object = %subject.object, generation = subject.generation, state = reason, "{note}");
        if is_bad {
            events.warning(&subject.object, &subject.uid, reason, note);
        } else {
            events.normal(&subject.object, &subject.uid, reason, note);
        }
    }
}

fn reason_of(condition: &Value) -> &str {
    condition["reason"].as_str().unwrap_or_default()
}

/// How many objects of each kind are in each state.
pub fn count_states(world: &World, metrics: &Metrics) {
    let objects = world.index().objects();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for kind in super::kinds::OBJECT_KINDS.into_iter().chain([ObjectKind::AlertRoute]) {
        for state in ["Ready", "NotReady", "Waiting", "Suspended", "Unknown", "Malformed"] {
            counts.insert((kind.plural(), state), 0);
        }
    }
    let mut count =
        |kind: ObjectKind, status: Value| *counts.entry((kind.plural(), status::state(&status))).or_insert(0) += 1;
    objects.cameras.values().for_each(|camera| count(ObjectKind::Camera, json_of(&camera.status)));
    objects.streams.values().for_each(|stream| count(ObjectKind::Stream, json_of(&stream.status)));
    objects.archives.values().for_each(|archive| count(ObjectKind::Archive, json_of(&archive.status)));
    objects.recordings.values().for_each(|recording| count(ObjectKind::Recording, json_of(&recording.status)));
    world.routes().values().for_each(|route| count(ObjectKind::AlertRoute, json_of(&route.status)));
    for object in world.malformed().keys() {
        *counts.entry((object.kind.plural(), "Malformed")).or_insert(0) += 1;
    }
    for ((kind, state), count) in counts {
        metrics.objects(kind, state, count);
    }
}
