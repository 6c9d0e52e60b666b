//! What the daemon gives back to the kernel when the work of a moment is done.
//!
//! Reading a configuration, starting everything and answering a client touch most of the program and a good part of
//! the heap once; waiting for the next event needs a few pages of both. Pages of the program's file stay in the
//! kernel's cache and are mapped again when they are needed, at a microsecond for sixteen of them, or some more on a
//! virtual machine that has rested.

/// Gives back free heap, and the mapping of the program's own code and constants. None of what it does is felt but
/// in time: about 50 µs, and the faults of what is needed again.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
pub fn give_back() {
    // SAFETY: takes a number; it frees what is free.
    unsafe { libc::malloc_trim(0) };
    unmap_code();
}

/// Elsewhere the program shares its code with others, and the heap is another.
#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
pub fn give_back() {}

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
fn unmap_code() {
    unsafe extern "C" {
        // The linker's names for the first byte of the program and for the end of its code (end(3)).
        static __executable_start: u8;
        static etext: u8;
    }
    // SAFETY: takes a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Some(page) = usize::try_from(page).ok().filter(|page| *page > 0) else {
        return;
    };
    let start = (&raw const __executable_start)
        .addr()
        .next_multiple_of(page);
    let end = (&raw const etext).addr() / page * page;
    if let Some(length) = end.checked_sub(start) {
        // SAFETY: constants and code up to here are mapped from the file and never written: relocations are in
        // later pages. The kernel reads them from the file again. An error changes nothing.
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
    }
}
