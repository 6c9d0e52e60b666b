//! A process that is not confused with a later one of the same number (pidfd_open(2)).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::process::{self, Stat};
use super::reap;
use crate::base::{Pid, Signal};

/// One process, by its number and by what tells it from a later one of that number.
#[derive(Debug)]
pub struct Pinned {
    pid: Pid,
    by: By,
}

#[derive(Debug)]
enum By {
    /// A descriptor of the process: Linux 5.3, and a descriptor that is free.
    Descriptor(OwnedFd),
    /// When it started, in clock ticks. A number that comes round within a tick is not noticed.
    Start(u64),
}

impl Pinned {
    /// The process that has this number now; None when there is none, or /proc is needed and missing.
    pub fn new(pid: Pid) -> Option<Pinned> {
        if pid.0 <= 0 {
            return None;
        }
        let by = match open(pid) {
            Ok(fd) => By::Descriptor(fd),
            // The number of a thread: EINVAL, and since Linux 6.15 ENOENT.
            Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => return None,
            Err(_) => By::Start(Stat::of(pid)?.started),
        };
        Some(Pinned { pid, by })
    }

    /// Its number, which may be another's by now.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it runs: neither gone nor a zombie.
    pub fn is_running(&self) -> bool {
        match &self.by {
            By::Descriptor(fd) => {
                let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::ZERO) == Ok(0)
            }
            By::Start(_) => self.stat().is_some_and(|stat| !stat.is_dead),
        }
    }

    /// Whether it still has its number: it runs, or is a zombie.
    pub fn is_there(&self) -> bool {
        match &self.by {
            By::Descriptor(fd) => send(fd, 0) != Err(Errno::ESRCH),
            By::Start(_) => self.stat().is_some(),
        }
    }

    /// Sends it a signal; false when it is gone.
    ///
    /// # Errors
    /// EPERM, when it may not be sent.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        match &self.by {
            By::Descriptor(fd) => match send(fd, signal.number()) {
                Ok(()) => Ok(true),
                Err(Errno::ESRCH) => Ok(false),
                // A filter may know kill(2) alone. It says the same where the process may not be signalled.
                Err(_) if self.is_running() => reap::kill_process(self.pid, signal),
                Err(error) => Err(error.into()),
            },
            By::Start(_) if self.is_there() => reap::kill_process(self.pid, signal),
            By::Start(_) => Ok(false),
        }
    }

    fn stat(&self) -> Option<Stat> {
        Stat::of(self.pid).filter(|stat| match self.by {
            By::Start(started) => stat.started == started,
            By::Descriptor(_) => true,
        })
    }
}

fn open(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: takes two numbers and gives a new descriptor, which is close-on-exec, or -1.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.0, 0) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the descriptor was made just now, and only this owns it.
    Ok(OwnedFd::from(unsafe { File::from_raw_fd(fd) }))
}

fn send(fd: &OwnedFd, signal: i32) -> Result<(), Errno> {
    let (fd, none) = (fd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: without a siginfo the kernel fills it in as for kill(2).
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) };
    Errno::result(result).map(drop)
}

/// Sends a signal to the group that a child is in; false when the child is gone.
///
/// The number of a group that the child leads is held by the child. Any other is held by its members, which may
/// leave, so that each of them is sent the signal on its own: it is held, and found in the group while the child is.
///
/// # Errors
/// EPERM, when it may not be sent to the child.
pub fn kill_group_of(child: Pid, signal: Signal) -> io::Result<bool> {
    let place = |pid| Some((process::group(pid)?, process::session(pid)?));
    let Some(of_child) = place(child) else {
        return Ok(false);
    };
    if of_child.0 == child {
        return reap::kill_group(child, signal);
    }
    let is_own_group = Some(of_child.0) == process::group(process::own());
    for pid in process::all().filter(|pid| *pid != child && !is_own_group) {
        if place(pid) != Some(of_child) {
            continue;
        }
        let Some(member) = Pinned::new(pid) else {
            continue;
        };
        if place(pid) == Some(of_child) && place(child) == Some(of_child) {
            let _ = member.signal(signal);
        }
    }
    reap::kill_process(child, signal)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::process::Command;

    use super::*;

    /// Both ways to hold a process.
    fn both(pid: Pid) -> [Pinned; 2] {
        let started = Stat::of(pid).unwrap().started;
        let by = By::Start(started);
        [Pinned::new(pid).unwrap(), Pinned { pid, by }]
    }

    #[test]
    fn a_process_is_told_from_what_is_left_of_it() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid(i32::try_from(child.id()).unwrap());
        let held = both(pid);
        for pinned in &held {
            assert!(pinned.is_running() && pinned.is_there());
            assert!(pinned.signal(Signal::CONT).unwrap());
        }
        assert!(held[0].signal(Signal::KILL).unwrap());
        let zombie = || Stat::of(pid).is_some_and(|stat| stat.is_dead);
        while !zombie() {
            std::thread::yield_now();
        }
        for pinned in &held {
            assert!(!pinned.is_running() && pinned.is_there());
        }
        child.wait().unwrap();
        for pinned in &held {
            assert!(!pinned.is_running() && !pinned.is_there());
            assert!(!pinned.signal(Signal::KILL).unwrap());
        }
        assert!(Pinned::new(pid).is_none());
        let later = Pinned {
            pid: Pid(std::process::id().cast_signed()),
            by: By::Start(1),
        };
        assert!(!later.is_there(), "another process of the same number");
    }
}
