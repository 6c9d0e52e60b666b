//! The supervisor with somebody who watches: what goes in and comes out is shown to the reference, and after
//! every input each invariant is looked at.

use std::collections::VecDeque;
use std::fmt::Write as _;

use go_overlay::api::words::Words;
use go_overlay::base::{JobId, Moment, ServiceId};
use go_overlay::config::model::{Config, Service};
use go_overlay::supervisor::Supervisor;
use go_overlay::supervisor::client::{Request, Response};
use go_overlay::supervisor::event::{Action, Event};

use crate::clocks::Clocks;
use crate::coverage::Coverage;
use crate::invariants::{OF_ACTIONS, OF_THE_WHOLE, OfAction, OfWhole, View};
use crate::model::{Kind, Model};
use crate::plan;

/// So many of the last lines are shown with a failure.
const SHOWN: usize = 60;

/// What the supervisor acts upon.
pub trait World {
    /// Does what was asked for; the answer, where that has to be given at once.
    fn perform(&mut self, action: &Action, supervisor: &Supervisor, now: Moment) -> Option<Event>;

    /// Whether a process lives, and could have been ended.
    fn lives(&self, job: JobId) -> bool;
}

pub struct Watched {
    pub supervisor: Supervisor,
    pub clocks: Clocks,
    pub model: Model,
    pub last_reply: Option<Response>,
    /// Everything, where it was asked for.
    pub trace: Option<String>,
    pub coverage: Coverage,
    /// What happens is known to be right: it was looked at before.
    pub blind: bool,
    last: VecDeque<Line>,
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

pub fn failure(number: u32, title: &'static str, words: impl Into<String>) -> Failure {
    Failure {
        number,
        title,
        words: words.into(),
    }
}

fn ids_of(supervisor: &Supervisor) -> Vec<(ServiceId, String)> {
    let name = |id: ServiceId| supervisor.config(id).map(|config| config.name.clone());
    supervisor
        .ids()
        .map(|id| (id, name(id).unwrap_or_default()))
        .collect()
}

impl Watched {
    pub fn new(config: &Config, main_program: Option<&Service>, jitter_seed: u64) -> Watched {
        let clocks = Clocks::default();
        let supervisor =
            Supervisor::new(config.clone(), main_program.cloned(), clocks.at(Moment(0)))
                .with_seed(jitter_seed);
        Watched {
            model: Model::new(config, main_program, &ids_of(&supervisor)),
            supervisor,
            clocks,
            last_reply: None,
            trace: None,
            coverage: Coverage::default(),
            blind: false,
            last: VecDeque::with_capacity(SHOWN + 1),
        }
    }

    /// Something happens.
    pub fn tell(
        &mut self,
        event: Event,
        now: Moment,
        world: &mut dyn World,
    ) -> Result<(), Failure> {
        let kind = match &event {
            Event::Request {
                request: Request::Shutdown { exit_code },
                ..
            } => Kind::End(*exit_code),
            Event::Request { .. } => Kind::Asked,
            Event::Reload(_) => Kind::Reload,
            Event::ShutdownSignal(_) => Kind::Signal,
            Event::Unable { .. } => Kind::End(Some(1)),
            _ => Kind::Other,
        };
        self.model.begin_turn(kind, now);
        let reload = match &event {
            Event::Reload(config) if self.model.down.is_none() => Some(config.clone()),
            _ => None,
        };
        self.put_in(event, now);
        if let Some(config) = reload {
            self.model.adopt(&ids_of(&self.supervisor), &config);
        }
        self.drain(now, world)?;
        self.sweep(world)
    }

    /// The timer goes off.
    pub fn time_out(&mut self, now: Moment, world: &mut dyn World) -> Result<(), Failure> {
        self.model.begin_turn(Kind::Timeout, now);
        self.note(Line::Timeout(now));
        let due = self.supervisor.poll_timeout();
        self.coverage.timeout(&self.model, due);
        self.supervisor.handle_timeout(self.clocks.at(now));
        self.drain(now, world)?;
        self.sweep(world)
    }

    fn put_in(&mut self, event: Event, now: Moment) {
        self.coverage.event(&self.model, &event);
        self.note(Line::In(now, event.clone()));
        self.model.on_event(&event);
        self.supervisor.handle(event, self.clocks.at(now));
    }

    fn drain(&mut self, now: Moment, world: &mut dyn World) -> Result<(), Failure> {
        while let Some(action) = self.supervisor.poll_action() {
            let broken = self.first_broken(world, |view| {
                let look = |(number, title, holds): &(u32, &'static str, OfAction)| {
                    let words = holds(view, &action).err()?;
                    Some(failure(*number, title, words))
                };
                OF_ACTIONS.iter().find_map(look)
            });
            self.note(Line::Out(action.clone()));
            if let Some(broken) = broken {
                return Err(broken);
            }
            if let Action::Reply { response, .. } = &action {
                self.last_reply = Some(response.clone());
            }
            let answer = world.perform(&action, &self.supervisor, now);
            self.model.on_action(&action);
            if let Some(answer) = answer {
                self.put_in(answer, now);
            }
        }
        Ok(())
    }

    fn sweep(&mut self, world: &dyn World) -> Result<(), Failure> {
        let broken = self.first_broken(world, |view| {
            let look = |(number, title, holds): &(u32, &'static str, OfWhole)| {
                let words = holds(view).err()?;
                Some(failure(*number, title, words))
            };
            OF_THE_WHOLE.iter().find_map(look)
        });
        broken.map_or(Ok(()), Err)
    }

    fn first_broken(
        &self,
        world: &dyn World,
        look: impl FnOnce(&View<'_>) -> Option<Failure>,
    ) -> Option<Failure> {
        if self.blind {
            return None;
        }
        look(&View {
            model: &self.model,
            world,
            supervisor: &self.supervisor,
        })
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
    pub fn report(&self, now: Moment) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "timeouts: {:?}", self.model.timeouts);
        for (id, facts) in &self.model.services {
            let _ = writeln!(text, "{id:?} {}", plan::summary(&facts.config));
        }
        for row in self.supervisor.list(self.clocks.at(now)) {
            let (name, state, detail) = (&row.config.name, row.state, Words(&row.detail));
            let _ = writeln!(text, "now {name} is {state} ({detail}) {:?}", row.health);
        }
        let _ = writeln!(text, "the last events:");
        for line in &self.last {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}
