//! Decisions read as a checked configuration of a few services: whatever comes out holds what the checks of a
//! real file would have held.

use std::time::Duration;

use go_overlay::base::{ExitStatus, Signal};
use go_overlay::config::model::{
    Condition, Config, Dependency, Health, OnDependencyFailure, OnUnhealthy, Probe, Ready, Restart,
    RestartPolicy, Script, Service, Timeouts,
};

use super::cursor::Cursor;

/// Their names, in the order of the file.
pub const NAMES: [&str; 5] = ["db", "cache", "migrate", "web", "proxy"];

/// The times that services and clients name.
const TIMES: [u64; 8] = [0, 1, 10, 100, 1_000, 5_000, 30_000, 3_600_000];

/// The same where it must not be 0.
const PERIODS: [u64; 6] = [10, 50, 500, 2_000, 30_000, 3_600_000];

pub fn time(cursor: &mut Cursor<'_>) -> Duration {
    Duration::from_millis(cursor.pick(&TIMES))
}

fn period(cursor: &mut Cursor<'_>) -> Duration {
    Duration::from_millis(cursor.pick(&PERIODS))
}

pub fn config(cursor: &mut Cursor<'_>) -> Config {
    let timeouts = match cursor.one_in(2) {
        false => Timeouts::default(),
        true => Timeouts {
            post_script: time(cursor),
            service_shutdown: time(cursor),
            global_shutdown: time(cursor),
            dependency_wait: time(cursor),
        },
    };
    let mut services: Vec<Service> = Vec::new();
    for name in &NAMES[..1 + cursor.below(NAMES.len())] {
        let service = service(name, &services, cursor);
        services.push(service);
    }
    // The order of the file is not that of the edges.
    if cursor.one_in(2) {
        services.reverse();
    }
    Config { timeouts, services }
}

pub fn main_program(cursor: &mut Cursor<'_>) -> Option<Service> {
    cursor.one_in(4).then(|| Service {
        name: "main".into(),
        command: "/bin/main".into(),
        required: true,
        ..Service::default()
    })
}

fn service(name: &str, before: &[Service], cursor: &mut Cursor<'_>) -> Service {
    let mut service = Service {
        name: name.into(),
        command: format!("/bin/{name}"),
        ..Service::default()
    };
    let which = cursor.byte();
    let chosen = |bit: u8| which & (1 << bit) != 0;
    service.enabled = !(chosen(0) && chosen(1));
    service.required = chosen(1) && chosen(2);
    if chosen(2) {
        service.health = Some(Box::new(health(cursor)));
    }
    if chosen(3) {
        service.restart = restart(cursor);
    }
    if chosen(4) {
        scripts(&mut service, cursor);
    }
    if chosen(5) {
        readiness(&mut service, cursor);
    }
    if chosen(6) {
        endings(&mut service, cursor);
    }
    if chosen(7) {
        edges(&mut service, before, cursor);
    }
    service
}

fn health(cursor: &mut Cursor<'_>) -> Health {
    Health {
        probe: Probe::Exec(vec!["true".into()]),
        interval: period(cursor),
        timeout: period(cursor),
        retries: 1 + cursor.below(3) as u32,
        start_period: time(cursor),
        start_interval: period(cursor),
        on_unhealthy: cursor.pick(&[OnUnhealthy::Restart, OnUnhealthy::None]),
    }
}

fn restart(cursor: &mut Cursor<'_>) -> Restart {
    let delay = time(cursor);
    Restart {
        policy: cursor.pick(&[
            RestartPolicy::Always,
            RestartPolicy::OnFailure,
            RestartPolicy::No,
        ]),
        delay,
        max_delay: delay.max(time(cursor)),
        factor_permille: cursor.pick(&[1000, 1500, 2000, u32::MAX]),
        jitter_permille: cursor.pick(&[0, 100, 1000]),
        max_attempts: cursor.pick(&[None, Some(0), Some(1), Some(3)]),
        reset_after: time(cursor),
    }
}

fn scripts(service: &mut Service, cursor: &mut Cursor<'_>) {
    let script = || Script::Inline("exit 0".into());
    service.pre_script = (!cursor.one_in(3)).then(script);
    service.post_script = (!cursor.one_in(3)).then(script);
}

fn readiness(service: &mut Service, cursor: &mut Cursor<'_>) {
    service.ready = match cursor.below(4) {
        0 if service.health.is_some() => Ready::Healthy,
        0 | 1 => Ready::Notify,
        2 => Ready::Fd(3),
        _ => Ready::Log("ready".into()),
    };
    service.ready_timeout = period(cursor);
    service.watchdog = cursor.one_in(2).then(|| period(cursor));
}

fn endings(service: &mut Service, cursor: &mut Cursor<'_>) {
    let signals = [Signal::INT, Signal::KILL, Signal::HUP, Signal::RTMIN_3];
    service.stop_signal = cursor.pick(&signals);
    service.stop_timeout = cursor.one_in(2).then(|| time(cursor));
    service.success_exit_codes = cursor.pick(&[
        Vec::new(),
        vec![ExitStatus::Exited(3)],
        vec![ExitStatus::Signaled(Signal::HUP)],
    ]);
    service.on_dependency_failure = cursor.pick(&[
        OnDependencyFailure::Ignore,
        OnDependencyFailure::Stop,
        OnDependencyFailure::Restart,
    ]);
}

/// Only to enabled services that were made before, so that there is no cycle.
fn edges(service: &mut Service, before: &[Service], cursor: &mut Cursor<'_>) {
    let which = cursor.byte();
    let chosen = before
        .iter()
        .enumerate()
        .filter(|(index, on)| on.enabled && which & (1 << index) == 0);
    for (_, on) in chosen {
        let condition = match cursor.below(3) {
            0 => Condition::Started,
            1 if on.health.is_some() => Condition::Healthy,
            _ => Condition::Completed,
        };
        service.depends_on.push(Dependency {
            on: on.name.clone(),
            condition,
            wait_after: time(cursor).min(Duration::from_secs(300)),
        });
    }
}
