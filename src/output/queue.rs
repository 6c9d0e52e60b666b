//! The bytes that wait for a reader: one buffer, written to at the end and read from at the front.

use memchr::memrchr;

use crate::base::allocation::make_room;

/// From here on services are not read any more, and so wait; or their lines are dropped.
pub const HIGH_WATER: usize = 256 * 1024;

/// A queue that was full takes more once it has shrunk to this: a slow reader must not make the services
/// stop and go with each byte.
pub const LOW_WATER: usize = 128 * 1024;

/// The last words of ended processes are taken up to here, whatever the reader does.
pub const HARD_LIMIT: usize = 64 * 1024 * 1024;

/// What an empty queue keeps for the next lines while there are many.
const KEPT: usize = 2 * HIGH_WATER;

/// What it keeps once there are few.
const KEPT_WHEN_CALM: usize = 16 * 1024;

/// A queue of bytes.
#[derive(Debug, Default)]
pub struct Queue {
    bytes: Vec<u8>,
    consumed: usize,
    full: bool,
}

impl Queue {
    /// An empty queue; holds no memory.
    pub fn new() -> Queue {
        Queue::default()
    }

    /// Whether there is room for more; one that was full has none until it has shrunk to [`LOW_WATER`].
    pub fn accepts(&mut self) -> bool {
        self.full = self.len() >= if self.full { LOW_WATER } else { HIGH_WATER };
        !self.full
    }

    /// Makes room in memory for so many bytes; false where the system grants no more.
    #[inline]
    pub fn make_room(&mut self, bytes: usize) -> bool {
        make_room(&mut self.bytes, bytes)
    }

    /// The end, for whoever writes more than once.
    pub fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What has waited longest.
    pub fn front(&self) -> &[u8] {
        &self.bytes[self.consumed..]
    }

    /// Takes bytes off the front.
    pub fn consume(&mut self, count: usize) {
        self.consumed += count.min(self.len());
        if self.is_empty() {
            self.clear();
        } else if self.consumed >= self.bytes.len() / 2 && self.consumed > KEPT_WHEN_CALM {
            self.bytes.drain(..self.consumed);
            self.consumed = 0;
        }
    }

    /// Takes the unfinished line off the end; false where its beginning is not there any more.
    pub fn cut_line(&mut self) -> bool {
        let Some(end) = memrchr(b'\n', self.front()) else {
            return false;
        };
        self.bytes.truncate(self.consumed + end + 1);
        true
    }

    /// Throws everything away.
    pub fn clear(&mut self) {
        let calm = self.bytes.len() <= KEPT_WHEN_CALM / 4;
        self.bytes.clear();
        self.consumed = 0;
        self.bytes
            .shrink_to(if calm { KEPT_WHEN_CALM } else { KEPT });
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.consumed
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{HIGH_WATER, KEPT, KEPT_WHEN_CALM, LOW_WATER, Queue};

    #[test]
    fn a_full_queue_takes_more_only_when_it_has_shrunk() {
        let mut queue = Queue::new();
        queue.append(&vec![0; HIGH_WATER]);
        assert!(!queue.accepts());
        queue.consume(HIGH_WATER - LOW_WATER);
        assert!(!queue.accepts());
        queue.consume(1);
        assert!(queue.accepts());
    }

    #[test]
    fn an_unfinished_line_is_cut_off_where_its_beginning_is_there() {
        let mut queue = Queue::new();
        queue.append(b"sent\nwaits\nhalf");
        queue.consume(5);
        assert!(queue.cut_line());
        assert_eq!(queue.front(), b"waits\n");
        queue.append(b"half");
        queue.consume(8);
        assert!(!queue.cut_line());
        assert_eq!(queue.front(), b"lf");
    }

    #[test]
    fn a_calm_queue_holds_little() {
        let mut queue = Queue::new();
        queue.append(&vec![0; HIGH_WATER]);
        queue.consume(HIGH_WATER);
        queue.append(b"line");
        queue.consume(4);
        assert!(queue.bytes.capacity() <= KEPT_WHEN_CALM);
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(steps in proptest::collection::vec((0..200_000usize, 0..200_000usize), 1..12)) {
            let (mut queue, mut next_in, mut next_out) = (Queue::new(), 0u8, 0u8);
            for (add, take) in steps {
                let bytes: Vec<u8> = (0..add).map(|_| { next_in = next_in.wrapping_add(1); next_in }).collect();
                queue.append(&bytes);
                let take = take.min(queue.len());
                for byte in &queue.front()[..take] {
                    next_out = next_out.wrapping_add(1);
                    prop_assert_eq!(*byte, next_out);
                }
                queue.consume(take);
            }
            queue.clear();
            prop_assert!(queue.bytes.capacity() <= KEPT);
        }
    }
}
