//! One life of an FFmpeg: from its start to its end, its two pipes become frames in the hub. Decides nothing about what
//! follows: it says how it went. Must not know how often it was tried.

use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::arguments::outputs::{BRANCH_COPIED, BRANCH_SPARE};
use super::arguments::{Invocation, convert};
use super::assembly::{Assembly, Trouble};
use super::classify::{classify, next_audio};
use super::life::{Life, Overdue};
use super::process::{Manner, Process, Tracks, not_started, spawn, spawn_behind};
use super::profile::{AudioMode, LARGEST_PROBE, Profile};
use super::replay::Replay;
use super::track::Track;
use super::{Ended, knock};
use crate::agent::hub::Hub;
use crate::agent::unit::UnitContext;
use crate::media::fmp4::reader::Event;
use crate::media::frame::Codec;
use crate::plan::report::Reason;
use crate::plan::unit::{Ingest, RtspTransport, Source};

/// How long readers wait for what FFmpeg holds when it ends.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
/// How long a closed pipe's process is given to end.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Why the reading ended.
#[derive(Debug)]
enum Stop {
    Cancelled,
    /// The pictures' pipe was closed.
    Exited,
    Overdue(Overdue),
    Trouble(Trouble),
    /// The pictures carry their own times, and FFmpeg was told to give them those of arrival.
    OwnTimes,
    Malformed(String),
}

impl Stop {
    /// Whether the source was there and went quiet.
    const fn is_stall(&self) -> bool {
        matches!(self, Self::Overdue(Overdue::Stalled(_) | Overdue::NothingNew(_)))
    }
}

/// An FFmpeg that is to be started, and what for.
pub struct Attempt<'a> {
    /// Whose.
    pub context: &'a UnitContext,
    /// Where frames go.
    pub hub: &'a Hub,
    /// What was planned.
    pub ingest: &'a Ingest,
    /// What is started.
    pub invocation: &'a Invocation,
    /// Host and port of the device, where it has any.
    pub peer: Option<&'a (String, u16)>,
    /// How the invocation was made.
    pub profile: Profile,
}

impl std::fmt::Debug for Attempt<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Attempt").field("object", &self.context.object).finish_non_exhaustive()
    }
}

impl Attempt<'_> {
    /// Starts FFmpeg and stays with it until it has ended. `replay`: what earlier lives have delivered, where a source shows
    /// that again.
    pub async fn run(self, mut replay: Option<&mut Replay>) -> Ended {
        let (mut process, tracks) = match spawn(self.invocation, self.context.logs.clone()).await {
            Ok(started) => started,
            Err(error) => {
                let (reason, message) = not_started(&error);
                return self.ended(reason, message);
            }
        };
        let mut life = Life::new(self.context, self.hub, self.ingest, self.invocation.audio);
        if let Some(replay) = &mut replay {
            replay.connect();
        }
        let mut readers = Readers::new(tracks, replay);
        let stop = self.read(&mut process, &mut readers, &mut life).await;
        life.nothing_comes();
        let exited = matches!(stop, Stop::Exited);
        // What FFmpeg holds comes while it ends. Readers learn of the end right after that; ending may take longer.
        let ending = tokio::spawn(end(process, self.manner(&stop), exited));
        if matches!(stop, Stop::Exited | Stop::Cancelled) || stop.is_stall() {
            let _ = timeout(DRAIN_PATIENCE, self.drain(&mut readers, &mut life)).await;
        } else {
            // Started again at once, in another way: nothing that it sends is of use.
            (readers.video.pipe, readers.audio.pipe, readers.spare) = (None, None, None);
        }
        let run = life.finish();
        if let Some(run) = run
            && !exited
        {
            let (reason, message) = self.told(&stop);
            life.end_run(run, reason, message);
        }
        let lines = ending.await.unwrap_or_default();
        let mut ended = self.conclude(stop, &lines, &life).await;
        if let Some(converter) = readers.converter.take() {
            end(converter, Manner::InOrder, true).await;
            // From now on one process does both.
            ended.profile.audio = AudioMode::Aac;
        }
        if let Some(run) = run
            && exited
        {
            life.end_run(run, ended.reason, ended.message.clone());
        }
        ended
    }

    /// A device whose session outlives its connection must be told that it is over: it may have only one.
    fn manner(&self, stop: &Stop) -> Manner {
        let outlives = matches!(self.ingest.source, Source::Rtsp { transport: RtspTransport::Udp, .. });
        if stop.is_stall() && !outlives { Manner::AsEndOfStream } else { Manner::InOrder }
    }

    fn ended(&self, reason: Reason, message: String) -> Ended {
        Ended { reason, message, profile: self.profile, at_once: false, pictures_for: None, beyond: None }
    }

    async fn read(&self, process: &mut Process, readers: &mut Readers<'_>, life: &mut Life<'_>) -> Stop {
        let cancel = self.context.cancel.clone();
        loop {
            let (deadline, overdue) = life.deadline();
            let result = tokio::select! {
                biased;
                () = cancel.cancelled() => return Stop::Cancelled,
                more = readers.video.fill() => {
                    if !more {
                        return Stop::Exited;
                    }
                    self.take_video(readers, life)
                }
                _ = readers.audio.fill(), if readers.audio.is_open() => self.take_audio(readers, life),
                failed = failed_branches(&mut process.failed), if readers.sound != Sound::Settled => {
                    readers.heed(failed, life);
                    Ok(())
                }
                () = readable(readers.spare.as_ref()), if readers.sound == Sound::Elsewhere => {
                    self.convert(readers, life).await;
                    Ok(())
                }
                () = sleep_until(deadline.into()) => {
                    if let Some(overdue) = overdue {
                        return Stop::Overdue(overdue);
                    }
                    life.tick();
                    Ok(())
                }
            };
            if let Err(stop) = result {
                return stop;
            }
        }
    }

    /// Takes what still comes, until both tracks have ended or one cannot be read.
    async fn drain(&self, readers: &mut Readers<'_>, life: &mut Life<'_>) {
        while readers.video.is_open() || readers.audio.is_open() {
            let result = tokio::select! {
                biased;
                _ = readers.video.fill(), if readers.video.is_open() => {
                    self.take(readers, true, life).map(|_| ())
                }
                _ = readers.audio.fill(), if readers.audio.is_open() => self.take_audio(readers, life),
            };
            if result.is_err() {
                return;
            }
        }
    }

    fn take_video(&self, readers: &mut Readers<'_>, life: &mut Life<'_>) -> Result<(), Stop> {
        if self.take(readers, true, life)? {
            life.picture_came();
        }
        Ok(())
    }

    fn take_audio(&self, readers: &mut Readers<'_>, life: &mut Life<'_>) -> Result<(), Stop> {
        match self.take(readers, false, life) {
            // MP4 carries it, but nothing that reads from here on does.
            Err(Stop::Trouble(Trouble::Audio(_))) if readers.spare.is_some() => {
                readers.audio.pipe = None;
                readers.sound = Sound::Elsewhere;
                Ok(())
            }
            Err(stop) => Err(stop),
            Ok(_) => {
                if readers.sound == Sound::Unknown && life.assembly.sound_is_known() {
                    readers.settle();
                }
                Ok(())
            }
        }
    }

    /// Has the sound made AAC by another process, behind this one: the connection to the device stays.
    async fn convert(&self, readers: &mut Readers<'_>, life: &mut Life<'_>) {
        let Some(spare) = readers.spare.take() else { return };
        readers.settle();
        match spawn_behind(spare, &convert::spare(), self.context.logs.clone()).await {
            Ok((converter, tracks)) => {
                readers.converter = Some(converter);
                readers.audio = Track::of_sound(Some(tracks.video));
                life.assembly.sound_is_converted();
            }
            Err(error) => {
                life.assembly.no_sound();
                self.context.logs.push("warning", format!("the sound is left out: FFmpeg cannot be started: {error}"));
            }
        }
    }

    /// Takes what was read of the pictures or of the sound; true when there were new pictures.
    fn take(&self, readers: &mut Readers<'_>, video: bool, life: &mut Life<'_>) -> Result<bool, Stop> {
        let reader = if video { &mut readers.video.reader } else { &mut readers.audio.reader };
        let replay = &mut readers.replay;
        let mut result = Ok(());
        let (mut pictures, mut again) = (false, false);
        life.apply(|assembly, arrival, effects| {
            result = loop {
                let event = match reader.next_event() {
                    Ok(Some(event)) => event,
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(Stop::Malformed(error.to_string())),
                };
                let taken = match (event, video) {
                    (Event::Tracks(tracks), true) => {
                        let known = assembly.video_header(&tracks);
                        if known.is_ok() && self.has_own_times(assembly) {
                            break Err(Stop::OwnTimes);
                        }
                        known
                    }
                    (Event::Tracks(tracks), false) => assembly.audio_header(&tracks),
                    (Event::Sample(sample), true) => {
                        if let Some(replay) = replay {
                            let new = replay.take(sample, assembly.video_timescale());
                            again |= new.is_empty();
                            pictures |= !new.is_empty();
                            new.iter().try_for_each(|sample| assembly.video_sample(sample, arrival, effects))
                        } else {
                            pictures = true;
                            assembly.video_sample(&sample, arrival, effects)
                        }
                    }
                    (Event::Sample(sample), false) => {
                        if !replay.as_ref().is_some_and(|replay| replay.is_repeating()) {
                            assembly.audio_sample(&sample, arrival, effects);
                        }
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
        if again {
            life.picture_came_again();
        }
        result.map(|()| pictures)
    }

    /// Only Motion JPEG over HTTP comes without times.
    fn has_own_times(&self, assembly: &Assembly) -> bool {
        matches!(self.ingest.source, Source::Http { .. })
            && !self.profile.own_times
            && assembly.video_codec().is_some_and(|codec| codec != Codec::Mjpeg)
    }

    /// What readers are told of an end that this program brought about.
    fn told(&self, stop: &Stop) -> (Reason, String) {
        match stop {
            Stop::Cancelled => (Reason::ShuttingDown, "stopped".into()),
            Stop::Overdue(overdue) => overdue.told(self.ingest),
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

    async fn conclude(&self, stop: Stop, lines: &[String], life: &Life<'_>) -> Ended {
        let pictures_for = life.pictures_for();
        let (reason, message) = self.told(&stop);
        let mut ended = Ended { reason, message, profile: self.profile, at_once: false, pictures_for, beyond: None };
        match stop {
            Stop::Exited => {
                let only_again = pictures_for.is_none() && life.has_shown_again();
                let conclusion = classify(lines, self.profile, pictures_for.is_some() || only_again);
                ended.message = conclusion.message;
                ended.profile = conclusion.profile;
                ended.at_once = conclusion.at_once;
                ended.reason = match conclusion.reason {
                    Some(reason) => reason,
                    None if only_again => {
                        ended.message = "the device shows again what it showed before, and ends".into();
                        Reason::Stalled
                    }
                    None => self.is_anybody_there(&mut ended.message).await,
                };
            }
            Stop::Overdue(Overdue::NoStart) => {
                let heard = classify(lines, self.profile, false);
                match heard.reason {
                    Some(reason @ (Reason::CredentialRefused | Reason::NotFound | Reason::Unreachable)) => {
                        ended.reason = reason;
                        ended.message = heard.message;
                    }
                    _ => ended.reason = self.is_anybody_there(&mut ended.message).await,
                }
                ended.profile.probe = (self.profile.probe + 1).min(LARGEST_PROBE);
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
            Stop::Cancelled
            | Stop::Overdue(Overdue::Stalled(_) | Overdue::NothingNew(_))
            | Stop::Trouble(Trouble::Video(_))
            | Stop::Malformed(_) => {}
        }
        ended
    }

    /// Whether the device takes connections, when FFmpeg does not say.
    async fn is_anybody_there(&self, message: &mut String) -> Reason {
        let Some(peer) = self.peer else { return Reason::NoVideo };
        match knock::is_anybody_there(peer).await {
            Ok(()) => Reason::NoVideo,
            Err(why) => {
                *message = why;
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
struct Readers<'a> {
    video: Track,
    audio: Track,
    sound: Sound,
    /// The sound as it is, until it is known whether that is needed.
    spare: Option<pipe::Receiver>,
    converter: Option<Process>,
    /// What was delivered before, where the source may show it again.
    replay: Option<&'a mut Replay>,
}

impl<'a> Readers<'a> {
    fn new(tracks: Tracks, replay: Option<&'a mut Replay>) -> Self {
        Self {
            video: Track::of_pictures(tracks.video),
            audio: Track::of_sound(tracks.audio),
            sound: if tracks.spare.is_some() { Sound::Unknown } else { Sound::Settled },
            spare: tracks.spare,
            converter: None,
            replay,
        }
    }

    /// Takes note of which branches of the sound's output cannot be.
    fn heed(&mut self, failed: u32, life: &mut Life<'_>) {
        let has = |branch: u32| failed & 1 << branch == 0;
        if has(BRANCH_COPIED) {
            return;
        }
        self.audio.pipe = None;
        if has(BRANCH_SPARE) {
            self.sound = Sound::Elsewhere;
        } else {
            life.assembly.no_sound();
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
