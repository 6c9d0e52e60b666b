//! The control socket: new clients, who may ask what, and the reading requests, which are answered
//! from what the supervisor shows. Whatever changes something is the supervisor's.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use mio::net::UnixStream;

use super::clients::Outcome;
use super::{ACCEPT_RETRY, ACCEPTS_A_TURN, ANSWERS_A_TURN, Reactor};
use crate::api::protocol;
use crate::base::{ClientId, Moment};
use crate::control::message::{ErrorCode, Request, Response, ServiceStatus};
use crate::domain::Usage;
use crate::output::tail;
use crate::supervisor::event::Event;
use crate::sys::socket::{self, Peer};
use crate::sys::usage;

impl Reactor {
    pub(super) fn accept(&mut self, now: Moment) {
        for _ in 0..ACCEPTS_A_TURN {
            let Some(accepted) = self.listener.as_ref().map(socket::accept) else {
                return;
            };
            let stream = match accepted {
                Ok(stream) => UnixStream::from_std(stream),
                Err(error) => {
                    self.accept_again = false;
                    // The kernel tells of those who wait only once: without a descriptor for them now, they are
                    // looked for again.
                    let none_waits = error.kind() == io::ErrorKind::WouldBlock;
                    self.accept_at = (!none_waits).then(|| now.after(ACCEPT_RETRY));
                    match none_waits {
                        true => self.trouble.accepts(),
                        false => {
                            let cx = &mut self.common.context(now);
                            self.trouble.cannot_accept(&error, cx);
                        }
                    }
                    return;
                }
            };
            let Ok(peer) = socket::peer(stream.as_fd()) else {
                continue;
            };
            if let Some(evicted) = self
                .clients
                .add(stream, peer, self.common.poll.registry(), now)
            {
                self.tell(Event::ClientGone { client: evicted }, now);
            }
        }
        // The kernel tells of the listener once: what this turn left is the next one's.
        self.accept_again = true;
    }

    /// Moves a client on.
    pub(super) fn serve(&mut self, client: ClientId, hung_up: bool, now: Moment) {
        self.advance_client(client, hung_up, now);
    }

    /// Writes the answers that are there, and takes the next requests of those who got them, but so
    /// many a turn only: a client that asks without end must not keep the others waiting.
    pub(super) fn serve_answered(&mut self, now: Moment) {
        for _ in 0..ANSWERS_A_TURN {
            let Some(client) = self.answered.pop_front() else {
                return;
            };
            self.advance_client(client, false, now);
        }
    }

    fn advance_client(&mut self, client: ClientId, hung_up: bool, now: Moment) {
        match self
            .clients
            .advance(client, hung_up, self.common.poll.registry(), now)
        {
            Outcome::Nothing => {}
            Outcome::Asked {
                client,
                peer,
                request,
            } => self.answer(client, peer, request, now),
            Outcome::Hungry(client) => self.feed(client, now),
            Outcome::Gone(client) => self.tell(Event::ClientGone { client }, now),
        }
    }

    fn answer(&mut self, client: ClientId, peer: Peer, request: Request, now: Moment) {
        let response = match request {
            Request::List {} => Response::List {
                services: self.list_with_usage(now),
            },
            Request::Status { service: None } => Response::System(protocol::system(
                &self
                    .common
                    .supervisor
                    .system_status(self.common.clock.now()),
            )),
            Request::Status {
                service: Some(name),
            } => self.detail_with_usage(&name, peer, now),
            Request::Health {} => protocol::health(&self.common.supervisor.health()),
            Request::Version {} => self.version(),
            // Output holds what services were told in confidence.
            Request::Logs { .. } if !socket::may_change(peer) => no_logs_for(peer),
            Request::Logs { .. } => match self.begin_logs(client, request, now) {
                Ok(()) => return,
                Err(refusal) => refusal,
            },
            Request::Events {
                services,
                lines,
                follow,
            } => match self.begin_events(client, services, lines, follow, now) {
                Ok(()) => return,
                Err(refusal) => refusal,
            },
            Request::Reload { .. } if !socket::may_change(peer) => not_allowed(peer),
            Request::Reload { dry_run } => match self.begin_reload(Some(client), dry_run, now) {
                Ok(()) => return,
                Err(refusal) => refusal,
            },
            Request::Start(_)
            | Request::Stop(_)
            | Request::Restart(_)
            | Request::Signal { .. }
            | Request::Shutdown { .. }
                if !socket::may_change(peer) =>
            {
                not_allowed(peer)
            }
            Request::Start(_)
            | Request::Stop(_)
            | Request::Restart(_)
            | Request::Signal { .. }
            | Request::Shutdown { .. }
            | Request::Wait { .. } => {
                if let Some(request) = protocol::change(request) {
                    self.tell(Event::Request { client, request }, now);
                }
                return;
            }
        };
        self.clients.reply(client, &response, now);
        self.answered.push_back(client);
    }

    fn list_with_usage(&mut self, now: Moment) -> Vec<ServiceStatus> {
        let views = self.common.supervisor.list(self.common.clock.now());
        let mut rows: Vec<ServiceStatus> = views.iter().map(protocol::row).collect();
        let processes = self.common.supervisor.main_processes();
        let pids: Vec<_> = processes.iter().flatten().map(|(pid, _)| *pid).collect();
        let look = self.usage.ask(&pids, now);
        let mut usages = look.seen.iter().copied();
        for (row, process) in rows.iter_mut().zip(processes) {
            if let Some((_, started)) = process {
                show_usage(row, usages.next().flatten(), look.taken.since(started));
            }
        }
        for (service, path) in self.log_helpers.hanging() {
            let at = views.iter().position(|view| view.id == service);
            if let Some(row) = at.and_then(|at| rows.get_mut(at)) {
                protocol::show_hanging(row, path);
            }
        }
        // Who watches needs again what this took.
        self.common.tidiness.ask_at(self.usage.until());
        rows
    }

    /// The next look at what processes use, while somebody watches.
    pub(super) fn keep_watch(&mut self, now: Moment) {
        if self.usage.deadline().is_some_and(|at| at <= now) {
            let processes = self.common.supervisor.main_processes();
            let pids: Vec<_> = processes.iter().flatten().map(|(pid, _)| *pid).collect();
            self.usage.keep_up(&pids, now);
        }
    }

    fn detail_with_usage(&self, name: &str, peer: Peer, now: Moment) -> Response {
        let view = match self
            .common
            .supervisor
            .service_detail(name, self.common.clock.now())
        {
            Ok(view) => view,
            Err(refusal) => return protocol::refused(&refusal),
        };
        let id = view.row.id;
        let mut detail = protocol::service(view);
        if let Some((pid, started)) = self.common.supervisor.main_process(id) {
            let usage = usage::sample(&[pid]).first().copied().flatten();
            show_usage(&mut detail.status, usage, now.since(started));
        }
        let mut hanging = self.log_helpers.hanging();
        if let Some((_, path)) = hanging.find(|(service, _)| *service == id) {
            protocol::show_hanging(&mut detail.status, path);
        }
        detail.dropped_lines = self.streams.dropped(id);
        // Output is for those who may read logs.
        if detail.status.is_in_trouble() && socket::may_change(peer) {
            let recent = self.streams.recent(id);
            detail.last_lines = recent.map(tail::last_lines).unwrap_or_default();
        }
        Response::Service(Box::new(detail))
    }

    fn version(&self) -> Response {
        Response::Version {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: i32::try_from(std::process::id()).unwrap_or(0),
            config: self.config_path.clone(),
            services: self
                .common
                .supervisor
                .system_status(self.common.clock.now())
                .total,
        }
    }
}

fn show_usage(status: &mut ServiceStatus, usage: Option<Usage>, age: Duration) {
    status.cpu_seconds = usage.map(|usage| usage.cpu.as_secs_f64());
    status.cpu_percent = usage.and_then(|usage| usage.percent(age));
    status.memory_bytes = usage.map(|usage| usage.memory_bytes);
}

fn not_allowed(peer: Peer) -> Response {
    Response::Error {
        code: ErrorCode::NotAllowed,
        message: format!(
            "cannot do that for user {}: only root and the daemon's own user may change things",
            peer.uid
        ),
        hint: None,
    }
}

fn no_logs_for(peer: Peer) -> Response {
    Response::Error {
        code: ErrorCode::NotAllowed,
        message: format!(
            "cannot show logs to user {}: only root and the daemon's own user may read them",
            peer.uid
        ),
        hint: None,
    }
}
