//! A stream that is sent to somebody else's server. It is fed with frames from the hub, so that the camera is not opened again and
//! nothing that hangs can touch a recording. RTMP is spoken here; what speaks other protocols, or must encode sound, is an FFmpeg of
//! its own. This file decides which, and when it is tried again.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`arguments`] | pure: plan and secrets → FFmpeg's arguments; where keys go |
//! | [`place`] | pure: URL and secrets → where an RTMP stream goes |
//! | [`feed`] | pure: frames of all runs → one continuous timeline |
//! | [`session`] | one session, from start to end |
//! | [`sender`] | what carries it: [`ffmpeg`] or [`rtmp`] |
//! | [`progress`] | pure: whether the target takes what is sent |
//! | [`rate`] | pure: how much it takes |
//! | [`acknowledged`] | what the target has acknowledged, as the kernel counts it |
//! | [`classify`] | pure: messages → reason |
//! | [`meter`] | counts for metrics |

pub mod acknowledged;
pub mod arguments;
pub mod classify;
pub mod feed;
pub mod ffmpeg;
pub mod meter;
pub mod place;
pub mod progress;
pub mod rate;
pub mod rtmp;
pub mod sender;
pub mod session;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use self::arguments::{Resolved, target};
use self::feed::{Feed, Sound, sound};
use self::ffmpeg::FFmpegSender;
use self::meter::PushMeter;
use self::place::Address;
use self::rtmp::RtmpSender;
use self::session::Session;
use crate::agent::hub::{Event, Pace};
use crate::agent::output::material::{Material, MaterialReader, Wanted};
use crate::agent::source::fed::Ended;
use crate::agent::source::knock;
use crate::agent::source::process::not_started;
use crate::agent::source::reconnect::{Attempts, Next, Outcome};
use crate::agent::transcode::Frames as _;
use crate::agent::unit::{Secrets, UnitContext};
use crate::media::frame::Configuration;
use crate::media::nut::{NutWriter, depth};
use crate::plan::capability::Carrier;
use crate::plan::report::{PushFacts, PushMode, Reason, UnitState};
use crate::plan::unit::{ObjectKind, ObjectRef, Push, PushAudio, Reconnect, SecretKey};

/// Between two attempts with a key that was refused: it is not hammered, or the target may lock it.
const REFUSED: Reconnect = Reconnect { initial_delay_ms: 30_000, max_delay_ms: 600_000, max_attempts: None };
/// How often secrets are looked at while they are what is wrong.
const SECRETS_EVERY: Duration = Duration::from_secs(1);
/// What is handed over at once: a target is called so many times a second, and viewers are later by this at most, which is little of
/// what they are late by anyway.
const PACE: Pace = Pace::Pauses(Duration::from_millis(200));
/// A camera that sends nothing for so long is said to be what is waited for.
const CAMERA_PATIENCE: Duration = Duration::from_secs(2);

/// Runs a push until it is cancelled. When its attempts are used up the unit is [`UnitState::Failed`] and waits to be stopped.
pub async fn run(context: UnitContext, push: Push) {
    let key = context.object.key.clone();
    let meter = Arc::new(PushMeter::default());
    context.registry.pushes.insert(key.clone(), meter.clone());
    let wanted = Wanted {
        camera: &push.camera,
        video: push.video.as_ref(),
        audio: push.audio != PushAudio::None,
        // By the FFmpeg that sends it.
        audio_bit_rate: None,
        fallback: push.fallback.as_deref(),
        ring: None,
    };
    let material = Material::new(&context, wanted);
    let unit = Unit { context: &context, push: &push, meter: &meter, material: &material };
    material.run(PACE, unit.run()).await;
    context.registry.pushes.remove(&key, &meter);
}

struct Unit<'a> {
    context: &'a UnitContext,
    push: &'a Push,
    meter: &'a PushMeter,
    material: &'a Material<'a>,
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
        let mut camera = self.material.read(0, PACE);
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
                Err(missing) => Ended::early((
                    Reason::SecretMissing,
                    format!("Secret {} has no key {}; create it", missing.name, missing.key),
                )),
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
    async fn first(&self, camera: &mut MaterialReader<'_>, carrier: Carrier) -> (Arc<Configuration>, Vec<Event>) {
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
        camera: &mut MaterialReader<'_>,
        (configuration, first): (Arc<Configuration>, Vec<Event>),
        peer: &mut Option<(String, u16)>,
    ) -> Ended {
        let sound = sound(self.push.audio, configuration.audio.as_ref().map(|audio| audio.codec), carrier);
        let feed = Feed::new(&configuration, sound);
        let session = Session { context: self.context, push: self.push, carrier, meter: self.meter };
        let refused = |message| Ended::early((Reason::PushRefused, message));
        if carrier == Carrier::Rtmp && sound != Sound::Encoded {
            let address = match Address::of(self.push, resolved) {
                Ok(address) => address,
                Err(message) => return refused(message),
            };
            if let Err(ended) = self.prepare(&address.host, address.port, carrier, peer).await {
                return ended;
            }
            let guard = &self.context.registry.source_guard;
            let opened = tokio::select! {
                () = self.context.cancel.cancelled() => return Ended::early((Reason::ShuttingDown, "stopped".into())),
                opened = Box::pin(RtmpSender::open(&address, feed.configuration(), guard)) => opened,
            };
            return match opened {
                Ok(sender) => Box::pin(session.run(sender, camera, feed, first)).await,
                Err(refusal) => Ended::early(refusal),
            };
        }
        // GnuTLS does not look at it by itself.
        let certificates = std::env::var("SSL_CERT_FILE").ok();
        let invocation = match arguments::build(self.push, resolved, sound, certificates.as_deref()) {
            Ok(invocation) => invocation,
            Err(message) => return refused(message),
        };
        if let Err(ended) = self.prepare(&invocation.host, invocation.port, carrier, peer).await {
            return ended;
        }
        let Configuration { video, audio, .. } = feed.configuration();
        let writer = NutWriter::new((**video).clone(), audio.as_deref().cloned(), depth(video));
        match FFmpegSender::start(&invocation, carrier, writer, self.context.logs.clone()) {
            Ok(sender) => Box::pin(session.run(sender, camera, feed, first)).await,
            Err(error) => Ended::early(not_started(&error)),
        }
    }

    /// What comes before every attempt: may the host be connected to, and what is said meanwhile.
    async fn prepare(
        &self,
        host: &str,
        port: u16,
        carrier: Carrier,
        peer: &mut Option<(String, u16)>,
    ) -> Result<(), Ended> {
        let looked_up = self.context.registry.source_guard.look_up(host).await;
        looked_up.map_err(|message| Ended::early((Reason::TargetUnreachable, message)))?;
        if carrier != Carrier::Srt {
            *peer = Some((host.to_owned(), port));
        }
        // Why the one before failed stands until this one succeeds.
        let before = self.context.board.unit(&self.context.object).map(|report| report.state);
        if before != Some(UnitState::Reconnecting) {
            let message = format!("connecting to {}", target(&self.push.url));
            self.context.set_state(UnitState::Starting, Reason::Connecting, message);
        }
        Ok(())
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
