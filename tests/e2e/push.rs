//! Pushes to real servers: what arrives while the camera and the target are killed, frozen, slowed and brought back, and that a
//! recording of the same camera never notices.

use std::time::Instant;

use jiff::Timestamp;

use crate::support::camera::Camera;
use crate::support::program::Program;
use crate::support::target::{Mute, RtmpServer, Sink, Throttle, Tls};
use crate::support::{judge, manifest, process, wait};

const KEY: &str = "mango-4711-quince-0815";
const WRONG: &str = "papaya-1234-medlar-99";

/// A camera that is recorded, and the start of its recording.
struct Recorded {
    camera: Camera,
    begun: Timestamp,
}

fn objects(camera: &Camera, url: &str, key: &str, spec: &str) -> String {
    manifest::patient(&manifest::camera("cam", &camera.url))
        + &manifest::recording("cam-rec", "cam")
        + &manifest::push("cam-push", "cam", url, "streamKeySecretRef: {name: target, key: key}", spec)
        + &manifest::secret("target", &[("key", key)])
}

impl Recorded {
    fn start(program: &Program, camera: Camera) -> Self {
        program.await_object("recordings/cam-rec");
        Self { camera, begun: Timestamp::now() }
    }

    /// Nothing has been missed in the recording since it began, and the camera has been connected to once.
    fn assert_whole(&mut self, program: &mut Program) {
        let (from, to) = (self.begun, Timestamp::now());
        let path = format!("/api/v1/namespaces/default/recordings/cam-rec/coverage?from={from:.3}&to={to:.3}");
        let coverage = program.json(&path);
        assert_eq!(coverage["gaps"].as_array().map(Vec::len), Some(0), "{coverage:#}");
        let stats = self.camera.stats();
        assert_eq!(stats.plays, 1, "the camera was opened again");
        assert!(program.terminate().success(), "{}", program.log());
        let counters = judge::counters_of(&program.media_files("cam-rec"));
        if self.camera.reorders() {
            judge::assert_whole_but_before_the_last(&counters, &stats.skips);
        } else {
            judge::assert_whole(&counters, &stats.skips);
        }
    }
}

/// Waits until more has arrived at the server.
fn await_more(server: &RtmpServer) {
    let before = server.bytes();
    wait("more at the server", || (server.bytes() > before + 50_000).then_some(()));
}

/// No process shows a secret in its arguments or its environment.
fn assert_hidden(program: &mut Program) {
    for pid in program.processes() {
        let shown = String::from_utf8_lossy(&process::arguments_and_environment(pid)).into_owned();
        assert!(!shown.contains(KEY) && !shown.contains(WRONG), "{shown}");
    }
}

/// How many connections to a port of this machine stand.
fn connections_to(port: u16) -> usize {
    let told = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (peer, established) = (format!(":{port:04X}"), "01");
    let stands = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[2].ends_with(&peer) && fields[3] == established
    };
    told.lines().skip(1).filter(stands).count()
}

#[test]
fn one_session_outlives_cuts_of_the_camera() {
    let server = RtmpServer::start(KEY);
    let mut camera = Camera::start("");
    let mut program = Program::start(&objects(&camera, &server.url(), KEY, ""));
    program.await_object("streams/cam-push");
    await_more(&server);
    let status = program.object("streams/cam-push").unwrap()["status"].clone();
    assert_eq!(status["push"]["mode"], "Camera", "{status:#}");
    assert_eq!(status["push"]["target"], server.url());
    assert_eq!(status["push"]["reconnects"], 0);
    assert!(status["path"].is_null(), "{status:#}");

    for _ in 0..2 {
        camera.kill();
        let (_, reason, _) = program.await_ready_condition("streams/cam-push", "False", &[]);
        assert!(["SourceEnded", "Unreachable", "Stalled", "CameraUnavailable"].contains(&reason.as_str()), "{reason}");
        assert_eq!(program.object("streams/cam-push").unwrap()["status"]["push"]["mode"], "Paused");
        // The camera is away for long enough to be seen in the timeline.
        let away = Instant::now();
        wait("three seconds without the camera", || (away.elapsed().as_secs() >= 3).then_some(()));
        camera.restart();
        program.await_object("streams/cam-push");
        await_more(&server);
    }
    assert!(program.metric("push_bytes_total") > 100_000);
    assert_eq!(program.metric("push_sessions_total"), 1);
    assert_eq!(program.metric("push_reconnects_total"), 0);

    // The stream key is nowhere.
    assert_hidden(&mut program);
    for path in ["/metrics", "/api/v1/namespaces/default/streams", "/api/v1/namespaces/default/streams/cam-push/logs"] {
        assert!(!program.get(path).text().contains(KEY), "{path}");
    }
    assert!(program.terminate().success());
    assert!(!program.log().contains(KEY));

    let recorded = server.recorded();
    assert_eq!((recorded.len(), server.asked()), (1, (1, 0)), "one session");
    let file = recorded[0].to_str().unwrap();
    assert_eq!(judge::codecs(file), ["h264", "aac"], "silence where the camera has no sound");
    judge::assert_decodes(&recorded[0]);
    let times: Vec<f64> = judge::packets(file, "v").iter().map(|packet| packet.dts).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    let sound: Vec<f64> = judge::packets(file, "a").iter().map(|packet| packet.dts).collect();
    assert!(sound.windows(2).all(|pair| pair[0] < pair[1]) && sound.len() > 100, "{sound:?}");
    let counters = judge::counters_of(&recorded);
    assert!(counters.windows(2).all(|pair| pair[0] < pair[1]), "{counters:?}");
    // A hole in the pictures is as long in the timeline as it was in the world: the camera's counter counts tenths of seconds.
    assert_eq!(times.len(), counters.len());
    let steps = times.windows(2).zip(counters.windows(2));
    let steps: Vec<(f64, f64)> =
        steps.map(|(time, counter)| (time[1] - time[0], f64::from(counter[1] - counter[0]) / 10.0)).collect();
    let holes: Vec<&(f64, f64)> = steps.iter().filter(|(_, passed)| *passed > 2.0).collect();
    assert!(holes.len() == 2 && holes.iter().all(|(step, passed)| (step - passed).abs() < 1.5), "{holes:?}");
}

#[test]
fn a_target_that_dies_is_named_and_found_again_and_the_recording_does_not_notice() {
    let mut server = RtmpServer::start(KEY);
    let camera = Camera::start("--audio aac");
    let mut program = Program::start(&objects(&camera, &server.url(), KEY, ""));
    let mut recorded = Recorded::start(&program, camera);
    program.await_object("streams/cam-push");
    await_more(&server);
    server.kill();
    let (_, _, message) = program.await_ready_condition("streams/cam-push", "False", &["TargetUnreachable"]);
    assert!(message.contains("no connection"), "{message}");
    assert_eq!(program.object("streams/cam-push").unwrap()["status"]["push"]["mode"], "Reconnecting");
    server.restart();
    program.await_object("streams/cam-push");
    await_more(&server);
    recorded.assert_whole(&mut program);
    for file in server.recorded() {
        judge::assert_decodes(&file);
        assert_eq!(judge::codecs(file.to_str().unwrap()), ["h264", "aac"]);
    }
}

#[test]
fn a_refused_key_is_told_from_a_target_that_is_away_and_tried_again_when_it_changes() {
    let server = RtmpServer::start(KEY);
    let camera = Camera::start("");
    let url = server.url();
    let mut program = Program::start(&objects(&camera, &url, WRONG, ""));
    let mut recorded = Recorded::start(&program, camera);
    let (_, _, message) = program.await_ready_condition("streams/cam-push", "False", &["PushRefused"]);
    assert!(message.contains("stream key") && !message.contains(WRONG), "{message}");
    // By its rules for other failures it would have been tried a dozen times by then.
    let frames = recorded.camera.stats().frames;
    wait("ten seconds of pictures", || (recorded.camera.stats().frames >= frames + 100).then_some(()));
    assert_eq!(server.asked(), (1, 1), "a refused key is not hammered");
    program.write_manifests(&objects(&recorded.camera, &url, KEY, ""));
    program.await_object("streams/cam-push");
    assert_eq!(server.asked(), (2, 1));
    await_more(&server);
    let log = program.log();
    assert!(!log.contains(WRONG) && !log.contains(KEY), "{log}");
    recorded.assert_whole(&mut program);
}

#[test]
fn a_target_that_hangs_is_noticed_and_left() {
    let server = RtmpServer::start(KEY);
    let camera = Camera::start("--audio aac --noise --bit-rate 2000");
    let mut program = Program::start(&objects(&camera, &server.url(), KEY, ""));
    let mut recorded = Recorded::start(&program, camera);
    program.await_object("streams/cam-push");
    await_more(&server);
    server.freeze();
    let (_, _, message) = program.await_ready_condition("streams/cam-push", "False", &["PushStalled"]);
    assert!(message.contains("has taken nothing"), "{message}");
    server.thaw();
    program.await_object("streams/cam-push");
    await_more(&server);
    // What hung is gone with its session.
    wait("one connection", || (connections_to(server.port) == 1).then_some(()));
    recorded.assert_whole(&mut program);
}

#[test]
fn a_target_that_never_answers_is_not_there() {
    let mute = Mute::start();
    let camera = Camera::start("");
    let url = format!("rtmp://127.0.0.1:{}/live", mute.port);
    let mut program = Program::start(&objects(&camera, &url, KEY, ""));
    let mut recorded = Recorded::start(&program, camera);
    let (_, _, message) = program.await_ready_condition("streams/cam-push", "False", &["TargetUnreachable"]);
    assert!(message.contains("has not answered"), "{message}");
    recorded.assert_whole(&mut program);
}

#[test]
fn a_slow_target_loses_pictures_and_not_its_session() {
    // What the camera sends in a second, and what is let through of it.
    const SENT: u64 = 250_000;
    const LIMIT: u64 = 100_000;
    let server = RtmpServer::start(KEY);
    let throttle = Throttle::before(server.port);
    let camera = Camera::start("--audio aac --noise --bit-rate 2000");
    let url = format!("rtmp://127.0.0.1:{}/live", throttle.port);
    let mut program = Program::start(&objects(&camera, &url, KEY, ""));
    let mut recorded = Recorded::start(&program, camera);
    program.await_object("streams/cam-push");
    let before = server.bytes();
    wait("two seconds of pictures at the server", || (server.bytes() > before + 2 * SENT).then_some(()));
    throttle.limit(LIMIT);
    wait("pictures that are left out", || {
        let condition = program.condition("streams/cam-push", "FramesDropped")?;
        (condition.0 == "True").then_some(())
    });
    assert!(program.metric("push_dropped_frames_total") > 0);
    program.await_object("streams/cam-push");
    let push = wait("pictures that are left out, and what the target takes, in the status", || {
        let push = program.object("streams/cam-push")?["status"]["push"].clone();
        (push["droppedFrames"].as_i64() > Some(0) && push["bitRate"].is_i64()).then_some(push)
    });
    let told = push["bitRate"].as_f64().unwrap() / 8.0;
    assert!(told > LIMIT as f64 / 4.0 && told < 2.0 * SENT as f64, "{push} of {LIMIT} bytes a second");
    throttle.limit(u64::MAX);
    await_more(&server);
    assert_eq!(server.asked(), (1, 0), "one session");
    recorded.assert_whole(&mut program);
    let files = server.recorded();
    judge::assert_decodes(&files[0]);
    let counters = judge::counters_of(&files);
    assert!(counters.windows(2).all(|pair| pair[0] < pair[1]), "{counters:?}");
}

#[test]
fn rtmps_goes_only_to_a_server_whose_certificate_is_trusted() {
    let server = RtmpServer::start(KEY);
    let tls = Tls::before(server.port);
    let url = format!("rtmps://127.0.0.1:{}/live", tls.port);
    let camera = Camera::start("--audio aac");
    let manifests = objects(&camera, &url, KEY, "");
    let distrustful = Program::start(&manifests);
    let (_, _, message) = distrustful.await_ready_condition("streams/cam-push", "False", &["TargetUnreachable"]);
    assert!(message.contains("certificate"), "{message}");
    assert_eq!(server.asked(), (0, 0), "nothing was said to it");
    drop(distrustful);
    let trusted = [("SSL_CERT_FILE", tls.certificate.to_str().unwrap())];
    let program = Program::start_with(&manifests, None, &trusted);
    program.await_object("streams/cam-push");
    await_more(&server);
    assert_eq!(server.asked(), (1, 0));
}

/// A push to a server that is killed and brought back: it is named, found again, and the recording does not notice.
fn dies_and_returns(sink: &mut Sink, push: &str, url: &str, secret: &str, options: &str) -> Program {
    let camera = Camera::start(options);
    let manifests = manifest::patient(&manifest::camera("cam", &camera.url))
        + &manifest::recording("cam-rec", "cam")
        + &manifest::push("cam-push", "cam", url, push, "")
        + secret;
    let mut program = Program::start(&manifests);
    let mut recorded = Recorded::start(&program, camera);
    for round in 0..2 {
        program.await_object("streams/cam-push");
        let before = sink.bytes();
        wait("more at the server", || (sink.bytes() > before + 50_000).then_some(()));
        assert_hidden(&mut program);
        if round == 0 {
            sink.kill();
            program.await_ready_condition("streams/cam-push", "False", &["TargetUnreachable"]);
            sink.restart();
        }
    }
    recorded.assert_whole(&mut program);
    program
}

#[test]
fn rtsp_is_published_to_a_server_that_comes_and_goes() {
    let mut sink = Sink::rtsp("/live/door");
    let url = format!("rtsp://127.0.0.1:{}/live/door", sink.port);
    // Decode times of reordered pictures are made by FFmpeg there.
    dies_and_returns(&mut sink, "", &url, "", "--audio aac --b-frames 2");
    let kept = sink.kept();
    let newest = kept.last().unwrap();
    assert_eq!(judge::codecs(newest.to_str().unwrap()), ["h264"]);
    let counters = judge::counters(newest.to_str().unwrap());
    let whole: Vec<u32> = counters.into_iter().flatten().collect();
    assert!(whole.len() > 20 && whole.windows(2).all(|pair| pair[0] < pair[1]), "{whole:?}");
}

#[test]
fn a_path_that_an_rtsp_server_does_not_take_is_refused() {
    let sink = Sink::rtsp("/live/door");
    let camera = Camera::start("");
    let url = format!("rtsp://127.0.0.1:{}/live/gate", sink.port);
    let program =
        Program::start(&(manifest::camera("cam", &camera.url) + &manifest::push("cam-push", "cam", &url, "", "")));
    let (_, _, message) = program.await_ready_condition("streams/cam-push", "False", &["PushRefused"]);
    assert!(message.contains("404"), "{message}");
}

#[test]
fn srt_is_sent_with_identifier_and_passphrase_that_nobody_sees() {
    let mut sink = Sink::srt(KEY, WRONG);
    let url = format!("srt://127.0.0.1:{}", sink.port);
    let references =
        "streamKeySecretRef: {name: target, key: id}\n      passphraseSecretRef: {name: target, key: phrase}";
    let secret = manifest::secret("target", &[("id", KEY), ("phrase", WRONG)]);
    let program = dies_and_returns(&mut sink, references, &url, &secret, "--codec h265 --audio aac");
    assert!(!program.log().contains(KEY) && !program.log().contains(WRONG));
    // Another passphrase is not let in, and the message says that it may be that.
    let camera = Camera::start("");
    let manifests = manifest::camera("cam", &camera.url)
        + &manifest::push("cam-push", "cam", &url, references, "")
        + &manifest::secret("target", &[("id", KEY), ("phrase", "another-passphrase")]);
    let refused = Program::start(&manifests);
    let expected = ["TargetUnreachable", "PushRefused"];
    let (_, _, message) = refused.await_ready_condition("streams/cam-push", "False", &expected);
    assert!(message.contains("passphrase"), "{message}");
    let kept = sink.kept();
    assert_eq!(judge::codecs(kept[0].to_str().unwrap()), ["hevc", "aac"]);
    let counters: Vec<u32> = judge::counters(kept[0].to_str().unwrap()).into_iter().flatten().collect();
    assert!(counters.len() > 20 && counters.windows(2).all(|pair| pair[0] < pair[1]), "{counters:?}");
}

#[test]
fn what_rtmp_cannot_carry_is_said_and_sound_is_made_to_fit() {
    let server = RtmpServer::start(KEY);
    let camera = Camera::start("--codec h265");
    let program = Program::start(&objects(&camera, &server.url(), KEY, ""));
    let (_, _, message) = program.await_ready_condition("streams/cam-push", "False", &["CodecNotCarried"]);
    assert!(message.contains("H264"), "{message}");
    assert_eq!(server.asked(), (0, 0));
    drop(program);
    let camera = Camera::start("--audio opus");
    let mut program = Program::start(&objects(&camera, &server.url(), KEY, "audio: {bitRate: 64k}"));
    program.await_object("streams/cam-push");
    await_more(&server);
    assert!(program.terminate().success());
    let file = server.recorded().remove(0);
    assert_eq!(judge::codecs(file.to_str().unwrap()), ["h264", "aac"]);
    judge::assert_decodes(&file);
}

#[test]
fn another_size_of_pictures_is_another_session_at_once() {
    let server = RtmpServer::start(KEY);
    let mut camera = Camera::start("--audio aac");
    let mut program = Program::start(&objects(&camera, &server.url(), KEY, ""));
    program.await_object("streams/cam-push");
    await_more(&server);
    camera.ask(&serde_json::json!({"do": "resolution", "width": 640, "height": 480}));
    wait("another session", || (server.recorded().len() == 2).then_some(()));
    program.await_object("streams/cam-push");
    await_more(&server);
    assert!(program.terminate().success());
    let widths: Vec<_> = server
        .recorded()
        .iter()
        .map(|file| {
            judge::assert_decodes(file);
            judge::streams(file.to_str().unwrap())[0]["width"].as_u64()
        })
        .collect();
    assert_eq!(widths, [Some(320), Some(640)]);
}
