//! Numbers that no other process can guess (getrandom(2)). The standard library's RandomState ends the program where a
//! filter refuses the call and there is no /dev/urandom; this has a third source.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hasher};

/// What getauxval(3) points to under AT_RANDOM, in bytes.
const SEED_BYTES: usize = 16;

thread_local! {
    /// Numbers that were made from the seed.
    static MADE: Cell<u64> = const { Cell::new(0) };
}

/// 128 bits. Never waits for entropy.
pub fn unguessable() -> u128 {
    let mut bytes = [0; size_of::<u128>()];
    // SAFETY: the kernel writes at most that many bytes.
    let filled = unsafe {
        libc::syscall(
            libc::SYS_getrandom,
            bytes.as_mut_ptr(),
            bytes.len(),
            libc::GRND_NONBLOCK,
        )
    };
    match usize::try_from(filled) {
        Ok(filled) if filled == bytes.len() => u128::from_ne_bytes(bytes),
        _ => from_seed(),
    }
}

/// A hash of the random bytes that the kernel gave this process at its execution, and of a counter.
fn from_seed() -> u128 {
    let made = MADE.with(|made| made.replace(made.get().wrapping_add(1)));
    let seed = seed();
    let half = |which: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write(&seed);
        hasher.write_u64(made);
        hasher.write_u8(which);
        u128::from(hasher.finish())
    };
    (half(0) << 64) | half(1)
}

fn seed() -> [u8; SEED_BYTES] {
    // SAFETY: a read of the vector that the kernel passed.
    let place = unsafe { libc::getauxval(libc::AT_RANDOM) };
    let place = place as *const [u8; SEED_BYTES];
    // SAFETY: where it is not null, it points to that many bytes, which stay as long as the process.
    unsafe { place.as_ref() }.copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_comes_twice_from_either_source() {
        assert_ne!(unguessable(), unguessable());
        assert_ne!(from_seed(), from_seed());
        assert_ne!(seed(), [0; SEED_BYTES]);
    }
}
