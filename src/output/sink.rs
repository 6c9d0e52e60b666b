//! Where one service's output goes: its memory, and a list of places.

use super::destination::{Destination, Drops, Kind, Line};
use super::format::{Origin, Stamp};
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

/// One service's sink. What is not for the queue before standard output is handed to the caller, who writes it.
#[derive(Debug)]
pub struct Sink {
    destinations: Vec<Destination>,
    drops: Drops,
    /// The last output, for `logs`.
    pub recent: Recent,
}

impl Sink {
    /// Writes to these places.
    pub fn new(destinations: Vec<Destination>, overflow: Overflow, recent: Recent) -> Sink {
        Sink {
            destinations,
            drops: Drops::new(overflow),
            recent,
        }
    }

    /// Takes over other settings; what is remembered and counted stays.
    pub fn refit(&mut self, new: Sink) {
        let Sink {
            destinations,
            drops,
            recent,
        } = new;
        self.drops.overflow = drops.overflow;
        self.recent.set_limit(recent.limit());
        let mut old = std::mem::take(&mut self.destinations);
        for new in destinations {
            let same = old.iter().position(|old| old.kind() == new.kind());
            self.destinations.push(match same {
                Some(at) => old.swap_remove(at).refit(new),
                None => new,
            });
        }
    }

    /// Whether the service has to wait while standard output has no room.
    pub fn waits(&self) -> bool {
        self.is_patient() && self.has(Kind::Stdout)
    }

    /// Whether the service waits rather than lose lines.
    pub fn is_patient(&self) -> bool {
        self.drops.overflow == Overflow::Block
    }

    fn has(&self, kind: Kind) -> bool {
        let mut kinds = self.destinations.iter().map(Destination::kind);
        kinds.any(|of| of == kind)
    }

    /// How many lines were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.drops.total
    }

    /// Whether lines were dropped of which the log does not say so yet.
    pub fn owes_a_word(&self) -> bool {
        self.drops.untold > 0
    }

    /// Takes in what was read of a stream. `write` is given what there is to be written to each other place.
    pub fn take(
        &mut self,
        stream: &mut StreamText,
        bytes: &[u8],
        stamp: Stamp,
        queue: &mut Queue,
        write: &mut impl FnMut(Kind, &[u8]),
    ) {
        let origin = stream.origin;
        self.recent.push(stamp, origin, bytes);
        self.begin(stamp, origin, bytes);
        let mut splitter = std::mem::take(&mut stream.splitter);
        let (first, block, rest) = splitter.divide(bytes);
        splitter.feed(first, &mut |piece| self.give(piece, stream, stamp, queue));
        if !self.give_block(block, origin, queue) {
            splitter.feed(block, &mut |piece| self.give(piece, stream, stamp, queue));
        }
        splitter.feed(rest, &mut |piece| self.give(piece, stream, stamp, queue));
        stream.splitter = splitter;
        for destination in &mut self.destinations {
            destination.hand_over(origin, bytes, write);
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
        write: &mut impl FnMut(Kind, &[u8]),
    ) {
        let origin = stream.origin;
        self.recent.mark(stamp, origin, mark);
        if stream.has_partial() {
            self.begin(stamp, origin, &[]);
            let mut splitter = std::mem::take(&mut stream.splitter);
            let mut give = |piece: Piece<'_>| self.give(piece, stream, stamp, queue);
            match mark {
                Mark::End => splitter.flush(&mut give),
                Mark::Quiet | Mark::Bytes => splitter.pause(&mut give),
            }
            stream.splitter = splitter;
        }
        for destination in &mut self.destinations {
            destination.hand_over(origin, &[], write);
        }
    }

    /// Says how many lines were dropped, now that there is room.
    pub fn tell_dropped(&mut self, stamp: Stamp, queue: &mut Queue) {
        let mut layouts = self.destinations.iter_mut();
        match layouts.find_map(Destination::of_queue) {
            Some(layout) => self.drops.tell(layout, stamp, queue),
            None => self.drops.untold = 0,
        }
    }

    fn begin(&mut self, stamp: Stamp, origin: Origin, bytes: &[u8]) {
        for destination in &mut self.destinations {
            destination.begin(stamp, origin, bytes);
        }
    }

    /// Takes whole lines at once, if every place does.
    fn give_block(&self, block: &[u8], origin: Origin, queue: &mut Queue) -> bool {
        let mut all = self.destinations.iter();
        all.all(|destination| destination.takes_blocks(origin, &self.drops))
            && self
                .destinations
                .iter()
                .all(|destination| destination.add_block(block, queue))
    }

    fn give(&mut self, piece: Piece<'_>, stream: &mut StreamText, stamp: Stamp, queue: &mut Queue) {
        let mut line = Line {
            origin: stream.origin,
            stamp,
            dropping: &mut stream.dropping,
        };
        for destination in &mut self.destinations {
            destination.add(piece, &mut line, &mut self.drops, queue);
        }
    }
}

#[cfg(test)]
mod tests;
