//! The daemon's end of the standard output it inherited. Others may hold the same open file, so its
//! O_NONBLOCK is never touched; and nobody may ever block the daemon. A pipe or terminal is opened
//! anew through /proc, which gives a file description of our own; where that is refused there are
//! ways to write that do not block.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::fifo::{self, OpenWatch};
use super::{clock, descriptors};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// PIPE_BUF: what a pipe that polls as writable takes without blocking (pipe(7)), unless another writer
/// comes between the two calls; there is no better way left by then.
const PIPE_BYTES: usize = 4096;

/// A file that takes longer for a write has stopped the loop for too long.
const SLOW: Duration = Duration::from_millis(100);

/// The room that a pseudo-terminal has at least when it polls as writable is 256 bytes.
const TERMINAL_BYTES: usize = 128;

/// How to write without blocking.
#[derive(Debug)]
enum Way {
    /// A file that does not block: of a local file system, or /dev/null.
    Plain,
    /// A regular file of which is not known whether it may block.
    Unknown,
    /// A child that writes to it ([`super::aside`]).
    Aside(UnixStream),
    /// Opened anew, not blocking.
    Own(File),
    /// send(2) with MSG_DONTWAIT.
    Socket,
    /// pwritev2(2) with RWF_NOWAIT, as long as the kernel takes it.
    NoWait,
    /// poll(2) first, and then little at a time.
    Poll,
}

/// A writing end that never blocks.
#[derive(Debug)]
pub struct OutputEnd {
    fd: RawFd,
    way: Way,
    is_terminal: bool,
    is_slow: bool,
}

impl OutputEnd {
    /// The end behind a descriptor that stays open for the program's life (1 or 2).
    pub fn new(fd: RawFd) -> OutputEnd {
        let way = match descriptors::kind(fd) {
            libc::S_IFSOCK => Way::Socket,
            libc::S_IFIFO => reopen_pipe(fd).map_or(Way::NoWait, Way::Own),
            libc::S_IFCHR if is_terminal(fd) => reopen_terminal(fd).map_or(Way::NoWait, Way::Own),
            libc::S_IFREG => Way::Unknown,
            _ => Way::Plain,
        };
        OutputEnd {
            fd,
            way,
            is_terminal: is_terminal(fd),
            is_slow: false,
        }
    }

    /// The same, for a child that may wait.
    pub fn waiting(fd: RawFd) -> OutputEnd {
        OutputEnd {
            fd,
            way: Way::Plain,
            is_terminal: false,
            is_slow: false,
        }
    }

    /// Whether a child has to find out how it can be written to.
    pub fn is_unknown(&self) -> bool {
        matches!(self.way, Way::Unknown)
    }

    /// A write took so long that a child is to make the next ones.
    pub fn is_slow(&self) -> bool {
        self.is_slow && matches!(self.way, Way::Plain)
    }

    /// It is a file that does not block.
    pub fn set_plain(&mut self) {
        self.way = Way::Plain;
    }

    /// A child writes what comes through this socket.
    pub fn hand_over(&mut self, socket: UnixStream) {
        self.way = Way::Aside(socket);
    }

    /// Whether a child writes.
    pub fn is_handed_over(&self) -> bool {
        matches!(self.way, Way::Aside(_))
    }

    /// Writes some of it.
    ///
    /// # Errors
    /// `WouldBlock` when the reader takes no more now; any other error is the end of the reader.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.way {
            Way::Own(file) => file.write(bytes),
            Way::Plain => {
                let began = clock::coarse();
                let result = write_plain(self.fd, bytes);
                self.is_slow |= clock::coarse().since(began) >= SLOW;
                result
            }
            Way::Unknown => Err(io::ErrorKind::WouldBlock.into()),
            Way::Aside(socket) => match send(socket.as_raw_fd(), bytes) {
                // Another child is started when this one has ended.
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                result => result,
            },
            Way::Socket => send(self.fd, bytes),
            Way::NoWait => match write_nowait(self.fd, bytes) {
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        // EPERM is what a filter of system calls says.
                        Some(
                            libc::EOPNOTSUPP
                                | libc::ENOSYS
                                | libc::EINVAL
                                | libc::ESPIPE
                                | libc::EPERM
                        )
                    ) =>
                {
                    self.way = Way::Poll;
                    self.write(bytes)
                }
                result => result,
            },
            Way::Poll => match self.wait_writable(Duration::ZERO)? {
                true => write_plain(self.fd, &bytes[..self.little(bytes)]),
                false => Err(io::ErrorKind::WouldBlock.into()),
            },
        }
    }

    /// How much of it does not block after poll(2) found the descriptor writable.
    fn little(&self, bytes: &[u8]) -> usize {
        let most = match self.is_terminal {
            true => unsplit(bytes).min(TERMINAL_BYTES),
            false => PIPE_BYTES,
        };
        most.min(bytes.len())
    }

    /// Whether another reader may come when there is none: a FIFO, which processes open by its name.
    pub fn may_be_read_again(&self) -> bool {
        // SAFETY: the descriptor is open as long as self is.
        !matches!(self.way, Way::Socket | Way::Unknown | Way::Aside(_))
            && fifo::has_name(unsafe { BorrowedFd::borrow_raw(self.fd) })
    }

    /// Watches for processes that open the FIFO.
    ///
    /// # Errors
    /// As [`OpenWatch::new`].
    pub fn watch_opens(&self) -> io::Result<OpenWatch> {
        OpenWatch::new(self.fd)
    }

    /// What epoll can watch; None where it never has to wait.
    pub fn poll_fd(&self) -> Option<RawFd> {
        match &self.way {
            Way::Own(file) => Some(file.as_raw_fd()),
            Way::Aside(socket) => Some(socket.as_raw_fd()),
            Way::Plain | Way::Unknown => None,
            Way::Socket | Way::NoWait | Way::Poll => Some(self.fd),
        }
    }

    /// Waits until it can be written to, for so long at most; for the daemon's last moments only.
    ///
    /// # Errors
    /// None that a correct caller can provoke.
    pub fn wait_writable(&self, at_most: Duration) -> io::Result<bool> {
        let fd = self.poll_fd().unwrap_or(self.fd);
        // SAFETY: the descriptor is open as long as self is.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
        let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(count) => Ok(count > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a terminal's line discipline passes on in one piece: bytes up to a control character, or such a
/// character alone. A second piece may find no room: the first one claims the whole last buffer.
fn unsplit(bytes: &[u8]) -> usize {
    let run = bytes.iter().position(u8::is_ascii_control);
    run.unwrap_or(bytes.len()).max(1)
}

/// Only a device is asked: the question may go to the server of a file system.
fn is_terminal(fd: RawFd) -> bool {
    // SAFETY: asks about a number.
    descriptors::kind(fd) == libc::S_IFCHR && unsafe { libc::isatty(fd) == 1 }
}

fn reopen_pipe(fd: RawFd) -> io::Result<File> {
    open_not_blocking(&format!("/proc/self/fd/{fd}"))
}

/// A container's terminal often belongs to root while the daemon does not run as root: its path is closed
/// then, but everybody may open the controlling terminal by its general name.
fn reopen_terminal(fd: RawFd) -> io::Result<File> {
    open_not_blocking(&format!("/proc/self/fd/{fd}")).or_else(|error| {
        // SAFETY: asks about a number; an answer is given for the caller's controlling terminal only.
        match unsafe { libc::tcgetsid(fd) } {
            0.. => open_not_blocking("/dev/tty"),
            _ => Err(error),
        }
    })
}

fn open_not_blocking(path: &str) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

fn write_plain(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the buffer is valid for its length.
    result(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

/// Sends some of it to a socket, without waiting and without SIGPIPE (send(2)).
///
/// # Errors
/// `WouldBlock` when there is no room; any other error is the end of the reader.
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the buffer is valid for its length.
    result(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

fn write_nowait(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let slice = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: one slice that is valid for its length and only read; -1 is the current position.
    result(unsafe { libc::pwritev2(fd, &slice, 1, -1, libc::RWF_NOWAIT) })
}

fn result(count: isize) -> io::Result<usize> {
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests;
