//! What the daemon gives back to the kernel when the work of a moment is done.
//!
//! Reading a configuration, starting everything and answering a client touch most of the program and a good part of
//! the heap and the stack once; waiting for the next event needs a page or two. Pages of the program's file stay in
//! the kernel's cache and are mapped again when they are needed, at a microsecond for sixteen of them, or some more on
//! a virtual machine that has rested.

use std::os::fd::BorrowedFd;

/// Returns free heap, unused stack and the mapping of the program's own code and constants to the kernel, and waits until there
/// is something to read from `events`, for instance an epoll(7); it may return before. The wait is part of it: on the
/// way to any other place the code in between would be mapped again, sixteen pages at a time. None of what it does is
/// felt but in time: about 50 µs, and the faults of what is needed again.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
pub fn give_back_and_wait(events: BorrowedFd<'_>) {
    give_back_heap();
    if let (Some(code), Some(stack)) = (lean::code(), lean::unused_stack()) {
        lean::unmap_and_wait([stack, code], events);
    }
}

/// Returns free heap to the kernel.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
pub fn give_back_heap() {
    // SAFETY: takes a number; it frees what is free.
    unsafe { libc::malloc_trim(0) };
}

/// Elsewhere the program shares its code with others, and the heap is another.
#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
pub fn give_back_and_wait(_: BorrowedFd<'_>) {}

/// See above.
#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
pub fn give_back_heap() {}

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
mod lean {
    use std::os::fd::{AsRawFd, BorrowedFd};

    use crate::sys::syscall;

    /// A main thread's stack that grew beyond this, in bytes, is left as it is.
    const STACK_BYTES: usize = 1024 * 1024;

    /// Whole pages.
    pub struct Range {
        start: usize,
        bytes: usize,
    }

    impl Range {
        fn between(start: usize, end: usize, page: usize) -> Option<Range> {
            let start = start.next_multiple_of(page);
            let bytes = (end / page * page).checked_sub(start)?;
            Some(Range { start, bytes })
        }
    }

    /// Constants and code up to the first byte that is ever written: relocations are in later pages.
    pub fn code() -> Option<Range> {
        unsafe extern "C" {
            // The linker's names for the first byte of the program and for the end of its code (end(3)).
            static __executable_start: u8;
            static etext: u8;
        }
        let start = (&raw const __executable_start).addr();
        Range::between(start, (&raw const etext).addr(), page()?)
    }

    /// What the main thread's stack has below the present frame; empty on another thread's.
    pub fn unused_stack() -> Option<Range> {
        let here = 0u8;
        let here = (&raw const here).addr();
        // SAFETY: takes a number. The kernel put these bytes above the first frame of the main thread (getauxval(3)).
        let top = usize::try_from(unsafe { libc::getauxval(libc::AT_RANDOM) }).ok()?;
        let page = page()?;
        let is_main = here < top && top - here < STACK_BYTES;
        // A page for the frames from here to the system call.
        let end = here.checked_sub(page).filter(|_| is_main);
        let end = end.unwrap_or(0);
        Range::between(end.saturating_sub(STACK_BYTES), end, page)
    }

    fn page() -> Option<usize> {
        // SAFETY: takes a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(page).ok().filter(|page| *page > 0)
    }

    /// All calls are made by one instruction: a second one might be on another page.
    #[inline(never)]
    pub fn unmap_and_wait(ranges: [Range; 2], events: BorrowedFd<'_>) {
        let mut poll = libc::pollfd {
            fd: events.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let unmap = |range: Range| {
            let advice = libc::MADV_DONTNEED as usize;
            (libc::SYS_madvise, [range.start, range.bytes, advice, 0, 0])
        };
        let [first, second] = ranges.map(unmap);
        let wait = (libc::SYS_ppoll, [(&raw mut poll).addr(), 1, 0, 0, 0]);
        for (number, arguments) in std::hint::black_box([first, second, wait]) {
            // SAFETY: the kernel reads code and constants from the program's file again; nothing is kept below the
            // stack's present end; no other mapping is within its reach, since the kernel leaves a gap below a main
            // stack that is larger than this range. The poll structure outlives its call. An error changes nothing.
            unsafe { syscall::call(number, arguments) };
        }
    }
}
