//! A short text in memory that a child shares with the daemon (mmap(2), MAP_SHARED): where the child is. A child that
//! hangs in the kernel cannot report it in any other way, and writing it costs no system call.

use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// The memory, which is the longest text too: a page.
const BYTES: usize = 4096;

/// The text. It ends at the first zero, or where the memory does.
#[derive(Debug)]
pub struct SharedText(NonNull<AtomicU8>);

impl SharedText {
    /// An empty one, for a process and those that it forks from now on.
    ///
    /// # Errors
    /// When no memory is left.
    pub fn new() -> io::Result<SharedText> {
        let length = NonZeroUsize::new(BYTES).unwrap_or(NonZeroUsize::MIN);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, which replaces none.
        let memory = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_SHARED) }?;
        Ok(SharedText(memory.cast()))
    }

    fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: the mapping has this size, begins with zeroes, and lives as long as this object. Other processes change
        // single bytes of it, which is what the type is for.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), BYTES) }
    }

    /// Replaces the text. What is too long is cut.
    pub fn set(&self, text: &[u8]) {
        let (places, room) = (self.bytes(), BYTES - 1);
        let text = text.iter().take(room).chain(&[0]);
        for (place, byte) in places.iter().zip(text) {
            place.store(*byte, Ordering::Relaxed);
        }
    }

    /// The text as it is now, which the other process may be about to change.
    pub fn get(&self) -> Vec<u8> {
        let bytes = self.bytes().iter().map(|byte| byte.load(Ordering::Relaxed));
        bytes.take_while(|byte| *byte != 0).collect()
    }
}

impl Drop for SharedText {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by this object, and no reference to it is left.
        let _ = unsafe { munmap(self.0.cast(), BYTES) };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_text_replaces_the_one_before() {
        let text = SharedText::new().unwrap();
        assert_eq!(text.get(), b"");
        text.set(b"/a/long/path");
        assert_eq!(text.get(), b"/a/long/path");
        text.set(b"/short");
        assert_eq!(text.get(), b"/short");
        text.set(&[b'x'; BYTES + 10]);
        assert_eq!(text.get().len(), BYTES - 1);
    }
}
