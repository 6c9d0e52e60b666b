//! The rules of restarting, of health and of conditions, written a second time from the documentation.

use std::time::Duration;

use go_overlay::base::{Moment, ServiceId, Signal};
use go_overlay::config::change;
use go_overlay::config::model::{Condition, Health, OnUnhealthy, Restart, RestartPolicy, Service};
use go_overlay::domain::FailReason;
use go_overlay::domain::{Health as Word, State};
use go_overlay::supervisor::view::Detail;

use crate::model::{Edge, Facts, Model, Wanted};

/// After a program that could not be executed at least so much is waited.
const UNSTARTABLE: Duration = Duration::from_millis(100);

/// Before the second check; doubled each time until the service is well.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// Who closes its readiness descriptor may be about to end, and has so long for that.
pub const END_FOLLOWS: Duration = Duration::from_secs(1);

/// Whether SIGCONT may follow a stop signal: it would cancel one that stops, and is of no use after two others.
pub fn may_be_continued(signal: Signal) -> bool {
    let none = ["STOP", "TSTP", "TTIN", "TTOU", "KILL", "CONT"];
    !none.iter().any(|name| Signal::parse(name) == Some(signal))
}

/// What a running program's checks add up to.
#[derive(Debug)]
pub struct Standing {
    pub word: Word,
    /// As it was told: what was decided before a check was answered is not wrong because of it.
    pub told_healthy: Option<Moment>,
    healthy_since: Option<Moment>,
    began: Moment,
    failures: u32,
    /// The next check; None while one is under way.
    pub due: Option<Moment>,
}

impl Standing {
    pub fn new(now: Moment) -> Standing {
        Standing {
            word: Word::Starting,
            told_healthy: None,
            healthy_since: None,
            began: now,
            failures: 0,
            due: Some(now),
        }
    }

    pub fn note(&mut self, passed: bool, config: &Health, now: Moment) {
        if passed {
            self.failures = 0;
            self.healthy_since.get_or_insert(now);
            self.word = Word::Healthy;
            self.due = Some(now.after(config.interval));
            return;
        }
        self.failures += 1;
        let mut pause = config.interval;
        match self.word {
            Word::Starting | Word::None => {
                let doublings = (self.failures - 1).min(16);
                pause = (FIRST_PAUSE * 2u32.pow(doublings)).min(config.start_interval);
                let patience = config.start_period + config.interval * config.retries;
                if now.since(self.began) >= patience {
                    self.word = Word::Unhealthy;
                }
            }
            Word::Healthy if self.failures >= config.retries => {
                self.word = Word::Unhealthy;
                self.healthy_since = None;
            }
            Word::Healthy | Word::Unhealthy => {}
        }
        self.due = Some(now.after(pause));
    }
}

/// When a restart may come, and whether it has to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub from: Moment,
    pub until: Moment,
    pub must: bool,
}

/// The delay before the attempt of this number, without jitter.
fn back_off(restart: &Restart, attempt: u32) -> f64 {
    let growth = f64::from(restart.factor_permille) / 1000.0;
    let steps = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let delay = restart.delay.as_secs_f64() * growth.powi(steps);
    delay.min(restart.max_delay.as_secs_f64())
}

fn window(restart: &Restart, attempts: (u32, u32), at_least: Duration, now: Moment) -> Window {
    let jitter = f64::from(restart.jitter_permille) / 1000.0;
    // A millionth more on each side for the arithmetic.
    let from = back_off(restart, attempts.0) * (1.0 - jitter) * 0.999_999 - 1e-6;
    let until = back_off(restart, attempts.1) * (1.0 + jitter) * 1.000_001 + 1e-6;
    let after = |seconds: f64| now.after(Duration::from_secs_f64(seconds.max(0.0)).max(at_least));
    Window {
        from: after(from),
        until: after(until),
        must: true,
    }
}

/// Whether it is STOPPING since it failed while it ran.
pub fn is_failure(detail: &Detail) -> bool {
    matches!(detail, Detail::FailedRunning(_))
}

/// What its policy makes of an end. Keeps the count of attempts.
pub fn restart_after(
    facts: &mut Facts,
    (from, to): (State, State),
    again: bool,
    down: bool,
    now: Moment,
) -> Option<Window> {
    let restart = facts.config.restart.clone();
    if from == State::Running && now.since(facts.since) >= restart.reset_after {
        facts.attempts = (0, 0);
    }
    // One that was to be stopped ends sooner than that.
    let (sure, maybe) = (
        facts.going && facts.wanted == Wanted::Down,
        facts.maybe_stop,
    );
    if sure {
        facts.attempts = (0, 0);
        return None;
    }
    let at_once = again.then_some(Window {
        from: now,
        until: now,
        must: false,
    });
    let unwanted = down || facts.leaving;
    match (from, to) {
        (State::Running, State::Stopped) => {
            facts.attempts = (0, 0);
            let always = restart.policy == RestartPolicy::Always && !unwanted;
            let usual = always.then(|| Window {
                must: !maybe,
                ..window(&restart, (1, 1), Duration::ZERO, now)
            });
            both(usual, at_once)
        }
        (State::Pending, State::Failed) => None,
        (_, State::Failed) => {
            let regardless = from == State::Stopping && facts.restarts_regardless;
            let unwilling = restart.policy == RestartPolicy::No && !regardless;
            let most = restart.max_attempts.unwrap_or(u32::MAX);
            if unwilling || unwanted || facts.attempts.0 >= most {
                return if down { None } else { at_once };
            }
            let must = facts.attempts.1 < most && !maybe;
            let spent = (facts.attempts.0 + 1, facts.attempts.1 + 1);
            // A restart that was asked for costs none and begins the count anew.
            facts.attempts = (if again { 0 } else { spent.0 }, spent.1);
            let at_least = match facts.unstartable {
                true => UNSTARTABLE,
                false => Duration::ZERO,
            };
            let usual = Window {
                must,
                ..window(&restart, spent, at_least, now)
            };
            both(Some(usual), at_once)
        }
        _ => None,
    }
}

/// It cannot be known which of the two it is.
fn both(usual: Option<Window>, at_once: Option<Window>) -> Option<Window> {
    match (usual, at_once) {
        (Some(usual), Some(at_once)) => Some(Window {
            from: at_once.from,
            ..usual
        }),
        (usual, at_once) => usual.or(at_once),
    }
}

/// A service's entry in another configuration.
pub fn renew(facts: &mut Facts, new: Option<&Service>, has_program: bool, now: Moment) {
    let Some(new) = new else {
        facts.leaving = true;
        facts.wanted = Wanted::Down;
        if facts.state == State::Stopped {
            facts.restart = None;
        }
        return;
    };
    let change = change::between(&facts.config, new);
    let came_back = std::mem::take(&mut facts.leaving);
    let was_enabled = facts.config.enabled;
    facts.config = new.clone();
    match (was_enabled, new.enabled) {
        (true, false) => facts.wanted = Wanted::Down,
        (false, false) if came_back => facts.wanted = Wanted::May,
        (false, false) => {}
        (false, true) => facts.wanted = Wanted::May,
        (true, true) if came_back => facts.wanted = Wanted::May,
        (true, true) => {
            if facts.wanted == Wanted::Up {
                facts.wanted = Wanted::May;
            }
        }
    }
    if let Some(restart) = &mut facts.restart {
        restart.must = false;
    }
    if was_enabled && !new.enabled {
        facts.completed_at = None;
        facts.post_due = None;
        facts.restart = None;
        // It may have to wait for its turn to be stopped.
        facts.maybe_stop |= facts.is_up_or_starting();
    }
    let up = facts.is_up_or_starting();
    let renewed = has_program && change.keys.contains(&"health");
    if up && change.needs_restart && new.enabled {
        facts.maybe_again = true;
        facts.outdated = !facts.maybe_stop;
        // One that waits for its turn to be stopped is not restarted, so its check is the new one.
        facts.health = match (&new.health, facts.maybe_stop && renewed) {
            (Some(_), true) => Some(Standing::new(now)),
            (Some(_), false) => facts.health.take(),
            (None, _) => None,
        };
    } else if up && renewed {
        facts.health = new.health.as_ref().map(|_| Standing::new(now));
    }
}

/// What a dependency means for somebody who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    MetSince(Moment),
    Waiting,
    /// It was stopped, and stays so.
    Down,
    Failed,
    /// It may be about to be restarted, or its restart is uncertain.
    Unknown,
}

impl Model {
    /// Whether the condition holds; None where it certainly does not.
    pub fn met_since(&self, edge: &Edge) -> Option<Moment> {
        let on = self.services.get(&edge.on)?;
        if on.state == State::Stopped {
            return on.completed_at;
        }
        if on.state != State::Running {
            return None;
        }
        match edge.condition {
            Condition::Started => Some(on.since),
            Condition::Healthy if on.config.health.is_none() => Some(on.since),
            Condition::Healthy => {
                let well = on.health.as_ref().and_then(|health| health.told_healthy);
                well.map(|well| well.max(on.since))
            }
            Condition::Completed => None,
        }
    }

    pub fn verdict(&self, edge: &Edge) -> Verdict {
        let Some(on) = self.services.get(&edge.on) else {
            return Verdict::Unknown;
        };
        if on.maybe_again || on.maybe_stop {
            return Verdict::Unknown;
        }
        match (self.met_since(edge), on.state, &on.restart) {
            (Some(since), _, _) => Verdict::MetSince(since),
            (None, State::Failed, None) => Verdict::Failed,
            (None, State::Failed, Some(Window { must: false, .. })) => Verdict::Unknown,
            (None, State::Stopped, _) => Verdict::Down,
            (None, State::Stopping, _) => match on.wanted {
                Wanted::Up => Verdict::Waiting,
                Wanted::Down => Verdict::Down,
                Wanted::May => Verdict::Unknown,
            },
            (None, _, _) => Verdict::Waiting,
        }
    }

    /// Whether it stays as it is until somebody starts it; None where that cannot be known.
    pub fn is_final(&self, id: ServiceId) -> Option<bool> {
        let facts = self.services.get(&id)?;
        match (facts.state, &facts.restart) {
            (State::Stopped | State::Failed, None) => Some(true),
            (State::Stopped | State::Failed, Some(Window { must: false, .. })) => None,
            _ => Some(false),
        }
    }
}

/// Whether its policy restarts an unhealthy service even where it restarts nothing else.
pub fn restarts_regardless(facts: &Facts, detail: &Detail) -> bool {
    let config = facts.config.health.as_ref();
    matches!(detail, Detail::FailedRunning(FailReason::Unhealthy(_)))
        && config.is_some_and(|config| config.on_unhealthy == OnUnhealthy::Restart)
}
