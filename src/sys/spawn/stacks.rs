//! Stacks for children that share the daemon's memory.

use std::cell::RefCell;
use std::io;
use std::ptr;
use std::rc::Rc;

/// The child's stack, in bytes. It calls a handful of functions that hold next to nothing.
const STACK_BYTES: usize = 32 * 1024;

/// The pages of a stack (mmap(2)): in the heap they would leave holes.
#[derive(Debug)]
struct Pages(ptr::NonNull<libc::c_void>);

impl Pages {
    fn new() -> io::Result<Pages> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: new pages at a place of the kernel's choice.
        let place = unsafe { libc::mmap(ptr::null_mut(), STACK_BYTES, access, kind, -1, 0) };
        match ptr::NonNull::new(place) {
            Some(place) if place.as_ptr() != libc::MAP_FAILED => Ok(Pages(place)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the pages are this object's own, and no child is on them.
        unsafe { libc::munmap(self.0.as_ptr(), STACK_BYTES) };
    }
}

/// Stacks that children have left, for the next ones: while many are started, one by one is mapped, touched and unmapped
/// otherwise, which costs a tenth of all that the daemon does for a start. As many as were in use at a time.
#[derive(Clone, Debug, Default)]
pub struct Stacks(Rc<RefCell<Vec<Pages>>>);

impl Stacks {
    /// A stack for one child.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub(super) fn take(&self) -> io::Result<Stack> {
        let left = self.0.borrow_mut().pop();
        Ok(Stack {
            pages: Some(left.map_or_else(Pages::new, Ok)?),
            stacks: self.clone(),
        })
    }

    /// Unmaps those that are not in use but one, for the next restart: it holds a page.
    pub fn give_back(&self) {
        let mut left = self.0.borrow_mut();
        left.truncate(1);
        left.shrink_to_fit();
    }
}

/// One that a child is on. Dropped, when the child has left it, it goes back to the others.
#[derive(Debug)]
pub(super) struct Stack {
    pages: Option<Pages>,
    stacks: Stacks,
}

impl Stack {
    /// Where it begins: it grows downwards.
    pub fn top(&self) -> *mut libc::c_void {
        let start = self.pages.as_ref().map(|pages| pages.0.as_ptr());
        // SAFETY: one past the end of the pages.
        start.map_or(ptr::null_mut(), |start| unsafe {
            start.byte_add(STACK_BYTES)
        })
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.stacks.0.borrow_mut().extend(self.pages.take());
    }
}
