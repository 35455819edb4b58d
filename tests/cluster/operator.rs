//! The operator beside an API server with its controllers and without a node: what it makes of objects, what it leaves
//! alone. Pods are objects that nobody runs; where one has to run, a test says that it does, or
//! starts the very agent that it would run.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::Test;
use crate::support::cluster::{Cluster, Proxy, definitions};
use crate::support::operator::Account;
use crate::support::program::BINARY;
use crate::support::{http, process, wait};

pub const TESTS: &[Test] = &[
    ("objects_get_their_children_and_then_nothing_is_written", objects_get_their_children_and_then_nothing_is_written),
    ("an_edit_changes_what_it_must_and_nothing_else", an_edit_changes_what_it_must_and_nothing_else),
    ("what_is_somebody_elses_is_not_taken", what_is_somebody_elses_is_not_taken),
    ("everything_goes_in_every_order_but_kept_claims", everything_goes_in_every_order_but_kept_claims),
    ("one_malformed_object_stops_nothing_else", one_malformed_object_stops_nothing_else),
    ("a_new_image_is_rolled_out_at_a_pace", a_new_image_is_rolled_out_at_a_pace),
    (
        "what_is_built_differently_leaves_pods_alone_until_their_turn",
        what_is_built_differently_leaves_pods_alone_until_their_turn,
    ),
    ("a_planted_pod_is_not_asked", a_planted_pod_is_not_asked),
    ("an_agents_report_becomes_conditions", an_agents_report_becomes_conditions),
];

pub const CAMERA: &str = "
apiVersion: camera-operator.dev/v1alpha1
kind: Camera
metadata: {name: door}
spec: {source: {test: {width: 320, height: 240, framesPerSecond: 10, audio: false}}}
";

pub const SHOP: &str = "
apiVersion: camera-operator.dev/v1alpha1
kind: Camera
metadata: {name: yard}
spec: {source: {rtsp: {url: \"rtsp://192.0.2.1/yard\", credentialsSecretRef: {name: yard}}}}
---
apiVersion: camera-operator.dev/v1alpha1
kind: Stream
metadata: {name: live}
spec: {cameraRef: {name: door}, output: {hls: {}}}
---
apiVersion: camera-operator.dev/v1alpha1
kind: Stream
metadata: {name: pictures}
spec: {cameraRef: {name: door}, output: {mjpeg: {}}}
---
apiVersion: camera-operator.dev/v1alpha1
kind: Archive
metadata: {name: default}
spec: {claim: {size: 1Gi}}
---
apiVersion: camera-operator.dev/v1alpha1
kind: Recording
metadata: {name: all-day}
spec: {cameraRef: {name: door}, continuous: {}}
";

/// Kinds of children, as kubectl names them.
const CHILDREN: [&str; 7] =
    ["serviceaccount", "configmap", "service", "networkpolicy", "persistentvolumeclaim", "cronjob", "deployment"];

/// What the objects of [`CAMERA`] and [`SHOP`] become.
fn expected() -> BTreeSet<String> {
    let mut children = BTreeSet::new();
    for name in ["door-camera", "yard-camera", "pictures-stream", "default-archive"] {
        for kind in ["serviceaccount", "configmap", "service", "deployment"] {
            children.insert(format!("{kind}/{name}"));
        }
    }
    for more in
        ["persistentvolumeclaim/default-archive", "serviceaccount/default-retention", "cronjob/default-retention"]
    {
        children.insert(more.to_owned());
    }
    children
}

pub fn prepare(cluster: &Cluster, namespace: &str) -> Account {
    for file in definitions() {
        cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", file.to_str().unwrap()]);
    }
    cluster.kubectl(&["wait", "crd", "--all", "--for=condition=Established", "--timeout=30s"]);
    // Every operator sees everything: what an earlier test left is none of this one's business.
    cluster.kubectl(&[
        "delete",
        "cameras,streams,archives,recordings,alertroutes",
        "--all",
        "--all-namespaces",
        "--wait=true",
    ]);
    cluster.namespace(namespace);
    Account::make(cluster)
}

/// The children in a namespace, each with its resource version.
pub fn children(cluster: &Cluster, namespace: &str) -> BTreeMap<String, String> {
    let mut children = BTreeMap::new();
    for kind in CHILDREN {
        for child in cluster.list(namespace, kind, "app.kubernetes.io/managed-by=camera-operator") {
            let text = |field: &str| child["metadata"][field].as_str().unwrap().to_owned();
            children.insert(format!("{kind}/{}", text("name")), text("resourceVersion"));
        }
    }
    children
}

fn names(children: &BTreeMap<String, String>) -> BTreeSet<String> {
    children.keys().cloned().collect()
}

pub fn await_children(cluster: &Cluster, namespace: &str, expected: &BTreeSet<String>) {
    wait(&format!("the children {expected:?}"), || (names(&children(cluster, namespace)) == *expected).then_some(()));
}

/// Deletes the archive's claim. Whether it is gone is not awaited by kubectl: the operator may make it anew before kubectl looks.
fn delete_claim(cluster: &Cluster, namespace: &str) {
    let arguments = ["delete", "persistentvolumeclaim", "default-archive", "--namespace", namespace, "--wait=false"];
    cluster.kubectl(&arguments);
}

/// Status, reason and message of a condition.
fn condition(cluster: &Cluster, namespace: &str, object: &str, type_: &str) -> Option<(String, String, String)> {
    let object = cluster.get(namespace, object)?;
    let conditions = object["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == type_)?;
    let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}

/// Waits for a condition with this status and reason, and returns its message.
pub fn await_condition(
    cluster: &Cluster,
    namespace: &str,
    object: &str,
    type_: &str,
    status: &str,
    reason: &str,
) -> String {
    wait(&format!("{object}: {type_} {status} {reason}"), || {
        let (is, because, message) = condition(cluster, namespace, object, type_)?;
        (is == status && because == reason).then_some(message)
    })
}

pub fn patch(cluster: &Cluster, namespace: &str, object: &str, patch: &Value) {
    cluster.kubectl(&["patch", object, "--namespace", namespace, "--type=merge", "--patch", &patch.to_string()]);
}

fn objects_get_their_children_and_then_nothing_is_written(cluster: &Cluster) {
    let namespace = "operator-children";
    let account = prepare(cluster, namespace);
    let operator = account.leader("first", &[]);
    // What refers to something that is not there yet waits for it, and says so.
    cluster.apply(namespace, SHOP);
    let message = await_condition(cluster, namespace, "stream/live", "Ready", "False", "CameraUnavailable");
    assert!(message.contains("there is no Camera door"), "{message}");
    cluster.apply(namespace, CAMERA);
    await_children(cluster, namespace, &expected());
    operator.await_quiet(6);
    let before = children(cluster, namespace);
    let generation = cluster.get(namespace, "camera/door").unwrap()["status"]["observedGeneration"].clone();
    assert_ne!(generation, json!(1), "nobody has heard of it yet, so kubectl wait must not return");
    operator.stop();

    // Another process knows nothing of what the first one did, and has nothing to do.
    let operator = account.leader("second", &[]);
    operator.await_quiet(6);
    assert_eq!(operator.writes(), BTreeMap::new());
    assert_eq!(children(cluster, namespace), before);
    assert_eq!(operator.get("/healthz").unwrap().0, 200);
    assert_eq!(operator.get("/readyz").unwrap().0, 200);

    // What somebody changes of what is ours, or deletes, is put right; what somebody adds stays.
    let data = json!({"data": {"plan.json": "{}"}, "metadata": {"labels": {"site": "shop"}}});
    patch(cluster, namespace, "configmap/door-camera", &data);
    cluster.kubectl(&["delete", "service", "yard-camera", "--namespace", namespace]);
    wait("what was changed to be put right", || {
        let plan = cluster.get(namespace, "configmap/door-camera")?;
        let is_right = plan["data"]["plan.json"].as_str()?.len() > 2 && plan["metadata"]["labels"]["site"] == "shop";
        (is_right && names(&children(cluster, namespace)) == expected()).then_some(())
    });
    operator.stop();
}

fn an_edit_changes_what_it_must_and_nothing_else(cluster: &Cluster) {
    let namespace = "operator-edits";
    let account = prepare(cluster, namespace);
    let operator = account.leader("edits", &[]);
    cluster.apply(namespace, &format!("{CAMERA}---{SHOP}"));
    await_children(cluster, namespace, &expected());
    operator.await_quiet(6);
    let changed = |object: &str, edit: &Value, expected: &[&str]| {
        let before = children(cluster, namespace);
        let looks = operator.looks();
        patch(cluster, namespace, object, edit);
        wait("the edit to be looked at", || (operator.looks() > looks).then_some(()));
        operator.await_quiet(0);
        let after = children(cluster, namespace);
        let differs = after.iter().filter(|(name, version)| before.get(*name) != Some(*version));
        let differs: BTreeSet<&str> = differs.map(|(name, _)| name.as_str()).collect();
        assert_eq!(differs, expected.iter().copied().collect(), "{object} {edit}");
    };
    // A plan changes in place; whoever reads the camera from elsewhere plans by it, too.
    changed(
        "camera/door",
        &json!({"spec": {"stallTimeout": "20s"}}),
        &["configmap/door-camera", "configmap/pictures-stream", "configmap/default-archive"],
    );
    changed(
        "stream/live",
        &json!({"spec": {"output": {"hls": {"segmentDuration": "6s"}}}}),
        &["configmap/door-camera"],
    );
    changed("recording/all-day", &json!({"spec": {"suspend": true}}), &["configmap/default-archive"]);
    // That the claim's fields are owned by apply is written before its size is refused.
    changed(
        "archive/default",
        &json!({"spec": {"claim": {"size": "2Gi"}}}),
        &["configmap/default-archive", "persistentvolumeclaim/default-archive"],
    );
    let message = await_condition(cluster, namespace, "archive/default", "Ready", "False", "ChildRefused");
    assert!(message.contains("PersistentVolumeClaim default-archive"), "no class here lets claims grow: {message}");
    // Nothing is on it yet, so that it may be made anew.
    delete_claim(cluster, namespace);
    wait("the claim to be as it is wanted", || {
        let claim = cluster.get(namespace, "persistentvolumeclaim/default-archive")?;
        let (_, reason, _) = condition(cluster, namespace, "archive/default", "Ready")?;
        (claim["spec"]["resources"]["requests"]["storage"] == "2Gi" && reason != "ChildRefused").then_some(())
    });
    operator.await_quiet(0);
    // What people ask for of the pod is rolled out at once, with the reason in an event.
    let edit = json!({"spec": {"pod": {"nodeSelector": {"zone": "a"}}}});
    changed("camera/yard", &edit, &["configmap/yard-camera", "deployment/yard-camera"]);
    let await_reason = |reason: &str| {
        wait("the event that names the reason", || {
            let events = cluster.list(namespace, "events.events.k8s.io", "");
            let mut rolled =
                events.iter().filter(|event| event["reason"] == "RollOut" && event["regarding"]["name"] == "yard");
            rolled.any(|event| event["note"].as_str().unwrap_or_default().contains(reason)).then_some(())
        });
    };
    await_reason("nodeSelector");
    let edit = json!({"spec": {"pod": {"nodeSelector": {"zone": "b"}}}});
    changed("camera/yard", &edit, &["configmap/yard-camera", "deployment/yard-camera"]);
    await_reason("a → b");
    // What is not wanted any more is gone, also from an object that was not written since it was made.
    cluster.apply(namespace, &SHOP.split("---").next().unwrap().replace("yard", "porch"));
    let porch = wait("another camera", || cluster.get(namespace, "deployment/porch-camera"));
    let volumes = |deployment: &Value| deployment["spec"]["template"]["spec"]["volumes"].to_string();
    assert!(volumes(&porch).contains("user-secrets"), "{}", volumes(&porch));
    operator.await_quiet(0);
    let edit = json!({"spec": {"source": {"rtsp": {"credentialsSecretRef": null}}}});
    changed("camera/porch", &edit, &["configmap/porch-camera", "deployment/porch-camera"]);
    let porch = cluster.get(namespace, "deployment/porch-camera").unwrap();
    assert!(!volumes(&porch).contains("user-secrets"), "{}", volumes(&porch));
    cluster.kubectl(&["delete", "camera/porch", "--namespace", namespace]);
    // A suspended camera has no pod; the object of its pod stays as it is.
    changed("camera/yard", &json!({"spec": {"suspend": true}}), &["configmap/yard-camera", "deployment/yard-camera"]);
    assert_eq!(cluster.get(namespace, "deployment/yard-camera").unwrap()["spec"]["replicas"], 0);
    await_condition(cluster, namespace, "camera/yard", "Ready", "False", "Suspended");
    // A stream that is repackaged needs no pod of its own any more.
    patch(cluster, namespace, "stream/pictures", &json!({"spec": {"output": {"mjpeg": null, "hls": {}}}}));
    let fewer: BTreeSet<String> = expected().into_iter().filter(|name| !name.ends_with("/pictures-stream")).collect();
    await_children(cluster, namespace, &fewer);
    operator.stop();
}

fn what_is_somebody_elses_is_not_taken(cluster: &Cluster) {
    let namespace = "operator-foreign";
    let account = prepare(cluster, namespace);
    let labels = "labels: {app.kubernetes.io/managed-by: camera-operator, app.kubernetes.io/name: camera-operator, \
                  app.kubernetes.io/component: camera, app.kubernetes.io/instance: door}";
    let foreign = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: door-camera}}\nspec: {{ports: [{{port: 80}}]}}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: door-camera\n  {labels}\ndata: {{mine: yes-it-is}}\n---\n\
         apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: default-archive}}\n\
         spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}\n"
    );
    cluster.apply(namespace, &foreign);
    let version = |object: &str| cluster.get(namespace, object).unwrap()["metadata"]["resourceVersion"].clone();
    let foreign = ["service/door-camera", "configmap/door-camera", "persistentvolumeclaim/default-archive"];
    let before = foreign.map(version);
    let operator = account.leader("foreign", &[]);
    cluster.apply(namespace, &format!("{CAMERA}---{SHOP}"));
    let message = await_condition(cluster, namespace, "camera/door", "Ready", "False", "NameTaken");
    assert!(message.contains("door-camera is in the way"), "{message}");
    let message = await_condition(cluster, namespace, "archive/default", "Ready", "False", "NameTaken");
    assert!(message.contains("PersistentVolumeClaim default-archive is in the way"), "{message}");
    operator.await_quiet(6);
    assert_eq!(foreign.map(version), before, "not touched");
    assert!(cluster.get(namespace, "deployment/yard-camera").is_some(), "all others are made");
    for deployment in ["deployment/door-camera", "deployment/default-archive"] {
        assert!(cluster.get(namespace, deployment).is_none(), "no pod may use what is somebody else's");
    }
    // As soon as the way is free, it is used.
    cluster.kubectl(&["delete", "service", "door-camera", "--namespace", namespace]);
    cluster.kubectl(&["delete", "configmap", "door-camera", "--namespace", namespace]);
    patch(cluster, namespace, "camera/door", &json!({"spec": {"stallTimeout": "20s"}}));
    wait("the camera's own objects", || {
        let ours = names(&children(cluster, namespace));
        (ours.contains("service/door-camera") && ours.contains("configmap/door-camera")).then_some(())
    });
    operator.stop();
}

fn everything_goes_in_every_order_but_kept_claims(cluster: &Cluster) {
    let namespace = "operator-deletes";
    let account = prepare(cluster, namespace);
    let operator = account.leader("deletes", &[]);
    let objects =
        ["camera/door", "camera/yard", "stream/live", "stream/pictures", "archive/default", "recording/all-day"];
    let kept = BTreeSet::from(["persistentvolumeclaim/default-archive".to_owned()]);
    for turn in 0..objects.len() {
        cluster.apply(namespace, &format!("{CAMERA}---{SHOP}"));
        if turn > 0 {
            // Nobody can tell by its name whose recordings are on a claim that was kept.
            let message = await_condition(cluster, namespace, "archive/default", "Ready", "False", "NameTaken");
            assert!(message.contains("write spec.existingClaim: default-archive"), "{message}");
            delete_claim(cluster, namespace);
            patch(cluster, namespace, "archive/default", &json!({"spec": {"minFree": format!("{turn}Mi")}}));
        }
        await_children(cluster, namespace, &expected());
        for object in objects.iter().cycle().skip(turn).take(objects.len()) {
            cluster.kubectl(&["delete", object, "--namespace", namespace, "--wait=true", "--timeout=30s"]);
        }
        await_children(cluster, namespace, &kept);
    }
    // A claim that is not to be kept goes with its archive.
    delete_claim(cluster, namespace);
    cluster.apply(namespace, &format!("{CAMERA}---{SHOP}"));
    patch(cluster, namespace, "archive/default", &json!({"spec": {"reclaimPolicy": "Delete"}}));
    await_children(cluster, namespace, &expected());
    wait("the claim to belong to the archive", || {
        let claim = cluster.get(namespace, "persistentvolumeclaim/default-archive")?;
        (claim["metadata"]["ownerReferences"][0]["kind"] == "Archive").then_some(())
    });
    for object in objects {
        cluster.kubectl(&["delete", object, "--namespace", namespace, "--wait=true", "--timeout=30s"]);
    }
    await_children(cluster, namespace, &BTreeSet::new());
    operator.stop();
}

fn one_malformed_object_stops_nothing_else(cluster: &Cluster) {
    let namespace = "operator-malformed";
    let account = prepare(cluster, namespace);
    // As a newer version of the definitions would do it that stays when the operator goes back to an older one.
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/source/properties/rtsp/properties/transport/enum";
    let widen = json!([{"op": "add", "path": format!("{path}/-"), "value": "PIGEON"}]).to_string();
    let crd = "crd/cameras.camera-operator.dev";
    cluster.kubectl(&["patch", crd, "--type=json", "--patch", &widen]);
    let bad = "apiVersion: camera-operator.dev/v1alpha1\nkind: Camera\nmetadata: {name: bad}\n\
               spec: {source: {rtsp: {url: \"rtsp://192.0.2.1/\", transport: PIGEON}}}\n";
    wait("the wider definition", || cluster.try_apply(namespace, bad).ok());
    let operator = account.leader("malformed", &[]);
    cluster.apply(namespace, &format!("{CAMERA}---{SHOP}"));
    await_children(cluster, namespace, &expected());
    let malformed = r#"camera_operator_objects{kind="cameras",state="Malformed"}"#;
    assert_eq!(operator.metrics().get(malformed), Some(&1.0));
    assert!(operator.log().contains("PIGEON"), "{}", operator.log());
    cluster.kubectl(&["delete", "camera/bad", "--namespace", namespace]);
    wait("it to be forgotten", || (operator.metrics().get(malformed) == Some(&0.0)).then_some(()));
    operator.stop();
    for file in definitions() {
        cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", file.to_str().unwrap()]);
    }
}

/// Says of pods that they run and are ready, as a kubelet would.
fn run_pods(proxy: &Proxy, namespace: &str, addresses: &dyn Fn(&str) -> Option<String>) {
    let pods = http::request("GET", &format!("{}/api/v1/namespaces/{namespace}/pods", proxy.url), &[]).unwrap().json();
    for pod in pods["items"].as_array().unwrap() {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let Some(address) = addresses(name).filter(|_| pod["status"]["phase"] != "Running") else { continue };
        let now = jiff::Timestamp::now().to_string();
        let ready = |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": now});
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [ready("Ready"), ready("ContainersReady")],
        }});
        let url = format!("{}/api/v1/namespaces/{namespace}/pods/{name}/status", proxy.url);
        let patched = http::runtime().block_on(async {
            let request = http::client().patch(&url).header("Content-Type", "application/merge-patch+json");
            request.body(status.to_string()).send().await.unwrap().status()
        });
        assert!(patched.is_success() || patched == 404, "{patched}");
    }
}

fn a_new_image_is_rolled_out_at_a_pace(cluster: &Cluster) {
    let image = "registry.test/camera-operator:2";
    let is_new = |container: &Value| container["image"] == image;
    rolls_out_at_a_pace(cluster, "operator-pace", &format!("--image={image}"), &is_new);
}

/// Nobody's spec changed and the image is the same: only what the operator makes of it is different, as after an upgrade.
fn what_is_built_differently_leaves_pods_alone_until_their_turn(cluster: &Cluster) {
    let defaults = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(defaults.path(), "resources: {camera: {requests: {cpu: 77m}}}\n").unwrap();
    let is_new = |container: &Value| container["resources"]["requests"]["cpu"] == "77m";
    let argument = format!("--resources-file={}", defaults.path().display());
    rolls_out_at_a_pace(cluster, "operator-builders", &argument, &is_new);
}

/// An operator that is started with this argument replaces pods one after the other, each by one of which `is_new` holds.
fn rolls_out_at_a_pace(cluster: &Cluster, namespace: &str, argument: &str, is_new: &dyn Fn(&Value) -> bool) {
    let account = prepare(cluster, namespace);
    let proxy = cluster.proxy();
    let operator = account.leader("old", &["--max-concurrent-rollouts=1"]);
    let cameras: Vec<String> = (0..4).map(|number| format!("camera-{number}")).collect();
    for camera in &cameras {
        cluster.apply(namespace, &CAMERA.replace("door", camera));
    }
    let deployments = || cluster.list(namespace, "deployment", "");
    let is_available = |deployment: &Value| {
        let status = &deployment["status"];
        deployment["metadata"]["generation"] == status["observedGeneration"]
            && status["availableReplicas"] == 1
            && status["updatedReplicas"] == 1
            && status["replicas"] == 1
    };
    let is_new = |deployment: &&Value| is_new(&deployment["spec"]["template"]["spec"]["containers"][0]);
    let anywhere = |_: &str| Some("127.0.0.9".to_owned());
    wait("all to be available", || {
        run_pods(&proxy, namespace, &anywhere);
        let deployments = deployments();
        (deployments.len() == cameras.len() && deployments.iter().all(is_available)).then_some(())
    });
    operator.stop();

    let operator = account.leader("new", &["--max-concurrent-rollouts=1", argument]);
    let mut steps = Vec::new();
    for turn in 1..=cameras.len() {
        // One has its turn; the others wait and say so, however long it takes.
        wait("the next turn", || (deployments().iter().filter(is_new).count() == turn).then_some(()));
        operator.await_quiet(0);
        let now = deployments();
        assert_eq!(now.iter().filter(is_new).count(), turn, "no more at once");
        let pending = cameras
            .iter()
            .filter(|camera| condition(cluster, namespace, &format!("camera/{camera}"), "UpdatePending").is_some());
        steps.push(pending.count());
        wait("it to be available", || {
            run_pods(&proxy, namespace, &anywhere);
            (deployments().iter().filter(is_new).filter(|one| is_available(one)).count() >= turn).then_some(())
        });
    }
    assert_eq!(steps, [3, 2, 1, 0]);
    operator.stop();
}

fn a_planted_pod_is_not_asked(cluster: &Cluster) {
    let namespace = "operator-planted";
    let account = prepare(cluster, namespace);
    let proxy = cluster.proxy();
    // Who is asked shows an address on which somebody listens.
    let listen = |address: &str| {
        let listener = std::net::TcpListener::bind(format!("{address}:9090")).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    };
    let (genuine, planted) = (listen("127.0.0.78"), listen("127.0.0.79"));
    let operator = account.leader("planted", &[]);
    cluster.apply(namespace, CAMERA);
    let real = wait("the camera's pod", || cluster.list(namespace, "pods", "").first().cloned());
    // Everything is as it is with the real one, but who made it.
    let mut copy = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "planted"}, "spec": {"containers": [
        {"name": "agent", "image": "registry.test/anything"}
    ]}});
    copy["metadata"]["labels"] = real["metadata"]["labels"].clone();
    copy["metadata"]["labels"].as_object_mut().unwrap().remove("pod-template-hash");
    cluster.apply(namespace, &copy.to_string());
    let address = |name: &str| Some(if name == "planted" { "127.0.0.79" } else { "127.0.0.78" }.to_owned());
    run_pods(&proxy, namespace, &|name| address(name).filter(|_| name == "planted"));
    wait("the planted pod to be known to run", || {
        let pod = cluster.get(namespace, "pod/planted")?;
        (pod["status"]["podIP"] == "127.0.0.79").then_some(())
    });
    run_pods(&proxy, namespace, &address);
    // What came later is asked; by then the one before would have been, too.
    for _ in 0..2 {
        wait("the real pod to be asked, and asked again", || genuine.accept().ok());
    }
    let asked = planted.accept().map(|(_, from)| from);
    assert!(asked.is_err(), "a pod was asked, with the operator's token, for its labels: {asked:?}");
    let status = cluster.get(namespace, "camera/door").unwrap()["status"].to_string();
    assert!(!status.contains("planted"), "{status}");
    operator.stop();
}

/// `camera-operator agent`, ended with the value.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        process::signal(self.0.id(), "TERM");
        let _ = self.0.wait();
    }
}

fn an_agents_report_becomes_conditions(cluster: &Cluster) {
    let namespace = "operator-reports";
    let account = prepare(cluster, namespace);
    let proxy = cluster.proxy();
    let operator = account.leader("reports", &[]);
    cluster.apply(namespace, CAMERA);
    cluster.apply(namespace, SHOP.split("---").nth(1).unwrap());
    let plan = wait("the plan", || {
        let plan = cluster.get(namespace, "configmap/door-camera")?["data"]["plan.json"].as_str()?.to_owned();
        plan.contains("live").then_some(plan)
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plan.json"), plan).unwrap();
    // Beside the operator and the API server, so that its address is one that its pod can be said to have.
    let address = "127.0.0.77";
    let start = || {
        let mut command = Command::new(BINARY);
        command.arg("agent").arg("--plan").arg(folder.path().join("plan.json"));
        command.args(["--listen", &format!("{address}:9090")]).stdin(Stdio::null()).stderr(Stdio::null());
        Agent(command.spawn().unwrap())
    };
    let agent = start();
    wait("the pod", || {
        run_pods(&proxy, namespace, &|_| Some(address.to_owned()));
        let pods = cluster.list(namespace, "pods", "");
        pods.first().filter(|pod| pod["status"]["phase"] == "Running").map(drop)
    });
    for object in ["camera/door", "stream/live"] {
        await_condition(cluster, namespace, object, "Ready", "True", "Streaming");
        let arguments = ["wait", object, "--namespace", namespace, "--for=condition=Ready", "--timeout=30s"];
        cluster.kubectl(&arguments);
    }
    assert_eq!(cluster.get(namespace, "camera/door").unwrap()["status"]["media"]["width"], 320);
    operator.await_quiet(0);

    // A new plan: until the agent runs it, what is known is of the one before, and its pod is told to look.
    patch(cluster, namespace, "camera/door", &json!({"spec": {"stallTimeout": "20s"}}));
    let nudged = wait("the pod to be told", || {
        let pods = cluster.list(namespace, "pods", "");
        pods.first()?["metadata"]["annotations"]["camera-operator.dev/plan-hash"].as_str().map(str::to_owned)
    });
    assert_eq!(nudged.len(), 64);
    let status = cluster.get(namespace, "camera/door").unwrap()["status"].clone();
    assert_eq!(status["observedGeneration"], 1, "kubectl wait must not return for a spec that nobody runs yet");
    let plan =
        cluster.get(namespace, "configmap/door-camera").unwrap()["data"]["plan.json"].as_str().unwrap().to_owned();
    std::fs::write(folder.path().join("new.json"), plan).unwrap();
    std::fs::rename(folder.path().join("new.json"), folder.path().join("plan.json")).unwrap();
    wait("the new plan to be reported", || {
        let status = cluster.get(namespace, "camera/door")?["status"].clone();
        (status["observedGeneration"] == 2).then_some(())
    });
    await_condition(cluster, namespace, "camera/door", "Ready", "True", "Streaming");

    // An agent that cannot be asked is not a camera that is down.
    agent_stops_answering(cluster, namespace, &agent);
    let agent = start();
    await_condition(cluster, namespace, "camera/door", "Ready", "True", "Streaming");
    // A new leader keeps what is known until it has heard itself.
    operator.stop();
    drop(agent);
    let operator = account.leader("reports-2", &[]);
    operator.await_quiet(2);
    let (status, reason, _) = condition(cluster, namespace, "camera/door", "Ready").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Streaming"));
    assert_eq!(operator.writes(), BTreeMap::new());
    operator.stop();
}

fn agent_stops_answering(cluster: &Cluster, namespace: &str, agent: &Agent) {
    process::signal(agent.0.id(), "KILL");
    let message = await_condition(cluster, namespace, "camera/door", "Ready", "Unknown", "ReportUnavailable");
    assert!(message.contains("does not answer the operator"), "{message}");
    await_condition(cluster, namespace, "stream/live", "Ready", "Unknown", "ReportUnavailable");
}
