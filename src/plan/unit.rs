//! What a plan is: the validated list of units that one agent process runs, as versioned JSON. Everything in it is already
//! decided (defaults filled in, references resolved, durations in milliseconds); it holds no secret, only where one is.
//! Must not read anything or start anything.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::transcode::Transcode;

/// The version of the plan's JSON that this program writes. Agents read this one and the one before.
pub const PLAN_VERSION: i32 = 1;

/// The kinds of objects that units belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectKind {
    /// A `Camera`.
    Camera,
    /// A `Stream`.
    Stream,
    /// An `Archive`.
    Archive,
    /// A `Recording`.
    Recording,
    /// An `AlertRoute`; no unit runs for it.
    AlertRoute,
}

impl ObjectKind {
    /// The plural that URLs use.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Camera => "cameras",
            Self::Stream => "streams",
            Self::Archive => "archives",
            Self::Recording => "recordings",
            Self::AlertRoute => "alertroutes",
        }
    }
}

/// Namespace and name of an object whose kind is known from where it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Namespace; `default` where a manifest names none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// An object, whatever its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Kind.
    pub kind: ObjectKind,
    /// Namespace and name.
    #[serde(flatten)]
    pub key: ObjectKey,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} {}", self.kind, self.key)
    }
}

/// All that one agent runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// [`PLAN_VERSION`] of the writer.
    pub version: i32,
    /// Which agent this plan is for (`run`, or the name of the owning object in a cluster).
    pub agent: String,
    /// The archives that this agent owns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<ArchivePlan>,
    /// All recordings declared into those archives, sorted by key, also those for which no unit runs (suspended): retention
    /// keeps to their rules, and takes what is not listed here for orphans.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recordings: Vec<DeclaredRecording>,
    /// The units, sorted by object.
    pub units: Vec<Unit>,
    /// Who may ask this agent for anything; absent = everybody who can reach it, as in `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Where sources may not connect to; absent = anywhere, as in `run`, whose cameras may be on the same machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<SourceGuard>,
}

impl Plan {
    /// A plan of this version without anything to do.
    pub fn new(agent: impl Into<String>) -> Self {
        Self {
            version: PLAN_VERSION,
            agent: agent.into(),
            archives: Vec::new(),
            recordings: Vec::new(),
            units: Vec::new(),
            access: None,
            guard: None,
        }
    }

    /// SHA-256 of the plan's JSON, as 64 lower-case hex digits: what a report names.
    pub fn hash(&self) -> String {
        // Serialisation of our own plain types cannot fail; an empty document would hash differently from any plan.
        let json = serde_json::to_vec(self).unwrap_or_default();
        hex(&Sha256::digest(json))
    }
}

/// Who may ask an agent: callers present a ServiceAccount token (a JWT), which the agent verifies by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// `iss` that a token must carry: the cluster's.
    pub issuer: String,
    /// `aud` that a token must carry, such as `camera-operator.dev/agent`.
    pub audience: String,
    /// The cluster's public keys: a JWK set (RFC 7517 §5), as `/openid/v1/jwks` gives it.
    pub keys: serde_json::Value,
    /// Subjects (`system:serviceaccount:<namespace>:<name>`) that may ask for everything: `/v1/*` and media.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub control: Vec<String>,
    /// Subjects that may ask for media only: `/live/*` and `/recordings/*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<String>,
    /// Whether the pod has its node's network. Then loopback is that of everything on the node, and proves nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub host_network: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Where sources may not connect to, so that a manifest cannot make this agent read what only the cluster should. Loopback,
/// link-local, unspecified and multicast addresses are always refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceGuard {
    /// Refused besides those: IP addresses, such as the API server's, or networks (`10.96.0.0/12`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// Bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A recording that an object declares, whether or not it records now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredRecording {
    /// Its name.
    pub key: ObjectKey,
    /// The archive (same namespace) that holds it.
    pub archive: ObjectKey,
    /// What may be deleted, and when.
    pub retention: RetentionRules,
}

/// One thing that the data plane runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unit {
    /// The object that it belongs to; unique within a plan.
    pub object: ObjectRef,
    /// `metadata.uid`; an archive refuses a recording of another owner.
    pub uid: String,
    /// `metadata.generation` that this unit was planned from.
    pub generation: i64,
    /// What to do.
    pub work: Work,
}

/// What a unit does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Work {
    /// The one connection to a camera.
    Ingest(Ingest),
    /// A stream as HLS.
    Hls(Hls),
    /// A stream as Motion JPEG.
    Mjpeg(Mjpeg),
    /// A stream that is sent to somebody else's server.
    Push(Push),
    /// A recording into an archive.
    Record(Record),
}

/// One connection to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ingest {
    /// Where pictures come from.
    pub source: Source,
    /// No new video frame for this long (or 3 × the measured frame interval, if longer) = stalled.
    pub stall_timeout_ms: u64,
    /// How long a fresh connection may take to its first video frame.
    pub start_timeout_ms: u64,
    /// What happens between attempts.
    pub reconnect: Reconnect,
    /// How much the hub keeps for readers that come late: at least this long, and at least one GOP.
    pub ring_ms: u64,
    /// Upper bound of the hub's ring in bytes of payload.
    pub ring_bytes: u64,
}

/// Exponential back-off with jitter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconnect {
    /// Before the second attempt.
    pub initial_delay_ms: u64,
    /// Never longer than this.
    pub max_delay_ms: u64,
    /// After so many attempts in a row without a frame the unit stops with `ReconnectLimitReached`; absent = for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<i32>,
}

/// A key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Namespace of the Secret (the object's own).
    pub namespace: String,
    /// Name of the Secret.
    pub name: String,
    /// Key within its data.
    pub key: String,
}

/// A URL, or where one is kept secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Location {
    /// In the open; never holds `user:password@`.
    Url(String),
    /// The URL itself is the secret.
    Secret(SecretKey),
}

/// User name and password, each in a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Where the user name is.
    pub username: SecretKey,
    /// Where the password is.
    pub password: SecretKey,
}

/// Where pictures come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Source {
    /// RTSP (RFC 2326, RFC 7826).
    Rtsp {
        /// `rtsp://` or `rtsps://`.
        location: Location,
        /// How RTP travels.
        transport: RtspTransport,
        /// For digest or basic authentication.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credentials: Option<Credentials>,
        /// Which driver reads it.
        #[serde(default, skip_serializing_if = "Engine::is_auto")]
        engine: Engine,
    },
    /// Motion JPEG over HTTP (`multipart/x-mixed-replace`) or a progressive file.
    Http {
        /// `http://` or `https://`.
        location: Location,
        /// For basic or digest authentication.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credentials: Option<Credentials>,
    },
    /// An HLS playlist (RFC 8216).
    Hls {
        /// `http://` or `https://`.
        location: Location,
        /// For basic or digest authentication.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credentials: Option<Credentials>,
    },
    /// RTMP, pulled from a server.
    Rtmp {
        /// `rtmp://` or `rtmps://`.
        location: Location,
    },
    /// SRT, as caller.
    Srt {
        /// `srt://host:port`.
        location: Location,
        /// Passphrase of the session.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        passphrase: Option<SecretKey>,
        /// Stream identifier.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream_id: Option<String>,
        /// Receiver's latency.
        latency_ms: u64,
    },
    /// A Video4Linux2 device.
    V4l2 {
        /// Such as `/dev/video0`.
        device: String,
        /// What to ask of the device: `mjpeg`, `h264`, `yuyv422`, … ; absent = its own choice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input_format: Option<String>,
        /// Width in pixels; absent = the device's choice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        width: Option<i32>,
        /// Height in pixels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        height: Option<i32>,
        /// Frames a second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        frames_per_second: Option<i32>,
    },
    /// A synthetic picture with a clock in it, and a tone.
    Test {
        /// Width in pixels.
        width: i32,
        /// Height in pixels.
        height: i32,
        /// Frames a second.
        frames_per_second: i32,
        /// Key-frame distance.
        key_frame_interval_ms: u64,
        /// Whether there is sound.
        audio: bool,
        /// Text in the picture; the camera's name by default.
        text: String,
    },
    /// The hub of another agent, for a camera whose one connection is there.
    Hub {
        /// Base URL of that agent's HTTP interface, such as `http://front-door-camera.shop.svc:9090`; the camera's frames are at
        /// `/v1/cameras/{namespace}/{name}/live.mp4` beneath it.
        address: String,
    },
}

/// Which driver reads an RTSP camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Engine {
    /// The native one, or FFmpeg where it cannot.
    #[default]
    Auto,
    /// The native one.
    Native,
    /// FFmpeg.
    FFmpeg,
}

impl Engine {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
    const fn is_auto(&self) -> bool {
        matches!(self, Self::Auto)
    }
}

/// How RTP travels in an RTSP session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RtspTransport {
    /// Interleaved in the RTSP connection.
    #[serde(rename = "TCP")]
    Tcp,
    /// RTP over UDP.
    #[serde(rename = "UDP")]
    Udp,
}

/// HLS from the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hls {
    /// The camera in the same namespace whose hub is read.
    pub camera: ObjectKey,
    /// Segments are cut at the first key frame at or after this.
    pub segment_ms: u64,
    /// How many segments a playlist lists.
    pub playlist_segments: u32,
    /// Low-Latency HLS.
    pub low_latency: bool,
    /// Low latency only: target of a part.
    pub part_ms: u64,
    /// Whether sound is carried.
    pub audio: bool,
    /// How pictures are encoded; absent = by copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Transcode>,
    /// What is shown while the camera is away; absent = nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Box<Fallback>>,
}

/// What is shown while a camera is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// Without a new picture for this long (or 3 × the distance of the camera's pictures, if longer) the slate is shown.
    pub after_ms: u64,
    /// What stands above the text: the camera's name.
    pub title: String,
    /// What stands in the middle.
    pub text: String,
    /// A picture that is shown instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ConfigMapKey>,
}

/// A key of a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKey {
    /// Namespace of the ConfigMap (the object's own).
    pub namespace: String,
    /// Name of the ConfigMap.
    pub name: String,
    /// Key within its data.
    pub key: String,
}

/// Motion JPEG from the hub; re-encoded unless the camera sends JPEG and no size is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mjpeg {
    /// The camera whose hub is read.
    pub camera: ObjectKey,
    /// At most so many pictures a second.
    pub frames_per_second: i32,
    /// FFmpeg's `-q:v` scale, 2 (best) to 31.
    pub quality: i32,
    /// Width to scale to, keeping the aspect ratio; absent = the camera's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<i32>,
}

/// A push from the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Push {
    /// The camera whose hub is read.
    pub camera: ObjectKey,
    /// Where it is sent, without any secret; the scheme is the protocol.
    pub url: String,
    /// The stream key (RTMP) or stream identifier (SRT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_key: Option<SecretKey>,
    /// Passphrase of an SRT session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<SecretKey>,
    /// What becomes of the sound.
    pub audio: PushAudio,
    /// Bits a second of sound that is encoded.
    pub audio_bit_rate: u64,
    /// How pictures are encoded; absent = by copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Transcode>,
    /// What happens between attempts.
    pub reconnect: Reconnect,
    /// What is sent while the camera is away; absent = nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Box<Fallback>>,
}

/// What becomes of the sound of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PushAudio {
    /// Copied where the protocol carries it, else AAC; silence where the target wants sound and there is none.
    Auto,
    /// As the camera sends it, if it sends any.
    Copy,
    /// AAC; silence where the target wants sound and there is none.
    #[serde(rename = "AAC")]
    Aac,
    /// Left out.
    None,
}

/// A recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The camera whose hub is read.
    pub camera: ObjectKey,
    /// The archive (same namespace) that it goes to.
    pub archive: ObjectKey,
    /// Around the clock, or one clip.
    pub mode: RecordMode,
    /// Whether sound is recorded.
    pub audio: bool,
    /// How pictures are encoded; absent = by copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Transcode>,
    /// What may be deleted, and when.
    pub retention: RetentionRules,
    /// Whether to take over the folder that another owner left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopt: bool,
}

/// How a recording runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RecordMode {
    /// Files of about this length, for ever.
    Continuous {
        /// A file is cut at the first random access point at or after this.
        segment_ms: u64,
    },
    /// ONE MP4 file of this length.
    Clip {
        /// Length; the deadline is absolute from the persisted start.
        duration_ms: u64,
        /// Asked to end early.
        stop: bool,
    },
}

/// The retention rules of one recording; absent = that rule deletes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct RetentionRules {
    /// A file whose last frame is older is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    /// Oldest files are deleted until the recording is no larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

/// An archive that the agent owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchivePlan {
    /// Its name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// Folder of the volume.
    pub root: String,
    /// Below so many free bytes the recorder deletes oldest-first within the retention rules.
    pub min_free_bytes: u64,
    /// When retention runs.
    pub retention: RetentionSchedule,
}

/// When an archive's retention runs, and what happens to recordings that nobody declares any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionSchedule {
    /// Cron syntax, five fields.
    pub schedule: String,
    /// IANA time zone.
    pub time_zone: String,
    /// Recordings without an object are deleted when their newest file is older; absent = kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphans_ms: Option<u64>,
    /// Somebody else asks for retention at those times (a cluster's job): the recorder itself begins only when nobody has for so
    /// long. Absent = it begins by itself, on time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdue_ms: Option<u64>,
}
