//! What the service manager above the daemon is told (sd_notify(3)): that every enabled service is up, how many are,
//! that the configuration is loaded again, and that the end has begun.

use std::collections::VecDeque;
use std::time::Duration;

use super::context::Context;
use crate::base::Moment;
use crate::supervisor::view::Progress;
use crate::sys::manager::ManagerSocket;

/// Datagrams that wait for room. A newer STATUS= replaces one that waits.
const MAX_WAITING: usize = 8;

/// What the manager has no room for is sent again after this, that many times.
const RETRY: Duration = Duration::from_millis(100);
const MOST_RETRIES: u32 = 600;

/// Services that are named in a status; the others are counted.
const NAMED: usize = 5;

/// The manager, and what it was told.
#[derive(Default)]
pub(super) struct Manager {
    socket: Option<ManagerSocket>,
    /// A service has changed since the last report.
    changed: bool,
    is_ready: bool,
    is_stopping: bool,
    status: String,
    waiting: VecDeque<String>,
    retries: u32,
    retry_at: Option<Moment>,
}

impl Manager {
    pub fn new(socket: Option<ManagerSocket>) -> Manager {
        Manager {
            changed: true,
            socket,
            ..Manager::default()
        }
    }

    /// A service has another state.
    pub fn note_change(&mut self) {
        self.changed = true;
    }

    /// When what waits is sent again.
    pub fn deadline(&self) -> Option<Moment> {
        self.retry_at
    }

    /// The shutdown has begun, for this reason.
    pub fn stopping(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.is_stopping, true) {
            self.send(format!(
                "STOPPING=1\nSTATUS=shutting down: {}",
                line(reason)
            ));
        }
    }

    /// The configuration is about to be read again; `now` is on CLOCK_MONOTONIC. Before it is ready the manager waits
    /// for that, and nothing else.
    pub fn reloading(&mut self, now: Moment) {
        if self.is_ready && !self.is_stopping {
            self.send(format!("RELOADING=1\nMONOTONIC_USEC={}", now.0 / 1000));
        }
    }

    /// It was read, and taken or refused.
    pub fn reloaded(&mut self) {
        if self.is_ready && !self.is_stopping {
            self.send("READY=1".into());
        }
    }

    /// Reports what has changed, where there is a manager.
    pub fn report(&mut self, cx: &mut Context<'_>) {
        if self.socket.is_none() {
            return;
        }
        if std::mem::take(&mut self.changed) {
            self.note_progress(&cx.supervisor.progress());
        }
        let complaint = self.flush(cx.now);
        cx.messages.extend(complaint);
    }

    fn note_progress(&mut self, progress: &Progress) {
        if self.is_stopping {
            return;
        }
        let status = summary(progress);
        let becomes_ready = !self.is_ready && progress.down.is_empty();
        if status == self.status && !becomes_ready {
            return;
        }
        let ready = if becomes_ready { "READY=1\n" } else { "" };
        self.is_ready |= becomes_ready;
        self.send(format!("{ready}STATUS={status}"));
        self.status = status;
    }

    fn send(&mut self, text: String) {
        if self.socket.is_none() {
            return;
        }
        let is_status = |text: &String| text.starts_with("STATUS=");
        if is_status(&text) {
            self.waiting.retain(|waiting| !is_status(waiting));
        }
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(text);
        }
    }

    /// Sends what waits; the complaint when that failed for good.
    fn flush(&mut self, now: Moment) -> Option<String> {
        let socket = self.socket.as_ref()?;
        self.retry_at = None;
        while let Some(text) = self.waiting.front() {
            let why = match socket.send(text) {
                Ok(true) => {
                    self.waiting.pop_front();
                    self.retries = 0;
                    continue;
                }
                Ok(false) if self.retries < MOST_RETRIES => {
                    self.retries += 1;
                    self.retry_at = Some(now.after(RETRY));
                    return None;
                }
                Ok(false) => "it takes nothing".to_owned(),
                Err(error) => error.to_string(),
            };
            *self = Manager::default();
            return Some(format!(
                "cannot report to the service manager (NOTIFY_SOCKET): {why}; nothing more is reported to it"
            ));
        }
        None
    }
}

/// `3 of 5 services up; not up: db (FAILED), web (STARTING)`.
fn summary(progress: &Progress) -> String {
    let (up, all) = (progress.up, progress.up + progress.down.len());
    if progress.down.is_empty() {
        return format!("{up} of {all} services up");
    }
    let named: Vec<String> = progress
        .down
        .iter()
        .take(NAMED)
        .map(|(name, state)| format!("{name} ({state})"))
        .collect();
    let more = match progress.down.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let names = line(&named.join(", "));
    format!("{up} of {all} services up; not up: {names}{more}")
}

/// One line, without anything that moves a cursor.
fn line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
