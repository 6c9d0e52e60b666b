//! What a checked configuration is. Whoever holds a [`Config`] need not check it again: names are
//! unique, dependencies point at existing enabled services and form no cycle.

use core::net::SocketAddr;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use super::user::{IdOrName, User, UserSpec};
use crate::base::{ExitStatus, Signal, human_duration};

/// A whole checked `services.toml`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `[timeouts]`.
    pub timeouts: Timeouts,
    /// `[[services]]`, in the order of the file.
    pub services: Vec<Service>,
}

/// `[timeouts]`; each 0 means "at once", never "for ever".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From a service being up to its post-script.
    pub post_script: Duration,
    /// From a service's stop signal to SIGKILL, unless the service has a `stop_timeout`.
    pub service_shutdown: Duration,
    /// From the start of a shutdown to killing everything left.
    pub global_shutdown: Duration,
    /// How long a service waits for a dependency that is not up.
    pub dependency_wait: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            post_script: Duration::from_secs(7),
            service_shutdown: Duration::from_secs(10),
            global_shutdown: Duration::from_secs(30),
            dependency_wait: Duration::from_secs(300),
        }
    }
}

/// One `[[services]]` entry. What few services have lies elsewhere: there may be thousands.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Unique, `[A-Za-z0-9_-]+`.
    pub name: String,
    /// Absolute, or looked up in the service's PATH.
    pub command: String,
    /// Passed as they are; no shell.
    pub args: Vec<String>,
    /// False: listed, never started at boot.
    pub enabled: bool,
    /// Ending up FAILED shuts the whole system down.
    pub required: bool,
    /// None: the daemon's own user.
    pub user: Option<Box<UserSpec>>,
    /// Who scripts run as; None: as the service does.
    pub script_user: Option<Box<UserSpec>>,
    /// What has to be up before this service starts.
    pub depends_on: Vec<Dependency>,
    /// Runs before the process; failing it fails the service.
    pub pre_script: Option<Script>,
    /// Runs after the service has been up for a while; failing it is only logged.
    pub post_script: Option<Script>,
    /// Second destination of the output; opened for appending.
    pub log_file: Option<PathBuf>,
    /// Added to, and replacing, the daemon's own environment, in the file's order.
    pub env: Vec<(String, EnvValue)>,
    /// `KEY=value` files read at each start, before `env`.
    pub env_file: Vec<PathBuf>,
    /// None: the daemon's own.
    pub working_dir: Option<PathBuf>,
    /// File mode creation mask, 0 to 0o777.
    pub umask: Option<u32>,
    /// -20 to 19.
    pub nice: Option<i32>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Resource limits set in the child.
    pub limits: Vec<Limit>,
    /// PR_SET_NO_NEW_PRIVS in the child.
    pub no_new_privs: bool,
    /// What becomes of its output.
    pub log: Log,
    /// True: a PTY; false: pipes.
    pub tty: bool,
    /// What it reads.
    pub stdin: Stdin,
    /// Its terminal's size; None: that of the daemon's own terminal, or 80 by 24.
    pub tty_size: Option<TtySize>,
    /// What asks the service to end; SIGTERM by default.
    pub stop_signal: Signal,
    /// Overrides `service_shutdown_timeout`.
    pub stop_timeout: Option<Duration>,
    /// What follows when it ends.
    pub restart: Restart,
    /// Ends that count as success, beside exit 0.
    pub success_exit_codes: Vec<ExitStatus>,
    /// How it is found out whether it is well; None: it is not.
    pub health: Option<Box<Health>>,
    /// What makes it RUNNING once its program is executed.
    pub ready: Ready,
    /// How long that may take, where it is waited for.
    pub ready_timeout: Duration,
    /// It has to say `WATCHDOG=1` (sd_notify(3)) at least so often; None: it need not.
    pub watchdog: Option<Duration>,
    /// What it does when a dependency of it fails.
    pub on_dependency_failure: OnDependencyFailure,
}

impl Default for Service {
    fn default() -> Service {
        Service {
            name: String::new(),
            command: String::new(),
            args: Vec::new(),
            enabled: true,
            required: false,
            user: None,
            script_user: None,
            depends_on: Vec::new(),
            pre_script: None,
            post_script: None,
            log_file: None,
            env: Vec::new(),
            env_file: Vec::new(),
            working_dir: None,
            umask: None,
            nice: None,
            oom_score_adj: None,
            limits: Vec::new(),
            no_new_privs: false,
            log: Log::default(),
            tty: true,
            stdin: Stdin::Tty,
            tty_size: None,
            stop_signal: Signal::TERM,
            stop_timeout: None,
            restart: Restart::default(),
            success_exit_codes: Vec::new(),
            health: None,
            ready: Ready::Started,
            ready_timeout: READY_TIMEOUT,
            watchdog: None,
            on_dependency_failure: OnDependencyFailure::Ignore,
        }
    }
}

impl Service {
    /// Whether its main program did its work when it ended like this.
    pub fn is_success(&self, status: ExitStatus) -> bool {
        status.success() || self.success_exit_codes.contains(&status)
    }
}

/// `restart`: what follows when a service ends and nobody asked it to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Which ends are followed by a start.
    pub policy: RestartPolicy,
    /// Before the first attempt.
    pub delay: Duration,
    /// The longest there is, before jitter; at least `delay`.
    pub max_delay: Duration,
    /// What each attempt's delay is multiplied with for the next one, in thousandths; at least 1000.
    pub factor_permille: u32,
    /// By how much of it a delay is shortened or lengthened at most, in thousandths; 0 to 1000.
    pub jitter_permille: u32,
    /// Consecutive attempts; None: no limit.
    pub max_attempts: Option<u32>,
    /// So much time RUNNING makes the next attempt the first one again.
    pub reset_after: Duration,
}

impl Default for Restart {
    fn default() -> Restart {
        Restart {
            policy: RestartPolicy::No,
            delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(60),
            factor_permille: 2000,
            jitter_permille: 100,
            max_attempts: None,
            reset_after: Duration::from_secs(60),
        }
    }
}

/// Which ends are followed by a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// None.
    No,
    /// A failure.
    OnFailure,
    /// A failure, and having done its work.
    Always,
}

/// As long as systemd lets a start take.
const READY_TIMEOUT: Duration = Duration::from_secs(90);

/// `[services.health]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is tried.
    pub probe: Probe,
    /// From the end of one check to the start of the next; at least 10 ms.
    pub interval: Duration,
    /// How long one check may take; not 0, and it may be longer than `interval`.
    pub timeout: Duration,
    /// So many failures in a row make it unhealthy; at least 1.
    pub retries: u32,
    /// So long it has to get well, beside the time that `retries` failures take, until it was well once.
    pub start_period: Duration,
    /// The longest pause between checks until it is healthy for the first time; at least 10 ms.
    pub start_interval: Duration,
    /// What follows when it is unhealthy.
    pub on_unhealthy: OnUnhealthy,
}

/// One way to find out whether a service is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A GET over HTTP, without TLS.
    Http {
        /// What the host's name stands for, tried in turn; empty: looked up at each check.
        addresses: Vec<SocketAddr>,
        /// The `Host` header: host and port as they were written.
        host: String,
        /// Path and query; begins with `/`, and is printable ASCII without a space.
        path: String,
        /// The statuses that are good: ranges, both ends included.
        expected: Vec<(u16, u16)>,
    },
    /// Connecting is enough.
    Tcp {
        /// What the host's name stands for, tried in turn; empty: looked up at each check.
        addresses: Vec<SocketAddr>,
        /// Host and port as they were written.
        host: String,
    },
    /// Connecting to a stream socket is enough; `@name` is an abstract one.
    Unix(PathBuf),
    /// A command, at least its program, has to exit with 0; no shell.
    Exec(Vec<String>),
}

/// What follows when a service is unhealthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnhealthy {
    /// It is restarted.
    Restart,
    /// It is only shown.
    None,
}

/// What a service does when a dependency of it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDependencyFailure {
    /// Nothing.
    Ignore,
    /// It is stopped, and stays so.
    Stop,
    /// It is stopped, and started again when its dependencies are up again.
    Restart,
}

/// What makes a service RUNNING once its program is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Nothing more.
    Started,
    /// Its health check passes; it has one.
    Healthy,
    /// It says `READY=1` to NOTIFY_SOCKET (sd_notify(3)).
    Notify,
    /// It writes a newline to this descriptor; 3 to 255.
    Fd(i32),
    /// This text is in a line of its output; not empty, no line break in it.
    Log(String),
}

/// What becomes of a service's output: `[log]` and `[services.log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How lines are written.
    pub format: LogFormat,
    /// What stands before plain lines.
    pub timestamps: Timestamps,
    /// What happens while standard output takes no more.
    pub overflow: Overflow,
    /// Bytes of recent output that are remembered; 0: none.
    pub buffer: u64,
    /// Whether lines go to standard output.
    pub stdout: bool,
    /// Bytes from which on the log file is rotated; None: never.
    pub max_size: Option<u64>,
    /// How many rotated files are kept.
    pub keep: u32,
    /// Whether rotated files are compressed.
    pub compress: bool,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            format: LogFormat::Plain,
            timestamps: Timestamps::None,
            overflow: Overflow::Block,
            buffer: 64 * 1024,
            stdout: true,
            max_size: None,
            keep: 5,
            compress: true,
        }
    }
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// The name in front, then the bytes.
    Plain,
    /// One object a line.
    Json,
}

/// What stands before plain lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// Nothing.
    None,
    /// Date and time in UTC (RFC 3339).
    Rfc3339,
    /// Seconds since the daemon began.
    Elapsed,
}

/// What happens while standard output takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The service waits.
    Block,
    /// Lines are dropped and counted.
    Drop,
}

/// What a service reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// Its terminal, where nobody types.
    Tty,
    /// Nothing: end of file at once.
    Null,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtySize {
    /// 1 to 65535.
    pub columns: u16,
    /// 1 to 65535.
    pub rows: u16,
}

/// One edge of the dependency graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The name of another service in the same file.
    pub on: String,
    /// What has to hold of it.
    pub condition: Condition,
    /// How long it has to have held; 0 to 300 s.
    pub wait_after: Duration,
}

/// What a dependent waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// RUNNING, or completed with 0.
    Started,
    /// Its health check passes.
    Healthy,
    /// It exited with 0.
    Completed,
}

/// A `pre_script` or `pos_script`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    /// A file.
    Path(PathBuf),
    /// The text itself, with or without a `#!` line.
    Inline(String),
}

/// Where an environment variable's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// The value itself.
    Text(String),
    /// A file read at each start; one trailing newline is dropped.
    File(PathBuf),
}

/// One resource limit (setrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Which.
    pub resource: Resource,
    /// None is unlimited.
    pub soft: Option<u64>,
    /// None is unlimited.
    pub hard: Option<u64>,
}

/// The limits of `ulimit`, in the kernel's units (bytes where `ulimit` counts KiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `core`, bytes.
    Core,
    /// `data`, bytes.
    Data,
    /// `nice`, 20 minus the lowest nice value.
    Nice,
    /// `fsize`, bytes.
    Fsize,
    /// `sigpending`, signals.
    Sigpending,
    /// `memlock`, bytes.
    Memlock,
    /// `rss`, bytes (without effect on Linux).
    Rss,
    /// `nofile`, descriptors.
    Nofile,
    /// `msgqueue`, bytes.
    Msgqueue,
    /// `rtprio`, priority.
    Rtprio,
    /// `stack`, bytes.
    Stack,
    /// `cpu`, seconds.
    Cpu,
    /// `nproc`, processes.
    Nproc,
    /// `as`, bytes of address space.
    As,
    /// `locks`, file locks (without effect since Linux 2.4).
    Locks,
    /// `rttime`, microseconds.
    Rttime,
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ready::Started => f.write_str("started"),
            Ready::Healthy => f.write_str("healthy"),
            Ready::Notify => f.write_str("notify"),
            Ready::Fd(fd) => write!(f, "fd {fd}"),
            Ready::Log(text) => write!(f, "log {text:?}"),
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} every {}", self.probe, human_duration(self.interval))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Probe::Http { host, path, .. } => write!(f, "GET http://{host}{path}"),
            Probe::Tcp { addresses, host } => match addresses.first() {
                Some(address) => write!(f, "tcp {address}"),
                None => write!(f, "tcp {host}"),
            },
            Probe::Unix(path) => write!(f, "unix {}", path.display()),
            Probe::Exec(words) => f.write_str(&words.join(" ")),
        }
    }
}
