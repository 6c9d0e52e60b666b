//! Which times of a schedule are due, whatever happens to the clock: it is set, the machine sleeps, the container is
//! frozen.
//!
//! Each expression keeps the last time that it has reached. Those that name fixed times never return to an earlier
//! one, unless the clock is corrected by more than [`ClockStep::LARGEST`]; those that follow elapsed time follow a clock
//! that was set back. However many times have passed, one run is due at most.

use std::time::Duration;

use crate::base::Moment;
use crate::domain::{ClockStep, Now};
use crate::schedule::{Expression, Schedule, Timestamp};

/// A time that was reached within that many seconds was not missed.
const TIMELY: i64 = 10;

/// Whether a run follows times that were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// One, however long ago.
    #[default]
    Always,
    /// One, if the last time is not longer ago than this.
    Within(Duration),
    /// None.
    Never,
}

/// Why a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// Times were missed.
    CatchUp,
    /// Its time has come.
    Schedule,
}

/// A run that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The time that the schedule names, without the jitter.
    pub slot: Timestamp,
    /// Why.
    pub trigger: Trigger,
}

/// The times of one service.
#[derive(Debug)]
pub struct Plan {
    schedule: Schedule,
    /// Added to each time, in seconds.
    jitter: i64,
    catch_up: CatchUp,
    entries: Vec<Entry>,
    seen: Now,
}

/// How far one expression is.
#[derive(Debug)]
enum Entry {
    /// By the calendar.
    Calendar {
        reached: Timestamp,
        next: Option<Timestamp>,
    },
    /// `@every`, on the daemon's clock.
    Interval { next: Moment },
}

impl Plan {
    /// A plan that begins now: what has passed is not missed.
    pub fn new(schedule: Schedule, jitter: Duration, catch_up: CatchUp, now: Now) -> Plan {
        let jitter = i64::try_from(jitter.as_secs()).unwrap_or(i64::MAX);
        let mut plan = Plan {
            schedule,
            jitter,
            catch_up,
            entries: Vec::new(),
            seen: now,
        };
        let reached = plan.until(now);
        let expressions = plan.schedule.expressions().iter();
        let entries = expressions.map(|expression| match expression.interval() {
            Some(interval) => Entry::Interval {
                next: now.mono.after(interval).after(seconds(plan.jitter)),
            },
            None => Entry::Calendar {
                reached,
                next: expression.next(reached, plan.schedule.zone()),
            },
        });
        plan.entries = entries.collect();
        plan
    }

    /// What it goes by.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Times up to this one are due.
    fn until(&self, now: Now) -> Timestamp {
        Timestamp(now.wall.seconds().saturating_sub(self.jitter))
    }

    /// The run that is due now, if one is. After it the next one is in the future.
    pub fn advance(&mut self, now: Now) -> Option<Due> {
        let step = now.since(self.seen).step;
        self.seen = now;
        let until = self.until(now);
        let zone = self.schedule.zone();
        let mut due = None;
        for (expression, entry) in self.schedule.expressions().iter().zip(&mut self.entries) {
            let found = match entry {
                Entry::Interval { next } => interval_due(expression, next, now, until),
                Entry::Calendar { reached, next } => {
                    let again = match step {
                        ClockStep::CorrectedForward(_) | ClockStep::CorrectedBack(_) => true,
                        ClockStep::Back(_) => !expression.names_fixed_times(),
                        ClockStep::None | ClockStep::Forward(_) => false,
                    };
                    if again {
                        *reached = until;
                        *next = expression.next(until, zone);
                    }
                    let newest = newest(*reached, until, |at| expression.next(at, zone), *next);
                    if let Some(newest) = newest {
                        *reached = newest;
                        *next = expression.next(newest, zone);
                    }
                    newest.and_then(|slot| judged(slot, until, self.catch_up))
                }
            };
            due = better(due, found);
        }
        due
    }

    /// When [`Plan::advance`] has something to do by the time of day, in seconds since 1970.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        let nexts = self.entries.iter().filter_map(|entry| match entry {
            Entry::Calendar { next, .. } => *next,
            Entry::Interval { .. } => None,
        });
        nexts.min().map(|next| self.delayed(next))
    }

    /// When it has something to do by the daemon's clock.
    pub fn deadline(&self) -> Option<Moment> {
        let nexts = self.entries.iter().filter_map(|entry| match entry {
            Entry::Interval { next } => Some(*next),
            Entry::Calendar { .. } => None,
        });
        nexts.min()
    }

    /// When the next run begins, with the jitter.
    pub fn next_run(&self, now: Now) -> Option<Timestamp> {
        let interval = self.deadline().map(|at| {
            let wall = now.wall.after(at.since(now.mono));
            Timestamp(wall.seconds())
        });
        [self.wakes_at(), interval].into_iter().flatten().min()
    }

    fn delayed(&self, slot: Timestamp) -> Timestamp {
        Timestamp(slot.0.saturating_add(self.jitter))
    }
}

/// An interval never misses a time: it is counted on a clock that stands still while the daemon does not run.
fn interval_due(
    expression: &Expression,
    next: &mut Moment,
    now: Now,
    until: Timestamp,
) -> Option<Due> {
    let interval = expression.interval().filter(|_| *next <= now.mono)?;
    let passed = now.mono.since(*next);
    let periods = passed.as_nanos() / interval.as_nanos().max(1) + 1;
    let behind = interval.saturating_mul(u32::try_from(periods).unwrap_or(u32::MAX));
    *next = next.after(behind);
    Some(Due {
        slot: until,
        trigger: Trigger::Schedule,
    })
}

/// The last time up to `until` that comes after `reached`; `first` is the first of them. Found by halving, since there
/// may be millions.
fn newest(
    reached: Timestamp,
    until: Timestamp,
    next: impl Fn(Timestamp) -> Option<Timestamp>,
    first: Option<Timestamp>,
) -> Option<Timestamp> {
    let is_due = |time: Option<Timestamp>| time.filter(|time| *time <= until);
    let mut newest = is_due(first)?;
    // Something is due behind `low`, and nothing behind `high`.
    let (mut low, mut high) = (newest.0.max(reached.0), until.0);
    while low < high {
        let middle = low + (high - low) / 2;
        match is_due(next(Timestamp(middle))) {
            Some(time) => {
                newest = time;
                low = time.0;
            }
            None => high = middle,
        }
    }
    Some(newest)
}

/// What a time that was reached is worth.
fn judged(slot: Timestamp, until: Timestamp, catch_up: CatchUp) -> Option<Due> {
    let late = until.0.saturating_sub(slot.0);
    let trigger = match catch_up {
        _ if late <= TIMELY => Trigger::Schedule,
        CatchUp::Always => Trigger::CatchUp,
        CatchUp::Within(limit) if seconds(late) <= limit => Trigger::CatchUp,
        CatchUp::Within(_) | CatchUp::Never => return None,
    };
    Some(Due { slot, trigger })
}

/// One run for both: a time that has come goes before those that were missed.
fn better(one: Option<Due>, other: Option<Due>) -> Option<Due> {
    let worth = |due: &Due| (due.trigger, due.slot);
    one.into_iter().chain(other).max_by_key(worth)
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests;
