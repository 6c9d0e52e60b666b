//! The next time of an expression in a zone. The zone is walked by stretches of constant offset; stretches in which
//! nothing can match are leapt over.

use super::civil::{DAY, Date};
use super::expression::{Calendar, Expression, Rule};
use super::zone::{FARTHEST, Zone};
use super::{Timestamp, civil};

/// Years that are searched. The rarest date, 29 February on one weekday, comes back after 40 at most.
const YEARS: i64 = 84;

/// Stretches that are looked at. An expression that names nothing but a time which its zone skips each year would
/// otherwise be looked for in all of these years; each of them takes two stretches.
const MOST_STRETCHES: u32 = 64;

impl Expression {
    /// The first match after `after`. None: there is none in the next 84 years or before the year 9999, or its zone
    /// has skipped the time each year for decades.
    ///
    /// `@every` counts from `after`.
    pub fn next(&self, after: Timestamp, zone: &Zone) -> Option<Timestamp> {
        match &self.rule {
            Rule::Calendar(calendar) => calendar.next_in(after.0, zone).map(Timestamp),
            Rule::Every(interval) => {
                let seconds = i64::try_from(interval.as_millis().div_ceil(1000)).ok()?;
                let next = after.0.checked_add(seconds)?;
                Zone::RANGE.contains(&next).then_some(Timestamp(next))
            }
        }
    }

    /// Whether the calendar names this civil time, in seconds since 1970-01-01T00:00.
    pub(super) fn names(&self, local: i64) -> bool {
        match &self.rule {
            Rule::Calendar(calendar) => calendar.next(local) == Some(local),
            Rule::Every(_) => true,
        }
    }
}

impl Calendar {
    fn next_in(&self, after: i64, zone: &Zone) -> Option<i64> {
        if !Zone::RANGE.contains(&after) {
            return None;
        }
        let last = Date::of_day(civil::split(after).0).year + YEARS;
        let last = Date {
            year: last,
            month: 12,
            day: 31,
        };
        let last = (last.day_number() * DAY).min(*Zone::RANGE.end());
        match self.elapsed {
            true => self.next_elapsed(after, zone, last),
            false => self.next_fixed(after, zone, last),
        }
    }

    /// Elapsed time: each instant whose civil time matches.
    fn next_elapsed(&self, after: i64, zone: &Zone, last: i64) -> Option<i64> {
        let mut from = after + 1;
        for _ in 0..MOST_STRETCHES {
            if from > last {
                break;
            }
            let stretch = zone.stretch(from);
            let local = from + stretch.offset;
            let matching = self.next(local)?;
            let instant = matching - stretch.offset;
            if instant < stretch.end {
                return (instant <= last).then_some(instant);
            }
            from = stretch.end;
            // Nothing matches from `local` until `matching`. Where the next stretch cannot begin before `local`, all
            // that are over before `matching` are leapt over.
            if stretch.end - FARTHEST >= local {
                from = from.max(matching - FARTHEST);
            }
        }
        None
    }

    /// Fixed times: each once, at the first instant at which the clock has reached it. That is the end of the gap for
    /// those in a gap, and the first occurrence of those that occur twice.
    fn next_fixed(&self, after: i64, zone: &Zone, last: i64) -> Option<i64> {
        let mut from = after + 1;
        // The clock has reached all civil times before this one.
        let mut reached = zone.highest(after) + 1;
        while from <= last {
            let stretch = zone.stretch(from);
            let matching = self.next(reached)?;
            if matching <= from + stretch.offset {
                return Some(from);
            }
            let instant = matching - stretch.offset;
            if instant < stretch.end {
                return (instant <= last).then_some(instant);
            }
            reached = matching;
            from = stretch.end.max(matching - FARTHEST);
        }
        None
    }
}
