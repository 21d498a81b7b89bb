//! Arbitrary values of the domain.

use std::net::IpAddr;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use shared::batch::{Header, StreamId};
use shared::event::{
    Action, Actor, BodyState, ChangeSet, ClaimedUser, ComplianceFlag, Context, Entity, EntityType, Event,
    EventId, JsonText, Outcome, Place, Quality, RequestFacts, RetentionClass, Severity, TenantId, Timestamp,
    Trust,
};
use shared::leaf::{Field, FieldKind, Opening, Seed, Tag};

/// The last millisecond of the year 9999.
pub(crate) const LAST_MS: u64 = 253_402_300_799_999;

/// Any text an event may hold: no NUL.
fn words() -> impl Strategy<Value = String> {
    "[^\u{0}]{0,24}"
}

pub(crate) fn seed() -> impl Strategy<Value = Seed> {
    any::<[u8; 32]>().prop_map(Seed)
}

pub(crate) fn opening() -> impl Strategy<Value = Opening> {
    let kind = select(vec![FieldKind::Text, FieldKind::Json, FieldKind::Record]);
    let fields = btree_map(any::<u16>(), (kind, vec(any::<u8>(), 0..40)), 0..12);
    (seed(), fields).prop_map(|(seed, fields)| {
        let fields = fields
            .into_iter()
            .map(|(tag, (kind, value))| Field { tag: Tag::from_number(tag), kind, value })
            .collect();
        Opening::new(seed, fields)
    })
}

pub(crate) fn timestamp() -> impl Strategy<Value = Timestamp> {
    (0..=LAST_MS).prop_map(|ms| Timestamp::try_from(ms).expect("in range"))
}

pub(crate) fn tenant() -> impl Strategy<Value = TenantId> {
    "[a-z0-9][a-z0-9-]{0,62}".prop_map(|slug| slug.parse().expect("a slug"))
}

pub(crate) fn class() -> impl Strategy<Value = RetentionClass> {
    select(RetentionClass::ALL)
}

fn json() -> impl Strategy<Value = JsonText> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        words().prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            btree_map(words(), inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
    .prop_map(|value| JsonText::from(&value))
}

fn actor() -> impl Strategy<Value = Actor> {
    let one = || of(words());
    (words(), one(), one(), one(), one()).prop_map(|(id, email, role, aal, method)| Actor {
        id,
        email,
        role,
        aal,
        method,
    })
}

fn entity() -> impl Strategy<Value = Entity> {
    ("[a-z0-9_]{1,64}", of(words()), of(words())).prop_map(|(kind, id, name)| Entity {
        kind: EntityType::try_from(kind).expect("an entity type"),
        id,
        name,
    })
}

fn place() -> impl Strategy<Value = Place> {
    let one = || of(words());
    (one(), one(), one(), one(), one()).prop_map(|(country, colo, ray, tls, asn)| Place {
        country,
        colo,
        ray,
        tls,
        asn,
    })
}

fn context() -> impl Strategy<Value = Context> {
    (of(any::<IpAddr>()), of(words()), of(words()), of(place()))
        .prop_map(|(ip, user_agent, session, place)| Context { ip, user_agent, session, place })
}

fn request() -> impl Strategy<Value = RequestFacts> {
    let body = || select(BodyState::ALL);
    let texts = (words(), words(), words(), words());
    (texts, of(any::<u16>()), body(), body()).prop_map(
        |((host, method, route, rule), status, request_body, response_body)| RequestFacts {
            host,
            method,
            route,
            rule,
            status,
            request_body,
            response_body,
        },
    )
}

fn changes() -> impl Strategy<Value = ChangeSet> {
    (select(Quality::ALL), json()).prop_map(|(quality, fields)| ChangeSet { quality, fields })
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let claimed = (words(), words()).prop_map(|(id, source)| ClaimedUser { id, source });
    let head = (tenant(), timestamp(), any::<[u8; 10]>(), class(), "[A-Z0-9_]{1,64}");
    let judged = (select(Severity::ALL), select(Outcome::ALL), select(Trust::ALL), of(words()));
    let who = (of(actor()), of(claimed), of(entity()), context());
    let what = (request(), of(json()), of(changes()));
    let rest = (btree_set("[A-Z0-9]{1,16}", 0..4), of(any::<u32>()), any::<bool>());
    (head, judged, who, what, rest).prop_map(|(head, judged, who, what, rest)| {
        let (tenant, occurred_at, random, class, action) = head;
        let (severity, outcome, trust, reason) = judged;
        let (actor, claimed_user, entity, context) = who;
        let (request, details, changes) = what;
        let (compliance, duration_ms, echo) = rest;
        Event {
            tenant,
            id: EventId::mint(occurred_at, &random),
            occurred_at,
            class,
            action: Action::try_from(action).expect("an action"),
            severity,
            outcome,
            reason,
            trust,
            actor,
            claimed_user,
            entity,
            request,
            context,
            details,
            changes,
            compliance: compliance
                .into_iter()
                .map(|flag| ComplianceFlag::try_from(flag).expect("a flag"))
                .collect(),
            duration_ms,
            echo,
        }
    })
}

pub(crate) fn header() -> impl Strategy<Value = Header> {
    let number = || 0..=i64::MAX.unsigned_abs();
    let hashes = (any::<[u8; 16]>(), any::<[u8; 32]>(), any::<[u8; 32]>());
    (tenant(), hashes, number(), timestamp(), 1..=100_u16, number()).prop_map(
        |(tenant, (stream, prev, events), seq, sent, count, dropped)| Header {
            tenant,
            stream: StreamId(stream),
            seq,
            prev: if seq == 0 { [0; 32] } else { prev },
            sent,
            count,
            dropped,
            events,
        },
    )
}
