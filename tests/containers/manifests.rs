//! The files for orchestrators say what their schemas allow.

use std::time::Duration;

use super::support::{self, BUSYBOX, File, PROGRAM, sleeper, until};

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

/// The Compose file of the documentation, brought up as it is but for the network, which there is none here.
#[test]
fn the_compose_file_comes_up_healthy_and_goes_down_clean() {
    let engine = engine!();
    let compose = need!("docker-compose");
    let published = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/containers/compose.yaml");
    let published = std::fs::read_to_string(published).unwrap();
    let network =
        "services: { app: { build: { context: ., network: none }, network_mode: none } }\n";
    let dockerfile = format!(
        "FROM {BUSYBOX}\nCOPY go-overlay /usr/local/bin/go-overlay\nCOPY services.toml /services.toml\n"
    );
    let folder = engine.context(
        "compose",
        &dockerfile,
        &[
            ("go-overlay", File::CopyOf(PROGRAM.into())),
            ("services.toml", File::Text(&sleeper("app", ""))),
            ("compose.yaml", File::Text(&published)),
            ("network.yaml", File::Text(network)),
        ],
    );
    let compose = |words: &[&str]| {
        let output = std::process::Command::new(&compose)
            .args(["--file", "compose.yaml", "--file", "network.yaml"])
            .args(words)
            .env("DOCKER_HOST", engine.address())
            .current_dir(&folder)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{words:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    };
    compose(&["up", "--detach", "--build"]);
    let id = compose(&["ps", "--quiet"]).trim().to_owned();
    until("a healthy container", Duration::from_secs(60), || {
        let health = engine.ok(&["inspect", "--format", "{{.State.Health.Status}}", &id]);
        (health == "healthy").then_some(())
    });
    compose(&["stop"]);
    assert_eq!(
        engine.ok(&["inspect", "--format", "{{.State.ExitCode}}", &id]),
        "0"
    );
    compose(&["down"]);
}
