//! What was measured as Markdown. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::Measured;
use crate::load::{Cost, One};

fn median(times: impl Iterator<Item = Duration>) -> f64 {
    let mut sorted: Vec<f64> = times.map(|time| time.as_secs_f64()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn table(text: &mut String, head: &str, rows: &[(String, String, String)]) {
    let _ = writeln!(text, "\n| {head} | operator | plain client |\n| --- | ---: | ---: |");
    for (what, ours, floor) in rows {
        let _ = writeln!(text, "| {what} | {ours} | {floor} |");
    }
}

fn row(what: &str, ours: String, floor: Option<String>) -> (String, String, String) {
    (what.to_owned(), ours, floor.unwrap_or_else(|| "–".to_owned()))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn calls(text: &mut String, cost: &Cost, cameras: usize) {
    let _ = writeln!(text, "\n| request | number | for each camera |\n| --- | ---: | ---: |");
    for (call, number) in &cost.calls {
        let _ = writeln!(text, "| {call} | {number} | {:.2} |", *number as f64 / cameras as f64);
    }
}

/// The whole document.
pub fn markdown(measured: &Measured) -> String {
    let Measured { options, date, processors, load_before, ones, floor, many, idle, takeover, .. } = measured;
    let cameras = many.cameras;
    let is_shared =
        load_before.split(',').next().and_then(|load| load.parse::<f64>().ok()).is_some_and(|load| load > 1.0);
    let shared = if is_shared {
        " **Others worked on the machine at the same time**: times are longer than they would be, for both; numbers of requests, \
         processor time and memory are not."
    } else {
        ""
    };
    let mut text = String::from("# The operator with many cameras\n\n");
    let _ = writeln!(
        text,
        "Written by `make bench` (`cargo bench --bench cluster`; `-- --quick` for a short look, `-- --cameras 2000 --seconds 300` for another \
         load) on {date}, on a machine with {processors} processors (load average before: {load_before}).{shared}\n\n\
         A real etcd, API server, controller manager and scheduler, and the operator as a process beside them, all on that one machine; \
         {} nodes and their pods are simulated by kwok, and one server stands in for all agents, answering their reports as agents do. So what is \
         measured is everything but the pulling of images, the start of containers and the camera. The operator has the chart's default settings. \
         Beside it a plain client has written the same objects, copied from those of one camera, with the same concurrency ({}), in the same \
         run on the same API server. Requests are those that the API server's audit log shows for the operator's account, reading ones, too.",
        crate::NODES,
        crate::CONCURRENCY,
    );

    let of = |time: fn(&One) -> Duration| format!("{:.0} ms", median(ones.iter().map(time)) * 1000.0);
    table(
        &mut text,
        &format!("one camera (median of {})", ones.len()),
        &[
            row("written → pod there", of(|one| one.created), Some(of(|one| one.floor_created))),
            row(
                "written → camera ready (plain client: pod running)",
                of(|one| one.ready),
                Some(of(|one| one.floor_running)),
            ),
        ],
    );
    let per_camera = |number: usize| format!("{number} ({:.2} a camera)", number as f64 / cameras as f64);
    let requests: usize = many.cost.calls.values().sum();
    let objects = crate::floor::CHILDREN.len() * cameras;
    table(
        &mut text,
        &format!("{cameras} cameras at once"),
        &[
            row("all Cameras written by their user", seconds(many.applied), None),
            row("all objects written", seconds(many.written), Some(seconds(floor.written))),
            row("all pods there", seconds(many.created), Some(seconds(floor.created))),
            row("all pods running", seconds(many.running), Some(seconds(floor.running))),
            row("all cameras ready", seconds(many.ready), None),
            row("requests to the API server", per_camera(requests), Some(per_camera(objects))),
            row("of them, writes", per_camera(many.cost.writes), Some(per_camera(objects))),
            row("processor time of the operator", format!("{:.1} s", many.cost.cpu_seconds), None),
            row("its memory at most", format!("{:.0} MiB", mebibytes(many.peak_bytes)), None),
        ],
    );
    calls(&mut text, &many.cost, cameras);

    let minutes = idle.cost.elapsed.as_secs_f64() / 60.0;
    let a_minute = |number: usize| format!("{:.1}", number as f64 / minutes);
    let _ = writeln!(
        text,
        "\n| nothing to do, with {cameras} cameras, for {} s | a minute |\n| --- | ---: |\n\
         | processor time of the operator | {:.2} s |\n| writes | {} |\n| renewals of its Lease | {} |\n| other requests (watches begun anew) | {} |\n\n\
         Of {} objects (Cameras and what was made for them), {} had another resource version afterwards. The operator's memory was {:.0} MiB.",
        options.seconds,
        idle.cost.cpu_seconds / minutes,
        a_minute(idle.cost.writes),
        a_minute(idle.cost.leases),
        a_minute(idle.cost.calls.values().sum::<usize>() - idle.cost.writes),
        idle.objects,
        idle.changed,
        mebibytes(idle.pss_bytes),
    );
    let requests: usize = takeover.cost.calls.values().sum();
    let _ = writeln!(
        text,
        "\n| a new leader with {cameras} cameras | |\n| --- | ---: |\n| start → all looked at | {} |\n| requests | {requests} |\n\
         | of them, writes | {} |\n| processor time | {:.1} s |\n| memory at most | {:.0} MiB |",
        seconds(takeover.looked),
        takeover.cost.writes,
        takeover.cost.cpu_seconds,
        mebibytes(takeover.peak_bytes),
    );
    text
}
