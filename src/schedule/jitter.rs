//! The fixed delay of a service's runs.

use std::time::Duration;

/// A delay from zero up to `most`, in whole seconds, that depends on the host and the service alone: the interval
/// between runs stays regular, and hosts of one image differ.
pub fn offset(most: Duration, host: &str, service: &str) -> Duration {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325; // FNV-1a
    for byte in host.bytes().chain([0]).chain(service.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // Its low bits alone differ little between names that differ in their last letter.
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 29;
    Duration::from_secs(hash % (most.as_secs() + 1))
}
