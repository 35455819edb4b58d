//! What the operator makes of objects beside an API server: their children, what an edit changes of them, what it leaves alone,
//! and what goes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::Test;
use crate::operator::{
    CAMERA, SHOP, await_children, await_condition, children, condition, delete_claim, expected, names, patch, prepare,
};
use crate::support::cluster::{Cluster, definitions};
use crate::support::wait;

pub const TESTS: &[Test] = &[
    ("objects_get_their_children_and_then_nothing_is_written", objects_get_their_children_and_then_nothing_is_written),
    ("an_edit_changes_what_it_must_and_nothing_else", an_edit_changes_what_it_must_and_nothing_else),
    ("what_is_somebody_elses_is_not_taken", what_is_somebody_elses_is_not_taken),
    ("everything_goes_in_every_order_but_kept_claims", everything_goes_in_every_order_but_kept_claims),
    ("one_malformed_object_stops_nothing_else", one_malformed_object_stops_nothing_else),
];

fn objects_get_their_children_and_then_nothing_is_written(cluster: &Cluster) {
    let namespace = "operator-children";
    let account = prepare(cluster, namespace);
    let operator = account.leader("first", &[]);
    // What refers to something that is not there yet waits for it, and says so.
    cluster.apply(namespace, SHOP);
    let message = await_condition(cluster, namespace, "stream/live", "Ready", "False", "CameraUnavailable");
    assert!(message.contains("there is no Camera door"), "{message}");
    cluster.apply(namespace, CAMERA);
    await_children(cluster, namespace, &expected());
    operator.await_quiet(6);
    let generation = cluster.get(namespace, "camera/door").unwrap()["status"]["observedGeneration"].clone();
    assert_ne!(generation, json!(1), "nobody has heard of it yet, so kubectl wait must not return");
    operator.stop();
    // Only now nobody writes any more.
    let before = children(cluster, namespace);

    // Another process knows nothing of what the first one did, and has nothing to do.
    let operator = account.leader("second", &[]);
    operator.await_quiet(6);
    assert_eq!(operator.writes(), BTreeMap::new());
    assert_eq!(children(cluster, namespace), before);
    assert_eq!(operator.get("/healthz").unwrap().0, 200);
    assert_eq!(operator.get("/readyz").unwrap().0, 200);

    // What somebody changes of what is ours, or deletes, is put right; what somebody adds stays.
    let data = json!({"data": {"plan.json": "{}"}, "metadata": {"labels": {"site": "shop"}}});
    patch(cluster, namespace, "configmap/door-camera", &data);
    cluster.kubectl(&["delete", "service", "yard-camera", "--namespace", namespace]);
    wait("what was changed to be put right", || {
        let plan = cluster.get(namespace, "configmap/door-camera")?;
        let is_right = plan["data"]["plan.json"].as_str()?.len() > 2 && plan["metadata"]["labels"]["site"] == "shop";
        (is_right && names(&children(cluster, namespace)) == expected()).then_some(())
    });
    operator.stop();
}

fn an_edit_changes_what_it_must_and_nothing_else(cluster: &Cluster) {
    let namespace = "operator-edits";
    let account = prepare(cluster, namespace);
    let operator = account.leader("edits", &[]);
    cluster.apply(namespace, &format!("{CAMERA}---{SHOP}"));
    await_children(cluster, namespace, &expected());
    operator.await_quiet(6);
    let changed = |object: &str, edit: &Value, expected: &[&str]| {
        let before = children(cluster, namespace);
        let differs = || -> BTreeSet<String> {
            let after = children(cluster, namespace).into_iter();
            after.filter(|(name, state)| before.get(name) != Some(state)).map(|(name, _)| name).collect()
        };
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        patch(cluster, namespace, object, edit);
        wait(&format!("{object} {edit} to change {expected:?}"), || differs().is_superset(&expected).then_some(()));
        // What is too much comes at the same time or a little later.
        operator.await_quiet(0);
        assert_eq!(differs(), expected, "{object} {edit}");
    };
    // A plan changes in place; whoever reads the camera from elsewhere plans by it, too.
    changed(
        "camera/door",
        &json!({"spec": {"stallTimeout": "20s"}}),
        &["configmap/door-camera", "configmap/pictures-stream", "configmap/default-archive"],
    );
    changed(
        "stream/live",
        &json!({"spec": {"output": {"hls": {"segmentDuration": "6s"}}}}),
        &["configmap/door-camera"],
    );
    changed("recording/all-day", &json!({"spec": {"suspend": true}}), &["configmap/default-archive"]);
    // That the claim's fields are owned by apply is written before its size is refused.
    changed(
        "archive/default",
        &json!({"spec": {"claim": {"size": "2Gi"}}}),
        &["configmap/default-archive", "persistentvolumeclaim/default-archive"],
    );
    let message = await_condition(cluster, namespace, "archive/default", "Ready", "False", "ChildRefused");
    assert!(message.contains("PersistentVolumeClaim default-archive"), "no class here lets claims grow: {message}");
    // Nothing is on it yet, so that it may be made anew.
    delete_claim(cluster, namespace);
    wait("the claim to be as it is wanted", || {
        let claim = cluster.get(namespace, "persistentvolumeclaim/default-archive")?;
        let (_, reason, _) = condition(cluster, namespace, "archive/default", "Ready")?;
        (claim["spec"]["resources"]["requests"]["storage"] == "2Gi" && reason != "ChildRefused").then_some(())
    });
    operator.await_quiet(0);
    // What people ask for of the pod is rolled out at once, with the reason in an event.
    let edit = json!({"spec": {"pod": {"nodeSelector": {"zone": "a"}}}});
    changed("camera/yard", &edit, &["configmap/yard-camera", "deployment/yard-camera"]);
    let await_reason = |reason: &str| {
        wait("the event that names the reason", || {
            let events = cluster.list(namespace, "events.events.k8s.io", "");
            let mut rolled =
                events.iter().filter(|event| event["reason"] == "RollOut" && event["regarding"]["name"] == "yard");
            rolled.any(|event| event["note"].as_str().unwrap_or_default().contains(reason)).then_some(())
        });
    };
    await_reason("nodeSelector");
    let edit = json!({"spec": {"pod": {"nodeSelector": {"zone": "b"}}}});
    changed("camera/yard", &edit, &["configmap/yard-camera", "deployment/yard-camera"]);
    await_reason("a → b");
    // What is not wanted any more is gone, also from an object that was not written since it was made.
    cluster.apply(namespace, &SHOP.split("---").next().unwrap().replace("yard", "porch"));
    let porch = wait("another camera", || cluster.get(namespace, "deployment/porch-camera"));
    let volumes = |deployment: &Value| deployment["spec"]["template"]["spec"]["volumes"].to_string();
    assert!(volumes(&porch).contains("user-secrets"), "{}", volumes(&porch));
    operator.await_quiet(0);
    let edit = json!({"spec": {"source": {"rtsp": {"credentialsSecretRef": null}}}});
    changed("camera/porch", &edit, &["configmap/porch-camera", "deployment/porch-camera"]);
    let porch = cluster.get(namespace, "deployment/porch-camera").unwrap();
    assert!(!volumes(&porch).contains("user-secrets"), "{}", volumes(&porch));
    cluster.kubectl(&["delete", "camera/porch", "--namespace", namespace]);
    await_children(cluster, namespace, &expected());
    // A suspended camera has no pod; the object of its pod stays as it is.
    changed("camera/yard", &json!({"spec": {"suspend": true}}), &["configmap/yard-camera", "deployment/yard-camera"]);
    assert_eq!(cluster.get(namespace, "deployment/yard-camera").unwrap()["spec"]["replicas"], 0);
    await_condition(cluster, namespace, "camera/yard", "Ready", "False", "Suspended");
    // A stream that is repackaged needs no pod of its own any more.
    patch(cluster, namespace, "stream/pictures", &json!({"spec": {"output": {"mjpeg": null, "hls": {}}}}));
    let fewer: BTreeSet<String> = expected().into_iter().filter(|name| !name.ends_with("/pictures-stream")).collect();
    await_children(cluster, namespace, &fewer);
    operator.stop();
}

fn what_is_somebody_elses_is_not_taken(cluster: &Cluster) {
    let namespace = "operator-foreign";
    let account = prepare(cluster, namespace);
    let labels = "labels: {app.kubernetes.io/managed-by: camera-operator, app.kubernetes.io/name: camera-operator, \
                  app.kubernetes.io/component: camera, app.kubernetes.io/instance: door}";
    let foreign = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: door-camera}}\nspec: {{ports: [{{port: 80}}]}}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: door-camera\n  {labels}\ndata: {{mine: yes-it-is}}\n---\n\
         apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: default-archive}}\n\
         spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}\n"
    );
    cluster.apply(namespace, &foreign);
    let version = |object: &str| cluster.get(namespace, object).unwrap()["metadata"]["resourceVersion"].clone();
    let foreign = ["service/door-camera", "configmap/door-camera", "persistentvolumeclaim/default-archive"];
    let before = foreign.map(version);
    let operator = account.leader("foreign", &[]);
    cluster.apply(namespace, &format!("{CAMERA}---{SHOP}"));
    let message = await_condition(cluster, namespace, "camera/door", "Ready", "False", "NameTaken");
    assert!(message.contains("door-camera is in the way"), "{message}");
    let message = await_condition(cluster, namespace, "archive/default", "Ready", "False", "NameTaken");
    assert!(message.contains("PersistentVolumeClaim default-archive is in the way"), "{message}");
    wait("all others to be made", || {
        cluster.get(namespace, "deployment/yard-camera")?;
        cluster.get(namespace, "deployment/pictures-stream")
    });
    operator.await_quiet(6);
    assert_eq!(foreign.map(version), before, "not touched");
    for deployment in ["deployment/door-camera", "deployment/default-archive"] {
        assert!(cluster.get(namespace, deployment).is_none(), "no pod may use what is somebody else's");
    }
    // As soon as the way is free, it is used.
    cluster.kubectl(&["delete", "service", "door-camera", "--namespace", namespace]);
    cluster.kubectl(&["delete", "configmap", "door-camera", "--namespace", namespace]);
    patch(cluster, namespace, "camera/door", &json!({"spec": {"stallTimeout": "20s"}}));
    wait("the camera's own objects", || {
        let ours = names(&children(cluster, namespace));
        (ours.contains("service/door-camera") && ours.contains("configmap/door-camera")).then_some(())
    });
    operator.stop();
}

fn everything_goes_in_every_order_but_kept_claims(cluster: &Cluster) {
    let namespace = "operator-deletes";
    let account = prepare(cluster, namespace);
    let operator = account.leader("deletes", &[]);
    let objects =
        ["camera/door", "camera/yard", "stream/live", "stream/pictures", "archive/default", "recording/all-day"];
    let kept = BTreeSet::from(["persistentvolumeclaim/default-archive".to_owned()]);
    for turn in 0..objects.len() {
        cluster.apply(namespace, &format!("{CAMERA}---{SHOP}"));
        if turn > 0 {
            // Nobody can tell by its name whose recordings are on a claim that was kept.
            let message = await_condition(cluster, namespace, "archive/default", "Ready", "False", "NameTaken");
            assert!(message.contains("write spec.existingClaim: default-archive"), "{message}");
            delete_claim(cluster, namespace);
            patch(cluster, namespace, "archive/default", &json!({"spec": {"minFree": format!("{turn}Mi")}}));
        }
        await_children(cluster, namespace, &expected());
        for object in objects.iter().cycle().skip(turn).take(objects.len()) {
            cluster.kubectl(&["delete", object, "--namespace", namespace, "--wait=true", "--timeout=30s"]);
        }
        await_children(cluster, namespace, &kept);
    }
    // A claim that is not to be kept goes with its archive.
    delete_claim(cluster, namespace);
    cluster.apply(namespace, &format!("{CAMERA}---{SHOP}"));
    patch(cluster, namespace, "archive/default", &json!({"spec": {"reclaimPolicy": "Delete"}}));
    await_children(cluster, namespace, &expected());
    wait("the claim to belong to the archive", || {
        let claim = cluster.get(namespace, "persistentvolumeclaim/default-archive")?;
        (claim["metadata"]["ownerReferences"][0]["kind"] == "Archive").then_some(())
    });
    for object in objects {
        cluster.kubectl(&["delete", object, "--namespace", namespace, "--wait=true", "--timeout=30s"]);
    }
    await_children(cluster, namespace, &BTreeSet::new());
    operator.stop();
}

fn one_malformed_object_stops_nothing_else(cluster: &Cluster) {
    let namespace = "operator-malformed";
    let account = prepare(cluster, namespace);
    // As a newer version of the definitions would do it that stays when the operator goes back to an older one.
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/source/properties/rtsp/properties/transport/enum";
    let widen = json!([{"op": "add", "path": format!("{path}/-"), "value": "PIGEON"}]).to_string();
    let crd = "crd/cameras.camera-operator.dev";
    cluster.kubectl(&["patch", crd, "--type=json", "--patch", &widen]);
    let bad = "apiVersion: camera-operator.dev/v1alpha1\nkind: Camera\nmetadata: {name: bad}\n\
               spec: {source: {rtsp: {url: \"rtsp://192.0.2.1/\", transport: PIGEON}}}\n";
    wait("the wider definition", || cluster.try_apply(namespace, bad).ok());
    let operator = account.leader("malformed", &[]);
    cluster.apply(namespace, &format!("{CAMERA}---{SHOP}"));
    await_children(cluster, namespace, &expected());
    let malformed = r#"camera_operator_objects{kind="cameras",state="Malformed"}"#;
    assert_eq!(operator.metrics().get(malformed), Some(&1.0));
    assert!(operator.log().contains("PIGEON"), "{}", operator.log());
    cluster.kubectl(&["delete", "camera/bad", "--namespace", namespace]);
    wait("it to be forgotten", || (operator.metrics().get(malformed) == Some(&0.0)).then_some(()));
    operator.stop();
    for file in definitions() {
        cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", file.to_str().unwrap()]);
    }
}
