//! Every field of a spec, edited on a live cluster: whose pods are made anew for it, that all others go on as they are, and
//! where it shows what it says. Edits are made in rounds, each of objects that have nothing to do with one another, so that
//! all of them take minutes and not an hour.
//!
//! A field that a definition has and no edit here is one that nobody has tried: `covered` names it.

mod covered;
mod edits;

use std::collections::BTreeSet;

use serde_json::{Value, json};

pub use self::covered::every_field_of_a_spec_is_edited;
use self::edits::{Addresses, Edit, Then, cameras, outputs};
use crate::Test;
use crate::media::{agent_token, settled};
use crate::site::{Site, wait};
use crate::support::cluster::Cluster;
use crate::support::manifest;
use crate::support::target::RtmpServer;

pub const TESTS: &[Test] =
    &[("every_field_does_what_it_says_to_its_own_pods", every_field_does_what_it_says_to_its_own_pods)];

/// What an object says of itself, in which a text is looked for.
fn text_of(site: &Site, object: &str) -> Option<String> {
    let value = site.get(object)?;
    Some(match value["data"]["plan.json"].as_str() {
        Some(plan) => plan.to_owned(),
        None => value.to_string(),
    })
}

/// Makes the edits of a round, and looks at what became of all pods.
fn play(site: &Site, token: &str, round: &[Edit]) {
    let shown: Vec<String> = round.iter().map(|edit| format!("{} {}", edit.object, edit.spec)).collect();
    println!("  {}", shown.join("\n  "));
    let before = wait("all agents to run their plans", || settled(site, token));
    for edit in round {
        let patch = json!({"spec": edit.spec}).to_string();
        let arguments = ["patch", edit.object, "--namespace", &site.namespace, "--type=merge", "--patch", &patch];
        match (site.cluster.try_kubectl(&arguments), edit.then) {
            (Err(refused), Then::Refused(words)) => assert!(refused.contains(words), "{words:?} in {refused}"),
            (Err(refused), _) => panic!("{} {patch}: {refused}", edit.object),
            (Ok(_), Then::Refused(_)) => panic!("{} {patch} was taken", edit.object),
            (Ok(_), _) => {}
        }
    }
    for edit in round {
        wait(&format!("{} to be looked at", edit.object), || {
            let object = site.get(edit.object)?;
            let conditions = object["status"]["conditions"].as_array()?;
            let is_now = |condition: &Value| condition["observedGeneration"] == object["metadata"]["generation"];
            conditions.iter().any(is_now).then_some(())
        });
        for (object, text) in &edit.seen {
            let found =
                crate::support::poll(crate::site::PATIENCE, || text_of(site, object).filter(|all| all.contains(text)));
            assert!(found.is_some(), "{}: no {text} in {object}: {:?}", edit.object, text_of(site, object));
        }
    }
    let of = |wanted: fn(Then) -> &'static [&'static str]| -> BTreeSet<&str> {
        round.iter().flat_map(|edit| wanted(edit.then)).copied().collect()
    };
    let replaced = of(|then| if let Then::Replaces(agents) = then { agents } else { &[] });
    let ended = of(|then| if let Then::Ends(agents) = then { agents } else { &[] });
    let after = wait("the pods to be as the edits want them", || {
        let now = settled(site, token)?;
        let are_new = replaced.iter().all(|agent| now.get(*agent).is_some_and(|pod| pod.0 != before[*agent].0));
        (are_new && ended.iter().all(|agent| !now.contains_key(*agent))).then_some(now)
    });
    for (agent, pod) in &before {
        let agent = agent.as_str();
        if !replaced.contains(agent) && !ended.contains(agent) {
            assert_eq!(after.get(agent), Some(pod), "{agent} is none of this: {}", shown.join("; "));
        }
    }
}

fn every_field_does_what_it_says_to_its_own_pods(cluster: &Cluster) {
    let site = Site::new(cluster, "fields");
    // The node's network is more than the strictest standard allows.
    cluster.kubectl(&["label", "namespace", "fields", "--overwrite", "pod-security.kubernetes.io/enforce=privileged"]);
    let (front, mut back) = (site.camera(""), site.camera(""));
    let servers = ["first", "first|second"].map(|keys| RtmpServer::start_at(&cluster.host, keys));
    let at = Addresses {
        front: front.url.clone(),
        back: back.url.clone(),
        push: servers[0].url(),
        other_push: servers[1].url(),
    };
    prepare(&site, &at);
    let token = agent_token(cluster);
    site.await_ready(&["camera/front", "camera/side", "stream/live", "stream/pictures", "stream/out", "recording/rec"]);

    let rounds = cameras(&at);
    play(&site, &token, &rounds[0]);
    wait("the other camera to be connected to", || (back.stats().plays > 0).then_some(()));
    rounds[1..].iter().for_each(|round| play(&site, &token, round));
    for round in outputs(&at) {
        play(&site, &token, &round);
        if round.iter().any(|edit| edit.spec.to_string().contains(&at.other_push)) {
            wait("the push to arrive elsewhere", || (servers[1].bytes() > 0).then_some(()));
        }
    }
    let pods = cluster.list("fields", "pods", "app.kubernetes.io/instance=front,app.kubernetes.io/component=camera");
    assert!(pods.is_empty(), "a suspended camera has no pod: {pods:?}");
    for claim in ["kept-one", "kept-two", "default-archive"] {
        let _ = cluster.try_kubectl(&["delete", "persistentvolume", &format!("fields-{claim}"), "--wait=false"]);
    }
}

/// Makes all that is edited, and what it needs: Secrets, volumes, a class of pods, a device that the node seems to have.
fn prepare(site: &Site, at: &Addresses) {
    let cluster = site.cluster;
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "fields-test"}, "value": 5,
    });
    let grows = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "test-grows"},
        "provisioner": "kubernetes.io/no-provisioner", "allowVolumeExpansion": true,
    });
    site.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [class, grows]}).to_string());
    for node in cluster.list("", "nodes", "") {
        let name = node["metadata"]["name"].as_str().unwrap();
        let device = r#"{"status":{"capacity":{"fields.test/device":"9"},"allocatable":{"fields.test/device":"9"}}}"#;
        cluster.kubectl(&["patch", "node", name, "--subresource=status", "--type=merge", "--patch", device]);
    }
    site.volume_of("default", "test-grows", "5Gi");
    for claim in ["kept-one", "kept-two"] {
        site.volume_for(claim, "test-local", "1Gi");
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "test-local",
                "resources": {"requests": {"storage": "1Gi"}}},
        });
        site.apply(&claim.to_string());
    }
    let secrets =
        manifest::secret("cam", &[("username", "viewer"), ("password", "a-long-password"), ("url", &at.front)])
            + &manifest::secret(
                "keys",
                &[("first", "first"), ("second", "second"), ("passphrase", "a-long-passphrase")],
            );
    let cameras: String = [
        ("front", format!("rtsp: {{url: \"{}\"}}", at.front)),
        ("side", "test: {width: 320, height: 240, framesPerSecond: 10}".to_owned()),
        ("web", "http: {url: \"http://192.0.2.1/x\"}".to_owned()),
        ("list", "hls: {url: \"http://192.0.2.1/x.m3u8\"}".to_owned()),
        ("flash", "rtmp: {url: \"rtmp://192.0.2.1/live/x\"}".to_owned()),
        ("srt", "srt: {url: \"srt://192.0.2.1:8890\"}".to_owned()),
        ("usb", "v4l2: {device: /dev/video0}".to_owned()),
    ]
    .iter()
    .map(|(name, source)| manifest::camera_from(name, source))
    .collect();
    // Without a device of the node nothing is planned for it.
    let device = "  pod: {deviceResources: [{name: fields.test/device, count: 1}]}\n";
    let key = "streamKeySecretRef: {name: keys, key: first}";
    let streams = manifest::hls("live", "front", "")
        + &manifest::mjpeg("pictures", "front")
        + &manifest::push("out", "front", &at.push, key, "");
    // It encodes, and so has a pod of its own.
    let sizes = manifest::hls("sizes", "front", "{renditions: [{name: tiny, height: 64}]}")
        + "  video: {codec: H264, preset: UltraFast, framesPerSecond: 5}\n";
    let archives = "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Archive\nmetadata: {name: default}\n\
         spec: {claim: {size: 1Gi, storageClassName: test-grows}}\n\
         ---\napiVersion: camera-operator.dev/v1alpha1\nkind: Archive\nmetadata: {name: second}\n\
         spec: {existingClaim: kept-one}\n";
    let recordings = manifest::recording("rec", "front") + &manifest::clip("shot", "front", "1h");
    site.apply(&(secrets + &cameras + device + &streams + &sizes + archives + &recordings));
}
