//! Reload with real processes: what did not change keeps its process, a bad file changes nothing, and after
//! a thousand random edits nothing is left over.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{
    Daemon, Launch, PATIENCE, Stage, children, free_port, is_alive, shell, sleeper, status_field,
    talker, until, wait_for_http, zombies,
};

fn pids(daemon: &Daemon) -> BTreeMap<String, Option<i32>> {
    let rows = daemon.list().into_iter();
    rows.map(|row| (row.name().to_owned(), row.pid())).collect()
}

#[test]
fn a_plan_is_printed_and_then_applied() {
    let stage = Stage::new();
    let before =
        sleeper("same", "") + &sleeper("old", "") + &sleeper("env", "") + &sleeper("quiet", "");
    let daemon = Launch::on(&stage).config(before).start();
    daemon.wait_all("RUNNING");
    let first = pids(&daemon);
    let after = sleeper("env", "env = { A = \"1\" }")
        + &sleeper("same", "")
        + &sleeper("quiet", "required = true")
        + &shell("new", "exec sleep infinity", "depends_on = \"env\"");
    stage.file("services.toml", &after);
    let plan = daemon.cli_ok(&["reload", "--dry-run"]);
    let expected = "+ new  added\n- old  removed\n~ env  restarted (env)\n= quiet  updated (required)\n\
                    1 service unchanged; nothing was done yet\n";
    assert_eq!(plan, expected);
    assert_eq!(pids(&daemon), first);

    let said = daemon.cli_ok(&["reload"]);
    assert!(said.contains("1 service unchanged\n"), "{said}");
    let names = until("the new table", PATIENCE, || {
        let rows = daemon.list();
        let up = rows.iter().all(|row| row.state() == "RUNNING");
        let names: Vec<String> = rows.iter().map(|row| row.name().to_owned()).collect();
        (up && names.len() == 4).then_some(names)
    });
    assert_eq!(names, ["env", "same", "quiet", "new"]);
    let now = pids(&daemon);
    assert_eq!(now["same"], first["same"]);
    assert_eq!(now["quiet"], first["quiet"]);
    assert_ne!(now["env"], first["env"]);
    until("the old one's end", PATIENCE, || {
        (!is_alive(first["old"].unwrap())).then_some(())
    });
    let environment = std::fs::read(format!("/proc/{}/environ", now["env"].unwrap())).unwrap();
    assert!(
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == b"A=1")
    );
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let stage = Stage::new();
    let good = talker("web", "");
    let mut daemon = Launch::on(&stage).config(good.clone()).start();
    daemon.wait_all("RUNNING");
    let before = pids(&daemon);
    stage.file("services.toml", &good.replace("command", "comand"));
    for words in [&["reload", "--dry-run"][..], &["reload"]] {
        let output = daemon.cli(words);
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("nothing was changed"), "{text}");
        assert!(text.contains("unknown key `comand`"), "{text}");
        assert!(text.contains("did you mean `command`?"), "{text}");
    }
    daemon.signal(Signal::SIGHUP);
    daemon.err.wait_for("unknown key `comand`", PATIENCE);
    std::fs::remove_file(stage.path("services.toml")).unwrap();
    let output = daemon.cli(&["reload"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("cannot read it: No such file"), "{text}");
    assert_eq!(pids(&daemon), before);
    daemon.shut_down();
}

#[test]
fn sighup_reloads_and_the_log_goes_on() {
    let stage = Stage::new();
    let ticker = |more: &str| {
        shell(
            "t",
            "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.01; done",
            more,
        )
    };
    let daemon = Launch::on(&stage).config(ticker("")).start();
    daemon.out.wait_for("[t] tick 3", PATIENCE);
    // A longer name makes the column wider; the process need not know, nor of the file.
    let file = stage.at("t.log");
    let more = format!("log_file = \"{file}\"");
    stage.file(
        "services.toml",
        &(ticker(&more) + &sleeper("longer-name", "")),
    );
    daemon.signal(Signal::SIGHUP);
    daemon.err.wait_for("1 added, 1 updated", PATIENCE);
    daemon.out.wait_for("[t          ] tick ", PATIENCE);
    until("lines in the file", PATIENCE, || {
        stage.read("t.log").contains("tick ").then_some(())
    });
    let remembered = daemon.cli_ok(&["logs", "t"]);
    assert!(
        remembered.contains("] tick 1\n"),
        "what was remembered stays"
    );
    let lines = daemon.out.all();
    let ticks: Vec<u32> = lines
        .iter()
        .filter_map(|line| line.split_once("] tick ")?.1.parse().ok())
        .collect();
    assert!(
        ticks.windows(2).all(|two| two[1] == two[0] + 1),
        "{ticks:?}"
    );
}

#[test]
fn who_is_removed_and_is_down_already_has_no_place_in_the_column_of_names() {
    let stage = Stage::new();
    let ticker = shell("t", "while :; do echo tick; sleep 0.01; done", "");
    let config = ticker.clone() + &shell("longer-name", "exit 0", "");
    let daemon = Launch::on(&stage).config(config).start();
    daemon.out.wait_for("[t          ] tick", PATIENCE);
    daemon
        .err
        .wait_for("longer-name: RUNNING -> STOPPED", PATIENCE);
    stage.file("services.toml", &ticker);
    daemon.cli_ok(&["reload"]);
    daemon.out.wait_for("[t] tick", PATIENCE);
}

#[test]
fn a_renamed_server_finds_its_port_free() {
    let stage = Stage::new();
    let port = free_port();
    let server = |name: &str| {
        let port = port.to_string();
        let args = ["-m", "http.server", "--bind", "127.0.0.1", port.as_str()];
        let health = format!("health = {{ tcp = \"127.0.0.1:{port}\" }}\nready = \"healthy\"");
        support::service(name, "python3", &args, &health)
    };
    let daemon = Launch::on(&stage).config(server("old")).start();
    daemon.wait_state("old", "RUNNING");
    stage.file("services.toml", &server("new"));
    daemon.cli_ok(&["reload"]);
    daemon.wait_state("new", "RUNNING");
    wait_for_http(port, "/", "200", PATIENCE);
    assert_eq!(daemon.row("new").health(), "healthy");
    assert_eq!(daemon.list().len(), 1);
}

#[test]
fn events_tell_what_happened_and_why() {
    let stage = Stage::new();
    let crasher = shell(
        "web",
        "exit 3",
        "restart = { policy = \"on-failure\", delay = 0, max_attempts = 1 }",
    );
    let daemon = Launch::on(&stage)
        .config(crasher + &sleeper("db", ""))
        .start();
    daemon.wait_state("web", "FAILED");
    until("the last attempt", PATIENCE, || {
        daemon.row("web").detail().contains("gave up").then_some(())
    });
    let events = |words: &[&str]| -> Vec<Value> {
        let text = daemon.cli_ok(&[&["events", "--json"], words].concat());
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let of_web = events(&["web"]);
    let states: Vec<&str> = of_web
        .iter()
        .filter_map(|event| event["to"].as_str())
        .collect();
    let once = ["PENDING", "STARTING", "RUNNING", "FAILED"];
    assert_eq!(states, [once, once].concat());
    let restart = of_web
        .iter()
        .find(|event| event["event"] == "restart")
        .unwrap();
    assert_eq!(restart["detail"], "exit 3 (attempt 1)");
    assert!(restart["time"].as_str().unwrap().ends_with('Z'));
    let last = &events(&["-n", "1", "web"])[0];
    assert_eq!(last["detail"], "exit 3; gave up after 1 restart");
    let text = daemon.cli_ok(&["events", "-n", "1", "web"]);
    assert!(
        text.ends_with("Z web: RUNNING -> FAILED (exit 3; gave up after 1 restart)\n"),
        "{text}"
    );

    // Who follows is told at once, and gets to see the end.
    let mut follower = std::process::Command::new(support::PROGRAM)
        .args([
            "--socket",
            &stage.socket().display().to_string(),
            "events",
            "-f",
            "-n",
            "0",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = support::Lines::gather(follower.stdout.take().unwrap());
    until("the follower to be there", PATIENCE, || {
        daemon.ask(json!({"command": "restart", "services": ["db"]}));
        (!lines.all().is_empty()).then_some(())
    });
    lines.wait_for("db: RUNNING -> STOPPING", PATIENCE);
    lines.wait_for("db: restarts (asked for)", PATIENCE);
    stage.file("services.toml", &sleeper("db", ""));
    daemon.cli_ok(&["reload"]);
    lines.wait_for("go-overlay: reload (1 removed, 1 unchanged)", PATIENCE);
    let output = daemon.cli(&["events", "wbe"]);
    assert_eq!(output.status.code(), Some(1));
    daemon.sigterm();
    lines.wait_for("go-overlay: shutdown (SIGTERM received)", PATIENCE);
    lines.wait_for_end(PATIENCE);
    follower.wait().unwrap();
}

/// Choices that a seed repeats (SplitMix64).
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    /// A file of some of eight services, each with some settings.
    fn file(&mut self, stage: &Stage) -> String {
        let mut text = String::new();
        let mut there: Vec<usize> = Vec::new();
        for number in 0..8 {
            // A file without any service is refused.
            let last_chance = number == 7 && there.is_empty();
            if self.below(3) == 0 && !last_chance {
                continue;
            }
            let mut more = String::from(
                "restart = { policy = \"always\", delay = \"10ms\", max_delay = \"50ms\" }\n",
            );
            if self.below(2) == 0 {
                more += &format!("env = {{ V = \"{}\" }}\n", self.below(3));
            }
            if self.below(3) == 0 {
                more += &format!("log_file = \"{}\"\n", stage.at(&format!("s{number}.log")));
            }
            if self.below(3) == 0 {
                more += &format!("stop_timeout = {}\n", 1 + self.below(3));
            }
            if self.below(4) == 0 {
                more += "tty = false\n";
            }
            if self.below(4) == 0 {
                more += "ready = { fd = 3 }\n";
            }
            if self.below(4) == 0 {
                more += "health = { exec = [\"true\"], interval = \"50ms\" }\n";
            }
            if !there.is_empty() && self.below(2) == 0 {
                let on = there[self.below(there.len())];
                more += &format!("depends_on = \"s{on}\"\n");
            }
            there.push(number);
            text += &shell(
                &format!("s{number}"),
                "{ echo >&3; } 2>/dev/null; echo up; exec sleep infinity",
                &more,
            );
        }
        text
    }
}

fn open_descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}

#[test]
fn a_thousand_reloads_while_services_crash_leave_nothing_over() {
    let seed = std::env::var("GO_OVERLAY_RELOAD_SEED").ok();
    let seed = seed.map_or_else(
        || u64::from(std::process::id()),
        |seed| seed.parse().unwrap(),
    );
    eprintln!("GO_OVERLAY_RELOAD_SEED={seed}");
    let mut choices = Choices(seed);
    let stage = Stage::new();
    let empty = sleeper("always", "");
    let mut daemon = Launch::on(&stage).config(empty.clone()).start();
    daemon.wait_all("RUNNING");
    let pid = daemon.pid();
    let mut baseline = None;
    for round in 0..1000 {
        let file = choices.file(&stage);
        stage.file("services.toml", &file);
        let answer = daemon.ask(json!({"command": "reload"}));
        assert_eq!(answer["applied"], true, "round {round}: {answer}");
        if choices.below(3) == 0 {
            let rows = daemon.list();
            if let Some(pid) = rows.get(choices.below(8)).and_then(support::Row::pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        if round % 100 == 50 {
            // A bad one between the good ones.
            stage.file("services.toml", "[[services]]\nname = 1\n");
            assert_eq!(
                daemon.ask(json!({"command": "reload"}))["code"],
                "bad-config"
            );
        }
        if round % 200 == 199 {
            // Down to one service: everything that the others needed is gone.
            stage.file("services.toml", &empty);
            daemon.ask(json!({"command": "reload"}));
            until("the table of one", Duration::from_secs(20), || {
                let rows = daemon.list();
                (rows.len() == 1 && rows[0].state() == "RUNNING" && children(pid).len() == 1)
                    .then_some(())
            });
            assert_eq!(zombies(pid), Vec::<i32>::new());
            let now = (open_descriptors(pid), status_field(pid, "VmRSS").unwrap());
            let (descriptors, memory) = *baseline.get_or_insert(now);
            assert_eq!(now.0, descriptors, "descriptors after round {round}");
            assert!(
                now.1 <= memory + 512,
                "{} kB after round {round}, {memory} kB before",
                now.1
            );
        }
    }
    // The table of the last file, with a process each.
    let last = choices.file(&stage);
    stage.file("services.toml", &last);
    daemon.ask(json!({"command": "reload"}));
    let expected: Vec<&str> = last
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .collect();
    until("the last table", Duration::from_secs(20), || {
        let rows = daemon.list();
        let names: Vec<&str> = rows.iter().map(support::Row::name).collect();
        let up = rows.iter().all(|row| row.state() == "RUNNING");
        (names == expected && up && children(pid).len() == expected.len()).then_some(())
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(PATIENCE), 0);
}
