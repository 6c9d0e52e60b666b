//! What goes to a service's log file: without the name in front. Plain lines without timestamps are the
//! bytes themselves; the lines of several streams are kept apart.

use super::format::{Layout, Origin, Stamp};
use super::splitter::Piece;
use crate::config::model::LogFormat;

/// One service's way of writing its file.
#[derive(Clone, Debug)]
pub struct FileText {
    layout: Layout,
    format: LogFormat,
    /// Whose line stands unfinished at the end of the file.
    unfinished: Option<Origin>,
    text: Vec<u8>,
}

impl FileText {
    /// Writes with this layout.
    pub fn new(layout: Layout, format: LogFormat) -> FileText {
        FileText {
            layout,
            format,
            unfinished: None,
            text: Vec::new(),
        }
    }

    /// Takes over another way of writing.
    pub fn refit(&mut self, new: FileText) {
        self.layout = new.layout;
        self.format = new.format;
    }

    /// Whether the bytes of a service's only stream can be passed on as they are.
    pub fn is_bare(&self) -> bool {
        self.layout.is_bare()
    }

    /// To be called before the lines of a read.
    pub fn begin(&mut self, stamp: Stamp, origin: Origin, bytes: &[u8]) {
        self.layout.begin(stamp, origin, bytes);
    }

    /// Adds a piece.
    pub fn add(&mut self, piece: Piece<'_>, origin: Origin) {
        if self.format == LogFormat::Json {
            return self.layout.write(piece, &mut self.text);
        }
        let continues = !piece.starts_line && self.unfinished == Some(origin);
        if !continues {
            if self.unfinished.is_some() {
                self.text.push(b'\n');
            }
            self.text.extend_from_slice(self.layout.head());
        }
        self.text.extend_from_slice(piece.head);
        self.text.extend_from_slice(piece.tail);
        self.unfinished = (!piece.ends_line).then_some(origin);
        if piece.ends_line {
            self.text.push(b'\n');
        }
    }

    /// What was added, to be written.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// It was written.
    pub fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT);
    }
}

/// Held for the next lines of a service that writes much.
const KEPT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::super::format::StreamKind;
    use super::super::splitter::Splitter;
    use super::*;
    use crate::config::model::Timestamps;

    const OUT: Origin = Origin {
        stream: StreamKind::Stdout,
        pid: 1,
    };
    const ERR: Origin = Origin {
        stream: StreamKind::Stderr,
        pid: 1,
    };

    fn written(timestamps: Timestamps, reads: &[(Origin, &str)]) -> String {
        let format = LogFormat::Plain;
        let layout = Layout::new(format, timestamps, "web", String::new(), false);
        let mut file = FileText::new(layout, format);
        let mut splitters = [Splitter::new(), Splitter::new()];
        for (origin, text) in reads {
            let splitter = &mut splitters[usize::from(*origin == ERR)];
            file.begin(Stamp::default(), *origin, text.as_bytes());
            splitter.feed(text.as_bytes(), &mut |piece| file.add(piece, *origin));
            if text.ends_with('!') {
                splitter.flush(&mut |piece| file.add(piece, *origin));
            }
        }
        String::from_utf8_lossy(file.text()).into_owned()
    }

    #[test]
    fn the_lines_of_two_streams_are_kept_apart() {
        let reads = [(OUT, "one "), (ERR, "oops\n"), (OUT, "two\n")];
        assert_eq!(written(Timestamps::None, &reads), "oops\none two\n");
    }

    #[test]
    fn a_line_that_came_in_parts_is_whole_again() {
        let reads = [(OUT, "wait!"), (OUT, " done\n"), (OUT, "next\n")];
        assert_eq!(written(Timestamps::None, &reads), "wait! done\nnext\n");
        let reads = [(OUT, "wait!"), (ERR, "oops\n"), (OUT, "done\n")];
        assert_eq!(written(Timestamps::None, &reads), "wait!\noops\ndone\n");
    }

    #[test]
    fn a_line_has_one_timestamp() {
        let reads = [(OUT, "wait!"), (OUT, " done\n")];
        assert_eq!(
            written(Timestamps::Elapsed, &reads),
            "     0.000000 wait! done\n"
        );
    }
}
