//! How an archive's paths are spelt: `<namespace>/<recording>/2026-11-21/01/37-2.mp4`. Pure: typed parts to names and back.
//! Must not touch the disk (that is [`super::folder`]); nothing else may put path strings together.

use std::fmt;
use std::str::FromStr;

use super::index::{FileName, Hour, RecordingPath};
use crate::media::frame::UtcMicros;

/// The index of an hour, in the hour's folder.
pub const PLAYLIST: &str = "playlist.m3u8";
/// Who owns a recording, in the recording's folder.
pub const RECORDING: &str = "recording.json";
/// Names the file that is being written, in the recording's folder.
pub const WRITING: &str = "writing";
/// The lock of an archive, in its root.
pub const LOCK: &str = "archive.lock";
/// Where files stand until they are whole; renamed or left over from a crash.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// Microseconds of an hour.
pub const HOUR_MICROS: i64 = 3_600_000_000;

/// A name that is not one of the archive's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name that this archive gives")]
pub struct NotOurs(pub String);

impl RecordingPath {
    /// A path from its two parts, each a DNS label or a DNS subdomain as Kubernetes names are (RFC 1123).
    ///
    /// # Errors
    /// When a part is anything else.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Result<Self, NotOurs> {
        let path = Self { namespace: namespace.into(), name: name.into() };
        for part in [&path.namespace, &path.name] {
            if !is_object_name(part) {
                return Err(NotOurs(part.clone()));
            }
        }
        Ok(path)
    }
}

/// Whether `name` can be an object's name (RFC 1123 subdomain): never empty, hidden, or a way out of a folder.
pub fn is_object_name(name: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    name.len() <= 253
        && bytes.first().is_some_and(|byte| alphanumeric(*byte))
        && bytes.last().is_some_and(|byte| alphanumeric(*byte))
        && bytes.iter().all(|byte| alphanumeric(*byte) || matches!(byte, b'-' | b'.'))
        && !name.contains("..")
}

impl fmt::Display for RecordingPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for RecordingPath {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let (namespace, name) = text.split_once('/').ok_or_else(|| NotOurs(text.to_owned()))?;
        Self::new(namespace, name)
    }
}

impl Hour {
    /// The UTC hour that holds an instant.
    pub fn of(instant: UtcMicros) -> Self {
        let civil = instant.timestamp().to_zoned(jiff::tz::TimeZone::UTC);
        Self { date: civil.date(), hour: civil.hour() }
    }

    /// Its first instant.
    pub fn start(self) -> UtcMicros {
        let at = self.date.at(self.hour, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC);
        at.map_or(UtcMicros(0), |zoned| UtcMicros::from_timestamp(zoned.timestamp()))
    }

    /// The first instant after it.
    pub fn end(self) -> UtcMicros {
        self.start().plus_micros(HOUR_MICROS)
    }

    /// The hour `hours` later, or earlier when negative.
    #[must_use]
    pub fn plus_hours(self, hours: i64) -> Self {
        Self::of(self.start().plus_micros(hours.saturating_mul(HOUR_MICROS)))
    }

    /// Name of its date's folder: `2026-11-21`.
    pub fn date_folder(self) -> String {
        self.date.to_string()
    }

    /// Name of its own folder within the date's: `01`.
    pub fn hour_folder(self) -> String {
        format!("{:02}", self.hour)
    }

    /// From the names of the two folders.
    pub fn from_folders(date: &str, hour: &str) -> Result<Self, NotOurs> {
        let not_ours = || NotOurs(format!("{date}/{hour}"));
        let parsed = parse_date(date).ok_or_else(not_ours)?;
        let number = two_digits(hour).filter(|number| *number < 24).ok_or_else(not_ours)?;
        Ok(Self { date: parsed, hour: number })
    }
}

/// Reads a date folder's name, and only the spelling that [`Hour::date_folder`] gives.
pub fn parse_date(text: &str) -> Option<jiff::civil::Date> {
    let date: jiff::civil::Date = text.parse().ok()?;
    (date.to_string() == text).then_some(date)
}

fn two_digits(text: &str) -> Option<i8> {
    (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

impl fmt::Display for Hour {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{:02}", self.date, self.hour)
    }
}

impl FromStr for Hour {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let (date, hour) = text.split_once('/').ok_or_else(|| NotOurs(text.to_owned()))?;
        Self::from_folders(date, hour)
    }
}

impl FileName {
    /// The name of the first file of a UTC minute; later ones count up.
    pub fn of(first_frame: UtcMicros) -> Self {
        let hour = Hour::of(first_frame);
        let minute = (first_frame.0 - hour.start().0).div_euclid(60_000_000);
        Self { hour, minute: i8::try_from(minute.clamp(0, 59)).unwrap_or(0), counter: 0 }
    }

    /// Name within the hour's folder: `37.mp4`, then `37-1.mp4`, `37-2.mp4`.
    pub fn file(self) -> String {
        if self.counter == 0 {
            format!("{:02}.mp4", self.minute)
        } else {
            format!("{:02}-{}.mp4", self.minute, self.counter)
        }
    }

    /// From the name within an hour's folder; only spellings that [`FileName::file`] gives.
    pub fn from_file(hour: Hour, file: &str) -> Result<Self, NotOurs> {
        let not_ours = || NotOurs(file.to_owned());
        let stem = file.strip_suffix(".mp4").ok_or_else(not_ours)?;
        let (minute, counter) = stem.split_once('-').map_or((stem, "0"), |(minute, counter)| (minute, counter));
        let minute = two_digits(minute).filter(|minute| *minute < 60).ok_or_else(not_ours)?;
        let counter = counter.parse().map_err(|_| not_ours())?;
        let name = Self { hour, minute, counter };
        if name.file() == file { Ok(name) } else { Err(not_ours()) }
    }

    /// Beginning of the minute that it stands for.
    pub fn minute_start(self) -> UtcMicros {
        self.hour.start().plus_micros(i64::from(self.minute) * 60_000_000)
    }

    /// The name to try when this one is taken.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { counter: self.counter + 1, ..self }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.hour, self.file())
    }
}

impl FromStr for FileName {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let (hour, file) = text.rsplit_once('/').ok_or_else(|| NotOurs(text.to_owned()))?;
        Self::from_file(hour.parse()?, file)
    }
}

/// Name of a part of a clip: `clip.mp4`, then `clip-2.mp4`, `clip-3.mp4`. Parts count from 1.
pub fn clip_file(part: u32) -> String {
    if part <= 1 { "clip.mp4".to_owned() } else { format!("clip-{part}.mp4") }
}

/// The part that a clip's file name stands for; only spellings that [`clip_file`] gives.
pub fn parse_clip_file(file: &str) -> Result<u32, NotOurs> {
    let stem = file.strip_suffix(".mp4").and_then(|stem| stem.strip_prefix("clip"));
    let part = match stem {
        Some("") => Some(1),
        Some(rest) => rest.strip_prefix('-').and_then(|digits| digits.parse().ok()),
        None => None,
    };
    part.filter(|part| clip_file(*part) == file).ok_or_else(|| NotOurs(file.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UtcMicros {
        UtcMicros::from_timestamp(text.parse().expect("timestamp"))
    }

    #[test]
    fn names_are_utc_of_the_first_frame_whatever_the_local_time_zone() {
        let name = FileName::of(at("2026-11-21T01:37:59.999Z"));
        assert_eq!(name.to_string(), "2026-11-21/01/37.mp4");
        assert_eq!(name.next().next().to_string(), "2026-11-21/01/37-2.mp4");
        assert_eq!(FileName::of(at("2026-12-31T23:59:59.999999Z")).to_string(), "2026-12-31/23/59.mp4");
        assert_eq!(FileName::of(at("1969-12-31T23:59:59Z")).to_string(), "1969-12-31/23/59.mp4");
    }

    #[test]
    fn every_name_is_read_back_and_no_other_spelling_is() {
        for text in ["2026-11-21/01/37.mp4", "2026-11-21/23/00-1.mp4", "2026-11-21/00/59-4000000000.mp4"] {
            assert_eq!(text.parse::<FileName>().expect(text).to_string(), text);
        }
        for text in [
            "2026-11-21/01/60.mp4",
            "2026-11-21/24/00.mp4",
            "2026-11-21/1/00.mp4",
            "2026-02-30/01/00.mp4",
            "2026-11-21/01/7.mp4",
            "2026-11-21/01/+7.mp4",
            "2026-11-21/01/37-0.mp4",
            "2026-11-21/01/37-01.mp4",
            "2026-11-21/01/37-.mp4",
            "2026-11-21/01/37.mp4.tmp",
            "2026-11-21/01/../37.mp4",
            "../2026-11-21/01/37.mp4",
            "/2026-11-21/01/37.mp4",
            "20261121/01/37.mp4",
            "2026-11-21/01/37-5000000000.mp4",
            "",
        ] {
            assert!(text.parse::<FileName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_recording_path_can_never_leave_the_root() {
        assert_eq!(RecordingPath::new("shop", "front-door").expect("path").to_string(), "shop/front-door");
        for part in ["", ".", "..", "a/b", "a\\b", "-a", "A", "a..b", ".a", "a\0", "a b", &"a".repeat(254)] {
            assert!(RecordingPath::new("shop", part).is_err(), "{part:?}");
            assert!(RecordingPath::new(part, "door").is_err(), "{part:?}");
        }
        assert!("shop/front/door".parse::<RecordingPath>().is_err());
    }

    #[test]
    fn hours_know_their_span() {
        let hour = Hour::of(at("2026-10-25T00:59:59Z"));
        assert_eq!(hour.to_string(), "2026-10-25/00");
        assert_eq!(hour.end(), at("2026-10-25T01:00:00Z"));
        assert_eq!(hour.plus_hours(-1).to_string(), "2026-10-24/23");
    }

    #[test]
    fn clip_parts_have_one_spelling_each() {
        assert_eq!((clip_file(1).as_str(), clip_file(2).as_str()), ("clip.mp4", "clip-2.mp4"));
        assert_eq!(parse_clip_file("clip-12.mp4"), Ok(12));
        for text in ["clip-1.mp4", "clip-0.mp4", "clip-02.mp4", "clip-x.mp4", "clip.mp", "xclip.mp4"] {
            assert!(parse_clip_file(text).is_err(), "{text}");
        }
    }
}
