//! What an archive remembers of its retention, in its root: the rules as they were last told, and what was foreseen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::archive::index::RecordingPath;
use crate::archive::retention::{Foresight, Rules};
use crate::archive::{Archive, ArchiveError};
use crate::media::frame::UtcMicros;

/// Where an archive remembers its retention, in its root.
const STATE: &str = "retention.json";

/// The version of that file.
pub(super) const VERSION: u32 = 1;

/// No honest file is larger.
const LARGEST_STATE: u64 = 16 << 20;

/// The rules of an archive and its recordings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveRules {
    /// Bytes that are to stay free on the volume.
    #[serde(default)]
    pub min_free_bytes: u64,
    /// How old the newest file of a recording that nobody declares must be, milliseconds; absent = such are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphans_ms: Option<u64>,
    /// Cron expression, five fields; empty when nobody scheduled anything.
    #[serde(default)]
    pub schedule: String,
    /// IANA time zone.
    #[serde(default)]
    pub time_zone: String,
    /// The declared recordings and their rules.
    #[serde(default, with = "by_path")]
    pub recordings: BTreeMap<RecordingPath, Rules>,
}

/// What the archive remembers from run to run; also what `retain` knows of a folder that it finds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionState {
    /// Of this file's format.
    pub version: u32,
    /// The rules as they were last told.
    pub rules: ArchiveRules,
    /// When it last ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<UtcMicros>,
    /// A person confirmed that files ending in the future, up to this, are no reason to doubt the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_end: Option<UtcMicros>,
    /// What was foreseen for each recording.
    #[serde(default, with = "by_path")]
    pub foresight: BTreeMap<RecordingPath, Foresight>,
}

/// Maps by path as JSON objects keyed `namespace/name`.
mod by_path {
    use std::collections::BTreeMap;

    use serde::de::{DeserializeOwned, Error as _};
    use serde::{Deserialize as _, Deserializer, Serialize, Serializer};

    use super::RecordingPath;

    pub fn serialize<T: Serialize, S: Serializer>(
        map: &BTreeMap<RecordingPath, T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(path, value)| (path.to_string(), value)))
    }

    pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<RecordingPath, T>, D::Error> {
        let map = BTreeMap::<String, T>::deserialize(deserializer)?;
        map.into_iter().map(|(path, value)| Ok((path.parse().map_err(D::Error::custom)?, value))).collect()
    }
}

/// What an archive remembers.
///
/// # Errors
/// When the file is there but cannot be understood.
pub fn read_state(archive: &Archive) -> Result<RetentionState, ArchiveError> {
    let Some(content) = archive.inner.root.read(STATE, LARGEST_STATE)? else { return Ok(RetentionState::default()) };
    let path = archive.root().join(STATE);
    match serde_json::from_slice::<RetentionState>(&content) {
        Ok(state) if state.version <= VERSION => Ok(state),
        Ok(state) => {
            Err(ArchiveError::Damaged { path, what: format!("version {} is newer than this program", state.version) })
        }
        Err(error) => Err(ArchiveError::Damaged { path, what: error.to_string() }),
    }
}

pub(super) fn write_state(archive: &Archive, state: &RetentionState) -> Result<(), ArchiveError> {
    archive.inner.root.replace(STATE, &serde_json::to_vec_pretty(state).unwrap_or_default())
}

/// Remembers new rules. What was foreseen under the old ones stays, so that a tightened rule needs a confirmation; a recording
/// that was never planned before gets its first foresight.
///
/// # Errors
/// When the disk fails.
pub fn tell_rules(archive: &Archive, rules: &ArchiveRules, next_run: UtcMicros) -> Result<(), ArchiveError> {
    let mut state = read_state(archive)?;
    let before = state.clone();
    state.version = VERSION;
    state.rules.clone_from(rules);
    for (path, recording) in &rules.recordings {
        state.foresight.entry(path.clone()).or_insert(Foresight {
            next_run,
            declared: true,
            rules: *recording,
            orphans_ms: rules.orphans_ms,
        });
    }
    if state == before { Ok(()) } else { write_state(archive, &state) }
}
