//! What clients may ask: one row a verb. A transport reads a request, has it dispatched here, and does the step that
//! comes of it; what is asked, by whom, and how it was sent do not depend on each other.

use std::time::Duration;

use super::access::{Access, Denied};
use super::protocol::{self, selection};
use super::stream::Subscription;
use super::views::Views;
use super::words::Words;
use crate::base::ServiceId;
use crate::control::message::{ErrorCode, Request, Response, ServiceStatus};
use crate::domain::Usage;
use crate::output::feed::{Feed, Filter};
use crate::output::tail;
use crate::supervisor::client;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verb {
    /// Its name in requests.
    pub name: &'static str,
    /// What it demands of the client.
    pub access: Access,
    /// What it comes to.
    pub effect: Effect,
}

/// What a verb comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is answered at once, and changes nothing.
    Reads,
    /// It is answered when what it names has happened, and changes nothing.
    Waits,
    /// It changes what runs.
    Changes,
    /// Its answer goes on.
    Streams,
}

/// What a transport does about a request, by the verb's [`Effect`].
#[derive(Debug)]
pub enum Step {
    /// Send this answer.
    Reads(Response),
    /// Pass this on to the supervisor, which answers.
    Waits(client::Request),
    /// Have this changed; the answer follows.
    Changes(Change),
    /// Send this, then what the subscription yields.
    Streams(Stream),
}

/// A change that a client asks for.
#[derive(Debug)]
pub enum Change {
    /// It is the supervisor's to make and to answer.
    Supervisor(client::Request),
    /// Read the configuration again; the shell answers.
    Reload {
        /// Only report what would be done.
        dry_run: bool,
    },
}

/// An answer that goes on.
#[derive(Debug)]
pub struct Stream {
    /// Its beginning.
    pub opening: Response,
    /// The rest.
    pub subscription: Subscription,
}

macro_rules! verbs {
    (|$views:ident| $($name:literal $access:ident $effect:ident $request:pat => $step:expr;)*) => {
        /// Every verb, in the order in which they are named to people.
        pub const VERBS: &[Verb] = &[$(Verb {
            name: $name,
            access: Access::$access,
            effect: Effect::$effect,
        }),*];

        /// The step that a request comes to.
        ///
        /// # Errors
        /// The answer to a client that may not ask this, or to a request that cannot be carried out.
        pub fn dispatch(request: Request, $views: Views<'_>) -> Result<Step, Response> {
            match request {
                $($request => {
                    $views.caller.check(Access::$access)?;
                    Ok(Step::$effect($step))
                })*
            }
        }
    };
}

verbs! { |views|
    // name     demands  effect   request and how it is done
    "list"      Anyone   Reads    Request::List {} => list(views);
    "status"    Anyone   Reads    Request::Status { service } => status(views, service)?;
    "logs"      Logs     Streams  Request::Logs { services, lines, since_ms, grep, follow } =>
                                  logs(views, &services, lines, (since_ms, grep), follow)?;
    "events"    Anyone   Streams  Request::Events { services, lines, follow } =>
                                  events(&views, services, lines, follow)?;
    "start"     Change   Changes  Request::Start(chosen) => client::Request::Start(selection(chosen)).into();
    "stop"      Change   Changes  Request::Stop(chosen) => client::Request::Stop(selection(chosen)).into();
    "restart"   Change   Changes  Request::Restart(chosen) => client::Request::Restart(selection(chosen)).into();
    "signal"    Change   Changes  Request::Signal { service, signal } =>
                                  client::Request::Signal { service, signal }.into();
    "wait"      Anyone   Waits    Request::Wait { service, until, timeout_ms } =>
                                  client::Request::Wait { service, until, timeout_ms };
    "reload"    Change   Changes  Request::Reload { dry_run } => Change::Reload { dry_run };
    "health"    Anyone   Reads    Request::Health {} => health(&views);
    "shutdown"  Change   Changes  Request::Shutdown { exit_code } => client::Request::Shutdown { exit_code }.into();
    "version"   Anyone   Reads    Request::Version {} => version(&views);
}

impl From<client::Request> for Change {
    fn from(request: client::Request) -> Change {
        Change::Supervisor(request)
    }
}

impl From<Denied> for Response {
    fn from(denied: Denied) -> Response {
        Response::Error {
            code: ErrorCode::NotAllowed,
            message: Words(&denied).to_string(),
            hint: None,
        }
    }
}

/// `list`.
fn list(views: Views<'_>) -> Response {
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
fn status(views: Views<'_>, service: Option<String>) -> Result<Response, Response> {
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
fn health(views: &Views<'_>) -> Response {
    protocol::health(&views.supervisor.health())
}

/// `version`.
fn version(views: &Views<'_>) -> Response {
    Response::Version {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: views.observed.own_pid(),
        config: views.config_path.map(str::to_owned),
        services: views.supervisor.system_status(views.now).total,
    }
}

/// `logs`: of these services the last `lines` that are not older than `since_ms` milliseconds and hold this text, and
/// with `follow` what comes.
fn logs(
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
fn events(
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

#[cfg(test)]
mod tests;
