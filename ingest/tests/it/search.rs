//! Searching: what a query finds, how it is counted, and that no query reaches past its tenant.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use ingest::auth::Role;
use ingest::clock::random;
use serde_json::{Value, json};
use shared::event::{
    Action, ChangeSet, ClaimedUser, Event, EventId, JsonText, Outcome, Quality, Severity, Trust,
};
use shared::leaf::{StoredOpening, Tag};
use sqlx::Row as _;
use sqlx::postgres::PgPool;

use crate::support::{Server, new_key, sample, sample_at, unmapped};

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The names of the entities that a search finds, newest first.
async fn found(server: &Server, q: &str) -> Vec<String> {
    let events = server.all(&format!("&q={}", encoded(q))).await;
    events.iter().map(|event| event["entity"]["name"].as_str().unwrap_or("-").to_owned()).collect()
}

async fn answer(server: &Server, q: &str) -> Value {
    server.get(&format!("/v1/events?q={}", encoded(q))).await.json()
}

fn named(n: u64, name: &str) -> Event {
    let mut event = sample(n);
    event.entity.as_mut().expect("an entity").name = Some(name.to_owned());
    event
}

async fn send(server: &Server, events: &[Event]) {
    let mut producer = server.producer().await;
    for batch in events.chunks(50) {
        let reply = server.send(&producer.seal(batch)).await;
        assert_eq!((&reply["status"], &reply["stored"]), (&json!(200), &json!(batch.len())), "{reply}");
    }
}

#[tokio::test]
async fn every_field_finds_the_events_that_have_its_value() {
    let server = Server::start().await;
    let mut failed = Event {
        outcome: Outcome::Failure,
        severity: Severity::Critical,
        reason: Some("invalid_credentials".to_owned()),
        actor: None,
        trust: Trust::Anonymous,
        claimed_user: Some(ClaimedUser {
            id: "Eve@Example.com".to_owned(),
            source: "body:/email".to_owned(),
        }),
        duration_ms: Some(2_500),
        ..named(1, "failed")
    };
    failed.request.status = Some(401);
    failed.context.ip = Some("2001:db8::7".parse().expect("an address"));
    failed.compliance = vec![shared::event::ComplianceFlag::try_from("SOC2".to_owned()).expect("a flag")];
    let mut changed = Event {
        action: Action::try_from("AGENT_UPDATED".to_owned()).expect("an action"),
        outcome: Outcome::Success,
        severity: Severity::Info,
        changes: Some(ChangeSet {
            quality: Quality::Exact,
            fields: JsonText::from(&json!({"a": {"to": 1}})),
        }),
        details: None,
        ..named(2, "changed")
    };
    changed.request.method = "PATCH".to_owned();
    changed.request.route = "/api/agents/{id}".to_owned();
    send(&server, &[failed.clone(), changed.clone()]).await;
    for (q, expected) in [
        ("action:user_login", "failed"),
        ("action:*_updated", "changed"),
        ("action:A*T_UP*", "changed"),
        ("action:(USER_LOGIN OR NOTHING)", "failed"),
        ("actor:user-2", "changed"),
        ("actor:USER2@example.com", "changed"),
        ("actor:user2@*", "changed"),
        ("-actor:user-2", "failed"),
        ("user:eve@example.com", "failed"),
        ("entity:agent/1", "failed"),
        ("entity:*/2", "changed"),
        ("entity:agent -entity:agent/2", "failed"),
        ("name:CHANGED", "changed"),
        ("name:f*d", "failed"),
        ("severity:>=warning", "failed"),
        ("severity:<critical", "changed"),
        ("outcome:success", "changed"),
        ("trust:anonymous,asserted", "failed"),
        ("class:critical -is:failed", "changed"),
        ("ip:2001:db8::/32", "failed"),
        ("ip:203.0.113.7", "changed"),
        ("ip:203.0.113.0/24", "changed"),
        ("-ip:203.0.113.0/24", "failed"),
        ("method:patch", "changed"),
        ("route:/api/agents/*", "changed"),
        ("rule:app/* status:401", "failed"),
        ("status:4xx", "failed"),
        ("status:<400", "changed"),
        ("reason:invalid_*", "failed"),
        ("duration:>2s", "failed"),
        ("duration:1..12", "changed"),
        ("compliance:soc2", "failed"),
        ("quality:exact", "changed"),
        ("is:failed", "failed"),
        ("is:succeeded", "changed"),
        ("has:changes", "changed"),
        ("has:details", "failed"),
        ("has:user", "failed"),
        ("-has:actor", "failed"),
        ("-has:reason host:app.example.com session:session-1", "changed"),
    ] {
        assert_eq!(found(&server, q).await, [expected], "{q}");
    }
    assert_eq!(found(&server, &format!("id:{}", failed.id)).await, ["failed"]);
    assert_eq!(found(&server, "has:country").await.len(), 0);
    assert_eq!(found(&server, "is:own").await.len(), 0);
    assert_eq!(found(&server, "is:erased OR is:echo OR is:unexplained OR is:mismatch").await.len(), 0);
    // Alternatives bind tighter than what stands beside them, and a group is one condition.
    assert_eq!(found(&server, "method:post is:failed OR is:succeeded").await, ["failed"]);
    assert_eq!(found(&server, "(method:post is:failed) OR is:succeeded").await, ["changed", "failed"]);
    assert_eq!(found(&server, "-(is:failed OR is:succeeded)").await.len(), 0);
    server.stop().await;
}

#[tokio::test]
async fn words_are_found_in_names_paths_changes_and_details_until_they_are_erased() {
    let server = Server::start().await;
    let mut told = Event {
        details: Some(JsonText::from(
            &json!({"note": "Say \"Hi\" to 日本", "code": 90210, "path": r"C:\temp"}),
        )),
        changes: Some(ChangeSet {
            quality: Quality::Exact,
            fields: JsonText::from(&json!({"status": {"from": "Draft", "to": "Ácŧive"}})),
        }),
        ..named(1, "Invoice Bot")
    };
    told.request.route = "/api/rare/{id}".to_owned();
    send(&server, &[told.clone(), named(2, "other 100% _name_")]).await;
    for q in [
        "invoice",
        "INVOICE",
        "\"voice bot\"",
        "inv*bot",
        "rare",
        "draft",
        "Ácŧive",
        "90210",
        "日本",
        "\"to 日本\"",
        r#""say \"hi\"""#,
        r#""C:\\TEMP""#,
        "test",
        "user1@example.com",
    ] {
        assert!(found(&server, q).await.contains(&"Invoice Bot".to_owned()), "{q}");
    }
    for q in ["bot*invoice", "\"invoice  bot\"", "a%b", "90211", "日本人", r#""hi\" \"say""#] {
        assert!(found(&server, q).await.is_empty(), "{q}");
    }
    // Signs of LIKE are only signs.
    assert_eq!(found(&server, "\"100% _NAME_\"").await, ["other 100% _name_"]);
    assert!(found(&server, "\"1_0% _name_\"").await.is_empty());
    assert_eq!(found(&server, "-invoice").await, ["other 100% _name_"]);

    let admin = PgPool::connect_with(server.database.clone()).await.expect("connected");
    let row = sqlx::query("select filed_at, opening from events where id = $1")
        .bind(told.id.uuid())
        .fetch_one(&admin)
        .await
        .expect("stored");
    let opening = StoredOpening::decode(&row.get::<Vec<u8>, _>("opening")).expect("an opening");
    let left = opening.erase(&[Tag::DETAILS, Tag::TARGET]).expect("erased").encode();
    sqlx::query("update events set opening = $2, entity_name = null where id = $1")
        .bind(told.id.uuid())
        .bind(left)
        .execute(&admin)
        .await
        .expect("as an erasure does");
    for q in ["invoice", "90210", "日本"] {
        assert!(found(&server, q).await.is_empty(), "{q}");
    }
    assert_eq!(found(&server, "draft is:erased").await.len(), 1, "what is left is found");
    server.stop().await;
}

#[tokio::test]
async fn a_broken_search_says_what_is_wrong_and_runs_the_rest() {
    let server = Server::start().await;
    send(&server, &[named(1, "one"), named(2, "two")]).await;
    let page = answer(&server, "severty:warning name:one status:often").await;
    assert_eq!(page["events"].as_array().map(Vec::len), Some(1));
    assert_eq!(page["query"]["text"], "name:one");
    assert_eq!(
        page["query"]["diagnostics"][0],
        json!({"start": 0, "end": 7, "message": "there is no field severty; did you mean severity?", "suggestion": "severity"})
    );
    assert_eq!(page["query"]["diagnostics"][1]["start"], 32);
    // Parameters are terms of the same search.
    let page =
        server.get("/v1/events?q=agent&action=user_*&severity=%3E=warning&entity=agent/1").await.json();
    assert_eq!(page["query"]["text"], "agent action:USER_* severity:>=warning entity:agent/1");
    assert_eq!(page["events"].as_array().map(Vec::len), Some(1));
    server.stop().await;
}

#[tokio::test]
async fn hostile_texts_find_nothing_and_break_nothing() {
    let server = Server::start().await;
    let own = named(1, "Robert'); drop table events; --");
    send(&server, &[own, named(2, "plain")]).await;
    let other = new_key(&server.store, "other", Role::Admin).await;
    for text in [
        "'; drop table events; --",
        "\"') or 1=1 --\"",
        "x' or tenant_id <> 'x",
        "name:\"' or '1'='1\"",
        "actor:*' or true --",
        "action:*) OR (tenant_id:demo",
        "route:\"\\\\' or 1=1\"",
        "entity:*/*' union select 1 --",
        "%%%",
        "___",
        "\\",
        "\\\\\\\"",
        "$1 $2 $99",
        "{} {{}} %s %n",
        "\u{202e}\u{0}\u{feff}",
        "session:\"\u{1}\u{7f}\"",
        "-(((((((( x ))))))))",
        "id:00000000-0000-0000-0000-000000000000",
        "before:9999-12-31T23:59:59.999Z after:1970",
        "duration:>=4294967295 status:<=65535",
        "batch:9223372036854775807",
    ] {
        let path = format!("/v1/events?q={}", encoded(text));
        let mine = server.get(&path).await;
        assert_eq!(mine.status, 200, "{text}: {}", mine.text());
        for path in [
            path.clone(),
            path.replace("events?", "events/facets?"),
            path.replace("events?", "events/histogram?"),
        ] {
            let theirs = server.get_with(&path, &other).await;
            assert_eq!(theirs.status, 200, "{path}: {}", theirs.text());
            let theirs = theirs.json();
            assert!(theirs["total"].as_i64().unwrap_or(0) == 0, "{text}: {theirs}");
            assert!(theirs["events"].as_array().is_none_or(Vec::is_empty), "{text}: {theirs}");
        }
    }
    let words = "a b ".repeat(3_000);
    assert_eq!(server.get(&format!("/v1/events?q={}", encoded(&words))).await.status, 200);
    assert_eq!(found(&server, "\"Robert'); drop table events; --\"").await.len(), 1);
    assert_eq!(found(&server, "name:*").await.len(), 2, "the table is there");
    server.stop().await;
}

#[tokio::test]
async fn pages_of_one_and_two_give_each_event_once_whatever_arrives_in_between() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let mut events: Vec<_> = (0..12).map(sample).collect();
    let same = events[3].occurred_at;
    events[3..9].iter_mut().for_each(|event| event.occurred_at = same);
    assert_eq!(server.send(&producer.seal(&events)).await["stored"], 12);
    let whole: Vec<Value> = server.all("").await.iter().map(|event| event["id"].clone()).collect();
    assert_eq!(whole.len(), 12);
    for limit in [1, 2] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        for pages in 0.. {
            let page = server.get(&format!("/v1/events?limit={limit}&q=last%3A1h{cursor}")).await.json();
            let ids = page["events"].as_array().expect("a list").iter().map(|event| event["id"].clone());
            seen.extend(ids);
            if pages < 5 {
                // A newer one, one among the ties before all others, and one behind them.
                let last = EventId::mint(events[0].occurred_at, &random());
                let late = [
                    sample(100),
                    Event { occurred_at: same, ..sample(101) },
                    Event { occurred_at: same, id: last, ..sample(102) },
                ];
                assert_eq!(server.send(&producer.seal(&late)).await["stored"], 3);
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let unique: BTreeSet<String> = seen.iter().map(Value::to_string).collect();
        assert_eq!(unique.len(), seen.len(), "nothing twice");
        assert!(seen.len() >= 12 + 5, "what arrives behind the reader is read");
        let known: Vec<Value> = seen.into_iter().filter(|id| whole.contains(id)).collect();
        assert_eq!(known, whole, "nothing left out, and in one order");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_cursor_of_another_search_or_tenant_or_a_changed_one_is_refused() {
    let server = Server::start().await;
    send(&server, &(0..3).map(sample).collect::<Vec<_>>()).await;
    let page = server.get("/v1/events?limit=1&q=has:actor%20last:24h").await.json();
    let cursor = page["next_cursor"].as_str().expect("another page").to_owned();
    // The same search in other words is the same search.
    let same = server.get(&format!("/v1/events?limit=2&q=has:ACTOR%20%20last:24h&cursor={cursor}")).await;
    assert_eq!(same.status, 200, "{}", same.text());
    let other = new_key(&server.store, "other", Role::Viewer).await;
    let path = format!("/v1/events?q=has:actor%20last:24h&cursor={cursor}");
    server.get_with(&path, &other).await.problem(400);
    let mut changed = cursor.clone().into_bytes();
    changed[4] = if changed[4] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).expect("ASCII");
    for path in [
        format!("/v1/events?q=has:actor&cursor={cursor}"),
        format!("/v1/events?cursor={cursor}"),
        format!("/v1/events?q=has:actor%20last:24h&cursor={changed}"),
        format!("/v1/entities/agent/1/timeline?cursor={cursor}"),
    ] {
        let problem = server.get(&path).await.problem(400);
        assert_eq!(problem["detail"], "cursor: is not a cursor of this list", "{path}");
    }
    server.stop().await;
}

fn days_ago(days: i64) -> DateTime<Utc> {
    Utc::now() - TimeDelta::days(days)
}

#[tokio::test]
async fn without_a_beginning_a_search_goes_back_until_its_page_is_full_and_its_pages_reach_everything() {
    let server = Server::start().await;
    let days = [0, 3, 45, 100, 170, 300, 380];
    let events: Vec<_> = (0..).zip(days).map(|(n, days)| sample_at(days_ago(days), n)).collect();
    send(&server, &events).await;
    let page = server.get("/v1/events?limit=2&q=agent").await.json();
    let from: DateTime<Utc> = page["window"]["from"].as_str().expect("text").parse().expect("a time");
    assert_eq!(
        (page["events"].as_array().map(Vec::len), &page["window"]["default"]),
        (Some(2), &json!(true))
    );
    assert!((45..80).contains(&(Utc::now() - from).num_days()), "a third one was looked for: {from}");
    for limit in 1..9 {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = server.get(&format!("/v1/events?limit={limit}&q=agent{cursor}")).await.json();
            found.extend(page["events"].as_array().expect("a list").iter().map(|event| event["id"].clone()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let expected: Vec<_> = events.iter().map(|event| json!(event.id)).collect();
        assert_eq!(found, expected, "{limit} a page");
    }
    assert_eq!(found(&server, "before:-90d").await.len(), 4, "everything before the end");
    assert_eq!(server.get("/v1/events/facets").await.json()["total"], 2, "counts are of 30 days");
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_complete_says_so() {
    let server = Server::start().await;
    let old = sample_at(days_ago(100), 1);
    send(&server, &[old.clone(), sample(2)]).await;
    assert_eq!(answer(&server, "agent last:50d").await["notice"], Value::Null);
    assert_eq!(found(&server, "agent last:120d").await.len(), 2);
    assert_eq!(found(&server, &format!("id:{}", old.id)).await.len(), 1, "an id tells its time");

    let page = answer(&server, "after:2020-01-01").await;
    assert_eq!(page["events"].as_array().map(Vec::len), Some(2));
    let notice = page["notice"].as_str().expect("a notice");
    assert!(notice.starts_with("standard events are kept 365 days"), "{notice}");
    assert_eq!(answer(&server, "last:200d").await["notice"], Value::Null);
    // From then on, and earlier than that: the end is not within.
    let at = old.occurred_at.to_string();
    assert_eq!(found(&server, &format!("after:{at} before:-1d")).await.len(), 1);
    assert_eq!(found(&server, &format!("after:-200d before:{at}")).await.len(), 0);
    server.stop().await;
}

#[tokio::test]
async fn counts_over_time_and_by_value_add_up_to_what_the_list_gives() {
    let server = Server::start().await;
    let mut events: Vec<_> = (0..30).map(sample).collect();
    events.push(unmapped(31, "DELETE", "/api/new/{id}"));
    send(&server, &events).await;
    let histogram = server.get("/v1/events/histogram?q=last:1h&buckets=6").await.json();
    let buckets = histogram["buckets"].as_array().expect("buckets");
    let sum = |read: &dyn Fn(&Value) -> Option<i64>| buckets.iter().filter_map(read).sum::<i64>();
    assert_eq!((buckets.len(), histogram["total"].as_i64()), (6, Some(31)));
    assert_eq!(sum(&|it| it["count"].as_i64()), 31);
    let failed = i64::try_from(server.all("&q=is:failed").await.len()).expect("few");
    assert_eq!(sum(&|it| it["outcome"]["failure"].as_i64()), failed);
    assert!(buckets.windows(2).all(|pair| pair[0]["to"] == pair[1]["from"]), "{buckets:?}");

    let facets =
        server.get("/v1/events/facets?top=2&fields=action,actor,severity,status,country").await.json();
    assert_eq!(facets["total"], 31);
    let values = facets["facets"]["action"]["values"].as_array().expect("values");
    assert_eq!(values[0]["value"], "AGENT_CREATED");
    assert_eq!((&values[0]["count"], &facets["facets"]["action"]["other"]), (&json!(15), &json!(1)));
    assert_eq!(
        facets["facets"]["actor"]["values"][0]["label"].as_str().map(|it| it.contains('@')),
        Some(true)
    );
    assert_eq!(
        facets["facets"]["country"]["values"][0],
        json!({"value": null, "label": null, "count": 31, "term": null})
    );
    assert_eq!(facets["facets"]["status"]["values"][0]["term"], "status:200..299");
    for facet in facets["facets"].as_object().expect("facets").values() {
        for value in facet["values"].as_array().expect("values").iter().filter(|it| it["term"].is_string()) {
            let term = value["term"].as_str().expect("a term");
            assert_eq!(Some(found(&server, term).await.len() as u64), value["count"].as_u64(), "{term}");
        }
    }
    let all = server.get("/v1/events/facets?q=is:unmapped").await.json();
    assert_eq!(all["facets"].as_object().map(serde_json::Map::len), Some(12));
    assert_eq!(all["facets"]["route"]["values"][0]["term"], "route:/api/new/{id}");
    for (path, detail) in [
        ("/v1/events/facets?fields=colour", "fields: is not one of"),
        ("/v1/events/facets?top=0", "top: is not 1 to 50"),
        ("/v1/events/histogram?buckets=500", "buckets: is not 1 to 200"),
        ("/v1/events/histogram?limit=5", "limit: is unknown"),
    ] {
        let problem = server.get(path).await.problem(400);
        assert!(problem["detail"].as_str().expect("text").starts_with(detail), "{path}: {problem}");
    }
    server.stop().await;
}

/// An act on agent `id`, so many minutes ago.
fn act(minutes: i64, id: &str, fields: Value) -> Event {
    let mut event = Event {
        action: Action::try_from("AGENT_UPDATED".to_owned()).expect("an action"),
        outcome: Outcome::Success,
        changes: Some(ChangeSet { quality: Quality::Exact, fields: JsonText::from(&fields) }),
        ..sample_at(Utc::now() - TimeDelta::minutes(minutes), 0)
    };
    event.entity.as_mut().expect("an entity").id = Some(id.to_owned());
    event
}

#[tokio::test]
async fn what_was_used_ever_so_often_since_is_still_known_by_its_changes() {
    let server = Server::start().await;
    let changed = act(9_000, "busy", json!({"status": {"to": "draft"}}));
    let gone = Event {
        action: Action::try_from("AGENT_DELETED".to_owned()).expect("an action"),
        changes: None,
        ..act(9_000, "gone", json!({}))
    };
    let used = |n| Event { changes: None, ..act(n, "busy", json!({})) };
    let altered = |n| act(n, "edited", json!({ format!("field{n}"): {"to": n} }));
    let mut events = vec![act(9_001, "gone", json!({"status": {"to": "draft"}})), changed, gone];
    events.extend((1..=300).map(used));
    events.extend((1..=260).map(altered));
    send(&server, &events).await;
    let busy = server.get("/v1/entities/agent/busy/timeline").await.json();
    assert_eq!(busy["state"]["fields"]["status"]["value"], "draft");
    assert_eq!((&busy["state"]["complete"], &busy["state"]["events"]), (&json!(true), &json!(1)));
    let gone = server.get("/v1/entities/agent/gone/timeline").await.json();
    assert!(gone["state"]["deleted"].is_object(), "{gone}");

    let edited = server.get("/v1/entities/agent/edited/timeline").await.json();
    let fields = edited["state"]["fields"].as_object().expect("fields");
    assert_eq!((fields.len(), &edited["state"]["complete"]), (250, &json!(false)));
    assert!(fields.contains_key("field1") && !fields.contains_key("field260"), "the newest count");
    server.stop().await;
}

#[tokio::test]
async fn an_entitys_timeline_tells_its_fields_as_they_were_at_a_time() {
    let server = Server::start().await;
    let events = [
        act(50, "a/1", json!({"status": {"to": "draft"}, "name": {"to": "A"}})),
        act(40, "a/1", json!({"status": {"from": "draft", "to": "active"}})),
        act(30, "other", json!({"status": {"to": "wrong"}})),
        Event { outcome: Outcome::Failure, ..act(20, "a/1", json!({"status": {"to": "never"}})) },
        act(10, "a/1", json!({"name": {"from": "A", "to": "B"}, "key": {"changed": true}})),
    ];
    send(&server, &events).await;
    let timeline = server.get("/v1/entities/agent/a%2F1/timeline").await.json();
    assert_eq!(timeline["events"].as_array().map(Vec::len), Some(4));
    let fields = &timeline["state"]["fields"];
    assert_eq!((&fields["status"]["value"], &fields["name"]["value"]), (&json!("active"), &json!("B")));
    assert_eq!(fields["status"]["event"], json!(events[1].id));
    assert_eq!(timeline["state"]["unknown"]["key"]["event"], json!(events[4].id));
    assert_eq!(timeline["state"]["complete"], true);

    let then = events[0].occurred_at;
    let path = format!("/v1/entities/agent/a%2F1/timeline?as_of={then}");
    let timeline = server.get(&path).await.json();
    assert_eq!(timeline["events"].as_array().map(Vec::len), Some(1));
    assert_eq!(timeline["state"]["fields"]["status"]["value"], "draft");
    assert_eq!(timeline["state"]["as_of"], then.to_string());
    let before = server.get("/v1/entities/agent/a%2F1/timeline?as_of=2026-01-01T00:00:00Z").await.json();
    assert_eq!((&before["events"], &before["state"]["fields"]), (&json!([]), &json!({})));
    let narrowed = server.get("/v1/entities/agent/a%2F1/timeline?q=is:failed").await.json();
    assert_eq!(narrowed["events"].as_array().map(Vec::len), Some(1));
    assert_eq!(narrowed["state"]["fields"]["status"]["value"], "active", "the state is made of all events");

    let mut seen = 0;
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("/v1/entities/agent/a%2F1/timeline?limit=3{cursor}")).await.json();
        seen += page["events"].as_array().expect("a list").len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, 4);
    let other = new_key(&server.store, "other", Role::Admin).await;
    server.get_with("/v1/entities/agent/a%2F1/timeline", &other).await.problem(404);
    server.get("/v1/entities/agent/nothing/timeline").await.problem(404);
    server.get("/v1/entities/Agent!/1/timeline").await.problem(404);
    server.get("/v1/entities/agent/*/timeline").await.problem(404);
    server.stop().await;
}

#[tokio::test]
async fn an_actor_is_seen_at_a_glance_by_id_or_address_and_only_by_their_own_tenant() {
    let server = Server::start().await;
    let named = Event {
        actor: None,
        claimed_user: Some(ClaimedUser {
            id: "user1@example.com".to_owned(),
            source: "body:/email".to_owned(),
        }),
        outcome: Outcome::Failure,
        ..sample(50)
    };
    let mut events: Vec<_> = (0..20).map(sample).collect();
    events.push(named);
    send(&server, &events).await;
    let by_id = server.get("/v1/actors/user-1").await.json();
    assert_eq!((&by_id["events"], &by_id["named"]["events"]), (&json!(5), &json!(0)));
    assert_eq!(by_id["seen"]["email"][0]["value"], "user1@example.com");
    let by_address = server.get("/v1/actors/User1@example.com").await.json();
    assert_eq!((&by_address["events"], &by_address["named"]["failed"]), (&json!(5), &json!(1)));
    assert_eq!(by_address["seen"]["id"][0]["value"], "user-1");
    assert_eq!(by_address["seen"]["session"][0]["events"], 5);
    assert_eq!(by_address["seen"]["ip"][0]["value"], "203.0.113.7");
    assert_eq!(by_address["first_seen"], json!(events[1].occurred_at.to_string()));
    let narrowed = server.get("/v1/actors/user-1?q=is:failed").await.json();
    assert_eq!(narrowed["events"], by_id["failed"]);
    let other = new_key(&server.store, "other", Role::Admin).await;
    server.get_with("/v1/actors/user-1", &other).await.problem(404);
    server.get("/v1/actors/nobody").await.problem(404);
    server.get("/v1/actors/*").await.problem(404);
    server.stop().await;
}

#[tokio::test]
async fn a_page_that_would_be_too_large_ends_early_and_goes_on() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let large =
        |n: u64| Event { details: Some(JsonText::from(&json!({"text": "x".repeat(14_000)}))), ..sample(n) };
    for batch in 0..30 {
        let events: Vec<_> = (0..6).map(|n| large(batch * 6 + n)).collect();
        assert_eq!(server.send(&producer.seal(&events)).await["stored"], 6);
    }
    let page = server.get("/v1/events?limit=200").await;
    assert!(page.body.len() < 3 * 1024 * 1024, "{}", page.body.len());
    let page = page.json();
    let first = page["events"].as_array().expect("a list").len();
    assert!((100..180).contains(&first), "{first}");
    let next = page["next_cursor"].as_str().expect("another page");
    let rest = server.get(&format!("/v1/events?limit=200&cursor={next}")).await.json();
    assert_eq!(first + rest["events"].as_array().expect("a list").len(), 180);
    server.stop().await;
}
