//! What a supervisor stands in: children that live in a table, clients that wait, and time that moves only when
//! told to. It does what it is told, and notices what must not be asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use go_overlay::base::{ClientId, ExitStatus, JobId, Moment, Pid, ServiceId, Signal};
use go_overlay::config::model::{Config, Service};
use go_overlay::domain::{CheckError, Now};
use go_overlay::supervisor::Supervisor;
use go_overlay::supervisor::client::{Request, Response};
use go_overlay::supervisor::event::{Action, Event, Notice, Role, SpawnFailure};

/// More actions than this follow from no single event on a handful of services.
const MAX_ACTIONS: usize = 1000;

/// As many deadlines are met in one stretch of time; short intervals would take for ever.
const MAX_DEADLINES: usize = 100;

/// So many deadlines in a row may lie at one moment: a bound of 0 begins and ends in it.
const MAX_SAME: usize = 3;

pub struct Kernel {
    pub supervisor: Supervisor,
    pub now: Moment,
    pub alive: BTreeMap<JobId, (ServiceId, Role)>,
    pub checks: BTreeMap<JobId, ServiceId>,
    /// Clients whose request is open.
    pub open: BTreeSet<ClientId>,
    next_client: u64,
    next_pid: i32,
    /// The services of these places cannot be started: a bit each.
    pub broken: u8,
    /// Children end at any signal that asks for it; otherwise at SIGKILL only.
    pub obedient: bool,
    /// Grandchildren outlive their parents, and end at SIGKILL only.
    pub strays: bool,
    pub going_down: Option<(Moment, Duration)>,
    pub exit: Option<u8>,
    /// Everything that was decided.
    pub decided: Vec<Action>,
}

impl Kernel {
    pub fn new(config: Config, main: Option<Service>) -> Kernel {
        Kernel {
            supervisor: Supervisor::new(config, main, Now::default()).with_seed(1),
            now: Moment(0),
            alive: BTreeMap::new(),
            checks: BTreeMap::new(),
            open: BTreeSet::new(),
            next_client: 0,
            next_pid: 100,
            broken: 0,
            obedient: true,
            strays: false,
            going_down: None,
            exit: None,
            decided: Vec::new(),
        }
    }

    /// Tells what happened, and does what follows.
    pub fn tell(&mut self, event: Event) {
        self.supervisor.handle(event, Now::at(self.now));
        self.obey();
    }

    pub fn ask(&mut self, request: Request) {
        self.next_client += 1;
        let client = ClientId(self.next_client);
        self.open.insert(client);
        self.tell(Event::Request { client, request });
    }

    pub fn end(&mut self, job: JobId, status: ExitStatus) {
        if self.alive.remove(&job).is_some() {
            self.tell(Event::Exited { job, status });
        }
    }

    pub fn check_ends(&mut self, job: JobId, result: Result<(), CheckError>) {
        if self.checks.remove(&job).is_some() {
            self.tell(Event::Checked { job, result });
        }
    }

    /// Lets time pass, with a stop at each deadline on the way.
    pub fn pass(&mut self, by: Duration) {
        let end = self.now.after(by);
        let mut same = 0;
        for _ in 0..MAX_DEADLINES {
            let next = self.supervisor.poll_timeout();
            let Some(next) = next.filter(|next| next.at <= end && self.exit.is_none()) else {
                self.now = end;
                return;
            };
            assert!(next.at >= self.now, "a deadline in the past");
            same = if next.at == self.now { same + 1 } else { 0 };
            assert!(same <= MAX_SAME, "{next:?} again and again");
            self.now = next.at;
            self.supervisor.handle_timeout(Now::at(self.now));
            self.obey();
        }
    }

    fn obey(&mut self) {
        let mut dying = BTreeMap::new();
        let mut count = 0;
        while let Some(action) = self.supervisor.poll_action() {
            count += 1;
            assert!(count < MAX_ACTIONS, "there is no end to {action:?}");
            assert_eq!(self.exit, None, "{action:?} after the end");
            self.decided.push(action.clone());
            self.perform(action, &mut dying);
        }
        for (job, signal) in dying {
            self.end(job, ExitStatus::Signaled(signal));
        }
    }

    fn perform(&mut self, action: Action, dying: &mut BTreeMap<JobId, Signal>) {
        match action {
            Action::Spawn { job, service, role } => self.spawn(job, service, role),
            Action::Kill { job, signal, .. } => {
                let asks = [Signal::TERM, Signal::INT, Signal::HUP, Signal::RTMIN_3];
                let deadly = signal == Signal::KILL || (self.obedient && asks.contains(&signal));
                if deadly && self.alive.contains_key(&job) {
                    dying.entry(job).or_insert(signal);
                }
            }
            Action::Check { job, service } => {
                assert!(self.supervisor.config(service).is_some());
                assert!(self.going_down.is_none(), "a check in a shutdown");
                let twice = self.checks.values().any(|other| *other == service);
                assert!(!twice, "two checks of one service at once");
                self.checks.insert(job, service);
            }
            Action::EndCheck { job } => assert!(self.checks.remove(&job).is_some()),
            Action::Forget { service } => {
                let children = self.alive.values().filter(|(of, _)| *of == service);
                assert_eq!(children.count(), 0, "forgotten with children");
            }
            Action::SignalStrays(signal) => {
                if !self.strays || signal == Signal::KILL {
                    let now = Now::at(self.now);
                    self.supervisor.handle(Event::ChildrenGone, now);
                }
            }
            Action::Reply { client, response } => self.answer(client, &response),
            Action::Notice(notice) => self.notice(&notice),
            Action::Exit(code) => {
                assert!(self.alive.is_empty(), "{:?} outlive it", self.alive);
                assert!(self.checks.is_empty(), "{:?} go on", self.checks);
                assert!(self.open.is_empty(), "{:?} have no answer", self.open);
                self.exit = Some(code);
            }
        }
    }

    fn spawn(&mut self, job: JobId, service: ServiceId, role: Role) {
        assert!(self.supervisor.config(service).is_some(), "of nobody");
        assert!(self.going_down.is_none(), "a start in a shutdown");
        let same = |other: &(ServiceId, Role)| *other == (service, role);
        assert!(!self.alive.values().any(same), "{role:?} twice at once");
        let answer = if self.broken & (1 << (service.index() % 8)) != 0 {
            let failure = SpawnFailure {
                message: "cannot execute it: Exec format error".into(),
                exit_code: 126,
            };
            Event::SpawnFailed { job, failure }
        } else {
            assert!(self.alive.insert(job, (service, role)).is_none());
            self.next_pid += 1;
            let pid = Pid(self.next_pid);
            Event::Spawned { job, pid }
        };
        self.supervisor.handle(answer, Now::at(self.now));
    }

    fn answer(&mut self, client: ClientId, response: &Response) {
        assert!(
            self.open.remove(&client),
            "{client:?} is told {response:?} again"
        );
    }

    fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Changed { from, to, .. } => assert_ne!(from, to),
            Notice::Health { from, to, .. } => assert_ne!(from, to),
            Notice::ShuttingDown { within, .. } => {
                assert!(self.going_down.is_none(), "two shutdowns");
                self.going_down = Some((self.now, *within));
            }
            Notice::Restarts { .. }
            | Notice::PostScriptFailed { .. }
            | Notice::KillingAll { .. } => {}
        }
    }
}
