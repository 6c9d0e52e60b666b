//! The process at the other end of a Unix socket, and whether it is trusted (unix(7), SO_PEERCRED).
//!
//! The kernel reports the credentials of a client as of connect(2), those of a listener as of listen(2).
//! A user id that has no number in our user namespace is shown as the overflow id, usually 65534, which
//! may be a real user's id as well (user_namespaces(7)). Such an id is believed only with better evidence.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::OnceLock;

use nix::sys::socket::{SockFlag, accept4, getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;

/// A descriptor of the peer's process, since Linux 6.5; absent from libc.
const SO_PEERPIDFD: libc::c_int = 77;

/// What a user namespace maps that maps every user: the first one of the machine.
const EVERY_USER: u64 = u32::MAX as u64;

/// The credentials of the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Process id; 0 where the process is in a PID namespace that is not visible from ours.
    pub pid: i32,
    /// Whether it runs as our own user.
    own: bool,
}

/// Accepts a connection that does not block. The client's address is not asked for: nothing needs it, and
/// a client may be bound to a path that fills all of `sun_path`, which libraries do not expect.
///
/// # Errors
/// As accept4(2): `WouldBlock` when no client waits, EMFILE and ENFILE without a free descriptor.
pub fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = accept4(listener.as_raw_fd(), flags)?;
    // SAFETY: the kernel has just created it, and nothing else owns it.
    Ok(unsafe { UnixStream::from_raw_fd(fd) })
}

/// The credentials of the other end, as of when it connected or began to listen.
///
/// # Errors
/// ENOTCONN and the like, for a socket that is not a connected Unix socket.
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let credentials = getsockopt(&socket, PeerCredentials)?;
    let (uid, pid) = (credentials.uid(), credentials.pid());
    let own = uid == geteuid().as_raw() && (!is_ambiguous(uid) || may_signal(socket));
    Ok(Peer { uid, pid, own })
}

/// Whether a client may change things: root, and the daemon's own user.
pub fn may_change(peer: Peer) -> bool {
    peer.uid == 0 || peer.own
}

/// Whether a listener's user is trusted to run the daemon: root, our own user, and the user that process 1
/// runs as.
pub(super) fn is_trusted(peer: Peer) -> bool {
    let is_init = || {
        let init = super::places::uid_of_init();
        peer.uid == init && !is_ambiguous(init)
    };
    may_change(peer) || is_init()
}

/// Whether a process of this PID namespace is known to have another mount namespace than ours, as another
/// container of a pod has. False where that cannot be read.
pub(super) fn is_in_another_container(pid: i32) -> bool {
    let theirs = super::places::namespace(&pid.to_string(), "mnt");
    theirs.is_some() && theirs != super::places::namespace("self", "mnt")
}

/// Whether several users share this id, as seen from our user namespace.
fn is_ambiguous(uid: u32) -> bool {
    static OVERFLOW: OnceLock<Option<u32>> = OnceLock::new();
    let overflow = *OVERFLOW.get_or_init(|| {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap_or_default();
        let overflow = overflow.trim().parse().unwrap_or(65_534);
        (mapped_users(&map) < EVERY_USER).then_some(overflow)
    });
    overflow == Some(uid)
}

/// How many users a uid_map names: lines of `inside outside count`.
fn mapped_users(map: &str) -> u64 {
    let count = |line: &str| line.split_whitespace().nth(2)?.parse::<u64>().ok();
    map.lines().filter_map(count).sum()
}

/// Whether the kernel would let us signal the peer, which compares the users themselves and not their ids
/// (kill(2)). The descriptor keeps the process id from being reused meanwhile. False before Linux 6.5.
fn may_signal(socket: BorrowedFd<'_>) -> bool {
    let mut fd: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to locals of the types that the option takes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut length,
        )
    };
    if result != 0 || fd < 0 {
        return false;
    }
    // SAFETY: the kernel has just created it, and nothing else owns it.
    let process = unsafe { OwnedFd::from_raw_fd(fd) };
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: signal 0 only checks the permission; no information goes with it.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_fd().as_raw_fd(),
            0,
            none,
            0,
        )
    };
    sent == 0
}

#[cfg(test)]
mod tests {
    use super::mapped_users;

    #[test]
    fn only_the_first_user_namespace_maps_every_user() {
        let first = "         0          0 4294967295\n";
        assert_eq!(mapped_users(first), super::EVERY_USER);
        let rootless = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(mapped_users(rootless), 65_537);
        assert_eq!(mapped_users(""), 0);
    }
}
