//! What a message says in words: what is wrong, with what, since when, why. Pure.

use super::Told;
use super::engine::Delivery;

/// Most alerts that are spelt out; of the others there is the number.
const SPELT_OUT: usize = 20;
/// Longest sentence of an alert in a message, in characters.
const MAX_SENTENCE: usize = 200;

/// The first line.
pub fn subject(delivery: &Delivery) -> String {
    let standing = delivery.alerts.iter().filter(|told| told.ended.is_none()).count();
    match (delivery.alerts.as_slice(), standing) {
        ([one], _) => headline(one),
        (all, 0) => format!("{} alerts are over", all.len()),
        (all, standing) if standing == all.len() => format!("{standing} alerts"),
        (all, standing) => format!("{standing} alerts, {} over", all.len() - standing),
    }
}

fn headline(told: &Told) -> String {
    let key = &told.alert.key;
    let sign = if told.ended.is_some() { "✅ over" } else { "🔴" };
    format!("{sign} {:?}: {:?} {}", key.name, key.object.kind, key.object.key)
}

/// The whole message, as plain text of at most some 7,000 characters.
pub fn body(delivery: &Delivery) -> String {
    let mut lines = Vec::new();
    if delivery.alerts.len() > 1 {
        lines.extend([subject(delivery), String::new()]);
    }
    for told in delivery.alerts.iter().take(SPELT_OUT) {
        let alert = &told.alert;
        lines.push(headline(told));
        let code = alert.code.map(|code| format!(" ({code})")).unwrap_or_default();
        if let Some(ended) = told.ended {
            lines.push(format!("from {:.0} to {ended:.0}; it was {}{code}", alert.since, alert.reason));
        } else {
            let sentence: String = alert.message.chars().take(MAX_SENTENCE).collect();
            lines.push(format!("since {:.0}; {}{code}: {sentence}", alert.since, alert.reason));
        }
    }
    if delivery.alerts.len() > SPELT_OUT {
        lines.push(format!("… and {} more", delivery.alerts.len() - SPELT_OUT));
    }
    lines.join("\n")
}
