//! What any life of a source has, whoever reads the device: clocks, the assembly of frames, what is published, what is told of
//! it, and until when the next picture must come. Must not know how samples get here.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::assembly::{Assembly, Effect, Effects};
use super::reconnect::stall_limit;
use crate::agent::hub::{Ending, Hub};
use crate::agent::unit::UnitContext;
use crate::media::clock::Arrival;
use crate::media::frame::{RunId, UtcMicros};
use crate::plan::report::Reason;
use crate::plan::unit::Ingest;

/// Condition type of a camera whose key frames are further apart than the ring can hold.
pub const LONG_KEYFRAME_INTERVAL: &str = "LongKeyframeInterval";

/// How often measured facts are looked at again.
const FACTS_EVERY: Duration = Duration::from_secs(5);

/// That nothing came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// Not one picture within `startTimeout`.
    NoStart,
    /// No further picture for this long.
    Stalled(Duration),
    /// After pictures that were shown before none for this long.
    NothingNew(Duration),
}

impl Overdue {
    /// What readers and conditions are told.
    pub fn told(self, ingest: &Ingest) -> (Reason, String) {
        match self {
            Self::Stalled(limit) => (Reason::Stalled, format!("no new picture for {:.1} s", limit.as_secs_f64())),
            Self::NothingNew(limit) => {
                let seconds = limit.as_secs_f64();
                let message =
                    format!("nothing new for {seconds:.1} s: the device only shows again what it showed before");
                (Reason::Stalled, message)
            }
            Self::NoStart => {
                let seconds = ingest.start_timeout_ms as f64 / 1000.0;
                (Reason::NoVideo, format!("the device answers but sent no picture within {seconds:.0} s"))
            }
        }
    }
}

/// The host's two clocks.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    origin: Instant,
}

impl Clocks {
    fn now(self) -> Arrival {
        Arrival {
            wall: UtcMicros::from_timestamp(Timestamp::now()),
            monotonic: i64::try_from(self.origin.elapsed().as_micros()).unwrap_or(i64::MAX),
        }
    }

    fn instant(self, monotonic: i64) -> Instant {
        self.origin + Duration::from_micros(monotonic.unsigned_abs())
    }
}

/// One life of a source as far as frames go.
pub struct Life<'a> {
    context: &'a UnitContext,
    hub: &'a Hub,
    ingest: &'a Ingest,
    clocks: Clocks,
    /// What makes frames of samples.
    pub assembly: Assembly,
    started: Instant,
    first_picture: Option<Instant>,
    last_picture: Instant,
    /// When a picture came that was shown before.
    shown_again: Option<Instant>,
    facts_at: Option<Instant>,
    /// Nothing comes any more; what was kept back does.
    is_over: bool,
}

impl std::fmt::Debug for Life<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Life").field("object", &self.context.object).finish_non_exhaustive()
    }
}

impl<'a> Life<'a> {
    /// Begins now. `expect_audio`: whether sound may come.
    pub fn new(context: &'a UnitContext, hub: &'a Hub, ingest: &'a Ingest, expect_audio: bool) -> Self {
        let now = Instant::now();
        let had_sound = hub.newest_configuration().is_some_and(|newest| newest.audio.is_some());
        Self {
            context,
            hub,
            ingest,
            clocks: Clocks { origin: now },
            assembly: Assembly::new(expect_audio, had_sound),
            started: now,
            first_picture: None,
            last_picture: now,
            shown_again: None,
            facts_at: None,
            is_over: false,
        }
    }

    /// Lets the assembly take something that came now, and passes on what comes of it.
    pub fn apply<T>(&mut self, act: impl FnOnce(&mut Assembly, Arrival, &mut Effects<'_>) -> T) -> T {
        let name_run = || self.context.registry.numbering.name_run();
        let mut effects = Effects { list: Vec::new(), name_run: &name_run };
        let result = act(&mut self.assembly, self.clocks.now(), &mut effects);
        for effect in effects.list {
            match effect {
                Effect::Publish(configuration, frames) if self.is_over => {
                    self.hub.publish_rest(&configuration, frames);
                }
                Effect::Publish(configuration, frames) => self.hub.publish(&configuration, frames),
                Effect::End(ending) => {
                    tracing::warn!(object = %self.context.object, "{}", ending.message);
                    self.context.logs.push("warning", ending.message.clone());
                    self.hub.end_run(ending);
                }
            }
        }
        result
    }

    /// Time has passed and nothing came.
    pub fn tick(&mut self) {
        self.apply(Assembly::tick);
    }

    /// A picture came; tells what pictures they are, now and then.
    pub fn picture_came(&mut self) {
        let now = Instant::now();
        self.last_picture = now;
        if self.first_picture.is_none() {
            self.first_picture = Some(now);
        }
        let due = self.facts_at.is_none_or(|at| now.duration_since(at) >= FACTS_EVERY);
        let Some(facts) = due.then(|| self.assembly.facts()).flatten() else { return };
        // The first figures follow as soon as there is something to measure.
        let early = self.first_picture.is_some_and(|first| now.duration_since(first) < Duration::from_secs(1));
        self.facts_at = if early { None } else { Some(now) };
        self.context.tell_media(facts);
        let long = self.hub.key_evicted().then(|| {
            "key frames are so far apart that they do not stay in memory: viewers wait for the next one; shorten the camera's \
             key frame interval"
                .to_owned()
        });
        self.context.set_notice(LONG_KEYFRAME_INTERVAL, long);
    }

    /// A picture came that was shown before: the device is there, and that is all.
    pub fn picture_came_again(&mut self) {
        self.shown_again = Some(Instant::now());
    }

    /// Whether a picture came that was shown before.
    pub const fn has_shown_again(&self) -> bool {
        self.shown_again.is_some()
    }

    /// Until when something must come, and what it means if nothing does; `None` when only time has to be noticed, by
    /// [`Self::tick`].
    pub fn deadline(&self) -> (Instant, Option<Overdue>) {
        let timeout = Duration::from_millis(self.ingest.stall_timeout_ms);
        let limit = stall_limit(timeout, self.assembly.frame_interval());
        let (at, overdue) = match (self.first_picture, self.shown_again) {
            (Some(_), _) => (self.last_picture + limit, Overdue::Stalled(limit)),
            (None, Some(again)) => (again + limit, Overdue::NothingNew(limit)),
            (None, None) => (self.started + Duration::from_millis(self.ingest.start_timeout_ms), Overdue::NoStart),
        };
        match self.assembly.deadline().map(|micros| self.clocks.instant(micros)) {
            Some(tick) if tick < at => (tick, None),
            _ => (at, Some(overdue)),
        }
    }

    /// Takes note of how far the camera's clock is ahead of the host's, in microseconds.
    pub fn note_clock_error(&self, micros: i64) {
        self.hub.note_clock_error(micros);
    }

    /// The device has ended, or is given up: what is published from now on came before.
    pub const fn nothing_comes(&mut self) {
        self.is_over = true;
    }

    /// Publishes what was kept back, because nothing more will come, and tells which run is open.
    pub fn finish(&mut self) -> Option<RunId> {
        self.apply(|assembly, _, effects| assembly.finish(effects))
    }

    /// Tells readers that the run is over.
    pub fn end_run(&self, run: RunId, reason: Reason, message: String) {
        self.hub.end_run(Ending { run, reason, message, at: UtcMicros::from_timestamp(Timestamp::now()) });
    }

    /// From the first picture to the newest, if there were any.
    pub fn pictures_for(&self) -> Option<Duration> {
        self.first_picture.map(|first| self.last_picture.duration_since(first))
    }

    /// When the first picture came, if one did.
    pub const fn has_begun(&self) -> bool {
        self.first_picture.is_some()
    }
}
