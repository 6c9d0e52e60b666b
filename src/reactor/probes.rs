//! Health checks under way: a connection or a child each, with the moment at which it has had its time.

mod asides;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::path::Path;
use std::rc::Rc;

use mio::net::{TcpStream, UnixStream};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::context::Context;
use super::table::Table;
use super::token::{Slot, Source};
use crate::base::terminal::without_steering;
use crate::base::{ExitStatus, JobId, Moment};
use crate::config::model::{Health, Probe, Service};
use crate::domain::{CheckError, CheckProblem, Role};
use crate::launch;
use crate::launch::environment::Environment;
use crate::probe::http::{self, Answer, Bad};
use crate::supervisor::event::Event;
use crate::sys::check_aside::{CheckAside, cannot_connect as cannot_connect_path};
use crate::sys::pipe;
use crate::sys::released::ClosedPromptly;
use crate::sys::spawn::{self, Handed, Session, Started, Stdio};
use asides::{Asides, touches_paths};

/// How much of what a command says is kept, its end: the reason is there.
const SAID_BYTES: usize = 1024;

/// How much of it is shown, in characters.
const SHOWN: usize = 120;

#[derive(Default)]
pub(super) struct Probes {
    table: Table<Attempt>,
    asides: Asides,
}

/// What came of beginning a check.
pub(super) enum Begun {
    /// It goes on; a command in this child.
    Going(Option<Started>),
    /// It is over already.
    Over(Result<(), CheckError>),
}

struct Attempt {
    job: JobId,
    until: Moment,
    health: Box<Health>,
    kind: Kind,
}

enum Kind {
    Connection {
        /// Addresses that were not tried yet.
        rest: VecDeque<SocketAddr>,
        connection: Connection,
        connected: bool,
        exchange: Option<Exchange>,
    },
    Command {
        output: File,
        said: Vec<u8>,
    },
    /// A child finds where to connect to; None until it is started.
    Aside(Box<Service>, Option<CheckAside>),
}

/// A request and its answer.
struct Exchange {
    request: Vec<u8>,
    sent: usize,
    answer: Answer,
}

enum Connection {
    Tcp(TcpStream, SocketAddr),
    /// What is at the other end may send descriptors.
    Unix(ClosedPromptly<UnixStream>),
}

/// How far a check is; Err: why it failed.
type Progress = Result<bool, CheckProblem>;

impl Probes {
    /// Begins a check. The caller knows the process of a command by its job.
    pub fn begin(
        &mut self,
        job: JobId,
        service: &Service,
        inherited: &Environment,
        cx: &Context<'_>,
    ) -> Begun {
        let registry = cx.registry;
        let Some(health) = service.health.clone() else {
            return Begun::Over(Ok(()));
        };
        let slot = self.table.next_slot();
        let token = Source::Probe(slot).token();
        let begun = match &health.probe {
            Probe::Exec(_) => command(inherited, service, registry, token)
                .map(|(kind, child)| (kind, Some(child))),
            probe if touches_paths(probe) => {
                self.asides.waiting.push_back(slot);
                Ok((Kind::Aside(Box::new(service.clone()), None), None))
            }
            Probe::Http { addresses, .. } | Probe::Tcp { addresses, .. } => {
                let rest = addresses.iter().copied().collect();
                connect_next(rest, registry, token).map(|kind| (kind, None))
            }
            Probe::Unix(path) => connect_abstract(path, registry, token).map(|kind| (kind, None)),
        };
        let (mut kind, child) = match begun {
            Ok(begun) => begun,
            Err(problem) => return Begun::Over(Err(failed(&health, problem))),
        };
        if let Kind::Connection { exchange, .. } = &mut kind {
            *exchange = Exchange::of(&health.probe);
        }
        self.table.insert(Attempt {
            job,
            until: cx.now.after(health.timeout),
            health,
            kind,
        });
        Begun::Going(child)
    }

    /// The kernel says that something moved.
    pub fn on_ready(&mut self, slot: Slot, cx: &mut Context<'_>) {
        let Some(place) = self.table.place_of(slot) else {
            return;
        };
        let result = match self.table[place].advance(cx.registry, Source::Probe(slot).token()) {
            Ok(false) => return,
            Ok(true) => Ok(()),
            Err(problem) => Err(problem),
        };
        let attempt = self.table.remove(place);
        cx.tell(attempt.over(result));
    }

    /// A child has ended, or could not execute its program; the event where it was a check's command.
    pub fn on_end(&mut self, job: JobId, end: Result<ExitStatus, &String>) -> Option<Event> {
        let key = self.key_of(job)?;
        let mut attempt = self.table.remove(key);
        attempt.listen();
        let Kind::Command { said, .. } = &attempt.kind else {
            return None;
        };
        let result = match end {
            Err(why) => Err(reported(why.as_str())),
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(CheckProblem::Ended(status, last_line(said).map(Into::into))),
        };
        Some(attempt.over(result))
    }

    /// When the first check has had its time.
    pub fn deadline(&self) -> Option<Moment> {
        self.table.values().map(|attempt| attempt.until).min()
    }

    /// Ends the checks that have had their time, and returns their jobs: what runs a command for one kills it.
    pub fn on_deadline(&mut self, cx: &mut Context<'_>) -> Vec<JobId> {
        let due = self.table.iter();
        let due = due.filter(|(_, attempt)| attempt.until <= cx.now);
        let due: Vec<usize> = due.map(|(place, _)| place).collect();
        let mut jobs = Vec::with_capacity(due.len());
        for place in due {
            let attempt = self.table.remove(place);
            self.asides.give_up(&attempt);
            jobs.push(attempt.job);
            cx.tell(attempt.over(Err(attempt.what_is_missing())));
        }
        jobs
    }

    /// Nobody waits for this check any more.
    pub fn end(&mut self, job: JobId) {
        if let Some(key) = self.key_of(job) {
            self.asides.give_up(&self.table.remove(key));
        }
    }

    fn key_of(&self, job: JobId) -> Option<usize> {
        self.table.find(|attempt| attempt.job == job)
    }
}

/// The problem, with what was checked: `GET /healthz`.
fn failed(health: &Health, problem: CheckProblem) -> CheckError {
    let probe = match &health.probe {
        Probe::Http { path, .. } => format!("GET {path}"),
        Probe::Tcp { .. } | Probe::Unix(_) | Probe::Exec(_) => health.probe.to_string(),
    };
    CheckError::Failed {
        probe: probe.into(),
        problem,
    }
}

fn reported(text: impl Into<Rc<str>>) -> CheckProblem {
    CheckProblem::Reported(text.into())
}

/// The first of the addresses to which a connection can be begun.
fn connect_next(
    mut rest: VecDeque<SocketAddr>,
    registry: &Registry,
    token: Token,
) -> Result<Kind, CheckProblem> {
    let mut problem = CheckProblem::NoAddress;
    while let Some(address) = rest.pop_front() {
        let begun = TcpStream::connect(address).and_then(|mut stream| {
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        match begun {
            Ok(stream) => {
                return Ok(Kind::Connection {
                    rest,
                    connection: Connection::Tcp(stream, address),
                    connected: false,
                    exchange: None,
                });
            }
            Err(error) => problem = cannot_connect(&address, &error),
        }
    }
    Err(problem)
}

/// The name of an abstract socket: `@name`.
fn abstract_name(path: &Path) -> Option<&str> {
    path.to_str().and_then(|text| text.strip_prefix('@'))
}

fn connect_abstract(path: &Path, registry: &Registry, token: Token) -> Result<Kind, CheckProblem> {
    let name = abstract_name(path).unwrap_or_default();
    let connected = std::os::unix::net::SocketAddr::from_abstract_name(name)
        .and_then(|address| UnixStream::connect_addr(&address));
    let stream = connected.map_err(|error| reported(cannot_connect_path(&error)))?;
    watch_unix(stream, registry, token)
}

fn watch_unix(
    mut stream: UnixStream,
    registry: &Registry,
    token: Token,
) -> Result<Kind, CheckProblem> {
    registry
        .register(&mut stream, token, Interest::WRITABLE)
        .map_err(|error| reported(plain(&error)))?;
    Ok(Kind::Connection {
        rest: VecDeque::new(),
        connection: Connection::Unix(ClosedPromptly::new(stream)),
        connected: false,
        exchange: None,
    })
}

fn command(
    inherited: &Environment,
    service: &Service,
    registry: &Registry,
    token: Token,
) -> Result<(Kind, Started), CheckProblem> {
    let (ours, theirs) =
        pipe::pipe().map_err(|error| reported(format!("cannot make a pipe: {error}")))?;
    let fd = theirs.as_raw_fd();
    let handed = Handed {
        stdio: Stdio::Pipes { out: fd, err: fd },
        session: Session::New,
        ready_fd: None,
    };
    registry
        .register(&mut SourceFd(&ours.as_raw_fd()), token, Interest::READABLE)
        .map_err(|error| reported(format!("cannot watch its output: {error}")))?;
    let started = spawn::start(&handed, |_| {
        // What the plan notes was reported when the service itself was started.
        launch::plan(inherited, service, Role::Check).map(|plan| plan.program)
    });
    let started = started.map_err(|error| cannot_start(&error))?;
    let kind = Kind::Command {
        output: File::from(ours),
        said: Vec::new(),
    };
    Ok((kind, started))
}

fn cannot_connect(address: &SocketAddr, error: &io::Error) -> CheckProblem {
    reported(format!("cannot connect to {address}: {}", plain(error)))
}

fn cannot_start(error: &io::Error) -> CheckProblem {
    reported(format!("cannot start a process: {}", plain(error)))
}

/// Without the number.
fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

impl Attempt {
    /// The event of its end.
    fn over(&self, result: Result<(), CheckProblem>) -> Event {
        Event::Checked {
            job: self.job,
            result: result.map_err(|problem| failed(&self.health, problem)),
        }
    }

    fn advance(&mut self, registry: &Registry, token: Token) -> Progress {
        if let Kind::Aside(_, child) = &self.kind {
            if let Some(report) = child.as_ref().and_then(CheckAside::receive) {
                self.kind = asides::go_on(&self.health.probe, report, registry, token)?;
            }
            return Ok(false);
        }
        let Kind::Connection {
            rest,
            connection,
            connected,
            exchange,
        } = &mut self.kind
        else {
            self.listen();
            return Ok(false);
        };
        if !*connected {
            match connection.is_connected() {
                Ok(false) => return Ok(false),
                Ok(true) => *connected = true,
                Err(error) if rest.is_empty() => {
                    return Err(match connection {
                        Connection::Tcp(_, address) if exchange.is_some() => {
                            cannot_connect(address, &error)
                        }
                        Connection::Tcp(..) | Connection::Unix(_) => reported(plain(&error)),
                    });
                }
                Err(_) => {
                    let exchange = exchange.take();
                    self.kind = connect_next(std::mem::take(rest), registry, token)?;
                    if let Kind::Connection { exchange: new, .. } = &mut self.kind {
                        *new = exchange;
                    }
                    return Ok(false);
                }
            }
        }
        let Some(exchange) = exchange else {
            return Ok(true);
        };
        let Some(status) = exchange.advance(connection)? else {
            return Ok(false);
        };
        match &self.health.probe {
            Probe::Http { expected, .. }
                if expected
                    .iter()
                    .any(|(low, high)| (low..=high).contains(&&status)) =>
            {
                Ok(true)
            }
            _ => Err(CheckProblem::Status(status)),
        }
    }

    /// Takes what a command has said, and keeps the end of it.
    fn listen(&mut self) {
        let Kind::Command { output, said } = &mut self.kind else {
            return;
        };
        let mut buffer = [0; 4096];
        // A pipe holds a bounded number of such portions; one that is filled again and again is not kept up with.
        for _ in 0..64 {
            match output.read(&mut buffer) {
                Ok(count @ 1..) => {
                    said.extend_from_slice(&buffer[..count]);
                    let old = said.len().saturating_sub(SAID_BYTES);
                    said.drain(..old);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    fn what_is_missing(&self) -> CheckProblem {
        let bound = self.health.timeout;
        match &self.kind {
            Kind::Command { .. } => CheckProblem::Killed(bound),
            Kind::Aside(..) => CheckProblem::NoFileSystem(bound),
            Kind::Connection {
                connected: false, ..
            } => CheckProblem::NoConnection(bound),
            Kind::Connection {
                exchange: Some(exchange),
                ..
            } if !exchange.answer.is_empty() => CheckProblem::PartialAnswer(bound),
            Kind::Connection { .. } => CheckProblem::NoAnswer(bound),
        }
    }
}

impl Connection {
    /// As connect(2) has it: writable, without an error, and with somebody at the other end.
    fn is_connected(&self) -> io::Result<bool> {
        let (error, peer) = match self {
            Connection::Tcp(stream, _) => (stream.take_error()?, stream.peer_addr().map(drop)),
            Connection::Unix(stream) => (stream.take_error()?, Ok(())),
        };
        match (error, peer) {
            (Some(error), _) => Err(error),
            (None, Ok(())) => Ok(true),
            (None, Err(error)) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            (None, Err(error)) => Err(error),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream, _) => stream.write(bytes),
            Connection::Unix(stream) => stream.write(bytes),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream, _) => stream.read(buffer),
            Connection::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Exchange {
    fn of(probe: &Probe) -> Option<Exchange> {
        let Probe::Http { host, path, .. } = probe else {
            return None;
        };
        Some(Exchange {
            request: http::request(host, path),
            sent: 0,
            answer: Answer::default(),
        })
    }

    /// The status once it is known. What is read is bounded by the head that is accepted.
    fn advance(&mut self, connection: &mut Connection) -> Result<Option<u16>, CheckProblem> {
        while self.sent < self.request.len() {
            match connection.write(&self.request[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(reported(plain(&error))),
            }
        }
        let mut buffer = [0; 4096];
        loop {
            match connection.read(&mut buffer) {
                Ok(0) => return Err(CheckProblem::Closed),
                Ok(count) => match self.answer.take(&buffer[..count]) {
                    Ok(None) => {}
                    Ok(status) => return Ok(status),
                    Err(Bad::NotHttp) => return Err(CheckProblem::NotHttp),
                    Err(Bad::TooLong) => return Err(CheckProblem::EndlessHead),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(reported(plain(&error))),
            }
        }
    }
}

/// The last line that says something, fit to be shown.
fn last_line(said: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(without_steering(line).take(SHOWN).collect())
}
