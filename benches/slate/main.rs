//! How soon viewers see the slate and the camera again: fifty switches of a 1080p25 camera, in this process, through the adaptor that
//! every output reads, with the real encoder. Beside it an encoder that is started only when it is needed.
//!
//! ```text
//! cargo bench --bench slate -- [--quick] [--output <file>]
//! ```
//!
//! Without `--output` the page is `docs/benchmarks/slate.md`; `--quick` is a short look that writes none unless it is told where.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use camera_operator::agent::hub::{Event, Hub, Limits, Pace};
use camera_operator::agent::output::slate::CameraOrSlate;
use camera_operator::agent::output::slate::card::{Card, Shape};
use camera_operator::agent::output::slate::encoder::still;
use camera_operator::agent::registry::Registry;
use camera_operator::agent::unit::{Board, Secret, Secrets, UnitContext};
use camera_operator::media::access_unit::VideoTrack;
use camera_operator::media::fmp4::reader::{self, Reader};
use camera_operator::media::frame::{Configuration, Frame, RunId, TrackKind, UtcMicros};
use camera_operator::media::h264_slice::tools;
use camera_operator::plan::report::UnitReport;
use camera_operator::plan::unit::{Fallback, ObjectKey, ObjectKind, ObjectRef, SecretKey};
use jiff::Timestamp;

/// Without a picture for this long the slate is due.
const AFTER: Duration = Duration::from_millis(500);
const SIZE: &str = "1920x1080";

#[derive(Debug)]
struct NoSecrets;

impl Secrets for NoSecrets {
    fn get(&self, _: &SecretKey) -> Option<Secret> {
        None
    }
}

/// One second of a camera, as FFmpeg codes it.
fn camera() -> (Arc<Configuration>, Vec<Frame>) {
    let picture = format!("testsrc2=size={SIZE}:rate=25");
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", &picture, "-t", "1", "-pix_fmt", "yuv420p"])
        .args(["-c:v", "libx264", "-preset", "veryfast", "-g", "25"])
        .args(["-movflags", "+frag_every_frame+delay_moov+empty_moov+default_base_moof", "-f", "mp4", "pipe:1"])
        .output()
        .expect("ffmpeg");
    let mut reader = Reader::new(reader::Limits::default());
    reader.feed(&output.stdout);
    let (mut video, mut frames, mut timescale): (Option<VideoTrack>, Vec<Frame>, u32) = (None, Vec::new(), 1);
    while let Ok(Some(event)) = reader.next_event() {
        match event {
            reader::Event::Tracks(tracks) => {
                timescale = tracks[0].timescale;
                video = VideoTrack::new(&tracks[0]).ok();
            }
            reader::Event::Sample(sample) => {
                let picture = video.as_mut().and_then(|video| video.accept(&sample.payload).ok()).expect("a picture");
                frames.push(Frame {
                    run: RunId(0),
                    sequence: frames.len() as u64,
                    track: TrackKind::Video,
                    decode_time: sample.decode_time as i64 + i64::from(timescale),
                    composition_offset: sample.composition_offset,
                    duration: sample.duration,
                    kind: picture.kind,
                    generation: 0,
                    utc: UtcMicros(sample.decode_time as i64 * 1_000_000 / i64::from(timescale)),
                    payload: picture.payload,
                });
            }
            reader::Event::Message { .. } => {}
        }
    }
    let video = video.and_then(|video| video.configuration().cloned()).expect("a configuration");
    (Arc::new(Configuration { generation: 0, video, audio: None }), frames)
}

/// Processor time of processes that this one has waited for.
fn children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    // cutime and cstime, in hundredths of a second (proc_pid_stat(5)); the first field here is the third there.
    fields.get(13).copied().unwrap_or(0.0) / 100.0 + fields.get(14).copied().unwrap_or(0.0) / 100.0
}

fn median_and_worst(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let show = |time: Option<&Duration>| {
        time.map_or_else(|| "–".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3))
    };
    format!("{} | {}", show(times.get(times.len() / 2)), show(times.last()))
}

#[tokio::main]
async fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let times = if is_quick { 5 } else { 50 };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().take(3).collect::<Vec<_>>().join(", ");
    let (configuration, frames) = camera();
    let (key, stream) = (ObjectKey::new("default", "cam"), ObjectKey::new("default", "live"));
    let (registry, board, hub) = (
        Arc::new(Registry::default()),
        Arc::new(Board::default()),
        Arc::new(Hub::new(Limits { duration_micros: 10_000_000, bytes: 64 << 20 })),
    );
    registry.hubs.insert(key.clone(), hub.clone());
    let object = ObjectRef { kind: ObjectKind::Stream, key: stream };
    board.insert_unit(UnitReport::starting(object.clone(), 1, UtcMicros::default()));
    let context = UnitContext {
        object,
        uid: "uid".into(),
        registry: registry.clone(),
        board,
        secrets: Arc::new(NoSecrets),
        logs: Arc::default(),
        cancel: tokio_util::sync::CancellationToken::new(),
    };
    let fallback =
        Fallback { after_ms: AFTER.as_millis() as u64, title: "cam".into(), text: "Back soon".into(), image: None };
    let mut output = CameraOrSlate::new(&context, &registry.hubs, &key, Pace::EveryFrame, Some(&fallback));
    let (mut there, mut moves, mut back) = (Vec::new(), Vec::new(), Vec::new());
    let (mut slate_seconds, cpu) = (0.0, children());
    let publish = || {
        let (run, began) = (registry.numbering.name_run(), UtcMicros::from_timestamp(Timestamp::now()));
        // All at once: none is of the future.
        let frames =
            frames.iter().map(|frame| Frame { run, utc: began.plus_micros(frame.utc.0 / 1000), ..frame.clone() });
        hub.publish(&configuration, frames);
        (run, Instant::now())
    };
    let is_of = |events: &[Event], wanted: &dyn Fn(&Frame) -> bool| {
        events.iter().any(|event| matches!(event, Event::Frame(frame) if wanted(frame)))
    };
    // The first slate is drawn beforehand, as in life the camera is there for a while.
    let (mut run, mut newest) = publish();
    while !is_of(&output.next().await, &|frame| frame.run == run) {}
    for time in 0..=times {
        let (mut first, mut second) = (None, None);
        while second.is_none() {
            let events = output.next().await;
            let now = Instant::now();
            if is_of(&events, &|frame| frame.run != run) {
                first.get_or_insert(now);
            }
            // The picture that was drawn beforehand needs no other: one that does is of the encoder that runs with the clock.
            if is_of(&events, &|frame| frame.run != run && !frame.is_video_key()) {
                second = Some(now);
            }
        }
        let (Some(first), Some(second)) = (first, second) else { return };
        // The first slate has to be drawn first.
        if time > 0 {
            there.push(first.duration_since(newest).saturating_sub(AFTER));
            moves.push(second.duration_since(first));
        }
        let next = publish();
        while !is_of(&output.next().await, &|frame| frame.run == next.0) {}
        if time > 0 {
            back.push(next.1.elapsed());
        }
        slate_seconds += first.elapsed().as_secs_f64();
        (run, newest) = next;
    }
    drop(output);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let share = (children() - cpu) / slate_seconds * 100.0;

    let mut started = Vec::new();
    let shape = Shape {
        codec: configuration.video.codec,
        width: 1920,
        height: 1080,
        tools: tools(&configuration.video).unwrap_or_default(),
    };
    let card = Card { title: "cam".into(), text: "Back soon".into(), without_letters: false };
    for _ in 0..times {
        let begun = Instant::now();
        let picture: Option<Bytes> =
            still(&card, shape, None, Arc::default()).await.ok().map(|picture| picture.payload);
        assert!(picture.is_some(), "FFmpeg draws no slate");
        started.push(begun.elapsed());
    }

    let build = if cfg!(debug_assertions) { "a debug build" } else { "a release build" };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut page = String::from("# To the slate and back\n\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "Written by `cargo bench --bench slate` (`-- --quick` for a short look) on {}, with {build}, on a machine with {processors} \
         processors (load average before: {load}). **Others worked on the machine at the same time** when the load is above that number: \
         times are longer than they would be.\n",
        Timestamp::now().strftime("%Y-%m-%d")
    );
    let _ = writeln!(
        page,
        "A camera of {SIZE} at 25 pictures a second comes and goes {times} times; what is timed is when the adaptor that every output reads \
         hands frames out. `fallback.after` ({} ms here) is taken off. Beside it an FFmpeg that is started only when a slate is needed, and draws \
         and encodes the same picture.\n",
        AFTER.as_millis()
    );
    let _ = writeln!(page, "| {times} switches | median | worst |\n| --- | ---: | ---: |");
    let _ = writeln!(page, "| slate due → its first picture | {} |", median_and_worst(there));
    let _ = writeln!(page, "| the same with an encoder that is started then | {} |", median_and_worst(started));
    let _ = writeln!(page, "| first picture → its clock runs | {} |", median_and_worst(moves));
    let _ = writeln!(page, "| the camera's key frame → shown | {} |", median_and_worst(back));
    let _ = writeln!(
        page,
        "\nWhile the slate was shown its FFmpegs (the encoder with its start, and the decoder of the camera's last picture) took {share:.0} % of \
         a processor; most of that is the start, since a slate lasted {:.1} s here. While the camera is there none runs.",
        slate_seconds / f64::from(times + 1)
    );
    println!("{page}");
    let output = std::env::args().skip_while(|argument| argument != "--output").nth(1);
    let usual = || concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks/slate.md").to_owned();
    if let Some(path) = output.or_else(|| (!is_quick).then(usual)) {
        std::fs::write(path, page).expect("the page can be written");
    }
}
