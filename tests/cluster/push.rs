//! A push from a pod of its own to a real RTMP server, whose key changes.

use crate::Test;
use crate::site::{Site, wait};
use crate::support::cluster::Cluster;
use crate::support::target::RtmpServer;
use crate::support::{judge, manifest};

pub const TESTS: &[Test] = &[("a_push_arrives_and_follows_its_key", a_push_arrives_and_follows_its_key)];

fn a_push_arrives_and_follows_its_key(cluster: &Cluster) {
    const KEYS: [&str; 2] = ["first-Quince8", "second-Medlar5"];
    let site = Site::new(cluster, "push");
    let mut camera = site.camera("--audio aac");
    let mut server = RtmpServer::start_at(&cluster.host, KEYS[0]);
    let key = |key: &str| manifest::secret("channel", &[("key", key)]);
    let stream = manifest::push("channel", "front", &server.url(), "streamKeySecretRef: {name: channel, key: key}", "");
    site.apply(&(manifest::camera("front", &camera.url) + &stream));
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
