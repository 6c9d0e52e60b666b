//! The other end of the control socket: one request, one answer.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
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
    let spinner = waiting_for.filter(|_| io::stderr().is_terminal());
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = Vec::new();
    let started = Instant::now();
    let mut turns = 0;
    stream.set_read_timeout(spinner.map(|_| SPIN))?;
    loop {
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if line.ends_with(b"\n") => break,
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                if let Some(text) = spinner.filter(|_| started.elapsed() > PATIENCE) {
                    let _ = write!(
                        io::stderr(),
                        "\r{} {text} ({}s)",
                        FRAMES[turns % FRAMES.len()],
                        started.elapsed().as_secs()
                    );
                    turns += 1;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if turns > 0 {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    serde_json::from_slice(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
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
