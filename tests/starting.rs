//! The start of a program never keeps the daemon waiting, whatever it needs and wherever that is; and it comes to the
//! same by the quick way as by the long one, and under filters that refuse system calls.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::fs;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use support::{
    Daemon, Hanging, Launch, Op, PATIENCE, PROGRAM, Row, Stage, find_program, quoted, service,
    shell, sleeper, until,
};

/// How long an answer may take while a start hangs; the best of some, since other work on the machine has its turns.
const PROMPT: Duration = Duration::from_millis(200);

/// From SIGTERM to the end where a child is stuck in the kernel, on a slow machine. What is on its way to its program gets
/// no time to stop, which would be 10 s.
const END: Duration = Duration::from_secs(9);

/// How long the daemon waits at its end for what SIGKILL does not end.
const UNKILLABLE_GRACE: Duration = Duration::from_secs(2);

/// A service that ends at once and is started again at once.
fn busy() -> String {
    let restart = "restart = { policy = \"always\", delay = \"20ms\", max_delay = \"20ms\" }";
    service("busy", "/bin/true", &[], restart)
}

fn assert_the_rest_goes_on(daemon: &Daemon) {
    daemon.assert_answers_within(PROMPT);
    let starts = || daemon.row("busy").0["restarts"].as_u64().unwrap();
    let before = starts();
    until("further starts of another service", PATIENCE, || {
        (starts() > before + 1).then_some(())
    });
}

fn wait_detail(daemon: &Daemon, name: &str, part: &str) -> Row {
    until(part, PATIENCE, || {
        Some(daemon.row(name)).filter(|row| row.detail().contains(part))
    })
}

/// Waits until a service's process is `sleep`, and returns its id. A shell reads its script after its execution, and
/// could hang in that.
fn wait_asleep(daemon: &Daemon, name: &str) -> i32 {
    let pid = daemon.wait_state(name, "RUNNING").pid().unwrap();
    until("the program after its shell", PATIENCE, || {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (name.trim() == "sleep").then_some(pid)
    })
}

/// Lets the mount work again before the daemon is killed: what hangs in it cannot be.
struct Release<'a>(&'a Hanging);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// What of a service is on the mount, the operation that hangs, and the service's words.
type Case = (&'static str, Op, fn(&Hanging) -> String);

const CASES: [Case; 7] = [
    ("working_dir", Op::Getattr, |mount| {
        fs::create_dir_all(mount.behind("folder")).unwrap();
        sleeper("web", &format!("working_dir = \"{}\"", mount.at("folder")))
    }),
    ("env_file", Op::Read, |mount| {
        let file = mount.file("env", "A=1\n");
        sleeper("web", &format!("env_file = \"{file}\""))
    }),
    ("an env_file's name", Op::Lookup, |mount| {
        let file = mount.file("env", "A=1\n");
        sleeper("web", &format!("env_file = \"{file}\""))
    }),
    ("pre_script", Op::Open, |mount| {
        let file = mount.file("pre", "#!/bin/sh\nexit 0\n");
        sleeper("web", &format!("pre_script = \"{file}\""))
    }),
    ("command", Op::Getattr, |mount| {
        let file = mount.file("program", "#!/bin/sh\nexec sleep infinity\n");
        service("web", &file, &[], "")
    }),
    ("command's file", Op::Open, |mount| {
        let file = mount.file("program", "#!/bin/sh\nexec sleep infinity\n");
        service("web", &file, &[], "")
    }),
    ("PATH folder", Op::Lookup, |mount| {
        let path = format!("env = {{ PATH = \"{}:/bin\" }}", mount.at("bin"));
        service("web", "sleep", &["infinity"], &path)
    }),
];

#[test]
fn what_a_start_needs_may_hang_and_goes_on_when_it_answers() {
    for (what, operation, configure) in CASES {
        let stage = Stage::new();
        let mount = need_hanging!(&stage);
        let mut daemon = Launch::on(&stage)
            .config(configure(&mount) + &busy())
            .start();
        let _release = Release(&mount);
        let first = wait_asleep(&daemon, "web");
        mount.hang(&[operation]);
        daemon.cli_ok(&["restart", "web", "--no-wait"]);
        mount.wait_until_one_hangs();
        let row = wait_detail(&daemon, "web", "not executed for");
        assert_ne!(row.state(), "RUNNING", "{what}");
        assert_the_rest_goes_on(&daemon);
        mount.release();
        let second = daemon.wait_state("web", "RUNNING").pid();
        assert_ne!(second, Some(first), "{what}");
        daemon.shut_down();
    }
}

#[test]
fn a_start_that_hangs_does_not_keep_the_daemon_from_its_end() {
    let mut ends = Vec::new();
    for (what, operation, configure) in CASES {
        let stage = Stage::new();
        let mount = need_hanging!(&stage);
        let config = configure(&mount) + &busy();
        let mut daemon = Launch::on(&stage).config(config).start();
        let _release = Release(&mount);
        wait_asleep(&daemon, "web");
        mount.hang(&[operation]);
        daemon.cli_ok(&["restart", "web", "--no-wait"]);
        mount.wait_until_one_hangs();
        let began = Instant::now();
        daemon.sigterm();
        daemon.wait_exit(END);
        println!("{what}: ended after {:?}", began.elapsed());
        let names_it = daemon.err.text().contains("may outlive this daemon");
        ends.push((began.elapsed(), names_it));
    }
    // Some waits end by SIGKILL. What is stuck is named, and not waited for, where the machine has the time.
    let stuck = ends.iter().filter(|(_, names_it)| *names_it);
    let first = stuck.map(|(end, _)| end).min();
    assert!(first.is_some_and(|end| *end < UNKILLABLE_GRACE), "{ends:?}");
}

#[test]
fn a_stuck_start_can_be_stopped_and_begun_again() {
    let stage = Stage::new();
    let mount = need_hanging!(&stage);
    let folder = mount.at("folder");
    fs::create_dir_all(mount.behind("folder")).unwrap();
    let config = sleeper("web", &format!("working_dir = \"{folder}\"")) + &busy();
    let mut daemon = Launch::on(&stage).config(config).start();
    let _release = Release(&mount);
    daemon.wait_state("web", "RUNNING");
    mount.hang(&[Op::Getattr]);
    daemon.cli_ok(&["restart", "web", "--no-wait"]);
    mount.wait_until_one_hangs();
    // Its child cannot be killed, and is not waited for.
    let began = Instant::now();
    daemon.cli_ok(&["stop", "web"]);
    assert!(began.elapsed() < END, "{:?}", began.elapsed());
    daemon.wait_state("web", "STOPPED");
    daemon.cli_ok(&["start", "web", "--no-wait"]);
    wait_detail(&daemon, "web", "not executed for");
    assert_the_rest_goes_on(&daemon);
    mount.release();
    let pid = daemon.wait_state("web", "RUNNING").pid();
    assert_the_rest_goes_on(&daemon);
    assert_eq!(daemon.row("web").pid(), pid);
    daemon.shut_down();
}

#[test]
fn a_check_whose_command_hangs_costs_one_process_and_no_more() {
    let stage = Stage::new();
    let mount = need_hanging!(&stage);
    let check = mount.file("check", "#!/bin/sh\nexit 0\n");
    let health = format!(
        "health = {{ exec = [\"{check}\"], interval = \"50ms\", timeout = \"100ms\", retries = 2 }}"
    );
    let config = sleeper("web", &health) + &busy();
    let mut daemon = Launch::on(&stage).config(config).start();
    let _release = Release(&mount);
    until("a healthy service", PATIENCE, || {
        (daemon.row("web").health() == "healthy").then_some(())
    });
    mount.hang(&[Op::Getattr]);
    mount.wait_until_one_hangs();
    let detail = "the check before has not ended";
    until(detail, PATIENCE, || {
        daemon
            .cli_ok(&["status", "web"])
            .contains(detail)
            .then_some(())
    });
    assert_the_rest_goes_on(&daemon);
    let of_the_daemon = support::children(daemon.pid()).len();
    // The service, a start of the other one, and one check.
    assert!(of_the_daemon <= 3, "{of_the_daemon} children");
    mount.release();
    until("a healthy service", PATIENCE, || {
        (daemon.row("web").health() == "healthy").then_some(())
    });
    daemon.shut_down();
}

#[test]
fn a_write_lease_on_the_program_costs_its_own_start() {
    let stage = Stage::new();
    let program = stage.copy_of(find_program("sleep").unwrap(), "program");
    let web = service("web", &program, &["infinity"], "enabled = false");
    let mut daemon = Launch::on(&stage).config(web + &busy()).start();
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(&program)
        .unwrap();
    // SAFETY: these calls take numbers only. The signal that asks for the lease would end the test.
    let leased = unsafe {
        libc::signal(libc::SIGIO, libc::SIG_IGN);
        libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
    };
    assert_eq!(leased, 0, "{}", std::io::Error::last_os_error());
    daemon.cli_ok(&["start", "web", "--no-wait"]);
    wait_detail(&daemon, "web", "not executed for");
    assert_the_rest_goes_on(&daemon);
    drop(file);
    daemon.wait_state("web", "RUNNING");
    daemon.shut_down();
}

/// A service's fields: how its start ends has to be the same with and without a look at an env file.
const STARTS: [(&str, &str, &[&str], &str); 19] = [
    ("missing", "/no/such/program", &[], ""),
    ("missing in PATH", "no-such-program", &[], ""),
    ("not executable", "STAGE/plain", &[], ""),
    ("a bad interpreter", "STAGE/bad", &[], ""),
    (
        "a bad interpreter in PATH",
        "both",
        &[],
        "env = { PATH = \"STAGE/first:STAGE/second\" }",
    ),
    ("a directory", "STAGE", &[], ""),
    ("no program", "STAGE/nonsense", &[], ""),
    (
        "the second folder",
        "second",
        &[],
        "env = { PATH = \"/no/such:STAGE/first:STAGE/second\" }",
    ),
    (
        "a plain file before it",
        "mixed",
        &[],
        "env = { PATH = \"STAGE/first:STAGE/second\" }",
    ),
    (
        "a file as a folder",
        "second",
        &[],
        "env = { PATH = \"STAGE/plain:STAGE/second\" }",
    ),
    (
        "no folder",
        "sh",
        &["-c", "exit 1"],
        "working_dir = \"/no/such\"",
    ),
    (
        "a folder",
        "sh",
        &["-c", "pwd; exit 5"],
        "working_dir = \"/usr\"",
    ),
    (
        "a refused limit",
        "true",
        &[],
        "limits = { nofile = 99999999999 }",
    ),
    (
        "descriptor 3",
        "sh",
        &["-c", "ls /proc/self/fd; echo >&3; exit 6"],
        "ready = { fd = 3 }",
    ),
    (
        "descriptor 4",
        "sh",
        &["-c", "ls /proc/self/fd; echo >&4; exit 6"],
        "ready = { fd = 4 }",
    ),
    (
        "descriptor 5",
        "sh",
        &["-c", "ls /proc/self/fd; echo >&5; exit 6"],
        "ready = { fd = 5 }",
    ),
    ("nice", "sh", &["-c", "nice; exit 7"], "nice = 7"),
    ("umask", "sh", &["-c", "umask; exit 7"], "umask = \"0027\""),
    (
        "no_new_privs",
        "sh",
        &[
            "-c",
            "grep -E 'NoNewPrivs|Sig[PBIC]|^Groups' /proc/self/status; exit 7",
        ],
        "no_new_privs = true",
    ),
];

/// How each of the starts ended, and what its program said.
fn outcome(stage: &Stage, more: &str) -> Vec<(String, String, Vec<String>)> {
    let restart = "restart = \"no\"\ntty = false";
    let config: String = (STARTS.iter().enumerate())
        .map(|(number, (_, command, args, own))| {
            let at = |text: &str| text.replace("STAGE", &stage.at("files"));
            let more = format!("{}\n{restart}\n{more}", at(own));
            service(&format!("s{number}"), &at(command), args, &more)
        })
        .collect();
    let mut daemon = Launch::on(stage).config(config).start();
    let over = |row: &Row| matches!(row.state(), "FAILED" | "STOPPED" | "EXITED");
    let rows = until("the end of all", PATIENCE, || {
        Some(daemon.list()).filter(|rows| rows.iter().all(over))
    });
    daemon.shut_down();
    let lines = daemon.out.all();
    let result = STARTS.iter().enumerate().map(|(number, (name, ..))| {
        let service = format!("s{number}");
        let row = rows.iter().find(|row| row.name() == service).unwrap();
        let said = lines.iter().filter(|line| {
            line.contains(&format!("[{service}]")) || line.starts_with(&format!("{service} "))
        });
        let end = format!("{} {} {}", row.state(), row.0["exit_code"], row.detail());
        let end = end.split(" ago").next().unwrap_or_default().to_owned();
        (name.to_string(), end, said.cloned().collect())
    });
    result.collect()
}

#[test]
fn the_quick_way_and_the_long_way_come_to_the_same() {
    let stage = Stage::new();
    stage.file("files/plain", "not a program\n");
    stage.program("files/bad", "#!/no/such/interpreter\n");
    stage.program("files/nonsense", "\x01\x02\x03");
    stage.program("files/first/both", "#!/no/such/interpreter\n");
    stage.program("files/second/both", "#!/bin/sh\nexit 9\n");
    stage.file("files/first/mixed", "#!/bin/sh\nexit 8\n");
    stage.program("files/second/mixed", "#!/bin/sh\nexit 9\n");
    stage.program("files/second/second", "#!/bin/sh\nexit 9\n");
    let empty = stage.file("empty", "");
    let quick = outcome(&stage, "");
    let long = outcome(&stage, &format!("env_file = {}", quoted(&empty)));
    for (quick, long) in quick.iter().zip(&long) {
        assert_eq!(quick, long);
    }
    let of = |name: &str| quick.iter().find(|(found, ..)| found == name).unwrap();
    assert!(of("missing").1.contains("there is no such file"));
    assert!(of("not executable").1.contains("it is not executable"));
    assert!(of("a bad interpreter in PATH").1.contains("first/both"));
    assert!(of("the second folder").1.contains('9'));
}

/// Installs a filter (seccomp(2)) that answers these calls with these errors, and executes the rest of its arguments.
/// Each call is a number, a mask of its first argument that matters (0: whatever it is), and an error.
const FILTER: &str = r#"
my @rules = map { [split /,/] } split / /, shift;
my $code = pack('SCCL', 0x20, 0, 0, 0);
for (@rules) {
    my ($number, $mask, $error) = @$_;
    my $answer = pack('SCCL', 0x06, 0, 0, 0x00050000 | $error);
    my $again = pack('SCCL', 0x20, 0, 0, 0);
    my $body = $answer;
    # The first argument: CLONE_VM, and neither CLONE_VFORK nor CLONE_THREAD.
    $body = pack('SCCL', 0x20, 0, 0, 16) . pack('SCCL', 0x54, 0, 0, 0x14100) . pack('SCCL', 0x15, 0, 1, 0x100) . $answer . $again if $mask;
    $code .= pack('SCCL', 0x15, 0, length($body) / 8, $number) . $body;
}
$code .= pack('SCCL', 0x06, 0, 0, 0x7fff0000);
my $program = pack('Sx6P', length($code) / 8, $code);
syscall(PRCTL, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!";
syscall(PRCTL, 22, 2, $program) == 0 or die "filter: $!";
exec @ARGV or die;
"#;

#[test]
fn services_start_where_a_filter_refuses_calls() {
    need!("perl");
    let close_range = format!("{},0,{}", libc::SYS_close_range, libc::ENOSYS);
    let unshare = format!("{},0,{}", libc::SYS_unshare, libc::EPERM);
    // Threads are not meant: CLONE_VM without CLONE_VFORK.
    let clone = format!("{},1,{}", libc::SYS_clone, libc::EINVAL);
    let keyctl = format!("{},0,{}", libc::SYS_keyctl, libc::EPERM);
    let all = [&close_range, &unshare, &clone, &keyctl]
        .map(String::as_str)
        .join(" ");
    let both = format!("{close_range} {unshare}");
    for rules in [close_range, unshare, clone, keyctl, both, all] {
        let stage = Stage::new();
        let mut config = sleeper("plain", "") + &sleeper("long", "env_file = \"/dev/null\"");
        config += &shell(
            "pipes",
            "ls /proc/self/fd | xargs; exec sleep infinity",
            "tty = false",
        );
        if support::is_root() {
            config += &sleeper("other", "user = \"20001\"");
        }
        let script = FILTER.replace("PRCTL", &libc::SYS_prctl.to_string());
        let script = stage.file("filter.pl", &script);
        let first = format!("exec perl {script} '{rules}' \"$@\"");
        let mut daemon = Launch::on(&stage)
            .config(config)
            .shell_first(&first)
            .start();
        daemon.wait_all("RUNNING");
        // The standard ones, and the folder that is listed.
        daemon.out.wait_for("0 1 2 3", PATIENCE);
        assert!(
            !daemon.out.text().contains("0 1 2 3 4"),
            "{rules}: {}",
            daemon.said()
        );
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        assert!(status.contains("Seccomp:\t2"), "{rules}: no filter");
        daemon.shut_down();
    }
}

#[test]
fn services_start_below_an_emulator() {
    let emulator = need!(&format!("qemu-{}-static", std::env::consts::ARCH));
    let stage = Stage::new();
    let config = sleeper("plain", "")
        + &sleeper("long", "env_file = \"/dev/null\"")
        + &sleeper("pipes", "tty = false");
    let first = format!("exec {emulator} \"$@\"");
    let mut daemon = Launch::on(&stage)
        .config(config)
        .shell_first(&first)
        .start();
    daemon.wait_all("RUNNING");
    assert!(!PROGRAM.is_empty());
    daemon.sigterm();
    daemon.wait_exit(PATIENCE);
}
