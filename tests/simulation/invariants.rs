//! What must hold, numbered as in docs/TESTING.md: some of it of each action before the reference takes it
//! in, the rest after each input.

use go_overlay::base::ServiceId;
use go_overlay::supervisor::Supervisor;
use go_overlay::supervisor::event::Action;

use crate::model::{Facts, Model};
use crate::watched::World;
use crate::{of_actions, of_the_whole};

/// What is broken, in words; or nothing.
pub type Broken = Result<(), String>;

/// Everything there is to look at.
pub struct View<'a> {
    pub model: &'a Model,
    pub world: &'a dyn World,
    pub supervisor: &'a Supervisor,
}

pub type OfAction = fn(&View<'_>, &Action) -> Broken;
pub type OfWhole = fn(&View<'_>) -> Broken;

pub const OF_ACTIONS: [(u32, &str, OfAction); 14] = [
    (1, "start order", of_actions::start_order),
    (2, "stop order", of_actions::stop_order),
    (3, "one main process a service", of_actions::one_process),
    (
        4,
        "no start when going down",
        of_actions::no_start_when_down,
    ),
    (5, "the whole grace", of_actions::whole_grace),
    (6, "back-off", of_actions::back_off),
    (8, "one reply a request", of_actions::one_reply),
    (9, "nothing after Exit", of_actions::nothing_after_exit),
    (10, "nobody alive at Exit", of_actions::nobody_alive),
    (11, "exit code", of_actions::exit_code),
    (12, "legal transitions", of_actions::legal_transitions),
    (
        15,
        "signals reach whom they are for",
        of_actions::known_jobs,
    ),
    (16, "checks", of_actions::checks_one_at_a_time),
    (
        24,
        "no stop without a reason",
        of_actions::stop_has_a_reason,
    ),
];

pub const OF_THE_WHOLE: [(u32, &str, OfWhole); 11] = [
    (7, "a timer where the state waits", of_the_whole::timers),
    (8, "one reply a request", of_the_whole::all_answered),
    (13, "bounded actions", of_the_whole::bounded_actions),
    (16, "checks", of_the_whole::checks_only_of_programs),
    (17, "health", of_the_whole::health_as_the_results_say),
    (18, "leaving the table", of_the_whole::table_as_the_file),
    (
        19,
        "states and processes",
        of_the_whole::states_and_processes,
    ),
    (20, "nobody dawdles", of_the_whole::nobody_dawdles),
    (21, "dependents follow", of_the_whole::dependents_follow),
    (
        25,
        "the second signal means it",
        of_the_whole::second_signal,
    ),
    (
        26,
        "what changed is started anew",
        of_the_whole::nobody_outdated,
    ),
];

pub fn check(holds: bool, words: impl FnOnce() -> String) -> Broken {
    match holds {
        true => Ok(()),
        false => Err(words()),
    }
}

pub fn facts<'a>(view: &'a View<'_>, id: ServiceId) -> Result<&'a Facts, String> {
    let found = view.model.services.get(&id);
    found.ok_or_else(|| format!("{id:?} is in no table"))
}
