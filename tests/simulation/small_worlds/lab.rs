//! The kernel of a small world.

use std::collections::{BTreeMap, BTreeSet};

use go_overlay::base::{ExitStatus, JobId, Moment, Pid, Signal};
use go_overlay::config::model::{Ready, Service};
use go_overlay::domain::{CheckError, CheckProblem};
use go_overlay::supervisor::Supervisor;
use go_overlay::supervisor::event::{Action, Event, Role, SpawnFailure, Word};

use crate::watched;

#[derive(Debug, Default)]
pub struct Lab {
    pub processes: BTreeMap<JobId, Process>,
    pub checks: BTreeSet<JobId>,
    pub swept: bool,
    pub spawns: Spawns,
    pub spawned: bool,
    next_pid: i32,
}

/// What comes of a spawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spawns {
    /// The program is executed at once.
    #[default]
    AtOnce,
    /// The answer is to come; until then time may pass, and the process may end.
    Late,
    /// The program cannot be executed.
    Never,
}

#[derive(Debug)]
pub struct Process {
    /// The answer to its spawn is to come.
    pid: Option<Pid>,
    told: bool,
    killed: bool,
    /// Not even SIGKILL ends it: it has had time for that.
    stuck: bool,
    /// It has not said yet that it is ready.
    owes_a_word: bool,
}

impl watched::World for Lab {
    fn perform(&mut self, action: &Action, supervisor: &Supervisor, _now: Moment) -> Option<Event> {
        match action {
            Action::Spawn { job, service, role } => {
                let config = supervisor.config(*service)?;
                self.spawned = true;
                self.spawn(*job, &config, *role)
            }
            Action::Kill { job, signal, .. } => {
                if let Some(process) = self.processes.get_mut(job) {
                    process.killed |= *signal == Signal::KILL;
                    process.told |= *signal == Signal::TERM;
                }
                None
            }
            Action::Check { job, .. } => {
                self.checks.insert(*job);
                None
            }
            Action::EndCheck { job } => {
                self.checks.remove(job);
                None
            }
            Action::SignalStrays(_) => {
                self.swept = true;
                self.processes.is_empty().then_some(Event::ChildrenGone)
            }
            Action::Reply { .. } | Action::Forget { .. } | Action::Notice(_) | Action::Exit(_) => {
                None
            }
        }
    }

    fn lives(&self, job: JobId) -> bool {
        let process = self.processes.get(&job);
        process.is_some_and(|process| !process.stuck)
    }
}

fn not_executed(job: JobId) -> Event {
    let failure = SpawnFailure {
        message: "cannot find it".into(),
        exit_code: 127,
    };
    Event::SpawnFailed { job, failure }
}

impl Lab {
    fn spawn(&mut self, job: JobId, config: &Service, role: Role) -> Option<Event> {
        if self.spawns == Spawns::Never {
            return Some(not_executed(job));
        }
        self.next_pid += 1;
        let pid = Pid(self.next_pid);
        let is_late = self.spawns == Spawns::Late;
        let process = Process {
            pid: is_late.then_some(pid),
            told: false,
            killed: false,
            stuck: false,
            owes_a_word: role == Role::Main && config.ready == Ready::Notify,
        };
        self.processes.insert(job, process);
        (!is_late).then_some(Event::Spawned { job, pid })
    }

    /// What may be told next.
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (job, process) in self.processes.iter().filter(|(_, process)| !process.stuck) {
            let job = *job;
            if let Some(pid) = process.pid {
                events.extend([Event::Spawned { job, pid }, not_executed(job)]);
            }
            let statuses: &[ExitStatus] = match (process.killed, process.told) {
                (true, _) => &[ExitStatus::Signaled(Signal::KILL)],
                (false, true) => &[ExitStatus::Signaled(Signal::TERM)],
                (false, false) if process.pid.is_some() => &[ExitStatus::KilledForMemory],
                (false, false) => &[ExitStatus::Exited(0), ExitStatus::Exited(1)],
            };
            events.extend(statuses.iter().map(|status| Event::Exited {
                job,
                status: *status,
            }));
            if process.owes_a_word && process.pid.is_none() {
                let word = Word::Ready;
                events.push(Event::Said { job, word });
            }
        }
        for job in &self.checks {
            let refused = CheckError::Failed {
                probe: "check".into(),
                problem: CheckProblem::Status(503),
            };
            for result in [Ok(()), Err(refused)] {
                events.push(Event::Checked { job: *job, result });
            }
        }
        events
    }

    pub fn time_passes(&mut self) {
        for process in self.processes.values_mut() {
            process.stuck |= process.killed;
        }
    }

    /// It is told, so it is over.
    pub fn tells(&mut self, event: &Event) {
        match event {
            Event::Exited { job, .. } | Event::SpawnFailed { job, .. } => {
                self.processes.remove(job);
            }
            Event::Spawned { job, .. } => {
                if let Some(process) = self.processes.get_mut(job) {
                    process.pid = None;
                }
            }
            Event::Checked { job, .. } => drop(self.checks.remove(job)),
            Event::Said { job, .. } => {
                if let Some(process) = self.processes.get_mut(job) {
                    process.owes_a_word = false;
                }
            }
            _ => {}
        }
    }
}
