//! What mio hands back for a ready descriptor: the kind of source, its slot, and the slot's
//! generation, so that an event of a closed descriptor never reaches the slot's next tenant.

use mio::Token;

/// A source of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Signals,
    SupervisorTimer,
    HousekeepingTimer,
    Listener,
    Stdout,
    Stderr,
    Client(Slot),
    Stream(Slot),
    Probe(Slot),
    Sign(Slot),
    Launch(Slot),
    /// A process has opened the FIFO that is standard output.
    StdoutOpened,
    /// The same of standard error.
    StderrOpened,
    /// The child that reads the configuration has sent something.
    Reload,
    /// A child that works for log files.
    LogHelper(Slot),
}

/// A place in a [`super::table::Table`] and the number of its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub index: u32,
    pub generation: u32,
}

const KIND_BITS: u32 = 4;
const INDEX_BITS: u32 = 28;

impl Source {
    pub fn token(self) -> Token {
        let (kind, slot) = match self {
            Source::Signals => (0, Slot::FIRST),
            Source::SupervisorTimer => (1, Slot::FIRST),
            Source::HousekeepingTimer => (2, Slot::FIRST),
            Source::Listener => (3, Slot::FIRST),
            Source::Stdout => (4, Slot::FIRST),
            Source::Stderr => (5, Slot::FIRST),
            Source::Client(slot) => (6, slot),
            Source::Stream(slot) => (7, slot),
            Source::Probe(slot) => (8, slot),
            Source::Sign(slot) => (9, slot),
            Source::StdoutOpened => (10, Slot::FIRST),
            Source::StderrOpened => (11, Slot::FIRST),
            Source::Reload => (12, Slot::FIRST),
            Source::LogHelper(slot) => (13, slot),
            Source::Launch(slot) => (14, slot),
        };
        let low = (u64::from(slot.index) << KIND_BITS) | kind;
        Token(((u64::from(slot.generation) << (KIND_BITS + INDEX_BITS)) | low) as usize)
    }

    pub fn from_token(token: Token) -> Source {
        let bits = token.0 as u64;
        let index = ((bits >> KIND_BITS) & ((1 << INDEX_BITS) - 1)) as u32;
        let slot = Slot {
            index,
            generation: (bits >> (KIND_BITS + INDEX_BITS)) as u32,
        };
        match bits & ((1 << KIND_BITS) - 1) {
            0 => Source::Signals,
            1 => Source::SupervisorTimer,
            2 => Source::HousekeepingTimer,
            3 => Source::Listener,
            4 => Source::Stdout,
            5 => Source::Stderr,
            6 => Source::Client(slot),
            7 => Source::Stream(slot),
            8 => Source::Probe(slot),
            9 => Source::Sign(slot),
            10 => Source::StdoutOpened,
            11 => Source::StderrOpened,
            12 => Source::Reload,
            13 => Source::LogHelper(slot),
            _ => Source::Launch(slot),
        }
    }
}

impl Slot {
    const FIRST: Slot = Slot {
        index: 0,
        generation: 0,
    };
}

#[cfg(test)]
mod tests {
    use super::{Slot, Source};

    #[test]
    fn a_token_gives_back_its_source() {
        let slot = Slot {
            index: 3_000,
            generation: u32::MAX,
        };
        for source in [
            Source::Signals,
            Source::Listener,
            Source::Stderr,
            Source::Client(slot),
            Source::Stream(slot),
            Source::Probe(slot),
            Source::Sign(slot),
            Source::Launch(slot),
            Source::StdoutOpened,
            Source::StderrOpened,
            Source::Reload,
            Source::LogHelper(slot),
        ] {
            assert_eq!(Source::from_token(source.token()), source);
        }
    }
}
