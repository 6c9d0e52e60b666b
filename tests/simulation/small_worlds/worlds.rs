//! The worlds themselves.

use std::time::Duration;

use go_overlay::config::model::{
    Condition, Config, Dependency, Health, OnDependencyFailure, OnUnhealthy, Probe, Ready, Restart,
    RestartPolicy, Script, Service, Timeouts,
};
use go_overlay::domain::WaitFor;
use go_overlay::supervisor::client::{Request, Selection};

/// Restarts that a policy allows.
pub const ATTEMPTS: u32 = 2;
/// What can happen in it, beside what processes do and time.
pub struct Small {
    pub name: &'static str,
    pub services: Vec<Service>,
    pub requests: Vec<Request>,
    /// Other versions of the file.
    pub files: Vec<Vec<Service>>,
    /// Programs may be missing.
    pub refusals: bool,
    /// The daemon may find itself unable to go on.
    pub fails: bool,
}

pub fn config(services: &[Service]) -> Config {
    Config {
        timeouts: Timeouts {
            service_shutdown: Duration::from_secs(10),
            global_shutdown: Duration::from_secs(20),
            post_script: Duration::from_secs(10),
            ..Timeouts::default()
        },
        services: services.to_vec(),
    }
}

fn service(name: &str, policy: RestartPolicy) -> Service {
    Service {
        name: name.into(),
        command: "daemon".into(),
        restart: Restart {
            policy,
            delay: Duration::from_secs(10),
            max_delay: Duration::from_secs(10),
            jitter_permille: 0,
            max_attempts: Some(ATTEMPTS),
            reset_after: Duration::from_secs(50),
            ..Restart::default()
        },
        ..Service::default()
    }
}

fn after(on: &str, condition: Condition, service: Service) -> Service {
    let mut depends_on = service.depends_on.clone();
    depends_on.push(Dependency {
        on: on.into(),
        condition,
        wait_after: Duration::ZERO,
    });
    Service {
        depends_on,
        ..service
    }
}

fn of(name: &str) -> Selection {
    Selection {
        services: vec![name.into()],
        ..Selection::default()
    }
}

fn together() -> Selection {
    Selection {
        services: vec!["a".into(), "b".into()],
        ..Selection::default()
    }
}

fn each_of(name: &str) -> Vec<Request> {
    vec![
        Request::Start(of(name)),
        Request::Stop(of(name)),
        Request::Restart(of(name)),
    ]
}

pub fn worlds() -> Vec<Small> {
    use RestartPolicy::{Always, No, OnFailure};
    let alone = |name, service| Small {
        name,
        services: vec![service],
        requests: each_of("a"),
        files: Vec::new(),
        refusals: true,
        fails: false,
    };
    let scripts = Service {
        pre_script: Some(Script::Inline("#!/bin/sh".into())),
        post_script: Some(Script::Inline("#!/bin/sh".into())),
        ..service("a", No)
    };
    let checked = Service {
        health: Some(Box::new(Health {
            probe: Probe::Unix("/run/a".into()),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            retries: 2,
            start_period: Duration::ZERO,
            start_interval: Duration::from_secs(10),
            on_unhealthy: OnUnhealthy::Restart,
        })),
        ..service("a", OnFailure)
    };
    let ready = Service {
        ready: Ready::Notify,
        ready_timeout: Duration::from_secs(10),
        ..service("a", OnFailure)
    };
    let follows = Service {
        on_dependency_failure: OnDependencyFailure::Stop,
        ..service("b", No)
    };
    let required = Service {
        required: true,
        ..service("a", No)
    };
    let pair = |name, first: Service, second: Service, condition| Small {
        requests: [each_of("a"), each_of("b")].concat(),
        services: vec![first, after("a", condition, second)],
        ..alone(name, service("a", No))
    };
    let changed = Service {
        args: vec!["-v".into()],
        ..service("a", No)
    };
    let b_after_a = || after("a", Condition::Started, service("b", No));
    let third = after("a", Condition::Started, service("c", No));
    vec![
        Small {
            fails: true,
            ..alone("one, restarted never", service("a", No))
        },
        alone("one, restarted on failure", service("a", OnFailure)),
        alone("one, restarted always", service("a", Always)),
        alone("one with scripts", scripts),
        alone("one that says when it is ready", ready.clone()),
        alone("one that is checked", checked.clone()),
        pair(
            "two in order",
            service("a", No),
            service("b", No),
            Condition::Started,
        ),
        pair(
            "two, the first restarted",
            service("a", OnFailure),
            service("b", No),
            Condition::Started,
        ),
        pair(
            "two, the second when the first is ready",
            ready,
            service("b", No),
            Condition::Started,
        ),
        pair(
            "two, the second when the first is well",
            checked,
            service("b", No),
            Condition::Healthy,
        ),
        pair(
            "two, the second when the first is done",
            service("a", No),
            service("b", No),
            Condition::Completed,
        ),
        pair(
            "two, the second ends with the first",
            service("a", OnFailure),
            follows,
            Condition::Started,
        ),
        pair(
            "two, the first required",
            required,
            service("b", No),
            Condition::Started,
        ),
        Small {
            requests: vec![Request::Restart(Selection {
                with_dependents: true,
                ..of("a")
            })],
            services: vec![service("a", OnFailure), b_after_a()],
            ..alone("two, restarted together", service("a", No))
        },
        Small {
            requests: vec![
                Request::Stop(together()),
                Request::Restart(together()),
                Request::Start(of("b")),
                Request::Stop(of("a")),
            ],
            services: vec![service("a", OnFailure), b_after_a()],
            ..alone("two, stopped together", service("a", No))
        },
        Small {
            requests: vec![Request::Wait {
                service: "b".into(),
                until: WaitFor::Running,
                timeout_ms: Some(10_000),
            }],
            services: vec![service("a", OnFailure), b_after_a()],
            fails: true,
            ..alone("two, one waited for", service("a", No))
        },
        Small {
            requests: Vec::new(),
            services: vec![service("a", No), b_after_a()],
            files: vec![
                vec![changed, b_after_a()],
                vec![service("a", No)],
                vec![service("a", No), service("b", No)],
            ],
            ..alone("two, reloaded", service("a", No))
        },
        Small {
            requests: vec![Request::Stop(of("a")), Request::Start(of("c"))],
            services: vec![
                service("a", No),
                b_after_a(),
                after("b", Condition::Started, service("c", No)),
            ],
            ..alone("three in a row", service("a", No))
        },
        Small {
            requests: vec![Request::Restart(of("a")), Request::Stop(of("b"))],
            services: vec![
                service("a", OnFailure),
                b_after_a(),
                after("b", Condition::Completed, third),
            ],
            ..alone("three, the last after both", service("a", No))
        },
    ]
}
