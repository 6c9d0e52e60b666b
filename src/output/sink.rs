//! Where one service's output goes: standard output, its file, its memory; and what becomes of lines for
//! which standard output has no room.

use super::file_text::FileText;
use super::format::{Layout, Origin, Stamp};
use super::queue::Queue;
use super::recent::{Mark, Recent};
use super::splitter::{Piece, Splitter};
use crate::config::model::Overflow;

/// The text side of one stream.
#[derive(Debug)]
pub struct StreamText {
    origin: Origin,
    splitter: Splitter,
    /// The present line is being dropped.
    dropping: bool,
}

impl StreamText {
    /// At the start of a line.
    pub fn new(origin: Origin) -> StreamText {
        StreamText {
            origin,
            splitter: Splitter::new(),
            dropping: false,
        }
    }

    /// The process that the stream was opened for.
    pub fn pid(&self) -> i32 {
        self.origin.pid
    }

    /// Whether an unfinished line is held back.
    pub fn has_partial(&self) -> bool {
        self.splitter.has_partial()
    }
}

/// One service's sink. The log file itself is the caller's: what is to be written to it comes back.
#[derive(Debug)]
pub struct Sink {
    /// None: not to standard output.
    stdout: Option<Layout>,
    overflow: Overflow,
    /// None: there is no log file.
    file: Option<Box<FileText>>,
    /// The last output, for `logs`.
    pub recent: Recent,
    /// Lines dropped since the start.
    pub dropped: u64,
    /// Of these, how many the log does not say yet.
    untold: u64,
}

impl Sink {
    /// Writes to these places.
    pub fn new(
        stdout: Option<Layout>,
        overflow: Overflow,
        file: Option<FileText>,
        recent: Recent,
    ) -> Sink {
        Sink {
            stdout,
            overflow,
            file: file.map(Box::new),
            recent,
            dropped: 0,
            untold: 0,
        }
    }

    /// Takes over other settings; what is remembered and counted stays.
    pub fn refit(&mut self, new: Sink) {
        let Sink {
            stdout,
            overflow,
            file,
            recent,
            dropped: _,
            untold: _,
        } = new;
        self.stdout = stdout;
        self.overflow = overflow;
        self.recent.set_limit(recent.limit());
        match (&mut self.file, file) {
            // It may be in the middle of a line.
            (Some(old), Some(new)) => old.refit(*new),
            (old, new) => *old = new,
        }
    }

    /// Whether the service has to wait while standard output has no room.
    pub fn waits(&self) -> bool {
        self.stdout.is_some() && self.overflow == Overflow::Block
    }

    /// Whether the service waits rather than lose lines.
    pub fn is_patient(&self) -> bool {
        self.overflow == Overflow::Block
    }

    /// Whether lines were dropped of which the log does not say so yet.
    pub fn owes_a_word(&self) -> bool {
        self.untold > 0
    }

    /// Takes in what was read of a stream. Gives back what is to be written to the log file, if there is
    /// one; [`Sink::written`] is to follow.
    pub fn take<'a>(
        &'a mut self,
        stream: &mut StreamText,
        bytes: &'a [u8],
        stamp: Stamp,
        queue: &mut Queue,
    ) -> Option<&'a [u8]> {
        let origin = stream.origin;
        self.recent.push(stamp, origin, bytes);
        self.begin(stamp, origin, bytes);
        let bare = self.file_is_bare(origin);
        let mut splitter = std::mem::take(&mut stream.splitter);
        let (first, block, rest) = splitter.divide(bytes);
        splitter.feed(first, &mut |piece| self.give(piece, stream, stamp, queue));
        if !self.give_block(block, bare, queue) {
            splitter.feed(block, &mut |piece| self.give(piece, stream, stamp, queue));
        }
        splitter.feed(rest, &mut |piece| self.give(piece, stream, stamp, queue));
        stream.splitter = splitter;
        match (&self.file, bare) {
            (Some(_), true) => Some(bytes),
            (file, _) => file.as_deref().map(FileText::text),
        }
    }

    /// Shows an unfinished line: it has been quiet for a while (`Mark::Quiet`; a character that is not complete stays
    /// held), or its stream has ended (`Mark::End`).
    pub fn flush(
        &mut self,
        stream: &mut StreamText,
        mark: Mark,
        stamp: Stamp,
        queue: &mut Queue,
    ) -> Option<&[u8]> {
        self.recent.mark(stamp, stream.origin, mark);
        if stream.has_partial() {
            self.begin(stamp, stream.origin, &[]);
            let mut splitter = std::mem::take(&mut stream.splitter);
            let mut give = |piece: Piece<'_>| self.give(piece, stream, stamp, queue);
            match mark {
                Mark::End => splitter.flush(&mut give),
                Mark::Quiet | Mark::Bytes => splitter.pause(&mut give),
            }
            stream.splitter = splitter;
        }
        self.file.as_deref().map(FileText::text)
    }

    /// What was given for the log file was written.
    pub fn written(&mut self) {
        if let Some(file) = &mut self.file {
            file.clear();
        }
    }

    /// Says how many lines were dropped, now that there is room.
    pub fn tell_dropped(&mut self, stamp: Stamp, queue: &mut Queue) {
        let Some(layout) = &mut self.stdout else {
            self.untold = 0;
            return;
        };
        if self.untold > 0 && queue.make_room(layout.most_said()) {
            let lines = std::mem::take(&mut self.untold);
            layout.write_dropped(lines, stamp, queue.end());
        }
    }

    fn begin(&mut self, stamp: Stamp, origin: Origin, bytes: &[u8]) {
        if let Some(layout) = &mut self.stdout {
            layout.begin(stamp, origin, bytes);
        }
        if let Some(file) = &mut self.file {
            file.begin(stamp, origin, bytes);
        }
    }

    /// The bytes of the only stream of a service are its lines.
    fn file_is_bare(&self, origin: Origin) -> bool {
        let file = self.file.as_deref();
        origin.stream == super::format::StreamKind::Tty && file.is_some_and(FileText::is_bare)
    }

    /// Takes whole lines at once, where nothing has to be looked at but their ends.
    fn give_block(&self, block: &[u8], bare: bool, queue: &mut Queue) -> bool {
        let file_needs_lines = self.file.is_some() && !bare;
        match &self.stdout {
            _ if file_needs_lines || self.untold > 0 => false,
            None => true,
            Some(_) if self.overflow == Overflow::Drop => false,
            Some(layout) => layout.write_block(block, queue.end()),
        }
    }

    fn give(&mut self, piece: Piece<'_>, stream: &mut StreamText, stamp: Stamp, queue: &mut Queue) {
        let origin = stream.origin;
        if self.file.is_some()
            && !self.file_is_bare(origin)
            && let Some(file) = &mut self.file
        {
            file.add(piece, origin);
        }
        if self.stdout.is_some() && !self.drops(piece, stream, queue) {
            if self.untold > 0 {
                self.tell_dropped(stamp, queue);
                self.begin(stamp, origin, &[]);
            }
            if let Some(layout) = &self.stdout {
                layout.write(piece, queue.end());
            }
        }
    }

    /// Whether there is no room for the piece, or no memory. A line of which one piece was dropped is dropped to its
    /// end, and counted once.
    fn drops(&mut self, piece: Piece<'_>, stream: &mut StreamText, queue: &mut Queue) -> bool {
        let most = self.stdout.as_ref().map_or(0, |layout| layout.most(piece));
        let waits = self.overflow == Overflow::Block;
        let has_room = (waits || queue.accepts()) && queue.make_room(most);
        let was = stream.dropping && !piece.starts_line;
        stream.dropping = was || (!piece.is_bare_end() && !has_room);
        if stream.dropping && !was {
            self.dropped += 1;
            self.untold += 1;
        }
        stream.dropping
    }
}

#[cfg(test)]
mod tests;
