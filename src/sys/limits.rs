//! The daemon's own descriptor limit: lifted to the hard one, given back to children as it was
//! (getrlimit(2)). Programs that use select(2) break with a soft limit beyond 1024.

use std::os::fd::RawFd;
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

/// Descriptors that services leave free, for clients, checks and whatever else has to be opened; a quarter
/// of them all where there are few.
const KEPT_FROM_SERVICES: u64 = 32;

/// Who opens a descriptor, the more modest one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A service's terminal or pipe, for as long as it runs, and its log file.
    Service,
    /// A client's connection; half of what services leave is left by clients too.
    Client,
}

/// Whether a descriptor that was just opened is one of those that its holder has to leave free. The kernel hands out
/// the lowest number, so a high one says that all below are taken.
pub fn is_kept_free(fd: RawFd, holder: Holder) -> bool {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return false;
    };
    u64::try_from(fd).is_ok_and(|fd| fd >= bound(limit, holder))
}

fn bound(limit: u64, holder: Holder) -> u64 {
    let kept = KEPT_FROM_SERVICES.min(limit / 4);
    match holder {
        Holder::Service => limit - kept,
        Holder::Client => limit - kept / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_leave_some_to_clients_and_these_to_the_daemon() {
        for limit in [0, 1, 16, 64, 128, 1024, 1 << 20, u64::MAX] {
            let (service, client) = (bound(limit, Holder::Service), bound(limit, Holder::Client));
            assert!(service <= client && client <= limit, "{limit}");
            assert!(service >= limit / 4 * 3, "{limit}");
        }
        assert_eq!(bound(1024, Holder::Service), 1024 - 32);
        assert_eq!(bound(1024, Holder::Client), 1024 - 16);
        assert_eq!(bound(64, Holder::Service), 48);
        assert!(!is_kept_free(3, Holder::Service));
        assert!(is_kept_free(RawFd::MAX, Holder::Client));
    }
}
