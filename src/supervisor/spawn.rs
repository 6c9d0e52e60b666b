//! From a spawn to the execution of the program: the answer may come at once, late, or never.
//!
//! The working directory, the program, its environment files and its scripts may be on a file system that does not
//! answer. Until the program is executed, its service can be stopped like any other, and [`EXECUTE_WITHIN`] bounds the wait.

use std::time::Duration;

use super::Supervisor;
use super::event::{Action, Notice, Role, SpawnFailure};
use super::service::{PendingStop, Phase, Post, Step};
use super::view::Detail;
use crate::base::{JobId, Moment, Pid, ServiceId};
use crate::config::model::Script;
use crate::domain::{FailReason, ScriptFailure};

/// How long a program or script may take from its spawn until it is executed.
pub(super) const EXECUTE_WITHIN: Duration = Duration::from_secs(30);

/// An execution that takes at least this long is shown.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(super) fn on_spawned(&mut self, job: JobId, pid: Pid, now: Moment) {
        match self.jobs.get(&job) {
            Some(&(id, Role::Main)) => self.on_main_spawned(id, job, pid, now),
            Some(&(id, Role::PreScript | Role::PostScript)) => self.on_script_spawned(id, job),
            // Checks are the shell's children.
            Some((_, Role::Check)) | None => {}
        }
    }

    fn on_main_spawned(&mut self, id: ServiceId, job: JobId, pid: Pid, now: Moment) {
        let service = self.service_mut(id);
        service.starts = service.starts.saturating_add(1);
        service.executed_at = now;
        match &mut service.phase {
            Phase::Starting {
                step: Step::Executing { .. },
                ..
            } => {
                self.begin_checks(id, now);
                self.begin_readying(id, job, pid, now);
            }
            // It was sent its stop signal before, and goes down all the same.
            Phase::Stopping { pid: stopping, .. } => *stopping = Some(pid),
            Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Pending { .. }
            | Phase::Stopped(_)
            | Phase::Failed { .. } => {}
        }
    }

    /// Its execution is not waited for any more.
    fn on_script_spawned(&mut self, id: ServiceId, script: JobId) {
        let service = self.service_mut(id);
        if let Phase::Starting {
            job,
            step: Step::PreScript { execute_by },
        } = &mut service.phase
            && *job == script
        {
            *execute_by = None;
        }
        if let Post::Running {
            job, execute_by, ..
        } = &mut service.post
            && *job == script
        {
            *execute_by = None;
        }
        self.enqueue(id);
    }

    pub(super) fn on_spawn_failed(&mut self, job: JobId, failure: SpawnFailure, now: Moment) {
        let Some((id, role)) = self.jobs.remove(&job) else {
            return;
        };
        self.enqueue(id);
        match role {
            Role::PreScript | Role::Main => self.fail_start(id, role, failure, now),
            Role::PostScript => {
                let failure = ScriptFailure::CannotExecute(failure.message.into());
                self.end_post_script(id, Some(failure));
            }
            // Checks are the shell's children.
            Role::Check => {}
        }
    }

    fn fail_start(&mut self, id: ServiceId, role: Role, failure: SpawnFailure, now: Moment) {
        let service = self.service(id);
        // It was sent its stop signal before; the queue finds that nothing is left of it.
        if matches!(service.phase, Phase::Stopping { .. }) {
            return;
        }
        if service.pending_stop == Some(PendingStop::Stay) {
            return self.end_as_asked(id, now);
        }
        let why = failure.message.into();
        let reason = match role {
            Role::PreScript => FailReason::PreScript(ScriptFailure::CannotExecute(why)),
            Role::Main | Role::PostScript | Role::Check => FailReason::CannotExecute(why),
        };
        self.fail_to_execute(id, reason, failure.exit_code, now);
    }

    /// Fails a service whose program or pre-script is not executed in time. Its process is ended first, as any other
    /// that is found wanting.
    pub(super) fn advance_execution(&mut self, id: ServiceId, now: Moment) {
        let config = &self.service(id).config;
        let reason = match self.service(id).phase {
            Phase::Starting {
                step: Step::Executing { until },
                ..
            } if until <= now => FailReason::NotExecuted {
                program: config.command.as_str().into(),
                within: EXECUTE_WITHIN,
            },
            Phase::Starting {
                step: Step::PreScript {
                    execute_by: Some(at),
                },
                ..
            } if at <= now => FailReason::PreScript(not_executed(&config.pre_script)),
            _ => return,
        };
        self.fail_hung(id, reason, now);
    }

    /// Ends a post-script that is not executed in time.
    pub(super) fn give_post_script_up(&mut self, id: ServiceId, now: Moment) {
        let failure = not_executed(&self.service(id).config.post_script);
        self.tell_post_script_failed(id, failure);
        self.cancel_post_script(id, now);
    }

    /// The post-script is over; a reason is told, unless the script was cancelled.
    pub(super) fn end_post_script(&mut self, id: ServiceId, failure: Option<ScriptFailure>) {
        let post = std::mem::replace(&mut self.service_mut(id).post, Post::None);
        let cancelled = matches!(
            post,
            Post::Running {
                cancelled: true,
                ..
            }
        );
        if let Some(failure) = failure
            && !cancelled
        {
            self.tell_post_script_failed(id, failure);
        }
    }

    fn tell_post_script_failed(&mut self, id: ServiceId, failure: ScriptFailure) {
        self.actions
            .push_back(Action::Notice(Notice::PostScriptFailed {
                service: id,
                failure,
            }));
    }
}

fn not_executed(script: &Option<Script>) -> ScriptFailure {
    let path = match script {
        Some(Script::Path(path)) => Some(path.display().to_string().into()),
        Some(Script::Inline(_)) | None => None,
    };
    ScriptFailure::NotExecuted {
        path,
        within: EXECUTE_WITHIN,
    }
}

/// When an execution that begins now has taken too long.
pub(super) fn execute_by(now: Moment) -> Moment {
    now.after(EXECUTE_WITHIN)
}

/// A program or script that runs or is on its way; how long it waits to be executed, where that is shown.
pub(super) fn executing(role: Role, execute_by: Option<Moment>, now: Moment) -> Detail {
    let waited = execute_by.map(|at| now.since(at.before(EXECUTE_WITHIN)));
    Detail::Executing {
        role,
        waited: waited.filter(|waited| *waited >= SHOWN_AFTER),
    }
}
