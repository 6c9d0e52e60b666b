//! Where an unfinished line may be cut: not inside a character (UTF-8), and not inside an escape sequence (ECMA-48).

use memchr::memchr;

use super::screen;

/// A longer escape sequence is cut. Titles and links (OSC 0, OSC 8) are shorter; pictures are not.
pub const MAX_SEQUENCE: usize = 4 * 1024;

/// The first bytes of a character that lacks its last one.
const MAX_BEGUN: usize = 3;

/// How many bytes at the end of `text` belong together with the bytes that follow: 0 where the text may be
/// cut, and at most [`MAX_SEQUENCE`].
pub fn unfinished(text: &[u8]) -> usize {
    unfinished_sequence(text).max(unfinished_character(text))
}

/// Bytes that begin a valid character and do not complete it. Bytes that no continuation makes valid are no such
/// beginning.
fn unfinished_character(text: &[u8]) -> usize {
    let begins = |count: &usize| {
        let end = &text[text.len() - count..];
        let error = std::str::from_utf8(end).err();
        error.is_some_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=MAX_BEGUN.min(text.len()))
        .find(begins)
        .unwrap_or_default()
}

fn unfinished_sequence(text: &[u8]) -> usize {
    let mut rest = &text[text.len().saturating_sub(MAX_SEQUENCE)..];
    while let Some(at) = memchr(screen::ESCAPE, rest) {
        rest = &rest[at..];
        match screen::sequence_length(rest) {
            Some(length) => rest = &rest[length..],
            None => return rest.len(),
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_character_waits_for_its_rest() {
        for text in [
            "\u{e4}",
            "\u{d55c}",
            "\u{1f600}",
            "a\u{d55c}",
            "\u{d55c}\u{1f600}",
        ] {
            let bytes = text.as_bytes();
            let last = text.chars().next_back().map_or(0, char::len_utf8);
            assert_eq!(unfinished(bytes), 0, "{text}");
            for missing in 1..last {
                let begun = &bytes[..bytes.len() - missing];
                assert_eq!(unfinished(begun), last - missing, "{begun:?}");
            }
        }
    }

    #[test]
    fn bytes_that_begin_no_character_wait_for_nothing() {
        // Latin-1, a lone continuation, an overlong form, a surrogate, beyond U+10FFFF.
        for text in [
            &b"caf\xe9s"[..],
            b"\x80",
            b"\xc0",
            b"\xe0\x80",
            b"\xed\xa0",
            b"\xf4\x90",
            b"\xff",
            b"",
        ] {
            assert_eq!(unfinished(text), 0, "{text:?}");
        }
    }

    #[test]
    fn an_escape_sequence_is_kept_whole() {
        for (text, expected) in [
            ("red \x1b", 1),
            ("red \x1b[", 2),
            ("red \x1b[1;3", 5),
            ("red \x1b[1;31m", 0),
            ("\x1b[0m\x1b[3", 3),
            ("\x1b]0;title", 9),
            ("\x1b]0;title\x1b", 10),
            ("\x1b]0;title\x1b\\", 0),
            ("\x1b]0;title\x07", 0),
            ("\x1b(", 2),
            ("\x1b(B", 0),
        ] {
            assert_eq!(unfinished(text.as_bytes()), expected, "{text:?}");
        }
        let endless = ["\x1b]".to_owned(), "x".repeat(MAX_SEQUENCE)].concat();
        assert_eq!(unfinished(endless.as_bytes()), 0);
    }
}
