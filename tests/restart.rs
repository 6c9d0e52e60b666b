//! Restart policies with real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Daemon, Launch, PATIENCE, Stage, is_alive, shell, sleeper, until};

fn restarts(daemon: &Daemon, service: &str) -> u64 {
    daemon.row(service).0["restarts"].as_u64().unwrap()
}

/// Waits until it runs as another process than `old`.
fn successor(daemon: &Daemon, service: &str, old: i32) -> i32 {
    until(&format!("another {service}"), PATIENCE, || {
        let row = daemon.row(service);
        row.pid()
            .filter(|pid| *pid != old && row.state() == "RUNNING")
    })
}

#[test]
fn a_killed_process_is_followed_by_another() {
    let stage = Stage::new();
    let policy = "restart = { policy = \"on-failure\", delay = \"50ms\", jitter = 0 }";
    let config = sleeper("db", policy) + &sleeper("other", policy);
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_all("RUNNING");
    let (old, other) = (daemon.pid_of("db"), daemon.pid_of("other"));
    kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
    let new = successor(&daemon, "db", old);
    assert!(!is_alive(old) && is_alive(new));
    assert_eq!(
        (restarts(&daemon, "db"), daemon.pid_of("other")),
        (1, other)
    );
    let said = daemon.err.text();
    assert!(
        said.contains("killed by SIGKILL; restarts in 50ms (1)"),
        "{said}"
    );
    let status = daemon.cli_ok(&["status", "db"]);
    assert!(
        status.contains("Policy      on-failure, 1 attempt used"),
        "{status}"
    );
    daemon.shut_down();
}

#[test]
fn without_a_delay_a_crash_loop_comes_through_and_holds_up_nobody() {
    let stage = Stage::new();
    let count = stage.at("count");
    // It fails 50 times, then it stays.
    let script = format!(
        "echo x >> {count}; [ $(wc -l < {count}) -gt 50 ] && exec sleep infinity; kill -9 $$"
    );
    let policy = "restart = { policy = \"always\", delay = 0 }";
    let mut daemon = Launch::on(&stage)
        .config(shell("flaky", &script, policy) + &sleeper("other", ""))
        .start();
    until("the 51st start, and its word", PATIENCE, || {
        // Each look is an answer of the daemon's in the midst of it.
        let up = daemon.row("flaky").state() == "RUNNING" && restarts(&daemon, "flaky") == 50;
        (up && stage.read("count").lines().count() == 51).then_some(())
    });
    assert_eq!(restarts(&daemon, "other"), 0);
    daemon.shut_down();
}

#[test]
fn a_required_service_that_fails_for_good_takes_the_container_with_it() {
    let stage = Stage::new();
    let count = stage.at("count");
    let script = format!("echo x >> {count}; exit 7");
    let policy = "required = true\n\
        [services.restart]\npolicy = \"on-failure\"\ndelay = \"10ms\"\nmax_attempts = 2\n";
    let ended = Launch::on(&stage)
        .config(shell("db", &script, policy) + &sleeper("other", ""))
        .run_to_end();
    assert_eq!(ended.code, 7, "{}", ended.err);
    assert_eq!(stage.read("count").lines().count(), 3);
    let reason = "required service db failed: exit 7; gave up after 2 restarts";
    assert!(ended.err.contains(reason), "{}", ended.err);
}

#[test]
fn what_disappears_is_looked_for_again_until_it_is_back() {
    let stage = Stage::new();
    let program = stage.program("app", "#!/bin/sh\nexec sleep infinity\n");
    let policy = "restart = { policy = \"always\", delay = 0 }";
    let mut daemon = Launch::on(&stage)
        .config(support::service("app", &program, &[], policy))
        .start();
    daemon.wait_state("app", "RUNNING");
    let old = daemon.pid_of("app");
    std::fs::rename(&program, stage.path("away")).unwrap();
    kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
    until("a second attempt in vain", PATIENCE, || {
        let row = daemon.row("app");
        (row.state() == "FAILED"
            && row.detail().contains("restarts")
            && !row.detail().ends_with("(1)"))
        .then_some(())
    });
    std::fs::rename(stage.path("away"), &program).unwrap();
    successor(&daemon, "app", old);
    daemon.shut_down();
}
