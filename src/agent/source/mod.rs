//! The ingest unit: keeps the one connection to a camera, turns what comes into frames and publishes them in the camera's
//! hub; notices when nothing comes and connects again. Must not know who reads the hub.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`address`] | pure: location and secrets → a URL that may be opened, and what must not be seen of it |
//! | [`arguments`] | pure: source and what was learnt → FFmpeg's arguments; where credentials go |
//! | [`profile`] | what attempts teach about a source |
//! | [`process`] | one FFmpeg process and its pipes |
//! | [`byte_queue`] | pure: what waits to be handed over |
//! | [`pipe_queue`] | what waits in front of such a pipe |
//! | [`fed`] | how the session of one that is fed went |
//! | [`track`] | a track's pipe and what reads it |
//! | [`redact`] | pure: takes secrets out of messages |
//! | [`assembly`] | no IO: samples of both tracks → runs of frames |
//! | [`life`] | clocks, assembly, deadlines and ends of one life of a source, whoever reads it |
//! | [`engine`] | pure: which driver reads a source |
//! | [`ffmpeg`] | one life of an FFmpeg, from start to end |
//! | [`filter_text`] | pure: text of users in a filter graph |
//! | [`native`] | one life of an RTSP session without FFmpeg |
//! | [`hub`] | a camera that another agent is connected to |
//! | [`messages`] | pure: what FFmpeg says of the network |
//! | [`classify`] | pure: messages → reason, and what to do otherwise |
//! | [`replay`] | pure: pictures that a source shows again to whoever connects anew |
//! | [`reconnect`] | pure: when it is stalled, when it is tried again |
//! | [`turns`] | the thread on which sources are read |
//! | [`knock`] | notices that a device which was away takes connections again |

pub mod address;
pub mod arguments;
pub mod assembly;
pub mod byte_queue;
pub mod classify;
pub mod engine;
pub mod fed;
pub mod ffmpeg;
pub mod filter_text;
pub mod guard;
pub mod hub;
pub mod knock;
pub mod life;
pub mod messages;
pub mod native;
pub mod pipe_queue;
pub mod process;
pub mod profile;
pub mod reconnect;
pub mod redact;
pub mod replay;
pub mod track;
pub mod turns;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use self::address::{Address, Resolved};
use self::arguments::Timeouts;
use self::engine::{Driver, choose};
use self::profile::Profile;
use self::reconnect::{Attempts, Next, Outcome, first_delay};
use self::redact::Redactor;
use self::replay::Replay;
use crate::agent::hub::{Hub, Limits};
use crate::agent::unit::{Secrets, UnitContext};
use crate::plan::report::{Reason, UnitState};
use crate::plan::unit::{Credentials, Engine, Ingest, Location, RtspTransport, SecretKey, Source};

/// Condition type of a camera that FFmpeg reads because the native driver cannot.
pub const READ_BY_FFMPEG: &str = "ReadByFFmpeg";

/// What was learnt about a source is believed for so long: a camera may get a microphone.
const PROFILE_FOR: Duration = Duration::from_hours(1);
/// How often secrets are looked at while they are what is missing.
const SECRETS_EVERY: Duration = Duration::from_secs(1);
/// Profiles that follow one another without a wait. More than there are steps in any of them is a loop.
const MOST_AT_ONCE: u32 = 8;

/// Runs the unit until `context.cancel` is cancelled. The hub is in `context.registry.hubs` under the camera's key from the
/// beginning and is closed and taken out at the end. When its attempts are used up the unit is [`UnitState::Failed`] and
/// waits to be stopped.
pub async fn run(context: UnitContext, ingest: Ingest) {
    let hub = Arc::new(Hub::new(Limits {
        duration_micros: i64::try_from(ingest.ring_ms.saturating_mul(1000)).unwrap_or(i64::MAX),
        bytes: usize::try_from(ingest.ring_bytes).unwrap_or(usize::MAX),
    }));
    context.registry.hubs.insert(context.object.key.clone(), hub.clone());
    match &ingest.source {
        Source::Hub { address } => hub::run(&context, &hub, &ingest, address).await,
        source if may_wait(source) => {
            let (owned, hub, ingest) = (context.clone(), hub.clone(), ingest.clone());
            let work = async move { Unit { context: &owned, hub: &hub, ingest: &ingest }.run().await };
            context.registry.turns.run(work).await;
        }
        _ => Unit { context: &context, hub: &hub, ingest: &ingest }.run().await,
    }
    hub.close();
    context.registry.hubs.remove(&context.object.key, &hub);
}

/// Whether what a source sends waits until it is read: what comes over UDP while a socket is full is lost.
const fn may_wait(source: &Source) -> bool {
    !matches!(source, Source::Rtsp { transport: RtspTransport::Udp, .. })
}

/// How a life went.
#[derive(Debug)]
pub struct Ended {
    /// Why.
    pub reason: Reason,
    /// One redacted sentence.
    pub message: String,
    /// How to try next.
    pub profile: Profile,
    /// No need to wait before that.
    pub at_once: bool,
    /// From the first picture to the newest, if there were any.
    pub pictures_for: Option<Duration>,
    /// What the native driver cannot carry, as part of a sentence, if that is why.
    pub beyond: Option<String>,
}

impl Ended {
    /// Before anything was begun.
    const fn early(reason: Reason, message: String, profile: Profile) -> Self {
        Self { reason, message, profile, at_once: false, pictures_for: None, beyond: None }
    }
}

/// What attempts have taught.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Learnt {
    profile: Profile,
    /// What the native driver cannot carry, as part of a sentence.
    beyond: Option<String>,
}

struct Unit<'a> {
    context: &'a UnitContext,
    hub: &'a Hub,
    ingest: &'a Ingest,
}

impl Unit<'_> {
    async fn run(&self) {
        self.context.set_state(UnitState::Starting, Reason::Connecting, "connecting");
        if self.pause(first_delay(self.context.registry.hubs.all().len(), rand::random())).await {
            return;
        }
        let mut attempts = Attempts::default();
        let mut learnt = (Learnt::default(), Instant::now());
        let mut at_once = 0;
        // Only a playlist has pictures of before for whoever connects.
        let mut replay = matches!(self.ingest.source, Source::Hls { .. }).then(Replay::default);
        loop {
            if learnt.1.elapsed() > PROFILE_FOR {
                learnt = (Learnt::default(), Instant::now());
            }
            let secrets = read_secrets(&self.ingest.source, self.context.secrets.as_ref());
            let mut peer = None;
            let ended = match &secrets {
                Ok(resolved) => self.attempt(resolved, &learnt.0, replay.as_mut(), &mut peer).await,
                Err(missing) => {
                    let message = format!("Secret {} has no key {}; create it", missing.name, missing.key);
                    Ended::early(Reason::SecretMissing, message, learnt.0.profile)
                }
            };
            if self.context.cancel.is_cancelled() {
                return;
            }
            let ended = self.consider(ended);
            let beyond = ended.beyond.clone().or_else(|| learnt.0.beyond.clone());
            let known = Learnt { profile: ended.profile, beyond };
            if known != learnt.0 {
                learnt = (known, Instant::now());
            }
            at_once = if ended.pictures_for.is_some() { 0 } else { at_once };
            if ended.at_once && at_once < MOST_AT_ONCE {
                at_once += 1;
                self.context.logs.push("info", format!("{}; trying again", ended.message));
                continue;
            }
            at_once = 0;
            let outcome = Outcome { reason: ended.reason, pictures_for: ended.pictures_for };
            match attempts.after(outcome, &self.ingest.reconnect, rand::random()) {
                Next::GiveUp => {
                    let message =
                        format!("given up after {} attempts in a row: {}", self.most_attempts(), ended.message);
                    self.context.set_state(UnitState::Failed, Reason::ReconnectLimitReached, message);
                    self.context.cancel.cancelled().await;
                    return;
                }
                Next::Wait(delay) => {
                    // The same at every attempt, so that a condition is written when something changes, and not for each.
                    let message = format!("{}; it is tried again by itself", ended.message);
                    self.context.set_state(UnitState::Reconnecting, ended.reason, message);
                    tracing::debug!(object = %self.context.object, ?delay, "tries again");
                    let stopped = match ended.reason {
                        Reason::CredentialRefused | Reason::SecretMissing => {
                            self.wait_for_others(delay, &secrets).await
                        }
                        Reason::Unreachable => self.wait_for_answer(delay, peer).await,
                        _ => self.pause(delay).await,
                    };
                    if stopped {
                        return;
                    }
                }
            }
            self.context.update(|report| report.reconnects += 1);
        }
    }

    fn most_attempts(&self) -> i32 {
        self.ingest.reconnect.max_attempts.unwrap_or_default()
    }

    /// What the native driver cannot carry FFmpeg may, unless the manifest says otherwise.
    fn consider(&self, mut ended: Ended) -> Ended {
        if ended.beyond.is_none() {
            return ended;
        }
        if matches!(self.ingest.source, Source::Rtsp { engine: Engine::Native, .. }) {
            ended.message.push_str("; write engine: Auto, so that FFmpeg reads the camera");
            ended.beyond = None;
        } else {
            // The next attempt is another driver's: there is nothing to wait for.
            ended.at_once = true;
        }
        ended
    }

    /// Tries once; `peer` becomes host and port of the device, where it has any.
    async fn attempt(
        &self,
        resolved: &Resolved,
        learnt: &Learnt,
        replay: Option<&mut Replay>,
        peer: &mut Option<(String, u16)>,
    ) -> Ended {
        let (context, hub, ingest) = (self.context, self.hub, self.ingest);
        let (guard, profile) = (&context.registry.source_guard, learnt.profile);
        let address = match Address::of(&ingest.source, resolved) {
            Ok(address) => address,
            Err(error) => return Ended::early(Reason::FFmpegFailed, error.to_string(), profile),
        };
        *peer = address.as_ref().and_then(|address| address.peer.clone());
        if let Some(address) = &address
            && let Err(message) = guard.look_up(&address.host).await
        {
            return Ended::early(Reason::Unreachable, message, profile);
        }
        let peer = peer.as_ref();
        match choose(&ingest.source, address.as_ref(), learnt.beyond.as_deref()) {
            Driver::Native(target) => {
                context.set_notice(READ_BY_FFMPEG, None);
                let redactor = Redactor::new(address.into_iter().flat_map(|address| address.secrets));
                let attempt =
                    native::Attempt { context, hub, ingest, target: &target, peer, redactor: &redactor, profile };
                Box::pin(attempt.run()).await
            }
            Driver::FFmpeg(instead) => {
                let message = instead.map(|why| {
                    format!("FFmpeg reads the camera, because {why}; it costs more than the native driver would")
                });
                context.set_notice(READ_BY_FFMPEG, message);
                let timeouts = Timeouts { silence_micros: silence(ingest), redirects: !guard.is_set() };
                let built = arguments::build(&ingest.source, address.as_ref(), resolved, profile, timeouts);
                let invocation = match built {
                    Ok(invocation) => invocation,
                    Err(error) => return Ended::early(Reason::FFmpegFailed, error.to_string(), profile),
                };
                let attempt = ffmpeg::Attempt { context, hub, ingest, invocation: &invocation, peer, profile };
                Box::pin(attempt.run(replay)).await
            }
        }
    }

    /// Waits; true when the unit must stop meanwhile.
    async fn pause(&self, delay: Duration) -> bool {
        tokio::select! {
            () = self.context.cancel.cancelled() => true,
            () = sleep(delay) => false,
        }
    }

    /// Waits, at most until the device takes connections again; true when the unit must stop meanwhile.
    async fn wait_for_answer(&self, delay: Duration, peer: Option<(String, u16)>) -> bool {
        let Some((host, port)) = peer else { return self.pause(delay).await };
        tokio::select! {
            stopped = self.pause(delay) => stopped,
            () = knock::until_it_answers_again(&host, port, &self.context.registry.source_guard) => false,
        }
    }

    /// Waits, at most until the secrets are others than those that were tried; true when the unit must stop meanwhile.
    async fn wait_for_others(&self, delay: Duration, tried: &Result<Resolved, SecretKey>) -> bool {
        let until = Instant::now() + delay;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || read_secrets(&self.ingest.source, self.context.secrets.as_ref()) != *tried {
                return false;
            }
            if self.pause(left.min(SECRETS_EVERY)).await {
                return true;
            }
        }
    }
}

/// FFmpeg's own time-out for silence: later than ours, so that ours gives the reason, but sooner than a start takes, so that a
/// device that does not answer is told from one that sends no picture.
fn silence(ingest: &Ingest) -> u64 {
    let after_stall = ingest.stall_timeout_ms.saturating_add(5000);
    let before_start = ingest.start_timeout_ms.saturating_sub(2000).max(1000);
    after_stall.min(before_start.max(ingest.stall_timeout_ms.saturating_add(1000))).saturating_mul(1000)
}

/// The source's secrets as they are now, or the key that is missing.
fn read_secrets(source: &Source, secrets: &dyn Secrets) -> Result<Resolved, SecretKey> {
    let read = |key: &SecretKey| match secrets.get(key) {
        Some(secret) => Ok(secret.expose().to_owned()),
        None => Err(key.clone()),
    };
    let (location, credentials, passphrase): (Option<&Location>, Option<&Credentials>, Option<&SecretKey>) =
        match source {
            Source::Rtsp { location, credentials, .. }
            | Source::Http { location, credentials }
            | Source::Hls { location, credentials } => (Some(location), credentials.as_ref(), None),
            Source::Rtmp { location } => (Some(location), None, None),
            Source::Srt { location, passphrase, .. } => (Some(location), None, passphrase.as_ref()),
            Source::V4l2 { .. } | Source::Test { .. } | Source::Hub { .. } => (None, None, None),
        };
    let url = match location {
        Some(Location::Secret(key)) => Some(read(key)?),
        _ => None,
    };
    let credentials = match credentials {
        Some(Credentials { username, password }) => Some((read(username)?, read(password)?)),
        None => None,
    };
    Ok(Resolved { url, credentials, passphrase: passphrase.map(read).transpose()? })
}
