//! What the gateway knows of the world: objects with their status, and what may be asked of them. Implemented in memory by
//! `run` and on the Kubernetes API in a cluster. Must not know of HTTP, and nobody who implements it may be asked to.
//!
//! Media does not pass through here: its routes are handed to [`super::router`] ready made.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::plan::report::{MediaFacts, Reason, UnitState};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// An object as Kubernetes shapes it: `apiVersion`, `kind`, `metadata`, `spec`, `status`. Shared, because lists of many
/// objects are handed out often.
pub type Object = Arc<Value>;

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its metadata, spec or status changed.
    Modified,
    /// It is gone; the object is as it was last.
    Deleted,
}

/// A change of one object, as a Kubernetes watch tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Which object.
    pub reference: ObjectRef,
    /// What became of it.
    pub kind: ChangeKind,
    /// The object after the change.
    pub object: Object,
    /// Version of the collection that this change made; grows with every change.
    pub version: u64,
}

/// All objects at one instant.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// Version of the collection.
    pub version: u64,
    /// The objects, sorted by kind, namespace and name.
    pub objects: Vec<(ObjectRef, Object)>,
}

/// What a watch brings.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// Everything: at the start of a watch, and again when the watcher was too slow to be told every change.
    Snapshot(Snapshot),
    /// One change.
    Change(Change),
}

/// What people may do to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `spec.suspend: false`.
    Start,
    /// `spec.suspend: true`; a clip ends: its file is completed.
    Stop,
    /// Ends what runs for the object and begins it again; changes no spec.
    Restart,
}

impl Action {
    /// The last part of its URL.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

/// Why something asked of the world could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// There is no such object.
    #[error("there is no {0}")]
    NotFound(ObjectRef),
    /// The object's state or kind forbids it; the sentence says what to do instead.
    #[error("{0}")]
    Conflict(String),
    /// Not now: the camera, the recorder or a program is not there.
    #[error("{message}")]
    Unavailable {
        /// Why.
        reason: Reason,
        /// One sentence.
        message: String,
    },
    /// Something of ours or of the machine failed.
    #[error("{0}")]
    Failed(String),
}

/// A line of an object's log. Redacted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// When, RFC 3339, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `info`, `warning` or `error`.
    pub level: String,
    /// What happened.
    pub message: String,
}

/// A still picture of a camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// A JPEG image.
    pub jpeg: Bytes,
    /// When it was captured.
    pub captured: Timestamp,
}

/// How a connection test was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub enum TestMethod {
    /// The camera is connected already: its frames were watched, no second connection was opened.
    RunningConnection,
    /// The camera is between attempts: what the latest attempt said.
    LatestAttempt,
    /// Nothing was connected (suspended or given up): one connection was opened for the test and closed again.
    TestConnection,
}

/// What a connection test found.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CameraTest {
    /// Whether pictures come.
    pub ok: bool,
    /// How it was found out.
    pub method: TestMethod,
    /// What the camera's unit was doing: `Starting`, `Running`, `Waiting`, `Reconnecting`, `Complete`, `Failed`.
    #[schema(value_type = String, example = "Running")]
    pub state: UnitState,
    /// The condition reason.
    #[schema(value_type = String, example = "Streaming")]
    pub reason: Reason,
    /// The numeric code of the reason, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// One sentence for a person.
    pub message: String,
    /// How long things took.
    pub timings: TestTimings,
    /// What the camera sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub media: Option<MediaFacts>,
    /// Payload of all tracks while the test watched, in bits a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_rate: Option<u64>,
    /// How often the source was connected again since the camera's unit started.
    pub reconnects: u64,
}

/// How long the steps of a connection test took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct TestTimings {
    /// From the beginning of the test to its end.
    pub total: u64,
    /// From opening the connection to the first picture (a test connection only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_frame: Option<u64>,
    /// From the beginning of the test to the next picture (a running connection only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_frame: Option<u64>,
    /// How long the present connection has stood (a running connection only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected: Option<u64>,
}

/// How the system as a whole is doing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `Healthy`, or `Degraded` while an object is not ready or a program is missing.
    pub status: HealthStatus,
    /// Of this program.
    pub version: String,
    /// When it was started, RFC 3339, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// Whole seconds since then.
    pub uptime_seconds: u64,
    /// How many objects there are, and how many are well.
    pub objects: ObjectCounts,
    /// What is wrong, one sentence each, for a person; manifests that cannot be read, programs that are missing.
    pub problems: Vec<String>,
    /// FFmpeg, without which no camera can be read.
    pub ffmpeg: ProgramHealth,
    /// One for each archive that is open.
    pub storage: Vec<StorageHealth>,
    /// What runs.
    pub processes: ProcessesHealth,
    /// The machine, as far as it can be known.
    pub system: SystemHealth,
}

/// Whether all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub enum HealthStatus {
    /// All is as it should be.
    Healthy,
    /// Something needs attention.
    Degraded,
}

/// Objects by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct ObjectCounts {
    /// All objects.
    pub total: u64,
    /// Those that are ready or complete.
    pub ready: u64,
    /// Those that are suspended on purpose.
    pub suspended: u64,
    /// The others.
    pub not_ready: u64,
}

/// A program that is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct ProgramHealth {
    /// Whether it can be run.
    pub present: bool,
    /// What it says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// An archive's volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageHealth {
    /// Namespace of the archive.
    pub namespace: String,
    /// Name of the archive.
    pub name: String,
    /// Whether it can be written.
    pub ready: bool,
    /// Why not, or what is odd.
    pub message: String,
    /// Free bytes of the volume.
    pub free_bytes: u64,
    /// Size of the volume.
    pub total_bytes: u64,
}

/// The processes of this program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct ProcessesHealth {
    /// This process and all that it started.
    pub count: u64,
    /// One each; without arguments, which may tell more than they should.
    pub processes: Vec<ProcessHealth>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessHealth {
    /// Process id.
    pub pid: u32,
    /// Name of the program.
    pub name: String,
    /// Memory that is resident.
    pub resident_bytes: u64,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct SystemHealth {
    /// Processors that this program may use.
    pub processors: u64,
    /// Processes that want to run, averaged over 1, 5 and 15 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_average: Option<[f64; 3]>,
    /// Memory of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_total_bytes: Option<u64>,
    /// Memory that programs could still get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_available_bytes: Option<u64>,
}

/// What the gateway stands before.
pub trait World: Send + Sync + 'static {
    /// The objects of one kind, or of all, in one namespace, or in all.
    fn list(&self, kind: Option<ObjectKind>, namespace: Option<&str>) -> Snapshot;

    /// One object.
    fn get(&self, reference: &ObjectRef) -> Option<Object>;

    /// Every change from now on, after a snapshot. With `since` a version that is remembered still, the changes after it
    /// come in place of the snapshot. Ends when the program does.
    fn watch(&self, since: Option<u64>) -> BoxStream<'static, Update>;

    /// Does something to an object and returns it as it then is.
    fn act<'a>(&'a self, reference: &'a ObjectRef, action: Action) -> BoxFuture<'a, Result<Object, WorldError>>;

    /// The newest log lines of an object, oldest first.
    fn logs<'a>(&'a self, reference: &'a ObjectRef) -> BoxFuture<'a, Result<Vec<LogLine>, WorldError>>;

    /// The latest picture of a camera.
    fn picture<'a>(&'a self, camera: &'a ObjectKey) -> BoxFuture<'a, Result<Picture, WorldError>>;

    /// Tests the connection to a camera.
    fn test<'a>(&'a self, camera: &'a ObjectKey) -> BoxFuture<'a, Result<CameraTest, WorldError>>;

    /// How the system is doing.
    fn health(&self) -> BoxFuture<'_, Health>;

    /// Whether requests can be answered meaningfully: the objects have been read once.
    fn ready(&self) -> bool;
}
