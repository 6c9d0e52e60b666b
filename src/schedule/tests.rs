//! The vectors that two other programs agree on, every refused text with its words, and a search by brute force.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod oracle;
mod refused;
mod vectors;
mod words;
mod zones;

use super::{Expression, Schedule, Timestamp, Zone};

/// One expression in a zone of the database in this program: it is the same on every machine.
fn schedule(text: &str, zone: &str) -> Schedule {
    let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    Schedule::new(vec![expression], bundled(zone))
}

fn bundled(zone: &str) -> Zone {
    match zone {
        "UTC" => Zone::utc(),
        _ => Zone::bundled(zone)
            .or_else(|| Zone::posix(zone))
            .unwrap_or_else(|| panic!("{zone}")),
    }
}

/// The next times as text.
fn next(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = schedule(text, zone);
    let mut at = Timestamp::from_rfc3339(after).unwrap();
    let mut times = Vec::new();
    while times.len() < count
        && let Some(next) = schedule.next(at)
    {
        assert!(next > at, "{text}: {next:?} is not after {at:?}");
        times.push(next.rfc3339(schedule.zone()));
        at = next;
    }
    times
}

#[test]
fn intervals_follow_each_other_whatever_else_matches() {
    let every = |text: &str| Expression::parse(text).unwrap();
    let both = Schedule::new(vec![every("@every 60s"), every("@every 90s")], Zone::utc());
    let times: Vec<i64> = both.times(Timestamp(0)).take(5).map(|at| at.0).collect();
    assert_eq!(times, [60, 90, 120, 180, 240]);
    let mixed = Schedule::new(vec![every("0 3 * * *"), every("@every 2h")], Zone::utc());
    let hours: Vec<i64> = (mixed.times(Timestamp(0)).take(4))
        .map(|at| at.0 / 3600)
        .collect();
    assert_eq!(hours, [2, 3, 4, 6]);
}
