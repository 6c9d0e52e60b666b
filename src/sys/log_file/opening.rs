//! How a log file is opened: so that no other user decides which of root's files is written.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, fchown};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{major, minor};
use nix::unistd::dup3;

use super::Owner;
use crate::sys::guarded::{self, Links, Place, Rights};

/// The mode of a new log file.
const MODE: u32 = 0o640;

/// Opens a log file for appending; where it is missing it is made, and given to `owner`.
///
/// # Errors
/// Those of the kernel, and in words what is refused.
pub(super) fn open(path: &Path, owner: Owner) -> io::Result<File> {
    match open_once(path, owner) {
        // Somebody else made it meanwhile.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => open_once(path, owner),
        result => result,
    }
}

/// Why a log file cannot be opened, for the user.
pub(super) fn why(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENXIO) => "nobody reads it".to_owned(),
        _ => error.to_string(),
    }
}

fn open_once(path: &Path, owner: Owner) -> io::Result<File> {
    let place = find(path)?;
    if place.metadata().is_err() {
        return create(&place, owner);
    }
    let file = place.open(OFlag::O_WRONLY | OFlag::O_APPEND)?;
    let found = file.metadata()?;
    if !place.trusted {
        refuse_what_others_may_have_put_there(&found)?;
    }
    if is_the_daemons_own(&found) {
        return Err(io::Error::other(
            "it is the daemon's own standard output, where the lines go anyhow; remove log_file",
        ));
    }
    Ok(file)
}

/// Where a log file is. Links are followed as far as nobody but root and the daemon's user can have made them.
pub(super) fn find(path: &Path) -> io::Result<Place> {
    guarded::find(path, &Rights::of(None), Links::Refused)
}

fn create(place: &Place, owner: Owner) -> io::Result<File> {
    let file = place.folder.create(&place.name, MODE)?;
    // What a link leads to is not given away.
    if let Some((uid, gid)) = owner.filter(|_| !place.linked) {
        // Only root may give files away; the lines are written either way.
        let _ = fchown(&file, Some(uid), Some(gid));
    }
    Ok(file)
}

/// A device would be acted upon, and a second link leads to a file that has its place elsewhere.
fn refuse_what_others_may_have_put_there(found: &Metadata) -> io::Result<()> {
    if !found.is_file() && !found.file_type().is_fifo() {
        return Err(io::Error::other("it is neither a regular file nor a pipe"));
    }
    if found.is_file() && found.nlink() > 1 {
        return Err(io::Error::other(
            "it has a second hard link, and another user can write its folder; remove the link",
        ));
    }
    Ok(())
}

/// Written twice, each line would appear twice; what goes to /dev/null may.
fn is_the_daemons_own(file: &Metadata) -> bool {
    let device = file.rdev();
    let is_null = file.file_type().is_char_device() && (major(device), minor(device)) == (1, 3);
    !is_null && (is_open_as(file, libc::STDOUT_FILENO) || is_open_as(file, libc::STDERR_FILENO))
}

fn is_open_as(file: &Metadata, fd: RawFd) -> bool {
    // SAFETY: standard output and standard error stay open for the daemon's life, and are not closed here.
    let own = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    own.metadata().is_ok_and(|own| guarded::is_same(&own, file))
}

/// Puts a file in the place of another one, under its number: the higher numbers are for others.
pub(super) fn replace(old: File, new: File) -> File {
    let mut old = OwnedFd::from(old);
    match dup3(&new, &mut old, OFlag::O_CLOEXEC) {
        Ok(()) => old.into(),
        Err(_) => new,
    }
}
