//! Chance that is the same in every run.

use std::time::Duration;

/// A sequence of numbers (xorshift).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of a seed, which is not 0.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The sequence of any number, so that neighbouring numbers have nothing in common.
    pub fn of_run(number: u64) -> Self {
        let mut dice = Self(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            dice.below(2);
        }
        dice
    }

    /// A number from 0 to `limit - 1`.
    ///
    /// # Panics
    /// If the limit is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// A time from one number of milliseconds to below another.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }

    /// Waits such a time.
    pub async fn pause(&mut self, from_ms: u64, to_ms: u64) {
        tokio::time::sleep(self.millis(from_ms, to_ms)).await;
    }

    /// Puts a list into another order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            let other = usize::try_from(self.below(at as u64 + 1)).unwrap_or(0);
            list.swap(at, other);
        }
    }
}
