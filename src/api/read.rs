//! The verbs that only read, each a function from what may be seen to the answer.

use std::path::Path;
use std::time::Duration;

use super::access::Access;
use super::protocol;
use super::stream::{History, Subscription};
use super::verbs::{Stream, Views};
use crate::base::{Moment, Pid, ServiceId};
use crate::control::message::{Response, ServiceStatus};
use crate::domain::Usage;
use crate::output::feed::{Feed, Filter};
use crate::output::tail;

/// What the shell knows of services, beside their states and their past.
pub trait Observed: History {
    /// What each of these processes uses with its descendants, as seen lately, and when that was. None for one that is
    /// gone.
    fn usages(&mut self, pids: &[Pid], now: Moment) -> (Moment, &[Option<Usage>]);

    /// What this process uses with its descendants now.
    fn usage(&self, pid: Pid) -> Option<Usage>;

    /// Services whose log files are on file systems that do not answer.
    fn hanging(&self) -> Vec<(ServiceId, &Path)>;

    /// Lines of a service that standard output had no room for.
    fn dropped_lines(&self, service: ServiceId) -> u64;

    /// From now on the lines that the memory loses are counted, for a client that reads it.
    fn count_lost_lines(&mut self);

    /// The daemon's process id, in its own namespace.
    fn own_pid(&self) -> i32;
}

/// `list`.
pub fn list(views: Views<'_>) -> Response {
    let rows = views.supervisor.list(views.now);
    let mut services: Vec<ServiceStatus> = rows.iter().map(protocol::row).collect();
    let processes = views.supervisor.main_processes();
    let pids: Vec<_> = processes.iter().flatten().map(|(pid, _)| *pid).collect();
    let (taken, usages) = views.observed.usages(&pids, views.now.mono);
    let mut usages = usages.iter().copied();
    for (service, process) in services.iter_mut().zip(processes) {
        if let Some((_, started)) = process {
            show_usage(service, usages.next().flatten(), taken.since(started));
        }
    }
    for (id, path) in views.observed.hanging() {
        let at = rows.iter().position(|row| row.id == id);
        if let Some(service) = at.and_then(|at| services.get_mut(at)) {
            protocol::show_hanging(service, path);
        }
    }
    Response::List { services }
}

/// `status`, of the whole or of one service.
///
/// # Errors
/// When no service has this name.
pub fn status(views: Views<'_>, service: Option<String>) -> Result<Response, Response> {
    match service {
        None => {
            let system = views.supervisor.system_status(views.now);
            Ok(Response::System(protocol::system(&system)))
        }
        Some(name) => service_status(&views, &name),
    }
}

fn service_status(views: &Views<'_>, name: &str) -> Result<Response, Response> {
    let Views {
        supervisor,
        observed,
        now,
        ..
    } = views;
    let view = supervisor
        .service_detail(name, *now)
        .map_err(|refusal| protocol::refused(&refusal))?;
    let id = view.row.id;
    let mut detail = protocol::service(view);
    if let Some((pid, started)) = supervisor.main_process(id) {
        show_usage(
            &mut detail.status,
            observed.usage(pid),
            now.mono.since(started),
        );
    }
    let hanging = observed.hanging();
    if let Some((_, path)) = hanging.iter().find(|(service, _)| *service == id) {
        protocol::show_hanging(&mut detail.status, path);
    }
    detail.dropped_lines = observed.dropped_lines(id);
    if detail.status.is_in_trouble() && views.caller.may(Access::Logs) {
        let recent = observed.recent(id);
        detail.last_lines = recent.map(tail::last_lines).unwrap_or_default();
    }
    Ok(Response::Service(Box::new(detail)))
}

/// `health`.
pub fn health(views: &Views<'_>) -> Response {
    protocol::health(&views.supervisor.health())
}

/// `version`.
pub fn version(views: &Views<'_>) -> Response {
    Response::Version {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: views.observed.own_pid(),
        config: views.config_path.map(str::to_owned),
        services: views.supervisor.system_status(views.now).total,
    }
}

/// `logs`: of these services the last `lines` that are not older than `since_ms` milliseconds and hold this text, and
/// with `follow` what comes.
///
/// # Errors
/// When a name is no service's.
pub fn logs(
    views: Views<'_>,
    names: &[String],
    lines: Option<u64>,
    (since_ms, grep): (Option<u64>, Option<String>),
    follow: bool,
) -> Result<Stream, Response> {
    let services = services_of(&views, names)?;
    let observed = views.observed;
    let since = since_ms.map_or(0, |ms| {
        let ago = ms.saturating_mul(1_000_000);
        observed.wall().saturating_sub(ago)
    });
    let filter = Filter {
        since,
        grep: grep.unwrap_or_default().into_bytes(),
    };
    observed.count_lost_lines();
    let sources = services.iter().filter_map(|(id, name)| {
        let recent = observed.recent(*id)?;
        Some((*id, name.as_str(), recent))
    });
    let feed = Feed::new(sources, filter, lines, follow);
    let keeps_nothing = |id| {
        observed
            .recent(id)
            .is_some_and(|recent| recent.limit() == 0)
    };
    let not_kept = services.iter().filter(|(id, _)| keeps_nothing(*id));
    let opening = Response::Logs {
        not_kept: not_kept.map(|(_, name)| name.clone()).collect(),
        services: services.into_iter().map(|(_, name)| name).collect(),
    };
    Ok(Stream {
        opening,
        subscription: Subscription::Logs(feed),
    })
}

/// `events`: of these services the last events, and with `follow` what comes.
///
/// # Errors
/// When a name is no service's.
pub fn events(
    views: &Views<'_>,
    names: Vec<String>,
    last: Option<u64>,
    follow: bool,
) -> Result<Stream, Response> {
    services_of(views, &names)?;
    let reader = views.observed.journal().reader(names, last, follow);
    Ok(Stream {
        opening: Response::Events {},
        subscription: Subscription::Events(reader),
    })
}

/// The services of these names, or all of the file without any: each once, in the order of the file.
fn services_of(views: &Views<'_>, names: &[String]) -> Result<Vec<(ServiceId, String)>, Response> {
    let supervisor = views.supervisor;
    let found = names.iter().map(|name| supervisor.find_service(name));
    let wanted: Vec<ServiceId> = found
        .collect::<Result<_, _>>()
        .map_err(|refusal| protocol::refused(&refusal))?;
    let all = supervisor
        .ids()
        .filter(|id| !supervisor.is_main_program(*id));
    let chosen = all.filter(|id| wanted.is_empty() || wanted.contains(id));
    let name = |id| Some((id, supervisor.config(id)?.name.clone()));
    Ok(chosen.filter_map(name).collect())
}

fn show_usage(status: &mut ServiceStatus, usage: Option<Usage>, age: Duration) {
    status.cpu_seconds = usage.map(|usage| usage.cpu.as_secs_f64());
    status.cpu_percent = usage.and_then(|usage| usage.percent(age));
    status.memory_bytes = usage.map(|usage| usage.memory_bytes);
}
