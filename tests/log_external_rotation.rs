//! Log files that others rotate: Debian's logrotate in both its ways, and a rename by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use support::{Daemon, Launch, PATIENCE, Stage, payload, service, until};

/// Rotations in a test.
const ROUNDS: usize = 5;

/// Numbered lines, a hundred at a time with a short rest between.
const WRITER: &str = "$| = 1; my $n = 0;
while (1) { my $text = ''; for (1 .. 100) { $n++; $text .= sprintf \"line %09d %s\\n\", $n, 'x' x 60 } syswrite STDOUT, $text; select undef, undef, undef, 0.002 }";

fn start(stage: &Stage, more: &str) -> Daemon {
    let folder = stage.open_folder("log");
    // logrotate refuses a folder that others can write.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let more = format!("log_file = \"{folder}/web.log\"\n{more}");
    let config = service("web", "/usr/bin/perl", &["-e", WRITER], &more);
    let daemon = Launch::on(stage).config(config).start();
    daemon.wait_state("web", "RUNNING");
    daemon
}

/// Runs logrotate once, with a configuration for the one file.
fn rotate(stage: &Stage, logrotate: &str, how: &str) {
    let log = stage.at("log/web.log");
    let config = format!("{log} {{\n  rotate 100\n  nocompress\n  missingok\n  {how}\n}}\n");
    let config = stage.file("logrotate.conf", &config);
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let output = Command::new(logrotate)
        .args(["--force", "--state", &stage.at("logrotate.state"), &config])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

fn wait_for_more(stage: &Stage) {
    until("lines in the file", PATIENCE, || {
        let size = fs::metadata(stage.path("log/web.log")).map_or(0, |file| file.len());
        (size > 50_000).then_some(())
    });
}

/// The numbers in all files, the oldest first, and those of the lines that are damaged at a file's ends.
fn numbers(stage: &Stage) -> (Vec<u64>, usize) {
    let names = (1..=ROUNDS + 1)
        .rev()
        .map(|number| format!("log/web.log.{number}"));
    let files: Vec<PathBuf> = names
        .chain(["log/web.log".into()])
        .map(|name| stage.path(&name))
        .collect();
    let (mut numbers, mut torn) = (Vec::new(), 0);
    for (age, file) in files.iter().enumerate().filter(|(_, file)| file.exists()) {
        let newest = age == files.len() - 1;
        let bytes = fs::read(file).unwrap();
        assert!(!bytes.contains(&0), "a hole in {file:?}");
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            match line.strip_prefix("line ").filter(|rest| rest.len() == 70) {
                Some(rest) => numbers.push(rest[..9].parse().unwrap()),
                // The writer was told to end in the middle of it.
                None if newest && at == lines.len() - 1 => {}
                None if at == 0 || at == lines.len() - 1 => torn += 1,
                None => panic!("{line:?} in the middle of {file:?}"),
            }
        }
    }
    (numbers, torn)
}

fn on_stdout(daemon: &Daemon) -> Vec<u64> {
    // A line that pauses, since its writer waits for a processor, is shown in pieces.
    let lines = payload(&daemon.out.all(), "web");
    let number = |line: &String| line.strip_prefix("line ")?.get(..9)?.parse().ok();
    lines.iter().filter_map(number).collect()
}

fn assert_each_once(numbers: &[u64], what: &str) {
    assert!(numbers.len() > 1000, "{what}: {} lines", numbers.len());
    assert_eq!(numbers[0], 1, "{what}");
    let gap = numbers.windows(2).find(|two| two[1] != two[0] + 1);
    assert_eq!(gap, None, "{what}");
}

#[test]
fn with_create_and_sigusr2_each_line_is_in_one_file() {
    let logrotate = need!("logrotate");
    need_root!();
    let stage = Stage::new();
    let mut daemon = start(&stage, "");
    let pid = daemon.pid_of("web");
    let how = format!(
        "create 0640 root adm\n  postrotate\n    kill -USR2 {}\n  endscript",
        daemon.pid()
    );
    for round in 1..=ROUNDS {
        wait_for_more(&stage);
        rotate(&stage, &logrotate, &how);
        assert!(stage.path(&format!("log/web.log.{round}")).exists());
    }
    wait_for_more(&stage);
    assert_eq!(daemon.pid_of("web"), pid);
    let file = fs::metadata(stage.path("log/web.log")).unwrap();
    assert_eq!(file.mode() & 0o777, 0o640, "as logrotate made it");
    daemon.shut_down();
    let (numbers, torn) = numbers(&stage);
    assert_eq!(torn, 0);
    assert_each_once(&numbers, "the files");
    assert_each_once(&on_stdout(&daemon), "standard output");
}

#[test]
fn with_copytruncate_the_file_goes_on_at_its_beginning() {
    let logrotate = need!("logrotate");
    need_root!();
    let stage = Stage::new();
    let mut daemon = start(&stage, "");
    let pid = daemon.pid_of("web");
    for _ in 0..ROUNDS {
        wait_for_more(&stage);
        rotate(&stage, &logrotate, "copytruncate");
    }
    wait_for_more(&stage);
    assert_eq!(daemon.pid_of("web"), pid);
    daemon.shut_down();
    // What is written between its copy and its truncation logrotate loses, as its manual says; nothing else
    // is lost, and nothing comes twice.
    let (numbers, torn) = numbers(&stage);
    assert!(
        numbers.windows(2).all(|two| two[1] > two[0]),
        "moved or doubled"
    );
    assert!(torn <= 2 * ROUNDS, "{torn} damaged lines");
    let gaps = numbers
        .windows(2)
        .filter(|two| two[1] != two[0] + 1)
        .count();
    assert!(gaps <= ROUNDS, "{gaps} gaps after {ROUNDS} rotations");
    assert_each_once(&on_stdout(&daemon), "standard output");
}

#[test]
fn renamed_by_hand_it_is_written_on_until_sigusr2_and_then_made_anew() {
    let stage = Stage::new();
    let mut daemon = start(&stage, "");
    wait_for_more(&stage);
    fs::rename(stage.path("log/web.log"), stage.path("log/web.log.1")).unwrap();
    let before = fs::metadata(stage.path("log/web.log.1")).unwrap().len();
    until("lines in the renamed file", PATIENCE, || {
        let size = fs::metadata(stage.path("log/web.log.1")).unwrap().len();
        (size > before).then_some(())
    });
    assert!(!stage.path("log/web.log").exists());
    daemon.signal(Signal::SIGUSR2);
    wait_for_more(&stage);
    daemon.shut_down();
    let (numbers, torn) = numbers(&stage);
    assert_eq!(torn, 0);
    assert_each_once(&numbers, "the files");
}

/// Half a line that has been there for a while, as a prompt is, or the last one of a program that has ended.
const PROMPT: &str =
    "$| = 1; $SIG{USR1} = sub { print \"done\\n\" }; print 'prompt'; sleep 1000 while 1";

#[test]
fn half_a_line_that_has_paused_keeps_no_old_file() {
    let stage = Stage::new();
    let folder = stage.open_folder("log");
    let file = |name: &str| format!("log_file = \"{folder}/{name}.log\"\n");
    let waits = service("waits", "/usr/bin/perl", &["-e", PROMPT], &file("waits"));
    let ended = service("ended", "/usr/bin/printf", &["last"], &file("ended"));
    let mut daemon = Launch::on(&stage).config(waits + &ended).start();
    let at = |name: &str| stage.path(&format!("log/{name}"));
    daemon.out.wait_for("[waits] prompt", PATIENCE);
    daemon.out.wait_for("[ended] last", PATIENCE);
    daemon.wait_state("ended", "STOPPED");
    for name in ["waits", "ended"] {
        let (from, to) = (at(&format!("{name}.log")), at(&format!("{name}.log.1")));
        fs::rename(from, to).unwrap();
    }
    daemon.signal(Signal::SIGUSR2);
    for name in ["waits.log", "ended.log"] {
        until("the file made anew", PATIENCE, || {
            at(name).exists().then_some(())
        });
    }
    let pid = nix::unistd::Pid::from_raw(daemon.pid_of("waits"));
    nix::sys::signal::kill(pid, Signal::SIGUSR1).unwrap();
    until("the rest of the line", PATIENCE, || {
        (fs::read(at("waits.log")).unwrap() == b"done\n").then_some(())
    });
    assert_eq!(fs::read(at("waits.log.1")).unwrap(), b"prompt");
    assert_eq!(fs::read(at("ended.log.1")).unwrap(), b"last");
    daemon.shut_down();
}
