//! What cameras send: codecs, frame rates, tracks. Each must be live, recorded whole, and decodable.

use crate::support::camera::Camera;
use crate::support::program::Program;
use crate::support::{hls, judge, manifest, wait};

/// Runs a camera for some pictures; returns the program, ended, and the camera's codecs as recorded.
fn record(options: &str, rtsp: &str, pictures: u64) -> (Program, Camera, Vec<String>) {
    let mut camera = Camera::start(options);
    let manifests = manifest::stalled_after(&manifest::camera_with("cam", &camera.url, rtsp), "6s")
        + &manifest::hls("live", "cam", "")
        + &manifest::recording("rec", "cam");
    let mut program = Program::start(&manifests);
    program.await_object("recordings/rec");
    let url = program.url("/live/default/live/index.m3u8");
    let (_, playlist) =
        wait("a live segment", || hls::fetch(&url).filter(|(_, playlist)| !playlist.segments.is_empty()));
    hls::assert_clean(&playlist, None);
    let folder = tempfile::tempdir().unwrap();
    for file in hls::download_all(&playlist.segments, folder.path()) {
        judge::assert_decodes(&file);
        assert!(!judge::counters_of(&[&file]).is_empty());
    }
    wait("enough pictures", || (camera.stats().frames >= pictures).then_some(()));
    let stats = camera.stats();
    // A camera that sends is not stalled, however slow it is.
    let stall_is_told = |program: &Program| program.log().contains("no new picture for");
    assert!(!stall_is_told(&program), "{}", program.log());
    // A camera that freezes has sent what it has, and what has arrived is recorded when the stall is noticed.
    let sent = camera.freeze();
    program.await_ready_condition("cameras/cam", "False", &["Stalled"]);
    // So these are the words to look for.
    wait("the stall in the log", || stall_is_told(&program).then_some(()));
    assert!(program.terminate().success(), "{}", program.log());
    let files = program.media_files("rec");
    for file in &files {
        judge::assert_decodes(file);
    }
    let (skips, counters) = (camera.stats().skips, judge::counters_of(&files));
    let last = *counters.last().unwrap();
    if camera.reorders() {
        judge::assert_whole_but_before_the_last(&counters, &skips);
        // An encoder that waits for pictures to put between two others keeps the newest to itself.
        assert!(last <= sent);
    } else {
        judge::assert_whole(&counters, &skips);
        // Over UDP the session outlives its connection, so that FFmpeg must take leave, and forgets the picture that it reads.
        let kept_back = u32::from(rtsp.contains("UDP"));
        assert!(last + kept_back >= sent, "recorded until {last}, sent until {sent}");
    }
    assert_eq!(stats.total_connections, 1, "one connection finds out what the camera sends\n{}", program.log());
    assert_eq!(Some(counters[0]), stats.first_counter, "the first picture is recorded");
    let mut codecs: Vec<Vec<String>> = files.iter().map(|file| judge::codecs(file.to_str().unwrap())).collect();
    codecs.dedup();
    assert_eq!(codecs.len(), 1, "the same tracks from the first file on");
    (program, camera, codecs.remove(0))
}

/// Distances of decode times never are zero or negative, and sound keeps with the pictures.
fn assert_times(program: &Program, interval: f64) {
    for file in program.media_files("rec") {
        let pictures = judge::packets(file.to_str().unwrap(), "v");
        assert!(pictures.windows(2).all(|pair| pair[0].dts < pair[1].dts), "{pictures:?}");
        assert!(pictures.iter().all(|packet| packet.pts >= packet.dts), "{pictures:?}");
        assert!(pictures[0].key, "begins with a key frame");
        // Pictures are shown as far apart as they were taken. (Between the first of a connection and the next, GStreamer's
        // RTP-Info and FFmpeg do not agree; where pictures are reordered the last may wait for one that was not sent yet.)
        let mut times: Vec<f64> = pictures.iter().map(|packet| packet.pts).collect();
        times.sort_by(f64::total_cmp);
        let distances: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let end = distances.len().saturating_sub(2);
        let even = distances[2.min(end)..end].iter().all(|distance| (distance - interval).abs() < 0.02);
        assert!(even, "{} {distances:?}", file.display());
    }
}

#[test]
fn h264_with_aac() {
    let (program, _, codecs) = record("--audio aac", "", 40);
    assert_eq!(codecs, ["h264", "aac"]);
    assert_times(&program, 0.1);
}

#[test]
fn h265_with_g711() {
    let (program, _, codecs) = record("--codec h265 --audio mulaw", "", 40);
    assert_eq!(codecs, ["hevc", "aac"], "G.711 becomes AAC");
    let file = program.media_files("rec")[0].clone();
    let video = &judge::streams(file.to_str().unwrap())[0];
    assert_eq!(video["codec_tag_string"], "hvc1", "Apple's players want hvc1");
    assert_times(&program, 0.1);
}

#[test]
fn h265_with_b_frames_and_parameter_sets_in_the_sdp_only() {
    let (program, _, codecs) = record("--codec h265 --b-frames 2 --parameter-sets sdp --audio alaw", "", 40);
    assert_eq!(codecs, ["hevc", "aac"]);
    assert_times(&program, 0.1);
}

#[test]
fn h264_with_b_frames() {
    let (program, _, codecs) = record("--b-frames 2 --audio aac", "", 40);
    assert_eq!(codecs, ["h264", "aac"]);
    assert_times(&program, 0.1);
    let file = program.media_files("rec")[0].clone();
    let pictures = judge::packets(file.to_str().unwrap(), "v");
    assert!(pictures.iter().any(|packet| packet.pts > packet.dts + 0.01), "pictures are reordered: {pictures:?}");
}

#[test]
fn one_picture_a_second() {
    let (program, _, codecs) = record("--fps 1 --key-interval 2 --audio mulaw", "", 8);
    assert_eq!(codecs, ["h264", "aac"]);
    assert_times(&program, 1.0);
}

#[test]
fn opus_over_udp_with_parameter_sets_in_the_sdp_only() {
    let (program, _, codecs) = record("--audio opus --parameter-sets sdp --transport udp", "transport: UDP", 40);
    assert_eq!(codecs, ["h264", "opus"]);
    assert_times(&program, 0.1);
}

#[test]
fn a_metadata_track_is_left_out_and_disturbs_nothing() {
    let (program, _, codecs) = record("--audio mulaw --metadata", "", 60);
    assert_eq!(codecs, ["h264", "aac"]);
    assert_times(&program, 0.1);
}

#[test]
fn sound_announced_and_never_sent() {
    let mut camera = Camera::start("--audio aac --silent-audio");
    let mut program = Program::start(&manifest::patient(&manifest::all_of("cam", &camera.url)));
    program.await_object("recordings/cam-rec");
    wait("five seconds of pictures", || (camera.stats().frames >= 50).then_some(()));
    let stats = camera.stats();
    assert!(program.terminate().success(), "{}", program.log());
    let files = program.media_files("cam-rec");
    let counters = judge::counters_of(&files);
    judge::assert_whole(&counters, &camera.stats().skips);
    assert_eq!(stats.total_connections, 1);
    assert_eq!(Some(counters[0]), stats.first_counter, "no picture waited for the sound");
}

#[test]
fn sound_that_stops_holds_no_picture_back() {
    let mut camera = Camera::start("--audio aac");
    let mut program = Program::start(&manifest::patient(&manifest::all_of("cam", &camera.url)));
    program.await_object("recordings/cam-rec");
    wait("pictures and sound", || (camera.stats().frames >= 20).then_some(()));
    camera.ask(&serde_json::json!({"do": "stopAudio"}));
    let plays = camera.stats().plays;
    // Live goes on while the sound is gone.
    let url = program.url("/live/default/cam-live/index.m3u8");
    let (_, before) = wait("a playlist", || hls::fetch(&url));
    let newest = |playlist: &hls::Playlist| playlist.media_sequence + playlist.segments.len() as u64;
    let (_, after) = wait("three more segments without sound", || {
        hls::fetch(&url).filter(|(_, after)| newest(after) >= newest(&before) + 3)
    });
    hls::assert_clean(&after, Some(&before));
    camera.ask(&serde_json::json!({"do": "startAudio"}));
    let back = camera.stats().frames;
    wait("pictures with sound again", || (camera.stats().frames >= back + 30).then_some(()));
    program.await_object("cameras/cam");
    assert!(program.terminate().success(), "{}", program.log());
    let files = program.media_files("cam-rec");
    for file in &files {
        judge::assert_decodes(file);
    }
    let stats = camera.stats();
    assert_eq!(stats.plays, plays, "sound that stops is no reason to connect again");
    judge::assert_whole(&judge::counters_of(&files), &stats.skips);
}

#[test]
fn a_key_frame_every_two_minutes() {
    let mut camera = Camera::start("--key-interval 120 --audio mulaw");
    let mut program = Program::start(&manifest::patient(&manifest::all_of("cam", &camera.url)));
    program.await_object("recordings/cam-rec");
    let url = program.url("/live/default/cam-live/index.m3u8");
    // Longer than the target duration without a key frame: segments are cut within the group of pictures.
    let (_, playlist) = wait("two live segments without a second key frame", || {
        hls::fetch(&url).filter(|(_, playlist)| playlist.segments.len() >= 2)
    });
    hls::assert_clean(&playlist, None);
    assert!(!playlist.text.contains("EXT-X-INDEPENDENT-SEGMENTS"), "{}", playlist.text);
    wait("thirty seconds", || (camera.stats().frames >= 300).then_some(()));
    program.await_object("cameras/cam");
    let last = camera.freeze();
    program.await_ready_condition("cameras/cam", "False", &["Stalled"]);
    assert!(program.terminate().success(), "{}", program.log());
    let files = program.media_files("cam-rec");
    assert!(files.len() >= 2, "cut by force at twice the length: {files:?}");
    // The later files cannot be decoded without the first; their packets are counted.
    let first = judge::counters_of(&files[..1])[0];
    let recorded: usize = files.iter().map(|file| judge::packets(file.to_str().unwrap(), "v").len()).sum();
    let skips = camera.stats().skips;
    let skipped: u32 = skips.iter().filter(|(from, _)| *from > first).map(|(from, to)| to - from).sum();
    let sent = last - first + 1 - skipped;
    assert_eq!(recorded as u32, sent);
    assert!(recorded >= 250, "{recorded}");
}
