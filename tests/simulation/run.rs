//! One run: boot, chaos, then faults off and it has to converge, then SIGTERM and it has to end within its
//! bound. After every input every invariant is looked at.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use go_overlay::base::{Moment, ServiceId, Signal};
use go_overlay::config::model::Config;
use go_overlay::control::message::{Request, Response, State};
use go_overlay::supervisor::Supervisor;
use go_overlay::supervisor::event::{Action, Event};

use crate::clients::{self, Clients};
use crate::invariants::{OF_ACTIONS, OF_THE_WHOLE, View};
use crate::kernel::Kernel;
use crate::model::{Kind, Model};
use crate::plan::{self, Plan};
use crate::rng::Rng;

/// So many of the last lines are shown with a failure.
const SHOWN: usize = 60;

/// Within so much time everything has to have settled once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a bound may be exceeded by: SIGKILL is waited for, and the loop may come late.
const SLACK: Duration = Duration::from_secs(6);

pub struct Run {
    pub plan: Plan,
    rng: Rng,
    supervisor: Supervisor,
    model: Model,
    kernel: Kernel,
    clients: Clients,
    now: Moment,
    pub step: usize,
    last: VecDeque<Line>,
    /// Everything, where it was asked for.
    pub trace: Option<String>,
    last_reply: Option<Response>,
}

enum Line {
    In(Moment, Event),
    Timeout(Moment),
    Out(Action),
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Line::In(now, event) => write!(f, "{:>13} <- {event:?}", now.0),
            Line::Timeout(now) => write!(f, "{:>13} <- the timer", now.0),
            Line::Out(action) => write!(f, "{:>13} -> {action:?}", ""),
        }
    }
}

/// What did not hold.
#[derive(Debug)]
pub struct Failure {
    pub number: u32,
    pub title: &'static str,
    pub words: String,
}

fn failure(number: u32, title: &'static str, words: impl Into<String>) -> Failure {
    Failure {
        number,
        title,
        words: words.into(),
    }
}

const CONVERGES: (u32, &str) = (22, "convergence");
const ENDS: (u32, &str) = (23, "the end within its bound");

fn ids_of(supervisor: &Supervisor) -> Vec<(ServiceId, String)> {
    let name = |id: ServiceId| supervisor.config(id).map(|config| config.name.clone());
    supervisor
        .ids()
        .map(|id| (id, name(id).unwrap_or_default()))
        .collect()
}

impl Run {
    pub fn new(seed: u64) -> Run {
        let plan = Plan::new(seed);
        let supervisor = Supervisor::new(plan.config.clone(), plan.main_program.clone(), Moment(0))
            .with_seed(plan.jitter_seed);
        let ids = ids_of(&supervisor);
        Run {
            rng: Rng::new(!seed),
            model: Model::new(&plan.config, plan.main_program.as_ref(), &ids),
            kernel: Kernel::new(seed, plan.swarm.clone()),
            supervisor,
            plan,
            clients: Clients::default(),
            now: Moment(0),
            step: 0,
            last: VecDeque::with_capacity(SHOWN + 1),
            trace: None,
            last_reply: None,
        }
    }

    pub fn play(&mut self, steps: usize) -> Result<(), Failure> {
        self.tell(Event::Boot)?;
        for _ in 0..steps {
            if self.model.exit.is_some() {
                break;
            }
            self.chaos()?;
        }
        // The end is also to be reached when everything still goes wrong.
        if self.rng.chance(650) {
            self.kernel.calm_down(self.now);
            self.plan.swarm = plan::Swarm::calm();
            self.converge()?;
        }
        self.end()
    }

    /// One step in which something may go wrong.
    fn chaos(&mut self) -> Result<(), Failure> {
        self.step += 1;
        let swarm = self.plan.swarm.clone();
        if self.rng.chance(swarm.jumps) {
            self.now = self.now.after(self.rng.between(0, 100_000));
        }
        if self.rng.chance(swarm.clients) {
            let event = self.clients.ask(&mut self.rng, &self.model);
            self.interrupt(event)?;
        }
        if self.rng.chance(swarm.vanishes)
            && let Some(event) = self.clients.vanish(&mut self.rng, &self.model)
        {
            self.interrupt(event)?;
        }
        if self.rng.chance(swarm.reloads) {
            let file = self.file();
            let with_main = self.model.main_program.is_some();
            let config = plan::edited(&mut self.rng, &file, with_main);
            self.interrupt(Event::Reload(Box::new(config)))?;
        }
        if self.rng.chance(swarm.early_end) {
            let event = self.end_somehow();
            self.interrupt(event)?;
        }
        if self.rng.chance(20) {
            self.interrupt(Event::ForwardSignal(Signal::WINCH))?;
        }
        self.advance()
    }

    /// Something comes from outside, now or in a moment.
    fn interrupt(&mut self, event: Event) -> Result<(), Failure> {
        if self.model.exit.is_some() {
            return Ok(());
        }
        let next = self
            .next_at()
            .unwrap_or(self.now.after(Duration::from_secs(5)));
        if self.rng.chance(500) && next > self.now {
            let wait = next.since(self.now).as_nanos() as u64;
            let part = self.rng.from(0, wait);
            self.now = self.now.after(Duration::from_nanos(part));
        }
        self.tell(event)
    }

    fn end_somehow(&mut self) -> Event {
        match self.rng.below(3) {
            0 => Event::Request {
                client: self.clients.newcomer(),
                request: Request::Shutdown {
                    exit_code: self.rng.chance(500).then_some(7),
                },
            },
            1 => Event::ShutdownSignal(Signal::QUIT),
            _ => Event::ShutdownSignal(Signal::TERM),
        }
    }

    /// The file as it was read last.
    fn file(&self) -> Config {
        let facts = |name: &String| {
            let id = self.model.find(name)?;
            Some(self.model.services[&id].config.clone())
        };
        Config {
            timeouts: self.model.timeouts,
            services: self.model.file.iter().filter_map(facts).collect(),
        }
    }

    fn next_at(&self) -> Option<Moment> {
        let deadline = self.supervisor.poll_timeout().map(|deadline| deadline.at);
        [deadline, self.kernel.next_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets time pass until something happens, and tells it.
    fn advance(&mut self) -> Result<(), Failure> {
        let Some(next) = self.next_at() else {
            self.now = self.now.after(Duration::from_secs(10));
            return Ok(());
        };
        self.now = self.now.max(next);
        if self.rng.chance(self.plan.swarm.late) {
            self.now = self.now.after(self.rng.millis(&[1, 20, 200]));
        }
        if self.rng.chance(500) {
            self.look_at_the_timer()?;
        }
        while let Some(event) = self.kernel.take(self.now) {
            self.tell(event)?;
            if self.rng.chance(100) {
                self.look_at_the_timer()?;
            }
        }
        self.look_at_the_timer()
    }

    fn look_at_the_timer(&mut self) -> Result<(), Failure> {
        let deadline = self.supervisor.poll_timeout();
        if deadline.is_none_or(|deadline| deadline.at > self.now) {
            return Ok(());
        }
        self.model.begin_turn(Kind::Timeout, self.now);
        self.note(Line::Timeout(self.now));
        self.supervisor.handle_timeout(self.now);
        self.drain()?;
        self.sweep()
    }

    fn tell(&mut self, event: Event) -> Result<(), Failure> {
        let kind = match &event {
            Event::Request {
                request: Request::Shutdown { exit_code },
                ..
            } => Kind::End(*exit_code),
            Event::Request { .. } => Kind::Asked,
            Event::Reload(_) => Kind::Reload,
            Event::ShutdownSignal(_) => Kind::Signal,
            _ => Kind::Other,
        };
        self.model.begin_turn(kind, self.now);
        self.note(Line::In(self.now, event.clone()));
        self.model.on_event(&event);
        let reload = match &event {
            Event::Reload(config) if self.model.down.is_none() => Some(config.clone()),
            _ => None,
        };
        self.supervisor.handle(event, self.now);
        if let Some(config) = reload {
            self.model.adopt(&ids_of(&self.supervisor), &config);
        }
        self.drain()?;
        self.sweep()
    }

    fn drain(&mut self) -> Result<(), Failure> {
        while let Some(action) = self.supervisor.poll_action() {
            let view = View {
                model: &self.model,
                kernel: &self.kernel,
                supervisor: &self.supervisor,
            };
            let broken = OF_ACTIONS.iter().find_map(|(number, title, holds)| {
                let words = holds(&view, &action).err()?;
                Some(failure(*number, title, words))
            });
            self.note(Line::Out(action.clone()));
            if let Some(broken) = broken {
                return Err(broken);
            }
            let answer = self.perform(&action);
            self.model.on_action(&action);
            if let Some(answer) = answer {
                self.note(Line::In(self.now, answer.clone()));
                self.model.on_event(&answer);
                self.supervisor.handle(answer, self.now);
            }
        }
        Ok(())
    }

    fn perform(&mut self, action: &Action) -> Option<Event> {
        let now = self.now;
        match action {
            Action::Spawn { job, service, role } => {
                let config = self.supervisor.config(*service)?;
                Some(self.kernel.spawn(*job, &config, *role, now))
            }
            Action::Kill { job, signal, scope } => {
                self.kernel.kill(*job, *signal, *scope, now);
                None
            }
            Action::Check { job, service } => {
                let config = self.supervisor.config(*service)?;
                let timeout = config.health.as_ref().map(|health| health.timeout);
                self.kernel.check(*job, timeout.unwrap_or_default(), now)
            }
            Action::EndCheck { job } => {
                self.kernel.end_check(*job);
                None
            }
            Action::SignalStrays(signal) => self.kernel.signal_strays(*signal, now),
            Action::Reply { response, .. } => {
                self.last_reply = Some(response.clone());
                None
            }
            Action::Forget { .. } | Action::Notice(_) | Action::Exit(_) => None,
        }
    }

    fn sweep(&mut self) -> Result<(), Failure> {
        let view = View {
            model: &self.model,
            kernel: &self.kernel,
            supervisor: &self.supervisor,
        };
        let broken = OF_THE_WHOLE.iter().find_map(|(number, title, holds)| {
            let words = holds(&view).err()?;
            Some(failure(*number, title, words))
        });
        broken.map_or(Ok(()), Err)
    }

    /// Nothing goes wrong any more, and everything is asked to be up.
    fn converge(&mut self) -> Result<(), Failure> {
        let rounds = self.model.services.len() + 3;
        for _ in 0..rounds {
            if self.model.down.is_some() {
                return Ok(());
            }
            let missing = self.not_up();
            if missing.is_empty() {
                return Ok(());
            }
            let client = self.clients.newcomer();
            let request = clients::start_of(missing);
            self.tell(Event::Request { client, request })?;
            let until = self.now.after(PATIENCE);
            while self.model.requests.contains_key(&client) && self.model.down.is_none() {
                if self.now > until {
                    let words = format!("no answer to {:?}", self.model.requests[&client].request);
                    return Err(failure(CONVERGES.0, CONVERGES.1, words));
                }
                self.advance()?;
            }
            // Whoever is in the middle of something gets there before the next one asks.
            let until = self.now.after(Duration::from_secs(10));
            while self.now < until && self.model.down.is_none() {
                self.advance()?;
            }
        }
        let missing = self.not_up();
        match missing.is_empty() || self.model.down.is_some() {
            true => Ok(()),
            false => {
                let words = format!("{missing:?} do not come up: {:?}", self.last_reply);
                Err(failure(CONVERGES.0, CONVERGES.1, words))
            }
        }
    }

    /// Who should be up and is not; one that comes and goes is not asked.
    fn not_up(&self) -> Vec<String> {
        let up = |id: &ServiceId| {
            let facts = &self.model.services[id];
            facts.state == State::Running || facts.completed_at.is_some()
        };
        let should = |id: &ServiceId| {
            let config = &self.model.services[id].config;
            config.enabled && !plan::flaps(config)
        };
        let ids = self
            .model
            .file
            .iter()
            .filter_map(|name| self.model.find(name));
        let missing = ids.filter(|id| should(id) && !up(id));
        missing.map(|id| self.model.name(id).to_owned()).collect()
    }

    fn end(&mut self) -> Result<(), Failure> {
        if self.model.exit.is_none() {
            self.tell(Event::ShutdownSignal(Signal::TERM))?;
        }
        let more = self.rng.below(3);
        for _ in 0..more {
            if self.rng.chance(100) {
                let again = *self.rng.pick(&[Signal::TERM, Signal::INT]);
                self.interrupt(Event::ShutdownSignal(again))?;
            }
        }
        let Some(down) = &self.model.down else {
            return Err(failure(ENDS.0, ENDS.1, "SIGTERM was not heard"));
        };
        let bound = self.now.max(down.bound).after(SLACK);
        while self.model.exit.is_none() {
            if self.now > bound || self.next_at().is_none() {
                let words = format!("no end by {:?}", self.now);
                return Err(failure(ENDS.0, ENDS.1, words));
            }
            self.advance()?;
        }
        // Whatever comes afterwards is not heard.
        self.tell(Event::ShutdownSignal(Signal::TERM))
    }

    fn note(&mut self, line: Line) {
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{line}");
        }
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// Everything that helps to understand a failure.
    pub fn report(&self, failure: &Failure, steps: usize) -> String {
        let mut text = String::new();
        let seed = self.plan.seed;
        let Failure {
            number,
            title,
            words,
        } = failure;
        let _ = writeln!(
            text,
            "seed {seed}, step {}: I{number} ({title}): {words}",
            self.step
        );
        let _ = writeln!(text, "timeouts: {:?}", self.model.timeouts);
        for (id, facts) in &self.model.services {
            let _ = writeln!(text, "{id:?} {}", plan::summary(&facts.config));
        }
        for row in self.supervisor.list(self.now) {
            let (name, state, detail) = (row.name, row.state, row.detail);
            let _ = writeln!(text, "now {name} is {state} ({detail}) {:?}", row.health);
        }
        let _ = writeln!(text, "the last events:");
        for line in &self.last {
            let _ = writeln!(text, "{line}");
        }
        let _ = writeln!(text, "again: make sim SEED={seed} SEEDS=1 STEPS={steps}");
        text
    }
}
