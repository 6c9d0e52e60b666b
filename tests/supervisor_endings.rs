//! The table of policy and way of ending: what follows for the service, for who waits for it, for who runs
//! beside it, and for the container when it was required.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod world;

use std::fmt::Write;
use std::time::Duration;

use go_overlay::base::{ExitStatus, Signal};
use go_overlay::config::model::{
    Condition, Health, OnUnhealthy, Probe, Ready, Restart, RestartPolicy, Script, Service,
};
use world::{World, after, seconds, service};

/// A way for a run to end.
#[derive(Clone, Copy)]
enum Way {
    Exit(u8),
    Killed(Signal),
    OutOfMemory,
    CannotExecute,
    PreScript,
    NotReady,
    Unhealthy,
}

const WAYS: [(&str, Way); 8] = [
    ("exit 0", Way::Exit(0)),
    ("exit 3", Way::Exit(3)),
    ("a signal", Way::Killed(Signal::QUIT)),
    ("out of memory", Way::OutOfMemory),
    ("cannot execute", Way::CannotExecute),
    ("pre-script", Way::PreScript),
    ("not ready", Way::NotReady),
    ("unhealthy", Way::Unhealthy),
];

const POLICIES: [(&str, RestartPolicy); 3] = [
    ("no", RestartPolicy::No),
    ("on-failure", RestartPolicy::OnFailure),
    ("always", RestartPolicy::Always),
];

fn subject(policy: RestartPolicy, way: Way, required: bool) -> Service {
    let mut service = service("s");
    service.required = required;
    service.restart = Restart {
        policy,
        delay: seconds(1),
        jitter_permille: 0,
        max_attempts: Some(2),
        ..Restart::default()
    };
    match way {
        Way::PreScript => service.pre_script = Some(Script::Inline("false\n".into())),
        Way::NotReady => {
            service.ready = Ready::Notify;
            service.ready_timeout = seconds(5);
        }
        Way::Unhealthy => {
            service.health = Some(Box::new(Health {
                probe: Probe::Exec(vec!["check".into()]),
                interval: seconds(1),
                timeout: seconds(1),
                retries: 1,
                start_period: Duration::ZERO,
                start_interval: seconds(1),
                on_unhealthy: OnUnhealthy::Restart,
            }));
        }
        Way::Exit(_) | Way::Killed(_) | Way::OutOfMemory | Way::CannotExecute => {}
    }
    service
}

/// Lets the present run end in its way.
fn end(world: &mut World, way: Way) {
    match way {
        Way::Exit(code) => world.exit_of("s", code),
        Way::Killed(signal) => world.end("s", ExitStatus::Signaled(signal)),
        Way::OutOfMemory => world.end("s", ExitStatus::KilledForMemory),
        Way::CannotExecute => {}
        Way::PreScript => world.exit_of("s", 1),
        Way::NotReady => world.pass(seconds(5)),
        Way::Unhealthy => {
            world.checked("s", Ok(()));
            world.pass(seconds(1));
            world.checked("s", Err("GET /healthz: 503"));
        }
    }
}

fn world(policy: RestartPolicy, way: Way, required: bool) -> World {
    let mut waits = after("waits", &["s"]);
    waits.depends_on[0].condition = Condition::Completed;
    let mut world = World::new(vec![
        subject(policy, way, required),
        waits,
        after("beside", &["s"]),
    ]);
    if matches!(way, Way::CannotExecute) {
        world.broken.push("s".into());
    }
    world.boot()
}

/// The service, who waits for its completion, and who only came after it.
fn shown(world: &World) -> String {
    let cell = |name: &str| {
        let (state, detail) = world.row(name);
        let brackets = if detail.is_empty() {
            String::new()
        } else {
            format!(" ({detail})")
        };
        format!("{state}{brackets}")
    };
    format!(
        "{}; waits: {}; beside: {}",
        cell("s"),
        cell("waits"),
        cell("beside")
    )
}

#[test]
fn what_follows_each_way_of_ending_under_each_policy() {
    let mut table = String::new();
    for (way_name, way) in WAYS {
        for (policy_name, policy) in POLICIES {
            let mut first = world(policy, way, false);
            end(&mut first, way);
            writeln!(table, "{way_name}, {policy_name}").unwrap();
            writeln!(table, "  first:    {}", shown(&first)).unwrap();
            // Again and again, until no restart follows.
            let restarts = |world: &World| world.detail("s").contains("; restarts");
            let mut rounds = 0;
            while restarts(&first) && rounds < 5 {
                let due = first.supervisor.poll_timeout().unwrap().at;
                first.pass(due.since(first.now));
                rounds += 1;
                if !restarts(&first) && !matches!(way, Way::CannotExecute) {
                    end(&mut first, way);
                }
            }
            writeln!(table, "  {rounds} later:  {}", shown(&first)).unwrap();
            let mut last = world(policy, way, true);
            for _ in 0..=rounds {
                if last.exit.is_none() && !restarts(&last) {
                    end(&mut last, way);
                }
                if let Some(due) = last.supervisor.poll_timeout().filter(|_| restarts(&last)) {
                    last.pass(due.at.since(last.now));
                }
            }
            let exit = last
                .exit
                .map_or("runs on".to_owned(), |code| format!("exits {code}"));
            writeln!(table, "  required: the container {exit}\n").unwrap();
        }
    }
    insta::assert_snapshot!("endings", table);
}
