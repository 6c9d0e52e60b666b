//! The words of rare reasons. Those of the others are in the tests of the supervisor.

use std::time::Duration;

use super::words::{Words, hint};
use crate::base::{ExitStatus, Pid};
use crate::domain::{
    Cause, CheckError, CheckFailure, CheckProblem, DependencyProblem, FailReason, Failure, Health,
    Missing, NeverReady, ScriptFailure, ShutdownReason, State,
};
use crate::supervisor::client::{Refusal, Verb};
use crate::supervisor::view::{Awaited, Detail, NextAttempt, ReloadPlan};

const SECONDS_5: Duration = Duration::from_secs(5);

fn check(problem: CheckProblem) -> String {
    let probe = "GET /healthz".into();
    Words(&CheckError::Failed { probe, problem }).to_string()
}

#[test]
fn a_check_says_what_was_wrong() {
    let within = [
        (
            CheckProblem::NoConnection(SECONDS_5),
            "no connection within 5s",
        ),
        (CheckProblem::NoAnswer(SECONDS_5), "no answer within 5s"),
        (
            CheckProblem::PartialAnswer(SECONDS_5),
            "no whole answer within 5s",
        ),
        (CheckProblem::Killed(SECONDS_5), "killed after 5s"),
        (
            CheckProblem::NoFileSystem(SECONDS_5),
            "no connection within 5s: the file system does not answer",
        ),
        (
            CheckProblem::FileSystemHangs(Pid(7)),
            "the file system does not answer: an earlier check still waits for it (process 7)",
        ),
        (CheckProblem::Closed, "closed without a whole answer"),
        (CheckProblem::NotHttp, "the answer is no HTTP"),
        (
            CheckProblem::EndlessHead,
            "the head of the answer has no end",
        ),
        (CheckProblem::NoAddress, "there is no address"),
        (
            CheckProblem::UnknownHost("db:80".into()),
            "cannot find the host of db:80 in /etc/hosts",
        ),
        (
            CheckProblem::Ended(ExitStatus::Exited(2), Some("no route".into())),
            "exit 2: no route",
        ),
    ];
    for (problem, words) in within {
        assert_eq!(check(problem), format!("GET /healthz: {words}"));
    }
    assert_eq!(
        Words(&CheckError::LastCommandRuns).to_string(),
        "the command of the check before has not ended, though it was killed"
    );
}

#[test]
fn a_failure_says_what_happened_and_what_follows() {
    let unhealthy = CheckFailure {
        health: Health::Healthy,
        failures: 1,
        retries: 3,
        error: CheckError::Failed {
            probe: "tcp db:5432".into(),
            problem: CheckProblem::Reported("Connection refused".into()),
        },
    };
    let reasons = [
        (
            FailReason::NeverReady(NeverReady::NoNewline),
            "wrote much to its readiness descriptor, and no newline",
        ),
        (
            FailReason::NotReady {
                after: SECONDS_5,
                missing: Missing::Health(Some(unhealthy)),
            },
            "not ready after 5s: check failed (1 of 3): tcp db:5432: Connection refused",
        ),
        (
            FailReason::NotReady {
                after: SECONDS_5,
                missing: Missing::Output("listening".into()),
            },
            "not ready after 5s: waiting for \"listening\" in its output",
        ),
        (
            FailReason::PreScript(ScriptFailure::NotExecuted {
                path: None,
                within: SECONDS_5,
            }),
            "pre-script: cannot execute the script: not done after 5s; check that the file systems of its working \
             directory, program, env files and scripts answer",
        ),
        (
            FailReason::Dependency {
                name: "db".into(),
                problem: DependencyProblem::Followed("disk".into()),
            },
            "dependency db was stopped: dependency disk failed",
        ),
        (
            FailReason::Dependency {
                name: "db".into(),
                problem: DependencyProblem::NotStarted,
            },
            "dependency db was not started",
        ),
    ];
    for (reason, words) in reasons {
        assert_eq!(Words(&reason).to_string(), words);
    }
    let failure = Failure {
        reason: FailReason::Ended(ExitStatus::Exited(1)),
        gave_up_after: Some(2),
    };
    let reason = ShutdownReason::RequiredFailed {
        service: "web".into(),
        failure,
    };
    assert_eq!(
        Words(&reason).to_string(),
        "required service web failed: exit 1; gave up after 2 restarts"
    );
    let next = NextAttempt {
        left: None,
        attempt: 3,
        max: Some(5),
    };
    assert_eq!(Words(Some(&next)).to_string(), "; to be restarted (3 of 5)");
}

#[test]
fn a_detail_names_three_dependencies_and_counts_the_rest() {
    let awaited = |name: &str| Awaited {
        name: name.into(),
        is_stopped: name == "b",
    };
    let detail = Detail::WaitingFor {
        first: ["a", "b", "c"].map(awaited).to_vec(),
        more: 2,
    };
    assert_eq!(
        Words(&detail).to_string(),
        "waiting for a, b (stopped), c and 2 more"
    );
    let overtaken = |cause| Words(&Detail::Overtaken(cause)).to_string();
    assert_eq!(overtaken(None), "overtaken by another command");
    assert_eq!(
        overtaken(Some(Cause::Dependent("web".into()))),
        "overtaken by a start of web, which depends on it"
    );
}

#[test]
fn a_refusal_says_why_and_what_to_do() {
    let unknown = |name: &str, near: Option<&str>| Refusal::UnknownService {
        name: name.into(),
        near: near.map(str::to_owned),
    };
    let refusals = [
        (
            unknown("wbe", Some("web")),
            "there is no service \"wbe\"",
            Some("did you mean \"web\"?"),
        ),
        (
            unknown("x", None),
            "there is no service \"x\"",
            Some("go-overlay list shows the services"),
        ),
        (
            unknown("all", Some("ball")),
            "there is no service \"all\"",
            Some(
                "every service is --all for start, stop and restart, and no name for logs, events and status",
            ),
        ),
        (
            Refusal::ShuttingDown(Verb::Shutdown),
            "cannot shut down: the daemon is shutting down",
            None,
        ),
        (
            Refusal::NamesAndAll(Verb::Restart),
            "cannot restart: give either names or all, not both",
            None,
        ),
        (
            Refusal::NoProcess {
                service: "web".into(),
                state: State::Stopped,
            },
            "cannot signal web: it is STOPPED",
            Some("start it first: go-overlay start web"),
        ),
    ];
    for (refusal, words, what_to_do) in refusals {
        assert_eq!(Words(&refusal).to_string(), words);
        assert_eq!(hint(&refusal).as_deref(), what_to_do);
    }
}

#[test]
fn a_plan_counts_what_changes() {
    assert_eq!(Words(&ReloadPlan::default()).to_string(), "nothing changed");
    let plan = ReloadPlan {
        added: vec!["a".into()],
        unchanged: 4,
        ..ReloadPlan::default()
    };
    assert_eq!(Words(&plan).to_string(), "1 added, 4 unchanged");
}
