//! What the daemon is about, as data: the states and the health of services, their programs, the reasons for what
//! happens to them, and the time.
//!
//! Nothing here is a sentence or depends on how it is sent or shown: `api::words` makes English of it, `control`
//! describes its JSON.

pub mod clock;
pub mod reason;
pub mod state;
pub mod time;
pub mod usage;

pub use clock::{Clock, Reading};
pub use reason::{
    Cause, CheckError, CheckFailure, CheckProblem, DependencyProblem, FailReason, Failure,
    KillReason, Missing, NeverReady, RestartReason, ScriptFailure, ShutdownReason, SpawnFailure,
    StopReason,
};
pub use state::{Health, Role, State, WaitFor};
pub use time::{ClockStep, Elapsed, Now, Wall};
pub use usage::Usage;
