//! Makes runs of frames of the samples of one connection's two tracks: one sequence, one time zero, UTC, generations. No IO and
//! no clock: arrival times come in, what the hub is to be told comes out. Video never waits for sound.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::hub::Ending;
use crate::media::access_unit::{self, VideoTrack};
use crate::media::audio;
use crate::media::clock::{Arrival, JUMP_MICROS, RunClock, Verdict, ticks_to_micros};
use crate::media::fmp4::reader::{Handler, Sample, Track};
use crate::media::frame::{Codec, Configuration, Frame, FrameKind, RunId, TrackConfiguration, TrackKind};
use crate::plan::report::{MediaFacts, Reason};

/// How long the first frames of a run are kept back at most: until the burst that some servers begin with is over, so that it is
/// dated right, and until the sound has said what it is, so that it does not begin with a second configuration.
pub const HOLD: Duration = Duration::from_millis(500);
/// The same where sound is sure to come: where the camera's run before had some, or a converter has to start first.
const HOLD_FOR_SOUND: Duration = Duration::from_secs(2);
/// Pictures that come at their pace, one after another, before a burst counts as over: one alone may have been held up in it.
const PACED: u32 = 2;
/// A picture this short is a piece of one, and the rest follows at once.
const PIECE_MICROS: i64 = 1_000;
/// Distances of pictures that the measured rate is made of.
const MEASURED: usize = 32;

/// What the hub is to be told, in order.
#[derive(Debug)]
pub enum Effect {
    /// Frames.
    Publish(Arc<Configuration>, Vec<Frame>),
    /// The run ends here; another follows on the same connection.
    End(Ending),
}

/// Something about the connection that its driver must act on.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The pictures cannot be carried.
    Video(access_unit::Error),
    /// The sound cannot be carried as it is.
    Audio(audio::Error),
    /// Pictures come faster than they play.
    TooFast,
}

/// A frame that is not published yet.
#[derive(Debug)]
struct Pending {
    track: TrackKind,
    configuration: Arc<TrackConfiguration>,
    /// In ticks, the edit list applied.
    decode_time: i64,
    composition_offset: i32,
    duration: u32,
    kind: FrameKind,
    payload: bytes::Bytes,
}

#[derive(Debug)]
struct Video {
    track: VideoTrack,
    id: u32,
    timescale: u32,
    edit_offset: i64,
    /// Newest distances between pictures, in ticks.
    distances: VecDeque<u32>,
}

impl Video {
    fn usual_distance(&self) -> u32 {
        let sum: u64 = self.distances.iter().map(|distance| u64::from(*distance)).sum();
        match self.distances.len() as u64 {
            0 => self.timescale / 25,
            count => u32::try_from(sum / count).unwrap_or(u32::MAX).max(1),
        }
    }
}

#[derive(Debug)]
struct Audio {
    configuration: Arc<TrackConfiguration>,
    id: u32,
    edit_offset: i64,
    usual_distance: u32,
}

/// The run that frames are published in.
#[derive(Debug)]
struct Run {
    id: RunId,
    next_sequence: u64,
    /// Whole seconds that both tracks are shifted by.
    shift: i64,
    configuration: Arc<Configuration>,
    /// Sound that is not part of the configuration yet.
    late_sound: Option<Arc<TrackConfiguration>>,
}

/// The host's clock was set. The run goes on by the old time until a key frame comes, so that no picture is lost.
#[derive(Debug)]
struct Stepped {
    message: String,
    /// The clock of the next run.
    clock: RunClock,
}

/// See the module.
#[derive(Debug)]
pub struct Assembly {
    video: Option<Video>,
    audio: Option<Audio>,
    /// Whether it is known what the sound is, or that there is none.
    audio_known: bool,
    /// [`HOLD`], or longer.
    hold: Duration,
    clock: RunClock,
    stepped: Option<Stepped>,
    run: Option<Run>,
    pending: VecDeque<Pending>,
    /// Arrival of the first key frame that is kept back, by the monotonic clock.
    held_since: Option<i64>,
    previous_arrival: Option<i64>,
    /// How many pictures have come at their pace, one after another.
    paced: u32,
}

impl Assembly {
    /// For a connection on which sound may come, and is sure to where the run before `had_sound`.
    pub fn new(expect_audio: bool, had_sound: bool) -> Self {
        Self {
            video: None,
            audio: None,
            audio_known: !expect_audio,
            hold: if expect_audio && had_sound { HOLD_FOR_SOUND } else { HOLD },
            clock: RunClock::new(),
            stepped: None,
            run: None,
            pending: VecDeque::new(),
            held_since: None,
            previous_arrival: None,
            paced: 0,
        }
    }

    /// How long frames are kept back at most, as things are.
    const fn longest_hold(&self) -> Duration {
        if self.audio_known { HOLD } else { self.hold }
    }

    const fn burst_is_over(&self) -> bool {
        self.paced >= PACED
    }

    /// The header of the pictures' pipe.
    pub fn video_header(&mut self, tracks: &[Track]) -> Result<(), Trouble> {
        let missing = || Trouble::Video(access_unit::Error::Unsupported("no video track".into()));
        let track = tracks.iter().find(|track| track.handler == Handler::Video).ok_or_else(missing)?;
        self.video = Some(Video {
            track: VideoTrack::new(track).map_err(Trouble::Video)?,
            id: track.id,
            timescale: track.timescale,
            edit_offset: track.edit_offset,
            distances: VecDeque::with_capacity(MEASURED),
        });
        Ok(())
    }

    /// The header of the sound's pipe, which holds a picture when there is no sound.
    pub fn audio_header(&mut self, tracks: &[Track]) -> Result<(), Trouble> {
        self.audio_known = true;
        let Some(track) = tracks.iter().find(|track| track.handler == Handler::Audio) else { return Ok(()) };
        let configuration = Arc::new(audio::configuration(track).map_err(Trouble::Audio)?);
        let usual_distance = track.timescale / 50;
        self.audio = Some(Audio { configuration, id: track.id, edit_offset: track.edit_offset, usual_distance });
        Ok(())
    }

    /// There is no sound.
    pub const fn no_sound(&mut self) {
        self.audio_known = true;
    }

    /// The sound comes by way of a converter.
    pub const fn sound_is_converted(&mut self) {
        self.audio_known = false;
        self.hold = HOLD_FOR_SOUND;
    }

    /// Whether it is known what the sound is, or that there is none.
    pub const fn sound_is_known(&self) -> bool {
        self.audio_known
    }

    /// A sample of the pictures' pipe. Pictures that cannot be read are left out.
    pub fn video_sample(
        &mut self,
        sample: &Sample,
        arrival: Arrival,
        effects: &mut Effects<'_>,
    ) -> Result<(), Trouble> {
        let Some(video) = self.video.as_mut().filter(|video| video.id == sample.track) else { return Ok(()) };
        let Ok(picture) = video.track.accept(&sample.payload) else { return Ok(()) };
        let Some(configuration) = video.track.configuration().cloned() else { return Ok(()) };
        let decode_time = i64::try_from(sample.decode_time).unwrap_or(i64::MAX).saturating_add(video.edit_offset);
        let end = decode_time.saturating_add(i64::from(sample.duration));
        let timescale = video.timescale;
        let mut duration = if sample.duration == 0 { video.usual_distance() } else { sample.duration };
        if picture.kind == FrameKind::Key
            && let Some(stepped) = self.stepped.take()
        {
            self.end_run(arrival, &stepped.message, effects);
            self.clock = stepped.clock;
        }
        // FFmpeg passes a picture on when the next one is there: it arrived when it ended.
        let verdict = self.observe(arrival, ticks_to_micros(end, timescale));
        let Some(video) = self.video.as_mut() else { return Ok(()) };
        let is_piece = ticks_to_micros(i64::from(duration), timescale) < PIECE_MICROS;
        if matches!(verdict, Verdict::RanAhead(_)) {
            // The jump lies between this picture and the next one.
            duration = video.usual_distance();
        } else if !is_piece {
            if video.distances.len() == MEASURED {
                video.distances.pop_front();
            }
            video.distances.push_back(duration);
        }
        if !picture.continues {
            let pace = if is_piece { video.usual_distance() } else { duration };
            self.watch_burst(arrival.monotonic, ticks_to_micros(i64::from(pace), timescale));
        }
        self.add_picture(picture, configuration, decode_time, sample.composition_offset, duration);
        if self.run.is_none() {
            let first_key = self.pending.iter().position(|pending| pending.track == TrackKind::Video);
            if first_key.is_some() && self.held_since.is_none() {
                self.held_since = Some(arrival.monotonic);
            }
            let begun = first_key.map(|at| self.pending[at].decode_time);
            let span = begun.map_or(0, |begun| ticks_to_micros(end.saturating_sub(begun), timescale));
            if !self.burst_is_over() && span > JUMP_MICROS {
                return Err(Trouble::TooFast);
            }
        }
        match verdict {
            Verdict::Steady => {
                self.flow(arrival, effects);
                Ok(())
            }
            Verdict::HostStepped(by) => {
                let message = format!("the host's clock was set by {} s", by / 1_000_000);
                if self.run.is_some() {
                    self.stepped = Some(Stepped { message, clock: RunClock::new() });
                    self.flow(arrival, effects);
                } else {
                    self.end_run(arrival, &message, effects);
                }
                Ok(())
            }
            Verdict::FellBehind(by) => {
                self.end_run(arrival, &format!("the camera's clock fell {} s behind", by / 1_000_000), effects);
                Ok(())
            }
            Verdict::RanAhead(by) => {
                self.end_run(arrival, &format!("the camera's clock jumped {} s ahead", by / 1_000_000), effects);
                Err(Trouble::TooFast)
            }
        }
    }

    fn observe(&mut self, arrival: Arrival, media_end: i64) -> Verdict {
        let Some(stepped) = &mut self.stepped else { return self.clock.observe(arrival, media_end) };
        if stepped.clock.observe(arrival, media_end) != Verdict::Steady {
            // Set once more.
            stepped.clock = RunClock::new();
        }
        Verdict::Steady
    }

    /// A sample of the sound's pipe.
    pub fn audio_sample(&mut self, sample: &Sample, arrival: Arrival, effects: &mut Effects<'_>) {
        let Some(audio) = self.audio.as_mut().filter(|audio| audio.id == sample.track) else { return };
        if sample.duration > 0 {
            audio.usual_distance = sample.duration;
        }
        let duration = audio.usual_distance;
        self.pending.push_back(Pending {
            track: TrackKind::Audio,
            configuration: audio.configuration.clone(),
            decode_time: i64::try_from(sample.decode_time).unwrap_or(i64::MAX).saturating_add(audio.edit_offset),
            composition_offset: sample.composition_offset,
            duration,
            kind: FrameKind::Key,
            payload: sample.payload.clone(),
        });
        if self.run.is_none() && self.held_since.is_none() {
            // Without a picture there is nothing to hear it with; what is kept is little and bounded.
            while self.pending.len() > 64 {
                self.pending.pop_front();
            }
        }
        self.flow(arrival, effects);
    }

    /// Pictures that come at the pace at which they play are no burst.
    fn watch_burst(&mut self, now: i64, duration_micros: i64) {
        if let Some(previous) = self.previous_arrival.replace(now)
            && !self.burst_is_over()
        {
            let is_paced = (now - previous).saturating_mul(2) >= duration_micros;
            self.paced = if is_paced { self.paced + 1 } else { 0 };
        }
    }

    fn add_picture(
        &mut self,
        picture: access_unit::Picture,
        configuration: Arc<TrackConfiguration>,
        decode_time: i64,
        composition_offset: i32,
        duration: u32,
    ) {
        if picture.payload.is_empty() {
            return;
        }
        let newest = self.pending.iter_mut().rev().find(|pending| pending.track == TrackKind::Video);
        if picture.continues
            && let Some(first) = newest
        {
            let mut whole = bytes::BytesMut::with_capacity(first.payload.len() + picture.payload.len());
            whole.extend_from_slice(&first.payload);
            whole.extend_from_slice(&picture.payload);
            first.payload = whole.freeze();
            let end = decode_time.saturating_add(i64::from(duration));
            first.duration = u32::try_from(end.saturating_sub(first.decode_time)).unwrap_or(duration);
            return;
        }
        if self.run.is_none() && self.held_since.is_none() && picture.kind != FrameKind::Key {
            // A run begins at a key frame: nobody could decode what is before it.
            return;
        }
        self.pending.push_back(Pending {
            track: TrackKind::Video,
            configuration,
            decode_time,
            composition_offset,
            duration,
            kind: picture.kind,
            payload: picture.payload,
        });
    }

    /// Publishes what can be published.
    fn flow(&mut self, now: Arrival, effects: &mut Effects<'_>) {
        if self.run.is_none() && !self.begin(now, effects) {
            return;
        }
        let Some(run) = self.run.as_mut() else { return };
        let mut batch = Vec::with_capacity(self.pending.len());
        while let Some(next) = self.pending.front() {
            let timescale = next.configuration.timescale;
            let alone = self.pending.len() == 1;
            if alone
                && next.track == TrackKind::Video
                && ticks_to_micros(next.duration.into(), timescale) < PIECE_MICROS
            {
                break;
            }
            let Some(next) = self.pending.pop_front() else { break };
            let current = &run.configuration;
            let same = current.track(next.track).is_some_and(|known| Arc::ptr_eq(known, &next.configuration));
            if !same && next.track == TrackKind::Audio {
                // With another configuration readers begin anew: at a key frame no picture is lost by that.
                run.late_sound = Some(next.configuration);
                continue;
            }
            let begins = next.track == TrackKind::Video && next.kind == FrameKind::Key;
            let sound = if begins { run.late_sound.take() } else { None };
            if !same || sound.is_some() {
                let mut changed = Configuration::clone(current);
                if next.track == TrackKind::Video {
                    changed.video = next.configuration.clone();
                }
                changed.audio = sound.or(changed.audio);
                changed.generation += 1;
                effects.publish(&run.configuration, &mut batch);
                run.configuration = Arc::new(changed);
            }
            let decode_time = next.decode_time.saturating_add(run.shift.saturating_mul(i64::from(timescale)));
            if decode_time < 0 {
                continue;
            }
            batch.push(Frame {
                run: run.id,
                sequence: run.next_sequence,
                track: next.track,
                decode_time,
                composition_offset: next.composition_offset,
                duration: next.duration,
                kind: next.kind,
                generation: run.configuration.generation,
                utc: self.clock.utc(ticks_to_micros(next.decode_time, timescale)),
                payload: next.payload,
            });
            run.next_sequence += 1;
        }
        effects.publish(&run.configuration, &mut batch);
    }

    /// Begins a run when it is time; false when it is not.
    fn begin(&mut self, now: Arrival, effects: &mut Effects<'_>) -> bool {
        let Some(since) = self.held_since else { return false };
        let waited = now.monotonic - since >= self.longest_hold().as_micros() as i64;
        if !(waited || self.burst_is_over() && self.audio_known) {
            return false;
        }
        let Some(key) = self.pending.iter().position(|pending| pending.track == TrackKind::Video) else { return false };
        let start = &self.pending[key];
        let video = start.configuration.clone();
        let start = ticks_to_micros(start.decode_time, video.timescale);
        let micros = |pending: &Pending| ticks_to_micros(pending.decode_time, pending.configuration.timescale);
        self.pending.retain(|pending| pending.track == TrackKind::Video || micros(pending) >= start);
        // One second at least: sound may turn out to have begun a little earlier.
        let shift = 1 + (-start).max(0).div_euclid(1_000_000) + i64::from(start < 0);
        self.clock.settle();
        self.run = Some(Run {
            id: (effects.name_run)(),
            next_sequence: 0,
            shift,
            configuration: Arc::new(Configuration {
                generation: 0,
                video,
                audio: self.audio.as_ref().map(|audio| audio.configuration.clone()),
            }),
            late_sound: None,
        });
        true
    }

    /// Ends the run, if there is one; the next begins at a key frame, with a clock of its own.
    fn end_run(&mut self, now: Arrival, message: &str, effects: &mut Effects<'_>) {
        self.flow(now, effects);
        if let Some(run) = self.run.take() {
            effects.list.push(Effect::End(Ending {
                run: run.id,
                reason: Reason::ClockStepped,
                message: message.to_owned(),
                at: now.wall,
            }));
        }
        self.pending.clear();
        self.clock = RunClock::new();
        self.stepped = None;
        self.held_since = None;
        self.previous_arrival = None;
        self.paced = 0;
    }

    /// When [`Assembly::tick`] is to be called although nothing comes, by the monotonic clock.
    pub fn deadline(&self) -> Option<i64> {
        if self.run.is_some() {
            return None;
        }
        self.held_since.map(|since| since + self.longest_hold().as_micros() as i64)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Arrival, effects: &mut Effects<'_>) {
        self.flow(now, effects);
    }

    /// Publishes what was kept back, because nothing more will come, and tells which run is open.
    pub fn finish(&mut self, effects: &mut Effects<'_>) -> Option<RunId> {
        for pending in &mut self.pending {
            pending.duration = pending.duration.max(pending.configuration.timescale / 500);
        }
        if let (Some(since), None) = (self.held_since, &self.run) {
            let late = Arrival {
                wall: crate::media::frame::UtcMicros(0),
                monotonic: since.saturating_add(self.hold.as_micros() as i64),
            };
            self.flow(late, effects);
        } else if self.run.is_some() {
            self.flow(Arrival { wall: crate::media::frame::UtcMicros(0), monotonic: 0 }, effects);
        }
        self.run.as_ref().map(|run| run.id)
    }

    /// The run that is open.
    pub fn run(&self) -> Option<RunId> {
        self.run.as_ref().map(|run| run.id)
    }

    /// How many ticks of the pictures' track are a second; 1 before its header.
    pub fn video_timescale(&self) -> u32 {
        self.video.as_ref().map_or(1, |video| video.timescale)
    }

    /// What the pictures are coded in, once the header is there.
    pub fn video_codec(&self) -> Option<Codec> {
        self.video.as_ref().map(|video| video.track.codec())
    }

    /// How many pictures at most wait for others, as the newest parameter sets say.
    pub fn reorder(&self) -> Option<u32> {
        self.video.as_ref().and_then(|video| video.track.reorder())
    }

    /// The usual distance of pictures, once it has been seen.
    pub fn frame_interval(&self) -> Option<Duration> {
        let video = self.video.as_ref().filter(|video| !video.distances.is_empty())?;
        let micros = ticks_to_micros(video.usual_distance().into(), video.timescale);
        Some(Duration::from_micros(micros.unsigned_abs()))
    }

    /// What the camera sends, once it is known.
    pub fn facts(&self) -> Option<MediaFacts> {
        let video = self.video.as_ref()?;
        let configuration = video.track.configuration()?;
        let distance = u64::from(video.usual_distance());
        let rate = if video.distances.is_empty() { 0 } else { u64::from(video.timescale) * 1000 / distance };
        Some(MediaFacts {
            video_codec: configuration.codec.name().into(),
            width: configuration.width,
            height: configuration.height,
            frames_per_second_milli: u32::try_from(rate).unwrap_or(u32::MAX),
            audio_codec: self.audio.as_ref().map(|audio| audio.configuration.codec.name().into()),
        })
    }
}

/// Where effects are collected, and where names of runs come from.
pub struct Effects<'a> {
    /// What the hub is to be told.
    pub list: Vec<Effect>,
    /// Names the next run.
    pub name_run: &'a dyn Fn() -> RunId,
}

impl fmt::Debug for Effects<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Effects").field("list", &self.list).finish_non_exhaustive()
    }
}

impl Effects<'_> {
    fn publish(&mut self, configuration: &Arc<Configuration>, batch: &mut Vec<Frame>) {
        if batch.is_empty() {
            return;
        }
        if let Some(Effect::Publish(last, frames)) = self.list.last_mut()
            && Arc::ptr_eq(last, configuration)
        {
            frames.append(batch);
            return;
        }
        self.list.push(Effect::Publish(configuration.clone(), std::mem::take(batch)));
    }
}

#[cfg(test)]
#[path = "assembly_tests.rs"]
mod tests;
