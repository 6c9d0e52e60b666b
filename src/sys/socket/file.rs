//! The file of a socket that is listened on: which one it is, and its removal.

use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::sys::local;

/// Device and inode.
type Identity = (u64, u64);

/// Dropping it removes the file, if that is still this one.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Identity,
    folder: Option<LocalFolder>,
}

/// The folder that it is in, held, on a file system that asks no server: whatever is mounted over the path later, the
/// file is removed without a wait.
#[derive(Debug)]
struct LocalFolder {
    folder: OwnedFd,
    name: OsString,
}

impl SocketFile {
    /// None where it is gone already.
    pub fn at(path: &Path) -> Option<SocketFile> {
        let metadata = fs::symlink_metadata(path).ok()?;
        Some(SocketFile {
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
            folder: LocalFolder::of(path),
        })
    }

    /// Whether its removal waits for no server.
    pub fn is_local(&self) -> bool {
        self.folder.is_some()
    }

    /// Where it is removed by a child that holds none of this process's descriptors.
    pub fn by_path(&self) -> impl FnOnce() + use<> {
        let (path, identity) = (self.path.clone(), self.identity);
        move || remove(&path, identity)
    }

    /// Leaves the file to another process.
    pub fn leave(self) {
        let _ = std::mem::ManuallyDrop::new(self);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        match &self.folder {
            Some(folder) => folder.remove(self.identity),
            None => remove(&self.path, self.identity),
        }
    }
}

impl LocalFolder {
    fn of(path: &Path) -> Option<LocalFolder> {
        let name = path.file_name()?.to_owned();
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = open(parent.unwrap_or(Path::new(".")), flags, Mode::empty()).ok()?;
        local::is_local(&folder).then_some(LocalFolder { folder, name })
    }

    fn remove(&self, identity: Identity) {
        let name = self.name.as_os_str();
        let found = fstatat(&self.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        if found.is_ok_and(|found| (found.st_dev, found.st_ino) == identity) {
            let _ = unlinkat(&self.folder, name, UnlinkatFlags::NoRemoveDir);
        }
    }
}

fn remove(path: &Path, identity: Identity) {
    let found = fs::symlink_metadata(path);
    if found.is_ok_and(|found| (found.dev(), found.ino()) == identity) {
        let _ = fs::remove_file(path);
    }
}
