//! `services.toml` to [`Config`]: reading, checking, and saying what is wrong.
//!
//! Pure: the file's text comes in, and what the file system, the user database and PATH know is asked
//! through [`Facts`]. Never opens a file itself, never starts anything.

pub mod change;
mod depends_on;
mod diagnostic;
mod endpoint;
mod environment;
mod graph;
mod health;
mod instead;
mod limits;
mod log;
pub mod model;
mod program;
mod read;
mod ready;
mod restart;
mod scalar;
mod service;
mod terminal;
pub mod user;

pub use diagnostic::{Finding, Severity, render};
pub use model::Config;
pub use scalar::{parse_duration, parse_size};

use core::net::IpAddr;
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

/// Reads and checks a file's text, and finds everything that is wrong with it.
pub fn check(text: &str, facts: &dyn Facts) -> Checked {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut findings: Vec<Finding> = errors.iter().map(Finding::syntax).collect();
    // What follows a syntax error may be nonsense; a second wave of complaints would hide the first.
    let config = findings
        .is_empty()
        .then(|| read::file(table.get_ref(), text, facts, &mut findings));
    findings.sort_by_key(Finding::start);
    let failed = findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    Checked {
        config: config.filter(|_| !failed),
        findings,
    }
}
