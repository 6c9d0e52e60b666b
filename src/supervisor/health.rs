//! Health checks: when the next one is due, and what follows from a result.
//!
//! A check is tried as soon as the program was executed, and again after short pauses that grow up to
//! `start_interval`, until it passes for the first time: whoever waits for it is not kept. A service that
//! has never been well has `start_period`, and after it as much time as `retries` failures would take.

use super::Supervisor;
use super::check::{Check, Round, Standing};
use super::event::{Action, Notice};
use super::service::{AfterStop, Phase, RunningFailure, Service};
use crate::base::{JobId, Moment, ServiceId};
use crate::config::model::OnUnhealthy;
use crate::domain::{CheckError, CheckFailure, FailReason, Health};

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
