//! Every path that the daemon touches, from its execution to its end, is on a short list with a reason. A call with a
//! path waits for whatever is mounted there; what services, checks and the configuration name is looked up by children.
//!
//! strace(1) follows the daemon alone (no `--follow-forks`), so what its children do is not seen.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

use nix::sys::signal::Signal;

use crate::places_of_paths::{Entry, LIST, Seen, When};
use crate::strace::Attached;
use crate::support::{
    Daemon, Launch, PATIENCE, Stage, quoted, send, service, shell, sleeper, until,
};
use crate::{need, need_namespace, need_root, serve};

/// Everything that takes a path, and what asks the server of a descriptor for the state of its file.
const CALLS: &str = "%file,%fstat,%statfs,%fstatfs,connect,bind,sendto,sendmsg,sendmmsg,fchmod,fchown,ftruncate,flock,\
                     fsync,fdatasync,getdents64,open_by_handle_at,epoll_create1";

/// A user that no file of the machine knows.
const STRANGER: u32 = 20_001;

/// How a daemon is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Its standard output is a pipe, and a daemon that was killed left its socket; a client ends it.
    Piped,
    /// As PID 1, on a terminal, with a main program, whose end is its own.
    First,
    /// Its standard output is a regular file; SIGTERM ends it.
    Filed,
}

/// One path that was touched, as the list has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Touch {
    when: When,
    call: String,
    path: String,
}

impl fmt::Display for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {} {}", self.when, self.call, self.path)
    }
}

/// Services of every kind; `word` is in the environment of two.
fn config(stage: &Stage, port: u16, word: &str) -> String {
    let again = "restart = { policy = \"always\", delay = \"100ms\" }";
    let up = |name: &str| format!("echo {name} up; exec sleep infinity");
    let health = |check: &str| {
        sleeper(
            check.split(' ').next().unwrap_or_default(),
            &format!("health = {{ {check}, interval = \"100ms\", start_interval = \"50ms\" }}"),
        )
    };
    let user = format!("user = \"{STRANGER}\"\n");
    let scripted = format!(
        "pre_script = \"#!/bin/sh\\necho prepared\\n\"\npost_script = {}\nworking_dir = {}\nenv_file = {}\n\
         env = {{ WORD = \"{word}\", SECRET = {{ file = {} }} }}\nnice = 1\noom_score_adj = 500\n{again}",
        quoted(&stage.at("after.sh")),
        quoted(&stage.at("")),
        quoted(&stage.at("env")),
        quoted(&stage.at("secret")),
    );
    let tells_word = format!("echo $WORD > {}; {}", stage.at("word"), up("scripted"));
    let filed = format!(
        "tty = false\nlog_file = {}\nlog = {{ max_size = \"4KiB\", keep = 2, compress = true }}",
        quoted(&stage.at("filed.log"))
    );
    let talks = "while :; do head -c 2000 /dev/zero | tr '\\000' x | fold; sleep 0.1; done";
    let notifies = "systemd-notify --ready; while :; do systemd-notify WATCHDOG=1; sleep 1; done";
    let late = match word {
        "one" => String::new(),
        _ => shell("late", notifies, "ready = \"notify\""),
    };
    [
        "[timeouts]\nservice_shutdown_timeout = 3\n".to_owned(),
        shell("scripted", &tells_word, &scripted),
        shell("piped", &up("piped"), &format!("tty = false\n{user}")),
        shell("filed", talks, &filed),
        shell(
            "notifying",
            notifies,
            &format!("{user}ready = \"notify\"\nwatchdog = \"20s\""),
        ),
        shell(
            "described",
            "echo >&3; exec sleep infinity",
            "ready = { fd = 3 }",
        ),
        service("found", "sleep", &["infinity"], "enabled = false"),
        health(&format!("http = \"http://localhost:{port}/\"")),
        health(&format!("tcp = \"127.0.0.1:{port}\"")),
        health(&format!("unix = {}", quoted(&stage.at("listener")))),
        health("exec = [\"true\"]"),
        late,
    ]
    .concat()
}

/// The files that the configuration names.
fn furnish(stage: &Stage) -> UnixListener {
    stage.file("env", "OF_FILE=1\n");
    stage.file("secret", "hidden\n");
    stage.program("after.sh", "echo after");
    UnixListener::bind(stage.path("listener")).unwrap()
}

/// A daemon under strace from its first call on.
fn launch(stage: &Stage, way: Way, config: String) -> (Daemon, Attached) {
    nix::unistd::mkfifo(&stage.path("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    // A shell that waits is attached to, and becomes the daemon.
    let mut first = format!("read _ < {}", stage.at("go"));
    let mut launch = Launch::on(stage)
        .config(config)
        .env("NOTIFY_SOCKET", &stage.at("manager"));
    match way {
        Way::Piped => drop(UnixListener::bind(stage.socket()).unwrap()),
        Way::First => {
            launch = launch.pid_one().on_terminal(80, 24);
            let waits = format!("while [ ! -e {} ]; do sleep 0.1; done", stage.at("end"));
            launch = launch.main(&["/bin/sh", "-c", &waits]);
        }
        Way::Filed => first += &format!("; exec > {}", stage.at("out")),
    }
    let mut daemon = launch.shell_first(&first).start_blindly();
    let pid = daemon.pid();
    let shell = "the shell before the daemon";
    until(shell, PATIENCE, || {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.starts_with(b"sh\0-c\0").then_some(())
    });
    let words = ["-qq", "-y", "--signal=none", "--trace"].map(str::to_owned);
    let output = format!("--output={}", stage.at("trace"));
    let attached = Attached::to(pid, &[&words[..], &[CALLS.to_owned(), output]].concat());
    std::fs::write(stage.path("go"), "go\n").unwrap();
    daemon.wait_until_it_answers();
    (daemon, attached)
}

/// Makes a daemon do all it can.
fn tell(stage: &Stage, daemon: &Daemon, port: u16) {
    let is_up = |name: &&str| daemon.row(name).health() == "healthy";
    for name in ["scripted", "piped", "filed", "notifying", "described"] {
        daemon.wait_state(name, "RUNNING");
    }
    until("all checks", PATIENCE, || {
        ["http", "tcp", "unix", "exec"]
            .iter()
            .all(is_up)
            .then_some(())
    });
    until("a rotated log file", PATIENCE, || {
        stage.path("filed.log.2.gz").exists().then_some(())
    });
    for words in [
        &["list"][..],
        &["status"],
        &["status", "filed"],
        &["logs", "-n", "3"],
        &["events"],
        &["version"],
        &["stop", "described"],
        &["start", "described", "found"],
        &["restart", "scripted", "notifying", "filed"],
        &["signal", "piped", "CONT"],
    ] {
        daemon.cli_ok(words);
    }
    until("the health of all", PATIENCE, || {
        daemon.cli(&["health"]).status.success().then_some(())
    });
    // A process whose parent ends becomes the daemon's.
    send(daemon_side(daemon, "scripted"), 9);
    stage.file("services.toml", &config(stage, port, "two"));
    daemon.cli_ok(&["reload"]);
    daemon.wait_state("late", "RUNNING");
    stage.file("services.toml", &config(stage, port, "three"));
    daemon.signal(Signal::SIGHUP);
    until("the word of the last file", PATIENCE, || {
        (stage.read("word") == "three\n").then_some(())
    });
    daemon.signal(Signal::SIGUSR1);
    std::fs::rename(stage.path("filed.log"), stage.path("moved")).unwrap();
    daemon.signal(Signal::SIGUSR2);
    until("another log file", PATIENCE, || {
        stage.path("filed.log").exists().then_some(())
    });
    daemon.cli_ok(&["list"]);
}

/// A service's process, seen from here.
fn daemon_side(daemon: &Daemon, service: &str) -> i32 {
    let inside = u64::try_from(daemon.pid_of(service)).unwrap();
    let is_it = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let last = numbers.and_then(|numbers| numbers.split_whitespace().last()?.parse().ok());
        last == Some(inside)
    };
    let mut below = crate::support::descendants(daemon.pid()).into_iter();
    below.find(is_it).unwrap()
}

/// What one daemon touched.
fn run(way: Way, port: u16) -> BTreeSet<Touch> {
    let stage = Stage::new();
    let _listener = furnish(&stage);
    let _manager = UnixDatagram::bind(stage.path("manager")).unwrap();
    let (mut daemon, attached) = launch(&stage, way, config(&stage, port, "one"));
    tell(&stage, &daemon, port);
    match way {
        Way::Piped => drop(daemon.cli_ok(&["shutdown"])),
        Way::First => drop(stage.file("end", "")),
        Way::Filed => daemon.sigterm(),
    }
    assert_eq!(daemon.wait_exit(PATIENCE), 0, "{}", daemon.said());
    drop(attached);
    touches(&stage, &stage.read("trace"))
}

/// Reads what strace wrote, from the daemon's execution on.
fn touches(stage: &Stage, trace: &str) -> BTreeSet<Touch> {
    let program = format!("execve({}", quoted(crate::support::PROGRAM));
    let mut lines = trace.lines().skip_while(|line| !line.starts_with(&program));
    assert!(lines.next().is_some(), "the daemon was not seen:\n{trace}");
    let mut when = When::BeforeTheLoop;
    let mut found = BTreeSet::new();
    for line in lines {
        let Some((call, arguments)) = line.split_once('(') else {
            panic!("not a call: {line}");
        };
        if call == "epoll_create1" {
            when = When::InTheLoop;
        }
        for path in paths(call, arguments) {
            let path = path.replace(&stage.at(""), "{stage}/");
            // Without this flag a file system may ask its server.
            let call = match arguments.contains("AT_STATX_DONT_SYNC") {
                true => format!("{call} DONT_SYNC"),
                false => call.to_owned(),
            };
            let path = without_numbers(&path);
            found.insert(Touch { when, call, path });
        }
    }
    assert!(
        found.iter().any(|touch| touch.when == When::InTheLoop),
        "no loop was seen:\n{trace}"
    );
    found
}

/// What a call touches: its paths, joined to the folders that they begin at, or the files of its descriptors.
fn paths(call: &str, arguments: &str) -> Vec<String> {
    if matches!(call, "connect" | "bind" | "sendto" | "sendmsg" | "sendmmsg") {
        let path = arguments.split("sun_path=\"").nth(1);
        return path.and_then(quoted_first).into_iter().collect();
    }
    let mut found = Vec::new();
    let mut rest = arguments;
    loop {
        let folder = descriptor(&mut rest);
        let path = rest.strip_prefix('"').and_then(quoted_first);
        if let Some(path) = &path {
            rest = rest
                .get(path.len() + 2..)
                .unwrap_or_default()
                .trim_start_matches([',', ' ']);
        }
        let whole = match (folder, path) {
            (None, None) => break,
            (Some(folder), None) => folder,
            (None, Some(path)) => path,
            (Some(folder), Some(path)) if path.is_empty() => folder,
            (Some(folder), Some(path)) => Path::new(&folder).join(path).display().to_string(),
        };
        found.push(whole);
        // What follows is what the kernel wrote, or the arguments of a program.
        if !["rename", "renameat", "renameat2", "link", "linkat"].contains(&call) {
            break;
        }
    }
    found
}

/// Takes `7</path>, ` or `AT_FDCWD</path>, ` off the beginning.
fn descriptor(rest: &mut &str) -> Option<String> {
    let (number, after) = rest.split_once('<')?;
    let is_one = number == "AT_FDCWD" || number.parse::<u32>().is_ok();
    let (path, after) = after.split_once('>').filter(|_| is_one)?;
    let after = after.trim_start_matches("(deleted)");
    *rest = after.trim_start_matches([',', ' ']);
    Some(path.to_owned())
}

fn quoted_first(text: &str) -> Option<String> {
    text.split_once('"').map(|(path, _)| path.to_owned())
}

/// Parts that are numbers, and random names, are `N`: the list says what they stand for.
fn without_numbers(path: &str) -> String {
    let is_number = |part: &str| {
        let digits = part.bytes().all(|byte| byte.is_ascii_digit());
        let random = part.len() >= 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        !part.is_empty() && (digits || random)
    };
    if path.starts_with("pipe:") {
        return "pipe".into();
    }
    let parts = path.split('/').map(|part| {
        let at = part.rfind(['-', '.']).map_or(0, |at| at + 1);
        match part.split_at(at) {
            (stem, last) if is_number(last) => format!("{stem}N"),
            _ => part.to_owned(),
        }
    });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn every_path_that_the_daemon_touches_has_a_reason() {
    need!("strace");
    need!("systemd-notify");
    need_root!();
    need_namespace!();
    let port = serve();
    let ways = [Way::Piped, Way::Filed, Way::First];
    let found: BTreeSet<Touch> = ways.into_iter().flat_map(|way| run(way, port)).collect();
    let entry_of = |touch: &Touch| LIST.iter().find(|entry| is_of(entry, touch));
    for touch in &found {
        let reason = entry_of(touch).map_or("?", |entry| entry.reason);
        println!("{touch}: {reason}");
    }
    let unlisted = found.iter().filter(|touch| entry_of(touch).is_none());
    let unlisted: Vec<String> = unlisted.map(Touch::to_string).collect();
    assert_eq!(
        unlisted, [""; 0],
        "let a child do it, or say in places_of_paths.rs why it cannot hang"
    );
    // A reason for what is not done any more would hide what comes in its place.
    let expected = LIST.iter().filter(|entry| entry.seen == Seen::Everywhere);
    let stale: Vec<String> = expected.flat_map(|entry| unseen(entry, &found)).collect();
    assert_eq!(stale, [""; 0], "take these off the list");
}

fn is_of(entry: &Entry, touch: &Touch) -> bool {
    entry.when == touch.when
        && entry.paths.contains(&touch.path.as_str())
        && entry.calls.contains(&touch.call.as_str())
}

/// The paths and calls of an entry that were not seen.
fn unseen(entry: &Entry, found: &BTreeSet<Touch>) -> Vec<String> {
    let touches: Vec<&Touch> = found.iter().filter(|touch| is_of(entry, touch)).collect();
    let paths = entry.paths.iter();
    let paths = paths.filter(|path| !touches.iter().any(|touch| touch.path == **path));
    let calls = entry.calls.iter();
    let calls = calls.filter(|call| !touches.iter().any(|touch| touch.call == **call));
    let named = paths
        .chain(calls)
        .map(|what| format!("{:?}: {what}", entry.when));
    named.collect()
}
