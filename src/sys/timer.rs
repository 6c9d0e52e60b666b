//! A timer as a descriptor (timerfd_create(2)), on the monotonic clock.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd as Raw, TimerFlags, TimerSetTimeFlags};

use crate::base::Moment;

/// A timerfd that knows what it is set to, so that setting it to the same again costs nothing.
#[derive(Debug)]
pub struct TimerFd {
    raw: Raw,
    armed: Option<Moment>,
}

impl TimerFd {
    /// A timer that is not armed.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> io::Result<TimerFd> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(TimerFd {
            raw: Raw::new(ClockId::CLOCK_MONOTONIC, flags)?,
            armed: None,
        })
    }

    /// Lets it go off at `at`, or never. A moment that has passed goes off at once.
    ///
    /// # Errors
    /// None that a correct caller can provoke.
    pub fn arm(&mut self, at: Option<Moment>) -> io::Result<()> {
        if self.armed == at {
            return Ok(());
        }
        match at {
            // Zero would disarm it.
            Some(at) => self.raw.set(
                Expiration::OneShot(time_spec(at.0.max(1))),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            )?,
            None => self.raw.unset()?,
        }
        self.armed = at;
        Ok(())
    }

    /// Takes note that it went off.
    pub fn clear(&mut self) {
        self.armed = None;
        let mut count = [0; 8];
        // Nothing to read means that it was set anew meanwhile.
        let _ = nix::unistd::read(self.raw.as_fd(), &mut count);
    }
}

impl AsRawFd for TimerFd {
    fn as_raw_fd(&self) -> RawFd {
        self.raw.as_fd().as_raw_fd()
    }
}

fn time_spec(nanos: u64) -> TimeSpec {
    let seconds = i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
    TimeSpec::new(seconds, (nanos % 1_000_000_000) as i64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, poll};

    use super::*;
    use crate::sys::clock;

    fn goes_off_within(timer: &TimerFd, milliseconds: u16) -> bool {
        let mut fds = [PollFd::new(timer.raw.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, milliseconds).unwrap() == 1
    }

    #[test]
    fn goes_off_at_its_moment_and_once() {
        let mut timer = TimerFd::new().unwrap();
        assert!(!goes_off_within(&timer, 0));
        let at = clock::now().after(Duration::from_millis(20));
        timer.arm(Some(at)).unwrap();
        timer.arm(Some(at)).unwrap();
        assert!(goes_off_within(&timer, 10_000));
        assert!(clock::now() >= at);
        timer.clear();
        assert!(!goes_off_within(&timer, 30));
        // Nothing to be cleared must not wait for something.
        timer.clear();
    }

    #[test]
    fn the_past_is_now_and_never_is_never() {
        let mut timer = TimerFd::new().unwrap();
        for past in [Moment(0), clock::now()] {
            timer.arm(Some(past)).unwrap();
            assert!(goes_off_within(&timer, 10_000), "{past:?}");
            timer.clear();
        }
        timer.arm(Some(Moment(u64::MAX))).unwrap();
        assert!(!goes_off_within(&timer, 10));
        timer.arm(Some(clock::now())).unwrap();
        timer.arm(None).unwrap();
        assert!(!goes_off_within(&timer, 10));
    }
}
