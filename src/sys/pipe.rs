//! Pipes (pipe(2)): what a service with `tty = false` writes into.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Room in a pipe: the service writes on while the daemon looks at what it has read. The kernel takes the
/// memory only as it is used, and refuses when a user without privilege has too much of it (pipe(7)).
const ROOM_BYTES: i32 = 256 * 1024;

/// A pipe: the daemon's reading end, which does not block, and the service's writing end, which does.
///
/// # Errors
/// When no descriptor is left.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((read, write))
}

/// Gives a pipe that is used much more room. The usual room does too, so nothing is said where that is refused.
pub fn widen(pipe: impl AsFd) {
    let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(ROOM_BYTES));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn only_the_reading_end_does_not_block_and_neither_is_inherited() {
        let (read, write) = pipe().unwrap();
        let flags = |end: &OwnedFd| OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL).unwrap());
        assert!(flags(&read).contains(OFlag::O_NONBLOCK));
        assert!(!flags(&write).contains(OFlag::O_NONBLOCK));
        for end in [&read, &write] {
            assert_eq!(fcntl(end, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
        }
        assert_eq!(nix::unistd::write(&write, b"x").unwrap(), 1);
        let mut buffer = [0; 4];
        assert_eq!(nix::unistd::read(&read, &mut buffer).unwrap(), 1);
        assert_eq!(
            nix::unistd::read(&read, &mut buffer),
            Err(nix::errno::Errno::EAGAIN)
        );
    }
}
