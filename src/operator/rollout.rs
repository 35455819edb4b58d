//! When a Deployment's pods may be replaced. Pure.
//!
//! What its owner's spec asks for is rolled out at once: whoever wrote it wants it. Everything else (a new image, other
//! defaults, another version of the operator that builds pods differently) would touch every camera at the same moment, and
//! so waits for its turn: only so many are under way at once, and the next begin when those are available again. An image
//! that does not work thus stops after as many.

use serde_json::{Value, json};

use super::build::template;
use super::live::Live;
use super::names::{ANNOTATION_PACED, ANNOTATION_POD_INPUTS, ANNOTATION_POD_SPEC, ANNOTATION_TEMPLATE_HASH};
use crate::plan::agents::{AgentPlan, Volume};

/// What is to be done about a Deployment's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollout {
    /// The template is as it is.
    None,
    /// The pods are replaced now; says what differs.
    Now {
        /// The first difference.
        difference: String,
        /// Whether it takes one of the places.
        paced: bool,
    },
    /// The pods wait for their turn; says what differs.
    Later {
        /// The first difference.
        difference: String,
    },
}

/// SHA-256 of what the owner's spec says about its pod. When it has changed, a person wants the pod replaced.
pub fn inputs(plan: &AgentPlan) -> String {
    let secrets: Vec<_> = plan.secrets.iter().map(|secret| format!("{}/{}", secret.name, secret.key)).collect();
    let claim = match &plan.volume {
        Some(Volume::Existing(name)) => name.as_str(),
        Some(Volume::Made { .. }) | None => "",
    };
    let mut inputs = json!({
        "pod": plan.overrides,
        "secrets": secrets,
        "existingClaim": claim,
        "device": plan.opens_device,
        "rollout": format!("{:?}", plan.rollout),
    });
    // Absent where there are none: what was computed before there could be any stays the same.
    if !plan.config_maps.is_empty() {
        inputs["configMaps"] = plan.config_maps.iter().map(|map| format!("{}/{}", map.name, map.key)).collect();
    }
    template::of_json(&inputs)
}

/// Decides about a Deployment. `wanted` is what was computed; `rolling` counts the roll-outs at a pace that are under way, this
/// one's not among them.
pub fn decide(wanted: &Value, inputs: &str, live: Option<&Live>, rolling: usize, most: usize) -> Rollout {
    let Some(live) = live else { return Rollout::None };
    let new = &wanted["metadata"]["annotations"];
    let old = |name: &str| live.annotations.get(name).map(String::as_str);
    if old(ANNOTATION_TEMPLATE_HASH) == new[ANNOTATION_TEMPLATE_HASH].as_str() {
        return Rollout::None;
    }
    let specification = new[ANNOTATION_POD_SPEC].as_str().unwrap_or_default();
    let before = old(ANNOTATION_POD_SPEC).unwrap_or_default();
    let difference =
        template::first_difference(before, specification).unwrap_or_else(|| "labels of the pod".to_owned());
    let is_wanted = old(ANNOTATION_POD_INPUTS).is_some_and(|before| before != inputs);
    // Nothing is cut where nothing runs.
    let runs = live.deployment().is_some_and(|facts| facts.wanted > 0 && facts.available > 0);
    // One whose turn has come and whose template changes once more keeps its place.
    let has_turn = is_paced(live);
    if is_wanted || !runs {
        return Rollout::Now { difference, paced: has_turn };
    }
    if has_turn || rolling < most {
        return Rollout::Now { difference, paced: true };
    }
    Rollout::Later { difference }
}

/// Whether a roll-out at a pace is under way.
pub fn is_paced(live: &Live) -> bool {
    let marked = live.annotations.get(ANNOTATION_PACED);
    marked.is_some()
        && marked == live.annotations.get(ANNOTATION_TEMPLATE_HASH)
        && live.deployment().is_some_and(super::live::DeploymentFacts::is_rolling)
}

/// Writes on a Deployment what [`decide`] will want to know of it next time.
pub fn annotate(wanted: &mut Value, inputs: &str, live: Option<&Live>, rollout: &Rollout) {
    let hash = wanted["metadata"]["annotations"][ANNOTATION_TEMPLATE_HASH].clone();
    let annotations = &mut wanted["metadata"]["annotations"];
    annotations[ANNOTATION_POD_INPUTS] = inputs.into();
    let marked = live.and_then(|live| live.annotations.get(ANNOTATION_PACED));
    match rollout {
        Rollout::Now { paced: true, .. } => annotations[ANNOTATION_PACED] = hash,
        Rollout::None if marked.map(String::as_str) == hash.as_str() && marked.is_some() => {
            annotations[ANNOTATION_PACED] = hash;
        }
        Rollout::None | Rollout::Now { .. } | Rollout::Later { .. } => {}
    }
}

/// Puts the template that is there in place of the one that was computed, so that all else of the Deployment can change while
/// its pods wait for their turn. `false` when what is there cannot be read.
pub fn hold(wanted: &mut Value, live: &Live) -> bool {
    let specification = live.annotations.get(ANNOTATION_POD_SPEC);
    let Some(specification) = specification.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return false;
    };
    let labels = live.json()["spec"]["template"]["metadata"]["labels"].clone();
    wanted["spec"]["template"] = json!({"metadata": {"labels": labels}, "spec": specification});
    for name in [ANNOTATION_POD_SPEC, ANNOTATION_TEMPLATE_HASH, ANNOTATION_POD_INPUTS, ANNOTATION_PACED] {
        match live.annotations.get(name) {
            Some(value) => wanted["metadata"]["annotations"][name] = value.clone().into(),
            None => {
                if let Some(annotations) = wanted["metadata"]["annotations"].as_object_mut() {
                    annotations.remove(name);
                }
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Deployment with a pod of that image, as it was computed.
    fn computed(image: &str) -> Value {
        let pod = json!({"containers": [{"name": "agent", "image": image}]});
        json!({
            "metadata": {"annotations": {
                ANNOTATION_TEMPLATE_HASH: format!("hash of {image}"), ANNOTATION_POD_SPEC: pod.to_string(),
            }},
            "spec": {"replicas": 1, "selector": {}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}},
        })
    }

    struct There {
        available: i64,
        rolling: bool,
        paced: bool,
    }

    const CALM: There = There { available: 1, rolling: false, paced: false };

    /// The same after it was written, with inputs `i`.
    fn live(image: &str, there: &There) -> Live {
        let mut object = computed(image);
        annotate(&mut object, "i", None, &Rollout::Now { difference: String::new(), paced: there.paced });
        object["metadata"]["generation"] = 2.into();
        object["status"] = json!({
            "observedGeneration": if there.rolling { 1 } else { 2 },
            "replicas": 1, "updatedReplicas": 1, "availableReplicas": there.available,
        });
        Live::of(object)
    }

    fn now(paced: bool) -> Rollout {
        Rollout::Now { difference: "containers[agent].image: a → b".into(), paced }
    }

    fn later() -> Rollout {
        Rollout::Later { difference: "containers[agent].image: a → b".into() }
    }

    #[test]
    fn whose_turn_it_is() {
        let stuck = There { available: 0, rolling: false, paced: false };
        let turning = There { available: 1, rolling: true, paced: true };
        let cases = [
            ("nothing differs", "a", "i", Some(CALM), 9, Rollout::None),
            ("it is new", "b", "i", None, 9, Rollout::None),
            ("there is a place", "b", "i", Some(CALM), 1, now(true)),
            ("there is no place", "b", "i", Some(CALM), 2, later()),
            ("its owner wants it", "b", "other", Some(CALM), 2, now(false)),
            ("nothing runs that could be cut", "b", "i", Some(stuck), 2, now(false)),
            ("its turn had come", "b", "i", Some(turning), 2, now(true)),
        ];
        for (name, image, inputs, there, rolling, expected) in cases {
            let live = there.map(|there| live("a", &there));
            assert_eq!(decide(&computed(image), inputs, live.as_ref(), rolling, 2), expected, "{name}");
        }
    }

    #[test]
    fn a_turn_ends_when_the_pods_are_available() {
        assert!(is_paced(&live("a", &There { available: 1, rolling: true, paced: true })));
        assert!(
            is_paced(&live("a", &There { available: 0, rolling: false, paced: true })),
            "a bad image keeps its place"
        );
        assert!(!is_paced(&live("a", &There { available: 1, rolling: false, paced: true })));
        assert!(!is_paced(&live("a", &There { available: 0, rolling: false, paced: false })));
    }

    #[test]
    fn a_mark_stays_until_the_next_template_and_changes_nothing_in_between() {
        let live = live("a", &There { available: 1, rolling: false, paced: true });
        let mut again = computed("a");
        annotate(&mut again, "i", Some(&live), &Rollout::None);
        assert!(super::super::difference::carries(&live.json(), &again));
        assert_eq!(again["metadata"]["annotations"][ANNOTATION_PACED], "hash of a");
    }

    #[test]
    fn while_it_waits_all_else_may_change() {
        let live = live("a", &CALM);
        let mut wanted = computed("b");
        wanted["spec"]["replicas"] = 0.into();
        annotate(&mut wanted, "i", Some(&live), &later());
        assert!(hold(&mut wanted, &live));
        let mut expected = live.json();
        expected["spec"]["replicas"] = 0.into();
        assert_eq!(wanted, expected);
    }
}
