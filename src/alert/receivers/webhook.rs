//! JSON as Alertmanager sends it to a webhook (`webhook_config`, version 4), signed if wanted.

use std::collections::BTreeMap;

use ring::hmac;
use serde_json::{Value, json};

use super::{ReadSecret, SendError, accepted, secret};
use crate::alert::engine::Delivery;
use crate::alert::{Told, text};
use crate::api::alert_route::Webhook;
use crate::plan::unit::hex;

/// Header with `sha256=` and the HMAC-SHA256 of the body, in hex.
const SIGNATURE: &str = "X-Camera-Operator-Signature";
/// Header with the key of the delivery, by which a repetition is known.
const DELIVERY: &str = "X-Camera-Operator-Delivery";

pub(super) async fn send(
    http: &reqwest::Client,
    webhook: &Webhook,
    delivery: &Delivery,
    read: ReadSecret<'_>,
) -> Result<(), SendError> {
    let body = payload(delivery).to_string();
    let mut request =
        http.post(&webhook.url).header("Content-Type", "application/json").header(DELIVERY, delivery.key.as_str());
    if let Some(reference) = &webhook.signing_secret_ref {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret(read, reference)?.as_bytes());
        let signature = hex(hmac::sign(&key, body.as_bytes()).as_ref());
        request = request.header(SIGNATURE, format!("sha256={signature}"));
    }
    accepted(&request.body(body).send().await?)
}

/// The body.
fn payload(delivery: &Delivery) -> Value {
    let is_over = delivery.alerts.iter().all(|told| told.ended.is_some());
    json!({
        "version": "4",
        "groupKey": format!("{}/{}", delivery.route, delivery.receiver),
        "truncatedAlerts": 0,
        "status": if is_over { "resolved" } else { "firing" },
        "receiver": format!("{}/{}", delivery.route, delivery.receiver),
        "groupLabels": {},
        "commonLabels": {"namespace": delivery.route.namespace},
        "commonAnnotations": {"summary": text::subject(delivery)},
        "externalURL": "",
        "alerts": delivery.alerts.iter().map(alert).collect::<Vec<_>>(),
    })
}

fn alert(told: &Told) -> Value {
    let alert = &told.alert;
    let mut labels: BTreeMap<String, String> = alert
        .labels
        .iter()
        .map(|(name, value)| (format!("label_{}", name.replace(['.', '/', '-'], "_")), value.clone()))
        .collect();
    labels.extend([
        ("alertname".to_owned(), format!("{:?}", alert.key.name)),
        ("severity".to_owned(), format!("{:?}", alert.severity).to_ascii_lowercase()),
        ("kind".to_owned(), alert.key.object.kind.plural().to_owned()),
        ("namespace".to_owned(), alert.key.object.key.namespace.clone()),
        ("name".to_owned(), alert.key.object.key.name.clone()),
    ]);
    let mut annotations = BTreeMap::from([("description", alert.message.clone()), ("reason", alert.reason.clone())]);
    annotations.extend(alert.code.map(|code| ("code", code.to_string())));
    json!({
        "status": if told.ended.is_some() { "resolved" } else { "firing" },
        "labels": labels,
        "annotations": annotations,
        "startsAt": format!("{:.3}", alert.since),
        // What Alertmanager writes for an alert that stands.
        "endsAt": told.ended.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |ended| format!("{ended:.3}")),
        "generatorURL": "",
        "fingerprint": fingerprint(&alert.key.text()),
    })
}

/// Sixteen hex digits that stay the same for the same alert on the same object.
fn fingerprint(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    hex(digest.as_ref())[..16].to_owned()
}
