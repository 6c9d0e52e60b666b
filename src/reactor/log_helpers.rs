//! Children that do for log files and for standard output what may wait for a file system: they open, rotate, compress,
//! and write what is not local or was slow. The loop waits for none of them.
//!
//! One child opens many files in turn. When it does not answer, it keeps the one that it is at, and another child goes
//! on with the rest: a mount that hangs holds up its own files only.

mod answers;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::console::{self, Kind};
use super::context::Context;
use super::output::Output;
use super::table::Table;
use super::token::Source;
use crate::base::{Moment, Pid, ServiceId};
use crate::sys::aside::{self, Aside};
use crate::sys::log_file::{self, Answer, Errand, Settings, Work};
use crate::sys::{clock, output_end};
use memchr::{memchr, memchr_iter};
use mio::Interest;
use mio::unix::SourceFd;

/// A child that has not answered for this long holds up nothing else.
const LATE: Duration = Duration::from_millis(100);

/// A child that has not answered for this long is reported.
const HANGS: Duration = Duration::from_secs(1);

/// How long the daemon waits for the first answers before it starts the services, so that the files are open by then.
const AT_THE_START: Duration = Duration::from_millis(100);

/// How long the end waits for children that finish their work, at most.
const AT_THE_END: Duration = Duration::from_secs(10);

/// Children that open files at the same time; the files that are left wait for one of them.
const MAX_OPENERS: usize = 32;

pub(super) struct LogHelpers {
    table: Table<Helper>,
    /// Files that wait until fewer children hang.
    backlog: VecDeque<Task>,
}

struct Helper {
    pid: Pid,
    socket: UnixStream,
    role: Role,
    /// Its last answer, or when it was given something to do.
    since: Moment,
    is_late: bool,
    /// That it hangs was reported.
    is_reported: bool,
}

enum Role {
    /// Opens these.
    Opener(VecDeque<Task>),
    /// Rotates, and compresses.
    Rotator { of: Of, is_busy: bool },
    /// Writes a log file.
    Writer { of: Of, out: Out, ends: bool },
    /// Writes standard output or standard error.
    Console { kind: Kind, out: Out },
}

/// What a child that writes was sent and has not dealt with.
#[derive(Clone, Copy, Default)]
pub(super) struct Out {
    pub bytes: usize,
    pub lines: u64,
    /// The last byte of all ends no line.
    is_in_line: bool,
}

/// A service's log file, as long as it has these settings.
#[derive(Clone)]
struct Of {
    service: ServiceId,
    settings: Rc<Settings>,
}

#[derive(Clone)]
enum Task {
    Open(Of, Errand),
    IsLocal(Kind),
}

impl Of {
    fn is(&self, other: &Of) -> bool {
        self.service == other.service && Rc::ptr_eq(&self.settings, &other.settings)
    }
}

impl Task {
    fn work(&self) -> Work {
        match self {
            Task::Open(of, errand) => Work::File(Rc::clone(&of.settings), *errand),
            Task::IsLocal(kind) => Work::IsLocal(kind.fd()),
        }
    }
}

impl Helper {
    fn is_busy(&self) -> bool {
        match &self.role {
            Role::Opener(tasks) => !tasks.is_empty(),
            Role::Rotator { is_busy, .. } => *is_busy,
            Role::Writer { out, ends, .. } => out.bytes > 0 || *ends,
            Role::Console { out, .. } => out.bytes > 0,
        }
    }

    fn deadline(&self) -> Option<Moment> {
        let after = match (self.is_late, self.is_reported) {
            (false, _) => LATE,
            (true, false) => HANGS,
            (true, true) => return None,
        };
        self.is_busy().then(|| self.since.after(after))
    }

    fn of(&self) -> Option<&Of> {
        match &self.role {
            Role::Opener(tasks) => match tasks.front() {
                Some(Task::Open(of, _)) => Some(of),
                _ => None,
            },
            Role::Rotator { of, .. } | Role::Writer { of, .. } => Some(of),
            Role::Console { .. } => None,
        }
    }

    fn begin(&mut self, now: Moment) {
        if !self.is_busy() {
            self.since = now;
        }
    }
}

impl LogHelpers {
    pub fn new() -> LogHelpers {
        LogHelpers {
            table: Table::default(),
            backlog: VecDeque::new(),
        }
    }

    /// When the first one is late, or is to be reported.
    pub fn deadline(&self) -> Option<Moment> {
        let busy = self.table.values().filter_map(Helper::deadline);
        busy.min()
    }

    /// The services whose log file does not answer, and the file.
    pub fn hanging(&self) -> impl Iterator<Item = (ServiceId, &Path)> {
        let reported = self.table.values().filter(|helper| helper.is_reported);
        let of = reported.filter_map(Helper::of);
        of.map(|of| (of.service, of.settings.path.as_path()))
    }

    fn add(&mut self, aside: Aside, role: Role, cx: &mut Context<'_>) -> io::Result<usize> {
        let token = Source::LogHelper(self.table.next_slot()).token();
        let fd = aside.socket.as_raw_fd();
        cx.registry
            .register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        Ok(self.table.insert(Helper {
            pid: aside.pid,
            socket: aside.socket,
            role,
            since: cx.now,
            is_late: false,
            is_reported: false,
        }))
    }

    fn openers(&self) -> usize {
        let is_opener = |helper: &&Helper| matches!(helper.role, Role::Opener(_));
        self.table.values().filter(is_opener).count()
    }

    fn rotator(&self, wanted: &Of) -> Option<usize> {
        self.find(|role| matches!(role, Role::Rotator { of, .. } if of.is(wanted)))
    }

    fn writer(&self, wanted: &Of) -> Option<usize> {
        self.find(|role| matches!(role, Role::Writer { of, .. } if of.is(wanted)))
    }

    fn console(&self, wanted: Kind) -> Option<usize> {
        self.find(|role| matches!(role, Role::Console { kind, .. } if *kind == wanted))
    }

    fn find(&self, is_it: impl Fn(&Role) -> bool) -> Option<usize> {
        self.table.find(|helper| is_it(&helper.role))
    }
}

impl Output {
    /// Opens what the daemon begins with, and gives it a moment.
    pub(super) fn begin_log_files(&mut self, cx: &mut Context<'_>) {
        let mut tasks = VecDeque::new();
        for kind in [Kind::Stdout, Kind::Stderr] {
            if self.console(kind).is_of_unknown_kind() {
                tasks.push_back(Task::IsLocal(kind));
            }
        }
        tasks.extend(self.take_tasks(cx));
        self.start_opener(tasks, cx);
        let until = clock::now().after(AT_THE_START);
        self.await_helpers(until, cx, |helper| matches!(helper.role, Role::Opener(_)));
    }

    /// Has children do what log files need of them.
    pub(super) fn help_log_files(&mut self, cx: &mut Context<'_>) {
        let tasks = self.take_tasks(cx);
        self.start_opener(tasks, cx);
        for kind in [Kind::Stdout, Kind::Stderr] {
            if self.console(kind).is_slow() {
                self.start_console(kind, cx);
            }
        }
    }

    /// What is to be opened; everything else is begun.
    fn take_tasks(&mut self, cx: &mut Context<'_>) -> VecDeque<Task> {
        let mut tasks = VecDeque::new();
        for service in self.streams.take_needing() {
            let Some(outlet) = self.streams.outlet(service) else {
                continue;
            };
            let settings = outlet.settings();
            let (Some(file), Some(settings)) = (outlet.log_file(), settings) else {
                continue;
            };
            let of = Of { service, settings };
            if file.is_away() {
                self.send_to_writer(of, cx);
                continue;
            }
            match file.take_errand() {
                Some(errand @ Errand::Open(_)) => tasks.push_back(Task::Open(of, errand)),
                Some(Errand::Rotate(identity)) => self.rotate(of, identity, cx),
                None => {}
            }
        }
        tasks
    }

    fn start(
        &mut self,
        name: &'static std::ffi::CStr,
        role: Role,
        cx: &mut Context<'_>,
        work: impl FnOnce(UnixStream),
    ) -> io::Result<usize> {
        let aside = aside::start(name, work)?;
        let pid = aside.pid;
        cx.helpers.add(pid);
        self.log_helpers.add(aside, role, cx)
    }

    fn start_opener(&mut self, mut tasks: VecDeque<Task>, cx: &mut Context<'_>) {
        if self.log_helpers.openers() >= MAX_OPENERS {
            self.log_helpers.backlog.append(&mut tasks);
        }
        if tasks.is_empty() {
            return;
        }
        let list: Vec<Work> = tasks.iter().map(Task::work).collect();
        let role = Role::Opener(tasks.clone());
        let work = |socket| log_file::perform(&socket, &list);
        if let Err(error) = self.start(c"log-open", role, cx, work) {
            self.fail_tasks(
                tasks,
                &format!("cannot start a process for it: {error}"),
                cx,
            );
        }
    }

    fn fail_tasks(&mut self, tasks: VecDeque<Task>, why: &str, cx: &mut Context<'_>) {
        for task in tasks {
            match task {
                Task::Open(of, _) => self.finish_errand(&of, Answer::Failed(why.to_owned()), cx),
                Task::IsLocal(kind) => self.start_console(kind, cx),
            }
        }
    }

    fn rotate(&mut self, of: Of, identity: log_file::Identity, cx: &mut Context<'_>) {
        if let Some(key) = self.log_helpers.rotator(&of) {
            let helper = &mut self.log_helpers.table[key];
            let mut request = [0; 16];
            request[..8].copy_from_slice(&identity.0.to_ne_bytes());
            request[8..].copy_from_slice(&identity.1.to_ne_bytes());
            helper.begin(cx.now);
            // The socket of one that waits is empty.
            if matches!(
                output_end::send(helper.socket.as_raw_fd(), &request),
                Ok(16)
            ) {
                if let Role::Rotator { is_busy, .. } = &mut helper.role {
                    *is_busy = true;
                }
                return;
            }
            self.end_helper(key, cx);
        }
        let work = [Work::File(
            Rc::clone(&of.settings),
            Errand::Rotate(identity),
        )];
        let role = Role::Rotator {
            of: of.clone(),
            is_busy: true,
        };
        let perform = |socket| log_file::perform(&socket, &work);
        if let Err(error) = self.start(c"log-rotate", role, cx, perform) {
            let why = format!("cannot start a process for it: {error}");
            self.finish_errand(&of, Answer::Failed(why), cx);
        }
    }

    /// Gives the child that writes a file as much as its socket takes; where the file is to be opened again, up to the
    /// end of a line, and its end.
    fn send_to_writer(&mut self, of: Of, cx: &mut Context<'_>) {
        let service = of.service;
        let Some(outlet) = self.streams.outlet(service) else {
            return;
        };
        let Some(file) = outlet.log_file() else {
            return;
        };
        let Some(key) = self.log_helpers.writer(&of) else {
            if file.is_to_reopen() {
                file.end_writer(0);
                return self.streams.after_help(service);
            }
            return self.start_writer(of, cx);
        };
        let helper = &mut self.log_helpers.table[key];
        helper.begin(cx.now);
        let Role::Writer { out, ends, .. } = &mut helper.role else {
            return;
        };
        while !*ends {
            let mut bytes = file.waiting();
            if file.is_to_reopen() {
                let end = memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
                let is_over = !out.is_in_line || (bytes.is_empty() && !file.is_in_line());
                bytes = if is_over { &[] } else { &bytes[..end] };
                if is_over {
                    *ends = true;
                    let _ = helper.socket.shutdown(Shutdown::Write);
                }
            }
            if bytes.is_empty() {
                break;
            }
            match output_end::send(helper.socket.as_raw_fd(), bytes) {
                Ok(count) => {
                    out.add(&bytes[..count]);
                    file.sent(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Its answers make room; its end is reported by the socket.
                Err(_) => break,
            }
        }
    }

    fn start_writer(&mut self, of: Of, cx: &mut Context<'_>) {
        let role = Role::Writer {
            of: of.clone(),
            out: Out::default(),
            ends: false,
        };
        let settings = Rc::clone(&of.settings);
        let work = |socket| log_file::write_what_comes(&socket, &settings);
        match self.start(c"log-write", role, cx, work) {
            Ok(_) => self.send_to_writer(of, cx),
            Err(_) => {
                // One that opens it fails for the same reason, which is reported; then it is tried again.
                if let Some(file) = self.file_of(&of) {
                    file.end_writer(0);
                }
                self.streams.after_help(of.service);
            }
        }
    }

    /// Has a child write the daemon's own standard output or standard error from now on.
    fn start_console(&mut self, kind: Kind, cx: &mut Context<'_>) {
        if self.log_helpers.console(kind).is_some() {
            return;
        }
        let out = Out::default();
        let work = |socket| console::write_what_comes(socket, kind);
        let started = self.start(c"log-write", Role::Console { kind, out }, cx, work);
        let socket = started.and_then(|key| self.log_helpers.table[key].socket.try_clone());
        match socket {
            Ok(socket) => self.console_mut(kind).hand_over(socket),
            // It is written here then: better late than never.
            Err(_) => self.console_mut(kind).write_here(),
        }
    }

    /// The log file, if the service still has the one that is meant.
    fn file_of(&mut self, of: &Of) -> Option<&mut log_file::LogFile> {
        let outlet = self.streams.outlet(of.service)?;
        let settings = outlet.settings()?;
        let file = outlet.log_file()?;
        Rc::ptr_eq(&settings, &of.settings).then_some(file)
    }

    /// What came of an errand for a log file.
    fn finish_errand(&mut self, of: &Of, answer: Answer, cx: &mut Context<'_>) {
        let Some(file) = self.file_of(of) else {
            return;
        };
        let is_first = file.errand() == Some(Errand::Open(log_file::Why::First));
        let said = file.finish_errand(answer, cx.now);
        let message = said.map(|said| match is_first && said.starts_with("cannot open") {
            true => {
                let name = cx.name_of(of.service);
                format!("{name}: {said}; its lines are missing there until it can be")
            }
            false => said,
        });
        cx.messages.extend(message);
        self.streams.after_help(of.service);
    }
}

impl Out {
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.lines += memchr_iter(b'\n', bytes).count() as u64;
        self.is_in_line = !bytes.ends_with(b"\n");
    }
}
