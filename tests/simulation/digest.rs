//! Whether two states are the same, whatever the time of day and however many processes came before: a hash
//! of what Debug says, with moments as distances from now and names in the order in which they appear.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hasher};

use go_overlay::base::Moment;

/// So far back it does not matter any more when: longer than any time in the configurations.
const LONG_AGO: i128 = 60_000_000_000;

/// Numbers that only count, and the time of day: they decide nothing.
const COUNTS: [&str; 6] = [
    "next_job", "starts", "Jitter", "actions", "seconds", "nanos",
];

/// Numbers that are names.
const NAMES: [&str; 3] = ["JobId", "Pid", "ClientId"];

pub fn digest(parts: &[&dyn Debug], now: Moment) -> u64 {
    let mut digest = Digest {
        hasher: DefaultHasher::new(),
        now,
        numbers: Default::default(),
        next: Next::Text,
    };
    for part in parts {
        // Only what is formatted could fail.
        let _ = write!(digest, "{part:?};");
    }
    digest.hasher.finish()
}

struct Digest {
    hasher: DefaultHasher,
    now: Moment,
    numbers: [BTreeMap<u64, u64>; NAMES.len()],
    next: Next,
}

/// What the next number is.
#[derive(Clone, Copy)]
enum Next {
    Text,
    Moment,
    Count,
    Name(usize),
    /// Of the daemon: it is told, and decides nothing.
    Beginning,
}

impl Write for Digest {
    /// Debug says names, brackets and numbers one by one.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !matches!(self.next, Next::Text) && matches!(text, "(" | ": ") {
            return Ok(());
        }
        let number: Option<u64> = text.parse().ok();
        match (self.next, number) {
            (Next::Text | Next::Beginning, _) => self.hasher.write(text.as_bytes()),
            (Next::Moment, Some(at)) => {
                let away = i128::from(at) - i128::from(self.now.0);
                self.hasher.write_i128(away.max(-LONG_AGO));
            }
            (Next::Count, Some(_)) => {}
            (Next::Name(kind), Some(number)) => {
                let numbers = &mut self.numbers[kind];
                let known = numbers.len() as u64;
                self.hasher
                    .write_u64(*numbers.entry(number).or_insert(known));
            }
            (Next::Moment | Next::Count | Next::Name(_), None) => {
                self.hasher.write(text.as_bytes());
            }
        }
        self.next = match text {
            "started_at" => Next::Beginning,
            "Moment" if matches!(self.next, Next::Beginning) => Next::Count,
            "Moment" => Next::Moment,
            _ if COUNTS.contains(&text) => Next::Count,
            _ => NAMES
                .iter()
                .position(|name| *name == text)
                .map_or(Next::Text, Next::Name),
        };
        Ok(())
    }
}

#[test]
fn the_same_state_later_and_with_other_names_is_the_same() {
    use go_overlay::base::{JobId, Pid};
    let state = |at: u64, job: u64, pid: i32| (Moment(at), JobId(job), Pid(pid), JobId(job + 1));
    let same = |one, other, now| digest(&[&one], Moment(1000)) == digest(&[&other], Moment(now));
    assert!(same(state(900, 1, 10), state(1900, 7, 11), 2000));
    assert!(!same(state(900, 1, 10), state(1901, 1, 10), 2000));
    let swapped = (Moment(900), JobId(1), Pid(10), JobId(1));
    assert!(digest(&[&swapped], Moment(0)) != digest(&[&state(900, 1, 10)], Moment(0)));
}
