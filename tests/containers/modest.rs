//! Any user, no privilege, other inits, and coming back.

use std::time::Duration;

use super::support::{File, PATIENCE, PROGRAM, service, shell, sleeper, talker, until};
use super::{three, wait_until_up};

#[test]
fn any_user_a_read_only_root_and_no_privilege_at_all() {
    let engine = engine!();
    let image = engine.image(
        "modest",
        &(talker("web", "health = { exec = [\"true\"] }") + &sleeper("idle", "")),
    );
    let all = [
        "--user",
        "12345:12345",
        "--read-only",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
    ];
    let settings: [&[&str]; 8] = [
        &["--user", "12345:12345"],
        &["--read-only"],
        &["--cap-drop", "ALL"],
        &["--security-opt", "no-new-privileges"],
        &all,
        &[&all[..], &["--tmpfs", "/run", "--tmpfs", "/tmp"]].concat(),
        &[
            &all[..],
            &["--tmpfs", "/run:noexec", "--tmpfs", "/tmp:noexec"],
        ]
        .concat(),
        &["--tmpfs", "/run:noexec,mode=755"],
    ];
    for words in settings {
        let container = engine.run(&[words, &[&image]].concat());
        container.wait_for("web up");
        wait_until_up(&container);
        let (code, list) = container.go(&["list"]);
        assert!(
            code == 0 && list.matches("RUNNING").count() == 2,
            "{words:?}: {list}"
        );
        let (code, said) = container.go(&["restart", "web"]);
        assert!(code == 0, "{words:?}: {said}");
        container.stops_within(Duration::from_secs(5));
        assert_eq!(container.exit_code(), 0, "{words:?}");
    }
}

#[test]
fn beside_another_init_and_in_the_hosts_pid_namespace() {
    let engine = engine!();
    let image = three(&engine);
    for words in [["--init"].as_slice(), &["--pid", "host"]] {
        let container = engine.run(&[words, &[&image]].concat());
        container.wait_for("web up");
        wait_until_up(&container);
        container.stop(10);
        assert_eq!(container.exit_code(), 0, "{words:?}");
        assert!(container.logs().contains("db down"), "{words:?}");
    }
}

#[test]
fn a_second_daemon_is_refused_and_a_container_comes_back_after_a_kill() {
    let engine = engine!();
    let container = engine.run(&[&three(&engine)]);
    container.wait_for("web up");
    let (code, said) = container.go(&[]);
    assert!(
        code == 1 && said.contains("already running") && said.contains("RUNNING"),
        "{said}"
    );
    // Its socket is left over, and in the way of nobody.
    container.kill("KILL");
    container.wait();
    for again in [&["start"], &["restart"]] {
        engine.ok(&[&again[..], &[&container.id]].concat());
        wait_until_up(&container);
    }
    assert_eq!(container.logs().matches("web up").count(), 3);
}

/// A check under way, a watchdog about to be fed, a start that takes its time: none of them is to blame.
#[test]
fn a_pause_of_a_minute_is_followed_by_no_false_alarm() {
    let engine = engine!();
    let debian = debian!(engine);
    let feed = "use Socket; my $at = $ENV{NOTIFY_SOCKET}; $at =~ s/^@/\\0/; $at = pack_sockaddr_un($at);\n\
                socket(S, AF_UNIX, SOCK_DGRAM, 0); send(S, 'READY=1', 0, $at);\n\
                while (1) { send(S, 'WATCHDOG=1', 0, $at); select undef, undef, undef, 0.3 }";
    let services = shell(
        "checked",
        "echo checked up; sleep infinity",
        "health = { exec = [\"sleep\", \"1\"], interval = \"10ms\", timeout = \"4s\", retries = 1 }",
    ) + &service(
        "fed",
        "perl",
        &["-e", feed],
        "ready = \"notify\"\nwatchdog = \"1s\"",
    ) + &shell(
        "starts",
        "sleep 20; echo >&3; sleep infinity",
        "ready = { fd = 3 }\nready_timeout = \"40s\"",
    );
    engine.build(
        "go-overlay-paused",
        &format!("FROM {debian}\nCOPY go-overlay /go-overlay\nCOPY services.toml /services.toml\nENTRYPOINT [\"/go-overlay\"]\n"),
        &[("go-overlay", File::CopyOf(PROGRAM.into())), ("services.toml", File::Text(&services))],
    );
    let container = engine.run(&["go-overlay-paused"]);
    container.wait_for("fed: STARTING -> RUNNING");
    until("a healthy service", PATIENCE, || {
        let (code, _) = container.go(&["wait", "checked", "--for", "healthy"]);
        (code == 0).then_some(())
    });
    engine.ok(&["pause", &container.id]);
    // A minute long, thousands of intervals, nothing moves.
    std::thread::sleep(Duration::from_secs(60));
    engine.ok(&["unpause", &container.id]);
    container.wait_for("did not run for ");
    container.wait_for("starts: STARTING -> RUNNING");
    let log = container.logs();
    for alarm in ["unhealthy", "FAILED", "restarts"] {
        assert!(!log.contains(alarm), "{log}");
    }
    let (code, said) = container.go(&["health"]);
    assert_eq!(code, 0, "{said}");
}
