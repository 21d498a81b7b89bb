//! Who acts where a token does not say, and the event beside the act's own where it says somebody else.

use serde_json::json;

use super::{Case, details, token};
use crate::event::{Event, Severity, Trust};
use crate::identity::Verdict;

const ALICE: &str = "11111111-1111-4111-8111-111111111111";
const BOB: &str = "22222222-2222-4222-8222-222222222222";

fn as_alice(mut case: Case) -> Case {
    let claims =
        json!({"sub": ALICE, "email": "alice@example.com", "role": "authenticated", "exp": 1_795_400_100});
    case.request_headers.push_str(&format!("\nauthorization: Bearer {}", token(&claims)));
    case.verdicts = vec![Verdict::Valid];
    case
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.action.as_str()).collect()
}

fn update(user: &str) -> Case {
    let mut case = Case::of("PUT", "/agents/a1", &json!({"name": "x"}), 200, &json!({}));
    case.request_headers = format!("x-user-id: {user}");
    case
}

#[test]
fn another_user_than_the_tokens_is_an_event_of_its_own_that_keeps_both() {
    let events = as_alice(update(BOB)).events();
    assert_eq!(names(&events), ["AGENT_UPDATED", "IDENTITY_MISMATCH"]);
    let mismatch = &events[1];
    assert_eq!(mismatch.actor.as_ref().map(|actor| actor.id.as_str()), Some(ALICE));
    assert_eq!(mismatch.entity.as_ref().and_then(|entity| entity.id.as_deref()), Some(BOB));
    assert_eq!(mismatch.severity, Severity::Warning);
    assert_ne!(mismatch.id, events[0].id);
    let about = json!({"event": events[0].id, "action": "AGENT_UPDATED", "source": "header:x-user-id"});
    assert_eq!(details(mismatch), about);
}

#[test]
fn the_same_user_in_another_spelling_is_no_mismatch_and_neither_is_what_nothing_proves() {
    assert_eq!(as_alice(update(&ALICE.to_uppercase())).events().len(), 1);
    assert_eq!(as_alice(update("Alice@Example.com")).events().len(), 1);
    assert_eq!(as_alice(update("my secret")).events().len(), 1, "not a name that could be compared");
    assert_eq!(as_alice(update("+41791234567")).events().len(), 1, "the token's number is not known");
    let mut forged = as_alice(update(BOB));
    forged.verdicts = vec![Verdict::Invalid];
    assert_eq!(forged.events().len(), 1);
    assert_eq!(update(BOB).events().len(), 1);
}

#[test]
fn acting_for_another_where_that_is_provided_for_has_its_own_name() {
    let case = Case::of("PUT", "/rows/r1", &json!({"row": {}, "user": BOB}), 200, &json!({}));
    let events = as_alice(case).events();
    assert_eq!(names(&events), ["ROW_CHANGED", "ACTED_AS"]);
    assert_eq!(events[1].severity, Severity::Critical);
}

#[test]
fn a_schedule_acts_where_the_origin_took_its_word() {
    let tick = |status| {
        let mut case = Case::of("GET", "/tick", &json!(null), status, &json!({}));
        case.request_headers = "authorization: Bearer some-cron-secret".to_owned();
        case.event().expect("audited")
    };
    let event = tick(200);
    assert_eq!((event.trust, event.actor.map(|actor| actor.id).as_deref()), (Trust::System, Some("cron")));
    let event = tick(401);
    assert_eq!((event.trust, event.actor), (Trust::Anonymous, None));
}

#[test]
fn an_opaque_secret_key_is_a_service_where_the_origin_took_it_and_a_claim_elsewhere() {
    let with_key = |status| {
        let mut case = Case::of("PUT", "/agents/a1", &json!({"name": "x"}), status, &json!({}));
        case.request_headers = "apikey: sb_secret_0123456789abcdefghijkl".to_owned();
        case.event().expect("audited")
    };
    assert_eq!(with_key(200).trust, Trust::Service);
    assert_eq!(with_key(401).trust, Trust::Asserted);
}

#[test]
fn a_token_without_a_session_has_a_keyed_hash_for_one() {
    let case = as_alice(Case::of("PUT", "/agents/a1", &json!({"name": "x"}), 200, &json!({})));
    let session = case.event().and_then(|event| event.context.session).expect("a session");
    assert!(session.starts_with("hmac:") && session.len() == 21, "{session}");
    assert_eq!(case.event().and_then(|event| event.context.session), Some(session), "always the same");
}

#[test]
fn equality_of_a_secret_can_be_asked_and_the_secret_not_be_read() {
    let which = |refresh: &str| {
        let event = Case::of("POST", "/refresh", &json!({"refresh": refresh}), 200, &json!({})).event();
        details(&event.expect("audited"))["which"].clone()
    };
    assert_eq!(which("abcdefghijkl"), which("abcdefghijkl"));
    assert_ne!(which("abcdefghijkl"), which("abcdefghijkm"));
    assert!(!which("abcdefghijkl").to_string().contains("abc"));
}
