//! Puts sound beside the pictures. Both begin at the same time by the `RTP-Info` of the answer to PLAY (RFC 2326 §12.33), which
//! some cameras leave out or get wrong; their RTCP sender reports (RFC 3550 §6.4.1) then tell, and failing those the moment at
//! which the sound begins to arrive. Pure. Must not know formats.

/// Sound that is off by less is left alone: nobody hears it, and each correction is heard.
const HEARD_MICROS: i64 = 40_000;
/// Sender reports further apart from what arrived than this are wrong: some cameras keep a clock for each track.
const BELIEVED_MICROS: i64 = 10_000_000;
/// What arrives is off by the length of the burst that some servers begin with; more than this is not that.
const BURST_MICROS: i64 = 3_000_000;

/// What a sender report says of a track: the camera's clock at the track's time zero, in microseconds.
pub type Zero = i64;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Alignment {
    video: Option<Zero>,
    audio: Option<Zero>,
    /// What the sound has been moved by, in microseconds, so far.
    moved: i64,
    /// Whether reports have been followed already.
    settled: bool,
}

impl Alignment {
    /// The first sound came: `sound` is its media time, `pictures` that of the pictures at the same moment, in microseconds.
    /// Returns by how much the sound is to be moved.
    pub fn begin(&mut self, sound: i64, pictures: i64) -> i64 {
        let off = pictures.saturating_sub(sound);
        if self.settled || off.saturating_abs() <= BURST_MICROS {
            return 0;
        }
        self.moved = self.moved.saturating_add(off);
        off
    }

    /// A sender report of a track came. Returns by how much the sound is to be moved.
    pub fn report(&mut self, of_sound: bool, zero: Zero) -> i64 {
        if of_sound {
            self.audio = Some(zero);
        } else {
            self.video = Some(zero);
        }
        let (Some(audio), Some(video)) = (self.audio, self.video) else { return 0 };
        // By so much the sound's time zero is later than that of the pictures.
        let wanted = audio.saturating_sub(video);
        let off = wanted.saturating_sub(self.moved);
        if self.settled || wanted.saturating_abs() > BELIEVED_MICROS || off.saturating_abs() < HEARD_MICROS {
            return 0;
        }
        self.settled = true;
        self.moved = self.moved.saturating_add(off);
        off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_right_stays() {
        let mut alignment = Alignment::default();
        assert_eq!(alignment.begin(2_000_000, 2_100_000), 0);
        assert_eq!(alignment.report(false, 1_700_000_000_000_000), 0);
        assert_eq!(alignment.report(true, 1_700_000_000_010_000), 0);
    }

    #[test]
    fn reports_tell_when_nothing_was_announced() {
        let mut alignment = Alignment::default();
        assert_eq!(alignment.begin(0, 1_500_000), 0, "it may be a burst");
        assert_eq!(alignment.report(true, 1_700_000_001_500_000), 0, "one alone tells nothing");
        assert_eq!(alignment.report(false, 1_700_000_000_000_000), 1_500_000);
        assert_eq!(alignment.report(true, 1_700_000_001_600_000), 0, "once");
    }

    #[test]
    fn nonsense_is_not_followed() {
        let mut alignment = Alignment::default();
        assert_eq!(alignment.begin(-47_000_000_000, 100_000), 47_000_100_000, "an announced time that cannot be");
        assert_eq!(alignment.report(true, 12), 0);
        assert_eq!(alignment.report(false, 1_700_000_000_000_000), 0, "two clocks");
    }
}
