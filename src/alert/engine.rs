//! Alerts in, time in → deliveries out. Pure, and level-triggered: what a receiver has not been told is worked out anew from
//! what stands and from what it was told, so that nothing is lost while a receiver is away or this program does not run.
//!
//! A delivery is repeated until the receiver has taken it: at least once. What a kill between sending and noting repeats carries
//! the same [`Delivery::key`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::conditions::Observed;
use super::{Alert, AlertKey, Told};
use crate::api::AlertRoute;
use crate::api::alert_route::{AlertName, AlertRouteSpec, Severity};
use crate::plan::objects::key;
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef, hex};

/// Most alerts that are kept for a receiver. What stands beyond them is taken up when others have been told.
pub const MAX_ALERTS: usize = 1000;
/// Failures in a row after which the other receivers of the route are told.
const FAILURES_TO_TELL: u32 = 3;
/// Once something is to be told, this long is waited, in milliseconds, so that ten cameras behind one dead switch are one message.
const GATHER: i64 = 2_000;
/// Pause after a first failure, in milliseconds; doubled with each further one, up to [`MAX_PAUSE`].
const FIRST_PAUSE: i64 = 1_000;
/// Longest pause between two attempts, in milliseconds.
const MAX_PAUSE: i64 = 300_000;
const HOLD_FOR: u64 = 30_000;
const COOLDOWN: u64 = 300_000;

/// All that is remembered, by route (`namespace/name`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct State {
    routes: BTreeMap<String, Route>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
struct Route {
    /// Alerts that stand or stood a moment ago, by [`AlertKey::text`].
    #[serde(default)]
    seen: BTreeMap<String, Seen>,
    /// By name.
    #[serde(default)]
    receivers: BTreeMap<String, Receiver>,
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

/// What is known of a receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Receiver {
    /// Alerts that it believes to stand.
    #[serde(default)]
    told: BTreeMap<String, Alert>,
    /// What it is to be told.
    #[serde(default)]
    pending: BTreeMap<String, Told>,
    /// Since when there is something to be told.
    #[serde(default)]
    pending_since: Option<Timestamp>,
    /// When it last took a message.
    #[serde(default)]
    pub last_delivery: Option<Timestamp>,
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// Why it did not take the last one.
    #[serde(default)]
    pub error: Option<String>,
    /// Not before this.
    #[serde(default)]
    not_before: Option<Timestamp>,
}

impl Receiver {
    /// How many alerts it has not been told yet.
    pub fn undelivered(&self) -> usize {
        self.pending.len()
    }
}

/// One message to one receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
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
    },
}

fn after(at: Timestamp, milliseconds: i64) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from_millis(milliseconds)).unwrap_or(Timestamp::MAX)
}

/// Whether a route takes an alert.
pub fn takes(spec: &AlertRouteSpec, namespace: &str, alert: &Alert) -> bool {
    let Some(wanted) = &spec.match_ else { return alert.key.object.key.namespace == namespace };
    alert.key.object.key.namespace == namespace
        && (wanted.severities.is_empty() || wanted.severities.contains(&alert.severity))
        && (wanted.alerts.is_empty() || wanted.alerts.contains(&alert.key.name))
        && wanted.object_selector.as_ref().is_none_or(|selector| {
            selector.match_labels.iter().all(|(name, value)| alert.labels.get(name) == Some(value))
        })
}

impl State {
    /// What is known of a receiver.
    pub fn receiver(&self, route: &ObjectKey, name: &str) -> Option<&Receiver> {
        self.routes.get(&route.to_string())?.receivers.get(name)
    }

    /// Takes in what is so at `now`, and returns what is to be sent now. A delivery is returned again until
    /// [`State::settle`] is told that it was taken.
    pub fn step(&mut self, routes: &[AlertRoute], observed: &Observed, now: Timestamp) -> Vec<Delivery> {
        let declared: BTreeSet<String> = routes.iter().map(|route| key(route).to_string()).collect();
        self.routes.retain(|route, _| declared.contains(route));
        let mut deliveries = Vec::new();
        for declared in routes {
            let name = key(declared);
            let route = self.routes.entry(name.to_string()).or_default();
            route.see(&declared.spec, &name.namespace, observed, now);
            route.tell(&declared.spec, &name, now);
            deliveries.extend(route.due(&declared.spec, &name, now));
        }
        deliveries
    }

    /// Notes what became of a delivery at `now`.
    pub fn settle(&mut self, delivery: &Delivery, outcome: &Outcome, now: Timestamp) {
        let Some(route) = self.routes.get_mut(&delivery.route.to_string()) else { return };
        let Some(receiver) = route.receivers.get_mut(&delivery.receiver) else { return };
        match outcome {
            Outcome::Taken => {
                (receiver.failures, receiver.error, receiver.not_before) = (0, None, None);
                receiver.last_delivery = Some(now);
                for told in &delivery.alerts {
                    let text = told.alert.key.text();
                    if told.ended.is_some() {
                        receiver.told.remove(&text);
                    } else {
                        receiver.told.insert(text.clone(), told.alert.clone());
                    }
                    if receiver.pending.get(&text) == Some(told) {
                        receiver.pending.remove(&text);
                    }
                }
                receiver.pending_since = (!receiver.pending.is_empty()).then_some(now);
            }
            Outcome::Failed { error, retry_after } => {
                let doubled = FIRST_PAUSE.saturating_mul(1 << receiver.failures.min(20)).min(MAX_PAUSE);
                receiver.failures = receiver.failures.saturating_add(1);
                receiver.error = Some(error.chars().take(1024).collect());
                receiver.not_before = Some(after(now, retry_after.unwrap_or(0).clamp(0, 3_600_000).max(doubled)));
            }
        }
    }
}

impl Route {
    /// Brings `seen` up to date.
    fn see(&mut self, spec: &AlertRouteSpec, namespace: &str, observed: &Observed, now: Timestamp) {
        let hold = spec.hold_for.as_ref().map_or(HOLD_FOR, crate::api::Duration::milliseconds) as i64;
        for alert in observed.alerts.values().filter(|alert| takes(spec, namespace, alert)) {
            let text = alert.key.text();
            if self.seen.len() >= MAX_ALERTS && !self.seen.contains_key(&text) {
                continue;
            }
            let seen = self.seen.entry(text).or_insert_with(|| Seen {
                alert: alert.clone(),
                active: true,
                changed: now,
                held: false,
            });
            if !seen.active {
                (seen.active, seen.changed) = (true, now);
            }
            // What it was at first is what is told, except for why, which may become clearer.
            let since = seen.alert.since;
            seen.alert = Alert { since, ..alert.clone() };
        }
        self.seen.retain(|_, seen| {
            // A clock that was set back must not hold anything for ever.
            seen.changed = seen.changed.min(now);
            let stands = observed.alerts.contains_key(&seen.alert.key) && takes(spec, namespace, &seen.alert);
            let is_undecided = observed.undecided.contains(&seen.alert.key.object);
            if seen.active && !stands && !is_undecided {
                (seen.active, seen.changed) = (false, now);
            }
            let is_over = after(seen.changed, hold) <= now;
            if seen.active {
                seen.held |= is_over;
                return true;
            }
            // What did not stand for long enough never was.
            seen.held && !is_over
        });
    }

    /// Works out what each receiver does not know.
    fn tell(&mut self, spec: &AlertRouteSpec, name: &ObjectKey, now: Timestamp) {
        let names: BTreeSet<&str> = spec.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
        self.receivers.retain(|receiver, _| names.contains(receiver.as_str()));
        for receiver in &spec.receivers {
            self.receivers.entry(receiver.name.clone()).or_default();
        }
        let failing: Vec<(String, Alert)> = self
            .receivers
            .iter()
            .filter(|(_, receiver)| receiver.failures >= FAILURES_TO_TELL)
            .map(|(receiver, state)| (receiver.clone(), delivery_failed(name, receiver, state, now)))
            .collect();
        let sends_resolved = spec.send_resolved.unwrap_or(true);
        for (own, receiver) in &mut self.receivers {
            let mut standing: BTreeMap<String, &Alert> = self
                .seen
                .iter()
                .filter(|(_, seen)| seen.held)
                .map(|(text, seen)| (text.clone(), &seen.alert))
                .collect();
            // One speaks for all that fail: its object, the route, names them in its status.
            let other = failing.iter().find(|(other, _)| other != own);
            standing.extend(other.map(|(_, alert)| (alert.key.text(), alert)));
            receiver.update(&standing, sends_resolved, now);
        }
    }

    fn due(&self, spec: &AlertRouteSpec, name: &ObjectKey, now: Timestamp) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        for declared in &spec.receivers {
            let Some(receiver) = self.receivers.get(&declared.name).filter(|one| !one.pending.is_empty()) else {
                continue;
            };
            let cooldown = declared.cooldown.as_ref().map_or(COOLDOWN, crate::api::Duration::milliseconds) as i64;
            let is_cool = receiver.last_delivery.is_none_or(|last| last > now || after(last, cooldown) <= now);
            // A clock that was set back must not silence anybody: an instant further away than any pause is none.
            let may = receiver.not_before.is_none_or(|at| at <= now || at > after(now, 3_600_000));
            let gathered = receiver.pending_since.is_none_or(|since| since > now || after(since, GATHER) <= now);
            if is_cool && may && gathered {
                deliveries.push(delivery(name, &declared.name, receiver));
            }
        }
        deliveries
    }
}

impl Receiver {
    fn update(&mut self, standing: &BTreeMap<String, &Alert>, sends_resolved: bool, now: Timestamp) {
        for (text, alert) in standing {
            if self.told.contains_key(text) {
                // It came back before its end was told: nothing has happened.
                self.pending.remove(text);
            } else if let Some(pending) = self.pending.get_mut(text) {
                pending.ended = None;
            } else if self.pending.len() + self.told.len() < MAX_ALERTS {
                self.pending.insert(text.clone(), Told { alert: (*alert).clone(), ended: None });
            }
        }
        for (text, pending) in &mut self.pending {
            if !standing.contains_key(text) && pending.ended.is_none() {
                pending.ended = Some(now);
            }
        }
        let over: Vec<String> = self.told.keys().filter(|&text| !standing.contains_key(text)).cloned().collect();
        for text in over {
            if !sends_resolved {
                self.told.remove(&text);
            } else if let Some(alert) = self.told.get(&text).filter(|_| !self.pending.contains_key(&text)) {
                self.pending.insert(text, Told { alert: alert.clone(), ended: Some(now) });
            }
        }
        self.pending_since = (!self.pending.is_empty()).then(|| self.pending_since.unwrap_or(now));
    }
}

fn delivery(route: &ObjectKey, name: &str, receiver: &Receiver) -> Delivery {
    let mut alerts: Vec<Told> = receiver.pending.values().cloned().collect();
    alerts.sort_by(|one, other| {
        let order = |told: &Told| (told.ended.is_some(), told.ended.unwrap_or(told.alert.since));
        order(one).cmp(&order(other)).then_with(|| one.alert.key.cmp(&other.alert.key))
    });
    let mut hash = Sha256::new();
    hash.update(format!("{route}/{name}"));
    for told in &alerts {
        hash.update(format!("\n{} {} {:?}", told.alert.key.text(), told.alert.since, told.ended));
    }
    let key = hex(&hash.finalize())[..32].to_owned();
    Delivery { route: route.clone(), receiver: name.to_owned(), key, alerts }
}

/// That a receiver cannot be reached, for the others.
fn delivery_failed(route: &ObjectKey, name: &str, receiver: &Receiver, now: Timestamp) -> Alert {
    let object = ObjectRef { kind: ObjectKind::AlertRoute, key: route.clone() };
    let error = receiver.error.as_deref().unwrap_or("it did not answer");
    Alert {
        key: AlertKey { object, name: AlertName::AlertDeliveryFailed },
        severity: Severity::Warning,
        reason: "DeliveryFailed".into(),
        code: Some(201),
        message: format!("Receiver {name} does not take its messages: {error}"),
        since: receiver.pending_since.unwrap_or(now),
        labels: BTreeMap::new(),
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
