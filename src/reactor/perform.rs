//! What the supervisor decided, done: one function an action.

use super::Reactor;
use super::context;
use super::launches::{self, Wish};
use super::probes::Begun;
use super::signs::Heard;
use crate::api::journal::{Entry, Happened};
use crate::api::protocol;
use crate::api::words::{self, Words};
use crate::base::{ExitStatus, JobId, Moment, ServiceId, Signal};
use crate::config::model::Service;
use crate::domain::{CheckError, FailReason, Failure, Health, ShutdownReason, State, StopReason};
use crate::output::file_text::FileText;
use crate::output::format::Layout;
use crate::output::recent::Recent;
use crate::output::sink::Sink;
use crate::supervisor::event::{Action, Event, Notice, Scope, Word};
use crate::supervisor::view::Detail;
use crate::sys::{clock, stray};

impl Reactor {
    /// Takes the supervisor's actions until there is none.
    pub(super) fn perform(&mut self, now: Moment) {
        while let Some(action) = self.common.supervisor.poll_action() {
            match action {
                Action::Spawn { job, service, role } => {
                    self.launch(Wish { job, service, role }, now);
                }
                Action::Kill { job, signal, scope } => self.kill(job, signal, scope, now),
                Action::Check { job, service } => self.begin_check(job, service, now),
                Action::EndCheck { job } => {
                    self.probes.end(job);
                    self.end_command(job, now);
                }
                Action::Forget { service } => {
                    self.streams.forget(service);
                    self.retire_log_helpers(service);
                }
                Action::SignalStrays(signal) => self.signal_strays(signal, now),
                Action::Reply { client, response } => {
                    let response = protocol::response(response);
                    self.connections.reply(client, &response, now);
                }
                Action::Notice(notice) => self.notice(notice, now),
                Action::Exit(code) => self.leave(code),
            }
        }
    }

    fn begin_check(&mut self, job: JobId, service: ServiceId, now: Moment) {
        let Some(config) = self.common.supervisor.config(service) else {
            return;
        };
        let last = self.check_commands.get(&service);
        if last.is_some_and(|last| self.children.is_there(*last)) {
            let result = Err(CheckError::LastCommandRuns);
            return self
                .common
                .supervisor
                .handle(Event::Checked { job, result }, self.common.clock.now());
        }
        let (inherited, registry) = (&self.inherited, self.common.poll.registry());
        match self.probes.begin(job, &config, inherited, registry, now) {
            Begun::Going(None) => {}
            Begun::Going(Some(started)) => {
                self.children.add(job, started.pid);
                self.check_commands.insert(service, job);
                // Without its report its end tells that it failed, and not why.
                let _ = self.launches.add(job, None, started, registry, now);
            }
            Begun::Over(result) => self
                .common
                .supervisor
                .handle(Event::Checked { job, result }, self.common.clock.now()),
        }
    }

    /// Starts what checks need of children, and ends what they need no more.
    pub(super) fn start_check_asides(&mut self, now: Moment) {
        if self.probes.has_work() {
            self.probes.start_asides(&mut self.common.context(now));
            self.settle(now);
        }
    }

    /// A check that is over leaves nothing behind.
    pub(super) fn end_command(&mut self, job: JobId, now: Moment) {
        self.kill(job, Signal::KILL, Scope::Group, now);
    }

    /// The end, without those whom nothing ended.
    fn leave(&mut self, code: u8) {
        for (job, pid) in self.children.left() {
            let name = self.job_services.get(&job).map(|id| self.name_of(*id));
            self.common.messages.push(format!(
                "cannot end {}: process {} may outlive this daemon",
                name.as_deref().unwrap_or("a check"),
                pid.0
            ));
        }
        self.exit = Some(code);
    }

    /// Tells what services say of themselves.
    pub(super) fn hear_signs(&mut self, now: Moment) {
        if self.signs.has_work() {
            for job in self.signs.ready_jobs() {
                self.look_at_launch(job, now);
            }
            let heard = self.signs.listen(&self.children);
            self.tell_heard(heard, now);
        }
    }

    pub(super) fn tell_heard(&mut self, heard: Vec<Heard>, now: Moment) {
        for one in heard {
            let words = self.take_successor(one);
            for (job, word) in words {
                self.tell(Event::Said { job, word }, now);
            }
        }
    }

    /// Takes what is not the supervisor's, and returns the rest.
    pub(super) fn take_successor(&mut self, heard: Heard) -> Vec<(JobId, Word)> {
        if let Some((job, complaint)) = heard.complaint {
            let service = self.job_services.get(&job).map(|id| self.name_of(*id));
            let name = service.unwrap_or_default();
            self.common.messages.push(format!("{name}: {complaint}"));
        }
        if let Some((job, process)) = heard.successor {
            self.children.announce(job, process);
        }
        heard.words
    }

    /// Tells of the services whose output held what they are ready with.
    pub(super) fn tell_found(&mut self, now: Moment) {
        for job in self.streams.take_found() {
            self.look_at_launch(job, now);
            let word = Word::Ready;
            self.tell(Event::Said { job, word }, now);
        }
    }

    fn kill(&mut self, job: JobId, signal: Signal, scope: Scope, now: Moment) {
        if self.launches.give_up(job) {
            let failure = launches::stopped();
            return self
                .common
                .supervisor
                .handle(Event::SpawnFailed { job, failure }, self.common.clock.now());
        }
        let signal = self.launches.signal_on_the_way(job, signal, now);
        if let Err(error) = self.children.kill(job, signal, scope, now) {
            self.common
                .messages
                .push(format!("cannot send {signal}: {error}"));
        }
    }

    /// Whoever is left gets the signal; where nobody is, that is said at once.
    fn signal_strays(&mut self, signal: Signal, now: Moment) {
        self.sweeping = true;
        self.reap_again = true;
        if self.children.none_left(&mut self.common.helpers, now) {
            return self
                .common
                .supervisor
                .handle(Event::ChildrenGone, self.common.clock.now());
        }
        match stray::signal_everything(signal, self.common.helpers.pids()) {
            Ok(0) => {}
            Ok(_) if self.is_alone() && !self.debug && signal != Signal::KILL => {}
            Ok(1) => self
                .common
                .messages
                .push(format!("{signal} to a left-over process")),
            Ok(count) => self
                .common
                .messages
                .push(format!("{signal} to {count} left-over processes")),
            Err(error) => self.common.messages.push(format!(
                "cannot send {signal} to left-over processes: {error}"
            )),
        }
        // A stopped process has to be able to hear it.
        if signal != Signal::KILL {
            let _ = stray::signal_everything(Signal::CONT, self.common.helpers.pids());
        }
    }

    /// Into the journal, and what everybody wants to know onto standard error too.
    fn notice(&mut self, notice: Notice, now: Moment) {
        match &notice {
            Notice::Changed { .. } => self.manager.note_change(),
            Notice::ShuttingDown { reason, .. } => {
                self.manager.stopping(&Words(reason).to_string());
                self.abandon_reload(now);
            }
            _ => {}
        }
        let name = about(&notice).map(|service| self.name_of(service));
        if self.is_told(&notice) {
            let name = name.as_deref().unwrap_or_default();
            self.common.messages.push(words::log_line(&notice, name));
        }
        self.journal.add(Entry {
            wall: clock::wall(),
            service: name,
            happened: Happened::Notice(notice),
        });
    }

    /// Whether a notice is worth a line on standard error.
    fn is_told(&self, notice: &Notice) -> bool {
        self.debug
            || match notice {
                Notice::Changed {
                    from, to, detail, ..
                } => match to {
                    State::Pending | State::Starting | State::Stopping => false,
                    State::Running | State::Stopped | State::Failed => {
                        !(self.is_alone() && is_expected(*from, *to, detail))
                    }
                },
                Notice::Restarts { .. } => false,
                Notice::Health { from, to, .. } => {
                    (*from, *to) != (Health::Starting, Health::Healthy)
                }
                Notice::PostScriptFailed { .. } | Notice::KillingAll { .. } => true,
                Notice::ShuttingDown { reason, .. } => {
                    !self.is_alone() || matches!(reason, ShutdownReason::Unable(_))
                }
            }
    }

    /// Only a main program is supervised: its exit code says what there is to say, and the rest is its own output.
    fn is_alone(&self) -> bool {
        self.config_path.is_none()
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
            status.total, status.running, status.failed, self.children.adopted_reaped
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

    /// Makes the place for each service's lines.
    pub(super) fn open_sinks(&mut self) {
        for id in self.common.supervisor.ids().collect::<Vec<_>>() {
            let Some(config) = self.common.supervisor.config(id) else {
                continue;
            };
            if !self.common.supervisor.is_main_program(id) {
                let sink = self.sink(&config);
                self.streams.add_service(id, &config, sink);
            }
        }
    }

    pub(super) fn sink(&self, config: &Service) -> Sink {
        let log = &config.log;
        let layout = |prefix: String, screen: bool| {
            Layout::new(log.format, log.timestamps, &config.name, prefix, screen)
        };
        let prefix = self.prefixer.prefix(&config.name);
        let stdout = log
            .stdout
            .then(|| layout(prefix, self.prefixer.is_for_screen()));
        let has_file = config.log_file.is_some();
        let file = has_file.then(|| FileText::new(layout(String::new(), false), log.format));
        let limit = usize::try_from(log.buffer).unwrap_or(usize::MAX);
        Sink::new(stdout, log.overflow, file, Recent::new(limit))
    }

    pub(super) fn services_of(&mut self, jobs: &[JobId]) -> Vec<ServiceId> {
        let mut services: Vec<ServiceId> = jobs
            .iter()
            .filter_map(|job| self.job_services.remove(job))
            .collect();
        services.sort_unstable();
        services.dedup();
        services
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
