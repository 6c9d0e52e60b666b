//! What clients ask for, and when they get their answer: at once, or when the thing asked for has
//! settled. A client has one open request at most; the shell keeps the next one back.

use super::Supervisor;
use super::event::{Action, Scope};
use super::service::{AfterStop, Cause, PendingStop, Phase, Step, StopReason};
use super::shutdown::ExitCode;
use super::wait::Goal;
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::base::{ClientId, Moment, ServiceId, Signal, nearest};
use crate::control::message::{ErrorCode, Request, Response, Selection, WaitFor};

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
            Request::List {}
            | Request::Status { .. }
            | Request::Logs { .. }
            | Request::Reload { .. }
            | Request::Events { .. }
            | Request::Health {}
            | Request::Version {} => Err(Refusal {
                code: ErrorCode::BadRequest,
                message: "cannot treat a reading request as a change".into(),
                hint: None,
            }),
        };
        if let Err(Refusal {
            code,
            message,
            hint,
        }) = result
        {
            self.refuse(client, code, message, hint);
        }
    }

    pub(super) fn refuse(
        &mut self,
        client: ClientId,
        code: ErrorCode,
        message: String,
        hint: Option<String>,
    ) {
        self.reply(
            client,
            Response::Error {
                code,
                message,
                hint,
            },
        );
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
        self.refuse_when_down("start")?;
        let targets = self.select(selection, "start", true)?;
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
        let targets = self.select(selection, "stop", false)?;
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
        self.refuse_when_down("restart")?;
        let mut targets = self.select(selection, "restart", true)?;
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
        let signal = Signal::parse(signal).ok_or_else(|| Refusal {
            code: ErrorCode::BadRequest,
            message: format!("cannot signal {name}: there is no signal {signal}"),
            hint: Some("use a name such as SIGHUP or HUP, or a number from 1 to 64".into()),
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
            return Err(Refusal {
                code: ErrorCode::Conflict,
                message: format!(
                    "cannot signal {name}: it is {}",
                    self.service(id).phase.state()
                ),
                hint: Some(format!("start it first: go-overlay start {name}")),
            });
        };
        self.actions.push_back(Action::Kill {
            job,
            signal,
            scope: Scope::Process,
        });
        self.reply(
            client,
            Response::Done {
                message: format!("sent {signal} to {name} (pid {})", pid.0),
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
        self.refuse_when_down("shut down")?;
        self.reply(
            client,
            Response::Done {
                message: "shutting down".into(),
            },
        );
        let code = exit_code.map_or(ExitCode::Asked, ExitCode::Fixed);
        self.begin_shutdown("asked for by a client".into(), code, None, now);
        Ok(())
    }

    fn refuse_when_down(&self, what: &str) -> Result<(), Refusal> {
        if !self.life.is_down() {
            return Ok(());
        }
        let message = format!("cannot {what}: the daemon is shutting down");
        Err(Refusal {
            code: ErrorCode::ShuttingDown,
            message,
            hint: None,
        })
    }

    fn select(
        &self,
        selection: &Selection,
        verb: &str,
        only_enabled: bool,
    ) -> Result<Vec<ServiceId>, Refusal> {
        let refuse = |message: String| Refusal {
            code: ErrorCode::BadRequest,
            message,
            hint: None,
        };
        match (selection.all, selection.services.is_empty()) {
            (true, true) => {
                let wanted = |id: &ServiceId| {
                    let service = self.service(*id);
                    !service.leaving && (!only_enabled || service.config.enabled)
                };
                Ok(self.order.iter().copied().filter(wanted).collect())
            }
            (true, false) => Err(refuse(format!(
                "cannot {verb}: give either names or all, not both"
            ))),
            (false, true) => Err(refuse(format!("cannot {verb}: no service was named"))),
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
        self.order
            .iter()
            .copied()
            .find(|id| self.service(*id).config.name == name && !self.service(*id).leaving)
            .ok_or_else(|| {
                let names = self
                    .order
                    .iter()
                    .map(|id| self.service(*id).config.name.as_str());
                let near = nearest(name, names);
                let hint = match (name, near) {
                    ("all" | "*", _) => "every service is --all for start, stop and restart, and no name for logs, events and status".to_owned(),
                    (_, Some(known)) => format!("did you mean {known:?}?"),
                    (_, None) => "go-overlay list shows the services".to_owned(),
                };
                Refusal {
                    code: ErrorCode::UnknownService,
                    message: format!("there is no service {name:?}"),
                    hint: Some(hint),
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

/// Why a request is not carried out.
#[derive(Debug)]
pub(super) struct Refusal {
    pub code: ErrorCode,
    pub message: String,
    pub hint: Option<String>,
}

impl From<Refusal> for Response {
    fn from(
        Refusal {
            code,
            message,
            hint,
        }: Refusal,
    ) -> Response {
        Response::Error {
            code,
            message,
            hint,
        }
    }
}
