//! Sizes as users write them, in the notation of Kubernetes without its fractions: `100Gi`, `2500k`, `1000000`. The pattern
//! and the parser stand side by side here because they must agree.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use kube::core::Rule;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::rule::{literal, rule};

/// What a quantity looks like. The digits are bounded so that no value leaves a signed 64-bit integer.
pub const PATTERN: &str = "^[1-9]([0-9]{0,14}|[0-9]{0,8}(k|M|G|Ki|Mi|Gi)|[0-9]{0,5}Ti?)$";
/// Longest text of a quantity.
pub const MAX_LENGTH: usize = 15;

/// A positive whole number with an optional decimal (`k`, `M`, `G`, `T`) or binary (`Ki`, `Mi`, `Gi`, `Ti`) suffix, kept as
/// it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quantity {
    text: String,
    value: u64,
}

/// The text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a size: write a whole number and a suffix (k, M, G, T, Ki, Mi, Gi or Ti), such as 100Gi or 2500k"
)]
pub struct NotAQuantity(String);

impl Quantity {
    /// Its value, at least 1.
    pub const fn value(&self) -> u64 {
        self.value
    }
}

impl FromStr for Quantity {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || NotAQuantity(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = text.split_at(digits);
        let (factor, most_digits): (u64, usize) = match suffix {
            "" => (1, 15),
            "k" => (1_000, 9),
            "M" => (1_000_000, 9),
            "G" => (1_000_000_000, 9),
            "T" => (1_000_000_000_000, 6),
            "Ki" => (1 << 10, 9),
            "Mi" => (1 << 20, 9),
            "Gi" => (1 << 30, 9),
            "Ti" => (1 << 40, 6),
            _ => return Err(refuse()),
        };
        if digits == 0 || digits > most_digits || number.starts_with('0') {
            return Err(refuse());
        }
        let number: u64 = number.parse().map_err(|_| refuse())?;
        Ok(Self { text: text.to_owned(), value: number * factor })
    }
}

impl TryFrom<String> for Quantity {
    type Error = NotAQuantity;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Quantity> for String {
    fn from(quantity: Quantity) -> Self {
        quantity.text
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": MAX_LENGTH })
    }
}

/// The rule of a field that takes sizes in bytes from `least` to `most`.
///
/// # Panics
///
/// When a bound is not a quantity: the bounds are written in this module's siblings, and every schema test runs through here.
pub(super) fn between(least: &str, most: &str, example: &str) -> Rule {
    rule_between("size in bytes", least, most, example)
}

/// The rule of a field that holds bits a second.
pub(super) fn bit_rate_between(least: &str, most: &str, example: &str) -> Rule {
    rule_between("bit rate in bits a second", least, most, example)
}

fn rule_between(what: &str, least: &str, most: &str, example: &str) -> Rule {
    for text in [least, most, example] {
        if let Err(error) = text.parse::<Quantity>() {
            panic!("{error}");
        }
    }
    rule(
        format!(
            "self.matches({}) && quantity(self).compareTo(quantity('{least}')) >= 0 && \
             quantity(self).compareTo(quantity('{most}')) <= 0",
            literal(PATTERN)
        ),
        format!(
            "must be a {what} from {least} to {most}, written as a whole number and a suffix (k, M, G, T, Ki, Mi, Gi or \
             Ti), such as {example}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_whole_numbers_with_a_suffix() {
        for (text, value) in [
            ("1", 1),
            ("1000000", 1_000_000),
            ("2500k", 2_500_000),
            ("100Gi", 100 << 30),
            ("999999Ti", 999_999 << 40),
            ("999999999Gi", 999_999_999 << 30),
            ("5T", 5_000_000_000_000),
        ] {
            let parsed: Quantity = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(parsed.value(), value);
            assert_eq!(parsed.to_string(), text);
        }
        for text in
            ["", "0", "0Gi", "01Gi", "1.5Gi", "500m", "1K", "1ki", "1GB", "1 Gi", "-1Gi", "1e3", "1000000Ti", "Gi"]
        {
            assert!(text.parse::<Quantity>().is_err(), "{text:?} was taken");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_parser_takes_what_the_pattern_takes(text in "[0-9]{0,16}([kKmMGT]?i?|B)\\PC{0,1}") {
            let pattern = regex::Regex::new(PATTERN).unwrap_or_else(|error| panic!("{error}"));
            proptest::prop_assert_eq!(pattern.is_match(&text), text.parse::<Quantity>().is_ok());
        }
    }
}
