//! What an output reads when viewers are never to see nothing: the camera's frames while they come, else a slate in their place,
//! in real time and in the camera's codec, size and, where that can be had, exact parameters. One picture is drawn and encoded
//! as soon as the camera's parameters are known, so that a slate begins at once; an encoder for the clock runs only while a
//! slate is shown. Must not know what is made of the frames. Recordings never read this.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`card`] | pure: what a slate looks like → FFmpeg's arguments |
//! | [`encoder`] | an FFmpeg that makes slate pictures |
//! | [`prepared`] | what is drawn before it is needed |
//! | [`splice`] | pure: where slate pictures go among the camera's frames |
//! | [`meter`] | counts for metrics |

pub mod card;
#[cfg(test)]
mod day;
pub mod encoder;
pub mod meter;
pub mod prepared;
pub mod splice;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use self::card::Background;
use self::encoder::{Moving, SlateError, SlatePicture};
use self::meter::SlateMeter;
use self::prepared::{Prepared, Wanted, prepare};
use self::splice::Splice;
use super::camera::CameraFrames;
use super::snapshot::last_picture;
use crate::agent::hub::{Event, Hub, Pace};
use crate::agent::registry::Table;
use crate::agent::unit::UnitContext;
use crate::media::frame::{Configuration, UtcMicros};
use crate::plan::report::{FallbackFacts, FallbackMode, Reason, UnitState};
use crate::plan::unit::{Fallback, ObjectKey, ObjectKind, ObjectRef};

/// Condition type of a stream whose slate cannot be drawn.
const SLATE_UNAVAILABLE: &str = "SlateUnavailable";
/// Condition type of a stream whose slate is the card because its image cannot be shown.
const SLATE_IMAGE_UNAVAILABLE: &str = "SlateImageUnavailable";
/// A camera that has never been seen is given so long for its first attempt to connect before the slate tells its viewers that
/// it is away: whatever is drawn before its size is known may not fit what comes.
const UNSEEN_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at whether that attempt has failed.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The picture that was drawn beforehand is shown again when there has been no other for so long: before a segment of a second, or a
/// part of one, would be cut for want of pictures.
const STILL_EVERY: Duration = Duration::from_millis(500);
/// Where this notices the time by so much too late, the program had no processor: the camera's pictures may wait in their socket.
const LATE: Duration = Duration::from_millis(200);
/// Before an encoder that failed is started again.
const RETRY: Duration = Duration::from_secs(5);
/// How often the image is read, to see whether it is another one: no event tells of a change in a mounted ConfigMap.
const IMAGE_EVERY: Duration = Duration::from_secs(5);

/// Frames of a camera, or a slate in their place.
#[derive(Debug)]
pub struct CameraOrSlate<'a> {
    camera: CameraFrames<'a>,
    slate: Option<Slate<'a>>,
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
    /// The picture after which the time was noticed too late, and until when the next one is waited for because of that.
    excused: Option<(Instant, Instant)>,
    /// What the camera's pictures needed before this began to read it: of one that is away, what it will likely send again.
    before: Option<Arc<Configuration>>,
    /// Pictures that need others are left out.
    wait_for_key: bool,
    prepared: Option<Prepared>,
    preparing: Option<AbortOnDropHandle<Result<Prepared, SlateError>>>,
    starting: Option<AbortOnDropHandle<Result<Moving, SlateError>>>,
    moving: Option<Moving>,
    /// Nothing is tried again before this.
    retry_at: Instant,
    /// The image is not looked at again before this.
    look_at_image: Instant,
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
        Self { camera: CameraFrames::new(hubs, camera, pace), slate }
    }

    /// What has come since the last call, waiting until there is something; empty when the camera's unit has ended. Cancel safe.
    pub async fn next(&mut self) -> Vec<Event> {
        let Some(slate) = &mut self.slate else { return self.camera.next().await };
        loop {
            slate.notice(self.camera.newest_video());
            slate.learn(|| self.camera.newest_configuration());
            let due = slate.wake();
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
        self.slate.as_ref()?.since
    }

    /// Why the slate's pictures are not as the camera's, so that whoever was told the camera's parameters once and for all
    /// cannot show them; `None` when they are, or when nothing is known.
    pub fn seam(&self) -> Option<&'static str> {
        self.slate.as_ref()?.prepared.as_ref()?.seam()
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
            excused: None,
            before: None,
            wait_for_key: true,
            prepared: None,
            preparing: None,
            starting: None,
            moving: None,
            retry_at: now,
            look_at_image: now,
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
        let camera = self.splice.camera().or(self.before.as_ref());
        Wanted {
            video: camera.map(|camera| camera.video.clone()),
            audio: camera.and_then(|camera| camera.audio.clone()),
        }
    }

    /// How long the camera may send nothing.
    fn patience(&self) -> Duration {
        let after = Duration::from_millis(self.fallback.after_ms);
        if self.is_unseen() {
            return if self.has_failed() { after } else { after.max(UNSEEN_PATIENCE) };
        }
        self.splice.patience(after)
    }

    /// Nothing is known of the camera's pictures.
    fn is_unseen(&self) -> bool {
        self.splice.camera().is_none() && self.before.is_none()
    }

    /// Whether an attempt to connect to the camera has come to nothing, as far as is known here.
    fn has_failed(&self) -> bool {
        let camera = ObjectRef { kind: ObjectKind::Camera, key: self.camera.clone() };
        self.context.board.unit(&camera).is_some_and(|report| tells_of_camera(report.state, report.reason))
    }

    fn notice(&mut self, newest: Option<Instant>) {
        self.newest = newest.map_or(self.newest, |newest| newest.max(self.newest));
    }

    /// Takes up what the camera sent before, as long as nothing else is known.
    fn learn(&mut self, newest: impl FnOnce() -> Option<Arc<Configuration>>) {
        if self.is_unseen() {
            self.before = newest();
        }
    }

    /// Until when to wait for the camera at most.
    fn wake(&self) -> Instant {
        let due = self.due();
        if self.is_unseen() { due.min(Instant::now() + LOOK_EVERY) } else { due }
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
        let missing = match self.excused {
            Some((after, until)) if after == self.newest => missing.max(until),
            _ => missing,
        };
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
        }
        self.look_at_image(Instant::now());
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
            Ok(prepared) if self.splice.shows_slate() => return self.show_instead(prepared),
            Ok(prepared) => {
                self.tell_prepared(&prepared);
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

    fn tell_prepared(&self, prepared: &Prepared) {
        self.context.set_notice(SLATE_UNAVAILABLE, None);
        self.context.set_notice(SLATE_IMAGE_UNAVAILABLE, prepared.image_problem.clone());
    }

    /// Shows another image in the slate that is shown. What has other parameters waits until the camera is back.
    fn show_instead(&mut self, mut prepared: Prepared) -> Vec<Event> {
        let Some(shown) = self.prepared.take() else { return Vec::new() };
        let same = shown.configuration == prepared.configuration
            && shown.still.configuration.sample_entry == prepared.still.configuration.sample_entry;
        if !same {
            self.prepared = Some(shown);
            return Vec::new();
        }
        // It counts the pictures so far.
        prepared.fit = shown.fit;
        self.tell_prepared(&prepared);
        self.prepared = Some(prepared);
        self.end_moving();
        self.start_moving();
        self.show_still(Instant::now())
    }

    /// Draws the slate anew once its image is another one, or was put right.
    fn look_at_image(&mut self, now: Instant) {
        if self.fallback.image.is_none() || now < self.look_at_image {
            return;
        }
        self.look_at_image = now + IMAGE_EVERY;
        if self.prepared.as_ref().is_some_and(|prepared| prepared.image != self.image()) {
            self.prepare();
        }
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
        let due = self.due();
        if now < due {
            return Vec::new();
        }
        if !self.splice.shows_slate() {
            if now > due + LATE && self.excused.is_none_or(|(after, _)| after != self.newest) {
                self.excused = Some((self.newest, now + LATE));
                return Vec::new();
            }
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
        self.look_at_image(now);
        self.shown_at = now;
        self.splice.put_in(coded, now)
    }
}

/// Whether the state of a camera's unit means that the camera itself was tried in vain. In a pod of its own a stream asks the camera's
/// agent, and where that cannot be asked yet (both pods begin together), nobody knows of the camera.
fn tells_of_camera(state: UnitState, reason: Reason) -> bool {
    !matches!(state, UnitState::Starting | UnitState::Running) && reason != Reason::CameraUnavailable
}

impl Drop for Slate<'_> {
    fn drop(&mut self) {
        self.meter.end();
        self.context.registry.slates.remove(&self.context.object.key, &self.meter);
        self.context.update(|report| report.fallback = None);
    }
}
