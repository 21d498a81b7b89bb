//! What an attacker tries beside calling routes without the right: the roles' matrix has that, `sessions.rs` other sites and guessing,
//! `receiving.rs` forged batches, `app_tokens.rs` forged tokens.

use serde_json::{Value, json};
use shared::batch::CONTENT_TYPE;

use crate::sinks::Forwarding;
use crate::support::receiver::{Manner, Receiver};
use crate::support::{Producer, Response, Server, call, eventually, new_key, sample, tenant};
use ingest::auth::Role;
use ingest::store::signing_keys;

const ORIGIN: (&str, &str) = ("origin", "http://test");
const JSON: (&str, &str) = ("content-type", "application/json");

/// The cookie's pair that an answer sets.
fn cookie(answer: &Response) -> String {
    let line = answer.raw_head.lines().find(|line| line.contains("edgetrail=")).expect("a session");
    line.split_once(": ").and_then(|(_, rest)| rest.split(';').next()).expect("a pair").to_owned()
}

#[tokio::test]
async fn a_cookie_that_was_there_before_signing_in_never_becomes_the_session() {
    let server = Server::start().await;
    let key = server.viewer_key().to_owned();
    let body = json!({"credential": key}).to_string();
    let planted = format!("__Host-edgetrail={}", "A".repeat(43));
    let headers = [ORIGIN, JSON, ("cookie", planted.as_str())];
    let signed_in = call(&server.address, "POST", "/sign-in", &headers, body.as_bytes()).await;
    assert_eq!(signed_in.status, 200, "{}", signed_in.text());
    assert_ne!(cookie(&signed_in), planted);
    server.call_with("GET", "/v1/session", &[("cookie", &planted)]).await.problem(401);

    // Of a session that an attacker made for themselves nothing goes over to whoever signs in with it.
    let attackers = new_key(&server.store, "other", Role::Viewer).await;
    let body = json!({"credential": attackers}).to_string();
    let theirs = cookie(&call(&server.address, "POST", "/sign-in", &[ORIGIN, JSON], body.as_bytes()).await);
    let body = json!({"credential": key}).to_string();
    let headers = [ORIGIN, JSON, ("cookie", theirs.as_str())];
    let victims = cookie(&call(&server.address, "POST", "/sign-in", &headers, body.as_bytes()).await);
    assert_ne!(victims, theirs);
    let whose = async |cookie: &str| {
        server.call_with("GET", "/v1/session", &[("cookie", cookie)]).await.json()["tenant"].clone()
    };
    assert_eq!((whose(&theirs).await, whose(&victims).await), (json!("other"), json!("demo")));
    server.stop().await;
}

#[tokio::test]
async fn nothing_that_a_client_sends_becomes_a_header_of_the_answer_or_leads_elsewhere() {
    let server = Server::start().await;
    let line = "x%0d%0aset-cookie:%20stolen=1%0d%0a%0d%0a%3cscript%3e";
    for path in [
        format!("/sign-in?next=/{line}"),
        format!("/sign-in?next=//evil.example/{line}"),
        format!("/{line}"),
        format!("/v1/events?q={line}"),
        format!("/v1/events?{line}=1"),
        format!("/v1/events/export?q={line}&format={line}"),
        format!("/v1/exports/{line}/download"),
        format!("/v1/entities/{line}/{line}/timeline"),
        format!("/?q={line}"),
    ] {
        for accept in ["text/html", "application/json"] {
            let bearer = format!("Bearer {}", server.admin_key());
            let headers = [("authorization", bearer.as_str()), ("accept", accept)];
            let answer = server.call_with("GET", &path, &headers).await;
            assert!(answer.status < 500, "{path}: {}", answer.text());
            let injected = answer.head.lines().any(|line| line.starts_with("set-cookie: stolen"));
            assert!(!injected, "{path}: {}", answer.head);
            assert!(!answer.head.contains("evil.example"), "{path}: {}", answer.head);
            let is_page = answer.head.contains("content-type: text/html");
            assert!(!is_page || !answer.text().contains("<script>"), "{path}");
        }
    }
    // Where a request names its host, its id or how it came, no answer believes it.
    let headers = [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "gopher"),
        ("forwarded", "host=evil.example"),
        ("x-original-url", "/v1/events"),
        ("x-rewrite-url", "/v1/events"),
        ("accept", "text/html"),
    ];
    let answer = server.call_with("GET", "/", &headers).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert!(
        !answer.head.contains("evil.example") && !answer.text().contains("evil.example"),
        "{}",
        answer.head
    );
    // The method is the request's own.
    let bearer = format!("Bearer {}", server.viewer_key());
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-http-method-override", "DELETE"),
        ("x-method-override", "POST"),
    ];
    assert_eq!(server.call_with("GET", "/v1/searches", &headers).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn no_path_leads_out_of_what_a_route_serves() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    server.send(&producer.seal(&[sample(1)])).await;
    eventually(async || server.get("/v1/logs").await.json()["logs"][0]["size"] == 1).await;
    let logs = server.get("/v1/logs").await.json();
    let log = logs["logs"][0]["log_id"].as_str().expect("a log").to_owned();
    assert_eq!(server.get(&format!("/log/{log}/tile/0/000.p/1")).await.status, 200);
    let ups =
        ["..", "%2e%2e", "%2E%2E%2F..", "..%2f", "....//", "%252e%252e", "..%5c", "%c0%ae%c0%ae", "..;"];
    for up in ups {
        for path in [
            format!("/log/{log}/tile/{up}/{up}/log.key"),
            format!("/log/{log}/tile/0/{up}/000.p/1"),
            format!("/log/{up}/tile/0/000"),
            format!("/log/{up}%2f{up}%2flog.key/checkpoint"),
            format!("/assets/{up}/{up}/Cargo.toml"),
            format!("/assets/{up}%2fCargo.toml"),
            format!("/v1/exports/{up}%2flog.key/download"),
            format!("/v1/exports/{up}/manifest"),
            format!("/v1/absences/{up}"),
            format!("/v1/compliance/{up}%2f{up}"),
            format!("/docs/{up}/log.key"),
        ] {
            let answer = server.get_as_admin(&path).await;
            assert!([400, 404].contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
            let text = answer.text();
            assert!(!text.contains("PRIVATE+KEY") && !text.contains("[package]"), "{path}: {text}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_batch_that_was_overheard_is_stored_for_its_own_tenant_once_and_for_nobody_else() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let thief = Producer::new("edge/thief");
    // Before anybody sends: registered keys are read anew at most once a second.
    signing_keys::upsert(&server.store, &thief.verifier(), &[tenant("other")]).await.expect("registered");
    let overheard = producer.seal(&[sample(1), sample(2)]);
    assert_eq!(server.send(&overheard).await["status"], 200);
    // Again, alone and with itself.
    let again = server.post(&[overheard.frame(), overheard.frame()].concat()).await.json();
    assert!(
        again.as_array().is_some_and(|items| items.iter().all(|item| item["duplicate"] == true)),
        "{again}"
    );

    // Another producer signs what it heard: of its own tenant, and in the name of the other's.
    let (text, _) = overheard.note.split_once("\n\n").expect("a note");
    let mut stolen = overheard.clone();
    stolen.note = thief.sign(&format!("{text}\n"));
    assert_eq!(server.send(&stolen).await["status"], 403, "the header names a tenant that is not its own");
    stolen.note = thief.sign(&format!("{}\n", text.replace("tenant demo", "tenant other")));
    let item = server.send(&stolen).await;
    assert_eq!((&item["status"], &item["stored"]), (&json!(200), &json!(0)), "{item}");
    assert_eq!(
        item["quarantined"].as_array().map(Vec::len),
        Some(2),
        "events name their tenant themselves: {item}"
    );
    let stranger = new_key(&server.store, "other", Role::Auditor).await;
    let theirs: Value = server.get_with("/v1/events?entity_type=agent", &stranger).await.json();
    assert_eq!(theirs["events"], json!([]));
    assert_eq!(server.all("&entity_type=agent").await.len(), 2);

    // Under another media type nothing is read at all.
    let headers = [("content-type", "text/plain")];
    call(&server.address, "POST", "/v1/batches", &headers, &overheard.frame()).await.problem(415);
    let lengths = [("content-type", CONTENT_TYPE), ("transfer-encoding", "chunked")];
    let smuggled = call(&server.address, "POST", "/v1/batches", &lengths, &overheard.frame()).await;
    assert_eq!(smuggled.status, 400, "two lengths of one body: {}", smuggled.text());
    server.stop().await;
}

#[tokio::test]
async fn a_receiver_cannot_send_events_on_to_somewhere_else() {
    let it = Forwarding::start(&[]).await;
    let mut producer = it.server.producer().await;
    let inside = Receiver::start(Manner::Takes).await;
    let moved = Receiver::start(inside.as_goal()).await;
    it.webhook("hook", &moved).await;
    it.server.send(&producer.seal(&[sample(1)])).await;
    eventually(async || moved.got().len() > 1).await;
    assert_eq!(inside.got().len(), 0, "a redirect is no answer");
    it.server.stop().await;
}
