//! What tests share of the operator beside an API server with its controllers and without a node. Pods are objects that nobody
//! runs; where one has to run, a test says that it does, or starts the very agent that it would run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Proxy, definitions};
use crate::support::operator::Account;
use crate::support::{http, wait};

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
pub fn expected() -> BTreeSet<String> {
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

/// The children in a namespace, each with what tells one state of it from another.
pub fn children(cluster: &Cluster, namespace: &str) -> BTreeMap<String, String> {
    let mut children = BTreeMap::new();
    for kind in CHILDREN {
        for child in cluster.list(namespace, kind, "app.kubernetes.io/managed-by=camera-operator") {
            let text = |field: &str| child["metadata"][field].as_str().unwrap().to_owned();
            let state = if kind == "deployment" { written(&child["metadata"]) } else { text("resourceVersion") };
            children.insert(format!("{kind}/{}", text("name")), state);
        }
    }
    children
}

/// What of a Deployment only the operator writes. Its resource version changes with every word about its pods, too, which the controller
/// manager writes whenever it likes; a spec's every change counts a generation.
fn written(metadata: &Value) -> String {
    let annotations = metadata["annotations"].as_object().into_iter().flatten();
    let ours: BTreeMap<_, _> = annotations.filter(|(name, _)| name.starts_with("camera-operator.dev/")).collect();
    let kept = ["uid", "generation", "labels", "ownerReferences"].map(|field| &metadata[field]);
    json!([kept, ours]).to_string()
}

/// Their names.
pub fn names(children: &BTreeMap<String, String>) -> BTreeSet<String> {
    children.keys().cloned().collect()
}

pub fn await_children(cluster: &Cluster, namespace: &str, expected: &BTreeSet<String>) {
    wait(&format!("the children {expected:?}"), || (names(&children(cluster, namespace)) == *expected).then_some(()));
}

/// Deletes the archive's claim. Whether it is gone is not awaited by kubectl: the operator may make it anew before kubectl looks.
pub fn delete_claim(cluster: &Cluster, namespace: &str) {
    let arguments = ["delete", "persistentvolumeclaim", "default-archive", "--namespace", namespace, "--wait=false"];
    cluster.kubectl(&arguments);
}

/// Status, reason and message of a condition.
pub fn condition(cluster: &Cluster, namespace: &str, object: &str, type_: &str) -> Option<(String, String, String)> {
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

/// Says of pods that they run and are ready, as a kubelet would.
pub fn run_pods(proxy: &Proxy, namespace: &str, addresses: &dyn Fn(&str) -> Option<String>) {
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
