//! Tables of the engine.

use super::receiver::cooldown;
use super::*;
use crate::api::AlertRoute;
use crate::plan::objects::key;

const ROUTE: &str = "apiVersion: camera-operator.dev/v1alpha1\nkind: AlertRoute\nmetadata: {name: ops}\nspec:\n  holdFor: 10s\n  \
    receivers:\n  - {name: one, cooldown: 60s, webhook: {url: 'http://a.example/'}}\n";

pub(super) fn route(more: &str) -> AlertRoute {
    let loaded = crate::check::load_text("route.yaml", &format!("{ROUTE}{more}"));
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    loaded.manifests.alert_routes.into_iter().next().unwrap()
}

pub(super) fn step(state: &mut State, route: &AlertRoute, observed: &Observed, now: Timestamp) -> Vec<Delivery> {
    let declared = Declared { key: &key(route), spec: &route.spec, may_see_all: false };
    state.step(&declared, observed, now)
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn object(kind: ObjectKind, name: &str) -> ObjectRef {
    ObjectRef { kind, key: ObjectKey::new("default", name) }
}

pub(super) fn alert(name: &str) -> Alert {
    let key = AlertKey::own(object(ObjectKind::Camera, name), AlertName::CameraDown);
    let mut alert = Alert::new(key, "CameraDown", Severity::Critical, "Unreachable", at(0)).saying("m");
    alert.code = Some(101);
    alert.labels = BTreeMap::from([("site".into(), "shop".into())]);
    alert
}

pub(super) fn observed(alerts: impl IntoIterator<Item = Alert>) -> Observed {
    let alerts = alerts.into_iter().map(|alert| (alert.key.clone(), alert)).collect();
    Observed { alerts, undecided: BTreeSet::new() }
}

pub(super) fn standing(names: &[&str]) -> Observed {
    observed(names.iter().map(|name| alert(name)))
}

pub(super) fn told(delivery: &Delivery) -> Vec<(String, bool)> {
    delivery.alerts.iter().map(|told| (told.alert.key.object.key.name.clone(), told.ended.is_some())).collect()
}

/// Steps once a second and takes every delivery; what was delivered, with its second.
fn play(
    state: &mut State,
    route: &AlertRoute,
    seconds: std::ops::Range<i64>,
    observed: &Observed,
) -> Vec<(i64, Vec<(String, bool)>)> {
    let mut taken = Vec::new();
    for second in seconds {
        for delivery in step(state, route, observed, at(second)) {
            taken.push((second, told(&delivery)));
            state.settle(&delivery, &Outcome::Taken, at(second));
        }
    }
    taken
}

fn is(name: &str, over: bool) -> (String, bool) {
    (name.to_owned(), over)
}

pub(super) fn refused() -> Outcome {
    Outcome::Failed { error: "no".into(), retry_after: None, is_uncertain: false }
}

pub(super) fn reported(alert: Alert, fingerprint: &str, is_over: bool) -> Reported {
    Reported { alert, fingerprint: fingerprint.to_owned(), is_over }
}

/// As over a restart.
pub(super) fn again(state: &State) -> State {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

#[test]
fn an_alert_is_told_once_when_it_has_held_and_its_end_once() {
    let (mut state, route) = (State::default(), route(""));
    assert_eq!(play(&mut state, &route, 0..300, &standing(&["door"])), [(12, vec![is("door", false)])]);
    assert_eq!(play(&mut state, &route, 300..600, &standing(&[])), [(312, vec![is("door", true)])]);
    assert_eq!(play(&mut state, &route, 600..700, &standing(&[])), []);
    assert!(state.alerts.is_empty(), "nothing is kept of what is over and told");
}

#[test]
fn what_flaps_within_the_hold_is_never_told() {
    let (mut state, route) = (State::default(), route(""));
    for second in 0..300 {
        let names: &[&str] = if second % 9 < 5 { &["door"] } else { &[] };
        assert!(step(&mut state, &route, &standing(names), at(second)).is_empty(), "{second}");
    }
}

#[test]
fn a_camera_that_comes_and_goes_while_it_is_down_is_told_once() {
    let (mut state, route) = (State::default(), route(""));
    assert_eq!(play(&mut state, &route, 0..20, &standing(&["door"])).len(), 1);
    for second in 20..300 {
        let names: &[&str] = if second % 9 < 5 { &["door"] } else { &[] };
        assert!(step(&mut state, &route, &standing(names), at(second)).is_empty(), "{second}");
    }
}

#[test]
fn many_at_once_are_one_message_and_what_comes_within_the_cooldown_is_the_next() {
    let (mut state, route) = (State::default(), route(""));
    let all = play(&mut state, &route, 0..20, &standing(&["a", "b", "c"]));
    assert_eq!(all, [(12, vec![is("a", false), is("b", false), is("c", false)])]);
    // Over and down again before the receiver may be told: nothing is lost, nothing is told twice.
    assert_eq!(play(&mut state, &route, 20..35, &standing(&["b", "c", "d"])), []);
    let later = play(&mut state, &route, 35..100, &standing(&["b", "c"]));
    assert_eq!(later, [(72, vec![is("a", true), is("d", true)])], "d came and went within the cooldown");
}

#[test]
fn ten_cameras_that_fail_within_seconds_are_one_message() {
    let (mut state, route) = (State::default(), route(""));
    let names: Vec<String> = (0..10).map(|number| format!("c{number}")).collect();
    let mut sent = Vec::new();
    for second in 0..60 {
        let down = names.iter().take(second as usize + 1).map(|name| alert(name));
        for delivery in step(&mut state, &route, &observed(down), at(second)) {
            sent.push((second, delivery.alerts.len()));
            state.settle(&delivery, &Outcome::Taken, at(second));
        }
    }
    assert_eq!(sent, [(19, 10)]);
}

#[test]
fn email_and_chats_have_their_own_cooldown_by_default() {
    let spec = |receiver: &str| {
        let more = format!("  - {{name: two, {receiver}}}\n");
        route(&more).spec.receivers.remove(1)
    };
    assert_eq!(
        cooldown(&spec("email: {smtp: {host: mail.example.com}, from: a@b.example, to: [c@d.example]}")),
        600_000
    );
    assert_eq!(cooldown(&spec("webhook: {url: 'http://a.example/'}")), 300_000);
    assert_eq!(cooldown(&spec("cooldown: 1s, webhook: {url: 'http://a.example/'}")), 1_000);
}

#[test]
fn a_refused_delivery_comes_again_with_the_same_key_and_growing_pauses() {
    let (mut state, route) = (State::default(), route(""));
    let (mut keys, mut times) = (BTreeSet::new(), Vec::new());
    for second in 0..120 {
        for delivery in step(&mut state, &route, &standing(&["door"]), at(second)) {
            keys.insert(delivery.key.clone());
            times.push(second);
            let retry_after = (times.len() == 4).then_some(30_000);
            let failed = Outcome::Failed { error: "no".into(), retry_after, is_uncertain: false };
            state.settle(&delivery, &failed, at(second));
        }
        state = again(&state);
    }
    assert_eq!(times, [12, 13, 15, 19, 49, 65, 97]);
    assert_eq!(keys.len(), 1);
}

#[test]
fn what_may_have_been_taken_stays_the_same_message() {
    let (mut state, route) = (State::default(), route(""));
    for second in 0..12 {
        assert!(step(&mut state, &route, &standing(&["a"]), at(second)).is_empty());
    }
    let first = step(&mut state, &route, &standing(&["a"]), at(12)).remove(0);
    // Killed between sending and noting; meanwhile more has happened.
    let mut state = again(&state);
    for second in 13..40 {
        let repeated = step(&mut state, &route, &standing(&["a", "b"]), at(second));
        assert_eq!(repeated.iter().map(|one| &one.key).collect::<Vec<_>>(), [&first.key]);
    }
    state.settle(&first, &Outcome::Taken, at(40));
    assert_eq!(play(&mut state, &route, 41..120, &standing(&["a", "b"])), [(100, vec![is("b", false)])]);
}

#[test]
fn one_that_fails_holds_up_no_other_which_hears_of_it() {
    let more = "  - {name: two, cooldown: 1s, webhook: {url: 'http://b.example/'}}\n";
    let (mut state, route) = (State::default(), route(more));
    let mut heard = Vec::new();
    for second in 0..120 {
        for delivery in step(&mut state, &route, &standing(&["door"]), at(second)) {
            let outcome = if delivery.receiver == "one" && second < 60 {
                refused()
            } else {
                let alerts = delivery.alerts.iter().filter(|_| delivery.receiver == "two");
                heard.extend(alerts.map(|told| (told.alert.name.clone(), told.alert.code, told.ended.is_some())));
                Outcome::Taken
            };
            state.settle(&delivery, &outcome, at(second));
        }
    }
    let failed = || "AlertDeliveryFailed".to_owned();
    let expected = [("CameraDown".into(), Some(101), false), (failed(), Some(201), false), (failed(), Some(201), true)];
    assert_eq!(heard, expected);
    assert!(state.receiver("one").unwrap().error.is_none());
    assert_eq!(state.receiver("two").unwrap().undelivered(), 0);
}

#[test]
fn what_is_undecided_stays_as_it_was() {
    let (mut state, route) = (State::default(), route(""));
    play(&mut state, &route, 0..20, &standing(&["door"]));
    let undecided = BTreeSet::from([object(ObjectKind::Camera, "door")]);
    let restarted = Observed { undecided, ..Observed::default() };
    assert_eq!(play(&mut state, &route, 20..200, &restarted), []);
    assert_eq!(play(&mut state, &route, 200..300, &standing(&["door"])), []);
}

#[test]
fn a_clock_that_is_set_back_silences_nobody() {
    let (mut state, route) = (State::default(), route(""));
    play(&mut state, &route, 0..20, &standing(&["door"]));
    let after = play(&mut state, &route, -100_000..-99_900, &standing(&["door", "yard"]));
    assert_eq!(after, [(-99_988, vec![is("yard", false)])]);
}

#[test]
fn a_clock_that_jumps_ahead_loses_nothing_and_tells_nothing_twice() {
    let (mut state, route) = (State::default(), route(""));
    play(&mut state, &route, 0..20, &standing(&["door"]));
    let after = play(&mut state, &route, 100_000..100_100, &standing(&["door", "yard"]));
    assert_eq!(after, [(100_012, vec![is("yard", false)])]);
    assert_eq!(play(&mut state, &route, 100_100..100_200, &standing(&[])).len(), 1);
}

#[test]
fn a_camera_whose_reason_changes_is_one_alert() {
    let (mut state, route) = (State::default(), route(""));
    let stalled = Alert { name: "CameraStalled".into(), reason: "Stalled".into(), ..alert("door") };
    let key = AlertKey::own(object(ObjectKind::Camera, "door"), AlertName::CameraStalled);
    assert_eq!(key, alert("door").key);
    assert_eq!(play(&mut state, &route, 0..100, &observed([stalled])).len(), 1);
    assert_eq!(play(&mut state, &route, 100..200, &standing(&["door"])), []);
    let end = play(&mut state, &route, 200..300, &standing(&[]));
    assert_eq!(end, [(212, vec![is("door", true)])]);
}

#[test]
fn what_comes_from_a_cause_is_told_with_it_and_alone_where_the_cause_is_not() {
    let gap = || {
        let key = AlertKey::own(object(ObjectKind::Recording, "rec"), AlertName::RecordingGap);
        let alert = Alert::new(key, "RecordingGap", Severity::Critical, "CameraUnavailable", at(0));
        Alert { cause: Some(super::tests::alert("door").key), ..alert }
    };
    let both = observed([alert("door"), gap()]);
    let mut state = State::default();
    let all = route("");
    let mut sent = Vec::new();
    for second in 0..30 {
        sent.extend(step(&mut state, &all, &both, at(second)).first().cloned());
    }
    assert_eq!(told(&sent[0]), [is("door", false)]);
    assert_eq!(sent[0].alerts[0].affects, [object(ObjectKind::Recording, "rec")]);
    let recordings = route("  match: {alerts: [RecordingGap]}\n");
    let alone = play(&mut State::default(), &recordings, 0..30, &both);
    assert_eq!(alone, [(12, vec![is("rec", false)])]);
}

#[test]
fn quiet_hours_hold_back_what_is_not_critical() {
    // 1_800_000_000 is 08:00 UTC.
    let quiet = route("  quietHours: [{from: '07:00', to: '08:10'}]\n");
    let mut state = State::default();
    let warning = Alert { severity: Severity::Warning, ..alert("yard") };
    let both = observed([alert("door"), warning]);
    let sent = play(&mut state, &quiet, 0..700, &both);
    assert_eq!(sent, [(12, vec![is("door", false)]), (600, vec![is("yard", false)])]);
}

#[test]
fn a_heartbeat_comes_whatever_else_happens() {
    let more = "  - {name: two, heartbeat: 60s, cooldown: 1s, webhook: {url: 'http://b.example/'}}\n";
    let (mut state, route) = (State::default(), route(more));
    let mut beats = Vec::new();
    for second in 0..200 {
        for delivery in step(&mut state, &route, &standing(&["door"]), at(second)) {
            if delivery.purpose == Purpose::Heartbeat {
                assert_eq!(delivery.alerts[0].alert.name, "Heartbeat");
                beats.push(second);
            }
            state.settle(&delivery, &Outcome::Taken, at(second));
        }
        state = again(&state);
    }
    assert_eq!(beats, [0, 60, 120, 180]);
}

#[test]
fn prometheus_and_conditions_are_one_alert_and_one_alone_is_enough() {
    let (mut state, route) = (State::default(), route(""));
    let of_prometheus = || Alert { reason: "Prometheus".into(), ..alert("door") };
    state.take_in(vec![reported(of_prometheus(), "00aa", false)], at(0));
    assert_eq!(play(&mut state, &route, 0..100, &standing(&["door"])), [(12, vec![is("door", false)])]);
    let mut state = again(&state);
    assert_eq!(play(&mut state, &route, 100..200, &standing(&[])), [], "Prometheus still says so");
    state.take_in(vec![reported(of_prometheus(), "00aa", true)], at(200));
    assert_eq!(play(&mut state, &route, 200..300, &standing(&[])), [(212, vec![is("door", true)])]);
    // What is not ours is told whatever the route takes otherwise.
    let foreign = AlertKey { object: object(ObjectKind::AlertRoute, "ops"), topic: "HighLoad#1".into() };
    let load = Alert::new(foreign, "HighLoad", Severity::Warning, "Prometheus", at(300));
    state.take_in(vec![reported(load, "1", false)], at(300));
    let narrow = super::tests::route("  match: {alerts: [CameraDown]}\n");
    assert_eq!(play(&mut state, &narrow, 300..400, &standing(&[])).len(), 1);
    // Alertmanager went away without a word.
    let gone = play(&mut state, &narrow, 300 + 24 * 3600..400 + 24 * 3600, &standing(&[]));
    assert_eq!(gone.len(), 1);
}

#[test]
fn several_alerts_of_prometheus_that_are_one_are_over_with_the_last() {
    let (mut state, route) = (State::default(), route(""));
    let of = |severity, message: &str| {
        let key = AlertKey::own(object(ObjectKind::Recording, "rec"), AlertName::CoverageBelowObjective);
        Alert::new(key, "CoverageBelowObjective", severity, "Prometheus", at(0)).saying(message)
    };
    let (day, hour) = (|| of(Severity::Info, "a day"), || of(Severity::Critical, "an hour"));
    state.take_in(vec![reported(day(), "1d", false), reported(hour(), "1h", false)], at(0));
    assert_eq!(play(&mut state, &route, 0..100, &standing(&[])), [(12, vec![is("rec", false)])]);
    assert_eq!(state.alerts.values().next().unwrap().alert.message, "an hour", "the worst speaks");
    state.take_in(vec![reported(day(), "1d", true), reported(hour(), "1h", false)], at(100));
    assert_eq!(play(&mut state, &route, 100..200, &standing(&[])), []);
    state.take_in(vec![reported(hour(), "1h", true)], at(200));
    assert_eq!(play(&mut state, &route, 200..300, &standing(&[])), [(212, vec![is("rec", true)])]);
}

#[test]
fn a_route_that_does_not_want_ends_is_told_none_and_each_beginning() {
    let (mut state, route) = (State::default(), route("  sendResolved: false\n"));
    assert_eq!(play(&mut state, &route, 0..100, &standing(&["door"])), [(12, vec![is("door", false)])]);
    assert_eq!(play(&mut state, &route, 100..200, &standing(&[])), []);
    assert!(state.alerts.is_empty(), "nothing is kept of it");
    assert_eq!(play(&mut state, &route, 200..300, &standing(&["door"])), [(212, vec![is("door", false)])]);
}

#[test]
fn five_hundred_at_once_are_one_message_and_what_is_kept_is_bounded() {
    let (mut state, route) = (State::default(), route(""));
    let all = |count: usize| observed((0..count).map(|number| alert(&format!("c{number}"))));
    let sent = play(&mut state, &route, 0..30, &all(500));
    assert_eq!(sent.iter().map(|(at, told)| (*at, told.len())).collect::<Vec<_>>(), [(12, 500)]);
    assert_eq!(play(&mut state, &route, 30..100, &all(500)), []);
    let sent = play(&mut state, &route, 100..200, &all(MAX_ALERTS + 50));
    assert_eq!(sent.iter().map(|(_, told)| told.len()).sum::<usize>(), MAX_ALERTS - 500);
    assert_eq!((state.overflow(), state.standing()), (50, MAX_ALERTS + 50));
}

#[test]
fn routes_take_what_fits_in_their_own_namespace() {
    for (wanted, takes_it) in [
        ("{}", true),
        ("{severities: [Critical]}", true),
        ("{severities: [Warning, Info]}", false),
        ("{alerts: [CameraDown]}", true),
        ("{alerts: [StreamDown]}", false),
        ("{kinds: [Camera]}", true),
        ("{kinds: [Recording, Stream]}", false),
        ("{objectSelector: {matchLabels: {site: shop}}}", true),
        ("{objectSelector: {matchLabels: {site: yard}}}", false),
    ] {
        let route = route(&format!("  match: {wanted}\n"));
        let (own, other) = (ObjectKey::new("default", "ops"), ObjectKey::new("other", "ops"));
        let of = |key, may_see_all| Declared { key, spec: &route.spec, may_see_all };
        assert_eq!(takes(&of(&own, false), &alert("door"), None), takes_it, "{wanted}");
        assert!(!takes(&of(&other, true), &alert("door"), None), "it did not ask for all namespaces");
    }
    let all = route("  match: {allNamespaces: true}\n");
    let other = ObjectKey::new("other", "ops");
    let of = |may_see_all| Declared { key: &other, spec: &all.spec, may_see_all };
    assert!(takes(&of(true), &alert("door"), None));
    assert!(!takes(&of(false), &alert("door"), None), "it asks and may not");
}

#[test]
fn each_route_has_its_own_objective_of_coverage() {
    let key = AlertKey::own(object(ObjectKind::Recording, "rec"), AlertName::CoverageBelowObjective);
    let day = Alert::new(key, "CoverageBelowObjective", Severity::Info, "CoverageBelowObjective", at(0));
    let day = Alert { share: Some(998_000), ..day };
    for (objective, takes_it) in
        [("", true), ("  coverageObjective: 99.7%\n", false), ("  coverageObjective: 100%\n", true)]
    {
        let route = route(objective);
        let own = ObjectKey::new("default", "ops");
        let declared = Declared { key: &own, spec: &route.spec, may_see_all: false };
        assert_eq!(takes(&declared, &day, None), takes_it, "{objective}");
    }
}
