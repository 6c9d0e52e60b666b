//! CPU time and memory of process trees, from one look at the processes there are; taken only when somebody asks,
//! and for a few seconds after that, so that who asks again is answered at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};
use nix::unistd;

use super::{clock, process};
use crate::base::{Moment, Pid};
use crate::domain::Usage;

/// While somebody watches, a look is taken so often.
const PERIOD: Duration = Duration::from_secs(1);

/// A look takes at most this part of the time: one through thousands of processes comes less often.
const SHARE: u32 = 50;

/// Whoever asked is taken to be watching for so long: who asks again then is answered without a look.
pub const WATCHING: Duration = Duration::from_secs(5);

/// What was seen last, and who may want to see it again.
#[derive(Debug, Default)]
pub struct Watch {
    last: Option<Look>,
    /// When the last one who asked is taken to have gone.
    until: Option<Moment>,
}

/// What was seen at one moment.
#[derive(Debug)]
pub struct Look {
    /// When.
    pub taken: Moment,
    /// When it is old enough for another.
    next: Moment,
    roots: Vec<Pid>,
    /// What each of those uses that were asked about, as [`sample`] gives it.
    pub seen: Vec<Option<Usage>>,
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
    pub fn ask(&mut self, roots: &[Pid], now: Moment) -> &Look {
        self.until = Some(now.after(WATCHING));
        let last = self.last.take().filter(|look| look.is_good(roots, now));
        self.last
            .insert(last.unwrap_or_else(|| Look::take(roots, now)))
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
    let page = page_bytes();
    let usage = |root: &Pid| {
        let members = forest.members(root.0)?;
        let (mut cpu, mut pages) = (cpu_time(root.0)?, resident_pages(root.0, &proc)?);
        // Who is gone meanwhile uses nothing.
        for pid in members.into_iter().filter(|pid| *pid != root.0) {
            cpu = cpu.saturating_add(cpu_time(pid).unwrap_or_default());
            pages = pages.saturating_add(resident_pages(pid, &proc).unwrap_or(0));
        }
        Some(Usage {
            cpu,
            memory_bytes: pages.saturating_mul(page),
        })
    };
    roots.iter().map(usage).collect()
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

/// Every process that may belong to one of the roots.
///
/// getsid(2) tells many times faster than /proc whose a process is: who is in a session that a root leads is that
/// one's, and who is in another one belongs where its leader does, whose parent has to be read. Only where there is
/// no leader any more, or where a root is in somebody else's session, it is read of every member.
fn relatives(roots: &[Pid], proc: &File) -> Vec<(i32, Origin)> {
    let sessions: BTreeMap<i32, i32> = everybody()
        .filter_map(|pid| Some((pid, session(pid)?)))
        .collect();
    let known = roots
        .iter()
        .filter_map(|root| Some((root.0, *sessions.get(&root.0)?)));
    let (leading, within): (Vec<_>, Vec<_>) = known.partition(|(pid, session)| pid == session);
    let led: BTreeSet<i32> = leading.into_iter().map(|(pid, _)| pid).collect();
    let shared: BTreeSet<i32> = within.into_iter().map(|(_, session)| session).collect();
    let origin = |(&pid, &session): (&i32, &i32)| {
        let tells = led.contains(&session) || (pid != session && sessions.contains_key(&session));
        let parent = match shared.contains(&session) {
            false if session == OUTSIDE => return None,
            false if tells => None,
            _ => Some(parent(pid, proc)?),
        };
        Some((pid, Origin { parent, session }))
    };
    sessions.iter().filter_map(origin).collect()
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

/// More than what is read of /proc/PID/statm, and of /proc/PID/status down to the parent.
const LINE_BYTES: usize = 2048;

/// None for a process that is gone, or not to be seen.
fn parent(pid: i32, proc: &File) -> Option<i32> {
    let mut line = [0; LINE_BYTES];
    process::parent_in(read(proc, &format!("{pid}/status"), &mut line)?)
}

/// Of all threads of a process, those that have ended too; None when it is gone. What its ended children used is in
/// /proc/PID/stat only, which makes a look half as dear again. The clock's number is made as
/// clock_getcpuclockid(3) makes it, which asks the kernel whether it is right: so does whoever reads it.
fn cpu_time(pid: i32) -> Option<Duration> {
    let clock = ClockId::from_raw((!pid << 3) | 2);
    clock_gettime(clock).ok().map(Duration::from)
}

/// proc_pid_statm(5) has the sum of the kernel's counters, where /proc/PID/stat has an estimate that is off by
/// megabytes on a machine with many processors. None for a process that is gone, or not to be seen.
fn resident_pages(pid: i32, proc: &File) -> Option<u64> {
    let mut line = [0; LINE_BYTES];
    let line = str::from_utf8(read(proc, &format!("{pid}/statm"), &mut line)?).ok()?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// One read is all of such a file, which has no size to ask for.
fn read<'b>(proc: &File, path: &str, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = openat(proc, path, flags, Mode::empty()).ok()?;
    let length = File::from(file).read(buffer).ok()?;
    buffer.get(..length)
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
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::base::Signal;

    #[test]
    fn a_share_is_of_the_time_since_the_start() {
        let percent = |cpu, age| {
            let usage = Usage {
                cpu: Duration::from_millis(cpu),
                memory_bytes: 0,
            };
            usage.percent(Duration::from_millis(age))
        };
        assert_eq!(percent(2000, 1000), Some(200.0));
        assert_eq!(percent(1, 3000), Some(0.0));
        assert_eq!(percent(123, 1000), Some(12.3));
        assert_eq!(percent(20, 99), None);
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
        assert!(watch.ask(&own, first).seen[0].is_some());
        // How dear a look was is for the machine to say.
        let next = watch.last.as_ref().unwrap().next;
        assert!(next >= first.after(PERIOD), "{next:?}");
        assert_eq!(watch.deadline(), Some(next.min(first.after(WATCHING))));
        // Late, but before the look that was due.
        let again = next.after(Duration::from_millis(1));
        watch.ask(&own, again);
        assert_eq!(taken(&watch), first);
        watch.keep_up(&own, again);
        assert_eq!(taken(&watch), again);
        // Another process is never taken for the one that was looked at.
        let other = [Pid(i32::MAX)];
        assert_eq!(watch.ask(&other, again).seen, [None]);
        let gone = again.after(WATCHING);
        watch.keep_up(&own, gone);
        assert_eq!(watch.deadline(), None);
        assert!(watch.ask(&own, gone).seen[0].is_some());
        assert_eq!(taken(&watch), gone);
    }

    const BUSY: &str = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";

    /// A shell that has said a line, and goes on until its input ends.
    struct Shell {
        child: Child,
        pid: i32,
        said: Vec<i32>,
    }

    impl Shell {
        fn run(program: &str, script: &str) -> Shell {
            let mut child = Command::new(program)
                .args(["/bin/sh", "-c", &format!("{script}; read stop")])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let mut output = BufReader::new(child.stdout.take().unwrap());
            output.read_line(&mut line).unwrap();
            let numbers = line.split_ascii_whitespace();
            Shell {
                pid: i32::try_from(child.id()).unwrap(),
                child,
                said: numbers.map(|number| number.parse().unwrap()).collect(),
            }
        }

        fn members(&self) -> BTreeSet<i32> {
            let proc = File::open(PROC).unwrap();
            let relatives = relatives(&[Pid(self.pid)], &proc);
            let members = Forest::of(relatives).members(self.pid);
            members.unwrap().into_iter().collect()
        }

        fn usage(&self) -> Usage {
            sample(&[Pid(self.pid)])[0].unwrap()
        }

        fn alone(&self) -> u64 {
            let proc = File::open(PROC).unwrap();
            resident_pages(self.pid, &proc).unwrap() * page_bytes()
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            for pid in &self.said {
                let _ = crate::sys::reap::kill_process(Pid(*pid), Signal::KILL);
            }
            drop(self.child.stdin.take());
            let _ = self.child.wait();
        }
    }

    #[test]
    fn a_real_tree_uses_more_than_its_root() {
        for root in ["env", "setsid"] {
            for child in ["env", "setsid"] {
                let busy = format!("{child} sh -c '{BUSY}; echo $$; exec sleep 60' & true");
                let shell = Shell::run(root, &busy);
                let usage = shell.usage();
                assert_eq!(shell.members(), [shell.pid, shell.said[0]].into());
                assert!(usage.memory_bytes > shell.alone(), "{usage:?}");
                assert!(usage.cpu >= Duration::from_millis(10), "{usage:?}");
            }
        }
    }

    #[test]
    fn who_is_in_the_session_of_a_descendant_belongs_to_the_root() {
        for root in ["env", "setsid"] {
            let worker = "setsid sh -c 'sleep 60 & echo $$ $!; wait' & true";
            let shell = Shell::run(root, worker);
            let all = [shell.pid, shell.said[0], shell.said[1]];
            assert_eq!(shell.members(), all.into());
        }
    }

    #[test]
    fn nothing_is_known_of_who_is_not_there() {
        assert_eq!(sample(&[Pid(i32::MAX)]), [None]);
        assert!(sample(&[]).is_empty());
    }
}
