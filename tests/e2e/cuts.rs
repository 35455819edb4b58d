//! Everything that can happen to a camera while it is recorded: each is noticed, named with its reason, recovered from, and
//! accounted for; no picture that reached this machine is missing.

use jiff::Timestamp;

use crate::support::camera::Camera;
use crate::support::program::Program;
use crate::support::tap::Tap;
use crate::support::{hls, judge, manifest, wait};

/// A camera that is live and recorded, some seconds in, and what stands between the two.
fn running(options: &str) -> (Camera, Tap, Program, Timestamp) {
    let mut camera = Camera::start(options);
    let tap = Tap::before(&camera);
    let begun = Timestamp::now();
    // Long enough that only the cut that is meant is one.
    let program = Program::start(&manifest::stalled_after(&manifest::all_of("cam", &tap.url), "6s"));
    settle(&mut camera, &program);
    (camera, tap, program, begun)
}

/// Waits until everything flows, and then for three seconds' worth of pictures.
fn settle(camera: &mut Camera, program: &Program) {
    for path in ["cameras/cam", "recordings/cam-rec", "streams/cam-live"] {
        program.await_object(path);
    }
    let now = camera.stats().frames;
    wait("three seconds of pictures", || (camera.stats().frames >= now + 30).then_some(()));
}

/// What `coverage` says since `from`: the ratio and the gaps' reasons.
fn coverage(program: &Program, from: Timestamp) -> (f64, Vec<String>) {
    let to = Timestamp::now();
    let json =
        program.json(&format!("/api/v1/namespaces/default/recordings/cam-rec/coverage?from={from:.3}&to={to:.3}"));
    let gaps = json["gaps"].as_array().unwrap_or_else(|| panic!("{json:#}"));
    (json["ratio"].as_f64().unwrap(), gaps.iter().map(|gap| gap["reason"].as_str().unwrap().to_owned()).collect())
}

/// After a cut that was mended: the gap stands in coverage and in the playlists of the recording, with its reason, and the live
/// playlist goes on by its rules. Ends the program and returns the recorded counters.
fn assert_accounted(
    camera: &mut Camera,
    program: &mut Program,
    begun: Timestamp,
    reasons: &[&str],
    live_before: &hls::Playlist,
) -> Vec<u32> {
    settle(camera, program);
    let (_, live) = wait("the live playlist", || hls::fetch(&program.url("/live/default/cam-live/index.m3u8")));
    hls::assert_clean(&live, Some(live_before));

    // What was recorded last is in the index within some seconds, when the next key frame closes its stretch.
    let playlist = wait("the recording goes on in the span's playlist", || {
        let to = Timestamp::now();
        let url = program.url(&format!("/recordings/default/cam-rec/playlist.m3u8?from={begun:.3}&to={to:.3}"));
        let (_, playlist) = hls::fetch(&url)?;
        hls::assert_clean(&playlist, None);
        playlist.segments.iter().skip(1).any(|segment| segment.discontinuity).then_some(playlist)
    });
    assert!(
        reasons.iter().any(|reason| playlist.text.contains(reason)),
        "no reason in the playlist\n{}",
        playlist.text
    );
    let (ratio, gaps) = coverage(program, begun);
    assert!(ratio > 0.0 && ratio < 1.0, "{ratio}");
    assert!(gaps.iter().any(|gap| reasons.contains(&gap.as_str())), "none of {reasons:?} in {gaps:?}");

    assert!(program.terminate().success(), "{}", program.log());
    let files = program.media_files("cam-rec");
    for file in &files {
        judge::assert_decodes(file);
    }
    judge::counters_of(&files)
}

fn live_now(program: &Program) -> hls::Playlist {
    wait("the live playlist", || hls::fetch(&program.url("/live/default/cam-live/index.m3u8"))).1
}

/// Every picture that arrived is recorded, once and in order, up to the end of the program; and there is one hole.
fn assert_all_that_arrived(counters: &[u32], tap: &Tap) {
    let arrived = tap.counters();
    let recorded = &arrived[..counters.len().min(arrived.len())];
    assert_eq!(counters, recorded, "(recorded, arrived over {} connections)", tap.connections());
    let holes = judge::holes(counters, &[]);
    assert_eq!(holes.len(), 1, "{holes:?}");
}

#[test]
fn server_killed_and_restarted() {
    let (mut camera, mut tap, mut program, begun) = running("--audio mulaw");
    let live = live_now(&program);
    tap.close();
    camera.kill();
    let (_, reason, message) = program.await_ready_condition("cameras/cam", "False", &["SourceEnded", "Unreachable"]);
    assert!(!message.is_empty(), "{reason} without a sentence");
    program.await_ready_condition("cameras/cam", "False", &["Unreachable"]);
    program.await_ready_condition("recordings/cam-rec", "False", &[]);
    camera.restart();
    tap.open();
    let counters = assert_accounted(&mut camera, &mut program, begun, &["SourceEnded", "Unreachable"], &live);
    assert_all_that_arrived(&counters, &tap);
}

#[test]
fn server_process_stopped_while_its_connection_stands() {
    let (mut camera, tap, mut program, begun) = running("");
    let live = live_now(&program);
    camera.pause();
    let (_, _, message) = program.await_ready_condition("cameras/cam", "False", &["Stalled"]);
    assert!(!message.is_empty());
    camera.resume();
    let counters = assert_accounted(&mut camera, &mut program, begun, &["Stalled"], &live);
    assert_all_that_arrived(&counters, &tap);
}

#[test]
fn pictures_freeze_while_sound_goes_on() {
    let (mut camera, tap, mut program, begun) = running("--audio aac");
    let live = live_now(&program);
    let sent = camera.freeze();
    program.await_ready_condition("cameras/cam", "False", &["Stalled"]);
    program.await_ready_condition("recordings/cam-rec", "False", &[]);
    program.await_ready_condition("streams/cam-live", "False", &[]);
    assert_eq!(
        program.get("/api/v1/namespaces/default/cameras/cam/snapshot.jpg").status,
        503,
        "no old picture is passed off as now"
    );
    camera.unfreeze();
    let counters = assert_accounted(&mut camera, &mut program, begun, &["Stalled"], &live);
    assert_all_that_arrived(&counters, &tap);
    assert_eq!(judge::holes(&counters, &[])[0].0, sent, "a camera that goes on sends all that it has");
}

#[test]
fn wrong_password_then_the_right_one() {
    let mut camera = Camera::with_password("", "viewer", "the-right-one");
    let rtsp = "credentialsSecretRef: {name: door}";
    let objects = manifest::patient(&manifest::camera_with("cam", &camera.url, rtsp))
        + &manifest::recording("cam-rec", "cam")
        + &manifest::hls("cam-live", "cam", "");
    let mut program = Program::start(&(manifest::credentials("door", "viewer", "a-wrong-one") + &objects));
    let (_, _, message) = program.await_ready_condition("cameras/cam", "False", &["CredentialRefused"]);
    assert!(!message.contains("a-wrong-one"), "{message}");
    program.write_manifests(&(manifest::credentials("door", "viewer", "the-right-one") + &objects));
    settle(&mut camera, &program);
    // Rotated on the camera while it streams: nothing happens until the next connection.
    camera.ask(&serde_json::json!({"do": "password", "password": "another-one"}));
    camera.ask(&serde_json::json!({"do": "disconnect"}));
    program.await_ready_condition("cameras/cam", "False", &["CredentialRefused"]);
    program.write_manifests(&(manifest::credentials("door", "viewer", "another-one") + &objects));
    settle(&mut camera, &program);
    assert!(program.terminate().success());
    let counters = judge::counters_of(&program.media_files("cam-rec"));
    assert_eq!(judge::holes(&counters, &camera.stats().skips).len(), 1);
}

#[test]
fn basic_authentication() {
    let mut camera = Camera::with_password("--auth basic", "viewer", "the-right-one");
    let objects = manifest::camera_with("cam", &camera.url, "credentialsSecretRef: {name: door}")
        + &manifest::recording("cam-rec", "cam")
        + &manifest::hls("cam-live", "cam", "");
    let program = Program::start(&(manifest::credentials("door", "viewer", "the-right-one") + &objects));
    settle(&mut camera, &program);
    drop(program);
    let program = Program::start(&objects);
    let (_, _, message) = program.await_ready_condition("cameras/cam", "False", &["SecretMissing"]);
    assert!(message.contains("door"), "{message}");
}

#[test]
fn unknown_path_and_nobody_there() {
    let camera = Camera::start("");
    let nobody = format!("rtsp://127.0.0.1:{}/stream", crate::support::free_port());
    let wrong = camera.url.replace("/stream", "/nothing-here");
    let program = Program::start(&(manifest::camera("nobody", &nobody) + &manifest::camera("wrong", &wrong)));
    program.await_ready_condition("cameras/nobody", "False", &["Unreachable"]);
    program.await_ready_condition("cameras/wrong", "False", &["NotFound"]);
    assert_eq!(program.condition("cameras/nobody", "Reachable").unwrap().0, "False");
    assert_eq!(program.get("/api/v1/namespaces/default/cameras/nobody/snapshot.jpg").status, 503);
    assert_eq!(program.get("/api/v1/namespaces/default/cameras/missing/snapshot.jpg").status, 404);
    let test = program.post("/api/v1/namespaces/default/cameras/wrong/test");
    assert_eq!(test.status, 200, "{}", test.text());
    assert_eq!(test.json()["ok"], false, "{}", test.text());
    assert_eq!(test.json()["reason"], "NotFound", "{}", test.text());
}

#[test]
fn attempts_are_limited_where_asked() {
    let nobody = format!("rtsp://127.0.0.1:{}/stream", crate::support::free_port());
    let limited = manifest::camera("cam", &nobody).replace("maxDelay: 1s", "maxDelay: 1s\n    maxAttempts: 3");
    let program = Program::start(&limited);
    program.await_ready_condition("cameras/cam", "False", &["ReconnectLimitReached"]);
}

#[test]
fn resolution_changes_in_mid_stream() {
    let (mut camera, _tap, mut program, begun) = running("--audio aac");
    let live = live_now(&program);
    camera.ask(&serde_json::json!({"do": "resolution", "width": 640, "height": 480}));
    let media = wait("the new size in the status", || {
        let object = program.object("cameras/cam")?;
        (object["status"]["media"]["width"] == 640).then(|| object["status"]["media"].clone())
    });
    assert_eq!(media["height"], 480);
    settle(&mut camera, &program);
    let (_, after) = wait("a new map in the live playlist", || {
        let (answer, playlist) = hls::fetch(&program.url("/live/default/cam-live/index.m3u8"))?;
        (playlist.segments.last()?.map != live.segments.last()?.map).then_some((answer, playlist))
    });
    hls::assert_clean(&after, Some(&live));

    // An export across the change says where it is, instead of a file that half the players cannot play.
    let to = Timestamp::now();
    let answer = program.get(&format!("/recordings/default/cam-rec/export.mp4?from={begun:.3}&to={to:.3}"));
    assert_eq!(answer.status, 409, "{}", answer.text());

    assert!(program.terminate().success(), "{}", program.log());
    let files = program.media_files("cam-rec");
    let mut sizes = Vec::new();
    for file in &files {
        judge::assert_decodes(file);
        let video = &judge::streams(file.to_str().unwrap())[0];
        sizes.push((video["width"].as_u64().unwrap(), video["height"].as_u64().unwrap()));
    }
    sizes.dedup();
    assert_eq!(sizes, [(320, 240), (640, 480)], "each file has one size");
    let stats = camera.stats();
    judge::assert_whole(&judge::counters_of(&files), &stats.skips);
    assert_eq!(stats.plays, 1, "a new size is no reason to connect again");
}
