//! Makes samples of the access units that cameras send. No IO and no clock. Must not know what is made of the samples.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use opus_decoder::{OpusDecoder, OpusError};
use syom::{AacError, ChannelMode, DecodeOptions};
use thiserror::Error;

use crate::media::audio::aac_specific;
use crate::media::frame::{Codec, TrackConfiguration};

/// Opus counts its samples at this rate, whatever was recorded (RFC 6716 §2).
const OPUS_RATE: u32 = 48_000;
/// The most channels that are kept apart; more become one.
const MOST_CHANNELS: u16 = 2;

/// Why sound cannot be decoded.
#[derive(Debug, Error)]
pub enum SoundError {
    /// AAC that the library does not know, or that is damaged.
    #[error("{0}")]
    Aac(#[from] AacError),
    /// Opus of a layout that the library does not know, or that is damaged.
    #[error("{0}")]
    Opus(#[from] OpusError),
    /// So damaged that the library loses its footing.
    #[error("it is damaged")]
    Damaged,
    /// It has no configuration, or is of a codec for which there is no decoder.
    #[error("there is no decoder for it")]
    Unknown,
}

/// Samples of each channel, between -1 and 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// A second.
    pub rate: u32,
    /// One for each channel, of the same length.
    pub planes: Vec<Vec<f32>>,
}

/// A decoder of one track.
pub enum Decoder {
    /// Of AAC: low complexity and high efficiency.
    Aac(Box<syom::Decoder>),
    /// Of Opus, and room for what comes out.
    Opus(Box<OpusDecoder>, Vec<f32>),
}

impl fmt::Debug for Decoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Aac(_) => "Decoder::Aac",
            Self::Opus(..) => "Decoder::Opus",
        })
    }
}

impl Decoder {
    /// One for a track.
    ///
    /// # Errors
    /// When there is none for it.
    pub fn new(track: &TrackConfiguration) -> Result<Self, SoundError> {
        match track.codec {
            Codec::Aac => {
                let specific = aac_specific(track).ok_or(SoundError::Unknown)?;
                let mode = if track.channels > MOST_CHANNELS { ChannelMode::Mono } else { ChannelMode::Split };
                // A camera sends for ever.
                let options = DecodeOptions::unbounded().with_channel_mode(mode);
                Ok(Self::Aac(Box::new(syom::Decoder::from_asc(&specific, options)?)))
            }
            Codec::Opus => {
                let decoder = OpusDecoder::new(OPUS_RATE, track.channels.into())?;
                let room = decoder.max_frame_size_per_channel() * usize::from(track.channels);
                Ok(Self::Opus(Box::new(decoder), vec![0.0; room]))
            }
            Codec::H264 | Codec::H265 | Codec::Mjpeg => Err(SoundError::Unknown),
        }
    }

    /// Decodes an access unit. After an error another decoder has to take its place.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn decode(&mut self, unit: &[u8]) -> Result<Samples, SoundError> {
        // The libraries are young, and count on units that an encoder made: what a line or a camera has damaged must not end
        // more than this decoder.
        catch_unwind(AssertUnwindSafe(|| self.try_decode(unit))).map_err(|_| SoundError::Damaged)?
    }

    fn try_decode(&mut self, unit: &[u8]) -> Result<Samples, SoundError> {
        match self {
            Self::Aac(decoder) => {
                let mut samples = Samples { rate: 0, planes: Vec::new() };
                decoder.decode_au(unit, |frame| {
                    samples.rate = frame.sample_rate;
                    samples.planes.resize(frame.planar.len(), Vec::new());
                    for (plane, more) in samples.planes.iter_mut().zip(frame.planar) {
                        plane.extend_from_slice(more);
                    }
                    Ok(())
                })?;
                Ok(samples)
            }
            Self::Opus(decoder, room) => {
                let channels = room.len() / decoder.max_frame_size_per_channel().max(1);
                let count = if unit.is_empty() { 0 } else { decoder.decode_float(unit, room, false)? };
                let of = |channel: usize| room.iter().skip(channel).step_by(channels).take(count).copied().collect();
                Ok(Samples { rate: OPUS_RATE, planes: (0..channels).map(of).collect() })
            }
        }
    }
}
