//! The project's image on a node, installed by its chart: from a manifest to pictures and files, and what must not disturb
//! them.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Test;
use crate::media::{agent_token, agents, archive, await_live, await_more, everything, recorded};
use crate::site::{OPERATOR, PATIENCE, Site, helm_upgrade, wait};
use crate::support::cluster::{Cluster, project};
use crate::support::{hls, http, judge, manifest, poll};

pub const TESTS: &[Test] = &[
    ("manifests_become_pictures_and_files", manifests_become_pictures_and_files),
    ("the_quickstart_example_runs_as_it_stands", the_quickstart_example_runs_as_it_stands),
    ("a_rotated_password_is_picked_up", a_rotated_password_is_picked_up),
    ("edits_touch_no_other_pod", edits_touch_no_other_pod),
    ("media_outlives_operator_and_api_server", media_outlives_operator_and_api_server),
    ("an_upgrade_of_the_operator_leaves_media_alone", an_upgrade_of_the_operator_leaves_media_alone),
    ("killed_pods_come_back", killed_pods_come_back),
    ("deleted_in_any_order_nothing_is_left", deleted_in_any_order_nothing_is_left),
];

/// How long the API server is away: a node whose lease is 50 s old counts as lost.
const API_SERVER_AWAY: Duration = Duration::from_mins(2);

/// A viewer who needs neither the API server nor DNS.
struct Live {
    url: String,
    token: String,
    end: u64,
}

impl Live {
    fn of(site: &Site, camera: &str, stream: &str) -> Self {
        let (pod, ..) = site.pod("camera", camera);
        let address = site.get(&format!("pod/{pod}")).unwrap()["status"]["podIP"].as_str().unwrap().to_owned();
        let token = agent_token(site.cluster);
        Self { url: format!("http://{address}:9090/live/{}/{stream}/index.m3u8", site.namespace), token, end: 0 }
    }

    /// Waits for a newer segment.
    fn next(&mut self) -> Option<()> {
        let bearer = format!("Bearer {}", self.token);
        poll(PATIENCE, || {
            let answer = http::request("GET", &self.url, &[("authorization", &bearer)]).ok()?;
            let playlist = hls::parse(&self.url, &answer.text());
            let end = playlist.media_sequence + playlist.segments.len() as u64;
            (answer.status == 200 && end > self.end).then(|| self.end = end)
        })
    }
}

fn manifests_become_pictures_and_files(cluster: &Cluster) {
    let site = Site::new(cluster, "slice");
    let volume = site.volume("default");
    let camera = site.camera_with_password("--audio aac", "viewer", "first");
    site.apply(&(archive("default") + &everything("front", &camera.url, "first")));
    site.await_ready(&["camera/front", "stream/front-live", "archive/default", "recording/front-rec"]);

    let forward = site.forward("front-camera");
    let live = await_live(&forward, "slice", "front-live");
    assert_eq!(judge::codecs(&live), ["h264", "aac"]);
    let files = wait("a recorded file that is closed", || {
        let files = recorded(&volume, "slice", "front-rec");
        (files.len() > 1).then_some(files)
    });
    assert_eq!(judge::codecs(files[0].to_str().unwrap())[0], "h264");

    // A Service's address opens nothing to those without a token.
    let address = site.get("pods").unwrap()["items"][0]["status"]["podIP"].as_str().unwrap().to_owned();
    let refused = http::get(&format!("http://{address}:9090/v1/report")).unwrap();
    assert_eq!(refused.status, 401, "{}", refused.text());
    assert_eq!(http::get(&format!("http://{address}:9090/healthz")).unwrap().status, 200);

    // What people look at.
    let shown = site.kubectl(&["get", "video"]);
    assert!(["front ", "front-live ", "front-rec ", "default "].iter().all(|name| shown.contains(name)), "{shown}");
}

fn the_quickstart_example_runs_as_it_stands(cluster: &Cluster) {
    let site = Site::new(cluster, "quickstart");
    let volume = site.volume_of("default", "", "10Gi");
    site.apply(&fs::read_to_string(project("examples/quickstart.yaml")).unwrap());
    site.await_ready(&["camera,stream,archive", "--all"]);
    site.await_ready(&["recording/front-door"]);
    site.kubectl(&["wait", "recording/garden-clip", "--for=condition=Complete", "--timeout=240s"]);
    let clip = &recorded(&volume, "quickstart", "garden-clip")[0];
    judge::assert_decodes(clip);
    assert!(judge::duration(clip.to_str().unwrap()) > 59.0, "{}", clip.display());
    assert!(!recorded(&volume, "quickstart", "front-door").is_empty());
}

fn a_rotated_password_is_picked_up(cluster: &Cluster) {
    let site = Site::new(cluster, "rotation");
    let mut camera = site.camera_with_password("", "viewer", "first");
    site.apply(
        &(manifest::credentials("front", "viewer", "first")
            + &manifest::camera_with("front", &camera.url, "credentialsSecretRef: {name: front}")),
    );
    site.await_ready(&["camera/front"]);
    let pod = site.pod("camera", "front");

    camera.ask(&json!({"do": "password", "password": "second"}));
    camera.ask(&json!({"do": "disconnect"}));
    wait("the camera's refusal in the condition", || {
        site.condition("camera/front", "Ready")
            .filter(|(status, reason, _)| status == "False" && reason == "CredentialRefused")
    });
    site.apply(&manifest::credentials("front", "viewer", "second"));
    site.await_ready(&["camera/front"]);
    assert_eq!(site.pod("camera", "front"), pod, "no pod was made anew for it");
}

fn edits_touch_no_other_pod(cluster: &Cluster) {
    let site = Site::new(cluster, "edits");
    site.volume("default");
    let (mut front, mut back) = (site.camera(""), site.camera(""));
    let both = manifest::all_of("front", &front.url) + &manifest::all_of("back", &back.url) + &archive("default");
    site.apply(&manifest::patient(&both));
    site.await_ready(&[
        "camera/front",
        "camera/back",
        "recording/front-rec",
        "recording/back-rec",
        "stream/front-live",
    ]);
    let before = agents(&site);
    let plays = (front.stats().plays, back.stats().plays);

    // Another stream and another recording of a camera cost neither a pod nor a connection.
    site.apply(&(manifest::hls("second", "front", "") + &manifest::recording("third", "front")));
    site.await_ready(&["stream/second", "recording/third"]);
    assert_eq!(agents(&site), before);
    assert_eq!((front.stats().plays, back.stats().plays), plays);

    // What concerns one camera's connection concerns that connection only.
    site.kubectl(&["patch", "camera", "front", "--type=merge", "--patch", r#"{"spec":{"stallTimeout":"3s"}}"#]);
    wait("a new connection", || (front.stats().plays > plays.0).then_some(()));
    site.await_ready(&["camera/front", "recording/front-rec"]);
    assert_eq!(agents(&site), before);
    assert_eq!(back.stats().plays, plays.1);

    // What the pod is made of makes a new pod of that camera, and of nothing else.
    let memory = r#"{"spec":{"pod":{"resources":{"limits":{"memory":"300Mi"}}}}}"#;
    let old = site.pod("camera", "front").0;
    site.kubectl(&["patch", "camera", "front", "--type=merge", "--patch", memory]);
    wait("the new pod alone", || {
        let pods = site.pods("camera", "front");
        (pods.len() == 1 && pods[0].0 != old).then_some(())
    });
    site.await_ready(&["camera/front", "recording/front-rec"]);
    let after = agents(&site);
    let gone: Vec<_> = before.keys().filter(|name| !after.contains_key(*name)).collect();
    assert_eq!(gone, [&old]);
    assert!(after.iter().filter(|(name, _)| before.contains_key(*name)).all(|(name, pod)| before[name] == *pod));

    // Suspended: the pod goes, its readers wait; back again.
    site.kubectl(&["patch", "camera", "back", "--type=merge", "--patch", r#"{"spec":{"suspend":true}}"#]);
    wait("no pod of a suspended camera", || site.pods("camera", "back").is_empty().then_some(()));
    wait("its reason", || site.condition("camera/back", "Ready").filter(|(_, reason, _)| reason == "Suspended"));
    site.kubectl(&["patch", "camera", "back", "--type=merge", "--patch", r#"{"spec":{"suspend":false}}"#]);
    site.await_ready(&["camera/back", "recording/back-rec"]);
}

fn media_outlives_operator_and_api_server(cluster: &Cluster) {
    let site = Site::new(cluster, "outage");
    let volume = site.volume("default");
    let mut camera = site.camera("");
    site.apply(&manifest::patient(&(manifest::all_of("front", &camera.url) + &archive("default"))));
    site.await_ready(&["camera/front", "stream/front-live", "recording/front-rec"]);
    let (before, plays) = (agents(&site), camera.stats().plays);
    let mut live = Live::of(&site, "front", "front-live");

    cluster.kubectl(&["scale", "deployment", "--all", "--replicas=0", "--namespace", OPERATOR]);
    cluster.kubectl(&["wait", "pods", "--all", "--for=delete", "--timeout=120s", "--namespace", OPERATOR]);
    await_more(&volume, "outage", "front-rec");
    if cluster.is_own() {
        cluster.part(&["stop", "kube-apiserver"]);
        wait("the API server to be gone", || cluster.try_kubectl(&["get", "--raw", "/readyz"]).is_err().then_some(()));
        // Longer than the lease of a node is good for, so that those who missed it find a node that they think is lost.
        let gone = Instant::now();
        while gone.elapsed() < API_SERVER_AWAY {
            await_more(&volume, "outage", "front-rec");
            assert!(live.next().is_some(), "viewers see new segments");
        }
        cluster.part(&["start", "kube-apiserver"]);
        cluster.await_api();
    }
    cluster.kubectl(&["scale", "deployment", "--all", "--replicas=2", "--namespace", OPERATOR]);
    cluster.kubectl(&["rollout", "status", "deployment", "--namespace", OPERATOR, "--timeout=300s"]);
    // The operator is back at work when a new object is served.
    site.apply(&manifest::hls("second", "front", ""));
    site.await_ready(&["stream/second", "camera/front", "recording/front-rec"]);
    assert_eq!(agents(&site), before, "nothing was made anew or restarted");
    assert_eq!(camera.stats().plays, plays, "nor connected anew");
}

fn an_upgrade_of_the_operator_leaves_media_alone(cluster: &Cluster) {
    let site = Site::new(cluster, "upgrade");
    let mut camera = site.camera("");
    site.apply(&manifest::patient(
        &(manifest::camera("front", &camera.url) + &manifest::hls("front-live", "front", "")),
    ));
    site.await_ready(&["camera/front", "stream/front-live"]);
    let (before, plays) = (agents(&site), camera.stats().plays);
    let operators = || {
        let pods = cluster.list(OPERATOR, "pods", "");
        pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let old = operators();
    helm_upgrade(cluster, &["--set", "logLevel=debug"]);
    wait("the new operators alone", || operators().iter().all(|name| !old.contains(name)).then_some(()));
    site.apply(&manifest::hls("second", "front", ""));
    site.await_ready(&["stream/second"]);
    assert_eq!(agents(&site), before);
    assert_eq!(camera.stats().plays, plays);
}

fn killed_pods_come_back(cluster: &Cluster) {
    let site = Site::new(cluster, "kills");
    let volume = site.volume("default");
    let camera = site.camera("");
    site.apply(&(manifest::all_of("front", &camera.url) + &archive("default")));
    site.await_ready(&["camera/front", "recording/front-rec"]);
    for (component, name) in [("camera", "front"), ("archive", "default")] {
        let (pod, ..) = site.pod(component, name);
        site.kubectl(&["delete", "pod", &pod, "--grace-period=0", "--force"]);
        wait("another pod", || site.pods(component, name).first().filter(|(name, ..)| *name != pod).map(|_| ()));
        site.await_ready(&["camera/front", "recording/front-rec"]);
        await_more(&volume, "kills", "front-rec");
    }
    // Every file but the newest can be read from beginning to end.
    let files = recorded(&volume, "kills", "front-rec");
    for file in &files[..files.len() - 1] {
        if fs::metadata(file).unwrap().len() > 0 {
            assert_eq!(judge::codecs(file.to_str().unwrap())[0], "h264", "{}", file.display());
        }
    }
}

fn deleted_in_any_order_nothing_is_left(cluster: &Cluster) {
    let site = Site::new(cluster, "deletes");
    let camera = site.camera("");
    let kinds = ["camera/front", "stream/front-live", "recording/front-rec", "archive/default"];
    // Each of them first, then the rest in turn.
    for first in 0..kinds.len() {
        let volume = site.volume("default");
        site.apply(&(manifest::all_of("front", &camera.url) + &archive("default")));
        site.await_ready(&kinds);
        for step in 0..kinds.len() {
            site.kubectl(&["delete", kinds[(first + step) % kinds.len()], "--wait=true", "--timeout=120s"]);
            // What refers to what is gone waits and says so; it does not break.
            for rest in (step + 1..kinds.len()).map(|step| kinds[(first + step) % kinds.len()]) {
                let concerned = match kinds[first] {
                    "camera/front" => rest.starts_with("stream") || rest.starts_with("recording"),
                    "archive/default" => rest.starts_with("recording"),
                    _ => false,
                };
                if step == 0 && concerned {
                    wait("a reason", || site.condition(rest, "Ready").filter(|(status, ..)| status == "False"));
                }
            }
        }
        wait("nothing to be left", || {
            let selector = "app.kubernetes.io/managed-by=camera-operator";
            let kinds = "deployments,services,configmaps,serviceaccounts,networkpolicies,cronjobs,jobs,pods";
            cluster.list("deletes", kinds, selector).is_empty().then_some(())
        });
        // The claim is kept, and so are its files; the next round begins anew.
        assert!(site.get("pvc/default-archive").is_some(), "a kept claim");
        assert!(!recorded(&volume, "deletes", "front-rec").is_empty());
        site.kubectl(&["delete", "pvc/default-archive", "--wait=true"]);
        fs::remove_dir_all(&volume).unwrap();
    }
}
