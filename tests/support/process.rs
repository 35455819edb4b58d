//! Processes by way of `/proc`: trees, signals, and what they cost.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Sends a signal (`STOP`, `CONT`, `TERM`, …) to a process that a test started.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
}

/// A process and all its descendants, itself first.
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.get(pid).into_iter().flatten());
        next += 1;
    }
    found
}

/// The fields of `/proc/<pid>/stat` after the name: state, parent, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = text.rsplit_once(") ")?;
    Some(after_name.split(' ').map(str::to_owned).collect())
}

/// Whether a process is there and no zombie.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

/// Whether a process stands still (SIGSTOP).
pub fn is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] == "T")
}

/// CPU seconds of a process (user and system), with those of its children that ended and were waited for.
pub fn cpu_seconds(pid: u32) -> f64 {
    // proc(5): utime, stime, cutime, cstime are fields 14 to 17, in ticks of 1/100 s on every Linux that there is.
    let ticks = |fields: &[String]| fields[11..15].iter().filter_map(|field| field.parse::<f64>().ok()).sum::<f64>();
    stat(pid).map_or(0.0, |fields| ticks(&fields) / 100.0)
}

/// How long each thread of a process, by its id, was ready to run and had to wait for a processor, since it began
/// (`schedstat`: the second number, nanoseconds). Nothing where the kernel does not count that.
pub fn run_delays(pid: u32) -> BTreeMap<u32, Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            let waited = text.split_whitespace().nth(1)?.parse().ok()?;
            Some((thread.file_name().to_str()?.parse().ok()?, Duration::from_nanos(waited)))
        })
        .collect()
}

/// The sum of what threads have waited between two answers of [`run_delays`]; those that have ended since are left out.
pub fn waited(before: &BTreeMap<u32, Duration>, after: &BTreeMap<u32, Duration>) -> Duration {
    let since = |(thread, now): (&u32, &Duration)| now.saturating_sub(before.get(thread).copied().unwrap_or_default());
    after.iter().map(since).sum()
}

/// Proportional set size in bytes: memory, with shared pages divided among those who share them.
pub fn pss_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The most memory that a process has had resident, in bytes.
pub fn peak_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// What another process could read of this one's arguments and environment.
pub fn arguments_and_environment(pid: u32) -> Vec<u8> {
    let mut bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.push(0);
    bytes.extend(fs::read(format!("/proc/{pid}/environ")).unwrap_or_default());
    bytes
}
