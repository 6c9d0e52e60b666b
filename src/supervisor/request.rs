//! What clients ask for, and when they get their answer: at once, or when the thing asked for has
//! settled. A client has one open request at most; the shell keeps the next one back.

use super::Supervisor;
use super::client::{Refusal, Request, Response, Selection, Verb};
use super::event::{Action, Scope};
use super::service::{AfterStop, PendingStop, Phase, Step};
use super::shutdown::ExitCode;
use super::wait::Goal;
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::base::{ClientId, Moment, ServiceId, Signal, nearest};
use crate::domain::{Cause, ShutdownReason, StopReason, WaitFor};

impl Supervisor {
    pub(super) fn on_request(&mut self, client: ClientId, request: Request, now: Moment) {
        let result = match request {
            Request::Start(selection) => self.request_start(client, &selection, now),
            Request::Stop(selection) => self.request_stop(client, &selection, now),
            Request::Restart(selection) => self.request_restart(client, &selection, now),
            Request::Signal { service, signal } => self.request_signal(client, &service, &signal),
            Request::Wait {
                service,
                until,
                timeout_ms,
            } => self.request_wait(client, &service, until, timeout_ms, now),
            Request::Shutdown { exit_code } => self.request_shutdown(client, exit_code, now),
        };
        if let Err(refusal) = result {
            self.refuse(client, refusal);
        }
    }

    pub(super) fn refuse(&mut self, client: ClientId, refusal: Refusal) {
        self.reply(client, Response::Refused(refusal));
    }

    pub(super) fn reply(&mut self, client: ClientId, response: Response) {
        self.actions.push_back(Action::Reply { client, response });
    }

    fn request_start(
        &mut self,
        client: ClientId,
        selection: &Selection,
        now: Moment,
    ) -> Result<(), Refusal> {
        self.refuse_when_down(Verb::Start)?;
        let targets = self.select(selection, Verb::Start, true)?;
        for &id in &targets {
            self.bring_up(id, Cause::Start, now);
            self.bring_up_dependencies(id, now);
        }
        self.wait_for(client, Goal::Up, targets, selection, now);
        Ok(())
    }

    fn request_stop(
        &mut self,
        client: ClientId,
        selection: &Selection,
        now: Moment,
    ) -> Result<(), Refusal> {
        let targets = self.select(selection, Verb::Stop, false)?;
        for &id in &targets {
            if !self.life.is_down() {
                self.stop_in_order(id, PendingStop::Stay, now);
            }
        }
        self.wait_for(client, Goal::Down, targets, selection, now);
        Ok(())
    }

    fn request_restart(
        &mut self,
        client: ClientId,
        selection: &Selection,
        now: Moment,
    ) -> Result<(), Refusal> {
        self.refuse_when_down(Verb::Restart)?;
        let mut targets = self.select(selection, Verb::Restart, true)?;
        if selection.with_dependents {
            self.add_active_dependents(&mut targets);
        }
        for &id in &targets {
            self.stop_in_order(id, PendingStop::Restart, now);
            self.service_mut(id).raised_by = Some(Cause::Restart);
        }
        for &id in &targets {
            self.bring_up_dependencies(id, now);
        }
        self.wait_for(client, Goal::Up, targets, selection, now);
        Ok(())
    }

    fn request_signal(
        &mut self,
        client: ClientId,
        name: &str,
        signal: &str,
    ) -> Result<(), Refusal> {
        let id = self.find(name)?;
        let signal = Signal::parse(signal).ok_or_else(|| Refusal::UnknownSignal {
            service: name.to_owned(),
            signal: signal.to_owned(),
        })?;
        let (Phase::Running { job, pid, .. }
        | Phase::Starting {
            job,
            step: Step::Readying { pid, .. },
        }
        | Phase::Stopping {
            job,
            pid: Some(pid),
            ..
        }) = self.service(id).phase
        else {
            return Err(Refusal::NoProcess {
                service: name.to_owned(),
                state: self.service(id).phase.state(),
            });
        };
        self.actions.push_back(Action::Kill {
            job,
            signal,
            scope: Scope::Process,
        });
        self.reply(
            client,
            Response::Signaled {
                service: name.to_owned(),
                signal,
                pid,
            },
        );
        Ok(())
    }

    fn request_wait(
        &mut self,
        client: ClientId,
        name: &str,
        until: WaitFor,
        timeout_ms: Option<u64>,
        now: Moment,
    ) -> Result<(), Refusal> {
        let id = self.find(name)?;
        let goal = Goal::Condition(until);
        self.add_waiter(client, goal, vec![id], timeout_ms, now);
        Ok(())
    }

    fn request_shutdown(
        &mut self,
        client: ClientId,
        exit_code: Option<u8>,
        now: Moment,
    ) -> Result<(), Refusal> {
        self.refuse_when_down(Verb::Shutdown)?;
        self.reply(client, Response::ShuttingDown);
        let code = exit_code.map_or(ExitCode::Asked, ExitCode::Fixed);
        self.begin_shutdown(ShutdownReason::Client, code, None, now);
        Ok(())
    }

    fn refuse_when_down(&self, verb: Verb) -> Result<(), Refusal> {
        match self.life.is_down() {
            true => Err(Refusal::ShuttingDown(verb)),
            false => Ok(()),
        }
    }

    fn select(
        &self,
        selection: &Selection,
        verb: Verb,
        only_enabled: bool,
    ) -> Result<Vec<ServiceId>, Refusal> {
        match (selection.all, selection.services.is_empty()) {
            (true, true) => {
                let wanted = |id: &ServiceId| {
                    let service = self.service(*id);
                    !service.leaving && (!only_enabled || service.config.enabled)
                };
                Ok(self.order.iter().copied().filter(wanted).collect())
            }
            (true, false) => Err(Refusal::NamesAndAll(verb)),
            (false, true) => Err(Refusal::NoNames(verb)),
            (false, false) => {
                let mut targets = Vec::new();
                for name in &selection.services {
                    let id = self.find(name)?;
                    if !targets.contains(&id) {
                        targets.push(id);
                    }
                }
                Ok(targets)
            }
        }
    }

    /// The service of this name.
    pub(super) fn find(&self, name: &str) -> Result<ServiceId, Refusal> {
        let named = |id: &ServiceId| {
            let service = self.service(*id);
            service.config.name == name && !service.leaving
        };
        let found = self.order.iter().copied().find(named);
        found.ok_or_else(|| {
            let all = self.order.iter();
            let names = all.map(|id| self.service(*id).config.name.as_str());
            Refusal::UnknownService {
                name: name.to_owned(),
                near: nearest(name, names).map(str::to_owned),
            }
        })
    }

    /// Starts what is not up; it waits for its dependencies in PENDING. What is up stays up.
    pub(super) fn bring_up(&mut self, id: ServiceId, cause: Cause, now: Moment) {
        let service = self.service_mut(id);
        match service.phase {
            Phase::Starting { .. } | Phase::Running { .. } => {
                if service.pending_stop == Some(PendingStop::Stay) {
                    service.pending_stop = None;
                    service.raised_by = Some(cause);
                    self.enqueue_neighbourhood(id);
                    self.wake_dependencies(id);
                }
            }
            Phase::Pending { .. }
            | Phase::Stopping { .. }
            | Phase::Stopped(_)
            | Phase::Failed { .. } => {
                service.raised_by = Some(cause);
                self.begin_stop(id, AfterStop::Restart, now);
            }
        }
    }

    /// Dependencies that nobody is starting are started too. A completed one has done its work. The
    /// list grows while it is walked; the graph has no cycle, and each service enters it once.
    fn bring_up_dependencies(&mut self, id: ServiceId, now: Moment) {
        let name: Rc<str> = self.service(id).config.name.as_str().into();
        let mut seen = BTreeSet::from([id]);
        let mut walk = vec![id];
        while let Some(at) = walk.pop() {
            for index in 0..self.service(at).dependencies.len() {
                let on = self.service(at).dependencies[index].on;
                let service = self.service(on);
                let down = match &service.phase {
                    Phase::Stopped(StopReason::Completed { .. }) => false,
                    // It may wait for what was stopped.
                    Phase::Pending { .. } | Phase::Stopped(_) | Phase::Failed { .. } => true,
                    Phase::Stopping { .. } => service.phase.is_stopping_for_good(),
                    Phase::Starting { .. } | Phase::Running { .. } => {
                        service.pending_stop == Some(PendingStop::Stay)
                    }
                };
                if down && seen.insert(on) {
                    self.bring_up(on, Cause::Dependent(Rc::clone(&name)), now);
                    walk.push(on);
                }
            }
        }
    }

    fn add_active_dependents(&self, targets: &mut Vec<ServiceId>) {
        let mut next = 0;
        while let Some(&at) = targets.get(next) {
            next += 1;
            for &dependent in &self.service(at).dependents {
                // One that is on its way down is not to come up again because of this.
                let affected = self.service(dependent).phase.is_up_or_starting()
                    && !self.is_main_program(dependent);
                if affected && !targets.contains(&dependent) {
                    targets.push(dependent);
                }
            }
        }
    }
}
