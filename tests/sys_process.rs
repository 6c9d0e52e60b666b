//! What concerns a whole process: its children, its descendants, its descriptors and limits. One test
//! at a time, since all of them share this process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio as Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use go_overlay::base::{ExitStatus, Pid, Signal};
use go_overlay::sys::reap::{self, Found};
use go_overlay::sys::spawn::{self, Handed, Line, Program, Session, Stdio};
use go_overlay::sys::{descriptors, limits, output_end::OutputEnd, pid1, signals::SignalFd, stray};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Until the end of the test; what an earlier one left to be adopted is gone.
fn alone() -> MutexGuard<'static, ()> {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    while reap().is_some() {}
    guard
}

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn shell(script: &str) -> Program {
    Program {
        path: c("/bin/sh"),
        argv: vec![c("sh"), c("-c"), c(script)],
        envp: vec![c("PATH=/usr/bin:/bin").into()],
        cwd: None,
        ids: None,
        umask: None,
        nice: None,
        oom_score_adj: None,
        limits: Vec::new(),
        no_new_privs: false,
        text: None,
    }
}

/// Starts a program and waits until it is executed, or could not be.
fn execute(stdio: Stdio, program: Program) -> (Pid, Vec<Line>) {
    let handed = Handed {
        stdio,
        session: Session::New,
        ready_fd: None,
    };
    let mut started = spawn::start(&handed, |_| Ok(program)).unwrap();
    let (begin, mut lines) = (Instant::now(), Vec::new());
    loop {
        let progress = started.report.look();
        lines.extend(progress.lines);
        if progress.is_over {
            return (started.pid, lines);
        }
        assert!(begin.elapsed() < PATIENCE, "the child reports nothing");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Starts a script and waits for its first line.
fn started(script: &str) -> (Pid, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    let (out, err) = (writer.as_raw_fd(), writer.as_raw_fd());
    let (pid, lines) = execute(Stdio::Pipes { out, err }, shell(script));
    assert_eq!(lines, []);
    drop(writer);
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).unwrap();
    (pid, line.trim_end().to_owned())
}

/// The next child to end; None when there is none left.
fn reap() -> Option<(Pid, ExitStatus)> {
    let begin = Instant::now();
    loop {
        match reap::find_dead().unwrap() {
            Found::Dead(pid) => return Some((pid, reap::reap(pid).unwrap())),
            Found::NoChildren => return None,
            Found::NoneDead => assert!(begin.elapsed() < PATIENCE, "no child ends"),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs one of the tests below in a process of its own.
fn this_test(name: &str, mut command: Command) -> Command {
    command.args([
        "--exact",
        name,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    command
}

fn me() -> std::path::PathBuf {
    std::env::current_exe().unwrap()
}

#[test]
fn reaps_children_and_says_when_there_is_none() {
    let _alone = alone();
    assert_eq!(reap::find_dead().unwrap(), Found::NoChildren);
    let (pid, _) = started("echo; exec sleep 60");
    assert_eq!(reap::find_dead().unwrap(), Found::NoneDead);
    assert!(reap::kill_process(pid, Signal::KILL).unwrap());
    assert_eq!(reap(), Some((pid, ExitStatus::Signaled(Signal::KILL))));
    let (pid, _) = started("exit 200");
    assert_eq!(reap(), Some((pid, ExitStatus::Exited(200))));
    // A signal without a name of its own.
    let (pid, _) = started("echo; exec sleep 60");
    reap::kill_process(pid, Signal::RTMIN_3).unwrap();
    assert_eq!(reap(), Some((pid, ExitStatus::Signaled(Signal::RTMIN_3))));
    assert_eq!(reap::find_dead().unwrap(), Found::NoChildren);
}

#[test]
fn a_failed_start_is_reported_and_its_child_ends() {
    let _alone = alone();
    let program = Program {
        path: c("/nonexistent"),
        ..shell("true")
    };
    let (pid, lines) = execute(Stdio::Inherit, program);
    assert!(
        matches!(&lines[..], [Line::Failed { exit_code: 127, message }] if message.contains("/nonexistent")),
        "{lines:?}"
    );
    assert_eq!(reap(), Some((pid, ExitStatus::Exited(127))));
    assert_eq!(reap::find_dead().unwrap(), Found::NoChildren);
}

#[test]
fn a_group_outlives_its_leader_and_is_adopted() {
    let _alone = alone();
    pid1::become_subreaper().unwrap();
    let (leader, line) = started("sleep 60 & echo $!; exit 3");
    let member = Pid(line.parse().unwrap());
    assert_eq!(reap(), Some((leader, ExitStatus::Exited(3))));
    assert!(reap::kill_group(leader, Signal::KILL).unwrap());
    assert_eq!(reap(), Some((member, ExitStatus::Signaled(Signal::KILL))));
    assert!(!reap::kill_group(leader, Signal::KILL).unwrap());
    assert!(!reap::kill_process(member, Signal::TERM).unwrap());
}

#[test]
fn strays_are_found_wherever_they_went() {
    let _alone = alone();
    pid1::become_subreaper().unwrap();
    // A child, a grandchild in a session of its own, and an orphan with brackets in its name.
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join(") R 1 (x");
    std::fs::copy("/bin/sleep", &odd).unwrap();
    let script = format!(
        "setsid sleep 60 & (trap '' TERM; '{}' 60 & echo ready) & wait",
        odd.display()
    );
    let (child, line) = started(&script);
    assert_eq!(line, "ready");
    let begin = Instant::now();
    // Until the subshell is gone: its child is ours by then.
    while stray::signal_everything(Signal::CONT, &BTreeSet::new()).unwrap() != 3 {
        assert!(begin.elapsed() < PATIENCE, "there should be three");
        while let Found::Dead(pid) = reap::find_dead().unwrap() {
            reap::reap(pid).unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(
        stray::signal_everything(Signal::KILL, &BTreeSet::new()).unwrap(),
        3
    );
    let ended: Vec<_> = std::iter::from_fn(reap).collect();
    assert!(ended.iter().any(|(pid, _)| *pid == child));
    assert_eq!(
        stray::signal_everything(Signal::KILL, &BTreeSet::new()).unwrap(),
        0
    );
}

#[test]
fn children_get_the_original_descriptor_limit_back() {
    let _alone = alone();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -Sn 99; ulimit -Hn 333; exec \"$@\"", "sh"])
        .arg(me());
    let output = this_test("in_own_process_limits", command)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("child 99 333"), "{text}");
}

#[test]
#[ignore = "part of children_get_the_original_descriptor_limit_back"]
fn in_own_process_limits() {
    use nix::sys::resource::{Resource, getrlimit};
    limits::lift_descriptor_limit();
    limits::lift_descriptor_limit();
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (333, 333));
    assert_eq!(limits::original_descriptor_limit(), Some((99, 333)));
    let (_, line) = started("echo child $(ulimit -Sn) $(ulimit -Hn)");
    println!("{line}");
}

/// With SIGCHLD ignored, as a careless parent may leave it, the kernel keeps no exit status.
#[test]
fn inherited_dispositions_harm_neither_the_daemon_nor_children() {
    let _alone = alone();
    let mut command = Command::new("env");
    command
        .args(["--ignore-signal=CHLD", "--ignore-signal=HUP"])
        .arg(me());
    let output = this_test("in_own_process_dispositions", command)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[ignore = "part of inherited_dispositions_harm_neither_the_daemon_nor_children"]
fn in_own_process_dispositions() {
    let _signals = SignalFd::new().unwrap();
    let (pid, line) = started("grep SigIgn /proc/self/status; exit 9");
    assert_eq!(line, "SigIgn:\t0000000000000000");
    assert_eq!(reap(), Some((pid, ExitStatus::Exited(9))));
}

#[test]
fn closed_standard_descriptors_are_filled() {
    let _alone = alone();
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" <&- 2>&-", "sh"]).arg(me());
    let output = this_test("in_own_process_descriptors", command)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("child /dev/null /dev/null"), "{text}");
}

#[test]
#[ignore = "part of closed_standard_descriptors_are_filled"]
fn in_own_process_descriptors() {
    // Rust's start-up filled them as well: undo that.
    nix::unistd::close(0).unwrap();
    nix::unistd::close(2).unwrap();
    descriptors::ensure_standard_descriptors();
    for fd in [0, 2] {
        let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        assert_eq!(path.to_str(), Some("/dev/null"));
    }
    // A main program inherits them.
    let (pid, lines) = execute(
        Stdio::Inherit,
        shell("echo child $(readlink /proc/$$/fd/0) $(readlink /proc/$$/fd/2)"),
    );
    assert_eq!(lines, []);
    assert_eq!(reap(), Some((pid, ExitStatus::Exited(0))));
}

#[test]
fn inherited_descriptors_do_not_reach_children() {
    let _alone = alone();
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec 5</dev/null 9>/dev/null; exec \"$@\"", "sh"])
        .arg(me());
    let output = this_test("in_own_process_inheritance", command)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[ignore = "part of inherited_descriptors_do_not_reach_children"]
fn in_own_process_inheritance() {
    let list = "echo $(ls /proc/self/fd)";
    // 3 is the folder that is listed. A child closes what is not its own, whether it is marked or not.
    assert_eq!(started(list).1, "0 1 2 3");
    descriptors::mark_inherited_close_on_exec();
    assert_eq!(started(list).1, "0 1 2 3");
}

/// As in a container that does not run as root: standard output belongs to somebody else.
#[test]
fn an_output_of_somebody_else_is_written_without_blocking() {
    let _alone = alone();
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // Where another user can reach it.
    let folder = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let program = folder.path().join("test");
    std::fs::copy(me(), &program).unwrap();
    let mut command = Command::new(program);
    command.uid(12345).gid(12345).stdin(Output::null());
    command.stdout(Output::piped()).stderr(Output::piped());
    let mut child = this_test("in_own_process_output", command).spawn().unwrap();
    // Nobody reads the standard output until the other end was told to be full.
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(
        line.starts_with("full, shared description untouched"),
        "{line}"
    );
    let mut read = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut read).unwrap();
    assert!(read.len() > 30_000, "{}", read.len());
    assert!(child.wait().unwrap().success());
}

#[test]
#[ignore = "part of an_output_of_somebody_else_is_written_without_blocking"]
fn in_own_process_output() {
    let opened = std::fs::OpenOptions::new()
        .write(true)
        .open("/proc/self/fd/1");
    assert!(opened.is_err(), "it should be closed to this user");
    let mut end = OutputEnd::new(1);
    assert_eq!(end.poll_fd(), Some(1));
    let full = loop {
        match end.write(&[b'x'; 5_000]) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
    let flags = nix::fcntl::fcntl(std::io::stdout(), nix::fcntl::FcntlArg::F_GETFL).unwrap();
    let flags = nix::fcntl::OFlag::from_bits_retain(flags);
    assert!(!flags.contains(nix::fcntl::OFlag::O_NONBLOCK));
    let mut stderr = std::io::stderr();
    writeln!(stderr, "full, shared description untouched").unwrap();
    // The test's own last words would wait for a reader.
    std::process::exit(0);
}
