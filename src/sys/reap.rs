//! Children that have ended (wait(2)), and signals to those that have not (kill(2)).

use std::io;

use crate::base::{ExitStatus, Pid, Signal};

/// What one call found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// A child ended and its entry in the process table is gone.
    Child {
        /// Which.
        pid: Pid,
        /// How.
        status: ExitStatus,
    },
    /// There are children; none has ended.
    NoneReady,
    /// There is no child at all, ours or adopted.
    NoChildren,
}

/// Reaps one child without waiting.
///
/// # Errors
/// None that a correct caller can provoke.
pub fn reap_next() -> io::Result<Reaped> {
    loop {
        let mut status = 0;
        // It does not wait, so that no signal can cut it short: any error is the caller's to see.
        // SAFETY: the status is a valid place to write to.
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
        match pid {
            0 => return Ok(Reaped::NoneReady),
            1.. => {
                if let Some(status) = decode(status) {
                    return Ok(Reaped::Child {
                        pid: Pid(pid),
                        status,
                    });
                }
            }
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ECHILD) => {
                    return Ok(Reaped::NoChildren);
                }
                error => return Err(error),
            },
        }
    }
}

/// None for a child that was only stopped or continued, which was not asked about.
fn decode(status: i32) -> Option<ExitStatus> {
    if libc::WIFEXITED(status) {
        return u8::try_from(libc::WEXITSTATUS(status))
            .ok()
            .map(ExitStatus::Exited);
    }
    let signal = libc::WIFSIGNALED(status)
        .then(|| Signal::from_number(libc::WTERMSIG(status)))
        .flatten();
    signal.map(ExitStatus::Signaled)
}

/// Sends a signal to a process group; false when nobody is in it.
///
/// # Errors
/// EPERM, when it may not be sent to anybody in the group.
pub fn kill_group(leader: Pid, signal: Signal) -> io::Result<bool> {
    kill(leader, |number| -number, signal)
}

/// Sends a signal to one process; false when it is gone.
///
/// # Errors
/// EPERM, when it may not be sent.
pub fn kill_process(pid: Pid, signal: Signal) -> io::Result<bool> {
    kill(pid, |number| number, signal)
}

fn kill(pid: Pid, target: fn(i32) -> i32, signal: Signal) -> io::Result<bool> {
    // Below 2 stand ourselves, init, and everybody: never a child's number.
    if pid.0 < 2 {
        return Ok(false);
    }
    // SAFETY: kill takes numbers only.
    if unsafe { libc::kill(target(pid.0), signal.number()) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        error => Err(error),
    }
}

/// The process group of a process that is our child and not our group; None otherwise.
pub fn group_of_child(pid: Pid) -> Option<Pid> {
    let parent = crate::sys::notify::parent(pid)?;
    let process = nix::unistd::Pid::from_raw(pid.0);
    let group = nix::unistd::getpgid(Some(process)).ok()?;
    let ours = parent.0 == nix::unistd::getpid().as_raw() && group != nix::unistd::getpgrp();
    ours.then_some(Pid(group.as_raw()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn decodes_every_way_to_end() {
        for code in 0..=255u8 {
            assert_eq!(decode(i32::from(code) << 8), Some(ExitStatus::Exited(code)));
        }
        let killed = |number| Some(ExitStatus::Signaled(Signal::from_number(number).unwrap()));
        for number in 1..=64 {
            assert_eq!(decode(number), killed(number));
            // With a core.
            assert_eq!(decode(number | 0x80), killed(number));
        }
        // Stopped by SIGSTOP, and continued.
        assert_eq!(decode(0x137f), None);
        assert_eq!(decode(0xffff), None);
    }

    #[test]
    fn never_signals_itself_init_or_everybody() {
        for number in [i32::MIN, -2, -1, 0, 1] {
            assert!(!kill_process(Pid(number), Signal::KILL).unwrap());
            assert!(!kill_group(Pid(number), Signal::KILL).unwrap());
        }
    }
}
