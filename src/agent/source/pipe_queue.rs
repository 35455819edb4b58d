//! What waits to be handed to a process on its standard input. The process takes it when it likes; whoever feeds it looks at
//! how much waits and adds no more meanwhile. Must not know what the bytes are.

use std::io;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;

use super::byte_queue::ByteQueue;

/// Bytes in front of a pipe.
#[derive(Debug)]
pub struct PipeQueue {
    /// `None` once it is closed.
    pipe: Option<ChildStdin>,
    queue: ByteQueue,
}

impl PipeQueue {
    /// One with nothing in it.
    pub fn new(pipe: ChildStdin) -> Self {
        Self { pipe: Some(pipe), queue: ByteQueue::default() }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many bytes the process has taken.
    pub const fn given(&self) -> u64 {
        self.queue.given()
    }

    /// Hands over as much of what waits as the process takes now, waiting for it; never done while nothing waits. Cancel safe:
    /// what was not taken stays.
    ///
    /// # Errors
    /// When the process takes nothing any more.
    pub async fn hand_over(&mut self) -> io::Result<()> {
        let Some(next) = self.queue.pieces().next() else { return std::future::pending().await };
        let Some(pipe) = &mut self.pipe else { return Err(io::ErrorKind::BrokenPipe.into()) };
        match pipe.write(next).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            bytes => {
                self.queue.advance(bytes);
                Ok(())
            }
        }
    }

    /// Closes the pipe: to the process the stream ends there. What waits is left.
    pub fn close(&mut self) {
        self.pipe = None;
    }
}

impl Extend<Bytes> for PipeQueue {
    fn extend<T: IntoIterator<Item = Bytes>>(&mut self, more: T) {
        self.queue.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::AsyncReadExt as _;
    use tokio::process::Command;

    use super::*;

    #[tokio::test]
    async fn all_of_it_arrives_in_order_and_then_the_end() {
        let mut command = Command::new("cat");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut queue = PipeQueue::new(child.stdin.take().unwrap());
        // Far more than a pipe holds.
        let sent: Vec<Bytes> = (0..200_u8).map(|number| Bytes::from(vec![number; 7000])).collect();
        queue.extend(sent.iter().cloned().chain([Bytes::new()]));
        let mut output = child.stdout.take().unwrap();
        let feed = async {
            while !queue.is_empty() {
                queue.hand_over().await.unwrap();
            }
            queue.close();
            queue.given()
        };
        let mut arrived = Vec::new();
        let (given, read) = tokio::join!(feed, output.read_to_end(&mut arrived));
        assert_eq!((given, read.unwrap()), (1_400_000, 1_400_000));
        assert!(arrived == sent.concat());
    }

    #[tokio::test]
    async fn a_process_that_is_gone_is_an_error_and_what_waits_stays() {
        let mut child = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let mut queue = PipeQueue::new(child.stdin.take().unwrap());
        child.wait().await.unwrap();
        queue.extend([Bytes::from_static(b"more")]);
        assert!(queue.hand_over().await.is_err());
        assert!(!queue.is_empty() && queue.given() == 0);
    }
}
