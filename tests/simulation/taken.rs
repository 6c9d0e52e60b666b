//! How the reference takes in what goes into the supervisor and what comes out of it.

use std::collections::BTreeSet;
use std::time::Duration;

use go_overlay::base::{ExitStatus, JobId, Moment, Pid, ServiceId, Signal};
use go_overlay::config::model::{Config, OnDependencyFailure, Ready};
use go_overlay::domain::{Health, State};
use go_overlay::supervisor::event::{Action, Event, Notice, Role, Scope, Word};
use go_overlay::supervisor::view::Detail;

use crate::model::{Down, Facts, Job, Kind, Model, Wanted};
use crate::reference::{self, Standing};

impl Model {
    /// Something goes in.
    pub fn on_event(&mut self, event: &Event) {
        let now = self.now;
        if let Event::SpawnFailed { job, .. }
        | Event::Exited { job, .. }
        | Event::Checked { job, .. } = event
        {
            self.turn.over.insert(*job);
        }
        match event {
            Event::Spawned { job, pid } => self.on_spawned(*job, *pid),
            Event::SpawnFailed { job, failure } => {
                if let Some(Job { service, role, .. }) = self.jobs.remove(job)
                    && role != Role::PostScript
                    && let Some(facts) = self.services.get_mut(&service)
                {
                    facts.code = failure.exit_code;
                    facts.unstartable = facts.state != State::Stopping;
                }
            }
            Event::Exited { job, status } => self.on_exited(*job, *status),
            Event::Checked { job, result } => {
                if let Some(id) = self.checks.remove(job)
                    && let Some(facts) = self.services.get_mut(&id)
                    && let (Some(standing), Some(config)) =
                        (&mut facts.health, &facts.config.health)
                {
                    standing.note(result.is_ok(), config, now);
                }
            }
            Event::Said { job, word } => self.on_said(*job, word),
            Event::Request { client, request } => self.on_request(*client, request),
            Event::ClientGone { client } => drop(self.requests.remove(client)),
            Event::Reload(config) => self.on_reload(config),
            Event::ShutdownSignal(signal) => {
                if let Some(down) = &mut self.down {
                    let means_it = [Signal::TERM, Signal::INT].contains(signal);
                    down.insisted |= down.signalled && means_it;
                    down.signalled = true;
                }
            }
            Event::Boot
            | Event::ChildrenGone
            | Event::ForwardSignal { .. }
            | Event::Unable { .. } => {}
        }
    }

    fn on_spawned(&mut self, id: JobId, pid: Pid) {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.pid = Some(pid);
        if job.role != Role::Main {
            return;
        }
        let service = job.service;
        let is_up = self.down.is_none();
        if let Some(facts) = self.services.get_mut(&service)
            && facts.state != State::Stopping
        {
            let checked = facts.config.health.as_ref().filter(|_| is_up);
            facts.health = checked.map(|_| Standing::new(now));
            facts.watchdog = facts.config.watchdog.map(|period| (period, now));
            facts.extended = Moment(0);
            facts.ready_until = (facts.config.ready != Ready::Started)
                .then(|| now.after(facts.config.ready_timeout));
        }
    }

    fn on_exited(&mut self, id: JobId, status: ExitStatus) {
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        let Some(facts) = self.services.get_mut(&job.service) else {
            return;
        };
        match job.role {
            Role::Main => {
                facts.last_exit = Some(status);
                facts.code = match facts.config.is_success(status) {
                    true => 1,
                    false => status.code(),
                };
            }
            Role::PreScript => {
                // One that was never executed has done nothing, however it ended.
                facts.pre_script_done = status.success() && job.pid.is_some();
                facts.code = status.code().max(1);
            }
            Role::PostScript | Role::Check => {}
        }
    }

    fn on_said(&mut self, id: JobId, word: &Word) {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let Some(facts) = self.services.get_mut(&job.service) else {
            return;
        };
        if let (Word::ExtendTimeout(by), Role::Main) = (word, job.role) {
            extend(job, facts, now.after(*by));
        }
        if job.role != Role::Main || !facts.is_up_or_starting() {
            return;
        }
        match word {
            Word::Stopping => {
                facts.health = None;
                facts.watchdog = None;
            }
            Word::Alive => {
                if let Some((_, last)) = &mut facts.watchdog {
                    *last = now;
                    facts.extended = Moment(0);
                }
            }
            Word::AliveWithin(period) => {
                facts.watchdog = period.map(|period| (period, now));
                facts.extended = Moment(0);
            }
            Word::MainPid(pid) => job.pid = Some(*pid),
            Word::NeverReady(_) => {
                let end = now.after(reference::END_FOLLOWS);
                facts.ready_until = facts.ready_until.map(|until| until.min(end));
            }
            Word::Ready | Word::Status(_) | Word::Trouble | Word::ExtendTimeout(_) => {}
        }
    }

    fn on_reload(&mut self, config: &Config) {
        if self.down.is_some() {
            return;
        }
        self.timeouts = config.timeouts;
        self.file = config.services.iter().map(|new| new.name.clone()).collect();
        let programs: BTreeSet<ServiceId> = self
            .jobs
            .values()
            .filter(|job| job.role == Role::Main && job.pid.is_some())
            .map(|job| job.service)
            .collect();
        for (id, facts) in &mut self.services {
            if Some(*id) == self.main_program {
                continue;
            }
            facts.attempts.0 = 0;
            let new = config
                .services
                .iter()
                .find(|new| new.name == facts.config.name);
            reference::renew(facts, new, programs.contains(id), self.now);
        }
    }

    /// New names in the table; told by the supervisor, since it gives out the identifiers.
    pub fn adopt(&mut self, ids: &[(ServiceId, String)], config: &Config) {
        let someone_leaves = self.someone_leaves();
        for (id, name) in ids {
            if self.services.contains_key(id) {
                continue;
            }
            if let Some(config) = config.services.iter().find(|new| new.name == *name) {
                let mut facts = Facts::new(config.clone(), self.now);
                facts.after_leaving = someone_leaves && config.enabled;
                self.services.insert(*id, facts);
            }
        }
        self.draw_edges();
    }

    /// Something came out.
    pub fn on_action(&mut self, action: &Action) {
        let now = self.now;
        self.turn.actions += 1;
        match action {
            Action::Spawn { job, service, role } => self.on_spawn(*job, *service, *role),
            Action::Kill { job, signal, scope } => self.on_kill(*job, *signal, *scope),
            Action::Check { job, service } => {
                self.checks.insert(*job, *service);
                if let Some(standing) = self.standing(*service) {
                    standing.due = None;
                }
            }
            Action::EndCheck { job } => drop(self.checks.remove(job)),
            Action::Forget { service } => {
                self.services.remove(service);
                self.forgotten.insert(*service);
                self.draw_edges();
            }
            Action::SignalStrays(signal) => {
                if let Some(down) = &mut self.down {
                    down.swept = Some((now, *signal));
                }
            }
            Action::Reply { client, .. } => drop(self.requests.remove(client)),
            Action::Notice(notice) => self.on_notice(notice),
            Action::Exit(code) => self.exit = Some(*code),
        }
    }

    fn standing(&mut self, id: ServiceId) -> Option<&mut Standing> {
        self.services.get_mut(&id)?.health.as_mut()
    }

    fn on_spawn(&mut self, job: JobId, service: ServiceId, role: Role) {
        let now = self.now;
        self.jobs.insert(
            job,
            Job {
                service,
                role,
                since: now,
                pid: None,
                told: None,
                may_be_continued: true,
                continued: false,
                killed: false,
            },
        );
        if let Some(facts) = self.services.get_mut(&service) {
            match role {
                Role::PostScript => facts.post_due = None,
                Role::PreScript | Role::Main | Role::Check => {
                    facts.unstartable = false;
                    facts.pre_script_done = false;
                    facts.after_leaving = false;
                }
            }
        }
    }

    fn on_kill(&mut self, id: JobId, signal: Signal, scope: Scope) {
        let grace = self
            .jobs
            .get(&id)
            .map(|job| self.grace(job.service))
            .unwrap_or_default();
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        match scope {
            Scope::Process => {}
            Scope::Group if signal == Signal::KILL => job.killed = true,
            Scope::Group if signal == Signal::CONT => job.continued = true,
            Scope::Group => {
                job.told.get_or_insert((now, grace));
                job.may_be_continued = reference::may_be_continued(signal);
            }
        }
    }

    fn on_notice(&mut self, notice: &Notice) {
        let now = self.now;
        match notice {
            Notice::Changed {
                service,
                from,
                to,
                detail,
            } => self.on_changed(*service, *from, *to, detail),
            Notice::ShuttingDown { within, .. } => self.on_shutting_down(*within),
            Notice::KillingAll { .. } => {
                if let Some(down) = &mut self.down {
                    down.killing_at = Some(now);
                }
            }
            Notice::Health { service, to, .. } => {
                if let Some(standing) = self.standing(*service) {
                    standing.told_healthy = (*to == Health::Healthy).then_some(now);
                }
            }
            Notice::Restarts { .. } | Notice::PostScriptFailed { .. } => {}
        }
    }

    fn on_changed(&mut self, id: ServiceId, from: State, to: State, detail: &Detail) {
        let now = self.now;
        let (down, post_script) = (self.down.is_some(), self.timeouts.post_script);
        let Some(facts) = self.services.get_mut(&id) else {
            return;
        };
        self.turn.culprit = Some(id);
        let again = facts.maybe_again;
        let by_policy = facts.restart.is_some();
        facts.restart = reference::restart_after(facts, (from, to), again, down, now);
        match to {
            State::Starting => {}
            State::Running => {
                facts.ready_until = None;
                facts.extended = Moment(0);
                let due = now.after(post_script);
                facts.post_due = (facts.config.post_script.is_some() && !down).then_some(due);
                if let Some((_, last)) = &mut facts.watchdog {
                    *last = now;
                }
            }
            State::Stopping => {
                self.turn.told_to_end.insert(id);
                facts.stop_detail = detail.clone();
                facts.restarts_regardless = reference::restarts_regardless(facts, detail);
                if !reference::is_failure(detail) {
                    facts.attempts = (0, 0);
                }
                if matches!(detail, Detail::Follows(_)) {
                    facts.wanted = match facts.config.on_dependency_failure {
                        OnDependencyFailure::Stop => Wanted::Down,
                        OnDependencyFailure::Restart | OnDependencyFailure::Ignore => Wanted::May,
                    };
                }
            }
            State::Pending => {
                let asked = self.turn.kind == Kind::Asked && facts.wanted == Wanted::Up;
                facts.asked = asked && !by_policy;
            }
            State::Stopped | State::Failed => {}
        }
        facts.completed_at = (from == State::Running && to == State::Stopped).then_some(now);
        // What has done its work before its turn to be stopped is completed, as if the stop had come after that.
        if facts.completed_at.is_some() && facts.wanted == Wanted::Down {
            let is_kept_down = facts.leaving || !facts.config.enabled;
            facts.wanted = if is_kept_down {
                Wanted::Down
            } else {
                Wanted::May
            };
        }
        if to == State::Failed && matches!(from, State::Pending | State::Stopping) {
            facts.code = 1;
        }
        if to != State::Starting && to != State::Running {
            facts.forget_program();
            facts.maybe_again = false;
            facts.maybe_stop = false;
            facts.going = false;
            facts.outdated = false;
            if facts.completed_at.is_none() {
                facts.post_due = None;
            }
        }
        facts.state = to;
        facts.since = now;
        self.note_followers(id, to);
        self.note_main_program(id);
    }

    fn note_followers(&mut self, id: ServiceId, to: State) {
        let found_wanting =
            to == State::Stopping && reference::is_failure(&self.services[&id].stop_detail);
        // Who follows is followed.
        let follows = to == State::Stopping && self.turn.followers.contains(&id);
        if self.down.is_some() || !(to == State::Failed || found_wanting || follows) {
            return;
        }
        let follows = |facts: &Facts| {
            facts.is_up_or_starting()
                && facts.config.on_dependency_failure != OnDependencyFailure::Ignore
        };
        let followers: Vec<ServiceId> = self
            .dependents(id)
            .filter(|(_, facts)| follows(facts))
            .map(|(id, _)| id)
            .collect();
        self.turn.followers.extend(followers);
    }

    /// The main program's own exit code is the answer to a shutdown that named none.
    fn note_main_program(&mut self, id: ServiceId) {
        let facts = &self.services[&id];
        if Some(id) != self.main_program || !matches!(facts.state, State::Stopped | State::Failed) {
            return;
        }
        let (Some(down), Some(status)) = (&mut self.down, facts.last_exit) else {
            return;
        };
        if down.main_decides {
            down.code = match facts.state {
                State::Failed => facts.code,
                _ => status.code(),
            };
        }
    }

    fn on_shutting_down(&mut self, within: Duration) {
        let (code, main_decides) = match self.turn.kind {
            Kind::Signal | Kind::End(None) => (0, true),
            Kind::End(Some(code)) => (code, false),
            Kind::Other | Kind::Timeout | Kind::Asked | Kind::Reload => {
                let culprit = self.turn.culprit.and_then(|id| self.services.get(&id));
                let code = culprit.map_or(0, |facts| match facts.state {
                    State::Failed => facts.code,
                    _ => facts.last_exit.map_or(0, ExitStatus::code),
                });
                (code, false)
            }
        };
        self.down = Some(Down {
            bound: self.now.after(within),
            killing_at: None,
            swept: None,
            code,
            main_decides,
            signalled: self.turn.kind == Kind::Signal,
            insisted: false,
        });
        for facts in self.services.values_mut() {
            facts.health = None;
            facts.post_due = None;
            facts.restart = None;
        }
    }
}

/// What bounds a program now ends no sooner.
fn extend(job: &mut Job, facts: &mut Facts, until: Moment) {
    match (facts.state, &mut job.told) {
        (State::Stopping, Some((at, grace))) => *grace = until.since(*at).max(*grace),
        (State::Starting, _) => {
            facts.ready_until = facts.ready_until.map(|bound| bound.max(until));
        }
        (State::Running, _) if facts.watchdog.is_some() => {
            facts.extended = facts.extended.max(until);
        }
        _ => {}
    }
}
