//! What a run is made of: a configuration, the faults that may happen in it, and the files it is reloaded
//! with. All of it comes from the seed.

use go_overlay::base::{ExitStatus, Signal};
use go_overlay::config::model::{
    Condition, Config, Dependency, Health, OnDependencyFailure, OnUnhealthy, Probe, Ready, Restart,
    RestartPolicy, Script, Service, Timeouts,
};

use crate::rng::Rng;

/// How often each fault happens, in thousandths of the occasions. Some are off in each run, so that one
/// fault does not hide another.
#[derive(Clone, Debug, Default)]
pub struct Swarm {
    /// A program cannot be executed.
    pub spawn_fails: u32,
    /// A spawn is answered late, or never.
    pub slow_spawn: u32,
    /// A program ends by itself.
    pub crashes: u32,
    /// It ends as soon as it was executed.
    pub dies_at_once: u32,
    /// Several ends are told at once, later.
    pub coalesces: u32,
    /// A process ignores its stop signal.
    pub deaf: u32,
    /// Somebody stops it (SIGSTOP).
    pub frozen: u32,
    /// SIGKILL takes its time.
    pub slow_kill: u32,
    /// SIGKILL never takes effect.
    pub stuck: u32,
    /// A child outlives its parent.
    pub orphans: u32,
    /// A script fails, or hangs.
    pub bad_scripts: u32,
    /// A check fails.
    pub check_fails: u32,
    /// A check is answered at its timeout only.
    pub check_hangs: u32,
    /// A check that was broken off is answered all the same.
    pub stale: u32,
    /// A program never says that it is ready, or says so late.
    pub never_ready: u32,
    /// A program stops saying that it is alive.
    pub hangs: u32,
    /// A program says something else about itself.
    pub words: u32,
    /// A client asks for something; so often a step.
    pub clients: u32,
    /// A client goes before it was answered.
    pub vanishes: u32,
    /// Another configuration; so often a step.
    pub reloads: u32,
    /// The clock jumps; so often a step.
    pub jumps: u32,
    /// The loop comes late to its timer.
    pub late: u32,
    /// Somebody asks for the end during the chaos; so often a step.
    pub early_end: u32,
}

pub struct Plan {
    pub seed: u64,
    pub swarm: Swarm,
    pub config: Config,
    pub main_program: Option<Service>,
    pub jitter_seed: u64,
}

/// A program that does its work and ends; the others run until they are told to end.
pub const ONE_SHOT: &str = "/bin/oneshot";
const DAEMON: &str = "/bin/daemon";

impl Swarm {
    /// No fault at all.
    pub fn calm() -> Swarm {
        Swarm::default()
    }

    fn random(rng: &mut Rng) -> Swarm {
        let mut some = |permille: u32| match rng.chance(450) {
            true => permille * [1, 1, 2, 4][rng.below(4)],
            false => 0,
        };
        Swarm {
            spawn_fails: some(80),
            slow_spawn: 0,
            crashes: some(150),
            dies_at_once: some(60),
            coalesces: some(200),
            deaf: some(150),
            frozen: some(100),
            slow_kill: some(250),
            stuck: some(8),
            orphans: some(100),
            bad_scripts: some(150),
            check_fails: some(200),
            check_hangs: some(150),
            stale: some(200),
            never_ready: some(100),
            hangs: some(100),
            words: some(100),
            clients: some(100),
            vanishes: some(100),
            reloads: some(25),
            jumps: some(15),
            late: some(100),
            early_end: some(3),
        }
    }
}

impl Plan {
    pub fn new(seed: u64) -> Plan {
        let rng = &mut Rng::new(seed);
        let mut swarm = Swarm::random(rng);
        // A choice of its own, so that it changes no other.
        let own = &mut Rng::new(seed.rotate_left(29));
        swarm.slow_spawn = if own.chance(350) { 300 } else { 0 };
        let main_program = rng.chance(300).then(|| main_program(rng));
        let config = config(rng, main_program.is_some());
        Plan {
            seed,
            swarm,
            config,
            main_program,
            jitter_seed: rng.next(),
        }
    }
}

fn main_program(rng: &mut Rng) -> Service {
    Service {
        name: "main program".into(),
        command: if rng.chance(200) { ONE_SHOT } else { DAEMON }.into(),
        stop_timeout: rng.chance(500).then(|| rng.millis(&[0, 100, 1000, 5000])),
        ..Service::default()
    }
}

fn config(rng: &mut Rng, with_main: bool) -> Config {
    let most = *rng.pick(&[1, 3, 5, 8, 12]);
    let count = rng.from(1, most) as usize;
    let mut services: Vec<Service> = Vec::new();
    for number in 0..count {
        let service = service(rng, format!("s{number}"), &services, with_main);
        services.push(service);
    }
    rng.shuffle(&mut services);
    Config {
        timeouts: timeouts(rng),
        services,
    }
}

fn timeouts(rng: &mut Rng) -> Timeouts {
    Timeouts {
        post_script: rng.millis(&[0, 10, 1000, 7000]),
        service_shutdown: rng.millis(&[0, 100, 1000, 10_000]),
        global_shutdown: rng.millis(&[0, 100, 3000, 30_000, 30_000, 60_000]),
        dependency_wait: rng.millis(&[0, 1000, 20_000, 300_000, 300_000, 300_000]),
    }
}

fn is_one_shot(service: &Service) -> bool {
    service.command == ONE_SHOT
}

/// Its process comes and goes: nobody is to depend on it.
pub fn flaps(service: &Service) -> bool {
    is_one_shot(service) && service.restart.policy == RestartPolicy::Always
}

/// A service that may depend on those before it.
fn service(rng: &mut Rng, name: String, before: &[Service], with_main: bool) -> Service {
    let one_shot = rng.chance(250);
    let mut service = Service {
        name,
        command: if one_shot { ONE_SHOT } else { DAEMON }.into(),
        enabled: !rng.chance(120),
        required: rng.chance(60),
        ..Service::default()
    };
    service.restart = restart(rng);
    if flaps(&service) && with_main {
        service.restart.policy = RestartPolicy::OnFailure;
    }
    fit_out(rng, &mut service);
    service.depends_on = dependencies(rng, before);
    service
}

/// All that has nothing to do with others.
fn fit_out(rng: &mut Rng, service: &mut Service) {
    let script = |rng: &mut Rng| rng.chance(250).then(|| Script::Inline("#!/bin/sh".into()));
    service.pre_script = script(rng);
    service.post_script = script(rng);
    let stops = *rng.pick(&[
        "TERM", "TERM", "TERM", "QUIT", "INT", "TSTP", "TTIN", "STOP",
    ]);
    service.stop_signal = Signal::parse(stops).unwrap_or(Signal::TERM);
    service.stop_timeout = rng
        .chance(400)
        .then(|| rng.millis(&[0, 10, 100, 1000, 5000]));
    service.health = rng.chance(400).then(|| Box::new(health(rng)));
    service.ready = match is_one_shot(service) {
        // It may have done its work before it is ready.
        true => Ready::Started,
        false => ready(rng, service.health.is_some()),
    };
    service.ready_timeout = rng.millis(&[600, 5000, 90_000, 90_000]);
    service.watchdog = rng.chance(150).then(|| rng.millis(&[1000, 5000, 30_000]));
    service.on_dependency_failure = *rng.pick(&[
        OnDependencyFailure::Ignore,
        OnDependencyFailure::Ignore,
        OnDependencyFailure::Stop,
        OnDependencyFailure::Restart,
    ]);
    if rng.chance(100) {
        service.success_exit_codes = vec![ExitStatus::Exited(3)];
    }
}

pub fn restart(rng: &mut Rng) -> Restart {
    let delay = rng.millis(&[0, 10, 500, 500, 3000]);
    Restart {
        policy: *rng.pick(&[
            RestartPolicy::No,
            RestartPolicy::OnFailure,
            RestartPolicy::OnFailure,
            RestartPolicy::Always,
        ]),
        delay,
        max_delay: delay.max(rng.millis(&[10, 2000, 60_000])),
        factor_permille: *rng.pick(&[1000, 1500, 2000, 10_000]),
        jitter_permille: *rng.pick(&[0, 0, 100, 1000]),
        max_attempts: rng.chance(400).then(|| rng.from(0, 4) as u32),
        reset_after: rng.millis(&[0, 1000, 10_000, 60_000]),
    }
}

fn health(rng: &mut Rng) -> Health {
    Health {
        probe: Probe::Unix("/run/probe.sock".into()),
        interval: rng.millis(&[200, 500, 2000, 10_000]),
        timeout: rng.millis(&[1, 500, 2000]),
        retries: rng.from(1, 4) as u32,
        start_period: rng.millis(&[0, 0, 1000, 30_000]),
        start_interval: rng.millis(&[10, 100, 1000]),
        on_unhealthy: *rng.pick(&[OnUnhealthy::Restart, OnUnhealthy::None]),
    }
}

fn ready(rng: &mut Rng, checked: bool) -> Ready {
    match rng.below(10) {
        0..6 => Ready::Started,
        6 if checked => Ready::Healthy,
        6 | 7 => Ready::Notify,
        8 => Ready::Fd(3),
        _ => Ready::Log("up".into()),
    }
}

fn dependencies(rng: &mut Rng, before: &[Service]) -> Vec<Dependency> {
    let density = *rng.pick(&[0, 200, 400, 800]);
    let eligible = before
        .iter()
        .filter(|service| service.enabled && !flaps(service));
    let mut found = Vec::new();
    for on in eligible {
        if rng.chance(density) {
            let condition = match rng.below(3) {
                0 if is_one_shot(on) => Condition::Completed,
                1 if on.health.is_some() => Condition::Healthy,
                _ => Condition::Started,
            };
            found.push(Dependency {
                on: on.name.clone(),
                condition,
                wait_after: rng.millis(&[0, 0, 0, 10, 1000, 5000]),
            });
        }
    }
    found
}

/// Another version of a file, which is as good as the one before.
pub fn edited(rng: &mut Rng, old: &Config, with_main: bool) -> Config {
    let mut config = old.clone();
    for _ in 0..rng.from(0, 3) {
        match rng.below(6) {
            0 => remove_one(rng, &mut config),
            1 => add_one(rng, &mut config, with_main),
            2 => config.timeouts = timeouts(rng),
            3 => rng.shuffle(&mut config.services),
            _ => change_one(rng, &mut config),
        }
        mend(&mut config);
    }
    config
}

fn remove_one(rng: &mut Rng, config: &mut Config) {
    if config.services.len() > 1 {
        let at = rng.below(config.services.len());
        config.services.remove(at);
    }
}

/// Nobody depends on it yet, so that it closes no circle; a name that was there before may come back.
fn add_one(rng: &mut Rng, config: &mut Config, with_main: bool) {
    let name = format!("s{}", rng.from(0, 12));
    if config.services.len() < 12 && !config.services.iter().any(|other| other.name == name) {
        let new = service(rng, name, &config.services, with_main);
        config.services.push(new);
    }
}

fn change_one(rng: &mut Rng, config: &mut Config) {
    let at = rng.below(config.services.len());
    let flaps_is_bad = config.services[at].command == ONE_SHOT;
    let service = &mut config.services[at];
    match rng.below(9) {
        0 => service.args = vec![rng.from(0, 9).to_string()],
        1 => service.enabled = !service.enabled,
        2 => service.required = !service.required,
        3 => {
            let policy = service.restart.policy;
            service.restart = restart(rng);
            if flaps_is_bad {
                service.restart.policy = policy;
            }
        }
        4 => service.health = rng.chance(600).then(|| Box::new(health(rng))),
        5 => service.stop_timeout = Some(rng.millis(&[0, 100, 5000])),
        6 => service.ready_timeout = rng.millis(&[600, 1000, 90_000]),
        7 => drop(service.depends_on.pop()),
        _ => {
            let mut fresh = service.clone();
            fit_out(rng, &mut fresh);
            *service = fresh;
        }
    }
}

/// What a file needs in order to be accepted: dependencies that are there, enabled, and have what is
/// waited for.
fn mend(config: &mut Config) {
    let others = config.services.clone();
    for service in &mut config.services {
        if service.health.is_none() && service.ready == Ready::Healthy {
            service.ready = Ready::Started;
        }
        service.depends_on.retain(|edge| {
            let on = others.iter().find(|other| other.name == edge.on);
            on.is_some_and(|on| {
                on.enabled && (edge.condition != Condition::Healthy || on.health.is_some())
            })
        });
    }
}

/// What matters of a service, in a line.
pub fn summary(service: &Service) -> String {
    let edge = |edge: &Dependency| {
        let Dependency {
            on,
            condition,
            wait_after,
        } = edge;
        format!("{on}:{condition:?}+{wait_after:?}")
    };
    let edges: Vec<String> = service.depends_on.iter().map(edge).collect();
    let (restart, health) = (&service.restart, &service.health);
    format!(
        "{}: {} enabled={} required={} after=[{}] pre={} post={} stop={}/{:?} ready={}/{:?} \
         watchdog={:?} on_dependency_failure={:?} {restart:?} {health:?}",
        service.name,
        service.command,
        service.enabled,
        service.required,
        edges.join(" "),
        service.pre_script.is_some(),
        service.post_script.is_some(),
        service.stop_signal,
        service.stop_timeout,
        service.ready,
        service.ready_timeout,
        service.watchdog,
        service.on_dependency_failure,
    )
}
