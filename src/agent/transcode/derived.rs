//! What comes out of one encoder becomes frames in a hub of its own, at the times of the camera, with the camera's sound beside
//! them. No IO; must not know how many encoders there are.

use std::collections::VecDeque;
use std::sync::Arc;

use super::timeline::{Sound, Timeline};
use crate::agent::hub::{Ending, Hub};
use crate::media::access_unit::{self, VideoTrack};
use crate::media::fmp4::reader::{Event, Handler};
use crate::media::frame::{Configuration, Frame, FrameKind, RunId, TrackConfiguration, TrackKind};

/// Sound that waits for its pictures: more than an encoder is ever late by.
const MOST_SOUND: usize = 4096;

/// A run that is being published.
#[derive(Debug)]
struct Run {
    id: RunId,
    sequence: u64,
    configuration: Arc<Configuration>,
}

/// Sound at its place.
#[derive(Debug)]
struct Heard {
    at: Sound,
    frame: Arc<Frame>,
    track: Arc<TrackConfiguration>,
}

/// One rendition.
#[derive(Debug)]
pub struct Derived {
    hub: Arc<Hub>,
    /// The encoder's track, once it is known, and its number and offset.
    track: Option<(VideoTrack, u32, i64)>,
    run: Option<Run>,
    sound: VecDeque<Heard>,
    /// From when on, in the encoder's time, which sound is beside the pictures.
    tracks: VecDeque<(i64, Option<Arc<TrackConfiguration>>)>,
    audio: Option<Arc<TrackConfiguration>>,
    /// How runs will end, once their pictures up to these times have come.
    endings: VecDeque<(i64, Ending)>,
    /// Pictures published.
    pub pictures: u64,
}

impl Derived {
    /// One that publishes in `hub`.
    pub const fn new(hub: Arc<Hub>) -> Self {
        Self {
            hub,
            track: None,
            run: None,
            sound: VecDeque::new(),
            tracks: VecDeque::new(),
            audio: None,
            endings: VecDeque::new(),
            pictures: 0,
        }
    }

    /// From this moment of the encoder's time on, that sound is beside the pictures.
    pub fn expect(&mut self, from: i64, track: Option<Arc<TrackConfiguration>>) {
        self.tracks.push_back((from, track));
    }

    /// Takes sound of the camera.
    pub fn hear(&mut self, at: Sound, frame: &Arc<Frame>, track: &Arc<TrackConfiguration>) {
        if self.sound.len() == MOST_SOUND {
            self.sound.pop_front();
        }
        self.sound.push_back(Heard { at, frame: frame.clone(), track: track.clone() });
    }

    /// The camera's run ends there in the encoder's time: readers are told when its pictures have come.
    pub fn end_at(&mut self, end: i64, ending: Ending) {
        self.endings.push_back((end, ending));
    }

    /// Tells readers of an end without waiting any longer.
    pub fn end_now(&mut self) {
        while let Some((end, ending)) = self.endings.pop_front() {
            self.end(end, ending);
        }
    }

    fn end(&mut self, end: i64, ending: Ending) {
        let configuration = self.run.as_ref().filter(|run| run.id == ending.run).map(|run| run.configuration.clone());
        if let Some(configuration) = configuration {
            let rest = self.sound_until(end, &configuration);
            self.publish(rest);
        }
        self.sound.retain(|heard| heard.at.run != ending.run);
        if self.run.as_ref().is_none_or(|run| run.id == ending.run) {
            self.run = None;
            self.hub.end_run(ending);
        }
    }

    /// Ends whatever run there is: the encoder is gone.
    pub fn break_off(&mut self, ending: impl FnOnce(Option<RunId>) -> Ending) {
        self.end_now();
        self.sound.clear();
        self.tracks.clear();
        (self.track, self.audio) = (None, None);
        let run = self.run.take().map(|run| run.id);
        self.hub.end_run(ending(run));
    }

    /// Takes what the encoder's process wrote. Returns for how many ticks the picture is shown that was published, if one was.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn take(&mut self, event: Event, timeline: &Timeline) -> Result<Option<u32>, access_unit::Error> {
        match event {
            Event::Tracks(tracks) => {
                let track = tracks.iter().find(|track| track.handler == Handler::Video);
                let track = track.ok_or_else(|| access_unit::Error::Unsupported("no video track".into()))?;
                self.track = Some((VideoTrack::new(track)?, track.id, track.edit_offset));
            }
            Event::Sample(sample) => {
                let Some((track, _, edit)) = self.track.as_mut().filter(|(_, id, _)| *id == sample.track) else {
                    return Ok(None);
                };
                let picture = track.accept(&sample.payload)?;
                let Some(video) = track.configuration().cloned() else { return Ok(None) };
                let decode = i64::try_from(sample.decode_time).unwrap_or(i64::MAX).saturating_add(*edit);
                let shown = decode.saturating_add(sample.composition_offset.into());
                while let Some((end, ending)) = self.endings.pop_front_if(|(end, _)| shown >= *end) {
                    self.end(end, ending);
                }
                let Some(found) = timeline.find(shown) else { return Ok(None) };
                let configuration = self.configure(found.run, &video, shown);
                let mut frames = self.sound_until(shown, &configuration);
                let duration = i64::from(sample.duration);
                let duration = found.left.map_or(duration, |left| duration.min(left)).max(1);
                let duration = u32::try_from(duration).unwrap_or(u32::MAX);
                frames.push(Frame {
                    run: found.run,
                    sequence: 0,
                    track: TrackKind::Video,
                    decode_time: found.presentation - i64::from(sample.composition_offset),
                    composition_offset: sample.composition_offset,
                    duration,
                    kind: picture.kind,
                    generation: 0,
                    utc: found.utc,
                    payload: picture.payload,
                });
                self.pictures += 1;
                self.publish(frames);
                return Ok(Some(duration));
            }
            Event::Message { .. } => {}
        }
        Ok(None)
    }

    /// The configuration of the run that a picture belongs to.
    fn configure(&mut self, run: RunId, video: &Arc<TrackConfiguration>, shown: i64) -> Arc<Configuration> {
        while let Some((_, track)) = self.tracks.pop_front_if(|(from, _)| *from <= shown) {
            self.audio = track;
        }
        if let Some(known) = self.run.as_mut().filter(|known| known.id == run) {
            let current = &known.configuration;
            // What stands in for the camera may be silent: that is no other configuration.
            let audio = self.audio.clone().or_else(|| current.audio.clone());
            if current.video != *video || current.audio != audio {
                let generation = current.generation + 1;
                known.configuration = Arc::new(Configuration { generation, video: video.clone(), audio });
            }
            return known.configuration.clone();
        }
        let configuration = Configuration { generation: 0, video: video.clone(), audio: self.audio.clone() };
        let configuration = Arc::new(configuration);
        self.run = Some(Run { id: run, sequence: 0, configuration: configuration.clone() });
        configuration
    }

    /// The sound that is heard up to a time, of the configuration that is published.
    fn sound_until(&mut self, end: i64, configuration: &Configuration) -> Vec<Frame> {
        let mut frames = Vec::new();
        let Some(run) = self.run.as_ref().map(|run| run.id) else { return frames };
        while let Some(heard) = self.sound.front().filter(|heard| heard.at.heard <= end) {
            let fits = heard.at.run == run && configuration.audio.as_ref() == Some(&heard.track);
            let decode_time = heard.frame.decode_time + heard.at.offset;
            if fits && decode_time >= 0 {
                let frame = Frame { run, decode_time, kind: FrameKind::Key, ..Frame::clone(&heard.frame) };
                frames.push(frame);
            }
            self.sound.pop_front();
        }
        frames
    }

    fn publish(&mut self, mut frames: Vec<Frame>) {
        let Some(run) = &mut self.run else { return };
        for frame in &mut frames {
            frame.sequence = run.sequence;
            frame.generation = run.configuration.generation;
            run.sequence += 1;
        }
        self.hub.publish(&run.configuration, frames);
    }
}
