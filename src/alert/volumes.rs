//! When archives' volumes will be full, from how their free space went. Pure; kept in memory, so that after a start it takes an
//! hour to know.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use crate::plan::unit::ObjectKey;

/// Between two samples that are kept, in seconds.
const EVERY: i64 = 600;
/// How far back is looked, in seconds: as the rule of the chart does.
const WINDOW: i64 = 6 * 3600;
/// Before this much is known, in seconds, nothing is foretold.
const LEAST: i64 = 3600;
/// A volume that is full within so many days is told.
const DAYS: f64 = 3.0;

/// Free bytes of volumes over time.
#[derive(Debug, Clone, Default)]
pub struct Volumes {
    samples: BTreeMap<ObjectKey, VecDeque<(i64, u64)>>,
    /// When it was last asked.
    asked: Option<i64>,
}

impl Volumes {
    /// Whether it is worth asking again: a minute has gone by.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.asked.is_none_or(|asked| !(0..60).contains(&(now.as_second() - asked)))
    }

    /// Takes in how much is free now, for all archives that there are.
    pub fn sample(&mut self, free: impl IntoIterator<Item = (ObjectKey, u64)>, now: Timestamp) {
        let now = now.as_second();
        self.asked = Some(now);
        let mut before = std::mem::take(&mut self.samples);
        for (archive, free) in free {
            let mut samples = before.remove(&archive).unwrap_or_default();
            // A clock that was set back begins anew.
            if samples.back().is_some_and(|(at, _)| *at > now) {
                samples.clear();
            }
            if samples.back().is_none_or(|(at, _)| now - at >= EVERY) {
                samples.push_back((now, free));
            }
            while samples.front().is_some_and(|(at, _)| now - at > WINDOW) {
                samples.pop_front();
            }
            self.samples.insert(archive, samples);
        }
    }

    /// The archives that will soon be full, and in how many days.
    pub fn full_in(&self) -> BTreeMap<ObjectKey, f64> {
        let soon = self.samples.iter().filter_map(|(archive, samples)| Some((archive.clone(), days(samples)?)));
        soon.filter(|(_, days)| *days < DAYS).collect()
    }
}

/// By the straight line through the samples (least squares).
fn days(samples: &VecDeque<(i64, u64)>) -> Option<f64> {
    let (first, last) = (samples.front()?.0, samples.back()?.0);
    if last - first < LEAST {
        return None;
    }
    let count = samples.len() as f64;
    let points = || samples.iter().map(|(at, free)| ((at - first) as f64, *free as f64));
    let mean_at = points().map(|(at, _)| at).sum::<f64>() / count;
    let mean_free = points().map(|(_, free)| free).sum::<f64>() / count;
    let covariance: f64 = points().map(|(at, free)| (at - mean_at) * (free - mean_free)).sum();
    let variance: f64 = points().map(|(at, _)| (at - mean_at).powi(2)).sum();
    let lost_each_second = -covariance / variance;
    (lost_each_second > 0.0).then(|| samples.back().map_or(0.0, |(_, free)| *free as f64) / lost_each_second / 86_400.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(samples: impl IntoIterator<Item = (i64, u64)>) -> Option<f64> {
        let archive = ObjectKey::new("default", "default");
        let mut volumes = Volumes::default();
        for (second, free) in samples {
            volumes.sample([(archive.clone(), free)], Timestamp::from_second(second).unwrap());
        }
        volumes.full_in().get(&archive).copied()
    }

    #[test]
    fn a_volume_that_loses_steadily_is_foretold() {
        // 100 GB free, 1 MB/s: 1.16 days.
        let days = play((0..7200).map(|second| (second, 100_000_000_000 - second as u64 * 1_000_000))).unwrap();
        assert!((days - 1.07).abs() < 0.02, "{days}");
        assert_eq!(play((0..3000).map(|second| (second, 100_000_000 - second as u64))), None, "too soon to tell");
        assert_eq!(play((0..7200).map(|second| (second, 1_000_000_000_000 - second as u64))), None, "far away");
        assert_eq!(play((0..7200).map(|second| (second, 1_000 + second as u64))), None, "it gets more");
        // Retention gives back what was written.
        let saw = (0..21_600).map(|second| (second, 1_000_000_000 - (second as u64 % 1200) * 1000));
        assert_eq!(play(saw), None);
    }
}
