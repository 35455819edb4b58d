//! `make bench`: how soon people hear of a camera that goes, and what ten thousand alerts cost, beside Prometheus and Alertmanager that
//! do the same in the same run. Writes `docs/benchmarks/alerts.md`.
//!
//! ```text
//! cargo bench --bench alerts -- [--quick] [--alerts 10000] [--repeats 10] [--output <file>]
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "a benchmark ends at the first thing that is not as it should be"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod engine;
mod latency;
mod many;
mod report;

use std::fs;
use std::path::PathBuf;

use latency::How;
use support::cluster::project;
use support::prometheus;

/// In how many namespaces the alerts are, each with a route of its own.
pub const NAMESPACES: usize = 20;

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many alerts at once.
    pub alerts: usize,
    /// How often a camera goes, each way.
    pub repeats: usize,
    /// Where the tables go.
    pub output: Option<PathBuf>,
}

/// All that was measured.
#[derive(Debug, Clone)]
pub struct Measured {
    /// How.
    pub options: Options,
    /// When, UTC.
    pub date: String,
    /// Of this machine.
    pub processors: usize,
    /// How busy it was before: over one, five and fifteen minutes.
    pub load_before: String,
    /// A camera whose connection ends.
    pub pulled: latency::Latency,
    /// A camera whose picture stands still.
    pub frozen: latency::Latency,
    /// The engine.
    pub engine: engine::Engine,
    /// This program with many alerts.
    pub ours: many::Cost,
    /// Alertmanager with the same.
    pub theirs: many::Cost,
}

fn options() -> Option<Options> {
    let mut options = Options { alerts: 10_000, repeats: 10, output: Some(project("docs/benchmarks/alerts.md")) };
    let mut called_by_cargo = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--bench" => called_by_cargo = true,
            "--quick" => (options.alerts, options.repeats, options.output) = (1_000, 1, None),
            "--alerts" => options.alerts = value().parse().expect("--alerts <number>"),
            "--repeats" => options.repeats = value().parse().expect("--repeats <number>"),
            "--output" => options.output = Some(value().into()),
            other => panic!("{other} is not known: --quick, --alerts <number>, --repeats <number>, --output <file>"),
        }
    }
    // `cargo test --all-targets` runs benchmarks too, to see that they start.
    called_by_cargo.then_some(options)
}

fn main() {
    let Some(options) = options() else {
        println!("skipped: run it by `cargo bench --bench alerts`");
        return;
    };
    if !prometheus::is_installed() {
        return;
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let measured = Measured {
        date: jiff::Timestamp::now().strftime("%F").to_string(),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        load_before: load.split_whitespace().take(3).collect::<Vec<_>>().join(", "),
        engine: engine::measure(options.alerts),
        ours: many::ours(options.alerts),
        theirs: many::theirs(options.alerts),
        pulled: latency::measure(How::Pulled, options.repeats),
        frozen: latency::measure(How::Frozen, options.repeats),
        options,
    };
    eprintln!("{measured:#?}");
    let text = report::markdown(&measured);
    println!("{text}");
    if let Some(path) = &measured.options.output {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        eprintln!("written to {}", path.display());
    }
}
