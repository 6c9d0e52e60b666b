//! The times of a schedule.

use super::plain;
use crate::schedule::{ExpressionError, Schedule, Timestamp, Zone};

const WEEK: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// A zone and where its rules are from.
pub fn zone(zone: &Zone) -> String {
    let chosen = zone.choice().map_or(String::new(), |by| format!("{by}; "));
    format!(
        "{} ({chosen}{})",
        plain(zone.name()),
        plain(&zone.source().to_string())
    )
}

/// Each expression in words, the zone, and the next times, a line each.
pub fn schedule(schedule: &Schedule, after: Timestamp, count: usize) -> String {
    let expressions = schedule.expressions();
    let mut text = String::new();
    for expression in expressions {
        text.push_str(&format!(
            "{}: {}\n",
            plain(expression.text()),
            expression.words()
        ));
    }
    text.push_str(&format!("time zone {}\n", zone(schedule.zone())));
    let mut found = 0;
    for at in schedule.times(after).take(count) {
        found += 1;
        text.push_str(&time(schedule, at));
    }
    if found < count {
        text.push_str(match found {
            0 => "  never\n",
            _ => "  never again\n",
        });
    }
    text
}

/// One time, its weekday, and what the clock does there.
fn time(schedule: &Schedule, at: Timestamp) -> String {
    let zone = schedule.zone();
    let day = (at.0 + zone.offset(at)).div_euclid(86_400).rem_euclid(7);
    let day = usize::try_from(day).ok().and_then(|day| WEEK.get(day));
    let by_clock = schedule
        .expressions()
        .iter()
        .all(|one| one.interval().is_none());
    let change = schedule.clock_change(at).filter(|_| by_clock);
    let change = change.map_or(String::new(), |change| format!("  {change}"));
    format!("  {}  {}{change}\n", at.rfc3339(zone), day.unwrap_or(&""))
}

/// An expression that is refused, with its place underlined.
pub fn refused(text: &str, error: &ExpressionError) -> String {
    let shown = plain(text);
    let before = text
        .get(..error.span.start)
        .map_or(0, |before| plain(before).chars().count());
    let under = text
        .get(error.span.clone())
        .map_or(1, |part| plain(part).chars().count());
    let (blanks, line) = (
        " ".repeat(before.min(MAX_SHOWN)),
        "^".repeat(under.clamp(1, MAX_SHOWN)),
    );
    let (message, help) = (plain(&error.message), plain(&error.help));
    format!("error: {message}\n  |\n  | {shown}\n  | {blanks}{line}\n  = help: {help}\n")
}

/// Characters up to which a place is underlined.
const MAX_SHOWN: usize = 1000;
