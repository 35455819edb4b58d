//! Pictures that are encoded anew: one FFmpeg reads the frames of a camera (or of whatever stands in for it), decodes them once
//! and encodes them for each rendition; what comes out are frames in a hub for each, which outputs read as they read a
//! camera's. This file decides when it is tried again.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`arguments`] | pure: what is wanted → FFmpeg's arguments |
//! | [`encoders`] | which encoders work on this machine |
//! | [`timeline`] | pure: the encoder's time and the way back to the camera's |
//! | [`feed`] | pure: frames of all runs → what FFmpeg is fed with |
//! | [`derived`] | what comes out → frames in a hub |
//! | [`session`] | one FFmpeg, from start to end |
//! | [`meter`] | counts for metrics |

pub mod arguments;
pub mod derived;
pub mod encoders;
pub mod feed;
pub mod meter;
pub mod session;
#[cfg(test)]
mod tests;
pub mod timeline;

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::time::sleep;

use self::arguments::{Task, build, grid};
use self::derived::Derived;
use self::meter::EncodeMeter;
use self::session::Session;
use crate::agent::hub::{Ending, Event, Hub, Limits};
use crate::agent::registry::Table;
use crate::agent::source::fed::Ended;
use crate::agent::source::reconnect::{Attempts, Next, Outcome};
use crate::agent::unit::UnitContext;
use crate::media::frame::{Configuration, Frame, RunId, TrackKind, UtcMicros};
use crate::plan::report::Reason;
use crate::plan::transcode::Transcode;
use crate::plan::unit::{ObjectKey, Reconnect};

/// Condition type of a stream that is encoded in software because the encoder that was asked for does not work.
pub const ENCODER_FALLBACK: &str = "EncoderFallback";
/// Between two attempts.
const AGAIN: Reconnect = Reconnect { initial_delay_ms: 500, max_delay_ms: 30_000, max_attempts: None };
/// A derived hub holds at least this much, and a whole group of pictures; its readers are in the same process.
const RING: Limits = Limits { duration_micros: 4_000_000, bytes: 32 << 20 };
/// What is assumed of a camera whose rate is not known yet.
const USUAL_RATE: f64 = 25.0;

/// Where frames come from: a camera, or what stands in for it.
pub trait Frames: Send {
    /// What has come since the last call, waiting until there is something; empty when the camera's unit has ended. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Vec<Event>> + Send;

    /// Begins at the newest key frame again, or with the slate from its start.
    fn begin_again(&mut self);

    /// Since when they are of a slate; `None` while they are the camera's.
    fn slate_since(&self) -> Option<Timestamp> {
        None
    }
}

/// Since when a slate is shown, as readers behind an encoder are told.
#[derive(Debug, Default)]
pub struct Shown(Mutex<Option<Timestamp>>);

impl Shown {
    /// It is shown since then, or not.
    pub fn set(&self, since: Option<Timestamp>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Since when it is shown, if it is.
    pub fn get(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hub for each rendition, and where outputs find them, under the camera's name.
#[derive(Debug)]
pub struct Renditions {
    hubs: Vec<Arc<Hub>>,
    tables: Vec<Table<Hub>>,
    shown: Shown,
}

impl Renditions {
    /// Empty hubs for what is planned.
    pub fn new(transcode: &Transcode, camera: &ObjectKey, ring: Option<Limits>) -> Self {
        let hubs: Vec<Arc<Hub>> =
            transcode.renditions.iter().map(|_| Arc::new(Hub::new(ring.unwrap_or(RING)))).collect();
        let table = |hub: &Arc<Hub>| {
            let table = Table::default();
            table.insert(camera.clone(), hub.clone());
            table
        };
        Self { tables: hubs.iter().map(table).collect(), hubs, shown: Shown::default() }
    }

    /// Where outputs find the hub of a rendition: the first where there is no other.
    pub fn table(&self, index: usize) -> Option<&Table<Hub>> {
        self.tables.get(index).or_else(|| self.tables.first())
    }

    /// Whether what is encoded is a slate.
    pub const fn shown(&self) -> &Shown {
        &self.shown
    }

    /// The hub of each rendition.
    pub fn hubs(&self) -> &[Arc<Hub>] {
        &self.hubs
    }
}

/// What is encoded for whom.
#[derive(Debug)]
pub struct Encode<'a> {
    /// Whose.
    pub context: &'a UnitContext,
    /// What was planned.
    pub transcode: &'a Transcode,
    /// Whether the camera's sound is carried along.
    pub audio: bool,
}

impl Encode<'_> {
    /// Encodes until the unit is cancelled.
    pub async fn run(&self, frames: &mut impl Frames, renditions: &Renditions) {
        let counted = Counted::new(self);
        let mut derived: Vec<Derived> = renditions.hubs().iter().map(|hub| Derived::new(hub.clone())).collect();
        let mut attempts = Attempts::default();
        loop {
            let (configuration, first) = tokio::select! {
                () = self.context.cancel.cancelled() => return,
                first = first(frames, &mut derived) => first,
            };
            let ended = self.attempt(frames, renditions, &counted.meter, configuration, first, &mut derived).await;
            for derived in &mut derived {
                let (reason, message) = (ended.reason, ended.message.clone());
                let at = UtcMicros::from_timestamp(Timestamp::now());
                derived.break_off(|run| Ending { run: run.unwrap_or(RunId(0)), reason, message, at });
            }
            if self.context.cancel.is_cancelled() {
                return;
            }
            self.context.logs.push("warning", ended.message.clone());
            if !ended.at_once {
                let outcome = Outcome { reason: ended.reason, pictures_for: ended.lasted };
                let Next::Wait(delay) = attempts.after(outcome, &AGAIN, rand::random()) else { continue };
                tracing::warn!(object = %self.context.object, ?delay, "{}", ended.message);
                tokio::select! {
                    () = self.context.cancel.cancelled() => return,
                    () = sleep(delay) => {}
                }
            }
            frames.begin_again();
        }
    }

    async fn attempt(
        &self,
        frames: &mut impl Frames,
        renditions: &Renditions,
        meter: &EncodeMeter,
        configuration: Arc<Configuration>,
        first: Vec<Event>,
        derived: &mut [Derived],
    ) -> Ended {
        let encoder = tokio::select! {
            () = self.context.cancel.cancelled() => return Ended::early((Reason::ShuttingDown, "stopped".into())),
            encoder = self.context.registry.encoders.choose(self.transcode.encoder, self.transcode.codec) => encoder,
        };
        self.context.set_notice(ENCODER_FALLBACK, encoder.instead.clone());
        self.context.logs.push("info", format!("encoding with {}", encoder.name(self.transcode.codec)));
        meter.start(encoder.name(self.transcode.codec));
        let arguments = build(Task {
            transcode: self.transcode,
            encoder: &encoder,
            source: &configuration.video,
            rate: rate(&configuration, &first),
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        });
        let session = Session {
            encode: self,
            arguments: &arguments,
            grid: grid(self.transcode),
            shown: &renditions.shown,
            meter,
        };
        session.run(frames, configuration, first, derived).await
    }
}

/// What is encoded is counted for as long as this lives.
struct Counted<'a> {
    encode: &'a Encode<'a>,
    meter: Arc<EncodeMeter>,
}

impl<'a> Counted<'a> {
    fn new(encode: &'a Encode<'a>) -> Self {
        let meter =
            Arc::new(EncodeMeter::new(encode.transcode.renditions.iter().map(|rendition| rendition.name.as_str())));
        encode.context.registry.encodes.insert(encode.context.object.clone(), meter.clone());
        Self { encode, meter }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.encode.context.registry.encodes.remove(&self.encode.context.object, &self.meter);
    }
}

/// What the camera sends first, from a configuration on. Ends of earlier runs are passed on to readers.
async fn first(frames: &mut impl Frames, derived: &mut [Derived]) -> (Arc<Configuration>, Vec<Event>) {
    loop {
        let events = frames.next().await;
        let at = events.iter().position(|event| matches!(event, Event::Configuration { .. }));
        if let Some(Event::Configuration { configuration, .. }) = at.and_then(|at| events.get(at)) {
            let configuration = configuration.clone();
            return (configuration, events.into_iter().skip(at.unwrap_or(0)).collect());
        }
        if let Some(Event::Ended(ending)) = events.last() {
            derived.iter_mut().for_each(|derived| derived.break_off(|_| Ending::clone(ending)));
        }
    }
}

/// How many pictures come in a second, as the first of them tell.
fn rate(configuration: &Configuration, first: &[Event]) -> f64 {
    let pictures = first.iter().filter_map(|event| match event {
        Event::Frame(frame) if frame.track == TrackKind::Video => Some(frame),
        _ => None,
    });
    let (count, ticks) = pictures
        .fold((0_u32, 0_u64), |(count, ticks), frame: &Arc<Frame>| (count + 1, ticks + u64::from(frame.duration)));
    if count == 0 || ticks == 0 {
        return USUAL_RATE;
    }
    f64::from(count) * f64::from(configuration.video.timescale) / ticks as f64
}
