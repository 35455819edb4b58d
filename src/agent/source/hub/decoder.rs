//! One body of another agent's `live.mp4` → frames under the names that they have there. No IO. What the agent did not write
//! is refused. Must not decide what follows from an end.

use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;

use crate::agent::hub::Ending;
use crate::agent::output::live_mp4::ENDING_SCHEME;
use crate::media::access_unit::VideoTrack;
use crate::media::audio;
use crate::media::fmp4::reader::{self, Event, Handler, Limits, Reader, Sample, Track};
use crate::media::frame::{Codec, Configuration, Frame, FrameKind, RunId, TrackConfiguration, TrackKind, UtcMicros};
use crate::media::visual::VISUAL_WIDTH;
use crate::plan::report::Reason;

/// Why a body cannot be read.
#[derive(Debug, Error)]
pub enum Error {
    /// No fragmented MP4.
    #[error("{0}")]
    Mp4(#[from] reader::Error),
    /// Fragmented MP4, but not as an agent writes it.
    #[error("not as an agent writes it: {0}")]
    Other(&'static str),
}

/// What a body says first, in its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The run that it is of.
    pub run: RunId,
    /// The configuration generation that it is of.
    pub generation: u32,
    /// Sequence of its first frame.
    pub sequence: u64,
}

/// What was read.
#[derive(Debug)]
pub enum Piece {
    /// A frame, and the configuration that it needs.
    Frame(Arc<Configuration>, Frame),
    /// The run has ended.
    Ended(Ending),
}

/// The data of an [`ENDING_SCHEME`] message.
#[derive(Debug, Deserialize)]
struct EndingData {
    run: RunId,
    reason: serde_json::Value,
    message: String,
    at: UtcMicros,
}

#[derive(Debug)]
struct Tracks {
    configuration: Arc<Configuration>,
    video: u32,
    audio: Option<u32>,
}

/// Reads one body.
#[derive(Debug)]
pub struct Decoder {
    reader: Reader,
    begin: Begin,
    tracks: Option<Tracks>,
    /// Sequence of the newest frame.
    sequence: Option<u64>,
}

impl Decoder {
    /// For a body that begins like this.
    pub fn new(begin: Begin) -> Self {
        Self { reader: Reader::new(Limits::default()), begin, tracks: None, sequence: None }
    }

    /// Takes the next bytes and hands out what is whole.
    ///
    /// # Errors
    /// When the rest of the body is of no use.
    pub fn take(&mut self, bytes: &[u8], mut hand_out: impl FnMut(Piece)) -> Result<(), Error> {
        self.reader.feed(bytes);
        while let Some(event) = self.reader.next_event()? {
            match event {
                Event::Tracks(tracks) => self.tracks = Some(self.read_tracks(&tracks)?),
                Event::Sample(sample) => {
                    if let Some(piece) = self.frame(sample)? {
                        hand_out(piece);
                    }
                }
                Event::Message { scheme, data } if scheme == ENDING_SCHEME => {
                    hand_out(Piece::Ended(ending(&data)?));
                }
                Event::Message { .. } => {}
            }
        }
        Ok(())
    }

    fn read_tracks(&self, tracks: &[Track]) -> Result<Tracks, Error> {
        let of = |handler| tracks.iter().find(|track| track.handler == handler);
        let video = of(Handler::Video).ok_or(Error::Other("no pictures"))?;
        let audio = of(Handler::Audio);
        let sound = audio.map(audio::configuration).transpose().map_err(|_| Error::Other("unknown sound"))?;
        let configuration = Arc::new(Configuration {
            generation: self.begin.generation,
            video: Arc::new(picture_configuration(video)?),
            audio: sound.map(Arc::new),
        });
        Ok(Tracks { configuration, video: video.id, audio: audio.map(|track| track.id) })
    }

    fn frame(&mut self, sample: Sample) -> Result<Option<Piece>, Error> {
        let tracks = self.tracks.as_ref().ok_or(Error::Other("a frame before the header"))?;
        let track = match sample.track {
            id if id == tracks.video => TrackKind::Video,
            id if Some(id) == tracks.audio => TrackKind::Audio,
            _ => return Ok(None),
        };
        // The fragment's number is the low half of the sequence; it only grows.
        let sequence = match self.sequence {
            None => self.begin.sequence,
            Some(last) => last + u64::from(sample.fragment.wrapping_sub(last as u32)),
        };
        self.sequence = Some(sequence);
        let frame = Frame {
            run: self.begin.run,
            sequence,
            track,
            decode_time: i64::try_from(sample.decode_time).map_err(|_| Error::Other("a time out of range"))?,
            composition_offset: sample.composition_offset,
            duration: sample.duration,
            kind: if sample.sync { FrameKind::Key } else { FrameKind::Delta },
            generation: self.begin.generation,
            utc: sample.producer_time.ok_or(Error::Other("a frame without its time of capture"))?,
            payload: sample.payload,
        };
        Ok(Some(Piece::Frame(tracks.configuration.clone(), frame)))
    }
}

/// The sample entry as it is, and what its writer knew from the parameter sets in it.
fn picture_configuration(track: &Track) -> Result<TrackConfiguration, Error> {
    let video = VideoTrack::new(track).map_err(|_| Error::Other("unknown pictures"))?;
    if let Some(known) = video.configuration() {
        return Ok(TrackConfiguration { sample_entry: track.sample_entry.clone(), ..TrackConfiguration::clone(known) });
    }
    let size = |at: usize| track.sample_entry.get(at..at + 2).map(|size| u32::from(size[0]) << 8 | u32::from(size[1]));
    match (video.codec(), size(VISUAL_WIDTH), size(VISUAL_WIDTH + 2)) {
        (Codec::Mjpeg, Some(width), Some(height)) => Ok(TrackConfiguration {
            codec: Codec::Mjpeg,
            timescale: track.timescale,
            sample_entry: track.sample_entry.clone(),
            codec_string: String::new(),
            width,
            height,
            sample_rate: 0,
            channels: 0,
        }),
        _ => Err(Error::Other("pictures without their parameters")),
    }
}

fn ending(data: &[u8]) -> Result<Ending, Error> {
    let data: EndingData = serde_json::from_slice(data).map_err(|_| Error::Other("an end that is not told right"))?;
    // A reason that is not known here is a newer agent's; what is certain is that the camera gives nothing.
    let reason = serde_json::from_value(data.reason).unwrap_or(Reason::CameraUnavailable);
    Ok(Ending { run: data.run, reason, message: data.message, at: data.at })
}
