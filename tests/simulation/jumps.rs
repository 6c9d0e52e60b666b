//! What happens to the clocks during a run: the machine is suspended, the daemon frozen or stopped, and the time of day
//! set. After each, the instant that the supervisor gets says what it was.

use std::time::Duration;

use go_overlay::domain::{ClockStep, Elapsed};

use crate::rng::Rng;
use crate::run::Run;
use crate::{Playing, STEPS, number};

/// So often a step, in thousandths.
const OFTEN: u32 = 60;

/// What may happen to the clocks. The choices are made apart from those of the run, so that they change no other.
pub struct Jumps {
    pub kind: Kind,
    rng: Rng,
    /// How many there were.
    pub count: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    None,
    /// Suspensions and steps of the time of day, which no timeout notices.
    Unnoticed,
    /// Stretches in which the daemon does not run too. Its timers are late then.
    Everything,
}

impl Jumps {
    pub fn new(seed: u64, kind: Kind) -> Jumps {
        Jumps {
            kind,
            rng: Rng::new(seed.rotate_left(41)),
            count: 0,
        }
    }

    /// Up to an hour, up to about the limit of a correction, or far beyond it.
    fn length(&mut self) -> Duration {
        let longest = *self.rng.pick(&[3_600_000, 15_000_000, 40_000_000_000]);
        self.rng.between(1000, longest)
    }
}

fn step(forward: bool, by: Duration) -> ClockStep {
    match (forward, by <= Duration::from_secs(3 * 3600)) {
        (true, true) => ClockStep::Forward(by),
        (true, false) => ClockStep::CorrectedForward(by),
        (false, true) => ClockStep::Back(by),
        (false, false) => ClockStep::CorrectedBack(by),
    }
}

impl Run {
    pub fn disturb_clocks(&mut self) {
        let jumps = &mut self.jumps;
        if jumps.kind == Kind::None || !jumps.rng.chance(OFTEN) {
            return;
        }
        jumps.count += 1;
        let (by, choice) = (jumps.length(), jumps.rng.below(4));
        if choice == 3 {
            return self.freeze(by);
        }
        let clocks = &mut self.watched.clocks;
        let before = clocks.at(self.now);
        match choice {
            0 => clocks.suspend(self.now, by),
            1 => clocks.set(self.now, |wall| wall.after(by)),
            _ => clocks.set(self.now, |wall| wall.before(by)),
        }
        let (absent, step) = match choice {
            0 => (by, ClockStep::None),
            forward => (Duration::ZERO, step(forward == 1, by)),
        };
        let ran = Duration::ZERO;
        let expected = Elapsed { ran, absent, step };
        assert_eq!(clocks.at(self.now).since(before), expected);
    }

    /// The daemon does not run. Its services do not either, or have run meanwhile.
    fn freeze(&mut self, by: Duration) {
        if self.jumps.kind == Kind::Unnoticed {
            return;
        }
        let deadline = self.watched.supervisor.poll_timeout();
        let deadline = deadline.map(|deadline| deadline.at);
        let clocks = &mut self.watched.clocks;
        let (before, end) = (clocks.at(self.now), self.now.after(by));
        let now = clocks.freeze(self.now, by, deadline);
        let passed = clocks.at(now).since(before);
        assert_eq!(
            (passed.ran + passed.absent, passed.step),
            (by, ClockStep::None)
        );
        let latest = deadline.map_or(end, |at| at.after(Duration::from_secs(1)));
        assert!(now <= latest.max(self.now), "{now:?}, due at {deadline:?}");
        self.now = now;
        if self.jumps.rng.chance(500) {
            self.kernel.run_ahead(passed.absent, now);
        }
    }
}

fn played(seed: u64, kind: Kind, trace: Option<String>) -> Run {
    let _playing = Playing(seed);
    let mut run = Run::new(seed);
    run.jumps.kind = kind;
    run.watched.trace = trace;
    if let Err(failure) = run.play(STEPS) {
        panic!("{}", run.report(&failure, STEPS));
    }
    run
}

#[test]
fn suspensions_and_steps_of_the_time_of_day_change_nothing() {
    let mut count = 0;
    for seed in 1..200 {
        let plain = played(seed, Kind::None, Some(String::new()));
        let disturbed = played(seed, Kind::Unnoticed, Some(String::new()));
        count += disturbed.jumps.count;
        assert!(
            plain.watched.trace == disturbed.watched.trace,
            "seed {seed}"
        );
    }
    assert!(count > 500, "only {count}");
}

#[test]
fn whatever_happens_to_a_daemon_that_is_frozen_every_invariant_holds() {
    let first = number("SEED").unwrap_or(1);
    let seeds = number("SEEDS").map_or(1500, |seeds| seeds.div_ceil(4));
    let mut absent = Duration::ZERO;
    for seed in first..first + seeds {
        let run = played(seed, Kind::Everything, None);
        absent += run.watched.clocks.at(run.now).absent;
    }
    // One seed alone may have none.
    assert!(absent > Duration::ZERO || seeds < 10);
}
