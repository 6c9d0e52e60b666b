//! Starting a child: its terminal or its pipes, and the place where its output is read.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::context::Context;
use super::jobs::Jobs;
use super::launches::{Way, Wish};
use super::output::Output;
use super::signs::Post;
use super::stream::NewStream;
use crate::base::{Pid, Signal};
use crate::config::model::{self, IdOrName, Ready, Stdin};
use crate::domain::{Role, SpawnFailure};
use crate::launch;
use crate::output::format::{Origin, StreamKind};
use crate::supervisor::event::Scope;
use crate::sys::commands::reason;
use crate::sys::job_control::Terminal;
use crate::sys::limits::{self, Holder};
use crate::sys::notify::NotifySocket;
use crate::sys::pipe;
use crate::sys::pty::Pty;
use crate::sys::service_user;
use crate::sys::spawn::{self, Handed, Line, Program, Reporter, Session, Started, Stdio};

/// A child's ends of its terminal or pipes, and the daemon's.
struct Channels {
    stdio: Stdio,
    /// Kept open until the child has its own copies.
    _theirs: Vec<OwnedFd>,
    ours: Vec<(StreamKind, OwnedFd)>,
}

impl Jobs {
    /// Starts a child for what the supervisor asked for. It makes its program by itself, and reports when that is
    /// executed.
    ///
    /// # Errors
    /// Why there is no child.
    pub(super) fn try_launch(
        &mut self,
        wish: Wish,
        way: Way,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) -> Result<(), SpawnFailure> {
        let Wish { job, service, role } = wish;
        let Some(config) = cx.supervisor.config(service) else {
            return Err(failure(
                "the service is not in the configuration any more".into(),
            ));
        };
        if matches!(role, Role::Main | Role::PreScript) {
            output.open_late_log_file(service, &config, cx);
        }
        let is_main_program = cx.supervisor.is_main_program(service);
        let terminal = is_main_program.then(Terminal::of_a_program).flatten();
        let has_foreground = terminal.as_ref().map(Terminal::is_ours);
        let lent = terminal.filter(|_| has_foreground == Some(true));
        let channels = match is_main_program {
            true => own_channels(output, cx),
            false => open_channels(&config, output, cx)?,
        };
        leaves_some_free(&channels)?;
        let sign = match role {
            Role::Main => self.sign(&config, cx)?,
            Role::PreScript | Role::PostScript | Role::Check => Sign::default(),
        };
        let handed = Handed {
            stdio: channels.stdio,
            session: match is_main_program {
                true => Session::Group {
                    terminal: lent.map(|terminal| terminal.as_raw_fd()),
                },
                false => Session::New,
            },
            ready_fd: sign.ready_fd(),
        };
        let is_quick = way == Way::Quick && role == Role::Main && !is_main_program;
        let started = self.start_child(&config, role, is_quick, &handed, &sign)?;
        let pid = started.pid;
        self.children.add(job, pid);
        self.services.insert(job, service);
        if is_main_program {
            self.foreground.begin(job, pid, has_foreground);
        }
        let uid = config.user.is_none().then(service_user::own_uid);
        for post in sign.posts {
            let added = self.signs.add(job, (pid, uid), post, cx);
            if let Err(error) = added {
                complain(&config, "cannot watch for its readiness", &error, cx);
            }
        }
        watch_output(wish, &config, pid, channels.ours, output, cx);
        let watched = self.launches.add(job, Some(wish), started, cx);
        watched.map_err(|error| {
            let _ = self.children.kill(job, Signal::KILL, Scope::Group, cx.now);
            failure(format!("cannot watch its start: {}", reason(&error)))
        })
    }

    fn start_child(
        &self,
        config: &model::Service,
        role: Role,
        is_quick: bool,
        handed: &Handed,
        sign: &Sign,
    ) -> Result<Started, SpawnFailure> {
        let inherited = &self.inherited;
        let quick = is_quick.then(|| launch::quick(inherited, config)).flatten();
        if let Some((mut program, paths)) = quick {
            sign.equip(&mut program);
            if let Ok(started) = spawn::quick::start(handed, program, paths, &self.launches.stacks)
            {
                return Ok(started);
            }
        }
        let started = spawn::start(handed, |reporter| {
            let plan = launch::plan(inherited, config, role)?;
            for note in plan.notes {
                reporter.report(&Line::Note(note));
            }
            let mut program = plan.program;
            sign.equip(&mut program);
            sign.give_to_user(&program, reporter);
            Ok(program)
        });
        started.map_err(|error| {
            let (command, why) = (&config.command, reason(&error));
            failure(format!("cannot start a process for {command}: {why}"))
        })
    }

    /// Opens where a program is to say that it is ready and alive.
    fn sign(
        &mut self,
        config: &model::Service,
        cx: &mut Context<'_>,
    ) -> Result<Sign, SpawnFailure> {
        let mut sign = Sign {
            watchdog: config.watchdog,
            has_user: config.user.is_some(),
            ..Sign::default()
        };
        if let Ready::Fd(number) = config.ready {
            let made = pipe::pipe();
            let (ours, theirs) =
                made.map_err(|error| failure(format!("cannot make a pipe: {error}")))?;
            sign.posts.push(Post::Pipe(ours.into()));
            sign.theirs = Some((theirs, number));
        }
        if config.ready != Ready::Notify && config.watchdog.is_none() {
            return Ok(sign);
        }
        let (socket, complaint) = self
            .signs
            .open(may_be_own(config))
            .map_err(|error| failure(format!("cannot make a notify socket: {error}")))?;
        let named = complaint.map(|complaint| format!("{}: {complaint}", config.name));
        cx.messages.extend(named);
        sign.posts.push(Post::Notify(socket));
        Ok(sign)
    }
}

fn complain(config: &model::Service, what: &str, error: &std::io::Error, cx: &mut Context<'_>) {
    cx.message(format!("{}: {what}: {}", config.name, reason(error)));
}

fn watch_output(
    wish: Wish,
    config: &model::Service,
    pid: Pid,
    ours: Vec<(StreamKind, OwnedFd)>,
    output: &mut Output,
    cx: &mut Context<'_>,
) {
    let Wish { job, service, role } = wish;
    let awaits = match (&config.ready, role) {
        (Ready::Log(text), Role::Main) => Some((job, text.clone())),
        _ => None,
    };
    for (stream, fd) in ours {
        let new = NewStream {
            service,
            job,
            fd,
            origin: Origin { stream, pid: pid.0 },
            follows_size: stream == StreamKind::Tty && config.tty_size.is_none(),
            awaits: awaits.clone(),
        };
        let queue = &mut output.stdout.queue;
        let added = output.streams.add(new, queue, cx);
        if let Err(error) = added {
            complain(config, "cannot watch its output", &error, cx);
        }
    }
}

/// The main program writes to the same place: what the services said so far comes first.
fn own_channels(output: &mut Output, cx: &mut Context<'_>) -> Channels {
    output.write_so_far(cx);
    Channels {
        stdio: Stdio::Inherit,
        _theirs: Vec::new(),
        ours: Vec::new(),
    }
}

/// A PTY, or pipes where the service wants them or no PTY is to be had.
fn open_channels(
    config: &model::Service,
    output: &Output,
    cx: &mut Context<'_>,
) -> Result<Channels, SpawnFailure> {
    if config.tty {
        let size = config.tty_size.unwrap_or(output.size_for_services());
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
            Err(error) => cx.message(format!(
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

/// Whether a service runs as root, as far as its configuration shows it, or as the daemon's own user.
fn may_be_own(config: &model::Service) -> bool {
    config.user.as_ref().is_none_or(|spec| match &spec.user {
        IdOrName::Id(id) => *id == 0,
        IdOrName::Name(name) => name == "root",
    })
}

/// Where a program says that it is ready.
#[derive(Default)]
struct Sign {
    posts: Vec<Post>,
    /// The program's end of a pipe, and the number under which it has it.
    theirs: Option<(OwnedFd, RawFd)>,
    watchdog: Option<Duration>,
    /// It runs as a user of its own.
    has_user: bool,
}

impl Sign {
    fn ready_fd(&self) -> Option<(RawFd, RawFd)> {
        let (end, number) = self.theirs.as_ref()?;
        Some((end.as_raw_fd(), *number))
    }

    fn sockets(&self) -> impl Iterator<Item = &NotifySocket> {
        self.posts.iter().filter_map(|post| match post {
            Post::Notify(socket) => Some(socket),
            Post::Pipe(_) => None,
        })
    }

    /// Tells the program where.
    fn equip(&self, program: &mut Program) {
        for socket in self.sockets() {
            program.set_env("NOTIFY_SOCKET", &socket.address());
            if let Some(period) = self.watchdog {
                program.set_env("WATCHDOG_USEC", &period.as_micros().to_string());
            }
        }
    }

    /// Lets the program's user send there. In the child, which alone knows the user.
    fn give_to_user(&self, program: &Program, reporter: &mut Reporter) {
        let uid = program.ids.as_ref().map(|ids| ids.uid);
        let Some(uid) = uid.filter(|_| self.has_user) else {
            return;
        };
        for socket in self.sockets() {
            reporter.report(&Line::User(uid));
            if let Err(error) = socket.give_to(uid) {
                let why = reason(&error);
                reporter.report(&Line::Note(format!(
                    "cannot give the notify socket to its user: {why}; every user can send to it, and only processes of \
                     the service are believed; with CAP_CHOWN it is the user's alone"
                )));
            }
        }
    }
}

fn failure(message: String) -> SpawnFailure {
    SpawnFailure {
        message,
        exit_code: 1,
    }
}
