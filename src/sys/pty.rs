//! Pseudo-terminals (pty(7)): what a service writes to by default.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::termios::{LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr};

/// Both ends of a pseudo-terminal.
#[derive(Debug)]
pub struct Pty {
    /// The daemon's end; does not block.
    pub master: OwnedFd,
    /// The service's end.
    pub slave: OwnedFd,
}

/// `TIOCGPTPEER` gives the slave without a path, so that no devpts need be mounted where we look.
const SLAVE_FLAGS: i32 = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;

impl Pty {
    /// Opens a pair with raw output (no CR is added) and no echo, 80 columns by 24 rows.
    ///
    /// # Errors
    /// When none is to be had: no devpts mounted, or `kernel.pty.max` reached.
    pub fn open() -> io::Result<Pty> {
        let master = open_master("/dev/ptmx").or_else(|_| open_master("/dev/pts/ptmx"))?;
        let unlock: libc::c_int = 0;
        // SAFETY: TIOCSPTLCK reads an int.
        if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &unlock) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: TIOCGPTPEER takes flags and gives a new descriptor.
        let slave = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, SLAVE_FLAGS) };
        if slave < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, valid and nobody else's.
        let slave = unsafe { OwnedFd::from_raw_fd(slave) };
        make_raw(&slave)?;
        set_size(&master, 24, 80)?;
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

fn make_raw(slave: &OwnedFd) -> io::Result<()> {
    let mut settings = tcgetattr(slave)?;
    settings.output_flags.remove(OutputFlags::OPOST);
    settings.local_flags.remove(
        LocalFlags::ECHO
            | LocalFlags::ECHOE
            | LocalFlags::ECHOK
            | LocalFlags::ECHONL
            | LocalFlags::ECHOCTL,
    );
    Ok(tcsetattr(slave, SetArg::TCSANOW, &settings)?)
}

/// Sets the size that programs on the terminal see.
///
/// # Errors
/// When the descriptor is no terminal.
pub fn set_size(terminal: &OwnedFd, rows: u16, columns: u16) -> io::Result<()> {
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

/// The columns of the terminal that standard output is.
pub fn width_of_stdout() -> Option<usize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ fills a winsize.
    let known = unsafe { libc::ioctl(1, libc::TIOCGWINSZ, &raw mut size) } == 0;
    (known && size.ws_col > 0).then(|| usize::from(size.ws_col))
}
