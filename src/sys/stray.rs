//! Processes that are left at the end: the daemon did not start them, or they detached themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::pinned::Pinned;
use super::process::{self, Stat, Status};
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
        let is_child = || Status::of(pid).is_some_and(|status| status.parent == own);
        others |= !spared.contains(&pid) && is_child();
    }
    is_listed && !others
}

/// The numbers were read a while ago, and may be those of processes from elsewhere by now. So each is looked
/// at once more when it is held: its parent is this process, or a descendant that was found to be one.
fn signal_descendants(signal: Signal, spared: &BTreeSet<Pid>) -> usize {
    let own = process::own();
    let mut ours: BTreeMap<Pid, Option<u64>> = BTreeMap::new();
    let mut sent = 0;
    for Descendant { pid, is_parent } in descendants(own) {
        if spared.contains(&pid) {
            continue;
        }
        let Some((pinned, Status { parent, .. })) = Pinned::new(pid).zip(Status::of(pid)) else {
            continue;
        };
        let started = |pid| Stat::of(pid).map(|stat| stat.started);
        let is_same = |before: &Option<u64>| before.is_some() && started(parent) == *before;
        if parent == own || ours.get(&parent).is_some_and(is_same) {
            ours.insert(pid, is_parent.then(|| started(pid)).flatten());
            sent += usize::from(pinned.signal(signal).unwrap_or(false));
        }
    }
    sent
}

struct Descendant {
    pid: Pid,
    is_parent: bool,
}

/// Every process below another, parents first, from one look through /proc; none where there is no /proc.
fn descendants(root: Pid) -> Vec<Descendant> {
    let mut children: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
    // The root descends from no other one here, whatever a number that was used again suggests.
    for pid in process::all().filter(|pid| *pid != root) {
        if let Some(status) = Status::of(pid) {
            children.entry(status.parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = 0;
    let mut at = root;
    loop {
        for pid in children.remove(&at).unwrap_or_default() {
            found.push(Descendant {
                pid,
                is_parent: children.contains_key(&pid),
            });
        }
        match found.get(next) {
            Some(descendant) => at = descendant.pid,
            None => return found,
        }
        next += 1;
    }
}
