//! Counts from sums: whatever happens to events, they are what counting the events gives.

use chrono::{DateTime, TimeDelta, Utc};
use ingest::auth::Role;
use serde_json::{Value, json};
use shared::event::{Actor, ClaimedUser, Event, EventId, Place};
use sqlx::{Connection as _, PgConnection};

use crate::retention::{filled, months_ago, present, sequenced};
use crate::support::{Dial, Producer, Server, counts, eventually, new_key, sample, sample_at};

/// True of every event, and nothing that a sum knows: it makes the events be counted.
const ANY: &str = "-reason:nowhere";

async fn number(server: &Server, sql: &'static str) -> i64 {
    let mut database = PgConnection::connect_with(&server.database).await.expect("connected");
    sqlx::query_scalar(sql).fetch_one(&mut database).await.expect("counted")
}

/// Waits until everything is summed up, and nothing is stale.
async fn summed_up(server: &Server) {
    eventually(async || {
        number(server, "select (select count(*) from tally_deltas) + (select count(*) from tally_stale)")
            .await
            == 0
    })
    .await;
}

/// A text as a part of a query string.
fn part(text: &str) -> String {
    text.replace('+', "%2B").replace(' ', "%20").replace(':', "%3A").replace('>', "%3E")
}

/// What facets and the histogram say of a window, with and without a condition that every event fulfils.
async fn both(server: &Server, key: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> [Value; 2] {
    let window = format!("from={}&to={}", part(&from.to_rfc3339()), part(&to.to_rfc3339()));
    let mut both = Vec::new();
    for q in ["", ANY] {
        let facets = server.get_with(&format!("/v1/events/facets?top=50&{window}&q={}", part(q)), key).await;
        let chart =
            server.get_with(&format!("/v1/events/histogram?buckets=31&{window}&q={}", part(q)), key).await;
        let (facets, chart) = (facets.json(), chart.json());
        let shapes: Vec<_> = chart["buckets"]
            .as_array()
            .expect("buckets")
            .iter()
            .map(|bucket| json!([bucket["count"], bucket["outcome"], bucket["severity"]]))
            .collect();
        both.push(json!({
            "facets": facets["facets"], "total": facets["total"], "chart": shapes, "counted": chart["total"],
        }));
    }
    both.try_into().expect("two")
}

/// Asserts that both ways agree on windows with round ends and odd ones, and gives the number of events in the widest.
async fn agree(server: &Server) -> u64 {
    let now = Utc::now();
    let key = server.auditor_key();
    for back in [TimeDelta::minutes(7), TimeDelta::hours(30), TimeDelta::days(30)] {
        let [sums, events] = both(server, key, now - back, now).await;
        assert_eq!(sums, events, "{back}");
    }
    let odd = now - TimeDelta::milliseconds(3 * 86_400_000 + 1_234_567);
    let [sums, events] = both(server, key, odd, now - TimeDelta::seconds(61)).await;
    assert_eq!(sums, events, "odd ends");
    let [sums, events] = both(server, key, now - TimeDelta::days(600), now).await;
    assert_eq!(sums, events, "everything");
    for q in [
        "outcome:failure",
        "severity:>=warning",
        "action:AGENT_*",
        "-action:AGENT_CREATED",
        "-country:DE",
        "country:*",
        "status:4xx",
        "entity:agent trust:verified",
        "host:*.example.com -(route:/api/* severity:critical)",
        "is:failed OR country:JP",
        "action:COVERAGE_RECORDED",
    ] {
        let path = |q: &str| format!("/v1/events/facets?top=50&from=2020-01-01T00:00:00Z&q={}", part(q));
        let sums = server.get(&path(q)).await.json();
        let events = server.get(&path(&format!("{q} {ANY}"))).await.json();
        assert_eq!((&sums["facets"], &sums["total"]), (&events["facets"], &events["total"]), "{q}");
        assert!(sums["total"].is_u64(), "{sums}");
    }
    let open = server.get("/v1/events/facets?from=2020-01-01T00:00:00Z").await.json();
    assert_eq!(open["total"], sums["total"], "with an open end");
    assert_eq!(
        sums["total"],
        sums["facets"]["outcome"]["values"]
            .as_array()
            .map_or(0, |values| { values.iter().filter_map(|value| value["count"].as_u64()).sum::<u64>() })
    );
    sums["total"].as_u64().expect("a number")
}

/// Events of the last weeks, of a few people in some countries.
fn spread(count: u64) -> Vec<Event> {
    (0..count)
        .map(|n| {
            let mut event =
                sample_at(Utc::now() - TimeDelta::minutes(i64::try_from(n * 211).expect("small")), n);
            let country = ["DE", "FR", "JP"].get(usize::try_from(n % 4).expect("small"));
            event.context.place =
                country.map(|it| Place { country: Some((*it).to_owned()), ..Place::default() });
            event.request.status = [Some(200), Some(404), None][usize::try_from(n % 3).expect("small")];
            event
        })
        .collect()
}

async fn send(server: &Server, producer: &mut Producer, events: &[Event]) {
    for some in events.chunks(40) {
        assert_eq!(server.send(&producer.seal(some)).await["status"], 200);
    }
}

#[tokio::test]
async fn counts_are_those_of_the_events_before_and_after_they_are_summed_up() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    send(&server, &mut producer, &spread(200)).await;
    assert_eq!(agree(&server).await, 200);
    summed_up(&server).await;
    assert!(number(&server, "select count(*) from tallies where is_day").await > 10, "days that are over");
    assert_eq!(agree(&server).await, 200);

    // Late ones, of months that are over and of hours that are summed up.
    let late: Vec<_> = spread(30)
        .into_iter()
        .chain((0..10).map(|n| sample_at(months_ago(7), n)))
        .chain((0..10).map(|n| sample_at(months_ago(1), n)))
        .collect();
    send(&server, &mut producer, &late).await;
    assert_eq!(agree(&server).await, 250);
    summed_up(&server).await;
    assert_eq!(agree(&server).await, 250);

    // What the edge counted itself is in no list, and what is set aside is not stored.
    let mut repeated = sample(3);
    repeated.id = late[0].id;
    repeated.occurred_at = late[0].occurred_at;
    let odd = [counts(1, "app.example.com", &[("GET", "/x", true, 3)], 0), repeated, sample(4)];
    let reply = server.send(&producer.seal(&odd)).await;
    assert_eq!(reply["quarantined"].as_array().map(Vec::len), Some(1), "{reply}");
    assert_eq!(agree(&server).await, 251);
    summed_up(&server).await;
    assert_eq!(agree(&server).await, 251);

    let server = server.restart().await;
    assert_eq!(agree(&server).await, 251);
    server.stop().await;
}

#[tokio::test]
async fn no_answer_shows_a_part_of_a_batch_however_sums_are_moved_meanwhile() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let batches: Vec<_> = spread(420).chunks(7).map(|some| producer.seal(some).frame()).collect();
    let all = batches.len() as u64 * 7;
    let mut seen = 0;
    let sending = async {
        for batch in &batches {
            assert_eq!(server.post(batch).await.json()[0]["stored"], 7);
        }
    };
    let reading = async {
        let mut times = 0;
        while seen < all {
            let facets = server.get("/v1/events/facets?from=2020-01-01T00:00:00Z").await.json();
            let total = facets["total"].as_u64().expect("a number");
            assert!(total % 7 == 0 && total >= seen, "{total} after {seen}");
            seen = total;
            times += 1;
        }
        times
    };
    let ((), times) = tokio::join!(sending, reading);
    assert!(times > 5, "it was read while it was written");
    assert_eq!(agree(&server).await, all);
    server.stop().await;
}

#[tokio::test]
async fn tenants_are_counted_apart_and_who_may_not_see_people_sees_them_masked() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    send(&server, &mut producer, &spread(60)).await;
    let other = new_key(&server.store, "other", Role::Admin).await;
    let [sums, events] = both(&server, &other, Utc::now() - TimeDelta::days(30), Utc::now()).await;
    assert_eq!((&sums, &sums["total"]), (&events, &json!(0)));
    summed_up(&server).await;
    let [sums, events] =
        both(&server, server.viewer_key(), Utc::now() - TimeDelta::days(30), Utc::now()).await;
    assert_eq!(sums, events);
    assert!(!sums.to_string().contains("user1@example.com"), "{sums}");
    let [sums, _] = both(&server, server.auditor_key(), Utc::now() - TimeDelta::days(30), Utc::now()).await;
    assert!(sums.to_string().contains("user1@example.com"), "{sums}");
    server.stop().await;
}

#[tokio::test]
async fn a_month_without_what_was_due_is_counted_as_it_is() {
    let at = months_ago(14);
    let dial = Dial::new(at);
    let (server, _) = filled(at, &dial).await;
    summed_up(&server).await;
    assert!(number(&server, "select count(*) from tallies").await > 0);
    present(&server, &dial).await;
    server.retention.pass().await.expect("done");
    // Twenty critical ones, without their context, and two records of what went.
    assert_eq!(agree(&server).await, 22);
    summed_up(&server).await;
    assert_eq!(agree(&server).await, 22);
    server.stop().await;
}

#[tokio::test]
async fn sums_say_nothing_of_who_was_erased_once_the_erasure_is_done() {
    const SOMEBODY: &str = "0197a11c-e000-7abc-8def-0123456789ab";
    let variables = [
        ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
        ("EDGETRAIL__PRIVACY__COOL_OFF_MS", "1"),
        ("EDGETRAIL__PRIVACY__SWEEP_MS", "100"),
    ];
    for (mode, is_summed_up) in [("erase", true), ("pseudonymise", false)] {
        let server = Server::with(&variables).await;
        let mut producer = server.producer().await;
        let mut events = spread(120);
        for event in &mut events[20..60] {
            let email = Some("somebody@example.org".to_owned());
            event.actor = Some(Actor { id: SOMEBODY.to_owned(), email, ..Actor::default() });
        }
        // Structure that names somebody: such an event goes as a whole.
        events[70].request.route = format!("/api/avatars/{SOMEBODY}.png");
        events[71].claimed_user = Some(ClaimedUser { id: SOMEBODY.to_owned(), source: "body".to_owned() });
        events[72].id = EventId::mint(events[72].occurred_at, &ingest::clock::random());
        send(&server, &mut producer, &events).await;
        sequenced(&server).await;
        if is_summed_up {
            summed_up(&server).await;
        }
        agree(&server).await;

        let other = server.another_admin().await;
        let body = json!({"mode": mode, "legal_basis": "Art. 17(1)(a) GDPR"}).to_string();
        let asked = server.post_as_admin(&format!("/v1/subjects/{SOMEBODY}/erase"), &body).await.json();
        let id = asked["id"].as_str().expect("an id").to_owned();
        let approved = server.post_with(&format!("/v1/erasures/{id}/approve"), &other, "").await;
        assert_eq!(approved.status, 200, "{}", approved.text());
        for _ in 0..600 {
            if server.get_as_admin(&format!("/v1/erasures/{id}")).await.json()["state"] == "done" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let told = "select (select count(*) from tallies where position('somebody@'::bytea in counts) > 0
                            or position('0197a11c-e000-7abc'::bytea in counts) > 0)
                    + (select count(*) from tally_deltas where position('somebody@'::bytea in counts) > 0
                       or position('0197a11c-e000-7abc'::bytea in counts) > 0)";
        assert_eq!(number(&server, told).await, 0, "{mode}");
        agree(&server).await;
        let [sums, _] =
            both(&server, server.auditor_key(), Utc::now() - TimeDelta::days(40), Utc::now()).await;
        assert_eq!(sums.to_string().contains("anon-"), mode == "pseudonymise");
        server.stop().await;
    }
}
