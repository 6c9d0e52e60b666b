//! A short-lived child of the daemon that does what a file system, a mount or a neighbour may never let finish
//! (fork(2)). The loop waits for nothing: it watches the socket between the two, bounds the time, and ends the child.
//!
//! The child has a copy of the daemon's memory and shares none of it, has no descriptor of the daemon but its own standard
//! ones, and is of the daemon's own user, so that no service's user can signal or trace it unless that user is the
//! daemon's too. It dies with the daemon.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{descriptors, signals};
use crate::base::Pid;

/// The descriptors that the child has beside the standard ones and its end of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// None of the daemon's.
    None,
    /// This one, which the daemon was started with.
    One(RawFd),
    /// All. For the time before the daemon has any of its own.
    All,
}

/// A child at work. It is reaped, and ended when nothing is expected of it any more, by whoever keeps the daemon's
/// children.
#[derive(Debug)]
pub struct Aside {
    /// Its process.
    pub pid: Pid,
    /// The daemon's end of a socket pair: what the child reports is read here, without waiting. It ends when the
    /// child does.
    pub socket: UnixStream,
}

/// Starts a child that does this work with its end of the socket, and exits. The name is shown by ps(1), 15 bytes of it.
///
/// In the child the work may allocate and wait as it likes. What it has to say goes through the socket; it must not
/// unwind, and nothing that it owns is dropped on its way out.
///
/// # Errors
/// When no process or descriptor is left.
pub fn start(name: &CStr, work: impl FnOnce(UnixStream)) -> io::Result<Aside> {
    start_with(name, Keeps::None, work)
}

/// As [`start`], with more descriptors.
///
/// # Errors
/// As [`start`].
pub fn start_with(name: &CStr, keeps: Keeps, work: impl FnOnce(UnixStream)) -> io::Result<Aside> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let daemon = std::process::id();
    // SAFETY: the child runs on a copy of this memory. One thread makes this call in the daemon, so that no lock is
    // held by another one; the library's fork(3) puts those of its allocator in order where there are several.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            if let Some(socket) = settle(name, keeps, theirs, daemon) {
                work(socket);
            }
            // SAFETY: ends the process without running what the daemon registered for its own end.
            unsafe { libc::_exit(0) }
        }
        pid => Ok(Aside {
            pid: Pid(pid),
            socket: ours,
        }),
    }
}

/// Waits until one of these has something to read, or has ended, for so long at most; for the daemon's first and last
/// moments only.
pub fn wait(sockets: &[RawFd], at_most: Duration) {
    // SAFETY: the sockets are open, as the caller has them.
    let borrow = |fd: &RawFd| unsafe { BorrowedFd::borrow_raw(*fd) };
    let mut fds: Vec<PollFd<'_>> = sockets
        .iter()
        .map(|fd| PollFd::new(borrow(fd), PollFlags::POLLIN))
        .collect();
    let millis = at_most.as_micros().div_ceil(1000);
    let timeout = u16::try_from(millis).map_or(PollTimeout::from(u16::MAX), PollTimeout::from);
    // Cut short, or refused: whoever waits looks, and has a bound.
    let _ = poll(&mut fds, timeout);
}

/// The child's first steps; None when the daemon has died meanwhile.
fn settle(name: &CStr, keeps: Keeps, socket: UnixStream, daemon: u32) -> Option<UnixStream> {
    let kill: libc::c_ulong = libc::SIGKILL as libc::c_ulong;
    // SAFETY: system calls on numbers and on a string that ends with a zero. Ctrl-C on the daemon's terminal is not
    // meant for the child, hence the session of its own.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, kill);
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
        libc::setsid();
    }
    if std::os::unix::process::parent_id() != daemon {
        return None;
    }
    signals::set_mask(signals::Set::NONE);
    let own = socket.as_raw_fd();
    let kept = match keeps {
        Keeps::All => return Some(socket),
        Keeps::One(kept) => kept,
        Keeps::None => own,
    };
    descriptors::close_all_but(&mut [0, 1, 2, own, kept]);
    Some(socket)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::io::{Read, Write};

    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd;

    use super::*;

    /// What the child reports until it has ended, and how it ended.
    fn finish(aside: Aside) -> (String, WaitStatus) {
        let mut said = String::new();
        aside.socket.set_nonblocking(false).unwrap();
        (&aside.socket).read_to_string(&mut said).unwrap();
        let pid = unistd::Pid::from_raw(aside.pid.0);
        (said, waitpid(pid, None).unwrap())
    }

    #[test]
    fn the_child_has_its_standard_descriptors_and_the_socket() {
        let _held = std::fs::File::open("/").unwrap();
        let aside = start(c"go-overlay:test", |mut socket| {
            let numbers = std::fs::read_dir("/proc/self/fd").unwrap();
            let mut numbers: Vec<String> = numbers
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            numbers.sort();
            let name = std::fs::read_to_string("/proc/self/comm").unwrap();
            let leads = unistd::getsid(None).unwrap() == unistd::getpid();
            write!(socket, "{numbers:?} {leads} {name}").unwrap();
        });
        let aside = aside.unwrap();
        let pid = aside.pid;
        let (said, status) = finish(aside);
        // The fifth is the folder that lists them.
        let (numbers, rest) = said.trim_end().split_once("] ").unwrap();
        assert!(numbers.starts_with(r#"["0", "1", "2""#), "{said}");
        assert_eq!(numbers.split(", ").count(), 5, "{said}");
        assert_eq!(rest, "true go-overlay:test");
        assert_eq!(status, WaitStatus::Exited(unistd::Pid::from_raw(pid.0), 0));
    }

    #[test]
    fn one_more_descriptor_stays_where_it_was() {
        let _held = std::fs::File::open("/").unwrap();
        for kept in [3, 4, 9] {
            let aside = start_with(c"go-overlay:test", Keeps::One(kept), |mut socket| {
                let numbers = std::fs::read_dir("/proc/self/fd").unwrap();
                let mut numbers: Vec<i32> = numbers
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .map(|number| number.parse().unwrap())
                    .collect();
                numbers.sort_unstable();
                write!(socket, "{} {numbers:?}", socket.as_raw_fd()).unwrap();
            });
            let (said, _) = finish(aside.unwrap());
            let (_, open) = said.split_once(' ').unwrap();
            // Of all that the tests have open, that one, the socket, and the folder that lists them.
            assert!(open.matches(',').count() <= 5, "{open}");
        }
    }

    #[test]
    fn the_socket_ends_with_the_child() {
        let aside = start(c"waits", |_socket| {
            loop {
                unistd::pause();
            }
        });
        let aside = aside.unwrap();
        let nothing = (&aside.socket).read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let pid = unistd::Pid::from_raw(aside.pid.0);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert_eq!(finish(aside).0, "");
    }
}
