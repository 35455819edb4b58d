//! When a source counts as stalled, and when and whether it is tried again. Pure: time and chance come from the caller.

use std::time::Duration;

use crate::plan::report::Reason;
use crate::plan::unit::Reconnect;

/// A run this long shows that the source works: what comes after it starts with the shortest delay again.
pub const GOOD_RUN: Duration = Duration::from_secs(10);

/// How long no new picture may come: the time-out, or three times the usual distance of pictures if that is longer.
pub fn stall_limit(stall_timeout: Duration, frame_interval: Option<Duration>) -> Duration {
    frame_interval.map_or(stall_timeout, |interval| stall_timeout.max(interval.saturating_mul(3)))
}

/// How an attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Why it ended.
    pub reason: Reason,
    /// How long pictures came; `None` when none did.
    pub pictures_for: Option<Duration>,
}

/// What comes after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another one, after this long.
    Wait(Duration),
    /// None.
    GiveUp,
}

/// Counts attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attempts {
    /// Attempts in a row without a picture.
    fruitless: u32,
    /// How often the delay has been doubled.
    doublings: u32,
}

impl Attempts {
    /// Takes note of an attempt and says what follows. `chance` is from 0 to 1 and spreads those who failed together.
    pub fn after(&mut self, outcome: Outcome, rules: &Reconnect, chance: f64) -> Next {
        match outcome.pictures_for {
            Some(span) => {
                self.fruitless = 0;
                if span >= GOOD_RUN {
                    self.doublings = 0;
                }
            }
            // Some devices say 401 when they are out of sessions, and a missing secret may come: no reason to give up.
            None if matches!(outcome.reason, Reason::CredentialRefused | Reason::SecretMissing) => {}
            None => self.fruitless += 1,
        }
        if let Some(most) = rules.max_attempts
            && i64::from(self.fruitless) >= i64::from(most.max(1))
        {
            return Next::GiveUp;
        }
        if outcome.reason == Reason::CredentialRefused {
            // A refusal is not hammered.
            self.doublings = self.doublings.max(2);
        }
        let most = rules.max_delay_ms.max(rules.initial_delay_ms);
        let delay = rules.initial_delay_ms.saturating_mul(1 << self.doublings.min(30)).min(most);
        self.doublings = self.doublings.saturating_add(1);
        // Between half and all of it.
        Next::Wait(Duration::from_millis(delay).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0))
    }
}

/// How long the first attempt of a unit waits, so that many cameras behind one recorder are not all called at once.
pub fn first_delay(cameras: usize, chance: f64) -> Duration {
    let spread = Duration::from_millis(50 * cameras.saturating_sub(1) as u64).min(Duration::from_secs(10));
    spread.mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Reconnect = Reconnect { initial_delay_ms: 1000, max_delay_ms: 30_000, max_attempts: None };

    fn fruitless(reason: Reason) -> Outcome {
        Outcome { reason, pictures_for: None }
    }

    #[test]
    fn delays_double_up_to_the_limit_and_start_again_after_a_good_run() {
        let mut attempts = Attempts::default();
        let mut seconds = |outcome| match attempts.after(outcome, &RULES, 1.0) {
            Next::Wait(delay) => delay.as_secs(),
            Next::GiveUp => 0,
        };
        let failed: Vec<u64> = (0..7).map(|_| seconds(fruitless(Reason::Unreachable))).collect();
        assert_eq!(failed, [1, 2, 4, 8, 16, 30, 30]);
        let flapping = Outcome { reason: Reason::SourceEnded, pictures_for: Some(Duration::from_secs(1)) };
        assert_eq!(seconds(flapping), 30, "a source that comes and goes is not hammered");
        let good = Outcome { reason: Reason::Stalled, pictures_for: Some(GOOD_RUN) };
        assert_eq!(seconds(good), 1);
    }

    #[test]
    fn jitter_spreads_between_half_and_all_of_the_delay() {
        for (chance, expected) in [(0.0, 500), (0.5, 750), (1.0, 1000)] {
            let next = Attempts::default().after(fruitless(Reason::Unreachable), &RULES, chance);
            assert_eq!(next, Next::Wait(Duration::from_millis(expected)));
        }
    }

    #[test]
    fn attempts_without_a_picture_are_limited_but_refusals_are_not() {
        let rules = Reconnect { max_attempts: Some(2), ..RULES };
        let mut attempts = Attempts::default();
        assert!(matches!(attempts.after(fruitless(Reason::Unreachable), &rules, 1.0), Next::Wait(_)));
        let picture = Outcome { reason: Reason::Stalled, pictures_for: Some(Duration::ZERO) };
        assert!(matches!(attempts.after(picture, &rules, 1.0), Next::Wait(_)), "a picture starts the count again");
        for _ in 0..5 {
            assert!(matches!(attempts.after(fruitless(Reason::CredentialRefused), &rules, 1.0), Next::Wait(_)));
        }
        assert!(matches!(attempts.after(fruitless(Reason::NoVideo), &rules, 1.0), Next::Wait(_)));
        assert_eq!(attempts.after(fruitless(Reason::NoVideo), &rules, 1.0), Next::GiveUp);
    }

    #[test]
    fn a_refusal_waits_longer() {
        let next = Attempts::default().after(fruitless(Reason::CredentialRefused), &RULES, 1.0);
        assert_eq!(next, Next::Wait(Duration::from_secs(4)));
    }

    #[test]
    fn slow_cameras_are_given_time() {
        let ten = Duration::from_secs(10);
        for (interval, expected) in [(None, 10), (Some(40), 10), (Some(1000), 10), (Some(20_000), 60)] {
            assert_eq!(stall_limit(ten, interval.map(Duration::from_millis)), Duration::from_secs(expected));
        }
    }

    #[test]
    fn starts_are_spread_by_how_many_there_are() {
        assert_eq!(first_delay(1, 1.0), Duration::ZERO);
        assert_eq!(first_delay(21, 0.5), Duration::from_millis(500));
        assert_eq!(first_delay(10_000, 1.0), Duration::from_secs(10));
    }
}
