//! When the loop rests, and for how long: what wakes it without an event, and what is due then.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use mio::Events;

use super::{Reactor, trouble};
use crate::base::{Moment, human_duration};
use crate::sys::{clock, memory};

impl Reactor {
    /// Waits for events, unless there is more to do without one. Returns the moment of the next turn.
    pub(super) fn rest(&mut self, events: &mut Events, now: Moment) -> Moment {
        let more_to_do = self.output.has_work()
            || self.jobs.has_work(now)
            || self.probes.has_work()
            || self.clients.connections.has_work()
            || self.reloads.has_work();
        let timeout = more_to_do
            .then_some(Duration::ZERO)
            .or(self.trouble.patience());
        if timeout.is_none() && self.common.tidiness.take() {
            memory::give_back_and_wait(self.common.poll.registry().as_fd());
        }
        let waited = self.common.poll.poll(events, timeout);
        self.wake();
        let now = self.common.clock.now().mono;
        self.after_wait(waited, !events.is_empty(), now);
        now
    }

    /// Reads the clocks, once a turn; a stretch in which the daemon did not run does not count.
    fn wake(&mut self) {
        let due = self
            .common
            .supervisor
            .poll_timeout()
            .map(|deadline| deadline.at);
        let due = due.into_iter().chain(self.timers.housekeeping_at()).min();
        let reading = clock::next_reading(self.common.clock.reading());
        if let Some(absent) = self.common.clock.advance(reading, due) {
            // Its timer went off for a moment that now lies ahead.
            self.timers.forget_housekeeping();
            let absent = human_duration(absent);
            self.common.messages.push(format!(
                "did not run for {absent} (was it paused?): no timeout counts that"
            ));
        }
    }

    /// What came of waiting for events.
    fn after_wait(&mut self, waited: io::Result<()>, heard: bool, now: Moment) {
        let cx = &mut self.common.context(now);
        if self.trouble.after_wait(waited, heard, cx) {
            self.output.streams.look_at_all();
            self.settle(now);
            self.signals.wait(trouble::AGAIN);
        }
    }

    /// What is due beside the supervisor's.
    pub(super) fn keep_house(&mut self, now: Moment) {
        self.output.on_deadline(&mut self.common.context(now));
        let cx = &mut self.common.context(now);
        self.clients.on_deadline(&mut self.trouble, cx);
        self.settle(now);
        if self.jobs.is_due(now) {
            self.reap(now);
        }
        let cx = &mut self.common.context(now);
        let ended = self.reloads.on_deadline(&mut self.manager, cx);
        self.follow_reload(ended, now);
        self.common.tidiness.on_deadline(now);
        for job in self.probes.on_deadline(&mut self.common.context(now)) {
            let cx = &mut self.common.context(now);
            let event = self.jobs.end_command(job, cx);
            cx.events.extend(event);
        }
        self.settle(now);
    }

    /// Sets both timers to the next deadline.
    pub(super) fn arm(&mut self, now: Moment) {
        let deadline = self
            .common
            .supervisor
            .poll_timeout()
            .map(|deadline| deadline.at);
        let at = deadline.map(|at| self.common.clock.to_kernel(at));
        let armed = self.timers.arm_supervisor(at);
        self.trouble
            .after_arming(armed, &mut self.common.context(now));
        let Some(next) = self.next_housekeeping(now) else {
            return self.timers.rest(self.common.tidiness.is_due(), now);
        };
        let armed = self
            .timers
            .arm_housekeeping(next, |at| self.common.clock.to_kernel(at), now);
        self.trouble
            .after_arming(armed, &mut self.common.context(now));
    }

    /// The earliest deadline of all that is not the supervisor's.
    fn next_housekeeping(&mut self, now: Moment) -> Option<Moment> {
        let all = [
            self.output.deadline(),
            self.clients.deadline(),
            self.jobs.deadline(now),
            self.probes.deadline(),
            self.common.tidiness.deadline(),
            self.manager.deadline(),
            self.reloads.deadline(),
        ];
        all.into_iter().flatten().min()
    }
}
