//! The daemon's own time: the monotonic clock without the stretches in which the daemon could not run.
//!
//! A paused container (cgroup freezer), a stopped process and a machine without a processor to spare all look the
//! same from inside: a timer is seen to go off long after its time. Whatever waits on time was held up as the
//! daemon was, so no timeout may count that stretch: a check would have "timed out" that nobody was able to answer.

use std::time::Duration;

use crate::base::Moment;
use crate::sys::clock;

/// A timer seen later than this was not seen because the daemon did not run. Far beyond the longest turn.
const LATE: Duration = Duration::from_secs(1);

/// So much of the time before the deadline is given once more: whoever was about to meet it can.
const SECOND_CHANCE: Duration = Duration::from_secs(1);

/// The daemon's time, which stands still while it cannot run.
#[derive(Debug)]
pub struct Pace {
    now: Moment,
    /// What the kernel's clock is ahead.
    absent: Duration,
    /// The deadline before which time last stood still. It does so once: on a machine that is always late, time
    /// would else never come to it.
    spared: Option<Moment>,
}

impl Pace {
    /// In step with the kernel.
    pub fn new() -> Pace {
        Pace {
            now: clock::now(),
            absent: Duration::ZERO,
            spared: None,
        }
    }

    /// The moment of this turn.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// A moment as the kernel's clock has it, for a timer.
    pub fn to_kernel(&self, at: Moment) -> Moment {
        at.after(self.absent)
    }

    /// After waiting for events, in which the daemon wanted to be woken at `deadline`. How long it did not run,
    /// where it did not.
    pub fn wake(&mut self, deadline: Option<Moment>) -> Option<Duration> {
        self.wake_at(clock::now(), deadline)
    }

    fn wake_at(&mut self, kernel: Moment, deadline: Option<Moment>) -> Option<Duration> {
        let now = Moment(kernel.0.saturating_sub(nanos(self.absent)));
        let due = deadline.filter(|due| now.since(*due) > LATE);
        let Some(due) = due else {
            self.now = now.max(self.now);
            return None;
        };
        let chance = match self.spared == Some(due) {
            true => 0,
            false => nanos(SECOND_CHANCE),
        };
        self.spared = Some(due);
        let resumed = self.now.max(Moment(due.0.saturating_sub(chance)));
        let absent = now.since(resumed);
        self.absent += absent;
        self.now = resumed;
        Some(absent)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn at(seconds: f64) -> Moment {
        Moment(0).after(Duration::from_secs_f64(seconds))
    }

    fn pace() -> Pace {
        Pace {
            now: at(10.0),
            absent: Duration::ZERO,
            spared: None,
        }
    }

    #[test]
    fn follows_the_kernel_while_it_runs() {
        let mut pace = pace();
        assert_eq!(pace.wake_at(at(15.0), None), None);
        assert_eq!(pace.now(), at(15.0));
        assert_eq!(pace.wake_at(at(15.9), Some(at(15.0))), None);
        assert_eq!((pace.now(), pace.to_kernel(at(16.0))), (at(15.9), at(16.0)));
        // Long waits that nobody wanted to be shorter are no absence.
        assert_eq!(pace.wake_at(at(500.0), Some(at(600.0))), None);
        assert_eq!(pace.now(), at(500.0));
    }

    #[test]
    fn comes_to_a_deadline_on_a_machine_that_is_always_late() {
        let mut pace = pace();
        let mut kernel = at(10.0);
        for turn in 0.. {
            let wanted = pace.to_kernel(at(30.0));
            kernel = wanted.after(Duration::from_secs(5)).max(kernel);
            pace.wake_at(kernel, Some(at(30.0)));
            if pace.now() >= at(30.0) {
                break;
            }
            assert!(turn < 2, "{pace:?}");
        }
    }

    #[test]
    fn stands_still_while_it_does_not() {
        let mut pace = pace();
        // Wanted at 10.3, and seen a minute later: as if 10.0 were now.
        assert_eq!(
            pace.wake_at(at(70.0), Some(at(10.3))),
            Some(Duration::from_secs(60))
        );
        assert_eq!(pace.now(), at(10.0));
        assert_eq!(pace.to_kernel(at(10.3)), at(70.3));
        assert_eq!(pace.wake_at(at(70.3), Some(at(10.3))), None);
        assert_eq!(pace.now(), at(10.3));
        // A long wait before it is not given again but for its last second.
        assert!(pace.wake_at(at(200.0), Some(at(100.0))).is_some());
        assert_eq!(pace.now(), at(99.0));
    }
}
