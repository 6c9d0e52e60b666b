//! The text of an expression to an [`Expression`].

use std::time::Duration;

use super::civil::month_length;
use super::days::Days;
use super::error::{ErrorKind, ExpressionError, Unit};
use super::expression::{Calendar, Expression, Rule};
use super::field::{self, Part, is_starred};
use crate::base::{nearest, parse_duration};

/// The macros, and what they stand for.
const MACROS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// The shortest interval of `@every`, and the longest.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

const LEAST_FIELDS: usize = 5;
const MOST_FIELDS: usize = 6;

impl Expression {
    /// Reads an expression: five fields, six with seconds first, or a macro.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    pub fn parse(text: &str) -> Result<Expression, ExpressionError> {
        let fields = fields(text);
        let rule = match fields.first() {
            None => {
                return Err(ExpressionError::new(
                    ErrorKind::Empty,
                    0..text.len(),
                    "this expression is empty",
                    "write five fields, such as `0 3 * * *` for every day at 03:00",
                ));
            }
            Some(first) if first.text.starts_with('@') => macro_rule(text, first)?,
            Some(first) => {
                refuse_zone(first, text)?;
                Rule::Calendar(calendar(&fields)?)
            }
        };
        Ok(Expression {
            text: text.trim().to_owned(),
            rule,
        })
    }
}

/// The words of an expression, with their places.
fn fields(text: &str) -> Vec<Part<'_>> {
    let mut fields = Vec::new();
    let mut start = None;
    for (at, byte) in text.bytes().chain([b' ']).enumerate() {
        match (byte.is_ascii_whitespace(), start) {
            (true, Some(begin)) => {
                fields.push(Part {
                    text: &text[begin..at],
                    start: begin,
                });
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    fields
}

fn macro_rule(text: &str, first: &Part<'_>) -> Result<Rule, ExpressionError> {
    let behind = &text[first.span().end..];
    let lower = first.text.to_ascii_lowercase();
    match lower.as_str() {
        "@every" => return every(text, first),
        "@reboot" => {
            return Err(ExpressionError::new(
                ErrorKind::Reboot,
                first.span(),
                "`@reboot` is not a time",
                "write `run_at_start = true` for a run at the start, beside a schedule; \
                 without a schedule a service starts with the daemon",
            ));
        }
        _ => {}
    }
    let Some((_, meaning)) = MACROS.iter().find(|(name, _)| *name == lower) else {
        let known = MACROS.iter().map(|(name, _)| *name);
        let known = known.chain(["@every"]);
        let help = match nearest(&lower, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "the macros are @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually and `@every 90s`"
                .to_owned(),
        };
        return Err(ExpressionError::new(
            ErrorKind::UnknownMacro,
            first.span(),
            format!("there is no macro `{}`", first.text),
            help,
        ));
    };
    if !behind.trim().is_empty() {
        return Err(ExpressionError::new(
            ErrorKind::FieldCount,
            first.span().end..text.len(),
            format!("nothing follows `{}`", first.text),
            format!("write `{lower}` alone, or five fields: `{meaning}`"),
        ));
    }
    Ok(Rule::Calendar(calendar(&fields(meaning))?))
}

fn every(text: &str, first: &Part<'_>) -> Result<Rule, ExpressionError> {
    let start = first.span().end;
    let behind = &text[start..];
    let written = behind.trim();
    let error = |message: String| {
        let lead = behind.len() - behind.trim_start().len();
        let span = match written.is_empty() {
            true => first.span(),
            false => start + lead..start + lead + written.len(),
        };
        let help = "write a duration of 1 s or more: `@every 90s`, `@every 1h30m`";
        ExpressionError::new(ErrorKind::Interval, span, message, help)
    };
    if written.is_empty() {
        return Err(error("`@every` needs a duration".to_owned()));
    }
    let interval =
        parse_duration(written).map_err(|why| error(format!("the duration `{written}` {why}")))?;
    if interval < SHORTEST {
        return Err(error(format!("`{written}` is shorter than 1 s")));
    }
    if interval > LONGEST {
        return Err(error(format!("`{written}` is longer than ten years")));
    }
    Ok(Rule::Every(interval))
}

/// `TZ=Europe/Berlin 0 3 * * *`, as some programs have it.
fn refuse_zone(first: &Part<'_>, text: &str) -> Result<(), ExpressionError> {
    let zone = ["CRON_TZ=", "TZ="]
        .iter()
        .find_map(|name| first.text.strip_prefix(name));
    let Some(zone) = zone else {
        return Ok(());
    };
    let rest = text[first.span().end..].trim();
    Err(ExpressionError::new(
        ErrorKind::ZoneInside,
        first.span(),
        "an expression names no time zone",
        format!("write `schedule = \"{rest}\"` and `timezone = \"{zone}\"`"),
    ))
}

fn calendar(fields: &[Part<'_>]) -> Result<Calendar, ExpressionError> {
    let (seconds, rest) = match fields.len() {
        LEAST_FIELDS => (None, fields),
        MOST_FIELDS => (fields.first(), &fields[1..]),
        _ => return Err(wrong_count(fields)),
    };
    let &[minute, hour, month_day, month, week_day] = rest else {
        return Err(wrong_count(fields));
    };
    let (first, seconds) = match seconds {
        Some(seconds) => (*seconds, field::values(*seconds, Unit::Second)?),
        None => (minute, 1),
    };
    let minutes = field::values(minute, Unit::Minute)?;
    let hours = field::values(hour, Unit::Hour)?;
    let month_days = field::month_days(month_day)?;
    let months = field::values(month, Unit::Month)?;
    let week_days = field::week_days(week_day).map_err(|error| of_crontab(error, fields.len()))?;
    if month_day.text == "?" && week_day.text == "?" {
        return Err(ExpressionError::new(
            ErrorKind::QuestionMark,
            week_day.span(),
            "`?` is in both day fields",
            "write `*` in both for every day",
        ));
    }
    let days = Days {
        month_days,
        week_days,
        // Bits 1 to 12: they fit.
        months: u16::try_from(months).unwrap_or(0),
    };
    if days.next(0).is_none() {
        return Err(never(&days, month_day, month, week_day));
    }
    Ok(Calendar {
        seconds,
        minutes,
        // Bits 0 to 23: they fit.
        hours: u32::try_from(hours).unwrap_or(0),
        days,
        elapsed: is_starred(minute.text) || is_starred(hour.text),
        with_seconds: first.start != minute.start,
    })
}

/// A crontab of the system has a user, and each crontab a program, behind the five fields.
fn of_crontab(error: ExpressionError, count: usize) -> ExpressionError {
    if count != MOST_FIELDS || error.kind != ErrorKind::NotANumber {
        return error;
    }
    ExpressionError {
        help: "of six fields the first is the second, and the last the day of the week; \
               a user belongs into `user`, a program into `command`"
            .to_owned(),
        ..error
    }
}

fn wrong_count(fields: &[Part<'_>]) -> ExpressionError {
    let start = fields.first().map_or(0, |field| field.start);
    let end = fields.last().map_or(0, |field| field.span().end);
    let count = fields.len();
    let beyond = fields.get(MOST_FIELDS);
    let year = beyond.filter(|field| {
        let digits = field.text.trim_matches(['*', '-', '/', ',']);
        count == 7
            && digits
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b",-/*".contains(&byte))
    });
    let help = match (count, year) {
        (_, Some(_)) => "leave the year out: there is no field for it".to_owned(),
        (7.., None) => {
            "write five fields, or six with seconds first; the program to run is `command`".to_owned()
        }
        (4, None) => "write minute, hour, day of the month, month and day of the week: one is missing; \
                      `*` means any"
            .to_owned(),
        _ => "write minute, hour, day of the month, month and day of the week: `0 3 * * *` is every day at 03:00"
            .to_owned(),
    };
    let message = match count {
        1 => "an expression has five fields, and this one has 1".to_owned(),
        _ => format!(
            "an expression has five fields, or six with seconds first, and this one has {count}"
        ),
    };
    let span = beyond.map_or(start..end, |field| field.start..end);
    ExpressionError::new(ErrorKind::FieldCount, span, message, help)
}

fn never(days: &Days, month_day: Part<'_>, month: Part<'_>, week_day: Part<'_>) -> ExpressionError {
    let chosen = days.month_days.days | days.month_days.nearest;
    let months: Vec<u32> = (1..=12)
        .filter(|month| days.months & (1 << month) != 0)
        .collect();
    // In a leap year.
    let longest = months.iter().map(|month| month_length(2000, *month)).max();
    let longest = longest.unwrap_or(31);
    let by_month_alone = chosen & (u32::MAX >> (31 - longest)) == 0
        && !days.month_days.last
        && !days.month_days.last_workday;
    if !by_month_alone {
        return ExpressionError::new(
            ErrorKind::Never,
            month_day.start..week_day.span().end,
            format!(
                "never runs: no day is both `{}` in the month and `{}` in the week",
                month_day.text, week_day.text
            ),
            "a day field that begins with `*` has to match as well as the other one: \
             write it without `*` for days that match either",
        );
    }
    let days: Vec<String> = (1..=31)
        .filter(|day| chosen & (1 << day) != 0)
        .map(|day| day.to_string())
        .collect();
    let dates: Vec<String> = months
        .iter()
        .map(|month| format!("{} {}", days.join("/"), full_month(*month)))
        .collect();
    let which = match months[..] {
        [month] => format!("{} has", full_month(month)),
        _ => "these months have".to_owned(),
    };
    ExpressionError::new(
        ErrorKind::Never,
        month_day.start..month.span().end,
        format!("never runs: no month has a {}", dates.join(" or a ")),
        format!("{which} {longest} days at most: write `L` for the last day of the month"),
    )
}

pub(super) fn full_month(month: u32) -> &'static str {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let place = usize::try_from(month)
        .ok()
        .and_then(|month| month.checked_sub(1));
    place
        .and_then(|place| NAMES.get(place))
        .copied()
        .unwrap_or("?")
}
