//! SIGINT and SIGTERM: the first asks for a clean end, the second ends at once. Must not decide what a clean end is.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that end a process. From when this is made they no longer do so by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the operating system gives no handler.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The number of the next signal.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
        }
    }

    /// Waits for the first signal.
    pub async fn first(mut self) -> Self {
        self.next().await;
        self
    }

    /// Ends the process when another signal comes, as a shell would report it.
    pub async fn exit_on_second(mut self) {
        let number = self.next().await;
        std::process::exit(128 + i32::from(number));
    }
}
