//! The heap (malloc_trim(3)).

/// Gives pages that nothing lies in back to the kernel. The allocator does so by itself at the end of the heap only,
/// and what is in use there keeps all the holes before it. It looks through the whole heap: for rare occasions.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number and touches only memory that is not in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
