//! Reading the committed vectors.

use serde_json::Value;
use shared::event::{
    Action, Actor, ChangeSet, ClaimedUser, ComplianceFlag, Context, Entity, EntityType, Event, EventId,
    JsonText, Place, RequestFacts, TenantId, Timestamp,
};
use shared::leaf::{Field, FieldKind, Tag};

pub(crate) fn leaf() -> Value {
    serde_json::from_str(include_str!("../vectors/leaf.json")).expect("leaf.json is JSON")
}

pub(crate) fn batch() -> Value {
    serde_json::from_str(include_str!("../vectors/batch.json")).expect("batch.json is JSON")
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).expect("hex")
}

pub(crate) fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().expect("the right length")
}

pub(crate) fn word<T: std::str::FromStr>(value: &Value) -> T {
    text(value).parse().unwrap_or_else(|_| panic!("{value} is not understood"))
}

pub(crate) fn field(value: &Value) -> Field {
    let tag = text(&value["tag"]).trim_start_matches("0x");
    Field {
        tag: Tag::from_number(u16::from_str_radix(tag, 16).expect("a tag in hex")),
        kind: match text(&value["type"]) {
            "text" => FieldKind::Text,
            "json" => FieldKind::Json,
            "record" => FieldKind::Record,
            other => panic!("type {other}"),
        },
        value: bytes(&value["value"]),
    }
}

/// An event from its words. It names every part by itself, so that a renamed or forgotten one is noticed.
pub(crate) fn event(words: &Value) -> Event {
    let maybe = |value: &Value| value.as_str().map(str::to_owned);
    let some = |name: &str| words.get(name).filter(|value| !value.is_null());
    let request = &words["request"];
    let context = &words["context"];
    Event {
        tenant: text(&words["tenant"]).parse::<TenantId>().expect("a tenant"),
        id: EventId::try_from(word::<uuid::Uuid>(&words["id"])).expect("version 7"),
        occurred_at: Timestamp::try_from(number(&words["occurred_at"])).expect("a time"),
        class: word(&words["class"]),
        action: Action::try_from(text(&words["action"]).to_owned()).expect("an action"),
        severity: word(&words["severity"]),
        outcome: word(&words["outcome"]),
        reason: maybe(&words["reason"]),
        trust: word(&words["trust"]),
        actor: some("actor").map(|actor| Actor {
            id: text(&actor["id"]).to_owned(),
            email: maybe(&actor["email"]),
            role: maybe(&actor["role"]),
            aal: maybe(&actor["aal"]),
            method: maybe(&actor["method"]),
        }),
        claimed_user: some("claimed_user").map(|claimed| ClaimedUser {
            id: text(&claimed["id"]).to_owned(),
            source: text(&claimed["source"]).to_owned(),
        }),
        entity: some("entity").map(|entity| Entity {
            kind: EntityType::try_from(text(&entity["type"]).to_owned()).expect("an entity type"),
            id: maybe(&entity["id"]),
            name: maybe(&entity["name"]),
        }),
        request: RequestFacts {
            host: text(&request["host"]).to_owned(),
            method: text(&request["method"]).to_owned(),
            route: text(&request["route"]).to_owned(),
            rule: text(&request["rule"]).to_owned(),
            status: request.get("status").map(|status| u16::try_from(number(status)).expect("a status")),
            request_body: word(&request["request_body"]),
            response_body: word(&request["response_body"]),
        },
        context: Context {
            ip: context.get("ip").map(word),
            user_agent: maybe(&context["user_agent"]),
            session: maybe(&context["session"]),
            place: context.get("place").map(|place| Place {
                country: maybe(&place["country"]),
                colo: maybe(&place["colo"]),
                ray: maybe(&place["ray"]),
                tls: maybe(&place["tls"]),
                asn: maybe(&place["asn"]),
            }),
        },
        details: some("details").map(|json| JsonText::try_from(text(json).to_owned()).expect("JSON")),
        changes: some("changes").map(|changes| ChangeSet {
            quality: word(&changes["quality"]),
            fields: JsonText::try_from(text(&changes["fields"]).to_owned()).expect("JSON"),
        }),
        compliance: list(&words["compliance"])
            .iter()
            .map(|flag| ComplianceFlag::try_from(text(flag).to_owned()).expect("a flag"))
            .collect(),
        duration_ms: some("duration_ms").map(|ms| u32::try_from(number(ms)).expect("a duration")),
        echo: false,
    }
}
