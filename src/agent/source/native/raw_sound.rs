//! Sound without frames of its own (G.711, PCM): what its bytes mean. Pure. Must not encode anything.

/// What the bytes of a sample mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// ITU-T G.711 µ-law.
    MuLaw,
    /// ITU-T G.711 A-law.
    ALaw,
    /// 16 bits, signed, the upper byte first.
    Signed16,
    /// 8 bits; silence is in the middle.
    Unsigned8,
}

/// What the sound is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw {
    coding: Coding,
    /// Samples a second.
    pub rate: u32,
    /// Channels.
    pub channels: u16,
    /// Bytes of a sample of one channel.
    bytes: usize,
}

impl Raw {
    /// By the name that SDP has for it (RFC 3551 §6), in lower case; `None` for what is not raw sound, or has more than two
    /// channels.
    pub fn of(encoding: &str, rate: u32, channels: u16) -> Option<Self> {
        let (coding, bytes) = match encoding {
            "pcmu" => (Coding::MuLaw, 1),
            "pcma" => (Coding::ALaw, 1),
            "l16" => (Coding::Signed16, 2),
            "u8" => (Coding::Unsigned8, 1),
            _ => return None,
        };
        (channels <= 2).then(|| Self { coding, rate: rate.max(1), channels: channels.max(1), bytes })
    }

    fn block(&self) -> usize {
        self.bytes * usize::from(self.channels)
    }

    /// The samples of each channel, between -1 and 1.
    pub fn planes(&self, bytes: &[u8]) -> Vec<Vec<f32>> {
        let channel = |channel: usize| {
            let samples = bytes.chunks_exact(self.block()).map(move |block| &block[channel * self.bytes..]);
            samples.map(|sample| f32::from(self.coding.linear(sample)) / 32_768.0).collect()
        };
        (0..usize::from(self.channels)).map(channel).collect()
    }
}

impl Coding {
    /// The sample that `bytes` begins with, in 16 bits.
    fn linear(self, bytes: &[u8]) -> i16 {
        match (self, bytes) {
            (Self::MuLaw, [code, ..]) => {
                let code = !code;
                let magnitude = ((i16::from(code & 0x0f) << 3) + 132) << (code >> 4 & 7);
                let magnitude = magnitude - 132;
                if code & 0x80 == 0 { magnitude } else { -magnitude }
            }
            (Self::ALaw, [code, ..]) => {
                let code = code ^ 0x55;
                let (segment, step) = (code >> 4 & 7, i16::from(code & 0x0f) << 4);
                let magnitude = if segment == 0 { step + 8 } else { (step + 264) << (segment - 1) };
                if code & 0x80 == 0 { -magnitude } else { magnitude }
            }
            (Self::Signed16, [high, low, ..]) => i16::from_be_bytes([*high, *low]),
            (Self::Unsigned8, [code, ..]) => (i16::from(*code) - 128) << 8,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_raw_sound_is_taken() {
        assert_eq!(Raw::of("l16", 44_100, 2).map(|raw| (raw.coding, raw.block())), Some((Coding::Signed16, 4)));
        assert_eq!(Raw::of("l16", 44_100, 6), None);
        assert_eq!(Raw::of("opus", 48_000, 2), None);
    }

    #[test]
    fn bytes_mean_what_their_standards_say() {
        let linear = |coding: Coding, bytes: &[u8]| coding.linear(bytes);
        // ITU-T G.711, tables 1a and 2a: the loudest, the quietest and one in between, of either sign.
        let mu_law = [0x80, 0x00, 0xff, 0x7f, 0xbf].map(|code| linear(Coding::MuLaw, &[code]));
        assert_eq!(mu_law, [32_124, -32_124, 0, 0, 1980]);
        let a_law = [0xaa, 0x2a, 0xd5, 0x55, 0x95].map(|code| linear(Coding::ALaw, &[code]));
        assert_eq!(a_law, [32_256, -32_256, 8, -8, 2112]);
        assert_eq!(linear(Coding::Signed16, &[0x80, 0x01]), -32_767);
        assert_eq!([0, 0x80, 0xff].map(|code| linear(Coding::Unsigned8, &[code])), [-32_768, 0, 32_512]);
        let stereo = Raw::of("l16", 48_000, 2).expect("raw").planes(&[0x40, 0, 0xc0, 0, 0, 0, 0x20, 0]);
        assert_eq!(stereo, [[0.5, 0.0], [-0.5, 0.25]]);
    }
}
