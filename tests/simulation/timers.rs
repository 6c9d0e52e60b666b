//! Every moment on which the states wait, as the reference sees it.

use std::time::Duration;

use go_overlay::base::{Moment, ServiceId, Signal};
use go_overlay::domain::State;
use go_overlay::supervisor::event::Role;

use crate::model::{CONTINUE_AFTER, Facts, Model};
use crate::reference::Verdict;

/// A program or script has so long to be executed.
pub const EXECUTE_WITHIN: Duration = Duration::from_secs(30);

/// Strays have so long between SIGTERM and SIGKILL.
const STRAY_GRACE: Duration = Duration::from_millis(500);

/// What SIGKILL does not end is waited for so long.
const UNKILLABLE_GRACE: Duration = Duration::from_secs(2);

/// What the supervisor's deadline may be.
#[derive(Debug, Default)]
pub struct Timers {
    /// It has to be at the first of these at the latest.
    pub must: Vec<(Moment, &'static str)>,
    /// It may also be in one of these spans.
    pub may: Vec<(Moment, Moment)>,
}

impl Timers {
    /// One that is about to be restarted anyway is not waited for.
    fn unless_again(&mut self, facts: &Facts, at: Moment, why: &'static str) {
        match facts.maybe_again || facts.maybe_stop {
            true => self.may.push((at, at)),
            false => self.must(at, why),
        }
    }

    fn must(&mut self, at: Moment, why: &'static str) {
        self.must.push((at, why));
    }

    pub fn first(&self) -> Option<(Moment, &'static str)> {
        self.must.iter().min().copied()
    }

    pub fn allows(&self, at: Moment) -> bool {
        self.must.iter().any(|(must, _)| *must == at)
            || self
                .may
                .iter()
                .any(|(from, until)| (*from..=*until).contains(&at))
    }
}

impl Model {
    pub fn timers(&self) -> Timers {
        let mut timers = Timers::default();
        for (id, facts) in &self.services {
            self.timers_of(*id, facts, &mut timers);
        }
        for job in self.jobs.values().filter(|job| !job.killed) {
            if let Some((at, grace)) = job.told {
                timers.must(at.after(grace), "a grace");
                if !job.continued && job.may_be_continued && job.role != Role::PostScript {
                    timers.must(at.after(CONTINUE_AFTER.min(grace)), "SIGCONT");
                }
            }
        }
        for open in self.requests.values() {
            if let Some(at) = open.deadline {
                timers.must(at, "a client's patience");
            }
        }
        self.timers_of_the_end(&mut timers);
        timers
    }

    fn timers_of(&self, id: ServiceId, facts: &Facts, timers: &mut Timers) {
        let leading = self.leading_job(id).map(|(_, job)| job);
        let main = leading.filter(|job| job.role == Role::Main);
        let has_program = main.is_some_and(|job| job.pid.is_some());
        let executing = leading.filter(|job| job.pid.is_none());
        let is_up = self.down.is_none();
        match facts.state {
            State::Pending => self.timers_of_pending(facts, timers),
            State::Starting => {
                if let Some(job) = executing.filter(|_| is_up) {
                    timers.unless_again(facts, job.since.after(EXECUTE_WITHIN), "an execution");
                }
                if let Some(at) = facts.ready_until.filter(|_| has_program && is_up) {
                    timers.unless_again(facts, at, "ready_timeout");
                }
            }
            State::Running => {
                if let Some((period, last)) = facts.watchdog.filter(|_| is_up) {
                    let due = last.after(period).max(facts.extended);
                    timers.unless_again(facts, due, "a watchdog");
                }
            }
            State::Stopped | State::Failed => {
                if let Some(window) = facts.restart {
                    timers.may.push((window.from, window.until));
                    if window.must {
                        timers.must(window.until, "a restart");
                    }
                }
            }
            State::Stopping => {}
        }
        if let Some(due) = facts.health.as_ref().and_then(|health| health.due) {
            timers.must(due, "a check");
        }
        let post = self.post_job(id).filter(|job| job.pid.is_none());
        if let Some(job) = post.filter(|job| job.told.is_none() && !job.killed) {
            timers.must(job.since.after(EXECUTE_WITHIN), "a post-script's execution");
        }
        let runs = facts.state == State::Running && facts.config.post_script.is_some();
        match facts.post_due {
            Some(at) if runs => timers.must(at, "a post-script"),
            Some(at) => timers.may.push((at, at)),
            None => {}
        }
    }

    fn timers_of_pending(&self, facts: &Facts, timers: &mut Timers) {
        let patience = facts.since.after(self.timeouts.dependency_wait);
        for edge in &facts.edges {
            match self.verdict(edge) {
                Verdict::MetSince(since) if since.after(edge.wait_after) > self.now => {
                    timers.must(since.after(edge.wait_after), "wait_after");
                }
                Verdict::MetSince(_) | Verdict::Failed => {}
                Verdict::Waiting => timers.must(patience, "dependency_wait_timeout"),
                Verdict::Down => timers.may.push((patience, patience)),
                Verdict::Unknown => {
                    timers.may.push((patience, patience));
                    if let Some(since) = self.met_since(edge) {
                        let at = since.after(edge.wait_after);
                        timers.may.push((at, at));
                    }
                }
            }
        }
    }

    fn timers_of_the_end(&self, timers: &mut Timers) {
        let Some(down) = &self.down else { return };
        match (down.swept, down.killing_at) {
            (Some((at, Signal::KILL)), _) => {
                timers.must(at.after(UNKILLABLE_GRACE), "the unkillable");
            }
            (Some((at, _)), _) => {
                timers.must(at.after(STRAY_GRACE).min(down.bound), "strays");
            }
            (None, None) => timers.must(down.bound, "global_shutdown_timeout"),
            (None, Some(at)) => {
                timers.must(at.after(UNKILLABLE_GRACE), "the unkillable");
            }
        }
    }
}
