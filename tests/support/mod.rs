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

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a condition may take before it counts as never: far longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(2);

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

/// A port, TCP and UDP, for a server that is started later. It is given out once, and lies below those that the kernel gives to
/// connections and to whoever asks for any port: one of those may be somebody else's by the time that the server wants it. (The test
/// clusters' are above, from 20000 on.)
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 10_000..20_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Other test programs begin elsewhere.
    let begin = std::process::id().wrapping_mul(617);
    let next = || PORTS.start + begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
    let ports = (0..PORTS.end - PORTS.start).map(|_| u16::try_from(next()).unwrap());
    let mut free = ports.filter(|port| {
        std::net::TcpListener::bind(("0.0.0.0", *port)).is_ok() && std::net::UdpSocket::bind(("0.0.0.0", *port)).is_ok()
    });
    free.next().expect("a free port")
}
