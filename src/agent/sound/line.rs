//! Samples as a stream without holes: an encoder counts samples and knows no times, so what is missing is made silent, and what
//! comes twice is left out. Pure. Must not know what samples are.

/// A shorter hole is none: times of packets are rounded.
const HOLE_MICROS: i64 = 30_000;
/// A longer one is not filled: the sound begins anew behind it.
const LONGEST_HOLE_MICROS: i64 = 5_000_000;

/// Where a piece of sound belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// Behind so much silence, without so many of its first samples.
    Next {
        /// Samples of silence before it.
        silence: usize,
        /// Samples of it that are there already.
        skip: usize,
    },
    /// It has nothing to do with what came before: the sound begins anew with it.
    Anew,
}

/// The stream as far as it came.
#[derive(Debug, Clone)]
pub struct Line {
    rate: u32,
    /// Media time, in samples, of what comes next.
    next: i64,
}

impl Line {
    /// Begins at a media time, in samples, of which there are `rate` a second.
    pub fn new(rate: u32, begin: i64) -> Self {
        Self { rate: rate.max(1), next: begin }
    }

    /// Finds a place for `samples` samples, the first of which stands at `time`, in samples.
    pub fn place(&mut self, time: i64, samples: usize) -> Placed {
        let hole = time.saturating_sub(self.next);
        let micros = hole.saturating_mul(1_000_000) / i64::from(self.rate);
        if micros.saturating_abs() > LONGEST_HOLE_MICROS {
            return Placed::Anew;
        }
        let silence = if micros > HOLE_MICROS { hole } else { 0 };
        let length = i64::try_from(samples).unwrap_or(i64::MAX);
        let skip = if micros < -HOLE_MICROS { (-hole).min(length) } else { 0 };
        self.next = self.next.saturating_add(silence + length - skip);
        let count = |samples| usize::try_from(samples).unwrap_or(0);
        Placed::Next { silence: count(silence), skip: count(skip) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(silence: usize, skip: usize) -> Placed {
        Placed::Next { silence, skip }
    }

    #[test]
    fn pieces_follow_one_another_although_their_times_are_rounded() {
        let mut line = Line::new(8000, 800);
        for piece in 0..50 {
            assert_eq!(line.place(800 + piece * 160 + piece % 3, 160), next(0, 0));
        }
    }

    #[test]
    fn holes_are_silent_and_what_comes_twice_is_left_out() {
        let mut line = Line::new(8000, 800);
        assert_eq!(line.place(800, 160), next(0, 0));
        assert_eq!(line.place(1600, 160), next(640, 0));
        assert_eq!(line.place(1360, 160), next(0, 160));
        assert_eq!(line.place(1440, 400), next(0, 320), "the first 320 samples are there already");
        assert_eq!(line.place(1840 + 8000 * 6, 160), Placed::Anew);
        assert_eq!(line.place(1840, 160), next(0, 0), "what was not placed did not count");
    }
}
