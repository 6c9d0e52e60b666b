//! The terminal that the daemon was started on, and the process group that has its foreground (tcsetpgrp(3)).

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::base::{Pid, Signal};

/// How a main program's process changed without ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A signal stopped it.
    Stopped(Signal),
    /// It goes on.
    Continued,
}

/// What has happened to a child since this was last asked: the last of it; None for nothing. Takes no end of the
/// process: that is for the one that reaps.
pub fn change_of(child: Pid) -> Option<Change> {
    let mut last = None;
    while let Some(change) = next_change_of(child) {
        last = Some(change);
    }
    last
}

fn next_change_of(child: Pid) -> Option<Change> {
    // SAFETY: all zeros is a valid siginfo_t; the kernel fills it, and leaves the process id 0 for nothing.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG;
        let id = libc::id_t::try_from(child.0).ok()?;
        if libc::waitid(libc::P_PID, id, &raw mut info, options) != 0 || info.si_pid() == 0 {
            return None;
        }
        match info.si_code {
            libc::CLD_CONTINUED => Some(Change::Continued),
            _ => Signal::from_number(info.si_status()).map(Change::Stopped),
        }
    }
}

/// The daemon's controlling terminal.
#[derive(Debug)]
pub struct Terminal {
    fd: RawFd,
    _opened: Option<OwnedFd>,
}

impl Terminal {
    /// The terminal that is standard input, where a main program is to have its foreground before it asks for it.
    /// None where standard output is a pipe: what reads from that may need the terminal too (`… -- git log | less`),
    /// and the foreground is one group's.
    pub fn of_a_program() -> Option<Terminal> {
        Terminal::standard(0).filter(|_| !is_pipe(1))
    }

    /// The controlling terminal wherever it is; None where there is none.
    pub fn find() -> Option<Terminal> {
        (0..=2).find_map(Terminal::standard).or_else(|| {
            let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
            let mut options = OpenOptions::new();
            let opened = options.read(true).custom_flags(flags).open("/dev/tty");
            opened.ok().map(|file| Terminal {
                fd: file.as_raw_fd(),
                _opened: Some(file.into()),
            })
        })
    }

    fn standard(fd: RawFd) -> Option<Terminal> {
        // SAFETY: both calls take numbers only.
        let is_controlling = unsafe { libc::tcgetsid(fd) == libc::getsid(0) };
        is_controlling.then_some(Terminal { fd, _opened: None })
    }

    /// Whether the daemon's own group has the foreground.
    pub fn is_ours(&self) -> bool {
        // SAFETY: both calls take numbers only.
        unsafe { libc::tcgetpgrp(self.fd) == libc::getpgrp() }
    }

    /// Gives the foreground to a process group of the daemon's session (setsid(2)); false where that is refused. SIGTTOU is blocked, so
    /// that a group in the background may do this.
    pub fn give_to(&self, group: Pid) -> bool {
        // SAFETY: the call takes numbers only.
        unsafe { libc::tcsetpgrp(self.fd, group.0) == 0 }
    }

    /// Takes the foreground for the daemon's own group.
    pub fn take_back(&self) {
        // SAFETY: the call takes numbers only.
        self.give_to(Pid(unsafe { libc::getpgrp() }));
    }
}

impl AsRawFd for Terminal {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

fn is_pipe(fd: RawFd) -> bool {
    // SAFETY: all zeros is a valid stat; the kernel fills it.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        libc::fstat(fd, &raw mut stat) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFIFO
    }
}
