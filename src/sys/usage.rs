//! CPU time and memory of process trees, from one look through /proc (proc(5)); taken only when
//! somebody asks.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::Pid;

/// What a process tree uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of the processes that are alive.
    pub cpu: Duration,
    /// Resident memory, shared pages counted once a process.
    pub memory_bytes: u64,
}

struct Process {
    parent: i32,
    ticks: u64,
    pages: u64,
}

/// The usage of each tree below these processes, themselves included; None where one is not to be seen.
pub fn sample(roots: &[Pid]) -> Vec<Option<Usage>> {
    if roots.is_empty() {
        return Vec::new();
    }
    let processes = all_processes();
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (pid, process) in &processes {
        children.entry(process.parent).or_default().push(*pid);
    }
    roots
        .iter()
        .map(|root| tree(root.0, &processes, &children))
        .collect()
}

fn tree(
    root: i32,
    processes: &BTreeMap<i32, Process>,
    children: &BTreeMap<i32, Vec<i32>>,
) -> Option<Usage> {
    processes.get(&root)?;
    let (mut ticks, mut pages) = (0, 0);
    let mut walk = vec![root];
    let mut next = 0;
    while let Some(&at) = walk.get(next) {
        next += 1;
        if let Some(process) = processes.get(&at) {
            ticks += process.ticks;
            pages += process.pages;
        }
        walk.extend(children.get(&at).into_iter().flatten());
    }
    Some(Usage {
        cpu: of_ticks(ticks),
        memory_bytes: pages * page_bytes(),
    })
}

fn all_processes() -> BTreeMap<i32, Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, process(pid)?))).collect()
}

fn process(pid: i32) -> Option<Process> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(after_name + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Fields of proc(5), counted from the third: state, parent, …, utime and stime (14, 15), rss (24).
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        ticks: number(11)? + number(12)?,
        pages: number(21)?,
    })
}

fn of_ticks(ticks: u64) -> Duration {
    // SAFETY: asks for a constant.
    let a_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) })
        .unwrap_or(100)
        .max(1);
    Duration::from_millis(ticks * 1000 / a_second)
}

fn page_bytes() -> u64 {
    // SAFETY: asks for a constant.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}
