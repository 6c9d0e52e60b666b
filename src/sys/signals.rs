//! The daemon's signals as a descriptor (signalfd(2)): blocked, and read in the loop, so that no
//! handler ever runs in between.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::Signal;

/// What the daemon reads. SIGTTIN and SIGTTOU are blocked beside them: handing the terminal to the main
/// program's group and back must not stop the daemon.
const WATCHED: [Signal; 9] = [
    Signal::CHLD,
    Signal::TERM,
    Signal::INT,
    Signal::QUIT,
    Signal::RTMIN_3,
    Signal::HUP,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
];

/// Signals that were ignored when the program was started, and SIGPIPE, which the daemon ignores itself.
/// An ignored signal stays ignored through exec, so children have to reset exactly these.
static IGNORED: OnceLock<Vec<i32>> = OnceLock::new();

/// The blocked signals, readable.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks the daemon's signals and opens them for reading. Also records what is ignored.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> io::Result<SignalFd> {
        ignored();
        // A parent may have left SIGCHLD ignored; the kernel would then drop every exit status.
        set_disposition(libc::SIGCHLD, libc::SIG_DFL)?;
        // Writing to a reader that is gone is an error to be handled, not the end.
        set_disposition(libc::SIGPIPE, libc::SIG_IGN)?;
        let watched = signal_set(WATCHED.iter().map(|signal| signal.number()));
        let blocked = signal_set(
            WATCHED
                .iter()
                .map(|signal| signal.number())
                .chain([libc::SIGTTIN, libc::SIGTTOU]),
        );
        // SAFETY: both sets are initialised and outlive the calls; a new descriptor is owned by nobody else.
        let fd = unsafe {
            if libc::sigprocmask(libc::SIG_BLOCK, &blocked, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            libc::signalfd(-1, &watched, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and valid.
        Ok(SignalFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next pending signal; None when there is none.
    ///
    /// # Errors
    /// None that a correct caller can provoke.
    pub fn read(&self) -> io::Result<Option<Signal>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = std::mem::size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is of the size that is told.
        let count = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if count == size as isize {
            // SAFETY: the kernel filled the whole structure.
            let number = unsafe { info.assume_init() }.ssi_signo;
            return Ok(i32::try_from(number).ok().and_then(Signal::from_number));
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            error => Err(error),
        }
    }
}

impl SignalFd {
    /// Waits for a signal, so long at most; for a daemon that cannot wait in its usual way.
    pub fn wait(&self, at_most: Duration) {
        let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::ZERO);
        if poll(
            &mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)],
            timeout,
        )
        .is_err()
        {
            std::thread::sleep(at_most);
        }
    }
}

impl AsRawFd for SignalFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Blocks every signal; gives back what was blocked before.
///
/// # Errors
/// None that a correct caller can provoke. The library's own call for this (pthread_sigmask(3)) tells of
/// errors in a way that its wrapper takes for success, with a mask that nobody has written.
pub fn block_all() -> io::Result<libc::sigset_t> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the new set, and the call the old one when it succeeds.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        match libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) {
            0 => Ok(before.assume_init()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Blocks these signals and no others. Where that is refused all stay blocked, which a daemon that reads its
/// signals does not notice.
pub fn set_mask(mask: &libc::sigset_t) {
    // SAFETY: the set is initialised; no old one is asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

/// The numbers of the signals that children have to reset to their default.
pub fn ignored() -> &'static [i32] {
    IGNORED.get_or_init(ignored_now)
}

fn ignored_now() -> Vec<i32> {
    (1..=64)
        .filter(|number| *number == libc::SIGPIPE || is_ignored(*number))
        .collect()
}

/// The kernel's own structure, whose first word is the handler: the library hides signals 32 and 33,
/// which may be ignored all the same.
pub type KernelAction = [usize; 4];

fn is_ignored(number: i32) -> bool {
    let mut action: KernelAction = [0; 4];
    // SAFETY: a null new action only asks; the structure is as large as the kernel's with a mask of 8 bytes.
    let asked = unsafe {
        let none = std::ptr::null::<KernelAction>();
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            none,
            action.as_mut_ptr(),
            8usize,
        )
    };
    asked == 0 && action[0] == libc::SIG_IGN
}

fn set_disposition(number: i32, disposition: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: the disposition is one of the kernel's own; no code of ours is to be run.
    match unsafe { libc::signal(number, disposition) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn signal_set(numbers: impl Iterator<Item = i32>) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set before anything is added.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for number in numbers {
            libc::sigaddset(set.as_mut_ptr(), number);
        }
        set.assume_init()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    /// To this thread alone: the others of the test have not blocked it.
    fn raise(signal: Signal) {
        // SAFETY: the signal is blocked in this thread, so nothing is run by it.
        let result = unsafe { libc::pthread_kill(libc::pthread_self(), signal.number()) };
        assert_eq!(result, 0);
    }

    #[test]
    fn reads_what_is_watched_one_at_a_time() {
        let signals = SignalFd::new().unwrap();
        // Children of other tests may end meanwhile.
        let next = || loop {
            match signals.read().unwrap() {
                Some(Signal::CHLD) => {}
                other => return other,
            }
        };
        assert_eq!(next(), None);
        for signal in WATCHED.into_iter().filter(|signal| *signal != Signal::CHLD) {
            raise(signal);
            assert_eq!(next(), Some(signal));
            assert_eq!(next(), None);
        }
        // Lower numbers come first, and SIGRTMIN+3 comes as often as it was sent.
        for signal in [Signal::RTMIN_3, Signal::TERM, Signal::RTMIN_3, Signal::INT] {
            raise(signal);
        }
        let all: Vec<Signal> = std::iter::from_fn(next).collect();
        assert_eq!(
            all,
            [Signal::INT, Signal::TERM, Signal::RTMIN_3, Signal::RTMIN_3]
        );
    }

    #[test]
    fn blocks_what_the_terminal_would_stop_it_with() {
        let _signals = SignalFd::new().unwrap();
        raise(Signal::from_number(libc::SIGTTOU).unwrap());
        raise(Signal::from_number(libc::SIGTTIN).unwrap());
    }

    #[test]
    fn a_broken_pipe_is_reset_in_children() {
        assert!(ignored().contains(&libc::SIGPIPE));
        assert!(!ignored().contains(&libc::SIGKILL));
    }
}
