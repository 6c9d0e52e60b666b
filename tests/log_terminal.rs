//! The terminal that a service has: its size, what follows when the daemon's own is resized, and what is
//! read from it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use support::{Launch, PATIENCE, Stage, payload, shell};

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
