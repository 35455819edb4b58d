//! From a device to frames in the hub, with real cameras, a real FFmpeg and a real judge.
#![allow(clippy::unwrap_used)] // helpers of tests fail as tests do

mod compatibility;
#[path = "../support/mod.rs"]
mod support;
mod unit;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use camera_operator::agent::hub::Reach;
use camera_operator::agent::source::READ_BY_FFMPEG;
use camera_operator::agent::source::address::{Address, Resolved};
use camera_operator::agent::source::arguments::{self, Timeouts};
use camera_operator::agent::source::process::spawn;
use camera_operator::agent::source::profile::Profile;
use camera_operator::media::frame::{Codec, Frame};
use camera_operator::plan::report::{Reason, UnitState};
use camera_operator::plan::unit::{Credentials, Engine, Ingest, Location, RtspTransport, SecretKey, Source};
use serde_json::json;
use support::camera::Camera;
use support::tap::Tap;
use support::{free_port, process, wait};
use unit::{Seen, Unit, enough};

fn secret(key: &str) -> SecretKey {
    SecretKey { namespace: "default".into(), name: "door".into(), key: key.into() }
}

fn rtsp(engine: Engine, url: &str) -> Source {
    Source::Rtsp { location: Location::Url(url.into()), transport: RtspTransport::Tcp, credentials: None, engine }
}

/// A test of RTSP cameras, once for each engine.
macro_rules! with_both_engines {
    ($($name:ident),* $(,)?) => {
        mod native {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Engine::Auto).await;
            })*
        }
        mod ffmpeg {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Engine::FFmpeg).await;
            })*
        }
    };
}

with_both_engines!(
    h264_with_aac,
    h265_with_g711_becomes_hvc1_with_aac,
    a_wrong_password_is_named_and_the_right_one_taken_up,
    without_sound_one_connection_is_enough,
    sound_that_is_announced_and_never_sent_holds_nothing_back,
    frozen_pictures_are_a_stall_whatever_the_sound_does,
    a_camera_that_dies_and_comes_back,
    attempts_are_limited_when_a_limit_is_set,
    reordered_pictures_keep_their_order,
    a_new_resolution_is_a_new_configuration,
    slow_and_odd_cameras,
);

async fn h264_with_aac(engine: Engine) {
    let mut camera = Camera::start("--audio aac");
    let unit = Unit::start(rtsp(engine, &camera.url)).await;
    let mut reader = unit.hub.subscribe(Reach::FromOldest);
    let mut seen = Seen::default();
    seen.read(&mut reader, &unit, "30 pictures with sound", enough(30, 60)).await;
    seen.check();
    let configuration = seen.newest();
    assert_eq!(seen.configurations.len(), 1, "the sound is known before the first frame is out");
    assert_eq!(
        (configuration.video.codec, configuration.video.width, configuration.video.height),
        (Codec::H264, 320, 240)
    );
    assert!(configuration.video.codec_string.starts_with("avc1.42"), "{}", configuration.video.codec_string);
    let audio = configuration.audio.as_ref().expect("sound");
    assert_eq!((audio.codec, audio.sample_rate, audio.channels), (Codec::Aac, 48_000, 1));
    assert_eq!(audio.codec_string, "mp4a.40.2");
    // Both tracks share time zero: what is seen and heard at once is captured at once.
    let end = |frames: &[Arc<Frame>]| frames.last().map(|frame| frame.utc.0).unwrap();
    assert!((end(&seen.video()) - end(&seen.audio())).abs() < 1_000_000);
    let (pictures, complaints) = seen.decode();
    assert_eq!((pictures, complaints.as_str()), (seen.video().len(), ""));

    let report = unit
        .until("measured", |report| report.media.as_ref().is_some_and(|media| media.frames_per_second_milli > 0))
        .await;
    assert_eq!((report.state, report.reason), (UnitState::Running, Reason::Streaming));
    let media = report.media.unwrap();
    assert_eq!((media.video_codec.as_str(), media.width, media.audio_codec.as_deref()), ("H264", 320, Some("AAC")));
    assert!((9_000..=11_000).contains(&media.frames_per_second_milli), "{}", media.frames_per_second_milli);
    assert_eq!(camera.stats().total_connections, 1);
    unit.stop().await;
}

async fn h265_with_g711_becomes_hvc1_with_aac(engine: Engine) {
    let mut camera = Camera::start("--codec h265 --audio alaw");
    let unit = Unit::start(rtsp(engine, &camera.url)).await;
    let mut reader = unit.hub.subscribe(Reach::FromOldest);
    let mut seen = Seen::default();
    seen.read(&mut reader, &unit, "20 pictures with sound", enough(20, 20)).await;
    seen.check();
    let configuration = seen.newest();
    assert_eq!(&configuration.video.sample_entry[4..8], b"hvc1");
    assert!(configuration.video.codec_string.starts_with("hvc1.1.6.L"), "{}", configuration.video.codec_string);
    assert_eq!((configuration.video.width, configuration.video.height), (320, 240));
    assert_eq!(configuration.audio.as_ref().map(|audio| (audio.codec, audio.sample_rate)), Some((Codec::Aac, 16_000)));
    let (pictures, complaints) = seen.decode();
    assert_eq!((pictures, complaints.as_str()), (seen.video().len(), ""));
    assert_eq!(seen.configurations.len(), 1, "the sound is known before the first frame is out");
    let end = |frames: &[Arc<Frame>]| frames.last().map(|frame| frame.utc.0).unwrap();
    assert!(
        (end(&seen.video()) - end(&seen.audio())).abs() < 1_000_000,
        "what is seen and heard at once is captured at once"
    );
    assert_eq!(unit.report().reconnects, 0);
    assert_eq!(camera.stats().total_connections, 1, "what the sound is costs no connection");
    assert!(!unit.log().contains("ffmpeg:"), "{}", unit.log());
    unit.stop().await;
}

async fn a_wrong_password_is_named_and_the_right_one_taken_up(engine: Engine) {
    let right = "s3cr%t/@: 'q\"";
    let camera = Camera::with_password("", "bob", right);
    let credentials = Credentials { username: secret("username"), password: secret("password") };
    let source = Source::Rtsp {
        location: Location::Url(camera.url.clone()),
        transport: RtspTransport::Tcp,
        credentials: Some(credentials),
        engine,
    };
    let unit = Unit::start_with(source, |_| {}, &[("username", "bob")]).await;
    unit.until("missing", |report| report.reason == Reason::SecretMissing).await;
    unit.vault.set("password", "wr0ng-one");
    unit.until("refused", |report| report.reason == Reason::CredentialRefused).await;
    unit.vault.set("password", right);
    unit.until("streaming", |report| report.reason == Reason::Streaming).await;

    let ours = std::process::id();
    let mut ffmpegs = 0;
    for pid in process::tree(ours).into_iter().filter(|pid| *pid != ours) {
        let seen = String::from_utf8_lossy(&process::arguments_and_environment(pid)).into_owned();
        for secret in [right, "s3cr", "wr0ng-one"] {
            assert!(!seen.contains(secret), "{seen}");
        }
        ffmpegs += usize::from(seen.starts_with("ffmpeg") && seen.contains("pipe:0"));
    }
    assert_eq!(ffmpegs > 0, engine == Engine::FFmpeg, "the process is there to look at");
    let told = format!("{} {:?}", unit.log(), unit.report());
    for secret in [right, "s3cr", "wr0ng-one", "bob"] {
        assert!(!told.contains(secret), "{told}");
    }
    unit.stop().await;
}

async fn without_sound_one_connection_is_enough(engine: Engine) {
    let mut camera = Camera::start("--metadata");
    let unit = Unit::start(rtsp(engine, &camera.url)).await;
    let mut reader = unit.hub.subscribe(Reach::FromOldest);
    let mut seen = Seen::default();
    seen.read(&mut reader, &unit, "30 pictures", enough(30, 0)).await;
    seen.check();
    assert_eq!((seen.configurations.len(), seen.newest().audio.is_some(), seen.audio().len()), (1, false, 0));
    assert_eq!(camera.stats().total_connections, 1);
    unit.stop().await;
}

async fn sound_that_is_announced_and_never_sent_holds_nothing_back(engine: Engine) {
    let mut camera = Camera::start("--audio aac --silent-audio");
    let unit = Unit::start(rtsp(engine, &camera.url)).await;
    let mut reader = unit.hub.subscribe(Reach::FromOldest);
    let mut seen = Seen::default();
    seen.read(&mut reader, &unit, "30 pictures", enough(30, 0)).await;
    seen.check();
    assert!(seen.newest().audio.is_none());
    // It comes late: a new configuration, in the same run.
    camera.ask(&json!({"do": "startAudio"}));
    seen.read(&mut reader, &unit, "late sound", enough(40, 30)).await;
    seen.check();
    assert!(seen.newest().audio.is_some());
    assert_eq!(seen.newest().generation, 1);
    assert_eq!(seen.configurations[0].0, seen.configurations[1].0);
    // It stops: pictures go on.
    camera.ask(&json!({"do": "stopAudio"}));
    let pictures = seen.video().len();
    seen.read(&mut reader, &unit, "pictures after the sound", enough(pictures + 40, 0)).await;
    seen.check();
    assert_eq!(camera.stats().total_connections, 1);
    unit.stop().await;
}

async fn frozen_pictures_are_a_stall_whatever_the_sound_does(engine: Engine) {
    let mut camera = Camera::start("--audio aac");
    let tap = Tap::before(&camera);
    let unit = Unit::start(rtsp(engine, &tap.url)).await;
    let mut reader = unit.hub.subscribe(Reach::FromOldest);
    let mut seen = Seen::default();
    seen.read(&mut reader, &unit, "pictures", enough(10, 10)).await;
    camera.freeze();
    let report = unit.until("stalled", |report| report.reason == Reason::Stalled).await;
    assert_eq!(report.state, UnitState::Reconnecting);
    seen.read(&mut reader, &unit, "the end of the run", |seen| !seen.endings.is_empty()).await;
    assert_eq!(seen.endings[0].1, Reason::Stalled);
    assert_eq!(seen.video().len(), tap.counters().len(), "every picture that arrived is there");
    camera.unfreeze();
    seen.read(&mut reader, &unit, "a new run", |seen| seen.configurations.len() == 2).await;
    seen.read(&mut reader, &unit, "pictures again", enough(30, 30)).await;
    seen.check();
    assert!(seen.configurations[1].0 > seen.configurations[0].0);
    assert!(unit.report().reconnects > 0);
    unit.stop().await;
}

async fn a_camera_that_dies_and_comes_back(engine: Engine) {
    let mut camera = Camera::start("");
    let unit = Unit::start(rtsp(engine, &camera.url)).await;
    unit.until("streaming", |report| report.reason == Reason::Streaming).await;
    camera.kill();
    unit.until("unreachable", |report| report.reason == Reason::Unreachable).await;
    camera.restart();
    camera.ask(&json!({"do": "refuse", "on": true}));
    unit.until("not found", |report| report.reason == Reason::NotFound).await;
    camera.ask(&json!({"do": "refuse", "on": false}));
    unit.until("streaming again", |report| report.reason == Reason::Streaming).await;
    // The process stands still and the kernel keeps its connections.
    camera.pause();
    unit.until("stalled", |report| report.reason == Reason::Stalled).await;
    camera.resume();
    unit.until("streaming once more", |report| report.reason == Reason::Streaming).await;
    unit.stop().await;
}

async fn attempts_are_limited_when_a_limit_is_set(engine: Engine) {
    let url = format!("rtsp://127.0.0.1:{}/stream", free_port());
    let unit = Unit::start_with(rtsp(engine, &url), |ingest| ingest.reconnect.max_attempts = Some(2), &[]).await;
    let report = unit.until("given up", |report| report.state == UnitState::Failed).await;
    assert_eq!((report.reason, report.reconnects), (Reason::ReconnectLimitReached, 1));
    unit.stop().await;
}

async fn reordered_pictures_keep_their_order(engine: Engine) {
    let camera = Camera::start("--b-frames 2");
    let unit = Unit::start(rtsp(engine, &camera.url)).await;
    let mut reader = unit.hub.subscribe(Reach::FromOldest);
    let mut seen = Seen::default();
    seen.read(&mut reader, &unit, "40 pictures", enough(40, 0)).await;
    seen.check();
    let video = seen.video();
    assert!(video.iter().any(|frame| frame.composition_offset != video[0].composition_offset), "they are reordered");
    let mut shown: Vec<i64> = video.iter().map(|frame| frame.presentation_time()).collect();
    shown.sort_unstable();
    shown.dedup();
    assert_eq!(shown.len(), video.len(), "every picture has a time of its own");
    let (pictures, complaints) = seen.decode();
    assert_eq!((pictures, complaints.as_str()), (video.len(), ""));
    unit.stop().await;
}

async fn a_new_resolution_is_a_new_configuration(engine: Engine) {
    let mut camera = Camera::start("");
    let unit = Unit::start(rtsp(engine, &camera.url)).await;
    let mut reader = unit.hub.subscribe(Reach::FromOldest);
    let mut seen = Seen::default();
    seen.read(&mut reader, &unit, "pictures", enough(10, 0)).await;
    camera.ask(&json!({"do": "resolution", "width": 640, "height": 368}));
    seen.read(&mut reader, &unit, "a new configuration", |seen| seen.configurations.len() > 1).await;
    let pictures = seen.video().len();
    seen.read(&mut reader, &unit, "pictures of the new size", enough(pictures + 10, 0)).await;
    seen.check();
    assert_eq!((seen.newest().video.width, seen.newest().video.height, seen.newest().generation), (640, 368, 1));
    let first = seen.video().into_iter().find(|frame| frame.generation == 1).unwrap();
    assert!(first.is_video_key());
    let (decoded, complaints) = seen.decode();
    assert_eq!((decoded > 5, complaints.as_str()), (true, ""));
    unit.stop().await;
}

async fn slow_and_odd_cameras(engine: Engine) {
    for options in [
        "--fps 1 --key-interval 3",
        "--parameter-sets sdp",
        "--codec h265 --parameter-sets sdp --transport udp",
        "--codec mjpeg --audio mulaw",
        "--audio opus",
        "--audio pcm",
    ] {
        let mut camera = Camera::start(options);
        let source = Source::Rtsp {
            location: Location::Url(camera.url.clone()),
            transport: if options.contains("udp") { RtspTransport::Udp } else { RtspTransport::Tcp },
            credentials: None,
            engine,
        };
        let unit = Unit::start(source).await;
        let mut reader = unit.hub.subscribe(Reach::FromOldest);
        let mut seen = Seen::default();
        let audio = if options.contains("audio") { 10 } else { 0 };
        seen.read(&mut reader, &unit, options, enough(8, audio)).await;
        seen.check();
        assert_eq!(seen.newest().video.width, 320, "{options}");
        let (pictures, complaints) = seen.decode();
        assert_eq!((pictures > 0, complaints.as_str()), (true, ""), "{options}");
        // That the native driver cannot carry it is known when the camera has described it.
        let beyond = engine == Engine::Auto && (options.contains("opus") || options.contains("udp"));
        assert_eq!(unit.report().notices.iter().any(|notice| notice.kind == READ_BY_FFMPEG), beyond, "{options}");
        let connections = 1 + u64::from(beyond && options.contains("opus"));
        assert_eq!(camera.stats().total_connections, connections, "{options}\n{}", unit.log());
        unit.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synthetic_camera() {
    let source = Source::Test {
        width: 320,
        height: 180,
        frames_per_second: 15,
        key_frame_interval_ms: 1000,
        audio: true,
        text: "It's 100%: a [test], with\\odd; text".into(),
    };
    let unit = Unit::start(source).await;
    let mut reader = unit.hub.subscribe(Reach::FromOldest);
    let mut seen = Seen::default();
    seen.read(&mut reader, &unit, "pictures with sound", enough(40, 60)).await;
    seen.check();
    let keys = seen.video().iter().filter(|frame| frame.is_video_key()).count();
    assert!((2..=4).contains(&keys), "{keys} key frames in 40 pictures");
    assert!(!unit.log().contains("ffmpeg:"), "{}", unit.log());
    let (pictures, complaints) = seen.decode();
    assert_eq!((pictures, complaints.as_str()), (seen.video().len(), ""));
    unit.stop().await;
}

/// An FFmpeg that plays a device; ended when dropped.
struct Device(Child);

impl Device {
    fn start(output: &[&str]) -> Self {
        Self::start_from(&["-re", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=10"], output)
    }

    fn start_from(input: &[&str], output: &[&str]) -> Self {
        let child = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error"])
            .args(input)
            .args(output)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Waits until it listens, without a connection: one that takes a single caller would take this one for it.
    fn await_listening(port: u16) {
        let local = format!(":{port:04X}");
        wait("the device listens", || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            // The columns of proc(5): number, local address, remote address, state; 0A is LISTEN.
            let listens = |line: &str| {
                let columns: Vec<&str> = line.split_whitespace().take(4).collect();
                matches!(columns[..], [_, address, _, "0A"] if address.ends_with(&local))
            };
            table.lines().any(listens).then_some(())
        });
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn pictures_of(source: Source, change: impl FnOnce(&mut Ingest), secrets: &[(&str, &str)]) -> (Seen, Unit) {
    let unit = Unit::start_with(source, change, secrets).await;
    let mut reader = unit.hub.subscribe(Reach::FromOldest);
    let mut seen = Seen::default();
    seen.read(&mut reader, &unit, "pictures", enough(30, 0)).await;
    (seen, unit)
}

#[tokio::test(flavor = "multi_thread")]
async fn motion_jpeg_over_http_gets_its_times_from_arrival() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/camera");
    let _device = Device::start(&["-f", "mpjpeg", "-listen", "1", &url]);
    Device::await_listening(port);
    let source = Source::Http { location: Location::Url(url), credentials: None };
    let (seen, unit) = pictures_of(source, |_| {}, &[]).await;
    seen.check();
    assert_eq!(seen.newest().video.codec, Codec::Mjpeg);
    let video = seen.video();
    let span = (video.last().unwrap().utc.0 - video[0].utc.0) / (video.len() as i64 - 1);
    assert!((70_000..=140_000).contains(&span), "10 pictures a second are {span} µs apart");
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn srt_with_a_passphrase() {
    let port = free_port();
    let listener = format!("srt://127.0.0.1:{port}?mode=listener&passphrase=0123456789ab");
    let _device = Device::start(&["-c:v", "libx264", "-tune", "zerolatency", "-g", "10", "-f", "mpegts", &listener]);
    let source = Source::Srt {
        location: Location::Url(format!("srt://127.0.0.1:{port}")),
        passphrase: Some(secret("passphrase")),
        stream_id: None,
        latency_ms: 120,
    };
    let (seen, unit) = pictures_of(source, |_| {}, &[("passphrase", "0123456789ab")]).await;
    seen.check();
    assert!(!unit.log().contains("0123456789ab"));
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_over_http_plays_at_its_own_pace() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("film.ts");
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=10", "-t", "120"])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "10", "-f", "mpegts"])
        .arg(&file)
        .status()
        .unwrap();
    assert!(made.success());
    let server = WebServer::start(folder.path());
    let source = Source::Http { location: Location::Url(server.url("film.ts")), credentials: None };
    let unit = Unit::start(source).await;
    let mut reader = unit.hub.subscribe(Reach::FromOldest);
    let mut seen = Seen::default();
    // What came before it was known to be a file is another run.
    seen.read(&mut reader, &unit, "pictures at their own pace", |seen| {
        let newest = seen.configurations.last().map(|(run, _)| *run);
        let frames = seen.frames.iter().filter(|frame| Some(frame.run) == newest).count();
        unit.log().contains("faster than it plays")
            && seen.endings.len() == seen.configurations.len() - 1
            && frames > 30
    })
    .await;
    seen.check();
    assert!(seen.video().iter().any(|frame| frame.composition_offset != 0), "its own times, so its own order");
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hls_and_what_a_hostile_playlist_gets() {
    let folder = tempfile::tempdir().unwrap();
    let server = WebServer::start(folder.path());
    let playlist = folder.path().join("live.m3u8");
    let _device = Device::start(&[
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        "10",
        "-f",
        "hls",
        "-hls_time",
        "1",
        playlist.to_str().unwrap(),
    ]);
    let source = Source::Hls { location: Location::Url(server.url("live.m3u8")), credentials: None };
    let (seen, unit) = pictures_of(source, |_| {}, &[]).await;
    seen.check();
    unit.stop().await;

    let private = folder.path().join("private.ts");
    std::fs::write(&private, b"nobody may read this").unwrap();
    let hostile =
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{}\n#EXT-X-ENDLIST\n", private.display());
    std::fs::write(folder.path().join("hostile.m3u8"), hostile).unwrap();
    let source = Source::Hls { location: Location::Url(server.url("hostile.m3u8")), credentials: None };
    let unit = Unit::start(source).await;
    unit.until("refused", |report| report.state == UnitState::Reconnecting).await;
    assert!(unit.log().contains("not on whitelist"), "{}", unit.log());
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_behind() {
    let camera = Camera::start("");
    let unit = Unit::start(rtsp(Engine::FFmpeg, &camera.url)).await;
    unit.until("streaming", |report| report.reason == Reason::Streaming).await;
    let is_ours = |pid: &u32| {
        let told = String::from_utf8_lossy(&process::arguments_and_environment(*pid)).into_owned();
        told.starts_with("ffmpeg") && told.contains(&camera.url)
    };
    let pid = process::tree(std::process::id()).into_iter().find(is_ours).expect("it runs");
    unit.stop().await;
    assert!(!process::is_alive(pid), "a stop ends it");

    // A parent that is killed leaves an FFmpeg whose pipes nobody reads.
    let resolved = Resolved::default();
    let timeouts = Timeouts { silence_micros: 5_000_000, redirects: true };
    let source = rtsp(Engine::FFmpeg, &camera.url);
    let address = Address::of(&source, &resolved).unwrap();
    let invocation = arguments::build(&source, address.as_ref(), &resolved, Profile::default(), timeouts).unwrap();
    let (running, tracks) = spawn(&invocation, Arc::default()).await.unwrap();
    let pid = running.id().unwrap();
    tracks.video.readable().await.unwrap();
    drop(tracks);
    // Forgotten, so that only the closed pipes can end it.
    std::mem::forget(running);
    support::wait("the orphan's end", || (!process::is_alive(pid)).then_some(()));
}

/// Files over HTTP, from a folder.
struct WebServer {
    child: Child,
    port: u16,
}

impl WebServer {
    fn start(folder: &std::path::Path) -> Self {
        let port = free_port();
        let child = Command::new("/usr/bin/python3")
            .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        support::wait("the web server", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { child, port }
    }

    fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
