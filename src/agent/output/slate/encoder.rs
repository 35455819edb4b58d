//! An FFmpeg that makes slate pictures. It sees no address and no credential, reads at most one picture, and dies with whoever
//! holds it. Must not decide when a slate is shown or what is on it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::ChildStdout;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::card::{self, Background, Card, Shape};
use crate::agent::source::process::{Ends, Manner, Process, spawn_sender};
use crate::agent::unit::LogBuffer;
use crate::media::access_unit::VideoTrack;
use crate::media::fmp4::reader::{Event, Limits, Reader};
use crate::media::frame::{FrameKind, TrackConfiguration};

/// Pictures that wait to be shown: beyond that whoever shows them is held up, and goes on at a key frame.
const QUEUE: usize = 32;

/// Why there is no slate.
#[derive(Debug, thiserror::Error)]
pub enum SlateError {
    /// FFmpeg is not installed.
    #[error("FFmpeg is not installed; install the package ffmpeg")]
    Missing,
    /// FFmpeg could not be started, or a pipe broke.
    #[error("FFmpeg cannot be started: {0}")]
    Start(io::Error),
    /// FFmpeg ended without a picture.
    #[error("the slate cannot be drawn: {0}")]
    Failed(String),
}

/// A slate picture as its encoder wrote it.
#[derive(Debug, Clone)]
pub struct SlatePicture {
    /// What it needs.
    pub configuration: Arc<TrackConfiguration>,
    /// The coded picture, as frames carry it.
    pub payload: Bytes,
    /// Whether decoding can start here.
    pub is_key: bool,
}

struct Encoder {
    process: Process,
    output: ChildStdout,
    reader: Reader,
    track: Option<VideoTrack>,
}

impl Encoder {
    fn start(arguments: &[String], picture: Option<Bytes>, logs: Arc<LogBuffer>) -> Result<Self, SlateError> {
        let (process, ends) = spawn_sender(arguments, None, &[], logs).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SlateError::Missing,
            _ => SlateError::Start(error),
        })?;
        let Ends { mut media, progress } = ends;
        if let Some(picture) = picture {
            // Ends with the process that reads it.
            tokio::spawn(async move {
                let _ = media.write_all(&picture).await;
            });
        }
        Ok(Self { process, output: progress, reader: Reader::new(Limits::default()), track: None })
    }

    /// The next picture; `None` at the end.
    async fn next(&mut self) -> Option<SlatePicture> {
        loop {
            while let Some(event) = self.reader.next_event().ok()? {
                match event {
                    Event::Tracks(tracks) => self.track = VideoTrack::new(tracks.first()?).ok(),
                    Event::Sample(sample) => {
                        let track = self.track.as_mut()?;
                        let picture = track.accept(&sample.payload).ok()?;
                        let configuration = track.configuration()?.clone();
                        let is_key = picture.kind == FrameKind::Key;
                        return Some(SlatePicture { configuration, payload: picture.payload, is_key });
                    }
                    Event::Message { .. } => {}
                }
            }
            let wanted = self.reader.wanted();
            let buffer = self.reader.buffer();
            buffer.reserve(wanted.max(16 * 1024));
            if self.output.read_buf(buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Why it ended.
    async fn complaint(self) -> String {
        let lines = self.process.stop(Manner::InOrder).await;
        lines.last().map_or_else(|| "FFmpeg gave no reason".to_owned(), |line| line.trim().to_owned())
    }
}

/// One picture of a slate.
///
/// # Errors
/// When FFmpeg cannot make it.
pub async fn still(
    card: &Card,
    shape: Shape,
    picture: Option<(Background, Bytes)>,
    logs: Arc<LogBuffer>,
) -> Result<SlatePicture, SlateError> {
    let background = picture.as_ref().map_or(Background::Plain, |(background, _)| *background);
    let arguments = card::still(card, shape, background);
    let mut encoder = Encoder::start(&arguments, picture.map(|(_, bytes)| bytes), logs)?;
    match encoder.next().await {
        Some(picture) => Ok(picture),
        None => Err(SlateError::Failed(encoder.complaint().await)),
    }
}

/// Pictures of a slate in real time, for as long as this is held.
#[derive(Debug)]
pub struct Moving {
    pictures: mpsc::Receiver<SlatePicture>,
    _task: AbortOnDropHandle<()>,
}

impl Moving {
    /// Starts it. `away`: for how many seconds the camera has been away.
    pub fn start(
        card: &Card,
        shape: Shape,
        picture: Option<(Background, Bytes)>,
        away: u64,
        logs: Arc<LogBuffer>,
    ) -> Result<Self, SlateError> {
        let background = picture.as_ref().map_or(Background::Plain, |(background, _)| *background);
        let arguments = card::moving(card, shape, background, away);
        let mut encoder = Encoder::start(&arguments, picture.map(|(_, bytes)| bytes), logs)?;
        let (sender, pictures) = mpsc::channel(QUEUE);
        let task = tokio::spawn(async move {
            let mut wait_for_key = true;
            while let Some(picture) = encoder.next().await {
                if wait_for_key && !picture.is_key {
                    continue;
                }
                // Waiting would make its clock wrong.
                wait_for_key = match sender.try_send(picture) {
                    Ok(()) => false,
                    Err(mpsc::error::TrySendError::Full(_)) => true,
                    Err(mpsc::error::TrySendError::Closed(_)) => return,
                };
            }
        });
        Ok(Self { pictures, _task: AbortOnDropHandle::new(task) })
    }

    /// All pictures that are there, waiting for one; empty once the encoder has ended. Cancel safe.
    pub async fn next(&mut self) -> Vec<SlatePicture> {
        let mut pictures = Vec::new();
        self.pictures.recv_many(&mut pictures, QUEUE).await;
        pictures
    }
}
