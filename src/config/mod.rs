//! `services.toml` to [`Config`]: reading, checking, and saying what is wrong.
//!
//! Pure: the file's text comes in, and what the file system, the user database and PATH know is asked
//! through [`Facts`]. Never opens a file itself, never starts anything.

pub mod change;
mod depends_on;
mod diagnostic;
pub mod endpoint;
mod entry;
mod environment;
mod foreign;
mod graph;
mod health;
mod instead;
mod keys;
mod limits;
pub mod listing;
pub mod log;
pub mod model;
mod name;
mod program;
mod read;
mod ready;
mod restart;
mod scalar;
mod service;
mod source;
mod stopping;
mod terminal;
mod timeouts;
pub mod user;

pub use diagnostic::{Finding, Kind, Severity, render};
pub use model::Config;
pub use scalar::parse_size;
pub use source::{Undecoded, decode};

use core::net::IpAddr;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use toml::de::DeTable;

/// What is asked of the world while a file is checked.
pub trait Facts {
    /// Whether a command can be executed: a path, or a name that is looked up in `path`; None: the
    /// daemon's own PATH. A relative path with a slash is relative to `cwd`.
    fn command(&self, command: &str, path: Option<&str>, cwd: Option<&Path>) -> Lookup;
    /// What stands at a path.
    fn file(&self, path: &Path) -> FileKind;
    /// The `#!` line of a file, without the `#!`; None where it has none or cannot be read.
    fn interpreter(&self, path: &Path) -> Option<String>;
    /// The account of this login name.
    fn account(&self, name: &str) -> Option<Account>;
    /// The account of this number.
    fn account_of_uid(&self, uid: u32) -> Option<Account>;
    /// The number of this group.
    fn group(&self, name: &str) -> Option<u32>;
    /// The groups that list this login name as a member.
    fn groups_of(&self, name: &OsStr) -> Vec<u32>;
    /// Every login name, for suggestions.
    fn account_names(&self) -> Vec<String>;
    /// Every group name, for suggestions.
    fn group_names(&self) -> Vec<String>;
    /// The addresses of a host's name that are known without asking over the network; none: unknown.
    fn host(&self, name: &str) -> Vec<IpAddr>;
}

/// Whether a command can be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Yes.
    Found,
    /// It is there, at this path, and is not executable.
    NotExecutable(String),
    /// What is at this path cannot be executed, for this reason, whatever its mode is.
    Unsuitable(String, String),
    /// It is nowhere; the PATH that was searched, where one was.
    Missing(Option<String>),
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A file, pipe, or device.
    File,
    /// A directory.
    Directory,
    /// Nothing.
    Missing,
}

/// A line of the passwd file (passwd(5)), which is bytes and not text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: OsString,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory.
    pub home: OsString,
    /// Login shell.
    pub shell: OsString,
}

/// What came of reading a file.
#[derive(Debug)]
pub struct Checked {
    /// The configuration; None when there is an error among the findings.
    pub config: Option<Config>,
    /// Every problem, in the order of the file.
    pub findings: Vec<Finding>,
}

/// Reads and checks a file's text, and finds everything that is wrong with it. Nothing is looked up for services
/// that are disabled.
pub fn check(text: &str, facts: &dyn Facts) -> Checked {
    check_for(text, facts, |_| true)
}

/// As [`check`], at the start of the daemon: what the machine lacks is a warning, for it may be there when the turn
/// of its service comes.
pub fn check_at_boot(text: &str, facts: &dyn Facts) -> Checked {
    check_for(text, facts, |_| false)
}

/// As [`check`]; what the machine lacks is an error only for services that start at once, which `starting` tells by
/// name from a configuration whose text is good.
pub fn check_for_reload(
    text: &str,
    facts: &dyn Facts,
    starting: impl FnOnce(&Config) -> BTreeSet<String>,
) -> Checked {
    let mut names = None;
    let mut starting = Some(starting);
    check_for(text, facts, |(config, service)| {
        let names = names.get_or_insert_with(|| starting.take().map(|names| names(config)));
        names
            .as_ref()
            .is_some_and(|names| names.contains(&service.name))
    })
}

fn check_for(
    text: &str,
    facts: &dyn Facts,
    mut is_needed: impl FnMut((&Config, &model::Service)) -> bool,
) -> Checked {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut findings: Vec<Finding> = match foreign::format(text).filter(|_| !errors.is_empty()) {
        Some(finding) => vec![finding],
        None => errors.iter().map(Finding::syntax).collect(),
    };
    // What follows a syntax error may be nonsense; a second wave of complaints would hide the first.
    let config = findings
        .is_empty()
        .then(|| read::file(table.get_ref(), text, facts, &mut findings));
    let is_error = |finding: &Finding| finding.severity == Severity::Error;
    let of_text = |finding: &Finding| finding.kind == Kind::Text && is_error(finding);
    if let Some(config) = config.as_ref().filter(|_| !findings.iter().any(of_text)) {
        for finding in findings
            .iter_mut()
            .filter(|finding| finding.kind == Kind::Machine)
        {
            let service = finding.service.and_then(|index| config.services.get(index));
            if service.is_some_and(|service| !is_needed((config, service))) {
                finding.severity = Severity::Warning;
            }
        }
    }
    findings.sort_by_key(Finding::start);
    let failed = findings.iter().any(is_error);
    Checked {
        config: config.filter(|_| !failed),
        findings,
    }
}
