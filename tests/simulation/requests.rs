//! What the reference makes of a request: whom it is about, whether it can be carried out, and what is
//! wanted from then on.

use std::collections::BTreeSet;
use std::time::Duration;

use go_overlay::base::{ClientId, ServiceId};
use go_overlay::domain::{State, WaitFor};
use go_overlay::supervisor::client::{Outcome, Request, Response, Selection};

use crate::model::{Facts, Model, Open, Wanted};
use crate::reference::Verdict;

/// Where a target of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    NotYet,
    Reached,
    Missed,
    Unknown,
}

impl Model {
    pub fn on_request(&mut self, client: ClientId, request: &Request) {
        let open = self.open(request);
        if !open.refused {
            self.want(request, &open.targets);
        }
        self.requests.insert(client, open);
    }

    fn open(&self, request: &Request) -> Open {
        let after = |ms: Option<u64>| ms.map(|ms| self.now.after(Duration::from_millis(ms)));
        let (targets, timeout_ms, in_shutdown) = match request {
            Request::Start(selection) => {
                (self.select(selection, true), selection.timeout_ms, false)
            }
            Request::Restart(selection) => {
                let named = self.select(selection, true);
                let targets = named.map(|named| match selection.with_dependents {
                    true => self.with_dependents(named),
                    false => named,
                });
                (targets, selection.timeout_ms, false)
            }
            Request::Stop(selection) => (self.select(selection, false), selection.timeout_ms, true),
            Request::Wait {
                service,
                timeout_ms,
                ..
            } => (self.named(service), *timeout_ms, true),
            Request::Signal { service, .. } => (self.named(service), None, true),
            _ => (Some(Vec::new()), None, false),
        };
        Open {
            request: request.clone(),
            refused: targets.is_none() || (self.down.is_some() && !in_shutdown),
            targets: targets.unwrap_or_default(),
            deadline: after(timeout_ms),
        }
    }

    fn named(&self, name: &str) -> Option<Vec<ServiceId>> {
        self.find(name).map(|id| vec![id])
    }

    fn select(&self, selection: &Selection, only_enabled: bool) -> Option<Vec<ServiceId>> {
        if selection.all != selection.services.is_empty() {
            return None;
        }
        if selection.all {
            let chosen = self.services.iter().filter(|(id, facts)| {
                Some(**id) != self.main_program
                    && !facts.leaving
                    && (facts.config.enabled || !only_enabled)
            });
            return Some(chosen.map(|(id, _)| *id).collect());
        }
        let mut targets = Vec::new();
        for name in &selection.services {
            let id = self.find(name)?;
            if !targets.contains(&id) {
                targets.push(id);
            }
        }
        Some(targets)
    }

    /// And those that are up and depend on them, however indirectly.
    fn with_dependents(&self, mut targets: Vec<ServiceId>) -> Vec<ServiceId> {
        let mut walk = targets.clone();
        while let Some(id) = walk.pop() {
            for (dependent, facts) in self.dependents(id) {
                let affected = facts.is_up_or_starting() && Some(dependent) != self.main_program;
                if affected && !targets.contains(&dependent) {
                    targets.push(dependent);
                    walk.push(dependent);
                }
            }
        }
        targets
    }

    fn want(&mut self, request: &Request, targets: &[ServiceId]) {
        let (up, with_dependents) = match request {
            Request::Start(_) => (true, false),
            Request::Restart(selection) => (true, selection.with_dependents),
            Request::Stop(_) if self.down.is_none() => (false, false),
            _ => return,
        };
        for facts in self.services.values_mut() {
            facts.attempts.0 = 0;
            if let Some(restart) = &mut facts.restart {
                restart.must = false;
            }
        }
        if !up {
            for id in targets {
                self.want_down(*id);
            }
            return;
        }
        for id in self.around(targets) {
            if let Some(facts) = self.services.get_mut(&id) {
                facts.wanted = Wanted::May;
                facts.maybe_again |= with_dependents && facts.is_active();
                // What was to be stopped may be kept up for others.
                facts.going &= !facts.maybe_stop;
            }
        }
        let restarts = matches!(request, Request::Restart(_));
        for id in targets {
            if let Some(facts) = self.services.get_mut(id) {
                facts.wanted = Wanted::Up;
                facts.maybe_stop = false;
                facts.asked |= facts.state == State::Pending;
                if restarts && facts.is_up_or_starting() {
                    facts.maybe_again = true;
                    facts.going = true;
                }
            }
        }
    }

    fn want_down(&mut self, id: ServiceId) {
        let Some(facts) = self.services.get_mut(&id) else {
            return;
        };
        if facts.state == State::Stopped {
            facts.restart = None;
            facts.post_due = None;
        }
        if facts.is_up_or_starting() {
            facts.maybe_stop = true;
            facts.going = true;
        }
        // Who has failed or done its work has nothing left to be stopped.
        if facts.state != State::Failed && facts.completed_at.is_none() {
            facts.wanted = Wanted::Down;
        }
    }

    /// Whoever can be affected when these are started: what they depend on, and what depends on them.
    fn around(&self, targets: &[ServiceId]) -> BTreeSet<ServiceId> {
        let mut found: BTreeSet<ServiceId> = targets.iter().copied().collect();
        let mut walk: Vec<ServiceId> = targets.to_vec();
        while let Some(id) = walk.pop() {
            let on = self.services.get(&id).map(|facts| facts.edges.iter());
            let on = on.into_iter().flatten().map(|edge| edge.on);
            for other in on.chain(self.dependents(id).map(|(id, _)| id)) {
                if found.insert(other) {
                    walk.push(other);
                }
            }
        }
        found
    }

    fn settled(&self, id: ServiceId, request: &Request) -> Settled {
        let Some(facts) = self.services.get(&id) else {
            return Settled::Unknown;
        };
        if matches!(request, Request::Stop(_)) {
            return self.settled_down(id, facts);
        }
        let running = facts.state == State::Running;
        if facts.maybe_again || facts.maybe_stop {
            return Settled::Unknown;
        }
        if matches!(request, Request::Start(_) | Request::Restart(_))
            && facts.state == State::Pending
            && self.down.is_none()
        {
            return self.settled_pending(facts);
        }
        let completed = facts.completed_at.is_some();
        let is_final = self.is_final(id);
        let well = facts.config.health.is_none()
            || facts
                .health
                .as_ref()
                .is_some_and(|health| health.told_healthy.is_some());
        let reached = match request {
            Request::Start(_) | Request::Restart(_) => running || completed,
            Request::Wait { until, .. } => match until {
                WaitFor::Running => running,
                WaitFor::Healthy => running && well,
                WaitFor::Stopped => is_final == Some(true),
                WaitFor::Completed => completed,
            },
            _ => return Settled::Unknown,
        };
        match (reached, is_final) {
            (true, _) => Settled::Reached,
            (false, Some(true)) => Settled::Missed,
            (false, Some(false)) => Settled::NotYet,
            (false, None) => Settled::Unknown,
        }
    }

    /// Whether a stop has got there: it is overtaken by whatever wants the service up.
    fn settled_down(&self, id: ServiceId, facts: &Facts) -> Settled {
        match (self.is_final(id), facts.wanted) {
            (Some(true), _) => Settled::Reached,
            (None, _) => Settled::Unknown,
            _ if self.down.is_some() || facts.leaving => Settled::NotYet,
            (_, Wanted::Down) => Settled::NotYet,
            (_, Wanted::Up) => Settled::Missed,
            (_, Wanted::May) => Settled::Unknown,
        }
    }

    /// Whether a start waits for something that was stopped.
    fn settled_pending(&self, facts: &Facts) -> Settled {
        let verdicts: Vec<Verdict> = facts.edges.iter().map(|edge| self.verdict(edge)).collect();
        match verdicts.contains(&Verdict::Down) {
            true => Settled::Missed,
            false if verdicts.contains(&Verdict::Unknown) => Settled::Unknown,
            false => Settled::NotYet,
        }
    }

    /// What is wrong with an answer.
    pub fn fault_of(&self, open: &Open, response: &Response) -> Option<String> {
        let Response::Outcome { ok, services } = response else {
            let is_error = matches!(response, Response::Refused(_));
            let needs_outcome = matches!(
                open.request,
                Request::Start(_) | Request::Stop(_) | Request::Restart(_) | Request::Wait { .. }
            );
            return match (is_error, open.refused, needs_outcome) {
                (true, false, true) if self.down.is_none() => {
                    Some("refused, although it can be carried out".into())
                }
                (false, true, _) => Some("carried out, although it cannot be".into()),
                (false, false, true) => Some("answered without an outcome".into()),
                _ => None,
            };
        };
        if open.refused {
            return Some("carried out, although it cannot be".into());
        }
        if *ok != services.iter().all(|outcome| outcome.ok) {
            return Some("ok does not say what the outcomes say".into());
        }
        if services.len() != open.targets.len() {
            return Some("not one outcome a target".into());
        }
        if is_no_wait(&open.request) {
            return None;
        }
        let timed_out = open.deadline.is_some_and(|at| at <= self.now);
        let fault = |outcome: &Outcome| self.fault_of_outcome(outcome, open, timed_out);
        services.iter().find_map(fault)
    }

    fn fault_of_outcome(&self, outcome: &Outcome, open: &Open, timed_out: bool) -> Option<String> {
        let of_name = |id: &&ServiceId| self.name(**id) == outcome.name;
        // One that left meanwhile is not known here any more.
        let id = open.targets.iter().find(of_name)?;
        let facts = &self.services[id];
        if outcome.state != facts.state {
            return Some(format!(
                "{} is {}, not {}",
                outcome.name, facts.state, outcome.state
            ));
        }
        match (self.settled(*id, &open.request), outcome.ok) {
            (Settled::NotYet, _) if !timed_out => Some(format!("{} has not settled", outcome.name)),
            (Settled::NotYet | Settled::Missed, true) | (Settled::Reached, false) => {
                let said = if outcome.ok { "" } else { "not " };
                Some(format!("{} is said to be {said}there", outcome.name))
            }
            _ => None,
        }
    }

    /// Whether it has to have been answered by now.
    pub fn is_overdue(&self, open: &Open) -> bool {
        let is_there = |id: &ServiceId| {
            matches!(
                self.settled(*id, &open.request),
                Settled::Reached | Settled::Missed
            )
        };
        let waits = matches!(
            open.request,
            Request::Start(_) | Request::Stop(_) | Request::Restart(_) | Request::Wait { .. }
        );
        !waits || open.refused || is_no_wait(&open.request) || open.targets.iter().all(is_there)
    }
}

fn is_no_wait(request: &Request) -> bool {
    match request {
        Request::Start(selection) | Request::Stop(selection) | Request::Restart(selection) => {
            selection.no_wait
        }
        _ => false,
    }
}
