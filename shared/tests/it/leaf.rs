//! Commitments, digests, entries and the bytes of openings.

use proptest::prelude::*;
use shared::leaf::{
    ENTRY_LEN, Field, FieldKind, Opening, OpeningError, Salts, Seed, StoredOpening, Tag, commit, digest,
    digest_of_commitments, entry,
};
use shared::tree::leaf_hash;

use crate::arbitrary;
use crate::vectors::{self, array, bytes, field, list, number, text, word};

fn text_field(tag: Tag, value: &str) -> Field {
    Field { tag, kind: FieldKind::Text, value: value.into() }
}

fn salted(seed: &Seed, field: &Field) -> [u8; 32] {
    commit(&Salts::of(seed).salt(field.tag), field)
}

#[test]
fn every_salt_commitment_digest_entry_and_leaf_hash_is_pinned() {
    let all = vectors::leaf();
    let leaves = list(&all["leaves"]).iter().chain(list(&all["events"]));
    for vector in leaves {
        let name = text(&vector["name"]);
        let seed = Seed(array(&vector["seed"]));
        for part in list(&vector["fields"]) {
            let field = field(part);
            assert_eq!(Salts::of(&seed).salt(field.tag), array(&part["salt"]), "{name}");
            assert_eq!(salted(&seed, &field), array(&part["commitment"]), "{name}");
        }
        let fields = list(&vector["fields"]).iter().map(field).collect();
        let opening = Opening::new(seed, fields);
        assert_eq!(opening.encode(), bytes(&vector["opening"]), "{name}");
        assert_eq!(digest(&opening), array(&vector["digest"]), "{name}");
        let class = word(&vector["class"]);
        let entry = entry(class, number(&vector["received_ms"]), &digest(&opening));
        assert_eq!(entry.to_vec(), bytes(&vector["entry"]), "{name}");
        assert_eq!(leaf_hash(&entry), array(&vector["leaf_hash"]), "{name}");
    }
}

#[test]
fn the_type_bytes_are_one_to_three() {
    let kinds = [FieldKind::Text, FieldKind::Json, FieldKind::Record];
    assert_eq!(kinds.map(FieldKind::byte), [1, 2, 3]);
}

#[test]
fn the_same_value_under_two_seeds_has_two_commitments() {
    let field = text_field(Tag::IP, "192.0.2.7");
    assert_ne!(salted(&Seed([1; 32]), &field), salted(&Seed([2; 32]), &field));
}

#[test]
fn two_fields_of_one_event_have_independent_salts() {
    let seed = Seed([1; 32]);
    assert_ne!(Salts::of(&seed).salt(Tag::IP), Salts::of(&seed).salt(Tag::SESSION));
    let ip = salted(&seed, &text_field(Tag::IP, "same"));
    assert_ne!(ip, salted(&seed, &text_field(Tag::SESSION, "same")));
}

#[test]
fn text_and_json_of_the_same_bytes_differ() {
    let text = text_field(Tag::DETAILS, "12");
    let json = Field { kind: FieldKind::Json, ..text.clone() };
    let seed = Seed([1; 32]);
    assert_ne!(salted(&seed, &text), salted(&seed, &json));
}

#[test]
fn an_empty_value_and_an_absent_field_differ() {
    let seed = Seed([1; 32]);
    let session = text_field(Tag::SESSION, "s");
    let absent = Opening::new(seed, vec![session.clone()]);
    let empty = Opening::new(seed, vec![session, text_field(Tag::USER_AGENT, "")]);
    assert_ne!(digest(&absent), digest(&empty));
    assert_eq!(absent.field(Tag::USER_AGENT), None);
    assert!(empty.field(Tag::USER_AGENT).is_some());
}

#[test]
fn text_that_moves_from_one_field_to_the_next_changes_the_digest() {
    let of = |agent, session| {
        digest(&Opening::new(
            Seed([1; 32]),
            vec![text_field(Tag::USER_AGENT, agent), text_field(Tag::SESSION, session)],
        ))
    };
    assert_ne!(of("ab", "c"), of("a", "bc"));
}

#[test]
fn an_erased_field_leaves_the_digest_verifiable_from_its_commitment() {
    let fields = vec![text_field(Tag::IP, "192.0.2.7"), text_field(Tag::SESSION, "s")];
    let opening = Opening::new(Seed([9; 32]), fields);
    // What an erasure keeps: the commitment of the erased field, an explicit salt of the other, and no seed.
    let erased = salted(opening.seed(), &opening.fields()[0]);
    let kept_salt = Salts::of(opening.seed()).salt(Tag::SESSION);
    let kept = commit(&kept_salt, &text_field(Tag::SESSION, "s"));
    let again = digest_of_commitments(&[(Tag::IP, erased), (Tag::SESSION, kept)]);
    assert_eq!(again, digest(&opening));
}

#[test]
fn an_entry_is_42_bytes_and_names_class_and_time_in_clear() {
    let all = vectors::leaf();
    for vector in list(&all["leaves"]) {
        let entry = bytes(&vector["entry"]);
        assert_eq!(entry.len(), ENTRY_LEN);
        assert_eq!(entry[0], 1);
        assert_eq!(entry[2..10], number(&vector["received_ms"]).to_be_bytes());
        assert_eq!(entry[10..], bytes(&vector["digest"]));
    }
}

#[test]
fn a_tag_is_erasable_from_0x8000_on() {
    assert!(!Tag::from_number(0x7fff).is_erasable());
    assert!(Tag::from_number(0x8000).is_erasable());
    assert!(!Tag::STRUCTURE.is_erasable());
}

#[test]
fn a_seed_is_not_printed() {
    assert_eq!(format!("{:?}", Seed([7; 32])), "Seed(..)");
}

#[test]
fn fields_given_in_any_order_are_the_same_opening() {
    let (ip, session) = (text_field(Tag::IP, "::1"), text_field(Tag::SESSION, "s"));
    let one = Opening::new(Seed([1; 32]), vec![ip.clone(), session.clone()]);
    assert_eq!(one, Opening::new(Seed([1; 32]), vec![session, ip]));
}

#[test]
fn malformed_openings_are_refused_with_the_reason() {
    let header = |count: u8| [&[1][..], &[0; 32], &[count]].concat();
    let with = |count: u8, rest: &[u8]| Opening::decode(&[&header(count)[..], rest].concat());
    let ip = [0x80, 4, 1, 0, 0, 0, 0];
    assert_eq!(Opening::decode(&[]), Err(OpeningError::Cut("version")));
    assert_eq!(Opening::decode(&[2]), Err(OpeningError::Version(2)));
    assert_eq!(Opening::decode(&[1, 0]), Err(OpeningError::Cut("seed")));
    assert_eq!(Opening::decode(&header(0)[..33]), Err(OpeningError::Cut("field count")));
    assert_eq!(with(1, &[0x80]), Err(OpeningError::Cut("tag")));
    assert_eq!(with(1, &ip[..2]), Err(OpeningError::Cut("type")));
    assert_eq!(with(1, &ip[..6]), Err(OpeningError::Cut("length")));
    assert_eq!(with(1, &[0x80, 4, 1, 255, 255, 255, 255, 0]), Err(OpeningError::Cut("value")));
    assert_eq!(with(1, &[&ip[..], &[7]].concat()), Err(OpeningError::Trailing(1)));
    assert_eq!(with(1, &[0x80, 4, 9, 0, 0, 0, 0]), Err(OpeningError::Kind { tag: 0x8004, kind: 9 }));
    for second in [ip, [0, 1, 1, 0, 0, 0, 0]] {
        let tag = u16::from_be_bytes([second[0], second[1]]);
        let fields = [ip, second].concat();
        assert_eq!(with(2, &fields), Err(OpeningError::Order(tag)));
    }
}

proptest! {
    #[test]
    fn an_opening_survives_its_bytes(opening in arbitrary::opening()) {
        prop_assert_eq!(Opening::decode(&opening.encode()), Ok(opening));
    }

    #[test]
    fn an_opening_has_no_second_encoding(opening in arbitrary::opening(), at: prop::sample::Index, to: u8) {
        let mut bytes = opening.encode();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(read) = Opening::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }

    #[test]
    fn any_changed_byte_changes_the_digest_or_is_refused(
        opening in arbitrary::opening(), at: prop::sample::Index, flip in 1_u8..,
    ) {
        let mut bytes = opening.encode();
        // A seed under an event without fields salts nothing.
        prop_assume!(!opening.fields().is_empty());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(read) = Opening::decode(&bytes) {
            prop_assert_ne!(digest(&read), digest(&opening));
        }
    }

    #[test]
    fn a_cut_opening_is_refused(opening in arbitrary::opening(), at: prop::sample::Index) {
        let bytes = opening.encode();
        let cut = Opening::decode(&bytes[..at.index(bytes.len())]);
        prop_assert!(matches!(cut, Err(OpeningError::Cut(_))), "{:?}", cut);
    }
}

#[test]
fn every_changed_byte_of_every_pinned_value_changes_the_digest() {
    let all = vectors::leaf();
    for vector in list(&all["events"]) {
        let opening = Opening::decode(&bytes(&vector["opening"])).expect("a pinned opening");
        let was = digest(&opening);
        for (at, field) in opening.fields().iter().enumerate() {
            for byte in 0..field.value.len() {
                let mut fields = opening.fields().to_vec();
                fields[at].value[byte] ^= 0x20;
                let changed = Opening::new(*opening.seed(), fields);
                assert_ne!(digest(&changed), was, "field {at} byte {byte}");
            }
        }
    }
}

proptest! {
    #[test]
    fn erasing_fields_leaves_the_digest_and_neither_values_nor_seed(
        opening in arbitrary::opening(),
        first in proptest::collection::vec(any::<proptest::sample::Index>(), 1..4),
        second in any::<proptest::sample::Index>(),
    ) {
        let tags: Vec<Tag> = opening.fields().iter().map(|field| field.tag).collect();
        prop_assume!(!tags.is_empty());
        let whole = StoredOpening::Whole(opening.clone());
        let wanted: Vec<Tag> = first.iter().map(|at| *at.get(&tags)).collect();
        let mut stored = whole.clone();
        for step in [wanted.as_slice(), &[*second.get(&tags)]] {
            if let Some(remnant) = stored.erase(step) {
                stored = StoredOpening::Remnant(remnant);
            }
        }
        let gone: Vec<Tag> = tags.iter().copied().filter(|tag| tag.is_erasable() && (wanted.contains(tag) || second.get(&tags) == tag)).collect();
        prop_assert_eq!(stored.digest(), digest(&opening));
        prop_assert_eq!(stored.erased(), gone.clone());
        let kept: Vec<&Field> = opening.fields().iter().filter(|field| !gone.contains(&field.tag)).collect();
        prop_assert_eq!(stored.fields(), kept);
        let bytes = stored.encode();
        prop_assert_eq!(StoredOpening::decode(&bytes), Ok(stored));
        if !gone.is_empty() {
            let seed = &opening.seed().0;
            prop_assert!(!bytes.windows(32).any(|part| part == seed));
        }
    }

    #[test]
    fn bytes_of_a_remnant_have_one_reading(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let bytes: Vec<u8> = std::iter::once(2).chain(bytes).collect();
        if let Ok(stored) = StoredOpening::decode(&bytes) {
            prop_assert_eq!(stored.encode(), bytes);
        }
    }
}

/// 23 minutes on one core: `cargo test --release -p shared --test it -- --ignored every_address`.
#[test]
#[ignore = "tries all of 2^32 addresses"]
fn every_address_is_tried_against_an_erased_one_and_none_fits() {
    let field = |tag, value: &[u8]| Field { tag, kind: FieldKind::Text, value: value.to_vec() };
    let fields =
        vec![field(Tag::IP, b"198.51.100.77"), field(Tag::SESSION, b"s"), field(Tag::STRUCTURE, b"x")];
    let whole = StoredOpening::Whole(Opening::new(Seed([0x5a; 32]), fields));
    let left = whole.erase(&[Tag::IP]).expect("there is one").encode();
    // 0x02, count, then the structure with its salt, then the erased address.
    let salt: [u8; 16] = left[5..21].try_into().expect("a salt");
    let at = 2 + 3 + 16 + 4 + 1;
    assert_eq!(left[at..at + 3], [0x80, 0x04, 0], "the erased address");
    let commitment: [u8; 32] = left[at + 3..at + 35].try_into().expect("a commitment");
    let fits = |address: u32, salt: &[u8; 16]| {
        let address = std::net::Ipv4Addr::from(address).to_string();
        commit(salt, &field(Tag::IP, address.as_bytes())) == commitment
    };
    let known = u32::from_be_bytes([198, 51, 100, 77]);
    assert!(fits(known, &shared::leaf::Salts::of(&Seed([0x5a; 32])).salt(Tag::IP)), "with its salt it would");
    for address in 0..=u32::MAX {
        assert!(!fits(address, &salt) && !fits(address, &[0; 16]), "{address}");
    }
}
