//! Nobody reads the daemon's output: it still answers and ends, and loses no line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use support::{Daemon, Launch, PATIENCE, Stage, payload, service, shell, sleeper, until};

/// How often an answer is timed; the median leaves out what other work on the machine did.
const TIMES: usize = 9;

fn median_time_of_list(daemon: &Daemon) -> Duration {
    let mut times: Vec<Duration> = (0..TIMES)
        .map(|_| {
            let began = Instant::now();
            daemon.list();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[TIMES / 2]
}

/// Waits until `flood` stands still: nobody takes what it writes any more.
fn wait_until_blocked(stage: &Stage) {
    let mut last = String::new();
    let mut same = 0;
    until("the writer to stand still", PATIENCE, || {
        let now = stage.read("progress");
        same = if now == last && !now.is_empty() {
            same + 1
        } else {
            0
        };
        last = now;
        (same >= 50).then_some(())
    });
}

/// Writes numbered lines and says in a file how far it is.
const WRITER: &str = "use strict; $| = 1; my ($lines, $file) = @ARGV;
for my $n (1 .. $lines) {
    printf \"line %08d %s\\n\", $n, 'x' x 80;
    if ($n % 100 == 0) { open my $f, '>', $file; print $f $n; close $f; }
}
";

#[test]
fn list_answers_while_the_reader_of_stdout_stalls() {
    let stage = Stage::new();
    let writer = stage.file("writer.pl", WRITER);
    let progress = stage.at("progress");
    let config = service(
        "flood",
        "/usr/bin/perl",
        &[&writer, "100000000", &progress],
        "",
    ) + &sleeper("quiet", "");
    let daemon = Launch::on(&stage).config(config).stalled().start();
    wait_until_blocked(&stage);
    let median = median_time_of_list(&daemon);
    assert!(median < Duration::from_millis(200), "{median:?}");
    // Changes work too, not only looking.
    daemon.cli_ok(&["restart", "quiet"]);
    daemon.wait_state("quiet", "RUNNING");
}

#[test]
fn sigterm_ends_everything_in_time_while_the_reader_stalls() {
    let stage = Stage::new();
    let writer = stage.file("writer.pl", WRITER);
    let progress = stage.at("progress");
    let config = "[timeouts]\nservice_shutdown_timeout = 1\nglobal_shutdown_timeout = 3\n\n"
        .to_owned()
        + &service(
            "flood",
            "/usr/bin/perl",
            &[&writer, "100000000", &progress],
            "",
        )
        + &shell("deaf", "trap '' TERM; yes", "");
    let mut daemon = Launch::on(&stage).config(config).stalled().start();
    wait_until_blocked(&stage);
    let began = Instant::now();
    daemon.shut_down();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn no_line_is_lost_when_the_reader_goes_on() {
    const LINES: usize = 100_000;
    let stage = Stage::new();
    let writer = stage.file("writer.pl", WRITER);
    let progress = stage.at("progress");
    let lines = LINES.to_string();
    let config = service("flood", "/usr/bin/perl", &[&writer, &lines, &progress], "");
    let mut daemon = Launch::on(&stage).config(config).stalled().start();
    wait_until_blocked(&stage);
    daemon.read_on();
    daemon.wait_state("flood", "STOPPED");
    daemon.out.wait_for(&format!("line {LINES:08}"), PATIENCE);
    let seen = payload(&daemon.out.all(), "flood");
    assert_eq!(seen.len(), LINES);
    for (line, number) in seen.iter().zip(1..) {
        assert!(
            line.starts_with(&format!("line {number:08} ")),
            "{line} is not {number}"
        );
    }
    daemon.shut_down();
}
