//! `logs`: shows lines as they arrive.

use std::io::{self, BufWriter, IsTerminal, Write};

use super::talk::{self, Client};
use super::{DONE, complain};
use crate::client;
use crate::control::message::{LogLine, Request, Response};
use crate::daemon;
use crate::output::format::RESET;
use crate::output::prefix::Prefixer;
use crate::output::screen;

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
        };
        let out = std::cell::RefCell::new(BufWriter::with_capacity(64 * 1024, stdout.lock()));
        let mut refusal = None;
        let mut on_line = |line: &[u8]| match view.show(line, &mut *out.borrow_mut()) {
            Ok(Next::More) => true,
            Ok(Next::Over) => false,
            Ok(Next::Refused(response)) => {
                refusal = Some(response);
                false
            }
            // A reader that has seen enough is no failure.
            Err(_) => false,
        };
        let mut on_pause = || out.borrow_mut().flush().is_ok();
        let result = client::stream(self.socket.as_deref(), request, &mut on_line, &mut on_pause);
        let _ = out.borrow_mut().flush();
        match (result, refusal) {
            (Err(error), _) => talk::no_answer(&error),
            (Ok(()), Some(Response::Error { message, hint, .. })) => {
                talk::refused(&message, hint.as_deref())
            }
            (Ok(()), Some(_)) => talk::refused("the daemon did not understand `logs`", None),
            (Ok(()), None) => DONE,
        }
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
}

/// What a line from the daemon means for the next ones.
enum Next {
    More,
    Over,
    Refused(Response),
}

impl View {
    fn show(&mut self, line: &[u8], out: &mut impl Write) -> io::Result<Next> {
        match serde_json::from_slice::<LogLine>(line) {
            Ok(_) if self.json => {
                out.write_all(line)?;
                out.write_all(b"\n")?;
                Ok(Next::More)
            }
            Ok(line) => self.show_line(&line, out).map(|()| Next::More),
            Err(_) => match serde_json::from_slice::<Response>(line) {
                Ok(Response::Logs { services }) => {
                    let width = services.iter().map(String::len).max().unwrap_or(0);
                    self.prefixer = Prefixer::new(width, self.color);
                    Ok(Next::More)
                }
                Ok(Response::End {}) => Ok(Next::Over),
                Ok(other) => Ok(Next::Refused(other)),
                Err(error) => {
                    complain(&format!(
                        "error: cannot read the daemon's answer: {error}\n"
                    ));
                    Ok(Next::Over)
                }
            },
        }
    }

    fn show_line(&self, line: &LogLine, out: &mut impl Write) -> io::Result<()> {
        if self.timestamps {
            write!(out, "{} ", line.time)?;
        }
        let prefix = self.prefixer.prefix(&line.service);
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
}
