//! What is to be done about one child, from what is wanted and what is there. Pure.
//!
//! Two things make up "nothing to do": the hash of what was computed stands on the object, and the object still carries
//! every field of it. What a server adds to an object is never a difference, and what somebody else changed of our fields
//! always is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;

use super::kinds::ChildKind;
use super::live::Live;
use super::names::ANNOTATION_HASH;
use crate::plan::unit::ObjectRef;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is as it should be.
    Nothing,
    /// It is ours and not as it should be. Written to is what was seen and nothing else: no other of the same name, and not
    /// what somebody has written since. So a write that arrives late, of a leader that is none any more, changes nothing.
    Update {
        /// `metadata.uid`.
        uid: String,
        /// `metadata.resourceVersion`.
        version: String,
    },
    /// It is somebody else's. Says whose, for a person.
    Taken(String),
    /// It belongs to an object of the same name that is gone, and is about to go too.
    Going,
}

/// What is to be done about a child that is there. `hash` is that of `wanted`.
pub fn step(kind: ChildKind, owner: &ObjectRef, owner_uid: &str, wanted: &Value, hash: &str, live: &Live) -> Step {
    match &live.controller {
        Some(controller) if controller.uid == owner_uid => {}
        Some(controller) if is_predecessor(controller, owner) => return Step::Going,
        Some(controller) => return Step::Taken(format!("{} {} controls it", controller.kind, controller.name)),
        // A claim that is kept carries no owner, so that it outlives its Archive.
        None if kind == ChildKind::Claim && live.applied && live.labelled_uid.as_deref() == Some(owner_uid) => {}
        None if kind == ChildKind::Claim => {
            return Step::Taken("it was kept for an earlier Archive, or somebody else has made it".to_owned());
        }
        None => return Step::Taken("somebody else has made it".to_owned()),
    }
    if live.terminating {
        return Step::Going;
    }
    let same_hash = live.annotations.get(ANNOTATION_HASH).map(String::as_str) == Some(hash);
    // Items of a list do not say of what kind they are.
    let fields = |name: &&String| !matches!(name.as_str(), "apiVersion" | "kind");
    let there = live.json();
    let is_carried = |(name, wanted): (&String, &Value)| carries(&there[name.as_str()], wanted);
    if same_hash && wanted.as_object().into_iter().flatten().filter(|(name, _)| fields(name)).all(is_carried) {
        return Step::Nothing;
    }
    Step::Update { uid: live.uid.clone(), version: live.resource_version.clone() }
}

fn is_predecessor(controller: &OwnerReference, owner: &ObjectRef) -> bool {
    controller.api_version.starts_with(crate::api::GROUP)
        && controller.kind == format!("{:?}", owner.kind)
        && controller.name == owner.key.name
}

/// Whether every field of `wanted` stands in `live` with the same value.
pub fn carries(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (_, Value::Null) => true,
        (Value::Null, Value::Object(wanted)) => wanted.values().all(|wanted| carries(&Value::Null, wanted)),
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| carries(live.get(name).unwrap_or(&Value::Null), wanted))
        }
        (Value::Array(live), Value::Array(wanted)) => match list_key(wanted) {
            // What others add to such a list, as a mesh adds containers, is theirs.
            Some(key) => {
                wanted.iter().all(|wanted| live.iter().any(|live| live[key] == wanted[key] && carries(live, wanted)))
            }
            None => live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| carries(live, wanted)),
        },
        (Value::String(live), Value::String(wanted)) => live == wanted || same_amount(live, wanted),
        _ => live == wanted,
    }
}

/// The field that tells the items of a list apart, where there is one.
fn list_key(items: &[Value]) -> Option<&'static str> {
    ["name", "uid"].into_iter().find(|key| !items.is_empty() && items.iter().all(|item| item[*key].is_string()))
}

/// Whether two texts are the same quantity: the server writes `1Gi` for `1024Mi`.
fn same_amount(one: &str, other: &str) -> bool {
    matches!((thousandths(one), thousandths(other)), (Some(one), Some(other)) if one == other)
}

/// A Kubernetes quantity in thousandths.
fn thousandths(text: &str) -> Option<i128> {
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale: i128 = match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        _ => return None,
    };
    let whole: i128 = whole.parse().ok()?;
    let mut total = whole.checked_mul(scale)?;
    if !fraction.is_empty() {
        let parts: i128 = fraction.parse().ok()?;
        let power = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        total = total.checked_add(parts.checked_mul(scale)? / power)?;
    }
    Some(total)
}

/// How the size of an existing claim goes on: it may grow and never shrink, since no volume can. `Err` says what to do when
/// less is asked for than is there; the claim is then left as large as it is.
pub fn claim_size(wanted: &mut Value, live: Option<&Live>) -> Result<(), String> {
    let Some(live) = live.and_then(Live::claim).and_then(|claim| claim.requested.clone()) else { return Ok(()) };
    let size = &mut wanted["spec"]["resources"]["requests"]["storage"];
    let Some(asked) = size.as_str().map(str::to_owned) else { return Ok(()) };
    match (thousandths(&asked), thousandths(&live)) {
        (Some(less), Some(there)) if less < there => {
            *size = live.clone().into();
            Err(format!(
                "a volume cannot shrink: spec.claim.size says {asked} and the claim has {live}; write {live} or more"
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::unit::{ObjectKey, ObjectKind};

    fn owner() -> ObjectRef {
        ObjectRef { kind: ObjectKind::Archive, key: ObjectKey::new("shop", "default") }
    }

    fn child(metadata: &Value) -> Live {
        let mut object = json!({
            "metadata": {
                "name": "default-archive", "namespace": "shop", "uid": "child", "resourceVersion": "7",
                "annotations": {ANNOTATION_HASH: "h"},
                "labels": {
                    "app.kubernetes.io/managed-by": "camera-operator", "app.kubernetes.io/component": "archive",
                    "app.kubernetes.io/instance": "default", "camera-operator.dev/owner-uid": "owner",
                },
                "ownerReferences": [{
                    "apiVersion": "camera-operator.dev/v1alpha1", "kind": "Archive", "name": "default", "uid": "owner",
                    "controller": true,
                }],
            },
            "data": {"plan.json": "{}"},
        });
        for (name, value) in metadata.as_object().unwrap() {
            object["metadata"][name] = value.clone();
        }
        Live::of(object)
    }

    fn decide(kind: ChildKind, live: &Live) -> Step {
        step(kind, &owner(), "owner", &json!({"data": {"plan.json": "{}"}}), "h", live)
    }

    #[test]
    fn whose_it_is_decides_first() {
        use ChildKind::{Claim, ConfigMap};
        let update = || Step::Update { uid: "child".into(), version: "7".into() };
        let reference = |kind: &str, uid: &str| {
            json!({"ownerReferences": [{
                "apiVersion": "camera-operator.dev/v1alpha1", "kind": kind, "name": "default", "uid": uid, "controller": true,
            }]})
        };
        let none = json!({"ownerReferences": null});
        let kept = json!({
            "ownerReferences": null,
            "managedFields": [{"manager": "camera-operator", "operation": "Apply"}],
        });
        assert_eq!(decide(ConfigMap, &child(&json!({}))), Step::Nothing);
        assert_eq!(decide(ConfigMap, &child(&reference("Archive", "earlier"))), Step::Going);
        let taken = Step::Taken("Shelf default controls it".into());
        assert_eq!(decide(ConfigMap, &child(&reference("Shelf", "earlier"))), taken);
        assert!(matches!(decide(ConfigMap, &child(&none)), Step::Taken(_)), "labels alone are no proof");
        assert!(matches!(decide(Claim, &child(&none)), Step::Taken(_)), "nor are they for a claim");
        assert!(matches!(decide(ConfigMap, &child(&kept)), Step::Taken(_)), "only claims are kept");
        assert_eq!(decide(Claim, &child(&kept)), Step::Nothing);
        let predecessors = json!({
            "ownerReferences": null, "labels": {"camera-operator.dev/owner-uid": "earlier"},
            "managedFields": [{"manager": "camera-operator", "operation": "Apply"}],
        });
        assert!(matches!(decide(Claim, &child(&predecessors)), Step::Taken(_)), "its name proves nothing");
        assert_eq!(decide(ConfigMap, &child(&json!({"deletionTimestamp": "2026-11-21T00:00:00Z"}))), Step::Going);
        assert_eq!(decide(ConfigMap, &child(&json!({"annotations": {ANNOTATION_HASH: "other"}}))), update());
        let changed = json!({"data": {"plan.json": "{\"changed\":true}"}});
        let live = child(&json!({}));
        assert_eq!(step(ConfigMap, &owner(), "owner", &changed, "h", &live), update(), "somebody edited it");
    }

    #[test]
    fn what_a_server_adds_is_no_difference() {
        let wanted = json!({
            "metadata": {"ownerReferences": [{"uid": "o", "controller": true}], "creationTimestamp": null},
            "spec": {
                "replicas": 1, "volumes": [],
                "containers": [{"name": "agent", "args": ["a"], "resources": {"limits": {"memory": "1024Mi", "cpu": "0.5"}}}],
            },
        });
        let mut live = json!({
            "metadata": {"ownerReferences": [{"uid": "o", "controller": true}, {"uid": "x"}], "uid": "c"},
            "spec": {
                "replicas": 1, "strategy": {"type": "RollingUpdate"},
                "containers": [
                    {"name": "sidecar"},
                    {"name": "agent", "args": ["a"], "imagePullPolicy": "Always",
                     "resources": {"limits": {"memory": "1Gi", "cpu": "500m"}}},
                ],
            },
        });
        assert!(carries(&live, &wanted));
        live["spec"]["containers"][1]["args"] = json!(["a", "b"]);
        assert!(!carries(&live, &wanted), "a list without names is compared whole");
        live["spec"]["containers"][1]["args"] = json!(["a"]);
        live["spec"]["containers"][1]["resources"]["limits"]["memory"] = json!("2Gi");
        assert!(!carries(&live, &wanted));
    }

    #[test]
    fn amounts() {
        for (one, other) in [("1", "1000m"), ("0.5", "500m"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("1k", "1000")] {
            assert!(same_amount(one, other), "{one} {other}");
        }
        for (one, other) in [("1", "1m"), ("1G", "1Gi"), ("a", "b"), ("", "0"), ("1x", "1x2")] {
            assert!(!same_amount(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_claim_grows_and_never_shrinks() {
        let claim = |size: &str| json!({"spec": {"accessModes": [], "resources": {"requests": {"storage": size}}}});
        let live = Live::of(claim("2Gi"));
        let mut wanted = claim("3Gi");
        assert_eq!(claim_size(&mut wanted, Some(&live)), Ok(()));
        assert_eq!(wanted, claim("3Gi"));
        let mut wanted = claim("1Gi");
        assert!(claim_size(&mut wanted, Some(&live)).unwrap_err().contains("write 2Gi or more"));
        assert_eq!(wanted, claim("2Gi"));
        assert_eq!(claim_size(&mut claim("1Gi"), None), Ok(()));
    }
}
