//! The monotonic clock (clock_gettime(2)).

use nix::time::{ClockId, clock_gettime};

use crate::base::Moment;

/// Now, on CLOCK_MONOTONIC: the clock that timerfds of the daemon follow.
pub fn now() -> Moment {
    of(ClockId::CLOCK_MONOTONIC)
}

fn of(clock: ClockId) -> Moment {
    // Both clocks exist on every Linux; the start of time stands for the impossible failure.
    let Ok(time) = clock_gettime(clock) else {
        return Moment(0);
    };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    Moment(seconds * 1_000_000_000 + nanos)
}

/// The same clock as it was at the last tick, some milliseconds ago: it costs a fraction of what [`now`] costs.
pub fn coarse() -> Moment {
    of(ClockId::CLOCK_MONOTONIC_COARSE)
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
