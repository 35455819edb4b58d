//! The sound that a copy can carry: reads the sample entry of AAC (ISO/IEC 14496-3) or Opus. Must not decode sound.

use bytes::{BufMut as _, Bytes};
use thiserror::Error;

use super::fmp4::boxes::{write_box, write_full_box};
use super::fmp4::reader::Track;
use super::frame::{Codec, TrackConfiguration};
use super::nal::Bits;
use super::visual::{AUDIO_CHILDREN, entry_child};

/// Why sound cannot be carried.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// Not one of [`Codec`]; it must be encoded as AAC.
    #[error("sound in {0} is not carried by copy")]
    Unsupported(String),
    /// The sample entry is not laid out as its standard says.
    #[error("malformed sample entry of {0}")]
    Malformed(&'static str),
}

/// The configuration of a sound track.
pub fn configuration(track: &Track) -> Result<TrackConfiguration, Error> {
    let entry = &track.sample_entry;
    let kind = entry.get(4..8).ok_or(Error::Malformed("sound"))?;
    match kind {
        b"mp4a" => aac(track),
        b"Opus" => opus(track),
        other => Err(Error::Unsupported(String::from_utf8_lossy(other).trim().to_owned())),
    }
}

fn opus(track: &Track) -> Result<TrackConfiguration, Error> {
    let entry = &track.sample_entry;
    // Encapsulation of Opus in ISO BMFF §4.3.2: version, then the number of channels.
    let specific = entry_child(entry, AUDIO_CHILDREN, *b"dOps").ok_or(Error::Malformed("Opus"))?;
    let channels = u16::from(*specific.get(1).ok_or(Error::Malformed("Opus"))?);
    Ok(TrackConfiguration {
        codec: Codec::Opus,
        timescale: track.timescale,
        sample_entry: entry.clone(),
        codec_string: "opus".into(),
        width: 0,
        height: 0,
        sample_rate: 48_000,
        channels,
    })
}

fn aac(track: &Track) -> Result<TrackConfiguration, Error> {
    let (object_type, specific) =
        elementary_stream(&track.sample_entry, AUDIO_CHILDREN).ok_or(Error::Malformed("mp4a"))?;
    // ISO/IEC 14496-1 table 5: MPEG-4 audio, MPEG-2 AAC main, low complexity, scalable sampling rate.
    if !matches!(object_type, 0x40 | 0x66..=0x68) {
        return Err(Error::Unsupported(format!("mp4a.{object_type:02x}")));
    }
    let (kind, sample_rate, channels) = audio_specific(&specific).ok_or(Error::Malformed("mp4a"))?;
    Ok(TrackConfiguration {
        codec: Codec::Aac,
        timescale: track.timescale,
        sample_entry: track.sample_entry.clone(),
        codec_string: format!("mp4a.40.{kind}"),
        width: 0,
        height: 0,
        sample_rate,
        channels,
    })
}

/// Audio object type, sample rate and channels of an `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1).
fn audio_specific(bytes: &[u8]) -> Option<(u8, u32, u16)> {
    const RATES: [u32; 13] =
        [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
    let mut bits = Bits::new(bytes);
    let mut kind = bits.bits(5)? as u8;
    if kind == 31 {
        kind = 32 + bits.bits(6)? as u8;
    }
    let rate = match bits.bits(4)? {
        15 => bits.bits(24)? as u32,
        index => *RATES.get(index as usize)?,
    };
    let channels = match bits.bits(4)? as u16 {
        7 => 8,
        channels => channels,
    };
    (kind > 0 && rate > 0).then_some((kind, rate, channels))
}

/// The configuration of a track of AAC, low complexity, with this `AudioSpecificConfig`, which must be shorter than 80 bytes; its
/// times are in samples.
pub fn aac_configuration(specific: &[u8], rate: u32, channels: u16) -> TrackConfiguration {
    TrackConfiguration {
        codec: Codec::Aac,
        timescale: rate,
        sample_entry: aac_sample_entry(specific, rate, channels),
        codec_string: "mp4a.40.2".into(),
        width: 0,
        height: 0,
        sample_rate: rate,
        channels,
    }
}

/// The sample entry (`mp4a`, ISO/IEC 14496-14 §5.6) of AAC with this `AudioSpecificConfig`, which must be shorter than 80 bytes.
pub fn aac_sample_entry(specific: &[u8], rate: u32, channels: u16) -> Bytes {
    // Descriptors of ISO/IEC 14496-1 §7.2.6, from the innermost; lengths below 128 are one byte.
    let descriptor = |tag: u8, parts: &[&[u8]]| {
        let body = parts.concat();
        [[tag, body.len() as u8].as_slice(), &body].concat()
    };
    // MPEG-4 audio, a stream of sound, and three rates that nobody relies on.
    let decoder = descriptor(4, &[&[0x40, 0x15], &[0; 11], &descriptor(5, &[specific])]);
    let stream = descriptor(3, &[&[0, 0, 0], &decoder, &descriptor(6, &[&[2]])]);
    let mut entry = Vec::new();
    write_box(&mut entry, *b"mp4a", |out| {
        // ISO/IEC 14496-12 §12.2.3: the data is in this file, and a sample of it has 16 bits.
        out.put_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
        out.put_u64(0);
        out.put_u16(channels);
        out.put_u16(16);
        out.put_u32(0);
        out.put_u32(rate << 16);
        write_full_box(out, *b"esds", 0, 0, |out| out.put_slice(&stream));
    });
    entry.into()
}

/// Object type indication and decoder specific information of the `esds` box (ISO/IEC 14496-14 §5.6, descriptors of ISO/IEC
/// 14496-1 §7.2.6) among the children of a sample entry, which begin at `children`.
pub(super) fn elementary_stream(entry: &Bytes, children: usize) -> Option<(u8, Bytes)> {
    let esds = entry_child(entry, children, *b"esds")?;
    let stream = descriptor(&esds.slice(4.min(esds.len())..), 3)?;
    let flags = *stream.get(2)?;
    let mut at = 3;
    if flags & 0x80 != 0 {
        at += 2;
    }
    if flags & 0x40 != 0 {
        at += 1 + usize::from(*stream.get(at)?);
    }
    if flags & 0x20 != 0 {
        at += 2;
    }
    let decoder = descriptor(&stream.slice(at.min(stream.len())..), 4)?;
    let object_type = *decoder.first()?;
    let specific = decoder.get(13..).and_then(|_| descriptor(&decoder.slice(13..), 5)).unwrap_or_default();
    Some((object_type, specific))
}

/// The `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1) of a track of AAC.
pub fn aac_specific(track: &TrackConfiguration) -> Option<Bytes> {
    let (_, specific) = elementary_stream(&track.sample_entry, AUDIO_CHILDREN)?;
    Some(specific).filter(|specific| !specific.is_empty())
}

/// The body of the descriptor that `bytes` begins with, if it has that tag.
fn descriptor(bytes: &Bytes, tag: u8) -> Option<Bytes> {
    if *bytes.first()? != tag {
        return None;
    }
    let mut length = 0_usize;
    let mut at = 1;
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        length = length << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
        if at > 4 {
            return None;
        }
    }
    bytes.get(at..at + length)?;
    Some(bytes.slice(at..at + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::fmp4::reader::Handler;

    #[test]
    fn a_sample_entry_that_is_written_is_read() {
        let entry = aac_sample_entry(&[0x14, 0x08], 16_000, 1);
        assert_eq!(entry.len(), usize::from(entry[3]));
        let track = Track::new(2, Handler::Audio, 16_000, 0, entry);
        let read = configuration(&track).expect("AAC");
        assert_eq!((read.codec_string.as_str(), read.sample_rate, read.channels), ("mp4a.40.2", 16_000, 1));
    }

    #[test]
    fn an_audio_specific_configuration_gives_rate_and_channels() {
        assert_eq!(audio_specific(&[0x12, 0x08, 0x56, 0xe5, 0x00]), Some((2, 44_100, 1)));
        assert_eq!(audio_specific(&[0x15, 0x88]), Some((2, 8_000, 1)));
        assert_eq!(audio_specific(&[0x12]), None);
    }
}
