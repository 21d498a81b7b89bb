//! The archive: what retention drops lies there first, verifies without the database, and loses what is erased.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use chrono::{TimeDelta, Utc};
use ingest::archive::PartName;
use ingest::archive::part::{self, Row};
use ingest::store::partitions;
use serde_json::{Value, json};
use shared::event::{Actor, Event};

use crate::retention::{filled, months_ago, present, sequenced, superuser};
use crate::support::audit::{Verdict, edgetrail, verify};
use crate::support::{Dial, Producer, Server, eventually, sample_at};

const ALICE: &str = "0197a11c-e000-7abc-8def-0123456789ab";
const EMAIL: &str = "alice.muster@example.org";
const NAME: &str = "Alice Zoe Muster";

/// A backend with an archive in a directory beside its data, and two batches of thirty events of fourteen months ago.
async fn archiving(more: &str) -> (tempfile::TempDir, Dial, Server, Producer) {
    let place = tempfile::tempdir().expect("a directory");
    let dial = Dial::new(months_ago(14));
    let toml = format!(
        "[archive]\nurl = \"file://{}\"\n{more}\n[privacy]\ncool_off_ms = 1\nsweep_ms = 50\n",
        place.path().display()
    );
    let server = Server::configured_at(&dial, &toml).await;
    let producer = server.producer().await;
    (place, dial, server, producer)
}

async fn two_batches(server: &Server, producer: &mut Producer) {
    for batch in 0..2 {
        let events: Vec<_> = (0..30).map(|n| sample_at(months_ago(14), batch * 30 + n)).collect();
        assert_eq!(server.send(&producer.seal(&events)).await["stored"], 30);
    }
    sequenced(server).await;
}

fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn parts(place: &Path) -> Vec<PathBuf> {
    files(&place.join("demo/months"))
}

fn rows(part: &Path) -> Vec<Row> {
    part::read(std::fs::read(part).expect("read")).expect("a part")
}

async fn verified(place: &Path) -> Verdict {
    verify(place.join("demo").to_str().expect("text"), "", &[]).await
}

fn counts(verdict: &Verdict) -> &Value {
    &verdict.report["report"]["counts"]
}

#[tokio::test]
async fn what_a_drop_takes_lies_in_the_archive_and_verifies_there_without_the_database() {
    let (place, dial, server, mut producer) = archiving("").await;
    two_batches(&server, &mut producer).await;
    present(&server, &dial).await;
    let preview = server.get_as_admin("/v1/retention/preview").await.json();
    assert!(preview["words"].to_string().contains("what goes lies in the archive first"), "{preview:#}");
    assert_eq!(server.retention.pass().await.expect("done")[0].dropped, 40);

    let parts = parts(place.path());
    assert_eq!(parts.len(), 1);
    let rows = rows(&parts[0]);
    assert_eq!(rows.len(), 40);
    let leaves: Vec<u64> = rows.iter().map(|row| row.leaf).collect();
    assert!(leaves.is_sorted());
    let text = String::from_utf8_lossy(&std::fs::read(&parts[0]).expect("read")).into_owned();
    assert!(!text.contains("203.0.113.7") && !text.contains("session-1"), "personal context is not archived");

    // What the database says is what it said before.
    let url = format!("http://{}/", server.address);
    let online = verify(&url, server.admin_key(), &[]).await;
    assert_eq!((&counts(online.holds())["dropped"], &counts(&online)["archived"]), (&json!(40), &json!(40)));
    server.stop().await;

    let offline = verified(place.path()).await;
    let seen = counts(offline.holds());
    assert_eq!((&seen["context_dropped"], &seen["dropped"]), (&json!(40), &json!(0)), "{seen:#}");
    assert_eq!((&seen["in_database"], &seen["records"]), (&json!(20), &json!(2)), "{seen:#}");
    assert_eq!(
        offline.report["report"]["notes"].as_array().map(Vec::len),
        Some(1),
        "only that there is no anchor"
    );
    let (status, said, _) =
        edgetrail(&["verify", place.path().join("demo").to_str().expect("text")], "").await;
    assert_eq!(status, 0);
    assert!(said.contains("events not in this archive (the database holds them): 20\n"), "{said}");
}

#[tokio::test]
async fn damage_to_an_archive_is_found_and_named() {
    let (place, dial, server, mut producer) = archiving("").await;
    two_batches(&server, &mut producer).await;
    present(&server, &dial).await;
    server.retention.pass().await.expect("done");
    server.stop().await;
    let part = parts(place.path()).remove(0);
    let whole = std::fs::read(&part).expect("read");
    let write = |rows: &[Row]| std::fs::write(&part, part::write(rows).expect("written")).expect("written");

    let mut fewer = rows(&part);
    let gone = fewer.remove(7);
    write(&fewer);
    let verdict = verified(place.path()).await;
    verdict.finds("a row less", "deleted", "the record of its drop says that it was archived");
    assert_eq!(verdict.report["report"]["findings"][0]["index"], gone.leaf);

    let mut swapped = rows_of(&whole);
    let (first, second) = (swapped[3].leaf, swapped[4].leaf);
    (swapped[3].leaf, swapped[4].leaf) = (second, first);
    swapped.swap(3, 4);
    write(&swapped);
    verified(place.path()).await.finds("two that changed places", "reordered", "");

    let mut edited = rows_of(&whole);
    let at = edited[5].opening.windows(5).position(|bytes| bytes == b"user-").expect("an actor");
    edited[5].opening[at] = b'U';
    write(&edited);
    verified(place.path()).await.finds("a letter of an actor", "edited", "");

    // A field that nobody erased.
    let mut erased = rows_of(&whole);
    let stored = shared::leaf::StoredOpening::decode(&erased[9].opening).expect("an opening");
    erased[9].opening = stored.erase(&[shared::leaf::Tag::ACTOR]).expect("it has one").encode();
    write(&erased);
    verified(place.path()).await.finds("a field taken out", "deleted", "field");

    std::fs::write(&part, &whole[..whole.len() / 2]).expect("written");
    let (status, _, stderr) =
        edgetrail(&["verify", place.path().join("demo").to_str().expect("text")], "").await;
    assert_eq!((status, stderr.lines().count()), (1, 1), "{stderr}");
    assert!(stderr.contains("not a Parquet file of events"), "{stderr}");

    std::fs::remove_file(&part).expect("removed");
    verified(place.path()).await.finds("a part less", "deleted", "and of 39 more");
    std::fs::write(&part, &whole).expect("written");
    verified(place.path()).await.holds();
    std::fs::remove_dir_all(place.path().join("demo/absences")).expect("removed");
    verified(place.path()).await.finds(
        "no lists",
        "deleted",
        "no record of an erasure or a drop explains it",
    );
}

fn rows_of(bytes: &[u8]) -> Vec<Row> {
    part::read(bytes.to_vec()).expect("a part")
}

#[tokio::test]
async fn what_did_not_get_into_the_archive_is_not_dropped() {
    let (place, dial, server, mut producer) = archiving("").await;
    two_batches(&server, &mut producer).await;
    present(&server, &dial).await;
    // A file stands where the tenant's folder would be.
    let folder = place.path().join("demo");
    std::fs::write(&folder, "in the way").expect("written");
    let error = server.retention.pass().await.expect_err("there is no way in");
    assert!(error.to_string().contains("archive"), "{error}");
    let there = "select count(*) from events where class = 0 and filed_at < now() - interval '1 year'";
    let count = async || {
        sqlx::query_scalar::<_, i64>(there).fetch_one(&mut superuser(&server).await).await.expect("counted")
    };
    assert_eq!(count().await, 40);
    std::fs::remove_file(&folder).expect("removed");
    assert_eq!(server.retention.pass().await.expect("done")[0].dropped, 40);
    assert_eq!(count().await, 0);
    verified(place.path()).await.holds();
    server.stop().await;
}

#[tokio::test]
async fn parts_that_a_stop_left_behind_go_and_strange_ones_stay() {
    let (place, dial, server, mut producer) = archiving("").await;
    two_batches(&server, &mut producer).await;
    present(&server, &dial).await;
    server.retention.pass().await.expect("done");
    let kept = parts(place.path()).remove(0);
    let name = kept.strip_prefix(place.path().join("demo")).expect("below").to_str().expect("text");
    let name = PartName::parse(name).expect("a part");
    let beside = |shipment: u128| {
        let name = PartName { shipment: uuid::Uuid::from_u128(shipment), ..name.clone() };
        let path = place.path().join("demo").join(name.to_string());
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        path
    };
    // One whose events the database holds, as after a stop between shipping and dropping; one whose events it does not.
    type Held = (chrono::DateTime<Utc>, uuid::Uuid, i64, i16, Vec<u8>);
    let held: Vec<Held> = sqlx::query_as(
        "select filed_at, id, batch_id, position, opening from events where class = 1 limit 5",
    )
    .fetch_all(&mut superuser(&server).await)
    .await
    .expect("read");
    let held: Vec<Row> = held
        .into_iter()
        .map(|(filed_at, id, batch_id, position, opening)| Row {
            filed_at,
            id,
            batch_id,
            position,
            opening,
            received_at: filed_at,
            pseudonym: None,
            ..rows(&kept)[0].clone()
        })
        .collect();
    let (leftover, strange) = (beside(1), beside(2));
    std::fs::write(&leftover, part::write(&held).expect("written")).expect("written");
    std::fs::copy(&kept, &strange).expect("copied");
    server.retention.pass().await.expect("done");
    assert_eq!(parts(place.path()).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([kept, strange]));
    server.stop().await;
}

#[tokio::test]
async fn when_its_time_is_over_there_too_an_archived_month_goes_with_a_record_unless_a_hold_keeps_it() {
    let (place, dial, server, mut producer) = archiving("keep_days = 500").await;
    two_batches(&server, &mut producer).await;
    present(&server, &dial).await;
    server.retention.pass().await.expect("done");
    assert_eq!(parts(place.path()).len(), 1);
    let hold = r#"{"reason":"case 7","action":"AGENT_*"}"#;
    let hold = server.post_as_admin("/v1/holds", hold).await.json();
    let later = Utc::now() + TimeDelta::days(120);
    dial.turn(later);
    partitions::ensure(&server.store, later).await.expect("made");
    server.retention.pass().await.expect("done");
    assert_eq!(parts(place.path()).len(), 1, "a hold is active");
    let id = hold["id"].as_str().or(hold["hold_id"].as_str()).expect("an id");
    assert_eq!(server.post_as_admin(&format!("/v1/holds/{id}/release"), "").await.status, 200);
    server.retention.pass().await.expect("done");
    assert!(parts(place.path()).is_empty());
    let verdict = verified(place.path()).await;
    assert_eq!(counts(verdict.holds())["dropped"], 40, "{:#}", verdict.report);
    server.retention.pass().await.expect("nothing more to do");
    server.stop().await;
}

fn by_alice(n: u64) -> Event {
    let mut event = sample_at(months_ago(14), n);
    event.actor = Some(Actor { id: ALICE.to_owned(), email: Some(EMAIL.to_owned()), ..Actor::default() });
    event.details =
        Some(shared::event::JsonText::from(&json!({"note": format!("shared by {NAME}"), "to": EMAIL})));
    event
}

/// The values of Alice's in the files of an archive, and in what its parts hold.
fn of_alice(place: &Path) -> BTreeSet<&'static str> {
    let mut all = Vec::new();
    for file in files(place) {
        all.extend(std::fs::read(&file).expect("read"));
        if file.extension().is_some_and(|extension| extension == "parquet") {
            rows(&file).into_iter().for_each(|row| {
                all.extend(row.opening);
                all.extend(row.pseudonym.unwrap_or_default().into_bytes());
            });
        }
    }
    let has = |value: &&str| all.windows(value.len()).any(|bytes| bytes == value.as_bytes());
    [ALICE, EMAIL, NAME].into_iter().filter(has).collect()
}

async fn erased(server: &Server, dial: &Dial, mode: &str) -> Value {
    let other = server.another_admin().await;
    let body = json!({"mode": mode, "legal_basis": "Art. 17(1)(a) GDPR"}).to_string();
    let reply = server.post_as_admin(&format!("/v1/subjects/{ALICE}/erase"), &body).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    let id = reply.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(server.post_with(&format!("/v1/erasures/{id}/approve"), &other, "").await.status, 200);
    dial.turn(Utc::now() + TimeDelta::seconds(10));
    eventually(async || server.get_as_admin(&format!("/v1/erasures/{id}")).await.json()["state"] == "done")
        .await;
    server.get_as_admin(&format!("/v1/erasures/{id}")).await.json()
}

#[tokio::test]
async fn an_erasure_reaches_the_archive_and_every_leaf_there_still_verifies() {
    for mode in ["erase", "pseudonymise"] {
        let (place, dial, server, mut producer) = archiving("").await;
        let mut events: Vec<Event> = (0..30).map(by_alice).collect();
        events.extend((30..60).map(|n| sample_at(months_ago(14), n)));
        let mut route = sample_at(months_ago(14), 90);
        route.severity = shared::event::Severity::Info;
        route.class = shared::event::RetentionClass::Standard;
        route.request.route = format!("/api/avatars/{ALICE}.png");
        events.push(route);
        assert_eq!(server.send(&producer.seal(&events)).await["stored"], 61);
        sequenced(&server).await;
        present(&server, &dial).await;
        let dropped = server.retention.pass().await.expect("done")[0].dropped;
        assert_eq!(of_alice(place.path()).len(), 3, "the scan finds what is there");

        // She is found where she is, and gets what is there.
        let preview =
            server.post_as_admin(&format!("/v1/subjects/{ALICE}/erase"), r#"{"preview":true}"#).await;
        let preview = preview.json();
        assert_eq!(preview["preview"]["counts"]["events"], 31, "{preview:#}");
        let export = server.post_as_admin(&format!("/v1/subjects/{ALICE}/export"), "").await;
        let export = crate::subjects::unchunked(&export.body);
        let lines: Vec<Value> =
            export.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let summary = &lines.last().expect("a summary")["summary"];
        // With the record of the export itself.
        assert_eq!(summary["events"], 32, "{summary:#}");
        assert!(summary["proven"].as_u64() >= Some(31), "{summary:#}");

        erased(&server, &dial, mode).await;
        assert_eq!(of_alice(place.path()), BTreeSet::new(), "{mode}");
        let all: Vec<Row> = parts(place.path()).iter().flat_map(|part| rows(part)).collect();
        assert_eq!(all.len() as u64, dropped - 1, "the one whose route names her went as a whole");
        let names: BTreeSet<_> = all.iter().filter_map(|row| row.pseudonym.clone()).collect();
        assert_eq!(names.len(), usize::from(mode == "pseudonymise"), "{names:?}");
        let verdict = verified(place.path()).await;
        let seen = counts(verdict.holds());
        assert_eq!((&seen["erased"], &seen["erased_in_part"]), (&json!(1), &json!(20)), "{seen:#}");
        server.stop().await;
    }
}

#[tokio::test]
async fn without_an_archive_nothing_of_a_drop_says_otherwise() {
    let dial = Dial::new(months_ago(14));
    let (server, _) = filled(months_ago(14), &dial).await;
    present(&server, &dial).await;
    server.retention.pass().await.expect("done");
    let records = server.all("&action=RETENTION_DROP").await;
    assert!(!records.is_empty() && records.iter().all(|record| record["details"]["archive"].is_null()));
    server.stop().await;
}

#[tokio::test]
async fn an_archive_in_a_bucket_verifies_where_it_lies() {
    let Some(python) = crate::worm::python() else { return };
    let stand_in = crate::worm::StandIn::start(&python).await;
    let made = stand_in.bucket(&["plain", "months"]);
    assert!(made.0, "{}", made.1);
    let dial = Dial::new(months_ago(14));
    let toml = format!(
        "[archive]\nurl = \"s3://months/of/edgetrail\"\nendpoint = \"{}\"\naccess_key_id = \"test\"\nsecret_access_key = \"hunter2\"\n",
        stand_in.endpoint
    );
    let server = Server::configured_at(&dial, &toml).await;
    let mut producer = server.producer().await;
    two_batches(&server, &mut producer).await;
    present(&server, &dial).await;
    assert_eq!(server.retention.pass().await.expect("done")[0].dropped, 40);
    server.stop().await;
    let environment = [
        ("AWS_ENDPOINT_URL", stand_in.endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_REGION", "us-east-1"),
    ];
    let (status, said, stderr) =
        crate::support::audit::edgetrail_with(&["verify", "s3://months/of/edgetrail/demo"], &environment)
            .await;
    assert_eq!((status, stderr.as_str()), (0, ""), "{said}");
    assert!(said.contains("events without context (its time was over): 40\n"), "{said}");
}

#[tokio::test]
async fn a_part_opens_in_another_reader_of_parquet() {
    let Some(python) = crate::worm::python() else { return };
    let (place, dial, server, mut producer) = archiving("").await;
    two_batches(&server, &mut producer).await;
    present(&server, &dial).await;
    server.retention.pass().await.expect("done");
    server.stop().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/independent/table.py");
    let part = parts(place.path()).remove(0);
    let ran = std::process::Command::new(python).arg(script).arg(&part).output().expect("it runs");
    let said = String::from_utf8(ran.stdout).expect("text");
    let month = months_ago(14).format("%Y-%m");
    let expected = format!("40\n20\n{month}\nlog_id,leaf,id,occurred_at,received_at,filed_at,class,");
    assert!(said.starts_with(&expected), "{said}{}", String::from_utf8_lossy(&ran.stderr));
}
