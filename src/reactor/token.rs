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

/// Both ways between a source and its number, from one list: a source that is not in it does not compile.
macro_rules! numbers {
    ($($kind:literal = $name:ident $(($slot:ident))?,)*) => {
        fn kind_and_slot(self) -> (u8, Slot) {
            match self {
                $(Source::$name $(($slot))? => {
                    let slot = None $(.or(Some($slot)))?;
                    ($kind, slot.unwrap_or(Slot::FIRST))
                })*
            }
        }

        fn of(kind: u8, slot: Slot) -> Option<Source> {
            match kind {
                $($kind => Some(Source::$name $(({ let $slot = slot; $slot }))?),)*
                15.. => None,
            }
        }
    };
}

impl Source {
    numbers! {
        0 = Signals,
        1 = SupervisorTimer,
        2 = HousekeepingTimer,
        3 = Listener,
        4 = Stdout,
        5 = Stderr,
        6 = Client(slot),
        7 = Stream(slot),
        8 = Probe(slot),
        9 = Sign(slot),
        10 = StdoutOpened,
        11 = StderrOpened,
        12 = Reload,
        13 = LogHelper(slot),
        14 = Launch(slot),
    }

    pub fn token(self) -> Token {
        let (kind, slot) = self.kind_and_slot();
        let low = (u64::from(slot.index) << KIND_BITS) | u64::from(kind);
        Token(((u64::from(slot.generation) << (KIND_BITS + INDEX_BITS)) | low) as usize)
    }

    /// None where no source has such a token.
    pub fn from_token(token: Token) -> Option<Source> {
        let bits = token.0 as u64;
        let slot = Slot {
            index: ((bits >> KIND_BITS) & ((1 << INDEX_BITS) - 1)) as u32,
            generation: (bits >> (KIND_BITS + INDEX_BITS)) as u32,
        };
        Source::of((bits & ((1 << KIND_BITS) - 1)) as u8, slot)
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
    use mio::Token;

    use super::{KIND_BITS, Slot, Source};

    #[test]
    fn every_source_has_a_token_of_its_own() {
        let slot = Slot {
            index: 3_000,
            generation: u32::MAX,
        };
        let all: Vec<Source> = (0..=u8::MAX)
            .filter_map(|kind| Source::of(kind, slot))
            .collect();
        assert!(all.contains(&Source::Launch(slot)) && all.contains(&Source::Signals));
        for source in &all {
            assert_eq!(Source::from_token(source.token()), Some(*source));
        }
        let numbers = all.iter().map(|source| source.kind_and_slot().0);
        assert!(numbers.clone().eq(0..=14) && numbers.max() < Some(1 << KIND_BITS));
        assert_eq!(Source::from_token(Token(15)), None);
    }
}
