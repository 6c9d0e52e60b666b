//! The command line: from words to a function a subcommand, and to an exit code.

mod arguments;
mod commands;
mod completions;
mod events;
mod familiar;
mod help;
mod logs;
mod offline;
mod requests;
mod runs;
mod schedule;
mod talk;
mod words;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use argh::FromArgs;

use crate::base::Signal;
use crate::control::message::Request;
use crate::daemon;
use crate::sys::install;
use arguments::{Arguments, Command, SignalArgs};
use talk::Client;
use words::{Asked, Wrong};

const DONE: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const NO_DAEMON: i32 = 3;

/// Runs the program with its arguments, the name not among them; gives back the exit code.
pub fn run(arguments: Vec<OsString>) -> i32 {
    let (own, main_program) = words::apart(arguments);
    let own: Option<Vec<String>> = own
        .into_iter()
        .map(|word| word.into_string().ok())
        .collect();
    let Some(own) = own else {
        return wrong_usage("an option is not UTF-8", None);
    };
    let (words, command) = match words::arrange(&own) {
        Ok(Asked::Help(of)) => {
            let command = of.and_then(commands::find);
            return print(&command.map_or_else(help::text, help::of));
        }
        Ok(Asked::Words(words, command)) => (words, command),
        Err(wrong) => return wrong_words(wrong),
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match Arguments::from_args(&["go-overlay"], &words) {
        Ok(parsed) => dispatch(parsed, main_program),
        Err(exit) if exit.status.is_ok() => print(&exit.output),
        Err(exit) => wrong_words(words::refused(&exit.output, command)),
    }
}

/// Says what is wrong with the words, and where help is: a subcommand's own where there is one.
fn wrong_usage(what: &str, of: Option<&'static str>) -> i32 {
    wrong_words(Wrong {
        what: what.to_owned(),
        help: None,
        of,
    })
}

fn wrong_words(Wrong { what, help, of }: Wrong) -> i32 {
    let of = of.map_or(String::new(), |command| format!(" {command}"));
    let help = help.unwrap_or_else(|| format!("go-overlay{of} --help shows what there is"));
    complain(&format!("error: {what}\n  = help: {help}\n"));
    USAGE
}

/// A variable that is set to nothing counts as not set.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn dispatch(arguments: Arguments, main_program: Option<Vec<OsString>>) -> i32 {
    if arguments.version {
        return print(&format!("go-overlay {}\n", env!("CARGO_PKG_VERSION")));
    }
    let socket = arguments.socket.or_else(|| variable("GO_OVERLAY_SOCKET"));
    let color = arguments.color.unwrap_or_default();
    let Some(command) = arguments.command else {
        return daemon::run(daemon::Options {
            config: arguments.config.or_else(|| variable("GO_OVERLAY_CONFIG")),
            socket,
            debug: arguments.debug,
            color,
            install: !arguments.no_install,
            command: main_program,
        });
    };
    if main_program.is_some() {
        return wrong_usage("a main program after -- does not go with a command", None);
    }
    match command {
        Command::Check(check) => offline::check(check.file.or(arguments.config), check.json, color),
        Command::Schedule(arguments) => schedule::run(&arguments),
        Command::Install(install) => offline::tell(install::install(install.dir.as_deref())),
        Command::Uninstall(install) => offline::tell(install::uninstall(install.dir.as_deref())),
        Command::Completions(completions) => print(&completions::script(completions.shell)),
        command => ask(&Client { socket, color }, command),
    }
}

fn ask(client: &Client, command: Command) -> i32 {
    match command {
        Command::List(list) => client.show(&Request::List {}, list.json, None),
        Command::Status(status) => {
            let request = Request::Status {
                service: status.service,
            };
            client.show(&request, status.json, None)
        }
        Command::Logs(logs) => {
            let (json, timestamps) = (logs.json, logs.timestamps);
            client.logs(&logs.into(), json, timestamps)
        }
        Command::Events(events) => {
            let json = events.json;
            client.events(&events.into(), json)
        }
        Command::Health(health) => client.show(&Request::Health {}, health.json, None),
        Command::Version(version) => client.version(version.json),
        Command::Start(start) => {
            let (json, words) = (start.json, ("start", "starting"));
            client.change(Request::Start, start.into(), json, words)
        }
        Command::Stop(stop) => {
            let (json, words) = (stop.json, ("stop", "stopping"));
            client.change(Request::Stop, stop.into(), json, words)
        }
        Command::Restart(restart) => {
            let (json, words) = (restart.json, ("restart", "restarting"));
            client.change(Request::Restart, restart.into(), json, words)
        }
        Command::Signal(SignalArgs { service, signal })
            if Signal::parse(&signal).is_none() && Signal::parse(&service).is_some() =>
        {
            let what = format!("the service comes first: go-overlay signal {signal} {service}");
            wrong_usage(&what, Some("signal"))
        }
        Command::Signal(signal) => {
            let request = Request::Signal {
                service: signal.service,
                signal: signal.signal,
            };
            client.show(&request, false, None)
        }
        Command::Wait(wait) => {
            let waiting = format!("waiting for {}", wait.service);
            let request = Request::Wait {
                service: wait.service,
                until: wait.until,
                timeout_ms: wait.timeout,
            };
            client.show(&request, wait.json, Some(&waiting))
        }
        Command::Reload(reload) => {
            let request = Request::Reload {
                dry_run: reload.dry_run,
            };
            client.show(&request, reload.json, Some("reloading"))
        }
        Command::Shutdown(shutdown) => {
            let request = Request::Shutdown {
                exit_code: shutdown.exit_code,
            };
            client.show(&request, false, None)
        }
        // They need no daemon, and were dealt with before.
        Command::Check(_)
        | Command::Schedule(_)
        | Command::Install(_)
        | Command::Uninstall(_)
        | Command::Completions(_) => FAILED,
    }
}

fn print(text: &str) -> i32 {
    let mut stdout = io::stdout();
    let written = stdout.write_all(text.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Err(error) => not_written(&error),
        Ok(()) => DONE,
    }
}

/// A reader that has seen enough is no failure.
fn not_written(error: &io::Error) -> i32 {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return DONE;
    }
    complain(&format!("error: cannot write the output: {error}\n"));
    FAILED
}

fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests;
