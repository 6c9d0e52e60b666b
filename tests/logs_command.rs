//! `go-overlay logs`: what is remembered, and what comes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{
    Daemon, Launch, PATIENCE, PROGRAM, Stage, payload, service, shell, sleeper, status_field, until,
};

/// Says these lines and stays.
fn says(name: &str, lines: &[&str], more: &str) -> String {
    let script = format!("printf '%s\\n' {}; exec sleep infinity", lines.join(" "));
    shell(name, &script, more)
}

/// The lines of `logs`, without the name in front.
fn texts(output: &str) -> Vec<&str> {
    let text = |line: &'_ str| line.find("] ").map_or(0, |at| at + 2);
    output.lines().map(|line| &line[text(line)..]).collect()
}

/// Whether a line separates two runs.
fn is_mark(text: &str) -> bool {
    text.starts_with("--- started 20") && text.ends_with("Z ---")
}

/// The texts of the services alone.
fn without_marks(output: &str) -> Vec<&str> {
    let mut texts = texts(output);
    texts.retain(|text| !is_mark(text));
    texts
}

/// Waits until all of a daemon's lines are remembered.
fn wait_for_line(daemon: &Daemon, line: &str) {
    daemon.out.wait_for(line, PATIENCE);
}

#[test]
fn all_services_in_the_order_in_which_they_spoke_and_one_alone() {
    let stage = Stage::new();
    let second = shell(
        "second",
        "echo b1; echo b2; exec sleep infinity",
        "depends_on = \"a\"\nwait_after = 1",
    );
    let daemon = Launch::on(&stage)
        .config(says("a", &["a1", "a2"], "") + &second)
        .start();
    wait_for_line(&daemon, "b2");
    let all = daemon.cli_ok(&["logs"]);
    assert_eq!(all, "[a     ] a1\n[a     ] a2\n[second] b1\n[second] b2\n");
    assert_eq!(
        daemon.cli_ok(&["logs", "second"]),
        "[second] b1\n[second] b2\n"
    );
    assert_eq!(daemon.cli_ok(&["logs", "second", "a"]), all);
}

#[test]
fn services_that_speak_by_turns_are_shown_by_turns() {
    let stage = Stage::new();
    let names = ["one", "two", "three"];
    let mut config = String::new();
    for name in names {
        let fifo = stage.path(name);
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let script = format!(
            "while read word; do echo $word; done <{}; exec sleep infinity",
            fifo.display()
        );
        config += &shell(name, &script, "");
    }
    let daemon = Launch::on(&stage).config(config).start();
    let open = |name| OpenOptions::new().write(true).open(stage.path(name));
    let mut ears: Vec<File> = names.iter().map(|name| open(name).unwrap()).collect();
    let mut spoken = Vec::new();
    for turn in 0..30 {
        // Each follows each other, and itself.
        let who = [0, 2, 1, 1, 0][turn % 5];
        writeln!(ears[who], "word-{turn}").unwrap();
        let line = format!("[{:<5}] word-{turn}", names[who]);
        wait_for_line(&daemon, &line);
        spoken.push(line);
    }
    let shown = daemon.cli_ok(&["logs"]);
    assert_eq!(shown.lines().collect::<Vec<_>>(), spoken);
}

#[test]
fn the_last_lines_of_each_service() {
    let stage = Stage::new();
    let daemon = Launch::on(&stage)
        .config(says("a", &["1", "2", "3"], "") + &says("b", &["x", "y", "z"], ""))
        .start();
    wait_for_line(&daemon, "[a] 3");
    wait_for_line(&daemon, "[b] z");
    let mut last: Vec<String> = daemon
        .cli_ok(&["logs", "-n", "2"])
        .lines()
        .map(str::to_owned)
        .collect();
    last.sort();
    assert_eq!(last, ["[a] 2", "[a] 3", "[b] y", "[b] z"]);
    assert_eq!(daemon.cli_ok(&["logs", "-n", "0"]), "");
    assert_eq!(
        texts(&daemon.cli_ok(&["logs", "-n", "99", "a"])),
        ["1", "2", "3"]
    );
}

#[test]
fn only_lines_that_hold_a_text_and_only_young_ones() {
    let stage = Stage::new();
    let go = stage.at("go");
    let script = format!(
        "echo old error; echo old fine; until [ -e {go} ]; do sleep 0.05; done; \
         echo new error; echo new fine; exec sleep infinity"
    );
    let daemon = Launch::on(&stage).config(shell("web", &script, "")).start();
    wait_for_line(&daemon, "old fine");
    let old = Instant::now();
    until("the old lines to be old", PATIENCE, || {
        (old.elapsed() > Duration::from_secs(2)).then_some(())
    });
    let new = Instant::now();
    stage.file("go", "");
    wait_for_line(&daemon, "new fine");
    assert_eq!(
        texts(&daemon.cli_ok(&["logs", "--grep", "error"])),
        ["old error", "new error"]
    );
    assert_eq!(
        texts(&daemon.cli_ok(&["logs", "--grep", "error", "-n", "1"])),
        ["new error"]
    );
    let young = until("an answer in time", PATIENCE, || {
        // Between the ages of both, also when the answer takes its time.
        let since = new.elapsed() + Duration::from_secs(1);
        let since_words = format!("{}ms", since.as_millis());
        let young = daemon.cli_ok(&["logs", "--since", &since_words]);
        (new.elapsed() < since).then_some(young)
    });
    assert_eq!(texts(&young), ["new error", "new fine"]);
    assert_eq!(texts(&daemon.cli_ok(&["logs", "--since", "5m"])).len(), 4);
    assert_eq!(daemon.cli_ok(&["logs", "--grep", "nothing"]), "");
}

#[test]
fn as_json_each_line_says_everything() {
    let stage = Stage::new();
    let script = "echo out; echo err >&2; printf 'caf\\351\\n'; exec sleep infinity";
    let daemon = Launch::on(&stage)
        .config(shell("web", script, "tty = false") + &says("tty", &["hello"], ""))
        .start();
    wait_for_line(&daemon, "hello");
    wait_for_line(&daemon, "caf");
    daemon.out.wait_for("err", PATIENCE);
    let text = daemon.cli_ok(&["logs", "--json"]);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let find = |text: &str| {
        lines
            .iter()
            .find(|line| line["line"].as_str().unwrap().starts_with(text))
            .unwrap()
    };
    for line in &lines {
        let mut keys: Vec<&str> = line
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        keys.retain(|key| *key != "invalid_utf8");
        keys.sort_unstable();
        assert_eq!(keys, ["line", "pid", "service", "stream", "time"], "{line}");
    }
    let out = find("out");
    assert_eq!(
        (&out["service"], &out["stream"]),
        (&json!("web"), &json!("stdout"))
    );
    assert_eq!(out["pid"], daemon.pid_of("web"));
    let time = out["time"].as_str().unwrap();
    assert!(
        time.len() == "2026-11-23T18:32:59.123456789Z".len() && time.ends_with('Z'),
        "{time}"
    );
    assert_eq!(find("err")["stream"], "stderr");
    assert_eq!(find("hello")["stream"], "tty");
    let replaced = find("caf");
    assert_eq!(
        (replaced["line"].as_str(), &replaced["invalid_utf8"]),
        (Some("caf\u{fffd}"), &json!(true))
    );
    let plain = daemon.cli_ok(&["logs", "-t", "tty"]);
    assert_eq!(
        plain,
        format!("{} [tty] hello\n", find("hello")["time"].as_str().unwrap())
    );
}

#[test]
fn it_is_remembered_over_a_restart_and_where_it_is_not_shown() {
    let stage = Stage::new();
    let config = shell("web", "echo run $$; exec sleep infinity", "")
        + &says("hidden", &["secret"], "log_stdout = false")
        + &says("forgets", &["gone"], "log_buffer = 0")
        + &sleeper("silent", "");
    let daemon = Launch::on(&stage).config(config).start();
    wait_for_line(&daemon, "run ");
    wait_for_line(&daemon, "gone");
    let first = daemon.pid_of("web");
    daemon.cli_ok(&["restart", "web"]);
    let second = daemon.pid_of("web");
    wait_for_line(&daemon, &format!("run {second}"));
    let runs = daemon.cli_ok(&["logs", "web"]);
    assert_eq!(
        without_marks(&runs),
        [format!("run {first}"), format!("run {second}")]
    );
    until("the hidden line", PATIENCE, || {
        (texts(&daemon.cli_ok(&["logs", "hidden"])) == ["secret"]).then_some(())
    });
    assert!(!daemon.out.text().contains("secret"));
    for (service, note) in [
        ("silent", ""),
        (
            "forgets",
            "note: the output of forgets is not kept (a log buffer of 0), so it is not shown\n",
        ),
    ] {
        let output = daemon.cli(&["logs", service]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (
                output.stdout.as_slice(),
                said.as_str(),
                output.status.code()
            ),
            (&b""[..], note, Some(0))
        );
    }
}

#[test]
fn each_run_is_set_off_from_the_one_before_it() {
    let stage = Stage::new();
    let config = shell("web", "echo run $$; exec sleep infinity", "") + &says("other", &["x"], "");
    let daemon = Launch::on(&stage).config(config).start();
    let mut runs = vec![daemon.pid_of("web")];
    wait_for_line(&daemon, &format!("run {}", runs[0]));
    wait_for_line(&daemon, "[other] x");
    assert!(!daemon.cli_ok(&["logs"]).contains("---"), "of a single run");
    for _ in 0..2 {
        daemon.cli_ok(&["restart", "web"]);
        let run = daemon.pid_of("web");
        wait_for_line(&daemon, &format!("run {run}"));
        runs.push(run);
    }
    let run = |at: usize| format!("[web] run {}", runs[at]);
    for words in [&["logs", "web"][..], &["logs", "web", "--grep", "run"]] {
        let output = daemon.cli_ok(words);
        let lines: Vec<&str> = output.lines().collect();
        let [first, mark, second, other_mark, third] = lines[..] else {
            panic!("{output}");
        };
        assert_eq!([first, second, third], [run(0), run(1), run(2)]);
        for mark in [mark, other_mark] {
            let text = mark.strip_prefix("[web] ").unwrap();
            assert!(is_mark(text), "{output}");
        }
        assert!(mark < other_mark, "in the order of time: {output}");
    }
    // Marks are no lines that are asked for, and the first run shown has none.
    assert_eq!(daemon.cli_ok(&["logs", "web", "-n", "1"]), run(2) + "\n");
    let all = daemon.cli_ok(&["logs", "-n", "2"]);
    assert_eq!(texts(&all).iter().filter(|text| is_mark(text)).count(), 1);
    let timed = daemon.cli_ok(&["logs", "-t", "-n", "2", "web"]);
    let column = |line: &str| line.find("Z [web] ");
    let columns: Vec<_> = timed.lines().map(column).collect();
    assert_eq!(columns, [Some(29); 3], "{timed}");
    let coloured = daemon.cli_ok(&["--color", "always", "logs", "web"]);
    assert_eq!(coloured.matches("\x1b[2m--- started").count(), 2);
    // Programs get what they got.
    let json = daemon.cli_ok(&["logs", "web", "--json"]);
    assert_eq!(json.lines().count(), 3, "{json}");
    assert!(!json.contains("---"), "{json}");
}

#[test]
fn scripts_are_no_runs_of_their_own() {
    let stage = Stage::new();
    let scripts = "pre_script = \"#!/bin/sh\\necho before\\n\"\n\
        post_script = \"#!/bin/sh\\necho afterwards\\n\"";
    let config = "[timeouts]\npost_script_timeout = 1\n\n".to_owned()
        + &shell("web", "echo main; exec sleep infinity", scripts);
    let daemon = Launch::on(&stage).config(config).start();
    let shown_with_runs = |runs: usize| {
        until("the lines of each run", PATIENCE, || {
            let output = daemon.cli_ok(&["logs", "web"]);
            (without_marks(&output).len() == 3 * runs).then_some(output)
        })
    };
    let single = shown_with_runs(1);
    assert!(!single.contains("---"), "{single}");
    daemon.cli_ok(&["restart", "web"]);
    let both = shown_with_runs(2);
    let texts = texts(&both);
    let marks: Vec<usize> = (0..texts.len()).filter(|at| is_mark(texts[*at])).collect();
    assert_eq!((marks, texts[4]), (vec![3], "before"), "{both}");
}

#[test]
fn a_service_that_never_ran_has_no_lines() {
    let stage = Stage::new();
    let daemon = Launch::on(&stage)
        .config(says("off", &["a"], "enabled = false") + &sleeper("web", ""))
        .start();
    let output = daemon.cli(&["logs", "off"]);
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty());
}

#[test]
fn services_that_say_nothing_hold_no_memory() {
    let stage = Stage::new();
    let config: String = (0..20)
        .map(|number| sleeper(&format!("s{number}"), "log_buffer = \"64MiB\""))
        .collect();
    let daemon = Launch::on(&stage)
        .config(config + &says("web", &["hello"], "log_buffer = \"64MiB\""))
        .start();
    daemon.wait_all("RUNNING");
    wait_for_line(&daemon, "hello");
    let held = status_field(daemon.pid(), "VmData").unwrap();
    assert!(held < 64 * 1024, "{held} kB for 21 buffers of 64 MiB");
}

#[test]
fn a_service_that_writes_without_pause_is_shown_to_the_moment_of_asking() {
    let stage = Stage::new();
    let config = service(
        "chatty",
        "/usr/bin/yes",
        &["all the time"],
        "log_stdout = false",
    ) + &service("empty", "/usr/bin/yes", &[""], "log_stdout = false")
        + &says("web", &["hello"], "");
    let daemon = Launch::on(&stage).config(config).start();
    wait_for_line(&daemon, "hello");
    let shows = |words: &[&str], wanted: &str| {
        until(wanted, PATIENCE, || {
            daemon.cli_ok(words).contains(wanted).then_some(())
        });
    };
    // Each ends: its output is there.
    shows(&["logs"], "[web   ] hello\n");
    shows(&["logs", "chatty"], "[chatty] all the time\n");
    shows(&["logs", "empty", "-n", "3"], "[empty] \n");
    // The last line may be there in part only, and a piece of a line that paused is marked as one.
    let lines = daemon.cli_ok(&["logs", "-n", "3", "chatty"]);
    let is_part = |line: &str| match line.strip_prefix("[chatty]+") {
        Some(rest) => "all the time".ends_with(rest),
        None => "all the time".starts_with(line.trim_start_matches("[chatty] ")),
    };
    assert!(
        lines.lines().count() == 3 && lines.lines().all(is_part),
        "{lines:?}"
    );
}

#[test]
fn what_is_remembered_is_bounded_and_its_last_lines_are_whole() {
    let stage = Stage::new();
    let script = "for my $n (1 .. 20000) { printf \"line %06d\\n\", $n } sleep 1000";
    let daemon = Launch::on(&stage)
        .config(service(
            "web",
            "/usr/bin/perl",
            &["-e", &format!("$| = 1; {script}")],
            "",
        ))
        .start();
    wait_for_line(&daemon, "line 020000");
    let output = daemon.cli_ok(&["logs", "web"]);
    let mut lines: Vec<String> = output.lines().map(str::to_owned).collect();
    // What is left of a line whose beginning is forgotten.
    lines.drain(
        ..lines
            .iter()
            .position(|line| line.starts_with("[web] "))
            .unwrap(),
    );
    // The writer may pause in a line, which is then remembered in pieces.
    let numbers: Vec<u32> = payload(&lines, "web")
        .iter()
        .map(|line| line[5..].parse().unwrap())
        .collect();
    assert_eq!(numbers.last(), Some(&20_000));
    assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1));
    let bytes = numbers.len() * "line 000000\n".len();
    assert!(
        (16 * 1024..=128 * 1024).contains(&bytes),
        "{bytes} bytes of log_buffer = 64 KiB"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure_and_a_full_disk_is() {
    let stage = Stage::new();
    let many = shell("web", "seq 5000; exec sleep infinity", "");
    let daemon = Launch::on(&stage).config(many).start();
    wait_for_line(&daemon, "] 5000");
    let shell = |line: &str| {
        let line = format!("{PROGRAM} --socket {} {line}", stage.socket().display());
        Command::new("bash").args(["-c", &line]).output().unwrap()
    };
    let output = shell("logs | head -1; echo ${PIPESTATUS[0]}");
    assert_eq!(output.stdout, b"[web] 1\n0\n");
    assert!(output.stderr.is_empty(), "{output:?}");
    for command in [
        "logs >/dev/full",
        "logs -n 1 >/dev/full",
        "events >/dev/full",
    ] {
        let output = shell(command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(1)
                && said.starts_with("error: cannot write the output: No space left on device"),
            "{command}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn what_is_asked_wrongly_is_said() {
    let stage = Stage::new();
    let daemon = Launch::on(&stage).config(sleeper("web", "")).start();
    for (words, part) in [
        (
            &["--since", "yesterday"][..],
            "--since `yesterday`: this duration has to be a number, then a unit",
        ),
        (
            &["--since", "-5"],
            "--since `-5`: this duration cannot be negative",
        ),
        (&["-n", "many"], "`many`: a whole number is expected"),
        (&["-n", "-3"], "`-3`: a whole number is expected"),
        (&["--grep"], "`--grep` needs a value: --grep TEXT"),
        (&["--folow"], "did you mean `--follow`?"),
    ] {
        let output = daemon.cli(&[&["logs"], words].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && said.contains(part),
            "{words:?}: {said}"
        );
    }
}

#[test]
fn a_service_that_is_not_there_has_its_likely_name() {
    let stage = Stage::new();
    let daemon = Launch::on(&stage).config(sleeper("web", "")).start();
    let output = daemon.cli(&["logs", "wbe"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("there is no service \"wbe\"") && text.contains("did you mean \"web\"?"),
        "{text}"
    );
}

#[test]
fn another_user_may_not_read_what_services_say() {
    need_root!();
    let stage = Stage::new();
    let daemon = Launch::on(&stage)
        .config(says("web", &["secret"], ""))
        .start();
    wait_for_line(&daemon, "secret");
    // Even where he can reach the socket.
    let socket = stage.socket();
    for path in [stage.root(), socket.parent().unwrap(), &socket] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(path, mode).unwrap();
    }
    let mut child = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "perl", "-MIO::Socket::UNIX", "-e"])
        .arg("my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die $!; print $s qq({\"command\":\"logs\"}\\n); $s->flush; print scalar <$s>")
        .arg(stage.socket())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answer = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut answer)
        .unwrap();
    child.wait().unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["code"], "not-allowed");
    assert_eq!(
        answer["message"],
        "cannot show logs to user 65534: only root and the daemon's own user may read them"
    );
}
