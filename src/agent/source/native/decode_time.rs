//! Decode times of pictures that tell only when they are shown: RTP carries no others (RFC 6184 §5.1). Pure. Must not know
//! what the pictures are coded in.

/// More pictures than this never wait for one another (ITU-T H.264 §A.3.1, H.265 §A.4.2).
const MOST: usize = 16;

/// Gives each picture, in decoding order, the earliest of the presentation times that a decoder still has to show: then no
/// picture is shown before it is decoded, and times never go back.
#[derive(Debug, Clone)]
pub struct DecodeTimes {
    /// How many pictures are ahead.
    depth: usize,
    /// Presentation times that were not yet given away as decode times, ascending.
    ahead: Vec<i64>,
    /// Usual distance of pictures, in ticks, until there is one to be seen.
    distance: i64,
    newest: Option<i64>,
}

impl DecodeTimes {
    /// `distance`: what to take for the distance of pictures before any is seen, in ticks.
    pub const fn new(distance: i64) -> Self {
        Self { depth: 0, ahead: Vec::new(), distance, newest: None }
    }

    /// How many pictures at most overtake another, as the parameter sets say. Never lowered: the times of pictures would go
    /// back.
    pub fn expect(&mut self, depth: u32) {
        self.depth = self.depth.max(usize::try_from(depth).unwrap_or(MOST).min(MOST));
    }

    /// The decode time of the next picture, which is shown at `presentation`; both in ticks. Greater than all before it.
    pub fn next(&mut self, presentation: i64) -> i64 {
        if self.newest.is_some_and(|newest| presentation <= newest) && self.depth < MOST {
            // It overtakes a picture that is decoded already: more wait than was known. From now on all are decoded earlier.
            self.depth += 1;
        }
        let at = self.ahead.partition_point(|known| *known < presentation);
        self.ahead.insert(at, presentation);
        let wanted = if self.ahead.len() > self.depth {
            self.ahead.remove(0)
        } else {
            // The first ones are decoded before anything is shown.
            let missing = self.depth - self.ahead.len() + 1;
            self.ahead[0] - self.distance * i64::try_from(missing).unwrap_or(0)
        };
        let time = match self.newest {
            Some(newest) if wanted <= newest => {
                // Between the newest and the next, so that the next need not be moved too.
                let next = self.ahead.first().copied().unwrap_or(newest);
                newest + ((next - newest) / 2).max(1)
            }
            _ => wanted,
        };
        self.newest = Some(time);
        time
    }

    /// The times begin anew: what comes has nothing to do with what was.
    pub fn restart(&mut self) {
        self.ahead.clear();
        self.newest = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(depth: u32, presentation: &[i64]) -> Vec<i64> {
        let mut times = DecodeTimes::new(10);
        times.expect(depth);
        presentation.iter().map(|at| times.next(*at)).collect()
    }

    #[test]
    fn without_reordering_both_are_the_same() {
        assert_eq!(all(0, &[0, 10, 20, 35]), [0, 10, 20, 35]);
    }

    #[test]
    fn pictures_that_wait_are_decoded_earlier() {
        // I0 P3 B1 B2 P6 B4 B5
        assert_eq!(all(1, &[0, 30, 10, 20, 60, 40, 50]), [-10, 0, 10, 20, 30, 40, 50]);
        // With a pyramid two wait: I0 P4 B2 b1 b3 P8.
        assert_eq!(all(2, &[0, 40, 20, 10, 30, 80]), [-20, -10, 0, 10, 20, 30]);
    }

    #[test]
    fn what_the_parameter_sets_do_not_say_is_learnt() {
        let times = all(0, &[0, 30, 10, 20, 60, 40, 50, 90, 70, 80, 120, 100, 110]);
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
        assert_eq!(times[8..], [60, 70, 80, 90, 100], "in order from the next pictures on");
    }

    proptest! {
        #[test]
        fn times_always_grow_and_with_the_right_depth_none_is_late(
            depth in 0_usize..5,
            swaps in prop::collection::vec(0_usize..5, 2..200),
        ) {
            // Any order in which at most `depth` pictures wait, from one on that none is shown before, as an IDR picture is.
            let mut waiting: Vec<i64> = Vec::new();
            let mut order = Vec::new();
            let mut shown = 0;
            for swap in swaps {
                while waiting.len() <= depth {
                    waiting.push(shown * 40);
                    shown += 1;
                }
                // A picture may be sent early, but no picture may be overtaken by more than `depth`.
                let oldest = waiting[0] / 40;
                let overtaken = order.iter().filter(|at: &&i64| **at / 40 > oldest).count();
                let take = if overtaken >= depth || order.is_empty() { 0 } else { swap.min(waiting.len() - 1) };
                order.push(waiting.remove(take));
            }
            let mut times = DecodeTimes::new(40);
            times.expect(u32::try_from(depth).unwrap());
            let mut previous = None;
            for at in order {
                let time = times.next(at);
                prop_assert!(previous.is_none_or(|previous| previous < time));
                prop_assert!(time <= at, "decoded at {} and shown at {}", time, at);
                previous = Some(time);
            }
        }

        #[test]
        fn any_times_at_all_grow(times in prop::collection::vec(-100_000_i64..100_000, 1..200)) {
            let mut decode = DecodeTimes::new(40);
            let mut previous = None;
            for at in times {
                let time = decode.next(at);
                prop_assert!(previous.is_none_or(|previous| previous < time));
                previous = Some(time);
            }
        }
    }
}
