//! What has happened to services and to the whole, as data: the last of it is kept in memory, for `events`.

use std::collections::VecDeque;

use super::stream::Codec;
use crate::domain::State;
use crate::supervisor::event::Notice;
use crate::supervisor::view::{Detail, ReloadCounts};

mod size;

/// What is kept of the past, in bytes of memory.
const KEPT_BYTES: usize = 64 * 1024;

/// The last events. They become words and bytes when a client reads them, which is seldom.
#[derive(Debug, Default)]
pub struct Journal {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The number of the next event.
    next: u64,
    /// Something was added since this was asked.
    news: bool,
}

/// An event.
#[derive(Debug)]
pub struct Entry {
    /// When: nanoseconds since 1970.
    pub wall: u64,
    /// The name of the service it is about; None where it is about the whole.
    pub service: Option<Box<str>>,
    /// What.
    pub happened: Happened,
}

/// The kinds of events, each with its data. They are kept small: what most events lack is in a box.
#[derive(Debug)]
pub enum Happened {
    /// A service changed its state, and there is nothing to add to that.
    Changed {
        /// From.
        from: State,
        /// To.
        to: State,
    },
    /// The supervisor reported anything else.
    Notice(Box<Notice>),
    /// The configuration was read again.
    Reloaded(Box<ReloadCounts>),
}

impl From<Notice> for Happened {
    fn from(notice: Notice) -> Happened {
        match notice {
            Notice::Changed {
                from,
                to,
                detail: Detail::Nothing,
                ..
            } => Happened::Changed { from, to },
            notice => Happened::Notice(Box::new(notice)),
        }
    }
}

/// What a reading yields.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// An event.
    Entry(&'a Entry),
    /// The reader was too slow: events are missing here.
    Missed {
        /// When that was found: nanoseconds since 1970.
        wall: u64,
        /// How many are missing.
        events: u64,
    },
}

/// A place in the journal, and what is wanted of the rest.
#[derive(Debug)]
pub struct Reader {
    next: u64,
    /// Go on when everything that is kept has been read.
    pub follow: bool,
    /// Names of services; none: all.
    services: Vec<String>,
}

impl Journal {
    /// Adds an event; the oldest ones go where there is no room for it.
    pub fn add(&mut self, entry: Entry) {
        self.bytes += size::of_entry(&entry);
        self.next += 1;
        self.news = true;
        self.entries.push_back(entry);
        while self.bytes > KEPT_BYTES
            && let Some(entry) = self.entries.pop_front()
        {
            self.bytes -= size::of_entry(&entry);
        }
    }

    /// Whether anything was added since the last time this was asked.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    fn first(&self) -> u64 {
        self.next - self.entries.len() as u64
    }

    /// From the beginning of what is kept, or its last events.
    pub fn reader(&self, services: Vec<String>, last: Option<u64>, follow: bool) -> Reader {
        let mut reader = Reader {
            next: self.first(),
            follow,
            services,
        };
        if let Some(last) = last {
            let wanted = self
                .entries
                .iter()
                .rev()
                .filter(|entry| reader.wants(entry));
            let count = wanted.count() as u64;
            let mut skip = count.saturating_sub(last);
            for entry in &self.entries {
                if skip == 0 {
                    break;
                }
                skip -= u64::from(reader.wants(entry));
                reader.next += 1;
            }
        }
        reader
    }

    /// Adds to `out` what the reader has not read, until that holds `room` bytes. False when its answer is over.
    /// `wall` is asked for the time where events are missing.
    pub fn read(
        &self,
        reader: &mut Reader,
        wall: impl Fn() -> u64,
        codec: &mut impl Codec,
        room: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let events = self.first().saturating_sub(reader.next);
        if events > 0 {
            reader.next = self.first();
            let wall = wall();
            codec.event(Item::Missed { wall, events }, out);
        }
        let seen = usize::try_from(reader.next - self.first()).unwrap_or(usize::MAX);
        for entry in self.entries.iter().skip(seen) {
            if out.len() >= room {
                return true;
            }
            if reader.wants(entry) {
                codec.event(Item::Entry(entry), out);
            }
            reader.next += 1;
        }
        reader.follow
    }

    /// Whether the reader has read everything.
    #[cfg(test)]
    fn is_read(&self, reader: &Reader) -> bool {
        reader.next == self.next
    }
}

impl Reader {
    fn wants(&self, entry: &Entry) -> bool {
        let is_wanted = |name| self.services.iter().any(|wanted| wanted.as_str() == name);
        self.services.is_empty() || entry.service.as_deref().is_some_and(is_wanted)
    }
}

#[cfg(test)]
mod tests;
