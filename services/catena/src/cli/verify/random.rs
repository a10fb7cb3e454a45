//! Choices that a seed repeats.

use std::time::Duration;

/// A generator of numbers, each client's own: SplitMix64.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// The generator of one of many that share a seed.
    pub fn of(seed: u64, number: u64) -> Random {
        let mut mixed = Random::new(seed ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        Random::new(mixed.number())
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end.max(1)
    }

    /// One of `choices`, which has at least one.
    pub fn choose<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// A time from half of `mean` to one and a half of it.
    pub fn around(&mut self, mean: Duration) -> Duration {
        let part = self.below(1_000) as f64 / 1_000.0;
        mean.mul_f64(0.5 + part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A failure that its seed does not repeat cannot be looked into.
    #[test]
    fn a_seed_repeats_and_its_numbers_differ() {
        let numbers = |number| {
            let mut random = Random::of(4711, number);
            [random.number(), random.number(), random.number()]
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
    }
}
