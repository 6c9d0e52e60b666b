//! The pure supervisor in its virtual world: starting, stopping, shutdown, and what clients ask for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "supervisor/spawn.rs"]
mod spawn;
mod world;

use std::time::Duration;

use go_overlay::base::{ClientId, ExitStatus, Signal};
use go_overlay::config::model::{
    Condition, Config, OnDependencyFailure, Ready, Restart, RestartPolicy, Script, Service,
};
use go_overlay::control::message::{Request, Response, Selection, State, WaitFor};
use go_overlay::supervisor::event::{Event, Role, Word};
use world::{CLIENT, World, after, named, seconds, service};

#[test]
fn services_start_at_once_and_dependents_after_their_dependency() {
    let world = World::new(vec![after("web", &["db"]), service("db"), service("cache")]).boot();
    assert!(world.at("db STARTING->RUNNING") < world.at("spawn web"));
    assert_eq!(world.state("web"), State::Running);
    assert_eq!(world.state("cache"), State::Running);
}

#[test]
fn wait_after_passes_before_a_dependent_starts() {
    let mut web = after("web", &["db"]);
    web.depends_on[0].wait_after = seconds(2);
    let mut world = World::new(vec![service("db"), web]).boot();
    assert_eq!(
        world.row("web"),
        (State::Pending, "waiting 2s after db".into())
    );
    world.pass(Duration::from_millis(1999));
    world.never("spawn web");
    world.pass(Duration::from_millis(1));
    assert_eq!(world.state("web"), State::Running);
}

#[test]
fn a_completed_one_shot_lets_its_dependents_start_and_a_failed_one_fails_them() {
    let migrated = |code| {
        let mut web = after("web", &["migrate"]);
        web.depends_on[0].condition = Condition::Completed;
        let mut world = World::new(vec![service("migrate"), web]).boot();
        assert_eq!(
            world.row("web"),
            (State::Pending, "waiting for migrate".into())
        );
        world.exit_of("migrate", code);
        world
    };
    assert_eq!(migrated(0).state("web"), State::Running);
    assert_eq!(
        migrated(3).row("web"),
        (State::Failed, "dependency migrate failed".into())
    );
    assert_eq!(migrated(3).row("migrate"), (State::Failed, "exit 3".into()));
}

#[test]
fn a_program_that_cannot_be_executed_fails_its_service_and_all_who_wait_for_it() {
    let mut world = World::new(vec![
        service("redis"),
        after("migrate", &["redis"]),
        after("web", &["migrate"]),
    ]);
    world.broken.push("redis".into());
    let world = world.boot();
    assert_eq!(
        world.row("redis"),
        (State::Failed, "cannot execute it: Exec format error".into())
    );
    assert_eq!(world.detail("migrate"), "dependency redis failed");
    assert_eq!(world.detail("web"), "dependency migrate failed");
    world.never("spawn web");
}

#[test]
fn a_dependency_that_is_merely_slow_fails_its_dependents_in_the_end() {
    let slow = Service {
        pre_script: Some(Script::Path("/setup".into())),
        ..service("slow")
    };
    let mut world = World::new(vec![slow, after("web", &["slow"])]).boot();
    world.pass(seconds(299));
    assert_eq!(
        world.row("web"),
        (State::Pending, "waiting for slow".into())
    );
    world.pass(seconds(1));
    assert_eq!(
        world.row("web"),
        (State::Failed, "dependency slow not up after 5m".into())
    );
    assert_eq!(world.row("slow"), (State::Starting, "pre-script".into()));
}

#[test]
fn a_pre_script_runs_first_and_its_failure_is_the_services() {
    let scripted = || Service {
        pre_script: Some(Script::Path("/setup".into())),
        ..service("web")
    };
    let mut world = World::new(vec![scripted()]).boot();
    world.exit_of("web", 0);
    assert!(world.at("spawn web PreScript") < world.at("spawn web Main"));
    assert_eq!(world.state("web"), State::Running);

    let mut world = World::new(vec![scripted()]).boot();
    world.exit_of("web", 4);
    assert_eq!(
        world.row("web"),
        (State::Failed, "pre-script: exit 4".into())
    );
    world.never("spawn web Main");
}

#[test]
fn a_post_script_runs_later_if_the_service_is_still_up_or_completed() {
    let scripted = || Service {
        post_script: Some(Script::Path("/after".into())),
        ..service("web")
    };
    let mut world = World::new(vec![scripted()]).boot();
    world.pass(Duration::from_millis(6999));
    world.never("spawn web PostScript");
    world.pass(Duration::from_millis(1));
    assert_eq!(world.detail("web"), "post-script");
    let job = *world
        .alive
        .iter()
        .find(|(_, (_, role))| *role == Role::PostScript)
        .unwrap()
        .0;
    world.end_job(job, ExitStatus::Exited(1));
    world.at("web post-script failed: exit 1");
    assert_eq!(world.row("web"), (State::Running, String::new()));

    let mut world = World::new(vec![scripted()]).boot();
    world.exit_of("web", 0);
    world.pass(seconds(7));
    world.at("spawn web PostScript");

    let mut world = World::new(vec![scripted()]).boot();
    world.exit_of("web", 1);
    world.pass(seconds(60));
    world.never("spawn web PostScript");
}

#[test]
fn a_shutdown_stops_in_reverse_order_and_ends_with_0() {
    let mut world = World::new(vec![
        service("db"),
        after("migrate", &["db"]),
        after("web", &["migrate"]),
    ])
    .boot();
    world.tell(Event::ShutdownSignal(Signal::TERM));
    assert!(world.at("web STOPPING->STOPPED") < world.at("SIGTERM migrate"));
    assert!(world.at("migrate STOPPING->STOPPED") < world.at("SIGTERM db"));
    assert!(world.at("db STOPPING->STOPPED") < world.at("strays SIGTERM"));
    assert_eq!(world.exit, Some(0));
}

#[test]
fn a_daemon_that_cannot_do_its_work_ends_everything_in_order_with_1() {
    let mut world = World::new(vec![service("db"), after("web", &["db"])]).boot();
    let reason = "cannot wait for events: Bad file descriptor".to_owned();
    world.tell(Event::Unable { reason });
    assert!(world.at("web STOPPING->STOPPED") < world.at("SIGTERM db"));
    assert_eq!(world.exit, Some(1));
}

#[test]
fn a_deaf_service_is_killed_after_its_grace_and_not_before() {
    let mut world = World::new(vec![service("db"), after("web", &["db"])]).boot();
    world.obedient = false;
    world.tell(Event::ShutdownSignal(Signal::TERM));
    world.pass(Duration::from_millis(9_999));
    world.never("SIGKILL");
    assert_eq!(world.state("db"), State::Running);
    world.pass(Duration::from_millis(1));
    assert!(world.at("SIGKILL web") < world.at("SIGTERM db"));
    world.at("web STOPPING->STOPPED killed after 10s");
    world.pass(seconds(10));
    assert_eq!(world.exit, Some(0));
}

#[test]
fn whoever_has_not_ended_after_a_moment_may_be_stopped_and_gets_sigcont_once() {
    let mut world = World::new(vec![service("slow"), service("quick")]).boot();
    world.obedient = false;
    world.tell(Event::ShutdownSignal(Signal::TERM));
    world.end("quick", ExitStatus::Signaled(Signal::TERM));
    world.pass(Duration::from_millis(9));
    world.never("SIGCONT");
    world.pass(Duration::from_millis(1));
    world.at("SIGCONT slow");
    world.never("SIGCONT quick");
    world.pass(seconds(9));
    let sent = world.log.iter().filter(|line| line.starts_with("SIGCONT"));
    assert_eq!(sent.count(), 1);
    world.never("SIGKILL");
}

#[test]
fn a_grace_shorter_than_a_moment_is_kept() {
    let hurried = Service {
        stop_timeout: Some(Duration::from_millis(5)),
        ..service("web")
    };
    let mut world = World::new(vec![hurried]).boot();
    world.obedient = false;
    world.tell(Event::ShutdownSignal(Signal::TERM));
    world.pass(Duration::from_millis(5));
    world.never("SIGCONT");
    world.at("web STOPPING->STOPPED killed after 5ms");
    assert_eq!(world.exit, Some(0));
}

#[test]
fn the_global_bound_kills_whatever_is_left() {
    let mut config = Config {
        services: vec![service("db"), after("web", &["db"])],
        ..Config::default()
    };
    config.timeouts.global_shutdown = seconds(3);
    let mut world = World::with(config, None).boot();
    world.obedient = false;
    world.tell(Event::ShutdownSignal(Signal::TERM));
    world.pass(seconds(3));
    world.at("kill all: global_shutdown_timeout of 3s is over");
    world.never("SIGTERM db");
    assert_eq!(world.exit, Some(0));
}

#[test]
fn a_second_term_or_int_kills_at_once_and_a_second_quit_does_not() {
    let mut world = World::new(vec![service("web")]).boot();
    world.obedient = false;
    world.tell(Event::ShutdownSignal(Signal::QUIT));
    world.tell(Event::ShutdownSignal(Signal::QUIT));
    assert_eq!(world.exit, None);
    world.tell(Event::ShutdownSignal(Signal::INT));
    assert_eq!(world.exit, Some(0));
}

#[test]
fn strays_get_a_moment_between_sigterm_and_sigkill() {
    let mut world = World::new(vec![service("web")]).boot();
    world.strays = true;
    world.tell(Event::ShutdownSignal(Signal::TERM));
    world.pass(Duration::from_millis(499));
    world.never("strays SIGKILL");
    world.pass(Duration::from_millis(1));
    world.at("strays SIGKILL");
    world.tell(Event::ChildrenGone);
    assert_eq!(world.exit, Some(0));
}

#[test]
fn a_required_service_takes_the_system_with_it_and_gives_its_code() {
    let required = Service {
        required: true,
        ..after("web", &["db"])
    };
    let mut world = World::new(vec![service("db"), required]).boot();
    world.exit_of("web", 42);
    world.at("down: required service web failed: exit 42");
    assert_eq!(world.exit, Some(42));

    let required = Service {
        required: true,
        ..service("web")
    };
    let mut world = World::new(vec![required]).boot();
    world.end("web", ExitStatus::Signaled(Signal::KILL));
    assert_eq!(world.exit, Some(137));
}

#[test]
fn restarting_a_required_service_is_no_failure_and_nobody_else_notices() {
    let required = Service {
        required: true,
        ..service("web")
    };
    let mut world = World::new(vec![required, after("worker", &["web"])]).boot();
    let before = world.log.len();
    world.request(Request::Restart(named(&["web"])));
    assert_eq!(world.state("web"), State::Running);
    assert_eq!(world.exit, None);
    assert!(
        !world.log[before..]
            .iter()
            .any(|line| line.contains("worker")),
        "{:#?}",
        &world.log[before..]
    );
    let Some(Response::Outcome { ok: true, services }) = world.replies.last() else {
        panic!("{:?}", world.replies)
    };
    assert_eq!(services[0].state, State::Running);
    assert_eq!(world.list()[0].restarts, 1);
}

#[test]
fn restart_with_dependents_goes_down_and_up_in_order() {
    let mut world = World::new(vec![service("db"), after("web", &["db"]), service("other")]).boot();
    world.log.clear();
    world.request(Request::Restart(Selection {
        with_dependents: true,
        ..named(&["db"])
    }));
    assert!(world.at("web STOPPING->PENDING") < world.at("SIGTERM db"));
    assert!(world.at("db STARTING->RUNNING") < world.at("spawn web"));
    world.never("other");
    assert_eq!(world.state("web"), State::Running);
    assert_eq!(world.replies.len(), 1);
}

#[test]
fn starting_a_service_starts_what_it_depends_on() {
    let mut world = World::new(vec![service("db"), after("web", &["db"])]).boot();
    world.request(Request::Stop(Selection {
        all: true,
        ..Selection::default()
    }));
    assert_eq!(
        (world.state("db"), world.state("web")),
        (State::Stopped, State::Stopped)
    );
    world.request(Request::Start(named(&["web"])));
    assert_eq!(
        (world.state("db"), world.state("web")),
        (State::Running, State::Running)
    );
    assert_eq!(world.replies.len(), 2);
}

#[test]
fn a_stop_waits_until_the_service_is_down_and_a_start_during_it_follows() {
    let mut world = World::new(vec![service("web")]).boot();
    world.obedient = false;
    world.request(Request::Stop(named(&["web"])));
    assert!(world.replies.is_empty());
    world.request_of(ClientId(2), Request::Start(named(&["web"])));
    world.exit_of("web", 1);
    assert_eq!(world.state("web"), State::Running);
}

#[test]
fn every_client_gets_one_answer_even_when_the_daemon_ends() {
    let mut world = World::new(vec![service("web")]).boot();
    let wait = Request::Wait {
        service: "web".into(),
        until: WaitFor::Completed,
        timeout_ms: None,
    };
    world.request(wait);
    assert!(world.replies.is_empty());
    world.tell(Event::ShutdownSignal(Signal::TERM));
    assert_eq!(world.replies.len(), 1);
    assert_eq!(world.exit, Some(0));
}

#[test]
fn a_wait_ends_at_its_time() {
    let mut world = World::new(vec![service("web")]).boot();
    world.request(Request::Wait {
        service: "web".into(),
        until: WaitFor::Stopped,
        timeout_ms: Some(1500),
    });
    world.pass(Duration::from_millis(1499));
    assert!(world.replies.is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.replies.len(), 1);
}

#[test]
fn an_unknown_service_gets_a_suggestion() {
    let mut world = World::new(vec![service("redis")]).boot();
    world.request(Request::Stop(named(&["reddis"])));
    let Some(Response::Error {
        hint: Some(hint), ..
    }) = world.replies.last()
    else {
        panic!("{:?}", world.replies)
    };
    assert_eq!(hint, "did you mean \"redis\"?");
}

#[test]
fn a_disabled_service_is_listed_and_not_started() {
    let world = World::new(vec![Service {
        enabled: false,
        ..service("web")
    }])
    .boot();
    assert_eq!(world.row("web"), (State::Stopped, "disabled".into()));
    assert!(world.alive.is_empty());
}

#[test]
fn the_main_program_starts_last_and_its_end_is_the_end() {
    let config = || Config {
        services: vec![service("db"), after("web", &["db"])],
        ..Config::default()
    };
    let mut world = World::with(config(), Some(service("main program"))).boot();
    assert!(world.at("web STARTING->RUNNING") < world.at("spawn main program"));
    assert_eq!(world.list().len(), 2);
    world.exit_of("main program", 7);
    assert_eq!(world.exit, Some(7));

    let mut world = World::with(config(), Some(service("main program"))).boot();
    world.tell(Event::ShutdownSignal(Signal::TERM));
    assert!(world.at("SIGTERM main program") < world.at("SIGTERM web"));
    assert_eq!(world.exit, Some(143));
}

#[test]
fn a_shutdown_in_the_middle_of_a_start_cancels_scripts_and_waits() {
    let scripted = Service {
        pre_script: Some(Script::Path("/setup".into())),
        ..service("db")
    };
    let mut world = World::new(vec![scripted, after("web", &["db"])]).boot();
    world.tell(Event::ShutdownSignal(Signal::TERM));
    world.at("SIGTERM db PreScript");
    world.never("spawn db Main");
    world.never("spawn web");
    assert_eq!(world.exit, Some(0));
}

/// 50 layers of 10 services, each depending on the whole layer before.
fn layers() -> Vec<Service> {
    let name = |layer: usize, index: usize| format!("s{layer}-{index}");
    let mut services = Vec::new();
    for layer in 0..50 {
        for index in 0..10 {
            let on: Vec<String> = if layer == 0 {
                vec![]
            } else {
                (0..10).map(|i| name(layer - 1, i)).collect()
            };
            let on: Vec<&str> = on.iter().map(String::as_str).collect();
            services.push(after(&name(layer, index), &on));
        }
    }
    services
}

#[test]
fn five_hundred_services_in_a_deep_graph_start_in_order_with_the_same_trace_each_time() {
    let run = || {
        let mut world = World::new(layers()).boot();
        let mut last = 0;
        for layer in 0..50 {
            let first = world.at(&format!("spawn s{layer}-"));
            assert!(first >= last, "layer {layer} began early");
            last = (0..10)
                .map(|index| world.at(&format!("s{layer}-{index} STARTING->RUNNING")))
                .max()
                .unwrap();
        }
        world.tell(Event::ShutdownSignal(Signal::TERM));
        assert_eq!(world.exit, Some(0));
        world.log
    };
    let first = run();
    assert!(first.len() > 3000);
    assert_eq!(first, run());
}

const ANOTHER: ClientId = ClientId(2);

fn asks(world: &mut World, request: Request) {
    let client = ANOTHER;
    world.request_of(client, request);
}

fn reload(world: &mut World, services: Vec<Service>) {
    let config = Config {
        services,
        ..Config::default()
    };
    world.tell(Event::Reload(Box::new(config)));
}

fn disabled(service: Service) -> Service {
    Service {
        enabled: false,
        ..service
    }
}

fn with_dependents(name: &str) -> Selection {
    Selection {
        with_dependents: true,
        ..named(&[name])
    }
}

fn all() -> Selection {
    Selection {
        all: true,
        ..Selection::default()
    }
}

/// Whether the first client has its answer.
fn is_answered(world: &World) -> bool {
    world.answered.contains(&CLIENT)
}

/// That answer: whether it is good, each service's state, and the words beside it.
fn outcome(world: &World) -> (bool, Vec<(State, String)>) {
    let mut replies = world.answered.iter().zip(&world.replies);
    let Some((_, Response::Outcome { ok, services })) = replies.find(|(of, _)| **of == CLIENT)
    else {
        panic!("no outcome: {:?} after {:#?}", world.replies, world.log)
    };
    let words = services.iter();
    let words = words.map(|service| (service.state, service.detail.clone()));
    (*ok, words.collect())
}

type Overtakes = fn(&mut World);

/// Everything that can want a service up again that is being stopped, and what the client that stops it is answered.
const OVERTAKING: [(&str, Overtakes); 7] = [
    ("overtaken by a start", |world| {
        asks(world, Request::Start(named(&["db"])));
    }),
    ("overtaken by a restart", |world| {
        asks(world, Request::Restart(named(&["db"])));
    }),
    ("overtaken by a restart", |world| {
        asks(world, Request::Restart(with_dependents("db")));
    }),
    (
        "overtaken by a start of web, which depends on it",
        |world| {
            asks(world, Request::Start(named(&["web"])));
        },
    ),
    (
        "overtaken by a start of web, which depends on it",
        |world| {
            asks(world, Request::Restart(named(&["web"])));
        },
    ),
    ("overtaken by a reload", |world| {
        reload(world, vec![after("web", &[])]);
        reload(world, vec![service("db"), after("web", &["db"])]);
    }),
    ("overtaken by a reload", |world| {
        reload(world, vec![disabled(service("db")), after("web", &[])]);
        reload(world, vec![service("db"), after("web", &[])]);
    }),
];

#[test]
fn a_stop_that_is_overtaken_is_answered_with_what_overtook_it() {
    for (words, overtake) in OVERTAKING {
        for stops in [named(&["db"]), all()] {
            let mut world = World::new(vec![service("db"), disabled(after("web", &["db"]))]).boot();
            world.obedient = false;
            world.request(Request::Stop(stops));
            assert!(!is_answered(&world));
            overtake(&mut world);
            let (ok, services) = outcome(&world);
            assert!(!ok);
            assert_eq!(services[0].1, words);
            assert_ne!(services[0].0, State::Stopped);
        }
    }
}

#[test]
fn a_stop_is_overtaken_also_before_its_turn_and_after_its_end() {
    // db waits for web, which takes its time.
    let mut world = World::new(vec![service("db"), after("web", &["db"])]).boot();
    world.obedient = false;
    world.request(Request::Stop(named(&["db", "web"])));
    asks(&mut world, Request::Start(named(&["db"])));
    world.exit_of("web", 0);
    assert_eq!(
        outcome(&world).1,
        [
            (State::Running, "overtaken by a start".into()),
            (State::Stopped, "stopped".into())
        ]
    );
    world.never("SIGTERM db");

    // quick is down and up again before slow is down.
    let mut world = World::new(vec![service("quick"), service("slow")]).boot();
    world.obedient = false;
    world.request(Request::Stop(named(&["quick", "slow"])));
    world.exit_of("quick", 0);
    asks(&mut world, Request::Start(named(&["quick"])));
    assert!(!is_answered(&world));
    world.exit_of("slow", 0);
    assert_eq!(
        outcome(&world).1[0],
        (State::Running, "overtaken by a start".into())
    );
}

#[test]
fn a_start_or_restart_that_is_overtaken_is_answered() {
    for request in [Request::Start, Request::Restart] {
        let overtaking: [(State, &str, Overtakes); 4] = [
            (State::Stopped, "stopped", |world| {
                asks(world, Request::Stop(named(&["web"])));
            }),
            (State::Failed, "dependency db was stopped", |world| {
                asks(world, Request::Stop(named(&["db"])));
            }),
            (State::Stopped, "disabled", |world| {
                reload(world, vec![slow("db"), disabled(after("web", &["db"]))]);
            }),
            (State::Stopped, "removed from the configuration", |world| {
                reload(world, vec![slow("db")]);
            }),
        ];
        for (state, words, overtake) in overtaking {
            let mut world = World::new(vec![slow("db"), after("web", &["db"])]).boot();
            world.request(request(named(&["web"])));
            assert!(!is_answered(&world));
            overtake(&mut world);
            let (ok, services) = outcome(&world);
            assert!(!ok);
            assert_eq!(services, [(state, words.into())]);
        }
    }
}

/// It takes its time before it is ready.
fn slow(name: &str) -> Service {
    Service {
        ready: Ready::Notify,
        ..service(name)
    }
}

#[test]
fn one_that_only_watches_is_not_overtaken() {
    let mut world = World::new(vec![service("db")]).boot();
    world.obedient = false;
    world.request(Request::Wait {
        service: "db".into(),
        until: WaitFor::Stopped,
        timeout_ms: None,
    });
    asks(&mut world, Request::Restart(named(&["db"])));
    world.exit_of("db", 0);
    assert!(!is_answered(&world));
    world.exit_of("db", 0);
    assert!(outcome(&world).0);
}

#[test]
fn what_stops_or_restarts_together_goes_in_reverse_order() {
    let requests = [
        Request::Stop(all()),
        Request::Stop(named(&["db", "web"])),
        Request::Restart(all()),
        Request::Restart(named(&["db", "web"])),
        Request::Restart(with_dependents("db")),
    ];
    for request in requests {
        let mut world =
            World::new(vec![service("db"), service("other"), after("web", &["db"])]).boot();
        world.obedient = false;
        let everything = matches!(&request, Request::Stop(of) | Request::Restart(of) if of.all);
        world.request(request);
        world.at("SIGTERM web");
        world.never("SIGTERM db");
        if everything {
            world.at("SIGTERM other");
        }
        world.exit_of("web", 0);
        assert!(world.at("web STOPPING->") < world.at("SIGTERM db"));
    }
}

#[test]
fn the_order_holds_across_what_is_down_already_or_stays_up() {
    // db <- migrate (done) <- web
    let mut migrated = after("web", &["migrate"]);
    migrated.depends_on[0].condition = Condition::Completed;
    let services = || vec![service("db"), after("migrate", &["db"]), migrated.clone()];
    for shutdown in [false, true] {
        let mut world = World::new(services()).boot();
        world.exit_of("migrate", 0);
        world.obedient = false;
        match shutdown {
            true => world.tell(Event::ShutdownSignal(Signal::TERM)),
            false => world.request(Request::Stop(all())),
        }
        world.never("SIGTERM db");
        world.exit_of("web", 0);
        world.at("SIGTERM db");
    }
    // db <- mid (stays) <- web
    let services = vec![service("db"), after("mid", &["db"]), after("web", &["mid"])];
    let mut world = World::new(services).boot();
    world.obedient = false;
    world.request(Request::Stop(named(&["db", "web"])));
    world.never("SIGTERM db");
    world.exit_of("web", 0);
    world.at("SIGTERM db");
    assert_eq!(world.state("mid"), State::Running);
}

#[test]
fn what_a_later_stop_adds_waits_too_and_what_a_reload_disables() {
    let services =
        |off: fn(Service) -> Service| vec![off(service("db")), off(after("web", &["db"]))];
    let mut world = World::new(services(|same| same)).boot();
    world.obedient = false;
    asks(&mut world, Request::Stop(named(&["web"])));
    world.request(Request::Stop(named(&["db"])));
    world.never("SIGTERM db");
    world.exit_of("web", 0);
    world.at("SIGTERM db");

    let mut world = World::new(services(|same| same)).boot();
    world.obedient = false;
    reload(&mut world, services(disabled));
    world.never("SIGTERM db");
    world.exit_of("web", 0);
    world.exit_of("db", 0);
    assert_eq!(world.row("db"), (State::Stopped, "disabled".into()));

    // Enabled again before its turn came: it was never stopped.
    let mut world = World::new(services(|same| same)).boot();
    world.obedient = false;
    reload(&mut world, services(disabled));
    reload(&mut world, services(|same| same));
    world.exit_of("web", 0);
    assert_eq!(world.state("db"), State::Running);
    world.never("SIGTERM db");
}

#[test]
fn one_that_ends_before_its_turn_to_be_stopped_has_not_failed() {
    let db = Service {
        required: true,
        restart: Restart {
            policy: RestartPolicy::Always,
            ..Restart::default()
        },
        ..service("db")
    };
    for code in [0, 1] {
        let mut world = World::new(vec![db.clone(), after("web", &["db"])]).boot();
        world.obedient = false;
        world.request(Request::Stop(named(&["web", "db"])));
        world.exit_of("db", code);
        assert_eq!(world.state("db"), State::Stopped);
        world.exit_of("web", 0);
        assert!(outcome(&world).0);
        world.pass(seconds(600));
        assert_eq!((world.state("db"), world.exit), (State::Stopped, None));
    }
}

#[test]
fn one_that_is_to_be_stopped_and_follows_a_failure_stays_down() {
    let web = Service {
        on_dependency_failure: OnDependencyFailure::Restart,
        ..after("web", &["db"])
    };
    let mut world = World::new(vec![service("db"), web, after("ui", &["web"])]).boot();
    world.obedient = false;
    world.request(Request::Stop(named(&["ui", "web"])));
    world.exit_of("db", 1);
    world.exit_of("web", 0);
    world.exit_of("ui", 0);
    assert!(outcome(&world).0);
    assert_eq!(world.state("web"), State::Stopped);
}

/// What fails a service at once that was asked to start: its dependency will not be up.
#[test]
fn a_start_fails_at_once_when_its_dependency_is_stopped() {
    let services = || {
        vec![
            slow("redis"),
            after("mid", &["redis"]),
            after("web", &["mid"]),
        ]
    };
    // At boot, and one that depends on it from afar.
    let mut world = World::new(services()).boot();
    asks(&mut world, Request::Stop(named(&["redis"])));
    assert_eq!(
        world.row("mid"),
        (State::Failed, "dependency redis was stopped".into())
    );
    assert_eq!(world.detail("web"), "dependency mid failed");
    // By a client, while the dependency takes its time to stop.
    let mut world = World::new(services()).boot();
    world.obedient = false;
    world.request(Request::Start(named(&["web"])));
    asks(&mut world, Request::Stop(named(&["redis"])));
    assert_eq!(
        outcome(&world).1,
        [(State::Failed, "dependency mid failed".into())]
    );
    assert_eq!(world.state("redis"), State::Stopping);
    // A newcomer of a reload.
    let mut world = World::new(vec![service("redis")]).boot();
    asks(&mut world, Request::Stop(named(&["redis"])));
    reload(&mut world, vec![service("redis"), after("new", &["redis"])]);
    assert_eq!(world.detail("new"), "dependency redis was stopped");
    // A dependency that follows another one's failure, and stays down.
    let follower = Service {
        on_dependency_failure: OnDependencyFailure::Stop,
        ..after("cache", &["redis"])
    };
    let follower = Service {
        ready: Ready::Notify,
        ..follower
    };
    let mut world = World::new(vec![service("redis"), follower, after("web", &["cache"])]).boot();
    world.exit_of("redis", 1);
    assert_eq!(
        world.detail("web"),
        "dependency cache was stopped: dependency redis failed"
    );
    // A disabled one that was started by hand, and is disabled no less by a reload.
    let off = || vec![disabled(slow("redis")), disabled(after("web", &["redis"]))];
    let mut world = World::new(off()).boot();
    world.request(Request::Start(named(&["web"])));
    asks(&mut world, Request::Stop(named(&["redis"])));
    assert_eq!(
        outcome(&world).1,
        [(State::Failed, "dependency redis was stopped".into())]
    );
}

#[test]
fn what_is_stopped_or_restarted_together_fails_nobody() {
    let services = || vec![slow("redis"), after("web", &["redis"])];
    let mut world = World::new(services()).boot();
    world.request(Request::Stop(named(&["redis", "web"])));
    assert_eq!(world.state("web"), State::Stopped);
    let mut world = World::new(services()).boot();
    asks(&mut world, Request::Restart(named(&["redis"])));
    world.says("redis", Word::Ready);
    assert_eq!(world.state("web"), State::Running);
}

#[test]
fn one_that_its_policy_restarts_waits_for_what_was_stopped_by_hand() {
    let web = Service {
        restart: Restart {
            policy: RestartPolicy::OnFailure,
            ..Restart::default()
        },
        ..after("web", &["redis"])
    };
    let mut world = World::new(vec![service("redis"), web]).boot();
    asks(&mut world, Request::Stop(named(&["redis"])));
    world.exit_of("web", 1);
    world.pass(seconds(60));
    assert_eq!(
        world.row("web"),
        (State::Pending, "waiting for redis (stopped)".into())
    );
    asks(&mut world, Request::Start(named(&["redis"])));
    assert_eq!(world.state("web"), State::Running);
}

#[test]
fn sigcont_never_follows_a_stop_signal_that_it_would_cancel() {
    for (name, follows) in [
        ("TSTP", false),
        ("TTIN", false),
        ("TTOU", false),
        ("STOP", false),
        ("CONT", false),
        ("TERM", true),
        ("USR1", true),
        ("RTMIN+3", true),
    ] {
        let web = Service {
            stop_signal: Signal::parse(name).unwrap(),
            ..service("web")
        };
        let mut world = World::new(vec![web]).boot();
        world.obedient = false;
        world.request(Request::Stop(named(&["web"])));
        world.pass(Duration::from_millis(9_999));
        let sent = |line: &str| world.log.iter().filter(|logged| **logged == line).count();
        let sigcont = sent("SIGCONT web Main");
        assert_eq!(sigcont, usize::from(follows || name == "CONT"), "{name}");
        world.never("SIGKILL");
        world.pass(Duration::from_millis(1));
        world.at("SIGKILL web");
    }
}
