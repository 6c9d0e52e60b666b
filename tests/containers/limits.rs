//! HEALTHCHECK, and limits on processes, memory and processors.

use std::time::Duration;

use super::support::{File, PATIENCE, PROGRAM, shell, sleeper, until};
use super::{is_running, three, wait_until_up};

#[test]
fn the_containers_health_follows_a_real_servers() {
    let engine = engine!();
    let debian = debian!(engine);
    let services = "[[services]]\nname = \"nginx\"\ncommand = \"nginx\"\n\
                    args = [\"-g\", \"daemon off; master_process off;\"]\n\
                    pre_script = \"until [ -e /go ]; do sleep 0.1; done\\n\"\n\
                    health = { http = \"http://127.0.0.1:80/\", interval = \"200ms\", timeout = \"300ms\", \
                    retries = 1, on_unhealthy = \"none\" }\n";
    engine.build(
        "go-overlay-health",
        &format!(
            "FROM {debian}\nCOPY go-overlay /go-overlay\nCOPY services.toml /services.toml\n\
             HEALTHCHECK --interval=500ms --retries=1 --start-period=1m CMD [\"/go-overlay\", \"health\"]\n\
             ENTRYPOINT [\"/go-overlay\"]\n"
        ),
        &[("go-overlay", File::CopyOf(PROGRAM.into())), ("services.toml", File::Text(services))],
    );
    let container = engine.run(&["go-overlay-health"]);
    let becomes = |wanted: &str| {
        until(&format!("a container that is {wanted}"), PATIENCE, || {
            (container.inspect("{{.State.Health.Status}}") == wanted).then_some(())
        });
    };
    let does = |words: &[&str]| {
        let (code, said) = container.go(words);
        assert_eq!(code, 0, "{said}");
    };
    becomes("starting");
    engine.ok(&["exec", &container.id, "touch", "/go"]);
    becomes("healthy");
    // It hangs: it still listens, and answers nobody.
    does(&["signal", "nginx", "STOP"]);
    becomes("unhealthy");
    let log = container.inspect("{{range .State.Health.Log}}{{.Output}}{{end}}");
    assert!(
        log.contains("nginx: unhealthy: GET /: no answer within 300ms"),
        "{log}"
    );
    does(&["signal", "nginx", "CONT"]);
    becomes("healthy");
    container.stop(10);
    assert_eq!(container.exit_code(), 0);
}

#[test]
fn with_too_few_processes_a_start_fails_and_is_tried_again() {
    let engine = engine!();
    let policy = "restart = { policy = \"on-failure\", delay = \"200ms\", max_delay = \"200ms\" }";
    let services: String = (0..12)
        .map(|number| shell(&format!("s{number}"), "exec sleep 1000", policy))
        .collect();
    let container = engine.run(&["--pids-limit", "8", &engine.image("few", &services)]);
    container.wait_for("cannot start a process for");
    // It says so, lives on, and loses none: when there is room again they start.
    assert!(is_running(&container));
    engine.ok(&["update", "--pids-limit", "100", &container.id]);
    wait_until_up(&container);
    container.stop(10);
    assert_eq!(container.exit_code(), 0);
}

#[test]
fn a_service_that_is_killed_for_memory_is_said_to_be() {
    let engine = engine!();
    let eats = "sleep 1; x=0123456789012345; while :; do x=$x$x; done";
    let services = shell(
        "hungry",
        eats,
        "oom_score_adj = 1000\nrestart = { policy = \"on-failure\", delay = \"1h\", max_delay = \"1h\" }",
    ) + &sleeper("calm", "");
    let container = engine.run(&[
        "--memory",
        "32m",
        "--memory-swap",
        "32m",
        &engine.image("hungry", &services),
    ]);
    container.wait_for("hungry: RUNNING -> FAILED (killed for memory; restarts in");
    // Another SIGKILL is no such thing.
    let (_, list) = container.go(&["list", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&list).unwrap();
    let calm = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == "calm")
        .unwrap();
    engine.ok(&[
        "exec",
        &container.id,
        "kill",
        "-9",
        &calm["pid"].to_string(),
    ]);
    container.wait_for("calm: RUNNING -> FAILED (killed by SIGKILL)");
}

#[test]
fn on_a_tenth_of_a_processor_it_still_stops_in_time() {
    let engine = engine!();
    let container = engine.run(&["--cpus", "0.1", &three(&engine)]);
    container.wait_for("web up");
    let took = container.stop(20);
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(container.exit_code(), 0);
}
