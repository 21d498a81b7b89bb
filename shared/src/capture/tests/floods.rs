//! Many of a kind told as one, with a count; what was asked for told before it is done.

use serde_json::json;

use super::{Case, details};
use crate::capture::{Body, Coalesced, Draft, Exchange, Headers, Mount, Traffic};
use crate::event::{Outcome, Timestamp, Trust};
use crate::identity::Issuer;
use crate::policy::{Pack, Router};

fn failure(email: &str) -> Draft {
    let mut case =
        Case::of("POST", "/login", &json!({"email": email}), 400, &json!({"code": "invalid_credentials"}));
    case.request_headers = "user-agent: x".to_owned();
    case.draft().expect("audited").0
}

#[test]
fn failures_of_one_kind_from_one_address_are_one_series_and_successes_none() {
    assert!(failure("a@example.com").series().is_some());
    assert_eq!(failure("a@example.com").series(), failure("b@example.com").series());
    let (success, _) = Case::of("POST", "/login", &json!({}), 200, &json!({})).draft().expect("audited");
    assert_eq!(success.series(), None);
}

#[test]
fn the_event_of_one_stands_for_all_that_were_counted() {
    let draft = failure("u0@example.com");
    assert_eq!(draft.claimed(), Some("u0@example.com"));
    let event = draft.into_events(&[], &Issuer::default(), &[[0; 10]; 2]).remove(0);
    let (own, count) =
        (details(&event), json!({"count": 32, "first_ms": 5, "last_ms": 9, "claimed": ["u0@example.com"]}));
    let coalesced: Coalesced = serde_json::from_value(count.clone()).expect("a count");
    let all = coalesced.told_by(event.clone());
    let mut want = own;
    want["coalesced"] = count;
    assert_eq!(details(&all), want);
    assert_eq!((all.id, all.action, all.outcome), (event.id, event.action, event.outcome));
}

fn mount() -> Mount {
    serde_json::from_value(json!({
        "host": "app.example.com", "upstream": "https://o.example", "tenant": "acme", "platform": "workerd", "packs": ["t"],
    }))
    .expect("a mount")
}

fn at(millis: u64) -> Timestamp {
    Timestamp::try_from(millis).expect("in range")
}

#[test]
fn every_request_is_counted_by_method_and_route_mapped_or_not() {
    let mut traffic = Traffic::default();
    traffic.count("GET", "/api/agents/42", None, at(10));
    traffic.count("GET", "/api/agents/43", None, at(20));
    traffic.count("PUT", "/agents/a1", Some("/agents/{id}"), at(30));
    for n in 0..2_000_u32 {
        // A word of letters alone, so that it is no id.
        let word: String = n.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        traffic.count("GET", &format!("/words/{word}"), None, at(40));
    }
    let drafts = traffic.drain(&mount(), at(60_000), 1);
    assert!(traffic.is_empty());
    let events: Vec<_> = drafts
        .into_iter()
        .flat_map(|draft| draft.into_events(&[], &Issuer::default(), &[[0; 10]; 2]))
        .collect();
    let details: Vec<_> = events.iter().map(details).collect();
    let rows: Vec<_> =
        details.iter().flat_map(|record| record["routes"].as_array().cloned().unwrap_or_default()).collect();
    assert!(rows.contains(&json!(["GET", "/api/agents/{id}", false, 2, 10, 20])));
    assert!(rows.contains(&json!(["PUT", "/agents/{id}", true, 1, 30, 30])));
    let counted: u64 = rows.iter().filter_map(|row| row[3].as_u64()).sum();
    let overflow: u64 = details.iter().filter_map(|record| record["overflow"].as_u64()).sum();
    assert_eq!(counted + overflow, 2_003, "none is lost");
    assert_eq!(details.iter().filter(|record| record["resets"] == 1).count(), 1, "told once");
    assert!(
        events
            .iter()
            .all(|event| event.trust == Trust::System && event.action.as_str() == "COVERAGE_RECORDED")
    );
}

#[test]
fn an_intent_is_recorded_where_the_rule_asks_with_what_the_request_line_tells() {
    let router = Router::compile(vec![Pack::parse(super::PACK).expect("a pack")]).expect("routable");
    let (mount, headers) = (mount(), Headers::from_lines(""));
    let exchange = |method, path| Exchange {
        mount: &mount,
        method,
        path,
        query: "",
        request_headers: &headers,
        request_body: Body::default(),
        status: None,
        response_headers: &headers,
        response_body: Body::default(),
        before: None,
        intent: None,
        hash_key: None,
        platform: &serde_json::Value::Null,
        arrived: at(1),
        duration_ms: None,
    };
    let draft = Draft::intent(&router, &exchange("PUT", "/rows/r7")).expect("asked for");
    let event = draft.into_events(&[], &Issuer::default(), &[[0; 10]; 2]).remove(0);
    assert_eq!((event.action.as_str(), event.outcome), ("INTENT_RECORDED", Outcome::Unknown));
    assert_eq!(event.entity.as_ref().and_then(|entity| entity.id.as_deref()), Some("r7"));
    assert_eq!(details(&event), json!({"action": "ROW_CHANGED"}));
    assert!(Draft::intent(&router, &exchange("PUT", "/agents/a1")).is_none());
}
