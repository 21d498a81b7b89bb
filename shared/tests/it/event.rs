//! Events as openings and back.

use proptest::prelude::*;
use shared::event::{
    Action, ComplianceFlag, EntityType, Event, EventError, EventId, JsonText, Outcome, RetentionClass,
    Severity, TenantId, Timestamp,
};
use shared::leaf::{Field, FieldKind, Opening, Seed, Tag, digest};

use crate::arbitrary::{self, LAST_MS};
use crate::vectors::{self, array, bytes, list, text};

/// The fullest of the pinned events.
fn full() -> Event {
    let all = vectors::leaf();
    vectors::event(&list(&all["events"])[1]["event"])
}

fn opening() -> Opening {
    full().to_opening(Seed([1; 32]))
}

/// The opening with a field's value rewritten, or the field added, or dropped for none.
fn with(tag: Tag, value: Option<Vec<u8>>) -> Opening {
    let opening = opening();
    let mut fields = opening.fields().to_vec();
    let kind = opening.field(tag).map_or(FieldKind::Text, |field| field.kind);
    fields.retain(|field| field.tag != tag);
    fields.extend(value.map(|value| Field { tag, kind, value }));
    Opening::new(*opening.seed(), fields)
}

/// The opening with one part of a record rewritten, or dropped for none.
fn with_part(tag: Tag, number: u8, value: Option<&[u8]>) -> Opening {
    let record = opening().field(tag).expect("a record").value.clone();
    let mut parts: std::collections::BTreeMap<u8, Vec<u8>> = std::collections::BTreeMap::new();
    let mut rest = &record[..];
    while let [part, high, low, after @ ..] = rest {
        let (value, after) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        parts.insert(*part, value.to_vec());
        rest = after;
    }
    match value {
        Some(value) => parts.insert(number, value.to_vec()),
        None => parts.remove(&number),
    };
    let write = |(part, value): (u8, Vec<u8>)| {
        let len = u16::try_from(value.len()).expect("short");
        [&[part][..], &len.to_be_bytes(), &value].concat()
    };
    with(tag, Some(parts.into_iter().flat_map(write).collect()))
}

fn refusal(opening: &Opening) -> String {
    Event::from_opening(opening).expect_err("it should be refused").to_string()
}

#[test]
fn the_bytes_of_whole_events_are_pinned() {
    let all = vectors::leaf();
    for vector in list(&all["events"]) {
        let name = text(&vector["name"]);
        let event = vectors::event(&vector["event"]);
        let opening = event.to_opening(Seed(array(&vector["seed"])));
        assert_eq!(hex::encode(opening.encode()), text(&vector["opening"]), "{name}");
        assert_eq!(digest(&opening), array(&vector["digest"]), "{name}");
        let opening = Opening::decode(&bytes(&vector["opening"])).expect("an opening");
        assert_eq!(Event::from_opening(&opening), Ok(event), "{name}");
    }
}

#[test]
fn json_is_kept_as_the_text_it_was() {
    let event = Event::from_opening(&opening()).expect("an event");
    let details = event.details.expect("details");
    assert_eq!(details.as_str(), r#"{"b": 1.0, "a":[12,"12"]}"#);
}

#[test]
fn an_unknown_part_of_the_structure_is_skipped_when_read_and_kept_in_the_bytes() {
    let newer = with_part(Tag::STRUCTURE, 200, Some(b"from a later version"));
    assert_eq!(Event::from_opening(&newer), Ok(full()));
    let again = Opening::decode(&newer.encode()).expect("an opening");
    assert_eq!(digest(&again), digest(&newer));
    assert_ne!(digest(&newer), digest(&opening()));
}

#[test]
fn an_unknown_field_is_skipped_when_read_and_kept_in_the_bytes() {
    let newer = with(Tag::from_number(0x80ff), Some(b"later".to_vec()));
    assert_eq!(Event::from_opening(&newer), Ok(full()));
    assert!(newer.encode().ends_with(b"later"));
}

#[test]
fn an_event_stays_readable_when_every_erasable_field_is_erased() {
    let whole = opening();
    let kept = whole.fields().iter().filter(|field| !field.tag.is_erasable());
    let erased = Opening::new(*whole.seed(), kept.cloned().collect());
    let event = Event::from_opening(&erased).expect("still an event");
    assert_eq!(event.action, full().action);
    assert_eq!((event.actor, event.details, event.changes), (None, None, None));
    let entity = event.entity.expect("the type is structural");
    assert_eq!((entity.id, entity.name), (None, None));
}

#[test]
fn a_missing_part_is_named() {
    let parts = [
        (1, "tenant"),
        (2, "id"),
        (3, "occurred_at"),
        (4, "action"),
        (5, "severity"),
        (6, "outcome"),
        (7, "trust"),
        (8, "class"),
        (10, "change quality"),
        (13, "host"),
        (14, "method"),
        (15, "route"),
        (16, "rule"),
    ];
    for (number, name) in parts {
        let without = with_part(Tag::STRUCTURE, number, None);
        assert_eq!(Event::from_opening(&without), Err(EventError::Missing(name)));
    }
    let without = with_part(Tag::CLAIMED_USER, 2, None);
    assert_eq!(Event::from_opening(&without), Err(EventError::Missing("claim source")));
    let without = with(Tag::STRUCTURE, None);
    assert_eq!(Event::from_opening(&without), Err(EventError::Missing("structure")));
}

#[test]
fn a_malformed_part_is_named() {
    let parts: [(u8, &[u8], &str); 17] = [
        (1, b"Acme", "tenant"),
        (2, &[0; 16], "id"),
        (2, &[0; 15], "id"),
        (3, &[255; 8], "occurred_at"),
        (3, &[0; 4], "occurred_at"),
        (4, b"lower", "action"),
        (5, &[0], "severity"),
        (6, &[4], "outcome"),
        (7, &[9], "trust"),
        (8, &[3], "class"),
        (8, &[], "class"),
        (9, b"Agent", "entity type"),
        (10, &[0], "change quality"),
        (11, b"", "compliance"),
        (12, &[0; 3], "duration"),
        (17, &[200], "status"),
        (18, &[4, 0], "request body"),
    ];
    for (number, value, name) in parts {
        let message = refusal(&with_part(Tag::STRUCTURE, number, Some(value)));
        assert!(message.starts_with(&format!("{name} is malformed: ")), "{message}");
    }
    for (tag, value, name) in [
        (Tag::IP, &b"300.1.1.1"[..], "ip"),
        (Tag::SESSION, b"\xff", "session"),
        (Tag::DETAILS, b"{", "details"),
        (Tag::CHANGES, b"", "changes"),
        (Tag::ACTOR, &[1, 0], "actor"),
        (Tag::PLACE, &[1, 0, 9, 0], "place"),
        (Tag::TARGET, &[2, 0, 0, 1, 0, 0], "target"),
        (Tag::CLAIMED_USER, &[1, 0, 0, 1, 0, 0], "claimed user"),
    ] {
        let message = refusal(&with(tag, Some(value.to_vec())));
        assert!(message.starts_with(&format!("{name} is malformed: ")), "{message}");
    }
}

#[test]
fn a_field_of_another_type_is_refused() {
    for (tag, kind, name) in [
        (Tag::STRUCTURE, FieldKind::Json, "structure"),
        (Tag::ACTOR, FieldKind::Text, "actor"),
        (Tag::IP, FieldKind::Json, "ip"),
        (Tag::DETAILS, FieldKind::Text, "details"),
        (Tag::CHANGES, FieldKind::Record, "changes"),
    ] {
        let opening = opening();
        let mut fields = opening.fields().to_vec();
        fields.iter_mut().filter(|field| field.tag == tag).for_each(|field| field.kind = kind);
        let message = refusal(&Opening::new(*opening.seed(), fields));
        assert!(message.starts_with(&format!("{name} is malformed: its type is")), "{message}");
    }
}

#[test]
fn text_that_no_index_could_hold_is_refused() {
    let longest = "a".repeat(shared::batch::MAX_TEXT_LEN);
    assert!(Event::from_opening(&with(Tag::SESSION, Some(longest.clone().into_bytes()))).is_ok());
    let over = format!("{longest}a").into_bytes();
    assert!(refusal(&with(Tag::SESSION, Some(over.clone()))).contains("over the limit"));
    assert!(refusal(&with_part(Tag::TARGET, 1, Some(&over))).contains("over the limit"));
}

#[test]
fn parts_of_a_record_out_of_order_or_repeated_are_refused() {
    for record in [&[2, 0, 1, b'a', 1, 0, 1, b'b'][..], &[1, 0, 1, b'a', 1, 0, 1, b'b']] {
        assert!(refusal(&with(Tag::TARGET, Some(record.to_vec()))).contains("out of order"));
    }
}

#[test]
fn text_with_a_nul_is_refused_everywhere() {
    for tag in [Tag::USER_AGENT, Tag::SESSION, Tag::DETAILS] {
        assert!(refusal(&with(tag, Some(b"\"a\0\"".to_vec()))).contains("is malformed"));
    }
    for (tag, part) in [(Tag::ACTOR, 2), (Tag::TARGET, 2), (Tag::PLACE, 3), (Tag::STRUCTURE, 15)] {
        assert!(refusal(&with_part(tag, part, Some(b"a\0b"))).contains("NUL"));
    }
}

#[test]
fn json_that_cannot_be_read_as_a_value_is_refused() {
    let deep = "[".repeat(1000) + &"]".repeat(1000);
    for text in ["", "{", "nul", "{} {}", r#""\ud800""#, "1e999", &deep] {
        assert!(JsonText::try_from(text.to_owned()).is_err(), "{text:.20}");
    }
}

#[test]
fn tenants_are_slugs() {
    let longest = "a".repeat(63);
    for slug in ["a", "0", "acme-2", "a--", &longest] {
        assert!(slug.parse::<TenantId>().is_ok(), "{slug}");
    }
    for slug in ["", "-a", "A", "a_b", "a.b", "ä", " a", &"a".repeat(64)] {
        assert!(slug.parse::<TenantId>().is_err(), "{slug}");
    }
}

#[test]
fn words_have_the_shape_their_rule_names() {
    assert!(Action::try_from("A_9".to_owned()).is_ok());
    assert!(EntityType::try_from("a_9".to_owned()).is_ok());
    assert!(ComplianceFlag::try_from("SOC2".to_owned()).is_ok());
    for word in ["", "Ä", "A-B", "A B", "A,B", &"A".repeat(65)] {
        assert!(Action::try_from(word.to_owned()).is_err(), "{word}");
        assert!(EntityType::try_from(word.to_lowercase()).is_err(), "{word}");
        assert!(ComplianceFlag::try_from(word.to_owned()).is_err(), "{word}");
    }
}

#[test]
fn ids_hold_the_time_they_were_minted_at() {
    let at = Timestamp::try_from(1_795_400_000_123).expect("in range");
    let id = EventId::mint(at, &[255; 10]);
    assert_eq!(id.to_string(), "01a2062d-e27b-7fff-bfff-ffffffffffff");
    assert!(EventId::try_from(uuid::Uuid::nil()).is_err());
}

#[test]
fn time_ends_with_the_year_9999() {
    let last = Timestamp::try_from(LAST_MS).expect("the last");
    assert_eq!(last.to_string(), "9999-12-31T23:59:59.999Z");
    assert!(Timestamp::try_from(LAST_MS + 1).is_err());
    assert_eq!(Timestamp::from(chrono::DateTime::<chrono::Utc>::MIN_UTC).millis(), 0);
    assert_eq!(Timestamp::from(chrono::DateTime::<chrono::Utc>::MAX_UTC), last);
}

#[test]
fn closed_sets_read_their_own_bytes_and_words() {
    for class in RetentionClass::ALL {
        assert_eq!(RetentionClass::from_byte(class.byte()), Some(*class));
        assert_eq!(class.word().parse(), Ok(*class));
    }
    let error = "maybe".parse::<Outcome>().expect_err("no such word");
    assert_eq!(error, r#""maybe" is not one of success, failure, unknown"#);
}

#[test]
fn only_critical_events_are_kept_seven_years() {
    let classes = [Severity::Info, Severity::Warning, Severity::Critical].map(RetentionClass::from);
    assert_eq!(classes, [RetentionClass::Standard, RetentionClass::Standard, RetentionClass::Critical]);
}

proptest! {
    #[test]
    fn an_event_survives_its_opening(event in arbitrary::event(), seed in arbitrary::seed()) {
        let bytes = event.to_opening(seed).encode();
        let opening = Opening::decode(&bytes).expect("its own bytes");
        prop_assert_eq!(Event::from_opening(&opening), Ok(event));
    }

    #[test]
    fn damage_to_an_event_is_refused_or_changes_its_digest(
        event in arbitrary::event(), at: prop::sample::Index, flip in 1_u8..,
    ) {
        let opening = event.to_opening(Seed([1; 32]));
        let mut bytes = opening.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(damaged) = Opening::decode(&bytes) {
            prop_assert_ne!(digest(&damaged), digest(&opening));
            // Whatever it says now, reading it does not panic, and reading it twice says the same.
            prop_assert_eq!(Event::from_opening(&damaged), Event::from_opening(&damaged));
        }
    }
}
