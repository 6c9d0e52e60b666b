//! The child's steps, from the fork to the execution of its program. It runs on a copy of the daemon's memory, so
//! that it may allocate and read files like any process.
//!
//! First what needs nothing from outside: from there on the child can be signalled like its program, holds no descriptor
//! that is not its own, and dies with the daemon. Then its program is made, which may take any time. What needs the
//! daemon's privilege comes before the change of user; the directory comes after it, since what is entered is what that
//! user may enter.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::report::Reporter;
use super::{
    Handed, Program, Session, SpawnError, SpawnFailure, Stage, Stdio, failure, identity,
    kernel_limits, pointers,
};
use crate::sys::descriptors;
use crate::sys::signals::{self, KernelAction, SET_BYTES};

/// The arguments of a system call are words; a narrower zero need not fill one.
const ZERO: libc::c_ulong = 0;
const ONE: libc::c_ulong = 1;

/// SIG_DFL and nothing else.
const DEFAULT_ACTION: KernelAction = [libc::SIG_DFL; 4];

/// SIG_IGN and nothing else.
const IGNORE: KernelAction = [libc::SIG_IGN, 0, 0, 0];

/// The child's whole life until it executes its program. `report` is its end of the pipe, `daemon` its parent.
pub(super) fn run(
    handed: &Handed,
    report: RawFd,
    daemon: u32,
    make: impl FnOnce(&mut Reporter) -> Result<Program, SpawnFailure>,
) -> ! {
    let placed = begin_session(handed.session).and_then(|()| set_stdio(handed.stdio));
    let mut reporter = settle_descriptors(handed.ready_fd, report);
    if tie_to_daemon(daemon) {
        set_signals(&match handed.session {
            Session::New => signals::Start::by_default(),
            Session::Group { .. } => signals::Start::as_inherited(),
        });
        let why = match placed {
            Ok(()) => become_program(handed, daemon, &mut reporter, make),
            Err(error) => before_its_program(error),
        };
        reporter.failed(why);
    }
    exit()
}

/// Without running what the daemon registered for its own end.
fn exit() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(127) }
}

fn before_its_program(error: SpawnError) -> SpawnFailure {
    let why = nix::errno::Errno::from_raw(error.errno).desc();
    let what = match error.stage {
        Stage::Session => "give it a session of its own",
        _ => "give it its terminal or pipes",
    };
    SpawnFailure {
        message: format!("cannot {what}: {why}"),
        exit_code: 1,
    }
}

/// From here on the child has no descriptor that is not its own or its program's.
fn settle_descriptors(ready: Option<(RawFd, RawFd)>, report: RawFd) -> Reporter {
    let report = set_ready_fd(ready, report);
    let ready = ready.map_or(report, |(_, to)| to);
    descriptors::close_all_but(&mut [0, 1, 2, ready, report]);
    // SAFETY: the number is open, and this process's alone; the object that had it in the daemon is not used here.
    Reporter::new(unsafe { OwnedFd::from_raw_fd(report) })
}

/// Returns only when that failed.
fn become_program(
    handed: &Handed,
    daemon: u32,
    reporter: &mut Reporter,
    make: impl FnOnce(&mut Reporter) -> Result<Program, SpawnFailure>,
) -> SpawnFailure {
    let program = match make(reporter) {
        Ok(program) => program,
        Err(failure) => return failure,
    };
    let prepared = keep_script(&program)
        .and_then(|()| set_priority(&program))
        .and_then(|()| set_limits(&program))
        .and_then(|()| set_user(&program, handed.stdio));
    let prepared = prepared.and_then(|()| {
        // The change of user clears the tie; so would the execution of a program with setuid bits or capabilities.
        if program.ids.is_some() && !tie_to_daemon(daemon) {
            exit();
        }
        enter_directory(&program)
    });
    match prepared {
        Ok(()) => failure(&program, execute(&program)),
        Err(error) => failure(&program, error),
    }
}

fn check(result: i64, stage: Stage) -> Result<(), SpawnError> {
    match result {
        0.. => Ok(()),
        _ => Err(SpawnError::last(stage)),
    }
}

fn begin_session(session: Session) -> Result<(), SpawnError> {
    // SAFETY: system calls on numbers, and on a place of our own.
    let result = unsafe {
        match session {
            Session::New => libc::syscall(libc::SYS_setsid),
            Session::Group { terminal } => {
                let result = libc::syscall(libc::SYS_setpgid, 0, 0);
                if let Some(terminal) = terminal.filter(|_| result >= 0) {
                    // SIGTTOU is blocked, so that a background group may do this.
                    let group = libc::syscall(libc::SYS_getpid) as libc::pid_t;
                    libc::syscall(libc::SYS_ioctl, terminal, libc::TIOCSPGRP, &raw const group);
                }
                result
            }
        }
    };
    check(result, Stage::Session)
}

/// Puts the end of the readiness pipe under its number; where the report has that number it moves. Returns the
/// report's.
fn set_ready_fd(ready: Option<(RawFd, RawFd)>, report: RawFd) -> RawFd {
    let Some((from, to)) = ready else {
        return report;
    };
    // SAFETY: system calls on numbers. Whatever had this number in the daemon is not needed here.
    unsafe {
        let report = match report == to {
            true => libc::fcntl(report, libc::F_DUPFD_CLOEXEC, to.saturating_add(1).max(3)),
            false => report,
        };
        if from == to {
            libc::syscall(libc::SYS_fcntl, to, libc::F_SETFD, ZERO);
        } else {
            duplicate(from, to);
        }
        report
    }
}

fn set_stdio(stdio: Stdio) -> Result<(), SpawnError> {
    // SAFETY: system calls on numbers.
    let result = unsafe {
        match stdio {
            Stdio::Inherit => 0,
            Stdio::Terminal { terminal, reads } => {
                let terminal = out_of_the_way(terminal);
                check(
                    libc::syscall(libc::SYS_ioctl, terminal, libc::TIOCSCTTY, ZERO),
                    Stage::Stdio,
                )?;
                if !reads {
                    read_nothing();
                }
                let first = RawFd::from(!reads);
                (first..=2)
                    .map(|to| duplicate(terminal, to))
                    .min()
                    .unwrap_or(0)
            }
            Stdio::Pipes { out, err } => {
                let (out, err) = (out_of_the_way(out), out_of_the_way(err));
                read_nothing();
                duplicate(out, 1).min(duplicate(err, 2))
            }
        }
    };
    check(result, Stage::Stdio)
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
unsafe fn read_nothing() {
    let (path, flags) = (c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
    // SAFETY: system calls on numbers, on a string of the program's, and on a place of our own.
    unsafe {
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

/// The kernel kills the process when the daemon dies, unless that is PID 1, with which everything goes. False when it
/// has died before.
fn tie_to_daemon(daemon: u32) -> bool {
    if daemon == 1 {
        return true;
    }
    // SAFETY: system calls on numbers.
    unsafe {
        let (option, kill) = (libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
        // A filter that forbids this is no reason not to start.
        libc::syscall(libc::SYS_prctl, option, kill, ZERO, ZERO, ZERO);
    }
    std::os::unix::process::parent_id() == daemon
}

fn set_signals(start: &signals::Start) {
    // SAFETY: dispositions and mask are the child's own; the kernel reads a set of this size.
    unsafe {
        for number in 1..=64 {
            if start.to_default.contains(number) {
                set_action(number, &DEFAULT_ACTION);
            }
            if start.to_ignored.contains(number) {
                set_action(number, &IGNORE);
            }
        }
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            start.blocked.as_ptr(),
            ptr::null_mut::<u64>(),
            SET_BYTES,
        );
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

/// A script's text stays open in the program.
fn keep_script(program: &Program) -> Result<(), SpawnError> {
    let Some(text) = &program.text else {
        return Ok(());
    };
    // SAFETY: a system call on numbers.
    let result = unsafe { libc::syscall(libc::SYS_fcntl, text.as_raw_fd(), libc::F_SETFD, ZERO) };
    check(result, Stage::Stdio)
}

fn set_priority(program: &Program) -> Result<(), SpawnError> {
    // SAFETY: system calls on numbers.
    unsafe {
        if let Some(mask) = program.umask {
            libc::syscall(libc::SYS_umask, mask);
        }
        if let Some(nice) = program.nice {
            let result = libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, nice);
            check(result, Stage::Priority)?;
        }
    }
    let Some(value) = program.oom_score_adj else {
        return Ok(());
    };
    std::fs::write("/proc/self/oom_score_adj", value.to_string()).map_err(|error| SpawnError {
        stage: Stage::Priority,
        errno: error.raw_os_error().unwrap_or(libc::EINVAL),
    })
}

fn set_limits(program: &Program) -> Result<(), SpawnError> {
    for (resource, limit) in kernel_limits(program) {
        let (new, old) = (&raw const limit, ptr::null_mut::<libc::rlimit64>());
        // SAFETY: the limit is read by the kernel; no old one is asked for.
        let result = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, old) };
        check(result, Stage::Limits)?;
    }
    Ok(())
}

fn set_user(program: &Program, stdio: Stdio) -> Result<(), SpawnError> {
    if let Some(ids) = &program.ids {
        give_output_to(ids.uid, ids.gid, stdio);
        join_own_keyring();
        // Until tracing is forbidden a signal of that user could dump this memory into a file of its own (core(5)).
        let before = signals::block_all();
        // SAFETY: in the child, as it wants it.
        let became = check(unsafe { identity::become_user(ids) }, Stage::User);
        if let Ok(before) = before {
            signals::set_mask(before);
        }
        became?;
    }
    if program.no_new_privs {
        let option = libc::PR_SET_NO_NEW_PRIVS;
        // SAFETY: a system call on numbers.
        let result = unsafe { libc::syscall(libc::SYS_prctl, option, ONE, ZERO, ZERO, ZERO) };
        check(result, Stage::User)?;
    }
    Ok(())
}

/// Leaves the daemon's session keyring (session-keyring(7)), whose keys, and the right to add some, would otherwise come
/// with it. Where a filter or the kernel has no keyrings there is none to leave.
fn join_own_keyring() {
    let join = libc::c_ulong::from(libc::KEYCTL_JOIN_SESSION_KEYRING);
    // SAFETY: a system call on numbers; no name means a new keyring.
    unsafe { libc::syscall(libc::SYS_keyctl, join, ZERO, ZERO, ZERO, ZERO) };
}

/// Lets the service's user open its own output again (/dev/stdout); one that cannot is no worse off.
fn give_output_to(uid: u32, gid: u32, stdio: Stdio) {
    if stdio == Stdio::Inherit {
        return;
    }
    for fd in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: changing the owner of an open file by number.
        unsafe { libc::fchown(fd, uid, gid) };
    }
}

fn enter_directory(program: &Program) -> Result<(), SpawnError> {
    let Some(path) = &program.cwd else {
        return Ok(());
    };
    // SAFETY: the path is a string that ends with a zero.
    let result = unsafe { libc::syscall(libc::SYS_chdir, path.as_ptr()) };
    check(result, Stage::Directory)
}

/// Returns only when it failed.
fn execute(program: &Program) -> SpawnError {
    let argv = pointers(&program.argv);
    let envp = pointers(&program.envp);
    // SAFETY: the arrays end with null, and they and their strings live on.
    unsafe {
        libc::syscall(
            libc::SYS_execve,
            program.path.as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
        );
    }
    SpawnError::last(Stage::Execute)
}
