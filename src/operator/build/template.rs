//! What was computed for a Deployment's pods, kept on the Deployment: a hash to see that it has changed, and the
//! specification to say in what. Compared is always what we computed, then and now, never what a server made of it.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Longest text of a value in a reason.
const MAX_VALUE: usize = 80;

/// SHA-256 of a pod template, as 64 lower-case hex digits.
pub fn hash(template: &PodTemplateSpec) -> String {
    of_json(template)
}

/// SHA-256 of an object's JSON, as 64 lower-case hex digits.
pub fn of_json<T: serde::Serialize>(object: &T) -> String {
    // Plain types: they cannot fail to serialise, and an empty document would hash differently from any object.
    let json = serde_json::to_vec(object).unwrap_or_default();
    Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The template's pod specification as its annotation holds it.
pub fn pod_spec(template: &PodTemplateSpec) -> String {
    template.spec.as_ref().and_then(|spec| serde_json::to_string(spec).ok()).unwrap_or_default()
}

/// The first thing in which two pod specifications (as [`pod_spec`] writes them) differ, for a person: such as
/// `containers[agent].image: a → b`. `None` when they do not differ. A pod specification holds no secret.
pub fn first_difference(old: &str, new: &str) -> Option<String> {
    if old == new {
        return None;
    }
    match (serde_json::from_str(old), serde_json::from_str(new)) {
        (Ok(old), Ok(new)) => difference(&old, &new, ""),
        _ => Some("the earlier specification cannot be read".to_owned()),
    }
}

fn difference(old: &Value, new: &Value, path: &str) -> Option<String> {
    match (old, new) {
        _ if old == new => None,
        (Value::Object(before), Value::Object(after)) => {
            let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
            names.sort();
            names.dedup();
            let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            // A pod has one image that matters to people more than all the rest.
            names.sort_by_key(|name| (name.as_str() != "containers", name.as_str() != "image"));
            names.into_iter().find_map(|name| {
                let nothing = Value::Null;
                difference(before.get(name).unwrap_or(&nothing), after.get(name).unwrap_or(&nothing), &join(name))
            })
        }
        (Value::Array(before), Value::Array(after)) => items(before, after, path),
        _ => Some(format!("{path}: {} → {}", text(old), text(new))),
    }
}

/// Lists of things with names are compared by name, so that one that is inserted is not taken for a change of all after it.
fn items(before: &[Value], after: &[Value], path: &str) -> Option<String> {
    let name = |item: &Value| item["name"].as_str().map(str::to_owned);
    let names = |items: &[Value]| items.iter().map(name).collect::<Option<Vec<String>>>();
    if let (Some(old_names), Some(new_names)) = (names(before), names(after)) {
        if let Some(gone) = old_names.iter().find(|name| !new_names.contains(name)) {
            return Some(format!("{path}[{gone}]: removed"));
        }
        if let Some(added) = new_names.iter().find(|name| !old_names.contains(name)) {
            return Some(format!("{path}[{added}]: added"));
        }
        return new_names.iter().zip(after).find_map(|(wanted, new)| {
            let old = before.iter().find(|old| name(old).as_ref() == Some(wanted))?;
            difference(old, new, &format!("{path}[{wanted}]"))
        });
    }
    if before.len() != after.len() {
        return Some(format!("{path}: {} → {}", text(&Value::from(before)), text(&Value::from(after))));
    }
    before
        .iter()
        .zip(after)
        .enumerate()
        .find_map(|(index, (old, new))| difference(old, new, &format!("{path}[{index}]")))
}

fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    if text.chars().count() <= MAX_VALUE {
        return text;
    }
    text.chars().take(MAX_VALUE - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Change<'a> = &'a dyn Fn(&mut Value);

    #[test]
    fn the_first_difference_is_named() {
        let old = json!({
            "containers": [{"name": "agent", "image": "a:1", "args": ["agent"], "resources": {"limits": {"memory": "1Gi"}}}],
            "nodeSelector": {"zone": "a"},
            "volumes": [{"name": "plan"}, {"name": "temporary"}]
        });
        let with = |change: &dyn Fn(&mut Value)| {
            let mut new = old.clone();
            change(&mut new);
            first_difference(&old.to_string(), &new.to_string())
        };
        assert_eq!(with(&|_| {}), None);
        let cases: [(Change<'_>, &str); 7] = [
            (&|new| new["containers"][0]["image"] = "a:2".into(), "containers[agent].image: a:1 → a:2"),
            (
                &|new| {
                    new["containers"][0]["args"] = json!(["agent", "--new"]);
                    new["containers"][0]["image"] = "a:2".into();
                },
                "containers[agent].image: a:1 → a:2",
            ),
            (
                &|new| new["containers"][0]["resources"]["limits"]["memory"] = "2Gi".into(),
                "containers[agent].resources.limits.memory: 1Gi → 2Gi",
            ),
            (&|new| new["nodeSelector"] = Value::Null, "nodeSelector: {\"zone\":\"a\"} → nothing"),
            (&|new| new["hostNetwork"] = true.into(), "hostNetwork: nothing → true"),
            (&|new| new["volumes"] = json!([{"name": "temporary"}]), "volumes[plan]: removed"),
            (
                &|new| new["volumes"] = json!([{"name": "plan"}, {"name": "secrets"}, {"name": "temporary"}]),
                "volumes[secrets]: added",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(with(change).as_deref(), Some(expected));
        }
        let long = json!({"a": "x".repeat(500)});
        let said = first_difference(&long.to_string(), "{}").unwrap_or_default();
        assert!(said.chars().count() < 120, "{said}");
        assert!(first_difference("not JSON", "{}").is_some());
    }
}
