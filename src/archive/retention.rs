//! Pure: which files an archive deletes, and why. One function makes the plan that a preview prints and that a run carries
//! out. Must not read files, the clock or the disk, and must not delete anything.
//!
//! What may go:
//! - by `maxAge`: a file whose last frame is older; a clip counts from its completion. Not while the clock is in doubt.
//! - by `maxSize`: the oldest files of a recording until it is no larger.
//! - by `orphans`: all files of a recording that nobody declares any more, once its newest file is older. Nothing else ever
//!   takes a file of such a recording. Not while the clock is in doubt.
//! - by `minFree`: when the volume is short of room even so, the oldest files of all *continuous* recordings that have a
//!   `maxAge` or a `maxSize`: a rule says that a recording may lose its oldest files. A recording without a rule keeps
//!   everything, and a clip, which somebody asked for, goes by its own rules only.
//!
//! What never goes: a file that is being written, played or exported, and whatever is not in the index.
//!
//! When the rules would take over a quarter more from a recording than was foreseen when they were last applied (because they
//! were tightened, or the clock jumped), nothing of it is deleted by rule until a person confirms.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::index::{FileName, RecordingPath};
use crate::media::frame::{RunId, UtcMicros};

/// A media file of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// A file of a continuous recording.
    Segment(FileName),
    /// A part of a clip, counted from 1.
    Clip(u32),
}

impl fmt::Display for Item {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(name) => name.fmt(formatter),
            Self::Clip(part) => formatter.write_str(&super::layout::clip_file(*part)),
        }
    }
}

/// What may be deleted of one recording; an absent rule deletes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    /// A file whose last frame is older is deleted, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    /// Oldest files are deleted until the recording is no larger, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

impl Rules {
    const fn any(self) -> bool {
        self.max_age_ms.is_some() || self.max_bytes.is_some()
    }
}

/// A file, as far as retention is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    /// Which.
    pub item: Item,
    /// Run and sequence of the first frame: the order of a recording's files, which no clock step can upset.
    pub order: (RunId, u64),
    /// UTC of its first frame.
    pub start: UtcMicros,
    /// UTC of its end; of a clip: of its completion.
    pub end: UtcMicros,
    /// Its size.
    pub bytes: u64,
    /// Being written, played or exported.
    pub in_use: bool,
}

/// A recording in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingFacts {
    /// Whose files.
    pub path: RecordingPath,
    /// Whether an object declares it.
    pub declared: bool,
    /// Its rules.
    pub rules: Rules,
    /// Its files, in any order.
    pub files: Vec<FileFacts>,
}

/// What was in force for a recording when its rules were last applied: from it follows what the next run was expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Foresight {
    /// When the next run was due.
    pub next_run: UtcMicros,
    /// Whether an object declared the recording.
    pub declared: bool,
    /// Its rules.
    pub rules: Rules,
    /// The archive's `orphans` rule, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphans_ms: Option<u64>,
}

/// All that a plan follows from, beside the recordings.
#[derive(Debug, Clone, Default)]
pub struct Situation {
    /// The host's clock.
    pub now: UtcMicros,
    /// Why the clock is not to be trusted, if it is not.
    pub clock_doubt: Option<String>,
    /// Free bytes of the volume.
    pub free_bytes: u64,
    /// What the archive's owner wants to stay free.
    pub min_free_bytes: u64,
    /// The archive's `orphans` rule, milliseconds; absent = such recordings are kept.
    pub orphans_ms: Option<u64>,
    /// What was foreseen, by recording; one that is missing has never been planned before.
    pub foresight: BTreeMap<RecordingPath, Foresight>,
    /// A person has seen the plan and says that it is right.
    pub confirmed: bool,
}

/// Why a file is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub enum DeletionReason {
    /// Older than the recording's `maxAge`.
    MaxAge,
    /// The recording is larger than its `maxSize`.
    MaxSize,
    /// The volume has less room than the archive's `minFree`.
    MinFree,
    /// Nobody declares the recording any more, and its newest file is older than the archive's `orphans`.
    Orphan,
}

impl DeletionReason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::MaxAge, Self::MaxSize, Self::MinFree, Self::Orphan];
}

impl fmt::Display for DeletionReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::MaxAge => "older than maxAge",
            Self::MaxSize => "recording larger than maxSize",
            Self::MinFree => "volume below minFree",
            Self::Orphan => "nobody declares the recording, and it is older than orphans",
        })
    }
}

/// A file to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Whose file.
    pub recording: RecordingPath,
    /// Which.
    pub item: Item,
    /// Its size.
    pub bytes: u64,
    /// UTC of its first frame.
    pub start: UtcMicros,
    /// UTC of its end.
    pub end: UtcMicros,
    /// Why.
    pub reason: DeletionReason,
}

impl Deletion {
    /// The file's name, unless it is a clip's.
    pub const fn segment(&self) -> Option<FileName> {
        match self.item {
            Item::Segment(name) => Some(name),
            Item::Clip(_) => None,
        }
    }
}

/// Files that a rule names but that stay for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Withheld {
    /// Whose files; absent = of all recordings.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingPath>,
    /// Why, and what to do.
    pub message: String,
    /// How many files.
    pub files: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What a run deletes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionPlan {
    /// In the order in which they are deleted: by recording, oldest first.
    pub deletions: Vec<Deletion>,
    /// What is not deleted although a rule names it.
    pub withheld: Vec<Withheld>,
    /// Bytes that are still missing to `minFree` when all this is deleted.
    pub short_bytes: u64,
}

impl RetentionPlan {
    /// Sum of the sizes.
    pub fn bytes(&self) -> u64 {
        self.deletions.iter().map(|deletion| deletion.bytes).sum()
    }

    /// Whether a rule names files that only a confirmation lets go.
    pub fn needs_confirmation(&self) -> bool {
        !self.withheld.is_empty()
    }

    /// Whether anything of this recording is held back, so that what was foreseen for it stays in force.
    pub fn withholds(&self, path: &RecordingPath) -> bool {
        self.withheld.iter().any(|withheld| withheld.recording.as_ref().is_none_or(|recording| recording == path))
    }
}

/// What the rules say of one recording's files.
type Selected = Vec<(FileFacts, DeletionReason)>;

/// Makes the plan.
pub fn plan(recordings: &[RecordingFacts], situation: &Situation) -> RetentionPlan {
    let by_age = situation.clock_doubt.is_none() || situation.confirmed;
    let mut plan = RetentionPlan::default();
    let (mut doubted_files, mut doubted_bytes) = (0, 0);
    for recording in recordings {
        let files = ordered(recording);
        let current = Foresight {
            next_run: situation.now,
            declared: recording.declared,
            rules: recording.rules,
            orphans_ms: situation.orphans_ms,
        };
        let selected = select(&files, &current, situation.now, by_age);
        if !by_age {
            let going: HashSet<Item> = selected.iter().map(|(file, _)| file.item).collect();
            for (file, _) in select(&files, &current, situation.now, true) {
                if !going.contains(&file.item) {
                    doubted_files += 1;
                    doubted_bytes += file.bytes;
                }
            }
        }
        let foreseen = situation.foresight.get(&recording.path).map(|foresight| {
            let at = foresight.latest(situation.now);
            weight(&select(&files, foresight, at, by_age))
        });
        match foreseen {
            Some(foreseen) if !situation.confirmed && weight(&selected) > foreseen.saturating_add(foreseen / 4) => {
                plan.withheld.push(Withheld {
                    recording: Some(recording.path.clone()),
                    message: format!(
                        "The rules would now delete {} bytes of {}/{}, over a quarter more than the {foreseen} bytes that \
                         were foreseen when they were last applied. Check its retention and the clock, then confirm.",
                        bytes(&selected),
                        recording.path.namespace,
                        recording.path.name
                    ),
                    files: selected.len() as u64,
                    bytes: bytes(&selected),
                });
            }
            _ => plan.deletions.extend(selected.into_iter().map(|(file, reason)| deletion(recording, file, reason))),
        }
    }
    if let Some(doubt) = situation.clock_doubt.as_ref().filter(|_| !by_age && doubted_files > 0) {
        plan.withheld.push(Withheld {
            recording: None,
            message: format!("Nothing is deleted by age: {doubt} Set the clock right, or confirm if it is."),
            files: doubted_files,
            bytes: doubted_bytes,
        });
    }
    make_room(recordings, situation, &mut plan);
    plan.deletions.sort_by(|one, other| one.recording.cmp(&other.recording));
    plan
}

impl Foresight {
    /// Until when a run that is late is no surprise: a quarter of the age at which files go. A clock that runs ahead further
    /// than that makes files old that nobody expected to go.
    fn latest(&self, now: UtcMicros) -> UtcMicros {
        let age = if self.declared { self.rules.max_age_ms } else { self.orphans_ms };
        let grace = age.map_or(0, |age| micros(age) / 4);
        now.min(self.next_run.plus_micros(grace))
    }
}

fn micros(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds.saturating_mul(1000)).unwrap_or(i64::MAX)
}

fn bytes(selected: &Selected) -> u64 {
    selected.iter().map(|(file, _)| file.bytes).sum()
}

/// What is compared with what was foreseen: bytes, but at least one for each file.
fn weight(selected: &Selected) -> u64 {
    selected.iter().map(|(file, _)| file.bytes.max(1)).sum()
}

fn deletion(recording: &RecordingFacts, file: FileFacts, reason: DeletionReason) -> Deletion {
    let FileFacts { item, bytes, start, end, .. } = file;
    Deletion { recording: recording.path.clone(), item, bytes, start, end, reason }
}

/// Oldest first, whatever the clock did.
fn ordered(recording: &RecordingFacts) -> Vec<FileFacts> {
    let mut files = recording.files.clone();
    files.sort_by_key(|file| (file.order, file.start, file.item));
    files
}

/// What the rules of `in_force` name among `files` (oldest first) at `now`.
fn select(files: &[FileFacts], in_force: &Foresight, now: UtcMicros, by_age: bool) -> Selected {
    let older_than = |age: u64| now.0.saturating_sub(micros(age));
    if !in_force.declared {
        let Some(age) = in_force.orphans_ms.filter(|_| by_age) else { return Vec::new() };
        let newest = files.iter().map(|file| file.end.0).max().unwrap_or(i64::MAX);
        if newest >= older_than(age) || files.iter().any(|file| file.in_use) {
            return Vec::new();
        }
        return files.iter().map(|file| (*file, DeletionReason::Orphan)).collect();
    }
    let mut selected = Vec::new();
    let mut total: u64 = files.iter().map(|file| file.bytes).sum();
    let age_limit = in_force.rules.max_age_ms.filter(|_| by_age).map(older_than);
    let mut kept = Vec::new();
    for file in files.iter().filter(|file| !file.in_use) {
        if age_limit.is_some_and(|limit| file.end.0 < limit) {
            total -= file.bytes;
            selected.push((*file, DeletionReason::MaxAge));
        } else {
            kept.push(*file);
        }
    }
    if let Some(limit) = in_force.rules.max_bytes {
        for file in kept {
            if total <= limit {
                break;
            }
            total -= file.bytes;
            selected.push((file, DeletionReason::MaxSize));
        }
    }
    selected
}

/// Adds the oldest files of all recordings that may lose some until there is room enough.
fn make_room(recordings: &[RecordingFacts], situation: &Situation, plan: &mut RetentionPlan) {
    let mut missing = situation.min_free_bytes.saturating_sub(situation.free_bytes).saturating_sub(plan.bytes());
    if missing > 0 {
        let gone: HashSet<(RecordingPath, Item)> =
            plan.deletions.iter().map(|deletion| (deletion.recording.clone(), deletion.item)).collect();
        // Newest first, so that the oldest is at the end.
        let mut queues: Vec<(&RecordingFacts, Vec<FileFacts>)> = recordings
            .iter()
            .filter(|recording| recording.declared && recording.rules.any())
            .map(|recording| {
                let mut files = ordered(recording);
                files.retain(|file| {
                    let segment = matches!(file.item, Item::Segment(_));
                    segment && !file.in_use && !gone.contains(&(recording.path.clone(), file.item))
                });
                files.reverse();
                (recording, files)
            })
            .collect();
        while missing > 0 {
            let oldest = queues
                .iter_mut()
                .filter(|(_, files)| !files.is_empty())
                .min_by_key(|(recording, files)| (files.last().map(|file| file.start), recording.path.clone()));
            let Some((recording, files)) = oldest else { break };
            let Some(file) = files.pop() else { break };
            missing = missing.saturating_sub(file.bytes);
            plan.deletions.push(deletion(recording, file, DeletionReason::MinFree));
        }
    }
    plan.short_bytes = missing;
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
