//! The passwd and group files (passwd(5), group(5)), read as bytes: a static program must not load a name
//! service. A line that cannot be read costs itself and no other.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;

use crate::config::Account;

/// The part of a file that is read, in bytes; more than 100,000 accounts.
const MAX_FILE: u64 = 16 << 20;

/// The file of the accounts.
pub const PASSWD: &str = "/etc/passwd";

/// The file of the groups.
pub const GROUP: &str = "/etc/group";

/// Every account, in the order of the file; none where there is no file, as in an empty image.
pub fn accounts() -> Vec<Account> {
    parse(&bytes_of(PASSWD), account)
}

/// Every group, in the order of the file.
pub fn groups() -> Vec<Group> {
    parse(&bytes_of(GROUP), group)
}

/// What a file holds; nothing where it cannot be read. Never waits for a writer.
fn bytes_of(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    // An error halfway leaves the lines before it.
    let _ = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    bytes
}

fn parse<T>(file: &[u8], line: fn(&[u8]) -> Option<T>) -> Vec<T> {
    let lines = file.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    // No string of the kernel's has a NUL byte in it.
    lines
        .filter(|line| !line.contains(&0))
        .filter_map(line)
        .collect()
}

/// The fields of a line that has exactly `N`.
fn fields<const N: usize>(line: &[u8]) -> Option<[&[u8]; N]> {
    let mut rest = line.split(|byte| *byte == b':');
    let mut fields = [&line[..0]; N];
    for field in &mut fields {
        *field = rest.next()?;
    }
    rest.next().is_none().then_some(fields)
}

fn account(line: &[u8]) -> Option<Account> {
    let [name, _, uid, gid, _, home, shell] = fields(line)?;
    let or = |text: &[u8], default: &str| match text {
        [] => default.into(),
        text => OsString::from_vec(text.to_vec()),
    };
    Some(Account {
        name: self::name(name)?,
        uid: number(uid)?,
        gid: number(gid)?,
        home: or(home, "/"),
        shell: or(shell, "/bin/sh"),
    })
}

/// A line of the group file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: OsString,
    /// Its number.
    pub gid: u32,
    /// Login names of its members, beside those whose primary group it is.
    pub members: Vec<OsString>,
}

fn group(line: &[u8]) -> Option<Group> {
    let [name, _, gid, members] = fields(line)?;
    Some(Group {
        name: self::name(name)?,
        gid: number(gid)?,
        members: members
            .split(|byte| *byte == b',')
            .filter_map(self::name)
            .collect(),
    })
}

/// A name; an empty one is none.
fn name(bytes: &[u8]) -> Option<OsString> {
    (!bytes.is_empty()).then(|| OsString::from_vec(bytes.to_vec()))
}

/// Decimal digits alone. Whoever reads these files otherwise takes 4294967296 for 0, which is root.
fn number(bytes: &[u8]) -> Option<u32> {
    let text = str::from_utf8(bytes).ok()?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_costs_itself() {
        let passwd = b"root:x:0:0:root:/root:/bin/bash\n\
            # comment\n\
            jose:x:1001:1001:Jos\xe9:/home/jos\xe9:/bin/sh\n\
            j\xe9:x:1002:1002::/:\n\
            dos:x:1003:1003::/home/dos:/bin/sh\r\n\
            many:x:1004:1004::/:/bin/sh:more\n\
            few:x:1005:1005::/\n\
            nul\0:x:1006:1006::/:\n\
            :x:0:0::/:\n\
            +::::::\n\
            over:x:4294967296:0::/:\n\
            minus:x:-1:0::/:\n\
            plus:x:+0:0::/:\n\
            hex:x:0x0:0::/:\n\
            none:x::0::/:\n\
            last:x:1007:1007::/:/bin/sh";
        let accounts = parse(passwd, account);
        let named: Vec<(&[u8], u32)> = accounts
            .iter()
            .map(|account| (account.name.as_encoded_bytes(), account.uid))
            .collect();
        let expected: [(&[u8], u32); 5] = [
            (b"root", 0),
            (b"jose", 1001),
            (b"j\xe9", 1002),
            (b"dos", 1003),
            (b"last", 1007),
        ];
        assert_eq!(named, expected);
        let homes: Vec<&[u8]> = accounts
            .iter()
            .map(|account| account.home.as_encoded_bytes())
            .collect();
        assert_eq!(homes[1], b"/home/jos\xe9");
        assert_eq!(accounts[3].shell, "/bin/sh");
    }

    #[test]
    fn a_bad_group_costs_itself() {
        let file = b"r\xe9seau:x:5001:jose,j\xe9\n\
            team:x:5000:nobody,,jose\r\n\
            broken:x:many:nobody\n\
            wide:x:5002:nobody:more\n\
            over:x:4294967296:nobody\n\
            end:x:5003:";
        let groups = parse(file, group);
        let numbers: Vec<u32> = groups.iter().map(|group| group.gid).collect();
        assert_eq!(numbers, [5001, 5000, 5003]);
        assert_eq!(groups[0].members[1].as_encoded_bytes(), b"j\xe9");
        assert_eq!(groups[1].members, ["nobody", "jose"]);
    }

    #[test]
    fn a_line_of_any_length_is_only_a_line() {
        let mut file = vec![b'x'; 1 << 20];
        file.extend(b"\napp:x:1000:1000::/:/bin/sh\n");
        let accounts = parse(&file, account);
        assert_eq!(accounts.len(), 1);
        assert_eq!(accounts[0].name, "app");
    }
}
