//! What a service's processes use of the machine.

use std::time::Duration;

/// CPU time and memory of a process with its descendants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of the processes that are alive. What ended children of theirs used is not counted.
    pub cpu: Duration,
    /// Resident memory; a page that several processes share is counted once for each.
    pub memory_bytes: u64,
}

/// A younger process has no share: it has done little but start.
const YOUNG: Duration = Duration::from_millis(100);

impl Usage {
    /// The CPU time as a share of this time since the start, as ps(1) counts: percent of one processor, to a tenth.
    pub fn percent(self, age: Duration) -> Option<f64> {
        let share = self.cpu.as_secs_f64() / age.as_secs_f64();
        (age >= YOUNG).then(|| (share * 1000.0).round() / 10.0)
    }
}
