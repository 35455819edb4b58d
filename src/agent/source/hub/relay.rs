//! Frames of another agent's hub → frames of the local one. No IO and no clock. While the other agent's run lasts they are the
//! very same: run, sequence, times. When another run brings pictures that were delivered already (an agent that is rolled out
//! overlaps with the one that it replaces), they are recognised, left out, and the local run goes on without a gap. Must not
//! know how frames travel.
//!
//! | what happens | what local readers see |
//! | --- | --- |
//! | the connection is cut and the same run goes on | nothing |
//! | frames were lost meanwhile | the run ends with `RecorderOverrun` and goes on at a key frame |
//! | the other agent says that the run ended | the run ends, with its reason |
//! | another run, whose pictures go on where the delivered ones end | nothing: the local run goes on |
//! | another run, otherwise | the run ends, the other begins; what lies before the newest delivered picture is left out |

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::hub::Ending;
use crate::agent::recognition::{Picture, hash, is_newest};
use crate::media::clock::ticks_to_micros;
use crate::media::frame::{Configuration, Frame, RunId, TrackKind, UtcMicros};
use crate::plan::report::Reason;

/// Pictures remembered to be recognised: more than any ring holds.
const REMEMBERED: usize = 4096;
/// A run that has pictures this much later than the delivered ones, and none of them, is another one; microseconds.
const LATER: i64 = 1_000_000;
/// How long a new run's frames are compared at most.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most bytes that are kept back for it.
const KEPT_BACK: usize = 64 << 20;

/// What the local hub is to be told, in order.
#[derive(Debug)]
pub enum Effect {
    /// Frames of one configuration.
    Publish(Arc<Configuration>, Vec<Frame>),
    /// A run ends.
    End(Ending),
}

/// What was delivered.
#[derive(Debug, Clone, Copy)]
struct Seen {
    looks: Picture,
    decode_time: i64,
    duration: u32,
}

impl Seen {
    fn of(frame: &Frame) -> Self {
        Self { looks: Picture::of(frame), decode_time: frame.decode_time, duration: frame.duration }
    }
}

/// The last frame that came, by the other agent's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Its run.
    pub run: RunId,
    /// Its sequence.
    pub sequence: u64,
    /// Whether the other agent has said that the run ended.
    pub ended: bool,
}

/// How far local frames are from those that came.
#[derive(Debug, Clone, Copy, Default)]
struct Offsets {
    video: i64,
    audio: i64,
    utc: i64,
}

/// The run that local readers see.
#[derive(Debug)]
struct Current {
    /// Its local name.
    local: RunId,
    /// What the other agent calls the run that feeds it.
    upstream: RunId,
    next_upstream: u64,
    next_local: u64,
    offsets: Offsets,
    configuration: Arc<Configuration>,
    /// The other agent's configuration, as it was last.
    received: Arc<Configuration>,
    pictures: VecDeque<Seen>,
    sound: Option<Seen>,
    /// Another agent has taken over, and its sound has not come to what is new.
    seeks_sound: bool,
    /// The other agent has said that the run which feeds it ended.
    over: bool,
    /// Local readers have been told that it ended.
    ended: bool,
}

/// Frames of another run, kept back until it is known whether they go on where the current one ends.
#[derive(Debug)]
struct Joining {
    run: RunId,
    since: i64,
    bytes: usize,
    frames: Vec<(Arc<Configuration>, Frame)>,
    /// The pictures among them, with the time that the current run would have given them.
    pictures: Vec<Picture>,
    /// The picture that is the newest delivered one.
    recognised: Option<usize>,
    /// Whether any of its pictures was delivered before.
    overlaps: bool,
}

/// Why nothing comes, while the run may still go on.
#[derive(Debug)]
struct Away {
    since: i64,
    reason: Reason,
    message: String,
}

/// Frames that are left out at the beginning of a run, because their time was delivered already.
#[derive(Debug, Clone, Copy)]
struct Floor {
    utc: UtcMicros,
    /// By the monotonic clock: clocks of two machines may differ, and nothing is left out for long.
    until: i64,
}

/// See the module. Times are of a monotonic clock, microseconds.
#[derive(Debug)]
pub struct Relay {
    /// How long a run may be away and go on.
    resumable: i64,
    current: Option<Current>,
    joining: Option<Joining>,
    away: Option<Away>,
    floor: Option<Floor>,
}

impl Relay {
    /// Nothing delivered yet. `resumable`: how long the other hub keeps frames for a reader that comes back.
    pub fn new(resumable: Duration) -> Self {
        let resumable = i64::try_from(resumable.as_micros()).unwrap_or(i64::MAX);
        Self { resumable, current: None, joining: None, away: None, floor: None }
    }

    /// What to ask to go on after.
    pub fn position(&self) -> Option<Position> {
        if let Some(joining) = &self.joining
            && let Some((_, last)) = joining.frames.last()
        {
            return Some(Position { run: joining.run, sequence: last.sequence, ended: false });
        }
        let current = self.current.as_ref()?;
        Some(Position { run: current.upstream, sequence: current.next_upstream.saturating_sub(1), ended: current.over })
    }

    /// Takes a frame; `configuration` is what it needs.
    pub fn frame(&mut self, configuration: &Arc<Configuration>, frame: Frame, now: i64, effects: &mut Vec<Effect>) {
        match &mut self.current {
            Some(current) if current.upstream == frame.run => {
                self.away = None;
                self.joining = None;
                if frame.sequence < current.next_upstream {
                    return;
                }
                let lost = frame.sequence - current.next_upstream;
                if lost > 0 {
                    let message = format!("{lost} frames were no longer kept by the camera's agent");
                    effects.push(Effect::End(Ending {
                        run: current.local,
                        reason: Reason::RecorderOverrun,
                        message,
                        at: frame.utc,
                    }));
                    current.next_upstream = frame.sequence;
                    current.next_local += lost;
                }
                self.pass(configuration, frame, now, effects);
            }
            Some(_) => self.compare(configuration, frame, now, effects),
            None => {
                self.begin(configuration, &frame);
                self.pass(configuration, frame, now, effects);
            }
        }
    }

    /// The other agent says that a run ended.
    pub fn ended(&mut self, ending: Ending, now: i64, effects: &mut Vec<Effect>) {
        if self.joining.as_ref().is_some_and(|joining| joining.run == ending.run) {
            self.decide(now, effects);
        }
        let Some(current) = self.current.as_mut().filter(|current| current.upstream == ending.run) else { return };
        current.over = true;
        if ending.reason == Reason::ShuttingDown {
            // Another agent may have the same camera already.
            self.cut(ending.reason, ending.message, now);
        } else {
            self.end(ending.reason, ending.message, ending.at, effects);
        }
    }

    /// Nothing comes any more, though nothing was said.
    pub fn cut(&mut self, reason: Reason, message: String, now: i64) {
        if self.away.is_none() && self.current.as_ref().is_some_and(|current| !current.ended) {
            self.away = Some(Away { since: now, reason, message });
        }
    }

    /// When [`Relay::tick`] is to be called although nothing comes.
    pub fn deadline(&self) -> Option<i64> {
        let away = self.away.as_ref().map(|away| away.since.saturating_add(self.resumable));
        let joining = self.joining.as_ref().map(|joining| joining.since + PATIENCE.as_micros() as i64);
        away.into_iter().chain(joining).min()
    }

    /// Time has passed; `wall` is the host's UTC.
    pub fn tick(&mut self, now: i64, wall: UtcMicros, effects: &mut Vec<Effect>) {
        if self.joining.as_ref().is_some_and(|joining| now - joining.since >= PATIENCE.as_micros() as i64) {
            self.decide(now, effects);
        }
        if let Some(away) = self.away.take_if(|away| now.saturating_sub(away.since) >= self.resumable) {
            self.end(away.reason, away.message, wall, effects);
        }
    }

    /// Nothing more will come: what is kept back is delivered and the run ends.
    pub fn finish(&mut self, now: i64, wall: UtcMicros, effects: &mut Vec<Effect>) {
        if self.joining.is_some() {
            self.decide(now, effects);
        }
        self.away = None;
        self.end(Reason::ShuttingDown, "stopped".to_owned(), wall, effects);
    }

    fn end(&mut self, reason: Reason, message: String, at: UtcMicros, effects: &mut Vec<Effect>) {
        self.away = None;
        let Some(current) = self.current.as_mut().filter(|current| !current.ended) else { return };
        current.ended = true;
        effects.push(Effect::End(Ending { run: current.local, reason, message, at }));
    }

    /// A run begins with this frame, under its own name.
    fn begin(&mut self, configuration: &Arc<Configuration>, frame: &Frame) {
        self.current = Some(Current {
            local: frame.run,
            upstream: frame.run,
            next_upstream: frame.sequence,
            next_local: frame.sequence,
            offsets: Offsets::default(),
            configuration: configuration.clone(),
            received: configuration.clone(),
            pictures: VecDeque::new(),
            sound: None,
            seeks_sound: false,
            over: false,
            ended: false,
        });
    }

    /// Passes a frame of the current run on.
    fn pass(&mut self, configuration: &Arc<Configuration>, mut frame: Frame, now: i64, effects: &mut Vec<Effect>) {
        let Some(current) = &mut self.current else { return };
        current.next_upstream = frame.sequence + 1;
        if current.was_heard(&frame) {
            return;
        }
        let sequence = current.next_local;
        current.next_local += 1;
        if let Some(floor) = self.floor {
            let again = frame.is_video_key() && frame.utc >= floor.utc;
            if !again && now < floor.until {
                return;
            }
            if !frame.is_video_key() {
                return;
            }
            self.floor = None;
        }
        current.take_configuration(configuration);
        current.ended = false;
        frame.run = current.local;
        frame.sequence = sequence;
        frame.generation = current.configuration.generation;
        frame.utc = frame.utc.plus_micros(current.offsets.utc);
        frame.decode_time += match frame.track {
            TrackKind::Video => current.offsets.video,
            TrackKind::Audio => current.offsets.audio,
        };
        current.remember(&frame);
        match effects.last_mut() {
            Some(Effect::Publish(same, frames)) if Arc::ptr_eq(same, &current.configuration) => frames.push(frame),
            _ => effects.push(Effect::Publish(current.configuration.clone(), vec![frame])),
        }
    }

    /// Keeps a frame of another run back until it is known how it goes on.
    fn compare(&mut self, configuration: &Arc<Configuration>, frame: Frame, now: i64, effects: &mut Vec<Effect>) {
        let Some(current) = &self.current else { return };
        let joining = match &mut self.joining {
            Some(joining) if joining.run == frame.run => joining,
            other => other.insert(Joining {
                run: frame.run,
                since: now,
                bytes: 0,
                frames: Vec::new(),
                pictures: Vec::new(),
                recognised: None,
                overlaps: false,
            }),
        };
        if joining.frames.last().is_some_and(|(_, last)| frame.sequence <= last.sequence) {
            return;
        }
        let picture = (frame.track == TrackKind::Video).then(|| Picture::of(&frame));
        let utc = frame.utc;
        joining.bytes += frame.payload.len();
        joining.frames.push((configuration.clone(), frame));
        // After an end, or with other parameters, readers must begin anew in any case.
        let other = current.ended || configuration.video != current.received.video;
        let Some(newest) = current.pictures.back().filter(|_| !other) else {
            self.decide(now, effects);
            return;
        };
        if let Some(picture) = picture {
            let utc = picture.utc.plus_micros(current.offsets.utc);
            joining.look_at(Picture { utc, ..picture }, &current.pictures);
        }
        let later = utc.0 > newest.looks.utc.0 - current.offsets.utc + LATER && !joining.overlaps;
        if joining.recognised.is_some() || later || joining.bytes > KEPT_BACK {
            self.decide(now, effects);
        }
    }

    /// Goes on with the run that was compared: as the current one where it was recognised, else as another.
    fn decide(&mut self, now: i64, effects: &mut Vec<Effect>) {
        let (Some(joining), Some(current)) = (self.joining.take(), &mut self.current) else { return };
        let Some((_, first)) = joining.frames.first() else { return };
        if let Some(place) = joining.recognised.filter(|_| !current.ended) {
            self.away = None;
            let delivered = current.go_on_in(&joining, place);
            for ((configuration, frame), delivered) in joining.frames.into_iter().zip(delivered) {
                if !delivered {
                    self.pass(&configuration, frame, now, effects);
                } else if let Some(current) = &mut self.current {
                    current.next_upstream = frame.sequence + 1;
                }
            }
            return;
        }
        // Half a picture later: two agents never date one picture quite alike.
        let floor = current.pictures.back().map(|newest| {
            let half = ticks_to_micros(newest.duration.into(), current.configuration.video.timescale) / 2;
            let utc = newest.looks.utc.plus_micros(half - current.offsets.utc);
            Floor { utc, until: now + PATIENCE.as_micros() as i64 }
        });
        let first = first.clone();
        let (reason, message) = match self.away.take() {
            Some(away) => (away.reason, away.message),
            None => (Reason::CameraUnavailable, "the camera's agent began anew".to_owned()),
        };
        self.end(reason, message, first.utc, effects);
        let Some((configuration, _)) = joining.frames.first() else { return };
        self.begin(&configuration.clone(), &first);
        // Of a run that brought nothing new the earlier one still holds.
        self.floor = floor.or(self.floor);
        for (configuration, frame) in joining.frames {
            self.pass(&configuration, frame, now, effects);
        }
    }
}

impl Joining {
    /// Its newest frame is a picture: is it the newest that was delivered?
    fn look_at(&mut self, picture: Picture, delivered: &VecDeque<Seen>) {
        self.pictures.push(picture);
        self.overlaps |= delivered.iter().rev().any(|seen| seen.looks.hash == picture.hash);
        if is_newest(delivered.iter().rev().map(|seen| &seen.looks), self.pictures.iter().rev()) {
            self.recognised = Some(self.frames.len() - 1);
        }
    }
}

impl Current {
    fn remember(&mut self, frame: &Frame) {
        let seen = Seen::of(frame);
        match frame.track {
            TrackKind::Video => {
                if self.pictures.len() == REMEMBERED {
                    self.pictures.pop_front();
                }
                self.pictures.push_back(seen);
            }
            TrackKind::Audio => self.sound = Some(seen),
        }
    }

    /// The configuration that the next frame needs. Under a name that is not its own a run counts its own generations.
    fn take_configuration(&mut self, received: &Arc<Configuration>) {
        if Arc::ptr_eq(received, &self.received) {
            return;
        }
        let same = received.video == self.configuration.video && received.audio == self.configuration.audio;
        let own_name = self.local == self.upstream;
        if own_name && received.generation == self.configuration.generation && same {
            self.received = received.clone();
            return;
        }
        if own_name {
            self.configuration = received.clone();
        } else if !same {
            let generation = self.configuration.generation + 1;
            self.configuration = Arc::new(Configuration { generation, ..Configuration::clone(received) });
        }
        self.received = received.clone();
    }

    /// Takes the frames after `place` for what follows the newest delivered picture, which the one at `place` is. Tells which
    /// frames were delivered already.
    fn go_on_in(&mut self, joining: &Joining, place: usize) -> Vec<bool> {
        let Some(newest) = self.pictures.back().copied() else { return vec![false; joining.frames.len()] };
        let (configuration, picture) = &joining.frames[place];
        let video = newest.decode_time - picture.decode_time;
        let from = configuration.video.timescale;
        let to = configuration.audio.as_ref().map_or(from, |audio| audio.timescale);
        self.upstream = joining.run;
        self.over = false;
        self.offsets = Offsets { video, audio: rescale(video, from, to), utc: newest.looks.utc.0 - picture.utc.0 };
        if self.sound.is_none() {
            // None was delivered: what comes with the new pictures is new.
            let looks = Picture { hash: 0, ..newest.looks };
            self.sound = Some(Seen { looks, decode_time: rescale(newest.decode_time, from, to), duration: 0 });
        }
        self.seeks_sound = true;
        let sounds = joining.frames.iter().enumerate().filter(|(_, (_, frame))| frame.track == TrackKind::Audio);
        let last_heard = sounds.rev().find(|(_, (_, frame))| self.is_newest_sound(frame)).map(|(index, _)| index);
        joining
            .frames
            .iter()
            .enumerate()
            .map(|(index, (_, frame))| match frame.track {
                TrackKind::Video => index <= place,
                TrackKind::Audio => last_heard.is_some_and(|last| index < last),
            })
            .collect()
    }

    /// Whether a sound of the agent that took over is the one that was delivered last.
    fn is_newest_sound(&self, frame: &Frame) -> bool {
        let Some(sound) = self.sound.filter(|sound| sound.looks.hash == hash(&frame.payload)) else { return false };
        let second = self.configuration.audio.as_ref().map_or(0, |audio| i64::from(audio.timescale));
        (frame.decode_time + self.offsets.audio - sound.decode_time).abs() < second
    }

    /// Whether a frame is sound that was delivered already, by the agent that this one took over from.
    fn was_heard(&mut self, frame: &Frame) -> bool {
        let Some(sound) = self.sound.filter(|_| self.seeks_sound && frame.track == TrackKind::Audio) else {
            return false;
        };
        if self.is_newest_sound(frame) {
            // The sound's own distance: two agents may place it a little differently against the pictures.
            self.offsets.audio = sound.decode_time - frame.decode_time;
            self.seeks_sound = false;
            return true;
        }
        // Sound that is coded anew is told by its time.
        let heard = frame.decode_time + self.offsets.audio < sound.decode_time + i64::from(sound.duration) / 2;
        self.seeks_sound = heard;
        heard
    }
}

/// Ticks of one timescale in another.
fn rescale(ticks: i64, from: u32, to: u32) -> i64 {
    let scaled = i128::from(ticks) * i128::from(to);
    let from = i128::from(from.max(1));
    i64::try_from((scaled + from / 2).div_euclid(from)).unwrap_or(0)
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
