//! Tables and properties of the engine.

use proptest::prelude::*;

use super::*;

const ROUTE: &str = "apiVersion: camera-operator.dev/v1alpha1\nkind: AlertRoute\nmetadata: {name: ops}\nspec:\n  holdFor: 10s\n  \
    receivers:\n  - {name: one, cooldown: 60s, webhook: {url: 'http://a.example/'}}\n";

fn route(more: &str) -> Vec<AlertRoute> {
    let loaded = crate::check::load_text("route.yaml", &format!("{ROUTE}{more}"));
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    loaded.manifests.alert_routes
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn camera(name: &str) -> ObjectRef {
    ObjectRef { kind: ObjectKind::Camera, key: ObjectKey::new("default", name) }
}

fn alert(name: &str) -> Alert {
    Alert {
        key: AlertKey { object: camera(name), name: AlertName::CameraDown },
        severity: Severity::Critical,
        reason: "Unreachable".into(),
        code: Some(101),
        message: "m".into(),
        since: at(0),
        labels: BTreeMap::from([("site".into(), "shop".into())]),
    }
}

fn standing(names: &[&str]) -> Observed {
    let alerts = names.iter().map(|name| (alert(name).key, alert(name))).collect();
    Observed { alerts, undecided: BTreeSet::new() }
}

fn told(delivery: &Delivery) -> Vec<(String, bool)> {
    delivery.alerts.iter().map(|told| (told.alert.key.object.key.name.clone(), told.ended.is_some())).collect()
}

/// Steps once a second and takes every delivery; what was delivered, with its second.
fn play(
    state: &mut State,
    routes: &[AlertRoute],
    seconds: std::ops::Range<i64>,
    observed: &Observed,
) -> Vec<(i64, Vec<(String, bool)>)> {
    let mut taken = Vec::new();
    for second in seconds {
        for delivery in state.step(routes, observed, at(second)) {
            taken.push((second, told(&delivery)));
            state.settle(&delivery, &Outcome::Taken, at(second));
        }
    }
    taken
}

fn is(name: &str, over: bool) -> (String, bool) {
    (name.to_owned(), over)
}

#[test]
fn an_alert_is_told_once_when_it_has_held_and_its_end_once() {
    let (mut state, routes) = (State::default(), route(""));
    assert_eq!(play(&mut state, &routes, 0..300, &standing(&["door"])), [(12, vec![is("door", false)])]);
    assert_eq!(play(&mut state, &routes, 300..600, &standing(&[])), [(312, vec![is("door", true)])]);
    assert_eq!(play(&mut state, &routes, 600..700, &standing(&[])), []);
}

#[test]
fn what_flaps_within_the_hold_is_never_told() {
    let (mut state, routes) = (State::default(), route(""));
    for second in 0..300 {
        let names: &[&str] = if second % 9 < 5 { &["door"] } else { &[] };
        assert!(state.step(&routes, &standing(names), at(second)).is_empty(), "{second}");
    }
}

#[test]
fn a_camera_that_comes_and_goes_while_it_is_down_is_told_once() {
    let (mut state, routes) = (State::default(), route(""));
    assert_eq!(play(&mut state, &routes, 0..20, &standing(&["door"])).len(), 1);
    for second in 20..300 {
        let names: &[&str] = if second % 9 < 5 { &["door"] } else { &[] };
        assert!(state.step(&routes, &standing(names), at(second)).is_empty(), "{second}");
    }
}

#[test]
fn many_at_once_are_one_message_and_what_comes_within_the_cooldown_is_the_next() {
    let (mut state, routes) = (State::default(), route(""));
    let all = play(&mut state, &routes, 0..20, &standing(&["a", "b", "c"]));
    assert_eq!(all, [(12, vec![is("a", false), is("b", false), is("c", false)])]);
    // Over and down again before the receiver may be told: nothing is lost, nothing is told twice.
    assert_eq!(play(&mut state, &routes, 20..35, &standing(&["b", "c", "d"])), []);
    let later = play(&mut state, &routes, 35..100, &standing(&["b", "c"]));
    assert_eq!(later, [(72, vec![is("a", true), is("d", true)])], "d came and went within the cooldown");
}

#[test]
fn a_refused_delivery_comes_again_with_the_same_key_and_growing_pauses() {
    let (mut state, routes) = (State::default(), route(""));
    let (mut keys, mut times) = (BTreeSet::new(), Vec::new());
    for second in 0..120 {
        for delivery in state.step(&routes, &standing(&["door"]), at(second)) {
            keys.insert(delivery.key.clone());
            times.push(second);
            let failed = Outcome::Failed { error: "no".into(), retry_after: (times.len() == 4).then_some(30_000) };
            state.settle(&delivery, &failed, at(second));
        }
        // As over a restart.
        state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
    }
    assert_eq!(times, [12, 13, 15, 19, 49, 65, 97]);
    assert_eq!(keys.len(), 1);
}

#[test]
fn one_that_fails_holds_up_no_other_which_hears_of_it() {
    let (mut state, routes) =
        (State::default(), route("  - {name: two, cooldown: 1s, webhook: {url: 'http://b.example/'}}\n"));
    let mut heard = Vec::new();
    for second in 0..60 {
        for delivery in state.step(&routes, &standing(&["door"]), at(second)) {
            let outcome = if delivery.receiver == "one" {
                Outcome::Failed { error: "no".into(), retry_after: None }
            } else {
                heard.extend(delivery.alerts.iter().map(|told| (told.alert.key.name, told.alert.code, told.ended)));
                Outcome::Taken
            };
            state.settle(&delivery, &outcome, at(second));
        }
    }
    assert_eq!(heard, [(AlertName::CameraDown, Some(101), None), (AlertName::AlertDeliveryFailed, Some(201), None)]);
    let name = ObjectKey::new("default", "ops");
    assert!(state.receiver(&name, "one").unwrap().error.is_some());
    assert_eq!(state.receiver(&name, "two").unwrap().undelivered(), 0);
}

#[test]
fn what_is_undecided_stays_as_it_was() {
    let (mut state, routes) = (State::default(), route(""));
    play(&mut state, &routes, 0..20, &standing(&["door"]));
    let restarted = Observed { undecided: BTreeSet::from([camera("door")]), ..Observed::default() };
    assert_eq!(play(&mut state, &routes, 20..200, &restarted), []);
    assert_eq!(play(&mut state, &routes, 200..300, &standing(&["door"])), []);
}

#[test]
fn a_clock_that_is_set_back_silences_nobody() {
    let (mut state, routes) = (State::default(), route(""));
    play(&mut state, &routes, 0..20, &standing(&["door"]));
    let after = play(&mut state, &routes, -100_000..-99_900, &standing(&["door", "yard"]));
    assert_eq!(after, [(-99_988, vec![is("yard", false)])]);
}

#[test]
fn routes_take_what_fits_in_their_own_namespace() {
    for (wanted, takes_it) in [
        ("{}", true),
        ("{severities: [Critical]}", true),
        ("{severities: [Warning, Info]}", false),
        ("{alerts: [CameraDown]}", true),
        ("{alerts: [StreamDown]}", false),
        ("{objectSelector: {matchLabels: {site: shop}}}", true),
        ("{objectSelector: {matchLabels: {site: yard}}}", false),
    ] {
        let spec = route(&format!("  match: {wanted}\n")).remove(0).spec;
        assert_eq!(takes(&spec, "default", &alert("door")), takes_it, "{wanted}");
        assert!(!takes(&spec, "other", &alert("door")));
    }
}

proptest! {
    /// Whatever stands and goes, and whatever a receiver takes or refuses: in the end it believes exactly what is so, it was
    /// told of each beginning and end in turn, and what is kept is bounded.
    #[test]
    fn in_the_end_a_receiver_knows_what_is_so(steps in proptest::collection::vec((0_u8..16, proptest::bool::weighted(0.3), 1_i64..40), 1..80)) {
        let (mut state, routes) = (State::default(), route(""));
        let mut believed: BTreeMap<String, bool> = BTreeMap::new();
        let mut now = 0;
        let mut last = 0;
        let settling = std::iter::repeat_n((None, false, 30), 40);
        for (bits, fails, pause) in steps.iter().map(|(bits, fails, pause)| (Some(*bits), *fails, *pause)).chain(settling) {
            last = bits.unwrap_or(last);
            let names: Vec<&str> = ["a", "b", "c", "d"].into_iter().enumerate().filter(|(bit, _)| last >> bit & 1 == 1).map(|(_, name)| name).collect();
            now += pause;
            for delivery in state.step(&routes, &standing(&names), at(now)) {
                if fails {
                    state.settle(&delivery, &Outcome::Failed { error: "no".into(), retry_after: None }, at(now));
                    continue;
                }
                for (name, over) in told(&delivery) {
                    let before = believed.insert(name, !over).unwrap_or(false);
                    // Nobody hears twice that something stands. That it is over can be all that is heard of it.
                    prop_assert!(!before || over);
                }
                state.settle(&delivery, &Outcome::Taken, at(now));
            }
            prop_assert!(state.routes["default/ops"].seen.len() <= 4);
        }
        let believes: Vec<&str> = believed.iter().filter(|(_, stands)| **stands).map(|(name, _)| name.as_str()).collect();
        let is_so: Vec<&str> = ["a", "b", "c", "d"].into_iter().enumerate().filter(|(bit, _)| last >> bit & 1 == 1).map(|(_, name)| name).collect();
        prop_assert_eq!(believes, is_so);
    }
}
