//! The daemon, put together: read the configuration, take on the duties of PID 1, build the supervisor
//! and the reactor, run. Until the configuration was found good and the socket is ours, nothing is
//! started.

mod load;

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Config, model};
use crate::domain::Clock;
use crate::output::prefix::Prefixer;
use crate::reactor::{Reactor, Setup};
use crate::render::ColorChoice;
use crate::supervisor::Supervisor;
use crate::sys::manager::ManagerSocket;
use crate::sys::signals::SignalFd;
use crate::sys::socket::{self, BindError, Bound};
use crate::sys::{clock, descriptors, install, limits, pid1, reserve, survivors};
use load::Loaded;

/// Where the configuration is looked for when nobody says where.
pub const DEFAULT_CONFIG: &str = "/services.toml";

/// The exit code for a bad configuration or wrong usage.
const EXIT_USAGE: i32 = 2;

/// How long the end waits for the control socket to be removed.
const REMOVAL: Duration = Duration::from_secs(1);

/// What the command line asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file; None: [`DEFAULT_CONFIG`].
    pub config: Option<PathBuf>,
    /// The control socket; None: the default place.
    pub socket: Option<PathBuf>,
    /// Say more.
    pub debug: bool,
    /// Whether names are coloured.
    pub color: ColorChoice,
    /// Whether the program puts itself in PATH.
    pub install: bool,
    /// The main program and its arguments, after `--`.
    pub command: Option<Vec<OsString>>,
}

/// Runs the daemon to its end, which is the process's; gives back the exit code where it did not start.
pub fn run(options: Options) -> i32 {
    descriptors::ensure_standard_descriptors();
    descriptors::mark_inherited_close_on_exec();
    let signals = match SignalFd::new() {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format!("error: cannot watch signals: {error}\n"));
            return 1;
        }
    };
    let loaded = match load::load(&options) {
        Ok(loaded) => loaded,
        Err(Refusal { text, code }) => {
            complain(&text);
            return code;
        }
    };
    let main_program = match main_program(&options) {
        Ok(main_program) => main_program,
        Err(text) => {
            complain(&text);
            return EXIT_USAGE;
        }
    };
    match supervise(&options, signals, loaded, main_program) {
        Ok(never) => match never {},
        Err(Refusal { text, code }) => {
            complain(&text);
            code
        }
    }
}

/// Why the daemon does not start.
struct Refusal {
    text: String,
    code: i32,
}

/// The main program as a service like any other; its name holds a space, so that none of the file's
/// can be taken for it.
fn main_program(options: &Options) -> Result<Option<model::Service>, String> {
    let Some(words) = &options.command else {
        return Ok(None);
    };
    let mut words = words.iter().map(|word| {
        word.to_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("error: cannot run {}: it is not UTF-8\n", word.display()))
    });
    let Some(command) = words.next() else {
        return Err("error: cannot run a main program: none stands after --\n".into());
    };
    let (command, args) = (command?, words.collect::<Result<_, _>>()?);
    Ok(Some(model::Service {
        name: "main program".into(),
        command,
        args,
        ..model::Service::default()
    }))
}

fn supervise(
    options: &Options,
    signals: SignalFd,
    loaded: Loaded,
    main_program: Option<model::Service>,
) -> Result<Infallible, Refusal> {
    let cannot = |what: &str, error: std::io::Error| Refusal {
        text: format!("error: cannot {what}: {error}\n"),
        code: 1,
    };
    let mut messages = Vec::new();
    limits::lift_descriptor_limit();
    // Where there is none, the daemon does without.
    reserve::take();
    let bound = match &loaded.path {
        Some(_) => bind(options, &mut messages)?,
        None => None,
    };
    if !pid1::is_pid1()
        && let Err(error) = pid1::become_subreaper()
    {
        messages.push(format!(
            "cannot adopt orphans: {error}; processes that detach themselves may be left over"
        ));
    }
    if options.install && loaded.path.is_some() {
        let notes = install::auto_install();
        if options.debug {
            messages.extend(notes);
        }
    }
    let clock = Clock::new(clock::reading());
    let now = clock.now();
    let prefixer = prefixer(&loaded.config, options);
    // Containers that fail together may all be pid 1, but did not start in the same nanosecond.
    let seed = now.mono.0 ^ (u64::from(std::process::id()) << 32);
    let listener = match &bound {
        Some(bound) => Some(
            bound
                .listener
                .try_clone()
                .map_err(|error| cannot("listen on the control socket", error))?,
        ),
        None => None,
    };
    let manager = service_manager(&mut messages);
    let setup = Setup {
        manager,
        supervisor: Supervisor::new(loaded.config, main_program, now).with_seed(seed),
        clock,
        signals,
        listener,
        prefixer,
        config_path: loaded.path.map(|path| path.display().to_string()),
        debug: options.debug,
        messages,
        reader: loaded.reader,
    };
    let mut reactor = Reactor::new(setup).map_err(|error| cannot("start the loop", error))?;
    let code = reactor.run();
    if let Some(bound) = bound {
        bound.remove_within(REMOVAL);
    }
    // What the reactor holds goes with the process at once. To free the memory of thousands of services piece by
    // piece keeps whoever waits for this end.
    std::process::exit(i32::from(code));
}

/// What a daemon before this one left would hold the ports and files that the services need.
fn end_survivors(bound: &Bound, messages: &mut Vec<String>) {
    survivors::begin_marking(&bound.address);
    // An abstract name goes with its daemon, so that nothing shows whether there was one.
    let is_abstract = matches!(bound.address, socket::Address::Abstract(_));
    if bound.replaces_dead || is_abstract {
        match survivors::kill_all() {
            0 => {}
            count => messages.push(format!(
                "the daemon before this one was killed: ended {count} of its processes"
            )),
        }
    }
}

/// A daemon that lives already is never displaced; any other trouble with the socket costs the
/// commands, not the services.
fn bind(options: &Options, messages: &mut Vec<String>) -> Result<Option<Bound>, Refusal> {
    match socket::bind(options.socket.as_deref()) {
        Ok(bound) => {
            end_survivors(&bound, messages);
            if options.debug {
                messages.push(format!("control socket: {}", bound.address));
            }
            Ok(Some(bound))
        }
        Err(error @ BindError::AlreadyRunning { .. }) => {
            let table =
                crate::client::describe_running(options.socket.as_deref()).unwrap_or_default();
            Err(Refusal {
                text: format!("error: {error}\n{table}"),
                code: 1,
            })
        }
        Err(error) if options.socket.is_some() => Err(Refusal {
            text: format!("error: {error}\n"),
            code: 1,
        }),
        Err(error) => {
            messages.push(format!(
                "{error}; the commands of go-overlay will not reach this daemon"
            ));
            Ok(None)
        }
    }
}

/// The service manager that started the daemon, where it wants to be told. Services never inherit its address.
fn service_manager(messages: &mut Vec<String>) -> Option<ManagerSocket> {
    let address = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())?;
    match ManagerSocket::connect(&address) {
        Ok(manager) => Some(manager),
        Err(error) => {
            messages.push(format!(
                "cannot report to the service manager at {} (NOTIFY_SOCKET): {error}; it will not learn that the services are up",
                address.display()
            ));
            None
        }
    }
}

fn prefixer(config: &Config, options: &Options) -> Prefixer {
    let width = config
        .services
        .iter()
        .map(|service| service.name.len())
        .max()
        .unwrap_or(0);
    let stdout = std::io::stdout();
    let prefixer = Prefixer::new(width, wants_color(options.color, &stdout));
    // Who wants no colour does not want a terminal that services may steer.
    match stdout.is_terminal() {
        true => prefixer.on_screen(),
        false => prefixer,
    }
}

/// Colour where a person looks (<https://no-color.org>), or where it was asked for.
pub fn wants_color(choice: ColorChoice, stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => stream.is_terminal() && !refused && !dumb,
    }
}

/// Writes to standard error before there is a loop; nobody to read it is not our trouble.
fn complain(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
