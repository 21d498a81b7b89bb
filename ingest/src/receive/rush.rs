//! Whether batches arrive as fast as they can be written: then those who follow the events wait, so that senders need not.
//!
//! The answer is the share of its time that the busiest lane writes, of those in which batches wait for one another: it can be had
//! for a database on this machine and for one elsewhere, and one sender alone, however much it sends, is no rush. A rush that does
//! not end is none either: after a while followers go on beside it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::write::{LANES, Work};

const EVERY: Duration = Duration::from_millis(100);
/// Of its time a lane writes in a rush; what is missing is the wait for company.
const FULL: f64 = 0.75;
/// Looks in a row that tell the same before it is believed.
const LOOKS: u32 = 3;
/// How long followers wait at most.
const LONGEST: Duration = Duration::from_secs(30);

/// Tells whether there is a rush, as long as it is awaited.
pub(super) async fn watch(work: &Work, tell: &watch::Sender<bool>) {
    let mut rush = State::default();
    let (mut looked_at, mut before) = (Instant::now(), work.look());
    loop {
        tokio::time::sleep(EVERY).await;
        let (now, after) = (Instant::now(), work.look());
        let is_full = busiest(before, after, now - looked_at) >= FULL;
        (looked_at, before) = (now, after);
        let is_rush = rush.is_after(is_full, now);
        let has_turned = |told: &mut bool| std::mem::replace(told, is_rush) != is_rush;
        if tell.send_if_modified(has_turned) {
            tracing::debug!(is_rush, "followers give way to batches");
        }
    }
}

/// The share of a time that the busiest lane wrote what came in several batches.
fn busiest(before: [(Duration, bool); LANES], after: [(Duration, bool); LANES], time: Duration) -> f64 {
    let lanes = before.iter().zip(after).filter(|(_, (_, was_shared))| *was_shared);
    let written = lanes.map(|((before, _), (after, _))| after.saturating_sub(*before)).max();
    written.unwrap_or_default().as_secs_f64() / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    /// Looks in a row that told otherwise than what is believed.
    against: u32,
}

impl State {
    /// Whether followers wait after another look.
    fn is_after(&mut self, is_full: bool, now: Instant) -> bool {
        self.against = if is_full == self.since.is_some() { 0 } else { self.against + 1 };
        if self.against >= LOOKS {
            self.since = is_full.then_some(now);
            self.against = 0;
        }
        self.since.is_some_and(|since| now - since < LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What followers are told at each of these looks, a tenth of a second apart.
    fn told(looks: impl IntoIterator<Item = bool>) -> Vec<bool> {
        let (mut state, begin) = (State::default(), Instant::now());
        let looks = looks.into_iter().enumerate();
        looks
            .map(|(at, is_full)| state.is_after(is_full, begin + EVERY * u32::try_from(at).expect("few")))
            .collect()
    }

    #[test]
    fn one_full_look_is_no_rush_and_one_empty_one_does_not_end_it() {
        let looks = [true, false, true, true, true, false, true, false, false, false];
        let want = [false, false, false, false, true, true, true, true, true, false];
        assert_eq!(told(looks), want);
    }

    #[test]
    fn followers_wait_half_a_minute_of_a_rush_and_again_only_in_the_next() {
        let looks = [true].repeat(400).into_iter().chain([false; 3]).chain([true; 3]);
        let told = told(looks);
        let waiting = told.iter().filter(|waits| **waits).count();
        assert_eq!((told[2], told[301], told[302], told[402], told[405]), (true, true, false, false, true));
        assert_eq!(waiting, 301);
    }

    #[test]
    fn the_busiest_lane_counts_in_which_batches_wait_for_one_another() {
        let share = |together: [bool; LANES]| {
            let lanes = |first, second| {
                [(Duration::from_millis(first), together[0]), (Duration::from_millis(second), together[1])]
            };
            busiest(lanes(100, 50), lanes(120, 130), Duration::from_millis(100))
        };
        for (together, want) in [([true, true], 0.8), ([true, false], 0.2), ([false, false], 0.0)] {
            assert!((share(together) - want).abs() < 1e-9, "{together:?}");
        }
    }
}
