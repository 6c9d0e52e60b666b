//! The control socket: new clients, and what comes of their requests, which the verbs decide (`api::verbs`).

use std::path::Path;

use super::Reactor;
use super::connections::{Accepted, CLIENTS_A_TURN, Outcome};
use super::log_helpers::LogHelpers;
use super::streams::Streams;
use super::tidiness::Tidiness;
use super::token::Slot;
use crate::api::access::Caller;
use crate::api::journal::Journal;
use crate::api::stream::History;
use crate::api::verbs::{self, Change, Step};
use crate::api::views::{Observed, Views};
use crate::base::{ClientId, Moment, Pid, ServiceId};
use crate::control::message::Request;
use crate::domain::Usage;
use crate::output::recent::Recent;
use crate::supervisor::event::Event;
use crate::sys::{clock, usage};

impl Reactor {
    /// Takes new connections in.
    pub(super) fn accept(&mut self, now: Moment) {
        let cx = &mut self.common.context(now);
        match self.connections.accept(cx) {
            Accepted::All => self.trouble.accepts(),
            Accepted::Some => {}
            Accepted::Failed(error) => self.trouble.cannot_accept(&error, cx),
        }
        self.settle(now);
    }

    /// Serves the client of a slot.
    pub(super) fn serve(&mut self, slot: Slot, hung_up: bool, now: Moment) {
        let cx = &mut self.common.context(now);
        let outcome = self.connections.on_ready(slot, hung_up, cx);
        self.follow_up(outcome, now);
    }

    /// Writes the answers that are there, and takes the next requests of the clients that got them, but a bounded
    /// number a turn: a client that asks without end must not keep the others waiting.
    pub(super) fn serve_due(&mut self, now: Moment) {
        for _ in 0..CLIENTS_A_TURN {
            let Some(client) = self.connections.next_due() else {
                return;
            };
            let cx = &mut self.common.context(now);
            let outcome = self.connections.advance(client, cx);
            self.follow_up(outcome, now);
        }
    }

    fn follow_up(&mut self, outcome: Outcome, now: Moment) {
        self.settle(now);
        match outcome {
            Outcome::Nothing => {}
            Outcome::Asked {
                client,
                caller,
                request,
            } => self.dispatch(client, caller, request, now),
            Outcome::Hungry(client) => self.feed(client, now),
        }
    }

    fn dispatch(&mut self, client: ClientId, caller: Caller, request: Request, now: Moment) {
        let views = Views {
            caller,
            now: self.common.clock.now(),
            supervisor: &self.common.supervisor,
            config_path: self.config_path.as_deref(),
            observed: &mut Shell {
                streams: &mut self.output.streams,
                journal: &self.journal,
                log_helpers: &self.output.log_helpers,
                usage: &mut self.usage,
                tidiness: &mut self.common.tidiness,
            },
        };
        match verbs::dispatch(request, views) {
            Ok(Step::Reads(response)) | Err(response) => {
                self.connections.reply(client, &response, now);
            }
            Ok(Step::Waits(request) | Step::Changes(Change::Supervisor(request))) => {
                self.tell(Event::Request { client, request }, now);
            }
            Ok(Step::Changes(Change::Reload { dry_run })) => {
                if let Err(refusal) = self.begin_reload(client, dry_run, now) {
                    self.connections.reply(client, &refusal, now);
                }
            }
            Ok(Step::Streams(stream)) => self.connections.begin_stream(client, stream, now),
        }
    }

    /// The next look at what processes use, while somebody watches.
    pub(super) fn keep_watch(&mut self, now: Moment) {
        if self.usage.deadline().is_some_and(|at| at <= now) {
            let processes = self.common.supervisor.main_processes();
            let pids: Vec<_> = processes.iter().flatten().map(|(pid, _)| *pid).collect();
            self.usage.keep_up(&pids, now);
        }
    }
}

/// What the shell knows, as the verbs and subscriptions see it.
pub(super) struct Shell<'a> {
    pub streams: &'a mut Streams,
    pub journal: &'a Journal,
    pub log_helpers: &'a LogHelpers,
    pub usage: &'a mut usage::Watch,
    pub tidiness: &'a mut Tidiness,
}

impl History for Shell<'_> {
    fn recent(&self, service: ServiceId) -> Option<&Recent> {
        self.streams.recent(service)
    }

    fn journal(&self) -> &Journal {
        self.journal
    }

    fn wall(&self) -> u64 {
        clock::wall()
    }
}

impl Observed for Shell<'_> {
    fn usages(&mut self, pids: &[Pid], now: Moment) -> (Moment, &[Option<Usage>]) {
        // A client that watches needs again what this takes.
        self.tidiness.ask_at(Some(now.after(usage::WATCHING)));
        let look = self.usage.ask(pids, now);
        (look.taken, &look.seen)
    }

    fn usage(&self, pid: Pid) -> Option<Usage> {
        usage::sample(&[pid]).first().copied().flatten()
    }

    fn hanging(&self) -> Vec<(ServiceId, &Path)> {
        self.log_helpers.hanging().collect()
    }

    fn dropped_lines(&self, service: ServiceId) -> u64 {
        self.streams.dropped(service)
    }

    fn count_lost_lines(&mut self) {
        self.streams.count_lines(true);
    }

    fn own_pid(&self) -> i32 {
        i32::try_from(std::process::id()).unwrap_or(0)
    }
}
