//! `logs` and `events`: a client reads what is remembered, and follows it.

use super::clients::Outcome;
use super::streams::Streams;
use super::{ANSWERS_A_TURN, Reactor};
use crate::api::journal::Journal;
use crate::api::protocol;
use crate::api::stream::{History, Subscription};
use crate::base::{ClientId, Moment, ServiceId};
use crate::control::message::{Request, Response};
use crate::output::feed::{Feed, Filter};
use crate::output::recent::Recent;
use crate::sys::clock;

/// What is put before a client at a time, at most and at least.
const PORTION_BYTES: usize = 64 * 1024;
const LEAST_PORTION_BYTES: usize = 16 * 1024;

/// What is put before all clients together: where they are many, each gets less at a time.
const ALL_PORTIONS_BYTES: usize = 8 * 1024 * 1024;

/// Portions that are offered to a client when the daemon ends: more than its socket holds.
const LAST_PORTIONS: usize = 64;

/// What subscriptions read.
struct Remembered<'a> {
    streams: &'a Streams,
    journal: &'a Journal,
}

impl History for Remembered<'_> {
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

impl Reactor {
    /// Begins the answer to `logs`.
    pub(super) fn begin_logs(
        &mut self,
        client: ClientId,
        request: Request,
        now: Moment,
    ) -> Result<(), Response> {
        let Request::Logs {
            services,
            lines,
            since_ms,
            grep,
            follow,
        } = request
        else {
            return Ok(());
        };
        let chosen = self.services_of_logs(&services)?;
        let since = since_ms.map_or(0, |ms| {
            clock::wall().saturating_sub(ms.saturating_mul(1_000_000))
        });
        let filter = Filter {
            since,
            grep: grep.unwrap_or_default().into_bytes(),
        };
        self.streams.count_lines(true);
        let sources = chosen.iter().filter_map(|(id, name)| {
            let recent = self.streams.recent(*id)?;
            Some((*id, name.as_str(), recent))
        });
        let feed = Feed::new(sources, filter, lines, follow);
        let forgets = |id| {
            self.streams
                .recent(id)
                .is_some_and(|recent| recent.limit() == 0)
        };
        let not_kept = chosen.iter().filter(|(id, _)| forgets(*id));
        let opening = Response::Logs {
            not_kept: not_kept.map(|(_, name)| name.clone()).collect(),
            services: chosen.into_iter().map(|(_, name)| name).collect(),
        };
        self.clients
            .begin_feed(client, &opening, Subscription::Logs(feed), now);
        self.answered.push_back(client);
        Ok(())
    }

    /// Begins the answer to `events`.
    pub(super) fn begin_events(
        &mut self,
        client: ClientId,
        services: Vec<String>,
        last: Option<u64>,
        follow: bool,
        now: Moment,
    ) -> Result<(), Response> {
        self.services_of_logs(&services)?;
        let reader = Subscription::Events(self.journal.reader(services, last, follow));
        self.clients
            .begin_feed(client, &Response::Events {}, reader, now);
        self.answered.push_back(client);
        Ok(())
    }

    /// Each once, in the order of the file.
    fn services_of_logs(&self, names: &[String]) -> Result<Vec<(ServiceId, String)>, Response> {
        let mut wanted = Vec::new();
        for name in names {
            wanted.push(
                self.common
                    .supervisor
                    .find_service(name)
                    .map_err(|refusal| protocol::refused(&refusal))?,
            );
        }
        let all = self
            .common
            .supervisor
            .ids()
            .filter(|id| !self.common.supervisor.is_main_program(*id));
        let chosen = all.filter(|id| wanted.is_empty() || wanted.contains(id));
        Ok(chosen.map(|id| (id, self.name_of(id))).collect())
    }

    /// Puts the next portion before a client that has read the one before.
    pub(super) fn feed(&mut self, client: ClientId, now: Moment) {
        let room = portion(self.clients.count());
        // The last step may go beyond it.
        let most = 2 * room;
        let fits = self.clients.make_room(client, most)
            || (self.forget_for_memory(now) && self.clients.make_room(client, most))
            || (self.disconnect_slow_readers(now) && self.clients.make_room(client, most));
        if !fits {
            return self.disconnect_for_memory(client, now);
        }
        let history = Remembered {
            streams: &self.streams,
            journal: &self.journal,
        };
        if self.clients.feed(client, &history, room) {
            self.answered.push_back(client);
        }
    }

    /// Something came: those who follow look at it.
    pub(super) fn feed_followers(&mut self) {
        if self.answered.len() > ANSWERS_A_TURN {
            return;
        }
        let (lines, events) = (self.streams.take_news(), self.journal.take_news());
        if !lines && !events {
            return;
        }
        if lines && !self.clients.reads_logs() {
            self.streams.count_lines(false);
        }
        for client in self.clients.hungry() {
            if !self.answered.contains(&client) {
                self.answered.push_back(client);
            }
        }
    }

    /// The daemon ends: everyone gets what is left of his answer, so far as his socket takes it at once.
    pub(super) fn end_feeds(&mut self, now: Moment) {
        self.clients.end_feeds();
        for client in self.clients.ids() {
            for _ in 0..LAST_PORTIONS {
                let outcome = self
                    .clients
                    .advance(client, false, self.common.poll.registry(), now);
                match outcome {
                    Outcome::Hungry(client) => self.feed(client, now),
                    Outcome::Nothing | Outcome::Asked { .. } | Outcome::Gone(_) => break,
                }
            }
        }
    }
}

/// What one of so many clients gets at a time.
fn portion(clients: usize) -> usize {
    (ALL_PORTIONS_BYTES / clients.max(1)).clamp(LEAST_PORTION_BYTES, PORTION_BYTES)
}
