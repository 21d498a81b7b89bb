//! Secrets where none belongs: in headers, paths, bodies and fields, and in bytes that are no request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ingest::api::{openapi, table};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{FORM, Ids, JSON, ORIGIN, PARAMETER, REQUEST, Seeded, Trail};

/// Secrets in the wrong places.
impl Trail {
    pub(super) async fn secrets_come_in_the_wrong_places(&mut self) {
        let named = self.get(&format!("/v1/events?{PARAMETER}=1")).await;
        self.saw("a refusal", "a parameter that is unknown", &named);
        let identified = [("x-request-id", REQUEST)];
        self.call("GET", "/healthz", &identified, "").await;
        self.in_headers().await;
        self.in_paths().await;
        self.in_bodies().await;
        self.in_fields().await;
        self.in_streams_and_policies().await;
        self.in_bytes_that_are_no_request().await;
        self.in_sign_ins().await;
    }

    async fn in_headers(&mut self) {
        let Seeded { stray, stray_key, admin, .. } = &self.seeded;
        let basic = STANDARD.encode(format!("ops:{stray}"));
        let headers = [
            ("authorization", format!("Bearer {stray}")),
            ("authorization", format!("Basic {basic}")),
            ("authorization", stray_key.clone()),
            ("authorization", format!("Bearer etk_ops_{stray}")),
            ("authorization", format!("Bearer {stray_key}, Bearer {stray}")),
            ("cookie", format!("__Host-edgetrail={stray}; token={stray_key}")),
            ("proxy-authorization", format!("Bearer {stray_key}")),
            ("x-api-key", stray_key.clone()),
            ("x-csrf-token", stray.clone()),
            ("user-agent", stray.clone()),
            ("referer", format!("https://app.example.com/?token={stray}")),
            ("x-unmask-reason", format!("ticket 7: {stray_key}")),
            (stray, "x".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let bearer = format!("Bearer {admin}");
        for (name, value) in headers {
            let mut given = vec![(name.as_str(), value.as_str())];
            if ["user-agent", "referer", "x-unmask-reason"].contains(&&*name) {
                given.push(("authorization", &bearer));
            }
            for path in ["/v1/events?limit=1", "/sinks", "/v1/me/activity", "/nowhere"] {
                let answer = self.call("GET", path, &given, "").await;
                self.saw("a refusal", &format!("{path} with a secret in {name}"), &answer);
            }
        }
    }

    /// A refusal must not repeat what it refuses. What was understood is the reader's own word, as a search is; it is only not to
    /// be kept.
    async fn in_paths(&mut self) {
        let Seeded { stray, stray_key, .. } = &self.seeded;
        let paths = [
            format!("/v1/events?api_key={stray_key}"),
            format!("/v1/events?access_token={stray}"),
            format!("/v1/events?limit={stray}"),
            format!("/v1/events?cursor={stray}"),
            format!("/v1/events?from={stray}"),
            format!("/v1/events?severity={stray}"),
            format!("/v1/events?{stray_key}"),
            format!("/v1/events?q={stray_key}"),
            format!("/v1/events/export?format={stray}"),
            format!("/v1/coverage?{stray_key}=1"),
            format!("/v1/events/{stray}"),
            format!("/v1/entities/agent/{stray_key}/timeline"),
            format!("/v1/actors/{stray_key}"),
            format!("/v1/sinks/{stray}"),
            format!("/v1/policies/{stray}"),
            format!("/v1/policy/{stray}"),
            format!("/v1/compliance/{stray}"),
            format!("/v1/exports/{stray}/download"),
            format!("/log/{stray}/checkpoint"),
            format!("/assets/{stray}"),
            format!("/{stray}?token={stray_key}"),
            format!("/sinks/{stray}"),
            format!("/entities/agent/{stray_key}"),
            format!("/?q={stray_key}"),
            format!("/metrics?token={stray}"),
            format!("/healthz?token={stray}"),
            format!("/readyz?token={stray}"),
        ];
        for path in paths {
            let answer = self.get(&path).await;
            if answer.status >= 400 {
                self.saw("a refusal", &path, &answer);
            }
        }
    }

    /// To every route that takes a body, bodies that are none.
    async fn in_bodies(&mut self) {
        let Seeded { stray, stray_key, admin, .. } = &self.seeded;
        let bodies = [
            (JSON, format!("\"{stray}\"")),
            (JSON, format!("[\"{stray}\", {{\"token\": \"{stray_key}\"}}]")),
            (JSON, format!("{{\"{stray_key}\": 1}}")),
            (JSON, format!("{{\"reason\": \"{stray}")),
            (JSON, format!("{{\"password\": \"{stray}\"}}")),
            (JSON, stray.clone()),
            (FORM, stray_key.clone()),
            (
                FORM,
                format!(
                    "kind=webhook&name=x&secret={stray}&url=ftp%3A%2F%2Fu%3A{stray}%40a.example%2F&password={stray}"
                ),
            ),
        ];
        let bearer = format!("Bearer {admin}");
        let posts = table().into_iter().filter(|route| route.method == "POST");
        let routes: Vec<String> = posts.map(|route| Ids::of_nothing().path(route.path)).collect();
        for path in routes {
            for (kind, body) in &bodies {
                let headers = [("authorization", bearer.as_str()), *kind, ORIGIN];
                let answer = self.call("POST", &path, &headers, body).await;
                self.saw("a refusal", &format!("{path} of {body}"), &answer);
            }
        }
    }

    /// In every field of the API that is not for any text.
    async fn in_fields(&mut self) {
        let stray = self.seeded.stray.clone();
        let document = openapi::document();
        for (template, methods) in document["paths"].as_object().expect("paths") {
            let schema = &methods["post"]["requestBody"]["content"]["application/json"]["schema"];
            let mut names = Vec::new();
            typed_fields(schema, &mut names);
            for name in names {
                let (path, body) = (Ids::of_nothing().path(template), json!({&name: stray}).to_string());
                let answer = self.call_as(&self.seeded.admin, "POST", &path, &body).await;
                self.saw("a refusal", &format!("{template} with a secret in {name}"), &answer);
            }
        }
    }

    async fn in_streams_and_policies(&mut self) {
        let Seeded { stray, stray_key, .. } = &self.seeded;
        let sink = |changes: Value| {
            let mut sink = json!({"kind": "ocsf", "name": "x", "url": "https://a.invalid/"});
            sink.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
            ("/v1/sinks", sink)
        };
        let policy = |rule: Value| {
            let mut whole = json!({"id": "x", "match": {"method": "POST", "path": "/x"}, "level": "full",
                "action": "X_MADE", "severity": "info", "entity": {"type": "x"}});
            whole.as_object_mut().expect("an object").extend(rule.as_object().expect("an object").clone());
            ("/v1/policy", json!({"packs": [{"name": "own", "version": 2, "rules": [whole]}]}))
        };
        let refused = [
            sink(json!({"url": format!("https://ops:{stray}@a.example/")})),
            sink(json!({"url": format!("ftp://a.example/{stray}")})),
            sink(json!({"url": format!("http://[{stray}")})),
            sink(json!({"secret": format!("{stray}\n")})),
            sink(json!({"secret": [stray]})),
            sink(json!({"secret": {"value": stray}})),
            sink(json!({"format": stray})),
            sink(json!({"kind": stray})),
            sink(json!({"kind": "webhook", "secret": stray})),
            sink(json!({"kind": "syslog", "url": null, "address": format!("ops:{stray}@a.example:6514")})),
            sink(json!({"kind": "syslog", "url": null, "address": "a.example", "secret": stray})),
            sink(
                json!({"kind": "objects", "url": format!("s3://id:{stray}@bucket"), "access_key_id": "x", "secret": stray}),
            ),
            sink(
                json!({"kind": "objects", "url": "s3://b", "endpoint": format!("https://id:{stray}@a.example"),
                "access_key_id": "x", "secret": stray}),
            ),
            sink(json!({"token": stray})),
            policy(json!({"level": stray_key})),
            policy(json!({"authorization": format!("Bearer {stray_key}")})),
            policy(json!({"action": stray_key})),
            policy(json!({"when": format!("equals(header:authorization, '{stray_key}'")})),
            policy(json!({"details": {"token": format!("{stray_key}('x')")}})),
            ("/v1/detection/trial", json!({"rule": format!("id = '{stray_key}")})),
            ("/v1/access", json!({"who": "a@example.com", "role": stray})),
            ("/v1/fingerprint", json!({"value": stray, "more": 1})),
        ];
        for (path, body) in refused {
            let answer = self.call_as(&self.seeded.admin, "POST", path, &body.to_string()).await;
            assert!(answer.status >= 400, "{path} takes {body}: {}", answer.text());
            self.saw("a refusal", &format!("{path} of {body}"), &answer);
        }
        let tested = self.post("/v1/fingerprint", &json!({"value": self.seeded.stray})).await;
        self.scan.saw("an answer of the API", "/v1/fingerprint", tested.to_string().as_bytes());
    }

    /// Heads that are too long, that are none, and that never end.
    async fn in_bytes_that_are_no_request(&mut self) {
        let Seeded { stray, stray_key, .. } = &self.seeded;
        let long = stray.repeat(2_000);
        let all = [
            format!("GET /v1/events HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {long}\r\n\r\n"),
            format!(
                "GET /v1/events HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n\r\n",
                long.repeat(20)
            ),
            format!("GET /{long}?token={long} HTTP/1.1\r\nhost: test\r\n\r\n"),
            format!("GET /v1/events HTTP/1.1\r\nhost: test\r\nAuthorization Bearer {stray_key}\r\n\r\n"),
            format!("{stray} {stray_key}\r\n\r\n"),
            format!("POST /v1/holds HTTP/1.1\r\nhost: test\r\ncontent-length: {stray}\r\n\r\n"),
            format!("POST /v1/holds HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n{stray}\r\n"),
        ];
        for bytes in all {
            let mut stream = TcpStream::connect(&self.backend.address).await.expect("listening");
            // Whoever refuses early closes before everything is written.
            let _ = stream.write_all(bytes.as_bytes()).await;
            let mut said = vec![0; 4096];
            let len = stream.read(&mut said).await.unwrap_or(0);
            let name = format!("{}…", &bytes[..bytes.len().min(120)]);
            self.scan.saw("a refusal", &name, &said[..len]);
        }
    }

    /// Fewer than lock an address out.
    async fn in_sign_ins(&mut self) {
        let Seeded { stray, stray_key, admin, .. } = &self.seeded;
        let wrong_key = format!("etk_ops_{stray}");
        let bodies = [
            (JSON, json!({"credential": stray}).to_string()),
            (JSON, json!({"credential": wrong_key}).to_string()),
            (JSON, json!({"credential": admin, "tenant": stray}).to_string()),
            (JSON, json!({"credential": [admin]}).to_string()),
            (JSON, json!(stray_key).to_string()),
            (JSON, json!({"credential": admin, "password": stray}).to_string()),
            (FORM, format!("credential={stray}&tenant=")),
            (FORM, format!("credential={admin}&{stray_key}")),
            (FORM, stray_key.clone()),
        ];
        for (kind, body) in bodies {
            let answer = self.call("POST", "/sign-in", &[ORIGIN, kind], &body).await;
            assert!(answer.status >= 400, "{body}: {}", answer.text());
            self.saw("a refusal", &format!("/sign-in of {body}"), &answer);
        }
        let answer =
            self.call("POST", "/me/sign-in", &[ORIGIN, FORM], &format!("token={}", self.seeded.stray)).await;
        self.saw("a refusal", "/me/sign-in", &answer);
        let back = format!("/sign-in/callback?state={0}&code={0}", self.seeded.stray);
        let cookie = format!("__Host-edgetrail-sign-in={0}.{0}", self.seeded.stray);
        let answer = self.call("GET", &back, &[("cookie", &cookie)], "").await;
        self.saw("a refusal", "/sign-in/callback", &answer);
    }
}

/// The names of fields that take something else than any text.
fn typed_fields(schema: &Value, names: &mut Vec<String>) {
    for alternative in schema["anyOf"].as_array().into_iter().flatten() {
        typed_fields(alternative, names);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let is_text = field["type"] == "string" && field["enum"].is_null() && field["format"].is_null();
        if !is_text {
            names.push(name.clone());
        }
    }
}
