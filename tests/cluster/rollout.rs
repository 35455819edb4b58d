//! A new image for agents: how it is rolled out, and what it costs those who look and what is recorded. The costs are measured
//! and printed, never asserted: they stand in docs/cluster.md.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use crate::Test;
use crate::media::{archive, await_more, recorded, suspend};
use crate::site::{REPOSITORY, Site, TAG, helm_upgrade, wait};
use crate::support::cluster::Cluster;
use crate::support::{judge, manifest};
use crate::viewers::{Way, watch_hls, watch_mjpeg};

pub const TESTS: &[Test] = &[(
    "a_new_agent_image_is_rolled_out_and_its_gaps_are_measured",
    a_new_agent_image_is_rolled_out_and_its_gaps_are_measured,
)];

/// The tag that the same image gets beside its own: another image to Kubernetes.
const NEW_TAG: &str = "test-2";

/// Whether a Deployment's pods are being replaced, as the API server has it.
fn is_rolling(deployment: &Value) -> bool {
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let (status, wanted) = (&deployment["status"], number(&deployment["spec"]["replicas"]));
    number(&status["observedGeneration"]) < number(&deployment["metadata"]["generation"])
        || number(&status["updatedReplicas"]) < wanted
        || number(&status["replicas"]) > number(&status["updatedReplicas"])
        || number(&status["availableReplicas"]) < number(&status["updatedReplicas"])
}

/// How many pictures between the first and the last are not in the recording's files; none may be there twice.
fn missing_pictures(volume: &Path, skips: &[(u32, u32)]) -> usize {
    let mut there = BTreeSet::new();
    let mut files = Vec::new();
    for file in recorded(volume, "rollout", "front-rec") {
        let counters = judge::counters_of(&[&file]);
        let twice = counters.iter().filter(|counter| !there.insert(**counter)).count();
        let name = file.strip_prefix(volume).unwrap().display().to_string();
        files.push(format!("{name}: {:?} to {:?}, {twice} of them twice", counters.first(), counters.last()));
    }
    assert!(files.iter().all(|file| file.contains(" 0 of them")), "pictures are there twice:\n{}", files.join("\n"));
    let sent = there.first().zip(there.last()).map_or(0..0, |(first, last)| *first..*last);
    let was_sent = |counter: &u32| !skips.iter().any(|(from, to)| (from..to).contains(&counter));
    sent.filter(was_sent).filter(|counter| !there.contains(counter)).count()
}

fn a_new_agent_image_is_rolled_out_and_its_gaps_are_measured(cluster: &Cluster) {
    if !cluster.is_own() {
        println!("SKIPPED: a new agent image, because only a cluster of the tests' own can be given one");
        return;
    }
    let site = Site::new(cluster, "rollout");
    let values =
        ["--set", "media.allowedSubjects={system:serviceaccount:rollout:viewer}", "--set", "maxConcurrentRollouts=1"];
    helm_upgrade(cluster, &values);
    site.kubectl(&["create", "serviceaccount", "viewer"]);
    let audience = ["create", "token", "viewer", "--audience=camera-operator.dev/agent", "--duration=1h"];
    let token = site.kubectl(&audience);
    let socket = cluster.kubeconfig().with_file_name("containerd.sock");
    let images = ["ctr", "--address", socket.to_str().unwrap(), "--namespace", "k8s.io", "images", "tag", "--force"];
    let (old, new) = (format!("{REPOSITORY}:{TAG}"), format!("{REPOSITORY}:{NEW_TAG}"));
    cluster.part(&[&["exec"], &images[..], &[&old, &new]].concat());

    let volume = site.volume("default");
    let (mut front, side) = (site.camera("--fps 25"), site.camera("--fps 25"));
    site.apply(
        &(manifest::all_of("front", &front.url)
            + &manifest::mjpeg("pictures", "front")
            + &manifest::camera("side", &side.url)
            + &archive("default")),
    );
    let all = [
        "camera/front",
        "camera/side",
        "stream/front-live",
        "stream/pictures",
        "recording/front-rec",
        "archive/default",
    ];
    site.await_ready(&all);
    let dns = cluster.kubectl(&[
        "get",
        "node",
        "test-node",
        "--output=jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}",
    ]);
    let way = Way { dns: dns.parse().unwrap(), namespace: "rollout", token, stop: Arc::default() };
    let viewers = [false, true].map(|patient| watch_hls(way.clone(), "front-camera", "front-live", patient));
    let mjpeg = watch_mjpeg(way.clone(), "pictures-stream", "pictures");
    await_more(&volume, "rollout", "front-rec");
    let deployments = || cluster.list("rollout", "deployments", "");
    assert_eq!(deployments().len(), 4);

    // From here on the operator makes agents of another image: one at a time, each new one before the old one goes where
    // both can be there.
    helm_upgrade(cluster, &[&values[..], &["--set", &format!("image.tag={NEW_TAG}")]].concat());
    let is_new = |deployment: &Value| deployment["spec"]["template"]["spec"]["containers"][0]["image"] == new;
    let mut most = 0;
    let mut waited = false;
    wait("all agents to be of the new image", || {
        let now = deployments();
        most = most.max(now.iter().filter(|deployment| is_rolling(deployment)).count());
        let pending = ["camera/front", "camera/side", "stream/pictures", "archive/default"];
        waited |= pending.iter().any(|object| site.condition(object, "UpdatePending").is_some());
        now.iter().all(|deployment| is_new(deployment) && !is_rolling(deployment)).then_some(())
    });
    assert_eq!(most, 1, "no more at once than maxConcurrentRollouts");
    assert!(waited, "the others say that they wait for their turn");
    let named = || {
        let events = cluster.list("rollout", "events.events.k8s.io", "");
        let rolled = events.iter().filter(|event| event["reason"] == "RollOut");
        rolled.filter(|event| event["note"].as_str().is_some_and(|note| note.contains(&new))).count()
    };
    // An event is told beside the work, and is there a little later.
    wait("each to say why its pod is replaced", || (named() >= 4).then_some(()));
    site.await_ready(&all);
    for _ in 0..2 {
        await_more(&volume, "rollout", "front-rec");
    }
    assert_eq!(named(), 4, "each says so once");

    way.stop.store(true, Ordering::Relaxed);
    let [seen, patient] = viewers.map(|viewer| viewer.join().unwrap());
    let longest = mjpeg.join().unwrap();
    // Closed, so that all of it can be counted.
    suspend(&site, "front-rec");
    let missing = missing_pictures(&volume, &front.stats().skips);
    assert!(seen.spans.len() > 10 && longest > Duration::ZERO, "both viewers saw the stream: {:?}", seen.spans);
    println!("measured over a roll-out of camera, Motion JPEG stream and archive:");
    for (who, seen) in [("HLS viewer", seen), ("HLS viewer without a limit for connections", patient)] {
        let longest = seen.longest_without.as_secs_f64();
        println!("  {who}: {:.1} s of the time line missing; {longest:.1} s at most between two answers", seen.holes());
        seen.waits.iter().for_each(|wait| println!("    {wait}"));
    }
    println!("  Motion JPEG viewer: {:.1} s at most between two pictures", longest.as_secs_f64());
    println!("  recording: {missing} of 25 pictures a second missing, none there twice");
    drop(site);
    helm_upgrade(cluster, &[]);
}
