//! The places that a service's lines go to beside its memory: one variant a kind. What a kind needs of the kernel is
//! elsewhere (`reactor/outlet.rs`): here is its text.

use super::file_text::FileText;
use super::format::{Layout, Origin, Stamp, StreamKind};
use super::queue::Queue;
use super::splitter::Piece;
use crate::config::model::Overflow;

/// One place.
#[derive(Debug)]
pub enum Destination {
    /// The queue before standard output, which all services share.
    Stdout(Layout),
    /// The service's own log file, which is written by the caller.
    File(Box<FileText>),
}

/// Of which kind a destination is. A service has one of each at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Standard output.
    Stdout,
    /// A log file.
    File,
}

impl Destination {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Destination::Stdout(_) => Kind::Stdout,
            Destination::File(_) => Kind::File,
        }
    }

    /// How lines are written to the queue before standard output; None where they go elsewhere.
    pub(super) fn of_queue(&mut self) -> Option<&mut Layout> {
        match self {
            Destination::Stdout(layout) => Some(layout),
            Destination::File(_) => None,
        }
    }

    /// The same place with other settings. A file may be in the middle of a line, and goes on with it.
    pub(super) fn refit(self, new: Destination) -> Destination {
        match (self, new) {
            (Destination::File(mut old), Destination::File(new)) => {
                old.refit(*new);
                Destination::File(old)
            }
            (Destination::Stdout(_) | Destination::File(_), new) => new,
        }
    }

    /// To be called before the lines of a read.
    pub(super) fn begin(&mut self, stamp: Stamp, origin: Origin, bytes: &[u8]) {
        match self {
            Destination::Stdout(layout) => layout.begin(stamp, origin, bytes),
            Destination::File(file) => file.begin(stamp, origin, bytes),
        }
    }

    /// Whether what is read of this stream is passed on as it is: the bytes of the only stream of a service are its
    /// lines.
    fn passes_bytes(&self, origin: Origin) -> bool {
        match self {
            Destination::Stdout(_) => false,
            Destination::File(file) => origin.stream == StreamKind::Tty && file.is_bare(),
        }
    }

    /// Whether it takes whole lines at once.
    pub(super) fn takes_blocks(&self, origin: Origin, drops: &Drops) -> bool {
        match self {
            Destination::Stdout(_) => drops.takes_all(),
            Destination::File(_) => self.passes_bytes(origin),
        }
    }

    /// Adds whole lines to the queue, where nothing has to be looked at but their ends; false: nothing was added.
    pub(super) fn add_block(&self, block: &[u8], queue: &mut Queue) -> bool {
        match self {
            Destination::Stdout(layout) => layout.write_block(block, queue.end()),
            Destination::File(_) => true,
        }
    }

    /// Adds a piece of a line.
    pub(super) fn add(
        &mut self,
        piece: Piece<'_>,
        line: &mut Line<'_>,
        drops: &mut Drops,
        queue: &mut Queue,
    ) {
        match self {
            Destination::Stdout(layout) => drops.write(layout, piece, line, queue),
            Destination::File(_) if self.passes_bytes(line.origin) => {}
            Destination::File(file) => file.add(piece, line.origin),
        }
    }

    /// Hands over what the caller has to write: what was added, or what was read where that is passed on.
    pub(super) fn hand_over(
        &mut self,
        origin: Origin,
        read: &[u8],
        write: &mut impl FnMut(Kind, &[u8]),
    ) {
        let passes = self.passes_bytes(origin);
        match self {
            Destination::Stdout(_) => {}
            Destination::File(_) if passes && !read.is_empty() => write(Kind::File, read),
            Destination::File(file) => {
                if !file.text().is_empty() {
                    write(Kind::File, file.text());
                }
                file.clear();
            }
        }
    }
}

/// The line that a piece is of.
pub(super) struct Line<'l> {
    pub origin: Origin,
    pub stamp: Stamp,
    /// It is being dropped.
    pub dropping: &'l mut bool,
}

/// Lines of a service for which standard output had no room.
#[derive(Debug)]
pub(super) struct Drops {
    /// Whether the service waits instead.
    pub overflow: Overflow,
    /// Since the start.
    pub total: u64,
    /// Of these, how many the log does not report yet.
    pub untold: u64,
}

impl Drops {
    pub fn new(overflow: Overflow) -> Drops {
        Drops {
            overflow,
            total: 0,
            untold: 0,
        }
    }

    fn takes_all(&self) -> bool {
        self.untold == 0 && self.overflow == Overflow::Block
    }

    fn write(
        &mut self,
        layout: &mut Layout,
        piece: Piece<'_>,
        line: &mut Line<'_>,
        queue: &mut Queue,
    ) {
        if self.drops(layout, piece, line.dropping, queue) {
            return;
        }
        if self.untold > 0 {
            self.tell(layout, line.stamp, queue);
            layout.begin(line.stamp, line.origin, &[]);
        }
        layout.write(piece, queue.end());
    }

    /// Whether there is no room for the piece, or no memory. A line of which one piece was dropped is dropped to its
    /// end, and counted once.
    fn drops(
        &mut self,
        layout: &Layout,
        piece: Piece<'_>,
        dropping: &mut bool,
        queue: &mut Queue,
    ) -> bool {
        let waits = self.overflow == Overflow::Block;
        let has_room = (waits || queue.accepts()) && queue.make_room(layout.most(piece));
        let was = *dropping && !piece.starts_line;
        *dropping = was || (!piece.is_bare_end() && !has_room);
        if *dropping && !was {
            self.total += 1;
            self.untold += 1;
        }
        *dropping
    }

    /// Reports how many lines were dropped, if there is room.
    pub fn tell(&mut self, layout: &mut Layout, stamp: Stamp, queue: &mut Queue) {
        if self.untold > 0 && queue.make_room(layout.most_said()) {
            let lines = std::mem::take(&mut self.untold);
            layout.write_dropped(lines, stamp, queue.end());
        }
    }
}
