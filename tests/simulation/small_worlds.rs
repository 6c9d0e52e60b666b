//! Small worlds: a few services, a handful of events, and every order in which these can come, found by
//! breadth-first search over states. In each state each invariant is looked at, and from none of them may the
//! end be out of reach.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use go_overlay::base::{ClientId, ExitStatus, JobId, Moment, Pid, Signal};
use go_overlay::config::model::{
    Condition, Config, Dependency, Health, OnDependencyFailure, OnUnhealthy, Probe, Ready, Restart,
    RestartPolicy, Script, Service, Timeouts,
};
use go_overlay::control::message::{Request, Selection, WaitFor};
use go_overlay::supervisor::Supervisor;
use go_overlay::supervisor::event::{Action, Event, Role, SpawnFailure, Word};

use crate::digest::digest;
use crate::number;
use crate::watched::{self, Watched, failure};

/// States of each world that are looked at in the short form; `make worlds` looks at more.
const STATES: usize = 1000;

/// When nothing is due, so much time passes at once: more than any bound in these worlds.
const AGES: Duration = Duration::from_secs(60);

/// Restarts that a policy allows.
const ATTEMPTS: u32 = 2;

/// What can happen in it, beside what processes do and time.
struct Small {
    name: &'static str,
    services: Vec<Service>,
    requests: Vec<Request>,
    /// Other versions of the file.
    files: Vec<Vec<Service>>,
    /// Programs may be missing.
    refusals: bool,
    /// The daemon may find itself unable to go on.
    fails: bool,
}

/// One thing that happens.
#[derive(Clone, Debug)]
struct Step {
    what: What,
    /// No program can be executed meanwhile.
    refuses: bool,
}

#[derive(Clone, Debug)]
enum What {
    Heard(Event),
    /// The deadline comes, and is not looked at yet.
    DeadlineComes,
    TimerIsSeen,
    AgesPass,
}

/// The kernel of a small world.
#[derive(Debug, Default)]
struct Lab {
    processes: BTreeMap<JobId, Process>,
    checks: BTreeSet<JobId>,
    swept: bool,
    refuses: bool,
    spawned: bool,
    next_pid: i32,
}

#[derive(Debug)]
struct Process {
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
    fn events(&self) -> Vec<Event> {
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

    fn time_passes(&mut self) {
        for process in self.processes.values_mut() {
            process.stuck |= process.killed;
        }
    }

    /// It is told, so it is over.
    fn tells(&mut self, event: &Event) {
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

/// A world after some steps.
struct Place<'s> {
    small: &'s Small,
    watched: Watched,
    lab: Lab,
    now: Moment,
    clients: u64,
    reloads: usize,
}

impl<'s> Place<'s> {
    fn first(small: &'s Small) -> Place<'s> {
        let mut place = Place {
            small,
            watched: Watched::new(&config(&small.services), None, 0),
            lab: Lab::default(),
            now: Moment(0),
            clients: 0,
            reloads: 0,
        };
        place.must(&Step::of(What::Heard(Event::Boot)));
        place
    }

    /// Where these steps lead; that all is well on the way is known.
    fn after<'p>(small: &'s Small, path: impl Iterator<Item = &'p Step>) -> Place<'s> {
        let mut place = Place::first(small);
        place.watched.blind = true;
        path.for_each(|step| place.must(step));
        place.watched.blind = false;
        place
    }

    fn must(&mut self, step: &Step) {
        if let Err(failure) = self.take(step) {
            panic!(
                "{}: {failure:?}\n{}",
                self.small.name,
                self.watched.report(self.now)
            );
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), watched::Failure> {
        (self.lab.refuses, self.lab.spawned) = (step.refuses, false);
        match &step.what {
            What::DeadlineComes => {
                self.lab.time_passes();
                self.now = self.deadline().map_or(self.now, |at| self.now.max(at));
            }
            What::AgesPass => {
                self.lab.time_passes();
                self.now = self.now.after(AGES);
            }
            What::TimerIsSeen => self.watched.time_out(self.now, &mut self.lab)?,
            What::Heard(event) => {
                self.lab.tells(event);
                self.clients += u64::from(matches!(event, Event::Request { .. }));
                self.reloads += usize::from(matches!(event, Event::Reload(_)));
                self.watched.tell(event.clone(), self.now, &mut self.lab)?;
                let last = matches!(event, Event::Exited { .. })
                    && self.lab.swept
                    && self.lab.processes.is_empty();
                if last && self.watched.model.exit.is_none() {
                    let gone = Event::ChildrenGone;
                    self.watched.tell(gone, self.now, &mut self.lab)?;
                }
            }
        }
        // More attempts than a policy allows are as good as one more; the reference counts on.
        for facts in self.watched.model.services.values_mut() {
            let (least, most) = facts.attempts;
            facts.attempts = (least.min(ATTEMPTS + 1), most.min(ATTEMPTS + 1));
        }
        self.no_dead_end()
    }

    /// A shutdown waits for somebody's end, or on time.
    fn no_dead_end(&self) -> Result<(), watched::Failure> {
        let model = &self.watched.model;
        let waits = model.down.is_none()
            || model.exit.is_some()
            || !self.lab.processes.is_empty()
            || self.deadline().is_some();
        match waits {
            true => Ok(()),
            false => Err(failure(
                23,
                "the end within its bound",
                "nothing leads there any more",
            )),
        }
    }

    fn deadline(&self) -> Option<Moment> {
        self.watched
            .supervisor
            .poll_timeout()
            .map(|deadline| deadline.at)
    }

    fn steps(&self) -> Vec<Step> {
        let model = &self.watched.model;
        if model.exit.is_some() {
            return Vec::new();
        }
        let mut events = self.lab.events();
        if model.requests.is_empty() {
            let client = ClientId(self.clients + 1);
            events.extend(self.small.requests.iter().map(|request| Event::Request {
                client,
                request: request.clone(),
            }));
        }
        let waiting = model.requests.keys().copied();
        events.extend(waiting.map(|client| Event::ClientGone { client }));
        if self.reloads < 2 {
            let files = self.small.files.iter();
            events.extend(files.map(|file| Event::Reload(Box::new(config(file)))));
        }
        if model.down.as_ref().is_none_or(|down| !down.insisted) {
            events.push(Event::ShutdownSignal(Signal::TERM));
        }
        if self.small.fails && model.down.is_none() {
            let reason = "cannot wait for events".to_owned();
            events.push(Event::Unable { reason });
        }
        let passes = match self.deadline() {
            Some(at) if at <= self.now => What::TimerIsSeen,
            Some(_) => What::DeadlineComes,
            None => What::AgesPass,
        };
        events
            .into_iter()
            .map(What::Heard)
            .chain([passes])
            .map(Step::of)
            .collect()
    }

    fn digest(&self) -> u64 {
        let Watched {
            supervisor, model, ..
        } = &self.watched;
        let model = (
            &model.services,
            &model.jobs,
            &model.checks,
            &model.requests,
            &model.down,
            model.exit,
        );
        let lab = (&self.lab.processes, &self.lab.checks, self.lab.swept);
        digest(&[supervisor, &model, &lab, &self.reloads], self.now)
    }
}

impl Step {
    fn of(what: What) -> Step {
        Step {
            what,
            refuses: false,
        }
    }
}

/// What was found in a world.
struct Found {
    states: usize,
    steps: usize,
    depth: usize,
    /// There are no further states.
    closed: bool,
}

/// How a state was reached first.
struct Node {
    before: Option<usize>,
    step: Step,
    depth: usize,
}

fn path(nodes: &[Node], mut at: Option<usize>) -> Vec<&Step> {
    let mut path = Vec::new();
    while let Some(index) = at {
        path.push(&nodes[index].step);
        at = nodes[index].before;
    }
    path.reverse();
    path
}

fn search(small: &Small, limit: usize) -> Found {
    let mut seen = HashSet::from([Place::first(small).digest()]);
    let mut nodes: Vec<Node> = Vec::new();
    let (mut next, mut steps) = (None, 0);
    loop {
        let way: Vec<Step> = path(&nodes, next).into_iter().cloned().collect();
        let mut open = Place::after(small, way.iter()).steps();
        while let Some(step) = open.pop() {
            let mut place = Place::after(small, way.iter());
            steps += 1;
            if let Err(failure) = place.take(&step) {
                let report = place.watched.report(place.now);
                panic!(
                    "{}: {failure:?}\n{report}after {way:#?}\nthen {step:#?}",
                    small.name
                );
            }
            if place.lab.spawned && small.refusals && !step.refuses {
                open.push(Step {
                    refuses: true,
                    ..step.clone()
                });
            }
            if seen.insert(place.digest()) {
                let depth = way.len() + 1;
                nodes.push(Node {
                    before: next,
                    step,
                    depth,
                });
            }
        }
        let index = next.map_or(0, |index| index + 1);
        let closed = index == nodes.len();
        if closed || seen.len() >= limit {
            let depth = nodes.last().map_or(0, |node| node.depth);
            let states = seen.len();
            return Found {
                states,
                steps,
                depth,
                closed,
            };
        }
        next = Some(index);
    }
}

fn config(services: &[Service]) -> Config {
    Config {
        timeouts: Timeouts {
            service_shutdown: Duration::from_secs(10),
            global_shutdown: Duration::from_secs(20),
            post_script: Duration::from_secs(10),
            ..Timeouts::default()
        },
        services: services.to_vec(),
    }
}

fn service(name: &str, policy: RestartPolicy) -> Service {
    Service {
        name: name.into(),
        command: "daemon".into(),
        restart: Restart {
            policy,
            delay: Duration::from_secs(10),
            max_delay: Duration::from_secs(10),
            jitter_permille: 0,
            max_attempts: Some(ATTEMPTS),
            reset_after: Duration::from_secs(50),
            ..Restart::default()
        },
        ..Service::default()
    }
}

fn after(on: &str, condition: Condition, service: Service) -> Service {
    let mut depends_on = service.depends_on.clone();
    depends_on.push(Dependency {
        on: on.into(),
        condition,
        wait_after: Duration::ZERO,
    });
    Service {
        depends_on,
        ..service
    }
}

fn of(name: &str) -> Selection {
    Selection {
        services: vec![name.into()],
        ..Selection::default()
    }
}

fn each_of(name: &str) -> Vec<Request> {
    vec![
        Request::Start(of(name)),
        Request::Stop(of(name)),
        Request::Restart(of(name)),
    ]
}

fn worlds() -> Vec<Small> {
    use RestartPolicy::{Always, No, OnFailure};
    let alone = |name, service| Small {
        name,
        services: vec![service],
        requests: each_of("a"),
        files: Vec::new(),
        refusals: true,
        fails: false,
    };
    let scripts = Service {
        pre_script: Some(Script::Inline("#!/bin/sh".into())),
        post_script: Some(Script::Inline("#!/bin/sh".into())),
        ..service("a", No)
    };
    let checked = Service {
        health: Some(Health {
            probe: Probe::Unix("/run/a".into()),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            retries: 2,
            start_period: Duration::ZERO,
            start_interval: Duration::from_secs(10),
            on_unhealthy: OnUnhealthy::Restart,
        }),
        ..service("a", OnFailure)
    };
    let ready = Service {
        ready: Ready::Notify,
        ready_timeout: Duration::from_secs(10),
        ..service("a", OnFailure)
    };
    let follows = Service {
        on_dependency_failure: OnDependencyFailure::Stop,
        ..service("b", No)
    };
    let required = Service {
        required: true,
        ..service("a", No)
    };
    let pair = |name, first: Service, second: Service, condition| Small {
        requests: [each_of("a"), each_of("b")].concat(),
        services: vec![first, after("a", condition, second)],
        ..alone(name, service("a", No))
    };
    let changed = Service {
        args: vec!["-v".into()],
        ..service("a", No)
    };
    let b_after_a = || after("a", Condition::Started, service("b", No));
    let third = after("a", Condition::Started, service("c", No));
    vec![
        Small {
            fails: true,
            ..alone("one, restarted never", service("a", No))
        },
        alone("one, restarted on failure", service("a", OnFailure)),
        alone("one, restarted always", service("a", Always)),
        alone("one with scripts", scripts),
        alone("one that says when it is ready", ready.clone()),
        alone("one that is checked", checked.clone()),
        pair(
            "two in order",
            service("a", No),
            service("b", No),
            Condition::Started,
        ),
        pair(
            "two, the first restarted",
            service("a", OnFailure),
            service("b", No),
            Condition::Started,
        ),
        pair(
            "two, the second when the first is ready",
            ready,
            service("b", No),
            Condition::Started,
        ),
        pair(
            "two, the second when the first is well",
            checked,
            service("b", No),
            Condition::Healthy,
        ),
        pair(
            "two, the second when the first is done",
            service("a", No),
            service("b", No),
            Condition::Completed,
        ),
        pair(
            "two, the second ends with the first",
            service("a", OnFailure),
            follows,
            Condition::Started,
        ),
        pair(
            "two, the first required",
            required,
            service("b", No),
            Condition::Started,
        ),
        Small {
            requests: vec![Request::Restart(Selection {
                with_dependents: true,
                ..of("a")
            })],
            services: vec![service("a", OnFailure), b_after_a()],
            ..alone("two, restarted together", service("a", No))
        },
        Small {
            requests: vec![Request::Wait {
                service: "b".into(),
                until: WaitFor::Running,
                timeout_ms: Some(10_000),
            }],
            services: vec![service("a", OnFailure), b_after_a()],
            fails: true,
            ..alone("two, one waited for", service("a", No))
        },
        Small {
            requests: Vec::new(),
            services: vec![service("a", No), b_after_a()],
            files: vec![
                vec![changed, b_after_a()],
                vec![service("a", No)],
                vec![service("a", No), service("b", No)],
            ],
            ..alone("two, reloaded", service("a", No))
        },
        Small {
            requests: vec![Request::Stop(of("a")), Request::Start(of("c"))],
            services: vec![
                service("a", No),
                b_after_a(),
                after("b", Condition::Started, service("c", No)),
            ],
            ..alone("three in a row", service("a", No))
        },
        Small {
            requests: vec![Request::Restart(of("a")), Request::Stop(of("b"))],
            services: vec![
                service("a", OnFailure),
                b_after_a(),
                after("b", Condition::Completed, third),
            ],
            ..alone("three, the last after both", service("a", No))
        },
    ]
}

#[test]
fn every_order_of_events_in_a_small_world() {
    let limit = number("STATES").map_or(STATES, |states| states as usize);
    let begun = Instant::now();
    let (mut states, mut steps) = (0, 0);
    let only = std::env::var("WORLD").unwrap_or_default();
    for small in worlds()
        .into_iter()
        .filter(|small| small.name.contains(&only))
    {
        let found = search(&small, limit);
        let extent = match found.closed {
            true => "all of it".to_owned(),
            false => format!("to depth {}", found.depth),
        };
        println!(
            "{}: {} states, {} steps, {extent}",
            small.name, found.states, found.steps
        );
        states += found.states;
        steps += found.steps;
    }
    println!("{states} states, {steps} steps: {:?}", begun.elapsed());
}
