//! What viewers see while a camera is killed, frozen, held up and brought back: its slate, without a hole before, between or
//! behind, in HLS and in a push to a real server; and that a recording of the same camera never holds it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::browser;
use crate::support::camera::Camera;
use crate::support::program::Program;
use crate::support::target::RtmpServer;
use crate::support::{PATIENCE, hls, judge, manifest, picture, wait};

pub const KEY: &str = "mango-4711-quince-0815";
/// Slates are counted, and a busy machine may keep a camera from sending for seconds.
pub const FALLBACK: &str = "fallback: {after: 4s, text: Back soon}";

/// How a camera goes, and how it comes back.
type Cut = (fn(&mut Camera), fn(&mut Camera));

const CUTS: [Cut; 3] = [
    (Camera::kill, Camera::restart),
    (|camera| camera.pause(), |camera| camera.resume()),
    // Its sound goes on.
    (|camera| assert!(camera.freeze() > 0), Camera::unfreeze),
];

pub fn live(spec: &str) -> String {
    manifest::hls("cam-live", "cam", "{segmentDuration: 1s, playlistSegments: 60}") + &format!("  {spec}\n")
}

/// Waits until a stream is served in this way.
pub fn await_reason(program: &Program, stream: &str, reason: &str) -> String {
    program.await_ready_condition(stream, "True", &[reason]).2
}

pub fn status(program: &Program, stream: &str) -> serde_json::Value {
    program.object(stream).unwrap()["status"].clone()
}

/// The camera of the push is away until the slate has arrived, and back until its pictures have; `more` waits for what arrives.
pub fn go_and_come_back(camera: &mut Camera, program: &Program, more: impl Fn()) {
    camera.kill();
    await_reason(program, "streams/cam-push", "Slate");
    more();
    camera.restart();
    await_reason(program, "streams/cam-push", "Streaming");
    more();
}

/// How bright each picture of a file is.
fn brightness(path: &str) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i", path, "-an", "-vsync", "passthrough"])
        .args(["-vf", "scale=1:1:flags=area,format=gray", "-f", "rawvideo", "-"])
        .output()
        .unwrap();
    output.stdout
}

/// What the pictures of files show, one after the other: counters of the camera, or a number of slate pictures.
#[derive(Debug)]
pub enum Shown {
    Camera(Vec<u32>),
    Slate(usize),
}

pub fn shown(files: &[PathBuf]) -> Vec<Shown> {
    let mut all = Vec::new();
    for file in files {
        let path = file.to_str().unwrap();
        let (counters, bright) = (judge::counters(path), brightness(path));
        assert_eq!(counters.len(), bright.len(), "{path}");
        for (counter, bright) in counters.into_iter().zip(bright) {
            match (counter, all.last_mut()) {
                (Some(counter), Some(Shown::Camera(counters))) => counters.push(counter),
                (Some(counter), _) => all.push(Shown::Camera(vec![counter])),
                (None, last) => {
                    // Dark, as a card is and as the camera never is.
                    assert!(bright < 75, "neither the camera nor its slate: {bright} in {path}");
                    match last {
                        Some(Shown::Slate(pictures)) => *pictures += 1,
                        _ => all.push(Shown::Slate(1)),
                    }
                }
            }
        }
    }
    all
}

/// Camera, slate, camera, … and the camera at the end; what it shows goes on.
pub fn assert_in_turn(shown: &[Shown], cuts: usize) {
    assert_eq!(shown.len(), 2 * cuts + 1, "{shown:?}");
    assert!(matches!((&shown[0], &shown[2 * cuts]), (Shown::Camera(_), Shown::Camera(_))), "{shown:?}");
    let counters =
        shown.iter().flat_map(|part| if let Shown::Camera(counters) = part { counters.clone() } else { Vec::new() });
    let counters: Vec<u32> = counters.collect();
    assert!(counters.windows(2).all(|pair| pair[0] < pair[1]), "{counters:?}");
}

/// How many files at the beginning have no sound, although the camera has: one at most. Sound that comes for the first time later than
/// the program waits for it makes another configuration, from which on it is everywhere.
pub fn before_the_sound(files: &[PathBuf]) -> usize {
    let codecs: Vec<Vec<String>> = files.iter().map(|file| judge::codecs(file.to_str().unwrap())).collect();
    let without = usize::from(codecs[0] == ["h264"]);
    assert!(codecs[without..].iter().all(|codecs| *codecs == ["h264", "aac"]), "{codecs:?}");
    without
}

#[test]
fn hls_goes_on_with_a_slate_that_no_recording_holds() {
    let mut camera = Camera::start("--audio aac");
    let objects = manifest::camera("cam", &camera.url) + &live(FALLBACK) + &manifest::recording("cam-rec", "cam");
    let mut program = Program::start(&objects);
    program.await_object("streams/cam-live");
    let url = program.url("/live/default/cam-live/index.m3u8");
    let (_, mut before) =
        wait("two segments", || hls::fetch(&url).filter(|(_, playlist)| playlist.segments.len() >= 2));
    let mut more = || {
        // It never stands still.
        let (_, now) = wait("three more segments", || {
            let end = |playlist: &hls::Playlist| playlist.media_sequence + playlist.segments.len() as u64;
            hls::fetch(&url).filter(|(_, playlist)| end(playlist) >= end(&before) + 3)
        });
        hls::assert_clean(&now, Some(&before));
        before = now;
    };
    assert_eq!(status(&program, "streams/cam-live")["fallback"]["mode"], "Camera");
    for (go, come_back) in CUTS {
        go(&mut camera);
        let message = await_reason(&program, "streams/cam-live", "Slate");
        assert!(message.contains("sends no pictures"), "{message}");
        let said = status(&program, "streams/cam-live");
        assert!(said["fallback"]["mode"] == "Slate" && said["fallback"]["since"].is_string(), "{said:#}");
        more();
        come_back(&mut camera);
        await_reason(&program, "streams/cam-live", "Streaming");
        more();
    }
    assert_eq!(status(&program, "streams/cam-live")["fallback"]["mode"], "Camera");
    assert_eq!(program.metric("stream_slates_total"), 3);
    assert!(program.metric("stream_slate_seconds_total") >= 3);
    assert_eq!(program.metric("stream_slate"), 0);

    let folder = tempfile::tempdir().unwrap();
    let (_, playlist) = hls::fetch(&url).unwrap();
    assert!(playlist.segments.len() < 60, "all of it is there");
    let files = hls::download_all(&playlist.segments, folder.path());
    files.iter().for_each(|file| judge::assert_decodes(file));
    assert!(files.len() > 2 * CUTS.len() + before_the_sound(&files), "silence beside the slate");
    assert_in_turn(&shown(&files), CUTS.len());
    // Times go on, without an overlap.
    let times: Vec<(f64, f64)> = playlist
        .segments
        .iter()
        .filter_map(|segment| Some((segment.time?.as_microsecond() as f64 / 1e6, segment.duration)))
        .collect();
    assert!(times.windows(2).all(|pair| pair[1].0 >= pair[0].0 + pair[0].1 - 0.15), "{times:?}");
    // A hole is no longer than it takes to notice.
    assert!(program.terminate().success(), "{}", program.log());
    let counters = judge::counters_of(&program.media_files("cam-rec"));
    assert!(counters.len() > 30, "only the camera's pictures: {counters:?}");
}

#[test]
fn one_session_goes_on_with_a_slate() {
    for options in ["--fps 10 --b-frames 2", "--fps 10 --audio aac"] {
        let server = RtmpServer::start(KEY);
        let mut camera = Camera::start(options);
        let push = "streamKeySecretRef: {name: target, key: key}";
        let objects = manifest::camera("cam", &camera.url)
            + &manifest::push("cam-push", "cam", &server.url(), push, FALLBACK)
            + &manifest::secret("target", &[("key", KEY)]);
        let mut program = Program::start(&objects);
        program.await_object("streams/cam-push");
        let more = || {
            let before = server.bytes();
            wait("more at the server", || (server.bytes() > before + 30_000).then_some(()));
        };
        more();
        for (go, come_back) in CUTS {
            go(&mut camera);
            await_reason(&program, "streams/cam-push", "Slate");
            assert_eq!(status(&program, "streams/cam-push")["push"]["mode"], "Slate");
            more();
            come_back(&mut camera);
            await_reason(&program, "streams/cam-push", "Streaming");
            more();
        }
        assert!(program.condition("streams/cam-push", "NotSeamless").is_none());
        assert_eq!(program.metric("push_sessions_total"), 1);
        assert_eq!(program.metric("push_reconnects_total"), 0);
        assert!(program.terminate().success());
        let recorded = server.recorded();
        assert_eq!((recorded.len(), server.asked()), (1, (1, 0)), "one session");
        judge::assert_decodes(&recorded[0]);
        let file = recorded[0].to_str().unwrap();
        for track in ["v", "a"] {
            let times: Vec<f64> = judge::packets(file, track).iter().map(|packet| packet.dts).collect();
            assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
        }
        assert_in_turn(&shown(&recorded), CUTS.len());
    }
}

/// What no copy could do: H.265 that becomes H.264, in one session over slates.
#[test]
fn one_session_of_encoded_pictures_goes_on_with_a_slate() {
    let server = RtmpServer::start(KEY);
    let mut camera = Camera::start("--codec h265");
    let push = "streamKeySecretRef: {name: target, key: key}";
    let spec = format!("video: {{codec: H264, bitRate: 600k, preset: UltraFast}}\n{FALLBACK}");
    let objects = manifest::camera("cam", &camera.url)
        + &manifest::push("cam-push", "cam", &server.url(), push, &spec)
        + &manifest::secret("target", &[("key", KEY)]);
    let mut program = Program::start(&objects);
    program.await_object("streams/cam-push");
    let more = || {
        let before = server.bytes();
        wait("more at the server", || (server.bytes() > before + 30_000).then_some(()));
    };
    more();
    for _ in 0..2 {
        go_and_come_back(&mut camera, &program, more);
    }
    assert!(program.condition("streams/cam-push", "NotSeamless").is_none());
    assert_eq!(program.metric("push_sessions_total"), 1);
    assert!(program.terminate().success());
    let recorded = server.recorded();
    assert_eq!((recorded.len(), server.asked()), (1, (1, 0)), "one session");
    judge::assert_decodes(&recorded[0]);
    assert_in_turn(&shown(&recorded), 2);
}

/// Pictures of a slate as grey bytes, row by row, one a second.
fn slate_pictures(file: &Path, (width, height): (usize, usize)) -> Vec<Vec<u8>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i", file.to_str().unwrap(), "-an", "-vf", "fps=1,format=gray", "-f", "rawvideo", "-"])
        .output()
        .unwrap();
    output.stdout.chunks_exact(width * height).map(<[u8]>::to_vec).collect()
}

/// How many pixels of some rows differ much.
fn changed(one: &[u8], other: &[u8], width: usize, rows: std::ops::Range<usize>) -> usize {
    let rows = rows.start * width..rows.end * width;
    one[rows.clone()].iter().zip(&other[rows]).filter(|(one, other)| one.abs_diff(**other) > 50).count()
}

#[test]
fn the_clock_of_a_slate_says_how_long_the_camera_has_been_away() {
    let mut camera = Camera::start("--width 640 --height 480");
    let program = Program::start(&(manifest::camera("cam", &camera.url) + &live(FALLBACK)));
    program.await_object("streams/cam-live");
    camera.kill();
    await_reason(&program, "streams/cam-live", "Slate");
    // The clock stands at 0.69 of the height, a sixteenth high; name and text stand above it.
    let (clock, rest) = (305..356, 100..290);
    let moves = |pair: &[Vec<u8>]| changed(&pair[0], &pair[1], 640, clock.clone()) >= 10;
    let stands = |pair: &[Vec<u8>]| changed(&pair[0], &pair[1], 640, rest.clone()) == 0;
    // The encoder for the clock takes a while to start, and draws over the camera's last picture what it can have of it.
    wait("four seconds in which the clock moves, and nothing else", || {
        let (_, playlist) = hls::fetch(&program.url("/live/default/cam-live/index.m3u8"))?;
        let folder = tempfile::tempdir().unwrap();
        let files = hls::download_all(&playlist.segments, folder.path());
        let pictures = slate_pictures(files.last()?, (640, 480));
        let newest = pictures.get(pictures.len().checked_sub(5)?..)?;
        newest.windows(2).all(|pair| moves(pair) && stands(pair)).then_some(())
    });
}

/// Parts go on over both seams, and every answer keeps the rules of Low-Latency HLS.
#[test]
fn low_latency_hls_goes_on_with_a_slate() {
    let mut camera = Camera::start("--fps 25 --audio aac");
    let hls = "{segmentDuration: 2s, playlistSegments: 30, lowLatency: true, partDuration: 400ms}";
    let stream = manifest::hls("cam-live", "cam", hls) + &format!("  {FALLBACK}\n");
    let program = Program::start(&(manifest::camera("cam", &camera.url) + &stream));
    program.await_object("streams/cam-live");
    let url = program.url("/live/default/cam-live/index.m3u8");
    let parts = |playlist: &hls::Playlist| playlist.text.matches("#EXT-X-PART:").count();
    let (_, mut before) = wait("parts", || hls::fetch(&url).filter(|(_, playlist)| parts(playlist) >= 5));
    // Asks as players do, for the part that comes next, until so many answers have brought one.
    let mut follow = |more: usize| {
        let end = |playlist: &hls::Playlist| playlist.media_sequence + playlist.segments.len() as u64;
        let (begun, mut came) = (std::time::Instant::now(), 0);
        while came < more {
            assert!(begun.elapsed() < PATIENCE, "{came} parts of {more}\n{}", before.text);
            let next = end(&before);
            let open = before.text.lines().rev().take_while(|line| !line.starts_with("#EXTINF"));
            let part = open.filter(|line| line.starts_with("#EXT-X-PART:")).count();
            let answer = program.get(&format!("/live/default/cam-live/index.m3u8?_HLS_msn={next}&_HLS_part={part}"));
            assert_eq!(answer.status, 200, "{}", answer.text());
            let now = hls::parse(&url, &answer.text());
            hls::assert_clean(&now, Some(&before));
            let newest = |playlist: &hls::Playlist| {
                playlist.text.lines().rfind(|line| line.starts_with("#EXT-X-PART:")).map(str::to_owned)
            };
            came += usize::from(newest(&now) != newest(&before));
            before = now;
        }
    };
    for _ in 0..2 {
        follow(12);
        camera.kill();
        await_reason(&program, "streams/cam-live", "Slate");
        follow(12);
        camera.restart();
        await_reason(&program, "streams/cam-live", "Streaming");
    }
    follow(12);
    let folder = tempfile::tempdir().unwrap();
    let (_, playlist) = hls::fetch(&url).unwrap();
    let files = hls::download_all(&playlist.segments, folder.path());
    files.iter().for_each(|file| judge::assert_decodes(file));
    assert_in_turn(&shown(&files), 2);
}

/// A stream that is asked for while its camera is away: what the camera sent before is known, so that its slate is of the
/// camera's own kind, and the session goes on when the camera is back.
#[test]
fn a_stream_that_starts_while_its_camera_is_away_has_a_slate_of_its_kind() {
    let server = RtmpServer::start(KEY);
    let mut camera = Camera::start("--audio aac");
    let cam = manifest::camera("cam", &camera.url);
    let program = Program::start(&(cam.clone() + &manifest::recording("cam-rec", "cam")));
    program.await_object("recordings/cam-rec");
    camera.kill();
    program.await_ready_condition("cameras/cam", "False", &[]);
    let push =
        manifest::push("cam-push", "cam", &server.url(), "streamKeySecretRef: {name: target, key: key}", FALLBACK);
    let secret = manifest::secret("target", &[("key", KEY)]);
    program.write_manifests(&(cam + &manifest::recording("cam-rec", "cam") + &push + &secret));
    await_reason(&program, "streams/cam-push", "Slate");
    camera.restart();
    await_reason(&program, "streams/cam-push", "Streaming");
    let before = server.bytes();
    wait("more at the server", || (server.bytes() > before + 30_000).then_some(()));
    assert!(program.condition("streams/cam-push", "NotSeamless").is_none());
    let recorded = server.recorded();
    assert_eq!((recorded.len(), server.asked()), (1, (1, 0)), "one session");
    drop(program);
    judge::assert_decodes(&recorded[0]);
    assert!(matches!(shown(&recorded)[..], [Shown::Slate(_), Shown::Camera(_)]));
}

#[test]
fn a_camera_that_was_never_there_has_a_slate_of_its_own_size() {
    let mut camera = Camera::start("");
    camera.kill();
    let mut program = Program::start(&(manifest::camera("cam", &camera.url) + &live(FALLBACK)));
    await_reason(&program, "streams/cam-live", "Slate");
    camera.restart();
    await_reason(&program, "streams/cam-live", "Streaming");
    let url = program.url("/live/default/cam-live/index.m3u8");
    let (_, playlist) = hls::fetch(&url).unwrap();
    hls::assert_clean(&playlist, None);
    let folder = tempfile::tempdir().unwrap();
    let files = hls::download_all(&playlist.segments, folder.path());
    let sizes: Vec<_> = files.iter().map(|file| judge::streams(file.to_str().unwrap())[0]["width"].clone()).collect();
    assert_eq!(sizes, [1280, 320]);
    assert!(matches!(shown(&files)[..], [Shown::Slate(_), Shown::Camera(_)]));
    assert!(program.terminate().success());
    wait("no process is left behind", || program.left_behind().is_empty().then_some(()));
}

/// An image of one's own, of a colour that neither the camera nor the card has. Another one takes its place, while it is shown and
/// without a slate between.
#[test]
fn an_image_is_shown_instead_of_the_card() {
    let mut camera = Camera::start("");
    let fallback = "fallback: {after: 4s, image: {configMapRef: {name: slate, key: slate.png}}}";
    let objects = manifest::camera("cam", &camera.url) + &live(fallback);
    let mut program = Program::prepare(&objects, None, &[]);
    let image = program.data().parent().unwrap().join("slate.png");
    picture::paint(&image, "red");
    program.run();
    program.await_ready();
    program.await_object("streams/cam-live");
    let unavailable = |program: &Program| program.condition("streams/cam-live", "SlateImageUnavailable");
    // The colour of the newest picture that a viewer gets.
    let colour = |program: &Program| {
        let (_, playlist) = hls::fetch(&program.url("/live/default/cam-live/index.m3u8")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        // The newest segment may begin between key frames.
        let newest = playlist.segments.len().saturating_sub(3);
        let files = hls::download_all(&playlist.segments[newest..], folder.path());
        picture::colors(files.last().unwrap()).last().copied()
    };
    let is_red = |[red, green, blue]: &[u8; 3]| *red > 200 && *green < 60 && *blue < 60;
    let is_blue = |[red, green, blue]: &[u8; 3]| *red < 60 && *green < 60 && *blue > 200;
    camera.kill();
    await_reason(&program, "streams/cam-live", "Slate");
    assert_eq!(unavailable(&program), None);
    wait("the red image", || colour(&program).filter(is_red));
    // Another one is taken while the camera is still away. A file beside a manifest is read with it.
    picture::paint(&image, "blue");
    program.write_manifests(&format!("{objects}# again\n"));
    wait("the blue image", || colour(&program).filter(is_blue));
    let (_, playlist) = hls::fetch(&program.url("/live/default/cam-live/index.m3u8")).unwrap();
    hls::assert_clean(&playlist, None);
    assert_eq!(playlist.segments.iter().filter(|segment| segment.discontinuity).count(), 1, "one slate");
    let folder = tempfile::tempdir().unwrap();
    hls::download_all(&playlist.segments, folder.path()).iter().for_each(|file| judge::assert_decodes(file));
    camera.restart();
    await_reason(&program, "streams/cam-live", "Streaming");

    // What is wrong with one is told while nobody needs it, and one that was put right is taken.
    std::fs::write(&image, "no picture").unwrap();
    program.write_manifests(&objects);
    wait("the unreadable image to be told", || unavailable(&program));
    picture::paint(&image, "red");
    program.write_manifests(&format!("{objects}# again\n"));
    wait("the next image to be taken", || unavailable(&program).is_none().then_some(()));
    camera.kill();
    await_reason(&program, "streams/cam-live", "Slate");
    assert_eq!(unavailable(&program), None);
    wait("the red image once more", || colour(&program).filter(is_red));
    camera.restart();
    // Gone, it is said, and there is a card.
    std::fs::remove_file(&image).unwrap();
    program.write_manifests(&objects);
    wait("the image to be missed", || unavailable(&program));
}

#[test]
fn a_camera_whose_pictures_nothing_fits_has_a_slate_in_its_codec() {
    let mut camera = Camera::start("--codec h265");
    let program = Program::start(&(manifest::camera("cam", &camera.url) + &live(FALLBACK)));
    program.await_object("streams/cam-live");
    camera.kill();
    await_reason(&program, "streams/cam-live", "Slate");
    camera.restart();
    await_reason(&program, "streams/cam-live", "Streaming");
    let (_, playlist) = hls::fetch(&program.url("/live/default/cam-live/index.m3u8")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = hls::download_all(&playlist.segments, folder.path());
    for file in &files {
        judge::assert_decodes(file);
        assert_eq!(judge::codecs(file.to_str().unwrap()), ["hevc"]);
    }
    assert_in_turn(&shown(&files), 1);
}

/// Waits until the stream has so many more segments.
fn await_segments(program: &Program, more: u64) {
    let newest = || {
        let (_, playlist) = hls::fetch(&program.url("/live/default/cam-live/index.m3u8"))?;
        Some(playlist.media_sequence + playlist.segments.len() as u64)
    };
    let before = wait("a playlist", newest);
    wait("more segments", || newest().filter(|newest| *newest >= before + more));
}

#[test]
fn a_browser_plays_on_over_slates() {
    let mut camera = Camera::start("--fps 25 --audio aac");
    let program = Program::start(&(manifest::camera("cam", &camera.url) + &live(FALLBACK)));
    program.await_object("streams/cam-live");
    let seen = std::thread::scope(|scope| {
        let browser = scope.spawn(|| browser::look_for("slates in a browser", &program, "cam", 60));
        // Comes and goes for as long as somebody looks.
        while !browser.is_finished() {
            camera.kill();
            await_reason(&program, "streams/cam-live", "Slate");
            await_segments(&program, 3);
            camera.restart();
            await_reason(&program, "streams/cam-live", "Streaming");
            await_segments(&program, 4);
        }
        browser.join().unwrap()
    });
    let Some(seen) = seen else { return };
    let counters = seen["counters"].as_array().unwrap();
    let turns = counters.windows(2).filter(|pair| pair[0].is_null() != pair[1].is_null()).count();
    assert!(turns >= 3, "{seen}");
    let of_camera: Vec<u64> = counters.iter().filter_map(serde_json::Value::as_u64).collect();
    assert!(of_camera.windows(2).all(|pair| pair[0] <= pair[1]), "{of_camera:?}");
}
