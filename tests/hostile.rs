//! Whoever misbehaves on the control socket harms only themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Daemon, Launch, PATIENCE, Stage, ask, connect, sleeper, status_field, until};

/// More than the daemon needs for all its bounded buffers together.
const MOST_RESIDENT_KIB: u64 = 16 * 1024;

fn one_service(stage: &Stage) -> Daemon {
    let daemon = Launch::on(stage).config(sleeper("web", "")).start();
    daemon.wait_state("web", "RUNNING");
    daemon
}

/// Still there, still quick, still small, and still able to end.
fn is_unharmed(mut daemon: Daemon) {
    assert_eq!(daemon.list().len(), 1);
    assert!(daemon.time_of_answer() < Duration::from_secs(2));
    let resident = status_field(daemon.pid(), "VmRSS").unwrap();
    assert!(resident < MOST_RESIDENT_KIB, "{resident} KiB");
    daemon.shut_down();
}

/// The daemon's next line.
fn next_line(stream: &UnixStream) -> Value {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    first_line(&line)
}

/// Everything the daemon says until it hangs up, or for a second.
fn answer(stream: &mut UnixStream) -> String {
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn first_line(text: &str) -> Value {
    let line = text.lines().next().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {text:?}"))
}

#[test]
fn garbage_gets_one_clear_error() {
    let stage = Stage::new();
    let daemon = one_service(&stage);
    let requests: [&[u8]; 8] = [
        b"hello\n",
        b"\n",
        b"\0\xff\xfe\x80\n",
        b"[]\n",
        b"{\"command\":\"explode\"}\n",
        b"{\"command\":\"list\",\"surprise\":1}\n",
        b"{\"command\":\"start\",\"services\":7}\n",
        b"GET / HTTP/1.1\n",
    ];
    for request in requests {
        let mut stream = connect(&daemon.socket).unwrap();
        stream.write_all(request).unwrap();
        let error = next_line(&stream);
        assert_eq!(error["answer"], "error", "{error}");
        assert_eq!(error["code"], "bad-request", "{error}");
    }
    let nested = format!("{}\n", "[".repeat(60_000));
    let mut stream = connect(&daemon.socket).unwrap();
    stream.write_all(nested.as_bytes()).unwrap();
    assert_eq!(next_line(&stream)["code"], "bad-request");
    is_unharmed(daemon);
}

#[test]
fn a_request_of_10_mib_is_refused() {
    let stage = Stage::new();
    let daemon = one_service(&stage);
    let mut stream = connect(&daemon.socket).unwrap();
    let chunk = vec![b'x'; 1 << 16];
    // The daemon may hang up before it has taken all of it.
    for _ in 0..160 {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    let said = answer(&mut stream);
    if !said.is_empty() {
        assert_eq!(first_line(&said)["code"], "bad-request", "{said}");
    }
    is_unharmed(daemon);
}

#[test]
fn half_a_request_held_open_harms_nobody() {
    let stage = Stage::new();
    let daemon = one_service(&stage);
    let mut stream = connect(&daemon.socket).unwrap();
    stream.write_all(b"{\"command\":\"li").unwrap();
    for _ in 0..20 {
        assert_eq!(daemon.list().len(), 1);
    }
    // It is not lost either: the rest still makes a request of it.
    stream.write_all(b"st\"}\n").unwrap();
    assert_eq!(next_line(&stream)["answer"], "list");
    is_unharmed(daemon);
}

#[test]
fn a_thousand_connections_leave_services_and_shutdown_alone() {
    let stage = Stage::new();
    let daemon = one_service(&stage);
    let pid = daemon.pid_of("web");
    // The kernel's queue of connections may be full meanwhile; those are refused, which is fine.
    let held: Vec<UnixStream> = (0..1000)
        .filter_map(|_| UnixStream::connect(&daemon.socket).ok())
        .collect();
    assert!(held.len() > 10, "{}", held.len());
    let resident = status_field(daemon.pid(), "VmRSS").unwrap();
    assert!(resident < MOST_RESIDENT_KIB, "{resident} KiB");
    // Who comes now may be refused in words, but not for long: who says nothing loses its place.
    until(
        "an answer beside a thousand silent clients",
        PATIENCE,
        || {
            let answer = ask(&daemon.socket, &json!({"command": "list"})).ok()?;
            match answer["answer"].as_str() {
                Some("list") => Some(()),
                _ => {
                    assert_eq!(answer["code"], "too-many-clients", "{answer}");
                    None
                }
            }
        },
    );
    drop(held);
    let row = daemon.wait_state_for("web", "RUNNING", PATIENCE);
    assert_eq!(row.pid(), Some(pid));
    is_unharmed(daemon);
}

/// Sets how many files the daemon may open.
fn limit_open_files(daemon: &Daemon, soft: u64) {
    let pid = daemon.pid().to_string();
    let status = Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={soft}:")])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn who_came_while_there_was_no_descriptor_is_served_when_there_is_one() {
    need!("prlimit");
    let stage = Stage::new();
    let daemon = one_service(&stage);
    // Fewer than it has open: it cannot take a connection.
    limit_open_files(&daemon, 4);
    let mut stream = connect(&daemon.socket).unwrap();
    stream.write_all(b"{\"command\":\"list\"}\n").unwrap();
    assert_eq!(answer(&mut stream), "");
    limit_open_files(&daemon, 1024);
    // Nobody else comes, of whom the kernel would tell.
    let deadline = Instant::now() + PATIENCE;
    let mut said = [0; 64];
    while stream.read(&mut said).is_err() {
        assert!(Instant::now() < deadline, "not served");
    }
    assert!(String::from_utf8_lossy(&said).contains("list"), "{said:?}");
    drop(stream);
    is_unharmed(daemon);
}

#[test]
fn sigterm_works_while_a_thousand_connections_are_held() {
    let stage = Stage::new();
    let mut daemon = one_service(&stage);
    let _held: Vec<UnixStream> = (0..1000)
        .filter_map(|_| UnixStream::connect(&daemon.socket).ok())
        .collect();
    daemon.shut_down();
}

#[test]
fn who_asks_and_never_reads_harms_nobody() {
    let stage = Stage::new();
    let daemon = one_service(&stage);
    let greedy: Vec<UnixStream> = (0..8)
        .map(|_| {
            let mut stream = connect(&daemon.socket).unwrap();
            stream
                .set_write_timeout(Some(Duration::from_millis(300)))
                .unwrap();
            let many = "{\"command\":\"list\"}\n".repeat(1000);
            for _ in 0..200 {
                if stream.write_all(many.as_bytes()).is_err() {
                    break;
                }
            }
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(daemon.list().len(), 1);
    }
    drop(greedy);
    is_unharmed(daemon);
}

#[test]
fn who_leaves_in_mid_answer_harms_nobody() {
    let stage = Stage::new();
    let daemon = one_service(&stage);
    for _ in 0..200 {
        let mut stream = connect(&daemon.socket).unwrap();
        stream.write_all(b"{\"command\":\"list\"}\n").unwrap();
    }
    let mut waiting = connect(&daemon.socket).unwrap();
    waiting
        .write_all(b"{\"command\":\"wait\",\"service\":\"web\",\"for\":\"stopped\"}\n")
        .unwrap();
    drop(waiting);
    is_unharmed(daemon);
}
