//! In real containers, on a Docker engine of the tests' own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use support::{BUSYBOX, Container, Engine, File, PATIENCE, PROGRAM, shell, sleeper, talker, until};

/// The engine, or a visible skip and a return from the test.
macro_rules! engine {
    () => {{
        need_root!();
        match Engine::shared() {
            Some(engine) => engine,
            None => return support::skip("Docker is not installed"),
        }
    }};
}

/// Waits until every service of a container is up.
fn wait_until_up(container: &Container) {
    until("everything to be up", PATIENCE, || {
        (container.go(&["health"]).0 == 0).then_some(())
    });
}

/// The pids in a container, seen from the engine; none when it has ended.
fn is_running(container: &Container) -> bool {
    container.inspect("{{.State.Running}}") == "true"
}

fn three(engine: &Arc<Engine>) -> String {
    let services = talker("db", "")
        + &talker("app", "depends_on = \"db\"")
        + &talker("web", "depends_on = \"app\"");
    engine.image("three", &services)
}

#[test]
fn from_scratch_with_nothing_but_the_binary_and_a_service() {
    let engine = engine!();
    // The service is the binary once more, with a main program of its own: nothing else is there.
    let services = "[[services]]\nname = \"self\"\ncommand = \"/go-overlay\"\nargs = [\"version\"]\n\
                    restart = { policy = \"always\", delay = 1 }\n";
    engine.build(
        "go-overlay-scratch",
        "FROM scratch\nCOPY go-overlay /go-overlay\nCOPY services.toml /services.toml\nENTRYPOINT [\"/go-overlay\"]\n",
        &[("go-overlay", File::CopyOf(PROGRAM.into())), ("services.toml", File::Text(services))],
    );
    let container = engine.run(&["go-overlay-scratch"]);
    container.wait_for("[self] go-overlay 0");
    let (code, list) = container.go(&["list"]);
    assert!(code == 0 && list.contains("self"), "{list}");
    assert!(container.stop(10) < Duration::from_secs(5));
    assert_eq!(container.exit_code(), 0);
}

#[test]
fn the_dockerfile_of_the_readme() {
    let engine = engine!();
    let services = talker("web", "");
    engine.build(
        "go-overlay-readme",
        &format!(
            "FROM {BUSYBOX}\nCOPY go-overlay /usr/local/bin/go-overlay\nENV PATH=/usr/local/bin:/bin\nCOPY services.toml /services.toml\n\
             ENTRYPOINT [\"/usr/local/bin/go-overlay\"]\nHEALTHCHECK --interval=1s CMD [\"go-overlay\", \"health\"]\n"
        ),
        &[("go-overlay", File::CopyOf(PROGRAM.into())), ("services.toml", File::Text(&services))],
    );
    let container = engine.run(&["go-overlay-readme"]);
    container.wait_for("[web] web up");
    let listed = engine.ok(&["exec", &container.id, "go-overlay", "list"]);
    assert!(listed.contains("RUNNING"), "{listed}");
    until("a healthy container", PATIENCE, || {
        (container.inspect("{{.State.Health.Status}}") == "healthy").then_some(())
    });
    container.stop(10);
    assert_eq!(container.exit_code(), 0);
}

#[test]
fn docker_stop_is_clean_in_reverse_order_and_at_once() {
    let engine = engine!();
    let container = engine.run(&[&three(&engine)]);
    container.wait_for("web up");
    let took = container.stop(10);
    assert!(took < Duration::from_secs(3), "{took:?}");
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
    // Many intervals long nothing moves.
    std::thread::sleep(Duration::from_secs(3));
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

#[test]
fn a_main_program_has_the_containers_input_exit_code_and_signals() {
    let engine = engine!();
    let run = |words: &[&str], input: &str| {
        let mut child = engine
            .command(
                &[
                    &[
                        "run",
                        "--rm",
                        "--network",
                        "none",
                        "--interactive",
                        BUSYBOX,
                        "--",
                    ],
                    words,
                ]
                .concat(),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    assert_eq!(run(&["sh", "-c", "exit 42"], ""), (42, String::new()));
    assert_eq!(run(&["cat"], "hello\n"), (0, "hello\n".into()));
    assert_eq!(run(&["sh", "-c", "kill -9 $$"], "").0, 137);
    assert_eq!(run(&["/no/such"], "").0, 127);
    let trap = "trap 'echo got it; exit 3' TERM; echo up; while :; do sleep 0.1; done";
    let container = engine.run(&[BUSYBOX, "--", "sh", "-c", trap]);
    container.wait_for("up");
    container.stop(10);
    assert_eq!(container.exit_code(), 3);
    assert!(container.logs().contains("got it"));
    // With a terminal.
    let container = engine.run(&[
        "--tty",
        BUSYBOX,
        "--",
        "sh",
        "-c",
        "tty; stty size >/dev/null && echo has a size",
    ]);
    assert_eq!(container.wait(), 0);
    assert!(
        container.logs().contains("/dev/pts/") || container.logs().contains("/dev/console"),
        "{}",
        container.logs()
    );
}

#[test]
fn the_containers_health_follows_a_services() {
    let engine = engine!();
    let health = "health = { exec = [\"test\", \"-e\", \"/ok\"], interval = \"100ms\", retries = 1, on_unhealthy = \"none\" }";
    let image = engine.image("health", &talker("web", health));
    let check = [
        "--health-cmd",
        "/go-overlay health",
        "--health-interval",
        "500ms",
        "--health-retries",
        "1",
        "--health-start-period",
        "1m",
    ];
    let container = engine.run(&[&check[..], &[&image]].concat());
    let becomes = |wanted: &str| {
        until(&format!("a container that is {wanted}"), PATIENCE, || {
            (container.inspect("{{.State.Health.Status}}") == wanted).then_some(())
        });
    };
    becomes("starting");
    engine.ok(&["exec", &container.id, "touch", "/ok"]);
    becomes("healthy");
    engine.ok(&["exec", &container.id, "rm", "/ok"]);
    becomes("unhealthy");
    let log = container.inspect("{{range .State.Health.Log}}{{.Output}}{{end}}");
    assert!(log.contains("web: unhealthy: test -e /ok: exit 1"), "{log}");
    engine.ok(&["exec", &container.id, "touch", "/ok"]);
    becomes("healthy");
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

/// A recipe of the documentation, with the images it begins from replaced by ours.
fn recipe(name: &str) -> String {
    let path = format!(
        "{}/docs/containers/{name}.Dockerfile",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).unwrap();
    // What was built is beside the Dockerfile here: no image can be fetched, and no compiler is in ours.
    let text = text.replace(
        "COPY --from=build /out/usr/local/bin/go-overlay",
        "COPY go-overlay",
    );
    let last = text.rfind("FROM ").unwrap();
    let (base, rest) = text[last..].split_once('\n').unwrap();
    let ours = match base {
        "FROM scratch" | "FROM gcr.io/distroless/static-debian12:nonroot" => "FROM scratch",
        "FROM alpine:latest" | "FROM debian:bookworm-slim" => "FROM go-overlay-busybox",
        other => panic!("{other}: with what is it to be replaced?"),
    };
    let user = if base.ends_with(":nonroot") {
        "\nUSER 65532:65532"
    } else {
        ""
    };
    format!("{ours}{user}\n{rest}")
}

#[test]
fn each_recipe_builds_runs_is_healthy_and_stops() {
    let engine = engine!();
    for name in ["debian", "alpine", "distroless", "scratch"] {
        let tag = format!("go-overlay-recipe-{name}");
        // The application is a static program.
        let services =
            "[[services]]\nname = \"app\"\ncommand = \"/busybox\"\nargs = [\"sleep\", \"1000\"]\n";
        let services = match name {
            "debian" | "alpine" => sleeper("app", ""),
            _ => services.to_owned(),
        };
        let busybox = support::find_program("busybox").unwrap();
        engine.build(
            &tag,
            &recipe(name).replace("COPY app /app", "COPY busybox /busybox"),
            &[
                ("go-overlay", File::CopyOf(PROGRAM.into())),
                ("busybox", File::CopyOf(busybox.into())),
                ("services.toml", File::Text(&services)),
            ],
        );
        let container = engine.run(&["--health-interval", "500ms", &tag]);
        until(&format!("{name} to be healthy"), PATIENCE, || {
            (container.inspect("{{.State.Health.Status}}") == "healthy").then_some(())
        });
        assert!(container.stop(10) < Duration::from_secs(5), "{name}");
        assert_eq!(container.exit_code(), 0, "{name}");
    }
}

#[test]
fn the_founding_dockerfile_with_the_binary_copied() {
    let engine = engine!();
    engine.ok(&["tag", BUSYBOX, "alpine:latest"]);
    engine.build(
        "go-overlay-founding",
        "FROM alpine:latest\nCOPY go-overlay /go-overlay\nRUN chmod +x /go-overlay\nCOPY services.toml /services.toml\n\
         ENTRYPOINT [\"/go-overlay\"]\n",
        &[("go-overlay", File::CopyOf(PROGRAM.into())), ("services.toml", File::Text(&talker("web", "")))],
    );
    let container = engine.run(&["go-overlay-founding"]);
    container.wait_for("[web] web up");
    container.stop(10);
    assert_eq!(container.exit_code(), 0);
}

#[test]
fn the_kubernetes_manifests_are_as_the_published_schema_says() {
    let Some(python) = support::python() else {
        return support::skip("there is no Python environment with kubernetes-validate");
    };
    let program = python.with_file_name("kubernetes-validate");
    let file = format!(
        "{}/docs/containers/kubernetes.yaml",
        env!("CARGO_MANIFEST_DIR")
    );
    let validate = |file: &str| {
        let output = std::process::Command::new(&program)
            .args(["--strict", file])
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let (is_valid, said) = validate(&file);
    assert!(is_valid, "{said}");
    // It would see a slip.
    let stage = support::Stage::new();
    let text = std::fs::read_to_string(file).unwrap();
    let slip = stage.file("slip.yaml", &text.replace("runAsNonRoot", "runAsNotRoot"));
    assert!(!validate(&slip).0);
}
