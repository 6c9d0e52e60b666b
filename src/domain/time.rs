//! The time as the supervisor gets it: the daemon's own clock beside the time of day, and what the two say together
//! about suspensions and about a clock that was set.

use std::time::Duration;

use crate::base::Moment;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// The instant of one turn. Two of them tell what happened in between, see [`Now::since`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock, which excludes every stretch in which the daemon did not run. All timeouts use it.
    pub mono: Moment,
    /// The time of day. It jumps when the clock is set, and continues while the machine is suspended.
    pub wall: Wall,
    /// The total that `mono` excludes.
    pub absent: Duration,
}

/// A time of day (CLOCK_REALTIME): seconds and nanoseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall {
    seconds: i64,
    nanos: u32,
}

/// What happened between two instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    /// The daemon ran for that long.
    pub ran: Duration,
    /// The daemon did not run for that long: the machine was suspended, the container frozen, or the process stopped.
    pub absent: Duration,
    /// Whether the clock was set.
    pub step: ClockStep,
}

/// How far the time of day was set, beyond the time that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockStep {
    /// Not at all, or by less than [`ClockStep::SMALLEST`], as time daemons do.
    None,
    /// Forward by up to [`ClockStep::LARGEST`]: the times in between count as missed.
    Forward(Duration),
    /// Back by up to [`ClockStep::LARGEST`]: the times that occur again count as reached.
    Back(Duration),
    /// Farther forward: a correction. The times in between count for nothing.
    CorrectedForward(Duration),
    /// Farther back: a correction. The times that occur again are reached again.
    CorrectedBack(Duration),
}

impl Now {
    /// The instant of a virtual machine that started in 1970 and was never suspended, at `mono` of its clock.
    pub fn at(mono: Moment) -> Now {
        Now {
            mono,
            wall: Wall::EPOCH.after(Duration::from_nanos(mono.0)),
            absent: Duration::ZERO,
        }
    }

    /// What happened since `earlier`, which is an instant of the same daemon.
    pub fn since(self, earlier: Now) -> Elapsed {
        let (ran, absent) = (
            self.mono.since(earlier.mono),
            self.absent.saturating_sub(earlier.absent),
        );
        // CLOCK_BOOTTIME, which is never set and continues during a suspension.
        let boot = |now: Now| i128::from(now.mono.0) + nanos(now.absent);
        let passed = boot(self) - boot(earlier);
        let set_by = self.wall.nanos_since_epoch() - earlier.wall.nanos_since_epoch() - passed;
        Elapsed {
            ran,
            absent,
            step: ClockStep::by(set_by),
        }
    }
}

impl Wall {
    /// 1970-01-01 00:00:00 UTC.
    pub const EPOCH: Wall = Wall {
        seconds: 0,
        nanos: 0,
    };

    /// Seconds since the epoch, negative before it, and nanoseconds after that second; a billion of them carries over.
    pub const fn new(seconds: i64, nanos: u32) -> Wall {
        const BILLION: u32 = 1_000_000_000;
        Wall {
            seconds: seconds.saturating_add((nanos / BILLION) as i64),
            nanos: nanos % BILLION,
        }
    }

    /// Whole seconds since the epoch, rounded down; negative before it.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after that second, below a billion.
    pub fn nanos(self) -> u32 {
        self.nanos
    }

    /// The time of day `by` later on a clock that nobody sets; saturates.
    pub fn after(self, by: Duration) -> Wall {
        let seconds = whole_seconds(by);
        let nanos = self.nanos + by.subsec_nanos();
        Wall::new(self.seconds.saturating_add(seconds), nanos)
    }

    /// The time of day `by` earlier; saturates.
    pub fn before(self, by: Duration) -> Wall {
        let seconds = whole_seconds(by);
        let seconds = self.seconds.saturating_sub(seconds);
        match self.nanos.checked_sub(by.subsec_nanos()) {
            Some(nanos) => Wall { seconds, nanos },
            None => Wall {
                seconds: seconds.saturating_sub(1),
                nanos: self.nanos + 1_000_000_000 - by.subsec_nanos(),
            },
        }
    }

    /// The time from `earlier` to here; zero where `earlier` is later.
    pub fn since(self, earlier: Wall) -> Duration {
        let nanos = self.nanos_since_epoch() - earlier.nanos_since_epoch();
        from_nanos(nanos.max(0).unsigned_abs())
    }

    fn nanos_since_epoch(self) -> i128 {
        i128::from(self.seconds) * NANOS_PER_SECOND + i128::from(self.nanos)
    }
}

impl ClockStep {
    /// Steps below this change nothing: a time that is reached up to a second late is reached in time.
    pub const SMALLEST: Duration = Duration::from_secs(1);

    /// The largest step that is not a correction: daylight saving set by hand, and a time zone mistaken by a few hours.
    pub const LARGEST: Duration = Duration::from_secs(3 * 3600);

    fn by(nanos: i128) -> ClockStep {
        let by = from_nanos(nanos.unsigned_abs());
        match (nanos > 0, by <= ClockStep::LARGEST) {
            _ if by < ClockStep::SMALLEST => ClockStep::None,
            (true, true) => ClockStep::Forward(by),
            (true, false) => ClockStep::CorrectedForward(by),
            (false, true) => ClockStep::Back(by),
            (false, false) => ClockStep::CorrectedBack(by),
        }
    }
}

/// Saturates.
fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

/// Saturates: every difference of two times of day fits.
fn from_nanos(nanos: u128) -> Duration {
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    Duration::new(seconds, (nanos % 1_000_000_000) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn start() -> Now {
        Now {
            mono: Moment(5_000_000_000),
            wall: Wall::new(1_800_000_000, 999_999_999),
            absent: Duration::from_secs(7),
        }
    }

    /// The daemon runs for a while, then does not, and then the clock is set.
    fn later(ran: Duration, absent: Duration, set: impl FnOnce(Wall) -> Wall) -> Elapsed {
        let start = start();
        let now = Now {
            mono: start.mono.after(ran),
            wall: set(start.wall.after(ran).after(absent)),
            absent: start.absent + absent,
        };
        let elapsed = now.since(start);
        assert_eq!((elapsed.ran, elapsed.absent), (ran, absent));
        elapsed
    }

    #[test]
    fn a_suspension_is_no_step_of_the_clock() {
        for (ran, absent) in [(HOUR, Duration::ZERO), (HOUR, 9 * HOUR), (HOUR, 900 * HOUR)] {
            assert_eq!(later(ran, absent, |wall| wall).step, ClockStep::None);
        }
    }

    #[test]
    fn a_clock_that_was_set_is_told_from_a_suspension() {
        for absent in [Duration::ZERO, 40 * HOUR] {
            let forward = |by: Duration| later(HOUR, absent, |wall| wall.after(by)).step;
            let back = |by: Duration| later(HOUR, absent, |wall| wall.before(by)).step;
            let (almost, second) = (Duration::from_nanos(999_999_999), Duration::from_secs(1));
            let (three, more) = (3 * HOUR, 3 * HOUR + Duration::from_nanos(1));
            assert_eq!([forward(almost), back(almost)], [ClockStep::None; 2]);
            assert_eq!(forward(second), ClockStep::Forward(second));
            assert_eq!(back(second), ClockStep::Back(second));
            assert_eq!(forward(three), ClockStep::Forward(three));
            assert_eq!(back(three), ClockStep::Back(three));
            assert_eq!(forward(more), ClockStep::CorrectedForward(more));
            assert_eq!(back(more), ClockStep::CorrectedBack(more));
            // To long before 1970.
            let century = 24 * 36_525 * HOUR;
            assert_eq!(back(century), ClockStep::CorrectedBack(century));
        }
    }

    #[test]
    fn times_of_day_carry_between_seconds_and_nanoseconds() {
        let half = Duration::from_millis(500);
        let wall = Wall::new(-1, 600_000_000);
        assert_eq!(wall.after(half), Wall::new(0, 100_000_000));
        assert_eq!(wall.before(2 * half), Wall::new(-2, 600_000_000));
        let earlier = wall.before(half + half / 2);
        assert_eq!((earlier.seconds(), earlier.nanos()), (-2, 850_000_000));
        assert_eq!(wall.since(earlier), half + half / 2);
        assert_eq!(earlier.since(wall), Duration::ZERO);
        assert_eq!(Wall::new(3, 1_000_000_001), Wall::new(4, 1));
        // Both ends saturate, to the second.
        let (first, last) = (Wall::new(i64::MIN, 0), Wall::new(i64::MAX, 0));
        assert_eq!(last.after(Duration::MAX).seconds(), i64::MAX);
        assert_eq!(first.before(Duration::MAX).seconds(), i64::MIN);
        assert_eq!(last.since(first).as_secs(), u64::MAX);
    }
}
