//! strace(1) as the one who makes calls fail (`--inject`), and what it saw.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::places::{Moment, On, Place, Who};
use crate::support::{PATIENCE, Stage, quoted, status_field, until};

/// What fails, and where the calls are written down.
pub fn arguments(
    stage: &Stage,
    place: &Place,
    error: &str,
    moment: Moment,
    pid: Option<i32>,
) -> Vec<String> {
    let when = match (moment, place.who) {
        (Moment::Starting | Moment::Once, _) | (_, Who::Child) => "1",
        (Moment::SixTimes, Who::Daemon) => "1..6",
        (Moment::ForGood, Who::Daemon) => "1+",
    };
    let mut words = vec![
        "-qq".into(),
        "--interruptible=waiting".into(),
        format!("--output={}", stage.at("trace")),
        format!("--trace={}", place.call),
        format!("--inject={}:error={error}:when={when}", place.call),
    ];
    if place.who == Who::Child {
        words.push("--follow-forks".into());
    }
    for object in objects(stage, place.on, pid) {
        words.push(format!("--trace-path={object}"));
    }
    words
}

/// What a call is to be made on, as strace compares it; nothing: on anything.
fn objects(stage: &Stage, on: On, pid: Option<i32>) -> Vec<String> {
    let descriptor = |number: i32| {
        let link = format!("/proc/{}/fd/{number}", pid.unwrap_or_default());
        std::fs::read_link(link).unwrap().display().to_string()
    };
    match on {
        On::Anything => Vec::new(),
        On::Path(path) => vec![path.to_owned()],
        On::Stdout => vec![descriptor(1)],
        On::Stderr => vec![descriptor(2)],
        On::ServicePipe => crate::kernel::pipes(pid.unwrap_or_default()),
        On::Config => vec![stage.at("services.toml")],
        // It is opened by its name in its folder.
        On::LogFile => vec![stage.at("filed.log"), "filed.log".into()],
        On::ControlFolder => vec![stage.at("control")],
    }
}

/// Shell commands after which a daemon is started under strace, of which it is no child.
pub fn shell_first(arguments: &[String]) -> String {
    let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
    format!("set -- strace -D {} \"$@\"", words.join(" "))
}

/// strace on a daemon that runs already; it lets go when this is dropped.
pub struct Attached {
    strace: Child,
}

impl Attached {
    /// Returns once every call of the daemon is seen.
    pub fn to(pid: i32, arguments: &[String]) -> Attached {
        let strace = Command::new("strace")
            .args(arguments)
            .arg(format!("--attach={pid}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut attached = Attached { strace };
        // Or over already, with a daemon that its first call was the end of.
        until("strace on the daemon", PATIENCE, || {
            let over = attached.strace.try_wait().unwrap().is_some();
            let tracer = status_field(pid, "TracerPid").unwrap_or_default();
            (over || tracer != 0).then_some(())
        });
        attached
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let strace = Pid::from_raw(self.strace.id().cast_signed());
        end(strace, || !matches!(self.strace.try_wait(), Ok(None)));
    }
}

/// Ends strace. It lets go in order, unless it waits for a daemon that waits for its child in clone(2), which strace
/// has stopped: then the kernel does it.
fn end(strace: Pid, mut is_over: impl FnMut() -> bool) {
    for (signal, patience) in [(Signal::SIGTERM, 2), (Signal::SIGKILL, PATIENCE.as_secs())] {
        let _ = kill(strace, signal);
        let deadline = Instant::now() + Duration::from_secs(patience);
        while Instant::now() < deadline {
            if is_over() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    panic!("strace does not end");
}

/// Lets a daemon go that was started under strace.
pub fn let_go(pid: i32) {
    let tracer = || status_field(pid, "TracerPid").filter(|tracer| *tracer != 0);
    if let Some(number) = tracer() {
        let strace = Pid::from_raw(i32::try_from(number).unwrap());
        // It writes what it saw as it ends.
        let has_ended = || {
            let status = std::fs::read_to_string(format!("/proc/{number}/status"));
            status.map_or(true, |status| status.contains("State:\tZ"))
        };
        end(strace, || tracer().is_none() && has_ended());
    }
}

/// How often a call was made to fail.
pub fn injected(trace: &Path) -> usize {
    let text = std::fs::read_to_string(trace).unwrap_or_default();
    text.matches("(INJECTED)").count()
}

/// The names of all calls that were seen.
pub fn calls(trace: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(trace).unwrap();
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once('('))
        .map(|(name, _)| name.trim_start_matches("<... ").to_owned())
        .filter(|name| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
        .collect();
    names.sort();
    names.dedup();
    names
}
