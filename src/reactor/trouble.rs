//! When the kernel refuses the loop what it lives on: to wait for events, to read signals, to set a
//! timer. A refusal that passes costs a moment, in which everything is looked at without
//! being told; one that lasts ends everything in order, since a daemon that hears nothing is no supervisor.

use std::io;
use std::time::Duration;

use super::context::Context;
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

    /// What came of waiting for events. Returns whether the wait was refused: what it would have reported is looked at
    /// without, and a pause of [`AGAIN`] keeps the loop from spinning.
    pub fn after_wait(
        &mut self,
        waited: io::Result<()>,
        heard: bool,
        cx: &mut Context<'_>,
    ) -> bool {
        let error = match waited {
            Ok(()) => {
                self.waits.clear();
                if heard {
                    self.interruptions.clear();
                }
                return false;
            }
            Err(error) => error,
        };
        if error.kind() == io::ErrorKind::Interrupted
            && self.interruptions.add(cx.now) <= MOST_INTERRUPTIONS
        {
            return false;
        }
        // The events are not lost: who waits for them next is told.
        self.again = true;
        let count = self.waits.add(cx.now);
        refused("wait for events", &error, count, cx);
        true
    }

    /// The signals could not be read: they are still there.
    pub fn cannot_read_signals(&mut self, error: &io::Error, cx: &mut Context<'_>) {
        self.again = true;
        let count = self.signals.add(cx.now);
        refused("read signals", error, count, cx);
    }

    pub fn reads_signals(&mut self) {
        self.signals.clear();
    }

    /// Children could not be reaped; they are looked for again.
    pub fn cannot_reap(&mut self, error: &io::Error, cx: &mut Context<'_>) {
        self.again = true;
        let count = self.reaping.add(cx.now);
        refused("ask for ended processes", error, count, cx);
    }

    pub fn reaps(&mut self) {
        self.reaping.clear();
    }

    /// A timer could not be set, or could.
    pub fn after_arming(&mut self, armed: io::Result<()>, cx: &mut Context<'_>) {
        let Err(error) = armed else {
            self.said_timer = false;
            return;
        };
        self.again = true;
        if !std::mem::replace(&mut self.said_timer, true) {
            cx.message(format!(
                "cannot set a timer: {error}; looking at the clock instead"
            ));
        }
    }

    /// A connection waits that could not be taken; it is tried again.
    pub fn cannot_accept(&mut self, error: &io::Error, cx: &mut Context<'_>) {
        if !std::mem::replace(&mut self.said_accept, true) {
            cx.message(format!(
                "cannot take a client's connection: {error}; trying again"
            ));
        }
    }

    /// Every connection was taken.
    pub fn accepts(&mut self) {
        self.said_accept = false;
    }
}

fn refused(what: &str, error: &io::Error, count: u32, cx: &mut Context<'_>) {
    match count {
        1 => cx.message(format!("cannot {what}: {error}; trying again")),
        MOST => cx.tell(Event::Unable {
            reason: format!("cannot {what}: {error}"),
        }),
        _ => {}
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
