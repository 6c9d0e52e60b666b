//! Which events met a service in which state: every pair is met in the sweep, or cannot be, with a reason.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use go_overlay::base::{JobId, ServiceId};
use go_overlay::config::model::Config;
use go_overlay::domain::State;
use go_overlay::supervisor::Deadline;
use go_overlay::supervisor::client::Request;
use go_overlay::supervisor::event::{Event, Role, Word};

use crate::model::Model;
use What::*;

/// An enum, and all of it.
macro_rules! kinds {
    ($($kind:ident),+ $(,)?) => {
        /// What may happen to a service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum What {
            $($kind),+
        }

        const ALL: &[What] = &[$($kind),+];
    };
}

kinds! {
    PreScriptSpawned,
    MainSpawned,
    PostScriptSpawned,
    PreScriptNotSpawned,
    MainNotSpawned,
    PostScriptNotSpawned,
    PreScriptEnded,
    MainEnded,
    PostScriptEnded,
    PreScriptEndedUnexecuted,
    MainEndedUnexecuted,
    PostScriptEndedUnexecuted,
    CheckPassed,
    CheckFailed,
    SaysReady,
    SaysNeverReady,
    SaysStatus,
    SaysStopping,
    SaysAlive,
    SaysTrouble,
    SaysAliveWithin,
    SaysExtend,
    SaysMainPid,
    TimeIsUp,
    StartAsked,
    StopAsked,
    RestartAsked,
    SignalAsked,
    WaitAsked,
    FileKeepsIt,
    FileChangesIt,
    FileDropsIt,
    ShutdownSignalled,
    ShutdownAsked,
    ClientWentAway,
}

/// What cannot be, and why.
const IMPOSSIBLE: [(&[What], &[State], &str); 9] = [
    (
        &[PreScriptSpawned, PreScriptNotSpawned],
        &[State::Running, State::Stopped, State::Failed],
        "a pre-script lives while its service is STARTING, or STOPPING because of it",
    ),
    (
        &[MainSpawned, MainNotSpawned],
        &[State::Running, State::Stopped, State::Failed],
        "a program is executed on the way up only, and these states have none that is not",
    ),
    (
        &[PostScriptSpawned, PostScriptNotSpawned],
        &[State::Starting],
        "a new start waits for the end of the last post-script",
    ),
    (
        &[PreScriptEnded, PreScriptEndedUnexecuted],
        &[
            State::Pending,
            State::Running,
            State::Stopped,
            State::Failed,
        ],
        "a pre-script lives while its service is STARTING, or STOPPING because of it",
    ),
    (
        &[MainEndedUnexecuted],
        &[State::Running],
        "a program is executed before its service is RUNNING",
    ),
    (
        &[MainEnded, MainEndedUnexecuted],
        &[State::Pending, State::Stopped, State::Failed],
        "these states have no program (I19)",
    ),
    (
        &[PostScriptEnded, PostScriptEndedUnexecuted],
        &[State::Starting],
        "a new start waits for the end of the last post-script",
    ),
    (
        &[CheckPassed, CheckFailed],
        &[
            State::Pending,
            State::Stopping,
            State::Stopped,
            State::Failed,
        ],
        "a check ends with its program, and an answer that comes later belongs to nobody",
    ),
    (
        &[
            SaysReady,
            SaysNeverReady,
            SaysStatus,
            SaysStopping,
            SaysAlive,
            SaysTrouble,
            SaysAliveWithin,
            SaysExtend,
            SaysMainPid,
        ],
        &[State::Pending, State::Stopped, State::Failed],
        "these states have no program, and words of one that is gone belong to nobody",
    ),
];

#[derive(Default)]
pub struct Coverage(BTreeSet<(What, State)>);

impl Coverage {
    pub fn event(&mut self, model: &Model, event: &Event) {
        match event {
            Event::Spawned { job, .. } => {
                let whats = [PreScriptSpawned, MainSpawned, PostScriptSpawned];
                self.of_job(model, *job, whats);
            }
            Event::SpawnFailed { job, .. } => {
                let whats = [PreScriptNotSpawned, MainNotSpawned, PostScriptNotSpawned];
                self.of_job(model, *job, whats);
            }
            Event::Exited { job, .. } => {
                let executed = model.jobs.get(job).is_some_and(|job| job.pid.is_some());
                let whats = match executed {
                    true => [PreScriptEnded, MainEnded, PostScriptEnded],
                    false => [
                        PreScriptEndedUnexecuted,
                        MainEndedUnexecuted,
                        PostScriptEndedUnexecuted,
                    ],
                };
                self.of_job(model, *job, whats);
            }
            Event::Checked { job, result } => {
                let what = if result.is_ok() {
                    CheckPassed
                } else {
                    CheckFailed
                };
                self.meet(model, what, model.checks.get(job).copied());
            }
            Event::Said { job, word } => {
                let what = match word {
                    Word::Ready => SaysReady,
                    Word::NeverReady(_) => SaysNeverReady,
                    Word::Status(_) => SaysStatus,
                    Word::Stopping => SaysStopping,
                    Word::Alive => SaysAlive,
                    Word::Trouble => SaysTrouble,
                    Word::AliveWithin(_) => SaysAliveWithin,
                    Word::ExtendTimeout(_) => SaysExtend,
                    Word::MainPid(_) => SaysMainPid,
                };
                self.meet(model, what, model.jobs.get(job).map(|job| job.service));
            }
            Event::Request { request, .. } => self.request(model, request),
            Event::Reload(config) => self.reload(model, config),
            Event::ShutdownSignal(_) => self.meet_all(model, ShutdownSignalled),
            Event::ClientGone { client } => {
                let targets = model.requests.get(client).map(|open| open.targets.clone());
                self.meet(model, ClientWentAway, targets.unwrap_or_default());
            }
            Event::Boot
            | Event::ChildrenGone
            | Event::ForwardSignal { .. }
            | Event::Unable { .. } => {}
        }
    }

    pub fn timeout(&mut self, model: &Model, due: Option<Deadline>) {
        self.meet(model, TimeIsUp, due.and_then(|due| due.service));
    }

    pub fn add(&mut self, other: &Coverage) {
        self.0.extend(&other.0);
    }

    fn of_job(&mut self, model: &Model, job: JobId, [pre, main, post]: [What; 3]) {
        if let Some(job) = model.jobs.get(&job) {
            let what = match job.role {
                Role::PreScript => pre,
                Role::Main => main,
                Role::PostScript => post,
                Role::Check => return,
            };
            self.meet(model, what, Some(job.service));
        }
    }

    fn request(&mut self, model: &Model, request: &Request) {
        let (what, names) = match request {
            Request::Start(selection) => (StartAsked, selection.services.clone()),
            Request::Stop(selection) => (StopAsked, selection.services.clone()),
            Request::Restart(selection) => (RestartAsked, selection.services.clone()),
            Request::Signal { service, .. } => (SignalAsked, vec![service.clone()]),
            Request::Wait { service, .. } => (WaitAsked, vec![service.clone()]),
            Request::Shutdown { .. } => return self.meet_all(model, ShutdownAsked),
        };
        self.meet(
            model,
            what,
            names.iter().filter_map(|name| model.find(name)),
        );
    }

    fn reload(&mut self, model: &Model, config: &Config) {
        for name in &model.file {
            let Some(id) = model.find(name) else { continue };
            let new = config.services.iter().find(|new| new.name == *name);
            let what = match new {
                None => FileDropsIt,
                Some(new) if *new == model.services[&id].config => FileKeepsIt,
                Some(_) => FileChangesIt,
            };
            self.meet(model, what, Some(id));
        }
    }

    fn meet_all(&mut self, model: &Model, what: What) {
        self.meet(model, what, model.services.keys().copied());
    }

    fn meet(&mut self, model: &Model, what: What, ids: impl IntoIterator<Item = ServiceId>) {
        let facts = ids.into_iter().filter_map(|id| model.services.get(&id));
        self.0.extend(facts.map(|facts| (what, facts.state)));
    }

    /// What is neither met nor explained, and what is met though it cannot be; then the number that was met.
    pub fn gaps(&self) -> Result<usize, String> {
        let mut text = String::new();
        for &what in ALL {
            for state in State::ALL {
                let why = IMPOSSIBLE
                    .iter()
                    .find(|(whats, states, _)| whats.contains(&what) && states.contains(&state));
                match (self.0.contains(&(what, state)), why) {
                    (true, None) | (false, Some(_)) => {}
                    (false, None) => {
                        let _ = writeln!(text, "never met: {what:?} in {state}");
                    }
                    (true, Some((.., why))) => {
                        let _ = writeln!(text, "met: {what:?} in {state}, though {why}");
                    }
                }
            }
        }
        match text.is_empty() {
            true => Ok(self.0.len()),
            false => Err(text),
        }
    }
}
