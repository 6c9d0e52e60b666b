//! The bytes that wait for a reader: one buffer, written to at the end and read from at the front.

/// From here on services are not read any more, and so wait.
pub const HIGH_WATER: usize = 256 * 1024;

/// The last words of ended processes are taken up to here, whatever the reader does.
pub const HARD_LIMIT: usize = 64 * 1024 * 1024;

/// What an empty queue keeps for the next lines.
const KEPT: usize = 64 * 1024;

/// A queue of bytes.
#[derive(Debug, Default)]
pub struct Queue {
    bytes: Vec<u8>,
    consumed: usize,
}

impl Queue {
    /// An empty queue; holds no memory.
    pub fn new() -> Queue {
        Queue::default()
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
        } else if self.consumed >= self.bytes.len() / 2 && self.consumed > KEPT {
            self.bytes.drain(..self.consumed);
            self.consumed = 0;
        }
    }

    /// Throws everything away.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.consumed = 0;
        self.bytes.shrink_to(KEPT);
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

    use super::{KEPT, Queue};

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
