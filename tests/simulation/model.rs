//! The reference: what may and must be true, drawn only from the configuration, from what went in and from
//! what came out. It shares no code with the supervisor, and where it cannot know it says so: two bounds
//! instead of a number, `may` instead of `must`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use go_overlay::base::{ClientId, ExitStatus, JobId, Moment, Pid, ServiceId, Signal};
use go_overlay::config::model::{Condition, Config, Service, Timeouts};
use go_overlay::domain::State;
use go_overlay::supervisor::client::Request;
use go_overlay::supervisor::event::Role;
use go_overlay::supervisor::view::Detail;

use crate::reference::{Standing, Window};

#[derive(Debug)]
pub struct Model {
    pub now: Moment,
    pub timeouts: Timeouts,
    /// The names in the order of the file.
    pub file: Vec<String>,
    pub main_program: Option<ServiceId>,
    pub services: BTreeMap<ServiceId, Facts>,
    /// Children that were asked for and whose end was not told.
    pub jobs: BTreeMap<JobId, Job>,
    pub checks: BTreeMap<JobId, ServiceId>,
    /// Requests without an answer.
    pub requests: BTreeMap<ClientId, Open>,
    pub down: Option<Down>,
    pub exit: Option<u8>,
    /// Identifiers of services that left the table: nobody gets them again.
    pub forgotten: BTreeSet<ServiceId>,
    /// Of the present input.
    pub turn: Turn,
}

/// What is known of the input that is being handled.
#[derive(Debug, Default)]
pub struct Turn {
    pub kind: Kind,
    pub actions: usize,
    pub culprit: Option<ServiceId>,
    /// They follow a dependency that failed: each has to be told to end in this turn.
    pub followers: Vec<ServiceId>,
    pub told_to_end: BTreeSet<ServiceId>,
    /// Their end was told in this turn, perhaps after a signal for them was decided on.
    pub over: BTreeSet<JobId>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Other,
    Timeout,
    /// Somebody asked for something.
    Asked,
    /// There is another configuration.
    Reload,
    /// A request for the end with this exit code.
    End(Option<u8>),
    Signal,
}

#[derive(Debug)]
pub struct Job {
    pub service: ServiceId,
    pub role: Role,
    /// When it was asked for.
    pub since: Moment,
    pub pid: Option<Pid>,
    /// When it was told to end, and how long it has for that.
    pub told: Option<(Moment, Duration)>,
    /// SIGCONT may follow the signal that told it.
    pub may_be_continued: bool,
    /// It was sent SIGCONT after that.
    pub continued: bool,
    pub killed: bool,
}

/// Whoever has not ended so long after its stop signal gets SIGCONT; post-scripts do not.
pub const CONTINUE_AFTER: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Edge {
    pub on: ServiceId,
    pub condition: Condition,
    pub wait_after: Duration,
}

/// Whether somebody wants it to be up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Up,
    Down,
    May,
}

#[derive(Debug)]
pub struct Facts {
    pub config: Service,
    pub edges: Vec<Edge>,
    pub leaving: bool,
    /// It came with a reload while others were leaving, and has not started yet.
    pub after_leaving: bool,
    pub state: State,
    pub since: Moment,
    pub completed_at: Option<Moment>,
    pub last_exit: Option<ExitStatus>,
    /// What its next failure stands for as an exit code.
    pub code: u8,
    pub unstartable: bool,
    pub pre_script_done: bool,
    pub health: Option<Standing>,
    pub watchdog: Option<(Duration, Moment)>,
    /// No bound of its program ends before this.
    pub extended: Moment,
    pub ready_until: Option<Moment>,
    pub post_due: Option<Moment>,
    /// Why it was told to end.
    pub stop_detail: Detail,
    pub restarts_regardless: bool,
    pub restart: Option<Window>,
    /// Attempts in a row: at least, at most.
    pub attempts: (u32, u32),
    pub wanted: Wanted,
    /// It may be about to be restarted as soon as its dependents are down.
    pub maybe_again: bool,
    /// It may be about to be stopped as soon as its dependents are down.
    pub maybe_stop: bool,
    /// It certainly goes down as soon as its dependents that go too are down.
    pub going: bool,
    /// It waits because it was asked to start: a dependency that is stopped fails it.
    pub asked: bool,
    /// A reload changed what its process was started with.
    pub outdated: bool,
}

/// A request without an answer.
#[derive(Debug)]
pub struct Open {
    pub request: Request,
    pub targets: Vec<ServiceId>,
    pub deadline: Option<Moment>,
    /// It cannot be carried out: an error is the answer.
    pub refused: bool,
}

#[derive(Debug)]
pub struct Down {
    pub bound: Moment,
    pub killing_at: Option<Moment>,
    pub swept: Option<(Moment, Signal)>,
    pub code: u8,
    pub main_decides: bool,
    /// Somebody asked for it with a signal: the next one means it.
    pub signalled: bool,
    /// A second signal has come.
    pub insisted: bool,
}

impl Facts {
    pub fn new(config: Service, now: Moment) -> Facts {
        let wanted = match config.enabled {
            true => Wanted::May,
            false => Wanted::Down,
        };
        Facts {
            config,
            edges: Vec::new(),
            leaving: false,
            after_leaving: false,
            state: State::Stopped,
            since: now,
            completed_at: None,
            last_exit: None,
            code: 1,
            unstartable: false,
            pre_script_done: false,
            health: None,
            watchdog: None,
            extended: Moment(0),
            ready_until: None,
            post_due: None,
            stop_detail: Detail::Nothing,
            restarts_regardless: false,
            restart: None,
            attempts: (0, 0),
            wanted,
            maybe_again: false,
            maybe_stop: false,
            going: false,
            asked: false,
            outdated: false,
        }
    }

    pub fn is_active(&self) -> bool {
        matches!(
            self.state,
            State::Starting | State::Running | State::Stopping
        )
    }

    pub fn is_up_or_starting(&self) -> bool {
        matches!(self.state, State::Starting | State::Running)
    }

    /// Whether others that go down wait for it.
    pub fn is_in_the_way(&self) -> bool {
        let goes = self.leaving || self.going || self.state == State::Stopping;
        self.is_active() && goes
    }

    pub fn forget_program(&mut self) {
        self.health = None;
        self.watchdog = None;
        self.ready_until = None;
    }
}

impl Model {
    pub fn new(
        config: &Config,
        main_program: Option<&Service>,
        ids: &[(ServiceId, String)],
    ) -> Model {
        let mut model = Model {
            now: Moment(0),
            timeouts: config.timeouts,
            file: config.services.iter().map(|new| new.name.clone()).collect(),
            main_program: None,
            services: BTreeMap::new(),
            jobs: BTreeMap::new(),
            checks: BTreeMap::new(),
            requests: BTreeMap::new(),
            down: None,
            exit: None,
            forgotten: BTreeSet::new(),
            turn: Turn::default(),
        };
        for (id, name) in ids {
            let config = config.services.iter().find(|config| config.name == *name);
            if config.is_none() {
                model.main_program = Some(*id);
            }
            if let Some(config) = config.or(main_program) {
                model
                    .services
                    .insert(*id, Facts::new(config.clone(), Moment(0)));
            }
        }
        model.draw_edges();
        model
    }

    pub fn name(&self, id: ServiceId) -> &str {
        self.services
            .get(&id)
            .map_or("a stranger", |facts| facts.config.name.as_str())
    }

    pub fn find(&self, name: &str) -> Option<ServiceId> {
        let found = self.services.iter().find(|(id, facts)| {
            facts.config.name == name && !facts.leaving && Some(**id) != self.main_program
        });
        found.map(|(id, _)| *id)
    }

    /// The processes of a service that live or were asked for.
    pub fn jobs_of(&self, id: ServiceId) -> impl Iterator<Item = (&JobId, &Job)> {
        self.jobs.iter().filter(move |(_, job)| job.service == id)
    }

    /// The process that its state is about: main program or pre-script.
    pub fn leading_job(&self, id: ServiceId) -> Option<(&JobId, &Job)> {
        self.jobs_of(id)
            .find(|(_, job)| matches!(job.role, Role::Main | Role::PreScript))
    }

    pub fn post_job(&self, id: ServiceId) -> Option<&Job> {
        self.jobs_of(id)
            .find(|(_, job)| job.role == Role::PostScript)
            .map(|(_, job)| job)
    }

    pub fn dependents(&self, id: ServiceId) -> impl Iterator<Item = (ServiceId, &Facts)> {
        self.services
            .iter()
            .filter(move |(_, facts)| facts.edges.iter().any(|edge| edge.on == id))
            .map(|(id, facts)| (*id, facts))
    }

    /// Whoever depends on it, directly or not, and is in the way of its end.
    pub fn in_the_way(&self, id: ServiceId, holds: fn(&Facts) -> bool) -> Option<&Facts> {
        let mut seen = BTreeSet::from([id]);
        let mut walk = vec![id];
        while let Some(at) = walk.pop() {
            for (dependent, facts) in self.dependents(at) {
                if holds(facts) {
                    return Some(facts);
                }
                if seen.insert(dependent) {
                    walk.push(dependent);
                }
            }
        }
        None
    }

    pub fn someone_leaves(&self) -> bool {
        self.services.values().any(|facts| facts.leaving)
    }

    pub fn grace(&self, id: ServiceId) -> Duration {
        let own = self
            .services
            .get(&id)
            .and_then(|facts| facts.config.stop_timeout);
        own.unwrap_or(self.timeouts.service_shutdown)
    }

    pub fn draw_edges(&mut self) {
        let ids: BTreeMap<String, ServiceId> = self
            .services
            .iter()
            .filter(|(id, facts)| !facts.leaving && Some(**id) != self.main_program)
            .map(|(id, facts)| (facts.config.name.clone(), *id))
            .collect();
        let there: BTreeSet<ServiceId> = self.services.keys().copied().collect();
        let enabled: Vec<ServiceId> = ids
            .values()
            .filter(|id| self.services[*id].config.enabled)
            .copied()
            .collect();
        for (id, facts) in &mut self.services {
            if facts.leaving {
                facts.edges.retain(|edge| there.contains(&edge.on));
            } else if Some(*id) == self.main_program {
                let edge = |on: &ServiceId| Edge {
                    on: *on,
                    condition: Condition::Started,
                    wait_after: Duration::ZERO,
                };
                facts.edges = enabled.iter().map(edge).collect();
            } else {
                let named = facts.config.depends_on.iter();
                let edges = named.filter_map(|dependency| {
                    Some(Edge {
                        on: *ids.get(&dependency.on)?,
                        condition: dependency.condition,
                        wait_after: dependency.wait_after,
                    })
                });
                facts.edges = edges.collect();
            }
        }
    }

    pub fn begin_turn(&mut self, kind: Kind, now: Moment) {
        self.now = now;
        self.turn = Turn {
            kind,
            ..Turn::default()
        };
    }
}
