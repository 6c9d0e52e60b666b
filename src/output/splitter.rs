//! Bytes to lines. Whatever the chunks in which they come, the lines are the same, and no byte is lost.
//!
//! Only the unfinished end of a line is held, so that a silent service costs nothing.

use memchr::{memchr, memrchr};

/// A longer line is shown in pieces of this many bytes.
pub const MAX_LINE: usize = 16 * 1024;

/// A line, or a piece of one. Its bytes are in two parts, so that nothing has to be copied to join them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// What was held from before; often empty.
    pub head: &'a [u8],
    /// What came now.
    pub tail: &'a [u8],
    /// Whether a line begins here; otherwise the piece continues the one before.
    pub starts_line: bool,
    /// Whether the line ends here. A line that was shown already and then ends gives a last, empty piece.
    pub ends_line: bool,
}

impl Piece<'_> {
    /// Whether it adds no bytes to a line that was begun before.
    pub fn is_bare_end(&self) -> bool {
        !self.starts_line && self.head.is_empty() && self.tail.is_empty()
    }
}

/// The state of one stream.
#[derive(Debug, Default)]
pub struct Splitter {
    held: Vec<u8>,
    /// A piece of the present line was shown already.
    continuing: bool,
}

impl Splitter {
    /// At the start of a line.
    pub fn new() -> Splitter {
        Splitter::default()
    }

    /// Takes bytes in and gives out every piece that is finished.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(Piece<'_>)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = MAX_LINE - self.held.len();
            // One byte beyond the room may be the newline of a line that just fits.
            let window = &rest[..rest.len().min(room + 1)];
            match memchr(b'\n', window) {
                Some(end) => {
                    self.give(&rest[..end], true, sink);
                    self.continuing = false;
                    rest = &rest[end + 1..];
                }
                None if window.len() > room => {
                    self.give(&rest[..room], false, sink);
                    self.continuing = true;
                    rest = &rest[room..];
                }
                None => {
                    self.held.extend_from_slice(rest);
                    return;
                }
            }
        }
    }

    /// The bytes in three parts: what ends the line that was begun, a block of whole lines, and the beginning
    /// of the next one. The parts are to be fed in this order; whoever can take the block as it is need not
    /// feed it.
    pub fn divide<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], &'a [u8], &'a [u8]) {
        let first = match self.continuing || self.has_partial() {
            true => memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1),
            false => 0,
        };
        let (first, others) = bytes.split_at(first);
        let block = memrchr(b'\n', others).map_or(0, |end| end + 1);
        let (block, rest) = others.split_at(block);
        (first, block, rest)
    }

    /// Gives out what is held, at the end of the stream or after a quiet time.
    pub fn flush(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        if self.has_partial() {
            self.give(&[], false, sink);
            self.continuing = true;
        }
    }

    /// Whether something is held back.
    pub fn has_partial(&self) -> bool {
        !self.held.is_empty()
    }

    fn give(&mut self, tail: &[u8], ends_line: bool, sink: &mut impl FnMut(Piece<'_>)) {
        sink(Piece {
            head: &self.held,
            tail,
            starts_line: !self.continuing,
            ends_line,
        });
        if !self.held.is_empty() {
            self.held = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MAX_LINE, Splitter};

    /// Pieces joined again: a piece that starts a line is set apart by a newline.
    fn joined(chunks: &[&[u8]], flush_between: bool) -> Vec<u8> {
        let mut splitter = Splitter::new();
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut sink = |piece: super::Piece<'_>| {
            assert!(piece.head.len() + piece.tail.len() <= MAX_LINE);
            if piece.is_bare_end() {
                return;
            }
            if piece.starts_line || lines.is_empty() {
                lines.push(Vec::new());
            }
            let line = lines.last_mut().map(|line| {
                line.extend_from_slice(piece.head);
                line.extend_from_slice(piece.tail);
            });
            assert!(line.is_some());
        };
        for chunk in chunks {
            splitter.feed(chunk, &mut sink);
            if flush_between {
                splitter.flush(&mut sink);
            }
        }
        splitter.flush(&mut sink);
        lines.join(&b'\n')
    }

    fn without_last_newline(bytes: &[u8]) -> &[u8] {
        bytes.strip_suffix(b"\n").unwrap_or(bytes)
    }

    #[test]
    fn a_line_of_just_the_bound_is_one_piece_and_a_longer_one_is_split() {
        let count = |length: usize| {
            let mut pieces = 0;
            let mut bytes = vec![b'x'; length];
            bytes.push(b'\n');
            Splitter::new().feed(&bytes, &mut |piece| {
                pieces += usize::from(!piece.is_bare_end());
            });
            pieces
        };
        assert_eq!(
            (count(MAX_LINE), count(MAX_LINE + 1), count(10 * MAX_LINE)),
            (1, 2, 10)
        );
    }

    #[test]
    fn a_newline_that_comes_late_is_told_as_a_bare_end() {
        let mut splitter = Splitter::new();
        let mut pieces = Vec::new();
        let mut sink = |piece: super::Piece<'_>| {
            let text = [piece.head, piece.tail].concat();
            pieces.push((text, piece.starts_line, piece.ends_line));
        };
        splitter.feed(b"name: ", &mut sink);
        splitter.flush(&mut sink);
        splitter.feed(b"\nnext\n", &mut sink);
        assert_eq!(
            pieces,
            [
                (b"name: ".to_vec(), true, false),
                (Vec::new(), false, true),
                (b"next".to_vec(), true, true)
            ]
        );
    }

    #[test]
    fn an_endless_line_takes_bounded_room_and_an_ended_one_none() {
        let mut splitter = Splitter::new();
        for size in (1..9000).step_by(97) {
            splitter.feed(&vec![b'x'; size], &mut |_| {});
            assert!(splitter.held.capacity() <= 2 * MAX_LINE);
        }
        splitter.feed(b"\n", &mut |_| {});
        assert_eq!(
            (splitter.has_partial(), splitter.held.capacity()),
            (false, 0)
        );
    }

    #[test]
    fn a_read_is_divided_at_the_lines() {
        let mut splitter = Splitter::new();
        assert_eq!(
            splitter.divide(b"a\nb\nc"),
            (&b""[..], &b"a\nb\n"[..], &b"c"[..])
        );
        assert_eq!(splitter.divide(b"abc"), (&b""[..], &b""[..], &b"abc"[..]));
        splitter.feed(b"begun", &mut |_| {});
        assert_eq!(
            splitter.divide(b"a\nb\nc"),
            (&b"a\n"[..], &b"b\n"[..], &b"c"[..])
        );
        assert_eq!(splitter.divide(b"abc"), (&b"abc"[..], &b""[..], &b""[..]));
    }

    proptest! {
        #[test]
        fn any_chunking_of_any_bytes_gives_the_same_lines(
            bytes in proptest::collection::vec(prop_oneof![4 => any::<u8>(), 1 => Just(b'\n')], 0..4000),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
            flush_between: bool,
        ) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(joined(&chunks, flush_between), without_last_newline(&bytes));
        }
    }
}
