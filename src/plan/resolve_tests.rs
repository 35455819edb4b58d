//! Golden plans of the examples, and what is left out of a plan and why.

use std::path::{Path, PathBuf};

use super::*;
use crate::check;
use crate::plan::unit::{Ingest, Source};

fn environment() -> Environment {
    Environment { agent: "run".into(), data: "/data/".into() }
}

fn planned(text: &str) -> Planned {
    let loaded = check::load_text("test.yaml", text);
    plan(&loaded.manifests.objects(), &environment())
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!("---\napiVersion: camera-operator.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

#[test]
fn examples_are_planned_as_ever() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut examples: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{error}"))
        .map(|entry| entry.unwrap_or_else(|error| panic!("{error}")).path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    examples.sort();
    assert!(examples.len() >= 4);
    for example in examples {
        let loaded = check::load(std::slice::from_ref(&example));
        assert_eq!(loaded.problems, [], "{}", example.display());
        let planned = plan(&loaded.manifests.objects(), &environment());
        assert_eq!(planned.waiting, [], "{}", example.display());
        let name = example.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        insta::assert_yaml_snapshot!(name, planned.plan);
    }
}

#[test]
fn a_plan_does_not_depend_on_the_order_of_objects() {
    let documents = [
        object("Camera", "a", "{source: {test: {}}}"),
        object("Camera", "b", "{source: {test: {}}}"),
        object("Stream", "a", "{cameraRef: {name: b}, output: {hls: {}}}"),
        object("Recording", "z", "{cameraRef: {name: b}, continuous: {}}"),
        object("Archive", "other", "{}"),
    ];
    let forward = planned(&documents.concat());
    let backward = planned(&documents.iter().rev().cloned().collect::<String>());
    assert_eq!(forward, backward);
    assert_eq!(forward.plan.hash(), backward.plan.hash());
    assert_eq!(forward.plan.units.len(), 4);
    assert_eq!(forward.plan.archives.len(), 2, "the default archive is added");
}

#[test]
fn what_cannot_run_waits_with_its_reason() {
    let camera = |name: &str, rest: &str| object("Camera", name, &format!("{{source: {{test: {{}}}}{rest}}}"));
    let documents = [
        camera("runs", ""),
        camera("sleeps", ", suspend: true"),
        object("Camera", "usb", "{source: {v4l2: {device: /dev/video0}}}"),
        object("Stream", "of-none", "{cameraRef: {name: nobody}, output: {hls: {}}}"),
        object("Stream", "of-sleeper", "{cameraRef: {name: sleeps}, output: {hls: {}}}"),
        object("Stream", "sleeps", "{cameraRef: {name: runs}, output: {hls: {}}, suspend: true}"),
        object("Stream", "mjpeg-in-hls", "{cameraRef: {name: usb}, output: {hls: {}}}"),
        object("Stream", "mjpeg", "{cameraRef: {name: usb}, output: {mjpeg: {}}}"),
        object("Recording", "of-none", "{cameraRef: {name: nobody}, continuous: {}}"),
        object("Recording", "of-sleeper", "{cameraRef: {name: sleeps}, clip: {}}"),
        object("Recording", "nowhere", "{cameraRef: {name: runs}, archiveRef: {name: gone}, continuous: {}}"),
        object("Recording", "sleeps", "{cameraRef: {name: runs}, continuous: {}, suspend: true}"),
    ];
    let planned = planned(&documents.concat());
    let waiting: String = planned
        .waiting
        .iter()
        .map(|waiting| format!("{}: {:?}: {}\n", waiting.object, waiting.reason, waiting.message))
        .collect();
    insta::assert_snapshot!(waiting);
    let running: Vec<String> = planned.plan.units.iter().map(|unit| unit.object.to_string()).collect();
    assert_eq!(
        running,
        ["Camera default/runs", "Camera default/usb", "Stream default/mjpeg", "Recording default/of-sleeper"]
    );
    assert_eq!(planned.plan.recordings.len(), 4, "retention keeps to the rules of those that do not run, too");
}

#[test]
fn a_suspended_camera_can_be_tested() {
    let mut loaded = check::load_text("test.yaml", &object("Camera", "a", "{source: {test: {}}, suspend: true}"));
    let camera = loaded.manifests.cameras.remove(0);
    let unit = ingest_unit(&camera).unwrap_or_else(|error| panic!("{error}"));
    assert!(matches!(unit.work, Work::Ingest(Ingest { source: Source::Test { .. }, stall_timeout_ms: 10_000, .. })));
}

#[test]
fn every_default_can_be_read() {
    for duration in [
        defaults::STALL_TIMEOUT,
        defaults::START_TIMEOUT,
        defaults::INITIAL_DELAY,
        defaults::MAX_DELAY,
        defaults::BUFFER_DURATION,
        defaults::SRT_LATENCY,
        defaults::TEST_KEY_FRAME_INTERVAL,
        defaults::SEGMENT_DURATION,
        defaults::PART_DURATION,
        defaults::FILE_DURATION,
        defaults::CLIP_DURATION,
    ] {
        assert!(milliseconds(None, duration) > 0, "{duration}");
    }
    assert!(bytes(None, defaults::MIN_FREE) > 0 && bytes(None, defaults::BUFFER_MAX_SIZE) > 0);
}
