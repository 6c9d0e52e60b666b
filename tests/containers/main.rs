//! In real containers, on a Docker engine of the tests' own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use support::{Container, Engine, PATIENCE, talker, until};

/// The engine, or a visible skip and a return from the test.
macro_rules! engine {
    () => {{
        need_root!();
        match $crate::support::Engine::shared() {
            Some(engine) => engine,
            None => return $crate::support::skip("Docker is not installed"),
        }
    }};
}

/// The image of a Debian system, or a visible skip and a return from the test.
macro_rules! debian {
    ($engine:expr) => {
        match $engine.debian() {
            Some(image) => image,
            None => return $crate::support::skip("there is no Debian tree"),
        }
    };
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

/// Three that start one after the other: who says that it is up has set its trap, and web is the last to say so.
fn three(engine: &Arc<Engine>) -> String {
    let ready = |more: &str| format!("ready = {{ log = \"up\" }}\n{more}");
    let services = talker("db", &ready(""))
        + &talker("app", &ready("depends_on = \"db\""))
        + &talker("web", &ready("depends_on = \"app\""));
    engine.image("three", &services)
}

mod images;
mod limits;
mod log_driver;
mod main_program;
mod manifests;
mod modest;
mod stopping;
mod swarm;
mod terminal;
mod tini;
