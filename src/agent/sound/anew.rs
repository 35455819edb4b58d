//! What a hub's reader gave, with other sound: each access unit of the camera's is decoded and encoded as AAC of the wanted bit
//! rate. Sound comes out an access unit or two after the pictures that it is heard with, at its own time. No IO and no clock.

use std::sync::Arc;

use bytes::Bytes;
use syom::AacError;

use super::decoder::{Decoder, Samples, SoundError};
use super::encoder::{Encoded, Encoder, FRAME};
use crate::agent::hub::Event;
use crate::media::audio::aac_configuration;
use crate::media::clock::ticks_to_micros;
use crate::media::frame::{Configuration, Frame, FrameKind, RunId, TrackConfiguration, TrackKind};

/// What samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    rate: u32,
    channels: u16,
}

impl Shape {
    /// What a track says of itself; of high-efficiency AAC that may be half of the truth.
    fn of(track: &TrackConfiguration) -> Self {
        Self { rate: track.sample_rate.max(1), channels: if track.channels == 2 { 2 } else { 1 } }
    }
}

/// The camera's track, and what becomes of it.
#[derive(Debug)]
struct Track {
    camera: Arc<TrackConfiguration>,
    shape: Shape,
    /// What is told of it.
    encoded: Arc<TrackConfiguration>,
    decoder: Option<Decoder>,
    encoder: Option<Encoder>,
}

/// See the module.
#[derive(Debug)]
pub struct Anew {
    /// Bits a second of all channels.
    bits: u64,
    run: Option<RunId>,
    /// As the camera's frames need it.
    configuration: Option<Arc<Configuration>>,
    track: Option<Track>,
    /// Configurations of the run that were told of because of the sound alone.
    more: u32,
    problem: Option<String>,
}

impl Anew {
    /// Encodes with so many bits a second, or as many as the standard allows.
    pub const fn new(bits: u64) -> Self {
        Self { bits, run: None, configuration: None, track: None, more: 0, problem: None }
    }

    /// Why the sound is left out, if it is.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Whoever reads begins again with what comes next.
    pub fn begin_again(&mut self) {
        if let Some(track) = &mut self.track {
            (track.decoder, track.encoder) = (None, None);
        }
    }

    /// Takes what came; gives what becomes of it.
    pub fn take(&mut self, events: Vec<Event>) -> Vec<Event> {
        let mut out = Vec::with_capacity(events.len());
        for event in events {
            match event {
                Event::Configuration { run, configuration } => out.push(self.configure(run, &configuration)),
                Event::Frame(frame) if frame.track == TrackKind::Audio => self.sound(&frame, &mut out),
                other => out.push(other),
            }
        }
        out
    }

    fn configure(&mut self, run: RunId, configuration: &Arc<Configuration>) -> Event {
        if self.run.replace(run) != Some(run) {
            self.more = 0;
            self.begin_again();
        }
        let known = self.track.take();
        self.track = configuration.audio.as_ref().and_then(|camera| match known {
            // Its shape is known, and within a run it just goes on.
            Some(known) if known.camera == *camera => Some(known),
            _ => self.begin(camera, Shape::of(camera)),
        });
        self.configuration = Some(configuration.clone());
        self.told(run, configuration)
    }

    /// What readers are told of a configuration.
    fn told(&self, run: RunId, camera: &Configuration) -> Event {
        let configuration = Configuration {
            generation: camera.generation + self.more,
            video: camera.video.clone(),
            audio: self.track.as_ref().map(|track| track.encoded.clone()),
        };
        Event::Configuration { run, configuration: Arc::new(configuration) }
    }

    fn begin(&mut self, camera: &Arc<TrackConfiguration>, shape: Shape) -> Option<Track> {
        let track = Decoder::new(camera).and_then(|decoder| {
            let encoder = Encoder::new(shape.rate, shape.channels, self.bits, 0)?;
            let encoded = Arc::new(aac_configuration(encoder.specific(), shape.rate, shape.channels));
            Ok(Track { camera: camera.clone(), shape, encoded, decoder: Some(decoder), encoder: None })
        });
        self.problem = track.as_ref().err().map(|error: &SoundError| {
            format!(
                "the sound is left out, because the camera's {} cannot be made other AAC: {error}",
                camera.codec.name()
            )
        });
        track.ok()
    }

    fn sound(&mut self, frame: &Frame, out: &mut Vec<Event>) {
        let Some(track) = self.track.as_mut().filter(|_| self.run == Some(frame.run)) else { return };
        let Some(samples) = decode(track, &frame.payload) else { return };
        let channels = u16::try_from(samples.planes.len()).unwrap_or(u16::MAX);
        let shape = Shape { rate: samples.rate, channels };
        if shape != track.shape {
            let (camera, decoder) = (track.camera.clone(), track.decoder.take());
            self.track = self.begin(&camera, shape);
            let (Some(run), Some(configuration)) = (self.run, self.configuration.clone()) else { return };
            self.more += 1;
            out.push(self.told(run, &configuration));
            let Some(track) = &mut self.track else { return };
            track.decoder = decoder;
        }
        let bits = self.bits;
        let Some(track) = &mut self.track else { return };
        let time = i128::from(frame.decode_time) * i128::from(shape.rate) / i128::from(track.camera.timescale.max(1));
        let time = time as i64;
        let units = match encode(track, bits, time, samples) {
            Ok(units) => units,
            Err(error) => {
                tracing::debug!(%error, "sound was not encoded");
                track.encoder = None;
                return;
            }
        };
        // Of a unit before the beginning of the run nothing is heard.
        for (at, payload) in units.into_iter().filter(|(at, _)| *at >= 0) {
            out.push(Event::Frame(Arc::new(Frame {
                decode_time: at,
                composition_offset: 0,
                duration: FRAME,
                kind: FrameKind::Key,
                utc: frame.utc.plus_micros(ticks_to_micros(at - time, shape.rate)),
                payload,
                ..*frame
            })));
        }
    }
}

/// The samples of an access unit; nothing of one that is damaged, whose place becomes silent.
fn decode(track: &mut Track, unit: &[u8]) -> Option<Samples> {
    let decoder = match &mut track.decoder {
        Some(decoder) => decoder,
        none => none.insert(Decoder::new(&track.camera).ok()?),
    };
    match decoder.decode(unit) {
        Ok(samples) => Some(samples).filter(|samples| samples.planes.first().is_some_and(|plane| !plane.is_empty())),
        Err(error) => {
            tracing::debug!(%error, "sound was not decoded");
            track.decoder = None;
            None
        }
    }
}

/// Access units of samples, by an encoder that is begun when there is none, or none that can go on.
fn encode(track: &mut Track, bits: u64, time: i64, mut samples: Samples) -> Result<Vec<(i64, Bytes)>, AacError> {
    for _ in 0..2 {
        let encoder = match &mut track.encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::new(track.shape.rate, track.shape.channels, bits, time)?),
        };
        match encoder.take(time, &mut samples.planes)? {
            Encoded::Units(units) => return Ok(units),
            Encoded::Anew => track.encoder = None,
        }
    }
    Ok(Vec::new())
}
