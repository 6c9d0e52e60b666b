//! The kernel's clocks (clock_gettime(2)).

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::base::Moment;
use crate::domain::{Reading, Wall};

/// Now, on CLOCK_MONOTONIC: the clock that timerfds of the daemon follow.
pub fn now() -> Moment {
    of(ClockId::CLOCK_MONOTONIC)
}

fn read(clock: ClockId) -> TimeSpec {
    // These clocks exist on every Linux; the start of time stands for the impossible failure.
    clock_gettime(clock).unwrap_or(TimeSpec::new(0, 0))
}

fn of(clock: ClockId) -> Moment {
    let time = read(clock);
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    Moment(seconds * 1_000_000_000 + nanos)
}

/// The same clock as it was at the last tick, some milliseconds ago: it costs a fraction of what [`now`] costs.
pub fn coarse() -> Moment {
    of(ClockId::CLOCK_MONOTONIC_COARSE)
}

/// All clocks at one instant.
pub fn reading() -> Reading {
    Reading {
        mono: now(),
        boot: of(ClockId::CLOCK_BOOTTIME),
        // Last: what a preemption between the clocks makes of them, `Reading::next` finds in the next turn.
        wall: time_of_day(),
    }
}

/// All clocks at the instant of the turn after the one of `last`. CLOCK_BOOTTIME is read only where the others do not
/// continue from there.
pub fn next_reading(last: Reading) -> Reading {
    let next = last.next(now(), time_of_day());
    next.unwrap_or_else(reading)
}

fn time_of_day() -> Wall {
    let time = read(ClockId::CLOCK_REALTIME);
    Wall::new(time.tv_sec(), u32::try_from(time.tv_nsec()).unwrap_or(0))
}

/// The time of day, CLOCK_REALTIME: nanoseconds since 1970, and 0 before.
pub fn wall() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn goes_forward() {
        let before = now();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let passed = now().since(before);
        assert!(
            passed.as_millis() >= 2 && passed.as_secs() < 60,
            "{passed:?}"
        );
    }
}
