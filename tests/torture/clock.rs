//! The time of day is set back and forth, by years and by moments.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::aftermath::{self, children_of};
use crate::patient::{Patient, RESTARTS, Services};
use crate::support::{Choices, PATIENCE, Stage, payload};
use crate::tracer::Tracer;

const YEAR: i64 = 365 * 24 * 3600;

/// Numbers from 1 on, at a steady pace, until the file is there.
const COUNTS: &str = "n=0; while [ ! -e \"$1\" ]; do n=$((n+1)); echo $n; sleep 0.02; done; echo at rest; sleep infinity";

/// Is deaf to the signal that asks it to end.
const DEAF: &str = "trap '' TERM; while :; do sleep 0.1; done";

/// The daemon with another clock, from its first instruction on.
fn traced(stage: Stage, services: Services) -> (Patient, Tracer) {
    let gate = stage.at("gate");
    assert!(
        Command::new("mkfifo")
            .arg(&gate)
            .status()
            .unwrap()
            .success()
    );
    let mut tracer = None;
    let patient = Patient::begun(
        stage,
        services,
        &format!("read go < {gate}"),
        |_, daemon| {
            tracer = Some(Tracer::of(daemon.pid()));
            std::fs::write(&gate, "go\n").unwrap();
        },
    );
    (patient, tracer.unwrap())
}

fn services(calm: &str) -> Services {
    let checked =
        format!("{RESTARTS}[services.health]\nexec = [\"/bin/true\"]\ninterval = \"200ms\"\n");
    let mut services = Services::default()
        .sleepers("s", 40, RESTARTS)
        .sleepers("checked", 3, &checked);
    for number in 0..3 {
        let name = format!("counts{number}");
        services.add(&name, "/bin/sh", &["-c", COUNTS, &name, calm], "");
    }
    services.add(
        "deaf",
        "/bin/sh",
        &["-c", DEAF],
        "stop_timeout = \"300ms\"\n",
    );
    services
}

/// What hangs on time goes by the time that passes, whatever day it is said to be.
fn keeps_its_times(patient: &Patient, started: Instant) {
    let began = Instant::now();
    patient.daemon.cli_ok(&["restart", "deaf"]);
    let took = began.elapsed();
    assert!(
        (Duration::from_millis(300)..PATIENCE / 3).contains(&took),
        "a grace of 300 ms took {took:?}"
    );
    for row in patient.daemon.list() {
        if let Some(uptime) = row.uptime() {
            let most = started.elapsed().as_secs_f64();
            assert!((0.0..=most).contains(&uptime), "{row:?}");
        }
    }
}

/// Lines come in their order and none is missing, to standard output and in memory.
fn has_every_line(patient: &Patient) {
    // Of all services at once, which are brought into the order of time.
    let kept = patient.daemon.cli_ok(&["logs"]);
    let is_mark = |line: &&str| line.contains("] --- started ");
    let kept = kept.lines().filter(|line| !is_mark(line));
    let kept: Vec<String> = kept.map(str::to_owned).collect();
    for number in 0..3 {
        let name = format!("counts{number}");
        let shown = payload(&patient.daemon.out.all(), &name);
        let mut last = 0;
        for line in shown.iter().filter(|line| *line != "at rest") {
            let count: u32 = line.parse().unwrap();
            // It may have been started anew, and counts from 1.
            assert!(count == last + 1 || count == 1, "{name}: {shown:?}");
            last = count;
        }
        assert_eq!(payload(&kept, &name), shown, "{name} in memory");
    }
}

#[test]
fn the_clock_is_set_back_and_forth() {
    need_pid_one!();
    let mut choices = Choices::from_environment();
    let stage = Stage::new();
    let calm = stage.at("calm");
    let started = Instant::now();
    let (patient, tracer) = traced(stage, services(&calm));
    let mut years = std::collections::BTreeSet::new();
    choices.until_enough("other years", 2 * crate::SHORT, |choices| {
        let shift = match choices.below(6) {
            0 => 0,
            1 => choices.below(100) as i64 - 50,
            // Before 1970, and where 32 bits end.
            2 => -60 * YEAR,
            3 => 13 * YEAR,
            4 => 200 * YEAR,
            _ => choices.below(20 * YEAR as u64) as i64 - 10 * YEAR,
        };
        tracer.clock.shift.store(shift, Ordering::Relaxed);
        let children = children_of(&patient.daemon);
        for _ in 0..choices.below(5) {
            let child = choices.one_of(&children);
            if child.command.iter().any(|word| word == "infinity") {
                let _ = kill(Pid::from_raw(child.outer), Signal::SIGKILL);
            }
        }
        let last = patient.daemon.cli_ok(&["events", "--json", "-n", "1"]);
        years.extend(
            last.split("\"time\":\"")
                .nth(1)
                .map(|time| time[..4].to_owned()),
        );
        if choices.below(8) == 0 {
            keeps_its_times(&patient, started);
        }
        // The eye itself: the daemon does see the other times.
        years.len() > 2
    });
    keeps_its_times(&patient, started);
    let changed = tracer.clock.changed.load(Ordering::Relaxed);
    eprintln!("{changed} times of day were told; years {years:?}");
    assert!(tracer.clock.steady_timers.load(Ordering::Relaxed) >= 2);
    assert_eq!(tracer.clock.wall_timers.load(Ordering::Relaxed), 0);
    patient.stage.file("calm", "");
    patient.daemon.out.wait_for_count("at rest", 3, PATIENCE);
    has_every_line(&patient);
    aftermath::check(patient, &mut choices);
    tracer.join();
}
