//! Reasons and details in English: the one place for what users read of them, in log lines, answers and events alike. Each `match` is complete, so that a reason without words does not compile.

use std::fmt::{Display, Formatter, Result};

use crate::base::human_duration as human;
use crate::domain::{
    Cause, CheckError, CheckFailure, CheckProblem, DependencyProblem, FailReason, Failure, Health,
    KillReason, Missing, NeverReady, RestartReason, Role, ScriptFailure, ShutdownReason,
    StopReason,
};
use crate::supervisor::event::Notice;
use crate::supervisor::view::{Detail, NextAttempt, Unwell};

mod answers;

pub use answers::hint;

/// Something in words.
#[derive(Clone, Copy, Debug)]
pub struct Words<T>(pub T);

impl Display for Words<&Detail> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            Detail::Nothing => Ok(()),
            Detail::WaitingFor { first, more } => {
                for (index, awaited) in first.iter().enumerate() {
                    f.write_str(if index == 0 { "waiting for " } else { ", " })?;
                    f.write_str(&awaited.name)?;
                    if awaited.is_stopped {
                        f.write_str(" (stopped)")?;
                    }
                }
                match more {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Detail::Settling { name, wait } => write!(f, "waiting {} after {name}", human(*wait)),
            Detail::Executing { role, waited } => {
                let what = match role {
                    Role::PreScript => "pre-script",
                    Role::PostScript => "post-script",
                    Role::Main | Role::Check => "",
                };
                f.write_str(what)?;
                match waited {
                    None => Ok(()),
                    Some(waited) => {
                        f.write_str(if what.is_empty() { "" } else { " " })?;
                        write!(f, "not executed for {}", human(*waited))
                    }
                }
            }
            Detail::Readying(missing) => Words(missing).fmt(f),
            Detail::Status(text) => f.write_str(text),
            Detail::Checks(failure) => Words(failure).fmt(f),
            Detail::EndsByItself => f.write_str("stopping by itself"),
            Detail::ToBeRemoved => f.write_str("to be removed"),
            Detail::StopSignalSent => f.write_str("stop signal sent"),
            Detail::Killed(waited) => write!(f, "killed after {}", human(*waited)),
            Detail::FailedRunning(reason) => Words(reason).fmt(f),
            Detail::Follows(name) => write!(f, "dependency {name} failed"),
            Detail::Stopped { reason, next } => {
                write!(f, "{}{}", Words(reason), Words(next.as_ref()))
            }
            Detail::Failed { failure, next } => {
                write!(f, "{}{}", Words(failure), Words(next.as_ref()))
            }
            Detail::Removed => f.write_str("removed from the configuration"),
            Detail::Overtaken(cause) => write!(f, "overtaken {}", Words(cause.as_ref())),
        }
    }
}

impl Display for Words<Option<&NextAttempt>> {
    /// `; restarts in 4s (3 of 5)`, or where no moment is meant `; to be restarted (3 of 5)`.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Some(next) = self.0 else { return Ok(()) };
        match next.left {
            None => f.write_str("; to be restarted")?,
            Some(left) if left.is_zero() => f.write_str("; restarts now")?,
            Some(left) => write!(f, "; restarts in {}", human(left))?,
        }
        match (next.attempt, next.max) {
            (0, _) => Ok(()),
            (attempt, Some(max)) => write!(f, " ({attempt} of {max})"),
            (attempt, None) => write!(f, " ({attempt})"),
        }
    }
}

impl Display for Words<Option<&Cause>> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            None => f.write_str("by another command"),
            Some(Cause::Start) => f.write_str("by a start"),
            Some(Cause::Restart) => f.write_str("by a restart"),
            Some(Cause::Dependent(name)) => {
                write!(f, "by a start of {name}, which depends on it")
            }
            Some(Cause::Reload) => f.write_str("by a reload"),
        }
    }
}

impl Display for Words<&StopReason> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            StopReason::Disabled => f.write_str("disabled"),
            StopReason::NotStarted => f.write_str("not started"),
            StopReason::Completed { .. } => f.write_str("completed"),
            StopReason::Asked { killed: None } => f.write_str("stopped"),
            StopReason::Asked {
                killed: Some(waited),
            } => write!(f, "killed after {}", human(*waited)),
            StopReason::Followed(name) => write!(f, "dependency {name} failed"),
        }
    }
}

impl Display for Words<&Failure> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Words(&self.0.reason).fmt(f)?;
        match self.0.gave_up_after {
            None => Ok(()),
            Some(1) => f.write_str("; gave up after 1 restart"),
            Some(attempts) => write!(f, "; gave up after {attempts} restarts"),
        }
    }
}

impl Display for Words<&FailReason> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            FailReason::Ended(status) => status.fmt(f),
            FailReason::EndedUnready(status) => write!(f, "{status} before it was ready"),
            FailReason::EndedUnexecuted(status) => {
                write!(f, "{status} before its program was executed")
            }
            FailReason::CannotExecute(why) => f.write_str(why),
            FailReason::NotExecuted { program, within } => not_executed(f, program, human(*within)),
            FailReason::PreScript(failure) => write!(f, "pre-script: {}", Words(failure)),
            FailReason::NotReady { after, missing } => {
                write!(f, "not ready after {}: {}", human(*after), Words(missing))
            }
            FailReason::NeverReady(NeverReady::Closed) => {
                f.write_str("closed its readiness descriptor without a newline")
            }
            FailReason::NeverReady(NeverReady::NoNewline) => {
                f.write_str("wrote much to its readiness descriptor, and no newline")
            }
            FailReason::NoWatchdog(period) => write!(f, "no WATCHDOG=1 for {}", human(*period)),
            FailReason::WatchdogTrigger => f.write_str("WATCHDOG=trigger"),
            FailReason::Unhealthy(error) => write!(f, "unhealthy: {}", Words(error)),
            FailReason::Dependency { name, problem } => {
                write!(f, "dependency {name} {}", Words(problem))
            }
        }
    }
}

impl Display for Words<&DependencyProblem> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            DependencyProblem::Failed => f.write_str("failed"),
            DependencyProblem::NotUp(waited) => write!(f, "not up after {}", human(*waited)),
            DependencyProblem::Disabled => f.write_str("is disabled"),
            DependencyProblem::NotStarted => f.write_str("was not started"),
            DependencyProblem::Stopped => f.write_str("was stopped"),
            DependencyProblem::Followed(failed) => {
                write!(f, "was stopped: dependency {failed} failed")
            }
        }
    }
}

impl Display for Words<&ScriptFailure> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            ScriptFailure::Ended(status) => status.fmt(f),
            ScriptFailure::EndedUnexecuted(status) => {
                write!(f, "{status} before it was executed")
            }
            ScriptFailure::CannotExecute(why) => f.write_str(why),
            ScriptFailure::NotExecuted { path, within } => {
                let what = path.as_deref().unwrap_or("the script");
                not_executed(f, what, human(*within))
            }
        }
    }
}

fn not_executed(f: &mut Formatter<'_>, what: &str, within: String) -> Result {
    write!(
        f,
        "cannot execute {what}: not done after {within}; check that the file systems of its working directory, \
         program, env files and scripts answer"
    )
}

impl Display for Words<&Missing> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            Missing::Nothing => Ok(()),
            Missing::Health(None) => f.write_str("not healthy yet"),
            Missing::Health(Some(failure)) => Words(failure).fmt(f),
            Missing::Notify => f.write_str("waiting for READY=1"),
            Missing::Newline(fd) => write!(f, "waiting for a newline on descriptor {fd}"),
            Missing::Output(text) => write!(f, "waiting for {text:?} in its output"),
        }
    }
}

impl Display for Words<&CheckFailure> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let CheckFailure {
            health,
            failures,
            retries,
            error,
        } = self.0;
        match health {
            Health::None | Health::Starting => f.write_str("not healthy yet")?,
            Health::Healthy => write!(f, "check failed ({failures} of {retries})")?,
            Health::Unhealthy => f.write_str("unhealthy")?,
        }
        write!(f, ": {}", Words(error))
    }
}

impl Display for Words<&CheckError> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            CheckError::LastCommandRuns => {
                f.write_str("the command of the check before has not ended, though it was killed")
            }
            CheckError::Failed { probe, problem } => write!(f, "{probe}: {}", Words(problem)),
        }
    }
}

impl Display for Words<&CheckProblem> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            CheckProblem::Status(status) => status.fmt(f),
            CheckProblem::Ended(status, None) => status.fmt(f),
            CheckProblem::Ended(status, Some(line)) => write!(f, "{status}: {line}"),
            CheckProblem::Killed(bound) => write!(f, "killed after {}", human(*bound)),
            CheckProblem::NoConnection(bound) => {
                write!(f, "no connection within {}", human(*bound))
            }
            CheckProblem::NoFileSystem(bound) => write!(
                f,
                "no connection within {}: the file system does not answer",
                human(*bound)
            ),
            CheckProblem::NoAnswer(bound) => write!(f, "no answer within {}", human(*bound)),
            CheckProblem::PartialAnswer(bound) => {
                write!(f, "no whole answer within {}", human(*bound))
            }
            CheckProblem::Closed => f.write_str("closed without a whole answer"),
            CheckProblem::NotHttp => f.write_str("the answer is no HTTP"),
            CheckProblem::EndlessHead => f.write_str("the head of the answer has no end"),
            CheckProblem::NoAddress => f.write_str("there is no address"),
            CheckProblem::UnknownHost(host) => {
                write!(f, "cannot find the host of {host} in /etc/hosts")
            }
            CheckProblem::FileSystemHangs(pid) => write!(
                f,
                "the file system does not answer: an earlier check still waits for it (process {})",
                pid.0
            ),
            CheckProblem::Reported(text) => f.write_str(text),
        }
    }
}

impl Display for Words<&RestartReason> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let attempt = match self.0 {
            RestartReason::Asked => return f.write_str("asked for"),
            RestartReason::DependencyFailed(name) => {
                return write!(f, "dependency {name} failed");
            }
            RestartReason::Failed { failure, attempt } => {
                Words(failure).fmt(f)?;
                attempt
            }
            RestartReason::Completed { attempt } => {
                f.write_str("completed")?;
                attempt
            }
        };
        match attempt {
            0 => Ok(()),
            attempt => write!(f, " (attempt {attempt})"),
        }
    }
}

impl Display for Words<&ShutdownReason> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            ShutdownReason::Signal(signal) => write!(f, "{signal} received"),
            ShutdownReason::Client => f.write_str("asked for by a client"),
            ShutdownReason::Unable(why) => f.write_str(why),
            ShutdownReason::RequiredFailed { service, failure } => {
                write!(f, "required service {service} failed: {}", Words(failure))
            }
            ShutdownReason::MainFailed { service, failure } => {
                write!(f, "{service} failed: {}", Words(failure))
            }
            ShutdownReason::MainEnded(service) => write!(f, "{service} ended"),
        }
    }
}

impl Display for Words<&KillReason> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            KillReason::SecondSignal(signal) => write!(f, "second signal: {signal}"),
            KillReason::Timeout(bound) => {
                write!(f, "global_shutdown_timeout of {} is over", human(*bound))
            }
        }
    }
}

impl Display for Words<&Unwell> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            Unwell::ShuttingDown => f.write_str("the daemon is shutting down"),
            Unwell::Unhealthy { name, checks } => match checks {
                None => write!(f, "{name}: its health check has not passed yet"),
                Some(failure) => write!(f, "{name}: {}", Words(failure)),
            },
            Unwell::NotUp {
                name,
                state,
                detail,
            } => {
                write!(f, "{name}: {state}")?;
                in_brackets(f, detail)
            }
        }
    }
}

fn in_brackets(f: &mut Formatter<'_>, detail: &Detail) -> Result {
    let words = Words(detail).to_string();
    match words.is_empty() {
        true => Ok(()),
        false => write!(f, " ({words})"),
    }
}

/// Why it happened, for a line of `events`; may be empty.
pub fn event_detail(notice: &Notice) -> String {
    match notice {
        Notice::Changed { detail, .. } => Words(detail).to_string(),
        Notice::Restarts { reason, .. } => Words(reason).to_string(),
        Notice::Health { error, .. } => match error {
            Some(error) => Words(error).to_string(),
            None => String::new(),
        },
        Notice::PostScriptFailed { failure, .. } => Words(failure).to_string(),
        Notice::ShuttingDown { reason, .. } => Words(reason).to_string(),
        Notice::KillingAll { .. } => log_line(notice, ""),
    }
}

impl Display for Words<(&Notice, &str)> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (notice, name) = self.0;
        match notice {
            Notice::Changed {
                from, to, detail, ..
            } => {
                write!(f, "{name}: {from} -> {to}")?;
                in_brackets(f, detail)
            }
            Notice::Restarts { reason, .. } => write!(f, "{name}: restarts: {}", Words(reason)),
            Notice::Health {
                to: Health::Unhealthy,
                error: Some(error),
                ..
            } => write!(f, "{name}: unhealthy: {}", Words(error)),
            Notice::Health { to, .. } => write!(f, "{name}: {}", to.name()),
            Notice::PostScriptFailed { failure, .. } => {
                write!(f, "{name}: post-script failed: {}", Words(failure))
            }
            Notice::ShuttingDown { reason, within } => {
                let within = human(*within);
                write!(f, "shutting down within {within}: {}", Words(reason))
            }
            Notice::KillingAll { reason } => write!(f, "killing everything: {}", Words(reason)),
        }
    }
}

/// The line on standard error. `name` is the service's, where the notice is about one.
pub fn log_line(notice: &Notice, name: &str) -> String {
    Words((notice, name)).to_string()
}
