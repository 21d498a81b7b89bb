//! What people, readers and producers do: each with a secret of their own.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use shared::batch::{CONTENT_TYPE, frame};
use shared::event::{Entity, EntityType, Event};
use shared::note::SignerKey;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{ALICE, ENTITY, FORM, HOST, JSON, ORIGIN, Trail, id};
use crate::own_activity::{act, token_with};
use crate::retention::{months_ago, sequenced};
use crate::sessions::cookie;
use crate::support::{Dial, Producer, Response, Server, call, counts, eventually, sample, sample_at};

/// An event about what is harmless.
fn named(event: Event) -> Event {
    let kind = EntityType::try_from("agent".to_owned()).expect("a type");
    let (id, name) = (Some(ENTITY.to_owned()), Some(ENTITY.to_owned()));
    Event { entity: Some(Entity { kind, id, name }), ..event }
}

/// Events of more than a year ago, which retention lets go: a backend of that time stored them.
pub(super) async fn long_ago(home: TempDir, toml: &str, variables: &[(&str, &str)]) -> TempDir {
    let dial = Dial::new(months_ago(14));
    let variables = [&[("EDGETRAIL__LOG__INTERVAL_MS", "20")], variables].concat();
    let server = Box::pin(Server::inside_at(home, toml, &variables, dial.clock())).await;
    let mut producer = server.producer().await;
    let events: Vec<Event> = (0..30).map(|n| named(sample_at(months_ago(14), n))).collect();
    assert_eq!(server.send(&producer.seal(&events)).await["stored"], 30);
    sequenced(&server).await;
    server.halt().await
}

/// Keys, events, people.
impl Trail {
    /// Keys from a terminal. The key of a second admin, with whom the first agrees on things.
    pub(super) async fn keys_are_made(&mut self) -> String {
        let create = ["keys", "create", "--tenant", "demo", "--role", "admin", "--name", "of the scan"];
        let mut of_second = create.to_vec();
        of_second.extend(["--person", "second@example.com"]);
        let second = self.run(&of_second, &[]).await.trim().to_owned();
        let told: Value = serde_json::from_str(&self.run(&[&create[..], &["--json"]].concat(), &[]).await)
            .expect("a key as JSON");
        let id = told["id"].as_str().expect("an id");
        let rotated = self.run(&["keys", "rotate", id], &[]).await.trim().to_owned();
        let key = told["key"].as_str().expect("a key").to_owned();
        for (name, key) in [("a second admin's key", &second), ("a key", &key), ("its successor", &rotated)] {
            let secret = key.rsplit('_').next().expect("three parts");
            assert_eq!(secret.len(), 64, "a key is told");
            self.scan.secrets.add(name, secret.as_bytes());
            self.scan.secrets.add(name, &hex::decode(secret).expect("hex"));
        }
        second
    }

    /// Events of a producer whose key was made from a terminal.
    pub(super) async fn events_arrive(&mut self) {
        let told = self.run(&["signer", "new", "--name", "edge/scan", "--tenant", "demo"], &[]).await;
        let key: SignerKey = told.trim().parse().expect("a private key");
        self.scan.secrets.add("the edge's private key", &key.seed);
        let mut producer = Producer::of(&key);
        let mut events: Vec<Event> = (0..12).map(|n| named(sample(n))).collect();
        events.push(act(5, "USER_LOGIN", ALICE, Some(("user", ALICE))));
        events.push(counts(20, HOST, &[("POST", "/api/agents", true, 3), ("POST", "/api/x", false, 2)], 0));
        self.ids.event = events[0].id.to_string();
        let framed = producer.seal(&events).frame();
        // A new key is known soon.
        eventually(async || self.send(&framed).await.json()[0]["status"] == 200).await;
        // An opening that is none is set aside.
        self.send(&producer.seal_openings("demo", &[vec![1, 2, 3]]).frame()).await;
        self.batches_hold_secrets(told.trim()).await;
        self.tails_are_read(&mut producer).await;
    }

    /// What admins and readers ask for: a policy, a hold, an erasure, an export.
    pub(super) async fn readers_decide(&mut self, second: &str) {
        let pack = json!({"name": "own", "version": 1, "rules": [{"id": "x", "match": {"method": "POST", "path": "/x"},
            "level": "full", "action": "X_MADE", "severity": "info", "entity": {"type": "x"}}]});
        self.post("/v1/policy", &json!({"packs": [pack]})).await;
        let approved = self.call_as(second, "POST", "/v1/policy/1/approve", "").await;
        assert_eq!(approved.status, 200, "{}", approved.text());
        self.post("/v1/holds", &json!({"reason": "a case", "entity_id": "none"})).await;
        self.post("/v1/searches", &json!({"name": "mine", "q": "entity:agent"})).await;
        let wish = json!({"mode": "erase", "legal_basis": "harmless basis of the scan"});
        self.ids.erasure = id(&self.post("/v1/subjects/user-3/erase", &wish).await);
        let erasure = format!("/v1/erasures/{}", self.ids.erasure);
        let approved = self.call_as(second, "POST", &format!("{erasure}/approve"), "").await;
        assert_eq!(approved.status, 200, "{}", approved.text());
        eventually(async || self.get(&erasure).await.json()["state"] == "done").await;
        let wish = json!({"q": "entity:agent", "format": "ndjson", "gzip": true});
        self.ids.export = id(&self.post("/v1/exports", &wish).await);
        let export = format!("/v1/exports/{}", self.ids.export);
        eventually(async || self.get(&export).await.json()["state"] == "complete").await;
        let logs = self.get("/v1/logs").await.json();
        self.ids.log = logs["logs"][0]["log_id"].as_str().expect("a log").to_owned();
        let head = format!("/log/{}/checkpoint", self.ids.log);
        eventually(async || self.call("GET", &head, &[], "").await.status == 200).await;
    }

    async fn send(&self, framed: &[u8]) -> Response {
        call(&self.backend.address, "POST", "/v1/batches", &[("content-type", CONTENT_TYPE)], framed).await
    }

    /// A private key where a batch or its note should be.
    async fn batches_hold_secrets(&mut self, key: &str) {
        for bytes in [
            key.as_bytes().to_vec(),
            frame(key, key.as_bytes()),
            frame(&format!("{key}\n\n— x {key}\n"), b""),
        ] {
            let answer = self.send(&bytes).await;
            self.saw("a refusal", "a private key in place of a batch", &answer);
        }
    }

    /// What tails tell of a batch that comes meanwhile.
    async fn tails_are_read(&mut self, producer: &mut Producer) {
        for (n, path) in (20..).zip(["/v1/events/live", "/live/rows"]) {
            let mut tail = TcpStream::connect(&self.backend.address).await.expect("listening");
            let asked = format!(
                "GET {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n\r\n",
                self.seeded.admin
            );
            tail.write_all(asked.as_bytes()).await.expect("sent");
            let mut piece = vec![0; 1 << 16];
            let mut told = Vec::new();
            let mut is_sent = false;
            while !String::from_utf8_lossy(&told).contains(ENTITY) {
                let read = tokio::time::timeout(Duration::from_secs(5), tail.read(&mut piece));
                let len = read.await.expect("in time").expect("an answer");
                assert!(len > 0, "{path} ends");
                told.extend_from_slice(&piece[..len]);
                // Whoever has begun to listen hears of what comes.
                if !is_sent {
                    is_sent = true;
                    self.send(&producer.seal(&[named(sample(n))]).frame()).await;
                }
            }
            self.scan.saw("a tail", path, &told);
        }
    }

    /// Sign-ins by every means, and what is done in a session.
    pub(super) async fn people_sign_in(&mut self) {
        self.post("/v1/access", &json!({"who": "alice@example.com", "role": "admin"})).await;
        let body = json!({"credential": self.seeded.admin}).to_string();
        let answer = self.call("POST", "/sign-in", &[ORIGIN, JSON], &body).await;
        let session = self.session_of("a session's cookie", &answer, "__host-edgetrail=");
        let csrf = answer.json()["csrf"].as_str().expect("a token").to_owned();
        self.scan.secrets.add("a session's token", csrf.as_bytes());
        let path = format!("/v1/holds?csrf={csrf}");
        let hold = json!({"reason": "another case", "entity_id": "none"}).to_string();
        let held = self.call("POST", &path, &[("cookie", &session), ORIGIN, JSON], &hold).await;
        assert_eq!(held.status, 200, "{}", held.text());
        let answer = self.call("GET", "/v1/events", &[("cookie", &session)], "").await;
        self.saw("an answer of the API", "/v1/events of a session", &answer);
        let wrong = self.call("POST", "/v1/holds?csrf=x", &[("cookie", &session), ORIGIN, JSON], &hold).await;
        self.saw("a refusal", "another token of a session", &wrong);

        let token = token_with(ALICE, &[("email", json!("alice@example.com"))], &self.seeded.project);
        let signature = token.rsplit('.').next().expect("a signature");
        self.scan.secrets.add("a person's token", signature.as_bytes());
        let form = format!("credential={token}&tenant=demo");
        let answer = self.call("POST", "/sign-in", &[ORIGIN, FORM], &form).await;
        self.session_of("another session's cookie", &answer, "__host-edgetrail=");
        let begun = self.call("GET", "/sign-in/oidc", &[], "").await;
        let journey = self.session_of("the cookie of a journey", &begun, "__host-edgetrail-sign-in=");
        let location =
            begun.raw_head.lines().find_map(|line| line.strip_prefix("location: ")).expect("a place");
        let (code, state) = self.provider.consent(location, |_| {});
        self.scan.secrets.add("the provider's code", code.as_bytes());
        self.scan.secrets.add("the state of a journey", state.as_bytes());
        let back = format!("/sign-in/callback?state={state}&code={code}");
        let answer = self.call("GET", &back, &[("cookie", &journey)], "").await;
        self.session_of("a third session's cookie", &answer, "__host-edgetrail=");
        self.people_see_themselves(&token).await;
    }

    /// The pair of the cookie that an answer hands out; its value is a secret from here on.
    fn session_of(&mut self, name: &str, answer: &Response, cookie_name: &str) -> String {
        let pair = cookie(answer, cookie_name).unwrap_or_else(|| panic!("{name}: {}", answer.text()));
        let value = pair.split_once('=').expect("a pair").1;
        // Of a signed one what is signed says nothing.
        let secret = value.rsplit('.').next().expect("a part");
        self.scan.secrets.add(name, secret.as_bytes());
        self.scan.secrets.add(name, &URL_SAFE_NO_PAD.decode(secret).expect("base64"));
        pair
    }

    async fn people_see_themselves(&mut self, token: &str) {
        let bearer = format!("Bearer {token}");
        let mine = self.call("GET", "/v1/me/activity", &[("authorization", &bearer)], "").await;
        self.saw("an answer of the API", "/v1/me/activity", &mine);
        let event = mine.json()["activity"][0]["id"].as_str().expect("an event").to_owned();
        let path = format!("/v1/me/activity/{event}/disown");
        let answer = self.call("POST", &path, &[("authorization", &bearer)], "").await;
        self.saw("an answer of the API", "/v1/me/activity/{id}/disown", &answer);
        let answer = self.call("POST", "/v1/me/export", &[("authorization", &bearer)], "").await;
        self.saw("an export", "/v1/me/export", &answer);
        let answer = self.call("POST", "/me/sign-in", &[ORIGIN, FORM], &format!("token={token}")).await;
        self.session_of("the cookie of somebody who sees themselves", &answer, "__host-edgetrail-me=");
    }
}
