//! Whom the operator asks how its objects are, and what becomes of the answers.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::Test;
use crate::operator::{CAMERA, SHOP, await_condition, condition, patch, prepare, run_pods};
use crate::support::cluster::Cluster;
use crate::support::program::BINARY;
use crate::support::{process, wait};

pub const TESTS: &[Test] = &[
    ("a_planted_pod_is_not_asked", a_planted_pod_is_not_asked),
    ("an_agents_report_becomes_conditions", an_agents_report_becomes_conditions),
];

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
