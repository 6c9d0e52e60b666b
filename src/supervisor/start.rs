//! From PENDING to RUNNING: dependencies, pre-script, spawn, and the post-script afterwards.

use super::Supervisor;
use super::event::Role;
use super::service::{AfterStop, Edge, PendingStop, Phase, Post, Step};
use super::spawn::execute_by;
use crate::base::{ExitStatus, JobId, Moment, Pid, ServiceId, Signal};
use crate::config::model::Condition;
use crate::domain::{DependencyProblem, FailReason, ScriptFailure, StopReason};

/// What one dependency means for a service that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its condition holds since then.
    MetSince(Moment),
    /// Not yet.
    Waiting,
    /// It was stopped, or was not to start, and stays down until somebody starts it.
    Down,
    /// It will not hold unless somebody starts the dependency again: no restart follows its failure.
    Failed,
}

fn executing(now: Moment) -> Step {
    Step::Executing {
        until: execute_by(now),
    }
}

impl Supervisor {
    /// A condition is read off the dependency's present state each time, never remembered: one that
    /// restarts while somebody waits loses nobody and starts nobody early.
    pub(super) fn verdict(&self, edge: &Edge) -> Verdict {
        let dependency = self.service(edge.on);
        match dependency.pending_stop {
            Some(PendingStop::Restart) => return Verdict::Waiting,
            Some(PendingStop::Stay) => return Verdict::Down,
            None if dependency.phase.is_stopping_for_good() => return Verdict::Down,
            None => {}
        }
        match (&dependency.phase, edge.condition) {
            (Phase::Running { since, .. }, Condition::Started) => Verdict::MetSince(*since),
            (Phase::Running { since, .. }, Condition::Healthy) => match &dependency.check {
                Some(check) => check.healthy_since().map_or(Verdict::Waiting, |healthy| {
                    Verdict::MetSince(healthy.max(*since))
                }),
                // It has ended its checks itself with STOPPING=1.
                None if dependency.config.health.is_some() => Verdict::Waiting,
                // A file in which it has none is not accepted.
                None => Verdict::MetSince(*since),
            },
            (Phase::Stopped(StopReason::Completed { at, .. }), _) => Verdict::MetSince(*at),
            (
                Phase::Failed {
                    restart_at: None, ..
                },
                _,
            ) => Verdict::Failed,
            (
                Phase::Failed { .. }
                | Phase::Running { .. }
                | Phase::Pending { .. }
                | Phase::Starting { .. }
                | Phase::Stopping { .. },
                _,
            ) => Verdict::Waiting,
            (Phase::Stopped(_), _) => Verdict::Down,
        }
    }

    pub(super) fn advance_pending(&mut self, id: ServiceId, now: Moment) {
        let Phase::Pending { since, asked } = self.service(id).phase else {
            return;
        };
        if self.life.is_down() {
            return self.set_phase(id, Phase::Stopped(StopReason::Asked { killed: None }), now);
        }
        let service = self.service(id);
        let someone_leaves = service.after_leaving && self.someone_leaves;
        // A post-script of the run before is on its way out.
        let mut ready = service.post.job().is_none() && !someone_leaves;
        let mut problem = None;
        for edge in &self.service(id).dependencies {
            match self.verdict(edge) {
                Verdict::MetSince(met) => ready &= met.after(edge.wait_after) <= now,
                Verdict::Down if asked => {
                    problem = Some((edge.on, self.why_it_is_down(edge.on)));
                    break;
                }
                Verdict::Waiting | Verdict::Down
                    if since.after(self.timeouts.dependency_wait) <= now =>
                {
                    let waited = self.timeouts.dependency_wait;
                    problem = Some((edge.on, DependencyProblem::NotUp(waited)));
                }
                Verdict::Waiting | Verdict::Down => ready = false,
                Verdict::Failed => {
                    problem = Some((edge.on, DependencyProblem::Failed));
                    break;
                }
            }
        }
        match problem {
            Some((on, problem)) => {
                let name = self.service(on).config.name.as_str().into();
                self.fail_for_good(id, FailReason::Dependency { name, problem }, now);
            }
            None if ready => self.begin_start(id, now),
            None => {}
        }
    }

    fn why_it_is_down(&self, dependency: ServiceId) -> DependencyProblem {
        match &self.service(dependency).phase {
            Phase::Stopped(StopReason::Disabled) => DependencyProblem::Disabled,
            Phase::Stopped(StopReason::NotStarted) => DependencyProblem::NotStarted,
            Phase::Stopped(StopReason::Followed(failed))
            | Phase::Stopping {
                after: AfterStop::Follow(failed),
                ..
            } => DependencyProblem::Followed(failed.clone()),
            _ => DependencyProblem::Stopped,
        }
    }

    /// When a waiting service has to look again by itself: the first `wait_after` to pass, or the end
    /// of its patience with a dependency that is not up.
    pub(super) fn pending_deadline(
        &self,
        id: ServiceId,
        since: Moment,
        now: Moment,
    ) -> Option<Moment> {
        let service = self.service(id);
        service
            .dependencies
            .iter()
            .filter_map(|edge| match self.verdict(edge) {
                Verdict::MetSince(met) => Some(met.after(edge.wait_after)),
                Verdict::Waiting | Verdict::Down => {
                    Some(since.after(self.timeouts.dependency_wait))
                }
                Verdict::Failed => None,
            })
            .filter(|at| *at > now)
            .min()
    }

    fn begin_start(&mut self, id: ServiceId, now: Moment) {
        self.service_mut(id).after_leaving = false;
        let pre_script = self.service(id).config.pre_script.is_some();
        let job = self.spawn(
            id,
            if pre_script {
                Role::PreScript
            } else {
                Role::Main
            },
        );
        let step = match pre_script {
            true => Step::PreScript {
                execute_by: Some(execute_by(now)),
            },
            false => executing(now),
        };
        self.set_phase(id, Phase::Starting { job, step }, now);
    }

    pub(super) fn on_pre_script_exited(&mut self, id: ServiceId, status: ExitStatus, now: Moment) {
        match self.service(id).phase {
            Phase::Stopping { .. } => {}
            Phase::Starting {
                step: Step::PreScript {
                    execute_by: Some(_),
                },
                ..
            } => {
                let reason = FailReason::PreScript(ScriptFailure::EndedUnexecuted(status));
                self.fail(id, reason, status.code().max(1), now);
            }
            _ if status.success() => {
                let job = self.spawn(id, Role::Main);
                let step = executing(now);
                self.set_phase(id, Phase::Starting { job, step }, now);
            }
            _ => {
                let reason = FailReason::PreScript(ScriptFailure::Ended(status));
                self.fail(id, reason, status.code(), now);
            }
        }
    }

    /// Its program was executed and is ready.
    pub(super) fn set_running(&mut self, id: ServiceId, job: JobId, pid: Pid, now: Moment) {
        let at = now.after(self.timeouts.post_script);
        let is_down = self.life.is_down();
        let service = self.service_mut(id);
        if service.config.post_script.is_some() && !is_down {
            service.post = Post::Due { at };
        }
        if let Some(watchdog) = &mut service.said.watchdog {
            watchdog.feed(now);
        }
        let since = now;
        self.set_phase(id, Phase::Running { job, pid, since }, now);
    }

    /// The post-script runs when its time has come and the service still is up, or has done its work.
    pub(super) fn advance_post_script(&mut self, id: ServiceId, now: Moment) {
        let service = self.service(id);
        match service.post {
            Post::Due { at } if at <= now => {
                let up = matches!(
                    service.phase,
                    Phase::Running { .. } | Phase::Stopped(StopReason::Completed { .. })
                );
                // A reload may have taken it out of the file meanwhile.
                let there = service.config.post_script.is_some();
                self.service_mut(id).post = Post::None;
                if up && there {
                    let job = self.spawn(id, Role::PostScript);
                    self.service_mut(id).post = Post::Running {
                        job,
                        execute_by: Some(execute_by(now)),
                        kill_at: None,
                        cancelled: false,
                    };
                }
            }
            Post::Running {
                job,
                kill_at: Some(at),
                ..
            } if at <= now => {
                self.service_mut(id).post = Post::Running {
                    job,
                    execute_by: None,
                    kill_at: None,
                    cancelled: true,
                };
                self.kill_group(job, Signal::KILL);
            }
            Post::Running {
                execute_by: Some(at),
                ..
            } if at <= now => self.give_post_script_up(id, now),
            Post::None | Post::Due { .. } | Post::Running { .. } => {}
        }
    }

    pub(super) fn on_post_script_exited(&mut self, id: ServiceId, status: ExitStatus) {
        let failure = match self.service(id).post {
            Post::Running {
                execute_by: Some(_),
                ..
            } => Some(ScriptFailure::EndedUnexecuted(status)),
            _ if status.success() => None,
            _ => Some(ScriptFailure::Ended(status)),
        };
        self.end_post_script(id, failure);
    }

    /// Ends a post-script whose service is going: it gets what the service gets, a signal and a grace.
    pub(super) fn cancel_post_script(&mut self, id: ServiceId, now: Moment) {
        match self.service(id).post {
            Post::Running {
                job,
                cancelled: false,
                ..
            } => {
                let grace = self.grace(id);
                self.service_mut(id).post = Post::Running {
                    job,
                    execute_by: None,
                    kill_at: Some(now.after(grace)),
                    cancelled: true,
                };
                self.kill_group(job, Signal::TERM);
            }
            Post::Running { .. } => {}
            Post::None | Post::Due { .. } => self.service_mut(id).post = Post::None,
        }
        self.enqueue(id);
    }
}
