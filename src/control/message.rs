//! Requests and responses. Their JSON shape is stable and documented in `docs/PROTOCOL.md`.

use serde::{Deserialize, Serialize};

pub use crate::domain::{Health, State, WaitFor};

/// What a client asks. One line, at most [`MAX_REQUEST_BYTES`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Every service, in the order of the file.
    List {},
    /// The counts, or with `service` everything about one.
    Status {
        /// One service's name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
    /// The last output of services, and with `follow` whatever comes: [`Response::Logs`], then a line
    /// each as in the `json` log format, then [`Response::End`].
    Logs {
        /// Names; none: every service.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        services: Vec<String>,
        /// The last lines of each service; absent: all that are remembered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lines: Option<u64>,
        /// Milliseconds: lines that are not older than this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since_ms: Option<u64>,
        /// Lines that hold this text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grep: Option<String>,
        /// Go on when everything that is remembered was told.
        #[serde(default, skip_serializing_if = "is_false")]
        follow: bool,
    },
    /// What has happened, and with `follow` what comes: [`Response::Events`], then an [`EventRecord`] a
    /// line, then [`Response::End`].
    Events {
        /// Names; none: every service.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        services: Vec<String>,
        /// The last events; absent: all that are remembered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lines: Option<u64>,
        /// Go on when everything that is remembered was told.
        #[serde(default, skip_serializing_if = "is_false")]
        follow: bool,
    },
    /// Bring services up, and what they depend on.
    Start(Selection),
    /// Take services down.
    Stop(Selection),
    /// Take services down and bring them up again.
    Restart(Selection),
    /// Send a signal to a service's main process.
    Signal {
        /// The service's name.
        service: String,
        /// A name (`SIGHUP`, `HUP`) or number.
        signal: String,
    },
    /// Answer when the service is in the named condition, or cannot get there any more.
    Wait {
        /// The service's name.
        service: String,
        /// What to wait for.
        #[serde(rename = "for", with = "WaitForWord")]
        until: WaitFor,
        /// Milliseconds; absent: no limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// Read the configuration again and go over to it.
    Reload {
        /// Only tell what would be done.
        #[serde(default, skip_serializing_if = "is_false")]
        dry_run: bool,
    },
    /// Is everything that should be up, up?
    Health {},
    /// Stop everything and end the daemon. Answered before it begins.
    Shutdown {
        /// The daemon's exit code; 0 when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<u8>,
    },
    /// Who is there: version, pid, configuration.
    Version {},
}

/// Which services a start, stop or restart is about, and how long to wait for the outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Names; empty only with `all`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Every enabled service (for `stop`: every service).
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
    /// For `restart`: what depends on them too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub with_dependents: bool,
    /// Answer at once instead of when the outcome is known.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_wait: bool,
    /// Milliseconds to wait for the outcome; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// [`WaitFor`] on the wire.
#[derive(Serialize, Deserialize)]
#[serde(remote = "WaitFor", rename_all = "lowercase")]
enum WaitForWord {
    Running,
    Healthy,
    Stopped,
    Completed,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Response {
    /// To `list`.
    List {
        /// In the order of the file.
        services: Vec<ServiceStatus>,
    },
    /// To `status` without a name.
    System(SystemStatus),
    /// To `status` with a name.
    Service(Box<ServiceDetail>),
    /// To `start`, `stop`, `restart`, `wait`: what became of each service.
    Outcome {
        /// True when each service got where it was asked to go.
        ok: bool,
        /// One for each service asked about.
        services: Vec<Outcome>,
    },
    /// To `logs`: whose lines follow.
    Logs {
        /// The services' names, in the order of the file.
        services: Vec<String>,
        /// Those of which no output is remembered, so that no line of theirs follows.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        not_kept: Vec<String>,
    },
    /// To `events`: they follow.
    Events {},
    /// The end of `logs` or `events` without `follow`.
    End {},
    /// To `health`.
    Health {
        /// True when every enabled service is up and none is unhealthy.
        healthy: bool,
        /// Why not, a line a service.
        reasons: Vec<String>,
    },
    /// To `reload`.
    Reload {
        /// Whether it was done, or only asked about.
        applied: bool,
        /// What is done.
        #[serde(flatten)]
        plan: Box<ReloadPlan>,
    },
    /// To `signal` and `shutdown`.
    Done {
        /// What was done, in words.
        message: String,
    },
    /// To `version`.
    Version {
        /// The daemon's version.
        version: String,
        /// The daemon's process id in its own namespace.
        pid: i32,
        /// The configuration file; absent where only a main program is supervised.
        config: Option<String>,
        /// How many services it has.
        services: usize,
    },
    /// To anything that could not be done.
    Error {
        /// For programs.
        code: ErrorCode,
        /// "cannot X: why".
        message: String,
        /// What to do about it; absent where there is nothing to say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

/// The kinds of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request was no valid line of JSON, too long, or asks nothing known.
    BadRequest,
    /// No service of that name.
    UnknownService,
    /// The configuration file has errors; nothing was changed.
    BadConfig,
    /// The caller is neither root nor the daemon's user.
    NotAllowed,
    /// What was asked does not fit the present state.
    Conflict,
    /// Too many clients are connected.
    TooManyClients,
    /// The daemon is shutting down.
    ShuttingDown,
    /// The time given was over.
    TimedOut,
}

/// [`State`] on the wire.
#[derive(Serialize, Deserialize)]
#[serde(remote = "State", rename_all = "UPPERCASE")]
enum StateWord {
    Pending,
    Starting,
    Running,
    Stopping,
    Stopped,
    Failed,
}

/// [`Health`] on the wire.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Health", rename_all = "lowercase")]
enum HealthWord {
    None,
    Starting,
    Healthy,
    Unhealthy,
}

/// One row of `list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// The service's name.
    pub name: String,
    /// Its state.
    #[serde(with = "StateWord")]
    pub state: State,
    /// The state in a few plain words; may be empty.
    pub detail: String,
    /// Of the main process; null when there is none.
    pub pid: Option<i32>,
    /// Since RUNNING; null when it is not.
    pub uptime_seconds: Option<f64>,
    /// Its health check's standing.
    #[serde(with = "HealthWord")]
    pub health: Health,
    /// How often it was started again, by policy or by hand.
    pub restarts: u32,
    /// Of the last end, 128+n for a signal; null before the first.
    pub exit_code: Option<u8>,
    /// Whether its failure ends the system.
    pub required: bool,
    /// Whether it starts at boot.
    pub enabled: bool,
    /// CPU seconds of its process tree; null where not known.
    pub cpu_seconds: Option<f64>,
    /// Those seconds as a share of the time since its process was started, in percent of one processor; null where
    /// not known, or not yet.
    #[serde(default)]
    pub cpu_percent: Option<f64>,
    /// Resident bytes of its process tree; null where not known.
    pub memory_bytes: Option<u64>,
}

impl ServiceStatus {
    /// Whether it is FAILED, also where it is to be restarted, or unhealthy.
    pub fn is_in_trouble(&self) -> bool {
        self.state == State::Failed || self.health == Health::Unhealthy
    }
}

/// `status` of the whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SystemStatus {
    /// Services in the file.
    pub total: usize,
    /// How many are PENDING.
    pub pending: usize,
    /// How many are STARTING.
    pub starting: usize,
    /// How many are RUNNING.
    pub running: usize,
    /// How many are STOPPING.
    pub stopping: usize,
    /// How many are STOPPED.
    pub stopped: usize,
    /// How many are FAILED.
    pub failed: usize,
    /// How many have the health `unhealthy`, whatever their state.
    #[serde(default)]
    pub unhealthy: usize,
    /// Whether a shutdown is under way.
    pub shutting_down: bool,
    /// Seconds since the daemon started.
    pub uptime_seconds: f64,
}

/// `status` of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceDetail {
    /// The row of `list`.
    #[serde(flatten)]
    pub status: ServiceStatus,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The login name or number it runs as; null: as the daemon.
    pub user: Option<String>,
    /// What it depends on, with the condition and whether that holds.
    pub depends_on: Vec<DependencyStatus>,
    /// Who depends on it.
    pub dependents: Vec<String>,
    /// The last end in words (`exit 1`, `killed by SIGKILL`); null before the first.
    pub last_exit: Option<String>,
    /// What stops it.
    pub stop_signal: String,
    /// Seconds from the stop signal to SIGKILL.
    pub stop_timeout_seconds: f64,
    /// Second destination of its output.
    pub log_file: Option<String>,
    /// Lines that were dropped because nobody read standard output.
    #[serde(default)]
    pub dropped_lines: u64,
    /// `no`, `on-failure` or `always`, and how much of it was used up: `on-failure, 3 of 5 attempts
    /// used`.
    #[serde(default)]
    pub restart_policy: String,
    /// What makes it RUNNING: `started`, `healthy`, `notify`, `fd 3`, `log "text"`.
    #[serde(default)]
    pub ready: String,
    /// Its health check in words; null where it has none.
    #[serde(default)]
    pub health_check: Option<String>,
    /// Why the last check failed; null when it passed.
    #[serde(default)]
    pub health_reason: Option<String>,
    /// Since it is in its state; null from a daemon that does not report it.
    #[serde(default)]
    pub state_seconds: Option<f64>,
    /// Its last lines of output, the oldest first, where it is FAILED or unhealthy: at most 10, for a client that may
    /// read logs.
    #[serde(default)]
    pub last_lines: Vec<String>,
}

/// One edge of `status SERVICE`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DependencyStatus {
    /// The dependency's name.
    pub name: String,
    /// `started`, `healthy` or `completed`.
    pub condition: String,
    /// Whether it holds now.
    pub met: bool,
}

/// A line of `logs`, and of the `json` log format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was read: RFC 3339, in UTC, with nanoseconds.
    pub time: String,
    /// Whose it is.
    pub service: String,
    /// `tty`, `stdout`, `stderr`, or `supervisor` for what the daemon says about the lines.
    pub stream: String,
    /// The process; absent for what the daemon says.
    #[serde(default)]
    pub pid: Option<i32>,
    /// Its text; what is no UTF-8 is replaced.
    pub line: String,
    /// Something was replaced.
    #[serde(default)]
    pub invalid_utf8: bool,
    /// It continues the line before it of the same stream.
    #[serde(default)]
    pub continued: bool,
    /// So many lines are missing here.
    #[serde(default)]
    pub dropped: Option<u64>,
}

/// What a reload does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadPlan {
    /// New services, which are started if they are enabled.
    pub added: Vec<String>,
    /// Services that left the file: they are stopped and leave the table.
    pub removed: Vec<String>,
    /// Services that are started again, because their process has to know what changed.
    pub restarted: Vec<ReloadChange>,
    /// Services that go on as they are with other settings.
    pub updated: Vec<ReloadChange>,
    /// How many services are not touched.
    pub unchanged: usize,
    /// What changed outside the services: `timeouts`.
    pub settings: Vec<String>,
}

/// What changed about one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadChange {
    /// The service's name.
    pub name: String,
    /// The keys that changed.
    pub keys: Vec<String>,
}

/// Something that happened: a line of `events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// When: RFC 3339, in UTC, with nanoseconds.
    pub time: String,
    /// What kind of thing.
    pub event: EventKind,
    /// To whom; absent when it is about the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The state or health before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The state or health after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why, in plain words; may be empty.
    pub detail: String,
}

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A service changed its state.
    State,
    /// A service's health changed.
    Health,
    /// A service is started again.
    Restart,
    /// A post-script failed.
    PostScript,
    /// The configuration was read again.
    Reload,
    /// The shutdown began, or became a kill.
    Shutdown,
    /// The reader was too slow: events are missing here.
    Missed,
}

/// What became of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The service's name.
    pub name: String,
    /// Whether it got where it was asked to go.
    pub ok: bool,
    /// Its state now.
    #[serde(with = "StateWord")]
    pub state: State,
    /// The state in a few plain words.
    pub detail: String,
}

/// The longest request the daemon reads.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
