//! Pictures that are encoded anew: as HLS in one size and in several, pushed, and as a clip; while the camera is killed and
//! comes back, sends Motion JPEG or H.265, and while the encoder is killed.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::browser::chromium;
use crate::support::camera::Camera;
use crate::support::hls::{self, Playlist};
use crate::support::http;
use crate::support::program::Program;
use crate::support::target::RtmpServer;
use crate::support::{judge, manifest, process, wait};

const FAST: &str = "{codec: H264, preset: UltraFast, threads: 1, keyFrameInterval: 1s}";
const THREE: &str = "{segmentDuration: 2s, renditions: [{name: full, width: 320, height: 240, bitRate: 300k}, \
                     {name: half, height: 160, bitRate: 150k}, {name: small, width: 160, crf: 30}]}";

fn stream(hls: &str, video: &str) -> String {
    manifest::hls("live", "cam", hls) + &format!("  video: {video}\n")
}

fn playlist(program: &Program, path: &str, segments: usize) -> Playlist {
    let url = program.url(&format!("/live/default/live/{path}"));
    wait("segments", || hls::fetch(&url).map(|(_, playlist)| playlist).filter(|it| it.segments.len() >= segments))
}

/// The process that encodes.
fn encoder(program: &mut Program) -> u32 {
    wait("the encoder", || {
        let of =
            |pid: u32| String::from_utf8_lossy(&process::arguments_and_environment(pid)).contains("-filter_complex");
        program.processes().into_iter().find(|pid| process::is_alive(*pid) && of(*pid))
    })
}

/// Downloads what a playlist lists. Returns codec, width and height of it, and the counters in the pictures.
fn look(playlist: &Playlist) -> (String, u64, u64, Vec<u32>) {
    let folder = tempfile::tempdir().unwrap();
    let files = hls::download_all(&playlist.segments, folder.path());
    let mut seen = (String::new(), 0, 0);
    for file in &files {
        judge::assert_decodes(file);
        let video = judge::streams(file.to_str().unwrap()).into_iter().find(|it| it["codec_type"] == "video").unwrap();
        let number = |field: &str| video[field].as_u64().unwrap();
        seen = (video["codec_name"].as_str().unwrap().to_owned(), number("width"), number("height"));
    }
    let counters = if seen.1 == 320 { judge::counters_of(&files) } else { Vec::new() };
    (seen.0, seen.1, seen.2, counters)
}

#[test]
fn hls_is_encoded_and_goes_on_over_cuts_of_the_camera_and_the_end_of_the_encoder() {
    let mut camera = Camera::start("--audio aac --b-frames 2");
    let mut program = Program::start(&(manifest::camera("cam", &camera.url) + &stream("{segmentDuration: 2s}", FAST)));
    program.await_object("streams/live");
    let first = playlist(&program, "index.m3u8", 3);
    hls::assert_clean(&first, None);
    let age = jiff::Timestamp::now().duration_since(first.segments.last().unwrap().time.unwrap());
    assert!((0..15).contains(&age.as_secs()), "the camera's time: {}", first.text);
    let (codec, width, height, counters) = look(&first);
    assert_eq!((codec.as_str(), width, height), ("h264", 320, 240));
    judge::assert_whole(&counters, &camera.stats().skips);
    let folder = tempfile::tempdir().unwrap();
    let files = hls::download_all(&first.segments, folder.path());
    assert_eq!(judge::codecs(files[0].to_str().unwrap()), ["h264", "aac"]);

    let pid = encoder(&mut program);
    camera.kill();
    program.await_ready_condition("streams/live", "False", &[]);
    camera.restart();
    program.await_ready_condition("streams/live", "True", &[]);
    let second = wait("segments behind the cut", || {
        let playlist = playlist(&program, "index.m3u8", 1);
        let at = playlist.segments.iter().rposition(|segment| segment.discontinuity)?;
        (playlist.segments.len() >= at + 2).then_some(playlist)
    });
    hls::assert_clean(&second, Some(&first));
    assert_eq!(encoder(&mut program), pid, "the same encoder");
    let (_, _, _, counters) = look(&second);
    assert!(counters.windows(2).all(|pair| pair[0] < pair[1]), "{counters:?}");

    // The encoder dies: another takes its place, and says so meanwhile.
    process::signal(pid, "KILL");
    let third = wait("segments of the next encoder", || {
        let playlist = playlist(&program, "index.m3u8", 1);
        let newest = playlist.segments.last()?.map.clone();
        (newest != second.segments.last().unwrap().map).then_some(playlist)
    });
    hls::assert_clean(&third, Some(&second));
    assert_ne!(encoder(&mut program), pid);
    assert!(program.terminate().success(), "{}", program.log());
    assert_eq!(program.left_behind(), Vec::<u32>::new());
}

#[test]
fn motion_jpeg_and_another_size_become_hls() {
    let camera = Camera::start("--codec mjpeg --fps 5");
    let video = "{codec: H264, width: 160, framesPerSecond: 10, keyFrameInterval: 1s, encoder: NVENC}";
    let program = Program::start(&(manifest::camera("cam", &camera.url) + &stream("{segmentDuration: 1s}", video)));
    program.await_object("streams/live");
    let playlist = playlist(&program, "index.m3u8", 3);
    hls::assert_clean(&playlist, None);
    let (codec, width, height, _) = look(&playlist);
    assert_eq!((codec.as_str(), width, height), ("h264", 160, 120));
    let multivariant = program.get("/live/default/live/main.m3u8").text();
    assert!(multivariant.contains("RESOLUTION=160x120,FRAME-RATE=10.000"), "{multivariant}");
    // Nobody here has such a GPU; where there is one, there is nothing to say.
    if !Path::new("/dev/nvidiactl").exists() {
        let (status, _, message) = wait("the condition", || program.condition("streams/live", "EncoderFallback"));
        assert!(status == "True" && message.contains("NVENC") && message.contains("software"), "{message}");
    }
}

#[test]
fn renditions_are_decoded_once_and_cut_at_the_same_moments() {
    let camera = Camera::start("--fps 25 --audio aac");
    let mut program = Program::start(&(manifest::camera("cam", &camera.url) + &stream(THREE, FAST)));
    program.await_object("streams/live");
    let names = ["full", "half", "small"];
    let sizes = [(320, 240), (214, 160), (160, 120)];
    let playlists: Vec<Playlist> =
        names.iter().map(|name| playlist(&program, &format!("{name}/index.m3u8"), 3)).collect();
    for (list, size) in playlists.iter().zip(sizes) {
        hls::assert_clean(list, None);
        let (codec, width, height, _) = look(list);
        assert_eq!((codec.as_str(), width, height), ("h264", size.0, size.1));
    }
    // What has the same number shows the same moment.
    let numbered = |list: &Playlist| -> Vec<(u64, String, String)> {
        let numbers = list.media_sequence..;
        let of = |(number, segment): (u64, &hls::Segment)| {
            (number, format!("{:.3}", segment.duration), format!("{:.3}", segment.time.unwrap()))
        };
        numbers.zip(&list.segments).map(of).collect()
    };
    let full = numbered(&playlists[0]);
    for list in &playlists[1..] {
        let others = numbered(list);
        let common: Vec<_> = others.iter().filter(|other| full.iter().any(|one| one.0 == other.0)).collect();
        assert!(common.len() >= 2 && common.iter().all(|other| full.contains(other)), "{full:?} {others:?}");
        assert_eq!(list.discontinuity_sequence, playlists[0].discontinuity_sequence);
    }
    let multivariant = program.get("/live/default/live/index.m3u8").text();
    let violations = camera_operator::media::hls::lint_multivariant::lint_multivariant(&multivariant);
    assert!(violations.is_empty(), "{violations:#?}\n{multivariant}");
    for (name, (width, height)) in names.iter().zip(sizes) {
        let lines: Vec<&str> = multivariant.lines().collect();
        let at = lines.iter().position(|line| *line == format!("{name}/index.m3u8")).unwrap();
        let line = lines[at - 1];
        for attribute in ["BANDWIDTH=", "AVERAGE-BANDWIDTH=", "CODECS=\"avc1.", ",mp4a.40.2\"", "FRAME-RATE=25.000"] {
            assert!(line.contains(attribute), "{attribute} in {line}");
        }
        assert!(line.contains(&format!("RESOLUTION={width}x{height}")), "{line}");
    }
    let unknown = program.get("/live/default/live/huge/index.m3u8");
    assert!(unknown.status == 404 && unknown.text().contains("full, half, small"), "{}", unknown.text());
    let encoders = program
        .processes()
        .into_iter()
        .filter(|pid| String::from_utf8_lossy(&process::arguments_and_environment(*pid)).contains("-filter_complex"));
    assert_eq!(encoders.count(), 1, "decoded once");
    play(&program, sizes);
}

/// Every rendition in a browser; skipped, with a line that says so, where there is none.
fn play(program: &Program, sizes: [(u64, u64); 3]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (playwright, player) =
        (root.join("web/node_modules/playwright-core"), root.join("web/node_modules/hls.js/dist/hls.min.js"));
    let (Some(chromium), true, true) = (chromium(), playwright.exists(), player.exists()) else {
        eprintln!("SKIPPED: renditions in a browser, because something is missing (scripts/install.sh test)");
        return;
    };
    let output = Command::new("node")
        .arg(root.join("tests/support/renditions.mjs"))
        .args([&playwright, &player])
        .args([&program.url(""), "/live/default/live/index.m3u8"])
        .arg(chromium)
        .output()
        .expect("node");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let levels = seen["levels"].as_array().unwrap();
    let mut shown: Vec<(u64, u64)> =
        levels.iter().map(|level| (level["shown"][0].as_u64().unwrap(), level["shown"][1].as_u64().unwrap())).collect();
    shown.sort_unstable();
    shown.reverse();
    assert_eq!(shown, sizes, "{seen}");
}

#[test]
fn h265_is_pushed_as_h264_in_one_session_over_cuts_of_the_camera() {
    let server = RtmpServer::start("mango");
    let mut camera = Camera::start("--codec h265");
    let manifests = manifest::camera("cam", &camera.url)
        + &manifest::recording("cam-rec", "cam")
        + &manifest::push(
            "cam-push",
            "cam",
            &server.url(),
            "streamKeySecretRef: {name: target, key: key}",
            &format!("video: {FAST}"),
        )
        + &manifest::secret("target", &[("key", "mango")]);
    let mut program = Program::start(&manifests);
    program.await_object("streams/cam-push");
    let await_more = || {
        let before = server.bytes();
        wait("more at the server", || (server.bytes() > before + 30_000).then_some(()));
    };
    await_more();
    camera.kill();
    program.await_ready_condition("streams/cam-push", "False", &[]);
    camera.restart();
    program.await_object("streams/cam-push");
    await_more();
    assert!(program.terminate().success(), "{}", program.log());
    let recorded = server.recorded();
    assert_eq!((recorded.len(), server.asked()), (1, (1, 0)), "one session");
    assert_eq!(judge::codecs(recorded[0].to_str().unwrap()), ["h264", "aac"]);
    judge::assert_decodes(&recorded[0]);
    let counters = judge::counters_of(&recorded);
    assert!(counters.len() > 50 && counters.windows(2).all(|pair| pair[0] < pair[1]), "{counters:?}");
}

#[test]
fn the_slate_goes_through_the_same_encoder() {
    let server = RtmpServer::start("mango");
    let mut camera = Camera::start("--codec h265");
    let spec = format!("video: {FAST}\nfallback: {{after: 1s}}");
    let key = "streamKeySecretRef: {name: target, key: key}";
    let manifests = manifest::camera("cam", &camera.url)
        + &manifest::push("cam-push", "cam", &server.url(), key, &spec)
        + &manifest::secret("target", &[("key", "mango")]);
    let mut program = Program::start(&manifests);
    let await_mode = |program: &Program, mode: &str| {
        wait(mode, || (program.object("streams/cam-push")?["status"]["push"]["mode"] == mode).then_some(()));
        let before = server.bytes();
        wait("more at the server", || (server.bytes() > before + 10_000).then_some(()));
    };
    await_mode(&program, "Camera");
    let pid = encoder(&mut program);
    camera.kill();
    await_mode(&program, "Slate");
    camera.restart();
    await_mode(&program, "Camera");
    assert_eq!(encoder(&mut program), pid, "one encoder for both");
    let conditions = program.object("streams/cam-push").unwrap()["status"]["conditions"].to_string();
    assert!(!conditions.contains("NotSeamless"), "{conditions}");
    assert!(program.terminate().success(), "{}", program.log());
    let recorded = server.recorded();
    assert_eq!((recorded.len(), server.asked()), (1, (1, 0)), "one session");
    judge::assert_decodes(&recorded[0]);
    let file = recorded[0].to_str().unwrap();
    let times: Vec<f64> = judge::packets(file, "v").iter().map(|packet| packet.dts).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    let slate = judge::counters(file).iter().filter(|counter| counter.is_none()).count();
    assert!(slate >= 3, "pictures without a counter: {slate}");
}

#[test]
fn a_clip_is_encoded_smaller_than_the_camera_sends_it() {
    let camera = Camera::start("--codec h265 --audio aac");
    let video = "{codec: H264, preset: UltraFast, threads: 1, height: 120}";
    let clip = manifest::clip("clip", "cam", "6s") + &format!("  video: {video}\n");
    let copy = manifest::recording("cam-rec", "cam");
    let program = Program::start(&(manifest::camera("cam", &camera.url) + &clip + &copy));
    wait("the clip", || program.condition("recordings/clip", "Complete").filter(|(status, ..)| status == "True"));
    let answer = http::get(&program.url("/recordings/default/clip/clip.mp4")).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clip.mp4");
    std::fs::write(&file, &answer.body).unwrap();
    judge::assert_decodes(&file);
    let input = file.to_str().unwrap();
    let video = judge::streams(input).into_iter().find(|stream| stream["codec_type"] == "video").unwrap();
    assert_eq!((&video["codec_name"], &video["height"], &video["width"]), (&"h264".into(), &120.into(), &160.into()));
    assert!((judge::duration(input) - 6.0).abs() < 0.5, "{}", judge::duration(input));
    // What is recorded by copy is none of its business.
    let kept = program.media_files("cam-rec");
    assert!(judge::codecs(kept[0].to_str().unwrap()).contains(&"hevc".to_owned()));
}
