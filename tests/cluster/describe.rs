//! What people see: `kubectl get video`, and in one line under `kubectl describe` what is wrong and what to do.

use crate::Test;
use crate::media::{archive, everything};
use crate::site::{Site, wait};
use crate::support::cluster::Cluster;
use crate::support::{http, manifest};

pub const TESTS: &[Test] = &[
    ("get_video_shows_what_people_want_to_know", get_video_shows_what_people_want_to_know),
    ("what_is_wrong_is_told_in_one_line_with_what_to_do", what_is_wrong_is_told_in_one_line_with_what_to_do),
];

fn get_video_shows_what_people_want_to_know(cluster: &Cluster) {
    let site = Site::new(cluster, "table");
    site.volume("default");
    let camera = site.camera_with_password("--audio aac", "viewer", "first");
    site.apply(&manifest::patient(&(archive("default") + &everything("front", &camera.url, "first"))));
    site.await_ready(&["camera/front", "stream/front-live", "archive/default", "recording/front-rec"]);
    let shown = site.kubectl(&["get", "video"]);
    let starts = [
        "camera.camera-operator.dev/front ",
        "stream.camera-operator.dev/front-live ",
        "recording.camera-operator.dev/front-rec ",
        "archive.camera-operator.dev/default ",
    ];
    for start in starts {
        assert!(shown.lines().any(|line| line.starts_with(start) && line.contains("True")), "{start}\n{shown}");
    }
    // The same as the API server makes it, whoever asks.
    let proxy = cluster.proxy();
    let expected = [
        (
            "cameras",
            &["Name", "Ready", "Reason", "Since", "Codec", "Width", "Height", "FPS", "Message", "Age"][..],
            &["front", "True", "Streaming", "H264"][..],
        ),
        ("streams", &["Name", "Camera", "Ready", "Reason"], &["front-live", "front", "True", "Streaming"]),
        ("archives", &["Name", "Ready", "Reason"], &["default", "True"]),
        ("recordings", &["Name", "Camera", "Ready", "Reason"], &["front-rec", "front", "True", "Recording"]),
    ];
    for (plural, columns, cells) in expected {
        let url = format!("{}/apis/camera-operator.dev/v1alpha1/namespaces/table/{plural}", proxy.url);
        let table =
            http::request("GET", &url, &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")]).unwrap().json();
        let names: Vec<&str> = table["columnDefinitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| column["name"].as_str().unwrap())
            .collect();
        for column in columns {
            assert!(names.contains(column), "{plural}: {column} in {names:?}");
        }
        let row = &table["rows"][0]["cells"];
        for cell in cells {
            assert!(row.as_array().unwrap().iter().any(|value| value == cell), "{plural}: {cell} in {row}");
        }
    }
}

/// Waits for a reason, and looks at how it is told: in one line that says what to do, which `kubectl describe` shows.
fn told(site: &Site, object: &str, reason: &str, advice: &[&str]) {
    let (status, _, message) =
        wait(&format!("{object}: {reason}"), || site.condition(object, "Ready").filter(|(_, is, _)| is == reason));
    assert_eq!(status, "False");
    println!("  {object}: {reason}: {message}");
    for words in advice {
        assert!(message.contains(words), "{object}: {words:?} in {message:?}");
    }
    assert!(!message.contains('\n') && message.len() < 600, "{message}");
    let shown = site.kubectl(&["describe", object]);
    assert!(shown.lines().any(|line| line.contains(&message)), "{message}\n{shown}");
    wait(&format!("an event of {object}"), || {
        let (_, name) = object.split_once('/')?;
        let events = site.cluster.list(&site.namespace, "events.events.k8s.io", "");
        events.iter().find(|event| event["regarding"]["name"] == name && event["reason"] == reason).map(drop)
    });
}

fn what_is_wrong_is_told_in_one_line_with_what_to_do(cluster: &Cluster) {
    let site = Site::new(cluster, "describe");
    let camera = site.camera_with_password("", "viewer", "right");
    let with_pod = |name: &str, pod: &str| manifest::camera(name, "rtsp://192.0.2.1/x") + &format!("  pod: {pod}\n");
    let secret = |name: &str, password: &str| {
        manifest::credentials(name, "viewer", password)
            + &manifest::camera_with(name, &camera.url, &format!("credentialsSecretRef: {{name: {name}}}"))
    };
    let archive_of = |name: &str, claim: &str| {
        format!(
            "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Archive\nmetadata: {{name: {name}}}\nspec: {{{claim}}}\n"
        )
    };
    // A volume whose place is gone.
    let folder = site.volume("nowhere");
    std::fs::remove_dir(&folder).unwrap();
    site.apply(
        &(with_pod("elsewhere", "{nodeSelector: {zone: nowhere}}")
            + &with_pod("large", "{resources: {requests: {memory: 900Gi}, limits: {memory: 900Gi}}}")
            + &secret("wrong", "wrong")
            + &secret("right", "right")
            + &manifest::camera_with("lost", &camera.url, "credentialsSecretRef: {name: lost}")
            + &archive_of("unbound", "claim: {size: 1Gi, storageClassName: nobody-provides}")
            + &archive_of("missing", "existingClaim: nobodys")
            + &archive_of("nowhere", "claim: {size: 1Gi, storageClassName: test-local}")),
    );
    told(&site, "camera/elsewhere", "Unschedulable", &["spec.pod.nodeSelector", "nodes are available"]);
    told(&site, "camera/large", "Unschedulable", &["Insufficient memory", "lower spec.pod.resources.requests"]);
    told(&site, "camera/wrong", "CredentialRefused", &["put the right ones into its Secret"]);
    told(&site, "camera/lost", "SecretMissing", &["lost"]);
    told(
        &site,
        "archive/unbound",
        "ClaimPending",
        &["unbound-archive (1Gi, class nobody-provides)", "kubectl describe pvc"],
    );
    told(&site, "archive/missing", "Unschedulable", &["spec.existingClaim", "nobodys"]);
    told(&site, "archive/nowhere", "MountFailed", &["correct the PersistentVolume"]);

    // An image that nobody has: the one container of a pod may be given another.
    site.await_ready(&["camera/right"]);
    let (pod, ..) = site.pod("camera", "right");
    site.kubectl(&["set", "image", &format!("pod/{pod}"), "agent=registry.invalid/camera-operator:none"]);
    told(&site, "camera/right", "ImagePullFailed", &["check the operator's --image", "imagePullSecrets"]);
    // And what is put right is right again.
    site.kubectl(&["delete", "pod", &pod, "--wait=false"]);
    site.await_ready(&["camera/right"]);
    site.apply(&manifest::credentials("wrong", "viewer", "right"));
    site.await_ready(&["camera/wrong"]);
}
