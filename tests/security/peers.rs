//! The control socket: strangers as clients, strangers as daemons.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use go_overlay::base::terminal::steers;
use serde_json::{Value, json};

use crate::support::{self, Launch, PATIENCE, PROGRAM, Stage, sleeper, status_field, until};

/// The first of the users that no file of the machine knows.
const STRANGER: u32 = 20_001;

/// All that `sun_path` holds.
const SUN_PATH: usize = 108;

/// Runs `act` as another user, in a thread of its own: the kernel keeps ids by thread, and the credentials of
/// a socket are those of the thread that connects or listens (the library would change all threads).
fn as_user<T: Send>(uid: u32, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: these calls take numbers only, and concern this thread alone.
            let changed = unsafe {
                libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) == 0
                    && libc::syscall(libc::SYS_setresgid, uid, uid, uid) == 0
                    && libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0
            };
            assert!(changed, "cannot become user {uid}");
            act()
        });
        thread.join().unwrap()
    })
}

fn abstract_address(name: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(name.trim_start_matches('@')).unwrap()
}

fn connect(name: &str) -> std::io::Result<UnixStream> {
    let stream = UnixStream::connect_addr(&abstract_address(name))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ask(stream: &mut UnixStream, request: &Value) -> std::io::Result<Value> {
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(std::io::Error::other)
}

/// A daemon on an abstract name, which any user can connect to; killed when it is dropped.
struct Open {
    name: String,
    child: Child,
}

impl Open {
    fn start(stage: &Stage, config: &str) -> Open {
        let config = stage.file("services.toml", config);
        Open::run(stage, Command::new(PROGRAM).args(["--config", &config]))
    }

    fn run(stage: &Stage, command: &mut Command) -> Open {
        let name = abstract_name(stage);
        let child = command
            .args(["--no-install", "--socket", &name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let open = Open { name, child };
        until("the daemon's socket", PATIENCE, || connect(&open.name).ok());
        open
    }

    fn cli(&self, args: &[&str]) -> Output {
        support::cli(Path::new(&self.name), args)
    }

    fn resident(&self) -> u64 {
        status_field(self.child.id().cast_signed(), "VmRSS").unwrap()
    }

    fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Its services end with it.
        // SAFETY: takes numbers only; the child is ours and not reaped yet.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        for _ in 0..500 {
            if !self.is_alive() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One that no other test has.
fn abstract_name(stage: &Stage) -> String {
    format!("@go-overlay-test{}", stage.root().display())
}

/// A client's socket, bound to a path of exactly `length` bytes in `folder`, without a NUL at its end.
fn bound_client(folder: &str, length: usize) -> OwnedFd {
    // SAFETY: all zero is a valid `sockaddr_un`.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let path = format!("{folder}/{}", "x".repeat(SUN_PATH));
    for (place, byte) in address.sun_path.iter_mut().zip(path.bytes().take(length)) {
        *place = byte as libc::c_char;
    }
    let size = (size_of::<libc::sa_family_t>() + length) as libc::socklen_t;
    // SAFETY: the address is on the stack, and at least `size` bytes long.
    unsafe {
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0);
        let socket = OwnedFd::from_raw_fd(fd);
        let bound = libc::bind(fd, (&raw const address).cast(), size);
        assert_eq!(bound, 0, "{length}: {}", std::io::Error::last_os_error());
        socket
    }
}

#[test]
fn a_client_bound_to_a_path_of_any_length_ends_no_daemon() {
    need_root!();
    let stage = Stage::new();
    let mut daemon = Open::start(&stage, &sleeper("web", ""));
    let folder = stage.open_folder("open");
    let least = folder.len() + 2;
    assert!(least < SUN_PATH - 4, "{folder}");
    as_user(STRANGER, || {
        for length in least..=SUN_PATH {
            let socket = bound_client(&folder, length);
            let address = nix::sys::socket::UnixAddr::new_abstract(&daemon.name.as_bytes()[1..]);
            nix::sys::socket::connect(socket.as_raw_fd(), &address.unwrap()).unwrap();
            let mut stream = UnixStream::from(socket);
            let answer = ask(&mut stream, &json!({"command": "list"}));
            assert_eq!(answer.unwrap()["answer"], "list", "{length}");
        }
    });
    assert!(daemon.is_alive());
}

#[test]
fn nor_does_it_end_process_1() {
    need_root!();
    let stage = Stage::new();
    let mut daemon = Launch::on(&stage)
        .config(sleeper("web", ""))
        .pid_one()
        .start();
    let folder = stage.open_folder("open");
    for length in [SUN_PATH - 1, SUN_PATH] {
        let socket = bound_client(&folder, length);
        let address = nix::sys::socket::UnixAddr::new(&daemon.socket).unwrap();
        nix::sys::socket::connect(socket.as_raw_fd(), &address).unwrap();
        let answer = ask(&mut UnixStream::from(socket), &json!({"command": "list"}));
        assert_eq!(answer.unwrap()["answer"], "list", "{length}");
    }
    daemon.shut_down();
}

/// Connections of a user whose requests wait for ever, as far as the daemon keeps them.
fn waits(name: &str, uid: u32, count: usize) -> Vec<UnixStream> {
    let request = json!({"command": "wait", "service": "web", "for": "stopped"});
    as_user(uid, || {
        let wait = |_| {
            let mut stream = connect(name).ok()?;
            stream.write_all(format!("{request}\n").as_bytes()).ok()?;
            Some(stream)
        };
        (0..count).filter_map(wait).collect()
    })
}

/// Each of root's commands, within a time in which nothing has lost its patience.
fn root_gets_in(daemon: &Open) {
    let began = Instant::now();
    for args in [
        &["list"][..],
        &["health"],
        &["status", "web"],
        &["stop", "web"],
        &["start", "web"],
    ] {
        let output = daemon.cli(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn waits_of_strangers_keep_nobody_out() {
    need_root!();
    let stage = Stage::new();
    let mut daemon = Open::start(&stage, &sleeper("web", ""));
    let mut held = waits(&daemon.name, STRANGER, 520);
    root_gets_in(&daemon);
    // Nor do those of many users.
    for uid in STRANGER + 1..STRANGER + 12 {
        held.extend(waits(&daemon.name, uid, 64));
    }
    root_gets_in(&daemon);
    // Another stranger is one of many, and may look where there is a place.
    drop(held);
    as_user(STRANGER + 50, || {
        until("an answer for another user", PATIENCE, || {
            let answer = ask(
                &mut connect(&daemon.name).ok()?,
                &json!({"command": "list"}),
            );
            (answer.ok()?["answer"] == "list").then_some(())
        });
    });
    assert!(daemon.cli(&["shutdown"]).status.success());
    until("the end", PATIENCE, || (!daemon.is_alive()).then_some(()));
}

#[test]
fn a_client_of_root_keeps_its_place_when_strangers_come() {
    need_root!();
    let stage = Stage::new();
    let daemon = Open::start(&stage, &sleeper("web", ""));
    let mut waiting = waits(&daemon.name, 0, 1).remove(0);
    let mut idle = connect(&daemon.name).unwrap();
    let _held: Vec<_> = (STRANGER..STRANGER + 10)
        .flat_map(|uid| waits(&daemon.name, uid, 64))
        .collect();
    assert_eq!(
        ask(&mut idle, &json!({"command": "list"})).unwrap()["answer"],
        "list"
    );
    assert!(daemon.cli(&["stop", "web"]).status.success());
    let mut line = String::new();
    BufReader::new(&mut waiting).read_line(&mut line).unwrap();
    assert!(line.contains("\"outcome\""), "{line}");
}

#[test]
fn root_gets_in_where_its_own_user_holds_every_place() {
    need_root!();
    let stage = Stage::new();
    let daemon = Open::start(&stage, &sleeper("web", ""));
    let _held = waits(&daemon.name, 0, 520);
    root_gets_in(&daemon);
}

#[test]
fn ten_thousand_connections_at_the_door_keep_root_out_at_no_time() {
    need_root!();
    let stage = Stage::new();
    let daemon = Open::start(&stage, &sleeper("web", ""));
    let (made, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for uid in STRANGER..STRANGER + 2 {
            let (name, made, over) = (&daemon.name, &made, &over);
            scope.spawn(move || {
                as_user(uid, || {
                    let mut held = std::collections::VecDeque::new();
                    while !over.load(Ordering::Relaxed) {
                        if let Ok(stream) = UnixStream::connect_addr(&abstract_address(name)) {
                            held.push_back(stream);
                            made.fetch_add(1, Ordering::Relaxed);
                        }
                        if held.len() > 100 {
                            held.pop_front();
                        }
                    }
                });
            });
        }
        let mut answered = 0;
        until("ten thousand connections", PATIENCE * 4, || {
            let output = daemon.cli(&["list"]);
            if !output.status.success() {
                over.store(true, Ordering::Relaxed);
                panic!("after {answered} answers: {output:?}");
            }
            answered += 1;
            (made.load(Ordering::Relaxed) > 10_000 && answered >= 20).then_some(())
        });
        over.store(true, Ordering::Relaxed);
    });
}

/// Anything that would do more than be shown, in every form that text has.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;pwn\u{7}\u{9b}31m\r\n go-overlay\u{7f}\u{85}\u{202e}\u{2066}\u{2028}\u{200b}\u{feff}\u{e0041}";

/// A daemon that means ill: each answer is what it is asked for, with hostile text in every field.
fn hostile_answer(request: &Value) -> String {
    let t = HOSTILE;
    let row = json!({"name": t, "state": "RUNNING", "detail": t, "pid": 1, "uptime_seconds": 1e300, "health": "healthy",
        "restarts": 4_000_000_000u32, "exit_code": 255, "required": true, "enabled": true, "cpu_seconds": 1e308,
        "cpu_percent": -1e308, "memory_bytes": u64::MAX});
    let mut detail = row.clone();
    for (key, value) in json!({"answer": "service", "command": [t, t], "user": t,
        "depends_on": [{"name": t, "condition": t, "met": true}], "dependents": [t], "last_exit": t, "stop_signal": t,
        "stop_timeout_seconds": -1.0, "log_file": t, "restart_policy": t, "ready": t, "health_check": t,
        "health_reason": t}).as_object().unwrap()
    {
        detail[key] = value.clone();
    }
    let change = json!([{"name": t, "keys": [t]}]);
    let end = json!({"answer": "end"});
    match request["command"].as_str().unwrap_or_default() {
        "list" => json!({"answer": "list", "services": [row]}).to_string(),
        "status" if request["service"].is_string() => detail.to_string(),
        "status" => json!({"answer": "error", "code": "conflict", "message": t, "hint": t}).to_string(),
        "version" => json!({"answer": "version", "version": t, "pid": -1, "config": t, "services": 7}).to_string(),
        "logs" => [
            json!({"answer": "logs", "services": [t, "x".repeat(70_000)], "not_kept": [t]}),
            json!({"time": t, "service": t, "stream": t, "pid": 1, "line": t, "unknown": t}),
            json!({"answer": t}),
        ].map(|line| line.to_string()).join("\n"),
        "events" => [
            json!({"answer": "events"}),
            json!({"time": t, "event": "state", "service": t, "from": t, "to": t, "detail": t}),
            json!({"time": t, "event": "missed", "detail": t}),
            end,
        ].map(|line| line.to_string()).join("\n"),
        "health" => json!({"answer": "health", "healthy": false, "reasons": [t]}).to_string(),
        "reload" if request["dry_run"] == true => {
            json!({"answer": "error", "code": "bad-config", "message": t}).to_string()
        }
        "reload" => json!({"answer": "reload", "applied": true, "added": [t], "removed": [t], "restarted": change,
            "updated": change, "unchanged": 1, "settings": [t]}).to_string(),
        // Unknown words come back in the parser's message.
        "stop" => json!({"answer": t}).to_string(),
        "start" => json!({"answer": "outcome", "ok": false, "services": [
            {"name": t, "ok": false, "state": "FAILED", "detail": t},
            {"name": "x".repeat(70_000), "ok": true, "state": "RUNNING", "detail": ""}]}).to_string(),
        "wait" => json!({"answer": "outcome", "ok": true, "services": [{"name": t, "ok": true, "state": t, "detail": t}]}).to_string(),
        _ => json!({"answer": "done", "message": t}).to_string(),
    }
}

/// Answers every connection until the test is over.
fn serve(listener: UnixListener, mut answer: impl FnMut(&Value, &mut UnixStream) + Send + 'static) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|count| count > 0) {
                answer(
                    &serde_json::from_str(&line).unwrap_or_default(),
                    &mut stream,
                );
                line.clear();
            }
        }
    });
}

/// `go-overlay ARGS…` whose standard output is a terminal; what it wrote to both outputs.
fn on_a_terminal(socket: &Path, args: &[&str]) -> String {
    let (ours, theirs) = nix::pty::openpty(None, None)
        .map(|pair| (pair.master, pair.slave))
        .unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["--color", "never", "--socket"])
        .arg(socket)
        .args(args)
        .stdin(Stdio::null())
        .stdout(theirs)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It ends with an error when the program has closed the other end.
    let mut shown = Vec::new();
    let _ = std::fs::File::from(ours).read_to_end(&mut shown);
    let mut errors = child.stderr.take().unwrap();
    let _ = errors.read_to_end(&mut shown);
    let code = child.wait().unwrap().code();
    assert!(
        code.is_some_and(|code| code < 4),
        "{args:?}: {code:?}, {}",
        String::from_utf8_lossy(&shown)
    );
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn nothing_that_a_daemon_sends_steers_the_clients_terminal() {
    let stage = Stage::new();
    let socket = stage.socket();
    serve(UnixListener::bind(&socket).unwrap(), |request, stream| {
        let _ = stream.write_all(format!("{}\n", hostile_answer(request)).as_bytes());
    });
    let commands: [&[&str]; 24] = [
        &["list"],
        &["list", "--json"],
        &["status"],
        &["status", "web"],
        &["status", "web", "--json"],
        &["version"],
        &["version", "--json"],
        &["logs"],
        &["logs", "-t"],
        &["logs", "--json"],
        &["events"],
        &["events", "--json"],
        &["health"],
        &["health", "--json"],
        &["reload"],
        &["reload", "--json"],
        &["reload", "--dry-run"],
        &["stop", "web"],
        &["start", "web"],
        &["start", "web", "--json"],
        &["wait", "web"],
        &["signal", "web", "HUP"],
        &["shutdown"],
        &["restart", "web"],
    ];
    for args in commands {
        let shown = on_a_terminal(&socket, args);
        assert!(!shown.is_empty(), "{args:?}");
        // The terminal itself writes a carriage return before each newline.
        let text = shown.replace("\r\n", "\n");
        let found = text.chars().find(|c| *c != '\n' && steers(*c));
        assert_eq!(found, None, "{args:?}: {text:?}");
        // The report on a configuration is of several lines.
        let is_report = args.contains(&"--dry-run");
        assert!(
            is_report || !text.lines().any(|line| line.starts_with(" go-overlay")),
            "{args:?}: {text:?}"
        );
    }
}

#[test]
fn an_answer_without_an_end_is_given_up() {
    let stage = Stage::new();
    let socket = stage.socket();
    serve(UnixListener::bind(&socket).unwrap(), |_, stream| {
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
    });
    for args in [
        &["list"][..],
        &["stop", "web"],
        &["logs"],
        &["logs", "-f"],
        &["events"],
        &["health"],
    ] {
        let output = support::cli(&socket, args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {said}");
        assert!(said.contains("longer than 16 MiB"), "{args:?}: {said}");
    }
}

#[test]
fn a_daemon_that_says_nothing_keeps_neither_a_client_nor_a_second_daemon_waiting() {
    let stage = Stage::new();
    let socket = stage.socket();
    let _silent = UnixListener::bind(&socket).unwrap();
    let began = Instant::now();
    let config = stage.file("services.toml", &sleeper("web", ""));
    let second = support::cli(&socket, &["--no-install", "--config", &config]);
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("already running"), "{said}");
    // A change has no bound of its own, and is not asked for.
    let change = support::cli(&socket, &["stop", "web"]);
    assert_eq!(change.status.code(), Some(3), "{change:?}");
    let said = String::from_utf8_lossy(&change.stderr);
    assert!(said.contains("is it stopped?"), "{said}");
}

#[test]
fn root_believes_no_other_users_abstract_socket() {
    need_root!();
    let stage = Stage::new();
    let name = abstract_name(&stage);
    let listener = as_user(STRANGER, || {
        UnixListener::bind_addr(&abstract_address(&name)).unwrap()
    });
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    serve(listener, move |_, stream| {
        counter.fetch_add(1, Ordering::Relaxed);
        let _ = stream.write_all(b"{\"answer\":\"health\",\"healthy\":true,\"reasons\":[]}\n");
    });
    for args in [
        &["health"][..],
        &["list"],
        &["logs"],
        &["events", "-f"],
        &["shutdown"],
        &["stop", "web"],
    ] {
        let output = support::cli(Path::new(&name), args);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("belongs to another user (20001)"),
            "{args:?}: {said}"
        );
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0, "a request was sent");
}

#[test]
fn a_lock_of_a_stranger_on_the_sockets_directory_stops_no_start() {
    need_root!();
    let stage = Stage::new();
    let control = stage.path("control");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&control, mode).unwrap();
    let _locks: Vec<_> = ["control", ""]
        .into_iter()
        .map(|folder| {
            as_user(STRANGER, || {
                let file = std::fs::File::open(stage.path(folder)).unwrap();
                nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockSharedNonblock).unwrap()
            })
        })
        .collect();
    let mut daemon = Launch::on(&stage).config(sleeper("web", "")).start();
    daemon.shut_down();
    assert_eq!(std::fs::read_dir(&control).unwrap().count(), 0);
}

/// A daemon as user 65534 of a user namespace that maps 65,536 users, and a client that connects as `uid`.
#[test]
fn a_daemon_of_the_overflow_user_does_not_take_every_user_for_its_own() {
    need_root!();
    const FIRST: u32 = 100_000;
    const NOBODY: u32 = 65_534;
    let stage = Stage::new();
    let program = stage.program("go-overlay", "");
    std::fs::copy(PROGRAM, &program).unwrap();
    let config = stage.file("services.toml", &sleeper("web", ""));
    let Ok(mut holder) = Command::new("unshare")
        .args(["--user", "sleep", "100"])
        .spawn()
    else {
        return support::skip("unshare is not installed");
    };
    let pid = holder.id();
    let own = std::fs::read_link("/proc/self/ns/user").unwrap();
    until("the user namespace", PATIENCE, || {
        let theirs = std::fs::read_link(format!("/proc/{pid}/ns/user")).ok()?;
        (theirs != own).then_some(())
    });
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{pid}/{map}"), format!("0 {FIRST} 65536")).unwrap();
    }
    let (target, nobody) = (pid.to_string(), NOBODY.to_string());
    let inside = || {
        let mut command = Command::new("nsenter");
        command
            .args(["--user", "--target", &target])
            .args(["--setuid", &nobody, "--setgid", &nobody, &program]);
        command
    };
    let daemon = Open::run(&stage, inside().args(["--config", &config]));
    let stop = |uid| {
        as_user(uid, || {
            let request = json!({"command": "stop", "services": ["web"]});
            ask(&mut connect(&daemon.name).unwrap(), &request).unwrap()
        })
    };
    // Users that have no number there all look like 65534.
    for uid in [STRANGER, NOBODY, 0] {
        assert_eq!(stop(uid)["code"], "not-allowed", "{uid}");
    }
    // The namespace's root, and the daemon's own user, which believes the daemon in turn.
    assert_eq!(stop(FIRST)["answer"], "outcome");
    let own = inside()
        .args(["--socket", &daemon.name, "start", "web"])
        .output()
        .unwrap();
    assert!(own.status.success(), "{own:?}");
    drop(daemon);
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn a_program_that_another_user_can_replace_is_not_put_into_path() {
    need_root!();
    let stage = Stage::new();
    let config = stage.file("services.toml", &sleeper("web", ""));
    let run = |program: &str| {
        let script = format!(
            "mount -t tmpfs none /usr/local/bin && unset GO_OVERLAY_SOCKET
             {program} --debug --config {config} --socket {} 2>&1 & d=$!
             i=0; until {program} --socket {0} list >/dev/null 2>&1; do i=$((i+1)); [ $i -lt 300 ] || exit 9; sleep 0.1; done
             ls /usr/local/bin; kill $d; wait $d",
            stage.socket().display()
        );
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let open = stage.open_folder("open");
    let program = format!("{open}/go-overlay");
    std::fs::copy(PROGRAM, &program).unwrap();
    let said = run(&program);
    assert!(
        said.contains("a user other than root can write to"),
        "{said}"
    );
    assert!(!said.lines().any(|line| line == "go-overlay"), "{said}");
}

#[test]
fn followers_that_never_read_cost_little_whatever_the_service_writes() {
    let stage = Stage::new();
    let config = format!(
        "[log]\nbuffer = \"256KiB\"\nstdout = false\n{}",
        support::service("y", "/usr/bin/yes", &[""], "tty = false")
    );
    let daemon = Open::start(&stage, &config);
    let row = |daemon: &Open| daemon.cli(&["status", "y"]);
    until("output", PATIENCE, || {
        row(&daemon).status.success().then_some(())
    });
    std::thread::sleep(Duration::from_secs(1));
    assert!(daemon.cli(&["stop", "y"]).status.success());
    let before = daemon.resident();
    let followers: Vec<UnixStream> = (0..400)
        .map(|_| {
            let mut stream = connect(&daemon.name).unwrap();
            stream
                .write_all(b"{\"command\":\"logs\",\"follow\":true}\n")
                .unwrap();
            stream
        })
        .collect();
    // Each has got what its socket holds.
    for follower in &followers {
        let mut first = [0; 1];
        (&mut &*follower).read_exact(&mut first).unwrap();
    }
    assert!(daemon.cli(&["list"]).status.success());
    let taken = daemon.resident().saturating_sub(before);
    assert!(taken < 32 * 1024, "{taken} KiB for 400 followers");
}
