//! Whoever is left at the end: processes that nobody started here, or that detached themselves.

use std::collections::BTreeMap;
use std::io;

use crate::base::{Pid, Signal};
use crate::sys::{pid1, reap};

/// Sends a signal to every process that is left: as PID 1 to all but ourselves (kill(2) with -1),
/// otherwise to all our descendants. Gives back to how many, as far as that is known.
///
/// # Errors
/// EPERM, when it may not be sent to anybody.
pub fn signal_everything(signal: Signal) -> io::Result<usize> {
    if pid1::is_pid1() {
        // SAFETY: kill takes numbers only; as PID 1, -1 means everybody else in this namespace.
        if unsafe { libc::kill(-1, signal.number()) } == 0 {
            // Somebody was there, even where /proc does not say who.
            return Ok(processes().count().saturating_sub(1).max(1));
        }
        return match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(0),
            error => Err(error),
        };
    }
    let descendants = descendants(std::process::id() as i32);
    let mut told = 0;
    for pid in descendants {
        told += usize::from(reap::kill_process(Pid(pid), signal).unwrap_or(false));
    }
    Ok(told)
}

/// Everybody below a process, from one look through /proc; nobody where there is no /proc.
fn descendants(root: i32) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    // The root is nobody's descendant here, whatever a number that was used anew meanwhile suggests.
    for pid in processes().filter(|pid| *pid != root) {
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&at) = found.get(next) {
        next += 1;
        found.extend(children.remove(&at).unwrap_or_default());
    }
    found.split_off(1)
}

/// Every process that /proc shows.
fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The fourth field of /proc/PID/stat; the name before it may hold anything, brackets too.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(after_name + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}
