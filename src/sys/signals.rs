//! The daemon's signals as a descriptor (signalfd(2)). Every signal is blocked and read in the loop: no handler
//! runs in between, and no signal ends the daemon by its default action, which would leave its services behind.
//! What cannot be blocked still ends it: SIGKILL, SIGSTOP stops it, and a fault of its own (SIGSEGV and the like,
//! which the kernel forces).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::Signal;

/// Signals 1 to 64 as the kernel keeps them: bit n-1 is signal n. The library's own type hides 32 and 33, which
/// end a process as well as others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    /// No signal.
    pub const NONE: Set = Set(0);
    /// Every signal. The kernel takes SIGKILL and SIGSTOP out by itself.
    pub const ALL: Set = Set(u64::MAX);

    fn one(number: i32) -> Set {
        Set(1 << ((number - 1) & 63))
    }

    /// Whether it holds the signal of this number, 1 to 64.
    pub fn contains(self, number: i32) -> bool {
        self.0 & Set::one(number).0 != 0
    }

    fn with(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }

    fn without(self, other: Set) -> Set {
        Set(self.0 & !other.0)
    }

    fn and(self, other: Set) -> Set {
        Set(self.0 & other.0)
    }

    /// For a system call.
    pub fn as_ptr(&self) -> *const u64 {
        &raw const self.0
    }
}

/// The bytes of a set.
pub const SET_BYTES: usize = size_of::<Set>();

/// What the caller left to this process.
#[derive(Clone, Copy, Debug)]
struct Inherited {
    ignored: Set,
    blocked: Set,
}

static INHERITED: OnceLock<Inherited> = OnceLock::new();

/// Rust's start-up ignores SIGPIPE before main begins, so this is recorded before that.
static PIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

extern "C" fn record_sigpipe() {
    PIPE_WAS_IGNORED.store(is_ignored(libc::SIGPIPE), Ordering::Relaxed);
}

/// Functions that the C library calls before main (ELF's initialisation array).
#[used]
// SAFETY: the section holds addresses of functions of this type; this one makes one system call.
#[unsafe(link_section = ".init_array")]
static RECORD_SIGPIPE: extern "C" fn() = record_sigpipe;

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which.
    pub signal: Signal,
    /// From where.
    pub sender: Sender,
}

/// Where a signal comes from (`si_code` in sigaction(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The kernel: a key on the terminal, a hang-up, a child, a limit on CPU time.
    Kernel,
    /// Another process.
    Process,
    /// This process: it wrote to a closed pipe or beyond a limit on file size.
    Own,
}

/// The blocked signals, readable.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks every signal and opens them for reading. Also records what the caller had ignored and blocked.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> io::Result<SignalFd> {
        inherited();
        // A parent may have left SIGCHLD ignored; the kernel would then drop every exit status.
        set_disposition(libc::SIGCHLD, libc::SIG_DFL)?;
        // Writing to a reader that is gone is an error to be handled, not the end.
        set_disposition(libc::SIGPIPE, libc::SIG_IGN)?;
        change_mask(libc::SIG_BLOCK, Set::ALL)?;
        Ok(SignalFd(readable(Set::ALL)?))
    }

    /// The next pending signal; None when there is none.
    ///
    /// # Errors
    /// None that a correct caller can provoke.
    pub fn read(&self) -> io::Result<Option<Received>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = std::mem::size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is of the size that is told.
        let count = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if count == size as isize {
            // SAFETY: the kernel filled the whole structure.
            let info = unsafe { info.assume_init() };
            return Ok(received(&info));
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            error => Err(error),
        }
    }

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

/// A descriptor that is readable while one of these signals is pending.
fn readable(signals: Set) -> io::Result<OwnedFd> {
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    let signals = signals.as_ptr();
    // SAFETY: the kernel reads a set of this size; the library's call would take 32 and 33 out of it.
    let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, signals, SET_BYTES, flags) };
    match RawFd::try_from(fd) {
        // SAFETY: the descriptor is new, valid and owned by nobody else.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The signals that end the daemon, but those that the caller had ignored. They are waited for and stay pending.
#[derive(Debug)]
pub struct EndingSignals(OwnedFd);

impl EndingSignals {
    const ALL: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::RTMIN_3];

    /// How long something may take before it is worth a message.
    const LONG: u16 = 10_000;

    /// They have to be blocked already ([`SignalFd::new`]).
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> io::Result<EndingSignals> {
        let signals = EndingSignals::ALL
            .iter()
            .filter(|signal| !was_ignored(**signal));
        let numbers = signals.map(|signal| Set::one(signal.number()));
        Ok(EndingSignals(readable(numbers.fold(Set::NONE, Set::with))?))
    }

    /// Waits until a descriptor is readable, or `at_most_long` for ten seconds. False when these are over.
    ///
    /// # Errors
    /// The signal that came before.
    pub fn wait_for(&self, other: impl AsFd, at_most_long: bool) -> Result<bool, Signal> {
        let timeout = match at_most_long {
            true => PollTimeout::from(EndingSignals::LONG),
            false => PollTimeout::NONE,
        };
        let mut both = [&self.0 as &dyn AsFd, &other]
            .map(AsFd::as_fd)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let count = poll(&mut both, timeout).unwrap_or(1);
        let pending = pending();
        let came = |signal: &&Signal| pending.contains(signal.number()) && !was_ignored(**signal);
        match EndingSignals::ALL.iter().find(came) {
            Some(signal) => Err(*signal),
            None => Ok(count > 0),
        }
    }
}

/// The signals that were sent and not read.
fn pending() -> Set {
    let mut pending = Set::NONE;
    // SAFETY: the kernel fills a set of this size.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending.0, SET_BYTES) };
    pending
}

fn received(info: &libc::signalfd_siginfo) -> Option<Received> {
    let signal = Signal::from_number(i32::try_from(info.ssi_signo).ok()?)?;
    // Above 0 the kernel says what happened; 0 and below say by which call a process sent it.
    let sender = match info.ssi_code {
        1.. => Sender::Kernel,
        _ if info.ssi_pid == std::process::id() => Sender::Own,
        _ => Sender::Process,
    };
    Some(Received { signal, sender })
}

impl AsRawFd for SignalFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Blocks every signal; returns what was blocked before.
///
/// # Errors
/// None that a correct caller can provoke. The library's own call for this (pthread_sigmask(3)) reports errors in a
/// way that its wrapper takes for success.
pub fn block_all() -> io::Result<Set> {
    change_mask(libc::SIG_SETMASK, Set::ALL)
}

/// Blocks these signals and no others. Where that is refused all stay blocked, which a daemon that reads its
/// signals does not notice.
pub fn set_mask(mask: Set) {
    let _ = change_mask(libc::SIG_SETMASK, mask);
}

/// Unblocks one signal; returns what was blocked before.
///
/// # Errors
/// None that a correct caller can provoke.
pub(super) fn unblock(number: i32) -> io::Result<Set> {
    change_mask(libc::SIG_UNBLOCK, Set::one(number))
}

fn change_mask(how: libc::c_int, set: Set) -> io::Result<Set> {
    let mut before = Set::NONE;
    let (new, old) = (set.as_ptr(), &raw mut before.0);
    // SAFETY: both sets are of this size and outlive the call.
    match unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, new, old, SET_BYTES) } {
        0 => Ok(before),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Does what a stop signal (SIGTSTP, SIGTTIN, SIGTTOU) does by default: this process is stopped, unless nothing
/// could continue it (PID 1, an orphaned process group; setpgid(2)). Returns once it was continued, or at once;
/// the answer is whether it was stopped.
pub fn stop(signal: Signal, whole_group: bool) -> bool {
    let whom = match whole_group {
        true => 0,
        false => std::process::id().cast_signed(),
    };
    // SAFETY: kill takes numbers only. The signal is blocked, and so waits for the next call.
    unsafe { libc::kill(whom, signal.number()) };
    let Ok(before) = unblock(signal.number()) else {
        return false;
    };
    set_mask(before);
    // Only SIGCONT continues a process, and it is not read yet.
    pending().contains(libc::SIGCONT)
}

/// How a child begins its life with signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Signals to be set to their default action.
    pub to_default: Set,
    /// Signals to be ignored.
    pub to_ignored: Set,
    /// What is blocked.
    pub blocked: Set,
}

impl Start {
    /// Nothing is ignored and nothing blocked. An ignored signal stays ignored through exec, so it is exactly these
    /// that have to be reset.
    pub fn by_default() -> Start {
        Start {
            to_default: inherited().ignored.with(Set::one(libc::SIGPIPE)),
            to_ignored: Set::NONE,
            blocked: Set::NONE,
        }
    }

    /// As if the caller had started the child itself: `nohup`, `trap '' INT`.
    pub fn as_inherited() -> Start {
        let Inherited { ignored, blocked } = *inherited();
        Start {
            to_default: Set::one(libc::SIGPIPE).without(ignored),
            to_ignored: Set::one(libc::SIGCHLD).and(ignored),
            blocked,
        }
    }
}

/// Whether the caller had this signal ignored.
pub fn was_ignored(signal: Signal) -> bool {
    inherited().ignored.contains(signal.number())
}

fn inherited() -> &'static Inherited {
    INHERITED.get_or_init(|| {
        let others = (1..=64).filter(|number| *number != libc::SIGPIPE && is_ignored(*number));
        let pipe = PIPE_WAS_IGNORED.load(Ordering::Relaxed);
        let ignored = others
            .chain(pipe.then_some(libc::SIGPIPE))
            .fold(Set::NONE, |all, number| all.with(Set::one(number)));
        Inherited {
            ignored,
            // An empty set of signals to block only asks.
            blocked: change_mask(libc::SIG_BLOCK, Set::NONE).unwrap_or(Set::NONE),
        }
    })
}

/// The kernel's own structure, whose first word is the handler: the library hides signals 32 and 33,
/// which may be ignored all the same.
pub type KernelAction = [usize; 4];

fn is_ignored(number: i32) -> bool {
    let mut action: KernelAction = [0; 4];
    // SAFETY: a null new action only asks; the structure is as large as the kernel's with a mask of 8 bytes.
    let asked = unsafe {
        let none = ptr::null::<KernelAction>();
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            none,
            action.as_mut_ptr(),
            SET_BYTES,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    /// To this thread alone: the others of the test have not blocked it.
    fn raise(signal: Signal) {
        // SAFETY: the signal is blocked in this thread, so nothing is run by it. The library's call refuses 32 and 33.
        let result = unsafe {
            let thread = libc::syscall(libc::SYS_gettid);
            libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal.number())
        };
        assert_eq!(result, 0);
    }

    #[test]
    fn reads_every_signal_one_at_a_time() {
        let signals = SignalFd::new().unwrap();
        // Children of other tests may end meanwhile.
        let next = || loop {
            match signals.read().unwrap() {
                Some(received) if received.signal == Signal::CHLD => {}
                other => return other.map(|received| received.signal),
            }
        };
        assert_eq!(next(), None);
        for number in (1..=64)
            .filter(|number| ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(number))
        {
            let signal = Signal::from_number(number).unwrap();
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
    fn knows_what_it_sent_itself() {
        let signals = SignalFd::new().unwrap();
        raise(Signal::USR1);
        let sender = signals.read().unwrap().unwrap().sender;
        assert_eq!(sender, Sender::Own);
    }

    #[test]
    fn a_service_begins_with_defaults_and_a_main_program_as_the_caller_had_it() {
        let (service, main) = (Start::by_default(), Start::as_inherited());
        assert!(service.to_default.contains(libc::SIGPIPE));
        assert!(!service.to_default.contains(libc::SIGKILL));
        assert_eq!(service.blocked, Set::NONE);
        let ignored = was_ignored(Signal::from_number(libc::SIGPIPE).unwrap());
        assert_eq!(main.to_default.contains(libc::SIGPIPE), !ignored);
    }
}
