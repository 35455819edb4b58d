//! Recognises a picture that was delivered before, under whatever name, by its bytes. Pure; must not know how pictures travel.
//!
//! In a still scene one picture is like another, so bytes alone say nothing: then the time decides. But two agents may date one
//! picture differently: one that had to wait for its processor when it began dates all that it has too late. So where the
//! scene shows that it is not still, bytes are enough.

use std::hash::{DefaultHasher, Hasher as _};

use crate::media::frame::{Frame, UtcMicros};

/// So many pictures before a recognised one are compared, too.
const COMPARED: usize = 8;
/// The same picture is dated by two agents within this, microseconds. What looks the same at another time is another picture: a
/// gap in a still scene must not be taken for none.
const SAME_TIME: i64 = 500_000;

/// What is remembered of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// Of its bytes.
    pub hash: u64,
    /// Whether a group of pictures begins with it.
    pub key: bool,
    /// When it was taken.
    pub utc: UtcMicros,
}

impl Picture {
    /// What is to be remembered of a frame.
    pub fn of(frame: &Frame) -> Self {
        Self { hash: hash(&frame.payload), key: frame.is_video_key(), utc: frame.utc }
    }
}

/// Of a payload's bytes.
pub fn hash(payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(payload);
    hasher.finish()
}

/// Whether the newest of the pictures that `came` is the newest of those that were `delivered`. Both begin with the newest.
pub fn is_newest<'a>(
    delivered: impl Iterator<Item = &'a Picture> + Clone,
    came: impl Iterator<Item = &'a Picture> + Clone,
) -> bool {
    let (Some(newest), Some(other)) = (delivered.clone().next(), came.clone().next()) else { return false };
    let alike = delivered.clone().zip(came.clone()).take(1 + COMPARED).all(|(one, other)| one.hash == other.hash);
    alike && ((newest.utc.0 - other.utc.0).abs() <= SAME_TIME || is_same_group(delivered, came))
}

/// Whether both are alike back to where the group of pictures begins, and no earlier group that was delivered begins so.
fn is_same_group<'a>(
    mut delivered: impl Iterator<Item = &'a Picture>,
    mut came: impl Iterator<Item = &'a Picture>,
) -> bool {
    loop {
        let (Some(one), Some(other)) = (delivered.next(), came.next()) else { return false };
        if one.hash != other.hash {
            return false;
        }
        if one.key {
            let mut earlier = delivered.filter(|picture| picture.key).peekable();
            return earlier.peek().is_some() && earlier.all(|picture| picture.hash != one.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures of these contents, the newest last; those that can be divided by ten begin groups.
    fn pictures(contents: impl IntoIterator<Item = u64>, late: i64) -> Vec<Picture> {
        let contents = contents.into_iter().enumerate();
        contents
            .map(|(place, hash)| Picture {
                hash,
                key: hash.is_multiple_of(10),
                utc: UtcMicros(place as i64 * 40_000 + late),
            })
            .collect()
    }

    fn is(delivered: &[Picture], came: &[Picture]) -> bool {
        is_newest(delivered.iter().rev(), came.iter().rev())
    }

    #[test]
    fn bytes_and_time_tell_and_without_time_a_group_of_its_own() {
        let delivered = pictures(0..45, 0);
        assert!(is(&delivered, &pictures(0..45, 400_000)));
        assert!(!is(&delivered, &pictures(0..44, 0)), "not the newest");
        assert!(!is(&delivered, &pictures((0..40).chain([5]).chain(41..45), 0)), "another one before it");
        assert!(is(&delivered, &pictures(0..45, 6_000_000)), "dated six seconds later, but nothing else looks like it");
        assert!(is(&delivered, &pictures(40..45, 6_000_000)), "of its group it has all");
        assert!(!is(&delivered, &pictures(41..45, 6_000_000)), "of its group the beginning is missing");
        assert!(!is(&pictures(40..45, 0), &pictures(40..45, 6_000_000)), "nothing tells whether the scene is still");
        let still = |late| pictures((0..45).map(|place| place % 10), late);
        assert!(is(&still(0), &still(400_000)));
        assert!(!is(&still(0), &still(6_000_000)), "a gap in a still scene");
        assert!(!is(&[], &delivered) && !is(&delivered, &[]));
    }
}
