//! A stream that is sent to somebody else's server. An FFmpeg of its own is fed with frames from the hub, so that the
//! camera is not opened again and nothing that hangs can touch a recording. This file decides when it is tried again.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`arguments`] | pure: plan and secrets → FFmpeg's arguments; where keys go |
//! | [`feed`] | pure: frames of all runs → one continuous fragmented MP4 |
//! | [`session`] | one FFmpeg, from start to end |
//! | [`progress`] | pure: whether the target takes what is sent |
//! | [`rate`] | pure: how much it takes |
//! | [`acknowledged`] | what the target has acknowledged, as the kernel counts it |
//! | [`classify`] | pure: messages → reason |
//! | [`meter`] | counts for metrics |

pub mod acknowledged;
pub mod arguments;
pub mod classify;
pub mod feed;
pub mod meter;
pub mod progress;
pub mod rate;
pub mod session;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use self::arguments::{Resolved, target};
use self::feed::{Feed, sound};
use self::meter::PushMeter;
use self::session::{Ended, Session, failed};
use crate::agent::hub::{Event, Pace};
use crate::agent::output::slate::CameraOrSlate;
use crate::agent::source::knock;
use crate::agent::source::reconnect::{Attempts, Next, Outcome};
use crate::agent::transcode::{Encode, Renditions};
use crate::agent::unit::{Secrets, UnitContext};
use crate::media::frame::Configuration;
use crate::plan::capability::Carrier;
use crate::plan::report::{PushFacts, PushMode, Reason, UnitState};
use crate::plan::unit::{ObjectKind, ObjectRef, Push, PushAudio, Reconnect, SecretKey};

/// Between two attempts with a key that was refused: it is not hammered, or the target may lock it.
const REFUSED: Reconnect = Reconnect { initial_delay_ms: 30_000, max_delay_ms: 600_000, max_attempts: None };
/// How often secrets are looked at while they are what is wrong.
const SECRETS_EVERY: Duration = Duration::from_secs(1);
/// What is handed over at once: FFmpeg is woken so many times a second, and viewers are later by this at most.
const PACE: Pace = Pace::Pauses(Duration::from_millis(100));
/// A camera that sends nothing for so long is said to be what is waited for.
const CAMERA_PATIENCE: Duration = Duration::from_secs(2);

/// Runs a push until it is cancelled. When its attempts are used up the unit is [`UnitState::Failed`] and waits to be stopped.
pub async fn run(context: UnitContext, push: Push) {
    let key = context.object.key.clone();
    let meter = Arc::new(PushMeter::default());
    context.registry.pushes.insert(key.clone(), meter.clone());
    let encoded = push.video.as_ref().map(|video| (video, Renditions::new(video, &push.camera, None)));
    let renditions = encoded.as_ref().map(|(_, renditions)| renditions);
    let unit = Unit { context: &context, push: &push, meter: &meter, renditions };
    if let Some((transcode, renditions)) = &encoded {
        let hubs = &context.registry.hubs;
        let mut frames = CameraOrSlate::new(&context, hubs, &push.camera, PACE, push.fallback.as_deref());
        let encode = Encode { context: &context, transcode, audio: push.audio != PushAudio::None };
        encode.beside(&mut frames, renditions, unit.run()).await;
    } else {
        unit.run().await;
    }
    context.registry.pushes.remove(&key, &meter);
}

struct Unit<'a> {
    context: &'a UnitContext,
    push: &'a Push,
    meter: &'a PushMeter,
    /// What is encoded of the camera's frames, if anything is.
    renditions: Option<&'a Renditions>,
}

impl Unit<'_> {
    async fn run(&self) {
        let Some(carrier) = Carrier::of_push(&self.push.url) else {
            self.context.set_state(
                UnitState::Failed,
                Reason::InvalidSpec,
                "nothing can be sent to a URL of this scheme",
            );
            return self.context.cancel.cancelled().await;
        };
        self.context.update(|report| report.push = Some(PushFacts::new(PushMode::Reconnecting)));
        let mut camera = match self.renditions {
            None => {
                let hubs = &self.context.registry.hubs;
                CameraOrSlate::new(self.context, hubs, &self.push.camera, PACE, self.push.fallback.as_deref())
            }
            Some(renditions) => renditions.frames(0, self.context, &self.push.camera, PACE),
        };
        let (mut attempts, mut refusals) = (Attempts::default(), Attempts::default());
        loop {
            let first = tokio::select! {
                () = self.context.cancel.cancelled() => return,
                first = self.first(&mut camera, carrier) => first,
            };
            let secrets = read_secrets(self.push, self.context.secrets.as_ref());
            let mut peer = None;
            let ended = match &secrets {
                Ok(resolved) => self.attempt(resolved, carrier, &mut camera, first, &mut peer).await,
                Err(missing) => failed(
                    Reason::SecretMissing,
                    format!("Secret {} has no key {}; create it", missing.name, missing.key),
                ),
            };
            if self.context.cancel.is_cancelled() {
                return;
            }
            if ended.lasted.is_some() {
                refusals = Attempts::default();
            }
            if ended.at_once {
                self.context.logs.push("info", format!("{}; begun again", ended.message));
            } else {
                let outcome = Outcome { reason: ended.reason, pictures_for: ended.lasted };
                let next = if ended.reason == Reason::PushRefused {
                    refusals.after(outcome, &REFUSED, rand::random())
                } else {
                    attempts.after(outcome, &self.push.reconnect, rand::random())
                };
                let Next::Wait(delay) = next else { return self.give_up(&ended).await };
                let message = format!("{}; next attempt in {:.1} s", ended.message, delay.as_secs_f64());
                self.context.set_state(UnitState::Reconnecting, ended.reason, message);
                tokio::select! {
                    () = self.context.cancel.cancelled() => return,
                    () = self.wait(ended.reason, delay, &secrets, peer) => {}
                }
            }
            self.context.update(|report| report.reconnects += 1);
            camera.begin_again();
        }
    }

    async fn give_up(&self, ended: &Ended) {
        let most = self.push.reconnect.max_attempts.unwrap_or_default();
        let message = format!("given up after {most} attempts in a row: {}", ended.message);
        self.context.set_state(UnitState::Failed, Reason::ReconnectLimitReached, message);
        self.context.cancel.cancelled().await;
    }

    /// What the camera sends first, from a configuration on that can be carried.
    async fn first(&self, camera: &mut CameraOrSlate<'_>, carrier: Carrier) -> (Arc<Configuration>, Vec<Event>) {
        loop {
            let events = if let Ok(events) = timeout(CAMERA_PATIENCE, camera.next()).await {
                events
            } else {
                self.wait_for_camera();
                camera.next().await
            };
            let mut configurations = events.iter().enumerate().filter_map(|(at, event)| match event {
                Event::Configuration { configuration, .. } => Some((at, configuration.clone())),
                _ => None,
            });
            let Some((at, configuration)) = configurations.next_back() else {
                if let Some(Event::Ended(ending)) = events.last() {
                    self.context.set_state(UnitState::Waiting, ending.reason, ending.message.clone());
                }
                continue;
            };
            match carrier.refusal(configuration.video.codec) {
                Some(refusal) => self.context.set_state(UnitState::Failed, Reason::CodecNotCarried, refusal),
                None => return (configuration, events.into_iter().skip(at).collect()),
            }
        }
    }

    /// Says that the camera sends nothing, in its own words.
    fn wait_for_camera(&self) {
        let camera = ObjectRef { kind: ObjectKind::Camera, key: self.push.camera.clone() };
        let said = self.context.board.unit(&camera);
        let said = said.map_or_else(|| "it is starting".to_owned(), |report| report.message);
        let message = format!("waiting for camera {}: {said}", self.push.camera.name);
        self.context.set_state(UnitState::Waiting, Reason::CameraUnavailable, message);
    }

    /// Tries once; `peer` becomes host and port of a target that is called over TCP.
    async fn attempt(
        &self,
        resolved: &Resolved,
        carrier: Carrier,
        camera: &mut CameraOrSlate<'_>,
        (configuration, first): (Arc<Configuration>, Vec<Event>),
        peer: &mut Option<(String, u16)>,
    ) -> Ended {
        let sound = sound(self.push.audio, configuration.audio.as_ref().map(|audio| audio.codec), carrier);
        // GnuTLS does not look at it by itself.
        let certificates = std::env::var("SSL_CERT_FILE").ok();
        let invocation = match arguments::build(self.push, resolved, sound, certificates.as_deref()) {
            Ok(invocation) => invocation,
            Err(message) => return failed(Reason::PushRefused, message),
        };
        if let Err(message) = self.context.registry.source_guard.look_up(&invocation.host).await {
            return failed(Reason::TargetUnreachable, message);
        }
        if carrier != Carrier::Srt {
            *peer = Some((invocation.host.clone(), invocation.port));
        }
        // Why the one before failed stands until this one succeeds.
        let before = self.context.board.unit(&self.context.object).map(|report| report.state);
        if before != Some(UnitState::Reconnecting) {
            let message = format!("connecting to {}", target(&self.push.url));
            self.context.set_state(UnitState::Starting, Reason::Connecting, message);
        }
        let session = Session { context: self.context, push: self.push, carrier, meter: self.meter };
        session.run(&invocation, camera, Feed::new(&configuration, sound), first).await
    }

    /// Waits, at most until what was wrong may be right.
    async fn wait(
        &self,
        reason: Reason,
        delay: Duration,
        tried: &Result<Resolved, SecretKey>,
        peer: Option<(String, u16)>,
    ) {
        match (reason, peer) {
            (Reason::PushRefused | Reason::SecretMissing, _) => self.wait_for_secrets(delay, tried).await,
            (Reason::TargetUnreachable, Some((host, port))) => tokio::select! {
                () = sleep(delay) => {}
                () = knock::until_it_answers_again(&host, port, &self.context.registry.source_guard) => {}
            },
            _ => sleep(delay).await,
        }
    }

    /// Waits, at most until the secrets are others than those that were tried.
    async fn wait_for_secrets(&self, delay: Duration, tried: &Result<Resolved, SecretKey>) {
        let until = Instant::now() + delay;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || read_secrets(self.push, self.context.secrets.as_ref()) != *tried {
                return;
            }
            sleep(left.min(SECRETS_EVERY)).await;
        }
    }
}

/// The push's secrets as they are now, or the key that is missing.
fn read_secrets(push: &Push, secrets: &dyn Secrets) -> Result<Resolved, SecretKey> {
    let read = |key: &Option<SecretKey>| match key {
        None => Ok(None),
        Some(key) => secrets.get(key).map(|secret| Some(secret.expose().to_owned())).ok_or_else(|| key.clone()),
    };
    Ok(Resolved { stream_key: read(&push.stream_key)?, passphrase: read(&push.passphrase)? })
}
