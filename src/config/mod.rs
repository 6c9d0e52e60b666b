//! `services.toml` to [`Config`]: reading, checking, and saying what is wrong.
//!
//! Pure: the files' content comes in, and what the file system, the user database and PATH know is asked
//! through [`Facts`]. Never opens a file itself, never starts anything.

pub mod change;
mod depends_on;
mod diagnostic;
pub mod endpoint;
mod entry;
mod environment;
mod files;
mod foreign;
mod graph;
mod health;
mod instead;
mod keys;
mod limits;
pub mod listing;
mod load;
pub mod log;
pub mod model;
mod name;
mod program;
mod read;
mod ready;
mod restart;
mod scalar;
mod service;
mod snippet;
mod source;
mod stopping;
mod terminal;
mod timeouts;
pub mod user;

pub use diagnostic::{Finding, Kind, Severity};
pub use files::{FileId, Files, Span};
pub use load::{Needed, Report, load};
pub use model::Config;
pub use scalar::parse_size;
pub use snippet::render;

use core::net::IpAddr;
use std::ffi::{OsStr, OsString};
use std::path::Path;

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
