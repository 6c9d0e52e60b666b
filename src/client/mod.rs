//! The other end of the control socket: one request, one answer.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use memchr::memchr;

use crate::control::message::{Request, Response};
use crate::render::{self, Style};
use crate::sys::socket::{self, Address, ConnectError};
use crate::wire::json_line;

/// How often the spinner turns.
const SPIN: Duration = Duration::from_millis(100);

/// Before this a spinner would only flicker.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long a question that needs no waiting may stay without an answer, and a line without its end.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long a daemon may take to report its version before it is asked for a change.
const VERSION_WITHIN: Duration = Duration::from_secs(10);

/// The longest answer that is read: some 30,000 services.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Read at a time of an answer of many lines.
const STREAM_BYTES: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// No daemon was found.
    NoDaemon(ConnectError),
    /// One was found and the conversation broke.
    Broken {
        /// Where it was.
        address: Address,
        /// Why.
        error: io::Error,
    },
    /// An answer of many lines has no end: the daemon was killed, or its reader was too slow for its last
    /// words.
    Cut {
        /// Where it was.
        address: Address,
    },
}

/// Asks the daemon and waits for its answer, with a spinner where a person waits.
///
/// # Errors
/// When there is no daemon, or it goes away before it answers.
pub fn ask(
    socket: Option<&Path>,
    request: &Request,
    waiting_for: Option<&str>,
) -> Result<Response, ClientError> {
    let (stream, address) = socket::connect(socket).map_err(ClientError::NoDaemon)?;
    converse(stream, request, waiting_for, ANSWER_WITHIN)
        .map_err(|error| ClientError::Broken { address, error })
}

/// A request that waits for a change has no bound, so a question goes before it: a daemon that does not even
/// report its version is stopped, or is none.
fn converse(
    stream: UnixStream,
    request: &Request,
    waiting_for: Option<&str>,
    patience: Duration,
) -> io::Result<Response> {
    let mut answers = Answers::new(stream);
    if waiting_for.is_some() {
        answers.send(&Request::Version {})?;
        let version = answers.next(Some(VERSION_WITHIN), &mut || {})?;
        if let Ok(refused @ Response::Error { .. }) = json_line::parse_response(version) {
            return Ok(refused);
        }
    }
    answers.send(request)?;
    let mut spinner = Spinner::new(waiting_for.filter(|_| spins()));
    answers.wakes = spinner.text.is_some();
    let patience = waiting_for.is_none().then_some(patience);
    let line = answers.next(patience, &mut || spinner.turn())?;
    json_line::parse_response(line)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Asks the daemon for an answer of many lines, and gives each to `on_line` until that gives back false.
/// `on_pause` is called when no line is there for now, and may end it too.
///
/// # Errors
/// When there is no daemon, or the conversation breaks.
pub fn stream(
    socket: Option<&Path>,
    request: &Request,
    on_line: &mut dyn FnMut(&[u8]) -> bool,
    on_pause: &mut dyn FnMut() -> bool,
) -> Result<(), ClientError> {
    let (stream, address) = socket::connect(socket).map_err(ClientError::NoDaemon)?;
    let mut answers = Answers::new(stream);
    let mut read = || -> io::Result<()> {
        answers.send(request)?;
        // It begins at once; what follows may take as long as it likes.
        let mut patience = Some(ANSWER_WITHIN);
        loop {
            if answers.reader.buffer().is_empty() && !on_pause() {
                return Ok(());
            }
            let line = answers.next(patience.take(), &mut || {})?;
            if !on_line(line) {
                return Ok(());
            }
        }
    };
    read().map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            ClientError::Cut { address }
        }
        _ => ClientError::Broken { address, error },
    })
}

/// The lines that the other end sends. Neither a line nor the wait for its end is without a bound.
struct Answers {
    reader: BufReader<UnixStream>,
    line: Vec<u8>,
    /// Wake up now and then also where no deadline asks for it.
    wakes: bool,
    /// The stream's read timeout.
    timeout: Option<Duration>,
}

impl Answers {
    fn new(stream: UnixStream) -> Answers {
        Answers {
            reader: BufReader::with_capacity(STREAM_BYTES, stream),
            line: Vec::new(),
            wakes: false,
            timeout: None,
        }
    }

    fn send(&mut self, request: &Request) -> io::Result<()> {
        self.reader.get_mut().write_all(&json_line::encode(request))
    }

    /// The next line, without its newline. It begins within `patience`, where that is given, and ends within
    /// [`ANSWER_WITHIN`] of its beginning. `on_wait` is called now and then.
    fn next(&mut self, patience: Option<Duration>, on_wait: &mut dyn FnMut()) -> io::Result<&[u8]> {
        self.line.clear();
        let started = Instant::now();
        let mut within = patience;
        loop {
            if within.is_some_and(|within| started.elapsed() > within) {
                let text = "it takes too long; is it stopped?";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            self.set_timeout((within.is_some() || self.wakes).then_some(SPIN))?;
            match self.reader.fill_buf() {
                Ok([]) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => {
                    let end = memchr(b'\n', bytes);
                    self.line
                        .extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
                    let taken = end.map_or(bytes.len(), |end| end + 1);
                    self.reader.consume(taken);
                    if end.is_some() {
                        return Ok(&self.line);
                    }
                    if self.line.len() > MAX_ANSWER_BYTES {
                        let text = "its answer is longer than 16 MiB";
                        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                    }
                    within = within.or_else(|| Some(started.elapsed() + ANSWER_WITHIN));
                }
                Err(error) if is_timeout(&error) => on_wait(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn set_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.timeout != timeout {
            self.reader.get_ref().set_read_timeout(timeout)?;
            self.timeout = timeout;
        }
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Only where a person looks, at a terminal that can go back in its line.
fn spins() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A sign of life on standard error. Dropping it leaves the line clean.
struct Spinner<'a> {
    text: Option<&'a str>,
    started: Instant,
    turns: usize,
}

impl Spinner<'_> {
    fn new(text: Option<&str>) -> Spinner<'_> {
        Spinner {
            text,
            started: Instant::now(),
            turns: 0,
        }
    }

    fn turn(&mut self) {
        let elapsed = self.started.elapsed();
        if let Some(text) = self.text.filter(|_| elapsed > PATIENCE) {
            let frame = FRAMES[self.turns % FRAMES.len()];
            let seconds = elapsed.as_secs();
            let _ = write!(io::stderr(), "\r{frame} {text} ({seconds}s)");
            self.turns += 1;
        }
    }
}

impl Drop for Spinner<'_> {
    fn drop(&mut self) {
        if self.turns > 0 {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

const FRAMES: [&str; 4] = ["|", "/", "-", "\\"];

/// How long a daemon that starts waits for the table of the one that is running already.
const TABLE_WITHIN: Duration = Duration::from_secs(2);

/// The table of the daemon that is running already, for a second one that does not start.
pub fn describe_running(socket: Option<&Path>) -> Option<String> {
    let (stream, _) = socket::connect(socket).ok()?;
    match converse(stream, &Request::List {}, None, TABLE_WITHIN) {
        Ok(Response::List { services }) => Some(render::list(
            &services,
            Style {
                color: false,
                width: None,
            },
        )),
        Ok(_) | Err(_) => None,
    }
}
