//! On a cluster of one node: what an orchestrator does with containers in which go-overlay is PID 1.

mod node;

use std::time::Duration;

use super::support::{BUSYBOX, File, PATIENCE, PROGRAM, sleeper, until};
use node::{Load, Node};

/// nginx, which the daemon starts on the port that the task's slot names, and which finishes its requests before
/// it goes. Its configuration is written by a script before it starts.
const WEB: &str = r#"
[timeouts]
service_shutdown_timeout = 5
global_shutdown_timeout = 8

[[services]]
name = "web"
command = "nginx"
args = ["-c", "/tmp/nginx.conf", "-g", "daemon off;"]
stop_signal = "QUIT"
restart = "always"
health = { exec = ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/$((8000 + SLOT))"], interval = "500ms" }
pre_script = '''
#!/bin/bash
cat >/tmp/nginx.conf <<END
worker_processes 1;
pid /tmp/nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    server {
        listen 127.0.0.1:$((8000 + SLOT));
        location / { return 200 "$VERSION from $SLOT"; }
    }
}
END
'''
"#;

/// A server that never gets well.
const ILL: &str = r#"
[[services]]
name = "web"
command = "sleep"
args = ["infinity"]
health = { tcp = "127.0.0.1:1", interval = "200ms", retries = 1, on_unhealthy = "none" }
"#;

fn image(node: &Node, base: &str, tag: &str, services: &str) {
    node.engine.build(
        tag,
        &format!(
            "FROM {base}\nCOPY go-overlay /usr/local/bin/go-overlay\nCOPY services.toml /services.toml\nENV VERSION={tag}\n\
             HEALTHCHECK --interval=300ms --retries=3 --start-period=5s CMD [\"/usr/local/bin/go-overlay\", \"health\"]\n\
             ENTRYPOINT [\"/usr/local/bin/go-overlay\"]\n"
        ),
        &[("go-overlay", File::CopyOf(PROGRAM.into())), ("services.toml", File::Text(services))],
    );
}

#[test]
fn replicas_are_updated_rolled_back_scaled_and_drained_and_no_request_is_lost() {
    need_root!();
    let wrk = need!("wrk");
    let nginx = need!("nginx");
    let Some(node) = Node::start() else {
        return super::support::skip("Docker is not installed");
    };
    let debian = debian!(node.engine);
    image(&node, debian, "first", WEB);
    image(&node, debian, "second", WEB);
    image(&node, debian, "ill", ILL);
    let _front = node.front(&nginx);

    node.ok(&[
        "service",
        "create",
        "--detach",
        "--name",
        "web",
        "--network",
        "host",
        "--replicas",
        "3",
        "--env",
        "SLOT={{.Task.Slot}}",
        "--stop-grace-period",
        "10s",
        "--update-parallelism",
        "1",
        "--update-delay",
        "0s",
        "--update-monitor",
        "3s",
        "--update-failure-action",
        "rollback",
        "--update-max-failure-ratio",
        "0",
        "--rollback-parallelism",
        "1",
        "--rollback-monitor",
        "1s",
        "--restart-delay",
        "0s",
        "first",
    ]);
    node.wait_for_tasks("first", 3);
    until("an answer of each replica", PATIENCE, || {
        let answers: Vec<String> = (1..=3).filter_map(|slot| node.get(8000 + slot)).collect();
        (answers == ["first from 1", "first from 2", "first from 3"]).then_some(())
    });

    // A rolling update: one after the other, each when the one before is healthy.
    let load = Load::start(&node, &wrk);
    node.ok(&["service", "update", "--detach", "--image", "second", "web"]);
    node.wait_for_update("completed");
    node.wait_for_tasks("second", 3);
    load.end_without_a_loss();

    // A bad image: the first of them never gets healthy, and everything goes back.
    let load = Load::start(&node, &wrk);
    node.ok(&["service", "update", "--detach", "--image", "ill", "web"]);
    node.wait_for_update("rollback_completed");
    node.wait_for_tasks("second", 3);
    load.end_without_a_loss();

    let load = Load::start(&node, &wrk);
    node.ok(&["service", "scale", "--detach", "web=10"]);
    node.wait_for_tasks("second", 10);
    node.ok(&["service", "scale", "--detach", "web=3"]);
    node.wait_for_tasks("second", 3);
    load.end_without_a_loss();

    // Drained, every task is told to go, and goes by itself with 0: none is killed.
    let name = node.ok(&["node", "ls", "--quiet"]);
    node.ok(&["node", "update", "--availability", "drain", &name]);
    until("the last container to end", Duration::from_secs(60), || {
        node.ok(&["ps", "--quiet"]).is_empty().then_some(())
    });
    let codes = node.exit_codes("second");
    assert!(
        !codes.is_empty() && codes.iter().all(|code| code == "0"),
        "{codes:?}"
    );
    node.ok(&["node", "update", "--availability", "active", &name]);
    node.wait_for_tasks("second", 3);
    node.ok(&["service", "rm", "web"]);
}

/// The stack file of the documentation, deployed as it is but for the image and the network.
#[test]
fn the_stack_file_can_be_deployed() {
    need_root!();
    let Some(node) = Node::start() else {
        return super::support::skip("Docker is not installed");
    };
    node.engine.build_busybox();
    image(&node, BUSYBOX, "app", &sleeper("app", ""));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let published = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/containers/stack.yaml");
    let published = std::fs::read_to_string(published).unwrap();
    let stack = file(
        "stack.yaml",
        &published.replace("registry.example/app:1", "app"),
    );
    let network = "version: \"3.8\"\nnetworks: { default: { external: true, name: host } }\n";
    let network = file("network.yaml", network);
    let files = ["--compose-file", &stack, "--compose-file", &network];
    node.ok(&[&["stack", "deploy"], &files[..], &["app"]].concat());
    until("three healthy replicas", Duration::from_secs(60), || {
        let replicas = node.ok(&["service", "ls", "--format", "{{.Name}} {{.Replicas}}"]);
        (replicas == "app_app 3/3").then_some(())
    });
    node.ok(&["stack", "rm", "app"]);
    until("all to have gone", Duration::from_secs(60), || {
        node.ok(&["ps", "--quiet"]).is_empty().then_some(())
    });
}
