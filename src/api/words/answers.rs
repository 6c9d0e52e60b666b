//! What clients are answered, in English: why something is not done, and what a reload does.

use std::fmt::{Display, Formatter, Result};

use super::super::access::{Access, Caller, Denied};
use super::Words;
use crate::supervisor::client::{Refusal, Verb};
use crate::supervisor::view::{ReloadCounts, ReloadPlan};

impl Display for Words<&Refusal> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            Refusal::ShuttingDown(verb) => {
                write!(f, "cannot {}: the daemon is shutting down", Words(*verb))
            }
            Refusal::HasShutDown => f.write_str("the daemon has shut down"),
            Refusal::NamesAndAll(verb) => write!(
                f,
                "cannot {}: give either names or all, not both",
                Words(*verb)
            ),
            Refusal::NoNames(verb) => write!(f, "cannot {}: no service was named", Words(*verb)),
            Refusal::UnknownService { name, .. } => write!(f, "there is no service {name:?}"),
            Refusal::UnknownSignal { service, signal } => {
                write!(f, "cannot signal {service}: there is no signal {signal}")
            }
            Refusal::NoProcess { service, state } => {
                write!(f, "cannot signal {service}: it is {state}")
            }
        }
    }
}

impl Display for Words<&Denied> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Denied {
            caller: Caller::Peer { uid, .. },
            access,
        } = self.0;
        match access {
            Access::Logs => write!(
                f,
                "cannot show logs to user {uid}: only root and the daemon's own user may read them"
            ),
            Access::Change | Access::Anyone => write!(
                f,
                "cannot do that for user {uid}: only root and the daemon's own user may change things"
            ),
        }
    }
}

impl Display for Words<Verb> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self.0 {
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Restart => "restart",
            Verb::Shutdown => "shut down",
        })
    }
}

/// What to do about a refusal; None where there is nothing to say.
pub fn hint(refusal: &Refusal) -> Option<String> {
    Some(match refusal {
        Refusal::ShuttingDown(_)
        | Refusal::HasShutDown
        | Refusal::NamesAndAll(_)
        | Refusal::NoNames(_) => return None,
        Refusal::UnknownService { name, near } => match (name.as_str(), near) {
            ("all" | "*", _) => {
                "every service is --all for start, stop and restart, and no name for logs, events and status"
                    .to_owned()
            }
            (_, Some(known)) => format!("did you mean {known:?}?"),
            (_, None) => "go-overlay list shows the services".to_owned(),
        },
        Refusal::UnknownSignal { .. } => {
            "use a name such as SIGHUP or HUP, or a number from 1 to 64".to_owned()
        }
        Refusal::NoProcess { service, .. } => {
            format!("start it first: go-overlay start {service}")
        }
    })
}

impl Display for Words<ReloadCounts> {
    /// `1 added, 2 restarted, 4 unchanged`.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let counts = [
            (self.0.added, "added"),
            (self.0.removed, "removed"),
            (self.0.restarted, "restarted"),
            (self.0.updated, "updated"),
            (self.0.unchanged, "unchanged"),
        ];
        let mut separator = "";
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} {what}")?;
            separator = ", ";
        }
        match separator {
            "" => f.write_str("nothing changed"),
            _ => Ok(()),
        }
    }
}

impl Display for Words<&ReloadPlan> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Words(self.0.counts()).fmt(f)
    }
}
