//! Spawns that are answered late, or never: the file system of a program, a script or a working directory hangs.

use std::time::Duration;

use go_overlay::base::{ExitStatus, Signal};
use go_overlay::config::model::{Ready, Restart, RestartPolicy, Script, Service};
use go_overlay::control::message::{Request, State};
use go_overlay::supervisor::event::{Event, Role};

use crate::world::{World, after, named, seconds, service};

const HINT: &str =
    "check that the file systems of its working directory, program, env files and scripts answer";

/// A world in which these services hang before they are executed, and hear no stop signal.
fn hanging(services: Vec<Service>, names: &[&str]) -> World {
    let mut world = World::new(services);
    world.unanswered = names.iter().map(|name| (*name).to_owned()).collect();
    world.obedient = false;
    world.boot()
}

fn with_pre_script(name: &str) -> Service {
    Service {
        pre_script: Some(Script::Path("/setup".into())),
        ..service(name)
    }
}

fn with_post_script(name: &str) -> Service {
    Service {
        post_script: Some(Script::Inline("#!/bin/sh\n".into())),
        ..service(name)
    }
}

fn restarting(name: &str) -> Service {
    Service {
        restart: Restart {
            policy: RestartPolicy::Always,
            ..Restart::default()
        },
        ..service(name)
    }
}

/// Its program is being executed while what depends on it is up: `db` fails, and its restart hangs.
fn hanging_below_a_dependent(db: Service) -> World {
    let mut world = World::new(vec![db, after("web", &["db"])]).boot();
    world.obedient = false;
    world.unanswered.push("db".into());
    world.exit_of("db", 1);
    world.pass(seconds(1));
    assert_eq!(world.state("db"), State::Starting);
    world
}

#[test]
fn a_late_execution_is_waited_for_and_named() {
    let mut world = hanging(vec![service("db"), after("web", &["db"])], &["db"]);
    world.pass(Duration::from_millis(999));
    assert_eq!(world.row("db"), (State::Starting, String::new()));
    world.pass(Duration::from_millis(1));
    assert_eq!(world.detail("db"), "not executed for 1s");
    world.pass(seconds(28));
    assert_eq!(world.detail("db"), "not executed for 29s");
    assert_eq!(world.detail("web"), "waiting for db");
    assert_eq!(world.supervisor.main_processes(), [None, None]);
    world.answer("db", Role::Main, Ok(()));
    assert_eq!(world.row("db"), (State::Running, String::new()));
    assert_eq!(world.state("web"), State::Running);
    world.pass(seconds(600));
    assert_eq!(world.state("db"), State::Running);
}

#[test]
fn the_bound_of_readiness_begins_with_the_execution() {
    let db = Service {
        ready: Ready::Notify,
        ready_timeout: seconds(10),
        ..service("db")
    };
    let mut world = hanging(vec![db], &["db"]);
    world.pass(seconds(20));
    world.answer("db", Role::Main, Ok(()));
    world.pass(Duration::from_millis(9999));
    assert_eq!(world.detail("db"), "waiting for READY=1");
    world.pass(Duration::from_millis(1));
    assert_eq!(
        world.detail("db"),
        "not ready after 10s: waiting for READY=1"
    );
}

#[test]
fn an_execution_that_takes_too_long_is_ended_like_any_process_that_is_found_wanting() {
    let db = Service {
        stop_timeout: Some(seconds(5)),
        ..service("db")
    };
    let mut world = hanging(vec![db], &["db"]);
    world.pass(Duration::from_millis(29_999));
    world.never("SIGTERM db");
    world.pass(Duration::from_millis(1));
    let words = format!("cannot execute /bin/db: not done after 30s; {HINT}");
    assert_eq!(world.row("db"), (State::Stopping, words.clone()));
    world.at("SIGTERM db Main");
    world.pass(Duration::from_millis(4999));
    world.never("SIGKILL db");
    world.stuck.push("db".into());
    world.pass(Duration::from_millis(1));
    world.at("SIGKILL db Main");
    // It sleeps in the kernel until the file system answers.
    world.pass(seconds(600));
    assert_eq!(world.detail("db"), "killed after 5s");
    world.end("db", ExitStatus::Signaled(Signal::KILL));
    assert_eq!(world.row("db"), (State::Failed, words));
}

#[test]
fn an_execution_that_takes_too_long_is_a_failure_for_policy_and_container() {
    let mut world = hanging(vec![restarting("db")], &["db"]);
    world.obedient = true;
    world.pass(seconds(30));
    assert!(world.detail("db").contains("; restarts in "));
    world.unanswered.clear();
    world.pass(seconds(1));
    assert_eq!(world.state("db"), State::Running);

    let required = Service {
        required: true,
        ..service("db")
    };
    let mut world = hanging(vec![required, service("web")], &["db"]);
    world.obedient = true;
    world.pass(seconds(30));
    assert_eq!(world.exit, Some(1));
}

#[test]
fn a_late_answer_does_not_revive_a_service_that_is_stopped_meanwhile() {
    let answers = [Ok(()), Err("cannot execute it: Exec format error")];
    for answer in answers {
        let mut world = hanging(vec![restarting("db")], &["db"]);
        world.request(Request::Stop(named(&["db"])));
        world.at("SIGTERM db Main");
        world.answer("db", Role::Main, answer);
        if answer.is_ok() {
            assert_eq!(
                world.row("db"),
                (State::Stopping, "stop signal sent".into())
            );
            assert!(world.supervisor.main_processes()[0].is_some());
            world.end("db", ExitStatus::Signaled(Signal::TERM));
        }
        assert_eq!(world.row("db"), (State::Stopped, "stopped".into()));
        world.pass(seconds(600));
        assert_eq!(world.state("db"), State::Stopped);
        world.never("db STARTING->RUNNING");
    }
}

#[test]
fn a_stop_that_waits_for_its_turn_outlives_the_answer() {
    let db = Service {
        required: true,
        ..restarting("db")
    };
    let stop = |world: &mut World| {
        world.request(Request::Stop(named(&["web", "db"])));
        assert_eq!(world.state("db"), State::Starting);
    };
    let mut failed = hanging_below_a_dependent(db.clone());
    stop(&mut failed);
    failed.answer("db", Role::Main, Err("cannot find it"));
    let mut ended = hanging_below_a_dependent(db.clone());
    stop(&mut ended);
    ended.exit_of("db", 1);
    for mut world in [failed, ended] {
        assert_eq!(world.row("db"), (State::Stopped, "stopped".into()));
        world.exit_of("web", 0);
        assert_eq!(world.replies.len(), 1);
        world.pass(seconds(600));
        assert_eq!((world.state("db"), world.exit), (State::Stopped, None));
    }

    // One that is executed meanwhile goes when its turn comes.
    let mut executed = hanging_below_a_dependent(db);
    stop(&mut executed);
    executed.answer("db", Role::Main, Ok(()));
    assert_eq!(executed.state("db"), State::Running);
    executed.exit_of("web", 0);
    executed.exit_of("db", 0);
    assert_eq!(executed.state("db"), State::Stopped);
}

#[test]
fn a_restart_that_waits_for_its_turn_takes_up_a_failed_spawn() {
    let mut world = hanging_below_a_dependent(restarting("db"));
    world.request(Request::Restart(named(&["web", "db"])));
    world.unanswered.clear();
    world.answer("db", Role::Main, Err("cannot find it"));
    world.exit_of("web", 0);
    world.pass(seconds(0));
    assert_eq!(world.state("db"), State::Running);
    assert_eq!(world.state("web"), State::Running);
}

#[test]
fn a_process_that_ends_before_its_program_is_executed_has_failed_whatever_its_exit_code() {
    let ends = [
        (ExitStatus::Exited(0), "exit 0"),
        (ExitStatus::Exited(3), "exit 3"),
        (ExitStatus::Signaled(Signal::KILL), "killed by SIGKILL"),
    ];
    for (status, words) in ends {
        let mut world = hanging(vec![service("db")], &["db"]);
        world.end("db", status);
        let words = format!("{words} before its program was executed");
        assert_eq!(world.row("db"), (State::Failed, words));

        let mut world = hanging(vec![service("db")], &["db"]);
        world.request(Request::Stop(named(&["db"])));
        world.end("db", status);
        assert_eq!(world.row("db"), (State::Stopped, "stopped".into()));

        let mut world = hanging(vec![with_pre_script("db")], &["db"]);
        world.end("db", status);
        assert_eq!(world.state("db"), State::Failed);
        assert!(world.detail("db").ends_with(" before it was executed"));
        world.never("spawn db Main");
    }
}

#[test]
fn a_pre_script_that_is_not_executed_is_bounded_and_one_that_runs_is_not() {
    let mut world = hanging(vec![with_pre_script("db")], &["db"]);
    world.pass(Duration::from_millis(999));
    assert_eq!(world.detail("db"), "pre-script");
    world.pass(Duration::from_millis(11_001));
    assert_eq!(world.detail("db"), "pre-script not executed for 12s");
    world.pass(seconds(18));
    let words = format!("pre-script: cannot execute /setup: not done after 30s; {HINT}");
    assert_eq!(world.row("db"), (State::Stopping, words.clone()));
    world.at("SIGTERM db PreScript");
    world.end("db", ExitStatus::Signaled(Signal::TERM));
    assert_eq!(world.row("db"), (State::Failed, words));
    world.never("spawn db Main");

    let mut world = hanging(vec![with_pre_script("db")], &["db"]);
    world.pass(seconds(29));
    world.answer("db", Role::PreScript, Ok(()));
    world.pass(seconds(3600));
    assert_eq!(world.row("db"), (State::Starting, "pre-script".into()));
    // The execution of its program has a bound of its own.
    world.exit_of("db", 0);
    world.pass(seconds(29));
    assert_eq!(world.detail("db"), "not executed for 29s");
}

/// It is up, and its post-script hangs.
fn hanging_post_script() -> World {
    let mut world = World::new(vec![with_post_script("web")]).boot();
    world.obedient = false;
    world.unanswered.push("web".into());
    world.pass(seconds(7));
    world.at("spawn web PostScript");
    world
}

#[test]
fn a_post_script_that_is_not_executed_is_ended_and_its_service_runs_on() {
    let mut world = hanging_post_script();
    assert_eq!(world.detail("web"), "post-script");
    world.pass(seconds(12));
    assert_eq!(world.detail("web"), "post-script not executed for 12s");
    world.pass(seconds(17));
    world.never("SIGTERM web");
    world.pass(seconds(1));
    world.at("SIGTERM web PostScript");
    let words = format!("cannot execute the script: not done after 30s; {HINT}");
    world.at(&format!("web post-script failed: {words}"));
    world.pass(seconds(10));
    world.at("SIGKILL web PostScript");
    assert_eq!(world.row("web"), (State::Running, String::new()));
    let failures = world.log.iter().filter(|line| line.contains("failed"));
    assert_eq!(failures.count(), 1, "{:#?}", world.log);
}

#[test]
fn a_post_script_may_be_executed_late_or_not() {
    let mut world = hanging_post_script();
    world.pass(seconds(29));
    world.answer("web", Role::PostScript, Ok(()));
    world.pass(seconds(600));
    assert_eq!(world.detail("web"), "post-script");
    world.never("SIGTERM web");

    let mut world = hanging_post_script();
    world.answer("web", Role::PostScript, Err("cannot run the script"));
    world.at("web post-script failed: cannot run the script");
    assert_eq!(world.row("web"), (State::Running, String::new()));

    // A service that is stopped takes its post-script with it, and that is no failure.
    let mut world = hanging_post_script();
    world.request(Request::Stop(named(&["web"])));
    world.at("SIGTERM web PostScript");
    world.answer("web", Role::PostScript, Err("cannot run the script"));
    world.exit_of("web", 0);
    assert_eq!(world.state("web"), State::Stopped);
    world.never("web post-script failed");
}

#[test]
fn a_shutdown_stops_what_is_being_executed_like_anything_else() {
    let mut world = hanging_below_a_dependent(restarting("db"));
    world.tell(Event::ShutdownSignal(Signal::TERM));
    world.at("SIGTERM web Main");
    world.never("SIGTERM db");
    world.exit_of("web", 0);
    world.at("SIGTERM db Main");
    world.pass(seconds(10));
    world.at("SIGKILL db Main");
    assert_eq!(world.exit, Some(0));
    world.never("down: required");

    // A late answer to a spawn starts nothing any more.
    let mut world = hanging(vec![service("db"), after("web", &["db"])], &["db"]);
    world.tell(Event::ShutdownSignal(Signal::TERM));
    world.answer("db", Role::Main, Ok(()));
    assert_eq!(world.state("db"), State::Stopping);
    world.never("spawn web");
    world.end("db", ExitStatus::Signaled(Signal::TERM));
    assert_eq!(world.exit, Some(0));
}
