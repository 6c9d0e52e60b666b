//! Reading the remembered output of several services as lines, in the order of time; then, for `logs -f`,
//! whatever comes. A reader that is slow is overtaken by the memory, and told how many lines it lost.
//!
//! A reading yields items; how they are sent is for its reader to say, which makes bytes of each.

use super::format::{Origin, Stamp};
use super::recent::{Chunk, Mark, Place, Recent};
use super::splitter::{Piece, Splitter};
use crate::base::ServiceId;

/// Unfinished lines that are kept for one service; the oldest one is given out.
const MAX_OPEN_LINES: usize = 16;

/// The most of a record that is read at once: a record of empty lines becomes JSON of a hundred times its
/// size.
const STEP_LINES: usize = 64;
const STEP_BYTES: usize = 4 * 1024;

/// Which lines are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Read at this time or later: nanoseconds since 1970.
    pub since: u64,
    /// That hold this text; empty: all.
    pub grep: Vec<u8>,
}

impl Filter {
    fn takes(&self, line: &Line<'_>) -> bool {
        let piece = line.piece;
        if line.wall < self.since || piece.is_bare_end() {
            return false;
        }
        let found = |text: &[u8]| memchr::memmem::find(text, &self.grep).is_some();
        match (piece.head.is_empty(), self.grep.is_empty()) {
            (_, true) => true,
            (true, false) => found(piece.tail),
            (false, false) => found(&[piece.head, piece.tail].concat()),
        }
    }
}

/// A reading of several services.
#[derive(Debug)]
pub struct Feed {
    readers: Vec<Reader>,
    filter: Filter,
    /// Go on when everything that is remembered has been read.
    pub follow: bool,
}

/// A reading of one service.
#[derive(Debug)]
struct Reader {
    service: ServiceId,
    name: String,
    place: Place,
    /// What was read of the record there.
    taken: Taken,
    /// It ends before the record of this number: who does not follow gets what there is when he asks. A
    /// service that writes without a pause would otherwise never be told to its end.
    end: Option<u64>,
    open: Vec<OpenLine>,
    /// Whose next lines lack their beginnings, and are left out.
    torn: Vec<Origin>,
    /// These lines are counted as lost: the memory overtook the reader in them.
    counts_torn: bool,
    /// Lines to leave out at the beginning.
    skip: u64,
}

/// A part of a record.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    bytes: usize,
    /// That end in it.
    lines: u64,
}

/// One stream's unfinished line.
#[derive(Debug)]
struct OpenLine {
    origin: Origin,
    splitter: Splitter,
    /// When its last bytes were read.
    wall: u64,
}

/// What a reading yields.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// A line.
    Line(Line<'a>),
    /// Lines are missing here: the memory lost them before they were read.
    Missing {
        /// The service's name.
        name: &'a str,
        /// How many.
        lines: u64,
        /// When the line after them was read.
        stamp: Stamp,
    },
}

/// A line, or a piece of one.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Which service wrote it.
    pub service: ServiceId,
    /// That service's name.
    pub name: &'a str,
    /// When it was read: nanoseconds since 1970.
    pub wall: u64,
    /// The stream and the process it came from.
    pub origin: Origin,
    /// Its text.
    pub piece: Piece<'a>,
}

impl Line<'_> {
    /// When it was read. How long the daemon had run by then is not remembered.
    pub fn stamp(&self) -> Stamp {
        stamp(self.wall)
    }
}

fn stamp(wall: u64) -> Stamp {
    Stamp { wall, elapsed: 0 }
}

impl Feed {
    /// Reads these services; of each the last `lines` only, where that is said.
    pub fn new<'a>(
        services: impl Iterator<Item = (ServiceId, &'a str, &'a Recent)>,
        filter: Filter,
        lines: Option<u64>,
        follow: bool,
    ) -> Feed {
        let readers = services.map(|(service, name, recent)| {
            let mut reader = Reader::new(service, name, recent);
            reader.end = (!follow).then(|| recent.end());
            if let Some(lines) = lines {
                reader.skip = Reader::new(service, name, recent)
                    .count(recent, &filter)
                    .saturating_sub(lines);
            }
            reader
        });
        let readers = readers.collect();
        Feed {
            readers,
            filter,
            follow,
        }
    }

    /// Adds the next items as `encode` writes them; false when there is nothing more for now.
    /// `recent` finds a service's memory; one that is gone is left out from then on.
    pub fn read<'a>(
        &mut self,
        recent: impl Fn(ServiceId) -> Option<&'a Recent>,
        mut encode: impl FnMut(Item<'_>, &mut Vec<u8>),
        out: &mut Vec<u8>,
    ) -> bool {
        self.readers
            .retain(|reader| recent(reader.service).is_some());
        let next = self.readers.iter_mut().filter_map(|reader| {
            let recent = recent(reader.service)?;
            let (chunk, _, _) = recent.read(reader.place)?;
            if reader.end.is_some_and(|end| !reader.place.is_before(end)) {
                return None;
            }
            Some((chunk.wall, reader, recent))
        });
        match next.min_by_key(|(wall, _, _)| *wall) {
            Some((_, reader, recent)) => reader.step(recent, &self.filter, &mut encode, out),
            None => {
                if !self.follow {
                    for reader in &mut self.readers {
                        reader.give_open(&self.filter, &mut encode, out);
                    }
                }
                return false;
            }
        }
        true
    }

    /// Whether no service is left to read.
    pub fn is_empty(&self) -> bool {
        self.readers.is_empty()
    }
}

impl Reader {
    fn new(service: ServiceId, name: &str, recent: &Recent) -> Reader {
        Reader {
            service,
            name: name.to_owned(),
            place: recent.beginning(),
            taken: Taken::default(),
            end: None,
            open: Vec::new(),
            torn: recent.torn().to_vec(),
            counts_torn: false,
            skip: 0,
        }
    }

    /// How many lines there are to be read.
    fn count(mut self, recent: &Recent, filter: &Filter) -> u64 {
        let mut count = 0;
        let mut sink = |line: Line<'_>| count += u64::from(filter.takes(&line));
        while recent.read(self.place).is_some() {
            self.advance(recent, &mut sink);
        }
        self.flush_open(&mut sink);
        count
    }

    fn step(
        &mut self,
        recent: &Recent,
        filter: &Filter,
        encode: &mut impl FnMut(Item<'_>, &mut Vec<u8>),
        out: &mut Vec<u8>,
    ) {
        let mut skip = self.skip;
        let start = out.len();
        let lost = self.advance(recent, &mut |line| {
            if is_given(&line, filter, &mut skip) {
                encode(Item::Line(line), out);
            }
        });
        self.skip = skip;
        if let Some((lost, wall)) = lost {
            // Those that are not wanted are not missed.
            let skipped = lost.min(self.skip);
            self.skip -= skipped;
            let lines = lost - skipped;
            if lines == 0 {
                return;
            }
            // The lines that are missing came before those that were just read.
            let read = out.split_off(start);
            let missing = Item::Missing {
                name: &self.name,
                lines,
                stamp: stamp(wall),
            };
            encode(missing, out);
            out.extend_from_slice(&read);
        }
    }

    fn give_open(
        &mut self,
        filter: &Filter,
        encode: &mut impl FnMut(Item<'_>, &mut Vec<u8>),
        out: &mut Vec<u8>,
    ) {
        let mut skip = self.skip;
        self.flush_open(&mut |line| {
            if is_given(&line, filter, &mut skip) {
                encode(Item::Line(line), out);
            }
        });
        self.skip = skip;
    }

    /// Gives out the unfinished lines as they are, but for characters that are not complete yet.
    fn flush_open(&mut self, sink: &mut impl FnMut(Line<'_>)) {
        let (service, name) = (self.service, self.name.as_str());
        for OpenLine {
            origin,
            splitter,
            wall,
        } in &mut self.open
        {
            let (origin, wall) = (*origin, *wall);
            splitter.pause(&mut |piece| {
                sink(Line {
                    service,
                    name,
                    wall,
                    origin,
                    piece,
                });
            });
        }
    }

    /// Takes a part of a record, and gives out the pieces that it completes. How many lines the memory lost
    /// before it comes back, with the record's time.
    fn advance(&mut self, recent: &Recent, sink: &mut impl FnMut(Line<'_>)) -> Option<(u64, u64)> {
        let (chunk, next, overtaken) = recent.read(self.place)?;
        let mut lost = overtaken.unwrap_or(0).saturating_sub(self.taken.lines);
        self.place = chunk.place;
        if overtaken.is_some() {
            // The beginnings of these lines are there, and their ends are not.
            self.open.clear();
            self.torn = recent.torn().to_vec();
            self.counts_torn = true;
            self.taken = Taken::default();
        }
        let bytes = self.take_part(&chunk, next);
        let (wall, origin) = (chunk.wall, chunk.origin);
        let at = self.open_line(origin, sink);
        let was_torn = self.torn.contains(&origin);
        let mut torn = was_torn;
        let counts_torn = self.counts_torn;
        let (service, name) = (self.service, self.name.as_str());
        let mut give = |piece: Piece<'_>| {
            if !torn {
                sink(Line {
                    service,
                    name,
                    wall,
                    origin,
                    piece,
                });
            } else if piece.ends_line {
                torn = false;
                lost += u64::from(counts_torn);
            }
        };
        let OpenLine {
            splitter,
            wall: last,
            ..
        } = &mut self.open[at];
        *last = wall;
        let is_over = match chunk.mark {
            Mark::Bytes => {
                splitter.feed(bytes, &mut give);
                false
            }
            // Of what is over, whole lines are wanted; of what is going on, whatever there is.
            Mark::Quiet => {
                if chunk.is_last {
                    splitter.pause(&mut give);
                }
                false
            }
            Mark::End => {
                splitter.flush(&mut give);
                lost += u64::from(torn && counts_torn);
                torn = false;
                true
            }
        };
        if was_torn && !torn {
            self.torn.retain(|other| *other != origin);
        }
        if is_over {
            self.open.remove(at);
        }
        (lost > 0).then_some((lost, wall))
    }

    /// The next bytes of a record; at its end the place moves on to `next`.
    fn take_part<'a>(&mut self, chunk: &Chunk<'a>, next: Place) -> &'a [u8] {
        let (front, back) = chunk.bytes;
        let rest = match front.get(self.taken.bytes..) {
            Some(rest @ [_, ..]) => rest,
            _ => &back[(self.taken.bytes - front.len()).min(back.len())..],
        };
        let rest = &rest[..rest.len().min(STEP_BYTES)];
        let end = memchr::memchr_iter(b'\n', rest).nth(STEP_LINES - 1);
        let part = &rest[..end.map_or(rest.len(), |end| end + 1)];
        self.taken.bytes += part.len();
        self.taken.lines += memchr::memchr_iter(b'\n', part).count() as u64;
        if self.taken.bytes >= front.len() + back.len() {
            self.place = next;
            self.taken = Taken::default();
        }
        part
    }

    /// The place of a stream's unfinished line.
    fn open_line(&mut self, origin: Origin, sink: &mut impl FnMut(Line<'_>)) -> usize {
        if let Some(at) = self.open.iter().position(|open| open.origin == origin) {
            return at;
        }
        if self.open.len() >= MAX_OPEN_LINES {
            let OpenLine {
                origin,
                mut splitter,
                wall,
            } = self.open.remove(0);
            let (service, name) = (self.service, self.name.as_str());
            splitter.flush(&mut |piece| {
                sink(Line {
                    service,
                    name,
                    wall,
                    origin,
                    piece,
                });
            });
        }
        self.open.push(OpenLine {
            origin,
            splitter: Splitter::new(),
            wall: 0,
        });
        self.open.len() - 1
    }
}

/// Whether a line is wanted, and not among those that are left out at the beginning.
fn is_given(line: &Line<'_>, filter: &Filter, skip: &mut u64) -> bool {
    if !filter.takes(line) {
        return false;
    }
    let is_left_out = *skip > 0;
    *skip = skip.saturating_sub(1);
    !is_left_out
}

#[cfg(test)]
mod tests;
