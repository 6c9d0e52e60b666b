//! Processes that are left at the end: the daemon did not start them, or they detached themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::pinned::Pinned;
use super::process::{self, Stat};
use super::{pid1, reap};
use crate::base::{Pid, Signal};

/// Looks through the processes for ones that came meanwhile, at most.
const ROUNDS: usize = 10;

/// Sends a signal to every process that is left but the spared ones, which are children of this one: as PID 1 to all
/// but this one (kill(2) with -1), otherwise to all descendants. Returns to how many, as far as that is known.
///
/// # Errors
/// EPERM, when it may not be sent to any of them.
pub fn signal_everything(signal: Signal, spared: &BTreeSet<Pid>) -> io::Result<usize> {
    if !pid1::is_pid1() {
        return Ok(signal_descendants(signal, spared));
    }
    if !spared.is_empty() && process::all().next().is_some() {
        return Ok(signal_all_but(signal, spared));
    }
    // SAFETY: kill takes numbers only; as PID 1, -1 means every other process in this namespace.
    if unsafe { libc::kill(-1, signal.number()) } == 0 {
        // A process was there, even where /proc does not show which.
        return Ok(process::all().count().saturating_sub(1).max(1));
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(0),
        error => Err(error),
    }
}

/// One by one, as PID 1: every number is one of its own namespace. A process that was made meanwhile is found in another
/// round.
fn signal_all_but(signal: Signal, spared: &BTreeSet<Pid>) -> usize {
    let mut sent = BTreeSet::new();
    for _ in 0..ROUNDS {
        let before = sent.len();
        for pid in process::all() {
            let is_new = pid != process::own() && !spared.contains(&pid) && !sent.contains(&pid);
            if is_new && reap::kill_process(pid, signal).unwrap_or(false) {
                sent.insert(pid);
            }
        }
        if sent.len() == before {
            break;
        }
    }
    sent.len()
}

/// Whether this process has no child but these, as far as /proc says.
pub fn has_no_child_but(spared: &BTreeSet<Pid>) -> bool {
    let own = process::own();
    let (mut is_listed, mut others) = (false, false);
    for pid in process::all() {
        is_listed |= pid == own;
        let is_child = || Stat::of(pid).is_some_and(|stat| stat.parent == own);
        others |= !spared.contains(&pid) && is_child();
    }
    is_listed && !others
}

/// The numbers were read a while ago, and may be those of processes from elsewhere by now. So each is looked
/// at once more when it is held: its parent is this process, or a descendant that was found to be one.
fn signal_descendants(signal: Signal, spared: &BTreeSet<Pid>) -> usize {
    let own = process::own();
    let mut ours: BTreeMap<Pid, u64> = BTreeMap::new();
    let mut sent = 0;
    for pid in descendants(own) {
        if spared.contains(&pid) {
            continue;
        }
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
