//! Low descriptor numbers under which a child finds what it is handed.
//!
//! A child gets a copy of the daemon's descriptors, hundreds of them with hundreds of services, only to close them: that
//! would be a fifth of what a start costs. Instead it shares the daemon's table (CLONE_FILES) until it takes a copy that
//! ends below a number of its choice (close_range(2), CLOSE_RANGE_UNSHARE). What it needs has to be below that: it is
//! duplicated to numbers that were reserved while the table was still small.
//!
//! Until the child has its copy, both ends of its report are in the table that the daemon uses. So the child says when
//! it has, by a flag in the memory that both share and a line in the report, and [`Lent`] is dropped.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use super::{Handed, Stdio};
use crate::sys::limits;

/// What a child can be handed: its report, standard output and errors, and where it says that it is ready.
const WIDTH: usize = 4;

/// Children that can share the table at the same time. Others get a copy of it all.
const COUNT: usize = 16;

/// A smaller table is copied as fast. The kernel assigns the lowest number, so that a number tells the size.
const SMALL: RawFd = 128;

/// Reserved numbers, shared by all starts of the daemon.
#[derive(Clone, Debug, Default)]
pub struct Slots(Rc<RefCell<Reserved>>);

#[derive(Debug, Default)]
struct Reserved {
    /// What is open under a number that is not lent; None before the first are reserved.
    placeholder: Option<OwnedFd>,
    /// Those that are not lent.
    free: Vec<[RawFd; WIDTH]>,
    /// All are below this.
    end: RawFd,
    /// The kernel or the limit refused.
    is_refused: bool,
}

/// Numbers that a child uses. They are free again when this is dropped: after the child has its own table, or has ended.
#[derive(Debug)]
pub struct Lent {
    numbers: [RawFd; WIDTH],
    used: usize,
    end: RawFd,
    slots: Slots,
}

impl Slots {
    /// Duplicates what a child is handed, and its report. None where the table is small or no number is free: the child
    /// then gets a copy of the table.
    pub(super) fn lend(&self, handed: &Handed, report: RawFd) -> Option<(Lent, Handed)> {
        if report < SMALL || !self.reserve() {
            return None;
        }
        let mut reserved = self.0.borrow_mut();
        let numbers = reserved.free.pop()?;
        let mut lent = Lent {
            numbers,
            used: 0,
            end: reserved.end,
            slots: self.clone(),
        };
        // What is lent is returned to the others below.
        drop(reserved);
        lent.add(report)?;
        let stdio = match handed.stdio {
            Stdio::Inherit => Stdio::Inherit,
            Stdio::Terminal { terminal, reads } => {
                let terminal = lent.add(terminal)?;
                Stdio::Terminal { terminal, reads }
            }
            Stdio::Pipes { out, err } => {
                let (out, err) = (lent.add(out)?, lent.add(err)?);
                Stdio::Pipes { out, err }
            }
        };
        let ready_fd = match handed.ready_fd {
            // The child would overwrite what it still needs.
            Some((_, to)) if lent.numbers.contains(&to) => return None,
            Some((from, to)) => Some((lent.add(from)?, to)),
            None => None,
        };
        let handed = Handed {
            stdio,
            ready_fd,
            ..*handed
        };
        Some((lent, handed))
    }

    /// Whether a child can be lent some, as far as is known.
    pub fn has_free(&self) -> bool {
        let reserved = self.0.borrow();
        reserved.placeholder.is_none() || !reserved.free.is_empty()
    }

    /// How many children are lent some.
    #[cfg(test)]
    pub(super) fn lent(&self) -> usize {
        let reserved = self.0.borrow();
        reserved
            .placeholder
            .as_ref()
            .map_or(0, |_| COUNT - reserved.free.len())
    }

    /// Reserves numbers at the first call. False where that is refused.
    fn reserve(&self) -> bool {
        let mut reserved = self.0.borrow_mut();
        if reserved.placeholder.is_none() && !reserved.is_refused {
            match reserve() {
                Some(new) => *reserved = new,
                None => reserved.is_refused = true,
            }
        }
        !reserved.is_refused
    }
}

fn reserve() -> Option<Reserved> {
    if !limits::has_room_for(WIDTH * COUNT) {
        return None;
    }
    // SAFETY: a new descriptor, which this object owns.
    let placeholder = unsafe {
        match libc::eventfd(0, libc::EFD_CLOEXEC) {
            fd @ 0.. => OwnedFd::from_raw_fd(fd),
            _ => return None,
        }
    };
    let mut all = Vec::with_capacity(WIDTH * COUNT);
    while all.len() < WIDTH * COUNT {
        all.push(placeholder.try_clone().ok()?);
    }
    let end = all.iter().map(|fd| fd.as_raw_fd() + 1).max()?;
    // They stay open for as long as the daemon runs.
    let numbers: Vec<RawFd> = all
        .into_iter()
        .map(std::os::fd::IntoRawFd::into_raw_fd)
        .collect();
    let (groups, _) = numbers.as_chunks::<WIDTH>();
    Some(Reserved {
        placeholder: Some(placeholder),
        free: groups.to_vec(),
        end,
        is_refused: false,
    })
}

impl Lent {
    /// The number of the child's report.
    pub(super) fn report(&self) -> RawFd {
        self.numbers[0]
    }

    /// The first number that the child does not need.
    pub(super) fn end(&self) -> RawFd {
        self.end
    }

    /// Another descriptor; None where it cannot be duplicated.
    fn add(&mut self, fd: RawFd) -> Option<RawFd> {
        let number = *self.numbers.get(self.used)?;
        self.used += 1;
        duplicate(fd, number).then_some(number)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut reserved = self.slots.0.borrow_mut();
        let placeholder = reserved.placeholder.as_ref().map(AsRawFd::as_raw_fd);
        for number in self.numbers.iter().take(self.used) {
            placeholder.map(|placeholder| duplicate(placeholder, *number));
        }
        reserved.free.push(self.numbers);
    }
}

/// In place of what is open under the number (dup3(2)).
fn duplicate(fd: RawFd, number: RawFd) -> bool {
    // SAFETY: the number is reserved for this.
    unsafe { libc::dup3(fd, number, libc::O_CLOEXEC) == number }
}
