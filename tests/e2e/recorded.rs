//! What was recorded, over HTTP: clips, exports, ranges, playlists; many at once.

use jiff::{SignedDuration, Timestamp};

use crate::support::camera::Camera;
use crate::support::http::{self, Answer};
use crate::support::program::Program;
use crate::support::{hls, judge, manifest, wait};

fn frames(camera: &mut Camera, more: u64) {
    let now = camera.stats().frames;
    wait("more pictures", || (camera.stats().frames >= now + more).then_some(()));
}

/// Waits until a span is written up to its end: what is not yet cannot be exported.
fn await_written(program: &Program, recording: &str, from: Timestamp, to: Timestamp) {
    let path = format!("/api/v1/namespaces/default/recordings/{recording}/coverage?from={from:.3}&to={to:.3}");
    let end: Timestamp = format!("{to:.3}").parse().unwrap();
    wait(&format!("{recording} is written up to {to}"), || {
        let coverage = program.json(&path);
        let time = |value: &serde_json::Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
        let missing_at_its_end = coverage["gaps"].as_array().unwrap().last().is_some_and(|gap| time(&gap["to"]) >= end);
        (time(&coverage["to"]) >= end && !missing_at_its_end).then_some(())
    });
}

/// How many pictures a camera has taken from the first of these to the last, whether or not it could send all of them.
fn taken(counters: &[u32]) -> usize {
    (counters.last().unwrap() - counters[0] + 1) as usize
}

fn range(url: &str, range: &str) -> Answer {
    http::request("GET", url, &[("range", range)]).unwrap()
}

/// A whole file and its ranges are the same bytes (RFC 9110 §14).
fn assert_ranges(url: &str) -> bytes::Bytes {
    let whole = http::get(url).unwrap();
    assert_eq!((whole.status, whole.header("content-type")), (200, "video/mp4"), "{url}: {:?}", whole.headers);
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let length = whole.body.len();
    assert_eq!(whole.header("content-length"), length.to_string());
    let third = length / 3;
    for (asked, from, to) in [
        (format!("bytes=0-{}", third - 1), 0, third),
        (format!("bytes={third}-"), third, length),
        (format!("bytes=-{third}"), length - third, length),
        (format!("bytes={}-{}", length - 1, length + 99), length - 1, length),
    ] {
        let part = range(url, &asked);
        assert_eq!(part.status, 206, "{asked}: {}", part.status);
        assert_eq!(part.header("content-range"), format!("bytes {from}-{}/{length}", to - 1));
        assert_eq!(part.body, whole.body[from..to], "{asked}");
    }
    let beyond = range(url, &format!("bytes={length}-"));
    assert_eq!((beyond.status, beyond.header("content-range").to_owned()), (416, format!("bytes */{length}")));
    let head = http::request("HEAD", url, &[]).unwrap();
    assert_eq!((head.status, head.header("content-length").to_owned()), (200, length.to_string()));
    whole.body
}

#[test]
fn exports_playlists_and_ranges() {
    let mut camera = Camera::start("--audio aac");
    let program = Program::start(&manifest::patient(&manifest::all_of("cam", &camera.url)));
    program.await_object("recordings/cam-rec");
    frames(&mut camera, 260);
    let to = Timestamp::now() - SignedDuration::from_secs(5);
    // More than one file, and not at a key frame.
    let from = to - SignedDuration::from_millis(14_300);
    await_written(&program, "cam-rec", from, to);
    let span = format!("from={from:.3}&to={to:.3}");
    let url = program.url(&format!("/recordings/default/cam-rec/export.mp4?{span}"));
    let bytes = assert_ranges(&url);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export.mp4");
    std::fs::write(&file, &bytes).unwrap();
    judge::assert_decodes(&file);
    let counters = judge::counters_of(&[&file]);
    judge::assert_whole(&counters, &camera.stats().skips);
    let seconds = judge::duration(file.to_str().unwrap());
    assert!((14.0..14.6).contains(&seconds), "{seconds} s");
    assert!((142..=146).contains(&taken(&counters)), "{} pictures", counters.len());
    assert_eq!(judge::codecs(file.to_str().unwrap()), ["h264", "aac"]);

    // The same span as a playlist.
    let url = program.url(&format!("/recordings/default/cam-rec/playlist.m3u8?{span}"));
    let (_, playlist) = wait("the span's playlist", || hls::fetch(&url));
    hls::assert_clean(&playlist, None);
    assert!(playlist.ended, "{}", playlist.text);
    let pieces = hls::download_all(&playlist.segments, folder.path());
    let played = judge::counters_of(&pieces);
    judge::assert_whole(&played, &camera.stats().skips);
    judge::decode(&url, &[]).unwrap();
    // The counter tells the time: the first picture of the export is the one that was asked for, not the key frame before it. When
    // a picture was taken, the program knows from when pictures come; how late they came here is in the playlist's time, too.
    let dated = playlist.segments[0].time.unwrap();
    let asked = i128::from(played[0]) + from.duration_since(dated).as_millis() / 100;
    assert!((i128::from(counters[0]) - asked).abs() <= 2, "begins with {}, asked for {asked}", counters[0]);
    let truly = Timestamp::UNIX_EPOCH + SignedDuration::try_from(judge::taken(played[0], 10)).unwrap();
    let off = dated.duration_since(truly).abs();
    assert!(off <= SignedDuration::from_secs(2), "a picture of {truly} is said to be of {dated}");

    // And the hour that it is in.
    let hour = to.strftime("%Y-%m-%d/%H").to_string();
    let url = program.url(&format!("/recordings/default/cam-rec/{hour}/playlist.m3u8"));
    let (answer, playlist) = wait("the hour's playlist", || hls::fetch(&url));
    hls::assert_clean(&playlist, None);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    judge::decode(&url, &["-t", "5"]).unwrap();

    // What cannot be answered is refused with a sentence.
    for (path, status) in [
        ("/recordings/default/cam-rec/export.mp4?from=yesterday&to=now".to_owned(), 400),
        (format!("/recordings/default/cam-rec/export.mp4?from={to:.3}&to={from:.3}"), 400),
        ("/recordings/default/cam-rec/export.mp4?from=2001-01-01T00:00:00Z&to=2001-01-01T01:00:00Z".to_owned(), 404),
        (format!("/recordings/default/missing/export.mp4?{span}"), 404),
        ("/recordings/default/cam-rec/2001-01-01/00/playlist.m3u8".to_owned(), 404),
        ("/recordings/default/..%2f..%2fetc/2001-01-01/00/playlist.m3u8".to_owned(), 404),
    ] {
        let answer = program.get(&path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        assert!(answer.json()["title"].is_string() && answer.json()["type"].is_string(), "{path}: {}", answer.text());
    }
}

#[test]
fn twenty_clips_and_twenty_exports_at_once() {
    let mut camera = Camera::start("--audio aac");
    let base = manifest::patient(&manifest::camera("cam", &camera.url)) + &manifest::recording("rec", "cam");
    let program = Program::start(&base);
    program.await_object("recordings/rec");
    frames(&mut camera, 80);
    let clips: String = (0..20).map(|number| manifest::clip(&format!("clip-{number}"), "cam", "6s")).collect();
    program.write_manifests(&(base + &clips));
    for number in 0..20 {
        // The first may have ended when the last is looked at.
        let reasons = ["Recording", "DeadlineReached"];
        program.await_ready_condition(&format!("recordings/clip-{number}"), "True", &reasons);
    }
    // While the clips are being recorded, each is read as far as it goes, and so are as many spans.
    let live = http::runtime().block_on(async {
        let requests = (0..20).map(|number| {
            let url = program.url(&format!("/recordings/default/clip-{number}/clip.mp4"));
            async move { http::request_async("GET", &url, &[]).await.unwrap() }
        });
        futures::future::join_all(requests).await
    });
    let to = Timestamp::now() - SignedDuration::from_secs(3);
    await_written(&program, "rec", to - SignedDuration::from_secs(2), to);
    let exports = http::runtime().block_on(async {
        let requests = (0..20).map(|number| {
            let from = to - SignedDuration::from_millis(2000 + 100 * number);
            let url = program.url(&format!("/recordings/default/rec/export.mp4?from={from:.3}&to={to:.3}"));
            async move { http::request_async("GET", &url, &[]).await.unwrap() }
        });
        futures::future::join_all(requests).await
    });
    let folder = tempfile::tempdir().unwrap();
    for (number, clip) in live.iter().enumerate() {
        assert!(clip.status == 200 || clip.status == 404, "clip {number}: {}", clip.text());
    }
    for (number, export) in exports.iter().enumerate() {
        assert_eq!(export.status, 200, "{}", export.text());
        let file = folder.path().join(format!("{number}.mp4"));
        std::fs::write(&file, &export.body).unwrap();
        judge::assert_decodes(&file);
        let counters = judge::counters_of(&[&file]);
        judge::assert_whole(&counters, &camera.stats().skips);
        assert!(taken(&counters).abs_diff(20 + number) <= 2, "{number}: {} pictures", counters.len());
    }
    for number in 0..20 {
        let path = format!("recordings/clip-{number}");
        wait("a clip is complete", || program.condition(&path, "Complete").filter(|(status, ..)| status == "True"));
        let bytes = assert_ranges(&program.url(&format!("/recordings/default/clip-{number}/clip.mp4")));
        let file = folder.path().join("clip.mp4");
        std::fs::write(&file, bytes).unwrap();
        judge::assert_decodes(&file);
        judge::assert_whole(&judge::counters_of(&[&file]), &camera.stats().skips);
        let seconds = judge::duration(file.to_str().unwrap());
        assert!((5.4..6.6).contains(&seconds), "{seconds} s");
    }
    let stats = camera.stats();
    assert_eq!((stats.connections, stats.total_connections), (1, 1));
}

#[test]
fn a_clip_survives_a_cut_and_ends_when_asked() {
    let mut camera = Camera::start("--audio aac");
    let manifests = manifest::patient(&manifest::camera("cam", &camera.url)) + &manifest::clip("match", "cam", "10m");
    let program = Program::start(&manifests);
    program.await_object("recordings/match");
    frames(&mut camera, 40);
    camera.kill();
    program.await_ready_condition("cameras/cam", "False", &[]);
    camera.restart();
    program.await_object("cameras/cam");
    program.await_object("recordings/match");
    frames(&mut camera, 40);
    let object = program.object("recordings/match").unwrap();
    assert_eq!(object["status"]["progressPercent"], 0, "{object:#}");
    assert_eq!(program.post("/api/v1/namespaces/default/recordings/match/stop").status, 200);
    let complete = wait("the clip is complete", || {
        program.condition("recordings/match", "Complete").filter(|(status, ..)| status == "True")
    });
    assert_eq!(complete.1, "Stopped");
    let bytes = assert_ranges(&program.url("/recordings/default/match/clip.mp4"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clip.mp4");
    std::fs::write(&file, bytes).unwrap();
    judge::assert_decodes(&file);
    let counters = judge::counters_of(&[&file]);
    assert_eq!(judge::holes(&counters, &camera.stats().skips).len(), 1);
    // The hole stretches the last picture before it: the file is as long as the time that it covers.
    let (from, to) = (counters[0], *counters.last().unwrap());
    let (seconds, covers) = (judge::duration(file.to_str().unwrap()), f64::from(to - from + 1) / 10.0);
    assert!((seconds - covers).abs() < 1.0, "{seconds} s for {covers} s");
    // Seeks at once: the index is in the file, whole, for every picture.
    let format = judge::packets(file.to_str().unwrap(), "v");
    assert_eq!(format.len(), counters.len());
}

#[test]
fn a_clip_plays_while_it_is_recorded_and_seeks_the_moment_it_ends() {
    let mut camera = Camera::start("--audio aac");
    let manifests = manifest::patient(&manifest::camera("cam", &camera.url)) + &manifest::clip("match", "cam", "20s");
    let program = Program::start(&manifests);
    program.await_object("recordings/match");
    let url = program.url("/recordings/default/match/clip.mp4");
    let folder = tempfile::tempdir().unwrap();
    let complete = || program.condition("recordings/match", "Complete").is_some_and(|(status, ..)| status == "True");
    let mut seen: Vec<usize> = Vec::new();
    while !complete() {
        let Ok(answer) = http::get(&url) else { continue };
        if answer.status == 404 {
            continue;
        }
        // Whatever the moment, what is there is whole: it decodes without a word.
        assert_eq!((answer.status, answer.header("accept-ranges")), (200, "bytes"));
        let length = answer.body.len();
        assert_eq!(answer.header("content-length"), length.to_string());
        if seen.last() == Some(&length) {
            continue;
        }
        let file = folder.path().join("so-far.mp4");
        std::fs::write(&file, &answer.body).unwrap();
        let pictures = judge::packets(file.to_str().unwrap(), "v").len();
        if pictures > 0 {
            judge::assert_decodes(&file);
            judge::assert_whole(&judge::counters_of(&[&file]), &camera.stats().skips);
        }
        // What was there stays there: a player that goes on in ranges gets the same bytes.
        let again = range(&url, &format!("bytes=100-{}", length - 1));
        assert_eq!((again.status, again.body.len()), (206, length - 100));
        if !complete() {
            assert_eq!(again.body, answer.body[100..], "{length} bytes");
            let stale = http::request("GET", &url, &[("range", "bytes=0-9"), ("if-range", "\"another\"")]).unwrap();
            assert_eq!(stale.status, 200, "a range of another state is answered with all there is");
        }
        seen.push(length);
    }
    assert!(seen.len() >= 3 && seen.is_sorted(), "it grows while it is read: {seen:?}");
    // At once: by its index, over HTTP, without reading it all.
    let seconds = judge::duration(&url);
    assert!((19.8..20.2).contains(&seconds), "{seconds} s");
    let tail = judge::decode(&url, &["-frames:v", "1"]);
    assert_eq!(tail, Ok(()));
    let whole = assert_ranges(&url);
    let file = folder.path().join("clip.mp4");
    std::fs::write(&file, whole).unwrap();
    judge::assert_decodes(&file);
    let counters = judge::counters_of(&[&file]);
    judge::assert_whole(&counters, &camera.stats().skips);
    let sought = judge::first_picture_at(&url, 15.0);
    let expected = counters[0] + 150;
    assert!(sought.is_some_and(|sought| sought.abs_diff(expected) <= 2), "{sought:?} is not {expected}");
}

#[test]
fn recordings_of_every_codec_are_exported() {
    let mut cameras =
        [("hevc", Camera::start("--codec h265 --audio aac")), ("mjpeg", Camera::start("--codec mjpeg --audio mulaw"))];
    let objects: String = cameras
        .iter()
        .map(|(name, camera)| {
            manifest::camera(&format!("cam-{name}"), &camera.url)
                + &manifest::recording(&format!("rec-{name}"), &format!("cam-{name}"))
        })
        .collect();
    let program = Program::start(&manifest::patient(&objects));
    for (name, camera) in &mut cameras {
        program.await_object(&format!("recordings/rec-{name}"));
        frames(camera, 160);
    }
    let to = Timestamp::now() - SignedDuration::from_secs(4);
    // Over the end of a file.
    let from = to - SignedDuration::from_millis(10_300);
    let folder = tempfile::tempdir().unwrap();
    for (name, camera) in &mut cameras {
        await_written(&program, &format!("rec-{name}"), from, to);
        let path = format!("/recordings/default/rec-{name}/export.mp4?from={from:.3}&to={to:.3}");
        let bytes = assert_ranges(&program.url(&path));
        let file = folder.path().join(format!("{name}.mp4"));
        std::fs::write(&file, &bytes).unwrap();
        judge::assert_decodes(&file);
        let text = file.to_str().unwrap();
        assert_eq!(judge::codecs(text), [*name, "aac"]);
        let counters = judge::counters_of(&[&file]);
        judge::assert_whole(&counters, &camera.stats().skips);
        assert!(taken(&counters).abs_diff(103) <= 3, "{name}: {} pictures", counters.len());
        let seconds = judge::duration(text);
        assert!((10.1..10.6).contains(&seconds), "{name}: {seconds} s");
        if *name == "hevc" {
            assert_eq!(judge::streams(text)[0]["codec_tag_string"], "hvc1", "Apple's players want hvc1");
        }
    }
}
