//! What follows when a service ends: `restart`, as a word or a table, and `success_exit_codes`.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::diagnostic::Finding;
use super::model::{Restart, RestartPolicy};
use super::scalar::{Table, integer_of, type_name};
use crate::base::{ExitStatus, Signal};

/// The keys of the table.
pub(super) const KEYS: [&str; 7] = [
    "policy",
    "delay",
    "max_delay",
    "factor",
    "jitter",
    "max_attempts",
    "reset_after",
];

const POLICIES: [(&str, RestartPolicy); 3] = [
    ("no", RestartPolicy::No),
    ("on-failure", RestartPolicy::OnFailure),
    ("always", RestartPolicy::Always),
];

const EXPECTED: &str = "expected \"no\", \"on-failure\" or \"always\"";

/// What other supervisors call the same thing.
const ELSEWHERE: [(&str, &str); 7] = [
    ("unless-stopped", "always"),
    ("unexpected", "on-failure"),
    ("on-abnormal", "on-failure"),
    ("on-abort", "on-failure"),
    ("on-success", "always"),
    ("never", "no"),
    ("none", "no"),
];

/// `restart`.
pub(super) fn policy(fields: &mut Table<'_, '_>) -> Restart {
    let Some(value) = fields.get("restart") else {
        return Restart::default();
    };
    let span = value.span();
    match value.get_ref() {
        DeValue::String(text) => Restart {
            policy: word(fields, text, span),
            ..Restart::default()
        },
        DeValue::Table(table) => {
            let mut fields = Table {
                table,
                findings: fields.findings,
            };
            of_table(&mut fields, span)
        }
        DeValue::Boolean(on) => {
            let finding = Finding::error(
                span,
                "`restart` has to be a policy, and is true or false",
                EXPECTED,
            );
            fields.report(finding.help(match on {
                true => {
                    "write restart = \"always\", or \"on-failure\" to leave a service that exits with 0"
                }
                false => "write restart = \"no\", or leave it out",
            }));
            Restart::default()
        }
        other => {
            let found = type_name(other);
            fields.report(Finding::error(
                span,
                format!("`restart` has to be a policy or a table, and is {found}"),
                EXPECTED,
            ));
            Restart::default()
        }
    }
}

fn word(fields: &mut Table<'_, '_>, text: &str, span: Range<usize>) -> RestartPolicy {
    if let Some((_, policy)) = POLICIES.iter().find(|(word, _)| *word == text) {
        return *policy;
    }
    let finding = Finding::error(span, format!("unknown restart policy `{text}`"), EXPECTED);
    let elsewhere = ELSEWHERE.iter().find(|(word, _)| *word == text);
    // Docker's way to bound the attempts.
    let attempts = text
        .strip_prefix("on-failure:")
        .and_then(|attempts| attempts.trim().parse::<u32>().ok())
        .filter(|attempts| *attempts > 0);
    fields.report(match (elsewhere, attempts) {
        (Some((_, ours)), _) => finding.help(format!("the nearest to it is \"{ours}\"")),
        (None, Some(attempts)) => finding.help(format!(
            "write restart = {{ policy = \"on-failure\", max_attempts = {attempts} }}"
        )),
        (None, None) => {
            fields.report_unknown(finding, text, POLICIES.iter().map(|(word, _)| *word));
            return RestartPolicy::No;
        }
    });
    RestartPolicy::No
}

fn of_table(fields: &mut Table<'_, '_>, span: Range<usize>) -> Restart {
    unknown_keys(fields);
    let defaults = Restart::default();
    let policy = match fields.string("policy") {
        Some((text, span)) => word(fields, &text, span),
        None => {
            if fields.get("policy").is_none() {
                let finding =
                    Finding::error(span, "`restart` has no policy", "`policy` is missing");
                fields.report(finding.help("add policy = \"on-failure\" or policy = \"always\""));
            }
            defaults.policy
        }
    };
    let delay = fields.duration("delay").unwrap_or(defaults.delay);
    let max_delay = fields.duration("max_delay");
    if let Some(max_delay) = max_delay.filter(|max_delay| *max_delay < delay) {
        shorter_than_delay(fields, delay, max_delay);
    }
    let max_attempts = fields.integer("max_attempts", 1..=i64::from(u32::MAX));
    Restart {
        policy,
        delay,
        // A long delay alone is no contradiction to a bound that nobody wrote.
        max_delay: max_delay.unwrap_or(defaults.max_delay.max(delay)),
        factor_permille: permille(fields, "factor", 1..=1000).unwrap_or(defaults.factor_permille),
        jitter_permille: permille(fields, "jitter", 0..=1).unwrap_or(defaults.jitter_permille),
        max_attempts: max_attempts.and_then(|attempts| u32::try_from(attempts).ok()),
        reset_after: fields
            .duration("reset_after")
            .unwrap_or(defaults.reset_after),
    }
}

fn unknown_keys(fields: &mut Table<'_, '_>) {
    let table: &DeTable<'_> = fields.table;
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        if KEYS.contains(&name) {
            continue;
        }
        let finding = Finding::error(
            key.span(),
            format!("unknown key `{name}` in `restart`"),
            "unknown",
        );
        fields.report_unknown(finding, name, KEYS);
    }
}

fn shorter_than_delay(fields: &mut Table<'_, '_>, delay: Duration, max_delay: Duration) {
    let Some(value) = fields.get("max_delay") else {
        return;
    };
    let finding = Finding::error(
        value.span(),
        "`max_delay` is shorter than `delay`",
        "the delays grow up to it",
    );
    let finding = match fields.get("delay") {
        Some(first) => finding.also(first.span(), "begins here"),
        None => finding,
    };
    let human = crate::base::human_duration;
    let (delay, max_delay) = (human(delay), human(max_delay));
    fields.report(finding.help(format!(
        "make it at least {delay}, or set a delay of at most {max_delay}"
    )));
}

/// A number with at most three digits after the point, in thousandths: so its arithmetic is exact, and
/// the same everywhere.
fn permille(fields: &mut Table<'_, '_>, key: &str, range: RangeInclusive<u32>) -> Option<u32> {
    let value = fields.get(key)?;
    let number = match value.get_ref() {
        DeValue::Float(float) => float.as_str().replace('_', "").parse::<f64>().ok(),
        // One beyond 64 bits is a number too, and out of every range.
        other if other.is_integer() => integer_of(other)
            .map(|integer| integer as f64)
            .or(Some(f64::INFINITY)),
        _ => None,
    };
    let Some(number) = number else {
        let found = type_name(value.get_ref());
        fields.report(Finding::error(
            value.span(),
            format!("`{key}` has to be a number, and is {found}"),
            "expected a number",
        ));
        return None;
    };
    let (low, high) = range.into_inner();
    if (f64::from(low)..=f64::from(high)).contains(&number) {
        // In range, so that nothing is cut off.
        return Some((number * 1000.0).round() as u32);
    }
    fields.report(Finding::error(
        value.span(),
        format!("`{key}` is out of range"),
        format!("has to be from {low} to {high}"),
    ));
    None
}

/// `success_exit_codes`: further ends that count as having done the work.
pub(super) fn success_exit_codes(fields: &mut Table<'_, '_>) -> Vec<ExitStatus> {
    const KEY: &str = "success_exit_codes";
    let Some(value) = fields.get(KEY) else {
        return Vec::new();
    };
    let DeValue::Array(items) = value.get_ref() else {
        let found = type_name(value.get_ref());
        let finding = Finding::error(
            value.span(),
            format!("`{KEY}` has to be an array, and is {found}"),
            "expected an array of exit codes",
        );
        fields.report(match integer_of(value.get_ref()) {
            Some(code) => finding.help(format!("write {KEY} = [{code}]")),
            None => finding.help(format!("write it such as {KEY} = [3, \"SIGHUP\"]")),
        });
        return Vec::new();
    };
    let mut codes = Vec::new();
    for item in items.iter() {
        match success(item.get_ref()) {
            Some(status) => codes.push(status),
            None => {
                let finding = Finding::error(
                    item.span(),
                    format!("`{KEY}` holds what is neither an exit code nor a signal"),
                    "expected 0 to 255, or a name such as \"SIGHUP\"",
                );
                match item.get_ref().as_str() {
                    Some(text) => suggest_signal(fields, finding, text),
                    None => fields.report(finding),
                }
            }
        }
    }
    codes
}

/// A number in quotes is no signal here: beside exit codes nobody could tell which was meant.
fn success(value: &DeValue<'_>) -> Option<ExitStatus> {
    match value.as_str() {
        Some(text) if text.trim().parse::<i64>().is_ok() => None,
        Some(text) => Signal::parse(text).map(ExitStatus::Signaled),
        None => u8::try_from(integer_of(value)?)
            .ok()
            .map(ExitStatus::Exited),
    }
}

fn suggest_signal(fields: &mut Table<'_, '_>, finding: Finding, text: &str) {
    if text.trim().parse::<u8>().is_ok() {
        let plain = format!("write it without quotes: {}", text.trim());
        fields.report(finding.help(plain));
    } else {
        fields.report_unknown_signal(finding, text);
    }
}
