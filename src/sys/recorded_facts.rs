//! Answers of [`SystemFacts`] that one process asks for and another one uses: what a configuration asks for depends on
//! its text alone, so that a second check of the same text asks for what the first one asked for.
//!
//! A question and its answer are kept as lists of byte strings, each with its length before it (32 bits).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::facts::SystemFacts;
use super::{hosts, users};
use crate::config::{Account, Facts, FileKind, Lookup};

/// Answers by their questions, both packed.
pub type Record = BTreeMap<Vec<u8>, Vec<u8>>;

/// A list of byte strings as one.
pub fn pack(fields: &[&[u8]]) -> Vec<u8> {
    let mut packed = Vec::new();
    for field in fields {
        // A longer one is none of a file that is read.
        packed.extend(u32::try_from(field.len()).unwrap_or(u32::MAX).to_ne_bytes());
        packed.extend(*field);
    }
    packed
}

/// The list; None where it is none.
pub fn unpack(mut packed: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while let Some((length, rest)) = packed.split_first_chunk() {
        let length = u32::from_ne_bytes(*length) as usize;
        fields.push(rest.get(..length)?);
        packed = rest.get(length..)?;
    }
    packed.is_empty().then_some(fields)
}

/// Asks the machine, and hands each new question and its answer on.
pub struct Recording<'f> {
    facts: &'f SystemFacts,
    record: RefCell<Record>,
    /// Before a path is touched: which.
    touches: &'f dyn Fn(&[u8]),
    /// A question and its answer, packed.
    answered: &'f dyn Fn(&[u8], &[u8]),
}

impl<'f> Recording<'f> {
    /// `touches` gets each path before it is touched, `answered` each question once, with its answer.
    pub fn new(
        facts: &'f SystemFacts,
        touches: &'f dyn Fn(&[u8]),
        answered: &'f dyn Fn(&[u8], &[u8]),
    ) -> Recording<'f> {
        Recording {
            facts,
            record: RefCell::default(),
            touches,
            answered,
        }
    }
}

/// Uses what was recorded.
pub struct Recorded<'r> {
    /// The packed answer; None where there is none, and none will come.
    answer: &'r dyn Fn(&[u8]) -> Option<Vec<u8>>,
    missed: Cell<bool>,
}

impl<'r> Recorded<'r> {
    /// `answer` finds the answer to a packed question.
    pub fn new(answer: &'r dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Recorded<'r> {
        Recorded {
            answer,
            missed: Cell::new(false),
        }
    }

    /// Whether a question had no answer. What was found with it is worth nothing then.
    pub fn missed_any(&self) -> bool {
        self.missed.get()
    }
}

/// Answers packed questions.
trait Packed {
    /// `touched`: the path that is looked at. The answer is packed; an empty one where there is none.
    fn ask(
        &self,
        question: &[u8],
        touched: &[u8],
        machine: &dyn Fn(&SystemFacts) -> Vec<u8>,
    ) -> Vec<u8>;
}

impl Packed for Recording<'_> {
    fn ask(
        &self,
        question: &[u8],
        touched: &[u8],
        machine: &dyn Fn(&SystemFacts) -> Vec<u8>,
    ) -> Vec<u8> {
        let known = self.record.borrow().get(question).cloned();
        known.unwrap_or_else(|| {
            (self.touches)(touched);
            let answer = machine(self.facts);
            (self.answered)(question, &answer);
            let mut record = self.record.borrow_mut();
            record.insert(question.to_owned(), answer.clone());
            answer
        })
    }
}

impl Packed for Recorded<'_> {
    fn ask(&self, question: &[u8], _: &[u8], _: &dyn Fn(&SystemFacts) -> Vec<u8>) -> Vec<u8> {
        (self.answer)(question).unwrap_or_else(|| {
            self.missed.set(true);
            Vec::new()
        })
    }
}

impl<P: Packed> Facts for P {
    fn command(&self, command: &str, path: Option<&str>, cwd: Option<&Path>) -> Lookup {
        let cwd_bytes = cwd.map(|cwd| cwd.as_os_str().as_bytes());
        let question = pack(&[
            b"command",
            command.as_bytes(),
            &pack_option(path.map(str::as_bytes)),
            &pack_option(cwd_bytes),
        ]);
        let touched = touched_by(command, path, cwd_bytes);
        let answer = self.ask(
            &question,
            &touched,
            &|facts| match facts.command(command, path, cwd) {
                Lookup::Found => pack(&[b"found"]),
                Lookup::NotExecutable(path) => pack(&[b"refused", path.as_bytes()]),
                Lookup::Unsuitable(path, why) => {
                    pack(&[b"unsuitable", path.as_bytes(), why.as_bytes()])
                }
                Lookup::Missing(None) => pack(&[b"missing"]),
                Lookup::Missing(Some(path)) => pack(&[b"missing", path.as_bytes()]),
            },
        );
        match unpack(&answer).as_deref() {
            Some([b"refused", path]) => Lookup::NotExecutable(text(path)),
            Some([b"unsuitable", path, why]) => Lookup::Unsuitable(text(path), text(why)),
            Some([b"missing"]) => Lookup::Missing(None),
            Some([b"missing", path]) => Lookup::Missing(Some(text(path))),
            _ => Lookup::Found,
        }
    }

    fn file(&self, path: &Path) -> FileKind {
        let bytes = path.as_os_str().as_bytes();
        let question = pack(&[b"file", bytes]);
        let answer = self.ask(&question, bytes, &|facts| match facts.file(path) {
            FileKind::File => b"file".to_vec(),
            FileKind::Directory => b"directory".to_vec(),
            FileKind::Missing => b"missing".to_vec(),
        });
        match answer.as_slice() {
            b"directory" => FileKind::Directory,
            b"missing" => FileKind::Missing,
            _ => FileKind::File,
        }
    }

    fn interpreter(&self, path: &Path) -> Option<String> {
        let bytes = path.as_os_str().as_bytes();
        let question = pack(&[b"interpreter", bytes]);
        let answer = self.ask(&question, bytes, &|facts| {
            pack_option(facts.interpreter(path).as_deref().map(str::as_bytes))
        });
        unpack(&answer)?.first().map(|line| text(line))
    }

    fn account(&self, name: &str) -> Option<Account> {
        let question = pack(&[b"account", name.as_bytes()]);
        let answer = self.ask(&question, users::PASSWD.as_bytes(), &|facts| {
            pack_account(facts.account(name).as_ref())
        });
        unpack_account(&answer)
    }

    fn account_of_uid(&self, uid: u32) -> Option<Account> {
        let question = pack(&[b"uid", &uid.to_ne_bytes()]);
        let answer = self.ask(&question, users::PASSWD.as_bytes(), &|facts| {
            pack_account(facts.account_of_uid(uid).as_ref())
        });
        unpack_account(&answer)
    }

    fn group(&self, name: &str) -> Option<u32> {
        let question = pack(&[b"group", name.as_bytes()]);
        let answer = self.ask(&question, users::GROUP.as_bytes(), &|facts| {
            pack_option(
                facts
                    .group(name)
                    .map(u32::to_ne_bytes)
                    .as_ref()
                    .map(|id| &id[..]),
            )
        });
        number(unpack(&answer)?.first()?)
    }

    fn groups_of(&self, name: &OsStr) -> Vec<u32> {
        let question = pack(&[b"groups", name.as_bytes()]);
        let answer = self.ask(&question, users::GROUP.as_bytes(), &|facts| {
            let ids = facts.groups_of(name).into_iter().map(u32::to_ne_bytes);
            pack_all(ids)
        });
        let ids = unpack(&answer).unwrap_or_default();
        ids.into_iter().filter_map(number).collect()
    }

    fn account_names(&self) -> Vec<String> {
        let question = pack(&[b"accounts"]);
        let answer = self.ask(&question, users::PASSWD.as_bytes(), &|facts| {
            pack_all(facts.account_names())
        });
        let names = unpack(&answer).unwrap_or_default();
        names.into_iter().map(text).collect()
    }

    fn group_names(&self) -> Vec<String> {
        let question = pack(&[b"group names"]);
        let answer = self.ask(&question, users::GROUP.as_bytes(), &|facts| {
            pack_all(facts.group_names())
        });
        let names = unpack(&answer).unwrap_or_default();
        names.into_iter().map(text).collect()
    }

    fn host(&self, name: &str) -> Vec<IpAddr> {
        let question = pack(&[b"host", name.as_bytes()]);
        let answer = self.ask(&question, hosts::HOSTS.as_bytes(), &|facts| {
            let addresses = facts.host(name).into_iter();
            pack_all(addresses.map(|address| address.to_string()))
        });
        let addresses = unpack(&answer).unwrap_or_default();
        addresses
            .into_iter()
            .filter_map(|address| str::from_utf8(address).ok()?.parse().ok())
            .collect()
    }
}

/// What the look-up of a command touches.
fn touched_by(command: &str, path: Option<&str>, cwd: Option<&[u8]>) -> Vec<u8> {
    let command = command.as_bytes();
    match (command.contains(&b'/'), cwd, path) {
        (true, Some(cwd), _) if !command.starts_with(b"/") => [cwd, b"/", command].concat(),
        (true, ..) => command.to_owned(),
        (false, _, None) => [command, b" in PATH"].concat(),
        (false, _, Some(path)) => [command, b" in ", path.as_bytes()].concat(),
    }
}

fn pack_option(field: Option<&[u8]>) -> Vec<u8> {
    field.map_or_else(Vec::new, |field| pack(&[field]))
}

fn pack_all(fields: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<u8> {
    let fields = fields.into_iter();
    fields.flat_map(|field| pack(&[field.as_ref()])).collect()
}

fn pack_account(account: Option<&Account>) -> Vec<u8> {
    account.map_or_else(Vec::new, |account| {
        pack(&[
            account.name.as_bytes(),
            &account.uid.to_ne_bytes(),
            &account.gid.to_ne_bytes(),
            account.home.as_bytes(),
            account.shell.as_bytes(),
        ])
    })
}

fn unpack_account(packed: &[u8]) -> Option<Account> {
    let fields = unpack(packed)?;
    let [name, uid, gid, home, shell] = fields.as_slice() else {
        return None;
    };
    let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    Some(Account {
        name: os(name),
        uid: number(uid)?,
        gid: number(gid)?,
        home: os(home),
        shell: os(shell),
    })
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
