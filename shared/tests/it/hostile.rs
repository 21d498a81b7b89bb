//! Bad input at the edge: each kind gives an event or none, in bounded time, and never a panic.
//!
//! The bound is coarse, since this runs without optimisation beside other tests: what it catches is growth by squares.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::event::{BodyState, Event, Outcome, Trust};
use shared::identity::{Algorithm, Verdict, select_key};
use shared::policy::Router;

use crate::edge::{NOW_MS, Seen, details, rule, token};

const BOUND: Duration = Duration::from_millis(250);

/// Takes everything that a rule can take of both bodies.
fn taking_all() -> Router {
    rule(&json!({
        "details": {"request": "request:", "response": "response:", "keys": "keys(request:)", "n": "count(request:)"},
        "changes": {"request": "request:", "after": "response:", "fields": ["a", "b"]},
        "entity": {"type": "thing", "id": "request:/id", "name": "response:/name"},
    }))
}

fn within(bound: Duration, seen: &Seen) -> Event {
    let router = taking_all();
    let started = Instant::now();
    let event = seen.event(&router);
    let _ = seen.all_that_is_kept(&router);
    let took = started.elapsed();
    assert!(took < bound, "{took:?}");
    event
}

fn body(bytes: impl Into<Vec<u8>>) -> Seen {
    Seen { request: bytes.into(), ..Seen::of("POST", "/r", &json!({}), 200, &json!({"name": "x"})) }
}

#[test]
fn json_that_refers_to_itself_by_name_is_only_text() {
    let event = within(
        BOUND,
        &body(
            r##"{"id":"a","self":{"$ref":"#"},"__proto__":{"admin":true},"constructor":{"prototype":{}}}"##,
        ),
    );
    assert_eq!(event.request.request_body, BodyState::Complete);
    assert_eq!(details(&event)["request"]["self"], json!({"$ref": "#"}));
}

#[test]
fn ten_thousand_keys_are_cut_to_what_one_event_carries() {
    let members: Vec<String> = (0..10_000).map(|n| format!(r#""k{n}":"v{n}""#)).collect();
    let event = within(Duration::from_millis(750), &body(format!("{{{}}}", members.join(","))));
    assert_eq!(details(&event)["n"], 10_000);
    assert!(details(&event).to_string().len() < 20_000);
}

#[test]
fn a_depth_of_a_thousand_is_unparsable_and_nothing_is_taken_of_it() {
    for text in [
        format!("{}1{}", "[".repeat(1_000), "]".repeat(1_000)),
        format!("{}1{}", r#"{"a":"#.repeat(1_000), "}".repeat(1_000)),
        "[".repeat(100_000),
    ] {
        let event = within(BOUND, &body(text));
        assert_eq!(event.request.request_body, BodyState::Unparsable);
        assert_eq!(details(&event), json!({"response": {"name": "x"}}));
    }
}

#[test]
fn json_in_strings_nested_a_thousand_times_is_masked_from_a_depth_on() {
    let mut text = json!({"password": "hunter2-nested"}).to_string();
    while text.len() < 100_000 {
        text = json!({"s": text}).to_string();
    }
    let kept = body(text).all_that_is_kept(&taking_all());
    assert!(!String::from_utf8_lossy(&kept).contains("hunter2-nested"));
}

#[test]
fn invalid_utf_8_is_unparsable() {
    let event = within(BOUND, &body(b"{\"id\":\"\xff\xfe\",\"a\":\"\xc3\x28\"}".to_vec()));
    assert_eq!((event.request.request_body, event.outcome), (BodyState::Unparsable, Outcome::Success));
    assert_eq!(event.entity.and_then(|entity| entity.id), None);
}

#[test]
fn of_duplicate_keys_the_last_counts_as_for_the_origin() {
    let event = within(BOUND, &body(r#"{"id":"first","id":"last","a":1,"a":2}"#));
    assert_eq!(event.entity.and_then(|entity| entity.id).as_deref(), Some("last"));
}

#[test]
fn numbers_beyond_two_to_the_53rd_keep_every_digit_and_those_beyond_any_type_are_no_number() {
    let event = within(
        BOUND,
        &body(r#"{"id":9007199254740993,"big":18446744073709551615,"neg":-9223372036854775808}"#),
    );
    assert_eq!(event.entity.and_then(|entity| entity.id).as_deref(), Some("9007199254740993"));
    let event = within(BOUND, &body(r#"{"id":"x","huge":1e999,"a":1}"#));
    assert_eq!(event.request.request_body, BodyState::Unparsable);
    let event = within(BOUND, &body(format!(r#"{{"id":"x","digits":{}}}"#, "9".repeat(300))));
    assert_eq!(event.entity.and_then(|entity| entity.id).as_deref(), Some("x"));
}

#[test]
fn control_characters_and_bidirectional_text_neither_break_an_event_nor_a_terminal() {
    let event = within(BOUND, &body(r#"{"id":"a\u0000b\u001b[2Jc","a":"\u202etxt"}"#));
    assert_eq!(event.entity.and_then(|entity| entity.id).as_deref(), Some("ab[2Jc"));
}

#[test]
fn a_cookie_of_64_kilobytes_names_nobody() {
    for cookie in [
        format!("sb-r-auth-token=base64-{}", "A".repeat(65_536)),
        "x=1; ".repeat(13_000),
        format!("sb-r-auth-token={}", "%7B".repeat(20_000)),
        format!("sb-r-auth-token={}", "[".repeat(65_536)),
    ] {
        let event = within(BOUND, &body("{}").header("cookie", &cookie));
        assert_eq!((event.trust, event.actor), (Trust::Anonymous, None));
    }
}

#[test]
fn thirty_chunks_of_a_cookie_are_one_session_and_a_missing_one_ends_it() {
    use base64::Engine as _;
    let jwt = token(&json!({"alg": "ES256", "kid": "k"}), &person());
    let session = json!({"access_token": jwt, "padding": "x".repeat(60_000)}).to_string();
    let value = format!("base64-{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(session));
    let size = value.len().div_ceil(30);
    let chunks: Vec<String> = (0..30)
        .map(|n| format!("sb-r-auth-token.{n}={}", &value[n * size..value.len().min((n + 1) * size)]))
        .collect();
    let event = within(BOUND, &body("{}").header("cookie", &chunks.join("; ")));
    assert_eq!(event.actor.map(|actor| actor.id).as_deref(), Some("u1"));
    let without = [&chunks[..7], &chunks[8..]].concat().join("; ");
    let event = within(BOUND, &body("{}").header("cookie", &without));
    assert_eq!(event.trust, Trust::Anonymous);
}

fn person() -> Value {
    json!({"sub": "u1", "role": "authenticated", "exp": NOW_MS / 1000 + 60, "session_id": "s1"})
}

/// Trust and actor of a bearer token, if whoever checks signatures says so.
fn judged(header: &Value, claims: &Value, verdict: Verdict) -> (Trust, Option<String>, usize) {
    let seen = body("{}").header("authorization", &format!("Bearer {}", token(header, claims)));
    let event = within(BOUND, &Seen { verdict, ..seen.clone() });
    (event.trust, event.actor.map(|actor| actor.id), seen.checks(&taking_all()).len())
}

#[test]
fn a_token_with_alg_none_is_never_checked_and_proves_nothing() {
    for alg in ["none", "None", "nOnE", "HS512", ""] {
        let (trust, actor, checks) = judged(&json!({"alg": alg}), &person(), Verdict::Valid);
        assert_eq!((trust, actor.as_deref(), checks), (Trust::Asserted, Some("u1"), 0), "{alg}");
    }
    let unsigned = token(&json!({"alg": "ES256"}), &person());
    let unsigned = unsigned.rsplit_once('.').expect("three parts").0;
    let seen = body("{}").header("authorization", &format!("Bearer {unsigned}."));
    assert_eq!(within(BOUND, &seen).trust, Trust::Asserted);
}

#[test]
fn a_key_of_another_curve_or_kind_is_not_chosen() {
    let set = json!({"keys": [{"kty": "EC", "crv": "P-384", "kid": "k", "x": "X", "y": "Y"},
                              {"kty": "EC", "crv": "secp256k1", "kid": "k", "x": "X", "y": "Y"},
                              {"kty": "oct", "kid": "k", "k": "c2VjcmV0"}]});
    for algorithm in [Algorithm::Es256, Algorithm::Rs256, Algorithm::Hs256] {
        assert_eq!(select_key(&set.to_string(), algorithm, Some("k")), None);
    }
    assert_eq!(
        judged(&json!({"alg": "ES256", "kid": "k"}), &person(), Verdict::Unavailable).0,
        Trust::Asserted
    );
}

#[test]
fn a_token_without_kid_is_checked_only_where_one_key_can_be_meant() {
    let key = |kid: &str| json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": "X", "y": "Y"});
    let one = json!({"keys": [key("a")]}).to_string();
    let two = json!({"keys": [key("a"), key("b")]}).to_string();
    assert!(select_key(&one, Algorithm::Es256, None).is_some());
    assert_eq!(select_key(&two, Algorithm::Es256, None), None);
    let many: Vec<Value> = (0..1_000).map(|n| key(&n.to_string())).collect();
    let started = Instant::now();
    assert!(select_key(&json!({"keys": many}).to_string(), Algorithm::Es256, Some("999")).is_some());
    assert!(started.elapsed() < BOUND);
}

#[test]
fn an_expired_or_endless_or_early_token_is_asserted_however_good_its_signature() {
    let header = json!({"alg": "ES256", "kid": "k"});
    let now = NOW_MS / 1000;
    assert_eq!(judged(&header, &person(), Verdict::Valid).0, Trust::Verified);
    for (name, value) in
        [("exp", json!(now)), ("exp", json!(null)), ("exp", json!("soon")), ("nbf", json!(now + 60))]
    {
        let mut claims = person();
        claims[name] = value;
        assert_eq!(judged(&header, &claims, Verdict::Valid).0, Trust::Asserted, "{claims}");
    }
}

#[test]
fn a_token_that_is_none_names_nobody() {
    for bearer in ["", ".", "..", "a.b.c", "eyJ.eyJ.", &"a.".repeat(30_000), &"A".repeat(65_536)] {
        let event = within(BOUND, &body("{}").header("authorization", &format!("Bearer {bearer}")));
        assert_eq!((event.trust, event.actor), (Trust::Anonymous, None));
    }
}

#[test]
fn texts_made_to_be_slow_to_scrub_are_scrubbed_in_time() {
    for piece in
        ["=", "://", "\"password\":\"", "%25", "4 ", "4111 ", "data:", "basic ", "\\\"", "eyJ.", "a@", "'"]
    {
        let text = piece.repeat(60_000 / piece.len());
        within(Duration::from_millis(1_000), &body(json!({"id": text, "a": text}).to_string()));
        within(Duration::from_millis(1_000), &body("{}").header("user-agent", &text));
    }
}

#[test]
fn a_query_or_path_of_64_kilobytes_is_matched_in_time() {
    let long = Seen { query: "a=b&".repeat(16_000), ..body("{}") };
    within(BOUND, &long);
    let router = taking_all();
    for path in
        ["/".repeat(65_536), format!("/{}", "%41".repeat(20_000)), format!("/{}", "a/".repeat(30_000))]
    {
        let started = Instant::now();
        let events = Seen { path, ..body("{}") }.events(&router);
        assert!(started.elapsed() < BOUND);
        assert!(events.iter().all(|event| event.request.route.len() <= 400));
    }
}
