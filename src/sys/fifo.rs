//! FIFOs (fifo(7)) without a reader: whether one can come back, and an event when it does.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, fstatfs};

/// The file system of pipes without a name (PIPEFS_MAGIC).
const PIPEFS: FsType = FsType(0x5049_5045);

/// Whether a process can still open the pipe behind an open descriptor by its name.
pub fn has_name(fd: BorrowedFd<'_>) -> bool {
    let links = fstat(fd).is_ok_and(|status| status.st_nlink > 0);
    links && fstatfs(fd).is_ok_and(|system| system.filesystem_type() != PIPEFS)
}

/// Readable when a process has opened a file (inotify(7), IN_OPEN). The kernel wakes no writer of a FIFO for that.
#[derive(Debug)]
pub struct OpenWatch {
    inotify: OwnedFd,
}

impl OpenWatch {
    /// Watches the file behind an open descriptor.
    ///
    /// # Errors
    /// Without /proc, and when the user has no inotify instance left (`fs.inotify.max_user_instances`).
    pub fn new(fd: RawFd) -> io::Result<OpenWatch> {
        // SAFETY: takes flags only.
        let inotify = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        if inotify < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and belongs to this handle alone.
        let inotify = unsafe { OwnedFd::from_raw_fd(inotify) };
        let path = CString::new(format!("/proc/self/fd/{fd}"))?;
        // SAFETY: the path is a string that ends with a NUL.
        let watch =
            unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), libc::IN_OPEN) };
        match watch {
            0.. => Ok(OpenWatch { inotify }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Takes the events, so that the next one is reported.
    pub fn clear(&self) {
        let mut events = [0; 4096];
        while nix::unistd::read(&self.inotify, &mut events).is_ok_and(|count| count > 0) {}
    }
}

impl AsRawFd for OpenWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.inotify.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::fs::{File, OpenOptions, remove_file};
    use std::os::fd::AsFd;
    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::stat::Mode;

    use super::*;

    fn is_readable(watch: &OpenWatch) -> bool {
        let timeout = PollTimeout::try_from(Duration::ZERO).unwrap();
        let mut fds = [PollFd::new(watch.inotify.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, timeout).unwrap() > 0
    }

    #[test]
    fn a_fifo_has_a_name_until_it_is_removed_and_tells_who_opens_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        let both = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        assert!(has_name(both.as_fd()));
        let watch = OpenWatch::new(both.as_raw_fd()).unwrap();
        assert!(!is_readable(&watch));
        File::open(&path).unwrap();
        assert!(is_readable(&watch));
        watch.clear();
        assert!(!is_readable(&watch));
        remove_file(&path).unwrap();
        assert!(!has_name(both.as_fd()));
    }

    #[test]
    fn a_pipe_has_no_name() {
        let (_reader, writer) = std::io::pipe().unwrap();
        assert!(!has_name(writer.as_fd()));
    }
}
