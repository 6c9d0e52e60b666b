//! A daemon with nothing to do does nothing: no timer ticks, nothing is polled.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Daemon, Launch, Lines, PATIENCE, Stage, sleeper, status_field, until};

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(20);

/// Attaching interrupts the wait the daemon is in: what follows from that within this time is the
/// tracer's doing.
const SETTLING: Duration = Duration::from_secs(1);

fn fifty_services(stage: &Stage) -> Daemon {
    let config: String = (0..50).map(|n| sleeper(&format!("s{n}"), "")).collect();
    let daemon = Launch::on(stage).config(config).start();
    daemon.wait_all("RUNNING");
    daemon
}

#[test]
fn fifty_running_services_cost_no_system_call() {
    let strace = need!("strace");
    let stage = Stage::new();
    let mut daemon = fifty_services(&stage);
    let calls = stage.at("calls");
    let mut tracer = Command::new(strace)
        .args(["-f", "-ttt", "-o", &calls, "-p", &daemon.pid().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let says = Lines::gather(tracer.stderr.take().unwrap());
    says.wait_for("attached", PATIENCE);
    let attached = since_epoch();
    // The promise itself is about time going by.
    std::thread::sleep(SETTLING + WATCHED);
    let detached = since_epoch();
    kill(Pid::from_raw(tracer.id().cast_signed()), Signal::SIGINT).unwrap();
    until("the tracer's end", PATIENCE, || tracer.try_wait().unwrap());

    let trace = stage.read("calls");
    let settled = (attached + SETTLING).as_secs_f64();
    let made: Vec<&str> = trace
        .lines()
        .filter(|line| {
            let mut words = line.split_whitespace().skip(1);
            let at: f64 = words
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0.0);
            at > settled && at < detached.as_secs_f64()
        })
        .collect();
    assert!(
        made.is_empty(),
        "{} calls:\n{}",
        made.len(),
        made.join("\n")
    );
    daemon.shut_down();
}

fn since_epoch() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
}

#[test]
fn fifty_running_services_never_wake_the_daemon() {
    let stage = Stage::new();
    let mut daemon = fifty_services(&stage);
    let pid = daemon.pid();
    let switches = || status_field(pid, "voluntary_ctxt_switches").unwrap();
    let mut before = switches();
    let mut since = Instant::now();
    // The last request is still being put away when the watch begins: it begins anew then, once.
    until("ten quiet seconds", PATIENCE, || {
        let now = switches();
        if now != before {
            (before, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_secs(10)).then_some(())
    });
    daemon.shut_down();
}
