//! A stream as HLS: reads a hub, or one for each rendition that is encoded, cuts segments, offers them. The unit itself only moves things along: cutting is
//! decided in [`segmenter`], what is offered in [`window`], HTTP in [`routes`].

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use self::segmenter::{Numbers, Output, Segmenter, Settings};
use self::window::Window;
use crate::agent::hub::{Event, Pace};
use crate::agent::output::material::{Material, Wanted};
use crate::agent::transcode::Frames as _;
use crate::agent::unit::UnitContext;
use crate::media::frame::{Codec, UtcMicros};
use crate::media::hls;
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
    /// At least one; with a name where there are several to choose from.
    renditions: Vec<Arc<Rendition>>,
}

impl HlsStream {
    /// The rendition of a name; the only one has none.
    pub fn rendition(&self, name: &str) -> Option<&Arc<Rendition>> {
        self.renditions.iter().find(|rendition| rendition.name == name)
    }

    /// All of them, best first.
    pub fn renditions(&self) -> &[Arc<Rendition>] {
        &self.renditions
    }

    /// The multivariant playlist; `None` before every rendition has its first segment.
    pub fn multivariant(&self) -> Option<String> {
        let variants: Option<Vec<hls::Variant>> =
            self.renditions.iter().map(|rendition| rendition.window().variant(&rendition.name)).collect();
        variants.map(|variants| hls::write_multivariant(&variants))
    }

    /// Why there is nothing yet.
    pub fn waiting(&self) -> (Reason, String) {
        // The schema holds the list above zero.
        self.renditions.first().map_or_else(|| (Reason::Connecting, String::new()), |first| first.waiting())
    }
}

/// One rendition of a stream.
#[derive(Debug)]
pub struct Rendition {
    name: String,
    window: watch::Sender<Arc<Window>>,
    /// Up to which segment clients know of them from playlists: the largest [`Window::end`] that was given out.
    told: AtomicU64,
    /// Bytes of the segment that is being made.
    making: AtomicUsize,
    /// Why there is nothing yet.
    waiting: Mutex<(Reason, String)>,
}

impl Rendition {
    fn new(name: &str, window: Window) -> Self {
        Self {
            name: name.to_owned(),
            window: watch::channel(Arc::new(window)).0,
            told: AtomicU64::new(0),
            making: AtomicUsize::new(0),
            waiting: Mutex::new((Reason::CameraUnavailable, String::new())),
        }
    }

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

    /// Bytes of all that it keeps in memory: segments, those that have expired included, and the one that is being made.
    pub fn bytes(&self) -> usize {
        let whole: usize = self.window.borrow().segments().map(|segment| segment.len()).sum();
        whole + self.making.load(Ordering::Relaxed)
    }

    /// Why there is nothing yet, or nothing new.
    pub fn waiting(&self) -> (Reason, String) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Unit<'a> {
    context: &'a UnitContext,
    rendition: &'a Rendition,
    segmenter: Segmenter,
    window: Window,
    /// The codec is one that HLS can carry.
    carried: bool,
    /// The slate is shown.
    slate: bool,
    /// It speaks for the whole stream.
    speaks: bool,
}

/// A segment ends at a key frame, so that nothing is late by waiting for one; a part of Low-Latency HLS ends anywhere. Segments
/// that a distant key frame cannot end are late by this at most.
const PAUSE: Duration = Duration::from_millis(500);
/// What is encoded is handed over so often.
const ENCODED_PACE: Pace = Pace::Pauses(Duration::from_millis(100));

/// Runs a stream until it is cancelled.
pub async fn run(context: UnitContext, hls: Hls) {
    let registry = context.registry.clone();
    let key = context.object.key.clone();
    let wanted = Wanted {
        camera: &hls.camera,
        video: hls.video.as_ref(),
        audio: hls.audio,
        audio_bit_rate: hls.audio_bit_rate,
        fallback: hls.fallback.as_deref(),
        ring: None,
    };
    let material = Material::new(&context, wanted);
    let window = Window::new(hls.playlist_segments as usize, hls.audio);
    let renditions = material.names().iter().map(|name| Arc::new(Rendition::new(name, window.clone()))).collect();
    let stream = Arc::new(HlsStream { renditions });
    registry.hls.insert(key.clone(), stream.clone());
    // The same numbers for all: what has the same number shows the same moment.
    let first = registry.numbering.first_numbers(&key);
    let all = stream.renditions.iter().enumerate();
    let follow = all.map(|(index, rendition)| follow(&context, &hls, first, rendition, (&material, index)));
    let follow = async {
        futures::future::join_all(follow).await;
    };
    material.run(if hls.low_latency { Pace::EveryFrame } else { ENCODED_PACE }, follow).await;
    registry.hls.remove(&key, &stream);
}

/// Makes segments of one rendition until the unit is cancelled.
async fn follow(
    context: &UnitContext,
    hls: &Hls,
    first: Numbers,
    rendition: &Rendition,
    (material, index): (&Material<'_>, usize),
) {
    let settings = Settings {
        segment: hls.segment_ms * 1000,
        part: hls.low_latency.then_some(hls.part_ms * 1000),
        audio: hls.audio,
    };
    let pace = if hls.low_latency { Pace::EveryFrame } else { Pace::KeyFrames(PAUSE) };
    let segmenter = Segmenter::new(settings, first);
    let window = Window::clone(&rendition.window());
    let mut unit = Unit { context, rendition, segmenter, window, carried: true, slate: false, speaks: index == 0 };
    let camera = &hls.camera;
    if context.registry.hubs.get(camera).is_some() {
        unit.wait(Reason::Connecting, format!("Waiting for a key frame of camera {camera}."));
    } else {
        // A stream of a camera that is suspended or not declared is not in the plan.
        unit.wait(Reason::CameraUnavailable, starting(camera));
    }
    let mut frames = material.read(index, pace);
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
        *self.rendition.waiting.lock().unwrap_or_else(PoisonError::into_inner) = (reason, message.clone());
        if self.speaks {
            self.context.set_state(state, reason, message);
        }
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
                         add `video: {{codec: H264}}`, or use `output.mjpeg`.",
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
        self.rendition.making.store(self.segmenter.making(), Ordering::Relaxed);
        if outputs.is_empty() {
            return;
        }
        let whole = outputs.iter().any(|output| matches!(output, Output::Segment(_)));
        let idle = matches!(outputs.last(), Some(Output::Idle));
        self.window.set_told(self.rendition.told.load(Ordering::Relaxed));
        for output in outputs {
            self.window.apply(output);
        }
        if self.speaks {
            self.context.registry.numbering.keep(&self.context.object.key, self.segmenter.next_numbers());
        }
        // Whoever hears that it runs finds the playlist there.
        self.rendition.window.send_replace(Arc::new(self.window.clone()));
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
