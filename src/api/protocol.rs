//! From the supervisor's data to the messages of the control protocol.

use std::path::Path;

use super::journal::{self, Happened};
use super::words::{self, Words};
use crate::base::ExitStatus;
use crate::config::model::{Condition, RestartPolicy};
use crate::control::message::{
    DependencyStatus, ErrorCode, EventKind, EventRecord, Outcome, ReloadChange, ReloadPlan,
    Response, Selection, ServiceDetail, ServiceStatus, SystemStatus,
};
use crate::output::format::Stamp;
use crate::supervisor::client::{self, Refusal};
use crate::supervisor::event::Notice;
use crate::supervisor::view;

/// Which services a request is about.
pub fn selection(chosen: Selection) -> client::Selection {
    let Selection {
        services,
        all,
        with_dependents,
        no_wait,
        timeout_ms,
    } = chosen;
    client::Selection {
        services,
        all,
        with_dependents,
        no_wait,
        timeout_ms,
    }
}

/// The answer to a change.
pub fn response(response: client::Response) -> Response {
    match response {
        client::Response::Outcome { ok, services } => Response::Outcome {
            ok,
            services: services.into_iter().map(outcome).collect(),
        },
        client::Response::Signaled {
            service,
            signal,
            pid,
        } => Response::Done {
            message: format!("sent {signal} to {service} (pid {})", pid.0),
        },
        client::Response::ShuttingDown => Response::Done {
            message: "shutting down".into(),
        },
        client::Response::Refused(refusal) => refused(&refusal),
    }
}

fn outcome(outcome: client::Outcome) -> Outcome {
    Outcome {
        name: outcome.name,
        ok: outcome.ok,
        state: outcome.state,
        detail: Words(&outcome.detail).to_string(),
    }
}

/// The error for a request that is not carried out.
pub fn refused(refusal: &Refusal) -> Response {
    let code = match refusal {
        Refusal::ShuttingDown(_) | Refusal::HasShutDown => ErrorCode::ShuttingDown,
        Refusal::NamesAndAll(_) | Refusal::NoNames(_) | Refusal::UnknownSignal { .. } => {
            ErrorCode::BadRequest
        }
        Refusal::UnknownService { .. } => ErrorCode::UnknownService,
        Refusal::NoProcess { .. } => ErrorCode::Conflict,
    };
    Response::Error {
        code,
        message: Words(refusal).to_string(),
        hint: words::hint(refusal),
    }
}

/// A row of `list`. CPU and memory are the shell's to fill in.
pub fn row(row: &view::Row) -> ServiceStatus {
    ServiceStatus {
        name: row.config.name.clone(),
        state: row.state,
        detail: Words(&row.detail).to_string(),
        pid: row.pid.map(|pid| pid.0),
        uptime_seconds: row.uptime.map(|uptime| uptime.as_secs_f64()),
        health: row.health,
        restarts: row.restarts,
        exit_code: row.last_exit.map(ExitStatus::code),
        required: row.config.required,
        enabled: row.config.enabled,
        cpu_seconds: None,
        cpu_percent: None,
        memory_bytes: None,
    }
}

/// The counts of `status`.
pub fn system(system: &view::System) -> SystemStatus {
    SystemStatus {
        total: system.total,
        pending: system.pending,
        starting: system.starting,
        running: system.running,
        stopping: system.stopping,
        stopped: system.stopped,
        failed: system.failed,
        unhealthy: system.unhealthy,
        shutting_down: system.shutting_down,
        uptime_seconds: system.uptime.as_secs_f64(),
    }
}

/// `status` of one service. What its processes use and what it has written are the shell's to fill in.
pub fn service(service: view::Service) -> ServiceDetail {
    let config = &service.row.config;
    let dependencies = service.depends_on.into_iter().map(|edge| DependencyStatus {
        name: edge.name,
        condition: condition(edge.condition).into(),
        met: edge.met,
    });
    let restart = &config.restart;
    let log_file = config.log_file.as_ref();
    ServiceDetail {
        status: row(&service.row),
        command: std::iter::once(&config.command)
            .chain(&config.args)
            .cloned()
            .collect(),
        user: config.user.as_ref().map(|spec| spec.user.to_string()),
        depends_on: dependencies.collect(),
        dependents: service.dependents,
        last_exit: service.row.last_exit.map(|status| status.to_string()),
        stop_signal: config.stop_signal.to_string(),
        stop_timeout_seconds: service.stop_timeout.as_secs_f64(),
        log_file: log_file.map(|path| path.display().to_string()),
        dropped_lines: 0,
        restart_policy: restart_policy(restart.policy, service.attempts, restart.max_attempts),
        ready: config.ready.to_string(),
        health_check: config.health.as_ref().map(ToString::to_string),
        health_reason: service.check_error.map(|error| Words(&error).to_string()),
        state_seconds: Some(service.in_state.as_secs_f64()),
        last_lines: Vec::new(),
    }
}

/// The answer to `health`.
pub fn health(unwell: &[view::Unwell]) -> Response {
    Response::Health {
        healthy: unwell.is_empty(),
        reasons: unwell
            .iter()
            .map(|unwell| Words(unwell).to_string())
            .collect(),
    }
}

/// What a reload does.
pub fn reload_plan(plan: view::ReloadPlan) -> ReloadPlan {
    let change = |change: view::ReloadChange| ReloadChange {
        name: change.name,
        keys: change.keys.into_iter().map(str::to_owned).collect(),
    };
    ReloadPlan {
        added: plan.added,
        removed: plan.removed,
        restarted: plan.restarted.into_iter().map(change).collect(),
        updated: plan.updated.into_iter().map(change).collect(),
        unchanged: plan.unchanged,
        settings: plan
            .timeouts
            .then(|| "timeouts".to_owned())
            .into_iter()
            .collect(),
    }
}

/// A line of `events`.
pub fn event(item: journal::Item<'_>) -> EventRecord {
    let record = |wall, event, service, detail| EventRecord {
        time: Stamp { wall, elapsed: 0 }.rfc3339().to_string(),
        event,
        service,
        from: None,
        to: None,
        detail,
    };
    match item {
        journal::Item::Missed { wall, events } => {
            let detail = format!("{events} events were missed");
            record(wall, EventKind::Missed, None, detail)
        }
        journal::Item::Entry(entry) => {
            let (kind, detail) = match &entry.happened {
                Happened::Changed { .. } => (EventKind::State, String::new()),
                Happened::Notice(notice) => (event_kind(notice), words::event_detail(notice)),
                Happened::Reloaded(counts) => (EventKind::Reload, Words(**counts).to_string()),
            };
            let (from, to) = from_and_to(&entry.happened).unzip();
            EventRecord {
                from: from.map(str::to_owned),
                to: to.map(str::to_owned),
                ..record(
                    entry.wall,
                    kind,
                    entry.service.as_deref().map(str::to_owned),
                    detail,
                )
            }
        }
    }
}

fn event_kind(notice: &Notice) -> EventKind {
    match notice {
        Notice::Changed { .. } => EventKind::State,
        Notice::Restarts { .. } => EventKind::Restart,
        Notice::Health { .. } => EventKind::Health,
        Notice::PostScriptFailed { .. } => EventKind::PostScript,
        Notice::ShuttingDown { .. } | Notice::KillingAll { .. } => EventKind::Shutdown,
    }
}

/// The state or health before and after.
fn from_and_to(happened: &Happened) -> Option<(&'static str, &'static str)> {
    let notice = match happened {
        Happened::Changed { from, to } => return Some((from.name(), to.name())),
        Happened::Notice(notice) => notice,
        Happened::Reloaded(_) => return None,
    };
    match &**notice {
        Notice::Changed { from, to, .. } => Some((from.name(), to.name())),
        Notice::Health { from, to, .. } => Some((from.name(), to.name())),
        Notice::Restarts { .. }
        | Notice::PostScriptFailed { .. }
        | Notice::ShuttingDown { .. }
        | Notice::KillingAll { .. } => None,
    }
}

/// Adds to a row that its log file is on a file system that does not answer.
pub fn show_hanging(status: &mut ServiceStatus, log_file: &Path) {
    let hangs = format!("log file {} does not answer", log_file.display());
    status.detail = match status.detail.as_str() {
        "" => hangs,
        detail => format!("{detail}; {hangs}"),
    };
}

/// `on-failure, 3 of 5 attempts used`.
fn restart_policy(policy: RestartPolicy, attempts: u32, max: Option<u32>) -> String {
    let policy = match policy {
        RestartPolicy::No => return "no".into(),
        RestartPolicy::OnFailure => "on-failure",
        RestartPolicy::Always => "always",
    };
    match (attempts, max) {
        (0, None) => policy.into(),
        (1, None) => format!("{policy}, 1 attempt used"),
        (used, None) => format!("{policy}, {used} attempts used"),
        (used, Some(1)) => format!("{policy}, {used} of 1 attempt used"),
        (used, Some(max)) => format!("{policy}, {used} of {max} attempts used"),
    }
}

/// As `depends_on` names it.
fn condition(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "started",
        Condition::Healthy => "healthy",
        Condition::Completed => "completed",
    }
}
