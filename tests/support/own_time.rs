//! Time that passes, without what the machine gave to others meanwhile: a bound on it holds on a busy machine too.

use std::fs;
use std::time::{Duration, Instant};

/// How long a process or thread was on a processor so far, and how long it waited for one (`/proc/WHOSE/schedstat`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Scheduled {
    /// On a processor.
    pub ran: Duration,
    /// Ready to run, while others had the processors.
    pub waited: Duration,
}

impl Scheduled {
    /// Of `whose`, a process id or `thread-self`; nothing where the kernel does not count it.
    pub fn of(whose: &str) -> Scheduled {
        let text = fs::read_to_string(format!("/proc/{whose}/schedstat")).unwrap_or_default();
        let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
        let mut next = || Duration::from_nanos(numbers.next().unwrap_or(0));
        let (ran, waited) = (next(), next());
        Scheduled { ran, waited }
    }
}

/// How long the host gave this machine's processors to other machines so far (`steal` in proc_stat(5), in 10 ms).
fn stolen() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let of_all = text.lines().next().unwrap_or_default();
    let stolen = of_all.split_whitespace().nth(8);
    Duration::from_millis(stolen.and_then(|text| text.parse().ok()).unwrap_or(0) * 10)
}

/// A stopwatch that stands still while this thread or one process waits for a processor.
pub struct OwnTime {
    pid: String,
    waits: Duration,
    began: Instant,
}

impl OwnTime {
    /// Starts it.
    pub fn with(pid: i32) -> OwnTime {
        let pid = pid.to_string();
        OwnTime {
            waits: OwnTime::waits(&pid),
            pid,
            began: Instant::now(),
        }
    }

    fn waits(pid: &str) -> Duration {
        Scheduled::of(pid).waited + Scheduled::of("thread-self").waited + stolen()
    }

    /// What passed by the clock, and what is left of it.
    pub fn elapsed(&self) -> (Duration, Duration) {
        let by_the_clock = self.began.elapsed();
        let others = OwnTime::waits(&self.pid).saturating_sub(self.waits);
        (by_the_clock, by_the_clock.saturating_sub(others))
    }
}
