//! What once went wrong, and must not again: each test is a promise by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use support::{Launch, PATIENCE, Stage, payload, pieces, service, shell, sleeper, talker, until};

#[test]
fn another_user_gets_arguments_with_spaces_as_they_are() {
    need_root!();
    let stage = Stage::new();
    let args = [
        "<%s>",
        "two words",
        "it's",
        "$HOME",
        "",
        "a;b && c",
        "tab\there",
    ];
    let config = service("args", "/usr/bin/printf", &args, "user = \"nobody\"")
        + &service("who", "/usr/bin/id", &["-un"], "user = \"nobody\"");
    let daemon = Launch::on(&stage).config(config).start();
    daemon.wait_all("STOPPED");
    let line = daemon.out.wait_for("<two words>", PATIENCE);
    assert!(
        line.ends_with("<two words><it's><$HOME><><a;b && c><tab\there>"),
        "{line}"
    );
    daemon.out.wait_for("nobody", PATIENCE);
}

#[test]
fn restarting_a_required_service_disturbs_nobody_else() {
    let stage = Stage::new();
    let config = sleeper("db", "required = true")
        + &sleeper("web", "required = true\ndepends_on = \"db\"")
        + &sleeper("other", "");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_all("RUNNING");
    let pid = |name| daemon.pid_of(name);
    let (db, web, other) = (pid("db"), pid("web"), pid("other"));
    for _ in 0..3 {
        daemon.cli_ok(&["restart", "db"]);
        daemon.wait_all("RUNNING");
    }
    assert_ne!(daemon.pid_of("db"), db);
    assert_eq!((daemon.pid_of("web"), daemon.pid_of("other")), (web, other));
    assert_eq!(daemon.row("db").0["restarts"], 3);
    daemon.shut_down();
}

#[test]
fn every_line_of_a_short_program_arrives_a_thousand_times_in_a_row() {
    let stage = Stage::new();
    let script = "echo first; echo second; echo third";
    let config = shell("short", script, "");
    let daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state("short", "STOPPED");
    let done = json!({"command": "wait", "service": "short", "for": "completed"});
    for _ in 1..1000 {
        daemon.ask(json!({"command": "start", "services": ["short"]}));
        let answer = daemon.ask(done.clone());
        assert_eq!(answer["ok"], true, "{answer}");
    }
    daemon.out.wait_for_count("third", 1000, PATIENCE);
    let lines = payload(&daemon.out.all(), "short");
    assert_eq!(lines.len(), 3000);
    for run in lines.chunks(3) {
        assert_eq!(run, ["first", "second", "third"]);
    }
}

/// A line of `length` bytes in which every place looks different.
fn long_line(length: usize) -> String {
    let numbers = (0..).map(|number| format!("{number:08} "));
    let mut line: String = numbers.take(length / 9 + 1).collect();
    line.truncate(length);
    line
}

fn line_of_length_arrives_whole(length: usize) {
    let stage = Stage::new();
    let expected = long_line(length);
    let file = stage.file("line", &format!("{expected}\nafter\n"));
    let config = service("long", "/bin/cat", &[&file], "") + &sleeper("x", "");
    let daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state("long", "STOPPED");
    daemon.out.wait_for("after", PATIENCE);
    let all = daemon.out.all();
    let lines = payload(&all, "long");
    assert_eq!(lines.len(), 2, "in {} pieces", pieces(&all, "long").len());
    assert!(lines[0] == expected, "the line was changed on its way");
    assert_eq!(lines[1], "after");
    let longest = all.iter().map(String::len).max().unwrap();
    assert!(longest < 17 * 1024, "a piece of {longest} bytes");
    assert_eq!(daemon.row("x").state(), "RUNNING");
}

#[test]
fn a_line_over_64_kib_arrives_whole_in_marked_pieces() {
    line_of_length_arrives_whole(65 * 1024 + 7);
}

#[test]
fn a_line_of_10_mib_arrives_whole_in_marked_pieces() {
    line_of_length_arrives_whole(10 * 1024 * 1024);
}

#[test]
fn log_file_is_a_second_destination_and_keeps_what_it_had() {
    let stage = Stage::new();
    let log = stage.file("web.log", "from before\n");
    let script = "echo one; echo two; sleep infinity";
    let config = shell("web", script, &format!("log_file = {:?}", log));
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state("web", "RUNNING");
    daemon.out.wait_for("two", PATIENCE);
    until("both lines in the file", PATIENCE, || {
        let text = stage.read("web.log");
        (text.contains("one") && text.contains("two")).then_some(())
    });
    assert!(stage.read("web.log").starts_with("from before\n"));
    assert_eq!(payload(&daemon.out.all(), "web"), ["one", "two"]);
    // A writer that is there already loses nothing when the service starts again.
    daemon.cli_ok(&["restart", "web"]);
    daemon.out.wait_for_count("two", 2, PATIENCE);
    until("four lines in the file", PATIENCE, || {
        (stage.read("web.log").matches("two").count() == 2).then_some(())
    });
    daemon.shut_down();
    assert!(stage.read("web.log").starts_with("from before\n"));
}

#[test]
fn what_cannot_be_executed_fails_its_dependents_at_once() {
    let stage = Stage::new();
    let broken = stage.program("broken", "\u{1}\u{2}neither a script nor a program\n");
    let config = service("broken", &broken, &[], "")
        + &sleeper("web", "depends_on = \"broken\"")
        + &sleeper("proxy", "depends_on = [\"web\"]")
        + &sleeper("other", "");
    let mut daemon = Launch::on(&stage).config(config).start();
    let began = Instant::now();
    let row = daemon.wait_state("broken", "FAILED");
    assert!(row.detail().contains("Exec format error"), "{row:?}");
    let web = daemon.wait_state("web", "FAILED");
    assert!(web.detail().contains("dependency broken failed"), "{web:?}");
    let proxy = daemon.wait_state("proxy", "FAILED");
    assert!(
        proxy.detail().contains("dependency web failed"),
        "{proxy:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
    daemon.wait_state("other", "RUNNING");
    daemon.shut_down();
}

#[test]
fn the_exit_code_of_a_failed_required_service_is_the_daemons() {
    let stage = Stage::new();
    let no_interpreter = stage.program("lost", "#!/nonexistent/interpreter\n");
    let garbage = stage.program("garbage", "\u{1}\u{2}\u{3}\n");
    let required = "required = true";
    let cases = [
        (shell("a", "exit 7", required), 7),
        (shell("a", "exit 255", required), 255),
        (shell("a", "kill -KILL $$", required), 137),
        (shell("a", "kill -TERM $$", required), 143),
        (service("a", &no_interpreter, &[], required), 127),
        (service("a", &garbage, &[], required), 126),
        (
            sleeper(
                "a",
                "required = true\npre_script = \"#!/bin/sh\\nexit 3\\n\"",
            ),
            3,
        ),
    ];
    for (text, code) in cases {
        let config = text + &talker("beside", "");
        let ended = Launch::on(&stage).config(config.as_str()).run_to_end();
        assert_eq!(
            ended.code,
            code,
            "{config}\n{}\n{}",
            ended.out.join("\n"),
            ended.err
        );
    }
}

#[test]
fn a_required_service_that_completes_ends_nothing() {
    let stage = Stage::new();
    let config = shell("migrate", "exit 0", "required = true") + &sleeper("web", "");
    let mut daemon = Launch::on(&stage).config(config).start();
    let row = daemon.wait_state("migrate", "STOPPED");
    assert_eq!((row.detail(), row.exit_code()), ("completed", Some(0)));
    daemon.wait_state("web", "RUNNING");
    daemon.shut_down();
}

#[test]
fn global_shutdown_timeout_bounds_the_whole() {
    let stage = Stage::new();
    let deaf = "trap '' TERM; echo deaf; while :; do sleep 1; done";
    let config = "[timeouts]\nservice_shutdown_timeout = 60\nglobal_shutdown_timeout = 1\n\n"
        .to_owned()
        + &shell("a", deaf, "")
        + &shell("b", deaf, "depends_on = \"a\"")
        + &shell("c", deaf, "depends_on = \"b\"");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.out.wait_for_count("deaf", 3, PATIENCE);
    let began = Instant::now();
    daemon.shut_down();
    let took = began.elapsed();
    let bounds = Duration::from_millis(900)..Duration::from_secs(5);
    assert!(bounds.contains(&took), "{took:?}");
}

#[test]
fn stopped_failed_and_disabled_services_stay_listed() {
    let stage = Stage::new();
    let config = sleeper("stopped", "")
        + &shell("failed", "exit 4", "")
        + &sleeper("disabled", "enabled = false")
        + &shell("done", "exit 0", "")
        + &sleeper("up", "");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state("stopped", "RUNNING");
    daemon.cli_ok(&["stop", "stopped"]);
    daemon.wait_state("failed", "FAILED");
    daemon.wait_state("done", "STOPPED");
    daemon.wait_state("up", "RUNNING");

    let text = daemon.cli_ok(&["list", "--json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["name"].as_str().unwrap(),
                row["state"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("stopped", "STOPPED"),
        ("failed", "FAILED"),
        ("disabled", "STOPPED"),
        ("done", "STOPPED"),
        ("up", "RUNNING"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(rows[1]["exit_code"], 4);
    assert!(rows[1]["pid"].is_null() && rows[1]["uptime_seconds"].is_null());
    assert_eq!(rows[2]["detail"], "disabled");
    assert!(rows[2]["exit_code"].is_null());
    assert_eq!(rows[3]["detail"], "completed");
    assert!(rows[4]["pid"].is_i64() && rows[4]["uptime_seconds"].is_f64());

    let table = daemon.cli_ok(&["list"]);
    for (name, state) in expected {
        let line = table.lines().find(|line| line.starts_with(name));
        assert!(line.is_some_and(|line| line.contains(state)), "{table}");
    }
    daemon.shut_down();
}

#[test]
fn grandchildren_behind_nohup_and_setsid_are_gone_after_shutdown() {
    let stage = Stage::new();
    let script = "nohup sleep 1000 >/dev/null 2>&1 & \
        setsid sleep 1000 & \
        (setsid nohup sh -c 'trap \"\" TERM HUP INT; while :; do sleep 1; done' >/dev/null 2>&1 &) ; \
        sh -c 'kill -STOP $$; sleep 1000' & \
        echo ready; wait";
    let config = "[timeouts]\nservice_shutdown_timeout = 1\n\n".to_owned()
        + &shell("forker", script, "")
        + &sleeper("other", "");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.out.wait_for("ready", PATIENCE);
    until("all processes", PATIENCE, || {
        (daemon.everything().len() >= 7).then_some(())
    });
    daemon.shut_down();
}

#[test]
fn sigquit_stops_everything_in_order() {
    let stage = Stage::new();
    let config = talker("db", "") + &talker("web", "depends_on = \"db\"");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.out.wait_for("web up", PATIENCE);
    daemon.out.wait_for("db up", PATIENCE);
    let everything = daemon.everything();
    daemon.signal(Signal::SIGQUIT);
    assert_eq!(daemon.wait_exit(PATIENCE), 0);
    assert_eq!(everything.alive(), [0; 0]);
    daemon.out.wait_for_end(PATIENCE);
    let lines = daemon.out.all();
    let at = |text: &str| lines.iter().position(|line| line.ends_with(text)).unwrap();
    assert!(at("web down") < at("db down"), "{}", daemon.out.text());
}

#[test]
fn a_second_daemon_beside_the_first_starts_nothing_and_displaces_nothing() {
    let stage = Stage::new();
    let config = sleeper("web", "");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state("web", "RUNNING");
    let pid = daemon.pid_of("web");

    let marker = stage.at("started");
    let second = Launch::on(&stage)
        .config(shell("second", &format!("touch {marker}"), ""))
        .run_to_end();
    assert_ne!(second.code, 0);
    let said = second.out.join("\n") + &second.err;
    assert!(said.contains("already running"), "{said}");
    assert!(!stage.path("started").exists());

    let rows = daemon.list();
    assert_eq!((rows.len(), rows[0].pid()), (1, Some(pid)));
    daemon.shut_down();
}

#[test]
fn the_socket_of_a_dead_daemon_is_replaced() {
    let stage = Stage::new();
    let config = sleeper("web", "");
    let mut first = Launch::on(&stage).config(config.as_str()).start();
    first.signal(Signal::SIGKILL);
    first.wait_exit(PATIENCE);
    assert!(stage.socket().exists());
    let mut second = Launch::on(&stage).config(config).start();
    second.wait_state("web", "RUNNING");
    second.shut_down();
}
