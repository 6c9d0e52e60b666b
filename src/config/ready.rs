//! When a service counts as RUNNING, and how often it says that it still is: `ready`, `ready_timeout` and
//! `watchdog`.

use std::ops::Range;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::diagnostic::Finding;
use super::entry::Entry;
use super::model::Ready;
use super::scalar::{Table, integer_of, type_name};

const EXPECTED: &str =
    "expected \"started\", \"healthy\", \"notify\", { fd = 3 } or { log = \"text\" }";

/// 0 to 2 are the standard streams; more than this no program is written for.
const DESCRIPTORS: std::ops::RangeInclusive<i64> = 3..=255;

/// A shorter one would be over before the program has had its turn.
const SHORTEST_WATCHDOG: Duration = Duration::from_millis(10);

/// A longer text would hardly stand in one line.
const MAX_TEXT: usize = 1024;

/// `ready_timeout`, behind `ready`.
pub(super) fn timeout(entry: &mut Entry<'_>) {
    let (fields, service) = (&mut entry.fields, &mut entry.service);
    let Some(timeout) = fields.duration("ready_timeout") else {
        return;
    };
    let Some(span) = fields.get("ready_timeout").map(|value| value.span()) else {
        return;
    };
    if fields.get("ready").is_none() || service.ready == Ready::Started {
        let finding = Finding::error(
            span,
            "`ready_timeout` bounds nothing: the service is ready as soon as it runs",
            "nothing is waited for",
        );
        fields.report(finding.help("say what is waited for, such as ready = \"notify\""));
    } else if timeout.is_zero() {
        let finding = Finding::error(
            span,
            "`ready_timeout` leaves no time to become ready",
            "has to be more than 0",
        );
        fields.report(finding.help("no bound at all is not to be had; write a long one: \"1h\""));
    }
    service.ready_timeout = timeout;
}

/// How often it has to say that it is alive.
pub(super) fn watchdog(fields: &mut Table<'_, '_>) -> Option<Duration> {
    let period = fields.duration("watchdog")?;
    if period < SHORTEST_WATCHDOG
        && let Some(value) = fields.get("watchdog")
    {
        let what = "`watchdog` has to be at least 10 ms";
        let finding = Finding::error(value.span(), what, "no program is that quick");
        fields.report(finding.help("leave it out for a service that is not watched"));
    }
    Some(period)
}

/// `ready`.
pub(super) fn ready(fields: &mut Table<'_, '_>) -> Ready {
    let Some(value) = fields.get("ready") else {
        return Ready::Started;
    };
    match value.get_ref() {
        DeValue::String(word) => self::word(fields, word, value.span()),
        DeValue::Table(table) => of_table(fields, table, value.span()),
        other => {
            let what = format!("`ready` has to say how, and is {}", type_name(other));
            fields.report(Finding::error(value.span(), what, EXPECTED));
            Ready::Started
        }
    }
}

fn word(fields: &mut Table<'_, '_>, word: &str, span: Range<usize>) -> Ready {
    match word {
        "started" => Ready::Started,
        "notify" => Ready::Notify,
        "healthy" => {
            // A health check that is there and wrong has its own finding.
            if fields.get("health").is_none() {
                let finding = Finding::error(
                    span,
                    "`ready = \"healthy\"` needs a health check",
                    "the service has none",
                );
                fields.report(finding.help("add a [services.health] table below the service"));
            }
            Ready::Healthy
        }
        "fd" | "log" => {
            let help = match word {
                "fd" => "write ready = { fd = 3 }, with the number the service writes to",
                _ => "write ready = { log = \"text\" }, with the text the service prints",
            };
            let what = format!("`ready = \"{word}\"` does not say which");
            fields.report(Finding::error(span, what, EXPECTED).help(help));
            Ready::Started
        }
        _ => {
            let finding = Finding::error(span, format!("unknown `ready`: `{word}`"), EXPECTED);
            fields.report_unknown(finding, word, ["started", "healthy", "notify"]);
            Ready::Started
        }
    }
}

fn of_table(fields: &mut Table<'_, '_>, table: &DeTable<'_>, span: Range<usize>) -> Ready {
    let mut entries = table.iter();
    let (Some((key, value)), None) = (entries.next(), entries.next()) else {
        let what = "`ready` has to have exactly one key here";
        fields.report(Finding::error(
            span,
            what,
            "expected { fd = 3 } or { log = \"text\" }",
        ));
        return Ready::Started;
    };
    match key.get_ref().as_ref() {
        "fd" => match integer_of(value.get_ref()).filter(|fd| DESCRIPTORS.contains(fd)) {
            Some(fd) => Ready::Fd(fd as i32),
            None => {
                let (low, high) = DESCRIPTORS.into_inner();
                let finding = Finding::error(
                    value.span(),
                    "`fd` is no descriptor that can be had",
                    format!("expected a number from {low} to {high}"),
                );
                fields.report(finding.help("0, 1 and 2 are the standard streams"));
                Ready::Started
            }
        },
        "log" => log(fields, value.get_ref(), value.span()),
        name => {
            let what = format!("unknown key `{name}` in `ready`");
            let finding = Finding::error(key.span(), what, "unknown");
            fields.report_unknown(finding, name, ["fd", "log"]);
            Ready::Started
        }
    }
}

fn log(fields: &mut Table<'_, '_>, value: &DeValue<'_>, span: Range<usize>) -> Ready {
    let text = value.as_str().unwrap_or_default();
    let label = match value {
        DeValue::String(_) if text.is_empty() => "every line has this in it",
        DeValue::String(_) if text.contains(['\n', '\r']) => "no line has a line break in it",
        DeValue::String(_) if text.len() > MAX_TEXT => "too long for a line",
        DeValue::String(_) => return Ready::Log(text.to_owned()),
        _ => "expected a string",
    };
    let what = "`log` has to be a part of a line that the service prints when it is ready";
    let finding = Finding::error(span, what, label);
    fields.report(finding.help("such as ready = { log = \"ready to accept connections\" }"));
    Ready::Started
}
