//! The kernel of a small world.

use std::collections::{BTreeMap, BTreeSet};

use go_overlay::base::{ExitStatus, JobId, Moment, Pid, Signal};
use go_overlay::config::model::{Ready, Service};
use go_overlay::supervisor::Supervisor;
use go_overlay::supervisor::event::{Action, Event, Role, SpawnFailure, Word};

use crate::watched;

#[derive(Debug, Default)]
pub struct Lab {
    pub processes: BTreeMap<JobId, Process>,
    pub checks: BTreeSet<JobId>,
    pub swept: bool,
    pub refuses: bool,
    pub spawned: bool,
    next_pid: i32,
}

#[derive(Debug)]
pub struct Process {
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
                Some(self.spawn(*job, &config, *role))
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

impl Lab {
    fn spawn(&mut self, job: JobId, config: &Service, role: Role) -> Event {
        if self.refuses {
            let failure = SpawnFailure {
                message: "cannot find it".into(),
                exit_code: 127,
            };
            return Event::SpawnFailed { job, failure };
        }
        self.next_pid += 1;
        let process = Process {
            told: false,
            killed: false,
            stuck: false,
            owes_a_word: role == Role::Main && config.ready == Ready::Notify,
        };
        self.processes.insert(job, process);
        let pid = Pid(self.next_pid);
        Event::Spawned { job, pid }
    }

    /// What may be told next.
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (job, process) in self.processes.iter().filter(|(_, process)| !process.stuck) {
            let job = *job;
            let statuses: &[ExitStatus] = match (process.killed, process.told) {
                (true, _) => &[ExitStatus::Signaled(Signal::KILL)],
                (false, true) => &[ExitStatus::Signaled(Signal::TERM)],
                (false, false) => &[ExitStatus::Exited(0), ExitStatus::Exited(1)],
            };
            events.extend(statuses.iter().map(|status| Event::Exited {
                job,
                status: *status,
            }));
            if process.owes_a_word {
                let word = Word::Ready;
                events.push(Event::Said { job, word });
            }
        }
        for job in &self.checks {
            for result in [Ok(()), Err("refused".to_owned())] {
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
            Event::Exited { job, .. } => drop(self.processes.remove(job)),
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
