//! Keeps an open archive within its rules: runs retention at its times, when the volume is short of room, and on demand, and
//! tells what was done. Must not decide what goes (that is `archive::retention`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::retention_tally::Tally;
use super::unit::UnitContext;
use crate::archive::coverage::last_closed_hour;
use crate::archive::index::{Gap, RecordingPath};
use crate::archive::ledger::{self, LedgerFacts};
use crate::archive::retention::{Rules, Withheld};
use crate::archive::retention_run::{self, ArchiveRules, Request, RetentionOutcome};
use crate::archive::schedule::{Schedule, ScheduleError};
use crate::archive::{Archive, ArchiveError, Space};
use crate::media::frame::{RunId, UtcMicros};
use crate::plan::report::{ArchiveReport, GapFact, Reason, RecordingFacts, RetentionFacts};
use crate::plan::unit::{ArchivePlan, DeclaredRecording, ObjectKey, ObjectKind, ObjectRef};

/// How often the volume and the clock are looked at.
const TICK: Duration = Duration::from_secs(5);
/// How often coverage is told, in ticks.
const COVERAGE_TICKS: u64 = 12;
/// So much always stays free, whatever `minFree` says: a volume that is really full cannot even rename an index.
const LEAST_FREE: u64 = 64 << 20;

/// The retention of one open archive.
pub struct Retention {
    plan: ArchivePlan,
    archive: Archive,
    schedule: Schedule,
    context: UnitContext,
    wake: Notify,
    tally: Mutex<Tally>,
    done: Mutex<Done>,
}

/// What the last run of the whole archive did, whoever asked for it; and the last one of each recording.
#[derive(Debug, Clone, Default)]
struct Done {
    facts: Option<RetentionFacts>,
    withheld: Vec<String>,
    recordings: BTreeMap<ObjectKey, RetentionFacts>,
}

impl fmt::Debug for Retention {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Retention").field("archive", &self.plan.key).finish_non_exhaustive()
    }
}

/// The coverage of each recording, and the closed hour and the run for which it was read: it is read anew only when either
/// changes, because that reads two days of indexes.
type Told = BTreeMap<ObjectKey, ((UtcMicros, Option<RunId>), LedgerFacts)>;

/// What the loop remembers.
struct Memory {
    /// When a run was last due and begun, or the archive was opened.
    last: Timestamp,
    /// What could not be freed by the last run: it is not tried again at once.
    stuck: Option<u64>,
    ticks: u64,
    told: Told,
}

impl Retention {
    /// Retention for an archive that is open.
    ///
    /// # Errors
    /// When the schedule cannot be understood; the API refuses such.
    pub fn new(context: &UnitContext, plan: &ArchivePlan, archive: &Archive) -> Result<Self, ScheduleError> {
        Ok(Self {
            plan: plan.clone(),
            archive: archive.clone(),
            schedule: Schedule::parse(&plan.retention.schedule, &plan.retention.time_zone)?,
            context: context.clone(),
            wake: Notify::new(),
            tally: Mutex::default(),
            done: Mutex::default(),
        })
    }

    /// What its runs have done in this process.
    pub fn tally(&self) -> Tally {
        self.locked_tally().clone()
    }

    fn locked_tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this archive holds a recording of that name.
    pub fn holds(&self, path: &RecordingPath) -> bool {
        self.archive.recording(path).is_ok()
    }

    /// The volume is full: makes room at once. Returns before it is done.
    pub fn make_room(&self) {
        self.wake.notify_one();
    }

    /// What a run would delete now.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub async fn preview(
        &self,
        only: Option<RecordingPath>,
        confirmed: bool,
    ) -> Result<RetentionOutcome, ArchiveError> {
        let request = self.request(only, confirmed)?;
        let archive = self.archive.clone();
        self.tell_rules().await?;
        off_runtime(move || retention_run::preview(&archive, &request, now())).await
    }

    /// Deletes what [`Retention::preview`] lists.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub async fn run(&self, only: Option<RecordingPath>, confirmed: bool) -> Result<RetentionOutcome, ArchiveError> {
        let outcome = self.delete(only.clone(), confirmed).await;
        self.locked_tally().count(outcome.as_ref(), only.is_none(), now());
        if let Ok(outcome) = &outcome {
            self.tell(only.as_ref(), outcome);
        }
        outcome
    }

    async fn delete(&self, only: Option<RecordingPath>, confirmed: bool) -> Result<RetentionOutcome, ArchiveError> {
        let request = self.request(only, confirmed)?;
        let archive = self.archive.clone();
        self.tell_rules().await?;
        let logs = self.context.logs.clone();
        off_runtime(move || {
            retention_run::run(&archive, &request, now(), &mut |line| match &line.failed {
                None => {
                    let text = format!("deleted {}/{}/{}: {}", line.namespace, line.recording, line.file, line.reason);
                    tracing::info!(bytes = line.bytes, "{text}");
                    logs.push("info", text);
                }
                Some(error) => {
                    let text = format!("kept {}/{}/{}: {error}", line.namespace, line.recording, line.file);
                    tracing::warn!("{text}");
                    logs.push("warning", text);
                }
            })
        })
        .await
    }

    fn request(&self, only: Option<RecordingPath>, confirmed: bool) -> Result<Request, ArchiveError> {
        let next_run = self.schedule.next_after(Timestamp::now()).ok().map(UtcMicros::from_timestamp);
        Ok(Request { only, confirmed, next_run, least_free_bytes: least_free(self.archive.space()?), rules: None })
    }

    /// Writes the rules of the plan into the archive, where a run reads them.
    async fn tell_rules(&self) -> Result<(), ArchiveError> {
        let rules = rules(&self.plan, &self.context.registry.declared.get());
        let next_run = self.schedule.next_after(Timestamp::now()).map_or_else(|_| now(), UtcMicros::from_timestamp);
        let archive = self.archive.clone();
        off_runtime(move || retention_run::tell_rules(&archive, &rules, next_run)).await
    }

    /// Says in the reports what a run did to the recording that was meant, or to all.
    fn tell(&self, only: Option<&RecordingPath>, outcome: &RetentionOutcome) {
        let last_run = now();
        if only.is_none() {
            let mut done = self.done();
            done.facts =
                Some(RetentionFacts { last_run, deleted_segments: outcome.files, deleted_bytes: outcome.bytes });
            done.withheld = outcome.withheld.iter().map(|withheld| withheld.message.clone()).collect();
        }
        let mut by_recording: BTreeMap<ObjectKey, RetentionFacts> = BTreeMap::new();
        for recording in
            self.context.registry.declared.get().iter().filter(|recording| recording.archive == self.plan.key)
        {
            let key = &recording.key;
            if only.is_none_or(|only| (&only.namespace, &only.name) == (&key.namespace, &key.name)) {
                let facts = RetentionFacts { last_run, deleted_segments: 0, deleted_bytes: 0 };
                by_recording.insert(key.clone(), facts);
            }
        }
        for line in outcome.deletions.iter().filter(|line| line.failed.is_none()) {
            if let Some(facts) = by_recording.get_mut(&ObjectKey::new(&*line.namespace, &*line.recording)) {
                facts.deleted_segments += 1;
                facts.deleted_bytes += line.bytes;
            }
        }
        self.done().recordings.extend(by_recording);
        self.tell_recordings();
    }

    /// Again and again, because a recording that was suspended at the time is told when it runs again.
    fn tell_recordings(&self) {
        let recordings = self.done().recordings.clone();
        for (key, facts) in recordings {
            self.update_recording(key, |recording| recording.retention = Some(facts));
        }
    }

    fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update_recording(&self, key: ObjectKey, update: impl FnOnce(&mut RecordingFacts)) {
        let object = ObjectRef { kind: ObjectKind::Recording, key };
        self.context.board.update_unit(&object, |report| update(report.recording.get_or_insert_default()));
    }

    /// Runs until the unit is cancelled.
    pub async fn keep(&self) {
        let mut declared = self.context.registry.declared.subscribe();
        let mut memory = Memory { last: self.last_run().await, stuck: None, ticks: 0, told: BTreeMap::new() };
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let full = tokio::select! {
                () = self.context.cancel.cancelled() => return,
                _ = tick.tick() => false,
                () = self.wake.notified() => true,
                Ok(()) = declared.changed() => {
                    if let Err(error) = self.tell_rules().await {
                        tracing::warn!(archive = %self.plan.key, %error, "cannot write the retention rules into the archive");
                    }
                    continue;
                }
            };
            self.look(&mut memory, full).await;
            self.tell_recordings();
            if memory.ticks.is_multiple_of(COVERAGE_TICKS) {
                self.tell_coverage(&mut memory.told).await;
            }
            memory.ticks += 1;
        }
    }

    /// When retention last ran: so that a run that came due while nobody was there is made up for.
    async fn last_run(&self) -> Timestamp {
        let archive = self.archive.clone();
        let state = off_runtime(move || retention_run::read_state(&archive)).await;
        let last = state.ok().and_then(|state| state.last_run);
        self.locked_tally().last_run = last;
        let last = last.map(UtcMicros::timestamp);
        if let Err(error) = self.tell_rules().await {
            tracing::warn!(archive = %self.plan.key, %error, "cannot write the retention rules into the archive");
        }
        last.unwrap_or_else(Timestamp::now)
    }

    /// Looks at the clock and the volume, and runs when it is time.
    async fn look(&self, memory: &mut Memory, full: bool) {
        let now = Timestamp::now();
        if memory.last > now {
            // The clock went back: the next time counts from here.
            memory.last = now;
        }
        let space = match self.archive.space() {
            Ok(space) => space,
            Err(error) => {
                self.report(memory, Space { free_bytes: 0, total_bytes: 0 }, Some(&error));
                return;
            }
        };
        let wanted = self.plan.min_free_bytes.max(least_free(space));
        if let Some(facts) = &self.done().facts {
            // Whoever asked for it: what was due before is done.
            memory.last = memory.last.max(facts.last_run.timestamp());
        }
        let due = is_due(&self.schedule, self.plan.retention.overdue_ms, memory.last, now);
        // What could not be freed before is tried again only when less is free than then.
        let low = space.free_bytes < wanted && memory.stuck.is_none_or(|free| space.free_bytes < free);
        let mut failure = None;
        if due || low || full {
            if due {
                memory.last = now;
            }
            if low || full {
                let text =
                    format!("{} bytes are free, {wanted} are to be: deleting the oldest files", space.free_bytes);
                tracing::warn!(archive = %self.plan.key, "{text}");
                self.context.logs.push("warning", text);
            }
            match self.run(None, false).await {
                Ok(outcome) => {
                    memory.stuck = (outcome.short_bytes > 0).then_some(space.free_bytes);
                    for Withheld { message, .. } in outcome.withheld {
                        tracing::warn!(archive = %self.plan.key, "{message}");
                        self.context.logs.push("warning", message);
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        if space.free_bytes >= wanted {
            memory.stuck = None;
        }
        self.report(memory, self.archive.space().unwrap_or(space), failure.as_ref());
    }

    fn report(&self, memory: &Memory, space: Space, error: Option<&ArchiveError>) {
        let Done { facts, withheld, .. } = self.done().clone();
        let (reason, message) = match error {
            Some(error) => (reason_of(error), error.to_string()),
            None if memory.stuck.is_some() => (
                Reason::ArchiveFull,
                format!(
                    "only {} bytes are free and no retention rule lets anything go; enlarge the volume, or give recordings a maxAge or maxSize",
                    space.free_bytes
                ),
            ),
            None if !withheld.is_empty() => (Reason::RetentionWithheld, withheld.join(" ")),
            None => (Reason::Recording, "the archive is open".to_owned()),
        };
        self.context.board.set_archive(ArchiveReport {
            key: self.plan.key.clone(),
            generation: self.plan.generation,
            ready: error.is_none() && memory.stuck.is_none(),
            reason,
            message,
            free_bytes: rounded(space.free_bytes),
            total_bytes: space.total_bytes,
            retention: facts,
        });
    }

    /// Says in the reports how much of the last closed hour and day is held.
    async fn tell_coverage(&self, told: &mut Told) {
        for recording in
            self.context.registry.declared.get().iter().filter(|recording| recording.archive == self.plan.key)
        {
            // Opening may read a folder that is not in memory yet.
            let (archive, path) = (self.archive.clone(), path_of(recording));
            let Ok(index) = off_runtime(move || archive.recording(&path?)).await else { continue };
            let state = (last_closed_hour(now()).1, index.live().map(|live| live.run));
            if told.get(&recording.key).is_none_or(|(before, _)| *before != state) {
                let Ok(facts) = off_runtime(move || ledger::facts(&index, now())).await else { continue };
                told.insert(recording.key.clone(), (state, facts));
            }
            // Told again even so: a unit that was started anew has forgotten it.
            let Some((_, LedgerFacts { hour_ppm, day_ppm, last_gaps })) = told.get(&recording.key) else { continue };
            self.update_recording(recording.key.clone(), |facts| {
                facts.coverage_hour_ppm = *hour_ppm;
                facts.coverage_day_ppm = *day_ppm;
                let fact = |gap: &Gap| GapFact { from: gap.from, to: gap.to, reason: Reason::parse(&gap.reason) };
                facts.last_gaps = last_gaps.iter().map(fact).collect();
            });
        }
    }
}

/// Whether a run begins by itself at `now`, when the last one was at `last`: when it is due, or, where somebody else asks for
/// runs, when it is overdue.
fn is_due(schedule: &Schedule, overdue_ms: Option<u64>, last: Timestamp, now: Timestamp) -> bool {
    let patience = Duration::from_millis(overdue_ms.unwrap_or(0));
    now.checked_sub(patience).is_ok_and(|then| schedule.due(last, then))
}

fn path_of(recording: &DeclaredRecording) -> Result<RecordingPath, ArchiveError> {
    let ObjectKey { namespace, name } = recording.key.clone();
    RecordingPath::new(namespace, name).map_err(|error| ArchiveError::NotFound { what: error.to_string() })
}

/// A report changes when free space changes by more than noise: in steps of 16 MiB.
const fn rounded(bytes: u64) -> u64 {
    bytes & !((16 << 20) - 1)
}

const fn least_free(space: Space) -> u64 {
    let hundredth = space.total_bytes / 100;
    if hundredth < LEAST_FREE { hundredth } else { LEAST_FREE }
}

/// The rules of an archive, as it keeps them.
pub fn rules(plan: &ArchivePlan, declared: &[DeclaredRecording]) -> ArchiveRules {
    let recordings = declared.iter().filter(|recording| recording.archive == plan.key).filter_map(|recording| {
        let rules = Rules { max_age_ms: recording.retention.max_age_ms, max_bytes: recording.retention.max_bytes };
        Some((path_of(recording).ok()?, rules))
    });
    ArchiveRules {
        min_free_bytes: plan.min_free_bytes,
        orphans_ms: plan.retention.orphans_ms,
        schedule: plan.retention.schedule.clone(),
        time_zone: plan.retention.time_zone.clone(),
        recordings: recordings.collect(),
    }
}

/// The condition reason of an error of the archive.
pub fn reason_of(error: &ArchiveError) -> Reason {
    match error {
        ArchiveError::Locked { .. } => Reason::ArchiveLocked,
        ArchiveError::OwnedByAnother { .. } => Reason::ArchiveOwnedByAnother,
        ArchiveError::Full { .. } => Reason::ArchiveFull,
        ArchiveError::Io { .. } => Reason::ArchiveWriteFailed,
        ArchiveError::InUse { .. } | ArchiveError::NotFound { .. } | ArchiveError::Damaged { .. } => {
            Reason::ArchiveUnavailable
        }
    }
}

fn now() -> UtcMicros {
    UtcMicros::from_timestamp(Timestamp::now())
}

async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ArchiveError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(ArchiveError::io("finish".to_owned(), std::io::Error::other(error))))
}

/// An archive as a unit of an agent: opens it, lets others find it, and keeps it within its rules until it is cancelled.
pub async fn run_archive(context: UnitContext, plan: ArchivePlan) {
    let Some(archive) = open(&context, &plan).await else { return };
    let retention = match Retention::new(&context, &plan, &archive) {
        Ok(retention) => Arc::new(retention),
        Err(error) => {
            unavailable(&context, &plan, Reason::ArchiveUnavailable, error.to_string());
            context.cancel.cancelled().await;
            return;
        }
    };
    let archive = Arc::new(archive);
    let registry = &context.registry;
    registry.retention.insert(plan.key.clone(), retention.clone());
    registry.archives.insert(plan.key.clone(), archive.clone());
    retention.keep().await;
    registry.archives.remove(&plan.key, &archive);
    registry.retention.remove(&plan.key, &retention);
}

fn unavailable(context: &UnitContext, plan: &ArchivePlan, reason: Reason, message: String) {
    tracing::warn!(archive = %plan.key, ?reason, "{message}");
    context.logs.push("warning", message.clone());
    context.board.set_archive(ArchiveReport {
        key: plan.key.clone(),
        generation: plan.generation,
        ready: false,
        reason,
        message,
        free_bytes: 0,
        total_bytes: 0,
        retention: None,
    });
}

/// Opens the archive, as often as it takes; `None` when cancelled meanwhile.
async fn open(context: &UnitContext, plan: &ArchivePlan) -> Option<Archive> {
    let mut delay = Duration::from_secs(1);
    let mut told = None;
    loop {
        let root = std::path::PathBuf::from(&plan.root);
        let registry = context.registry.clone();
        // Recordings that go on while only the rules of their archive change keep it open, and its lock with it.
        let opened = off_runtime(move || registry.opened_archives.open(&root)).await;
        match opened {
            Ok(archive) => return Some(archive),
            Err(error) => {
                let message = error.to_string();
                if told.as_ref() != Some(&message) {
                    unavailable(context, plan, reason_of(&error), message.clone());
                    told = Some(message);
                }
            }
        }
        tokio::select! {
            () = context.cancel.cancelled() => return None,
            () = tokio::time::sleep(delay) => delay = (delay * 2).min(Duration::from_secs(15)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorder_waits_for_the_job_that_asks_it_but_not_for_ever() {
        let schedule = Schedule::parse("0 3 * * *", "Etc/UTC").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let yesterday = at("2026-11-20T03:00:10Z");
        let two_hours = Some(2 * 3_600_000);
        for (overdue, now, expected) in [
            (None, "2026-11-21T02:59:59Z", false),
            (None, "2026-11-21T03:00:00Z", true),
            (two_hours, "2026-11-21T03:00:00Z", false),
            (two_hours, "2026-11-21T04:59:59Z", false),
            (two_hours, "2026-11-21T05:00:00Z", true),
        ] {
            assert_eq!(is_due(&schedule, overdue, yesterday, at(now)), expected, "{overdue:?} {now}");
        }
        let asked = at("2026-11-21T03:00:05Z");
        assert!(!is_due(&schedule, two_hours, asked, at("2026-11-21T05:00:00Z")), "the job has asked in time");
    }
}
