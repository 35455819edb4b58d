//! Runs a plan: starts, stops and watches one task a unit. Applies a changed plan by difference, so that only the units that
//! changed restart. A unit that panics takes nobody with it and is started again with back-off. Must not know what units do:
//! that is one file each under `source/` and `output/`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::difference::{Difference, difference};
use super::registry::{Registry, Table};
use super::unit::{Board, LogBuffer, Secrets, UnitContext};
use crate::media::frame::UtcMicros;
use crate::plan::report::{Reason, UnitReport, UnitState};
use crate::plan::unit::{ArchivePlan, ObjectKey, ObjectKind, ObjectRef, Plan, Unit, Work};

/// How long a unit that panicked waits before it is started again, at first and at most.
const RESTART_DELAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What a task does: one of the plan's units, or an archive.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "moved once, from the plan into what runs it")]
pub enum Task {
    /// A unit's work.
    Work(Work),
    /// An archive to keep open.
    Archive(ArchivePlan),
}

/// Turns a task into something that runs until its context is cancelled or its work is done.
pub type Launch = Arc<dyn Fn(UnitContext, Task) -> BoxFuture<'static, ()> + Send + Sync>;

struct Running {
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.cancel.cancel();
        // The task itself catches panics; an error here only says that the runtime is going down.
        let _ = self.task.await;
    }
}

#[derive(Default)]
struct State {
    units: BTreeMap<ObjectRef, (Unit, Running)>,
    archives: BTreeMap<ObjectKey, (ArchivePlan, Running)>,
}

/// An agent: what runs in every media pod, and inside `run`.
pub struct Agent {
    /// How all units are doing.
    pub board: Arc<Board>,
    /// What runs, for HTTP handlers.
    pub registry: Arc<Registry>,
    secrets: Arc<dyn Secrets>,
    launch: Launch,
    logs: Table<LogBuffer>,
    state: Mutex<State>,
    /// Since when something has been carried out, while it is.
    busy: StdMutex<Option<Instant>>,
}

/// The supervisor's state, held while something is carried out.
struct Locked<'a> {
    agent: &'a Agent,
    state: MutexGuard<'a, State>,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.agent.set_busy(None);
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Agent").finish_non_exhaustive()
    }
}

impl Agent {
    /// An agent with nothing to do yet; `secrets` is where units read credentials.
    pub fn new(secrets: Arc<dyn Secrets>) -> Self {
        Self::with_launch(secrets, Arc::new(super::launch::launch))
    }

    /// An agent whose units are started by `launch`.
    pub fn with_launch(secrets: Arc<dyn Secrets>, launch: Launch) -> Self {
        Self {
            board: Arc::default(),
            registry: Arc::default(),
            secrets,
            launch,
            logs: Table::default(),
            state: Mutex::default(),
            busy: StdMutex::default(),
        }
    }

    async fn lock(&self) -> Locked<'_> {
        let state = self.state.lock().await;
        self.set_busy(Some(Instant::now()));
        Locked { agent: self, state }
    }

    fn set_busy(&self, since: Option<Instant>) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// For how long one change has been carried out, if one is just now.
    pub fn busy_for(&self) -> Option<Duration> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }

    /// Puts `plan` in force and returns when all that had to end has ended and all that had to begin has begun.
    pub async fn apply(&self, plan: &Plan) {
        self.apply_as(plan, plan.hash()).await;
    }

    /// [`Agent::apply`] of a plan that its writer knows by this hash.
    pub async fn apply_as(&self, plan: &Plan, hash: String) {
        let mut locked = self.lock().await;
        let state = &mut *locked.state;
        let units = state.units.iter().map(|(object, (unit, _))| (object.clone(), unit.clone())).collect();
        let archives = state.archives.iter().map(|(key, (archive, _))| (key.clone(), archive.clone())).collect();
        let difference = difference(&units, &archives, plan);
        self.board.set_plan_hash(hash);
        self.registry.declared.set(&plan.recordings);
        self.registry.source_guard.set(plan.guard.as_ref());
        self.carry_out(state, difference).await;
    }

    async fn carry_out(&self, state: &mut State, difference: Difference) {
        // Readers end before what they read from, so that every recording closes its file while its hub is there.
        for wave in waves(&difference.stop) {
            join_all(wave.iter().filter_map(|object| state.units.remove(object)).map(|(_, running)| running.stop()))
                .await;
        }
        for object in &difference.stop {
            if !difference.start.iter().any(|unit| unit.object == *object) {
                self.board.remove_unit(object);
            }
        }
        for key in &difference.close {
            if let Some((_, running)) = state.archives.remove(key) {
                running.stop().await;
                self.board.remove_archive(key);
            }
        }
        for (key, generation) in difference.relabel_archives {
            if let Some((archive, _)) = state.archives.get_mut(&key) {
                archive.generation = generation;
            }
            self.board.label_archive(&key, generation);
        }
        for archive in difference.open {
            self.board.label_archive(&archive.key, archive.generation);
            let running = self.start(archive_object(&archive.key), &archive.uid, Task::Archive(archive.clone()));
            state.archives.insert(archive.key.clone(), (archive, running));
        }
        for (object, generation) in difference.relabel {
            if let Some((unit, _)) = state.units.get_mut(&object) {
                unit.generation = generation;
            }
            self.board.update_unit(&object, |report| report.generation = generation);
        }
        for unit in difference.start {
            self.board.insert_unit(first_report(&unit));
            let running = self.start(unit.object.clone(), &unit.uid, Task::Work(unit.work.clone()));
            state.units.insert(unit.object.clone(), (unit, running));
        }
    }

    fn start(&self, object: ObjectRef, uid: &str, task: Task) -> Running {
        let cancel = CancellationToken::new();
        let context = UnitContext {
            logs: self.log_buffer(&object),
            object,
            uid: uid.to_owned(),
            registry: self.registry.clone(),
            board: self.board.clone(),
            secrets: self.secrets.clone(),
            cancel: cancel.clone(),
        };
        let task = tokio::spawn(watch_over(self.launch.clone(), context, task));
        Running { cancel, task }
    }

    fn log_key(object: &ObjectRef) -> ObjectKey {
        ObjectKey::new(object.key.namespace.clone(), format!("{}/{}", object.kind.plural(), object.key.name))
    }

    fn log_buffer(&self, object: &ObjectRef) -> Arc<LogBuffer> {
        self.logs(object).unwrap_or_else(|| {
            let buffer = Arc::new(LogBuffer::default());
            self.logs.insert(Self::log_key(object), buffer.clone());
            buffer
        })
    }

    /// The newest log lines of an object, also of one that no longer runs.
    pub fn logs(&self, object: &ObjectRef) -> Option<Arc<LogBuffer>> {
        self.logs.get(&Self::log_key(object))
    }

    /// Ends a unit and begins it again. Returns whether there was one.
    pub async fn restart(&self, object: &ObjectRef) -> bool {
        let mut locked = self.lock().await;
        let state = &mut *locked.state;
        let Some((unit, running)) = state.units.remove(object) else { return false };
        running.stop().await;
        let running = self.start(unit.object.clone(), &unit.uid, Task::Work(unit.work.clone()));
        state.units.insert(object.clone(), (unit, running));
        true
    }

    /// Ends everything in order: outputs and recordings first, then cameras, then archives.
    pub async fn shutdown(&self) {
        let mut locked = self.lock().await;
        let state = &mut *locked.state;
        let stop = state.units.keys().cloned().collect();
        let close = state.archives.keys().cloned().collect();
        self.carry_out(state, Difference { stop, close, ..Difference::default() }).await;
    }
}

fn archive_object(key: &ObjectKey) -> ObjectRef {
    ObjectRef { kind: ObjectKind::Archive, key: key.clone() }
}

/// Splits objects into those that read and those that are read from.
fn waves(objects: &[ObjectRef]) -> [Vec<ObjectRef>; 2] {
    let (sources, readers) = objects.iter().cloned().partition(|object| object.kind == ObjectKind::Camera);
    [readers, sources]
}

fn first_report(unit: &Unit) -> UnitReport {
    UnitReport::starting(unit.object.clone(), unit.generation, UtcMicros::from_timestamp(Timestamp::now()))
}

/// Runs a unit and starts it again, with back-off, when it panics.
async fn watch_over(launch: Launch, context: UnitContext, task: Task) {
    let mut delay = RESTART_DELAY.0;
    loop {
        let unit = std::panic::AssertUnwindSafe(launch(context.clone(), task.clone()));
        if unit.catch_unwind().await.is_ok() || context.cancel.is_cancelled() {
            return;
        }
        context.set_state(
            UnitState::Reconnecting,
            Reason::InternalError,
            "this unit failed by a programming error and is started again; the program's log has the details",
        );
        tokio::select! {
            () = context.cancel.cancelled() => return,
            () = tokio::time::sleep(delay) => delay = (delay * 2).min(RESTART_DELAY.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::agent::unit::NoSecrets;
    use crate::plan::unit::Hls;

    fn unit(kind: ObjectKind, name: &str, segment_ms: u64) -> Unit {
        let camera = ObjectKey::new("default", "door");
        let hls = Hls {
            camera,
            segment_ms,
            playlist_segments: 6,
            low_latency: false,
            part_ms: 500,
            audio: true,
            audio_bit_rate: None,
            fallback: None,
            video: None,
        };
        Unit {
            object: ObjectRef { kind, key: ObjectKey::new("default", name) },
            uid: name.into(),
            generation: 1,
            work: Work::Hls(hls),
        }
    }

    fn plan(units: Vec<Unit>) -> Plan {
        Plan { units, ..Plan::new("run") }
    }

    type Journal = Arc<StdMutex<Vec<String>>>;

    fn agent(journal: &Journal) -> Agent {
        let journal = journal.clone();
        Agent::with_launch(
            Arc::new(NoSecrets),
            Arc::new(move |context: UnitContext, _| {
                let journal = journal.clone();
                async move {
                    let name = context.object.key.name.clone();
                    journal.lock().unwrap().push(format!("+{name}"));
                    context.cancel.cancelled().await;
                    journal.lock().unwrap().push(format!("-{name}"));
                }
                .boxed()
            }),
        )
    }

    fn sorted(journal: &Journal) -> Vec<String> {
        let mut lines = journal.lock().unwrap().clone();
        lines.sort();
        lines
    }

    #[tokio::test]
    async fn a_changed_plan_restarts_only_what_changed_and_the_report_names_it() {
        let journal = Journal::default();
        let agent = agent(&journal);
        let stream = ObjectKind::Stream;
        agent.apply(&plan(vec![unit(stream, "a", 1), unit(stream, "b", 1)])).await;
        let second = plan(vec![unit(stream, "a", 1), unit(stream, "b", 2)]);
        agent.apply(&second).await;
        agent.shutdown().await;
        assert_eq!(sorted(&journal), ["+a", "+b", "+b", "-a", "-b", "-b"]);
        assert_eq!(agent.board.report().plan_hash, second.hash());
    }

    #[tokio::test]
    async fn readers_end_before_their_camera() {
        let journal = Journal::default();
        let agent = agent(&journal);
        agent.apply(&plan(vec![unit(ObjectKind::Camera, "door", 1), unit(ObjectKind::Recording, "rec", 1)])).await;
        agent.apply(&plan(Vec::new())).await;
        let lines = journal.lock().unwrap().clone();
        // A task that was cancelled before it was first polled has written both lines only now, still in order.
        assert_eq!(lines.iter().filter(|line| line.starts_with('-')).collect::<Vec<_>>(), ["-rec", "-door"]);
        assert!(agent.board.report().units.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_unit_that_panics_is_started_again_and_takes_nobody_with_it() {
        let attempts = Arc::new(AtomicUsize::new(0));
        let seen = attempts.clone();
        let agent = Agent::with_launch(
            Arc::new(NoSecrets),
            Arc::new(move |context: UnitContext, _| {
                let seen = seen.clone();
                async move {
                    assert!(seen.fetch_add(1, Ordering::SeqCst) >= 2, "the first two attempts fail");
                    context.set_state(UnitState::Running, Reason::Streaming, "");
                    context.cancel.cancelled().await;
                }
                .boxed()
            }),
        );
        let unit = unit(ObjectKind::Stream, "a", 1);
        let object = unit.object.clone();
        let mut changes = agent.board.subscribe();
        agent.apply(&plan(vec![unit])).await;
        while agent.board.unit(&object).map(|report| report.state) != Some(UnitState::Running) {
            changes.changed().await.unwrap();
        }
        assert_eq!(attempts.load(Ordering::SeqCst), 3);
        agent.shutdown().await;
    }
}
