//! The name in front of each line: `[web    ] line`. A piece that continues the one before it is
//! marked: `[web    ]+rest`, so that the original line can be put together again to the byte.

use crate::base::terminal::{columns_of, pad};

/// Colours that read on dark and on light ground (ECMA-48 SGR).
const PALETTE: [&str; 10] = [
    "31", "32", "33", "34", "35", "36", "91", "94", "95", "38;5;130",
];

/// How names are shown.
#[derive(Clone, Copy, Debug)]
pub struct Prefixer {
    width: usize,
    color: bool,
    screen: bool,
}

impl Prefixer {
    /// Names are padded to `width` characters.
    pub fn new(width: usize, color: bool) -> Prefixer {
        Prefixer {
            width,
            color,
            screen: color,
        }
    }

    /// For lines that go to a terminal, coloured or not.
    pub fn on_screen(self) -> Prefixer {
        Prefixer {
            screen: true,
            ..self
        }
    }

    /// The same with another width.
    pub fn with_width(self, width: usize) -> Prefixer {
        Prefixer { width, ..self }
    }

    /// What stands before a service's lines, the space included.
    pub fn prefix(&self, name: &str) -> String {
        let mut plain = format!("[{name}");
        pad(&mut plain, self.width.saturating_sub(columns_of(name)));
        plain.push(']');
        match self.color {
            true => format!("\x1b[{}m{plain}\x1b[0m ", color_of(name)),
            false => format!("{plain} "),
        }
    }

    /// How many columns it takes.
    pub fn columns(&self) -> usize {
        self.width + 3
    }

    /// Whether the lines go to a terminal, or are to look as if they did.
    pub fn is_for_screen(&self) -> bool {
        self.screen
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
    use super::Prefixer;

    #[test]
    fn names_are_padded() {
        assert_eq!(Prefixer::new(5, false).prefix("web"), "[web  ] ");
        assert_eq!(Prefixer::new(5, false).columns(), "[web  ] ".len());
    }

    #[test]
    fn a_name_keeps_its_colour() {
        let first = Prefixer::new(5, true).prefix("web");
        assert!(first.starts_with("\x1b[") && first.ends_with("m[web  ]\x1b[0m "));
        assert_eq!(first, Prefixer::new(5, true).prefix("web"));
    }
}
