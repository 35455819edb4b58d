//! Where coded pictures and sound stay while readers have them: packed one behind another in chunks that are filled again once
//! nobody has anything of them. An allocator keeps what is given to it in sizes of its own (an eighth more than was asked for, in
//! the mean), gives memory of expired pictures back to the kernel, and is given it anew page by page; here it costs a copy of what
//! is in the processor's cache. Must not know what the bytes are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

/// Bytes of a chunk. Of the newest chunk as much is empty as of the oldest has been let go, half of one in the mean: smaller chunks
/// would leave more empty at the end of each.
const CHUNK: usize = 256 << 10;
/// What is larger stays where it is: it would leave too much of a chunk empty.
const LARGE: usize = CHUNK / 4;
/// Most empty chunks that are kept, for each that packs: what segments let go together is taken again in the time of a segment.
const MOST_SPARE: usize = 4;
/// Empty chunks that were not needed while so many others were taken are let go.
const LOOK_AT_SPARE: u32 = 1024;
/// A chunk of which something is kept holds up those behind it, until so many more were filled.
const LOOK_AT_ALL: usize = 16;

/// Empty chunks of all that pack.
#[derive(Debug, Default)]
pub struct Chunks {
    spare: Mutex<Spare>,
}

#[derive(Debug, Default)]
struct Spare {
    chunks: Vec<BytesMut>,
    packers: usize,
    /// Since they were looked at: how often one was taken, and how many there were at least.
    taken: u32,
    least: usize,
    /// How many there have ever been.
    #[cfg(test)]
    made: usize,
}

impl Spare {
    fn take(&mut self) -> Option<BytesMut> {
        let chunk = self.chunks.pop();
        self.least = self.least.min(self.chunks.len());
        self.taken += 1;
        if self.taken >= LOOK_AT_SPARE {
            self.chunks.truncate(self.chunks.len() - self.least);
            (self.taken, self.least) = (0, self.chunks.len());
        }
        chunk
    }

    /// When nobody packs any more, nothing is kept.
    fn forget_packer(&mut self) {
        self.packers -= 1;
        if self.packers == 0 {
            *self = Self::default();
        }
    }
}

impl Chunks {
    fn spare(&self) -> MutexGuard<'_, Spare> {
        // A panic while the lock was held leaves at worst one chunk too few.
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> BytesMut {
        let mut spare = self.spare();
        if let Some(chunk) = spare.take() {
            return chunk;
        }
        #[cfg(test)]
        {
            spare.made += 1;
        }
        drop(spare);
        BytesMut::with_capacity(CHUNK)
    }

    fn give(&self, chunk: BytesMut) {
        let mut spare = self.spare();
        if spare.chunks.len() < MOST_SPARE * spare.packers {
            spare.chunks.push(chunk);
        }
    }
}

/// Packs what one connection brings.
#[derive(Debug)]
pub struct Packer {
    chunks: Arc<Chunks>,
    /// The empty rest of the chunk that is being filled.
    current: Option<BytesMut>,
    /// The empty ends of full chunks, in the order in which they were filled: who has the end can tell when it has all.
    full: VecDeque<BytesMut>,
    /// Chunks since all were looked at.
    unseen: usize,
}

impl Packer {
    /// Takes chunks from there, and gives back those of which nobody has anything.
    pub fn new(chunks: Arc<Chunks>) -> Self {
        chunks.spare().packers += 1;
        Self { chunks, current: None, full: VecDeque::new(), unseen: 0 }
    }

    /// The same bytes, packed.
    pub fn pack(&mut self, payload: Vec<u8>) -> Bytes {
        if payload.len() > LARGE { payload.into() } else { self.pack_copy(&payload) }
    }

    /// A packed copy of these bytes.
    pub fn pack_copy(&mut self, payload: &[u8]) -> Bytes {
        if payload.len() > LARGE {
            return Bytes::copy_from_slice(payload);
        }
        let mut chunk = match self.current.take() {
            Some(rest) if rest.capacity() >= payload.len() => rest,
            full => self.begin(full),
        };
        chunk.extend_from_slice(payload);
        let packed = chunk.split().freeze();
        self.current = Some(chunk);
        packed
    }

    /// An empty chunk, behind one that is full.
    fn begin(&mut self, full: Option<BytesMut>) -> BytesMut {
        self.full.extend(full);
        let chunks = &self.chunks;
        let mut is_taken_back = |chunk: &mut BytesMut| {
            let is_free = chunk.try_reclaim(CHUNK);
            if is_free {
                chunks.give(std::mem::take(chunk));
            }
            is_free
        };
        self.unseen += 1;
        if self.unseen >= LOOK_AT_ALL {
            self.unseen = 0;
            self.full.retain_mut(|chunk| !is_taken_back(chunk));
        }
        while self.full.front_mut().is_some_and(&mut is_taken_back) {
            self.full.pop_front();
        }
        self.chunks.take()
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.chunks.spare().forget_packer();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_what_was_given() {
        let mut packer = Packer::new(Arc::default());
        let sizes = [0, 1, 20_000, LARGE, LARGE + 1, CHUNK, CHUNK + 1, 3, LARGE, LARGE, LARGE, LARGE];
        let given: Vec<Vec<u8>> = (1..).zip(sizes).map(|(seed, size)| vec![seed; size]).collect();
        let packed: Vec<Bytes> =
            given.iter().flat_map(|one| [packer.pack(one.clone()), packer.pack_copy(one)]).collect();
        for (number, one) in packed.iter().enumerate() {
            assert_eq!(one, &given[number / 2], "{number}");
        }
        // Small ones lie behind one another; a large one was not copied.
        assert_eq!(packed[2].as_ptr_range().end, packed[3].as_ptr_range().start);
        let large = vec![7; LARGE + 1];
        let place = large.as_ptr();
        assert_eq!(packer.pack(large).as_ptr(), place);
    }

    #[test]
    fn chunks_are_filled_again_when_nobody_has_anything_of_them() {
        let shared = Arc::<Chunks>::default();
        let mut packers = [Packer::new(shared.clone()), Packer::new(shared.clone())];
        let mut window = VecDeque::new();
        for number in 0..4000_u32 {
            let payload = packers[number as usize % 2].pack(vec![number as u8; 20_000]);
            window.push_back((number as u8, payload));
            // A segment's pictures go together.
            if window.len() == 200 {
                for (seed, payload) in window.drain(..100) {
                    assert!(payload.iter().all(|byte| *byte == seed));
                }
            }
        }
        // Four million bytes are held at most, of two that pack.
        let made = shared.spare().made;
        assert!((16..=24).contains(&made), "{made}");
    }

    #[test]
    fn a_chunk_that_is_filled_to_its_last_byte_is_filled_again() {
        let shared = Arc::<Chunks>::default();
        let mut packer = Packer::new(shared.clone());
        (0..100).for_each(|number| drop(packer.pack(vec![number; LARGE])));
        assert_eq!(shared.spare().made, 1);
    }

    #[test]
    fn what_somebody_keeps_stays_and_holds_nothing_up() {
        let mut packer = Packer::new(Arc::default());
        let kept: Vec<Bytes> = (0..3).map(|_| packer.pack(vec![5; 50_000])).collect();
        (0..2000_u32).for_each(|number| drop(packer.pack(vec![number as u8; 50_000])));
        assert!(kept.iter().all(|one| one.iter().all(|byte| *byte == 5)));
        let held = packer.full.len();
        assert!(held <= LOOK_AT_ALL + 1, "{held}");
    }

    #[test]
    fn empty_chunks_that_nobody_needs_are_let_go() {
        let chunks = Arc::<Chunks>::default();
        let count = || chunks.spare().chunks.len();
        let packers: Vec<Packer> = (0..20).map(|_| Packer::new(chunks.clone())).collect();
        (0..200).for_each(|_| chunks.give(BytesMut::with_capacity(1)));
        assert_eq!(count(), 20 * MOST_SPARE);
        // Thirty are taken and given again, over and over.
        for _ in 0..LOOK_AT_SPARE / 10 {
            let taken: Vec<BytesMut> = (0..30).map(|_| chunks.take()).collect();
            taken.into_iter().for_each(|chunk| chunks.give(chunk));
        }
        assert_eq!(count(), 30);
        drop(packers);
        assert_eq!(count(), 0, "nobody packs any more");
        chunks.give(BytesMut::with_capacity(1));
        assert_eq!(count(), 0);
    }
}
