//! Whatever arrives, nothing that reads it panics, and what it accepts it writes again.

use proptest::collection::vec;
use proptest::prelude::*;
use shared::absence::AbsenceList;
use shared::batch::{Body, Header, unframe};
use shared::bundle::{Manifest, OpeningLine, ProofFile, entries_of};
use shared::event::Event;
use shared::leaf::{Field, FieldKind, Glance, Opening, Seed, StoredOpening, Tag};
use shared::note::{Checkpoint, Note, SignerKey, VerifierKey};
use shared::recording;
use shared::tree::TileRef;
use shared::verify::KnownHead;

use crate::vectors;

/// Reads bytes as everything that is ever read from outside.
fn read_as_everything(bytes: &[u8]) {
    if let Ok(opening) = Opening::decode(bytes) {
        assert_eq!(opening.encode(), bytes);
        let _ = Event::from_opening(&opening);
    }
    for framed in unframe(bytes).into_iter().flatten() {
        let _ = Note::parse(framed.note);
        let _ = Body::parse(framed.body);
    }
    let _ = Note::parse(bytes);
    let _ = Body::parse(bytes);
    assert_eq!(Glance::at(bytes).is_ok(), StoredOpening::decode(bytes).is_ok());
    let _ =
        (AbsenceList::decode(bytes), Manifest::parse(bytes), OpeningLine::parse(bytes), entries_of(bytes));
    let _ = KnownHead::read("kept", bytes);
    read_as_every_text(&String::from_utf8_lossy(bytes));
}

fn read_as_every_text(text: &str) {
    let _ = Note::parse(text.as_bytes());
    if let Ok(header) = text.parse::<Header>() {
        assert_eq!(header.to_string().trim_end(), text.trim_end());
    }
    if let Ok(tile) = text.parse::<TileRef>() {
        assert_eq!(tile.to_string(), text);
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text.trim());
    }
    if let Ok(proof) = text.parse::<ProofFile>() {
        assert_eq!(proof.to_string(), text);
    }
    let _ = text.parse::<SignerKey>();
    let _ = text.parse::<Checkpoint>();
    let _ = recording::parse_any(text);
    let _ = recording::parse_any(&format!("{{\"log\":{text}"));
}

/// Pinned inputs of every kind, as a start for damage.
fn pinned() -> Vec<Vec<u8>> {
    let (leaf, batch) = (vectors::leaf(), vectors::batch());
    let (event, batch) = (&leaf["events"][1], &batch["batches"][1]);
    let words = |name: &str| vectors::text(&batch[name]).as_bytes().to_vec();
    let bytes = |name: &str| vectors::bytes(&batch[name]);
    vec![
        vectors::bytes(&event["opening"]),
        bytes("frame"),
        bytes("body"),
        words("note"),
        words("header"),
        words("verifier_key"),
        words("signer_key"),
        b"tile/0/x001/x234/067.p/3".to_vec(),
        b"origin\n12\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".to_vec(),
        br#"{"format":"edgetrail-bundle/v1","kind":"log","tenant":"acme","made_at":"","logs":[]}"#.to_vec(),
        br#"{"log":"07070707070707070707070707070707","index":3,"id":null,"opening":"AQ==","columns":{"ip":null}}"#.to_vec(),
        "c2sp.org/tlog-proof@v1\nindex 3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\no\n4\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u{2014} o AQIDBAk=\n".as_bytes().to_vec(),
        br#"{"label":"l","n":1,"at":"","request":{"method":"","url":"","headers":[]},"response":{"status":1,"headers":[]}}"#.to_vec(),
        br#"{"log":{"entries":[{"time":1e9,"request":{"method":"","url":"http://h/?q","headers":[{"name":"a","value":"b"}],"postData":{"params":[{"name":"n","value":"v"}]}},"response":{"status":1e3,"content":{"text":"YQ==","encoding":"base64"}}}]}}"#.to_vec(),
    ]
}

#[test]
fn every_prefix_of_every_pinned_input_is_read_without_a_panic() {
    for input in pinned() {
        for cut in 0..=input.len() {
            read_as_everything(&input[..cut]);
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..300)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn arbitrary_text_is_read_without_a_panic(text in "(\\PC|\n|\t){0,80}") {
        read_as_every_text(&text);
    }

    #[test]
    fn damaged_inputs_are_read_without_a_panic(
        which in 0..14_usize, damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = pinned().swap_remove(which);
        for (at, to) in damage {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        read_as_everything(&bytes);
    }

    #[test]
    fn records_of_arbitrary_parts_are_read_without_a_panic(
        records in vec((0..12_u16, vec((0..24_u8, vec(any::<u8>(), 0..20)), 0..20)), 1..8),
    ) {
        let mut fields: Vec<Field> = Vec::new();
        for (tag, mut parts) in records {
            parts.sort();
            let value = parts
                .iter()
                .flat_map(|(part, value)| {
                    let len = u8::try_from(value.len()).expect("short");
                    [&[*part, 0, len][..], value].concat()
                })
                .collect();
            let tag = Tag::from_number(if tag == 0 { 1 } else { 0x8000 + tag });
            if fields.iter().all(|field| field.tag != tag) {
                fields.push(Field { tag, kind: FieldKind::Record, value });
            }
        }
        let _ = Event::from_opening(&Opening::new(Seed([0; 32]), fields));
    }
}
