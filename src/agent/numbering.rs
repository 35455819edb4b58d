//! Names of runs and numbers of HLS streams, which never go back: within a process whatever the clock does, and over a restart
//! where somebody keeps [`Numbering::remembered`] and gives it back to [`Numbering::restore`]. Where nobody can, as in a pod
//! without a disk, the clock alone must do. Must not touch the disk.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::output::hls::segmenter::Numbers;
use crate::media::clock::next_run;
use crate::media::frame::{RunId, UtcMicros};
use crate::plan::unit::ObjectKey;

/// What must be known after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remembered {
    /// The newest moment that anything may have been named after, microseconds since the Unix epoch.
    pub newest_micros: i64,
    /// The newest run.
    pub newest_run: u64,
    /// What each HLS stream goes on with, by namespace and name.
    #[serde(default)]
    pub streams: BTreeMap<String, Numbers>,
}

#[derive(Debug)]
struct Inner {
    remembered: Remembered,
    /// When `newest_micros` was the moment.
    since: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Numbering {
    inner: Mutex<Inner>,
}

impl Default for Numbering {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { remembered: Remembered::default(), since: Instant::now() }) }
    }
}

impl Inner {
    /// The wall clock, but never before a moment that was told already, and never standing still.
    fn moment(&mut self, wall: UtcMicros, instant: Instant) -> UtcMicros {
        let passed = i64::try_from(instant.saturating_duration_since(self.since).as_micros()).unwrap_or(i64::MAX);
        let moment = wall.0.max(self.remembered.newest_micros.saturating_add(passed));
        self.remembered.newest_micros = moment;
        self.since = instant;
        UtcMicros(moment)
    }
}

impl Numbering {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what was remembered. What is known already and is larger stays.
    pub fn restore(&self, remembered: Remembered) {
        let mut inner = self.inner();
        let known = &mut inner.remembered;
        known.newest_micros = known.newest_micros.max(remembered.newest_micros);
        known.newest_run = known.newest_run.max(remembered.newest_run);
        for (stream, numbers) in remembered.streams {
            let known = known.streams.entry(stream).or_insert(numbers);
            *known = known.no_less_than(numbers);
        }
    }

    /// What to give to [`Numbering::restore`] after a restart that comes within `ahead` from now.
    pub fn remembered(&self, ahead: Duration) -> Remembered {
        let mut inner = self.inner();
        inner.moment(now(), Instant::now());
        let mut remembered = inner.remembered.clone();
        let ahead = i64::try_from(ahead.as_micros()).unwrap_or(i64::MAX);
        remembered.newest_micros = remembered.newest_micros.saturating_add(ahead);
        remembered
    }

    /// The host's time, but never before a time that was told earlier.
    pub fn moment(&self) -> UtcMicros {
        self.inner().moment(now(), Instant::now())
    }

    /// Names a run that begins now.
    pub fn name_run(&self) -> RunId {
        let mut inner = self.inner();
        let moment = inner.moment(now(), Instant::now());
        let run = next_run(Some(RunId(inner.remembered.newest_run)), moment);
        inner.remembered.newest_run = run.0;
        run
    }

    /// The numbers that a stream begins with now.
    pub fn first_numbers(&self, stream: &ObjectKey) -> Numbers {
        let mut inner = self.inner();
        let numbers = Numbers::at(inner.moment(now(), Instant::now()));
        inner.remembered.streams.get(&stream.to_string()).map_or(numbers, |before| numbers.no_less_than(*before))
    }

    /// Keeps the numbers that a stream goes on with.
    pub fn keep(&self, stream: &ObjectKey, next: Numbers) {
        let mut inner = self.inner();
        match inner.remembered.streams.get_mut(&stream.to_string()) {
            Some(known) => *known = next,
            None => drop(inner.remembered.streams.insert(stream.to_string(), next)),
        }
    }
}

fn now() -> UtcMicros {
    UtcMicros::from_timestamp(Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_back_when_the_clock_was_set_back_over_a_restart() {
        // The last process lived a day ahead.
        let tomorrow = now().plus_micros(86_400_000_000);
        let stream = ObjectKey::new("default", "live");
        let used = Numbers { discontinuity: 1_000_000, ..Numbers::at(tomorrow) };
        let remembered = Remembered {
            newest_micros: tomorrow.0,
            newest_run: tomorrow.0 as u64 / 1000,
            streams: BTreeMap::from([(stream.to_string(), used)]),
        };
        let numbering = Numbering::default();
        numbering.restore(remembered.clone());
        assert!(numbering.name_run().0 > remembered.newest_run);
        assert!(numbering.moment() >= tomorrow);
        let first = numbering.first_numbers(&stream);
        assert!(first.segment >= used.segment && first.discontinuity == used.discontinuity, "{first:?}");
        let other = numbering.first_numbers(&ObjectKey::new("default", "other"));
        assert!(other.segment >= used.segment && other.discontinuity < used.discontinuity, "{other:?}");
        // An older file changes nothing.
        numbering.restore(Remembered::default());
        assert!(numbering.remembered(Duration::ZERO).newest_run > remembered.newest_run);
    }

    #[test]
    fn time_goes_on_while_the_clock_stands_still_or_goes_back() {
        let begun = Instant::now();
        let mut inner = Inner { remembered: Remembered::default(), since: begun };
        let at = |inner: &mut Inner, wall: i64, second: u64| {
            inner.moment(UtcMicros(wall * 1_000_000), begun + Duration::from_secs(second)).0 / 1_000_000
        };
        assert_eq!([at(&mut inner, 1000, 0), at(&mut inner, 1005, 5)], [1000, 1005]);
        assert_eq!([at(&mut inner, 500, 6), at(&mut inner, 501, 7)], [1006, 1007], "set back");
        assert_eq!(at(&mut inner, 2000, 8), 2000, "set forward");
    }

    #[test]
    fn runs_are_named_by_time_and_each_has_its_own_name() {
        let numbering = Numbering::default();
        let before = now().0 as u64 / 1000;
        let names: Vec<RunId> = (0..100).map(|_| numbering.name_run()).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]) && names[0].0 >= before);
    }

    #[test]
    fn what_is_remembered_covers_the_time_until_it_is_remembered_again() {
        let numbering = Numbering::default();
        let minute = Duration::from_mins(1);
        assert!(numbering.remembered(minute).newest_micros >= now().0 + 59_000_000);
        assert!(numbering.moment().0 < now().0 + 1_000_000, "the margin is for the file only");
    }
}
