//! Durations as users write them: one number and one unit, `500ms`, `30s`, `90m`, `12h`, `30d`. The pattern, the CEL
//! arithmetic and the parser stand side by side here because they must agree.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use kube::core::Rule;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::rule::{literal, rule};

/// What a duration looks like.
pub const PATTERN: &str = "^[1-9][0-9]{0,8}(ms|s|m|h|d)$";
/// Longest text of a duration.
pub const MAX_LENGTH: usize = 11;

/// A positive span of time, kept as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration {
    text: String,
    milliseconds: u64,
}

/// The text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write one number and one unit (ms, s, m, h or d), such as 500ms, 30s, 90m or 30d")]
pub struct NotADuration(String);

impl Duration {
    /// Its length in milliseconds, at least 1.
    pub const fn milliseconds(&self) -> u64 {
        self.milliseconds
    }
}

impl FromStr for Duration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || NotADuration(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if digits == 0 || digits > 9 || number.starts_with('0') {
            return Err(refuse());
        }
        let factor: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refuse()),
        };
        // Nine digits of days are far from overflowing.
        let number: u64 = number.parse().map_err(|_| refuse())?;
        Ok(Self { text: text.to_owned(), milliseconds: number * factor })
    }
}

impl TryFrom<String> for Duration {
    type Error = NotADuration;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.text
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": MAX_LENGTH })
    }
}

/// A CEL expression for the milliseconds of the duration at `path`, which must match [`PATTERN`].
pub(super) fn milliseconds_expression(path: &str) -> String {
    format!(
        "({path}.endsWith('ms') ? int({path}.substring(0, {path}.size() - 2)) : \
         int({path}.substring(0, {path}.size() - 1)) * ({path}.endsWith('s') ? 1000 : {path}.endsWith('m') ? 60000 : \
         {path}.endsWith('h') ? 3600000 : 86400000))"
    )
}

/// A CEL expression that is true when the text at `path` is a duration.
pub(super) fn is_duration_expression(path: &str) -> String {
    format!("{path}.matches({})", literal(PATTERN))
}

/// The rule of a field that takes durations from `least` to `most`.
///
/// # Panics
///
/// When a bound is not a duration: the bounds are written in this module's siblings, and every schema test runs through here.
pub(super) fn between(least: &str, most: &str, example: &str) -> Rule {
    let bound = |text: &str| match text.parse::<Duration>() {
        Ok(duration) => duration.milliseconds(),
        Err(error) => panic!("{error}"),
    };
    let (low, high) = (bound(least), bound(most));
    bound(example);
    rule(
        format!(
            "{} && [{}].all(span, span >= {low} && span <= {high})",
            is_duration_expression("self"),
            milliseconds_expression("self")
        ),
        format!(
            "must be a duration from {least} to {most}, written as one number and one unit (ms, s, m, h or d), such as {example}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_one_number_and_one_unit() {
        for (text, milliseconds) in [
            ("1ms", 1),
            ("500ms", 500),
            ("30s", 30_000),
            ("90m", 5_400_000),
            ("12h", 43_200_000),
            ("30d", 2_592_000_000),
            ("999999999d", 999_999_999 * 86_400_000),
        ] {
            let parsed: Duration = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(parsed.milliseconds(), milliseconds);
            assert_eq!(parsed.to_string(), text);
        }
        for text in ["", "0s", "05s", "30", "s", "1h30m", "1.5s", "-1s", "1 s", "1000000000s", "1w", "1S", "1s\n", "١s"]
        {
            assert!(text.parse::<Duration>().is_err(), "{text:?} was taken");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_parser_takes_what_the_pattern_takes(text in "[0-9]{0,11}(ms|s|m|h|d|w|M|)\\PC{0,1}") {
            let pattern = regex::Regex::new(PATTERN).unwrap_or_else(|error| panic!("{error}"));
            proptest::prop_assert_eq!(pattern.is_match(&text), text.parse::<Duration>().is_ok());
        }
    }
}
