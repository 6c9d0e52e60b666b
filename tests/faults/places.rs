//! The system calls of the daemon, on what they are made, and the errors that their manual pages list.
//!
//! Left out are EFAULT (a pointer that is wrong), and of path names those that differ in the name alone
//! (ELOOP, ENAMETOOLONG, ENOTDIR …): one of them stands for all, since nothing here tells them apart.
//! EAGAIN of a signalfd, a listener or a notify socket that was told to be readable is none either: it says that
//! there is no signal, nobody who connects, no datagram. A socket that has no room for good is a client that does
//! not read. And what the program's start-up code asks before `main` is not the daemon's: Rust's sigaction(2) and
//! mmap(2), whose failures end any program. brk(2) tells its failure by the break that it gives back, and not by an
//! error, which is all that strace can give: glibc takes the error for memory. A child's write(2) to its
//! `oom_score_adj` cannot be told from those of the daemon; its openat(2) fails the same step. Its getresuid(2),
//! getresgid(2) and getppid(2) have no errors.

use std::fmt;

/// What a call is made on, where one call serves several ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// On whatever it is made on.
    Anything,
    /// On a path, or on what /proc/PID/fd calls by this name.
    Path(&'static str),
    /// On the daemon's standard output.
    Stdout,
    /// On its standard error.
    Stderr,
    /// On the pipes of the service without a terminal.
    ServicePipe,
    /// On `services.toml`.
    Config,
    /// On the log file of a service.
    LogFile,
    /// On the folder of the control socket.
    ControlFolder,
}

/// Who makes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The daemon.
    Daemon,
    /// Its child, between clone(2) and the program that it executes.
    Child,
}

/// When the call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The first one of the daemon's life (of each child: its first one).
    Starting,
    /// The first one after everything is up (of each new child: its first one).
    Once,
    /// The first six after everything is up.
    SixTimes,
    /// Every one after everything is up, to the end.
    ForGood,
}

/// All of them, as the table has them.
pub const MOMENTS: [Moment; 4] = [
    Moment::Starting,
    Moment::Once,
    Moment::SixTimes,
    Moment::ForGood,
];

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Moment::Starting => "at the start",
            Moment::Once => "once",
            Moment::SixTimes => "six times",
            Moment::ForGood => "for good",
        })
    }
}

/// One call that can fail.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub call: &'static str,
    pub on: On,
    pub who: Who,
    pub moments: &'static [Moment],
    /// Of section 2 of the manual: where the errors are listed.
    pub manual: &'static str,
    pub errors: &'static [&'static str],
}

impl Place {
    /// As the table calls it.
    pub fn name(&self) -> String {
        let on = match self.on {
            On::Anything => String::new(),
            On::Path(path) => format!(" {}", path.trim_start_matches("anon_inode:")),
            On::Stdout => " standard output".into(),
            On::Stderr => " standard error".into(),
            On::ServicePipe => " a service's pipe".into(),
            On::Config => " services.toml".into(),
            On::LogFile => " log_file".into(),
            On::ControlFolder => " the socket's folder".into(),
        };
        match self.who {
            Who::Daemon => format!("{}{on}", self.call),
            Who::Child => format!("child: {}{on}", self.call),
        }
    }
}

/// Calls that have no error to give, or none that a program could act upon: they are not in the table.
pub const CANNOT_FAIL: [&str; 21] = [
    "arch_prctl",
    "brk",
    "mmap",
    "mremap",
    "rt_sigaction",
    "rt_sigpending",
    "execve",
    "exit_group",
    "getegid",
    "geteuid",
    "getpgid",
    "getpgrp",
    "getpid",
    "restart_syscall",
    "rseq",
    "rt_sigreturn",
    "set_robust_list",
    "set_tid_address",
    "munmap",
    "sched_getaffinity",
    "umask",
];

const START: &[Moment] = &[Moment::Starting];
const AFTER: &[Moment] = &[Moment::Once, Moment::SixTimes, Moment::ForGood];
const BOTH: &[Moment] = &MOMENTS;
const PASSING: &[Moment] = &[Moment::Starting, Moment::Once, Moment::SixTimes];
const CHILD: &[Moment] = &[Moment::Starting, Moment::Once];
const END: &[Moment] = &[Moment::ForGood];

const READ: &[&str] = &["EAGAIN", "EBADF", "EINTR", "EINVAL", "EIO", "EISDIR"];
const WRITE: &[&str] = &[
    "EAGAIN",
    "EBADF",
    "EDESTADDRREQ",
    "EDQUOT",
    "EFBIG",
    "EINTR",
    "EINVAL",
    "EIO",
    "ENOSPC",
    "EPERM",
    "EPIPE",
];
const OPEN: &[&str] = &[
    "EACCES", "EINTR", "EINVAL", "ELOOP", "EMFILE", "ENFILE", "ENODEV", "ENOENT", "ENOMEM",
    "ENOSPC", "ENXIO", "EPERM", "EROFS",
];
const STAT: &[&str] = &["EACCES", "EINVAL", "ELOOP", "ENOENT", "ENOMEM"];
const IOCTL: &[&str] = &["EBADF", "EINVAL", "ENOTTY", "EPERM"];

const fn place(
    call: &'static str,
    on: On,
    moments: &'static [Moment],
    manual: &'static str,
    errors: &'static [&'static str],
) -> Place {
    Place {
        call,
        on,
        who: Who::Daemon,
        moments,
        manual,
        errors,
    }
}

const fn child(call: &'static str, on: On, errors: &'static [&'static str]) -> Place {
    Place {
        call,
        on,
        who: Who::Child,
        moments: CHILD,
        manual: manual_of(call),
        errors,
    }
}

/// A call of a child that works for the daemon when it begins.
const fn at_the_start(
    call: &'static str,
    on: On,
    manual: &'static str,
    errors: &'static [&'static str],
) -> Place {
    Place {
        call,
        on,
        who: Who::Child,
        moments: START,
        manual,
        errors,
    }
}

/// The page that describes a child's call, where the call has no page of its own.
const fn manual_of(call: &'static str) -> &'static str {
    match call.as_bytes() {
        b"openat" => "open",
        b"dup3" => "dup",
        b"fchown" | b"lchown" => "chown",
        b"prlimit64" => "getrlimit",
        b"setgroups" => "getgroups",
        b"setresgid" => "setresuid",
        b"capset" => "capget",
        b"setpriority" => "getpriority",
        _ => call,
    }
}

use On::{Anything, Config, ControlFolder, LogFile, Path, ServicePipe, Stderr, Stdout};

/// Every one.
#[rustfmt::skip]
pub const PLACES: &[Place] = &[
    place("epoll_create1", Anything, START, "epoll_create1", &["EINVAL", "EMFILE", "ENFILE", "ENOMEM"]),
    place("epoll_ctl", Anything, BOTH, "epoll_ctl", &["EBADF", "EEXIST", "EINVAL", "ENOENT", "ENOMEM", "ENOSPC", "EPERM"]),
    place("epoll_wait", Anything, BOTH, "epoll_wait", &["EBADF", "EINTR", "EINVAL"]),
    place("signalfd4", Anything, START, "signalfd", &["EBADF", "EINVAL", "EMFILE", "ENFILE", "ENODEV", "ENOMEM"]),
    place("read", Path("anon_inode:[signalfd]"), AFTER, "read", &["EBADF", "EINTR", "EINVAL", "EIO", "EISDIR"]),
    place("timerfd_create", Anything, START, "timerfd_create", &["EINVAL", "EMFILE", "ENFILE", "ENODEV", "ENOMEM", "EPERM"]),
    place("timerfd_settime", Anything, BOTH, "timerfd_create", &["EBADF", "ECANCELED", "EINVAL"]),
    place("read", Path("anon_inode:[timerfd]"), AFTER, "read, timerfd_create", &["EAGAIN", "EBADF", "ECANCELED", "EINTR", "EINVAL", "EIO"]),

    // A child reads the configuration, at the start and for each reload.
    place("socketpair", Anything, BOTH, "socketpair", &["EAFNOSUPPORT", "EMFILE", "ENFILE", "EOPNOTSUPP", "EPROTONOSUPPORT"]),
    place("close_range", Anything, START, "close_range", &["EINVAL", "EMFILE", "ENOMEM", "ENOSYS"]),
    place("fcntl", Anything, BOTH, "fcntl", &["EAGAIN", "EBADF", "EBUSY", "EINVAL", "EMFILE", "EPERM"]),
    place("prlimit64", Anything, START, "getrlimit", &["EINVAL", "EPERM", "ESRCH"]),
    place("prctl", Anything, START, "prctl", &["EINVAL", "EPERM"]),
    place("rt_sigprocmask", Anything, BOTH, "sigprocmask", &["EINVAL"]),
    place("setitimer", Anything, BOTH, "getitimer", &["EINVAL"]),
    place("sigaltstack", Anything, START, "sigaltstack", &["EINVAL", "ENOMEM", "EPERM"]),
    place("getrandom", Anything, START, "getrandom", &["EAGAIN", "EINTR", "EINVAL", "ENOSYS"]),
    // The wait after memory was given back.
    place("ppoll", Anything, AFTER, "poll", &["EFAULT", "EINTR", "EINVAL", "ENOMEM", "ENOSYS"]),
    place("poll", Anything, START, "poll", &["EAGAIN", "EINTR", "EINVAL", "ENOMEM"]),
    place("readlink", Anything, START, "readlink", &["EACCES", "EINVAL", "EIO", "ENOENT"]),
    // How many processes were killed for want of memory: asked at the start, and after a SIGKILL.
    place("pread64", Anything, BOTH, "pread", &["EBADF", "EINTR", "EINVAL", "EIO", "EISDIR", "ENXIO", "EOVERFLOW", "ESPIPE"]),
    // The CPU time of a service's processes, and whose a process is: `list` and `status` ask.
    place("clock_gettime", Anything, AFTER, "clock_getres", &["EACCES", "EINVAL", "ENODEV", "EOPNOTSUPP", "EPERM"]),
    place("getsid", Anything, AFTER, "getsid", &["EPERM", "ESRCH"]),

    place("mkdir", Anything, START, "mkdir", &["EACCES", "EDQUOT", "EEXIST", "EMLINK", "ENOENT", "ENOMEM", "ENOSPC", "EPERM", "EROFS"]),
    place("openat", ControlFolder, START, "open", OPEN),
    place("statx", ControlFolder, START, "statx", STAT),
    place("fstatfs", ControlFolder, START, "statfs", &["EBADF", "EINTR", "EIO", "ENOMEM", "ENOSYS", "EOVERFLOW"]),
    place("newfstatat", ControlFolder, END, "stat", STAT),
    place("unlinkat", Anything, END, "unlink", &["EACCES", "EBUSY", "EIO", "ENOENT", "ENOMEM", "EPERM", "EROFS"]),
    place("flock", Anything, START, "flock", &["EBADF", "EINTR", "EINVAL", "ENOLCK", "EAGAIN"]),
    place("socket", Anything, BOTH, "socket", &["EACCES", "EAFNOSUPPORT", "EINVAL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPROTONOSUPPORT"]),
    place("bind", Anything, BOTH, "bind", &["EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "EINVAL", "ENOENT", "ENOMEM", "EROFS"]),
    place("listen", Anything, START, "listen", &["EADDRINUSE", "EBADF", "ENOTSOCK", "EOPNOTSUPP"]),
    place("accept4", Anything, BOTH, "accept", &["EBADF", "ECONNABORTED", "EINTR", "EINVAL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM", "EPROTO", "ETIMEDOUT"]),
    place("connect", Anything, BOTH, "connect", &["EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "EAGAIN", "ECONNREFUSED", "EINTR", "ENETUNREACH", "EPROTOTYPE", "ETIMEDOUT"]),
    place("getsockopt", Anything, AFTER, "getsockopt", &["EBADF", "EINVAL", "ENOPROTOOPT", "ENOTSOCK"]),
    place("getpeername", Anything, AFTER, "getpeername", &["EINVAL", "ENOBUFS", "ENOTCONN"]),
    place("recvfrom", Anything, AFTER, "recv", &["EAGAIN", "EBADF", "ECONNREFUSED", "EINTR", "EINVAL", "ENOMEM", "ENOTCONN"]),
    place("sendto", Anything, AFTER, "send", &["EACCES", "EAGAIN", "ECONNRESET", "EINTR", "EMSGSIZE", "ENOBUFS", "ENOMEM", "ENOTCONN", "EPIPE"]),
    place("recvmsg", Anything, BOTH, "recv", &["EBADF", "ECONNREFUSED", "EINTR", "EINVAL", "ENOMEM", "ENOTCONN"]),
    place("setsockopt", Anything, BOTH, "getsockopt", &["EBADF", "EINVAL", "ENOPROTOOPT", "ENOTSOCK"]),
    place("fchmod", Anything, START, "chmod", &["EBADF", "EIO", "EPERM", "EROFS"]),
    place("rmdir", Anything, END, "rmdir", &["EACCES", "EBUSY", "ENOENT", "ENOMEM", "ENOTEMPTY", "EPERM", "EROFS"]),
    place("unlink", Anything, AFTER, "unlink", &["EACCES", "EBUSY", "EIO", "ENOENT", "ENOMEM", "EPERM", "EROFS"]),

    place("openat", Path("/dev/ptmx"), BOTH, "open", OPEN),
    place("ioctl", Path("/dev/ptmx"), BOTH, "ioctl, ioctl_tty", IOCTL),
    place("read", Path("/dev/ptmx"), AFTER, "read", READ),
    place("pipe2", Anything, BOTH, "pipe", &["EINVAL", "EMFILE", "ENFILE"]),
    place("read", ServicePipe, AFTER, "read", READ),
    // What children of the daemon's own report through.
    place("socketpair", Anything, BOTH, "socketpair", &["EAFNOSUPPORT", "EMFILE", "ENFILE", "EOPNOTSUPP", "EPROTONOSUPPORT"]),
    place("clone", Anything, BOTH, "clone", &["EAGAIN", "EINVAL", "ENOMEM", "ENOSPC", "EPERM", "EUSERS"]),
    place("waitid", Anything, AFTER, "wait", &["EAGAIN", "ECHILD", "EINTR", "EINVAL", "ESRCH"]),
    place("wait4", Anything, AFTER, "wait", &["EAGAIN", "ECHILD", "EINTR", "EINVAL", "ESRCH"]),
    // ESRCH, and EINVAL of the first, tell that the process is gone, and that it is a thread.
    place("pidfd_open", Anything, END, "pidfd_open", &["EMFILE", "ENFILE", "ENODEV", "ENOMEM", "ENOSYS"]),
    place("pidfd_send_signal", Anything, END, "pidfd_send_signal", &["EBADF", "EINVAL", "ENOSYS", "EPERM"]),
    place("kill", Anything, AFTER, "kill", &["EINVAL", "EPERM", "ESRCH"]),

    place("write", Stdout, AFTER, "write", WRITE),
    place("write", Stderr, AFTER, "write", WRITE),
    place("write", LogFile, AFTER, "write", WRITE),
    place("openat", Path("/proc"), AFTER, "open", &["EACCES", "EMFILE", "ENOENT", "ENOMEM"]),
    place("getdents64", Anything, AFTER, "getdents", &["EBADF", "EINVAL", "ENOENT", "ENOTDIR"]),
    place("newfstatat", Anything, AFTER, "stat", STAT),
    place("close", Anything, PASSING, "close", &["EINTR", "EIO", "ENOSPC"]),
    place("madvise", Anything, BOTH, "madvise", &["EACCES", "EAGAIN", "EBADF", "EINVAL", "EIO", "ENOMEM", "EPERM"]),
    place("mprotect", Anything, START, "mprotect", &["EACCES", "EINVAL", "ENOMEM"]),

    child("openat", Config, OPEN),
    child("read", Config, READ),
    child("statx", Config, STAT),
    child("close_range", Anything, &["EINVAL", "EMFILE", "ENOMEM", "ENOSYS"]),
    child("setsid", Anything, &["EPERM"]),
    child("statx", Path("/bin/sh"), STAT),
    child("openat", Path("/etc/passwd"), &["EACCES", "EMFILE", "ENOENT"]),
    child("openat", Path("/dev/null"), OPEN),
    // The file of its notify socket and its standard output, which are given to its user.
    child("lchown", Anything, &["EACCES", "EIO", "ENOENT", "ENOMEM", "EPERM", "EROFS"]),
    child("fchown", Anything, &["EBADF", "EIO", "ENOENT", "EPERM", "EROFS"]),
    child("dup3", Anything, &["EBADF", "EBUSY", "EINTR", "EINVAL", "EMFILE"]),
    child("openat", Path("/proc/self/oom_score_adj"), &["EACCES", "EMFILE", "ENFILE", "ENOENT"]),
    // By a child of the daemon's own.
    at_the_start("openat", LogFile, "open", OPEN),
    at_the_start("statx", LogFile, "statx", STAT),
    child("setpriority", Anything, &["EACCES", "EINVAL", "EPERM", "ESRCH"]),
    child("prctl", Anything, &["EINVAL", "EPERM"]),
    // The mark of a daemon's children, among the limits.
    child("prlimit64", Anything, &["EINVAL", "EPERM", "ESRCH"]),
    child("keyctl", Anything, &["EDQUOT", "ENOMEM", "EPERM"]),
    child("setgroups", Anything, &["EINVAL", "ENOMEM", "EPERM"]),
    child("setresgid", Anything, &["EAGAIN", "EINVAL", "EPERM"]),
    child("setresuid", Anything, &["EAGAIN", "EINVAL", "EPERM"]),
    child("capset", Anything, &["EINVAL", "EPERM"]),
    child("chdir", Anything, &["EACCES", "EIO", "ELOOP", "ENOENT", "ENOMEM", "ENOTDIR"]),
    child("execve", Anything, &["E2BIG", "EACCES", "EAGAIN", "EINVAL", "EIO", "EISDIR", "ELIBBAD", "EMFILE", "ENFILE", "ENOENT", "ENOEXEC", "ENOMEM", "EPERM", "ETXTBSY"]),
];
