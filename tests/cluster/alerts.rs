//! Alerts in a cluster: a camera's plug is pulled, and people hear of it once and of its end once, whoever leads.

use serde_json::{Value, json};

use crate::Test;
use crate::operator::prepare;
use crate::site::{OPERATOR, Site, wait};
use crate::support::cluster::Cluster;
use crate::support::hook::{Hook, Posted};
use crate::support::operator::NAMESPACE as OPERATOR_NAMESPACE;
use crate::support::prometheus::{self, Monitoring};
use crate::support::telegram::Telegram;
use crate::support::{http, manifest};

pub const TESTS: &[Test] = &[
    ("a_pulled_plug_is_heard_once_whoever_leads", a_pulled_plug_is_heard_once_whoever_leads),
    ("a_plug_that_prometheus_sees_pulled_too_is_heard_once", a_plug_that_prometheus_sees_pulled_too_is_heard_once),
];

/// Those that need no node.
pub const API_TESTS: &[Test] = &[
    ("alerts_outlive_their_leader", alerts_outlive_their_leader),
    (
        "what_a_killed_leader_found_and_sent_is_told_by_the_next",
        what_a_killed_leader_found_and_sent_is_told_by_the_next,
    ),
    ("routes_hear_of_their_own_namespace", routes_hear_of_their_own_namespace),
];

const TOKEN: &str = "4712:Lovage-woad_3";

/// What was told, in its order: name of the alert and status.
fn told(hook: &Hook) -> Vec<(String, String)> {
    told_at(hook, "/hook")
}

/// The same at another path.
fn told_at(hook: &Hook, path: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let bodies: Vec<Value> = hook.at(path).iter().map(Posted::json).collect();
    let alerts = bodies.iter().flat_map(|body| body["alerts"].as_array().unwrap());
    alerts.map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["status"]))).collect()
}

fn of(name: &str, status: &str) -> (String, String) {
    (name.to_owned(), status.to_owned())
}

/// Who holds the Lease.
fn leader(cluster: &Cluster) -> Option<String> {
    let lease = cluster.get(OPERATOR, "lease/camera-operator")?;
    lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty()).map(str::to_owned)
}

/// Lets the operator read the Secrets of receivers in a namespace, as whoever administers it does.
fn allow_secrets(site: &Site) {
    site.kubectl(&[
        "create",
        "rolebinding",
        "alert-secrets",
        "--clusterrole=camera-operator-alert-secrets",
        &format!("--serviceaccount={OPERATOR}:camera-operator"),
    ]);
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
    let front = manifest::patient(&manifest::camera("front", &camera.url));
    // A pod that is long in starting is a camera that is down: nothing is told before it runs.
    site.apply(&(front + &manifest::secret("bot", &[("token", TOKEN)])));
    site.await_ready(&["camera/front"]);
    site.apply(&route);

    // No Secret is read before it was allowed, and the route says what to do.
    let (_, _, message) = wait("the route to say what it lacks", || {
        site.condition("alertroute/ops", "Ready").filter(|(_, reason, _)| reason == "SecretMissing")
    });
    assert!(message.contains("camera-operator-alert-secrets") && !message.contains(TOKEN), "{message}");
    allow_secrets(&site);
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
    let leader = || leader(cluster);
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

/// A Prometheus beside the cluster scrapes the operator and the agents as the chart's monitors say, with the chart's rules, and its
/// Alertmanager tells the operator. One route hears by both ways, one by Prometheus alone.
fn a_plug_that_prometheus_sees_pulled_too_is_heard_once(cluster: &Cluster) {
    if !prometheus::is_installed() {
        return;
    }
    let site = Site::new(cluster, "alerts-prometheus");
    let namespace = &site.namespace;
    let hook = Hook::start_at(&cluster.host);
    let mut camera = site.camera("");
    let route = |name: &str, alerts: &str| {
        format!(
            "---\napiVersion: camera-operator.dev/v1alpha1\nkind: AlertRoute\nmetadata: {{name: {name}}}\nspec:\n  \
             match: {{alerts: [{alerts}]}}\n  holdFor: 3s\n  alertmanager: {{tokenSecretRef: {{name: alertmanager, key: token}}}}\n  \
             receivers: [{{name: hook, cooldown: 1s, webhook: {{url: 'http://{}:{}/{name}'}}}}]\n",
            cluster.host, hook.port
        )
    };
    allow_secrets(&site);
    site.apply(
        &(manifest::patient(&manifest::camera("front", &camera.url))
            + &manifest::secret("alertmanager", &[("token", TOKEN)])),
    );
    site.await_ready(&["camera/front"]);
    site.apply(&(route("both", "CameraDown") + &route("late", "RetentionFailed")));
    site.await_ready(&["alertroute/both", "alertroute/late"]);
    // The Service leads to any of the operators; those that do not lead ask Alertmanager to try again.
    let holder = wait("a leader", || leader(cluster));
    let pod = cluster.get(OPERATOR, &format!("pod/{}", holder.rsplit_once('_').unwrap().0)).unwrap();
    let address = pod["status"]["podIP"].as_str().unwrap();
    let webhook =
        |name: &str| format!("http://{address}:8080/api/v1/namespaces/{namespace}/alertroutes/{name}/alertmanager");
    let scrapes = prometheus::scrapes_of_the_chart(cluster, OPERATOR);
    let monitoring = Monitoring::start(&scrapes, &["both", "late"].map(webhook), TOKEN);
    let holds = |expression: &str| (!monitoring.query(expression).is_empty()).then_some(());
    let selector = format!("namespace=\"{namespace}\",name=\"front\"");
    let running = format!("camera_operator:camera_running:max3m{{{selector}}} == 1");
    monitoring.wait("Prometheus to see that the camera runs", || holds(&running));
    monitoring.wait("Prometheus to see who leads", || {
        holds("sum(camera_operator_leader{job=\"camera-operator\"}) == 1")?;
        holds("count(up{job=\"camera-operator\"} == 1) == 2")
    });
    let agent = format!(
        "up{{job=\"camera-operator-agent\",namespace=\"{namespace}\",component=\"camera\",owner=\"front\"}} == 1"
    );
    monitoring.wait("Prometheus to know the agent by whom it is for", || holds(&agent));
    let fires = format!("ALERTS{{alertstate=\"firing\",alertname=\"CameraDown\",{selector}}}");
    assert_eq!(holds(&fires), None);

    let told = |path: &str| {
        let own = |body: Value| {
            let alerts = body["alerts"].as_array().unwrap().clone();
            alerts.into_iter().filter(|alert| alert["labels"]["name"] == "front")
        };
        let alerts = hook.at(path).iter().map(Posted::json).collect::<Vec<Value>>().into_iter().flat_map(own);
        let text = |alert: &Value, field: &str| alert[field].as_str().unwrap_or_default().to_owned();
        alerts.map(|alert| (text(&alert["labels"], "alertname"), text(&alert, "status"))).collect::<Vec<_>>()
    };
    camera.kill();
    monitoring.wait("the message by the conditions", || (told("/both").len() == 1).then_some(()));
    assert_eq!(told("/late"), [], "Prometheus waits for minutes");
    monitoring.wait("Prometheus to see it", || holds(&fires));
    monitoring.wait("the message by Prometheus", || (told("/late").len() == 1).then_some(()));
    camera.restart();
    site.await_ready(&["camera/front"]);
    for path in ["/both", "/late"] {
        monitoring.wait("the end", || (told(path).len() >= 2).then_some(()));
        assert_eq!(told(path), [of("CameraDown", "firing"), of("CameraDown", "resolved")], "{path}");
    }
    let (notified, failed) = monitoring.notifications();
    assert!(notified >= 4 && failed == 0, "{notified} {failed}");
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
    let counted = format!(
        "camera_operator_alert_deliveries_total{{name=\"ops\",namespace=\"{namespace}\",outcome=\"Taken\",receiver=\"hook\"}}"
    );
    // It counts when it has heard the answer, a little after the message is here.
    wait("the delivery to be counted", || second.metrics().get(&counted).filter(|count| **count > 0.0).map(drop));
    let metrics = second.metrics();
    assert_eq!(metrics.get(&counted), Some(&1.0), "{metrics:?}");

    // What it wrote goes with the route.
    cluster.kubectl(&["delete", "alertroute", "ops", "--namespace", namespace]);
    wait("the state to go", || cluster.get(namespace, "configmap/ops-alertroute").is_none().then_some(()));
    second.stop();
}

fn what_a_killed_leader_found_and_sent_is_told_by_the_next(cluster: &Cluster) {
    let namespace = "operator-alerts-killed";
    let account = prepare(cluster, namespace);
    let mut hook = Hook::start();
    let route = format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: AlertRoute\nmetadata: {{name: ops}}\nspec:\n  holdFor: 1s\n  \
         receivers: [{{name: hook, cooldown: 1s, webhook: {{url: 'http://127.0.0.1:{}/hook'}}}}]\n",
        hook.port
    );
    cluster.apply(namespace, &route);
    let first = account.leader("killed-one", &[]);
    // Between detection and delivery.
    hook.away();
    cluster.apply(namespace, BLOCKED);
    wait("what is not delivered", || {
        let route = cluster.get(namespace, "alertroute/ops")?;
        (route["status"]["receivers"][0]["undelivered"] == 1).then_some(())
    });
    first.signal("KILL");
    let mut second = account.operator("killed-two", &[]);
    second.await_leading();
    hook.back();
    hook.await_at("/hook", 1);
    assert_eq!(told(&hook), [of("CameraDown", "firing")]);
    // Between sending and noting.
    hook.hold_answers(true);
    cluster.kubectl(&["delete", "camera", "door", "--namespace", namespace]);
    hook.await_at("/hook", 2);
    second.signal("KILL");
    hook.hold_answers(false);
    let mut third = account.operator("killed-three", &[]);
    third.await_leading();
    let posted = hook.await_at("/hook", 3);
    wait("everything to be delivered", || {
        let route = cluster.get(namespace, "alertroute/ops")?;
        (route["status"]["receivers"][0]["undelivered"] == 0).then_some(())
    });
    assert_eq!(told(&hook), [of("CameraDown", "firing"), of("CameraDown", "resolved"), of("CameraDown", "resolved")]);
    let key = |posted: &Posted| posted.headers["x-camera-operator-delivery"].to_str().unwrap().to_owned();
    assert_eq!(key(&posted[1]), key(&posted[2]), "a repetition has the key of what it repeats");
    assert_ne!(key(&posted[0]), key(&posted[1]));
    third.stop();
}

fn routes_hear_of_their_own_namespace(cluster: &Cluster) {
    let (shop, other) = ("operator-alerts-shop", "operator-alerts-other");
    let account = prepare(cluster, shop);
    cluster.namespace(other);
    let hook = Hook::start();
    let route = |name: &str, more: &str| {
        format!(
            "---\napiVersion: camera-operator.dev/v1alpha1\nkind: AlertRoute\nmetadata: {{name: {name}}}\nspec:\n  holdFor: 1s\n{more}  \
             receivers: [{{name: hook, cooldown: 1s, webhook: {{url: 'http://127.0.0.1:{}/{name}'}}}}]\n",
            hook.port
        )
    };
    let all = "  match: {allNamespaces: true}\n";
    cluster.apply(shop, &route("shop", ""));
    cluster.apply(other, &(route("other", "") + &route("curious", all)));
    cluster.apply(OPERATOR_NAMESPACE, &(route("system", "") + &route("everything", all)));
    let operator = account.leader("namespaces", &[]);
    let (_, message) = wait("the one that asks for too much to be told so", || {
        let route = cluster.get(other, "alertroute/curious")?;
        let ready = route["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == "Ready")?.clone();
        let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
        (ready["status"] == "False").then(|| (text("reason"), text("message")))
    });
    assert!(message.contains("operator's namespace"), "{message}");
    cluster.apply(shop, BLOCKED);
    for path in ["/shop", "/everything"] {
        wait("those that see it to hear of it", || (!told_at(&hook, path).is_empty()).then_some(()));
    }
    cluster.kubectl(&["delete", "camera", "door", "--namespace", shop]);
    for path in ["/shop", "/everything"] {
        wait("those that see it to hear of its end", || (told_at(&hook, path).len() == 2).then_some(()));
        assert_eq!(told_at(&hook, path), [of("CameraDown", "firing"), of("CameraDown", "resolved")]);
    }
    for path in ["/other", "/curious", "/system"] {
        assert_eq!(told_at(&hook, path), [], "{path}");
    }
    operator.stop();
    cluster.kubectl(&["delete", "alertroutes", "--all", "--namespace", OPERATOR_NAMESPACE]);
}
