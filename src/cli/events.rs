//! `events`: shows what happens, a line each.

use std::io::{self, Write};

use super::talk::{self, Client};
use super::{DONE, FAILED, complain, not_written};
use crate::client;
use crate::control::message::{EventRecord, Request, Response};
use crate::daemon;
use crate::render::{self, Style};

impl Client {
    /// Shows what has happened, and with `follow` what comes.
    pub fn events(&self, request: &Request, json: bool) -> i32 {
        let stdout = io::stdout();
        let style = Style {
            color: daemon::wants_color(self.color, &stdout),
            width: None,
        };
        let mut out = stdout.lock();
        let mut code = DONE;
        let mut on_line = |line: &[u8]| {
            let shown = match serde_json::from_slice::<EventRecord>(line) {
                Ok(_) if json => talk::write_json_line(line, &mut out),
                Ok(record) => out.write_all(render::event(&record, style).as_bytes()),
                Err(_) => match serde_json::from_slice::<Response>(line) {
                    Ok(Response::Events {}) => return true,
                    Ok(Response::End {}) => return false,
                    Ok(Response::Error { message, hint, .. }) => {
                        code = talk::refused(&message, hint.as_deref());
                        return false;
                    }
                    Ok(_) | Err(_) => {
                        complain("error: cannot read the daemon's answer\n");
                        code = FAILED;
                        return false;
                    }
                },
            };
            let shown = shown.and_then(|()| out.flush());
            shown.map_err(|error| code = not_written(&error)).is_ok()
        };
        let socket = self.socket.as_deref();
        match client::stream(socket, request, &mut on_line, &mut || true) {
            Ok(()) => code,
            Err(error) => talk::no_answer(&error),
        }
    }
}
