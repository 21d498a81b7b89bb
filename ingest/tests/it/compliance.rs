//! Reports on controls: what is evidence is counted, and what is missing is said.

use serde_json::{Value, json};
use shared::event::{Action, ComplianceFlag, Event, Outcome};

use crate::support::{Server, counts, sample, unmapped};

fn named(n: u64, action: &str) -> Event {
    Event {
        action: Action::try_from(action.to_owned()).expect("an action"),
        outcome: Outcome::Success,
        compliance: vec![ComplianceFlag::try_from("SOC2".to_owned()).expect("a flag")],
        ..sample(n)
    }
}

fn control<'a>(report: &'a Value, id: &str) -> &'a Value {
    let controls = report["controls"].as_array().expect("controls");
    controls.iter().find(|control| control["id"] == id).expect("a control")
}

#[tokio::test]
async fn a_control_has_the_events_that_are_evidence_for_it_and_holes_are_told() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let failed = Event { outcome: Outcome::Failure, ..named(2, "USER_LOGIN_FAILED") };
    let events = [
        named(1, "USER_LOGIN"),
        failed,
        named(3, "SETTINGS_2FA_ENABLED"),
        named(4, "AGENT_DELETED"),
        unmapped(5, "POST", "/api/other"),
        counts(6, "app.example.com", &[("POST", "/api/other", false, 7)], 0),
    ];
    assert_eq!(server.send(&producer.seal(&events)).await["stored"], 6);
    crate::support::eventually(async || {
        let report = server.get("/v1/compliance/soc2").await.json();
        report["gaps"]["requests_unmapped"] == 7 && report["proof"]["logs"][0]["size"].is_u64()
    })
    .await;
    let report = server.get("/v1/compliance/soc2").await.json();
    let access = control(&report, "CC6.1");
    assert_eq!((&access["events"], &access["failures"]), (&json!(3), &json!(1)), "{access}");
    assert_eq!(access["found"]["SETTINGS_2FA_ENABLED"], 1);
    assert_eq!(control(&report, "CC8.1")["events"], 1);
    assert_eq!(report["flag"], json!({"name": "SOC2", "events": 4}));
    let empty = report["gaps"]["controls_without_events"].as_array().expect("controls");
    assert!(empty.contains(&json!("CC6.2")) && !empty.contains(&json!("CC6.1")), "{empty:?}");
    assert_eq!(report["gaps"]["events"]["UNMAPPED_MUTATION"], 1);

    let csv = server.get("/v1/compliance/soc2?format=csv").await;
    assert!(csv.head.contains("content-type: text/csv"), "{}", csv.head);
    assert!(csv.text().contains("soc2,CC6.1,") && csv.text().contains(",3,1,20"), "{}", csv.text());

    let earlier = "/v1/compliance/soc2?from=2020-01-01T00:00:00Z&to=2020-02-01T00:00:00Z";
    assert_eq!(control(&server.get(earlier).await.json(), "CC6.1")["events"], 0);
    server.get("/v1/compliance/hipaa").await.problem(404);
    server.get("/v1/compliance/gdpr?to=2020-01-01T00:00:00Z").await.problem(400);
    server.stop().await;
}
