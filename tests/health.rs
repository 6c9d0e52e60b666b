//! Health checks against real servers, good ones and evil ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{
    Daemon, Launch, Op, PATIENCE, Stage, children, descendants, free_port, is_root,
    nginx_configuration, postgres_programs, service, shell, skip, sleeper, status_field, until,
    zombies,
};

/// A server or a data folder may take its time on a busy machine.
const SLOW_START: Duration = Duration::from_secs(60);

fn wait_for_detail(daemon: &Daemon, service: &str, part: &str) -> String {
    until(&format!("{part:?} of {service}"), PATIENCE, || {
        let row = daemon.row(service);
        row.detail().contains(part).then(|| row.detail().to_owned())
    })
}

fn wait_for_health(daemon: &Daemon, service: &str, health: &str, patience: Duration) {
    until(&format!("{service} to be {health}"), patience, || {
        (daemon.row(service).health() == health).then_some(())
    });
}

/// Waits until it runs as another process than `old`, and is healthy.
fn healthy_again(daemon: &Daemon, service: &str, old: i32) -> i32 {
    until(&format!("another healthy {service}"), SLOW_START, || {
        let row = daemon.row(service);
        row.pid()
            .filter(|pid| *pid != old && row.health() == "healthy")
    })
}

fn redis(port: u16, more: &str) -> String {
    let port = port.to_string();
    let args = ["--port", &port, "--save", "", "--bind", "127.0.0.1"];
    let health = format!(
        "health = {{ exec = [\"redis-cli\", \"-p\", \"{port}\", \"ping\"], interval = \"200ms\", timeout = \"2s\", retries = 2 }}"
    );
    service("redis", "redis-server", &args, &format!("{health}\n{more}"))
}

#[test]
fn redis_postgres_and_nginx_are_up_before_who_needs_them() {
    let _ = (
        need!("redis-server"),
        need!("redis-cli"),
        need!("nginx"),
        need!("curl"),
    );
    let Some(programs) = postgres_programs() else {
        return skip("PostgreSQL is not installed");
    };
    let stage = Stage::new();
    let (redis_port, nginx_port, postgres_port) = (free_port(), free_port(), free_port());
    let data = stage.open_folder("data");
    let bin = programs.display();
    // PostgreSQL refuses to run as root.
    let user = if is_root() {
        "user = \"postgres\"\n"
    } else {
        ""
    };
    let init = format!(
        "#!/bin/sh\nrm -rf {data}/db\n{bin}/initdb -D {data}/db -A trust -U me >/dev/null\n"
    );
    let postgres = service(
        "postgres",
        &format!("{bin}/postgres"),
        &[
            "-D",
            &format!("{data}/db"),
            "-p",
            &postgres_port.to_string(),
            "-k",
            &data,
        ],
        &format!(
            "{user}pre_script = {}\n[services.health]\nexec = [\"{bin}/pg_isready\", \"-h\", \"127.0.0.1\", \"-p\", \"{postgres_port}\"]\nstart_period = 30\n",
            support::quoted(&init)
        ),
    );
    let conf = nginx_configuration(&stage, nginx_port, "location / { return 200 'hello'; }");
    let nginx = service(
        "nginx",
        "nginx",
        &["-c", &conf, "-g", "daemon off;"],
        &format!("health = {{ http = \"http://localhost:{nginx_port}/\" }}"),
    );
    // Its first act is a question to each of them, and none is asked twice.
    let ask = format!(
        "set -e; redis-cli -p {redis_port} set a 1; curl -sf http://127.0.0.1:{nginx_port}/; \
         {bin}/psql -h 127.0.0.1 -p {postgres_port} -U me -c 'select 41 + 1' postgres; echo all answered; exec sleep infinity"
    );
    let app = shell(
        "app",
        &ask,
        "depends_on = { redis = \"healthy\", nginx = \"healthy\", postgres = \"healthy\" }",
    );
    let mut daemon = Launch::on(&stage)
        .config(app + &redis(redis_port, "") + &nginx + &postgres)
        .start();
    daemon.out.wait_for("[app     ] all answered", SLOW_START);
    for name in ["redis", "nginx", "postgres"] {
        assert_eq!(daemon.row(name).health(), "healthy");
    }
    assert!(daemon.cli(&["health"]).status.success());
    daemon.cli_ok(&["wait", "postgres", "--for", "healthy"]);
    daemon.shut_down();
}

#[test]
fn a_killed_and_a_hung_redis_come_back_and_so_does_who_follows() {
    let _ = (need!("redis-server"), need!("redis-cli"));
    let stage = Stage::new();
    let port = free_port();
    let restart = "stop_timeout = 1\nrestart = { policy = \"always\", delay = \"50ms\" }";
    let follows = "depends_on = { redis = \"healthy\" }\non_dependency_failure = \"restart\"";
    let asks = format!("redis-cli -p {port} ping; exec sleep infinity");
    let daemon = Launch::on(&stage)
        .config(
            redis(port, restart)
                + &shell("app", &asks, follows)
                + &shell("calm", &asks, "depends_on = { redis = \"healthy\" }"),
        )
        .start();
    daemon.wait_all("RUNNING");
    daemon.out.wait_for("[app  ] PONG", PATIENCE);
    let calm = daemon.pid_of("calm");
    for (count, signal) in [(2, Signal::SIGKILL), (3, Signal::SIGSTOP)] {
        wait_for_health(&daemon, "redis", "healthy", SLOW_START);
        let (old, app) = (daemon.pid_of("redis"), daemon.pid_of("app"));
        kill(Pid::from_raw(old), signal).unwrap();
        healthy_again(&daemon, "redis", old);
        daemon.wait_state("app", "RUNNING");
        assert_ne!(daemon.pid_of("app"), app);
        daemon.out.wait_for_count("[app  ] PONG", count, PATIENCE);
    }
    daemon.err.wait_for("redis: unhealthy: redis-cli", PATIENCE);
    assert_eq!(daemon.pid_of("calm"), calm, "nobody told it to follow");
    until("no zombie", PATIENCE, || {
        zombies(daemon.pid()).is_empty().then_some(())
    });
}

#[test]
fn a_stopped_nginx_is_seen_and_started_again() {
    let nginx = need!("nginx");
    let stage = Stage::new();
    let port = free_port();
    let conf = nginx_configuration(&stage, port, "location / { return 200 'hello'; }");
    let more = format!(
        "stop_timeout = 1\nhealth = {{ http = \"http://127.0.0.1:{port}/\", interval = \"100ms\", timeout = \"2s\", retries = 2 }}"
    );
    let daemon = Launch::on(&stage)
        .config(service(
            "nginx",
            &nginx,
            &["-c", &conf, "-g", "daemon off;"],
            &more,
        ))
        .start();
    wait_for_health(&daemon, "nginx", "healthy", SLOW_START);
    let old = daemon.pid_of("nginx");
    // The master and its workers: the kernel still takes connections, and nobody answers.
    for pid in descendants(old).into_iter().chain([old]) {
        kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    }
    daemon
        .err
        .wait_for("nginx: unhealthy: GET /: no answer within 2s", PATIENCE);
    healthy_again(&daemon, "nginx", old);
    // A restart that is no policy's: there is none.
    assert_eq!(daemon.row("nginx").0["restarts"], 1);
}

/// Answers each connection in its own bad way.
const EVIL: &str = r#"
import socket, sys, threading, time
mode, port = sys.argv[1], int(sys.argv[2])
def serve(c):
    try:
        c.recv(4096)
        if mode == 'silent': time.sleep(1000)
        if mode == 'drip':
            for byte in b'HTTP/1.1 200 OK\r\n' * 1000:
                c.send(bytes([byte])); time.sleep(1)
        if mode == 'half':
            c.sendall(b'HTTP/1.1 200 OK\r\nServer: evil\r\n'); time.sleep(1000)
        if mode == 'endless':
            c.sendall(b'HTTP/1.1 200 OK\r\n')
            while True: c.sendall(b'X-More: and more\r\n')
        if mode == 'line':
            while True: c.sendall(b'x' * 4096)
        if mode == 'big':
            c.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n')
            for _ in range(1600): c.sendall(b'x' * 65536)
        if mode == 'garbage': c.sendall(b'-ERR unknown command\r\n')
        if mode == 'early': c.sendall(b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n')
        if mode.isdigit(): c.sendall(b'HTTP/1.1 %s Whatever\r\nContent-Length: 0\r\n\r\n' % mode.encode())
    except OSError: pass
    finally: c.close()
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', port)); s.listen(64)
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"#;

#[test]
fn each_check_of_an_evil_server_ends_in_time_and_says_what_was_wrong() {
    let python = need!("python3");
    let stage = Stage::new();
    let script = stage.file("evil.py", EVIL);
    let good = "";
    let cases = [
        ("silent", "GET /x: no answer within 300ms"),
        ("drip", "GET /x: no whole answer within 300ms"),
        ("half", "GET /x: no whole answer within 300ms"),
        ("endless", "GET /x: the head of the answer has no end"),
        ("line", "GET /x: the answer is no HTTP"),
        ("close", "GET /x: closed without a whole answer"),
        ("garbage", "GET /x: the answer is no HTTP"),
        ("503", "GET /x: 503"),
        ("404", "GET /x: 404"),
        ("302", good),
        ("early", good),
        ("big", good),
    ];
    let config: String = cases
        .iter()
        .map(|(mode, _)| {
            let port = free_port();
            let health = format!(
                "health = {{ http = \"http://127.0.0.1:{port}/x\", interval = \"50ms\", timeout = \"300ms\", retries = 20, on_unhealthy = \"none\" }}"
            );
            service(mode, &python, &["-u", &script, mode, &port.to_string()], &health)
        })
        .collect();
    let daemon = Launch::on(&stage).config(config).start();
    for (mode, words) in cases {
        if words == good {
            wait_for_health(&daemon, mode, "healthy", SLOW_START);
            continue;
        }
        wait_for_health(&daemon, mode, "unhealthy", SLOW_START);
        let detail = wait_for_detail(&daemon, mode, words);
        assert_eq!(detail, format!("unhealthy: {words}"), "{mode}");
    }
    // It lives with them all, and holds nothing of what they sent.
    let before = status_field(daemon.pid(), "VmRSS").unwrap();
    let checks = std::time::Instant::now() + Duration::from_secs(2);
    while std::time::Instant::now() < checks {
        assert_eq!(daemon.list().len(), cases.len());
    }
    let after = status_field(daemon.pid(), "VmRSS").unwrap();
    assert!(
        after < before + 512 && after < 8000,
        "{before} kB, then {after} kB"
    );
    let output = daemon.cli(&["health"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("503: unhealthy: GET /x: 503"), "{text}");
    assert!(!text.contains("early"), "{text}");
}

#[test]
fn a_port_that_is_closed_and_one_that_only_takes_connections() {
    let python = need!("python3");
    let stage = Stage::new();
    let (closed, taken) = (free_port(), free_port());
    let script = stage.file("evil.py", EVIL);
    let health = |port: u16| {
        format!(
            "health = {{ tcp = \"127.0.0.1:{port}\", interval = \"50ms\", retries = 1, on_unhealthy = \"none\" }}"
        )
    };
    let config = sleeper("closed", &health(closed))
        + &service(
            "taken",
            &python,
            &[&script, "silent", &taken.to_string()],
            &health(taken),
        );
    let daemon = Launch::on(&stage).config(config).start();
    let detail = wait_for_detail(&daemon, "closed", "unhealthy");
    assert_eq!(
        detail,
        format!("unhealthy: tcp 127.0.0.1:{closed}: Connection refused")
    );
    wait_for_health(&daemon, "taken", "healthy", SLOW_START);
}

#[test]
fn sockets_by_path_and_by_abstract_name() {
    let python = need!("python3");
    let stage = Stage::new();
    let path = stage.at("app.sock");
    let name = format!("go-overlay-test-{}", std::process::id());
    let listen = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1].replace('@', '\\0')); s.listen(); \
                  import time; time.sleep(1000)";
    let health = |address: &str| {
        format!(
            "health = {{ unix = \"{address}\", interval = \"50ms\", retries = 1, on_unhealthy = \"none\" }}"
        )
    };
    let config = service("path", &python, &["-c", listen, &path], &health(&path))
        + &service(
            "abstract",
            &python,
            &["-c", listen, &format!("@{name}")],
            &health(&format!("@{name}")),
        );
    let daemon = Launch::on(&stage).config(config).start();
    wait_for_health(&daemon, "path", "healthy", SLOW_START);
    wait_for_health(&daemon, "abstract", "healthy", SLOW_START);
    std::fs::remove_file(&path).unwrap();
    let detail = wait_for_detail(&daemon, "path", "unhealthy");
    assert_eq!(
        detail,
        format!("unhealthy: unix {path}: No such file or directory")
    );
}

/// The daemon answers soon while something hangs, restarts another service, and has few children.
fn goes_on(daemon: &Daemon, other: &str, most_children: usize) {
    let before = daemon.pid_of(other);
    kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
    until("the other one's restart", PATIENCE, || {
        let row = daemon.row(other);
        (row.state() == "RUNNING" && row.pid() != Some(before)).then_some(())
    });
    // Longer than several checks take, of which each might leave a child.
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        let took = daemon.time_of_answer();
        assert!(took < Duration::from_millis(200), "{took:?}");
        let count = children(daemon.pid()).len();
        assert!(count <= most_children, "{count} children");
    }
}

const OFTEN: &str = "interval = \"50ms\", start_interval = \"50ms\", timeout = \"100ms\", retries = 1, \
                     on_unhealthy = \"none\"";

#[test]
fn a_socket_in_a_mount_that_hangs_costs_its_own_check_only() {
    let python = need!("python3");
    let stage = Stage::new();
    let hanging = need_hanging!(&stage);
    let path = hanging.at("app.sock");
    let listen = "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(1000); \
                  time.sleep(1000)";
    let check = format!("health = {{ unix = \"{path}\", {OFTEN} }}");
    let restart = "restart = { policy = \"always\", delay = \"1ms\" }";
    let config =
        service("far", &python, &["-c", listen, &path], &check) + &sleeper("near", restart);
    let mut daemon = Launch::on(&stage).config(config).start();
    wait_for_health(&daemon, "far", "healthy", SLOW_START);
    for operations in [&[Op::Lookup][..], &[Op::Getattr], &Op::ALL] {
        hanging.hang(operations);
        hanging.wait_until_one_hangs();
        let detail = wait_for_detail(&daemon, "far", "the file system does not answer");
        assert!(
            detail.contains(&format!("unhealthy: unix {path}: ")),
            "{detail}"
        );
        goes_on(&daemon, "near", 3);
        hanging.release();
        wait_for_health(&daemon, "far", "healthy", PATIENCE);
    }
    hanging.hang(&Op::ALL);
    hanging.wait_until_one_hangs();
    let began = Instant::now();
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(PATIENCE), 0);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_user_database_or_hosts_file_that_hangs_costs_its_own_check_only() {
    let near = sleeper("near", "restart = { policy = \"always\", delay = \"1ms\" }");
    for (file, more) in [
        ("/etc/hosts", "127.0.0.9 elsewhere\n"),
        ("/etc/passwd", "checked:x:20001:20001::/:/bin/sh\n"),
    ] {
        let stage = Stage::new();
        let hanging = need_hanging!(&stage);
        let copy = hanging.file("copy", &std::fs::read_to_string(file).unwrap());
        // In the mount namespace of this thread.
        let bind = MsFlags::MS_BIND;
        mount(Some(copy.as_str()), file, None::<&str>, bind, None::<&str>).unwrap();
        let port = free_port();
        let path = stage.at("missing.sock");
        let check = match file {
            "/etc/hosts" => format!("health = {{ tcp = \"elsewhere:{port}\", {OFTEN} }}"),
            _ => format!("user = \"checked\"\nhealth = {{ unix = \"{path}\", {OFTEN} }}"),
        };
        if file == "/etc/passwd" {
            std::fs::write(
                hanging.behind("copy"),
                std::fs::read_to_string(file).unwrap() + more,
            )
            .unwrap();
        }
        let config = near.clone() + &sleeper("far", &check);
        let daemon = Launch::on(&stage).config(config).start();
        let usual = match file {
            "/etc/hosts" => "cannot find the host of elsewhere".to_owned(),
            _ => format!("unhealthy: unix {path}: No such file or directory"),
        };
        wait_for_detail(&daemon, "far", &usual);
        hanging.hang(&[Op::Open, Op::Read, Op::Lookup, Op::Getattr]);
        hanging.wait_until_one_hangs();
        wait_for_detail(&daemon, "far", "the file system does not answer");
        // Each start looks at the user database too, in its own child.
        if file == "/etc/hosts" {
            goes_on(&daemon, "near", 3);
        }
        hanging.release();
        wait_for_detail(&daemon, "far", &usual);
    }
}

#[test]
fn a_command_that_hangs_floods_or_forks_is_gone_when_its_time_is_over() {
    let stage = Stage::new();
    let within = |timeout: &str, words: &str| {
        format!(
            "health = {{ exec = [\"sh\", \"-c\", {}], interval = \"50ms\", timeout = \"{timeout}\", retries = 1, on_unhealthy = \"none\" }}",
            support::quoted(words)
        )
    };
    let check = |words: &str| within("20s", words);
    let config = sleeper("hangs", &within("200ms", "trap '' TERM; sleep 1000"))
        + &sleeper(
            "floods",
            &check("yes | head -c 3000000; echo the last line; exit 4"),
        )
        + &sleeper("forks", &check("sleep 1000 & sleep 1000 & exit 0"))
        + &sleeper(
            "says",
            &check("echo first; echo '\u{1b}[31mnot today'; exit 3"),
        )
        + &sleeper(
            "env",
            &format!(
                "env = {{ A = \"1\" }}\nworking_dir = \"/usr\"\n{}",
                check("[ $A$PWD = 1/usr ]")
            ),
        );
    let daemon = Launch::on(&stage).config(config).start();
    let detail = wait_for_detail(&daemon, "hangs", "unhealthy");
    assert!(detail.ends_with(": killed after 200ms"), "{detail}");
    let detail = wait_for_detail(&daemon, "floods", "unhealthy");
    assert!(detail.ends_with(": exit 4: the last line"), "{detail}");
    let detail = wait_for_detail(&daemon, "says", "unhealthy");
    assert!(detail.ends_with(": exit 3: [31mnot today"), "{detail}");
    wait_for_health(&daemon, "forks", "healthy", PATIENCE);
    wait_for_health(&daemon, "env", "healthy", PATIENCE);
    daemon.cli_ok(&["stop", "--all"]);
    // Nothing of any check is left: neither what it started nor what nobody reaped.
    until("no child", PATIENCE, || {
        children(daemon.pid()).is_empty().then_some(())
    });
}

#[test]
fn a_command_runs_as_the_services_user() {
    need_root!();
    let stage = Stage::new();
    let health = "user = \"nobody\"\nhealth = { exec = [\"sh\", \"-c\", \"id -un; exit 1\"], interval = \"50ms\", retries = 1, on_unhealthy = \"none\" }";
    let daemon = Launch::on(&stage).config(sleeper("web", health)).start();
    let detail = wait_for_detail(&daemon, "web", "unhealthy");
    assert!(detail.ends_with("exit 1: nobody"), "{detail}");
}

#[test]
fn an_idle_hour_of_checks_costs_no_memory_and_a_stop_ends_them() {
    let stage = Stage::new();
    let count = stage.at("count");
    let check = format!("echo x >> {count}");
    let health =
        format!("health = {{ exec = [\"sh\", \"-c\", \"{check}\"], interval = \"10ms\" }}");
    let daemon = Launch::on(&stage).config(sleeper("web", &health)).start();
    let checks = |least: usize| {
        until("checks", SLOW_START, || {
            let text = std::fs::read_to_string(&count).unwrap_or_default();
            (text.lines().count() >= least).then(|| text.lines().count())
        })
    };
    checks(20);
    let before = status_field(daemon.pid(), "VmRSS").unwrap();
    // As many as an hour has at every ten seconds.
    checks(380);
    let after = status_field(daemon.pid(), "VmRSS").unwrap();
    assert!(after <= before + 128, "{before} kB, then {after} kB");
    daemon.cli_ok(&["stop", "web"]);
    assert_eq!(daemon.row("web").health(), "none");
    let now = checks(0);
    daemon.cli_ok(&["list"]);
    assert_eq!(checks(0), now);
}
