//! The control socket: new clients, and what comes of their requests, which the verbs decide (`api::verbs`).

use std::os::unix::net::UnixListener;
use std::path::Path;

use super::connections::{Accepted, Connections, Outcome};
use super::context::Context;
use super::log_helpers::LogHelpers;
use super::output::Output;
use super::shortage::Shortage;
use super::streams::Streams;
use super::tidiness::Tidiness;
use super::token::Slot;
use super::trouble::Trouble;
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

/// The control socket's clients, and what they ask for.
pub(super) struct Clients {
    pub(super) connections: Connections,
    pub(super) journal: Journal,
    /// What processes use, while a client watches.
    pub(super) usage: usage::Watch,
    pub(super) shortage: Shortage,
    /// For `version`; None where only a main program is supervised.
    config_path: Option<String>,
}

/// A request that another part carries out.
pub(super) struct ReloadRequest {
    pub client: ClientId,
    pub dry_run: bool,
}

impl Clients {
    pub fn new(listener: Option<UnixListener>, config_path: Option<String>) -> Clients {
        Clients {
            connections: Connections::new(listener),
            journal: Journal::default(),
            usage: usage::Watch::default(),
            shortage: Shortage::default(),
            config_path,
        }
    }

    /// Takes new connections in.
    pub fn accept(&mut self, trouble: &mut Trouble, cx: &mut Context<'_>) {
        match self.connections.accept(cx) {
            Accepted::All => trouble.accepts(),
            Accepted::Some => {}
            Accepted::Failed(error) => trouble.cannot_accept(&error, cx),
        }
    }

    /// Serves the client of a slot.
    pub fn on_ready(
        &mut self,
        slot: Slot,
        hung_up: bool,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) -> Option<ReloadRequest> {
        let outcome = self.connections.on_ready(slot, hung_up, cx);
        self.follow_up(outcome, output, cx)
    }

    /// Writes the answer that is there for this client, and takes its next request.
    pub fn advance(
        &mut self,
        client: ClientId,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) -> Option<ReloadRequest> {
        let outcome = self.connections.advance(client, cx);
        self.follow_up(outcome, output, cx)
    }

    fn follow_up(
        &mut self,
        outcome: Outcome,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) -> Option<ReloadRequest> {
        match outcome {
            Outcome::Nothing => {}
            Outcome::Asked {
                client,
                caller,
                request,
            } => return self.dispatch(client, caller, request, output, cx),
            Outcome::Hungry(client) => self.feed(client, output, cx),
        }
        None
    }

    fn dispatch(
        &mut self,
        client: ClientId,
        caller: Caller,
        request: Request,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) -> Option<ReloadRequest> {
        let views = Views {
            caller,
            now: cx.time,
            supervisor: cx.supervisor,
            config_path: self.config_path.as_deref(),
            observed: &mut Shell {
                streams: &mut output.streams,
                journal: &self.journal,
                log_helpers: &output.log_helpers,
                usage: &mut self.usage,
                tidiness: cx.tidiness,
            },
        };
        match verbs::dispatch(request, views) {
            Ok(Step::Reads(response)) | Err(response) => {
                self.connections.reply(client, &response, cx.now);
            }
            Ok(Step::Waits(request) | Step::Changes(Change::Supervisor(request))) => {
                cx.tell(Event::Request { client, request });
            }
            Ok(Step::Changes(Change::Reload { dry_run })) => {
                return Some(ReloadRequest { client, dry_run });
            }
            Ok(Step::Streams(stream)) => self.connections.begin_stream(client, stream, cx.now),
        }
        None
    }

    /// At the end of a turn: makes room where memory has run out.
    pub fn relieve(&mut self, output: &mut Output, cx: &mut Context<'_>) {
        self.shortage.relieve(&mut self.connections, output, cx);
    }

    pub fn deadline(&self) -> Option<Moment> {
        let all = [self.connections.deadline(), self.usage.deadline()];
        all.into_iter().flatten().min()
    }

    /// Closes what has been idle for too long, and takes in what could not be taken before.
    pub fn on_deadline(&mut self, trouble: &mut Trouble, cx: &mut Context<'_>) {
        if self.connections.on_deadline(cx) {
            self.accept(trouble, cx);
        }
        self.keep_watch(cx);
    }

    /// The next look at what processes use, while a client watches.
    fn keep_watch(&mut self, cx: &Context<'_>) {
        if self.usage.deadline().is_some_and(|at| at <= cx.now) {
            let processes = cx.supervisor.main_processes();
            let pids: Vec<_> = processes.iter().flatten().map(|(pid, _)| *pid).collect();
            self.usage.keep_up(&pids, cx.now);
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
