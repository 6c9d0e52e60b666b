//! What the kernel has reported, sorted for the turn. What has no place in its order is done at once.

use mio::Events;

use super::Reactor;
use super::token::{Slot, Source};
use crate::base::Moment;

/// What a turn has to do, as the kernel reported it.
#[derive(Default)]
pub(super) struct Ready {
    pub signals: bool,
    pub supervisor_timer: bool,
    pub listener: bool,
    pub reload: bool,
    pub launches: Vec<Slot>,
    pub probes: Vec<Slot>,
    /// And whether the other end is closed.
    pub clients: Vec<(Slot, bool)>,
}

impl Reactor {
    /// Sorts out what the kernel reported. What only has to be noted is noted.
    pub(super) fn sort(&mut self, events: &Events, now: Moment) -> Ready {
        let mut ready = Ready::default();
        for event in events {
            let Some(source) = Source::from_token(event.token()) else {
                continue;
            };
            match source {
                Source::Signals => ready.signals = true,
                Source::SupervisorTimer => ready.supervisor_timer = true,
                Source::HousekeepingTimer => self.timers.clear_housekeeping(),
                Source::Listener => ready.listener = true,
                // What waits for them to take more is written at the end of each turn.
                Source::Stdout | Source::Stderr => {}
                Source::Client(slot) => {
                    let hung_up = event.is_write_closed() || event.is_error();
                    ready.clients.push((slot, hung_up));
                }
                Source::Probe(slot) => ready.probes.push(slot),
                Source::Reload => ready.reload = true,
                Source::StdoutOpened => self.output.stdout.on_opened(),
                Source::StderrOpened => self.output.stderr.on_opened(),
                Source::Stream(slot) => self.output.streams.on_ready(slot),
                Source::LogHelper(slot) => {
                    self.output.on_ready(slot, &mut self.common.context(now))
                }
                Source::Sign(slot) => self.jobs.on_sign(slot),
                Source::Launch(slot) => ready.launches.push(slot),
            }
        }
        ready.reload |= self.reloads.has_work();
        ready.listener |= self.clients.connections.has_more_to_accept();
        if self.trouble.take_again() {
            (ready.signals, ready.supervisor_timer) = (true, true);
        }
        ready
    }
}
