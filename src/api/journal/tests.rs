//! What readers of events get.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::base::ServiceId;
use crate::control::message::{EventKind, EventRecord};
use crate::domain::State;
use crate::supervisor::view::Detail;
use crate::wire::json_line::JsonLine;

fn happened(service: &str, detail: &str) -> Entry {
    Entry {
        wall: 0,
        service: Some(service.into()),
        happened: Happened::from(Notice::Changed {
            service: ServiceId::new(0, 0),
            from: State::Starting,
            to: State::Running,
            detail: Detail::Status(detail.into()),
        }),
    }
}

fn read(journal: &Journal, reader: &mut Reader) -> Vec<EventRecord> {
    let mut out = Vec::new();
    let mut codec = JsonLine::default();
    while journal.read(reader, || 0, &mut codec, out.len() + 1000, &mut out)
        && !journal.is_read(reader)
    {}
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
    let missed = 5000 - journal.entries.len();
    assert_eq!(records[0].detail, format!("{missed} events were missed"));
    assert_eq!(records.len(), journal.entries.len() + 1);
}

#[test]
fn what_most_events_are_takes_little_room() {
    let mut journal = Journal::default();
    let plain = || Entry {
        wall: 0,
        service: Some("web".into()),
        happened: Happened::from(Notice::Changed {
            service: ServiceId::new(0, 0),
            from: State::Pending,
            to: State::Starting,
            detail: Detail::Nothing,
        }),
    };
    for _ in 0..5000 {
        journal.add(plain());
    }
    assert!(journal.entries.len() > 1000, "{}", journal.entries.len());
    let records = read(&journal, &mut journal.reader(Vec::new(), Some(1), false));
    let [record] = &records[..] else {
        panic!("{records:?}");
    };
    assert_eq!(record.event, EventKind::State);
    assert_eq!(record.from.as_deref(), Some("PENDING"));
    assert_eq!(record.to.as_deref(), Some("STARTING"));
    assert_eq!(record.detail, "");
}
