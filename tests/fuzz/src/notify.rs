//! What services say to their notify socket: any datagram gives only words that hold what they promise.

use std::mem::discriminant;

use go_overlay::base::Pid;
use go_overlay::probe::notify::{MAX_DATAGRAM, words};
use go_overlay::supervisor::event::Word;

pub fn run(data: &[u8]) {
    let datagram = &data[..data.len().min(MAX_DATAGRAM)];
    let said = words(datagram);
    let lines: Vec<&[u8]> = datagram.split(|byte| *byte == b'\n').collect();
    assert!(said.len() <= lines.len(), "more words than lines");
    said.iter().for_each(holds);
    // A line means the same whatever is around it, the last of a kind counts, and what it means can be said again.
    let mut one_by_one: Vec<Word> = Vec::new();
    for word in lines.iter().flat_map(|line| words(line)) {
        one_by_one.retain(|other| discriminant(other) != discriminant(&word));
        one_by_one.push(word);
    }
    assert_eq!(said, one_by_one);
    for word in said {
        assert_eq!(words(spoken(&word).as_bytes()), [word]);
    }
}

fn holds(word: &Word) {
    match word {
        Word::Status(text) => {
            assert!(text.chars().count() <= 200, "a status of any length");
            assert!(!text.chars().any(char::is_control), "{text:?} steers");
        }
        Word::MainPid(Pid(pid)) => assert!(*pid > 1),
        Word::AliveWithin(period) => assert!(period.is_none_or(|period| !period.is_zero())),
        Word::NeverReady(reason) => panic!("no program reports {reason:?} about itself"),
        Word::ExtendTimeout(by) => assert!(by.as_micros() <= u128::from(u64::MAX)),
        Word::Ready | Word::Stopping | Word::Alive | Word::Trouble => {}
    }
}

/// The line that a service would send.
fn spoken(word: &Word) -> String {
    match word {
        Word::Ready => "READY=1".into(),
        Word::Stopping => "STOPPING=1".into(),
        Word::Status(text) => format!("STATUS={text}"),
        Word::Alive => "WATCHDOG=1".into(),
        Word::Trouble => "WATCHDOG=trigger".into(),
        Word::AliveWithin(period) => {
            let micros = period.map_or(0, |period| period.as_micros());
            format!("WATCHDOG_USEC={micros}")
        }
        Word::ExtendTimeout(by) => format!("EXTEND_TIMEOUT_USEC={}", by.as_micros()),
        Word::MainPid(Pid(pid)) => format!("MAINPID={pid}"),
        Word::NeverReady(_) => String::new(),
    }
}
