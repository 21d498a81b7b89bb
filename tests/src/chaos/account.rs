//! Holds what the clients and the application know against what is stored, act by act and batch by batch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;
use shared::event::Outcome;

use super::acts::{Act, Answered};
use super::app::{Mode, Seen};
use super::ledger::{Batches, Ledger};
use super::stand::{Kill, Restored, Stored, StoredAct};
use super::wire::{Passed, Place};

/// An act of `intent` that the application saw so long after it was asked for had no durable announcement: it was let pass
/// after two seconds.
const LET_PASS: Duration = Duration::from_millis(1_900);
/// Complaints that are told one by one.
const TOLD: usize = 20;

/// Everything that is known at the end.
pub(super) struct Known<'a> {
    pub(super) acts: &'a BTreeMap<String, Act>,
    pub(super) seen: &'a Seen,
    pub(super) stored: &'a Stored,
    pub(super) kills: &'a [Kill],
    pub(super) restored: &'a [Restored],
    pub(super) queued: &'a [Place],
    pub(super) passed: &'a Passed,
    /// `streams` of `GET /v1/streams`.
    pub(super) streams: &'a Value,
}

/// What became of an act that the application saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stored,
    Unknown,
    Tail(Duration),
    Restored,
    Lost,
}

impl Known<'_> {
    /// Writes all of it into a ledger.
    pub(super) fn settle(&self, ledger: &mut Ledger) {
        self.acts(ledger);
        self.intents(ledger);
        self.batches(ledger);
        ledger.odd = self.stored.odd.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect();
    }

    fn acts(&self, ledger: &mut Ledger) {
        let mut events: BTreeMap<&str, Vec<&StoredAct>> = BTreeMap::new();
        for event in &self.stored.acts {
            events.entry(&event.name).or_default().push(event);
        }
        let announced: BTreeSet<&str> = self.stored.intents.iter().map(|(name, _)| name.as_str()).collect();
        let gone: BTreeSet<&String> =
            self.restored.iter().flat_map(|restored| restored.acts.iter().chain(&restored.intents)).collect();
        let mut unstored: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, act) in self.acts {
            let account = ledger.acts.entry(act.lane.name()).or_default();
            account.sent += 1;
            match &act.answered {
                Some((_, Answered::Unchanged)) => account.answered += 1,
                Some((_, Answered::Refused)) => account.refused += 1,
                None => account.unanswered += 1,
                Some((_, Answered::Otherwise(how))) => {
                    account.changed += 1;
                    complain(&mut ledger.complaints, || format!("{name} was answered {how}"));
                }
            }
            let events = events.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            let seen = self.seen.get(name).map_or(&[][..], Vec::as_slice);
            let refused = matches!(&act.answered, Some((_, Answered::Refused)));
            if events.len() > 1 || seen.len() > 1 || (refused && !seen.is_empty()) {
                account.twice += 1;
                complain(&mut ledger.complaints, || {
                    format!("{name}: seen {}, stored {}", seen.len(), events.len())
                });
            }
            let Some(first) = seen.first() else {
                let done = events.iter().any(|event| event.status.is_some_and(|status| status < 300));
                account.invented += u64::from(done);
                continue;
            };
            account.seen += 1;
            let fate = match events.first() {
                Some(event) => {
                    let is_right = event.action == act.lane.mode.action();
                    account.invented += u64::from(!is_right);
                    account.cut += u64::from(event.outcome == i16::from(Outcome::Unknown.byte()));
                    Fate::Stored
                }
                None if gone.contains(name) => Fate::Restored,
                None => self.unstored(act, *first, announced.contains(name.as_str())),
            };
            match fate {
                Fate::Stored => account.stored += 1,
                Fate::Unknown => account.unknown += 1,
                Fate::Restored => account.restored += 1,
                Fate::Tail(age) => {
                    account.tail += 1;
                    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                    ledger.longest_tail_ms = ledger.longest_tail_ms.max(age);
                }
                Fate::Lost => unstored.entry(act.lane.name()).or_default().push(name.clone()),
            }
        }
        self.declared(ledger, unstored);
    }

    /// The fate of an act that was done, is not stored, and did not go with a restore.
    fn unstored(&self, act: &Act, seen: Instant, announced: bool) -> Fate {
        match act.lane.mode {
            Mode::Intent | Mode::Closed if announced => return Fate::Unknown,
            Mode::Closed => return Fate::Lost,
            Mode::Intent if seen.duration_since(act.sent) < LET_PASS => return Fate::Lost,
            Mode::Intent | Mode::Open | Mode::Stream => {}
        }
        let killed = self.kills.iter().filter(|kill| kill.way == act.lane.way && kill.after >= act.sent);
        let first = killed.map(|kill| kill.before).min();
        let answered = act.answered.as_ref().map_or(seen, |(at, _)| *at);
        first.map_or(Fate::Lost, |kill| Fate::Tail(kill.saturating_duration_since(answered)))
    }

    /// What a Worker gave up it counts in its next header, without names: as many of the others are accounted for.
    fn declared(&self, ledger: &mut Ledger, unstored: BTreeMap<String, Vec<String>>) {
        let mut declared: u64 = self.streams().filter_map(|stream| stream["dropped"].as_u64()).sum();
        for (lane, names) in unstored {
            let account = ledger.acts.entry(lane).or_default();
            for name in names {
                if declared > 0 {
                    declared -= 1;
                    account.dropped += 1;
                } else {
                    account.lost += 1;
                    complain(&mut ledger.complaints, || format!("{name} was done, and nothing tells of it"));
                }
            }
        }
    }

    fn intents(&self, ledger: &mut Ledger) {
        let acts: BTreeSet<&str> = self.stored.acts.iter().map(|event| event.name.as_str()).collect();
        let orphans: BTreeSet<&str> = self.stored.orphans.iter().map(String::as_str).collect();
        for (name, id) in &self.stored.intents {
            match (acts.contains(name.as_str()), orphans.contains(id.as_str())) {
                (false, false) => {
                    ledger.intents_untold += 1;
                    complain(&mut ledger.complaints, || {
                        format!("{name} was announced, and nothing tells its end")
                    });
                }
                (true, true) => ledger.intents_early += 1,
                (true, false) | (false, true) => {}
            }
        }
    }

    fn batches(&self, ledger: &mut Ledger) {
        let acknowledged = &self.passed.acknowledged;
        let gone: BTreeSet<&Place> = self.restored.iter().flat_map(|restored| &restored.batches).collect();
        let promised: BTreeSet<&Place> = acknowledged.keys().chain(self.queued).collect();
        let mut batches = Batches {
            queued: self.queued.len() as u64,
            acknowledged: acknowledged.len() as u64,
            repeated: acknowledged.values().map(|count| count - 1).sum(),
            refused: self.passed.refused.values().sum(),
            ..Batches::default()
        };
        for place in promised.iter().filter(|place| !self.stored.batches.contains(**place)) {
            if gone.contains(*place) {
                continue;
            }
            batches.lost += 1;
            complain(&mut ledger.complaints, || format!("batch {} of {} was acknowledged", place.1, place.0));
        }
        let streams: BTreeMap<&str, &Value> =
            self.streams().filter_map(|stream| Some((stream["stream"].as_str()?, stream))).collect();
        for place in gone.iter().filter(|place| !self.stored.batches.contains(**place)) {
            let Some(stream) = streams.get(place.0.as_str()) else {
                batches.restored_stream += 1;
                continue;
            };
            let high = stream["high_seq"].as_u64().unwrap_or(0);
            let is_hole = gaps(stream).any(|(first, last)| (first..=last).contains(&place.1));
            if is_hole {
                batches.restored_gap += 1;
            } else if place.1 > high && stream["tail"] == "unknown" {
                batches.restored_tail += 1;
            } else if place.1 > high && !self.is_edge(&place.0) {
                // The backend's own stream goes on under another name after a restore.
                batches.restored_tail += 1;
            } else {
                batches.restored_untold += 1;
                complain(&mut ledger.complaints, || format!("batch {} of {} went untold", place.1, place.0));
            }
        }
        for (name, stream) in &streams {
            let missing = gaps(stream).flat_map(|(first, last)| first..=last);
            let unexplained =
                missing.filter(|seq| !gone.contains(&((*name).to_owned(), *seq))).count() as u64;
            if unexplained > 0 {
                complain(&mut ledger.complaints, || format!("{unexplained} batches of {name} are missing"));
            }
            batches.gaps_unexplained += unexplained;
            if self.is_edge(name) {
                match stream["tail"].as_str() {
                    Some("unknown") => ledger.streams_ended += 1,
                    _ => ledger.streams_open += 1,
                }
            }
        }
        ledger.batches = batches;
    }

    fn streams(&self) -> impl Iterator<Item = &Value> {
        self.streams.as_array().into_iter().flatten()
    }

    /// Whether a stream is a Worker's.
    fn is_edge(&self, stream: &str) -> bool {
        self.passed.acknowledged.keys().any(|(name, _)| name == stream)
    }
}

/// The open holes of a stream, first and last place.
fn gaps(stream: &Value) -> impl Iterator<Item = (u64, u64)> {
    let gaps = stream["gaps"].as_array().into_iter().flatten().filter(|gap| gap["state"] == "open");
    gaps.filter_map(|gap| Some((gap["first_seq"].as_u64()?, gap["last_seq"].as_u64()?)))
}

fn complain(complaints: &mut Vec<String>, words: impl FnOnce() -> String) {
    if complaints.len() < TOLD {
        complaints.push(words());
    }
}
