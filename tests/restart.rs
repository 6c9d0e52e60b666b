//! Restart policies with real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
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
    daemon
        .err
        .wait_for("killed by SIGKILL; restarts in 50ms (1)", PATIENCE);
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

/// A service that writes three lines and exits with 3, and one whose health check fails.
fn failed_and_unhealthy(stage: &Stage) -> Daemon {
    let script = "echo one; printf '\\033[31mtwo\\033[0m\\n'; echo three; exit 3";
    let check = "health = { exec = [\"/bin/false\"], interval = \"100ms\", retries = 1, on_unhealthy = \"none\" }";
    let config = shell("job", script, "") + &shell("sick", "echo up; exec sleep infinity", check);
    let daemon = Launch::on(stage).config(config).start();
    daemon.wait_state("job", "FAILED");
    daemon.out.wait_for("three", PATIENCE);
    until("sick to be unhealthy", PATIENCE, || {
        (daemon.row("sick").health() == "unhealthy").then_some(())
    });
    daemon
}

#[test]
fn status_of_what_failed_says_when_how_its_last_lines_and_what_to_ask_next() {
    let stage = Stage::new();
    let mut daemon = failed_and_unhealthy(&stage);
    let status = daemon.cli_ok(&["status", "job"]);
    let (table, trouble) = status.split_once("\n\n").unwrap();
    assert!(table.contains("State       FAILED (exit 3)"), "{status}");
    let (first, rest) = trouble.split_once('\n').unwrap();
    assert!(
        first.starts_with("failed ") && first.ends_with(" ago: exit 3"),
        "{status}"
    );
    assert_eq!(
        rest,
        "last output:\n  one\n  two\n  three\nnext:\n  go-overlay logs job\n  go-overlay start job\n"
    );
    let status = daemon.cli_ok(&["status", "sick"]);
    let (_, trouble) = status.split_once("\n\n").unwrap();
    assert!(trouble.starts_with("unhealthy: "), "{status}");
    assert!(
        trouble.ends_with(
            "last output:\n  up\nnext:\n  go-overlay logs sick\n  go-overlay restart sick\n"
        ),
        "{status}"
    );
    let counts = daemon.cli_ok(&["status"]);
    assert_eq!(
        counts,
        "System Status: Total: 2, Running: 1, Failed: 1, Unhealthy: 1\n"
    );
    daemon.shut_down();
}

#[test]
fn status_shows_no_output_to_who_may_not_read_logs() {
    need_root!();
    let stage = Stage::new();
    let mut daemon = failed_and_unhealthy(&stage);
    let socket = stage.socket();
    for path in [stage.root(), socket.parent().unwrap(), &socket] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(path, mode).unwrap();
    }
    let ask = |user: &str| -> serde_json::Value {
        let ids = ["--reuid", user, "--regid", user, "--clear-groups"];
        let script = "my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die $!; \
            print $s qq({\"command\":\"status\",\"service\":\"job\"}\\n); $s->flush; print scalar <$s>";
        let output = std::process::Command::new("setpriv")
            .args(ids)
            .args(["perl", "-MIO::Socket::UNIX", "-e", script])
            .arg(&socket)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let (own, foreign) = (ask("0"), ask("20001"));
    assert_eq!(
        own["last_lines"],
        serde_json::json!(["one", "two", "three"])
    );
    assert_eq!(foreign["last_lines"], serde_json::json!([]));
    assert_eq!(foreign["last_exit"], "exit 3");
    daemon.shut_down();
}
