//! What remains when the daemon ends without a chance to clean up.

use super::support::{Launch, PATIENCE, Stage, send, sleeper};

/// Signals whose default action ends a process, and which mean nothing to the daemon.
const MEANINGLESS: [i32; 17] = [
    4, 5, 6, 7, 8, 11, 13, 14, 16, 24, 25, 26, 27, 29, 30, 31, 23,
];

#[test]
fn no_signal_but_sigkill_ends_a_daemon_without_its_services() {
    let stage = Stage::new();
    let mut daemon = Launch::on(&stage).config(sleeper("web", "")).start();
    let row = daemon.wait_state("web", "RUNNING");
    let real_time = (32..=64).filter(|number| *number != 37);
    for number in MEANINGLESS.into_iter().chain(real_time) {
        send(daemon.pid(), number);
        // Its answer comes after the signal was read.
        assert_eq!(daemon.row("web").pid(), row.pid(), "signal {number}");
    }
    daemon.shut_down();
}

#[test]
fn a_limit_on_file_size_costs_log_lines_and_not_the_daemon() {
    let stage = Stage::new();
    let log = format!("log_file = \"{}\"", stage.at("log"));
    let script = "head -c 100000 /dev/zero | tr '\\0' '.' | fold -w 99; echo; echo done; exec sleep infinity";
    let config = super::support::shell("web", script, &log);
    // In blocks of 512 bytes.
    let launch = Launch::on(&stage)
        .config(config)
        .shell_first("ulimit -f 20");
    let mut daemon = launch.start();
    daemon.out.wait_for("done", PATIENCE);
    daemon.err.wait_for("File too large", PATIENCE);
    assert_eq!(daemon.row("web").state(), "RUNNING");
    daemon.shut_down();
}
