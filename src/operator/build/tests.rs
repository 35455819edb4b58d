//! Golden objects of the examples, and the rules that every pod keeps to.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::api::archive::ReclaimPolicy;
use crate::check;
use crate::operator::build::settings::{DefaultResources, NetworkPolicySettings};
use crate::plan::agents::{Cluster, Volume, agent_plan, waiting};
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
            if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
                annotations.insert(crate::operator::names::ANNOTATION_POD_SPEC.into(), "…".into());
            }
        }
        let name = example.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        insta::assert_yaml_snapshot!(name, made);
    }
}

#[test]
fn the_same_plan_always_makes_the_same_objects() {
    for example in examples() {
        let index = index(check::load(&[example]).manifests);
        for (plan, made) in all_children(&index) {
            assert_eq!(json!(objects(&made)).to_string(), json!(objects(&children(&plan, &settings()))).to_string());
        }
    }
}

#[test]
fn everything_belongs_to_its_owner() {
    for example in examples() {
        let index = index(check::load(&[example]).manifests);
        for (plan, children) in all_children(&index) {
            for object in objects(&children) {
                let metadata = &object["metadata"];
                assert_eq!(metadata["namespace"], json!(plan.owner.key.namespace));
                assert_eq!(metadata["labels"]["camera-operator.dev/owner-uid"], json!(plan.owner_uid));
                assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "camera-operator");
                let outlives = object["kind"] == "PersistentVolumeClaim"
                    && plan.volume.as_ref().is_some_and(|volume| {
                        matches!(volume, Volume::Made { reclaim_policy: ReclaimPolicy::Retain, .. })
                    });
                let owners = metadata["ownerReferences"].as_array().map_or(0, Vec::len);
                assert_eq!(owners, usize::from(!outlives), "{} {}", object["kind"], metadata["name"]);
                if !outlives {
                    let owner = &metadata["ownerReferences"][0];
                    assert_eq!((&owner["controller"], &owner["uid"]), (&json!(true), &json!(plan.owner_uid)));
                    assert_eq!(owner["apiVersion"], "camera-operator.dev/v1alpha1");
                }
            }
        }
    }
}

#[test]
fn a_plan_that_changes_leaves_the_pod_alone() {
    let text = |more: &str| {
        format!(
            "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Camera\nmetadata: {{name: a}}\nspec: {{source: {{test: {{}}}}}}\n\
             ---\napiVersion: camera-operator.dev/v1alpha1\nkind: Archive\nmetadata: {{name: default}}\nspec: {{claim: {{size: 1Gi}}}}\n{more}"
        )
    };
    let object = |kind: &str, spec: &str| {
        format!("---\napiVersion: camera-operator.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n")
    };
    let more = [
        object("Stream", "{cameraRef: {name: a}, output: {hls: {}}}"),
        object("Recording", "{cameraRef: {name: a}, continuous: {}}"),
    ];
    let made = |text: &str| {
        let index = index(check::load_text("test.yaml", text).manifests);
        all_children(&index).into_iter().map(|(_, children)| children).collect::<Vec<_>>()
    };
    let (before, after) = (made(&text("")), made(&text(&more.concat())));
    assert_eq!(before.len(), 2);
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before.config_map, after.config_map);
        assert_eq!(before.deployment, after.deployment, "an HLS stream or a recording is added without a new pod");
        assert_eq!(before.service, after.service);
    }
}

#[test]
fn a_roll_out_names_its_reason() {
    let index = index(check::load(&[examples().remove(0)]).manifests);
    let (plan, before) = all_children(&index).remove(0);
    let mut settings = settings();
    settings.image = "registry.example/camera-operator:1.0.1".into();
    let after = children(&plan, &settings);
    let annotation = |children: &Children, name: &str| {
        children.deployment.metadata.annotations.clone().unwrap_or_default().remove(name).unwrap_or_default()
    };
    let hash = |children: &Children| annotation(children, "camera-operator.dev/template-hash");
    assert_eq!(hash(&before).len(), 64);
    assert_ne!(hash(&before), hash(&after));
    let spec = |children: &Children| annotation(children, "camera-operator.dev/pod-spec");
    assert_eq!(
        template::first_difference(&spec(&before), &spec(&after)).as_deref(),
        Some(
            "containers[agent].image: registry.example/camera-operator:1.0.0 → registry.example/camera-operator:1.0.1"
        )
    );
}

/// What a pod may not do under the `restricted` Pod Security Standard, `baseline` included, after
/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/>.
fn violations(spec: &Value) -> Vec<String> {
    const VOLUMES: [&str; 9] = [
        "name",
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let mut found = Vec::new();
    let mut refuse = |wrong: bool, what: &str| found.extend(wrong.then(|| what.to_owned()));
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        refuse(spec[field] == true, field);
    }
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let unknown = volume.as_object().into_iter().flatten().find(|(kind, _)| !VOLUMES.contains(&kind.as_str()));
        refuse(unknown.is_some(), "volume");
    }
    let pod = &spec["securityContext"];
    refuse(pod["sysctls"].as_array().is_some_and(|sysctls| !sysctls.is_empty()), "sysctls");
    refuse(pod["seLinuxOptions"] != Value::Null, "seLinuxOptions");
    for kind in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec[kind].as_array().into_iter().flatten() {
            let own = &container["securityContext"];
            // The container's word goes before the pod's.
            let effective = |field: &str| if own[field].is_null() { &pod[field] } else { &own[field] };
            refuse(own["privileged"] == true, "privileged");
            refuse(own["allowPrivilegeEscalation"] != false, "allowPrivilegeEscalation");
            refuse(own["procMount"] != Value::Null, "procMount");
            refuse(effective("windowsOptions")["hostProcess"] == true, "hostProcess");
            refuse(effective("runAsNonRoot") != true, "runAsNonRoot");
            refuse(effective("runAsUser") == 0, "runAsUser");
            let profile = &effective("seccompProfile")["type"];
            refuse(profile != "RuntimeDefault" && profile != "Localhost", "seccompProfile");
            refuse(effective("appArmorProfile")["type"] == "Unconfined", "appArmorProfile");
            refuse(own["capabilities"]["drop"] != json!(["ALL"]), "capabilities.drop");
            let added = own["capabilities"]["add"].as_array().into_iter().flatten();
            refuse(added.into_iter().any(|capability| capability != "NET_BIND_SERVICE"), "capabilities.add");
            let mut ports = container["ports"].as_array().into_iter().flatten();
            refuse(ports.any(|port| port["hostPort"].as_i64().is_some_and(|port| port != 0)), "hostPort");
            for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                let has_host =
                    |action: &str| container[probe][action]["host"].as_str().is_some_and(|host| !host.is_empty());
                refuse(has_host("httpGet") || has_host("tcpSocket"), "probe host");
            }
        }
    }
    found
}

fn pod_specs(children: &Children) -> Vec<Value> {
    let job = children.retention.iter().filter_map(|retention| retention.cron_job.spec.job_template.spec.clone());
    let mut specs: Vec<Value> = job.map(|job| json!(job.template.spec)).collect();
    specs.push(json!(children.deployment.spec.template.spec));
    specs
}

#[test]
fn every_pod_passes_the_restricted_standard() {
    let mut pods = 0;
    for example in examples() {
        let index = index(check::load(&[example]).manifests);
        for (plan, children) in all_children(&index) {
            for spec in pod_specs(&children) {
                pods += 1;
                assert_eq!(violations(&spec), [""; 0], "{}", plan.name);
                // Beyond the standard.
                assert_eq!(spec["automountServiceAccountToken"], false);
                assert_eq!(spec["securityContext"]["runAsUser"], 10001);
                assert_eq!(spec["securityContext"]["fsGroup"], 10001);
                assert_eq!(spec["securityContext"]["fsGroupChangePolicy"], "OnRootMismatch");
                for container in spec["containers"].as_array().into_iter().flatten() {
                    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
                    assert!(container["resources"]["limits"]["memory"].is_string());
                    assert_eq!(container["env"], Value::Null, "no credential can be in the environment");
                    assert_eq!(container["command"], Value::Null, "it would stand in place of the image's entry point");
                    let program = &container["args"][0];
                    assert!(program == "agent" || program == "retain", "{program}");
                }
            }
        }
    }
    assert!(pods > 15, "{pods}");
}

#[test]
fn the_rules_of_the_standard_find_what_they_are_for() {
    let index = index(check::load(&[examples().remove(0)]).manifests);
    let spec = pod_specs(&all_children(&index).remove(0).1).remove(0);
    let cases: [(&str, Value, &str); 12] = [
        ("/hostNetwork", json!(true), "hostNetwork"),
        ("/volumes/0/hostPath", json!({"path": "/"}), "volume"),
        ("/securityContext/seccompProfile/type", json!("Unconfined"), "seccompProfile"),
        ("/securityContext/sysctls", json!([{"name": "kernel.shm_rmid_forced", "value": "1"}]), "sysctls"),
        ("/containers/0/securityContext/privileged", json!(true), "privileged"),
        ("/containers/0/securityContext/allowPrivilegeEscalation", Value::Null, "allowPrivilegeEscalation"),
        ("/containers/0/securityContext/runAsNonRoot", json!(false), "runAsNonRoot"),
        ("/containers/0/securityContext/runAsUser", json!(0), "runAsUser"),
        ("/containers/0/securityContext/capabilities/drop", json!([]), "capabilities.drop"),
        ("/containers/0/securityContext/capabilities/add", json!(["SYS_ADMIN"]), "capabilities.add"),
        ("/containers/0/ports/0/hostPort", json!(9090), "hostPort"),
        ("/containers/0/livenessProbe/httpGet/host", json!("example.org"), "probe host"),
    ];
    for (path, value, expected) in cases {
        let mut broken = spec.clone();
        let (parent, field) = path.rsplit_once('/').unwrap_or_default();
        broken.pointer_mut(parent).unwrap_or_else(|| panic!("{path}"))[field] = value;
        assert_eq!(violations(&broken), [expected], "{path}");
    }
}

#[test]
fn what_a_person_asks_of_a_pod_is_what_it_gets() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests/good/pods.yaml");
    let index = index(check::load(&[file]).manifests);
    let (plan, children) = all_children(&index).remove(0);
    assert_eq!(plan.owner.key.name, "everything");
    let spec = json!(children.deployment.spec.template.spec);
    assert_eq!(violations(&spec), ["hostNetwork"], "which has to be asked for, and a namespace that allows it");
    assert_eq!(spec["dnsPolicy"], "ClusterFirstWithHostNet");
    assert!(plan.plan.access.as_ref().is_some_and(|access| access.host_network), "its agent must not trust loopback");
    let wanted = json!(plan.overrides);
    for field in ["nodeSelector", "tolerations", "affinity", "imagePullSecrets", "priorityClassName"] {
        assert!(!wanted[field].is_null(), "{field}");
        assert_eq!(spec[field], wanted[field], "{field}");
    }
    let resources = &spec["containers"][0]["resources"];
    assert_eq!(resources["limits"]["squat.ai/video"], "2");
    assert_eq!(resources["requests"]["smarter-devices/video1"], "1");
    assert_eq!(resources["requests"]["cpu"], "1500m");
}

#[test]
fn nobody_but_those_who_need_it_reaches_an_agent() {
    let index = index(check::load(&[examples().remove(0)]).manifests);
    let mut settings = settings();
    for (plan, children) in all_children(&index) {
        let policy = json!(children.network_policy);
        let rules = policy["spec"]["ingress"].as_array().cloned().unwrap_or_default();
        assert_eq!(rules.len(), 1);
        assert_eq!(rules[0]["ports"], json!([{"port": 9090, "protocol": "TCP"}]));
        let from = rules[0]["from"].as_array().cloned().unwrap_or_default();
        // An empty list, or an empty peer, would let everybody in.
        assert!(!from.is_empty() && from.iter().all(|peer| peer != &json!({})), "{}", plan.name);
        assert!(from.iter().all(|peer| peer["podSelector"] != json!({})), "{}", plan.name);
        assert_eq!(policy["spec"]["podSelector"], json!(children.deployment.spec.selector));
    }
    settings.network_policy = None;
    let (plan, _) = all_children(&index).remove(0);
    assert_eq!(children(&plan, &settings).network_policy, None);
}
