//! What follows an end that nobody asked for: the restart policy, its back-off, and giving up.
//!
//! A service that waits for its restart is FAILED, or after an exit 0 STOPPED, with the moment in its
//! phase. Nobody takes it for an end before that moment is gone: dependents and clients wait on, and a
//! required service takes nothing with it.

use std::time::Duration;

use super::Supervisor;
use super::event::{Action, Notice};
use super::jitter::nanos;
use super::service::{PendingStop, Phase, RunningFailure, Step};
use super::view::NextAttempt;
use crate::base::{ExitStatus, Moment, ServiceId};
use crate::config::model::{Restart, RestartPolicy};
use crate::domain::{FailReason, Failure, RestartReason, StopReason};

/// The least that is waited after a program could not be executed. The answer to such a spawn may come at
/// once, so that without any wait the loop would never get to anything else.
const UNSTARTABLE_DELAY: Duration = Duration::from_millis(100);

/// What a policy makes of a failure.
enum Next {
    /// There is no policy, or everything ends anyway.
    Nothing,
    /// Another attempt.
    Attempt(Moment),
    /// So many attempts were made in vain.
    GiveUp(u32),
}

impl Supervisor {
    pub(super) fn on_main_exited(&mut self, id: ServiceId, status: ExitStatus, now: Moment) {
        let service = self.service_mut(id);
        service.last_exit = Some(status);
        let ends_well = service.config.is_success(status);
        let is_to_stop = service.pending_stop == Some(PendingStop::Stay);
        match &mut service.phase {
            // Its number may be another process's from now on, also while its post-script is waited for.
            Phase::Stopping { pid, .. } => *pid = None,
            Phase::Starting { .. } if is_to_stop => self.end_as_asked(id, now),
            _ if is_to_stop && !ends_well => self.end_as_asked(id, now),
            Phase::Starting {
                step: Step::Executing { .. },
                ..
            } => {
                let code = if ends_well { 1 } else { status.code() };
                self.fail(id, FailReason::EndedUnexecuted(status), code, now);
            }
            Phase::Starting { .. } if ends_well => {
                self.fail(id, FailReason::EndedUnready(status), 1, now);
            }
            _ if ends_well => self.complete(id, now),
            _ => self.fail(id, FailReason::Ended(status), status.code(), now),
        }
    }

    /// It did its work, which makes up for the failures before it.
    fn complete(&mut self, id: ServiceId, now: Moment) {
        self.service_mut(id).attempts = 0;
        let always = self.service(id).config.restart.policy == RestartPolicy::Always;
        let stays = self.service(id).pending_stop == Some(PendingStop::Stay);
        let restart_at = match self.takes_up_a_restart(id) {
            true => Some(now),
            false if always && !stays && !self.life.is_down() && !self.service(id).leaving => {
                let delay = self.delay(id, 1);
                Some(now.after(delay))
            }
            false => None,
        };
        let reason = StopReason::Completed {
            at: now,
            restart_at,
        };
        self.set_phase(id, Phase::Stopped(reason), now);
    }

    /// The door for every failure of a service's own: its policy decides what follows. Whoever finds
    /// a service with a live process wanting ends that process first.
    pub(super) fn fail(&mut self, id: ServiceId, reason: FailReason, code: u8, now: Moment) {
        let next = self.after_failure(id, false, Duration::ZERO, now);
        self.fail_with(id, reason, code, next, now);
    }

    /// Its process lived, was found wanting, and has been ended.
    pub(super) fn fail_as_found(&mut self, id: ServiceId, failure: &RunningFailure, now: Moment) {
        let next = self.after_failure(id, failure.restarts, Duration::ZERO, now);
        self.fail_with(id, failure.reason.clone(), 1, next, now);
    }

    /// A program or script of it could not be executed.
    pub(super) fn fail_to_execute(
        &mut self,
        id: ServiceId,
        reason: FailReason,
        code: u8,
        now: Moment,
    ) {
        let next = self.after_failure(id, false, UNSTARTABLE_DELAY, now);
        self.fail_with(id, reason, code, next, now);
    }

    /// A failure that is not the service's own, such as its dependency's. A restart would meet the same.
    pub(super) fn fail_for_good(&mut self, id: ServiceId, reason: FailReason, now: Moment) {
        let failure = Failure {
            reason,
            gave_up_after: None,
        };
        self.set_failed(id, failure, 1, None, true, now);
    }

    fn fail_with(&mut self, id: ServiceId, reason: FailReason, code: u8, next: Next, now: Moment) {
        let (restart_at, gave_up_after) = match next {
            Next::Nothing => (None, None),
            Next::Attempt(at) => (Some(at), None),
            Next::GiveUp(attempts) => (None, Some(attempts)),
        };
        let failure = Failure {
            reason,
            gave_up_after,
        };
        self.set_failed(id, failure, code, restart_at, false, now);
    }

    fn set_failed(
        &mut self,
        id: ServiceId,
        failure: Failure,
        code: u8,
        restart_at: Option<Moment>,
        by_dependency: bool,
        now: Moment,
    ) {
        self.cancel_post_script(id, now);
        let phase = Phase::Failed {
            failure,
            code,
            restart_at,
            by_dependency,
        };
        self.set_phase(id, phase, now);
        self.make_dependents_follow(id, now);
    }

    /// `regardless`: also where its policy is to leave it.
    fn after_failure(
        &mut self,
        id: ServiceId,
        regardless: bool,
        at_least: Duration,
        now: Moment,
    ) -> Next {
        if self.takes_up_a_restart(id) {
            self.service_mut(id).attempts = 0;
            return Next::Attempt(now);
        }
        let Restart {
            policy,
            max_attempts,
            ..
        } = self.service(id).config.restart;
        let unwanted = self.life.is_down() || self.service(id).leaving;
        if (policy == RestartPolicy::No && !regardless) || unwanted {
            return Next::Nothing;
        }
        let spent = self.attempts_spent(id, now);
        if max_attempts.is_some_and(|max| spent >= max) {
            return Next::GiveUp(spent);
        }
        let attempt = spent.saturating_add(1);
        self.service_mut(id).attempts = attempt;
        Next::Attempt(now.after(self.delay(id, attempt).max(at_least)))
    }

    /// Whether somebody has asked for a restart that was about to begin: the service only ended sooner
    /// than it was told to, which is no failure of it.
    fn takes_up_a_restart(&mut self, id: ServiceId) -> bool {
        let pending = self.service_mut(id).pending_stop.take();
        if pending.is_some() {
            self.wake_dependencies(id);
        }
        pending == Some(PendingStop::Restart) && !self.life.is_down()
    }

    /// The attempts of the present series of failures; having been up long enough ended the series.
    pub(super) fn attempts_spent(&self, id: ServiceId, now: Moment) -> u32 {
        let service = self.service(id);
        match service.phase {
            Phase::Running { since, .. }
                if now.since(since) >= service.config.restart.reset_after =>
            {
                0
            }
            _ => service.attempts,
        }
    }

    fn delay(&mut self, id: ServiceId, attempt: u32) -> Duration {
        let restart = &self.service(id).config.restart;
        let (delay, permille) = (back_off(restart, attempt), restart.jitter_permille);
        self.jitter.spread(delay, permille)
    }

    /// Starts whoever has waited long enough. It comes last in a turn, when everybody has seen how the
    /// run before it ended: also with a delay of 0, nobody who waits for `completed` misses it.
    pub(super) fn begin_due_restarts(&mut self, now: Moment) -> bool {
        let passed = self.restarts.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<ServiceId> = passed.map(|(_, id)| *id).collect();
        for &id in &due {
            let reason = self.why_it_restarts(id);
            self.tell_restart(id, reason);
            self.begin_pending(id, false, now);
        }
        !due.is_empty()
    }

    fn why_it_restarts(&self, id: ServiceId) -> RestartReason {
        let service = self.service(id);
        let attempt = service.attempts;
        match &service.phase {
            Phase::Failed { failure, .. } => RestartReason::Failed {
                failure: failure.clone(),
                attempt,
            },
            _ => RestartReason::Completed { attempt },
        }
    }

    pub(super) fn tell_restart(&mut self, id: ServiceId, reason: RestartReason) {
        self.actions.push_back(Action::Notice(Notice::Restarts {
            service: id,
            reason,
        }));
    }

    /// Makes an end final that a restart would have followed. It was told to stay down, so it has not
    /// failed; what it completed stays completed.
    pub(super) fn cancel_restart(&mut self, id: ServiceId, now: Moment) {
        if self.service(id).phase.restart_at().is_none() {
            return;
        }
        let reason = match self.service(id).phase {
            Phase::Stopped(StopReason::Completed { at, .. }) => StopReason::Completed {
                at,
                restart_at: None,
            },
            _ => StopReason::Asked { killed: None },
        };
        self.set_phase(id, Phase::Stopped(reason), now);
    }

    /// The start by policy that is to come; without `now`, where no moment is meant.
    pub(super) fn next_attempt(
        &self,
        id: ServiceId,
        restart_at: Option<Moment>,
        now: Option<Moment>,
    ) -> Option<NextAttempt> {
        let at = restart_at?;
        let service = self.service(id);
        Some(NextAttempt {
            left: now.map(|now| at.since(now)),
            attempt: service.attempts,
            max: service.config.restart.max_attempts,
        })
    }
}

/// The delay before the attempt of this number, counted from 1: each is longer than the one before by
/// the factor, up to the longest.
fn back_off(restart: &Restart, attempt: u32) -> Duration {
    let longest = restart.max_delay.as_nanos();
    let mut delay = restart.delay.as_nanos();
    for _ in 1..attempt {
        let next = (delay * u128::from(restart.factor_permille) / 1000).min(longest);
        // It has reached its bound, or does not grow at all.
        if next == delay {
            break;
        }
        delay = next;
    }
    nanos(delay)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::back_off;
    use crate::config::model::Restart;

    fn millis(restart: &Restart, attempts: std::ops::RangeInclusive<u32>) -> Vec<u128> {
        attempts
            .map(|attempt| back_off(restart, attempt).as_millis())
            .collect()
    }

    #[test]
    fn delays_grow_by_the_factor_up_to_the_longest() {
        let default = Restart::default();
        assert_eq!(
            millis(&default, 1..=9),
            [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]
        );
        assert_eq!(back_off(&default, u32::MAX), Duration::from_secs(60));
    }

    #[test]
    fn a_factor_of_1_and_a_delay_of_0_do_not_grow() {
        let even = Restart {
            factor_permille: 1000,
            ..Restart::default()
        };
        assert_eq!(millis(&even, 1..=3), [500, 500, 500]);
        assert_eq!(back_off(&even, u32::MAX), Duration::from_millis(500));
        let at_once = Restart {
            delay: Duration::ZERO,
            ..Restart::default()
        };
        assert_eq!(back_off(&at_once, u32::MAX), Duration::ZERO);
    }

    #[test]
    fn a_fraction_grows_slowly_and_ends_at_the_longest() {
        let slow = Restart {
            factor_permille: 1500,
            max_delay: Duration::from_millis(1500),
            ..Restart::default()
        };
        assert_eq!(millis(&slow, 1..=4), [500, 750, 1125, 1500]);
    }
}
