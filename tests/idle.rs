//! A daemon with nothing to do does nothing: no timer ticks, nothing is polled.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Daemon, Launch, Lines, PATIENCE, Stage, shell, sleeper, status_field, until};

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(20);

/// A bit more than how long a client may take over a request.
const CLIENTS_PATIENCE: Duration = Duration::from_secs(11);

/// Attaching interrupts the wait the daemon is in: what follows from that within this time is the
/// tracer's doing.
const SETTLING: Duration = Duration::from_secs(1);

/// Waits until the daemon has slept for a while without waking. A timer set for the last client's sake
/// may still go off once after it has left.
fn wait_until_asleep(daemon: &Daemon) {
    let pid = daemon.pid();
    let switches = || status_field(pid, "voluntary_ctxt_switches").unwrap();
    let mut before = switches();
    let mut since = Instant::now();
    until("the daemon to sleep", 2 * PATIENCE, || {
        let now = switches();
        if now != before {
            (before, since) = (now, Instant::now());
        }
        (since.elapsed() > CLIENTS_PATIENCE).then_some(())
    });
}

#[test]
fn fifty_running_services_cost_no_system_call() {
    let strace = need!("strace");
    let stage = Stage::new();
    // Some have no descriptor on their terminal left, which the kernel reports once.
    let let_go = "exec </dev/null >/dev/null 2>&1; exec sleep infinity";
    let config: String = (0..40).map(|n| sleeper(&format!("s{n}"), "")).collect();
    let config = (40..50).fold(config, |all, n| all + &shell(&format!("s{n}"), let_go, ""));
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_all("RUNNING");
    wait_until_asleep(&daemon);

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
    let watched = (attached + SETTLING).as_secs_f64()..detached.as_secs_f64();
    let made: Vec<&str> = trace
        .lines()
        .filter(|line| {
            let at = line.split_whitespace().nth(1).unwrap_or_default();
            at.parse().is_ok_and(|at: f64| watched.contains(&at))
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
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}
