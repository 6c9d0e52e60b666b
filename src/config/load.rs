//! Files to a configuration: the one way, at the start of the daemon, at a reload, and for `check`.

use std::collections::BTreeSet;

use toml::de::DeTable;

use super::diagnostic::{Finding, Kind, Severity};
use super::files::{FileId, Files};
use super::model::Config;
use super::snippet::render;
use super::{Facts, foreign, read};

/// What came of reading files.
#[derive(Debug)]
pub struct Report {
    /// What was read.
    pub files: Files,
    /// The configuration; None when there is an error among the findings.
    pub config: Option<Config>,
    /// Every problem, in the order of the files.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The findings as text, and what comes of errors.
    pub fn render(&self, color: bool, outcome: &str) -> String {
        render(&self.findings, &self.files, color, outcome)
    }
}

/// For which services it is an error that the machine lacks something; for others it is a warning, since it may be
/// there when they start.
pub enum Needed<'n> {
    /// For each one.
    ByAll,
    /// For none: the daemon starts, and each service will see.
    ByNone,
    /// For those that start at once, by name, as a configuration shows whose text is good.
    By(&'n dyn Fn(&Config) -> BTreeSet<String>),
}

/// Reads and checks files, and finds everything that is wrong with them. Nothing is looked up for services that are
/// disabled. The questions to the machine depend on the files alone.
pub fn load(files: Files, facts: &dyn Facts, needed: Needed<'_>) -> Report {
    let mut findings = Vec::new();
    let config = read_file(&files, FileId::MAIN, facts, &mut findings);
    let of_text = |finding: &Finding| finding.kind == Kind::Text && is_error(finding);
    if let Some(config) = config.as_ref().filter(|_| !findings.iter().any(of_text)) {
        weigh(config, &needed, &mut findings);
    }
    findings.sort_by_key(|finding| finding.span);
    let failed = findings.iter().any(is_error);
    Report {
        files,
        config: config.filter(|_| !failed),
        findings,
    }
}

fn read_file(
    files: &Files,
    id: FileId,
    facts: &dyn Facts,
    findings: &mut Vec<Finding>,
) -> Option<Config> {
    let file = files.get(id);
    if let Some(finding) = file.undecodable() {
        findings.push(finding.clone());
        return None;
    }
    let text = file.text();
    let (table, errors) = DeTable::parse_recoverable(text);
    // What follows a syntax error may be nonsense; a second wave of complaints would hide the first.
    if !errors.is_empty() {
        let wrong = match foreign::format(text) {
            Some(finding) => vec![finding],
            None => errors.iter().map(Finding::syntax).collect(),
        };
        findings.extend(wrong.into_iter().map(|finding| finding.in_file(id)));
        return None;
    }
    Some(read::file(table.get_ref(), text, id, facts, findings))
}

fn is_error(finding: &Finding) -> bool {
    finding.severity == Severity::Error
}

/// Makes warnings of what is lacking and not needed now.
fn weigh(config: &Config, needed: &Needed<'_>, findings: &mut [Finding]) {
    let mut names = None;
    let mut is_needed = |service: &str| match needed {
        Needed::ByAll => true,
        Needed::ByNone => false,
        Needed::By(starting) => names
            .get_or_insert_with(|| starting(config))
            .contains(service),
    };
    for finding in findings
        .iter_mut()
        .filter(|finding| finding.kind == Kind::Machine)
    {
        let service = finding.service.and_then(|index| config.services.get(index));
        if service.is_some_and(|service| !is_needed(&service.name)) {
            finding.severity = Severity::Warning;
        }
    }
}
