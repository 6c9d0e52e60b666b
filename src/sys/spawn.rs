//! Starting a program without waiting for it (fork(2), execve(2)).
//!
//! What a service's files are read for, where its program is, its working directory, the program file itself: any of it
//! may be in a place that does not answer, and its user may stop the process that looks. So the child does all of
//! that, on a copy of the daemon's memory, and reports through a pipe which the execution closes. The daemon reads
//! the pipe when there is something in it, and never waits.
//!
//! The steps of the child are in `child`, what it reports in `report`.

mod child;
mod identity;
pub mod quick;
mod report;

use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::rc::Rc;

use crate::base::Pid;
use crate::config::model::{Limit, Resource};
use crate::domain::SpawnFailure;
use crate::sys::{limits, pipe, survivors};
pub use report::{Line, Report, Reporter};

/// What a service's program is: found and read by the child.
#[derive(Debug)]
pub struct Program {
    /// The file to execute.
    pub path: CString,
    /// Its arguments, the name first.
    pub argv: Vec<CString>,
    /// Its environment, `KEY=value`.
    pub envp: Vec<Rc<CStr>>,
    /// None: the daemon's own.
    pub cwd: Option<CString>,
    /// None: the daemon's own.
    pub ids: Option<Ids>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// -20 to 19.
    pub nice: Option<i32>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Beside the descriptor limit, which children get back as it was.
    pub limits: Vec<Limit>,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
    /// A script's text, which stays open in the program under the same number.
    pub text: Option<OwnedFd>,
}

impl Program {
    /// Sets a variable of the environment.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let start = format!("{name}=");
        self.envp
            .retain(|entry| !entry.to_bytes().starts_with(start.as_bytes()));
        self.envp.extend(CString::new(start + value).map(Rc::from));
    }
}

/// What the daemon hands to a child; it is known before there is one.
#[derive(Clone, Copy, Debug)]
pub struct Handed {
    /// What descriptors 0 to 2 are.
    pub stdio: Stdio,
    /// Whose session it is in.
    pub session: Session,
    /// A descriptor, and the number under which it is open in the program: where it says that it is ready.
    pub ready_fd: Option<(RawFd, RawFd)>,
}

/// User, group and supplementary groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// How the configuration names the user, for messages.
    pub name: String,
    /// The key that names it: `user` or `script_user`.
    pub key: &'static str,
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ids {
            uid,
            gid,
            name,
            key,
            ..
        } = self;
        write!(f, "user {name} (`{key}`, uid {uid}, gid {gid})")
    }
}

/// What a child's standard descriptors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// All three are this terminal, which becomes the controlling one.
    Terminal {
        /// The service's end.
        terminal: RawFd,
        /// Whether it is the standard input too; otherwise there is nothing to read.
        reads: bool,
    },
    /// Input from /dev/null, output and errors into pipes.
    Pipes {
        /// Standard output.
        out: RawFd,
        /// Standard error.
        err: RawFd,
    },
    /// The daemon's own.
    Inherit,
}

/// What a child leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// A session of its own (setsid(2)).
    New,
    /// A process group in the daemon's session, in the foreground of this terminal where one is named. It begins
    /// with the signals as the daemon's caller left them.
    Group {
        /// The daemon's controlling terminal.
        terminal: Option<RawFd>,
    },
}

/// The step at which a start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Session,
    Stdio,
    Limits,
    Priority,
    User,
    Directory,
    Execute,
}

/// Why the last system call of this thread failed.
fn errno() -> i32 {
    // SAFETY: the place exists as long as the thread does.
    unsafe { *libc::__errno_location() }
}

/// Why a program does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SpawnError {
    stage: Stage,
    errno: i32,
}

impl SpawnError {
    fn last(stage: Stage) -> SpawnError {
        SpawnError {
            stage,
            errno: errno(),
        }
    }

    /// In words: what could not be done with the program, why, and where it helps what to do.
    fn message(self, program: &Program) -> String {
        let path = program.path.to_string_lossy();
        let why = nix::errno::Errno::from_raw(self.errno).desc();
        match self.stage {
            Stage::Session => format!("cannot give {path} a session of its own: {why}"),
            Stage::Stdio => format!("cannot give {path} its output: {why}"),
            Stage::Limits => format!("cannot set the limits of {path}: {why}"),
            Stage::Priority => format!("cannot set nice or oom_score_adj of {path}: {why}"),
            Stage::User => match &program.ids {
                Some(ids) => format!(
                    "cannot run {path} as {ids}: {why}{}",
                    self.advice_on_user(ids)
                ),
                None => format!("cannot set no_new_privs for {path}: {why}"),
            },
            Stage::Directory => format!("cannot enter the working directory of {path}: {why}"),
            Stage::Execute => format!("cannot execute {path}: {why}{}", self.advice()),
        }
    }

    fn advice_on_user(self, ids: &Ids) -> String {
        match self.errno {
            libc::EPERM => format!(
                "; run the daemon as root, or give it CAP_SETUID and CAP_SETGID, or remove `{}`",
                ids.key
            ),
            libc::EINVAL => "; the user namespace of the container has no such id".to_owned(),
            _ => String::new(),
        }
    }

    fn advice(self) -> &'static str {
        match self.errno {
            libc::ENOEXEC => " (not a program for this machine; a script needs a #! line)",
            libc::ENOENT => " (the file, its #! interpreter or its dynamic loader is missing)",
            libc::EACCES => " (is it executable, for this user, on a file system without noexec?)",
            _ => "",
        }
    }

    /// What a shell would exit with: 127 not found, 126 not executable, 1 otherwise.
    fn exit_code(self) -> u8 {
        match (self.stage, self.errno) {
            (Stage::Execute, libc::ENOENT) => 127,
            (Stage::Execute, _) => 126,
            _ => 1,
        }
    }
}

/// A child on its way to its program.
#[derive(Debug)]
pub struct Started {
    /// Its process.
    pub pid: Pid,
    /// What it reports until its program is executed.
    pub report: Report,
}

/// Starts a child that makes its program and executes it. In the child, `make` may read and wait as it likes; what it
/// returns in place of a program is reported, as is any other reason why the program is not executed.
///
/// # Errors
/// When no process or descriptor is left.
pub fn start(
    handed: &Handed,
    make: impl FnOnce(&mut Reporter) -> Result<Program, SpawnFailure>,
) -> io::Result<Started> {
    let (ours, theirs) = pipe::pipe()?;
    let daemon = std::process::id();
    // SAFETY: the child runs on a copy of this memory. One thread makes this call in the daemon, so that no lock is
    // held by another one; the library's fork(3) puts those of its allocator in order where there are several.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => child::run(handed, theirs.as_raw_fd(), daemon, make),
        pid => Ok(Started {
            pid: Pid(pid),
            report: Report::new(ours),
        }),
    }
}

fn failure(program: &Program, error: SpawnError) -> SpawnFailure {
    SpawnFailure {
        message: error.message(program),
        exit_code: error.exit_code(),
    }
}

fn pointers<S: AsRef<CStr>>(strings: &[S]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ref().as_ptr())
        .chain([ptr::null()])
        .collect()
}

fn kernel_limits(program: &Program) -> Vec<(libc::c_int, libc::rlimit64)> {
    let value = |limit: Option<u64>| limit.unwrap_or(libc::RLIM64_INFINITY);
    let original = limits::original_descriptor_limit().map(|(soft, hard)| {
        (
            libc::RLIMIT_NOFILE as libc::c_int,
            libc::rlimit64 {
                rlim_cur: soft,
                rlim_max: hard,
            },
        )
    });
    let mark = survivors::mark().map(|(soft, hard)| {
        let rlimit = libc::rlimit64 {
            rlim_cur: soft,
            rlim_max: hard,
        };
        (libc::RLIMIT_LOCKS as libc::c_int, rlimit)
    });
    let own = program.limits.iter().map(|limit| {
        let rlimit = libc::rlimit64 {
            rlim_cur: value(limit.soft),
            rlim_max: value(limit.hard),
        };
        (resource_number(limit.resource), rlimit)
    });
    // The service's own limits come last.
    original.into_iter().chain(mark).chain(own).collect()
}

fn resource_number(resource: Resource) -> libc::c_int {
    let number = match resource {
        Resource::Core => libc::RLIMIT_CORE,
        Resource::Data => libc::RLIMIT_DATA,
        Resource::Nice => libc::RLIMIT_NICE,
        Resource::Fsize => libc::RLIMIT_FSIZE,
        Resource::Sigpending => libc::RLIMIT_SIGPENDING,
        Resource::Memlock => libc::RLIMIT_MEMLOCK,
        Resource::Rss => libc::RLIMIT_RSS,
        Resource::Nofile => libc::RLIMIT_NOFILE,
        Resource::Msgqueue => libc::RLIMIT_MSGQUEUE,
        Resource::Rtprio => libc::RLIMIT_RTPRIO,
        Resource::Stack => libc::RLIMIT_STACK,
        Resource::Cpu => libc::RLIMIT_CPU,
        Resource::Nproc => libc::RLIMIT_NPROC,
        Resource::As => libc::RLIMIT_AS,
        Resource::Locks => libc::RLIMIT_LOCKS,
        Resource::Rttime => libc::RLIMIT_RTTIME,
    };
    number as libc::c_int
}

/// Starts a child and waits until its program is executed, as only a test may.
#[cfg(test)]
pub(crate) fn start_and_wait(
    handed: &Handed,
    make: impl FnOnce(&mut Reporter) -> Result<Program, SpawnFailure>,
) -> Result<Pid, SpawnFailure> {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    let mut started = start(handed, make).map_err(|error| SpawnFailure {
        message: error.to_string(),
        exit_code: 1,
    })?;
    let mut lines = Vec::new();
    loop {
        let progress = started.report.look();
        lines.extend(progress.lines);
        if progress.is_over {
            break;
        }
        let end = PollFd::new(started.report.as_fd(), PollFlags::POLLIN);
        let _ = poll(&mut [end], PollTimeout::NONE);
    }
    let failed = lines.into_iter().find_map(|line| match line {
        Line::Failed { message, exit_code } => Some(SpawnFailure { message, exit_code }),
        Line::Note(_) | Line::User(_) | Line::Retry => None,
    });
    match failed {
        None => Ok(started.pid),
        Some(failure) => {
            let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(started.pid.0), None);
            Err(failure)
        }
    }
}

#[cfg(test)]
mod tests;
