//! What comparable systems are tested for, where it needs the whole backend; shared/tests/it/peers.rs has the rest.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::event::{Entity, Event, EventId, JsonText, Place, Timestamp};

use crate::support::{Response, Server, eventually, sample};

async fn send(server: &Server, events: &[Event]) {
    let mut producer = server.producer().await;
    for some in events.chunks(50) {
        assert_eq!(server.send(&producer.seal(some)).await["stored"], some.len(), "stored");
    }
}

/// The rows of a chunked answer.
fn lines(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{}", response.text());
    let mut rest = response.body.as_slice();
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let len = std::str::from_utf8(&rest[..end]).expect("a length");
        let len = usize::from_str_radix(len, 16).expect("hex");
        body.extend_from_slice(&rest[end + 2..end + 2 + len]);
        rest = &rest[end + 2 + len + 2..];
        if len == 0 {
            break;
        }
    }
    let text = String::from_utf8(body).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn c05_wildcards_lists_half_open_times_quoted_names_and_places_find_what_they_name() {
    let server = Server::start().await;
    let entity = |name: &str| Entity { name: Some(name.to_owned()), ..sample(1).entity.expect("an entity") };
    let quoted = Event { entity: Some(entity("Quarterly \"north\" report")), ..sample(1) };
    let mut placed = sample(2);
    placed.context.place = Some(Place { country: Some("DE".to_owned()), ..Place::default() });
    send(&server, &[quoted.clone(), placed.clone(), sample(3), sample(4)]).await;
    let middle = placed.occurred_at;
    let after = |at: Timestamp| format!("after:{at}").replace(':', "%3A").replace("after%3A", "after:");
    for (query, count) in [
        ("action:agent_*".to_owned(), 2),
        ("action:AGENT_CREATED,USER_LOGIN".to_owned(), 4),
        ("severity:info,critical".to_owned(), 2),
        (after(middle), 3),
        (after(middle).replace("after", "before"), 1),
        ("name:%22Quarterly%20%5C%22north%5C%22%20report%22".to_owned(), 1),
        ("country:de".to_owned(), 1),
    ] {
        let found = server.get(&format!("/v1/events?q={query}")).await.json();
        assert_eq!(found["query"]["diagnostics"], json!([]), "{query}");
        assert_eq!(found["events"].as_array().map(Vec::len), Some(count), "{query}: {}", found["query"]);
    }
    server.stop().await;
}

#[tokio::test]
async fn c07_reading_is_recorded_and_a_saved_export_gives_what_the_pages_gave() {
    let window =
        [("EDGETRAIL__ACCESS__RECORD_READS", "true"), ("EDGETRAIL__ACCESS__READS_WINDOW_MS", "1000")];
    let server = Server::with(&[&window[..], &[("EDGETRAIL__LOG__INTERVAL_MS", "20")]].concat()).await;
    send(&server, &(0..40).map(sample).collect::<Vec<_>>()).await;
    let pages = server.all("&action=USER_LOGIN").await;
    assert_eq!(pages.len(), 20);
    server.eventually("&action=AUDIT_READ", 1).await;

    let asked = json!({"q": "action:USER_LOGIN"}).to_string();
    let made = server.post_with("/v1/exports", server.auditor_key(), &asked).await;
    assert_eq!(made.status, 202, "{}", made.text());
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    eventually(async || server.get(&format!("/v1/exports/{id}")).await.json()["state"] == "complete").await;
    let listed = server.get("/v1/exports").await.json();
    assert_eq!(listed["exports"][0]["id"], id.as_str());
    let file = server.get(&format!("/v1/exports/{id}/download")).await;
    let rows: Vec<Value> =
        file.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows, pages);
    server.stop().await;
}

#[tokio::test]
async fn c14_a_time_range_holds_its_beginning_and_not_its_end() {
    let server = Server::start().await;
    let events: Vec<Event> = (0..5).map(|n| sample(n * 1000)).collect();
    send(&server, &events).await;
    let at = |n: usize| events[n].occurred_at.to_string();
    for (from, to, count) in [(1, 3, 2), (1, 1, 0), (0, 4, 4), (2, 3, 1)] {
        let found = server.all(&format!("&from={}&to={}", at(from), at(to))).await;
        assert_eq!(found.len(), count, "{from} to {to}");
        let histogram = format!("/v1/events/histogram?from={}&to={}&buckets=7", at(from), at(to));
        assert_eq!(server.get(&histogram).await.json()["total"], count, "{from} to {to}");
    }
    server.stop().await;
}

#[tokio::test]
async fn c15_the_largest_events_are_given_whole_and_nothing_behind_them_is_held_up() {
    let server = Server::start().await;
    let of_len = |n: u64, len: usize| {
        let details = JsonText::from(&json!({"text": "x".repeat(len)}));
        Event { details: Some(details), ..sample(n) }
    };
    let large = |n| of_len(n, 47_000);
    let events: Vec<Event> =
        (0..60).map(|n: u64| if n.is_multiple_of(2) { large(n) } else { sample(n) }).collect();
    let mut producer = server.producer().await;
    for event in &events {
        assert_eq!(server.send(&producer.seal(std::slice::from_ref(event))).await["stored"], 1);
    }
    let over = server.send(&producer.seal(&[of_len(60, 48_000)])).await;
    let aside = over["quarantined"].as_array().map(Vec::len);
    assert_eq!(
        (&over["stored"], aside),
        (&json!(0), Some(1)),
        "what is larger is set aside, never cut: {over}"
    );
    let one = server.get("/v1/events?limit=1&severity=info").await.json();
    assert!(one["next_cursor"].is_string(), "a page has one event at least, and another follows");
    let ids =
        |events: &[Value]| -> Vec<String> { events.iter().map(|event| event["id"].to_string()).collect() };
    let paged = server.all("&entity_type=agent").await;
    assert_eq!(paged.len(), 60);
    let exported = lines(&server.get("/v1/events/export?entity_type=agent").await);
    assert_eq!(ids(&exported), ids(&paged));
    let whole =
        exported.iter().filter(|event| event["details"]["text"].as_str().map(str::len) == Some(47_000));
    assert_eq!(whole.count(), 30);
    server.stop().await;
}

#[tokio::test]
async fn c37_an_export_says_its_filter_and_how_much_it_holds_and_without_one_that_it_is_everything() {
    let server = Server::start().await;
    send(&server, &(0..30).map(sample).collect::<Vec<_>>()).await;
    for (query, canonical, rows) in
        [("q=action:USER_LOGIN", "action:USER_LOGIN", 15), ("entity_type=agent", "entity:agent", 30)]
    {
        let export = server.get(&format!("/v1/events/export?{query}")).await;
        let exported = lines(&export);
        assert_eq!(exported.len(), rows, "{query}");
        let id = export.raw_head.lines().find_map(|line| line.strip_prefix("x-edgetrail-export: "));
        let manifest = format!("/v1/exports/{}/manifest", id.expect("an id"));
        let manifest = server.get(&manifest).await.json();
        assert_eq!((&manifest["query"], &manifest["rows"]), (&json!(canonical), &json!(rows)), "{query}");
    }
    let export = server.get("/v1/events/export").await;
    let everything = lines(&export).len();
    let id = export.raw_head.lines().find_map(|line| line.strip_prefix("x-edgetrail-export: "));
    let manifest = server.get(&format!("/v1/exports/{}/manifest", id.expect("an id"))).await.json();
    assert_eq!((&manifest["query"], &manifest["rows"]), (&json!(""), &json!(everything)));
    assert!(everything >= 30 + 2, "the other exports are events too");
    server.stop().await;
}

#[tokio::test]
async fn c38_no_cell_of_a_table_begins_like_a_formula() {
    let server = Server::start().await;
    let signs = ["=", "+", "-", "@", "\t", "\r"];
    let events: Vec<Event> = (0..)
        .zip(signs)
        .map(|(n, sign)| {
            let text = format!("{sign}cmd|' /C calc'!A0");
            let mut event = sample(n);
            event.id = EventId::mint(event.occurred_at, &ingest::clock::random());
            event.reason = Some(text.clone());
            event.actor.as_mut().expect("an actor").id.clone_from(&text);
            event.context.user_agent = Some(text.clone());
            event.entity.as_mut().expect("an entity").name = Some(text);
            event
        })
        .collect();
    send(&server, &events).await;
    let csv = server.get("/v1/events/export?format=csv&entity_type=agent").await.text();
    let beginnings: BTreeSet<char> = csv
        .split("\r\n")
        .flat_map(|line| line.split(','))
        .filter_map(|cell| cell.trim_start_matches('"').chars().next())
        .collect();
    for sign in signs {
        let sign = sign.chars().next().expect("a sign");
        assert!(!beginnings.contains(&sign), "{sign:?} begins a cell: {csv}");
        assert!(csv.contains(&format!("'{sign}cmd")), "{sign:?} is kept behind a quote");
    }
    server.stop().await;
}
