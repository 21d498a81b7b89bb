//! Streams to every kind of receiver, and what receivers got.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{ENTITY, PLACES, Trail, id};
use crate::support::eventually;

/// Streams.
impl Trail {
    /// One of each kind, one that is refused, and one that nobody answers.
    pub(super) async fn streams_are_made(&mut self) {
        let given = self.scan.secrets.mint("the webhook's second secret");
        let in_address = self.scan.secrets.mint("the key in a stream's address");
        let (its, to) = (&self.seeded, &self.receivers);
        let objects = format!("file://{}/objects", self.home.path().display());
        let nowhere = format!("http://127.0.0.1:1/x?key={in_address}");
        let hook =
            json!({"kind": "webhook", "name": "hook", "url": to.hook.url(&format!("/?key={in_address}"))});
        let wanted = [
            json!({"kind": "ocsf", "name": "ocsf", "url": to.ocsf.url("/"), "secret": its.ocsf}),
            json!({"kind": "otlp", "name": "otlp", "url": to.otlp.url("/"), "secret": its.otlp}),
            json!({"kind": "objects", "name": "s3", "url": "s3://audit/events", "endpoint": to.s3.url(""),
                "access_key_id": "AKID", "secret": its.s3}),
            json!({"kind": "syslog", "name": "syslog", "address": to.syslog.address}),
            json!({"kind": "cef", "name": "cef", "address": to.syslog.address}),
            json!({"kind": "objects", "name": "objects", "url": objects}),
            json!({"kind": "otlp", "name": "refused", "url": to.refusing.url("/"), "secret": its.otlp}),
            json!({"kind": "ocsf", "name": "nowhere", "url": nowhere, "secret": its.ocsf}),
        ];
        for wanted in &wanted {
            self.post("/v1/sinks", wanted).await;
        }
        // What is made for it is told in this answer.
        let made = self.post("/v1/sinks", &hook).await;
        let secret = made["secret"].as_str().and_then(|text| text.strip_prefix("whsec_")).expect("a secret");
        self.scan.secrets.add("the webhook's secret", secret.as_bytes());
        self.scan.secrets.add("the webhook's secret", &STANDARD.decode(secret).expect("base64"));
        self.ids.sink = id(&made);
        let path = format!("/v1/sinks/{}", self.ids.sink);
        let mut changed = hook;
        changed["secret"] = format!("whsec_{given}").into();
        let answer = self.post(&path, &changed).await;
        self.scan.saw("an answer of the API", "a changed stream", answer.to_string().as_bytes());
        for act in ["test", "pause", "resume"] {
            let answer = self.post(&format!("{path}/{act}"), &json!({})).await;
            self.scan.saw("an answer of the API", act, answer.to_string().as_bytes());
        }
        self.scan.secrets.add("the webhook's second secret", &STANDARD.decode(given).expect("base64"));
    }

    /// What receivers got. The headers that they know us by are theirs.
    pub(super) async fn what_was_sent_is_looked_at(&mut self) {
        let (its, to) = (&self.seeded, &self.receivers);
        let own = |token: &str| Some(format!("Bearer {token}"));
        let sent = [
            ("a webhook", &to.hook, None),
            ("OCSF", &to.ocsf, own(&its.ocsf)),
            ("OTLP", &to.otlp, own(&its.otlp)),
            ("S3", &to.s3, None),
            ("a receiver that refuses", &to.refusing, own(&its.otlp)),
            ("what the application is told", &to.application, None),
            #[cfg(feature = "otlp")]
            ("a trace", &to.collector, own(&its.collector)),
        ];
        for (kind, receiver, token) in sent {
            let (_, harmless) = PLACES.iter().find(|(known, _)| *known == kind).expect("a kind");
            let holds = |body: &[u8]| String::from_utf8_lossy(body).contains(harmless);
            eventually(async || receiver.got().iter().any(|got| holds(&got.body))).await;
            for got in receiver.got() {
                let mut headers = got.headers.clone();
                if let Some(token) = &token {
                    let known_by = headers.remove("authorization").expect("a token");
                    assert_eq!(known_by, token.as_str(), "{kind}: the secret is in use");
                }
                self.scan.saw(kind, "the path of a request", got.path.as_bytes());
                self.scan.saw(kind, "the headers of a request", format!("{headers:?}").as_bytes());
                self.scan.saw(kind, "the body of a request", &got.body);
            }
        }
        eventually(async || to.syslog.got().iter().filter(|message| message.contains(ENTITY)).count() > 20)
            .await;
        for message in to.syslog.got() {
            let kind = if message.contains(" CEF:0|") { "CEF" } else { "syslog" };
            self.scan.saw(kind, "a message", message.as_bytes());
        }
    }
}
