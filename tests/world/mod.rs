//! A small virtual world for the pure supervisor: processes that live in a table, time that moves only
//! when told to, and a log of everything that was decided.

// Each test program uses a part of this.
#![allow(dead_code)]

pub mod clocks;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use go_overlay::api::access::Caller;
use go_overlay::api::journal::Journal;
use go_overlay::api::protocol;
use go_overlay::api::stream::History;
use go_overlay::api::verbs::{self, Change, Step};
use go_overlay::api::views::{Observed, Views};
use go_overlay::api::words::{self, Words};
use go_overlay::base::{ClientId, ExitStatus, JobId, Moment, Pid, ServiceId, Signal};
use go_overlay::config::model::{Condition, Config, Dependency, Service, Timeouts};
use go_overlay::control::message::{
    ReloadPlan, Request, Response, Selection, ServiceDetail, ServiceStatus, State,
};
use go_overlay::domain::{CheckError, CheckProblem, Usage};
use go_overlay::output::recent::Recent;
use go_overlay::supervisor::Supervisor;
use go_overlay::supervisor::client;
use go_overlay::supervisor::event::{Action, Event, Notice, Role, SpawnFailure, Word};

use clocks::Clocks;

pub const CLIENT: ClientId = ClientId(1);

/// Of services nothing is known but their states.
#[derive(Default)]
struct Nothing(Journal);

impl History for Nothing {
    fn recent(&self, _: ServiceId) -> Option<&Recent> {
        None
    }

    fn journal(&self) -> &Journal {
        &self.0
    }

    fn wall(&self) -> u64 {
        0
    }
}

impl Observed for Nothing {
    fn usages(&mut self, _: &[Pid], now: Moment) -> (Moment, &[Option<Usage>]) {
        (now, &[])
    }

    fn usage(&self, _: Pid) -> Option<Usage> {
        None
    }

    fn hanging(&self) -> Vec<(ServiceId, &Path)> {
        Vec::new()
    }

    fn dropped_lines(&self, _: ServiceId) -> u64 {
        0
    }

    fn count_lost_lines(&mut self) {}

    fn own_pid(&self) -> i32 {
        1
    }
}

pub struct World {
    pub supervisor: Supervisor,
    pub now: Moment,
    pub clocks: Clocks,
    pub alive: BTreeMap<JobId, (String, Role)>,
    /// Checks that were not answered.
    pub checks: BTreeMap<JobId, String>,
    pub next_pid: i32,
    pub log: Vec<String>,
    pub replies: Vec<Response>,
    /// The client of each reply.
    pub answered: Vec<ClientId>,
    pub exit: Option<u8>,
    /// Services whose program cannot be executed.
    pub broken: Vec<String>,
    /// Services whose spawns are not answered until [`World::answer`] does.
    pub unanswered: Vec<String>,
    /// Services that die of their stop signal at once.
    pub obedient: bool,
    /// Services whose processes even SIGKILL does not end.
    pub stuck: Vec<String>,
    pub strays: bool,
}

impl World {
    pub fn new(services: Vec<Service>) -> World {
        World::with(
            Config {
                timeouts: Timeouts::default(),
                services,
            },
            None,
        )
    }

    pub fn with(config: Config, main: Option<Service>) -> World {
        let (now, clocks) = (Moment(0), Clocks::default());
        World {
            supervisor: Supervisor::new(config, main, clocks.at(now)),
            now,
            clocks,
            alive: BTreeMap::new(),
            checks: BTreeMap::new(),
            next_pid: 100,
            log: Vec::new(),
            replies: Vec::new(),
            answered: Vec::new(),
            exit: None,
            broken: Vec::new(),
            unanswered: Vec::new(),
            obedient: true,
            stuck: Vec::new(),
            strays: false,
        }
    }

    pub fn boot(mut self) -> World {
        self.tell(Event::Boot);
        self
    }

    pub fn name(&self, id: ServiceId) -> String {
        self.supervisor.config(id).unwrap().name.clone()
    }

    pub fn tell(&mut self, event: Event) {
        self.supervisor.handle(event, self.clocks.at(self.now));
        self.drain();
    }

    pub fn drain(&mut self) {
        let mut died = Vec::new();
        while let Some(action) = self.supervisor.poll_action() {
            assert!(self.exit.is_none(), "{action:?} after Exit");
            match action {
                Action::Spawn { job, service, role } => self.spawn(job, service, role),
                Action::Kill { job, signal, .. } => {
                    if let Some((name, role)) = self.alive.get(&job) {
                        self.log.push(format!("{signal} {name} {role:?}"));
                        let deadly =
                            signal == Signal::KILL || (self.obedient && signal == Signal::TERM);
                        let deadly = deadly && !self.stuck.contains(name);
                        if deadly && !died.iter().any(|(known, _)| *known == job) {
                            died.push((job, signal));
                        }
                    }
                }
                Action::Check { job, service } => {
                    let name = self.name(service);
                    let twice = self.checks.values().any(|other| *other == name);
                    assert!(!twice, "two checks of {name} at once");
                    self.log.push(format!("check {name}"));
                    self.checks.insert(job, name);
                }
                Action::EndCheck { job } => {
                    let name = self.checks.remove(&job);
                    self.log
                        .push(format!("end of the check of {}", name.unwrap()));
                }
                Action::Forget { service } => {
                    let name = self.name(service);
                    assert!(!self.alive.values().any(|(alive, _)| *alive == name));
                    self.log.push(format!("{name} is gone"));
                }
                Action::SignalStrays(signal) => {
                    self.log.push(format!("strays {signal}"));
                    if !self.strays {
                        let now = self.clocks.at(self.now);
                        self.supervisor.handle(Event::ChildrenGone, now);
                    }
                }
                Action::Reply { client, response } => {
                    self.replies.push(protocol::response(response));
                    self.answered.push(client);
                }
                Action::Notice(notice) => {
                    let line = self.line(&notice);
                    self.log.push(line.trim_end().to_owned());
                }
                Action::Exit(code) => {
                    let ended = |(name, _): &(String, Role)| self.stuck.contains(name);
                    let alive = &self.alive;
                    assert!(alive.values().all(ended), "alive at Exit: {alive:?}");
                    self.exit = Some(code);
                }
            }
        }
        for (job, signal) in died {
            self.end_job(job, ExitStatus::Signaled(signal));
        }
    }

    /// A notice as a line of the log.
    fn line(&self, notice: &Notice) -> String {
        let why = words::event_detail(notice);
        match notice {
            Notice::Changed {
                service, from, to, ..
            } => format!("{} {from}->{to} {why}", self.name(*service)),
            Notice::Restarts { service, .. } => format!("{} restarts: {why}", self.name(*service)),
            Notice::Health {
                service, from, to, ..
            } => {
                let (from, to) = (from.name(), to.name());
                format!("{} {from}->{to} {why}", self.name(*service))
            }
            Notice::PostScriptFailed { service, .. } => {
                format!("{} post-script failed: {why}", self.name(*service))
            }
            Notice::ShuttingDown { .. } => format!("down: {why}"),
            Notice::KillingAll { reason } => format!("kill all: {}", Words(reason)),
        }
    }

    pub fn spawn(&mut self, job: JobId, service: ServiceId, role: Role) {
        let name = self.name(service);
        self.log.push(format!("spawn {name} {role:?}"));
        if self.unanswered.contains(&name) {
            self.alive.insert(job, (name, role));
            return;
        }
        let answer = if self.broken.contains(&name) && role == Role::Main {
            let failure = SpawnFailure {
                message: "cannot execute it: Exec format error".into(),
                exit_code: 126,
            };
            Event::SpawnFailed { job, failure }
        } else {
            self.alive.insert(job, (name, role));
            self.next_pid += 1;
            Event::Spawned {
                job,
                pid: Pid(self.next_pid),
            }
        };
        self.supervisor.handle(answer, self.clocks.at(self.now));
    }

    /// The late answer to a spawn: the program is executed, or cannot be.
    pub fn answer(&mut self, name: &str, role: Role, result: Result<(), &str>) {
        let of = (name.to_owned(), role);
        let found = self.alive.iter().find(|(_, known)| **known == of);
        let job = *found.unwrap_or_else(|| panic!("{of:?} is not there")).0;
        let answer = match result {
            Ok(()) => {
                self.next_pid += 1;
                let pid = Pid(self.next_pid);
                Event::Spawned { job, pid }
            }
            Err(message) => {
                self.alive.remove(&job);
                let (message, exit_code) = (message.to_owned(), 126);
                let failure = SpawnFailure { message, exit_code };
                Event::SpawnFailed { job, failure }
            }
        };
        self.tell(answer);
    }

    pub fn end_job(&mut self, job: JobId, status: ExitStatus) {
        if self.alive.remove(&job).is_some() {
            self.tell(Event::Exited { job, status });
        }
    }

    /// The answer to the check of a service that is under way.
    pub fn checked(&mut self, name: &str, result: Result<(), &str>) {
        let job = self.checks.iter().find(|(_, of)| *of == name);
        let job = *job.unwrap_or_else(|| panic!("{name} is not checked")).0;
        self.checks.remove(&job);
        let result = result.map_err(check_error);
        self.tell(Event::Checked { job, result });
    }

    /// What a service says of itself.
    pub fn says(&mut self, name: &str, word: Word) {
        let of_name =
            |(_, (of, role)): &(&JobId, &(String, Role))| of == name && *role == Role::Main;
        let job = *self.alive.iter().find(of_name).unwrap().0;
        self.tell(Event::Said { job, word });
    }

    pub fn end(&mut self, name: &str, status: ExitStatus) {
        let job = self
            .alive
            .iter()
            .find(|(_, (of, _))| of == name)
            .map(|(job, _)| *job);
        self.end_job(job.unwrap_or_else(|| panic!("{name} is not alive")), status);
    }

    pub fn exit_of(&mut self, name: &str, code: u8) {
        self.end(name, ExitStatus::Exited(code));
    }

    /// Lets time pass, stopping at each deadline on the way.
    pub fn pass(&mut self, by: Duration) {
        let end = self.now.after(by);
        while let Some(deadline) = self
            .supervisor
            .poll_timeout()
            .filter(|deadline| deadline.at <= end)
        {
            assert!(deadline.at >= self.now, "a deadline in the past");
            self.now = deadline.at;
            self.supervisor.handle_timeout(self.clocks.at(self.now));
            self.drain();
            let next = self.supervisor.poll_timeout();
            assert!(
                next.is_none_or(|next| next.at > self.now),
                "a deadline that does not move"
            );
        }
        self.now = end;
    }

    pub fn request(&mut self, request: Request) {
        self.request_of(CLIENT, request);
    }

    pub fn request_of(&mut self, client: ClientId, request: Request) {
        let request = self.change(request);
        self.tell(Event::Request { client, request });
    }

    /// What the supervisor is asked, as root's request comes to it.
    fn change(&self, request: Request) -> client::Request {
        let views = Views {
            caller: Caller::Peer {
                uid: 0,
                is_trusted: true,
            },
            now: self.clocks.at(self.now),
            supervisor: &self.supervisor,
            config_path: None,
            observed: &mut Nothing::default(),
        };
        match verbs::dispatch(request, views) {
            Ok(Step::Waits(request) | Step::Changes(Change::Supervisor(request))) => request,
            other => panic!("{other:?} is not for the supervisor"),
        }
    }

    /// The rows of `list`.
    pub fn list(&self) -> Vec<ServiceStatus> {
        let rows = self.supervisor.list(self.clocks.at(self.now));
        rows.iter().map(protocol::row).collect()
    }

    /// The answer to `health`.
    pub fn health(&self) -> Response {
        protocol::health(&self.supervisor.health())
    }

    pub fn service(&self, name: &str) -> ServiceDetail {
        let now = self.clocks.at(self.now);
        protocol::service(self.supervisor.service_detail(name, now).unwrap())
    }

    pub fn plan(&self, config: &Config) -> ReloadPlan {
        protocol::reload_plan(self.supervisor.plan(config))
    }

    pub fn state(&self, name: &str) -> State {
        self.row(name).0
    }

    pub fn detail(&self, name: &str) -> String {
        self.row(name).1
    }

    pub fn row(&self, name: &str) -> (State, String) {
        let row = self
            .list()
            .into_iter()
            .find(|row| row.name == name)
            .unwrap_or_else(|| panic!("no {name}"));
        (row.state, row.detail)
    }

    /// The position of a log line; panics with the log where there is none.
    pub fn at(&self, line: &str) -> usize {
        let found = self.log.iter().position(|logged| logged.starts_with(line));
        found.unwrap_or_else(|| panic!("no {line:?} in {:#?}", self.log))
    }

    pub fn never(&self, line: &str) {
        assert!(
            !self.log.iter().any(|logged| logged.starts_with(line)),
            "{line:?} in {:#?}",
            self.log
        );
    }
}

/// What `GET /healthz: 503` says, as data.
fn check_error(text: &str) -> CheckError {
    let (probe, problem) = text.split_once(": ").unwrap_or(("check", text));
    let problem = match problem.parse() {
        Ok(status) => CheckProblem::Status(status),
        Err(_) => CheckProblem::Reported(problem.into()),
    };
    CheckError::Failed {
        probe: probe.into(),
        problem,
    }
}

pub fn service(name: &str) -> Service {
    Service {
        name: name.into(),
        command: format!("/bin/{name}"),
        ..Service::default()
    }
}

pub fn after(name: &str, on: &[&str]) -> Service {
    let edge = |on: &&str| Dependency {
        on: (*on).into(),
        condition: Condition::Started,
        wait_after: Duration::ZERO,
    };
    Service {
        depends_on: on.iter().map(edge).collect(),
        ..service(name)
    }
}

pub fn named(names: &[&str]) -> Selection {
    Selection {
        services: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Selection::default()
    }
}

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
