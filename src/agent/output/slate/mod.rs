//! What an output reads when viewers are never to see nothing: the camera's frames while they come, else a slate in their place,
//! in real time and in the camera's codec, size and, where that can be had, exact parameters. One picture is drawn and encoded
//! as soon as the camera's parameters are known, so that a slate begins at once; an encoder for the clock runs only while a
//! slate is shown. Must not know what is made of the frames. Recordings never read this.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`card`] | pure: what a slate looks like → FFmpeg's arguments |
//! | [`encoder`] | an FFmpeg that makes slate pictures |
//! | [`splice`] | pure: where slate pictures go among the camera's frames |
//! | [`meter`] | counts for metrics |

pub mod card;
pub mod encoder;
pub mod meter;
pub mod splice;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use self::card::{Background, Card, Shape, UNSEEN};
use self::encoder::{Moving, SlateError, SlatePicture, still};
use self::meter::SlateMeter;
use self::splice::Splice;
use super::camera::CameraFrames;
use super::snapshot::last_picture;
use crate::agent::hub::{Event, Hub, Pace};
use crate::agent::registry::Table;
use crate::agent::unit::UnitContext;
use crate::media::frame::{Codec, Configuration, TrackConfiguration, UtcMicros};
use crate::media::h264_slice::{Fit, Tools, tools};
use crate::media::silence;
use crate::plan::report::{FallbackFacts, FallbackMode};
use crate::plan::unit::{Fallback, ObjectKey};

/// Condition type of a stream whose slate cannot be drawn.
const SLATE_UNAVAILABLE: &str = "SlateUnavailable";
/// Condition type of a stream whose slate is the card because its image cannot be shown.
const SLATE_IMAGE_UNAVAILABLE: &str = "SlateImageUnavailable";
/// A camera that has never been seen is given so long to connect before the slate tells its viewers that it is away.
const UNSEEN_PATIENCE: Duration = Duration::from_secs(10);
/// A camera of few pictures is away when so many of them are missing.
const MISSING_PICTURES: u32 = 3;
/// However few they are.
const LONGEST_PATIENCE: Duration = Duration::from_mins(1);
/// The picture that was drawn beforehand is shown again when there has been no other for so long.
const STILL_EVERY: Duration = Duration::from_secs(1);
/// Before an encoder that failed is started again.
const RETRY: Duration = Duration::from_secs(5);
/// So many slates are drawn beforehand at once: it is never urgent.
static DRAWING: Semaphore = Semaphore::const_new(1);

/// What a slate has to look like.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// The camera's; `None` of one that has never been seen.
    video: Option<Arc<TrackConfiguration>>,
    audio: Option<Arc<TrackConfiguration>>,
}

/// A slate that can be shown.
#[derive(Debug)]
struct Prepared {
    wanted: Wanted,
    card: Card,
    shape: Shape,
    image: Option<Bytes>,
    /// Why the image is not shown.
    image_problem: Option<String>,
    still: SlatePicture,
    /// What frames of it need.
    configuration: Arc<Configuration>,
    /// Makes its pictures those of the camera; or why they are not.
    fit: Result<Fit, &'static str>,
}

/// Frames of a camera, or a slate in their place.
#[derive(Debug)]
pub struct CameraOrSlate<'a> {
    camera: CameraFrames<'a>,
    slate: Option<Slate<'a>>,
    /// What the encoder shows that stands between, if there is one.
    upstream: Option<&'a Shown>,
}

/// Since when a slate is shown, as readers behind an encoder are told.
#[derive(Debug, Default)]
pub struct Shown(Mutex<Option<Timestamp>>);

impl Shown {
    /// It is shown since then, or not.
    pub fn set(&self, since: Option<Timestamp>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn get(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Slate<'a> {
    context: &'a UnitContext,
    camera: &'a ObjectKey,
    fallback: &'a Fallback,
    splice: Splice,
    meter: Arc<SlateMeter>,
    /// When the camera's newest picture came; at first, since when it is waited for.
    newest: Instant,
    /// Pictures that need others are left out.
    wait_for_key: bool,
    prepared: Option<Prepared>,
    preparing: Option<AbortOnDropHandle<Result<Prepared, SlateError>>>,
    starting: Option<AbortOnDropHandle<Result<Moving, SlateError>>>,
    moving: Option<Moving>,
    /// Nothing is tried again before this.
    retry_at: Instant,
    /// When a slate picture was shown last.
    shown_at: Instant,
    /// Since when the slate is shown.
    since: Option<Timestamp>,
}

impl<'a> CameraOrSlate<'a> {
    /// Reads a camera that may not be there yet, at this pace; without `fallback` there is never a slate.
    pub fn new(
        context: &'a UnitContext,
        hubs: &'a Table<Hub>,
        camera: &'a ObjectKey,
        pace: Pace,
        fallback: Option<&'a Fallback>,
    ) -> Self {
        let slate = fallback.map(|fallback| Slate::new(context, camera, fallback));
        Self { camera: CameraFrames::new(hubs, camera, pace), slate, upstream: None }
    }

    /// The same behind an encoder, which shows the slate itself.
    #[must_use]
    pub fn behind(mut self, upstream: &'a Shown) -> Self {
        self.upstream = Some(upstream);
        self
    }

    /// What has come since the last call, waiting until there is something; empty when the camera's unit has ended. Cancel safe.
    pub async fn next(&mut self) -> Vec<Event> {
        let Some(slate) = &mut self.slate else { return self.camera.next().await };
        loop {
            slate.notice(self.camera.newest_video());
            let due = slate.due();
            let events = tokio::select! {
                biased;
                events = self.camera.next() => {
                    let ended = events.is_empty() && !slate.splice.shows_slate();
                    let passed = slate.pass(events);
                    if ended {
                        return passed;
                    }
                    passed
                }
                prepared = finished(&mut slate.preparing) => slate.keep(prepared),
                moving = finished(&mut slate.starting) => slate.take_over(moving),
                pictures = next_pictures(&mut slate.moving) => slate.put_in(pictures),
                () = sleep_until(due) => slate.act(self.camera.newest_video()),
            };
            if !events.is_empty() {
                return events;
            }
        }
    }

    /// Begins at the newest key frame again, or with the slate from its start.
    pub fn begin_again(&mut self) {
        self.camera.begin_again();
        if let Some(slate) = &mut self.slate {
            slate.splice.begin_again(Instant::now());
            slate.end_moving();
        }
    }

    /// Since when the slate is shown; `None` while it is not.
    pub fn slate_since(&self) -> Option<Timestamp> {
        self.upstream.map_or_else(|| self.slate.as_ref()?.since, Shown::get)
    }

    /// Why the slate's pictures are not as the camera's, so that whoever was told the camera's parameters once and for all
    /// cannot show them; `None` when they are, or when nothing is known.
    pub fn seam(&self) -> Option<&'static str> {
        let prepared = self.slate.as_ref()?.prepared.as_ref()?;
        prepared.wanted.video.as_ref()?;
        let sound = prepared.configuration.audio != prepared.wanted.audio;
        prepared.fit.as_ref().err().copied().or_else(|| sound.then_some("its sound cannot be replaced by silence"))
    }
}

/// What a task has come to. Never, without one.
async fn finished<T>(task: &mut Option<AbortOnDropHandle<Result<T, SlateError>>>) -> Result<T, SlateError> {
    match task {
        Some(handle) => {
            let result = handle.await;
            *task = None;
            result.unwrap_or_else(|error| Err(SlateError::Failed(error.to_string())))
        }
        None => std::future::pending().await,
    }
}

async fn next_pictures(moving: &mut Option<Moving>) -> Vec<SlatePicture> {
    match moving {
        Some(moving) => moving.next().await,
        None => std::future::pending().await,
    }
}

impl<'a> Slate<'a> {
    fn new(context: &'a UnitContext, camera: &'a ObjectKey, fallback: &'a Fallback) -> Self {
        let meter = Arc::new(SlateMeter::default());
        context.registry.slates.insert(context.object.key.clone(), meter.clone());
        let now = Instant::now();
        let slate = Self {
            context,
            camera,
            fallback,
            splice: Splice::default(),
            meter,
            newest: now,
            wait_for_key: true,
            prepared: None,
            preparing: None,
            starting: None,
            moving: None,
            retry_at: now,
            shown_at: now,
            since: None,
        };
        slate.tell();
        slate
    }

    fn tell(&self) {
        let mode = if self.since.is_some() { FallbackMode::Slate } else { FallbackMode::Camera };
        let since = self.since.map(UtcMicros::from_timestamp);
        self.context.update(|report| report.fallback = Some(FallbackFacts { mode, since }));
    }

    fn wanted(&self) -> Wanted {
        let camera = self.splice.camera();
        Wanted {
            video: camera.map(|camera| camera.video.clone()),
            audio: camera.and_then(|camera| camera.audio.clone()),
        }
    }

    /// How long the camera may send nothing.
    fn patience(&self) -> Duration {
        let after = Duration::from_millis(self.fallback.after_ms);
        if self.splice.camera().is_none() {
            return after.max(UNSEEN_PATIENCE);
        }
        after.max((self.splice.interval() * MISSING_PICTURES).min(LONGEST_PATIENCE))
    }

    fn notice(&mut self, newest: Option<Instant>) {
        self.newest = newest.map_or(self.newest, |newest| newest.max(self.newest));
    }

    /// For how many seconds the camera has been away.
    fn away(&self) -> u64 {
        self.newest.elapsed().as_secs()
    }

    /// Until when nothing has to be done.
    fn due(&self) -> Instant {
        if self.splice.shows_slate() {
            return self.shown_at + STILL_EVERY;
        }
        let missing = self.newest + self.patience();
        if self.is_prepared() { missing } else { missing.max(self.retry_at) }
    }

    fn is_prepared(&self) -> bool {
        self.prepared.as_ref().is_some_and(|prepared| prepared.wanted == self.wanted())
    }

    /// Takes what the camera sent.
    fn pass(&mut self, events: Vec<Event>) -> Vec<Event> {
        let before = self.splice.shows_slate();
        let passed = self.splice.pass(events, Instant::now());
        if before && !self.splice.shows_slate() {
            self.end_moving();
            self.since = None;
            self.meter.end();
            self.tell();
            if self.image() != self.prepared.as_ref().and_then(|prepared| prepared.image.clone()) {
                // It was put right, or is another one.
                self.prepared = None;
            }
        }
        if self.splice.camera().is_some() && !self.splice.shows_slate() && !self.is_prepared() {
            self.prepare();
        }
        passed
    }

    /// The image as it is now.
    fn image(&self) -> Option<Bytes> {
        self.context.secrets.picture(self.fallback.image.as_ref()?)
    }

    fn end_moving(&mut self) {
        (self.starting, self.moving) = (None, None);
    }

    /// Draws a slate for the camera as it is, unless that is being done.
    fn prepare(&mut self) {
        if self.preparing.is_some() || Instant::now() < self.retry_at {
            return;
        }
        let (wanted, fallback, context) = (self.wanted(), self.fallback.clone(), self.context.clone());
        let task = tokio::spawn(async move { prepare(wanted, &fallback, &context).await });
        self.preparing = Some(AbortOnDropHandle::new(task));
    }

    fn keep(&mut self, prepared: Result<Prepared, SlateError>) -> Vec<Event> {
        match prepared {
            // What is shown goes on as it is; the next one is drawn when the camera is back.
            Ok(_) if self.splice.shows_slate() => {}
            Ok(prepared) => {
                self.context.set_notice(SLATE_UNAVAILABLE, None);
                self.context.set_notice(SLATE_IMAGE_UNAVAILABLE, prepared.image_problem.clone());
                self.prepared = Some(prepared);
                if self.splice.camera().is_some() && !self.is_prepared() {
                    // The camera has become another one meanwhile.
                    self.prepare();
                }
            }
            Err(error) => self.complain(&error),
        }
        Vec::new()
    }

    fn complain(&mut self, error: &SlateError) {
        self.retry_at = Instant::now() + RETRY;
        self.context.set_notice(SLATE_UNAVAILABLE, Some(error.to_string()));
    }

    fn take_over(&mut self, moving: Result<Moving, SlateError>) -> Vec<Event> {
        match moving {
            Ok(moving) => self.moving = Some(moving),
            Err(error) => self.complain(&error),
        }
        Vec::new()
    }

    /// Time has come: the slate begins, or needs a picture.
    fn act(&mut self, newest: Option<Instant>) -> Vec<Event> {
        let now = Instant::now();
        self.notice(newest);
        if now < self.due() {
            return Vec::new();
        }
        if !self.splice.shows_slate() {
            if !self.is_prepared() {
                self.prepare();
                self.retry_at = self.retry_at.max(now + RETRY / 10);
                return Vec::new();
            }
            return self.enter(now);
        }
        if self.moving.is_none() && self.starting.is_none() && now >= self.retry_at {
            self.start_moving();
        }
        self.show_still(now)
    }

    fn enter(&mut self, now: Instant) -> Vec<Event> {
        let Some(prepared) = &self.prepared else { return Vec::new() };
        let numbering = &self.context.registry.numbering;
        let run = numbering.name_run();
        let begin = self.splice.enter(run, prepared.configuration.clone(), now, numbering.moment());
        if self.since.is_none() {
            self.since = Some(Timestamp::now());
            self.meter.begin();
            self.tell();
        }
        self.start_moving();
        let mut events = vec![begin];
        events.extend(self.show_still(now));
        events
    }

    fn start_moving(&mut self) {
        let Some(prepared) = &self.prepared else { return };
        let (card, shape) = (prepared.card.clone(), prepared.shape);
        let image = prepared.image.clone().filter(|_| prepared.image_problem.is_none());
        let away = self.away();
        let (context, camera, logs) = (self.context.clone(), self.camera.clone(), self.context.logs.clone());
        let task = tokio::spawn(async move {
            let picture = match image {
                Some(image) => Some((Background::Image, image)),
                // Whatever is wrong with it: a slate need not have it.
                None => last_picture(&context.registry, &camera)
                    .await
                    .ok()
                    .map(|picture| (Background::LastPicture, picture.jpeg)),
            };
            Moving::start(&card, shape, picture, away, logs)
        });
        self.starting = Some(AbortOnDropHandle::new(task));
    }

    fn show_still(&mut self, now: Instant) -> Vec<Event> {
        let Some(still) = self.prepared.as_ref().map(|prepared| prepared.still.clone()) else { return Vec::new() };
        // Those of the other encoder do not follow this one.
        let events = self.show(vec![still], now);
        self.wait_for_key = true;
        events
    }

    fn put_in(&mut self, pictures: Vec<SlatePicture>) -> Vec<Event> {
        let now = Instant::now();
        if pictures.is_empty() {
            self.moving = None;
            self.retry_at = now + RETRY;
            return Vec::new();
        }
        self.show(pictures, now)
    }

    fn show(&mut self, pictures: Vec<SlatePicture>, now: Instant) -> Vec<Event> {
        let Some(prepared) = self.prepared.as_mut() else { return Vec::new() };
        let expected = &prepared.still.configuration.sample_entry;
        let same = pictures.into_iter().filter(|picture| picture.configuration.sample_entry == *expected);
        let mut coded = Vec::new();
        for picture in same {
            self.wait_for_key &= !picture.is_key;
            if self.wait_for_key {
                continue;
            }
            let payload = match &mut prepared.fit {
                Ok(fit) => fit.apply(&picture.payload),
                Err(_) => Some(picture.payload),
            };
            coded.extend(payload.map(|payload| (payload, picture.is_key)));
        }
        if coded.is_empty() {
            return Vec::new();
        }
        self.shown_at = now;
        self.splice.put_in(coded, now)
    }
}

impl Drop for Slate<'_> {
    fn drop(&mut self) {
        self.meter.end();
        self.context.registry.slates.remove(&self.context.object.key, &self.meter);
        self.context.update(|report| report.fallback = None);
    }
}

/// Draws the slate of a camera.
async fn prepare(wanted: Wanted, fallback: &Fallback, context: &UnitContext) -> Result<Prepared, SlateError> {
    let video = wanted.video.as_deref();
    let even = |pixels: u32| (pixels & !1).max(16);
    let (width, height) = video.map_or(UNSEEN, |video| (even(video.width), even(video.height)));
    let codec = video.map_or(Codec::H264, |video| video.codec);
    let tools = video.map_or(Ok(Tools::default()), tools);
    let shape = Shape { codec, width, height, tools: tools.unwrap_or_default() };
    let mut card = Card { title: fallback.title.clone(), text: fallback.text.clone(), without_letters: false };
    let logs = &context.logs;
    let image = fallback.image.as_ref().and_then(|key| context.secrets.picture(key));
    let mut image_problem = fallback.image.as_ref().filter(|_| image.is_none()).map(|key| {
        format!("the card is shown: ConfigMap {} has no key {}; create it with the picture", key.name, key.key)
    });
    // The semaphore is never closed.
    let _permit = DRAWING.acquire().await;
    let mut drawn = None;
    if let Some(image) = &image {
        match still(&card, shape, Some((Background::Image, image.clone())), logs.clone()).await {
            Ok(picture) => drawn = Some(picture),
            Err(SlateError::Failed(why)) => {
                image_problem = Some(format!("the card is shown: the image is unreadable ({why})"));
            }
            Err(error) => return Err(error),
        }
    }
    let still = match drawn {
        Some(picture) => picture,
        None => match still(&card, shape, None, logs.clone()).await {
            // Without a font there are no letters.
            Err(SlateError::Failed(why)) if why.contains("font") || why.contains("drawtext") => {
                card.without_letters = true;
                still(&card, shape, None, logs.clone()).await?
            }
            other => other?,
        },
    };
    let fit = match (video, tools) {
        (Some(video), Ok(_)) => Fit::new(&still.configuration, video),
        (_, Err(reason)) => Err(reason),
        (None, _) => Err("it has never been seen"),
    };
    let own_silence = || Arc::new(silence::configuration());
    let audio =
        wanted.audio.as_ref().map(|audio| if silence::of(audio).is_some() { audio.clone() } else { own_silence() });
    let as_camera = video.filter(|_| fit.is_ok()).cloned().map(Arc::new);
    let video = as_camera.unwrap_or_else(|| still.configuration.clone());
    let configuration = Arc::new(Configuration { generation: 0, video, audio });
    let mut prepared = Prepared { wanted, card, shape, image, image_problem, still, configuration, fit };
    // A picture that does not go through would not be seen until it is needed.
    if let Ok(fit) = &mut prepared.fit
        && fit.apply(&prepared.still.payload).is_none()
    {
        prepared.fit = Err("no encoder here writes what it writes");
        let video = prepared.still.configuration.clone();
        prepared.configuration = Arc::new(Configuration { video, ..(*prepared.configuration).clone() });
    }
    Ok(prepared)
}
