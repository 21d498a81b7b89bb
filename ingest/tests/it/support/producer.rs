//! A producer as the Worker is one: a stream, a chain of headers, signed notes.

use ed25519_dalek::{Signer as _, SigningKey};
use ingest::clock::random;
use shared::batch::{Header, StreamId, encode_body, events_hash, frame};
use shared::event::{
    Action, Actor, BodyState, Context, Entity, EntityType, Event, EventId, JsonText, Outcome, RequestFacts,
    RetentionClass, Severity, Timestamp, Trust,
};
use shared::leaf::{self, Hash, Seed};
use shared::note::{KeyName, SignerKey, VerifierKey, assemble};

pub(crate) struct Producer {
    name: KeyName,
    pair: SigningKey,
    pub(crate) stream: StreamId,
    pub(crate) seq: u64,
    pub(crate) prev: Hash,
    pub(crate) dropped: u64,
}

/// A batch, still open to damage.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub(crate) note: String,
    pub(crate) body: Vec<u8>,
}

impl Sealed {
    pub(crate) fn frame(&self) -> Vec<u8> {
        frame(&self.note, &self.body)
    }
}

impl Producer {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: KeyName::try_from(name.to_owned()).expect("a name"),
            pair: SigningKey::from_bytes(&random()),
            stream: StreamId(random()),
            seq: 0,
            prev: [0; 32],
            dropped: 0,
        }
    }

    /// Whoever holds a private key.
    pub(crate) fn of(key: &SignerKey) -> Self {
        let fresh = Self::new(key.name.as_str());
        Self { pair: SigningKey::from_bytes(&key.seed), ..fresh }
    }

    pub(crate) fn verifier(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), public: self.pair.verifying_key().to_bytes() }
    }

    /// Signs any text.
    pub(crate) fn sign(&self, text: &str) -> String {
        let signature = self.pair.sign(text.as_bytes()).to_bytes();
        assemble(text, &self.name, self.verifier().id(), &signature)
    }

    pub(crate) fn seal(&mut self, events: &[Event]) -> Sealed {
        let openings: Vec<Vec<u8>> =
            events.iter().map(|event| event.to_opening(Seed(random())).encode()).collect();
        self.seal_openings("demo", &openings)
    }

    /// Seals openings as they are, each under its true digest if it has one.
    pub(crate) fn seal_openings(&mut self, tenant: &str, openings: &[Vec<u8>]) -> Sealed {
        let digests: Vec<Hash> = openings
            .iter()
            .map(|bytes| leaf::Opening::decode(bytes).map_or([9; 32], |it| leaf::digest(&it)))
            .collect();
        let header = Header {
            tenant: super::tenant(tenant),
            stream: self.stream,
            seq: self.seq,
            prev: self.prev,
            sent: Timestamp::from(chrono::Utc::now()),
            count: u16::try_from(openings.len()).expect("few"),
            dropped: self.dropped,
            events: events_hash(&digests),
        };
        self.seq += 1;
        self.prev = header.hash();
        let pairs: Vec<_> = digests.iter().zip(openings.iter().map(Vec::as_slice)).collect();
        Sealed { note: self.sign(&header.to_string()), body: encode_body(pairs.into_iter()) }
    }
}

/// An event of tenant `demo`, number `n`: newer with every number.
pub(crate) fn sample(n: u64) -> Event {
    let now = Timestamp::from(chrono::Utc::now()).millis();
    let at = Timestamp::try_from(now - 600_000 + n).expect("a time");
    let word = |text: &str| Action::try_from(text.to_owned()).expect("an action");
    let severity = Severity::ALL[usize::try_from(n % 3).expect("small")];
    Event {
        tenant: super::tenant("demo"),
        id: EventId::mint(at, &random()),
        occurred_at: at,
        class: RetentionClass::from(severity),
        action: word(if n.is_multiple_of(2) { "AGENT_CREATED" } else { "USER_LOGIN" }),
        severity,
        outcome: if n.is_multiple_of(5) { Outcome::Failure } else { Outcome::Success },
        reason: None,
        trust: Trust::Verified,
        actor: Some(Actor {
            id: format!("user-{}", n % 4),
            email: Some(format!("user{}@example.com", n % 4)),
            ..Actor::default()
        }),
        claimed_user: None,
        entity: Some(Entity {
            kind: EntityType::try_from("agent".to_owned()).expect("a type"),
            id: Some(n.to_string()),
            name: Some(format!("Agent {n}")),
        }),
        request: RequestFacts {
            host: "app.example.com".to_owned(),
            method: "POST".to_owned(),
            route: "/api/agents".to_owned(),
            rule: "app/agent-create".to_owned(),
            status: Some(201),
            request_body: BodyState::Complete,
            response_body: BodyState::Complete,
        },
        context: Context {
            ip: Some("203.0.113.7".parse().expect("an address")),
            user_agent: Some("test".to_owned()),
            session: Some("session-1".to_owned()),
            place: None,
        },
        details: Some(JsonText::from(&serde_json::json!({"n": n}))),
        changes: None,
        compliance: Vec::new(),
        duration_ms: Some(12),
        echo: false,
    }
}

/// An event of tenant `demo` at a time, number `n`.
pub(crate) fn sample_at(at: chrono::DateTime<chrono::Utc>, n: u64) -> Event {
    let mut event = sample(n);
    event.occurred_at = Timestamp::try_from(Timestamp::from(at).millis() + n).expect("a time");
    event.id = EventId::mint(event.occurred_at, &random());
    event
}

/// What the edge counted on a host: method, folded path, whether rules know it, requests.
pub(crate) fn counts(n: u64, host: &str, routes: &[(&str, &str, bool, i64)], overflow: i64) -> Event {
    let mut event = sample(n);
    let at = event.occurred_at.millis();
    let routes: Vec<_> = routes
        .iter()
        .map(|(method, route, mapped, count)| {
            serde_json::json!([method, route, mapped, count, at - 1000, at])
        })
        .collect();
    event.action = Action::try_from("COVERAGE_RECORDED".to_owned()).expect("an action");
    event.trust = Trust::System;
    event.request.rule = "edge/coverage".to_owned();
    event.details = Some(JsonText::from(&serde_json::json!({
        "since_ms": at - 1000, "until_ms": at, "host": host, "resets": 0, "overflow": overflow, "routes": routes,
    })));
    event
}

/// A mutating request that no rule named.
pub(crate) fn unmapped(n: u64, method: &str, route: &str) -> Event {
    let mut event = sample(n);
    event.action = Action::try_from("UNMAPPED_MUTATION".to_owned()).expect("an action");
    event.request.rule = "edge/unmapped".to_owned();
    event.request.method = method.to_owned();
    event.request.route = route.to_owned();
    event.entity = Some(Entity {
        kind: EntityType::try_from("route".to_owned()).expect("a type"),
        id: Some(route.to_owned()),
        name: None,
    });
    event.details = None;
    event
}
