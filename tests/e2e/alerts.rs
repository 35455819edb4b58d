//! A camera's plug is pulled: each receiver hears it once, and hears once when it is over; also when the receiver is away
//! meanwhile, or the program is killed, even between sending and noting it.

use ring::hmac;
use serde_json::Value;

use crate::support::camera::Camera;
use crate::support::hook::{Hook, Posted};
use crate::support::program::Program;
use crate::support::telegram::Telegram;
use crate::support::{http, manifest, wait};

const TOKEN: &str = "4711:Quince-medlar_8";
const CHAT: &str = "-1007";
const SIGNING: &str = "Sorrel-lovage-3";
const PROMETHEUS: &str = "Borage-chervil-6";
const SLACK: &str = "/services/Tarragon5";

fn secrets(hook: &Hook) -> String {
    let slack = format!("http://127.0.0.1:{}{SLACK}", hook.port);
    let keys = [("token", TOKEN), ("signing", SIGNING), ("slack", &slack), ("prometheus", PROMETHEUS)];
    manifest::secret("alerts", &keys)
}

/// A route with these lines of `spec`, and its receivers.
fn route(spec: &str, receivers: &[String]) -> String {
    let receivers: String = receivers.iter().map(|receiver| format!("  - {{cooldown: 1s, {receiver}}}\n")).collect();
    format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: AlertRoute\nmetadata:\n  name: ops\nspec:\n{spec}  receivers:\n{receivers}"
    )
}

fn to_hook(hook: &Hook) -> String {
    let url = format!("http://127.0.0.1:{}/hook", hook.port);
    format!("name: hook, webhook: {{url: '{url}', signingSecretRef: {{name: alerts, key: signing}}}}")
}

fn to_telegram(telegram: &Telegram) -> String {
    let url = &telegram.url;
    format!(
        "name: chat, telegram: {{apiUrl: '{url}', botTokenSecretRef: {{name: alerts, key: token}}, chatId: '{CHAT}'}}"
    )
}

fn to_slack() -> String {
    "name: slack, slack: {urlSecretRef: {name: alerts, key: slack}}".to_owned()
}

/// Holds for 3 s, as a fresh connection takes.
const CAMERA_DOWN: &str = "  match: {severities: [Critical], alerts: [CameraDown]}\n  holdFor: 3s\n";

/// A camera, and a route to a webhook, a Telegram bot and Slack.
fn manifests(camera: &Camera, hook: &Hook, telegram: &Telegram) -> String {
    let receivers = [to_hook(hook), to_telegram(telegram), to_slack()];
    secrets(hook) + &route(CAMERA_DOWN, &receivers) + &manifest::camera("cam", &camera.url)
}

/// What was told of the camera, in its order: `firing`, `resolved`.
fn told(posted: &[Posted]) -> Vec<String> {
    let mut told = Vec::new();
    for body in posted.iter().map(Posted::json) {
        assert_eq!(body["version"], "4");
        for alert in body["alerts"].as_array().unwrap() {
            let labels = &alert["labels"];
            let time = |field: &str| alert[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
            assert!(time("startsAt") > jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(alert["status"] == "resolved", time("endsAt") > time("startsAt"), "{body:#}");
            if labels["alertname"] == "CameraDown" && labels["namespace"] == "default" && labels["name"] == "cam" {
                told.push(alert["status"].as_str().unwrap().to_owned());
            }
        }
    }
    told
}

fn assert_signed(posted: &Posted) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SIGNING.as_bytes());
    let signature = posted.headers["x-camera-operator-signature"].to_str().unwrap().strip_prefix("sha256=").unwrap();
    let bytes: Vec<u8> =
        (0..signature.len()).step_by(2).map(|at| u8::from_str_radix(&signature[at..at + 2], 16).unwrap()).collect();
    hmac::verify(&key, &posted.body, &bytes).expect("the signature is that of the body");
}

#[test]
fn a_pulled_plug_is_heard_once_by_everybody_and_so_is_its_end() {
    let mut camera = Camera::start("");
    let hook = Hook::start();
    let telegram = Telegram::start(TOKEN, CHAT);
    let mut program = Program::start(&manifests(&camera, &hook, &telegram));
    program.await_object("cameras/cam");
    program.await_ready_condition("alertroutes/ops", "True", &["Delivering"]);
    camera.kill();
    hook.await_at("/hook", 1);
    hook.await_at(SLACK, 1);
    telegram.await_sent(1);
    camera.restart();
    hook.await_at("/hook", 2);
    hook.await_at(SLACK, 2);
    telegram.await_sent(2);
    program.await_ready_condition("alertroutes/ops", "True", &["Delivering"]);
    let metrics = http::get(&program.url("/metrics")).unwrap().text();
    let counted = "camera_operator_alert_deliveries_total{name=\"ops\",namespace=\"default\",outcome=\"Taken\",receiver=\"hook\"} 2";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(program.terminate().success(), "{}", program.log());

    let posted = hook.at("/hook");
    assert_eq!(told(&posted), ["firing", "resolved"]);
    posted.iter().for_each(assert_signed);
    let sent = telegram.sent();
    assert_eq!((sent.len(), telegram.refused()), (2, Vec::new()));
    assert!(sent[0].text.contains("CameraDown: Camera default/cam") && sent[0].text.contains("(101)"), "{sent:?}");
    assert!(sent[0].text.contains("/#/cameras/default/cam"), "a link to its page: {sent:?}");
    assert!(sent[0].photo.is_some(), "the last picture before the plug was pulled");
    assert!(sent[1].text.contains("over") && sent[1].photo.is_none(), "{sent:?}");
    assert_eq!(hook.at(SLACK).len(), 2);
    let log = program.log();
    for secret in [TOKEN, SIGNING, "Tarragon5"] {
        assert!(!log.contains(secret), "{secret} stands in the log");
        assert!(!metrics.contains(secret), "{secret} stands in the metrics");
        let state = std::fs::read_to_string(program.data().join("alerts.json")).unwrap();
        assert!(!state.contains(secret), "{secret} stands in the state");
    }
}

#[test]
fn nothing_is_lost_while_a_receiver_is_away_and_the_program_is_killed() {
    let mut camera = Camera::start("");
    let mut hook = Hook::start();
    let telegram = Telegram::start(TOKEN, CHAT);
    let mut program = Program::start(&manifests(&camera, &hook, &telegram));
    program.await_object("cameras/cam");
    hook.away();
    camera.kill();
    let (_, _, message) = program.await_ready_condition("alertroutes/ops", "False", &["DeliveryFailed"]);
    assert!(message.contains("receiver") && !message.contains(TOKEN), "{message}");
    // Between detection and delivery.
    program.kill();
    program.start_again();
    // What it was to be told is still to be told, before the camera has said anything anew.
    wait("what was not delivered", || {
        let route = program.object("alertroutes/ops")?;
        route["status"]["receivers"][0]["undelivered"].as_i64().filter(|count| *count >= 1)
    });
    // One that was there all the while hears that the others are not.
    wait("the other receiver", || {
        telegram
            .sent()
            .iter()
            .any(|sent| sent.text.contains("AlertDeliveryFailed") && sent.text.contains("(201)"))
            .then_some(())
    });
    hook.back();
    hook.await_at("/hook", 1);
    hook.await_at(SLACK, 1);
    program.await_ready_condition("alertroutes/ops", "True", &["Delivering"]);
    camera.restart();
    wait("the end", || (told(&hook.at("/hook")).len() >= 2).then_some(()));
    assert!(program.terminate().success(), "{}", program.log());
    assert_eq!(told(&hook.at("/hook")), ["firing", "resolved"]);
}

#[test]
fn what_a_kill_between_sending_and_noting_repeats_is_known_by_its_key() {
    let mut camera = Camera::start("");
    let hook = Hook::start();
    hook.hold_answers(true);
    let mut program = Program::start(
        &(secrets(&hook) + &route(CAMERA_DOWN, &[to_hook(&hook)]) + &manifest::camera("cam", &camera.url)),
    );
    program.await_object("cameras/cam");
    camera.kill();
    // It has the message, and nobody has heard that it has.
    hook.await_at("/hook", 1);
    program.kill();
    hook.hold_answers(false);
    program.start_again();
    hook.await_at("/hook", 2);
    program.await_ready_condition("alertroutes/ops", "True", &["Delivering"]);
    camera.restart();
    hook.await_at("/hook", 3);
    assert!(program.terminate().success(), "{}", program.log());
    let posted = hook.at("/hook");
    assert_eq!(told(&posted), ["firing", "firing", "resolved"]);
    let key = |posted: &Posted| posted.headers["x-camera-operator-delivery"].to_str().unwrap().to_owned();
    assert_eq!(key(&posted[0]), key(&posted[1]), "a repetition has the key of what it repeats");
    assert_ne!(key(&posted[1]), key(&posted[2]));
}

#[test]
fn a_receiver_that_asks_to_be_left_alone_is() {
    let hook = Hook::start();
    let telegram = Telegram::flooded(TOKEN, CHAT);
    let silent = "  match: {alerts: [CameraDown]}\n";
    let beat = format!("heartbeat: 1h, {}", to_telegram(&telegram));
    let mut program = Program::start(&(secrets(&hook) + &route(silent, &[beat])));
    let sent = telegram.await_sent(1);
    assert!(sent[0].text.contains("Heartbeat"), "{sent:?}");
    assert_eq!((telegram.refused(), telegram.early()), (vec!["429".to_owned()], 0));
    assert!(program.terminate().success(), "{}", program.log());
}

#[test]
fn a_test_says_what_came_of_it_for_each_receiver() {
    let mut hook = Hook::start();
    let telegram = Telegram::start(TOKEN, "-1");
    let silent = "  match: {alerts: [CameraDown]}\n";
    let manifests = |annotation: &str| {
        let route = route(silent, &[to_hook(&hook), to_telegram(&telegram)]);
        let annotated = format!("name: ops\n  annotations: {{camera-operator.dev/test-alerts: '{annotation}'}}");
        secrets(&hook) + &route.replace("name: ops", &annotated)
    };
    let mut program = Program::start(&manifests("first"));
    hook.await_at("/hook", 1);
    let results = wait("the results in the status", || {
        let route = program.object("alertroutes/ops")?;
        let receivers = route["status"]["receivers"].as_array()?.clone();
        receivers.iter().all(|one| one["test"].is_object()).then_some(receivers)
    });
    assert_eq!(results[0]["test"]["delivered"], true, "{results:?}");
    assert_eq!(results[1]["test"]["delivered"], false, "{results:?}");
    let error = results[1]["test"]["error"].as_str().unwrap();
    assert!(error.contains("400: Bad Request: chat not found"), "{error}");

    // By hand, and after a restart that does not obey the same annotation again.
    program.kill();
    program.start_again();
    let url = program.url("/api/v1/namespaces/default/alertroutes/ops/test");
    let answer = http::request("POST", &url, &[]).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["ok"], false);
    assert_eq!(answer.json()["receivers"][0]["delivered"], true, "{}", answer.text());
    hook.away();
    let answer = http::request("POST", &url, &[]).unwrap().json();
    assert_eq!(answer["receivers"][0]["delivered"], false, "{answer:#}");
    hook.back();
    let tests: Vec<Value> = hook.at("/hook").iter().map(Posted::json).collect();
    assert_eq!(tests.len(), 2, "{tests:?}");
    assert!(tests.iter().all(|test| test["alerts"][0]["labels"]["alertname"] == "TestAlert"), "{tests:?}");
    let nowhere = program.url("/api/v1/namespaces/default/alertroutes/nobody/test");
    assert_eq!(http::request("POST", &nowhere, &[]).unwrap().status, 404);
    assert!(program.terminate().success(), "{}", program.log());
}

#[test]
fn what_prometheus_tells_too_is_not_told_twice() {
    let mut camera = Camera::start("");
    let hook = Hook::start();
    let spec = format!("{CAMERA_DOWN}  alertmanager: {{tokenSecretRef: {{name: alerts, key: prometheus}}}}\n");
    let mut program =
        Program::start(&(secrets(&hook) + &route(&spec, &[to_hook(&hook)]) + &manifest::camera("cam", &camera.url)));
    program.await_object("cameras/cam");
    let url = program.url("/api/v1/namespaces/default/alertroutes/ops/alertmanager");
    let message = |name: &str, status: &str| {
        let labels =
            serde_json::json!({"alertname": name, "severity": "critical", "namespace": "default", "name": "cam"});
        serde_json::json!({
            "version": "4", "groupKey": "g", "status": status, "receiver": "r", "externalURL": "", "alerts": [{
                "status": status, "labels": labels, "annotations": {"summary": "as Prometheus sees it"},
                "startsAt": "2026-11-27T20:00:00Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://p/",
                "fingerprint": "00aa",
            }],
        })
        .to_string()
    };
    let post =
        |token: &str, body: String| http::post(&url, &[("authorization", &format!("Bearer {token}"))], body).unwrap();
    assert_eq!(post("wrong", message("CameraDown", "firing")).status, 401);
    assert_eq!(post(PROMETHEUS, "{}".into()).status, 400);
    camera.kill();
    assert_eq!(post(PROMETHEUS, message("CameraDown", "firing")).status, 204);
    hook.await_at("/hook", 1);
    assert_eq!(post(PROMETHEUS, message("CameraDown", "firing")).status, 204);
    assert_eq!(post(PROMETHEUS, message("HighLoad", "firing")).status, 204);
    wait("another's alert", || {
        let posted = hook.at("/hook");
        posted.iter().any(|one| one.json()["alerts"][0]["labels"]["alertname"] == "HighLoad").then_some(())
    });
    camera.restart();
    program.await_object("cameras/cam");
    assert_eq!(post(PROMETHEUS, message("CameraDown", "resolved")).status, 204);
    wait("the end", || (told(&hook.at("/hook")).len() >= 2).then_some(()));
    assert!(program.terminate().success(), "{}", program.log());
    assert_eq!(told(&hook.at("/hook")), ["firing", "resolved"]);
    assert!(!program.log().contains(PROMETHEUS));
}
