//! A camera that another agent is connected to: reads that agent's hub over HTTP and publishes the same frames here, so that
//! outputs work as if the camera were connected to this agent. Asks again whenever the answer ends, from where it was. Must
//! not judge the camera: what is wrong with it is what its own agent says.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`client`] | one request: token, answer, why it was refused |
//! | [`decoder`] | no IO: the answer's bytes → frames |
//! | [`relay`] | no IO: frames there → frames here, over cuts and roll-outs |

pub mod client;
pub mod decoder;
pub mod relay;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::{sleep, sleep_until};

use self::client::{Answer, Client, Failure};
use self::decoder::{Decoder, Piece};
use self::relay::{Effect, Relay};
use super::reconnect::{Attempts, Next, Outcome, stall_limit};
use crate::agent::hub::Hub;
use crate::agent::unit::UnitContext;
use crate::media::clock::ticks_to_micros;
use crate::media::frame::{Configuration, Frame, TrackKind, UtcMicros};
use crate::plan::report::{MediaFacts, Reason, UnitState};
use crate::plan::unit::{Ingest, Reconnect};

/// Another agent of the same cluster is back within moments, and is not a device that could be hammered.
const DELAYS: (u64, u64) = (250, 5_000);
/// The camera's own agent notices a stall and says so; this much later its silence is not the camera's.
const AFTER_STALL: Duration = Duration::from_secs(5);
/// A stream that was cut off after this long is asked for again at once.
const STEADY: Duration = Duration::from_secs(1);
/// How often measured facts are looked at again.
const FACTS_EVERY: Duration = Duration::from_secs(5);
/// Distances of pictures that the measured rate is made of.
const MEASURED: usize = 32;

/// Runs until `context.cancel` is cancelled.
pub async fn run(context: &UnitContext, hub: &Hub, ingest: &Ingest, address: &str) {
    let client = match Client::new(address, &context.object.key) {
        Ok(client) => client,
        Err(message) => {
            context.set_state(UnitState::Failed, Reason::InvalidSpec, message);
            context.cancel.cancelled().await;
            return;
        }
    };
    context.set_state(
        UnitState::Starting,
        Reason::Connecting,
        format!("connecting to the camera's agent at {address}"),
    );
    let mut unit = Unit {
        context,
        hub,
        ingest,
        client,
        origin: Instant::now(),
        relay: Relay::new(Duration::from_millis(ingest.ring_ms)),
        facts: Facts::default(),
    };
    unit.run().await;
    let mut effects = Vec::new();
    unit.relay.finish(unit.now(), wall(), &mut effects);
    unit.apply(effects);
}

fn wall() -> UtcMicros {
    UtcMicros::from_timestamp(Timestamp::now())
}

struct Unit<'a> {
    context: &'a UnitContext,
    hub: &'a Hub,
    ingest: &'a Ingest,
    client: Client,
    origin: Instant,
    relay: Relay,
    facts: Facts,
}

/// How one answer went.
struct Session {
    failure: Failure,
    /// From the first picture to the newest, if there were any.
    pictures_for: Option<Duration>,
}

impl Unit<'_> {
    fn now(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    fn apply(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Publish(configuration, frames) => self.hub.publish(&configuration, frames),
                Effect::End(ending) => {
                    tracing::warn!(object = %self.context.object, reason = ?ending.reason, "{}", ending.message);
                    self.context.logs.push("warning", ending.message.clone());
                    self.hub.end_run(ending);
                }
            }
        }
    }

    /// Waits for something and lets time pass for the relay meanwhile; `None` when the unit must stop.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            let deadline = self.relay.deadline().map(|at| self.origin + Duration::from_micros(at.unsigned_abs()));
            let due = async {
                match deadline {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.context.cancel.cancelled() => return None,
                done = &mut work => return Some(done),
                () = due => {
                    let mut effects = Vec::new();
                    self.relay.tick(self.now(), wall(), &mut effects);
                    self.apply(effects);
                }
            }
        }
    }

    async fn run(&mut self) {
        let rules = Reconnect { initial_delay_ms: DELAYS.0, max_delay_ms: DELAYS.1, max_attempts: None };
        let mut attempts = Attempts::default();
        while let Some(Session { failure, pictures_for }) = self.session().await {
            if matches!(failure, Failure::Ended) && pictures_for.is_some() {
                // The run or its configuration ended in order, and what follows may be there already.
                continue;
            }
            let cut_off = !matches!(failure, Failure::Unreadable(_)) && pictures_for.is_some_and(|span| span >= STEADY);
            let (reason, message) = failure.told(self.client.address());
            self.relay.cut(reason, message.clone(), self.now());
            if cut_off {
                continue;
            }
            let outcome = Outcome { reason, pictures_for };
            let Next::Wait(delay) = attempts.after(outcome, &rules, rand::random()) else { return };
            self.context.set_state(UnitState::Reconnecting, reason, message);
            self.facts.told = None;
            if self.during(sleep(delay)).await.is_none() {
                return;
            }
            self.context.update(|report| report.reconnects += 1);
        }
    }

    /// One request and its answer to the end; `None` when the unit must stop.
    async fn session(&mut self) -> Option<Session> {
        // A recorder that begins anew wants all that there is; viewers want what is now.
        let records = !self.context.registry.declared.get().is_empty();
        let request = self.client.request(self.relay.position(), records, self.context.secrets.agent_token());
        let mut answer = match self.during(request).await? {
            Ok(answer) => answer,
            Err(failure) => return Some(Session { failure, pictures_for: None }),
        };
        let mut decoder = Decoder::new(answer.begin);
        let mut first = None;
        let mut newest = Instant::now();
        let failure = loop {
            let limit = self.silence();
            let chunk = self.during(next_chunk(&mut answer, limit)).await?;
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break Failure::Ended,
                Err(failure) => break failure,
            };
            let mut pieces = Vec::new();
            let taken = decoder.take(&chunk, |piece| pieces.push(piece));
            if pieces.iter().any(|piece| matches!(piece, Piece::Frame(..))) {
                newest = Instant::now();
                first.get_or_insert(newest);
            }
            self.deliver(pieces);
            if let Err(error) = taken {
                break Failure::Unreadable(error.to_string());
            }
        };
        Some(Session { failure, pictures_for: first.map(|first| newest.duration_since(first)) })
    }

    /// How long the other agent may say nothing.
    fn silence(&self) -> Duration {
        stall_limit(Duration::from_millis(self.ingest.stall_timeout_ms), self.facts.interval()) + AFTER_STALL
    }

    fn deliver(&mut self, pieces: Vec<Piece>) {
        let now = self.now();
        let mut effects = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Frame(configuration, frame) => {
                    self.facts.take(&configuration, &frame);
                    self.relay.frame(&configuration, frame, now, &mut effects);
                }
                Piece::Ended(ending) => {
                    self.context.set_state(UnitState::Reconnecting, ending.reason, ending.message.clone());
                    self.facts.told = None;
                    self.relay.ended(ending, now, &mut effects);
                }
            }
        }
        self.apply(effects);
        self.tell_facts();
    }

    fn tell_facts(&mut self) {
        let Some(facts) = self.facts.due() else { return };
        self.context.tell_media(facts);
    }
}

async fn next_chunk(answer: &mut Answer, limit: Duration) -> Result<Option<bytes::Bytes>, Failure> {
    match tokio::time::timeout(limit, answer.chunk()).await {
        Ok(chunk) => chunk,
        Err(_) => Err(Failure::Silent(limit)),
    }
}

/// What the camera sends, as measured from what came.
#[derive(Debug, Default)]
struct Facts {
    newest: Option<MediaFacts>,
    distances: VecDeque<i64>,
    told: Option<Instant>,
}

impl Facts {
    fn take(&mut self, configuration: &Configuration, frame: &Frame) {
        if frame.track != TrackKind::Video {
            return;
        }
        if self.distances.len() == MEASURED {
            self.distances.pop_front();
        }
        self.distances.push_back(ticks_to_micros(frame.duration.into(), configuration.video.timescale));
        let micros: i64 = self.distances.iter().sum();
        let rate = self.distances.len() as u64 * 1_000_000_000 / micros.unsigned_abs().max(1);
        self.newest = Some(MediaFacts {
            video_codec: configuration.video.codec.name().to_owned(),
            width: configuration.video.width,
            height: configuration.video.height,
            frames_per_second_milli: u32::try_from(rate).unwrap_or(u32::MAX),
            audio_codec: configuration.audio.as_ref().map(|audio| audio.codec.name().to_owned()),
        });
    }

    fn interval(&self) -> Option<Duration> {
        self.distances.iter().max().map(|micros| Duration::from_micros(micros.unsigned_abs()))
    }

    /// The facts, when it is time to tell them.
    fn due(&mut self) -> Option<MediaFacts> {
        let facts = self.newest.as_ref()?;
        if self.told.is_some_and(|told| told.elapsed() < FACTS_EVERY) {
            return None;
        }
        self.told = Some(Instant::now());
        Some(facts.clone())
    }
}
