//! Descriptors that another process sends along (unix(7), SCM_RIGHTS) and that this one never takes.
//!
//! The kernel drops them when the message is read without room for them, and when a socket is closed in which one
//! still waits. This process does the work then, and the last close of a socket with SO_LINGER (socket(7)) waits
//! for as long as the sender has asked: any process that can send a message could stop the loop for years. The wait
//! ends when a signal is pending. So a timer makes one pending meanwhile.

use std::io;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::signals::{self, Set};

/// After this the kernel stops waiting, in microseconds; and again, where one wait follows another.
const PATIENCE_MICROS: libc::c_long = 1000;

/// Whether messages with descriptors are refused, since Linux 6.16; absent from libc.
const SO_PASSRIGHTS: libc::c_int = 83;

/// While this lives, the kernel waits at most a millisecond for what is released. SIGALRM, which is blocked and read
/// otherwise, is lost where it comes meanwhile.
pub struct Promptly {
    blocked: Set,
    action: libc::sigaction,
}

extern "C" fn nothing(_: libc::c_int) {}

impl Promptly {
    /// None where the kernel refuses it.
    pub fn begin() -> Option<Promptly> {
        // SAFETY: all zeroes is a valid sigaction: the default action.
        let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
        new.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        new.sa_flags = libc::SA_RESTART;
        let mut action = new;
        // SAFETY: both are valid, and the handler does nothing.
        if unsafe { libc::sigaction(libc::SIGALRM, &raw const new, &raw mut action) } != 0 {
            return None;
        }
        let Ok(blocked) = signals::unblock(libc::SIGALRM) else {
            restore(&action);
            return None;
        };
        set_timer(PATIENCE_MICROS);
        Some(Promptly { blocked, action })
    }
}

impl Drop for Promptly {
    fn drop(&mut self) {
        // In this order: what the timer has sent is handled before the signal is blocked, and is never read.
        set_timer(0);
        signals::set_mask(self.blocked);
        restore(&self.action);
    }
}

fn restore(action: &libc::sigaction) {
    // SAFETY: the action was the process's own.
    unsafe { libc::sigaction(libc::SIGALRM, action, std::ptr::null_mut()) };
}

/// Every so many microseconds a SIGALRM, or none (setitimer(2), ITIMER_REAL).
fn set_timer(micros: libc::c_long) {
    const ITIMER_REAL: libc::c_int = 0;
    let spec: [libc::c_long; 4] = [0, micros, 0, micros];
    let none = std::ptr::null_mut::<libc::c_long>();
    // SAFETY: the structure is two times of two words each; the old one is not asked for.
    unsafe { libc::syscall(libc::SYS_setitimer, ITIMER_REAL, spec.as_ptr(), none) };
}

/// Has the kernel refuse messages with descriptors at their sender (EPERM). For a listener this holds for every
/// connection to it, before it is accepted too. False before Linux 6.16.
pub fn refuse_descriptors(socket: BorrowedFd<'_>) -> bool {
    let (off, size): (libc::c_int, _) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the pointer is to a local of the type that the option takes.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const off).cast(),
            size,
        )
    };
    set == 0
}

/// A socket that is closed without a wait, whatever is in it.
#[derive(Debug)]
pub struct ClosedPromptly<T>(ManuallyDrop<T>);

impl<T> ClosedPromptly<T> {
    /// Takes it over.
    pub fn new(socket: T) -> ClosedPromptly<T> {
        ClosedPromptly(ManuallyDrop::new(socket))
    }
}

impl<T> Deref for ClosedPromptly<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for ClosedPromptly<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for ClosedPromptly<T> {
    fn drop(&mut self) {
        let _promptly = Promptly::begin();
        // SAFETY: it is dropped here and nowhere else.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}

/// Reads from a socket whose messages may bring descriptors.
///
/// # Errors
/// As `read` has them.
pub fn read_promptly<T>(
    refuses_descriptors: bool,
    read: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let _promptly = (!refuses_descriptors).then(Promptly::begin);
    read()
}
