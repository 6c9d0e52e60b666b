//! `go-overlay logs -f`: who follows, and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use serde_json::{Value, json};
use support::{
    Daemon, Follower, Launch, PATIENCE, PROGRAM, Stage, connect, service, shell, sleeper,
    status_field, until,
};

fn follow(daemon: &Daemon, words: &[&str]) -> Follower {
    Follower::start(&daemon.socket, &[&["logs", "-f"], words].concat())
}

/// A connection that asked for all lines and what comes.
fn followed_by_hand(daemon: &Daemon) -> UnixStream {
    let mut stream = connect(&daemon.socket).unwrap();
    let request = json!({"command": "logs", "follow": true});
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    stream
}

/// What the daemon sends, to its end.
fn objects(stream: UnixStream) -> Vec<Value> {
    let lines = BufReader::new(stream).lines();
    lines
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect()
}

/// Says `before`, and `after` each time that something is written to the FIFO `go`.
fn waits_for_go(stage: &Stage) -> String {
    nix::unistd::mkfifo(&stage.path("go"), Mode::S_IRWXU).unwrap();
    let folder = format!("working_dir = \"{}\"", stage.root().display());
    let script = "echo before; while :; do read go <go; echo after; done";
    shell("web", script, &folder)
}

#[test]
fn who_follows_sees_what_was_and_what_comes_and_ends_with_the_daemon() {
    let stage = Stage::new();
    let config = waits_for_go(&stage) + &sleeper("other", "");
    let mut daemon = Launch::on(&stage).config(config).start();
    let mut all = follow(&daemon, &["web"]);
    all.out.wait_for("[web] before", PATIENCE);
    std::fs::write(stage.path("go"), "\n").unwrap();
    all.out.wait_for("[web] after", PATIENCE);
    daemon.sigterm();
    daemon.wait_exit(PATIENCE);
    assert_eq!(all.wait(), 0, "{}", all.err.text());
    assert_eq!(all.out.all(), ["[web] before", "[web] after"]);
}

#[test]
fn who_follows_from_now_on_sees_only_what_comes() {
    let stage = Stage::new();
    let daemon = Launch::on(&stage).config(waits_for_go(&stage)).start();
    daemon.out.wait_for("before", PATIENCE);
    let new = follow(&daemon, &["-n", "0"]);
    let both = follow(&daemon, &["--grep", "e"]);
    both.out.wait_for("before", PATIENCE);
    // Nothing shows from when on the one that follows is there: what it sees first shows that it was.
    until("a line for the one that follows", PATIENCE, || {
        std::fs::write(stage.path("go"), "\n").unwrap();
        new.out.all().first().cloned()
    });
    both.out.wait_for("after", PATIENCE);
    let seen = new.out.all();
    assert!(seen.iter().all(|line| line == "[web] after"), "{seen:?}");
}

#[test]
fn who_follows_stays_over_a_restart_and_an_end_of_the_service() {
    let stage = Stage::new();
    let config = shell("web", "echo run $$; exec sleep infinity", "") + &sleeper("other", "");
    let daemon = Launch::on(&stage).config(config).start();
    let follower = follow(&daemon, &["web"]);
    // Each run says its word before it is ended.
    let sees_the_run = || {
        let run = format!("[web] run {}", daemon.pid_of("web"));
        follower.out.wait_for(&run, PATIENCE);
    };
    for _ in 0..3 {
        sees_the_run();
        daemon.cli_ok(&["restart", "web"]);
    }
    sees_the_run();
    daemon.cli_ok(&["stop", "web"]);
    daemon.cli_ok(&["start", "web"]);
    sees_the_run();
    let lines = follower.out.all();
    // Each run but the first begins with a mark.
    let is_mark = |line: &String| line.starts_with("[web] --- started ");
    let marks: Vec<bool> = lines.iter().map(is_mark).collect();
    assert_eq!(
        marks,
        [0, 1, 0, 1, 0, 1, 0, 1, 0].map(|mark| mark == 1),
        "{lines:?}"
    );
}

#[test]
fn the_last_words_of_all_services_reach_who_follows() {
    let stage = Stage::new();
    let script = "trap 'echo \"$0 says good bye\"; exit 0' TERM; echo up; sleep infinity & wait";
    let config: String = (0..5)
        .map(|number| shell(&format!("s{number}"), script, ""))
        .collect();
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.out.wait_for_count("up", 5, PATIENCE);
    let by_hand = followed_by_hand(&daemon);
    let mut follower = follow(&daemon, &["--json"]);
    follower.out.wait_for_count("up", 5, PATIENCE);
    daemon.sigterm();
    daemon.wait_exit(PATIENCE);
    assert_eq!(follower.wait(), 0, "{}", follower.err.text());
    let byes = |line: &&String| line.contains("good bye");
    assert_eq!(follower.out.all().iter().filter(byes).count(), 5);

    let objects = objects(by_hand);
    assert_eq!(objects[0]["answer"], "logs");
    assert_eq!(objects.last(), Some(&json!({"answer": "end"})));
    let lines = &objects[1..objects.len() - 1];
    assert!(lines.iter().all(|line| line["line"].is_string()));
    let byes = |line: &&Value| line["line"].as_str().unwrap().contains("good bye");
    assert_eq!(lines.iter().filter(byes).count(), 5);
}

#[test]
fn a_daemon_that_is_killed_is_missed() {
    let stage = Stage::new();
    let daemon = Launch::on(&stage).config(waits_for_go(&stage)).start();
    let mut logs = follow(&daemon, &[]);
    let mut events = Follower::start(&daemon.socket, &["events", "-f"]);
    logs.out.wait_for("before", PATIENCE);
    events.out.wait_for("RUNNING", PATIENCE);
    daemon.signal(Signal::SIGKILL);
    for follower in [&mut logs, &mut events] {
        assert_eq!(follower.wait(), 3);
        let said = follower.err.text();
        assert!(
            said.starts_with("error: the daemon on ")
                && said.ends_with(" went away in the middle of its answer"),
            "{said}"
        );
    }
}

#[test]
fn ctrl_c_and_a_reader_that_has_seen_enough_end_it_quietly() {
    let stage = Stage::new();
    let daemon = Launch::on(&stage)
        .config(shell("web", "while :; do echo again; sleep 0.01; done", ""))
        .start();
    let mut follower = follow(&daemon, &[]);
    follower.out.wait_for("again", PATIENCE);
    follower.signal(Signal::SIGINT);
    assert_eq!(follower.wait(), 128 + Signal::SIGINT as i32);
    assert_eq!(follower.err.text(), "");
    let pipeline = format!(
        "{PROGRAM} --socket {} logs -f | head -1; echo ${{PIPESTATUS[0]}}",
        stage.socket().display()
    );
    let output = Command::new("bash")
        .args(["-c", &pipeline])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"[web] again\n0\n");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(daemon.row("web").state(), "RUNNING");
}

/// What a follower received, the pieces of a line that paused joined, each with the number of lines dropped before it.
fn whole_lines(received: &[String]) -> Vec<(u64, String)> {
    let mut whole: Vec<(u64, String)> = Vec::new();
    let mut dropped = 0;
    for line in received {
        let line: Value = serde_json::from_str(line).unwrap();
        dropped += line["dropped"].as_u64().unwrap_or(0);
        let Some(text) = line["line"].as_str() else {
            continue;
        };
        match whole.last_mut() {
            Some(last) if line["continued"] == true => last.1 += text,
            _ => whole.push((std::mem::take(&mut dropped), text.to_owned())),
        }
    }
    whole
}

#[test]
fn a_follower_that_does_not_read_loses_lines_is_told_and_holds_nobody_up() {
    let stage = Stage::new();
    let script = "$| = 1; my $n = 0; while (1) { $n++; printf \"line %08d %s\\n\", $n, 'x' x 80 }";
    let daemon = Launch::on(&stage)
        .config(service("web", "/usr/bin/perl", &["-e", script], ""))
        .start();
    let follower = follow(&daemon, &["--json"]);
    follower.out.wait_for("line", PATIENCE);
    let memory = || status_field(daemon.pid(), "VmRSS").unwrap();
    let memory_before = memory();
    follower.signal(Signal::SIGSTOP);
    let before = daemon.out.count("");
    until("the service to go on", PATIENCE, || {
        // A hundred thousand lines are far more than a socket and the memory hold.
        daemon.list();
        (daemon.out.count("") > before + 100_000).then_some(())
    });
    let grown = memory().saturating_sub(memory_before);
    assert!(grown < 2000, "{grown} kB more than {memory_before} kB");
    follower.signal(Signal::SIGCONT);
    let told = follower.out.wait_for("\"dropped\":", PATIENCE);
    let told: Value = serde_json::from_str(&told).unwrap();
    let missing = told["dropped"].as_u64().unwrap();
    assert!(missing > 0 && told["stream"] == "supervisor", "{told}");
    // What it got and what it was told of is everything, in order.
    let mut next = None;
    let mut skipped = 0;
    for (dropped, text) in whole_lines(&follower.out.all()) {
        skipped += dropped;
        let Some(number) = text.get(5..13).and_then(|text| text.parse::<u64>().ok()) else {
            continue;
        };
        if let Some(next) = next {
            assert_eq!(number, next + skipped, "{skipped} were told of");
        }
        (next, skipped) = (Some(number + 1), 0);
    }
}

#[test]
fn a_connection_that_never_reads_costs_nobody_time_or_memory() {
    let stage = Stage::new();
    // An empty line is the one that grows most on its way to a client.
    let config = service("empty", "/usr/bin/yes", &[""], "log_stdout = false")
        + &shell("web", "while :; do echo tick; sleep 0.01; done", "");
    let daemon = Launch::on(&stage).config(config).start();
    daemon.out.wait_for("tick", PATIENCE);
    let memory_before = status_field(daemon.pid(), "VmRSS").unwrap();
    let unread: Vec<UnixStream> = (0..10).map(|_| followed_by_hand(&daemon)).collect();
    let ticks = daemon.out.count("");
    let mut slowest = Duration::ZERO;
    until("the service's output to go on", PATIENCE, || {
        slowest = slowest.max(daemon.time_of_answer());
        (daemon.out.count("") > ticks + 200).then_some(())
    });
    assert!(slowest < Duration::from_secs(2), "{slowest:?} for a list");
    let memory = status_field(daemon.pid(), "VmRSS").unwrap();
    let grown = memory.saturating_sub(memory_before);
    assert!(grown < 10 * 1500, "{grown} kB for ten clients");
    drop(unread);
    // Clients that are gone are forgotten.
    until("the memory back", PATIENCE, || {
        let memory = status_field(daemon.pid(), "VmRSS").unwrap();
        (memory < memory_before + 3000).then_some(())
    });
}
