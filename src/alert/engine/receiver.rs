//! What a receiver believes, what it is to be told, and when. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{MAX_ALERTS, Seen};
use crate::alert::matching::after;
use crate::api::alert_receiver::Receiver as Spec;

/// Once something is to be told, this long is waited, in milliseconds, for what comes with it.
const GATHER: i64 = 2_000;
/// And so much longer for what is on its way already: ten cameras behind one dead switch are one message.
const GATHER_MOST: i64 = 10_000;
const COOLDOWN: u64 = 300_000;
const COOLDOWN_EMAIL: u64 = 600_000;

/// What is known of a receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Receiver {
    /// Alerts that it believes to stand.
    pub(super) told: BTreeSet<String>,
    /// What it is to be told, and since when that is over.
    pub(super) pending: BTreeMap<String, Option<Timestamp>>,
    /// What is being sent, or may have been taken although nobody knows: it stays one message.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) sending: BTreeMap<String, Option<Timestamp>>,
    /// Whether no attempt to send that was left open: neither one that got no answer, nor one of an earlier process.
    #[serde(skip)]
    pub(super) is_fresh: bool,
    /// How many messages it has taken: what makes two of the same words two messages.
    pub(super) taken: u64,
    /// Since when there is something to be told.
    pub(super) pending_since: Option<Timestamp>,
    /// When it last took a message.
    pub last_delivery: Option<Timestamp>,
    /// When it last took a heartbeat.
    pub(super) last_heartbeat: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// Since when.
    pub(super) failing_since: Option<Timestamp>,
    /// Why it did not take the last one.
    pub error: Option<String>,
    /// Not before this.
    pub(super) not_before: Option<Timestamp>,
}

impl Receiver {
    /// How many alerts it has not been told yet.
    pub fn undelivered(&self) -> usize {
        self.pending.len()
    }
}

impl Receiver {
    /// Whether it knows, or is to hear, of an alert.
    pub(super) fn refers_to(&self, text: &str) -> bool {
        self.told.contains(text) || self.pending.contains_key(text) || self.sending.contains_key(text)
    }

    /// What was being sent was taken.
    pub(super) fn take(&mut self, now: Timestamp) {
        self.last_delivery = Some(now);
        self.taken += 1;
        for (text, ended) in std::mem::take(&mut self.sending) {
            if self.pending.get(&text) == Some(&ended) {
                self.pending.remove(&text);
            }
            if ended.is_some() {
                self.told.remove(&text);
            } else {
                self.told.insert(text);
            }
        }
        self.pending_since = (!self.pending.is_empty()).then_some(now);
    }

    /// Works out what it does not know. `own` is the topic of the alert that it fails.
    pub(super) fn update(&mut self, alerts: &BTreeMap<String, Seen>, own: &str, sends_resolved: bool, now: Timestamp) {
        // It cannot be told that it cannot be told.
        let standing = |text: &str| alerts.get(text).filter(|seen| seen.held && seen.alert.key.topic != own);
        for (text, _) in alerts.iter().filter(|(_, seen)| seen.held && seen.alert.key.topic != own) {
            if self.told.contains(text) {
                // It came back before its end was told: nothing has happened.
                self.pending.remove(text);
            } else if let Some(ended) = self.pending.get_mut(text) {
                *ended = None;
            } else if self.pending.len() + self.told.len() < 2 * MAX_ALERTS {
                self.pending.insert(text.clone(), None);
            }
        }
        let ended = |text: &str| alerts.get(text).filter(|seen| !seen.active).map_or(now, |seen| seen.changed);
        for (text, over) in &mut self.pending {
            if over.is_none() && standing(text).is_none() {
                *over = Some(ended(text));
            }
        }
        let over: Vec<String> = self.told.iter().filter(|text| standing(text).is_none()).cloned().collect();
        for text in over {
            if sends_resolved {
                let ended = ended(&text);
                self.pending.entry(text).or_insert(Some(ended));
            } else {
                self.told.remove(&text);
            }
        }
        // What is known of it no more, nobody can be told of.
        self.pending.retain(|text, _| alerts.contains_key(text));
        self.told.retain(|text| alerts.contains_key(text));
        self.sending.retain(|text, _| alerts.contains_key(text));
        self.pending_since = (!self.pending.is_empty()).then(|| self.pending_since.unwrap_or(now));
    }

    /// Whether it is time to tell it.
    pub(super) fn may_be_told(
        &self,
        declared: &Spec,
        alerts: &BTreeMap<String, Seen>,
        hold: i64,
        now: Timestamp,
    ) -> bool {
        let Some(since) = self.pending_since.filter(|_| !self.pending.is_empty()) else { return false };
        let is_cool = self.last_delivery.is_none_or(|last| last > now || after(last, cooldown(declared)) <= now);
        if !is_cool {
            return false;
        }
        if since > now || after(since, GATHER_MOST) <= now {
            return true;
        }
        let most = after(since, GATHER_MOST);
        let comes = |seen: &Seen| seen.active && !seen.held && after(seen.changed, hold) <= most;
        after(since, GATHER) <= now && !alerts.values().any(comes)
    }

    /// Whether it is time for a sign of life.
    pub(super) fn is_heartbeat_due(&self, declared: &Spec, now: Timestamp) -> bool {
        let Some(every) = declared.heartbeat.as_ref().map(|every| every.milliseconds() as i64) else { return false };
        self.last_heartbeat.is_none_or(|last| last > now || after(last, every) <= now)
    }
}

/// Least milliseconds between two messages.
pub(super) fn cooldown(declared: &Spec) -> i64 {
    let default = if declared.email.is_some() { COOLDOWN_EMAIL } else { COOLDOWN };
    declared.cooldown.as_ref().map_or(default, crate::api::Duration::milliseconds) as i64
}
