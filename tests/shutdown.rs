//! Children and their end, where the daemon is not PID 1: what holds beside another init as well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{
    Daemon, Launch, PATIENCE, Stage, children, is_alive, payload, service, shell, sleeper, talker,
    until, zombies,
};

/// A service that no SIGTERM ends, and that says when it is up.
fn deaf(name: &str, more: &str) -> String {
    let script = format!("trap '' TERM; echo {name} up; while :; do sleep 1; done");
    shell(name, &script, more)
}

/// Where the line ending with `text` stands in the daemon's output.
fn place(daemon: &Daemon, text: &str) -> usize {
    let lines = daemon.out.all();
    let found = lines.iter().position(|line| line.ends_with(text));
    found.unwrap_or_else(|| panic!("no {text:?}\n{}", daemon.said()))
}

/// `db` ← `cache`, `api` ← `web`, each saying `down` when it is told to end.
fn small_graph() -> String {
    talker("db", "")
        + &talker("cache", "depends_on = \"db\"")
        + &talker("api", "depends_on = [\"db\"]")
        + &talker("web", "depends_on = [\"api\", \"cache\"]")
}

fn stops_in_reverse_order(ask: impl FnOnce(&Daemon)) {
    let stage = Stage::new();
    let mut daemon = Launch::on(&stage).config(small_graph()).start();
    for name in ["db", "cache", "api", "web"] {
        daemon.out.wait_for(&format!("{name} up"), PATIENCE);
    }
    let everything = daemon.everything();
    ask(&daemon);
    assert_eq!(daemon.wait_exit(PATIENCE), 0, "{}", daemon.said());
    assert_eq!(everything.alive(), [0; 0]);
    daemon.out.wait_for_end(PATIENCE);
    let down = |name: &str| place(&daemon, &format!("{name} down"));
    assert!(down("web") < down("api") && down("web") < down("cache"));
    assert!(down("api") < down("db") && down("cache") < down("db"));
    assert!(!stage.socket().exists(), "the socket is still there");
}

#[test]
fn sigterm_stops_in_reverse_order() {
    stops_in_reverse_order(Daemon::sigterm);
}

#[test]
fn sigint_stops_in_reverse_order() {
    stops_in_reverse_order(|daemon| daemon.signal(Signal::SIGINT));
}

#[test]
fn sigquit_stops_in_reverse_order() {
    stops_in_reverse_order(|daemon| daemon.signal(Signal::SIGQUIT));
}

#[test]
fn sigrtmin_3_stops_in_reverse_order() {
    stops_in_reverse_order(|daemon| daemon.signal_number(37));
}

#[test]
fn the_shutdown_command_stops_in_reverse_order() {
    stops_in_reverse_order(|daemon| {
        daemon.cli_ok(&["shutdown"]);
    });
}

#[test]
fn the_shutdown_command_chooses_the_exit_code() {
    let stage = Stage::new();
    let mut daemon = Launch::on(&stage).config(sleeper("web", "")).start();
    daemon.cli_ok(&["shutdown", "--exit-code", "42"]);
    assert_eq!(daemon.wait_exit(PATIENCE), 42);
}

#[test]
fn services_without_an_edge_stop_side_by_side() {
    let stage = Stage::new();
    let slow = "trap 'sleep 1; exit 0' TERM; echo up; sleep infinity & wait";
    let config: String = (0..8).map(|n| shell(&format!("s{n}"), slow, "")).collect();
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.out.wait_for_count("up", 8, PATIENCE);
    let began = Instant::now();
    daemon.shut_down();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_shutdown_cancels_scripts_and_waits_and_starts_nothing_new() {
    let stage = Stage::new();
    let marker = stage.at("started");
    let touch = format!("touch {marker}");
    let script = "pre_script = \"#!/bin/sh\\necho scripting; sleep 1000\\n\"";
    let post = "pos_script = \"#!/bin/sh\\necho posting; sleep 1000\\n\"";
    let config = "[timeouts]\npost_script_timeout = 0\n\n".to_owned()
        + &sleeper("slow", script)
        + &sleeper("up", post)
        + &shell("after", &touch, "depends_on = \"slow\"")
        + &shell("later", &touch, "depends_on = \"up\"\nwait_after = 300");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.out.wait_for("scripting", PATIENCE);
    daemon.out.wait_for("posting", PATIENCE);
    assert!(daemon.row("after").detail().contains("waiting for slow"));
    let began = Instant::now();
    daemon.shut_down();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert!(!stage.path("started").exists());
}

#[test]
fn a_deaf_service_is_killed_after_its_own_timeout() {
    let stage = Stage::new();
    let config = deaf("deaf", "stop_timeout = \"300ms\"") + &sleeper("other", "");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.out.wait_for("deaf up", PATIENCE);
    let began = Instant::now();
    daemon.cli_ok(&["stop", "deaf"]);
    let took = began.elapsed();
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
    let row = daemon.row("deaf");
    assert_eq!(row.state(), "STOPPED");
    assert!(row.detail().contains("killed after"), "{row:?}");
    daemon.shut_down();
}

#[test]
fn a_second_sigterm_kills_at_once() {
    second_signal_kills_at_once(Signal::SIGTERM);
}

#[test]
fn a_second_sigint_kills_at_once() {
    second_signal_kills_at_once(Signal::SIGINT);
}

fn second_signal_kills_at_once(signal: Signal) {
    let stage = Stage::new();
    let config = "[timeouts]\nservice_shutdown_timeout = 60\nglobal_shutdown_timeout = 90\n\n"
        .to_owned()
        + &deaf("deaf", "");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.out.wait_for("deaf up", PATIENCE);
    let everything = daemon.everything();
    daemon.signal(signal);
    daemon.wait_state("deaf", "STOPPING");
    let began = Instant::now();
    daemon.signal(signal);
    daemon.wait_exit(PATIENCE);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(everything.alive(), [0; 0]);
}

#[test]
fn the_configured_stop_signal_is_the_one_that_is_sent() {
    let stage = Stage::new();
    let script = "trap 'echo got usr1; exit 0' USR1; trap 'echo got term; exit 0' TERM; \
        echo up; while :; do sleep 0.05; done";
    let config = shell("web", script, "stop_signal = \"SIGUSR1\"");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.out.wait_for("up", PATIENCE);
    daemon.shut_down();
    let lines = payload(&daemon.out.all(), "web");
    assert!(lines.contains(&"got usr1".to_owned()), "{lines:?}");
    assert!(!lines.contains(&"got term".to_owned()), "{lines:?}");
}

#[test]
fn the_whole_group_gets_the_stop_signal() {
    let stage = Stage::new();
    let child = "trap 'echo child down; exit 0' TERM; echo child up; while :; do sleep 0.05; done";
    // The leader outlives its child: what is left when it is gone is killed.
    let script = format!("sh -c {} & trap : TERM; wait; wait", shell_quoted(child));
    let mut daemon = Launch::on(&stage).config(shell("web", &script, "")).start();
    daemon.out.wait_for("child up", PATIENCE);
    daemon.shut_down();
    place(&daemon, "child down");
}

fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[test]
fn what_is_left_of_the_group_is_killed_before_the_service_counts_as_stopped() {
    let stage = Stage::new();
    let child = "trap '' TERM HUP; echo $$ > \"$0\"; while :; do sleep 1; done";
    let script = format!(
        "sh -c {} {} & trap 'exit 0' TERM; while :; do sleep 0.05; done",
        shell_quoted(child),
        stage.at("child")
    );
    let daemon = Launch::on(&stage).config(shell("web", &script, "")).start();
    let child: i32 = until("the child's number", PATIENCE, || {
        stage.read("child").trim().parse().ok()
    });
    assert!(is_alive(child));
    daemon.cli_ok(&["stop", "web"]);
    assert!(!is_alive(child), "the child outlived its service");
    assert_eq!(daemon.row("web").state(), "STOPPED");
}

#[test]
fn each_instance_leads_a_session_and_a_group() {
    let stage = Stage::new();
    for tty in ["true", "false"] {
        let more = format!("tty = {tty}");
        let daemon = Launch::on(&stage).config(sleeper("web", &more)).start();
        daemon.wait_state("web", "RUNNING");
        let pid = daemon.pid_of("web");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        // stat(5): state, parent, group, session.
        assert_eq!(
            fields[1..4],
            [daemon.pid().to_string(), pid.to_string(), pid.to_string()]
        );
    }
}

#[test]
fn children_start_with_a_clean_slate() {
    let stage = Stage::new();
    let config = service("signals", "/bin/cat", &["/proc/self/status"], "")
        + &service("files", "/bin/ls", &["-1", "/proc/self/fd"], "")
        + &service("pipes", "/bin/ls", &["-1", "/proc/self/fd"], "tty = false")
        + &shell("limit", "echo limit $(ulimit -Sn)", "");
    let mut daemon = Launch::on(&stage)
        .config(config)
        .shell_first("ulimit -Sn 123; trap '' HUP USR1 USR2 PIPE; exec 7</dev/null")
        .start();
    daemon.wait_all("STOPPED");
    daemon.out.wait_for("limit 123", PATIENCE);
    daemon.shut_down();
    let lines = daemon.out.all();
    for line in payload(&lines, "signals") {
        let (name, mask) = line.split_once(':').unwrap_or((&line, ""));
        if matches!(name, "SigBlk" | "SigIgn" | "SigCgt") {
            let mask = u64::from_str_radix(mask.trim(), 16);
            assert_eq!(mask, Ok(0), "{line}");
        }
    }
    // Besides 0, 1 and 2 there is only the folder that ls itself reads.
    for name in ["files", "pipes"] {
        assert_eq!(payload(&lines, name), ["0", "1", "2", "3"], "{name}");
    }
}

#[test]
fn the_daemon_lifts_its_own_descriptor_limit() {
    let stage = Stage::new();
    let daemon = Launch::on(&stage)
        .config(sleeper("web", ""))
        .shell_first("ulimit -Sn 100; ulimit -Hn 2000")
        .start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let numbers: Vec<&str> = line.unwrap().split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["2000", "2000"]);
}

#[test]
fn orphans_are_adopted_and_reaped() {
    let stage = Stage::new();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (setsid sleep 0.1 &); done; \
        (setsid sleep 1000 &); echo forked; sleep infinity";
    let mut daemon = Launch::on(&stage)
        .config(shell("forker", script, ""))
        .start();
    daemon.out.wait_for("forked", PATIENCE);
    let own = daemon.pid();
    // What lives on is the daemon's child now, beside the service itself; what has ended is gone.
    until("one orphan and no zombie", PATIENCE, || {
        (children(own).len() == 2 && zombies(own).is_empty()).then_some(())
    });
    daemon.shut_down();
}

#[test]
fn strays_get_sigterm_before_they_are_killed() {
    let stage = Stage::new();
    let stray = format!(
        "trap 'echo term > {}; exit' TERM; echo > {}; while :; do sleep 0.05; done",
        stage.at("got"),
        stage.at("ready")
    );
    let script = format!("(setsid sh -c {} &); sleep infinity", shell_quoted(&stray));
    let mut daemon = Launch::on(&stage)
        .config(shell("forker", &script, ""))
        .start();
    until("the stray", PATIENCE, || {
        stage.path("ready").exists().then_some(())
    });
    daemon.shut_down();
    assert_eq!(stage.read("got"), "term\n");
}

#[test]
fn the_daemon_is_gone_at_once_after_the_last_process() {
    let stage = Stage::new();
    let script = format!(
        "trap 'date +%s%N > {}; exit 0' TERM; echo up; while :; do sleep 0.02; done",
        stage.at("died")
    );
    let config = shell("last", &script, "");
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let mut daemon = Launch::on(&stage).config(config.as_str()).start();
        daemon.out.wait_for("up", PATIENCE);
        daemon.sigterm();
        daemon.wait_exit(PATIENCE);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let died: u64 = stage.read("died").trim().parse().unwrap();
        best = best.min(now.saturating_sub(Duration::from_nanos(died)));
    }
    assert!(best < Duration::from_millis(100), "{best:?}");
}

#[test]
fn a_wrong_configuration_or_usage_ends_with_2_and_runs_nothing() {
    let stage = Stage::new();
    let marker = stage.at("started");
    let good = shell("good", &format!("touch {marker}"), "");
    let bad = [
        "[[services]]\nname = \"x\"\n".to_owned(),
        sleeper("x", "depends_on = \"nobody\""),
        sleeper("x", "colour = \"red\""),
        sleeper("a", "depends_on = \"b\"") + &sleeper("b", "depends_on = \"a\""),
        "this is not toml".to_owned(),
    ];
    for text in bad {
        let ended = Launch::on(&stage).config(good.clone() + &text).run_to_end();
        assert_eq!(ended.code, 2, "{text}\n{}", ended.err);
        assert!(!ended.err.trim().is_empty(), "{text}: nothing was said");
        assert!(!ended.err.contains("panicked"), "{}", ended.err);
    }
    let ended = Launch::on(&stage)
        .config(good)
        .option("--no-such-option")
        .run_to_end();
    assert_eq!(ended.code, 2, "{}", ended.err);
    assert!(!stage.path("started").exists());
}

#[test]
fn sigusr1_logs_a_summary_and_sighup_ends_nothing() {
    let stage = Stage::new();
    let config = sleeper("web", "") + &shell("broken", "exit 3", "");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state("broken", "FAILED");
    let before = daemon.said().len();
    daemon.signal(Signal::SIGUSR1);
    until("a summary", PATIENCE, || {
        let said = daemon.said();
        let new = said.len() > before && said.to_lowercase().contains("running");
        new.then_some(())
    });
    for signal in [
        Signal::SIGHUP,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
        Signal::SIGPIPE,
    ] {
        daemon.signal(signal);
    }
    assert_eq!(daemon.row("web").state(), "RUNNING");
    daemon.shut_down();
}

#[test]
fn a_service_killed_from_outside_has_failed_and_says_how() {
    let stage = Stage::new();
    let daemon = Launch::on(&stage).config(sleeper("web", "")).start();
    daemon.wait_state("web", "RUNNING");
    kill(Pid::from_raw(daemon.pid_of("web")), Signal::SIGKILL).unwrap();
    let row = daemon.wait_state("web", "FAILED");
    assert!(row.detail().contains("SIGKILL"), "{row:?}");
    assert_eq!(row.exit_code(), Some(137));
}
