//! `user` and `script_user`: `name`, `uid`, `name:group`, `uid:gid`. The text is read with the file; the numbers it
//! stands for are looked up at each start, since an earlier service may have made the user.

use std::ffi::{OsStr, OsString};
use std::fmt;

use super::Facts;
use super::diagnostic::{Finding, may_suggest};
use super::entry::Entry;
use super::scalar::number_text;

/// The highest number of a user or a group. The one above is (uid_t)-1, which tells the kernel to leave the
/// id as it is (setresuid(2)): a process of that user would stay what the daemon is.
pub const MAX_ID: u32 = u32::MAX - 1;

/// Who a process runs as, as the file says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    /// The user.
    pub user: IdOrName,
    /// None: the groups of the passwd and group files.
    pub group: Option<IdOrName>,
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdOrName {
    /// Its number, at most [`MAX_ID`].
    Id(u32),
    /// Its name, not empty and not a number.
    Name(String),
}

impl fmt::Display for IdOrName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdOrName::Id(id) => write!(f, "{id}"),
            IdOrName::Name(name) => f.write_str(name),
        }
    }
}

/// Who a process runs as, in the kernel's numbers. Each is at most [`MAX_ID`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The login name, where the number has one; any bytes.
    pub name: Option<OsString>,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, the primary one included.
    pub groups: Vec<u32>,
    /// HOME, from the passwd file; `/` where it does not say.
    pub home: OsString,
    /// SHELL, from the passwd file; `/bin/sh` where it does not say.
    pub shell: OsString,
}

/// Why a user cannot be resolved on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The passwd file has no such name.
    NoUser(String),
    /// The group file has no such name.
    NoGroup(String),
    /// An entry has the number that stands for no user: what has it, such as "the user `x`".
    ReservedId(String),
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unresolved::NoUser(name) => write!(f, "there is no user `{name}`"),
            Unresolved::NoGroup(name) => write!(f, "there is no group `{name}`"),
            Unresolved::ReservedId(whose) => {
                write!(
                    f,
                    "{whose} has the number {}, which no process can have",
                    u32::MAX
                )
            }
        }
    }
}

impl Unresolved {
    /// Where it is missing.
    pub fn place(&self) -> &'static str {
        match self {
            Unresolved::NoUser(_) => "not in the passwd file",
            Unresolved::NoGroup(_) => "not in the group file",
            Unresolved::ReservedId(_) => "(uid_t)-1 means \"leave as it is\" to the kernel",
        }
    }
}

/// `user` or `script_user`.
pub(super) fn read(entry: &mut Entry<'_>, key: &str) -> Option<Box<UserSpec>> {
    let fields = &mut entry.fields;
    let value = fields.get(key)?;
    let (text, span) = match number_text(value.get_ref()) {
        Some(uid) => (uid, value.span()),
        None => fields.string(key)?,
    };
    let spec = match parse(&text) {
        Ok(spec) => spec,
        Err(why) => {
            let finding = Finding::error(span, format!("`{key}` {why}"), "not a user");
            fields.report(finding.help(format!(
                "write a name, a number, or either with a group behind a colon: {key} = \"app\", {key} = 1000, \
                 {key} = \"app:www-data\""
            )));
            return None;
        }
    };
    if let Some(facts) = entry.facts
        && let Err(why) = resolve(&spec, facts)
    {
        let finding = Finding::error(span, why.to_string(), why.place()).on_machine();
        fields.report(match &why {
            // Each suggestion looks at every name.
            _ if !may_suggest(fields.findings.len(), 1000) => finding,
            Unresolved::NoUser(name) => suggest(finding, name, facts.account_names()),
            Unresolved::NoGroup(name) => suggest(finding, name, facts.group_names()),
            Unresolved::ReservedId(_) => finding,
        });
    }
    Some(Box::new(spec))
}

fn suggest(finding: Finding, name: &str, known: Vec<String>) -> Finding {
    finding.suggest(name, known.iter().map(String::as_str))
}

/// What the text says, or what is wrong with it, to go on behind the key's name.
fn parse(text: &str) -> Result<UserSpec, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    Ok(UserSpec {
        user: id_or_name(user, "user")?,
        group: group.map(|group| id_or_name(group, "group")).transpose()?,
    })
}

fn id_or_name(text: &str, what: &str) -> Result<IdOrName, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u32>() {
        _ if text.is_empty() => Err(format!("names no {what}")),
        Ok(id) if is_number && digits == text && id <= MAX_ID => Ok(IdOrName::Id(id)),
        _ if is_number => Err(format!(
            "has the {what} {text}, and {what} ids are from 0 to {MAX_ID}"
        )),
        _ => Ok(IdOrName::Name(text.to_owned())),
    }
}

/// The numbers that a user stands for on this machine now. A number needs no entry in the passwd file: arbitrary
/// user ids are how some platforms run containers. Its group is then its own number, unless one is named.
///
/// # Errors
/// What is not in the user database, or has a number there that no process can have.
pub fn resolve(spec: &UserSpec, facts: &dyn Facts) -> Result<User, Unresolved> {
    let account = match &spec.user {
        IdOrName::Id(uid) => facts.account_of_uid(*uid),
        IdOrName::Name(name) => Some(
            facts
                .account(name)
                .ok_or_else(|| Unresolved::NoUser(name.clone()))?,
        ),
    };
    let named_group = match &spec.group {
        Some(IdOrName::Id(gid)) => Some(*gid),
        Some(IdOrName::Name(name)) => Some(
            facts
                .group(name)
                .ok_or_else(|| Unresolved::NoGroup(name.clone()))?,
        ),
        None => None,
    };
    let (uid, own_group) = match (&account, &spec.user) {
        (Some(account), _) => (account.uid, account.gid),
        (None, IdOrName::Id(uid)) => (*uid, *uid),
        (None, IdOrName::Name(name)) => return Err(Unresolved::NoUser(name.clone())),
    };
    let gid = named_group.unwrap_or(own_group);
    // A named group replaces the account's others, as with `docker run --user`.
    let mut groups = match (&account, named_group) {
        (Some(account), None) => facts.groups_of(&account.name),
        _ => Vec::new(),
    };
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    if uid > MAX_ID {
        return Err(Unresolved::ReservedId(format!("the user `{}`", spec.user)));
    }
    if groups.iter().any(|gid| *gid > MAX_ID) {
        let whose = match &spec.group {
            Some(group) => format!("the group `{group}`"),
            None => format!("a group of the user `{}`", spec.user),
        };
        return Err(Unresolved::ReservedId(whose));
    }
    let text = |field: Option<&OsString>, default: &str| {
        field.map_or_else(|| OsStr::new(default).to_owned(), OsString::clone)
    };
    let account = account.as_ref();
    Ok(User {
        name: account.map(|account| account.name.clone()),
        uid,
        gid,
        groups,
        home: text(account.map(|account| &account.home), "/"),
        shell: text(account.map(|account| &account.shell), "/bin/sh"),
    })
}
