//! Starting a program (clone(2), execve(2)).
//!
//! The child shares the daemon's memory until it executes its program (CLONE_VM and CLONE_VFORK, as
//! posix_spawn(3) does it): nothing is copied, and the daemon, which waits that long, learns at once
//! whether the program was really executed, and if not at which step and why. So everything is prepared
//! beforehand; the child makes system calls and nothing else: no allocation, no lock, no library call
//! that talks to other threads.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::RawFd;
use std::ptr;

use crate::base::Pid;
use crate::config::model::{Limit, Resource};
use crate::sys::{limits, signals};

/// All that a child needs.
#[derive(Debug)]
pub struct Program {
    /// The file to execute.
    pub path: CString,
    /// Its arguments, the name first.
    pub argv: Vec<CString>,
    /// Its environment, `KEY=value`.
    pub envp: Vec<CString>,
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
}

/// What a child's standard descriptors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// All three are this terminal, which becomes the controlling one.
    Terminal(RawFd),
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
    /// A process group in the daemon's session, in the foreground of its terminal where there is one.
    ForegroundGroup,
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
    pub fn message(&self, path: &CStr) -> String {
        let path = path.to_string_lossy();
        let why = nix::errno::Errno::from_raw(self.errno).desc();
        match self.stage {
            Stage::Fork => format!("cannot start a process for {path}: {why}"),
            Stage::Session => format!("cannot give {path} a session of its own: {why}"),
            Stage::Stdio => format!("cannot give {path} its output: {why}"),
            Stage::Limits => format!("cannot set the limits of {path}: {why}"),
            Stage::Priority => format!("cannot set nice or oom_score_adj of {path}: {why}"),
            Stage::User => format!("cannot run {path} as another user: {why}"),
            Stage::Directory => format!("cannot enter the working directory of {path}: {why}"),
            Stage::Execute => format!("cannot execute {path}: {why}{}", self.advice()),
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
    limits: Vec<(i32, libc::rlimit)>,
    oom_score_adj: Option<CString>,
    ignored: &'static [i32],
    take_terminal: bool,
    failure: Option<SpawnError>,
}

/// One step of the child: below 0, errno says why it failed. To be called in the child only.
type Step = unsafe fn(&Errand<'_>) -> i64;

/// The child's stack. It calls a handful of functions that hold next to nothing.
const STACK_BYTES: usize = 64 * 1024;

/// Starts a program. When this returns Ok, it was really executed.
///
/// # Errors
/// The step that failed, and why; there is no child then.
pub fn spawn(program: &Program) -> Result<Pid, SpawnError> {
    let failed = |errno: Option<i32>| SpawnError {
        stage: Stage::Fork,
        errno: errno.unwrap_or(libc::EAGAIN),
    };
    give_to_user(program);
    let mut errand = Errand {
        program,
        argv: pointers(&program.argv),
        envp: pointers(&program.envp),
        limits: kernel_limits(program),
        oom_score_adj: program
            .oom_score_adj
            .and_then(|value| CString::new(value.to_string()).ok()),
        ignored: signals::ignored(),
        take_terminal: program.session == Session::ForegroundGroup && leads_terminal(),
        failure: None,
    };
    let mut stack: Vec<u128> = Vec::with_capacity(STACK_BYTES / 16);
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: all signals are blocked while the child shares our memory, so no handler runs in it. The
    // child runs on a stack of its own, aligned to 16 bytes, and is over with our memory (it executed or
    // exited) when clone returns, because of CLONE_VFORK; the errand and the stack outlive that.
    let pid = unsafe {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        let top = stack.as_mut_ptr().add(STACK_BYTES / 16);
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let pid = libc::clone(child, top.cast(), flags, (&raw mut errand).cast());
        let errno = io::Error::last_os_error().raw_os_error();
        libc::sigprocmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
        if pid < 0 {
            return Err(failed(errno));
        }
        pid
    };
    // The child wrote it behind the compiler's back.
    // SAFETY: the errand is alive and nobody else writes to it any more.
    let failure = unsafe { ptr::read_volatile(&raw const errand.failure) };
    match failure {
        None => Ok(Pid(pid)),
        Some(error) => {
            // It has exited; nobody is to find its remains.
            // SAFETY: waiting for a child of ours by number.
            unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
            Err(error)
        }
    }
}

/// Lets the service's user open its own output again (/dev/stdout); one that cannot is no worse off.
fn give_to_user(program: &Program) {
    let Some(ids) = &program.ids else { return };
    let fds = match program.stdio {
        Stdio::Terminal(fd) => [fd, fd],
        Stdio::Pipes { out, err } => [out, err],
        Stdio::Inherit => return,
    };
    for fd in fds {
        // SAFETY: changing the owner of an open file by number.
        unsafe { libc::fchown(fd, ids.uid, ids.gid) };
    }
}

/// Whether the daemon's standard input is its controlling terminal.
fn leads_terminal() -> bool {
    // SAFETY: both calls take numbers only.
    unsafe { libc::tcgetpgrp(0) >= 0 && libc::tcgetsid(0) == libc::getsid(0) }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

fn kernel_limits(program: &Program) -> Vec<(i32, libc::rlimit)> {
    let value = |limit: Option<u64>| limit.unwrap_or(libc::RLIM_INFINITY);
    let original = limits::original_descriptor_limit().map(|(soft, hard)| {
        (
            libc::RLIMIT_NOFILE as i32,
            libc::rlimit {
                rlim_cur: soft,
                rlim_max: hard,
            },
        )
    });
    let own = program.limits.iter().map(|limit| {
        let rlimit = libc::rlimit {
            rlim_cur: value(limit.soft),
            rlim_max: value(limit.hard),
        };
        (resource_number(limit.resource), rlimit)
    });
    original.into_iter().chain(own).collect()
}

fn resource_number(resource: Resource) -> i32 {
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
    number as i32
}

/// The child's life until it executes its program. Runs in the daemon's memory.
extern "C" fn child(errand: *mut libc::c_void) -> libc::c_int {
    let errand: *mut Errand<'_> = errand.cast();
    // SAFETY: the parent waits, so the errand is alive and ours alone; only system calls are made.
    unsafe {
        let error = prepare_and_execute(&*errand);
        ptr::write_volatile(&raw mut (*errand).failure, Some(error));
        libc::syscall(libc::SYS_exit, 127);
    }
    127
}

/// Gives back only when it failed.
///
/// # Safety
/// To be called in the child only.
unsafe fn prepare_and_execute(errand: &Errand<'_>) -> SpawnError {
    let steps: [(Stage, Step); 7] = [
        (Stage::Session, begin_session),
        (Stage::Stdio, set_stdio),
        (Stage::Priority, set_priority),
        (Stage::Limits, set_limits),
        (Stage::User, set_user),
        (Stage::Directory, enter_directory),
        (Stage::Execute, execute),
    ];
    for (stage, step) in steps {
        // SAFETY: in the child, as each step wants it.
        if unsafe { step(errand) } < 0 {
            // SAFETY: reading our own errno.
            let errno = unsafe { *libc::__errno_location() };
            return SpawnError { stage, errno };
        }
    }
    SpawnError {
        stage: Stage::Execute,
        errno: libc::ENOEXEC,
    }
}

unsafe fn begin_session(errand: &Errand<'_>) -> i64 {
    // SAFETY: system calls on numbers.
    unsafe {
        match errand.program.session {
            Session::New => libc::syscall(libc::SYS_setsid),
            Session::ForegroundGroup => {
                let result = libc::syscall(libc::SYS_setpgid, 0, 0);
                if errand.take_terminal {
                    // SIGTTOU is blocked, so that a background group may do this.
                    let group = libc::syscall(libc::SYS_getpid) as libc::pid_t;
                    libc::syscall(libc::SYS_ioctl, 0, libc::TIOCSPGRP, &raw const group);
                }
                result
            }
        }
    }
}

unsafe fn set_stdio(errand: &Errand<'_>) -> i64 {
    // SAFETY: system calls on numbers. The descriptors are above 2, since those were open at start.
    unsafe {
        if let Some(fd) = errand.program.script_fd
            && libc::syscall(libc::SYS_fcntl, fd, libc::F_SETFD, 0) < 0
        {
            return -1;
        }
        match errand.program.stdio {
            Stdio::Inherit => 0,
            Stdio::Terminal(fd) => {
                if libc::syscall(libc::SYS_ioctl, fd, libc::TIOCSCTTY, 0) < 0 {
                    return -1;
                }
                (0..=2).map(|to| duplicate(fd, to)).min().unwrap_or(0)
            }
            Stdio::Pipes { out, err } => {
                let path = c"/dev/null".as_ptr();
                let null = libc::syscall(
                    libc::SYS_openat,
                    libc::AT_FDCWD,
                    path,
                    libc::O_RDONLY | libc::O_CLOEXEC,
                );
                if null >= 0 {
                    duplicate(null as RawFd, 0);
                } else {
                    // No /dev to be had: a closed input is the next best thing.
                    libc::syscall(libc::SYS_close, 0);
                }
                duplicate(out, 1).min(duplicate(err, 2))
            }
        }
    }
}

/// dup3 differs from dup2 only in that it refuses to do nothing.
unsafe fn duplicate(from: RawFd, to: RawFd) -> i64 {
    // SAFETY: a system call on numbers.
    unsafe { libc::syscall(libc::SYS_dup3, from, to, 0) }
}

unsafe fn set_priority(errand: &Errand<'_>) -> i64 {
    let program = errand.program;
    // SAFETY: system calls on numbers and on strings that the errand holds.
    unsafe {
        if let Some(mask) = program.umask {
            libc::syscall(libc::SYS_umask, mask);
        }
        if let Some(nice) = program.nice
            && libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, nice) < 0
        {
            return -1;
        }
        let Some(value) = &errand.oom_score_adj else {
            return 0;
        };
        let path = c"/proc/self/oom_score_adj".as_ptr();
        let fd = libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path,
            libc::O_WRONLY | libc::O_CLOEXEC,
        );
        if fd < 0 {
            return fd;
        }
        libc::syscall(libc::SYS_write, fd, value.as_ptr(), value.count_bytes())
    }
}

unsafe fn set_limits(errand: &Errand<'_>) -> i64 {
    for (resource, limit) in &errand.limits {
        // SAFETY: the limit is read by the kernel; no old one is asked for.
        let result = unsafe {
            libc::syscall(
                libc::SYS_prlimit64,
                0,
                *resource,
                ptr::from_ref(limit),
                ptr::null_mut::<libc::rlimit>(),
            )
        };
        if result < 0 {
            return result;
        }
    }
    0
}

/// The system calls themselves: the library's functions would tell other threads of this memory.
unsafe fn set_user(errand: &Errand<'_>) -> i64 {
    // SAFETY: system calls on numbers and on the errand's list of groups.
    unsafe {
        if let Some(ids) = &errand.program.ids {
            let groups = libc::syscall(libc::SYS_setgroups, ids.groups.len(), ids.groups.as_ptr());
            if groups < 0 && *libc::__errno_location() != libc::EPERM {
                return groups;
            }
            let may_not = groups < 0;
            let gid = libc::syscall(libc::SYS_setresgid, ids.gid, ids.gid, ids.gid);
            if gid < 0 {
                return gid;
            }
            let uid = libc::syscall(libc::SYS_setresuid, ids.uid, ids.uid, ids.uid);
            if uid < 0 {
                return uid;
            }
            // Who may not set groups may still become who it is already, and nobody else.
            if may_not && libc::syscall(libc::SYS_geteuid) != i64::from(ids.uid) {
                return -1;
            }
        }
        if errand.program.no_new_privs {
            return libc::syscall(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        }
        0
    }
}

unsafe fn enter_directory(errand: &Errand<'_>) -> i64 {
    match &errand.program.cwd {
        // SAFETY: the path is a string that the errand holds.
        Some(path) => unsafe { libc::syscall(libc::SYS_chdir, path.as_ptr()) },
        None => 0,
    }
}

unsafe fn execute(errand: &Errand<'_>) -> i64 {
    // SAFETY: dispositions are the child's own (no CLONE_SIGHAND); the arrays end with null and live on.
    unsafe {
        let default: signals::KernelAction = [libc::SIG_DFL; 4];
        for number in errand.ignored {
            let none = ptr::null_mut::<signals::KernelAction>();
            libc::syscall(
                libc::SYS_rt_sigaction,
                *number,
                &raw const default,
                none,
                8usize,
            );
        }
        let none: u64 = 0;
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null_mut::<u64>(),
            8usize,
        );
        libc::syscall(
            libc::SYS_execve,
            errand.program.path.as_ptr(),
            errand.argv.as_ptr(),
            errand.envp.as_ptr(),
        )
    }
}
