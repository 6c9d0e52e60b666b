//! One expression, read: what it chooses.

use std::time::Duration;

use super::civil;
use super::days::Days;

/// A cron expression or a macro, which is refused where it can never match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    pub(super) text: String,
    pub(super) rule: Rule,
}

/// When an expression matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// By the calendar of a zone.
    Calendar(Calendar),
    /// `@every`: by elapsed time, whatever the clock is set to.
    Every(Duration),
}

/// Fields as sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Calendar {
    /// Bits 0 to 59.
    pub seconds: u64,
    /// Bits 0 to 59.
    pub minutes: u64,
    /// Bits 0 to 23.
    pub hours: u32,
    pub days: Days,
    /// Its minute or hour field begins with `*`: it follows elapsed time where clocks change.
    pub elapsed: bool,
    /// It has six fields.
    pub with_seconds: bool,
}

impl Expression {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The interval of `@every`; None: it goes by the calendar.
    pub fn interval(&self) -> Option<Duration> {
        match self.rule {
            Rule::Every(interval) => Some(interval),
            Rule::Calendar(_) => None,
        }
    }

    /// Whether it names fixed times, each at most once a civil day: those that fall into a gap run at its end, and
    /// those that occur twice run once. The others follow elapsed time.
    pub fn names_fixed_times(&self) -> bool {
        matches!(&self.rule, Rule::Calendar(calendar) if !calendar.elapsed)
    }
}

/// The lowest bit of a set from `from` on.
fn at_least(set: u64, from: i64) -> Option<i64> {
    let from = u32::try_from(from).ok()?;
    let rest = set & u64::MAX.checked_shl(from)?;
    (rest != 0).then(|| i64::from(rest.trailing_zeros()))
}

impl Calendar {
    /// The first match from a civil time on, in seconds since 1970-01-01T00:00 of the same clock.
    pub fn next(&self, local: i64) -> Option<i64> {
        let (day, second) = civil::split(local);
        let chosen = self.days.next(day)?;
        if chosen > day {
            return Some(chosen * civil::DAY + self.time_from(0)?);
        }
        if let Some(time) = self.time_from(second) {
            return Some(day * civil::DAY + time);
        }
        Some(self.days.next(day + 1)? * civil::DAY + self.time_from(0)?)
    }

    /// The first matching second of a day, from `second` on.
    fn time_from(&self, second: i64) -> Option<i64> {
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let hours = u64::from(self.hours);
        let first_minute = at_least(self.minutes, 0)?;
        let first_second = at_least(self.seconds, 0)?;
        if at_least(hours, hour) == Some(hour) {
            if at_least(self.minutes, minute) == Some(minute)
                && let Some(second) = at_least(self.seconds, second)
            {
                return Some(hour * 3600 + minute * 60 + second);
            }
            if let Some(minute) = at_least(self.minutes, minute + 1) {
                return Some(hour * 3600 + minute * 60 + first_second);
            }
        }
        let hour = at_least(hours, hour + 1)?;
        Some(hour * 3600 + first_minute * 60 + first_second)
    }
}
