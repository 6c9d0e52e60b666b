//! The daemon's children: which job a process is, and the process groups that outlive their leaders.
//!
//! A job's end is told only when its group is empty: what is left of the group gets SIGKILL, and
//! since the daemon is the reaper of the adopted, the last of them to go is noticed here.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::{ExitStatus, JobId, Moment, Pid, Signal};
use crate::supervisor::event::{Event, Scope};
use crate::sys::oom::OomKills;
use crate::sys::reap::{self, Reaped};

/// How long a group that does not die of SIGKILL holds back its job's end. A member may be stuck in
/// the kernel, or be a zombie whose own parent left the group and does not reap it.
const LINGER: Duration = Duration::from_millis(500);

/// Whoever has not ended this long after SIGKILL gets it again: the kernel may have refused it, and nothing else
/// ends that process.
const KILL_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Children {
    jobs: BTreeMap<Pid, JobId>,
    pids: BTreeMap<JobId, Pid>,
    /// Process groups of jobs whose main process is not the one that was started.
    groups: BTreeMap<JobId, Pid>,
    /// Who is to be the main process of a job when the present one ends (`MAINPID=`).
    announced: BTreeMap<JobId, Pid>,
    lingering: Vec<Lingering>,
    /// Jobs that were sent SIGKILL and live, and when they get it again.
    killed: BTreeMap<JobId, (Scope, Moment)>,
    oom_kills: OomKills,
    /// Children that nobody here had started: orphans that were adopted, and reaped.
    pub adopted_reaped: u64,
}

struct Lingering {
    group: Pid,
    job: JobId,
    status: ExitStatus,
    until: Moment,
}

/// What one round of reaping found.
#[derive(Default)]
pub(super) struct Round {
    /// Jobs whose leader died just now, to have their last words read.
    pub died: Vec<JobId>,
    /// Jobs that go on in another process.
    pub moved: Vec<(JobId, Pid)>,
    /// `Exited` for each job whose group is empty.
    pub ended: Vec<Event>,
    /// No child is left, ours or adopted.
    pub none_left: bool,
    /// The kernel would not say.
    pub refused: Option<std::io::Error>,
}

impl Children {
    pub fn new() -> Children {
        Children {
            jobs: BTreeMap::new(),
            pids: BTreeMap::new(),
            groups: BTreeMap::new(),
            announced: BTreeMap::new(),
            lingering: Vec::new(),
            killed: BTreeMap::new(),
            oom_kills: OomKills::new(),
            adopted_reaped: 0,
        }
    }

    pub fn add(&mut self, job: JobId, pid: Pid) {
        self.jobs.insert(pid, job);
        self.pids.insert(job, pid);
    }

    /// Sends a signal; somebody who is gone is an ordinary thing.
    pub fn kill(
        &mut self,
        job: JobId,
        signal: Signal,
        scope: Scope,
        now: Moment,
    ) -> std::io::Result<bool> {
        if signal == Signal::KILL && self.pids.contains_key(&job) {
            self.killed.insert(job, (scope, now.after(KILL_AGAIN)));
        }
        self.send(job, signal, scope)
    }

    fn send(&self, job: JobId, signal: Signal, scope: Scope) -> std::io::Result<bool> {
        let Some(&pid) = self.pids.get(&job) else {
            return Ok(false);
        };
        match scope {
            Scope::Group => reap::kill_group(self.group(job, pid), signal),
            Scope::Process => reap::kill_process(pid, signal),
        }
    }

    fn group(&self, job: JobId, pid: Pid) -> Pid {
        self.groups.get(&job).copied().unwrap_or(pid)
    }

    /// A service names another process of its own as the main one; it counts from when the present one has
    /// ended, for only then it is our child.
    pub fn announce(&mut self, job: JobId, pid: Pid) {
        // Nobody's main process becomes another's.
        let is_free = !self.jobs.contains_key(&pid);
        if is_free && self.pids.contains_key(&job) {
            self.announced.insert(job, pid);
        }
    }

    /// The process that takes the place of a job's, where one was named and lives.
    fn successor(&mut self, job: JobId) -> Option<(Pid, Pid)> {
        let pid = self.announced.remove(&job)?;
        if self.jobs.contains_key(&pid) {
            return None;
        }
        let group = reap::group_of_child(pid)?;
        Some((pid, group))
    }

    /// Reaps until nobody is ready. Ended by the number of dead children, each of which is a slot of
    /// the kernel's process table.
    pub fn reap(&mut self, now: Moment) -> Round {
        let mut round = Round::default();
        loop {
            match reap::reap_next() {
                Ok(Reaped::Child { pid, status }) => self.on_child(pid, status, now, &mut round),
                Ok(Reaped::NoChildren) if self.jobs.is_empty() => {
                    round.none_left = true;
                    break;
                }
                Ok(Reaped::NoChildren) => {
                    // Nobody else reaps them: this is not true.
                    round.refused = Some(std::io::Error::from_raw_os_error(libc::ECHILD));
                    break;
                }
                Ok(Reaped::NoneReady) => break,
                Err(error) => {
                    round.refused = Some(error);
                    break;
                }
            }
        }
        self.release_lingering(now, &mut round);
        self.kill_again(now);
        round
    }

    /// When the first group that lingers is given up, or somebody gets SIGKILL again.
    pub fn deadline(&self) -> Option<Moment> {
        let lingering = self.lingering.iter().map(|lingering| lingering.until);
        lingering
            .chain(self.killed.values().map(|(_, at)| *at))
            .min()
    }

    /// Who was not seen to end.
    pub fn left(&self) -> impl Iterator<Item = (JobId, Pid)> {
        self.pids.iter().map(|(job, pid)| (*job, *pid))
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

    fn on_child(&mut self, pid: Pid, status: ExitStatus, now: Moment, round: &mut Round) {
        let Some(job) = self.jobs.remove(&pid) else {
            self.adopted_reaped += 1;
            return;
        };
        self.killed.remove(&job);
        if let Some((successor, group)) = self.successor(job) {
            self.jobs.insert(successor, job);
            self.pids.insert(job, successor);
            self.groups.insert(job, group);
            round.moved.push((job, successor));
            return;
        }
        let status = match status {
            ExitStatus::Signaled(Signal::KILL) if self.oom_kills.take_one() => {
                ExitStatus::KilledForMemory
            }
            status => status,
        };
        self.pids.remove(&job);
        round.died.push(job);
        let group = self.groups.remove(&job).unwrap_or(pid);
        // The number cannot belong to a new group yet: the kernel hands numbers out in a circle, and
        // this follows the reaping at once.
        match reap::kill_group(group, Signal::KILL) {
            Ok(false) => round.ended.push(Event::Exited { job, status }),
            Ok(true) | Err(_) => {
                self.lingering.push(Lingering {
                    group,
                    job,
                    status,
                    until: now.after(LINGER),
                });
            }
        }
    }

    fn release_lingering(&mut self, now: Moment, round: &mut Round) {
        self.lingering.retain(|lingering| {
            let empty = matches!(reap::kill_group(lingering.group, Signal::KILL), Ok(false));
            let released = empty || lingering.until <= now;
            if released {
                round.ended.push(Event::Exited {
                    job: lingering.job,
                    status: lingering.status,
                });
            }
            !released
        });
    }
}
