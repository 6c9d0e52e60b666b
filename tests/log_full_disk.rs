//! A log file on a disk that is full, and in a folder that vanishes: that costs lines of the file, and never
//! the service.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use support::{Daemon, Launch, PATIENCE, Stage, shell, until};

/// A small file system of its own, for a test; gone with it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> SmallDisk {
        fs::create_dir_all(at).unwrap();
        mount(
            Some("tmpfs"),
            at,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=256k"),
        )
        .unwrap();
        SmallDisk(at.to_owned())
    }

    fn fill(&self) {
        // As much as there is, to the last page.
        let _ = fs::write(self.0.join("ballast"), vec![0; 1 << 20]);
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Two lines in one write every few milliseconds, for ever.
const TICKER: &str =
    "i=0; while :; do i=$((i+2)); printf 'tick %s\\ntick %s\\n' $((i-1)) $i; sleep 0.005; done";

fn count_on_stderr(daemon: &Daemon, needle: &str) -> usize {
    daemon
        .err
        .all()
        .iter()
        .filter(|line| line.contains(needle))
        .count()
}

/// Waits until a line later than all that are there now is on standard output; its number.
fn next_tick(daemon: &Daemon) -> u64 {
    let seen = ticks(&daemon.out.all()).len();
    until("another line", PATIENCE, || {
        ticks(&daemon.out.all()).get(seen + 5).copied()
    })
}

fn ticks(lines: &[String]) -> Vec<u64> {
    let number = |line: &String| line.split_once("tick ")?.1.parse().ok();
    lines.iter().filter_map(number).collect()
}

fn assert_nothing_is_missing(daemon: &Daemon) {
    let ticks = ticks(&daemon.out.all());
    assert!(
        ticks.windows(2).all(|two| two[1] == two[0] + 1),
        "{ticks:?}"
    );
}

#[test]
fn a_full_disk_costs_lines_of_the_file_and_is_told_once() {
    need_root!();
    let stage = Stage::new();
    let disk = SmallDisk::mount(&stage.path("disk"));
    let log = stage.at("disk/web.log");
    let config = shell("web", TICKER, &format!("log_file = \"{log}\""));
    let mut daemon = Launch::on(&stage).config(config).start();
    let pid = daemon.pid_of("web");
    next_tick(&daemon);
    disk.fill();
    daemon.err.wait_for("No space left on device", PATIENCE);
    let until_line = next_tick(&daemon);
    for _ in 0..5 {
        next_tick(&daemon);
    }
    assert_eq!(
        count_on_stderr(&daemon, "No space left"),
        1,
        "{}",
        daemon.said()
    );
    let during = next_tick(&daemon);
    disk.free();
    let recovered = daemon.err.wait_for("works again; ", PATIENCE);
    let (_, told) = recovered.split_once("works again; ").unwrap();
    let missing: u64 = told
        .split_whitespace()
        .find_map(|word| word.replace(',', "").parse().ok())
        .unwrap();
    assert!(missing >= during - until_line, "{recovered}");
    let line = next_tick(&daemon);
    until("that line in the file", PATIENCE, || {
        let text = fs::read_to_string(&log).unwrap();
        text.lines()
            .any(|written| written == format!("tick {line}"))
            .then_some(())
    });
    assert_eq!(daemon.pid_of("web"), pid);
    daemon.shut_down();
    assert_nothing_is_missing(&daemon);
    // What is there is whole lines in their order, and as many are missing as was said.
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let written = ticks(&lines);
    assert!(written.windows(2).all(|two| two[1] > two[0]));
    let all = ticks(&daemon.out.all()).len() as u64;
    assert_eq!(all - written.len() as u64, missing, "{recovered}");
}

#[test]
fn a_rotation_on_a_full_disk_loses_no_service() {
    need_root!();
    let stage = Stage::new();
    let disk = SmallDisk::mount(&stage.path("disk"));
    let log = stage.at("disk/web.log");
    let more = format!("log_file = \"{log}\"\n[services.log]\nmax_size = \"4KiB\"\nkeep = 3\n");
    let mut daemon = Launch::on(&stage)
        .config(shell("web", TICKER, &more))
        .start();
    let pid = daemon.pid_of("web");
    until("a first rotation", PATIENCE, || {
        let old = fs::read_dir(stage.path("disk")).unwrap().count();
        (old > 1).then_some(())
    });
    disk.fill();
    daemon.err.wait_for("No space left on device", PATIENCE);
    for _ in 0..5 {
        next_tick(&daemon);
    }
    disk.free();
    let line = next_tick(&daemon);
    until("newer lines in the file", PATIENCE, || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        ticks(&lines)
            .last()
            .is_some_and(|last| *last > line)
            .then_some(())
    });
    assert_eq!(daemon.pid_of("web"), pid);
    daemon.shut_down();
    assert_nothing_is_missing(&daemon);
}

#[test]
fn a_folder_that_vanishes_and_comes_back() {
    let stage = Stage::new();
    let folder = stage.open_folder("log");
    let log = format!("{folder}/web.log");
    let config = shell("web", TICKER, &format!("log_file = \"{log}\""));
    let mut daemon = Launch::on(&stage).config(config).start();
    let pid = daemon.pid_of("web");
    next_tick(&daemon);
    fs::remove_dir_all(&folder).unwrap();
    // As after a rotation, the daemon is told to open it anew: it cannot, says so once, and goes on.
    daemon.signal(nix::sys::signal::Signal::SIGUSR2);
    daemon.err.wait_for("cannot open log file", PATIENCE);
    for _ in 0..5 {
        next_tick(&daemon);
    }
    assert_eq!(
        count_on_stderr(&daemon, "cannot open log file"),
        1,
        "{}",
        daemon.said()
    );
    fs::create_dir(&folder).unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGUSR2);
    let line = next_tick(&daemon);
    until("that line in the file", PATIENCE, || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines()
            .any(|written| written == format!("tick {line}"))
            .then_some(())
    });
    assert_eq!(daemon.pid_of("web"), pid);
    daemon.shut_down();
    assert_nothing_is_missing(&daemon);
}

#[test]
fn a_full_disk_costs_lines_of_standard_output_which_are_counted() {
    need_root!();
    let stage = Stage::new();
    let disk = SmallDisk::mount(&stage.path("disk"));
    let out = stage.path("disk/out");
    let mut daemon = Launch::on(&stage)
        .config(shell("web", TICKER, ""))
        .shell_first(&format!("exec >>{}", out.display()))
        .start();
    let written = || -> Vec<String> {
        let text = fs::read_to_string(&out).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    until("lines", PATIENCE, || (!written().is_empty()).then_some(()));
    disk.fill();
    daemon.err.wait_for(
        "cannot write to standard output: No space left on device",
        PATIENCE,
    );
    disk.free();
    let recovered = daemon
        .err
        .wait_for("standard output works again; ", PATIENCE);
    daemon.shut_down();
    let (_, told) = recovered.split_once("works again; ").unwrap();
    let told: u64 = told
        .split(' ')
        .next()
        .unwrap()
        .replace(',', "")
        .parse()
        .unwrap();
    let ticks = ticks(&written());
    let missing: u64 = ticks.windows(2).map(|two| two[1] - two[0] - 1).sum();
    // A line of which a part is there is lost, and counted; its part may read as a number.
    assert!(told.abs_diff(missing) <= 1 && told > 0, "{told} {missing}");
    assert_eq!(
        count_on_stderr(&daemon, "cannot write to standard output"),
        1
    );
}
