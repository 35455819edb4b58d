//! A session that an FFmpeg carries: for protocols that this program does not speak, and sound that must be encoded.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::time::timeout;

use super::acknowledged::acknowledged;
use super::arguments::{Invocation, OPTIONS_FD};
use super::classify::{Stage, classify};
use super::sender::{FAREWELL, Over, Sender};
use crate::agent::source::pipe_queue::PipeQueue;
use crate::agent::source::process::{Ends, Manner, Process, spawn_sender};
use crate::agent::unit::LogBuffer;
use crate::media::frame::Frame;
use crate::media::nut::NutWriter;
use crate::plan::capability::Carrier;
use crate::plan::report::Reason;

/// An FFmpeg and what it is fed with.
#[derive(Debug)]
pub struct FFmpegSender {
    process: Process,
    told: Lines<BufReader<ChildStdout>>,
    is_told: bool,
    queue: PipeQueue,
    writer: NutWriter,
    carrier: Carrier,
    stage: Stage,
}

impl FFmpegSender {
    /// Starts one.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        invocation: &Invocation,
        carrier: Carrier,
        writer: NutWriter,
        logs: Arc<LogBuffer>,
    ) -> io::Result<Self> {
        let options = invocation.options.as_deref().map(|options| (OPTIONS_FD, options));
        let (process, ends) = spawn_sender(&invocation.arguments, options, &invocation.secrets, logs)?;
        let Ends { media, progress } = ends;
        let (queue, told) = (PipeQueue::new(media), BufReader::new(progress).lines());
        Ok(Self { process, told, is_told: true, queue, writer, carrier, stage: Stage::Opening })
    }
}

impl Sender for FFmpegSender {
    fn is_accepted(&self) -> bool {
        self.stage == Stage::Sending
    }

    fn is_fed(&self) -> bool {
        self.queue.is_empty()
    }

    fn given(&self) -> u64 {
        self.queue.given()
    }

    fn write(&mut self, frames: Vec<Frame>) {
        self.writer.write(frames, &mut self.queue);
    }

    async fn go_on(&mut self) -> Result<(), Over> {
        tokio::select! {
            biased;
            _ = self.process.wait() => Err(Over),
            line = self.told.next_line(), if self.is_told => {
                match line {
                    Ok(Some(line)) if has_sent(&line) => self.stage = Stage::Sending,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => self.is_told = false,
                }
                Ok(())
            }
            handed_over = self.queue.hand_over() => if handed_over.is_ok() {
                Ok(())
            } else {
                self.process.wait_for_its_end().await;
                Err(Over)
            },
        }
    }

    async fn acknowledged(&mut self) -> Option<u64> {
        // SRT is no TCP: its library ends the session itself when the other side is silent.
        let id = self.process.id().filter(|_| self.carrier != Carrier::Srt)?;
        tokio::task::spawn_blocking(move || acknowledged(id)).await.ok()?.ok()
    }

    async fn end(mut self, leave: bool) -> (Reason, String) {
        self.queue.close();
        if leave {
            // The stream ends there, so that it takes leave of the target.
            let _ = timeout(FAREWELL, self.process.wait()).await;
        }
        let lines = self.process.stop(Manner::InOrder).await;
        classify(&lines, self.stage, self.carrier)
    }
}

/// Whether a line of FFmpeg's progress says that a picture was sent.
fn has_sent(line: &str) -> bool {
    let frames = line.strip_prefix("frame=").and_then(|frames| frames.trim().parse::<u64>().ok());
    frames.is_some_and(|frames| frames > 0)
}
