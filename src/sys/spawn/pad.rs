//! The launch pad: a few low descriptors on which a child's own are laid out before the clone.
//!
//! A child that copies the daemon's table of descriptors, and closes each of them when it executes its program, pays
//! for every service that already runs: a thousand services are a thousand times two thousand closings. So the child
//! shares the table at first, and takes a copy of its lowest part only: close_range(2) with CLOSE_RANGE_UNSHARE up to
//! the end copies nothing of what it would close. What the child needs has to be in that part.

use std::ffi::CStr;
use std::os::fd::RawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// /dev/null, and places for standard output or the terminal, for standard errors, and for readiness.
const PLACES: usize = 4;

/// The pad's descriptors, all of them /dev/null while nothing is launched; None where there is no /dev/null.
static DESCRIPTORS: OnceLock<Option<[RawFd; PLACES]>> = OnceLock::new();

/// Somebody launches. One thread does in the daemon; tests have several.
static BUSY: AtomicBool = AtomicBool::new(false);

/// The pad in use; everything on it is taken off when it is dropped.
#[derive(Debug)]
pub(super) struct Pad {
    descriptors: [RawFd; PLACES],
    used: usize,
}

impl Pad {
    /// The pad, unless it is in use or cannot be made.
    pub fn claim() -> Option<Pad> {
        if cfg!(valgrind) {
            // It knows no clone(2) that shares the table of descriptors and not the signal handlers.
            return None;
        }
        let descriptors = (*DESCRIPTORS.get_or_init(build))?;
        let is_free = !BUSY.swap(true, Ordering::Acquire);
        is_free.then_some(Pad {
            descriptors,
            used: 0,
        })
    }

    /// /dev/null, for reading.
    pub fn null(&self) -> RawFd {
        self.descriptors[0]
    }

    /// Lays out a copy of a descriptor; its number there. None when that cannot be.
    pub fn lay_out(&mut self, fd: RawFd) -> Option<RawFd> {
        let place = *self.descriptors.get(self.used + 1)?;
        copy_to(fd, place).then(|| {
            self.used += 1;
            place
        })
    }

    /// The first number that a child needs nothing of.
    pub fn end(&self) -> RawFd {
        self.descriptors
            .into_iter()
            .max()
            .map_or(0, |last| last + 1)
    }
}

impl Drop for Pad {
    fn drop(&mut self) {
        for place in &self.descriptors[1..=self.used] {
            copy_to(self.null(), *place);
        }
        BUSY.store(false, Ordering::Release);
    }
}

fn build() -> Option<[RawFd; PLACES]> {
    const NULL: &CStr = c"/dev/null";
    let mut descriptors = [-1; PLACES];
    for place in &mut descriptors {
        // SAFETY: a path that ends with a zero, and numbers.
        *place = unsafe { libc::open(NULL.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    }
    // Standard descriptors are never closed in the daemon, so none of these is below 3 there.
    if descriptors.iter().all(|place| *place > 2) {
        return Some(descriptors);
    }
    for place in descriptors.into_iter().filter(|place| *place >= 0) {
        // SAFETY: a descriptor that was opened above, and is nobody else's.
        unsafe { libc::close(place) };
    }
    None
}

/// As dup2(2), close-on-exec.
fn copy_to(from: RawFd, to: RawFd) -> bool {
    // SAFETY: a system call on numbers; `to` is one of the pad's.
    unsafe { libc::dup3(from, to, libc::O_CLOEXEC) >= 0 }
}
