//! The clock in front of a machine that freezes, sleeps, and has its time of day set.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::domain::time::{ClockStep, Elapsed};

const HOUR: Duration = Duration::from_secs(3600);

/// The kernel's clocks.
struct Machine {
    reading: Reading,
}

impl Machine {
    /// It was suspended for an hour before the daemon started, 10 s after its start.
    fn new() -> (Machine, Clock) {
        let reading = Reading {
            mono: at(10.0),
            boot: at(3610.0),
            wall: Wall::new(1_800_000_000, 0),
        };
        (Machine { reading }, Clock::new(reading))
    }

    fn runs_to(&mut self, mono: Moment) -> Reading {
        let by = mono.since(self.reading.mono);
        self.reading.mono = mono;
        self.reading.boot = self.reading.boot.after(by);
        self.reading.wall = self.reading.wall.after(by);
        self.reading
    }

    fn sleeps(&mut self, by: Duration) {
        self.reading.boot = self.reading.boot.after(by);
        self.reading.wall = self.reading.wall.after(by);
    }
}

fn at(seconds: f64) -> Moment {
    Moment(0).after(Duration::from_secs_f64(seconds))
}

#[test]
fn follows_the_kernel_while_it_runs() {
    let (mut machine, mut clock) = Machine::new();
    let start = clock.now();
    assert_eq!(start.absent, Duration::ZERO);
    assert_eq!(clock.advance(machine.runs_to(at(15.0)), None), None);
    assert_eq!(clock.now().mono, at(15.0));
    let reading = machine.runs_to(at(15.9));
    assert_eq!(clock.advance(reading, Some(at(15.0))), None);
    let in_step = (at(15.9), at(16.0));
    assert_eq!((clock.now().mono, clock.to_kernel(at(16.0))), in_step);
    // A long wait before a deadline that is far off is no absence.
    let reading = machine.runs_to(at(500.0));
    assert_eq!(clock.advance(reading, Some(at(600.0))), None);
    assert_eq!(clock.now().mono, at(500.0));
    let ran = Elapsed {
        ran: Duration::from_secs(490),
        absent: Duration::ZERO,
        step: ClockStep::None,
    };
    assert_eq!(clock.now().since(start), ran);
}

#[test]
fn reaches_a_deadline_on_a_machine_that_is_always_late() {
    let (mut machine, mut clock) = Machine::new();
    let mut kernel = at(10.0);
    for turn in 0.. {
        let wanted = clock.to_kernel(at(30.0));
        kernel = wanted.after(Duration::from_secs(5)).max(kernel);
        clock.advance(machine.runs_to(kernel), Some(at(30.0)));
        if clock.now().mono >= at(30.0) {
            break;
        }
        assert!(turn < 2, "{clock:?}");
    }
}

#[test]
fn stands_still_while_the_daemon_is_frozen() {
    let (mut machine, mut clock) = Machine::new();
    let start = clock.now();
    // Due at 10.3, and seen a minute later: as if 10.0 were now.
    let minute = Duration::from_secs(60);
    let reading = machine.runs_to(at(70.0));
    assert_eq!(clock.advance(reading, Some(at(10.3))), Some(minute));
    assert_eq!(clock.now().mono, at(10.0));
    let frozen = Elapsed {
        ran: Duration::ZERO,
        absent: minute,
        step: ClockStep::None,
    };
    assert_eq!(clock.now().since(start), frozen);
    assert_eq!(clock.to_kernel(at(10.3)), at(70.3));
    let reading = machine.runs_to(at(70.3));
    assert_eq!(clock.advance(reading, Some(at(10.3))), None);
    assert_eq!(clock.now().mono, at(10.3));
    // Of a long wait before the deadline, only the last second is granted again.
    let reading = machine.runs_to(at(200.0));
    assert!(clock.advance(reading, Some(at(100.0))).is_some());
    assert_eq!(clock.now().mono, at(99.0));
}

#[test]
fn a_suspension_is_an_absence_and_no_step_of_the_time_of_day() {
    let (mut machine, mut clock) = Machine::new();
    let start = clock.now();
    machine.sleeps(8 * HOUR);
    let reading = machine.runs_to(at(12.0));
    // The monotonic clock stood still, so that no deadline was missed.
    assert_eq!(clock.advance(reading, Some(at(12.0))), None);
    let slept = Elapsed {
        ran: Duration::from_secs(2),
        absent: 8 * HOUR,
        step: ClockStep::None,
    };
    assert_eq!(clock.now().since(start), slept);
    assert_eq!(clock.to_kernel(at(13.0)), at(13.0));
}

#[test]
fn a_freeze_a_suspension_and_a_step_at_once_are_told_apart() {
    let (mut machine, mut clock) = Machine::new();
    let start = clock.now();
    machine.sleeps(8 * HOUR);
    machine.reading.wall = machine.reading.wall.before(2 * HOUR);
    let reading = machine.runs_to(at(70.0));
    let frozen = clock.advance(reading, Some(at(10.0)));
    assert_eq!(frozen, Some(Duration::from_secs(60)));
    let all = Elapsed {
        ran: Duration::ZERO,
        absent: 8 * HOUR + Duration::from_secs(60),
        step: ClockStep::Back(2 * HOUR),
    };
    assert_eq!(clock.now().since(start), all);
}

#[test]
fn the_third_clock_is_read_only_where_the_others_move_apart() {
    let (mut machine, _) = Machine::new();
    let first = machine.reading;
    let next = machine.runs_to(at(70.0));
    assert_eq!(first.next(next.mono, next.wall), Some(next));
    let almost = SKEW - Duration::from_nanos(1);
    for beside in [next.wall.after(almost), next.wall.before(almost)] {
        let kept = first.next(next.mono, beside).unwrap();
        assert_eq!((kept.boot, kept.wall), (next.boot, beside));
    }
    for apart in [next.wall.after(SKEW), next.wall.before(SKEW)] {
        assert_eq!(first.next(next.mono, apart), None);
    }
    machine.sleeps(SKEW);
    assert_eq!(first.next(machine.reading.mono, machine.reading.wall), None);
}
