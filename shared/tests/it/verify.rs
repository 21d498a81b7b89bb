//! The verifier over bundles made here, and every kind of damage that can be done to them.

use std::collections::BTreeMap;
use std::convert::Infallible;

use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::json;
use shared::absence::{AbsenceList, Lost};
use shared::bundle::{
    self, Kind as BundleKind, LogId, LogItem, Manifest, OpeningLine, ProofFile, checkpoint_path,
    previous_path, tile_path, tiles_of,
};
use shared::event::{
    Action, BodyState, Context, Entity, EntityType, Event, EventId, JsonText, Outcome, RequestFacts,
    RetentionClass, Severity, Timestamp, Trust as Trusted,
};
use shared::leaf::{self, ENTRY_LEN, Hash, Opening, Seed, StoredOpening, Tag};
use shared::note::{Checkpoint, KeyName, VerifierKey, assemble};
use shared::tree::{CompactRange, TileRef, encode_bundle, inclusion_proof, leaf_hash, succession_digest};
use shared::verify::{Check, Held, Kind, KnownHead, Report, Source, Trust, Verdict, Verifier, verify};

const DAY: u64 = 86_400_000;
const START: u64 = 1_790_000_000_000;

/// Files in memory.
#[derive(Clone, Default)]
struct Files {
    all: BTreeMap<String, Vec<u8>>,
    lines: Vec<Vec<u8>>,
    next: usize,
}

impl Source for Files {
    type Error = Infallible;

    fn file(&mut self, path: &str, _: usize) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.all.get(path).cloned())
    }

    fn absences(&mut self) -> Result<Vec<uuid::Uuid>, Infallible> {
        let records = self.all.keys().filter_map(|path| path.strip_prefix("absences/")?.parse().ok());
        Ok(records.collect())
    }

    fn has_openings(&mut self) -> Result<bool, Infallible> {
        Ok(!self.lines.is_empty())
    }

    fn next_opening(&mut self) -> Result<Option<Vec<u8>>, Infallible> {
        self.next += 1;
        Ok(self.lines.get(self.next - 1).cloned())
    }
}

/// A log as its owner has it.
#[derive(Clone)]
struct Log {
    key: SigningKey,
    id: LogId,
    previous: Option<LogId>,
    first: Vec<[u8; ENTRY_LEN]>,
    events: Vec<(Event, Opening, u64)>,
}

impl Log {
    fn new(byte: u8, previous: Option<LogId>) -> Self {
        let key = SigningKey::from_bytes(&[byte; 32]);
        Self { key, id: LogId([byte; 16]), previous, first: Vec::new(), events: Vec::new() }
    }

    fn origin(&self) -> String {
        format!("log.example/log/{}", self.id)
    }

    fn verifier(&self) -> VerifierKey {
        let name = KeyName::try_from(self.origin()).expect("a name");
        VerifierKey { name, public: self.key.verifying_key().to_bytes() }
    }

    fn entries(&self) -> Vec<[u8; ENTRY_LEN]> {
        let events = self.events.iter();
        let entries =
            events.map(|(event, opening, at)| leaf::entry(event.class, *at, &leaf::digest(opening)));
        self.first.iter().copied().chain(entries).collect()
    }

    fn note(&self, size: usize) -> String {
        let leaves: Vec<Hash> = self.entries()[..size].iter().map(|entry| leaf_hash(entry)).collect();
        let text = Checkpoint { origin: self.origin(), size: size as u64, root: root(&leaves) }.to_string();
        let verifier = self.verifier();
        assemble(&text, &verifier.name, verifier.id(), &self.key.sign(text.as_bytes()).to_bytes())
    }

    fn known(&self, size: usize) -> KnownHead {
        KnownHead::read("kept.txt", self.note(size).as_bytes()).expect("a head")
    }

    fn item(&self) -> LogItem {
        let (log_id, key) = (self.id, self.verifier());
        LogItem {
            others: Vec::new(),
            log_id,
            origin: self.origin(),
            key,
            size: self.entries().len() as u64,
            previous: self.previous,
        }
    }

    fn put(&self, files: &mut Files) {
        let entries = self.entries();
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        files.all.insert(checkpoint_path(self.id), self.note(entries.len()).into_bytes());
        for tile in tiles_of(entries.len() as u64) {
            let first = usize::try_from(tile.index * 256).expect("small");
            let bytes = match tile.level {
                None => encode_bundle(
                    entries[first..first + usize::from(tile.width)].iter().map(<[u8; ENTRY_LEN]>::as_slice),
                ),
                Some(level) => {
                    let span = 256_usize.pow(u32::from(level));
                    let hashes = (first..first + usize::from(tile.width))
                        .map(|at| root(&leaves[at * span..(at + 1) * span]));
                    hashes.flatten().collect()
                }
            };
            files.all.insert(tile_path(self.id, tile), bytes);
        }
        for (at, (event, opening, _)) in self.events.iter().enumerate() {
            let line = OpeningLine {
                place: Some((self.id, (at + self.first.len()) as u64)),
                id: Some(event.id.uuid()),
                opening: Some(opening.encode()),
                ..OpeningLine::default()
            };
            files.lines.push(line.to_json().trim_end().as_bytes().to_vec());
        }
    }

    fn add(&mut self, event: Event, received: u64) {
        let n = self.events.len().to_be_bytes();
        let mut seed = [self.id.0[0]; 32];
        seed[..n.len()].copy_from_slice(&n);
        let opening = event.to_opening(Seed(seed));
        self.events.push((event, opening, received));
    }
}

fn root(leaves: &[Hash]) -> Hash {
    let mut range = CompactRange::default();
    leaves.iter().for_each(|leaf| range.append(*leaf));
    range.root()
}

fn event(n: u64, class: RetentionClass) -> Event {
    let at = Timestamp::try_from(START + n * 1000).expect("a time");
    let mut random = [0; 10];
    random[..8].copy_from_slice(&n.to_be_bytes());
    Event {
        tenant: "acme".parse().expect("a slug"),
        id: EventId::mint(at, &random),
        occurred_at: at,
        class,
        action: Action::try_from("AGENT_UPDATED".to_owned()).expect("an action"),
        severity: Severity::Info,
        outcome: Outcome::Success,
        reason: None,
        trust: Trusted::Verified,
        actor: None,
        claimed_user: None,
        entity: None,
        request: RequestFacts {
            host: "app.example.com".to_owned(),
            method: "PUT".to_owned(),
            route: "/api/agents/{id}".to_owned(),
            rule: "app/agent-update".to_owned(),
            status: Some(200),
            request_body: BodyState::Complete,
            response_body: BodyState::Complete,
        },
        context: Context {
            ip: Some("203.0.113.7".parse().expect("an address")),
            user_agent: Some("test".to_owned()),
            session: None,
            place: None,
        },
        details: Some(JsonText::from(&json!({"n": n}))),
        changes: None,
        compliance: Vec::new(),
        duration_ms: None,
        echo: false,
    }
}

fn record(n: u64, action: &str, list: &AbsenceList, more: &serde_json::Value, at: u64) -> Event {
    let mut record = event(n, RetentionClass::Permanent);
    record.occurred_at = Timestamp::try_from(at).expect("a time");
    record.action = Action::try_from(action.to_owned()).expect("an action");
    record.request.host = "ingest".to_owned();
    record.request.rule = "ingest/retention".to_owned();
    record.entity = Some(Entity {
        kind: EntityType::try_from("partition".to_owned()).expect("a type"),
        id: None,
        name: None,
    });
    let mut details = more.clone();
    details["absence"] =
        json!({"sha256": hex::encode(list.hash()), "leaves": list.leaves(), "runs": list.runs().len()});
    record.details = Some(JsonText::from(&details));
    record
}

/// Six hundred events, and a year later twenty more under a succession leaf.
fn two_years() -> (Log, Log) {
    let mut old = Log::new(1, None);
    for n in 0..600 {
        old.add(event(n, RetentionClass::Standard), START + n * 1000 + 5);
    }
    let mut new = Log::new(2, Some(old.id));
    let digest = succession_digest(old.note(600).as_bytes());
    new.first.push(leaf::entry(RetentionClass::Permanent, START + 366 * DAY, &digest));
    for n in 600..620 {
        new.add(event(n, RetentionClass::Standard), START + 366 * DAY + n);
    }
    (old, new)
}

fn files(logs: &[&Log]) -> (Manifest, Files) {
    let mut files = Files::default();
    logs.iter().for_each(|log| log.put(&mut files));
    let manifest = Manifest {
        kind: BundleKind::Log,
        tenant: "acme".parse().expect("a slug"),
        made_at: "2026-11-25T00:00:00.000Z".to_owned(),
        logs: logs.iter().map(|log| log.item()).collect(),
    };
    (manifest, files)
}

fn check(manifest: &Manifest, files: &Files, trust: &Trust) -> Report {
    verify(&mut files.clone(), manifest, trust.clone(), &mut |_, _| {}).expect("files in memory")
}

/// Asserts that exactly these kinds are found.
fn found(report: &Report, kinds: &[Kind]) {
    let found: Vec<Kind> = report.totals.keys().copied().collect();
    assert_eq!(found, kinds, "{:#?}", report.findings);
}

fn drop_line(files: &mut Files, at: usize) -> OpeningLine {
    OpeningLine::parse(&files.lines.remove(at)).expect("a line")
}

fn put_line(files: &mut Files, at: usize, line: &OpeningLine) {
    files.lines.insert(at, line.to_json().trim_end().as_bytes().to_vec());
}

#[test]
fn two_years_verify_with_every_check_passed_and_none_skipped_unsaid() {
    let (old, new) = two_years();
    let (manifest, files) = files(&[&old, &new]);
    let mut heard = Vec::new();
    let trust =
        Trust { keys: vec![old.verifier(), new.verifier()], heads: vec![old.known(300), new.known(21)] };
    let report = verify(&mut files.clone(), &manifest, trust, &mut |done, total| heard.push((done, total)))
        .expect("read");
    found(&report, &[]);
    let passed = |log: usize| report.logs[log].checks().map(|(_, check)| check);
    use Check::{Passed, Skipped};
    assert_eq!(passed(0), [Passed, Passed, Passed, Passed, Skipped, Passed, Skipped]);
    assert_eq!(passed(1), [Passed, Passed, Passed, Passed, Passed, Passed, Skipped]);
    assert_eq!((report.counts.entries, report.counts.whole, report.counts.successions), (621, 620, 1));
    assert_eq!(heard.last(), Some(&(621, 621)));
    // Without anything kept outside, continuity was not checked, and it says so.
    let alone = check(&manifest, &files, &Trust::default());
    assert_eq!(alone.logs[0].consistency, Skipped);
}

#[test]
fn each_damage_is_found_under_its_own_name() {
    type Damage = fn(&mut Manifest, &mut Files);
    let cases: [(&str, Damage, &[Kind]); 16] = [
        (
            "an edited opening",
            |_, files| {
                let mut line = drop_line(files, 299);
                let opening = line.opening.as_mut().expect("an opening");
                let at = opening.len() - 2;
                opening[at] ^= 1;
                put_line(files, 299, &line);
            },
            &[Kind::Edited],
        ),
        ("a deleted opening", |_, files| drop(drop_line(files, 299)), &[Kind::Deleted]),
        (
            "two swapped",
            |_, files| {
                let (b, a) = (drop_line(files, 300), drop_line(files, 299));
                put_line(files, 299, &OpeningLine { place: a.place, ..b.clone() });
                put_line(files, 300, &OpeningLine { place: b.place, ..a });
            },
            &[Kind::Reordered],
        ),
        (
            "one twice",
            |_, files| {
                let line = files.lines[299].clone();
                files.lines.insert(299, line);
            },
            &[Kind::Duplicated],
        ),
        (
            "a column",
            |_, files| {
                let mut line = drop_line(files, 299);
                line.columns.insert("action".to_owned(), Some("AGENT_CREATED".to_owned()));
                put_line(files, 299, &line);
            },
            &[Kind::ColumnEdited],
        ),
        (
            "an entry",
            |_, files| {
                files
                    .all
                    .get_mut("logs/01010101010101010101010101010101/tile/entries/001")
                    .expect("a bundle")[44 * 43 + 20] ^= 1;
            },
            &[Kind::Edited, Kind::EntryEdited],
        ),
        (
            "a tile",
            |_, files| {
                files.all.get_mut("logs/01010101010101010101010101010101/tile/0/001").expect("a tile")[5] ^=
                    1;
            },
            &[Kind::TileEdited],
        ),
        (
            "a tile of the second level",
            |_, files| {
                files.all.get_mut("logs/01010101010101010101010101010101/tile/1/000.p/2").expect("a tile")
                    [5] ^= 1;
            },
            &[Kind::TileEdited],
        ),
        (
            "the end of the entries",
            |_, files| {
                files.all.remove("logs/01010101010101010101010101010101/tile/entries/002.p/88");
            },
            &[Kind::Truncated],
        ),
        (
            "the head's root",
            |_, files| {
                let head =
                    files.all.get_mut("logs/01010101010101010101010101010101/checkpoint").expect("a head");
                let at = head.windows(4).position(|four| four == b"600\n").expect("the size");
                head[at + 6] = if head[at + 6] == b'A' { b'B' } else { b'A' };
            },
            &[Kind::SuccessionBroken, Kind::RootMismatch, Kind::BadSignature],
        ),
        (
            "no head",
            |_, files| {
                files.all.remove("logs/01010101010101010101010101010101/checkpoint");
            },
            &[Kind::HeadMissing],
        ),
        (
            "the head of the other log",
            |_, files| {
                let other = files.all["logs/02020202020202020202020202020202/checkpoint"].clone();
                files.all.insert("logs/01010101010101010101010101010101/checkpoint".to_owned(), other);
            },
            &[Kind::Truncated, Kind::RootMismatch, Kind::HeadElsewhere],
        ),
        (
            "the first year",
            |manifest, files| {
                manifest.logs.remove(0);
                files.lines.drain(..600);
            },
            &[Kind::LogMissing],
        ),
        (
            "a line that cannot be read",
            |_, files| {
                files.lines.insert(3, b"{\"log\":1".to_vec());
            },
            &[Kind::Unreadable],
        ),
        (
            "a line of no log",
            |_, files| {
                let line = OpeningLine { place: Some((LogId([9; 16]), 0)), ..OpeningLine::default() };
                put_line(files, 0, &line);
            },
            &[Kind::Unreadable],
        ),
        (
            "bytes that are no bundle",
            |_, files| {
                files.all.insert(
                    "logs/02020202020202020202020202020202/tile/entries/000.p/21".to_owned(),
                    vec![1; 45],
                );
            },
            &[Kind::Truncated],
        ),
    ];
    let (old, new) = two_years();
    for (name, damage, kinds) in cases {
        let (mut manifest, mut files) = files(&[&old, &new]);
        damage(&mut manifest, &mut files);
        let report = check(&manifest, &files, &Trust::default());
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        let found: Vec<Kind> = report.totals.keys().copied().collect();
        if name == "the head of the other log" {
            assert!(found.contains(&Kind::HeadElsewhere), "{name}: {found:?}");
        } else {
            assert_eq!(found, kinds, "{name}: {:#?}", report.findings);
        }
    }
}

#[test]
fn the_first_bad_event_is_named_by_id_leaf_and_log() {
    let (old, new) = two_years();
    let (manifest, mut files) = files(&[&old, &new]);
    drop_line(&mut files, 450);
    let mut line = drop_line(&mut files, 17);
    line.opening.as_mut().expect("an opening")[20] ^= 1;
    put_line(&mut files, 17, &line);
    let report = check(&manifest, &files, &Trust::default());
    let first = report.first().expect("found");
    assert_eq!(
        (first.kind, first.index, first.event),
        (Kind::Edited, Some(17), Some(old.events[17].0.id.uuid()))
    );
    assert_eq!(
        first.to_string(),
        format!(
            "edited: event {}, leaf 17 of log {}: its opening does not hash to its entry",
            old.events[17].0.id, old.id
        )
    );
}

#[test]
fn what_was_kept_outside_tells_a_rolled_back_a_forked_and_a_re_chained_log_apart() {
    let (old, _) = two_years();
    let trust = |head: KnownHead| Trust { keys: Vec::new(), heads: vec![head] };
    let mut restored = old.clone();
    restored.events.truncate(400);
    let (manifest, some) = files(&[&restored]);
    found(&check(&manifest, &some, &trust(old.known(600))), &[Kind::Truncated]);
    found(&check(&manifest, &some, &trust(old.known(300))), &[]);

    // It grew again after the restore, otherwise.
    for n in 900..1200 {
        restored.add(event(n, RetentionClass::Standard), START + n);
    }
    let (manifest, some) = files(&[&restored]);
    found(&check(&manifest, &some, &trust(old.known(600))), &[Kind::Forked]);

    let mut anew = old.clone();
    anew.events[5].0.action = Action::try_from("AGENT_DELETED".to_owned()).expect("an action");
    anew.events[5].1 = anew.events[5].0.to_opening(Seed([8; 32]));
    anew.key = SigningKey::from_bytes(&[77; 32]);
    let (manifest, some) = files(&[&anew]);
    found(&check(&manifest, &some, &Trust::default()), &[]);
    let report = check(&manifest, &some, &trust(old.known(600)));
    found(&report, &[Kind::ReChained]);
    assert!(report.findings[0].detail.contains("all of it was made anew"), "{}", report.findings[0]);
    let keys = Trust { keys: vec![old.verifier()], heads: Vec::new() };
    found(&check(&manifest, &some, &keys), &[Kind::UnknownKey]);

    let (manifest, none) = files(&[]);
    let report = check(&manifest, &none, &trust(old.known(600)));
    found(&report, &[Kind::LogMissing]);
    assert!(check(&manifest, &none, &Trust::default()).is_empty());
}

/// A log of six hundred events of which a backup holds four hundred, the one that goes on, and its record.
struct Restored {
    whole: Log,
    left: Log,
    fresh: Log,
}

impl Restored {
    fn new() -> Self {
        let (whole, _) = two_years();
        let mut left = whole.clone();
        left.events.truncate(400);
        let note = whole.note(600);
        Self { fresh: Self::reopened(&whole, &note, Some(400)), whole, left }
    }

    /// A log that goes on after a head of another, with its record, if there is one.
    fn reopened(old: &Log, note: &str, recorded: Option<u64>) -> Log {
        let mut fresh = Log::new(7, Some(old.id));
        let digest = succession_digest(note.as_bytes());
        fresh.first.push(leaf::entry(RetentionClass::Permanent, START + DAY, &digest));
        if let Some(held) = recorded {
            let mut record = event(2000, RetentionClass::Permanent);
            record.action = Action::try_from("LOG_REOPENED".to_owned()).expect("an action");
            record.request.host = "ingest".to_owned();
            record.request.rule = "ingest/integrity".to_owned();
            let kind = EntityType::try_from("log".to_owned()).expect("a type");
            record.entity = Some(Entity { kind, id: Some(fresh.id.to_string()), name: None });
            let known: u64 = note.lines().nth(1).and_then(|size| size.parse().ok()).expect("a size");
            // Some of what the backup holds was not served yet.
            record.details = Some(JsonText::from(&json!({
                "previous": old.id, "head_size": known, "database_size": held + 5, "published_size": held,
            })));
            fresh.add(record, START + DAY);
        }
        for n in 2001..2020 {
            fresh.add(event(n, RetentionClass::Standard), START + DAY + n);
        }
        fresh
    }

    fn check(&self, named: Option<&str>, trust: &Trust) -> Report {
        let (manifest, mut files) = files(&[&self.left, &self.fresh]);
        if let Some(note) = named {
            files.all.insert(previous_path(self.fresh.id), note.as_bytes().to_vec());
        }
        check(&manifest, &files, trust)
    }
}

#[test]
fn a_log_that_a_restore_closed_is_told_as_a_loss_of_so_many_entries_and_not_as_success() {
    let scene = Restored::new();
    let note = scene.whole.note(600);
    let report = scene.check(Some(&note), &Trust::default());
    found(&report, &[Kind::Restored]);
    assert_eq!((report.verdict(), report.is_valid()), (Verdict::Restored, false));
    assert_eq!((report.counts.lost, report.counts.entries, report.counts.successions), (200, 421, 1));
    assert_eq!(
        report.findings[0].to_string(),
        format!(
            "lost in a restore: leaf 400 of log {}: closed by a restore: the backup holds 400 of 600 leaves; \
             leaves 400..600 are missing since the head of 600 entries that log {} names",
            scene.whole.id, scene.fresh.id
        )
    );
    assert!(report.logs.iter().all(shared::verify::LogReport::is_valid), "{:#?}", report.logs);
    assert_eq!(report.logs[1].succession, Check::Passed);

    // Whoever kept the lost head, or one before it, is told the same.
    for kept in [600, 500, 300] {
        let trust = Trust { keys: Vec::new(), heads: vec![scene.whole.known(kept)] };
        let report = scene.check(Some(&note), &trust);
        found(&report, &[Kind::Restored]);
        let told = report.notes.iter().any(|note| note.contains("knows 500 entries"));
        assert_eq!((told, report.logs[0].consistency == Check::Passed), (kept == 500, kept == 300), "{kept}");
    }

    // Without openings the record cannot be seen, and that is said.
    let (manifest, mut some) = files(&[&scene.left, &scene.fresh]);
    some.all.insert(previous_path(scene.fresh.id), note.into_bytes());
    some.lines.clear();
    let report = check(&manifest, &some, &Trust::default());
    found(&report, &[Kind::Restored]);
    assert!(
        report.notes.iter().any(|note| note.contains("has a record of the restore")),
        "{:?}",
        report.notes
    );
}

#[test]
fn an_end_that_was_cut_off_is_not_excused_by_a_claim_of_a_restore() {
    let scene = Restored::new();
    let note = scene.whole.note(600);
    let trust = Trust::default();

    // Without the head that leaf 0 names, or with another one.
    found(&scene.check(None, &trust), &[Kind::SuccessionBroken]);
    found(&scene.check(Some(&scene.whole.note(500)), &trust), &[Kind::SuccessionBroken]);
    found(&scene.check(Some("no note"), &trust), &[Kind::SuccessionBroken]);

    // Without a record, or with one that says more than is left.
    for recorded in [None, Some(450)] {
        let fresh = Restored::reopened(&scene.whole, &note, recorded);
        let report = Restored { fresh, ..Restored::new() }.check(Some(&note), &trust);
        found(&report, &[Kind::Truncated]);
        assert_eq!((report.findings[0].index, report.counts.lost), (Some(400), 0), "{recorded:?}");
    }

    // Somebody else's record is none.
    let mut other = Restored::new();
    other.fresh.events[0].0.request.host = "app.example.com".to_owned();
    other.fresh.events[0].1 = other.fresh.events[0].0.to_opening(Seed([1; 32]));
    found(&other.check(Some(&note), &trust), &[Kind::Truncated]);

    // A head that another key signed, or one of another log.
    let mut forger = scene.whole.clone();
    forger.key = SigningKey::from_bytes(&[66; 32]);
    let mut elsewhere = scene.whole.clone();
    elsewhere.id = LogId([8; 16]);
    for signer in [&forger, &elsewhere] {
        let note = signer.note(600);
        let fresh = Restored::reopened(&scene.whole, &note, Some(400));
        let report = Restored { fresh, ..Restored::new() }.check(Some(&note), &trust);
        found(&report, &[Kind::SuccessionBroken]);
    }

    // A head that is no larger than what is left.
    let small = scene.whole.note(300);
    let fresh = Restored::reopened(&scene.whole, &small, Some(300));
    found(&Restored { fresh, ..Restored::new() }.check(Some(&small), &trust), &[Kind::SuccessionBroken]);
}

#[test]
fn a_claim_that_admits_less_than_somebody_knows_is_found() {
    let scene = Restored::new();
    let trust = Trust { keys: Vec::new(), heads: vec![scene.whole.known(600)] };
    let less = scene.whole.note(500);
    let fresh = Restored::reopened(&scene.whole, &less, Some(400));
    let report = Restored { fresh, ..Restored::new() }.check(Some(&less), &trust);
    found(&report, &[Kind::Truncated, Kind::Restored]);
    assert_eq!((report.verdict(), report.logs[0].consistency), (Verdict::Invalid, Check::Failed));
    assert_eq!(report.first().map(|first| first.kind), Some(Kind::Truncated));

    // Of the same size and another tree.
    let mut otherwise = scene.whole.clone();
    otherwise.add(event(999, RetentionClass::Standard), START);
    otherwise.events.swap(599, 600);
    let forked = otherwise.note(600);
    let fresh = Restored::reopened(&scene.whole, &forked, Some(400));
    let report = Restored { fresh, ..Restored::new() }.check(Some(&forked), &trust);
    found(&report, &[Kind::Restored, Kind::Forked]);

    // Leaf 0 names what is left, and the record knows more.
    let mut plain = Restored::reopened(&scene.whole, &scene.whole.note(600), Some(400));
    let digest = succession_digest(scene.left.note(400).as_bytes());
    plain.first[0] = leaf::entry(RetentionClass::Permanent, START + DAY, &digest);
    let report = Restored { fresh: plain, ..Restored::new() }.check(None, &Trust::default());
    found(&report, &[Kind::Truncated]);
    assert!(report.findings[0].detail.contains("600 entries of it were seen"), "{}", report.findings[0]);
}

#[test]
fn the_middle_of_a_log_is_judged_by_the_rules_of_the_whole() {
    let (log, files, manifest) = lived();
    let lines: Vec<OpeningLine> =
        files.lines.iter().map(|line| OpeningLine::parse(line).expect("a line")).collect();
    let part = |from: usize, to: usize, hidden: Option<usize>| {
        let mut verifier = Verifier::new(Some(manifest.tenant.clone()), Trust::default());
        for (path, bytes) in files.all.iter().filter(|(path, _)| path.starts_with("absences/")) {
            verifier.absences(path["absences/".len()..].parse().expect("an id"), bytes);
        }
        // The records stand at the end of the log.
        for at in 300..303 {
            verifier.record(log.id, at, &log.events[usize::try_from(at).expect("small")].1.encode());
        }
        verifier.begin_at(&log.item(), from as u64);
        for (at, (entry, line)) in log.entries().iter().zip(&lines).enumerate().take(to).skip(from) {
            let held = if hidden == Some(at) { Held::Nothing } else { Held::Line(line) };
            verifier.leaf(entry, held);
        }
        assert_eq!(verifier.position(), to as u64);
        verifier.end(None);
        verifier.finish()
    };
    let report = part(120, 255, None);
    found(&report, &[]);
    assert_eq!((report.counts.dropped, report.counts.context_dropped, report.counts.whole), (79, 5, 49));
    let report = part(208, 255, Some(208));
    found(&report, &[Kind::Deleted]);
    assert_eq!(report.findings[0].index, Some(208));
}

/// A year with everything that may happen to it by right.
fn lived() -> (Log, Files, Manifest) {
    let mut log = Log::new(3, None);
    for n in 0..300 {
        let class = if n % 50 == 0 { RetentionClass::Critical } else { RetentionClass::Standard };
        log.add(event(n, class), START + n * 1000);
    }
    let of = |leaves: Vec<u64>, lost: Lost| {
        AbsenceList::of(leaves.into_iter().map(|leaf| ([3; 16], leaf, lost)).collect())
    };
    let dropped = of((0..200).filter(|n| n % 50 != 0).collect(), Lost::EVENT);
    let context = of((250..260).collect(), Lost::fields(&[Tag::IP, Tag::USER_AGENT]));
    let erased = of(vec![205, 206], Lost::fields(&[Tag::DETAILS, Tag::IP]));
    let after = START + 400 * DAY;
    let what = |what: &str, days: u64| json!({"what": what, "class": "standard", "period_days": days});
    let lists = [
        (record(1000, "RETENTION_DROP", &dropped, &what("events", 365), after), dropped),
        (record(1001, "RETENTION_DROP", &context, &what("context", 90), after), context),
        (record(1002, "ERASURE", &erased, &json!({}), after), erased),
    ];
    for (event, _) in &lists {
        log.add(event.clone(), after);
    }
    let (manifest, mut files) = files(&[&log]);
    for (event, list) in &lists {
        files.all.insert(bundle::absence_path(event.id.uuid()), list.encode());
        for run in list.runs() {
            for leaf in run.first..run.first + u64::from(run.count) {
                let at = usize::try_from(leaf).expect("small");
                let mut line = OpeningLine::parse(&files.lines[at]).expect("a line");
                if run.lost.is_event() {
                    line.opening = None;
                } else {
                    let tags = [Tag::IP, Tag::USER_AGENT, Tag::DETAILS];
                    let tags: Vec<Tag> = tags.into_iter().filter(|tag| run.lost.covers(*tag)).collect();
                    let stored =
                        StoredOpening::decode(&line.opening.take().expect("an opening")).expect("readable");
                    line.opening =
                        stored.erase(&tags).map(|remnant| StoredOpening::Remnant(remnant).encode());
                }
                files.lines[at] = line.to_json().trim_end().as_bytes().to_vec();
            }
        }
    }
    (log, files, manifest)
}

#[test]
fn what_was_erased_and_dropped_by_record_is_explained_and_counted() {
    let (_, files, manifest) = lived();
    let report = check(&manifest, &files, &Trust::default());
    found(&report, &[]);
    let counts = report.counts;
    assert_eq!((counts.dropped, counts.context_dropped, counts.erased_in_part), (196, 10, 2));
    assert_eq!((counts.whole, counts.records, counts.unexplained), (303 - 208, 3, 0));
    assert_eq!(report.absences, Check::Passed);
}

#[test]
fn an_absence_that_no_record_explains_is_not_excused_by_another() {
    let (log, files, manifest) = lived();
    let record_of = |n: usize| log.events[n].0.id.uuid();

    let mut one_more = files.clone();
    let mut line = OpeningLine::parse(&one_more.lines[210]).expect("a line");
    line.opening = None;
    one_more.lines[210] = line.to_json().trim_end().as_bytes().to_vec();
    found(&check(&manifest, &one_more, &Trust::default()), &[Kind::Deleted]);

    let mut field = files.clone();
    let mut line = OpeningLine::parse(&field.lines[211]).expect("a line");
    let stored = StoredOpening::decode(&line.opening.take().expect("an opening")).expect("readable");
    line.opening = stored.erase(&[Tag::USER_AGENT]).map(|remnant| StoredOpening::Remnant(remnant).encode());
    field.lines[211] = line.to_json().trim_end().as_bytes().to_vec();
    let report = check(&manifest, &field, &Trust::default());
    found(&report, &[Kind::Deleted]);
    assert!(report.findings[0].detail.starts_with("field 0x8005 is gone"), "{}", report.findings[0]);

    let mut longer = files.clone();
    let list = AbsenceList::of((0..200).map(|leaf| ([3; 16], leaf, Lost::EVENT)).collect());
    longer.all.insert(bundle::absence_path(record_of(300)), list.encode());
    found(&check(&manifest, &longer, &Trust::default()), &[Kind::Deleted, Kind::AbsencesEdited]);

    let mut broken = files.clone();
    broken.all.insert(bundle::absence_path(record_of(300)), vec![1; 29]);
    found(&check(&manifest, &broken, &Trust::default()), &[Kind::Deleted, Kind::AbsencesEdited]);

    let mut made_up = files.clone();
    made_up.all.insert(bundle::absence_path(record_of(4)), list.encode());
    found(&check(&manifest, &made_up, &Trust::default()), &[Kind::AbsencesUnrecorded]);

    // The record is there and its list is not.
    let mut no_list = files;
    no_list.all.remove(&bundle::absence_path(record_of(301)));
    let report = check(&manifest, &no_list, &Trust::default());
    found(&report, &[Kind::Deleted]);
    assert!(
        report.notes.iter().any(|note| note.starts_with("announced, not carried out: record")),
        "{:?}",
        report.notes
    );
}

#[test]
fn a_record_without_a_list_removed_nothing_and_a_list_whose_values_are_back_is_told() {
    let (log, files, manifest) = lived();
    let mut restored = files.clone();
    let original = &log.events[205];
    let mut line = OpeningLine::parse(&restored.lines[205]).expect("a line");
    line.opening = Some(original.1.encode());
    restored.lines[205] = line.to_json().trim_end().as_bytes().to_vec();
    let report = check(&manifest, &restored, &Trust::default());
    found(&report, &[]);
    assert!(report.notes.iter().any(|note| note.contains("was a backup restored")), "{:?}", report.notes);
}

#[test]
fn a_drop_before_its_time_or_beyond_its_word_is_found_and_explains_nothing() {
    let cases: [(&str, Lost, serde_json::Value, u64, Kind); 4] = [
        (
            "too early",
            Lost::EVENT,
            json!({"what": "events", "class": "standard", "period_days": 365}),
            START + 364 * DAY,
            Kind::DroppedEarly,
        ),
        (
            "no period",
            Lost::EVENT,
            json!({"what": "events", "class": "standard"}),
            START + 4000 * DAY,
            Kind::DroppedEarly,
        ),
        (
            "another class",
            Lost::EVENT,
            json!({"what": "events", "class": "critical", "period_days": 365}),
            START + 400 * DAY,
            Kind::DroppedTooMuch,
        ),
        (
            "more than context",
            Lost::fields(&[Tag::IP, Tag::DETAILS]),
            json!({"what": "context", "class": "standard", "period_days": 90}),
            START + 400 * DAY,
            Kind::DroppedTooMuch,
        ),
    ];
    for (name, lost, details, at, kind) in cases {
        let mut log = Log::new(3, None);
        for n in 0..10 {
            log.add(event(n, RetentionClass::Standard), START + n);
        }
        let list = AbsenceList::of(vec![([3; 16], 4, lost)]);
        log.add(record(1000, "RETENTION_DROP", &list, &details, at), at);
        let (manifest, mut files) = files(&[&log]);
        files.all.insert(bundle::absence_path(log.events[10].0.id.uuid()), list.encode());
        let mut line = OpeningLine::parse(&files.lines[4]).expect("a line");
        line.opening = match lost.is_event() {
            true => None,
            false => StoredOpening::Whole(log.events[4].1.clone())
                .erase(&[Tag::IP, Tag::DETAILS])
                .map(|remnant| StoredOpening::Remnant(remnant).encode()),
        };
        files.lines[4] = line.to_json().trim_end().as_bytes().to_vec();
        let report = check(&manifest, &files, &Trust::default());
        let kinds: Vec<Kind> = report.totals.keys().copied().collect();
        assert_eq!(kinds, [Kind::Deleted, kind], "{name}: {:#?}", report.findings);
        assert_eq!(report.absences, Check::Failed, "{name}");
    }
}

#[test]
fn events_beyond_the_head_and_without_a_place_are_not_yet_sequenced() {
    let (old, _) = two_years();
    let mut longer = old.clone();
    longer.add(event(700, RetentionClass::Standard), START);
    let (manifest, mut some) = files(&[&old]);
    let (_, more) = files(&[&longer]);
    some.lines.push(more.lines[600].clone());
    let waiting = OpeningLine { id: Some(uuid::Uuid::from_u128(7)), ..OpeningLine::default() };
    some.lines.push(waiting.to_json().trim_end().as_bytes().to_vec());
    let report = check(&manifest, &some, &Trust::default());
    found(&report, &[]);
    assert_eq!(report.counts.not_yet_sequenced, 2);
}

#[test]
fn what_was_set_aside_on_arrival_is_counted_and_cannot_excuse_an_ordinary_event() {
    let mut log = Log::new(3, None);
    log.add(event(1, RetentionClass::Critical), START);
    log.add(event(2, RetentionClass::Standard), START);
    let (manifest, mut files) = files(&[&log]);
    for at in 0..2 {
        let mut line = OpeningLine::parse(&files.lines[at]).expect("a line");
        line = OpeningLine {
            id: None,
            opening: Some(vec![1, 2, 3]),
            set_aside: Some("unreadable".to_owned()),
            ..line
        };
        files.lines[at] = line.to_json().trim_end().as_bytes().to_vec();
    }
    let report = check(&manifest, &files, &Trust::default());
    found(&report, &[Kind::Deleted]);
    assert_eq!((report.counts.set_aside, report.findings[0].index), (1, Some(1)));
}

#[test]
fn a_selection_proves_each_event_by_itself() {
    let (old, _) = two_years();
    let leaves: Vec<Hash> = old.entries().iter().map(|entry| leaf_hash(entry)).collect();
    let line = |at: usize| {
        let mut subtree = |first: u64, len: u64| {
            let (first, len) = (usize::try_from(first).expect("small"), usize::try_from(len).expect("small"));
            root(&leaves[first..first + len])
        };
        let hashes = inclusion_proof(at as u64, 600, &mut subtree).expect("in the tree");
        let proof = ProofFile { extra: None, index: at as u64, hashes, checkpoint: old.note(600) };
        OpeningLine {
            place: Some((old.id, at as u64)),
            id: Some(old.events[at].0.id.uuid()),
            opening: Some(old.events[at].1.encode()),
            entry: Some(old.entries()[at]),
            proof: Some(proof.to_string()),
            ..OpeningLine::default()
        }
    };
    let (mut manifest, _) = files(&[&old]);
    manifest.kind = BundleKind::Selection;
    let of = |lines: &[OpeningLine]| Files {
        lines: lines.iter().map(|line| line.to_json().trim_end().as_bytes().to_vec()).collect(),
        ..Files::default()
    };
    let report = check(&manifest, &of(&[line(3), line(599)]), &Trust::default());
    found(&report, &[]);
    assert_eq!(
        (report.counts.whole, report.logs[0].inclusion, report.logs[0].tree),
        (2, Check::Passed, Check::Skipped)
    );

    type Damage = fn(&mut OpeningLine);
    let cases: [(Damage, Kind); 5] = [
        (|line| line.opening.as_mut().expect("there")[20] ^= 1, Kind::Edited),
        (|line| line.entry.as_mut().expect("there")[9] ^= 1, Kind::ProofInvalid),
        (|line| line.place.as_mut().expect("there").1 = 4, Kind::ProofInvalid),
        (|line| line.proof = None, Kind::ProofInvalid),
        (
            |line| line.proof = line.proof.take().map(|proof| proof.replace("index 3", "index x")),
            Kind::Unreadable,
        ),
    ];
    for (damage, kind) in cases {
        let mut damaged = line(3);
        damage(&mut damaged);
        found(&check(&manifest, &of(&[damaged]), &Trust::default()), &[kind]);
    }
    let mut other = old.clone();
    other.key = SigningKey::from_bytes(&[9; 32]);
    manifest.logs = vec![other.item()];
    found(&check(&manifest, &of(&[line(3)]), &Trust::default()), &[Kind::UnknownKey]);
}

#[test]
fn absurd_sizes_end_in_a_verdict() {
    let (old, _) = two_years();
    let (mut manifest, mut some) = files(&[&old]);
    let mut absurd = old.clone();
    absurd.events.truncate(3);
    let name = absurd.verifier();
    let text = Checkpoint { origin: absurd.origin(), size: u64::MAX, root: [0; 32] }.to_string();
    let note = assemble(&text, &name.name, name.id(), &absurd.key.sign(text.as_bytes()).to_bytes());
    some.all.insert(checkpoint_path(old.id), note.into_bytes());
    manifest.logs[0].size = u64::MAX;
    let report = check(&manifest, &some, &Trust::default());
    assert!(report.totals.contains_key(&Kind::Truncated), "{:?}", report.totals);
    let far = TileRef { level: None, index: u64::MAX / 256, width: 255 };
    assert_eq!(far.width_at(u64::MAX), 255);
}
