//! `camera-operator run` as a process: manifests in, statuses and media out; what is set over REST outlives a restart; edits
//! apply by difference; and everything that keeps it from starting is said in words that help.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::program::{BINARY, Program};
use support::{free_port, hls, http, judge, process, wait};

/// A camera that needs no device, small enough for many tests at once.
fn camera(name: &str, more: &str) -> String {
    format!(
        "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Camera\nmetadata: {{name: {name}}}\n\
         spec:\n  source: {{test: {{width: 320, height: 180, framesPerSecond: 10, keyFrameInterval: 1s}}}}\n{more}"
    )
}

fn ffmpegs(program: &mut Program) -> BTreeSet<u32> {
    let own = program.pid();
    program.processes().into_iter().filter(|pid| *pid != own).collect()
}

fn health(program: &Program) -> Value {
    program.json("/api/v1/health")
}

/// Runs the binary to its end.
fn run(arguments: &[&str], folder: &Path, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.output().unwrap()
}

fn refusal(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

#[test]
fn the_quick_start_shows_and_records() {
    let mut program = Program::start(include_str!("../examples/quickstart.yaml"));
    for object in ["cameras/front-door", "cameras/garden", "streams/front-door", "streams/garden", "archives/default"] {
        program.await_object(object);
    }
    program.await_object("recordings/front-door");
    assert_eq!(program.object("cameras/front-door").unwrap()["status"]["media"]["width"], 1280);
    let live = program.url("/live/default/front-door/index.m3u8");
    let (_, playlist) =
        wait("a live playlist", || hls::fetch(&live).filter(|(_, playlist)| playlist.segments.len() > 1));
    hls::assert_clean(&playlist, None);
    assert_eq!(judge::codecs(&live)[0], "h264");
    let now = jiff::Timestamp::now();
    let from = now - jiff::SignedDuration::from_secs(1);
    let path = format!("/api/v1/namespaces/default/recordings/front-door/coverage?from={from}&to={now}");
    wait("some coverage", || program.json(&path)["ratio"].as_f64().filter(|ratio| *ratio > 0.0));
    assert_eq!(
        program.get("/api/v1/namespaces/default/cameras/garden/snapshot.jpg").header("content-type"),
        "image/jpeg"
    );
    assert_eq!(health(&program)["ffmpeg"]["present"], true);
    assert!(health(&program)["processes"]["count"].as_u64().unwrap() >= 3);
    let metrics = program.get("/metrics").text();
    let ready = r#"camera_operator_object_ready{kind="Camera",name="garden",namespace="default"} 1"#;
    assert!(metrics.contains(ready), "{metrics}");
    let test = program.post("/api/v1/namespaces/default/cameras/garden/test").json();
    assert_eq!((&test["ok"], &test["method"]), (&true.into(), &"RunningConnection".into()), "{test}");
    assert_eq!(test["media"]["width"], 640);
    assert_eq!(program.terminate().code(), Some(0));
    assert!(program.left_behind().is_empty());
    let log = program.log();
    assert!(log.contains("found 2 cameras") && log.contains("/live/default/front-door/index.m3u8"), "{log}");
}

#[test]
fn what_is_stopped_over_rest_stays_so_until_the_manifest_speaks() {
    let mut program = Program::start(&camera("cam", ""));
    program.await_object("cameras/cam");
    let stopped = program.post("/api/v1/namespaces/default/cameras/cam/stop");
    assert_eq!(stopped.status, 200, "{}", stopped.text());
    assert_eq!(stopped.json()["spec"]["suspend"], true);
    assert_eq!(stopped.json()["metadata"]["generation"], 2);
    program.await_ready_condition("cameras/cam", "False", &["Suspended"]);
    wait("no FFmpeg", || ffmpegs(&mut program).is_empty().then_some(()));

    let test = program.post("/api/v1/namespaces/default/cameras/cam/test").json();
    assert_eq!((&test["ok"], &test["method"]), (&true.into(), &"TestConnection".into()), "{test}");
    assert!(ffmpegs(&mut program).is_empty(), "the test's connection is closed again");
    assert_eq!(program.post("/api/v1/namespaces/default/cameras/cam/restart").status, 409);

    assert_eq!(program.terminate().code(), Some(0));
    program.start_again();
    program.await_ready_condition("cameras/cam", "False", &["Suspended"]);
    assert_eq!(program.object("cameras/cam").unwrap()["metadata"]["generation"], 2);
    let started = program.post("/api/v1/namespaces/default/cameras/cam/start").json();
    assert_ne!(started["spec"]["suspend"], true, "what the manifest says holds again");
    assert_eq!(started["metadata"]["generation"], 3);
    program.await_object("cameras/cam");
    program.post("/api/v1/namespaces/default/cameras/cam/stop");
    program.await_ready_condition("cameras/cam", "False", &["Suspended"]);
    // An edit elsewhere leaves what was set; the manifest's own word, once it changes, is the newer one.
    program.write_manifests(&camera("cam", "  stallTimeout: 7s\n"));
    wait("the edit", || program.object("cameras/cam").filter(|camera| camera["spec"]["stallTimeout"] == "7s"));
    program.await_ready_condition("cameras/cam", "False", &["Suspended"]);
    program.write_manifests(&camera("cam", "  suspend: true\n"));
    wait("the manifest's word", || {
        program.object("cameras/cam").filter(|camera| camera["spec"]["stallTimeout"].is_null())
    });
    program.write_manifests(&camera("cam", "  suspend: false\n"));
    program.await_object("cameras/cam");
}

#[test]
fn a_stopped_clip_stays_complete() {
    let clip = "---\napiVersion: camera-operator.dev/v1alpha1\nkind: Recording\nmetadata: {name: clip}\n\
        spec: {cameraRef: {name: cam}, clip: {duration: 1h}}\n";
    let mut program = Program::start(&(camera("cam", "") + clip));
    program.await_object("recordings/clip");
    let path = "/api/v1/namespaces/default/recordings/clip";
    assert_eq!(program.post(&format!("{path}/stop")).json()["spec"]["clip"]["stop"], true);
    let complete = |program: &Program| program.condition("recordings/clip", "Complete").filter(|(is, ..)| is == "True");
    wait("the clip's end", || complete(&program));
    assert_eq!(program.terminate().code(), Some(0));
    program.start_again();
    wait("the clip's end again", || complete(&program));
    assert_eq!(program.post(&format!("{path}/start")).status, 409);
    assert_eq!(program.get("/recordings/default/clip/clip.mp4").status, 200);
}

#[test]
fn an_edit_restarts_only_what_it_changes_and_a_broken_one_changes_nothing() {
    let mut program = Program::start(&(camera("one", "") + &camera("two", "")));
    program.await_object("cameras/one");
    program.await_object("cameras/two");
    let before = ffmpegs(&mut program);
    program.write_manifests(&(camera("one", "") + &camera("two", "  stallTimeout: 7s\n") + &camera("three", "")));
    program.await_object("cameras/three");
    let generation = |camera: &Value| camera["status"]["observedGeneration"] == 2;
    wait("the changed camera", || program.object("cameras/two").filter(generation));
    program.await_object("cameras/two");
    let after = ffmpegs(&mut program);
    assert!(after.len() > before.len(), "{before:?} {after:?}");
    assert!(before.intersection(&after).count() >= before.len() / 2, "one camera goes on: {before:?} {after:?}");
    assert_eq!(program.object("cameras/one").unwrap()["metadata"]["generation"], 1);

    program.write_manifests(&(camera("one", "") + "---\nkind: Camera\nspec: [\n"));
    let problem =
        wait("the problem", || health(&program)["problems"].get(0).and_then(Value::as_str).map(str::to_owned));
    assert!(problem.contains("manifests.yaml:") && problem.contains("stays in force"), "{problem}");
    assert!(program.log().contains(&problem), "{}", program.log());
    assert_eq!(ffmpegs(&mut program), after, "all goes on");
    program.await_object("cameras/three");

    program.write_manifests(&camera("one", ""));
    wait("the removal", || program.object("cameras/two").is_none().then_some(()));
    assert_eq!(health(&program)["problems"].as_array().map(Vec::len), Some(0));
    program.await_object("cameras/one");
}

#[test]
fn events_tell_every_change() {
    let program = Program::start(&camera("cam", ""));
    program.await_object("cameras/cam");
    let text = http::runtime().block_on(async {
        let mut response = http::client().get(program.url("/api/v1/events")).send().await.unwrap();
        let mut text = String::new();
        let mut asked = false;
        while !text.contains("Suspended") {
            text.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()));
            if !asked && text.contains("event: snapshot") {
                asked = true;
                let stop = program.url("/api/v1/namespaces/default/cameras/cam/stop");
                assert_eq!(http::client().post(stop).send().await.unwrap().status(), 200);
            }
        }
        text
    });
    assert!(text.contains("event: change") && text.contains(r#""type":"MODIFIED""#), "{text}");
}

#[test]
fn a_second_program_on_the_same_data_is_refused_and_told_who_was_first() {
    let program = Program::start(&camera("cam", ""));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cam.yaml"), camera("cam", "")).unwrap();
    let data = program.data().to_str().unwrap();
    let text = refusal(&run(&["run", "-f", "cam.yaml", "--data", data, "--listen", "127.0.0.1:0"], folder.path(), &[]));
    assert!(text.contains(&program.pid().to_string()) && text.contains("--data"), "{text}");
    let listen = format!("127.0.0.1:{}", program.port);
    let text = refusal(&run(&["run", "-f", "cam.yaml", "--data", "data", "--listen", &listen], folder.path(), &[]));
    assert!(text.contains(&listen) && text.contains("--listen"), "{text}");
    program.await_object("cameras/cam");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut program = Program::start(&camera("cam", ""));
    program.await_object("cameras/cam");
    // An FFmpeg that does not run cannot heed any signal but SIGKILL, which it gets only after ten seconds of patience.
    let held_up = ffmpegs(&mut program);
    assert!(!held_up.is_empty());
    for pid in &held_up {
        process::signal(*pid, "STOP");
    }
    process::signal(program.pid(), "TERM");
    wait("the first signal is heeded", || program.log().contains("a second signal ends at once").then_some(()));
    process::signal(program.pid(), "TERM");
    assert_eq!(program.await_end().code(), Some(128 + 15), "{}", program.log());
    assert!(!program.log().contains("stopped\n") && !program.log().ends_with("stopped"), "{}", program.log());
    // The kernel wakes and hangs up what stands still when nobody is left to wake it (POSIX, orphaned process groups).
    wait("the end of what was left behind", || program.left_behind().is_empty().then_some(()));
    program.start_again();
    program.await_object("cameras/cam");
}

#[test]
fn what_keeps_it_from_starting_is_said_in_words_that_help() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("cam.yaml", &camera("cam", ""));
    write(
        "broken.yaml",
        "apiVersion: camera-operator.dev/v1alpha1\nkind: Camera\nmetadata: {name: cam}\nspec: {sorce: {}}\n",
    );
    let listen = format!("127.0.0.1:{}", free_port());
    let run = |arguments: &[&str], environment: &[(&str, &str)]| {
        let arguments: Vec<_> = ["run", "--listen", &listen].into_iter().chain(arguments.iter().copied()).collect();
        refusal(&run(&arguments, folder.path(), environment))
    };
    let text = run(&["-f", "broken.yaml", "--data", "data"], &[]);
    assert!(text.contains("broken.yaml:4:") && text.contains("sorce"), "{text}");
    let text = run(&["-f", "missing.yaml", "--data", "data"], &[]);
    assert!(text.contains("missing.yaml"), "{text}");
    let text = run(&["-f", "cam.yaml", "--data", "cam.yaml/data"], &[]);
    assert!(text.contains("cam.yaml/data") && text.contains("--data"), "{text}");
    let text = run(&["-f", "cam.yaml", "--data", "data"], &[("PATH", "")]);
    assert!(text.contains("FFmpeg") && text.contains("apt install ffmpeg"), "{text}");
}
