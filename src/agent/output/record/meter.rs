//! How much of the time that a recording is wanted is really held: two counters, whose difference over any span is what that
//! span lacks. Must not look at the disk.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

/// The counters of one recording unit, from its start on. The time while no unit runs is in neither; the archive's own account
/// has that.
#[derive(Debug)]
pub struct Meter {
    began: Instant,
    held: Mutex<Duration>,
}

impl Default for Meter {
    fn default() -> Self {
        Self { began: Instant::now(), held: Mutex::default() }
    }
}

impl Meter {
    /// Since when the recording is wanted.
    pub fn wanted(&self) -> Duration {
        self.began.elapsed()
    }

    /// How much of that is on the disk.
    pub fn held(&self) -> Duration {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much more is on the disk.
    pub(super) fn add(&self, more: Duration) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) += more;
    }
}
