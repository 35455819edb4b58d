//! Pictures that are encoded anew: as HLS in one size and in several, pushed, and as a clip; while the camera is killed and
//! comes back, sends Motion JPEG or H.265, and while the encoder is killed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::browser::chromium;
use crate::slate::before_the_sound;
use crate::support::camera::Camera;
use crate::support::hls::{self, Playlist};
use crate::support::http;
use crate::support::program::Program;
use crate::support::target::RtmpServer;
use crate::support::{PATIENCE, judge, manifest, poll, process, wait};

const FAST: &str = "{codec: H264, preset: UltraFast, threads: 1, keyFrameInterval: 1s}";
const THREE: &str = "{segmentDuration: 2s, renditions: [{name: full, width: 320, height: 240, bitRate: 300k}, \
                     {name: half, height: 160, bitRate: 150k}, {name: small, width: 160, crf: 30}]}";

fn stream(hls: &str, video: &str) -> String {
    manifest::hls("live", "cam", hls) + &format!("  video: {video}\n")
}

/// A camera that is killed at most, which is noticed at once; that a busy machine keeps it from sending is no reason to leave it.
fn patient(camera: &Camera) -> String {
    manifest::patient(&manifest::camera("cam", &camera.url))
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
    let mut program = Program::start(&(patient(&camera) + &stream("{segmentDuration: 2s}", FAST)));
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
    assert!(files.len() > before_the_sound(&files), "{}", first.text);

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
    wait("no process is left behind", || program.left_behind().is_empty().then_some(()));
}

#[test]
fn motion_jpeg_and_another_size_become_hls() {
    let camera = Camera::start("--codec mjpeg --fps 5");
    let video = "{codec: H264, width: 160, framesPerSecond: 10, keyFrameInterval: 1s, encoder: NVENC}";
    let program = Program::start(&(patient(&camera) + &stream("{segmentDuration: 1s}", video)));
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
    let mut program = Program::start(&(patient(&camera) + &stream(THREE, FAST)));
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
    let manifests = patient(&camera)
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
    let manifests = patient(&camera)
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

/// The sound of a stream as a player has it: codec and samples a second, bits a second, and the counter in the picture that is
/// shown when the sound stops.
fn sound(playlist: &Playlist) -> (String, String, f64, u32) {
    hls::assert_clean(playlist, None);
    let folder = tempfile::tempdir().unwrap();
    let files = hls::download_all(&playlist.segments, folder.path());
    files.iter().for_each(|file| judge::assert_decodes(file));
    let at = before_the_sound(&files);
    assert_eq!(files.len(), at + 1, "{}", playlist.text);
    let input = files[at].to_str().unwrap();
    let track = judge::streams(input).into_iter().find(|it| it["codec_type"] == "audio").unwrap();
    let text = |field: &str| track[field].as_str().unwrap_or_default().to_owned();
    let packets = judge::packets(input, "a");
    let begin = packets[0].pts.min(judge::packets(input, "v")[0].pts);
    // By copy there is nothing while the camera sends nothing; what is encoded has silence there.
    let hole = packets.windows(2).find(|pair| pair[1].pts - pair[0].pts > 0.5);
    let silent = hole.map_or_else(|| judge::silences(input)[0], |pair| pair[0].pts + pair[0].duration - begin);
    let bits = judge::bytes(input, "a") as f64 * 8.0 / (packets.last().unwrap().pts - packets[0].pts);
    let counter = judge::first_picture_at(input, silent).expect("a picture");
    (text("codec_name"), text("sample_rate"), bits, counter)
}

#[test]
fn sound_of_hls_is_encoded_and_stays_with_its_pictures() {
    let mut camera = Camera::start("--fps 25 --audio aac");
    let hls = "{segmentDuration: 1s, playlistSegments: 30}";
    let named = |name: &str, more: &str| manifest::hls(name, "cam", hls) + more;
    let program = Program::start(
        &(patient(&camera)
            + &named("copied", "")
            + &named("sound", "  audio: {codec: AAC, bitRate: 40k}\n")
            + &named("both", &format!("  video: {FAST}\n  audio: {{codec: AAC, bitRate: 24k}}\n"))),
    );
    let names = ["copied", "sound", "both"];
    for name in names {
        program.await_object(&format!("streams/{name}"));
    }
    let fetch = |name: &str| hls::fetch(&program.url(&format!("/live/default/{name}/index.m3u8"))).map(|it| it.1);
    let await_more = |count: usize| {
        let now = names.map(|name| fetch(name).map_or(0, |it| it.segments.len()));
        for (name, before) in names.iter().zip(now) {
            wait("more segments", || fetch(name).filter(|it| it.segments.len() >= before + count));
        }
    };
    await_more(4);
    camera.ask(&serde_json::json!({"do": "stopAudio"}));
    await_more(2);
    camera.ask(&serde_json::json!({"do": "startAudio"}));
    await_more(4);
    let [copied, sound, both] = names.map(|name| sound(&fetch(name).unwrap()));
    assert_eq!((copied.0.as_str(), copied.1.as_str()), ("aac", "48000"));
    for (other, wanted) in [(&sound, 40_000.0), (&both, 24_000.0)] {
        assert_eq!((other.0.as_str(), other.1.as_str()), ("aac", "48000"));
        assert!((0.4..1.15).contains(&(other.2 / wanted)), "{} bits a second instead of {wanted}", other.2);
        // Two pictures are 80 ms, and an access unit is 21 ms.
        assert!(other.3.abs_diff(copied.3) <= 2, "{other:?} beside {copied:?}");
    }
    let silenced = program.object("streams/sound").unwrap()["status"]["conditions"].to_string();
    assert!(!silenced.contains("AudioNotEncoded"), "{silenced}");
}

#[test]
fn encoded_sound_goes_on_over_a_slate() {
    let mut camera = Camera::start("--fps 25 --audio aac");
    let stream = manifest::hls("live", "cam", "{segmentDuration: 1s, playlistSegments: 30}")
        + "  audio: {codec: AAC, bitRate: 40k}\n  fallback: {after: 2s}\n";
    let program = Program::start(&(patient(&camera) + &stream));
    program.await_object("streams/live");
    playlist(&program, "index.m3u8", 3);
    camera.kill();
    let showing =
        |mode: &str| program.object("streams/live").is_some_and(|it| it["status"]["fallback"]["mode"] == mode);
    wait("the slate", || showing("Slate").then_some(()));
    let slate = playlist(&program, "index.m3u8", 3).segments.len();
    playlist(&program, "index.m3u8", slate + 2);
    camera.restart();
    wait("the camera", || showing("Camera").then_some(()));
    let back = playlist(&program, "index.m3u8", 3).segments.len();
    let whole = playlist(&program, "index.m3u8", back + 3);
    hls::assert_clean(&whole, None);
    let folder = tempfile::tempdir().unwrap();
    let files = hls::download_all(&whole.segments, folder.path());
    files.iter().for_each(|file| judge::assert_decodes(file));
    let at = before_the_sound(&files);
    assert!(files.len() >= at + 3, "camera, slate, camera: {}", whole.text);
    for file in &files[at..] {
        let input = file.to_str().unwrap();
        let (pictures, sound) = (judge::packets(input, "v"), judge::packets(input, "a"));
        let ends = |packets: &[judge::Packet]| packets.last().map_or(0.0, |last| last.pts + last.duration);
        assert!(
            // A camera that is killed has sent more of the one or of the other.
            (pictures[0].pts - sound[0].pts).abs() < 0.8 && (ends(&pictures) - ends(&sound)).abs() < 0.8,
            "{input}"
        );
    }
}

#[test]
fn a_clip_is_encoded_smaller_than_the_camera_sends_it() {
    let camera = Camera::start("--codec h265 --audio aac");
    let video = "{codec: H264, preset: UltraFast, threads: 1, height: 120}";
    let clip = manifest::clip("clip", "cam", "6s") + &format!("  video: {video}\n");
    let copy = manifest::recording("cam-rec", "cam");
    let program = Program::start(&(patient(&camera) + &clip + &copy));
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

/// An encoder that stands still for longer than pictures are kept: some are left out, and somebody is told so, until it keeps up
/// again.
#[test]
fn an_encoder_that_is_too_slow_says_so_until_it_keeps_up() {
    // What waits in a pipe is a fraction of a second of this.
    let mut camera = Camera::start("--fps 25 --width 640 --height 480 --noise --bit-rate 3000 --audio aac");
    let buffer = "\n  buffer: {duration: 2s}";
    let cam = patient(&camera).replacen("\nspec:", &format!("\nspec:{buffer}"), 1);
    let mut program = Program::start(&(cam + &stream("{segmentDuration: 2s}", FAST)));
    program.await_object("streams/live");
    let pid = encoder(&mut program);
    let before = program.metric("transcode_dropped_frames_total");
    // Never for so long that it hangs; then it is let go, and has the rest of the pictures to catch up with.
    process::signal(pid, "STOP");
    std::thread::sleep(Duration::from_secs(5));
    process::signal(pid, "CONT");
    let (status, _, message) = wait("the condition", || program.condition("streams/live", "EncoderTooSlow"));
    assert!(status == "True" && message.contains("preset"), "{message}");
    let count = |name: &str| program.metric(&format!("transcode_{name}"));
    assert!(count("dropped_frames_total") > before);
    // Whatever else this machine does, it keeps up with this.
    camera.slow(5);
    assert!(count("frames_total") > 25 && count("media_seconds_total") >= 1);
    assert_eq!((count("encoder"), count("starts_total")), (1, 1));
    let metrics = program.get("/metrics").text();
    assert!(metrics.contains(r#"encoder="libx264""#), "{metrics}");
    // It is said for a minute after the last loss.
    let gone = poll(2 * PATIENCE, || program.condition("streams/live", "EncoderTooSlow").is_none().then_some(()));
    assert!(gone.is_some(), "the condition stays");
    assert_eq!(encoder(&mut program), pid, "the same encoder");
}
