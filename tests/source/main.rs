//! From a device to frames in the hub, with real cameras, a real FFmpeg and a real judge: RTSP, by either engine.
#![allow(clippy::unwrap_used)] // helpers of tests fail as tests do

mod compatibility;
mod other;
#[path = "../support/mod.rs"]
mod support;
mod unit;

use std::sync::Arc;

use camera_operator::agent::hub::Reach;
use camera_operator::agent::source::READ_BY_FFMPEG;
use camera_operator::agent::source::address::{Address, Resolved};
use camera_operator::agent::source::arguments::{self, Timeouts};
use camera_operator::agent::source::process::spawn;
use camera_operator::agent::source::profile::Profile;
use camera_operator::media::frame::{Codec, Frame};
use camera_operator::plan::report::{Reason, UnitState};
use camera_operator::plan::unit::{Credentials, Engine, Location, RtspTransport, SecretKey, Source};
use serde_json::json;
use support::camera::Camera;
use support::tap::Tap;
use support::{free_port, process};
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

/// Somebody else who has pictures and sound of the camera, and how many connections that took. What a camera begins to send for its
/// first client may come at any pace on a busy machine, and its sound later than a unit waits for it.
async fn warmed_up(camera: &mut Camera) -> (Unit, u64) {
    let warm = Unit::start(rtsp(Engine::Auto, &camera.url)).await;
    let mut reader = warm.hub.subscribe(Reach::FromOldest);
    Seen::default().read(&mut reader, &warm, "pictures with sound elsewhere", enough(2, 2)).await;
    (warm, camera.stats().total_connections)
}

async fn h264_with_aac(engine: Engine) {
    let mut camera = Camera::start("--audio aac");
    let (warm, others) = warmed_up(&mut camera).await;
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

    // What comes first may have a hole, where a client joins others of its camera; it is forgotten after some pictures.
    let is_right = |rate: u32| (9_000..=11_000).contains(&rate);
    let report = unit
        .until("measured", |report| report.media.as_ref().is_some_and(|media| is_right(media.frames_per_second_milli)))
        .await;
    assert_eq!((report.state, report.reason), (UnitState::Running, Reason::Streaming));
    let media = report.media.unwrap();
    assert_eq!((media.video_codec.as_str(), media.width, media.audio_codec.as_deref()), ("H264", 320, Some("AAC")));
    assert_eq!(camera.stats().total_connections, others + 1);
    unit.stop().await;
    warm.stop().await;
}

async fn h265_with_g711_becomes_hvc1_with_aac(engine: Engine) {
    let mut camera = Camera::start("--codec h265 --audio alaw");
    let (warm, others) = warmed_up(&mut camera).await;
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
    assert_eq!(camera.stats().total_connections, others + 1, "what the sound is costs no connection");
    assert!(!unit.log().contains("ffmpeg:"), "{}", unit.log());
    unit.stop().await;
    warm.stop().await;
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
    let mut looked_at = false;
    for pid in process::tree(ours).into_iter().filter(|pid| *pid != ours) {
        let seen = String::from_utf8_lossy(&process::arguments_and_environment(pid)).into_owned();
        for secret in [right, "s3cr", "wr0ng-one"] {
            assert!(!seen.contains(secret), "{seen}");
        }
        looked_at |= seen.starts_with("ffmpeg") && seen.contains("pipe:0");
    }
    // Tests beside this one have such processes, too, and the URL that would tell whose they are is hidden.
    assert!(looked_at || engine != Engine::FFmpeg, "the process is there to look at");
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
    camera.restart_refusing();
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
