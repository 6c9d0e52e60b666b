//! What the clock does around a time: a gap before it, or the same civil time twice.

use std::fmt;

use super::civil::{Date, split};
use super::{Schedule, Timestamp};

/// What is special about a time in its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockChange {
    /// The clock has just gone forward over a time that the expression names. Civil times, in seconds since
    /// 1970-01-01T00:00.
    AfterGap {
        /// The first one that is skipped.
        from: i64,
        /// The first one that is not.
        to: i64,
    },
    /// This civil time comes a second time.
    FirstOfTwo,
    /// It has come before.
    SecondOfTwo,
}

impl Schedule {
    /// What is special about a time of this schedule.
    pub fn clock_change(&self, at: Timestamp) -> Option<ClockChange> {
        let zone = self.zone();
        let local = at.0 + zone.offset(at);
        if let Some((before, behind)) = zone.change_at(at.0)
            && before < behind
            && self
                .expressions()
                .iter()
                .all(|expression| !expression.names(local))
        {
            let from = at.0 + before;
            return Some(ClockChange::AfterGap { from, to: local });
        }
        if let Some((change, before, _)) = zone.last_change(at.0)
            && local < change + before
        {
            return Some(ClockChange::SecondOfTwo);
        }
        let end = zone.stretch(at.0).end;
        let (_, behind) = zone.change_at(end).filter(|_| end != i64::MAX)?;
        (local >= end + behind).then_some(ClockChange::FirstOfTwo)
    }
}

impl fmt::Display for ClockChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClockChange::AfterGap { from, to } => {
                let ((first, begin), (last, end)) = (split(*from), split(*to));
                let time = |second: i64| format!("{:02}:{:02}", second / 3600, second / 60 % 60);
                let date = |day: i64| {
                    let date = Date::of_day(day);
                    format!("{:04}-{:02}-{:02} ", date.year, date.month, date.day)
                };
                let dates = match first == last {
                    true => (String::new(), String::new()),
                    false => (date(first), date(last)),
                };
                let (begin, end) = (time(begin), time(end));
                write!(f, "the clock skips {}{begin} to {}{end}", dates.0, dates.1)
            }
            ClockChange::FirstOfTwo => f.write_str("the first of two: the clock goes back"),
            ClockChange::SecondOfTwo => f.write_str("the second of two: the clock has gone back"),
        }
    }
}
