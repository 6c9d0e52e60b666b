//! What remains when the daemon ends without a chance to clean up.

use std::io::Write;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::strangers::Open;
use super::support::{
    Daemon, Launch, PATIENCE, PROGRAM, Row, Stage, connect, descendants, is_alive, say_skipped,
    send, shell, sleeper, status_field, until,
};

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
    let config = shell("web", script, &log);
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

/// SIGKILL, which the daemon can do nothing about.
fn kill_outright(daemon: &mut Daemon) {
    kill(Pid::from_raw(daemon.pid()), Signal::SIGKILL).unwrap();
    assert_eq!(daemon.wait_exit(PATIENCE), 137);
}

#[test]
fn services_die_with_a_daemon_that_is_killed() {
    let stage = Stage::new();
    let deaf = "trap '' HUP TERM; while :; do sleep 0.05; done";
    let script = format!("pre_script = \"#!/bin/sh\\n{deaf}\\n\"");
    let check = "health = { exec = [\"sleep\", \"1000\"], timeout = 1000 }";
    let mut config = shell("terminal", deaf, "")
        + &shell("pipes", deaf, "tty = false")
        + &sleeper("prepares", &script)
        + &sleeper("checked", check);
    let mut count = 5;
    if super::support::is_root() {
        config += &shell("other", deaf, "user = \"20077\"\nno_new_privs = true");
        count += 1;
    } else {
        say_skipped("another user needs root");
    }
    let mut daemon = Launch::on(&stage).config(config).start();
    let own = daemon.pid();
    let direct = || super::support::children(own);
    until("all to run", PATIENCE, || {
        (direct().len() == count).then_some(())
    });
    let all = direct();
    kill_outright(&mut daemon);
    until("their end", PATIENCE, || {
        (!all.iter().any(|pid| is_alive(*pid))).then_some(())
    });
}

#[test]
fn a_main_program_dies_with_a_daemon_that_is_killed() {
    let stage = Stage::new();
    let script = "trap '' HUP TERM; echo up; while :; do sleep 0.05; done";
    let mut daemon = Launch::on(&stage)
        .main(&["sh", "-c", script])
        .start_blindly();
    daemon.out.wait_for("up", PATIENCE);
    let program = super::support::children(daemon.pid())[0];
    kill_outright(&mut daemon);
    until("its end", PATIENCE, || (!is_alive(program)).then_some(()));
}

/// Grandchildren are not tied to the daemon. The next one ends them before it starts anything.
#[test]
fn the_next_daemon_ends_what_a_killed_one_left() {
    let stage = Stage::new();
    let script = "setsid sh -c 'trap \"\" HUP; echo up; sleep 1000' </dev/null & sleep 1000";
    let config = shell("one", script, "tty = false") + &shell("two", script, "");
    let mut first = Launch::on(&stage).config(config.as_str()).start();
    first.out.wait_for_count("up", 2, PATIENCE);
    let named = |pid: &i32| {
        let path = format!("/proc/{pid}/comm");
        std::fs::read_to_string(path).is_ok_and(|comm| comm == "sleep\n")
    };
    let own = first.pid();
    let sleepers = until("the sleepers", PATIENCE, || {
        let found: Vec<i32> = descendants(own).into_iter().filter(named).collect();
        (found.len() == 4).then_some(found)
    });
    // A stranger's process, and one of another daemon at another place.
    let elsewhere = Stage::new();
    let other = Launch::on(&elsewhere).config(sleeper("web", "")).start();
    let others = other.wait_state("web", "RUNNING").pid().unwrap();
    kill_outright(&mut first);
    let left = || sleepers.iter().filter(|pid| is_alive(**pid)).count();
    assert!(left() > 0, "there is nothing to end");

    let mut second = Launch::on(&stage).config(sleeper("web", "")).start();
    assert_eq!(left(), 0);
    assert!(is_alive(others));
    second
        .err
        .wait_for("the daemon before this one was killed: ended", PATIENCE);
    // What was dead already and not reaped by its new parent is not counted.
    let said = second.err.text();
    let is_said = |count: usize| said.contains(&format!("ended {count} of"));
    assert!((1..=2 * sleepers.len()).any(is_said), "{said}");
    second.shut_down();
    // An orderly end leaves nothing to look for.
    let mut third = Launch::on(&stage).config(sleeper("web", "")).start();
    third.shut_down();
    assert_eq!(third.err.text().matches("was killed").count(), 0);
}

/// A name that no file keeps: whoever can bind it comes after one that is dead.
#[test]
fn the_next_daemon_at_an_abstract_name_ends_what_a_killed_one_left() {
    let stage = Stage::new();
    let leaves = |file: &str| {
        let inner = format!(
            "trap \"\" HUP; echo $$ > {}; exec sleep 1000",
            stage.at(file)
        );
        shell(
            "one",
            &format!("setsid sh -c '{inner}' & sleep 1000"),
            "tty = false",
        )
    };
    let pid_in = |file: &str| {
        until("a process id", PATIENCE, || {
            stage.read(file).trim().parse::<i32>().ok()
        })
    };
    let first = Open::start(&stage, &leaves("first"));
    let left = pid_in("first");
    // At another name, and at the same one in another network namespace.
    let elsewhere = Stage::new();
    let _other = Open::start(&elsewhere, &leaves("other"));
    let others = pid_in("other");
    let config = stage.file("apart.toml", &leaves("apart"));
    let mut apart = match super::support::is_root() {
        true => {
            let command = [
                PROGRAM,
                "--no-install",
                "--config",
                &config,
                "--socket",
                &first.name,
            ];
            let child = Command::new("unshare").arg("--net").args(command).spawn();
            let child = child.unwrap();
            others_live(&[left, others, pid_in("apart")]);
            Some(child)
        }
        false => None,
    };
    first.kill();
    others_live(&[left]);
    let second = Open::start(&stage, &sleeper("web", ""));
    until("the end of what was left", PATIENCE, || {
        (!is_alive(left)).then_some(())
    });
    others_live(&[others]);
    if let Some(apart) = &mut apart {
        others_live(&[pid_in("apart")]);
        send(apart.id().cast_signed(), 15);
        apart.wait().unwrap();
    }
    drop(second);
}

fn others_live(pids: &[i32]) {
    for pid in pids {
        assert!(is_alive(*pid), "{pid}");
    }
}

/// Bounds the address space of a daemon to what it has and some MiB more.
fn bound_memory(daemon: &Daemon, prlimit: &str, more: u64) {
    let pid = daemon.pid();
    let bound = (status_field(pid, "VmSize").unwrap() + more * 1024) * 1024;
    let tool = Command::new(prlimit)
        .args(["--pid", &pid.to_string(), &format!("--as={bound}")])
        .status();
    assert!(tool.unwrap().success());
}

/// The memory of a service's last lines takes what the system grants.
#[test]
fn a_bound_on_memory_costs_remembered_lines_and_not_the_daemon() {
    let prlimit = need!("prlimit");
    let stage = Stage::new();
    let script = "yes 0123456789012345678901234567890123456789 | head -c 60000000; echo done; exec sleep 1000";
    let more =
        "tty = false\nlog = { stdout = false, buffer = \"64MiB\" }\nready = { log = \"done\" }";
    let config = shell("noisy", script, more) + &sleeper("good", "");
    let mut daemon = Launch::on(&stage).config(config).start();
    bound_memory(&daemon, &prlimit, 8);
    daemon.wait_state("noisy", "RUNNING");
    assert_eq!(daemon.row("good").state(), "RUNNING");
    // What was remembered last is still there.
    let last = daemon.cli_ok(&["logs", "-n", "1", "noisy"]);
    assert!(last.contains("done"), "{last}\n{}", daemon.said());
    daemon.shut_down();
}

/// The last words of many services would take ten times what the system grants, and nothing reads them.
#[test]
fn a_bound_on_memory_costs_lines_that_wait_for_a_reader_and_not_the_daemon() {
    let prlimit = need!("prlimit");
    let stage = Stage::new();
    let (go, services, lines) = (stage.at("go"), 10, 60_000);
    // All of it fits into the pipe; as JSON each empty line takes a hundred bytes.
    let script = format!(
        "until [ -e {go} ]; do sleep 0.05; done; head -c {lines} /dev/zero | tr '\\0' '\\n'"
    );
    let more = "tty = false\nlog = { buffer = \"0\" }";
    let config: String = (0..services)
        .map(|number| shell(&format!("ends{number}"), &script, more))
        .collect();
    let config = format!("[log]\nformat = \"json\"\n{config}{}", sleeper("good", ""));
    let mut daemon = Launch::on(&stage).config(config).stalled().start();
    bound_memory(&daemon, &prlimit, 8);
    stage.file("go", "");
    until("the ends", PATIENCE, || {
        let ended = |row: &Row| row.detail() == "completed";
        (daemon.list().iter().filter(|row| ended(row)).count() == services).then_some(())
    });
    assert_eq!(daemon.row("good").state(), "RUNNING");
    daemon.read_on();
    // Each line is there, or counted where it is missing.
    let all = || {
        let dropped = |line: &String| {
            let said: serde_json::Value = serde_json::from_str(line).unwrap();
            said["dropped"].as_u64().unwrap_or(1)
        };
        daemon.out.all().iter().map(dropped).sum::<u64>()
    };
    until("all lines", PATIENCE, || {
        (all() == services as u64 * lines).then_some(())
    });
    assert!(daemon.out.count("\"dropped\":") > 0, "it fitted");
    daemon.shut_down();
}

/// Clients that read nothing of their answers, when the system grants no more for them.
#[test]
fn a_bound_on_memory_costs_clients_that_do_not_read_and_not_the_daemon() {
    let prlimit = need!("prlimit");
    let stage = Stage::new();
    let more = "tty = false\nlog = { stdout = false, buffer = \"1MiB\" }";
    let config = shell("noisy", "exec yes", more) + &sleeper("good", "");
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_all("RUNNING");
    let logs = "{\"command\":\"logs\",\"services\":[],\"follow\":true}\n";
    let readers: Vec<_> = (0..300)
        .map(|_| {
            let mut reader = connect(&daemon.socket).unwrap();
            reader.write_all(logs.as_bytes()).unwrap();
            reader
        })
        .collect();
    bound_memory(&daemon, &prlimit, 1);
    daemon.err.wait_for("cannot get more memory", PATIENCE);
    assert_eq!(daemon.row("good").state(), "RUNNING");
    assert!(daemon.cli_ok(&["logs", "-n", "1", "noisy"]).contains('y'));
    drop(readers);
    daemon.shut_down();
}
