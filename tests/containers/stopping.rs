//! `docker stop`, signals, and what does not want to go.

use std::time::{Duration, Instant};

use super::support::{PATIENCE, descendants, is_alive, shell, until};
use super::{is_running, three, wait_until_up};

#[test]
fn docker_stop_is_clean_in_reverse_order_and_at_once() {
    let engine = engine!();
    let container = engine.run(&[&three(&engine)]);
    container.wait_for("web up");
    container.stops_within(Duration::from_secs(3));
    let log = container.logs();
    let at = |text: &str| {
        log.find(text)
            .unwrap_or_else(|| panic!("no {text:?} in {log}"))
    };
    assert!(
        at("web down") < at("app down") && at("app down") < at("db down"),
        "{log}"
    );
    assert_eq!(container.exit_code(), 0);
}

/// Seen from the host: between the last service's end and the daemon's. The best of five counts, since a busy
/// machine only adds.
#[test]
fn gone_within_100_ms_of_the_last_services_end() {
    let engine = engine!();
    let image = three(&engine);
    let between = (0..5).map(|_| {
        let container = engine.run(&[&image]);
        container.wait_for("web up");
        let daemon: i32 = container.inspect("{{.State.Pid}}").parse().unwrap();
        container.kill("TERM");
        until("the services to end", PATIENCE, || {
            descendants(daemon).is_empty().then_some(())
        });
        let began = Instant::now();
        while is_alive(daemon) {
            assert!(
                began.elapsed() < PATIENCE,
                "the daemon goes on without services"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        let took = began.elapsed();
        assert_eq!(container.wait(), 0);
        took
    });
    let best = between.min().unwrap();
    assert!(best < Duration::from_millis(100), "{best:?}");
}

#[test]
fn whatever_does_not_want_to_go_is_gone_within_the_bound() {
    let engine = engine!();
    let deaf = "trap '' TERM; while :; do sleep 1; done";
    let services = "[timeouts]\nservice_shutdown_timeout = 1\nglobal_shutdown_timeout = 4\n\n"
        .to_owned()
        + &shell("deaf", deaf, "")
        + &shell("stopped", "kill -STOP $$", "")
        + &shell(
            "session",
            "setsid sh -c \"trap '' TERM; sleep 1000\" & exec sleep 1000",
            "",
        )
        + &shell(
            "forks",
            "(setsid sh -c \"trap '' TERM; sleep 1000\" &) ; exec sleep 1000",
            "",
        );
    let container = engine.run(&[&engine.image("stubborn", &services)]);
    until("all to run", PATIENCE, || {
        container
            .go(&["list"])
            .1
            .matches("RUNNING")
            .count()
            .eq(&4)
            .then_some(())
    });
    let took = container.stop(20);
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(container.exit_code(), 0);
}

#[test]
fn each_signal_does_what_it_says() {
    let engine = engine!();
    let image = three(&engine);
    for signal in ["QUIT", "INT", "TERM", "SIGRTMIN+3"] {
        let container = engine.run(&[&image]);
        container.wait_for("web up");
        container.kill(signal);
        assert_eq!(container.wait(), 0, "{signal}");
        assert!(container.logs().contains("db down"), "{signal}");
    }
    let container = engine.run(&[&image]);
    container.wait_for("web up");
    container.kill("USR1");
    container.wait_for("status: total 3, running 3, failed 0");
    container.kill("HUP");
    container.wait_for("reloaded /services.toml: 3 unchanged");
    for signal in ["USR2", "WINCH"] {
        container.kill(signal);
    }
    wait_until_up(&container);
    assert!(is_running(&container));
}
