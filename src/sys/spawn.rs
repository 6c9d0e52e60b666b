//! Starting a program (clone(2), execve(2)).
//!
//! The child shares the daemon's memory until it executes its program (CLONE_VM and CLONE_VFORK, as
//! posix_spawn(3) does it): nothing is copied, and the daemon, which waits that long, learns at once
//! whether the program was really executed, and if not at which step and why. So everything is prepared
//! beforehand; the child makes system calls and nothing else: no allocation, no lock, no library call
//! that talks to other threads. Its steps are in `child`.

mod child;
mod identity;
mod pad;

use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::rc::Rc;

use nix::sys::prctl;

use crate::base::Pid;
use crate::config::model::{Limit, Resource};
use crate::sys::{limits, pid1, signals, survivors};
use pad::Pad;

/// All that a child needs.
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
    /// What descriptors 0 to 2 are.
    pub stdio: Stdio,
    /// Whose session it is in.
    pub session: Session,
    /// A descriptor that stays open in the program under the same number: a script's text.
    pub script_fd: Option<RawFd>,
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
#[repr(i32)]
enum Stage {
    Fork,
    Session,
    Stdio,
    Limits,
    Priority,
    User,
    Directory,
    Execute,
}

/// Why a program does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnError {
    stage: Stage,
    errno: i32,
}

impl SpawnError {
    /// In words: what could not be done with the program, why, and where it helps what to do.
    pub fn message(&self, program: &Program) -> String {
        let path = program.path.to_string_lossy();
        let why = nix::errno::Errno::from_raw(self.errno).desc();
        match self.stage {
            Stage::Fork => format!("cannot start a process for {path}: {why}"),
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

    fn advice_on_user(&self, ids: &Ids) -> String {
        match self.errno {
            libc::EPERM => format!(
                "; run the daemon as root, or give it CAP_SETUID and CAP_SETGID, or remove `{}`",
                ids.key
            ),
            libc::EINVAL => "; the user namespace of the container has no such id".to_owned(),
            _ => String::new(),
        }
    }

    fn advice(&self) -> &'static str {
        match self.errno {
            libc::ENOEXEC => " (not a program for this machine; a script needs a #! line)",
            libc::ENOENT => " (the file, its #! interpreter or its dynamic loader is missing)",
            libc::EACCES => " (is it executable, for this user, on a file system without noexec?)",
            _ => "",
        }
    }

    /// What a shell would exit with: 127 not found, 126 not executable, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match (self.stage, self.errno) {
            (Stage::Execute, libc::ENOENT) => 127,
            (Stage::Execute, _) => 126,
            _ => 1,
        }
    }
}

/// What the child reads and writes; it lives on the parent's stack, which waits.
struct Errand<'a> {
    program: &'a Program,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    limits: Vec<(libc::c_int, libc::rlimit64)>,
    oom_score_adj: Option<CString>,
    signals: signals::Start,
    /// The daemon, where its children are to die with it.
    parent: Option<libc::pid_t>,
    layout: Layout,
    failure: Option<SpawnError>,
}

/// Where the child finds its descriptors.
#[derive(Clone, Copy)]
struct Layout {
    stdio: Stdio,
    ready_fd: Option<(RawFd, RawFd)>,
    /// The daemon's table is shared, and the child takes what is below this number; None: it has a copy.
    own_below: Option<RawFd>,
    /// /dev/null, where it is open.
    null: Option<RawFd>,
}

impl Layout {
    /// Where they are in the daemon.
    fn as_it_is(program: &Program) -> Layout {
        Layout {
            stdio: program.stdio,
            ready_fd: program.ready_fd,
            own_below: None,
            null: None,
        }
    }

    /// On the launch pad.
    fn on(pad: &mut Pad, program: &Program) -> Option<Layout> {
        let stdio = match program.stdio {
            Stdio::Inherit => Stdio::Inherit,
            Stdio::Terminal { terminal, reads } => Stdio::Terminal {
                terminal: pad.lay_out(terminal)?,
                reads,
            },
            Stdio::Pipes { out, err } => Stdio::Pipes {
                out: pad.lay_out(out)?,
                err: pad.lay_out(err)?,
            },
        };
        let ready_fd = match program.ready_fd {
            Some((from, to)) => Some((pad.lay_out(from)?, to)),
            None => None,
        };
        Some(Layout {
            stdio,
            ready_fd,
            own_below: Some(pad.end()),
            null: Some(pad.null()),
        })
    }
}

/// The child's stack. It calls a handful of functions that hold next to nothing.
const STACK_BYTES: usize = 64 * 1024;

/// Starts a program. When this returns Ok, it was really executed.
///
/// # Errors
/// The step that failed, and why; there is no child then.
pub fn spawn(program: &Program) -> Result<Pid, SpawnError> {
    give_to_user(program);
    // A script's text is found by its number, which has to stay.
    let mut pad = match program.script_fd {
        None => Pad::claim(),
        Some(_) => None,
    };
    let layout = pad.as_mut().and_then(|pad| Layout::on(pad, program));
    let mut errand = Errand {
        program,
        argv: pointers(&program.argv),
        envp: pointers(&program.envp),
        limits: kernel_limits(program),
        oom_score_adj: program
            .oom_score_adj
            .and_then(|value| CString::new(value.to_string()).ok()),
        signals: match program.session {
            Session::New => signals::Start::by_default(),
            Session::Group { .. } => signals::Start::as_inherited(),
        },
        parent: (!pid1::is_pid1()).then(|| std::process::id().cast_signed()),
        layout: layout.unwrap_or_else(|| Layout::as_it_is(program)),
        failure: None,
    };
    let was_dumpable = program.ids.is_some() && prctl::get_dumpable().unwrap_or(false);
    let started = with_signals_blocked(|| clone_child(&mut errand));
    if was_dumpable {
        // A child that changes its user clears this for the memory it shares, which is ours. Without it
        // our /proc/PID/fd would be closed to root without CAP_SYS_PTRACE: `echo hello > /proc/1/fd/1`.
        let _ = prctl::set_dumpable(true);
    }
    let pid = started?;
    // The child wrote it behind the compiler's back.
    // SAFETY: the errand is alive and nobody else writes to it any more.
    match unsafe { ptr::read_volatile(&raw const errand.failure) } {
        None => Ok(Pid(pid)),
        Some(error) => {
            // It has exited; nobody is to find its remains.
            // SAFETY: waiting for a child of ours by number.
            unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
            Err(error)
        }
    }
}

/// No handler may run in a child that shares our memory.
fn with_signals_blocked(
    work: impl FnOnce() -> Result<libc::pid_t, SpawnError>,
) -> Result<libc::pid_t, SpawnError> {
    let before = signals::block_all().map_err(|error| SpawnError {
        stage: Stage::Fork,
        errno: error.raw_os_error().unwrap_or(libc::EINVAL),
    })?;
    let result = work();
    signals::set_mask(before);
    result
}

fn clone_child(errand: &mut Errand<'_>) -> Result<libc::pid_t, SpawnError> {
    let mut stack: Vec<u128> = Vec::new();
    let reserved = stack.try_reserve_exact(STACK_BYTES / size_of::<u128>());
    reserved.map_err(|_| SpawnError {
        stage: Stage::Fork,
        errno: libc::ENOMEM,
    })?;
    let mut flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    if errand.layout.own_below.is_some() {
        flags |= libc::CLONE_FILES;
    }
    // SAFETY: the child runs on a stack of its own, aligned to 16 bytes. Because of CLONE_VFORK it is done
    // with our memory (it executed or exited) when clone returns; the errand and the stack outlive that.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.capacity());
        libc::clone(child::run, top.cast(), flags, ptr::from_mut(errand).cast())
    };
    match pid {
        0.. => Ok(pid),
        _ => Err(SpawnError {
            stage: Stage::Fork,
            errno: io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EAGAIN),
        }),
    }
}

/// Lets the service's user open its own output again (/dev/stdout); one that cannot is no worse off.
fn give_to_user(program: &Program) {
    let Some(ids) = &program.ids else { return };
    let fds = match program.stdio {
        Stdio::Terminal { terminal: fd, .. } => [fd, fd],
        Stdio::Pipes { out, err } => [out, err],
        Stdio::Inherit => return,
    };
    for fd in fds {
        // SAFETY: changing the owner of an open file by number.
        unsafe { libc::fchown(fd, ids.uid, ids.gid) };
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

#[cfg(test)]
mod tests;
