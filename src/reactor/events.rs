//! What has happened to services, in the words of the supervisor's notices: the last of it is kept in
//! memory, and clients follow it.

use std::collections::VecDeque;

use crate::base::Moment;
use crate::control::frame;
use crate::control::message::{EventKind, EventRecord};
use crate::output::format::Stamp;
use crate::sys::clock;

/// What is kept of the past, in bytes of memory.
const KEPT_BYTES: usize = 64 * 1024;

/// The last events. They become lines when somebody reads them, which is seldom.
#[derive(Default)]
pub(super) struct Journal {
    lines: VecDeque<Line>,
    bytes: usize,
    /// The number of the next event.
    next: u64,
    /// Something was added since this was asked.
    news: bool,
}

struct Line {
    stamp: Stamp,
    happened: Happened,
}

/// A client that reads events.
#[derive(Debug)]
pub(super) struct Reader {
    next: u64,
    /// Go on when everything that is kept has been read.
    pub follow: bool,
    /// Whose; none: everybody's.
    services: Vec<String>,
}

/// An event, without its time.
pub(super) struct Happened {
    pub service: Option<String>,
    pub event: EventKind,
    pub from: Option<&'static str>,
    pub to: Option<&'static str>,
    pub detail: String,
}

impl Journal {
    pub fn add(&mut self, happened: Happened) {
        let line = Line::now(happened);
        self.bytes += line.size();
        self.next += 1;
        self.news = true;
        self.lines.push_back(line);
        while self.bytes > KEPT_BYTES
            && let Some(line) = self.lines.pop_front()
        {
            self.bytes -= line.size();
        }
    }

    /// Whether anything was added since the last time this was asked.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    fn first(&self) -> u64 {
        self.next - self.lines.len() as u64
    }

    /// From the beginning of what is kept, or its last events.
    pub fn reader(&self, services: Vec<String>, last: Option<u64>, follow: bool) -> Reader {
        let mut reader = Reader {
            next: self.first(),
            follow,
            services,
        };
        if let Some(last) = last {
            let wanted = self.lines.iter().rev().filter(|line| reader.wants(line));
            let count = wanted.count() as u64;
            let mut skip = count.saturating_sub(last);
            for line in &self.lines {
                if skip == 0 {
                    break;
                }
                skip -= u64::from(reader.wants(line));
                reader.next += 1;
            }
        }
        reader
    }

    /// Adds to `out` what the reader has not seen, up to `room` bytes. False when its answer is over.
    pub fn read(&self, reader: &mut Reader, room: usize, out: &mut Vec<u8>) -> bool {
        let missed = self.first().saturating_sub(reader.next);
        if missed > 0 {
            reader.next = self.first();
            let missed = Line::now(Happened {
                service: None,
                event: EventKind::Missed,
                from: None,
                to: None,
                detail: format!("{missed} events were missed"),
            });
            out.extend(missed.encoded());
        }
        let seen = usize::try_from(reader.next - self.first()).unwrap_or(usize::MAX);
        for line in self.lines.iter().skip(seen) {
            if out.len() >= room {
                return true;
            }
            if reader.wants(line) {
                out.extend(line.encoded());
            }
            reader.next += 1;
        }
        reader.follow
    }

    /// Whether the reader has seen everything.
    #[cfg(test)]
    fn is_read(&self, reader: &Reader) -> bool {
        reader.next == self.next
    }
}

impl Reader {
    fn wants(&self, line: &Line) -> bool {
        self.services.is_empty()
            || line
                .happened
                .service
                .as_ref()
                .is_some_and(|name| self.services.contains(name))
    }
}

impl Line {
    fn now(happened: Happened) -> Line {
        let stamp = Stamp {
            wall: clock::wall(),
            elapsed: Moment::default().0,
        };
        Line { stamp, happened }
    }

    /// What it takes to keep it.
    fn size(&self) -> usize {
        let name = self.happened.service.as_ref().map_or(0, String::len);
        size_of::<Line>() + name + self.happened.detail.len()
    }

    /// The line that a client gets.
    fn encoded(&self) -> Vec<u8> {
        let happened = &self.happened;
        frame::encode(&EventRecord {
            time: self.stamp.rfc3339().to_string(),
            event: happened.event,
            service: happened.service.clone(),
            from: happened.from.map(str::to_owned),
            to: happened.to.map(str::to_owned),
            detail: happened.detail.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn happened(service: &str, detail: &str) -> Happened {
        Happened {
            service: Some(service.into()),
            event: EventKind::State,
            from: Some("STARTING"),
            to: Some("RUNNING"),
            detail: detail.into(),
        }
    }

    fn read(journal: &Journal, reader: &mut Reader) -> Vec<EventRecord> {
        let mut out = Vec::new();
        while journal.read(reader, out.len() + 1000, &mut out) && !journal.is_read(reader) {}
        let lines = out
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    #[test]
    fn a_reader_gets_what_it_asks_for_and_then_what_comes() {
        let mut journal = Journal::default();
        for number in 0..10 {
            let service = if number % 2 == 0 { "web" } else { "db" };
            journal.add(happened(service, &number.to_string()));
        }
        let details = |records: Vec<EventRecord>| -> String {
            records.into_iter().map(|record| record.detail).collect()
        };
        let mut all = journal.reader(Vec::new(), None, false);
        assert_eq!(details(read(&journal, &mut all)), "0123456789");
        let mut last = journal.reader(vec!["web".into()], Some(2), true);
        assert_eq!(details(read(&journal, &mut last)), "68");
        journal.add(happened("db", "a"));
        journal.add(happened("web", "b"));
        assert_eq!(details(read(&journal, &mut last)), "b");
        let mut none = journal.reader(Vec::new(), Some(0), false);
        assert_eq!(details(read(&journal, &mut none)), "");
    }

    #[test]
    fn what_is_kept_is_bounded_and_who_is_slow_is_told() {
        let mut journal = Journal::default();
        let mut slow = journal.reader(Vec::new(), None, true);
        for _ in 0..5000 {
            journal.add(happened("web", &"x".repeat(100)));
        }
        assert!(journal.bytes <= KEPT_BYTES);
        let records = read(&journal, &mut slow);
        assert_eq!(records[0].event, EventKind::Missed);
        let missed = 5000 - journal.lines.len();
        assert_eq!(records[0].detail, format!("{missed} events were missed"));
        assert_eq!(records.len(), journal.lines.len() + 1);
    }
}
