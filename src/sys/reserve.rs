//! The allocator: the system's, with a reserve.
//!
//! Where memory is bounded (`ulimit -v`, prlimit(2), no overcommitment), an allocation that fails would abort the daemon,
//! and its services with it. So a part of the address space is kept, never touched, and given up when the first
//! allocation fails. The reactor notices that at the end of its turn, makes room, and takes a new reserve. What copes with a
//! refusal itself (`base::allocation::fallibly`) gets nothing of it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use crate::base::allocation;

/// More than what one turn takes without a look at what the system grants.
const BYTES: usize = 4 * 1024 * 1024;

/// Where that is not granted any more, half is asked for, and so on, but no less than this.
const LEAST_BYTES: usize = 256 * 1024;

/// The reserve; null where there is none, or none any more.
static RESERVE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Its length.
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// A reserve was taken once.
static IS_WANTED: AtomicBool = AtomicBool::new(false);

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: every block is the system allocator's, with the layout that was asked for; a second attempt is made only where
// the first one has failed, which leaves the old block as it was.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, here and below.
        with_reserve(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        with_reserve(|| unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        with_reserve(|| unsafe { System.realloc(block, layout, size) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[inline]
fn with_reserve(allocate: impl Fn() -> *mut u8) -> *mut u8 {
    let block = allocate();
    match block.is_null() && give_up() {
        true => allocate(),
        false => block,
    }
}

/// Whether there was a reserve, which is free memory now.
#[cold]
fn give_up() -> bool {
    if allocation::may_fail() {
        return false;
    }
    let reserve = RESERVE.swap(ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: the mapping is ours and of this length, and nothing refers to it: it was taken out just now.
    !reserve.is_null() && unsafe { libc::munmap(reserve, LENGTH.load(Ordering::Acquire)) } == 0
}

/// Takes a reserve, unless there is one; false where the system grants none. It is never touched: a process pays for it with
/// address space alone.
pub fn take() -> bool {
    IS_WANTED.store(true, Ordering::Release);
    if !RESERVE.load(Ordering::Acquire).is_null() {
        return true;
    }
    let lengths = std::iter::successors(Some(BYTES), |length| Some(length / 2));
    for length in lengths.take_while(|length| *length >= LEAST_BYTES) {
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping at a place that the kernel chooses.
        let reserve = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, -1, 0) };
        if reserve != libc::MAP_FAILED {
            LENGTH.store(length, Ordering::Release);
            RESERVE.store(reserve, Ordering::Release);
            return true;
        }
    }
    false
}

/// Whether the reserve was given up since it was taken.
pub fn is_used() -> bool {
    RESERVE.load(Ordering::Acquire).is_null() && IS_WANTED.load(Ordering::Acquire)
}
