//! One service: what is wanted of it is kept apart from what it is doing. Data stands only where it
//! is valid: a process id only in the phases that have a process.

use std::rc::Rc;
use std::time::Duration;

use crate::base::{ExitStatus, JobId, Moment, Pid, ServiceId};
use crate::config::model::{self, Condition};
use crate::domain::{Cause, FailReason, Failure, NeverReady, State, StopReason};

use super::check::Check;

/// A slab entry.
#[derive(Debug)]
pub(super) struct Service {
    /// Its own; a stale one has the same slot and another generation.
    pub id: ServiceId,
    pub config: Rc<model::Service>,
    pub dependencies: Vec<Edge>,
    pub dependents: Vec<ServiceId>,
    pub phase: Phase,
    pub post: Post,
    pub changed_at: Moment,
    /// How often its main program was executed.
    pub starts: u32,
    /// When it last was.
    pub executed_at: Moment,
    pub last_exit: Option<ExitStatus>,
    /// Restarts by policy since it was last told to start, or completed. Read through
    /// `attempts_spent`, which knows that being up long enough clears them.
    pub attempts: u32,
    /// Its health check; only while its program runs.
    pub check: Option<Check>,
    /// What it said about itself; only while its program runs.
    pub said: Said,
    /// It is up, and goes down as soon as what depends on it and goes down too has ended.
    pub pending_stop: Option<PendingStop>,
    /// What last brought it up, or kept it up, since the last stop.
    pub raised_by: Option<Cause>,
    /// It is not in the configuration any more: it leaves the table once it is down.
    pub leaving: bool,
    /// It came with a reload that others leave with: it starts when they are gone, for it may be one of
    /// them under another name.
    pub after_leaving: bool,
    /// The entry in the supervisor's set of deadlines.
    pub deadline: Option<Moment>,
    /// Whether it is in the supervisor's queue.
    pub queued: bool,
}

/// What a running program said about itself.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// `STATUS=`.
    pub status: Option<String>,
    /// It ends by itself: it is not to be disturbed.
    pub stopping: bool,
    /// It cannot say any more that it is ready, and why.
    pub never_ready: Option<NeverReady>,
    pub watchdog: Option<Watchdog>,
}

/// A program that has to say now and then that it is alive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watchdog {
    pub period: Duration,
    pub last: Moment,
    /// Its patience ends no sooner than this, where it asked for more.
    pub extended: Moment,
}

impl Watchdog {
    pub fn new(period: Duration, now: Moment) -> Watchdog {
        Watchdog {
            period,
            last: now,
            extended: now,
        }
    }

    /// It is alive: its period begins again.
    pub fn feed(&mut self, now: Moment) {
        *self = Watchdog::new(self.period, now);
    }

    pub fn deadline(self) -> Moment {
        self.last.after(self.period).max(self.extended)
    }
}

/// One dependency, by slot.
#[derive(Debug)]
pub(super) struct Edge {
    pub on: ServiceId,
    pub condition: Condition,
    pub wait_after: Duration,
}

/// Where a service is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    /// Waits for its dependencies. `asked`: it was asked to start, and fails when a dependency is stopped meanwhile;
    /// one that its policy starts again waits on.
    Pending { since: Moment, asked: bool },
    /// On its way to be RUNNING.
    Starting { job: JobId, step: Step },
    /// Its program runs.
    Running { job: JobId, pid: Pid, since: Moment },
    /// It was told to end. `job` is its main program or pre-script.
    Stopping {
        job: JobId,
        pid: Option<Pid>,
        asked_at: Moment,
        escalation: Escalation,
        after: AfterStop,
    },
    /// It ended as it should, or was never started.
    Stopped(StopReason),
    /// It ended as it should not; `code` is what the system exits with when it was required and no
    /// restart follows.
    Failed {
        failure: Failure,
        code: u8,
        restart_at: Option<Moment>,
        /// It failed because a dependency did.
        by_dependency: bool,
    },
}

/// How far a start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Its pre-script runs, or is not executed yet; at `execute_by` that has taken too long.
    PreScript { execute_by: Option<Moment> },
    /// Its program is not executed yet; at `until` that has taken too long.
    Executing { until: Moment },
    /// Its program runs and is not ready.
    Readying { pid: Pid, until: Moment },
}

/// How far the daemon went to end a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escalation {
    /// It was sent a stop signal that SIGCONT may follow. At the first moment it gets that, at the second SIGKILL.
    Asked {
        continue_at: Moment,
        kill_at: Moment,
    },
    /// Nothing but SIGKILL is to come.
    Continued { kill_at: Moment },
    /// It was sent SIGKILL, after this time.
    Killed { waited: Duration },
}

impl Escalation {
    /// When more has to be done.
    pub fn deadline(self) -> Option<Moment> {
        match self {
            Escalation::Asked {
                continue_at,
                kill_at,
            } => Some(continue_at.min(kill_at)),
            Escalation::Continued { kill_at } => Some(kill_at),
            Escalation::Killed { .. } => None,
        }
    }

    /// How long it was given before SIGKILL; None where that was not needed.
    pub fn killed(self) -> Option<Duration> {
        match self {
            Escalation::Asked { .. } | Escalation::Continued { .. } => None,
            Escalation::Killed { waited } => Some(waited),
        }
    }
}

/// What follows when a service that was told to end has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AfterStop {
    Stay,
    Restart,
    /// It was found wanting: that was its failure, not how it ended.
    Fail(Rc<RunningFailure>),
    /// It stays down because this dependency failed.
    Follow(Rc<str>),
    /// It starts again because this dependency failed, and waits for that as at boot.
    FollowAndRestart(Rc<str>),
}

/// How a service that is up goes down in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PendingStop {
    Stay,
    Restart,
}

/// Why a process that lives has failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RunningFailure {
    pub reason: FailReason,
    /// A restart follows also where there is no policy.
    pub restarts: bool,
}

/// The post-script of the present run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Post {
    None,
    Due {
        at: Moment,
    },
    Running {
        job: JobId,
        /// It is not executed yet; at this moment that has taken too long. None once it was cancelled.
        execute_by: Option<Moment>,
        kill_at: Option<Moment>,
        cancelled: bool,
    },
}

impl Post {
    pub fn deadline(self) -> Option<Moment> {
        match self {
            Post::None => None,
            Post::Due { at } => Some(at),
            Post::Running {
                execute_by,
                kill_at,
                ..
            } => kill_at.or(execute_by),
        }
    }

    /// Whether it was sent SIGKILL; its end is to come.
    pub fn is_killed(self) -> bool {
        matches!(
            self,
            Post::Running {
                kill_at: None,
                cancelled: true,
                ..
            }
        )
    }

    pub fn job(self) -> Option<JobId> {
        match self {
            Post::Running { job, .. } => Some(job),
            Post::None | Post::Due { .. } => None,
        }
    }
}

impl From<PendingStop> for AfterStop {
    fn from(stop: PendingStop) -> AfterStop {
        match stop {
            PendingStop::Stay => AfterStop::Stay,
            PendingStop::Restart => AfterStop::Restart,
        }
    }
}

impl Service {
    pub fn new(id: ServiceId, config: model::Service, now: Moment) -> Service {
        let reason = if config.enabled {
            StopReason::NotStarted
        } else {
            StopReason::Disabled
        };
        Service {
            id,
            config: Rc::new(config),
            dependencies: Vec::new(),
            dependents: Vec::new(),
            phase: Phase::Stopped(reason),
            post: Post::None,
            changed_at: now,
            starts: 0,
            executed_at: now,
            last_exit: None,
            attempts: 0,
            check: None,
            said: Said::default(),
            pending_stop: None,
            raised_by: None,
            leaving: false,
            after_leaving: false,
            deadline: None,
            queued: false,
        }
    }

    /// Whether a process of it may be alive, its post-script aside.
    pub fn is_active(&self) -> bool {
        match self.phase {
            Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping { .. } => true,
            Phase::Pending { .. } | Phase::Stopped(_) | Phase::Failed { .. } => false,
        }
    }
}

impl Phase {
    pub fn state(&self) -> State {
        match self {
            Phase::Pending { .. } => State::Pending,
            Phase::Starting { .. } => State::Starting,
            Phase::Running { .. } => State::Running,
            Phase::Stopping { .. } => State::Stopping,
            Phase::Stopped(_) => State::Stopped,
            Phase::Failed { .. } => State::Failed,
        }
    }

    pub fn pid(&self) -> Option<Pid> {
        match self {
            Phase::Running { pid, .. }
            | Phase::Starting {
                step: Step::Readying { pid, .. },
                ..
            } => Some(*pid),
            Phase::Stopping { pid, .. } => *pid,
            Phase::Pending { .. }
            | Phase::Starting { .. }
            | Phase::Stopped(_)
            | Phase::Failed { .. } => None,
        }
    }

    /// Its main program, while that runs and nobody has told it to end.
    pub fn program(&self) -> Option<JobId> {
        match self {
            Phase::Running { job, .. }
            | Phase::Starting {
                job,
                step: Step::Readying { .. },
            } => Some(*job),
            Phase::Pending { .. }
            | Phase::Starting { .. }
            | Phase::Stopping { .. }
            | Phase::Stopped(_)
            | Phase::Failed { .. } => None,
        }
    }

    /// When its policy starts it again; None where that is not to come.
    pub fn restart_at(&self) -> Option<Moment> {
        match self {
            Phase::Failed { restart_at, .. }
            | Phase::Stopped(StopReason::Completed { restart_at, .. }) => *restart_at,
            Phase::Pending { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping { .. }
            | Phase::Stopped(_) => None,
        }
    }

    /// Whether it has a process and is not on its way down.
    pub fn is_up_or_starting(&self) -> bool {
        matches!(self, Phase::Starting { .. } | Phase::Running { .. })
    }

    /// Whether it is on its way down, to stay there.
    pub fn is_stopping_for_good(&self) -> bool {
        matches!(
            self,
            Phase::Stopping {
                after: AfterStop::Stay | AfterStop::Follow(_),
                ..
            }
        )
    }

    /// Whether it is down and stays so until somebody starts it.
    pub fn is_final(&self) -> bool {
        matches!(self, Phase::Stopped(_) | Phase::Failed { .. }) && self.restart_at().is_none()
    }
}

/// The legal edges of the state diagram; staying is always legal.
pub(super) fn is_legal(from: State, to: State) -> bool {
    use State::{Failed, Pending, Running, Starting, Stopped, Stopping};
    from == to
        || matches!(
            (from, to),
            (Stopped | Failed | Stopping, Pending)
                | (Pending, Starting | Stopped | Failed)
                | (Starting, Running | Failed | Stopping)
                | (Running, Stopped | Failed | Stopping)
                | (Stopping, Failed)
                | (Stopping | Failed, Stopped)
        )
}
