//! `user` and `script_user`: `name`, `uid`, `name:group`, `uid:gid`.

use super::diagnostic::Finding;
use super::model::User;
use super::scalar::{Table, integer_of};
use super::{Account, Facts};

pub(super) fn read(fields: &mut Table<'_, '_>, key: &str, facts: &dyn Facts) -> Option<User> {
    let value = fields.get(key)?;
    let (text, span) = match integer_of(value.get_ref()) {
        Some(uid) => (uid.to_string(), value.span()),
        None => fields.string(key)?,
    };
    match resolve(&text, facts) {
        Ok(user) => Some(user),
        Err(Unknown::User(name)) => {
            let names = facts.account_names();
            let finding = Finding::error(
                span,
                format!("there is no user `{name}`"),
                "not in the passwd file",
            );
            fields.report(finding.suggest(&name, names.iter().map(String::as_str)));
            None
        }
        Err(Unknown::Group(name)) => {
            let names = facts.group_names();
            let finding = Finding::error(
                span,
                format!("there is no group `{name}`"),
                "not in the group file",
            );
            fields.report(finding.suggest(&name, names.iter().map(String::as_str)));
            None
        }
    }
}

enum Unknown {
    User(String),
    Group(String),
}

/// A number needs no entry in the passwd file: arbitrary user ids are how some platforms run
/// containers. Its group is then its own number, unless one is named.
fn resolve(text: &str, facts: &dyn Facts) -> Result<User, Unknown> {
    let (who, group) = match text.split_once(':') {
        Some((who, group)) => (who, Some(group)),
        None => (text, None),
    };
    let number = who.parse::<u32>().ok();
    let account = match number {
        Some(uid) => facts.account_of_uid(uid),
        None => Some(
            facts
                .account(who)
                .ok_or_else(|| Unknown::User(who.to_owned()))?,
        ),
    };
    let named_group = match group {
        Some(group) => Some(
            group
                .parse::<u32>()
                .ok()
                .or_else(|| facts.group(group))
                .ok_or_else(|| Unknown::Group(group.to_owned()))?,
        ),
        None => None,
    };
    let uid = account
        .as_ref()
        .map_or(number.unwrap_or(0), |account| account.uid);
    let gid = named_group
        .or(account.as_ref().map(|account| account.gid))
        .unwrap_or(uid);
    // A named group replaces the account's others, as with `docker run --user`.
    let mut groups = match (&account, named_group) {
        (Some(account), None) => facts.groups_of(&account.name),
        _ => Vec::new(),
    };
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    let Account {
        name, home, shell, ..
    } = account.unwrap_or(Account {
        name: String::new(),
        uid,
        gid,
        home: "/".into(),
        shell: "/bin/sh".into(),
    });
    Ok(User {
        name: Some(name).filter(|name| !name.is_empty()),
        uid,
        gid,
        groups,
        home,
        shell,
    })
}
