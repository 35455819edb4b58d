//! Makes AAC of raw sound (G.711, PCM), a camera's packets at a time. No IO and no clock. Must not know where sound comes from.

use std::fmt;

use bytes::Bytes;
use syom::{AacError, EncodeOptions};

use super::doubler::Doubler;
use super::raw_sound::{Fed, Feed, Raw};

/// Samples of an access unit (ISO/IEC 14496-3 §4.5.2.1.1), which is also what the first one is late by: each needs the one before it.
pub const FRAME: u32 = 1024;
/// Sound with fewer samples a second is more than some players take: it is made twice as fine.
const FINE: u32 = 16_000;
/// Bits a second of a channel, for speech and for all else.
const BITS: (u32, u32) = (32_000, 64_000);

/// Samples a second of what comes out.
pub const fn rate(raw: Raw) -> u32 {
    if raw.rate < FINE { raw.rate * 2 } else { raw.rate }
}

/// An encoder for one unbroken piece of sound.
pub struct Encoder {
    feed: Feed,
    raw: Raw,
    /// One for each channel, where the sound is made finer.
    doublers: Vec<Doubler>,
    aac: syom::Encoder,
    /// Media time of the next access unit, in samples of what comes out.
    next: i64,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Encoder").field("raw", &self.raw).field("next", &self.next).finish_non_exhaustive()
    }
}

/// What came of a packet.
#[derive(Debug)]
pub enum Encoded {
    /// Access units, and the media time of each, in samples of what comes out.
    Units(Vec<(i64, Bytes)>),
    /// The packet has nothing to do with what came before: another encoder is to begin with it.
    Anew,
}

impl Encoder {
    /// Begins at a media time, in samples of the raw sound.
    ///
    /// # Errors
    /// When the library does not encode sound of this rate.
    pub fn new(raw: Raw, begin: i64) -> Result<Self, AacError> {
        let (rate, channels) = (rate(raw), u32::from(raw.channels));
        let bits = channels * if rate > FINE { BITS.1 } else { BITS.0 };
        let aac = syom::Encoder::new(rate, raw.channels.into(), &EncodeOptions::raw().with_bitrate_bps(bits))?;
        let doubled = rate != raw.rate;
        let doublers = if doubled { (0..raw.channels).map(|_| Doubler::default()).collect() } else { Vec::new() };
        let late = i64::from(FRAME) + if doubled { Doubler::DELAY } else { 0 };
        let first = begin.saturating_mul(if doubled { 2 } else { 1 });
        Ok(Self { feed: Feed::new(raw, begin), raw, doublers, aac, next: first.saturating_sub(late) })
    }

    /// The `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1) of what comes out.
    pub fn specific(&self) -> &[u8] {
        self.aac.asc()
    }

    /// Takes a packet whose first sample stands at a media time, in samples of the raw sound.
    ///
    /// # Errors
    /// What the library says.
    pub fn take(&mut self, time: i64, data: &[u8]) -> Result<Encoded, AacError> {
        let bytes = match self.feed.take(time, data) {
            Fed::Bytes(bytes) => bytes,
            Fed::Nothing => return Ok(Encoded::Units(Vec::new())),
            Fed::Anew => return Ok(Encoded::Anew),
        };
        let mut planes = self.raw.planes(&bytes);
        for (plane, doubler) in planes.iter_mut().zip(&mut self.doublers) {
            *plane = doubler.double(plane);
        }
        let planes: Vec<&[f32]> = planes.iter().map(Vec::as_slice).collect();
        let (mut units, next) = (Vec::new(), &mut self.next);
        self.aac.feed(&planes, |frame| {
            units.push((*next, Bytes::copy_from_slice(frame.payload)));
            *next += i64::from(FRAME);
            Ok(())
        })?;
        Ok(Encoded::Units(units))
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// G.711 (µ-law, ITU-T G.711 §3.2) of a tone of 440 Hz, half as loud as can be.
    fn tone(samples: usize) -> (Vec<u8>, Vec<f64>) {
        let wave: Vec<f64> = (0..samples).map(|at| 0.5 * (TAU * 440.0 * at as f64 / 8000.0).sin()).collect();
        let code = |value: &f64| {
            let magnitude = ((value.abs() * 32_768.0) as i32 + 132).min(32_767);
            let exponent = (magnitude.ilog2() - 7) as u8;
            let mantissa = (magnitude >> (exponent + 3)) as u8 & 0x0f;
            !(u8::from(*value < 0.0) << 7 | exponent << 4 | mantissa)
        };
        (wave.iter().map(code).collect(), wave)
    }

    #[test]
    fn what_comes_out_is_what_went_in_at_the_same_time() {
        let raw = Raw::of("pcmu", 8000, 1).expect("raw");
        let (bytes, wave) = tone(8000);
        let mut encoder = Encoder::new(raw, 4000).expect("a rate that AAC has");
        let mut units = Vec::new();
        for (number, packet) in bytes.chunks(160).enumerate() {
            match encoder.take(4000 + number as i64 * 160, packet).expect("encoded") {
                Encoded::Units(more) => units.extend(more),
                Encoded::Anew => panic!("it is one piece"),
            }
        }
        assert_eq!(units[0].0, 8000 - 1024 - Doubler::DELAY);
        assert!(units.windows(2).all(|pair| pair[1].0 - pair[0].0 == 1024));
        // By another reader of the same format: is the tone where its time says?
        let adts: Vec<u8> =
            units.iter().flat_map(|(_, unit)| syom::wrap_adts_au(unit, 16_000, 1).expect("fits")).collect();
        let decoded = syom::decode_with(&adts, &syom::DecodeOptions::audio()).expect("AAC");
        assert_eq!(decoded.sample_rate, 16_000);
        let at = |sample: i64| decoded.channels[0][usize::try_from(sample - units[0].0).expect("within")];
        for sample in 2000..7000 {
            // The decoder's own delay of a frame is part of the first unit's time.
            let heard = f64::from(at(2 * (4000 + sample)));
            let meant = wave[usize::try_from(sample).expect("positive")];
            assert!((heard - meant).abs() < 0.03, "sample {sample} is {heard}, not {meant}");
        }
    }

    #[test]
    fn a_long_hole_begins_anew() {
        let raw = Raw::of("l16", 44_100, 2).expect("raw");
        let mut encoder = Encoder::new(raw, 0).expect("a rate that AAC has");
        assert_eq!(rate(raw), 44_100);
        assert!(matches!(encoder.take(0, &[0; 4096]), Ok(Encoded::Units(units)) if units.len() == 1));
        assert!(matches!(encoder.take(44_100 * 60, &[0; 4096]), Ok(Encoded::Anew)));
    }
}
