//! The paths that the daemon itself may touch, each with the reason why none of them keeps it waiting. The same in words:
//! docs/ARCHITECTURE.md, "What can block, and why not".

/// The part of the daemon's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// From its execution to epoll_create1(2): no service runs yet.
    BeforeTheLoop,
    /// From there to its end.
    InTheLoop,
}

/// Where an entry is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Everywhere,
    /// It depends on the kernel, or on how soon something happens.
    Perhaps,
}

/// Paths, and calls that touch them.
pub struct Entry {
    pub when: When,
    pub seen: Seen,
    /// As the test writes them: a number or a random name is `N`, the folder of the test `{stage}`.
    pub paths: &'static [&'static str],
    pub calls: &'static [&'static str],
    pub reason: &'static str,
}

use Seen::{Everywhere, Perhaps};
use When::{BeforeTheLoop, InTheLoop};

pub const LIST: &[Entry] = &[
    Entry {
        when: BeforeTheLoop,
        seen: Everywhere,
        paths: &["{stage}/control", "{stage}/control/go-overlay.sock"],
        calls: &[
            "mkdir", "openat", "flock", "statx", "connect", "unlink", "bind",
        ],
        reason: "the control socket and its folder, /run/go-overlay unless the operator names another one: one that \
                 hangs keeps the daemon from its start",
    },
    Entry {
        when: BeforeTheLoop,
        seen: Everywhere,
        paths: &["{stage}/control"],
        calls: &["fstatfs"],
        reason: "whether the folder of the control socket is on a local file system; the start waits for it anyway",
    },
    Entry {
        when: InTheLoop,
        seen: Everywhere,
        paths: &["{stage}/control/go-overlay.sock"],
        calls: &["newfstatat", "unlinkat"],
        reason: "the control socket goes at the end: seen from its folder, which is held and on a local file system, so \
                 that nothing mounted later is passed. Elsewhere a child removes it",
    },
    Entry {
        when: BeforeTheLoop,
        seen: Everywhere,
        paths: &["{stage}/manager"],
        calls: &["connect"],
        reason: "the service manager above started the daemon and waits for its word there",
    },
    Entry {
        when: BeforeTheLoop,
        seen: Everywhere,
        paths: &["/proc/self/exe"],
        calls: &["readlink"],
        reason: "the kernel's: the name is read, the file is not opened",
    },
    Entry {
        when: BeforeTheLoop,
        seen: Everywhere,
        paths: &["/proc", "/proc/N/limits"],
        calls: &["openat", "getdents64", "newfstatat", "statx"],
        reason: "the kernel's: what a daemon that was killed left. The limits of a process are read without its memory",
    },
    Entry {
        when: InTheLoop,
        seen: Everywhere,
        paths: &["/proc", "/proc/N/statm", "/proc/N/status"],
        calls: &["openat", "getdents64", "newfstatat", "statx"],
        reason: "the kernel's: which processes there are, and what they use. Neither file needs the lock of a process's \
                 memory, which a page of a file that hangs would hold (as cmdline, environ and maps do), nor waits for one \
                 that executes a program (as stat does)",
    },
    Entry {
        when: InTheLoop,
        seen: Everywhere,
        paths: &[
            "/proc/self/uid_map",
            "/proc/N/uid_map",
            "/proc/sys/kernel/overflowuid",
        ],
        calls: &["openat", "statx"],
        reason: "the kernel's: whether the user of a client is known in this user namespace",
    },
    Entry {
        when: InTheLoop,
        seen: Perhaps,
        paths: &[
            "/sys/fs/cgroup/memory.events",
            "/sys/fs/cgroup/memory/memory.oom_control",
        ],
        calls: &["openat", "statx"],
        reason: "the kernel's: whether memory ran out. It is opened once, and there where it is mounted",
    },
    Entry {
        when: InTheLoop,
        seen: Everywhere,
        paths: &["/dev/ptmx"],
        calls: &["openat"],
        reason: "the kernel's: a terminal for a service. Its other end is opened by a call on this descriptor",
    },
    Entry {
        when: InTheLoop,
        seen: Everywhere,
        paths: &["/dev/null", "/dev/pts/N", "pipe", "{stage}/out"],
        calls: &["statx DONT_SYNC"],
        reason: "what kind of file a standard descriptor is; with this flag statx(2) asks no server",
    },
    Entry {
        when: InTheLoop,
        seen: Everywhere,
        paths: &["/dev/pts/N"],
        calls: &["newfstatat"],
        reason: "the kernel's: the daemon's own terminal",
    },
    Entry {
        when: InTheLoop,
        seen: Everywhere,
        paths: &["/proc/self/fd/N"],
        calls: &["openat"],
        reason: "standard output, where it is a pipe or a terminal, reopened without blocking",
    },
    Entry {
        when: InTheLoop,
        seen: Everywhere,
        paths: &["{stage}/filed.log"],
        calls: &["statx"],
        reason: "the size of an open log file of a local file system (a child has asked fstatfs(2) which one it is)",
    },
    Entry {
        when: InTheLoop,
        seen: Perhaps,
        paths: &["{stage}/filed.log.N", "{stage}/moved"],
        calls: &["statx"],
        reason: "the same file once it has another name",
    },
    Entry {
        when: InTheLoop,
        seen: Everywhere,
        paths: &["/run"],
        calls: &["openat", "getdents64", "newfstatat", "statx"],
        reason: "the place for the folder below: memory, or the root of the daemon's own image; looked at once, and no \
                 other place is where it will do",
    },
    Entry {
        when: InTheLoop,
        seen: Everywhere,
        paths: &[
            "/run/go-overlay-notify-N",
            "/run/go-overlay-notify-N/N",
            "/run/go-overlay-notify-N/N/socket",
            "/proc/self/fd/N/socket",
        ],
        calls: &[
            "mkdir",
            "openat",
            "statx",
            "fchmod",
            "flock",
            "bind",
            "getdents64",
            "newfstatat",
            "unlink",
            "rmdir",
        ],
        reason: "the sockets of `ready = \"notify\"`, in a folder of the daemon's own in which no other user can make or \
                 mount anything",
    },
];
