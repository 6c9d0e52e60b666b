//! Health, readiness and what follows from them in the virtual world: for the service, for those who wait
//! for it, for those who follow it, and for the whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod world;

use std::time::Duration;

use go_overlay::base::{Moment, Pid, Signal};
use go_overlay::config::model::{
    Condition, Config, Health, OnDependencyFailure, OnUnhealthy, Probe, Ready, Restart,
    RestartPolicy, Service, Timeouts,
};
use go_overlay::control::message::{
    Health as Standing, Request, Response, Selection, State, WaitFor,
};
use go_overlay::domain::NeverReady;
use go_overlay::supervisor::event::{Event, Word};
use proptest::prelude::*;
use world::{CLIENT, World, after, named, seconds, service};

const REFUSED: Result<(), &str> = Err("GET /healthz: 503");

/// Checked every 10 s, given up after 3 failures.
fn health() -> Health {
    Health {
        probe: Probe::Exec(vec!["check".into()]),
        interval: seconds(10),
        timeout: seconds(2),
        retries: 3,
        start_period: Duration::ZERO,
        start_interval: seconds(1),
        on_unhealthy: OnUnhealthy::Restart,
    }
}

fn checked(name: &str) -> Service {
    Service {
        health: Some(Box::new(health())),
        ..service(name)
    }
}

fn after_health(name: &str, on: &str) -> Service {
    let mut service = after(name, &[on]);
    service.depends_on[0].condition = Condition::Healthy;
    service
}

fn ready(name: &str, ready: Ready) -> Service {
    Service {
        ready,
        ready_timeout: seconds(30),
        ..service(name)
    }
}

fn following(name: &str, on: &str, follows: OnDependencyFailure) -> Service {
    Service {
        on_dependency_failure: follows,
        ..after(name, &[on])
    }
}

fn standing(world: &World, name: &str) -> Standing {
    let rows = world.list();
    rows.into_iter()
        .find(|row| row.name == name)
        .unwrap()
        .health
}

/// Makes a running service unhealthy.
fn make_unhealthy(world: &mut World, name: &str) {
    for _ in 0..3 {
        if world.checks.is_empty() {
            world.pass(seconds(10));
        }
        world.checked(name, REFUSED);
    }
}

#[test]
fn the_first_check_comes_at_once_and_a_dependent_starts_when_it_passes() {
    let mut world = World::new(vec![checked("db"), after_health("web", "db")]).boot();
    assert_eq!(world.state("db"), State::Running);
    assert_eq!(standing(&world, "db"), Standing::Starting);
    assert_eq!(world.detail("web"), "waiting for db");
    world.checked("db", Ok(()));
    assert_eq!(standing(&world, "db"), Standing::Healthy);
    assert_eq!(world.state("web"), State::Running);
}

#[test]
fn until_it_is_well_for_the_first_time_it_is_asked_often() {
    let mut world = World::new(vec![checked("db")]).boot();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let began = world.now;
        world.checked("db", REFUSED);
        assert_eq!(world.detail("db"), "not healthy yet: GET /healthz: 503");
        let due = world.supervisor.poll_timeout().unwrap().at;
        world.pass(due.since(world.now));
        pauses.push(world.now.since(began).as_millis());
    }
    assert_eq!(pauses, [25, 50, 100, 200, 400, 800, 1000, 1000]);
    world.checked("db", Ok(()));
    assert_eq!(world.detail("db"), "");
    let due = world.supervisor.poll_timeout().unwrap().at;
    assert_eq!(due.since(world.now), seconds(10));
}

#[test]
fn one_that_never_gets_well_has_its_start_period_and_the_time_of_its_retries() {
    let slow = Service {
        health: Some(Box::new(Health {
            start_period: seconds(60),
            ..health()
        })),
        ..service("db")
    };
    let mut world = World::new(vec![slow]).boot();
    let began = world.now;
    while standing(&world, "db") == Standing::Starting {
        world.checked("db", REFUSED);
        if world.state("db") == State::Running {
            let due = world.supervisor.poll_timeout().unwrap().at;
            world.pass(due.since(world.now));
        }
    }
    let took = world.now.since(began);
    assert!((seconds(90)..=seconds(91)).contains(&took), "{took:?}");
    world.at("db starting->unhealthy GET /healthz: 503");
    world.at("SIGTERM db Main");
    assert_eq!(world.state("db"), State::Failed);
}

#[test]
fn a_few_failures_are_shown_and_forgotten() {
    let mut world = World::new(vec![checked("db")]).boot();
    world.checked("db", Ok(()));
    for count in 1..=2 {
        world.pass(seconds(10));
        world.checked("db", REFUSED);
        assert_eq!(
            world.detail("db"),
            format!("check failed ({count} of 3): GET /healthz: 503")
        );
        assert_eq!(standing(&world, "db"), Standing::Healthy);
    }
    world.pass(seconds(10));
    world.checked("db", Ok(()));
    assert_eq!(world.detail("db"), "");
    for _ in 0..2 {
        world.pass(seconds(10));
        world.checked("db", REFUSED);
    }
    assert_eq!(
        standing(&world, "db"),
        Standing::Healthy,
        "not three in a row"
    );
}

#[test]
fn an_unhealthy_one_is_ended_with_its_grace_and_started_again_whatever_its_policy() {
    for policy in [
        RestartPolicy::No,
        RestartPolicy::OnFailure,
        RestartPolicy::Always,
    ] {
        let mut db = checked("db");
        db.restart = Restart {
            policy,
            jitter_permille: 0,
            ..Restart::default()
        };
        let mut world = World::new(vec![db, after_health("web", "db")]).boot();
        world.checked("db", Ok(()));
        make_unhealthy(&mut world, "db");
        world.at("SIGTERM db Main");
        assert_eq!(world.state("db"), State::Failed);
        assert_eq!(
            world.detail("db"),
            "unhealthy: GET /healthz: 503; restarts in 500ms (1)"
        );
        assert_eq!(
            world.state("web"),
            State::Running,
            "nobody told it to follow"
        );
        world.pass(Duration::from_millis(500));
        assert_eq!(world.state("db"), State::Running);
        assert_eq!(standing(&world, "db"), Standing::Starting, "begun anew");
        assert_eq!(world.list()[0].restarts, 1);
    }
}

#[test]
fn one_that_does_not_hear_its_stop_signal_is_killed_after_the_grace_and_started_again() {
    let mut world = World::new(vec![checked("db")]).boot();
    world.obedient = false;
    world.checked("db", Ok(()));
    make_unhealthy(&mut world, "db");
    assert_eq!(world.state("db"), State::Stopping);
    assert_eq!(world.detail("db"), "unhealthy: GET /healthz: 503");
    world.pass(seconds(10));
    world.at("SIGKILL db Main");
    assert_eq!(world.state("db"), State::Failed);
    world.pass(seconds(1));
    assert_eq!(world.state("db"), State::Running);
}

#[test]
fn attempts_are_counted_and_end() {
    let mut db = checked("db");
    db.restart = Restart {
        policy: RestartPolicy::OnFailure,
        max_attempts: Some(2),
        jitter_permille: 0,
        ..Restart::default()
    };
    db.required = true;
    let mut world = World::new(vec![db]).boot();
    for _ in 0..2 {
        world.checked("db", Ok(()));
        make_unhealthy(&mut world, "db");
        world.pass(seconds(2));
        assert_eq!(world.state("db"), State::Running);
    }
    world.checked("db", Ok(()));
    make_unhealthy(&mut world, "db");
    assert_eq!(
        world.detail("db"),
        "unhealthy: GET /healthz: 503; gave up after 2 restarts"
    );
    assert_eq!(world.exit, Some(1), "it was required");
}

#[test]
fn with_on_unhealthy_none_it_is_shown_and_may_get_well_again() {
    let mut db = checked("db");
    db.health.as_mut().unwrap().on_unhealthy = OnUnhealthy::None;
    let mut world = World::new(vec![db, after_health("web", "db")]).boot();
    world.checked("db", Ok(()));
    make_unhealthy(&mut world, "db");
    assert_eq!(standing(&world, "db"), Standing::Unhealthy);
    assert_eq!(world.state("db"), State::Running);
    assert_eq!(world.detail("db"), "unhealthy: GET /healthz: 503");
    assert!(matches!(
        world.health(),
        Response::Health { healthy: false, reasons } if reasons == ["db: unhealthy: GET /healthz: 503"]
    ));
    // Who starts now waits for it.
    world.request(Request::Restart(named(&["web"])));
    assert_eq!(world.detail("web"), "waiting for db");
    world.pass(seconds(10));
    world.checked("db", Ok(()));
    world.at("db unhealthy->healthy");
    assert_eq!(world.state("web"), State::Running);
}

#[test]
fn a_check_ends_with_its_service_and_its_answer_comes_too_late() {
    let mut world = World::new(vec![checked("db")]).boot();
    let job = *world.checks.keys().next().unwrap();
    world.request(Request::Stop(named(&["db"])));
    world.at("end of the check of db");
    assert_eq!(world.state("db"), State::Stopped);
    assert_eq!(standing(&world, "db"), Standing::None);
    world.tell(Event::Checked {
        job,
        result: Ok(()),
    });
    assert_eq!(standing(&world, "db"), Standing::None);
    assert_eq!(world.supervisor.poll_timeout(), None);
}

#[test]
fn nobody_is_checked_in_a_shutdown() {
    let mut world = World::new(vec![checked("db"), after_health("web", "db")]).boot();
    world.checked("db", Ok(()));
    world.pass(seconds(10));
    world.obedient = false;
    world.tell(Event::ShutdownSignal(go_overlay::base::Signal::TERM));
    world.at("end of the check of db");
    let checks = world.log.iter().filter(|line| *line == "check db").count();
    world.pass(seconds(40));
    let later = world.log.iter().filter(|line| *line == "check db").count();
    assert_eq!((checks, world.exit), (later, Some(0)));
}

#[test]
fn one_that_was_about_to_start_as_the_shutdown_begins_is_not_started() {
    let bad = Service {
        required: true,
        enabled: false,
        ..service("bad")
    };
    let mut world = World::new(vec![bad, checked("db"), after("web", &["db"])]).boot();
    world.obedient = false;
    world.broken.push("bad".into());
    world.exit_of("db", 1);
    world.log.clear();
    world.request(Request::Start(named(&["bad", "db"])));
    assert!(world.at("down: required service bad failed") < world.at("db PENDING->STOPPED"));
    world.pass(seconds(1));
    world.never("spawn db");
    world.never("check db");
}

#[test]
fn wait_for_healthy_waits_for_health() {
    let mut world = World::new(vec![checked("db"), service("web")]).boot();
    let wait = |service: &str| Request::Wait {
        service: service.into(),
        until: WaitFor::Healthy,
        timeout_ms: None,
    };
    world.request(wait("web"));
    assert_eq!(world.replies.len(), 1, "without a check RUNNING will do");
    world.request(wait("db"));
    assert_eq!(world.replies.len(), 1);
    world.checked("db", Ok(()));
    assert!(matches!(
        &world.replies[1],
        Response::Outcome { ok: true, .. }
    ));
}

#[test]
fn each_kind_of_readiness_makes_it_running_and_nothing_else_does() {
    let cases = [
        (Ready::Notify, "waiting for READY=1"),
        (Ready::Fd(3), "waiting for a newline on descriptor 3"),
        (Ready::Log("up".into()), "waiting for \"up\" in its output"),
    ];
    for (kind, detail) in cases {
        let mut world = World::new(vec![ready("db", kind), after("web", &["db"])]).boot();
        assert_eq!(world.row("db"), (State::Starting, detail.into()));
        assert!(world.list()[0].pid.is_some());
        assert_eq!(world.state("web"), State::Pending);
        world.says("db", Word::Alive);
        world.says("db", Word::Status("loading 3 of 7".into()));
        assert_eq!(world.row("db"), (State::Starting, "loading 3 of 7".into()));
        world.says("db", Word::Ready);
        assert_eq!(world.state("db"), State::Running);
        assert_eq!(world.state("web"), State::Running);
        world.says("db", Word::Ready);
        assert_eq!(world.state("db"), State::Running);
    }
}

#[test]
fn ready_when_healthy() {
    let db = Service {
        ready: Ready::Healthy,
        ready_timeout: seconds(60),
        ..checked("db")
    };
    let mut world = World::new(vec![db, after("web", &["db"])]).boot();
    assert_eq!(world.row("db"), (State::Starting, "not healthy yet".into()));
    world.says("db", Word::Ready);
    assert_eq!(world.state("db"), State::Starting, "its word is not asked");
    world.checked("db", REFUSED);
    assert_eq!(world.detail("db"), "not healthy yet: GET /healthz: 503");
    world.pass(Duration::from_millis(25));
    world.checked("db", Ok(()));
    assert_eq!(world.state("db"), State::Running);
    assert_eq!(world.state("web"), State::Running);
}

#[test]
fn not_ready_in_time_is_a_failure_that_its_policy_decides_about() {
    let mut world = World::new(vec![ready("db", Ready::Notify), after("web", &["db"])]).boot();
    world.pass(seconds(30));
    world.at("SIGTERM db Main");
    let reason = "not ready after 30s: waiting for READY=1";
    assert_eq!(world.row("db"), (State::Failed, reason.into()));
    assert_eq!(
        world.row("web"),
        (State::Failed, "dependency db failed".into())
    );

    let mut db = ready("db", Ready::Notify);
    db.restart = Restart {
        policy: RestartPolicy::OnFailure,
        jitter_permille: 0,
        ..Restart::default()
    };
    let mut world = World::new(vec![db, after("web", &["db"])]).boot();
    world.pass(seconds(30));
    assert_eq!(
        world.detail("db"),
        "not ready after 30s: waiting for READY=1; restarts in 500ms (1)"
    );
    assert_eq!(world.state("web"), State::Pending);
    world.pass(seconds(1));
    world.says("db", Word::Ready);
    assert_eq!(world.state("web"), State::Running);
}

#[test]
fn one_that_ends_or_gives_up_before_it_is_ready_has_failed() {
    let mut world = World::new(vec![ready("db", Ready::Notify)]).boot();
    world.exit_of("db", 0);
    let reason = "exit 0 before it was ready";
    assert_eq!(world.row("db"), (State::Failed, reason.into()));
    let mut world = World::new(vec![ready("db", Ready::Notify)]).boot();
    world.exit_of("db", 3);
    assert_eq!(world.row("db"), (State::Failed, "exit 3".into()));
    let mut world = World::new(vec![ready("db", Ready::Fd(3))]).boot();
    world.says("db", Word::NeverReady(NeverReady::Closed));
    world.pass(Duration::from_millis(999));
    assert_eq!(world.state("db"), State::Starting);
    world.pass(Duration::from_millis(1));
    let reason = "closed its readiness descriptor without a newline";
    assert_eq!(world.row("db"), (State::Failed, reason.into()));
}

#[test]
fn an_exit_before_readiness_keeps_its_code_whatever_makes_it_ready() {
    let forms = [
        Ready::Notify,
        Ready::Fd(3),
        Ready::Log("up".into()),
        Ready::Healthy,
        Ready::Started,
    ];
    for form in forms {
        for closes in [false, true] {
            let db = Service {
                required: true,
                health: Some(Box::new(health())),
                ..ready("db", form.clone())
            };
            let mut world = World::new(vec![db]).boot();
            if closes {
                // The descriptor closes as the program ends, and is seen first.
                world.says("db", Word::NeverReady(NeverReady::Closed));
                world.pass(Duration::from_millis(400));
            }
            world.exit_of("db", 42);
            world.at("down: required service db failed: exit 42");
            assert_eq!(world.exit, Some(42), "{form:?}");
        }
    }
}

#[test]
fn a_stop_while_it_gets_ready_is_no_failure() {
    let mut world = World::new(vec![ready("db", Ready::Notify)]).boot();
    world.request(Request::Stop(named(&["db"])));
    assert_eq!(world.row("db"), (State::Stopped, "stopped".into()));
    assert!(matches!(
        &world.replies[0],
        Response::Outcome { ok: true, .. }
    ));
}

#[test]
fn a_watchdog_begins_with_running_and_bites_when_nothing_is_said() {
    let db = Service {
        watchdog: Some(seconds(5)),
        ..ready("db", Ready::Notify)
    };
    let mut world = World::new(vec![db]).boot();
    world.pass(seconds(20));
    assert_eq!(
        world.state("db"),
        State::Starting,
        "a start has its own bound"
    );
    world.says("db", Word::Ready);
    for _ in 0..5 {
        world.pass(seconds(4));
        world.says("db", Word::Alive);
    }
    assert_eq!(world.state("db"), State::Running);
    world.pass(seconds(5));
    assert_eq!(
        world.row("db"),
        (State::Failed, "no WATCHDOG=1 for 5s".into())
    );
}

#[test]
fn while_its_dependent_ends_first_nothing_is_due_for_one_that_is_to_end_too() {
    let slow_to_end = |dependency: Service| {
        let mut world = World::new(vec![dependency, after("web", &["db"])]).boot();
        world.obedient = false;
        world
    };
    let silent = || Service {
        watchdog: Some(seconds(1)),
        ..service("db")
    };
    let mut down = slow_to_end(silent());
    down.tell(Event::ShutdownSignal(Signal::TERM));
    let mut again = slow_to_end(silent());
    again.request(Request::Restart(Selection {
        with_dependents: true,
        ..named(&["db"])
    }));
    for mut world in [down, again] {
        world.pass(seconds(5));
        assert_eq!(world.state("db"), State::Running);
        let next = world.supervisor.poll_timeout().unwrap();
        assert_eq!(next.at, Moment(0).after(seconds(10)), "SIGKILL for web");
    }
    // One that is not ready yet is waited for by nobody, so that its dependent is of an earlier life.
    let mut world = slow_to_end(silent());
    world.exit_of("db", 1);
    let late = Service {
        ready_timeout: seconds(1),
        ..ready("db", Ready::Notify)
    };
    let config = Config {
        timeouts: Timeouts::default(),
        services: vec![late, after("web", &["db"])],
    };
    world.tell(Event::Reload(Box::new(config)));
    world.request(Request::Start(named(&["db"])));
    assert_eq!(world.state("db"), State::Starting);
    world.tell(Event::ShutdownSignal(Signal::TERM));
    world.pass(seconds(5));
    assert_eq!(world.state("db"), State::Starting);
}

#[test]
fn a_service_may_set_and_end_its_watchdog_and_pull_it() {
    let mut world = World::new(vec![service("db")]).boot();
    world.says("db", Word::AliveWithin(Some(seconds(1))));
    world.pass(Duration::from_millis(900));
    world.says("db", Word::AliveWithin(None));
    world.pass(seconds(100));
    assert_eq!(world.state("db"), State::Running);
    world.says("db", Word::Trouble);
    assert_eq!(world.row("db"), (State::Failed, "WATCHDOG=trigger".into()));
}

#[test]
fn a_service_may_ask_for_more_time_to_start_to_run_and_to_stop() {
    let db = Service {
        ready_timeout: seconds(10),
        watchdog: Some(seconds(5)),
        stop_timeout: Some(seconds(3)),
        ..ready("db", Ready::Notify)
    };
    let extend = |by| Word::ExtendTimeout(seconds(by));
    let mut world = World::new(vec![db]).boot();
    world.obedient = false;
    // Less than is left anyway changes nothing.
    world.says("db", extend(1));
    world.pass(seconds(9));
    world.says("db", extend(20));
    world.pass(seconds(19));
    assert_eq!(world.state("db"), State::Starting);
    world.says("db", Word::Ready);
    world.says("db", extend(30));
    world.pass(seconds(29));
    assert_eq!(world.state("db"), State::Running);
    // Fed, it is bound by its own period again.
    world.says("db", Word::Alive);
    world.pass(seconds(4));
    world.request(Request::Stop(named(&["db"])));
    world.pass(seconds(2));
    world.says("db", extend(4));
    world.pass(Duration::from_millis(3900));
    assert_eq!(world.state("db"), State::Stopping);
    world.pass(seconds(1));
    assert_eq!(world.row("db"), (State::Stopped, "killed after 6s".into()));
}

#[test]
fn more_time_that_is_over_is_the_bound_that_is_named() {
    let slow = Service {
        ready_timeout: seconds(10),
        ..ready("slow", Ready::Notify)
    };
    let mut world = World::new(vec![slow]).boot();
    world.says("slow", Word::ExtendTimeout(seconds(25)));
    world.pass(seconds(25));
    let reason = "not ready after 25s: waiting for READY=1";
    assert_eq!(world.row("slow"), (State::Failed, reason.into()));
    // The whole shutdown is not held up.
    let mut world = World::new(vec![service("db")]).boot();
    world.obedient = false;
    world.tell(Event::ShutdownSignal(Signal::TERM));
    world.says("db", Word::ExtendTimeout(Duration::MAX));
    world.pass(Timeouts::default().global_shutdown + seconds(10));
    assert_eq!(world.exit, Some(0));
}

#[test]
fn one_that_says_it_is_stopping_is_left_alone() {
    let mut db = checked("db");
    db.watchdog = Some(seconds(5));
    let mut world = World::new(vec![db]).boot();
    world.checked("db", Ok(()));
    world.says("db", Word::Stopping);
    assert_eq!(world.detail("db"), "stopping by itself");
    world.pass(seconds(100));
    assert_eq!(world.state("db"), State::Running);
    world.exit_of("db", 0);
    assert_eq!(world.row("db"), (State::Stopped, "completed".into()));
}

#[test]
fn what_it_says_is_forgotten_with_it() {
    let mut world = World::new(vec![service("db")]).boot();
    world.says("db", Word::Status("3 clients".into()));
    assert_eq!(world.detail("db"), "3 clients");
    world.says("db", Word::MainPid(Pid(4711)));
    assert_eq!(world.list()[0].pid, Some(4711));
    world.request(Request::Restart(named(&["db"])));
    assert_eq!(world.detail("db"), "");
}

#[test]
fn who_follows_a_dependency_goes_when_it_fails_and_who_does_not_stays() {
    use OnDependencyFailure::{Ignore, Restart as Again, Stop};
    let mut world = World::new(vec![
        service("db"),
        following("stays", "db", Ignore),
        following("stops", "db", Stop),
        following("returns", "db", Again),
        following("second", "returns", Again),
    ])
    .boot();
    world.exit_of("db", 7);
    assert_eq!(world.state("stays"), State::Running);
    assert_eq!(
        world.row("stops"),
        (State::Stopped, "dependency db failed".into())
    );
    // It waits for its dependency as at any start, and that has failed for good.
    assert_eq!(
        world.row("returns"),
        (State::Failed, "dependency db failed".into())
    );
    assert_eq!(
        world.row("second"),
        (State::Failed, "dependency returns failed".into())
    );
}

#[test]
fn who_follows_comes_back_with_a_dependency_that_is_restarted() {
    let mut db = checked("db");
    db.restart = Restart {
        policy: RestartPolicy::OnFailure,
        jitter_permille: 0,
        ..Restart::default()
    };
    let mut web = following("web", "db", OnDependencyFailure::Restart);
    web.depends_on[0].condition = Condition::Healthy;
    let stops = following("stops", "db", OnDependencyFailure::Stop);
    let mut world = World::new(vec![db, web, stops]).boot();
    world.checked("db", Ok(()));
    make_unhealthy(&mut world, "db");
    assert!(world.at("SIGTERM db Main") < world.at("SIGTERM web Main"));
    world.at("web restarts: dependency db failed");
    assert_eq!(world.row("web"), (State::Pending, "waiting for db".into()));
    world.pass(seconds(1));
    assert_eq!(world.state("web"), State::Pending, "db is not healthy yet");
    world.checked("db", Ok(()));
    assert_eq!(world.state("web"), State::Running);
    assert_eq!(world.state("stops"), State::Stopped);
}

#[test]
fn a_stop_or_restart_by_hand_is_no_failure_that_anybody_follows() {
    let follows = OnDependencyFailure::Restart;
    let mut world = World::new(vec![service("db"), following("web", "db", follows)]).boot();
    world.request(Request::Restart(named(&["db"])));
    world.request(Request::Stop(named(&["db"])));
    assert_eq!(world.state("db"), State::Stopped);
    assert_eq!(world.state("web"), State::Running);
    world.tell(Event::ClientGone { client: CLIENT });
}

/// What becomes of a service and its world in a random run.
#[derive(Clone, Debug)]
enum Step {
    Check(usize, bool),
    Exit(usize, u8),
    Restart(usize),
    Stop(usize),
    Start(usize),
    Ready(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = 0usize..6;
    let step = prop_oneof![
        4 => (which.clone(), any::<bool>()).prop_map(|(of, good)| Step::Check(of, good)),
        2 => (which.clone(), 0u8..3).prop_map(|(of, code)| Step::Exit(of, code)),
        1 => which.clone().prop_map(Step::Restart),
        1 => which.clone().prop_map(Step::Stop),
        1 => which.clone().prop_map(Step::Start),
        3 => which.prop_map(Step::Ready),
        3 => (1u64..3000).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Six services: each may depend on those before it, in any way.
fn graph() -> impl Strategy<Value = Vec<Service>> {
    let one = (
        proptest::collection::vec((0usize..6, 0u8..3), 0..3),
        0u8..4,
        any::<bool>(),
        0u8..3,
    );
    proptest::collection::vec(one, 6).prop_map(|parts| {
        let name = |number: usize| format!("s{number}");
        let mut services: Vec<Service> = Vec::new();
        for (number, (edges, kind, restarts, follows)) in parts.into_iter().enumerate() {
            let mut service = match kind {
                0 => ready(&name(number), Ready::Notify),
                1 => checked(&name(number)),
                2 => Service {
                    ready: Ready::Healthy,
                    ..checked(&name(number))
                },
                _ => service(&name(number)),
            };
            for (on, condition) in edges.into_iter().filter(|(on, _)| *on < number) {
                if service.depends_on.iter().any(|edge| edge.on == name(on)) {
                    continue;
                }
                let condition = match condition {
                    0 if services[on].health.is_some() => Condition::Healthy,
                    1 => Condition::Completed,
                    _ => Condition::Started,
                };
                let edge = after("x", &[&name(on)]).depends_on.remove(0);
                service
                    .depends_on
                    .push(go_overlay::config::model::Dependency { condition, ..edge });
            }
            service.restart = Restart {
                policy: if restarts {
                    RestartPolicy::Always
                } else {
                    RestartPolicy::No
                },
                delay: seconds(1),
                ..Restart::default()
            };
            service.on_dependency_failure = match follows {
                0 => OnDependencyFailure::Ignore,
                1 => OnDependencyFailure::Stop,
                _ => OnDependencyFailure::Restart,
            };
            services.push(service);
        }
        services
    })
}

/// Whether a condition holds, told by what the outside sees.
fn holds(world: &World, on: &str, condition: Condition) -> bool {
    let rows = world.list();
    let row = rows.into_iter().find(|row| row.name == on).unwrap();
    let completed = row.state == State::Stopped && row.detail.starts_with("completed");
    let running = row.state == State::Running;
    match condition {
        Condition::Started => running || completed,
        Condition::Healthy => (running && row.health == Standing::Healthy) || completed,
        Condition::Completed => completed,
    }
}

fn is_alive(world: &World, name: &str) -> bool {
    world.alive.values().any(|(of, _)| of == name)
}

fn act(world: &mut World, step: &Step) {
    let name = |number: &usize| format!("s{number}");
    match step {
        Step::Check(of, good) => {
            if world.checks.values().any(|other| *other == name(of)) {
                world.checked(&name(of), if *good { Ok(()) } else { REFUSED });
            }
        }
        Step::Exit(of, code) if is_alive(world, &name(of)) => world.exit_of(&name(of), *code),
        Step::Exit(..) => {}
        Step::Restart(of) => world.request(Request::Restart(named(&[&name(of)]))),
        Step::Stop(of) => world.request(Request::Stop(named(&[&name(of)]))),
        Step::Start(of) => world.request(Request::Start(named(&[&name(of)]))),
        Step::Ready(of) if is_alive(world, &name(of)) => world.says(&name(of), Word::Ready),
        Step::Ready(_) => {}
        Step::Pass(millis) => world.pass(Duration::from_millis(*millis)),
    }
    world.tell(Event::ClientGone { client: CLIENT });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Over random graphs and lives: nobody is spawned while a condition of his does not hold, and nobody
    /// waits whose conditions all hold.
    #[test]
    fn nobody_starts_early_and_nobody_is_kept_waiting(services in graph(), steps in steps()) {
        let mut world = World::new(services.clone());
        world.tell(Event::Boot);
        for step in std::iter::once(&Step::Pass(1)).chain(&steps) {
            let before = world.log.len();
            act(&mut world, step);
            for service in &services {
                let held = service.depends_on.iter().all(|edge| holds(&world, &edge.on, edge.condition));
                let name = &service.name;
                prop_assert!(
                    !(held && world.state(name) == State::Pending),
                    "{name} is kept waiting after {step:?}: {:#?}", world.log
                );
                let spawned = world.log[before..].contains(&format!("spawn {name} Main"));
                // A dependency may have gone again in the same step, by its own exit only.
                let itself = matches!(step, Step::Pass(_));
                prop_assert!(
                    !spawned || held || itself,
                    "{name} starts early after {step:?}: {:#?}", world.log
                );
            }
        }
        world.tell(Event::ShutdownSignal(go_overlay::base::Signal::TERM));
        world.pass(seconds(60));
        prop_assert_eq!(world.exit, Some(0));
        prop_assert!(world.checks.is_empty());
    }
}
