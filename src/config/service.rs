//! One `[[services]]` entry.

use std::ops::Range;

use toml::de::DeTable;

use super::diagnostic::{Finding, may_suggest};
use super::entry::Entry;
use super::files::{FileId, Span};
use super::keys::{KEYS, Kind};
use super::model::{Log, Service};
use super::{Facts, foreign, keys, log, timeouts};
use crate::base::nearest;

/// A service and where its parts stand, for what is checked between services.
pub(super) struct Read {
    pub service: Service,
    pub name_at: Span,
    /// One for each of the service's dependencies.
    pub dependencies_at: Vec<Span>,
    /// Also where its health check is wrong: that has its own finding.
    pub has_health: bool,
}

impl Read {
    /// It is in this file.
    pub fn place_in(&mut self, file: FileId) {
        self.name_at = self.name_at.in_file(file);
        for span in &mut self.dependencies_at {
            *span = span.in_file(file);
        }
    }
}

pub(super) fn read(
    table: &DeTable<'_>,
    span: Range<usize>,
    log: &Log,
    facts: &dyn Facts,
    findings: &mut Vec<Finding>,
) -> Read {
    let header = span.start..span.start + "[[services]]".len();
    let mut entry = Entry::new(table, header, log, facts, findings);
    unknown_keys(&mut entry);
    for key in KEYS {
        if let Kind::Whole { read, .. } = key.kind {
            read(&mut entry);
        }
    }
    Read {
        service: entry.service,
        name_at: entry.name_at.into(),
        dependencies_at: entry.dependencies_at.into_iter().map(Span::from).collect(),
        has_health: table.contains_key("health"),
    }
}

fn unknown_keys(entry: &mut Entry<'_>) {
    let unknown = entry.fields.table.keys();
    let unknown = unknown.map(|key| (key.get_ref().as_ref(), key.span()));
    let unknown = unknown.filter(|(name, _)| !keys::is_key(name));
    for (name, span) in unknown {
        let finding = unknown_key(name, span, entry.fields.findings.len());
        entry.fields.report(finding);
    }
    // A slip in `command` is reported as an unknown key, with the one that was meant.
    let compares = may_suggest(entry.fields.findings.len(), KEYS.len());
    let mut unknown = entry.fields.table.keys().map(|key| key.get_ref().as_ref());
    let is_meant = |name| !compares || nearest(name, keys::names()) == Some("command");
    entry.misspells_command = !entry.fields.table.contains_key("command")
        && unknown.any(|name| !keys::is_key(name) && is_meant(name));
}

/// A key of a service that is none, with so many findings before it.
fn unknown_key(name: &str, span: Range<usize>, found: usize) -> Finding {
    if keys::LATER.contains(&name) {
        let what = format!("`{name}` is not supported by this version");
        return Finding::error(span, what, "not supported yet").help("remove it");
    }
    if timeouts::is_key(name) {
        let what = format!("`{name}` is no key of a service");
        return Finding::error(span, what, "belongs to [timeouts]")
            .help("move it below a [timeouts] line; a service has `stop_timeout`");
    }
    if let Some(finding) = log::misplaced_key(name, span.clone()) {
        return finding;
    }
    let what = format!("unknown key `{name}` in a service");
    let finding = Finding::error(span, what, "unknown");
    match foreign::direction(name) {
        Some(direction) => finding.help(direction),
        None if may_suggest(found, KEYS.len()) => finding.suggest(name, keys::names()),
        None => finding,
    }
}
