//! The lock that a starting daemon holds on the socket's directory while it looks for another one and
//! binds (flock(2)).
//!
//! A process that can open a file can lock it. A directory that other users may read is therefore not what
//! is locked: a file in it is, which they cannot open, and which is removed again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{BETWEEN_TRIES, TRIES};

/// The file in a directory that others may read.
const NAME: &str = ".go-overlay.lock";

/// The bits of a mode that let other users open a directory.
const OTHERS_READ: u32 = 0o044;

/// Held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: Flock<File>,
    /// Removed at the end; None where the directory itself is locked.
    path: Option<PathBuf>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is still held, so that it is not the next holder's.
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Waits half a second at most. `mode` is the directory's.
///
/// # Errors
/// In words, when it cannot be opened or another daemon holds it.
pub(super) fn lock(directory: &Path, mode: u32) -> Result<Lock, String> {
    let cannot = |why: &dyn std::fmt::Display| {
        format!("cannot lock its directory {}: {why}", directory.display())
    };
    let path = (mode & OTHERS_READ != 0).then(|| directory.join(NAME));
    for _ in 0..TRIES {
        let opened = match &path {
            Some(path) => open_private(path),
            None => File::open(directory),
        };
        let file = opened.map_err(|error| cannot(&error))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) if is_in_place(&file, path.as_deref()) => {
                return Ok(Lock { _file: file, path });
            }
            // The holder before us has removed it meanwhile.
            Ok(_) => {}
            Err((_, Errno::EWOULDBLOCK)) => std::thread::sleep(BETWEEN_TRIES),
            Err((_, errno)) => return Err(cannot(&errno.desc())),
        }
    }
    Err(cannot(&"another process holds the lock"))
}

/// Opens or creates a file that only its owner can open.
fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options.open(path)
}

/// Whether the file is still the one of its name.
fn is_in_place(file: &File, path: Option<&Path>) -> bool {
    let Some(path) = path else {
        return true;
    };
    let (Ok(ours), Ok(there)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}
