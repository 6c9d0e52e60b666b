//! What clients may ask: one row a verb. A transport reads a request, has it dispatched here, and does the step that
//! comes of it; what is asked, by whom, and how it was sent do not depend on each other.

use super::access::{Access, Caller};
use super::protocol::selection;
use super::read::{self, Observed};
use super::stream::Subscription;
use crate::control::message::{Request, Response};
use crate::domain::Now;
use crate::supervisor::Supervisor;
use crate::supervisor::client;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verb {
    /// Its name in requests.
    pub name: &'static str,
    /// What it demands of the client.
    pub access: Access,
    /// What it comes to.
    pub effect: Effect,
}

/// What a verb comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is answered at once, and changes nothing.
    Reads,
    /// It is answered when what it names has happened, and changes nothing.
    Waits,
    /// It changes what runs.
    Changes,
    /// Its answer goes on.
    Streams,
}

/// What a transport does about a request, by the verb's [`Effect`].
#[derive(Debug)]
pub enum Step {
    /// Send this answer.
    Reads(Response),
    /// Pass this on to the supervisor, which answers.
    Waits(client::Request),
    /// Have this changed; the answer follows.
    Changes(Change),
    /// Send this, then what the subscription yields.
    Streams(Stream),
}

/// A change that a client asks for.
#[derive(Debug)]
pub enum Change {
    /// It is the supervisor's to make and to answer.
    Supervisor(client::Request),
    /// Read the configuration again; the shell answers.
    Reload {
        /// Only report what would be done.
        dry_run: bool,
    },
}

/// An answer that goes on.
#[derive(Debug)]
pub struct Stream {
    /// Its beginning.
    pub opening: Response,
    /// The rest.
    pub subscription: Subscription,
}

/// What a verb works with.
pub struct Views<'a> {
    /// The client.
    pub caller: Caller,
    /// The moment.
    pub now: Now,
    /// The services' states.
    pub supervisor: &'a Supervisor,
    /// The configuration file; None where only a main program is supervised.
    pub config_path: Option<&'a str>,
    /// What only the shell knows.
    pub observed: &'a mut dyn Observed,
}

macro_rules! verbs {
    (|$views:ident| $($name:literal $access:ident $effect:ident $request:pat => $step:expr;)*) => {
        /// Every verb, in the order in which they are named to people.
        pub const VERBS: &[Verb] = &[$(Verb {
            name: $name,
            access: Access::$access,
            effect: Effect::$effect,
        }),*];

        /// The step that a request comes to.
        ///
        /// # Errors
        /// The answer to a client that may not ask this, or to a request that cannot be carried out.
        pub fn dispatch(request: Request, $views: Views<'_>) -> Result<Step, Response> {
            match request {
                $($request => {
                    $views.caller.check(Access::$access)?;
                    Ok(Step::$effect($step))
                })*
            }
        }
    };
}

verbs! { |views|
    // name     demands  effect   request and how it is done
    "list"      Anyone   Reads    Request::List {} => read::list(views);
    "status"    Anyone   Reads    Request::Status { service } => read::status(views, service)?;
    "logs"      Logs     Streams  Request::Logs { services, lines, since_ms, grep, follow } =>
                                  read::logs(views, &services, lines, (since_ms, grep), follow)?;
    "events"    Anyone   Streams  Request::Events { services, lines, follow } =>
                                  read::events(&views, services, lines, follow)?;
    "start"     Change   Changes  Request::Start(chosen) => client::Request::Start(selection(chosen)).into();
    "stop"      Change   Changes  Request::Stop(chosen) => client::Request::Stop(selection(chosen)).into();
    "restart"   Change   Changes  Request::Restart(chosen) => client::Request::Restart(selection(chosen)).into();
    "signal"    Change   Changes  Request::Signal { service, signal } =>
                                  client::Request::Signal { service, signal }.into();
    "wait"      Anyone   Waits    Request::Wait { service, until, timeout_ms } =>
                                  client::Request::Wait { service, until, timeout_ms };
    "reload"    Change   Changes  Request::Reload { dry_run } => Change::Reload { dry_run };
    "health"    Anyone   Reads    Request::Health {} => read::health(&views);
    "shutdown"  Change   Changes  Request::Shutdown { exit_code } => client::Request::Shutdown { exit_code }.into();
    "version"   Anyone   Reads    Request::Version {} => read::version(&views);
}

impl From<client::Request> for Change {
    fn from(request: client::Request) -> Change {
        Change::Supervisor(request)
    }
}

#[cfg(test)]
mod tests;
