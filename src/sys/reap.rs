//! Children that have ended (wait(2)), and signals to those that have not (kill(2)).

use std::io;

use crate::base::{ExitStatus, Pid, Signal};

/// What one look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This child has ended. It is a zombie until it is reaped, and holds its number, its group and its
    /// session until then.
    Dead(Pid),
    /// There are children; none has ended.
    NoneDead,
    /// There is no child at all, started here or adopted.
    NoChildren,
}

/// Looks for a child that has ended, and leaves it as it is (waitid(2) with WNOWAIT). Never waits.
///
/// # Errors
/// None that a correct caller can provoke.
pub fn find_dead() -> io::Result<Found> {
    match look(libc::P_ALL, 0) {
        Ok(None) => Ok(Found::NoneDead),
        Ok(Some(pid)) => Ok(Found::Dead(pid)),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(Found::NoChildren),
        Err(error) => Err(error),
    }
}

/// Whether a process is a child of this one that has not been reaped: as long as only this process reaps, the
/// number is held.
pub fn is_child(pid: Pid) -> bool {
    u32::try_from(pid.0).is_ok_and(|number| number > 0 && look(libc::P_PID, number).is_ok())
}

/// The child that has ended among those that are asked for; None while each of them runs.
fn look(which: libc::idtype_t, number: libc::id_t) -> io::Result<Option<Pid>> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all zeroes is a valid siginfo, and says that no child was found.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // It does not wait, so that no signal can cut it short: any error is the caller's to see.
    // SAFETY: the siginfo is a valid place to write to, and its pid is set by waitid or zero.
    let pid = unsafe {
        match libc::waitid(which, number, &mut info, flags) {
            0 => info.si_pid(),
            _ => return Err(io::Error::last_os_error()),
        }
    };
    Ok((pid > 0).then_some(Pid(pid)))
}

/// Reaps a child that has ended: from here on its number may be another process's.
///
/// # Errors
/// When it has not ended, or is no child.
pub fn reap(pid: Pid) -> io::Result<ExitStatus> {
    let mut status = 0;
    // SAFETY: the status is a valid place to write to.
    match unsafe { libc::waitpid(pid.0, &mut status, libc::WNOHANG) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => decode(status).ok_or_else(|| io::ErrorKind::WouldBlock.into()),
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

/// Whether a process is left in a group, zombies included. The answer may be about a later group of the same
/// number, so it decides on no more than how long to wait.
pub fn group_is_populated(leader: Pid) -> bool {
    // SAFETY: kill takes numbers only; without a signal it only looks.
    let looked = unsafe { libc::kill(-leader.0, 0) };
    looked == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
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
