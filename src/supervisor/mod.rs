//! THE state machine: events and the time go in, actions and the next deadline come out.
//!
//! It does no I/O, reads no clock, owns no descriptor, and cannot fail. The rule of use: after each
//! [`Supervisor::handle`] or [`Supervisor::handle_timeout`] take the actions until there is none, then
//! read the deadline again. The answer to an [`Action::Spawn`] may come at any later time, and not at all when the child
//! is gone before its program was executed: then [`Event::Exited`] is the only one.
//!
//! Nothing recurses: whatever changes a service puts it and its neighbours into a queue, and
//! [`Supervisor::poll_action`] looks at each of them until nobody has anything left to do. What is to be done with the
//! first is done before the second is looked at.
//!
//! A shell that answers at once, from boot to exit:
//!
//! ```
//! use go_overlay::base::{ExitStatus, Moment, Pid, Signal};
//! use go_overlay::config::model::{Config, Service, Timeouts};
//! use go_overlay::domain::{Now, State};
//! use go_overlay::supervisor::Supervisor;
//! use go_overlay::supervisor::event::{Action, Event};
//!
//! /// An event goes in, and every action that comes out is performed. Returns the exit code of the daemon.
//! fn tell(supervisor: &mut Supervisor, event: Event, now: Now) -> Option<u8> {
//!     supervisor.handle(event, now);
//!     while let Some(action) = supervisor.poll_action() {
//!         let answer = match action {
//!             Action::Spawn { job, .. } => Event::Spawned { job, pid: Pid(100) },
//!             Action::Kill { job, signal, .. } => {
//!                 let status = ExitStatus::Signaled(signal);
//!                 Event::Exited { job, status }
//!             }
//!             Action::SignalStrays(_) => Event::ChildrenGone,
//!             Action::Exit(code) => return Some(code),
//!             // Answers to clients, news for the log, checks.
//!             _ => continue,
//!         };
//!         supervisor.handle(answer, now);
//!     }
//!     None
//! }
//!
//! let web = Service {
//!     name: "web".into(),
//!     command: "/usr/bin/web".into(),
//!     ..Service::default()
//! };
//! let config = Config {
//!     timeouts: Timeouts::default(),
//!     services: vec![web],
//! };
//! // The supervisor reads no clock: time is what its caller says.
//! let at = |seconds: u64| Now::at(Moment(seconds * 1_000_000_000));
//! let mut supervisor = Supervisor::new(config, None, at(0));
//!
//! assert_eq!(tell(&mut supervisor, Event::Boot, at(0)), None);
//! assert_eq!(supervisor.list(at(1))[0].state, State::Running);
//! // Nothing waits on time: the loop sleeps until something happens.
//! assert_eq!(supervisor.poll_timeout(), None);
//!
//! let sigterm = Event::ShutdownSignal(Signal::TERM);
//! assert_eq!(tell(&mut supervisor, sigterm, at(60)), Some(0));
//! ```

mod check;
pub mod client;
pub mod event;
mod follow;
mod graph;
mod health;
mod jitter;
mod order;
pub mod plan;
mod ready;
mod reload;
mod request;
mod restart;
mod service;
mod shutdown;
mod spawn;
mod start;
mod status;
mod stop;
pub mod view;
mod wait;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use slab::Slab;

use crate::base::{ClientId, ExitStatus, JobId, Moment, ServiceId, Signal};
use crate::config::model::{self, Config, Timeouts};
use crate::domain::{Now, ShutdownReason};
use event::{Action, Event, Notice, Role, Scope};
use jitter::Jitter;
use service::{Phase, Service, Step};
use shutdown::Life;
use wait::Waiter;

/// When [`Supervisor::handle_timeout`] is to be called, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The moment.
    pub at: Moment,
    /// Whose; None where it is the shutdown's or a client's.
    pub service: Option<ServiceId>,
}

/// All decisions of the daemon.
#[derive(Debug)]
pub struct Supervisor {
    /// Every service of the file, and the main program where there is one.
    services: Slab<Service>,
    next_generation: u32,
    /// They left the table; what is told of their end still has to be taken.
    gone: Vec<ServiceId>,
    /// Some service has left the configuration and not yet the table.
    someone_leaves: bool,
    /// The order of the file; the main program is not in it.
    order: Vec<ServiceId>,
    main_program: Option<ServiceId>,
    timeouts: Timeouts,
    /// Every child that is alive, or asked for.
    jobs: BTreeMap<JobId, (ServiceId, Role)>,
    next_job: u64,
    /// Every check under way.
    checks: BTreeMap<JobId, ServiceId>,
    /// Services to look at again.
    queue: VecDeque<ServiceId>,
    /// One entry for each service that waits on time.
    deadlines: BTreeSet<(Moment, ServiceId)>,
    /// Those of them that will be started then. On its own, for it is looked at in every turn, while the
    /// deadlines of thousands that are being stopped may have passed.
    restarts: BTreeSet<(Moment, ServiceId)>,
    actions: VecDeque<Action>,
    /// Clients whose answer is still open, at most one a client.
    waiters: BTreeMap<ClientId, Waiter>,
    life: Life,
    jitter: Jitter,
    started_at: Moment,
    /// The instant of the input that is being followed up.
    now: Now,
}

impl Supervisor {
    /// A supervisor in which nothing has been started. `main_program` runs when every enabled service
    /// is up, and its end is the end of everything.
    pub fn new(config: Config, main_program: Option<model::Service>, now: Now) -> Supervisor {
        let mut supervisor = Supervisor {
            services: Slab::with_capacity(config.services.len() + 1),
            next_generation: 0,
            gone: Vec::new(),
            someone_leaves: false,
            order: Vec::new(),
            main_program: None,
            timeouts: config.timeouts,
            jobs: BTreeMap::new(),
            checks: BTreeMap::new(),
            next_job: 1,
            queue: VecDeque::new(),
            deadlines: BTreeSet::new(),
            restarts: BTreeSet::new(),
            actions: VecDeque::new(),
            waiters: BTreeMap::new(),
            life: Life::Up,
            jitter: Jitter::new(0),
            started_at: now.mono,
            now,
        };
        for service in config.services {
            let id = supervisor.insert(service, now.mono);
            supervisor.order.push(id);
        }
        supervisor.main_program = main_program.map(|service| supervisor.insert(service, now.mono));
        supervisor.draw_edges();
        supervisor
    }

    /// With another seed for the jitter of restarts. The same seed and the same events give the same run.
    pub fn with_seed(self, seed: u64) -> Supervisor {
        Supervisor {
            jitter: Jitter::new(seed),
            ..self
        }
    }

    /// Takes in what happened at `now`; what follows from it comes out of [`Supervisor::poll_action`].
    pub fn handle(&mut self, event: Event, now: Now) {
        if self.life.is_over() {
            return;
        }
        self.now = now;
        let now = now.mono;
        self.free_places();
        match event {
            Event::Boot => self.boot(now),
            Event::Spawned { job, pid } => self.on_spawned(job, pid, now),
            Event::SpawnFailed { job, failure } => self.on_spawn_failed(job, failure, now),
            Event::Exited { job, status } => self.on_exited(job, status, now),
            Event::Checked { job, result } => self.on_checked(job, result, now),
            Event::Said { job, word } => self.on_said(job, word, now),
            Event::ChildrenGone => self.on_children_gone(),
            Event::Request { client, request } => self.on_request(client, request, now),
            Event::ClientGone { client } => drop(self.waiters.remove(&client)),
            Event::ShutdownSignal(signal) => self.on_shutdown_signal(signal, now),
            Event::ForwardSignal { signal, scope } => self.forward(signal, scope),
            Event::Reload(config) => self.reload(*config, now),
            Event::Unable { reason } => {
                let reason = ShutdownReason::Unable(reason);
                self.begin_shutdown(reason, shutdown::ExitCode::Fixed(1), None, now);
            }
        }
    }

    /// To be called when the moment of [`Supervisor::poll_timeout`] has come; harmless before it.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.life.is_over() {
            return;
        }
        self.now = now;
        let now = now.mono;
        self.free_places();
        let due: Vec<ServiceId> = self
            .deadlines
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, id)| *id)
            .collect();
        for id in due {
            self.enqueue(id);
        }
        self.on_shutdown_time(now);
    }

    /// The next thing to be done, until None.
    pub fn poll_action(&mut self) -> Option<Action> {
        while self.actions.is_empty() && self.follow_up() {}
        self.actions.pop_front()
    }

    /// When to call [`Supervisor::handle_timeout`]; None while nothing waits on time.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let service = self.deadlines.first().map(|&(at, id)| Deadline {
            at,
            service: Some(id),
        });
        let waiter = self
            .waiters
            .values()
            .filter_map(|waiter| waiter.deadline)
            .min();
        let others = [self.life.deadline(), waiter]
            .into_iter()
            .flatten()
            .map(|at| Deadline { at, service: None });
        service
            .into_iter()
            .chain(others)
            .min_by_key(|deadline| deadline.at)
    }

    /// The configuration of a service; None for one that is not there any more.
    pub fn config(&self, id: ServiceId) -> Option<Rc<model::Service>> {
        self.get(id).map(|service| Rc::clone(&service.config))
    }

    /// Whether this is the main program, which has the container's own terminal.
    pub fn is_main_program(&self, id: ServiceId) -> bool {
        self.main_program == Some(id)
    }

    /// Every service in the order of the file, and at the end the main program.
    pub fn ids(&self) -> impl Iterator<Item = ServiceId> + '_ {
        self.order.iter().copied().chain(self.main_program)
    }

    fn boot(&mut self, now: Moment) {
        for id in self.ids().collect::<Vec<_>>() {
            if self.service(id).config.enabled {
                // The main program comes after everything, not because it needs it.
                let asked = !self.is_main_program(id);
                self.set_phase(id, Phase::Pending { since: now, asked }, now);
            }
        }
    }

    fn get(&self, id: ServiceId) -> Option<&Service> {
        self.services
            .get(id.index())
            .filter(|service| service.id == id)
    }

    fn service(&self, id: ServiceId) -> &Service {
        &self.services[id.index()]
    }

    fn service_mut(&mut self, id: ServiceId) -> &mut Service {
        &mut self.services[id.index()]
    }

    /// Looks at the next queued service, and where none is queued at the whole. False when nobody has anything left to
    /// do. That comes: each step moves a service forward in its life, and only an event from outside moves it back.
    fn follow_up(&mut self) -> bool {
        if self.life.is_over() {
            return false;
        }
        let now = self.now.mono;
        let Some(id) = self.queue.pop_front() else {
            return self.advance_whole(now);
        };
        self.service_mut(id).queued = false;
        self.advance(id, now);
        self.note_deadline(id, now);
        true
    }

    /// To be called when nobody is queued.
    fn advance_whole(&mut self, now: Moment) -> bool {
        self.advance_shutdown(now);
        // A shutdown that has just begun may have no time at all. Each round brings it nearer to its end.
        if self.life.deadline().is_some_and(|at| at <= now) {
            self.on_shutdown_time(now);
            return true;
        }
        self.answer_waiters(now);
        self.drop_leaving(now) || self.begin_due_restarts(now)
    }

    fn advance(&mut self, id: ServiceId, now: Moment) {
        match self.service(id).phase {
            Phase::Pending { .. } => self.advance_pending(id, now),
            Phase::Stopping { .. } => self.advance_stopping(id, now),
            Phase::Starting { .. } | Phase::Running { .. } => {
                self.advance_active(id, now);
                self.advance_execution(id, now);
                self.advance_readiness(id, now);
                self.advance_check(id, now);
            }
            Phase::Stopped(_) | Phase::Failed { .. } => {}
        }
        self.advance_post_script(id, now);
    }

    /// The only door through which a service changes its state.
    fn set_phase(&mut self, id: ServiceId, phase: Phase, now: Moment) {
        let was_in_the_way = self.goes_down(id);
        let service = self.service_mut(id);
        let from = service.phase.state();
        let to = phase.state();
        debug_assert!(
            service::is_legal(from, to),
            "{}: {from} -> {to}",
            service.config.name
        );
        let restarts = (service.phase.restart_at(), phase.restart_at());
        service.phase = phase;
        self.note_restart(id, restarts);
        let service = self.service_mut(id);
        if service.phase.program().is_none() {
            service.said = service::Said::default();
            self.end_check(id);
        }
        let service = self.service_mut(id);
        if from != to {
            service.changed_at = now;
            let detail = self.detail(id, now);
            self.actions.push_back(Action::Notice(Notice::Changed {
                service: id,
                from,
                to,
                detail,
            }));
        }
        self.enqueue_neighbourhood(id);
        if was_in_the_way && !self.service(id).is_active() {
            self.wake_dependencies(id);
        }
        self.consider_the_whole(id, now);
    }

    fn enqueue(&mut self, id: ServiceId) {
        let service = self.service_mut(id);
        if !service.queued {
            service.queued = true;
            self.queue.push_back(id);
        }
    }

    /// A service's state is what its dependents wait for and what its dependencies wait for when they
    /// stop, so both look again.
    fn enqueue_neighbourhood(&mut self, id: ServiceId) {
        self.enqueue(id);
        for index in 0..self.service(id).dependents.len() {
            self.enqueue(self.service(id).dependents[index]);
        }
        for index in 0..self.service(id).dependencies.len() {
            self.enqueue(self.service(id).dependencies[index].on);
        }
    }

    fn note_restart(&mut self, id: ServiceId, (noted, due): (Option<Moment>, Option<Moment>)) {
        if let Some(at) = noted {
            self.restarts.remove(&(at, id));
        }
        if let Some(at) = due {
            self.restarts.insert((at, id));
        }
    }

    fn note_deadline(&mut self, id: ServiceId, now: Moment) {
        let deadline = self.deadline_of(id, now);
        let noted = self.service(id).deadline;
        if noted == deadline {
            return;
        }
        if let Some(at) = noted {
            self.deadlines.remove(&(at, id));
        }
        if let Some(at) = deadline {
            self.deadlines.insert((at, id));
        }
        self.service_mut(id).deadline = deadline;
    }

    fn deadline_of(&self, id: ServiceId, now: Moment) -> Option<Moment> {
        let service = self.service(id);
        let by_phase = match &service.phase {
            Phase::Pending { since, .. } => self.pending_deadline(id, *since, now),
            // Once that process is gone only its post-script is waited for, which has a bound of its own.
            Phase::Stopping {
                job, escalation, ..
            } => escalation
                .deadline()
                .filter(|_| self.jobs.contains_key(job)),
            Phase::Starting {
                step:
                    Step::Executing { until }
                    | Step::Readying { until, .. }
                    | Step::PreScript {
                        execute_by: Some(until),
                    },
                ..
            } => Some(*until).filter(|_| self.is_judged(id)),
            Phase::Starting { .. } | Phase::Running { .. } => None,
            Phase::Stopped(_) | Phase::Failed { .. } => service.phase.restart_at(),
        };
        let check = service.check.as_ref().and_then(check::Check::due);
        let watchdog = service.watchdog().filter(|_| self.is_judged(id));
        let watchdog = watchdog.map(|(_, deadline)| deadline);
        let others = [check, watchdog, service.post.deadline()];
        by_phase
            .into_iter()
            .chain(others.into_iter().flatten())
            .min()
    }

    fn new_job(&mut self) -> JobId {
        let job = JobId(self.next_job);
        self.next_job += 1;
        job
    }

    fn spawn(&mut self, id: ServiceId, role: Role) -> JobId {
        let job = self.new_job();
        self.jobs.insert(job, (id, role));
        self.actions.push_back(Action::Spawn {
            job,
            service: id,
            role,
        });
        job
    }

    fn kill_group(&mut self, job: JobId, signal: Signal) {
        self.actions.push_back(Action::Kill {
            job,
            signal,
            scope: Scope::Group,
        });
    }

    fn on_exited(&mut self, job: JobId, status: ExitStatus, now: Moment) {
        let Some((id, role)) = self.jobs.remove(&job) else {
            return;
        };
        match role {
            Role::PreScript => self.on_pre_script_exited(id, status, now),
            Role::Main => self.on_main_exited(id, status, now),
            Role::PostScript => self.on_post_script_exited(id, status),
            Role::Check => {}
        }
        self.enqueue(id);
    }

    fn forward(&mut self, signal: Signal, scope: Scope) {
        let Some(id) = self.main_program else { return };
        if let Phase::Running { job, .. } = self.service(id).phase {
            self.actions.push_back(Action::Kill { job, signal, scope });
        }
    }
}
