//! The daemon's clock: makes the instants of the turns from what the kernel's clocks show.
//!
//! A frozen container (cgroup freezer), a stopped process and a machine without a processor to spare all look the
//! same from inside: a timer expires long before the daemon sees it. A suspended machine shows as a CLOCK_BOOTTIME that
//! is ahead of CLOCK_MONOTONIC. Whatever waits on time was held up as the daemon was, so no timeout counts such a
//! stretch: otherwise a check that no process was able to answer would time out.

use std::time::Duration;

use super::time::{Now, Wall};
use crate::base::Moment;

/// A timer seen later than this was not seen because the daemon did not run. Far beyond the longest turn.
const LATE: Duration = Duration::from_secs(1);

/// That much of the time before the deadline is granted once more, to processes that were about to meet it.
const SECOND_CHANCE: Duration = Duration::from_secs(1);

/// Clocks that are read one after the other differ by less than this, unless one of them was set or stood still.
const SKEW: Duration = Duration::from_millis(1);

/// What the kernel's clocks show at one instant (clock_gettime(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// CLOCK_MONOTONIC: stands still while the machine is suspended, and only then.
    pub mono: Moment,
    /// CLOCK_BOOTTIME: never stands still, and is never set.
    pub boot: Moment,
    /// CLOCK_REALTIME.
    pub wall: Wall,
}

impl Reading {
    /// The reading after this one, from two of the clocks. None where they have moved apart: the machine was suspended
    /// or the clock set, and CLOCK_BOOTTIME tells which. Not every kernel shows that one without a system call.
    pub fn next(self, mono: Moment, wall: Wall) -> Option<Reading> {
        let ran = mono.since(self.mono);
        let expected = self.wall.after(ran);
        let apart = wall.since(expected).max(expected.since(wall));
        (apart < SKEW).then(|| Reading {
            mono,
            boot: self.boot.after(ran),
            wall,
        })
    }

    /// How long the machine has been suspended since it started.
    fn suspended(self) -> Duration {
        self.boot.since(self.mono)
    }
}

/// The clock of one daemon, from its start on.
#[derive(Debug)]
pub struct Clock {
    now: Now,
    reading: Reading,
    /// Suspensions before the daemon started.
    suspended_before: Duration,
    /// What CLOCK_MONOTONIC counted and the daemon's clock does not.
    frozen: Duration,
    /// The deadline before which the clock last stood still. It does so once: on a machine that is always late, it
    /// would otherwise never reach the deadline.
    spared: Option<Moment>,
}

impl Clock {
    /// A clock that starts in step with the kernel's.
    pub fn new(reading: Reading) -> Clock {
        Clock {
            now: Now {
                mono: reading.mono,
                wall: reading.wall,
                absent: Duration::ZERO,
            },
            reading,
            suspended_before: reading.suspended(),
            frozen: Duration::ZERO,
            spared: None,
        }
    }

    /// The instant of this turn.
    pub fn now(&self) -> Now {
        self.now
    }

    /// The reading that it was made from.
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// A moment of this clock on CLOCK_MONOTONIC, for a timer.
    pub fn to_kernel(&self, at: Moment) -> Moment {
        at.after(self.frozen)
    }

    /// The next turn, after a wait that was to end at `deadline` at the latest. Returns the stretch of CLOCK_MONOTONIC in
    /// which the daemon did not run, where there was one.
    pub fn advance(&mut self, reading: Reading, deadline: Option<Moment>) -> Option<Duration> {
        let mono = Moment(reading.mono.0.saturating_sub(nanos(self.frozen)));
        let due = deadline.filter(|due| mono.since(*due) > LATE);
        let frozen = due.map(|due| {
            let chance = match self.spared == Some(due) {
                true => Duration::ZERO,
                false => SECOND_CHANCE,
            };
            self.spared = Some(due);
            mono.since(self.now.mono.max(due.before(chance)))
        });
        let stretch = frozen.unwrap_or_default();
        self.frozen += stretch;
        self.reading = reading;
        self.now = Now {
            mono: self.now.mono.max(mono.before(stretch)),
            wall: reading.wall,
            absent: self.frozen + reading.suspended().saturating_sub(self.suspended_before),
        };
        frozen
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
