//! Memory that the caller can do without.

use std::cell::Cell;

thread_local! {
    static MAY_FAIL: Cell<bool> = const { Cell::new(false) };
}

/// Runs `allocate`, which copes with a refusal, so that nothing is taken from what is kept for those that cannot
/// (`sys::reserve`).
pub fn fallibly<T>(allocate: impl FnOnce() -> T) -> T {
    let before = MAY_FAIL.replace(true);
    let result = allocate();
    MAY_FAIL.set(before);
    result
}

/// Whether what is being allocated now may be refused.
pub fn may_fail() -> bool {
    MAY_FAIL.try_with(Cell::get).unwrap_or(false)
}

/// Makes room for `more` bytes; false where the system grants none.
#[inline]
pub fn make_room(bytes: &mut Vec<u8>, more: usize) -> bool {
    bytes.capacity() - bytes.len() >= more || grow(bytes, more)
}

#[cold]
fn grow(bytes: &mut Vec<u8>, more: usize) -> bool {
    // Twice as much, in order to grow seldom, or what is needed.
    fallibly(|| bytes.try_reserve(more).is_ok() || bytes.try_reserve_exact(more).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_or_refused() {
        let mut bytes = vec![1, 2, 3];
        assert!(make_room(&mut bytes, 100));
        assert!(bytes.capacity() >= 103);
        assert!(!make_room(&mut bytes, usize::MAX / 2 - 200));
        assert_eq!(bytes, [1, 2, 3]);
        assert!(!may_fail());
        assert!(fallibly(may_fail));
    }
}
