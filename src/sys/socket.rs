//! The control socket: where it lives, who may use it, and that there is only one.
//!
//! A path is used only in a directory that nobody but its owner can write to, so that no other user
//! can have made it first. Where there is no such directory (a read-only root), the socket is an
//! abstract one (unix(7)), named after the PID namespace and the user; it has no permissions, so both
//! ends look at the other's credentials (SO_PEERCRED).

mod connect;
mod places;

pub use connect::{ConnectError, connect};

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, getsockopt, sockopt::PeerCredentials,
};
use nix::unistd::geteuid;

/// How often, and how long apart, something is tried that another process holds for a moment: half a
/// second in all.
const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// A place for the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A file.
    Path(PathBuf),
    /// A name in the abstract namespace, without its leading NUL.
    Abstract(String),
}

impl From<&Path> for Address {
    /// `@name` is an abstract name, as errors show it.
    fn from(path: &Path) -> Address {
        match path.to_str().and_then(|text| text.strip_prefix('@')) {
            Some(name) => Address::Abstract(name.to_owned()),
            None => Address::Path(path.to_owned()),
        }
    }
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
    /// A dead daemon's socket was in its place: that daemon ended without cleaning up.
    pub replaces_dead: bool,
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
        return match Address::from(path) {
            Address::Path(path) => bind_path(&path),
            Address::Abstract(name) => bind_abstract(&name),
        };
    }
    // Daemons of different users have different places: one at a time looks at all of them and binds.
    let _turn = take_turn();
    if let Some(running) = places::to_look().iter().find_map(live_daemon) {
        return Err(running);
    }
    if geteuid().is_root() {
        // An empty image has no /run. Where it cannot be made, the next place is tried.
        let _ = DirBuilder::new().mode(0o755).create("/run");
    }
    for path in places::own_paths() {
        match bind_path(&path) {
            Err(BindError::Unusable { .. }) => {}
            result => return result,
        }
    }
    bind_abstract(&places::abstract_name(geteuid().as_raw()))
}

/// Holds an abstract name, which only one process can have. Another user who sits on it costs the start
/// half a second and nothing else.
fn take_turn() -> Option<OwnedFd> {
    let address = UnixAddr::new_abstract(places::starting_name().as_bytes()).ok()?;
    let socket = new_socket().ok()?;
    for _ in 0..TRIES {
        match nix::sys::socket::bind(socket.as_raw_fd(), &address) {
            Err(Errno::EADDRINUSE) => std::thread::sleep(BETWEEN_TRIES),
            Err(_) => return None,
            Ok(()) => return Some(socket),
        }
    }
    None
}

/// The daemon at a default place, if one is alive there that we believe in.
fn live_daemon(address: &Address) -> Option<BindError> {
    let running = |pid| BindError::AlreadyRunning {
        address: address.clone(),
        pid,
    };
    match open_stream(address) {
        Ok(stream) => {
            let peer = peer(stream.as_fd()).ok()?;
            is_believed(peer.uid).then(|| running(peer.pid))
        }
        // Root's directory is closed to others; that somebody listens in it is to be seen all the same.
        Err(Errno::EACCES) => match address {
            Address::Path(path) => {
                let closed = path.parent().and_then(places::owner_of_closed) == Some(0);
                (closed && places::is_listed(path)).then(|| running(0))
            }
            Address::Abstract(_) => None,
        },
        Err(_) => None,
    }
}

/// Whether a socket's owner is believed to be the daemon: anybody can make an abstract name. Root,
/// ourselves, and whoever the container runs as. A real daemon of any other user looks like a squatter,
/// and ours starts beside it.
fn is_believed(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw() || uid == places::uid_of_init()
}

/// Never waits: EAGAIN where too many wait at the door already.
fn open_stream(address: &Address) -> nix::Result<UnixStream> {
    let socket = new_socket()?;
    let address = match address {
        Address::Path(path) => UnixAddr::new(path)?,
        Address::Abstract(name) => UnixAddr::new_abstract(name.as_bytes())?,
    };
    nix::sys::socket::connect(socket.as_raw_fd(), &address)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false).map_err(|error| {
        error
            .raw_os_error()
            .map_or(Errno::UnknownErrno, Errno::from_raw)
    })?;
    Ok(stream)
}

fn new_socket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

fn bind_abstract(name: &str) -> Result<Bound, BindError> {
    let address = Address::Abstract(name.to_owned());
    let socket_address =
        SocketAddr::from_abstract_name(name).map_err(|error| unusable(&address, error))?;
    match UnixListener::bind_addr(&socket_address) {
        Ok(listener) => finish(listener, address),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(live_daemon(&address)
            .unwrap_or_else(|| {
                let why = "another user took the name; name a place with --socket PATH";
                unusable(&address, why)
            })),
        Err(error) => Err(unusable(&address, error)),
    }
}

fn bind_path(path: &Path) -> Result<Bound, BindError> {
    let address = Address::Path(path.to_owned());
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    prepare_directory(directory).map_err(|why| unusable(&address, why))?;
    // Two daemons that start at the same time: the lock on the directory (no file is left behind) lets
    // one of them look and bind at a time.
    let _lock = lock(directory).map_err(|why| unusable(&address, why))?;
    let replaces_dead = make_free(path, &address)?;
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(before);
    let listener = listener.map_err(|error| unusable(&address, error))?;
    let mut bound = finish(listener, address)?;
    bound.replaces_dead = replaces_dead;
    Ok(bound)
}

/// Removes what a dead daemon left, and nothing else; whether there was something. Only a refused connection tells that nobody
/// listens: whoever has no time to answer is alive.
fn make_free(path: &Path, address: &Address) -> Result<bool, BindError> {
    let running = |pid| BindError::AlreadyRunning {
        address: address.clone(),
        pid,
    };
    match open_stream(address) {
        Ok(stream) => Err(running(peer(stream.as_fd()).map_or(0, |peer| peer.pid))),
        Err(Errno::EAGAIN) => Err(running(0)),
        Err(Errno::ENOENT) => Ok(false),
        Err(Errno::ECONNREFUSED) if is_socket(path) => fs::remove_file(path)
            .map(|()| true)
            .map_err(|error| unusable(address, format!("cannot remove the stale socket: {error}"))),
        Err(Errno::ECONNREFUSED | Errno::EPROTOTYPE) => Err(unusable(
            address,
            "something else is in its place; remove it or name another with --socket",
        )),
        Err(errno) => Err(unusable(address, io::Error::from(errno))),
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn unusable(address: &Address, why: impl fmt::Display) -> BindError {
    BindError::Unusable {
        address: address.clone(),
        why: why.to_string(),
    }
}

fn finish(listener: UnixListener, address: Address) -> Result<Bound, BindError> {
    listener
        .set_nonblocking(true)
        .map_err(|error| unusable(&address, error))?;
    let file = match &address {
        Address::Path(path) => identity(path),
        Address::Abstract(_) => None,
    };
    Ok(Bound {
        listener,
        address,
        replaces_dead: false,
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

fn lock(directory: &Path) -> Result<Flock<fs::File>, String> {
    let cannot = |why: &dyn fmt::Display| {
        format!("cannot lock its directory {}: {why}", directory.display())
    };
    for _ in 0..TRIES {
        let file = fs::File::open(directory).map_err(|error| cannot(&error))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, Errno::EWOULDBLOCK)) => std::thread::sleep(BETWEEN_TRIES),
            Err((_, errno)) => return Err(cannot(&errno.desc())),
        }
    }
    Err(cannot(&"another process holds the lock"))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests;
