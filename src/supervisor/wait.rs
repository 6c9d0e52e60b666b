//! Clients whose answer is still open: when their targets have settled, and what the answer is.
//!
//! A target has settled when it is where it was asked to be, or cannot get there any more unless somebody asks again. A
//! client that asked for `stop` and is overtaken (by a start, a restart, the start of a dependent or a reload) has its answer at
//! once, as one that asked for `start` has when the service was stopped. One that only watches (`wait`) is not overtaken.

use super::Supervisor;
use super::client::{Outcome, Response, Selection};
use super::service::{PendingStop, Phase};
use super::start::Verdict;
use super::view::Detail;
use crate::base::{ClientId, Moment, ServiceId};
use crate::domain::{StopReason, WaitFor};

/// A client whose answer is still open.
#[derive(Debug)]
pub(super) struct Waiter {
    goal: Goal,
    targets: Vec<ServiceId>,
    /// Of targets that left the table meanwhile.
    left: Vec<Outcome>,
    pub deadline: Option<Moment>,
}

/// Where the targets are to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Up,
    Down,
    Condition(WaitFor),
}

/// Whether a target got there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    NotYet,
    Reached,
    /// It cannot get there any more unless somebody asks again: it is down and no restart follows, or it was to be
    /// down and was brought up again.
    Missed,
}

impl Supervisor {
    pub(super) fn wait_for(
        &mut self,
        client: ClientId,
        goal: Goal,
        targets: Vec<ServiceId>,
        selection: &Selection,
        now: Moment,
    ) {
        if selection.no_wait {
            let services = targets
                .iter()
                .map(|id| self.outcome(*id, true, now))
                .collect();
            return self.reply(client, Response::Outcome { ok: true, services });
        }
        self.add_waiter(client, goal, targets, selection.timeout_ms, now);
    }

    pub(super) fn add_waiter(
        &mut self,
        client: ClientId,
        goal: Goal,
        targets: Vec<ServiceId>,
        timeout_ms: Option<u64>,
        now: Moment,
    ) {
        let waiter = Waiter {
            goal,
            targets,
            left: Vec::new(),
            deadline: timeout_ms.map(|ms| now.after(std::time::Duration::from_millis(ms))),
        };
        self.waiters.insert(client, waiter);
    }

    /// Answers everyone whose targets have all settled, and everyone whose time is over.
    pub(super) fn answer_waiters(&mut self, now: Moment) {
        let mut answers = Vec::new();
        for (&client, waiter) in &self.waiters {
            let settled: Vec<Settled> = waiter
                .targets
                .iter()
                .map(|id| self.settled(*id, waiter.goal))
                .collect();
            let timed_out = waiter.deadline.is_some_and(|at| at <= now);
            if settled.contains(&Settled::NotYet) && !timed_out {
                continue;
            }
            let outcomes = waiter.targets.iter().zip(&settled);
            let outcomes = outcomes.map(|(id, settled)| {
                let outcome = self.outcome(*id, *settled == Settled::Reached, now);
                match (waiter.goal, settled) {
                    (Goal::Down, Settled::Missed) => self.overtaken(*id, outcome),
                    _ => outcome,
                }
            });
            let services: Vec<Outcome> = waiter.left.iter().cloned().chain(outcomes).collect();
            let ok = services.iter().all(|outcome| outcome.ok);
            answers.push((client, Response::Outcome { ok, services }));
        }
        for (client, response) in answers {
            self.waiters.remove(&client);
            self.reply(client, response);
        }
    }

    /// A service leaves the table: those who wait for it get to know how it was then.
    pub(super) fn forget_in_waiters(&mut self, id: ServiceId, now: Moment) {
        let (reached, missed) = (self.outcome(id, true, now), self.outcome(id, false, now));
        for waiter in self.waiters.values_mut() {
            let before = waiter.targets.len();
            waiter.targets.retain(|target| *target != id);
            if waiter.targets.len() < before {
                let is_down = match waiter.goal {
                    Goal::Down | Goal::Condition(WaitFor::Stopped) => true,
                    Goal::Up
                    | Goal::Condition(WaitFor::Running | WaitFor::Healthy | WaitFor::Completed) => {
                        false
                    }
                };
                waiter.left.push(match is_down {
                    true => reached.clone(),
                    false => missed.clone(),
                });
            }
        }
    }

    fn settled(&self, id: ServiceId, goal: Goal) -> Settled {
        let service = self.service(id);
        let completed = matches!(service.phase, Phase::Stopped(StopReason::Completed { .. }));
        let running =
            matches!(service.phase, Phase::Running { .. }) && service.pending_stop.is_none();
        let ended = service.phase.is_final();
        let reached = match goal {
            Goal::Up => running || completed,
            Goal::Down | Goal::Condition(WaitFor::Stopped) => ended,
            Goal::Condition(WaitFor::Running) => running,
            Goal::Condition(WaitFor::Healthy) => running && service.is_well(),
            Goal::Condition(WaitFor::Completed) => completed,
        };
        let is_missed = match goal {
            Goal::Up => ended || self.waits_in_vain(id),
            Goal::Down => !self.is_to_be_down(id),
            // A client that only watches asks for nothing that could be overtaken.
            Goal::Condition(_) => ended,
        };
        match (reached, is_missed) {
            (true, _) => Settled::Reached,
            (false, true) => Settled::Missed,
            (false, false) => Settled::NotYet,
        }
    }

    /// Whether it is down, or on its way there; not so when a stop was overtaken.
    fn is_to_be_down(&self, id: ServiceId) -> bool {
        let service = self.service(id);
        self.life.is_down()
            || service.leaving
            || service.pending_stop == Some(PendingStop::Stay)
            || service.phase.is_stopping_for_good()
            || service.phase.is_final()
    }

    /// Whether it waits for a dependency that was stopped by hand.
    fn waits_in_vain(&self, id: ServiceId) -> bool {
        let service = self.service(id);
        matches!(service.phase, Phase::Pending { .. })
            && !self.life.is_down()
            && service
                .dependencies
                .iter()
                .any(|edge| self.verdict(edge) == Verdict::Down)
    }

    /// The outcome of a stop that something else has overtaken.
    fn overtaken(&self, id: ServiceId, outcome: Outcome) -> Outcome {
        Outcome {
            detail: Detail::Overtaken(self.service(id).raised_by.clone()),
            ..outcome
        }
    }

    pub(super) fn outcome(&self, id: ServiceId, ok: bool, now: Moment) -> Outcome {
        let service = self.service(id);
        let is_removed = service.leaving && service.phase.is_final();
        Outcome {
            name: service.config.name.clone(),
            ok,
            state: service.phase.state(),
            detail: match is_removed {
                true => Detail::Removed,
                false => self.detail(id, now),
            },
        }
    }
}
