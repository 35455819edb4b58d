//! The native driver: one life of an RTSP session without FFmpeg, from DESCRIBE to TEARDOWN; what it sends becomes frames in the
//! hub. Decides nothing about what follows: it says how it went. Must not know how often it was tried.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`session`] | the library: DESCRIBE, SETUP, PLAY, TEARDOWN |
//! | [`samples`] | no IO: what the library gives → samples with decode times and durations |
//! | [`media_time`] | pure: RTP timestamps → media time without jumps |
//! | [`decode_time`] | pure: presentation times in decoding order → decode times |
//! | [`alignment`] | pure: where sound stands beside the pictures |
//! | [`raw_sound`] | pure: G.711 and PCM as a stream without holes |
//! | [`encoder`], [`doubler`] | no IO: AAC of it |
//! | [`conclude`] | pure: the library's errors → reasons |

pub mod alignment;
pub mod conclude;
pub mod decode_time;
pub mod doubler;
pub mod encoder;
pub mod media_time;
pub mod raw_sound;
pub mod samples;
pub mod session;

use std::pin::pin;

use retina::codec::CodecItem;
use tokio::time::sleep_until;

use self::conclude::conclude;
use self::samples::Samples;
use self::session::{Playing, Refused, Target};
use super::assembly::Trouble;
use super::life::{Life, Overdue};
use super::profile::Profile;
use super::redact::Redactor;
use super::{Ended, knock};
use crate::agent::hub::Hub;
use crate::agent::unit::UnitContext;
use crate::plan::report::Reason;
use crate::plan::unit::Ingest;

/// A session that is to be begun, and what for.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// Whose.
    pub context: &'a UnitContext,
    /// Where frames go.
    pub hub: &'a Hub,
    /// What was planned.
    pub ingest: &'a Ingest,
    /// What is called.
    pub target: &'a Target,
    /// Host and port of the device.
    pub peer: Option<&'a (String, u16)>,
    /// Takes secrets out of messages.
    pub redactor: &'a Redactor,
    /// What FFmpeg would be told, to be handed back.
    pub profile: Profile,
}

/// Why a session ended.
#[derive(Debug)]
enum Stop {
    Cancelled,
    /// The device ended it in order.
    Exited,
    Overdue(Overdue),
    /// What the device sends cannot be carried; what, as part of a sentence.
    NotCarried(String),
    Trouble(Trouble),
    Failed(retina::Error),
}

impl Attempt<'_> {
    /// Begins a session and stays with it until it has ended.
    pub async fn run(self) -> Ended {
        let mut life = Life::new(self.context, self.hub, self.ingest, true);
        let mut playing = match self.open(&life).await {
            Ok(playing) => playing,
            Err(stop) => return self.conclude(&stop, &life).await,
        };
        let mut samples = Samples::new(playing.video, playing.audio, playing.raw, self.context.registry.chunks.clone());
        if playing.audio.is_none() {
            life.assembly.no_sound();
        }
        let stop = self.read(&mut playing, &mut samples, &mut life).await;
        life.nothing_comes();
        life.apply(|assembly, now, effects| samples.finish(assembly, now, effects));
        let run = life.finish();
        let ended = self.conclude(&stop, &life).await;
        if let Some(run) = run {
            life.end_run(run, ended.reason, ended.message.clone());
        }
        playing.close().await;
        ended
    }

    async fn open(&self, life: &Life<'_>) -> Result<Playing, Stop> {
        let (deadline, _) = life.deadline();
        tokio::select! {
            biased;
            () = self.context.cancel.cancelled() => Err(Stop::Cancelled),
            opened = session::open(self.target) => opened.map_err(|refused| match refused {
                Refused::NotCarried(what) => Stop::NotCarried(what),
                Refused::Failed(error) => Stop::Failed(error),
            }),
            () = sleep_until(deadline.into()) => Err(Stop::Overdue(Overdue::NoStart)),
        }
    }

    async fn read(&self, playing: &mut Playing, samples: &mut Samples, life: &mut Life<'_>) -> Stop {
        let mut timer = pin!(sleep_until(life.deadline().0.into()));
        loop {
            let taken = tokio::select! {
                biased;
                () = self.context.cancel.cancelled() => return Stop::Cancelled,
                item = playing.next() => match item {
                    Some(Ok(item)) => self.take(item, playing, samples, life),
                    Some(Err(error)) => return Stop::Failed(error),
                    None => return Stop::Exited,
                },
                () = &mut timer => {
                    let (deadline, overdue) = life.deadline();
                    if deadline <= std::time::Instant::now() {
                        if let Some(overdue) = overdue {
                            return Stop::Overdue(overdue);
                        }
                        life.tick();
                    }
                    timer.as_mut().reset(life.deadline().0.into());
                    Ok(())
                }
            };
            match taken {
                // Another run has been begun.
                Ok(()) | Err(Trouble::TooFast) => {}
                Err(trouble) => return Stop::Trouble(trouble),
            }
            // A deadline that moves away is looked at when the timer ends: most pictures move it.
            let deadline = life.deadline().0.into();
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
        }
    }

    fn take(
        &self,
        item: CodecItem,
        playing: &Playing,
        samples: &mut Samples,
        life: &mut Life<'_>,
    ) -> Result<(), Trouble> {
        let taken = match item {
            CodecItem::VideoFrame(picture) => {
                let taken = life.apply(|assembly, now, effects| {
                    samples.picture(picture, |stream| playing.sample_entry(stream), assembly, now, effects)
                });
                if taken != Ok(false) {
                    life.picture_came();
                }
                taken.map(|_| ())
            }
            CodecItem::AudioFrame(sound) => life.apply(|assembly, now, effects| {
                samples.sound(&sound, |stream| playing.sample_entry(stream), assembly, now, effects)
            }),
            CodecItem::Rtcp(packet) => {
                if let Some(ahead) = life.apply(|_, now, _| samples.report(&packet, now)) {
                    life.note_clock_error(ahead);
                }
                Ok(())
            }
            _ => Ok(()),
        };
        for message in samples.messages() {
            self.context.logs.push("warning", message);
        }
        taken
    }

    async fn conclude(&self, stop: &Stop, life: &Life<'_>) -> Ended {
        let pictures_for = life.pictures_for();
        let mut beyond = None;
        let (reason, message) = match stop {
            Stop::Cancelled => (Reason::ShuttingDown, "stopped".into()),
            Stop::Exited => (Reason::SourceEnded, "the device ended the session".into()),
            Stop::Overdue(overdue) => {
                let (reason, message) = overdue.told(self.ingest);
                match (overdue, self.peer) {
                    (Overdue::NoStart, Some(peer)) => match knock::is_anybody_there(peer).await {
                        Ok(()) => (reason, message),
                        Err(why) => (Reason::Unreachable, why),
                    },
                    _ => (reason, message),
                }
            }
            Stop::NotCarried(what) => {
                beyond = Some(what.clone());
                (Reason::CodecNotCarried, format!("{what}, which the native driver does not carry"))
            }
            Stop::Trouble(Trouble::Video(error)) => (Reason::CodecNotCarried, error.to_string()),
            Stop::Trouble(Trouble::Audio(error)) => {
                beyond = Some(error.to_string());
                (Reason::CodecNotCarried, error.to_string())
            }
            Stop::Trouble(Trouble::TooFast) => (Reason::SourceEnded, "the source is read faster than it plays".into()),
            Stop::Failed(error) => {
                let concluded = conclude(error.status_code(), &error.to_string(), life.has_begun());
                let message = self.redactor.redact(&concluded.message);
                if concluded.beyond {
                    beyond = Some(message.clone());
                }
                (concluded.reason, message)
            }
        };
        Ended { reason, message, profile: self.profile, at_once: false, pictures_for, beyond }
    }
}
