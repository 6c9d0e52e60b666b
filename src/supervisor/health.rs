//! Health checks: when the next one is due, what their results add up to, and what follows.
//!
//! A check is tried as soon as the program was executed, and again after short pauses that grow up to
//! `start_interval`, until it passes for the first time: whoever waits for it is not kept. A service that
//! has never been well has `start_period`, and after it as much time as `retries` failures would take.

use std::time::Duration;

use super::Supervisor;
use super::event::{Action, Notice};
use super::service::{AfterStop, Phase, RunningFailure, Service};
use crate::base::{JobId, Moment, ServiceId};
use crate::config::model::{self, OnUnhealthy};
use crate::domain::{CheckError, CheckFailure, FailReason, Health};

/// Before the second check of a service that has just been executed; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// The standing of one running program's check.
#[derive(Debug)]
pub(super) struct Check {
    standing: Standing,
    /// When its program was executed.
    began: Moment,
    /// Failures in a row.
    failures: u32,
    /// Why the last check failed; None when it passed.
    error: Option<CheckError>,
    round: Round,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Never passed, and not given up.
    Starting,
    Healthy {
        since: Moment,
    },
    Unhealthy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Due(Moment),
    Running(JobId),
}

impl Check {
    /// The next one is to be begun.
    pub fn due(&self) -> Option<Moment> {
        match self.round {
            Round::Due(at) => Some(at),
            Round::Running(_) => None,
        }
    }

    pub fn healthy_since(&self) -> Option<Moment> {
        match self.standing {
            Standing::Healthy { since } => Some(since),
            Standing::Starting | Standing::Unhealthy => None,
        }
    }

    pub fn health(&self) -> Health {
        match self.standing {
            Standing::Starting => Health::Starting,
            Standing::Healthy { .. } => Health::Healthy,
            Standing::Unhealthy => Health::Unhealthy,
        }
    }

    /// Why the last check failed.
    pub fn error(&self) -> Option<&CheckError> {
        self.error.as_ref()
    }

    /// What fails, and what that makes of it; None while the last check passed, or none was made.
    pub fn failure(&self, config: &model::Health) -> Option<CheckFailure> {
        Some(CheckFailure {
            health: self.health(),
            failures: self.failures,
            retries: config.retries,
            error: self.error.clone()?,
        })
    }

    /// Takes a result in; the pause before the next check.
    fn note(
        &mut self,
        result: Result<(), CheckError>,
        config: &model::Health,
        now: Moment,
    ) -> Duration {
        let Err(error) = result else {
            self.error = None;
            self.failures = 0;
            if self.healthy_since().is_none() {
                self.standing = Standing::Healthy { since: now };
            }
            return config.interval;
        };
        self.error = Some(error);
        self.failures = self.failures.saturating_add(1);
        match self.standing {
            Standing::Starting => {
                let patience = config.interval.saturating_mul(config.retries);
                let given_up_at = self.began.after(config.start_period).after(patience);
                if given_up_at <= now {
                    self.standing = Standing::Unhealthy;
                }
                let pause = FIRST_PAUSE.saturating_mul(1 << (self.failures - 1).min(16));
                pause.min(config.start_interval)
            }
            Standing::Healthy { .. } => {
                if self.failures >= config.retries {
                    self.standing = Standing::Unhealthy;
                }
                config.interval
            }
            Standing::Unhealthy => config.interval,
        }
    }
}

impl Service {
    /// Whether its health check passes, where it has one.
    pub fn is_well(&self) -> bool {
        match (&self.config.health, &self.check) {
            (None, _) => true,
            (Some(_), Some(check)) => check.healthy_since().is_some(),
            (Some(_), None) => false,
        }
    }

    pub fn health(&self) -> Health {
        self.check.as_ref().map_or(Health::None, Check::health)
    }
}

impl Supervisor {
    /// Its program was executed: the first check is due at once, unless everything goes down.
    pub(super) fn begin_checks(&mut self, id: ServiceId, now: Moment) {
        let is_down = self.life.is_down();
        let service = self.service_mut(id);
        let is_checked = service.config.health.is_some() && !is_down;
        service.check = is_checked.then_some(Check {
            standing: Standing::Starting,
            began: now,
            failures: 0,
            error: None,
            round: Round::Due(now),
        });
    }

    /// Its program is going, or says so: nobody is to ask it any more.
    pub(super) fn end_check(&mut self, id: ServiceId) {
        let check = self.service_mut(id).check.take();
        if let Some(Check {
            round: Round::Running(job),
            ..
        }) = check
        {
            self.checks.remove(&job);
            self.actions.push_back(Action::EndCheck { job });
        }
    }

    /// Begins the check that is due.
    pub(super) fn advance_check(&mut self, id: ServiceId, now: Moment) {
        let service = self.service(id);
        let due = service.check.as_ref().and_then(Check::due);
        if due.is_none_or(|at| at > now) || service.phase.program().is_none() {
            return;
        }
        let job = self.new_job();
        if let Some(check) = &mut self.service_mut(id).check {
            check.round = Round::Running(job);
        }
        self.checks.insert(job, id);
        self.actions.push_back(Action::Check { job, service: id });
    }

    pub(super) fn on_checked(&mut self, job: JobId, result: Result<(), CheckError>, now: Moment) {
        let Some(id) = self.checks.remove(&job) else {
            return;
        };
        let service = self.service_mut(id);
        let config = std::rc::Rc::clone(&service.config);
        let (Some(check), Some(config)) = (&mut service.check, &config.health) else {
            return;
        };
        let from = check.health();
        let pause = check.note(result, config, now);
        check.round = Round::Due(now.after(pause));
        let (to, error) = (check.health(), check.error.clone());
        self.enqueue(id);
        if from == to {
            return;
        }
        self.actions.push_back(Action::Notice(Notice::Health {
            service: id,
            from,
            to,
            error: error.clone(),
        }));
        self.enqueue_neighbourhood(id);
        let restarts = config.on_unhealthy == OnUnhealthy::Restart;
        if to == Health::Unhealthy
            && restarts
            && let Some(error) = error
        {
            let reason = FailReason::Unhealthy(error);
            self.fail_alive(id, RunningFailure { reason, restarts }, now);
        }
    }

    /// A service whose process lives is found wanting: the process is ended first. One that is to be
    /// restarted anyway needs no reason for it.
    pub(super) fn fail_alive(&mut self, id: ServiceId, failure: RunningFailure, now: Moment) {
        if !self.service(id).phase.is_up_or_starting() || !self.is_judged(id) {
            return;
        }
        self.begin_stop(id, AfterStop::Fail(failure.into()), now);
        self.make_dependents_follow(id, now);
    }

    /// Whether anything it does or leaves undone is a failure: it is not about to end anyway.
    pub(super) fn is_judged(&self, id: ServiceId) -> bool {
        !self.life.is_down() && self.service(id).pending_stop.is_none()
    }

    /// None where a RUNNING service is up for those who ask for the health of the whole, or is not RUNNING; else its
    /// checks, where one was made.
    pub(super) fn why_unwell(&self, id: ServiceId) -> Option<Option<CheckFailure>> {
        let service = self.service(id);
        let (Phase::Running { .. }, Some(check), Some(config)) =
            (&service.phase, &service.check, &service.config.health)
        else {
            return None;
        };
        if check.healthy_since().is_some() {
            return None;
        }
        Some(check.failure(config))
    }
}
