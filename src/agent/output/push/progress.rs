//! Whether a push goes on: by what its target acknowledges while there is something to send, and by nothing else. That a connection
//! stands proves nothing. Pure: time and counts come from the caller.

use std::time::Duration;

/// A push whose target has taken nothing of what was to be sent for so long is stalled.
pub const LIMIT: Duration = Duration::from_secs(10);

/// What was counted at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// Bytes that were handed over.
    pub given: u64,
    /// Whether there is more that is not taken.
    pub held_up: bool,
    /// Bytes that the target has acknowledged, where that can be told; else what was handed over.
    pub acknowledged: u64,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Progress {
    last: Look,
    in_vain: Duration,
}

impl Progress {
    /// Takes note of a look, `since` after the one before. Returns whether the target took something meanwhile.
    pub fn look(&mut self, look: Look, since: Duration) -> bool {
        let moved = look.acknowledged > self.last.acknowledged;
        if moved {
            self.in_vain = Duration::ZERO;
        } else if look.held_up || look.given > self.last.given {
            self.in_vain += since;
        }
        // While there is nothing to send, there is nothing to wait for.
        self.last = look;
        moved
    }

    /// Whether it has gone on for too long in vain.
    pub fn is_stalled(&self) -> bool {
        self.in_vain >= LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_target_that_takes_nothing_is_stalled_and_a_camera_that_sends_nothing_is_not() {
        let mut progress = Progress::default();
        let look = |given, held_up, acknowledged| Look { given, held_up, acknowledged };
        assert!(progress.look(look(10, false, 5), SECOND));
        // The camera is away.
        for _ in 0..100 {
            assert!(!progress.look(look(10, false, 5), SECOND));
        }
        assert!(!progress.is_stalled());
        // It is back and the target takes nothing.
        for second in 1..10 {
            progress.look(look(10 + second, false, 5), SECOND);
            assert!(!progress.is_stalled());
        }
        progress.look(look(100, true, 5), SECOND);
        assert!(progress.is_stalled());
        // A trickle is enough: a slow target loses pictures, not its session.
        progress.look(look(100, true, 6), SECOND);
        assert!(!progress.is_stalled());
    }

    #[test]
    fn a_pipe_that_is_full_is_in_vain_too() {
        let mut progress = Progress::default();
        for _ in 0..10 {
            progress.look(Look { given: 7, held_up: true, acknowledged: 0 }, SECOND);
        }
        assert!(progress.is_stalled());
    }
}
