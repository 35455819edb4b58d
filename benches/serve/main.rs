//! `make bench`: live HLS as this program serves it beside nginx that serves the same bytes from files, in turns, on the same
//! machine. Writes `docs/benchmarks/serve.md`.
//!
//! ```text
//! cargo bench --bench serve -- [--quick] [--seconds 5] [--output <file>]
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "a benchmark ends at the first thing that is not as it should be"
)]

mod client;
#[path = "../run/load.rs"]
mod load;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::Answered;
use support::peer::nginx;
use support::program::Program;
use support::{free_port, hls, http, manifest, process, wait};

/// Connections at once.
const CONNECTIONS: usize = 32;
/// How often each server has its turn.
const TURNS: usize = 5;
/// Segments that are asked for.
const SEGMENTS: usize = 3;

struct Options {
    seconds: u64,
    output: Option<PathBuf>,
}

fn options() -> Option<Options> {
    let output = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks/serve.md");
    let mut options = Options { seconds: 5, output: Some(output) };
    let mut called_by_cargo = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--bench" => called_by_cargo = true,
            "--quick" => (options.seconds, options.output) = (1, None),
            "--seconds" => options.seconds = value().parse().expect("--seconds <number>"),
            "--output" => options.output = Some(value().into()),
            other => panic!("{other} is not known: --quick, --seconds <number>, --output <file>"),
        }
    }
    // `cargo test --all-targets` runs benchmarks too, to see that they start.
    called_by_cargo.then_some(options)
}

/// A server under load.
#[derive(Clone, Copy)]
struct Measured {
    /// Whole answers a second.
    per_second: f64,
    /// Processor time of the server for each, in microseconds.
    micros: f64,
}

fn measure(port: u16, paths: &[String], seconds: u64, processes: &[u32]) -> Measured {
    let used = || processes.iter().map(|pid| process::cpu_seconds(*pid)).sum::<f64>();
    let before = used();
    let asked = client::ask(port, paths.to_vec(), CONNECTIONS, Duration::from_secs(seconds));
    let Answered { requests, elapsed, .. } = http::runtime().block_on(asked);
    Measured { per_second: requests as f64 / elapsed.as_secs_f64(), micros: (used() - before) * 1e6 / requests as f64 }
}

/// The median of each of the two.
fn median(turns: &[Measured]) -> Measured {
    let middle = |of: fn(&Measured) -> f64| {
        let mut all: Vec<f64> = turns.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    Measured { per_second: middle(|turn| turn.per_second), micros: middle(|turn| turn.micros) }
}

/// What is served: paths here, and the bytes behind them.
struct Served {
    paths: Vec<String>,
    bytes: usize,
}

/// Writes what the program serves now where nginx finds it, under the same paths.
fn copy(program: &Program, paths: &[String], root: &Path) -> Served {
    let mut bytes = 0;
    for path in paths {
        let answer = program.get(path);
        assert_eq!(answer.status, 200, "{path}");
        let file = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, &answer.body).unwrap();
        bytes += answer.body.len();
    }
    Served { paths: paths.to_vec(), bytes: bytes / paths.len() }
}

fn configuration(folder: &Path, port: u16) -> String {
    format!(
        "worker_processes auto;\nevents {{ worker_connections 1024; }}\nhttp {{ sendfile off; output_buffers 4 512k; access_log off; \
         keepalive_requests 1000000000; open_file_cache max=100; types {{ video/mp4 mp4 m4s; application/vnd.apple.mpegurl m3u8; }}\n\
         client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi; uwsgi_temp_path {0}/uwsgi; \
         scgi_temp_path {0}/scgi;\nserver {{ listen 127.0.0.1:{port} backlog=1024; root {0}/root; }} }}\n",
        folder.display()
    )
}

fn main() {
    let Some(options) = options() else {
        println!("skipped: run it by `cargo bench --bench serve`");
        return;
    };
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    fs::create_dir_all(&kept).unwrap();
    let cameras = load::Cameras::start(1, &kept);
    let manifests = manifest::camera("cam", &cameras.urls[0])
        + &manifest::hls("live", "cam", "{segmentDuration: 4s, playlistSegments: 6}");
    let mut program = Program::start(&manifests);
    let playlist_path = "/live/default/live/index.m3u8";
    wait("a live window", || {
        let (_, playlist) = hls::fetch(&program.url(playlist_path))?;
        (playlist.segments.len() >= SEGMENTS).then_some(())
    });

    let folder = tempfile::tempdir_in(&kept).unwrap();
    let port = free_port();
    let server = nginx(folder.path(), ("127.0.0.1", port), &configuration(folder.path(), port));
    let theirs = process::tree(server.pid());
    let ours = program.processes();

    let mut text = String::new();
    for what in ["playlist", "segment"] {
        let mut turns = (Vec::new(), Vec::new());
        let mut bytes = 0;
        for _ in 0..TURNS {
            // The window moves on: each turn asks for what is newest.
            let (_, playlist) = hls::fetch(&program.url(playlist_path)).unwrap();
            let newest = playlist.segments.iter().rev().take(SEGMENTS);
            let paths: Vec<String> = match what {
                "playlist" => vec![playlist_path.to_owned()],
                _ => newest.map(|segment| url::Url::parse(&segment.url).unwrap().path().to_owned()).collect(),
            };
            let served = copy(&program, &paths, &folder.path().join("root"));
            bytes = served.bytes;
            turns.0.push(measure(port, &served.paths, options.seconds, &theirs));
            turns.1.push(measure(program.port, &served.paths, options.seconds, &ours));
        }
        let (nginx, ours) = (median(&turns.0), median(&turns.1));
        let size = format!("{what} of {:.1} KiB", bytes as f64 / 1024.0);
        let _ = writeln!(
            text,
            "| {size}: requests a second | {:.0} | {:.0} | {:.2} |",
            nginx.per_second,
            ours.per_second,
            ours.per_second / nginx.per_second
        );
        let _ = writeln!(
            text,
            "| {size}: processor time a request | {:.0} µs | {:.0} µs | {:.2} |",
            nginx.micros,
            ours.micros,
            ours.micros / nginx.micros
        );
    }
    program.terminate();
    drop(server);

    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let text = format!(
        "# Live HLS beside nginx\n\nWritten by `make bench` (`cargo bench --bench serve`; `-- --quick` for a short look).\n\n\
         One camera of 1080p25 at 4 Mbit/s is live; {CONNECTIONS} connections ask for its newest playlist, and for its newest segments, as \
         fast as they are answered. nginx (`worker_processes auto`, `open_file_cache`, `output_buffers 4 512k`, which is faster here than `sendfile`, no log) serves the \
         same bytes from files in the page cache, in the same run on the same machine ({processors} cores), which the one who asks has to share with both. \
         Medians of {TURNS} turns of {} s.\n\n\
         | | nginx | camera-operator | ratio |\n| --- | ---: | ---: | ---: |\n{text}",
        options.seconds
    );
    println!("{text}");
    if let Some(path) = &options.output {
        fs::write(path, text).unwrap();
        eprintln!("written to {}", path.display());
    }
}
