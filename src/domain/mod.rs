//! What the daemon is about, as data: the states and the health of services, their programs, and the reasons for what
//! happens to them.
//!
//! Nothing here is a sentence or depends on how it is sent or shown: `api::words` makes English of it, `control`
//! describes its JSON.

pub mod reason;
pub mod state;
pub mod usage;

pub use reason::{
    Cause, CheckError, CheckFailure, CheckProblem, DependencyProblem, FailReason, Failure,
    KillReason, Missing, NeverReady, RestartReason, ScriptFailure, ShutdownReason, SpawnFailure,
    StopReason,
};
pub use state::{Health, Role, State, WaitFor};
pub use usage::Usage;
