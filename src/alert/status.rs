//! How a route is doing, as its status says it. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::engine::{MAX_ALERTS, State};
use super::{quiet, template};
use crate::api::alert_route::{AlertRoute, AlertRouteStatus, ReceiverStatus, TestStatus};
use crate::api::condition::{self, Condition, FALSE, READY, TRUE, Time};
use crate::plan::report::Reason;

/// Condition: it cannot be written down who was told what.
pub const STATE_UNSAVED: &str = "StateUnsaved";
/// Condition: more alerts stand than are kept.
pub const TOO_MANY_ALERTS: &str = "TooManyAlerts";
/// Longest message of a condition, in characters.
const MAX_MESSAGE: usize = 1024;

/// What is known of a route beside its state.
#[derive(Debug, Clone, Default)]
pub struct Circumstances {
    /// What is wrong with what it says, found when it was read: sentences.
    pub invalid: Option<String>,
    /// A Secret that it names and that cannot be read: a sentence.
    pub secret: Option<String>,
    /// Why its state could not be saved.
    pub unsaved: Option<String>,
    /// What came of the last test, by receiver.
    pub tests: BTreeMap<String, TestStatus>,
}

/// What is wrong with a route that its schema cannot say.
pub fn invalid(route: &AlertRoute, may_see_all: bool) -> Option<String> {
    let wants_all = route.spec.match_.as_ref().and_then(|wanted| wanted.all_namespaces) == Some(true);
    if wants_all && !may_see_all {
        return Some(
            "match.allNamespaces is for routes in the operator's namespace; this one sees its own namespace only: make the \
             route there, or leave the field out"
                .to_owned(),
        );
    }
    if let Some(zone) = quiet::unknown_zone(&route.spec.quiet_hours) {
        return Some(format!(
            "there is no time zone {zone}, and its quiet hours are taken as UTC: write an IANA name, such as Europe/Madrid"
        ));
    }
    template::problems(route).into_iter().next().map(|(index, error)| {
        let receiver = route.spec.receivers.get(index).map_or("", |receiver| receiver.name.as_str());
        format!("the template of receiver {receiver} is wrong, and the built-in text is sent instead: {error}")
    })
}

/// `at` in whole seconds, as Kubernetes writes times.
pub fn seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// The status.
pub fn status(
    route: &AlertRoute,
    before: Option<&AlertRouteStatus>,
    state: &State,
    known: &Circumstances,
    now: Timestamp,
) -> AlertRouteStatus {
    let mut receivers = Vec::new();
    for declared in &route.spec.receivers {
        let receiver = state.receiver(&declared.name);
        receivers.push(ReceiverStatus {
            name: declared.name.clone(),
            last_delivery: receiver.and_then(|receiver| receiver.last_delivery).map(seconds),
            undelivered: receiver.map_or(0, |receiver| i32::try_from(receiver.undelivered()).unwrap_or(i32::MAX)),
            error: receiver.and_then(|receiver| receiver.error.clone()),
            test: known.tests.get(&declared.name).cloned(),
        });
    }
    let failed = receivers.iter().find_map(|one| Some(format!("receiver {}: {}", one.name, one.error.as_ref()?)));
    let (ready, reason, message) = match (failed, &known.secret, &known.invalid) {
        (Some(failed), ..) => (FALSE, Reason::DeliveryFailed, failed),
        (None, Some(secret), _) => (FALSE, Reason::SecretMissing, secret.clone()),
        (None, None, Some(invalid)) => (FALSE, Reason::InvalidSpec, invalid.clone()),
        (None, None, None) => (TRUE, Reason::Delivering, "alerts are delivered".to_owned()),
    };
    let unsaved = known.unsaved.as_ref().map(|error| {
        let message =
            format!("it cannot be written down who was told what, so that a restart would tell it again: {error}");
        (STATE_UNSAVED, "NotWritable", message)
    });
    let overflow = (state.overflow() > 0).then(|| {
        let message = format!(
            "more than {MAX_ALERTS} alerts stand, and the others are not told before some of these are over: make several routes"
        );
        (TOO_MANY_ALERTS, "BoundReached", message)
    });
    let previous = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let condition = |type_: &str, status: &str, reason: String, message: String| {
        let before = condition::find(previous, type_).filter(|before| before.status == status);
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason,
            message: message.chars().take(MAX_MESSAGE).collect(),
            last_transition_time: before.map_or_else(|| seconds(now), |before| before.last_transition_time.clone()),
            observed_generation: route.metadata.generation,
        }
    };
    let mut conditions = vec![condition(READY, ready, reason.name(), message)];
    for (type_, reason, message) in unsaved.into_iter().chain(overflow) {
        conditions.push(condition(type_, TRUE, reason.to_owned(), message));
    }
    AlertRouteStatus {
        observed_generation: route.metadata.generation,
        conditions,
        standing: i32::try_from(state.standing()).ok(),
        tested: state.tested.clone(),
        receivers,
    }
}
