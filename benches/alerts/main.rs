//! What alerts cost: 10,000 cameras go down at once, and then stay so. Time of one look at all objects, of one step of the engine for
//! each route, and of the noting; memory of the state; its size when it is saved. `cargo bench --bench alerts`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use camera_operator::alert::conditions::{Fact, Observed, observe};
use camera_operator::alert::engine::{Outcome, State};
use camera_operator::alert::matching::Declared;
use camera_operator::api::AlertRoute;
use camera_operator::plan::unit::{ObjectKey, ObjectKind, ObjectRef};
use jiff::Timestamp;
use serde_json::{Value, json};

/// How many cameras are down.
const CAMERAS: usize = 10_000;
/// In how many namespaces, each with a route of its own.
const NAMESPACES: usize = 20;
/// How often each thing is measured.
const TIMES: usize = 20;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("a time")
}

fn cameras(status: &str, reason: &str) -> Vec<(ObjectRef, Value)> {
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
    (0..CAMERAS).map(camera).collect()
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
    AlertRoute::new("ops", serde_json::from_value(spec).expect("a spec"))
}

/// Memory of this process that is resident, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn measure(mut what: impl FnMut()) -> Duration {
    let times = (0..TIMES).map(|_| {
        let begun = Instant::now();
        what();
        begun.elapsed()
    });
    median(times.collect())
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

fn main() {
    let (well, down) = (cameras("True", "Streaming"), cameras("False", "Unreachable"));
    let route = route();
    let keys: Vec<ObjectKey> = (0..NAMESPACES).map(|number| ObjectKey::new(format!("shop-{number}"), "ops")).collect();
    let mut states: Vec<State> = keys.iter().map(|_| State::default()).collect();
    let before = resident();
    println!("{CAMERAS} cameras in {NAMESPACES} namespaces, each with a route of two receivers");
    println!("look, all well:           {:?}", measure(|| drop(look(&well, at(0)))));
    println!("look, all down:           {:?}", measure(|| drop(look(&down, at(0)))));
    let observed = look(&down, at(0));
    let mut told = 0;
    let mut slowest = Duration::ZERO;
    for second in 0..120 {
        let begun = Instant::now();
        told += step(&mut states, &keys, &route, &observed, at(second));
        slowest = slowest.max(begun.elapsed());
    }
    println!("alerts told:              {told}");
    println!("slowest step, all routes: {slowest:?}");
    let standing = measure(|| assert_eq!(step(&mut states, &keys, &route, &observed, at(121)), 0));
    println!("step while they stand:    {standing:?}");
    let memory = resident().saturating_sub(before);
    println!("memory, with the look:    {:.1} MiB", memory as f64 / 1_048_576.0);
    let saved: usize = states.iter().map(|state| serde_json::to_vec(state).map_or(0, |text| text.len())).sum();
    println!("saved, as JSON:           {:.1} MiB", saved as f64 / 1_048_576.0);
    assert_eq!(told, 2 * CAMERAS, "each receiver is told of each camera once");
}
