//! Alerts when more than one thing goes wrong: a camera that flaps, receivers that are away meanwhile, hundreds of cameras at once
//! and a program that is killed with them, a clock that jumps. Nothing is lost, nothing is told twice, and order is kept.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::Value;

use crate::support::camera::Camera;
use crate::support::clock::Clock;
use crate::support::hook::Hook;
use crate::support::program::Program;
use crate::support::telegram::Telegram;
use crate::support::{free_port, manifest, wait};

const TOKEN: &str = "4714:Betony-rampion_1";
const CHAT: &str = "-1009";

/// A route of cameras that are down to a webhook and a chat.
fn route(hold: &str, hook: &Hook, telegram: &Telegram) -> String {
    let (port, url) = (hook.port, &telegram.url);
    manifest::secret("bot", &[("token", TOKEN)])
        + &format!(
            "---\napiVersion: camera-operator.dev/v1alpha1\nkind: AlertRoute\nmetadata:\n  name: ops\nspec:\n  \
             match: {{alerts: [CameraDown]}}\n  holdFor: {hold}\n  receivers:\n  \
             - {{name: hook, cooldown: 1s, webhook: {{url: 'http://127.0.0.1:{port}/hook'}}}}\n  \
             - {{name: chat, cooldown: 1s, telegram: {{apiUrl: '{url}', botTokenSecretRef: {{name: bot, key: token}}, chatId: '{CHAT}'}}}}\n"
        )
}

/// What was told, in its order: of each message the cameras with whether they are over.
fn told(hook: &Hook) -> Vec<Vec<(String, bool)>> {
    let message = |body: Value| {
        let alerts = body["alerts"].as_array().unwrap().clone();
        alerts
            .into_iter()
            .map(|alert| {
                let time = |field: &str| alert[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
                let is_over = alert["status"] == "resolved";
                assert!(!is_over || time("endsAt") >= time("startsAt"), "{alert:#}");
                assert_eq!(alert["labels"]["alertname"], "CameraDown", "{alert:#}");
                (alert["labels"]["name"].as_str().unwrap().to_owned(), is_over)
            })
            .collect()
    };
    hook.at("/hook").iter().map(|posted| message(posted.json())).collect()
}

fn down(name: &str) -> (String, bool) {
    (name.to_owned(), false)
}

fn over(name: &str) -> (String, bool) {
    (name.to_owned(), true)
}

fn is_down(program: &Program, camera: &str) {
    program.await_ready_condition(&format!("cameras/{camera}"), "False", &["Unreachable"]);
}

/// Until it has sent 75 pictures, at 25 a second: for several looks at whether alerts stand.
fn is_up_for_a_while(program: &Program, camera: &mut Camera) {
    program.await_object("cameras/cam");
    let before = camera.stats().frames;
    wait("more pictures", || (camera.stats().frames >= before + 75).then_some(()));
}

/// How many alerts the first receiver has not been told.
fn undelivered(program: &Program) -> Option<i64> {
    program.object("alertroutes/ops")?["status"]["receivers"][0]["undelivered"].as_i64()
}

#[test]
fn a_camera_that_flaps_is_told_once_when_it_stays_away_and_once_when_it_stays() {
    let mut camera = Camera::start("--fps 25");
    let (hook, telegram) = (Hook::start(), Telegram::start(TOKEN, CHAT));
    let mut program = Program::start(&(route("15s", &hook, &telegram) + &manifest::camera("cam", &camera.url)));
    program.await_object("cameras/cam");
    for _ in 0..3 {
        camera.kill();
        is_down(&program, "cam");
        camera.restart();
        is_up_for_a_while(&program, &mut camera);
    }
    assert_eq!(told(&hook), Vec::<Vec<_>>::new());
    camera.kill();
    hook.await_at("/hook", 1);
    for _ in 0..3 {
        camera.restart();
        is_up_for_a_while(&program, &mut camera);
        camera.kill();
        is_down(&program, "cam");
    }
    assert_eq!(told(&hook), [[down("cam")]], "it was not back to stay");
    camera.restart();
    hook.await_at("/hook", 2);
    telegram.await_sent(2);
    assert!(program.terminate().success(), "{}", program.log());
    assert_eq!(told(&hook), [[down("cam")], [over("cam")]]);
    assert_eq!((telegram.sent().len(), telegram.refused()), (2, Vec::new()));
}

#[test]
fn what_happens_while_a_receiver_is_away_is_told_when_it_is_back_in_its_order() {
    let mut cameras = ["a", "b", "c"].map(|name| (name, Camera::start("--fps 10")));
    let (mut hook, telegram) = (Hook::start(), Telegram::start(TOKEN, CHAT));
    let manifests = cameras.iter().map(|(name, camera)| manifest::camera(name, &camera.url));
    let mut program = Program::start(&(route("2s", &hook, &telegram) + &manifests.collect::<String>()));
    for (name, _) in &cameras {
        program.await_object(&format!("cameras/{name}"));
    }
    cameras[0].1.kill();
    hook.await_at("/hook", 1);
    hook.away();
    // One is back, one goes, and one goes and is back.
    cameras[0].1.restart();
    cameras[1].1.kill();
    cameras[2].1.kill();
    wait("the other receiver to hear of two more", || {
        let sent = telegram.sent();
        ["Camera default/b", "Camera default/c"]
            .iter()
            .all(|name| sent.iter().any(|sent| sent.text.contains(&format!("🔴 CameraDown: {name}"))))
            .then_some(())
    });
    cameras[2].1.restart();
    wait("and that one of them is over", || {
        telegram.sent().iter().any(|sent| sent.text.contains("✅ over CameraDown: Camera default/c")).then_some(())
    });
    wait("all to wait for who is away", || (undelivered(&program)? == 3).then_some(()));
    hook.back();
    hook.await_at("/hook", 2);
    cameras[1].1.restart();
    hook.await_at("/hook", 3);
    program.await_ready_condition("alertroutes/ops", "True", &["Delivering"]);
    assert!(program.terminate().success(), "{}", program.log());
    let told = told(&hook);
    assert_eq!((&told[0], &told[2]), (&vec![down("a")], &vec![over("b")]));
    // What stands comes first, and then what is over in the order in which it came to its end.
    assert_eq!(told[1], [down("b"), over("a"), over("c")]);
    assert_eq!(told.len(), 3);
}

#[test]
fn five_hundred_at_once_are_heard_once_each_although_nobody_listens_and_the_program_is_killed() {
    let (mut hook, telegram) = (Hook::start(), Telegram::start(TOKEN, CHAT));
    let nobody = free_port();
    let names: BTreeSet<String> = (0..500).map(|number| format!("camera-{number}")).collect();
    let (stay, gone): (BTreeSet<String>, BTreeSet<String>) =
        names.iter().cloned().partition(|name| name.ends_with('7'));
    let camera = |name: &String| {
        format!(
            "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Camera\nmetadata: {{name: {name}}}\n\
             spec: {{source: {{rtsp: {{url: 'rtsp://127.0.0.1:{nobody}/{name}'}}}}}}\n"
        )
    };
    let cameras = |names: &BTreeSet<String>| names.iter().map(camera).collect::<String>();
    let route = route("5s", &hook, &telegram);
    hook.away();
    let mut program = Program::start(&(route.clone() + &cameras(&names)));
    wait("all to wait for who is away", || (undelivered(&program)? == 500).then_some(()));
    wait("the chat, which is there, to hear of them in a few messages", || (!telegram.sent().is_empty()).then_some(()));
    program.kill();
    // Most of them are gone when it is back: only what was written down before the kill knows of them.
    program.write_manifests(&(route.clone() + &cameras(&stay)));
    program.start_again();
    hook.back();
    let over = || told(&hook).into_iter().flatten().filter(|(_, is_over)| *is_over).map(|(name, _)| name);
    wait("those that are gone to be over", || (over().count() >= gone.len()).then_some(()));
    program.write_manifests(&route);
    wait("all to be over", || (over().count() >= 500).then_some(()));
    wait("the chat to hear of it", || {
        telegram.sent().last().is_some_and(|sent| sent.text.contains('✅')).then_some(())
    });
    assert!(program.terminate().success(), "{}", program.log());
    assert_eq!((over().count(), over().collect::<BTreeSet<_>>()), (500, names));
    let down: Vec<String> =
        told(&hook).into_iter().flatten().filter(|(_, is_over)| !is_over).map(|(name, _)| name).collect();
    let different: BTreeSet<String> = down.iter().cloned().collect();
    assert_eq!(down.len(), different.len(), "nothing twice");
    assert!(different.is_superset(&stay), "what stands is told while it stands");
    assert_eq!(telegram.refused(), Vec::<String>::new());
}

#[test]
fn a_clock_that_jumps_loses_nothing_and_tells_nothing_twice() {
    let Some(clock) = Clock::new() else { return };
    let (mut door, mut yard) = (Camera::start("--fps 10"), Camera::start("--fps 10"));
    let (hook, telegram) = (Hook::start(), Telegram::start(TOKEN, CHAT));
    let manifests =
        route("2s", &hook, &telegram) + &manifest::camera("door", &door.url) + &manifest::camera("yard", &yard.url);
    let environment = clock.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut program = Program::start_with(&manifests, None, &environment);
    let is_up = |camera: &str| program.await_object(&format!("cameras/{camera}"));
    is_up("door");
    is_up("yard");
    door.kill();
    hook.await_at("/hook", 1);
    clock.set(SignedDuration::from_hours(365 * 24));
    is_up("yard");
    yard.kill();
    hook.await_at("/hook", 2);
    let began = hook.at("/hook")[1].json()["alerts"][0]["startsAt"].as_str().unwrap().parse::<jiff::Timestamp>();
    assert!(began.unwrap() > jiff::Timestamp::now() + SignedDuration::from_hours(300 * 24), "the clock did not jump");
    clock.set(SignedDuration::ZERO);
    yard.restart();
    hook.await_at("/hook", 3);
    door.restart();
    hook.await_at("/hook", 4);
    telegram.await_sent(4);
    assert!(program.terminate().success(), "{}", program.log());
    assert_eq!(told(&hook), [[down("door")], [down("yard")], [over("yard")], [over("door")]]);
    assert_eq!((telegram.sent().len(), telegram.refused()), (4, Vec::new()));
}
