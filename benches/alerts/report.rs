//! What was measured as Markdown. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::latency::{GATHER, HOLD, Latency, STALL};
use crate::many::{Cost, STANDING};
use crate::{Measured, NAMESPACES};

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// Median and worst in seconds.
fn spread(times: &[Duration]) -> (f64, f64) {
    let mut sorted: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    sorted.sort_by(f64::total_cmp);
    (sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN), sorted.last().copied().unwrap_or(f64::NAN))
}

fn latency_rows(text: &mut String, what: &str, latency: &Latency, configured: u64) {
    let (ours, theirs) = (spread(&latency.ours), spread(&latency.theirs));
    for (name, ours, theirs) in [("median", ours.0, theirs.0), ("worst", ours.1, theirs.1)] {
        let own = ours - configured as f64;
        let _ = writeln!(
            text,
            "| {what}, {name} | {ours:.2} s | {configured} s | {own:.2} s | {theirs:.2} s | {:.2} |",
            ours / theirs
        );
    }
}

fn cost_row(text: &mut String, what: &str, of: impl Fn(&Cost) -> f64, unit: &str, ours: &Cost, theirs: &Cost) {
    let (ours, theirs) = (of(ours), of(theirs));
    let ratio = if theirs > 0.0 { format!("{:.2}", ours / theirs) } else { "–".to_owned() };
    let _ = writeln!(text, "| {what} | {ours:.2} {unit} | {theirs:.2} {unit} | {ratio} |");
}

/// The whole document.
pub fn markdown(measured: &Measured) -> String {
    let Measured { options, date, processors, load_before, pulled, frozen, engine, ours, theirs } = measured;
    let mut text = String::from("# Alerts\n\n");
    let _ = writeln!(
        text,
        "Written by `make bench` (`cargo bench --bench alerts`; `-- --quick` for a short look, `-- --alerts 5000 --repeats 20` for another load) on \
         {date}, on a machine with {processors} processors (load average before: {load_before}). Beside it, in the same run, Prometheus \
         and Alertmanager as Debian packages them.\n\n\
         ## From the last picture to the message\n\
         One camera (RTSP, 25 pictures a second), `camera-operator run`, one webhook; {} times each. Most of it is what was asked for: the camera's \
         `stallTimeout` ({STALL} s, where the connection stays), the route's `holdFor` ({HOLD} s), and {GATHER} s for what comes with it, so that many cameras \
         are one message. The program's own part is what remains, with looks at everything once a second. Prometheus scrapes the same \
         program every second and evaluates a rule every second with `for: {HOLD}s`; Alertmanager has `group_wait` and `group_interval` of {GATHER} s, and does not gather in a group that it told of less than that ago, as here it \
         often has. By default `stallTimeout` is 10 s and \
         `holdFor` 30 s; the chart's rules wait for five minutes.\n\n\
         | | this program | asked for | its own part | Prometheus and Alertmanager | ratio |\n| --- | ---: | ---: | ---: | ---: | ---: |",
        options.repeats,
    );
    latency_rows(&mut text, "the plug is pulled", pulled, HOLD + GATHER);
    latency_rows(&mut text, "the picture stands still", frozen, STALL + HOLD + GATHER);

    let count = options.alerts;
    let _ = writeln!(
        text,
        "\n## {count} alerts at once\n\
         Two processes take in the same {count} alerts of {NAMESPACES} namespaces in {NAMESPACES} requests, gather them by namespace for {} s, and tell a webhook: \
         `camera-operator run` with a route in each namespace, which also writes down who was told what before it tells anybody, and Alertmanager, \
         whose notification log is written every quarter of an hour. Every alert was told once by both. Standing is over {} s; nothing in it is \
         less than a hundredth of a second of processor time in all.\n\n\
         | | this program | Alertmanager | ratio |\n| --- | ---: | ---: | ---: |",
        HOLD + GATHER,
        STANDING.as_secs(),
    );
    let seconds = |of: fn(&Cost) -> Duration| move |cost: &Cost| of(cost).as_secs_f64();
    cost_row(&mut text, "all taken in", seconds(|cost| cost.taken_in), "s", ours, theirs);
    cost_row(&mut text, "all told", seconds(|cost| cost.delivered), "s", ours, theirs);
    cost_row(&mut text, "processor time until then", |cost| cost.cpu_seconds, "s", ours, theirs);
    cost_row(&mut text, "processor time a second, while they stand", |cost| cost.standing * 1000.0, "ms", ours, theirs);
    cost_row(&mut text, "memory, more than before", |cost| mebibytes(cost.memory), "MiB", ours, theirs);
    cost_row(&mut text, "memory of the whole process", |cost| mebibytes(cost.whole), "MiB", ours, theirs);

    let _ = writeln!(
        text,
        "\nThe engine by itself, as a cluster's operator runs it once a second ({count} cameras in {NAMESPACES} namespaces, each with a route of two receivers):\n\n\
         | | |\n| --- | ---: |\n\
         | a look at all objects while they are well | {} |\n| while all are down | {} |\n\
         | the slowest step of all routes, in which everything is told | {} |\n| a step while everything stands | {} |\n\
         | memory, with the look | {:.1} MiB |\n| who was told what, as JSON | {:.1} MiB |",
        milliseconds(engine.well),
        milliseconds(engine.down),
        milliseconds(engine.slowest),
        milliseconds(engine.standing),
        mebibytes(engine.memory),
        mebibytes(engine.saved as u64),
    );
    text
}
