//! What the end-to-end tests and the benchmark stand on: scriptable cameras, the program itself as a process, HTTP, FFmpeg
//! as a judge, and manifests. Everything that is started here ends when its value is dropped. Must not assert timing: it
//! awaits conditions, with deadlines that only a broken program reaches.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test ends at the first thing that is not as it should be"
)]

pub mod agent;
pub mod audience;
pub mod camera;
pub mod chart;
pub mod chatwoot;
pub mod clock;
pub mod cluster;
pub mod film;
pub mod hls;
pub mod hold;
pub mod hook;
pub mod http;
pub mod judge;
pub mod manifest;
pub mod multipart;
pub mod operator;
pub mod peer;
pub mod picture;
pub mod process;
pub mod program;
pub mod prometheus;
pub mod rtp;
pub mod rtsp_server;
pub mod service;
pub mod slack;
pub mod smtp;
pub mod tap;
pub mod target;
pub mod telegram;
pub mod token;

use std::time::{Duration, Instant};

/// How long a condition may take before it counts as never: far longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Awaits a condition: asks again and again until there is an answer. `None` = not in [`PATIENCE`].
pub fn poll<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if begun.elapsed() > patience {
            return None;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// [`poll`], and a panic that says what was awaited.
pub fn wait<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    poll(PATIENCE, ask).unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// A TCP port of the loopback interface that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
