//! From a camera to a picture that moves: HLS, Motion JPEG, snapshots, the objects and what is said of them.

use crate::support::camera::Camera;
use crate::support::program::Program;
use crate::support::{hls, judge, manifest, wait};

#[test]
fn camera_to_hls() {
    let mut camera = Camera::start("--audio aac");
    let program = Program::start(&manifest::patient(&manifest::all_of("cam", &camera.url)));
    program.await_object("streams/cam-live");
    let url = program.url("/live/default/cam-live/index.m3u8");
    let (answer, first) =
        wait("three segments", || hls::fetch(&url).filter(|(_, playlist)| playlist.segments.len() >= 3));
    hls::assert_clean(&first, None);
    assert_eq!(answer.header("content-type"), "application/vnd.apple.mpegurl");
    assert!(
        answer.header("cache-control").contains("no-cache") || answer.header("cache-control").contains("no-store"),
        "{answer:?}"
    );
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let segment = crate::support::http::get(&first.segments[0].url).unwrap();
    assert!(segment.header("cache-control").contains("max-age"), "{segment:?}");
    assert_eq!(segment.header("access-control-allow-origin"), "*");

    let newest = first.segments.last().unwrap().url.clone();
    let second = wait("a new segment", || {
        let (_, playlist) = hls::fetch(&url)?;
        (playlist.segments.last()?.url != newest).then_some(playlist)
    });
    hls::assert_clean(&second, Some(&first));

    let folder = tempfile::tempdir().unwrap();
    let files = hls::download_all(&second.segments, folder.path());
    assert_eq!(files.len(), 1, "one piece without a discontinuity\n{}", second.text);
    judge::assert_decodes(&files[0]);
    judge::assert_whole(&judge::counters_of(&files), &camera.stats().skips);
    assert_eq!(judge::codecs(files[0].to_str().unwrap()), ["h264", "aac"]);
    judge::decode(&url, &["-t", "3"]).unwrap();

    let camera_object = program.object("cameras/cam").unwrap();
    let media = &camera_object["status"]["media"];
    assert_eq!(
        (&media["videoCodec"], &media["width"], &media["height"]),
        (&"H264".into(), &320.into(), &240.into()),
        "{camera_object:#}"
    );
    assert_eq!(media["audioCodec"], "AAC");
    let (status, reason, _) = program.condition("cameras/cam", "Ready").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Streaming"));
    assert_eq!(camera.stats().connections, 1);
}

#[test]
fn low_latency_hls_by_the_book() {
    let camera = Camera::start("--fps 25 --audio aac");
    let stream = manifest::hls(
        "live",
        "cam",
        "{segmentDuration: 2s, playlistSegments: 6, lowLatency: true, partDuration: 400ms}",
    );
    let program = Program::start(&manifest::patient(&(manifest::camera("cam", &camera.url) + &stream)));
    let url = program.url("/live/default/live/index.m3u8");
    let (_, playlist) = wait("two segments and parts", || {
        hls::fetch(&url).filter(|(_, playlist)| playlist.segments.len() >= 2 && playlist.text.contains("#EXT-X-PART:"))
    });
    hls::assert_clean(&playlist, None);
    for tag in ["CAN-BLOCK-RELOAD=YES", "PART-HOLD-BACK=", "#EXT-X-PART-INF:", "#EXT-X-PRELOAD-HINT:"] {
        assert!(playlist.text.contains(tag), "no {tag}\n{}", playlist.text);
    }
    // A blocking reload is answered when its part is there, and not before.
    let next = playlist.media_sequence + playlist.segments.len() as u64 + 1;
    let answer = program.get(&format!("/live/default/live/index.m3u8?_HLS_msn={next}&_HLS_part=0"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let later = hls::parse(&url, &answer.text());
    assert!(later.media_sequence + later.segments.len() as u64 >= next, "answered too early\n{}", later.text);
    hls::assert_clean(&later, Some(&playlist));
    // Far in the future: refused at once (RFC 8216bis §6.2.5.2).
    assert_eq!(program.get(&format!("/live/default/live/index.m3u8?_HLS_msn={}", next + 1000)).status, 400);
    // The part that the playlist announces comes as soon as it is made.
    let hint = later.text.lines().rev().find(|line| line.starts_with("#EXT-X-PRELOAD-HINT:")).unwrap();
    let uri = hint.split_once("URI=\"").unwrap().1.split_once('"').unwrap().0;
    let part = crate::support::http::get(url::Url::parse(&url).unwrap().join(uri).unwrap().as_str()).unwrap();
    assert!(part.status == 200 && !part.body.is_empty(), "{part:?}");
}

#[test]
fn motion_jpeg_and_snapshots_do_not_disturb_the_camera() {
    let mut camera = Camera::start("");
    let program = Program::start(&manifest::patient(
        &(manifest::camera("cam", &camera.url) + &manifest::mjpeg("pictures", "cam")),
    ));
    program.await_object("cameras/cam");
    let snapshot = wait("a snapshot", || {
        Some(program.get("/api/v1/namespaces/default/cameras/cam/snapshot.jpg")).filter(|answer| answer.status == 200)
    });
    assert_eq!(snapshot.header("content-type"), "image/jpeg");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snapshot.jpg");
    std::fs::write(&file, &snapshot.body).unwrap();
    let shown = judge::counters_of(&[&file])[0];
    let sent = camera.stats().last_counter.unwrap();
    assert!(sent.wrapping_sub(shown) < 100, "the snapshot shows {shown}, the camera is at {sent}");

    let url = program.url("/live/default/pictures/stream.mjpeg");
    let pictures = folder.path().join("pictures.mkv");
    let watchers: Vec<_> = (0..3)
        .map(|watcher| {
            let output = if watcher == 0 { pictures.clone() } else { folder.path().join(format!("{watcher}.mkv")) };
            let mut command = std::process::Command::new("ffmpeg");
            command
                .args(["-nostdin", "-v", "error", "-y", "-f", "mpjpeg", "-i", &url, "-frames:v", "8", "-c", "copy"])
                .arg(output);
            command.spawn().unwrap()
        })
        .collect();
    for mut watcher in watchers {
        assert!(watcher.wait().unwrap().success());
    }
    let counters = judge::counters_of(&[&pictures]);
    assert!(counters.len() == 8 && counters.windows(2).all(|pair| pair[0] < pair[1]), "{counters:?}");
    let last = wait("snapshot of the stream", || {
        Some(program.get("/live/default/pictures/snapshot.jpg")).filter(|answer| answer.status == 200)
    });
    assert_eq!(last.header("content-type"), "image/jpeg");
    let stats = camera.stats();
    assert_eq!((stats.connections, stats.total_connections), (1, 1), "one connection, whatever reads it");
}

#[test]
fn changed_manifests_restart_only_what_changed() {
    let mut first = Camera::start("");
    let mut second = Camera::start("");
    let one = manifest::patient(&manifest::all_of("one", &first.url));
    let program = Program::start(&(one.clone() + &manifest::all_of("two", &second.url)));
    program.await_object("recordings/one-rec");
    program.await_object("recordings/two-rec");
    let changed =
        one + &manifest::camera_with("two", &second.url, "transport: UDP") + &manifest::recording("two-rec", "two");
    program.write_manifests(&changed);
    wait("the removed stream is gone", || program.object("streams/two-live").is_none().then_some(()));
    wait("the changed camera was connected again", || (second.stats().total_connections >= 2).then_some(()));
    program.await_object("cameras/two");
    let stats = first.stats();
    assert_eq!((stats.connections, stats.total_connections), (1, 1), "the unchanged camera kept its connection");
    // Stop and start by HTTP.
    assert_eq!(program.post("/api/v1/namespaces/default/cameras/two/stop").status, 200);
    wait("no connection while stopped", || (second.stats().connections == 0).then_some(()));
    assert_eq!(program.post("/api/v1/namespaces/default/cameras/two/start").status, 200);
    program.await_object("cameras/two");
    assert_eq!(program.get("/live/default/two-live/index.m3u8").status, 404);
}

#[test]
fn stops_cleanly_and_leaves_nothing_behind() {
    let mut camera = Camera::start("--audio mulaw");
    let mut program = Program::start(&manifest::all_of("cam", &camera.url));
    program.await_object("recordings/cam-rec");
    let status = program.terminate();
    assert!(status.success(), "{status}\n{}", program.log());
    assert!(program.left_behind().is_empty(), "processes left behind: {:?}", program.left_behind());
    wait("the camera is let go", || (camera.stats().connections == 0).then_some(()));
    for file in program.media_files("cam-rec") {
        judge::assert_decodes(&file);
    }
}
