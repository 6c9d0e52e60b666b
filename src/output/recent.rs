//! The last output of a service, for `logs`: bytes as they were read, in one bounded buffer. They are
//! split into lines only when somebody asks, so that remembering costs one copy and no more.
//!
//! A silent service holds nothing; a busy one at most its limit, and its oldest output goes first.

use std::collections::VecDeque;

use memchr::memchr_iter;

use super::format::{Origin, Stamp};
use crate::base::allocation::fallibly;

/// What a record takes beside its bytes.
const RECORD_BYTES: usize = std::mem::size_of::<Record>();

/// A longer read is remembered in parts, so that little goes at a time.
const PARTS: usize = 8;

/// Where memory is bounded, what is remembered does not take the last of it: clients have to be answered.
const LEFT_TO_OTHERS: usize = 1024 * 1024;

/// One service's memory.
#[derive(Debug)]
pub struct Recent {
    limit: usize,
    bytes: VecDeque<u8>,
    records: VecDeque<Record>,
    /// Where the oldest record stands: how much went before it.
    gone: Place,
    /// Whose lines were cut in two when the oldest records went; at most one for each stream that has not ended.
    torn: Vec<Origin>,
    /// Somebody reads, and has to be told how many lines went unread.
    counts: bool,
}

/// What was read at once, or what happened to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    wall: u64,
    origin: Origin,
    length: u32,
    /// Lines that end in it.
    lines: u32,
    mark: Mark,
}

/// What a record stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Bytes.
    Bytes,
    /// An unfinished line has been quiet for a while.
    Quiet,
    /// The stream has ended.
    End,
}

/// A record as it is read.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Where it is, which is further on than asked for where older records went.
    pub place: Place,
    /// Nanoseconds since 1970.
    pub wall: u64,
    /// Whose bytes.
    pub origin: Origin,
    /// What it stands for.
    pub mark: Mark,
    /// Its bytes, in two parts.
    pub bytes: (&'a [u8], &'a [u8]),
    /// Nothing comes after it yet.
    pub is_last: bool,
}

/// A reader's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The number of its next record, counted from the first there ever was.
    record: u64,
    /// Where that record's bytes begin, counted likewise.
    byte: u64,
    /// How many lines ended in the records before it.
    lines: u64,
}

impl Place {
    /// Whether it comes before the record of this number.
    pub fn is_before(self, record: u64) -> bool {
        self.record < record
    }
}

impl Recent {
    /// Remembers at most `limit` bytes, the bookkeeping included; 0 remembers nothing.
    pub fn new(limit: usize) -> Recent {
        Recent {
            limit,
            bytes: VecDeque::new(),
            records: VecDeque::new(),
            gone: Place::default(),
            torn: Vec::new(),
            counts: false,
        }
    }

    /// The most that is remembered, in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Another limit from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.make_room(0);
        self.bytes.shrink_to_fit();
        self.records.shrink_to_fit();
    }

    /// Forgets the older half, but not the last record, and frees what it took.
    pub fn forget_half(&mut self) {
        let rest = self.bytes.len() / 2;
        while self.bytes.len() > rest && self.records.len() > 1 {
            self.forget_oldest();
        }
        self.bytes.shrink_to_fit();
        self.records.shrink_to_fit();
    }

    /// Remembers what was read.
    pub fn push(&mut self, stamp: Stamp, origin: Origin, bytes: &[u8]) {
        let part = (self.limit / PARTS).max(1);
        for bytes in bytes.chunks(part) {
            let lines = match self.counts {
                true => memchr_iter(b'\n', bytes).count() as u32,
                false => 0,
            };
            let record = Record {
                wall: stamp.wall,
                origin,
                length: bytes.len() as u32,
                lines,
                mark: Mark::Bytes,
            };
            self.remember(record, bytes);
        }
    }

    /// Remembers that an unfinished line has been quiet, or that the stream has ended.
    pub fn mark(&mut self, stamp: Stamp, origin: Origin, mark: Mark) {
        if self.records.is_empty() {
            if mark == Mark::End {
                self.torn.retain(|torn| *torn != origin);
            }
            return;
        }
        let record = Record {
            wall: stamp.wall,
            origin,
            length: 0,
            lines: 0,
            mark,
        };
        self.remember(record, &[]);
    }

    fn remember(&mut self, record: Record, bytes: &[u8]) {
        if self.limit == 0 {
            return;
        }
        self.make_room(bytes.len());
        if !self.has_room(bytes.len()) {
            // It is not kept, and a reader learns of that as of everything that went too early.
            self.count_gone(record);
            return;
        }
        self.records.push_back(record);
        self.bytes.extend(bytes);
    }

    /// The oldest records go until one more with so many bytes fits.
    fn make_room(&mut self, bytes: usize) {
        let bound = |recent: &Recent| {
            recent.bytes.len() + bytes + (recent.records.len() + 1) * RECORD_BYTES
        };
        while bound(self) > self.limit && self.forget_oldest() {}
    }

    /// Whether one more record with so many bytes fits into memory. Where the system grants no more of it, the
    /// oldest records make room in what there is.
    fn has_room(&mut self, bytes: usize) -> bool {
        let most = self.limit / RECORD_BYTES + 1;
        loop {
            let records = growth(self.records.len(), 1, self.records.capacity(), most);
            let records = records.is_none_or(|more| {
                leaves_some(more * RECORD_BYTES)
                    && fallibly(|| self.records.try_reserve_exact(more).is_ok())
            });
            let more = growth(self.bytes.len(), bytes, self.bytes.capacity(), self.limit);
            let fits = more.is_none_or(|more| {
                leaves_some(more) && fallibly(|| self.bytes.try_reserve_exact(more).is_ok())
            });
            if records && fits {
                return true;
            }
            if !self.forget_oldest() {
                return false;
            }
        }
    }

    /// False when there is none.
    fn forget_oldest(&mut self) -> bool {
        let Some(record) = self.records.pop_front() else {
            return false;
        };
        let last = self.bytes.drain(..record.length as usize).next_back();
        match (record.mark, last) {
            (Mark::Bytes, Some(b'\n')) | (Mark::End, _) => {
                self.torn.retain(|torn| *torn != record.origin);
            }
            (Mark::Bytes, _) if !self.torn.contains(&record.origin) => {
                self.torn.push(record.origin);
            }
            (Mark::Bytes, _) => {}
            (Mark::Quiet, _) => {}
        }
        self.count_gone(record);
        true
    }

    fn count_gone(&mut self, record: Record) {
        self.gone.record += 1;
        self.gone.byte += u64::from(record.length);
        self.gone.lines += u64::from(record.lines);
    }

    /// Whose oldest lines lack their beginnings.
    pub fn torn(&self) -> &[Origin] {
        &self.torn
    }

    /// From now on a reader is told exactly how many lines went before it could read them. Counting costs
    /// time, so that it is done only while somebody reads.
    pub fn count_lines(&mut self, on: bool) {
        if on && !self.counts {
            let mut from = 0;
            for record in &mut self.records {
                let to = from + record.length as usize;
                let lines = self.bytes.range(from..to).filter(|byte| **byte == b'\n');
                record.lines = lines.count() as u32;
                from = to;
            }
        }
        self.counts = on;
    }

    /// The record at a place, the place after it, and, where records before it went unread, how many lines ended in
    /// these; None at the end.
    pub fn read(&self, place: Place) -> Option<(Chunk<'_>, Place, Option<u64>)> {
        let is_overtaken = place.record < self.gone.record;
        let lost = is_overtaken.then(|| self.gone.lines.saturating_sub(place.lines));
        let place = match is_overtaken {
            true => self.gone,
            false => place,
        };
        let index = usize::try_from(place.record - self.gone.record).ok()?;
        let record = self.records.get(index)?;
        let from = usize::try_from(place.byte - self.gone.byte).ok()?;
        let to = from + record.length as usize;
        let (front, back) = self.bytes.as_slices();
        let part =
            |slice: &'_ [u8], from: usize, to: usize| from.min(slice.len())..to.min(slice.len());
        let chunk = Chunk {
            place,
            wall: record.wall,
            origin: record.origin,
            mark: record.mark,
            bytes: (
                &front[part(front, from, to)],
                &back[part(
                    back,
                    from.saturating_sub(front.len()),
                    to.saturating_sub(front.len()),
                )],
            ),
            is_last: index + 1 == self.records.len(),
        };
        let next = Place {
            record: place.record + 1,
            byte: place.byte + u64::from(record.length),
            lines: place.lines + u64::from(record.lines),
        };
        Some((chunk, next, lost))
    }

    /// How many bytes are held, capacity and bookkeeping included.
    pub fn held(&self) -> usize {
        self.bytes.capacity() + self.records.capacity() * RECORD_BYTES
    }

    /// The place before the oldest record there is.
    pub fn beginning(&self) -> Place {
        self.gone
    }

    /// The place of the last records: as few as hold `bytes` bytes, and at most `records`.
    pub fn tail(&self, bytes: usize, records: usize) -> Place {
        let mut place = Place {
            record: self.end(),
            byte: self.gone.byte + self.bytes.len() as u64,
            lines: 0,
        };
        let mut found = 0;
        for record in self.records.iter().rev().take(records) {
            place.record -= 1;
            place.byte -= u64::from(record.length);
            found += record.length as usize;
            if found >= bytes {
                break;
            }
        }
        place
    }

    /// The number of the record that comes next.
    pub fn end(&self) -> u64 {
        self.gone.record + self.records.len() as u64
    }
}

/// Whether the system grants so many bytes and those that are left to other uses. A small growth is not looked at.
fn leaves_some(bytes: usize) -> bool {
    let probed = bytes + LEFT_TO_OTHERS;
    bytes < LEFT_TO_OTHERS / 8 || fallibly(|| Vec::<u8>::new().try_reserve_exact(probed).is_ok())
}

/// By how much to grow for `more`: by as much again, in order to grow seldom, but to no more than `most`.
fn growth(length: usize, more: usize, capacity: usize, most: usize) -> Option<usize> {
    let needed = length + more;
    let wanted = (needed * 2).min(most).max(needed);
    (needed > capacity).then(|| wanted - length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::format::StreamKind;
    use super::{Mark, Origin, Place, Recent, Stamp};

    const WEB: Origin = Origin {
        stream: StreamKind::Tty,
        pid: 7,
    };

    fn all(recent: &Recent, mut place: Place) -> (Vec<u8>, u64, Place) {
        let (mut bytes, mut lost) = (Vec::new(), 0);
        while let Some((chunk, next, lines)) = recent.read(place) {
            bytes.extend_from_slice(chunk.bytes.0);
            bytes.extend_from_slice(chunk.bytes.1);
            lost += lines.unwrap_or(0);
            place = next;
        }
        (bytes, lost, place)
    }

    #[test]
    fn a_silent_service_holds_nothing() {
        let mut recent = Recent::new(64 * 1024);
        assert_eq!(recent.held(), 0);
        recent.push(Stamp::default(), WEB, b"line\n");
        assert!(recent.held() < 512, "{}", recent.held());
    }

    #[test]
    fn nothing_is_remembered_with_a_limit_of_none() {
        let mut recent = Recent::new(0);
        recent.push(Stamp::default(), WEB, b"line\n");
        recent.mark(Stamp::default(), WEB, Mark::End);
        assert_eq!(
            (all(&recent, Place::default()).0, recent.held()),
            (vec![], 0)
        );
    }

    proptest! {
        #[test]
        fn a_reader_gets_or_is_told_of_each_line_and_memory_is_bounded(
            reads in proptest::collection::vec((0..3000usize, any::<bool>()), 1..60),
            limit in 200..5000usize,
        ) {
            let mut recent = Recent::new(limit);
            recent.push(Stamp::default(), WEB, b"before\n");
            recent.count_lines(true);
            let (mut place, mut number, mut seen) = (recent.beginning(), 0u64, 0u64);
            let mut before = 1;
            let mut text = Vec::new();
            for (size, look) in reads {
                while text.len() < size {
                    text.extend_from_slice(format!("{number}\n").as_bytes());
                    number += 1;
                }
                recent.push(Stamp::default(), WEB, &text);
                text.clear();
                prop_assert!(recent.held() <= 2 * limit + 64);
                if look {
                    let (bytes, lost, next) = all(&recent, place);
                    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                    seen += lines + lost - std::mem::take(&mut before);
                    place = next;
                    prop_assert_eq!(seen, number);
                    if let Some(last) = String::from_utf8_lossy(&bytes).lines().last()
                        && number > 0
                    {
                        prop_assert_eq!(last.parse::<u64>().ok(), number.checked_sub(1));
                    }
                }
            }
        }
    }
}
