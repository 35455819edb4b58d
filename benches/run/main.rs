//! `make bench`: this program beside a bare FFmpeg that does the same work, on the same cameras, in the same run. Writes
//! `docs/benchmarks/run.md`.
//!
//! ```text
//! cargo bench --bench run -- [--quick] [--cameras 20] [--many 100] [--seconds 60] [--output <file>]
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "a benchmark ends at the first thing that is not as it should be"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod latency;
mod load;
mod report;
mod subject;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use subject::{BareFfmpeg, Operator, Subject};

/// How long a load runs before it is watched: two windows of HLS.
const WARM_UP: Duration = Duration::from_secs(2 * 6 * subject::SEGMENT_SECONDS as u64);

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
    let mut options = Options {
        cameras: 20,
        many: 100,
        seconds: 60,
        repeats: 3,
        output: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks/run.md")),
    };
    let mut called_by_cargo = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--bench" => called_by_cargo = true,
            "--quick" => {
                (options.cameras, options.many, options.seconds) = (5, 10, 10);
                (options.repeats, options.output) = (1, None);
            }
            "--cameras" => options.cameras = value().parse().expect("--cameras <number>"),
            "--many" => options.many = value().parse().expect("--many <number>"),
            "--seconds" => options.seconds = value().parse().expect("--seconds <number>"),
            "--output" => options.output = Some(value().into()),
            other => panic!(
                "{other} is not known: --quick, --cameras <number>, --many <number>, --seconds <number>, --output <file>"
            ),
        }
    }
    // `cargo test --all-targets` runs benchmarks too, to see that they start.
    called_by_cargo.then_some(options)
}

fn start(which: usize, urls: &[String], data: &Path) -> Box<dyn Subject> {
    let _ = fs::remove_dir_all(data);
    fs::create_dir_all(data).unwrap();
    match which {
        0 => Box::new(BareFfmpeg::start(urls, data)),
        1 => Box::new(Operator::start(urls, data, false, "Auto")),
        _ => Box::new(Operator::start(urls, data, false, "FFmpeg")),
    }
}

/// CPU and memory while everything flows.
fn under_load(which: usize, cameras: usize, seconds: u64, folder: &Path) -> Load {
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
fn first_segment(which: usize, folder: &Path) -> Duration {
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

fn main() {
    let Some(options) = options() else {
        println!("skipped: run it by `cargo bench --bench run`");
        return;
    };
    // On the disk that the build is on: recordings are large.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    fs::create_dir_all(&folder).unwrap();
    let small = options.cameras.div_ceil(4);
    let all = [small, options.cameras, options.many];
    let measured: Vec<Measured> = (0..2)
        .map(|which| {
            let loads = all.map(|cameras| under_load(which, cameras, options.seconds, &folder)).to_vec();
            let first_segment = (0..options.repeats).map(|_| first_segment(which, &folder)).collect();
            let recorded_again = (0..options.repeats).map(|_| latency::recorded_again(which, &folder)).collect();
            let latency = latency::glass_to_playlist(which, &folder);
            let measured = Measured {
                name: ["bare FFmpeg", "camera-operator"][which],
                loads,
                first_segment,
                recorded_again,
                latency,
            };
            eprintln!("{measured:#?}");
            measured
        })
        .collect();
    let with_ffmpeg = under_load(2, options.cameras, options.seconds, &folder);
    let text = report::markdown(&options, &measured[0], &measured[1], with_ffmpeg);
    println!("{text}");
    if let Some(path) = &options.output {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        eprintln!("written to {}", path.display());
    }
    let _ = fs::remove_dir_all(folder.join("data"));
}
