//! What the supervisor decided, done: one function an action.

use super::Reactor;
use super::connections::CLIENTS_A_TURN;
use super::context;
use super::launches::Wish;
use super::reload::Ended;
use super::serve::ReloadRequest;
use crate::api::journal::{Entry, Happened};
use crate::api::protocol;
use crate::api::words::{self, Words};
use crate::base::{ExitStatus, Moment, ServiceId};
use crate::domain::{FailReason, Failure, Health, ShutdownReason, State, StopReason};
use crate::supervisor::event::{Action, Event, Notice};
use crate::supervisor::view::Detail;
use crate::sys::clock;

/// How much the user is told.
pub(super) struct Told {
    /// Only a main program is supervised: its exit code says what there is to say, and the rest is its own output.
    pub is_alone: bool,
    /// Everything is reported.
    pub debug: bool,
}

impl Reactor {
    /// Hands the supervisor an event, and does everything that comes out of it.
    pub(super) fn tell(&mut self, event: Event, now: Moment) {
        self.common.events.push_back(event);
        self.settle(now);
    }

    /// Hands the supervisor what parts have left for it: one event at a time, and what comes of it is done before the
    /// next one.
    pub(super) fn settle(&mut self, now: Moment) {
        while let Some(event) = self.common.events.pop_front() {
            let is_reload = matches!(event, Event::Reload(_));
            self.common
                .supervisor
                .handle(event, self.common.clock.now());
            if is_reload {
                // Before the first service of it is started.
                self.output.fit(&self.common.context(now));
            }
            self.perform(now);
        }
    }

    /// Takes the supervisor's actions until there is none. An event that one is answered with at once goes in before the
    /// next one is taken.
    pub(super) fn perform(&mut self, now: Moment) {
        while let Some(action) = self.common.supervisor.poll_action() {
            if let Some(event) = self.act(action, now) {
                self.common
                    .supervisor
                    .handle(event, self.common.clock.now());
            }
        }
    }

    fn act(&mut self, action: Action, now: Moment) -> Option<Event> {
        let cx = &mut self.common.context(now);
        match action {
            Action::Spawn { job, service, role } => {
                let wish = Wish { job, service, role };
                return self.jobs.start(wish, &mut self.output, cx);
            }
            Action::Kill { job, signal, scope } => return self.jobs.kill(job, signal, scope, cx),
            Action::Check { job, service } => {
                return self.jobs.begin_check(job, service, &mut self.probes, cx);
            }
            Action::EndCheck { job } => {
                self.probes.end(job);
                return self.jobs.end_command(job, cx);
            }
            Action::SignalStrays(signal) => {
                let is_quiet = self.told.is_alone && !self.told.debug;
                return self.jobs.signal_strays(signal, is_quiet, cx);
            }
            Action::Forget { service } => self.output.forget(service),
            Action::Reply { client, response } => {
                let response = protocol::response(response);
                self.clients.connections.reply(client, &response, now);
            }
            Action::Notice(notice) => self.notice(notice, now),
            Action::Exit(code) => {
                self.jobs.report_left(cx);
                self.exit = Some(code);
            }
        }
        None
    }

    /// Writes the answers that are there, and takes the next requests of the clients that got them, but a bounded
    /// number a turn: a client that asks without end must not keep the others waiting.
    pub(super) fn serve_due(&mut self, now: Moment) {
        for _ in 0..CLIENTS_A_TURN {
            let Some(client) = self.clients.connections.next_due() else {
                return;
            };
            let cx = &mut self.common.context(now);
            let asked = self.clients.advance(client, &mut self.output, cx);
            self.follow_client(asked, now);
        }
    }

    /// What comes of a client's request: events for the supervisor, or a reload.
    pub(super) fn follow_client(&mut self, asked: Option<ReloadRequest>, now: Moment) {
        if let Some(ReloadRequest { client, dry_run }) = asked {
            let cx = &mut self.common.context(now);
            let begun = self
                .reloads
                .begin(Some(client), dry_run, &mut self.manager, cx);
            if let Err(refusal) = begun {
                self.clients.connections.reply(client, &refusal, now);
            }
        }
        self.settle(now);
    }

    /// What comes of a reload that is over.
    pub(super) fn follow_reload(&mut self, ended: Option<Ended>, now: Moment) {
        let Some(Ended { changes, answer }) = ended else {
            return;
        };
        if let Some(counts) = changes {
            self.clients.journal.add(Entry {
                wall: clock::wall(),
                service: None,
                happened: Happened::Reloaded(counts.into()),
            });
        }
        if let Some((client, response)) = answer {
            self.clients.connections.reply(client, &response, now);
        }
    }

    /// Into the journal, and what everybody wants to know onto standard error too.
    fn notice(&mut self, notice: Notice, now: Moment) {
        match &notice {
            Notice::Changed { .. } => self.manager.note_change(),
            Notice::ShuttingDown { reason, .. } => {
                self.manager.stopping(&Words(reason).to_string());
                let cx = &mut self.common.context(now);
                let ended = self.reloads.abandon(&mut self.manager, cx);
                self.follow_reload(ended, now);
            }
            Notice::Restarts { .. }
            | Notice::Health { .. }
            | Notice::PostScriptFailed { .. }
            | Notice::KillingAll { .. } => {}
        }
        let name = about(&notice).map(|service| self.name_of(service));
        if self.is_told(&notice) {
            let name = name.as_deref().unwrap_or_default();
            self.common.messages.push(words::log_line(&notice, name));
        }
        self.clients.journal.add(Entry {
            wall: clock::wall(),
            service: name.map(String::into_boxed_str),
            happened: notice.into(),
        });
    }

    /// Whether a notice is worth a line on standard error.
    fn is_told(&self, notice: &Notice) -> bool {
        self.told.debug
            || match notice {
                Notice::Changed {
                    from, to, detail, ..
                } => match to {
                    State::Pending | State::Starting | State::Stopping => false,
                    State::Running | State::Stopped | State::Failed => {
                        !(self.told.is_alone && is_expected(*from, *to, detail))
                    }
                },
                Notice::Restarts { .. } => false,
                Notice::Health { from, to, .. } => {
                    (*from, *to) != (Health::Starting, Health::Healthy)
                }
                Notice::PostScriptFailed { .. } | Notice::KillingAll { .. } => true,
                Notice::ShuttingDown { reason, .. } => {
                    !self.told.is_alone || matches!(reason, ShutdownReason::Unable(_))
                }
            }
    }

    pub(super) fn name_of(&self, service: ServiceId) -> String {
        context::name_of(&self.common.supervisor, service)
    }

    /// SIGUSR1: the counts, and a line a service.
    pub(super) fn log_status(&mut self) {
        let status = self
            .common
            .supervisor
            .system_status(self.common.clock.now());
        self.common.messages.push(format!(
            "status: total {}, running {}, failed {}; {} orphans reaped",
            status.total,
            status.running,
            status.failed,
            self.jobs.adopted_reaped()
        ));
        for row in self.common.supervisor.list(self.common.clock.now()) {
            let pid = row
                .pid
                .map(|pid| format!(" pid {}", pid.0))
                .unwrap_or_default();
            self.common.messages.push(
                format!(
                    "status: {} {}{pid} {}",
                    row.config.name,
                    row.state,
                    Words(&row.detail)
                )
                .trim_end()
                .to_owned(),
            );
        }
    }
}

/// The service that a notice is about; None where it is about the whole.
fn about(notice: &Notice) -> Option<ServiceId> {
    match notice {
        Notice::Changed { service, .. }
        | Notice::Restarts { service, .. }
        | Notice::Health { service, .. }
        | Notice::PostScriptFailed { service, .. } => Some(*service),
        Notice::ShuttingDown { .. } | Notice::KillingAll { .. } => None,
    }
}

/// Whether a main program's change needs no word: it runs, or it ended by itself or when it was asked to.
fn is_expected(from: State, to: State, detail: &Detail) -> bool {
    let has_run = matches!(from, State::Running | State::Stopping);
    let was_killed = matches!(
        detail,
        Detail::Stopped {
            reason: StopReason::Asked { killed: Some(_) },
            ..
        }
    );
    let was_short_of_memory = matches!(
        detail,
        Detail::Failed {
            failure: Failure {
                reason: FailReason::Ended(ExitStatus::KilledForMemory),
                gave_up_after: None,
            },
            next: None,
        }
    );
    let was_forced = was_killed || was_short_of_memory;
    to == State::Running || (has_run && !was_forced)
}
