//! `logs` and `events`: a client reads what is remembered, and follows it.

use super::Reactor;
use super::connections::Outcome;
use super::serve::Shell;
use crate::base::{ClientId, Moment};

/// What is put before a client at a time, at most and at least.
const PORTION_BYTES: usize = 64 * 1024;
const LEAST_PORTION_BYTES: usize = 16 * 1024;

/// What is put before all clients together: where they are many, each gets less at a time.
const ALL_PORTIONS_BYTES: usize = 8 * 1024 * 1024;

/// Portions that are offered to a client when the daemon ends: more than its socket holds.
const LAST_PORTIONS: usize = 64;

impl Reactor {
    /// Puts the next portion before a client that has read the one before.
    pub(super) fn feed(&mut self, client: ClientId, now: Moment) {
        let room = portion(self.connections.count());
        // The last step may go beyond it.
        let most = 2 * room;
        let fits = self.connections.make_room(client, most)
            || (self.forget_for_memory(now) && self.connections.make_room(client, most))
            || (self.disconnect_slow_readers(now) && self.connections.make_room(client, most));
        if !fits {
            return self.disconnect_for_memory(client, now);
        }
        let history = Shell {
            streams: &mut self.output.streams,
            journal: &self.journal,
            log_helpers: &self.output.log_helpers,
            usage: &mut self.usage,
            tidiness: &mut self.common.tidiness,
        };
        self.connections.feed(client, &history, room);
    }

    /// Something came: those who follow look at it.
    pub(super) fn feed_followers(&mut self) {
        if self.connections.is_behind() {
            return;
        }
        let (lines, events) = (self.output.streams.take_news(), self.journal.take_news());
        if !lines && !events {
            return;
        }
        if lines && !self.connections.reads_logs() {
            self.output.streams.count_lines(false);
        }
        self.connections.wake_followers();
    }

    /// The daemon ends: everyone gets what is left of his answer, so far as his socket takes it at once.
    pub(super) fn end_feeds(&mut self, now: Moment) {
        self.connections.stop_following();
        for client in self.connections.ids() {
            for _ in 0..LAST_PORTIONS {
                let cx = &mut self.common.context(now);
                match self.connections.advance(client, cx) {
                    Outcome::Hungry(client) => self.feed(client, now),
                    Outcome::Nothing | Outcome::Asked { .. } => break,
                }
            }
        }
    }
}

/// What one of so many clients gets at a time.
fn portion(clients: usize) -> usize {
    (ALL_PORTIONS_BYTES / clients.max(1)).clamp(LEAST_PORTION_BYTES, PORTION_BYTES)
}
