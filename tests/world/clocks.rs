//! The clocks of a virtual machine, in front of the daemon's own: it can be suspended, frozen, and set.

use std::time::Duration;

use go_overlay::base::Moment;
use go_overlay::domain::{Clock, Now, Reading, Wall};

/// 2027-01-15 08:00:00 UTC.
const START: Wall = Wall::new(1_800_000_000, 0);

pub struct Clocks {
    machine: Reading,
    clock: Clock,
}

impl Default for Clocks {
    /// The daemon's clock shows 0; the machine was suspended before that.
    fn default() -> Clocks {
        let machine = Reading {
            mono: Moment(0),
            boot: Moment(0).after(Duration::from_secs(5)),
            wall: START,
        };
        Clocks {
            machine,
            clock: Clock::new(machine),
        }
    }
}

impl Clocks {
    /// The instant at which the daemon's clock shows `mono`, if nothing happens until then.
    pub fn at(&self, mono: Moment) -> Now {
        let now = self.clock.now();
        Now {
            mono,
            wall: now.wall.after(mono.since(now.mono)),
            ..now
        }
    }

    /// The machine is suspended when the daemon's clock shows `mono`. That clock stands still.
    pub fn suspend(&mut self, mono: Moment, by: Duration) {
        self.run_to(mono);
        self.machine.boot = self.machine.boot.after(by);
        self.machine.wall = self.machine.wall.after(by);
        self.look(None);
    }

    /// The time of day is set when the daemon's clock shows `mono`.
    pub fn set(&mut self, mono: Moment, to: impl FnOnce(Wall) -> Wall) {
        self.run_to(mono);
        self.machine.wall = to(self.machine.wall);
        self.look(None);
    }

    /// The daemon does not run from `mono` of its clock on. Returns what its clock shows then: a freeze that exceeds the
    /// daemon's next deadline does not count.
    pub fn freeze(&mut self, mono: Moment, by: Duration, deadline: Option<Moment>) -> Moment {
        self.run_to(mono);
        self.pass(by);
        self.look(deadline);
        self.clock.now().mono
    }

    fn run_to(&mut self, mono: Moment) {
        self.pass(self.clock.to_kernel(mono).since(self.machine.mono));
        self.look(None);
    }

    fn pass(&mut self, by: Duration) {
        self.machine = Reading {
            mono: self.machine.mono.after(by),
            boot: self.machine.boot.after(by),
            wall: self.machine.wall.after(by),
        };
    }

    /// Two clocks are read, and the third where they have moved apart.
    fn look(&mut self, deadline: Option<Moment>) {
        let (last, machine) = (self.clock.reading(), self.machine);
        let next = last.next(machine.mono, machine.wall).unwrap_or(machine);
        assert_eq!(next, machine, "after {last:?}");
        self.clock.advance(next, deadline);
    }
}
