//! Inputs that are not RTSP, from real peers: each is live and recorded, its death is named and accounted for, and it comes back.
//! What must not be read is not read; what is no camera is told so.

use std::fs;
use std::path::Path;
use std::sync::mpsc;

use jiff::Timestamp;
use notify::{RecursiveMode, Watcher as _};

use crate::support::camera::Camera;
use crate::support::peer::{self, Peer};
use crate::support::program::Program;
use crate::support::{hls, judge, manifest, wait};

/// What is the same for all: how a camera's source is declared, and which output it has.
struct Input {
    camera: Camera,
    peer: Peer,
    program: Program,
    output: Output,
}

#[derive(Clone, Copy, PartialEq)]
enum Output {
    Hls,
    /// What sends Motion JPEG can be watched only as such.
    MotionJpeg,
}

/// The camera: whoever sends its pictures may be held up for some seconds, and only what is meant is a stall.
fn source_of(source: &str) -> String {
    manifest::stalled_after(&manifest::camera_from("cam", source), "6s")
}

impl Input {
    fn start(camera: Camera, peer: Peer, source: &str, secrets: &str, output: Output) -> Self {
        let stream = match output {
            Output::Hls => manifest::hls("cam-live", "cam", ""),
            Output::MotionJpeg => manifest::mjpeg("cam-live", "cam"),
        };
        let manifests = source_of(source) + &stream + &manifest::recording("cam-rec", "cam") + secrets;
        let program = Program::start(&manifests);
        Self { camera, peer, program, output }
    }

    /// Waits until everything flows and three more seconds' worth of pictures were sent.
    fn settle(&mut self) {
        for path in ["cameras/cam", "recordings/cam-rec", "streams/cam-live"] {
            self.program.await_object(path);
        }
        let now = self.camera.stats().frames;
        wait("three seconds of pictures", || (self.camera.stats().frames >= now + 30).then_some(()));
    }

    /// It can be watched as it is meant to be.
    fn assert_plays(&self, codecs: &[&str]) {
        match self.output {
            Output::Hls => {
                let url = self.program.url("/live/default/cam-live/index.m3u8");
                let (_, playlist) = wait("three live segments", || {
                    hls::fetch(&url).filter(|(_, playlist)| playlist.segments.len() >= 3)
                });
                hls::assert_clean(&playlist, None);
                assert_eq!(judge::codecs(&url), codecs);
                judge::decode(&url, &["-t", "2"]).unwrap();
            }
            Output::MotionJpeg => {
                let url = self.program.url("/live/default/cam-live/stream.mjpeg");
                let folder = tempfile::tempdir().unwrap();
                let pictures = folder.path().join("pictures.mkv");
                let watched = std::process::Command::new("ffmpeg")
                    .args(["-nostdin", "-v", "error", "-f", "mpjpeg", "-i", &url, "-frames:v", "8", "-c", "copy"])
                    .arg(&pictures)
                    .status();
                assert!(watched.unwrap().success());
                let counters = judge::counters_of(&[&pictures]);
                assert!(counters.len() == 8 && counters.windows(2).all(|pair| pair[0] < pair[1]), "{counters:?}");
            }
        }
    }

    /// Plays, dies, is named with one of `reasons`, comes back, and what is missing is accounted for; then the program ends.
    fn plays_dies_and_returns(mut self, codecs: &[&str], die: impl Fn(&mut Peer), reasons: &[&str]) {
        let begun = Timestamp::now();
        self.plays(codecs);
        self.dies(die, reasons);
        self.peer.restart();
        self.returns(codecs, begun);
    }

    fn plays(&mut self, codecs: &[&str]) {
        self.settle();
        self.assert_plays(codecs);
    }

    fn dies(&mut self, die: impl Fn(&mut Peer), reasons: &[&str]) {
        die(&mut self.peer);
        let (_, reason, message) = self.program.await_ready_condition("cameras/cam", "False", reasons);
        assert!(message.len() > 10, "{reason}: {message}");
        self.program.await_ready_condition("recordings/cam-rec", "False", &[]);
    }

    /// Plays again, what is missing since `begun` is accounted for, and no picture was shown twice.
    fn returns(mut self, codecs: &[&str], begun: Timestamp) {
        self.plays(codecs);
        let span = wait("the recording goes on in the span's playlist", || {
            let to = Timestamp::now();
            let url =
                self.program.url(&format!("/recordings/default/cam-rec/playlist.m3u8?from={begun:.3}&to={to:.3}"));
            let (_, playlist) = hls::fetch(&url)?;
            hls::assert_clean(&playlist, None);
            playlist.segments.iter().skip(1).any(|segment| segment.discontinuity).then_some(playlist)
        });
        assert!(span.text.contains("X-REASON="), "no reason in the playlist\n{}", span.text);
        let to = Timestamp::now();
        let path = format!("/api/v1/namespaces/default/recordings/cam-rec/coverage?from={begun:.3}&to={to:.3}");
        let coverage = self.program.json(&path);
        let ratio = coverage["ratio"].as_f64().unwrap();
        assert!(ratio > 0.0 && ratio < 1.0, "{coverage:#}");
        let named = |reason: &str| span.text.contains(&format!("X-REASON=\"{reason}\"")) && has_gap(&coverage, reason);
        let known = ["SourceEnded", "Unreachable", "Stalled", "NotFound", "NoVideo"];
        assert!(known.into_iter().any(named), "{coverage:#}\n{}", span.text);

        assert!(self.program.terminate().success(), "{}", self.program.log());
        let files = self.program.media_files("cam-rec");
        for file in &files {
            judge::assert_decodes(file);
            assert_eq!(judge::codecs(file.to_str().unwrap()), codecs, "{}", file.display());
        }
        let counters = judge::counters_of(&files);
        assert!(
            counters.windows(2).all(|pair| pair[0] < pair[1]),
            "no picture is passed off as a new one: {counters:?}"
        );
        let holes = judge::holes(&counters, &self.camera.stats().skips);
        assert_eq!(holes.len(), 1, "{holes:?} in {} pictures", counters.len());
    }
}

fn has_gap(coverage: &serde_json::Value, reason: &str) -> bool {
    coverage["gaps"].as_array().is_some_and(|gaps| gaps.iter().any(|gap| gap["reason"] == reason))
}

#[test]
fn rtmp_from_a_server() {
    let camera = Camera::start("--audio aac");
    let folder = tempfile::tempdir().unwrap();
    let peer = peer::rtmp_server(&camera.url, folder.path(), "a-key-that-is-secret");
    let url = format!("rtmp://127.0.0.1:{}/live/a-key-that-is-secret", peer.port);
    let secrets = manifest::secret("door", &[("url", &url)]);
    let source = "rtmp: {urlSecretRef: {name: door, key: url}}";
    let input = Input::start(camera, peer, source, &secrets, Output::Hls);
    input.plays_dies_and_returns(&["h264", "aac"], Peer::kill, &["Unreachable"]);
}

#[test]
fn an_rtmp_publisher_that_goes_leaves_a_server_without_a_picture() {
    let camera = Camera::start("--audio aac");
    let folder = tempfile::tempdir().unwrap();
    let peer = peer::rtmp_server(&camera.url, folder.path(), "door");
    let source = format!("rtmp: {{url: \"rtmp://127.0.0.1:{}/live/door\"}}", peer.port);
    let input = Input::start(camera, peer, &source, "", Output::Hls);
    input.plays_dies_and_returns(&["h264", "aac"], Peer::kill_sender, &["Stalled", "SourceEnded", "NoVideo"]);
}

/// Motion JPEG behind a password: refused, then let in, then cut.
fn motion_jpeg(authentication: &str) {
    let camera = Camera::start("--codec mjpeg");
    let folder = tempfile::tempdir().unwrap();
    let (user, password) = ("viewer", "p@ss:w/rd'%\\u00e9");
    let password = password.replace("\\u00e9", "é");
    let peer = peer::web_camera(&camera.url, folder.path(), Some((authentication, user, &password)));
    let url = format!("http://127.0.0.1:{}/live.mjpeg", peer.port);
    let source = format!("http: {{url: \"{url}\", credentialsSecretRef: {{name: door}}}}");
    let objects = source_of(&source) + &manifest::mjpeg("cam-live", "cam") + &manifest::recording("cam-rec", "cam");
    let program = Program::start(&(objects.clone() + &manifest::credentials("door", user, "a-wrong-one")));
    let (_, _, message) = program.await_ready_condition("cameras/cam", "False", &["CredentialRefused"]);
    assert!(!message.contains("a-wrong-one") && !message.contains(user), "{message}");
    program.write_manifests(&(objects + &manifest::credentials("door", user, &password)));
    let input = Input { camera, peer, program, output: Output::MotionJpeg };
    input.plays_dies_and_returns(&["mjpeg"], Peer::kill, &["Unreachable"]);
}

#[test]
fn motion_jpeg_with_basic_authentication() {
    motion_jpeg("basic");
}

#[test]
fn motion_jpeg_with_digest_authentication() {
    motion_jpeg("digest");
}

/// An endless file over HTTP.
fn progressive(path: &str) {
    let camera = Camera::start("--audio aac");
    let folder = tempfile::tempdir().unwrap();
    let peer = peer::web_camera(&camera.url, folder.path(), None);
    let source = format!("http: {{url: \"http://127.0.0.1:{}{path}\"}}", peer.port);
    let input = Input::start(camera, peer, &source, "", Output::Hls);
    input.plays_dies_and_returns(&["h264", "aac"], Peer::kill, &["Unreachable"]);
}

#[test]
fn an_endless_transport_stream() {
    progressive("/live.ts");
}

#[test]
fn an_endless_fragmented_mp4() {
    progressive("/live.mp4");
}

/// A live playlist that nginx serves, of a camera that encodes it.
fn live_playlist() -> (Input, tempfile::TempDir) {
    let camera = Camera::start("--audio aac");
    let folder = tempfile::tempdir().unwrap();
    let peer = peer::hls_server(&camera.url, folder.path());
    let source = format!("hls: {{url: \"http://127.0.0.1:{}/live.m3u8\"}}", peer.port);
    let manifests = source_of(&source) + &manifest::hls("cam-live", "cam", "") + &manifest::recording("cam-rec", "cam");
    (Input { camera, peer, program: Program::start(&manifests), output: Output::Hls }, folder)
}

#[test]
fn hls_from_a_server() {
    let (input, _folder) = live_playlist();
    input.plays_dies_and_returns(&["h264", "aac"], Peer::kill, &["Unreachable"]);
}

/// A sender that has died leaves its playlist behind: whoever connects again finds pictures there, and none of them is new.
#[test]
fn a_playlist_that_does_not_go_on_is_a_stall() {
    let (mut input, _folder) = live_playlist();
    let begun = Timestamp::now();
    input.plays(&["h264", "aac"]);
    input.dies(Peer::kill_sender, &["Stalled"]);
    wait("what is not new is told from what is", || {
        let (status, _, message) = input.program.condition("cameras/cam", "Ready")?;
        assert_eq!(status, "False", "{message}");
        message.contains("nothing new").then_some(())
    });
    input.peer.restart();
    input.returns(&["h264", "aac"], begun);
}

/// A playlist that goes on after whoever reads it has connected again and was shown what it had.
#[test]
fn a_playlist_that_goes_on_late_shows_no_picture_twice() {
    let camera = Camera::start("--audio aac");
    let folder = tempfile::tempdir().unwrap();
    let peer = peer::hls_archive(&camera.url, folder.path());
    let publish = |count: usize| peer::publish(folder.path(), count);
    publish(5);
    let source = format!("hls: {{url: \"http://127.0.0.1:{}/live.m3u8\"}}", peer.port);
    let manifests = manifest::camera_from("cam", &source) + &manifest::recording("cam-rec", "cam");
    let mut program = Program::start(&manifests);
    let nothing_new = || {
        let (_, _, message) = program.condition("cameras/cam", "Ready")?;
        message.contains("nothing new").then_some(())
    };
    wait("the end of the playlist, seen twice", nothing_new);
    publish(9);
    program.await_object("cameras/cam");
    wait("the new end, seen twice", nothing_new);
    assert!(program.terminate().success(), "{}", program.log());
    let counters = judge::counters_of(&program.media_files("cam-rec"));
    assert!(counters.windows(2).all(|pair| pair[0] < pair[1]), "{counters:?}");
    let published = judge::counters_of_index(&folder.path().join("hls/live.m3u8"));
    assert_eq!(counters.last(), published.last(), "up to its end");
}

#[test]
fn a_hostile_playlist_reads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let film = peer::private_film(folder.path());
    let film = film.to_str().unwrap();
    let server = peer::web_camera("", folder.path(), None);
    let head = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:20\n";
    let playlists = [
        ("file", format!("{head}#EXTINF:20,\nfile://{film}\n#EXT-X-ENDLIST\n")),
        ("passwd", format!("{head}#EXTINF:20,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")),
        ("path", format!("{head}#EXTINF:20,\n{film}\n#EXT-X-ENDLIST\n")),
        ("concat", format!("{head}#EXTINF:20,\nconcat:{film}|file:///etc/passwd\n#EXT-X-ENDLIST\n")),
        ("subfile", format!("{head}#EXTINF:20,\nsubfile,,start,0,end,999,,:{film}\n#EXT-X-ENDLIST\n")),
        ("map", format!("{head}#EXT-X-MAP:URI=\"file://{film}\"\n#EXTINF:20,\nfile://{film}\n#EXT-X-ENDLIST\n")),
        (
            "key",
            format!("{head}#EXT-X-KEY:METHOD=AES-128,URI=\"file://{film}\"\n#EXTINF:20,\nmissing.ts\n#EXT-X-ENDLIST\n"),
        ),
        ("variant", format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000000\nfile://{film}\n")),
        (
            "alternative",
            format!(
                "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",DEFAULT=YES,URI=\"file://{film}\"\n#EXT-X-STREAM-INF:BANDWIDTH=1000000,AUDIO=\"a\"\nfile://{film}\n"
            ),
        ),
    ];
    let mut manifests = String::new();
    for (name, text) in &playlists {
        fs::write(folder.path().join(format!("{name}.m3u8")), text).unwrap();
        let source = format!("hls: {{url: \"http://127.0.0.1:{}/{name}.m3u8\"}}", server.port);
        manifests += &manifest::camera_from(name, &source);
        manifests += &manifest::recording(&format!("{name}-rec"), name);
    }
    // The same by another way: a server that sends its reader on to a file.
    let source = format!("http: {{url: \"http://127.0.0.1:{}/to-file\"}}", server.port);
    manifests += &manifest::camera_from("redirect", &source);

    // Whoever opens a file of this folder is heard.
    let (heard, events) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let _ = heard.send(event);
    })
    .unwrap();
    watcher.watch(Path::new(film).parent().unwrap(), RecursiveMode::Recursive).unwrap();
    let program = Program::start(&manifests);
    let names = playlists.iter().map(|(name, _)| *name).chain(["redirect"]);
    for name in names {
        let path = format!("cameras/{name}");
        let (_, reason, message) = wait(&format!("a verdict on {name}"), || {
            let (status, reason, message) = program.condition(&path, "Ready")?;
            assert_ne!(status, "True", "{name} plays");
            (reason != "Connecting" && reason != "Pending").then_some((status, reason, message))
        });
        let log = program.get(&format!("/api/v1/namespaces/default/cameras/{name}/logs")).text();
        assert!(!log.contains("root:"), "{name}: {reason} {message}\n{log}");
    }
    for name in ["file", "map", "key", "variant"] {
        let (_, reason, message) = program.condition(&format!("cameras/{name}"), "Ready").unwrap();
        assert!(
            reason == "FFmpegFailed" && message.contains("leads to where it may not"),
            "{name}: {reason} {message}"
        );
    }
    assert!(events.try_recv().is_err(), "somebody looked into the private folder");
    // And the ear hears: this opens it.
    fs::read(film).unwrap();
    events.recv_timeout(crate::support::PATIENCE).expect("an event").unwrap();
}

#[test]
fn srt_with_a_passphrase() {
    let camera = Camera::start("--audio aac");
    let peer = peer::srt_server(&camera.url, "correct-horse-battery");
    let source = format!(
        "srt: {{url: \"srt://127.0.0.1:{}\", passphraseSecretRef: {{name: door, key: phrase}}, streamId: door, latency: 100ms}}",
        peer.port
    );
    let wrong = manifest::secret("door", &[("phrase", "a-wrong-phrase-of-some-length")]);
    let objects = source_of(&source) + &manifest::hls("cam-live", "cam", "") + &manifest::recording("cam-rec", "cam");
    let program = Program::start(&(objects.clone() + &wrong));
    let (_, reason, message) = wait("a verdict on the wrong passphrase", || {
        program.condition("cameras/cam", "Ready").filter(|(_, reason, _)| reason != "Connecting" && reason != "Pending")
    });
    assert!(["CredentialRefused", "Unreachable"].contains(&reason.as_str()), "{reason}: {message}");
    assert!(!message.contains("a-wrong-phrase"), "{message}");
    program.write_manifests(&(objects + &manifest::secret("door", &[("phrase", "correct-horse-battery")])));
    let input = Input { camera, peer, program, output: Output::Hls };
    input.plays_dies_and_returns(&["h264", "aac"], Peer::kill, &["Unreachable", "Stalled"]);
}

#[test]
fn srt_asks_for_its_stream() {
    let camera = Camera::start("");
    let peer = peer::srt_stream(&camera.url, "#!::r=door,m=request");
    let source = |id: &str| format!("srt: {{url: \"srt://127.0.0.1:{}\", streamId: \"{id}\"}}", peer.port);
    let program = Program::start(
        &(manifest::camera_from("right", &source("#!::r=door,m=request"))
            + &manifest::camera_from("wrong", &source("#!::r=garden,m=request"))),
    );
    program.await_object("cameras/right");
    let (_, _, message) =
        program.await_ready_condition("cameras/wrong", "False", &["Unreachable", "CredentialRefused"]);
    assert!(!message.is_empty());
}

#[test]
fn what_is_no_camera_is_told_so() {
    let device = |name: &str, device: &str| manifest::camera_from(name, &format!("v4l2: {{device: {device}}}"));
    let program = Program::start(
        &(device("missing", "/dev/video-none") + &device("zero", "/dev/zero") + &device("folder", "/dev/shm")),
    );
    for (name, expected) in [
        ("missing", "/dev/video-none is not there"),
        ("zero", "/dev/zero is no camera"),
        ("folder", "/dev/shm is no camera"),
    ] {
        let (_, _, message) = program.await_ready_condition(&format!("cameras/{name}"), "False", &["NotFound"]);
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("ls /dev/v4l/by-id"), "what to do stands there: {message}");
        let test = program.post(&format!("/api/v1/namespaces/default/cameras/{name}/test")).json();
        assert_eq!((&test["ok"], &test["reason"]), (&false.into(), &"NotFound".into()), "{test}");
    }
    // The log names the device as FFmpeg does, too.
    assert!(program.get("/api/v1/namespaces/default/cameras/zero/logs").text().contains("VIDIOC_QUERYCAP"));
}

#[test]
fn a_device_plays() {
    let Some(device) = (0..64).map(|number| format!("/dev/video{number}")).find(|path| Path::new(path).exists()) else {
        eprintln!(
            "SKIPPED: a V4L2 device plays, because there is none (such as /dev/video0 of a USB camera or of v4l2loopback)"
        );
        return;
    };
    let manifests = manifest::camera_from("cam", &format!("v4l2: {{device: {device}}}"))
        + &manifest::mjpeg("cam-live", "cam")
        + &manifest::recording("cam-rec", "cam");
    let mut program = Program::start(&manifests);
    for path in ["cameras/cam", "recordings/cam-rec", "streams/cam-live"] {
        program.await_object(path);
    }
    assert!(program.terminate().success());
    for file in program.media_files("cam-rec") {
        judge::assert_decodes(&file);
    }
}
