//! Somebody is erased: nothing of theirs is found anywhere, and every proof still holds.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, VerifyingKey};
use ingest::privacy::certificate::Certificate;
use ingest::store::absences;
use serde_json::{Value, json};
use shared::event::{
    Action, Actor, ChangeSet, ClaimedUser, Entity, EntityType, Event, EventId, JsonText, Outcome, Place,
    Quality, Timestamp, Trust,
};
use shared::leaf::{ENTRY_LEN, Field, FieldKind, Hash, StoredOpening, Tag, commit};
use shared::note::{Note, VerifierKey};
use sqlx::{PgPool, Row as _};

use crate::support::{Producer, Server, is_skipped_on_a_cluster, sample};

const ALICE: &str = "0197a11c-e000-7abc-8def-0123456789ab";
const EMAIL: &str = "alice.muster@example.org";
const NAME: &str = "Alice Zoë Muster";
const ADDRESS: &str = "198.51.100.77";
const AGENT: &str = "AliceBrowser/7.7 (Wonderland; rv:77.7)";
const SESSION: &str = "5e551011-a11c-4e00-9abc-def012345678";
const QUICK: [(&str, &str); 3] = [
    ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
    ("EDGETRAIL__PRIVACY__COOL_OFF_MS", "1"),
    ("EDGETRAIL__PRIVACY__SWEEP_MS", "100"),
];

fn entity(kind: &str, id: &str, name: Option<&str>) -> Option<Entity> {
    Some(Entity {
        kind: EntityType::try_from(kind.to_owned()).expect("a type"),
        id: Some(id.to_owned()),
        name: name.map(str::to_owned),
    })
}

/// An act of Alice's.
fn by_alice(n: u64) -> Event {
    let mut event = sample(n);
    event.actor = Some(Actor { id: ALICE.to_owned(), email: Some(EMAIL.to_owned()), ..Actor::default() });
    event.context.ip = Some(ADDRESS.parse().expect("an address"));
    event.context.user_agent = Some(AGENT.to_owned());
    event.context.session = Some(SESSION.to_owned());
    event.context.place = Some(Place { country: Some("CH".to_owned()), ..Place::default() });
    event
}

/// Acts in which she stands in every other place there is.
fn about_alice() -> Vec<Event> {
    let mut profile = by_alice(20_000);
    profile.action = Action::try_from("PROFILE_UPDATED".to_owned()).expect("an action");
    profile.outcome = Outcome::Success;
    profile.entity = entity("user", ALICE, Some(NAME));
    profile.changes = Some(ChangeSet {
        quality: Quality::Partial,
        fields: JsonText::from(&json!({"full_name": {"to": NAME}, "email": {"to": EMAIL}})),
    });
    let mut again = profile.clone();
    again.id = EventId::mint(again.occurred_at, &ingest::clock::random());
    again.occurred_at = Timestamp::try_from(again.occurred_at.millis() + 5).expect("a time");
    again.changes = Some(ChangeSet {
        quality: Quality::Partial,
        fields: JsonText::from(&json!({"full_name": {"to": format!("{NAME} II")}})),
    });
    let mut by_boss = sample(20_002);
    by_boss.entity = entity("user", ALICE, None);
    by_boss.details = Some(JsonText::from(&json!({"reason": "she asked"})));
    let mut claimed = sample(20_003);
    claimed.actor = None;
    claimed.claimed_user = Some(ClaimedUser { id: EMAIL.to_uppercase(), source: "body:/email".to_owned() });
    claimed.context.ip = Some(ADDRESS.parse().expect("an address"));
    let mut mentioned = sample(20_004);
    mentioned.details = Some(JsonText::from(&json!({"note": format!("shared with {NAME} <{EMAIL}>")})));
    let mut route = sample(20_005);
    route.request.route = format!("/api/avatars/{ALICE}.png");
    let mut session = sample(20_006);
    session.actor = None;
    session.context.session = Some(SESSION.to_owned());
    vec![profile, again, by_boss, claimed, mentioned, route, session]
}

async fn owner(server: &Server) -> PgPool {
    PgPool::connect_with(server.database.clone()).await.expect("connected")
}

async fn send(server: &Server, producer: &mut Producer, events: &[Event]) {
    for some in events.chunks(100) {
        assert_eq!(server.send(&producer.seal(some)).await["status"], 200);
    }
}

/// Asks as one admin, approves as another, waits until it is done.
async fn erased(server: &Server, mode: &str) -> Value {
    let other = server.another_admin().await;
    let body = json!({"mode": mode, "legal_basis": "Art. 17(1)(a) GDPR"}).to_string();
    let reply = server.post_as_admin(&format!("/v1/subjects/{ALICE}/erase"), &body).await;
    assert_eq!((reply.status, &reply.json()["state"]), (202, &json!("requested")), "{}", reply.text());
    let id = reply.json()["id"].as_str().expect("an id").to_owned();
    let approved = server.post_with(&format!("/v1/erasures/{id}/approve"), &other, "").await;
    assert_eq!(approved.status, 200, "{}", approved.text());
    done(server, &id).await
}

async fn done(server: &Server, id: &str) -> Value {
    for _ in 0..1_200 {
        let now = server.get_as_admin(&format!("/v1/erasures/{id}")).await;
        if now.status == 200 && now.json()["state"] == "done" {
            return now.json();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the erasure is not carried out");
}

/// Every row of every table as text, bytes in hex: what a dump holds.
async fn dump(owner: &PgPool) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I', c.relname) from pg_class c
         where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace",
    )
    .fetch_all(owner)
    .await
    .expect("tables");
    let mut text = String::new();
    for table in tables {
        let rows: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select t::text from {table} t")))
                .fetch_all(owner)
                .await
                .expect("rows");
        rows.iter().for_each(|row| text.push_str(row));
    }
    text
}

/// The values of Alice's that a text or its bytes in hex hold.
fn of_alice(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase();
    [ALICE, EMAIL, NAME, ADDRESS, AGENT, SESSION]
        .into_iter()
        .filter(|value| {
            let value = value.to_lowercase();
            text.contains(&value) || text.contains(&hex::encode(&value))
        })
        .chain([ALICE, EMAIL, NAME, AGENT].into_iter().filter(|value| text.contains(&hex::encode(value))))
        .collect()
}

/// Each stored event with its leaf's entry; asserts that the one hashes to the other.
async fn check_leaves(owner: &PgPool) -> Vec<(Vec<u8>, [u8; 16], u64)> {
    let rows = sqlx::query(
        "select e.opening, e.position, r.entries, r.log_id, r.first_index from events e
         join log_rounds r on r.tenant_id = e.tenant_id and r.batch_id = e.batch_id",
    )
    .fetch_all(owner)
    .await
    .expect("rows");
    let mut all = Vec::new();
    for row in rows {
        let (opening, position): (Vec<u8>, i16) = (row.get(0), row.get(1));
        let (entries, log, first): (Vec<u8>, String, i64) = (row.get(2), row.get(3), row.get(4));
        let at = usize::try_from(position).expect("a place") * ENTRY_LEN;
        let stored = StoredOpening::decode(&opening).expect("an opening");
        assert_eq!(stored.digest(), entries[at + 10..at + ENTRY_LEN], "every leaf still verifies");
        let mut id = [0; 16];
        hex::decode_to_slice(&log, &mut id).expect("hex");
        all.push((
            opening,
            id,
            u64::try_from(first).expect("a place") + u64::try_from(position).expect("a place"),
        ));
    }
    all
}

/// Everything that is missing stands in a list, and every list in a record of the log.
async fn check_absences(server: &Server, events: &[(Vec<u8>, [u8; 16], u64)]) {
    let lists = absences::all(&server.store, "demo").await.expect("lists");
    for (opening, log, index) in events {
        for tag in StoredOpening::decode(opening).expect("an opening").erased() {
            let covered =
                lists.iter().filter_map(|it| it.list.lost(log, *index)).any(|lost| lost.covers(tag));
            assert!(covered, "{tag:?} of leaf {index} is missing without a word");
        }
    }
    let records: HashMap<String, Value> = server
        .all("&action=ERASURE")
        .await
        .into_iter()
        .map(|event| (event["id"].as_str().expect("an id").to_owned(), event))
        .collect();
    for stored in lists {
        let record = &records[&stored.record_id.to_string()];
        assert_eq!(record["details"]["absence"]["sha256"], hex::encode(stored.list.hash()));
        assert_eq!(record["class"], "permanent");
    }
}

/// The commitment of an erased field and the salts that are left beside it.
fn commitment(remnant: &[u8], wanted: Tag) -> (Option<Hash>, Vec<[u8; 16]>) {
    let (mut found, mut salts) = (None, vec![[0; 16]]);
    let mut rest = &remnant[2..];
    while let [tag @ .., kind] = &rest[..rest.len().min(3)] {
        if tag.len() < 2 {
            break;
        }
        let number = u16::from_be_bytes([tag[0], tag[1]]);
        if *kind == 0 {
            if number == wanted.number() {
                found = rest[3..35].try_into().ok();
            }
            rest = &rest[35..];
        } else {
            salts.push(rest[3..19].try_into().expect("a salt"));
            let len = u32::from_be_bytes(rest[19..23].try_into().expect("a length"));
            rest = &rest[23 + usize::try_from(len).expect("small")..];
        }
    }
    (found, salts)
}

/// The addresses of a /16 that a commitment could be of, under these salts.
fn guesses(commitment: &Hash, salts: &[[u8; 16]]) -> Vec<Ipv4Addr> {
    let all = (0..=u16::MAX).map(|low| Ipv4Addr::new(198, 51, (low >> 8) as u8, low as u8));
    all.filter(|address| {
        let field = Field { tag: Tag::IP, kind: FieldKind::Text, value: address.to_string().into_bytes() };
        salts.iter().any(|salt| commit(salt, &field) == *commitment)
    })
    .collect()
}

#[tokio::test]
async fn of_ten_thousand_events_nothing_is_left_and_every_leaf_still_verifies() {
    let server = Server::with(&QUICK).await;
    let owner = owner(&server).await;
    let mut producer = server.producer().await;
    let theirs: Vec<Event> = (0..10_000).map(by_alice).collect();
    let others: Vec<Event> = (10_000..10_300).map(sample).collect();
    let mixed: Vec<Event> = theirs.iter().chain(&others).chain(&about_alice()).cloned().collect();
    send(&server, &mut producer, &mixed).await;
    // An event that is damaged on its way stays as it came.
    let mut damaged = producer.seal_openings("demo", &[format!("{{\"who\":\"{EMAIL}\"}}").into_bytes()]);
    damaged.body.truncate(damaged.body.len());
    assert_eq!(server.send(&damaged).await["quarantined"].as_array().map(Vec::len), Some(1));
    for sql in [
        format!("insert into app_audit_rows (tenant_id, event_id, n, action, user_id, at, received_at)
                 values ('demo', gen_random_uuid(), 0, 'USER_LOGIN', '{ALICE}', now(), now())"),
        format!("insert into witness_writes (tenant_id, at, seq, table_name, entity_type, key, op, txid, row_hash, uid,
                     role_name, application_name, received_at)
                 values ('demo', now(), 1, 'profiles', 'user', '{ALICE}', 'UPDATE', 1, '\\x01', '{ALICE}', 'r', 'a', now())"),
        format!("insert into coverage values ('demo', 'h', 'GET', '/u/{EMAIL}', false, 1, now(), now())"),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&owner).await.expect("inserted");
    }
    // The backend has learnt her name by now, and inferred that it changed.
    server.eventually("&action=CHANGES_INFERRED", 1).await;
    crate::support::eventually(async || {
        let open: i64 =
            sqlx::query_scalar("select count(*) from log_pending").fetch_one(&owner).await.expect("counted");
        open == 0
    })
    .await;
    let before = check_leaves(&owner).await;
    let found: BTreeSet<_> = of_alice(&dump(&owner).await).into_iter().collect();
    assert_eq!(found.len(), 6, "the scan finds what is there: {found:?}");
    let keepers = keepers(&server).await;
    assert!(in_tables(&keepers, false).await.contains(EMAIL), "and so does the one of the files");
    let whole = before.iter().find_map(|(opening, ..)| match StoredOpening::decode(opening) {
        Ok(StoredOpening::Whole(opening))
            if opening.field(Tag::IP).is_some_and(|ip| ip.value == ADDRESS.as_bytes()) =>
        {
            Some(opening)
        }
        _ => None,
    });
    let whole = whole.expect("an act of hers");
    let salt = shared::leaf::Salts::of(whole.seed()).salt(Tag::IP);
    let open = commit(&salt, whole.field(Tag::IP).expect("there"));
    assert_eq!(
        guesses(&open, &[salt]),
        [ADDRESS.parse::<Ipv4Addr>().expect("an address")],
        "with its salt it is found"
    );

    let preview = server.post_as_admin(&format!("/v1/subjects/{ALICE}/erase"), r#"{"preview":true}"#).await;
    let preview = &preview.json()["preview"];
    assert_eq!(
        preview["counts"]["as"],
        json!({"actor": 10_003 + 1, "subject": 1, "mentioned": 3}),
        "{preview}"
    );
    assert_eq!(
        preview["counts"]["beside"],
        json!({"remembered_entities": 1, "audit_rows": 1, "reported_writes": 1, "routes": 1, "saved_searches": 0, "alerts": 0, "runs": 0, "sinks": 0})
    );
    assert!(of_alice(&dump(&owner).await).len() > 5, "a preview changes nothing");

    let request = erased(&server, "erase").await;
    assert_eq!((&request["subject"], &request["pseudonym"]), (&Value::Null, &Value::Null));
    let after = check_leaves(&owner).await;
    check_absences(&server, &after).await;
    // The one whose route names her went as a whole.
    let total: i64 = sqlx::query_scalar("select count(*) from events where host <> 'ingest'")
        .fetch_one(&owner)
        .await
        .expect("counted");
    assert_eq!(total, 10_000 + 300 + 7 - 1);
    let left = dump(&owner).await;
    assert!(of_alice(&left).is_empty(), "left: {:?}", of_alice(&left));
    assert!(left.contains(&hex::encode("user-1")), "others stay");
    if let Some(dumped) = pg_dump(&server) {
        assert!(dumped.contains(&hex::encode("user-1")) && of_alice(&dumped).is_empty(), "in a dump");
    }

    let mut tried = 0;
    for (opening, ..) in after.iter().filter(|(opening, ..)| opening[0] == 2).take(3) {
        if let (Some(commitment), salts) = commitment(opening, Tag::IP) {
            assert!(guesses(&commitment, &salts).is_empty());
            tried += 1;
        }
    }
    assert!(tried > 0, "there were addresses to guess");

    let id = request["id"].as_str().expect("an id");
    let note = server.get_as_admin(&format!("/v1/erasures/{id}/certificate")).await.text();
    assert!(of_alice(&note).is_empty());
    let parsed = Note::parse_within(note.as_bytes(), 10_000_000).expect("a note");
    let key: VerifierKey = request["verifier_key"].as_str().expect("a key").parse().expect("a key");
    let signature = Signature::from_slice(&parsed.signatures()[0].bytes).expect("a signature");
    let public = VerifyingKey::from_bytes(&key.public).expect("a key");
    public.verify_strict(parsed.text().as_bytes(), &signature).expect("signed");
    let certificate: Certificate = parsed.text().parse().expect("a certificate");
    let leaves: u64 = certificate.passes.iter().map(|pass| pass.list.leaves()).sum();
    assert!(leaves >= 10_007, "{leaves}");

    let mine = server.get(&format!("/v1/events/{}", theirs[5].id)).await.json();
    assert_eq!((&mine["actor"], &mine["context"]["ip"]), (&Value::Null, &Value::Null));
    assert_eq!(mine["erased"], json!(["actor", "ip", "user_agent", "session", "place"]));
    assert_eq!(mine["details"], json!({"n": 5}), "what does not name her stays");
    server.post_as_admin(&format!("/v1/subjects/{ALICE}/export"), "").await.problem(404);
    server.post_as_admin(&format!("/v1/subjects/{ALICE}/erase"), r#"{"preview":true}"#).await.problem(404);
    let export = server.post_as_admin("/v1/subjects/user-1/export", "").await.text();
    assert!(of_alice(&export).is_empty());
    for opening in export.split("\"opening\":\"").skip(1) {
        let opening = BASE64.decode(opening.split('"').next().unwrap_or_default()).unwrap_or_default();
        assert!(of_alice(&hex::encode(opening)).is_empty());
    }
    // On disk, dead rows go with the next rewrite that begins when nobody looks at them any more; what is written ahead goes
    // with its own retention.
    let mut left = BTreeSet::new();
    for _ in 0..20 {
        left = in_tables(&keepers, true).await;
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(left, BTreeSet::new(), "in the files of the tables");
    let left = dump(&owner).await;
    assert!(of_alice(&left).is_empty(), "came back: {:?}", of_alice(&left));
    server.stop().await;
}

/// The servers with a part of the database and where each keeps it: the private one, or the nodes of a cluster on this machine.
async fn keepers(server: &Server) -> Vec<(PgPool, PathBuf)> {
    let first = owner(server).await;
    let mut all = vec![first.clone()];
    if server.postgres.is_none() {
        let others: Vec<(String, i32)> =
            sqlx::query_as("select nodename, nodeport from pg_dist_node where groupid <> 0")
                .fetch_all(&first)
                .await
                .expect("the coordinator knows its nodes");
        for (host, port) in others {
            let node = server.database.clone().host(&host).port(u16::try_from(port).expect("a port"));
            all.push(PgPool::connect_with(node).await.expect("connected"));
        }
    }
    let mut keepers = Vec::new();
    for keeper in all {
        let place = "select current_setting('data_directory') || '/base/' || oid
                     from pg_database where datname = current_database()";
        let place: String = sqlx::query_scalar(place).fetch_one(&keeper).await.expect("a superuser sees it");
        assert!(Path::new(&place).is_dir(), "{place} is not on this machine");
        keepers.push((keeper, place.into()));
    }
    keepers
}

/// Alice's values in the files of the tables, after what was changed last has been written there; rewritten before, if asked.
async fn in_tables(keepers: &[(PgPool, PathBuf)], rewritten: bool) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    for (keeper, place) in keepers {
        if rewritten {
            sqlx::query("vacuum full").execute(keeper).await.expect("rewritten");
        }
        sqlx::query("checkpoint").execute(keeper).await.expect("written");
        found.extend(in_files(place));
    }
    found
}

/// What `pg_dump` writes, where one of the server's version is installed.
fn pg_dump(server: &Server) -> Option<String> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let tool = installed.map(|version| version.path().join("bin/pg_dump")).find(|tool| tool.is_file())?;
    let options = &server.database;
    let dumped = std::process::Command::new(tool)
        .arg("-h")
        .arg(options.get_socket()?)
        .args(["-p", &options.get_port().to_string(), "-U", options.get_username()])
        .args(["-d", options.get_database()?])
        .output()
        .expect("run");
    let said = String::from_utf8_lossy(&dumped.stderr);
    if said.contains("server version mismatch") {
        return None;
    }
    assert!(dumped.status.success(), "{said}");
    Some(String::from_utf8_lossy(&dumped.stdout).into_owned())
}

/// Alice's values in the files below a directory.
fn in_files(dir: &Path) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        if entry.path().is_dir() {
            found.extend(in_files(&entry.path()));
            continue;
        }
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        for value in [ALICE, EMAIL, NAME, ADDRESS, AGENT, SESSION] {
            if bytes.windows(value.len()).any(|window| window == value.as_bytes()) {
                found.insert(value);
            }
        }
    }
    found
}

#[tokio::test]
async fn what_arrives_late_goes_too_and_what_happens_later_stays() {
    let server = Server::with(&QUICK).await;
    let owner = owner(&server).await;
    let mut producer = server.producer().await;
    send(&server, &mut producer, &[by_alice(1), sample(2)]).await;
    let request = erased(&server, "erase").await;
    let mut details = sample(3);
    details.details = Some(JsonText::from(&json!({"to": format!("Alice <{EMAIL}>")})));
    send(&server, &mut producer, &[by_alice(4), details]).await;
    crate::support::eventually(async || of_alice(&dump(&owner).await).is_empty()).await;
    let all = check_leaves(&owner).await;
    check_absences(&server, &all).await;
    assert_eq!(all.iter().filter(|(opening, ..)| opening[0] == 2).count(), 3);
    let id = request["id"].as_str().expect("an id");
    let certificate = server.get_as_admin(&format!("/v1/erasures/{id}/certificate")).await.text();
    crate::support::eventually(async || {
        let now = server.get_as_admin(&format!("/v1/erasures/{id}/certificate")).await.text();
        now.matches("\nrecord ").count() == 2
    })
    .await;
    assert!(certificate.contains("Art. 17(1)(a) GDPR"));

    let mut anew = by_alice(0);
    anew.occurred_at = Timestamp::from(chrono::Utc::now());
    anew.id = EventId::mint(anew.occurred_at, &ingest::clock::random());
    send(&server, &mut producer, &[anew]).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(of_alice(&dump(&owner).await).contains(&ALICE), "a new act is a new act");
    server.stop().await;
}

#[tokio::test]
async fn a_restored_database_forgets_nobody_it_was_told_to_erase() {
    if is_skipped_on_a_cluster("a cluster has no one directory to be restored") {
        return;
    }
    let server = Server::with(&QUICK).await;
    let mut producer = server.producer().await;
    let events: Vec<_> = (0..150).map(by_alice).chain(about_alice()).collect();
    send(&server, &mut producer, &events).await;
    server.eventually("&action=CHANGES_INFERRED", 1).await;
    let server = server.restart_after(&QUICK, |dir| copy(&dir.join("pg"), &dir.join("backup"))).await;
    let request = erased(&server, "pseudonymise").await;
    let pseudonym = request["pseudonym"].as_str().expect("a pseudonym").to_owned();

    let server = server
        .restart_after(&QUICK, |dir| {
            std::fs::remove_dir_all(dir.join("pg")).expect("removed");
            copy(&dir.join("backup"), &dir.join("pg"));
        })
        .await;
    let owner = owner(&server).await;
    done(&server, request["id"].as_str().expect("an id")).await;
    let left = dump(&owner).await;
    assert!(of_alice(&left).is_empty(), "left: {:?}", of_alice(&left));
    check_absences(&server, &check_leaves(&owner).await).await;
    let acts = server.all(&format!("&actor={pseudonym}")).await;
    assert_eq!(acts.len(), 154, "the same name stands for her");
    let records = server.all("&action=ERASURE_COMPLETED").await.len();

    let server = server.restart_after(&QUICK, |_| {}).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(server.all("&action=ERASURE_COMPLETED").await.len(), records, "once is enough");
    server.stop().await;
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").args([from, to]).status().expect("cp");
    assert!(done.success());
}

#[tokio::test]
async fn an_address_that_nobody_verified_ties_nothing_together() {
    let server = Server::with(&QUICK).await;
    let mut producer = server.producer().await;
    let mut pretender = sample(1);
    pretender.trust = Trust::Asserted;
    pretender.actor =
        Some(Actor { id: "pretender".to_owned(), email: Some(EMAIL.to_owned()), ..Actor::default() });
    send(&server, &mut producer, &[by_alice(0), pretender]).await;
    let known_by = async |subject: &str| {
        let reply =
            server.post_as_admin(&format!("/v1/subjects/{subject}/erase"), r#"{"preview":true}"#).await;
        let preview = reply.json()["preview"].clone();
        let names: Vec<String> = serde_json::from_value(preview["known_by"].clone()).expect("names");
        (names, preview["counts"]["events"].as_u64())
    };
    assert_eq!(known_by("pretender").await, (vec!["pretender".to_owned()], Some(1)));
    let (names, _) = known_by(ALICE).await;
    assert_eq!(names, [ALICE, SESSION, EMAIL]);
    let (names, _) = known_by(&EMAIL.to_uppercase()).await;
    assert_eq!(names, [ALICE, SESSION, EMAIL], "an address leads to its owner in any case");
    server.stop().await;
}

#[tokio::test]
async fn a_pseudonym_tells_one_persons_acts_and_no_person() {
    let server = Server::with(&QUICK).await;
    let owner = owner(&server).await;
    let mut producer = server.producer().await;
    let events: Vec<_> = (0..4).map(by_alice).chain((10..14).map(sample)).collect();
    send(&server, &mut producer, &events).await;
    let request = erased(&server, "pseudonymise").await;
    assert!(of_alice(&dump(&owner).await).is_empty());
    let pseudonym = request["pseudonym"].as_str().expect("a pseudonym");
    let acts = server.all(&format!("&actor={pseudonym}")).await;
    assert_eq!(acts.len(), 4);
    for act in &acts {
        assert_eq!((&act["actor"], &act["pseudonym"]), (&Value::Null, &json!(pseudonym)));
    }
    for (opening, ..) in check_leaves(&owner).await {
        assert!(
            !hex::encode(opening).contains(&hex::encode(pseudonym)),
            "it is in nothing that is committed"
        );
    }
    let others = server.all("&actor=user-1").await;
    assert!(others.iter().all(|act| act["pseudonym"].is_null() && act["erased"] == json!([])));
    server.stop().await;
}

#[tokio::test]
async fn an_erasure_needs_a_second_admin_and_can_be_cancelled_until_it_begins() {
    let server = Server::with(&[QUICK[0], QUICK[2]]).await;
    let mut producer = server.producer().await;
    send(&server, &mut producer, &[by_alice(1)]).await;
    let other = server.another_admin().await;
    let path = format!("/v1/subjects/{ALICE}/erase");
    let wish = json!({"mode": "erase", "legal_basis": "consent withdrawn"}).to_string();
    let asked = server.post_as_admin(&path, &wish).await.json();
    assert_eq!((&asked["state"], &asked["not_before"]), (&json!("requested"), &Value::Null));
    let at = format!("/v1/erasures/{}", asked["id"].as_str().expect("an id"));
    let alone = server.post_as_admin(&format!("{at}/approve"), "").await.problem(403);
    assert!(alone["type"].as_str().is_some_and(|kind| kind.contains("second-person")), "{alone}");
    let agreed = server.post_with(&format!("{at}/approve"), &other, "").await.json();
    assert_eq!(agreed["state"], "approved");
    let wait = |request: &Value| {
        let time = |name: &str| {
            request[name].as_str().and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok())
        };
        (time("not_before").expect("a time") - time("requested_at").expect("a time")).num_hours()
    };
    assert_eq!(wait(&agreed), 24, "a day to think again");
    server.post_with(&format!("{at}/approve"), &other, "").await.problem(409);
    server.get_as_admin(&format!("{at}/certificate")).await.problem(404);
    let cancelled = server.post_as_admin(&format!("{at}/cancel"), "").await.json();
    assert_eq!((&cancelled["state"], &cancelled["subject"]), (&json!("cancelled"), &Value::Null));
    server.post_as_admin(&format!("{at}/cancel"), "").await.problem(409);
    for (action, count) in [("ERASURE_REQUESTED", 1), ("ERASURE_APPROVED", 1), ("ERASURE_CANCELLED", 1)] {
        let events = server.eventually(&format!("&action={action}"), count).await;
        assert!(
            of_alice(&json!(events).to_string()).is_empty(),
            "the log tells what was done and not to whom"
        );
    }
    assert_eq!(server.all(&format!("&actor={ALICE}")).await.len(), 1);
    server.get_as_admin("/v1/erasures/nonsense").await.problem(404);
    server.stop().await;
}

#[tokio::test]
async fn a_single_admin_waits_seven_days() {
    let server = Server::with(&QUICK).await;
    let mut producer = server.producer().await;
    send(&server, &mut producer, &[by_alice(1)]).await;
    let wish = json!({"mode": "erase", "legal_basis": "consent withdrawn"}).to_string();
    let asked = server.post_as_admin(&format!("/v1/subjects/{ALICE}/erase"), &wish).await.json();
    assert_eq!(asked["state"], "approved");
    let told = server.eventually("&action=ERASURE_REQUESTED", 1).await;
    assert_eq!(told[0]["details"]["single_admin"], true);
    let owner = owner(&server).await;
    let days: i64 = sqlx::query_scalar(
        "select extract(day from not_before - requested_at)::bigint from erasure_requests",
    )
    .fetch_one(&owner)
    .await
    .expect("one");
    assert_eq!(days, 7);
    // The time has come.
    sqlx::query("update erasure_requests set not_before = now()").execute(&owner).await.expect("moved");
    done(&server, asked["id"].as_str().expect("an id")).await;
    assert!(of_alice(&dump(&owner).await).is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_legal_hold_that_covers_an_event_forbids_it_by_name() {
    let server = Server::with(&QUICK).await;
    let owner = owner(&server).await;
    let mut producer = server.producer().await;
    send(&server, &mut producer, &[by_alice(1), by_alice(2)]).await;
    server.another_admin().await;
    let hold = "0197bbbb-0000-7000-8000-000000000001";
    let place = format!(
        "insert into legal_holds (tenant_id, hold_id, reason, action, placed_by, placed_at)
         values ('demo', '{hold}', 'case 4711', 'AGENT_*', 'k', now())"
    );
    let path = format!("/v1/subjects/{ALICE}/erase");
    let wish = json!({"mode": "erase", "legal_basis": "consent withdrawn"}).to_string();
    // Asked before the hold, approved after it.
    let early = server.post_as_admin(&path, &wish).await.json();
    sqlx::query(sqlx::AssertSqlSafe(place)).execute(&owner).await.expect("placed");
    let problem = server.post_as_admin(&path, &wish).await.problem(409);
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains(hold) && detail.contains("case 4711") && !detail.contains(ALICE), "{problem}");
    let other = server.another_admin().await;
    let approve = format!("/v1/erasures/{}/approve", early["id"].as_str().expect("an id"));
    server.post_with(&approve, &other, "").await.problem(409);
    let preview = server.post_as_admin(&path, r#"{"preview":true}"#).await.json();
    assert_eq!(preview["preview"]["hold"]["id"], hold);
    sqlx::query("update legal_holds set released_by = 'k', released_at = now()")
        .execute(&owner)
        .await
        .expect("released");
    assert_eq!(server.post_with(&approve, &other, "").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn of_somebody_unknown_nothing_is_kept_and_what_is_kept_names_nobody() {
    let server = Server::with(&QUICK).await;
    let owner = owner(&server).await;
    let mut producer = server.producer().await;
    send(&server, &mut producer, &[sample(1)]).await;
    let path = format!("/v1/subjects/{ALICE}/erase");
    let wish = |mode: &str, basis: &str| json!({"mode": mode, "legal_basis": basis}).to_string();
    for body in
        [wish("erase", "consent withdrawn"), wish("keep", "tax law"), r#"{"preview":true}"#.to_owned()]
    {
        server.post_as_admin(&path, &body).await.problem(404);
    }
    let log = server.all("").await;
    assert_eq!(log.len(), 1, "nothing was logged: {log:?}");
    assert!(of_alice(&dump(&owner).await).is_empty());

    send(&server, &mut producer, &[by_alice(2)]).await;
    for body in [
        wish("forget", "x"),
        wish("erase", ""),
        wish("erase", "two\nlines"),
        wish("erase", &format!("{NAME} <{EMAIL}> asked")),
        json!({"mode": "erase", "legal_basis": "x", "emails": ["no address"]}).to_string(),
        json!({"mode": "erase"}).to_string(),
        "{".to_owned(),
        r#"{"colour":1}"#.to_owned(),
    ] {
        server.post_as_admin(&path, &body).await.problem(400);
    }
    let kept = server.post_as_admin(&path, &wish("keep", "Art. 17(3)(b): tax law, until 2033")).await.json();
    assert_eq!((&kept["state"], &kept["subject"]), (&json!("kept"), &Value::Null));
    let id = kept["id"].as_str().expect("an id");
    let note = server.get_as_admin(&format!("/v1/erasures/{id}/certificate")).await.text();
    assert!(note.contains("mode keep\nlegal-basis Art. 17(3)(b): tax law, until 2033\n"), "{note}");
    server.eventually("&action=ERASURE_DECLINED", 1).await;
    assert_eq!(server.all(&format!("&actor={ALICE}")).await.len(), 1, "it stays");
    server.stop().await;
}
