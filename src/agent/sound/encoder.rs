//! Makes AAC of samples, a piece at a time. No IO and no clock. Must not know where sound comes from.

use std::fmt;

use bytes::Bytes;
use syom::{AacError, EncodeOptions};

use super::line::{Line, Placed};

/// Samples of an access unit (ISO/IEC 14496-3 §4.5.2.1.1), which is also what the first one is late by: each needs the one before it.
pub const FRAME: u32 = 1024;
/// The most bits of a channel in an access unit (ISO/IEC 14496-3 §4.5.3.1).
const MOST_BITS: u64 = 6144;

/// An encoder for one unbroken piece of sound.
pub struct Encoder {
    line: Line,
    aac: syom::Encoder,
    /// Media time of the next access unit, in samples.
    next: i64,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Encoder").field("line", &self.line).field("next", &self.next).finish_non_exhaustive()
    }
}

/// What came of a piece.
#[derive(Debug)]
pub enum Encoded {
    /// Access units, and the media time of each, in samples.
    Units(Vec<(i64, Bytes)>),
    /// The piece has nothing to do with what came before: another encoder is to begin with it.
    Anew,
}

impl Encoder {
    /// Begins at a media time, in samples, of which there are `rate` a second. `bits`: wanted of all channels in a second; no more
    /// than the standard allows.
    ///
    /// # Errors
    /// When the library does not encode sound of this rate or of so many channels.
    pub fn new(rate: u32, channels: u16, bits: u64, begin: i64) -> Result<Self, AacError> {
        let most = MOST_BITS * u64::from(channels) * u64::from(rate) / u64::from(FRAME);
        let options = EncodeOptions::raw().with_bitrate_bps(u32::try_from(bits.min(most)).unwrap_or(u32::MAX));
        let aac = syom::Encoder::new(rate, channels.into(), &options)?;
        Ok(Self { line: Line::new(rate, begin), aac, next: begin.saturating_sub(FRAME.into()) })
    }

    /// The `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1) of what comes out.
    pub fn specific(&self) -> &[u8] {
        self.aac.asc()
    }

    /// Takes samples of each channel, between -1 and 1, as many of one as of the other; the first stand at a media time, in
    /// samples. Leaves them as they are if another encoder is to begin with them.
    ///
    /// # Errors
    /// What the library says.
    pub fn take(&mut self, time: i64, planes: &mut [Vec<f32>]) -> Result<Encoded, AacError> {
        let samples = planes.first().map_or(0, Vec::len);
        let (silence, skip) = match self.line.place(time, samples) {
            Placed::Next { silence, skip } => (silence, skip),
            Placed::Anew => return Ok(Encoded::Anew),
        };
        if silence > 0 || skip > 0 {
            for plane in planes.iter_mut() {
                plane.splice(..skip.min(plane.len()), std::iter::repeat_n(0.0, silence));
            }
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
