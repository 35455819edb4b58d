//! The control plane of `run`: manifests and what was set over REST → objects → a plan for the agent; the agent's report →
//! statuses. Holds no HTTP and watches no files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::manifests::Declared;
use super::planning;
use super::secrets::ManifestSecrets;
use super::state::{self, Field, State};
use super::store::Store;
use crate::agent::supervisor::Agent;
use crate::gateway::world::{ChangeKind, Snapshot};
use crate::plan::objects::Objects;
use crate::plan::report::Reason;
use crate::plan::resolve::{self, Environment, Planned};
use crate::plan::status;
use crate::plan::unit::ObjectRef;

/// Objects by reference, as manifests declare them.
pub type Declarations = BTreeMap<ObjectRef, Value>;

/// What is wanted, and what people set over it.
#[derive(Debug, Default)]
struct Wanted {
    declared: Declared,
    overrides: state::Overrides,
    /// What could not be saved, if the last attempt failed.
    save_problem: Option<String>,
}

/// The control plane. Its loops are [`Control::apply_plans`] and [`Control::tell_statuses`].
#[derive(Debug)]
pub struct Control {
    /// The objects.
    pub store: Store,
    /// The data plane.
    pub agent: Arc<Agent>,
    /// What units read credentials from.
    pub secrets: Arc<ManifestSecrets>,
    data: PathBuf,
    wanted: Mutex<Wanted>,
    /// Counts changes of what is wanted.
    changes: watch::Sender<u64>,
    planned: watch::Sender<Arc<Planned>>,
    /// One save at a time, so that an older state never replaces a newer one.
    saving: tokio::sync::Mutex<()>,
}

impl Control {
    /// A control plane that has read nothing yet; `state` is what was remembered, `data` the data folder.
    pub fn new(state: State, data: PathBuf) -> Self {
        let secrets = Arc::new(ManifestSecrets::default());
        // Versions go on growing over a restart: a millisecond never sees more than a few changes.
        let version = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        Self {
            store: Store::new(state.identities, version),
            agent: Arc::new(Agent::new(secrets.clone())),
            secrets,
            data,
            wanted: Mutex::new(Wanted { overrides: state.overrides, ..Wanted::default() }),
            changes: watch::channel(0).0,
            planned: watch::channel(Arc::default()).0,
            saving: tokio::sync::Mutex::default(),
        }
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether manifests have been read and planned at least once.
    pub fn is_ready(&self) -> bool {
        *self.changes.borrow() > 0
    }

    /// What is wrong with the manifests or with remembering, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        let wanted = self.wanted();
        wanted.declared.problems.iter().chain(&wanted.save_problem).cloned().collect()
    }

    /// Why an object does not do what it is for: what its unit says, or why it has none.
    pub fn reason(&self, reference: &ObjectRef) -> (Reason, String) {
        if let Some(report) = self.agent.board.unit(reference) {
            return (report.reason, report.message);
        }
        let planned = self.planned.borrow().clone();
        planned.waiting_for(reference).map_or_else(
            || (Reason::Pending, "It is being started.".to_owned()),
            |waiting| (waiting.reason, waiting.message.clone()),
        )
    }

    /// Puts what the manifests say in force. Returns what changed.
    pub async fn declare(&self, declared: Declared) -> Vec<(ChangeKind, ObjectRef)> {
        let changed = {
            let mut wanted = self.wanted();
            if declared.complete {
                // An object that is nowhere declared any more is forgotten with all that was set on it.
                let Wanted { overrides, .. } = &mut *wanted;
                overrides.retain(|reference, _| declared.objects.contains_key(reference));
            }
            self.secrets.replace(declared.secrets.clone());
            self.secrets.replace_config_maps(declared.config_maps.clone());
            wanted.declared = declared;
            self.refresh(&mut wanted)
        };
        self.save().await;
        changed
    }

    /// Sets a field of an object over what its manifest says, and remembers that. Returns `false` where there is no such
    /// object.
    pub async fn set(&self, reference: &ObjectRef, field: Field, value: bool) -> bool {
        {
            let mut wanted = self.wanted();
            let Wanted { declared, overrides, .. } = &mut *wanted;
            let Some(manifest) = declared.objects.get(reference) else { return false };
            state::set(overrides, reference, manifest, field, value);
            self.refresh(&mut wanted);
        }
        self.save().await;
        true
    }

    /// Brings the objects in line with what is wanted.
    fn refresh(&self, wanted: &mut Wanted) -> Vec<(ChangeKind, ObjectRef)> {
        let Wanted { declared, overrides, .. } = wanted;
        let objects = declared
            .objects
            .iter()
            .map(|(reference, manifest)| (reference.clone(), state::apply(overrides, reference, manifest)));
        let objects = planning::with_default_archives(objects.collect());
        let changed = self.store.apply(objects.into_iter().collect(), Timestamp::now());
        self.changes.send_modify(|count| *count += 1);
        changed
    }

    fn environment(&self) -> Environment {
        Environment { agent: "run".into(), data: self.data.to_string_lossy().into_owned() }
    }

    /// Saves what has to outlive a restart. A failure is told, but nothing is undone: a full disk must not keep anybody from
    /// stopping a camera.
    async fn save(&self) {
        let _one_at_a_time = self.saving.lock().await;
        let state = State { identities: self.store.identities(), overrides: self.wanted().overrides.clone() };
        let folder = self.data.clone();
        let saved = tokio::task::spawn_blocking(move || state.save(&folder)).await;
        let problem = match saved {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let problem = problem.map(|error| {
            format!(
                "{} cannot be written ({error}): what is started or stopped now is forgotten at a restart",
                self.data.join(state::FILE).display()
            )
        });
        if let Some(problem) = &problem {
            tracing::warn!("{problem}");
        }
        self.wanted().save_problem = problem;
    }

    /// Loop: whenever what is wanted changes, plans it and hands the plan to the agent.
    pub async fn apply_plans(&self, shutdown: CancellationToken) {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if self.is_ready() {
                let planned = Arc::new(resolve::plan(&typed(&self.store.list(None, None)), &self.environment()));
                // Before the agent has it, so that statuses never judge new objects by an old plan.
                self.planned.send_replace(planned.clone());
                self.agent.apply(&planned.plan).await;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = changes.changed() => {}
            }
        }
    }

    /// Loop: whenever the agent's report, the plan or the objects change, brings the statuses up to date.
    pub async fn tell_statuses(&self, shutdown: CancellationToken) {
        let (mut planned, mut reports, mut changes) =
            (self.planned.subscribe(), self.agent.board.subscribe(), self.changes.subscribe());
        loop {
            let current = planned.borrow_and_update().clone();
            reports.mark_unchanged();
            changes.mark_unchanged();
            let report = self.agent.board.report();
            let objects = self.store.list(None, None);
            for (reference, status) in status::statuses(&typed(&objects), &current, &report, Timestamp::now()) {
                let before = self.store.get(&reference);
                if self.store.set_status(&reference, status) && current.waiting_for(&reference).is_some() {
                    self.tell(&reference, before.as_deref());
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = planned.changed() => {}
                _ = reports.changed() => {}
                _ = changes.changed() => {}
            }
        }
    }

    /// One log line for a change of an object that no unit speaks for: one that is suspended, or that names what is not
    /// there. Units log for themselves.
    fn tell(&self, reference: &ObjectRef, before: Option<&Value>) {
        let Some(after) = self.store.get(reference) else { return };
        let (old, new) = (before.and_then(ready_reason), ready_reason(&after));
        if let Some((reason, message)) = new
            && old.map(|(reason, _)| reason) != new.map(|(reason, _)| reason)
        {
            tracing::info!(object = %reference, state = reason, "{message}");
        }
    }
}

fn typed(snapshot: &Snapshot) -> Objects {
    planning::typed(snapshot.objects.iter().map(|(reference, object)| (reference, &**object)))
}

/// Reason and message of an object's condition `Ready`.
fn ready_reason(object: &Value) -> Option<(&str, &str)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    Some((ready["reason"].as_str()?, ready["message"].as_str().unwrap_or_default()))
}
