//! Readiness with real programs: systemd's notify protocol, s6's descriptor, a text in the output.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::process::Command;
use std::time::Duration;

use support::{
    Daemon, Launch, PATIENCE, Stage, free_port, is_alive, is_root, payload, postgres_programs,
    quoted, service, shell, skip, sleeper, until, zombies,
};

fn wait_for_detail(daemon: &Daemon, service: &str, detail: &str) {
    until(&format!("{detail:?} of {service}"), PATIENCE, || {
        (daemon.row(service).detail() == detail).then_some(())
    });
}

/// A pipe by name: a script that reads it waits until somebody writes.
fn fifo(stage: &Stage, name: &str) -> String {
    let path = stage.path(name);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    path.display().to_string()
}

/// The beginning of a Python program that talks the protocol.
const SPEAKER: &str = "import os, socket, sys, time
address = os.environ['NOTIFY_SOCKET'].replace('@', '\\0')
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(*words): s.sendto('\\n'.join(words).encode(), address)
";

fn speaker(stage: &Stage, name: &str, more: &str, rest: &str) -> String {
    let python = support::find_program("python3").unwrap();
    let script = stage.file(&format!("{name}.py"), &format!("{SPEAKER}{rest}"));
    service(name, &python, &["-u", &script], more)
}

#[test]
fn systemd_notify_makes_it_running_and_its_status_is_shown() {
    let _ = need!("systemd-notify");
    let stage = Stage::new();
    let go = fifo(&stage, "go");
    let script = format!(
        "systemd-notify --status='loading 3 of 7'; read x < {go}; systemd-notify --ready --status='serving'; exec sleep infinity"
    );
    let config =
        shell("web", &script, "ready = \"notify\"") + &sleeper("app", "depends_on = \"web\"");
    let mut daemon = Launch::on(&stage).config(config).start();
    wait_for_detail(&daemon, "web", "loading 3 of 7");
    assert_eq!(daemon.row("web").state(), "STARTING");
    assert!(daemon.row("web").pid().is_some());
    assert_eq!(daemon.row("app").state(), "PENDING");
    std::fs::write(&go, "\n").unwrap();
    daemon.wait_state("app", "RUNNING");
    wait_for_detail(&daemon, "web", "serving");
    daemon.shut_down();
}

#[test]
fn redis_and_postgres_say_themselves_when_they_are_ready() {
    let _ = (need!("redis-server"), need!("redis-cli"));
    let Some(programs) = postgres_programs() else {
        return skip("PostgreSQL is not installed");
    };
    let stage = Stage::new();
    let (redis_port, postgres_port) = (free_port().to_string(), free_port().to_string());
    let args = [
        "--port",
        &redis_port,
        "--supervised",
        "systemd",
        "--save",
        "",
        "--bind",
        "127.0.0.1",
    ];
    let redis = service("redis", "redis-server", &args, "ready = \"notify\"");
    let data = stage.open_folder("data");
    let bin = programs.display();
    let user = if is_root() {
        "user = \"postgres\"\n"
    } else {
        ""
    };
    let init = format!("#!/bin/sh\n{bin}/initdb -D {data}/db -A trust -U me >/dev/null\n");
    let postgres = service(
        "postgres",
        &format!("{bin}/postgres"),
        &[
            "-D",
            &format!("{data}/db"),
            "-p",
            &postgres_port,
            "-k",
            &data,
        ],
        &format!("{user}pre_script = {}\nready = \"notify\"\n", quoted(&init)),
    );
    let ask = format!(
        "set -e; redis-cli -p {redis_port} ping; {bin}/psql -h 127.0.0.1 -p {postgres_port} -U me -c 'select 1' postgres; \
         echo all answered; exec sleep infinity"
    );
    let app = shell("app", &ask, "depends_on = [\"redis\", \"postgres\"]");
    let mut daemon = Launch::on(&stage).config(redis + &postgres + &app).start();
    daemon.out.wait_for("all answered", Duration::from_secs(60));
    wait_for_detail(&daemon, "redis", "Ready to accept connections");
    daemon.shut_down();
}

#[test]
fn a_newline_on_a_descriptor_as_under_s6() {
    let stage = Stage::new();
    let go = fifo(&stage, "go");
    let says = |fd: &str| format!("read x < {go}; echo >&{fd}; exec {fd}>&-; exec sleep infinity");
    let python = support::find_program("python3").unwrap();
    let high = "import os, time; os.write(200, b'ready\\n'); time.sleep(1000)";
    let config = shell("three", &says("3"), "ready = { fd = 3 }")
        + &shell(
            "pipes",
            "printf 'not yet' >&4; sleep 0.1; printf ' now\\n' >&4; exec sleep infinity",
            "ready = { fd = 4 }\ntty = false",
        )
        + &service("high", &python, &["-c", high], "ready = { fd = 200 }")
        + &shell(
            "closes",
            "exec 3>&-; exec sleep infinity",
            "ready = { fd = 3 }",
        )
        + &shell(
            "plain",
            "{ echo >&3; } 2>/dev/null && echo open || echo closed; exec sleep infinity",
            "",
        );
    let daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state("high", "RUNNING");
    daemon.wait_state("pipes", "RUNNING");
    wait_for_detail(&daemon, "three", "waiting for a newline on descriptor 3");
    wait_for_detail(
        &daemon,
        "closes",
        "closed its readiness descriptor without a newline",
    );
    daemon.wait_state("closes", "FAILED");
    daemon.out.wait_for("[plain ] closed", PATIENCE);
    std::fs::write(&go, "\n").unwrap();
    daemon.wait_state("three", "RUNNING");
}

#[test]
fn a_text_in_the_output_on_a_terminal_and_on_pipes() {
    let stage = Stage::new();
    let says = "printf 'now rea'; sleep 0.05; echo 'dy to serve' >&2; exec sleep infinity";
    let other = "printf 'now rea'; echo 'dy to serve'; echo not reday; exec sleep infinity";
    let config = shell("tty", says, "ready = { log = \"ready to serve\" }")
        + &shell(
            "pipe",
            other,
            "ready = { log = \"ready to serve\" }\ntty = false",
        )
        + &shell(
            "hidden",
            other,
            "ready = { log = \"ready to serve\" }\nlog_stdout = false",
        )
        + &shell(
            "never",
            other,
            "ready = { log = \"ready to eat\" }\nready_timeout = 1",
        );
    let daemon = Launch::on(&stage).config(config).start();
    for name in ["tty", "pipe", "hidden"] {
        daemon.wait_state(name, "RUNNING");
    }
    daemon.wait_state("never", "FAILED");
    wait_for_detail(
        &daemon,
        "never",
        "not ready after 1s: waiting for \"ready to eat\" in its output",
    );
}

#[test]
fn a_watchdog_that_is_not_fed_is_a_failure_and_the_policy_follows() {
    let _ = need!("python3");
    let stage = Stage::new();
    let go = fifo(&stage, "go");
    let feeds = format!(
        "say('READY=1')\nimport threading\nstop = threading.Event()\n\
         period = int(os.environ['WATCHDOG_USEC']) / 1e6\nprint('period', period)\n\
         threading.Thread(target=lambda: (open('{go}').read(), stop.set())).start()\n\
         while not stop.is_set(): say('WATCHDOG=1'); time.sleep(period / 4)\nprint('hung')\ntime.sleep(1000)\n"
    );
    let more =
        "ready = \"notify\"\nwatchdog = \"1s\"\nrestart = { policy = \"on-failure\", delay = 0 }";
    let daemon = Launch::on(&stage)
        .config(speaker(&stage, "web", more, &feeds))
        .start();
    daemon.wait_state("web", "RUNNING");
    daemon.out.wait_for("period 1.0", PATIENCE);
    let old = daemon.pid_of("web");
    // Three periods long it is fed.
    let fed = std::time::Instant::now();
    until("three periods", PATIENCE, || {
        (fed.elapsed() > Duration::from_secs(3)).then_some(())
    });
    assert_eq!(daemon.pid_of("web"), old);
    std::fs::write(&go, "").unwrap();
    daemon.err.wait_for(
        "web: STOPPING -> FAILED (no WATCHDOG=1 for 1s; restarts",
        PATIENCE,
    );
    until("another process", PATIENCE, || {
        daemon.row("web").pid().filter(|pid| *pid != old)
    });
}

#[test]
fn the_main_process_may_be_another_one() {
    let _ = need!("python3");
    let stage = Stage::new();
    // As daemons do that fork: the child is the service, and the parent ends.
    let forks = "pid = os.fork()\nif pid: say('READY=1', f'MAINPID={pid}'); time.sleep(0.1); os._exit(0)\n\
                 print('child', os.getpid())\ntime.sleep(0.5); say('STATUS=child speaks'); time.sleep(1000)\n";
    let config = speaker(&stage, "web", "ready = \"notify\"\ntty = false", forks)
        + &speaker(
            &stage,
            "ends",
            "ready = \"notify\"\ntty = false",
            &forks.replace("time.sleep(1000)", "time.sleep(0.5); os._exit(7)"),
        );
    let daemon = Launch::on(&stage).config(config).start();
    daemon.wait_state("web", "RUNNING");
    let line = daemon.out.wait_for("[web ] child ", PATIENCE);
    let child: i32 = line.rsplit(' ').next().unwrap().parse().unwrap();
    until("the child to be the service", PATIENCE, || {
        (daemon.row("web").pid() == Some(child)).then_some(())
    });
    // It is no child of the process that was started any more, and is believed all the same.
    wait_for_detail(&daemon, "web", "child speaks");
    assert_eq!(daemon.row("web").state(), "RUNNING");
    wait_for_detail(&daemon, "ends", "exit 7");
    daemon.cli_ok(&["signal", "web", "CONT"]);
    daemon.cli_ok(&["stop", "web"]);
    assert!(!is_alive(child));
    assert_eq!(zombies(daemon.pid()), Vec::<i32>::new());
}

#[test]
fn a_daemon_that_detaches_itself_may_say_that_it_is_ready_and_be_the_main_process() {
    let _ = need!("python3");
    let stage = Stage::new();
    // As daemon(3) has it, twice: its parents are gone, and it is in a session of its own.
    let detaches = "first = os.getpid()
if os.fork(): os._exit(0) if len(sys.argv) > 1 else time.sleep(1000)
os.setsid()
if os.fork(): os._exit(0)
while os.getppid() in (first, first + 1): time.sleep(0.01)
os.setsid()
say('READY=1', 'STATUS=detached'); time.sleep(1000)
";
    // The main process ends as soon as it has named the next one: its last words are received before its end counts.
    let hands_over = "pid = os.fork()
if pid: say('READY=1', f'MAINPID={pid}'); os._exit(3)
time.sleep(1000)
";
    let more = "ready = \"notify\"\ntty = false";
    let mut config = speaker(&stage, "detached", more, detaches);
    for number in 0..20 {
        config += &speaker(&stage, &format!("next{number}"), more, hands_over);
    }
    let mut daemon = Launch::on(&stage).config(config).start();
    daemon.wait_all("RUNNING");
    wait_for_detail(&daemon, "detached", "detached");
    for number in 0..20 {
        let name = format!("next{number}");
        until("a main process that is not the first", PATIENCE, || {
            let row = daemon.row(&name);
            assert_eq!(row.state(), "RUNNING", "{row:?}\n{}", daemon.said());
            row.pid().filter(|pid| is_alive(*pid))
        });
    }
    daemon.shut_down();
}

#[test]
fn nobody_takes_anothers_process_for_his_own() {
    let _ = need!("python3");
    let stage = Stage::new();
    let steals = format!(
        "victim = open('{}').read()\nsay('READY=1', 'MAINPID=' + victim)\ntime.sleep(0.1); os._exit(0)\n",
        stage.at("victim")
    );
    let victim = shell(
        "victim",
        &format!("printf $$ > {}; exec sleep infinity", stage.at("victim")),
        "",
    );
    let thief = speaker(
        &stage,
        "thief",
        "ready = \"notify\"\ntty = false\ndepends_on = \"victim\"\nwait_after = 1",
        &steals,
    );
    let daemon = Launch::on(&stage).config(victim + &thief).start();
    wait_for_detail(&daemon, "thief", "completed");
    let pid = daemon.pid_of("victim");
    assert_eq!(daemon.row("victim").state(), "RUNNING");
    daemon.cli_ok(&["stop", "victim"]);
    assert!(!is_alive(pid));
}

#[test]
fn a_stranger_is_not_believed_and_is_told_of_once() {
    let _ = need!("python3");
    let stage = Stage::new();
    let tells = format!(
        "open('{}', 'w').write(os.environ['NOTIFY_SOCKET'])\ntime.sleep(1000)\n",
        stage.at("address")
    );
    let daemon = Launch::on(&stage)
        .config(
            speaker(&stage, "web", "ready = \"notify\"", &tells)
                + &shell(
                    "other",
                    "echo \"<$NOTIFY_SOCKET>\"; exec sleep infinity",
                    "",
                ),
        )
        .start();
    daemon.out.wait_for("[other] <>", PATIENCE);
    let address = until("the address", PATIENCE, || {
        Some(stage.read("address")).filter(|address| !address.is_empty())
    });
    let shout = format!("{SPEAKER}for _ in range(100): say('READY=1')\nprint(os.getpid())\n");
    let output = Command::new("python3")
        .args(["-c", &shout])
        .env("NOTIFY_SOCKET", &address)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    daemon.err.wait_for("is none of its processes", PATIENCE);
    assert_eq!(daemon.row("web").state(), "STARTING");
    let told = daemon
        .err
        .all()
        .iter()
        .filter(|line| line.contains("none of its processes"))
        .count();
    assert_eq!(told, 1, "{}", daemon.said());
}

#[test]
fn a_flood_of_words_holds_nobody_up() {
    let _ = need!("python3");
    let stage = Stage::new();
    let floods =
        "say('READY=1')\nwhile True: say('STATUS=busy', 'WATCHDOG=1', 'X_' + 'x' * 1000 + '=1')\n";
    let mut daemon = Launch::on(&stage)
        .config(speaker(&stage, "web", "ready = \"notify\"", floods) + &sleeper("other", ""))
        .start();
    wait_for_detail(&daemon, "web", "busy");
    for _ in 0..50 {
        daemon.cli_ok(&["restart", "other"]);
    }
    daemon.shut_down();
}

#[test]
fn what_it_said_before_it_ended_counts() {
    let _ = need!("python3");
    let stage = Stage::new();
    // Ready and done in one breath: the end must not overtake the word.
    let config: String = (0..20)
        .map(|number| {
            speaker(
                &stage,
                &format!("s{number}"),
                "ready = \"notify\"",
                "say('READY=1', 'STOPPING=1')\n",
            )
        })
        .chain((0..20).map(|number| shell(&format!("f{number}"), "echo >&3", "ready = { fd = 3 }")))
        .chain((0..20).map(|number| {
            shell(
                &format!("l{number}"),
                "echo done",
                "ready = { log = \"done\" }",
            )
        }))
        .collect();
    let daemon = Launch::on(&stage).config(config).start();
    for row in daemon.wait_all("STOPPED") {
        assert_eq!(row.detail(), "completed", "{}", row.name());
    }
}

#[test]
fn not_ready_in_time_is_ended_with_its_group() {
    let stage = Stage::new();
    let script = "trap '' TERM; sleep 1000 & echo child $!; wait";
    let more = "ready = \"notify\"\nready_timeout = \"300ms\"\nstop_timeout = \"300ms\"";
    let daemon = Launch::on(&stage)
        .config(shell("web", script, more))
        .start();
    let line = daemon.out.wait_for("[web] child ", PATIENCE);
    let child: i32 = line.rsplit(' ').next().unwrap().parse().unwrap();
    daemon.wait_state("web", "FAILED");
    wait_for_detail(&daemon, "web", "not ready after 300ms: waiting for READY=1");
    assert!(!is_alive(child));
}

/// Says in seconds when it began and when it is about to say that it is ready, how long a program of its own took, how
/// old its process was when it began and how much of that it waited for a processor, and how long the daemon had waited
/// for one when it began and when it is ready.
const LINK: &str = "use Time::HiRes 'time'; $| = 1; my $began = time;
sub word { my ($file, $at) = @_; open my $f, '<', $file or return 0; (split / /, <$f>)[$at] }
sub waited { word(\"/proc/$_[0]/schedstat\", 1) / 1e9 }
my @began = (waited($$), waited(getppid));
my $age = word('/proc/uptime', 0) - word(\"/proc/$$/stat\", 21) / 100;
my $before = time; system '/usr/bin/perl', '-MTime::HiRes', '-e', 1; my $own = time - $before;
my @ready = (waited(getppid), time);
printf \"%.6f %.6f %.6f %.6f %.6f %.6f %.6f\\n\", $began, $ready[1], $own, $age, @began, $ready[0];
open my $fd, '>&=', 3; syswrite $fd, \"\\n\"; close $fd; sleep 1000";

/// What a link says, in seconds.
struct Link {
    began: f64,
    ready: f64,
    own: f64,
    age: f64,
    waited: f64,
    daemon_at_begin: f64,
    daemon_at_ready: f64,
}

impl Link {
    fn of(daemon: &Daemon, number: usize) -> Link {
        let name = format!("[{:<3}] ", format!("s{number}"));
        let line = daemon.out.wait_for(&name, PATIENCE);
        let mut words = line.split_once("] ").unwrap().1.split(' ');
        let mut next = || words.next().unwrap().parse().unwrap();
        Link {
            began: next(),
            ready: next(),
            own: next(),
            age: next(),
            waited: next(),
            daemon_at_begin: next(),
            daemon_at_ready: next(),
        }
    }

    /// How long the one after it took from this one's readiness to its first act, without the daemon's waits for a
    /// processor until it had made that process, and that process's own.
    fn until(&self, next: &Link) -> f64 {
        let before = next.began - next.age - self.ready;
        let waited = next.daemon_at_begin - self.daemon_at_ready;
        (before - waited).max(0.0) + next.age - next.waited
    }
}

#[test]
fn a_dependent_starts_as_soon_as_its_dependency_is_ready_and_not_before() {
    let _ = need!("perl");
    let stage = Stage::new();
    const LINKS: usize = 40;
    let config: String = (0..LINKS)
        .map(|number| {
            let mut more = "ready = { fd = 3 }\n".to_owned();
            if number > 0 {
                more += &format!("depends_on = \"s{}\"", number - 1);
            }
            service(&format!("s{number}"), "/usr/bin/perl", &["-e", LINK], &more)
        })
        .collect();
    let daemon = Launch::on(&stage).config(config).start();
    daemon.wait_all("RUNNING");
    let links: Vec<Link> = (0..LINKS).map(|number| Link::of(&daemon, number)).collect();
    let too_early = links.windows(2).find(|two| two[1].began <= two[0].ready);
    assert!(too_early.is_none(), "not ready yet");
    let median = |mut of: Vec<f64>| {
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    let wait = median(links.windows(2).map(|two| two[0].until(&two[1])).collect());
    let own = median(links.iter().map(|link| link.own).collect());
    eprintln!(
        "from ready to the dependent's first act: {:.1} ms; a program of its own: {:.1} ms",
        wait * 1e3,
        own * 1e3
    );
    // The interpreter's start is in both.
    assert!(wait < 0.05 + 5.0 * own, "{wait} beside {own}");
}

/// A filter that refuses getrandom(2), in a container without /dev/urandom.
#[test]
fn a_machine_without_random_numbers_starts_and_is_told_of_readiness() {
    need_root!();
    need!("strace");
    need!("python3");
    let stage = Stage::new();
    let ready = stage.program(
        "ready",
        "#!/usr/bin/env python3\nimport os, socket, time\n\
         name = os.environ['NOTIFY_SOCKET'].replace('@', chr(0), 1)\n\
         s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
         s.sendto(b'READY=1', name)\nprint(os.environ['NOTIFY_SOCKET'], flush=True)\ntime.sleep(1000)\n",
    );
    let config = service("a", &ready, &[], "ready = \"notify\"")
        + &service("b", &ready, &[], "ready = \"notify\"");
    for error in ["ENOSYS", "EPERM", "EAGAIN"] {
        let mounts = "mount --bind /dev/null /dev/urandom && mount --bind /dev/null /dev/random";
        let trace =
            format!("strace -qq -o /dev/null -e trace=getrandom -e inject=getrandom:error={error}");
        let first =
            format!("set -- unshare -m sh -c \"{mounts} && exec \\\"\\$@\\\"\" sh {trace} \"$@\"");
        let daemon = Launch::on(&stage)
            .config(config.clone())
            .shell_first(&first)
            .start();
        daemon.wait_all("RUNNING");
        daemon.out.wait_for_count("go-overlay-notify-", 2, PATIENCE);
        let all = daemon.out.all();
        let names = [payload(&all, "a"), payload(&all, "b")].concat();
        assert!(names.len() == 2 && names[0] != names[1], "{names:?}");
    }
}

/// Receives what the daemon sends to its service manager.
fn manager(stage: &Stage) -> (std::os::unix::net::UnixDatagram, String) {
    let address = stage.at("manager");
    let socket = std::os::unix::net::UnixDatagram::bind(&address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (socket, address)
}

fn next(socket: &std::os::unix::net::UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let count = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

/// The next datagram with this in it, and those before it.
fn next_with(socket: &std::os::unix::net::UnixDatagram, text: &str) -> Vec<String> {
    let mut all = vec![next(socket)];
    while !all.last().unwrap().contains(text) {
        all.push(next(socket));
    }
    all
}

#[test]
fn the_service_manager_above_learns_when_all_are_up_and_when_they_go() {
    let stage = Stage::new();
    let go = fifo(&stage, "go");
    let (socket, address) = manager(&stage);
    let config = shell(
        "late",
        &format!("read x < {go}; echo >&3; exec sleep infinity"),
        "ready = { fd = 3 }",
    ) + &shell("job", "exit 0", "")
        + &shell("off", "exit 1", "enabled = false")
        + &shell(
            "other",
            "echo \"<$NOTIFY_SOCKET>\"; exec sleep infinity",
            "",
        );
    let mut daemon = Launch::on(&stage)
        .config(config)
        .env("NOTIFY_SOCKET", &address)
        .start();
    daemon.out.wait_for("[other] <>", PATIENCE);
    let before = next_with(
        &socket,
        "STATUS=2 of 3 services up; not up: late (STARTING)",
    );
    assert!(!before.concat().contains("READY=1"), "{before:?}");
    std::fs::write(&go, "\n").unwrap();
    assert_eq!(next(&socket), "READY=1\nSTATUS=3 of 3 services up");
    daemon.cli_ok(&["reload"]);
    let reloading = next(&socket);
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(next(&socket), "READY=1");
    daemon.cli_ok(&["stop", "other"]);
    next_with(
        &socket,
        "STATUS=2 of 3 services up; not up: other (STOPPED)",
    );
    daemon.shut_down();
    let end = next(&socket);
    assert_eq!(end, "STOPPING=1\nSTATUS=shutting down: SIGTERM received");
}

#[test]
fn a_service_manager_without_room_or_gone_holds_nothing_up() {
    let stage = Stage::new();
    let (socket, address) = manager(&stage);
    // Full, until it is read.
    let filler = std::os::unix::net::UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"X=1", &address).is_ok() {}
    let mut daemon = Launch::on(&stage)
        .config(sleeper("web", ""))
        .env("NOTIFY_SOCKET", &address)
        .start();
    daemon.wait_state("web", "RUNNING");
    next_with(&socket, "READY=1");
    daemon.shut_down();
    drop(socket);
    let mut daemon = Launch::on(&stage)
        .config(sleeper("web", ""))
        .env("NOTIFY_SOCKET", &address)
        .start();
    daemon.wait_state("web", "RUNNING");
    daemon
        .err
        .wait_for("cannot report to the service manager", PATIENCE);
    daemon.shut_down();
}
