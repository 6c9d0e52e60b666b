//! What the services write: PTY masters and pipes, read in turns and in bounded portions, split into
//! lines, prefixed, and queued for standard output. The supervisor never sees a byte of it.
//!
//! mio is edge-triggered: a stream that was left with bytes unread stays in the ready list here, for
//! the kernel will not tell again. When standard output stalls nothing is read, so that the services
//! wait (`log_overflow = "block"`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use slab::Slab;

use super::token::{Slot, Source};
use crate::base::{Moment, ServiceId};
use crate::output::prefix::{Prefix, Prefixer};
use crate::output::queue::{self, Queue};
use crate::output::splitter::Splitter;
use crate::sys::log_file::LogFile;

/// How long a partial line waits for its rest before it is shown as it is.
const QUIET: Duration = Duration::from_millis(100);

/// One read; a PTY gives 4 KiB at most, a pipe up to its 64 KiB.
const READ_BYTES: usize = 64 * 1024;

/// Bytes of one stream before the next one has its turn.
const STREAM_BUDGET: usize = 64 * 1024;

/// Bytes of all streams before signals, timers and clients are looked at again.
const TURN_BUDGET: usize = 256 * 1024;

/// Last words: what is read of a stream when its process has ended, even while standard output is
/// stalled. The kernel holds less than that for a PTY or a pipe; only a grandchild that goes on
/// writing reaches it.
const LAST_WORDS_BYTES: usize = 1024 * 1024;

/// A service's streams at once: those of its process, and of earlier ones whose grandchildren hold
/// them open.
const MAX_STREAMS_OF_A_SERVICE: usize = 8;

pub(super) struct Streams {
    slab: Slab<Stream>,
    next_generation: u32,
    ready: VecDeque<usize>,
    /// Streams with an unfinished line.
    partial: BTreeSet<usize>,
    sinks: BTreeMap<ServiceId, Sink>,
    prefixer: Prefixer,
    buffer: Vec<u8>,
}

struct Stream {
    service: ServiceId,
    generation: u32,
    file: File,
    splitter: Splitter,
    is_ready: bool,
    last_read: Moment,
}

/// Where a service's lines go.
struct Sink {
    prefix: Prefix,
    log_file: Option<LogFile>,
}

/// What one read led to.
enum Portion {
    Bytes(usize),
    Empty,
    End,
}

impl Streams {
    pub fn new(prefixer: Prefixer) -> Streams {
        Streams {
            slab: Slab::new(),
            next_generation: 0,
            ready: VecDeque::new(),
            partial: BTreeSet::new(),
            sinks: BTreeMap::new(),
            prefixer,
            buffer: Vec::new(),
        }
    }

    /// Makes the place for a service's lines, before its first stream.
    pub fn add_service(&mut self, service: ServiceId, name: &str, log_file: Option<LogFile>) {
        let prefix = self.prefixer.prefix(name);
        self.sinks.insert(service, Sink { prefix, log_file });
    }

    /// Opens every log file anew, after somebody renamed it.
    pub fn reopen_log_files(&mut self) -> Vec<String> {
        let files = self
            .sinks
            .values_mut()
            .filter_map(|sink| sink.log_file.as_mut());
        files
            .filter_map(|file| file.reopen().err().map(|error| error.to_string()))
            .collect()
    }

    /// Watches a stream. At most [`MAX_STREAMS_OF_A_SERVICE`] are kept; the oldest one goes.
    pub fn add(
        &mut self,
        service: ServiceId,
        fd: OwnedFd,
        registry: &Registry,
        now: Moment,
    ) -> io::Result<()> {
        let of_service: Vec<usize> = self
            .slab
            .iter()
            .filter(|(_, stream)| stream.service == service)
            .map(|(key, _)| key)
            .collect();
        if of_service.len() >= MAX_STREAMS_OF_A_SERVICE
            && let Some(oldest) = of_service
                .into_iter()
                .min_by_key(|key| self.slab[*key].generation)
        {
            self.remove(oldest);
        }
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let entry = self.slab.vacant_entry();
        let slot = Slot {
            index: entry.key() as u32,
            generation,
        };
        registry.register(
            &mut SourceFd(&fd.as_raw_fd()),
            Source::Stream(slot).token(),
            Interest::READABLE,
        )?;
        entry.insert(Stream {
            service,
            generation,
            file: File::from(fd),
            splitter: Splitter::new(),
            is_ready: false,
            last_read: now,
        });
        Ok(())
    }

    /// The kernel says that a stream has something, or has ended.
    pub fn on_ready(&mut self, slot: Slot) {
        let key = slot.index as usize;
        if let Some(stream) = self.slab.get_mut(key)
            && stream.generation == slot.generation
            && !stream.is_ready
        {
            stream.is_ready = true;
            self.ready.push_back(key);
        }
    }

    pub fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Reads the ready streams in turn until the budget is spent, nothing is left, or the queue is
    /// full. Complaints about log files are added to `messages`.
    pub fn pump(&mut self, queue: &mut Queue, messages: &mut Vec<String>, now: Moment) {
        let mut budget = TURN_BUDGET;
        while budget > 0
            && queue.len() < queue::HIGH_WATER
            && let Some(key) = self.ready.pop_front()
        {
            if !self.slab.contains(key) || !self.slab[key].is_ready {
                continue;
            }
            let spent = self.drain(key, STREAM_BUDGET.min(budget), queue, messages, now);
            budget = budget.saturating_sub(spent);
            if self.slab.get(key).is_some_and(|stream| stream.is_ready) {
                self.ready.push_back(key);
            }
        }
    }

    /// Reads what a service's streams still hold, since its process has ended.
    pub fn last_words(
        &mut self,
        service: ServiceId,
        queue: &mut Queue,
        messages: &mut Vec<String>,
        now: Moment,
    ) {
        let keys: Vec<usize> = self
            .slab
            .iter()
            .filter(|(_, stream)| stream.service == service)
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            if queue.len() >= queue::HARD_LIMIT {
                let limit = queue::HARD_LIMIT >> 20;
                messages.push(format!("the reader of standard output has stalled with {limit} MiB waiting: last words are lost"));
                return;
            }
            self.drain(key, LAST_WORDS_BYTES, queue, messages, now);
        }
    }

    /// Reads everything that every stream still holds: the end of the daemon.
    pub fn drain_all(&mut self, queue: &mut Queue, messages: &mut Vec<String>, now: Moment) {
        for service in self.sinks.keys().copied().collect::<Vec<_>>() {
            self.last_words(service, queue, messages, now);
        }
        for key in self.partial.iter().copied().collect::<Vec<_>>() {
            self.flush_partial(key, queue);
        }
    }

    /// When the first partial line has been quiet for long enough.
    pub fn deadline(&self) -> Option<Moment> {
        let partial = self.partial.iter().filter_map(|key| self.slab.get(*key));
        partial.map(|stream| stream.last_read.after(QUIET)).min()
    }

    /// Shows the partial lines that have been quiet for long enough.
    pub fn flush_quiet(&mut self, queue: &mut Queue, now: Moment) {
        if queue.len() >= queue::HIGH_WATER {
            return;
        }
        for key in self.partial.iter().copied().collect::<Vec<_>>() {
            let quiet = self
                .slab
                .get(key)
                .is_none_or(|stream| stream.last_read.after(QUIET) <= now);
            if quiet {
                self.flush_partial(key, queue);
            }
        }
    }

    /// Reads up to `budget` bytes of one stream; gives back how many there were.
    fn drain(
        &mut self,
        key: usize,
        budget: usize,
        queue: &mut Queue,
        messages: &mut Vec<String>,
        now: Moment,
    ) -> usize {
        let mut spent = 0;
        while spent < budget {
            match self.read(key) {
                Portion::Bytes(count) => {
                    spent += count;
                    self.take(key, count, queue, messages, now);
                }
                Portion::Empty => {
                    self.slab[key].is_ready = false;
                    break;
                }
                Portion::End => {
                    self.flush_partial(key, queue);
                    self.remove(key);
                    break;
                }
            }
        }
        spent
    }

    /// EIO is how a PTY master tells that the last slave was closed (tty(4) does not; the kernel does).
    fn read(&mut self, key: usize) -> Portion {
        self.buffer.resize(READ_BYTES, 0);
        loop {
            match self.slab[key].file.read(&mut self.buffer) {
                Ok(0) => return Portion::End,
                Ok(count) => return Portion::Bytes(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Portion::Empty,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Portion::End,
            }
        }
    }

    fn take(
        &mut self,
        key: usize,
        count: usize,
        queue: &mut Queue,
        messages: &mut Vec<String>,
        now: Moment,
    ) {
        let stream = &mut self.slab[key];
        stream.last_read = now;
        let Some(sink) = self.sinks.get_mut(&stream.service) else {
            return;
        };
        let bytes = &self.buffer[..count];
        stream
            .splitter
            .feed(bytes, &mut |piece| sink.prefix.write(piece, queue));
        if let Some(log_file) = &mut sink.log_file
            && let Some(complaint) = log_file.write(bytes)
        {
            messages.push(complaint);
        }
        if stream.splitter.has_partial() {
            self.partial.insert(key);
        } else {
            self.partial.remove(&key);
        }
    }

    fn flush_partial(&mut self, key: usize, queue: &mut Queue) {
        self.partial.remove(&key);
        let Some(stream) = self.slab.get_mut(key) else {
            return;
        };
        if let Some(sink) = self.sinks.get_mut(&stream.service) {
            stream
                .splitter
                .flush(&mut |piece| sink.prefix.write(piece, queue));
        }
    }

    /// Closing the descriptor takes it out of epoll: nobody else has a copy of it.
    fn remove(&mut self, key: usize) {
        self.partial.remove(&key);
        if self.slab.contains(key) {
            self.slab.remove(key);
        }
    }
}
