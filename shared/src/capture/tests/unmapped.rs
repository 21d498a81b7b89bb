//! What no rule names: that it happened, and nothing of what it held.

use serde_json::json;

use super::Case;
use crate::event::{BodyState, Outcome, Severity};

#[test]
fn a_mutating_request_without_a_rule_is_an_event_with_its_folded_route() {
    let secret = json!({"password": "hunter2", "note": "private"});
    let mut case =
        Case::of("DELETE", "/api/things/5ba8ba17-8d50-47a2-bd72-bd422cb8acb4", &secret, 200, &secret);
    let event = case.event().expect("audited");
    assert_eq!((event.action.as_str(), event.severity), ("UNMAPPED_MUTATION", Severity::Info));
    assert_eq!(
        (event.request.route.as_str(), event.request.rule.as_str()),
        ("/api/things/{id}", "edge/unmapped")
    );
    assert_eq!(event.entity.as_ref().and_then(|entity| entity.id.as_deref()), Some("/api/things/{id}"));
    assert_eq!((event.details, event.changes), (None, None));
    assert_eq!(event.request.request_body, BodyState::Absent);
    case.status = Some(500);
    let event = case.event().expect("audited");
    assert_eq!((event.outcome, event.severity), (Outcome::Failure, Severity::Warning));
}

#[test]
fn a_known_route_with_another_method_is_unmapped_and_a_reading_one_is_nothing() {
    let event = Case::of("POST", "/agents/a1", &json!({}), 200, &json!({})).event().expect("audited");
    assert_eq!(event.action.as_str(), "UNMAPPED_MUTATION");
    assert_eq!(Case::of("GET", "/whatever", &json!({}), 200, &json!({})).event(), None);
    assert_eq!(Case::of("HEAD", "/whatever", &json!({}), 200, &json!({})).event(), None);
}
