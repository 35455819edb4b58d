//! Pure: when a cron expression falls due, in a time zone that may change its clocks. Must not read the clock.
//!
//! A time that the clocks skip is made up for at the end of the skipped hour; a time that they repeat counts the first time
//! only. The exception is an hour field of `*`: it follows real time, so that "every ten minutes" goes on every ten minutes.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, Zoned};

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not a cron expression.
    #[error(
        "`{expression}` is not a schedule: {problem}; write five fields, as in `0 3 * * *` for three o'clock every night"
    )]
    Expression {
        /// As written.
        expression: String,
        /// What the parser says.
        problem: String,
    },
    /// Not a time zone.
    #[error("`{0}` is not a time zone; write an IANA name, as in `Etc/UTC` or `Europe/Berlin`")]
    TimeZone(String),
    /// Such a time never comes, as in `0 0 30 2 *`.
    #[error("the schedule `{0}` never falls due")]
    Never(String),
}

/// A cron expression in a time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    expression: String,
    cron: Cron,
    time_zone: TimeZone,
    /// Whether the hour field is `*`.
    every_hour: bool,
}

impl Schedule {
    /// Reads five cron fields (minute, hour, day of month, month, day of week) or a nickname such as `@daily`, and an IANA time
    /// zone name.
    ///
    /// # Errors
    /// When either cannot be understood, or no such time ever comes.
    pub fn parse(expression: &str, time_zone: &str) -> Result<Self, ScheduleError> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| ScheduleError::Expression {
            expression: expression.to_owned(),
            problem: error.to_string(),
        })?;
        let zone = TimeZone::get(time_zone).map_err(|_| ScheduleError::TimeZone(time_zone.to_owned()))?;
        let every_hour =
            expression.split_whitespace().nth(1) == Some("*") || expression.trim().eq_ignore_ascii_case("@hourly");
        let schedule = Self { expression: expression.to_owned(), cron, time_zone: zone, every_hour };
        schedule.next_after(Timestamp::UNIX_EPOCH)?;
        Ok(schedule)
    }

    /// The first time it falls due strictly after `instant`.
    ///
    /// # Errors
    /// When there is none in the years that the calendar knows.
    pub fn next_after(&self, instant: Timestamp) -> Result<Timestamp, ScheduleError> {
        let never = || ScheduleError::Never(self.expression.clone());
        let local = instant.to_zoned(self.time_zone.clone());
        if self.every_hour {
            return self.cron.find_next_occurrence(&local, false).map(|next| next.timestamp()).map_err(|_| never());
        }
        // The wall clock's times in order, as if it never changed; each stands for one instant, and later ones for later
        // instants, so that none is lost and none comes twice.
        let mut wall = as_utc(local.datetime()).ok_or_else(never)?;
        loop {
            wall = self.cron.find_next_occurrence(&wall, false).map_err(|_| never())?;
            let due = self.instant_of(wall.datetime()).ok_or_else(never)?;
            if due > instant {
                return Ok(due);
            }
        }
    }

    /// Whether a run is due at `now`, when the last one was at `last`: also when the time came while nobody was there to run.
    pub fn due(&self, last: Timestamp, now: Timestamp) -> bool {
        self.next_after(last).is_ok_and(|next| next <= now)
    }

    /// The instant at which a wall clock shows `time`: the first such instant, or the end of the gap that swallows it.
    fn instant_of(&self, time: DateTime) -> Option<Timestamp> {
        match self.time_zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok(),
            AmbiguousOffset::Gap { before, .. } => {
                // By the old offset the time lies within the hour after the change, so that the change is the newest one then.
                let shifted = before.to_timestamp(time).ok()?;
                let second = jiff::SignedDuration::from_secs(1);
                let change = self.time_zone.preceding(shifted.checked_add(second).ok()?).next();
                Some(change.map_or(shifted, |change| change.timestamp()))
            }
        }
    }
}

fn as_utc(time: DateTime) -> Option<Zoned> {
    time.to_zoned(TimeZone::UTC).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All times in `from..to` at which it falls due, as UTC.
    fn all(expression: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
        let schedule = Schedule::parse(expression, zone).expect("schedule");
        let (mut at, to): (Timestamp, Timestamp) = (from.parse().expect("time"), to.parse().expect("time"));
        let mut found = Vec::new();
        loop {
            at = schedule.next_after(at).expect("next");
            if at >= to {
                return found;
            }
            found.push(at.to_string());
        }
    }

    #[test]
    fn a_night_run_comes_once_a_day_over_both_changes_of_the_clock() {
        // Europe/Berlin: on 2026-03-29 at 02:00 the clock goes to 03:00, on 2026-10-25 at 03:00 back to 02:00.
        assert_eq!(
            all("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", "2026-03-31T00:00:00Z"),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(
            all("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-27T00:00:00Z"),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        assert_eq!(
            all("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-31T00:00:00Z"),
            ["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]
        );
    }

    #[test]
    fn several_times_within_the_skipped_hour_are_one_run() {
        assert_eq!(
            all("0,20,40 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z"),
            ["2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z", "2026-03-29T01:40:00Z"]
        );
        // A list of hours runs at each of them, the skipped one included, and each once when one is repeated.
        assert_eq!(
            all("0 */2 * * *", "Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T04:00:00Z"),
            ["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]
        );
        assert_eq!(
            all("0 1,2,3 * * *", "Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T12:00:00Z"),
            ["2026-10-24T23:00:00Z", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"]
        );
    }

    #[test]
    fn an_hour_field_of_star_follows_real_time() {
        let spring = all("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T03:01:00Z");
        assert_eq!(spring.len(), 6);
        let autumn = all("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T03:01:00Z");
        assert_eq!(autumn.len(), 6);
    }

    #[test]
    fn odd_changes_work_too() {
        // Half an hour at Lord Howe; midnight in Cairo; a whole day that Samoa left out.
        assert_eq!(
            all("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", "2026-10-05T00:00:00Z"),
            ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]
        );
        assert_eq!(
            all("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", "2026-04-25T12:00:00Z"),
            ["2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"]
        );
        assert_eq!(
            all("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", "2012-01-01T12:00:00Z"),
            ["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z", "2011-12-31T22:00:00Z"]
        );
    }

    #[test]
    fn it_falls_due_exactly_once_a_day_in_every_zone_through_a_whole_year() {
        for zone in [
            "Europe/Berlin",
            "America/New_York",
            "America/Santiago",
            "Australia/Lord_Howe",
            "Africa/Cairo",
            "Asia/Tehran",
        ] {
            for expression in ["0 0 * * *", "30 1 * * *", "30 2 * * *", "0 3 * * *"] {
                let due = all(expression, zone, "2026-01-01T12:00:00Z", "2027-01-01T12:00:00Z");
                assert_eq!(due.len(), 365, "{expression} in {zone}");
            }
        }
    }

    #[test]
    fn a_run_that_was_missed_is_due() {
        let schedule = Schedule::parse("0 3 * * *", "Etc/UTC").expect("schedule");
        let at = |text: &str| text.parse::<Timestamp>().expect("time");
        assert!(!schedule.due(at("2026-11-21T03:00:00Z"), at("2026-11-22T02:59:59Z")));
        assert!(schedule.due(at("2026-11-21T03:00:00Z"), at("2026-11-22T03:00:00Z")));
        assert!(schedule.due(at("2026-11-21T03:00:00Z"), at("2026-11-25T17:00:00Z")));
        assert!(!schedule.due(at("2026-11-25T03:00:00Z"), at("2026-11-21T17:00:00Z")), "the clock went back");
    }

    #[test]
    fn what_is_wrong_is_said_with_an_example() {
        for expression in ["", "0 3 * *", "61 * * * *", "0 0 3 * * *", "at three"] {
            let error = Schedule::parse(expression, "Etc/UTC").expect_err(expression).to_string();
            assert!(error.contains("0 3 * * *"), "{error}");
        }
        assert!(matches!(Schedule::parse("0 3 * * *", "Mars/Olympus"), Err(ScheduleError::TimeZone(_))));
        assert!(matches!(Schedule::parse("0 0 30 2 *", "Etc/UTC"), Err(ScheduleError::Never(_))));
    }
}
