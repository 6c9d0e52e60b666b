//! The terminal that a service has: its size, what follows when the daemon's own is resized, and what is
//! read from it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use support::{Daemon, Launch, PATIENCE, Stage, payload, quoted, shell, sleeper, until};

/// Says the size of its terminal, rows first, now and whenever it is told of another.
const SAY_SIZE: &str = "trap 'echo told; stty size' WINCH; stty size; while :; do sleep 0.02; done";

#[test]
fn tty_size_is_what_programs_see() {
    let _ = (need!("stty"), need!("tput"));
    let stage = Stage::new();
    let script = "stty size; tput cols; tput lines";
    let config = shell("sized", script, "tty_size = \"100x30\"");
    let launch = Launch::on(&stage).config(config).env("TERM", "xterm");
    let mut daemon = launch.start();
    daemon.wait_state("sized", "STOPPED");
    daemon.shut_down();
    let said = payload(&daemon.out.all(), "sized");
    assert_eq!(said, ["30 100", "100", "30"], "{}", daemon.said());
}

#[test]
fn where_nobody_looks_a_terminal_has_80_columns_and_24_rows() {
    let _ = need!("stty");
    let stage = Stage::new();
    let config = shell("web", "stty size", "");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state("web", "STOPPED");
    daemon.shut_down();
    assert_eq!(payload(&daemon.out.all(), "web"), ["24 80"]);
}

#[test]
fn a_terminal_follows_the_daemons_beside_the_names() {
    let _ = need!("stty");
    let stage = Stage::new();
    // `[follows] ` takes ten columns.
    let config =
        shell("follows", SAY_SIZE, "") + &shell("fixed", SAY_SIZE, "tty_size = \"100x30\"");
    let launch = Launch::on(&stage).config(config).option("--color=never");
    let mut daemon = launch.on_terminal(120, 40).start();
    daemon.out.wait_for("[follows] 40 110", PATIENCE);
    daemon.out.wait_for("[fixed  ] 30 100", PATIENCE);

    daemon.resize_terminal(90, 25);
    daemon.out.wait_for("[follows] 25 80", PATIENCE);
    // However narrow it is, names leave something for the text.
    daemon.resize_terminal(12, 5);
    daemon.out.wait_for("[follows] 5 20", PATIENCE);

    // One that is started later has the size of then.
    daemon.resize_terminal(70, 20);
    daemon.out.wait_for("[follows] 20 60", PATIENCE);
    daemon.cli_ok(&["restart", "follows"]);
    daemon.out.wait_for_count("[follows] 20 60", 2, PATIENCE);

    daemon.shut_down();
    let lines: Vec<String> = daemon.out.all();
    let lines: Vec<String> = lines.iter().map(|line| line.trim_end().into()).collect();
    assert_eq!(payload(&lines, "fixed"), ["30 100"]);
    let said = payload(&lines, "follows");
    let told = [
        "40 110", "told", "25 80", "told", "5 20", "told", "20 60", "20 60",
    ];
    assert_eq!(said, told);
}

/// Says whether it reads from a terminal, and when it has read to the end.
const READ: &str = "if [ -t 0 ]; then echo in: terminal; else echo in: none; fi
if [ -t 1 ]; then echo out: terminal; fi
while read -r line; do echo \"read $line\"; done
echo end of input; sleep infinity";

#[test]
fn null_ends_at_once_and_a_terminal_does_not() {
    let stage = Stage::new();
    let config = shell("default", READ, "")
        + &shell("null", READ, "stdin = \"null\"")
        + &shell("tty", READ, "stdin = \"tty\"")
        + &shell("pipes", READ, "tty = false");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.out.wait_for_count("end of input", 2, PATIENCE);
    daemon.out.wait_for_count("out: terminal", 3, PATIENCE);
    for (service, expected) in [
        ("null", &["in: none", "out: terminal", "end of input"][..]),
        ("pipes", &["in: none", "end of input"]),
        ("default", &["in: terminal", "out: terminal"]),
        ("tty", &["in: terminal", "out: terminal"]),
    ] {
        assert_eq!(payload(&daemon.out.all(), service), expected, "{service}");
        assert_eq!(daemon.row(service).state(), "RUNNING");
    }
    daemon.shut_down();
}

/// Redirects every standard descriptor: none on the terminal is left, and none was inherited.
const LET_GO: &str = "exec </dev/null >/dev/null 2>&1;";

/// No hang-up reaches what lets go of its terminal: the service itself, its scripts, a grandchild.
#[test]
fn a_program_that_lets_go_of_its_terminal_runs_on() {
    let stage = Stage::new();
    let log = stage.at("log");
    // Longer than the daemon takes to see that the terminal is closed.
    let outlive = |name: &str| format!("sleep 0.3; echo lives >{};", stage.at(name));
    let pre_script = quoted(&format!("#!/bin/sh\n{LET_GO} {}\n", outlive("pre-script")));
    let post_script = quoted(&format!("#!/bin/sh\n{LET_GO} {}\n", outlive("post-script")));
    let stays = |name: &str, before: &str, more: &str| {
        let script = format!("{before} {} exec sleep infinity", outlive(name));
        shell(name, &script, more)
    };
    let config = "[timeouts]\npost_script_timeout = \"100ms\"\n\n".to_owned()
        + &stays("redirected", LET_GO, "")
        + &stays("no-input", "exec >/dev/null 2>&1;", "stdin = \"null\"")
        + &stays(
            "to-a-file",
            &format!("exec </dev/null >>{log} 2>&1; echo logged;"),
            "",
        )
        + &shell(
            "grandchild",
            &format!(
                "({LET_GO} {}) & {LET_GO} wait; exec sleep infinity",
                outlive("grandchild")
            ),
            "",
        )
        + &sleeper(
            "scripted",
            &format!("pre_script = {pre_script}\npos_script = {post_script}"),
        );
    let mut daemon = Launch::on(&stage).config(config).start();
    for name in [
        "redirected",
        "no-input",
        "to-a-file",
        "grandchild",
        "pre-script",
        "post-script",
    ] {
        until(name, PATIENCE, || {
            (stage.read(name) == "lives\n").then_some(())
        });
    }
    for row in daemon.wait_all("RUNNING") {
        assert_eq!(row.0["restarts"], 0, "{row:?}");
    }
    assert_eq!(stage.read("log"), "logged\n");
    daemon.shut_down();
}

/// What is written to /dev/tty is shown, however often it is opened and closed, to the last word.
#[test]
fn what_comes_to_a_terminal_that_was_let_go_is_shown() {
    let stage = Stage::new();
    let script = format!(
        "echo first; {LET_GO}
        for n in 1 2 3 4 5; do sleep 0.05; echo again $n >/dev/tty; done
        sleep 0.05; echo kept open >/dev/tty; exec 3>/dev/tty; sleep 0.05; echo still >&3; exec 3>&-
        sleep 0.05; printf 'last words' >/dev/tty; exit 3"
    );
    let config = shell("web", &script, "");
    let mut daemon = Launch::on(&stage).config(config).start();
    let row = daemon.wait_state("web", "FAILED");
    assert_eq!(row.detail(), "exit 3");
    // The lines are there when the end is: nothing is waited for.
    let logged = daemon.cli_ok(&["logs", "web"]);
    daemon.shut_down();
    let expected = [
        "first",
        "again 1",
        "again 2",
        "again 3",
        "again 4",
        "again 5",
        "kept open",
        "still",
        "last words",
    ];
    assert_eq!(payload(&daemon.out.all(), "web"), expected);
    assert!(logged.trim_end().ends_with("last words"), "{logged}");
}

/// A terminal is kept for as long as its service runs, and no longer.
#[test]
fn a_terminal_that_was_let_go_is_closed_with_its_service() {
    let stage = Stage::new();
    let config = shell("web", &format!("echo up; {LET_GO} exec sleep infinity"), "");
    let mut daemon = Launch::on(&stage).config(config).start();
    let terminals = |daemon: &Daemon| {
        let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
        let open = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        open.filter(|path| path.ends_with("ptmx")).count()
    };
    for run in 1..=12 {
        daemon.out.wait_for_count("up", run, PATIENCE);
        assert_eq!(terminals(&daemon), 1);
        daemon.cli_ok(&["restart", "web"]);
    }
    daemon.cli_ok(&["stop", "web"]);
    assert_eq!(terminals(&daemon), 0);
    daemon.shut_down();
}
