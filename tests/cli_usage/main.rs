//! The command line as a user meets it: exit codes, help, and what is said when something is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;
mod completions;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::{Launch, PROGRAM, Stage, cli, quoted};

fn program(args: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(args)
        .env_remove("GO_OVERLAY_CONFIG")
        .env_remove("GO_OVERLAY_SOCKET")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn sleeper(name: &str) -> String {
    format!("[[services]]\nname = {name:?}\ncommand = \"sleep\"\nargs = [\"1000\"]\n")
}

#[test]
fn help_and_version_are_no_failure() {
    for args in [&["--help"][..], &["-h"], &["help"], &["--debug", "-h"]] {
        let output = program(args);
        assert_eq!(code(&output), 0);
        assert!(out(&output).contains("Usage:"), "{args:?}");
    }
    for args in [&["help", "restart"][..], &["restart", "web", "-h"]] {
        assert!(out(&program(args)).starts_with("restart: "), "{args:?}");
    }
    assert!(out(&program(&["-V"])).starts_with("go-overlay "));
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let output = Command::new(PROGRAM)
        .args(["--no-install", "--", "true"])
        .env("GO_OVERLAY_CONFIG", "")
        .env("GO_OVERLAY_SOCKET", "")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", err(&output));
}

#[test]
fn a_service_may_be_called_help() {
    let stage = Stage::new();
    let daemon = Launch::on(&stage)
        .config(sleeper("help") + &sleeper("web"))
        .start();
    daemon.wait_all("RUNNING");
    daemon.cli_ok(&["stop", "web", "help"]);
    daemon.wait_all("STOPPED");
}

#[test]
fn wrong_usage_is_2_and_says_what_was_meant() {
    for (args, part) in [
        (&["lst"][..], "did you mean `list`?"),
        (&["list", "--jsn"], "did you mean `--json`?"),
        (&["list", "--json=1"], "takes no value"),
        (
            &["list", "web"],
            "go-overlay status SERVICE shows one service",
        ),
        (&["wait", "web"], "running, healthy, stopped or completed"),
        (&["start"], "name the services, or say --all"),
        (&["stop", "web", "--all"], "--all is every service"),
        (&["list", ""], "`` is a word too many for `list`"),
        (
            &["wait", "web"],
            "`wait` needs more: go-overlay wait SERVICE --for CONDITION",
        ),
        (
            &["shutdown", "--exit-code", "256"],
            "a number from 0 to 255",
        ),
        (&["start", "web", "--timeout", "soon"], "soon"),
        (
            &["wait", "web", "--for", "ever"],
            "running, healthy, stopped or completed",
        ),
        (&["signal", "web"], "signal"),
        (&["completions", "tcsh"], "bash, zsh and fish"),
        (&["list", "--color=pink"], "auto, always or never"),
        (&["list", "--", "sh"], "does not go with a command"),
        (&["nginx", "-g"], "go-overlay -- nginx"),
        (
            &["sort", "x"],
            "did you mean `start`?\n  = help: to supervise a program: go-overlay -- sort",
        ),
        (&["top"], "= help: go-overlay list"),
        (&["exec", "web", "sh"], "go-overlay -- PROGRAM"),
        (
            &["supervisorctl", "status"],
            "the command is the first word",
        ),
        (&["services.toml"], "go-overlay --config services.toml"),
        (&["reload", "web"], "go-overlay signal SERVICE HUP"),
        (&["signal", "HUP", "web"], "go-overlay signal web HUP"),
        (&["signal", "web", "-9"], "go-overlay signal SERVICE 9"),
    ] {
        let output = program(args);
        assert_eq!(code(&output), 2, "{args:?}: {output:?}");
        assert!(err(&output).contains(part), "{args:?}: {}", err(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn no_daemon_is_3_and_names_the_socket() {
    let stage = Stage::new();
    for args in [&["list"][..], &["health"], &["stop", "--all"]] {
        let output = cli(&stage.socket(), args);
        assert_eq!(code(&output), 3, "{args:?}");
        let said = err(&output);
        assert!(said.contains("Could not connect"), "{said}");
        assert!(
            said.contains(&stage.at("control/go-overlay.sock")),
            "{said}"
        );
        assert!(said.contains("--socket"), "{said}");
    }
    let output = Command::new(PROGRAM)
        .arg("list")
        .env("GO_OVERLAY_SOCKET", stage.socket())
        .output()
        .unwrap();
    assert_eq!(code(&output), 3);
    assert!(err(&output).contains(&stage.at("control/go-overlay.sock")));
}

#[test]
fn options_may_stand_anywhere() {
    let stage = Stage::new();
    let daemon = Launch::on(&stage).config(sleeper("web")).start();
    daemon.wait_state("web", "RUNNING");
    let socket = daemon.socket.display().to_string();
    for args in [
        vec![
            "list".to_owned(),
            format!("--socket={socket}"),
            "--json".into(),
        ],
        vec![
            "--json".into(),
            "--socket".into(),
            socket.clone(),
            "list".into(),
        ],
        vec![
            "list".into(),
            "--json".into(),
            "--socket".into(),
            socket,
            "--color=never".into(),
        ],
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let rows: Value = serde_json::from_str(&out(&program(&args))).unwrap();
        assert_eq!(rows[0]["name"], "web", "{args:?}");
    }
}

#[test]
fn outcomes_decide_the_exit_code() {
    let stage = Stage::new();
    let text = format!(
        "{}\n[[services]]\nname = \"bad\"\ncommand = \"sh\"\nargs = [\"-c\", \"exit 3\"]\n",
        sleeper("web")
    );
    let daemon = Launch::on(&stage).config(text).start();
    daemon.wait_state("web", "RUNNING");
    daemon.wait_state("bad", "FAILED");
    for (args, wanted, part) in [
        (&["list"][..], 0, "NAME"),
        (
            &["status"],
            0,
            "System Status: Total: 2, Running: 1, Failed: 1",
        ),
        (&["status", "web"], 0, "sleep 1000"),
        (&["status", "webb"], 1, "did you mean"),
        (&["stop", "all"], 1, "every service is --all"),
        (&["restart", "web"], 0, "✓ web  RUNNING"),
        (&["wait", "bad", "--for", "running"], 1, "✗ bad  FAILED"),
        (
            &["wait", "web", "--for", "stopped", "--timeout", "50ms"],
            1,
            "✗ web",
        ),
        (&["wait", "web", "--for=running"], 0, "✓ web"),
        (&["signal", "web", "NOSUCH"], 1, "no signal NOSUCH"),
        (&["health"], 1, "bad"),
        (&["stop", "web", "--json"], 0, "\"ok\": true"),
        (&["version"], 0, "daemon"),
    ] {
        let output = daemon.cli(args);
        assert_eq!(code(&output), wanted, "{args:?}: {output:?}");
        let said = out(&output) + &err(&output);
        assert!(said.contains(part), "{args:?}: {said}");
        // No spinner and no colour in a pipe.
        assert!(!said.contains('\x1b') && !said.contains('\r'), "{said:?}");
    }
    let coloured = out(&daemon.cli(&["list", "--color=always"]));
    assert!(coloured.contains("\x1b[31mFAILED"), "{coloured:?}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let stage = Stage::new();
    let daemon = Launch::on(&stage).config(sleeper("web")).start();
    for args in [&["list"][..], &["list", "--json"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(PROGRAM)
            .arg("--socket")
            .arg(&daemon.socket)
            .args(args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert_eq!(code(&output), 0, "{output:?}");
        assert_eq!(err(&output), "");
    }
}

#[test]
fn a_full_disk_is_a_failure_that_is_told() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let output = Command::new(PROGRAM)
        .arg("--help")
        .stdout(full.unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("cannot write the output"));
}

#[test]
fn check_shows_the_order_or_every_problem() {
    let stage = Stage::new();
    let good = format!("{}depends_on = \"db\"\n{}", sleeper("web"), sleeper("db"));
    let good = stage.file("good.toml", &good);
    let output = program(&["check", &good]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(
        out(&output).ends_with("   1. db\n   2. web  after db\n"),
        "{}",
        out(&output)
    );
    let report: Value = serde_json::from_str(&out(&program(&["check", "--json", &good]))).unwrap();
    assert_eq!(report["ok"], true);
    assert_eq!(report["start_order"], serde_json::json!(["db", "web"]));

    let bad = stage.file(
        "bad.toml",
        "[[services]]\nname = \"a\"\ncomand = \"sleep\"\n",
    );
    let output = program(&["check", &bad]);
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("comand"), "{}", err(&output));
    assert!(output.stdout.is_empty());
    let output = program(&["check", "--json", &bad]);
    assert_eq!(code(&output), 2);
    let report: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["start_order"], Value::Null);
    let lines = report["findings"].as_array().unwrap().iter();
    assert!(
        lines.clone().any(|finding| finding["line"] == 3),
        "{report}"
    );

    let output = program(&["check", &stage.at("missing.toml")]);
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("missing.toml"));
    assert!(!err(&output).contains("name the file"), "it was named");
    let output = Command::new(PROGRAM)
        .arg("check")
        .env("GO_OVERLAY_CONFIG", &good)
        .output()
        .unwrap();
    assert_eq!(code(&output), 0);
}

#[test]
fn install_makes_a_link_and_uninstall_removes_it() {
    let stage = Stage::new();
    let dir = stage.root().display().to_string();
    assert_eq!(code(&program(&["install", "--dir", &dir])), 0);
    let link = stage.path("go-overlay");
    assert!(link.is_symlink());
    let through = Command::new(&link).arg("--version").output().unwrap();
    assert!(through.status.success());
    assert_eq!(code(&program(&["uninstall", "--dir", &dir])), 0);
    assert!(!link.is_symlink());
    stage.file("go-overlay", "precious");
    let output = program(&["install", "--dir", &dir]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("no symlink"), "{}", err(&output));
    assert_eq!(stage.read("go-overlay"), "precious");
}

#[test]
fn a_daemon_that_talks_nonsense_or_hangs_up_is_3() {
    for answer in ["", "nonsense\n", "{\"answer\":\"list\""] {
        let stage = Stage::new();
        let listener = UnixListener::bind(stage.socket()).unwrap();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            (&stream).write_all(answer.as_bytes()).unwrap();
        });
        let output = cli(&stage.socket(), &["list"]);
        server.join().unwrap();
        assert_eq!(code(&output), 3, "{answer:?}: {output:?}");
        assert!(err(&output).contains("no answer from the daemon"));
    }
}

#[test]
fn what_a_stranger_answers_does_not_steer_the_terminal() {
    let stage = Stage::new();
    let listener = UnixListener::bind(stage.socket()).unwrap();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let answer = format!(
            "{{\"answer\":\"done\",\"message\":{}}}\n",
            quoted("\u{1b}[2Jgone\r\n")
        );
        (&stream).write_all(answer.as_bytes()).unwrap();
    });
    let output = cli(&stage.socket(), &["shutdown"]);
    server.join().unwrap();
    assert_eq!(out(&output), "\\u{1b}[2Jgone\\r\\n\n");
}

/// Text of the project's pages, recipes and manifests, by path.
fn pages() -> Vec<(String, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["docs", "docs/containers", "docs/examples"].map(|folder| root.join(folder));
    let entries = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .chain([root.join("README.md")])
        .filter(|path| path.is_file())
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.display().to_string(), text)
        })
        .collect()
}

/// A newcomer copies these lines from different pages into one image.
#[test]
fn the_binary_has_one_path_wherever_a_recipe_names_it() {
    let path = "/usr/local/bin/go-overlay";
    let mut named = 0;
    let mut pages = pages();
    pages.push(("help".into(), out(&program(&["health", "--help"]))));
    for (page, text) in pages {
        // The exec form of a Dockerfile, of Compose and of Kubernetes.
        for (at, _) in text.match_indices("go-overlay\"") {
            let quoted = &text[text[..at].rfind('"').unwrap() + 1..at + "go-overlay".len()];
            assert_eq!(quoted, path, "{page}");
            named += 1;
        }
        for line in text.lines().filter(|line| line.starts_with("COPY ")) {
            let to = line.split(' ').next_back().unwrap();
            assert!(!to.ends_with("go-overlay") || to == path, "{page}: {line}");
        }
        for line in text.lines().filter(|line| line.contains("docker exec")) {
            assert!(!line.contains(" /go-overlay"), "{page}: {line}");
        }
    }
    assert!(named > 20, "{named}");
}

#[test]
fn schedule_shows_when_an_expression_is_due_without_a_daemon() {
    let due = |args: &[&str]| program(&[&["schedule"], args].concat());
    let berlin = [
        "--expression",
        "30 2 * * *",
        "--timezone",
        "Europe/Berlin",
        "--after",
        "2027-03-27T12:00:00Z",
    ];
    let output = due(&[&berlin[..], &["-n", "2", "--json"]].concat());
    assert_eq!(code(&output), 0, "{}", err(&output));
    let times: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = ["2027-03-28T03:00:00+02:00", "2027-03-29T02:30:00+02:00"];
    assert_eq!(times, serde_json::json!(expected));
    let text = out(&due(&berlin));
    assert!(
        text.starts_with("30 2 * * *: at 02:30, every day\ntime zone Europe/Berlin ("),
        "{text}"
    );
    assert!(
        text.contains("Sun  the clock skips 02:00 to 03:00\n"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 7, "{text}");
    // Either of two, each instant once.
    let two = [
        "--expression=0 */12 * * *",
        "--expression",
        "0 12 * * *",
        "--timezone=UTC",
    ];
    let output = due(&[
        &two[..],
        &["--after", "2027-01-01T00:00:00Z", "--lines=2", "--json"],
    ]
    .concat());
    let times: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let expected = ["2027-01-01T12:00:00+00:00", "2027-01-02T00:00:00+00:00"];
    assert_eq!(times, serde_json::json!(expected), "{}", err(&output));
    for (args, parts) in [
        (
            &["--expression", "* 24 * * *"][..],
            &["there is no hour 24", "  |   ^^\n", "midnight"][..],
        ),
        (&["--expression", "-1 * * * *"], &["there is no minute -1"]),
        (&["--expression", "@reboot"], &["run_at_start"]),
        (&["--expression", "\x1b[2J"], &["\\u{1b}[2J"]),
        (
            &["--expression", "* * * * *", "--timezone", "Europe/Berln"],
            &["did you mean `Europe/Berlin`?"],
        ),
        (
            &["--expression", "* * * * *", "--after", "tomorrow"],
            &["a time with its offset"],
        ),
        (
            &["--expression", "* * * * *", "-n", "100001"],
            &["100000 times"],
        ),
        (&[], &["needs more"]),
    ] {
        let output = due(args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(output.stdout.is_empty());
        for part in parts {
            assert!(err(&output).contains(part), "{args:?}: {}", err(&output));
        }
        assert!(!err(&output).contains('\x1b'));
    }
}

#[test]
fn the_machines_zone_is_what_tz_says() {
    let schedule = |zone: &str| {
        let args = [
            "schedule",
            "--expression",
            "0 12 * * *",
            "--after",
            "2027-01-01T00:00:00Z",
            "--lines=1",
            "--json",
        ];
        let output = Command::new(PROGRAM)
            .args(args)
            .env("TZ", zone)
            .output()
            .unwrap();
        (code(&output), out(&output) + &err(&output))
    };
    for (zone, part) in [
        ("Asia/Tokyo", "2027-01-01T12:00:00+09:00"),
        (":Asia/Tokyo", "2027-01-01T12:00:00+09:00"),
        ("<+02>-2", "2027-01-01T12:00:00+02:00"),
        ("", "2027-01-01T12:00:00+00:00"),
    ] {
        let (code, text) = schedule(zone);
        assert!(code == 0 && text.contains(part), "{zone}: {text}");
    }
    let (code, text) = schedule("Mars/Olympus");
    assert!(code == 2 && text.contains("TZ is `Mars/Olympus`"), "{text}");
}

/// An image without a database of time zones, as one that is built `FROM scratch`.
#[test]
fn zones_are_known_where_there_is_nothing_but_the_program() {
    if !support::is_root() {
        return support::skip("chroot(2) needs root");
    }
    let stage = Stage::new();
    std::fs::copy(PROGRAM, stage.path("go-overlay")).unwrap();
    let schedule = |zone: &str, more: &[&str]| {
        let args = ["/go-overlay", "schedule", "--expression", "30 2 * * *"];
        let output = Command::new("chroot")
            .arg(stage.root())
            .args(args)
            .args(["--timezone", zone, "--after", "2027-03-27T12:00:00Z"])
            .args(more)
            .env_remove("TZ")
            .output()
            .unwrap();
        (code(&output), out(&output) + &err(&output))
    };
    let (code, text) = schedule("Europe/Berlin", &["-n", "1"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("time zone Europe/Berlin (bundled tzdb "),
        "{text}"
    );
    assert!(text.contains("2027-03-28T03:00:00+02:00"), "{text}");
    let (code, text) = schedule("local", &["--json", "-n", "1"]);
    assert!(
        code == 0 && text.contains("2027-03-28T02:30:00+00:00"),
        "{text}"
    );
    let (code, text) = schedule("Europe/Berln", &[]);
    assert!(
        code == 2 && text.contains("did you mean `Europe/Berlin`?"),
        "{text}"
    );
}
