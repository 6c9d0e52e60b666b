//! What goes into the supervisor and what comes out of it.

use std::time::Duration;

use crate::base::{ClientId, ExitStatus, JobId, Pid, ServiceId, Signal};
use crate::config::model::Config;
use crate::domain::{
    CheckError, Health, KillReason, NeverReady, RestartReason, ScriptFailure, ShutdownReason, State,
};
pub use crate::domain::{Role, SpawnFailure};

use super::client::{Request, Response};
use super::view::Detail;

/// Something that happened. Each is handled to the end before the next one.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The daemon is ready: start what is enabled.
    Boot,
    /// The answer to [`Action::Spawn`]: the program was really executed. It may come late.
    Spawned {
        /// Which spawn.
        job: JobId,
        /// The child's process id.
        pid: Pid,
    },
    /// The answer to [`Action::Spawn`]: there is no child.
    SpawnFailed {
        /// Which spawn.
        job: JobId,
        /// Why, and the exit code it stands for.
        failure: SpawnFailure,
    },
    /// A child was reaped and its process group is empty.
    Exited {
        /// Which child.
        job: JobId,
        /// How it ended.
        status: ExitStatus,
    },
    /// The answer to [`Action::Check`], and the end of that check.
    Checked {
        /// Which check.
        job: JobId,
        /// Whether it passed; else why not.
        result: Result<(), CheckError>,
    },
    /// A service said something about itself; from a job that is over it means nothing.
    Said {
        /// Which main program.
        job: JobId,
        /// What.
        word: Word,
    },
    /// No child is left, ours or adopted. Told when a sweep of strays found none, and when the last
    /// one was reaped after it.
    ChildrenGone,
    /// A client with the right to ask asks for a change (start, stop, restart, signal, wait, shutdown).
    Request {
        /// Who is to be answered.
        client: ClientId,
        /// What is asked.
        request: Request,
    },
    /// A client closed its connection; nobody is left to answer.
    ClientGone {
        /// Who.
        client: ClientId,
    },
    /// A signal asked for a shutdown.
    ShutdownSignal(Signal),
    /// The daemon cannot do its work any more: everything is to be ended, with exit code 1.
    Unable {
        /// What it cannot do, and what the kernel said about it.
        reason: String,
    },
    /// A signal to be passed to the main program.
    ForwardSignal {
        /// Which.
        signal: Signal,
        /// What a key or a shell sends is for the whole group.
        scope: Scope,
    },
    /// Another configuration, checked as the first one was.
    Reload(Box<Config>),
}

/// What a service says about itself (sd_notify(3), a newline on a descriptor, a text in its output).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// It is ready.
    Ready,
    /// It can never say so any more, and why.
    NeverReady(NeverReady),
    /// `STATUS=`: how it is, in words.
    Status(String),
    /// `STOPPING=1`: it is about to end by itself.
    Stopping,
    /// `WATCHDOG=1`: it is alive.
    Alive,
    /// `WATCHDOG=trigger`: it wants to be taken for hung.
    Trouble,
    /// `WATCHDOG_USEC=`: from now on it says that it is alive so often; None: not any more.
    AliveWithin(Option<Duration>),
    /// `EXTEND_TIMEOUT_USEC=`: the bound that it is under now ends no sooner than this from now.
    ExtendTimeout(Duration),
    /// `MAINPID=`: another process of it is the main one.
    MainPid(Pid),
}

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The child's whole process group.
    Group,
    /// The child alone.
    Process,
}

/// Something to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start a child; answer with `Spawned` or `SpawnFailed`, now or later, or with `Exited` where it ended before.
    Spawn {
        /// The child's name from now on.
        job: JobId,
        /// Whose.
        service: ServiceId,
        /// Which of the service's programs.
        role: Role,
    },
    /// Send a signal to a child. One that is gone meanwhile is an ordinary thing.
    Kill {
        /// Which child.
        job: JobId,
        /// What to send.
        signal: Signal,
        /// To it or to its group.
        scope: Scope,
    },
    /// Check a service's health; answer with `Checked`, in the time that the check has at the latest.
    Check {
        /// The check's name from now on.
        job: JobId,
        /// Whose health.
        service: ServiceId,
    },
    /// Break a check off; no answer is expected any more.
    EndCheck {
        /// Which check.
        job: JobId,
    },
    /// A service has left the table: nothing of it is needed any more.
    Forget {
        /// Which.
        service: ServiceId,
    },
    /// Send a signal to every process that is left; answer with `ChildrenGone` once there is none.
    SignalStrays(Signal),
    /// Answer a client; the last word about its request.
    Reply {
        /// Who asked.
        client: ClientId,
        /// The answer.
        response: Response,
    },
    /// Something worth telling the user.
    Notice(Notice),
    /// Nothing is left to do: end the daemon with this code. Nothing follows.
    Exit(u8),
}

/// What the supervisor tells about itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A service changed its state.
    Changed {
        /// Which.
        service: ServiceId,
        /// From.
        from: State,
        /// To.
        to: State,
        /// What there is to say about the new state.
        detail: Detail,
    },
    /// A service is started again.
    Restarts {
        /// Which.
        service: ServiceId,
        /// Why.
        reason: RestartReason,
    },
    /// A service's health changed.
    Health {
        /// Which.
        service: ServiceId,
        /// From.
        from: Health,
        /// To.
        to: Health,
        /// Why the last check failed; None when it passed.
        error: Option<CheckError>,
    },
    /// A script that does not decide about its service failed.
    PostScriptFailed {
        /// Which.
        service: ServiceId,
        /// How.
        failure: ScriptFailure,
    },
    /// The shutdown began.
    ShuttingDown {
        /// Why.
        reason: ShutdownReason,
        /// Its bound.
        within: Duration,
    },
    /// The bound was over, or a second signal came: everything left is killed.
    KillingAll {
        /// Why.
        reason: KillReason,
    },
}
