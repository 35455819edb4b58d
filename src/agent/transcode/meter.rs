//! What has been encoded for a stream or a recording, for metrics: counts over all sessions of its encoder.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counts; read at any time.
#[derive(Debug)]
pub struct EncodeMeter {
    encoder: Mutex<Option<&'static str>>,
    renditions: Vec<Counts>,
    dropped: AtomicU64,
    starts: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    name: String,
    pictures: AtomicU64,
    micros: AtomicU64,
}

/// What has been encoded of one rendition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Its name; empty where there is only one.
    pub rendition: String,
    /// Pictures.
    pub pictures: u64,
    /// For how long they are shown, in all.
    pub lasts: Duration,
}

impl EncodeMeter {
    /// One for renditions of these names.
    pub fn new<'a>(renditions: impl IntoIterator<Item = &'a str>) -> Self {
        let counts = |name: &str| Counts { name: name.to_owned(), ..Counts::default() };
        Self {
            encoder: Mutex::new(None),
            renditions: renditions.into_iter().map(counts).collect(),
            dropped: AtomicU64::new(0),
            starts: AtomicU64::new(0),
        }
    }

    /// An encoder of this name is started.
    pub fn start(&self, encoder: &'static str) {
        *self.encoder.lock().unwrap_or_else(PoisonError::into_inner) = Some(encoder);
        self.starts.fetch_add(1, Ordering::Relaxed);
    }

    /// A picture of a rendition came out that is shown for so many microseconds.
    pub fn count_picture(&self, rendition: usize, micros: u64) {
        if let Some(counts) = self.renditions.get(rendition) {
            counts.pictures.fetch_add(1, Ordering::Relaxed);
            counts.micros.fetch_add(micros, Ordering::Relaxed);
        }
    }

    /// Frames were left out, because the encoder was too slow.
    pub fn count_dropped(&self, frames: u64) {
        self.dropped.fetch_add(frames, Ordering::Relaxed);
    }

    /// FFmpeg's name of the encoder; `None` before the first.
    pub fn encoder(&self) -> Option<&'static str> {
        *self.encoder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been encoded, by rendition.
    pub fn encoded(&self) -> Vec<Encoded> {
        let read = |counts: &Counts| Encoded {
            rendition: counts.name.clone(),
            pictures: counts.pictures.load(Ordering::Relaxed),
            lasts: Duration::from_micros(counts.micros.load(Ordering::Relaxed)),
        };
        self.renditions.iter().map(read).collect()
    }

    /// Frames that were left out.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How often an encoder was started.
    pub fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }
}
