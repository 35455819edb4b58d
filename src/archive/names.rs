//! Names of files that are gone. A player, a backup or a log may still hold one, so none is ever given to another file. Pure.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::index::FileName;
use crate::media::frame::UtcMicros;

/// What must be known of the names of files that are gone: little, however many there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetiredNames {
    /// Beginning of the latest minute that such a name stands for.
    pub minute: UtcMicros,
    /// The highest counter in that minute.
    pub counter: u32,
    /// The highest counter in all earlier minutes; absent: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<u32>,
}

impl RetiredNames {
    /// What is known once `name` is retired too.
    #[must_use]
    pub fn with(known: Option<Self>, name: FileName) -> Self {
        let (minute, counter) = (name.minute_start(), name.counter);
        let Some(known) = known else { return Self { minute, counter, earlier: None } };
        match minute.cmp(&known.minute) {
            Ordering::Less => Self { earlier: known.earlier.max(Some(counter)), ..known },
            Ordering::Equal => Self { counter: known.counter.max(counter), ..known },
            Ordering::Greater => Self { minute, counter, earlier: known.earlier.max(Some(known.counter)) },
        }
    }

    /// The first of `name` and those after it in its minute that was never given to a file that is gone.
    #[must_use]
    pub fn first_free(known: Option<Self>, name: FileName) -> FileName {
        let Some(known) = known else { return name };
        let taken = match name.minute_start().cmp(&known.minute) {
            Ordering::Greater => None,
            Ordering::Equal => Some(known.counter),
            // Only the highest counter of all earlier minutes is known: so high, it was given in none of them.
            Ordering::Less => known.earlier,
        };
        let counter = taken.map_or(name.counter, |taken| name.counter.max(taken.saturating_add(1)));
        FileName { counter, ..name }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn name(minute: i64, counter: u32) -> FileName {
        FileName { counter, ..FileName::of(UtcMicros(minute * 60_000_000)) }
    }

    fn retired(names: &[FileName]) -> Option<RetiredNames> {
        names.iter().fold(None, |known, name| Some(RetiredNames::with(known, *name)))
    }

    #[test]
    fn counting_goes_on_within_the_minute_and_begins_anew_in_the_next() {
        let known = retired(&[name(36, 5), name(37, 0), name(37, 1)]);
        assert_eq!(RetiredNames::first_free(known, name(37, 0)), name(37, 2));
        assert_eq!(RetiredNames::first_free(known, name(38, 0)), name(38, 0));
        // The clock was set back: what was given there is not known one by one.
        assert_eq!(RetiredNames::first_free(known, name(20, 0)), name(20, 6));
        assert_eq!(RetiredNames::first_free(retired(&[name(37, 0)]), name(20, 0)), name(20, 0));
        assert_eq!(RetiredNames::first_free(None, name(20, 0)), name(20, 0));
    }

    proptest! {
        #[test]
        fn no_name_is_ever_given_again(given in prop::collection::vec((0_i64..200, 0_u32..5), 0..50), minute in 0_i64..200) {
            let gone: Vec<FileName> = given.into_iter().map(|(minute, counter)| name(minute, counter)).collect();
            let free = RetiredNames::first_free(retired(&gone), name(minute, 0));
            prop_assert_eq!(free.minute_start(), name(minute, 0).minute_start());
            let gone: BTreeSet<FileName> = gone.into_iter().collect();
            for counter in free.counter..free.counter + 10 {
                let name = FileName { counter, ..free };
                prop_assert!(!gone.contains(&name), "{}", name);
            }
        }
    }
}
