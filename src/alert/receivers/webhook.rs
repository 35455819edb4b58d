//! JSON as Alertmanager sends it to a webhook (`webhook_config`, version 4), signed if wanted.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ring::hmac;
use serde_json::{Value, json};

use super::{Access, Receive, SendError, accepted, named};
use crate::alert::message::Message;
use crate::alert::{Told, text};
use crate::api::alert_receiver::Webhook;
use crate::plan::unit::hex;

/// Header with `sha256=` and the HMAC-SHA256 of the body, in hex.
const SIGNATURE: &str = "X-Camera-Operator-Signature";
/// Header with the key of the delivery, by which a repetition is known.
const DELIVERY: &str = "X-Camera-Operator-Delivery";

impl Receive for Webhook {
    fn type_(&self) -> &'static str {
        "webhook"
    }

    fn secrets(&self) -> Vec<(String, String)> {
        self.signing_secret_ref.iter().map(named).collect()
    }

    fn send<'a>(&'a self, message: &'a Message, access: Access<'a>) -> BoxFuture<'a, Result<(), SendError>> {
        async move {
            let body = payload(message).to_string();
            let mut request = access
                .http
                .post(&self.url)
                .header("Content-Type", "application/json")
                .header(DELIVERY, message.delivery.key.as_str());
            if let Some(reference) = &self.signing_secret_ref {
                let key = hmac::Key::new(hmac::HMAC_SHA256, access.secret(reference).await?.as_bytes());
                let signature = hex(hmac::sign(&key, body.as_bytes()).as_ref());
                request = request.header(SIGNATURE, format!("sha256={signature}"));
            }
            accepted(&request.body(body).send().await?)
        }
        .boxed()
    }
}

/// The body.
fn payload(message: &Message) -> Value {
    let delivery = &message.delivery;
    let is_over = delivery.alerts.iter().all(|told| told.ended.is_some());
    let page = message.page.as_deref();
    json!({
        "version": "4",
        "groupKey": format!("{}/{}", delivery.route, delivery.receiver),
        "truncatedAlerts": 0,
        "status": if is_over { "resolved" } else { "firing" },
        "receiver": format!("{}/{}", delivery.route, delivery.receiver),
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {"summary": message.subject, "description": message.body},
        "externalURL": page.unwrap_or_default(),
        "alerts": delivery.alerts.iter().map(|told| alert(told, page)).collect::<Vec<_>>(),
    })
}

fn alert(told: &Told, page: Option<&str>) -> Value {
    let alert = &told.alert;
    // What came from Prometheus has the labels that it had there.
    let is_foreign = alert.labels.contains_key("alertname");
    let label = |name: &str| {
        if is_foreign { name.to_owned() } else { format!("label_{}", name.replace(['.', '/', '-'], "_")) }
    };
    let mut labels: BTreeMap<String, String> =
        alert.labels.iter().map(|(name, value)| (label(name), value.clone())).collect();
    if !is_foreign {
        labels.extend([
            ("alertname".to_owned(), alert.name.clone()),
            ("severity".to_owned(), format!("{:?}", alert.severity).to_ascii_lowercase()),
            ("kind".to_owned(), alert.key.object.kind.plural().to_owned()),
            ("namespace".to_owned(), alert.key.object.key.namespace.clone()),
            ("name".to_owned(), alert.key.object.key.name.clone()),
        ]);
    }
    let mut annotations = BTreeMap::from([("description", alert.message.clone()), ("reason", alert.reason.clone())]);
    annotations.extend(alert.code.map(|code| ("code", code.to_string())));
    if !told.affects.is_empty() {
        annotations.insert("affects", told.affects.iter().map(text::object).collect::<Vec<_>>().join(", "));
    }
    json!({
        "status": if told.ended.is_some() { "resolved" } else { "firing" },
        "labels": labels,
        "annotations": annotations,
        "startsAt": format!("{:.3}", alert.since),
        // What Alertmanager writes for an alert that stands.
        "endsAt": told.ended.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |ended| format!("{ended:.3}")),
        "generatorURL": text::link(told, page).unwrap_or_default(),
        "fingerprint": fingerprint(&alert.key.text()),
    })
}

/// Sixteen hex digits that stay the same for the same alert on the same object.
fn fingerprint(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    hex(digest.as_ref())[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::alert::engine::{Delivery, Purpose};
    use crate::alert::{Alert, AlertKey, alertmanager};
    use crate::api::alert_route::{AlertName, Severity};
    use crate::plan::unit::{ObjectKey, ObjectKind, ObjectRef};

    fn told(kind: ObjectKind, name: AlertName, ended: Option<Timestamp>) -> Told {
        let key = AlertKey::own(ObjectRef { kind, key: ObjectKey::new("shop", "door") }, name);
        let since = Timestamp::from_second(1_800_000_000).unwrap();
        let alert = Alert::new(key, format!("{name:?}"), Severity::Critical, "Unreachable", since).saying("No route.");
        let labels = BTreeMap::from([("example.com/site".to_owned(), "a".to_owned())]);
        Told { alert: Alert { code: Some(101), labels, ..alert }, ended, affects: Vec::new() }
    }

    #[test]
    fn who_understands_alertmanager_understands_it() {
        let over = Some(Timestamp::from_second(1_800_000_100).unwrap());
        let alerts = vec![
            told(ObjectKind::Camera, AlertName::CameraDown, None),
            told(ObjectKind::Archive, AlertName::DiskFilling, over),
        ];
        let (route, key) = (ObjectKey::new("shop", "ops"), "0".repeat(32));
        let delivery = Delivery { purpose: Purpose::Alerts, route, receiver: "hook".into(), key, alerts };
        let (subject, body) = (text::subject(&delivery), text::body(&delivery, None));
        let message = Message { delivery, subject, body, page: None, picture: None };
        let parsed = alertmanager::parse(&ObjectKey::new("ops", "all"), payload(&message).to_string().as_bytes());
        let parsed = parsed.unwrap();
        for (one, told) in parsed.iter().zip(&message.delivery.alerts) {
            assert_eq!((&one.alert.key, one.alert.since), (&told.alert.key, told.alert.since));
            assert_eq!((one.alert.severity, one.is_over), (told.alert.severity, told.ended.is_some()));
            assert_eq!(one.alert.labels["label_example_com_site"], "a");
        }
        assert_eq!(parsed.len(), 2);
    }
}
