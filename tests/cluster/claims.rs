//! Claims of archives: they grow where they are, and never shrink.

use serde_json::json;

use crate::Test;
use crate::operator::{await_condition, patch, prepare};
use crate::support::cluster::Cluster;
use crate::support::wait;

pub const TESTS: &[Test] = &[("a_claim_grows_in_place_and_never_shrinks", a_claim_grows_in_place_and_never_shrinks)];

fn a_claim_grows_in_place_and_never_shrinks(cluster: &Cluster) {
    let namespace = "operator-claims";
    let account = prepare(cluster, namespace);
    // A class that lets claims grow, and a volume for the claim: only a bound one may.
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "test-grows"},
        "provisioner": "kubernetes.io/no-provisioner", "allowVolumeExpansion": true,
    });
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace},
        "spec": {
            "capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "test-grows",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nowhere"},
            "claimRef": {"namespace": namespace, "name": "default-archive"},
        }
    });
    let _ = cluster.try_kubectl(&["delete", "persistentvolume", namespace, "--ignore-not-found"]);
    cluster.apply(namespace, &json!({"apiVersion": "v1", "kind": "List", "items": [class, volume]}).to_string());
    let operator = account.leader("claims", &[]);
    let archive = json!({
        "apiVersion": "camera-operator.dev/v1alpha1", "kind": "Archive", "metadata": {"name": "default"},
        "spec": {"claim": {"size": "1Gi", "storageClassName": "test-grows"}},
    });
    cluster.apply(namespace, &archive.to_string());
    let claim = || cluster.get(namespace, "persistentvolumeclaim/default-archive");
    let bound = wait("the claim to be bound", || claim().filter(|claim| claim["status"]["phase"] == "Bound"));
    let size = |size: &str| json!({"spec": {"claim": {"size": size}}});

    patch(cluster, namespace, "archive/default", &size("2Gi"));
    let grown = wait("the claim to ask for more", || {
        claim().filter(|claim| claim["spec"]["resources"]["requests"]["storage"] == "2Gi")
    });
    assert_eq!(grown["metadata"]["uid"], bound["metadata"]["uid"], "the same claim, with what is in it");
    assert_eq!(grown["spec"]["volumeName"], bound["spec"]["volumeName"]);

    let smaller = size("1Gi").to_string();
    let arguments = ["patch", "archive", "default", "--namespace", namespace, "--type=merge", "--patch", &smaller];
    let refused = cluster.try_kubectl(&arguments).unwrap_err();
    assert!(refused.contains("a volume cannot shrink: write at least the size that was there"), "{refused}");

    // Somebody made it larger by hand: it stays so, and that is said as long as the archive asks for less.
    patch(cluster, namespace, "pvc/default-archive", &json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}}));
    let message =
        await_condition(cluster, namespace, "archive/default", "ClaimCannotShrink", "True", "ClaimCannotShrink");
    assert!(message.contains("2Gi") && message.contains("3Gi"), "{message}");
    operator.await_quiet(0);
    let kept = claim().unwrap();
    assert_eq!(kept["spec"]["resources"]["requests"]["storage"], "3Gi");
    assert_eq!(kept["metadata"]["uid"], bound["metadata"]["uid"]);
    patch(cluster, namespace, "archive/default", &size("3Gi"));
    wait("nothing to be said any more", || {
        let status = cluster.get(namespace, "archive/default")?["status"].to_string();
        (!status.contains("ClaimCannotShrink")).then_some(())
    });
    operator.stop();
    cluster.kubectl(&["delete", "archive", "default", "--namespace", namespace]);
    cluster.kubectl(&["delete", "persistentvolume", namespace, "--wait=false"]);
}
