//! What happens to a node: it is drained, and what runs on it is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use crate::Test;
use crate::media::{archive, assert_whole_files, await_more, recorded};
use crate::site::{Site, wait};
use crate::support::cluster::Cluster;
use crate::support::manifest;

pub const TESTS: &[Test] = &[
    ("a_drained_node_costs_a_gap_and_nothing_else", a_drained_node_costs_a_gap_and_nothing_else),
    ("agents_that_are_killed_come_back", agents_that_are_killed_come_back),
];

/// Nodes that may be used again when this is dropped.
struct Cordoned<'a>(&'a Cluster);

impl Drop for Cordoned<'_> {
    fn drop(&mut self) {
        for node in nodes(self.0) {
            let _ = self.0.try_kubectl(&["uncordon", &node]);
        }
    }
}

fn nodes(cluster: &Cluster) -> Vec<String> {
    let shown = cluster.kubectl(&["get", "nodes", "--output=name"]);
    shown.lines().map(|line| line.trim_start_matches("node/").to_owned()).collect()
}

fn a_drained_node_costs_a_gap_and_nothing_else(cluster: &Cluster) {
    let site = Site::new(cluster, "drain");
    let volume = site.volume("default");
    let camera = site.camera("");
    site.apply(&(manifest::all_of("front", &camera.url) + &archive("default")));
    let all = ["camera/front", "stream/front-live", "recording/front-rec", "archive/default"];
    site.await_ready(&all);
    wait("a file that is closed", || (recorded(&volume, "drain", "front-rec").len() > 1).then_some(()));
    let old: BTreeSet<String> =
        [site.pod("camera", "front"), site.pod("archive", "default")].into_iter().map(|(name, ..)| name).collect();

    // The pods of cameras and archives go by eviction, as the node's owner wants it; the operator stays, to tell what it sees.
    let cordoned = Cordoned(cluster);
    for node in nodes(cluster) {
        let selector = "--pod-selector=app.kubernetes.io/managed-by=camera-operator";
        cluster.kubectl(&["drain", &node, "--ignore-daemonsets", "--delete-emptydir-data", selector, "--timeout=240s"]);
    }
    let recorded = || -> BTreeMap<PathBuf, u64> {
        let files = recorded(&volume, "drain", "front-rec").into_iter();
        files.map(|file| (file.clone(), fs::metadata(file).unwrap().len())).collect()
    };
    let evicted = recorded();
    for object in ["camera/front", "archive/default"] {
        let (status, _, message) =
            wait("the reason", || site.condition(object, "Ready").filter(|(_, reason, _)| reason == "Unschedulable"));
        assert_eq!(status, "False");
        assert!(message.contains("kubectl uncordon"), "{message}");
    }
    drop(cordoned);
    site.await_ready(&all);
    await_more(&volume, "drain", "front-rec");
    for (name, ..) in [site.pod("camera", "front"), site.pod("archive", "default")] {
        assert!(!old.contains(&name), "{name} was drained");
    }

    // What was recorded before is there, whole; what is missing is told, with its reason.
    let now = recorded();
    assert!(now.len() > evicted.len(), "{now:?}");
    let stays = |(file, bytes): (&PathBuf, &u64)| now.get(file) == Some(bytes);
    assert!(evicted.iter().all(stays), "files that were closed stay as they are: {evicted:?} {now:?}");
    assert_whole_files(&volume, "drain", "front-rec");
    wait("the gap with its reason", || {
        let gaps = site.get("recording/front-rec")?["status"]["lastGaps"].clone();
        // It had the time to say so.
        gaps.as_array()?.iter().any(|gap| gap["reason"] == "ShuttingDown").then_some(())
    });
}

/// `kill -9` of the one process of a pod that is the agent itself. The image's first process stands before it.
fn kill_agent(cluster: &Cluster, pod_uid: &str) {
    const SCRIPT: &str = r#"
        for process in /proc/[0-9]*; do
            grep -qs "pod$1" "$process/cgroup" || continue
            command=$(tr '\0' ' ' <"$process/cmdline")
            case $command in
                "/usr/bin/tini -- /usr/local/bin/camera-operator agent "*) echo first ;;
                "/usr/local/bin/camera-operator agent "*) kill -KILL "${process#/proc/}" && echo killed ;;
            esac
        done"#;
    let said = cluster.part(&["exec", "bash", "-c", SCRIPT, "bash", pod_uid]);
    let mut said: Vec<&str> = said.lines().collect();
    said.sort_unstable();
    assert_eq!(said, ["first", "killed"], "the processes of pod {pod_uid}");
}

fn agents_that_are_killed_come_back(cluster: &Cluster) {
    if !cluster.is_own() {
        println!("SKIPPED: kill -9 of agents, because processes are reached in a cluster of the tests' own only");
        return;
    }
    let site = Site::new(cluster, "kill-nine");
    let volume = site.volume("default");
    let camera = site.camera("");
    site.apply(&(manifest::all_of("front", &camera.url) + &archive("default")));
    let all = ["camera/front", "stream/front-live", "recording/front-rec", "archive/default"];
    site.await_ready(&all);
    await_more(&volume, "kill-nine", "front-rec");
    for (component, name) in [("camera", "front"), ("archive", "default")] {
        let (pod, uid, restarts) = site.pod(component, name);
        kill_agent(cluster, &uid);
        wait("the container to be started again", || {
            let (now, _, more) = site.pods(component, name).into_iter().next()?;
            assert_eq!(now, pod, "the pod is the same");
            (more > restarts).then_some(())
        });
        wait("it to be ready again", || {
            let pod = site.get(&format!("pod/{pod}"))?;
            let conditions = pod["status"]["conditions"].as_array()?;
            conditions.iter().find(|condition| condition["type"] == "Ready" && condition["status"] == "True").map(drop)
        });
        site.await_ready(&all);
        await_more(&volume, "kill-nine", "front-rec");
    }
    assert_whole_files(&volume, "kill-nine", "front-rec");
}
