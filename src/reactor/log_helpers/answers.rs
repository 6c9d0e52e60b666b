//! What the children report, what becomes of those that do not, and how their work ends with the daemon.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use super::{AT_THE_END, HANGS, Helper, LATE, Of, Out, Role, Task};
use crate::base::{Moment, ServiceId};
use crate::output::format::counted;
use crate::reactor::console::Kind;
use crate::reactor::context::Context;
use crate::reactor::output::Output;
use crate::reactor::token::Slot;
use crate::sys::log_file::Report;
use crate::sys::signals::SignalFd;
use crate::sys::{aside, clock, reap};

/// At the end, even a child that has hung for long gets so much time to go on.
const LAST_CHANCE: Duration = Duration::from_millis(100);

impl Output {
    /// A child has something to report, or has ended.
    pub(in crate::reactor) fn on_log_helper(&mut self, slot: Slot, cx: &mut Context<'_>) {
        if let Some(place) = self.log_helpers.table.place_of(slot) {
            self.read_reports(place, cx);
        }
    }

    fn read_reports(&mut self, key: usize, cx: &mut Context<'_>) {
        while let Some(helper) = self.log_helpers.table.get_mut(key) {
            match Report::receive(&helper.socket) {
                Ok(Some(report)) => self.on_report(key, report, cx),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(None) | Err(_) => return self.end_helper(key, cx),
            }
        }
    }

    fn on_report(&mut self, key: usize, report: Report, cx: &mut Context<'_>) {
        let Some(helper) = self.log_helpers.table.get_mut(key) else {
            return;
        };
        helper.is_late = false;
        helper.since = cx.now;
        if std::mem::take(&mut helper.is_reported) {
            let what = helper.what();
            cx.messages.push(format!("{what} answers again"));
        }
        match (&mut helper.role, report) {
            (_, Report::Said(text)) => cx.messages.push(text),
            (Role::Opener(tasks), report) => {
                if let Some(task) = tasks.pop_front() {
                    self.on_opened(&task, report, cx);
                }
            }
            (Role::Rotator { of, is_busy }, Report::Answer(answer)) => {
                *is_busy = false;
                let of = of.clone();
                self.finish_errand(&of, answer, cx);
            }
            (Role::Writer { of, out, .. }, Report::Written { bytes, lines }) => {
                out.subtract(bytes, lines);
                let of = of.clone();
                if self.file_of(&of).is_some() {
                    self.send_to_writer(of.clone(), cx);
                    self.streams.after_help(of.service);
                }
            }
            (Role::Console { kind, .. }, Report::Written { bytes, lines }) => {
                let kind = *kind;
                self.console_mut(kind).sent.subtract(bytes, lines);
                self.note_console(kind, cx.now);
            }
            _ => {}
        }
    }

    fn on_opened(&mut self, task: &Task, report: Report, cx: &mut Context<'_>) {
        match (task, report) {
            (Task::Open(of, _), Report::Answer(answer)) => self.finish_errand(of, answer, cx),
            (Task::Open(of, _), Report::Absent) if self.file_of(of).is_some() => {
                // It is opened when its service starts.
                if let Some(outlet) = self.streams.outlet(of.service) {
                    outlet.drop_file();
                }
                self.streams.after_help(of.service);
            }
            (Task::IsLocal(kind), Report::IsLocal(true)) => self.console_mut(*kind).write_here(),
            (Task::IsLocal(kind), Report::IsLocal(false)) => self.start_console(*kind, cx),
            _ => {}
        }
    }

    /// A child has ended, or is of no use any more.
    pub(super) fn end_helper(&mut self, key: usize, cx: &mut Context<'_>) {
        let Some(helper) = self.log_helpers.table.take(key) else {
            return;
        };
        // It may only have closed its socket.
        cx.helpers.end(helper.pid);
        let ended = "the process for it has ended";
        match helper.role {
            Role::Opener(tasks) => {
                self.fail_tasks(tasks, ended, cx);
                let backlog = std::mem::take(&mut self.log_helpers.backlog);
                self.start_opener(backlog, cx);
            }
            Role::Rotator { of, is_busy: true } => {
                let why = crate::sys::log_file::Answer::Failed(ended.to_owned());
                self.finish_errand(&of, why, cx);
            }
            Role::Rotator { .. } => {}
            Role::Writer { of, out, .. } => {
                let said = self
                    .file_of(&of)
                    .and_then(|file| file.end_writer(out.lines));
                cx.messages.extend(said);
                self.streams.after_help(of.service);
            }
            Role::Console { kind, .. } => {
                let lost = std::mem::take(&mut self.console_mut(kind).sent).lines;
                if lost > 0 {
                    let (lost, name) = (counted(lost, "line"), kind.name());
                    cx.messages.push(format!(
                        "the process that writes {name} has ended; {lost} may be missing"
                    ));
                }
                self.start_console(kind, cx);
            }
        }
    }

    /// The children of a log file that was replaced, or is not needed any more, finish what they have and end.
    pub(in crate::reactor) fn retire_log_helpers(&mut self, service: ServiceId) {
        let present = self
            .streams
            .outlet(service)
            .and_then(|outlet| outlet.settings());
        for helper in self.log_helpers.table.values() {
            if let Role::Rotator { of, .. } | Role::Writer { of, .. } = &helper.role
                && of.service == service
                && present
                    .as_ref()
                    .is_none_or(|settings| !Rc::ptr_eq(settings, &of.settings))
            {
                let _ = helper.socket.shutdown(Shutdown::Write);
            }
        }
    }

    /// What was written to a console's child since.
    pub(in crate::reactor) fn note_console(&mut self, which: Kind, now: Moment) {
        if let Some(key) = self.log_helpers.console(which) {
            let sent = self.console(which).sent;
            let helper = &mut self.log_helpers.table[key];
            helper.begin(now);
            if let Role::Console { out, .. } = &mut helper.role {
                *out = sent;
            }
        }
    }

    /// Looks for children that do not answer.
    pub(in crate::reactor) fn check_log_helpers(&mut self, cx: &mut Context<'_>) {
        let helpers = self.log_helpers.table.iter();
        let due = helpers.filter(|(_, helper)| helper.deadline().is_some_and(|at| at <= cx.now));
        for key in due.map(|(key, _)| key).collect::<Vec<_>>() {
            let Some(helper) = self.log_helpers.table.get_mut(key) else {
                continue;
            };
            if std::mem::replace(&mut helper.is_late, true) {
                helper.is_reported = true;
                let what = helper.what();
                cx.messages.push(format!(
                    "{what} does not answer: its mount or its disk hangs"
                ));
                continue;
            }
            let mut rest = VecDeque::new();
            let mut unknown = None;
            if let Role::Opener(tasks) = &mut helper.role {
                rest = tasks.split_off(1.min(tasks.len()));
                // It opens nothing more.
                let _ = helper.socket.shutdown(Shutdown::Write);
                if let Some(Task::IsLocal(kind)) = tasks.front() {
                    unknown = Some(*kind);
                }
            }
            let is_writer = matches!(helper.role, Role::Writer { .. });
            let of = helper.of().filter(|_| !is_writer).cloned();
            if let Some(of) = of {
                self.note_late(&of, cx);
            }
            if let Some(kind) = unknown {
                self.start_console(kind, cx);
            }
            self.start_opener(rest, cx);
        }
    }

    fn note_late(&mut self, of: &Of, cx: &mut Context<'_>) {
        let said = self.file_of(of).and_then(|file| file.note_late());
        cx.messages.extend(said);
        self.streams.after_help(of.service);
    }

    /// Reads what children report until none of the wanted ones is busy, or until then.
    pub(super) fn await_helpers(
        &mut self,
        until: Moment,
        cx: &mut Context<'_>,
        is_wanted: impl Fn(&Helper) -> bool,
    ) {
        let began = clock::now();
        loop {
            let passed = clock::now();
            let present = cx.now.after(passed.since(began));
            let wanted = |(_, helper): &(usize, &Helper)| helper.is_busy() && is_wanted(helper);
            let helpers = self.log_helpers.table.iter().filter(wanted);
            let (keys, fds): (Vec<_>, Vec<_>) = helpers
                .map(|(key, helper)| (key, helper.socket.as_raw_fd()))
                .unzip();
            if keys.is_empty() || passed >= until {
                return;
            }
            aside::wait(&fds, until.since(passed).min(LATE));
            for key in keys {
                self.read_reports(key, &mut cx.at(present));
            }
            let present = cx.now.after(clock::now().since(began));
            self.check_log_helpers(&mut cx.at(present));
        }
    }

    /// The daemon ends: what waits for a log file is written, and no old file is left half compressed, so far as the
    /// children answer.
    pub(in crate::reactor) fn finish_log_files(
        &mut self,
        signals: &SignalFd,
        cx: &mut Context<'_>,
    ) {
        let began = clock::now();
        let is_console = |helper: &Helper| matches!(helper.role, Role::Console { .. });
        while clock::now().since(began) < AT_THE_END {
            let present = cx.now.after(clock::now().since(began));
            self.help_log_files(&mut cx.at(present));
            let busy = self.log_helpers.table.iter().map(|(_, helper)| helper);
            let busy = busy.filter(|helper| helper.is_busy() && !is_console(helper));
            let until = busy.map(|helper| helper.given_up_at(cx.now)).max();
            let Some(until) = until.filter(|until| *until > present) else {
                break;
            };
            let wait = until.since(present).min(LATE);
            let step = clock::now().after(wait);
            self.await_helpers(step, &mut cx.at(present), |helper| !is_console(helper));
        }
        for service in self.streams.with_log_file() {
            let helpers = self.log_helpers.table.iter();
            let writers = helpers.filter_map(|(_, helper)| match &helper.role {
                Role::Writer { of, out, .. } if of.service == service => Some(out.lines),
                _ => None,
            });
            let unwritten = writers.sum();
            let outlet = self.streams.outlet(service);
            let file = outlet.and_then(|outlet| outlet.log_file());
            cx.messages
                .extend(file.and_then(|file| file.give_up(unwritten)));
        }
        let is_of_files = |role: &Role| matches!(role, Role::Rotator { .. } | Role::Writer { .. });
        self.dismiss_log_helpers(signals, is_of_files);
    }

    /// Those that do not hang end, and remove what they have not finished.
    fn dismiss_log_helpers(&self, signals: &SignalFd, is_wanted: impl Fn(&Role) -> bool) {
        let until = clock::now().after(HANGS);
        let helpers = self.log_helpers.table.iter().map(|(_, helper)| helper);
        let mut left: Vec<&Helper> = helpers
            .filter(|helper| is_wanted(&helper.role) && !helper.is_reported)
            .collect();
        for helper in &left {
            let _ = helper.socket.shutdown(Shutdown::Write);
        }
        let mut ended = Vec::new();
        while !left.is_empty() && clock::now() < until {
            let fds: Vec<_> = left
                .iter()
                .map(|helper| helper.socket.as_raw_fd())
                .collect();
            aside::wait(&fds, until.since(clock::now()));
            left.retain(|helper| {
                let goes_on = loop {
                    match Report::receive(&helper.socket) {
                        Ok(Some(_)) => {}
                        Ok(None) => break false,
                        Err(error) => break error.kind() == ErrorKind::WouldBlock,
                    }
                };
                if !goes_on {
                    ended.push(helper.pid);
                }
                goes_on
            });
        }
        // The socket is closed a moment before the end.
        let until = clock::now().after(LAST_CHANCE);
        while !ended.is_empty() && clock::now() < until {
            ended.retain(|pid| reap::is_child(*pid) && reap::reap(*pid).is_err());
            if !ended.is_empty() {
                signals.wait(Duration::from_millis(1));
                let _ = signals.read();
            }
        }
    }

    /// Waits for the child that writes standard output or standard error, where there is one; what it does not write
    /// is lost. Returns how many lines that are.
    pub(in crate::reactor) fn finish_console(
        &mut self,
        kind: Kind,
        signals: &SignalFd,
        cx: &mut Context<'_>,
    ) -> u64 {
        self.note_console(kind, cx.now);
        let began = clock::now();
        while let Some(key) = self.log_helpers.console(kind) {
            let present = cx.now.after(clock::now().since(began));
            let helper = &self.log_helpers.table[key];
            let until = helper.given_up_at(cx.now);
            if !helper.is_busy() || until <= present || clock::now().since(began) >= AT_THE_END {
                break;
            }
            let step = clock::now().after(until.since(present).min(LATE));
            self.await_helpers(
                step,
                &mut cx.at(present),
                |helper| matches!(helper.role, Role::Console { kind: of, .. } if of == kind),
            );
        }
        self.dismiss_log_helpers(
            signals,
            |role| matches!(role, Role::Console { kind: of, .. } if *of == kind),
        );
        self.console(kind).sent.lines
    }
}

impl Helper {
    fn what(&self) -> String {
        match (&self.role, self.of()) {
            (_, Some(of)) => format!("log file {}", of.settings.path.display()),
            (Role::Console { kind, .. }, _) => kind.name().to_owned(),
            _ => "the daemon's output".to_owned(),
        }
    }

    /// When the end waits for it no longer.
    fn given_up_at(&self, end: Moment) -> Moment {
        self.since.after(HANGS).max(end.after(LAST_CHANCE))
    }
}

impl Out {
    fn subtract(&mut self, bytes: usize, lines: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.lines = self.lines.saturating_sub(lines);
    }
}
