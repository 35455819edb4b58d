//! Recordings and the archives that hold them, as a plan writes them.

use serde::{Deserialize, Serialize};

use super::ObjectKey;
use crate::plan::transcode::Transcode;

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
