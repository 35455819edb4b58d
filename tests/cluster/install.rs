//! The chart on a cluster: what its roles let people and the operator do, and that media outlives the release.

use std::process::Stdio;

use crate::Test;
use crate::media::agents;
use crate::site::{OPERATOR, Site, helm, helm_upgrade, wait};
use crate::support::cluster::Cluster;
use crate::support::manifest;

pub const TESTS: &[Test] = &[
    ("people_and_the_operator_may_do_what_their_roles_say", people_and_the_operator_may_do_what_their_roles_say),
    (
        "cameras_outlive_the_release_and_the_next_takes_them_over",
        cameras_outlive_the_release_and_the_next_takes_them_over,
    ),
];

fn people_and_the_operator_may_do_what_their_roles_say(cluster: &Cluster) {
    let site = Site::new(cluster, "people");
    for (user, role) in [
        ("vera", "view"),
        ("edda", "edit"),
        ("adam", "admin"),
        ("victor", "camera-operator-viewer"),
        ("eric", "camera-operator-editor"),
    ] {
        let arguments = ["create", "rolebinding", user, &format!("--clusterrole={role}"), &format!("--user={user}")];
        site.kubectl(&arguments);
    }
    let may = |user: &str, namespace: &str, what: &str| {
        let what: Vec<&str> = what.split(' ').collect();
        let who = format!("--as={user}");
        let asked = [&["auth", "can-i"], &what[..], &[&who, "--namespace", namespace]].concat();
        // Its exit code says no, too, but not whether that is an answer.
        let output = cluster.command(&asked).stdin(Stdio::null()).output().unwrap();
        let answer = String::from_utf8_lossy(&output.stdout);
        match answer.trim().split(" - ").next() {
            Some("yes") => true,
            // With a reason, where the API server has one.
            Some("no") => false,
            _ => panic!("kubectl {asked:?}: {answer}{}", String::from_utf8_lossy(&output.stderr)),
        }
    };
    // Kubernetes gathers what view, edit and admin are made of by and by.
    wait("the roles to be gathered", || may("adam", "people", "delete archives").then_some(()));
    let kinds = ["cameras", "streams", "archives", "recordings"].map(|kind| format!("{kind}.camera-operator.dev"));
    for kind in &kinds {
        let is_archive = kind.starts_with("archives");
        for (user, reads, writes, deletes) in [
            ("vera", true, false, false),
            ("victor", true, false, false),
            ("edda", true, true, !is_archive),
            ("eric", true, true, !is_archive),
            ("adam", true, true, true),
            ("nobody", false, false, false),
        ] {
            assert_eq!(may(user, "people", &format!("watch {kind}")), reads, "{user} watch {kind}");
            assert_eq!(may(user, "people", &format!("patch {kind}")), writes, "{user} patch {kind}");
            assert_eq!(may(user, "people", &format!("delete {kind}")), deletes, "{user} delete {kind}");
            assert!(
                !may(user, "people", &format!("patch {kind} --subresource=status")),
                "{user} {kind}: the operator's word"
            );
            assert!(!may(user, "default", &format!("get {kind}")), "{user} {kind}: another namespace");
        }
    }
    let operator = format!("system:serviceaccount:{OPERATOR}:camera-operator");
    for (what, allowed) in [
        ("list cameras.camera-operator.dev", true),
        ("patch recordings.camera-operator.dev --subresource=status", true),
        ("patch cameras.camera-operator.dev", false),
        ("create deployments.apps", true),
        ("list events", true),
        ("get secrets", false),
        ("list secrets", false),
        ("watch secrets", false),
        ("create pods", false),
        ("create pods --subresource=exec", false),
        // To change who owns one, as an edit of reclaimPolicy does.
        ("delete persistentvolumeclaims", true),
        ("create roles.rbac.authorization.k8s.io", false),
        ("get nodes", false),
        ("create serviceaccounts --subresource=token", false),
    ] {
        assert_eq!(may(&operator, "people", what), allowed, "the operator: {what}");
    }
}

fn cameras_outlive_the_release_and_the_next_takes_them_over(cluster: &Cluster) {
    let site = Site::new(cluster, "release");
    let mut camera = site.camera("");
    site.apply(&manifest::patient(
        &(manifest::camera("front", &camera.url) + &manifest::hls("front-live", "front", "")),
    ));
    site.await_ready(&["camera/front", "stream/front-live"]);
    let (before, plays) = (agents(&site), camera.stats().plays);

    helm(cluster, &["uninstall", "camera-operator", "--namespace", OPERATOR, "--wait", "--timeout", "2m"]);
    let there = cluster.list(OPERATOR, "deployments", "");
    assert!(there.is_empty(), "{there:?}");
    let object = site.get("camera/front").unwrap();
    assert_eq!(
        object["metadata"]["deletionTimestamp"],
        serde_json::Value::Null,
        "the definitions stay, and so do objects"
    );
    let frames = camera.stats().frames;
    wait("the camera to go on", || (camera.stats().frames > frames + 50).then_some(()));

    helm_upgrade(cluster, &[]);
    site.apply(&manifest::hls("second", "front", ""));
    site.await_ready(&["stream/second", "camera/front"]);
    assert_eq!(agents(&site), before, "nothing was made anew or restarted");
    assert_eq!(camera.stats().plays, plays, "nor connected anew");
}
