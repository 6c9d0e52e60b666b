//! What a daemon that was killed left behind. Its children die with it (PR_SET_PDEATHSIG in prctl(2)), but not theirs, and
//! not a program that changed its user itself. So every child carries a mark that its descendants inherit and
//! that a later daemon at the same socket finds: a soft limit on file locks (RLIMIT_LOCKS), which Linux has not enforced
//! since 2.4.25, and which everyone may read. Under PID 1 none of this is needed: the kernel ends all of its namespace.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hasher};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::Signal;
use crate::sys::pid1;
use crate::sys::socket::Address;

/// How long the start waits for processes that were sent SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// A process may have forked between the look at it and its end: it is looked for again, so often at most.
const ROUNDS: usize = 10;

/// The network namespace, which abstract names belong to. It lives as long as a process in it, and so does its number.
const NETWORK: &str = "/proc/self/ns/net";

/// The soft limit that is the mark, and the hard one, which stays as it is.
static MARK: OnceLock<(u64, u64)> = OnceLock::new();

/// Begins to mark children, by the place of the control socket: the folder itself and not its path, or the network
/// namespace of an abstract name, since another container may have the same path or name. Not under PID 1.
pub fn begin_marking(socket: &Address) {
    let (within, name) = match socket {
        Address::Path(path) => (path.parent(), path.file_name()),
        Address::Abstract(name) => (Some(Path::new(NETWORK)), Some(OsStr::new(name))),
    };
    let within = within.and_then(|within| within.metadata().ok());
    let (Some(within), Some(name), false) = (within, name, pid1::is_pid1()) else {
        return;
    };
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(within.dev());
    hasher.write_u64(within.ino());
    hasher.write(name.as_bytes());
    // A number no one sets by hand, that a limit of the kernel holds on every machine, and that is not "unlimited".
    let bits = usize::BITS - 2;
    let mark = (hasher.finish() >> (64 - bits)) | (1 << bits);
    let Some(limit) = limit().filter(|limit| limit.rlim_max >= mark) else {
        return;
    };
    // Where a filter refuses this call, no child could be started with a mark.
    if set_limit(&limit) {
        let _ = MARK.set((mark, limit.rlim_max));
    }
}

/// Soft and hard limit on file locks that children are marked with; None where they are not.
pub fn mark() -> Option<(u64, u64)> {
    MARK.get().copied()
}

fn limit() -> Option<libc::rlimit64> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let (locks, none) = (libc::RLIMIT_LOCKS, std::ptr::null::<libc::rlimit64>());
    // SAFETY: the kernel fills the limit; no new one is set.
    let asked = unsafe { libc::syscall(libc::SYS_prlimit64, 0, locks, none, &raw mut limit) };
    (asked == 0).then_some(limit)
}

fn set_limit(limit: &libc::rlimit64) -> bool {
    let (locks, none) = (libc::RLIMIT_LOCKS, std::ptr::null_mut::<libc::rlimit64>());
    // SAFETY: the kernel reads the limit; no old one is asked for.
    unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            locks,
            std::ptr::from_ref(limit),
            none,
        ) == 0
    }
}

/// Kills every process that carries this daemon's mark, which only an earlier daemon can have given it, and waits
/// for their end, for a bounded time. Returns how many there were.
pub fn kill_all() -> usize {
    let Some((mark, _)) = mark() else { return 0 };
    let until = Instant::now() + GRACE;
    let mut killed = 0;
    for _ in 0..ROUNDS {
        let found: Vec<OwnedFd> = processes()
            .filter_map(|pid| kill_marked(pid, mark))
            .collect();
        if found.is_empty() {
            break;
        }
        killed += found.len();
        for process in &found {
            ends_within(process, until.saturating_duration_since(Instant::now()));
        }
    }
    killed
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = std::process::id().cast_signed();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(move |pid| *pid != own)
}

/// Sends SIGKILL to a process that carries the mark. The descriptor is opened before the look: the process that is
/// killed is the one that was looked at, whoever gets its number.
fn kill_marked(pid: i32, mark: u64) -> Option<OwnedFd> {
    if marked_with(pid) != Some(mark) {
        return None;
    }
    // SAFETY: the call takes numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the descriptor is new, valid and owned by nobody else.
    let process = unsafe { OwnedFd::from_raw_fd(fd) };
    // A zombie keeps its limits until its parent reaps it.
    if marked_with(pid) != Some(mark) || ends_within(&process, Duration::ZERO) {
        return None;
    }
    let (kill, none) = (Signal::KILL.number(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: the kernel makes up the information where none is given.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            kill,
            none,
            0,
        )
    };
    (sent == 0).then_some(process)
}

/// Whether a process has ended or does so in this time.
fn ends_within(process: &OwnedFd, time: Duration) -> bool {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
    let mut ends = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut ends, timeout).is_ok_and(|ended| ended > 0)
}

/// The soft limit on file locks of a process; None where it is unlimited.
fn marked_with(pid: i32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let row = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max file locks"))?;
    row.split_whitespace().next()?.parse().ok()
}
