//! go-overlay beside every other supervisor that is installed, and beside the least that any program could do. All
//! of them in one run, turn by turn, in an order that rotates; medians count.
//!
//! `make compare`, or `cargo bench --bench compare`. ROUNDS, SERVICES and PARTS (start,restart,list,idle,init,growth)
//! change the run; ONLY names contenders, with commas; BEFORE names another go-overlay binary to measure beside this
//! one. Compare copies of the same age: a fresh copy of a binary starts faster than one that was there before.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod chart;
mod contenders;
#[path = "../fifo.rs"]
mod fifo;
mod floors;
mod measure;
mod peers;
mod results;
mod site;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use contenders::{Contender, Kind, Tools};
use measure::Running;
use results::Results;

/// What the whole run shares.
struct Run {
    go_overlay: PathBuf,
    tools: Tools,
    service: PathBuf,
    rounds: usize,
    results: Results,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|word| word == "floor") {
        return floors::run(&arguments[2..]);
    }
    let folder = tempfile::tempdir().unwrap();
    let target = target_folder();
    let mut run = Run {
        go_overlay: go_overlay(&target),
        tools: Tools {
            folders: ["bench-venv/bin", "bench-tools/bin"]
                .map(|name| target.join(name))
                .to_vec(),
        },
        service: compile(
            folder.path(),
            "service.rs",
            &["-nostartfiles", "-nostdlib", "-static"],
        ),
        rounds: number("ROUNDS", 7),
        results: Results::default(),
    };
    let parts =
        std::env::var("PARTS").unwrap_or_else(|_| "start,restart,list,idle,init,growth".into());
    for part in parts.split(',') {
        match part {
            "start" => start_and_stop(&mut run),
            "restart" => restarts(&mut run),
            "list" => lists(&mut run, folder.path()),
            "idle" => idleness(&mut run),
            "init" => inits(&mut run),
            "growth" => growth(&mut run),
            other => panic!("no part {other:?}"),
        }
    }
    run.results.finish();
    ExitCode::SUCCESS
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn target_folder() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    // The outermost: the folder of a target may be marked too.
    let marked = own
        .ancestors()
        .filter(|folder| folder.join("CACHEDIR.TAG").exists());
    marked.last().unwrap().to_owned()
}

/// The binary that GO_OVERLAY_PROGRAM names, or the release binary that was built.
fn go_overlay(target: &Path) -> PathBuf {
    std::env::var_os("GO_OVERLAY_PROGRAM").map_or_else(
        || {
            target.join(format!(
                "{}-unknown-linux-gnu/release/go-overlay",
                std::env::consts::ARCH
            ))
        },
        PathBuf::from,
    )
}

/// A program from a file beside this one.
fn compile(folder: &Path, source: &str, link: &[&str]) -> PathBuf {
    let program = folder.join(source.trim_end_matches(".rs"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("bench/compare")
        .join(source);
    let mut rustc = Command::new("rustc");
    rustc.args([
        "--edition",
        "2024",
        "--crate-type",
        "bin",
        "-C",
        "opt-level=s",
        "-C",
        "panic=abort",
        "-C",
        "strip=symbols",
    ]);
    match link {
        [] => drop(rustc.args(["-C", "target-feature=+crt-static"])),
        link => {
            rustc.args(["-C", "relocation-model=static"]);
            rustc.args(
                link.iter()
                    .flat_map(|argument| ["-C".to_owned(), format!("link-arg={argument}")]),
            );
        }
    }
    let status = rustc.arg("-o").arg(&program).arg(&source).status().unwrap();
    assert!(status.success(), "cannot compile {}", source.display());
    program
}

impl Run {
    fn contenders(&self) -> Vec<Contender> {
        let only = std::env::var("ONLY").unwrap_or_default();
        let mut all = contenders::all(&self.go_overlay, &self.tools);
        all.retain(|one| only.is_empty() || only.split(',').any(|name| one.name.contains(name)));
        all
    }
}

/// How many times as often the floors and go-overlay are measured as the others: a difference of a few milliseconds is to
/// be seen between the former, of seconds to the latter.
const OFTEN: usize = 3;

/// Whether somebody has a turn in this round.
fn takes_part(one: &Contender, round: usize) -> bool {
    one.kind != Kind::Peer || round.is_multiple_of(OFTEN)
}

/// The order in which so many have their turns in a round: another one begins each time, and it turns round. Whoever comes
/// first after a rest finds cold caches and a processor asleep, and others have neighbours of their own.
fn order(round: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.rotate_left(round / 2 % count);
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// Starts so many services, looks at the memory, and ends them.
fn start_and_stop(run: &mut Run) {
    let services = number("SERVICES", 500);
    let all = run.contenders();
    for count in [10, services] {
        let rounds = if count == 10 { 3 } else { run.rounds * OFTEN };
        for round in 0..rounds {
            let turns = order(round, all.len()).into_iter().map(|index| &all[index]);
            for one in turns.filter(|one| takes_part(one, round)) {
                let Some(running) = Running::start(one, &run.service, count) else {
                    run.results
                        .failed(&format!("start of {count} services, ms"), one);
                    continue;
                };
                let memory = format!("memory with {count} services (PSS), kB");
                run.results.note(&memory, one, running.memory());
                if count == 10 {
                    run.results.note("threads", one, running.threads() as f64);
                    drop(running);
                    continue;
                }
                run.results.time(
                    &format!("start of {count} services, ms"),
                    one,
                    running.started_in,
                );
                run.results
                    .time("its CPU time for that, ms", one, running.processor_time());
                let stop = format!("stop of {count} services, ms");
                match running.stop() {
                    Some(took) => run.results.time(&stop, one, took),
                    None => run.results.failed(&stop, one),
                }
            }
        }
    }
}

/// Kills a service, again and again. While one waits the others rest: whoever pauses only after short lives does not.
fn restarts(run: &mut Run) {
    let all = run.contenders();
    let service = run.service.clone();
    let mut running: Vec<Option<Running>> = all
        .iter()
        .map(|one| Running::start(one, &service, 1))
        .collect();
    let what = "kill -9 to running again, ms";
    run.results.begin(what, &all.iter().collect::<Vec<_>>());
    for round in 0..run.rounds * 3 * OFTEN {
        std::thread::sleep(Duration::from_millis(1100));
        for index in order(round, all.len()) {
            let (one, keeps) = (&all[index], &mut running[index]);
            if !takes_part(one, round) {
                continue;
            }
            match keeps.as_mut().and_then(Running::restart) {
                Some(took) => run.results.time(what, one, took),
                None => {
                    *keeps = None;
                    run.results.failed(what, one);
                }
            }
        }
    }
}

/// Asks for all services, beside the start of a program that does nothing: for the first time, after each of some
/// rests, and again and again. One supervisor at a time is there.
fn lists(run: &mut Run, folder: &Path) {
    let mut all = run.contenders();
    all.retain(|one| one.list.is_some());
    let service = run.service.clone();
    let empty = compile(folder, "empty.rs", &[]);
    let nothing = contenders::floor_of("floor: an empty static program");
    let least = contenders::floor_of("floor: the least program");
    let rest = Duration::from_millis(1100);
    let parts = [
        ("the first list of 100 services, ms", rest, 1),
        ("list of 100 services after a rest, ms", rest, 3),
        ("list of 100 services, ms", Duration::ZERO, 45),
    ];
    for (what, ..) in parts {
        run.results.begin(what, &[&nothing, &least]);
    }
    for round in 0..run.rounds {
        for one in &all {
            let running = Running::start(one, &service, 100);
            for (what, rest, times) in parts {
                let (Some(list), Some(keeps)) = (&one.list, &running) else {
                    run.results.failed(what, one);
                    continue;
                };
                for time in 0..times {
                    std::thread::sleep(rest);
                    let alone = |program| vec![Command::new(program)];
                    let mut turns = [
                        (&nothing, alone(&empty)),
                        (&least, alone(&service)),
                        (one, list(&keeps.site)),
                    ];
                    turns.rotate_left((round + time) % 3);
                    for (who, commands) in turns {
                        run.results.time(what, who, measure::run(commands));
                    }
                }
            }
        }
    }
}

/// Counts the system calls of a supervisor that has nothing to do.
fn idleness(run: &mut Run) {
    let seconds = number("IDLE_SECONDS", 20);
    for one in &run.contenders() {
        let Some(running) = Running::start(one, &run.service, 10) else {
            continue;
        };
        let calls = running.system_calls(seconds as u64);
        run.results.note(
            "system calls a minute, idle",
            one,
            calls * 60.0 / seconds as f64,
        );
    }
}

/// The init of one program.
fn inits(run: &mut Run) {
    let all = contenders::inits(&run.go_overlay, &run.tools);
    for round in 0..run.rounds * 3 {
        for one in order(round, all.len()).into_iter().map(|index| &all[index]) {
            let Some(running) = Running::start(one, &run.service, 1) else {
                run.results
                    .failed("init: start to the program's first act, ms", one);
                continue;
            };
            run.results.time(
                "init: start to the program's first act, ms",
                one,
                running.started_in,
            );
            run.results
                .note("init: memory (PSS), kB", one, running.memory());
            if let Some(took) = running.stop() {
                run.results.time("init: SIGTERM to gone, ms", one, took);
            }
        }
    }
}

/// How the cost of a service grows with their number, for go-overlay, and for the floors, which is the kernel's part.
fn growth(run: &mut Run) {
    let mut all = run.contenders();
    all.retain(|one| one.kind != Kind::Peer);
    for round in 0..run.rounds.div_ceil(2) {
        for one in order(round, all.len()).into_iter().map(|index| &all[index]) {
            for count in [300, 3000] {
                let Some(running) = Running::start(one, &run.service, count) else {
                    run.results
                        .failed(&format!("growth: start at {count}, µs a service"), one);
                    continue;
                };
                let each = |total: f64| total / count as f64;
                let micros = |time: Duration| each(time.as_secs_f64() * 1e6);
                run.results.note(
                    &format!("growth: start at {count}, µs a service"),
                    one,
                    micros(running.started_in),
                );
                run.results.note(
                    &format!("growth: memory at {count}, bytes a service"),
                    one,
                    each(running.memory() * 1024.0),
                );
                if let Some(took) = running.stop() {
                    run.results.note(
                        &format!("growth: stop at {count}, µs a service"),
                        one,
                        micros(took),
                    );
                }
                // In a run of its own: a stop is dearer after a list, which the floors have not.
                let Some(list) = &one.list else { continue };
                let Some(running) = Running::start(one, &run.service, count) else {
                    continue;
                };
                let mut times: Vec<f64> = (0..5)
                    .map(|_| micros(measure::run(list(&running.site))))
                    .collect();
                times.sort_by(f64::total_cmp);
                run.results.note(
                    &format!("growth: list at {count}, µs a service"),
                    one,
                    times[2],
                );
                // Not killed: thousands of orphans would be somebody's to reap while the next one is measured.
                running.stop();
            }
        }
    }
}
