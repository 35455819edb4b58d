//! Maps media time to the host's UTC for one run of a source. The newest pictures' arrival, minimum-filtered, anchors the run;
//! media time advances it; corrections are slewed, so that UTC never goes back within a run. Must not read a clock: callers
//! pass arrival times in.

use std::collections::VecDeque;

use super::frame::{RunId, UtcMicros};

/// Fastest correction, in millionths of the media time that passes.
pub const SLEW_PPM: i64 = 500;
/// A change of the host's clock beyond this ends a run.
pub const STEP_MICROS: i64 = 1_000_000;
/// Media time that runs this far ahead of or behind arrival has jumped, and no slewing can follow.
pub const JUMP_MICROS: i64 = 10_000_000;
/// Arrival is filtered over this long: long enough for a queue in the network to drain, short enough to follow a camera's drift.
pub const WINDOW_MICROS: i64 = 60_000_000;

const BUCKETS: usize = 6;
/// So much of the window must agree that media time fell behind before it counts as a jump: a burst that catches up is none.
const BEHIND_BUCKETS: usize = 3;

/// When something arrived, by both of the host's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The wall clock.
    pub wall: UtcMicros,
    /// A clock that is never set, in microseconds from any origin.
    pub monotonic: i64,
}

/// Whether a run can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It can.
    Steady,
    /// The host's wall clock was set by this many microseconds: the run must end.
    HostStepped(i64),
    /// Media time runs this many microseconds ahead of arrival: a jump, or a file that is read faster than it plays.
    RanAhead(i64),
    /// Media time has fallen this many microseconds behind arrival for good.
    FellBehind(i64),
}

/// The clock of one run.
#[derive(Debug, Clone)]
pub struct RunClock {
    /// UTC minus media time, as frames get it now.
    offset: i64,
    /// Media time up to which `offset` has been slewed.
    slewed_to: i64,
    settled: bool,
    previous: Option<Arrival>,
    /// Smallest arrival minus media time of each stretch of the window: monotonic start of the stretch, minimum.
    window: VecDeque<(i64, i64)>,
}

impl Default for RunClock {
    fn default() -> Self {
        Self::new()
    }
}

impl RunClock {
    /// A clock that has seen nothing.
    pub const fn new() -> Self {
        Self { offset: 0, slewed_to: 0, settled: false, previous: None, window: VecDeque::new() }
    }

    /// Takes note of a frame that arrived. `media_end`: media time of the moment at which it could be sent at the earliest,
    /// in microseconds.
    pub fn observe(&mut self, arrival: Arrival, media_end: i64) -> Verdict {
        if let Some(previous) = self.previous.replace(arrival) {
            let step = (arrival.wall.0 - previous.wall.0) - (arrival.monotonic - previous.monotonic);
            if step.abs() > STEP_MICROS {
                return Verdict::HostStepped(step);
            }
        }
        let offset = arrival.wall.0.saturating_sub(media_end);
        match self.window.back_mut() {
            Some((since, least)) if arrival.monotonic - *since < WINDOW_MICROS / BUCKETS as i64 => {
                *least = offset.min(*least);
            }
            _ => {
                if self.window.len() == BUCKETS {
                    self.window.pop_front();
                }
                self.window.push_back((arrival.monotonic, offset));
            }
        }
        let target = self.target();
        if !self.settled {
            self.offset = target;
            self.slewed_to = media_end;
            return Verdict::Steady;
        }
        if offset < self.offset - JUMP_MICROS {
            return Verdict::RanAhead(self.offset - offset);
        }
        // The last stretches but the newest are whole.
        let recent = self.window.iter().rev().take(BEHIND_BUCKETS).map(|(_, least)| *least).min().unwrap_or(target);
        if self.window.len() >= BEHIND_BUCKETS && recent > self.offset + JUMP_MICROS {
            return Verdict::FellBehind(recent - self.offset);
        }
        self.slew(media_end, target);
        Verdict::Steady
    }

    fn target(&self) -> i64 {
        self.window.iter().map(|(_, least)| *least).min().unwrap_or(self.offset)
    }

    fn slew(&mut self, media: i64, target: i64) {
        let passed = media.saturating_sub(self.slewed_to);
        if passed <= 0 {
            return;
        }
        // Whole microseconds only; what is left over is carried by not moving the mark.
        let most = passed.saturating_mul(SLEW_PPM) / 1_000_000;
        if most == 0 {
            return;
        }
        self.offset += (target - self.offset).clamp(-most, most);
        self.slewed_to = media;
    }

    /// From now on corrections are slewed: call this when the first frame is given its time.
    pub const fn settle(&mut self) {
        self.settled = true;
    }

    /// UTC of a media time in microseconds.
    pub const fn utc(&self, media: i64) -> UtcMicros {
        UtcMicros(media.saturating_add(self.offset))
    }
}

/// Ticks of a timescale as microseconds.
pub fn ticks_to_micros(ticks: i64, timescale: u32) -> i64 {
    let micros = i128::from(ticks) * 1_000_000 / i128::from(timescale.max(1));
    i64::try_from(micros).unwrap_or(if ticks < 0 { i64::MIN } else { i64::MAX })
}

/// Microseconds as ticks of a timescale.
pub fn micros_to_ticks(micros: i64, timescale: u32) -> i64 {
    let ticks = i128::from(micros) * i128::from(timescale) / 1_000_000;
    i64::try_from(ticks).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })
}

/// The name of a run that begins now, after `previous` (see [`RunId`]).
pub fn next_run(previous: Option<RunId>, now: UtcMicros) -> RunId {
    let wanted = u64::try_from(now.0 / 1000).unwrap_or(0);
    RunId(previous.map_or(wanted, |previous| wanted.max(previous.0 + 1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_800_000_000_000_000;

    fn at(micros: i64) -> Arrival {
        Arrival { wall: UtcMicros(START + micros), monotonic: 5_000_000 + micros }
    }

    /// A clock that has settled on a frame of media time 0 that arrived without delay.
    fn settled() -> RunClock {
        let mut clock = RunClock::new();
        clock.observe(at(0), 0);
        clock.settle();
        clock
    }

    #[test]
    fn the_burst_at_the_start_is_dated_back() {
        let mut clock = RunClock::new();
        for frame in 0..50 {
            clock.observe(at(frame * 100), frame * 40_000);
        }
        clock.settle();
        assert_eq!(clock.utc(49 * 40_000), UtcMicros(START + 4_900), "the newest frame is live");
        assert_eq!(clock.utc(0), UtcMicros(START + 4_900 - 49 * 40_000), "the oldest was captured two seconds ago");
    }

    #[test]
    fn a_late_frame_does_not_move_the_clock() {
        let mut clock = settled();
        for frame in 1..100 {
            let delay = if frame % 3 == 0 { 300_000 } else { 0 };
            assert_eq!(clock.observe(at(frame * 40_000 + delay), frame * 40_000), Verdict::Steady);
            assert_eq!(clock.utc(frame * 40_000), UtcMicros(START + frame * 40_000));
        }
    }

    #[test]
    fn a_camera_whose_clock_drifts_is_followed() {
        let mut clock = settled();
        // 100 ppm slow: in an hour its media time falls 360 ms behind.
        for frame in 1..90_000_i64 {
            let media = frame * 40_000;
            assert_eq!(clock.observe(at(media + media / 10_000), media), Verdict::Steady);
        }
        let media = 89_999 * 40_000;
        let error = clock.utc(media).0 - (START + media + media / 10_000);
        // The window's minimum is at most a window old: 6 ms at that drift.
        assert!((-7_000..=0).contains(&error), "{error}");
    }

    #[test]
    fn a_step_of_the_hosts_clock_ends_the_run_and_a_slew_does_not() {
        let mut clock = settled();
        let mut stepped = at(40_000);
        stepped.wall.0 += 900_000;
        assert_eq!(clock.observe(stepped, 40_000), Verdict::Steady);
        let mut stepped = at(80_000);
        stepped.wall.0 += 900_000 - 3_600_000_000;
        assert_eq!(clock.observe(stepped, 80_000), Verdict::HostStepped(-3_600_000_000));
    }

    #[test]
    fn a_jump_of_media_time_ends_the_run() {
        let mut clock = settled();
        assert_eq!(clock.observe(at(40_000), 60_000_000), Verdict::RanAhead(59_960_000));
        let mut clock = settled();
        // A camera that paused for 20 s and whose media time paused with it.
        let verdict = (0..1000).map(|n| clock.observe(at(20_000_000 + n * 40_000), 40_000 + n * 40_000));
        assert!(verdict.into_iter().any(|verdict| matches!(verdict, Verdict::FellBehind(_))));
        let mut clock = settled();
        // A connection that hung for 20 s and then caught up.
        for n in 0..500 {
            assert_eq!(clock.observe(at(20_000_000 + n * 100), n * 40_000), Verdict::Steady);
        }
        for n in 500..5000 {
            assert_eq!(clock.observe(at(n * 40_000 + 100_000), n * 40_000), Verdict::Steady);
        }
    }

    #[test]
    fn runs_are_named_by_time_and_never_go_back() {
        assert_eq!(next_run(None, UtcMicros(5_000_999)), RunId(5_000));
        assert_eq!(next_run(Some(RunId(4_000)), UtcMicros(5_000_000)), RunId(5_000));
        assert_eq!(next_run(Some(RunId(9_000)), UtcMicros(5_000_000)), RunId(9_001), "the clock was set back");
    }

    proptest! {
        #[test]
        fn utc_never_goes_back_and_never_outruns_the_slew(delays in prop::collection::vec(0_i64..2_000_000, 2..400)) {
            let mut clock = RunClock::new();
            let mut previous: Option<UtcMicros> = None;
            let mut arrived = 0;
            for (frame, delay) in delays.into_iter().enumerate() {
                let media = frame as i64 * 40_000;
                // Frames arrive in order.
                arrived = (media + delay).max(arrived);
                prop_assert_eq!(clock.observe(at(arrived), media), Verdict::Steady);
                clock.settle();
                let utc = clock.utc(media);
                if let Some(previous) = previous {
                    prop_assert!((utc.0 - previous.0 - 40_000).abs() <= 20 + 1, "{}", utc.0 - previous.0);
                }
                previous = Some(utc);
            }
        }
    }
}
