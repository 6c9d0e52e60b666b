//! What the services write: PTY masters and pipes, read in turns and in bounded portions, and given to
//! each service's sink. The supervisor never sees a byte of it.
//!
//! mio is edge-triggered: a stream that was left with bytes unread stays in the ready list here, for
//! the kernel will not tell again. When standard output stalls, the services that write to it and have
//! `log_overflow = "block"` are not read, and so wait.

mod ends;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::Interest;
use mio::unix::SourceFd;

use super::context::Context;
use super::outlet::Outlet;
use super::stream::{NewStream, Portion, READ_BYTES, Stream};
use super::table::Table;
use super::token::{Slot, Source};
use crate::base::{JobId, Moment, ServiceId};
use crate::config::model::{Service, TtySize};
use crate::output::format::Stamp;
use crate::output::queue::Queue;
use crate::output::recent::{Mark, Recent};
use crate::output::sink::Sink;
use crate::sys::{clock, pty};

/// How long a partial line waits for its rest before it is shown as it is.
const QUIET: Duration = Duration::from_millis(100);

/// Bytes of one stream before the next one has its turn.
const STREAM_BUDGET: usize = 64 * 1024;

/// Bytes of all streams before signals, timers and clients are looked at again.
const TURN_BUDGET: usize = 256 * 1024;

/// A service's streams at once: those of its process, and of earlier ones whose grandchildren hold
/// them open.
const MAX_STREAMS_OF_A_SERVICE: usize = 8;

pub(super) struct Streams {
    table: Table<Stream>,
    /// Streams with bytes to read.
    ready: VecDeque<usize>,
    /// Those that wait for room before standard output.
    held: VecDeque<usize>,
    /// Streams with an unfinished line.
    partial: BTreeSet<usize>,
    /// Boxed, since a tree keeps room for more than it holds.
    outlets: BTreeMap<ServiceId, Box<Outlet>>,
    /// The streams of each service that has any, in the order in which they came.
    of_service: BTreeMap<ServiceId, Vec<u32>>,
    /// Services of which the log does not say yet that lines were dropped.
    owing: BTreeSet<ServiceId>,
    /// Streams that wait for their service's log file.
    held_by_file: Vec<usize>,
    /// Services whose log file needs a child.
    needing: BTreeSet<ServiceId>,
    /// Jobs in whose output the text was found that they are ready with.
    found: Vec<JobId>,
    /// Something was remembered since [`Streams::take_news`].
    news: bool,
    began: Moment,
    buffer: Vec<u8>,
}

impl Streams {
    pub fn new(began: Moment) -> Streams {
        Streams {
            table: Table::default(),
            ready: VecDeque::new(),
            held: VecDeque::new(),
            partial: BTreeSet::new(),
            outlets: BTreeMap::new(),
            of_service: BTreeMap::new(),
            owing: BTreeSet::new(),
            held_by_file: Vec::new(),
            needing: BTreeSet::new(),
            found: Vec::new(),
            news: false,
            began,
            buffer: Vec::new(),
        }
    }

    /// Makes the place for a service's output, before its first stream.
    pub fn add_service(&mut self, service: ServiceId, config: &Service, sink: Sink) {
        let outlet = Outlet::new(config, sink);
        self.note_need(service, &outlet);
        self.outlets.insert(service, Box::new(outlet));
    }

    /// Whether a service goes on with the log file it has, or with none.
    pub fn keeps_file(&self, service: ServiceId, config: &Service) -> bool {
        let outlet = self.outlets.get(&service);
        outlet.is_some_and(|outlet| outlet.keeps_file(config))
    }

    /// Other settings for a service's output, which goes on; a file that is the same stays open. Gives back whether it is
    /// another.
    pub fn fit_service(&mut self, service: ServiceId, config: &Service, sink: Sink) -> bool {
        let Some(outlet) = self.outlets.get_mut(&service) else {
            self.add_service(service, config, sink);
            return false;
        };
        let is_other = outlet.fit(config, sink);
        if is_other {
            self.needing.insert(service);
        }
        is_other
    }

    /// Nothing of a service is needed any more.
    pub fn forget(&mut self, service: ServiceId) {
        for key in self.keys_of(service) {
            self.remove(key);
        }
        self.owing.remove(&service);
        self.needing.remove(&service);
        self.outlets.remove(&service);
    }

    /// The last output of a service.
    pub fn recent(&self, service: ServiceId) -> Option<&Recent> {
        self.outlets.get(&service).map(|outlet| &outlet.sink.recent)
    }

    /// Forgets the older half of what is remembered of each service.
    pub fn forget_half(&mut self) {
        for outlet in self.outlets.values_mut() {
            outlet.sink.recent.forget_half();
        }
    }

    /// How many lines of a service were dropped.
    pub fn dropped(&self, service: ServiceId) -> u64 {
        self.outlets
            .get(&service)
            .map_or(0, |outlet| outlet.sink.dropped())
    }

    /// Somebody reads what is remembered, or nobody any more.
    pub fn count_lines(&mut self, on: bool) {
        for outlet in self.outlets.values_mut() {
            outlet.sink.recent.count_lines(on);
        }
    }

    /// Whether anything was remembered since the last time this was asked.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Has every log file opened again, after another program renamed it.
    pub fn reopen_log_files(&mut self) {
        for (service, outlet) in &mut self.outlets {
            if outlet.ask_to_reopen() {
                self.needing.insert(*service);
            }
        }
    }

    /// The services whose log file needs a child, since this was asked.
    pub fn take_needing(&mut self) -> BTreeSet<ServiceId> {
        std::mem::take(&mut self.needing)
    }

    /// A service's name and log file, for what children do.
    pub fn outlet(&mut self, service: ServiceId) -> Option<&mut Outlet> {
        self.outlets.get_mut(&service).map(|outlet| &mut **outlet)
    }

    /// Something was done for a log file: what it needs next is looked at, and who waits for it has a turn.
    pub fn after_help(&mut self, service: ServiceId) {
        let outlet = self.outlets.get(&service);
        if outlet.is_some_and(|outlet| outlet.needs_child()) {
            self.needing.insert(service);
        }
        self.ready.extend(self.held_by_file.drain(..));
    }

    /// The services that have a log file.
    pub fn with_log_file(&self) -> Vec<ServiceId> {
        let with = self
            .outlets
            .iter()
            .filter(|(_, outlet)| outlet.settings().is_some());
        with.map(|(service, _)| *service).collect()
    }

    /// Gives this size to every terminal that has the daemon's.
    pub fn resize(&self, size: TtySize) {
        for stream in self.table.values().filter(|stream| stream.follows_size) {
            // A terminal whose programs are gone has nobody to tell.
            let _ = pty::set_size(&stream.file, size.rows, size.columns);
        }
    }

    /// Watches a stream. At most [`MAX_STREAMS_OF_A_SERVICE`] are kept; the oldest one is cut off, and one
    /// whose job is over before one whose job lives.
    pub fn add(
        &mut self,
        new: NewStream,
        queue: &mut Queue,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let of_service = self.keys_of(new.service);
        if of_service.len() >= MAX_STREAMS_OF_A_SERVICE
            && let Some(oldest) = of_service
                .into_iter()
                .min_by_key(|key| (self.table[*key].job.is_some(), self.table.generation(*key)))
        {
            self.cut_off(oldest, queue, cx);
        }
        let slot = self.table.next_slot();
        cx.registry.register(
            &mut SourceFd(&new.fd.as_raw_fd()),
            Source::Stream(slot).token(),
            Interest::READABLE,
        )?;
        let keys = self.of_service.entry(new.service).or_default();
        keys.push(slot.index);
        self.table.insert(Stream::new(new, cx.now));
        Ok(())
    }

    /// Jobs in whose output their text was found since this was asked.
    pub fn take_found(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.found)
    }

    fn keys_of(&self, service: ServiceId) -> Vec<usize> {
        let keys = self.of_service.get(&service).into_iter().flatten();
        keys.map(|key| *key as usize).collect()
    }

    /// The kernel says that a stream has something, or has ended.
    pub fn on_ready(&mut self, slot: Slot) {
        if let Some(place) = self.table.place_of(slot) {
            self.set_ready(place);
        }
    }

    fn set_ready(&mut self, key: usize) {
        if let Some(stream) = self.table.get_mut(key)
            && !stream.is_ready
        {
            stream.is_ready = true;
            self.ready.push_back(key);
        }
    }

    /// The kernel may have had something to tell: every stream is looked at.
    pub fn look_at_all(&mut self) {
        for (key, stream) in self.table.iter_mut() {
            if !stream.is_ready {
                stream.is_ready = true;
                self.ready.push_back(key);
            }
        }
    }

    /// Whether [`Streams::pump`] has something to do.
    pub fn has_work(&self, queue: &mut Queue) -> bool {
        let waits_for_room = !self.held.is_empty() || !self.owing.is_empty();
        !self.ready.is_empty() || (waits_for_room && queue.accepts())
    }

    /// Reads the ready streams in turn until the budget is spent or nothing is left that may be read.
    pub fn pump(&mut self, queue: &mut Queue, cx: &mut Context<'_>) {
        if queue.accepts() {
            self.tell_dropped(queue, cx);
            self.ready.append(&mut self.held);
        }
        let mut budget = TURN_BUDGET;
        while budget > 0
            && let Some(key) = self.ready.pop_front()
        {
            let Some(stream) = self.table.get(key).filter(|stream| stream.is_ready) else {
                continue;
            };
            let service = stream.service;
            if self.waits(service) && !queue.accepts() {
                self.held.push_back(key);
                continue;
            }
            if self.waits_for_file(service) {
                self.held_by_file.push(key);
                continue;
            }
            let spent = self.drain(key, STREAM_BUDGET.min(budget), false, queue, cx);
            budget = budget.saturating_sub(spent);
            if self.table.get(key).is_some_and(|stream| stream.is_ready) {
                self.ready.push_back(key);
            }
        }
    }

    fn waits_for_file(&mut self, service: ServiceId) -> bool {
        let outlet = self.outlets.get_mut(&service);
        outlet.is_some_and(|outlet| outlet.is_full())
    }

    fn note_need(&mut self, service: ServiceId, outlet: &Outlet) {
        if outlet.needs_child() {
            self.needing.insert(service);
        }
    }

    fn waits(&self, service: ServiceId) -> bool {
        self.outlets
            .get(&service)
            .is_some_and(|outlet| outlet.sink.waits())
    }

    fn tell_dropped(&mut self, queue: &mut Queue, cx: &mut Context<'_>) {
        let stamp = self.stamp(cx.now);
        for service in std::mem::take(&mut self.owing) {
            if let Some(outlet) = self.outlets.get_mut(&service) {
                outlet.sink.tell_dropped(stamp, queue);
                if outlet.sink.owes_a_word() {
                    self.owing.insert(service);
                }
            }
        }
    }

    /// When the first partial line has been quiet for long enough.
    pub fn deadline(&self) -> Option<Moment> {
        let partial = self.partial.iter().filter_map(|key| self.table.get(*key));
        partial.map(|stream| stream.last_read.after(QUIET)).min()
    }

    /// Shows the partial lines that have been quiet for long enough.
    pub fn flush_quiet(&mut self, queue: &mut Queue, cx: &mut Context<'_>) {
        if !queue.accepts() {
            return;
        }
        for key in self.partial.iter().copied().collect::<Vec<_>>() {
            let quiet = self
                .table
                .get(key)
                .is_none_or(|stream| stream.last_read.after(QUIET) <= cx.now);
            if quiet {
                self.flush(key, Mark::Quiet, queue, cx);
            }
        }
    }

    /// Reads up to `budget` bytes of one stream; gives back how many there were. `last_words`: also what
    /// there is no room for, and until there is nothing.
    fn drain(
        &mut self,
        key: usize,
        budget: usize,
        last_words: bool,
        queue: &mut Queue,
        cx: &mut Context<'_>,
    ) -> usize {
        let stamp = self.stamp(cx.now);
        let service = self.table[key].service;
        let waits = !last_words && self.waits(service);
        let mut spent = 0;
        while spent < budget && (!waits || queue.accepts()) {
            if !last_words && spent > 0 && self.waits_for_file(service) {
                break;
            }
            if self.buffer.is_empty() {
                // Not filled with zeros here: fresh memory is, and most services need little of it.
                self.buffer = vec![0; READ_BYTES];
            }
            let (count, portion) = self.table[key].gather(&mut self.buffer, last_words);
            spent += count;
            if count > 0 {
                self.take(key, count, stamp, queue, cx);
            }
            match portion {
                Portion::More => {}
                Portion::Empty => {
                    self.table[key].is_ready = false;
                    break;
                }
                Portion::End if self.table[key].outlasts_its_end() => {
                    self.table[key].is_ready = false;
                    break;
                }
                Portion::End => {
                    self.end(key, queue, cx);
                    break;
                }
                Portion::Lost(error) => {
                    let name = self.name_of(key);
                    cx.messages.push(format!(
                        "{name}: cannot read its output: {error}; the rest of it is lost"
                    ));
                    self.end(key, queue, cx);
                    break;
                }
            }
        }
        spent
    }

    fn name_of(&self, key: usize) -> &str {
        let outlet = self.outlets.get(&self.table[key].service);
        outlet.map_or("", |outlet| &outlet.name)
    }

    /// One moment for all the lines of a turn.
    fn stamp(&self, now: Moment) -> Stamp {
        let elapsed = now.since(self.began).as_nanos();
        Stamp {
            wall: clock::wall(),
            elapsed: u64::try_from(elapsed).unwrap_or(u64::MAX),
        }
    }

    fn take(
        &mut self,
        key: usize,
        count: usize,
        stamp: Stamp,
        queue: &mut Queue,
        cx: &mut Context<'_>,
    ) {
        let stream = &mut self.table[key];
        stream.last_read = cx.now;
        stream.is_silent = false;
        let Some(outlet) = self.outlets.get_mut(&stream.service) else {
            return;
        };
        self.news = true;
        let bytes = &self.buffer[..count];
        if let Some(awaited) = &mut stream.awaited
            && awaited.is_in(bytes)
        {
            self.found.push(awaited.job);
            stream.awaited = None;
        }
        if outlet.take(&mut stream.text, bytes, stamp, queue, cx) {
            self.needing.insert(stream.service);
        }
        if outlet.sink.owes_a_word() {
            self.owing.insert(stream.service);
        }
        if stream.text.has_partial() {
            self.partial.insert(key);
        } else {
            self.partial.remove(&key);
        }
    }

    fn flush(&mut self, key: usize, mark: Mark, queue: &mut Queue, cx: &mut Context<'_>) {
        self.partial.remove(&key);
        let stamp = self.stamp(cx.now);
        let Some(stream) = self.table.get_mut(key) else {
            return;
        };
        if let Some(outlet) = self.outlets.get_mut(&stream.service) {
            self.news = true;
            if outlet.flush(&mut stream.text, mark, stamp, queue, cx) {
                self.needing.insert(stream.service);
            }
        }
    }
}
