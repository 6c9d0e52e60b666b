//! From RUNNING to STOPPED: the stop signal, the grace period, SIGKILL, and what follows.

use std::time::Duration;

use super::Supervisor;
use super::service::{AfterStop, Escalation, PendingStop, Phase, Post, Step};
use crate::base::{JobId, Moment, ServiceId, Signal};
use crate::domain::{RestartReason, StopReason};

/// SIGCONT follows the stop signal, as in systemd: a stopped process has to be able to hear it. Nearly nobody is
/// stopped, so it follows only where a moment was not enough to end, and never where it would cancel the stop signal.
const CONTINUE_AFTER: Duration = Duration::from_millis(10);

impl Supervisor {
    /// How long the service has between its stop signal and SIGKILL.
    pub(super) fn grace(&self, id: ServiceId) -> Duration {
        self.service(id)
            .config
            .stop_timeout
            .unwrap_or(self.timeouts.service_shutdown)
    }

    /// Stops a service in order: one that is up goes when what depends on it and goes down too has ended.
    pub(super) fn stop_in_order(&mut self, id: ServiceId, stop: PendingStop, now: Moment) {
        if !self.service(id).phase.is_up_or_starting() {
            return self.begin_stop(id, stop.into(), now);
        }
        let service = self.service_mut(id);
        service.pending_stop = Some(stop);
        if stop == PendingStop::Stay {
            service.raised_by = None;
        }
        self.enqueue_neighbourhood(id);
    }

    /// Tells a service to end, whatever it is doing.
    pub(super) fn begin_stop(&mut self, id: ServiceId, after: AfterStop, now: Moment) {
        // Whoever stops or restarts it begins a new series of attempts.
        let attempts = match after {
            AfterStop::Stay
            | AfterStop::Restart
            | AfterStop::Follow(_)
            | AfterStop::FollowAndRestart(_) => 0,
            AfterStop::Fail(_) => self.attempts_spent(id, now),
        };
        let service = self.service_mut(id);
        service.pending_stop = None;
        service.attempts = attempts;
        if after == AfterStop::Stay {
            service.raised_by = None;
        }
        self.cancel_post_script(id, now);
        match self.service(id).phase {
            Phase::Pending { .. } if after == AfterStop::Stay => {
                self.set_phase(id, Phase::Stopped(StopReason::Asked { killed: None }), now);
            }
            Phase::Pending { since, .. } => {
                let asked = true;
                self.set_phase(id, Phase::Pending { since, asked }, now);
            }
            Phase::Starting { job, step } => {
                let (signal, pid) = match step {
                    Step::PreScript { .. } => (Signal::TERM, None),
                    Step::Executing { .. } => (self.stop_signal(id), None),
                    Step::Readying { pid, .. } => (self.stop_signal(id), Some(pid)),
                };
                self.send_stop(id, job, pid, signal, after, now);
            }
            Phase::Running { job, pid, .. } => {
                self.send_stop(id, job, Some(pid), self.stop_signal(id), after, now);
            }
            Phase::Stopping {
                job,
                pid,
                asked_at,
                escalation,
                ..
            } => {
                self.set_phase(
                    id,
                    Phase::Stopping {
                        job,
                        pid,
                        asked_at,
                        escalation,
                        after,
                    },
                    now,
                );
            }
            Phase::Stopped(_) | Phase::Failed { .. } if after == AfterStop::Restart => {
                self.begin_pending(id, true, now)
            }
            Phase::Stopped(_) | Phase::Failed { .. } => self.cancel_restart(id, now),
        }
    }

    /// From the top: wait for the dependencies, then start. `asked` is explained at [`Phase::Pending`].
    pub(super) fn begin_pending(&mut self, id: ServiceId, asked: bool, now: Moment) {
        self.cancel_post_script(id, now);
        self.set_phase(id, Phase::Pending { since: now, asked }, now);
    }

    /// It ended by itself while it waited for its turn to be stopped: that is no failure.
    pub(super) fn end_as_asked(&mut self, id: ServiceId, now: Moment) {
        let (Phase::Starting { job, .. } | Phase::Running { job, .. }) = self.service(id).phase
        else {
            return;
        };
        let service = self.service_mut(id);
        service.pending_stop = None;
        service.attempts = 0;
        self.cancel_post_script(id, now);
        let phase = Phase::Stopping {
            job,
            pid: None,
            asked_at: now,
            escalation: Escalation::Continued { kill_at: now },
            after: AfterStop::Stay,
        };
        self.set_phase(id, phase, now);
    }

    fn stop_signal(&self, id: ServiceId) -> Signal {
        let passed_on = self.life.signal().filter(|_| self.is_main_program(id));
        passed_on.unwrap_or(self.service(id).config.stop_signal)
    }

    fn send_stop(
        &mut self,
        id: ServiceId,
        job: JobId,
        pid: Option<crate::base::Pid>,
        signal: Signal,
        after: AfterStop,
        now: Moment,
    ) {
        self.kill_group(job, signal);
        let kill_at = now.after(self.grace(id));
        let escalation = match signal.may_be_continued() {
            true => Escalation::Asked {
                continue_at: now.after(CONTINUE_AFTER),
                kill_at,
            },
            false => Escalation::Continued { kill_at },
        };
        self.set_phase(
            id,
            Phase::Stopping {
                job,
                pid,
                asked_at: now,
                escalation,
                after,
            },
            now,
        );
    }

    pub(super) fn advance_stopping(&mut self, id: ServiceId, now: Moment) {
        let Phase::Stopping {
            job,
            asked_at,
            escalation,
            ref after,
            ..
        } = self.service(id).phase
        else {
            return;
        };
        let after = after.clone();
        if !self.jobs.contains_key(&job) {
            // The post-script is a process of the service too: it is not stopped while that is there.
            if self.service(id).post.job().is_none() {
                self.finish_stop(id, escalation.killed(), after, now);
            }
            return;
        }
        match escalation {
            Escalation::Asked { kill_at, .. } | Escalation::Continued { kill_at }
                if kill_at <= now =>
            {
                self.kill_service(id, now.since(asked_at), now);
            }
            Escalation::Asked {
                continue_at,
                kill_at,
            } if continue_at <= now => {
                self.kill_group(job, Signal::CONT);
                self.escalate(id, Escalation::Continued { kill_at });
            }
            Escalation::Asked { .. } | Escalation::Continued { .. } | Escalation::Killed { .. } => {
            }
        }
    }

    fn escalate(&mut self, id: ServiceId, to: Escalation) {
        if let Phase::Stopping { escalation, .. } = &mut self.service_mut(id).phase {
            *escalation = to;
        }
    }

    /// SIGKILL to everything of an active service; its end comes as an event.
    pub(super) fn kill_service(&mut self, id: ServiceId, waited: Duration, now: Moment) {
        let post = self.service(id).post;
        if let Post::Running { job, .. } = post
            && !post.is_killed()
        {
            self.service_mut(id).post = Post::Running {
                job,
                execute_by: None,
                kill_at: None,
                cancelled: true,
            };
            self.kill_group(job, Signal::KILL);
            self.enqueue(id);
        }
        let phase = &self.service(id).phase;
        let (job, pid, asked_at, after) = match *phase {
            Phase::Starting { job, .. } | Phase::Running { job, .. } => {
                (job, phase.pid(), now, AfterStop::Stay)
            }
            Phase::Stopping {
                job,
                pid,
                asked_at,
                ref after,
                ..
            } => (job, pid, asked_at, after.clone()),
            Phase::Pending { .. } | Phase::Stopped(_) | Phase::Failed { .. } => return,
        };
        if !self.jobs.contains_key(&job) {
            return;
        }
        self.kill_group(job, Signal::KILL);
        self.set_phase(
            id,
            Phase::Stopping {
                job,
                pid,
                asked_at,
                escalation: Escalation::Killed { waited },
                after,
            },
            now,
        );
    }

    fn may_start_again(&self, id: ServiceId) -> bool {
        !self.life.is_down() && !self.service(id).leaving
    }

    fn finish_stop(
        &mut self,
        id: ServiceId,
        killed: Option<Duration>,
        after: AfterStop,
        now: Moment,
    ) {
        match after {
            AfterStop::Restart if self.may_start_again(id) => {
                self.tell_restart(id, RestartReason::Asked);
                self.begin_pending(id, true, now);
            }
            AfterStop::FollowAndRestart(name) if self.may_start_again(id) => {
                self.tell_restart(id, RestartReason::DependencyFailed(name));
                self.begin_pending(id, false, now);
            }
            AfterStop::Fail(failure) if !self.life.is_down() => {
                self.fail_as_found(id, &failure, now);
            }
            AfterStop::Follow(name) => {
                self.set_phase(id, Phase::Stopped(StopReason::Followed(name)), now);
            }
            AfterStop::Restart
            | AfterStop::FollowAndRestart(_)
            | AfterStop::Fail(_)
            | AfterStop::Stay => {
                let reason = match self.service(id).config.enabled {
                    true => StopReason::Asked { killed },
                    false => StopReason::Disabled,
                };
                self.set_phase(id, Phase::Stopped(reason), now);
            }
        }
    }

    /// What an active service has to do for others: end once those of its dependents are down that go too, in a
    /// shutdown, when several are stopped or restarted, or when it leaves the configuration.
    pub(super) fn advance_active(&mut self, id: ServiceId, now: Moment) {
        let service = self.service(id);
        let after: AfterStop = match (self.life.is_down() || service.leaving, service.pending_stop)
        {
            (true, _) => AfterStop::Stay,
            (false, Some(stop)) => stop.into(),
            (false, None) => return,
        };
        // A pre-script is cancelled: nobody uses a service that is not up yet.
        let in_pre_script = matches!(
            service.phase,
            Phase::Starting {
                step: Step::PreScript { .. },
                ..
            }
        );
        let is_cancelled = in_pre_script && after == AfterStop::Stay;
        if is_cancelled || !self.has_dependent_going_down(id) {
            self.begin_stop(id, after, now);
        }
    }
}
