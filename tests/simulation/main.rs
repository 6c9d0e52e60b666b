//! The simulator: the pure supervisor in a virtual world in which everything goes wrong that can, from a
//! seed. docs/TESTING.md lists the invariants by number, and how to replay a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clients;
#[path = "../world/clocks.rs"]
mod clocks;
mod coverage;
mod digest;
mod invariants;
mod jumps;
mod kernel;
mod model;
mod of_actions;
mod of_the_whole;
mod plan;
mod planted;
mod reference;
mod requests;
mod rng;
mod run;
mod small_worlds;
mod taken;
mod timers;
mod watched;

use coverage::Coverage;
use run::Run;

/// Seeds of the short sweep.
const SEEDS: u64 = 6000;

/// Steps of chaos in each.
const STEPS: usize = 150;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Tells which seed it was that made the supervisor itself panic.
struct Playing(u64);

impl Drop for Playing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("playing seed {}", self.0);
        }
    }
}

/// Fails with everything that is known when something does not hold.
fn play(seed: u64, steps: usize) -> Coverage {
    let _playing = Playing(seed);
    let mut run = Run::new(seed);
    if let Err(failure) = run.play(steps) {
        panic!("{}", run.report(&failure, steps));
    }
    run.watched.coverage
}

#[test]
fn whatever_happens_every_invariant_holds() {
    let first = number("SEED").unwrap_or(1);
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let steps = number("STEPS").map_or(STEPS, |steps| steps as usize);
    let begun = std::time::Instant::now();
    let mut coverage = Coverage::default();
    for seed in first..first + seeds {
        coverage.add(&play(seed, steps));
    }
    println!(
        "{seeds} seeds from {first}, {steps} steps each: {:?}",
        begun.elapsed()
    );
    // A few seeds meet less.
    if seeds >= SEEDS && steps >= STEPS {
        let met = coverage.gaps().unwrap_or_else(|gaps| panic!("{gaps}"));
        println!("{met} pairs of an event and a state were met, and no other can be");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_to_the_letter() {
    for seed in 1..40 {
        let trace = || {
            let mut run = Run::new(seed);
            run.watched.trace = Some(String::new());
            let _ = run.play(STEPS);
            run.watched.trace.unwrap()
        };
        let (first, second) = (trace(), trace());
        assert!(!first.is_empty());
        assert_eq!(first, second, "seed {seed}");
    }
}

/// Seeds that once found a fault of the supervisor; docs/TESTING.md says which.
#[test]
fn seeds_that_found_a_fault_find_none_any_more() {
    let seeds = include_str!("known_seeds").lines();
    for line in seeds.filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let mut numbers = line.split_whitespace();
        let seed = numbers.next().unwrap().parse().unwrap();
        let steps = numbers.next().unwrap().parse().unwrap();
        play(seed, steps);
    }
}
