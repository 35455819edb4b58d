//! Golden objects of the examples, and the rules that every pod keeps to.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::check;
use crate::operator::build::settings::{DefaultResources, NetworkPolicySettings};
use crate::plan::agents::{Cluster, agent_plan, waiting};
use crate::plan::index::{Index, Object};
use crate::plan::unit::{ObjectKind, ObjectRef};

fn cluster() -> Cluster {
    Cluster {
        issuer: "https://kubernetes.default.svc.cluster.local".into(),
        keys: json!({"keys": []}),
        control: vec!["system:serviceaccount:camera-operator:camera-operator".into()],
        media: vec!["system:serviceaccount:camera-operator:gateway".into()],
        refused: vec!["10.96.0.1".into()],
        max_clips_per_namespace: 10,
    }
}

fn settings() -> Settings {
    let monitoring = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}});
    Settings {
        image: "registry.example/camera-operator:1.0.0".into(),
        image_pull_policy: Some("IfNotPresent".into()),
        operator_namespace: "camera-operator".into(),
        resources: DefaultResources::default(),
        network_policy: Some(NetworkPolicySettings {
            allowed: vec![serde_json::from_value(monitoring).unwrap_or_default()],
        }),
    }
}

fn index(manifests: check::Manifests) -> Index {
    let cameras = manifests.cameras.into_iter().map(Object::Camera);
    let streams = manifests.streams.into_iter().map(Object::Stream);
    let archives = manifests.archives.into_iter().map(Object::Archive);
    let recordings = manifests.recordings.into_iter().map(Object::Recording);
    cameras.chain(streams).chain(archives).chain(recordings).collect()
}

fn owners(index: &Index) -> Vec<ObjectRef> {
    let objects = index.objects();
    let reference = |kind| move |key: &crate::plan::unit::ObjectKey| ObjectRef { kind, key: key.clone() };
    let cameras = objects.cameras.keys().map(reference(ObjectKind::Camera));
    let streams = objects.streams.keys().map(reference(ObjectKind::Stream));
    let archives = objects.archives.keys().map(reference(ObjectKind::Archive));
    let recordings = objects.recordings.keys().map(reference(ObjectKind::Recording));
    cameras.chain(streams).chain(archives).chain(recordings).collect()
}

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut examples: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{error}"))
        .map(|entry| entry.unwrap_or_else(|error| panic!("{error}")).path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    examples.sort();
    assert!(examples.len() >= 5);
    examples
}

fn all_children(index: &Index) -> Vec<(AgentPlan, Children)> {
    let plans = owners(index).into_iter().filter_map(|owner| agent_plan(index, &owner, &cluster()));
    plans.map(|plan| (plan.clone(), children(&plan, &settings()))).collect()
}

/// The objects in the order in which they are applied.
fn objects(children: &Children) -> Vec<Value> {
    let Children { service_account, config_map, service, network_policy, claim, retention, deployment } = children;
    let mut values = vec![json!(service_account), json!(config_map), json!(service)];
    values.extend(network_policy.iter().map(|policy| json!(policy)));
    values.extend(claim.iter().map(|claim| json!(claim)));
    values.extend(retention.iter().flat_map(|retention| [json!(retention.service_account), json!(retention.cron_job)]));
    values.push(json!(deployment));
    values
}

#[test]
fn examples_become_the_same_objects_as_ever() {
    for example in examples() {
        let loaded = check::load(std::slice::from_ref(&example));
        let index = index(loaded.manifests);
        let told: Vec<String> = owners(&index)
            .iter()
            .filter_map(|object| waiting(&index, object, &cluster()))
            .map(|waiting| format!("{}: {:?}", waiting.object, waiting.reason))
            .collect();
        assert_eq!(told, [""; 0], "{}: every example runs in a cluster, too", example.display());
        let mut made: Vec<Value> = all_children(&index).iter().flat_map(|(_, children)| objects(children)).collect();
        // The plan and the copy of the specification are easier to read as what they are.
        for object in &mut made {
            if let Some(text) = object["data"]["plan.json"].as_str() {
                object["data"]["plan.json"] = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}"));
            }
            let annotations = &mut object["metadata"]["annotations"];
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.insert(crate::operator::names::ANNOTATION_POD_SPEC.into(), "…".into());
            }
        }
        let name = example.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        insta::assert_yaml_snapshot!(name, made);
    }
}
