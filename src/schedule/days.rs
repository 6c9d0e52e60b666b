//! The two day fields, and the days of a month that they choose.

use super::civil::{Date, month_length, weekday};

/// A day-of-month field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MonthDays {
    /// Bits 1 to 31.
    pub days: u32,
    /// `L`.
    pub last: bool,
    /// `LW`.
    pub last_workday: bool,
    /// `nW`: bits 1 to 31.
    pub nearest: u32,
    /// It begins with `*` or `?`, and so does not count as restricted.
    pub starred: bool,
}

/// A day-of-week field; bit 0 is Sunday.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WeekDays {
    /// Bits 0 to 6.
    pub days: u8,
    /// `dL`.
    pub last: u8,
    /// `d#n`: of the first to the fifth of a month.
    pub nth: [u8; 5],
    /// It begins with `*` or `?`.
    pub starred: bool,
}

/// Bits of the days 1 to 31.
pub(super) const ALL_DAYS: u32 = 0xffff_fffe;
const ALL_WEEK: u8 = 0x7f;

impl MonthDays {
    /// Whether it chooses every day of every month.
    pub fn is_any(&self) -> bool {
        self.days == ALL_DAYS
    }

    /// The chosen days of a month: bits 1 to 31.
    fn of_month(&self, length: u32, first: u32) -> u32 {
        let all = ALL_DAYS & (u32::MAX >> (31 - length));
        let mut chosen = self.days & all;
        if self.last {
            chosen |= 1 << length;
        }
        if self.last_workday {
            chosen |= 1 << nearest_workday(length, length, first);
        }
        let mut wanted = self.nearest & all;
        while wanted != 0 {
            let day = wanted.trailing_zeros();
            wanted &= wanted - 1;
            chosen |= 1 << nearest_workday(day, length, first);
        }
        chosen
    }
}

impl WeekDays {
    /// Whether it chooses every day.
    pub fn is_any(&self) -> bool {
        self.days == ALL_WEEK
    }

    fn of_month(&self, length: u32, first: u32) -> u32 {
        let all = ALL_DAYS & (u32::MAX >> (31 - length));
        let mut chosen = 0;
        for day in 0..7 {
            let bit = 1_u8 << day;
            // The first of the month on this weekday.
            let earliest = 1 + (7 + day - first) % 7;
            // The same weekday in every week: bits 0, 7, 14, 21 and 28.
            let every = 0x1020_4081_u32 << earliest;
            if self.days & bit != 0 {
                chosen |= every;
            }
            if self.last & bit != 0 {
                let within = every & all;
                chosen |= 1 << (31 - within.leading_zeros());
            }
            for (week, days) in (0..).zip(self.nth) {
                if days & bit != 0 {
                    // The fifth may be beyond the month, and beyond the word.
                    chosen |= 1_u32.checked_shl(earliest + 7 * week).unwrap_or(0);
                }
            }
        }
        chosen & all
    }
}

/// The day from Monday to Friday that is nearest to a day, in the same month.
fn nearest_workday(day: u32, length: u32, first: u32) -> u32 {
    match (first + day - 1) % 7 {
        6 if day == 1 => 3,
        6 => day - 1,
        0 if day == length => day - 2,
        0 => day + 1,
        _ => day,
    }
}

/// Both fields and the month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Days {
    pub month_days: MonthDays,
    pub week_days: WeekDays,
    /// Bits 1 to 12.
    pub months: u16,
}

impl Days {
    /// Whether a day matches when either field does: both are restricted.
    pub fn either(&self) -> bool {
        !self.month_days.starred && !self.week_days.starred
    }

    /// The chosen days of a month: bits 1 to 31.
    fn of_month(&self, year: i64, month: u32) -> u32 {
        if self.months & (1 << month) == 0 {
            return 0;
        }
        let length = month_length(year, month);
        let first = Date {
            year,
            month,
            day: 1,
        };
        let first = weekday(first.day_number());
        let by_month = self.month_days.of_month(length, first);
        let by_week = self.week_days.of_month(length, first);
        match self.either() {
            true => by_month | by_week,
            false => by_month & by_week,
        }
    }

    /// The first chosen day from `day` on, both counted from 1970-01-01. The calendar repeats after 400 years; None
    /// when it chooses no day of them.
    pub fn next(&self, day: i64) -> Option<i64> {
        let from = Date::of_day(day);
        let mut chosen = self.of_month(from.year, from.month) & (u32::MAX << from.day);
        let (mut year, mut month) = (from.year, from.month);
        while chosen == 0 {
            // The next month that counts, in this year or another.
            let later = u32::from(self.months) & (!1 << month);
            month = match later {
                0 => u32::from(self.months).trailing_zeros().min(12),
                _ => later.trailing_zeros(),
            };
            year += i64::from(later == 0);
            if year > from.year + 400 {
                return None;
            }
            chosen = self.of_month(year, month);
        }
        let day = chosen.trailing_zeros();
        Some(Date { year, month, day }.day_number())
    }
}
