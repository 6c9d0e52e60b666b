//! From `kill -9` of a service with `delay = 0` to the next one's first act, beside the least that any
//! program could take: a loop that waits for SIGCHLD, reaps, and calls posix_spawn. Both in one run, turn by
//! turn.
//!
//! `cargo bench --bench restart` or `make bench`; ROUNDS changes the run, and BEFORE names another go-overlay binary to
//! measure beside this one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
// They are reaped by number, all in one place.
#![allow(clippy::zombie_processes)]

mod fifo;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What everything is compared with.
const FLOOR: &str = "posix_spawn loop";

/// The largest ratio of the medians that is good enough.
const TARGET: f64 = 1.5;

/// One way to be restarted.
struct Contender {
    name: &'static str,
    /// Whether it is a floor, and of which contender the ratio is.
    floor: Option<&'static str>,
    fifo: File,
    keeper: Child,
    times: Vec<f64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("life") => return life(Path::new(&arguments[2])),
        Some("floor") => return floor(&arguments[2]),
        _ => {}
    }
    let rounds: usize = std::env::var("ROUNDS").map_or(200, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut contenders = vec![contender(FLOOR, None, folder.path(), floor_keeper)];
    let mut compare = |name, program: PathBuf, tty| {
        let keeper = |folder: &Path, fifo: &Path| daemon(&program, folder, fifo, tty);
        contenders.push(contender(name, Some(FLOOR), folder.path(), keeper));
    };
    compare("go-overlay, pipes", program(), false);
    compare("go-overlay, terminal", program(), true);
    if let Some(before) = std::env::var_os("BEFORE").map(PathBuf::from) {
        compare("before, pipes", before.clone(), false);
        compare("before, terminal", before, true);
    }
    let mut pids: Vec<i32> = contenders
        .iter_mut()
        .map(|one| next_life(&mut one.fifo).0)
        .collect();
    for _ in 0..rounds {
        for (one, pid) in contenders.iter_mut().zip(&mut pids) {
            let killed = now();
            kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
            let (new, began) = next_life(&mut one.fifo);
            assert_ne!(new, *pid);
            *pid = new;
            one.times.push((began - killed) as f64 / 1e3);
        }
    }
    for one in &mut contenders {
        kill(Pid::from_raw(one.keeper.id() as i32), Signal::SIGTERM).unwrap();
        one.keeper.wait().unwrap();
    }
    // The floor's last child has nobody who ends it.
    let _ = kill(Pid::from_raw(pids[0]), Signal::SIGKILL);
    tell(&contenders, rounds);
    ExitCode::SUCCESS
}

/// CLOCK_MONOTONIC, in nanoseconds: the same in every process.
fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// The program that is restarted: its first act is to say when it began.
fn life(fifo: &Path) -> ExitCode {
    let began = now();
    let mut fifo = OpenOptions::new().write(true).open(fifo).unwrap();
    let words = format!("{} {began}\n", std::process::id());
    fifo.write_all(words.as_bytes()).unwrap();
    loop {
        nix::unistd::pause();
    }
}

/// The process of the next life, and when it began.
fn next_life(fifo: &mut File) -> (i32, u64) {
    let mut line = Vec::new();
    let mut byte = [0];
    while fifo.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    let line = String::from_utf8(line).unwrap();
    let (pid, began) = line.split_once(' ').unwrap();
    (pid.parse().unwrap(), began.parse().unwrap())
}

fn own() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn contender(
    name: &'static str,
    floor: Option<&'static str>,
    folder: &Path,
    keeper: impl FnOnce(&Path, &Path) -> Child,
) -> Contender {
    let folder = folder.join(name.replace([' ', ','], "-"));
    fs::create_dir(&folder).unwrap();
    let path = folder.join("fifo");
    let fifo = fifo::make(&path);
    let keeper = keeper(&folder, &path);
    Contender {
        name,
        floor,
        fifo,
        keeper,
        times: Vec::new(),
    }
}

fn floor_keeper(_: &Path, fifo: &Path) -> Child {
    let mut command = Command::new(own());
    command.args(["floor", fifo.to_str().unwrap()]);
    command.spawn().unwrap()
}

/// SIGCHLD, wait, spawn. The standard library spawns with posix_spawn where nothing stands against it.
fn floor(fifo: &str) -> ExitCode {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set.add(Signal::SIGTERM);
    set.thread_block().unwrap();
    let mut command = Command::new(own());
    command.args(["life", fifo]).stdin(Stdio::null());
    // A session of its own, as a supervisor gives, is what posix_spawn has a flag for; a group does as well.
    command.process_group(0);
    command.spawn().unwrap();
    loop {
        if set.wait().unwrap() == Signal::SIGTERM {
            return ExitCode::SUCCESS;
        }
        while let Ok(WaitStatus::Signaled(..) | WaitStatus::Exited(..)) =
            waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG))
        {
            command.spawn().unwrap();
        }
    }
}

/// The binary that GO_OVERLAY_PROGRAM names, or the release binary that was built.
fn program() -> PathBuf {
    std::env::var_os("GO_OVERLAY_PROGRAM").map_or_else(
        || own().parent().unwrap().parent().unwrap().join("go-overlay"),
        PathBuf::from,
    )
}

fn daemon(program: &Path, folder: &Path, fifo: &Path, tty: bool) -> Child {
    let config = format!(
        "[[services]]\nname = \"life\"\ncommand = {:?}\nargs = [\"life\", {fifo:?}]\ntty = {tty}\n\
         restart = {{ policy = \"always\", delay = 0, jitter = 0 }}\n",
        own()
    );
    let file = folder.join("services.toml");
    fs::write(&file, config).unwrap();
    Command::new(program)
        .arg("--no-install")
        .arg("--socket")
        .arg(folder.join("socket"))
        .arg("--config")
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("cannot start the daemon: build it first, `make build`")
}

fn middle(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn tell(contenders: &[Contender], rounds: usize) {
    println!("kill -9 to the next first act, {rounds} rounds, microseconds\n");
    println!(
        "{:<22}{:>10}{:>20}{:>8}",
        "", "median", "5 % .. 95 %", "ratio"
    );
    let mut rows = Vec::new();
    for one in contenders {
        let mut sorted = one.times.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[sorted.len() / 20], sorted[sorted.len() * 19 / 20]);
        let median = middle(&one.times);
        let floor = contenders
            .iter()
            .find(|other| Some(other.name) == one.floor);
        let ratio = floor.map(|floor| median / middle(&floor.times));
        let verdict = match ratio {
            Some(ratio) if ratio <= TARGET => format!("{ratio:>8.2}   at most {TARGET}: reached"),
            Some(ratio) => format!("{ratio:>8.2}   at most {TARGET}: missed"),
            None => String::new(),
        };
        let range = format!("{low:.0} .. {high:.0}");
        println!("{:<22}{median:>10.0}{range:>20}{verdict}", one.name);
        let ratio = ratio.map_or("null".into(), |ratio| format!("{ratio:.3}"));
        rows.push(format!(
            "{{\"name\":\"{}\",\"microseconds\":{:?},\"median\":{median:.1},\"ratio\":{ratio}}}",
            one.name, one.times
        ));
    }
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/results");
    fs::create_dir_all(&results).unwrap();
    fs::write(
        results.join("restart.json"),
        format!("[{}]\n", rows.join(",")),
    )
    .unwrap();
}
