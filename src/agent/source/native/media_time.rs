//! Makes media times without jumps of a track's RTP timestamps: cameras set their clocks, wrap around, start anew. Pure.
//! Must not know what the track carries.

/// Further apart from what the host saw, or further back, than this is a jump.
const JUMP_SECONDS: i64 = 10;
/// Pictures that are shown earlier than those sent before them are this close at most.
const BACK_SECONDS: i64 = 2;

/// The media time of one track.
#[derive(Debug, Clone)]
pub struct MediaTime {
    /// Ticks a second.
    rate: i64,
    /// Added to a timestamp.
    shift: i64,
    /// Timestamp and arrival (microseconds of a clock that is never set) of what came last.
    last: Option<(i64, i64)>,
}

/// A place on a track's timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// In ticks.
    pub time: i64,
    /// By how many seconds the device's clock jumped, if it did.
    pub jumped: Option<i64>,
}

impl MediaTime {
    /// `rate`: ticks a second.
    pub fn new(rate: u32) -> Self {
        Self { rate: i64::from(rate.max(1)), shift: 0, last: None }
    }

    /// Where a timestamp stands. After a jump time goes on as the host saw it pass.
    pub fn place(&mut self, timestamp: i64, arrival: i64) -> Placed {
        let mut jumped = None;
        if let Some((before, arrived)) = self.last {
            let passed = timestamp.saturating_sub(before);
            let seen = arrival.saturating_sub(arrived).saturating_mul(self.rate) / 1_000_000;
            let off = passed.saturating_sub(seen);
            if off.saturating_abs() > JUMP_SECONDS * self.rate || passed < -BACK_SECONDS * self.rate {
                jumped = Some(passed / self.rate);
                self.shift = self.shift.saturating_sub(passed.saturating_sub(seen.max(1)));
            }
        }
        self.last = Some((timestamp, arrival));
        Placed { time: timestamp.saturating_add(self.shift), jumped }
    }

    /// Moves all that follows.
    pub const fn shift_by(&mut self, ticks: i64) {
        self.shift = self.shift.saturating_add(ticks);
    }

    /// The media time, in microseconds, of the moment at which something arrives; `None` before anything did.
    pub fn at(&self, arrival: i64) -> Option<i64> {
        let (timestamp, arrived) = self.last?;
        let time = i128::from(timestamp.saturating_add(self.shift)) * 1_000_000 / i128::from(self.rate);
        i64::try_from(time).ok()?.checked_add(arrival.checked_sub(arrived)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn what_runs_evenly_is_left_alone() {
        let mut time = MediaTime::new(90_000);
        for picture in 0..1000 {
            // A picture may come late, and may be shown before one that came before it.
            let at = 500 + picture * 3600 + if picture % 3 == 0 { 7200 } else { 0 };
            assert_eq!(time.place(at, picture * 40_000 + (picture % 7) * 100_000), Placed { time: at, jumped: None });
        }
    }

    #[test]
    fn a_jump_ahead_or_back_leaves_no_gap() {
        for jump in [3600, -3600, 47_000, -3] {
            let mut time = MediaTime::new(90_000);
            let jumped_to = 1_000_000 + jump * 90_000;
            assert_eq!(time.place(1_000_000, 0).time, 1_000_000);
            let placed = time.place(jumped_to + 3600, SECOND / 25);
            assert_eq!(placed, Placed { time: 1_003_600, jumped: Some((jump * 90_000 + 3600) / 90_000) });
            assert_eq!(time.place(jumped_to + 7200, 2 * SECOND / 25), Placed { time: 1_007_200, jumped: None });
        }
    }

    #[test]
    fn a_silence_is_none() {
        let mut time = MediaTime::new(8000);
        time.place(0, 0);
        // Sound that stops for a minute and goes on with the right time.
        assert_eq!(time.place(480_000, 60 * SECOND), Placed { time: 480_000, jumped: None });
        // One whose timestamps went on as if nothing had been.
        assert_eq!(time.place(480_160, 120 * SECOND).time, 480_000 + 480_000);
    }

    #[test]
    fn it_tells_the_time_of_any_moment() {
        let mut time = MediaTime::new(90_000);
        assert_eq!(time.at(0), None);
        time.place(90_000, 5 * SECOND);
        assert_eq!(time.at(6 * SECOND), Some(2 * SECOND));
        time.shift_by(-45_000);
        assert_eq!(time.at(5 * SECOND), Some(SECOND / 2));
    }
}
