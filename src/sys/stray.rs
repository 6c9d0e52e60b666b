//! Processes that are left at the end: the daemon did not start them, or they detached themselves.

use std::collections::BTreeMap;
use std::io;

use super::pinned::Pinned;
use super::process::{self, Stat};
use crate::base::{Pid, Signal};
use crate::sys::pid1;

/// Sends a signal to every process that is left: as PID 1 to all but this one (kill(2) with -1),
/// otherwise to all descendants. Returns to how many, as far as that is known.
///
/// # Errors
/// EPERM, when it may not be sent to any of them.
pub fn signal_everything(signal: Signal) -> io::Result<usize> {
    if pid1::is_pid1() {
        // SAFETY: kill takes numbers only; as PID 1, -1 means every other process in this namespace.
        if unsafe { libc::kill(-1, signal.number()) } == 0 {
            // A process was there, even where /proc does not show which.
            return Ok(process::all().count().saturating_sub(1).max(1));
        }
        return match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(0),
            error => Err(error),
        };
    }
    Ok(signal_descendants(signal))
}

/// The numbers were read a while ago, and may be those of processes from elsewhere by now. So each is looked
/// at once more when it is held: its parent is this process, or a descendant that was found to be one.
fn signal_descendants(signal: Signal) -> usize {
    let own = process::own();
    let mut ours: BTreeMap<Pid, u64> = BTreeMap::new();
    let mut sent = 0;
    for pid in descendants(own) {
        let Some((pinned, stat)) = Pinned::new(pid).zip(Stat::of(pid)) else {
            continue;
        };
        let is_same =
            |started: &u64| Stat::of(stat.parent).is_some_and(|now| now.started == *started);
        if stat.parent == own || ours.get(&stat.parent).is_some_and(is_same) {
            ours.insert(pid, stat.started);
            sent += usize::from(pinned.signal(signal).unwrap_or(false));
        }
    }
    sent
}

/// Every process below another, parents first, from one look through /proc; none where there is no /proc.
fn descendants(root: Pid) -> Vec<Pid> {
    let mut children: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
    // The root descends from no other one here, whatever a number that was used again suggests.
    for pid in process::all().filter(|pid| *pid != root) {
        if let Some(stat) = Stat::of(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(at) = found.get(next) {
        let below = children.remove(at).unwrap_or_default();
        next += 1;
        found.extend(below);
    }
    found.split_off(1)
}
