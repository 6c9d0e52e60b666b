//! The control socket: where it lives, who may use it, and that there is only one.
//!
//! A path is used only in a directory that nobody but its owner can write to, so that no other user
//! can have made it first. Where there is no such directory (a read-only root), the socket is an
//! abstract one (unix(7)), named after the PID namespace and the user; it has no permissions, so both
//! ends look at the other's credentials (SO_PEERCRED).

mod connect;
mod file;
mod lock;
mod peer;
mod places;

pub use connect::{ConnectError, connect};
pub use peer::{Peer, accept, may_change, peer};

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};
use nix::unistd::geteuid;

use super::{aside, released};
use file::SocketFile;

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

/// A socket that is listened on. Dropping it removes its file, if that is still ours.
#[derive(Debug)]
pub struct Bound {
    /// Does not block.
    pub listener: UnixListener,
    /// Where.
    pub address: Address,
    /// A dead daemon's socket was in its place: that daemon ended without cleaning up.
    pub replaces_dead: bool,
    file: Option<SocketFile>,
}

impl Bound {
    /// Removes its file as dropping does, but waits for that at most so long: where its file system may ask a server, a
    /// child removes it, which dies with the daemon.
    pub fn remove_within(mut self, at_most: Duration) {
        let Some(file) = self.file.take_if(|file| !file.is_local()) else {
            return;
        };
        let remove = file.by_path();
        // Where no child can be started, dropping removes it.
        if let Ok(child) = aside::start(c"go-overlay:end", |_| remove()) {
            file.leave();
            aside::wait(&[child.socket.as_raw_fd()], at_most);
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
            Address::Abstract(name) => bind_abstract(&name, true),
        };
    }
    // Daemons of different users have different places: one at a time looks at all of them and binds.
    let _turn = take_turn();
    let places = places::to_look();
    if let Some(running) = places.iter().find_map(|place| live_daemon(place, false)) {
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
    let own = geteuid().as_raw();
    match bind_abstract(&places::abstract_name(own), false) {
        // Another container of the pod has it, or a process of another PID namespace.
        Err(BindError::Unusable { .. }) if places::may_be_held_by_user(own) => {
            bind_abstract(&places::container_name(own), false)
        }
        result => result,
    }
}

/// Holds an abstract name, which only one process can have. Another user who sits on it costs the start
/// half a second and nothing else.
fn take_turn() -> Option<OwnedFd> {
    let address = UnixAddr::new_abstract(places::starting_name().as_bytes()).ok()?;
    let socket = new_socket(SockFlag::SOCK_NONBLOCK).ok()?;
    for _ in 0..TRIES {
        match nix::sys::socket::bind(socket.as_raw_fd(), &address) {
            Err(Errno::EADDRINUSE) => std::thread::sleep(BETWEEN_TRIES),
            Err(_) => return None,
            Ok(()) => return Some(socket),
        }
    }
    None
}

/// The daemon at a place, if one is alive there that is believed. `named`: the user named the place.
fn live_daemon(address: &Address, named: bool) -> Option<BindError> {
    let running = |pid| BindError::AlreadyRunning {
        address: address.clone(),
        pid,
    };
    match open_stream(address) {
        Ok(stream) => {
            let peer = peer(stream.as_fd()).ok()?;
            refusal(peer, address, named)
                .is_none()
                .then(|| running(peer.pid))
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

/// Why the process that listens there is not believed to be the daemon; None when it is. Any user can take
/// an abstract name, and a default one may be taken by a process that is not of this container.
fn refusal(peer: Peer, address: &Address, named: bool) -> Option<String> {
    let trusted = match address {
        Address::Path(path) => {
            // Root named a directory that only its owner can write to: what listens there is the owner's.
            let directory = path.parent().filter(|_| named && geteuid().is_root());
            peer::is_trusted(peer) || directory.and_then(places::owner_of_closed) == Some(peer.uid)
        }
        Address::Abstract(_) => peer::is_trusted(peer),
    };
    if !trusted {
        let uid = peer.uid;
        return Some(format!(
            "it belongs to another user ({uid}); run the command as that user"
        ));
    }
    match address {
        // A name is that of a user; credentials of another one are those of a process that has changed its own.
        Address::Abstract(name) if !named && places::user_of(name) != Some(peer.uid) => {
            let uid = peer.uid;
            Some(format!("it belongs to user {uid}, whose name it is not"))
        }
        Address::Abstract(_) if !named && peer.pid <= 0 => {
            Some("it belongs to a process of another PID namespace".into())
        }
        Address::Abstract(_) if !named && peer::is_in_another_container(peer.pid) => {
            let pid = peer.pid;
            Some(format!("it belongs to another container (pid {pid})"))
        }
        Address::Abstract(_) | Address::Path(_) => None,
    }
}

/// Never waits: EAGAIN where too many wait at the door already.
fn open_stream(address: &Address) -> nix::Result<UnixStream> {
    let socket = new_socket(SockFlag::SOCK_NONBLOCK)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &unix_address(address)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false).map_err(errno)?;
    Ok(stream)
}

/// Waits that long at most, and then EAGAIN. Writing to the stream has the same bound.
fn open_stream_within(address: &Address, patience: Duration) -> nix::Result<UnixStream> {
    let address = unix_address(address)?;
    let stream = UnixStream::from(new_socket(SockFlag::empty())?);
    // The kernel applies it to connect(2), too (socket(7), SO_SNDTIMEO).
    stream.set_write_timeout(Some(patience)).map_err(errno)?;
    loop {
        match nix::sys::socket::connect(stream.as_raw_fd(), &address) {
            Err(Errno::EINTR) => {}
            result => return result.map(|()| stream),
        }
    }
}

fn unix_address(address: &Address) -> nix::Result<UnixAddr> {
    match address {
        Address::Path(path) => UnixAddr::new(path),
        Address::Abstract(name) => UnixAddr::new_abstract(name.as_bytes()),
    }
}

fn errno(error: io::Error) -> Errno {
    let number = error.raw_os_error();
    number.map_or(Errno::UnknownErrno, Errno::from_raw)
}

fn new_socket(flags: SockFlag) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | flags;
    nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

fn bind_abstract(name: &str, named: bool) -> Result<Bound, BindError> {
    let address = Address::Abstract(name.to_owned());
    let socket_address =
        SocketAddr::from_abstract_name(name).map_err(|error| unusable(&address, error))?;
    match UnixListener::bind_addr(&socket_address) {
        Ok(listener) => finish(listener, address),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(live_daemon(&address, named)
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
    let mode = prepare_directory(directory).map_err(|why| unusable(&address, why))?;
    // Two daemons that start at the same time: one of them looks and binds at a time.
    let _lock = lock::lock(directory, mode).map_err(|why| unusable(&address, why))?;
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
    // No request brings any.
    released::refuse_descriptors(listener.as_fd());
    let file = match &address {
        Address::Path(path) => SocketFile::at(path),
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
/// Returns its mode.
fn prepare_directory(directory: &Path) -> Result<u32, String> {
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
    Ok(mode)
}

#[cfg(test)]
mod tests;
