//! How a session went that is fed with a camera's frames, whatever carries it and is done with them.

use std::time::Duration;

use crate::plan::report::Reason;

/// How a session went.
#[derive(Debug)]
pub struct Ended {
    /// Why it ended.
    pub reason: Reason,
    /// One redacted sentence.
    pub message: String,
    /// For how long it did what it is there for; `None` when it never did.
    pub lasted: Option<Duration>,
    /// No need to wait before the next one.
    pub at_once: bool,
}

impl Ended {
    /// One that did not come to be.
    pub fn early((reason, message): (Reason, String)) -> Self {
        Self { reason, message, lasted: None, at_once: false }
    }
}
