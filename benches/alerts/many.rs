//! Many alerts at once through two processes that do the same with them: take them in over HTTP, gather them by namespace, and tell a
//! webhook. This program as a route in each namespace, and Alertmanager.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::NAMESPACES;
use crate::latency::GATHER;
use crate::support::hook::{Hook, Posted};
use crate::support::program::Program;
use crate::support::prometheus::{Monitoring, Pace};
use crate::support::{http, process, wait};

const TOKEN: &str = "Verbena-sage-2";
/// How long both are watched while everything stands.
pub const STANDING: Duration = Duration::from_secs(20);

/// What it costs a process.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// From the first request until the last was answered.
    pub taken_in: Duration,
    /// From the first request until the webhook knew of all.
    pub delivered: Duration,
    /// Processor seconds until then.
    pub cpu_seconds: f64,
    /// Processor seconds each second while everything stands.
    pub standing: f64,
    /// What it holds more than before, bytes.
    pub memory: u64,
    /// What it holds in all, bytes.
    pub whole: u64,
}

fn labels(number: usize) -> Value {
    json!({
        "alertname": "CameraDown", "severity": "critical", "namespace": format!("shop-{}", number % NAMESPACES),
        "name": format!("camera-{number}"), "instance": "10.0.0.1:9090", "job": "camera-operator-agent",
    })
}

/// When they began: Alertmanager does not gather what is older than its `group_wait`.
fn began() -> String {
    jiff::Timestamp::now().to_string()
}

fn annotations(number: usize) -> Value {
    let description = "No picture has come from it for minutes. It is tried again by itself; what is recorded of it has a gap until it is back.";
    json!({"summary": format!("Camera camera-{number} is down"), "description": description})
}

/// Names of all cameras of which a webhook was told, each once.
fn told(hook: &Hook) -> usize {
    let bodies = hook.at("/hook");
    let names = |body: Value| {
        let alerts = body["alerts"].as_array().unwrap().clone();
        alerts.into_iter().map(|alert| alert["labels"]["name"].as_str().unwrap().to_owned())
    };
    let all: Vec<String> = bodies.iter().map(Posted::json).flat_map(names).collect();
    let different: BTreeSet<&String> = all.iter().collect();
    assert_eq!(different.len(), all.len(), "nothing twice");
    all.len()
}

/// Hands in `requests`, each a URL and a body, and watches the process.
fn watch(pid: u32, hook: &Hook, count: usize, requests: Vec<(String, String)>) -> Cost {
    let bearer = format!("Bearer {TOKEN}");
    let (cpu, memory, begun) = (process::cpu_seconds(pid), process::pss_bytes(pid), Instant::now());
    for (url, body) in requests {
        let answer = http::post(&url, &[("authorization", &bearer)], body).unwrap();
        assert!(matches!(answer.status, 200 | 204), "{} {}", answer.status, answer.text());
    }
    let taken_in = begun.elapsed();
    wait("the webhook to know of all", || (told(hook) == count).then_some(()));
    let delivered = begun.elapsed();
    let cpu_seconds = process::cpu_seconds(pid) - cpu;
    let before = process::cpu_seconds(pid);
    // A measured time, not a condition.
    std::thread::sleep(STANDING);
    let standing = (process::cpu_seconds(pid) - before) / STANDING.as_secs_f64();
    let whole = process::pss_bytes(pid);
    Cost { taken_in, delivered, cpu_seconds, standing, memory: whole.saturating_sub(memory), whole }
}

/// This program.
pub fn ours(count: usize) -> Cost {
    let hook = Hook::start();
    let namespace = |number: usize| {
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: alertmanager, namespace: shop-{number}}}\nstringData: {{token: {TOKEN}}}\n\
             ---\napiVersion: camera-operator.dev/v1alpha1\nkind: AlertRoute\nmetadata: {{name: ops, namespace: shop-{number}}}\nspec:\n  \
             holdFor: 1s\n  alertmanager: {{tokenSecretRef: {{name: alertmanager, key: token}}}}\n  \
             receivers: [{{name: hook, webhook: {{url: 'http://127.0.0.1:{}/hook'}}}}]\n",
            hook.port
        )
    };
    let mut program = Program::start(&(0..NAMESPACES).map(namespace).collect::<String>());
    wait("all routes", || {
        let all = program.json("/api/v1/alertroutes");
        let ready = |route: &Value| route["status"]["conditions"][0]["status"] == "True";
        let routes = all["items"].as_array()?;
        (routes.len() == NAMESPACES && routes.iter().all(ready)).then_some(())
    });
    let began = began();
    let message = |shop: usize| {
        let alerts = (shop..count).step_by(NAMESPACES).map(|number| {
            json!({
                "status": "firing", "labels": labels(number), "annotations": annotations(number),
                "startsAt": began, "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://p/",
                "fingerprint": format!("{number:016x}"),
            })
        });
        let alerts: Vec<Value> = alerts.collect();
        let path = format!("/api/v1/namespaces/shop-{shop}/alertroutes/ops/alertmanager");
        (program.url(&path), json!({"version": "4", "alerts": alerts}).to_string())
    };
    let requests = (0..NAMESPACES).map(message).collect();
    let cost = watch(program.pid(), &hook, count, requests);
    assert!(program.terminate().success());
    cost
}

/// Alertmanager.
pub fn theirs(count: usize) -> Cost {
    let hook = Hook::start();
    let webhook = json!({"url": format!("http://127.0.0.1:{}/hook", hook.port)});
    let receivers = json!({
        "route": {"receiver": "hook", "group_by": ["namespace"], "group_wait": format!("{}s", GATHER + 1), "repeat_interval": "4h"},
        "receivers": [{"name": "hook", "webhook_configs": [webhook]}],
    });
    let monitoring = Monitoring::start_with(Pace::REAL, &json!([]), &json!({"groups": []}), &receivers);
    let began = began();
    let message = |shop: usize| {
        let alerts = (shop..count).step_by(NAMESPACES).map(|number| {
            json!({
                "labels": labels(number), "annotations": annotations(number), "startsAt": began,
                "endsAt": "2099-01-01T00:00:00Z", "generatorURL": "http://p/",
            })
        });
        let alerts: Vec<Value> = alerts.collect();
        (format!("{}/api/v2/alerts", monitoring.alertmanager_url), Value::from(alerts).to_string())
    };
    let requests = (0..NAMESPACES).map(message).collect();
    watch(monitoring.alertmanager_pid(), &hook, count, requests)
}
