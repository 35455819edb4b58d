//! A push session that lasts: dozens of switches between a camera and its slate, a camera that slows down or is held up on its
//! way, and what viewers see where one session cannot hold both.

use std::time::{Duration, Instant};

use crate::slate::{FALLBACK, KEY, Shown, assert_in_turn, await_reason, go_and_come_back, shown, status};
use crate::support::camera::Camera;
use crate::support::program::Program;
use crate::support::target::{RtmpServer, Sink};
use crate::support::{judge, manifest, wait};

/// Switches are counted, and a busy machine may keep a camera from sending for seconds; but there are many of them.
const MANY: &str = "fallback: {after: 3s, text: Back soon}";

/// Why a session does not come about, or ends, that is the target's doing.
const TARGETS_OWN: [&str; 5] = ["TargetUnreachable", "TargetBusy", "PushRefused", "PushStalled", "PushEnded"];

fn pushed(camera: &Camera, server: &RtmpServer, spec: &str) -> String {
    manifest::camera("cam", &camera.url)
        + &manifest::push("cam-push", "cam", &server.url(), "streamKeySecretRef: {name: target, key: key}", spec)
        + &manifest::secret("target", &[("key", KEY)])
}

fn await_more(server: &RtmpServer, bytes: u64) {
    let before = server.bytes();
    wait("more at the server", || (server.bytes() > before + bytes).then_some(()));
}

/// Waits until the push is in this mode and the target has got some of it.
fn await_mode(program: &Program, server: &RtmpServer, mode: &str) {
    wait(mode, || (status(program, "streams/cam-push")["push"]["mode"] == mode).then_some(()));
    await_more(server, 3_000);
}

/// One recorded session that decodes, whose times go on in both tracks. Returns the file's path, and from when to when it goes.
fn assert_one_session(server: &RtmpServer) -> (String, f64) {
    let recorded = server.recorded();
    assert_eq!((recorded.len(), server.asked()), (1, (1, 0)), "one session");
    judge::assert_decodes(&recorded[0]);
    let file = recorded[0].to_str().unwrap().to_owned();
    let [pictures, sound] = ["v", "a"].map(|track| {
        let times: Vec<f64> = judge::packets(&file, track).iter().map(|packet| packet.dts).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{track}: {times:?}");
        times
    });
    let (from, end) = (pictures[0], *pictures.last().unwrap());
    let holes: Vec<&[f64]> = sound.windows(2).filter(|pair| pair[1] - pair[0] > 1.0).collect();
    let sounds = (sound[0], *sound.last().unwrap());
    assert!(
        (sounds.0 - from).abs() < 2.0 && (sounds.1 - end).abs() < 2.0,
        "{from} to {end}: {sounds:?} but for {holes:?}"
    );
    (file, end - from)
}

/// A way in which a camera goes and comes back, by its number.
fn go(camera: &mut Camera, way: usize) {
    match way % 4 {
        0 => camera.kill(),
        1 => camera.pause(),
        2 => drop(camera.freeze()),
        _ => camera.hold(),
    }
}

fn come_back(camera: &mut Camera, way: usize) {
    match way % 4 {
        0 => camera.restart(),
        1 => camera.resume(),
        2 => camera.unfreeze(),
        _ => camera.release(),
    }
}

/// Switches so often, in each way and at last in the first, and looks at what the server has got of it: what was held up would burst
/// into the end of what is measured.
fn dozens_of_switches(options: &str, spec: &str, cuts: usize) {
    let server = RtmpServer::start(KEY);
    let mut camera = Camera::start(options);
    let mut program = Program::start(&pushed(&camera, &server, spec));
    program.await_object("streams/cam-push");
    await_more(&server, 10_000);
    let arrived = || Some(judge::duration(server.recorded()[0].to_str().unwrap())).filter(|seconds| *seconds > 0.0);
    assert_eq!(cuts % 4, 1, "a camera that is killed comes back without what it has made before");
    let (before, begun) = (wait("a file that can be read", arrived), Instant::now());
    for way in 0..cuts {
        go(&mut camera, way);
        await_mode(&program, &server, "Slate");
        come_back(&mut camera, way);
        await_mode(&program, &server, "Camera");
    }
    let (passed, slates) = (begun.elapsed().as_secs_f64(), program.metric("stream_slates_total"));
    assert!(program.condition("streams/cam-push", "NotSeamless").is_none());
    assert_eq!((program.metric("push_sessions_total"), program.metric("push_reconnects_total")), (1, 0));
    assert!(program.terminate().success());
    let (file, lasts) = assert_one_session(&server);
    // What was held up on its way is not shown behind the slate that stood for it, or each time would add to this.
    assert!((lasts - before - passed).abs() < 4.0, "{lasts} s from {before} s on, in {passed} s");
    let shown = shown(&[file.into()]);
    assert_eq!(slates, cuts as u64, "{shown:?}");
    assert_in_turn(&shown, cuts);
}

#[test]
fn one_session_outlives_dozens_of_switches() {
    dozens_of_switches("--fps 10 --audio aac", MANY, 25);
}

#[test]
fn one_encoder_and_one_session_outlive_many_switches() {
    let spec = format!("video: {{codec: H264, bitRate: 600k, preset: UltraFast, threads: 1}}\n{MANY}");
    dozens_of_switches("--fps 10 --codec h265 --audio aac", &spec, 9);
}

/// 25 pictures a second become two, then one every eight seconds, then they come in bursts.
#[test]
fn a_camera_that_slows_down_is_shown_as_long_as_its_pictures_come() {
    let server = RtmpServer::start(KEY);
    let mut camera = Camera::start("--fps 25 --audio aac");
    let fallback = "fallback: {after: 2s, text: Back soon}";
    let mut program = Program::start(&manifest::patient(&pushed(&camera, &server, fallback)));
    program.await_object("streams/cam-push");
    await_more(&server, 10_000);
    let await_pictures = |camera: &mut Camera, more: u64| {
        let before = camera.stats().frames;
        wait("pictures", || (camera.stats().frames >= before + more).then_some(()));
    };
    camera.slow(12);
    await_pictures(&mut camera, 8);
    // Read in this order, so that no pause is missed that has had a slate.
    let slates = program.metric("stream_slates_total");
    assert!(slates <= camera.stats().pauses, "two a second are no reason for a slate");
    // A picture every eight seconds, and the next key frame in minutes. The first comes sooner; unless that is missed for two seconds, the
    // second is, for thrice as long as the first took.
    camera.slow(200);
    await_reason(&program, "streams/cam-push", "Slate");
    await_pictures(&mut camera, 2);
    camera.slow(1);
    await_reason(&program, "streams/cam-push", "Streaming");
    await_more(&server, 10_000);
    let slates = program.metric("stream_slates_total");
    // At its key frame, one in 25 pictures, it may have been back before it was known how rare its pictures are now.
    assert!((1..=2 + camera.stats().pauses).contains(&slates), "{slates}");
    // Pauses a little shorter and a little longer than it takes until the slate is due.
    for millis in [1700, 2300, 1800, 2500, 1900, 2200] {
        camera.hold();
        std::thread::sleep(Duration::from_millis(millis));
        camera.release();
        await_pictures(&mut camera, 50);
    }
    await_reason(&program, "streams/cam-push", "Streaming");
    await_more(&server, 10_000);
    assert_eq!((program.metric("push_sessions_total"), program.metric("push_reconnects_total")), (1, 0));
    let slates = program.metric("stream_slates_total");
    assert!(program.terminate().success());
    let (file, _) = assert_one_session(&server);
    let shown = shown(&[file.into()]);
    assert!(shown.len() as u64 <= 2 * slates + 1, "{slates} slates: {shown:?}");
    let counters =
        shown.iter().filter_map(|part| if let Shown::Camera(counters) = part { Some(counters) } else { None });
    let counters: Vec<u32> = counters.flatten().copied().collect();
    assert!(counters.windows(2).all(|pair| pair[0] < pair[1]), "{counters:?}");
    let step = |least: u32| counters.windows(2).filter(|pair| pair[1] - pair[0] == least).count();
    assert!(step(12) >= 6, "two pictures a second are seen: {counters:?}");
}

/// H.265 by copy: no slate fits it, so that there is a session for each of them, and a condition that says why.
#[test]
fn a_slate_that_does_not_fit_has_a_session_of_its_own() {
    const PHRASE: &str = "quince-0815-mango";
    let sink = Sink::srt(KEY, PHRASE);
    let mut camera = Camera::start("--codec h265 --audio aac");
    let references =
        "streamKeySecretRef: {name: target, key: id}\n      passphraseSecretRef: {name: target, key: phrase}";
    let url = format!("srt://127.0.0.1:{}", sink.port);
    let objects = manifest::camera("cam", &camera.url)
        + &manifest::push("cam-push", "cam", &url, references, FALLBACK)
        + &manifest::secret("target", &[("id", KEY), ("phrase", PHRASE)]);
    let mut program = Program::start(&objects);
    program.await_object("streams/cam-push");
    let (status, _, message) = wait("the condition", || program.condition("streams/cam-push", "NotSeamless"));
    assert!(status == "True" && message.contains("H.264"), "{message}");
    let more = || {
        let before = sink.bytes();
        wait("more at the target", || (sink.bytes() > before + 20_000).then_some(()));
    };
    more();
    go_and_come_back(&mut camera, &program, more);
    let sessions = (program.metric("push_sessions_total"), program.metric("push_reconnects_total"));
    let told = program.get("/api/v1/namespaces/default/streams/cam-push/logs").text();
    let changes = told.matches("another session with the target; begun again").count();
    assert_eq!(changes, 2, "the camera's, the slate's, the camera's: {told}");
    // A target that takes one caller at a time may not have noticed that the last one is gone when the next one calls.
    let log = program.log();
    let ends: Vec<&str> =
        log.lines().filter(|line| line.contains("cam-push") && line.contains("Reconnecting")).collect();
    let its_own = |line: &&str| TARGETS_OWN.iter().any(|reason| line.contains(reason));
    assert!(ends.iter().all(its_own), "{ends:?}");
    assert!(sessions.0 >= 3 && sessions.1 + 1 >= sessions.0, "{sessions:?}");
    assert!(sessions == (3, 2) || !ends.is_empty(), "{sessions:?} without a reason: {log}");
    assert!(program.condition("streams/cam-push", "NotSeamless").is_some());
    assert!(program.terminate().success());
    let kept = sink.kept().remove(0);
    assert_eq!(judge::codecs(kept.to_str().unwrap()), ["hevc", "aac"]);
    assert_in_turn(&shown(&[kept]), 1);
}
