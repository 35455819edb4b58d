//! How much a target takes, as a status says it: measured over a minute and rounded, so that an object is not written all the
//! time because of it. Pure: time and counts come from the caller. Metrics have what moves.

use std::time::Duration;

/// How long is measured for.
const ROUND: Duration = Duration::from_mins(1);
/// The first time: somebody who has just made a stream looks at it.
const FIRST: Duration = Duration::from_secs(10);

/// What was counted so far.
#[derive(Debug, Default)]
pub struct Rate {
    over: Duration,
    bytes: u64,
    told: Option<u64>,
}

impl Rate {
    /// Takes note of bytes that were taken in the time since the last call. True when there is a new figure.
    pub fn count(&mut self, bytes: u64, since: Duration) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.over += since;
        if self.over < if self.told.is_some() { ROUND } else { FIRST } {
            return false;
        }
        let bits = u128::from(self.bytes) * 8 * 1_000_000 / self.over.as_micros().max(1);
        self.told = Some(round(u64::try_from(bits).unwrap_or(u64::MAX)));
        (self.over, self.bytes) = (Duration::ZERO, 0);
        true
    }

    /// Bits a second of the last round, with two digits that count; `None` before the first.
    pub const fn bits_per_second(&self) -> Option<u64> {
        self.told
    }
}

/// With two digits that count.
fn round(value: u64) -> u64 {
    let unit = 10_u64.pow(value.checked_ilog10().unwrap_or(0).saturating_sub(1));
    value.saturating_add(unit / 2) / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_new_once_a_minute_and_has_two_digits() {
        let mut rate = Rate::default();
        let second = Duration::from_secs(1);
        let mut told = Vec::new();
        for _ in 0..130 {
            // 4,037,600 bits.
            if rate.count(504_700, second) {
                told.push(rate.bits_per_second());
            }
        }
        assert_eq!(told, [Some(4_000_000); 3]);
        assert_eq!([0, 7, 94, 95, 104, 995, 1_249_999].map(round), [0, 7, 94, 95, 100, 1000, 1_200_000]);
        assert_eq!(round(u64::MAX), 18_000_000_000_000_000_000);
    }
}
