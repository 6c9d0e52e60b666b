//! Reload in the virtual world: what is the same is not touched, and the table ends as a fresh start of the
//! last good file would.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use go_overlay::base::{ClientId, Signal};
use go_overlay::config::model::{
    Condition, Config, Health, OnUnhealthy, Probe, Restart, RestartPolicy, Service, Timeouts,
};
use go_overlay::control::message::{Health as Standing, Request, Response, State, WaitFor};
use go_overlay::supervisor::event::{Event, Role};
use proptest::prelude::*;
use world::{World, after, named, seconds, service};

fn config(services: Vec<Service>) -> Config {
    Config {
        timeouts: Timeouts::default(),
        services,
    }
}

fn reload(world: &mut World, services: Vec<Service>) {
    world.tell(Event::Reload(Box::new(config(services))));
}

fn with_args(mut service: Service, args: &str) -> Service {
    service.args = vec![args.into()];
    service
}

fn required(mut service: Service) -> Service {
    service.required = true;
    service
}

fn disabled(mut service: Service) -> Service {
    service.enabled = false;
    service
}

fn pids(world: &World) -> BTreeMap<String, Option<i32>> {
    let rows = world.list();
    rows.into_iter().map(|row| (row.name, row.pid)).collect()
}

fn names(world: &World) -> Vec<String> {
    let rows = world.list();
    rows.into_iter().map(|row| row.name).collect()
}

#[test]
fn what_is_the_same_is_not_touched() {
    let services = || {
        vec![
            service("db"),
            after("web", &["db"]),
            disabled(service("off")),
        ]
    };
    let mut world = World::new(services()).boot();
    let before = (pids(&world), world.log.clone());
    reload(&mut world, services());
    assert_eq!((pids(&world), world.log.clone()), before);
    let plan = world.plan(&config(services()));
    assert_eq!(plan.unchanged, 3);
}

#[test]
fn another_order_is_shown_and_touches_nobody() {
    let mut world = World::new(vec![service("a"), service("b"), service("c")]).boot();
    let before = pids(&world);
    reload(&mut world, vec![service("c"), service("a"), service("b")]);
    assert_eq!(names(&world), ["c", "a", "b"]);
    assert_eq!(pids(&world), before);
}

#[test]
fn the_plan_says_what_will_be_done_and_does_nothing() {
    let world = World::new(vec![
        service("same"),
        service("old"),
        service("args"),
        service("req"),
    ])
    .boot();
    let mut new = config(vec![
        service("same"),
        with_args(service("args"), "-v"),
        required(service("req")),
        service("new"),
    ]);
    new.timeouts.post_script = seconds(1);
    let log = world.log.len();
    let plan = world.plan(&new);
    assert_eq!(plan.added, ["new"]);
    assert_eq!(plan.removed, ["old"]);
    assert_eq!(
        (
            plan.restarted[0].name.as_str(),
            plan.restarted[0].keys.join(" ")
        ),
        ("args", "args".into())
    );
    assert_eq!(
        (
            plan.updated[0].name.as_str(),
            plan.updated[0].keys.join(" ")
        ),
        ("req", "required".into())
    );
    assert_eq!(
        (plan.unchanged, plan.settings.join(" ")),
        (1, "timeouts".into())
    );
    assert_eq!(world.log.len(), log);
}

#[test]
fn what_left_the_file_stops_in_reverse_order_and_leaves_the_table() {
    let mut world = World::new(vec![
        service("db"),
        after("app", &["db"]),
        after("web", &["app"]),
        service("stays"),
    ])
    .boot();
    world.obedient = false;
    reload(&mut world, vec![service("stays")]);
    assert_eq!(world.state("web"), State::Stopping);
    assert_eq!(world.row("db"), (State::Running, "to be removed".into()));
    assert_eq!(names(&world).len(), 4, "nobody leaves while he runs");
    for name in ["web", "app", "db"] {
        world.at(&format!("SIGTERM {name} Main"));
        world.exit_of(name, 0);
    }
    assert_eq!(names(&world), ["stays"]);
    assert_eq!(world.state("stays"), State::Running);
    let refused = |world: &mut World| {
        world.request(Request::Stop(named(&["db"])));
        matches!(world.replies.last().unwrap(), Response::Error { .. })
    };
    assert!(refused(&mut world));
}

#[test]
fn what_is_new_starts_with_its_dependencies_and_after_what_leaves() {
    let mut world = World::new(vec![service("old")]).boot();
    world.obedient = false;
    // The same under another name would find its port taken.
    reload(
        &mut world,
        vec![after("web", &["renamed"]), service("renamed")],
    );
    assert_eq!(world.state("renamed"), State::Pending);
    world.exit_of("old", 0);
    assert!(world.at("spawn renamed Main") < world.at("spawn web Main"));
    assert_eq!(names(&world), ["web", "renamed"]);
}

#[test]
fn what_changed_is_started_again_after_its_changed_dependents_are_down() {
    let mut world = World::new(vec![
        service("db"),
        after("web", &["db"]),
        after("idle", &["db"]),
    ])
    .boot();
    let before = pids(&world);
    world.log.clear();
    reload(
        &mut world,
        vec![
            with_args(service("db"), "-x"),
            with_args(after("web", &["db"]), "-x"),
            after("idle", &["db"]),
        ],
    );
    assert!(world.at("SIGTERM web Main") < world.at("SIGTERM db Main"));
    assert!(world.at("spawn db Main") < world.at("spawn web Main"));
    let now = pids(&world);
    assert_eq!(now["idle"], before["idle"]);
    assert_ne!(now["db"], before["db"]);
    assert_ne!(now["web"], before["web"]);
    let rows = world.list();
    assert!(rows.iter().all(|row| row.state == State::Running));
}

#[test]
fn what_a_process_need_not_know_changes_under_it() {
    let mut world = World::new(vec![service("db"), service("web")]).boot();
    let before = pids(&world);
    let mut web = required(after("web", &["db"]));
    web.stop_timeout = Some(seconds(3));
    web.restart = Restart {
        policy: RestartPolicy::OnFailure,
        jitter_permille: 0,
        ..Restart::default()
    };
    reload(&mut world, vec![service("db"), web]);
    assert_eq!(pids(&world), before);
    world.exit_of("web", 1);
    assert_eq!(world.detail("web"), "exit 1; restarts in 500ms (1)");
    world.request(Request::Stop(named(&["db"])));
    world.pass(seconds(1));
    assert_eq!(world.detail("web"), "waiting for db (stopped)");
}

#[test]
fn a_health_check_that_is_new_begins_at_once_and_one_that_went_ends() {
    let checked = || Service {
        health: Some(Box::new(Health {
            probe: Probe::Exec(vec!["check".into()]),
            interval: seconds(10),
            timeout: seconds(2),
            retries: 3,
            start_period: Duration::ZERO,
            start_interval: seconds(1),
            on_unhealthy: OnUnhealthy::Restart,
        })),
        ..service("db")
    };
    let mut healthy = after("web", &["db"]);
    healthy.depends_on[0].condition = Condition::Healthy;
    let mut world = World::new(vec![service("db")]).boot();
    reload(&mut world, vec![checked(), healthy]);
    assert_eq!(world.state("web"), State::Pending);
    world.checked("db", Ok(()));
    assert_eq!(world.state("web"), State::Running);
    world.pass(seconds(10));
    reload(&mut world, vec![service("db"), after("web", &["db"])]);
    world.at("end of the check of db");
    assert_eq!(world.list()[0].health, Standing::None);
    assert_eq!(world.supervisor.poll_timeout(), None);
}

#[test]
fn enabled_and_disabled_are_as_at_a_fresh_start() {
    let mut world = World::new(vec![disabled(service("a")), service("b")]).boot();
    reload(&mut world, vec![service("a"), disabled(service("b"))]);
    assert_eq!(world.state("a"), State::Running);
    assert_eq!(world.row("b"), (State::Stopped, "disabled".into()));
}

#[test]
fn who_was_stopped_by_hand_stays_so_and_who_failed_is_tried_again() {
    let mut after_b = after("c", &["b"]);
    after_b.depends_on[0].condition = Condition::Completed;
    let mut world = World::new(vec![service("a"), service("b"), after_b.clone()]).boot();
    world.request(Request::Stop(named(&["a"])));
    world.exit_of("b", 1);
    let failed = (State::Failed, "dependency b failed".into());
    assert_eq!(world.row("c"), failed);
    let changed = |name| with_args(service(name), "x");
    reload(&mut world, vec![changed("a"), changed("b"), after_b]);
    assert_eq!(world.row("a"), (State::Stopped, "stopped".into()));
    assert_eq!(world.state("b"), State::Running);
    assert_eq!(
        world.detail("c"),
        "waiting for b",
        "what it failed for has changed"
    );
}

#[test]
fn a_one_shot_runs_again_only_when_it_changed() {
    let mut migrate = after("web", &["migrate"]);
    migrate.depends_on[0].condition = Condition::Completed;
    let mut world = World::new(vec![service("migrate"), migrate.clone()]).boot();
    world.exit_of("migrate", 0);
    reload(&mut world, vec![service("migrate"), migrate.clone()]);
    assert_eq!(world.state("migrate"), State::Stopped);
    reload(
        &mut world,
        vec![with_args(service("migrate"), "2"), migrate],
    );
    assert_eq!(world.state("migrate"), State::Running);
    assert_eq!(world.state("web"), State::Running);
}

#[test]
fn a_reload_during_a_reload_goes_by_the_last_file() {
    let mut world = World::new(vec![service("a"), service("b")]).boot();
    world.obedient = false;
    reload(&mut world, vec![with_args(service("a"), "1")]);
    assert_eq!(world.state("b"), State::Stopping);
    // b is back before it is gone, and a changes once more.
    reload(&mut world, vec![with_args(service("a"), "2"), service("b")]);
    world.exit_of("b", 0);
    world.exit_of("a", 0);
    assert_eq!(world.state("a"), State::Running);
    assert_eq!(world.state("b"), State::Running);
    assert_eq!(names(&world), ["a", "b"]);
    let ids: Vec<_> = world.supervisor.ids().collect();
    assert_eq!(world.supervisor.config(ids[0]).unwrap().args, ["2"]);
}

#[test]
fn a_reload_while_everything_starts_and_one_in_a_shutdown() {
    let mut pre = service("a");
    pre.pre_script = Some(go_overlay::config::model::Script::Inline("true\n".into()));
    let mut world = World::new(vec![pre.clone(), after("b", &["a"])]).boot();
    assert_eq!(world.state("a"), State::Starting);
    reload(
        &mut world,
        vec![pre.clone(), after("b", &["a"]), after("c", &["a"])],
    );
    world.exit_of("a", 0);
    for name in ["a", "b", "c"] {
        assert_eq!(world.state(name), State::Running, "{name}");
    }
    world.obedient = false;
    world.tell(Event::ShutdownSignal(Signal::TERM));
    reload(&mut world, vec![service("d")]);
    assert!(!names(&world).contains(&"d".into()));
    world.pass(seconds(40));
    assert_eq!(world.exit, Some(0));
}

#[test]
fn who_waits_for_a_service_that_leaves_gets_his_answer() {
    let mut world = World::new(vec![service("a"), service("b")]).boot();
    let wait = |until| Request::Wait {
        service: "b".into(),
        until,
        timeout_ms: None,
    };
    world.obedient = false;
    world.request(wait(WaitFor::Completed));
    world.request_of(ClientId(2), wait(WaitFor::Stopped));
    reload(&mut world, vec![service("a")]);
    world.exit_of("b", 0);
    let oks: Vec<bool> = world
        .replies
        .iter()
        .map(|reply| matches!(reply, Response::Outcome { ok: true, .. }))
        .collect();
    assert_eq!(oks, [false, true]);
}

#[test]
fn a_required_service_that_fails_on_its_way_out_takes_nothing_with_it() {
    let mut world = World::new(vec![
        required(service("a")),
        after("b", &["a"]),
        service("c"),
    ])
    .boot();
    world.obedient = false;
    reload(&mut world, vec![service("c")]);
    world.exit_of("a", 1);
    world.exit_of("b", 0);
    assert_eq!((names(&world), world.exit), (vec!["c".into()], None));
}

#[test]
fn the_main_program_goes_on_and_still_stops_first() {
    let main = service("main program");
    let mut world = World::with(config(vec![service("a")]), Some(main)).boot();
    reload(&mut world, vec![service("b")]);
    world.log.clear();
    world.tell(Event::ShutdownSignal(Signal::TERM));
    assert!(world.at("SIGTERM main program Main") < world.at("SIGTERM b Main"));
    assert_eq!(world.exit, Some(143));
}

/// A file out of six services: which are in it, in which order, and what each is like.
fn file() -> impl Strategy<Value = Vec<Service>> {
    let one = (
        0u8..4,
        0u8..3,
        any::<bool>(),
        any::<bool>(),
        proptest::collection::vec(0usize..6, 0..3),
    );
    let services = proptest::collection::vec(one, 6);
    (
        services,
        Just((0..6).collect::<Vec<usize>>()).prop_shuffle(),
    )
        .prop_map(|(parts, order)| {
            let is_there = |number: usize| parts[number].0 > 0;
            let mut services = BTreeMap::new();
            for (number, (_, args, enabled, restarts, on)) in parts.iter().enumerate() {
                // Nobody depends on what is not enabled.
                let on: Vec<String> = on
                    .iter()
                    .filter(|on| **on < number && is_there(**on) && parts[**on].2)
                    .map(|on| format!("s{on}"))
                    .collect();
                let on: std::collections::BTreeSet<&str> = on.iter().map(String::as_str).collect();
                let on: Vec<&str> = on.into_iter().collect();
                let mut service = with_args(after(&format!("s{number}"), &on), &args.to_string());
                service.enabled = *enabled;
                if *restarts {
                    service.restart.policy = RestartPolicy::Always;
                }
                services.insert(number, service);
            }
            order
                .into_iter()
                .filter(|number| is_there(*number))
                .map(|number| services[&number].clone())
                .collect()
        })
}

#[derive(Clone, Debug)]
enum Step {
    Reload(Vec<Service>),
    Exit(usize, u8),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => file().prop_map(Step::Reload),
        3 => (0usize..6, 0u8..2).prop_map(|(of, code)| Step::Exit(of, code)),
        2 => (1u64..20_000).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..20)
}

fn table(world: &World) -> Vec<(String, State)> {
    let rows = world.list();
    rows.into_iter().map(|row| (row.name, row.state)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Random files and crashes, with processes that take their time or not: in the end, when nobody has
    /// failed any more, the table is that of a fresh start, with a process each, and it can be shut down.
    #[test]
    fn after_random_reloads_the_table_is_that_of_a_fresh_start(
        first in file(), steps in steps(), last in file(), obedient in any::<bool>(),
    ) {
        let mut world = World::new(first);
        world.obedient = obedient;
        world.tell(Event::Boot);
        for step in steps {
            match step {
                Step::Reload(services) => reload(&mut world, services),
                Step::Exit(of, code) => {
                    let name = format!("s{of}");
                    if world.alive.values().any(|(alive, _)| *alive == name) {
                        world.exit_of(&name, code);
                    }
                }
                Step::Pass(millis) => world.pass(Duration::from_millis(millis)),
            }
            // Never two processes of one service.
            let mut alive: Vec<_> = world.alive.values().filter(|(_, role)| *role == Role::Main).collect();
            let before = alive.len();
            alive.sort_by_key(|(name, _)| name.clone());
            alive.dedup_by_key(|(name, _)| name.clone());
            prop_assert_eq!(alive.len(), before);
        }
        reload(&mut world, last.clone());
        world.pass(seconds(600));
        // Who ended by itself is started by hand: a fresh start would not know of it.
        let ended: Vec<String> = table(&world)
            .into_iter()
            .filter(|(_, state)| matches!(state, State::Stopped | State::Failed))
            .map(|(name, _)| name)
            .filter(|name| last.iter().any(|service| service.name == *name && service.enabled))
            .collect();
        for name in ended {
            world.request(Request::Start(named(&[&name])));
        }
        let mut fresh = World::new(last.clone());
        fresh.tell(Event::Boot);
        prop_assert_eq!(table(&world), table(&fresh), "{:#?}", world.log);
        prop_assert_eq!(world.alive.len(), fresh.alive.len());
        for id in world.supervisor.ids() {
            let config = world.supervisor.config(id).unwrap();
            prop_assert!(last.contains(&config));
        }
        world.tell(Event::ShutdownSignal(Signal::TERM));
        world.pass(seconds(60));
        prop_assert_eq!(world.exit, Some(0));
    }
}
