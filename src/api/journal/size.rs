//! What an event takes of memory. Each `match` is complete, so that a reason whose size is not known does not compile.

use std::rc::Rc;

use super::{Entry, Happened};
use crate::domain::{
    Cause, CheckError, CheckFailure, CheckProblem, DependencyProblem, FailReason, Failure, Missing,
    RestartReason, ScriptFailure, ShutdownReason, StopReason,
};
use crate::supervisor::event::Notice;
use crate::supervisor::view::{Awaited, Detail};

/// The counts before a shared text.
const COUNTS: usize = 2 * size_of::<usize>();

/// In bytes. A text that is shared counts each time.
pub fn of_entry(entry: &Entry) -> usize {
    let name = entry.service.as_ref().map_or(0, |name| name.len());
    let happened = match &entry.happened {
        Happened::Changed { .. } => 0,
        Happened::Notice(notice) => size_of::<Notice>() + of_notice(notice),
        Happened::Reloaded(counts) => size_of_val(&**counts),
    };
    size_of::<Entry>() + name + happened
}

fn of_notice(notice: &Notice) -> usize {
    match notice {
        Notice::Changed { detail, .. } => of_detail(detail),
        Notice::Restarts { reason, .. } => of_restart(reason),
        Notice::Health { error, .. } => error.as_ref().map_or(0, of_check),
        Notice::PostScriptFailed { failure, .. } => of_script(failure),
        Notice::ShuttingDown { reason, .. } => of_shutdown(reason),
        Notice::KillingAll { .. } => 0,
    }
}

fn shared(text: &Rc<str>) -> usize {
    COUNTS + text.len()
}

fn of_detail(detail: &Detail) -> usize {
    match detail {
        Detail::WaitingFor { first, .. } => {
            let names = first.iter().map(|awaited| awaited.name.capacity());
            first.capacity() * size_of::<Awaited>() + names.sum::<usize>()
        }
        Detail::Settling { name, .. } => name.capacity(),
        Detail::Readying(missing) => of_missing(missing),
        Detail::Status(text) => text.capacity(),
        Detail::Checks(failure) => of_checks(failure),
        Detail::FailedRunning(reason) => of_reason(reason),
        Detail::Follows(name) => shared(name),
        Detail::Stopped { reason, .. } => match reason {
            StopReason::Followed(name) => shared(name),
            StopReason::Disabled
            | StopReason::NotStarted
            | StopReason::Completed { .. }
            | StopReason::Asked { .. } => 0,
        },
        Detail::Failed { failure, .. } => of_failure(failure),
        Detail::Overtaken(cause) => match cause {
            Some(Cause::Dependent(name)) => shared(name),
            Some(Cause::Start | Cause::Restart | Cause::Reload) | None => 0,
        },
        Detail::Nothing
        | Detail::Executing { .. }
        | Detail::EndsByItself
        | Detail::ToBeRemoved
        | Detail::StopSignalSent
        | Detail::Killed(_)
        | Detail::Removed => 0,
    }
}

fn of_failure(failure: &Failure) -> usize {
    of_reason(&failure.reason)
}

fn of_reason(reason: &FailReason) -> usize {
    match reason {
        FailReason::CannotExecute(why) => shared(why),
        FailReason::NotExecuted { program, .. } => shared(program),
        FailReason::PreScript(failure) => of_script(failure),
        FailReason::NotReady { missing, .. } => of_missing(missing),
        FailReason::Unhealthy(error) => of_check(error),
        FailReason::Dependency { name, problem } => {
            let other = match problem {
                DependencyProblem::Followed(failed) => shared(failed),
                DependencyProblem::Failed
                | DependencyProblem::NotUp(_)
                | DependencyProblem::Disabled
                | DependencyProblem::NotStarted
                | DependencyProblem::Stopped => 0,
            };
            shared(name) + other
        }
        FailReason::Ended(_)
        | FailReason::EndedUnready(_)
        | FailReason::EndedUnexecuted(_)
        | FailReason::NeverReady(_)
        | FailReason::NoWatchdog(_)
        | FailReason::WatchdogTrigger => 0,
    }
}

fn of_script(failure: &ScriptFailure) -> usize {
    match failure {
        ScriptFailure::CannotExecute(why) => shared(why),
        ScriptFailure::NotExecuted { path, .. } => path.as_ref().map_or(0, shared),
        ScriptFailure::Ended(_) | ScriptFailure::EndedUnexecuted(_) => 0,
    }
}

fn of_missing(missing: &Missing) -> usize {
    match missing {
        Missing::Health(failure) => failure.as_ref().map_or(0, of_checks),
        Missing::Output(text) => text.capacity(),
        Missing::Nothing | Missing::Notify | Missing::Newline(_) => 0,
    }
}

fn of_checks(failure: &CheckFailure) -> usize {
    of_check(&failure.error)
}

fn of_check(error: &CheckError) -> usize {
    match error {
        CheckError::LastCommandRuns => 0,
        CheckError::Failed { probe, problem } => shared(probe) + of_problem(problem),
    }
}

fn of_problem(problem: &CheckProblem) -> usize {
    match problem {
        CheckProblem::Ended(_, line) => line.as_ref().map_or(0, shared),
        CheckProblem::UnknownHost(text) | CheckProblem::Reported(text) => shared(text),
        CheckProblem::Status(_)
        | CheckProblem::Killed(_)
        | CheckProblem::NoConnection(_)
        | CheckProblem::NoFileSystem(_)
        | CheckProblem::NoAnswer(_)
        | CheckProblem::PartialAnswer(_)
        | CheckProblem::Closed
        | CheckProblem::NotHttp
        | CheckProblem::EndlessHead
        | CheckProblem::NoAddress
        | CheckProblem::FileSystemHangs(_) => 0,
    }
}

fn of_restart(reason: &RestartReason) -> usize {
    match reason {
        RestartReason::DependencyFailed(name) => shared(name),
        RestartReason::Failed { failure, .. } => of_failure(failure),
        RestartReason::Asked | RestartReason::Completed { .. } => 0,
    }
}

fn of_shutdown(reason: &ShutdownReason) -> usize {
    match reason {
        ShutdownReason::Unable(why) => why.capacity(),
        ShutdownReason::RequiredFailed { service, failure }
        | ShutdownReason::MainFailed { service, failure } => shared(service) + of_failure(failure),
        ShutdownReason::MainEnded(service) => shared(service),
        ShutdownReason::Signal(_) | ShutdownReason::Client => 0,
    }
}
