//! Writes children: the only place that does. What is not there is created, what is there is changed by server-side apply as
//! `camera-operator` (docs/decisions/0023-create-then-apply.md); nothing is written that is as it should be, nothing is taken that is
//! somebody else's. What is to be done is decided in `difference` and `rollout`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::join_all;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde::Serialize;
use serde_json::{Value, json};

use super::build::{Children, Retention, template};
use super::difference::{self, Step};
use super::events::Events;
use super::kinds::{ChildKind, Watched};
use super::live::{self, Live, Pod};
use super::names::{ANNOTATION_HASH, ANNOTATION_PLAN_HASH, ANNOTATION_TEMPLATE_HASH, FIELD_MANAGER};
use super::rollout::{self, Rollout};
use super::world::{ChildKey, World};
use crate::plan::agents::AgentPlan;
use crate::plan::report::{Notice, Reason};
use crate::plan::unit::{ObjectKey, ObjectRef};

/// Condition: the pod is to be replaced, not because the spec changed, and waits for its turn.
pub const UPDATE_PENDING: &str = "UpdatePending";
/// Condition: a smaller claim is asked for than there is.
pub const CLAIM_TOO_LARGE: &str = "ClaimCannotShrink";

/// The world, shared by the watches, the workers and the server.
#[derive(Debug, Clone, Default)]
pub struct SharedWorld(Arc<Mutex<World>>);

impl SharedWorld {
    /// The world, for a moment: never held while waiting for anything.
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a child is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// For the condition; `None` where another attempt is likely to do, so that no condition need change.
    pub reason: Option<Reason>,
    /// One sentence.
    pub message: String,
    /// Name of the error in metrics.
    pub error: &'static str,
}

/// What came of writing the children of one object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// What could not be written, and why.
    pub problems: Vec<Problem>,
    /// What a person should know beside that.
    pub notices: Vec<Notice>,
}

/// Writes children.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    world: SharedWorld,
    events: Events,
    /// How many roll-outs that nobody's spec asked for may be under way at once.
    most_rollouts: usize,
}

impl Applier {
    /// `client` writes only while this process leads.
    pub const fn new(client: Client, world: SharedWorld, events: Events, most_rollouts: usize) -> Self {
        Self { client, world, events, most_rollouts }
    }

    /// Brings the children of an agent in line with what was computed.
    pub async fn apply(&self, plan: &AgentPlan, children: Children) -> Applied {
        // Taken apart field by field, so that a kind that is added cannot be forgotten here.
        let Children { service_account, config_map, service, network_policy, claim, retention, deployment } = children;
        let (retention_account, cron_job) = match retention {
            Some(Retention { service_account, cron_job }) => (Some(service_account), Some(cron_job)),
            None => (None, None),
        };
        let mut applied = Applied::default();
        let mut claim = claim.map(|claim| value(&claim));
        if let Some(claim) = &mut claim {
            let there = self.world.lock().child(ChildKind::Claim, &live::key(claim)).cloned();
            if let Err(message) = difference::claim_size(claim, there.as_ref()) {
                applied.notices.push(Notice { kind: CLAIM_TOO_LARGE.to_owned(), message });
            }
        }
        // Pods need these when they start, so the Deployment comes after.
        let first = [
            Some((ChildKind::ServiceAccount, value(&service_account))),
            retention_account.map(|account| (ChildKind::ServiceAccount, value(&account))),
            Some((ChildKind::ConfigMap, value(&config_map))),
            Some((ChildKind::Service, value(&service))),
            network_policy.map(|policy| (ChildKind::NetworkPolicy, value(&policy))),
            claim.map(|claim| (ChildKind::Claim, claim)),
        ];
        let first: Vec<(ChildKind, Value)> = first.into_iter().flatten().collect();
        let mut wanted: BTreeSet<ChildKey> = first.iter().map(|(kind, child)| (*kind, live::key(child))).collect();
        let written = join_all(first.into_iter().map(|(kind, child)| self.bring_in_line(plan, kind, child))).await;
        applied.problems.extend(written.into_iter().filter_map(Result::err));
        if let Some(cron_job) = cron_job.map(|cron_job| value(&cron_job)) {
            wanted.insert((ChildKind::CronJob, live::key(&cron_job)));
            applied.problems.extend(self.bring_in_line(plan, ChildKind::CronJob, cron_job).await.err());
        }
        let deployment = value(&deployment);
        wanted.insert((ChildKind::Deployment, live::key(&deployment)));
        // A pod would use somebody else's account, plan or volume by its name alone.
        if applied.problems.iter().all(|problem| problem.reason != Some(Reason::NameTaken)) {
            match self.roll_out(plan, deployment).await {
                Ok(notice) => applied.notices.extend(notice),
                Err(problem) => applied.problems.push(problem),
            }
        }
        applied.problems.extend(self.remove_orphans(&plan.owner, &plan.owner_uid, &wanted).await);
        applied
    }

    /// Writes the Deployment, or all of it but its pod template while its pods wait for their turn.
    async fn roll_out(&self, plan: &AgentPlan, mut wanted: Value) -> Result<Option<Notice>, Problem> {
        let inputs = rollout::inputs(plan);
        let owner = &plan.owner;
        let (decision, live) = {
            let mut world = self.world.lock();
            let live = world.child(ChildKind::Deployment, &live::key(&wanted)).cloned();
            let hash = live.as_ref().and_then(|live| live.annotations.get(ANNOTATION_TEMPLATE_HASH));
            let same = hash.map(String::as_str) == wanted["metadata"]["annotations"][ANNOTATION_TEMPLATE_HASH].as_str();
            // Counted only when it matters: it takes a look at every Deployment.
            let rolling = if same { 0 } else { world.rolling(owner) };
            let decision = rollout::decide(&wanted, &inputs, live.as_ref(), rolling, self.most_rollouts);
            world.wait_for_turn(owner, matches!(decision, Rollout::Later { .. }));
            if matches!(decision, Rollout::Now { paced: true, .. }) {
                world.take_turn(owner);
            }
            (decision, live)
        };
        rollout::annotate(&mut wanted, &inputs, live.as_ref(), &decision);
        let mut notice = None;
        if let (Rollout::Later { difference }, Some(live)) = (&decision, &live)
            && rollout::hold(&mut wanted, live)
        {
            let message = format!(
                "the pod is replaced when its turn comes (at most {} at once), for {difference}",
                self.most_rollouts
            );
            notice = Some(Notice { kind: UPDATE_PENDING.to_owned(), message });
        }
        let written = self.bring_in_line(plan, ChildKind::Deployment, wanted).await;
        self.world.lock().turned(owner);
        if written? && let Rollout::Now { difference, .. } = decision {
            tracing::info!(object = %owner, "its pod is replaced: {difference}");
            self.events.normal(owner, &plan.owner_uid, "RollOut", format!("The pod is replaced: {difference}"));
        }
        Ok(notice)
    }

    /// Brings one child in line. Returns whether anything was written.
    async fn bring_in_line(&self, plan: &AgentPlan, kind: ChildKind, mut wanted: Value) -> Result<bool, Problem> {
        let key = live::key(&wanted);
        let hash = template::of_json(&wanted);
        wanted["metadata"]["annotations"][ANNOTATION_HASH] = hash.clone().into();
        let known = self.world.lock().child(kind, &key).cloned();
        let live = match known {
            Some(live) => live,
            None => match self.create(kind, &key, &wanted).await? {
                Some(found) => found,
                None => return Ok(true),
            },
        };
        match difference::step(kind, &plan.owner, &plan.owner_uid, &wanted, &hash, &live) {
            Step::Nothing => return Ok(false),
            Step::Update { uid, version } => {
                wanted["metadata"]["uid"] = uid.into();
                wanted["metadata"]["resourceVersion"] = version.into();
            }
            Step::Taken(whose) => {
                let advice = match kind {
                    ChildKind::Claim => {
                        format!("write spec.existingClaim: {} in place of spec.claim to use it", key.name)
                    }
                    _ => format!("delete it, or give this {:?} another name", plan.owner.kind),
                };
                let name = kind.name();
                let message = format!("{name} {} is in the way and not touched, because {whose}: {advice}", key.name);
                return Err(Problem { reason: Some(Reason::NameTaken), message, error: "NameTaken" });
            }
            Step::Going => {
                let message = format!("{} {} is still being deleted", kind.name(), key.name);
                return Err(Problem { reason: None, message, error: "BeingDeleted" });
            }
        }
        if live.created {
            let owned = self.own(kind, &key, &live.resource_version).await;
            wanted["metadata"]["resourceVersion"] = owned.map_err(|error| problem(kind, &key, &error))?.into();
        }
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let written = self.api(kind, &key).patch(&key.name, &parameters, &Patch::Apply(&wanted)).await;
        self.note(kind, written.map_err(|error| problem(kind, &key, &error))?);
        Ok(true)
    }

    /// Creates a child, in one request that cannot touch anything else of that name. Returns what has the name already: what
    /// carries none of our labels is not watched.
    async fn create(&self, kind: ChildKind, key: &ObjectKey, wanted: &Value) -> Result<Option<Live>, Problem> {
        let api = self.api(kind, key);
        let object: DynamicObject = serde_json::from_value(wanted.clone()).map_err(|error| {
            let message = format!("{} {} cannot be written: {error}", kind.name(), key.name);
            Problem { reason: Some(Reason::ChildRefused), message, error: "Refused" }
        })?;
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let found = match api.create(&parameters, &object).await {
            Ok(created) => {
                self.note(kind, created);
                return Ok(None);
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => api.get(&key.name).await,
            Err(error) => Err(error),
        };
        let found = found.map_err(|error| problem(kind, key, &error))?;
        Ok(serde_json::to_value(found).ok().map(Live::of))
    }

    /// Makes what was created as if it had been applied: only what is owned by apply goes when it is not applied any more.
    async fn own(&self, kind: ChildKind, key: &ObjectKey, seen: &str) -> Result<Option<String>, kube::Error> {
        let api = self.api(kind, key);
        let mut metadata = api.get(&key.name).await?.metadata;
        for entry in metadata.managed_fields.iter_mut().flatten() {
            if entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.subresource.is_none() {
                entry.operation = Some("Apply".to_owned());
            }
        }
        // The version that was seen: whoever writes in between makes this fail, and be tried again.
        let patch = json!({"metadata": {
            "resourceVersion": seen, "managedFields": metadata.managed_fields,
        }});
        let owned = api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(owned.metadata.resource_version)
    }

    /// Knows at once what was written, so that the next look does not go by an older state.
    fn note(&self, kind: ChildKind, written: DynamicObject) {
        if let Ok(written) = serde_json::to_value(written) {
            self.world.lock().put(Watched::Child(kind), written);
        }
    }

    /// Removes what an object has and needs no more. Claims stay: video is never deleted in passing.
    pub async fn remove_orphans(&self, owner: &ObjectRef, uid: &str, wanted: &BTreeSet<ChildKey>) -> Vec<Problem> {
        let children = self.world.lock().controlled_by(owner, uid);
        let mut problems = Vec::new();
        for ((kind, key), live) in children {
            if kind == ChildKind::Claim || live.terminating || wanted.contains(&(kind, key.clone())) {
                continue;
            }
            let preconditions = Preconditions { uid: Some(live.uid.clone()), resource_version: None };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
            match self.api(kind, &key).delete(&key.name, &parameters).await {
                Ok(_) => {
                    tracing::info!(object = %owner, "deleted {} {}, which it needs no more", kind.name(), key.name);
                }
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => problems.push(problem(kind, &key, &error)),
            }
        }
        problems
    }

    /// Makes the kubelet look at a pod's ConfigMap at once, where it would take about a minute by itself.
    pub async fn nudge(&self, pod: &Pod, plan_hash: &str) -> Result<(), kube::Error> {
        let api = self.dynamic(Watched::Pod, &pod.key.namespace);
        let patch = json!({"metadata": {"uid": pod.uid, "annotations": {ANNOTATION_PLAN_HASH: plan_hash}}});
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch(&pod.key.name, &parameters, &Patch::Merge(&patch)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn api(&self, kind: ChildKind, key: &ObjectKey) -> Api<DynamicObject> {
        self.dynamic(Watched::Child(kind), &key.namespace)
    }

    fn dynamic(&self, kind: Watched, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }
}

fn value<T: Serialize>(object: &T) -> Value {
    // Plain types: they cannot fail to serialise, and the server would refuse an empty document.
    serde_json::to_value(object).unwrap_or_default()
}

/// What a failed request means for the object.
fn problem(kind: ChildKind, key: &ObjectKey, error: &kube::Error) -> Problem {
    let (reason, error, text) = match error {
        // Nothing can be made in a namespace that is being deleted, and nothing need be.
        kube::Error::Api(status) if status.message.contains("is being terminated") => {
            (None, "NamespaceTerminating", status.message.clone())
        }
        kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => {
            (Some(Reason::ChildRefused), "Refused", status.message.clone())
        }
        kube::Error::Api(status) if status.is_conflict() => (None, "Conflict", status.message.clone()),
        kube::Error::Api(status) => (None, "Api", status.message.clone()),
        error => (None, "NoAnswer", error.to_string()),
    };
    Problem { reason, message: format!("the API server refuses {} {}: {text}", kind.name(), key.name), error }
}
