//! From what is no RTSP camera to frames in the hub: a synthetic picture, Motion JPEG, SRT, files and playlists over HTTP.

use std::process::{Child, Command, Stdio};

use camera_operator::agent::hub::Reach;
use camera_operator::media::frame::Codec;
use camera_operator::plan::report::UnitState;
use camera_operator::plan::unit::{Ingest, Location, Source};

use crate::secret;
use crate::support::{free_port, wait};
use crate::unit::{Seen, Unit, enough};

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
    // When enough sound is there, there may be more pictures.
    let keys = seen.video().iter().take(40).filter(|frame| frame.is_video_key()).count();
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
        wait("the web server", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
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
