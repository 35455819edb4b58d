//! Carries a retention plan out, and has what was foreseen remembered. A preview and a run make their plan by the same function from
//! the same facts. Blocks on the disk; must not decide what goes (that is [`super::retention`]).

use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::index::{FileName, RecordingPath};
use super::layout::{RECORDING, WRITING};
use super::retention::{
    Deletion, DeletionReason, Foresight, Item, RecordingFacts, RetentionPlan, Situation, Withheld, plan,
};
use super::{Archive, ArchiveError};
use crate::media::frame::UtcMicros;

mod facts;
mod state;

pub use facts::clock_doubt;
use facts::{gather, synchronised};
pub use state::{ArchiveRules, RetentionState, read_state, tell_rules};
use state::{VERSION, write_state};

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
    retire_names(archive, &plan);
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

/// All names of a recording at once: that is one write, where each hour would need one.
fn retire_names(archive: &Archive, plan: &RetentionPlan) {
    for group in plan.deletions.chunk_by(|one, other| one.recording == other.recording) {
        let names: Vec<FileName> = group.iter().filter_map(Deletion::segment).collect();
        if let Some(first) = group.first()
            && let Ok(index) = archive.recording(&first.recording)
        {
            index.retire_names(&names);
        }
    }
}

fn folder_of(deletion: &Deletion) -> Option<super::index::Hour> {
    deletion.segment().map(|name| name.hour)
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
    let names: Vec<FileName> = group.iter().filter_map(Deletion::segment).collect();
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
