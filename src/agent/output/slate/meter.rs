//! How often and how long a stream has shown its slate, for metrics.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts; read at any time.
#[derive(Debug, Default)]
pub struct SlateMeter {
    inner: Mutex<Counts>,
}

/// The counts as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    switches: u64,
    before: Duration,
    since: Option<Instant>,
}

impl SlateMeter {
    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The slate is shown from now on.
    pub fn begin(&self) {
        self.change(|counts| {
            counts.switches += 1;
            counts.since.get_or_insert_with(Instant::now);
        });
    }

    /// It is no longer shown.
    pub fn end(&self) {
        self.change(|counts| counts.before += counts.since.take().map_or(Duration::ZERO, |since| since.elapsed()));
    }

    /// How often it was shown, for how long in all, and whether it is shown now.
    pub fn read(&self) -> (u64, Duration, bool) {
        let counts = *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = counts.since.map_or(Duration::ZERO, |since| since.elapsed());
        (counts.switches, counts.before + now, counts.since.is_some())
    }
}
