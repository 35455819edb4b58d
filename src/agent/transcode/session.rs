//! One FFmpeg that encodes, from its start to its end: fed with the camera's pictures, read rendition by rendition, ended when
//! nothing comes out of it although something goes in. Says how it went; must not know how often it was tried.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::derived::Derived;
use super::feed::Feed;
use super::meter::EncodeMeter;
use super::timeline::{SCALE, TIMESCALE, Timeline};
use super::{Encode, Frames, Shown};
use crate::agent::hub::{Ending, Event};
use crate::agent::output::push::progress::{LIMIT, Look, Progress};
use crate::agent::source::fed::Ended;
use crate::agent::source::messages::told;
use crate::agent::source::pipe_queue::PipeQueue;
use crate::agent::source::process::{Manner, Process, not_started, spawn_encoder};
use crate::agent::source::track::Track;
use crate::media::clock::ticks_to_micros;
use crate::media::fmp4::reader;
use crate::media::frame::{Configuration, TrackKind};
use crate::plan::report::Reason;

/// Condition type of a stream that is encoded more slowly than the camera sends.
pub const TOO_SLOW: &str = "EncoderTooSlow";
/// How long that is said after the last loss.
const DROPPED_FOR: Duration = Duration::from_mins(1);
/// How often it is looked at whether anything comes out.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Pictures that push out what decoder, filters, encoder and muxer hold.
const FILL: i64 = 8;
/// How long what was pushed out may take.
const FILL_PATIENCE: Duration = Duration::from_secs(2);
/// What waits between a pipe's reader and the session.
const WAITING: usize = 64;

/// Why it is over.
enum Stop {
    Cancelled,
    Exited,
    /// Nothing comes out.
    Stalled,
    /// Pictures of another codec come.
    Changed(String),
    Malformed(String),
}

/// What is known while it lasts.
struct State {
    feed: Feed,
    timeline: Timeline,
    configuration: Arc<Configuration>,
    /// It is a new one.
    configured: bool,
    queue: PipeQueue,
    progress: Progress,
    looked: Instant,
    since: Option<Instant>,
    dropped: Option<Instant>,
    /// Until when an end may wait for what is pushed out.
    ending: Option<Instant>,
}

/// A session that is about to begin.
pub struct Session<'a> {
    /// What it is for.
    pub encode: &'a Encode<'a>,
    /// FFmpeg's arguments.
    pub arguments: &'a [String],
    /// Distance of key frames, ticks.
    pub grid: i64,
    /// Where it is told whether a slate is shown.
    pub shown: &'a Shown,
    /// What is counted.
    pub meter: &'a EncodeMeter,
}

impl Session<'_> {
    /// Starts FFmpeg and stays with it until it has ended. `first` is what has been read of the camera already.
    pub async fn run(
        self,
        frames: &mut impl Frames,
        configuration: Arc<Configuration>,
        first: Vec<Event>,
        derived: &mut [Derived],
    ) -> Ended {
        let started = spawn_encoder(self.arguments, derived.len(), self.encode.context.logs.clone());
        let (mut process, media, tracks) = match started {
            Ok(started) => started,
            Err(error) => return Ended::early(not_started(&error)),
        };
        let feed = Feed::new(&configuration.video);
        let mut state = State {
            queue: PipeQueue::new(media),
            feed,
            timeline: Timeline::new(self.grid),
            configuration,
            configured: true,
            progress: Progress::default(),
            looked: Instant::now(),
            since: None,
            dropped: None,
            ending: None,
        };
        let (send, mut received) = mpsc::channel(WAITING);
        // Dropped, they end.
        let mut readers = JoinSet::new();
        for (index, pipe) in tracks.into_iter().enumerate() {
            readers.spawn(read(index, pipe, send.clone()));
        }
        drop(send);
        self.shown.set(frames.slate_since());
        let stop = match self.accept(first, &mut state, derived) {
            Ok(()) => self.follow(&mut process, &mut received, frames, &mut state, derived).await,
            Err(stop) => stop,
        };
        state.queue.close();
        let lines = process.stop(Manner::InOrder).await;
        self.encode.context.set_notice(TOO_SLOW, None);
        conclude(&stop, &lines, &state)
    }

    async fn follow(
        &self,
        process: &mut Process,
        received: &mut mpsc::Receiver<Read>,
        frames: &mut impl Frames,
        state: &mut State,
        derived: &mut [Derived],
    ) -> Stop {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_fed = state.queue.is_empty();
            let result = tokio::select! {
                biased;
                () = self.encode.context.cancel.cancelled() => return Stop::Cancelled,
                _ = process.wait() => Err(Stop::Exited),
                _ = looks.tick() => self.look(state, derived),
                read = received.recv() => match read {
                    Some(Ok((index, event))) => self.take(index, event, state, derived),
                    Some(Err(problem)) => Err(Stop::Malformed(problem)),
                    // Every pipe is closed.
                    None => Err(Stop::Exited),
                },
                handed_over = state.queue.hand_over() => handed_over.map_err(|_| Stop::Exited),
                events = frames.next(), if is_fed => {
                    self.shown.set(frames.slate_since());
                    self.accept(events, state, derived)
                }
            };
            if let Err(stop) = result {
                if matches!(stop, Stop::Exited) {
                    process.wait_for_its_end().await;
                }
                return stop;
            }
        }
    }

    /// Takes what the camera sent.
    fn accept(&self, events: Vec<Event>, state: &mut State, derived: &mut [Derived]) -> Result<(), Stop> {
        for event in events {
            match event {
                Event::Configuration { configuration, .. } => {
                    if !state.feed.configure(&configuration.video) {
                        let codec = configuration.video.codec.name();
                        return Err(Stop::Changed(format!("the camera sends {codec} now")));
                    }
                    state.configuration = configuration;
                    state.configured = true;
                }
                Event::Frame(frame) => match frame.track {
                    TrackKind::Video => {
                        let name_run = || self.encode.context.registry.numbering.name_run();
                        let place = state.timeline.place(&frame, state.configuration.video.timescale, name_run);
                        state.feed.add(&frame, place);
                        if std::mem::take(&mut state.configured) {
                            let audio = state.configuration.audio.clone().filter(|_| self.encode.audio);
                            derived.iter_mut().for_each(|derived| derived.expect(place.presentation, audio.clone()));
                        }
                    }
                    TrackKind::Audio => {
                        let Some(track) = state.configuration.audio.as_ref().filter(|_| self.encode.audio) else {
                            continue;
                        };
                        if let Some(at) = state.timeline.sound(&frame, track.timescale) {
                            derived.iter_mut().for_each(|derived| derived.hear(at, &frame, track));
                        }
                    }
                },
                Event::Ended(ending) => {
                    if let Some((run, end)) = state.timeline.end() {
                        let rate = self.encode.transcode.frames_per_second.map_or(i64::MAX, i64::from).max(1);
                        // Far enough apart for each to count, whatever rate is asked for.
                        let distance = (SCALE / 25).max(SCALE / rate);
                        for place in state.timeline.fill(FILL, distance) {
                            state.feed.add_again(place);
                        }
                        for derived in &mut *derived {
                            derived.end_at(end, Ending { run, ..Ending::clone(&ending) });
                        }
                        state.ending = Some(Instant::now() + FILL_PATIENCE);
                    } else {
                        // Before its first picture.
                        derived.iter_mut().for_each(|derived| derived.break_off(|_| Ending::clone(&ending)));
                    }
                }
                Event::Lost(entries) => {
                    self.meter.count_dropped(entries);
                    state.dropped = Some(Instant::now());
                    let message =
                        "pictures are left out, because they are encoded more slowly than the camera sends them: \
                                   write a faster preset, a smaller size or fewer framesPerSecond, or give it more CPU"
                            .to_owned();
                    tracing::warn!(object = %self.encode.context.object, entries, "too slow to encode");
                    self.encode.context.set_notice(TOO_SLOW, Some(message));
                }
            }
        }
        state.feed.write(&mut state.queue);
        Ok(())
    }

    /// Sees whether anything comes out.
    fn look(&self, state: &mut State, derived: &mut [Derived]) -> Result<(), Stop> {
        if state.ending.is_some_and(|until| until < Instant::now()) {
            state.ending = None;
            derived.iter_mut().for_each(Derived::end_now);
        }
        if state.dropped.is_some_and(|dropped| dropped.elapsed() > DROPPED_FOR) {
            state.dropped = None;
            self.encode.context.set_notice(TOO_SLOW, None);
        }
        // The slowest one counts: a single encoder may hang.
        let out = derived.iter().map(|derived| derived.pictures).min().unwrap_or(0);
        let look = Look { given: state.queue.given(), held_up: !state.queue.is_empty(), acknowledged: out };
        state.progress.look(look, state.looked.elapsed());
        state.looked = Instant::now();
        if state.progress.is_stalled() { Err(Stop::Stalled) } else { Ok(()) }
    }

    /// Takes what came out of one rendition.
    fn take(&self, index: usize, event: reader::Event, state: &mut State, derived: &mut [Derived]) -> Result<(), Stop> {
        let Some(derived) = derived.get_mut(index) else { return Ok(()) };
        let shown = derived.take(event, &state.timeline).map_err(|error| Stop::Malformed(error.to_string()))?;
        if let Some(ticks) = shown {
            let micros = ticks_to_micros(ticks.into(), TIMESCALE);
            self.meter.count_picture(index, micros.unsigned_abs());
            state.since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }
}

/// What a pipe's reader hands over: which rendition and what, or why it cannot be read.
type Read = Result<(usize, reader::Event), String>;

/// Reads one rendition until its pipe is closed.
async fn read(index: usize, pipe: pipe::Receiver, send: mpsc::Sender<Read>) {
    let mut track = Track::of_pictures(pipe);
    while track.fill().await {
        loop {
            let read = match track.reader.next_event() {
                Ok(Some(event)) => Ok((index, event)),
                Ok(None) => break,
                Err(error) => Err(error.to_string()),
            };
            let is_over = read.is_err();
            if send.send(read).await.is_err() || is_over {
                return;
            }
        }
    }
}

fn conclude(stop: &Stop, lines: &[String], state: &State) -> Ended {
    let (reason, message) = match stop {
        Stop::Cancelled => (Reason::ShuttingDown, "stopped".to_owned()),
        Stop::Changed(what) => (Reason::ConfigurationChanged, format!("{what}; the encoder is started anew")),
        Stop::Stalled => (Reason::FFmpegFailed, format!("no picture was encoded for {LIMIT:?}")),
        Stop::Malformed(what) => (Reason::FFmpegFailed, format!("what FFmpeg encodes cannot be read: {what}")),
        Stop::Exited => {
            let said = lines.iter().rev().map(|line| told(line));
            let said = said.into_iter().find(|line| !line.is_empty()).unwrap_or("FFmpeg gave no reason");
            (Reason::FFmpegFailed, format!("the pictures cannot be encoded: {said}"))
        }
    };
    let lasted = state.since.map(|since| since.elapsed());
    Ended { reason, message, lasted, at_once: matches!(stop, Stop::Changed(_)) }
}
