//! Events to look at: some weeks of a small team, and one event whose every text is hostile.

use std::net::SocketAddr;

use chrono::{DateTime, TimeDelta, Utc};
use ed25519_dalek::Signer as _;
use serde_json::{Value, json};
use shared::batch::{Header, StreamId, encode_body, events_hash, frame};
use shared::event::{
    Action, Actor, BodyState, ChangeSet, ClaimedUser, Context, Entity, EntityType, Event, EventId, JsonText,
    Outcome, Place, Quality, RequestFacts, RetentionClass, Severity, Timestamp, Trust,
};
use shared::leaf::{self, Hash, Seed};
use shared::note::assemble;
use tests::keys::random;
use tests::stack::SigningKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a browser would run or trip over if a page wrote it as it is.
pub const HOSTILE: &str =
    "<script>window.hit=1</script><img src=x onerror=window.hit=1>\"'&{{7*7}}\u{202e}\r\n</td>";

const PEOPLE: [(&str, &str, &str); 5] = [
    ("alice", "203.0.113.7", "DE"),
    ("bob", "198.51.100.23", "US"),
    ("carol", "203.0.113.40", "DE"),
    ("dmitri", "192.0.2.144", "NL"),
    ("erin", "198.51.100.77", "GB"),
];

/// Action, entity, method, route and severity.
type Deed =
    (&'static str, Option<(&'static str, &'static str, &'static str)>, &'static str, &'static str, Severity);

/// Something that somebody does now and then: action, entity, method and route, severity.
const DEEDS: [Deed; 12] = [
    ("AGENT_UPDATED", Some(("agent", "agent-7", "Support bot")), "PATCH", "/api/agents/{id}", Severity::Info),
    ("USER_LOGIN", None, "POST", "/auth/v1/token", Severity::Info),
    (
        "AGENT_EXECUTED",
        Some(("agent", "agent-7", "Support bot")),
        "POST",
        "/api/agents/{id}/run",
        Severity::Info,
    ),
    (
        "CRM_CONTACT_UPDATED",
        Some(("contact", "c-1841", "Northwind Ltd")),
        "PATCH",
        "/api/contacts/{id}",
        Severity::Info,
    ),
    (
        "AGENT_CREATED",
        Some(("agent", "agent-12", "Invoice bot")),
        "POST",
        "/api/create-agent",
        Severity::Info,
    ),
    (
        "SETTINGS_API_KEY_CREATED",
        Some(("api_key", "key-3", "CI deploy")),
        "POST",
        "/api/settings/keys",
        Severity::Warning,
    ),
    (
        "AGENT_STATUS_CHANGED",
        Some(("agent", "agent-12", "Invoice bot")),
        "PATCH",
        "/api/agents/{id}/status",
        Severity::Info,
    ),
    (
        "DATA_EXPORTED",
        Some(("report", "r-22", "Quarterly figures")),
        "POST",
        "/api/export",
        Severity::Warning,
    ),
    (
        "AGENT_DELETED",
        Some(("agent", "agent-4", "Old summariser")),
        "DELETE",
        "/api/agents/{id}",
        Severity::Critical,
    ),
    (
        "ADMIN_ROLE_GRANTED",
        Some(("user", "erin", "erin@example.com")),
        "POST",
        "/api/admin/roles",
        Severity::Critical,
    ),
    ("SETTINGS_2FA_ENABLED", None, "POST", "/api/settings/2fa", Severity::Info),
    (
        "PLUGIN_CONNECTED",
        Some(("plugin", "slack", "Slack")),
        "POST",
        "/api/plugins/{id}/connect",
        Severity::Info,
    ),
];

/// An event of tenant `demo` with nothing but what every event has.
pub fn plain(at: DateTime<Utc>, action: &str) -> Event {
    let at = Timestamp::from(at);
    Event {
        tenant: "demo".parse().expect("a slug"),
        id: EventId::mint(at, &random()),
        occurred_at: at,
        class: RetentionClass::Standard,
        action: Action::try_from(action.to_owned()).expect("an action"),
        severity: Severity::Info,
        outcome: Outcome::Success,
        reason: None,
        trust: Trust::Verified,
        actor: None,
        claimed_user: None,
        entity: None,
        request: RequestFacts {
            host: "app.example.com".to_owned(),
            method: "POST".to_owned(),
            route: "/".to_owned(),
            rule: "app/rule".to_owned(),
            status: Some(200),
            request_body: BodyState::Complete,
            response_body: BodyState::Complete,
        },
        context: Context::default(),
        details: None,
        changes: None,
        compliance: Vec::new(),
        duration_ms: Some(48),
        echo: false,
    }
}

fn entity((kind, id, name): (&str, &str, &str)) -> Entity {
    Entity {
        kind: EntityType::try_from(kind.to_owned()).expect("a type"),
        id: Some(id.to_owned()),
        name: Some(name.to_owned()),
    }
}

fn changed(fields: &Value) -> Option<ChangeSet> {
    Some(ChangeSet { quality: Quality::Exact, fields: JsonText::from(fields) })
}

/// Event `n` of a small team's work at a time.
pub fn work(at: DateTime<Utc>, n: usize) -> Event {
    let (action, what, method, route, severity) = DEEDS[(n * n + n / 3) % DEEDS.len()];
    let (person, ip, country) = PEOPLE[(n * 7 + n / 5) % PEOPLE.len()];
    let mut event = plain(at, action);
    event.severity = severity;
    event.class = RetentionClass::from(severity);
    event.actor = Some(Actor {
        id: format!("user-{person}"),
        email: Some(format!("{person}@example.com")),
        role: Some("authenticated".to_owned()),
        method: Some("password".to_owned()),
        ..Actor::default()
    });
    event.entity = what.map(entity);
    event.request.method = method.to_owned();
    event.request.route = route.to_owned();
    event.request.rule = format!("app/{}", action.to_lowercase().replace('_', "-"));
    event.context = Context {
        ip: Some(ip.parse().expect("an address")),
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64) Firefox/143.0".to_owned()),
        session: Some(format!("session-{person}")),
        place: Some(Place { country: Some(country.to_owned()), ..Place::default() }),
    };
    if n % 11 == 3 {
        event.outcome = Outcome::Failure;
        event.reason = Some("forbidden".to_owned());
        event.request.status = Some(403);
    } else if n % 37 == 5 {
        event.outcome = Outcome::Unknown;
        event.request.status = None;
    }
    if action == "AGENT_EXECUTED" {
        event.details = Some(JsonText::from(&json!({
            "execution_id": format!("run-{n}"), "execution_type": "workflow_pilot", "trigger": "manual",
            "raw_tokens": 366, "duration_ms": 1_103, "steps_completed": 3, "steps_failed": 0,
        })));
    }
    if event.outcome == Outcome::Success {
        event.changes = match action {
            "AGENT_UPDATED" => changed(&json!({
                "model": {"from": "gpt-4", "to": "gpt-5"},
                "temperature": {"from": 0.7, "to": 0.2},
                "plugins": {"added": ["slack", "crm"], "removed": ["gmail"]},
                "prompt": {"from": "Answer briefly.", "to": "Answer briefly, and name your sources."},
            })),
            "AGENT_STATUS_CHANGED" => changed(&json!({"status": {"from": "draft", "to": "active"}})),
            "CRM_CONTACT_UPDATED" => changed(&json!({"stage": {"from": "lead", "to": "customer"}})),
            _ => None,
        };
    }
    event
}

/// A failed login, of which nothing proves who it was.
fn failed_login(at: DateTime<Utc>) -> Event {
    let mut event = plain(at, "USER_LOGIN_FAILED");
    event.severity = Severity::Warning;
    event.class = RetentionClass::from(Severity::Warning);
    event.outcome = Outcome::Failure;
    event.reason = Some("invalid_credentials".to_owned());
    event.trust = Trust::Anonymous;
    event.claimed_user =
        Some(ClaimedUser { id: "alice@example.com".to_owned(), source: "body:/email".to_owned() });
    event.request.status = Some(400);
    event.context.ip = Some("192.0.2.66".parse().expect("an address"));
    event
}

/// An event in which every text that an application or a client can choose is hostile.
pub fn hostile(at: DateTime<Utc>) -> Event {
    let text = || HOSTILE.to_owned();
    let mut event = plain(at, "AGENT_UPDATED");
    event.reason = Some(text());
    event.outcome = Outcome::Failure;
    event.trust = Trust::Asserted;
    event.actor = Some(Actor {
        id: text(),
        email: Some(text()),
        role: Some(text()),
        aal: Some(text()),
        method: Some(text()),
    });
    event.claimed_user = Some(ClaimedUser { id: text(), source: text() });
    event.entity = Some(Entity { id: Some(text()), name: Some(text()), ..entity(("agent", "", "")) });
    event.request.host = text();
    event.request.method = text();
    event.request.route = text();
    event.request.rule = text();
    let place =
        Place { country: Some(text()), colo: Some(text()), ray: Some(text()), tls: Some(text()), asn: None };
    event.context.user_agent = Some(text());
    event.context.session = Some(text());
    event.context.place = Some(place);
    event.details = Some(JsonText::from(&json!({HOSTILE: HOSTILE})));
    event.changes = changed(&json!({
        HOSTILE: {"from": HOSTILE, "to": HOSTILE},
        "list": {"added": [HOSTILE], "removed": [HOSTILE]},
    }));
    event
}

/// A run in whose every text is hostile what can be.
pub fn hostile_run(at: DateTime<Utc>) -> Event {
    let action = Action::try_from("AGENT_EXECUTED".to_owned()).expect("an action");
    let details =
        json!({"error": HOSTILE, "trigger": HOSTILE, "execution_type": HOSTILE, "execution_id": HOSTILE});
    Event { action, details: Some(JsonText::from(&details)), changes: None, ..hostile(at) }
}

/// Three weeks, with a burst of failed logins some days ago.
pub fn weeks(now: DateTime<Utc>) -> Vec<Event> {
    let mut events: Vec<Event> = (0..240_usize)
        .map(|n| {
            let step = i64::try_from(n).expect("small");
            // Busier by day, and never quite even.
            work(now - TimeDelta::minutes(3 + step * 120 + (step * 37) % 90), n)
        })
        .collect();
    events.extend((0..34).map(|n| failed_login(now - TimeDelta::minutes(4 * 24 * 60 + n / 2))));
    events
}

/// What sends batches as the edge does.
pub struct Producer {
    key: SigningKey,
    stream: StreamId,
    seq: u64,
    prev: Hash,
}

impl Producer {
    pub fn new(key: SigningKey) -> Self {
        Self { key, stream: StreamId(random()), seq: 0, prev: [0; 32] }
    }

    /// Sends events and waits until they are stored.
    pub async fn send(&mut self, to: SocketAddr, events: &[Event]) {
        for batch in events.chunks(100) {
            let framed = self.seal(batch);
            let reply = post(to, &framed).await;
            assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
            assert!(reply.contains(&format!("\"stored\":{}", batch.len())), "{reply}");
        }
    }

    /// Signs a batch of events that never arrives.
    pub fn lose(&mut self, events: &[Event]) {
        self.seal(events);
    }

    /// What events about its stream name.
    pub fn entity(&self) -> String {
        format!("stream/{}", hex::encode(self.stream.0))
    }

    fn seal(&mut self, events: &[Event]) -> Vec<u8> {
        let openings: Vec<(Hash, Vec<u8>)> = events
            .iter()
            .map(|event| {
                let opening = event.to_opening(Seed(random()));
                (leaf::digest(&opening), opening.encode())
            })
            .collect();
        let header = Header {
            tenant: "demo".parse().expect("a slug"),
            stream: self.stream,
            seq: self.seq,
            prev: self.prev,
            sent: Timestamp::from(Utc::now()),
            count: u16::try_from(openings.len()).expect("few"),
            dropped: 0,
            events: events_hash(openings.iter().map(|(digest, _)| digest)),
        };
        self.seq += 1;
        self.prev = header.hash();
        let text = header.to_string();
        let pair = ed25519_dalek::SigningKey::from_bytes(&self.key.signer.seed);
        let signature = pair.sign(text.as_bytes()).to_bytes();
        let note = assemble(&text, &self.key.signer.name, self.key.signer.id, &signature);
        frame(&note, &encode_body(openings.iter().map(|(digest, bytes)| (digest, bytes.as_slice()))))
    }
}

async fn post(to: SocketAddr, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).await.expect("a listener");
    let head = format!(
        "POST /v1/batches HTTP/1.1\r\nhost: {to}\r\ncontent-type: application/vnd.edgetrail.batches\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("a connection");
    stream.write_all(body).await.expect("a connection");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("an answer");
    reply
}
