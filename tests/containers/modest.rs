//! Any user, no privilege, other inits, and coming back.

use std::time::Duration;

use super::support::{PATIENCE, shell, sleeper, talker, until};
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
        let took = container.stop(10);
        assert!(took < Duration::from_secs(5), "{words:?}: {took:?}");
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

#[test]
fn a_pause_is_followed_by_no_burst_of_false_alarms() {
    let engine = engine!();
    let services = talker(
        "web",
        "health = { exec = [\"true\"], interval = \"200ms\", timeout = \"300ms\", retries = 2 }",
    ) + &shell(
        "slow",
        "sleep 1000",
        "ready = { fd = 3 }\nready_timeout = \"1h\"",
    );
    let container = engine.run(&[&engine.image("paused", &services)]);
    container.wait_for("web up");
    until("a healthy service", PATIENCE, || {
        container
            .go(&["wait", "web", "--for", "healthy"])
            .0
            .eq(&0)
            .then_some(())
    });
    engine.ok(&["pause", &container.id]);
    // A minute long, hundreds of intervals, nothing moves.
    std::thread::sleep(Duration::from_secs(60));
    engine.ok(&["unpause", &container.id]);
    for _ in 0..10 {
        let (code, said) = container.go(&["wait", "web", "--for", "healthy", "--timeout", "1s"]);
        assert_eq!(code, 0, "{said}");
    }
    assert!(
        !container.logs().contains("unhealthy"),
        "{}",
        container.logs()
    );
}
