//! The control socket: where it lives, who may use it, and that there is only one.
//!
//! A path is used only in a directory that nobody but its owner can write to, so that no other user
//! can have made it first. Where there is no such directory (a read-only root), the socket is an
//! abstract one (unix(7)), named after the PID namespace and the user; it has no permissions, so both
//! ends look at the other's credentials (SO_PEERCRED).

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{geteuid, getuid};

/// Where root's daemon listens.
const ROOT_PATH: &str = "/run/go-overlay/control.sock";

/// A place for the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A file.
    Path(PathBuf),
    /// A name in the abstract namespace, without its leading NUL.
    Abstract(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Path(path) => write!(f, "{}", path.display()),
            Address::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Process id; 0 where it is in a namespace that we do not see.
    pub pid: i32,
}

/// The credentials of the other end, as of when it connected or began to listen.
///
/// # Errors
/// None on a connected Unix socket.
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let credentials = getsockopt(&socket, PeerCredentials)?;
    Ok(Peer {
        uid: credentials.uid(),
        pid: credentials.pid(),
    })
}

/// Whether a client may change things: root, and the daemon's own user.
pub fn may_change(peer: Peer) -> bool {
    peer.uid == 0 || peer.uid == geteuid().as_raw()
}

/// A socket that is listened on. Dropping it removes its file, if that is still ours.
#[derive(Debug)]
pub struct Bound {
    /// Does not block.
    pub listener: UnixListener,
    /// Where.
    pub address: Address,
    file: Option<(u64, u64)>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Address::Path(path) = &self.address
            && identity(path) == self.file
        {
            let _ = fs::remove_file(path);
        }
    }
}

/// Why there is no socket.
#[derive(Debug)]
pub enum BindError {
    /// A daemon listens there.
    AlreadyRunning {
        /// Where.
        address: Address,
        /// Its process id, as far as it is to be seen.
        pid: i32,
    },
    /// The place cannot be used.
    Unusable {
        /// Where.
        address: Address,
        /// Why, and what to do.
        why: String,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::AlreadyRunning { address, pid: 0 } => {
                write!(f, "go-overlay is already running, on {address}")
            }
            BindError::AlreadyRunning { address, pid } => {
                write!(f, "go-overlay is already running: pid {pid}, on {address}")
            }
            BindError::Unusable { address, why } => write!(f, "cannot listen on {address}: {why}"),
        }
    }
}

/// Listens at the named place, or at the first default one that can be used. A live daemon is never
/// displaced; what a dead one left is replaced.
///
/// # Errors
/// A live daemon, or no usable place.
pub fn bind(explicit: Option<&Path>) -> Result<Bound, BindError> {
    if let Some(path) = explicit {
        return bind_path(path);
    }
    for address in places_to_look() {
        if let Ok((stream, address)) = connect_to(&address) {
            let pid = peer(stream.as_fd()).map_or(0, |peer| peer.pid);
            return Err(BindError::AlreadyRunning { address, pid });
        }
    }
    for path in own_paths() {
        match bind_path(&path) {
            Err(BindError::Unusable { .. }) => {}
            result => return result,
        }
    }
    bind_abstract(&abstract_name(geteuid().as_raw()))
}

/// Why no daemon was reached.
#[derive(Debug)]
pub struct ConnectError {
    /// Where it was looked for, and what was found there.
    pub tried: Vec<(Address, io::Error)>,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("could not connect to a daemon")?;
        for (address, error) in &self.tried {
            write!(f, "\n  tried {address}: {error}")?;
        }
        Ok(())
    }
}

/// Connects to the daemon at the named place, or at the first default one where one lives.
///
/// # Errors
/// Every place that was tried.
pub fn connect(explicit: Option<&Path>) -> Result<(UnixStream, Address), ConnectError> {
    let places = match explicit {
        Some(path) => vec![Address::Path(path.to_owned())],
        None => places_to_look(),
    };
    let mut tried = Vec::new();
    for address in places {
        match connect_to(&address) {
            Ok(connected) => return Ok(connected),
            Err(error) => tried.push((address, error)),
        }
    }
    Err(ConnectError { tried })
}

/// Another user may sit on an abstract name. Only root, ourselves and the init of this namespace are
/// believed to be the daemon; root, who can see for itself, believes everybody of this namespace.
fn connect_to(address: &Address) -> io::Result<(UnixStream, Address)> {
    let stream = match address {
        Address::Path(path) => UnixStream::connect(path)?,
        Address::Abstract(name) => {
            UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?
        }
    };
    let uid = peer(stream.as_fd())?.uid;
    let own = getuid().as_raw();
    let init = fs::metadata("/proc/1")
        .map(|metadata| metadata.uid())
        .unwrap_or(0);
    if uid == 0 || uid == own || own == 0 || uid == init {
        return Ok((stream, address.clone()));
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("it belongs to another user ({uid})"),
    ))
}

/// Every default place, our own first, then those of daemons of other users in this PID namespace.
fn places_to_look() -> Vec<Address> {
    let mut places: Vec<Address> = own_paths().into_iter().map(Address::Path).collect();
    places.push(Address::Path(ROOT_PATH.into()));
    places.push(Address::Abstract(abstract_name(geteuid().as_raw())));
    places.extend(listed_abstract_names().into_iter().map(Address::Abstract));
    let mut unique = Vec::new();
    for place in places {
        if !unique.contains(&place) {
            unique.push(place);
        }
    }
    unique
}

fn own_paths() -> Vec<PathBuf> {
    if geteuid().is_root() {
        return vec![ROOT_PATH.into()];
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime
        .filter(|path| path.is_absolute())
        .map(|path| path.join("go-overlay/control.sock"))
        .into_iter()
        .collect()
}

/// The inode of the PID namespace tells containers apart that share a network namespace, and with it
/// the abstract names.
fn abstract_name(uid: u32) -> String {
    format!("{}{uid}", abstract_prefix())
}

fn abstract_prefix() -> String {
    let namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino());
    format!("go-overlay/{namespace}/")
}

fn listed_abstract_names() -> Vec<String> {
    let prefix = format!("@{}", abstract_prefix());
    let Ok(text) = fs::read_to_string("/proc/net/unix") else {
        return Vec::new();
    };
    let names = text
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().last());
    names
        .filter(|name| name.starts_with(&prefix))
        .map(|name| name[1..].to_owned())
        .collect()
}

fn bind_abstract(name: &str) -> Result<Bound, BindError> {
    let address = Address::Abstract(name.to_owned());
    let unusable = |why: String| BindError::Unusable {
        address: Address::Abstract(name.to_owned()),
        why,
    };
    let socket_address =
        SocketAddr::from_abstract_name(name).map_err(|error| unusable(error.to_string()))?;
    match UnixListener::bind_addr(&socket_address) {
        Ok(listener) => finish(listener, address).map_err(|error| unusable(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match connect_to(&address) {
            Ok((stream, _)) => {
                let pid = peer(stream.as_fd()).map_or(0, |peer| peer.pid);
                Err(BindError::AlreadyRunning { address, pid })
            }
            Err(error) => Err(unusable(format!(
                "the name is taken: {error}; use --socket PATH"
            ))),
        },
        Err(error) => Err(unusable(error.to_string())),
    }
}

fn bind_path(path: &Path) -> Result<Bound, BindError> {
    let address = Address::Path(path.to_owned());
    let unusable = |why: String| BindError::Unusable {
        address: Address::Path(path.to_owned()),
        why,
    };
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    prepare_directory(directory).map_err(unusable)?;
    // Two daemons that start at the same time: the lock on the directory (no file is left behind) lets
    // one of them look and bind at a time.
    let _lock = lock(directory).map_err(|error| unusable(error.to_string()))?;
    if let Ok((stream, address)) = connect_to(&address) {
        let pid = peer(stream.as_fd()).map_or(0, |peer| peer.pid);
        return Err(BindError::AlreadyRunning { address, pid });
    }
    match fs::symlink_metadata(path) {
        Ok(metadata)
            if metadata.file_type().is_socket() && metadata.uid() == geteuid().as_raw() =>
        {
            fs::remove_file(path)
                .map_err(|error| unusable(format!("cannot remove the stale socket: {error}")))?;
        }
        Ok(_) => {
            return Err(unusable(
                "something else is in its place; remove it or name another with --socket".into(),
            ));
        }
        Err(_) => {}
    }
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(before);
    let listener = listener.map_err(|error| unusable(error.to_string()))?;
    finish(listener, address).map_err(|error| unusable(error.to_string()))
}

fn finish(listener: UnixListener, address: Address) -> io::Result<Bound> {
    listener.set_nonblocking(true)?;
    let file = match &address {
        Address::Path(path) => identity(path),
        Address::Abstract(_) => None,
    };
    Ok(Bound {
        listener,
        address,
        file,
    })
}

/// Makes the directory where it is missing, for its owner alone, and refuses one that others can write.
fn prepare_directory(directory: &Path) -> Result<(), String> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(format!("cannot make {}: {error}", directory.display()));
        }
        _ => {}
    }
    let metadata = fs::metadata(directory)
        .map_err(|error| format!("cannot look at {}: {error}", directory.display()))?;
    let (mode, owner) = (metadata.mode(), metadata.uid());
    if mode & 0o022 != 0 {
        return Err(format!(
            "others can write to {} (mode {:o}); choose a directory that only its owner can write to",
            directory.display(),
            mode & 0o7777
        ));
    }
    if owner != 0 && owner != geteuid().as_raw() {
        return Err(format!(
            "{} belongs to another user ({owner}); choose one of your own",
            directory.display()
        ));
    }
    Ok(())
}

fn lock(directory: &Path) -> io::Result<Flock<fs::File>> {
    Flock::lock(fs::File::open(directory)?, FlockArg::LockExclusive)
        .map_err(|(_, error)| error.into())
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()))
}
