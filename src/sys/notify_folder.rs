//! The directory of the notify sockets: one a daemon, which others can pass through and neither list nor change.
//! Each socket in it belongs to the user of its service, so that no other user (root aside) can send to it, and fill
//! it; those of services of root's have paths that no other user can find out. Where there is no place for such a directory, the sockets are abstract ones (unix(7)), which any user of the
//! network namespace can fill.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::socket::{UnixAddr, bind};
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;

use super::random;

/// What the name of each such directory begins with.
const PREFIX: &str = "go-overlay-notify-";

/// Entries of a place that are looked at for what killed daemons left.
const MAX_LOOKED_AT: usize = 4096;

/// The name of a socket in a directory of its own.
const UNLISTED: &str = "socket";

/// Where a directory for sockets could not be made.
const NOWHERE: &str = "no directory for notify sockets";

/// A directory of this daemon's own. It is removed by [`Folder::remove`], or by a later daemon that finds the lock
/// free.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: Flock<File>,
}

/// A socket's file; it goes with this.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// It has a directory of its own.
    is_alone: bool,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        if let Some(directory) = self.path.parent().filter(|_| self.is_alone) {
            let _ = fs::remove_dir(directory);
        }
    }
}

impl SocketFile {
    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path is in no list that another user can read.
    pub fn is_unlisted(&self) -> bool {
        self.is_alone
    }

    /// Gives it to the user that sends to it. Its directory is the daemon's alone, so that no link can be in its place.
    ///
    /// # Errors
    /// When the daemon may not give files away; then every user can send to it, and only the sender's credentials
    /// tell whom to believe.
    pub fn give_to(&self, uid: u32) -> io::Result<()> {
        if uid == geteuid().as_raw() {
            return Ok(());
        }
        std::os::unix::fs::lchown(&self.path, Some(uid), None).inspect_err(|_| {
            let _ = fs::set_permissions(&self.path, Permissions::from_mode(0o666));
        })
    }
}

impl Folder {
    /// Makes one at the first place that takes it, and removes what daemons that were killed left there.
    ///
    /// # Errors
    /// Why the last place does not take it.
    pub fn make() -> io::Result<Folder> {
        let mut refused = io::Error::new(io::ErrorKind::NotFound, NOWHERE);
        for place in places() {
            remove_stale(&place);
            match Folder::make_in(&place) {
                Ok(folder) => return Ok(folder),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn make_in(place: &Path) -> io::Result<Folder> {
        let path = place.join(format!("{PREFIX}{:016x}", random::unguessable() as u64));
        // Its name is new, or this fails: no other user's directory is ever used.
        DirBuilder::new().mode(0o700).create(&path)?;
        let made = own_directory(&path).and_then(|directory| {
            // Others pass through, whatever the umask.
            nix::sys::stat::fchmod(&directory, Mode::from_bits_truncate(0o711))?;
            Flock::lock(directory, FlockArg::LockExclusiveNonblock)
                .map_err(|(_, errno)| errno.into())
        });
        match made {
            Ok(lock) => Ok(Folder { path, _lock: lock }),
            Err(error) => {
                let _ = fs::remove_dir(&path);
                Err(error)
            }
        }
    }

    /// Binds a datagram socket to a new file that only the daemon's user can send to. A program that starts as root
    /// (`is_own`, where that is the daemon's user) may change its user itself, and goes on to speak: see
    /// `bind_unlisted`.
    ///
    /// # Errors
    /// When the directory is gone.
    pub fn bind(&self, socket: &OwnedFd, is_own: bool) -> io::Result<SocketFile> {
        if is_own
            && geteuid().is_root()
            && let Ok(file) = self.bind_unlisted(socket)
        {
            return Ok(file);
        }
        let path = self
            .path
            .join(format!("{:016x}", random::unguessable() as u64));
        let address = UnixAddr::new(&path)?;
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = bind(socket.as_raw_fd(), &address);
        umask(before);
        bound?;
        let is_alone = false;
        Ok(SocketFile { path, is_alone })
    }

    /// Binds it to a file that every user can send to who knows its path. Only the service's environment tells the
    /// path: its directory has a random name in one that no other user can list, and /proc/net/unix, which every user can
    /// read, shows the path that was bound to, which goes by a descriptor of the daemon's.
    fn bind_unlisted(&self, socket: &OwnedFd) -> io::Result<SocketFile> {
        let directory = self.path.join(format!("{:032x}", random::unguessable()));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let file = SocketFile {
            path: directory.join(UNLISTED),
            is_alone: true,
        };
        let opened = own_directory(&directory)?;
        nix::sys::stat::fchmod(&opened, Mode::from_bits_truncate(0o711))?;
        let by_descriptor = format!("/proc/self/fd/{}/{UNLISTED}", opened.as_raw_fd());
        let address = UnixAddr::new(by_descriptor.as_str())?;
        let before = umask(Mode::from_bits_truncate(0o111));
        let bound = bind(socket.as_raw_fd(), &address);
        umask(before);
        bound?;
        Ok(file)
    }

    /// Removes it, with what is in it.
    pub fn remove(&self) {
        remove_with_sockets(&self.path);
    }
}

/// Directories in which one can be made: the usual one, and those that a read-only container has. The next one is
/// looked at when it is asked for: a mount that hangs at the last one costs nothing where the first one will do.
fn places() -> impl Iterator<Item = PathBuf> {
    let mut places = Vec::new();
    if geteuid().is_root() {
        places.push(PathBuf::from("/run"));
    } else if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        places.push(runtime);
    }
    places.extend(["/dev/shm", "/tmp"].map(PathBuf::from));
    places
        .into_iter()
        .filter(|place| place.is_absolute() && fits(place) && is_safe(place))
}

/// Whether no other user can rename or remove what this one makes in there.
fn is_safe(place: &Path) -> bool {
    let own = |uid: u32| uid == 0 || uid == geteuid().as_raw();
    fs::metadata(place).is_ok_and(|metadata| {
        let (mode, sticky) = (metadata.mode(), 0o1000);
        metadata.is_dir() && own(metadata.uid()) && (mode & 0o022 == 0 || mode & sticky != 0)
    })
}

/// Whether a socket's whole path fits into an address (unix(7)).
fn fits(place: &Path) -> bool {
    let name = PREFIX.len() + 16 + 1 + 32 + 1 + UNLISTED.len() + 1;
    place.as_os_str().len() + name < 108
}

fn own_directory(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = File::from(open(path, flags, Mode::empty())?);
    match directory.metadata()?.uid() == geteuid().as_raw() {
        true => Ok(directory),
        false => Err(Errno::EPERM.into()),
    }
}

/// A directory whose lock is free belongs to no daemon that lives.
fn remove_stale(place: &Path) {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    for entry in entries.take(MAX_LOOKED_AT) {
        if !is_ours(&entry.file_name()) {
            continue;
        }
        let Ok(directory) = own_directory(&entry.path()) else {
            continue;
        };
        if Flock::lock(directory, FlockArg::LockExclusiveNonblock).is_ok() {
            remove_with_sockets(&entry.path());
        }
    }
}

fn is_ours(name: &OsStr) -> bool {
    name.as_bytes().starts_with(PREFIX.as_bytes())
}

fn remove_with_sockets(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        if fs::remove_file(&path).is_err() {
            // The directory of one file.
            let _ = fs::remove_file(path.join(UNLISTED));
            let _ = fs::remove_dir(path);
        }
    }
    let _ = fs::remove_dir(path);
}
