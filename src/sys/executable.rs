//! What makes a script executable: memory in place of a file, and the mode of a file.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::geteuid;

use crate::sys::guarded::{Place, Rights};

/// Where the kernel can tell that this is no program it has to be told so: some are set up to refuse others.
const NOEXEC_SEAL: MFdFlags = MFdFlags::from_bits_retain(0x0008);

/// A text as a file that has no path and can be read by every user (memfd_create(2)).
///
/// # Errors
/// memfd_create(2), write(2), fchmod(2).
pub fn in_memory(text: &[u8]) -> std::io::Result<File> {
    let name: &CStr = c"script";
    let memory =
        memfd_create(name, MFdFlags::MFD_CLOEXEC | NOEXEC_SEAL).or_else(|error| match error {
            Errno::EINVAL => memfd_create(name, MFdFlags::MFD_CLOEXEC),
            other => Err(other),
        })?;
    let mut memory = File::from(memory);
    memory.write_all(text)?;
    // Whoever it runs as opens it anew.
    memory.set_permissions(PermissionsExt::from_mode(0o444))?;
    Ok(memory)
}

/// Whether the user can execute the file, after what can be done for it. The mode is changed through the descriptor
/// whose file was looked at, never by name: in a folder of a service's user the name may stand for another file by
/// then. Such a file is left as it is.
pub fn executes(place: &Place, text: Option<&File>, user: &Rights) -> bool {
    let Ok(found) = place.metadata() else {
        return false;
    };
    let system = place
        .file()
        .and_then(|file| fstatvfs(file).map_err(Into::into));
    let forbidden = system.is_ok_and(|system| system.flags().contains(FsFlags::ST_NOEXEC));
    if forbidden || user.may_execute(found) {
        return !forbidden;
    }
    let is_own = place.trusted && found.uid() == geteuid().as_raw();
    let Some(text) = text.filter(|_| is_own) else {
        return false;
    };
    // Whoever may read it may execute it.
    let mode = found.mode() | (found.mode() & 0o444) >> 2;
    let changed = text.set_permissions(PermissionsExt::from_mode(mode & 0o777));
    changed.is_ok() && text.metadata().is_ok_and(|now| user.may_execute(&now))
}
