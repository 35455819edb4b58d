//! What an agent says of its units, as JSON: the contract back from the data plane. States, reasons and figures, never a
//! credential. Must not decide what a condition says (that is `plan::status`); it only carries facts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unit::{ObjectKey, ObjectRef};
use crate::media::frame::UtcMicros;

/// All that an agent has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`super::unit::Plan::hash`] of the plan that runs.
    pub plan_hash: String,
    /// Counts every change; what a long poll hands back as `since`.
    pub sequence: u64,
    /// Why the newest plan could not be read, while the one before it goes on running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_problem: Option<String>,
    /// One for each unit, sorted by object.
    pub units: Vec<UnitReport>,
    /// One for each archive that the agent owns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<ArchiveReport>,
}

/// How a unit is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitReport {
    /// Whose unit.
    pub object: ObjectRef,
    /// `metadata.generation` that the running unit was planned from.
    pub generation: i64,
    /// What it is doing.
    pub state: UnitState,
    /// Why, when it is not what one would wish.
    pub reason: Reason,
    /// One sentence for a person; what is wrong and what to do. Redacted.
    pub message: String,
    /// When `state` was entered.
    pub since: UtcMicros,
    /// Conditions beside the state that hold now, such as `LongKeyframeInterval` or `UnlistedTrack`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
    /// How often the source was connected again since the unit started.
    pub reconnects: u64,
    /// What the camera sends; ingest units only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<MediaFacts>,
    /// What is recorded; recording units only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingFacts>,
    /// How a push is doing; push units only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushFacts>,
    /// Whether a slate is shown; units with a fallback only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackFacts>,
}

impl UnitReport {
    /// Of a unit that has just been started, and has nothing to say yet.
    pub fn starting(object: ObjectRef, generation: i64, since: UtcMicros) -> Self {
        Self {
            object,
            generation,
            state: UnitState::Starting,
            reason: Reason::Connecting,
            message: "starting".into(),
            since,
            notices: Vec::new(),
            reconnects: 0,
            media: None,
            recording: None,
            push: None,
            fallback: None,
        }
    }
}

/// What a unit is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnitState {
    /// Connecting for the first time, or waiting for its first frame.
    Starting,
    /// Frames flow.
    Running,
    /// Waiting for something else: a camera, a key frame.
    Waiting,
    /// Between two attempts.
    Reconnecting,
    /// Ended by design (a clip that is complete).
    Complete,
    /// Given up; needs a person.
    Failed,
}

/// Why a unit is in its state: the condition reasons. The number is the code of the documented table, where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    /// All is well.
    Streaming,
    /// A stream is served, and shows its slate because the camera sends no pictures.
    Slate,
    /// A recording writes.
    Recording,
    /// Not yet a first frame.
    Connecting,
    /// The device refuses connections or its name does not resolve.
    Unreachable,
    /// The device answered, but no video frame came within `startTimeout`.
    NoVideo,
    /// No new video frame within `stallTimeout`.
    Stalled,
    /// The device refuses user name or password (401, 403).
    CredentialRefused,
    /// The device does not know the path (404).
    NotFound,
    /// A Secret or key that the object names does not exist.
    SecretMissing,
    /// The source ended by itself.
    SourceEnded,
    /// FFmpeg failed in a way that has no reason of its own.
    FFmpegFailed,
    /// FFmpeg is not installed.
    FFmpegMissing,
    /// The target of a push does not answer, or ended the connection before there was a session.
    TargetUnreachable,
    /// The target of a push answers and refuses: the stream key, the passphrase or the path is wrong.
    PushRefused,
    /// The target of a push has another session for the same stream key.
    TargetBusy,
    /// The target of a push has taken nothing for a while; its session is ended and begun again.
    PushStalled,
    /// The target of a push ended the session.
    PushEnded,
    /// `reconnect.maxAttempts` is used up.
    ReconnectLimitReached,
    /// The output cannot carry the camera's codec by copy.
    CodecNotCarried,
    /// The host's clock was stepped; the run was ended and begun again.
    ClockStepped,
    /// The camera's configuration changed in mid-stream.
    ConfigurationChanged,
    /// The camera is not in the plan or is suspended.
    CameraUnavailable,
    /// The archive is not in the plan, or cannot be opened.
    ArchiveUnavailable,
    /// Another process holds the archive's lock.
    ArchiveLocked,
    /// The recording's folder belongs to another owner.
    ArchiveOwnedByAnother,
    /// The volume is full and nothing may be deleted.
    ArchiveFull,
    /// The archive cannot be written (IO error).
    ArchiveWriteFailed,
    /// Retention holds files back that its rules name, until a person confirms.
    RetentionWithheld,
    /// Pictures are there, but the key frame that they need is not.
    Undecodable,
    /// Too slow a disk: the recorder fell out of the hub's ring.
    RecorderOverrun,
    /// A clip was stopped by its owner.
    Stopped,
    /// A clip reached its deadline.
    DeadlineReached,
    /// Stopped on purpose (plan changed, shutting down).
    ShuttingDown,
    /// `spec.suspend`.
    Suspended,
    /// The recorder was not running (crash, power loss, upgrade).
    RecorderDown,
    /// Planned, and not yet taken up by the agent.
    Pending,
    /// More clips are declared in the namespace than may run at once; this one begins when another has ended.
    ClipLimitReached,
    /// In a cluster, an archive whose spec names no volume.
    ClaimMissing,
    /// In a cluster, a V4L2 camera whose spec names no device resource.
    DeviceMissing,
    /// In a cluster, something else has the name of what is to be made for the object.
    NameTaken,
    /// In a cluster, the API server refuses what is to be made for the object.
    ChildRefused,
    /// In a cluster, the agent runs and cannot be asked how it is doing.
    ReportUnavailable,
    /// In a cluster, the agent cannot read its newest plan and goes on with the one before.
    PlanRefused,
    /// In a cluster, no node takes the pod.
    Unschedulable,
    /// In a cluster, the image of the pod cannot be pulled.
    ImagePullFailed,
    /// In a cluster, no pod can be made, because of a quota or a policy.
    PodRefused,
    /// In a cluster, the pod was ended from outside, or its container cannot be made.
    PodFailed,
    /// In a cluster, a volume of the pod cannot be attached or mounted.
    MountFailed,
    /// In a cluster, the pod has a node and has not started there yet.
    PodStarting,
    /// In a cluster, the pod's container ends again and again.
    PodCrashing,
    /// In a cluster, the pod's container needs more memory than it may have.
    OutOfMemory,
    /// In a cluster, the claim has no volume.
    ClaimPending,
    /// An alert route is in force, and its receivers take what is sent to them.
    Delivering,
    /// A receiver of an alert route does not take its messages.
    DeliveryFailed,
    /// The object's spec cannot be planned; only one that came around the schema can be like that.
    InvalidSpec,
    /// A programming error in this program; the unit is started again.
    InternalError,
}

impl Reason {
    /// As conditions, gaps and logs write it.
    pub fn name(self) -> String {
        // The variants are named as users see them.
        format!("{self:?}")
    }

    /// The reason of a name, as gaps are written down; one that nobody knows was written by another version, and all that is
    /// certain is that nothing was recorded.
    pub fn parse(name: &str) -> Self {
        serde_json::from_value(serde_json::Value::String(name.to_owned())).unwrap_or(Self::RecorderDown)
    }

    /// The numeric code that users of the replaced systems know: 101 camera unreachable, 102 FFmpeg failed or the target
    /// of a push is not there, 103 refused credentials, 104 reconnect limit, 201 alert delivery failed.
    pub const fn code(self) -> Option<u16> {
        match self {
            Self::Unreachable | Self::NoVideo | Self::Stalled | Self::NotFound | Self::SourceEnded => Some(101),
            Self::FFmpegFailed
            | Self::FFmpegMissing
            | Self::TargetUnreachable
            | Self::TargetBusy
            | Self::PushStalled
            | Self::PushEnded => Some(102),
            Self::CredentialRefused | Self::PushRefused => Some(103),
            Self::ReconnectLimitReached => Some(104),
            Self::DeliveryFailed => Some(201),
            _ => None,
        }
    }
}

/// Something beside the state that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Condition type, such as `LongKeyframeInterval`.
    pub kind: String,
    /// One sentence.
    pub message: String,
}

/// What a camera sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MediaFacts {
    /// `H264`, `H265`, `MJPEG`.
    pub video_codec: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Measured, frames a second, in thousandths.
    pub frames_per_second_milli: u32,
    /// `AAC`, `Opus`; absent = no sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_codec: Option<String>,
}

/// How a push is doing, as far as it changes rarely; what moves all the time is in metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushFacts {
    /// What is sent.
    pub mode: PushMode,
    /// Since when the session with the target lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<UtcMicros>,
    /// Bits a second that the target takes, over the last minute of the session, rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bit_rate: Option<u64>,
    /// Frames that were left out because the target took too little, since the unit started.
    #[serde(default)]
    pub dropped_frames: u64,
}

impl PushFacts {
    /// Of a push without a session.
    pub const fn new(mode: PushMode) -> Self {
        Self { mode, since: None, bit_rate: None, dropped_frames: 0 }
    }
}

/// What a push sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PushMode {
    /// The camera's pictures.
    Camera,
    /// The slate, because the camera sends nothing.
    Slate,
    /// Nothing, because the camera sends nothing and there is no slate; the session is there.
    Paused,
    /// Nothing: there is no session.
    Reconnecting,
}

impl PushMode {
    /// As status and metrics write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Camera => "Camera",
            Self::Slate => "Slate",
            Self::Paused => "Paused",
            Self::Reconnecting => "Reconnecting",
        }
    }

    /// All of them.
    pub const ALL: [Self; 4] = [Self::Camera, Self::Slate, Self::Paused, Self::Reconnecting];
}

/// What viewers of a stream with a fallback see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FallbackFacts {
    /// What is shown.
    pub mode: FallbackMode,
    /// Since when the slate is shown, while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<UtcMicros>,
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FallbackMode {
    /// The camera's pictures.
    Camera,
    /// The slate.
    Slate,
}

impl FallbackMode {
    /// As status and metrics write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Camera => "Camera",
            Self::Slate => "Slate",
        }
    }
}

/// What a recording has written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct RecordingFacts {
    /// First frame of a clip, or when the recording object's folder was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<UtcMicros>,
    /// A clip's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<UtcMicros>,
    /// A clip's progress, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_percent: Option<u8>,
    /// Share of the last closed UTC hour that is held, in parts per million.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage_hour_ppm: Option<u32>,
    /// Share of the last closed UTC day that is held, in parts per million.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage_day_ppm: Option<u32>,
    /// The newest gaps, newest last, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_gaps: Vec<GapFact>,
    /// Of the last retention run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionFacts>,
}

/// A span without video.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GapFact {
    /// First instant not held.
    pub from: UtcMicros,
    /// First instant held again.
    pub to: UtcMicros,
    /// Why.
    pub reason: Reason,
}

/// What a retention run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionFacts {
    /// When.
    pub last_run: UtcMicros,
    /// Files deleted.
    pub deleted_segments: u64,
    /// Bytes deleted.
    pub deleted_bytes: u64,
}

/// How an archive is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveReport {
    /// Whose.
    pub key: ObjectKey,
    /// `metadata.generation` in force.
    pub generation: i64,
    /// Whether it can be written.
    pub ready: bool,
    /// Why not, or what is odd.
    pub reason: Reason,
    /// One sentence.
    pub message: String,
    /// Free bytes of the volume.
    pub free_bytes: u64,
    /// Size of the volume.
    pub total_bytes: u64,
    /// Of the last retention run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionFacts>,
}
