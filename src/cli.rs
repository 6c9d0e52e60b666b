//! The command line: one argh struct and one function a subcommand.
//!
//! argh takes global options only before the subcommand, and neither `--x=y` nor `-h`; what people type
//! is put into the form it takes first.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use argh::FromArgs;

use crate::client::{self, ClientError};
use crate::config::{self, parse_duration};
use crate::control::message::{Request, Response, Selection, WaitFor};
use crate::daemon;
use crate::render::{self, ColorChoice, Style};
use crate::sys::facts::SystemFacts;
use crate::sys::install;

const DONE: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const NO_DAEMON: i32 = 3;

/// go-overlay: a service supervisor and init for containers.
///
/// Without a subcommand it is the daemon: it supervises the services of the configuration
/// (default /services.toml, or GO_OVERLAY_CONFIG). `go-overlay [options] -- PROGRAM ARGS` also runs
/// a main program once every service is up, and ends with its exit code.
#[derive(FromArgs, Debug)]
#[argh(
    example = "go-overlay --config services.toml\ngo-overlay -- nginx -g 'daemon off;'\ngo-overlay list\ngo-overlay restart web",
    error_code(0, "done"),
    error_code(1, "failed"),
    error_code(2, "wrong usage, or a bad configuration"),
    error_code(3, "no daemon")
)]
struct Arguments {
    /// configuration file
    #[argh(option)]
    config: Option<PathBuf>,
    /// control socket (default: /run/go-overlay/control.sock, or GO_OVERLAY_SOCKET)
    #[argh(option)]
    socket: Option<PathBuf>,
    /// colour: auto, always or never
    #[argh(option, from_str_fn(color))]
    color: Option<ColorChoice>,
    /// log every state change
    #[argh(switch)]
    debug: bool,
    /// do not put a symlink into PATH
    #[argh(switch)]
    no_install: bool,
    /// print the version
    #[argh(switch)]
    version: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Command {
    List(List),
    Status(Status),
    Start(Start),
    Stop(Stop),
    Restart(Restart),
    Signal(SignalArgs),
    Wait(Wait),
    Health(Health),
    Shutdown(Shutdown),
    Check(Check),
    Install(Install),
    Uninstall(Uninstall),
    Version(Version),
}

/// every service with its state
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list")]
struct List {
    /// as JSON
    #[argh(switch)]
    json: bool,
}

/// the counts, or everything about one service
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
struct Status {
    /// as JSON
    #[argh(switch)]
    json: bool,
    /// a service's name
    #[argh(positional)]
    service: Option<String>,
}

/// start services and what they depend on
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "start")]
struct Start {
    /// every enabled service
    #[argh(switch)]
    all: bool,
    /// do not wait for the outcome
    #[argh(switch)]
    no_wait: bool,
    /// give up waiting after this long (10, 500ms, 1m30s)
    #[argh(option, from_str_fn(milliseconds))]
    timeout: Option<u64>,
    /// as JSON
    #[argh(switch)]
    json: bool,
    /// names
    #[argh(positional)]
    services: Vec<String>,
}

/// stop services
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "stop")]
struct Stop {
    /// every service
    #[argh(switch)]
    all: bool,
    /// do not wait for the outcome
    #[argh(switch)]
    no_wait: bool,
    /// give up waiting after this long (10, 500ms, 1m30s)
    #[argh(option, from_str_fn(milliseconds))]
    timeout: Option<u64>,
    /// as JSON
    #[argh(switch)]
    json: bool,
    /// names
    #[argh(positional)]
    services: Vec<String>,
}

/// stop services and start them again
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "restart")]
struct Restart {
    /// every enabled service
    #[argh(switch)]
    all: bool,
    /// what depends on them too
    #[argh(switch)]
    with_dependents: bool,
    /// do not wait for the outcome
    #[argh(switch)]
    no_wait: bool,
    /// give up waiting after this long (10, 500ms, 1m30s)
    #[argh(option, from_str_fn(milliseconds))]
    timeout: Option<u64>,
    /// as JSON
    #[argh(switch)]
    json: bool,
    /// names
    #[argh(positional)]
    services: Vec<String>,
}

/// send a signal to a service's main process
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "signal")]
struct SignalArgs {
    /// a service's name
    #[argh(positional)]
    service: String,
    /// SIGHUP, HUP or 1
    #[argh(positional)]
    signal: String,
}

/// wait until a service is running, healthy, stopped or completed
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "wait")]
struct Wait {
    /// running, healthy, stopped or completed
    #[argh(option, long = "for", from_str_fn(wait_for))]
    until: WaitFor,
    /// give up after this long (10, 500ms, 1m30s)
    #[argh(option, from_str_fn(milliseconds))]
    timeout: Option<u64>,
    /// as JSON
    #[argh(switch)]
    json: bool,
    /// a service's name
    #[argh(positional)]
    service: String,
}

/// exit 0 when every enabled service is up (for HEALTHCHECK)
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "health")]
struct Health {
    /// as JSON
    #[argh(switch)]
    json: bool,
}

/// stop everything and end the daemon
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "shutdown")]
struct Shutdown {
    /// the daemon's exit code
    #[argh(option)]
    exit_code: Option<u8>,
}

/// check a configuration and show the start order; needs no daemon
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "check")]
struct Check {
    /// default: as for the daemon
    #[argh(positional)]
    file: Option<PathBuf>,
}

/// put a symlink to this program into PATH
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "install")]
struct Install {
    /// where (default: /usr/local/bin)
    #[argh(option)]
    dir: Option<PathBuf>,
}

/// remove the symlink
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "uninstall")]
struct Uninstall {
    /// where (default: /usr/local/bin)
    #[argh(option)]
    dir: Option<PathBuf>,
}

/// print the version, and the daemon's
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "version")]
struct Version {
    /// as JSON
    #[argh(switch)]
    json: bool,
}

const SUBCOMMANDS: [&str; 13] = [
    "list",
    "status",
    "start",
    "stop",
    "restart",
    "signal",
    "wait",
    "health",
    "shutdown",
    "check",
    "install",
    "uninstall",
    "version",
];

const GLOBAL_OPTIONS: [&str; 3] = ["--config", "--socket", "--color"];
const GLOBAL_SWITCHES: [&str; 2] = ["--debug", "--no-install"];

/// Runs the program with its arguments, the name not among them; gives back the exit code.
pub fn run(arguments: Vec<OsString>) -> i32 {
    let mut words = arguments.split(|word| word == "--");
    let own = words.next().unwrap_or_default();
    let main_program = (own.len() < arguments.len()).then(|| arguments[own.len() + 1..].to_vec());
    let Some(own) = own
        .iter()
        .map(|word| word.to_str().map(str::to_owned))
        .collect::<Option<Vec<String>>>()
    else {
        return wrong_usage("an option is not UTF-8");
    };
    let own = arranged(own);
    if let Some(word) = unknown_subcommand(&own) {
        let near = config::nearest(word, SUBCOMMANDS)
            .map(|near| format!("; did you mean `{near}`?"))
            .unwrap_or_default();
        return wrong_usage(&format!("there is no command `{word}`{near}"));
    }
    let borrowed: Vec<&str> = own.iter().map(String::as_str).collect();
    match Arguments::from_args(&["go-overlay"], &borrowed) {
        Ok(parsed) => dispatch(parsed, main_program),
        Err(exit) if exit.status.is_ok() => print(&exit.output),
        Err(exit) => wrong_usage(exit.output.trim()),
    }
}

fn wrong_usage(what: &str) -> i32 {
    complain(&format!(
        "error: {what}\nRun go-overlay --help for what there is.\n"
    ));
    USAGE
}

/// `--x=y` in two words, `-h` written out, and global options in front of the subcommand. What follows
/// a subcommand's own positional words is left where it is.
fn arranged(words: Vec<String>) -> Vec<String> {
    let mut front = Vec::new();
    let mut rest = Vec::new();
    let mut words = words
        .into_iter()
        .flat_map(|word| match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => {
                vec![option.to_owned(), value.to_owned()]
            }
            _ if word == "-h" => vec!["--help".to_owned()],
            _ if word == "-V" => vec!["--version".to_owned()],
            _ => vec![word],
        });
    while let Some(word) = words.next() {
        if GLOBAL_OPTIONS.contains(&word.as_str()) {
            front.push(word);
            front.extend(words.next());
        } else if GLOBAL_SWITCHES.contains(&word.as_str()) {
            front.push(word);
        } else {
            rest.push(word);
        }
    }
    front.extend(rest);
    front
}

fn unknown_subcommand(words: &[String]) -> Option<&str> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if GLOBAL_OPTIONS.contains(&word.as_str()) {
            words.next();
        } else if !word.starts_with('-') {
            return Some(word.as_str())
                .filter(|word| !SUBCOMMANDS.contains(word) && *word != "help");
        }
    }
    None
}

fn dispatch(arguments: Arguments, main_program: Option<Vec<OsString>>) -> i32 {
    let socket = arguments
        .socket
        .clone()
        .or_else(|| std::env::var_os("GO_OVERLAY_SOCKET").map(PathBuf::from));
    let color = arguments.color.unwrap_or_default();
    let client = Client { socket, color };
    if arguments.version {
        return print(&format!("go-overlay {}\n", env!("CARGO_PKG_VERSION")));
    }
    let Some(command) = arguments.command else {
        return daemon::run(daemon::Options {
            config: arguments.config,
            socket: client.socket,
            debug: arguments.debug,
            color,
            install: !arguments.no_install,
            command: main_program,
        });
    };
    if main_program.is_some() {
        return wrong_usage("a main program after -- does not go with a command");
    }
    match command {
        Command::List(List { json }) => client.show(&Request::List {}, json, None),
        Command::Status(Status { json, service }) => {
            client.show(&Request::Status { service }, json, None)
        }
        Command::Start(Start {
            all,
            no_wait,
            timeout,
            json,
            services,
        }) => {
            let selection = Selection {
                services,
                all,
                with_dependents: false,
                no_wait,
                timeout_ms: timeout,
            };
            client.change(Request::Start, selection, json, "starting")
        }
        Command::Stop(Stop {
            all,
            no_wait,
            timeout,
            json,
            services,
        }) => {
            let selection = Selection {
                services,
                all,
                with_dependents: false,
                no_wait,
                timeout_ms: timeout,
            };
            client.change(Request::Stop, selection, json, "stopping")
        }
        Command::Restart(Restart {
            all,
            with_dependents,
            no_wait,
            timeout,
            json,
            services,
        }) => {
            let selection = Selection {
                services,
                all,
                with_dependents,
                no_wait,
                timeout_ms: timeout,
            };
            client.change(Request::Restart, selection, json, "restarting")
        }
        Command::Signal(SignalArgs { service, signal }) => {
            client.show(&Request::Signal { service, signal }, false, None)
        }
        Command::Wait(Wait {
            until,
            timeout,
            json,
            service,
        }) => {
            let waiting = format!("waiting for {service}");
            client.show(
                &Request::Wait {
                    service,
                    until,
                    timeout_ms: timeout,
                },
                json,
                Some(&waiting),
            )
        }
        Command::Health(Health { json }) => client.show(&Request::Health {}, json, None),
        Command::Shutdown(Shutdown { exit_code }) => {
            client.show(&Request::Shutdown { exit_code }, false, None)
        }
        Command::Check(Check { file }) => check(file.or(arguments.config), color),
        Command::Install(Install { dir }) => report(install::install(dir.as_deref())),
        Command::Uninstall(Uninstall { dir }) => report(install::uninstall(dir.as_deref())),
        Command::Version(Version { json }) => client.version(json),
    }
}

/// How this call of the program talks to the daemon and to the user.
struct Client {
    socket: Option<PathBuf>,
    color: ColorChoice,
}

impl Client {
    fn change(
        &self,
        verb: fn(Selection) -> Request,
        selection: Selection,
        json: bool,
        doing: &str,
    ) -> i32 {
        if selection.services.is_empty() != selection.all {
            return wrong_usage("name the services, or say --all");
        }
        let what = if selection.all {
            "every service".to_owned()
        } else {
            selection.services.join(", ")
        };
        self.show(&verb(selection), json, Some(&format!("{doing} {what}")))
    }

    fn show(&self, request: &Request, json: bool, waiting_for: Option<&str>) -> i32 {
        match client::ask(self.socket.as_deref(), request, waiting_for) {
            Ok(response) => self.answer(response, json),
            Err(error) => no_answer(&error),
        }
    }

    fn answer(&self, response: Response, json: bool) -> i32 {
        let style = Style {
            color: daemon::wants_color(self.color, &io::stdout()),
            width: terminal_width(),
        };
        let code = match &response {
            Response::Outcome { ok, .. } if !ok => FAILED,
            Response::Health { healthy: false, .. } | Response::Error { .. } => FAILED,
            _ => DONE,
        };
        let text = match &response {
            Response::Error { message, hint, .. } => {
                let hint = hint
                    .as_ref()
                    .map(|hint| format!("  = help: {hint}\n"))
                    .unwrap_or_default();
                complain(&format!("error: {message}\n{hint}"));
                String::new()
            }
            Response::List { services } if json => as_json(services),
            Response::System(status) if json => as_json(status),
            Response::Service(detail) if json => as_json(detail),
            other if json => as_json(other),
            Response::List { services } => render::list(services, style),
            Response::System(status) => render::system(status),
            Response::Service(detail) => render::service(detail),
            Response::Outcome { services, .. } => render::outcomes(services, style),
            Response::Health { healthy: true, .. } => "healthy\n".into(),
            Response::Health { reasons, .. } => {
                reasons.iter().map(|reason| format!("{reason}\n")).collect()
            }
            Response::Done { message } => format!("{message}\n"),
            Response::Version { version, pid, .. } => format!("daemon {version}, pid {pid}\n"),
        };
        print(&text);
        code
    }

    /// Our own version is always known; the daemon's where there is one.
    fn version(&self, json: bool) -> i32 {
        let daemon = client::ask(self.socket.as_deref(), &Request::Version {}, None).ok();
        if json {
            let value =
                serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "daemon": daemon });
            return print(&format!("{value}\n"));
        }
        print(&format!("go-overlay {}\n", env!("CARGO_PKG_VERSION")));
        daemon.map_or(DONE, |response| self.answer(response, false))
    }
}

fn no_answer(error: &ClientError) -> i32 {
    match error {
        ClientError::NoDaemon(error) => {
            complain(&format!(
                "error: {error}\n  = help: is the daemon running? Name its socket with --socket PATH or GO_OVERLAY_SOCKET\n"
            ));
            NO_DAEMON
        }
        ClientError::Broken { address, error } => {
            complain(&format!(
                "error: the daemon on {address} went away before it answered: {error}\n"
            ));
            NO_DAEMON
        }
    }
}

fn check(file: Option<PathBuf>, color: ColorChoice) -> i32 {
    let named = file.or_else(|| std::env::var_os("GO_OVERLAY_CONFIG").map(PathBuf::from));
    let path = named.unwrap_or_else(|| PathBuf::from(daemon::DEFAULT_CONFIG));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            complain(&format!("error: cannot read {}: {error}\n", path.display()));
            return USAGE;
        }
    };
    let checked = config::check(&text, &SystemFacts::new());
    let file = path.display().to_string();
    complain(&config::render(
        &checked.findings,
        &file,
        &text,
        daemon::wants_color(color, &io::stderr()),
    ));
    let Some(config) = checked.config else {
        return USAGE;
    };
    print(&format!(
        "{} is good: {} services. They start in this order:\n{}",
        file,
        config.services.len(),
        order(&config)
    ))
}

fn order(config: &config::Config) -> String {
    let line = |(number, index): (usize, usize)| {
        let service = &config.services[index];
        let on: Vec<&str> = service
            .depends_on
            .iter()
            .map(|dependency| dependency.on.as_str())
            .collect();
        let after = if on.is_empty() {
            String::new()
        } else {
            format!("  after {}", on.join(", "))
        };
        let disabled = if service.enabled { "" } else { "  (disabled)" };
        format!("{number:>4}. {}{after}{disabled}\n", service.name)
    };
    (1..).zip(config.start_order()).map(line).collect()
}

fn report(result: Result<Vec<String>, String>) -> i32 {
    match result {
        Ok(lines) => print(
            &lines
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        ),
        Err(why) => {
            complain(&format!("error: {why}\n"));
            FAILED
        }
    }
}

fn as_json<T: serde::Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// A reader that has seen enough is no failure.
fn print(text: &str) -> i32 {
    match io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| io::stdout().flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => FAILED,
        _ => DONE,
    }
}

fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

fn terminal_width() -> Option<usize> {
    io::stdout()
        .is_terminal()
        .then(crate::sys::pty::width_of_stdout)
        .flatten()
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

fn milliseconds(text: &str) -> Result<u64, String> {
    let duration = parse_duration(text).map_err(|why| format!("{text} is no duration: {why}"))?;
    u64::try_from(duration.as_millis()).map_err(|_| "too long".into())
}
