//! What a source shows again to whoever connects anew: a live playlist holds its newest segments, delivered or not. They are
//! recognised by their bytes, so that no old picture is passed off as a new one, nor makes a source look alive that has died.
//! Pure; must not know how pictures travel.
//!
//! The first picture of a connection tells where among the delivered ones it begins; each that follows has to be the next. Where one
//! is not (a segment that came in part), the next key frame tells anew. What looks alike in several places tells nothing (a still
//! scene): then nothing is left out. New pictures that need old ones bring them along, back to the key frame: to leave out what comes
//! until the next one would lose what was never delivered.

use std::collections::VecDeque;

use crate::agent::recognition::hash;
use crate::media::fmp4::reader::Sample;

/// Pictures remembered at most, and of at most so much media time, microseconds: FFmpeg begins three segments before the end of a
/// playlist, and what is older can only be content that is played again.
const REMEMBERED: usize = 4096;
const REMEMBERED_MICROS: i64 = 60_000_000;
/// Most bytes of old pictures that are kept for new ones.
const KEPT_BACK: usize = 32 << 20;

/// Pictures that were delivered, and how far a connection repeats them.
#[derive(Debug, Default)]
pub struct Replay {
    /// Hash and duration (microseconds) of each, as they follow one another.
    delivered: VecDeque<(u64, i64)>,
    /// The sum of the durations.
    micros: i64,
    place: Place,
    /// How many more pictures of this connection can be old ones: no more than were delivered when it began.
    may_repeat: usize,
    /// What was repeated last, from a key frame on.
    group: Vec<Sample>,
    /// Bytes of it.
    group_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The connection has shown no picture.
    Begins,
    /// It repeats; this is the next one, if it goes on so.
    Repeats(usize),
    /// What comes is new, and its place among the delivered ones is here, or behind all.
    New(usize),
}

impl Default for Place {
    fn default() -> Self {
        Self::New(usize::MAX)
    }
}

impl Replay {
    /// A connection begins.
    pub fn connect(&mut self) {
        self.place = if self.delivered.is_empty() { Place::default() } else { Place::Begins };
        self.may_repeat = self.delivered.len();
        self.forget_group();
    }

    /// Takes the next picture of this connection, in a track that counts `timescale` ticks a second. Returns what is to be delivered:
    /// nothing where it was delivered before.
    pub fn take(&mut self, sample: Sample, timescale: u32) -> Vec<Sample> {
        let hash = hash(&sample.payload);
        let known = match self.place {
            Place::Repeats(next) if self.delivered.get(next).is_some_and(|(known, _)| *known == hash) => Some(next),
            Place::Begins => self.only_place_of(hash),
            Place::Repeats(_) | Place::New(_) if sample.sync && self.may_repeat > 0 => self.only_place_of(hash),
            Place::Repeats(_) | Place::New(_) => None,
        };
        self.may_repeat = self.may_repeat.saturating_sub(1);
        if sample.sync {
            self.forget_group();
        }
        if let Some(place) = known {
            self.place = Place::Repeats(place + 1);
            self.keep(sample);
            return Vec::new();
        }
        let at = match self.place {
            Place::Repeats(next) => next,
            Place::New(at) => at,
            Place::Begins => usize::MAX,
        };
        self.place =
            Place::New(self.remember(at, hash, i64::from(sample.duration) * 1_000_000 / i64::from(timescale.max(1))));
        let mut delivered = std::mem::take(&mut self.group);
        self.forget_group();
        delivered.push(sample);
        delivered
    }

    /// Whether the newest picture was delivered before: so was its sound.
    pub const fn is_repeating(&self) -> bool {
        matches!(self.place, Place::Repeats(_))
    }

    fn forget_group(&mut self) {
        self.group.clear();
        self.group_bytes = 0;
    }

    fn keep(&mut self, sample: Sample) {
        self.group_bytes += sample.payload.len();
        if self.group_bytes > KEPT_BACK {
            self.forget_group();
        } else if sample.sync || !self.group.is_empty() {
            self.group.push(sample);
        }
    }

    /// Puts a picture at its place. Returns that of the next one.
    fn remember(&mut self, at: usize, hash: u64, micros: i64) -> usize {
        let mut next = at.min(self.delivered.len());
        self.delivered.insert(next, (hash, micros));
        self.micros += micros;
        next += 1;
        while self.delivered.len() > REMEMBERED || (self.micros > REMEMBERED_MICROS && self.delivered.len() > 1) {
            self.micros -= self.delivered.pop_front().map_or(0, |(_, micros)| micros);
            next = next.saturating_sub(1);
        }
        next
    }

    fn only_place_of(&self, hash: u64) -> Option<usize> {
        let mut places = (0..self.delivered.len()).filter(|place| self.delivered[*place].0 == hash);
        places.next().filter(|_| places.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Which pictures of a connection are delivered; those that can be divided by ten are key frames, and 25 are a second.
    fn delivered(replay: &mut Replay, pictures: impl IntoIterator<Item = u32>) -> Vec<u32> {
        replay.connect();
        let sample = |picture: u32| Sample {
            track: 1,
            decode_time: 0,
            composition_offset: 0,
            duration: 40,
            sync: picture.is_multiple_of(10),
            payload: Bytes::copy_from_slice(&picture.to_be_bytes()),
            producer_time: None,
            fragment: 0,
        };
        let number = |sample: Sample| u32::from_be_bytes(sample.payload[..].try_into().unwrap_or_default());
        pictures.into_iter().flat_map(|picture| replay.take(sample(picture), 1000)).map(number).collect()
    }

    fn numbers(range: std::ops::Range<u32>) -> Vec<u32> {
        range.collect()
    }

    #[test]
    fn what_was_delivered_is_left_out_however_often_it_comes() {
        let mut replay = Replay::default();
        assert_eq!(delivered(&mut replay, 0..50), numbers(0..50));
        assert!(!replay.is_repeating());
        assert_eq!(delivered(&mut replay, 20..50), numbers(0..0));
        assert!(replay.is_repeating(), "nothing new has come");
        assert_eq!(delivered(&mut replay, 20..60), numbers(50..60));
        assert!(!replay.is_repeating());
        assert_eq!(delivered(&mut replay, 70..80), numbers(70..80), "it begins with what is new");
        assert_eq!(delivered(&mut replay, 50..60), numbers(0..0), "what came before a gap is known, too");
    }

    #[test]
    fn what_is_new_in_mid_group_brings_what_it_needs() {
        let mut replay = Replay::default();
        delivered(&mut replay, 0..46);
        assert_eq!(delivered(&mut replay, 20..60), numbers(40..60));
        assert_eq!(delivered(&mut replay, 20..60), numbers(0..0));
    }

    #[test]
    fn a_picture_that_came_in_part_is_no_end_of_recognition() {
        let mut replay = Replay::default();
        delivered(&mut replay, (0..34).chain([99]).chain(40..50));
        let missing = "what was not delivered, and what it needs";
        assert_eq!(delivered(&mut replay, 20..50), numbers(30..40), "{missing}");
        assert_eq!(delivered(&mut replay, 20..50), numbers(0..0));
        assert_eq!(delivered(&mut replay, 20..60), numbers(50..60));
    }

    #[test]
    fn a_still_scene_tells_nothing() {
        let mut replay = Replay::default();
        delivered(&mut replay, (0..50).map(|place| place % 10));
        let again: Vec<u32> = (0..20).map(|place| place % 10).collect();
        assert_eq!(delivered(&mut replay, again.clone()), again);
    }

    #[test]
    fn what_is_older_than_a_minute_may_be_played_again() {
        let mut replay = Replay::default();
        delivered(&mut replay, 0..5000);
        assert_eq!(replay.delivered.len(), 1500);
        assert_eq!(delivered(&mut replay, 0..100), numbers(0..100));
        assert_eq!(delivered(&mut replay, 4900..5001), [5000]);
    }
}
