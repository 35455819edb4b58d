//! The latest picture of a camera as JPEG, with its capture time. Decodes the newest GOP from the hub, so that the camera is
//! not asked for anything; for a camera that sends JPEG it is the frame itself. Requests that come together share one decode.
//! A camera whose video does not flow has no latest picture: an old one is never shown as new.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

use super::decoder::{DecodeError, Decoder, Options};
use crate::agent::registry::Registry;
use crate::media::fmp4::writer::{FragmentOptions, write_fragment, write_header};
use crate::media::frame::{Codec, Configuration, Frame, UtcMicros};
use crate::plan::report::Reason;
use crate::plan::unit::ObjectKey;

/// A picture is handed out again for so long after it was made, or twice as long as it took: whoever waited for another's
/// decode takes its result, however long the GOP.
const REUSE: Duration = Duration::from_secs(1);
/// A decoder that takes longer has hung, or shows what is no longer now.
const PATIENCE: Duration = Duration::from_secs(15);
/// JPEG quality on FFmpeg's scale: visibly clean, a quarter of the size of the best.
const QUALITY: i32 = 4;
/// So many decode at once, whatever is asked; each takes one core.
const DECODERS: usize = 2;

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// JPEG.
    pub jpeg: Bytes,
    /// When it was captured.
    pub captured: UtcMicros,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// No such camera runs here.
    #[error("no camera of this name runs here")]
    NoCamera,
    /// The camera's video does not flow now.
    #[error("the camera sends no video now")]
    NoVideo,
    /// It flows, but cannot be made a JPEG.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl SnapshotError {
    /// As a condition reason.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NoCamera | Self::NoVideo => Reason::CameraUnavailable,
            Self::Decode(DecodeError::Missing) => Reason::FFmpegMissing,
            Self::Decode(_) => Reason::FFmpegFailed,
        }
    }
}

/// A picture that was made, and for how long it will do.
#[derive(Debug)]
struct Kept {
    snapshot: Snapshot,
    made: Instant,
    reuse: Duration,
}

type Place = Arc<tokio::sync::Mutex<Option<Kept>>>;

/// The newest snapshot of each camera, one decode at a time for each.
#[derive(Debug)]
pub struct Snapshots {
    cameras: Mutex<BTreeMap<ObjectKey, Place>>,
    decoders: Semaphore,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { cameras: Mutex::default(), decoders: Semaphore::new(DECODERS) }
    }
}

impl Snapshots {
    fn place(&self, camera: &ObjectKey) -> Place {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner).entry(camera.clone()).or_default().clone()
    }

    /// Forgets a camera that no longer runs.
    pub fn forget(&self, camera: &ObjectKey) {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner).remove(camera);
    }
}

/// The latest picture of a camera.
pub async fn snapshot(registry: &Registry, camera: &ObjectKey) -> Result<Snapshot, SnapshotError> {
    let hub = registry.hubs.get(camera).ok_or(SnapshotError::NoCamera)?;
    let place = registry.snapshots.place(camera);
    let mut newest = place.lock().await;
    // Asked only now: whoever waited for another's decode may find its result young enough.
    let (configuration, frames) = hub.newest_gop().ok_or(SnapshotError::NoVideo)?;
    let captured = frames.last().map(|frame| frame.utc).ok_or(SnapshotError::NoVideo)?;
    if let Some(kept) = newest.as_ref()
        && (kept.snapshot.captured == captured || kept.made.elapsed() < kept.reuse)
    {
        return Ok(kept.snapshot.clone());
    }
    let begun = Instant::now();
    let jpeg = if let (Codec::Mjpeg, Some(frame)) = (configuration.video.codec, frames.last()) {
        copied(frame)
    } else {
        // The semaphore is never closed.
        let _permit = registry.snapshots.decoders.acquire().await;
        let decoding = tokio::time::timeout(PATIENCE, decode_last(&configuration, &frames));
        decoding.await.map_err(|_| DecodeError::Failed("it took too long".into()))??
    };
    let snapshot = Snapshot { jpeg, captured };
    let made = Instant::now();
    *newest = Some(Kept { snapshot: snapshot.clone(), made, reuse: REUSE.max(2 * (made - begun)) });
    Ok(snapshot)
}

/// A picture that may be kept for long must not keep others with it.
fn copied(frame: &Frame) -> Bytes {
    Bytes::copy_from_slice(&frame.payload)
}

/// The last picture that came from a camera, however old: for who wants to see what was there before it went. While its video
/// flows it is the latest one.
///
/// # Errors
/// When nothing of it is left, or it cannot be decoded.
pub async fn last_picture(registry: &Registry, camera: &ObjectKey) -> Result<Snapshot, SnapshotError> {
    match snapshot(registry, camera).await {
        Err(SnapshotError::NoVideo) => {}
        answer => return answer,
    }
    let hub = registry.hubs.get(camera).ok_or(SnapshotError::NoCamera)?;
    let (configuration, frames) = hub.last_gop().ok_or(SnapshotError::NoVideo)?;
    let newest = frames.last().ok_or(SnapshotError::NoVideo)?;
    let captured = newest.utc;
    if configuration.video.codec == Codec::Mjpeg {
        return Ok(Snapshot { jpeg: copied(newest), captured });
    }
    // The semaphore is never closed.
    let _permit = registry.snapshots.decoders.acquire().await;
    let decoding = tokio::time::timeout(PATIENCE, decode_last(&configuration, &frames));
    let jpeg = decoding.await.map_err(|_| DecodeError::Failed("it took too long".into()))??;
    Ok(Snapshot { jpeg, captured })
}

/// Decodes a GOP and returns its last picture.
async fn decode_last(configuration: &Configuration, frames: &[Arc<Frame>]) -> Result<Bytes, DecodeError> {
    // The last pictures are all encoded, since a damaged one may be missing at the end; the newest that came is taken.
    let first = frames.len().saturating_sub(3);
    let filter = format!("select=gte(n\\,{first})");
    let mut decoder = Decoder::start(&Options { filter, quality: QUALITY, low_delay: false })?;
    let header = write_header(configuration, false);
    let fragment = write_fragment(1, frames, false, FragmentOptions::default());
    let input = decoder.input.take();
    let feed = async move {
        if let Some(mut input) = input {
            input.write_all(&header).await?;
            for chunk in fragment.chunks() {
                input.write_all(chunk).await?;
            }
        }
        std::io::Result::Ok(())
    };
    let read = async {
        let mut last = None;
        while let Some(picture) = decoder.pictures.next().await? {
            last = Some(picture);
        }
        std::io::Result::Ok(last)
    };
    let (fed, picture) = tokio::join!(feed, read);
    if let Some(picture) = picture? {
        return Ok(picture);
    }
    let complaint = decoder.complaint().await;
    Err(fed.err().map_or(DecodeError::Failed(complaint), DecodeError::Pipe))
}
