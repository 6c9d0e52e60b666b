//! The control socket: strangers as clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::strangers::{Open, STRANGER, abstract_address, as_user, ask, connect};
use crate::support::{self, Launch, PATIENCE, PROGRAM, Stage, sleeper, until};

/// All that `sun_path` holds.
const SUN_PATH: usize = 108;

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
    let program = stage.copy_of(PROGRAM, "go-overlay");
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

/// Sends sockets whose last close waits for ten minutes, as a stranger, in requests of every kind.
const SENDS_LINGERING: &str = "import array, os, socket, struct, sys
os.setgroups([]); os.setgid(20001); os.setuid(20001)
listener = socket.socket(); listener.bind(('127.0.0.1', 0)); listener.listen(100)
kept = []
for request in [b'{\"command\":\"list\"}\\n', b'{\"comm', b'nonsense\\n', b'x' * 70_000] * 3:
    c = socket.socket(); c.connect(listener.getsockname()); kept.append(listener.accept())
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 600)); c.setblocking(False)
    try:
        while True: c.send(b'x' * 65536)
    except BlockingIOError: pass
    s = socket.socket(socket.AF_UNIX); s.connect('\\0' + sys.argv[1]); s.setblocking(False)
    # Refused, where the kernel can.
    try:
        s.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [c.fileno()]))])
        c.close()
    except (PermissionError, BrokenPipeError, BlockingIOError): kept.append(c)
print('sent', flush=True)
sys.stdin.read()
";

#[test]
fn sockets_that_linger_in_a_request_do_not_stop_the_daemon() {
    need_root!();
    let stage = Stage::new();
    let mut daemon = Open::start(&stage, &sleeper("web", ""));
    let script = stage.file("sends.py", SENDS_LINGERING);
    let mut stranger = Command::new("python3")
        .args([&script, daemon.name.trim_start_matches('@')])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = stranger.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    assert_eq!(line, "sent\n");
    for _ in 0..5 {
        let asked = Instant::now();
        assert!(daemon.cli(&["list"]).status.success());
        assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
    }
    assert!(daemon.is_alive());
    // Not by itself: its own closes would wait.
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}
