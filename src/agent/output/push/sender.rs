//! What carries a session to its target: an FFmpeg, or this program where it speaks the protocol itself. Must not know what is sent
//! and when.

use std::time::Duration;

use crate::media::frame::Frame;
use crate::plan::report::Reason;

/// What may wait in the kernel for a target: enough for fast lines that are long, and little enough that a slow target is
/// noticed before the pictures are old. In bytes.
pub const SEND_BUFFER: u32 = 512 * 1024;
/// How long a target is given to hear that the stream ends.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// It is over: see [`Sender::end`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over;

/// A session's way to its target.
pub trait Sender: Send {
    /// Whether the target has accepted the session, and taken some of it.
    fn is_accepted(&self) -> bool;

    /// Whether all that was written has been handed over; until then nothing more should be written.
    fn is_fed(&self) -> bool;

    /// How many bytes have been handed over.
    fn given(&self) -> u64;

    /// Adds frames at their times in the session.
    fn write(&mut self, frames: Vec<Frame>);

    /// Does what there is to do, waiting for it: hands over, listens. Cancel safe.
    fn go_on(&mut self) -> impl Future<Output = Result<(), Over>> + Send;

    /// How many bytes the target has acknowledged; `None` where that cannot be told.
    fn acknowledged(&mut self) -> impl Future<Output = Option<u64>> + Send;

    /// Ends it; with `leave`, not without taking leave of the target. Returns why it was over, one redacted sentence with it.
    fn end(self, leave: bool) -> impl Future<Output = (Reason, String)> + Send;
}
