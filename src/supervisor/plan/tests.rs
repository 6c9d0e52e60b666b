//! A machine whose clock is set and which sleeps, and what is due then.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use super::{CatchUp, Due, Plan, Trigger};
use crate::base::Moment;
use crate::domain::{Now, Wall};
use crate::schedule::{Expression, Schedule, Zone};

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

/// 2027-01-01T00:00:00Z, a Friday.
const START: i64 = 1_798_761_600;

fn schedule(texts: &[&str], zone: &str) -> Schedule {
    let expressions = texts.iter().map(|text| Expression::parse(text).unwrap());
    let zone = Zone::bundled(zone).unwrap_or_else(Zone::utc);
    Schedule::new(expressions.collect(), zone)
}

struct Machine {
    now: Now,
    plan: Plan,
    runs: Vec<Due>,
}

impl Machine {
    fn with(texts: &[&str], jitter: u64, catch_up: CatchUp) -> Machine {
        let now = Now {
            mono: Moment(7),
            wall: Wall::new(START, 0),
            absent: Duration::ZERO,
        };
        let jitter = Duration::from_secs(jitter);
        let plan = Plan::new(schedule(texts, "UTC"), jitter, catch_up, now);
        Machine {
            now,
            plan,
            runs: Vec::new(),
        }
    }

    fn of(text: &str) -> Machine {
        Machine::with(&[text], 0, CatchUp::Always)
    }

    fn look(&mut self) {
        let due = self.plan.advance(self.now);
        self.runs.extend(due);
        assert_eq!(self.plan.advance(self.now), None, "one run at most");
        let next = self.plan.next_run(self.now);
        let future = next.is_none_or(|next| next.0 > self.now.wall.seconds());
        assert!(future, "{next:?} at {:?}", self.now);
    }

    /// Time passes, and the daemon looks whenever something is due.
    fn run(&mut self, seconds: i64) {
        let by = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap());
        let end = self.now.mono.after(by(seconds));
        loop {
            let left = i64::try_from(end.since(self.now.mono).as_secs()).unwrap();
            let next = self.plan.next_run(self.now);
            let wait = next
                .map_or(left, |next| next.0 - self.now.wall.seconds())
                .min(left);
            self.now.mono = self.now.mono.after(by(wait));
            self.now.wall = self.now.wall.after(by(wait));
            self.look();
            if wait == left {
                return;
            }
        }
    }

    fn sleep(&mut self, seconds: i64) {
        let by = Duration::from_secs(u64::try_from(seconds).unwrap());
        self.now.wall = self.now.wall.after(by);
        self.now.absent += by;
        self.look();
    }

    fn set_clock(&mut self, by: i64) {
        let size = Duration::from_secs(by.unsigned_abs());
        self.now.wall = match by > 0 {
            true => self.now.wall.after(size),
            false => self.now.wall.before(size),
        };
        self.look();
    }

    /// The runs since the last time this was asked: seconds since the start, and why.
    fn told(&mut self) -> Vec<(i64, Trigger)> {
        let runs = std::mem::take(&mut self.runs);
        runs.iter()
            .map(|due| (due.slot.0 - START, due.trigger))
            .collect()
    }
}

fn on_time(times: &[i64]) -> Vec<(i64, Trigger)> {
    times
        .iter()
        .map(|time| (*time, Trigger::Schedule))
        .collect()
}

#[test]
fn each_time_is_due_once() {
    let mut machine = Machine::of("0 */6 * * *");
    machine.run(DAY);
    assert_eq!(
        machine.told(),
        on_time(&[6 * HOUR, 12 * HOUR, 18 * HOUR, DAY])
    );
    let mut machine = Machine::with(&["0 6 * * *", "0 6,7 * * *"], 0, CatchUp::Always);
    machine.run(DAY);
    assert_eq!(machine.told(), on_time(&[6 * HOUR, 7 * HOUR]));
}

#[test]
fn one_run_follows_however_many_times_were_missed() {
    for text in ["*/5 * * * *", "* * * * * *"] {
        let mut machine = Machine::of(text);
        machine.sleep(400 * DAY + 7);
        let told = machine.told();
        assert_eq!(told.len(), 1, "{text}: {told:?}");
        // What has just come is no time that was missed.
        assert_eq!(told[0].1, Trigger::Schedule);
    }
    let mut machine = Machine::of("0 3 * * *");
    machine.sleep(9 * DAY + 9 * HOUR);
    assert_eq!(machine.told(), [(9 * DAY + 3 * HOUR, Trigger::CatchUp)]);
    machine.run(DAY);
    assert_eq!(machine.told(), on_time(&[10 * DAY + 3 * HOUR]));
}

#[test]
fn what_is_too_old_is_not_caught_up_with() {
    for (catch_up, expected) in [
        (CatchUp::Never, 0),
        (CatchUp::Within(Duration::from_secs(HOUR as u64)), 0),
        (CatchUp::Within(Duration::from_secs(6 * HOUR as u64)), 1),
    ] {
        let mut machine = Machine::with(&["0 3 * * *"], 0, catch_up);
        machine.sleep(9 * HOUR);
        assert_eq!(machine.told().len(), expected, "{catch_up:?}");
        machine.run(DAY);
        assert_eq!(machine.told(), on_time(&[DAY + 3 * HOUR]));
    }
}

#[test]
fn a_step_forward_of_up_to_three_hours_misses_times_and_a_larger_one_corrects() {
    let mut machine = Machine::of("0 2 * * *");
    machine.set_clock(3 * HOUR);
    assert_eq!(machine.told(), [(2 * HOUR, Trigger::CatchUp)]);
    let mut machine = Machine::of("0 2 * * *");
    machine.set_clock(3 * HOUR + 1);
    machine.set_clock(-(3 * HOUR + 1));
    assert_eq!(machine.told(), []);
    machine.run(DAY);
    assert_eq!(machine.told(), on_time(&[2 * HOUR]));
}

#[test]
fn a_step_back_repeats_no_fixed_time_and_a_larger_one_does() {
    let mut machine = Machine::of("0 2 * * *");
    machine.run(3 * HOUR);
    machine.set_clock(-2 * HOUR);
    machine.run(23 * HOUR);
    assert_eq!(machine.told(), on_time(&[2 * HOUR]));
    machine.run(2 * HOUR);
    assert_eq!(machine.told(), on_time(&[DAY + 2 * HOUR]));
    // A day back: the time of this day comes again.
    machine.set_clock(-DAY);
    machine.run(DAY);
    assert_eq!(machine.told(), on_time(&[DAY + 2 * HOUR]));
}

#[test]
fn elapsed_time_follows_a_clock_that_was_set_back() {
    let mut machine = Machine::of("*/30 * * * *");
    machine.run(HOUR);
    assert_eq!(machine.told(), on_time(&[30 * MINUTE, HOUR]));
    machine.set_clock(-45 * MINUTE);
    machine.run(20 * MINUTE);
    assert_eq!(machine.told(), on_time(&[30 * MINUTE]));
}

#[test]
fn jitter_delays_each_run_by_the_same() {
    let mut machine = Machine::with(&["0 * * * *"], 90, CatchUp::Always);
    // The time of midnight has passed, its run has not.
    machine.run(2 * MINUTE);
    assert_eq!(machine.now.wall.seconds(), START + 2 * MINUTE);
    assert_eq!(machine.told(), on_time(&[0]));
    machine.run(HOUR - MINUTE + 29);
    assert_eq!(machine.told(), []);
    machine.run(1);
    assert_eq!(machine.told(), on_time(&[HOUR]));
}

#[test]
fn an_interval_goes_by_the_time_in_which_the_daemon_ran() {
    let mut machine = Machine::of("@every 10m");
    for clock in [DAY, -DAY, 2 * HOUR, -HOUR] {
        machine.run(9 * MINUTE);
        machine.sleep(5 * HOUR);
        machine.set_clock(clock);
        assert_eq!(machine.told(), []);
        machine.run(MINUTE);
        assert_eq!(machine.told().len(), 1);
    }
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 >> 11).unwrap() % bound
    }
}

#[test]
fn whatever_happens_to_the_clock_no_fixed_time_is_due_twice() {
    let texts = [
        "30 2 * * *",
        "0 0 * * *",
        "15 6,18 * * 1-5",
        "*/20 * * * *",
        "7 * * * *",
    ];
    let steps = [
        MINUTE,
        -MINUTE,
        2 * HOUR,
        -2 * HOUR,
        3 * HOUR,
        -3 * HOUR,
        DAY,
        -DAY,
    ];
    for seed in 1..=300 {
        let mut numbers = Numbers(seed * 0x9e37_79b9);
        let text = texts[numbers.below(5) as usize];
        let catch_up = [CatchUp::Always, CatchUp::Never][numbers.below(2) as usize];
        let jitter = [0, 240][numbers.below(2) as usize];
        let mut machine = Machine::with(&[text], jitter, catch_up);
        let fixed = Expression::parse(text).unwrap().names_fixed_times();
        let mut last = i64::MIN;
        for _ in 0..60 {
            let what = numbers.below(4);
            let step = steps[numbers.below(8) as usize];
            match what {
                0 => machine.set_clock(step),
                1 => machine.sleep(numbers.below(2 * DAY)),
                _ => machine.run(numbers.below(10 * HOUR)),
            }
            let again = what == 0 && (step == -DAY || step < 0 && !fixed);
            if again {
                last = i64::MIN;
            }
            let told = machine.told();
            // Setting the clock and sleeping bring one run at most.
            assert!(what > 1 || told.len() <= 1, "seed {seed}: {told:?}");
            for (slot, trigger) in told {
                assert!(slot > last, "seed {seed}: {text} at {slot} after {last}");
                assert!(catch_up != CatchUp::Never || trigger == Trigger::Schedule);
                last = slot;
            }
        }
    }
}
