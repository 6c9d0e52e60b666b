//! How it is found out whether a service is well: `[services.health]`.

use core::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::diagnostic::Finding;
use super::endpoint::{self, Authority, Refused};
use super::entry::Entry;
use super::model::{Health, OnUnhealthy, Probe};
use super::program::{not_executable, unsuitable};
use super::scalar::{Table, integer_of, number_text};
use super::{Facts, Lookup};

/// Exactly one of them says what is tried.
const PROBES: [&str; 4] = ["http", "tcp", "unix", "exec"];

/// The keys of the table.
pub(super) const KEYS: [&str; 11] = [
    "http",
    "tcp",
    "unix",
    "exec",
    "interval",
    "timeout",
    "retries",
    "start_period",
    "start_interval",
    "expected_status",
    "on_unhealthy",
];

/// What other supervisors call the same thing.
const ELSEWHERE: [(&str, &str); 8] = [
    ("test", "exec"),
    ("cmd", "exec"),
    ("command", "exec"),
    ("url", "http"),
    ("httpGet", "http"),
    ("period", "interval"),
    ("failureThreshold", "retries"),
    ("initialDelaySeconds", "start_period"),
];

/// Checks that follow each other faster would be all that the machine does.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

const EXAMPLE: &str = "add one line, such as http = \"http://127.0.0.1:8080/healthz\", tcp = \"127.0.0.1:6379\", \
    unix = \"/run/x.sock\" or exec = [\"redis-cli\", \"ping\"]";

/// What a program of a check is looked up with, as the service's own is.
struct Place<'p> {
    path: Option<&'p str>,
    cwd: Option<&'p Path>,
    /// None: nothing is looked up.
    facts: Option<&'p dyn Facts>,
}

/// `[services.health]`.
pub(super) fn read(entry: &mut Entry<'_>) -> Option<Box<Health>> {
    let place = &Place {
        path: entry.search_path(),
        cwd: entry.working_dir(),
        facts: entry.facts,
    };
    let fields = &mut entry.fields;
    let span = fields.span_of_key("health")?;
    let table = fields.table("health", "a table")?;
    let mut fields = Table {
        table,
        findings: fields.findings,
    };
    unknown_keys(&mut fields);
    let expected = expected_status(&mut fields);
    let interval = pause(&mut fields, "interval", Duration::from_secs(10));
    let start_interval = pause(&mut fields, "start_interval", Duration::from_secs(1));
    let timeout = timeout(&mut fields);
    let retries = fields.integer("retries", 1..=1000).unwrap_or(3);
    let start_period = fields.duration("start_period").unwrap_or_default();
    let on_unhealthy = fields.word(
        "on_unhealthy",
        &[
            ("restart", OnUnhealthy::Restart),
            ("none", OnUnhealthy::None),
        ],
    );
    let given: Vec<&str> = PROBES
        .into_iter()
        .filter(|key| table.contains_key(*key))
        .collect();
    let probe = match given.as_slice() {
        [key] => {
            useless_status(&mut fields, key);
            probe(&mut fields, key, expected, place)
        }
        [] => {
            let finding = Finding::error(span, "this health check tries nothing", "no check");
            fields.report(finding.help(EXAMPLE));
            None
        }
        [first, second, ..] => {
            two_probes(&mut fields, first, second);
            if !given.contains(&"http") {
                useless_status(&mut fields, first);
            }
            // Whichever of them stays, what is wrong with it is said now.
            for key in &given {
                probe(&mut fields, key, expected.clone(), place);
            }
            None
        }
    };
    Some(Box::new(Health {
        probe: probe?,
        interval,
        timeout,
        retries: u32::try_from(retries).unwrap_or(3),
        start_period,
        start_interval,
        on_unhealthy: on_unhealthy.unwrap_or(OnUnhealthy::Restart),
    }))
}

fn unknown_keys(fields: &mut Table<'_, '_>) {
    for key in fields.table.keys() {
        let name = key.get_ref().as_ref();
        if KEYS.contains(&name) {
            continue;
        }
        let what = format!("unknown key `{name}` in `health`");
        let finding = Finding::error(key.span(), what, "unknown");
        let elsewhere = ELSEWHERE.iter().find(|(theirs, _)| *theirs == name);
        match elsewhere {
            Some((_, ours)) => fields.report(finding.help(format!("it is called `{ours}` here"))),
            None => fields.report_unknown(finding, name, KEYS),
        }
    }
}

fn two_probes(fields: &mut Table<'_, '_>, first: &str, second: &str) {
    let spans = (fields.span_of_key(first), fields.span_of_key(second));
    let (Some(mut first_at), Some(mut second_at)) = spans else {
        return;
    };
    if second_at.start < first_at.start {
        std::mem::swap(&mut first_at, &mut second_at);
    }
    let what = format!("`{first}` and `{second}` are two checks, and a service has one");
    let finding = Finding::error(second_at, what, "the second one");
    fields.report(
        finding
            .also(first_at, "the first one")
            .help("remove one, or put both into a script that exec runs"),
    );
}

/// The time between checks.
fn pause(fields: &mut Table<'_, '_>, key: &str, default: Duration) -> Duration {
    let Some(pause) = fields.duration(key) else {
        return default;
    };
    if pause < SHORTEST_INTERVAL
        && let Some(value) = fields.get(key)
    {
        let what = format!("`{key}` has to be at least 10 ms");
        fields.report(Finding::error(value.span(), what, "checks without a pause"));
    }
    pause
}

fn timeout(fields: &mut Table<'_, '_>) -> Duration {
    let timeout = fields.duration("timeout");
    if timeout.is_some_and(|timeout| timeout.is_zero())
        && let Some(value) = fields.get("timeout")
    {
        let what = "`timeout` leaves a check no time";
        fields.report(Finding::error(value.span(), what, "has to be more than 0"));
    }
    timeout.unwrap_or(Duration::from_secs(2))
}

fn useless_status(fields: &mut Table<'_, '_>, key: &str) {
    if key != "http"
        && let Some(span) = fields.span_of_key("expected_status")
    {
        let what = format!("`expected_status` is of no use with `{key}`");
        let finding = Finding::error(span, what, "only `http` has a status");
        fields.report(finding.help("remove it, or check with http"));
    }
}

fn probe(
    fields: &mut Table<'_, '_>,
    key: &str,
    expected: Option<Vec<(u16, u16)>>,
    place: &Place<'_>,
) -> Option<Probe> {
    if key == "exec" {
        return exec(fields, place);
    }
    let value = fields.get(key)?;
    if key == "tcp"
        && let Some(port) = number_text(value.get_ref())
    {
        let what = "`tcp` has to be a string, and is a whole number";
        let finding = Finding::error(value.span(), what, "expected host:port");
        fields.report(finding.help(format!("write tcp = \"127.0.0.1:{port}\"")));
        return None;
    }
    let (text, span) = fields.string(key)?;
    let probe = match key {
        "http" => endpoint::url(&text).map(|url| Probe::Http {
            addresses: resolved(fields, key, &url.authority, place),
            host: url.authority.text,
            path: url.path,
            expected: expected.unwrap_or_else(|| vec![(200, 399)]),
        }),
        "tcp" => endpoint::host_and_port(&text, None).map(|authority| Probe::Tcp {
            addresses: resolved(fields, key, &authority, place),
            host: authority.text,
        }),
        _ => endpoint::socket_path(&text).map(|()| Probe::Unix(text.into())),
    };
    match probe {
        Ok(probe) => Some(probe),
        Err(Refused { what, label, help }) => {
            let finding = Finding::error(span, format!("`{key}` {what}"), label);
            fields.report(finding.help(help));
            None
        }
    }
}

/// The addresses of a host; none where it is unknown, which has its finding, or where nothing is looked up.
fn resolved(
    fields: &mut Table<'_, '_>,
    key: &str,
    authority: &Authority,
    place: &Place<'_>,
) -> Vec<SocketAddr> {
    let Some(facts) = place.facts else {
        return Vec::new();
    };
    let addresses = authority.addresses(facts);
    if addresses.is_empty()
        && let Some(span) = fields.get(key).map(|value| value.span())
    {
        let Refused { what, label, help } = authority.unknown_host();
        let finding = Finding::error(span, format!("`{key}` {what}"), label);
        fields.report(finding.help(help).on_machine());
    }
    addresses
}

fn exec(fields: &mut Table<'_, '_>, place: &Place<'_>) -> Option<Probe> {
    let words = fields.strings("exec")?;
    let Some((program, span)) = words.first().filter(|(program, _)| !program.is_empty()) else {
        let span = fields.get("exec").map(|value| value.span())?;
        let finding = Finding::error(span, "`exec` names no program", "expected a command");
        fields.report(finding.help("write it such as exec = [\"redis-cli\", \"ping\"]"));
        return None;
    };
    let found = place
        .facts
        .map(|facts| facts.command(program, place.path, place.cwd));
    let finding = match found.unwrap_or(Lookup::Found) {
        Lookup::Found => None,
        Lookup::NotExecutable(file) => Some(not_executable(&file, span.clone())),
        Lookup::Unsuitable(file, why) => Some(unsuitable(&file, &why, span.clone())),
        Lookup::Missing(_) => {
            let what = format!("there is no program `{program}` to check with");
            let finding = Finding::error(span.clone(), what, "not found");
            Some(match program.as_str() {
                "CMD" => finding.help("exec is the command itself: remove \"CMD\""),
                "CMD-SHELL" => finding.help("for a shell write exec = [\"sh\", \"-c\", \"…\"]"),
                _ => finding.help("install it, or give its whole path"),
            })
        }
    };
    if let Some(finding) = finding {
        fields.report(finding.on_machine());
    }
    Some(Probe::Exec(
        words.into_iter().map(|(word, _)| word).collect(),
    ))
}

/// `200`, `"200-299"`, or an array of these.
fn expected_status(fields: &mut Table<'_, '_>) -> Option<Vec<(u16, u16)>> {
    let value = fields.get("expected_status")?;
    let items = match value.get_ref() {
        DeValue::Array(items) => items.iter().collect(),
        _ => vec![value],
    };
    let mut expected = Vec::new();
    for item in &items {
        match statuses(item.get_ref()) {
            Some(range) => expected.push(range),
            None => {
                let finding = Finding::error(
                    item.span(),
                    "`expected_status` holds what is no status",
                    "expected a status from 200 to 599, or a range such as \"200-299\"",
                );
                let class = item.get_ref().as_str().and_then(class);
                fields.report(match class {
                    Some(digit) => finding.help(format!("write \"{digit}00-{digit}99\"")),
                    None => finding,
                });
            }
        }
    }
    if items.is_empty() {
        let what = "`expected_status` is empty, so that no answer would do";
        let finding = Finding::error(value.span(), what, "expected a status");
        fields.report(finding.help("write expected_status = 200, or leave it out for 200 to 399"));
    }
    Some(expected)
}

fn statuses(value: &DeValue<'_>) -> Option<(u16, u16)> {
    // What is below 200 only announces the answer.
    let known = |status: u16| Some(status).filter(|status| (200..=599).contains(status));
    let Some(text) = value.as_str() else {
        let status = known(u16::try_from(integer_of(value)?).ok()?)?;
        return Some((status, status));
    };
    let number = |text: &str| known(text.trim().parse().ok()?);
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    Some((number(low)?, number(high)?)).filter(|(low, high)| low <= high)
}

/// `2xx`, as others write it.
fn class(text: &str) -> Option<char> {
    let digit = text.chars().next().filter(|c| ('2'..='5').contains(c))?;
    text[1..].eq_ignore_ascii_case("xx").then_some(digit)
}
