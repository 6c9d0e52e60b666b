//! What this machine says to the questions of `config`.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use crate::config::{Account, Facts, FileKind, Lookup};
use crate::sys::commands::{DEFAULT_PATH, NotFound, look_up, why_unsuitable};
use crate::sys::hosts;
use crate::sys::users::{self, Group};

/// The answers; the user database is read once.
#[derive(Debug)]
pub struct SystemFacts {
    accounts: Vec<Account>,
    groups: Vec<Group>,
    path: OsString,
}

impl SystemFacts {
    /// Reads the user database.
    pub fn new() -> SystemFacts {
        SystemFacts::read(&|_| {})
    }

    /// As [`SystemFacts::new`]; `touches` gets each path before it is touched.
    pub fn read(touches: &dyn Fn(&[u8])) -> SystemFacts {
        let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        touches(users::PASSWD.as_bytes());
        let accounts = users::accounts();
        touches(users::GROUP.as_bytes());
        SystemFacts {
            accounts,
            groups: users::groups(),
            path,
        }
    }
}

impl Default for SystemFacts {
    fn default() -> SystemFacts {
        SystemFacts::new()
    }
}

impl Facts for SystemFacts {
    fn command(&self, command: &str, path: Option<&str>, cwd: Option<&Path>) -> Lookup {
        let search = path.map_or(self.path.as_os_str(), OsStr::new);
        match look_up(command, search, cwd) {
            Ok(_) => Lookup::Found,
            Err(NotFound::Unusable(file)) => {
                // As it is written in the configuration, as far as that says where it is.
                let shown = match (command.contains('/'), cwd) {
                    (true, None) => command.to_owned(),
                    _ => file.display().to_string(),
                };
                match why_unsuitable(&file) {
                    None => Lookup::NotExecutable(shown),
                    Some(why) => Lookup::Unsuitable(shown, why),
                }
            }
            Err(NotFound::Nothing(_)) => Lookup::Missing(None),
            Err(NotFound::NotInPath) => Lookup::Missing(Some(search.to_string_lossy().into())),
        }
    }

    fn file(&self, path: &Path) -> FileKind {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => FileKind::Directory,
            Ok(_) => FileKind::File,
            Err(_) => FileKind::Missing,
        }
    }

    fn interpreter(&self, path: &Path) -> Option<String> {
        let mut start = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(256).read_to_end(&mut start))
            .ok()?;
        let line = start
            .strip_prefix(b"#!")?
            .split(|byte| *byte == b'\n')
            .next()?;
        Some(String::from_utf8_lossy(line).trim().to_owned())
    }

    fn account(&self, name: &str) -> Option<Account> {
        self.accounts
            .iter()
            .find(|account| account.name == name)
            .cloned()
    }

    fn account_of_uid(&self, uid: u32) -> Option<Account> {
        self.accounts
            .iter()
            .find(|account| account.uid == uid)
            .cloned()
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.groups
            .iter()
            .find(|group| group.name == name)
            .map(|group| group.gid)
    }

    fn groups_of(&self, name: &OsStr) -> Vec<u32> {
        let member = |group: &&Group| group.members.iter().any(|member| member == name);
        self.groups
            .iter()
            .filter(member)
            .map(|group| group.gid)
            .collect()
    }

    fn account_names(&self) -> Vec<String> {
        let names = self.accounts.iter().map(|account| &account.name);
        names
            .filter_map(|name| name.to_str().map(str::to_owned))
            .collect()
    }

    fn group_names(&self) -> Vec<String> {
        let names = self.groups.iter().map(|group| &group.name);
        names
            .filter_map(|name| name.to_str().map(str::to_owned))
            .collect()
    }

    fn host(&self, name: &str) -> Vec<IpAddr> {
        hosts::addresses(name)
    }
}
