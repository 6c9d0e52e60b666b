//! A line for a terminal: colours stay, and whatever else would steer the terminal goes. What a service
//! draws over - a progress bar that goes back to the start of its line - is shown as it looks last.

/// Adds `line` to `out` as a terminal may see it: text, tabs and SGR sequences (ECMA-48).
pub fn write(line: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    // Where the cursor went back to the start of the line: what stands before goes as soon as more text
    // comes. Colours in between are kept.
    let mut overwritten = None;
    let mut rest = line;
    while let Some((&first, after)) = rest.split_first() {
        let (token, length) = match first {
            0x1b => escape(rest),
            b'\r' => (Token::LineStart, 1),
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
        match token {
            Token::Text => {
                if let Some(end) = overwritten.take() {
                    out.drain(start..end);
                }
                out.extend_from_slice(&rest[..length]);
            }
            Token::Attributes => out.extend_from_slice(&rest[..length]),
            Token::LineStart => overwritten = overwritten.or(Some(out.len())),
            Token::Nothing => {}
        }
        rest = &rest[length..];
    }
}

enum Token {
    /// Shown.
    Text,
    /// A colour or the like.
    Attributes,
    /// The cursor goes back to the start of the line, or the line is cleared.
    LineStart,
    /// Not for this terminal.
    Nothing,
}

/// What an escape sequence means, and how long it is; one that is cut off reaches to the end.
fn escape(bytes: &[u8]) -> (Token, usize) {
    match bytes.get(1) {
        Some(b'[') => control_sequence(bytes),
        // A string: up to BEL or ST (ECMA-48 8.3.89, and what xterm takes for OSC).
        Some(b']' | b'P' | b'_' | b'^' | b'X') => (Token::Nothing, string_length(bytes)),
        // An intermediate byte and a final one, as for character sets.
        Some(0x20..=0x2f) => (Token::Nothing, bytes.len().min(3)),
        Some(_) => (Token::Nothing, 2),
        None => (Token::Nothing, 1),
    }
}

fn control_sequence(bytes: &[u8]) -> (Token, usize) {
    let body = &bytes[2..];
    let Some(end) = body.iter().position(|byte| !(0x20..=0x3f).contains(byte)) else {
        return (Token::Nothing, bytes.len());
    };
    let (parameters, length) = (&body[..end], end + 3);
    match (body[end], parameters) {
        (b'm', _) => (Token::Attributes, length),
        // To the first column; the whole line erased.
        (b'G', b"" | b"0" | b"1") | (b'K', b"2") => (Token::LineStart, length),
        (0x40..=0x7e, _) => (Token::Nothing, length),
        // A byte that does not belong there ends the sequence, and is looked at by itself.
        _ => (Token::Nothing, length - 1),
    }
}

fn string_length(bytes: &[u8]) -> usize {
    let end = bytes.iter().enumerate().skip(2).find_map(|(at, byte)| {
        let string_end = *byte == 0x1b && bytes.get(at + 1) == Some(&b'\\');
        match *byte {
            0x07 => Some(at + 1),
            _ if string_end => Some(at + 2),
            _ => None,
        }
    });
    end.unwrap_or(bytes.len())
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
            ("bell\x07 back\x08 null\0", "bell back null"),
            ("c1\u{9b}31mx", "c131mx"),
            ("cut \x1b[3", "cut "),
            ("cut \x1b", "cut "),
            ("cut \x1b]0;x", "cut "),
            ("\x1b[1Aup", "up"),
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
        ] {
            assert_eq!(shown(line), expected, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_but_text_and_colours_comes_out(bytes in proptest::collection::vec(prop_oneof![
            3 => any::<u8>(), 2 => Just(0x1b), 2 => Just(b'['), 1 => Just(b'm'), 1 => Just(b'\r'), 1 => 0x30..0x3bu8
        ], 0..200)) {
            let mut out = Vec::new();
            super::write(&bytes, &mut out);
            prop_assert!(out.len() <= bytes.len());
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
