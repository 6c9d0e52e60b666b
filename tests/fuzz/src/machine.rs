//! A machine on which nearly everything that a configuration names is there; names say what is not.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use go_overlay::config::{Account, Facts, FileKind, Lookup};

pub struct Machine;

impl Facts for Machine {
    fn command(&self, command: &str, path: Option<&str>, _: Option<&Path>) -> Lookup {
        match command {
            _ if command.contains("plain") => Lookup::NotExecutable(command.into()),
            _ if command.contains("missing") => Lookup::Missing(path.map(str::to_owned)),
            _ => Lookup::Found,
        }
    }

    fn file(&self, path: &Path) -> FileKind {
        let text = path.to_string_lossy();
        match text.rsplit('/').next().unwrap_or_default() {
            name if name.contains("missing") => FileKind::Missing,
            name if name.contains('.') => FileKind::File,
            _ => FileKind::Directory,
        }
    }

    fn interpreter(&self, path: &Path) -> Option<String> {
        let text = path.to_string_lossy();
        (!text.contains("plain")).then(|| "/bin/sh -e".into())
    }

    fn account(&self, name: &str) -> Option<Account> {
        (name.len() < 9).then(|| account(name, 33))
    }

    fn account_of_uid(&self, uid: u32) -> Option<Account> {
        (uid < 1000).then(|| account("www-data", uid))
    }

    fn group(&self, name: &str) -> Option<u32> {
        (name.len() < 9).then_some(33)
    }

    fn groups_of(&self, name: &OsStr) -> Vec<u32> {
        vec![33, name.len() as u32]
    }

    fn account_names(&self) -> Vec<String> {
        vec!["www-data".into(), "root".into()]
    }

    fn group_names(&self) -> Vec<String> {
        vec!["www-data".into(), "adm".into()]
    }

    fn host(&self, name: &str) -> Vec<IpAddr> {
        match name {
            "localhost" => vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()],
            _ if name.len() < 5 => vec![[172, 17, 0, 2].into()],
            _ => Vec::new(),
        }
    }
}

fn account(name: &str, uid: u32) -> Account {
    Account {
        name: name.into(),
        uid,
        gid: uid,
        home: "/var/www".into(),
        shell: "/bin/sh".into(),
    }
}
