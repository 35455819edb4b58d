//! Bytes that wait to be handed over, to a process or to a target, and how many have been. Whoever takes of them says how many. Must
//! not know what they are, nor do IO.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

/// Pieces of bytes, in order; none of them is empty.
#[derive(Debug, Default)]
pub struct ByteQueue {
    waiting: VecDeque<Bytes>,
    given: u64,
}

impl ByteQueue {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many bytes have been handed over.
    pub const fn given(&self) -> u64 {
        self.given
    }

    /// What waits, the next piece first.
    pub fn pieces(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.waiting.iter()
    }

    /// So many bytes of what waits have been handed over.
    pub fn advance(&mut self, mut bytes: usize) {
        self.given += bytes as u64;
        while let Some(front) = self.waiting.front_mut().filter(|_| bytes > 0) {
            let part = front.len().min(bytes);
            front.advance(part);
            bytes -= part;
            if front.is_empty() {
                self.waiting.pop_front();
            }
        }
    }
}

impl Extend<Bytes> for ByteQueue {
    fn extend<T: IntoIterator<Item = Bytes>>(&mut self, more: T) {
        self.waiting.extend(more.into_iter().filter(|bytes| !bytes.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_over_is_gone_wherever_pieces_end() {
        let mut queue = ByteQueue::default();
        queue.extend(["abc", "", "defg", "h"].map(Bytes::from));
        let left = |queue: &ByteQueue| {
            queue.pieces().map(|piece| String::from_utf8_lossy(piece).into_owned()).collect::<Vec<_>>()
        };
        for (bytes, rest) in
            [(0, vec!["abc", "defg", "h"]), (2, vec!["c", "defg", "h"]), (3, vec!["fg", "h"]), (3, vec![])]
        {
            queue.advance(bytes);
            assert_eq!(left(&queue), rest);
        }
        assert!(queue.is_empty() && queue.given() == 8);
    }
}
