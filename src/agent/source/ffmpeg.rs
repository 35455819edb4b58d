//! One life of an FFmpeg: from its start to its end, its two pipes become frames in the hub. Decides nothing about what
//! follows: it says how it went. Must not know how often it was tried.

use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use jiff::Timestamp;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::arguments::{self, AudioMode, BRANCH_COPIED, BRANCH_SPARE, Invocation, Profile};
use super::assembly::{Assembly, Effect, Effects, Trouble};
use super::classify::{classify, next_audio};
use super::process::{Manner, Process, Tracks, spawn, spawn_behind};
use super::reconnect::stall_limit;
use crate::agent::hub::{Ending, Hub};
use crate::agent::unit::UnitContext;
use crate::media::clock::Arrival;
use crate::media::fmp4::reader::{Event, Limits, Reader};
use crate::media::frame::{Codec, RunId, UtcMicros};
use crate::plan::report::Reason;
use crate::plan::unit::{Ingest, RtspTransport, Source};

/// Condition type of a camera whose key frames are further apart than the ring can hold.
pub const LONG_KEYFRAME_INTERVAL: &str = "LongKeyframeInterval";

/// What is read at once; frames are slices of it, so little of it is wasted.
const VIDEO_CHUNK: usize = 64 * 1024;
const AUDIO_CHUNK: usize = 8 * 1024;
/// Less room than this is not worth a read.
const SMALLEST_READ: usize = 4 * 1024;
/// How often measured facts are looked at again.
const FACTS_EVERY: Duration = Duration::from_secs(5);
/// How long readers wait for what FFmpeg holds when it ends.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
/// How long a closed pipe's process is given to end.
const END_PATIENCE: Duration = Duration::from_secs(2);

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
}

/// Why the reading ended.
#[derive(Debug)]
enum Stop {
    Cancelled,
    /// The pictures' pipe was closed.
    Exited,
    NoStart,
    Stalled(Duration),
    Trouble(Trouble),
    /// The pictures carry their own times, and FFmpeg was told to give them those of arrival.
    OwnTimes,
    Malformed(String),
}

/// What a life is given.
pub struct Life<'a> {
    /// Whose.
    pub context: &'a UnitContext,
    /// Where frames go.
    pub hub: &'a Hub,
    /// What was planned.
    pub ingest: &'a Ingest,
    /// What is started.
    pub invocation: &'a Invocation,
    /// How it was made.
    pub profile: Profile,
}

impl std::fmt::Debug for Life<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Life").field("object", &self.context.object).finish_non_exhaustive()
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

    fn instant(self, monotonic: i64) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.origin + Duration::from_micros(monotonic.unsigned_abs()))
    }
}

/// What is known while it lasts.
struct Progress {
    clocks: Clocks,
    assembly: Assembly,
    started: Instant,
    first_picture: Option<Instant>,
    last_picture: Instant,
    facts_at: Option<Instant>,
}

impl Life<'_> {
    /// Starts FFmpeg and stays with it until it has ended.
    pub async fn run(self) -> Ended {
        let (mut process, tracks) = match spawn(self.invocation, self.context.logs.clone()).await {
            Ok(started) => started,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.ended(Reason::FFmpegMissing, "FFmpeg is not installed; install the package ffmpeg".into());
            }
            Err(error) => return self.ended(Reason::FFmpegFailed, format!("FFmpeg cannot be started: {error}")),
        };
        let now = Instant::now();
        let mut progress = Progress {
            clocks: Clocks { origin: now },
            assembly: Assembly::new(self.invocation.audio),
            started: now,
            first_picture: None,
            last_picture: now,
            facts_at: None,
        };
        let mut readers = Readers::new(tracks);
        let stop = self.read(&mut process, &mut readers, &mut progress).await;
        let exited = matches!(stop, Stop::Exited);
        // What FFmpeg holds comes while it ends. Readers learn of the end right after that; ending may take longer.
        let ending = tokio::spawn(end(process, self.manner(&stop), exited));
        if matches!(stop, Stop::Exited | Stop::Stalled(_) | Stop::Cancelled) {
            let _ = timeout(DRAIN_PATIENCE, self.drain(&mut readers, &mut progress)).await;
        } else {
            // Started again at once, in another way: nothing that it sends is of use.
            (readers.video.pipe, readers.audio.pipe, readers.spare) = (None, None, None);
        }
        self.apply(&mut progress, |progress, effects| {
            progress.assembly.finish(effects);
        });
        let run = progress.assembly.run();
        if let Some(run) = run
            && !exited
        {
            let (reason, message) = self.told(&stop);
            self.end_run(run, reason, message);
        }
        let lines = ending.await.unwrap_or_default();
        let mut ended = self.conclude(stop, &lines, &progress).await;
        if let Some(converter) = readers.converter.take() {
            end(converter, Manner::InOrder, true).await;
            // From now on one process does both.
            ended.profile.audio = AudioMode::Aac;
        }
        if let Some(run) = run
            && exited
        {
            self.end_run(run, ended.reason, ended.message.clone());
        }
        ended
    }

    /// A device whose session outlives its connection must be told that it is over: it may have only one.
    fn manner(&self, stop: &Stop) -> Manner {
        let outlives = matches!(self.ingest.source, Source::Rtsp { transport: RtspTransport::Udp, .. });
        if matches!(stop, Stop::Stalled(_)) && !outlives { Manner::AsEndOfStream } else { Manner::InOrder }
    }

    fn ended(&self, reason: Reason, message: String) -> Ended {
        Ended { reason, message, profile: self.profile, at_once: false, pictures_for: None }
    }

    fn end_run(&self, run: RunId, reason: Reason, message: String) {
        self.hub.end_run(Ending { run, reason, message, at: UtcMicros::from_timestamp(Timestamp::now()) });
    }

    async fn read(&self, process: &mut Process, readers: &mut Readers, progress: &mut Progress) -> Stop {
        let cancel = self.context.cancel.clone();
        loop {
            let (deadline, stop) = self.deadline(progress);
            let result = tokio::select! {
                biased;
                () = cancel.cancelled() => return Stop::Cancelled,
                more = readers.video.fill(VIDEO_CHUNK) => {
                    if !more {
                        return Stop::Exited;
                    }
                    self.take_video(readers, progress)
                }
                _ = readers.audio.fill(AUDIO_CHUNK), if readers.audio.is_open() => self.take_audio(readers, progress),
                failed = failed_branches(&mut process.failed), if readers.sound != Sound::Settled => {
                    readers.heed(failed, progress);
                    Ok(())
                }
                () = readable(readers.spare.as_ref()), if readers.sound == Sound::Elsewhere => {
                    self.convert(readers, progress).await;
                    Ok(())
                }
                () = sleep_until(deadline) => {
                    if let Some(stop) = stop {
                        return stop;
                    }
                    self.apply(progress, |progress, effects| progress.assembly.tick(progress.clocks.now(), effects));
                    Ok(())
                }
            };
            if let Err(stop) = result {
                return stop;
            }
        }
    }

    /// Takes what still comes, until both tracks have ended or one cannot be read.
    async fn drain(&self, readers: &mut Readers, progress: &mut Progress) {
        while readers.video.is_open() || readers.audio.is_open() {
            let result = tokio::select! {
                biased;
                _ = readers.video.fill(VIDEO_CHUNK), if readers.video.is_open() => {
                    self.take(&mut readers.video.reader, true, progress).map(|_| ())
                }
                _ = readers.audio.fill(AUDIO_CHUNK), if readers.audio.is_open() => self.take_audio(readers, progress),
            };
            if result.is_err() {
                return;
            }
        }
    }

    /// Until when something must come, and what it means if nothing does; `None` when only time has to be noticed.
    fn deadline(&self, progress: &Progress) -> (tokio::time::Instant, Option<Stop>) {
        let (at, stop) = if progress.first_picture.is_some() {
            let limit =
                stall_limit(Duration::from_millis(self.ingest.stall_timeout_ms), progress.assembly.frame_interval());
            (progress.last_picture + limit, Stop::Stalled(limit))
        } else {
            (progress.started + Duration::from_millis(self.ingest.start_timeout_ms), Stop::NoStart)
        };
        let at = tokio::time::Instant::from_std(at);
        match progress.assembly.deadline().map(|micros| progress.clocks.instant(micros)) {
            Some(tick) if tick < at => (tick, None),
            _ => (at, Some(stop)),
        }
    }

    fn take_video(&self, readers: &mut Readers, progress: &mut Progress) -> Result<(), Stop> {
        if self.take(&mut readers.video.reader, true, progress)? {
            self.picture_came(progress);
        }
        Ok(())
    }

    fn take_audio(&self, readers: &mut Readers, progress: &mut Progress) -> Result<(), Stop> {
        match self.take(&mut readers.audio.reader, false, progress) {
            // MP4 carries it, but nothing that reads from here on does.
            Err(Stop::Trouble(Trouble::Audio(_))) if readers.spare.is_some() => {
                readers.audio.pipe = None;
                readers.sound = Sound::Elsewhere;
                Ok(())
            }
            Err(stop) => Err(stop),
            Ok(_) => {
                if readers.sound == Sound::Unknown && progress.assembly.sound_is_known() {
                    readers.settle();
                }
                Ok(())
            }
        }
    }

    /// Has the sound made AAC by another process, behind this one: the connection to the device stays.
    async fn convert(&self, readers: &mut Readers, progress: &mut Progress) {
        let Some(spare) = readers.spare.take() else { return };
        readers.settle();
        match spawn_behind(spare, &arguments::convert(), self.context.logs.clone()).await {
            Ok((converter, tracks)) => {
                readers.converter = Some(converter);
                readers.audio = Track::of_sound(Some(tracks.video));
                progress.assembly.sound_is_converted();
            }
            Err(error) => {
                progress.assembly.no_sound();
                self.context.logs.push("warning", format!("the sound is left out: FFmpeg cannot be started: {error}"));
            }
        }
    }

    /// Takes what was read; true when there were pictures.
    fn take(&self, reader: &mut Reader, video: bool, progress: &mut Progress) -> Result<bool, Stop> {
        let mut result = Ok(());
        let mut pictures = false;
        self.apply(progress, |progress, effects| {
            let arrival = progress.clocks.now();
            result = loop {
                let event = match reader.next_event() {
                    Ok(Some(event)) => event,
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(Stop::Malformed(error.to_string())),
                };
                let taken = match (event, video) {
                    (Event::Tracks(tracks), true) => {
                        let known = progress.assembly.video_header(&tracks);
                        if known.is_ok() && self.has_own_times(&progress.assembly) {
                            break Err(Stop::OwnTimes);
                        }
                        known
                    }
                    (Event::Tracks(tracks), false) => progress.assembly.audio_header(&tracks),
                    (Event::Sample(sample), true) => {
                        pictures = true;
                        progress.assembly.video_sample(&sample, arrival, effects)
                    }
                    (Event::Sample(sample), false) => {
                        progress.assembly.audio_sample(&sample, arrival, effects);
                        Ok(())
                    }
                    (Event::Message { .. }, _) => Ok(()),
                };
                match taken {
                    Ok(()) => {}
                    // Only a file over HTTP can be read faster than it plays; any other source has begun another run.
                    Err(Trouble::TooFast)
                        if !matches!(self.ingest.source, Source::Http { .. }) || self.profile.paced => {}
                    Err(trouble) => break Err(Stop::Trouble(trouble)),
                }
            };
        });
        result.map(|()| pictures)
    }

    /// Only Motion JPEG over HTTP comes without times.
    fn has_own_times(&self, assembly: &Assembly) -> bool {
        matches!(self.ingest.source, Source::Http { .. })
            && !self.profile.own_times
            && assembly.video_codec().is_some_and(|codec| codec != Codec::Mjpeg)
    }

    fn apply(&self, progress: &mut Progress, act: impl FnOnce(&mut Progress, &mut Effects)) {
        let name_run = || self.context.registry.numbering.name_run();
        let mut effects = Effects { list: Vec::new(), name_run: &name_run };
        act(progress, &mut effects);
        for effect in effects.list {
            match effect {
                Effect::Publish(configuration, frames) => self.hub.publish(&configuration, frames),
                Effect::End(ending) => {
                    tracing::warn!(object = %self.context.object, "{}", ending.message);
                    self.context.logs.push("warning", ending.message.clone());
                    self.hub.end_run(ending);
                }
            }
        }
    }

    fn picture_came(&self, progress: &mut Progress) {
        let now = Instant::now();
        progress.last_picture = now;
        if progress.first_picture.is_none() {
            progress.first_picture = Some(now);
        }
        let due = progress.facts_at.is_none_or(|at| now.duration_since(at) >= FACTS_EVERY);
        let Some(facts) = progress.assembly.facts().filter(|_| due) else { return };
        // The first figures follow as soon as there is something to measure.
        let early = progress.first_picture.is_some_and(|first| now.duration_since(first) < Duration::from_secs(1));
        progress.facts_at = if early { None } else { Some(now) };
        self.context.tell_media(facts);
        let long = self.hub.key_evicted().then(|| {
            "key frames are so far apart that they do not stay in memory: viewers wait for the next one; shorten the camera's \
             key frame interval"
                .to_owned()
        });
        self.context.set_notice(LONG_KEYFRAME_INTERVAL, long);
    }

    /// What readers are told of an end that this program brought about.
    fn told(&self, stop: &Stop) -> (Reason, String) {
        match stop {
            Stop::Cancelled => (Reason::ShuttingDown, "stopped".into()),
            Stop::Stalled(limit) => (Reason::Stalled, format!("no new picture for {:.1} s", limit.as_secs_f64())),
            Stop::NoStart => {
                let seconds = self.ingest.start_timeout_ms as f64 / 1000.0;
                (Reason::NoVideo, format!("the device answers but sent no picture within {seconds:.0} s"))
            }
            Stop::Trouble(Trouble::Video(error)) => (Reason::CodecNotCarried, error.to_string()),
            Stop::Trouble(Trouble::Audio(error)) => (Reason::SourceEnded, format!("{error}; connecting again")),
            Stop::Trouble(Trouble::TooFast) => {
                (Reason::SourceEnded, "the source is read faster than it plays; connecting again".into())
            }
            Stop::OwnTimes => (Reason::SourceEnded, "the pictures carry their own times; connecting again".into()),
            Stop::Malformed(what) => (Reason::FFmpegFailed, format!("FFmpeg's output cannot be read: {what}")),
            Stop::Exited => (Reason::SourceEnded, "the source ended".into()),
        }
    }

    async fn conclude(&self, stop: Stop, lines: &[String], progress: &Progress) -> Ended {
        let pictures_for = progress.first_picture.map(|first| progress.last_picture.duration_since(first));
        let (reason, message) = self.told(&stop);
        let mut ended = Ended { reason, message, profile: self.profile, at_once: false, pictures_for };
        match stop {
            Stop::Exited => {
                let conclusion = classify(lines, self.profile, pictures_for.is_some());
                ended.message = conclusion.message;
                ended.profile = conclusion.profile;
                ended.at_once = conclusion.at_once;
                ended.reason = match conclusion.reason {
                    Some(reason) => reason,
                    None => self.is_anybody_there(&mut ended.message).await,
                };
            }
            Stop::NoStart => {
                let heard = classify(lines, self.profile, false);
                match heard.reason {
                    Some(reason @ (Reason::CredentialRefused | Reason::NotFound | Reason::Unreachable)) => {
                        ended.reason = reason;
                        ended.message = heard.message;
                    }
                    _ => ended.reason = self.is_anybody_there(&mut ended.message).await,
                }
                ended.profile.probe = (self.profile.probe + 1).min(super::arguments::LARGEST_PROBE);
            }
            Stop::Trouble(Trouble::Audio(_)) => {
                ended.profile = next_audio(self.profile);
                ended.at_once = true;
            }
            Stop::Trouble(Trouble::TooFast) => {
                ended.profile.paced = true;
                ended.at_once = true;
            }
            Stop::OwnTimes => {
                ended.profile.own_times = true;
                ended.at_once = true;
            }
            Stop::Cancelled | Stop::Stalled(_) | Stop::Trouble(Trouble::Video(_)) | Stop::Malformed(_) => {}
        }
        ended
    }

    /// Whether the device takes connections, when FFmpeg does not say.
    async fn is_anybody_there(&self, message: &mut String) -> Reason {
        let Some((host, port)) = &self.invocation.peer else { return Reason::NoVideo };
        match timeout(Duration::from_secs(2), TcpStream::connect((host.as_str(), *port))).await {
            Ok(Ok(_)) => Reason::NoVideo,
            Ok(Err(error)) => {
                *message = format!("no connection: {error}");
                Reason::Unreachable
            }
            Err(_) => {
                "no connection: no answer within 2 s".clone_into(message);
                Reason::Unreachable
            }
        }
    }
}

async fn end(mut process: Process, manner: Manner, exited: bool) -> Vec<String> {
    if exited {
        let _ = timeout(END_PATIENCE, process.wait()).await;
    }
    process.stop(manner).await
}

/// A track's pipe and what reads it.
struct Track {
    pipe: Option<pipe::Receiver>,
    reader: Reader,
}

/// What is known of the sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sound {
    /// Nothing yet.
    Unknown,
    /// It cannot be copied; the spare pipe has it, if there is any.
    Elsewhere,
    /// It comes on the sound's pipe, or there is none.
    Settled,
}

/// All that comes in.
struct Readers {
    video: Track,
    audio: Track,
    sound: Sound,
    /// The sound as it is, until it is known whether that is needed.
    spare: Option<pipe::Receiver>,
    converter: Option<Process>,
}

impl Readers {
    fn new(tracks: Tracks) -> Self {
        Self {
            video: Track { pipe: Some(tracks.video), reader: Reader::new(Limits::default()) },
            audio: Track::of_sound(tracks.audio),
            sound: if tracks.spare.is_some() { Sound::Unknown } else { Sound::Settled },
            spare: tracks.spare,
            converter: None,
        }
    }

    /// Takes note of which branches of the sound's output cannot be.
    fn heed(&mut self, failed: u32, progress: &mut Progress) {
        let has = |branch: u32| failed & 1 << branch == 0;
        if has(BRANCH_COPIED) {
            return;
        }
        self.audio.pipe = None;
        if has(BRANCH_SPARE) {
            self.sound = Sound::Elsewhere;
        } else {
            progress.assembly.no_sound();
            self.settle();
        }
    }

    /// The sound comes where it does now.
    fn settle(&mut self) {
        self.sound = Sound::Settled;
        self.spare = None;
    }
}

/// Waits until there is something to read.
async fn readable(pipe: Option<&pipe::Receiver>) {
    match pipe {
        // An error shows when it is read.
        Some(pipe) => drop(pipe.readable().await),
        None => std::future::pending().await,
    }
}

/// Waits until another branch of the tee has failed. Cancel safe.
async fn failed_branches(failed: &mut watch::Receiver<u32>) -> u32 {
    if failed.changed().await.is_err() {
        // It says nothing more.
        std::future::pending::<()>().await;
    }
    *failed.borrow_and_update()
}

impl Track {
    fn of_sound(pipe: Option<pipe::Receiver>) -> Self {
        Self { pipe, reader: Reader::new(Limits { media_bytes: 1 << 20, ..Limits::default() }) }
    }

    const fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Reads what is there, into room for a whole box if one has begun. False when the track has ended. Cancel safe.
    async fn fill(&mut self, chunk: usize) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        let wanted = self.reader.wanted();
        let buffer: &mut BytesMut = self.reader.buffer();
        let room = buffer.capacity() - buffer.len();
        if room < wanted.max(SMALLEST_READ) {
            buffer.reserve(wanted.max(chunk));
        }
        let more = matches!(pipe.read_buf(buffer).await, Ok(1..));
        if !more {
            self.pipe = None;
        }
        more
    }
}
