//! What anyone may see of the supervisor, as data.

use std::rc::Rc;
use std::time::Duration;

use crate::base::{ExitStatus, Pid, ServiceId};
use crate::config::model::{self, Condition};
use crate::domain::{
    Cause, CheckError, CheckFailure, FailReason, Failure, Health, Missing, Role, State, StopReason,
};

/// One row of `list`.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which service.
    pub id: ServiceId,
    /// Its configuration.
    pub config: Rc<model::Service>,
    /// Its state.
    pub state: State,
    /// What there is to say about the state.
    pub detail: Detail,
    /// Its main process.
    pub pid: Option<Pid>,
    /// Since it is RUNNING; None when it is not.
    pub uptime: Option<Duration>,
    /// Its health check's standing.
    pub health: Health,
    /// How often it was started again, by policy or by hand.
    pub restarts: u32,
    /// How its main program last ended; None before the first time.
    pub last_exit: Option<ExitStatus>,
}

/// What there is to say beside a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    Nothing,
    /// PENDING: these dependencies are not up; none: it is about to start.
    WaitingFor {
        /// The first three.
        first: Vec<Awaited>,
        /// How many more there are.
        more: usize,
    },
    /// PENDING: this dependency is up, and `wait_after` is not over.
    Settling {
        /// The dependency's name.
        name: String,
        /// The whole time.
        wait: Duration,
    },
    /// Its program or script runs, or is on its way.
    Executing {
        /// Which.
        role: Role,
        /// How long it has waited to be executed, where that is unusually long.
        waited: Option<Duration>,
    },
    /// STARTING: its program runs and is not ready.
    Readying(Missing),
    /// Its own words (`STATUS=`).
    Status(String),
    /// RUNNING: its health checks fail.
    Checks(CheckFailure),
    /// RUNNING: it reported that it ends by itself.
    EndsByItself,
    /// RUNNING: it left the configuration, and waits for its turn to be stopped.
    ToBeRemoved,
    /// STOPPING: it was sent its stop signal.
    StopSignalSent,
    /// STOPPING: it was sent SIGKILL after this time.
    Killed(Duration),
    /// STOPPING: it failed for this, and its process is ended.
    FailedRunning(FailReason),
    /// STOPPING: this dependency failed.
    Follows(Rc<str>),
    /// STOPPED.
    Stopped {
        /// Why.
        reason: StopReason,
        /// What its policy does.
        next: Option<NextAttempt>,
    },
    /// FAILED.
    Failed {
        /// Why.
        failure: Failure,
        /// What its policy does.
        next: Option<NextAttempt>,
    },
    /// It left the configuration.
    Removed,
    /// It was to be stopped, and this brought it up again.
    Overtaken(Option<Cause>),
}

/// A dependency that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Its name.
    pub name: String,
    /// It stays down until a client starts it.
    pub is_stopped: bool,
}

/// A start by policy that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextAttempt {
    /// The time until then; None where no moment is meant.
    pub left: Option<Duration>,
    /// The attempt's number, from 1; 0 where it counts as none.
    pub attempt: u32,
    /// How many attempts the policy makes; None: any number.
    pub max: Option<u32>,
}

/// `status` of the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// Services in the file.
    pub total: usize,
    /// How many are PENDING.
    pub pending: usize,
    /// How many are STARTING.
    pub starting: usize,
    /// How many are RUNNING.
    pub running: usize,
    /// How many are STOPPING.
    pub stopping: usize,
    /// How many are STOPPED.
    pub stopped: usize,
    /// How many are FAILED.
    pub failed: usize,
    /// How many have the health `unhealthy`, whatever their state.
    pub unhealthy: usize,
    /// Whether a shutdown is under way.
    pub shutting_down: bool,
    /// Since the daemon started.
    pub uptime: Duration,
}

/// `status` of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The row of `list`.
    pub row: Row,
    /// What it depends on.
    pub depends_on: Vec<Dependency>,
    /// What depends on it, by name.
    pub dependents: Vec<String>,
    /// From the stop signal to SIGKILL.
    pub stop_timeout: Duration,
    /// The attempts of its restart policy that are used up.
    pub attempts: u32,
    /// Why its last health check failed; None when it passed.
    pub check_error: Option<CheckError>,
    /// Since it is in its state.
    pub in_state: Duration,
}

/// One dependency of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The dependency's name.
    pub name: String,
    /// What is waited for.
    pub condition: Condition,
    /// Whether that holds now.
    pub met: bool,
}

/// Why not everything is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwell {
    /// A shutdown is under way.
    ShuttingDown,
    /// A service is RUNNING, and its health check does not pass; the last failure, where one was made.
    Unhealthy {
        /// The service's name.
        name: String,
        /// Its checks.
        checks: Option<CheckFailure>,
    },
    /// A service is not up.
    NotUp {
        /// The service's name.
        name: String,
        /// Its state.
        state: State,
        /// What there is to say about the state.
        detail: Detail,
    },
}

/// The enabled services and the main program, by whether they are up. A service that has completed is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many are.
    pub up: usize,
    /// Those that are not, in the order of the file.
    pub down: Vec<(String, State)>,
}

/// What a reload does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadPlan {
    /// New services, which are started if they are enabled.
    pub added: Vec<String>,
    /// Services that left the file: they are stopped and leave the table.
    pub removed: Vec<String>,
    /// Services that are started again, because their process has to know what changed.
    pub restarted: Vec<ReloadChange>,
    /// Services that go on as they are with other settings.
    pub updated: Vec<ReloadChange>,
    /// How many services are not touched.
    pub unchanged: usize,
    /// Whether `[timeouts]` changed.
    pub timeouts: bool,
}

impl ReloadPlan {
    /// How many services there are of each kind.
    pub fn counts(&self) -> ReloadCounts {
        ReloadCounts {
            added: self.added.len(),
            removed: self.removed.len(),
            restarted: self.restarted.len(),
            updated: self.updated.len(),
            unchanged: self.unchanged,
        }
    }
}

/// How many services a reload affects, by what it does to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReloadCounts {
    /// New services.
    pub added: usize,
    /// Services that left the file.
    pub removed: usize,
    /// Services that are started again.
    pub restarted: usize,
    /// Services that go on with other settings.
    pub updated: usize,
    /// Services that are not touched.
    pub unchanged: usize,
}

/// What changed about one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadChange {
    /// The service's name.
    pub name: String,
    /// The keys that changed.
    pub keys: Vec<&'static str>,
}
