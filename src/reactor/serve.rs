//! The control socket: new clients, and what comes of their requests, which the verbs decide (`api::verbs`).

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use mio::net::UnixStream;

use super::clients::Outcome;
use super::log_helpers::LogHelpers;
use super::streams::Streams;
use super::tidiness::Tidiness;
use super::{ACCEPT_RETRY, ACCEPTS_A_TURN, ANSWERS_A_TURN, Reactor};
use crate::api::access::Caller;
use crate::api::journal::Journal;
use crate::api::read::Observed;
use crate::api::stream::History;
use crate::api::verbs::{self, Change, Step, Views};
use crate::base::{ClientId, Moment, Pid, ServiceId};
use crate::control::message::Request;
use crate::domain::Usage;
use crate::output::recent::Recent;
use crate::supervisor::event::Event;
use crate::sys::socket::{self, Peer};
use crate::sys::{clock, usage};

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
        let views = Views {
            caller: Caller::Peer {
                uid: peer.uid,
                is_trusted: socket::may_change(peer),
            },
            now: self.common.clock.now(),
            supervisor: &self.common.supervisor,
            config_path: self.config_path.as_deref(),
            observed: &mut Shell {
                streams: &mut self.streams,
                journal: &self.journal,
                log_helpers: &self.log_helpers,
                usage: &mut self.usage,
                tidiness: &mut self.common.tidiness,
            },
        };
        match verbs::dispatch(request, views) {
            Ok(Step::Reads(response)) | Err(response) => self.reply(client, &response, now),
            Ok(Step::Waits(request) | Step::Changes(Change::Supervisor(request))) => {
                self.tell(Event::Request { client, request }, now);
            }
            Ok(Step::Changes(Change::Reload { dry_run })) => {
                if let Err(refusal) = self.begin_reload(Some(client), dry_run, now) {
                    self.reply(client, &refusal, now);
                }
            }
            Ok(Step::Streams(stream)) => {
                self.clients
                    .begin_feed(client, &stream.opening, stream.subscription, now);
                self.answered.push_back(client);
            }
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
