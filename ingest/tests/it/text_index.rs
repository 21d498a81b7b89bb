//! The index of words: a search finds with it what it finds without it, and it takes part in everything that happens to a month.

use chrono::{DateTime, NaiveDate, Utc};
use ingest::store::Store;
use ingest::store::swap::{self, Outcome, Swapped};
use ingest::store::text_index::{Maker, State, TextIndexError, list, make_missing};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use shared::event::{Event, JsonText};
use shared::leaf::{StoredOpening, Tag};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::retention::{copied, filled, month_of, months_ago, present, superuser};
use crate::support::audit::edgetrail_with;
use crate::support::{Dial, Producer, Server, eventually, is_skipped_on_a_cluster, sample_at};

/// What events tell; words are cut out of it.
const NOTES: [&str; 10] = [
    "Invoice bot for ACME",
    "say \"hi\" to 日本",
    r"C:\temp\303\x",
    "Müller & Söhne — 50% _off_",
    "invoices, INVOICING; in voice",
    "a-b_c.d e",
    "line\nbreak\tand \u{1} sign",
    "прИвет Ácŧive",
    "\\000\\\\ 000 100",
    "{\"a\":\"b\"}",
];

async fn send(server: &Server, producer: &mut Producer, events: &[Event]) {
    for batch in events.chunks(100) {
        assert_eq!(server.send(&producer.seal(batch)).await["stored"], batch.len());
    }
}

fn telling(at: DateTime<Utc>, n: u64, note: &str) -> Event {
    let mut event = sample_at(at, n);
    event.entity.as_mut().expect("an entity").name = Some(note.to_owned());
    event.details = Some(JsonText::from(&json!({"note": format!("{note} {n}")})));
    event
}

/// Sixty events in each of three months, and of what is frequent more in the oldest than an index chooses.
async fn three_months(dial: &Dial) -> Server {
    let server = Server::at(dial).await;
    let mut producer = server.producer().await;
    for months in [4, 3, 2] {
        let at = months_ago(months);
        let mut events: Vec<_> =
            (0..60).zip(NOTES.iter().cycle()).map(|(n, note)| telling(at, n, note)).collect();
        if months == 4 {
            events.extend((100..2_200).map(|n| telling(at, n, "frequently told")));
        } else {
            events.push(telling(at, 99, "frequently told"));
        }
        dial.turn(at);
        send(&server, &mut producer, &events).await;
    }
    present(&server, dial).await;
    server
}

/// One to twelve signs of what events tell, in any case, quoted or with a wildcard.
fn word() -> impl Strategy<Value = String> {
    let cut = (select(NOTES.to_vec()), any::<prop::sample::Index>(), 1..12_usize, any::<bool>());
    let cut = cut.prop_map(|(note, from, length, is_loud)| {
        let signs: Vec<char> = note.chars().filter(|sign| !sign.is_control()).collect();
        let text: String = signs[from.index(signs.len())..].iter().take(length).collect();
        if is_loud { text.to_ascii_uppercase() } else { text }
    });
    let quoted = cut.clone().prop_map(|text| format!("{:?}", text.trim()).replace("\\'", "'"));
    let letters =
        |text: String| text.split(|sign: char| !sign.is_alphanumeric()).collect::<Vec<_>>().join("*");
    prop_oneof![
        4 => quoted,
        3 => cut.prop_map(letters).prop_filter("a word", |text| text.chars().any(char::is_alphanumeric)),
        1 => Just("frequently".to_owned()),
        1 => Just("fre*told".to_owned()),
        1 => Just("nowhere".to_owned()),
    ]
}

fn query() -> impl Strategy<Value = String> {
    let filter = select(vec!["", "", "severity:>=warning", "actor:user-1", "-entity:agent/3"]);
    (prop::collection::vec(word(), 1..3), filter)
        .prop_map(|(words, filter)| format!("{} {filter}", words.join(" ")))
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The first pages of a search, of a few events each.
async fn pages(server: &Server, q: &str) -> Vec<Value> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    for _ in 0..5 {
        let page = server.get(&format!("/v1/events?limit=9&q={}{cursor}", encoded(q))).await;
        assert_eq!(page.status, 200, "{q}: {}", page.text());
        let page = page.json();
        pages.push(page["events"].clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    pages
}

#[tokio::test]
async fn the_same_pages_come_with_an_index_and_without_one() {
    if is_skipped_on_a_cluster("an index of words is not made there") {
        return;
    }
    let dial = Dial::new(months_ago(4));
    let server = three_months(&dial).await;
    let since = month_of(months_ago(5));
    // What the server says of itself meanwhile is of this month.
    let until = month_of(Utc::now());
    let mut runner = TestRunner::deterministic();
    let mut asked = Vec::new();
    for _ in 0..60 {
        let query = query().new_tree(&mut runner).expect("a query").current();
        let q = format!("{query} after:{since} before:{until}");
        asked.push((pages(&server, &q).await, q));
    }
    let finds = asked.iter().filter(|(pages, _)| pages[0].as_array().is_some_and(|page| !page.is_empty()));
    assert!(finds.count() > 30, "most find something");
    make_missing(&server.store, Utc::now()).await.expect("made");
    for (without, q) in asked {
        assert_eq!(pages(&server, &q).await, without, "{q}");
    }
    let scans = "select coalesce(sum(idx_scan), 0)::bigint from pg_stat_all_indexes where indexrelname like 'events_%_words'";
    eventually(async || {
        let scans = sqlx::query_scalar::<_, i64>(scans);
        scans.fetch_one(&mut superuser(&server).await).await.expect("counted") > 30
    })
    .await;
    server.stop().await;
}

/// How many places the index of a month chooses for a word, by PostgreSQL's own account.
async fn chosen(server: &Server, at: DateTime<Utc>, word: &str) -> f64 {
    let mut database = superuser(server).await;
    let table = month_of(at).format("events_%Y_%m").to_string();
    let text: String = sqlx::query_scalar("select pg_get_indexdef(($1 || '_words')::regclass, 1, true)")
        .bind(&table)
        .fetch_one(&mut database)
        .await
        .expect("an index");
    database.execute("set enable_seqscan = off").await.expect("set");
    let explain =
        format!("explain (analyze, costs off, timing off) select from {table} where {text} like '%{word}%'");
    let plan: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut database).await.expect("explained");
    let scan = plan.iter().find(|line| line.contains("Bitmap Index Scan")).expect("it is asked");
    let rows = scan.split("rows=").nth(1).and_then(|rest| rest.split(' ').next());
    rows.and_then(|rows| rows.parse().ok()).expect("a number")
}

#[tokio::test]
async fn what_was_erased_is_found_no_more_and_is_gone_from_the_index_after_a_vacuum() {
    if is_skipped_on_a_cluster("an index of words is not made there") {
        return;
    }
    let at = months_ago(3);
    let dial = Dial::new(at);
    let (server, mut producer) = filled(at, &dial).await;
    let told = telling(at, 70, "Rumpelstiltskin");
    send(&server, &mut producer, std::slice::from_ref(&told)).await;
    present(&server, &dial).await;
    make_missing(&server.store, Utc::now()).await.expect("made");
    let q = format!("rumpelstilts after:{}", month_of(at));
    assert_eq!(pages(&server, &q).await[0].as_array().map(Vec::len), Some(1));
    assert!(chosen(&server, at, "rumpelstilts").await > 0.0);

    let mut database = superuser(&server).await;
    let row = sqlx::query("select filed_at, opening from events where id = $1")
        .bind(told.id.uuid())
        .fetch_one(&mut database)
        .await
        .expect("stored");
    let opening = StoredOpening::decode(row.get("opening")).expect("an opening");
    let left = opening.erase(&[Tag::DETAILS, Tag::TARGET]).expect("erased").encode();
    let mut keeper = server.store.begin_as_keeper().await.expect("begun");
    sqlx::query("select erase_event_fields('demo', $1, $2, $3, '{entity_name}')")
        .bind(row.get::<DateTime<Utc>, _>("filed_at"))
        .bind(told.id.uuid())
        .bind(left)
        .execute(&mut *keeper)
        .await
        .expect("erased");
    keeper.commit().await.expect("committed");
    assert_eq!(pages(&server, &q).await, [json!([])]);
    let vacuum = month_of(at).format("vacuum events_%Y_%m").to_string();
    eventually(async || {
        superuser(&server).await.execute(AssertSqlSafe(vacuum.clone())).await.expect("vacuumed");
        chosen(&server, at, "rumpelstilts").await == 0.0
    })
    .await;
    server.stop().await;
}

async fn state(store: &Store, month: NaiveDate) -> State {
    let months = list(store).await.expect("listed");
    months.iter().find(|it| it.month == month).expect("a month").state
}

#[tokio::test]
async fn what_an_interrupted_creation_left_is_not_asked_and_made_anew() {
    if is_skipped_on_a_cluster("an index of words is not made there") {
        return;
    }
    let dial = Dial::new(Utc::now());
    let server = Server::at(&dial).await;
    let month = month_of(months_ago(3));
    make_missing(&server.store, Utc::now()).await.expect("made");
    assert_eq!(state(&server.store, month).await, State::Ready);
    let broken = month
        .format("update pg_index set indisvalid = false where indexrelid = 'events_%Y_%m_words'::regclass");
    superuser(&server).await.execute(AssertSqlSafe(broken.to_string())).await.expect("broken");
    assert_eq!(state(&server.store, month).await, State::Unfinished);
    let q = format!("anything after:{}", month_of(months_ago(4)));
    assert_eq!(pages(&server, &q).await, [json!([])]);
    let made = make_missing(&server.store, Utc::now()).await.expect("made");
    assert_eq!(made.iter().map(|made| made.month).collect::<Vec<_>>(), [month]);
    assert_eq!(state(&server.store, month).await, State::Ready);
    server.stop().await;
}

#[tokio::test]
async fn one_process_makes_indexes_and_only_of_months_that_are_over() {
    if is_skipped_on_a_cluster("an index of words is not made there") {
        return;
    }
    let server = Server::start().await;
    let now = Utc::now();
    let mut maker = Maker::begin(&server.store).await.expect("begun");
    assert!(matches!(Maker::begin(&server.store).await, Err(TextIndexError::Busy)));
    let open = month_of(now);
    assert!(matches!(maker.make(open, now).await, Err(TextIndexError::Open(month)) if month == open));
    let long_ago = month_of(months_ago(40));
    assert!(
        matches!(maker.make(long_ago, now).await, Err(TextIndexError::NoMonth(month)) if month == long_ago)
    );
    assert!(!maker.drop(month_of(months_ago(3))).await.expect("looked for"), "there is none");
    maker.end().await.expect("ended");
    eventually(async || Maker::begin(&server.store).await.is_ok()).await;
    server.stop().await;
}

#[tokio::test]
async fn who_may_not_create_the_extension_is_told_who_may() {
    if is_skipped_on_a_cluster("an index of words is not made there") {
        return;
    }
    let server = Server::start().await;
    let mut database = superuser(&server).await;
    database.execute("create role limited login").await.expect("a role");
    let store = Store::open(&server.database.clone().username("limited"), 2);
    let mut maker = Maker::begin(&store).await.expect("begun");
    let refused = maker.make(month_of(months_ago(3)), Utc::now()).await.expect_err("it may not");
    assert!(matches!(refused, TextIndexError::MayNotCreate), "{refused}");
    maker.end().await.expect("ended");
    store.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_month_that_retention_swaps_is_without_its_index_until_it_is_made_anew() {
    if is_skipped_on_a_cluster("an index of words is not made there") {
        return;
    }
    let at = months_ago(3);
    let dial = Dial::new(at);
    let (server, _) = filled(at, &dial).await;
    present(&server, &dial).await;
    make_missing(&server.store, Utc::now()).await.expect("made");
    let copy = copied(&server, month_of(at)).await;
    let swapped = swap::swap(&server.store, &copy, &Outcome::default()).await.expect("swapped");
    assert!(matches!(swapped, Swapped::Done(_)));
    assert_eq!(state(&server.store, month_of(at)).await, State::Missing);
    let made = make_missing(&server.store, Utc::now()).await.expect("made");
    assert_eq!(made.iter().map(|made| made.month).collect::<Vec<_>>(), [month_of(at)]);
    server.stop().await;
}

#[tokio::test]
async fn whoever_configures_it_gets_it_for_every_month_that_is_over() {
    if is_skipped_on_a_cluster("an index of words is not made there") {
        return;
    }
    let dial = Dial::new(Utc::now());
    let server = Server::configured_at(&dial, "[search]\ntext_index = true\n").await;
    eventually(async || {
        let months = list(&server.store).await.expect("listed");
        months.iter().all(|it| it.is_closed(Utc::now()) == (it.state == State::Ready))
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn an_operator_makes_lists_and_removes_indexes() {
    if is_skipped_on_a_cluster("an index of words is not made there") {
        return;
    }
    let server = Server::start().await;
    let url = server.database_url();
    let run = async |arguments: &[&str]| edgetrail_with(arguments, &[("DATABASE_URL", url.as_str())]).await;
    let month = month_of(months_ago(3)).format("%Y-%m").to_string();
    let (status, made, _) = run(&["text-index", "create", "--month", &month]).await;
    assert_eq!((status, made.contains(&format!("{month}: done in "))), (0, true), "{made}");
    let (_, again, _) = run(&["text-index", "create", "--month", &month]).await;
    assert!(again.contains("it is there"), "{again}");
    let (_, listed, _) = run(&["text-index", "list"]).await;
    assert_eq!(listed.lines().filter(|line| line.contains("  indexed, ")).count(), 1, "{listed}");
    assert!(listed.lines().last().is_some_and(|line| line.ends_with("  open")), "{listed}");
    let (_, gone, _) = run(&["text-index", "drop", "--all-closed"]).await;
    assert_eq!(gone.trim(), format!("{month}: gone"));
    let (status, made, _) = run(&["text-index", "create", "--all-closed"]).await;
    assert_eq!((status, made.contains(&format!("{month}: done in "))), (0, true), "{made}");
    let (status, _, told) = run(&["text-index", "create", "--month", "2026-13"]).await;
    assert_eq!((status, told.contains("not a month")), (2, true), "{told}");
    let (status, _, _) = run(&["text-index", "create"]).await;
    assert_eq!(status, 2, "which months?");
    server.stop().await;
}
