//! The faults that the simulator found, each as a small story of its own (docs/TESTING.md has the seeds).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod world;

use std::time::Duration;

use go_overlay::base::{ExitStatus, Signal};
use go_overlay::config::model::{
    Condition, Config, Health, OnDependencyFailure, OnUnhealthy, Probe, Ready, Restart,
    RestartPolicy, Script, Service, Timeouts,
};
use go_overlay::control::message::{Request, Response, Selection, State};
use go_overlay::supervisor::event::{Event, Role, Word};
use world::{World, after, named, seconds, service};

fn script() -> Option<Script> {
    Some(Script::Inline("#!/bin/sh\n".into()))
}

fn reload(world: &mut World, services: Vec<Service>) {
    let timeouts = Timeouts::default();
    world.tell(Event::Reload(Box::new(Config { timeouts, services })));
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

/// A service whose post-script hangs, told to stop: its main process is gone, its post-script is not.
fn half_stopped() -> World {
    let web = Service {
        post_script: script(),
        ..service("web")
    };
    let mut world = World::new(vec![web]).boot();
    world.pass(seconds(7));
    world.obedient = false;
    world.request(Request::Stop(named(&["web"])));
    let main = world
        .alive
        .iter()
        .find(|(_, (_, role))| *role == Role::Main);
    let main = *main.unwrap().0;
    world.end_job(main, ExitStatus::Exited(0));
    assert_eq!(world.state("web"), State::Stopping);
    world
}

#[test]
fn restart_with_dependents_brings_up_what_is_stopping() {
    let mut world = World::new(vec![service("db")]).boot();
    world.obedient = false;
    world.request(Request::Stop(named(&["db"])));
    world.request(Request::Restart(Selection {
        with_dependents: true,
        ..named(&["db"])
    }));
    world.exit_of("db", 0);
    assert_eq!(world.state("db"), State::Running);
}

#[test]
fn who_is_going_down_is_not_brought_up_by_the_restart_of_its_dependency() {
    let mut world = World::new(vec![service("db"), after("web", &["db"])]).boot();
    world.obedient = false;
    world.request(Request::Stop(named(&["web"])));
    world.request(Request::Restart(Selection {
        with_dependents: true,
        ..named(&["db"])
    }));
    world.exit_of("web", 0);
    world.exit_of("db", 0);
    assert_eq!(world.state("db"), State::Running);
    assert_eq!(world.state("web"), State::Stopped);
}

#[test]
fn a_post_script_is_killed_once() {
    let web = Service {
        post_script: script(),
        stop_timeout: Some(Duration::ZERO),
        ..service("web")
    };
    let mut world = World::new(vec![web]).boot();
    world.pass(seconds(7));
    world.obedient = false;
    world.stuck = vec!["web".into()];
    world.tell(Event::ShutdownSignal(Signal::TERM));
    let kills = world.log.iter();
    let kills = kills.filter(|line| **line == "SIGKILL web PostScript");
    assert_eq!(kills.count(), 1, "{:#?}", world.log);
}

#[test]
fn a_process_stuck_in_the_kernel_does_not_keep_the_daemon() {
    let mut world = World::new(vec![service("disk"), service("web")]).boot();
    world.stuck = vec!["disk".into()];
    world.tell(Event::ShutdownSignal(Signal::TERM));
    world.pass(Timeouts::default().global_shutdown);
    world.at("kill all: global_shutdown_timeout");
    assert_eq!(world.exit, None);
    world.pass(seconds(4));
    assert_eq!(world.exit, Some(0));
}

#[test]
fn one_whose_main_process_is_gone_shows_no_pid_and_gets_no_signal() {
    let mut world = half_stopped();
    assert_eq!(world.supervisor.main_processes(), [None]);
    world.request(Request::Signal {
        service: "web".into(),
        signal: "HUP".into(),
    });
    assert!(matches!(world.replies.last(), Some(Response::Error { .. })));
}

#[test]
fn one_whose_main_process_is_gone_leaves_no_timer_in_the_past() {
    let mut world = half_stopped();
    world.stuck = vec!["web".into()];
    // `pass` fails when a deadline does not move.
    world.pass(seconds(60));
    world.at("SIGKILL web PostScript");
}

fn checked(name: &str) -> Service {
    let health = Health {
        probe: Probe::Unix("/run/x.sock".into()),
        interval: seconds(10),
        timeout: seconds(2),
        retries: 3,
        start_period: Duration::ZERO,
        start_interval: seconds(1),
        on_unhealthy: OnUnhealthy::None,
    };
    Service {
        health: Some(Box::new(health)),
        ..service(name)
    }
}

#[test]
fn who_says_that_it_is_stopping_is_not_healthy_for_those_who_wait() {
    let mut web = after("web", &["db"]);
    web.depends_on[0].condition = Condition::Healthy;
    let mut world = World::new(vec![checked("db"), web]).boot();
    world.says("db", Word::Stopping);
    world.pass(Timeouts::default().dependency_wait);
    assert_eq!(world.state("web"), State::Failed);
    world.never("spawn web");
}

#[test]
fn a_shutdown_without_any_time_kills_at_once() {
    let timeouts = Timeouts {
        global_shutdown: Duration::ZERO,
        ..Timeouts::default()
    };
    let services = vec![service("web")];
    let mut world = World::with(Config { timeouts, services }, None).boot();
    world.obedient = false;
    world.tell(Event::ShutdownSignal(Signal::TERM));
    assert!(world.at("SIGTERM web") < world.at("SIGKILL web"));
    assert_eq!(world.exit, Some(0));
}

#[test]
fn enabling_what_was_started_by_hand_does_not_restart_it() {
    let off = Service {
        enabled: false,
        ..service("web")
    };
    let mut world = World::new(vec![off]).boot();
    world.request(Request::Start(named(&["web"])));
    let pids = world.supervisor.main_processes();
    reload(&mut world, vec![service("web")]);
    assert_eq!(world.supervisor.main_processes(), pids);
}

#[test]
fn a_post_script_that_left_the_file_is_not_run() {
    let web = Service {
        post_script: script(),
        ..service("web")
    };
    let mut world = World::new(vec![web]).boot();
    reload(&mut world, vec![service("web")]);
    world.pass(seconds(10));
    world.never("spawn web PostScript");
}

#[test]
fn a_check_that_left_the_file_is_over_at_once() {
    let mut world = World::new(vec![checked("db"), after("web", &["db"])]).boot();
    world.obedient = false;
    let changed = |name: &str| Service {
        args: vec!["-v".into()],
        ..service(name)
    };
    let mut web = after("web", &["db"]);
    web.args = vec!["-v".into()];
    reload(&mut world, vec![changed("db"), web]);
    world.at("end of the check of db");
    assert_eq!(world.state("db"), State::Running);
    assert!(world.checks.is_empty());
    world.pass(seconds(60));
    assert!(world.checks.is_empty());
}

#[test]
fn a_check_that_left_the_file_is_over_at_once_also_when_its_service_is_disabled() {
    let mut world = World::new(vec![checked("db"), after("web", &["db"])]).boot();
    world.obedient = false;
    let off = |service: Service| Service {
        enabled: false,
        ..service
    };
    reload(
        &mut world,
        vec![off(service("db")), off(after("web", &["db"]))],
    );
    world.at("end of the check of db");
    assert_eq!(world.state("db"), State::Running);
}

#[test]
fn a_pre_script_is_cancelled_by_a_shutdown_whoever_is_in_the_way() {
    let db = Service {
        pre_script: script(),
        ..restarting("db")
    };
    let mut world = World::new(vec![db, after("web", &["db"])]).boot();
    world.exit_of("db", 0);
    world.exit_of("db", 1);
    world.pass(seconds(1));
    assert_eq!(world.detail("db"), "pre-script");
    world.obedient = false;
    let spawned = world.log.len();
    world.tell(Event::ShutdownSignal(Signal::TERM));
    world.at("SIGTERM db PreScript");
    world.exit_of("db", 0);
    let later = &world.log[spawned..];
    assert!(
        !later.iter().any(|line| line.starts_with("spawn")),
        "{later:#?}"
    );
}

#[test]
fn the_bound_of_readiness_leaves_no_timer_in_the_past_in_a_shutdown() {
    let db = Service {
        ready: Ready::Notify,
        ready_timeout: seconds(2),
        ..restarting("db")
    };
    let mut world = World::new(vec![db, after("web", &["db"])]).boot();
    world.says("db", Word::Ready);
    world.exit_of("db", 1);
    world.pass(seconds(1));
    assert_eq!(world.state("db"), State::Starting);
    world.obedient = false;
    world.tell(Event::ShutdownSignal(Signal::TERM));
    world.pass(seconds(5));
    assert_eq!(world.state("db"), State::Starting);
}

#[test]
fn who_left_the_file_does_not_come_back_with_its_dependency() {
    let web = Service {
        on_dependency_failure: OnDependencyFailure::Restart,
        ..after("web", &["db"])
    };
    let mut deaf = after("front", &["web"]);
    deaf.depends_on[0].on = "web".into();
    let mut world = World::new(vec![service("db"), web, deaf]).boot();
    world.obedient = false;
    // `web` has to wait for `front`, which leaves too and does not hear.
    reload(&mut world, vec![service("db")]);
    world.exit_of("db", 1);
    let spawned = world.log.len();
    world.exit_of("web", 0);
    world.exit_of("front", 0);
    let later = &world.log[spawned..];
    assert!(
        !later.iter().any(|line| line.contains("->PENDING")),
        "{later:#?}"
    );
    world.at("web is gone");
}
