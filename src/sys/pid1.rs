//! The duties of an init: to be the one who adopts orphans.

use std::io;

/// Whether this process is the init of its namespace, which adopts orphans by duty.
pub fn is_pid1() -> bool {
    std::process::id() == 1
}

/// Adopts the orphans among our descendants (PR_SET_CHILD_SUBREAPER in prctl(2)); PID 1 does so anyway.
///
/// # Errors
/// On kernels before 3.4.
pub fn become_subreaper() -> io::Result<()> {
    if is_pid1() {
        return Ok(());
    }
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}
