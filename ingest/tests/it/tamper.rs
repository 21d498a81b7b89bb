//! Everything that somebody with all rights on the database can do, each found offline from a bundle and by its own words.
//!
//! The cases C09 to C13, C35, C36, C44 and C47 of the comparison with other products. The attacker is PostgreSQL's
//! superuser; the auditor has a bundle, and the head that was kept before.

use std::path::{Path, PathBuf};

use ingest::clock::random;
use ingest::ledger::key::LogKey;
use shared::event::{
    ChangeSet, ClaimedUser, ComplianceFlag, Event, JsonText, Place, Quality, RetentionClass, Severity,
};
use shared::leaf::{self, Opening, StoredOpening, Tag};
use shared::note::{Checkpoint, KeyName};
use shared::tree::{CompactRange, leaf_hash};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

use crate::support::audit::{Verdict, verify};
use crate::support::{Server, is_skipped_on_a_cluster, sample};

const QUIET: [(&str, &str); 6] = [
    ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
    ("EDGETRAIL__INTEGRITY__HEADS_MS", "86400000"),
    ("EDGETRAIL__INTEGRITY__OPENINGS_MS", "86400000"),
    ("EDGETRAIL__INTEGRITY__HEARTBEAT_MS", "86400000"),
    ("EDGETRAIL__INTEGRITY__TREE_MS", "86400000"),
    ("EDGETRAIL__INTEGRITY__EVERYTHING_MS", "86400000"),
];
const TABLES: [&str; 11] = [
    "events",
    "batches",
    "quarantine",
    "log_pending",
    "logs",
    "log_rounds",
    "log_tiles",
    "log_checkpoints",
    "log_keys",
    "log_publications",
    "absence_lists",
];

/// An event with something in every column.
fn full(n: u64) -> Event {
    let mut event = sample(n);
    event.severity = Severity::Warning;
    event.class = RetentionClass::Standard;
    event.reason = Some("invalid_credentials".to_owned());
    event.claimed_user = Some(ClaimedUser { id: "user-9".to_owned(), source: "body.user_id".to_owned() });
    event.context.place = Some(Place { country: Some("DE".to_owned()), ..Place::default() });
    event.changes = Some(ChangeSet {
        quality: Quality::Exact,
        fields: JsonText::from(&serde_json::json!({"name": {"from": "a", "to": "b"}})),
    });
    event.compliance = vec![ComplianceFlag::try_from("SOC2".to_owned()).expect("a flag")];
    event
}

/// The server, the attacker's connection, and what the auditor keeps.
struct Scene {
    server: Server,
    attacker: PgConnection,
    dir: tempfile::TempDir,
    older: PathBuf,
    newer: PathBuf,
    number: usize,
}

impl Scene {
    /// Three hundred events; the database was dumped, and a head kept, at 60.
    async fn new() -> Self {
        let server = Server::with(&QUIET).await;
        let mut producer = server.producer().await;
        let dir = tempfile::tempdir().expect("a directory");
        let mut older = PathBuf::new();
        let mut attacker = PgConnection::connect_with(&server.database).await.expect("a superuser");
        for batch in 0..15 {
            let events: Vec<_> = (batch * 20..batch * 20 + 20).map(full).collect();
            assert_eq!(server.send(&producer.seal(&events)).await["status"], 200);
            if batch == 2 {
                server.sequenced(60).await;
                older = server.keep_head(dir.path(), "older.txt").await;
                keep(&mut attacker, "dump").await;
            }
        }
        server.sequenced(300).await;
        let newer = server.keep_head(dir.path(), "newer.txt").await;
        keep(&mut attacker, "whole").await;
        Self { server, attacker, dir, older, newer, number: 0 }
    }

    async fn attack(&mut self, sql: &str) {
        self.attacker
            .execute(AssertSqlSafe(sql.to_owned()))
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    async fn restore(&mut self, from: &str) {
        for table in TABLES {
            self.attack(&format!(
                "truncate {table}; insert into {table} overriding system value select * from {from}.{table}"
            ))
            .await;
        }
    }

    /// A bundle made now, in the auditor's hands.
    async fn bundle(&mut self) -> PathBuf {
        self.number += 1;
        self.server.bundle(self.dir.path(), &format!("bundle-{}.tar", self.number)).await
    }

    async fn audit(&mut self, head: Option<&Path>) -> Verdict {
        let bundle = self.bundle().await;
        let more: Vec<&str> =
            head.iter().flat_map(|head| ["--checkpoint", head.to_str().expect("text")]).collect();
        verify(bundle.to_str().expect("text"), "", &more).await
    }

    async fn audit_with_newer(&mut self) -> Verdict {
        let head = self.newer.clone();
        self.audit(Some(&head)).await
    }
}

async fn keep(attacker: &mut PgConnection, name: &str) {
    let mut sql = format!("create schema {name};");
    for table in TABLES {
        sql.push_str(&format!("create table {name}.{table} as table {table};"));
    }
    attacker.execute(AssertSqlSafe(sql)).await.expect("kept");
}

#[tokio::test]
async fn c09_a_byte_flipped_in_any_column_of_an_event_is_found_and_named() {
    let mut scene = Scene::new().await;
    scene.audit_with_newer().await.holds();
    let columns: Vec<(String, String)> = scene
        .attacker
        .fetch_all(
            "select attname::text, atttypid::regtype::text from pg_attribute
             where attrelid = 'events'::regclass and attnum > 0 and not attisdropped order by attnum",
        )
        .await
        .expect("columns")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_eq!(columns.len(), 31, "a new column needs a comparison in ledger::openings");
    for (column, kind) in columns {
        // By it a cluster knows where a row stands.
        if column == "tenant_id" && is_skipped_on_a_cluster("a cluster changes no row's tenant") {
            continue;
        }
        let first = |text: &str| format!("overlay({text} placing chr(ascii({text}) # 1) from 1 for 1)");
        let flipped = match kind.as_str() {
            "text" => first(&column),
            "text[]" => format!("array[{}]", first(&format!("{column}[1]"))),
            "smallint" => format!("{column} # 1::smallint"),
            "integer" | "bigint" => format!("{column} # 1"),
            "timestamp with time zone" => {
                format!("({column} at time zone 'UTC' + interval '1 millisecond') at time zone 'UTC'")
            }
            "inet" => format!("{column} + 1"),
            "uuid" => format!("translate({column}::text, '0123456789abcdef', '1032547698badcfe')::uuid"),
            "bytea" => format!("set_byte({column}, 20, get_byte({column}, 20) # 1)"),
            other => panic!("{column} is {other}"),
        };
        // Versions of ids stay: the last four digits are enough.
        let flipped = flipped.replace(
            "translate(id::text, '0123456789abcdef', '1032547698badcfe')::uuid",
            "(left(id::text, 32) || translate(right(id::text, 4), '0123456789abcdef', '1032547698badcfe'))::uuid",
        );
        scene
            .attack(&format!(
                "update events set {column} = {flipped} where entity_id = '137' and entity_type = 'agent'"
            ))
            .await;
        let verdict = scene.audit_with_newer().await;
        let (kind, words) = match column.as_str() {
            "opening" => ("edited", "its opening does not hash to its entry".to_owned()),
            "tenant_id" => ("deleted", "its opening is gone".to_owned()),
            _ => ("column_edited", format!("column {column} ")),
        };
        verdict.finds(&column, kind, &words);
        assert_eq!(verdict.kinds(), [kind], "{column}");
        assert_eq!(verdict.report["first"]["index"], 137, "{column}");
        scene.restore("whole").await;
    }
    // Any byte of the opening, also those that are no value.
    for byte in [0, 1, 33, 34, 36, 37, 60, 150, 250] {
        scene
            .attack(&format!(
                "update events set opening = set_byte(opening, {byte}, get_byte(opening, {byte}) # 1) where entity_id = '137'"
            ))
            .await;
        let verdict = scene.audit_with_newer().await;
        assert_eq!((verdict.status, verdict.kinds()), (3, vec!["edited".to_owned()]), "byte {byte}");
        scene.restore("whole").await;
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn c35_rows_deleted_swapped_and_cut_off_are_told_apart() {
    let mut scene = Scene::new().await;
    let cases: [(&str, &str, &str, &str); 9] = [
        ("one row deleted", "delete from events where entity_id = '137'", "deleted", "its opening is gone"),
        (
            "the last three rows deleted",
            "delete from events where entity_id in ('297', '298', '299')",
            "deleted",
            "its opening is gone",
        ),
        (
            "two openings swapped",
            "update events a set opening = b.opening from dump.events b where a.entity_id = '17' and b.entity_id = '18';
             update events a set opening = b.opening from dump.events b where a.entity_id = '18' and b.entity_id = '17'",
            "reordered",
            "what stands here is the event of leaf 18",
        ),
        (
            "two places swapped",
            "update events set position = case position when 17 then 18 else 17 end where entity_id in ('17', '18')",
            "reordered",
            "what stands here is the event of leaf 17",
        ),
        (
            "erased without a record",
            "update events set opening = '\\x', actor_id = null, actor_email = null where entity_id = '137'",
            "edited",
            "its opening cannot be read",
        ),
        (
            "set aside to hide it",
            "insert into quarantine select tenant_id, batch_id, position, ''::bytea, ''::bytea, 'unreadable', null, received_at
                 from events where entity_id = '137';
             delete from events where entity_id = '137'",
            "deleted",
            "its opening is gone",
        ),
        (
            "a made-up list of absences",
            "insert into absence_lists select 'demo', '019a0000-0000-7000-8000-000000000000', sha256(''),
                 decode(l.log_id, 'hex') || '\\x0000000000000089000000018000'::bytea from logs l;
             delete from events where entity_id = '137'",
            "absences_unrecorded",
            "no event of this id in the logs commits to a list",
        ),
        (
            "one event twice",
            "insert into events select tenant_id, filed_at + interval '1 second', id, occurred_at, received_at, class,
                 severity, outcome, trust, action, actor_id, actor_email, claimed_user, entity_type, entity_id, entity_name,
                 ip, session_id, country, host, method, route, rule, status, reason, duration_ms, change_quality, compliance,
                 batch_id, position, opening from events where entity_id = '137'",
            "duplicated",
            "another event claims the same leaf",
        ),
        (
            "all rows deleted",
            "delete from events",
            "deleted",
            "its opening is gone",
        ),
    ];
    for (case, sql, kind, words) in cases {
        scene.attack(sql).await;
        scene.audit_with_newer().await.finds(case, kind, words);
        scene.restore("whole").await;
    }
    scene.audit_with_newer().await.holds();
    scene.server.stop().await;
}

#[tokio::test]
async fn c10_c12_the_head_the_tiles_and_the_entries_of_the_log_itself_are_found_edited_each_by_its_own_words()
{
    let mut scene = Scene::new().await;
    let cases: [(&str, &str, &str, &str); 8] = [
        (
            "a log entry edited",
            "update log_rounds set entries = set_byte(entries, 15, get_byte(entries, 15) # 1) where first_index = 120",
            "entry_edited",
            "its log entry is not the one that the stored tiles and the head sign",
        ),
        (
            "the time in an entry edited",
            "update log_rounds set entries = set_byte(entries, 9, get_byte(entries, 9) # 1) where first_index = 280",
            "root_mismatch",
            "the entries do not give the root that the head signs",
        ),
        (
            "the end of the entries deleted",
            "delete from log_rounds where first_index >= 260",
            "truncated",
            "the head covers 300 entries, and they end after 256",
        ),
        (
            "a tile edited",
            "update log_tiles set hashes = set_byte(hashes, 3200, get_byte(hashes, 3200) # 1)",
            "tile_edited",
            "the stored hash tile over it is not the one of the tree",
        ),
        (
            "the root of a tile edited",
            "update log_tiles set root = set_byte(root, 0, get_byte(root, 0) # 1)",
            "tile_edited",
            "tile/1/000.p/1 is not the tile of the tree over the entries",
        ),
        (
            "the head edited",
            "update log_checkpoints set note = replace(note, E'\\n300\\n', E'\\n299\\n') where size = 300",
            "bad_signature",
            "does not hold",
        ),
        ("the head deleted", "delete from log_checkpoints", "head_missing", "its checkpoint is not found"),
        (
            "the head of another log",
            "update log_checkpoints set note = replace(note, 'localhost/log/', 'elsewhere/log/')",
            "head_elsewhere",
            "its checkpoint is of elsewhere/log/",
        ),
    ];
    for (case, sql, kind, words) in cases {
        scene.attack(sql).await;
        scene.audit_with_newer().await.finds(case, kind, words);
        scene.restore("whole").await;
    }
    scene.audit_with_newer().await.holds();
    scene.server.stop().await;
}

#[tokio::test]
async fn c35_an_old_dump_a_deleted_tenant_and_a_fork_are_found_by_the_head_that_was_kept() {
    let mut scene = Scene::new().await;
    let older = scene.older.clone();
    scene.audit(Some(&older)).await.holds();

    scene.restore("dump").await;
    // The older head knows no more than the dump; the newer one does.
    scene.audit(Some(&older)).await.holds();
    scene.audit_with_newer().await.finds(
        "an old dump",
        "truncated",
        "knows 300 entries of it, and there are 60",
    );

    // It grows again, otherwise.
    let mut producer = scene.server.producer().await;
    for batch in 0..13 {
        let events: Vec<_> = (batch * 20..batch * 20 + 20).map(full).collect();
        assert_eq!(scene.server.send(&producer.seal(&events)).await["status"], 200);
    }
    scene.server.sequenced(320).await;
    scene.audit(Some(&older)).await.holds();
    scene.audit_with_newer().await.finds("a fork", "forked", "its first 300 entries are not those");

    let everything: Vec<String> =
        TABLES.iter().map(|table| format!("delete from {table} where true;")).collect();
    scene.attack(&everything.concat()).await;
    scene.audit_with_newer().await.finds("a deleted tenant", "log_missing", "the whole log is gone");
    let verdict = scene.audit(None).await;
    assert_eq!((verdict.status, &verdict.report["verdict"]), (0, &serde_json::json!("nothing to verify")));
    scene.server.stop().await;
}

#[tokio::test]
async fn c35_a_log_that_was_made_anew_with_another_key_is_sound_in_itself_and_still_found() {
    let mut scene = Scene::new().await;
    let named = scene.server.get("/v1/logs").await.json()["logs"][0]["verifier_key"]
        .as_str()
        .expect("a key")
        .to_owned();
    re_chain(&mut scene.attacker, &LogKey::from_seed(&random())).await;
    // Whoever kept nothing sees nothing, and is told so.
    let alone = scene.audit(None).await;
    assert!(
        alone.holds().report["report"]["notes"].to_string().contains("nothing outside vouches"),
        "{:#}",
        alone.report
    );
    scene.audit_with_newer().await.finds("the newer head", "re_chained", "all of it was made anew");
    let older = scene.older.clone();
    scene.audit(Some(&older)).await.finds("the older head", "re_chained", "its first 60 entries");
    let bundle = scene.bundle().await;
    let verdict = verify(bundle.to_str().expect("text"), "", &["--key", &named]).await;
    verdict.finds("the key", "unknown_key", "none of that is a trusted key");
    scene.server.stop().await;
}

/// Changes one event and makes everything after it anew: opening, entry, tile, peaks, head, key.
async fn re_chain(attacker: &mut PgConnection, key: &LogKey) {
    let row = attacker
        .fetch_one("select opening, batch_id, position, filed_at from events where entity_id = '7'")
        .await
        .expect("the event");
    let (opening, batch, position): (Vec<u8>, i64, i16) = (row.get(0), row.get(1), row.get(2));
    let opening = Opening::decode(&opening).expect("an opening");
    let mut event = Event::from_opening(&opening).expect("an event");
    event.actor.as_mut().expect("an actor").id = "somebody-else".to_owned();
    let changed = event.to_opening(*opening.seed());
    let position = i32::from(position);
    sqlx::query("update events set opening = $1, actor_id = 'somebody-else' where entity_id = '7'")
        .bind(changed.encode())
        .execute(&mut *attacker)
        .await
        .expect("changed");
    sqlx::query("update log_rounds set entries = overlay(entries placing $1 from $2) where batch_id = $3")
        .bind(leaf::digest(&changed).to_vec())
        .bind(position * 42 + 11)
        .bind(batch)
        .execute(&mut *attacker)
        .await
        .expect("changed");
    let rounds =
        attacker.fetch_all("select entries from log_rounds order by first_index").await.expect("rounds");
    let entries: Vec<u8> = rounds.iter().flat_map(|row| row.get::<Vec<u8>, _>(0)).collect();
    let mut range = CompactRange::default();
    let mut tile = CompactRange::default();
    let mut hashes = Vec::new();
    for entry in entries.chunks_exact(42) {
        let hash = leaf_hash(entry);
        range.append(hash);
        if tile.size() < 256 {
            tile.append(hash);
            hashes.extend(hash);
        }
    }
    let origin: String = attacker.fetch_one("select origin from logs").await.expect("a log").get(0);
    let name = KeyName::try_from(origin.clone()).expect("a name");
    let checkpoint = Checkpoint { origin, size: range.size(), root: range.root() };
    sqlx::query("update log_tiles set hashes = $1, root = $2")
        .bind(hashes)
        .bind(tile.root().to_vec())
        .execute(&mut *attacker)
        .await
        .expect("changed");
    sqlx::query("update log_checkpoints set root = $1, note = $2 where size = 300")
        .bind(range.root().to_vec())
        .bind(key.sign_note(&checkpoint.to_string(), &name))
        .execute(&mut *attacker)
        .await
        .expect("changed");
    sqlx::query("update logs set peaks = $1, public_key = $2")
        .bind(range.peaks().concat())
        .bind(key.public().to_vec())
        .execute(&mut *attacker)
        .await
        .expect("changed");
    sqlx::query("update log_keys set public_key = $1")
        .bind(key.public().to_vec())
        .execute(&mut *attacker)
        .await
        .expect("changed");
    attacker.execute("delete from log_checkpoints where size <> 300").await.expect("deleted");
}

#[tokio::test]
async fn c44_fields_erased_without_a_record_are_not_excused_as_privacy() {
    let mut scene = Scene::new().await;
    let row = scene
        .attacker
        .fetch_one("select opening from events where entity_id = '137'")
        .await
        .expect("the event");
    let stored = StoredOpening::decode(&row.get::<Vec<u8>, _>(0)).expect("an opening");
    let remnant = stored.erase(&[Tag::ACTOR, Tag::IP]).expect("something to erase");
    sqlx::query("update events set opening = $1, actor_id = null, actor_email = null, ip = null where entity_id = '137'")
        .bind(remnant.encode())
        .execute(&mut scene.attacker)
        .await
        .expect("changed");
    let verdict = scene.audit_with_newer().await;
    verdict.finds(
        "two fields",
        "deleted",
        "field 0x8001 is gone, and no record of an erasure or a drop explains it",
    );
    assert_eq!(
        (verdict.kinds(), verdict.report["report"]["counts"]["unexplained"].as_u64()),
        (vec!["deleted".to_owned()], Some(2))
    );
    // Where erasure left a value in a column, the column says so.
    scene.attack("update events set ip = '203.0.113.7' where entity_id = '137'").await;
    scene.audit_with_newer().await.finds(
        "a value left behind",
        "column_edited",
        "column ip says \"203.0.113.7/32\"",
    );
    scene.server.stop().await;
}
