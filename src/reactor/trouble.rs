//! When the kernel refuses the loop what it lives on: to wait for events, to read signals, to set a
//! timer. A refusal that passes costs a moment, in which everything is looked at without
//! being told; one that lasts ends everything in order, since a daemon that hears nothing is no supervisor.

use std::io;
use std::time::Duration;

use super::Reactor;
use crate::base::Moment;
use crate::supervisor::event::Event;

/// After a refusal everything is looked at again so much later.
pub(super) const AGAIN: Duration = Duration::from_millis(100);

/// Refusals in a row that the daemon lives through; with [`AGAIN`] between them these are two seconds.
const MOST: u32 = 20;

/// Waits in a row that a signal may cut short without any event. A daemon that is stopped and continued
/// sees one each time, but not so many a second.
const MOST_INTERRUPTIONS: u32 = 100;

/// Refusals further apart than this do not belong together.
const APART: Duration = Duration::from_secs(1);

/// What was refused lately.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    waits: Row,
    interruptions: Row,
    signals: Row,
    reaping: Row,
    /// Everything is to be looked at once more, soon.
    again: bool,
    /// Said already, and not to be said again before it went well once.
    said_timer: bool,
    said_accept: bool,
}

/// Refusals in a row.
#[derive(Debug, Default)]
struct Row {
    count: u32,
    last: Option<Moment>,
}

impl Row {
    fn add(&mut self, now: Moment) -> u32 {
        if self.last.is_none_or(|last| now.since(last) > APART) {
            self.count = 0;
        }
        self.last = Some(now);
        self.count += 1;
        self.count
    }

    fn clear(&mut self) {
        *self = Row::default();
    }
}

impl Trouble {
    /// How long to wait for events at most; None: for ever.
    pub fn patience(&self) -> Option<Duration> {
        self.again.then_some(AGAIN)
    }

    /// Whether everything is to be looked at in this turn.
    pub fn take_again(&mut self) -> bool {
        std::mem::take(&mut self.again)
    }
}

impl Reactor {
    /// What came of waiting for events.
    pub(super) fn after_wait(&mut self, waited: io::Result<()>, heard: bool, now: Moment) {
        let error = match waited {
            Ok(()) => {
                self.trouble.waits.clear();
                if heard {
                    self.trouble.interruptions.clear();
                }
                return;
            }
            Err(error) => error,
        };
        if error.kind() == io::ErrorKind::Interrupted
            && self.trouble.interruptions.add(now) <= MOST_INTERRUPTIONS
        {
            return;
        }
        // The events are not lost: who waits for them next is told.
        self.trouble.again = true;
        self.streams.look_at_all();
        let count = self.trouble.waits.add(now);
        self.refused("wait for events", &error, count, now);
        self.signals.wait(AGAIN);
    }

    /// The signals could not be read: they are still there.
    pub(super) fn cannot_read_signals(&mut self, error: &io::Error, now: Moment) {
        self.trouble.again = true;
        let count = self.trouble.signals.add(now);
        self.refused("read signals", error, count, now);
    }

    pub(super) fn reads_signals(&mut self) {
        self.trouble.signals.clear();
    }

    /// Children could not be reaped; they are looked for again.
    pub(super) fn cannot_reap(&mut self, error: &io::Error, now: Moment) {
        self.trouble.again = true;
        let count = self.trouble.reaping.add(now);
        self.refused("ask for ended processes", error, count, now);
    }

    pub(super) fn reaps(&mut self) {
        self.trouble.reaping.clear();
    }

    /// A timer could not be set, or could.
    pub(super) fn after_arming(&mut self, armed: io::Result<()>) {
        let Err(error) = armed else {
            self.trouble.said_timer = false;
            return;
        };
        self.trouble.again = true;
        if !std::mem::replace(&mut self.trouble.said_timer, true) {
            self.messages.push(format!(
                "cannot set a timer: {error}; looking at the clock instead"
            ));
        }
    }

    /// A connection waits that could not be taken; it is tried again.
    pub(super) fn cannot_accept(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.trouble.said_accept, true) {
            self.messages.push(format!(
                "cannot take a client's connection: {error}; trying again"
            ));
        }
    }

    /// Every connection was taken.
    pub(super) fn accepts(&mut self) {
        self.trouble.said_accept = false;
    }

    fn refused(&mut self, what: &str, error: &io::Error, count: u32, now: Moment) {
        match count {
            1 => self
                .messages
                .push(format!("cannot {what}: {error}; trying again")),
            MOST => {
                let reason = format!("cannot {what}: {error}");
                self.tell(Event::Unable { reason }, now);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_close_together_are_a_row() {
        let mut row = Row::default();
        let at = |millis| Moment(0).after(Duration::from_millis(millis));
        assert_eq!([row.add(at(0)), row.add(at(900))], [1, 2]);
        assert_eq!(row.add(at(2000)), 1);
        row.clear();
        assert_eq!(row.add(at(2001)), 1);
    }
}
