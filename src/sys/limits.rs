//! The daemon's own descriptor limit: lifted to the hard one, given back to children as it was
//! (getrlimit(2)). Programs that use select(2) break with a soft limit beyond 1024.

use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

static ORIGINAL: OnceLock<(u64, u64)> = OnceLock::new();

/// Raises the soft limit to the hard one, once; a kernel that refuses leaves it as it is.
pub fn lift_descriptor_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if ORIGINAL.set((soft, hard)).is_ok() && soft < hard {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// The limit that the daemon was started with, soft and hard; None where it was not lifted.
pub fn original_descriptor_limit() -> Option<(u64, u64)> {
    ORIGINAL.get().copied().filter(|(soft, hard)| soft < hard)
}
