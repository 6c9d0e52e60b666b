//! The default places of the control socket, and what the kernel lists as listened on.
//!
//! A place is a path in a directory that only its owner can write to, or an abstract name (unix(7)).
//! Abstract names go with the network namespace, which containers may share; the inode of the PID
//! namespace in the name tells them apart. Containers that share that too, as those of a pod may, differ
//! in their mount namespace: the second one takes a name that ends in the inode of its own.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::geteuid;

use super::Address;

/// Where root's daemon listens.
pub(super) const ROOT_PATH: &str = "/run/go-overlay/control.sock";

/// How many daemons of other users are looked for; anybody can make abstract names.
const MAX_LISTED: usize = 64;

/// The flag that the kernel shows for a socket that is listened on (`__SO_ACCEPTCON`).
const LISTENING: &str = "00010000";

/// Where a daemon of ours may listen, best first. Empty where only an abstract name is left.
pub(super) fn own_paths() -> Vec<PathBuf> {
    if geteuid().is_root() {
        return vec![ROOT_PATH.into()];
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime
        .filter(|path| path.is_absolute() && owner_of_closed(path) == Some(geteuid().as_raw()))
        .map(|path| path.join("go-overlay/control.sock"))
        .into_iter()
        .collect()
}

/// Every default place: our own first, then those where daemons of other users in this PID namespace
/// may be.
pub(super) fn to_look() -> Vec<Address> {
    let mut places: Vec<Address> = own_paths().into_iter().map(Address::Path).collect();
    places.push(Address::Path(ROOT_PATH.into()));
    let users = [geteuid().as_raw(), 0, uid_of_init()];
    places.extend(users.map(|uid| Address::Abstract(container_name(uid))));
    places.extend(users.map(|uid| Address::Abstract(abstract_name(uid))));
    let listed = listed_names(&listed_sockets(), &abstract_prefix());
    places.extend(listed.into_iter().map(Address::Abstract));
    let mut unique = Vec::new();
    for place in places {
        if !unique.contains(&place) {
            unique.push(place);
        }
    }
    unique
}

/// Whom the first process of this PID namespace belongs to; root where that is not to be seen.
pub(super) fn uid_of_init() -> u32 {
    fs::metadata("/proc/1").map_or(0, |metadata| metadata.uid())
}

/// The owner of a directory that nobody else can write to; None for any other.
pub(super) fn owner_of_closed(directory: &Path) -> Option<u32> {
    let metadata = fs::metadata(directory).ok()?;
    (metadata.is_dir() && metadata.mode() & 0o022 == 0).then(|| metadata.uid())
}

/// The abstract name of this user's daemon, without its leading NUL.
pub(super) fn abstract_name(uid: u32) -> String {
    format!("{}{uid}", abstract_prefix())
}

/// The abstract name of this user's daemon where another container that shares the PID namespace, the
/// network namespace and the user has [`abstract_name`].
pub(super) fn container_name(uid: u32) -> String {
    let container = namespace("self", "mnt").unwrap_or(0);
    format!("{}{uid}/{container}", abstract_prefix())
}

/// The user that a default name is for.
pub(super) fn user_of(name: &str) -> Option<u32> {
    let rest = name.strip_prefix(&abstract_prefix())?;
    rest.split('/').next()?.parse().ok()
}

/// The inode of a namespace of a process; None where it cannot be read (proc_pid_ns(5)).
pub(super) fn namespace(pid: &str, kind: &str) -> Option<u64> {
    let metadata = fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok()?;
    Some(metadata.ino())
}

/// Whether a process of this very user has [`abstract_name`], or may have it: one that takes no connection does not
/// show whose it is.
pub(super) fn may_be_held_by_user(uid: u32) -> bool {
    let address = Address::Abstract(abstract_name(uid));
    match super::open_stream(&address) {
        Ok(stream) => super::peer(stream.as_fd()).is_ok_and(super::may_change),
        Err(error) => error == Errno::EAGAIN,
    }
}

/// The name that a starting daemon holds while it looks for others and binds.
pub(super) fn starting_name() -> String {
    format!("{}starting", abstract_prefix())
}

fn abstract_prefix() -> String {
    let namespace = namespace("self", "pid").unwrap_or(0);
    format!("go-overlay/{namespace}/")
}

/// Whether somebody listens on this path, in whichever mount namespace.
pub(super) fn is_listed(path: &Path) -> bool {
    let Some(path) = path.to_str() else {
        return false;
    };
    listening(&listed_sockets()).any(|name| name == path)
}

fn listed_sockets() -> String {
    fs::read("/proc/net/unix")
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// The names of sockets that are listened on, of the lines `Num RefCount Protocol Flags Type St Inode
/// Path`. A name with white space is none of ours.
fn listening(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let flags = words.nth(3)?;
        let name = words.nth(3)?;
        (flags == LISTENING && words.next().is_none()).then_some(name)
    })
}

fn listed_names(text: &str, prefix: &str) -> Vec<String> {
    listening(text)
        .filter_map(|name| name.strip_prefix('@'))
        .filter(|name| {
            let uid = name.strip_prefix(prefix);
            uid.is_some_and(|uid| uid.parse::<u32>().is_ok())
        })
        .take(MAX_LISTED)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{listed_names, listening};

    const LISTED: &str = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 10001 /run/go-overlay/control.sock
0000000000000000: 00000003 00000000 00000000 0001 03 10002 @go-overlay/77/1
0000000000000000: 00000002 00000000 00010000 0001 01 10003 @go-overlay/77/1000
0000000000000000: 00000002 00000000 00010000 0001 01     4 @go-overlay/78/0
0000000000000000: 00000002 00000000 00010000 0001 01 10005 @go-overlay/77/x y
0000000000000000: 00000002 00000000 00010000 0001 01 10006 @go-overlay/77/starting
0000000000000000: 00000002 00000000 00010000 0001 01 10007
";

    #[test]
    fn only_daemons_of_this_namespace_that_listen_are_looked_at() {
        assert_eq!(
            listed_names(LISTED, "go-overlay/77/"),
            ["go-overlay/77/1000"]
        );
        assert!(listening(LISTED).any(|name| name == "/run/go-overlay/control.sock"));
    }

    #[test]
    fn a_flood_of_names_is_bounded() {
        let flood: String = (0..1000)
            .map(|uid| format!("0: 2 0 00010000 0001 01 9 @p/{uid}\n"))
            .collect();
        assert_eq!(listed_names(&flood, "p/").len(), super::MAX_LISTED);
    }
}
