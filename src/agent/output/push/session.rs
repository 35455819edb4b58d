//! One session with a target: from the start of its FFmpeg to the end. Feeds it with frames, watches whether the target takes
//! them, and ends it when it does not. Says how it went; must not know how often it was tried.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::acknowledged::acknowledged;
use super::arguments::{Invocation, OPTIONS_FD, target};
use super::classify::{Stage, classify};
use super::feed::{Feed, sound};
use super::meter::PushMeter;
use super::progress::{LIMIT, Look, Progress};
use super::rate::Rate;
use crate::agent::hub::Event;
use crate::agent::output::slate::CameraOrSlate;
use crate::agent::source::process::{Ends, Manner, Process, spawn_sender};
use crate::agent::unit::UnitContext;
use crate::media::frame::{Frame, UtcMicros};
use crate::plan::capability::Carrier;
use crate::plan::report::{PushFacts, PushMode, Reason, UnitState};
use crate::plan::unit::Push;

/// Condition type of a push whose target is too slow for the camera.
const FRAMES_DROPPED: &str = "FramesDropped";
/// Condition type of a push that is begun again for its slate.
const NOT_SEAMLESS: &str = "NotSeamless";
/// How long that is said after the last loss.
const DROPPED_FOR: Duration = Duration::from_mins(1);
/// How often it is looked at whether the target takes anything.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long FFmpeg gets to take leave of the target once the stream ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a process that has closed its pipe is given to end.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// How a session went.
#[derive(Debug)]
pub struct Ended {
    /// Why.
    pub reason: Reason,
    /// One redacted sentence.
    pub message: String,
    /// For how long the target took what was sent; `None` when it never did.
    pub lasted: Option<Duration>,
    /// No need to wait before the next one.
    pub at_once: bool,
}

/// Why it is over.
enum Stop {
    Cancelled,
    /// FFmpeg has ended.
    Exited,
    /// The target takes nothing.
    Stalled,
    /// The camera sends something that this session cannot carry on with.
    Changed,
}

/// What a session is given.
pub struct Session<'a> {
    /// Whose.
    pub context: &'a UnitContext,
    /// What was planned.
    pub push: &'a Push,
    /// What carries it.
    pub carrier: Carrier,
    /// What is counted.
    pub meter: &'a PushMeter,
}

/// What is known while it lasts.
struct State {
    feed: Feed,
    queue: VecDeque<Bytes>,
    given: u64,
    acknowledged: u64,
    progress: Progress,
    looked: Instant,
    stage: Stage,
    /// Since when the target takes what is sent.
    since: Option<(Instant, Timestamp)>,
    /// The camera sends nothing.
    paused: bool,
    /// What is sent is the slate.
    slate: bool,
    dropped: Option<Instant>,
    rate: Rate,
    /// Frames that were left out, as they were counted when something else was to be told as well.
    left_out: u64,
}

impl Session<'_> {
    /// Starts FFmpeg and stays with it until it has ended. `first` is what has been read of the camera already.
    pub async fn run(
        self,
        invocation: &Invocation,
        camera: &mut CameraOrSlate<'_>,
        feed: Feed,
        first: Vec<Event>,
    ) -> Ended {
        let options = invocation.options.as_deref().map(|options| (OPTIONS_FD, options));
        let started = spawn_sender(&invocation.arguments, options, &invocation.secrets, self.context.logs.clone());
        let (mut process, ends) = match started {
            Ok(started) => started,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return failed(Reason::FFmpegMissing, "FFmpeg is not installed; install the package ffmpeg".into());
            }
            Err(error) => return failed(Reason::FFmpegFailed, format!("FFmpeg cannot be started: {error}")),
        };
        let mut state = State {
            queue: VecDeque::from([feed.header()]),
            feed,
            given: 0,
            acknowledged: 0,
            progress: Progress::default(),
            looked: Instant::now(),
            stage: Stage::Opening,
            since: None,
            paused: false,
            slate: camera.slate_since().is_some(),
            dropped: None,
            rate: Rate::default(),
            left_out: self.meter.counts().dropped,
        };
        let Ends { mut media, progress } = ends;
        let mut told = BufReader::new(progress).lines();
        let stop = match self.accept(first, &mut state) {
            Ok(()) => self.follow(&mut process, &mut media, &mut told, camera, &mut state).await,
            Err(stop) => stop,
        };
        let lines = end(process, media, &stop).await;
        self.context.set_notice(FRAMES_DROPPED, None);
        self.meter.set_since(None);
        self.tell(PushMode::Reconnecting, None, &state);
        self.conclude(&stop, &lines, &state)
    }

    async fn follow(
        &self,
        process: &mut Process,
        media: &mut ChildStdin,
        told: &mut Lines<BufReader<ChildStdout>>,
        camera: &mut CameraOrSlate<'_>,
        state: &mut State,
    ) -> Stop {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_told = true;
        loop {
            let mut next = state.queue.front_mut();
            let result = tokio::select! {
                biased;
                () = self.context.cancel.cancelled() => return Stop::Cancelled,
                _ = process.wait() => return Stop::Exited,
                _ = looks.tick() => self.look(process, state).await,
                line = told.next_line(), if is_told => {
                    match line {
                        Ok(Some(line)) => notice(&line, state),
                        Ok(None) | Err(_) => is_told = false,
                    }
                    Ok(())
                }
                written = write(media, &mut next), if next.is_some() => match written {
                    Ok(0) | Err(_) => {
                        // Its end says why.
                        let _ = timeout(END_PATIENCE, process.wait()).await;
                        Err(Stop::Exited)
                    }
                    Ok(bytes) => {
                        state.given += bytes as u64;
                        if state.queue.front().is_some_and(Bytes::is_empty) {
                            state.queue.pop_front();
                        }
                        Ok(())
                    }
                },
                events = camera.next(), if next.is_none() => {
                    state.slate = camera.slate_since().is_some();
                    self.tell_seam(camera);
                    self.accept(events, state)
                }
            };
            if let Err(stop) = result {
                return stop;
            }
        }
    }

    /// Takes what the camera sent.
    fn accept(&self, events: Vec<Event>, state: &mut State) -> Result<(), Stop> {
        let mut frames: Vec<Arc<Frame>> = Vec::new();
        let mut chunks = Vec::new();
        let mut result = Ok(());
        for event in events {
            match event {
                Event::Frame(frame) => frames.push(frame),
                Event::Configuration { configuration, .. } => {
                    self.write(&mut frames, &mut chunks, state);
                    let codec = configuration.audio.as_ref().map(|audio| audio.codec);
                    if !state.feed.fits(&configuration, sound(self.push.audio, codec, self.carrier)) {
                        result = Err(Stop::Changed);
                        break;
                    }
                }
                Event::Ended(ending) => {
                    self.write(&mut frames, &mut chunks, state);
                    state.paused = true;
                    if let Some((_, since)) = state.since {
                        self.tell(PushMode::Paused, Some(since), state);
                        self.context.set_state(UnitState::Waiting, ending.reason, ending.message.clone());
                    }
                }
                Event::Lost(entries) => {
                    self.meter.count_dropped(entries);
                    if state.dropped.replace(Instant::now()).is_none() {
                        // Where the condition appears, the count does.
                        state.left_out = self.meter.counts().dropped;
                    }
                    let message = format!(
                        "{} takes less than the camera sends: pictures are left out; give it more bandwidth, or let the camera \
                         send less",
                        target(&self.push.url)
                    );
                    self.context.set_notice(FRAMES_DROPPED, Some(message));
                }
            }
        }
        self.write(&mut frames, &mut chunks, state);
        state.queue.extend(chunks.into_iter().filter(|chunk| !chunk.is_empty()));
        result
    }

    fn write(&self, frames: &mut Vec<Arc<Frame>>, chunks: &mut Vec<Bytes>, state: &mut State) {
        if !frames.is_empty() {
            state.paused = false;
            self.meter.count_pictures(state.feed.write(frames, chunks));
            frames.clear();
        }
    }

    /// Sees whether the target takes what is sent.
    async fn look(&self, process: &Process, state: &mut State) -> Result<(), Stop> {
        let acknowledged = match process.id().filter(|_| self.carrier != Carrier::Srt) {
            // SRT is no TCP: its library ends the session itself when the other side is silent.
            None => state.given,
            Some(id) => match tokio::task::spawn_blocking(move || acknowledged(id)).await {
                // A connection that was closed takes its count with it.
                Ok(Ok(bytes)) => bytes.max(state.acknowledged),
                // What FFmpeg takes is the next best that is known.
                _ => state.given,
            },
        };
        let look = Look { given: state.given, held_up: !state.queue.is_empty(), acknowledged };
        let elapsed = state.looked.elapsed();
        let moved = state.progress.look(look, elapsed);
        state.looked = Instant::now();
        let bytes = acknowledged.saturating_sub(state.acknowledged);
        state.acknowledged = acknowledged;
        if state.dropped.is_some_and(|dropped| dropped.elapsed() > DROPPED_FOR) {
            state.dropped = None;
            state.left_out = self.meter.counts().dropped;
            self.context.set_notice(FRAMES_DROPPED, None);
        }
        if moved {
            self.meter.count_bytes(bytes);
        }
        if moved && state.stage == Stage::Sending && !state.paused {
            let (_, since) = *state.since.get_or_insert_with(|| {
                let since = Timestamp::now();
                self.meter.set_since(Some(since));
                (Instant::now(), since)
            });
            let place = target(&self.push.url);
            let (mode, reason, message) = if state.slate {
                let message = format!("the slate is sent to {place}, because the camera sends no pictures");
                (PushMode::Slate, Reason::Slate, message)
            } else {
                (PushMode::Camera, Reason::Streaming, format!("sent to {place}"))
            };
            if state.rate.count(bytes, elapsed) {
                state.left_out = self.meter.counts().dropped;
            }
            self.tell(mode, Some(since), state);
            self.context.set_state(UnitState::Running, reason, message);
        }
        if state.progress.is_stalled() { Err(Stop::Stalled) } else { Ok(()) }
    }

    /// Says when the slate will need a session of its own.
    fn tell_seam(&self, camera: &CameraOrSlate<'_>) {
        let message = camera.seam().map(|reason| {
            format!(
                "the slate needs another session with the target than the camera's pictures, because of the camera: {reason}; \
                 let the camera send progressive H.264 with AAC"
            )
        });
        self.context.set_notice(NOT_SEAMLESS, message);
    }

    fn tell(&self, mode: PushMode, since: Option<Timestamp>, state: &State) {
        let facts = PushFacts {
            since: since.map(UtcMicros::from_timestamp),
            bit_rate: since.and(state.rate.bits_per_second()),
            dropped_frames: state.left_out,
            ..PushFacts::new(mode)
        };
        self.context.update(|report| report.push = Some(facts));
    }

    fn conclude(&self, stop: &Stop, lines: &[String], state: &State) -> Ended {
        let place = target(&self.push.url);
        let (reason, message) = match stop {
            Stop::Cancelled => (Reason::ShuttingDown, "stopped".to_owned()),
            Stop::Changed => (
                Reason::ConfigurationChanged,
                "the format of the pictures has changed, which needs another session with the target".to_owned(),
            ),
            Stop::Stalled if state.stage == Stage::Opening => {
                (Reason::TargetUnreachable, format!("no session: {place} has not answered for {LIMIT:?}"))
            }
            Stop::Stalled => (Reason::PushStalled, format!("{place} has taken nothing for {LIMIT:?}")),
            Stop::Exited => classify(lines, state.stage, self.carrier),
        };
        let lasted = state.since.map(|(since, _)| since.elapsed());
        Ended { reason, message, lasted, at_once: matches!(stop, Stop::Changed) }
    }
}

/// A session that did not come to be.
pub fn failed(reason: Reason, message: String) -> Ended {
    Ended { reason, message, lasted: None, at_once: false }
}

/// Hands the next bytes over. Cancel safe: what was not written stays.
async fn write(media: &mut ChildStdin, next: &mut Option<&mut Bytes>) -> io::Result<usize> {
    match next {
        Some(bytes) => media.write_buf(*bytes).await,
        None => Ok(0),
    }
}

/// Takes note of a line of FFmpeg's progress.
fn notice(line: &str, state: &mut State) {
    let frames = line.strip_prefix("frame=").and_then(|frames| frames.trim().parse::<u64>().ok());
    if frames.is_some_and(|frames| frames > 0) {
        state.stage = Stage::Sending;
    }
}

/// Ends FFmpeg. Returns its newest messages.
async fn end(mut process: Process, media: ChildStdin, stop: &Stop) -> Vec<String> {
    drop(media);
    if matches!(stop, Stop::Cancelled | Stop::Changed) {
        // The stream ends there, so that it takes leave of the target.
        let _ = timeout(FAREWELL, process.wait()).await;
    }
    process.stop(Manner::InOrder).await
}
