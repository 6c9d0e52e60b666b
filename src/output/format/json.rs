//! A line of output as a JSON object: the text of the `json` log format, and of `logs`.

use std::io::Write;

use super::{Origin, Stamp, dropped};
use crate::output::splitter::Piece;

/// Adds what is before the text of a line: it is the same for all the lines of one read.
pub fn head(out: &mut Vec<u8>, stamp: Stamp, service: &str, origin: Origin) {
    // A service's name needs no escaping, and writing to memory does not fail.
    let _ = write!(
        out,
        "{{\"time\":\"{}\",\"service\":\"{service}\",\"stream\":\"{}\",\"pid\":{},\"line\":",
        stamp.rfc3339(),
        origin.stream.name(),
        origin.pid
    );
}

/// Adds a line: its head, and the piece as its text.
pub fn line(out: &mut Vec<u8>, head: &[u8], piece: Piece<'_>) {
    out.extend_from_slice(head);
    let joined;
    let text = match (piece.head.is_empty(), piece.tail.is_empty()) {
        (true, _) => piece.tail,
        (false, true) => piece.head,
        (false, false) => {
            joined = [piece.head, piece.tail].concat();
            &joined
        }
    };
    let replaced = std::str::from_utf8(text).is_err();
    // Text is always JSON, and writing to memory does not fail.
    let _ = match std::str::from_utf8(text) {
        Ok(text) => serde_json::to_writer(&mut *out, text),
        Err(_) => serde_json::to_writer(&mut *out, &String::from_utf8_lossy(text)),
    };
    if replaced {
        out.extend_from_slice(b",\"invalid_utf8\":true");
    }
    if !piece.starts_line {
        out.extend_from_slice(b",\"continued\":true");
    }
    out.extend_from_slice(b"}\n");
}

/// Adds a line that reports how many lines of the service are missing here.
pub fn missing(out: &mut Vec<u8>, stamp: Stamp, service: &str, lines: u64) {
    let text = dropped(lines);
    // Writing to memory does not fail.
    let _ = writeln!(
        out,
        "{{\"time\":\"{}\",\"service\":\"{service}\",\"stream\":\"supervisor\",\"line\":\"{text}\",\"dropped\":{lines}}}",
        stamp.rfc3339()
    );
}
