//! A camera's plug is pulled: each receiver hears it once, and hears once when it is over; also when the receiver is away
//! meanwhile, or the program is killed.

use ring::hmac;
use serde_json::Value;

use crate::support::camera::Camera;
use crate::support::hook::{Hook, Posted};
use crate::support::program::Program;
use crate::support::{manifest, wait};

const TOKEN: &str = "4711:Quince-medlar_8";
const SIGNING: &str = "Sorrel-lovage-3";
const TELEGRAM: &str = "/bot4711:Quince-medlar_8/sendMessage";
const SLACK: &str = "/services/Tarragon5";

/// A camera, and a route to a webhook, a Telegram bot and Slack. Holds for 3 s, as a fresh connection takes.
fn manifests(camera: &Camera, hook: &Hook) -> String {
    let base = format!("http://127.0.0.1:{}", hook.port);
    let slack = format!("{base}{SLACK}");
    let secret = manifest::secret("alerts", &[("token", TOKEN), ("signing", SIGNING), ("slack", &slack)]);
    let route = format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: AlertRoute\nmetadata:\n  name: ops\nspec:\n  match: {{severities: [Critical], alerts: [CameraDown]}}\n  \
         holdFor: 3s\n  receivers:\n  - {{name: hook, cooldown: 1s, webhook: {{url: '{base}/hook', signingSecretRef: {{name: alerts, key: signing}}}}}}\n  \
         - {{name: chat, cooldown: 1s, telegram: {{apiUrl: '{base}', botTokenSecretRef: {{name: alerts, key: token}}, chatId: '-1007'}}}}\n  \
         - {{name: slack, cooldown: 1s, slack: {{urlSecretRef: {{name: alerts, key: slack}}}}}}\n"
    );
    secret + &route + &manifest::camera("cam", &camera.url)
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

fn text_of(body: &Value) -> &str {
    body["text"].as_str().unwrap()
}

#[test]
fn a_pulled_plug_is_heard_once_by_everybody_and_so_is_its_end() {
    let mut camera = Camera::start("");
    let hook = Hook::start();
    let mut program = Program::start(&manifests(&camera, &hook));
    program.await_object("cameras/cam");
    program.await_ready_condition("alertroutes/ops", "True", &["Delivering"]);
    camera.kill();
    for path in ["/hook", TELEGRAM, SLACK] {
        hook.await_at(path, 1);
    }
    camera.restart();
    for path in ["/hook", TELEGRAM, SLACK] {
        hook.await_at(path, 2);
    }
    program.await_ready_condition("alertroutes/ops", "True", &["Delivering"]);
    assert!(program.terminate().success(), "{}", program.log());

    let posted = hook.at("/hook");
    assert_eq!(told(&posted), ["firing", "resolved"]);
    posted.iter().for_each(assert_signed);
    let chat: Vec<Value> = hook.at(TELEGRAM).iter().map(Posted::json).collect();
    assert_eq!(chat.len(), 2);
    assert!(chat.iter().all(|message| message["chat_id"] == "-1007"), "{chat:?}");
    assert!(
        text_of(&chat[0]).contains("CameraDown: Camera default/cam") && text_of(&chat[0]).contains("(101)"),
        "{chat:?}"
    );
    assert!(text_of(&chat[1]).contains("over"), "{chat:?}");
    assert_eq!(hook.at(SLACK).len(), 2);
    let log = program.log();
    for secret in [TOKEN, SIGNING, "Tarragon5"] {
        assert!(!log.contains(secret), "{secret} stands in the log");
        let state = std::fs::read_to_string(program.data().join("alerts.json")).unwrap();
        assert!(!state.contains(secret), "{secret} stands in the state");
    }
}

#[test]
fn nothing_is_lost_while_a_receiver_is_away_and_the_program_is_killed() {
    let mut camera = Camera::start("");
    let mut hook = Hook::start();
    let mut program = Program::start(&manifests(&camera, &hook));
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
    hook.back();
    for path in ["/hook", TELEGRAM, SLACK] {
        hook.await_at(path, 1);
    }
    program.await_ready_condition("alertroutes/ops", "True", &["Delivering"]);
    camera.restart();
    wait("the end", || (told(&hook.at("/hook")).len() >= 2).then_some(()));
    assert!(program.terminate().success(), "{}", program.log());
    assert_eq!(told(&hook.at("/hook")), ["firing", "resolved"]);
}
