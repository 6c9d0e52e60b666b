//! Small worlds: a few services, a handful of events, and every order in which these can come, found by
//! breadth-first search over states. In each state each invariant is looked at, and from none of them may the
//! end be out of reach.

mod lab;
mod worlds;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use go_overlay::base::{ClientId, Moment, Signal};
use go_overlay::supervisor::event::Event;

use crate::digest::digest;
use crate::number;
use crate::watched::{self, Watched, failure};
use lab::{Lab, Spawns};
use worlds::{ATTEMPTS, Small, config};

/// States of each world that are looked at in the short form; `make worlds` looks at more.
const STATES: usize = 1000;

/// When nothing is due, so much time passes at once: more than any bound in these worlds.
const AGES: Duration = Duration::from_secs(60);

/// One thing that happens.
#[derive(Clone, Debug)]
struct Step {
    what: What,
    /// What comes of the spawns that follow.
    spawns: Spawns,
}

#[derive(Clone, Debug)]
enum What {
    Heard(Event),
    /// The deadline comes, and is not looked at yet.
    DeadlineComes,
    TimerIsSeen,
    AgesPass,
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
        (self.lab.spawns, self.lab.spawned) = (step.spawns, false);
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
                let last = matches!(event, Event::Exited { .. } | Event::SpawnFailed { .. })
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
            spawns: Spawns::AtOnce,
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
            if place.lab.spawned && small.refusals && step.spawns == Spawns::AtOnce {
                open.extend([Spawns::Late, Spawns::Never].map(|spawns| Step {
                    spawns,
                    ..step.clone()
                }));
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

#[test]
fn every_order_of_events_in_a_small_world() {
    let limit = number("STATES").map_or(STATES, |states| states as usize);
    let begun = Instant::now();
    let (mut states, mut steps) = (0, 0);
    let only = std::env::var("WORLD").unwrap_or_default();
    for small in worlds::worlds()
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
