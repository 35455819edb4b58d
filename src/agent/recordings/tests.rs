//! Recordings over HTTP, with real video from FFmpeg in a real folder, judged by ffprobe and FFmpeg.

use std::path::Path as FilePath;
use std::process::Command;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use tower::ServiceExt as _;

use super::routes;
use crate::agent::registry::Registry;
use crate::agent::retention::Retention;
use crate::agent::unit::{Board, LogBuffer, NoSecrets, UnitContext};
use crate::archive::cut::{Input, Rules};
use crate::archive::description::{Claim, RecordingKind};
use crate::archive::index::RecordingPath;
use crate::archive::lock::Holder;
use crate::archive::{Archive, Writer};
use crate::media::fmp4::reader::{Event, Handler, Limits, Reader};
use crate::media::frame::{Codec, Configuration, Frame, FrameKind, RunId, TrackConfiguration, TrackKind, UtcMicros};
use crate::plan::unit::{
    ArchivePlan, DeclaredRecording, ObjectKey, ObjectKind, ObjectRef, RetentionRules, RetentionSchedule,
};

mod large;

const SECOND: i64 = 1_000_000;
/// Both tracks of a run are shifted so far, so that reordered pictures have room.
const SHIFT: i64 = 1;

/// What a camera sends: pictures of 25 a second with B-frames, a key frame a second, and sound.
struct Camera {
    configuration: Arc<Configuration>,
    frames: Vec<Frame>,
}

/// `seconds` of `size`, encoded by FFmpeg.
fn film(folder: &FilePath, size: &str, seconds: u32) -> Camera {
    let path = folder.join(format!("{size}.mp4"));
    let video = format!("testsrc2=size={size}:rate=25:duration={seconds}");
    let sound = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &sound])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac"])
        .args(["-movflags", "+frag_keyframe+empty_moov+default_base_moof"])
        .arg(&path)
        .status()
        .expect("ffmpeg");
    assert!(status.success());
    let mut reader = Reader::new(Limits::default());
    reader.feed(&std::fs::read(&path).expect("film"));
    let Some(Event::Tracks(tracks)) = reader.next_event().expect("tracks") else { panic!("no tracks") };
    let configuration = |handler| {
        let track = tracks.iter().find(|track| track.handler == handler).expect("track");
        let (width, height) = size.split_once('x').expect("size");
        let video = handler == Handler::Video;
        Arc::new(TrackConfiguration {
            codec: if video { Codec::H264 } else { Codec::Aac },
            timescale: track.timescale,
            sample_entry: track.sample_entry.clone(),
            codec_string: if video { "avc1.42c00d".into() } else { "mp4a.40.2".into() },
            width: if video { width.parse().expect("width") } else { 0 },
            height: if video { height.parse().expect("height") } else { 0 },
            sample_rate: if video { 0 } else { 48_000 },
            channels: u16::from(!video),
        })
    };
    let configuration = Configuration {
        generation: 0,
        video: configuration(Handler::Video),
        audio: Some(configuration(Handler::Audio)),
    };
    let mut frames = Vec::new();
    while let Some(Event::Sample(sample)) = reader.next_event().expect("sample") {
        let track = tracks.iter().find(|track| track.id == sample.track).expect("track");
        let video = track.handler == Handler::Video;
        frames.push(Frame {
            run: RunId(0),
            sequence: 0,
            track: if video { TrackKind::Video } else { TrackKind::Audio },
            decode_time: sample.decode_time as i64 + track.edit_offset + SHIFT * i64::from(track.timescale),
            composition_offset: sample.composition_offset,
            duration: sample.duration,
            kind: if sample.sync { FrameKind::Key } else { FrameKind::Delta },
            generation: 0,
            utc: UtcMicros(0),
            payload: sample.payload,
        });
    }
    let configuration = Arc::new(configuration);
    let seconds = |frame: &Frame| {
        let timescale = configuration.track(frame.track).expect("track").timescale;
        frame.decode_time as f64 / f64::from(timescale)
    };
    frames.sort_by(|one, other| seconds(one).total_cmp(&seconds(other)));
    Camera { configuration, frames }
}

impl Camera {
    /// Records the whole film as a run whose media time 0 is at `utc`; ends with `reason`.
    fn record(&self, writer: &mut Writer, run: u64, utc: UtcMicros, reason: &str) {
        writer.push(Input::Configuration { run: RunId(run), configuration: self.configuration.clone() });
        for (sequence, frame) in self.frames.iter().enumerate() {
            let timescale = i64::from(self.configuration.track(frame.track).expect("track").timescale);
            let utc = utc.plus_micros(frame.decode_time * SECOND / timescale);
            let frame = Frame { run: RunId(run), sequence: sequence as u64, utc, ..frame.clone() };
            writer.push(Input::Frame(Arc::new(frame)));
            writer.flush().expect("written");
        }
        writer.push(Input::Ended { reason: reason.to_owned() });
        writer.flush().expect("written");
    }

    /// UTC of the first picture of a run whose media time 0 is at `utc`.
    fn first(&self, utc: UtcMicros) -> UtcMicros {
        let first = self.frames.iter().find(|frame| frame.track == TrackKind::Video).expect("picture");
        utc.plus_micros(first.decode_time * SECOND / i64::from(self.configuration.video.timescale))
    }
}

struct Shop {
    folder: tempfile::TempDir,
    registry: Arc<Registry>,
    archive: Archive,
}

impl Shop {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let root = folder.path().join("archive");
        let archive = Archive::open(&root, &Holder::this_process("test")).expect("archive");
        let registry = Arc::new(Registry::default());
        registry.archives.insert(ObjectKey::new("shop", "default"), Arc::new(archive.clone()));
        Self { folder, registry, archive }
    }

    fn writer(&self, segment_seconds: i64) -> Writer {
        let claim =
            Claim { owner: "uid".into(), camera: "shop/door".into(), kind: RecordingKind::Continuous, adopt: false };
        let rules = Rules { segment_micros: Some(segment_seconds * SECOND), audio: true };
        self.archive.start_writer(&RecordingPath::new("shop", "door").expect("path"), &claim, rules).expect("writer")
    }

    fn declare(&self, max_age_ms: u64) -> Retention {
        let key = ObjectKey::new("shop", "default");
        self.registry.declared.set(&[DeclaredRecording {
            key: ObjectKey::new("shop", "door"),
            archive: key.clone(),
            retention: RetentionRules { max_age_ms: Some(max_age_ms), max_bytes: None },
        }]);
        let plan = ArchivePlan {
            key: key.clone(),
            uid: "uid".into(),
            generation: 1,
            root: self.archive.root().display().to_string(),
            min_free_bytes: 0,
            retention: RetentionSchedule {
                schedule: "0 3 * * *".into(),
                time_zone: "Europe/Berlin".into(),
                orphans_ms: None,
                overdue_ms: None,
            },
        };
        let context = UnitContext {
            object: ObjectRef { kind: ObjectKind::Archive, key },
            uid: "uid".into(),
            registry: self.registry.clone(),
            board: Arc::new(Board::default()),
            secrets: Arc::new(NoSecrets),
            logs: Arc::new(LogBuffer::default()),
            cancel: tokio_util::sync::CancellationToken::new(),
        };
        Retention::new(&context, &plan, &self.archive).expect("retention")
    }

    fn routes(&self) -> Router {
        routes(self.registry.clone())
    }

    async fn get_with(&self, path: &str, headers: &[(header::HeaderName, &str)]) -> (StatusCode, HeaderMap, Bytes) {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let response = self.routes().oneshot(request.body(Body::empty()).expect("request")).await.expect("response");
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, axum::body::to_bytes(body, usize::MAX).await.expect("body"))
    }

    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, Bytes) {
        self.get_with(path, &[]).await
    }

    async fn export(&self, from: UtcMicros, to: UtcMicros) -> (String, Bytes) {
        let path = export_path(from, to);
        let (status, _, body) = self.get(&path).await;
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
        (path, body)
    }

    /// Frames that a player shows of a file: presentation time in microseconds, and the picture's checksum.
    fn shown(&self, name: &str, bytes: &[u8]) -> Vec<(i64, String)> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).expect("file");
        shown(&path)
    }
}

fn export_path(from: UtcMicros, to: UtcMicros) -> String {
    let text = |at: UtcMicros| format!("{:.6}", at.timestamp());
    format!("/recordings/shop/door/export.mp4?from={}&to={}", text(from), text(to))
}

fn shown(path: &FilePath) -> Vec<(i64, String)> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:v", "-fps_mode", "passthrough", "-enc_time_base", "1:1000000", "-f", "framemd5", "-"])
        .output()
        .expect("ffmpeg");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "decodes without a word");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            (fields[2].parse().expect("time"), fields[5].to_owned())
        })
        .collect()
}

/// Duration of a file's format and of its streams, in microseconds, by ffprobe.
fn durations(path: &FilePath) -> (i64, Vec<i64>) {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "json", "-show_entries", "format=duration:stream=duration"])
        .arg(path)
        .output()
        .expect("ffprobe");
    let json: Value = serde_json::from_slice(&output.stdout).expect("json");
    let micros = |value: &Value| {
        (value["duration"].as_str().expect("duration").parse::<f64>().expect("seconds") * 1e6).round() as i64
    };
    (micros(&json["format"]), json["streams"].as_array().expect("streams").iter().map(micros).collect())
}

fn base() -> UtcMicros {
    UtcMicros::from_timestamp("2026-11-21T01:59:50Z".parse().expect("time"))
}

#[tokio::test]
async fn an_export_shows_exactly_the_span_and_its_ranges_are_its_parts() {
    let shop = Shop::new();
    let camera = film(shop.folder.path(), "320x180", 20);
    let original = shown(&shop.folder.path().join("320x180.mp4"));
    let mut writer = shop.writer(4);
    camera.record(&mut writer, 1, base(), "ShuttingDown");
    drop(writer);
    let first = camera.first(base());

    // From the 86th picture on, over five files and the change of the hour.
    let (from, to) = (first.plus_micros(85 * 40_000), first.plus_micros(85 * 40_000 + 12 * SECOND));
    let (path, whole) = shop.export(from, to).await;
    let pictures = shop.shown("export.mp4", &whole);
    assert_eq!(pictures.len(), 300);
    assert_eq!(pictures[0].0, 0);
    assert_eq!(pictures[299].0, 299 * 40_000);
    let checksums = |pictures: &[(i64, String)]| pictures.iter().map(|(_, sum)| sum.clone()).collect::<Vec<_>>();
    assert_eq!(checksums(&pictures), checksums(&original[85..385]));
    let (format, streams) = durations(&shop.folder.path().join("export.mp4"));
    assert_eq!(format, 12 * SECOND);
    assert!(streams.iter().all(|stream| (stream - 12 * SECOND).abs() < 25_000), "{streams:?}");

    // The sound goes with the pictures: a player that decodes both says nothing, and the header comes first.
    assert!(whole.windows(4).position(|at| at == b"moov") < whole.windows(4).position(|at| at == b"mdat"));

    // Ranges, concatenated, are the whole; a wrong validator gets the whole.
    let (_, headers, _) = shop.get(&path).await;
    let tag = headers[header::ETAG].to_str().expect("tag").to_owned();
    let name = headers[header::CONTENT_DISPOSITION].to_str().expect("name");
    assert_eq!(name, "attachment; filename=\"door_2026-11-21_015954Z_12s.mp4\"");
    let mut parts = Vec::new();
    let step = whole.len() / 7;
    while parts.len() < whole.len() {
        let range = format!("bytes={}-{}", parts.len(), parts.len() + step);
        let (status, headers, part) = shop.get_with(&path, &[(header::RANGE, &range), (header::IF_RANGE, &tag)]).await;
        assert_eq!(status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(headers[header::CONTENT_LENGTH], part.len().to_string());
        parts.extend_from_slice(&part);
    }
    assert_eq!(parts, whole);
    let (status, ..) = shop.get_with(&path, &[(header::RANGE, "bytes=0-9"), (header::IF_RANGE, "\"other\"")]).await;
    assert_eq!(status, StatusCode::OK);
    let (status, ..) = shop.get_with(&path, &[(header::RANGE, "bytes=999999999-")]).await;
    assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
}

#[tokio::test]
async fn in_a_gap_the_last_picture_stands_still_and_time_is_kept() {
    let shop = Shop::new();
    let camera = film(shop.folder.path(), "320x180", 4);
    let mut writer = shop.writer(60);
    camera.record(&mut writer, 1, base(), "Stalled");
    // 4 s of film, 6 s of nothing.
    camera.record(&mut writer, 2, base().plus_micros(10 * SECOND), "Unreachable");
    drop(writer);
    let first = camera.first(base());
    let (from, to) = (first.plus_micros(2 * SECOND), first.plus_micros(13 * SECOND));
    let (_, whole) = shop.export(from, to).await;
    let pictures = shop.shown("gap.mp4", &whole);
    assert_eq!(pictures.len(), 50 + 75);
    assert_eq!((pictures[49].0, pictures[50].0), (49 * 40_000, 8 * SECOND));
    assert_eq!(durations(&shop.folder.path().join("gap.mp4")).0, 11 * SECOND);

    let path = |name: &str| export_path(from, to).replace("export.mp4", name);
    let (status, headers, body) = shop.get(&path("playlist.m3u8")).await;
    let text = String::from_utf8_lossy(&body);
    assert_eq!(status, StatusCode::OK, "{text}");
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert!(text.contains("#EXT-X-DISCONTINUITY") && text.contains("X-REASON=\"Stalled\""), "{text}");
}

#[tokio::test]
async fn a_changed_picture_size_names_the_spans_that_can_be_exported() {
    let shop = Shop::new();
    let (small, large) = (film(shop.folder.path(), "320x180", 4), film(shop.folder.path(), "640x360", 4));
    let mut writer = shop.writer(60);
    small.record(&mut writer, 1, base(), "ConfigurationChanged");
    large.record(&mut writer, 2, base().plus_micros(4 * SECOND), "ShuttingDown");
    drop(writer);
    let (status, _, body) = shop.get(&export_path(base(), base().plus_micros(20 * SECOND))).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let problem: Value = serde_json::from_slice(&body).expect("problem");
    let spans = problem["spans"].as_array().expect("spans");
    assert_eq!(spans.len(), 2, "{problem}");
    for span in spans {
        let at = |name: &str| {
            let time: Timestamp = span[name].as_str().expect("time").parse().expect("RFC 3339");
            UtcMicros::from_timestamp(time)
        };
        let (_, body) = shop.export(at("from"), at("to")).await;
        assert_eq!(shop.shown("part.mp4", &body).len(), 100);
    }
}

#[tokio::test]
async fn what_cannot_be_exported_is_said() {
    let shop = Shop::new();
    drop(shop.writer(60));
    for (path, expected, text) in [
        (export_path(base(), base().plus_micros(SECOND)), StatusCode::NOT_FOUND, "coverage"),
        (export_path(base(), base()), StatusCode::BAD_REQUEST, "later"),
        (export_path(base(), base().plus_micros(90_000 * SECOND)), StatusCode::BAD_REQUEST, "24 hours"),
        ("/recordings/shop/door/export.mp4".to_owned(), StatusCode::BAD_REQUEST, "?from="),
        ("/recordings/shop/door/export.mp4?from=yesterday".to_owned(), StatusCode::BAD_REQUEST, "RFC 3339"),
        (
            "/recordings/shop/gate/playlist.m3u8?from=2026-11-21T00:00:00Z&to=2026-11-21T01:00:00Z".to_owned(),
            StatusCode::NOT_FOUND,
            "gate",
        ),
        ("/recordings/shop/door/2026-11-21/01/../secret.mp4".to_owned(), StatusCode::NOT_FOUND, ""),
        ("/recordings/shop/door/2026-11-21/01/%2e%2e%2fsecret.mp4".to_owned(), StatusCode::NOT_FOUND, ""),
        ("/recordings/shop/%2e%2e/clip.mp4".to_owned(), StatusCode::NOT_FOUND, ""),
        ("/recordings/shop/door/recording.json".to_owned(), StatusCode::NOT_FOUND, ""),
        ("/recordings/shop/door/clip.mp4".to_owned(), StatusCode::NOT_FOUND, ""),
    ] {
        let (status, _, body) = shop.get(&path).await;
        assert_eq!(status, expected, "{path}");
        assert!(String::from_utf8_lossy(&body).contains(text), "{path}: {}", String::from_utf8_lossy(&body));
    }
    let plus =
        "/api/v1/namespaces/shop/recordings/door/coverage?from=2026-11-21T02:00:00+01:00&to=2026-11-21T02:00:00Z";
    let (status, _, body) = shop.get(plus).await;
    assert_eq!(status, StatusCode::OK, "an offset whose plus was not escaped: {}", String::from_utf8_lossy(&body));
}

#[tokio::test]
async fn many_exports_at_once_are_the_same_and_hold_their_files() {
    let shop = Arc::new(Shop::new());
    let camera = film(shop.folder.path(), "320x180", 8);
    let mut writer = shop.writer(2);
    camera.record(&mut writer, 1, base(), "ShuttingDown");
    drop(writer);
    let (from, to) = (base().plus_micros(2 * SECOND), base().plus_micros(8 * SECOND));
    let downloads = (0..20).map(|_| {
        let shop = shop.clone();
        tokio::spawn(async move { shop.export(from, to).await.1 })
    });
    let mut bodies = Vec::new();
    for download in downloads.collect::<Vec<_>>() {
        bodies.push(download.await.expect("download"));
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));

    // What an export still needs is not deleted; what it does not need is.
    let index = shop.archive.recording(&RecordingPath::new("shop", "door").expect("path")).expect("index");
    let export = crate::archive::export::Export::prepare(&index, from, to).expect("export");
    let names: Vec<_> = index.files_between(base(), base().plus_micros(60 * SECOND)).expect("files");
    let results = index.delete_files(&names.iter().map(|file| file.name).collect::<Vec<_>>());
    assert!(results.iter().any(Result::is_err), "leased files stay");
    drop(export);
}

#[tokio::test]
async fn a_real_player_plays_hours_and_spans_and_closed_files_are_cached_for_ever() {
    let shop = Shop::new();
    let camera = film(shop.folder.path(), "320x180", 20);
    let mut writer = shop.writer(60);
    camera.record(&mut writer, 1, base(), "ShuttingDown");
    drop(writer);
    let first = camera.first(base());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listener");
    let address = listener.local_addr().expect("address");
    let routes = shop.routes();
    let server = tokio::spawn(async move { axum::serve(listener, routes).await });
    let count = |path: String| async move {
        let url = format!("http://{address}{path}");
        let play = move || {
            let output = Command::new("ffmpeg")
                .args(["-v", "error", "-i", &url, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-"])
                .output()
                .expect("ffmpeg");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (
                text.lines().filter(|line| !line.starts_with('#')).count(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )
        };
        tokio::task::spawn_blocking(play).await.expect("player")
    };
    // 9 s before the full hour (media time begins a second before the first picture), 11 s after.
    let before = count("/recordings/shop/door/2026-11-21/01/playlist.m3u8".into()).await;
    let after = count("/recordings/shop/door/2026-11-21/02/playlist.m3u8".into()).await;
    assert_eq!(before.0 + after.0, 500, "{before:?} {after:?}");
    assert!(before.0 >= 200 && after.0 >= 250, "{before:?} {after:?}");
    let span = export_path(first, first.plus_micros(20 * SECOND)).replace("export.mp4", "playlist.m3u8");
    assert_eq!(count(span).await, (500, String::new()));
    server.abort();

    let (status, headers, body) = shop.get("/recordings/shop/door/2026-11-21/01/59.mp4").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[header::CACHE_CONTROL], "private, max-age=31536000, immutable");
    assert_eq!(headers[header::ACCEPT_RANGES], "bytes");
    assert_eq!(&body[4..8], b"ftyp");
}

#[tokio::test]
async fn coverage_accounts_for_the_whole_span() {
    let shop = Shop::new();
    let camera = film(shop.folder.path(), "320x180", 4);
    let mut writer = shop.writer(60);
    camera.record(&mut writer, 1, base(), "Stalled");
    camera.record(&mut writer, 2, base().plus_micros(10 * SECOND), "CredentialRefused");
    drop(writer);
    let first = camera.first(base());
    let text = |at: UtcMicros| format!("{:.6}", at.timestamp());
    let path = format!(
        "/api/v1/namespaces/shop/recordings/door/coverage?from={}&to={}",
        text(first),
        text(first.plus_micros(20 * SECOND))
    );
    let (status, _, body) = shop.get(&path).await;
    let answer: Value = serde_json::from_slice(&body).expect("json");
    assert_eq!(status, StatusCode::OK, "{answer}");
    // The recording was declared when the test ran, after what it holds: the past is as it is.
    assert!((answer["coveredSeconds"].as_f64().expect("seconds") - 8.0).abs() < 0.001, "{answer}");
    assert!((answer["ratio"].as_f64().expect("ratio") - 0.4).abs() < 0.001, "{answer}");
    let gaps = answer["gaps"].as_array().expect("gaps");
    assert_eq!(gaps.len(), 2, "{answer}");
}

#[tokio::test]
async fn a_run_deletes_exactly_what_the_preview_lists_and_coverage_tells_it() {
    let shop = Shop::new();
    let camera = film(shop.folder.path(), "320x180", 20);
    let now = UtcMicros::from_timestamp(Timestamp::now());
    // Old enough and not old enough, by an hour.
    let mut writer = shop.writer(4);
    camera.record(&mut writer, 1, now.plus_micros(-7200 * SECOND), "ShuttingDown");
    camera.record(&mut writer, 2, now.plus_micros(-1800 * SECOND), "ShuttingDown");
    drop(writer);
    let retention = Arc::new(shop.declare(3_600_000));
    shop.registry.retention.insert(ObjectKey::new("shop", "default"), retention.clone());
    let root = shop.archive.root().join("shop/door");
    let on_disk = || {
        let mut found = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("folder") {
                let path = entry.expect("entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "mp4") {
                    found.push(path.strip_prefix(&root).expect("inside").display().to_string());
                }
            }
        }
        found.sort();
        found
    };
    // A file that is not the archive's.
    let foreign = root.join("holiday.mp4");
    std::fs::write(&foreign, "mine").expect("file");
    let before = on_disk();

    let path = "/api/v1/namespaces/shop/recordings/door/retention/preview";
    let (status, _, body) = shop.get(path).await;
    let preview: Value = serde_json::from_slice(&body).expect("json");
    assert_eq!(status, StatusCode::OK, "{preview}");
    let listed: Vec<String> = preview["deletions"]
        .as_array()
        .expect("deletions")
        .iter()
        .map(|deletion| deletion["file"].as_str().expect("file").to_owned())
        .collect();
    assert!(listed.len() >= 5, "{preview}");
    assert_eq!(on_disk(), before, "a preview deletes nothing");

    let request = Request::post("/api/v1/namespaces/shop/archives/default/retention/run").body(Body::empty());
    let response = shop.routes().oneshot(request.expect("request")).await.expect("response");
    assert_eq!(response.status(), StatusCode::OK);
    let after = on_disk();
    let gone: Vec<String> = before.iter().filter(|file| !after.contains(file)).cloned().collect();
    let mut expected = listed;
    expected.sort();
    assert_eq!(gone, expected);
    assert!(foreign.exists());
    let again = retention.run(None, false).await.expect("again");
    assert_eq!(again.files, 0);

    let text = |at: UtcMicros| format!("{:.6}", at.timestamp());
    let (from, to) = (now.plus_micros(-7300 * SECOND), now.plus_micros(-1000 * SECOND));
    let path = format!("/api/v1/namespaces/shop/recordings/door/coverage?from={}&to={}", text(from), text(to));
    let (_, _, body) = shop.get(&path).await;
    let answer: Value = serde_json::from_slice(&body).expect("json");
    assert!(
        answer["gaps"].as_array().is_some_and(|gaps| gaps.iter().any(|gap| gap["reason"] == "Deleted")),
        "{answer}"
    );
}
