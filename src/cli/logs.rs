//! `logs`: shows lines as they arrive.

use std::cell::{Cell, RefCell};
use std::io::{self, BufWriter, IsTerminal, Write};

use super::runs::Runs;
use super::talk::{self, Client};
use super::{DONE, complain, not_written};
use crate::base::terminal::columns_of;
use crate::client;
use crate::control::message::{LogLine, Request, Response};
use crate::daemon;
use crate::output::format::RESET;
use crate::output::prefix::Prefixer;
use crate::output::screen;
use crate::render;

impl Client {
    /// Shows the last output of services, and with `follow` what comes.
    pub fn logs(&self, request: &Request, json: bool, timestamps: bool) -> i32 {
        let stdout = io::stdout();
        let mut view = View {
            json,
            timestamps,
            screen: stdout.is_terminal(),
            color: daemon::wants_color(self.color, &stdout),
            prefixer: Prefixer::new(0, false),
            runs: Runs::new(self.socket.clone()),
        };
        let out = RefCell::new(BufWriter::with_capacity(64 * 1024, stdout.lock()));
        let code = Cell::new(DONE);
        let failed = |error: io::Error| code.set(not_written(&error));
        let mut on_line = |line: &[u8]| match view.show(line, &mut *out.borrow_mut()) {
            Ok(Next::More) => true,
            Ok(Next::Over(with)) => {
                code.set(with);
                false
            }
            Err(error) => {
                failed(error);
                false
            }
        };
        let mut on_pause = || out.borrow_mut().flush().map_err(failed).is_ok();
        let result = client::stream(self.socket.as_deref(), request, &mut on_line, &mut on_pause);
        if code.get() == DONE {
            let _ = out.borrow_mut().flush().map_err(failed);
        }
        // What could not be written is not tried once more.
        let _ = out.into_inner().into_parts();
        result.map_or_else(|error| talk::no_answer(&error), |()| code.get())
    }
}

/// How lines are shown.
struct View {
    json: bool,
    timestamps: bool,
    /// They go to a terminal, which they must not steer.
    screen: bool,
    color: bool,
    prefixer: Prefixer,
    runs: Runs,
}

/// What a line from the daemon means for the next ones.
enum Next {
    More,
    /// There are none; with this exit code.
    Over(i32),
}

impl View {
    fn show(&mut self, line: &[u8], out: &mut impl Write) -> io::Result<Next> {
        match serde_json::from_slice::<LogLine>(line) {
            Ok(_) if self.json => talk::write_json_line(line, out).map(|()| Next::More),
            Ok(line) => self.show_line(&line, out).map(|()| Next::More),
            Err(_) => Ok(self.take_answer(line)),
        }
    }

    /// A line that is not one of output.
    fn take_answer(&mut self, line: &[u8]) -> Next {
        match serde_json::from_slice::<Response>(line) {
            Ok(Response::Logs { services, not_kept }) => {
                if !not_kept.is_empty() {
                    complain(&format!("note: {}\n", nothing_kept(&not_kept)));
                }
                let names = services.iter().map(|name| columns_of(&render::plain(name)));
                let width = names.max().unwrap_or(0);
                self.prefixer = Prefixer::new(width, self.color);
                Next::More
            }
            Ok(Response::End {}) => Next::Over(DONE),
            Ok(Response::Error { message, hint, .. }) => {
                Next::Over(talk::refused(&message, hint.as_deref()))
            }
            Ok(_) => Next::Over(talk::refused("the daemon did not understand `logs`", None)),
            Err(error) => {
                // It may repeat what the daemon sent.
                let why = format!("cannot read the daemon's answer: {error}");
                Next::Over(talk::refused(&why, None))
            }
        }
    }

    fn show_line(&mut self, line: &LogLine, out: &mut impl Write) -> io::Result<()> {
        let prefix = self.prefixer.prefix(&render::plain(&line.service));
        if let Some(time) = self.runs.begins_with(line) {
            self.show_start(&render::plain(&time), &prefix, out)?;
        }
        if self.timestamps {
            write!(out, "{} ", render::plain(&line.time))?;
        }
        let prefix = prefix.strip_suffix(' ').unwrap_or(&prefix);
        let mark = if line.continued { '+' } else { ' ' };
        write!(out, "{prefix}{mark}")?;
        let mut text = line.line.as_bytes().to_vec();
        if self.screen {
            text.clear();
            screen::write(line.line.as_bytes(), &mut text);
        }
        out.write_all(&text)?;
        if text.contains(&0x1b) {
            out.write_all(RESET)?;
        }
        out.write_all(b"\n")
    }

    /// What separates a run from the one before it; laid out as a line of the service.
    fn show_start(&self, time: &str, prefix: &str, out: &mut impl Write) -> io::Result<()> {
        if self.timestamps {
            write!(out, "{time} ")?;
        }
        // Milliseconds will do for a person.
        let mark = format!("--- started {}Z ---", time.get(..23).unwrap_or(time));
        match self.color {
            true => writeln!(out, "{prefix}\x1b[2m{mark}\x1b[0m"),
            false => writeln!(out, "{prefix}{mark}"),
        }
    }
}

/// Why nothing of these services is shown, however much they say.
fn nothing_kept(services: &[String]) -> String {
    let names = services.join(", ");
    let names = render::plain(&names);
    format!("the output of {names} is not kept (a log buffer of 0), so it is not shown")
}
