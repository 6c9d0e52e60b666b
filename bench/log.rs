//! The log path beside its floors, in one interleaved run: what draining a terminal or a pipe costs a loop
//! that does nothing else, what it costs one that also counts the lines and passes the bytes on, and what it costs the
//! daemon, which also splits, names and remembers each line.
//!
//! `cargo bench --bench log` or `make bench`; ROUNDS, PTY_MIB and PIPE_MIB change the run. The daemon is the
//! release binary, or the one that GO_OVERLAY_PROGRAM names; BEFORE names another one to measure beside it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

/// A line with its newline.
const LINE: usize = 100;

/// The most that one read of a terminal gives.
const PTY_READ: usize = 4096;

/// What the writer writes at a time.
const BLOCK: usize = 655 * LINE;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Terminal,
    Pipe,
}

/// What a floor does with what it reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Nothing,
    /// Whenever it has a buffer full, it counts the lines in it and writes it to /dev/null: the least for whoever does
    /// not read in vain.
    Look,
}

/// One measurement.
#[derive(Clone, Copy, Default)]
struct Figure {
    megabytes_a_second: f64,
    /// CPU seconds of the reading process a GiB.
    cpu_a_gib: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("writer") => return writer(arguments[2].parse().unwrap()),
        Some("report") => return report(Path::new(&arguments[2])),
        _ => {}
    }
    let rounds = setting("ROUNDS", 11);
    let program = program();
    let before = std::env::var_os("BEFORE").map(PathBuf::from);
    let folder = tempfile::tempdir().unwrap();
    if !nothing_is_lost(&program, folder.path()) {
        return ExitCode::FAILURE;
    }
    println!("lines of {LINE} bytes, {rounds} rounds, median (least..most)\n");
    println!(
        "{:<10}{:>24}{:>24}{:>24}{:>8}{:>22}",
        "", "floor MB/s", "with a look MB/s", "go-overlay MB/s", "ratio", "CPU s/GiB (floor)"
    );
    let mut rows = Vec::new();
    for (name, path, bytes, target) in [
        (
            "terminal",
            Route::Terminal,
            setting("PTY_MIB", 64) << 20,
            0.9,
        ),
        ("pipe", Route::Pipe, setting("PIPE_MIB", 512) << 20, 0.6),
    ] {
        let (mut floors, mut looking, mut ours) = (Vec::new(), Vec::new(), Vec::new());
        let mut olds = Vec::new();
        for _ in 0..rounds {
            floors.push(floor(path, bytes, Use::Nothing));
            looking.push(floor(path, bytes, Use::Look));
            ours.push(daemon(&program, folder.path(), path, bytes));
            if let Some(before) = &before {
                olds.push(daemon(before, folder.path(), path, bytes));
            }
        }
        rows.push(row(name, &floors, &looking, &ours, target));
        if let Some(before) = &before {
            let pairs = ours.iter().zip(&olds);
            let ratios = pairs.map(|(our, old)| our.megabytes_a_second / old.megabytes_a_second);
            let ratio = middle(&sorted(ratios));
            println!("{name}: {ratio:.3} of the speed of {}", before.display());
        }
    }
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/results");
    fs::create_dir_all(&results).unwrap();
    fs::write(results.join("log.json"), format!("[{}]\n", rows.join(","))).unwrap();
    ExitCode::SUCCESS
}

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("GO_OVERLAY_PROGRAM") {
        return named.into();
    }
    // target/HOST/release/deps/log-…: the program lies two folders up.
    let own = std::env::current_exe().unwrap();
    own.parent().unwrap().parent().unwrap().join("go-overlay")
}

/// Writes so many bytes of lines, as fast as they are taken.
fn writer(mut bytes: u64) -> ExitCode {
    let mut block = [b'x'; BLOCK];
    for end in block.chunks_mut(LINE) {
        end[LINE - 1] = b'\n';
    }
    let mut stdout = File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    while bytes > 0 {
        let count = bytes.min(BLOCK as u64);
        stdout.write_all(&block[..count as usize]).unwrap();
        bytes -= count;
    }
    ExitCode::SUCCESS
}

/// Run by the daemon when everything was written: what the daemon has cost. Its failure ends the daemon.
fn report(to: &Path) -> ExitCode {
    let daemon = std::os::unix::process::parent_id();
    let statistics = fs::read_to_string(format!("/proc/{daemon}/schedstat")).unwrap();
    fs::write(to, statistics.split(' ').next().unwrap()).unwrap();
    ExitCode::FAILURE
}

/// A loop that reads and throws away.
fn floor(path: Route, bytes: u64, what_for: Use) -> Figure {
    let (reader, end): (OwnedFd, OwnedFd) = match path {
        Route::Pipe => nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap(),
        Route::Terminal => {
            let pty = nix::pty::openpty(None, None).unwrap();
            let mut settings = tcgetattr(&pty.slave).unwrap();
            cfmakeraw(&mut settings);
            tcsetattr(&pty.slave, SetArg::TCSANOW, &settings).unwrap();
            (pty.master, pty.slave)
        }
    };
    let mut reader = File::from(reader);
    let (began, cpu) = (Instant::now(), own_cpu());
    let own = std::env::current_exe().unwrap();
    let mut child = Command::new(own)
        .args(["writer", &bytes.to_string()])
        .stdout(Stdio::from(end))
        .spawn()
        .unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let (mut got, mut filled, mut lines) = (0, 0, 0);
    let mut away = File::create("/dev/null").unwrap();
    while let Ok(count @ 1..) = reader.read(&mut buffer[filled..]) {
        got += count as u64;
        if what_for == Use::Look {
            filled += count;
            if buffer.len() - filled < PTY_READ || got == bytes {
                lines += memchr::memchr_iter(b'\n', &buffer[..filled]).count();
                away.write_all(&buffer[..filled]).unwrap();
                filled = 0;
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    child.wait().unwrap();
    assert_eq!(got, bytes, "the floor lost bytes");
    assert!(what_for == Use::Nothing || lines as u64 == bytes / LINE as u64);
    figure(bytes, seconds, own_cpu() - cpu)
}

fn own_cpu() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn figure(bytes: u64, seconds: f64, cpu: f64) -> Figure {
    Figure {
        megabytes_a_second: bytes as f64 / seconds / 1e6,
        cpu_a_gib: cpu / (bytes as f64 / f64::from(1 << 30)),
    }
}

/// The daemon with one service that writes, and one that ends it all when the first is done. A run in which
/// nothing is written is taken off.
fn daemon(program: &Path, folder: &Path, path: Route, bytes: u64) -> Figure {
    let (empty, empty_cpu) = daemon_run(program, folder, path, 0, Stdio::null());
    let (seconds, cpu) = daemon_run(program, folder, path, bytes, Stdio::null());
    figure(bytes, seconds - empty, cpu - empty_cpu)
}

fn daemon_run(program: &Path, folder: &Path, path: Route, bytes: u64, stdout: Stdio) -> (f64, f64) {
    let mut child = start(program, folder, path, bytes, stdout);
    let began = Instant::now();
    child.wait().unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let cpu = fs::read_to_string(folder.join("cpu")).unwrap();
    (seconds, cpu.trim().parse::<f64>().unwrap() / 1e9)
}

fn start(
    program: &Path,
    folder: &Path,
    path: Route,
    bytes: u64,
    stdout: Stdio,
) -> std::process::Child {
    let own = std::env::current_exe().unwrap();
    let config = format!(
        "[[services]]\nname = \"writer\"\ncommand = {own:?}\nargs = [\"writer\", \"{bytes}\"]\ntty = {}\n\
         [[services]]\nname = \"report\"\ncommand = {own:?}\nargs = [\"report\", {:?}]\nrequired = true\n\
         depends_on = {{ writer = \"completed\" }}\n",
        path == Route::Terminal,
        folder.join("cpu")
    );
    fs::write(folder.join("services.toml"), config).unwrap();
    Command::new(program)
        .arg("--no-install")
        .arg("--socket")
        .arg(folder.join("socket"))
        .arg("--config")
        .arg(folder.join("services.toml"))
        .stdout(stdout)
        .stderr(Stdio::null())
        .spawn()
        .expect("cannot start the daemon: build it first, `make build`")
}

/// Before any figure: every line arrives.
fn nothing_is_lost(program: &Path, folder: &Path) -> bool {
    for path in [Route::Terminal, Route::Pipe] {
        let lines = 200_000;
        let mut child = start(program, folder, path, lines * LINE as u64, Stdio::piped());
        let mut text = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut text).unwrap();
        child.wait().unwrap();
        // A line that was shown in two pieces, because the writer had no CPU in between, counts once.
        let mut found = 0;
        let mut line = 0;
        for row in text.split(|byte| *byte == b'\n') {
            match row.strip_prefix(b"[writer]") {
                Some([b'+', rest @ ..]) => line += rest.len(),
                Some([_, rest @ ..]) => line = rest.len(),
                Some([]) | None => line = 0,
            }
            found += u64::from(line == LINE - 1);
        }
        if found != lines {
            eprintln!("of {lines} lines {found} arrived whole");
            return false;
        }
    }
    true
}

fn row(name: &str, floors: &[Figure], looking: &[Figure], ours: &[Figure], target: f64) -> String {
    let speeds = |figures: &[Figure]| sorted(figures.iter().map(|one| one.megabytes_a_second));
    let cpus = |figures: &[Figure]| middle(&sorted(figures.iter().map(|one| one.cpu_a_gib)));
    let (floor, look, our) = (speeds(floors), speeds(looking), speeds(ours));
    let ratio_to = |others: &[Figure]| {
        let pairs = others.iter().zip(ours);
        let ratios = pairs.map(|(other, our)| our.megabytes_a_second / other.megabytes_a_second);
        middle(&sorted(ratios))
    };
    let (ratio, to_looking) = (ratio_to(floors), ratio_to(looking));
    let range = |speeds: &[f64]| {
        let (least, most) = (speeds[0], speeds[speeds.len() - 1]);
        format!("{:.0} ({least:.0}..{most:.0})", middle(speeds))
    };
    let verdict = if ratio >= target { "reached" } else { "missed" };
    println!(
        "{name:<10}{:>24}{:>24}{:>24}{ratio:>8.2}{:>22}   at least {target}: {verdict}; {to_looking:.2} of the one with a look",
        range(&floor),
        range(&look),
        range(&our),
        format!("{:.2} ({:.2})", cpus(ours), cpus(floors)),
    );
    format!(
        "{{\"path\":\"{name}\",\"floor\":{floor:?},\"looking\":{look:?},\"daemon\":{our:?},\"ratio\":{ratio:.3},\"to_looking\":{to_looking:.3},\
         \"cpu_a_gib\":{:.3},\"floor_cpu_a_gib\":{:.3}}}",
        cpus(ours),
        cpus(floors)
    )
}

fn sorted(figures: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures
}

fn middle(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
