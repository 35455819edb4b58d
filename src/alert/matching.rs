//! Which alerts a route takes. Pure.

use jiff::Timestamp;

use super::conditions::share;
use super::{Alert, own_name};
use crate::api::alert_route::{AlertRouteSpec, Match, ObjectKind as Kind};
use crate::plan::unit::{ObjectKey, ObjectKind};

/// Of a day that a recording should hold, where a route does not say, in millionths.
const COVERAGE_OBJECTIVE: u32 = 999_000;

/// A route as the engine sees it.
#[derive(Debug, Clone, Copy)]
pub struct Declared<'a> {
    /// Which.
    pub key: &'a ObjectKey,
    /// What is wanted of it.
    pub spec: &'a AlertRouteSpec,
    /// Whether it may see other namespaces than its own.
    pub may_see_all: bool,
}

const fn kind_of(kind: ObjectKind) -> Kind {
    match kind {
        ObjectKind::Camera => Kind::Camera,
        ObjectKind::Stream => Kind::Stream,
        ObjectKind::Archive => Kind::Archive,
        ObjectKind::Recording => Kind::Recording,
        ObjectKind::AlertRoute => Kind::AlertRoute,
    }
}

/// Whether a route takes an alert of this name; of an alert that it knows already, `known` is the name under which it does.
pub fn takes(route: &Declared<'_>, alert: &Alert, known: Option<&str>) -> bool {
    let object = &alert.key.object;
    // What is wrong with a route is not told by itself as if it were another's.
    if object.kind == ObjectKind::AlertRoute && object.key == *route.key {
        return false;
    }
    let default = Match::default();
    let wanted = route.spec.match_.as_ref().unwrap_or(&default);
    let sees_all = route.may_see_all && wanted.all_namespaces == Some(true);
    let objective = route.spec.coverage_objective.as_deref().and_then(share).unwrap_or(COVERAGE_OBJECTIVE);
    let is_named = |name: &str| own_name(name).is_some_and(|name| wanted.alerts.contains(&name));
    (sees_all || object.key.namespace == route.key.namespace)
        && (wanted.severities.is_empty() || wanted.severities.contains(&alert.severity))
        && (wanted.kinds.is_empty() || wanted.kinds.contains(&kind_of(object.kind)))
        && (wanted.alerts.is_empty() || is_named(&alert.name) || known.is_some_and(is_named))
        && alert.share.is_none_or(|share| share < objective)
        && wanted.object_selector.as_ref().is_none_or(|selector| {
            selector.match_labels.iter().all(|(name, value)| alert.labels.get(name) == Some(value))
        })
}

/// `at` and some milliseconds.
pub fn after(at: Timestamp, milliseconds: i64) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from_millis(milliseconds)).unwrap_or(Timestamp::MAX)
}
