//! Text from outside on its way to a terminal: it may be shown, and do nothing else.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character does something else than being shown: a control (C0, DEL, C1), or one of Unicode's
/// that turn the direction of text, hide in it, end its line, or have no width (Unicode 16, `Cf`, `Zl`, `Zp`
/// and the fillers of `Default_Ignorable_Code_Point`).
pub fn steers(c: char) -> bool {
    match c {
        ' '..='~' => false,
        '\0'..='\u{9f}' => true,
        _ => matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'),
    }
}

/// The text as one line, with what steers a terminal written out: ESC as `\u{1b}`, a newline as `\n`.
pub fn plain(text: &str) -> Cow<'_, str> {
    written_out(text, |c, out| out.extend(c.escape_default()))
}

/// Several lines, with what steers a terminal written out as in [`plain`]; newlines stay, and so does ESC where the
/// text is `colored` and what it repeats from outside has none.
pub fn lines(text: &str, colored: bool) -> Cow<'_, str> {
    let stays = |c: char| c == '\n' || (colored && c == '\x1b');
    if !text.chars().any(|c| steers(c) && !stays(c)) {
        return text.into();
    }
    written_out(text, |c, out| match stays(c) {
        true => out.push(c),
        false => out.extend(c.escape_default()),
    })
}

/// The text on one line without what steers a terminal.
pub fn without_steering(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| !steers(*c))
}

/// A JSON text of the same value, with what steers a terminal written out as JSON has it: ESC as `\u001b`.
/// White space between tokens stays.
pub fn json(text: &str) -> Cow<'_, str> {
    // Such a character is in a string, or the text is no JSON.
    let between_tokens = |c: char| matches!(c, '\n' | '\t' | '\r');
    if !text.chars().any(|c| steers(c) && !between_tokens(c)) {
        return text.into();
    }
    written_out(text, |c, out| {
        if between_tokens(c) {
            return out.push(c);
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to memory does not fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

fn written_out(text: &str, write: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for c in text.chars() {
        match steers(c) {
            true => write(c, &mut out),
            false => out.push(c),
        }
    }
    out.into()
}

/// Written between columns, as often as it takes.
const BLANKS: &str = "                                ";

/// The most that is written at once: a hostile name must not make every row of a table as long as itself.
const MAX_BLANKS: usize = 256;

/// Adds blanks, 256 at most. `format!` panics where a width is beyond 65,535.
pub fn pad(text: &mut String, count: usize) {
    let mut count = count.min(MAX_BLANKS);
    while count > 0 {
        let some = count.min(BLANKS.len());
        text.push_str(&BLANKS[..some]);
        count -= some;
    }
}

/// How many columns the text takes, counting each character as one.
pub fn columns_of(text: &str) -> usize {
    match text.is_ascii() {
        true => text.len(),
        false => text.chars().count(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    /// One of each kind: controls, bidirectional overrides, isolates and marks, separators, no width, tags.
    const STEERING: &str = "\0\x07\x08\t\n\r\x1b\x7f\u{85}\u{9b}\u{9d}\u{ad}\u{61c}\u{200b}\u{200d}\u{200e}\
        \u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{feff}\u{fff9}\u{e0001}\u{e007f}";

    #[test]
    fn text_stays_and_what_steers_goes() {
        for text in ["", "plain text ~", "größer → 日本語 🚀", "שלום مرحبا"] {
            assert_eq!(plain(text), text);
            assert_eq!(json(text), text);
            assert_eq!(lines(text, false), text);
        }
        assert!(STEERING.chars().all(steers));
        assert_eq!(without_steering(STEERING).count(), 0);
        assert_eq!(plain("a\x1b[2J\u{202e}b\n"), "a\\u{1b}[2J\\u{202e}b\\n");
        assert_eq!(lines("a\x1b[1mb\u{feff}\n", true), "a\x1b[1mb\\u{feff}\n");
        assert_eq!(lines("a\x1b[1mb\n", false), "a\\u{1b}[1mb\n");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "text": STEERING, "more": ["\u{9b}31m", 7] });
        for text in [
            value.to_string(),
            serde_json::to_string_pretty(&value).unwrap(),
        ] {
            let shown = json(&text);
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
                value
            );
            assert!(shown.chars().all(|c| c == '\n' || !steers(c)), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_steers_comes_out(text in any::<String>()) {
            prop_assert!(!plain(&text).chars().any(steers));
            let quoted = serde_json::to_string(&text).unwrap();
            let shown = json(&quoted);
            prop_assert!(!shown.chars().any(steers));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }
}
