//! Bytes to lines. Whatever the chunks in which they come, the lines are the same, and no byte is lost.
//!
//! Only the unfinished end of a line is held, so that a silent service costs nothing.

use memchr::{memchr, memrchr};

use super::boundary;

/// A longer line is shown in pieces of at most this many bytes, cut between characters.
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
                    // Where it may be cut is decided by its last bytes, in the same way whatever is held.
                    if room >= boundary::MAX_SEQUENCE {
                        let end = room - boundary::unfinished(&rest[..room]);
                        self.give(&rest[..end], false, sink);
                        self.continuing = true;
                        rest = &rest[end..];
                    } else {
                        self.held.extend_from_slice(&rest[..room]);
                        rest = &rest[room..];
                        self.give_finished(sink);
                    }
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

    /// Gives out what is held after a quiet time, but for a character or an escape sequence that is not complete
    /// yet: this stays held.
    pub fn pause(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        if self.has_partial() {
            self.give_finished(sink);
        }
    }

    /// Gives out all that is held, at the end of the stream.
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

    /// Gives out what is held, up to where it may be cut.
    fn give_finished(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        let end = self.held.len() - boundary::unfinished(&self.held);
        if end == 0 {
            return;
        }
        let rest = self.held.split_off(end);
        self.give(&[], false, sink);
        self.held = rest;
        self.continuing = true;
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
    fn joined(chunks: &[&[u8]], pause_between: bool) -> Vec<u8> {
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
            if pause_between {
                splitter.pause(&mut sink);
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
        splitter.pause(&mut sink);
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

    #[test]
    fn a_cut_goes_before_a_character_that_does_not_fit() {
        // Each place of a cut in a character of each length; with what is held, and without.
        for character in ["\u{e4}", "\u{d55c}", "\u{1f600}"] {
            for before in MAX_LINE - 4..=MAX_LINE {
                let text = ["x".repeat(before), character.repeat(3), "\n".into()].concat();
                for chunk in [1, 2, 3, 1000, MAX_LINE - 1, text.len()] {
                    let (mut splitter, mut pieces) = (Splitter::new(), Vec::new());
                    for bytes in text.as_bytes().chunks(chunk) {
                        splitter.feed(bytes, &mut |piece| {
                            pieces.push([piece.head, piece.tail].concat());
                        });
                    }
                    assert_eq!(pieces.concat(), text.trim_end().as_bytes());
                    assert!(
                        pieces
                            .iter()
                            .all(|piece| std::str::from_utf8(piece).is_ok())
                    );
                    assert!(pieces[0].len() > MAX_LINE - character.len());
                }
            }
        }
    }

    #[test]
    fn a_pause_gives_out_whole_characters_and_sequences_only() {
        let (mut splitter, mut pieces) = (Splitter::new(), Vec::new());
        for bytes in [
            &b"a\xed"[..],
            b"\x95",
            b"\x9c",
            b"\x1b[3",
            b"1mred",
            b"\xf0\x9f",
        ] {
            splitter.feed(bytes, &mut |_| unreachable!());
            splitter.pause(&mut |piece| pieces.push(piece.head.to_vec()));
        }
        assert_eq!(pieces, [&b"a"[..], b"\xed\x95\x9c", b"\x1b[31mred"]);
        // The stream ends: what is not complete is shown as it is.
        splitter.flush(&mut |piece| pieces.push(piece.head.to_vec()));
        assert_eq!(pieces[3], b"\xf0\x9f");
        assert!(!splitter.has_partial());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn valid_text_is_cut_into_valid_text(
            text in proptest::collection::vec(prop_oneof![
                6 => "\\PC{0,20}", 1 => Just("\n".to_owned()), 1 => Just("\u{d55c}\u{1f600}".repeat(4000))
            ], 0..8),
            cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..20),
        ) {
            let text = text.concat();
            let mut at: Vec<(usize, bool)> = cuts.iter().map(|(cut, pause)| (cut.index(text.len() + 1), *pause)).collect();
            at.push((text.len(), true));
            at.sort_unstable();
            let (mut splitter, mut out, mut from, mut invalid) = (Splitter::new(), Vec::new(), 0, 0);
            let mut sink = |piece: super::Piece<'_>| {
                let bytes = [piece.head, piece.tail].concat();
                invalid += usize::from(std::str::from_utf8(&bytes).is_err());
                out.extend(bytes);
                out.extend(piece.ends_line.then_some(b'\n'));
            };
            for (to, pause) in at {
                splitter.feed(&text.as_bytes()[from..to], &mut sink);
                if pause {
                    splitter.pause(&mut sink);
                }
                from = to;
            }
            splitter.flush(&mut sink);
            prop_assert_eq!(invalid, 0);
            prop_assert_eq!(out, text.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_chunking_of_any_bytes_gives_the_same_lines(
            bytes in proptest::collection::vec(prop_oneof![4 => any::<u8>(), 1 => Just(b'\n')], 0..4000),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
            pause_between: bool,
        ) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(joined(&chunks, pause_between), without_last_newline(&bytes));
        }
    }
}
