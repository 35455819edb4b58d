//! Tables of who runs what in a cluster, what waits and why, and what an event concerns.

use serde_json::json;

use super::*;
use crate::check;
use crate::plan::index::Object;
use crate::plan::resolve::Waiting;

fn cluster() -> Cluster {
    Cluster {
        issuer: "https://kubernetes.default.svc.cluster.local".into(),
        keys: json!({"keys": []}),
        control: vec!["system:serviceaccount:camera-operator:camera-operator".into()],
        media: vec!["system:serviceaccount:camera-operator:gateway".into()],
        refused: vec!["10.96.0.1".into()],
        max_clips_per_namespace: 2,
    }
}

fn index(text: &str) -> Index {
    let manifests = check::load_text("test.yaml", text).manifests;
    let cameras = manifests.cameras.into_iter().map(Object::Camera);
    let streams = manifests.streams.into_iter().map(Object::Stream);
    let archives = manifests.archives.into_iter().map(Object::Archive);
    let recordings = manifests.recordings.into_iter().map(Object::Recording);
    cameras.chain(streams).chain(archives).chain(recordings).collect()
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
    )
}

fn reference(kind: ObjectKind, name: &str) -> ObjectRef {
    ObjectRef { kind, key: ObjectKey::new("shop", name) }
}

fn planned(index: &Index, kind: ObjectKind, name: &str) -> AgentPlan {
    agent_plan(index, &reference(kind, name), &cluster()).unwrap_or_else(|| panic!("{kind:?} {name} has no agent"))
}

fn units(plan: &AgentPlan) -> Vec<String> {
    plan.plan.units.iter().map(|unit| format!("{:?} {}", unit.object.kind, unit.object.key.name)).collect()
}

fn reason(index: &Index, kind: ObjectKind, name: &str) -> Option<Reason> {
    waiting(index, &reference(kind, name), &cluster()).map(|waiting| waiting.reason)
}

fn shop() -> String {
    [
        object("Camera", "door", "{source: {rtsp: {url: 'rtsp://192.0.2.1/', credentialsSecretRef: {name: cameras}}}}"),
        object("Camera", "till", "{source: {test: {}}}"),
        object("Stream", "door", "{cameraRef: {name: door}, output: {hls: {}}}"),
        object("Stream", "door-wall", "{cameraRef: {name: door}, output: {mjpeg: {}}}"),
        object("Archive", "default", "{claim: {size: 100Gi}}"),
        object("Recording", "door", "{cameraRef: {name: door}, continuous: {}}"),
        object("Recording", "till", "{cameraRef: {name: till}, continuous: {}, suspend: true}"),
    ]
    .concat()
}

#[test]
fn each_agent_runs_what_is_its_own() {
    let index = index(&shop());
    let door = planned(&index, ObjectKind::Camera, "door");
    assert_eq!(units(&door), ["Camera door", "Stream door"]);
    assert_eq!((door.name.as_str(), door.rollout, door.runs), ("door-camera", Rollout::Overlap, true));
    let secrets: Vec<String> = door.secrets.iter().map(|key| format!("{}/{}", key.name, key.key)).collect();
    assert_eq!(secrets, ["cameras/password", "cameras/username"]);

    let wall = planned(&index, ObjectKind::Stream, "door-wall");
    assert_eq!(units(&wall), ["Camera door", "Stream door-wall"]);
    assert!(wall.secrets.is_empty(), "only the camera's own agent sees its password");
    let Work::Ingest(hub) = &wall.plan.units[0].work else { panic!("{:?}", wall.plan.units[0]) };
    assert_eq!(hub.source, Source::Hub { address: "http://door-camera.shop.svc:9090".into() });

    let recorder = planned(&index, ObjectKind::Archive, "default");
    assert_eq!(units(&recorder), ["Camera door", "Recording door"], "a suspended recording needs no camera");
    assert_eq!(recorder.plan.archives[0].root, "/archive");
    assert_eq!(recorder.plan.recordings.len(), 2, "retention keeps to the rules of those that do not run, too");
    assert_eq!(recorder.rollout, Rollout::OneAtATime);

    assert_eq!(agent_plan(&index, &reference(ObjectKind::Stream, "door"), &cluster()), None);
    assert_eq!(agent_plan(&index, &reference(ObjectKind::Recording, "door"), &cluster()), None);
    let hosts = [
        (ObjectKind::Stream, "door", ObjectKind::Camera, "door"),
        (ObjectKind::Stream, "door-wall", ObjectKind::Stream, "door-wall"),
        (ObjectKind::Recording, "till", ObjectKind::Archive, "default"),
        (ObjectKind::Camera, "till", ObjectKind::Camera, "till"),
    ];
    for (kind, name, host_kind, host_name) in hosts {
        assert_eq!(host(&index, &reference(kind, name)), Some(reference(host_kind, host_name)));
    }
    assert_eq!(host(&index, &reference(ObjectKind::Recording, "nobody")), None);
}

#[test]
fn an_agent_opens_only_to_those_that_are_declared() {
    let index = index(&shop());
    let control = |kind, name| {
        let access = planned(&index, kind, name).plan.access.unwrap_or_else(|| panic!("an agent that is open to all"));
        assert_eq!(access.audience, "camera-operator.dev/agent");
        access.control[1..].to_vec()
    };
    let subject = |name: &str| format!("system:serviceaccount:shop:{name}");
    assert_eq!(control(ObjectKind::Camera, "door"), [subject("default-archive"), subject("door-wall-stream")]);
    assert_eq!(
        control(ObjectKind::Camera, "till"),
        [subject("default-archive")],
        "its recording may go on at any time"
    );
    assert_eq!(control(ObjectKind::Archive, "default"), [subject("default-retention")]);
    assert_eq!(control(ObjectKind::Stream, "door-wall"), [""; 0]);
}

#[test]
fn what_lacks_something_waits_and_the_rest_runs() {
    let mut index = index(&shop());
    index.remove(&reference(ObjectKind::Camera, "door"));
    assert_eq!(reason(&index, ObjectKind::Stream, "door"), Some(Reason::CameraUnavailable));
    assert_eq!(reason(&index, ObjectKind::Stream, "door-wall"), Some(Reason::CameraUnavailable));
    assert_eq!(reason(&index, ObjectKind::Recording, "door"), Some(Reason::CameraUnavailable));
    assert_eq!(reason(&index, ObjectKind::Recording, "till"), Some(Reason::Suspended));
    let wall = planned(&index, ObjectKind::Stream, "door-wall");
    assert!(!wall.runs && wall.plan.units.is_empty());
    let recorder = planned(&index, ObjectKind::Archive, "default");
    assert!(recorder.runs, "what is recorded already can be played");
    assert!(recorder.plan.units.is_empty());
    assert_eq!(agent_plan(&index, &reference(ObjectKind::Camera, "door"), &cluster()), None);
}

#[test]
fn a_suspended_camera_has_no_pod_and_its_clips_deadline_goes_on() {
    let text = [
        object(
            "Camera",
            "door",
            "{source: {rtsp: {url: 'rtsp://192.0.2.1/', credentialsSecretRef: {name: cameras}}}, suspend: true}",
        ),
        object("Stream", "door", "{cameraRef: {name: door}, output: {hls: {}}}"),
        object("Stream", "wall", "{cameraRef: {name: door}, output: {mjpeg: {}}}"),
        object("Archive", "default", "{existingClaim: recordings}"),
        object("Recording", "clip", "{cameraRef: {name: door}, clip: {}}"),
    ]
    .concat();
    let index = index(&text);
    let door = planned(&index, ObjectKind::Camera, "door");
    assert!(!door.runs && door.plan.units.is_empty());
    assert_eq!(door.secrets.len(), 2, "so that going on changes nothing of the pod");
    assert!(!planned(&index, ObjectKind::Stream, "wall").runs);
    let recorder = planned(&index, ObjectKind::Archive, "default");
    assert_eq!(units(&recorder), ["Recording clip"]);
    assert_eq!(recorder.volume, Some(Volume::Existing("recordings".into())));
    assert_eq!(reason(&index, ObjectKind::Camera, "door"), Some(Reason::Suspended));
    assert_eq!(reason(&index, ObjectKind::Stream, "door"), Some(Reason::CameraUnavailable));
}

#[test]
fn what_waits_says_what_to_write() {
    let text = [
        object("Camera", "usb", "{source: {v4l2: {device: /dev/video0}}}"),
        object(
            "Camera",
            "usb-given",
            "{source: {v4l2: {device: /dev/video0}}, pod: {deviceResources: [{name: squat.ai/video}]}}",
        ),
        object("Camera", "door", "{source: {test: {}}}"),
        object("Stream", "usb", "{cameraRef: {name: usb}, output: {mjpeg: {}}}"),
        object("Archive", "bare", "{}"),
        object("Recording", "to-bare", "{cameraRef: {name: door}, archiveRef: {name: bare}, continuous: {}}"),
        object("Recording", "to-default", "{cameraRef: {name: door}, continuous: {}}"),
        object("Recording", "to-none", "{cameraRef: {name: door}, archiveRef: {name: gone}, continuous: {}}"),
        object("Recording", "of-usb", "{cameraRef: {name: usb}, archiveRef: {name: bare}, continuous: {}}"),
    ]
    .concat();
    let index = index(&text);
    let objects = index.objects();
    let all = objects.cameras.keys().map(|key| (ObjectKind::Camera, key));
    let all = all.chain(objects.streams.keys().map(|key| (ObjectKind::Stream, key)));
    let all = all.chain(objects.archives.keys().map(|key| (ObjectKind::Archive, key)));
    let all = all.chain(objects.recordings.keys().map(|key| (ObjectKind::Recording, key)));
    let told: String = all
        .filter_map(|(kind, key)| waiting(&index, &ObjectRef { kind, key: key.clone() }, &cluster()))
        .map(|Waiting { object, reason, message }| format!("{object}: {reason:?}: {message}\n"))
        .collect();
    insta::assert_snapshot!(told, @r"
    Camera shop/usb: DeviceMissing: a pod gets no device of its node by itself: write spec.pod.deviceResources with the resource of a device plugin, such as [{name: squat.ai/video}]
    Stream shop/usb: CameraUnavailable: Camera usb cannot run: a pod gets no device of its node by itself: write spec.pod.deviceResources with the resource of a device plugin, such as [{name: squat.ai/video}]
    Archive shop/bare: ClaimMissing: a cluster has to know the volume: write spec.claim with a size, such as claim: {size: 100Gi}, or spec.existingClaim with the name of a PersistentVolumeClaim
    Recording shop/of-usb: ArchiveUnavailable: Archive bare has no volume: write its spec.claim or spec.existingClaim
    Recording shop/to-bare: ArchiveUnavailable: Archive bare has no volume: write its spec.claim or spec.existingClaim
    Recording shop/to-default: ArchiveUnavailable: there is no Archive default in namespace shop: declare one with the size of its volume, such as spec: {claim: {size: 100Gi}}
    Recording shop/to-none: ArchiveUnavailable: there is no Archive gone in namespace shop: declare it, or leave spec.archiveRef out
    ");
    let usb = planned(&index, ObjectKind::Camera, "usb-given");
    assert_eq!((usb.rollout, usb.opens_device, usb.runs), (Rollout::OneAtATime, true, true));
    assert!(!planned(&index, ObjectKind::Camera, "usb").runs);
    assert_eq!(agent_plan(&index, &reference(ObjectKind::Archive, "bare"), &cluster()), None);
}

#[test]
fn a_camera_that_allows_one_session_is_never_connected_twice() {
    let text = [
        object("Camera", "one", "{source: {rtsp: {url: 'rtsp://192.0.2.1/', singleSession: true}}}"),
        object("Camera", "many", "{source: {rtsp: {url: 'rtsp://192.0.2.1/', singleSession: false}}}"),
        object("Camera", "host", "{source: {test: {}}, pod: {hostNetwork: true}}"),
    ];
    let index = index(&text.concat());
    let rollouts = ["one", "many", "host"].map(|name| planned(&index, ObjectKind::Camera, name).rollout);
    assert_eq!(rollouts, [Rollout::OneAtATime, Rollout::Overlap, Rollout::OneAtATime]);
}

/// A clip with its creation time and status.
fn clip(name: &str, minute: u8, status: &serde_json::Value) -> Object {
    let value = json!({
        "apiVersion": "camera-operator.dev/v1alpha1", "kind": "Recording",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": format!("2026-11-21T12:{minute:02}:00Z")},
        "spec": {"cameraRef": {"name": "till"}, "clip": {}}, "status": status
    });
    Object::Recording(serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}")))
}

fn ended(type_: &str) -> serde_json::Value {
    json!({"startTime": "2026-11-21T11:00:00Z", "conditions": [{
        "type": type_, "status": "True", "reason": "DeadlineReached", "message": "", "lastTransitionTime": "2026-11-21T12:00:00Z"
    }]})
}

#[test]
fn more_clips_than_may_run_wait_for_those_that_do() {
    let mut index = index(&shop());
    let waiting = |index: &Index| -> Vec<&'static str> {
        let clips = ["a", "b", "c", "d"];
        clips
            .into_iter()
            .filter(|name| reason(index, ObjectKind::Recording, name) == Some(Reason::ClipLimitReached))
            .collect()
    };
    index.put(clip("a", 3, &json!({})));
    index.put(clip("b", 2, &json!({})));
    assert_eq!(waiting(&index), [""; 0]);
    index.put(clip("c", 1, &json!({})));
    assert_eq!(waiting(&index), ["a"], "the oldest go first");
    index.put(clip("a", 3, &json!({"startTime": "2026-11-21T12:03:00Z"})));
    assert_eq!(waiting(&index), ["b"], "one that has begun is not cut short by an older one");
    let concerned = index.put(clip("c", 1, &ended("Complete")));
    assert_eq!(waiting(&index), [""; 0], "one that is complete takes no place");
    assert!(concerned.contains(&reference(ObjectKind::Recording, "b")), "{concerned:?}");
    assert!(concerned.contains(&reference(ObjectKind::Archive, "default")), "{concerned:?}");
    let concerned = index.put(clip("d", 0, &json!({})));
    assert!(!concerned.contains(&reference(ObjectKind::Recording, "c")), "what has ended is left alone: {concerned:?}");
    assert_eq!(waiting(&index), ["b"]);
    index.put(clip("d", 0, &ended("Failed")));
    assert_eq!(waiting(&index), [""; 0], "nor does one that was given up");
    let recorder = planned(&index, ObjectKind::Archive, "default");
    assert_eq!(
        recorder.plan.units.len(),
        2 + 5,
        "those that have ended stay in the plan, to be served: {:?}",
        units(&recorder)
    );
}

#[test]
fn an_event_concerns_those_that_it_touches_and_nobody_else() {
    let mut index = index(&shop());
    let names = |concerned: &BTreeSet<ObjectRef>| -> Vec<String> {
        concerned.iter().map(|object| format!("{:?} {}", object.kind, object.key.name)).collect()
    };
    let concerned = index.remove(&reference(ObjectKind::Camera, "door"));
    assert_eq!(
        names(&concerned),
        ["Camera door", "Stream door", "Stream door-wall", "Archive default", "Recording door"]
    );
    // A stream that moves to another camera concerns both.
    let moved =
        check::load_text("test.yaml", &object("Stream", "door", "{cameraRef: {name: till}, output: {hls: {}}}"));
    let stream = moved.manifests.streams.into_iter().next().map_or_else(|| panic!("no stream"), Object::Stream);
    assert_eq!(names(&index.put(stream)), ["Camera door", "Camera till", "Stream door"]);
    assert_eq!(units(&planned(&index, ObjectKind::Camera, "till")), ["Camera till", "Stream door"]);
    assert_eq!(
        names(&index.remove(&reference(ObjectKind::Recording, "till"))),
        ["Camera till", "Archive default", "Recording till"]
    );
    assert_eq!(names(&index.remove(&reference(ObjectKind::Recording, "till"))), ["Recording till"]);
    assert_eq!(names(&index.remove(&reference(ObjectKind::Archive, "default"))), ["Archive default", "Recording door"]);
}

#[test]
fn what_is_taken_in_one_by_one_is_as_if_it_had_always_been_there() {
    let all = index(&shop());
    let mut grown = Index::default();
    let manifests = check::load_text("test.yaml", &shop()).manifests;
    // Backwards, and some of it twice, as a watch may tell it.
    manifests.recordings.into_iter().rev().for_each(|recording| {
        grown.put(Object::Recording(recording.clone()));
        grown.remove(&Object::Recording(recording.clone()).reference());
        grown.put(Object::Recording(recording));
    });
    manifests.archives.into_iter().for_each(|archive| drop(grown.put(Object::Archive(archive))));
    manifests.streams.into_iter().rev().for_each(|stream| drop(grown.put(Object::Stream(stream))));
    manifests.cameras.into_iter().rev().for_each(|camera| drop(grown.put(Object::Camera(camera))));
    for (kind, name) in [
        (ObjectKind::Camera, "door"),
        (ObjectKind::Camera, "till"),
        (ObjectKind::Stream, "door-wall"),
        (ObjectKind::Archive, "default"),
    ] {
        assert_eq!(planned(&grown, kind, name), planned(&all, kind, name));
    }
}

#[test]
fn the_picture_of_a_slate_is_mounted_where_the_stream_is_made() {
    let fallback = "fallback: {image: {configMapRef: {name: slate, key: slate.png}}}";
    let spec = |output: &str| format!("{{cameraRef: {{name: door}}, output: {{{output}}}, {fallback}}}");
    let push = "push: {url: 'rtsp://192.0.2.9/live'}";
    let manifests = shop() + &object("Stream", "a", &spec("hls: {}")) + &object("Stream", "b", &spec(push));
    let index = index(&manifests);
    for (kind, name) in [(ObjectKind::Camera, "door"), (ObjectKind::Stream, "b")] {
        let maps = planned(&index, kind, name).config_maps;
        let maps: Vec<String> = maps.iter().map(|key| format!("{}/{}", key.name, key.key)).collect();
        assert_eq!(maps, ["slate/slate.png"], "{name}");
    }
    assert!(planned(&index, ObjectKind::Camera, "till").config_maps.is_empty());
}

#[test]
fn a_push_has_an_agent_that_never_overlaps_and_sees_its_key_and_nothing_else() {
    let push = "{url: 'rtmp://192.0.2.9/live', streamKeySecretRef: {name: target, key: key}}";
    let manifests =
        shop() + &object("Stream", "door-push", &format!("{{cameraRef: {{name: door}}, output: {{push: {push}}}}}"));
    let index = index(&manifests);
    let agent = planned(&index, ObjectKind::Stream, "door-push");
    assert_eq!(units(&agent), ["Camera door", "Stream door-push"]);
    assert_eq!((agent.rollout, agent.runs, agent.reads_agents), (Rollout::OneAtATime, true, true));
    let secrets: Vec<String> = agent.secrets.iter().map(|key| format!("{}/{}", key.name, key.key)).collect();
    assert_eq!(secrets, ["target/key"], "not the camera's password");
    let Work::Push(push) = &agent.plan.units[1].work else { panic!("{:?}", agent.plan.units[1]) };
    assert_eq!((push.camera.name.as_str(), push.url.as_str()), ("door", "rtmp://192.0.2.9/live"));
    let camera = planned(&index, ObjectKind::Camera, "door");
    assert_eq!(units(&camera), ["Camera door", "Stream door"], "a push is no work of the camera's agent");
    let readers = camera.plan.access.as_ref().map(|access| access.control.clone()).unwrap_or_default();
    assert!(readers.contains(&agent_subject(ObjectKind::Stream, &ObjectKey::new("shop", "door-push"))), "{readers:?}");
}

#[test]
fn a_stream_that_encodes_has_a_pod_of_its_own_with_its_devices() {
    let text = [
        object(
            "Camera",
            "door",
            "{source: {v4l2: {device: /dev/video0}}, pod: {deviceResources: [{name: squat.ai/video}]}}",
        ),
        object(
            "Stream",
            "door",
            "{cameraRef: {name: door}, output: {hls: {renditions: [{name: full}, {name: small, width: 320}]}}, \
             video: {codec: H264, encoder: VAAPI}, pod: {deviceResources: [{name: gpu.intel.com/i915}]}}",
        ),
        object("Stream", "copied", "{cameraRef: {name: door}, output: {hls: {}}}"),
        object(
            "Stream",
            "pushed",
            "{cameraRef: {name: door}, output: {push: {url: 'rtmp://h/live'}}, video: {codec: H264}}",
        ),
    ];
    let index = index(&text.concat());
    let camera = planned(&index, ObjectKind::Camera, "door");
    assert_eq!(units(&camera), ["Camera door"], "what encodes is not in the camera's pod");
    let stream = planned(&index, ObjectKind::Stream, "door");
    assert_eq!(units(&stream), ["Camera door", "Stream door"]);
    assert_eq!((stream.rollout, stream.reads_agents), (Rollout::Overlap, true));
    assert_eq!(stream.overrides.device_resources[0].name, "gpu.intel.com/i915");
    let subject = agent_subject(ObjectKind::Stream, &ObjectKey::new("shop", "door"));
    let readers = camera.plan.access.as_ref().map(|access| access.control.clone()).unwrap_or_default();
    assert!(readers.contains(&subject), "it may read the camera: {readers:?}");
    // Motion JPEG is no reason to wait any more, where it is encoded.
    assert_eq!(reason(&index, ObjectKind::Stream, "door"), None);
    assert_eq!(reason(&index, ObjectKind::Stream, "pushed"), None);
    assert_eq!(reason(&index, ObjectKind::Stream, "copied"), Some(Reason::CodecNotCarried));
}
