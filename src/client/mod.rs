//! The other end of the control socket: one request, one answer.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::control::frame;
use crate::control::message::{Request, Response};
use crate::render::{self, Style};
use crate::sys::socket::{self, Address, ConnectError};

/// How often the spinner turns.
const SPIN: Duration = Duration::from_millis(100);

/// Before this a spinner would only flicker.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long a question that needs no waiting may stay without an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The longest answer that is read: some 30,000 services.
const MAX_ANSWER_BYTES: u64 = 16 * 1024 * 1024;

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
    let (mut stream, address) = socket::connect(socket).map_err(ClientError::NoDaemon)?;
    converse(&mut stream, request, waiting_for)
        .map_err(|error| ClientError::Broken { address, error })
}

fn converse(
    stream: &mut UnixStream,
    request: &Request,
    waiting_for: Option<&str>,
) -> io::Result<Response> {
    stream.write_all(&frame::encode(request))?;
    let mut spinner = Spinner::new(waiting_for.filter(|_| spins()));
    // Who asks for a change waits as long as it takes, or as was asked; a question is answered at once.
    let patience = waiting_for.is_none().then_some(ANSWER_WITHIN);
    let wakes = spinner.text.is_some() || patience.is_some();
    stream.set_read_timeout(wakes.then_some(SPIN))?;
    let mut reader = BufReader::new(stream.take(MAX_ANSWER_BYTES));
    let mut line = Vec::new();
    loop {
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if line.ends_with(b"\n") => break,
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {
                if patience.is_some_and(|patience| spinner.started.elapsed() > patience) {
                    let text = "it takes too long; is it stopped?";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                spinner.turn();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    frame::parse_response(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
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
    let (mut stream, address) = socket::connect(socket).map_err(ClientError::NoDaemon)?;
    let mut read = || -> io::Result<()> {
        stream.write_all(&frame::encode(request))?;
        let mut reader = BufReader::with_capacity(STREAM_BYTES, &stream);
        let mut line = Vec::new();
        loop {
            if reader.buffer().is_empty() && !on_pause() {
                return Ok(());
            }
            line.clear();
            match reader
                .by_ref()
                .take(MAX_ANSWER_BYTES)
                .read_until(b'\n', &mut line)
            {
                Ok(_) if !line.ends_with(b"\n") => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(_) if on_line(&line[..line.len() - 1]) => {}
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
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

/// The table of the daemon that is running already, for whoever tried to start a second one.
pub fn describe_running(socket: Option<&Path>) -> Option<String> {
    match ask(socket, &Request::List {}, None) {
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
