//! `Recording`: a camera's pictures on disk, around the clock or as one clip.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::archive::RetentionStatus;
use super::condition::{Condition, Time};
use super::duration::{self, Duration};
use super::quantity::{self, Quantity};
use super::reference::{self, ObjectReference};
use super::rule::exactly_one_of;
use super::stream::{Audio, Video};

/// What is wanted of a recording.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "camera-operator.dev",
    version = "v1alpha1",
    kind = "Recording",
    plural = "recordings",
    shortname = "rec",
    category = "video",
    namespaced,
    status = "RecordingStatus",
    derive = "PartialEq",
    doc = "A camera's pictures on disk, around the clock or as one clip.",
    validation = reference::name_rule(),
    printcolumn(name = "Camera", type_ = "string", json_path = ".spec.cameraRef.name"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.conditions[?(@.type==\"Ready\")].lastTransitionTime"),
    printcolumn(name = "Progress", type_ = "integer", json_path = ".status.progressPercent"),
    printcolumn(name = "Coverage", type_ = "string", json_path = ".status.coverage.lastDay"),
    printcolumn(name = "Archive", type_ = "string", json_path = ".spec.archiveRef.name", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one_of(
    &["continuous", "clip"],
    "must hold exactly one of continuous and clip: write continuous: {} to record around the clock, or clip: {duration: 90m} for one file"
))]
pub struct RecordingSpec {
    /// The camera whose pictures are recorded.
    pub camera_ref: ObjectReference,
    /// The archive that they go to. Default: the archive named default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_ref: Option<ObjectReference>,
    /// Record around the clock, in many files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continuous: Option<Continuous>,
    /// Record one file of a given length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<Clip>,
    /// What may be deleted, and when. Default: nothing is ever deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// What becomes of the pictures. Default: recorded as the camera makes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Video>,
    /// What becomes of the sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<Audio>,
    /// Whether to take over the folder that another Recording of this name left in the archive, with all that it holds: an object
    /// that was deleted and made anew, or one of another cluster. Without it such a folder is left alone and nothing is recorded.
    /// Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<bool>,
    /// Whether to pause. What is recorded already stays and can be played. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Around the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct Continuous {
    /// Length of a file; it is cut at the first key frame at or after this. Default: 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("10s", "1h", "60s"))]
    pub segment_duration: Option<Duration>,
}

/// One file. It survives cuts of the camera, and its end is counted from its first picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct Clip {
    /// Length. Default: 90m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("1s", "24h", "90m"))]
    pub duration: Option<Duration>,
    /// Set to true to end the clip before its time. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<bool>,
}

/// What may be deleted, and when. Both rules hold side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// What is older than this is deleted. Default: nothing is deleted for its age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = duration::between("1m", "36500d", "30d"))]
    pub max_age: Option<Duration>,
    /// When the recording is larger than this, its oldest files are deleted. Default: nothing is deleted for its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = quantity::between("1Mi", "100Ti", "90Gi"))]
    pub max_size: Option<Quantity>,
}

/// How a recording is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct RecordingStatus {
    /// metadata.generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: pictures are being written, or a clip is whole. Complete: a clip has ended by design. Failed: given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::condition::list_schema")]
    pub conditions: Vec<Condition>,
    /// When the first picture was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::condition::time_schema")]
    pub start_time: Option<Time>,
    /// When a clip was complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::condition::time_schema")]
    pub completion_time: Option<Time>,
    /// How much of a clip is done, in steps of ten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub progress_percent: Option<i32>,
    /// For which share of the time there really are pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// The newest spans without pictures, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub last_gaps: Vec<Gap>,
    /// What the last retention run did to this recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionStatus>,
}

/// Share of the time for which there are pictures, such as 99.98%.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Of the last whole UTC hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub last_hour: Option<String>,
    /// Of the last whole UTC day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub last_day: Option<String>,
}

/// A span without pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// First instant without pictures.
    #[schemars(schema_with = "super::condition::time_schema")]
    pub from: Time,
    /// First instant with pictures again.
    #[schemars(schema_with = "super::condition::time_schema")]
    pub to: Time,
    /// Why, as one CamelCase word.
    #[schemars(length(max = 63))]
    pub reason: String,
}
