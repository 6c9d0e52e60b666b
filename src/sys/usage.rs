//! CPU time and memory of process trees, from one look through /proc (proc(5)); taken only when somebody
//! asks, and for a few seconds after that, so that who asks again is answered at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use super::clock;
use crate::base::{Moment, Pid};

/// What a process tree uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of the processes that are alive.
    pub cpu: Duration,
    /// Resident memory; a page that several processes share is counted once for each.
    pub memory_bytes: u64,
}

/// One line of /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: i32,
    session: i32,
    ticks: u64,
    pages: u64,
}

/// While somebody watches, a look is taken so often.
const PERIOD: Duration = Duration::from_secs(1);

/// A look takes at most this part of the time: one through thousands of processes comes less often.
const SHARE: u32 = 50;

/// Whoever asked is taken to be watching for so long: who asks again then is answered without a look.
const WATCHING: Duration = Duration::from_secs(5);

/// What was seen last, and who may want to see it again.
#[derive(Debug, Default)]
pub struct Watch {
    last: Option<Look>,
    /// When the last one who asked is taken to have gone.
    until: Option<Moment>,
}

#[derive(Debug)]
struct Look {
    taken: Moment,
    /// When it is old enough for another.
    next: Moment,
    roots: Vec<Pid>,
    seen: Vec<Option<Usage>>,
}

impl Look {
    fn take(roots: &[Pid], now: Moment) -> Look {
        let began = clock::now();
        let seen = sample(roots);
        let cost = clock::now().since(began);
        Look {
            taken: now,
            next: now.after(PERIOD.max(cost * SHARE)),
            roots: roots.to_vec(),
            seen,
        }
    }

    /// It may be late by as much as it is to be old.
    fn is_good(&self, roots: &[Pid], now: Moment) -> bool {
        now.since(self.next) < self.next.since(self.taken) && self.roots == roots
    }
}

impl Watch {
    /// As [`sample`], seen a second or two ago at most where a look is not dear, and never of other processes. Looks
    /// go on for a while, at the moments of [`Watch::deadline`].
    pub fn ask(&mut self, roots: &[Pid], now: Moment) -> &[Option<Usage>] {
        self.until = Some(now.after(WATCHING));
        if !self
            .last
            .as_ref()
            .is_some_and(|look| look.is_good(roots, now))
        {
            self.last = Some(Look::take(roots, now));
        }
        self.last.as_ref().map_or(&[], |look| &look.seen)
    }

    /// When [`Watch::keep_up`] has something to do; None while nobody watches.
    pub fn deadline(&self) -> Option<Moment> {
        let next = self.last.as_ref().map(|look| look.next);
        self.until.map(|until| next.unwrap_or(until).min(until))
    }

    /// Takes the next look while somebody watches, and forgets the last one after that.
    pub fn keep_up(&mut self, roots: &[Pid], now: Moment) {
        if self.until.is_some_and(|until| until <= now) {
            *self = Watch::default();
        } else if self.deadline().is_some_and(|at| at <= now) {
            self.last = Some(Look::take(roots, now));
        }
    }

    /// When the last one who asked is taken to have gone.
    pub fn until(&self) -> Option<Moment> {
        self.until
    }
}

/// The usage of each of these processes with its descendants and the members of the session it leads
/// (workers whose parent is gone). None where the process, or /proc, is not to be seen.
pub fn sample(roots: &[Pid]) -> Vec<Option<Usage>> {
    if roots.is_empty() {
        return Vec::new();
    }
    let forest = Forest::of(processes());
    let (hertz, page) = (ticks_a_second(), page_bytes());
    let usage = |total: (u64, u64)| Usage {
        cpu: Duration::from_millis(total.0.saturating_mul(1000) / hertz),
        memory_bytes: total.1.saturating_mul(page),
    };
    roots
        .iter()
        .map(|root| forest.total(root.0).map(usage))
        .collect()
}

/// All processes, and who belongs to whom.
struct Forest {
    processes: BTreeMap<i32, Process>,
    /// A process's children and the members of its session.
    belonging: BTreeMap<i32, Vec<i32>>,
}

impl Forest {
    fn of(processes: BTreeMap<i32, Process>) -> Forest {
        let mut belonging: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for (pid, process) in &processes {
            belonging.entry(process.parent).or_default().push(*pid);
            if process.session != process.parent {
                belonging.entry(process.session).or_default().push(*pid);
            }
        }
        Forest {
            processes,
            belonging,
        }
    }

    /// Ticks and pages. The lines were not read at one moment, so that parents may seem to go in a
    /// circle: each process is counted once.
    fn total(&self, root: i32) -> Option<(u64, u64)> {
        self.processes.get(&root)?;
        let mut seen = BTreeSet::from([root]);
        let mut left = vec![root];
        let (mut ticks, mut pages) = (0u64, 0u64);
        while let Some(pid) = left.pop() {
            if let Some(process) = self.processes.get(&pid) {
                ticks = ticks.saturating_add(process.ticks);
                pages = pages.saturating_add(process.pages);
            }
            let belonging = self.belonging.get(&pid).into_iter().flatten();
            left.extend(belonging.filter(|pid| seen.insert(**pid)));
        }
        Some((ticks, pages))
    }
}

fn processes() -> BTreeMap<i32, Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| Some((pid, look_at(pid)?)))
        .collect()
}

/// More than the line is long: 52 numbers and a name of 64 bytes at most.
const STAT_BYTES: usize = 2048;

fn look_at(pid: i32) -> Option<Process> {
    // One read is all of it; a file of /proc has no size to ask for.
    let mut line = [0; STAT_BYTES];
    let length = File::open(format!("/proc/{pid}/stat"))
        .and_then(|mut file| file.read(&mut line))
        .ok()?;
    parse(line.get(..length)?)
}

fn parse(stat: &[u8]) -> Option<Process> {
    // The name in brackets may hold anything, brackets and spaces too; nothing after it does.
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    // proc(5) counts from 1, with the state, the first one here, as 3.
    let mut numbers = rest.split_ascii_whitespace();
    let parent = numbers.nth(4 - 3)?.parse().ok()?;
    let session = numbers.nth(6 - 4 - 1)?.parse().ok()?;
    let user: u64 = numbers.nth(14 - 6 - 1)?.parse().ok()?;
    let system: u64 = numbers.next()?.parse().ok()?;
    let pages: i64 = numbers.nth(24 - 15 - 1)?.parse().ok()?;
    Some(Process {
        parent,
        session,
        ticks: user.saturating_add(system),
        pages: u64::try_from(pages).unwrap_or(0),
    })
}

fn ticks_a_second() -> u64 {
    // SAFETY: asks for a constant by number.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100).max(1)
}

fn page_bytes() -> u64 {
    // SAFETY: asks for a constant by number.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    fn process(parent: i32, session: i32, ticks: u64) -> Process {
        Process {
            parent,
            session,
            ticks,
            pages: 1,
        }
    }

    #[test]
    fn a_line_is_read_whatever_the_name_is() {
        let line =
            "42 (a) b (c)) S 7 42 6 0 -1 4194304 90 0 0 0 11 22 0 0 20 0 1 0 55 1024 33 99 1";
        let expected = Process {
            parent: 7,
            session: 6,
            ticks: 33,
            pages: 33,
        };
        assert_eq!(parse(line.as_bytes()), Some(expected));
        for broken in ["", "42", "42 (a", "42 (a) S 7 42", "42 (a) S x 42 6 0"] {
            assert_eq!(parse(broken.as_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn trees_and_sessions_are_added_up_and_circles_end() {
        let forest = Forest::of(BTreeMap::from([
            (10, process(1, 10, 1)),
            (11, process(10, 10, 10)),
            (12, process(11, 12, 100)),
            // Its parent is gone; its session tells whose it is.
            (13, process(1, 10, 1000)),
            (20, process(1, 20, 5)),
            (30, process(31, 30, 7)),
            (31, process(30, 31, 70)),
        ]));
        assert_eq!(forest.total(10), Some((1111, 4)));
        assert_eq!(forest.total(20), Some((5, 1)));
        assert_eq!(forest.total(30), Some((77, 2)));
        assert_eq!(forest.total(99), None);
    }

    /// When the last look was taken.
    fn taken(watch: &Watch) -> Moment {
        watch.last.as_ref().unwrap().taken
    }

    #[test]
    fn who_asks_again_is_answered_without_a_look_and_looks_end_when_nobody_does() {
        let own = [Pid(i32::try_from(std::process::id()).unwrap())];
        let mut watch = Watch::default();
        assert_eq!(watch.deadline(), None);
        let first = clock::now();
        assert!(watch.ask(&own, first)[0].is_some());
        let next = watch.deadline().unwrap();
        assert!(next >= first.after(PERIOD), "{next:?}");
        // Late, but before the look that was due.
        let again = next.after(Duration::from_millis(1));
        watch.ask(&own, again);
        assert_eq!(taken(&watch), first);
        watch.keep_up(&own, again);
        assert_eq!(taken(&watch), again);
        // Another process is never taken for the one that was looked at.
        let other = [Pid(i32::MAX)];
        assert_eq!(watch.ask(&other, again), [None]);
        let gone = again.after(WATCHING);
        watch.keep_up(&own, gone);
        assert_eq!(watch.deadline(), None);
        assert!(watch.ask(&own, gone)[0].is_some());
        assert_eq!(taken(&watch), gone);
    }

    #[test]
    fn a_real_tree_uses_more_than_its_root() {
        let script = "i=0; (while [ $i -lt 60000 ]; do i=$((i+1)); done; echo done; exec sleep 60) & \
                      read stop; kill $!";
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let root = i32::try_from(child.id()).unwrap();
        let alone = look_at(root).unwrap();
        let sampled = sample(&[Pid(root), Pid(i32::MAX)]);
        drop(child.stdin.take());
        child.wait().unwrap();
        let usage = sampled[0].unwrap();
        assert!(usage.memory_bytes > alone.pages * page_bytes(), "{usage:?}");
        assert!(usage.cpu >= Duration::from_millis(10), "{usage:?}");
        assert_eq!(sampled[1], None);
        assert!(sample(&[]).is_empty());
    }
}
