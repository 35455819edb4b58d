//! Pods that nobody's edit changes are replaced one after the other, beside an API server whose pods only seem to run.

use serde_json::Value;

use crate::Test;
use crate::operator::{CAMERA, condition, prepare, run_pods};
use crate::support::cluster::Cluster;
use crate::support::wait;

pub const TESTS: &[Test] = &[
    ("a_new_image_is_rolled_out_at_a_pace", a_new_image_is_rolled_out_at_a_pace),
    (
        "what_is_built_differently_leaves_pods_alone_until_their_turn",
        what_is_built_differently_leaves_pods_alone_until_their_turn,
    ),
];

fn a_new_image_is_rolled_out_at_a_pace(cluster: &Cluster) {
    let image = "registry.test/camera-operator:2";
    let is_new = |container: &Value| container["image"] == image;
    rolls_out_at_a_pace(cluster, "operator-pace", &format!("--image={image}"), &is_new);
}

/// Nobody's spec changed and the image is the same: only what the operator makes of it is different, as after an upgrade.
fn what_is_built_differently_leaves_pods_alone_until_their_turn(cluster: &Cluster) {
    let defaults = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(defaults.path(), "resources: {camera: {requests: {cpu: 77m}}}\n").unwrap();
    let is_new = |container: &Value| container["resources"]["requests"]["cpu"] == "77m";
    let argument = format!("--resources-file={}", defaults.path().display());
    rolls_out_at_a_pace(cluster, "operator-builders", &argument, &is_new);
}

/// An operator that is started with this argument replaces pods one after the other, each by one of which `is_new` holds.
fn rolls_out_at_a_pace(cluster: &Cluster, namespace: &str, argument: &str, is_new: &dyn Fn(&Value) -> bool) {
    let account = prepare(cluster, namespace);
    let proxy = cluster.proxy();
    let operator = account.leader("old", &["--max-concurrent-rollouts=1"]);
    let cameras: Vec<String> = (0..4).map(|number| format!("camera-{number}")).collect();
    for camera in &cameras {
        cluster.apply(namespace, &CAMERA.replace("door", camera));
    }
    let deployments = || cluster.list(namespace, "deployment", "");
    let is_available = |deployment: &Value| {
        let status = &deployment["status"];
        deployment["metadata"]["generation"] == status["observedGeneration"]
            && status["availableReplicas"] == 1
            && status["updatedReplicas"] == 1
            && status["replicas"] == 1
    };
    let is_new = |deployment: &&Value| is_new(&deployment["spec"]["template"]["spec"]["containers"][0]);
    let anywhere = |_: &str| Some("127.0.0.9".to_owned());
    wait("all to be available", || {
        run_pods(&proxy, namespace, &anywhere);
        let deployments = deployments();
        (deployments.len() == cameras.len() && deployments.iter().all(is_available)).then_some(())
    });
    operator.stop();

    let operator = account.leader("new", &["--max-concurrent-rollouts=1", argument]);
    let mut steps = Vec::new();
    for turn in 1..=cameras.len() {
        // One has its turn; the others wait and say so, however long it takes.
        wait("the next turn", || (deployments().iter().filter(is_new).count() >= turn).then_some(()));
        let pending = || {
            let is_pending = |camera: &&String| {
                condition(cluster, namespace, &format!("camera/{camera}"), "UpdatePending").is_some()
            };
            cameras.iter().filter(is_pending).count()
        };
        wait("the others to say so", || (pending() == cameras.len() - turn).then_some(()));
        operator.await_quiet(0);
        let now = deployments();
        assert_eq!(now.iter().filter(is_new).count(), turn, "no more at once");
        steps.push(pending());
        wait("it to be available", || {
            run_pods(&proxy, namespace, &anywhere);
            (deployments().iter().filter(is_new).filter(|one| is_available(one)).count() >= turn).then_some(())
        });
    }
    assert_eq!(steps, [3, 2, 1, 0]);
    operator.stop();
}
