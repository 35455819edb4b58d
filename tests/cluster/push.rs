//! Pushes from pods of their own to a real RTMP server: one whose key changes, and one that encodes and goes on over slates.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::Test;
use crate::site::{Site, wait};
use crate::support::cluster::Cluster;
use crate::support::target::RtmpServer;
use crate::support::{judge, manifest, picture};

pub const TESTS: &[Test] = &[
    ("a_push_arrives_and_follows_its_key", a_push_arrives_and_follows_its_key),
    ("an_encoded_push_is_one_session_over_slates", an_encoded_push_is_one_session_over_slates),
];

fn a_push_arrives_and_follows_its_key(cluster: &Cluster) {
    const KEYS: [&str; 2] = ["first-Quince8", "second-Medlar5"];
    let site = Site::new(cluster, "push");
    let mut camera = site.camera("--audio aac");
    let mut server = RtmpServer::start_at(&cluster.host, KEYS[0]);
    let key = |key: &str| manifest::secret("channel", &[("key", key)]);
    let stream = manifest::push("channel", "front", &server.url(), "streamKeySecretRef: {name: channel, key: key}", "");
    site.apply(&manifest::patient(&(manifest::camera("front", &camera.url) + &stream)));
    // Without its key it waits, and says for what.
    let (_, _, message) = wait("the missing key to be told", || {
        site.condition("stream/channel", "Ready").filter(|(_, reason, _)| reason == "SecretMissing")
    });
    assert!(message.contains("channel"), "{message}");
    site.apply(&key(KEYS[0]));
    site.await_ready(&["camera/front", "stream/channel"]);
    let (pod, connections) = (site.pod("stream", "channel"), camera.stats().plays);
    assert_eq!(site.get("deployment/channel-stream").unwrap()["spec"]["strategy"]["type"], "Recreate");
    wait("what is pushed to arrive", || (server.bytes() > 100_000).then_some(()));
    assert_eq!(connections, 1, "the camera is connected to once");

    // The server wants another key: refused, with a reason and an event, and not hammered.
    server.take(KEYS[1]);
    let (status, _, message) = wait("the refusal", || {
        site.condition("stream/channel", "Ready").filter(|(_, reason, _)| reason == "PushRefused")
    });
    assert_eq!(status, "False");
    assert!(message.contains("refuses the") && message.contains("key"), "{message}");
    let event = |reason: &str| {
        wait(&format!("an event {reason}"), || {
            let events = cluster.list("push", "events.events.k8s.io", "");
            events.into_iter().find(|event| event["reason"] == reason && event["regarding"]["name"] == "channel")
        })
    };
    assert_eq!(event("PushRefused")["type"], "Warning");

    // Rotated in the Secret, it is taken up by the pod that is there.
    let (before, sessions) = (server.bytes(), server.recorded().len());
    site.apply(&key(KEYS[1]));
    site.await_ready(&["stream/channel"]);
    wait("what is pushed to arrive again", || (server.bytes() > before + 100_000).then_some(()));
    assert_eq!(site.pod("stream", "channel"), pod, "no pod was made anew for it");
    assert_eq!(camera.stats().plays, connections, "nor was the camera connected to anew");
    assert!(server.recorded().len() > sessions);

    // A server that goes away is another matter, and comes back by itself.
    server.kill();
    let (_, _, message) = wait("the server to be missed", || {
        site.condition("stream/channel", "Ready")
            .filter(|(status, reason, _)| status == "False" && reason != "PushRefused")
    });
    println!("  while the server is away: {message}");
    server.restart();
    site.await_ready(&["stream/channel"]);
    site.kubectl(&["delete", "stream", "channel", "--wait=true"]);
    wait("its pod to go", || site.pods("stream", "channel").is_empty().then_some(()));
    server.kill();
    let file = server.recorded().pop().unwrap();
    assert_eq!(judge::codecs(file.to_str().unwrap()), ["h264", "aac"]);

    // Nothing that people can read holds a key.
    let kinds = "pods,deployments,configmaps,events,streams,cameras";
    let shown = site.kubectl(&["get", kinds, "--output", "yaml"]);
    assert!(KEYS.iter().all(|key| !shown.contains(key)));
}

/// The image of a slate, in one colour, as a ConfigMap that is made or edited.
fn paint(site: &Site, color: &str) {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("slate.png");
    picture::paint(&image, color);
    hang_up(site, &image);
}

fn hang_up(site: &Site, image: &Path) {
    let from = format!("--from-file=slate.png={}", image.display());
    site.apply(&site.kubectl(&["create", "configmap", "slate", &from, "--dry-run=client", "--output=json"]));
}

fn an_encoded_push_is_one_session_over_slates(cluster: &Cluster) {
    let site = Site::new(cluster, "slates");
    // A graphics card that the node seems to have.
    let device = json!({"slates.test/card": "1"});
    for node in cluster.list("", "nodes", "") {
        let status = json!({"status": {"capacity": device, "allocatable": device}}).to_string();
        let name = node["metadata"]["name"].as_str().unwrap();
        cluster.kubectl(&["patch", "node", name, "--subresource=status", "--type=merge", "--patch", &status]);
    }
    let mut camera = site.camera("--codec h265");
    let server = RtmpServer::start_at(&cluster.host, "mango");
    let spec = "video: {codec: H264, preset: UltraFast, threads: 1, keyFrameInterval: 1s}\n\
         fallback: {after: 1s, image: {configMapRef: {name: slate, key: slate.png}}}\n\
         pod: {resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 400Mi}}, \
         deviceResources: [{name: slates.test/card, count: 1}]}";
    let key = "streamKeySecretRef: {name: channel, key: key}";
    // The camera first: a stream that has waited for a camera in vain begins with a slate of a size of its own.
    site.apply(&manifest::camera("front", &camera.url));
    site.await_ready(&["camera/front"]);
    site.apply(
        &(manifest::secret("channel", &[("key", "mango")])
            + &manifest::push("channel", "front", &server.url(), key, spec)),
    );
    // Without its image it runs, and says so.
    let unavailable = || site.condition("stream/channel", "SlateImageUnavailable");
    wait("the missing image to be told", unavailable);
    paint(&site, "red");
    wait("the image to be taken", || unavailable().is_none().then_some(()));
    site.await_ready(&["camera/front", "stream/channel"]);
    let pod = site.pod("stream", "channel");
    let resources = site.get(&format!("pod/{}", pod.0)).unwrap()["spec"]["containers"][0]["resources"].clone();
    assert_eq!(resources["requests"], json!({"cpu": "50m", "memory": "64Mi", "slates.test/card": "1"}));
    assert_eq!(resources["limits"], json!({"memory": "400Mi", "slates.test/card": "1"}));

    let await_mode = |mode: &str| {
        wait(mode, || (site.get("stream/channel")?["status"]["push"]["mode"] == mode).then_some(()));
        let before = server.bytes();
        wait("more at the server", || (server.bytes() > before + 10_000).then_some(()));
    };
    let arrives = |what: &str, is_it: fn([u8; 3]) -> bool| {
        wait(what, || picture::colors(server.recorded().last()?).last().copied().filter(|color| is_it(*color)));
    };
    await_mode("Camera");
    camera.kill();
    await_mode("Slate");
    arrives("the image", |[red, green, blue]| red > 200 && green < 60 && blue < 60);
    camera.restart();
    await_mode("Camera");

    // Edited while the camera is there, it is told where it is no picture, and shown where it is another.
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("slate.png");
    fs::write(&image, "no picture").unwrap();
    hang_up(&site, &image);
    let (_, _, message) = wait("the unreadable image to be told", unavailable);
    assert!(message.contains("unreadable"), "{message}");
    paint(&site, "blue");
    wait("the next image to be taken", || unavailable().is_none().then_some(()));
    camera.kill();
    await_mode("Slate");
    arrives("the next image", |[red, green, blue]| red < 60 && green < 60 && blue > 200);
    camera.restart();
    await_mode("Camera");

    assert_eq!(site.pod("stream", "channel"), pod, "no pod was made anew or restarted");
    site.kubectl(&["delete", "stream", "channel", "--wait=true"]);
    wait("its pod to go", || site.pods("stream", "channel").is_empty().then_some(()));
    let recorded = server.recorded();
    assert_eq!((recorded.len(), server.asked()), (1, (1, 0)), "one session");
    judge::assert_decodes(&recorded[0]);
    assert_eq!(judge::codecs(recorded[0].to_str().unwrap())[0], "h264");
}
