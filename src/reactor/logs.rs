//! `logs` and `events`: a client reads what is remembered, and follows it.

use super::connections::Outcome;
use super::context::Context;
use super::output::Output;
use super::serve::{Clients, Shell};
use crate::base::ClientId;

/// What is put before a client at a time, at most and at least.
const PORTION_BYTES: usize = 64 * 1024;
const LEAST_PORTION_BYTES: usize = 16 * 1024;

/// What is put before all clients together: where they are many, each gets less at a time.
const ALL_PORTIONS_BYTES: usize = 8 * 1024 * 1024;

/// Portions that are offered to a client when the daemon ends: more than its socket holds.
const LAST_PORTIONS: usize = 64;

impl Clients {
    /// Puts the next portion before a client that has read the one before.
    pub(super) fn feed(&mut self, client: ClientId, output: &mut Output, cx: &mut Context<'_>) {
        let room = portion(self.connections.count());
        // The last step may go beyond it.
        let most = 2 * room;
        let (connections, shortage) = (&mut self.connections, &mut self.shortage);
        let fits = connections.make_room(client, most)
            || (shortage.forget_output(output, cx.now) && connections.make_room(client, most))
            || (shortage.disconnect_slow_readers(connections, cx)
                && connections.make_room(client, most));
        if !fits {
            return shortage.disconnect(client, connections, cx);
        }
        let history = Shell {
            streams: &mut output.streams,
            journal: &self.journal,
            log_helpers: &output.log_helpers,
            usage: &mut self.usage,
            tidiness: cx.tidiness,
        };
        self.connections.feed(client, &history, room);
    }

    /// Something came: those who follow look at it.
    pub fn feed_followers(&mut self, output: &mut Output) {
        if self.connections.is_behind() {
            return;
        }
        let (lines, events) = (output.streams.take_news(), self.journal.take_news());
        if !lines && !events {
            return;
        }
        if lines && !self.connections.reads_logs() {
            output.streams.count_lines(false);
        }
        self.connections.wake_followers();
    }

    /// The daemon ends: everyone gets what is left of his answer, so far as his socket takes it at once.
    pub fn finish(&mut self, output: &mut Output, cx: &mut Context<'_>) {
        self.connections.stop_following();
        for client in self.connections.ids() {
            for _ in 0..LAST_PORTIONS {
                match self.connections.advance(client, cx) {
                    Outcome::Hungry(client) => self.feed(client, output, cx),
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
