//! Quiet hours: at which instants which severities wait. Pure.

use jiff::Timestamp;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;

use crate::api::alert_route::{Day, QuietHours, Severity};

/// The severities that wait at `now`.
pub fn waiting(hours: &[QuietHours], now: Timestamp) -> Vec<Severity> {
    let quiet = hours.iter().filter(|hours| is_quiet(hours, now));
    quiet
        .flat_map(|hours| {
            if hours.severities.is_empty() { vec![Severity::Info, Severity::Warning] } else { hours.severities.clone() }
        })
        .collect()
}

/// The first name of a time zone that this machine does not know.
pub fn unknown_zone(hours: &[QuietHours]) -> Option<&str> {
    // Where the machine has no list of time zones, any may be right.
    jiff::tz::db().available().next()?;
    hours.iter().filter_map(|hours| hours.time_zone.as_deref()).find(|name| TimeZone::get(name).is_err())
}

fn is_quiet(hours: &QuietHours, now: Timestamp) -> bool {
    let zone = hours.time_zone.as_deref().and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC);
    let now = now.to_zoned(zone).datetime();
    let (Some(from), Some(to)) = (clock(&hours.from), clock(&hours.to)) else { return false };
    let begins_on = |date: Date| hours.days.is_empty() || hours.days.iter().any(|day| weekday(*day) == date.weekday());
    let time = now.time();
    let is_of_today = time >= from && (from >= to || time < to) && begins_on(now.date());
    let is_of_yesterday = from >= to && time < to && now.date().yesterday().is_ok_and(begins_on);
    is_of_today || is_of_yesterday
}

fn clock(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

const fn weekday(day: Day) -> Weekday {
    match day {
        Day::Monday => Weekday::Monday,
        Day::Tuesday => Weekday::Tuesday,
        Day::Wednesday => Weekday::Wednesday,
        Day::Thursday => Weekday::Thursday,
        Day::Friday => Weekday::Friday,
        Day::Saturday => Weekday::Saturday,
        Day::Sunday => Weekday::Sunday,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(from: &str, to: &str, days: &[Day]) -> QuietHours {
        QuietHours {
            from: from.into(),
            to: to.into(),
            days: days.to_vec(),
            time_zone: Some("Europe/Madrid".into()),
            severities: Vec::new(),
        }
    }

    #[test]
    fn hours_are_those_of_the_clock_on_the_wall_also_when_it_is_put_forward_or_back() {
        // Madrid: at 2027-03-28T01:00Z 02:00 becomes 03:00, at 2026-10-25T01:00Z 03:00 becomes 02:00.
        for (from, to, at, is) in [
            ("22:00", "07:00", "2027-03-28T04:59:59Z", true),
            ("22:00", "07:00", "2027-03-28T05:00:00Z", false),
            ("22:00", "07:00", "2026-10-25T05:59:59Z", true),
            ("22:00", "07:00", "2026-10-25T06:00:00Z", false),
            // Times that there are not: what begins in the hour that is left out begins after it.
            ("02:30", "04:00", "2027-03-28T00:59:59Z", false),
            ("02:30", "04:00", "2027-03-28T01:00:00Z", true),
            ("02:30", "04:00", "2027-03-28T02:00:00Z", false),
            // Times that there are twice are quiet twice.
            ("02:00", "02:30", "2026-10-25T00:29:59Z", true),
            ("02:00", "02:30", "2026-10-25T00:30:00Z", false),
            ("02:00", "02:30", "2026-10-25T01:00:00Z", true),
            ("02:00", "02:30", "2026-10-25T01:30:00Z", false),
        ] {
            let quiet = !waiting(&[hours(from, to, &[])], at.parse().unwrap()).is_empty();
            assert_eq!(quiet, is, "{from}-{to} at {at}");
        }
    }

    #[test]
    fn hours_over_midnight_belong_to_the_day_on_which_they_begin() {
        // 2026-11-27 is a Friday; Madrid is an hour ahead of UTC.
        for (from, to, days, at, is) in [
            ("22:00", "07:00", &[][..], "2026-11-27T21:00:00Z", true),
            ("22:00", "07:00", &[], "2026-11-27T20:59:59Z", false),
            ("22:00", "07:00", &[], "2026-11-28T05:59:59Z", true),
            ("22:00", "07:00", &[], "2026-11-28T06:00:00Z", false),
            ("22:00", "07:00", &[Day::Friday], "2026-11-28T05:00:00Z", true),
            ("22:00", "07:00", &[Day::Saturday], "2026-11-28T05:00:00Z", false),
            ("12:00", "14:00", &[Day::Friday], "2026-11-27T12:00:00Z", true),
            ("12:00", "14:00", &[Day::Friday], "2026-11-27T13:00:00Z", false),
            ("00:00", "00:00", &[Day::Saturday], "2026-11-28T12:00:00Z", true),
            ("00:00", "00:00", &[Day::Saturday], "2026-11-29T12:00:00Z", false),
        ] {
            let quiet = waiting(&[hours(from, to, days)], at.parse().unwrap());
            let expected = if is { vec![Severity::Info, Severity::Warning] } else { Vec::new() };
            assert_eq!(quiet, expected, "{from}-{to} {days:?} at {at}");
        }
    }
}
