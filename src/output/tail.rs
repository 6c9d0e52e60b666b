//! The last lines of a service's remembered output, for `status SERVICE`. The work has a bound that does
//! not depend on how much is remembered.

use std::collections::VecDeque;

use super::format::Origin;
use super::recent::{Mark, Recent};
use super::screen;

/// The most lines.
pub const MAX_LINES: usize = 10;

/// A longer line is cut to this many characters.
const LINE_CHARS: usize = 500;

/// How far back the lines are looked for. A line that begins before that lacks its beginning.
const TAIL_BYTES: usize = 16 * 1024;
const TAIL_RECORDS: usize = 512;

/// The last lines, at most [`MAX_LINES`] of at most 500 characters, the oldest first; an unfinished line is one of
/// them. They are as a screen shows them, without colours; empty ones are left out.
pub fn last_lines(recent: &Recent) -> Vec<String> {
    let mut lines = VecDeque::new();
    let mut open: Vec<(Origin, Vec<u8>)> = Vec::new();
    let mut place = recent.tail(TAIL_BYTES, TAIL_RECORDS);
    while let Some((chunk, next, _)) = recent.read(place) {
        place = next;
        let of_origin = |(origin, _): &(Origin, Vec<u8>)| *origin == chunk.origin;
        let at = open.iter().position(of_origin);
        let mut line = at.map_or_else(Vec::new, |at| open.swap_remove(at).1);
        let (front, back) = chunk.bytes;
        let before = (front.len() + back.len()).saturating_sub(TAIL_BYTES);
        for byte in front.iter().chain(back).skip(before) {
            match byte {
                b'\n' => keep(&mut lines, &std::mem::take(&mut line)),
                byte => line.push(*byte),
            }
        }
        match chunk.mark {
            Mark::End => keep(&mut lines, &line),
            Mark::Bytes | Mark::Quiet if line.is_empty() => {}
            Mark::Bytes | Mark::Quiet => open.push((chunk.origin, line)),
        }
    }
    for (_, line) in open {
        keep(&mut lines, &line);
    }
    lines.into()
}

fn keep(lines: &mut VecDeque<String>, line: &[u8]) {
    let text = shown(line);
    if text.trim().is_empty() {
        return;
    }
    if lines.len() == MAX_LINES {
        lines.pop_front();
    }
    lines.push_back(text);
}

/// The line as a screen shows it, without colours.
fn shown(line: &[u8]) -> String {
    let mut drawn = Vec::new();
    screen::write(line, &mut drawn);
    let mut text = Vec::with_capacity(drawn.len());
    let mut rest = drawn.as_slice();
    while let Some((first, others)) = rest.split_first() {
        if *first == screen::ESCAPE {
            let length = screen::sequence_length(rest).unwrap_or(rest.len());
            rest = rest.get(length.max(1)..).unwrap_or_default();
        } else {
            text.push(*first);
            rest = others;
        }
    }
    let text = String::from_utf8_lossy(&text);
    match text.char_indices().nth(LINE_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::{Stamp, StreamKind};
    use super::{LINE_CHARS, MAX_LINES, Mark, Origin, Recent, last_lines};

    const OUT: Origin = Origin {
        stream: StreamKind::Stdout,
        pid: 7,
    };
    const ERR: Origin = Origin {
        stream: StreamKind::Stderr,
        pid: 7,
    };

    fn remembered(reads: &[(Origin, &[u8])]) -> Recent {
        let mut recent = Recent::new(1024 * 1024);
        for (origin, bytes) in reads {
            recent.push(Stamp::default(), *origin, bytes);
        }
        recent
    }

    #[test]
    fn streams_are_kept_apart_and_what_is_unfinished_counts() {
        let mut recent = remembered(&[
            (OUT, b"one\r\nhalf a "),
            (ERR, b"\x1b[31merror\x1b[0m\n\n"),
            (OUT, b"line\n"),
            (ERR, b"panic"),
        ]);
        recent.mark(Stamp::default(), ERR, Mark::End);
        recent.push(Stamp::default(), OUT, b"10%\r20%");
        let lines = last_lines(&recent);
        assert_eq!(lines, ["one", "error", "half a line", "panic", "20%"]);
    }

    #[test]
    fn of_much_output_the_end_is_shown() {
        let many: String = (0..100_000).map(|line| format!("{line}\n")).collect();
        let lines = last_lines(&remembered(&[(OUT, many.as_bytes())]));
        assert_eq!(lines.len(), MAX_LINES);
        assert_eq!(lines.last().map(String::as_str), Some("99999"));
        let long = "ä".repeat(100_000);
        let lines = last_lines(&remembered(&[(OUT, long.as_bytes())]));
        let characters = lines.first().map_or(0, |line| line.chars().count());
        assert_eq!((lines.len(), characters), (1, LINE_CHARS + 1));
    }

    #[test]
    fn of_nothing_there_are_no_lines() {
        assert!(last_lines(&Recent::new(0)).is_empty());
        assert!(last_lines(&remembered(&[(OUT, b"\n \n")])).is_empty());
    }
}
