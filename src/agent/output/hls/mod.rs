//! A stream as HLS, by copy: reads a hub, cuts segments, offers them. The unit itself only moves things along: cutting is
//! decided in [`segmenter`], what is offered in [`window`], HTTP in [`routes`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use self::segmenter::{Output, Segmenter, Settings};
use self::window::Window;
use crate::agent::hub::{Event, Pace};
use crate::agent::output::slate::CameraOrSlate;
use crate::agent::unit::UnitContext;
use crate::media::frame::{Codec, UtcMicros};
use crate::plan::report::{Reason, UnitState};
use crate::plan::unit::{Hls, ObjectKey};

pub mod routes;
pub mod segmenter;
#[cfg(test)]
mod tests;
pub mod window;

/// A stream that runs, as request handlers see it.
#[derive(Debug)]
pub struct HlsStream {
    /// The camera that it shows.
    pub camera: ObjectKey,
    window: watch::Sender<Arc<Window>>,
    /// Up to which segment clients know of them from playlists: the largest [`Window::end`] that was given out.
    told: AtomicU64,
    /// Why there is nothing yet.
    waiting: Mutex<(Reason, String)>,
}

impl HlsStream {
    /// What it offers now.
    pub fn window(&self) -> Arc<Window> {
        self.window.borrow().clone()
    }

    /// Tells of every change of the window.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Window>> {
        self.window.subscribe()
    }

    /// The playlist of a window, for a client: what it names is kept from now on for as long as the client may ask for it.
    pub fn playlist(&self, window: &Window) -> Option<Bytes> {
        self.told.fetch_max(window.end(), Ordering::Relaxed);
        window.playlist()
    }

    /// Why there is nothing yet, or nothing new.
    pub fn waiting(&self) -> (Reason, String) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Unit<'a> {
    context: &'a UnitContext,
    stream: &'a HlsStream,
    segmenter: Segmenter,
    window: Window,
    /// The codec is one that HLS can carry.
    carried: bool,
    /// The slate is shown.
    slate: bool,
}

/// A segment ends at a key frame, so that nothing is late by waiting for one; a part of Low-Latency HLS ends anywhere. Segments
/// that a distant key frame cannot end are late by this at most.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs a stream until it is cancelled.
pub async fn run(context: UnitContext, hls: Hls) {
    let registry = context.registry.clone();
    let key = context.object.key.clone();
    let window = Window::new(hls.playlist_segments as usize, hls.audio);
    let stream = Arc::new(HlsStream {
        camera: hls.camera.clone(),
        window: watch::channel(Arc::new(window.clone())).0,
        told: AtomicU64::new(0),
        waiting: Mutex::new((Reason::CameraUnavailable, String::new())),
    });
    let settings = Settings {
        segment: hls.segment_ms * 1000,
        part: hls.low_latency.then_some(hls.part_ms * 1000),
        audio: hls.audio,
    };
    let first = registry.numbering.first_numbers(&key);
    let pace = if hls.low_latency { Pace::EveryFrame } else { Pace::KeyFrames(PAUSE) };
    let segmenter = Segmenter::new(settings, first);
    let mut unit = Unit { context: &context, stream: &stream, segmenter, window, carried: true, slate: false };
    registry.hls.insert(key.clone(), stream.clone());
    let camera = &hls.camera;
    if registry.hubs.get(camera).is_some() {
        unit.wait(Reason::Connecting, format!("Waiting for a key frame of camera {camera}."));
    } else {
        // A stream of a camera that is suspended or not declared is not in the plan.
        unit.wait(Reason::CameraUnavailable, starting(camera));
    }
    let mut frames = CameraOrSlate::new(&context, camera, pace, hls.fallback.as_ref());
    loop {
        let events = tokio::select! {
            () = context.cancel.cancelled() => break,
            events = frames.next() => events,
        };
        if events.is_empty() {
            unit.end();
            unit.wait(Reason::CameraUnavailable, starting(camera));
        } else {
            unit.take(&events);
        }
        // Segments that were finished just now are of what was shown before.
        unit.slate = frames.slate_since().is_some();
    }
    registry.hls.remove(&key, &stream);
}

fn starting(camera: &ObjectKey) -> String {
    format!("Waiting for camera {camera}, which is starting.")
}

impl Unit<'_> {
    /// Numbers are held against a clock that never goes back, or a stream would wait until the host's has caught up.
    fn now(&self) -> UtcMicros {
        self.context.registry.numbering.moment()
    }

    fn wait(&self, reason: Reason, message: String) {
        self.set_state(UnitState::Waiting, reason, message);
    }

    fn set_state(&self, state: UnitState, reason: Reason, message: String) {
        *self.stream.waiting.lock().unwrap_or_else(PoisonError::into_inner) = (reason, message.clone());
        self.context.set_state(state, reason, message);
    }

    fn take(&mut self, events: &[Event]) {
        let mut outputs = Vec::new();
        for event in events {
            self.notice(event);
            if self.carried || !matches!(event, Event::Frame(_)) {
                outputs.extend(self.segmenter.accept(event, self.now()));
            }
        }
        self.publish(outputs);
    }

    /// The camera's unit has ended.
    fn end(&mut self) {
        let outputs = self.segmenter.accept(&Event::Lost(0), self.now());
        self.publish(outputs.into_iter().chain([Output::Idle]).collect());
    }

    fn notice(&mut self, event: &Event) {
        match event {
            Event::Configuration { configuration, .. } => {
                let codec = configuration.video.codec;
                self.carried = codec != Codec::Mjpeg;
                if !self.carried {
                    let message = format!(
                        "The camera sends {}, which HLS cannot carry without transcoding. Set the camera to H.264 or H.265, \
                         or use `output.mjpeg`.",
                        codec.name()
                    );
                    self.set_state(UnitState::Failed, Reason::CodecNotCarried, message);
                }
            }
            Event::Ended(ending) => self.wait(ending.reason, ending.message.clone()),
            Event::Lost(frames) => {
                tracing::warn!(object = %self.context.object, frames, "too slow for the camera: frames were skipped");
            }
            Event::Frame(_) => {}
        }
    }

    fn publish(&mut self, outputs: Vec<Output>) {
        if outputs.is_empty() {
            return;
        }
        let whole = outputs.iter().any(|output| matches!(output, Output::Segment(_)));
        let idle = matches!(outputs.last(), Some(Output::Idle));
        self.window.set_told(self.stream.told.load(Ordering::Relaxed));
        for output in outputs {
            self.window.apply(output);
        }
        self.context.registry.numbering.keep(&self.context.object.key, self.segmenter.next_numbers());
        // Whoever hears that it runs finds the playlist there.
        self.stream.window.send_replace(Arc::new(self.window.clone()));
        if whole && !idle {
            let (reason, message) = if self.slate {
                (Reason::Slate, "The slate is shown, because the camera sends no pictures.")
            } else {
                (Reason::Streaming, "Segments are being made.")
            };
            self.set_state(UnitState::Running, reason, message.into());
        }
    }
}
