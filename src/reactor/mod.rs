//! The shell around the supervisor: the only user of mio's `Poll` in the daemon. It decides nothing; it reports to the
//! supervisor what happened, and does what comes of it.
//!
//! This file is the turn. The parts own every descriptor, and are given a `Context` for each call; what they
//! leave for the supervisor it is handed when the call has returned (`Reactor::settle`).
//!
//! The order within a turn is that of `Reactor::turn`: what has happened to processes first, clients later, and output at
//! the end. A flood of output can so delay nothing for longer than one turn's budget.

mod admission;
mod children;
mod connections;
mod console;
mod context;
mod foreground;
mod helpers;
mod jobs;
mod launch;
mod launches;
mod log_helpers;
mod logs;
mod manager;
mod outlet;
mod output;
mod perform;
mod probes;
mod ready;
mod reaping;
mod reload;
mod rest;
mod serve;
mod setup;
mod shortage;
mod signs;
mod stream;
mod streams;
mod table;
mod tidiness;
mod timers;
mod token;
mod trouble;

use mio::Events;

use crate::base::Moment;
use crate::supervisor::event::Event;
use crate::sys::signals::SignalFd;
use context::Common;
use jobs::Jobs;
use manager::Manager;
use output::Output;
use perform::Told;
use probes::Probes;
use ready::Ready;
use reload::Reloads;
use serve::Clients;
pub use setup::Setup;
use timers::Timers;
use trouble::Trouble;

/// Events taken from the kernel at a time; more wait for the next turn.
const EVENTS: usize = 256;

/// The daemon's loop and all it owns.
pub struct Reactor {
    common: Common,
    signals: SignalFd,
    trouble: Trouble,
    timers: Timers,
    clients: Clients,
    jobs: Jobs,
    output: Output,
    probes: Probes,
    manager: Manager,
    reloads: Reloads,
    told: Told,
    /// The exit code, when the supervisor has reached its end.
    exit: Option<u8>,
}

impl Reactor {
    /// Runs until the supervisor says Exit; gives back the exit code.
    pub fn run(&mut self) -> u8 {
        let mut events = Events::with_capacity(EVENTS);
        self.tell(Event::Boot, self.common.clock.now().mono);
        loop {
            let now = self.common.clock.now().mono;
            self.probes.start_asides(&mut self.common.context(now));
            self.settle(now);
            self.manager.report(&mut self.common.context(now));
            let cx = &mut self.common.context(now);
            self.output.help_log_files(cx);
            self.output.show(cx);
            if let Some(code) = self.exit {
                self.finish(now);
                return code;
            }
            if self.clients.connections.some_left() {
                self.common.tidiness.ask_after_client(now);
            }
            self.arm(now);
            let now = self.rest(&mut events, now);
            let ready = self.sort(&events, now);
            self.turn(ready, now);
            let cx = &mut self.common.context(now);
            self.clients.relieve(&mut self.output, cx);
            self.settle(now);
        }
    }

    fn turn(&mut self, ready: Ready, now: Moment) {
        self.jobs.launches.begin_turn();
        for slot in ready.launches {
            self.jobs.on_ready(slot, &mut self.common.context(now));
            self.settle(now);
        }
        if ready.signals {
            self.on_signals(now);
        } else if self.jobs.is_to_reap() {
            self.reap(now);
        }
        // What was said in time is heard before time is looked at.
        self.jobs.hear(&mut self.common.context(now));
        self.settle(now);
        if ready.supervisor_timer {
            self.timers.clear_supervisor();
            self.common
                .supervisor
                .handle_timeout(self.common.clock.now());
            self.perform(now);
        }
        for slot in ready.probes {
            self.probes.on_ready(slot, &mut self.common.context(now));
            self.settle(now);
        }
        for (slot, hung_up) in ready.clients {
            let cx = &mut self.common.context(now);
            let asked = self.clients.on_ready(slot, hung_up, &mut self.output, cx);
            self.follow_client(asked, now);
        }
        if ready.listener || self.clients.connections.has_more_to_accept() {
            let cx = &mut self.common.context(now);
            self.clients.accept(&mut self.trouble, cx);
            self.settle(now);
        }
        if ready.reload {
            let cx = &mut self.common.context(now);
            let ended = self.reloads.on_ready(&mut self.manager, cx);
            self.follow_reload(ended, now);
            self.settle(now);
        }
        self.serve_due(now);
        if self.timers.take_housekeeping(now) {
            self.keep_house(now);
        }
        self.output.pump(&mut self.common.context(now));
        self.tell_found(now);
        self.jobs.leave_stuck(&mut self.common.context(now));
        self.settle(now);
        self.start_waiting(now);
        self.clients.feed_followers(&mut self.output);
    }

    /// Starts what has waited for its turn.
    fn start_waiting(&mut self, now: Moment) {
        while let Some(event) = self
            .jobs
            .start_waiting(&mut self.output, &mut self.common.context(now))
        {
            self.tell(event, now);
        }
    }

    /// The last bytes, and the end.
    fn finish(&mut self, now: Moment) {
        self.output
            .finish(&self.signals, &mut self.common.context(now));
        let cx = &mut self.common.context(now);
        self.clients.finish(&mut self.output, cx);
        self.jobs.finish();
    }
}
