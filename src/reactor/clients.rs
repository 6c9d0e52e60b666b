//! The control socket's clients: each is served one request at a time, and none can hold the daemon up
//! or make it grow. Too much input, silence, or a reader that never reads costs that client its own
//! connection and nobody else anything.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::net::UnixStream;
use mio::{Interest, Registry};

use super::admission::{Admission, Holder as Place, MAX_CLIENTS, admit};
use super::table::Table;
use super::token::{Slot, Source};
use crate::api::stream::{History, Progress, Subscription};
use crate::base::allocation::make_room;
use crate::base::{ClientId, Moment};
use crate::control::message::{ErrorCode, Request, Response};
use crate::sys::limits::{self, Holder};
use crate::sys::released::{self, ClosedPromptly};
use crate::sys::socket::{self, Peer};
use crate::wire::json_line::{self, JsonLine};

/// How long a client may sit without a whole request, or without reading its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much is read of one client a turn.
const READ_BYTES: usize = 16 * 1024;

pub(super) struct Clients {
    table: Table<Client>,
    by_id: BTreeMap<ClientId, usize>,
    next_id: u64,
    /// Somebody left since this was asked.
    some_left: bool,
}

struct Client {
    id: ClientId,
    stream: ClosedPromptly<UnixStream>,
    /// The kernel refuses messages to it that bring descriptors.
    refuses_descriptors: bool,
    peer: Peer,
    output: Vec<u8>,
    written: usize,
    /// A request went to the supervisor and its answer is not here yet.
    waiting: bool,
    codec: JsonLine,
    /// What it reads: its answer goes on until that is over.
    feed: Option<Subscription>,
    /// It sent its last byte; it may still want its answer.
    ended: bool,
    /// To be closed once the output is written.
    closing: bool,
    idle_since: Moment,
}

/// What a client's readiness led to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing to do now.
    Nothing,
    /// A whole request.
    Asked {
        client: ClientId,
        peer: Peer,
        request: Request,
    },
    /// It has read what there was of its feed, and takes more.
    Hungry(ClientId),
    /// It is gone; the supervisor need not answer it.
    Gone(ClientId),
}

impl Clients {
    pub fn new() -> Clients {
        Clients {
            table: Table::default(),
            by_id: BTreeMap::new(),
            next_id: 1,
            some_left: false,
        }
    }

    /// Takes a new connection in. The clients that lost their places for it are returned.
    pub fn add(
        &mut self,
        mut stream: UnixStream,
        peer: Peer,
        registry: &Registry,
        now: Moment,
    ) -> Option<ClientId> {
        let few_descriptors = limits::is_kept_free(stream.as_raw_fd(), Holder::Client);
        let user = (peer.uid, socket::may_change(peer));
        let evicted = match admit(&self.places(), user, few_descriptors) {
            Admission::Free => None,
            Admission::Instead(id) => {
                self.evict(id, registry);
                Some(id)
            }
            Admission::Refused => {
                // The socket's buffer takes one short line; whether it is read is the client's affair.
                let _ = stream.write(&json_line::answer(&too_many()));
                drop(ClosedPromptly::new(stream));
                return None;
            }
        };
        if few_descriptors {
            stream = with_low_number(stream);
        }
        let id = ClientId(self.next_id);
        let slot = self.table.next_slot();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if registry
            .register(&mut stream, Source::Client(slot).token(), interest)
            .is_err()
        {
            return evicted;
        }
        self.next_id += 1;
        let refuses_descriptors = released::refuse_descriptors(stream.as_fd());
        let place = self.table.insert(Client {
            id,
            stream: ClosedPromptly::new(stream),
            refuses_descriptors,
            peer,
            output: Vec::new(),
            written: 0,
            waiting: false,
            codec: JsonLine::default(),
            feed: None,
            ended: false,
            closing: false,
            idle_since: now,
        });
        self.by_id.insert(id, place);
        evicted
    }

    /// Whether somebody left since this was asked: what was answered lies about in the heap.
    pub fn some_left(&mut self) -> bool {
        std::mem::take(&mut self.some_left)
    }

    /// The client of a slot, if it is still the one the event was for.
    pub fn at(&self, slot: Slot) -> Option<ClientId> {
        let place = self.table.place_of(slot)?;
        Some(self.table[place].id)
    }

    /// Moves one client on: writes what is owed, reads what is there, gives back at most one request.
    /// `hung_up`: the other end is closed, nobody will read an answer.
    pub fn advance(
        &mut self,
        id: ClientId,
        hung_up: bool,
        registry: &Registry,
        now: Moment,
    ) -> Outcome {
        let Some(&key) = self.by_id.get(&id) else {
            return Outcome::Nothing;
        };
        let client = &mut self.table[key];
        let step = client.step(hung_up, now);
        match step {
            Step::Rest => Outcome::Nothing,
            Step::Hungry => Outcome::Hungry(id),
            Step::Request(request) => Outcome::Asked {
                client: id,
                peer: client.peer,
                request,
            },
            Step::Close => {
                self.close(id, registry);
                Outcome::Gone(id)
            }
        }
    }

    /// Gives a client its answer; one that is gone does not get it.
    pub fn reply(&mut self, id: ClientId, response: &Response, now: Moment) {
        let Some(&key) = self.by_id.get(&id) else {
            return;
        };
        let client = &mut self.table[key];
        client.waiting = false;
        client.output = json_line::answer(response);
        client.written = 0;
        client.idle_since = now;
    }

    /// Begins a client's answer, which goes on as a feed.
    pub fn begin_feed(
        &mut self,
        id: ClientId,
        opening: &Response,
        feed: Subscription,
        now: Moment,
    ) {
        self.reply(id, opening, now);
        if let Some(&key) = self.by_id.get(&id) {
            let client = &mut self.table[key];
            client.waiting = true;
            client.feed = Some(feed);
        }
    }

    /// Makes room for so many bytes of an answer; false where the system grants no memory for them.
    pub fn make_room(&mut self, id: ClientId, bytes: usize) -> bool {
        let Some(&key) = self.by_id.get(&id) else {
            return true;
        };
        make_room(&mut self.table[key].output, bytes)
    }

    /// Adds to what a client is sent what its subscription yields, up to `room` bytes and one step. Whether the client
    /// can be moved on at once.
    pub fn feed(&mut self, id: ClientId, history: &impl History, room: usize) -> bool {
        let Some(&key) = self.by_id.get(&id) else {
            return false;
        };
        let client = &mut self.table[key];
        let Some(subscription) = &mut client.feed else {
            return false;
        };
        let (codec, out) = (&mut client.codec, &mut client.output);
        let progress = subscription.read(history, codec, room, out);
        if progress == Progress::Over {
            client.feed = None;
            client.waiting = false;
        }
        // It may stay for as long as the client does not read.
        client.output.shrink_to_fit();
        progress == Progress::More || !client.output.is_empty()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.table.len()
    }

    /// Nothing comes any more: who follows has his answer's end when he has read what there is.
    pub fn end_feeds(&mut self) {
        for (_, client) in self.table.iter_mut() {
            if let Some(feed) = &mut client.feed {
                feed.stop_following();
            }
        }
    }

    /// Whether anyone reads the services' output.
    pub fn reads_logs(&self) -> bool {
        let reads = |client: &Client| matches!(client.feed, Some(Subscription::Logs(_)));
        self.table.values().any(reads)
    }

    /// Everyone who has read all there was and takes more.
    pub fn hungry(&self) -> Vec<ClientId> {
        let clients = self.table.values();
        let hungry = clients.filter(|client| client.feed.is_some() && client.output.is_empty());
        hungry.map(|client| client.id).collect()
    }

    /// When the first client's patience is over; None while no client is there but those that wait for
    /// the supervisor's answer.
    pub fn deadline(&self) -> Option<Moment> {
        let idle = self.table.values().filter(|client| !client.waiting);
        idle.map(|client| client.idle_since.after(PATIENCE)).min()
    }

    /// The clients that are idle for too long.
    pub fn overdue(&self, now: Moment) -> Vec<ClientId> {
        let overdue =
            |client: &&Client| !client.waiting && client.idle_since.after(PATIENCE) <= now;
        self.table
            .values()
            .filter(overdue)
            .map(|client| client.id)
            .collect()
    }

    /// Everyone.
    pub fn ids(&self) -> Vec<ClientId> {
        self.by_id.keys().copied().collect()
    }

    pub fn close(&mut self, id: ClientId, registry: &Registry) {
        if let Some(key) = self.by_id.remove(&id) {
            self.some_left = true;
            let mut client = self.table.remove(key);
            // Closing the descriptor takes it out of epoll anyhow.
            let _ = registry.deregister(&mut *client.stream);
        }
    }

    /// Those that are behind with an answer of many lines.
    pub fn slow_readers(&self) -> Vec<ClientId> {
        let is_slow = |client: &&Client| client.feed.is_some() && !client.output.is_empty();
        let clients = self.table.values();
        clients.filter(is_slow).map(|client| client.id).collect()
    }

    fn places(&self) -> Vec<Place> {
        let place = |client: &Client| Place {
            id: client.id,
            uid: client.peer.uid,
            trusted: socket::may_change(client.peer),
            waiting: client.waiting,
            idle_since: client.idle_since,
        };
        self.table.values().map(place).collect()
    }

    /// Takes a client's place, with a word unless it is in the middle of its answer.
    fn evict(&mut self, id: ClientId, registry: &Registry) {
        if let Some(&key) = self.by_id.get(&id) {
            let client = &mut self.table[key];
            if client.output.is_empty() {
                let _ = client.stream.write(&json_line::answer(&too_many()));
            }
        }
        self.close(id, registry);
    }
}

enum Step {
    Rest,
    Hungry,
    Request(Request),
    Close,
}

impl Client {
    fn step(&mut self, hung_up: bool, now: Moment) -> Step {
        if hung_up {
            return Step::Close;
        }
        loop {
            match self.write_out(now) {
                Ok(true) if self.closing => return Step::Close,
                Ok(true) => {}
                Ok(false) => return Step::Rest,
                Err(_) => return Step::Close,
            }
            if self.feed.is_some() {
                return Step::Hungry;
            }
            if self.waiting {
                return Step::Rest;
            }
            match self.codec.next_request() {
                Ok(Some(request)) => {
                    self.waiting = true;
                    return Step::Request(request);
                }
                Ok(None) if self.ended => return Step::Close,
                Ok(None) => match self.read_in() {
                    Ok(true) => {}
                    Ok(false) => return Step::Rest,
                    Err(_) => return Step::Close,
                },
                Err(refusal) => self.refuse(&refusal),
            }
        }
    }

    /// A client that sends nonsense is told so and shown the door.
    fn refuse(&mut self, refusal: &Response) {
        self.output = json_line::answer(refusal);
        self.written = 0;
        self.closing = true;
    }

    /// True when nothing is owed any more.
    fn write_out(&mut self, now: Moment) -> io::Result<bool> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count;
                    self.idle_since = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output = Vec::new();
        self.written = 0;
        Ok(true)
    }

    /// True when there may be a line now, or the end.
    fn read_in(&mut self) -> io::Result<bool> {
        let mut buffer = [0; READ_BYTES];
        loop {
            let read = || self.stream.read(&mut buffer);
            match released::read_promptly(self.refuses_descriptors, read) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(true);
                }
                Ok(count) => {
                    self.codec.receive(&buffer[..count]);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The same connection under the lowest number that is free, which the evicted has just left: so the last numbers
/// stay free.
fn with_low_number(stream: UnixStream) -> UnixStream {
    let stream = std::os::unix::net::UnixStream::from(stream);
    let low = stream.try_clone();
    UnixStream::from_std(low.unwrap_or(stream))
}

fn too_many() -> Response {
    Response::Error {
        code: ErrorCode::TooManyClients,
        message: format!(
            "more clients are connected than {MAX_CLIENTS}, a user's share or the limit of open files allow"
        ),
        hint: Some("close idle connections".into()),
    }
}
