//! What the integration tests are written with: a [`Stage`] (a folder of its own), a [`Daemon`]
//! started on it, and waits that end with an event or a deadline, never with a sleep that hopes.
//!
//! Everything a test starts ends with it: dropping a [`Daemon`] kills it and all that came from it.

// Each test program uses a part of this.
#![allow(dead_code, unused_imports)]

mod choices;
mod client;
mod daemon;
mod engine;
mod follower;
mod hanging;
mod lines;
mod net;
mod own_time;
mod processes;
mod seat;
mod servers;
mod stage;
mod terminal;
mod toml;

pub use choices::{Choices, torture_time};
pub use client::{Row, ask, cli, connect};
pub use daemon::{Daemon, Launch};
pub use engine::{BUSYBOX, Container, Engine, File};
pub use follower::Follower;
pub use hanging::{Hanging, Op};
pub use lines::{Lines, payload, pieces};
pub use net::{free_port, http, wait_for_http, wait_for_port};
pub use own_time::{OwnTime, Scheduled};
pub use processes::{
    Snapshot, children, descendants, is_alive, send, state_of, status_field, zombies,
};
pub use seat::Seat;
pub use servers::{nginx_configuration, postgres_programs};
pub use stage::{Stage, python, quoted};
pub use terminal::Screen;
pub use toml::{service, shell, sleeper, talker};

use std::time::{Duration, Instant};

/// The longest anything ordinary may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition that sends no event is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The program under test: `make test` names the release binary, so that the tests themselves need not
/// be optimised.
pub const PROGRAM: &str = match option_env!("GO_OVERLAY_PROGRAM") {
    Some(program) => program,
    None => env!("CARGO_BIN_EXE_go-overlay"),
};

/// Looks until `look` finds something; panics with `what` when `patience` is over.
pub fn until<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: not so after {patience:?}"
        );
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Whether a missing program is a failure: it is where everything is expected to be installed.
pub fn nothing_may_be_skipped() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// Says that a test did not run, and why. With CI set it fails instead.
pub fn skip(reason: &str) {
    assert!(
        !nothing_may_be_skipped(),
        "cannot skip with CI set: {reason}; run tests/setup.sh"
    );
    say_skipped(reason);
}

/// Says that a test did not run because of who runs it, which no set-up can change: never a failure.
pub fn say_skipped(reason: &str) {
    // Past the capture of the test harness, so that nobody takes it for a pass.
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let text = format!("skipped: {test}: {reason}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}

/// Where a program is, in PATH or the folders of system programs; `*` at the end takes a version.
pub fn find_program(name: &str) -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let stem = name.strip_suffix('*');
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"])
        .find_map(|folder| match stem {
            None => {
                let file = std::path::Path::new(folder).join(name);
                file.is_file().then(|| file.display().to_string())
            }
            Some(stem) => std::fs::read_dir(folder)
                .ok()?
                .filter_map(Result::ok)
                .map(|entry| entry.path())
                .find(|file| {
                    let found = file.file_name().map(|name| name.to_string_lossy());
                    found.is_some_and(|found| found.starts_with(stem))
                })
                .map(|file| file.display().to_string()),
        })
}

/// The path of a program, or a visible skip and a return from the test.
#[macro_export]
macro_rules! need {
    ($name:expr) => {
        match $crate::support::find_program($name) {
            Some(path) => path,
            None => return $crate::support::skip(&format!("{} is not installed", $name)),
        }
    };
}

/// Goes on only as root, else a visible skip and a return from the test.
#[macro_export]
macro_rules! need_root {
    () => {
        if !$crate::support::is_root() {
            return $crate::support::say_skipped("needs root");
        }
    };
}

/// A file system that hangs on demand ([`support::Hanging`]), or a visible skip and a return from the test.
#[macro_export]
macro_rules! need_hanging {
    ($stage:expr) => {{
        need_root!();
        match $crate::support::Hanging::on($stage) {
            Ok(hanging) => hanging,
            Err(why) => return $crate::support::skip(&why),
        }
    }};
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether a process namespace can be made here.
pub fn can_be_pid_one() -> bool {
    let user: &[&str] = if is_root() {
        &[]
    } else {
        &["--user", "--map-root-user"]
    };
    let tried = std::process::Command::new("unshare")
        .args(user)
        .args(["--pid", "--fork", "--mount-proc", "true"])
        .output();
    tried.is_ok_and(|output| output.status.success())
}

/// Goes on only where a process namespace can be made, else a visible skip.
#[macro_export]
macro_rules! need_namespace {
    () => {
        if !$crate::support::can_be_pid_one() {
            return $crate::support::skip("no process namespace can be made here");
        }
    };
}
