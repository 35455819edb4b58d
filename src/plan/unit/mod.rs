//! What a plan is: the validated list of units that one agent process runs, as versioned JSON. Everything in it is already
//! decided (defaults filled in, references resolved, durations in milliseconds); it holds no secret, only where one is.
//! Must not read anything or start anything.
//!
//! | module | what of it |
//! | --- | --- |
//! | [`object`] | names of objects, and of what they refer to |
//! | [`source`] | where pictures come from |
//! | [`output`] | what streams make of them |
//! | [`archive`] | recordings, and the archives that hold them |

pub mod archive;
pub mod object;
pub mod output;
pub mod source;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::archive::{ArchivePlan, DeclaredRecording, Record, RecordMode, RetentionRules, RetentionSchedule};
pub use self::object::{ConfigMapKey, ObjectKey, ObjectKind, ObjectRef, SecretKey};
pub use self::output::{Fallback, Hls, Mjpeg, Push, PushAudio};
pub use self::source::{Credentials, Engine, Ingest, Location, Reconnect, RtspTransport, Source};

/// The version of the plan's JSON that this program writes. Agents read this one and the one before.
pub const PLAN_VERSION: i32 = 1;

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
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
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
