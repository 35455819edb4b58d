//! What a source shows again to whoever connects anew: a live playlist holds its newest segments, delivered or not. They are
//! recognised by their bytes, so that no old picture is passed off as a new one, nor makes a source look alive that has died.
//! Pure; must not know how pictures travel.
//!
//! The first picture of a connection tells where among the delivered ones it begins; each that follows has to be the next. What
//! looks alike in several places tells nothing (a still scene): then nothing is left out.

use std::collections::VecDeque;

use crate::agent::recognition::hash;

/// Pictures remembered: FFmpeg begins three segments before the end of a playlist; these are a minute of 60 a second.
const REMEMBERED: usize = 4096;

/// Pictures that were delivered, and how far a connection repeats them.
#[derive(Debug, Default)]
pub struct Replay {
    delivered: VecDeque<u64>,
    place: Place,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// The connection has shown no picture.
    Begins,
    /// It repeats; this is the next one, if it goes on so.
    Repeats(usize),
    /// What comes is new.
    #[default]
    New,
}

impl Replay {
    /// A connection begins.
    pub fn connect(&mut self) {
        self.place = if self.delivered.is_empty() { Place::New } else { Place::Begins };
    }

    /// Whether the next picture of this connection was delivered before; if not, it is from now on.
    pub fn repeats(&mut self, payload: &[u8]) -> bool {
        let hash = hash(payload);
        let place = match self.place {
            Place::Begins => self.only_place_of(hash),
            Place::Repeats(next) => self.delivered.get(next).is_some_and(|known| *known == hash).then_some(next),
            Place::New => None,
        };
        if let Some(place) = place {
            self.place = Place::Repeats(place + 1);
            return true;
        }
        self.place = Place::New;
        if self.delivered.len() == REMEMBERED {
            self.delivered.pop_front();
        }
        self.delivered.push_back(hash);
        false
    }

    /// Whether the newest picture was delivered before: so was its sound.
    pub const fn is_repeating(&self) -> bool {
        matches!(self.place, Place::Repeats(_))
    }

    fn only_place_of(&self, hash: u64) -> Option<usize> {
        let mut places = (0..self.delivered.len()).filter(|place| self.delivered[*place] == hash);
        places.next().filter(|_| places.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which pictures of a connection are new.
    fn new(replay: &mut Replay, pictures: impl IntoIterator<Item = u32>) -> Vec<u32> {
        replay.connect();
        pictures.into_iter().filter(|picture| !replay.repeats(&picture.to_be_bytes())).collect()
    }

    fn to(end: u32) -> Vec<u32> {
        (0..end).collect()
    }

    #[test]
    fn what_was_delivered_is_left_out_however_often_it_comes() {
        let mut replay = Replay::default();
        assert_eq!(new(&mut replay, 0..50), to(50));
        assert!(!replay.is_repeating());
        assert_eq!(new(&mut replay, 20..50), to(0));
        assert!(replay.is_repeating(), "nothing new has come");
        assert_eq!(new(&mut replay, 20..60), (50..60).collect::<Vec<_>>());
        assert!(!replay.is_repeating());
        assert_eq!(new(&mut replay, 70..80), (70..80).collect::<Vec<_>>(), "it begins with what is new");
        assert_eq!(new(&mut replay, 55..60), to(0), "what came before a gap is known, too");
    }

    #[test]
    fn what_goes_on_otherwise_is_new_from_there() {
        let mut replay = Replay::default();
        new(&mut replay, 0..50);
        assert_eq!(new(&mut replay, (20..30).chain([99, 31, 32])), [99, 31, 32]);
    }

    #[test]
    fn a_still_scene_tells_nothing() {
        let mut replay = Replay::default();
        new(&mut replay, (0..50).map(|place| place % 10));
        let again: Vec<u32> = (0..20).map(|place| place % 10).collect();
        assert_eq!(new(&mut replay, again.clone()), again);
    }

    #[test]
    fn no_more_is_remembered_than_has_to_be() {
        let mut replay = Replay::default();
        new(&mut replay, 0..5000);
        assert_eq!(replay.delivered.len(), REMEMBERED);
        assert_eq!(new(&mut replay, 4900..5001), [5000]);
    }
}
