//! What readers looked at, as events of the log: one for each reader, kind of reading and window of time.
//!
//! A read is counted in memory and never waits for its event. A crash loses what was counted in the last window; a stop does not.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use shared::event::{Actor, TenantId, Timestamp, Trust};
use tokio::sync::watch;

use super::Means;
use crate::clock::Clock;
use crate::own::{OwnError, OwnEvent, Recorder, outbox};
use crate::store::Store;

/// Searches and objects of one event that are named; of the others there is a count. 40 of 300 bytes each are 12 KB.
const NAMED: usize = 40;
/// Bytes of a search or an object that are kept.
const MAX_NAME: usize = 300;
/// How often waiting events are recorded, and windows looked at.
const TICK: Duration = Duration::from_secs(1);

/// A kind of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadKind {
    /// A list of events.
    Search,
    /// One event, or its proof.
    Event,
    /// Counts: histograms and facets.
    Counts,
    /// Everything about an entity.
    Timeline,
    /// An actor at a glance.
    Actor,
    /// Openings and absence lists.
    Openings,
    /// Events as a file.
    Export,
    /// The quarantine.
    Quarantine,
    /// What the backend says of itself: coverage, streams, policies, retention and the like.
    Records,
    /// Somebody's own activity, by themselves.
    OwnActivity,
}

impl ReadKind {
    /// The word that stands for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Event => "event",
            Self::Counts => "counts",
            Self::Timeline => "timeline",
            Self::Actor => "actor",
            Self::Openings => "openings",
            Self::Export => "export",
            Self::Quarantine => "quarantine",
            Self::Records => "records",
            Self::OwnActivity => "own_activity",
        }
    }
}

/// One read.
#[derive(Debug, Clone)]
pub struct Read {
    /// Whose events.
    pub tenant: TenantId,
    /// Who: a key's id or a person.
    pub who: String,
    /// How they proved it.
    pub means: Means,
    /// What kind of reading.
    pub kind: ReadKind,
    /// When.
    pub at: Timestamp,
    /// The search in its canonical form, if there was one.
    pub search: Option<String>,
    /// What was looked at, such as an event's id; the route where there is no such thing.
    pub object: String,
    /// Whether personal data was masked.
    pub masked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    who: String,
    means: Means,
    kind: ReadKind,
}

#[derive(Debug, Clone)]
struct Tally {
    first: Timestamp,
    last: Timestamp,
    reads: u64,
    unmasked: u64,
    searches: Names,
    objects: Names,
}

/// How often each of some names came, the first [`NAMED`] by name.
#[derive(Debug, Clone, Default)]
struct Names {
    named: BTreeMap<String, u64>,
    others: u64,
}

impl Names {
    fn add(&mut self, name: &str) {
        // What somebody searches for may be a secret that was logged by mistake.
        let name = shared::redact::text(name, MAX_NAME);
        if self.named.len() >= NAMED && !self.named.contains_key(&name) {
            self.others += 1;
        } else {
            *self.named.entry(name).or_default() += 1;
        }
    }

    fn view(&self, name: &str) -> Vec<Value> {
        self.named.iter().map(|(text, count)| json!({name: text, "count": count})).collect()
    }
}

/// Reads that have no event yet. Clones share them.
#[derive(Debug, Clone)]
pub struct Reads {
    waiting: Arc<Mutex<HashMap<Key, Tally>>>,
    window: Option<Duration>,
}

impl Reads {
    /// Reads within a window are one event; without a window none is recorded.
    pub fn new(window: Option<Duration>) -> Self {
        Self { waiting: Arc::default(), window }
    }

    /// Counts a read.
    pub fn note(&self, read: Read) {
        if self.window.is_none() {
            return;
        }
        let key = Key { tenant: read.tenant, who: read.who, means: read.means, kind: read.kind };
        let mut waiting = self.waiting.lock().expect("no panic while locked");
        let tally = waiting.entry(key).or_insert_with(|| Tally {
            first: read.at,
            last: read.at,
            reads: 0,
            unmasked: 0,
            searches: Names::default(),
            objects: Names::default(),
        });
        tally.last = tally.last.max(read.at);
        tally.reads += 1;
        tally.unmasked += u64::from(!read.masked);
        if let Some(search) = &read.search {
            tally.searches.add(search);
        }
        tally.objects.add(&read.object);
    }

    /// Records the windows that are over at a time, or all of them.
    async fn flush(&self, recorder: &Recorder, now: Option<Timestamp>) -> Result<(), OwnError> {
        let window = self.window.unwrap_or_default().as_millis();
        let is_over = |tally: &Tally| {
            now.is_none_or(|now| u128::from(now.millis()) >= u128::from(tally.first.millis()) + window)
        };
        let due: Vec<(Key, Tally)> = {
            let mut waiting = self.waiting.lock().expect("no panic while locked");
            waiting.extract_if(|_, tally| is_over(tally)).collect()
        };
        if due.is_empty() {
            return Ok(());
        }
        let events = due.iter().map(|(key, tally)| event(key, tally)).collect();
        let recorded = recorder.record(events).await;
        if recorded.is_err() {
            self.put_back(due);
        }
        recorded.map(|_| ())
    }

    /// Keeps what could not be recorded; what was counted meanwhile is an event of its own later.
    fn put_back(&self, due: Vec<(Key, Tally)>) {
        let mut waiting = self.waiting.lock().expect("no panic while locked");
        for (key, mut tally) in due {
            if let Some(newer) = waiting.remove(&key) {
                tally.last = newer.last;
                tally.reads += newer.reads;
                tally.unmasked += newer.unmasked;
                for (names, newer) in
                    [(&mut tally.searches, newer.searches), (&mut tally.objects, newer.objects)]
                {
                    names.others += newer.others;
                    newer.named.keys().for_each(|name| names.add(name));
                }
            }
            waiting.insert(key, tally);
        }
    }
}

fn event(key: &Key, tally: &Tally) -> OwnEvent {
    let actor = Actor {
        id: key.who.clone(),
        email: key.who.contains('@').then(|| key.who.clone()),
        method: Some(key.means.word().to_owned()),
        ..Actor::default()
    };
    OwnEvent {
        trust: Trust::Verified,
        actor: Some(actor),
        details: Some(json!({
            "kind": key.kind.word(),
            "reads": tally.reads,
            "unmasked": tally.unmasked,
            "from": tally.first.to_string(),
            "to": tally.last.to_string(),
            "searches": tally.searches.view("text"),
            "more_searches": tally.searches.others,
            "objects": tally.objects.view("object"),
            "more_objects": tally.objects.others,
        })),
        ..OwnEvent::new(&key.tenant, "AUDIT_READ", "ingest/access", tally.last, "audit_log", key.kind.word())
    }
}

/// Records reads and the events of our own that wait until it is stopped, then what is left.
pub async fn run(
    store: Store,
    recorder: Recorder,
    reads: Reads,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let stopping = tokio::select! {
            () = tokio::time::sleep(TICK) => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        let now = (!stopping).then(|| clock.now());
        if let Err(error) = outbox::record(&store, &recorder).await {
            tracing::warn!(%error, "events of our own are not recorded, trying again");
        }
        if let Err(error) = reads.flush(&recorder, now).await {
            tracing::warn!(%error, "reads are not recorded, trying again");
        }
        if stopping {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(n: usize) -> Read {
        Read {
            tenant: "demo".parse().expect("a slug"),
            who: "alice@example.com".to_owned(),
            means: Means::ApiKey,
            kind: ReadKind::Search,
            at: Timestamp::try_from(1_000 + n as u64).expect("a time"),
            search: Some(format!("action:A_{n}")),
            object: "/v1/events".to_owned(),
            masked: n.is_multiple_of(2),
        }
    }

    #[test]
    fn a_window_of_reads_is_one_event_of_bounded_size() {
        let reads = Reads::new(Some(Duration::from_secs(300)));
        (0..100).for_each(|n| reads.note(read(n)));
        let waiting = reads.waiting.lock().expect("no panic");
        assert_eq!(waiting.len(), 1);
        let (key, tally) = waiting.iter().next().expect("one");
        let details = event(key, tally).details.expect("details");
        assert_eq!((&details["reads"], &details["unmasked"]), (&json!(100), &json!(50)));
        assert_eq!(details["searches"].as_array().map(Vec::len), Some(NAMED));
        assert_eq!(details["more_searches"], 60);
        assert_eq!(details["objects"], json!([{"object": "/v1/events", "count": 100}]));
    }

    #[test]
    fn a_secret_that_is_searched_for_is_not_kept() {
        let mut names = Names::default();
        names.add("sk_live_4eC39HqLyjWDarjtT1zdp7dc");
        assert!(!format!("{names:?}").contains("4eC39"), "{names:?}");
    }

    #[test]
    fn what_was_not_recorded_is_counted_with_what_came_meanwhile() {
        let reads = Reads::new(Some(Duration::from_secs(300)));
        reads.note(read(1));
        let due: Vec<_> = reads.waiting.lock().expect("no panic").drain().collect();
        reads.note(read(2));
        reads.put_back(due);
        let waiting = reads.waiting.lock().expect("no panic");
        let tally = waiting.values().next().expect("one");
        assert_eq!((tally.reads, tally.searches.named.len()), (2, 2));
    }
}
