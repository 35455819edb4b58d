//! The network policies of the chart and of agents, on a node that enforces them: who has to reach the pods does, and nobody else.
//! Only here they are enforced: other tests look at pods from this machine, which no policy lets in.

use serde_json::json;

use crate::Test;
use crate::media::{archive, await_live, await_more};
use crate::site::{OPERATOR, REPOSITORY, Site, TAG, helm_upgrade, wait};
use crate::support::cluster::Cluster;
use crate::support::manifest;

pub const TESTS: &[Test] =
    &[("policies_let_in_who_has_to_and_nobody_else", policies_let_in_who_has_to_and_nobody_else)];

/// What enforces policies on the node, while this lives.
struct Enforced<'a>(&'a Cluster);

/// What the kernel has to have: the matches and the target of the rules that `init.sh` makes, and the queue behind them.
const PROBE: &str = "set -e; probe='iptables --wait 10 --table mangle'; $probe --new-chain test-probe
    trap '$probe --flush test-probe; $probe --delete-chain test-probe' EXIT
    $probe --append test-probe --match owner --uid-owner 0 --jump RETURN
    $probe --append test-probe --match conntrack --ctstate ESTABLISHED --jump RETURN
    $probe --append test-probe --jump NFQUEUE --queue-num 100 --queue-bypass
    test -e /proc/net/netfilter/nfnetlink_queue";

impl<'a> Enforced<'a> {
    fn start(cluster: &'a Cluster) -> Self {
        cluster.part(&["start", "network-policies"]);
        Self(cluster)
    }
}

impl Drop for Enforced<'_> {
    fn drop(&mut self) {
        self.0.part(&["stop", "network-policies"]);
    }
}

/// A pod that does nothing, in which a caller is started.
fn caller(cluster: &Cluster, namespace: &str, name: &str, labels: &serde_json::Value) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {
            "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "caller", "image": format!("{REPOSITORY}:{TAG}"), "imagePullPolicy": "IfNotPresent",
                "command": ["sleep", "infinity"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    cluster.apply(namespace, &pod.to_string());
    cluster.kubectl(&["wait", "pod", name, "--for=condition=Ready", "--timeout=240s", "--namespace", namespace]);
}

/// Whether an answer comes from there. Who is kept out waits for nothing; whoever could not be asked is asked again.
fn reaches(cluster: &Cluster, (namespace, pod): (&str, &str), address: &str, port: u16) -> bool {
    let ask = format!(
        "exec 3<>/dev/tcp/{address}/{port} && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r -u 3 line && [[ $line == HTTP/* ]]"
    );
    let say = r#"if timeout 3 bash -c "$0"; then echo answered; else echo refused; fi"#;
    let command = ["exec", pod, "--namespace", namespace, "--", "bash", "-c", say, &ask];
    wait(&format!("{namespace}/{pod} to say whether it is answered"), || {
        match cluster.try_kubectl(&command).ok()?.trim() {
            "answered" => Some(true),
            "refused" => Some(false),
            _ => None,
        }
    })
}

/// Waits until one is let in: a busy machine may keep anybody from an answer for a while.
fn await_reached(cluster: &Cluster, caller: (&str, &str), address: &str, port: u16) {
    let what = format!("{caller:?} to reach {address}:{port}");
    wait(&what, || reaches(cluster, caller, address, port).then_some(()));
}

fn address(cluster: &Cluster, namespace: &str, selector: &str) -> String {
    wait(&format!("the address of a pod {selector}"), || {
        let pods = cluster.list(namespace, "pods", selector);
        let mut there = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        there.next()?["status"]["podIP"].as_str().map(str::to_owned)
    })
}

fn policies_let_in_who_has_to_and_nobody_else(cluster: &Cluster) {
    if !cluster.is_own() {
        println!(
            "SKIPPED: NetworkPolicies, because only of a cluster of the tests' own it is known that they are enforced"
        );
        return;
    }
    if let Err(error) = cluster.try_part(&["exec", "sh", "-c", PROBE]) {
        println!("SKIPPED: NetworkPolicies, because this kernel lacks what enforces them: {error}");
        return;
    }
    let site = Site::new(cluster, "walls");
    let scrape = r#"networkPolicy.allowed=[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"walls-scrape"}}}]"#;
    helm_upgrade(cluster, &["--set-json", scrape]);
    let volume = site.volume("default");
    let camera = site.camera("");
    site.apply(&(manifest::all_of("front", &camera.url) + &manifest::mjpeg("pictures", "front") + &archive("default")));
    let all = ["camera/front", "stream/front-live", "stream/pictures", "archive/default", "recording/front-rec"];
    site.await_ready(&all);
    // Labelled as a recorder's pod, but in another namespace; of this namespace, but none of ours; of a namespace that is let in.
    let ours = json!({"app.kubernetes.io/name": "camera-operator", "app.kubernetes.io/component": "archive"});
    let strangers = [("walls-other", "stranger"), ("walls", "neighbour")];
    let scraper = ("walls-scrape", "scraper");
    cluster.namespace("walls-other");
    cluster.namespace("walls-scrape");
    caller(cluster, "walls-other", "stranger", &ours);
    caller(cluster, "walls", "neighbour", &json!({}));
    caller(cluster, "walls-scrape", "scraper", &json!({}));
    let operator = || (address(cluster, OPERATOR, "app.kubernetes.io/component=operator"), 8080);
    let agents = || {
        let of = |component: &str, name: &str| {
            let selector = format!("app.kubernetes.io/component={component},app.kubernetes.io/instance={name}");
            (address(cluster, "walls", &selector), 9090)
        };
        [of("camera", "front"), of("stream", "pictures"), of("archive", "default"), operator()]
    };
    // Nothing is enforced yet.
    for caller in strangers {
        for (pod, port) in &agents() {
            await_reached(cluster, caller, pod, *port);
        }
    }

    let enforced = Enforced::start(cluster);
    wait("the policies to be enforced", || {
        let (pod, port) = &agents()[0];
        let is_reached = |caller| reaches(cluster, caller, pod, *port);
        // Last who is let in: who was kept out before was not kept out by a pod that answers nobody.
        (!strangers.into_iter().any(is_reached) && is_reached(scraper)).then_some(())
    });
    // Every connection is made anew: of the kubelet that probes, of the operator that asks, of the recorder and the stream that read the
    // camera, of people by `kubectl port-forward`.
    let pods = || {
        let pods = cluster.list("walls", "pods", "app.kubernetes.io/managed-by=camera-operator");
        pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let old = pods();
    for pod in &old {
        site.kubectl(&["delete", "pod", pod, "--wait=false"]);
    }
    wait("the pods of before to be gone", || pods().iter().all(|pod| !old.contains(pod)).then_some(()));
    cluster.kubectl(&["rollout", "restart", "deployment", "--namespace", OPERATOR]);
    cluster.kubectl(&["rollout", "status", "deployment", "--namespace", OPERATOR, "--timeout=300s"]);
    for deployment in ["front-camera", "pictures-stream", "default-archive"] {
        site.kubectl(&["rollout", "status", &format!("deployment/{deployment}"), "--timeout=300s"]);
    }
    // A new object's Ready takes all of them.
    site.apply(&(manifest::hls("second", "front", "") + &manifest::recording("third", "front")));
    site.await_ready(&["stream/second", "recording/third"]);
    site.await_ready(&all);
    await_more(&volume, "walls", "front-rec");
    await_live(&site.forward("front-camera"), "walls", "front-live");
    site.kubectl(&["create", "job", "now", "--from=cronjob/default-retention"]);
    site.kubectl(&["wait", "job/now", "--for=condition=Complete", "--timeout=240s"]);

    let agents = agents();
    for (pod, port) in &agents {
        // Who is let in by the chart's values.
        await_reached(cluster, scraper, pod, *port);
        for caller in strangers {
            assert!(!reaches(cluster, caller, pod, *port), "{caller:?} reaches {pod}:{port}");
        }
        // The pod answered all the while: it was a policy that kept the others out.
        await_reached(cluster, scraper, pod, *port);
    }
    let log = cluster.log("network-policies");
    assert!(!log.contains("panic"), "what enforces them has failed: {log}");
    drop(enforced);
    // Nothing is enforced any more.
    await_reached(cluster, strangers[0], &agents[0].0, 9090);
    for namespace in ["walls-other", "walls-scrape"] {
        cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"]);
    }
    drop(site);
    helm_upgrade(cluster, &[]);
}
