//! Why something happened. Each enum is complete: a new reason is a new variant, and its words are in `api::words`.
//!
//! Names of services are kept as text, since the service may have left the configuration when the reason is shown.

use std::rc::Rc;
use std::time::Duration;

use super::Health;
use crate::base::{ExitStatus, Moment, Pid, Signal};

/// Why a service is STOPPED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// `enabled = false`.
    Disabled,
    /// The daemon has not started it yet.
    NotStarted,
    /// Exit 0, or what counts as that.
    Completed {
        /// When it ended.
        at: Moment,
        /// When its policy starts it again; None where it stays down.
        restart_at: Option<Moment>,
    },
    /// A client, a reload or the shutdown stopped it.
    Asked {
        /// How long it was given before SIGKILL; None where that was not needed.
        killed: Option<Duration>,
    },
    /// `on_dependency_failure` stopped it when this dependency failed.
    Followed(Rc<str>),
}

/// What brought a service up, for a client that waits for it to be down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A request to start it.
    Start,
    /// A request to restart it.
    Restart,
    /// This dependent of it was started.
    Dependent(Rc<str>),
    /// Another configuration.
    Reload,
}

/// Why a service is FAILED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it failed for.
    pub reason: FailReason,
    /// The attempts after which its policy gave up; None where it did not.
    pub gave_up_after: Option<u32>,
}

/// What a service failed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailReason {
    /// Its program ended.
    Ended(ExitStatus),
    /// Its program ended well, and was not ready yet.
    EndedUnready(ExitStatus),
    /// Its child ended before it executed the program.
    EndedUnexecuted(ExitStatus),
    /// Its program could not be executed.
    CannotExecute(Rc<str>),
    /// Its program was not executed in time.
    NotExecuted {
        /// The program, as the configuration names it.
        program: Rc<str>,
        /// The bound.
        within: Duration,
    },
    /// Its pre-script failed.
    PreScript(ScriptFailure),
    /// It was not ready in time.
    NotReady {
        /// The bound, with its extensions.
        after: Duration,
        /// What was waited for.
        missing: Missing,
    },
    /// It can never report that it is ready.
    NeverReady(NeverReady),
    /// It did not send `WATCHDOG=1` for this long.
    NoWatchdog(Duration),
    /// It sent `WATCHDOG=trigger`.
    WatchdogTrigger,
    /// Its health check failed, and it is to be restarted for that.
    Unhealthy(CheckError),
    /// A dependency is not up, and will not be.
    Dependency {
        /// The dependency's name.
        name: Rc<str>,
        /// What is wrong with it.
        problem: DependencyProblem,
    },
}

/// Why a script failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptFailure {
    /// It ended.
    Ended(ExitStatus),
    /// Its child ended before it executed the script.
    EndedUnexecuted(ExitStatus),
    /// It could not be executed.
    CannotExecute(Rc<str>),
    /// It was not executed in time.
    NotExecuted {
        /// Its file; None for one that is in the configuration itself.
        path: Option<Rc<str>>,
        /// The bound.
        within: Duration,
    },
}

/// Why a program could not be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnFailure {
    /// What the child or the kernel reported: `cannot execute /usr/bin/redis: Exec format error`.
    pub message: String,
    /// 127 not found, 126 not executable, 1 otherwise.
    pub exit_code: u8,
}

/// What is missing for a program that runs to be ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing.
    Nothing,
    /// A health check that passes; why the last one failed.
    Health(Option<CheckFailure>),
    /// `READY=1`.
    Notify,
    /// A newline on this descriptor.
    Newline(i32),
    /// This text in its output.
    Output(String),
}

/// Why a program cannot report any more that it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeverReady {
    /// It closed its readiness descriptor without a newline.
    Closed,
    /// It wrote much to its readiness descriptor, and no newline.
    NoNewline,
}

/// Why a dependency keeps its dependents down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DependencyProblem {
    /// It failed, and no restart follows.
    Failed,
    /// It was not up after this long.
    NotUp(Duration),
    /// `enabled = false`.
    Disabled,
    /// It was never started.
    NotStarted,
    /// It was stopped.
    Stopped,
    /// It was stopped because this dependency of it failed.
    Followed(Rc<str>),
}

/// Health checks that fail, with the last one's reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckFailure {
    /// What they make of the service's health.
    pub health: Health,
    /// How many failed in a row.
    pub failures: u32,
    /// How many make a healthy service unhealthy.
    pub retries: u32,
    /// Why the last one failed.
    pub error: CheckError,
}

/// Why a health check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckError {
    /// The command of the check before has not ended, though it was killed.
    LastCommandRuns,
    /// The check was made.
    Failed {
        /// What was checked: `GET /healthz`, `tcp localhost:5432`.
        probe: Rc<str>,
        /// What was wrong.
        problem: CheckProblem,
    },
}

/// What was wrong when a health check was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckProblem {
    /// An HTTP status that is not expected.
    Status(u16),
    /// The command ended, with the last line of its output.
    Ended(ExitStatus, Option<Rc<str>>),
    /// The command had not ended after this long.
    Killed(Duration),
    /// No connection within this time.
    NoConnection(Duration),
    /// No connection within this time, since a path is on a file system that does not answer.
    NoFileSystem(Duration),
    /// No answer within this time.
    NoAnswer(Duration),
    /// The answer was not whole within this time.
    PartialAnswer(Duration),
    /// The connection was closed before the answer was whole.
    Closed,
    /// The answer is no HTTP.
    NotHttp,
    /// The head of the answer has no end within its bound.
    EndlessHead,
    /// The host has no address.
    NoAddress,
    /// The host is not in `/etc/hosts`.
    UnknownHost(Rc<str>),
    /// An earlier check still waits for a file system, in this process.
    FileSystemHangs(Pid),
    /// What the kernel or a child reported, in its words.
    Reported(Rc<str>),
}

/// Why a service is started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestartReason {
    /// A client or a reload asked for it.
    Asked,
    /// `on_dependency_failure` restarts it, since this dependency failed.
    DependencyFailed(Rc<str>),
    /// It failed.
    Failed {
        /// Why.
        failure: Failure,
        /// The attempt's number, from 1; 0 where it counts as none.
        attempt: u32,
    },
    /// It completed.
    Completed {
        /// As above.
        attempt: u32,
    },
}

/// Why everything is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// This signal was received.
    Signal(Signal),
    /// A client asked for it.
    Client,
    /// The daemon cannot do its work any more; what the kernel refused.
    Unable(String),
    /// A required service failed.
    RequiredFailed {
        /// Its name.
        service: Rc<str>,
        /// Why it failed.
        failure: Failure,
    },
    /// The main program failed.
    MainFailed {
        /// Its name.
        service: Rc<str>,
        /// Why it failed.
        failure: Failure,
    },
    /// The main program ended.
    MainEnded(Rc<str>),
}

/// Why everything is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// A second signal was received during the shutdown.
    SecondSignal(Signal),
    /// `global_shutdown_timeout` of this length is over.
    Timeout(Duration),
}
