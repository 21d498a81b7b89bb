//! A person's data as they get it: complete, proven, and without what belongs to others.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};
use shared::event::{Actor, Entity, EntityType, JsonText};
use shared::leaf::{ENTRY_LEN, Hash, StoredOpening};
use shared::note::{Checkpoint, Note, VerifierKey};
use shared::tree::verify_inclusion;

use crate::support::{Server, eventually, sample};

/// The lines of an export.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Checks what a person can check: the bytes hash to the entry, the entry is in the tree, the tree's head is signed.
pub(crate) fn check(event: &Value, logs: &Value) {
    let bytes = |name: &str| BASE64.decode(event[name].as_str().expect(name)).expect("base64");
    let entry: [u8; ENTRY_LEN] = bytes("entry").try_into().expect("42 bytes");
    let opening = StoredOpening::decode(&bytes("opening")).expect("an opening");
    assert_eq!(opening.digest(), entry[10..], "the bytes are those that the entry commits to");
    let text = event["proof"].as_str().unwrap_or_else(|| panic!("no proof: {event}"));
    let (proof, note) = text.split_once("\n\n").expect("a checkpoint");
    let mut proof = proof.lines();
    assert_eq!(proof.next(), Some("c2sp.org/tlog-proof@v1"));
    let index: u64 =
        proof.next().and_then(|line| line.strip_prefix("index ")?.parse().ok()).expect("an index");
    let hashes: Vec<Hash> =
        proof.map(|line| BASE64.decode(line).expect("base64").try_into().expect("a hash")).collect();
    let note = Note::parse(note.as_bytes()).expect("a note");
    let head: Checkpoint = note.text().parse().expect("a checkpoint");
    verify_inclusion(&entry, index, head.size, &hashes, &head.root).expect("in the tree");
    let log = logs.as_array().expect("logs").iter().find(|log| log["origin"] == *head.origin);
    let key: VerifierKey =
        log.expect("its log")["verifier_key"].as_str().expect("a key").parse().expect("a key");
    let public = VerifyingKey::from_bytes(&key.public).expect("a key");
    let signature = Signature::from_slice(&note.signatures()[0].bytes).expect("a signature");
    public.verify_strict(note.text().as_bytes(), &signature).expect("signed");
}

#[tokio::test]
async fn a_person_gets_every_act_of_theirs_and_on_them_each_with_its_proof() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let mut sent = 0;
    for batch in 0..7 {
        let mut events: Vec<_> = (0..90).map(|n| sample(batch * 90 + n)).collect();
        sent +=
            events.iter().filter(|event| event.actor.as_ref().is_some_and(|it| it.id == "user-1")).count();
        for event in &mut events {
            let id = event.actor.as_ref().map(|actor| actor.id.clone()).unwrap_or_default();
            event.context.session = Some(format!("session-of-{id}"));
        }
        assert_eq!(server.send(&producer.seal(&events)).await["status"], 200);
    }
    // An admin of the application changes the person's account, from a place of the admin's own.
    let mut on_them = sample(1_000);
    on_them.actor =
        Some(Actor { id: "boss".to_owned(), email: Some("boss@example.com".to_owned()), ..Actor::default() });
    on_them.context.session = Some("session-of-boss".to_owned());
    on_them.context.ip = Some("192.0.2.99".parse().expect("an address"));
    on_them.entity = Some(Entity {
        kind: EntityType::try_from("user".to_owned()).expect("a type"),
        id: Some("user-1".to_owned()),
        name: None,
    });
    let mut named = sample(1_002);
    named.actor = on_them.actor.clone();
    named.details = Some(JsonText::from(&json!({"shared_with": ["user-1"]})));
    named.context = on_them.context.clone();
    assert_eq!(server.send(&producer.seal(&[on_them.clone(), named.clone()])).await["status"], 200);
    eventually(async || server.get("/v1/logs").await.json()["logs"][0]["size"].as_u64() >= Some(632)).await;

    let reply = server.post_as_admin("/v1/subjects/user-1/export", "").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.head.contains("content-type: application/x-ndjson"), "{}", reply.head);
    let lines = lines(&unchunked(&reply.body));
    let (head, summary) = (&lines[0]["export"], &lines[lines.len() - 1]["summary"]);
    let events = &lines[1..lines.len() - 1];
    assert_eq!(head["subject"], "user-1");
    let of = |word: &str| events.iter().filter(|event| event["as"] == word).count();
    assert_eq!(of("actor"), sent);
    // What was done to them, and that they were exported.
    assert_eq!((of("subject"), of("mentioned")), (2, 1), "{summary}");
    assert_eq!(summary["events"], sent + 3);
    let proven: Vec<_> = events.iter().filter(|event| !event["proof"].is_null()).collect();
    assert!(proven.len() >= sent + 2 && summary["proven"] == proven.len(), "{summary}");
    proven.iter().for_each(|event| check(event, &head["logs"]));

    let text = unchunked(&reply.body);
    let theirs = events.iter().find(|event| event["id"] == json!(on_them.id)).expect("there");
    assert_eq!(theirs["withheld"], json!(["actor", "ip", "user_agent", "session"]));
    assert_eq!(theirs["erased"], json!([]));
    for other in ["boss@example.com", "192.0.2.99", "session-of-boss", "user-2", "user2@example.com"] {
        assert!(!text.contains(other), "{other} is somebody else's");
        let hidden = events.iter().filter_map(|event| BASE64.decode(event["opening"].as_str()?).ok());
        hidden.for_each(|opening| assert!(!holds(&opening, other.as_bytes()), "{other} in an opening"));
    }

    let logged = server.eventually("&action=SUBJECT_EXPORTED", 1).await;
    assert_eq!(logged[0]["entity"], json!({"type": "user", "id": "user-1"}));
    let whole = server.post_as_admin("/v1/subjects/user-1/export?format=json", "").await;
    let whole: Value = serde_json::from_str(&unchunked(&whole.body)).expect("one document");
    assert_eq!(whole["events"].as_array().map(Vec::len), Some(sent + 4));
    assert_eq!(whole["summary"]["events"], sent + 4);
    server.stop().await;
}

#[tokio::test]
async fn of_somebody_unknown_there_is_no_export_and_no_word_in_the_log() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    assert_eq!(server.send(&producer.seal(&[sample(1)])).await["status"], 200);
    server.post_as_admin("/v1/subjects/nobody-here/export", "").await.problem(404);
    server.post_as_admin("/v1/subjects/user-1/export?format=xml", "").await.problem(400);
    server.post_as_admin("/v1/subjects/user-1/export", "{").await.problem(400);
    let key = crate::support::new_key(&server.store, "demo", ingest::auth::Role::Viewer).await;
    server.post_with("/v1/subjects/user-1/export", &key, "").await.problem(403);
    assert!(server.all("&action=SUBJECT_EXPORTED").await.is_empty());
    server.stop().await;
}

/// A body of unknown length as HTTP/1.1 carries it.
pub(crate) fn unchunked(body: &[u8]) -> String {
    let (mut rest, mut whole) = (body, Vec::new());
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("a length");
        let len = std::str::from_utf8(&rest[..end]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let len = len.expect("a length");
        if len == 0 {
            return String::from_utf8(whole).expect("text");
        }
        whole.extend_from_slice(&rest[end + 2..end + 2 + len]);
        rest = &rest[end + 2 + len + 2..];
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
