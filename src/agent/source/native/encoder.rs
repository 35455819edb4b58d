//! Makes AAC of raw sound (G.711, PCM), a camera's packets at a time. No IO and no clock. Must not know where sound comes from.

use syom::AacError;

use super::doubler::Doubler;
use super::raw_sound::Raw;
use crate::agent::sound::encoder;
pub use crate::agent::sound::encoder::{Encoded, FRAME};

/// Sound with fewer samples a second is more than some players take: it is made twice as fine.
const FINE: u32 = 16_000;
/// Bits a second of a channel, for speech and for all else.
const BITS: (u32, u32) = (32_000, 64_000);

/// Samples a second of what comes out.
pub const fn rate(raw: Raw) -> u32 {
    if raw.rate < FINE { raw.rate * 2 } else { raw.rate }
}

/// An encoder for one unbroken piece of sound.
#[derive(Debug)]
pub struct Encoder {
    raw: Raw,
    /// One for each channel, where the sound is made finer.
    doublers: Vec<Doubler>,
    aac: encoder::Encoder,
}

impl Encoder {
    /// Begins at a media time, in samples of the raw sound.
    ///
    /// # Errors
    /// When the library does not encode sound of this rate.
    pub fn new(raw: Raw, begin: i64) -> Result<Self, AacError> {
        let rate = rate(raw);
        let bits = u32::from(raw.channels) * if rate > FINE { BITS.1 } else { BITS.0 };
        let aac = encoder::Encoder::new(rate, raw.channels, bits.into(), time(raw, begin))?;
        let doubled = rate != raw.rate;
        let doublers = if doubled { (0..raw.channels).map(|_| Doubler::default()).collect() } else { Vec::new() };
        Ok(Self { raw, doublers, aac })
    }

    /// The `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1) of what comes out.
    pub fn specific(&self) -> &[u8] {
        self.aac.specific()
    }

    /// Takes a packet whose first sample stands at a media time, in samples of the raw sound.
    ///
    /// # Errors
    /// What the library says.
    pub fn take(&mut self, begin: i64, data: &[u8]) -> Result<Encoded, AacError> {
        let mut planes = self.raw.planes(data);
        for (plane, doubler) in planes.iter_mut().zip(&mut self.doublers) {
            *plane = doubler.double(plane);
        }
        self.aac.take(time(self.raw, begin), &mut planes)
    }
}

/// The media time, in samples of what comes out, of what is made of a raw sample.
fn time(raw: Raw, begin: i64) -> i64 {
    if rate(raw) == raw.rate { begin } else { begin.saturating_mul(2).saturating_sub(Doubler::DELAY) }
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
