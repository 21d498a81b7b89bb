//! Retention: what is due goes, what is not stays, and both can be shown.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike as _, Months, NaiveDate, NaiveTime, TimeDelta, Utc};
use ingest::store::partitions;
use ingest::store::swap::{self, Limits, Outcome, Source, Swapped};
use serde_json::{Value, json};
use shared::absence::{AbsenceList, Lost};
use shared::event::{Event, RetentionClass};
use shared::leaf::{StoredOpening, Tag};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use uuid::Uuid;

use crate::support::audit::verify;
use crate::support::{Dial, Producer, Server, eventually, new_key, sample_at, tenant};

const DAY_MS: u64 = 86_400_000;

/// The tenth of the month that lies so many months back, at noon.
pub(crate) fn months_ago(months: u32) -> DateTime<Utc> {
    let day = Utc::now().date_naive().with_day(10).expect("every month has it") - Months::new(months);
    day.and_time(NaiveTime::from_hms_opt(12, 0, 0).expect("noon")).and_utc()
}

pub(crate) fn month_of(at: DateTime<Utc>) -> NaiveDate {
    at.date_naive().with_day(1).expect("every month has it")
}

/// Moves a backend into the present.
pub(crate) async fn present(server: &Server, dial: &Dial) {
    dial.turn(Utc::now());
    partitions::ensure(&server.store, Utc::now()).await.expect("made");
}

pub(crate) async fn sequenced(server: &Server) {
    let mut database = superuser(server).await;
    eventually(async || {
        let waiting = sqlx::query_scalar::<_, i64>("select count(*) from log_pending");
        let mut database = PgConnection::connect_with(&server.database).await.expect("connected");
        waiting.fetch_one(&mut database).await.expect("counted") == 0
    })
    .await;
    database.ping().await.expect("connected");
}

pub(crate) async fn superuser(server: &Server) -> PgConnection {
    PgConnection::connect_with(&server.database).await.expect("connected")
}

async fn number(server: &Server, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&mut superuser(server).await).await.expect("counted")
}

/// Two batches of thirty events of some months ago: by severity, a third each is standard info, standard warning, critical.
pub(crate) async fn filled(at: DateTime<Utc>, dial: &Dial) -> (Server, Producer) {
    let server = Server::at(dial).await;
    let mut producer = server.producer().await;
    for batch in 0..2 {
        let events: Vec<_> = (0..30).map(|n| sample_at(at, batch * 30 + n)).collect();
        assert_eq!(server.send(&producer.seal(&events)).await["stored"], 30);
    }
    sequenced(&server).await;
    (server, producer)
}

/// Two batches of some months ago, of thirty and of seventy standard events.
async fn filled_with_standard(at: DateTime<Utc>, dial: &Dial) -> (Server, Producer) {
    let server = Server::at(dial).await;
    let mut producer = server.producer().await;
    for batch in [0..30, 30..100] {
        let events: Vec<_> = batch.map(|n| standard_at(at, n)).collect();
        assert_eq!(server.send(&producer.seal(&events)).await["stored"], events.len());
    }
    sequenced(&server).await;
    (server, producer)
}

fn standard_at(at: DateTime<Utc>, n: u64) -> Event {
    Event { class: RetentionClass::Standard, ..sample_at(at, n) }
}

/// How many events of a month its list names, and how many are there.
async fn listed_and_there(server: &Server, at: DateTime<Utc>) -> (i64, i64) {
    let row = sqlx::query(AssertSqlSafe(format!(
        "select listed, there
         from (select coalesce(sum(bit_count(low::bit(64)) + bit_count(high::bit(64))), 0)::bigint as listed
               from filed_batches where month = '{}') list,
             (select count(*) as there from {}) month",
        month_of(at),
        month_of(at).format("events_%Y_%m")
    )))
    .fetch_one(&mut superuser(server).await)
    .await
    .expect("counted");
    (row.get(0), row.get(1))
}

/// The file of a month's table: another one once it was swapped or emptied.
async fn table_of(server: &Server, at: DateTime<Utc>) -> (i64, i64) {
    let name = month_of(at).format("events_%Y_%m").to_string();
    let row = sqlx::query("select oid::bigint, relfilenode::bigint from pg_class where oid = $1::regclass")
        .bind(name)
        .fetch_one(&mut superuser(server).await)
        .await
        .expect("there");
    (row.get(0), row.get(1))
}

async fn since(server: &Server, at: DateTime<Utc>, filter: &str) -> Vec<Value> {
    let from = (at - TimeDelta::days(40)).to_rfc3339().replace('+', "%2B");
    server.all(&format!("&from={from}{filter}")).await
}

/// The list that a record commits to.
async fn list_of(server: &Server, record: &Value) -> AbsenceList {
    let id: Uuid = record["id"].as_str().expect("an id").parse().expect("an id");
    let row = sqlx::query("select sha256, list from absence_lists where record_id = $1")
        .bind(id)
        .fetch_one(&mut superuser(server).await)
        .await
        .expect("the list is kept");
    let list = AbsenceList::decode(row.get::<&[u8], _>("list")).expect("it is a list");
    let details = &record["details"]["absence"];
    assert_eq!(details["sha256"], hex::encode(list.hash()));
    assert_eq!(details["leaves"], list.leaves());
    assert_eq!(details["runs"], list.runs().len());
    list
}

/// Every leaf's class and time of arrival.
async fn leaves(server: &Server) -> Vec<([u8; 16], u64, u8, u64)> {
    let rows =
        sqlx::query("select log_id, first_index, entries from log_rounds order by log_id, first_index")
            .fetch_all(&mut superuser(server).await)
            .await
            .expect("read");
    let mut leaves = Vec::new();
    for row in rows {
        let mut log = [0; 16];
        hex::decode_to_slice(row.get::<&str, _>("log_id"), &mut log).expect("hex");
        let first = u64::try_from(row.get::<i64, _>("first_index")).expect("a place");
        for (at, entry) in (first..).zip(row.get::<&[u8], _>("entries").chunks(42)) {
            let received = u64::from_be_bytes(entry[2..10].try_into().expect("eight"));
            leaves.push((log, at, entry[1], received));
        }
    }
    leaves
}

#[tokio::test]
async fn after_a_year_standard_events_go_and_critical_ones_stay_and_every_missing_leaf_was_due() {
    let at = months_ago(14);
    let dial = Dial::new(at);
    let (server, _) = filled(at, &dial).await;
    let before = since(&server, at, "").await;
    assert_eq!(before.len(), 60);
    present(&server, &dial).await;

    let preview = server.get_as_admin("/v1/retention/preview").await.json();
    let name = at.format("%B %Y").to_string();
    assert_eq!(preview["months"][0]["month"], at.format("%Y-%m").to_string());
    assert_eq!(preview["months"][0]["classes"]["standard"]["drop"], 40);
    assert_eq!(preview["months"][0]["classes"]["critical"]["context_drop"], 20);
    assert_eq!(
        preview["words"][0],
        format!("{name}: 40 of 40 standard events go; they arrived more than 365 days ago.")
    );
    server.get_with("/v1/retention/preview", server.viewer_key()).await.problem(403);

    let done = server.retention.pass().await.expect("done");
    assert_eq!(done.len(), 1);
    assert_eq!((done[0].month, done[0].dropped, done[0].context, done[0].kept), (month_of(at), 40, 20, 20));
    assert!(done[0].exclusive < Duration::from_secs(1), "{:?}", done[0].exclusive);
    assert_eq!(server.retention.pass().await.expect("done").len(), 0, "it is done once");
    assert_eq!(listed_and_there(&server, at).await, (20, 20), "the list lost what went");

    let after: Vec<Value> = since(&server, at, "").await;
    let critical: Vec<&Value> = after.iter().filter(|event| event["action"] != "RETENTION_DROP").collect();
    assert_eq!(critical.len(), 20);
    assert!(critical.iter().all(|event| event["class"] == "critical"));
    let records: Vec<&Value> = after.iter().filter(|event| event["action"] == "RETENTION_DROP").collect();
    assert_eq!(records.len(), 2);
    let record = records.iter().find(|record| record["details"]["what"] == "events").expect("a record");
    assert_eq!((&record["class"], &record["entity"]["type"]), (&json!("permanent"), &json!("partition")));
    assert_eq!(record["entity"]["id"], at.format("%Y-%m").to_string());
    assert_eq!(
        (&record["details"]["class"], &record["details"]["period_days"]),
        (&json!("standard"), &json!(365))
    );

    // Nothing early, nothing of another class, and nothing beside it.
    let list = list_of(&server, record).await;
    let occurred: DateTime<Utc> = record["occurred_at"].as_str().expect("text").parse().expect("a time");
    let occurred = u64::try_from(occurred.timestamp_millis()).expect("after 1970");
    let mut gone = 0;
    for (log, index, class, received) in leaves(&server).await {
        match list.lost(&log, index) {
            Some(lost) => {
                assert_eq!((lost, class), (Lost::EVENT, 0));
                assert!(received + 365 * DAY_MS <= occurred);
                gone += 1;
            }
            None => assert!(class != 0 || received + 365 * DAY_MS > occurred),
        }
    }
    assert_eq!(gone, 40);
    assert_eq!(
        number(&server, "select count(*) from log_rounds where octet_length(entries) = 30 * 42").await,
        2
    );

    let shown = server.get("/v1/retention").await.json();
    assert_eq!(shown["drops"].as_array().map(Vec::len), Some(2));

    // A stranger finds every leaf, the critical events whole but for their context, and the drop explained.
    sequenced(&server).await;
    let verdict = verify(&format!("http://{}/", server.address), server.admin_key(), &[]).await;
    let counts = &verdict.holds().report["report"]["counts"];
    assert_eq!((&counts["dropped"], &counts["context_dropped"]), (&json!(40), &json!(20)), "{counts:#}");
    assert_eq!(counts["unexplained"], 0);
    server.stop().await;
}

#[tokio::test]
async fn after_a_quarter_addresses_agents_sessions_and_places_go_and_digests_stay() {
    let at = months_ago(5);
    let dial = Dial::new(at);
    let (server, _) = filled(at, &dial).await;
    let openings =
        "select encode(id::text::bytea, 'escape') as id, opening from events where class < 2 order by id";
    let digests = async |server: &Server| {
        let rows = sqlx::query(openings).fetch_all(&mut superuser(server).await).await.expect("read");
        let stored = rows.iter().map(|row| StoredOpening::decode(row.get("opening")).expect("an opening"));
        stored.collect::<Vec<_>>()
    };
    let before = digests(&server).await;
    present(&server, &dial).await;
    let done = server.retention.pass().await.expect("done");
    assert_eq!((done[0].dropped, done[0].context, done[0].kept), (0, 60, 60));

    let after = digests(&server).await;
    assert_eq!(after.len(), 60);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.digest(), after.digest(), "the leaf stands");
        assert_eq!(after.erased(), [Tag::IP, Tag::USER_AGENT, Tag::SESSION]);
        assert_eq!(after.fields().len() + 3, before.fields().len());
    }
    let columns = "select count(*) from events where class < 2 and (ip is not null or session_id is not null
                   or country is not null)";
    assert_eq!(number(&server, columns).await, 0);
    assert_eq!(number(&server, "select count(*) from events where actor_id like 'user-%'").await, 60);
    let dump: Vec<Vec<u8>> = sqlx::query_scalar("select opening from events")
        .fetch_all(&mut superuser(&server).await)
        .await
        .expect("read");
    for value in [&b"203.0.113.7"[..], b"session-1"] {
        assert!(!dump.iter().any(|opening| opening.windows(value.len()).any(|bytes| bytes == value)));
    }
    let records = sqlx::query_scalar::<_, Uuid>("select id from events where action = 'RETENTION_DROP'")
        .fetch_all(&mut superuser(&server).await)
        .await
        .expect("read");
    let record = server.get(&format!("/v1/events/{}", records[0])).await.json();
    assert_eq!(
        (&record["details"]["what"], &record["details"]["period_days"]),
        (&json!("context"), &json!(90))
    );
    let list = list_of(&server, &record).await;
    assert_eq!(list.leaves(), 60);
    let context = Lost::fields(&[Tag::IP, Tag::USER_AGENT, Tag::SESSION]);
    assert!(list.runs().iter().all(|run| run.lost == context));
    assert_eq!(server.retention.pass().await.expect("done").len(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_month_is_swapped_once_and_each_tenant_keeps_by_its_own_periods() {
    let at = months_ago(14);
    let dial = Dial::new(at);
    let (server, mut producer) = filled(at, &dial).await;
    let theirs = [tenant("demo"), tenant("other")];
    ingest::store::signing_keys::upsert(&server.store, &producer.verifier(), &theirs)
        .await
        .expect("registered");
    producer.stream = shared::batch::StreamId(ingest::clock::random());
    (producer.seq, producer.prev) = (0, [0; 32]);
    let openings: Vec<Vec<u8>> = (0..9)
        .map(|n| {
            let mut event = sample_at(at, n);
            event.tenant = tenant("other");
            event.to_opening(shared::leaf::Seed(ingest::clock::random())).encode()
        })
        .collect();
    // The keys a backend knows are read again a moment later.
    let sealed = producer.seal_openings("other", &openings);
    eventually(async || server.send(&sealed).await["status"] == 200).await;
    sequenced(&server).await;
    sqlx::query(
        "insert into retention_policies (tenant_id, version, state, standard_days, critical_days, context_days,
             proposed_by, proposed_at, decided_by, decided_at, effective_at)
         values ('other', 1, 'approved', 3000, 3000, 3000, 'a', now(), 'b', now(), now() - interval '1 minute')",
    )
    .execute(&mut superuser(&server).await)
    .await
    .expect("inserted");
    present(&server, &dial).await;
    let done = server.retention.pass().await.expect("done");
    assert_eq!((done.len(), done[0].dropped, done[0].kept), (1, 40, 29));
    assert_eq!(number(&server, "select count(*) from events where tenant_id = 'other'").await, 9);
    assert_eq!(number(&server, "select count(*) from absence_lists where tenant_id = 'other'").await, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_month_of_which_nothing_stays_is_emptied_and_every_leaf_is_explained() {
    let at = months_ago(14);
    let dial = Dial::new(at);
    let (server, mut producer) = filled_with_standard(at, &dial).await;
    assert_eq!(listed_and_there(&server, at).await, (100, 100));
    present(&server, &dial).await;
    let (table, file) = table_of(&server, at).await;
    let done = server.retention.pass().await.expect("done");
    assert_eq!((done.len(), done[0].dropped, done[0].context, done[0].kept), (1, 100, 0, 0));
    assert_eq!(listed_and_there(&server, at).await, (0, 0));
    let (same, another) = table_of(&server, at).await;
    assert_eq!(table, same, "readers of other months did not wait for it");
    assert_ne!(file, another, "its space is given back");
    sequenced(&server).await;
    let verdict = verify(&format!("http://{}/", server.address), server.admin_key(), &[]).await;
    let counts = &verdict.holds().report["report"]["counts"];
    assert_eq!((&counts["dropped"], &counts["unexplained"]), (&json!(100), &json!(0)), "{counts:#}");

    // It takes events as before.
    let young = months_ago(12);
    for time in [young, at] {
        dial.turn(time + TimeDelta::minutes(1));
        assert_eq!(server.send(&producer.seal(&[standard_at(time, 100)])).await["stored"], 1);
    }
    assert_eq!(listed_and_there(&server, at).await, (1, 1));
    server.stop().await;
}

#[tokio::test]
async fn an_event_that_the_list_does_not_name_goes_with_its_name_all_the_same() {
    let at = months_ago(14);
    let dial = Dial::new(at);
    let (server, _) = filled_with_standard(at, &dial).await;
    present(&server, &dial).await;
    let unlist = "update filed_batches set low = low & ~(1::bigint << 7) where batch_id =
                  (select min(batch_id) from filed_batches)";
    sqlx::query(unlist).execute(&mut superuser(&server).await).await.expect("a superuser may");
    assert_eq!(listed_and_there(&server, at).await, (99, 100));
    let done = server.retention.pass().await.expect("done");
    assert_eq!((done.len(), done[0].dropped, done[0].kept), (1, 100, 0));
    sequenced(&server).await;
    let verdict = verify(&format!("http://{}/", server.address), server.admin_key(), &[]).await;
    let counts = &verdict.holds().report["report"]["counts"];
    assert_eq!((&counts["dropped"], &counts["unexplained"]), (&json!(100), &json!(0)), "{counts:#}");
    server.stop().await;
}

#[tokio::test]
async fn a_list_that_names_little_of_a_month_is_not_tried() {
    let at = months_ago(14);
    let dial = Dial::new(at);
    let (server, _) = filled_with_standard(at, &dial).await;
    present(&server, &dial).await;
    let mut database = superuser(&server).await;
    sqlx::query("delete from filed_batches where batch_id = (select min(batch_id) from filed_batches)")
        .execute(&mut database)
        .await
        .expect("a superuser may");
    sqlx::query("analyze events").execute(&mut database).await.expect("analysed");
    let done = server.retention.pass().await.expect("done");
    assert_eq!((done.len(), done[0].dropped), (1, 100));
    let records = "select count(*) from events where action = 'RETENTION_DROP'";
    assert_eq!(number(&server, records).await, 1, "nothing was announced that was not carried out");
    server.stop().await;
}

#[tokio::test]
async fn what_somebody_took_away_is_not_explained_by_the_list() {
    let at = months_ago(14);
    let dial = Dial::new(at);
    let (server, _) = filled_with_standard(at, &dial).await;
    present(&server, &dial).await;
    sqlx::query("delete from events where id = (select min(id::text)::uuid from events)")
        .execute(&mut superuser(&server).await)
        .await
        .expect("a superuser may");
    assert_eq!(listed_and_there(&server, at).await, (100, 99));
    let done = server.retention.pass().await.expect("done");
    assert_eq!(done[0].dropped, 99);
    sequenced(&server).await;
    let verdict = verify(&format!("http://{}/", server.address), server.admin_key(), &[]).await;
    assert_eq!(verdict.report["report"]["counts"]["unexplained"], 1);
    server.stop().await;
}

#[tokio::test]
async fn an_erased_event_is_off_the_list_and_a_held_one_too_once_it_was_due() {
    let at = months_ago(14);
    let dial = Dial::new(at);
    let (server, _) = filled_with_standard(at, &dial).await;
    let mut keeper = server.store.begin_as_keeper().await.expect("begun");
    let last = "select filed_at, id from events where class = 0 order by position desc limit 1";
    let (filed_at, id): (DateTime<Utc>, Uuid) =
        sqlx::query_as(last).fetch_one(&mut *keeper).await.expect("there are some");
    let erased: bool = sqlx::query_scalar("select erase_event('demo', $1, $2)")
        .bind(filed_at)
        .bind(id)
        .fetch_one(&mut *keeper)
        .await
        .expect("erased");
    assert!(erased);
    keeper.commit().await.expect("committed");
    assert_eq!(listed_and_there(&server, at).await, (99, 99));

    present(&server, &dial).await;
    let hold = json!({"reason": "a case", "actor_id": "user-1"}).to_string();
    let hold = server.post_as_admin("/v1/holds", &hold).await.json();
    let done = server.retention.pass().await.expect("done");
    let kept = i64::try_from(done[0].kept).expect("few");
    assert!(kept > 0);
    assert_eq!(listed_and_there(&server, at).await, (0, kept));

    dial.turn(Utc::now());
    let release = format!("/v1/holds/{}/release", hold["id"].as_str().expect("an id"));
    assert_eq!(server.post_as_admin(&release, "").await.status, 200);
    dial.turn(Utc::now());
    let done = server.retention.pass().await.expect("done");
    assert_eq!((done[0].dropped, done[0].kept), (u64::try_from(kept).expect("some"), 0));
    server.stop().await;
}

#[tokio::test]
async fn what_arrives_before_a_month_is_emptied_stays() {
    let at = months_ago(3);
    let dial = Dial::new(at);
    let (server, mut producer) = filled_with_standard(at, &dial).await;
    present(&server, &dial).await;
    let copy = copied(&server, month_of(at)).await;
    assert_eq!((copy.kept, copy.gone.iter().map(|gone| gone.count).sum::<i64>()), (0, 100));
    assert_eq!(server.send(&producer.seal(&[standard_at(at, 100)])).await["stored"], 1);
    let swapped = swap::swap(&server.store, &copy, &Outcome::default()).await.expect("tried");
    assert_eq!(swapped, Swapped::Changed);
    assert_eq!(listed_and_there(&server, at).await, (101, 101));
    server.stop().await;
}

/// A copy of a month from which every standard event goes.
pub(crate) async fn copied(server: &Server, month: NaiveDate) -> swap::Copied {
    let limits =
        Limits { tenant: "demo".to_owned(), standard: Some(Utc::now()), critical: None, context: None };
    let mut copying = swap::begin(&server.store, month, vec![limits], Source::List).await.expect("begun");
    copying.copy_whole().await.expect("copied");
    copying.finish().await.expect("finished")
}

#[tokio::test]
async fn what_arrives_while_a_month_is_copied_is_in_it_afterwards() {
    let at = months_ago(3);
    let dial = Dial::new(at);
    let (server, mut producer) = filled(at, &dial).await;
    present(&server, &dial).await;
    let copy = copied(&server, month_of(at)).await;
    assert_eq!((copy.kept, copy.gone.iter().map(|gone| gone.count).sum::<i64>()), (20, 40));
    let late = sample_at(at, 7);
    assert_eq!(server.send(&producer.seal(std::slice::from_ref(&late))).await["stored"], 1);
    let swapped = swap::swap(&server.store, &copy, &Outcome::default()).await.expect("swapped");
    assert!(matches!(swapped, Swapped::Done(_)));
    let found = server.get(&format!("/v1/events/{}", late.id)).await;
    assert_eq!(found.status, 200, "{}", found.text());
    assert_eq!(number(&server, "select count(*) from events where class < 2").await, 21);
    // By the clock of the test, which stands, the late one was due as well: a list may name too little, never too much.
    assert_eq!(listed_and_there(&server, at).await, (20, 21));
    // The month takes events as before, and its indexes are those of the others.
    assert_eq!(server.send(&producer.seal(&[sample_at(at, 8)])).await["stored"], 1);
    let indexes = "select count(distinct n) from (
        select count(*) as n from pg_inherits i join pg_index x on x.indrelid = i.inhrelid
        where i.inhparent = 'events'::regclass and x.indisvalid group by i.inhrelid) counts";
    assert_eq!(number(&server, indexes).await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_copy_goes_stale_when_something_is_erased_or_held_meanwhile() {
    let at = months_ago(3);
    let dial = Dial::new(at);
    let (server, _) = filled(at, &dial).await;
    present(&server, &dial).await;
    let copy = copied(&server, month_of(at)).await;
    let mut database = superuser(&server).await;
    let row = sqlx::query("select filed_at, id, opening from events where class = 1 limit 1")
        .fetch_one(&mut database)
        .await
        .expect("one");
    let stored = StoredOpening::decode(row.get("opening")).expect("an opening");
    let remnant = stored.erase(&[Tag::ACTOR]).expect("it has an actor").encode();
    let mut keeper = server.store.begin_as_keeper().await.expect("begun");
    let erased: bool =
        sqlx::query_scalar("select erase_event_fields('demo', $1, $2, $3, '{actor_id,actor_email}')")
            .bind(row.get::<DateTime<Utc>, _>("filed_at"))
            .bind(row.get::<Uuid, _>("id"))
            .bind(remnant)
            .fetch_one(&mut *keeper)
            .await
            .expect("erased");
    assert!(erased);
    keeper.commit().await.expect("committed");
    let outcome = Outcome::default();
    let swapped = swap::swap(&server.store, &copy, &outcome).await.expect("tried");
    assert_eq!(swapped, Swapped::Changed, "the copy still has what was erased");

    let copy = copied(&server, month_of(at)).await;
    let hold = json!({"reason": "a case", "actor_id": "user-1"}).to_string();
    assert_eq!(server.post_as_admin("/v1/holds", &hold).await.status, 200);
    let swapped = swap::swap(&server.store, &copy, &outcome).await.expect("tried");
    assert_eq!(swapped, Swapped::Changed, "the copy lacks what is held now");
    assert_eq!(number(&server, "select count(*) from events where class < 2").await, 60);
    server.stop().await;
}

#[tokio::test]
async fn a_long_read_delays_a_swap_and_no_reader_waits_for_a_second() {
    let at = months_ago(3);
    let dial = Dial::new(at);
    let (server, _) = filled(at, &dial).await;
    present(&server, &dial).await;
    let copy = copied(&server, month_of(at)).await;
    let mut long = superuser(&server).await;
    let mut reading = long.begin().await.expect("begun");
    sqlx::query("select count(*) from events").execute(&mut *reading).await.expect("read");
    let outcome = Outcome::default();
    let (swapped, slowest) = tokio::join!(swap::swap(&server.store, &copy, &outcome), async {
        let mut slowest = Duration::ZERO;
        let until = Instant::now() + Duration::from_millis(600);
        while Instant::now() < until {
            let started = Instant::now();
            assert_eq!(server.get("/v1/events?limit=1").await.status, 200);
            slowest = slowest.max(started.elapsed());
        }
        slowest
    });
    assert_eq!(swapped.expect("tried"), Swapped::Busy);
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    reading.rollback().await.expect("over");
    let swapped = swap::swap(&server.store, &copy, &outcome).await.expect("swapped");
    assert!(matches!(swapped, Swapped::Done(_)), "{swapped:?}");
    server.stop().await;
}

#[tokio::test]
async fn periods_need_a_second_admin_and_shorter_ones_a_day_more() {
    let dial = Dial::new(Utc::now());
    let server = Server::at(&dial).await;
    let usual = server.get("/v1/retention").await.json();
    assert_eq!(usual["in_force"], json!({"standard_days": 365, "critical_days": 2557, "context_days": 90}));
    let path = "/v1/retention/periods";
    let shorter = json!({"standard_days": 180, "critical_days": 2557, "context_days": 30}).to_string();
    let viewer = new_key(&server.store, "demo", ingest::auth::Role::Viewer).await;
    server.post_with(path, &viewer, &shorter).await.problem(403);
    for (body, status) in [
        ("", 400),
        ("{\"standard_days\": 180}", 400),
        ("{\"standard_days\": 10, \"critical_days\": 2557, \"context_days\": 7}", 422),
        ("{\"standard_days\": 400, \"critical_days\": 399, \"context_days\": 7}", 422),
    ] {
        server.post_as_admin(path, body).await.problem(status);
    }
    let proposed = server.post_as_admin(path, &shorter).await.json();
    assert_eq!((&proposed["version"], &proposed["state"]), (&json!(1), &json!("proposed")));
    let approve = format!("{path}/1/approve");
    let alone = server.post_as_admin(&approve, "").await.problem(403);
    assert_eq!(alone["type"], "/problems/announced");
    let other = server.another_admin().await;
    let same = server.post_as_admin(&approve, "").await.problem(403);
    assert_eq!(same["type"], "/problems/second-person");
    let foreign = new_key(&server.store, "other", ingest::auth::Role::Admin).await;
    server.post_with(&approve, &foreign, "").await.problem(404);
    assert_eq!(server.post_with(&approve, &other, "").await.json()["state"], "approved");
    server.post_with(&approve, &other, "").await.problem(409);
    assert_eq!(server.get("/v1/retention").await.json()["in_force"]["standard_days"], 365, "not yet");
    dial.turn(Utc::now() + TimeDelta::hours(25));
    assert_eq!(server.get("/v1/retention").await.json()["in_force"]["standard_days"], 180);
    server.post_as_admin(&format!("{path}/1/refuse"), "").await.problem(409);

    server
        .post_as_admin(
            path,
            &json!({"standard_days": 90, "critical_days": 2557, "context_days": 30}).to_string(),
        )
        .await;
    assert_eq!(server.post_with(&format!("{path}/2/approve"), &other, "").await.status, 200);
    let refused = server.post_as_admin(&format!("{path}/2/refuse"), "").await.json();
    assert_eq!(refused["state"], "refused", "it did not count yet");
    dial.turn(Utc::now() + TimeDelta::hours(80));
    assert_eq!(server.get("/v1/retention").await.json()["in_force"]["standard_days"], 180);

    let to = (Utc::now() + TimeDelta::days(5)).to_rfc3339().replace('+', "%2B");
    let told = server.all(&format!("&action=RETENTION_*&to={to}")).await;
    let mut told: Vec<_> = told.iter().map(|event| event["action"].as_str().expect("text")).collect();
    let expected =
        ["CHANGED", "CHANGED", "PROPOSED", "PROPOSED", "REFUSED"].map(|word| format!("RETENTION_{word}"));
    told.sort_unstable();
    assert_eq!(told, expected);
    server.stop().await;
}

#[tokio::test]
async fn an_only_admin_announces_a_change_for_seven_days() {
    let dial = Dial::new(Utc::now());
    let server = Server::at(&dial).await;
    let path = "/v1/retention/periods";
    let shorter = json!({"standard_days": 180, "critical_days": 2557, "context_days": 30}).to_string();
    server.post_as_admin(path, &shorter).await;
    dial.turn(Utc::now() + TimeDelta::days(7) - TimeDelta::minutes(1));
    server.post_as_admin(&format!("{path}/1/approve"), "").await.problem(403);
    dial.turn(Utc::now() + TimeDelta::days(7) + TimeDelta::minutes(1));
    assert_eq!(server.post_as_admin(&format!("{path}/1/approve"), "").await.status, 200);
    assert_eq!(server.get("/v1/retention").await.json()["in_force"]["standard_days"], 180);
    let to = (Utc::now() + TimeDelta::days(8)).to_rfc3339().replace('+', "%2B");
    let told = server.all(&format!("&action=RETENTION_CHANGED&to={to}")).await;
    assert_eq!(told[0]["details"]["second_person"], false);
    server.stop().await;
}

#[tokio::test]
async fn what_was_derived_from_old_events_goes_with_them() {
    let server = Server::at(&Dial::new(Utc::now())).await;
    let fill = "insert into entity_states values ('demo', 'agent', 'old', '{}', gen_random_uuid(), now() - interval '366 days'),
                                                 ('demo', 'agent', 'new', '{}', gen_random_uuid(), now());
                insert into coverage values ('demo', 'h', 'GET', '/old', true, 1, now() - interval '2 years', now() - interval '366 days'),
                                            ('demo', 'h', 'GET', '/new', true, 1, now() - interval '2 years', now());
                insert into quarantine values ('demo', 1, 0, '\\x00', '\\x00', 'x', 'a person', now() - interval '366 days');
                insert into witness_writes (tenant_id, at, seq, table_name, op, txid, role_name, application_name, received_at)
                values ('demo', now() - interval '366 days', 1, 't', 'INSERT', 1, 'r', 'a', now() - interval '366 days');
                insert into logs (log_id, tenant_id, year, origin, public_key) values (repeat('0', 32), 'demo', 2020, 'o', '')";
    sqlx::raw_sql(fill).execute(&mut superuser(&server).await).await.expect("filled");
    let hold = json!({"reason": "a case", "actor_id": "somebody"}).to_string();
    let hold = server.post_as_admin("/v1/holds", &hold).await.json();
    server.retention.pass().await.expect("done");
    assert_eq!(number(&server, "select count(*) from entity_states").await, 1);
    assert_eq!(number(&server, "select count(*) from coverage").await, 1);
    assert_eq!(
        number(&server, "select count(*) from witness_writes").await,
        1,
        "a hold keeps what others claim"
    );
    let id = hold["id"].as_str().expect("an id");
    assert_eq!(server.post_as_admin(&format!("/v1/holds/{id}/release"), "").await.status, 200);
    server.retention.pass().await.expect("done");
    assert_eq!(number(&server, "select count(*) from witness_writes").await, 0);
    assert_eq!(number(&server, "select count(*) from quarantine where raw is not null").await, 0);
    let names: BTreeSet<String> = sqlx::query_scalar("select entity_id from entity_states")
        .fetch_all(&mut superuser(&server).await)
        .await
        .expect("read")
        .into_iter()
        .collect();
    assert_eq!(names, BTreeSet::from(["new".to_owned()]));
    server.stop().await;
}
