//! `make bench`: this program beside a bare FFmpeg, and MediaMTX where it is installed, that do the same work, on the same cameras,
//! in the same run. Writes `docs/benchmarks/run.md`. With `--ceiling`: this program alone, with more and more cameras; writes
//! `docs/benchmarks/ceiling.md`.
//!
//! ```text
//! cargo bench --bench run -- [--quick] [--cameras 20] [--many 100] [--seconds 60] [--output <file>]
//! cargo bench --bench run -- --ceiling [--quick] [--step 100] [--most 2000] [--seconds 30] [--output <file>]
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "a benchmark ends at the first thing that is not as it should be"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod ceiling;
mod latency;
mod load;
mod report;
mod senders;
mod subject;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use subject::{BareFfmpeg, MediaMtx, Operator, Subject};

/// How long a load runs before it is watched: two windows of HLS.
const WARM_UP: Duration = Duration::from_secs(2 * 6 * subject::SEGMENT_SECONDS as u64);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// A bare FFmpeg for each camera.
    BareFfmpeg,
    /// This program, with the engine that reads RTSP.
    Operator(&'static str),
    /// Where it is installed.
    MediaMtx,
}

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many cameras the large load has.
    pub cameras: usize,
    /// How many the largest one has.
    pub many: usize,
    /// How long each load is watched.
    pub seconds: u64,
    /// How often the times of a single camera are taken.
    pub repeats: usize,
    /// Look for the ceiling: by so many cameras more at a time, and at most so many.
    pub ceiling: Option<(usize, usize)>,
    /// Where the table goes.
    pub output: Option<PathBuf>,
}

/// CPU and memory under a load.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Cameras.
    pub cameras: usize,
    /// CPU, in percent of one core for each camera.
    pub cpu_percent: f64,
    /// Proportional memory of all processes, bytes.
    pub pss_bytes: u64,
    /// Bytes of coded pictures among it, if the subject says.
    pub payload_bytes: Option<u64>,
}

/// All that was measured of one of the two.
#[derive(Debug, Clone)]
pub struct Measured {
    /// What it is called.
    pub name: &'static str,
    /// The small load and the large one.
    pub loads: Vec<Load>,
    /// From the start of the process to the first HLS segment that a player can fetch.
    pub first_segment: Vec<Duration>,
    /// From the camera's return to the first picture that is recorded.
    pub recorded_again: Vec<Duration>,
    /// From the picture before the lens to the playlist that lists it.
    pub latency: Vec<latency::Latency>,
}

fn options() -> Option<Options> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        Some(arguments.get(place + 1).unwrap_or_else(|| panic!("{name} needs a value")))
    };
    let number = |name: &str, usual: usize| {
        value(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} <number>")))
    };
    let (quick, ceiling) = (has("--quick"), has("--ceiling"));
    let mut known = vec!["--bench", "--quick", "--ceiling"];
    let with_values = ["--cameras", "--many", "--seconds", "--step", "--most", "--output"];
    known.extend(with_values);
    for (place, argument) in arguments.iter().enumerate() {
        let is_value = place > 0 && with_values.contains(&arguments[place - 1].as_str());
        assert!(is_value || known.contains(&argument.as_str()), "{argument} is not known: {}", known.join(", "));
    }
    let file = if ceiling { "docs/benchmarks/ceiling.md" } else { "docs/benchmarks/run.md" };
    let usual = (!quick).then(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
    let steps = (number("--step", if quick { 50 } else { 100 }), number("--most", if quick { 100 } else { 2000 }));
    let options = Options {
        cameras: number("--cameras", if quick { 5 } else { 20 }),
        many: number("--many", if quick { 10 } else { 100 }),
        seconds: number("--seconds", if quick { 10 } else { 30 }) as u64,
        repeats: if quick { 1 } else { 3 },
        ceiling: ceiling.then_some(steps),
        output: value("--output").map(Into::into).or(usual),
    };
    // `cargo test --all-targets` runs benchmarks too, to see that they start.
    has("--bench").then_some(options)
}

fn start(which: Which, urls: &[String], data: &Path) -> Box<dyn Subject> {
    let _ = fs::remove_dir_all(data);
    fs::create_dir_all(data).unwrap();
    match which {
        Which::BareFfmpeg => Box::new(BareFfmpeg::start(urls, data)),
        Which::Operator(engine) => Box::new(Operator::start(urls, data, false, engine)),
        Which::MediaMtx => Box::new(MediaMtx::start(urls, data)),
    }
}

/// CPU and memory while everything flows.
fn under_load(which: Which, cameras: usize, seconds: u64, folder: &Path) -> Load {
    let server = load::Cameras::start(cameras, folder);
    let data = folder.join("data");
    let mut subject = start(which, &server.urls, &data);
    eprintln!("{}: {cameras} cameras for {seconds} s", subject.name());
    for camera in 0..cameras {
        support::wait("every camera is live", || subject.is_live(camera).then_some(()));
    }
    // Rings and windows fill up once; what is measured is what goes on around the clock.
    std::thread::sleep(WARM_UP);
    let (begun, cpu) = (Instant::now(), subject.cpu_seconds());
    // A measured time, not a condition: this is how long the load is watched.
    std::thread::sleep(Duration::from_secs(seconds));
    let (elapsed, cpu) = (begun.elapsed().as_secs_f64(), subject.cpu_seconds() - cpu);
    let (pss_bytes, payload_bytes) = (subject.pss_bytes(), subject.payload_bytes());
    let recorded: u64 = (0..cameras)
        .flat_map(|camera| subject.recorded(camera))
        .map(|file| fs::metadata(file).map_or(0, |metadata| metadata.len()))
        .sum();
    // 4 Mbit/s are half a megabyte a second; a subject that does less work than that would win unfairly.
    let expected = (cameras as f64 * elapsed * 500_000.0) as u64;
    assert!(recorded * 10 > expected * 8, "{} recorded {recorded} bytes of about {expected}", subject.name());
    subject.end();
    drop(subject);
    let _ = fs::remove_dir_all(data);
    Load { cameras, cpu_percent: cpu / elapsed / cameras as f64 * 100.0, pss_bytes, payload_bytes }
}

/// From the start of the process to the first segment, with one camera.
fn first_segment(which: Which, folder: &Path) -> Duration {
    let server = load::Cameras::start(1, folder);
    let begun = Instant::now();
    let mut subject = start(which, &server.urls, &folder.join("data"));
    while !subject.is_live(0) {
        assert!(begun.elapsed() < support::PATIENCE, "{} makes no segment", subject.name());
        std::thread::sleep(Duration::from_millis(10));
    }
    let elapsed = begun.elapsed();
    subject.end();
    elapsed
}

fn compared(options: &Options, folder: &Path) -> String {
    let all = [options.cameras.div_ceil(4), options.cameras, options.many];
    let loads = |which: Which| all.map(|cameras| under_load(which, cameras, options.seconds, folder)).to_vec();
    let measure = |which: Which| {
        let measured = Measured {
            name: if which == Which::BareFfmpeg { "bare FFmpeg" } else { "camera-operator" },
            loads: loads(which),
            first_segment: (0..options.repeats).map(|_| first_segment(which, folder)).collect(),
            recorded_again: (0..options.repeats).map(|_| latency::recorded_again(which, folder)).collect(),
            latency: latency::glass_to_playlist(which, folder),
        };
        eprintln!("{measured:#?}");
        measured
    };
    let (bare, ours) = (measure(Which::BareFfmpeg), measure(Which::Operator("Auto")));
    let with_ffmpeg = under_load(Which::Operator("FFmpeg"), options.cameras, options.seconds, folder);
    let media_mtx = MediaMtx::version().map(|version| (version, loads(Which::MediaMtx)));
    report::markdown(options, &bare, &ours, with_ffmpeg, media_mtx.as_ref())
}

fn main() {
    let Some(options) = options() else {
        println!("skipped: run it by `cargo bench --bench run`");
        return;
    };
    // On the disk that the build is on: recordings are large.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    fs::create_dir_all(&folder).unwrap();
    let text = match options.ceiling {
        Some((step, most)) => ceiling::markdown(step, most, options.seconds, &folder),
        None => compared(&options, &folder),
    };
    println!("{text}");
    if let Some(path) = &options.output {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        eprintln!("written to {}", path.display());
    }
    let _ = fs::remove_dir_all(folder.join("data"));
}
