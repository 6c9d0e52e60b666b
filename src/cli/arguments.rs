//! What the command line holds once it is in argh's form: a struct a subcommand. argh wants a comment
//! on each field for a help of its own; what users see is in `commands`.

use std::path::PathBuf;

use argh::FromArgs;

use super::completions::Shell;
use crate::base::parse_duration;
use crate::control::message::WaitFor;
use crate::render::ColorChoice;
use crate::schedule::Timestamp;

/// go-overlay: a service supervisor and init for containers.
#[derive(FromArgs, Debug)]
pub(super) struct Arguments {
    /// configuration file
    #[argh(option)]
    pub config: Option<PathBuf>,
    /// control socket
    #[argh(option)]
    pub socket: Option<PathBuf>,
    /// colour: auto, always or never
    #[argh(option, from_str_fn(color))]
    pub color: Option<ColorChoice>,
    /// say more
    #[argh(switch)]
    pub debug: bool,
    /// do not put a symlink into PATH
    #[argh(switch)]
    pub no_install: bool,
    /// print the version
    #[argh(switch)]
    pub version: bool,
    #[argh(subcommand)]
    pub command: Option<Command>,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(super) enum Command {
    List(List),
    Status(Status),
    Logs(Logs),
    Events(Events),
    Start(Start),
    Stop(Stop),
    Restart(Restart),
    Signal(SignalArgs),
    Wait(Wait),
    Reload(Reload),
    Health(Health),
    Shutdown(Shutdown),
    Check(Check),
    Schedule(ScheduleArgs),
    Install(Install),
    Uninstall(Uninstall),
    Completions(Completions),
    Version(Version),
}

/// every service with its state
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list")]
pub(super) struct List {
    /// as JSON
    #[argh(switch)]
    pub json: bool,
}

/// the counts, or everything about one service
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
pub(super) struct Status {
    /// as JSON
    #[argh(switch)]
    pub json: bool,
    /// a service's name
    #[argh(positional)]
    pub service: Option<String>,
}

/// the last output of services, from memory
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "logs")]
pub(super) struct Logs {
    /// go on with what comes
    #[argh(switch)]
    pub follow: bool,
    /// the last N lines of each service
    #[argh(option, from_str_fn(count))]
    pub lines: Option<u64>,
    /// not older than this
    #[argh(option, from_str_fn(milliseconds))]
    pub since: Option<u64>,
    /// lines that hold this text
    #[argh(option)]
    pub grep: Option<String>,
    /// with the time of each line
    #[argh(switch)]
    pub timestamps: bool,
    /// one JSON object a line
    #[argh(switch)]
    pub json: bool,
    /// names
    #[argh(positional)]
    pub services: Vec<String>,
}

/// what has happened to services
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "events")]
pub(super) struct Events {
    /// go on with what comes
    #[argh(switch)]
    pub follow: bool,
    /// the last N events
    #[argh(option, from_str_fn(count))]
    pub lines: Option<u64>,
    /// one JSON object a line
    #[argh(switch)]
    pub json: bool,
    /// names
    #[argh(positional)]
    pub services: Vec<String>,
}

/// start services and what they depend on
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "start")]
pub(super) struct Start {
    /// every enabled service
    #[argh(switch)]
    pub all: bool,
    /// do not wait for the outcome
    #[argh(switch)]
    pub no_wait: bool,
    /// give up waiting after this long (10, 500ms, 1m30s)
    #[argh(option, from_str_fn(milliseconds))]
    pub timeout: Option<u64>,
    /// as JSON
    #[argh(switch)]
    pub json: bool,
    /// names
    #[argh(positional)]
    pub services: Vec<String>,
}

/// stop services
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "stop")]
pub(super) struct Stop {
    /// every service
    #[argh(switch)]
    pub all: bool,
    /// do not wait for the outcome
    #[argh(switch)]
    pub no_wait: bool,
    /// give up waiting after this long (10, 500ms, 1m30s)
    #[argh(option, from_str_fn(milliseconds))]
    pub timeout: Option<u64>,
    /// as JSON
    #[argh(switch)]
    pub json: bool,
    /// names
    #[argh(positional)]
    pub services: Vec<String>,
}

/// stop services and start them again
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "restart")]
pub(super) struct Restart {
    /// every enabled service
    #[argh(switch)]
    pub all: bool,
    /// what depends on them too
    #[argh(switch)]
    pub with_dependents: bool,
    /// do not wait for the outcome
    #[argh(switch)]
    pub no_wait: bool,
    /// give up waiting after this long (10, 500ms, 1m30s)
    #[argh(option, from_str_fn(milliseconds))]
    pub timeout: Option<u64>,
    /// as JSON
    #[argh(switch)]
    pub json: bool,
    /// names
    #[argh(positional)]
    pub services: Vec<String>,
}

/// send a signal to a service's main process
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "signal")]
pub(super) struct SignalArgs {
    /// a service's name
    #[argh(positional)]
    pub service: String,
    /// SIGHUP, HUP or 1
    #[argh(positional)]
    pub signal: String,
}

/// wait until a service is running, healthy, stopped or completed
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "wait")]
pub(super) struct Wait {
    /// running, healthy, stopped or completed
    #[argh(option, long = "for", from_str_fn(wait_for))]
    pub until: WaitFor,
    /// give up after this long (10, 500ms, 1m30s)
    #[argh(option, from_str_fn(milliseconds))]
    pub timeout: Option<u64>,
    /// as JSON
    #[argh(switch)]
    pub json: bool,
    /// a service's name
    #[argh(positional)]
    pub service: String,
}

/// read the configuration again and go over to it
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "reload")]
pub(super) struct Reload {
    /// only print what would be done
    #[argh(switch)]
    pub dry_run: bool,
    /// as JSON
    #[argh(switch)]
    pub json: bool,
}

/// exit 0 when every enabled service is up (for HEALTHCHECK)
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "health")]
pub(super) struct Health {
    /// as JSON
    #[argh(switch)]
    pub json: bool,
}

/// stop everything and end the daemon
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "shutdown")]
pub(super) struct Shutdown {
    /// the daemon's exit code
    #[argh(option, from_str_fn(exit_code))]
    pub exit_code: Option<u8>,
}

/// check a configuration and show the start order; needs no daemon
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "check")]
pub(super) struct Check {
    /// as JSON
    #[argh(switch)]
    pub json: bool,
    /// default: as for the daemon
    #[argh(positional)]
    pub file: Option<PathBuf>,
}

/// show when a cron expression is due
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "schedule")]
pub(super) struct ScheduleArgs {
    /// the expression; more than one are due whenever one of them is
    #[argh(option)]
    pub expression: Vec<String>,
    /// an IANA name, UTC, local or a POSIX TZ string
    #[argh(option)]
    pub timezone: Option<String>,
    /// later than this
    #[argh(option, from_str_fn(timestamp))]
    pub after: Option<Timestamp>,
    /// so many times
    #[argh(option, from_str_fn(count))]
    pub lines: Option<u64>,
    /// as JSON
    #[argh(switch)]
    pub json: bool,
}

/// put a symlink to this program into PATH
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "install")]
pub(super) struct Install {
    /// where (default: /usr/local/bin)
    #[argh(option)]
    pub dir: Option<PathBuf>,
}

/// remove the symlink
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "uninstall")]
pub(super) struct Uninstall {
    /// where (default: /usr/local/bin)
    #[argh(option)]
    pub dir: Option<PathBuf>,
}

/// print a completion script for a shell
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "completions")]
pub(super) struct Completions {
    /// bash, zsh or fish
    #[argh(positional, from_str_fn(shell))]
    pub shell: Shell,
}

/// print the version, and the daemon's
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "version")]
pub(super) struct Version {
    /// as JSON
    #[argh(switch)]
    pub json: bool,
}

fn color(text: &str) -> Result<ColorChoice, String> {
    match text {
        "auto" => Ok(ColorChoice::Auto),
        "always" => Ok(ColorChoice::Always),
        "never" => Ok(ColorChoice::Never),
        _ => Err("colour is auto, always or never".into()),
    }
}

fn wait_for(text: &str) -> Result<WaitFor, String> {
    match text {
        "running" => Ok(WaitFor::Running),
        "healthy" => Ok(WaitFor::Healthy),
        "stopped" => Ok(WaitFor::Stopped),
        "completed" => Ok(WaitFor::Completed),
        _ => Err("wait for running, healthy, stopped or completed".into()),
    }
}

fn count(text: &str) -> Result<u64, String> {
    let number = text.parse();
    number.map_err(|_| "a whole number is expected, 0 or more".into())
}

fn timestamp(text: &str) -> Result<Timestamp, String> {
    Timestamp::from_rfc3339(text)
}

fn exit_code(text: &str) -> Result<u8, String> {
    let number = text.parse();
    number.map_err(|_| "a number from 0 to 255 is expected".into())
}

fn milliseconds(text: &str) -> Result<u64, String> {
    let duration = parse_duration(text).map_err(|why| format!("this duration {why}"))?;
    u64::try_from(duration.as_millis()).map_err(|_| "too long".into())
}

fn shell(text: &str) -> Result<Shell, String> {
    match text {
        "bash" => Ok(Shell::Bash),
        "zsh" => Ok(Shell::Zsh),
        "fish" => Ok(Shell::Fish),
        _ => Err("the shells are bash, zsh and fish".into()),
    }
}
