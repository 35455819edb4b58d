//! What a push has sent, for metrics: counts over all its sessions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// Counts; read at any time.
#[derive(Debug, Default)]
pub struct PushMeter {
    pictures: AtomicU64,
    dropped: AtomicU64,
    bytes: AtomicU64,
    sessions: AtomicU64,
    since: Mutex<Option<Timestamp>>,
}

/// The counts as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Pictures that were handed over.
    pub pictures: u64,
    /// Frames that were left out because the target was too slow.
    pub dropped: u64,
    /// Bytes that the target took.
    pub bytes: u64,
    /// Sessions that media was sent in.
    pub sessions: u64,
    /// Since when the session of now lasts.
    pub since: Option<Timestamp>,
}

impl PushMeter {
    /// Pictures were handed over.
    pub fn count_pictures(&self, pictures: u64) {
        self.pictures.fetch_add(pictures, Ordering::Relaxed);
    }

    /// Frames were left out.
    pub fn count_dropped(&self, frames: u64) {
        self.dropped.fetch_add(frames, Ordering::Relaxed);
    }

    /// The target took bytes.
    pub fn count_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A session begins (again), or ends with `None`.
    pub fn set_since(&self, since: Option<Timestamp>) {
        self.sessions.fetch_add(u64::from(since.is_some()), Ordering::Relaxed);
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// The counts as they are.
    pub fn counts(&self) -> Counts {
        Counts {
            pictures: self.pictures.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            sessions: self.sessions.load(Ordering::Relaxed),
            since: *self.since.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}
