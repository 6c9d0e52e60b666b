//! Subcommands that talk to the daemon: ask, show the answer, and say with the exit code what it means.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{FAILED, NO_DAEMON, USAGE, complain, print, wrong_usage};
use crate::base::terminal;
use crate::client::{self, ClientError};
use crate::control::message::{ErrorCode, Request, Response, Selection};
use crate::daemon;
use crate::render::{self, ColorChoice, Style};

/// How this call of the program talks to the daemon and to the user.
pub(super) struct Client {
    pub socket: Option<PathBuf>,
    pub color: ColorChoice,
}

impl Client {
    /// Starts, stops or restarts: `command` as it was typed, `doing` as it is told while it lasts.
    pub fn change(
        &self,
        verb: fn(Selection) -> Request,
        selection: Selection,
        json: bool,
        (command, doing): (&'static str, &str),
    ) -> i32 {
        if selection.services.is_empty() != selection.all {
            let what = match selection.all {
                true => "--all is every service: name none, or leave it out",
                false => "name the services, or say --all",
            };
            return wrong_usage(what, Some(command));
        }
        let what = if selection.all {
            "every service".to_owned()
        } else {
            selection.services.join(", ")
        };
        self.show(&verb(selection), json, Some(&format!("{doing} {what}")))
    }

    /// Asks and shows the answer. `waiting_for`: what a person is told meanwhile.
    pub fn show(&self, request: &Request, json: bool, waiting_for: Option<&str>) -> i32 {
        match client::ask(self.socket.as_deref(), request, waiting_for) {
            Ok(response) => self.answer(&response, json),
            Err(error) => no_answer(&error),
        }
    }

    fn answer(&self, response: &Response, json: bool) -> i32 {
        let style = Style {
            color: daemon::wants_color(self.color, &io::stdout()),
            width: crate::sys::pty::width_of_stdout(),
        };
        let text = match response {
            Response::Error {
                code: ErrorCode::BadConfig,
                message,
                ..
            } => return bad_config(message),
            Response::Error { message, hint, .. } => return refused(message, hint.as_deref()),
            Response::List { services } if json => as_json(services),
            Response::System(status) if json => as_json(status),
            Response::Service(detail) if json => as_json(detail),
            other if json => as_json(other),
            Response::List { services } => render::list(services, style),
            Response::System(status) => render::system(status),
            Response::Service(detail) => render::service(detail, style),
            Response::Outcome { services, .. } => render::outcomes(services, style),
            Response::Health { healthy, reasons } => render::health(*healthy, reasons, style),
            Response::Logs { .. } | Response::Events {} | Response::End {} => String::new(),
            Response::Reload { applied, plan } => render::reload(*applied, plan, style),
            Response::Done { message } => format!("{}\n", render::plain(message)),
            Response::Version { version, pid, .. } => {
                format!("daemon {}, pid {pid}\n", render::plain(version))
            }
        };
        let shown = print(&text);
        let is_failure = matches!(
            response,
            Response::Outcome { ok: false, .. } | Response::Health { healthy: false, .. }
        );
        if is_failure { FAILED } else { shown }
    }

    /// Our own version is always known; the daemon's where there is one.
    pub fn version(&self, json: bool) -> i32 {
        let daemon = client::ask(self.socket.as_deref(), &Request::Version {}, None).ok();
        if json {
            let value =
                serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "daemon": daemon });
            return print(&as_json(&value));
        }
        let shown = print(&format!("go-overlay {}\n", env!("CARGO_PKG_VERSION")));
        daemon.map_or(shown, |response| self.answer(&response, false))
    }
}

/// The daemon said no.
pub(super) fn refused(message: &str, hint: Option<&str>) -> i32 {
    let hint = hint.map(render::plain);
    let hint = hint.map_or(String::new(), |hint| format!("  = help: {hint}\n"));
    complain(&format!("error: {}\n{hint}", render::plain(message)));
    FAILED
}

/// The report on a configuration is of several lines, which are the daemon's own.
fn bad_config(message: &str) -> i32 {
    let lines = message.lines().map(render::plain);
    let text: Vec<_> = lines.collect();
    complain(&format!("error: {}\n", text.join("\n")));
    USAGE
}

pub(super) fn no_answer(error: &ClientError) -> i32 {
    // An error may repeat what the other end sent.
    match error {
        ClientError::NoDaemon(error) => complain(&format!(
            "error: {error}\n  = help: is the daemon running? Name its socket with --socket PATH or GO_OVERLAY_SOCKET\n"
        )),
        ClientError::Broken { address, error } => complain(&format!(
            "error: no answer from the daemon on {address}: {}\n",
            render::plain(&error.to_string())
        )),
        ClientError::Cut { address } => complain(&format!(
            "error: the daemon on {address} went away in the middle of its answer\n"
        )),
    }
    NO_DAEMON
}

/// For programs: an object or array, laid out over lines.
pub(super) fn as_json<T: serde::Serialize>(value: &T) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    format!("{}\n", terminal::json(&text))
}

/// The same for a line of JSON from the daemon, which stays one line.
pub(super) fn write_json_line(line: &[u8], out: &mut impl Write) -> io::Result<()> {
    let text = String::from_utf8_lossy(line);
    out.write_all(terminal::json(&text).as_bytes())?;
    out.write_all(b"\n")
}
