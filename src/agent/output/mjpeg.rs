//! A stream as Motion JPEG for many viewers from one decoder, which runs only while somebody watches. A camera that sends JPEG
//! is passed through. A slow viewer loses pictures and slows nobody: there is one newest picture, and nothing is queued.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use super::decoder::{DecodeError, Decoder, Options};
use crate::agent::hub::{Event, Hub, Reach, Reader};
use crate::agent::unit::UnitContext;
use crate::media::fmp4::writer::{FragmentOptions, write_fragment, write_header};
use crate::media::frame::{Codec, Configuration, Frame, RunId, TrackKind, UtcMicros};
use crate::plan::report::{Reason, UnitState};
use crate::plan::unit::{Mjpeg, ObjectKind, ObjectRef};

/// The decoder outlives its last viewer by so long, so that a page that is loaded again finds it running.
const LINGER: Duration = Duration::from_secs(5);
/// Before a decoder that failed is started again.
const RETRY: Duration = Duration::from_secs(2);

/// One picture of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// JPEG.
    pub jpeg: Bytes,
    /// When it was captured, by the newest frame that went into the decoder: exact for a camera that sends JPEG.
    pub captured: UtcMicros,
}

/// What viewers find.
#[derive(Debug)]
pub struct MjpegStream {
    newest: watch::Sender<Option<Arc<Picture>>>,
    viewers: watch::Sender<usize>,
    shown: AtomicU64,
}

impl Default for MjpegStream {
    fn default() -> Self {
        Self { newest: watch::channel(None).0, viewers: watch::channel(0).0, shown: AtomicU64::new(0) }
    }
}

impl MjpegStream {
    /// Joins the viewers. Pictures come as long as the viewer is held.
    pub fn watch(self: &Arc<Self>) -> Viewer {
        self.viewers.send_modify(|viewers| *viewers += 1);
        let mut pictures = self.newest.subscribe();
        // A picture from before the decoder was last stopped is old; one that is decoded now is worth showing at once.
        pictures.mark_changed();
        Viewer { stream: self.clone(), pictures }
    }

    /// Viewers now.
    pub fn viewers(&self) -> usize {
        *self.viewers.borrow()
    }

    /// Pictures made since the stream began.
    pub fn shown(&self) -> u64 {
        self.shown.load(Ordering::Relaxed)
    }

    fn show(&self, picture: Picture) {
        self.shown.fetch_add(1, Ordering::Relaxed);
        self.newest.send_replace(Some(Arc::new(picture)));
    }

    fn blank(&self) {
        self.newest.send_replace(None);
    }

    async fn wait_for_viewers(&self) {
        // The sender lives as long as `self`.
        let _ = self.viewers.subscribe().wait_for(|viewers| *viewers > 0).await;
    }

    async fn wait_until_deserted(&self) {
        let mut viewers = self.viewers.subscribe();
        loop {
            let _ = viewers.wait_for(|viewers| *viewers == 0).await;
            if tokio::time::timeout(LINGER, viewers.wait_for(|viewers| *viewers > 0)).await.is_err() {
                return;
            }
        }
    }
}

/// One viewer's place.
#[derive(Debug)]
pub struct Viewer {
    stream: Arc<MjpegStream>,
    pictures: watch::Receiver<Option<Arc<Picture>>>,
}

impl Viewer {
    /// The newest picture that this viewer has not had, waiting for one; `None` when the stream has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Picture>> {
        loop {
            self.pictures.changed().await.ok()?;
            let picture = self.pictures.borrow_and_update().clone();
            if picture.is_some() {
                return picture;
            }
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.stream.viewers.send_modify(|viewers| *viewers -= 1);
    }
}

/// Runs a stream until it is cancelled.
pub async fn run(context: UnitContext, mjpeg: Mjpeg) {
    let stream = Arc::new(MjpegStream::default());
    context.registry.mjpeg.insert(context.object.key.clone(), stream.clone());
    tokio::select! {
        () = context.cancel.cancelled() => {}
        () = follow_camera(&context, &mjpeg) => {}
        () = serve(&context, &mjpeg, &stream) => {}
    }
    context.registry.mjpeg.remove(&context.object.key, &stream);
}

/// Keeps the unit's state in step with its camera's: without a viewer nothing is decoded, so that nothing else could tell.
async fn follow_camera(context: &UnitContext, mjpeg: &Mjpeg) {
    let camera = ObjectRef { kind: ObjectKind::Camera, key: mjpeg.camera.clone() };
    let mut changes = context.board.subscribe();
    loop {
        changes.mark_unchanged();
        match context.board.unit(&camera) {
            Some(report) if report.state == UnitState::Running => {
                context.set_state(UnitState::Running, Reason::Streaming, "pictures are there for whoever asks");
            }
            Some(report) => {
                let message = format!("waiting for camera {}: {}", mjpeg.camera.name, report.message);
                context.set_state(UnitState::Waiting, Reason::CameraUnavailable, message);
            }
            None => {
                let message = format!("waiting for camera {}, which is starting", mjpeg.camera.name);
                context.set_state(UnitState::Waiting, Reason::CameraUnavailable, message);
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn serve(context: &UnitContext, mjpeg: &Mjpeg, stream: &Arc<MjpegStream>) {
    let mut closed = None;
    loop {
        stream.wait_for_viewers().await;
        let hub = context.registry.hubs.wait_for_other(&mjpeg.camera, closed.as_ref()).await;
        let ended = tokio::select! {
            () = stream.wait_until_deserted() => Ok(()),
            ended = show_pictures(&hub, mjpeg, stream) => {
                if ended.is_ok() {
                    closed = Some(hub);
                }
                ended
            }
        };
        stream.blank();
        if let Err(error) = ended {
            context.set_notice("DecodeFailed", Some(error.to_string()));
            tokio::time::sleep(RETRY).await;
        } else {
            context.set_notice("DecodeFailed", None);
        }
    }
}

/// Shows pictures of one hub until it closes or a decoder fails.
async fn show_pictures(hub: &Hub, mjpeg: &Mjpeg, stream: &Arc<MjpegStream>) -> Result<(), DecodeError> {
    let mut reader = hub.subscribe(Reach::Live);
    let mut pending = Vec::new();
    loop {
        if pending.is_empty() {
            match reader.next().await {
                Some(events) => pending = events,
                None => return Ok(()),
            }
        }
        let start = pending.iter().position(|event| matches!(event, Event::Configuration { .. }));
        let Some(start) = start else {
            pending.clear();
            continue;
        };
        let rest = pending.split_off(start + 1);
        let Some(Event::Configuration { run, configuration }) = pending.pop() else { continue };
        pending = if configuration.video.codec == Codec::Mjpeg && mjpeg.width.is_none() {
            pass_through(&mut reader, rest, run, mjpeg, stream).await
        } else {
            decode(&mut reader, rest, run, &configuration, mjpeg, stream).await?
        };
    }
}

/// Where the frames of one configuration end among `events`.
fn end_of_configuration(events: &[Event]) -> Option<usize> {
    events.iter().position(|event| matches!(event, Event::Configuration { .. } | Event::Ended(_)))
}

fn video_frames(events: &[Event]) -> Vec<Arc<Frame>> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Frame(frame) if frame.track == TrackKind::Video => Some(frame.clone()),
            _ => None,
        })
        .collect()
}

/// Shows JPEG frames as they are, no more often than asked for; returns the events that follow this configuration.
async fn pass_through(
    reader: &mut Reader,
    mut events: Vec<Event>,
    _run: RunId,
    mjpeg: &Mjpeg,
    stream: &MjpegStream,
) -> Vec<Event> {
    let distance = 1_000_000 / i64::from(mjpeg.frames_per_second.max(1));
    let mut due = UtcMicros(i64::MIN);
    loop {
        let end = end_of_configuration(&events);
        for frame in video_frames(&events[..end.unwrap_or(events.len())]) {
            // A tenth of the distance is jitter: a camera of just the rate asked for must not lose every other picture.
            if frame.utc.0 >= due.0.saturating_sub(distance / 10) {
                due = UtcMicros((due.0.saturating_add(distance)).max(frame.utc.0 + distance / 2));
                stream.show(Picture { jpeg: frame.payload.clone(), captured: frame.utc });
            }
        }
        if let Some(end) = end {
            stream.blank();
            return events.split_off(end);
        }
        match reader.next().await {
            Some(next) => events = next,
            None => return Vec::new(),
        }
    }
}

fn filter(mjpeg: &Mjpeg) -> String {
    let interval = 1.0 / f64::from(mjpeg.frames_per_second.max(1));
    // Chosen by time, never repeated: a camera slower than asked for shows each picture once. As above, a tenth is jitter.
    let choose = format!("select=isnan(prev_selected_t)+gte(t-prev_selected_t\\,{:.4})", interval * 0.9);
    match mjpeg.width {
        Some(width) => format!("{choose},scale={width}:-2"),
        None => choose,
    }
}

/// Decodes the frames of one configuration; returns the events that follow it.
async fn decode(
    reader: &mut Reader,
    mut events: Vec<Event>,
    run: RunId,
    configuration: &Configuration,
    mjpeg: &Mjpeg,
    stream: &Arc<MjpegStream>,
) -> Result<Vec<Event>, DecodeError> {
    let options = Options { filter: filter(mjpeg), quality: mjpeg.quality, low_delay: true };
    let mut decoder = Decoder::start(&options)?;
    let Some(mut input) = decoder.input.take() else { return Ok(Vec::new()) };
    let (newest, captured) = watch::channel(UtcMicros(run.0 as i64 * 1000));
    let feed = async {
        input.write_all(&write_header(configuration, false)).await?;
        for sequence_number in 1.. {
            let end = end_of_configuration(&events);
            let frames = video_frames(&events[..end.unwrap_or(events.len())]);
            if let Some(last) = frames.last() {
                newest.send_replace(last.utc);
                for chunk in write_fragment(sequence_number, &frames, false, FragmentOptions::default()).chunks() {
                    input.write_all(chunk).await?;
                }
            }
            if let Some(end) = end {
                return Ok(events.split_off(end));
            }
            match reader.next().await {
                Some(next) => events = next,
                None => break,
            }
        }
        std::io::Result::Ok(Vec::new())
    };
    let show = async {
        while let Some(jpeg) = decoder.pictures.next().await? {
            stream.show(Picture { jpeg, captured: *captured.borrow() });
        }
        std::io::Result::Ok(())
    };
    let fed = tokio::select! {
        fed = feed => fed,
        shown = show => match shown {
            // The decoder ended while frames were there: it says why.
            Ok(()) => return Err(DecodeError::Failed(decoder.complaint().await)),
            Err(error) => Err(error),
        },
    };
    match fed {
        Ok(events) => {
            stream.blank();
            Ok(events)
        }
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Err(DecodeError::Failed(decoder.complaint().await))
        }
        Err(error) => Err(error.into()),
    }
}
