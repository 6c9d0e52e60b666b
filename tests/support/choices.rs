//! Choices that a seed repeats, and how long they go on.

use std::time::{Duration, Instant};

use super::PATIENCE;

/// Numbers from a seed (SplitMix64).
pub struct Choices(u64);

impl Choices {
    /// From `GO_OVERLAY_TORTURE_SEED`, or from a seed of its own; either is said.
    pub fn from_environment() -> Choices {
        let seed = std::env::var("GO_OVERLAY_TORTURE_SEED").ok();
        let seed = seed.filter(|seed| !seed.is_empty()).map_or_else(
            || u64::from(std::process::id()),
            |seed| seed.parse().unwrap(),
        );
        eprintln!("GO_OVERLAY_TORTURE_SEED={seed}");
        Choices::from_seed(seed)
    }

    /// From this seed.
    pub fn from_seed(seed: u64) -> Choices {
        Choices(seed)
    }

    /// A number under `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// Calls `happen` again and again for the time of a torture, at a pace of its own; how often.
    pub fn for_a_while(&mut self, short: Duration, mut happen: impl FnMut(&mut Choices)) -> u32 {
        self.until_enough("", short, |choices| {
            happen(choices);
            true
        })
    }

    /// The same, and longer on a slow machine: until `happen` finds that `what` has happened.
    pub fn until_enough(
        &mut self,
        what: &str,
        short: Duration,
        mut happen: impl FnMut(&mut Choices) -> bool,
    ) -> u32 {
        let time = torture_time(short);
        let began = Instant::now();
        let (mut enough, mut times) = (false, 0);
        while began.elapsed() < time || !enough {
            assert!(began.elapsed() < time + 2 * PATIENCE, "not seen: {what}");
            enough = happen(self);
            times += 1;
            // Not a wait for anything: the pace at which things happen.
            std::thread::sleep(Duration::from_millis(self.below(20)));
        }
        times
    }
}

/// How long a torture lasts: `GO_OVERLAY_TORTURE_SECONDS`, or `short`.
pub fn torture_time(short: Duration) -> Duration {
    let seconds = std::env::var("GO_OVERLAY_TORTURE_SECONDS").ok();
    let seconds = seconds.filter(|seconds| !seconds.is_empty());
    seconds.map_or(short, |seconds| {
        Duration::from_secs(seconds.parse().unwrap())
    })
}
