//! What the supervisor shows of itself: the rows of `list`, the counts of `status`, the words beside a
//! state.

use super::Supervisor;
use super::service::{AfterStop, Escalation, Phase, Post, Step, StopReason};
use super::spawn::with_execution;
use super::start::Verdict;
use crate::base::{Moment, Pid, ServiceId, human_duration};
use crate::config::model::Condition;
use crate::control::message::{
    DependencyStatus, Health, Response, ServiceDetail, ServiceStatus, State, SystemStatus,
};

/// The enabled services and the main program, by whether they are up. A service that has completed is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many are.
    pub up: usize,
    /// Those that are not, in the order of the file.
    pub down: Vec<(String, State)>,
}

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
    pub fn list(&self, now: Moment) -> Vec<ServiceStatus> {
        self.order.iter().map(|id| self.row(*id, now)).collect()
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
    pub fn system_status(&self, now: Moment) -> SystemStatus {
        let count = |state: State| {
            self.order
                .iter()
                .filter(|id| self.service(**id).phase.state() == state)
                .count()
        };
        SystemStatus {
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
            uptime_seconds: now.since(self.started_at).as_secs_f64(),
        }
    }

    /// The service of this name, or the error for a name that nobody has.
    ///
    /// # Errors
    /// With the name that was probably meant.
    pub fn find_service(&self, name: &str) -> Result<ServiceId, Box<Response>> {
        self.find(name).map_err(|refusal| Box::new(refusal.into()))
    }

    /// Everything about one service, or the error for a name that nobody has. What its processes use and
    /// what it has written are the shell's to fill in.
    pub fn service_detail(&self, name: &str, now: Moment) -> Response {
        let id = match self.find(name) {
            Ok(id) => id,
            Err(refusal) => return refusal.into(),
        };
        let service = self.service(id);
        let config = &service.config;
        let name_of = |id: &ServiceId| self.service(*id).config.name.clone();
        let dependencies = service.dependencies.iter().map(|edge| DependencyStatus {
            name: name_of(&edge.on),
            condition: condition_name(edge.condition).into(),
            met: matches!(self.verdict(edge), Verdict::MetSince(_)),
        });
        let user = config.user.as_ref().map(|spec| spec.user.to_string());
        let dependents = service
            .dependents
            .iter()
            .filter(|id| !self.is_main_program(**id));
        Response::Service(Box::new(ServiceDetail {
            status: self.row(id, now),
            command: std::iter::once(&config.command)
                .chain(&config.args)
                .cloned()
                .collect(),
            user,
            depends_on: dependencies.collect(),
            dependents: dependents.map(name_of).collect(),
            last_exit: service.last_exit.map(|status| status.to_string()),
            stop_signal: config.stop_signal.to_string(),
            stop_timeout_seconds: self.grace(id).as_secs_f64(),
            log_file: config
                .log_file
                .as_ref()
                .map(|path| path.display().to_string()),
            dropped_lines: 0,
            restart_policy: self.restart_policy(id, now),
            ready: config.ready.to_string(),
            health_check: config.health.as_ref().map(ToString::to_string),
            health_reason: service
                .check
                .as_ref()
                .and_then(|check| check.reason().map(str::to_owned)),
            state_seconds: Some(now.since(service.changed_at).as_secs_f64()),
            last_lines: Vec::new(),
        }))
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

    /// The answer to `health`: every enabled service is up, where a finished one-shot counts as up.
    pub fn health(&self) -> Response {
        let mut reasons: Vec<String> = Vec::new();
        if self.life.is_down() {
            reasons.push("the daemon is shutting down".into());
        }
        for id in self.order.iter().filter(|id| !self.service(**id).leaving) {
            let service = self.service(*id);
            if let Some(why) = self.why_unwell(*id) {
                reasons.push(format!("{}: {why}", service.config.name));
                continue;
            }
            let is_off = matches!(service.phase, Phase::Stopped(_)) && !service.config.enabled;
            if !is_up(&service.phase) && !is_off {
                let state = service.phase.state();
                let detail = match &service.phase {
                    Phase::Failed {
                        reason, restart_at, ..
                    } => self.with_restart(*id, reason, *restart_at, None),
                    _ => self.detail(*id, Moment(0)),
                };
                let brackets = if detail.is_empty() {
                    String::new()
                } else {
                    format!(" ({detail})")
                };
                reasons.push(format!("{}: {state}{brackets}", service.config.name));
            }
        }
        Response::Health {
            healthy: reasons.is_empty(),
            reasons,
        }
    }

    fn row(&self, id: ServiceId, now: Moment) -> ServiceStatus {
        let service = self.service(id);
        let uptime = match service.phase {
            Phase::Running { since, .. } => Some(now.since(since).as_secs_f64()),
            _ => None,
        };
        ServiceStatus {
            name: service.config.name.clone(),
            state: service.phase.state(),
            detail: self.detail(id, now),
            pid: service.phase.pid().map(|pid| pid.0),
            uptime_seconds: uptime,
            health: service.health(),
            restarts: service.starts.saturating_sub(1),
            exit_code: service.last_exit.map(crate::base::ExitStatus::code),
            required: service.config.required,
            enabled: service.config.enabled,
            cpu_seconds: None,
            cpu_percent: None,
            memory_bytes: None,
        }
    }

    /// The plain words beside the state.
    pub(super) fn detail(&self, id: ServiceId, now: Moment) -> String {
        let service = self.service(id);
        match &service.phase {
            Phase::Running { .. } if service.leaving => "to be removed".into(),
            Phase::Pending { .. } => self.what_it_waits_for(id, now),
            Phase::Starting { step, .. } => match step {
                Step::PreScript { execute_by } => with_execution("pre-script", *execute_by, now),
                Step::Executing { until } => with_execution("", Some(*until), now),
                Step::Readying { .. } => {
                    let status = service.said.status.clone();
                    status.unwrap_or_else(|| self.what_makes_it_ready(id))
                }
            },
            Phase::Running { .. } => self.how_it_runs(id, now),
            Phase::Stopping {
                escalation: Escalation::Killed { waited },
                ..
            } => killed_after(*waited),
            Phase::Stopping {
                after: AfterStop::Fail(failure),
                ..
            } => failure.reason.clone(),
            Phase::Stopping {
                after: AfterStop::Follow(name) | AfterStop::FollowAndRestart(name),
                ..
            } => format!("dependency {name} failed"),
            Phase::Stopping { .. } => "stop signal sent".into(),
            Phase::Stopped(StopReason::Disabled) => "disabled".into(),
            Phase::Stopped(StopReason::NotStarted) => "not started".into(),
            Phase::Stopped(StopReason::Completed { restart_at, .. }) => {
                self.with_restart(id, "completed", *restart_at, Some(now))
            }
            Phase::Stopped(StopReason::Asked {
                killed: Some(waited),
            }) => killed_after(*waited),
            Phase::Stopped(StopReason::Asked { killed: None }) => "stopped".into(),
            Phase::Stopped(StopReason::Followed(name)) => format!("dependency {name} failed"),
            Phase::Failed {
                reason, restart_at, ..
            } => self.with_restart(id, reason, *restart_at, Some(now)),
        }
    }

    /// Beside RUNNING: what ails it, else what it says of itself.
    fn how_it_runs(&self, id: ServiceId, now: Moment) -> String {
        let service = self.service(id);
        if let Post::Running { execute_by, .. } = service.post {
            return with_execution("post-script", execute_by, now);
        }
        let check = service.check.as_ref().zip(service.config.health.as_ref());
        let ails = check.and_then(|(check, config)| check.words(config));
        let says = service.said.status.clone();
        let stops = service
            .said
            .stopping
            .then(|| "stopping by itself".to_owned());
        ails.or(says).or(stops).unwrap_or_default()
    }

    fn what_it_waits_for(&self, id: ServiceId, now: Moment) -> String {
        let service = self.service(id);
        let mut names = Vec::new();
        let mut settling = None;
        for edge in &service.dependencies {
            match self.verdict(edge) {
                Verdict::MetSince(met) if met.after(edge.wait_after) > now => settling = Some(edge),
                Verdict::MetSince(_) => {}
                Verdict::Waiting | Verdict::Failed => {
                    names.push(self.service(edge.on).config.name.clone());
                }
                Verdict::Down => {
                    names.push(format!("{} (stopped)", self.service(edge.on).config.name));
                }
            }
        }
        match settling {
            _ if names.len() > 3 => format!(
                "waiting for {} and {} more",
                names[..3].join(", "),
                names.len() - 3
            ),
            _ if !names.is_empty() => format!("waiting for {}", names.join(", ")),
            Some(edge) => {
                let name = &self.service(edge.on).config.name;
                format!("waiting {} after {name}", human_duration(edge.wait_after))
            }
            None => String::new(),
        }
    }
}

fn killed_after(waited: std::time::Duration) -> String {
    format!("killed after {}", human_duration(waited))
}

fn condition_name(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "started",
        Condition::Healthy => "healthy",
        Condition::Completed => "completed",
    }
}
