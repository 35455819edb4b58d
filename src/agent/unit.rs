//! What every unit is given: who it is, where it reports, what it may read, and when to stop. Must not know what units do.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::registry::Registry;
use crate::media::frame::UtcMicros;
use crate::plan::report::{ArchiveReport, MediaFacts, Notice, Reason, Report, UnitReport, UnitState};
use crate::plan::unit::{ConfigMapKey, ObjectKey, ObjectRef, SecretKey};

/// A secret value. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that hands it to the device.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Where an agent reads secrets: mounted files in a pod, the manifests in `run`. Read at every connection, so that a rotated
/// password needs no restart.
pub trait Secrets: fmt::Debug + Send + Sync {
    /// The value of a key, or `None` where the Secret or the key is missing.
    fn get(&self, key: &SecretKey) -> Option<Secret>;

    /// A picture from a key of a ConfigMap, or `None` where the ConfigMap or the key is missing.
    fn picture(&self, _: &ConfigMapKey) -> Option<Bytes> {
        None
    }

    /// The token that this agent shows to other agents, as it is now; `None` where there is only one agent.
    fn agent_token(&self) -> Option<Secret> {
        None
    }
}

/// Secrets of which there are none.
#[cfg(test)]
#[derive(Debug)]
pub struct NoSecrets;

#[cfg(test)]
impl Secrets for NoSecrets {
    fn get(&self, _: &SecretKey) -> Option<Secret> {
        None
    }
}

/// The state of all units of an agent, from which reports are made; one lock, short.
#[derive(Debug)]
pub struct Board {
    inner: Mutex<BoardInner>,
    sequence: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct BoardInner {
    plan_hash: String,
    plan_problem: Option<String>,
    units: BTreeMap<ObjectRef, UnitReport>,
    archives: BTreeMap<ObjectKey, ArchiveReport>,
    /// The generation in force of each archive: it may change while the archive stays open.
    archive_generations: BTreeMap<ObjectKey, i64>,
}

impl Default for Board {
    fn default() -> Self {
        Self { inner: Mutex::default(), sequence: watch::channel(0).0 }
    }
}

impl Board {
    fn change<T>(&self, change: impl FnOnce(&mut BoardInner) -> T) -> T {
        let result = change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner));
        self.sequence.send_modify(|sequence| *sequence += 1);
        result
    }

    /// Names the plan that runs from now on.
    pub fn set_plan_hash(&self, hash: String) {
        self.change(|inner| {
            inner.plan_hash = hash;
            inner.plan_problem = None;
        });
    }

    /// Says why the newest plan cannot be read; the one that runs goes on.
    pub fn set_plan_problem(&self, problem: String) {
        if self.report().plan_problem.as_ref() != Some(&problem) {
            self.change(|inner| inner.plan_problem = Some(problem));
        }
    }

    /// Removes a unit that is no longer in the plan.
    pub fn remove_unit(&self, object: &ObjectRef) {
        self.change(|inner| inner.units.remove(object));
    }

    /// Changes one unit's report; a report that comes out the same wakes nobody.
    pub fn update_unit(&self, object: &ObjectRef, update: impl FnOnce(&mut UnitReport)) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(report) = inner.units.get_mut(object) else { return };
        let before = report.clone();
        update(report);
        let changed = *report != before;
        drop(inner);
        if changed {
            self.sequence.send_modify(|sequence| *sequence += 1);
        }
    }

    /// Whether just this is noticed of a unit; `None` = nothing of that kind.
    fn is_noticed(&self, object: &ObjectRef, kind: &str, message: Option<&str>) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let said = |report: &UnitReport| {
            let notice = report.notices.iter().find(|notice| notice.kind == kind);
            notice.map(|notice| notice.message.as_str()) == message
        };
        inner.units.get(object).is_some_and(said)
    }

    /// Puts a unit in its first state.
    pub fn insert_unit(&self, report: UnitReport) {
        self.change(|inner| inner.units.insert(report.object.clone(), report));
    }

    /// Says how an archive is doing. The generation is that of [`Self::label_archive`], if there is one.
    pub fn set_archive(&self, mut report: ArchiveReport) {
        self.change(|inner| {
            if let Some(generation) = inner.archive_generations.get(&report.key) {
                report.generation = *generation;
            }
            inner.archives.insert(report.key.clone(), report)
        });
    }

    /// Says which generation of an archive is in force, in its report as it is and in those to come.
    pub fn label_archive(&self, key: &ObjectKey, generation: i64) {
        self.change(|inner| {
            inner.archive_generations.insert(key.clone(), generation);
            if let Some(report) = inner.archives.get_mut(key) {
                report.generation = generation;
            }
        });
    }

    /// Removes an archive that is no longer in the plan.
    pub fn remove_archive(&self, key: &ObjectKey) {
        self.change(|inner| {
            inner.archive_generations.remove(key);
            inner.archives.remove(key)
        });
    }

    /// The report as of now.
    pub fn report(&self) -> Report {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Report {
            plan_hash: inner.plan_hash.clone(),
            sequence: *self.sequence.borrow(),
            plan_problem: inner.plan_problem.clone(),
            units: inner.units.values().cloned().collect(),
            archives: inner.archives.values().cloned().collect(),
        }
    }

    /// One unit's report.
    pub fn unit(&self, object: &ObjectRef) -> Option<UnitReport> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).units.get(object).cloned()
    }

    /// Tells of every change; the value is the report's sequence.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.sequence.subscribe()
    }
}

/// A line of a unit's log, redacted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// `info`, `warning`, `error`.
    pub level: &'static str,
    /// What.
    pub message: String,
}

/// The newest log lines of one object, for a person to look at; bounded.
#[derive(Debug, Default)]
pub struct LogBuffer {
    lines: Mutex<VecDeque<LogLine>>,
}

impl LogBuffer {
    /// How many lines are kept.
    pub const CAPACITY: usize = 500;

    /// Adds a line that has been redacted already.
    pub fn push(&self, level: &'static str, message: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == Self::CAPACITY {
            lines.pop_front();
        }
        lines.push_back(LogLine { at: Timestamp::now(), level, message });
    }

    /// The lines, oldest first.
    pub fn lines(&self) -> Vec<LogLine> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// What a unit is given.
#[derive(Debug, Clone)]
pub struct UnitContext {
    /// Whose unit this is.
    pub object: ObjectRef,
    /// `metadata.uid` of the object.
    pub uid: String,
    /// What else runs here.
    pub registry: Arc<Registry>,
    /// Where the state goes; use [`UnitContext::set_state`].
    pub board: Arc<Board>,
    /// Where secrets come from.
    pub secrets: Arc<dyn Secrets>,
    /// Log lines for people.
    pub logs: Arc<LogBuffer>,
    /// Cancelled when the unit must stop: it then finishes what it writes and returns.
    pub cancel: CancellationToken,
}

impl UnitContext {
    /// Says what the unit is doing now. `since` moves only when the state or the reason changes. Logged when it changes.
    pub fn set_state(&self, state: UnitState, reason: Reason, message: impl Into<String>) {
        let message = message.into();
        let mut changed = false;
        self.board.update_unit(&self.object, |report| {
            changed = report.state != state || report.reason != reason;
            if changed {
                report.since = UtcMicros::from_timestamp(Timestamp::now());
            }
            report.state = state;
            report.reason = reason;
            report.message.clone_from(&message);
        });
        if changed {
            let level = match state {
                UnitState::Failed => "error",
                UnitState::Reconnecting => "warning",
                _ => "info",
            };
            self.logs.push(level, message.clone());
            if level == "info" {
                tracing::info!(object = %self.object, ?state, ?reason, "{message}");
            } else {
                tracing::warn!(object = %self.object, ?state, ?reason, "{message}");
            }
        }
    }

    /// Changes other facts of the report.
    pub fn update(&self, update: impl FnOnce(&mut UnitReport)) {
        self.board.update_unit(&self.object, update);
    }

    /// Says that pictures flow, and what they are. A measured rate that wavers by a twentieth at most is no news.
    pub fn tell_media(&self, facts: MediaFacts) {
        let size = format!("{} {}x{}", facts.video_codec, facts.width, facts.height);
        self.set_state(UnitState::Running, Reason::Streaming, size);
        self.update(|report| {
            let same = report.media.as_ref().is_some_and(|known| {
                let change = known.frames_per_second_milli.abs_diff(facts.frames_per_second_milli);
                let mut other = facts.clone();
                other.frames_per_second_milli = known.frames_per_second_milli;
                *known == other && change <= known.frames_per_second_milli / 20
            });
            if !same {
                report.media = Some(facts);
            }
        });
    }

    /// Puts a notice up, or takes it down with `None`.
    pub fn set_notice(&self, kind: &str, message: Option<String>) {
        // Mostly it is known already, and some are told with every picture.
        if self.board.is_noticed(&self.object, kind, message.as_deref()) {
            return;
        }
        self.board.update_unit(&self.object, |report| {
            report.notices.retain(|notice| notice.kind != kind);
            if let Some(message) = message {
                report.notices.push(Notice { kind: kind.to_owned(), message });
            }
        });
    }
}
