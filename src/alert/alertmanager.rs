//! What Alertmanager sends to a webhook (version 4 of its JSON) → alerts. Pure. Alerts of the project's own Prometheus rules come
//! out as the very alerts that conditions make, so that nobody is told twice.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::engine::failure_topic;
use super::{Alert, AlertKey, own_name};
use crate::api::alert_route::{AlertName, Severity};
use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

/// Most alerts that are taken of one message.
const MAX_ALERTS: usize = 5_000;
/// Most labels of an alert that are kept, and their longest names and values in characters.
const MAX_LABELS: usize = 32;
const MAX_LABEL: usize = 128;
/// Longest fingerprint that is kept, in characters; Alertmanager's have 16.
const MAX_FINGERPRINT: usize = 64;

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not this JSON.
    #[error("this is no message of Alertmanager's webhook_config: {0}")]
    Shape(String),
    /// Another version.
    #[error("version {0} of Alertmanager's message is not known here; 4 is")]
    Version(String),
    /// Too much.
    #[error("a message may hold {MAX_ALERTS} alerts at most: set max_alerts in Alertmanager's webhook_config")]
    TooMany,
}

#[derive(Debug, Deserialize)]
struct Message {
    version: String,
    alerts: Vec<One>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct One {
    status: String,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Timestamp,
    #[serde(default)]
    generator_url: String,
    #[serde(default, rename = "generatorURL")]
    generator_url_upper: String,
    fingerprint: String,
}

/// An alert as Alertmanager reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// The alert. Several of Prometheus' may be the same one of ours, such as those of one name with different windows.
    pub alert: Alert,
    /// What Alertmanager knows it by.
    pub fingerprint: String,
    /// Whether it is over.
    pub is_over: bool,
}

/// The alerts of a message to the webhook of `route`.
///
/// # Errors
/// When it is no message of Alertmanager.
pub fn parse(route: &ObjectKey, body: &[u8]) -> Result<Vec<Reported>, Refused> {
    let message: Message = serde_json::from_slice(body).map_err(|error| Refused::Shape(error.to_string()))?;
    if message.version != "4" {
        return Err(Refused::Version(message.version.chars().take(20).collect()));
    }
    if message.alerts.len() > MAX_ALERTS {
        return Err(Refused::TooMany);
    }
    Ok(message.alerts.into_iter().map(|one| alert(route, one)).collect())
}

/// The kind of object that a rule of the chart speaks of.
fn kind_of(name: AlertName) -> Option<ObjectKind> {
    use AlertName::{
        AgentUnreachable, AlertDeliveryFailed, ArchiveUnavailable, CameraDown, CameraStalled, CoverageBelowObjective,
        CredentialRefused, DiskFilling, ReconnectLimitReached, RecordingGap, RetentionFailed, StreamDown,
    };
    match name {
        CameraDown | CameraStalled | CredentialRefused | ReconnectLimitReached => Some(ObjectKind::Camera),
        StreamDown => Some(ObjectKind::Stream),
        RecordingGap | CoverageBelowObjective => Some(ObjectKind::Recording),
        DiskFilling | ArchiveUnavailable | RetentionFailed => Some(ObjectKind::Archive),
        AlertDeliveryFailed => Some(ObjectKind::AlertRoute),
        AgentUnreachable => None,
    }
}

/// The kind of object that a pod of this component is for.
fn component(name: &str) -> Option<ObjectKind> {
    match name {
        "camera" => Some(ObjectKind::Camera),
        "stream" => Some(ObjectKind::Stream),
        "archive" => Some(ObjectKind::Archive),
        _ => None,
    }
}

fn alert(route: &ObjectKey, one: One) -> Reported {
    let label = |name: &str| one.labels.get(name).map(String::as_str);
    let name: String = label("alertname").unwrap_or("Unnamed").chars().take(MAX_LABEL).collect();
    let fingerprint: String = one.fingerprint.chars().take(MAX_FINGERPRINT).collect();
    let own = own_name(&name);
    let (kind, of) = match own {
        // Its rule knows the pod by whom it is for.
        Some(AlertName::AgentUnreachable) => (label("component").and_then(component), label("owner")),
        own => (own.and_then(kind_of), label("name")),
    };
    let object = match (kind, label("namespace"), of) {
        (Some(kind), Some(namespace), Some(name)) => Some(ObjectRef { kind, key: ObjectKey::new(namespace, name) }),
        _ => None,
    };
    let key = match (own, object) {
        (Some(AlertName::AlertDeliveryFailed), Some(object)) if object.key == *route => {
            AlertKey { object, topic: failure_topic(label("receiver").unwrap_or_default()) }
        }
        (Some(own), Some(object)) => AlertKey::own(object, own),
        // Another's alert has no object of ours; its fingerprint tells it from others of its name.
        _ => AlertKey {
            object: ObjectRef { kind: ObjectKind::AlertRoute, key: route.clone() },
            topic: format!("{name}#{fingerprint}"),
        },
    };
    let severity = match label("severity").map(str::to_ascii_lowercase).as_deref() {
        Some("critical" | "page" | "error" | "emergency") => Severity::Critical,
        Some("info" | "none") => Severity::Info,
        _ => Severity::Warning,
    };
    let annotation = |name: &str| one.annotations.get(name).filter(|text| !text.trim().is_empty());
    let sentences: Vec<&str> = ["summary", "description", "message"]
        .iter()
        .filter_map(|name| annotation(name).map(|text| text.trim()))
        .collect();
    let mut alert = Alert::new(key, name, severity, "Prometheus", one.starts_at).saying(&sentences.join(". "));
    if alert.key.object.kind == ObjectKind::Camera {
        alert.camera = Some(alert.key.object.key.clone());
    }
    let cut = |text: &String| text.chars().take(MAX_LABEL).collect::<String>();
    alert.labels = one.labels.iter().take(MAX_LABELS).map(|(name, value)| (cut(name), cut(value))).collect();
    let url = if one.generator_url_upper.is_empty() { one.generator_url } else { one.generator_url_upper };
    let runbook = one.annotations.get("runbook_url").filter(|url| url.starts_with("http")).cloned();
    alert.url = runbook.or_else(|| Some(url).filter(|url| url.starts_with("http") && url.len() <= 1024));
    Reported { alert, fingerprint, is_over: one.status == "resolved" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(labels: &serde_json::Value, status: &str) -> Vec<u8> {
        json!({
            "version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": status, "receiver": "camera-operator",
            "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://am:9093",
            "alerts": [{"status": status, "labels": labels, "annotations": {"summary": "It is down", "description": "Look."},
                "startsAt": "2026-11-27T20:00:00.5Z", "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus:9090/graph", "fingerprint": "0123456789abcdef"}],
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn the_charts_rules_come_out_as_our_own_alerts() {
        let route = ObjectKey::new("ops", "all");
        let labels = json!({"alertname": "CameraStalled", "severity": "critical", "namespace": "shop", "name": "door"});
        let alerts = parse(&route, &message(&labels, "firing")).unwrap();
        let Reported { alert, is_over, .. } = &alerts[0];
        let camera = ObjectRef { kind: ObjectKind::Camera, key: ObjectKey::new("shop", "door") };
        assert_eq!(alert.key, AlertKey::own(camera, AlertName::CameraDown));
        assert_eq!((alert.name.as_str(), alert.severity, *is_over), ("CameraStalled", Severity::Critical, false));
        assert_eq!(alert.message, "It is down. Look.");
    }

    #[test]
    fn others_are_told_apart_by_their_fingerprint() {
        let route = ObjectKey::new("ops", "all");
        let alerts = parse(&route, &message(&json!({"alertname": "HighLoad"}), "resolved")).unwrap();
        assert_eq!(alerts[0].alert.key.text(), "alertroutes/ops/all/HighLoad#0123456789abcdef");
        assert!(alerts[0].is_over);
    }

    #[test]
    fn a_receiver_that_fails_is_the_alert_that_its_route_knows() {
        let route = ObjectKey::new("ops", "all");
        let of = |name: &str| {
            let labels =
                json!({"alertname": "AlertDeliveryFailed", "namespace": "ops", "name": name, "receiver": "mail"});
            parse(&route, &message(&labels, "firing")).unwrap().remove(0).alert.key.text()
        };
        assert_eq!(of("all"), "alertroutes/ops/all/AlertDeliveryFailed#mail");
        assert_eq!(of("other"), "alertroutes/ops/other/AlertDeliveryFailed");
    }

    /// Alerts of the rules that only Prometheus can see.
    const PROMETHEUS_ONLY: [&str; 3] = ["CameraReconnecting", "ObjectsNotReady", "OperatorUnhealthy"];

    #[test]
    fn the_rules_of_the_chart_have_our_names_and_the_labels_by_which_objects_are_known() {
        let rules: serde_json::Value =
            serde_yaml::from_str(include_str!("../../charts/camera-operator/files/alerts.yaml")).unwrap();
        let rules = rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
        let alerts: Vec<_> = rules.filter(|rule| rule["alert"].is_string()).collect();
        assert!(alerts.len() > 10, "{}", alerts.len());
        for rule in alerts {
            let name = rule["alert"].as_str().unwrap();
            assert_eq!(own_name(name).is_none(), PROMETHEUS_ONLY.contains(&name), "{name}");
            let Some(own) = own_name(name) else { continue };
            let what = match kind_of(own) {
                Some(ObjectKind::AlertRoute) => "alert route {{ $labels.namespace }}/{{ $labels.name }}".to_owned(),
                Some(kind) => format!("{kind:?} {{{{ $labels.namespace }}}}/{{{{ $labels.name }}}}").to_lowercase(),
                None => "{{ $labels.owner }}".to_owned(),
            };
            let said = rule["annotations"].to_string().to_lowercase();
            assert!(said.contains(&what), "{name} does not speak of {what}: {said}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let route = ObjectKey::new("ops", "all");
        assert!(matches!(parse(&route, b"{}"), Err(Refused::Shape(_))));
        let other = String::from_utf8(message(&json!({}), "firing")).unwrap().replace("\"4\"", "\"5\"");
        assert_eq!(parse(&route, other.as_bytes()), Err(Refused::Version("5".into())));
    }
}
