//! What can be known of the machine and of the processes that this program started. Linux' `/proc` where there is one; what
//! cannot be known is left out. Reads no arguments of any process: they may tell more than they should.

use std::path::Path;

use crate::gateway::world::{ProcessHealth, ProcessesHealth, ProgramHealth, SystemHealth};

/// What to do when FFmpeg cannot be run.
pub const FFMPEG_MISSING: &str = "FFmpeg is not installed, and without it no camera can be read. Install it (Debian and \
    Ubuntu: apt install ffmpeg; Fedora: dnf install ffmpeg-free; macOS: brew install ffmpeg) and start again";

/// Whether FFmpeg can be run, and what it says of itself.
pub async fn ffmpeg() -> ProgramHealth {
    let output =
        tokio::process::Command::new("ffmpeg").arg("-version").stdin(std::process::Stdio::null()).output().await;
    let Ok(output) = output else { return ProgramHealth::default() };
    ProgramHealth { present: output.status.success(), version: version(&String::from_utf8_lossy(&output.stdout)) }
}

/// The version of `ffmpeg version 5.1.9-0+deb12u1 Copyright …`.
fn version(text: &str) -> Option<String> {
    text.lines().next()?.strip_prefix("ffmpeg version ")?.split_whitespace().next().map(ToOwned::to_owned)
}

/// The machine as a whole.
pub fn system() -> SystemHealth {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    SystemHealth {
        processors: std::thread::available_parallelism().map_or(0, |count| count.get() as u64),
        load_average: std::fs::read_to_string("/proc/loadavg").ok().as_deref().and_then(load_average),
        memory_total_bytes: memory_field(&memory, "MemTotal"),
        memory_available_bytes: memory_field(&memory, "MemAvailable"),
    }
}

fn load_average(text: &str) -> Option<[f64; 3]> {
    let mut fields = text.split_whitespace().map(|field| field.parse().ok());
    Some([fields.next()??, fields.next()??, fields.next()??])
}

fn memory_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// This process and all that it started.
pub fn processes() -> ProcessesHealth {
    let mut pending = vec![std::process::id()];
    let mut processes = Vec::new();
    while let Some(pid) = pending.pop() {
        let folder = Path::new("/proc").join(pid.to_string());
        let Ok(name) = std::fs::read_to_string(folder.join("comm")) else { continue };
        let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
        processes.push(ProcessHealth {
            pid,
            name: name.trim_end().to_owned(),
            resident_bytes: memory_field(&status, "VmRSS").unwrap_or(0),
        });
        for task in std::fs::read_dir(folder.join("task")).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            pending.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    ProcessesHealth { count: processes.len() as u64, processes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_their_files() {
        assert_eq!(load_average("0.52 1.00 2.25 1/123 4567\n"), Some([0.52, 1.0, 2.25]));
        assert_eq!(load_average(""), None);
        let memory = "MemTotal:       16000 kB\nMemAvailable:    8000 kB\n";
        assert_eq!(memory_field(memory, "MemTotal"), Some(16_384_000));
        assert_eq!(memory_field(memory, "Mem"), None);
        assert_eq!(version("ffmpeg version 5.1.9-0+deb12u1 Copyright (c)\nbuilt"), Some("5.1.9-0+deb12u1".into()));
    }

    #[test]
    fn this_process_and_its_children_are_found() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = processes();
        let (own, other) = (std::process::id(), child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.processes.iter().any(|one| one.pid == own && one.resident_bytes > 0), "{found:?}");
        assert!(found.processes.iter().any(|one| one.pid == other), "{found:?}");
        assert_eq!(found.count, found.processes.len() as u64);
    }
}
