//! Restart policies in the virtual world: what follows each way of ending, for the service, for those who
//! wait for it, and for the whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod world;

use std::time::Duration;

use go_overlay::base::{ClientId, ExitStatus, Signal};
use go_overlay::config::model::{Condition, Config, Restart, RestartPolicy, Script, Service};
use go_overlay::control::message::{Request, Response, Selection, State, WaitFor};
use go_overlay::supervisor::event::Event;
use proptest::prelude::*;
use world::{World, after, named, seconds, service};

/// A second, then two, then four; nothing is left to chance.
fn policy(policy: RestartPolicy) -> Restart {
    Restart {
        policy,
        delay: seconds(1),
        jitter_permille: 0,
        ..Restart::default()
    }
}

fn restarting(name: &str, restart: Restart) -> Service {
    Service {
        restart,
        ..service(name)
    }
}

fn on_failure(name: &str) -> Service {
    restarting(name, policy(RestartPolicy::OnFailure))
}

fn limited(name: &str, max_attempts: u32) -> Service {
    let restart = Restart {
        max_attempts: Some(max_attempts),
        ..policy(RestartPolicy::OnFailure)
    };
    restarting(name, restart)
}

fn at_once(name: &str, policy: RestartPolicy) -> Service {
    let restart = Restart {
        policy,
        delay: Duration::ZERO,
        ..Restart::default()
    };
    restarting(name, restart)
}

/// One that is to be completed by another.
fn after_completion(name: &str, on: &str) -> Service {
    let mut service = after(name, &[on]);
    service.depends_on[0].condition = Condition::Completed;
    service
}

fn spawns(world: &World, name: &str) -> usize {
    let line = format!("spawn {name} Main");
    world.log.iter().filter(|logged| **logged == line).count()
}

fn policy_text(world: &World, name: &str) -> String {
    world.service(name).restart_policy
}

fn wait(service: &str, until: WaitFor) -> Request {
    Request::Wait {
        service: service.into(),
        until,
        timeout_ms: None,
    }
}

/// How a run of `db` ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Exit(u8),
    Killed(Signal),
    PreScript(u8),
    NotExecutable,
}

/// What became of `db`, and of `web` that waits for its completion; and, where `db` is required, what the
/// container exits with.
fn what_follows(policy_of_db: RestartPolicy, end: End, required: bool) -> (World, String) {
    let scripted = matches!(end, End::PreScript(_)).then(|| Script::Path("/setup".into()));
    let db = Service {
        required,
        pre_script: scripted,
        success_exit_codes: vec![ExitStatus::Exited(3), ExitStatus::Signaled(Signal::HUP)],
        ..restarting("db", policy(policy_of_db))
    };
    let mut world = World::new(vec![db, after_completion("web", "db")]);
    if matches!(end, End::NotExecutable) {
        world.broken.push("db".into());
    }
    let mut world = world.boot();
    match end {
        End::Exit(code) | End::PreScript(code) => world.exit_of("db", code),
        End::Killed(signal) => world.end("db", ExitStatus::Signaled(signal)),
        End::NotExecutable => {}
    }
    let row = |name| {
        let (state, detail) = world.row(name);
        format!("{state} {detail}").trim_end().to_owned()
    };
    let text = match (required, world.exit) {
        (true, Some(code)) => format!("exit {code}"),
        (true, None) => "up".into(),
        (false, _) => format!("{} | {}", row("db"), row("web")),
    };
    (world, text)
}

#[test]
fn what_follows_each_way_of_ending_under_each_policy() {
    use RestartPolicy::{Always, No, OnFailure};
    let segv = End::Killed(Signal::parse("SEGV").unwrap());
    let out_of_memory = End::Killed(Signal::KILL);
    let hup = End::Killed(Signal::HUP);
    let cannot = "cannot execute it: Exec format error";
    let failed = |end: &str| format!("FAILED {end} | FAILED dependency db failed");
    let waits = |end: &str| format!("FAILED {end}; restarts in 1s (1) | PENDING waiting for db");
    let completed = || "STOPPED completed | RUNNING".to_owned();
    let comes_again = || "STOPPED completed; restarts in 1s | RUNNING".to_owned();
    let table = [
        (No, End::Exit(0), completed(), "up"),
        (No, End::Exit(3), completed(), "up"),
        (No, hup, completed(), "up"),
        (No, End::Exit(1), failed("exit 1"), "exit 1"),
        (No, segv, failed("killed by SIGSEGV"), "exit 139"),
        (No, out_of_memory, failed("killed by SIGKILL"), "exit 137"),
        (
            No,
            End::PreScript(2),
            failed("pre-script: exit 2"),
            "exit 2",
        ),
        // What counts as success of the program does not of a script.
        (
            No,
            End::PreScript(3),
            failed("pre-script: exit 3"),
            "exit 3",
        ),
        (No, End::NotExecutable, failed(cannot), "exit 126"),
        (OnFailure, End::Exit(0), completed(), "up"),
        (OnFailure, End::Exit(3), completed(), "up"),
        (OnFailure, hup, completed(), "up"),
        (OnFailure, End::Exit(1), waits("exit 1"), "up"),
        (OnFailure, segv, waits("killed by SIGSEGV"), "up"),
        (OnFailure, out_of_memory, waits("killed by SIGKILL"), "up"),
        (
            OnFailure,
            End::PreScript(2),
            waits("pre-script: exit 2"),
            "up",
        ),
        (OnFailure, End::NotExecutable, waits(cannot), "up"),
        (Always, End::Exit(0), comes_again(), "up"),
        (Always, End::Exit(3), comes_again(), "up"),
        (Always, hup, comes_again(), "up"),
        (Always, End::Exit(1), waits("exit 1"), "up"),
        (Always, segv, waits("killed by SIGSEGV"), "up"),
        (Always, out_of_memory, waits("killed by SIGKILL"), "up"),
        (Always, End::PreScript(2), waits("pre-script: exit 2"), "up"),
        (Always, End::NotExecutable, waits(cannot), "up"),
    ];
    for (policy, end, follows, whole) in table {
        let (mut world, text) = what_follows(policy, end, false);
        assert_eq!(text, follows, "{policy:?}, {end:?}");
        assert_eq!(
            what_follows(policy, end, true).1,
            whole,
            "{policy:?}, {end:?}, required"
        );
        // Not a moment before the delay is over, and then at once.
        let again = follows.contains("restarts in");
        let began = |world: &World| {
            world
                .log
                .iter()
                .filter(|l| l.starts_with("spawn db"))
                .count()
        };
        let before = began(&world);
        world.pass(Duration::from_millis(999));
        assert_eq!(began(&world), before, "{policy:?}, {end:?}: early");
        world.pass(Duration::from_millis(1));
        let expected = before + usize::from(again);
        assert_eq!(
            began(&world),
            expected,
            "{policy:?}, {end:?}: {:#?}",
            world.log
        );
    }
}

#[test]
fn the_delay_grows_until_no_attempt_is_left_and_that_is_the_failure() {
    let db = Service {
        required: true,
        ..limited("db", 3)
    };
    let mut world = World::new(vec![db, after_completion("web", "db")]).boot();
    for (attempt, delay) in [(1, 1), (2, 2), (3, 4)] {
        world.exit_of("db", 9);
        assert_eq!(
            world.row("db"),
            (
                State::Failed,
                format!("exit 9; restarts in {delay}s ({attempt} of 3)")
            )
        );
        assert_eq!(
            policy_text(&world, "db"),
            format!("on-failure, {attempt} of 3 attempts used")
        );
        assert_eq!(world.detail("web"), "waiting for db");
        world.pass(seconds(delay));
        assert_eq!(world.state("db"), State::Running);
    }
    world.exit_of("db", 9);
    world.at("db RUNNING->FAILED exit 9; gave up after 3 restarts");
    world.at("down: required service db failed: exit 9; gave up after 3 restarts");
    assert_eq!(spawns(&world, "db"), 4);
    assert_eq!(world.exit, Some(9));
}

#[test]
fn giving_up_fails_those_who_waited_at_once() {
    let mut world = World::new(vec![limited("db", 1), after_completion("web", "db")]).boot();
    world.exit_of("db", 1);
    world.pass(seconds(1));
    world.exit_of("db", 1);
    assert_eq!(world.detail("db"), "exit 1; gave up after 1 restart");
    assert_eq!(
        world.row("web"),
        (State::Failed, "dependency db failed".into())
    );
}

#[test]
fn the_time_left_is_that_of_the_moment_somebody_looks() {
    let db = restarting(
        "db",
        Restart {
            delay: seconds(20),
            max_attempts: Some(5),
            ..policy(RestartPolicy::OnFailure)
        },
    );
    let mut world = World::new(vec![db]).boot();
    world.exit_of("db", 1);
    world.pass(seconds(16));
    assert_eq!(world.detail("db"), "exit 1; restarts in 4s (1 of 5)");
    let Response::Health { healthy, reasons } = world.health() else {
        panic!()
    };
    assert!(!healthy);
    assert_eq!(reasons, ["db: FAILED (exit 1; to be restarted (1 of 5))"]);
}

#[test]
fn being_up_long_enough_makes_the_next_failure_the_first_one_again() {
    let second_failure_after = |up: Duration| {
        let mut world = World::new(vec![limited("db", 5)]).boot();
        world.exit_of("db", 1);
        world.pass(seconds(1));
        world.pass(up);
        let shown = policy_text(&world, "db");
        world.exit_of("db", 1);
        (shown, world.detail("db"))
    };
    assert_eq!(
        second_failure_after(Duration::from_millis(59_999)),
        (
            "on-failure, 1 of 5 attempts used".into(),
            "exit 1; restarts in 2s (2 of 5)".into()
        )
    );
    assert_eq!(
        second_failure_after(seconds(60)),
        (
            "on-failure, 0 of 5 attempts used".into(),
            "exit 1; restarts in 1s (1 of 5)".into()
        )
    );
}

#[test]
fn a_completed_run_makes_up_for_the_failures_before_it() {
    let restart = Restart {
        max_attempts: Some(2),
        ..policy(RestartPolicy::Always)
    };
    let mut world = World::new(vec![restarting("db", restart)]).boot();
    for _ in 0..20 {
        world.exit_of("db", 1);
        assert_eq!(world.detail("db"), "exit 1; restarts in 1s (1 of 2)");
        world.pass(seconds(1));
        world.exit_of("db", 0);
        assert_eq!(
            world.row("db"),
            (State::Stopped, "completed; restarts in 1s".into())
        );
        world.pass(seconds(1));
    }
    assert_eq!(world.list()[0].restarts, 40);
}

#[test]
fn a_delay_of_0_starts_it_in_the_same_turn() {
    let mut world = World::new(vec![at_once("db", RestartPolicy::OnFailure)]).boot();
    for _ in 0..100 {
        world.end("db", ExitStatus::Signaled(Signal::KILL));
        assert_eq!(world.state("db"), State::Running);
    }
    assert_eq!(spawns(&world, "db"), 101);
    world.at("db RUNNING->FAILED killed by SIGKILL; restarts now (1)");
    assert_eq!(world.supervisor.poll_timeout(), None);
}

#[test]
fn a_delay_of_0_hides_a_completion_from_nobody() {
    let mut world = World::new(vec![
        at_once("batch", RestartPolicy::Always),
        after_completion("report", "batch"),
    ])
    .boot();
    world.request(wait("batch", WaitFor::Completed));
    world.exit_of("batch", 0);
    assert_eq!(world.state("batch"), State::Running);
    assert_eq!(world.state("report"), State::Running);
    let Some(Response::Outcome { ok: true, .. }) = world.replies.last() else {
        panic!("{:?}", world.replies)
    };
}

#[test]
fn what_cannot_be_executed_is_no_storm_even_without_a_delay() {
    let mut world = World::new(vec![at_once("db", RestartPolicy::Always)]);
    world.broken.push("db".into());
    let mut world = world.boot();
    assert_eq!(
        world.detail("db"),
        "cannot execute it: Exec format error; restarts in 100ms (1)"
    );
    world.pass(seconds(1));
    assert_eq!(spawns(&world, "db"), 11);
    world.broken.clear();
    world.pass(Duration::from_millis(100));
    assert_eq!(world.state("db"), State::Running);
}

#[test]
fn who_runs_does_not_notice_and_who_waits_starts_when_it_is_up_again() {
    let waits = after("late", &["db"]);
    let mut world = World::new(vec![on_failure("db"), after("web", &["db"])]).boot();
    world.exit_of("db", 1);
    assert_eq!(world.state("web"), State::Running);

    let scripted = Service {
        pre_script: Some(Script::Path("/setup".into())),
        ..on_failure("db")
    };
    let mut world = World::new(vec![scripted, waits]).boot();
    world.exit_of("db", 1);
    world.pass(seconds(1));
    assert_eq!(world.row("db"), (State::Starting, "pre-script".into()));
    world.exit_of("db", 0);
    assert!(world.at("db STARTING->RUNNING") < world.at("spawn late"));
    assert_eq!(world.state("late"), State::Running);
}

#[test]
fn nobody_waits_for_a_crash_loop_longer_than_for_anything_else() {
    let db = restarting(
        "db",
        Restart {
            delay: seconds(600),
            max_delay: seconds(600),
            ..policy(RestartPolicy::OnFailure)
        },
    );
    let mut world = World::new(vec![db, after_completion("web", "db")]).boot();
    world.exit_of("db", 1);
    world.pass(seconds(300));
    assert_eq!(
        world.row("web"),
        (State::Failed, "dependency db not up after 5m".into())
    );
}

#[test]
fn a_dependencys_failure_is_not_the_services_own() {
    let web = Service {
        restart: policy(RestartPolicy::Always),
        ..after_completion("web", "migrate")
    };
    let mut world = World::new(vec![service("migrate"), web]).boot();
    world.exit_of("migrate", 1);
    assert_eq!(
        world.row("web"),
        (State::Failed, "dependency migrate failed".into())
    );
    world.pass(seconds(3600));
    world.never("spawn web");
}

#[test]
fn a_stop_ends_the_policy_until_the_next_start() {
    // While it waits: it was told to stay down, so it has not failed for good either.
    let db = || Service {
        required: true,
        ..limited("db", 2)
    };
    let mut world = World::new(vec![db()]).boot();
    world.exit_of("db", 1);
    world.request(Request::Stop(named(&["db"])));
    assert_eq!(world.row("db"), (State::Stopped, "stopped".into()));
    assert_eq!(world.replies.len(), 1);
    world.pass(seconds(3600));
    assert_eq!((spawns(&world, "db"), world.exit), (1, None));

    world.request(Request::Start(named(&["db"])));
    world.exit_of("db", 1);
    assert_eq!(world.detail("db"), "exit 1; restarts in 1s (1 of 2)");

    // While it runs.
    let mut world = World::new(vec![db()]).boot();
    world.request(Request::Stop(named(&["db"])));
    world.pass(seconds(3600));
    assert_eq!(world.row("db"), (State::Stopped, "stopped".into()));
    assert_eq!(spawns(&world, "db"), 1);
}

#[test]
fn a_stop_leaves_completed_what_was_completed() {
    let batch = restarting("batch", policy(RestartPolicy::Always));
    let mut world = World::new(vec![batch]).boot();
    world.exit_of("batch", 0);
    world.request(Request::Stop(named(&["batch"])));
    assert_eq!(world.row("batch"), (State::Stopped, "completed".into()));
    world.pass(seconds(3600));
    assert_eq!(spawns(&world, "batch"), 1);
}

#[test]
fn a_start_or_restart_of_one_that_waits_starts_it_at_once_and_counts_anew() {
    for request in [Request::Start, Request::Restart] {
        let mut world = World::new(vec![limited("db", 2)]).boot();
        for delay in [1, 2] {
            world.exit_of("db", 1);
            world.pass(seconds(delay) - Duration::from_millis(1));
            assert_eq!(world.state("db"), State::Failed);
            world.pass(Duration::from_millis(1));
        }
        world.exit_of("db", 1);
        assert_eq!(world.detail("db"), "exit 1; gave up after 2 restarts");
        world.request(request(named(&["db"])));
        world.exit_of("db", 1);
        world.request(request(named(&["db"])));
        assert_eq!(world.state("db"), State::Running);
        assert_eq!(
            policy_text(&world, "db"),
            "on-failure, 0 of 2 attempts used"
        );
        // The start that was due later does not come on top.
        world.pass(seconds(3600));
        assert_eq!(spawns(&world, "db"), 5);
    }
}

#[test]
fn a_restart_by_hand_is_no_failure_and_costs_no_attempt() {
    let mut world = World::new(vec![limited("db", 1)]).boot();
    for _ in 0..5 {
        world.request(Request::Restart(named(&["db"])));
        assert_eq!(world.state("db"), State::Running);
    }
    assert_eq!(world.list()[0].restarts, 5);
    world.exit_of("db", 1);
    assert_eq!(world.detail("db"), "exit 1; restarts in 1s (1 of 1)");
}

#[test]
fn one_that_ends_before_a_restart_reaches_it_is_restarted_all_the_same() {
    let required = Service {
        required: true,
        ..service("db")
    };
    let mut world = World::new(vec![required, after("web", &["db"])]).boot();
    world.obedient = false;
    world.request(Request::Restart(Selection {
        with_dependents: true,
        ..named(&["db"])
    }));
    world.exit_of("db", 1);
    assert_eq!((world.state("db"), world.exit), (State::Running, None));
    world.exit_of("web", 1);
    assert_eq!(world.state("web"), State::Running);
    assert_eq!(world.replies.len(), 1);
    assert_eq!(spawns(&world, "db"), 2);
}

#[test]
fn clients_are_answered_when_it_is_up_or_has_given_up() {
    let mut world = World::new(vec![limited("db", 1)]).boot();
    world.exit_of("db", 1);
    world.request(wait("db", WaitFor::Running));
    world.request_of(ClientId(2), wait("db", WaitFor::Stopped));
    assert_eq!(world.replies, []);
    world.pass(seconds(1));
    let [Response::Outcome { ok: true, .. }] = &world.replies[..] else {
        panic!("{:?}", world.replies)
    };
    world.request(wait("db", WaitFor::Completed));
    world.exit_of("db", 1);
    let [
        _,
        Response::Outcome { ok: false, .. },
        Response::Outcome { ok: true, .. },
    ] = &world.replies[..]
    else {
        panic!("{:?}", world.replies)
    };

    let mut world = World::new(vec![limited("db", 2)]);
    world.broken.push("db".into());
    let mut world = world.boot();
    world.request(Request::Start(named(&["db"])));
    world.pass(Duration::from_millis(2999));
    assert_eq!(world.replies, []);
    world.pass(Duration::from_millis(1));
    let [
        Response::Outcome {
            ok: false,
            services,
        },
    ] = &world.replies[..]
    else {
        panic!("{:?}", world.replies)
    };
    assert_eq!(
        services[0].detail,
        "cannot execute it: Exec format error; gave up after 2 restarts"
    );
}

#[test]
fn a_shutdown_starts_nothing_again() {
    let required = Service {
        required: true,
        ..on_failure("waiting")
    };
    let mut world = World::new(vec![
        required,
        on_failure("db"),
        restarting("batch", policy(RestartPolicy::Always)),
        after("web", &["db", "batch"]),
    ])
    .boot();
    world.obedient = false;
    world.exit_of("waiting", 1);
    world.tell(Event::ShutdownSignal(Signal::TERM));
    assert_eq!(world.row("waiting"), (State::Stopped, "stopped".into()));
    // They end by themselves while their dependent still takes its time to stop.
    world.exit_of("db", 1);
    assert_eq!(world.row("db"), (State::Failed, "exit 1".into()));
    world.exit_of("batch", 0);
    assert_eq!(world.row("batch"), (State::Stopped, "completed".into()));
    world.pass(seconds(9));
    world.exit_of("web", 0);
    assert_eq!(world.exit, Some(0));
    for name in ["waiting", "db", "batch", "web"] {
        assert_eq!(spawns(&world, name), 1, "{name}");
    }
}

#[test]
fn scripts_run_at_each_start() {
    let scripted = Service {
        pre_script: Some(Script::Path("/before".into())),
        post_script: Some(Script::Path("/after".into())),
        ..at_once("web", RestartPolicy::Always)
    };
    let mut world = World::new(vec![scripted]).boot();
    world.exit_of("web", 0);
    world.pass(seconds(5));
    world.exit_of("web", 0);
    world.exit_of("web", 0);
    assert_eq!(world.state("web"), State::Running);
    // The first run's post-script was due after 7 seconds; it went with that run.
    world.pass(seconds(6));
    world.never("spawn web PostScript");
    world.pass(seconds(1));
    world.at("spawn web PostScript");
    let scripts = |line: &str| world.log.iter().filter(|l| l.starts_with(line)).count();
    assert_eq!(scripts("spawn web PreScript"), 2);
    assert_eq!(scripts("spawn web PostScript"), 1);
}

#[test]
fn the_main_program_waits_for_a_restart_too() {
    let scripted = Service {
        pre_script: Some(Script::Path("/setup".into())),
        ..on_failure("db")
    };
    let config = Config {
        services: vec![scripted],
        ..Config::default()
    };
    let mut world = World::with(config, Some(service("main program"))).boot();
    world.exit_of("db", 1);
    world.pass(seconds(1));
    world.never("spawn main program");
    world.exit_of("db", 0);
    assert_eq!((spawns(&world, "main program"), world.exit), (1, None));
}

/// The delays of several services that fail together.
fn jittered(seed: u64) -> Vec<Duration> {
    let names: Vec<String> = (0..20).map(|index| format!("s{index}")).collect();
    let restart = Restart {
        jitter_permille: 100,
        ..policy(RestartPolicy::OnFailure)
    };
    let services = names.iter().map(|name| restarting(name, restart.clone()));
    let mut world = World::new(services.collect());
    world.supervisor = world.supervisor.with_seed(seed);
    let mut world = world.boot();
    for name in &names {
        world.exit_of(name, 1);
    }
    let mut delays = Vec::new();
    while let Some(deadline) = world.supervisor.poll_timeout() {
        delays.push(deadline.at.since(world.now));
        let before = world.log.len();
        world
            .supervisor
            .handle_timeout(world.clocks.at(deadline.at));
        world.drain();
        assert!(world.log.len() > before);
    }
    delays
}

#[test]
fn those_who_fail_together_come_back_apart_and_the_seed_tells_when() {
    let delays = jittered(1);
    assert_eq!(
        delays.len(),
        20,
        "two of them at the same moment: {delays:?}"
    );
    let (low, high) = (Duration::from_millis(900), Duration::from_millis(1100));
    assert!(delays.iter().all(|delay| (low..=high).contains(delay)));
    assert_eq!(delays, jittered(1));
    assert_ne!(delays, jittered(2));
}

/// Something that happens to one of four services.
#[derive(Clone, Debug)]
enum Blow {
    Exit(u8),
    Break,
    Mend,
    Start,
    Stop,
    Restart,
    Pass(u64),
}

fn blow() -> impl Strategy<Value = (usize, Blow)> {
    let blow = prop_oneof![
        4 => (0..3u8).prop_map(Blow::Exit),
        1 => Just(Blow::Break),
        2 => Just(Blow::Mend),
        1 => Just(Blow::Start),
        1 => Just(Blow::Stop),
        1 => Just(Blow::Restart),
        4 => (0..5000u64).prop_map(Blow::Pass),
    ];
    (0..4usize, blow)
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn strike(world: &mut World, name: &str, blow: Blow) {
    match blow {
        Blow::Exit(code) if world.alive.values().any(|(of, _)| of == name) => {
            world.exit_of(name, code);
        }
        Blow::Exit(_) => {}
        Blow::Break => world.broken.push(name.into()),
        Blow::Mend => world.broken.retain(|broken| broken != name),
        Blow::Start => world.request(Request::Start(named(&[name]))),
        Blow::Stop => world.request(Request::Stop(named(&[name]))),
        Blow::Restart => world.request(Request::Restart(named(&[name]))),
        Blow::Pass(millis) => world.pass(Duration::from_millis(millis)),
    }
}

proptest! {
    /// Whatever happens: once nothing breaks any more and everybody was started, everybody is up, each
    /// with one process, and a shutdown ends it all.
    #[test]
    fn after_any_series_of_blows_everything_comes_up_again(
        blows in proptest::collection::vec(blow(), 0..60),
        delay in prop_oneof![Just(0u64), 1..3000u64],
    ) {
        let restart = Restart {
            delay: Duration::from_millis(delay),
            max_delay: seconds(3),
            ..Restart::default()
        };
        let always = Restart { policy: RestartPolicy::Always, ..restart.clone() };
        let failing = Restart { policy: RestartPolicy::OnFailure, ..restart };
        let with = |service: Service, restart: &Restart| Service {
            restart: restart.clone(),
            pre_script: (service.name == "c").then(|| Script::Path("/setup".into())),
            ..service
        };
        let mut world = World::new(vec![
            with(service("a"), &always),
            with(after("b", &["a"]), &failing),
            with(after("c", &["a"]), &always),
            with(after("d", &["b", "c"]), &always),
        ])
        .boot();
        for (which, blow) in blows {
            strike(&mut world, NAMES[which], blow);
        }
        world.broken.clear();
        world.request(Request::Start(Selection { all: true, ..Selection::default() }));
        world.pass(seconds(10));
        if world.detail("c") == "pre-script" {
            world.exit_of("c", 0);
        }
        world.pass(seconds(10));
        for name in NAMES {
            prop_assert_eq!(world.state(name), State::Running, "{}: {:#?}", name, &world.log);
            let alive = world.alive.values().filter(|(of, _)| of == name).count();
            prop_assert_eq!(alive, 1, "{}", name);
        }
        world.tell(Event::ShutdownSignal(Signal::TERM));
        prop_assert_eq!(world.exit, Some(0));
    }
}
