//! The daemon's own standard output and standard error: a bounded queue before each, written without
//! ever blocking. Standard output carries the services' lines and makes them wait when its reader
//! stalls; standard error carries the daemon's own messages and drops them instead.
//!
//! ```text
//! Open ──the reader takes no more──▶ Stalled ──it takes more (epoll)──▶ Open
//!   │ └──a FIFO without a reader──▶ Unread ──a process opens it (inotify), or RETRY──▶ Open
//!   └──a reader that cannot come back──▶ Gone
//! ```
//! A full disk changes no state: each write is tried. Whatever is lost is counted and reported.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use memchr::memchr_iter;
use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::log_helpers::Out;
use super::token::Source;
use crate::base::Moment;
use crate::output::format::counted;
use crate::output::queue::Queue;
use crate::sys::clock;
use crate::sys::fifo::OpenWatch;
use crate::sys::log_file::Report;
use crate::sys::output_end::OutputEnd;
use crate::sys::signals::{self, Set};

/// The daemon's own messages held while nobody reads them. A longer one is held alone.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// How long the last bytes wait for a reader that takes none of them, before the daemon ends.
const FINAL_STALL: Duration = Duration::from_secs(1);

/// How often a write is tried again where no event tells that it would succeed.
const RETRY: Duration = Duration::from_secs(1);

/// Read at a time by a child that writes.
const READ_BYTES: usize = 64 * 1024;

/// One of the two ends.
pub(super) struct Console {
    end: OutputEnd,
    kind: Kind,
    pub queue: Queue,
    state: State,
    /// For this turn: the reader takes no more.
    is_full: bool,
    /// When a write is tried again that no event leads to.
    retry_at: Option<Moment>,
    /// The last byte that was written ends no line.
    in_line: bool,
    /// The rest of that line is lost: a newline comes first.
    is_torn: bool,
    /// Writes fail, for a reason that may pass.
    fails: bool,
    /// Lines lost since then.
    lost: u64,
    /// Messages for which there was no room.
    dropped: u64,
    reports: Vec<String>,
    /// What the child that writes has not dealt with, where there is one.
    pub sent: Out,
}

/// Which one it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Stdout,
    Stderr,
}

enum State {
    /// The reader takes what comes.
    Open,
    /// Registered for writability: only while it is stalled, so that a reader's progress wakes nobody otherwise.
    Stalled,
    /// A FIFO that no process reads.
    Unread {
        watch: Option<OpenWatch>,
        was_opened: bool,
    },
    /// The reader is gone for good; whatever comes is thrown away.
    Gone,
}

/// How a write ended.
enum Progress {
    Done,
    /// The reader takes no more for now.
    Blocked,
    /// Nothing reads the FIFO.
    Unread,
}

impl Kind {
    /// Its descriptor.
    pub fn fd(self) -> RawFd {
        match self {
            Kind::Stdout => libc::STDOUT_FILENO,
            Kind::Stderr => libc::STDERR_FILENO,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Stdout => "standard output",
            Kind::Stderr => "standard error",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Kind::Stdout => "line",
            Kind::Stderr => "message",
        }
    }

    fn writable(self) -> Source {
        match self {
            Kind::Stdout => Source::Stdout,
            Kind::Stderr => Source::Stderr,
        }
    }

    fn opened(self) -> Source {
        match self {
            Kind::Stdout => Source::StdoutOpened,
            Kind::Stderr => Source::StderrOpened,
        }
    }
}

impl Console {
    pub fn new(end: OutputEnd, kind: Kind) -> Console {
        Console {
            end,
            kind,
            queue: Queue::new(),
            state: State::Open,
            is_full: false,
            retry_at: None,
            in_line: false,
            is_torn: false,
            fails: false,
            lost: 0,
            dropped: 0,
            reports: Vec::new(),
            sent: Out::default(),
        }
    }

    /// A regular file: a child is to find out whether it may block.
    pub fn is_of_unknown_kind(&self) -> bool {
        self.end.is_unknown()
    }

    /// A file that does not take what is written at once: a child is to write.
    pub fn is_slow(&self) -> bool {
        self.end.is_slow()
    }

    /// A file that does not block.
    pub fn write_here(&mut self) {
        self.end.set_plain();
    }

    /// A child writes what comes through this socket.
    pub fn hand_over(&mut self, socket: UnixStream) {
        self.end.hand_over(socket);
        // A socket that was watched before is closed.
        if matches!(self.state, State::Stalled) {
            self.state = State::Open;
        }
    }

    /// What became of it, for the user: each change once.
    pub fn take_reports(&mut self) -> Vec<String> {
        std::mem::take(&mut self.reports)
    }

    /// Adds one of the daemon's own messages. Where there is no room, what waits is written first; a message for
    /// which there is none even then is dropped, and counted.
    pub fn message(&mut self, text: &str) {
        if !self.has_room(text) && !self.is_full && matches!(self.state, State::Open) {
            self.is_full = !matches!(self.write_out(), Progress::Done);
        }
        if !self.has_room(text) {
            self.dropped += 1;
            return;
        }
        self.admit_dropped();
        self.append(text);
    }

    fn has_room(&self, text: &str) -> bool {
        self.queue.is_empty() || self.queue.len() + text.len() < MAX_MESSAGE_BYTES
    }

    fn append(&mut self, text: &str) {
        self.queue.append(b"go-overlay: ");
        self.queue.append(text.as_bytes());
        self.queue.append(b"\n");
    }

    /// Says how many messages are missing, once there is room.
    fn admit_dropped(&mut self) {
        if self.dropped > 0 && self.queue.len() < MAX_MESSAGE_BYTES / 2 {
            let dropped = counted(std::mem::take(&mut self.dropped), "message");
            self.append(&format!("{dropped} dropped: standard error took no more"));
        }
    }

    /// A process has opened the FIFO.
    pub fn on_opened(&mut self) {
        if let State::Unread { watch, was_opened } = &mut self.state {
            *was_opened = true;
            watch.iter().for_each(OpenWatch::clear);
        }
    }

    /// When [`Console::flush`] is due though no event leads to it.
    pub fn retry_at(&self) -> Option<Moment> {
        self.retry_at
    }

    /// Writes as much as the reader takes.
    pub fn flush(&mut self, registry: &Registry, now: Moment) {
        self.is_full = false;
        if let State::Unread { was_opened, .. } = &mut self.state {
            let is_due = self.retry_at.is_some_and(|at| at <= now);
            if !std::mem::take(was_opened) && !is_due {
                return;
            }
        }
        self.retry_at = None;
        let mut progress = self.write_out();
        if self.dropped > 0 {
            self.admit_dropped();
            progress = self.write_out();
        }
        match progress {
            Progress::Done => self.set_open(registry),
            Progress::Blocked => self.set_stalled(registry, now),
            Progress::Unread => self.set_unread(registry, now),
        }
    }

    /// Writes until all is written, or the reader takes nothing for a while, or `until`. What is left then is lost,
    /// and reported.
    pub fn final_flush(&mut self, until: Moment) {
        self.write_to_end(until);
        if self.dropped > 0 {
            self.admit_dropped();
            self.write_to_end(until);
        }
        self.lost += self.lines_waiting();
        if self.lost > 0 {
            let lost = counted(self.lost, self.kind.unit());
            let name = self.kind.name();
            self.reports
                .push(format!("{lost} could not be written to {name}"));
        }
    }

    fn write_to_end(&mut self, until: Moment) {
        let mut stalled_since = clock::now();
        while !self.queue.is_empty() {
            let before = self.queue.len();
            match self.write_out() {
                Progress::Blocked => {}
                Progress::Done | Progress::Unread => return,
            }
            let now = clock::now();
            if self.queue.len() < before {
                stalled_since = now;
            }
            let give_up = stalled_since.after(FINAL_STALL).min(until);
            if now >= give_up || self.end.wait_writable(give_up.since(now)).is_err() {
                return;
            }
        }
    }

    fn write_out(&mut self) -> Progress {
        while !self.queue.is_empty() {
            if matches!(self.state, State::Gone) {
                self.lose();
                break;
            }
            let bytes = match self.is_torn {
                true => b"\n",
                false => self.queue.front(),
            };
            match self.end.write(bytes) {
                Ok(0) => self.fail(&io::ErrorKind::WriteZero.into()),
                Ok(count) => self.note_written(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Progress::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_unread(&error) && self.end.may_be_read_again() => {
                    return Progress::Unread;
                }
                Err(error) if is_gone(&error) => self.set_gone(&error),
                Err(error) => self.fail(&error),
            }
        }
        Progress::Done
    }

    fn note_written(&mut self, count: usize) {
        if self.end.is_handed_over() {
            let bytes = match self.is_torn {
                true => b"\n",
                false => self.queue.front(),
            };
            self.sent.add(bytes.get(..count).unwrap_or(bytes));
        }
        if std::mem::take(&mut self.is_torn) {
            self.in_line = false;
            return;
        }
        self.in_line = self.queue.front().get(count - 1) != Some(&b'\n');
        self.queue.consume(count);
        if self.queue.is_empty() && std::mem::take(&mut self.fails) {
            let lost = counted(std::mem::take(&mut self.lost), self.kind.unit());
            let name = self.kind.name();
            self.reports
                .push(format!("{name} works again; {lost} lost"));
        }
    }

    /// A full disk costs the lines that do not fit, not those that come later.
    fn fail(&mut self, error: &io::Error) {
        self.lose();
        if !std::mem::replace(&mut self.fails, true) {
            let (name, unit) = (self.kind.name(), self.kind.unit());
            self.reports.push(format!(
                "cannot write to {name}: {error}; {unit}s are lost until it works again"
            ));
        }
    }

    fn lose(&mut self) {
        self.lost += self.lines_waiting();
        self.is_torn = self.in_line;
        self.queue.clear();
    }

    fn lines_waiting(&self) -> u64 {
        memchr_iter(b'\n', self.queue.front()).count() as u64
    }

    fn set_gone(&mut self, error: &io::Error) {
        self.state = State::Gone;
        let (name, unit) = (self.kind.name(), self.kind.unit());
        self.reports.push(format!(
            "cannot write to {name}: {error}; its reader cannot come back, and {unit}s are lost from now on"
        ));
    }

    fn set_open(&mut self, registry: &Registry) {
        match self.state {
            State::Open | State::Gone => {}
            State::Stalled => self.watch(false, registry),
            State::Unread { .. } => self.leave_unread(),
        }
    }

    fn set_stalled(&mut self, registry: &Registry, now: Moment) {
        match self.state {
            State::Stalled | State::Gone => return,
            State::Unread { .. } => self.leave_unread(),
            State::Open => {}
        }
        self.watch(true, registry);
        if matches!(self.state, State::Open) {
            self.retry_at = Some(now.after(RETRY));
        }
    }

    fn watch(&mut self, stalled: bool, registry: &Registry) {
        let Some(fd) = self.end.poll_fd() else { return };
        let token = self.kind.writable().token();
        let result = match stalled {
            true => registry.register(&mut SourceFd(&fd), token, Interest::WRITABLE),
            false => registry.deregister(&mut SourceFd(&fd)),
        };
        self.state = match stalled && result.is_ok() {
            true => State::Stalled,
            false => State::Open,
        };
    }

    fn set_unread(&mut self, registry: &Registry, now: Moment) {
        match &self.state {
            State::Gone => return,
            State::Unread { watch, .. } => {
                // Opened and closed again.
                self.retry_at = watch.is_none().then(|| now.after(RETRY));
                return;
            }
            State::Stalled => self.watch(false, registry),
            State::Open => {}
        }
        let token = self.kind.opened().token();
        let watch = self.end.watch_opens().ok().filter(|watch| {
            let fd = watch.as_raw_fd();
            let registered = registry.register(&mut SourceFd(&fd), token, Interest::READABLE);
            registered.is_ok()
        });
        self.retry_at = watch.is_none().then(|| now.after(RETRY));
        self.state = State::Unread {
            watch,
            was_opened: false,
        };
        let (name, unit) = (self.kind.name(), self.kind.unit());
        self.reports.push(format!(
            "no process reads {name}, a FIFO, any more; {unit}s wait until one opens it"
        ));
        // A process may have opened it before it was watched.
        match self.write_out() {
            Progress::Done => self.set_open(registry),
            Progress::Blocked => self.set_stalled(registry, now),
            Progress::Unread => {}
        }
    }

    /// Dropping the watch closes it, which takes it out of epoll.
    fn leave_unread(&mut self) {
        self.state = State::Open;
        self.retry_at = None;
        let name = self.kind.name();
        self.reports.push(format!("a process reads {name} again"));
    }
}

/// In a child: writes what comes through the socket to standard output or standard error, and reports it.
pub(super) fn write_what_comes(mut socket: UnixStream, kind: Kind) {
    signals::set_mask(Set::ALL);
    let mut console = Console::new(OutputEnd::waiting(kind.fd()), kind);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = match socket.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let bytes = &buffer[..count];
        console.queue.append(bytes);
        console.write_out();
        let said = console.take_reports().into_iter().map(Report::Said);
        let lines = memchr_iter(b'\n', bytes).count() as u64;
        let bytes = count;
        for report in said.chain([Report::Written { bytes, lines }]) {
            if report.send(&socket).is_err() {
                return;
            }
        }
    }
}

/// A pipe or a socket whose other end is closed.
fn is_unread(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPIPE)
}

/// The reader has closed its end, or there never was one.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EPIPE | libc::EBADF | libc::ECONNRESET | libc::ENOTCONN)
    )
}

#[cfg(test)]
mod tests;
