//! What the supervisor shows of itself: the rows of `list`, the counts of `status`, what there is to say beside a
//! state.

use std::rc::Rc;

use super::Supervisor;
use super::client::Refusal;
use super::event::Role;
use super::service::{AfterStop, Escalation, Phase, Post, Step};
use super::spawn::executing;
use super::start::Verdict;
use super::view::{Awaited, Dependency, Detail, Progress, Row, Service, System, Unwell};
use crate::base::{Moment, Pid, ServiceId};
use crate::domain::{Health, Now, State, StopReason};

/// How many of the dependencies that a service waits for are named.
const AWAITED_SHOWN: usize = 3;

fn is_up(phase: &Phase) -> bool {
    match phase {
        Phase::Running { .. } | Phase::Stopped(StopReason::Completed { .. }) => true,
        Phase::Pending { .. }
        | Phase::Starting { .. }
        | Phase::Stopping { .. }
        | Phase::Stopped(_)
        | Phase::Failed { .. } => false,
    }
}

impl Supervisor {
    /// The rows of `list`, in the order of the file. CPU and memory are the shell's to fill in.
    pub fn list(&self, now: Now) -> Vec<Row> {
        let row = |id: &ServiceId| self.row(*id, now.mono);
        self.order.iter().map(row).collect()
    }

    /// The main processes of the rows of [`Supervisor::list`], in the same order, and when each was started.
    pub fn main_processes(&self) -> Vec<Option<(Pid, Moment)>> {
        let all = self.order.iter();
        all.map(|id| self.main_process(*id)).collect()
    }

    /// A service's main process, and when it was started.
    pub fn main_process(&self, id: ServiceId) -> Option<(Pid, Moment)> {
        let service = self.get(id)?;
        Some((service.phase.pid()?, service.executed_at))
    }

    /// The counts.
    pub fn system_status(&self, now: Now) -> System {
        let count = |state: State| {
            self.order
                .iter()
                .filter(|id| self.service(**id).phase.state() == state)
                .count()
        };
        System {
            total: self.order.len(),
            pending: count(State::Pending),
            starting: count(State::Starting),
            running: count(State::Running),
            stopping: count(State::Stopping),
            stopped: count(State::Stopped),
            failed: count(State::Failed),
            unhealthy: self
                .order
                .iter()
                .filter(|id| self.service(**id).health() == Health::Unhealthy)
                .count(),
            shutting_down: self.life.is_down(),
            uptime: now.mono.since(self.started_at),
        }
    }

    /// The service of this name.
    ///
    /// # Errors
    /// With the name that was probably meant.
    pub fn find_service(&self, name: &str) -> Result<ServiceId, Refusal> {
        self.find(name)
    }

    /// Everything about one service.
    ///
    /// # Errors
    /// When no service has this name.
    pub fn service_detail(&self, name: &str, now: Now) -> Result<Service, Refusal> {
        let now = now.mono;
        let id = self.find(name)?;
        let service = self.service(id);
        let name_of = |id: &ServiceId| self.service(*id).config.name.clone();
        let dependencies = service.dependencies.iter().map(|edge| Dependency {
            name: name_of(&edge.on),
            condition: edge.condition,
            met: matches!(self.verdict(edge), Verdict::MetSince(_)),
        });
        let dependents = service
            .dependents
            .iter()
            .filter(|id| !self.is_main_program(**id));
        let check = service.check.as_ref();
        Ok(Service {
            row: self.row(id, now),
            depends_on: dependencies.collect(),
            dependents: dependents.map(name_of).collect(),
            stop_timeout: self.grace(id),
            attempts: self.attempts_spent(id, now),
            check_error: check.and_then(|check| check.error().cloned()),
            in_state: now.since(service.changed_at),
        })
    }

    /// How far the whole is on its way up.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for id in self.ids() {
            let service = self.service(id);
            let (enabled, phase) = (service.config.enabled, &service.phase);
            if is_up(phase) {
                progress.up += usize::from(enabled);
            } else if enabled && !service.leaving {
                let name = service.config.name.clone();
                progress.down.push((name, phase.state()));
            }
        }
        progress
    }

    /// Why not every enabled service is up, where a finished one-shot counts as up; nothing: all are.
    pub fn health(&self) -> Vec<Unwell> {
        let mut reasons = Vec::new();
        if self.life.is_down() {
            reasons.push(Unwell::ShuttingDown);
        }
        for id in self.order.iter().filter(|id| !self.service(**id).leaving) {
            let service = self.service(*id);
            let name = || service.config.name.clone();
            if let Some(checks) = self.why_unwell(*id) {
                let name = name();
                reasons.push(Unwell::Unhealthy { name, checks });
                continue;
            }
            let is_off = matches!(service.phase, Phase::Stopped(_)) && !service.config.enabled;
            if !is_up(&service.phase) && !is_off {
                // Without a time left: it is the same until something happens.
                let detail = match &service.phase {
                    Phase::Failed {
                        failure,
                        restart_at,
                        ..
                    } => Detail::Failed {
                        failure: failure.clone(),
                        next: self.next_attempt(*id, *restart_at, None),
                    },
                    _ => self.detail(*id, Moment(0)),
                };
                reasons.push(Unwell::NotUp {
                    name: name(),
                    state: service.phase.state(),
                    detail,
                });
            }
        }
        reasons
    }

    fn row(&self, id: ServiceId, now: Moment) -> Row {
        let service = self.service(id);
        let uptime = match service.phase {
            Phase::Running { since, .. } => Some(now.since(since)),
            _ => None,
        };
        Row {
            id,
            config: Rc::clone(&service.config),
            state: service.phase.state(),
            detail: self.detail(id, now),
            pid: service.phase.pid(),
            uptime,
            health: service.health(),
            restarts: service.starts.saturating_sub(1),
            last_exit: service.last_exit,
        }
    }

    /// What there is to say beside the state.
    pub(super) fn detail(&self, id: ServiceId, now: Moment) -> Detail {
        let service = self.service(id);
        match &service.phase {
            Phase::Running { .. } if service.leaving => Detail::ToBeRemoved,
            Phase::Pending { .. } => self.what_it_waits_for(id, now),
            Phase::Starting { step, .. } => match step {
                Step::PreScript { execute_by } => executing(Role::PreScript, *execute_by, now),
                Step::Executing { until } => executing(Role::Main, Some(*until), now),
                Step::Readying { .. } => match &service.said.status {
                    Some(status) => Detail::Status(status.clone()),
                    None => Detail::Readying(self.what_makes_it_ready(id)),
                },
            },
            Phase::Running { .. } => self.how_it_runs(id, now),
            Phase::Stopping {
                escalation: Escalation::Killed { waited },
                ..
            } => Detail::Killed(*waited),
            Phase::Stopping {
                after: AfterStop::Fail(failure),
                ..
            } => Detail::FailedRunning(failure.reason.clone()),
            Phase::Stopping {
                after: AfterStop::Follow(name) | AfterStop::FollowAndRestart(name),
                ..
            } => Detail::Follows(Rc::clone(name)),
            Phase::Stopping { .. } => Detail::StopSignalSent,
            Phase::Stopped(reason) => Detail::Stopped {
                reason: reason.clone(),
                next: self.next_attempt(id, service.phase.restart_at(), Some(now)),
            },
            Phase::Failed {
                failure,
                restart_at,
                ..
            } => Detail::Failed {
                failure: failure.clone(),
                next: self.next_attempt(id, *restart_at, Some(now)),
            },
        }
    }

    /// Beside RUNNING: what ails it, else what it says of itself.
    fn how_it_runs(&self, id: ServiceId, now: Moment) -> Detail {
        let service = self.service(id);
        if let Post::Running { execute_by, .. } = service.post {
            return executing(Role::PostScript, execute_by, now);
        }
        let check = service.check.as_ref().zip(service.config.health.as_ref());
        let ails = check.and_then(|(check, config)| check.failure(config));
        match (ails, &service.said.status) {
            (Some(failure), _) => Detail::Checks(failure),
            (None, Some(status)) => Detail::Status(status.clone()),
            (None, None) if service.said.stopping => Detail::EndsByItself,
            (None, None) => Detail::Nothing,
        }
    }

    fn what_it_waits_for(&self, id: ServiceId, now: Moment) -> Detail {
        let service = self.service(id);
        let mut first = Vec::new();
        let mut more = 0;
        let mut settling = None;
        for edge in &service.dependencies {
            let is_stopped = match self.verdict(edge) {
                Verdict::MetSince(met) if met.after(edge.wait_after) > now => {
                    settling = Some(edge);
                    continue;
                }
                Verdict::MetSince(_) => continue,
                Verdict::Waiting | Verdict::Failed => false,
                Verdict::Down => true,
            };
            if first.len() == AWAITED_SHOWN {
                more += 1;
                continue;
            }
            let name = self.service(edge.on).config.name.clone();
            first.push(Awaited { name, is_stopped });
        }
        match settling {
            Some(edge) if first.is_empty() => Detail::Settling {
                name: self.service(edge.on).config.name.clone(),
                wait: edge.wait_after,
            },
            _ => Detail::WaitingFor { first, more },
        }
    }
}
