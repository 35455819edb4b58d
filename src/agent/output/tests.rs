//! The outputs together, against real clients: FFmpeg, ffprobe, HTTP, and a socket that nobody reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fixture::{Coded, H264, Rig, camera, client, coded, output_of, write_file};
use super::{hls, mjpeg, snapshot};
use crate::agent::hub::{self, Ending, Limits, Reach};
use crate::media::fmp4::reader::{self, Event, Reader, Sample};
use crate::media::fmp4::writer::{FragmentOptions, write_fragment, write_header};
use crate::media::frame::{Frame, RunId, TrackKind, UtcMicros};
use crate::media::hls::lint::{lint, lint_successor};
use crate::plan::report::{Reason, UnitState};
use crate::plan::unit::{Hls, Mjpeg, ObjectKind};

fn hls_plan(low_latency: bool) -> Hls {
    Hls {
        camera: camera(),
        segment_ms: 2000,
        playlist_segments: 6,
        low_latency,
        part_ms: 400,
        audio: true,
        audio_bit_rate: None,
        fallback: None,
        video: None,
    }
}

fn mjpeg_plan(width: Option<i32>) -> Mjpeg {
    Mjpeg { camera: camera(), frames_per_second: 10, quality: 5, width }
}

fn samples(bytes: &[u8]) -> Vec<Sample> {
    let mut reader = Reader::new(reader::Limits::default());
    reader.feed(bytes);
    let mut samples = Vec::new();
    while let Some(event) = reader.next_event().unwrap() {
        if let Event::Sample(sample) = event {
            samples.push(sample);
        }
    }
    samples
}

fn ending(run: RunId) -> Ending {
    Ending { run, reason: Reason::Stalled, message: "no new picture for 10 s".into(), at: UtcMicros(1) }
}

#[test]
fn what_the_writer_makes_is_read_by_ffprobe_and_by_another_parser() {
    let folder = tempfile::tempdir().unwrap();
    let h265 =
        ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=10", "-tag:v", "hvc1"];
    let motion_jpeg = ["-c:v", "mjpeg", "-q:v", "5"];
    for (codec, name, entry) in
        [(&H264[..], "h264", "avc1"), (&h265[..], "hevc", "hvc1"), (&motion_jpeg[..], "mjpeg", "mp4v")]
    {
        let Coded { configuration, frames } = coded(codec, 25, 2, true);
        let options =
            FragmentOptions { segment_type: true, producer_reference_time: true, ..FragmentOptions::default() };
        let fragments: Vec<_> = (1..)
            .zip(frames.chunks(17))
            .map(|(number, frames)| write_fragment(number, frames, true, options))
            .collect();
        for fragment in &fragments {
            assert_eq!(fragment.len(), fragment.to_bytes().len());
            let shared = |payload: &Bytes| frames.iter().any(|frame| frame.payload.as_ptr() == payload.as_ptr());
            assert!(fragment.payloads.iter().all(shared), "payloads are shared, not copied");
        }
        let header = write_header(&configuration, true);
        let pieces = std::iter::once(header)
            .chain(fragments.into_iter().flat_map(crate::media::fmp4::writer::Fragment::into_chunks));
        let file = write_file(folder.path(), &format!("{name}.mp4"), pieces);
        let said = output_of(
            "ffprobe",
            &[
                "-v",
                "warning",
                "-show_entries",
                "stream=codec_name,codec_tag_string:packet=stream_index,pts,dts,size,flags",
                "-of",
                "compact",
                &file,
            ],
        );
        assert!(said.contains(&format!("codec_name={name}|codec_tag_string={entry}")), "{said}");
        for frame in &frames {
            let index = u8::from(frame.track == TrackKind::Audio);
            let (pts, dts, size) = (frame.presentation_time(), frame.decode_time, frame.payload.len());
            let key = if frame.track == TrackKind::Audio || frame.is_video_key() { "K_" } else { "__" };
            let packet = format!("packet|stream_index={index}|pts={pts}|dts={dts}|size={size}|flags={key}");
            assert!(said.contains(&packet), "{packet} is not in\n{said}");
        }
        assert_eq!(output_of("ffmpeg", &["-v", "error", "-xerror", "-i", &file, "-f", "null", "-"]), "");
        // An independent parser takes every box of it (it has no type for JPEG in `mp4v`).
        if name != "mjpeg" {
            let bytes = std::fs::read(&file).unwrap();
            let mut bytes = &bytes[..];
            let (mut tracks, mut clocks) = (0, 0);
            while !bytes.is_empty() {
                match <mp4_atom::Any as mp4_atom::Decode>::decode(&mut bytes).unwrap() {
                    mp4_atom::Any::Moov(moov) => tracks = moov.trak.len(),
                    mp4_atom::Any::Prft(_) => clocks += 1,
                    mp4_atom::Any::Unknown(kind, _) => panic!("unknown box {kind:?}"),
                    _ => {}
                }
            }
            assert_eq!((tracks, clocks), (2, frames.len().div_ceil(17)));
        }
        let read = samples(&std::fs::read(&file).unwrap());
        assert_eq!(read.len(), frames.len());
        // NTP's fractions are none of a million: a microsecond is lost to rounding.
        let off = read[0].producer_time.map(|time| (time.0 - frames[0].utc.0).abs());
        assert!(off.is_some_and(|off| off <= 1), "{off:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn players_play_a_stream_and_clients_get_what_the_standards_say() {
    let rig = Rig::new();
    let server = rig.serve().await;
    let client = client();
    let unit = tokio::spawn(hls::run(rig.context(ObjectKind::Stream, "live"), hls_plan(false)));
    rig.state(ObjectKind::Stream, "live", UnitState::Waiting).await;
    let url = server.url("/live/default/live/index.m3u8");
    let early = client.get(&url).send().await.unwrap();
    assert_eq!((early.status().as_u16(), early.headers()["retry-after"].to_str().unwrap()), (503, "2"));
    assert_eq!(client.get(server.url("/live/default/none/index.m3u8")).send().await.unwrap().status().as_u16(), 404);

    let Coded { configuration, frames } = coded(&H264, 25, 15, true);
    let half = frames.len() / 2;
    rig.hub.publish(&configuration, frames[..half].iter().cloned());
    rig.state(ObjectKind::Stream, "live", UnitState::Running).await;
    let mut changes = rig.registry.hls.get(&crate::plan::unit::ObjectKey::new("default", "live")).unwrap().renditions()
        [0]
    .subscribe();
    let first = client.get(&url).header("origin", "http://elsewhere.example").send().await.unwrap();
    assert_eq!(first.headers()["content-type"], "application/vnd.apple.mpegurl");
    assert_eq!(first.headers()["cache-control"], "no-cache");
    assert_eq!(first.headers()["access-control-allow-origin"], "*");
    let first = first.text().await.unwrap();
    rig.hub.publish(&configuration, frames[half..].iter().cloned());
    rig.hub.end_run(ending(frames[0].run));
    changes.wait_for(|window| window.segments().map(|segment| segment.pictures).sum::<u64>() == 375).await.unwrap();
    drop(changes);
    let text = client.get(&url).send().await.unwrap().text().await.unwrap();
    assert_eq!((lint(&text), lint_successor(&first, &text)), (vec![], vec![]), "{text}");
    rig.state(ObjectKind::Stream, "live", UnitState::Waiting).await;

    // Compressed when asked for.
    let zipped = client.get(&url).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(zipped.headers()["content-encoding"], "gzip");
    // Segments: whole, in part, head only, immutable.
    let name = text.lines().find(|line| line.strip_suffix(".m4s").is_some()).unwrap();
    let segment = server.url(&format!("/live/default/live/{name}"));
    let whole = client.get(&segment).send().await.unwrap();
    assert_eq!(whole.headers()["content-type"], "video/mp4");
    assert!(whole.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    let whole = whole.bytes().await.unwrap();
    let head = client.head(&segment).send().await.unwrap();
    assert_eq!(head.headers()["content-length"].to_str().unwrap(), whole.len().to_string());
    let range = client.get(&segment).header("range", "bytes=100-1099").send().await.unwrap();
    assert_eq!(range.status().as_u16(), 206);
    assert_eq!(range.headers()["content-range"].to_str().unwrap(), format!("bytes 100-1099/{}", whole.len()));
    assert_eq!(range.bytes().await.unwrap(), whole[100..1100]);
    let outside = client.get(&segment).header("range", "bytes=99999999-").send().await.unwrap();
    assert_eq!(outside.status().as_u16(), 416);
    let gone = client.get(server.url("/live/default/live/1-0-1.m4s")).send().await.unwrap();
    assert_eq!(
        (gone.status().as_u16(), gone.headers()["content-type"].to_str().unwrap()),
        (404, "application/problem+json")
    );

    // Real players, by both playlists: what they decode is what was sent.
    for entry in ["index.m3u8", "main.m3u8"] {
        let url = server.url(&format!("/live/default/live/{entry}"));
        let said = tokio::task::spawn_blocking(move || {
            let stream = "stream=codec_name,width,height,sample_rate";
            let facts = output_of("ffprobe", &["-v", "error", "-show_entries", stream, "-of", "compact", &url]);
            let arguments =
                ["-v", "error", "-xerror", "-live_start_index", "0", "-i", &url, "-t", "5", "-f", "null", "-"];
            facts + &output_of("ffmpeg", &arguments)
        });
        let said = said.await.unwrap();
        assert!(said.contains("codec_name=h264|width=160|height=120"), "{said}");
        assert!(said.contains("codec_name=aac"), "{said}");
        assert!(!said.contains("rror"), "{said}");
    }
    let main = client.get(server.url("/live/default/live/main.m3u8")).send().await.unwrap().text().await.unwrap();
    let expected =
        format!("CODECS=\"{},mp4a.40.2\",RESOLUTION=160x120,FRAME-RATE=25.000", configuration.video.codec_string);
    assert!(main.contains(&expected), "{main}");
    rig.cancel.cancel();
    unit.await.unwrap();
    assert_eq!(client.get(&url).send().await.unwrap().status().as_u16(), 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn low_latency_reloads_wait_for_their_part() {
    let rig = Rig::new();
    let server = rig.serve().await;
    let client = client();
    let _unit = tokio::spawn(hls::run(rig.context(ObjectKind::Stream, "live"), hls_plan(true)));
    let Coded { configuration, frames } = coded(&H264, 25, 8, true);
    let later = frames.iter().position(|frame| frame.utc.0 - frames[0].utc.0 >= 4_500_000).unwrap();
    rig.hub.publish(&configuration, frames[..later].iter().cloned());
    rig.state(ObjectKind::Stream, "live", UnitState::Running).await;
    let url = server.url("/live/default/live/index.m3u8");
    let text = client.get(&url).send().await.unwrap().text().await.unwrap();
    assert_eq!(lint(&text), [], "{text}");
    let hint = text.lines().find_map(|line| line.strip_prefix("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"")).unwrap();
    let hint = hint.trim_end_matches('"').to_owned();
    let part = client.get(server.url(&format!("/live/default/live/{hint}"))).send();
    let stem = hint.trim_end_matches(".m4s").rsplit('-').next().unwrap();
    let (number, index) = stem.split_once('.').unwrap();
    let reload = client.get(format!("{url}?_HLS_msn={number}&_HLS_part={index}")).send();
    let far = client.get(format!("{url}?_HLS_msn={}", number.parse::<u64>().unwrap() + 100)).send().await.unwrap();
    assert_eq!(far.status().as_u16(), 400);
    let alone = client.get(format!("{url}?_HLS_part=1")).send().await.unwrap();
    assert_eq!(alone.status().as_u16(), 400);
    let publish = async { rig.hub.publish(&configuration, frames[later..].iter().cloned()) };
    let (part, reload, ()) = tokio::join!(part, reload, publish);
    assert!(!part.unwrap().error_for_status().unwrap().bytes().await.unwrap().is_empty());
    let reloaded = reload.unwrap().error_for_status().unwrap().text().await.unwrap();
    assert!(reloaded.contains(&format!("URI=\"{hint}\"")), "{hint} is not in\n{reloaded}");
    assert_eq!((lint(&reloaded), lint_successor(&text, &reloaded)), (vec![], vec![]));
    // The parts of a segment are the segment.
    let segments = reloaded.lines().filter(|line| line.strip_suffix(".m4s").is_some());
    let name = segments.clone().next_back().unwrap();
    let get = async |name: &str| {
        let answer = client.get(server.url(&format!("/live/default/live/{name}"))).send().await.unwrap();
        answer.error_for_status().unwrap().bytes().await.unwrap()
    };
    let mut parts = Vec::new();
    for index in 0.. {
        let part = name.replace(".m4s", &format!(".{index}.m4s"));
        if !reloaded.contains(&part) {
            break;
        }
        parts.extend(get(&part).await);
    }
    assert_eq!(parts, get(name).await);
}

#[tokio::test]
async fn a_codec_that_hls_cannot_carry_is_named() {
    let rig = Rig::new();
    let _unit = tokio::spawn(hls::run(rig.context(ObjectKind::Stream, "live"), hls_plan(false)));
    let Coded { configuration, frames } = coded(&["-c:v", "mjpeg"], 5, 1, false);
    rig.hub.publish(&configuration, frames);
    let report = rig.state(ObjectKind::Stream, "live", UnitState::Failed).await;
    assert_eq!(report.reason, Reason::CodecNotCarried);
    assert!(report.message.contains("MJPEG"), "{}", report.message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_show_the_newest_picture_and_never_an_old_one() {
    let rig = Rig::new();
    let folder = tempfile::tempdir().unwrap();
    let unknown = snapshot::snapshot(&rig.registry, &crate::plan::unit::ObjectKey::new("default", "none")).await;
    assert!(matches!(unknown, Err(snapshot::SnapshotError::NoCamera)));
    assert!(matches!(snapshot::snapshot(&rig.registry, &camera()).await, Err(snapshot::SnapshotError::NoVideo)));
    let Coded { configuration, frames } = coded(&H264, 25, 2, false);
    rig.hub.publish(&configuration, frames.iter().cloned());
    let camera = camera();
    let (one, two) =
        tokio::join!(snapshot::snapshot(&rig.registry, &camera), snapshot::snapshot(&rig.registry, &camera));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.jpeg.as_ptr(), two.jpeg.as_ptr(), "one decode for both");
    assert!(frames.last().unwrap().utc.0 - one.captured.0 < 200_000, "the newest, not the key frame");
    let file = write_file(folder.path(), "snapshot.jpg", [one.jpeg]);
    let said = output_of(
        "ffprobe",
        &["-v", "error", "-show_entries", "stream=codec_name,width,height", "-of", "compact", &file],
    );
    assert!(said.contains("codec_name=mjpeg|width=160|height=120"), "{said}");
    // The picture is the last one: it equals what decoding everything ends with.
    let movie = write_file(
        folder.path(),
        "movie.mp4",
        std::iter::once(write_header(&configuration, false))
            .chain(write_fragment(1, &frames, false, FragmentOptions::default()).into_chunks()),
    );
    let last = folder.path().join("last.jpg");
    output_of("ffmpeg", &["-v", "error", "-i", &movie, "-update", "1", "-q:v", "4", last.to_str().unwrap()]);
    let psnr = output_of(
        "ffmpeg",
        &["-v", "info", "-i", &file, "-i", last.to_str().unwrap(), "-lavfi", "psnr", "-f", "null", "-"],
    );
    let average = psnr.split("average:").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    assert!(average == "inf" || average.parse::<f64>().unwrap() > 30.0, "{psnr}");
    rig.hub.end_run(ending(frames[0].run));
    assert!(matches!(snapshot::snapshot(&rig.registry, &camera).await, Err(snapshot::SnapshotError::NoVideo)));
}

/// Reads the next picture of a Motion JPEG body.
async fn next_picture(body: &mut (impl futures::Stream<Item = reqwest::Result<Bytes>> + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        all.extend(body.next().await.unwrap().unwrap());
        let start = all.windows(2).position(|window| window == [0xff, 0xd8]);
        let end = all.windows(2).rposition(|window| window == [0xff, 0xd9]);
        if let (Some(start), Some(end)) = (start, end)
            && start < end
        {
            return all[start..end + 2].to_vec();
        }
    }
}

/// Publishes frames again and again as new runs of time, at the pace of a camera, until dropped.
async fn play(rig: &Rig, coded: &Coded) {
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    let length = coded.frames.last().unwrap().decode_time + 3600;
    for round in 0_i64.. {
        for frame in &coded.frames {
            clock.tick().await;
            let mut frame = frame.clone();
            frame.sequence += round as u64 * coded.frames.len() as u64;
            frame.decode_time += round * length;
            frame.utc = UtcMicros::from_timestamp(jiff::Timestamp::now());
            rig.hub.publish(&coded.configuration, [frame]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_decoder_for_all_viewers_and_none_without() {
    let rig = Rig::new();
    let server = rig.serve().await;
    let client = client();
    let context = rig.context(ObjectKind::Stream, "pictures");
    let _unit = tokio::spawn(mjpeg::run(context, mjpeg_plan(Some(80))));
    let film = coded(&H264, 25, 2, false);
    let url = server.url("/live/default/pictures/stream.mjpeg");
    let watch = async {
        let mut viewers = Vec::new();
        for _ in 0..3 {
            let answer = client.get(&url).send().await.unwrap();
            assert_eq!(answer.headers()["access-control-allow-origin"], "*");
            assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("multipart/x-mixed-replace"));
            viewers.push(answer.bytes_stream());
        }
        // One who reads nothing.
        let mut stuck = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stuck.write_all(b"GET /live/default/pictures/stream.mjpeg HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let stream = rig.registry.mjpeg.get(&crate::plan::unit::ObjectKey::new("default", "pictures")).unwrap();
        for viewer in &mut viewers {
            for _ in 0..5 {
                let picture = next_picture(viewer).await;
                assert_eq!(crate::media::jpeg::size(&picture), Some((80, 60)));
            }
        }
        assert_eq!(stream.viewers(), 4);
        drop((viewers, stuck));
        while stream.viewers() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = play(&rig, &film) => {}
        () = watch => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_for_recorders_are_whole_and_go_on_where_they_were() {
    let rig = Rig::new();
    let server = rig.serve().await;
    let client = client();
    let url = server.url("/v1/cameras/default/cam/live.mp4");
    assert_eq!(
        client.get(server.url("/v1/cameras/default/none/live.mp4")).send().await.unwrap().status().as_u16(),
        404
    );
    assert_eq!(client.get(format!("{url}?after=x")).send().await.unwrap().status().as_u16(), 400);
    let Coded { configuration, frames } = coded(&H264, 25, 2, true);
    let run = frames[0].run;
    rig.hub.publish(&configuration, frames[..40].iter().cloned());
    let first = client.get(&url).send().await.unwrap();
    assert_eq!(first.headers()["x-camera-run"].to_str().unwrap(), run.0.to_string());
    assert_eq!(first.headers()["x-camera-sequence"], "0");
    rig.hub.publish(&configuration, frames[40..].iter().cloned());
    rig.hub.end_run(ending(run));
    let body = first.bytes().await.unwrap();
    let read = samples(&body);
    assert_eq!(read.len(), frames.len());
    for (sample, frame) in read.iter().zip(&frames) {
        assert_eq!((sample.decode_time as i64, &sample.payload), (frame.decode_time, &frame.payload));
        assert!((sample.producer_time.unwrap().0 - frame.utc.0).abs() <= 1);
    }
    // Its end says why.
    let tail = String::from_utf8_lossy(&body[body.len() - 200..]).into_owned();
    assert!(tail.contains("run-ended") && tail.contains("\"reason\":\"Stalled\""), "{tail}");

    let after = client.get(format!("{url}?after={}:41", run.0)).send().await.unwrap();
    assert_eq!(after.headers()["x-camera-sequence"], "42");
    assert_eq!(samples(&after.bytes().await.unwrap()).len(), frames.len() - 42);

    // Who was cut off just before the end is told of it, once.
    let last = format!("{url}?after={}:{}", run.0, frames.len() - 1);
    let told = client.get(&last).send().await.unwrap();
    assert_eq!(told.headers()["x-camera-run"].to_str().unwrap(), run.0.to_string());
    assert!(String::from_utf8_lossy(&told.bytes().await.unwrap()).contains("\"reason\":\"Stalled\""));

    // A changed configuration ends the body; who asks again gets the new one.
    let mut changed = (*configuration).clone();
    changed.generation = 1;
    let again: Vec<Frame> = frames.iter().cloned().map(|frame| Frame { run: RunId(run.0 + 1), ..frame }).collect();
    let other: Vec<Frame> = again
        .iter()
        .cloned()
        .map(|frame| Frame { generation: 1, sequence: frame.sequence + again.len() as u64, ..frame })
        .collect();
    rig.hub.publish(&configuration, again.iter().cloned());
    let body = client.get(&url).send().await.unwrap();
    rig.hub.publish(&Arc::new(changed), other);
    let count = samples(&body.bytes().await.unwrap()).len();
    let newest = again.iter().rposition(Frame::is_video_key).unwrap();
    assert_eq!(count, again.len() - newest);
    let next = client.get(format!("{url}?after={}:{}", run.0 + 1, again.len() - 1)).send().await.unwrap();
    assert_eq!(next.headers()["x-camera-generation"], "1");
}

/// Counts the bytes that are alive.
struct Counted {
    bytes: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(self.bytes.len(), Ordering::SeqCst);
    }
}

// One thread: a yield lets every task of the server go on until its socket takes no more.
#[tokio::test]
async fn clients_that_stop_reading_cost_bounded_memory_and_hurt_nobody() {
    const FRAME: usize = 100_000;
    const BURST: usize = 300;
    const RING: usize = 32 << 20;
    const STUCK: usize = 4;
    let rig = Rig::with_ring(Limits { duration_micros: 60_000_000, bytes: RING });
    let server = rig.serve().await;
    let Coded { configuration, frames } = coded(&H264, 25, 1, false);
    let alive = Arc::new(AtomicUsize::new(0));
    let began = frames[0].utc;
    let frame = |number: usize| {
        alive.fetch_add(FRAME, Ordering::SeqCst);
        let mut frame = frames[number % frames.len()].clone();
        frame.sequence = number as u64;
        frame.decode_time = 12_800 + number as i64 * 512;
        frame.utc = began.plus_micros(number as i64 * 40_000);
        frame.payload = Bytes::from_owner(Counted { bytes: vec![1; FRAME], alive: alive.clone() });
        frame
    };
    rig.hub.publish(&configuration, (0..25).map(frame));
    // A reader that keeps up, and some that do not.
    let mut good = rig.hub.subscribe(Reach::Whole);
    let mut got = good.take_now().iter().filter(|event| matches!(event, hub::Event::Frame(_))).count();
    let mut stuck = Vec::new();
    for _ in 0..STUCK {
        let mut client = tokio::net::TcpStream::connect(server.address).await.unwrap();
        client.write_all(b"GET /v1/cameras/default/cam/live.mp4 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut some = [0; 512];
        client.read_exact(&mut some).await.unwrap();
        assert!(some.starts_with(b"HTTP/1.1 200"));
        stuck.push(client);
    }
    let mut most = 0;
    // 300 MB.
    for burst in 0..10 {
        let first = 25 + burst * BURST;
        rig.hub.publish(&configuration, (first..first + BURST).map(frame));
        got += good.take_now().iter().filter(|event| matches!(event, hub::Event::Frame(_))).count();
        most = most.max(alive.load(Ordering::SeqCst));
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(got, 25 + 10 * BURST, "who keeps up misses nothing");
    // The ring, and for each stuck client a batch and what is being written to its socket.
    let each = (1 << 20) + 6 * FRAME;
    assert!(most < RING + STUCK * each, "{most} bytes were alive");
}
