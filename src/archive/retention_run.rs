//! Carries a retention plan out, and remembers what was foreseen. A preview and a run make their plan by the same function from
//! the same facts. Blocks on the disk; must not decide what goes (that is [`super::retention`]).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::index::RecordingPath;
use super::layout::{RECORDING, WRITING};
use super::retention::{
    Deletion, DeletionReason, FileFacts, Foresight, Item, RecordingFacts, RetentionPlan, Rules, Situation, Withheld,
    plan,
};
use super::{Archive, ArchiveError};
use crate::media::frame::{RunId, UtcMicros};

/// Where an archive remembers its retention, in its root.
const STATE: &str = "retention.json";
/// The version of that file.
const VERSION: u32 = 1;
/// No honest file is larger.
const LARGEST_STATE: u64 = 16 << 20;
/// Clocks of one machine differ from media time by less.
const CLOCK_TOLERANCE_MICROS: i64 = 60_000_000;
/// 2026-01-01T00:00:00Z: this program did not exist before; a clock that says so was never set.
const FIRST_RELEASE: UtcMicros = UtcMicros(1_767_225_600_000_000);

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

/// How a run is asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Only this recording; absent = the whole archive.
    pub only: Option<RecordingPath>,
    /// A person has seen the preview and says that it is right.
    pub confirmed: bool,
    /// When the next run is due, as far as is known: what is foreseen is foreseen for then.
    pub next_run: Option<UtcMicros>,
    /// So many bytes are to be free even if the archive's `minFree` is less.
    pub least_free_bytes: u64,
    /// Rules to apply instead of those that the archive remembers; a run remembers them, a preview does not.
    pub rules: Option<ArchiveRules>,
}

/// A deletion as it is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletionLine {
    /// Namespace of the recording.
    pub namespace: String,
    /// The recording.
    pub recording: String,
    /// The file within the recording's folder.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// RFC 3339: its first frame.
    pub from: String,
    /// RFC 3339: its end.
    pub to: String,
    /// Why.
    pub reason: DeletionReason,
    /// Why it could not be deleted, if it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl DeletionLine {
    fn new(deletion: &Deletion) -> Self {
        Self {
            namespace: deletion.recording.namespace.clone(),
            recording: deletion.recording.name.clone(),
            file: deletion.item.to_string(),
            bytes: deletion.bytes,
            from: deletion.start.to_string(),
            to: deletion.end.to_string(),
            reason: deletion.reason,
            failed: None,
        }
    }
}

/// What a run deleted, or would delete.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionOutcome {
    /// Whether nothing was deleted because only a preview was asked for.
    pub preview: bool,
    /// Every file, by recording, oldest first.
    pub deletions: Vec<DeletionLine>,
    /// Files deleted; in a preview: to be deleted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What stays although a rule names it, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<Withheld>,
    /// Bytes that the volume still lacks to the archive's `minFree`, and that no rule lets go.
    pub short_bytes: u64,
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

fn write_state(archive: &Archive, state: &RetentionState) -> Result<(), ArchiveError> {
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

/// What would be deleted now, and why.
///
/// # Errors
/// When the archive cannot be read.
pub fn preview(archive: &Archive, request: &Request, now: UtcMicros) -> Result<RetentionOutcome, ArchiveError> {
    let (_, plan) = prepare(archive, request, now)?;
    let deletions: Vec<DeletionLine> = plan.deletions.iter().map(DeletionLine::new).collect();
    Ok(RetentionOutcome {
        preview: true,
        files: deletions.len() as u64,
        bytes: plan.bytes(),
        deletions,
        withheld: plan.withheld,
        short_bytes: plan.short_bytes,
    })
}

/// Deletes what [`preview`] lists. `progress` is told of every file that is gone or could not be deleted.
///
/// # Errors
/// When the archive cannot be read, or what happened cannot be remembered. A file that cannot be deleted is in the outcome.
pub fn run(
    archive: &Archive,
    request: &Request,
    now: UtcMicros,
    progress: &mut dyn FnMut(&DeletionLine),
) -> Result<RetentionOutcome, ArchiveError> {
    // One at a time: a second one would count files that the first is deleting.
    let _running = archive.inner.retention.lock().unwrap_or_else(PoisonError::into_inner);
    let (facts, plan) = prepare(archive, request, now)?;
    let mut outcome =
        RetentionOutcome { withheld: plan.withheld.clone(), short_bytes: plan.short_bytes, ..Default::default() };
    // On a full volume a state that cannot be written must not keep room from being made: it is written afterwards too.
    let before = remember(archive, &facts, &plan, request, now);
    // Those of one hour together: its playlist is then written once.
    let same =
        |one: &Deletion, other: &Deletion| one.recording == other.recording && folder_of(one) == folder_of(other);
    for group in plan.deletions.chunk_by(same) {
        for line in delete(archive, group) {
            progress(&line);
            if line.failed.is_none() {
                outcome.files += 1;
                outcome.bytes += line.bytes;
            }
            outcome.deletions.push(line);
        }
    }
    for recording in facts.iter().filter(|recording| !recording.declared && !recording.files.is_empty()) {
        if let Err(error) = remove_if_empty(archive, &recording.path) {
            tracing::warn!(recording = %recording.path, %error, "cannot remove the empty folder of a recording");
        }
    }
    if before.is_err() {
        remember(archive, &facts, &plan, request, now)?;
    }
    Ok(outcome)
}

fn folder_of(deletion: &Deletion) -> Option<super::index::Hour> {
    match deletion.item {
        Item::Segment(name) => Some(name.hour),
        Item::Clip(_) => None,
    }
}

fn delete(archive: &Archive, group: &[Deletion]) -> Vec<DeletionLine> {
    let mut lines: Vec<DeletionLine> = group.iter().map(DeletionLine::new).collect();
    let Some(first) = group.first() else { return lines };
    let index = match archive.recording(&first.recording) {
        Ok(index) => index,
        Err(error) => {
            for line in &mut lines {
                line.failed = Some(error.to_string());
            }
            return lines;
        }
    };
    let names: Vec<_> = group
        .iter()
        .filter_map(|deletion| if let Item::Segment(name) = deletion.item { Some(name) } else { None })
        .collect();
    let results: Vec<Result<u64, ArchiveError>> = if names.is_empty() {
        group
            .iter()
            .map(|deletion| if let Item::Clip(part) = deletion.item { index.delete_clip(part) } else { Ok(0) })
            .collect()
    } else {
        index.delete_files(&names)
    };
    let mut until = None;
    for ((line, deletion), result) in lines.iter_mut().zip(group).zip(results) {
        match result {
            Ok(_) => until = until.max(Some(deletion.end)),
            Err(error) => line.failed = Some(error.to_string()),
        }
    }
    if let Some(until) = until
        && let Err(error) = index.note_deleted(until)
    {
        tracing::warn!(recording = %first.recording, %error, "coverage cannot tell later that files were deleted");
    }
    lines
}

/// Gathers the facts and makes the plan.
fn prepare(
    archive: &Archive,
    request: &Request,
    now: UtcMicros,
) -> Result<(Vec<RecordingFacts>, RetentionPlan), ArchiveError> {
    let mut state = read_state(archive)?;
    if let Some(rules) = &request.rules {
        state.rules.clone_from(rules);
    }
    let facts = gather(archive, &state.rules)?;
    let newest = facts.iter().flat_map(|recording| &recording.files).map(|file| file.end).max();
    let situation = Situation {
        now,
        clock_doubt: clock_doubt(now, newest, &state, synchronised()),
        free_bytes: archive.space()?.free_bytes,
        min_free_bytes: state.rules.min_free_bytes.max(request.least_free_bytes),
        orphans_ms: state.rules.orphans_ms,
        foresight: state.foresight,
        confirmed: request.confirmed,
    };
    let mut plan = plan(&facts, &situation);
    if let Some(only) = &request.only {
        plan.deletions.retain(|deletion| deletion.recording == *only);
        plan.withheld.retain(|withheld| withheld.recording.as_ref().is_none_or(|path| path == only));
    }
    Ok((facts, plan))
}

/// Remembers the run and what is foreseen from now on; of recordings whose files were held back, what was foreseen stays.
fn remember(
    archive: &Archive,
    facts: &[RecordingFacts],
    plan: &RetentionPlan,
    request: &Request,
    now: UtcMicros,
) -> Result<(), ArchiveError> {
    let mut state = read_state(archive)?;
    state.version = VERSION;
    if let Some(rules) = &request.rules {
        state.rules.clone_from(rules);
    }
    let newest = facts.iter().flat_map(|recording| &recording.files).map(|file| file.end).max();
    if request.confirmed {
        state.accepted_end = newest.filter(|end| *end > now);
    }
    // A run in doubt must not make a wrong clock the measure.
    if clock_doubt(now, newest, &state, synchronised()).is_none() || request.confirmed {
        state.last_run = Some(now);
    }
    let orphans_ms = state.rules.orphans_ms;
    for recording in facts {
        let wanted = request.only.as_ref().is_none_or(|only| *only == recording.path);
        if wanted && !plan.withholds(&recording.path) {
            let RecordingFacts { declared, rules, .. } = *recording;
            let next_run = request.next_run.unwrap_or(now);
            state.foresight.insert(recording.path.clone(), Foresight { next_run, declared, rules, orphans_ms });
        }
    }
    state.foresight.retain(|path, _| facts.iter().any(|recording| recording.path == *path));
    write_state(archive, &state)
}

/// Removes the folder of an orphan that has lost its last file, unless somebody uses it or it holds what is not ours.
fn remove_if_empty(archive: &Archive, path: &RecordingPath) -> Result<(), ArchiveError> {
    let mut recordings = archive.inner.recordings.lock().unwrap_or_else(PoisonError::into_inner);
    // Whoever else has the index may be about to write.
    if recordings.get(path).is_some_and(|index| Arc::strong_count(index) > 1) {
        return Ok(());
    }
    let Some(namespace) = archive.inner.root.child(&path.namespace)? else { return Ok(()) };
    let Some(folder) = namespace.child(&path.name)? else { return Ok(()) };
    if folder.list()?.iter().any(|(name, _)| name != RECORDING && name != WRITING) {
        return Ok(());
    }
    recordings.remove(path);
    folder.remove(RECORDING)?;
    folder.remove(WRITING)?;
    namespace.remove_empty_child(&path.name)?;
    archive.inner.root.remove_empty_child(&path.namespace)?;
    Ok(())
}

/// What the archive holds.
fn gather(archive: &Archive, rules: &ArchiveRules) -> Result<Vec<RecordingFacts>, ArchiveError> {
    let mut facts = Vec::new();
    for path in archive.recordings()? {
        let index = archive.recording(&path)?;
        let mut files = Vec::new();
        for hour in index.hours() {
            for file in index.files(hour)?.iter() {
                files.push(FileFacts {
                    item: Item::Segment(file.name),
                    order: file.order(),
                    start: file.start,
                    end: file.end,
                    bytes: file.bytes,
                    in_use: index.in_use(file.name).is_some(),
                });
            }
        }
        let description = index.description();
        let clip = description.as_ref().and_then(|description| description.clip.as_ref());
        for file in index.clip_files()? {
            let part = clip.and_then(|clip| clip.parts.iter().find(|part| part.part == file.part));
            // A clip that is not complete is still wanted, even while nobody writes it; parts of an earlier owner's are whole.
            let complete = part.is_none() || clip.is_some_and(|clip| clip.completion.is_some());
            let completion = part.and(clip).and_then(|clip| clip.completion.as_ref()).map(|completion| completion.at);
            files.push(FileFacts {
                item: Item::Clip(file.part),
                order: (RunId(0), file.part.into()),
                start: part.map_or(file.modified, |part| part.start),
                end: completion.unwrap_or(file.modified),
                bytes: file.bytes,
                in_use: !complete || index.clip_in_use(file.part).is_some(),
            });
        }
        let declared = rules.recordings.get(&path);
        facts.push(RecordingFacts {
            declared: declared.is_some(),
            rules: declared.copied().unwrap_or_default(),
            files,
            path,
        });
    }
    Ok(facts)
}

/// Why `now` is not to be trusted, if it is not. `newest` is the end of the newest file; `synchronised` what the system says of
/// its clock, if it says anything.
pub fn clock_doubt(
    now: UtcMicros,
    newest: Option<UtcMicros>,
    state: &RetentionState,
    synchronised: Option<bool>,
) -> Option<String> {
    let ahead = |at: UtcMicros| at.0 - now.0 > CLOCK_TOLERANCE_MICROS;
    let mut doubt = String::new();
    if now < FIRST_RELEASE {
        let _ = write!(doubt, "the clock says {now}, which is before this program was written.");
    } else if let Some(last) = state.last_run.filter(|last| ahead(*last)) {
        let _ = write!(doubt, "the clock says {now}, but retention last ran at {last}.");
    } else if let Some(end) =
        newest.filter(|end| ahead(*end) && state.accepted_end.is_none_or(|accepted| *end > accepted))
    {
        let _ = write!(doubt, "the clock says {now}, but the newest file ends at {end}.");
    } else if synchronised == Some(false) {
        let _ = write!(doubt, "the clock was not synchronised with a time server since the system started.");
    }
    (!doubt.is_empty()).then_some(doubt)
}

/// Whether the system's clock has been synchronised, where systemd-timesyncd looks after it; else nobody can tell without a
/// privileged call.
fn synchronised() -> Option<bool> {
    let folder = std::path::Path::new("/run/systemd/timesync");
    folder.is_dir().then(|| folder.join("synchronized").exists())
}
