//! An expression in words that cannot be misread. They come from the sets of values, not from how these are written:
//! `*/7` is not "every 7 minutes".

use super::days::{Days, MonthDays, WeekDays};
use super::expression::{Calendar, Expression, Rule};
use super::parse::full_month;
use crate::base::human_duration;

/// Times of a day that are listed one by one.
const MAX_TIMES: usize = 6;

const WEEK: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const ORDINALS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

impl Expression {
    /// What it means.
    pub fn words(&self) -> String {
        match &self.rule {
            Rule::Every(interval) => {
                format!(
                    "every {}, whatever the clock is set to",
                    human_duration(*interval)
                )
            }
            Rule::Calendar(calendar) => calendar.words(),
        }
    }
}

impl Calendar {
    fn words(&self) -> String {
        let (time, of_day) = self.time();
        let mut words = time;
        match days(&self.days) {
            Some(days) => words.push_str(&format!(", {days}")),
            None if of_day => words.push_str(", every day"),
            None => {}
        }
        let months: Vec<u32> = (1..=12)
            .filter(|month| self.days.months & (1 << month) != 0)
            .collect();
        if months.len() < 12 {
            let names: Vec<String> = pieces(&months)
                .into_iter()
                .map(|(from, to)| match from == to {
                    true => full_month(from).to_owned(),
                    false => format!("{} to {}", full_month(from), full_month(to)),
                })
                .collect();
            words.push_str(&format!(", in {}", and(&names)));
        }
        if self.with_seconds {
            words.push_str(" (six fields: the first is the second)");
        }
        words
    }

    /// When in a day, and whether that names times of the day.
    fn time(&self) -> (String, bool) {
        let seconds = values(self.seconds, 60);
        let minutes = values(self.minutes, 60);
        let hours = values(u64::from(self.hours), 24);
        let count = seconds.len() * minutes.len() * hours.len();
        if hours.len() < 24 && count <= MAX_TIMES {
            let mut times = Vec::new();
            for hour in &hours {
                for minute in &minutes {
                    for second in &seconds {
                        times.push(match self.with_seconds {
                            true => format!("{hour:02}:{minute:02}:{second:02}"),
                            false => format!("{hour:02}:{minute:02}"),
                        });
                    }
                }
            }
            return (format!("at {}", and(&times)), true);
        }
        let every_hour = hours.len() == 24;
        let time = match (&seconds[..], minutes.len()) {
            ([0], 60) => "every minute".to_owned(),
            ([0], _) => of_unit(&minutes, 60, "minute"),
            ([_], 60) => format!("{} of every minute", of_unit(&seconds, 60, "second")),
            (_, 60) => of_unit(&seconds, 60, "second"),
            ([second], _) => format!("at second {second} of {}", places(&minutes, "minute")),
            _ => {
                let seconds = of_unit(&seconds, 60, "second");
                format!("{seconds}, in {}", places(&minutes, "minute"))
            }
        };
        let follows = minutes.len() < 60 && !time.starts_with("every");
        match (every_hour, whole_step(&hours, 24)) {
            (true, _) if follows || minutes.len() < 60 && seconds != [0] => {
                (format!("{time} of every hour"), false)
            }
            (true, _) => (time, false),
            (false, Some(step)) => {
                let last = 24 - step;
                let of = if follows { " of" } else { ", in" };
                let hour = ordinal(step);
                (
                    format!("{time}{of} every {hour} hour (00, {step:02}, … {last:02})"),
                    false,
                )
            }
            (false, None) => (format!("{time}, {}", hours_words(&hours)), true),
        }
    }
}

/// `minute 5`, `minutes 0, 5, … 55`.
fn places(chosen: &[u32], unit: &str) -> String {
    let plural = if chosen.len() == 1 { "" } else { "s" };
    format!("{unit}{plural} {}", list(chosen))
}

fn hours_words(hours: &[u32]) -> String {
    let spans: Vec<String> = pieces(hours)
        .into_iter()
        .map(|(from, to)| format!("from {from:02}:00 to {to:02}:59"))
        .collect();
    match spans.len() {
        0..=3 => and(&spans),
        _ => {
            let hours: Vec<String> = hours.iter().map(|hour| format!("{hour:02}")).collect();
            format!("in the hours {}", and(&hours))
        }
    }
}

/// `every 5 minutes`, `at minute 15`, `at minutes 0, 7, 14 and 21`.
fn of_unit(chosen: &[u32], size: u32, unit: &str) -> String {
    if chosen.len() == size as usize {
        return format!("every {unit}");
    }
    match (chosen, whole_step(chosen, size)) {
        (_, Some(step)) => format!(
            "every {step} {unit}s (at {unit} 0, {step}, … {})",
            size - step
        ),
        _ => format!("at {}", places(chosen, unit)),
    }
}

/// The step of values that go round without a shorter one at the end: 0, 5, … 55.
fn whole_step(chosen: &[u32], size: u32) -> Option<u32> {
    let &[0, step, ..] = chosen else {
        return None;
    };
    let whole = step > 1 && size.is_multiple_of(step) && chosen.len() as u32 == size / step;
    let even = chosen
        .iter()
        .zip(0..)
        .all(|(value, place)| *value == place * step);
    (whole && even && chosen.len() > 2).then_some(step)
}

/// The days; None: every day.
fn days(days: &Days) -> Option<String> {
    let by_month = (!days.month_days.is_any()).then(|| month_days(&days.month_days));
    let by_week = (!days.week_days_are_any()).then(|| week_days(&days.week_days));
    match (by_month, by_week, days.either()) {
        (Some(month), Some(week), true) => {
            Some(format!("on {month} or on {week} (either is enough)"))
        }
        (Some(month), Some(week), false) => Some(format!(
            "on {month}, but only if that is {week} (both have to match)"
        )),
        // One of two restricted fields that names every day: so does either.
        (None, _, true) | (_, None, true) => None,
        (Some(one), None, false) | (None, Some(one), false) => Some(format!("on {one}")),
        (None, None, false) => None,
    }
}

impl Days {
    fn week_days_are_any(&self) -> bool {
        self.week_days.is_any()
    }
}

fn month_days(days: &MonthDays) -> String {
    let plain = bits(u64::from(days.days), 32);
    let mut parts = Vec::new();
    match plain.len() {
        0 => {}
        1 => parts.push(format!("day {} of the month", list(&plain))),
        _ => parts.push(format!("days {} of the month", list(&plain))),
    }
    if days.last {
        parts.push("the last day of the month".to_owned());
    }
    if days.last_workday {
        parts.push("the last weekday (Monday to Friday) of the month".to_owned());
    }
    for day in bits(u64::from(days.nearest), 32) {
        parts.push(format!(
            "the weekday (Monday to Friday) nearest to day {day} of the month"
        ));
    }
    or(&parts)
}

fn week_days(days: &WeekDays) -> String {
    let name = |day: u32| WEEK.get(day as usize % 7).copied().unwrap_or("?");
    let mut parts = Vec::new();
    // From Monday on, so that a weekend is in one piece.
    let from_monday = u64::from(days.days >> 1) | u64::from(days.days & 1) << 6;
    let plain: Vec<u32> = bits(from_monday, 7)
        .into_iter()
        .map(|day| day + 1)
        .collect();
    for (from, to) in pieces(&plain) {
        match to - from {
            0 | 1 => parts.extend((from..=to).map(|day| format!("a {}", name(day)))),
            _ => parts.push(format!("a day from {} to {}", name(from), name(to))),
        }
    }
    for day in bits(u64::from(days.last), 7) {
        parts.push(format!("the last {} of the month", name(day)));
    }
    for (place, chosen) in ORDINALS.iter().zip(days.nth) {
        for day in bits(u64::from(chosen), 7) {
            parts.push(format!("the {place} {} of the month", name(day)));
        }
    }
    or(&parts)
}

fn values(set: u64, size: u32) -> Vec<u32> {
    bits(set, size)
}

fn bits(set: u64, size: u32) -> Vec<u32> {
    (0..size).filter(|bit| set >> bit & 1 == 1).collect()
}

/// Values that follow each other, as the first and the last of each group.
fn pieces(values: &[u32]) -> Vec<(u32, u32)> {
    let mut pieces: Vec<(u32, u32)> = Vec::new();
    for value in values {
        match pieces.last_mut() {
            Some((_, to)) if *to + 1 == *value => *to = *value,
            _ => pieces.push((*value, *value)),
        }
    }
    pieces
}

/// `0, 7, 14, … 56` where the distance is always the same, otherwise all of them.
fn list(values: &[u32]) -> String {
    if let [first, second, third, .., last] = values
        && values.len() > 4
        && second - first > 1
        && values
            .windows(2)
            .all(|pair| pair[1] - pair[0] == second - first)
    {
        return format!("{first}, {second}, {third}, … {last}");
    }
    let mut words = Vec::new();
    for (from, to) in pieces(values) {
        match to - from {
            0 | 1 => words.extend((from..=to).map(|value| value.to_string())),
            _ => words.push(format!("{from} to {to}")),
        }
    }
    and(&words)
}

fn and(words: &[String]) -> String {
    joined(words, "and")
}

fn or(words: &[String]) -> String {
    joined(words, "or")
}

fn joined(words: &[String], last: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

fn ordinal(number: u32) -> String {
    match number {
        2 => "2nd".to_owned(),
        3 => "3rd".to_owned(),
        other => format!("{other}th"),
    }
}
