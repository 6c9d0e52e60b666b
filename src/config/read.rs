//! The file as a whole: its top level, `[timeouts]`, and the list of services.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Finding;
use super::files::FileId;
use super::model::{Config, Log};
use super::scalar::{Table, type_name};
use super::{Facts, graph, keys, log, service, timeouts};
use crate::base::MAX_SERVICES;

/// Tables that the specification knows and this version does not.
const LATER: [&str; 1] = ["http"];

const MINIMAL: &str =
    "a minimal file is:\n[[services]]\nname = \"web\"\ncommand = \"/usr/sbin/nginx\"";

/// One file. What it finds is in that file, apart from what is checked between services.
pub(super) fn file(
    table: &DeTable<'_>,
    text: &str,
    id: FileId,
    facts: &dyn Facts,
    findings: &mut Vec<Finding>,
) -> Config {
    let before = findings.len();
    unknown_keys(table, findings);
    let timeouts = timeouts::read(&mut Table { table, findings });
    let log = log::of_all(&mut Table { table, findings });
    let mut read = match table
        .get("services")
        .map(|value| (value.get_ref(), value.span()))
    {
        Some((DeValue::Array(items), _)) => services(items, &log, facts, findings),
        Some((DeValue::Table(_), span)) => {
            findings.push(
                Finding::error(
                    span,
                    "`services` has to be a list",
                    "this makes it one table",
                )
                .help("write [[services]], in double brackets, above each service"),
            );
            Vec::new()
        }
        Some((_, span)) => {
            findings.push(
                Finding::error(
                    span,
                    "`services` has to be a list of tables",
                    "expected [[services]]",
                )
                .help(MINIMAL),
            );
            Vec::new()
        }
        None => Vec::new(),
    };
    let wrong_name = ["service", "Services", "Service"]
        .iter()
        .any(|key| table.contains_key(*key));
    if read.is_empty() && findings.is_empty() && !wrong_name {
        findings.push(
            Finding::error(0..text.len().min(1), "there is no service in this file", "")
                .help(MINIMAL),
        );
    }
    let own: Vec<Finding> = findings.drain(before..).collect();
    findings.extend(own.into_iter().map(|finding| finding.in_file(id)));
    for read in &mut read {
        read.place_in(id);
    }
    graph::check(&read, findings);
    Config {
        timeouts,
        services: read.into_iter().map(|read| read.service).collect(),
    }
}

/// The services in their order; each finding about one has its place.
fn services(
    items: &[Spanned<DeValue<'_>>],
    log: &Log,
    facts: &dyn Facts,
    findings: &mut Vec<Finding>,
) -> Vec<service::Read> {
    if let Some(first) = items.get(MAX_SERVICES) {
        let what = format!("a file has {MAX_SERVICES} services at most");
        let label = format!("{} are too many", items.len());
        findings.push(Finding::error(first.span(), what, label).help("run several daemons"));
        return Vec::new();
    }
    let mut services = Vec::new();
    for item in items {
        let before = findings.len();
        match item.get_ref() {
            DeValue::Table(table) => {
                let read = service::read(table, item.span(), log, facts, findings);
                for finding in findings.iter_mut().skip(before) {
                    finding.service = Some(services.len());
                }
                services.push(read);
            }
            other => {
                let what = format!(
                    "a service has to be a table, and this is {}",
                    type_name(other)
                );
                let finding = Finding::error(item.span(), what, "expected a table");
                findings
                    .push(finding.help("write each service under a [[services]] line of its own"));
            }
        }
    }
    services
}

fn unknown_keys(table: &DeTable<'_>, findings: &mut Vec<Finding>) {
    for key in table.keys() {
        let (name, span) = (key.get_ref().as_ref(), key.span());
        if let Some(finding) = log::key_outside(name, span.clone()) {
            findings.push(finding);
            continue;
        }
        match name {
            "services" | "timeouts" | "log" => {}
            _ if LATER.contains(&name) => {
                findings.push(Finding::error(
                    span,
                    format!("`[{name}]` is not supported by this version"),
                    "not supported yet",
                ));
            }
            "service" | "Service" | "Services" => findings.push(
                Finding::error(span, format!("unknown table `{name}`"), "unknown")
                    .help("each service stands under a line [[services]]"),
            ),
            _ if keys::is_key(name) => findings.push(
                Finding::error(
                    span,
                    format!("`{name}` stands outside of a service"),
                    "belongs to a service",
                )
                .help("move it below a [[services]] line"),
            ),
            _ if timeouts::is_key(name) => findings.push(
                Finding::error(
                    span,
                    format!("`{name}` stands outside of its table"),
                    "belongs to [timeouts]",
                )
                .help("move it below a [timeouts] line"),
            ),
            _ => {
                let finding = Finding::error(span, format!("unknown key `{name}`"), "unknown");
                let mut file = Table { table, findings };
                file.report_unknown(finding, name, ["services", "timeouts", "log"]);
            }
        }
    }
}
