//! A line for a terminal: colours stay, and whatever else would steer the terminal goes. What a service
//! draws over - a progress bar that goes back to the start of its line - is shown as it looks last.

use std::ops::Range;

use crate::base::terminal::steers;

/// What an escape sequence begins with (ESC).
pub const ESCAPE: u8 = 0x1b;

/// Of a character in UTF-8.
const MAX_CHARACTER_BYTES: usize = 4;

/// Adds `line` to `out` as a terminal may see it: text, tabs and SGR sequences (ECMA-48). Gives back whether there
/// is any text.
pub fn write(line: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut shown = Shown {
        start,
        colours: start..start,
        text_before: start,
        out,
        overwritten: None,
        back: 0,
        text_bytes: 0,
    };
    let mut rest = line;
    while let Some((&first, after)) = rest.split_first() {
        let (token, length) = match first {
            ESCAPE => escape(rest),
            b'\r' => (Token::LineStart, 1),
            0x08 => (Token::Back, 1),
            b'\t' | 0x20..=0x7e => (Token::Text, 1),
            0xc2 if after
                .first()
                .is_some_and(|byte| (0x80..=0x9f).contains(byte)) =>
            {
                (Token::Nothing, 2)
            }
            0x80.. => (Token::Text, 1),
            0x00..0x20 | 0x7f => (Token::Nothing, 1),
        };
        shown.take(token, &rest[..length]);
        rest = &rest[length..];
    }
    shown.text_bytes > 0
}

enum Token {
    /// Shown.
    Text,
    /// A colour or the like.
    Attributes,
    /// The cursor goes back to the start of the line.
    LineStart,
    /// The cursor goes back by a character.
    Back,
    /// The line is erased.
    Erase,
    /// What is right of the cursor is erased.
    EraseRest,
    /// Not for this terminal.
    Nothing,
    /// An escape sequence whose end is missing: not for this terminal either.
    CutOff,
}

/// A line as it looks so far.
struct Shown<'a> {
    out: &'a mut Vec<u8>,
    /// Where the line begins.
    start: usize,
    /// Where the cursor went back to the start of the line: what stands before goes as soon as more text
    /// comes. Colours in between are kept.
    overwritten: Option<usize>,
    /// By how many characters the cursor went back: they go as soon as more text comes.
    back: usize,
    /// The last colours that stand together. Behind them is nothing but text.
    colours: Range<usize>,
    /// From here up to them is nothing but text either. A backspace goes no further back.
    text_before: usize,
    text_bytes: usize,
}

impl Shown<'_> {
    fn take(&mut self, token: Token, bytes: &[u8]) {
        match token {
            Token::Text => self.add_text(bytes),
            Token::Attributes => self.add_colours(bytes),
            Token::LineStart => {
                self.overwritten = self.overwritten.or(Some(self.out.len()));
            }
            Token::Back => self.back += 1,
            Token::Erase => {
                self.overwritten = self.overwritten.or(Some(self.out.len()));
                self.clear();
            }
            Token::EraseRest => self.clear(),
            Token::Nothing | Token::CutOff => {}
        }
    }

    /// What the cursor went back over goes.
    fn clear(&mut self) {
        let back = std::mem::take(&mut self.back);
        if let Some(end) = self.overwritten.take() {
            self.out.drain(self.start..end);
            self.colours = self.start..self.out.len();
            self.text_before = self.start;
            self.text_bytes = 0;
            return;
        }
        for _ in 0..back {
            if !self.remove_last_character() {
                return;
            }
        }
    }

    fn add_text(&mut self, bytes: &[u8]) {
        self.clear();
        // Where something between the two was left out, they would now make a control character (C1).
        let makes_control = bytes[0] & 0xe0 == 0x80 && self.out[self.start..].ends_with(b"\xc2");
        if makes_control {
            return;
        }
        self.out.extend_from_slice(bytes);
        self.text_bytes += bytes.len();
        if bytes[0] & 0xc0 == 0x80 {
            self.remove_steering();
        }
    }

    /// Removes a character at the end that does something else than being shown, whole as it is now.
    fn remove_steering(&mut self) {
        let text = &self.out[self.start..];
        let length = (2..=MAX_CHARACTER_BYTES.min(text.len())).find(|length| {
            let last = std::str::from_utf8(&text[text.len() - length..]);
            last.is_ok_and(|last| last.chars().next().is_some_and(steers))
        });
        if let Some(length) = length {
            self.out.truncate(self.out.len() - length);
            self.text_bytes -= length;
        }
    }

    fn add_colours(&mut self, bytes: &[u8]) {
        if self.colours.end < self.out.len() {
            self.text_before = self.colours.end;
            self.colours.start = self.out.len();
        }
        self.out.extend_from_slice(bytes);
        self.colours.end = self.out.len();
    }

    /// Removes the last character, and not the colours behind it; false when there is none.
    fn remove_last_character(&mut self) -> bool {
        let is_behind = self.colours.end < self.out.len();
        let (first, end) = match is_behind {
            true => (self.colours.end, self.out.len()),
            false => (self.text_before, self.colours.start),
        };
        let text = &self.out[first..end];
        let is_continuation = |byte: &&u8| (0x80..=0xbf).contains(*byte);
        let bytes = text.iter().rev().take(MAX_CHARACTER_BYTES - 1);
        let length = text
            .len()
            .min(bytes.take_while(is_continuation).count() + 1);
        self.out.drain(end - length..end);
        self.text_bytes -= length;
        if !is_behind {
            self.colours = self.colours.start - length..self.colours.end - length;
        }
        length > 0
    }
}

/// Whether these are the parameters of colours and other attributes (SGR); with a private sign in front the
/// sequence asks for something else, such as other codes for keys.
fn are_attributes(parameters: &[u8]) -> bool {
    parameters
        .iter()
        .all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':'))
}

/// The length of the escape sequence at the start of `bytes`; None where its end is missing.
pub fn sequence_length(bytes: &[u8]) -> Option<usize> {
    match escape(bytes) {
        (Token::CutOff, _) => None,
        (_, length) => Some(length),
    }
}

/// What an escape sequence means, and how long it is; one that is cut off reaches to the end.
fn escape(bytes: &[u8]) -> (Token, usize) {
    match bytes.get(1) {
        Some(b'[') => control_sequence(bytes),
        // A string: up to BEL or ST (ECMA-48 8.3.89, and what xterm takes for OSC).
        Some(b']' | b'P' | b'_' | b'^' | b'X') => string(bytes),
        // An intermediate byte and a final one, as for character sets.
        Some(0x20..=0x2f) if bytes.len() < 3 => (Token::CutOff, bytes.len()),
        Some(0x20..=0x2f) => (Token::Nothing, 3),
        Some(_) => (Token::Nothing, 2),
        None => (Token::CutOff, 1),
    }
}

fn control_sequence(bytes: &[u8]) -> (Token, usize) {
    let body = &bytes[2..];
    let Some(end) = body.iter().position(|byte| !(0x20..=0x3f).contains(byte)) else {
        return (Token::CutOff, bytes.len());
    };
    let (parameters, length) = (&body[..end], end + 3);
    match (body[end], parameters) {
        (b'm', _) if are_attributes(parameters) => (Token::Attributes, length),
        // To the first column.
        (b'G', b"" | b"0" | b"1") => (Token::LineStart, length),
        (b'K', b"2") => (Token::Erase, length),
        (b'K' | b'J', b"" | b"0") => (Token::EraseRest, length),
        (0x40..=0x7e, _) => (Token::Nothing, length),
        // A byte that does not belong there ends the sequence, and is looked at by itself.
        _ => (Token::Nothing, length - 1),
    }
}

fn string(bytes: &[u8]) -> (Token, usize) {
    let end = bytes.iter().enumerate().skip(2).find_map(|(at, byte)| {
        let string_end = *byte == 0x1b && bytes.get(at + 1) == Some(&b'\\');
        match *byte {
            0x07 => Some(at + 1),
            _ if string_end => Some(at + 2),
            _ => None,
        }
    });
    end.map_or((Token::CutOff, bytes.len()), |end| (Token::Nothing, end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    fn shown(line: &str) -> String {
        let mut out = Vec::new();
        super::write(line.as_bytes(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn text_and_colours_stay() {
        for line in [
            "plain",
            "täb\there",
            "\x1b[1;31mred\x1b[0m and \x1b[38;5;208morange\x1b[m",
        ] {
            assert_eq!(shown(line), line);
        }
    }

    #[test]
    fn what_steers_the_terminal_goes() {
        for (line, expected) in [
            ("a\x1b[2Jb\x1b[Hc", "abc"),
            ("\x1b[?1049h\x1b[?25lhidden\x1b[?25h", "hidden"),
            ("\x1b]0;title\x07text", "text"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1bP1$r0m\x1b\\x", "x"),
            ("\x1b(Bcharset\x1b=\x1bc", "charset"),
            ("bell\x07 null\0", "bell null"),
            ("c1\u{9b}31mx", "c131mx"),
            ("cut \x1b[3", "cut "),
            ("cut \x1b", "cut "),
            ("cut \x1b]0;x", "cut "),
            ("\x1b[1Aup", "up"),
            // Other codes for keys, as vim asks for; only the last letter is that of a colour.
            ("\x1b[>4;2mvim\x1b[?4m", "vim"),
        ] {
            assert_eq!(shown(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_progress_bar_is_shown_as_it_looks_last() {
        for (line, expected) in [
            ("10%\r20%\r30%", "30%"),
            ("10%\r", "10%"),
            ("10%\r\x1b[0m", "10%\x1b[0m"),
            ("dos line\r", "dos line"),
            ("old\x1b[2K\x1b[1Gnew", "new"),
            ("old\r\x1b[32mnew\x1b[0m", "\x1b[32mnew\x1b[0m"),
            ("old\x1b[1G\x1b[0K", ""),
            ("old\x1b[1G\x1b[J\x1b[32mnew", "\x1b[32mnew"),
            ("kept\x1b[K\x1b[0K to its end\x1b[K", "kept to its end"),
            ("gone\x1b[2K", ""),
        ] {
            assert_eq!(shown(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_backspace_goes_back_over_a_character() {
        for (line, expected) in [
            ("wait -\x08 \x08\\\x08 \x08done", "wait done"),
            ("50%\x08\x08\x0860%", "60%"),
            ("50%\x08", "50%"),
            ("50%\x08\x08\x08\x1b[K", ""),
            ("b\x08bo\x08ol\x08ld", "bold"),
            ("wait ä\x08ö\x08⠼\x08ok", "wait ok"),
            ("\x08\x08start", "start"),
            ("x\x08\x08\x08y", "y"),
            (
                "at \x1b[36m|\x1b[39m\x08\x1b[36m/\x1b[39m",
                "at \x1b[36m\x1b[39m\x1b[36m/\x1b[39m",
            ),
            ("12m\x08\x083s", "13s"),
            ("old\x08\rnew", "new"),
            // Not into colours that text stands before, whatever they look like.
            ("a\x1b[31mb\x1b[32m\x08\x08\x08c", "a\x1b[31m\x1b[32mc"),
            (
                "a\x1b[1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1m\x08b",
                "\x1b[1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1mb",
            ),
        ] {
            assert_eq!(shown(line), expected, "{line:?}");
        }
    }

    #[test]
    fn what_turns_or_hides_text_goes() {
        for (line, expected) in [
            ("pay \u{202e}001\u{202c} now", "pay 001 now"),
            ("\u{2066}a\u{2069}\u{200b}b\u{feff}", "ab"),
            ("one\u{2028}two\u{2029}", "onetwo"),
            ("tag\u{e0041}\u{e007f}s", "tags"),
            ("soft\u{ad}hyphen", "softhyphen"),
            ("x\u{202e}\u{8}y", "y"),
            ("日本語 größer 🚀 שלום", "日本語 größer 🚀 שלום"),
        ] {
            assert_eq!(shown(line), expected, "{line:?}");
        }
        // Nor does it come about where something between its bytes is left out.
        let mut out = Vec::new();
        super::write(b"a\xe2\x07\x80\x1b]0;t\x07\xaeb", &mut out);
        assert_eq!(out, b"ab");
    }

    #[test]
    fn what_is_left_out_joins_no_bytes_to_a_control_character() {
        for between in ["\x07", "\x1b[K", "\x1b]0;t\x07", "x\x08"] {
            let line = [b"\xc2", between.as_bytes(), b"\x9b31m"].concat();
            let mut out = Vec::new();
            super::write(&line, &mut out);
            assert_eq!(out, b"\xc231m", "{between:?}");
        }
    }

    #[test]
    fn a_backspace_over_half_a_character_takes_nothing_of_a_colour() {
        let mut out = Vec::new();
        super::write(b"\x1b[m\x80\x08x", &mut out);
        assert_eq!(out, b"\x1b[mx");
    }

    #[test]
    fn it_is_known_whether_there_is_text() {
        for (line, expected) in [
            ("x", true),
            (" ", true),
            ("", false),
            ("\x1b[32m\x1b[?25h\r", false),
            ("x\r\x1b[K\x1b[0m", false),
            ("x\x08\x1b[K", false),
            ("x\r", true),
        ] {
            assert_eq!(super::write(line.as_bytes(), &mut Vec::new()), expected);
        }
    }

    proptest! {
        #[test]
        fn nothing_but_text_and_colours_comes_out(bytes in proptest::collection::vec(prop_oneof![
            3 => any::<u8>(), 2 => Just(0x1b), 2 => Just(b'['), 1 => Just(b'm'), 1 => Just(0x08), 1 => Just(b'\r'), 1 => 0x30..0x3bu8, 1 => Just(0xe2), 1 => Just(0x80), 1 => Just(0xae), 1 => Just(0xc2)
        ], 0..200)) {
            let mut out = Vec::new();
            super::write(&bytes, &mut out);
            prop_assert!(out.len() <= bytes.len());
            let shown = String::from_utf8_lossy(&out);
            let steers = |c: char| !c.is_ascii() && crate::base::terminal::steers(c);
            prop_assert!(!shown.chars().any(steers));
            prop_assert!(!out.windows(2).any(|pair| pair[0] == 0xc2 && (0x80..=0x9f).contains(&pair[1])));
            let mut rest = &out[..];
            while let Some((first, after)) = rest.split_first() {
                rest = after;
                if *first == 0x1b {
                    prop_assert_eq!(after.first(), Some(&b'['));
                    let end = after[1..].iter().position(|byte| !(0x20..=0x3f).contains(byte));
                    let end = end.map(|at| at + 1);
                    prop_assert_eq!(end.map(|at| after[at]), Some(b'm'));
                    rest = &after[end.unwrap_or(0) + 1..];
                } else {
                    prop_assert!(*first == b'\t' || (*first >= 0x20 && *first != 0x7f));
                }
            }
        }
    }
}
