//! When the memory that rare work took is returned to the kernel: before the loop rests, and not between two requests of
//! a client that asks in a row.

use std::time::Duration;

use crate::base::Moment;

/// What clients took is returned this long after one of them has left: the next one may follow at once.
const AFTER_A_CLIENT: Duration = Duration::from_millis(500);

pub(super) struct Tidiness {
    /// Memory is returned before the next rest.
    is_due: bool,
    /// When it becomes due because of clients.
    at: Option<Moment>,
}

impl Tidiness {
    /// The start is such work.
    pub fn new() -> Tidiness {
        Tidiness {
            is_due: true,
            at: None,
        }
    }

    /// Much was done that is seldom done.
    pub fn ask(&mut self) {
        self.is_due = true;
    }

    /// A client has left.
    pub fn ask_after_client(&mut self, now: Moment) {
        self.at.get_or_insert(now.after(AFTER_A_CLIENT));
    }

    /// Not before then, and not at all where there is no such moment.
    pub fn ask_at(&mut self, at: Option<Moment>) {
        self.at = at;
    }

    pub fn is_due(&self) -> bool {
        self.is_due
    }

    /// Whether it is due, the last time that this is asked for it.
    pub fn take(&mut self) -> bool {
        std::mem::take(&mut self.is_due)
    }

    pub fn deadline(&self) -> Option<Moment> {
        self.at
    }

    pub fn on_deadline(&mut self, now: Moment) {
        self.is_due |= self.at.take_if(|at| *at <= now).is_some();
    }
}
