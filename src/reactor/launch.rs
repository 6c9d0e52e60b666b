//! Starting a child: its terminal or its pipes, and the place where its output is read.

use std::os::fd::{AsRawFd, OwnedFd};

use super::Reactor;
use super::signs::Post;
use super::stream::NewStream;
use super::streams::Outside;
use crate::base::{JobId, Moment, Pid, ServiceId};
use crate::config::model::{self, Ready, Stdin, TtySize};
use crate::output::format::{Origin, StreamKind};
use crate::supervisor::event::{Event, Role, SpawnFailure};
use crate::sys::job_control::Terminal;
use crate::sys::launch;
use crate::sys::limits::{self, Holder};
use crate::sys::pipe;
use crate::sys::pty::{self, Pty};
use crate::sys::spawn::{self, Session, Stdio};

/// The size of a terminal that nobody looks at.
const DEFAULT_SIZE: TtySize = TtySize {
    columns: 80,
    rows: 24,
};

/// Long names must not leave a service without columns.
const MIN_COLUMNS: u16 = 20;

/// A child's ends of its terminal or pipes, and the daemon's.
struct Channels {
    stdio: Stdio,
    /// Kept open until the child has its own copies.
    _theirs: Vec<OwnedFd>,
    ours: Vec<(StreamKind, OwnedFd)>,
}

impl Reactor {
    /// Starts what the supervisor asked for; the answer is the event it waits for.
    pub(super) fn spawn(
        &mut self,
        job: JobId,
        service: ServiceId,
        role: Role,
        now: Moment,
    ) -> Event {
        match self.try_spawn(job, service, role, now) {
            Ok(pid) => {
                self.children.add(job, pid);
                self.job_services.insert(job, service);
                Event::Spawned { job, pid }
            }
            Err(failure) => Event::SpawnFailed { job, failure },
        }
    }

    fn try_spawn(
        &mut self,
        job: JobId,
        service: ServiceId,
        role: Role,
        now: Moment,
    ) -> Result<Pid, SpawnFailure> {
        let Some(config) = self.supervisor.config(service) else {
            return Err(failure(
                "the service is not in the configuration any more".into(),
            ));
        };
        let mut plan = launch::plan(&self.inherited, &config, role)?;
        let notes = plan.notes.drain(..);
        let notes = notes.map(|note| format!("{}: {note}", config.name));
        self.messages.extend(notes);
        if matches!(role, Role::Main | Role::PreScript) {
            self.open_late_log_file(service, &config);
        }
        let is_main_program = self.supervisor.is_main_program(service);
        let terminal = is_main_program.then(Terminal::of_a_program).flatten();
        let has_foreground = terminal.as_ref().map(Terminal::is_ours);
        let channels = if is_main_program {
            plan.program.session = Session::Group {
                terminal: terminal
                    .filter(|_| has_foreground == Some(true))
                    .map(|terminal| terminal.as_raw_fd()),
            };
            // The main program writes to the same place: what the services said so far comes first.
            self.pump(now);
            self.stdout.flush(self.poll.registry(), now);
            Channels {
                stdio: Stdio::Inherit,
                _theirs: Vec::new(),
                ours: Vec::new(),
            }
        } else {
            let channels = self.open_channels(&config)?;
            leaves_some_free(&channels)?;
            channels
        };
        plan.program.stdio = channels.stdio;
        let sign = match role {
            Role::Main => self.sign(&config, &mut plan)?,
            Role::PreScript | Role::PostScript | Role::Check => Sign::default(),
        };
        let pid = spawn::spawn(&plan.program).map_err(|error| SpawnFailure {
            message: error.message(&plan.program),
            exit_code: error.exit_code(),
        })?;
        if is_main_program {
            self.begin_foreground(job, pid, has_foreground);
        }
        for post in sign.posts {
            let uid = uid_of(&plan);
            let added = self.signs.add(job, (pid, uid), post, self.poll.registry());
            if let Err(error) = added {
                let name = &config.name;
                self.messages
                    .push(format!("{name}: cannot watch for its readiness: {error}"));
            }
        }
        let awaits = match (&config.ready, role) {
            (Ready::Log(text), Role::Main) => Some((job, text.clone())),
            _ => None,
        };
        for (stream, fd) in channels.ours {
            let new = NewStream {
                service,
                job,
                fd,
                origin: Origin { stream, pid: pid.0 },
                follows_size: stream == StreamKind::Tty && config.tty_size.is_none(),
                awaits: awaits.clone(),
            };
            let mut outside = Outside {
                queue: &mut self.stdout.queue,
                messages: &mut self.messages,
                now,
            };
            let added = self.streams.add(new, self.poll.registry(), &mut outside);
            if let Err(error) = added {
                self.messages
                    .push(format!("{}: cannot watch its output: {error}", config.name));
            }
        }
        Ok(pid)
    }

    /// Opens where a program is to say that it is ready and alive, and tells it where.
    fn sign(
        &mut self,
        config: &model::Service,
        plan: &mut launch::Plan,
    ) -> Result<Sign, SpawnFailure> {
        let mut sign = Sign::default();
        if let Ready::Fd(number) = config.ready {
            let made = pipe::pipe();
            let (ours, theirs) =
                made.map_err(|error| failure(format!("cannot make a pipe: {error}")))?;
            plan.program.ready_fd = Some((theirs.as_raw_fd(), number));
            sign.posts.push(Post::Pipe(ours.into()));
            sign._theirs = Some(theirs);
        }
        if config.ready != Ready::Notify && config.watchdog.is_none() {
            return Ok(sign);
        }
        let (socket, complaint) = self
            .signs
            .open(uid_of(plan))
            .map_err(|error| failure(format!("cannot make a notify socket: {error}")))?;
        let named = complaint.map(|complaint| format!("{}: {complaint}", config.name));
        self.messages.extend(named);
        plan.set_env("NOTIFY_SOCKET", &socket.address());
        if let Some(period) = config.watchdog {
            plan.set_env("WATCHDOG_USEC", &period.as_micros().to_string());
        }
        sign.posts.push(Post::Notify(socket));
        Ok(sign)
    }

    /// A PTY, or pipes where the service wants them or no PTY is to be had.
    fn open_channels(&mut self, config: &model::Service) -> Result<Channels, SpawnFailure> {
        if config.tty {
            let size = config.tty_size.unwrap_or(self.size_for_services());
            match Pty::open(size.rows, size.columns) {
                Ok(Pty { master, slave }) => {
                    let stdio = Stdio::Terminal {
                        terminal: slave.as_raw_fd(),
                        reads: config.stdin == Stdin::Tty,
                    };
                    return Ok(Channels {
                        stdio,
                        _theirs: vec![slave],
                        ours: vec![(StreamKind::Tty, master)],
                    });
                }
                Err(error) => self.messages.push(format!(
                    "{}: cannot open a PTY: {error}; using pipes instead (tty = false does so without this message)",
                    config.name
                )),
            }
        }
        let pair = || pipe::pipe().map_err(|error| failure(format!("cannot make a pipe: {error}")));
        let (out, their_out) = pair()?;
        let (err, their_err) = pair()?;
        let stdio = Stdio::Pipes {
            out: their_out.as_raw_fd(),
            err: their_err.as_raw_fd(),
        };
        Ok(Channels {
            stdio,
            _theirs: vec![their_out, their_err],
            ours: vec![(StreamKind::Stdout, out), (StreamKind::Stderr, err)],
        })
    }

    /// The size of the daemon's own terminal, without the columns that names take; 80 by 24 where there is
    /// none.
    fn size_for_services(&self) -> TtySize {
        let own = [1, 2, 0].into_iter().find_map(pty::size);
        let taken = u16::try_from(self.prefixer.columns()).unwrap_or(u16::MAX);
        own.map_or(DEFAULT_SIZE, |(rows, columns)| TtySize {
            columns: columns.saturating_sub(taken).max(MIN_COLUMNS),
            rows,
        })
    }

    /// The daemon's terminal has another size: so do the services'.
    pub(super) fn follow_window_size(&self) {
        self.streams.resize(self.size_for_services());
    }

    /// Has a log file opened whose folder or owner was not there when the daemon began.
    fn open_late_log_file(&mut self, service: ServiceId, config: &model::Service) {
        let is_main_program = self.supervisor.is_main_program(service);
        if config.log_file.is_none() || is_main_program || self.streams.keeps_file(service, config)
        {
            return;
        }
        let sink = self.sink(config);
        if self.streams.fit_service(service, config, sink) {
            self.retire_log_helpers(service);
        }
    }
}

/// With the last descriptors the daemon has to be able to answer, or nobody could stop what took the others.
fn leaves_some_free(channels: &Channels) -> Result<(), SpawnFailure> {
    let mut ours = channels.ours.iter().map(|(_, fd)| fd.as_raw_fd());
    match ours.any(|fd| limits::is_kept_free(fd, Holder::Service)) {
        true => Err(failure(
            "cannot open its terminal or pipes: too many open files; raise the daemon's limit (ulimit -n)".into(),
        )),
        false => Ok(()),
    }
}

/// Where a program says that it is ready, and what has to stay open until it is executed.
#[derive(Default)]
struct Sign {
    posts: Vec<Post>,
    _theirs: Option<OwnedFd>,
}

/// The user that a program runs as.
fn uid_of(plan: &launch::Plan) -> u32 {
    let ids = plan.program.ids.as_ref();
    ids.map_or_else(launch::own_uid, |ids| ids.uid)
}

fn failure(message: String) -> SpawnFailure {
    SpawnFailure {
        message,
        exit_code: 1,
    }
}
