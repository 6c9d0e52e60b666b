//! The daemon's children: which job a process is, and the process groups that outlive their leaders.
//!
//! A job's end is reported only when its group is empty: what is left of the group gets SIGKILL, and
//! since the daemon reaps the adopted, the end of the last one is noticed here.
//!
//! A number is signalled only while a process of the job holds it: the job's process until it is reaped, and its
//! group through it. So a dead process is looked at first (its group gets SIGKILL) and reaped then.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::helpers::Helpers;
use crate::base::{ExitStatus, JobId, Moment, Pid, Signal};
use crate::supervisor::event::{Scope, Word};
use crate::sys::oom::OomKills;
use crate::sys::pinned::{self, Pinned};
use crate::sys::process;
use crate::sys::reap::{self, Found};
use crate::sys::stray;

/// How long a group that does not die of SIGKILL holds back its job's end. A member may be stuck in
/// the kernel, or be a zombie whose own parent left the group and does not reap it.
const LINGER: Duration = Duration::from_millis(500);

/// Whoever has not ended this long after SIGKILL gets it again: the kernel may have refused it, and nothing else
/// ends that process.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// Children that are reaped before other events have a turn.
pub(super) const REAPS_A_TURN: usize = 256;

pub(super) struct Children {
    jobs: BTreeMap<Pid, JobId>,
    running: BTreeMap<JobId, Child>,
    /// The process that is to be the main one of a job when the present one ends (`MAINPID=`).
    announced: BTreeMap<JobId, Pinned>,
    lingering: Vec<Lingering>,
    /// Those of the daemon's helpers that were jobs' processes.
    left_behind: BTreeMap<Pid, JobId>,
    /// Jobs that were sent SIGKILL and live, and when they get it again.
    killed: BTreeMap<JobId, (Scope, Moment)>,
    oom_kills: OomKills,
    /// Children that nobody here had started: orphans that were adopted, and reaped.
    pub adopted_reaped: u64,
}

/// A job's process. It is not reaped, so that its number is held.
#[derive(Clone, Copy)]
struct Child {
    pid: Pid,
    /// It took the place of the one that was started, and need not lead a group.
    is_successor: bool,
}

struct Lingering {
    groups: Groups,
    job: JobId,
    status: ExitStatus,
    until: Moment,
}

/// The groups that a process leaves when it ends: the one that it led, and the one that it was in.
type Groups = [Option<Pid>; 2];

/// A child that has ended and is not reaped.
pub(super) enum Dead {
    /// A job's process.
    Job(JobId),
    /// A child that worked for the daemon itself.
    Helper(Pid),
    /// An orphan that was adopted.
    Adopted(Pid),
}

/// What one round of reaping found.
#[derive(Default)]
pub(super) struct Round {
    /// Jobs whose leader died just now, to have their last words read.
    pub died: Vec<JobId>,
    /// Jobs that go on in another process.
    pub moved: Vec<(JobId, Pid)>,
    /// What the processes said of themselves before they ended.
    pub words: Vec<(JobId, Word)>,
    /// Each job whose group is empty, and how it ended.
    pub ended: Vec<(JobId, ExitStatus)>,
    /// No child is left, ours or adopted.
    pub none_left: bool,
    /// The kernel refused to answer.
    pub refused: Option<io::Error>,
    /// The bound of a turn was reached; there may be more.
    pub more: bool,
}

impl Children {
    pub fn new() -> Children {
        Children {
            jobs: BTreeMap::new(),
            running: BTreeMap::new(),
            announced: BTreeMap::new(),
            lingering: Vec::new(),
            left_behind: BTreeMap::new(),
            killed: BTreeMap::new(),
            oom_kills: OomKills::new(),
            adopted_reaped: 0,
        }
    }

    pub fn add(&mut self, job: JobId, pid: Pid) {
        let child = Child {
            pid,
            is_successor: false,
        };
        self.jobs.insert(pid, job);
        self.running.insert(job, child);
    }

    /// Waits no more for the end of a job's process, which SIGKILL has not ended on the way to its program: it executes
    /// nothing any more, and keeps neither its service nor the daemon.
    pub fn leave_behind(&mut self, job: JobId, helpers: &mut Helpers) {
        if let Some(child) = self.running.remove(&job) {
            self.jobs.remove(&child.pid);
            self.announced.remove(&job);
            self.killed.remove(&job);
            helpers.add(child.pid);
            self.left_behind.insert(child.pid, job);
        }
    }

    /// Whether a process is a job's, and has not been reaped.
    pub fn is_job(&self, pid: Pid) -> bool {
        self.jobs.contains_key(&pid)
    }

    /// Whether a job's process has not been reaped.
    pub fn is_there(&self, job: JobId) -> bool {
        self.running.contains_key(&job) || self.left_behind.values().any(|left| *left == job)
    }

    /// Sends a signal; somebody who is gone is an ordinary thing.
    pub fn kill(
        &mut self,
        job: JobId,
        signal: Signal,
        scope: Scope,
        now: Moment,
    ) -> io::Result<bool> {
        if signal == Signal::KILL && self.running.contains_key(&job) {
            self.killed.insert(job, (scope, now.after(KILL_AGAIN)));
        }
        self.send(job, signal, scope)
    }

    fn send(&self, job: JobId, signal: Signal, scope: Scope) -> io::Result<bool> {
        let Some(&Child { pid, is_successor }) = self.running.get(&job) else {
            return Ok(false);
        };
        match scope {
            Scope::Group if is_successor => pinned::kill_group_of(pid, signal),
            // A child that has just been started leads no group yet.
            Scope::Group => match reap::kill_group(pid, signal) {
                Ok(false) => reap::kill_process(pid, signal),
                sent => sent,
            },
            Scope::Process => reap::kill_process(pid, signal),
        }
    }

    /// A service names another process of its own as the main one; it counts from when the present one has
    /// ended, for only then it is a child of this process.
    pub fn announce(&mut self, job: JobId, process: Pinned) {
        // The main process of one job never becomes another's.
        if !self.is_job(process.pid()) && self.running.contains_key(&job) {
            self.announced.insert(job, process);
        }
    }

    /// The process that takes the place of a job's, where one was named that is still there. As a child its
    /// number is held; that it is there then says that the number was its own.
    fn successor(&self, job: JobId) -> Option<Pid> {
        let named = self.announced.get(&job)?;
        let pid = named.pid();
        (!self.is_job(pid) && reap::is_child(pid) && named.is_there()).then_some(pid)
    }

    /// The next child that has ended. What a job's process sent before is to be received now: it still holds what
    /// it is known by. Then comes [`Children::bury`].
    pub fn next_dead(&self, helpers: &Helpers, round: &mut Round) -> Option<Dead> {
        match reap::find_dead() {
            Ok(Found::Dead(pid)) => Some(match self.jobs.get(&pid) {
                Some(job) => Dead::Job(*job),
                None if helpers.has(pid) => Dead::Helper(pid),
                None => Dead::Adopted(pid),
            }),
            Ok(Found::NoneDead) => {
                // Those that work for the daemon itself are nobody's left-overs.
                round.none_left = self.jobs.is_empty()
                    && !helpers.pids().is_empty()
                    && stray::has_no_child_but(helpers.pids());
                None
            }
            Ok(Found::NoChildren) => {
                match self.jobs.is_empty() && helpers.pids().is_empty() {
                    true => round.none_left = true,
                    // No other process reaps them: this is not true.
                    false => round.refused = Some(io::Error::from_raw_os_error(libc::ECHILD)),
                }
                None
            }
            Err(error) => {
                round.refused = Some(error);
                None
            }
        }
    }

    /// Reaps a child that has ended. False when the kernel refuses.
    pub fn bury(
        &mut self,
        dead: &Dead,
        helpers: &mut Helpers,
        now: Moment,
        round: &mut Round,
    ) -> bool {
        let buried = match *dead {
            Dead::Adopted(pid) => reap::reap(pid).map(|_| self.adopted_reaped += 1),
            Dead::Helper(pid) => reap::reap(pid).map(|_| {
                helpers.remove(pid);
                self.left_behind.remove(&pid);
            }),
            Dead::Job(job) => self.bury_job(job, now, round),
        };
        round.refused = buried.err();
        round.refused.is_none()
    }

    /// What is due beside the dead, at the end of a round.
    pub fn finish_round(&mut self, now: Moment, round: &mut Round) {
        self.release_lingering(now, round);
        self.kill_again(now);
    }

    /// Whether no child is left, jobs' and adopted. Those that have ended go unnoticed.
    pub fn none_left(&mut self, helpers: &mut Helpers, now: Moment) -> bool {
        let mut round = Round::default();
        for _ in 0..REAPS_A_TURN {
            let dead = self.next_dead(helpers, &mut round);
            if !dead.is_some_and(|dead| self.bury(&dead, helpers, now, &mut round)) {
                break;
            }
        }
        round.none_left
    }

    /// When the first group that lingers is given up, or somebody gets SIGKILL again.
    pub fn deadline(&self) -> Option<Moment> {
        let lingering = self.lingering.iter().map(|lingering| lingering.until);
        lingering
            .chain(self.killed.values().map(|(_, at)| *at))
            .min()
    }

    /// The processes that were not seen to end.
    pub fn left(&self) -> impl Iterator<Item = (JobId, Pid)> {
        let running = self.running.iter().map(|(job, child)| (*job, child.pid));
        let left_behind = self.left_behind.iter().map(|(pid, job)| (*job, *pid));
        running.chain(left_behind)
    }

    fn kill_again(&mut self, now: Moment) {
        let due = self.killed.iter().filter(|(_, (_, at))| *at <= now);
        for (job, scope) in due
            .map(|(job, (scope, _))| (*job, *scope))
            .collect::<Vec<_>>()
        {
            self.killed.insert(job, (scope, now.after(KILL_AGAIN)));
            // That it cannot be sent was said the first time.
            let _ = self.send(job, Signal::KILL, scope);
        }
    }

    fn bury_job(&mut self, job: JobId, now: Moment, round: &mut Round) -> io::Result<()> {
        let Some(&child) = self.running.get(&job) else {
            return Ok(());
        };
        let successor = self.successor(job);
        let groups = self.groups_of(child);
        if successor.is_none() {
            for group in groups.into_iter().flatten() {
                // Its dead process is in it: that it cannot be sent says nothing, and the wait is bounded.
                let _ = reap::kill_group(group, Signal::KILL);
            }
        }
        let status = reap::reap(child.pid)?;
        self.jobs.remove(&child.pid);
        self.announced.remove(&job);
        self.killed.remove(&job);
        if let Some(pid) = successor {
            let is_successor = true;
            self.jobs.insert(pid, job);
            self.running.insert(job, Child { pid, is_successor });
            round.moved.push((job, pid));
            return Ok(());
        }
        let status = match status {
            ExitStatus::Signaled(Signal::KILL) if self.oom_kills.take_one() => {
                ExitStatus::KilledForMemory
            }
            status => status,
        };
        self.running.remove(&job);
        round.died.push(job);
        match is_populated(groups) {
            false => round.ended.push((job, status)),
            true => self.lingering.push(Lingering {
                groups,
                job,
                status,
                until: now.after(LINGER),
            }),
        }
        Ok(())
    }

    /// Of a process that has ended and is not reaped, so that it holds their numbers. A process that was started
    /// here leads its group. One that took its place may be in one that it does not lead; never in another job's,
    /// nor in that of this process.
    fn groups_of(&self, child: Child) -> Groups {
        let group = child.is_successor.then(|| process::group(child.pid));
        let other = group.flatten().filter(|group| {
            *group != child.pid
                && !self.is_job(*group)
                && process::group(process::own()) != Some(*group)
        });
        [Some(child.pid), other]
    }

    fn release_lingering(&mut self, now: Moment, round: &mut Round) {
        self.lingering.retain(|lingering| {
            let released = lingering.until <= now || !is_populated(lingering.groups);
            if released {
                round.ended.push((lingering.job, lingering.status));
            }
            !released
        });
    }
}

/// The processes of a group were all sent SIGKILL before the last of the job was reaped: from then on they are
/// only looked at, for the number is not held any more.
fn is_populated(groups: Groups) -> bool {
    groups.into_iter().flatten().any(reap::group_is_populated)
}
