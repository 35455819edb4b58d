//! The gateway's world in `run`: the store, the control plane and the agent of this process.

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde_json::Value;

use super::control::Control;
use super::machine;
use super::probe::Probes;
use super::state::Field;
use crate::agent::output::snapshot::{SnapshotError, snapshot};
use crate::gateway::metrics::is_ready;
use crate::gateway::world::{
    Action, CameraTest, Health, HealthStatus, LogLine, Object, ObjectCounts, Picture, Snapshot, StorageHealth, Update,
    World, WorldError,
};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// `run`, as the gateway sees it.
#[derive(Debug)]
pub struct LocalWorld {
    control: Arc<Control>,
    probes: Arc<Probes>,
    started: Timestamp,
    began: Instant,
}

/// What an action on an object comes to.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Set a field of its spec.
    Set(Field, bool),
    /// End its unit and begin it again.
    Restart,
    /// It cannot be done; why, and what to do instead.
    Refuse(String),
}

/// What an action on an object comes to.
fn decide(kind: ObjectKind, object: &Value, action: Action) -> Decision {
    let suspended = Field::Suspend.read(object);
    let is_clip = object["spec"]["clip"].is_object();
    let has_ended = is_clip && (Field::ClipStop.read(object) || is_complete(object));
    match (kind, action) {
        (ObjectKind::Archive, _) => Decision::Refuse(
            "An archive cannot be started or stopped: it is open as long as it is declared. Stop its recordings instead.".into(),
        ),
        (ObjectKind::AlertRoute, _) => Decision::Refuse(
            "An alert route cannot be started or stopped: it is in force as long as it is declared. Remove its manifest instead.".into(),
        ),
        (ObjectKind::Recording, Action::Start | Action::Restart) if has_ended => Decision::Refuse(
            "This clip has ended, and a clip is recorded once. Declare another Recording for the next one.".into(),
        ),
        (ObjectKind::Recording, Action::Stop) if is_clip => Decision::Set(Field::ClipStop, true),
        (_, Action::Start) => Decision::Set(Field::Suspend, false),
        (_, Action::Stop) => Decision::Set(Field::Suspend, true),
        (_, Action::Restart) if suspended => {
            Decision::Refuse("It is suspended, so nothing runs that could be restarted. Start it instead.".into())
        }
        (_, Action::Restart) => Decision::Restart,
    }
}

fn is_complete(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Complete" && one["status"] == "True"))
}

impl LocalWorld {
    /// The world of `control`.
    pub fn new(control: Arc<Control>) -> Self {
        let probes = Arc::new(Probes::new(control.clone()));
        Self { control, probes, started: Timestamp::now(), began: Instant::now() }
    }

    fn existing(&self, reference: &ObjectRef) -> Result<Object, WorldError> {
        self.control.store.get(reference).ok_or_else(|| WorldError::NotFound(reference.clone()))
    }

    async fn carry_out(&self, reference: &ObjectRef, action: Action) -> Result<Object, WorldError> {
        let object = self.existing(reference)?;
        // What has begun is finished even when the client goes away: a restart that stops half-way leaves nothing running.
        let (control, target) = (self.control.clone(), reference.clone());
        match decide(reference.kind, &object, action) {
            Decision::Refuse(why) => return Err(WorldError::Conflict(why)),
            Decision::Set(field, value) => {
                let set = tokio::spawn(async move { control.set(&target, field, value).await }).await;
                if !set.unwrap_or(false) {
                    return Err(WorldError::NotFound(reference.clone()));
                }
            }
            Decision::Restart => {
                let restarted = tokio::spawn(async move { control.agent.restart(&target).await }).await;
                if !restarted.unwrap_or(false) {
                    let why = "Nothing runs for this object that could be restarted; its conditions say why.";
                    return Err(WorldError::Conflict(why.into()));
                }
            }
        }
        self.existing(reference)
    }

    async fn measure(&self) -> Health {
        let objects = self.control.store.list(None, None).objects;
        let suspended = |object: &Value| Field::Suspend.read(object);
        let mut counts = ObjectCounts { total: objects.len() as u64, ..ObjectCounts::default() };
        for (_, object) in &objects {
            let counter = match (is_ready(object), suspended(object)) {
                (true, _) => &mut counts.ready,
                (false, true) => &mut counts.suspended,
                (false, false) => &mut counts.not_ready,
            };
            *counter += 1;
        }
        let storage: Vec<_> = self
            .control
            .agent
            .board
            .report()
            .archives
            .into_iter()
            .map(|archive| StorageHealth {
                namespace: archive.key.namespace,
                name: archive.key.name,
                ready: archive.ready,
                message: archive.message,
                free_bytes: archive.free_bytes,
                total_bytes: archive.total_bytes,
            })
            .collect();
        let ffmpeg = machine::ffmpeg().await;
        let mut problems = self.control.problems();
        if !ffmpeg.present {
            problems.push(machine::FFMPEG_MISSING.to_owned());
        }
        let is_well = problems.is_empty() && counts.not_ready == 0 && storage.iter().all(|archive| archive.ready);
        let (processes, system) =
            tokio::task::spawn_blocking(|| (machine::processes(), machine::system())).await.unwrap_or_default();
        Health {
            status: if is_well { HealthStatus::Healthy } else { HealthStatus::Degraded },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            uptime_seconds: self.began.elapsed().as_secs(),
            objects: counts,
            problems,
            ffmpeg,
            storage,
            processes,
            system,
        }
    }
}

impl World for LocalWorld {
    fn list(&self, kind: Option<ObjectKind>, namespace: Option<&str>) -> Snapshot {
        self.control.store.list(kind, namespace)
    }

    fn get(&self, reference: &ObjectRef) -> Option<Object> {
        self.control.store.get(reference)
    }

    fn watch(&self, since: Option<u64>) -> BoxStream<'static, Update> {
        self.control.store.watch(since)
    }

    fn act<'a>(&'a self, reference: &'a ObjectRef, action: Action) -> BoxFuture<'a, Result<Object, WorldError>> {
        self.carry_out(reference, action).boxed()
    }

    fn logs<'a>(&'a self, reference: &'a ObjectRef) -> BoxFuture<'a, Result<Vec<LogLine>, WorldError>> {
        let logs = self.existing(reference).map(|_| {
            let lines = self.control.agent.logs(reference).map(|buffer| buffer.lines()).unwrap_or_default();
            let line = |line: crate::agent::unit::LogLine| LogLine {
                at: line.at,
                level: line.level.to_owned(),
                message: line.message,
            };
            lines.into_iter().map(line).collect()
        });
        std::future::ready(logs).boxed()
    }

    fn picture<'a>(&'a self, camera: &'a ObjectKey) -> BoxFuture<'a, Result<Picture, WorldError>> {
        async move {
            let reference = ObjectRef { kind: ObjectKind::Camera, key: camera.clone() };
            self.existing(&reference)?;
            match snapshot(&self.control.agent.registry, camera).await {
                Ok(picture) => Ok(Picture { jpeg: picture.jpeg, captured: picture.captured.timestamp() }),
                Err(SnapshotError::NoCamera | SnapshotError::NoVideo) => {
                    let (reason, message) = self.control.reason(&reference);
                    Err(WorldError::Unavailable { reason, message: format!("There is no picture now: {message}") })
                }
                Err(error) => Err(WorldError::Unavailable { reason: error.reason(), message: error.to_string() }),
            }
        }
        .boxed()
    }

    fn test<'a>(&'a self, camera: &'a ObjectKey) -> BoxFuture<'a, Result<CameraTest, WorldError>> {
        async move {
            self.existing(&ObjectRef { kind: ObjectKind::Camera, key: camera.clone() })?;
            self.probes.clone().test(camera.clone()).await
        }
        .boxed()
    }

    fn health(&self) -> BoxFuture<'_, Health> {
        self.measure().boxed()
    }

    fn ready(&self) -> bool {
        self.control.is_ready()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn actions_by_kind_and_state() {
        use Action::{Restart, Start, Stop};
        use ObjectKind::{Archive, Camera, Recording, Stream};
        let running = json!({"spec": {}});
        let suspended = json!({"spec": {"suspend": true}});
        let clip = json!({"spec": {"clip": {"duration": "90m"}}});
        let stopped = json!({"spec": {"clip": {"stop": true}}});
        let complete =
            json!({"spec": {"clip": {}}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}});
        let (suspend, resume) = (Decision::Set(Field::Suspend, true), Decision::Set(Field::Suspend, false));
        assert_eq!(decide(Camera, &running, Stop), suspend);
        assert_eq!(decide(Stream, &suspended, Start), resume);
        assert_eq!(decide(Recording, &running, Stop), suspend);
        assert_eq!(decide(Recording, &clip, Stop), Decision::Set(Field::ClipStop, true));
        assert_eq!(decide(Recording, &clip, Start), resume);
        assert_eq!(decide(Recording, &clip, Restart), Decision::Restart);
        for (kind, object, action) in [
            (Archive, &running, Stop),
            (Archive, &running, Restart),
            (Recording, &stopped, Start),
            (Recording, &complete, Start),
            (Recording, &complete, Restart),
            (Camera, &suspended, Restart),
        ] {
            assert!(matches!(decide(kind, object, action), Decision::Refuse(_)), "{kind:?} {object} {action:?}");
        }
    }
}
