//! Readiness: what makes a service RUNNING once its program is executed, and what the program says about
//! itself from then on.

use std::time::Duration;

use super::Supervisor;
use super::event::{Role, Word};
use super::service::{Escalation, Phase, RunningFailure, Service, Step, Watchdog};
use crate::base::{JobId, Moment, Pid, ServiceId};
use crate::config::model::Ready;
use crate::domain::{FailReason, Missing};

/// A program that closed its readiness descriptor may have done so by ending: its end is the better reason, and
/// follows within this time.
const END_FOLLOWS: Duration = Duration::from_secs(1);

impl Service {
    /// The watchdog of a RUNNING service and the end of its patience; a start has its own bound.
    pub fn watchdog(&self) -> Option<(Watchdog, Moment)> {
        let watchdog = self.said.watchdog?;
        let running = matches!(self.phase, Phase::Running { .. });
        running.then(|| (watchdog, watchdog.deadline()))
    }
}

impl Supervisor {
    /// The program was executed; RUNNING it is at once, or when it is ready.
    pub(super) fn begin_readying(&mut self, id: ServiceId, job: JobId, pid: Pid, now: Moment) {
        let service = self.service_mut(id);
        service.said.watchdog = service
            .config
            .watchdog
            .map(|period| Watchdog::new(period, now));
        if service.config.ready == Ready::Started {
            return self.set_running(id, job, pid, now);
        }
        let until = now.after(service.config.ready_timeout);
        let step = Step::Readying { pid, until };
        self.set_phase(id, Phase::Starting { job, step }, now);
    }

    pub(super) fn on_said(&mut self, job: JobId, word: Word, now: Moment) {
        if let Word::ExtendTimeout(by) = word {
            return self.extend_timeout(job, now.after(by));
        }
        let of = self.jobs.get(&job).map(|(id, _)| *id);
        let Some(id) = of.filter(|id| self.service(*id).phase.program() == Some(job)) else {
            return;
        };
        self.enqueue(id);
        let said = &mut self.service_mut(id).said;
        match word {
            Word::Ready => self.on_ready(id, now),
            Word::NeverReady(why) => {
                if let Phase::Starting {
                    step: Step::Readying { until, .. },
                    ..
                } = &mut self.service_mut(id).phase
                {
                    *until = now.after(END_FOLLOWS).min(*until);
                    self.service_mut(id).said.never_ready.get_or_insert(why);
                }
            }
            Word::Status(text) => said.status = Some(text).filter(|text| !text.is_empty()),
            Word::Stopping => {
                said.stopping = true;
                said.watchdog = None;
                self.end_check(id);
                // Whoever waits for its health waits on.
                self.enqueue_neighbourhood(id);
            }
            Word::Alive => {
                if let Some(watchdog) = &mut said.watchdog {
                    watchdog.feed(now);
                }
            }
            Word::AliveWithin(period) => {
                said.watchdog = period.map(|period| Watchdog::new(period, now));
            }
            Word::Trouble => self.fail_hung(id, FailReason::WatchdogTrigger, now),
            // It counts in a stop too, and was taken above.
            Word::ExtendTimeout(_) => {}
            Word::MainPid(new) => {
                if let Phase::Running { pid, .. }
                | Phase::Starting {
                    step: Step::Readying { pid, .. },
                    ..
                } = &mut self.service_mut(id).phase
                {
                    *pid = new;
                }
            }
        }
    }

    /// As systemd does: what bounds the service now, `ready_timeout`, its watchdog or the grace of its stop, is moved
    /// to this moment where it would end before. The bound of a whole shutdown stays.
    fn extend_timeout(&mut self, job: JobId, until: Moment) {
        let Some(&(id, Role::Main)) = self.jobs.get(&job) else {
            return;
        };
        let service = self.service_mut(id);
        match &mut service.phase {
            Phase::Starting {
                step: Step::Readying { until: bound, .. },
                ..
            } => *bound = until.max(*bound),
            Phase::Running { .. } => {
                if let Some(watchdog) = &mut service.said.watchdog {
                    watchdog.extended = until.max(watchdog.extended);
                }
            }
            Phase::Stopping {
                escalation: Escalation::Asked { kill_at, .. } | Escalation::Continued { kill_at },
                ..
            } => *kill_at = until.max(*kill_at),
            Phase::Starting { .. }
            | Phase::Stopping { .. }
            | Phase::Pending { .. }
            | Phase::Stopped(_)
            | Phase::Failed { .. } => {}
        }
        self.enqueue(id);
    }

    fn on_ready(&mut self, id: ServiceId, now: Moment) {
        let by_itself = match self.service(id).config.ready {
            Ready::Notify | Ready::Fd(_) | Ready::Log(_) => true,
            Ready::Started | Ready::Healthy => false,
        };
        if by_itself {
            self.finish_readying(id, now);
        }
    }

    fn finish_readying(&mut self, id: ServiceId, now: Moment) {
        if let Phase::Starting {
            job,
            step: Step::Readying { pid, .. },
        } = self.service(id).phase
        {
            self.set_running(id, job, pid, now);
        }
    }

    /// Looks whether it is healthy, where that makes it ready, and whether its time is over.
    pub(super) fn advance_readiness(&mut self, id: ServiceId, now: Moment) {
        let service = self.service(id);
        if let Phase::Starting {
            step: Step::Readying { until, .. },
            ..
        } = service.phase
        {
            if service.config.ready == Ready::Healthy && service.is_well() {
                return self.finish_readying(id, now);
            }
            if until <= now {
                let reason = match service.said.never_ready {
                    Some(why) => FailReason::NeverReady(why),
                    None => FailReason::NotReady {
                        after: until.since(service.executed_at),
                        missing: self.what_makes_it_ready(id),
                    },
                };
                return self.fail_hung(id, reason, now);
            }
        }
        if let Some((watchdog, deadline)) = self.service(id).watchdog()
            && deadline <= now
        {
            self.fail_hung(id, FailReason::NoWatchdog(watchdog.period), now);
        }
    }

    pub(super) fn fail_hung(&mut self, id: ServiceId, reason: FailReason, now: Moment) {
        let restarts = false;
        self.fail_alive(id, RunningFailure { reason, restarts }, now);
    }

    /// What a service that runs and is not ready is waited for.
    pub(super) fn what_makes_it_ready(&self, id: ServiceId) -> Missing {
        let service = self.service(id);
        match &service.config.ready {
            Ready::Started => Missing::Nothing,
            Ready::Healthy => {
                let check = service.check.as_ref().zip(service.config.health.as_ref());
                Missing::Health(check.and_then(|(check, config)| check.failure(config)))
            }
            Ready::Notify => Missing::Notify,
            Ready::Fd(fd) => Missing::Newline(*fd),
            Ready::Log(text) => Missing::Output(text.clone()),
        }
    }
}
