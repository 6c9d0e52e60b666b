//! The child's steps, from the clone to the execution of its program. All of this runs in the daemon's
//! memory while the daemon waits: system calls, and nothing else.
//!
//! What needs the daemon's privilege comes before the change of user. The directory comes after it: what
//! is entered is what that user may enter.

use std::os::fd::RawFd;
use std::ptr;

use super::{Errand, Session, SpawnError, Stage, Stdio, identity};
use crate::sys::signals::{KernelAction, SET_BYTES};

/// One step: below 0, errno says why it failed. To be called in the child only.
type Step = unsafe fn(&Errand<'_>) -> i64;

/// The arguments of a system call are words; a narrower zero need not fill one.
const ZERO: libc::c_ulong = 0;
const ONE: libc::c_ulong = 1;

/// SIG_DFL and nothing else.
const DEFAULT_ACTION: KernelAction = [libc::SIG_DFL; 4];

/// SIG_IGN and nothing else.
const IGNORE: KernelAction = [libc::SIG_IGN, 0, 0, 0];

/// The child's life until it executes its program. Takes an `Errand`.
pub(super) extern "C" fn run(errand: *mut libc::c_void) -> libc::c_int {
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
    let steps: [(Stage, Step); 10] = [
        (Stage::Fork, take_descriptors),
        (Stage::Session, begin_session),
        (Stage::Stdio, set_stdio),
        (Stage::Stdio, set_ready_fd),
        (Stage::Priority, set_priority),
        (Stage::Limits, set_limits),
        (Stage::User, set_user),
        (Stage::Fork, tie_to_daemon),
        (Stage::Directory, enter_directory),
        (Stage::Execute, execute),
    ];
    for (stage, step) in steps {
        // SAFETY: in the child, as each step wants it.
        if unsafe { step(errand) } < 0 {
            return SpawnError {
                stage,
                errno: errno(),
            };
        }
    }
    SpawnError {
        stage: Stage::Execute,
        errno: libc::ENOEXEC,
    }
}

/// Shared with the daemon's thread, which waits.
pub(super) fn errno() -> i32 {
    // SAFETY: the place exists as long as the thread does.
    unsafe { *libc::__errno_location() }
}

/// The first step of all: until it is done, the descriptors are the daemon's own.
unsafe fn take_descriptors(errand: &Errand<'_>) -> i64 {
    let Some(end) = errand.layout.own_below else {
        return 0;
    };
    // SAFETY: system calls on numbers.
    unsafe {
        let unshare = libc::CLOSE_RANGE_UNSHARE;
        let done = libc::syscall(libc::SYS_close_range, end, libc::c_uint::MAX, unshare);
        if done == 0 {
            return 0;
        }
        // Before Linux 5.9, or where a filter forbids it: a copy of all.
        libc::syscall(libc::SYS_unshare, libc::CLONE_FILES)
    }
}

unsafe fn begin_session(errand: &Errand<'_>) -> i64 {
    // SAFETY: system calls on numbers.
    unsafe {
        let Session::Group { terminal } = errand.program.session else {
            return libc::syscall(libc::SYS_setsid);
        };
        let result = libc::syscall(libc::SYS_setpgid, 0, 0);
        if let Some(terminal) = terminal.filter(|_| result >= 0) {
            // SIGTTOU is blocked, so that a background group may do this.
            let group = libc::syscall(libc::SYS_getpid) as libc::pid_t;
            libc::syscall(libc::SYS_ioctl, terminal, libc::TIOCSPGRP, &raw const group);
        }
        result
    }
}

/// Last of the descriptors: whatever had that number in the daemon is not needed any more.
unsafe fn set_ready_fd(errand: &Errand<'_>) -> i64 {
    // SAFETY: system calls on numbers.
    unsafe {
        match errand.layout.ready_fd {
            None => 0,
            Some((from, to)) if from == to => {
                libc::syscall(libc::SYS_fcntl, to, libc::F_SETFD, ZERO)
            }
            Some((from, to)) => duplicate(from, to),
        }
    }
}

unsafe fn set_stdio(errand: &Errand<'_>) -> i64 {
    // SAFETY: system calls on numbers.
    unsafe {
        if let Some(fd) = errand.program.script_fd
            && libc::syscall(libc::SYS_fcntl, fd, libc::F_SETFD, ZERO) < 0
        {
            return -1;
        }
        match errand.layout.stdio {
            Stdio::Inherit => 0,
            Stdio::Terminal { terminal, reads } => {
                let terminal = out_of_the_way(terminal);
                if libc::syscall(libc::SYS_ioctl, terminal, libc::TIOCSCTTY, ZERO) < 0 {
                    return -1;
                }
                if !reads {
                    read_nothing(errand);
                }
                let first = RawFd::from(!reads);
                (first..=2)
                    .map(|to| duplicate(terminal, to))
                    .min()
                    .unwrap_or(0)
            }
            Stdio::Pipes { out, err } => {
                let (out, err) = (out_of_the_way(out), out_of_the_way(err));
                read_nothing(errand);
                duplicate(out, 1).min(duplicate(err, 2))
            }
        }
    }
}

/// The descriptor, or a copy above 2 of one that would be overwritten before it is used.
unsafe fn out_of_the_way(fd: RawFd) -> RawFd {
    if fd > 2 {
        return fd;
    }
    let above: libc::c_ulong = 3;
    // SAFETY: a system call on numbers.
    unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_DUPFD_CLOEXEC, above) as RawFd }
}

/// Makes /dev/null the standard input; without a /dev a pipe that nobody writes to, for there are programs
/// that take a closed one for an attack and end.
unsafe fn read_nothing(errand: &Errand<'_>) {
    let (path, flags) = (c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
    // SAFETY: system calls on numbers, on a string of the program's, and on a place of our own.
    unsafe {
        if let Some(null) = errand.layout.null {
            duplicate(null, 0);
            return;
        }
        let null = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, ZERO);
        if null > 0 {
            duplicate(null as RawFd, 0);
            return;
        }
        let mut ends: [RawFd; 2] = [-1, -1];
        libc::syscall(libc::SYS_pipe2, ends.as_mut_ptr(), libc::O_CLOEXEC);
        if ends[0] > 0 {
            duplicate(ends[0], 0);
        }
        // Nobody else has the writing end, so that it is closed for good when the program begins.
    }
}

/// As dup2(2); the two are never the same here. The copy stays open in the program.
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
        let flags = libc::O_WRONLY | libc::O_CLOEXEC;
        let fd = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, ZERO);
        if fd < 0 {
            return fd;
        }
        libc::syscall(libc::SYS_write, fd, value.as_ptr(), value.count_bytes())
    }
}

unsafe fn set_limits(errand: &Errand<'_>) -> i64 {
    for (resource, limit) in &errand.limits {
        let old = ptr::null_mut::<libc::rlimit64>();
        // SAFETY: the limit is read by the kernel; no old one is asked for.
        let result =
            unsafe { libc::syscall(libc::SYS_prlimit64, 0, *resource, ptr::from_ref(limit), old) };
        if result < 0 {
            return result;
        }
    }
    0
}

unsafe fn set_user(errand: &Errand<'_>) -> i64 {
    // SAFETY: in the child, as both want it.
    unsafe {
        if let Some(ids) = &errand.program.ids
            && identity::become_user(ids) < 0
        {
            return -1;
        }
        if errand.program.no_new_privs {
            let option = libc::PR_SET_NO_NEW_PRIVS;
            return libc::syscall(libc::SYS_prctl, option, ONE, ZERO, ZERO, ZERO);
        }
        0
    }
}

/// The kernel kills the program when the daemon dies. After the change of user, which would clear this; so would
/// the execution of a program with setuid bits or capabilities.
unsafe fn tie_to_daemon(errand: &Errand<'_>) -> i64 {
    let Some(parent) = errand.parent else {
        return 0;
    };
    // SAFETY: system calls on numbers.
    unsafe {
        let (option, kill) = (libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
        // A filter that forbids this is no reason not to start.
        libc::syscall(libc::SYS_prctl, option, kill, ZERO, ZERO, ZERO);
        // The daemon may have died before.
        match libc::syscall(libc::SYS_getppid) == i64::from(parent) {
            true => 0,
            false => -1,
        }
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
        for number in 1..=64 {
            if errand.signals.to_default.contains(number) {
                set_action(number, &DEFAULT_ACTION);
            }
            if errand.signals.to_ignored.contains(number) {
                set_action(number, &IGNORE);
            }
        }
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            errand.signals.blocked.as_ptr(),
            ptr::null_mut::<u64>(),
            SET_BYTES,
        );
        libc::syscall(
            libc::SYS_execve,
            errand.program.path.as_ptr(),
            errand.argv.as_ptr(),
            errand.envp.as_ptr(),
        )
    }
}

/// The system call itself: the library's function takes a lock for some signals, and refuses others.
unsafe fn set_action(number: i32, action: &KernelAction) {
    // SAFETY: the kernel reads one action, which is no longer than this, and gives none back.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            action.as_ptr(),
            ptr::null_mut::<KernelAction>(),
            SET_BYTES,
        );
    }
}
