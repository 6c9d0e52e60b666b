//! What clients ask for and what they are answered, as data. Transports and their codecs are above.

use crate::base::{Pid, Signal};
use crate::domain::{State, WaitFor};

use super::view::Detail;

/// A change that a client asks for, or waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Bring services up, and what they depend on.
    Start(Selection),
    /// Take services down.
    Stop(Selection),
    /// Take services down and bring them up again.
    Restart(Selection),
    /// Send a signal to a service's main process.
    Signal {
        /// The service's name.
        service: String,
        /// The signal's name or number, as the client wrote it.
        signal: String,
    },
    /// Answer when the service is in the named condition, or cannot get there any more.
    Wait {
        /// The service's name.
        service: String,
        /// What to wait for.
        until: WaitFor,
        /// Milliseconds; None: no limit.
        timeout_ms: Option<u64>,
    },
    /// Stop everything and end the daemon. Answered before it begins.
    Shutdown {
        /// The daemon's exit code; None: the main program's, or 0 where none ran.
        exit_code: Option<u8>,
    },
}

/// Which services a start, stop or restart is about, and how long to wait for the outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names; empty only with `all`.
    pub services: Vec<String>,
    /// Every enabled service (for `stop`: every service).
    pub all: bool,
    /// For `restart`: what depends on them too.
    pub with_dependents: bool,
    /// Answer at once instead of when the outcome is known.
    pub no_wait: bool,
    /// Milliseconds to wait for the outcome; None: no limit.
    pub timeout_ms: Option<u64>,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// To start, stop, restart and wait: what became of each service.
    Outcome {
        /// True when each service got where it was asked to go.
        ok: bool,
        /// One for each service asked about.
        services: Vec<Outcome>,
    },
    /// The signal was sent.
    Signaled {
        /// The service's name.
        service: String,
        /// Which signal.
        signal: Signal,
        /// The process that it was sent to.
        pid: Pid,
    },
    /// The shutdown begins.
    ShuttingDown,
    /// It is not done.
    Refused(Refusal),
}

/// What became of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The service's name.
    pub name: String,
    /// Whether it got where it was asked to go.
    pub ok: bool,
    /// Its state now.
    pub state: State,
    /// What there is to say about the state.
    pub detail: Detail,
}

/// What a refused request would have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start services.
    Start,
    /// Stop services.
    Stop,
    /// Restart services.
    Restart,
    /// End the daemon.
    Shutdown,
}

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A shutdown is under way.
    ShuttingDown(Verb),
    /// The daemon ended before the request was answered.
    HasShutDown,
    /// Names were given, and `all` too.
    NamesAndAll(Verb),
    /// No service was named.
    NoNames(Verb),
    /// No service has this name.
    UnknownService {
        /// The name that was asked for.
        name: String,
        /// The name that was probably meant.
        near: Option<String>,
    },
    /// No signal has this name.
    UnknownSignal {
        /// The service's name.
        service: String,
        /// What was given.
        signal: String,
    },
    /// The service has no main process.
    NoProcess {
        /// The service's name.
        service: String,
        /// Its state.
        state: State,
    },
}
