//! How a line is written: plain, with the name in front, or as a JSON object. What stands before a line
//! is made once for all the lines of one read; a line itself is only copied.

pub mod json;

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use memchr::{memchr, memchr_iter, memrchr_iter};

use super::screen::{self, ESCAPE};
use super::splitter::{MAX_LINE, Piece};
use crate::base::allocation::make_room;
use crate::config::model::{LogFormat, Timestamps};

/// Which of a service's outputs bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamKind {
    /// A PTY, which carries both.
    Tty,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl StreamKind {
    /// The word users see.
    pub fn name(self) -> &'static str {
        match self {
            StreamKind::Tty => "tty",
            StreamKind::Stdout => "stdout",
            StreamKind::Stderr => "stderr",
        }
    }
}

/// Whose bytes they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Which output.
    pub stream: StreamKind,
    /// The process that the output was opened for.
    pub pid: i32,
}

/// When bytes were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Nanoseconds since 1970 (CLOCK_REALTIME).
    pub wall: u64,
    /// Nanoseconds since the daemon began.
    pub elapsed: u64,
}

impl Stamp {
    /// RFC 3339 in UTC with nanoseconds.
    pub fn rfc3339(self) -> impl std::fmt::Display {
        humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(self.wall))
    }
}

/// Ends every colour and attribute (ECMA-48, SGR 0).
pub const RESET: &[u8] = b"\x1b[0m";

/// How the lines of one service are written to one place.
#[derive(Clone, Debug)]
pub struct Layout {
    format: LogFormat,
    timestamps: Timestamps,
    name: String,
    /// `[web    ] `, or nothing.
    prefix: String,
    /// The lines go to a terminal.
    screen: bool,
    /// The service has used escape sequences.
    escapes: bool,
    /// What `head` was made for.
    made_for: Option<(Stamp, Origin)>,
    head: Vec<u8>,
}

impl Layout {
    /// `prefix`: what stands before plain lines, with one byte at its end that a continuation changes
    /// into `+`; may be empty. `screen`: the lines go to a terminal, which they must not steer.
    pub fn new(
        format: LogFormat,
        timestamps: Timestamps,
        name: &str,
        prefix: String,
        screen: bool,
    ) -> Layout {
        Layout {
            format,
            timestamps,
            name: name.to_owned(),
            prefix,
            screen,
            escapes: screen,
            made_for: None,
            head: Vec::new(),
        }
    }

    /// Whether bytes can be passed on as they are, lines or not.
    pub fn is_bare(&self) -> bool {
        let plain = self.format == LogFormat::Plain && self.timestamps == Timestamps::None;
        plain && self.prefix.is_empty() && !self.screen
    }

    /// To be called before the lines of a read; `bytes` are what was read.
    pub fn begin(&mut self, stamp: Stamp, origin: Origin, bytes: &[u8]) {
        self.escapes = self.escapes || memchr(ESCAPE, bytes).is_some();
        let is_constant = self.format == LogFormat::Plain && self.timestamps == Timestamps::None;
        if self.made_for == Some((stamp, origin)) || (is_constant && self.made_for.is_some()) {
            return;
        }
        self.made_for = Some((stamp, origin));
        self.head.clear();
        match self.format {
            // Writing to memory does not fail.
            LogFormat::Plain => drop(self.plain_head(stamp)),
            LogFormat::Json => json::head(&mut self.head, stamp, &self.name, origin),
        }
    }

    fn plain_head(&mut self, stamp: Stamp) -> std::io::Result<()> {
        match self.timestamps {
            Timestamps::None => {}
            Timestamps::Rfc3339 => write!(self.head, "{} ", stamp.rfc3339())?,
            Timestamps::Elapsed => {
                let micros = stamp.elapsed / 1000;
                write!(
                    self.head,
                    "{:6}.{:06} ",
                    micros / 1_000_000,
                    micros % 1_000_000
                )?;
            }
        }
        self.head.write_all(self.prefix.as_bytes())
    }

    /// The most that a piece takes with all that is written around it, in bytes.
    pub fn most(&self, piece: Piece<'_>) -> usize {
        // A control character in JSON takes six: `\u0001`.
        6 * (piece.head.len() + piece.tail.len()) + 2 * self.head.len() + self.most_said()
    }

    /// The most that [`Layout::write_dropped`] adds.
    pub fn most_said(&self) -> usize {
        256 + self.name.len() + self.prefix.len()
    }

    /// Adds a piece as a line of its own.
    #[inline]
    pub fn write(&self, piece: Piece<'_>, out: &mut Vec<u8>) {
        if piece.is_bare_end() {
            return;
        }
        match self.format {
            LogFormat::Json => json::line(out, &self.head, piece),
            LogFormat::Plain => {
                let start = out.len();
                out.extend_from_slice(&self.head);
                if !piece.starts_line
                    && !self.prefix.is_empty()
                    && let Some(last) = out.last_mut()
                {
                    *last = b'+';
                }
                let is_shown = self.write_text(piece, out);
                if is_shown || (piece.starts_line && piece.ends_line) {
                    out.push(b'\n');
                } else {
                    // A pause in which there is nothing to be seen yet, or an end (CR LF) that adds nothing to be seen.
                    out.truncate(start);
                }
            }
        }
    }

    /// Adds a block of whole lines, where each is only to be copied; otherwise, when one of them is too long
    /// for that, or without memory for all, adds nothing and returns false.
    pub fn write_block(&self, block: &[u8], out: &mut Vec<u8>) -> bool {
        if self.escapes || self.format != LogFormat::Plain {
            return false;
        }
        let begin = out.len();
        let mut start = 0;
        if !make_room(out, block.len() + block.len() / 8) {
            return false;
        }
        for end in memchr_iter(b'\n', block) {
            let length = self.head.len() + end + 1 - start;
            if end - start > MAX_LINE || !make_room(out, length) {
                out.truncate(begin);
                return false;
            }
            out.extend_from_slice(&self.head);
            out.extend_from_slice(&block[start..=end]);
            start = end + 1;
        }
        true
    }

    /// What stands before a line, for whoever writes the line himself.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Gives back whether there is anything to be seen.
    #[inline]
    fn write_text(&self, piece: Piece<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.extend_from_slice(piece.head);
        out.extend_from_slice(piece.tail);
        if !self.escapes {
            return true;
        }
        let mut is_shown = true;
        if self.screen {
            let text = out.split_off(start);
            is_shown = screen::write(&text, out);
        }
        if leaves_attributes(&out[start..]) {
            out.extend_from_slice(RESET);
        }
        is_shown
    }

    /// Says that lines of the service were dropped.
    pub fn write_dropped(&mut self, lines: u64, stamp: Stamp, out: &mut Vec<u8>) {
        match self.format {
            LogFormat::Json => json::missing(out, stamp, &self.name, lines),
            LogFormat::Plain => {
                self.made_for = None;
                self.head.clear();
                // Writing to memory does not fail.
                let _ = self.plain_head(stamp);
                out.extend_from_slice(&self.head);
                let _ = writeln!(out, "{}", dropped(lines));
            }
        }
    }
}

/// `1,234 lines dropped`.
pub fn dropped(lines: u64) -> String {
    format!("{} dropped", counted(lines, "line"))
}

/// `1,234 lines`.
pub fn counted(number: u64, noun: &str) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let plural = if number == 1 { "" } else { "s" };
    format!("{grouped} {noun}{plural}")
}

/// Whether a colour or another attribute is still on at the end of a line: its last SGR sequence is not
/// one that ends them.
fn leaves_attributes(line: &[u8]) -> bool {
    let last = memrchr_iter(ESCAPE, line).find_map(|at| {
        let rest = line[at + 1..].strip_prefix(b"[")?;
        let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte))?;
        // With a private sign in front it is about something else.
        let is_private = matches!(rest[0], b'<'..=b'?');
        (rest[end] == b'm' && !is_private).then_some(&rest[..end])
    });
    last.is_some_and(turns_on)
}

/// Whether anything is on after an SGR sequence with these parameters. In `38;5;0` the 0 is a colour.
fn turns_on(parameters: &[u8]) -> bool {
    let mut on = false;
    let mut rest = parameters.split(|byte| *byte == b';');
    while let Some(parameter) = rest.next() {
        on = parameter.iter().any(|byte| *byte != b'0');
        if let b"38" | b"48" | b"58" = parameter {
            let colour = match rest.next() {
                Some(b"5") => 1,
                Some(b"2") => 3,
                _ => 0,
            };
            rest.by_ref().take(colour).for_each(drop);
        }
    }
    on
}

#[cfg(test)]
mod tests;
