//! Pseudo-terminals (pty(7)): what a service writes to by default.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::termios::{LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr};

use super::descriptors;

/// Both ends of a pseudo-terminal.
#[derive(Debug)]
pub struct Pty {
    /// The daemon's end; does not block.
    pub master: OwnedFd,
    /// The service's end.
    pub slave: OwnedFd,
}

impl Pty {
    /// Opens a pair with raw output (no CR is added) and no echo.
    ///
    /// # Errors
    /// When none is to be had: no devpts mounted, or `kernel.pty.max` reached.
    pub fn open(rows: u16, columns: u16) -> io::Result<Pty> {
        let master = match open_master("/dev/ptmx") {
            // Only where there is none: what is wrong with one that exists is worth telling.
            Err(error) if error.kind() == io::ErrorKind::NotFound => open_master("/dev/pts/ptmx")?,
            result => result?,
        };
        let unlock: libc::c_int = 0;
        // SAFETY: TIOCSPTLCK reads an int.
        if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &unlock) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let slave = open_peer(&master).or_else(|_| open_slave_by_path(&master))?;
        make_raw(&slave)?;
        set_size(&master, rows, columns)?;
        Ok(Pty { master, slave })
    }
}

fn open_master(path: &str) -> io::Result<OwnedFd> {
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    Ok(OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path)?
        .into())
}

/// The slave without a path, so that no devpts need be mounted where we look; since Linux 4.13.
fn open_peer(master: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes flags and gives a new descriptor.
    match unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) } {
        // SAFETY: the descriptor is new, valid and nobody else's.
        slave @ 0.. => Ok(unsafe { OwnedFd::from_raw_fd(slave) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// For kernels without `TIOCGPTPEER`.
fn open_slave_by_path(master: &OwnedFd) -> io::Result<OwnedFd> {
    let mut number: libc::c_uint = 0;
    // SAFETY: TIOCGPTN fills an unsigned int.
    if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(format!("/dev/pts/{number}"))?
        .into())
}

fn make_raw(slave: &OwnedFd) -> io::Result<()> {
    let mut settings = tcgetattr(slave)?;
    settings.output_flags.remove(OutputFlags::OPOST);
    settings.local_flags.remove(
        LocalFlags::ECHO
            | LocalFlags::ECHOE
            | LocalFlags::ECHOK
            | LocalFlags::ECHONL
            | LocalFlags::ECHOCTL
            | LocalFlags::ECHOKE,
    );
    Ok(tcsetattr(slave, SetArg::TCSANOW, &settings)?)
}

/// Sets the size that programs on the terminal see.
///
/// # Errors
/// When the descriptor is no terminal.
pub fn set_size(terminal: &impl AsRawFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads a winsize.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Rows and columns of the terminal behind a descriptor; None where it is none, or does not know.
pub fn size(fd: RawFd) -> Option<(u16, u16)> {
    if descriptors::kind(fd) != libc::S_IFCHR {
        return None;
    }
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ fills a winsize.
    let known = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) } == 0;
    (known && size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_row, size.ws_col))
}

/// The columns of the terminal that standard output is.
pub fn width_of_stdout() -> Option<usize> {
    size(1).map(|(_, columns)| usize::from(columns))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::fs::File;
    use std::io::{Read, Write};

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    #[test]
    fn output_is_raw_and_input_is_not_echoed() {
        let Pty { master, slave } = Pty::open(24, 80).unwrap();
        let (mut master, mut slave) = (File::from(master), File::from(slave));
        slave.write_all(b"a\tb\nc\r\n\xff").unwrap();
        master.write_all(b"typed\n").unwrap();
        let mut buffer = [0; 64];
        let count = master.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"a\tb\nc\r\n\xff");
        let nothing = master.read(&mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let count = slave.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"typed\n");
    }

    #[test]
    fn has_a_size_and_is_inherited_by_nobody() {
        let Pty { master, slave } = Pty::open(24, 80).unwrap();
        assert_eq!(size_of_terminal(&slave), (24, 80));
        set_size(&master, 50, 132).unwrap();
        assert_eq!(size_of_terminal(&slave), (50, 132));
        for end in [&master, &slave] {
            assert_eq!(fcntl(end, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
        }
        let flags = |end: &OwnedFd| OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL).unwrap());
        assert!(flags(&master).contains(OFlag::O_NONBLOCK));
        assert!(!flags(&slave).contains(OFlag::O_NONBLOCK));
        assert!(set_size(&File::open("/dev/null").unwrap(), 1, 1).is_err());
    }

    #[test]
    fn the_path_leads_to_the_same_slave() {
        let Pty { master, slave } = Pty::open(24, 80).unwrap();
        let by_path = open_slave_by_path(&master).unwrap();
        let device = |fd: &OwnedFd| nix::sys::stat::fstat(fd).unwrap().st_rdev;
        assert_eq!(device(&by_path), device(&slave));
    }

    fn size_of_terminal(terminal: &OwnedFd) -> (u16, u16) {
        size(terminal.as_raw_fd()).unwrap()
    }
}
