//! Robust statistics: what is far from the middle, where a few that are far already do not move the middle.

use std::collections::HashSet;

use uuid::Uuid;

/// Events before one that are its baseline.
pub(super) const LAST: usize = 100;
/// Makes a median absolute deviation the standard deviation of what is normally distributed.
const SCALE: f64 = 1.4826;
/// A spread is never taken to be less than this part of the median: numbers that are always the same would make anything
/// else extreme.
const LEAST: f64 = 0.1;

/// The median and the robust standard deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Middle {
    /// Half are not above it.
    pub(super) median: f64,
    /// The median absolute deviation from it, scaled.
    pub(super) spread: f64,
}

impl Middle {
    /// None of nothing.
    pub(super) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let numbers: Vec<f64> = numbers.into_iter().collect();
        let median = median(numbers.clone())?;
        let spread = median_deviation(&numbers, median)? * SCALE;
        Some(Self { median, spread: spread.max(median * LEAST) })
    }
}

fn median_deviation(numbers: &[f64], median: f64) -> Option<f64> {
    self::median(numbers.iter().map(|number| (number - median).abs()).collect())
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let half = numbers.len() / 2;
    match numbers.len() % 2 {
        1 => numbers.get(half).copied(),
        _ => Some(f64::midpoint(*numbers.get(half.checked_sub(1)?)?, *numbers.get(half)?)),
    }
}

/// What is far above.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// No less than this.
    pub(super) at_least: u32,
    /// More than so many spreads above the median.
    pub(super) spreads: u32,
    /// No fewer numbers before it than this.
    pub(super) runs: usize,
}

/// Those whose number is far above the numbers before it; oldest first. What has no number counts for nothing.
pub(super) fn above(numbers: &[(Uuid, Option<f64>)], limits: Limits) -> HashSet<Uuid> {
    let known: Vec<(Uuid, f64)> = numbers.iter().filter_map(|(id, number)| Some((*id, (*number)?))).collect();
    let is_above = |(at, (_, number)): &(usize, &(Uuid, f64))| {
        let before = &known[at.saturating_sub(LAST)..*at];
        let middle = Middle::of(before.iter().map(|(_, number)| *number));
        before.len() >= limits.runs
            && *number >= f64::from(limits.at_least)
            && middle.is_some_and(|it| *number > it.median + f64::from(limits.spreads) * it.spread)
    };
    known.iter().enumerate().filter(is_above).map(|(_, (id, _))| *id).collect()
}

/// What is usual in an hour, and what is too little.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fewer {
    /// What part of the usual is enough, in percent; 0 for silence.
    pub(super) below_percent: u32,
    /// An hour that usually has fewer is not looked at.
    pub(super) usually: u32,
}

impl Fewer {
    /// Whether so many are too few, where these are the like hours before.
    pub(super) fn are(self, events: i64, before: &[i64]) -> bool {
        let as_number = |events: i64| i32::try_from(events).map_or(f64::from(i32::MAX), f64::from);
        let Some(usual) = Middle::of(before.iter().copied().map(as_number)) else { return false };
        let events_in = as_number(events);
        let few = match self.below_percent {
            0 => events == 0,
            percent => events > 0 && events_in < usual.median * f64::from(percent) / 100.0,
        };
        few && usual.median >= f64::from(self.usually) && events_in < usual.median - 3.0 * usual.spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> Uuid {
        Uuid::from_u128(n as u128)
    }

    fn spikes(numbers: &[f64], at_least: u32) -> Vec<usize> {
        let numbers: Vec<_> = numbers.iter().enumerate().map(|(n, number)| (id(n), Some(*number))).collect();
        let above = above(&numbers, Limits { at_least, spreads: 6, runs: 20 });
        (0..numbers.len()).filter(|n| above.contains(&id(*n))).collect()
    }

    #[test]
    fn a_run_far_above_its_agents_others_is_a_spike() {
        let mut numbers: Vec<f64> = (0..30).map(|n| 1_000.0 + f64::from(n % 7) * 50.0).collect();
        numbers.push(9_000.0);
        assert_eq!(spikes(&numbers, 5_000), [30]);
        assert!(spikes(&numbers, 10_000).is_empty(), "too little to matter");
        assert!(spikes(&numbers[20..], 5_000).is_empty(), "too few runs before it");
        numbers[30] = 1_900.0;
        assert!(spikes(&numbers, 0).is_empty(), "within six spreads");
    }

    #[test]
    fn runs_that_are_always_the_same_do_not_make_a_little_more_a_spike() {
        let mut numbers = vec![1_000.0; 30];
        numbers.extend([1_500.0, 1_700.0]);
        assert_eq!(spikes(&numbers, 0), [31]);
    }

    #[test]
    fn earlier_spikes_do_not_hide_later_ones() {
        let mut numbers: Vec<f64> = (0..30).map(|n| 1_000.0 + f64::from(n % 7) * 50.0).collect();
        numbers.extend([50_000.0; 5]);
        assert_eq!(spikes(&numbers, 5_000), [30, 31, 32, 33, 34]);
    }

    #[test]
    fn the_middle_of_an_even_number_lies_between() {
        let middle = Middle::of([1.0, 2.0, 3.0, 10.0]).expect("some");
        assert_eq!((middle.median, middle.spread), (2.5, SCALE));
        assert_eq!(Middle::of([]), None);
    }

    #[test]
    fn an_hour_is_silent_only_where_hours_like_it_never_were() {
        let silence = Fewer { below_percent: 0, usually: 12 };
        let busy = [40, 42, 38, 45, 41, 39, 44, 40, 43, 37, 41, 40];
        assert!(silence.are(0, &busy));
        assert!(!silence.are(1, &busy));
        assert!(!silence.are(0, &[0; 12]), "nobody was ever there, or nobody is at night");
        assert!(!silence.are(0, &[40, 41, 42, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "there was one week");
        assert!(!silence.are(0, &[3; 12]), "too little to tell");
        assert!(!silence.are(0, &[0, 90, 0, 80, 15, 0, 100, 0, 20, 0, 120, 90]), "it comes and goes");
        assert!(!silence.are(0, &[]));
    }

    #[test]
    fn a_drop_is_a_small_part_of_what_varies_little() {
        let drop = Fewer { below_percent: 20, usually: 60 };
        let busy = [100, 110, 95, 105, 100, 98, 102, 97, 104, 99, 101, 103];
        assert!(drop.are(10, &busy));
        assert!(!drop.are(0, &busy), "that is silence");
        assert!(!drop.are(25, &busy));
        assert!(!drop.are(1, &[50; 12]));
    }
}
