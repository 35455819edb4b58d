//! What a message says in words where nobody has written a template: what is wrong, with what, since when, why, and what else
//! it hits. Pure.

use std::collections::BTreeMap;

use super::Told;
use super::engine::{Delivery, Purpose};
use crate::plan::unit::ObjectRef;

/// Most alerts that are spelt out; of the others there is the number.
const SPELT_OUT: usize = 20;
/// Longest sentence of an alert in a message, in characters.
const MAX_SENTENCE: usize = 200;
/// Most objects that are named of those that an alert hits.
const MAX_AFFECTED: usize = 8;

/// The first line.
pub fn subject(delivery: &Delivery) -> String {
    let standing = delivery.alerts.iter().filter(|told| told.ended.is_none()).count();
    match (delivery.alerts.as_slice(), standing) {
        ([one], _) if delivery.purpose != Purpose::Alerts => format!("{}: {}", one.alert.name, delivery.route),
        ([one], _) => headline(one),
        (all, 0) => format!("✅ {} are over", counted(all)),
        (all, standing) if standing == all.len() => format!("🔴 {}", counted(all)),
        (all, standing) => format!("🔴 {standing} alerts, {} over", all.len() - standing),
    }
}

/// Such as `10 × CameraDown`, or `12 alerts` where they have several names.
fn counted(all: &[Told]) -> String {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for told in all {
        *names.entry(told.alert.name.as_str()).or_default() += 1;
    }
    match names.iter().next() {
        Some((name, count)) if names.len() == 1 => format!("{count} × {name}"),
        _ => format!("{} alerts", all.len()),
    }
}

/// What an object is called.
pub fn object(object: &ObjectRef) -> String {
    format!("{:?} {}", object.kind, object.key)
}

fn headline(told: &Told) -> String {
    let alert = &told.alert;
    let sign = if told.ended.is_some() { "✅ over" } else { "🔴" };
    // Of what Prometheus tells without an object of ours the name says all.
    if alert.key.topic.contains('#') {
        return format!("{sign} {}", alert.name);
    }
    format!("{sign} {}: {}", alert.name, object(&alert.key.object))
}

/// The whole message, as plain text of at most some 10,000 characters. `page` is where the page is.
pub fn body(delivery: &Delivery, page: Option<&str>) -> String {
    let mut lines = Vec::new();
    if delivery.purpose != Purpose::Alerts {
        lines.push(subject(delivery));
        lines.extend(delivery.alerts.iter().map(|told| told.alert.message.clone()));
        return lines.join("\n");
    }
    if delivery.alerts.len() > 1 {
        lines.extend([subject(delivery), String::new()]);
    }
    for told in delivery.alerts.iter().take(SPELT_OUT) {
        let alert = &told.alert;
        lines.push(headline(told));
        let code = alert.code.map(|code| format!(" ({code})")).unwrap_or_default();
        if let Some(ended) = told.ended {
            lines.push(format!("from {:.0} to {ended:.0}; it was {}{code}", alert.since, alert.reason));
            continue;
        }
        let sentence: String = alert.message.chars().take(MAX_SENTENCE).collect();
        lines.push(format!("since {:.0}; {}{code}: {sentence}", alert.since, alert.reason));
        if !told.affects.is_empty() {
            let named: Vec<String> = told.affects.iter().take(MAX_AFFECTED).map(object).collect();
            let more = told.affects.len().saturating_sub(MAX_AFFECTED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            lines.push(format!("it also stops {}{more}", named.join(", ")));
        }
        lines.extend(link(told, page));
    }
    if delivery.alerts.len() > SPELT_OUT {
        lines.push(format!("… and {} more", delivery.alerts.len() - SPELT_OUT));
    }
    lines.join("\n")
}

/// Where more can be seen: the camera's live picture.
pub fn link(told: &Told, page: Option<&str>) -> Option<String> {
    let of_camera =
        told.alert.camera.as_ref().zip(page).map(|(camera, page)| {
            format!("{}/#/cameras/{}/{}", page.trim_end_matches('/'), camera.namespace, camera.name)
        });
    of_camera.or_else(|| told.alert.url.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Alert, AlertKey};
    use crate::api::alert_route::{AlertName, Severity};
    use crate::plan::unit::{ObjectKey, ObjectKind};

    fn told(name: &str, over: bool) -> Told {
        let object = ObjectRef { kind: ObjectKind::Camera, key: ObjectKey::new("shop", name) };
        let key = AlertKey::own(object.clone(), AlertName::CameraDown);
        let since = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let mut alert = Alert::new(key, "CameraDown", Severity::Critical, "Unreachable", since).saying("No route.");
        (alert.code, alert.camera) = (Some(101), Some(object.key));
        let recording = ObjectRef { kind: ObjectKind::Recording, key: ObjectKey::new("shop", "rec") };
        Told { alert, ended: over.then_some(since), affects: vec![recording] }
    }

    fn delivery(alerts: Vec<Told>) -> Delivery {
        let route = ObjectKey::new("shop", "ops");
        Delivery { purpose: Purpose::Alerts, route, receiver: "mail".into(), key: String::new(), alerts }
    }

    #[test]
    fn a_message_says_what_since_when_why_and_what_else() {
        let text = body(&delivery(vec![told("door", false)]), Some("https://cameras.example.com/"));
        assert_eq!(
            text,
            "🔴 CameraDown: Camera shop/door\nsince 2027-01-15T08:00:00Z; Unreachable (101): No route.\n\
             it also stops Recording shop/rec\nhttps://cameras.example.com/#/cameras/shop/door"
        );
        let over = body(&delivery(vec![told("door", true)]), None);
        assert!(over.starts_with("✅ over CameraDown: Camera shop/door\nfrom "), "{over}");
    }

    #[test]
    fn many_are_counted() {
        let ten: Vec<Told> = (0..10).map(|number| told(&format!("c{number}"), false)).collect();
        assert_eq!(subject(&delivery(ten.clone())), "🔴 10 × CameraDown");
        let many = delivery((0..500).map(|number| told(&format!("c{number}"), false)).collect());
        let text = body(&many, None);
        assert!(text.ends_with("… and 480 more") && text.chars().count() < 10_000, "{}", text.len());
        let both = delivery([told("a", false), told("b", true)].into());
        assert_eq!(subject(&both), "🔴 1 alerts, 1 over");
    }
}
