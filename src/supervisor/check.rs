//! What the results of a running program's health check add up to.

use std::time::Duration;

use crate::base::{JobId, Moment};
use crate::config::model;
use crate::domain::{CheckError, CheckFailure, Health};

/// Before the second check of a service that has just been executed; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// The standing of one running program's check.
#[derive(Debug)]
pub(super) struct Check {
    pub standing: Standing,
    /// When its program was executed.
    pub began: Moment,
    /// Failures in a row.
    pub failures: u32,
    /// Why the last check failed; None when it passed.
    pub error: Option<CheckError>,
    pub round: Round,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Never passed, and not given up.
    Starting,
    Healthy {
        since: Moment,
    },
    Unhealthy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    Due(Moment),
    Running(JobId),
}

impl Check {
    /// The next one is to be begun.
    pub fn due(&self) -> Option<Moment> {
        match self.round {
            Round::Due(at) => Some(at),
            Round::Running(_) => None,
        }
    }

    pub fn healthy_since(&self) -> Option<Moment> {
        match self.standing {
            Standing::Healthy { since } => Some(since),
            Standing::Starting | Standing::Unhealthy => None,
        }
    }

    pub fn health(&self) -> Health {
        match self.standing {
            Standing::Starting => Health::Starting,
            Standing::Healthy { .. } => Health::Healthy,
            Standing::Unhealthy => Health::Unhealthy,
        }
    }

    /// Why the last check failed.
    pub fn error(&self) -> Option<&CheckError> {
        self.error.as_ref()
    }

    /// What fails, and what that makes of it; None while the last check passed, or none was made.
    pub fn failure(&self, config: &model::Health) -> Option<CheckFailure> {
        Some(CheckFailure {
            health: self.health(),
            failures: self.failures,
            retries: config.retries,
            error: self.error.clone()?,
        })
    }

    /// Takes a result in; the pause before the next check.
    pub fn note(
        &mut self,
        result: Result<(), CheckError>,
        config: &model::Health,
        now: Moment,
    ) -> Duration {
        let Err(error) = result else {
            self.error = None;
            self.failures = 0;
            if self.healthy_since().is_none() {
                self.standing = Standing::Healthy { since: now };
            }
            return config.interval;
        };
        self.error = Some(error);
        self.failures = self.failures.saturating_add(1);
        match self.standing {
            Standing::Starting => {
                let patience = config.interval.saturating_mul(config.retries);
                let given_up_at = self.began.after(config.start_period).after(patience);
                if given_up_at <= now {
                    self.standing = Standing::Unhealthy;
                }
                let pause = FIRST_PAUSE.saturating_mul(1 << (self.failures - 1).min(16));
                pause.min(config.start_interval)
            }
            Standing::Healthy { .. } => {
                if self.failures >= config.retries {
                    self.standing = Standing::Unhealthy;
                }
                config.interval
            }
            Standing::Unhealthy => config.interval,
        }
    }
}
