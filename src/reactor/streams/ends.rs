//! How a stream ends: with its last words, at the end of the daemon, or cut off because a service has too many.

use super::{MAX_STREAMS_OF_A_SERVICE, Streams};
use crate::base::{JobId, ServiceId};
use crate::output::queue::{self, Queue};
use crate::output::recent::Mark;
use crate::reactor::context::Context;

/// Last words: what is read of a stream when its process has ended, even while standard output is
/// stalled. The kernel holds less than that for a PTY or a pipe; only a grandchild that goes on
/// writing reaches it.
const LAST_WORDS_BYTES: usize = 1024 * 1024;

impl Streams {
    /// Reads what a service's streams still hold, since these jobs have ended: their terminals end with them.
    pub fn last_words(
        &mut self,
        service: ServiceId,
        died: &[JobId],
        queue: &mut Queue,
        cx: &mut Context<'_>,
    ) {
        let mut is_stalled = false;
        for key in self.keys_of(service) {
            self.table[key].job.take_if(|job| died.contains(job));
            is_stalled = queue.len() >= queue::HARD_LIMIT;
            match is_stalled {
                // The kernel may have reported its end already.
                true => self.set_ready(key),
                false => _ = self.drain(key, LAST_WORDS_BYTES, true, queue, cx),
            }
        }
        if is_stalled {
            let limit = queue::HARD_LIMIT >> 20;
            cx.messages.push(format!("the reader of standard output has stalled with {limit} MiB waiting: last words are lost"));
        }
    }

    /// Reads everything that every stream still holds: the end of the daemon.
    pub fn finish(&mut self, queue: &mut Queue, cx: &mut Context<'_>) {
        for service in self.of_service.keys().copied().collect::<Vec<_>>() {
            self.last_words(service, &[], queue, cx);
        }
        let unfinished = self
            .table
            .iter()
            .filter(|(_, stream)| stream.text.has_partial());
        for key in unfinished.map(|(key, _)| key).collect::<Vec<_>>() {
            self.flush(key, Mark::End, queue, cx);
        }
        self.tell_dropped(queue, cx);
    }

    /// Closes a stream that processes still hold open, and reports it: what they write from then on is lost.
    pub(super) fn cut_off(&mut self, key: usize, queue: &mut Queue, cx: &mut Context<'_>) {
        self.drain(key, LAST_WORDS_BYTES, true, queue, cx);
        if self.table.get(key).is_none() {
            return;
        }
        let (name, pid) = (self.name_of(key).to_owned(), self.table[key].text.pid());
        cx.messages.push(format!(
            "{name}: its output of process {pid} is closed, which a child of that process still holds open: \
             {MAX_STREAMS_OF_A_SERVICE} outputs of a service are read, and what is written to this one is lost"
        ));
        self.end(key, queue, cx);
    }

    pub(super) fn end(&mut self, key: usize, queue: &mut Queue, cx: &mut Context<'_>) {
        if !self.table[key].is_silent {
            self.flush(key, Mark::End, queue, cx);
        }
        self.remove(key);
    }

    /// Closing the descriptor takes it out of epoll: nobody else has a copy of it.
    pub(super) fn remove(&mut self, key: usize) {
        self.partial.remove(&key);
        let Some(stream) = self.table.take(key) else {
            return;
        };
        if let Some(keys) = self.of_service.get_mut(&stream.service) {
            keys.retain(|known| *known as usize != key);
            if keys.is_empty() {
                self.of_service.remove(&stream.service);
            }
        }
    }
}
