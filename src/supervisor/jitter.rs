//! Chance for the back-off, from a seed: services that failed together do not come back together, and
//! the same seed gives the same run. Nothing here is secret.

use std::time::Duration;

/// The splitmix64 sequence of a seed.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub fn new(seed: u64) -> Jitter {
        Jitter(seed)
    }

    /// The delay, shortened or lengthened by at most so many thousandths of it.
    pub fn spread(&mut self, delay: Duration, permille: u32) -> Duration {
        let chance = u128::from(self.next());
        let span = delay.as_nanos() * u128::from(permille) / 1000;
        // The upper half of the product is an even choice from 0 to twice the span.
        let chosen = (chance * (2 * span + 1)) >> 64;
        nanos(delay.as_nanos() - span + chosen)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// The longest delay of the configuration is far below where this saturates.
pub(super) fn nanos(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Jitter;

    #[test]
    fn delays_spread_over_their_whole_range_and_never_leave_it() {
        let mut jitter = Jitter::new(7);
        let second = Duration::from_secs(1);
        let delays: Vec<Duration> = (0..1000).map(|_| jitter.spread(second, 100)).collect();
        let (low, high) = (Duration::from_millis(900), Duration::from_millis(1100));
        assert!(delays.iter().all(|delay| (low..=high).contains(delay)));
        let near = |end: Duration| {
            let near = |delay: &&Duration| delay.abs_diff(end) < Duration::from_millis(10);
            delays.iter().filter(near).count()
        };
        assert!(near(low) > 10 && near(high) > 10 && near(second) > 20);
    }

    #[test]
    fn a_seed_gives_the_same_delays_again_and_another_seed_others() {
        let delays = |seed| {
            let mut jitter = Jitter::new(seed);
            let delay = Duration::from_secs(60);
            (0..10)
                .map(|_| jitter.spread(delay, 1000))
                .collect::<Vec<_>>()
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }

    #[test]
    fn without_jitter_or_delay_nothing_is_left_to_chance() {
        let mut jitter = Jitter::new(1);
        let second = Duration::from_secs(1);
        assert_eq!(jitter.spread(second, 0), second);
        assert_eq!(jitter.spread(Duration::ZERO, 1000), Duration::ZERO);
    }
}
