//! The Worker's core as the Worker drives it, for one exchange.

use serde_json::{Value, json};
use shared::capture::{Body, Draft, Exchange, Headers, Mount};
use shared::event::{Event, Timestamp};
use shared::identity::{Check, Verdict};
use shared::leaf::Seed;
use shared::policy::{Pack, Router};

/// When every exchange here arrives.
pub(crate) const NOW_MS: u64 = 1_795_400_000_000;

/// One exchange.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) request_headers: Vec<(String, String)>,
    pub(crate) request: Vec<u8>,
    pub(crate) status: Option<u16>,
    pub(crate) response_headers: Vec<(String, String)>,
    pub(crate) response: Vec<u8>,
    pub(crate) before: Option<Vec<u8>>,
    pub(crate) verdict: Verdict,
    pub(crate) platform: &'static str,
    /// What the runtime says of the request.
    pub(crate) about: Value,
}

impl Seen {
    pub(crate) fn of(method: &str, path: &str, request: &Value, status: u16, response: &Value) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: String::new(),
            request_headers: Vec::new(),
            request: request.to_string().into_bytes(),
            status: Some(status),
            response_headers: Vec::new(),
            response: response.to_string().into_bytes(),
            before: None,
            verdict: Verdict::Valid,
            platform: "workerd",
            about: json!({"clientIp": "198.51.100.9"}),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request_headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn draft(&self, router: &Router) -> Option<(Draft, Vec<Check>, Mount)> {
        let mount: Mount = serde_json::from_value(json!({
            "host": "app.example.com", "upstream": "https://o.example", "tenant": "acme", "platform": self.platform,
            "packs": [],
        }))
        .expect("a mount");
        let mut draft = Draft::from_exchange(
            router,
            &Exchange {
                mount: &mount,
                method: &self.method,
                path: &self.path,
                query: &self.query,
                request_headers: &self.request_headers.iter().cloned().collect::<Headers>(),
                request_body: Body { bytes: &self.request, cut: false },
                status: self.status,
                response_headers: &self.response_headers.iter().cloned().collect::<Headers>(),
                response_body: Body { bytes: &self.response, cut: false },
                before: self.before.as_deref().map(|bytes| Body { bytes, cut: false }),
                intent: None,
                hash_key: Some(b"0123456789abcdef0123456789abcdef"),
                platform: &self.about,
                arrived: Timestamp::try_from(NOW_MS).expect("in range"),
                duration_ms: Some(12),
            },
        )?;
        let checks = draft.take_checks();
        Some((draft, checks, mount))
    }

    /// The checks that somebody with a crypto engine would be asked for.
    pub(crate) fn checks(&self, router: &Router) -> Vec<Check> {
        self.draft(router).map(|(_, checks, _)| checks).unwrap_or_default()
    }

    /// The events, with `verdict` for every check.
    pub(crate) fn events(&self, router: &Router) -> Vec<Event> {
        let Some((draft, checks, mount)) = self.draft(router) else { return Vec::new() };
        let verdicts = vec![self.verdict; checks.len()];
        draft.into_events(&verdicts, &mount.auth, &[[7; 10], [8; 10]])
    }

    /// The only event.
    pub(crate) fn event(&self, router: &Router) -> Event {
        let mut events = self.events(router);
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    /// Everything of the exchange that leaves the Worker, and what waits in it between the two steps.
    pub(crate) fn all_that_is_kept(&self, router: &Router) -> Vec<u8> {
        let Some((draft, checks, mount)) = self.draft(router) else { return Vec::new() };
        let mut kept = format!("{draft:?}").into_bytes();
        let verdicts = vec![self.verdict; checks.len()];
        for event in draft.into_events(&verdicts, &mount.auth, &[[7; 10], [8; 10]]) {
            kept.extend(event.to_opening(Seed([1; 32])).encode());
        }
        kept
    }
}

pub(crate) fn router(packs: &[&str]) -> Router {
    let packs = packs.iter().map(|text| Pack::parse(text).expect("a pack")).collect();
    Router::compile(packs).expect("routable")
}

/// A router of one rule, written as its JSON members.
pub(crate) fn rule(members: &Value) -> Router {
    let mut rule = json!({
        "id": "r", "match": {"method": "POST", "path": "/r"}, "level": "full", "action": "R", "severity": "info",
        "entity": {"type": "thing"},
    });
    for (name, value) in members.as_object().expect("members") {
        rule[name] = value.clone();
    }
    router(&[&json!({"name": "t", "version": 1, "rules": [rule]}).to_string()])
}

/// A token that nobody signed: the test gives the verdict.
pub(crate) fn token(header: &Value, claims: &Value) -> String {
    use base64::Engine as _;
    let encode = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2lnbmF0dXJlLW9mLW5vYm9keQ", encode(header), encode(claims))
}

/// Details as a value.
pub(crate) fn details(event: &Event) -> Value {
    event.details.as_ref().map(shared::event::JsonText::value).unwrap_or_default()
}

/// Changes as a value.
pub(crate) fn changes(event: &Event) -> Value {
    event.changes.as_ref().map(|changes| changes.fields.value()).unwrap_or_default()
}
