//! Children that work for the daemon itself ([`crate::sys::aside`]): for log files, checks, and the configuration. Any
//! part may start one; they are reaped with all others, and their end is reported nowhere.

use std::collections::BTreeSet;

use crate::base::{Pid, Signal};
use crate::sys::reap;

/// Those that have not been reaped.
#[derive(Default)]
pub(super) struct Helpers {
    pids: BTreeSet<Pid>,
}

impl Helpers {
    pub fn add(&mut self, pid: Pid) {
        self.pids.insert(pid);
    }

    /// Ends one, if it has not ended by itself. That it cannot be ended at once, being stuck in the kernel, is no reason
    /// to wait.
    pub fn end(&self, pid: Pid) {
        if self.has(pid) {
            let _ = reap::kill_process(pid, Signal::KILL);
        }
    }

    /// Whether this is one that has not been reaped. One that waits in the kernel may outlive SIGKILL for as long as the
    /// file system it waits for.
    pub fn has(&self, pid: Pid) -> bool {
        self.pids.contains(&pid)
    }

    /// It was reaped.
    pub fn remove(&mut self, pid: Pid) {
        self.pids.remove(&pid);
    }

    pub fn pids(&self) -> &BTreeSet<Pid> {
        &self.pids
    }
}
