//! What a service tells of itself: the assignments of a datagram, a line each (sd_notify(3)).

use std::mem::discriminant;
use std::time::Duration;

use crate::base::Pid;
use crate::base::terminal::without_steering;
use crate::supervisor::event::Word;

/// The largest datagram that is read, in bytes; what is longer is cut. systemd reads a page.
pub const MAX_DATAGRAM: usize = 4096;

/// The longest `STATUS=` that is kept, in characters: it is shown in a table.
const MAX_STATUS: usize = 200;

/// The words of a datagram, in their order; of several of one kind the last one, so that there are few. What is
/// not known, or not understood, is left out, as it is by systemd: a newer library says more.
pub fn words(datagram: &[u8]) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for line in datagram.split(|byte| *byte == b'\n') {
        let assignment = std::str::from_utf8(line)
            .ok()
            .and_then(|line| line.split_once('='));
        let Some(word) =
            assignment.and_then(|(key, value)| word(key, value.trim_end_matches(['\r', '\0'])))
        else {
            continue;
        };
        words.retain(|other| discriminant(other) != discriminant(&word));
        words.push(word);
    }
    words
}

fn word(key: &str, value: &str) -> Option<Word> {
    match (key, value) {
        ("READY", "1") => Some(Word::Ready),
        ("STOPPING", "1") => Some(Word::Stopping),
        ("STATUS", text) => Some(Word::Status(status(text))),
        ("WATCHDOG", "1") => Some(Word::Alive),
        ("WATCHDOG", "trigger") => Some(Word::Trouble),
        ("WATCHDOG_USEC", text) => {
            let period = Duration::from_micros(text.parse().ok()?);
            Some(Word::AliveWithin(
                Some(period).filter(|period| !period.is_zero()),
            ))
        }
        ("EXTEND_TIMEOUT_USEC", text) => {
            let by = Duration::from_micros(text.parse().ok()?);
            Some(Word::ExtendTimeout(by))
        }
        ("MAINPID", text) => {
            let pid = text.parse().ok().filter(|pid| *pid > 1)?;
            Some(Word::MainPid(Pid(pid)))
        }
        _ => None,
    }
}

/// One line without anything that steers a terminal.
fn status(text: &str) -> String {
    without_steering(text).take(MAX_STATUS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_assignments_a_line_each() {
        let said = words(b"READY=1\nSTATUS=Serving 3 sites\nMAINPID=4711\n");
        assert_eq!(
            said,
            [
                Word::Ready,
                Word::Status("Serving 3 sites".into()),
                Word::MainPid(Pid(4711))
            ]
        );
        assert_eq!(
            words(
                b"WATCHDOG=1\nWATCHDOG=trigger\nWATCHDOG_USEC=1500000\nWATCHDOG_USEC=0\nEXTEND_TIMEOUT_USEC=70\nSTOPPING=1"
            ),
            [
                Word::Alive,
                Word::Trouble,
                Word::AliveWithin(None),
                Word::ExtendTimeout(Duration::from_micros(70)),
                Word::Stopping
            ]
        );
    }

    #[test]
    fn the_last_of_a_kind_counts() {
        let many = "READY=1\nMAINPID=7\nSTATUS=a\n".repeat(100) + "STATUS=b\nMAINPID=9";
        assert_eq!(
            words(many.as_bytes()),
            [Word::Ready, Word::Status("b".into()), Word::MainPid(Pid(9))]
        );
        assert_eq!(
            words(b"WATCHDOG_USEC=1500000\nWATCHDOG_USEC=x"),
            [Word::AliveWithin(Some(Duration::from_millis(1500)))]
        );
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let strange: [&[u8]; 9] = [
            b"",
            b"READY",
            b"READY=0",
            b"READY=1 ",
            b"MAINPID=1",
            b"MAINPID=-5",
            b"WATCHDOG_USEC=soon",
            b"EXTEND_TIMEOUT_USEC=-1",
            b"\xff\xfe=1\nX_SECRET=2\nFDSTORE=1",
        ];
        for datagram in strange {
            assert_eq!(words(datagram), [], "{datagram:?}");
        }
    }

    #[test]
    fn a_status_is_one_plain_line() {
        let long = format!("STATUS=\x1b[31m{}", "é".repeat(300));
        let expected = format!("[31m{}", "é".repeat(196));
        assert_eq!(words(long.as_bytes()), [Word::Status(expected)]);
    }
}
