//! Alerts in a cluster: a camera's plug is pulled, and people hear of it once and of its end once, whoever leads.

use serde_json::{Value, json};

use crate::Test;
use crate::operator::prepare;
use crate::site::{OPERATOR, Site, wait};
use crate::support::cluster::Cluster;
use crate::support::hook::{Hook, Posted};
use crate::support::telegram::Telegram;
use crate::support::{http, manifest};

pub const TESTS: &[Test] = &[("a_pulled_plug_is_heard_once_whoever_leads", a_pulled_plug_is_heard_once_whoever_leads)];

/// Those that need no node.
pub const API_TESTS: &[Test] = &[("alerts_outlive_their_leader", alerts_outlive_their_leader)];

const TOKEN: &str = "4712:Lovage-woad_3";

/// What was told, in its order: name of the alert and status.
fn told(hook: &Hook) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let bodies: Vec<Value> = hook.at("/hook").iter().map(Posted::json).collect();
    let alerts = bodies.iter().flat_map(|body| body["alerts"].as_array().unwrap());
    alerts.map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["status"]))).collect()
}

fn of(name: &str, status: &str) -> (String, String) {
    (name.to_owned(), status.to_owned())
}

fn a_pulled_plug_is_heard_once_whoever_leads(cluster: &Cluster) {
    let site = Site::new(cluster, "alerts");
    let hook = Hook::start_at(&cluster.host);
    let telegram = Telegram::start_at(&cluster.host, TOKEN, "-1");
    let mut camera = site.camera("");
    let ports = format!("http://{}:{}/hook", cluster.host, hook.port);
    let route = format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: AlertRoute\nmetadata: {{name: ops}}\nspec:\n  \
         match: {{alerts: [CameraDown]}}\n  holdFor: 3s\n  receivers:\n  \
         - {{name: hook, cooldown: 1s, webhook: {{url: '{ports}'}}}}\n  \
         - {{name: chat, cooldown: 1s, telegram: {{apiUrl: '{}', botTokenSecretRef: {{name: bot, key: token}}, chatId: '-1'}}}}\n",
        telegram.url
    );
    site.apply(&(manifest::camera("front", &camera.url) + &manifest::secret("bot", &[("token", TOKEN)]) + &route));
    site.await_ready(&["camera/front"]);

    // No Secret is read before it was allowed, and the route says what to do.
    let (_, _, message) = wait("the route to say what it lacks", || {
        site.condition("alertroute/ops", "Ready").filter(|(_, reason, _)| reason == "SecretMissing")
    });
    assert!(message.contains("camera-operator-alert-secrets") && !message.contains(TOKEN), "{message}");
    site.kubectl(&[
        "create",
        "rolebinding",
        "alert-secrets",
        "--clusterrole=camera-operator-alert-secrets",
        &format!("--serviceaccount={OPERATOR}:camera-operator"),
    ]);
    site.await_ready(&["alertroute/ops"]);

    camera.kill();
    wait("the message", || (!told(&hook).is_empty()).then_some(()));
    wait("the photo", || (!telegram.sent().is_empty()).then_some(()));
    assert!(
        telegram.sent()[0].photo.is_some(),
        "the last picture, from the camera's pod: {:?}",
        telegram.sent()[0].text
    );

    // Another leads now, and tells nobody what they know.
    let leader = || {
        let lease = cluster.get(OPERATOR, "lease/camera-operator")?;
        lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty()).map(str::to_owned)
    };
    let first = wait("a leader", leader);
    let pod = first.rsplit_once('_').unwrap().0.to_owned();
    cluster.kubectl(&["delete", "pod", &pod, "--namespace", OPERATOR, "--grace-period=0", "--force"]);
    wait("another leader", || leader().filter(|holder| *holder != first));

    camera.restart();
    site.await_ready(&["camera/front"]);
    wait("the end", || (told(&hook).len() >= 2).then_some(()));
    wait("the end in the chat", || (telegram.sent().len() >= 2).then_some(()));
    assert_eq!(told(&hook), [of("CameraDown", "firing"), of("CameraDown", "resolved")]);
    assert_eq!((telegram.sent().len(), telegram.refused()), (2, Vec::new()));

    // By annotation, and its result in the status.
    site.kubectl(&["annotate", "alertroute", "ops", "camera-operator.dev/test-alerts=now"]);
    wait("the test", || told(&hook).contains(&of("TestAlert", "firing")).then_some(()));
    wait("its result", || {
        let route = site.get("alertroute/ops")?;
        let receivers = route["status"]["receivers"].as_array()?.clone();
        receivers.iter().all(|one| one["test"]["delivered"] == true).then_some(())
    });
    let state = site.get("configmap/ops-alertroute").unwrap();
    assert_eq!(state["metadata"]["ownerReferences"][0]["kind"], "AlertRoute");
}

/// A camera in whose way something stands: no pod is made, and it is down for as long as that is there.
const BLOCKED: &str = "
apiVersion: v1
kind: Service
metadata: {name: door-camera}
spec: {ports: [{port: 80}]}
---
apiVersion: camera-operator.dev/v1alpha1
kind: Camera
metadata: {name: door}
spec: {source: {test: {}}}
";

fn alerts_outlive_their_leader(cluster: &Cluster) {
    let namespace = "operator-alerts";
    let account = prepare(cluster, namespace);
    let hook = Hook::start();
    let url = format!("http://127.0.0.1:{}/hook", hook.port);
    let route = format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: AlertRoute\nmetadata: {{name: ops}}\nspec:\n  \
         holdFor: 1s\n  alertmanager: {{tokenSecretRef: {{name: alerts, key: token}}}}\n  receivers:\n  \
         - {{name: hook, cooldown: 1s, webhook: {{url: '{url}', signingSecretRef: {{name: alerts, key: token}}}}}}\n"
    );
    cluster.apply(namespace, &(manifest::secret("alerts", &[("token", TOKEN)]) + &route));
    let first = account.leader("alerts-one", &[]);
    let mut second = account.operator("alerts-two", &[]);
    let condition = |status: &str| {
        let route = cluster.get(namespace, "alertroute/ops")?;
        let conditions = route["status"]["conditions"].as_array()?.clone();
        conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == status).then_some(())
    };
    wait("the route to be delivered", || condition("True"));
    cluster.apply(namespace, BLOCKED);
    wait("the message", || (!told(&hook).is_empty()).then_some(()));
    let state = wait("the state", || cluster.get(namespace, "configmap/ops-alertroute"));
    assert_eq!(state["metadata"]["ownerReferences"][0]["name"], "ops");

    // A follower takes nothing in; whoever leads does, with the token only.
    let path = format!("/api/v1/namespaces/{namespace}/alertroutes/ops/alertmanager");
    let body = json!({"version": "4", "alerts": [{
        "status": "firing", "labels": {"alertname": "CameraDown", "namespace": namespace, "name": "door"},
        "annotations": {}, "startsAt": "2026-11-27T20:00:00Z", "fingerprint": "00aa",
    }]})
    .to_string();
    let bearer = format!("Bearer {TOKEN}");
    let post = |url: &str, bearer: &str| http::post(url, &[("authorization", bearer)], body.clone()).unwrap().status;
    assert_eq!(post(&second.url(&path), &bearer), 503);
    assert_eq!(post(&first.url(&path), "Bearer wrong"), 401);
    assert_eq!(post(&first.url(&path), &bearer), 204);

    // Killed: the next one knows who was told what.
    first.signal("KILL");
    second.await_leading();
    let resolved = body.replace("firing", "resolved");
    wait("the leader to take it in", || {
        let answer = http::post(&second.url(&path), &[("authorization", &bearer)], resolved.clone()).ok()?;
        (answer.status == 204).then_some(())
    });
    cluster.kubectl(&["delete", "camera", "door", "--namespace", namespace]);
    wait("the end", || (told(&hook).len() >= 2).then_some(()));
    assert_eq!(told(&hook), [of("CameraDown", "firing"), of("CameraDown", "resolved")]);
    let metrics = second.metrics();
    let counted = format!(
        "camera_operator_alert_deliveries_total{{name=\"ops\",namespace=\"{namespace}\",outcome=\"Taken\",receiver=\"hook\"}}"
    );
    assert_eq!(metrics.get(&counted), Some(&1.0), "{metrics:?}");

    // What it wrote goes with the route.
    cluster.kubectl(&["delete", "alertroute", "ops", "--namespace", namespace]);
    wait("the state to go", || cluster.get(namespace, "configmap/ops-alertroute").is_none().then_some(()));
    second.stop();
}
