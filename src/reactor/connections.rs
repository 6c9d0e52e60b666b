//! The control socket's connections: each is served one request at a time, and none can hold the daemon up
//! or make it grow. Too much input, silence, or a client that never reads costs that client its own
//! connection, and the others nothing.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use mio::Registry;
use mio::net::UnixStream;

use super::context::Context;
use super::table::Table;
use super::token::Slot;
use crate::api::access::Caller;
use crate::api::stream::{History, Progress, Subscription};
use crate::api::verbs::Stream;
use crate::base::allocation::make_room;
use crate::base::{ClientId, Moment};
use crate::control::message::{Request, Response};
use crate::supervisor::event::Event;
use crate::sys::released::{self, ClosedPromptly};
use crate::wire::json_line::{JsonLine, encode};

pub(super) use accepting::Accepted;

mod accepting;

/// How long a client may take to send a whole request, or to read its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much is read of one client a turn.
const READ_BYTES: usize = 16 * 1024;

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

    /// Whether there is something to do without an event to come.
    pub fn has_work(&self) -> bool {
        self.accept_again || !self.due.is_empty()
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
}

/// One client's connection: what it is about now, what it is owed, and what becomes of what it sends.
struct Connection {
    id: ClientId,
    caller: Caller,
    stream: ClosedPromptly<UnixStream>,
    /// The kernel refuses messages to it that bring descriptors.
    refuses_descriptors: bool,
    codec: JsonLine,
    state: State,
    output: Output,
    /// The client has sent its last byte; it may still read its answer.
    input_is_over: bool,
    /// When it last took something of its answer, or was given one.
    idle_since: Moment,
}

/// What a connection is about.
///
/// Only [`State::Idle`] reads from the client. A state in which both ends send at the same time reads and writes in its
/// own arm of [`Connection::step`].
#[derive(Debug)]
enum State {
    /// Its next request is read, when the answer to the one before is written.
    Idle,
    /// Its request is under way, and the answer is not here yet.
    Awaiting,
    /// Its answer goes on with what the subscription yields.
    Streaming(Subscription),
    /// It is closed when its output is written.
    Closing,
}

/// What a client is owed: the bytes of its answer.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    written: usize,
}

/// What a connection comes to when it is moved on.
#[derive(Debug)]
enum Step {
    /// It waits for the client, or for its answer.
    Rest,
    /// The client has read all there was of its subscription.
    Hungry,
    /// A whole request.
    Request(Request),
    /// It is over.
    Close,
}

impl Connection {
    fn new(id: ClientId, stream: UnixStream, caller: Caller, now: Moment) -> Connection {
        let refuses_descriptors = released::refuse_descriptors(stream.as_fd());
        Connection {
            id,
            caller,
            stream: ClosedPromptly::new(stream),
            refuses_descriptors,
            codec: JsonLine::default(),
            state: State::Idle,
            output: Output::default(),
            input_is_over: false,
            idle_since: now,
        }
    }

    /// Writes what is owed, reads what is there, and returns at most one request.
    /// `hung_up`: the other end is closed, so that no answer is read any more.
    fn step(&mut self, hung_up: bool, now: Moment) -> Step {
        if hung_up {
            return Step::Close;
        }
        loop {
            match self.write_out(now) {
                Ok(true) => {}
                Ok(false) => return Step::Rest,
                Err(_) => return Step::Close,
            }
            match self.state {
                State::Idle => {}
                State::Awaiting => return Step::Rest,
                State::Streaming(_) => return Step::Hungry,
                State::Closing => return Step::Close,
            }
            match self.codec.next_request() {
                Ok(Some(request)) => {
                    self.state = State::Awaiting;
                    return Step::Request(request);
                }
                Ok(None) if self.input_is_over => return Step::Close,
                Ok(None) => match self.read_in() {
                    Ok(true) => {}
                    Ok(false) => return Step::Rest,
                    Err(_) => return Step::Close,
                },
                Err(refusal) => self.refuse(&refusal),
            }
        }
    }

    /// Awaiting → Idle: the answer is here.
    fn answer(&mut self, response: &Response, now: Moment) {
        self.state = State::Idle;
        self.output = Output::of(response);
        self.idle_since = now;
    }

    /// Awaiting → Streaming: the answer begins.
    fn begin_stream(&mut self, stream: Stream, now: Moment) {
        self.answer(&stream.opening, now);
        self.state = State::Streaming(stream.subscription);
    }

    /// Idle → Closing: a client that sends nonsense gets one answer to it.
    fn refuse(&mut self, refusal: &Response) {
        self.state = State::Closing;
        self.output = Output::of(refusal);
    }

    /// Adds to the answer what the subscription yields, up to `room` bytes and one step; Streaming → Idle when that was
    /// the end. Whether the connection can be moved on at once.
    fn feed(&mut self, history: &impl History, room: usize) -> bool {
        let State::Streaming(subscription) = &mut self.state else {
            return false;
        };
        let out = &mut self.output.bytes;
        let progress = subscription.read(history, &mut self.codec, room, out);
        // It may stay for as long as the client does not read.
        out.shrink_to_fit();
        let has_output = !out.is_empty();
        match progress {
            Progress::More => true,
            Progress::UpToDate => has_output,
            Progress::Over => {
                self.state = State::Idle;
                has_output
            }
        }
    }

    /// Nothing comes any more: an answer that goes on ends with what there is.
    fn stop_following(&mut self) {
        if let State::Streaming(subscription) = &mut self.state {
            subscription.stop_following();
        }
    }

    /// Makes room for this many bytes more of an answer; false where the system grants no memory for them.
    fn make_room(&mut self, bytes: usize) -> bool {
        make_room(&mut self.output.bytes, bytes)
    }

    /// Whether its request is not answered to the end: then it has no bound on its time.
    fn is_waiting(&self) -> bool {
        match self.state {
            State::Awaiting | State::Streaming(_) => true,
            State::Idle | State::Closing => false,
        }
    }

    /// Whether it reads the services' output.
    fn reads_logs(&self) -> bool {
        matches!(self.state, State::Streaming(Subscription::Logs(_)))
    }

    /// Whether it has read all there was of its subscription.
    fn is_hungry(&self) -> bool {
        self.is_streaming() && self.output.bytes.is_empty()
    }

    /// Whether it is behind with reading what its subscription yielded.
    fn is_slow(&self) -> bool {
        self.is_streaming() && !self.output.bytes.is_empty()
    }

    fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming(_))
    }

    fn idle_since(&self) -> Moment {
        self.idle_since
    }

    /// When it has been idle for too long; None while it waits for the daemon.
    fn deadline(&self) -> Option<Moment> {
        (!self.is_waiting()).then(|| self.idle_since.after(PATIENCE))
    }

    /// It loses its place: sends the reason, unless that would be in the middle of an answer.
    fn take_leave(&mut self, reason: &Response) {
        if self.output.bytes.is_empty() {
            let _ = self.stream.write(&encode(reason));
        }
    }

    /// True when nothing is owed any more.
    fn write_out(&mut self, now: Moment) -> io::Result<bool> {
        let output = &mut self.output;
        while output.written < output.bytes.len() {
            match self.stream.write(&output.bytes[output.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    output.written += count;
                    self.idle_since = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        *output = Output::default();
        Ok(true)
    }

    /// True when there may be a request now, or the end.
    fn read_in(&mut self) -> io::Result<bool> {
        let mut buffer = [0; READ_BYTES];
        loop {
            let read = || self.stream.read(&mut buffer);
            match released::read_promptly(self.refuses_descriptors, read) {
                Ok(0) => {
                    self.input_is_over = true;
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

impl Output {
    fn of(response: &Response) -> Output {
        Output {
            bytes: encode(response),
            written: 0,
        }
    }
}
