//! The control socket's connections: each is served one request at a time, and none can hold the daemon up
//! or make it grow. Too much input, silence, or a client that never reads costs that client its own
//! connection, and the others nothing.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use mio::net::UnixStream;
use mio::{Interest, Registry};

use super::admission::{Admission, Holder as Place, MAX_CLIENTS, admit};
use super::context::Context;
use super::table::Table;
use super::token::{Slot, Source};
use crate::api::access::{Access, Caller};
use crate::api::stream::History;
use crate::api::verbs::Stream;
use crate::base::{ClientId, Moment};
use crate::control::message::{ErrorCode, Request, Response};
use crate::supervisor::event::Event;
use crate::sys::limits::{self, Holder};
use crate::sys::released::ClosedPromptly;
use crate::sys::socket;
use crate::wire::json_line;
use connection::{Connection, Step};

mod connection;

/// New connections taken a turn.
const ACCEPTS_A_TURN: usize = 64;

/// A connection that could not be taken, for want of a descriptor, is tried again after this.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Connections that are moved on a turn without an event.
pub(super) const CLIENTS_A_TURN: usize = 64;

pub(super) struct Connections {
    /// The control socket; None where there is none.
    listener: Option<UnixListener>,
    /// More connections wait than one turn takes.
    accept_again: bool,
    /// When connections that could not be taken are tried again.
    accept_at: Option<Moment>,
    table: Table<Connection>,
    by_id: BTreeMap<ClientId, usize>,
    next_id: u64,
    /// Clients with something to write, or that may have more to ask, without an event to come.
    due: VecDeque<ClientId>,
    /// A client left since this was asked.
    some_left: bool,
}

/// What a connection's turn led to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing to do now.
    Nothing,
    /// A whole request.
    Asked {
        client: ClientId,
        caller: Caller,
        request: Request,
    },
    /// The client has read what there was of its subscription, and takes more.
    Hungry(ClientId),
}

/// What came of taking new connections.
#[derive(Debug)]
pub(super) enum Accepted {
    /// All that waited.
    All,
    /// As many as one turn takes.
    Some,
    /// The kernel refused one.
    Failed(io::Error),
}

impl Connections {
    pub fn new(listener: Option<UnixListener>) -> Connections {
        Connections {
            listener,
            accept_again: false,
            accept_at: None,
            table: Table::default(),
            by_id: BTreeMap::new(),
            next_id: 1,
            due: VecDeque::new(),
            some_left: false,
        }
    }

    /// Whether more connections wait than one turn took.
    pub fn has_more_to_accept(&self) -> bool {
        self.accept_again
    }

    /// Whether there is something to do without an event to come.
    pub fn has_work(&self) -> bool {
        self.accept_again || !self.due.is_empty()
    }

    /// Takes new connections in.
    pub fn accept(&mut self, cx: &mut Context<'_>) -> Accepted {
        for _ in 0..ACCEPTS_A_TURN {
            let Some(accepted) = self.listener.as_ref().map(socket::accept) else {
                return Accepted::Some;
            };
            match accepted {
                Ok(stream) => self.take_in(UnixStream::from_std(stream), cx),
                Err(error) => {
                    self.accept_again = false;
                    // The kernel tells of those who wait only once: without a descriptor for them now, they are
                    // looked for again.
                    let none_waits = error.kind() == io::ErrorKind::WouldBlock;
                    self.accept_at = (!none_waits).then(|| cx.now.after(ACCEPT_RETRY));
                    return match none_waits {
                        true => Accepted::All,
                        false => Accepted::Failed(error),
                    };
                }
            }
        }
        // The kernel tells of the listener once: what this turn left is the next one's.
        self.accept_again = true;
        Accepted::Some
    }

    /// Takes a new connection in, if there is a place for it. A client may lose its place for it.
    fn take_in(&mut self, mut stream: UnixStream, cx: &mut Context<'_>) {
        let Ok(peer) = socket::peer(stream.as_fd()) else {
            return;
        };
        let is_trusted = socket::may_change(peer);
        let few_descriptors = limits::is_kept_free(stream.as_raw_fd(), Holder::Client);
        match admit(&self.places(), (peer.uid, is_trusted), few_descriptors) {
            Admission::Free => {}
            Admission::Instead(id) => self.evict(id, cx),
            Admission::Refused => {
                // The socket's buffer takes one short line; whether it is read is the client's affair.
                let _ = stream.write(&json_line::answer(&too_many()));
                drop(ClosedPromptly::new(stream));
                return;
            }
        }
        if few_descriptors {
            stream = with_low_number(stream);
        }
        let token = Source::Client(self.table.next_slot()).token();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if cx.registry.register(&mut stream, token, interest).is_err() {
            return;
        }
        let id = ClientId(self.next_id);
        self.next_id += 1;
        let caller = Caller::Peer {
            uid: peer.uid,
            is_trusted,
        };
        let connection = Connection::new(id, stream, caller, cx.now);
        let place = self.table.insert(connection);
        self.by_id.insert(id, place);
    }

    /// Whether a client left since this was asked: what was answered is scattered in the heap.
    pub fn some_left(&mut self) -> bool {
        std::mem::take(&mut self.some_left)
    }

    /// Moves the connection of a slot on, if it is still the one the event was for.
    pub fn on_ready(&mut self, slot: Slot, hung_up: bool, cx: &mut Context<'_>) -> Outcome {
        match self.table.place_of(slot) {
            Some(place) => self.advance_at(place, hung_up, cx),
            None => Outcome::Nothing,
        }
    }

    /// Moves a connection on; nothing for a client that is gone.
    pub fn advance(&mut self, id: ClientId, cx: &mut Context<'_>) -> Outcome {
        match self.by_id.get(&id) {
            Some(&place) => self.advance_at(place, false, cx),
            None => Outcome::Nothing,
        }
    }

    fn advance_at(&mut self, place: usize, hung_up: bool, cx: &mut Context<'_>) -> Outcome {
        let connection = &mut self.table[place];
        let (client, caller) = (connection.id, connection.caller);
        match connection.step(hung_up, cx.now) {
            Step::Rest => Outcome::Nothing,
            Step::Hungry => Outcome::Hungry(client),
            Step::Request(request) => Outcome::Asked {
                client,
                caller,
                request,
            },
            Step::Close => {
                self.close(client, cx.registry);
                cx.tell(Event::ClientGone { client });
                Outcome::Nothing
            }
        }
    }

    /// The next client to be moved on without an event.
    pub fn next_due(&mut self) -> Option<ClientId> {
        self.due.pop_front()
    }

    /// Whether more clients are due than one turn moves on.
    pub fn is_behind(&self) -> bool {
        self.due.len() > CLIENTS_A_TURN
    }

    /// Gives a client its answer; one that is gone does not get it.
    pub fn reply(&mut self, id: ClientId, response: &Response, now: Moment) {
        if let Some(connection) = self.get_mut(id) {
            connection.answer(response, now);
            self.due.push_back(id);
        }
    }

    /// Begins a client's answer, which goes on.
    pub fn begin_stream(&mut self, id: ClientId, stream: Stream, now: Moment) {
        if let Some(connection) = self.get_mut(id) {
            connection.begin_stream(stream, now);
            self.due.push_back(id);
        }
    }

    /// Makes room for this many bytes of an answer; false where the system grants no memory for them.
    pub fn make_room(&mut self, id: ClientId, bytes: usize) -> bool {
        let connection = self.get_mut(id);
        connection.is_none_or(|connection| connection.make_room(bytes))
    }

    /// Adds to what a client is sent what its subscription yields, up to `room` bytes and one step.
    pub fn feed(&mut self, id: ClientId, history: &impl History, room: usize) {
        if let Some(connection) = self.get_mut(id)
            && connection.feed(history, room)
        {
            self.due.push_back(id);
        }
    }

    /// There is something new: the clients that have read all there was are due.
    pub fn wake_followers(&mut self) {
        let hungry = self.table.values().filter(|client| client.is_hungry());
        for client in hungry {
            if !self.due.contains(&client.id) {
                self.due.push_back(client.id);
            }
        }
    }

    /// Nothing comes any more: answers that go on end with what there is.
    pub fn stop_following(&mut self) {
        for (_, connection) in self.table.iter_mut() {
            connection.stop_following();
        }
    }

    /// Whether a client reads the services' output.
    pub fn reads_logs(&self) -> bool {
        self.table.values().any(Connection::reads_logs)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.table.len()
    }

    /// All, in the order in which they came.
    pub fn ids(&self) -> Vec<ClientId> {
        self.by_id.keys().copied().collect()
    }

    /// Those that are behind with an answer that goes on.
    pub fn slow_readers(&self) -> Vec<ClientId> {
        self.those(Connection::is_slow)
    }

    /// When the first client has been idle for too long, or connections are to be taken again. A client that waits for
    /// the daemon has no such moment.
    pub fn deadline(&self) -> Option<Moment> {
        let idle = self.table.values().filter_map(Connection::deadline);
        idle.chain(self.accept_at).min()
    }

    /// Closes what has been idle for too long. Whether connections are to be taken again.
    pub fn on_deadline(&mut self, cx: &mut Context<'_>) -> bool {
        let now = cx.now;
        let overdue = |client: &Connection| client.deadline().is_some_and(|at| at <= now);
        for id in self.those(overdue) {
            self.close(id, cx.registry);
        }
        self.accept_at.take_if(|at| *at <= now).is_some()
    }

    pub fn close(&mut self, id: ClientId, registry: &Registry) {
        if let Some(place) = self.by_id.remove(&id) {
            self.some_left = true;
            let mut connection = self.table.remove(place);
            // Closing the descriptor takes it out of epoll anyhow.
            let _ = registry.deregister(&mut *connection.stream);
        }
    }

    fn get_mut(&mut self, id: ClientId) -> Option<&mut Connection> {
        let place = *self.by_id.get(&id)?;
        self.table.get_mut(place)
    }

    fn those(&self, is_it: impl Fn(&Connection) -> bool) -> Vec<ClientId> {
        let those = self.table.values().filter(|client| is_it(client));
        those.map(|client| client.id).collect()
    }

    fn places(&self) -> Vec<Place> {
        let place = |client: &Connection| {
            let Caller::Peer { uid, .. } = client.caller;
            Place {
                id: client.id,
                uid,
                trusted: client.caller.may(Access::Change),
                waiting: client.is_waiting(),
                idle_since: client.idle_since(),
            }
        };
        self.table.values().map(place).collect()
    }

    /// Takes a client's place, with a word unless it is in the middle of its answer.
    fn evict(&mut self, id: ClientId, cx: &mut Context<'_>) {
        if let Some(connection) = self.get_mut(id) {
            connection.take_leave(&too_many());
        }
        self.close(id, cx.registry);
        cx.tell(Event::ClientGone { client: id });
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
