//! `go-overlay logs`: what is remembered, and what comes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Read;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{
    Daemon, Launch, Lines, PATIENCE, PROGRAM, Stage, service, shell, sleeper, status_field, until,
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

/// Waits until all of a daemon's lines are remembered.
fn wait_for_line(daemon: &Daemon, line: &str) {
    daemon.out.wait_for(line, PATIENCE);
}

/// A client of the daemon; dropped, it is killed.
struct Follower(Child);

impl Follower {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    fn wait(&mut self) {
        self.0.wait().unwrap();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client that follows, and its lines.
fn follower(stage: &Stage, words: &[&str]) -> (Follower, Lines) {
    let mut child = Command::new(PROGRAM)
        .args([
            "--socket",
            &stage.socket().display().to_string(),
            "logs",
            "-f",
        ])
        .args(words)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = Lines::gather(child.stdout.take().unwrap());
    (Follower(child), lines)
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
    let script = "echo old error; echo old fine; sleep 1.5; echo new error; echo new fine; exec sleep infinity";
    let daemon = Launch::on(&stage).config(shell("web", script, "")).start();
    wait_for_line(&daemon, "new fine");
    assert_eq!(
        texts(&daemon.cli_ok(&["logs", "--grep", "error"])),
        ["old error", "new error"]
    );
    assert_eq!(
        texts(&daemon.cli_ok(&["logs", "--grep", "error", "-n", "1"])),
        ["new error"]
    );
    assert_eq!(
        texts(&daemon.cli_ok(&["logs", "--since", "1s"])),
        ["new error", "new fine"]
    );
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
        texts(&runs),
        [format!("run {first}"), format!("run {second}")]
    );
    until("the hidden line", PATIENCE, || {
        (texts(&daemon.cli_ok(&["logs", "hidden"])) == ["secret"]).then_some(())
    });
    assert!(!daemon.out.text().contains("secret"));
    assert_eq!(daemon.cli_ok(&["logs", "forgets"]), "");
    assert_eq!(daemon.cli_ok(&["logs", "silent"]), "");
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
    let numbers: Vec<u32> = texts(&output)
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
fn who_follows_sees_what_comes_and_ends_with_the_daemon() {
    let stage = Stage::new();
    let script = "echo before; read go <go; echo after; exec sleep infinity";
    let config = shell(
        "web",
        script,
        &format!("working_dir = \"{}\"", stage.root().display()),
    ) + &sleeper("other", "");
    nix::unistd::mkfifo(&stage.path("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut daemon = Launch::on(&stage).config(config).start();
    let (mut child, lines) = follower(&stage, &["web"]);
    lines.wait_for("[web] before", PATIENCE);
    std::fs::write(stage.path("go"), "\n").unwrap();
    lines.wait_for("[web] after", PATIENCE);
    daemon.sigterm();
    daemon.wait_exit(PATIENCE);
    lines.wait_for_end(PATIENCE);
    child.wait();
}

#[test]
fn ctrl_c_and_a_reader_that_has_seen_enough_end_it_quietly() {
    let stage = Stage::new();
    let daemon = Launch::on(&stage)
        .config(shell("web", "while :; do echo again; sleep 0.01; done", ""))
        .start();
    let (mut child, lines) = follower(&stage, &[]);
    lines.wait_for("again", PATIENCE);
    child.signal(Signal::SIGINT);
    child.wait();
    let pipeline = format!(
        "{PROGRAM} --socket {} logs -f | head -1",
        stage.socket().display()
    );
    let output = Command::new("sh").args(["-c", &pipeline]).output().unwrap();
    assert_eq!(output.stdout, b"[web] again\n");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(daemon.row("web").state(), "RUNNING");
}

#[test]
fn a_follower_that_does_not_read_loses_lines_is_told_and_holds_nobody_up() {
    let stage = Stage::new();
    let script = "$| = 1; my $n = 0; while (1) { $n++; printf \"line %08d %s\\n\", $n, 'x' x 80 }";
    let daemon = Launch::on(&stage)
        .config(service("web", "/usr/bin/perl", &["-e", script], ""))
        .start();
    let (child, lines) = follower(&stage, &["--json"]);
    lines.wait_for("line", PATIENCE);
    let memory = || status_field(daemon.pid(), "VmRSS").unwrap();
    let memory_before = memory();
    child.signal(Signal::SIGSTOP);
    let before = daemon.out.all().len();
    until("the service to go on", PATIENCE, || {
        // A hundred thousand lines are far more than a socket and the memory hold.
        daemon.list();
        (daemon.out.all().len() > before + 100_000).then_some(())
    });
    let grown = memory().saturating_sub(memory_before);
    assert!(grown < 2000, "{grown} kB more than {memory_before} kB");
    child.signal(Signal::SIGCONT);
    let told = lines.wait_for("\"dropped\":", PATIENCE);
    let told: Value = serde_json::from_str(&told).unwrap();
    let missing = told["dropped"].as_u64().unwrap();
    assert!(missing > 0 && told["stream"] == "supervisor", "{told}");
    // What it got and what it was told of is everything, in order.
    let mut next = None;
    let mut skipped = 0;
    for line in lines.all() {
        let line: Value = serde_json::from_str(&line).unwrap();
        if let Some(dropped) = line["dropped"].as_u64() {
            skipped += dropped;
            continue;
        }
        let text = line["line"].as_str().unwrap();
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
    assert!(answer.contains("not-allowed"), "{answer}");
}
