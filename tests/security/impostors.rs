//! What pretends to be the daemon, or its program: on its socket, and in PATH.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use go_overlay::base::terminal::steers;
use serde_json::{Value, json};

use crate::notify::python_of_all;
use crate::strangers::{STRANGER, abstract_address, abstract_name, as_user};
use crate::support::{self, Launch, PATIENCE, PROGRAM, Stage, service, shell, sleeper, until};

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

/// Everything that steers a terminal, in one line: C0, DEL, C1 as characters, as bytes that are no UTF-8, and what turns
/// text around or hides in it. What comes last has to be seen.
const SAID: &[u8] =
    b"\x1b[2J\x1b]0;pwn\x07\x1bc\x0e\x08\r\x7f\xc2\x85\xc2\x9b31m\xc2\x9d\x9b31m\x85\xe2\x80\xae\
    \xe2\x81\xa6\xe2\x80\xa8\xe2\x80\x8b\xef\xbb\xbf\xf3\xa0\x81\x81 MARKED";

/// What a service says of itself, what its check says, and what it writes.
#[test]
fn nothing_that_a_service_or_its_check_says_steers_the_clients_terminal() {
    let Some(python) = python_of_all() else {
        return support::skip("no python3 that every user can run");
    };
    let stage = Stage::new();
    let said = stage.at("said");
    std::fs::write(&said, SAID).unwrap();
    let speaks = format!(
        "import os, socket, sys, time
said = open({said:?}, 'rb').read()
sys.stdout.buffer.write(said + b'\\n'); sys.stdout.flush()
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'STATUS=' + said, os.environ['NOTIFY_SOCKET'].replace('@', '\\0'))
time.sleep(1000)"
    );
    let check = format!(
        "watchdog = \"1h\"\n[services.health]\nexec = [\"sh\", \"-c\", \"cat {said}; exit 1\"]\n\
         interval = \"100ms\"\nstart_interval = \"100ms\"\nretries = 1\non_unhealthy = \"none\""
    );
    let last_words = format!("cat {said}; exit 7");
    let config = service("speaks", &python, &["-c", &speaks], &check)
        + &shell("dies", &last_words, "restart = \"no\"");
    let daemon = Launch::on(&stage).config(config).start();
    until("what is said", PATIENCE, || {
        let speaks = daemon.row("speaks");
        let has_said = speaks.detail().contains("MARKED") && speaks.health() == "unhealthy";
        (has_said && daemon.row("dies").state() == "FAILED").then_some(())
    });
    let commands: [&[&str]; 14] = [
        &["list"],
        &["list", "--json"],
        &["status", "speaks"],
        &["status", "speaks", "--json"],
        &["status", "dies"],
        &["events"],
        &["events", "--json"],
        &["health"],
        &["health", "--json"],
        &["logs"],
        &["logs", "-t"],
        &["logs", "--json"],
        &["logs", "dies"],
        &["logs", "--json", "dies"],
    ];
    for args in commands {
        let shown = on_a_terminal(&daemon.socket, args);
        assert!(shown.contains("MARKED"), "{args:?}: {shown:?}");
        let text = shown.replace("\r\n", "\n");
        let found = text.chars().find(|c| *c != '\n' && steers(*c));
        assert_eq!(found, None, "{args:?}: {text:?}");
    }
    // Its own messages repeat the check's.
    daemon.err.wait_for("MARKED", PATIENCE);
    let own = daemon.err.text();
    assert!(!own.chars().any(|c| c != '\n' && steers(c)), "{own:?}");
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
    stage.open_folder("open");
    let program = stage.copy_of(PROGRAM, "open/go-overlay");
    let said = run(&program);
    assert!(
        said.contains("a user other than root can write to"),
        "{said}"
    );
    assert!(!said.lines().any(|line| line == "go-overlay"), "{said}");
}
