//! One field of an expression: a list of values, ranges and steps, and in the day fields of `L`, `W` and `#`.

use std::ops::Range;

use super::days::{MonthDays, WeekDays};
use super::error::{ErrorKind, ExpressionError, Unit};

/// A part of an expression, with its place in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'t> {
    pub text: &'t str,
    pub start: usize,
}

pub(super) const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
pub(super) const WEEK: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl<'t> Part<'t> {
    pub fn span(self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// The parts before and behind the first `separator`.
    fn split_once(self, separator: char) -> Option<(Part<'t>, Part<'t>)> {
        let (before, behind) = self.text.split_once(separator)?;
        let start = self.start + before.len() + separator.len_utf8();
        Some((
            Part {
                text: before,
                start: self.start,
            },
            Part {
                text: behind,
                start,
            },
        ))
    }

    /// The parts between commas.
    fn items(self) -> impl Iterator<Item = Part<'t>> {
        let mut start = self.start;
        self.text.split(',').map(move |text| {
            let part = Part { text, start };
            start += text.len() + 1;
            part
        })
    }

    fn error(
        self,
        kind: ErrorKind,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> ExpressionError {
        ExpressionError::new(kind, self.span(), message, help)
    }
}

/// Whether a field begins like one that is not restricted.
pub(super) fn is_starred(text: &str) -> bool {
    text.starts_with(['*', '?'])
}

/// The values of a field without specials, as bits.
pub(super) fn values(field: Part<'_>, unit: Unit) -> Result<u64, ExpressionError> {
    let mut chosen = 0;
    for item in field.items() {
        refuse_common(item, field, unit)?;
        chosen |= range(item, unit)?;
    }
    Ok(chosen)
}

/// A day-of-month field.
pub(super) fn month_days(field: Part<'_>) -> Result<MonthDays, ExpressionError> {
    let mut days = MonthDays {
        starred: is_starred(field.text),
        ..MonthDays::default()
    };
    for item in field.items() {
        refuse_common(item, field, Unit::MonthDay)?;
        let upper = item.text.to_ascii_uppercase();
        match upper.as_str() {
            "L" => days.last = true,
            "LW" => days.last_workday = true,
            "WL" => {
                return Err(item.error(
                    ErrorKind::Special,
                    "`WL` has no meaning",
                    "write `LW` for the last weekday of the month",
                ));
            }
            _ if upper.starts_with('L') => {
                return Err(item.error(
                    ErrorKind::Special,
                    format!("`{}` has no meaning", item.text),
                    "write `L` for the last day of the month, or `LW` for its last weekday",
                ));
            }
            _ => match upper.strip_suffix('W') {
                Some(_) => days.nearest |= 1 << nearest(item)?,
                None => {
                    // Bits 1 to 31: they fit.
                    days.days |= u32::try_from(range(item, Unit::MonthDay)?).unwrap_or(0);
                }
            },
        }
    }
    Ok(days)
}

/// The number of `nW`.
fn nearest(item: Part<'_>) -> Result<u32, ExpressionError> {
    let text = &item.text[..item.text.len() - 1];
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(item.error(
            ErrorKind::Special,
            format!("`{}` has no meaning: `W` follows one day", item.text),
            "write `15W` for the weekday nearest to day 15, and `1W,15W` for two of them",
        ));
    }
    value(
        Part {
            text,
            start: item.start,
        },
        item,
        Unit::MonthDay,
    )
}

/// A day-of-week field.
pub(super) fn week_days(field: Part<'_>) -> Result<WeekDays, ExpressionError> {
    let mut days = WeekDays {
        starred: is_starred(field.text),
        ..WeekDays::default()
    };
    for item in field.items() {
        refuse_common(item, field, Unit::WeekDay)?;
        if let Some((day, number)) = item.split_once('#') {
            let day = value(day, item, Unit::WeekDay)? % 7;
            let week = match number.text.parse::<usize>() {
                Ok(week @ 1..=5) => week - 1,
                _ => {
                    return Err(number.error(
                        ErrorKind::Special,
                        format!("a month has no `{}`", item.text),
                        format!(
                            "write #1 to #5, or `{}L` for the last one of a month",
                            WEEK[day as usize]
                        ),
                    ));
                }
            };
            days.nth[week] |= 1 << day;
            continue;
        }
        if item.text.eq_ignore_ascii_case("L") {
            return Err(item.error(
                ErrorKind::Special,
                "`L` alone names no day of the week",
                "write `SAT` for Saturday, `FRIL` for the last Friday of the month, or `L` as the day of the month",
            ));
        }
        if item.text.eq_ignore_ascii_case("LW")
            || item.text.ends_with(['w', 'W']) && !is_name(item.text)
        {
            return Err(item.error(
                ErrorKind::Special,
                format!("`{}` has no meaning as a day of the week", item.text),
                "write it as the day of the month: `0 0 15W * *`; Monday to Friday are `1-5`",
            ));
        }
        match item.text.strip_suffix(['l', 'L']) {
            Some(day) => {
                let day = Part {
                    text: day,
                    start: item.start,
                };
                days.last |= 1 << (value(day, item, Unit::WeekDay)? % 7);
            }
            None => {
                let chosen = range(item, Unit::WeekDay)?;
                let sunday = chosen >> 7 & 1;
                // Bits 0 to 6: they fit.
                days.days |= u8::try_from(chosen & 0x7f | sunday).unwrap_or(0);
            }
        }
    }
    Ok(days)
}

fn is_name(text: &str) -> bool {
    WEEK.iter().any(|name| name.eq_ignore_ascii_case(text))
}

/// Refuses what is wrong in whatever field it is.
fn refuse_common(item: Part<'_>, field: Part<'_>, unit: Unit) -> Result<(), ExpressionError> {
    if item.text.is_empty() {
        return Err(field.error(
            ErrorKind::EmptyItem,
            format!("this list has an empty place in the {unit} field"),
            "write one comma between two values, and no space: `1,15`",
        ));
    }
    if item.text == "H" || item.text.starts_with("H/") || item.text.starts_with("H(") {
        return Err(item.error(
            ErrorKind::Hashed,
            "`H` is Jenkins's, and has no meaning here",
            "write a number; `jitter = \"10m\"` delays each service by a time of its own",
        ));
    }
    if item.text.contains('?')
        && !(field.text == "?" && matches!(unit, Unit::MonthDay | Unit::WeekDay))
    {
        return Err(item.error(
            ErrorKind::QuestionMark,
            match unit {
                Unit::MonthDay | Unit::WeekDay => {
                    "`?` cannot be part of a list, range or step".to_owned()
                }
                _ => format!("`?` has no meaning in the {unit} field"),
            },
            "write `*`",
        ));
    }
    Ok(())
}

/// `*`, `a`, `a-b`, each with `/n` or without, as bits.
fn range(item: Part<'_>, unit: Unit) -> Result<u64, ExpressionError> {
    let (base, step) = match item.split_once('/') {
        Some((base, step)) => (base, Some(self::step(item, step, unit)?)),
        None => (item, None),
    };
    let (low, high) = match unit {
        // Sunday once.
        Unit::WeekDay => (0, 6),
        other => other.bounds(),
    };
    let (from, to) = match base.text {
        "*" | "?" => (low, high),
        // A sign is no range.
        text if !text.starts_with('-') && text.contains('-') => ends(base, unit)?,
        _ => {
            let from = value(base, item, unit)?;
            match step {
                Some(_) if unit == Unit::WeekDay => (from % 7, high),
                Some(_) => (from, high),
                None => (from, from),
            }
        }
    };
    let step = step.unwrap_or(1);
    let mut chosen = 0;
    let mut at = from;
    while at <= to {
        chosen |= 1_u64 << at;
        at += step;
    }
    Ok(chosen)
}

/// The number behind a slash.
fn step(item: Part<'_>, step: Part<'_>, unit: Unit) -> Result<u32, ExpressionError> {
    let size = unit.size();
    let place = if step.text.is_empty() { item } else { step };
    let error = |message: String| {
        let help = format!("write a step from 1 to {size}: the field has {size} values");
        place.error(ErrorKind::Step, message, help)
    };
    if step.text.is_empty() || !step.text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(error(format!(
            "the step of `{}` is not a number",
            item.text
        )));
    }
    match step.text.parse::<u32>() {
        Ok(0) => Err(error(format!("`{}` has a step of zero", item.text))),
        Ok(number) if number <= size => Ok(number),
        _ => Err(error(format!(
            "the step of `{}` is larger than the {unit} field",
            item.text
        ))),
    }
}

/// Both ends of a range.
fn ends(base: Part<'_>, unit: Unit) -> Result<(u32, u32), ExpressionError> {
    let Some((from, to)) = base.split_once('-') else {
        return Err(not_a_number(base, base, unit));
    };
    let (from, end) = (value(from, base, unit)?, value(to, base, unit)?);
    // A week may end in Sunday, by name.
    let by_name = unit == Unit::WeekDay && to.text.eq_ignore_ascii_case("SUN") && from > 0;
    let end = if by_name { 7 } else { end };
    if from <= end {
        return Ok((from, end));
    }
    let (low, high) = unit.bounds();
    let named = base.text.bytes().any(|byte| byte.is_ascii_alphabetic());
    let name = |value: u32| match unit {
        Unit::Month if named => MONTHS[value as usize - 1].to_owned(),
        Unit::WeekDay if named => WEEK[value as usize % 7].to_owned(),
        _ => value.to_string(),
    };
    let piece = |from: u32, to: u32| match from == to {
        true => name(from),
        false => format!("{}-{}", name(from), name(to)),
    };
    let instead = match (unit, from, end) {
        (Unit::WeekDay, 7, end) => piece(0, end),
        (Unit::WeekDay, from, 0) => piece(from, 7),
        (Unit::WeekDay, from, end) => format!("{},{}", piece(from, 6), piece(0, end)),
        _ => format!("{},{}", piece(from, high), piece(low, end)),
    };
    Err(base.error(
        ErrorKind::Backwards,
        format!("the range `{}` ends before it begins", base.text),
        format!("write `{instead}`"),
    ))
}

/// A number or a name.
fn value(part: Part<'_>, item: Part<'_>, unit: Unit) -> Result<u32, ExpressionError> {
    let (low, high) = unit.bounds();
    let place = |names: &[&str]| {
        let found = names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(part.text));
        found.and_then(|at| u32::try_from(at).ok())
    };
    let named = match unit {
        Unit::Month => place(&MONTHS).map(|at| at + 1),
        Unit::WeekDay => place(&WEEK),
        _ => None,
    };
    if let Some(value) = named {
        return Ok(value);
    }
    let digits = part.text.strip_prefix('-').unwrap_or(part.text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(not_a_number(part, item, unit));
    }
    match part.text.parse::<u32>() {
        Ok(value) if (low..=high).contains(&value) => Ok(value),
        _ => Err(part.error(
            ErrorKind::OutOfRange,
            format!("there is no {unit} {}", part.text),
            match (unit, part.text) {
                (Unit::Hour, "24") => "write 0 for midnight: hours are 0 to 23".to_owned(),
                (Unit::Minute | Unit::Second, "60") => format!("write 0: {unit}s are 0 to 59"),
                (Unit::MonthDay, _) => {
                    "days of the month are 1 to 31; `L` is the last one".to_owned()
                }
                (Unit::WeekDay, _) => {
                    "days of the week are 0 to 7, where 0 and 7 are Sunday, or SUN to SAT"
                        .to_owned()
                }
                (Unit::Month, _) => "months are 1 to 12, or JAN to DEC".to_owned(),
                _ => format!("{unit}s are {low} to {high}"),
            },
        )),
    }
}

fn not_a_number(part: Part<'_>, item: Part<'_>, unit: Unit) -> ExpressionError {
    let (low, high) = unit.bounds();
    let lower = part.text.to_lowercase();
    let short = |names: &[&'static str]| {
        let begins = |name: &&&str| lower.starts_with(&name.to_lowercase());
        names.iter().find(begins).copied()
    };
    let as_month = short(&MONTHS);
    let as_day = short(&WEEK);
    let help = match (unit, as_month, as_day) {
        (Unit::Month, Some(name), _) | (Unit::WeekDay, _, Some(name)) => format!("write `{name}`"),
        (Unit::Month, None, Some(name)) => {
            format!("`{name}` is a day of the week: the last field, behind the month")
        }
        (Unit::WeekDay, Some(name), None) => {
            format!("`{name}` is a month: the field before the day of the week")
        }
        (Unit::Month, ..) => "write 1 to 12, or a name from JAN to DEC".to_owned(),
        (Unit::WeekDay, ..) => "write 0 to 7, or a name from SUN to SAT".to_owned(),
        (Unit::MonthDay, _, Some(name)) => {
            format!("`{name}` is a day of the week: the last field; write `*` here")
        }
        _ => format!("write {low} to {high}, or `*`"),
    };
    let message = match part.text {
        "" => format!("a number is missing in the {unit} field"),
        text => format!("`{text}` is not a {unit}"),
    };
    let span = match part.text {
        "" => item.span(),
        _ => part.span(),
    };
    ExpressionError::new(ErrorKind::NotANumber, span, message, help)
}
