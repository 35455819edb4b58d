//! Whom a change concerns, what proves that a pod is ours, and what an older state must not undo. No API server.

use serde_json::json;

use super::*;
use crate::operator::build::template;
use crate::operator::names::{
    ANNOTATION_PACED, ANNOTATION_TEMPLATE_HASH, LABEL_COMPONENT, LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_OWNER_UID,
};

const API: &str = "camera-operator.dev/v1alpha1";

fn camera(name: &str, version: u64, generation: i64) -> Value {
    json!({
        "apiVersion": API, "kind": "Camera",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": generation,
            "resourceVersion": version.to_string(),
        },
        "spec": {"source": {"test": {}}},
    })
}

fn reference(kind: ObjectKind, name: &str) -> ObjectRef {
    ObjectRef { kind, key: ObjectKey::new("shop", name) }
}

fn owned(kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}])
}

fn metadata(name: &str, uid: &str, version: u64, owners: &Value) -> Value {
    json!({
        "name": name, "namespace": "shop", "uid": uid, "resourceVersion": version.to_string(),
        "ownerReferences": owners,
        "labels": {
            LABEL_MANAGED_BY: "camera-operator", LABEL_COMPONENT: "camera", LABEL_INSTANCE: "door",
            LABEL_OWNER_UID: "uid-door",
        },
    })
}

fn deployment(version: u64, owners: &Value) -> Value {
    json!({
        "metadata": metadata("door-camera", "deployment", version, owners),
        "spec": {"replicas": 1, "selector": {}, "template": {}},
    })
}

fn pod(name: &str, owners: &Value) -> Value {
    json!({
        "metadata": metadata(name, &format!("uid-of-{name}"), 1, owners),
        "status": {"phase": "Running", "podIP": "10.0.0.9", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

const CAMERAS: Watched = Watched::Object(ObjectKind::Camera);
const DEPLOYMENTS: Watched = Watched::Child(ChildKind::Deployment);

fn names(pods: &[&Pod]) -> Vec<String> {
    pods.iter().map(|pod| pod.key.name.clone()).collect()
}

#[test]
fn only_owner_references_prove_whose_a_pod_is() {
    let mut world = World::default();
    let door = reference(ObjectKind::Camera, "door");
    world.put(CAMERAS, camera("door", 1, 1));
    world.put(DEPLOYMENTS, deployment(1, &owned("Camera", "door", "uid-door")));
    let replica_set = |uid: &str, owners: &Value| json!({"metadata": metadata(uid, uid, 1, owners)});
    world.put(Watched::ReplicaSet, replica_set("set", &owned("Deployment", "door-camera", "deployment")));
    world.put(Watched::ReplicaSet, replica_set("foreign-set", &owned("Deployment", "door-camera", "another")));
    world.put(Watched::Pod, pod("ours", &owned("ReplicaSet", "set", "set")));
    world.put(Watched::Pod, pod("planted", &json!(null)));
    world.put(Watched::Pod, pod("planted-too", &owned("ReplicaSet", "set", "no-such-set")));
    world.put(Watched::Pod, pod("of-another", &owned("ReplicaSet", "foreign-set", "foreign-set")));
    world.put(Watched::Pod, pod("of-a-job", &owned("Job", "set", "set")));
    assert_eq!(names(&world.pods_of(&door)), ["ours"]);
    assert_eq!(world.all_pods().count(), 1);
    // The Deployment itself has to be the object's.
    world.put(DEPLOYMENTS, deployment(2, &json!(null)));
    assert_eq!(names(&world.pods_of(&door)), Vec::<String>::new());
}

#[test]
fn a_status_that_was_written_is_no_change_of_what_is_wanted() {
    let mut world = World::default();
    let door = reference(ObjectKind::Camera, "door");
    assert_eq!(world.put(CAMERAS, camera("door", 1, 1)).wanted, BTreeSet::from([door.clone()]));
    let mut told = camera("door", 2, 1);
    told["status"] = json!({"observedGeneration": 1});
    let concerned = world.put(CAMERAS, told.clone());
    assert_eq!((concerned.wanted.len(), concerned.around), (0, BTreeSet::from([door.clone()])));
    assert_eq!(world.put(CAMERAS, told), Concerned::default(), "an echo");
    assert_eq!(world.put(CAMERAS, camera("door", 1, 1)), Concerned::default(), "older than what is known");
    assert!(world.index().objects().cameras[&door.key].status.is_some());
    assert_eq!(world.put(CAMERAS, camera("door", 3, 2)).wanted, BTreeSet::from([door]));
}

#[test]
fn what_refers_to_a_camera_is_concerned_by_it() {
    let mut world = World::default();
    let stream = json!({
        "metadata": {"name": "live", "namespace": "shop", "uid": "s", "generation": 1, "resourceVersion": "1"},
        "spec": {"cameraRef": {"name": "door"}, "output": {"hls": {}}},
    });
    world.put(Watched::Object(ObjectKind::Stream), stream);
    let (door, live) = (reference(ObjectKind::Camera, "door"), reference(ObjectKind::Stream, "live"));
    let both = BTreeSet::from([door.clone(), live]);
    assert_eq!(world.put(CAMERAS, camera("door", 2, 1)).wanted, both, "it appears");
    assert_eq!(world.remove(CAMERAS, &door.key, None).wanted, both, "it goes");
    assert!(!world.contains(&door));
}

#[test]
fn an_end_of_a_clip_concerns_the_clips_that_wait() {
    let clip = |name: &str, version: u64, status: Value| {
        json!({
            "metadata": {
                "name": name, "namespace": "shop", "uid": name, "generation": 1, "resourceVersion": version.to_string(),
            },
            "spec": {"cameraRef": {"name": "door"}, "clip": {}},
            "status": status,
        })
    };
    let recordings = Watched::Object(ObjectKind::Recording);
    let mut world = World::default();
    world.put(recordings, clip("one", 1, json!({})));
    world.put(recordings, clip("two", 2, json!({})));
    let complete = json!({"conditions": [{
        "type": "Complete", "status": "True", "reason": "DeadlineReached", "message": "",
        "lastTransitionTime": "2026-11-21T00:00:00Z",
    }]});
    let wanted = world.put(recordings, clip("one", 3, complete)).wanted;
    assert!(wanted.contains(&reference(ObjectKind::Recording, "two")), "{wanted:?}");
}

#[test]
fn one_that_cannot_be_read_is_named_once_and_stops_nothing() {
    let mut world = World::default();
    world.put(CAMERAS, camera("door", 1, 1));
    let mut bad = camera("door", 2, 2);
    bad["spec"] = json!({"source": {"rtsp": {"transport": "PIGEON"}}});
    let told = world.put(CAMERAS, bad.clone());
    let malformed = told.malformed.clone().unwrap();
    assert_eq!((malformed.uid.as_str(), &malformed.object), ("uid-door", &reference(ObjectKind::Camera, "door")));
    assert!(malformed.why.contains("PIGEON"), "{}", malformed.why);
    assert!(told.wanted.is_empty(), "what runs is left as it is");
    assert!(world.contains(&malformed.object));
    assert_eq!(world.put(CAMERAS, bad), Concerned::default());
    assert_eq!(world.malformed().len(), 1);
    world.put(CAMERAS, camera("other", 3, 1));
    assert!(world.contains(&reference(ObjectKind::Camera, "other")));
    world.put(CAMERAS, camera("door", 4, 3));
    assert!(world.malformed().is_empty(), "it was mended");
}

#[test]
fn an_older_state_undoes_nothing() {
    let mut world = World::default();
    let owners = owned("Camera", "door", "uid-door");
    let key = ObjectKey::new("shop", "door-camera");
    assert!(!world.put(DEPLOYMENTS, deployment(7, &owners)).around.is_empty());
    assert_eq!(world.put(DEPLOYMENTS, deployment(7, &owners)), Concerned::default(), "an echo of a write");
    assert_eq!(world.put(DEPLOYMENTS, deployment(6, &json!(null))), Concerned::default());
    assert!(world.child(ChildKind::Deployment, &key).unwrap().controller.is_some());
    world.remove(DEPLOYMENTS, &key, Some("5"));
    assert!(world.child(ChildKind::Deployment, &key).is_some(), "it was made anew since then");
    assert!(!world.remove(DEPLOYMENTS, &key, Some("8")).around.is_empty());
    assert!(world.child(ChildKind::Deployment, &key).is_none());
    assert_eq!(world.put(DEPLOYMENTS, deployment(7, &owners)), Concerned::default(), "a late answer to a write");
    assert!(world.child(ChildKind::Deployment, &key).is_none());
    world.put(DEPLOYMENTS, deployment(9, &owners));
    assert!(world.child(ChildKind::Deployment, &key).is_some(), "it was made anew");
    let door = reference(ObjectKind::Camera, "door");
    world.put(CAMERAS, camera("door", 10, 1));
    world.remove(CAMERAS, &door.key, Some("12"));
    world.put(CAMERAS, camera("door", 11, 1));
    assert!(!world.contains(&door), "the answer to the writing of its status came late");
}

#[test]
fn who_waits_is_told_when_a_turn_ends() {
    let mut world = World::default();
    let paced = |version: u64, observed: i64| {
        let hash = template::of_json(&"template");
        let mut deployment = deployment(version, &owned("Camera", "door", "uid-door"));
        deployment["metadata"]["generation"] = 2.into();
        deployment["metadata"]["annotations"] = json!({ANNOTATION_TEMPLATE_HASH: hash, ANNOTATION_PACED: hash});
        deployment["status"] =
            json!({"observedGeneration": observed, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
        deployment
    };
    let (door, other) = (reference(ObjectKind::Camera, "door"), reference(ObjectKind::Camera, "other"));
    world.take_turn(&door);
    assert_eq!(world.rolling(&other), 1, "a turn counts before its Deployment is written");
    world.put(DEPLOYMENTS, paced(1, 1));
    assert_eq!(world.rolling(&other), 1, "and is not counted twice");
    world.turned(&door);
    assert_eq!((world.rolling(&other), world.rolling(&door)), (1, 0));
    world.wait_for_turn(&other, true);
    let concerned = world.put(DEPLOYMENTS, paced(2, 2));
    assert!(concerned.around.contains(&other), "{concerned:?}");
    assert_eq!(world.rolling(&other), 0);
}

#[test]
fn the_newest_job_of_the_cron_job_counts() {
    let mut world = World::default();
    let archive = reference(ObjectKind::Archive, "default");
    let job = |name: &str, uid: &str, type_: &str, at: &str| {
        json!({
            "metadata": {
                "name": name, "namespace": "shop", "ownerReferences": owned("CronJob", "default-retention", uid),
                "labels": {LABEL_MANAGED_BY: "camera-operator", LABEL_COMPONENT: "retention", LABEL_INSTANCE: "default"},
            },
            "status": {"conditions": [{"type": type_, "status": "True", "lastTransitionTime": at}]},
        })
    };
    world.put(Watched::Job, job("one", "cron", "Failed", "2026-11-20T03:00:00Z"));
    assert_eq!(world.last_job(&archive, "cron").map(|(key, well)| (key.name.as_str(), well)), Some(("one", false)));
    world.put(Watched::Job, job("two", "cron", "Complete", "2026-11-21T03:00:00Z"));
    world.put(Watched::Job, job("planted", "other", "Failed", "2026-11-22T03:00:00Z"));
    assert_eq!(world.last_job(&archive, "cron").map(|(key, well)| (key.name.as_str(), well)), Some(("two", true)));
}
