//! CPU time and memory of process trees, from one look at the processes there are; taken only when somebody asks, and for a few seconds after that, so that who asks again is answered at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd;

use super::clock;
use crate::base::{Moment, Pid};

/// What a process tree uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of the processes that are alive, and of the children that those have waited for.
    pub cpu: Duration,
    /// Resident memory; a page that several processes share is counted once for each.
    pub memory_bytes: u64,
    /// How long ago the first of them was started.
    pub age: Duration,
}

/// Of a younger process no share is told: what the kernel counts in is a hundredth of a second.
const YOUNG: Duration = Duration::from_millis(100);

impl Usage {
    /// The CPU time as a share of the time since the start, as ps(1) counts: percent of one processor, to a tenth.
    pub fn percent(self) -> Option<f64> {
        let share = self.cpu.as_secs_f64() / self.age.as_secs_f64();
        (self.age >= YOUNG).then(|| (share * 1000.0).round() / 10.0)
    }
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
    let Ok(proc) = File::open(PROC) else {
        return vec![None; roots.len()];
    };
    let forest = Forest::of(relatives(roots, &proc));
    let (hertz, page) = (ticks_a_second(), page_bytes());
    let time = |ticks: u64| Duration::from_millis(ticks.saturating_mul(1000) / hertz);
    let since_boot = clock::since_boot();
    let usage = |members: Vec<i32>| {
        let mut stats = members.iter().filter_map(|pid| look_at(*pid, &proc));
        let root = stats.next()?;
        let (mut ticks, mut pages) = (root.ticks, root.pages);
        for stat in stats {
            ticks = ticks.saturating_add(stat.ticks);
            pages = pages.saturating_add(stat.pages);
        }
        Some(Usage {
            cpu: time(ticks),
            memory_bytes: pages.saturating_mul(page),
            age: since_boot.saturating_sub(time(root.started)),
        })
    };
    roots
        .iter()
        .map(|root| forest.members(root.0).and_then(usage))
        .collect()
}

const PROC: &str = "/proc";

/// Where a process comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    /// None where the session tells enough.
    parent: Option<i32>,
    session: i32,
}

/// All processes that may belong to one that is asked about, and who belongs to whom.
struct Forest {
    known: BTreeSet<i32>,
    /// A process's children and the members of its session.
    belonging: BTreeMap<i32, Vec<i32>>,
}

impl Forest {
    fn of(processes: Vec<(i32, Origin)>) -> Forest {
        let mut belonging: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for (pid, origin) in &processes {
            // A leader's session is itself.
            let session = Some(origin.session).filter(|session| session != pid);
            for owner in [origin.parent, session].into_iter().flatten() {
                belonging.entry(owner).or_default().push(*pid);
            }
        }
        Forest {
            known: processes.into_iter().map(|(pid, _)| pid).collect(),
            belonging,
        }
    }

    /// The process and all who belong to it. They were not looked at in one moment, so that parents may seem to go
    /// in a circle: each is there once.
    fn members(&self, root: i32) -> Option<Vec<i32>> {
        self.known.get(&root)?;
        let mut members = vec![root];
        let mut seen = BTreeSet::new();
        let mut next = 0;
        while let Some(pid) = members.get(next).copied() {
            next += 1;
            let belonging = self.belonging.get(&pid).into_iter().flatten();
            members.extend(belonging.filter(|pid| **pid != root && seen.insert(**pid)));
        }
        Some(members)
    }
}

/// Every process that may belong to one of the roots. Whoever is in a session that a root leads belongs to that one,
/// which getsid(2) tells many times faster than /proc; only of the others the parent has to be read.
fn relatives(roots: &[Pid], proc: &File) -> Vec<(i32, Origin)> {
    let sessions: Vec<(i32, i32)> = everybody()
        .filter_map(|pid| Some((pid, session(pid)?)))
        .collect();
    let roots: BTreeSet<i32> = roots.iter().map(|root| root.0).collect();
    let (leading, within): (Vec<_>, Vec<_>) = sessions
        .iter()
        .filter(|(pid, _)| roots.contains(pid))
        .partition(|(pid, session)| pid == session);
    // A root that leads no session has its children in that of somebody else.
    let shared: BTreeSet<i32> = within.iter().map(|(_, session)| *session).collect();
    let led: BTreeSet<i32> = leading.iter().map(|(pid, _)| *pid).collect();
    let origin = |(pid, session): (i32, i32)| {
        let parent = match shared.contains(&session) {
            false if session == OUTSIDE => return None,
            false if led.contains(&session) => None,
            _ => Some(look_at(pid, proc)?.parent),
        };
        Some((pid, Origin { parent, session }))
    };
    sessions.into_iter().filter_map(origin).collect()
}

/// The session of the kernel's threads, and of whoever came from another PID namespace (pid_namespaces(7)): nobody
/// who was started here gets into it later.
const OUTSIDE: i32 = 0;

fn session(pid: i32) -> Option<i32> {
    let session = unistd::getsid(Some(unistd::Pid::from_raw(pid))).ok()?;
    Some(session.as_raw())
}

fn everybody() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir(PROC).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// More than the line is long: 52 numbers and a name of 64 bytes at most.
const STAT_BYTES: usize = 2048;

/// One line of /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: i32,
    /// Its own and that of the children it has waited for.
    ticks: u64,
    /// When it was started, in ticks since the system was.
    started: u64,
    pages: u64,
}

/// None for a process that is gone.
fn look_at(pid: i32, proc: &File) -> Option<Stat> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = openat(proc, format!("{pid}/stat").as_str(), flags, Mode::empty()).ok()?;
    // One read is all of it; a file of /proc has no size to ask for.
    let mut line = [0; STAT_BYTES];
    let length = File::from(file).read(&mut line).ok()?;
    parse(line.get(..length)?)
}

fn parse(stat: &[u8]) -> Option<Stat> {
    // The name in brackets may hold anything, brackets and spaces too; nothing after it does.
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    // proc_pid_stat(5) counts from 1, with the state, the first one here, as 3.
    let mut numbers = rest.split_ascii_whitespace();
    let parent = numbers.nth(4 - 3)?.parse().ok()?;
    let times = numbers.by_ref().skip(14 - 4 - 1).take(4);
    let ticks = times
        .map(|ticks| ticks.parse::<i64>().ok())
        .sum::<Option<i64>>()?;
    let started = numbers.nth(22 - 17 - 1)?.parse().ok()?;
    let pages: i64 = numbers.nth(24 - 22 - 1)?.parse().ok()?;
    Some(Stat {
        parent,
        ticks: u64::try_from(ticks).unwrap_or(0),
        started,
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

    #[test]
    fn a_line_is_read_whatever_the_name_is() {
        let line =
            "42 (a) b (c)) S 7 42 6 0 -1 4194304 90 0 0 0 11 22 100 200 20 0 1 0 55 1024 33 99 1";
        let expected = Stat {
            parent: 7,
            ticks: 333,
            started: 55,
            pages: 33,
        };
        assert_eq!(parse(line.as_bytes()), Some(expected));
        for broken in ["", "42", "42 (a", "42 (a) S 7 42", "42 (a) S x 42 6 0"] {
            assert_eq!(parse(broken.as_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn a_share_is_of_the_time_since_the_start() {
        let usage = |cpu, age| Usage {
            cpu: Duration::from_millis(cpu),
            age: Duration::from_millis(age),
            memory_bytes: 0,
        };
        assert_eq!(usage(2000, 1000).percent(), Some(200.0));
        assert_eq!(usage(1, 3000).percent(), Some(0.0));
        assert_eq!(usage(123, 1000).percent(), Some(12.3));
        assert_eq!(usage(20, 99).percent(), None);
    }

    #[test]
    fn trees_and_sessions_are_added_up_and_circles_end() {
        let origin = |parent: i32, session| Origin {
            parent: (parent > 0).then_some(parent),
            session,
        };
        let forest = Forest::of(vec![
            (10, origin(1, 10)),
            (11, origin(10, 10)),
            (12, origin(11, 12)),
            // Its parent is not known; its session tells whose it is.
            (13, origin(0, 10)),
            (14, origin(13, 14)),
            (20, origin(1, 20)),
            (30, origin(31, 30)),
            (31, origin(30, 31)),
        ]);
        let members = |root| {
            let mut members = forest.members(root)?;
            members.sort_unstable();
            Some(members)
        };
        assert_eq!(members(10), Some(vec![10, 11, 12, 13, 14]));
        assert_eq!(members(20), Some(vec![20]));
        assert_eq!(members(30), Some(vec![30, 31]));
        assert_eq!(members(99), None);
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

    /// A shell whose child, in a session of its own or not, uses some CPU time and tells its process id.
    fn with_busy_child(root: &[&str], child: &str) {
        let busy = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo $$; exec sleep 60";
        let script = format!("{child} sh -c '{busy}' & read stop; kill $!");
        let mut root = Command::new(root[0])
            .args(&root[1..])
            .args(["/bin/sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(root.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let pid = i32::try_from(root.id()).unwrap();
        let proc = File::open(PROC).unwrap();
        let members = Forest::of(relatives(&[Pid(pid)], &proc))
            .members(pid)
            .unwrap();
        let sampled = sample(&[Pid(pid), Pid(i32::MAX)]);
        let alone = look_at(pid, &proc).unwrap().pages * page_bytes();
        drop(root.stdin.take());
        root.wait().unwrap();
        assert_eq!(members, [pid, line.trim().parse().unwrap()]);
        let usage = sampled[0].unwrap();
        assert!(alone > 0 && usage.memory_bytes > alone, "{usage:?}");
        assert!(usage.cpu >= Duration::from_millis(10), "{usage:?}");
        assert!(usage.age < Duration::from_secs(60), "{usage:?}");
        assert_eq!(sampled[1], None);
    }

    #[test]
    fn a_child_that_has_ended_counts() {
        let busy = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";
        let mut root = Command::new("/bin/sh")
            .args(["-c", &format!("sh -c '{busy}'; echo over; read stop")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(root.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let sampled = sample(&[Pid(i32::try_from(root.id()).unwrap())]);
        drop(root.stdin.take());
        root.wait().unwrap();
        let usage = sampled[0].unwrap();
        assert!(usage.cpu >= Duration::from_millis(10), "{usage:?}");
    }

    #[test]
    fn a_real_tree_uses_more_than_its_root() {
        with_busy_child(&["env"], "");
        with_busy_child(&["env"], "setsid");
        with_busy_child(&["setsid"], "");
        with_busy_child(&["setsid"], "setsid");
        assert!(sample(&[]).is_empty());
    }
}
