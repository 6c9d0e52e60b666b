//! One run: boot, chaos, then faults off and it has to converge, then SIGTERM and it has to end within its
//! bound. After every input every invariant is looked at.

use std::time::Duration;

use go_overlay::base::{Moment, ServiceId, Signal};
use go_overlay::config::model::Config;
use go_overlay::domain::State;
use go_overlay::supervisor::client::Request;
use go_overlay::supervisor::event::{Event, Scope};

use crate::clients::{self, Clients};
use crate::jumps::{self, Jumps};
use crate::kernel::Kernel;
use crate::plan::{self, Plan};
use crate::rng::Rng;
use crate::watched::{Failure, Watched, failure};

/// Within so much time everything has to have settled once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a bound may be exceeded by: SIGKILL is waited for, and the loop may come late.
const SLACK: Duration = Duration::from_secs(6);

pub struct Run {
    pub plan: Plan,
    rng: Rng,
    pub watched: Watched,
    pub kernel: Kernel,
    pub jumps: Jumps,
    clients: Clients,
    pub now: Moment,
    pub step: usize,
}

const CONVERGES: (u32, &str) = (22, "convergence");
const ENDS: (u32, &str) = (23, "the end within its bound");

impl Run {
    pub fn new(seed: u64) -> Run {
        let plan = Plan::new(seed);
        Run {
            rng: Rng::new(!seed),
            watched: Watched::new(&plan.config, plan.main_program.as_ref(), plan.jitter_seed),
            kernel: Kernel::new(seed, plan.swarm.clone()),
            jumps: Jumps::new(seed, jumps::Kind::Unnoticed),
            plan,
            clients: Clients::default(),
            now: Moment(0),
            step: 0,
        }
    }

    pub fn play(&mut self, steps: usize) -> Result<(), Failure> {
        self.tell(Event::Boot)?;
        for _ in 0..steps {
            if self.watched.model.exit.is_some() {
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
        self.disturb_clocks();
        let swarm = self.plan.swarm.clone();
        if self.rng.chance(swarm.jumps) {
            self.now = self.now.after(self.rng.between(0, 100_000));
        }
        if self.rng.chance(swarm.clients) {
            let event = self.clients.ask(&mut self.rng, &self.watched.model);
            self.interrupt(event)?;
        }
        if self.rng.chance(swarm.vanishes)
            && let Some(event) = self.clients.vanish(&mut self.rng, &self.watched.model)
        {
            self.interrupt(event)?;
        }
        if self.rng.chance(swarm.reloads) {
            let file = self.file();
            let with_main = self.watched.model.main_program.is_some();
            let config = plan::edited(&mut self.rng, &file, with_main);
            self.interrupt(Event::Reload(Box::new(config)))?;
        }
        if self.rng.chance(swarm.early_end) {
            let event = self.end_somehow();
            self.interrupt(event)?;
        }
        if self.rng.chance(20) {
            self.interrupt(Event::ForwardSignal {
                signal: Signal::WINCH,
                scope: Scope::Process,
            })?;
        }
        self.advance()
    }

    /// Something comes from outside, now or in a moment.
    fn interrupt(&mut self, event: Event) -> Result<(), Failure> {
        if self.watched.model.exit.is_some() {
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
            let id = self.watched.model.find(name)?;
            Some(self.watched.model.services[&id].config.clone())
        };
        Config {
            timeouts: self.watched.model.timeouts,
            services: self.watched.model.file.iter().filter_map(facts).collect(),
        }
    }

    fn next_at(&self) -> Option<Moment> {
        let deadline = self
            .watched
            .supervisor
            .poll_timeout()
            .map(|deadline| deadline.at);
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
        let deadline = self.watched.supervisor.poll_timeout();
        if deadline.is_none_or(|deadline| deadline.at > self.now) {
            return Ok(());
        }
        self.watched.time_out(self.now, &mut self.kernel)
    }

    fn tell(&mut self, event: Event) -> Result<(), Failure> {
        self.watched.tell(event, self.now, &mut self.kernel)
    }

    /// Nothing goes wrong any more, and everything is asked to be up.
    fn converge(&mut self) -> Result<(), Failure> {
        let rounds = self.watched.model.services.len() + 3;
        for _ in 0..rounds {
            if self.watched.model.down.is_some() {
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
            while self.watched.model.requests.contains_key(&client)
                && self.watched.model.down.is_none()
            {
                if self.now > until {
                    let words = format!(
                        "no answer to {:?}",
                        self.watched.model.requests[&client].request
                    );
                    return Err(failure(CONVERGES.0, CONVERGES.1, words));
                }
                self.advance()?;
            }
            // Whoever is in the middle of something gets there before the next one asks.
            let until = self.now.after(Duration::from_secs(10));
            while self.now < until && self.watched.model.down.is_none() {
                self.advance()?;
            }
        }
        let missing = self.not_up();
        match missing.is_empty() || self.watched.model.down.is_some() {
            true => Ok(()),
            false => {
                let words = format!("{missing:?} do not come up: {:?}", self.watched.last_reply);
                Err(failure(CONVERGES.0, CONVERGES.1, words))
            }
        }
    }

    /// Who should be up and is not; one that comes and goes is not asked.
    fn not_up(&self) -> Vec<String> {
        let up = |id: &ServiceId| {
            let facts = &self.watched.model.services[id];
            facts.state == State::Running || facts.completed_at.is_some()
        };
        let should = |id: &ServiceId| {
            let config = &self.watched.model.services[id].config;
            config.enabled && !plan::flaps(config)
        };
        let ids = self
            .watched
            .model
            .file
            .iter()
            .filter_map(|name| self.watched.model.find(name));
        let missing = ids.filter(|id| should(id) && !up(id));
        missing
            .map(|id| self.watched.model.name(id).to_owned())
            .collect()
    }

    fn end(&mut self) -> Result<(), Failure> {
        if self.watched.model.exit.is_none() {
            self.tell(Event::ShutdownSignal(Signal::TERM))?;
        }
        let more = self.rng.below(3);
        for _ in 0..more {
            if self.rng.chance(100) {
                let again = *self.rng.pick(&[Signal::TERM, Signal::INT]);
                self.interrupt(Event::ShutdownSignal(again))?;
            }
        }
        let Some(down) = &self.watched.model.down else {
            return Err(failure(ENDS.0, ENDS.1, "SIGTERM was not heard"));
        };
        let bound = self.now.max(down.bound).after(SLACK);
        while self.watched.model.exit.is_none() {
            if self.now > bound || self.next_at().is_none() {
                let words = format!("no end by {:?}", self.now);
                return Err(failure(ENDS.0, ENDS.1, words));
            }
            self.advance()?;
        }
        // Whatever comes afterwards is not heard.
        self.tell(Event::ShutdownSignal(Signal::TERM))
    }

    /// Everything that helps to understand a failure.
    pub fn report(&self, failure: &Failure, steps: usize) -> String {
        let (seed, step) = (self.plan.seed, self.step);
        let Failure {
            number,
            title,
            words,
        } = failure;
        format!(
            "seed {seed}, step {step}: I{number} ({title}): {words}\n{}\
             again: make sim SEED={seed} SEEDS=1 STEPS={steps}\n",
            self.watched.report(self.now)
        )
    }
}
