//! The words every layer shares: identifiers, time, signals and how a process ended.
//!
//! Owns nothing and depends on nothing. Each identifier is a type of its own, so that a service's
//! slot cannot be mistaken for a client's.

pub mod allocation;
mod duration;
pub mod terminal;

pub use duration::parse_duration;

use std::fmt;
use std::time::Duration;

/// A service's place in the supervisor's slab; the same while the service is in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(u32);

/// So many services a table can hold; what is left of the number is the generation's.
const INDEX_BITS: u32 = 20;

/// Services that one file can have. During a reload those that leave are in the table beside the new ones, and the
/// main program is in it too.
pub const MAX_SERVICES: usize = ServiceId::SLOTS / 2 - 1;

impl ServiceId {
    /// Slots that can be told apart.
    pub const SLOTS: usize = 1 << INDEX_BITS;

    /// A slot, and the number of its tenant, so that a service which left is not taken for the next one.
    pub fn new(index: u32, generation: u32) -> ServiceId {
        ServiceId((generation << INDEX_BITS) | (index & ((1 << INDEX_BITS) - 1)))
    }

    /// The slot.
    pub fn index(self) -> usize {
        (self.0 & ((1 << INDEX_BITS) - 1)) as usize
    }
}

/// One child process the supervisor asked for: a main process or a script. Never used twice, so a
/// process id that the kernel hands out again cannot be mistaken for the earlier child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// One connection to the control socket. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// A process id as the kernel gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub i32);

/// A moment of the monotonic clock: nanoseconds since a start that only its maker knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment `by` later; saturates instead of wrapping.
    pub fn after(self, by: Duration) -> Moment {
        Moment(
            self.0
                .saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// The moment `by` earlier; the start of the clock where there is none.
    pub fn before(self, by: Duration) -> Moment {
        Moment(
            self.0
                .saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// The time from `earlier` to here; zero when `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A signal number of Linux, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

/// Linux's signal numbers on the architectures Rust's Linux targets share (signal(7)).
const SIGNAL_NAMES: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// SIGRTMIN as the C library hands it out: the kernel's 32 and 33 are its own.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl Signal {
    /// SIGHUP.
    pub const HUP: Signal = Signal(1);
    /// SIGINT.
    pub const INT: Signal = Signal(2);
    /// SIGQUIT.
    pub const QUIT: Signal = Signal(3);
    /// SIGKILL.
    pub const KILL: Signal = Signal(9);
    /// SIGUSR1.
    pub const USR1: Signal = Signal(10);
    /// SIGUSR2.
    pub const USR2: Signal = Signal(12);
    /// SIGTERM.
    pub const TERM: Signal = Signal(15);
    /// SIGCHLD.
    pub const CHLD: Signal = Signal(17);
    /// SIGCONT.
    pub const CONT: Signal = Signal(18);
    /// SIGTSTP: the key that stops (Ctrl-Z).
    pub const TSTP: Signal = Signal(20);
    /// SIGTTIN: a read from the terminal in the background.
    pub const TTIN: Signal = Signal(21);
    /// SIGTTOU: a write to the terminal, or a change of it, in the background.
    pub const TTOU: Signal = Signal(22);
    /// SIGXCPU.
    pub const XCPU: Signal = Signal(24);
    /// SIGWINCH.
    pub const WINCH: Signal = Signal(28);
    /// SIGRTMIN+3: what systemd and its container tools send to ask for a shutdown.
    pub const RTMIN_3: Signal = Signal(RTMIN + 3);

    /// The signal with this number, if Linux has one (1 to 64).
    pub fn from_number(number: i32) -> Option<Signal> {
        (1..=RTMAX).contains(&number).then_some(Signal(number))
    }

    /// The number the kernel knows it by.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Whether SIGCONT may follow it, so that a stopped process receives it. SIGCONT discards a pending stop signal
    /// (signal(7)), and is of no use after SIGKILL and after itself.
    pub fn may_be_continued(self) -> bool {
        const STOP: i32 = 19;
        const TTOU: i32 = 22;
        let stops = (STOP..=TTOU).contains(&self.0);
        !stops && self != Signal::KILL && self != Signal::CONT
    }

    /// Reads `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3` or `RTMAX-1`.
    pub fn parse(text: &str) -> Option<Signal> {
        let upper = text.trim().to_ascii_uppercase();
        if let Ok(number) = upper.parse::<i32>() {
            return Signal::from_number(number);
        }
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(&(_, number)) = SIGNAL_NAMES.iter().find(|(known, _)| *known == name) {
            return Some(Signal(number));
        }
        let number = match name {
            "CLD" => 17,
            "POLL" => 29,
            "RTMIN" => RTMIN,
            "RTMAX" => RTMAX,
            _ => real_time(name)?,
        };
        Signal::from_number(number)
    }

    /// Every name without a number in it, with `SIG` in front, for suggestions.
    pub fn names() -> impl Iterator<Item = String> {
        SIGNAL_NAMES.iter().map(|(name, _)| format!("SIG{name}"))
    }
}

/// The number of `RTMIN+3` or `RTMAX-1`.
fn real_time(name: &str) -> Option<i32> {
    let offset = |text: &str| text.parse::<u8>().ok().map(i32::from);
    let number = match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
        (Some(above), _) => RTMIN + offset(above)?,
        (_, Some(below)) => RTMAX - offset(below)?,
        (None, None) => return None,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIGNAL_NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 == RTMIN => f.write_str("SIGRTMIN"),
            None if self.0 > RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// How a process ended (wait(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It called exit with this code, 0 to 255.
    Exited(u8),
    /// A signal ended it.
    Signaled(Signal),
    /// The kernel ended it, with SIGKILL, because memory was short.
    KilledForMemory,
}

impl ExitStatus {
    /// The shell's convention: the exit code, or 128 plus the signal's number.
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Exited(code) => code,
            ExitStatus::Signaled(signal) => u8::try_from(128 + signal.number()).unwrap_or(u8::MAX),
            ExitStatus::KilledForMemory => ExitStatus::Signaled(Signal::KILL).code(),
        }
    }

    /// True for exit code 0.
    pub fn success(self) -> bool {
        self == ExitStatus::Exited(0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Exited(code) => write!(f, "exit {code}"),
            ExitStatus::Signaled(signal) => write!(f, "killed by {signal}"),
            ExitStatus::KilledForMemory => f.write_str("killed for memory"),
        }
    }
}

/// A duration as people write it: `0s`, `350ms`, `1.5s`, `45s`, `2m 5s`, `3h 10m`, `4d 2h`.
pub fn human_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = duration.as_secs();
    match seconds {
        0 if millis > 0 => format!("{millis}ms"),
        0..10 if millis % 1000 >= 100 => format!("{}.{}s", seconds, millis % 1000 / 100),
        0..60 => format!("{seconds}s"),
        60..3600 => two_units(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => two_units(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => two_units(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

fn two_units(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit} {small}{small_unit}"),
    }
}

/// How alike two words are (0 to 1) from which one may be meant by the other.
const ALIKE: f64 = 0.8;

/// Longer words, in bytes, are like no other: the comparison takes the product of both lengths.
const MAX_COMPARED: usize = 128;

/// The known word that was probably meant. A slip of two neighbouring letters, or one wrong, missing or
/// doubled, counts as alike in short words too.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > MAX_COMPARED {
        return None;
    }
    let plain = |word: &str| word.to_lowercase().replace(['-', ' '], "_");
    let word = plain(word);
    let likeness = |candidate: &str| {
        let candidate = plain(candidate);
        let slip = word.chars().count() > 2 && strsim::osa_distance(&word, &candidate) == 1;
        strsim::jaro_winkler(&word, &candidate).max(if slip { ALIKE } else { 0.0 })
    };
    // Of one or two letters too much is like anything.
    let near = known
        .into_iter()
        .filter(|candidate| word.chars().count() > 2 && candidate.len() <= MAX_COMPARED)
        .map(|candidate| (likeness(candidate), candidate));
    near.filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_real_time_signal_is_named_from_either_end() {
        let number = |text| super::Signal::parse(text).map(super::Signal::number);
        assert_eq!(number("SIGRTMIN+3"), Some(37));
        assert_eq!(number("rtmax-1"), Some(63));
        assert_eq!(
            (number("RTMIN+30"), number("RTMAX-30")),
            (Some(64), Some(34))
        );
        for outside in [
            "RTMIN+31",
            "RTMAX-31",
            "RTMAX-33",
            "RTMIN+-3",
            "RTMAX--1",
            "RTMAX--2147483648",
            "RTMIN+",
        ] {
            assert_eq!(number(outside), None, "{outside}");
        }
    }

    #[test]
    fn a_slip_is_seen_in_short_words_and_in_long_ones() {
        let known = ["web", "db", "postgres"];
        assert_eq!(super::nearest("wbe", known), Some("web"));
        assert_eq!(super::nearest("Web", known), Some("web"));
        assert_eq!(super::nearest("postgers", known), Some("postgres"));
        assert_eq!(super::nearest("dd", known), None);
        assert_eq!(super::nearest("redis", known), None);
        let (long, longer) = ("x".repeat(1 << 20), "x".repeat((1 << 20) + 1));
        assert_eq!(super::nearest(&long, [longer.as_str()]), None);
        assert_eq!(
            super::nearest("xxx", [longer.as_str(), "xxxx"]),
            Some("xxxx")
        );
    }
}
