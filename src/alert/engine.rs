//! Alerts in, time in → deliveries out. Pure, and level-triggered: what a receiver has not been told is worked out anew from
//! what stands and from what it was told, so that nothing is lost while a receiver is away or this program does not run.
//!
//! A delivery is repeated until the receiver has taken it: at least once. Before it is sent it is noted, and what a kill between
//! sending and noting its end repeats is the same message with the same [`Delivery::key`].

mod receiver;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::receiver::Receiver;
use super::alertmanager::Reported;
use super::conditions::Observed;
use super::matching::{Declared, after, takes};
use super::quiet;
use super::{Alert, AlertKey, Told};
use crate::api::alert_route::{AlertName, Severity};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef, hex};

/// Most alerts that are kept for a route. What stands beyond them is counted, and taken up when others are over.
pub const MAX_ALERTS: usize = 2_000;
/// Failures in a row after which the other receivers of the route are told.
const FAILURES_TO_TELL: u32 = 3;
/// Pause after a first failure, in milliseconds; doubled with each further one, up to [`MAX_PAUSE`].
const FIRST_PAUSE: i64 = 1_000;
/// Longest pause between two attempts, in milliseconds.
const MAX_PAUSE: i64 = 300_000;
/// Longest pause that a receiver may ask for, in milliseconds.
const MAX_ASKED_PAUSE: i64 = 3_600_000;
const HOLD_FOR: u64 = 30_000;
/// What Alertmanager has not repeated for this long, in milliseconds, is over: it repeats every four hours by default.
const EXTERNAL_FOR: i64 = 24 * 3_600_000;

/// All that is remembered for a route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct State {
    /// What stands, or stood and is still to be told of, by [`AlertKey::text`].
    alerts: BTreeMap<String, Seen>,
    /// What Alertmanager has told, by [`AlertKey::text`] and fingerprint, and until when that holds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    external: BTreeMap<String, (Alert, Timestamp)>,
    /// By name.
    receivers: BTreeMap<String, Receiver>,
    /// The value of the annotation that asks for a test, when it was last obeyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tested: Option<String>,
    /// What else does not do what it is for, by the alert that it comes from.
    #[serde(skip)]
    affects: BTreeMap<String, Vec<ObjectRef>>,
    /// How many alerts stand beyond those that are kept.
    #[serde(skip)]
    overflow: usize,
}

/// An alert on its way through `holdFor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Seen {
    alert: Alert,
    /// Whether it stands now.
    active: bool,
    /// Since when it does or does not.
    changed: Timestamp,
    /// Whether it has stood for long enough, and has not been gone for long enough.
    held: bool,
}

/// What a delivery is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// To tell of alerts.
    Alerts,
    /// To show that alerts would come.
    Heartbeat,
    /// Somebody wants to see whether it arrives.
    Test,
}

/// One message to one receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// What it is for.
    pub purpose: Purpose,
    /// Of which route.
    pub route: ObjectKey,
    /// Name of the receiver.
    pub receiver: String,
    /// The same for the same message, also after a restart: by it a receiver can tell a repetition.
    pub key: String,
    /// What is told: what stands first, then what is over, each by time.
    pub alerts: Vec<Told>,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Taken,
    /// It was not. Holds no secret.
    Failed {
        /// Why.
        error: String,
        /// The receiver asked to be left alone this long, in milliseconds.
        retry_after: Option<i64>,
        /// Whether it may have been taken all the same: no answer came.
        is_uncertain: bool,
    },
}

impl State {
    /// What is known of a receiver.
    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.get(name)
    }

    /// How many alerts stand, those among them that are not kept.
    pub fn standing(&self) -> usize {
        self.alerts.values().filter(|seen| seen.held).count() + self.overflow
    }

    /// How many alerts stand beyond those that are kept.
    pub const fn overflow(&self) -> usize {
        self.overflow
    }

    /// Takes in what Alertmanager tells. Where several of its alerts are one of ours, it is over when the last of them is.
    pub fn take_in(&mut self, alerts: Vec<Reported>, now: Timestamp) {
        for Reported { alert, fingerprint, is_over } in alerts {
            let text = format!("{} {fingerprint}", alert.key.text());
            if is_over {
                self.external.remove(&text);
            } else if self.external.len() < MAX_ALERTS || self.external.contains_key(&text) {
                self.external.insert(text, (alert, after(now, EXTERNAL_FOR)));
            }
        }
    }

    /// Takes in what is so at `now`, and returns what is to be sent now. A delivery is returned again until
    /// [`State::settle`] is told what became of it.
    pub fn step(&mut self, route: &Declared<'_>, observed: &Observed, now: Timestamp) -> Vec<Delivery> {
        self.see(route, observed, now);
        self.tell(route, now);
        self.due(route, now)
    }

    /// Notes what became of a delivery at `now`.
    pub fn settle(&mut self, delivery: &Delivery, outcome: &Outcome, now: Timestamp) {
        let Some(receiver) = self.receivers.get_mut(&delivery.receiver) else { return };
        match outcome {
            Outcome::Taken => {
                (receiver.failures, receiver.failing_since) = (0, None);
                (receiver.error, receiver.not_before) = (None, None);
                match delivery.purpose {
                    Purpose::Alerts => receiver.take(now),
                    Purpose::Heartbeat => receiver.last_heartbeat = Some(now),
                    Purpose::Test => {}
                }
            }
            // Whoever tests is told at once, and what is not yet wrong with alerts is left alone.
            Outcome::Failed { .. } if delivery.purpose == Purpose::Test => {}
            Outcome::Failed { error, retry_after, is_uncertain } => {
                let doubled = FIRST_PAUSE.saturating_mul(1 << receiver.failures.min(20)).min(MAX_PAUSE);
                receiver.failures = receiver.failures.saturating_add(1);
                receiver.failing_since = receiver.failing_since.or(Some(now));
                receiver.error = Some(error.chars().take(500).collect());
                let pause = retry_after.unwrap_or(0).clamp(0, MAX_ASKED_PAUSE).max(doubled);
                receiver.not_before = Some(after(now, pause));
                receiver.is_fresh &= !is_uncertain;
                if receiver.is_fresh {
                    // What was certainly not taken may go with what has come since.
                    receiver.sending.clear();
                }
            }
        }
    }

    /// Brings `alerts` up to date.
    fn see(&mut self, route: &Declared<'_>, observed: &Observed, now: Timestamp) {
        let hold = hold(route);
        for (_, until) in self.external.values_mut() {
            // A clock that was set back must not keep anything for ever.
            *until = (*until).min(after(now, EXTERNAL_FOR));
        }
        self.external.retain(|_, (_, until)| *until > now);
        (self.affects, self.overflow) = (BTreeMap::new(), 0);
        let mut standing = BTreeSet::new();
        let failures = self.failures(route, now);
        // Alertmanager asked for its alerts to be told here; whatever else the route takes does not matter to them.
        let mut external: Vec<Alert> = self.external.values().map(|(alert, _)| alert.clone()).collect();
        // Of several that are one, the worst speaks.
        external.sort_by(|one, other| one.key.cmp(&other.key).then(other.severity.cmp(&one.severity)));
        let all = observed.alerts.values().map(|alert| (alert, false));
        for (alert, is_foreign) in all.chain(external.iter().chain(&failures).map(|alert| (alert, true))) {
            let text = alert.key.text();
            let known = self.alerts.get(&text);
            if !is_foreign && !takes(route, alert, known.map(|seen| seen.alert.name.as_str())) {
                continue;
            }
            // What is known of the object itself says more than what Prometheus knows of it.
            if is_foreign && standing.contains(&text) {
                continue;
            }
            let cause = alert.cause.as_ref().and_then(|cause| observed.alerts.get(cause));
            if let Some(cause) = cause.filter(|cause| takes(route, cause, None)) {
                self.affects.entry(cause.key.text()).or_default().push(alert.key.object.clone());
                if known.is_none_or(|seen| !seen.held && !seen.active) {
                    continue;
                }
            }
            if known.is_none() && self.alerts.len() >= MAX_ALERTS {
                self.overflow += 1;
                continue;
            }
            self.stands(&text, alert, now);
            standing.insert(text);
        }
        let (receivers, failures_begin) = (&self.receivers, failure_topic(""));
        self.alerts.retain(|text, seen| {
            seen.changed = seen.changed.min(now);
            let object = &seen.alert.key.object;
            let is_undecided = observed.undecided.contains(object);
            if seen.active && !standing.contains(text) && !is_undecided {
                (seen.active, seen.changed) = (false, now);
            }
            // That a receiver fails is counted already; it need not stand for longer.
            let is_failure = seen.alert.key.topic.starts_with(&failures_begin) && object.key == *route.key;
            let is_long = is_failure || after(seen.changed, hold) <= now;
            if seen.active {
                seen.held |= is_long;
                return true;
            }
            seen.held &= !is_long;
            // What did not stand for long enough never was; what was told is kept until its end was.
            seen.held || receivers.values().any(|receiver| receiver.refers_to(text))
        });
    }

    fn stands(&mut self, text: &str, alert: &Alert, now: Timestamp) {
        let seen = self.alerts.entry(text.to_owned()).or_insert_with(|| Seen {
            alert: alert.clone(),
            active: true,
            changed: now,
            held: false,
        });
        if !seen.active {
            (seen.active, seen.changed) = (true, now);
        }
        // Since when, and what it was called at first once that may have been told, stay; why may become clearer.
        let name = if seen.held { seen.alert.name.clone() } else { alert.name.clone() };
        seen.alert = Alert { since: seen.alert.since, name, ..alert.clone() };
    }

    /// An alert for each receiver that fails, for the others.
    fn failures(&self, route: &Declared<'_>, now: Timestamp) -> Vec<Alert> {
        let failing = self.receivers.iter().filter(|(_, receiver)| receiver.failures >= FAILURES_TO_TELL);
        failing
            .map(|(name, receiver)| {
                let object = ObjectRef { kind: ObjectKind::AlertRoute, key: route.key.clone() };
                let key = AlertKey { object, topic: failure_topic(name) };
                let since = receiver.failing_since.unwrap_or(now);
                let title = format!("{:?}", AlertName::AlertDeliveryFailed);
                let error = receiver.error.as_deref().unwrap_or("it did not answer");
                let alert = Alert::new(key, title, Severity::Warning, "DeliveryFailed", since);
                let message = format!("Receiver {name} does not take its messages: {error}");
                Alert { code: Some(201), ..alert }.saying(&message)
            })
            .collect()
    }

    /// Works out what each receiver does not know.
    fn tell(&mut self, route: &Declared<'_>, now: Timestamp) {
        let names: BTreeSet<&str> = route.spec.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
        self.receivers.retain(|receiver, _| names.contains(receiver.as_str()));
        let sends_resolved = route.spec.send_resolved.unwrap_or(true);
        for name in names {
            let own = failure_topic(name);
            self.receivers.entry(name.to_owned()).or_default().update(&self.alerts, &own, sends_resolved, now);
        }
    }

    fn due(&mut self, route: &Declared<'_>, now: Timestamp) -> Vec<Delivery> {
        let waiting = quiet::waiting(&route.spec.quiet_hours, now);
        let hold = hold(route);
        let mut deliveries = Vec::new();
        for declared in &route.spec.receivers {
            let Some(receiver) = self.receivers.get_mut(&declared.name) else { continue };
            // A clock that was set back must not silence anybody: an instant further away than any pause is none.
            if receiver.not_before.is_some_and(|at| at > now && at <= after(now, MAX_ASKED_PAUSE)) {
                continue;
            }
            if receiver.sending.is_empty() && receiver.may_be_told(declared, &self.alerts, hold, now) {
                let alerts = &self.alerts;
                let waits = |text: &String| alerts.get(text).is_some_and(|seen| waiting.contains(&seen.alert.severity));
                let batch = receiver.pending.iter().filter(|(text, _)| !waits(text));
                receiver.sending = batch.map(|(text, ended)| (text.clone(), *ended)).collect();
                receiver.is_fresh = true;
            }
            if receiver.sending.is_empty() {
                if receiver.is_heartbeat_due(declared, now) {
                    deliveries.push(sign_of_life(route.key, &declared.name, Purpose::Heartbeat, now));
                }
                continue;
            }
            deliveries.push(delivery(route.key, &declared.name, receiver, &self.alerts, &self.affects));
        }
        deliveries
    }
}

fn hold(route: &Declared<'_>) -> i64 {
    route.spec.hold_for.as_ref().map_or(HOLD_FOR, crate::api::Duration::milliseconds) as i64
}

/// The topic of a route's alert that a receiver of it fails.
pub fn failure_topic(receiver: &str) -> String {
    format!("{:?}#{receiver}", AlertName::AlertDeliveryFailed)
}

fn delivery(
    route: &ObjectKey,
    name: &str,
    receiver: &Receiver,
    alerts: &BTreeMap<String, Seen>,
    affects: &BTreeMap<String, Vec<ObjectRef>>,
) -> Delivery {
    let told = receiver.sending.iter().filter_map(|(text, ended)| {
        let affects = affects.get(text).filter(|_| ended.is_none()).cloned().unwrap_or_default();
        let alert = alerts.get(text)?.alert.clone();
        // A clock that was set back lets nothing end before it began.
        let ended = ended.map(|ended| ended.max(alert.since));
        Some(Told { alert, ended, affects })
    });
    let mut alerts: Vec<Told> = told.collect();
    alerts.sort_by(|one, other| {
        let order = |told: &Told| (told.ended.is_some(), told.ended.unwrap_or(told.alert.since));
        order(one).cmp(&order(other)).then_with(|| one.alert.key.cmp(&other.alert.key))
    });
    let mut hash = Sha256::new();
    hash.update(format!("{route}/{name} {}", receiver.taken));
    for told in &alerts {
        hash.update(format!("\n{} {} {:?}", told.alert.key.text(), told.alert.since, told.ended));
    }
    let key = hex(&hash.finalize())[..32].to_owned();
    Delivery { purpose: Purpose::Alerts, route: route.clone(), receiver: name.to_owned(), key, alerts }
}

/// A message that tells of nothing but itself.
pub fn sign_of_life(route: &ObjectKey, name: &str, purpose: Purpose, now: Timestamp) -> Delivery {
    let (title, message) = match purpose {
        Purpose::Test => ("TestAlert", "This is a test: alerts of this route arrive here."),
        _ => (
            "Heartbeat",
            "Alerts of this route would arrive here. While this message keeps coming, no news is good news.",
        ),
    };
    let object = ObjectRef { kind: ObjectKind::AlertRoute, key: route.clone() };
    let key = AlertKey { object, topic: title.to_owned() };
    let alert = Alert::new(key, title, Severity::Info, title, now).saying(message);
    let key = hex(&Sha256::digest(format!("{route}/{name} {title} {now}")))[..32].to_owned();
    let alerts = vec![Told { alert, ended: None, affects: Vec::new() }];
    Delivery { purpose, route: route.clone(), receiver: name.to_owned(), key, alerts }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
