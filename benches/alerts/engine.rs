//! The engine by itself, in this process: cameras of many namespaces go down at once, and then stay so.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use camera_operator::alert::conditions::{Observed, observe};
use camera_operator::alert::engine::{Outcome, State};
use camera_operator::alert::facts::Fact;
use camera_operator::alert::matching::Declared;
use camera_operator::api::AlertRoute;
use camera_operator::plan::unit::{ObjectKey, ObjectKind, ObjectRef};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::NAMESPACES;
use crate::support::process;

/// How often each thing is measured.
const TIMES: usize = 20;

/// What it costs.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    /// One look at all objects while they are well (median).
    pub well: Duration,
    /// The same while all are down.
    pub down: Duration,
    /// The slowest step of all routes together, in which they are told of everything.
    pub slowest: Duration,
    /// A step of all routes while everything stands and is told (median).
    pub standing: Duration,
    /// What the process holds more than before, with the look, bytes.
    pub memory: u64,
    /// The states as they are saved, bytes.
    pub saved: usize,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn cameras(count: usize, status: &str, reason: &str) -> Vec<(ObjectRef, Value)> {
    let camera = |number: usize| {
        let key = ObjectKey::new(format!("shop-{}", number % NAMESPACES), format!("camera-{number}"));
        let object = json!({
            "metadata": {"labels": {"site": "shop", "floor": "1"}}, "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": status, "reason": reason,
                "message": "rtsp: the camera does not answer: No route to host (os error 113); it is tried again in 30 s",
                "lastTransitionTime": "2027-01-15T08:00:00Z"}]},
        });
        (ObjectRef { kind: ObjectKind::Camera, key }, object)
    };
    (0..count).map(camera).collect()
}

fn look(objects: &[(ObjectRef, Value)], now: Timestamp) -> Observed {
    let facts: Vec<Fact<'_>> = objects.iter().map(|(reference, object)| Fact::of_json(reference, object)).collect();
    observe(&facts, &BTreeMap::new(), now)
}

fn route() -> AlertRoute {
    let spec = json!({"receivers": [
        {"name": "hook", "webhook": {"url": "http://a.example/"}},
        {"name": "mail", "webhook": {"url": "http://b.example/"}},
    ]});
    AlertRoute::new("ops", serde_json::from_value(spec).unwrap())
}

fn median(mut what: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..TIMES)
        .map(|_| {
            let begun = Instant::now();
            what();
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn step(states: &mut [State], keys: &[ObjectKey], route: &AlertRoute, observed: &Observed, now: Timestamp) -> usize {
    let mut told = 0;
    for (state, key) in states.iter_mut().zip(keys) {
        let declared = Declared { key, spec: &route.spec, may_see_all: false };
        for delivery in state.step(&declared, observed, now) {
            told += delivery.alerts.len();
            state.settle(&delivery, &Outcome::Taken, now);
        }
    }
    told
}

/// With so many cameras.
pub fn measure(count: usize) -> Engine {
    let (well, down) = (cameras(count, "True", "Streaming"), cameras(count, "False", "Unreachable"));
    let route = route();
    let keys: Vec<ObjectKey> = (0..NAMESPACES).map(|number| ObjectKey::new(format!("shop-{number}"), "ops")).collect();
    let mut states: Vec<State> = keys.iter().map(|_| State::default()).collect();
    let (well, when_down) = (median(|| drop(look(&well, at(0)))), median(|| drop(look(&down, at(0)))));
    let before = process::pss_bytes(std::process::id());
    let observed = look(&down, at(0));
    let (mut told, mut slowest) = (0, Duration::ZERO);
    for second in 0..120 {
        let begun = Instant::now();
        told += step(&mut states, &keys, &route, &observed, at(second));
        slowest = slowest.max(begun.elapsed());
    }
    assert_eq!(told, 2 * count, "each receiver is told of each camera once");
    let standing = median(|| assert_eq!(step(&mut states, &keys, &route, &observed, at(121)), 0));
    let memory = process::pss_bytes(std::process::id()).saturating_sub(before);
    let saved = states.iter().map(|state| serde_json::to_vec(state).map_or(0, |text| text.len())).sum();
    Engine { well, down: when_down, slowest, standing, memory, saved }
}
