//! One connection: what it is about now, what it is owed, and what becomes of what it sends.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use mio::net::UnixStream;

use crate::api::access::Caller;
use crate::api::stream::{History, Progress, Subscription};
use crate::api::verbs::Stream;
use crate::base::allocation::make_room;
use crate::base::{ClientId, Moment};
use crate::control::message::{Request, Response};
use crate::sys::released::{self, ClosedPromptly};
use crate::wire::json_line::{self, JsonLine};

/// How long a client may take to send a whole request, or to read its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much is read of one client a turn.
const READ_BYTES: usize = 16 * 1024;

pub(super) struct Connection {
    pub id: ClientId,
    pub caller: Caller,
    pub stream: ClosedPromptly<UnixStream>,
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
pub(super) enum Step {
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
    pub fn new(id: ClientId, stream: UnixStream, caller: Caller, now: Moment) -> Connection {
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
    pub fn step(&mut self, hung_up: bool, now: Moment) -> Step {
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
    pub fn answer(&mut self, response: &Response, now: Moment) {
        self.state = State::Idle;
        self.output = Output::of(response);
        self.idle_since = now;
    }

    /// Awaiting → Streaming: the answer begins.
    pub fn begin_stream(&mut self, stream: Stream, now: Moment) {
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
    pub fn feed(&mut self, history: &impl History, room: usize) -> bool {
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
    pub fn stop_following(&mut self) {
        if let State::Streaming(subscription) = &mut self.state {
            subscription.stop_following();
        }
    }

    /// Makes room for this many bytes more of an answer; false where the system grants no memory for them.
    pub fn make_room(&mut self, bytes: usize) -> bool {
        make_room(&mut self.output.bytes, bytes)
    }

    /// Whether its request is not answered to the end: then it has no bound on its time.
    pub fn is_waiting(&self) -> bool {
        match self.state {
            State::Awaiting | State::Streaming(_) => true,
            State::Idle | State::Closing => false,
        }
    }

    /// Whether it reads the services' output.
    pub fn reads_logs(&self) -> bool {
        matches!(self.state, State::Streaming(Subscription::Logs(_)))
    }

    /// Whether it has read all there was of its subscription.
    pub fn is_hungry(&self) -> bool {
        self.is_streaming() && self.output.bytes.is_empty()
    }

    /// Whether it is behind with reading what its subscription yielded.
    pub fn is_slow(&self) -> bool {
        self.is_streaming() && !self.output.bytes.is_empty()
    }

    fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming(_))
    }

    pub fn idle_since(&self) -> Moment {
        self.idle_since
    }

    /// When it has been idle for too long; None while it waits for the daemon.
    pub fn deadline(&self) -> Option<Moment> {
        (!self.is_waiting()).then(|| self.idle_since.after(PATIENCE))
    }

    /// It loses its place: sends the reason, unless that would be in the middle of an answer.
    pub fn take_leave(&mut self, reason: &Response) {
        if self.output.bytes.is_empty() {
            let _ = self.stream.write(&json_line::answer(reason));
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
            bytes: json_line::answer(response),
            written: 0,
        }
    }
}
