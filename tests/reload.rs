//! Reload with real processes: what did not change keeps its process, a bad file changes nothing, and after
//! a thousand random edits nothing is left over.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{
    Daemon, Launch, Op, PATIENCE, Stage, children, connect, free_port, is_alive, service, shell,
    sleeper, state_of, status_field, talker, until, wait_for_http, zombies,
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
    // It may have come in the middle of one.
    daemon.wait_state("db", "RUNNING");
    daemon.ask(json!({"command": "restart", "services": ["db"]}));
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

/// How many descriptors it has open once it rests: nothing that it would close by itself is among them.
fn descriptors_at_rest(pid: i32) -> usize {
    let (mut last, mut same) = (0, 0);
    until("the daemon to rest", PATIENCE, || {
        let now = open_descriptors(pid);
        let rests = now == last && state_of(pid) == "S";
        (last, same) = (now, if rests { same + 1 } else { 0 });
        (same >= 30).then_some(now)
    })
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
            until("the table of one", PATIENCE, || {
                let rows = daemon.list();
                (rows.len() == 1 && rows[0].state() == "RUNNING" && children(pid).len() == 1)
                    .then_some(())
            });
            assert_eq!(zombies(pid), Vec::<i32>::new());
            let at_rest = descriptors_at_rest(pid);
            let now = status_field(pid, "VmRSS").unwrap();
            let (descriptors, memory) = *baseline.get_or_insert((at_rest, now));
            assert_eq!(at_rest, descriptors, "descriptors after round {round}");
            assert!(
                now <= memory + 512,
                "{now} kB after round {round}, {memory} kB before"
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
    until("the last table", PATIENCE, || {
        let rows = daemon.list();
        let names: Vec<&str> = rows.iter().map(support::Row::name).collect();
        let up = rows.iter().all(|row| row.state() == "RUNNING");
        (names == expected && up && children(pid).len() == expected.len()).then_some(())
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(PATIENCE), 0);
}

/// A request whose answer is read later.
struct Asked(BufReader<UnixStream>);

impl Asked {
    fn of(stage: &Stage, request: &Value) -> Asked {
        let mut stream = connect(&stage.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(stream, "{request}").unwrap();
        Asked(BufReader::new(stream))
    }

    fn reload(stage: &Stage) -> Asked {
        Asked::of(stage, &json!({"command": "reload"}))
    }

    fn answer(mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

/// The daemon does its work as ever: it answers soon, and restarts a service whose process is killed.
fn goes_on(daemon: &Daemon, service: &str, what: &str) {
    let took = daemon.time_of_answer();
    assert!(took < Duration::from_millis(200), "{what}: {took:?}");
    let before = daemon.pid_of(service);
    kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
    until(what, PATIENCE, || {
        let row = daemon.row(service);
        (row.state() == "RUNNING" && row.pid() != Some(before)).then_some(())
    });
}

const RESTARTED: &str = "restart = { policy = \"always\", delay = \"1ms\" }";

#[test]
fn a_reload_whose_paths_hang_keeps_nobody_else_waiting() {
    let stage = Stage::new();
    let hanging = need_hanging!(&stage);
    let program = hanging.file("program", "#!/bin/sh\nexec sleep 100\n");
    let [folder, log] = ["folder", "log"].map(|name| hanging.at(name));
    std::fs::create_dir(hanging.behind("folder")).unwrap();
    let near = sleeper("near", RESTARTED);
    let far = |line: &str| sleeper("far", line);
    let daemon = Launch::on(&stage).config(&near).start();
    daemon.wait_all("RUNNING");
    let named = [
        service("far", &program, &[], ""),
        far(&format!("working_dir = \"{folder}\"")),
        far(&format!("env_file = \"{program}\"")),
        far(&format!("log_file = \"{log}\"")),
        far(&format!("pre_script = \"{program}\"")),
        far(&format!("pos_script = \"{program}\"")),
        service(
            "far",
            "sleep",
            &["100"],
            &format!("env = {{ PATH = \"{folder}:/bin:/usr/bin\" }}"),
        ),
        far(&format!("health = {{ exec = [\"{program}\"] }}")),
    ];
    for services in named {
        stage.file("services.toml", &(near.clone() + &services));
        hanging.hang(&Op::ALL);
        let asked = Asked::of(&stage, &json!({"command": "reload", "dry_run": true}));
        hanging.wait_until_one_hangs();
        goes_on(&daemon, "near", &services);
        let second = daemon.ask(json!({"command": "reload"}));
        assert_eq!(second["code"], "conflict", "{services}: {second}");
        let why = second["message"].as_str().unwrap();
        assert!(why.ends_with("another reload is under way"), "{why}");
        hanging.release();
        let answer = asked.answer();
        assert_eq!(answer["added"], json!(["far"]), "{services}: {answer}");
    }
}

#[test]
fn a_reload_that_hangs_is_given_up_and_the_next_one_is_as_ever() {
    let stage = Stage::new();
    let hanging = need_hanging!(&stage);
    let file = hanging.file("services.toml", &sleeper("near", RESTARTED));
    let mut daemon = Launch::on(&stage).option("--config").option(&file).start();
    daemon.wait_all("RUNNING");
    hanging.file(
        "services.toml",
        &(sleeper("near", RESTARTED) + &sleeper("new", "")),
    );
    hanging.hang(&[Op::Read]);
    let began = Instant::now();
    let asked = Asked::reload(&stage);
    hanging.wait_until_one_hangs();
    goes_on(&daemon, "near", "the configuration hangs");
    let answer = asked.answer();
    let took = began.elapsed();
    assert!(
        took > Duration::from_secs(9) && took < Duration::from_secs(15),
        "{took:?}"
    );
    assert_eq!(answer["code"], "timed-out", "{answer}");
    let expected = format!("cannot reload {file}: reading it took longer than 10s");
    assert_eq!(answer["message"], expected);
    assert_eq!(daemon.list().len(), 1);

    hanging.release();
    until("no child that reads", PATIENCE, || {
        (children(daemon.pid()).len() == 1).then_some(())
    });
    assert!(daemon.cli_ok(&["reload"]).contains("+ new  added"));
    daemon.wait_all("RUNNING");

    // The signal has no client; the message names what hangs.
    let program = hanging.file("program", "#!/bin/sh\nexec sleep 100\n");
    hanging.file("services.toml", &service("other", &program, &[], ""));
    hanging.hang(&[Op::Getattr]);
    daemon.signal(Signal::SIGHUP);
    hanging.wait_until_one_hangs();
    let expected = "took longer than 10s";
    daemon.err.wait_for(expected, PATIENCE);
    hanging.release();
    daemon.cli_ok(&["reload"]);
    daemon.wait_state("other", "RUNNING");
    daemon.shut_down();
}

#[test]
fn what_hangs_is_named_and_a_shutdown_does_not_wait_for_it() {
    let stage = Stage::new();
    let hanging = need_hanging!(&stage);
    let program = hanging.file("program", "#!/bin/sh\nexec sleep 100\n");
    let mut daemon = Launch::on(&stage).config(sleeper("near", "")).start();
    daemon.wait_all("RUNNING");
    stage.file("services.toml", &service("far", &program, &[], ""));
    hanging.hang(&Op::ALL);
    let answer = Asked::reload(&stage).answer();
    let why = answer["message"].as_str().unwrap();
    assert!(why.contains(&format!("what it names ({program})")), "{why}");

    let asked = Asked::reload(&stage);
    hanging.wait_until_one_hangs();
    // In this order the daemon has read the request, and the signal finds the reload under way.
    daemon.list();
    let began = Instant::now();
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(PATIENCE), 0);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(asked.answer()["code"], "shutting-down");
}

#[test]
fn a_user_database_that_hangs_holds_up_a_reload_only() {
    for file in ["/etc/passwd", "/etc/group", "/etc/hosts"] {
        let stage = Stage::new();
        let hanging = need_hanging!(&stage);
        let text = std::fs::read_to_string(file).unwrap();
        let more = match file {
            "/etc/hosts" => "127.0.0.9 elsewhere\n",
            _ => "",
        };
        let copy = hanging.file("copy", &(text + more));
        // In the mount namespace of this thread.
        let bind = MsFlags::MS_BIND;
        mount(Some(copy.as_str()), file, None::<&str>, bind, None::<&str>).unwrap();
        let check = match file {
            "/etc/hosts" => "health = { tcp = \"elsewhere:1\", interval = \"1h\" }",
            _ => "",
        };
        let near = sleeper("near", RESTARTED);
        let daemon = Launch::on(&stage).config(&near).start();
        daemon.wait_all("RUNNING");
        stage.file("services.toml", &(near + &sleeper("far", check)));
        hanging.hang(&[Op::Read, Op::Open]);
        let asked = Asked::reload(&stage);
        hanging.wait_until_one_hangs();
        goes_on(&daemon, "near", file);
        hanging.release();
        let answer = asked.answer();
        assert_eq!(answer["answer"], "reload", "{file}: {answer}");
    }
}

#[test]
fn a_fifo_is_no_configuration() {
    let stage = Stage::new();
    let mut daemon = Launch::on(&stage)
        .config(sleeper("near", RESTARTED))
        .start();
    daemon.wait_all("RUNNING");
    let path = stage.path("services.toml");
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let said = "it is a FIFO, not a regular file";
    let file = path.to_str().unwrap();
    for words in [&["reload"][..], &["reload", "--dry-run"], &["check", file]] {
        let output = daemon.cli(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(said), "{words:?}: {text}");
    }
    daemon.signal(Signal::SIGHUP);
    daemon.err.wait_for(said, PATIENCE);
    goes_on(&daemon, "near", "a FIFO");
    daemon.shut_down();
    let ended = Launch::on(&stage)
        .option("--config")
        .option(file)
        .run_to_end();
    assert_eq!(ended.code, 2);
    assert!(ended.err.contains(said), "{}", ended.err);
}

#[test]
fn a_signal_during_a_reload_is_remembered() {
    let stage = Stage::new();
    let hanging = need_hanging!(&stage);
    let file = hanging.file("services.toml", &sleeper("near", ""));
    let daemon = Launch::on(&stage).option("--config").option(&file).start();
    daemon.wait_all("RUNNING");
    hanging.file("services.toml", &sleeper("second", ""));
    hanging.hang(&[Op::Read]);
    let asked = Asked::reload(&stage);
    hanging.wait_until_one_hangs();
    // The client goes; what it asked for is done all the same.
    drop(asked);
    daemon.signal(Signal::SIGHUP);
    daemon.list();
    let text = sleeper("second", "") + &sleeper("third", "");
    hanging.file("services.toml", &text);
    hanging.release();
    daemon.err.wait_for("2 added, 1 removed", PATIENCE);
    daemon.err.wait_for("2 unchanged", PATIENCE);
    daemon.wait_state("third", "RUNNING");
}

/// A process that has a write lease on a file (fcntl(2)): whoever opens the file waits for it, 45 s at most.
fn lease(stage: &Stage, file: &str) -> std::process::Child {
    let script = "$SIG{IO} = 'IGNORE'; open(F, '>>', $ARGV[0]) or die; fcntl(F, 1024, 1) or die; \
                  open(R, '>', $ARGV[1]); sleep 100";
    let ready = stage.path("leased");
    let holder = std::process::Command::new("perl")
        .args(["-e", script, file])
        .arg(&ready)
        .spawn();
    until("the lease", PATIENCE, || ready.exists().then_some(()));
    holder.unwrap()
}

#[test]
fn a_leased_file_keeps_only_the_reader_waiting_which_may_be_killed() {
    need!("perl");
    let stage = Stage::new();
    let near = sleeper("near", RESTARTED);
    let daemon = Launch::on(&stage).config(&near).start();
    daemon.wait_all("RUNNING");
    let file = stage.file("services.toml", &(near.clone() + &sleeper("far", "")));
    let mut holder = lease(&stage, &file);
    let asked = Asked::reload(&stage);
    let is_reader = |pid: &i32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.starts_with("go-overlay:read"))
    };
    let reader = until("the reader", PATIENCE, || {
        children(daemon.pid()).into_iter().find(is_reader)
    });
    goes_on(&daemon, "near", "a lease");
    kill(Pid::from_raw(reader), Signal::SIGKILL).unwrap();
    let answer = asked.answer();
    assert_eq!(answer["code"], "conflict", "{answer}");
    let why = answer["message"].as_str().unwrap();
    let end = format!("the process that read it ended early, at {file}");
    assert!(why.ends_with(&end), "{why}");
    let asked = Asked::reload(&stage);
    until("the next reader", PATIENCE, || {
        children(daemon.pid())
            .iter()
            .find(|pid| is_reader(pid))
            .copied()
    });
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(asked.answer()["added"], json!(["far"]));
}

#[test]
fn a_start_that_hangs_ends_with_a_signal() {
    let stage = Stage::new();
    let hanging = need_hanging!(&stage);
    let program = hanging.file("program", "#!/bin/sh\nexec sleep 100\n");
    let file = hanging.file("services.toml", &service("far", &program, &[], ""));
    for (operation, at, pid_one) in [
        (Op::Read, &file, false),
        (Op::Read, &file, true),
        (Op::Getattr, &program, true),
    ] {
        if at == &program {
            // Only what it names is in the mount.
            std::fs::rename(hanging.behind("services.toml"), stage.path("services.toml")).unwrap();
        }
        let here = stage.at("services.toml");
        let config = if at == &program { &here } else { &file };
        let mut launch = Launch::on(&stage).option("--config").option(config);
        if pid_one {
            launch = launch.pid_one();
        }
        hanging.hang(&[operation]);
        let mut daemon = launch.start_blindly();
        hanging.wait_until_one_hangs();
        let began = Instant::now();
        daemon.sigterm();
        let said =
            format!("SIGTERM received while {config} was read, at {at}; nothing was started");
        daemon.err.wait_for(&said, PATIENCE);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        // The end of a PID namespace waits for every process in it.
        hanging.release();
        assert_eq!(daemon.wait_exit(PATIENCE), 128 + 15);
    }
}

#[test]
fn a_start_waits_for_a_file_system_that_comes_back() {
    let stage = Stage::new();
    let hanging = need_hanging!(&stage);
    let program = hanging.file("program", "#!/bin/sh\nexec sleep 100\n");
    let file = hanging.file("services.toml", &service("far", &program, &[], ""));
    hanging.hang(&Op::ALL);
    let mut daemon = Launch::on(&stage)
        .option("--config")
        .option(&file)
        .start_blindly();
    hanging.wait_until_one_hangs();
    let expected = format!("reading {file} takes long: it waits for {file}");
    daemon.err.wait_for(&expected, PATIENCE);
    hanging.release();
    daemon.wait_until_it_answers();
    daemon.wait_state("far", "RUNNING");
    daemon.shut_down();
}

#[test]
fn a_configuration_may_come_through_a_pipe_at_the_start() {
    let stage = Stage::new();
    let text = sleeper("near", "");
    stage.file("text", &text);
    let pipe = format!("exec 3< <(cat {}) 4<{}", stage.at("text"), stage.at("text"));
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    drop(writer);
    let daemon = Launch::on(&stage)
        .option("--config")
        .option("/dev/stdin")
        .stdin(reader)
        .start();
    daemon.wait_all("RUNNING");
    // A pipe is read once: it must not pass for an empty file.
    let answer = daemon.ask(json!({"command": "reload"}));
    let why = answer["message"].as_str().unwrap();
    assert!(
        why.contains("it is a pipe, which can be read only once"),
        "{why}"
    );
    drop(daemon);

    let script = format!(
        "{pipe}; {} check /dev/fd/3 && {0} check /dev/fd/4",
        support::PROGRAM
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.matches("is good: 1 service").count(), 2, "{said}");

    // A file on a descriptor is read again by a reload.
    let daemon = Launch::on(&stage)
        .shell_first(&format!("exec 9<{}", stage.at("text")))
        .option("--config")
        .option("/dev/fd/9")
        .start();
    stage.file("text", &(text + &sleeper("second", "")));
    assert!(daemon.cli_ok(&["reload"]).contains("+ second  added"));
}
