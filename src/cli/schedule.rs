//! `schedule`: when expressions are due, without a daemon.

use super::arguments::ScheduleArgs;
use super::{USAGE, complain, print, wrong_usage};
use crate::render::plain;
use crate::render::schedule::{refused, schedule};
use crate::schedule::{Expression, Schedule, Timestamp, Zone, ZoneError, find_zone, mistaken};
use crate::sys::clock;
use crate::sys::zone_files::SystemZones;

/// Times that are shown unless another number is given, and at most.
const TIMES: u64 = 5;
const MOST_TIMES: u64 = 100_000;

/// Shows the next times; 2 where an expression or the zone is refused.
pub(super) fn run(arguments: &ScheduleArgs) -> i32 {
    if arguments.expression.is_empty() {
        let what = "`schedule` needs more: go-overlay schedule --expression \"0 3 * * *\"";
        return wrong_usage(what, Some("schedule"));
    }
    let count = arguments.lines.unwrap_or(TIMES);
    if count > MOST_TIMES {
        let what = format!("--lines `{count}`: {MOST_TIMES} times are shown at most");
        return wrong_usage(&what, Some("schedule"));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let Some((expressions, zone)) = read(arguments) else {
        return USAGE;
    };
    if let Some(remark) = mistaken(&zone) {
        complain(&format!("warning: {}\n", plain(&remark)));
    }
    let due = Schedule::new(expressions, zone);
    let after = arguments.after.unwrap_or_else(now);
    if !arguments.json {
        return print(&schedule(&due, after, count));
    }
    let times = due.times(after).take(count);
    let times: Vec<String> = times.map(|at| at.rfc3339(due.zone())).collect();
    print(&super::talk::as_json(&times))
}

/// The expressions and the zone; None where one is refused, which is then reported.
fn read(arguments: &ScheduleArgs) -> Option<(Vec<Expression>, Zone)> {
    let mut expressions = Vec::new();
    for text in &arguments.expression {
        match Expression::parse(text) {
            Ok(expression) => expressions.push(expression),
            Err(error) => complain(&refused(text, &error)),
        }
    }
    let name = arguments.timezone.as_deref().unwrap_or("local");
    let zone = find_zone(name, &SystemZones::new(&|_| {}));
    let zone = zone.map_err(|ZoneError { message, help }| {
        complain(&format!(
            "error: {}\n  = help: {}\n",
            plain(&message),
            plain(&help)
        ));
    });
    let zone = zone.ok()?;
    (expressions.len() == arguments.expression.len()).then_some((expressions, zone))
}

fn now() -> Timestamp {
    let seconds = clock::wall() / 1_000_000_000;
    Timestamp(i64::try_from(seconds).unwrap_or(i64::MAX))
}
