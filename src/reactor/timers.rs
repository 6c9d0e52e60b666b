//! The two timers of the loop: the supervisor's next deadline, and the earliest one of everything else.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::token::Source;
use crate::base::Moment;
use crate::sys::timer::TimerFd;

pub(super) struct Timers {
    supervisor: TimerFd,
    housekeeping: TimerFd,
    /// When the housekeeping timer goes off; it may be early, never late.
    housekeeping_at: Option<Moment>,
}

impl Timers {
    /// Both are watched, and neither is armed.
    ///
    /// # Errors
    /// When no descriptor is left, or the kernel does not watch them.
    pub fn new(registry: &Registry) -> io::Result<Timers> {
        let (supervisor, housekeeping) = (TimerFd::new()?, TimerFd::new()?);
        for (timer, source) in [
            (&supervisor, Source::SupervisorTimer),
            (&housekeeping, Source::HousekeepingTimer),
        ] {
            let fd = timer.as_raw_fd();
            registry.register(&mut SourceFd(&fd), source.token(), Interest::READABLE)?;
        }
        Ok(Timers {
            supervisor,
            housekeeping,
            housekeeping_at: None,
        })
    }

    /// The supervisor's timer went off.
    pub fn clear_supervisor(&mut self) {
        self.supervisor.clear();
    }

    /// The housekeeping timer went off.
    pub fn clear_housekeeping(&mut self) {
        self.housekeeping.clear();
    }

    /// When there is housekeeping to do, as far as the timer is set for it.
    pub fn housekeeping_at(&self) -> Option<Moment> {
        self.housekeeping_at
    }

    /// Whether there is housekeeping to do now.
    pub fn take_housekeeping(&mut self, now: Moment) -> bool {
        self.housekeeping_at.take_if(|at| *at <= now).is_some()
    }

    /// The moment for which the housekeeping timer was set lies elsewhere now.
    pub fn forget_housekeeping(&mut self) {
        self.housekeeping_at = None;
    }

    /// Sets the supervisor's timer, to a moment of the kernel's clock.
    ///
    /// # Errors
    /// None that a correct kernel gives.
    pub fn arm_supervisor(&mut self, at: Option<Moment>) -> io::Result<()> {
        self.supervisor.arm(at)
    }

    /// Sets the housekeeping timer, which may be early: a partial line's deadline moves with each read, and moving the
    /// timer with it would cost a system call each time.
    ///
    /// # Errors
    /// As above.
    pub fn arm_housekeeping(
        &mut self,
        next: Moment,
        to_kernel: impl FnOnce(Moment) -> Moment,
        now: Moment,
    ) -> io::Result<()> {
        let is_in_time = |at: Moment| at <= next && now < at;
        if self.housekeeping_at.is_some_and(is_in_time) {
            return Ok(());
        }
        self.housekeeping_at = Some(next);
        self.housekeeping.arm(Some(to_kernel(next)))
    }

    /// Nothing waits on time. A timer that would go off soon is left to it, since output comes and goes; one that is far
    /// off would disturb an idle daemon, and any would touch the memory that is about to be given back (`untidy`).
    pub fn rest(&mut self, untidy: bool, now: Moment) {
        let is_far = |at: Moment| untidy || at.since(now) > Duration::from_secs(1);
        if self.housekeeping_at.is_some_and(is_far) && self.housekeeping.arm(None).is_ok() {
            self.housekeeping_at = None;
        }
    }
}
