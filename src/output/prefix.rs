//! The name in front of each line: `[web    ] line`. A piece that continues the one before it is
//! marked: `[web    ]+rest`, so that the original line can be put together again to the byte.

use super::queue::Queue;
use super::splitter::Piece;

/// Colours that read on dark and on light ground (ECMA-48 SGR).
const PALETTE: [&str; 10] = [
    "31", "32", "33", "34", "35", "36", "91", "94", "95", "38;5;130",
];

const RESET: &[u8] = b"\x1b[0m";

/// How names are shown.
#[derive(Clone, Copy, Debug)]
pub struct Prefixer {
    width: usize,
    color: bool,
}

impl Prefixer {
    /// Names are padded to `width` characters.
    pub fn new(width: usize, color: bool) -> Prefixer {
        Prefixer { width, color }
    }

    /// What stands before a service's lines.
    pub fn prefix(&self, name: &str) -> Prefix {
        let plain = format!("[{name:<width$}]", width = self.width);
        let text = match self.color {
            true => format!("\x1b[{}m{plain}\x1b[0m", color_of(name)),
            false => plain,
        };
        Prefix {
            text: text.into_bytes(),
            color: self.color,
        }
    }
}

/// One service's prefix.
#[derive(Clone, Debug)]
pub struct Prefix {
    text: Vec<u8>,
    color: bool,
}

impl Prefix {
    /// Adds a piece as a line of its own.
    pub fn write(&self, piece: Piece<'_>, queue: &mut Queue) {
        queue.append(&self.text);
        queue.append(if piece.starts_line { b" " } else { b"+" });
        queue.append(piece.head);
        queue.append(piece.tail);
        // A colour that the service left on is not the next line's.
        if self.color {
            queue.append(RESET);
        }
        queue.append(b"\n");
    }
}

/// The same name has the same colour in every run: FNV-1a over it.
fn color_of(name: &str) -> &'static str {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    PALETTE[(hash % PALETTE.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::super::splitter::Splitter;
    use super::{Prefixer, Queue};

    fn shown(color: bool, bytes: &[u8]) -> String {
        let (prefix, mut queue) = (Prefixer::new(5, color).prefix("web"), Queue::new());
        let mut splitter = Splitter::new();
        splitter.feed(bytes, &mut |piece| prefix.write(piece, &mut queue));
        splitter.flush(&mut |piece| prefix.write(piece, &mut queue));
        splitter.feed(b"rest\n", &mut |piece| prefix.write(piece, &mut queue));
        String::from_utf8_lossy(queue.front()).into_owned()
    }

    #[test]
    fn lines_have_the_name_in_front_and_continuations_are_marked() {
        assert_eq!(
            shown(false, b"one\n\npart"),
            "[web  ] one\n[web  ] \n[web  ] part\n[web  ]+rest\n"
        );
    }

    #[test]
    fn colour_ends_with_the_prefix_and_with_the_line() {
        assert!(shown(true, b"one\n").contains("m[web  ]\u{1b}[0m one\u{1b}[0m\n"));
    }
}
