//! Signed notes and keys, held against `signed_note` and against vectors made without either.

use ed25519_dalek::{Signer as _, SigningKey, Verifier as _, VerifyingKey};
use proptest::prelude::*;
use shared::note::{
    KeyError, KeyId, KeyName, MAX_NOTE_LEN, Note, NoteError, SignerKey, VerifierKey, assemble,
};
use signed_note::{StandardVerifier, VerifierList};

use crate::vectors::{self, array, list, text};

/// A test key by name.
fn key(name: &str, seed: [u8; 32]) -> (SigningKey, VerifierKey) {
    let signing = SigningKey::from_bytes(&seed);
    let public = signing.verifying_key().to_bytes();
    let name = KeyName::try_from(name.to_owned()).expect("a key name");
    (signing, VerifierKey { name, public })
}

/// A note of this text, signed the way producers and the log do.
pub(crate) fn signed(text: &str, name: &str, seed: [u8; 32]) -> (String, VerifierKey) {
    let (signing, verifier) = key(name, seed);
    let signature = signing.sign(text.as_bytes()).to_bytes();
    let note = assemble(text, &verifier.name, verifier.id(), &signature);
    (note, verifier)
}

fn oracle_accepts(note: &str, key: &VerifierKey) -> bool {
    let verifier = StandardVerifier::new(&key.to_string()).expect("our key's text is understood");
    let known = VerifierList::new(vec![Box::new(verifier)]);
    signed_note::Note::from_bytes(note.as_bytes()).is_ok_and(|note| note.verify(&known).is_ok())
}

fn we_accept(note: &str, key: &VerifierKey) -> bool {
    let Ok(note) = Note::parse(note.as_bytes()) else {
        return false;
    };
    let public = VerifyingKey::from_bytes(&key.public).expect("a point");
    note.signatures().iter().any(|line| {
        let bytes = <[u8; 64]>::try_from(line.bytes.as_slice());
        line.name == key.name
            && line.key_id == key.id()
            && bytes.is_ok_and(|bytes| public.verify(note.text().as_bytes(), &bytes.into()).is_ok())
    })
}

#[test]
fn keys_and_signed_notes_are_pinned() {
    let all = vectors::batch();
    for vector in list(&all["batches"]) {
        let (note, key) =
            signed(text(&vector["header"]), text(&vector["key_name"]), array(&vector["key_seed"]));
        assert_eq!(key.public, array(&vector["public_key"]));
        assert_eq!(key.id(), KeyId(array(&vector["key_id"])));
        assert_eq!(key.to_string(), text(&vector["verifier_key"]));
        assert_eq!(text(&vector["verifier_key"]).parse(), Ok(key.clone()));
        let signer: SignerKey = text(&vector["signer_key"]).parse().expect("a signer key");
        assert_eq!(signer.reveal(), text(&vector["signer_key"]));
        assert_eq!((signer.id, signer.seed), (key.id(), array(&vector["key_seed"])));
        assert_eq!(note, text(&vector["note"]));
        assert!(oracle_accepts(&note, &key));
        assert!(we_accept(&note, &key));
    }
}

#[test]
fn a_signer_key_is_understood_by_other_tools() {
    let all = vectors::batch();
    let vector = &list(&all["batches"])[0];
    let signer = signed_note::StandardSigner::new(text(&vector["signer_key"])).expect("a key");
    let mut note = signed_note::Note::new(text(&vector["header"]).as_bytes(), &[]).expect("a text");
    note.add_sigs(&[&signer]).expect("signed");
    assert_eq!(note.to_bytes(), text(&vector["note"]).as_bytes());
}

#[test]
fn a_note_signed_by_two_keeps_both_signatures_in_order() {
    let (note, first) = signed("text\n", "one.example", [1; 32]);
    let (second_note, second) = signed("text\n", "two.example", [2; 32]);
    let both = format!("{note}{}", second_note.strip_prefix("text\n\n").expect("a line"));
    let read = Note::parse(both.as_bytes()).expect("a note");
    let names: Vec<_> = read.signatures().iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names, ["one.example", "two.example"]);
    assert!(oracle_accepts(&both, &first) && oracle_accepts(&both, &second));
}

#[test]
fn a_signature_of_an_unknown_kind_is_read_and_left_to_its_owner() {
    let (note, key) = signed("text\n", "one.example", [1; 32]);
    let more = format!("{note}\u{2014} witness.example AAAAAAE=\n");
    let read = Note::parse(more.as_bytes()).expect("a note");
    assert_eq!(read.signatures()[1].bytes, [1]);
    assert!(we_accept(&more, &key) && oracle_accepts(&more, &key));
}

#[test]
fn the_text_ends_at_the_last_empty_line() {
    let (note, key) = signed("one\n\ntwo\n\n", "k", [1; 32]);
    let read = Note::parse(note.as_bytes()).expect("a note");
    assert_eq!(read.text(), "one\n\ntwo\n\n");
    assert!(oracle_accepts(&note, &key));
}

#[test]
fn what_is_no_note_is_refused_with_the_reason() {
    let (good, _) = signed("text\n", "k", [1; 32]);
    let line = good.strip_prefix("text\n\n").expect("a line").trim_end();
    let refused = |note: &str| Note::parse(note.as_bytes()).expect_err("refused");
    assert_eq!(refused(""), NoteError::Unsigned);
    assert_eq!(refused("text\n"), NoteError::Unsigned);
    assert_eq!(refused("text\n\n"), NoteError::Unsigned);
    assert_eq!(refused(good.trim_end()), NoteError::Unsigned);
    assert_eq!(refused(&format!("text\n{line}\n")), NoteError::Unsigned);
    assert_eq!(refused(&format!("te\txt\n\n{line}\n")), NoteError::Text);
    assert_eq!(refused(&format!("text\r\n\n{line}\n")), NoteError::Text);
    assert_eq!(refused(&format!("te\0xt\n\n{line}\n")), NoteError::Text);
    assert_eq!(Note::parse(b"\xff\n\n"), Err(NoteError::Text));
    for bad in [
        "- k AAAAAAE=",
        "\u{2014}k AAAAAAE=",
        "\u{2014} k",
        "\u{2014} k AAAA",
        "\u{2014} k AAAAAA==",
        "\u{2014} k  AAAAAAE=",
        "\u{2014} k+k AAAAAAE=",
        "\u{2014}  AAAAAAE=",
        "\u{2014} k AAAAAAE",
        "\u{2014} k AAAAAAE= ",
        "nothing",
    ] {
        let note = format!("text\n\n{line}\n{bad}\n");
        assert_eq!(refused(&note), NoteError::Signature(2), "{bad:?}");
        assert!(signed_note::Note::from_bytes(note.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn a_note_over_the_limit_is_refused_by_its_length() {
    let (short, _) = signed("", "k", [1; 32]);
    let fill = "a".repeat(MAX_NOTE_LEN - short.len() - 1);
    let (most, _) = signed(&format!("{fill}\n"), "k", [1; 32]);
    assert_eq!(most.len(), MAX_NOTE_LEN);
    assert!(Note::parse(most.as_bytes()).is_ok());
    let (over, _) = signed(&format!("{fill}a\n"), "k", [1; 32]);
    assert_eq!(Note::parse(over.as_bytes()), Err(NoteError::TooLong(MAX_NOTE_LEN + 1)));
}

#[test]
fn key_names_have_no_spaces_and_no_plus() {
    let longest = "k".repeat(200);
    for name in ["k", "edge.example.com/eu", "ü", &longest] {
        assert!(KeyName::try_from(name.to_owned()).is_ok(), "{name}");
    }
    for name in ["", "a b", "a+b", "a\u{a0}b", "a\nb", "a\u{7f}", &"k".repeat(201)] {
        assert!(KeyName::try_from(name.to_owned()).is_err(), "{name}");
    }
}

#[test]
fn malformed_keys_are_refused_with_the_reason() {
    let (_, key) = key("k", [1; 32]);
    let good = key.to_string();
    let public = good.splitn(3, '+').nth(2).expect("three parts");
    let parse = |text: &str| text.parse::<VerifierKey>().expect_err("refused");
    let form = KeyError::Form("name+id+base64");
    assert_eq!(parse(""), form);
    assert_eq!(parse("k+00000000"), form);
    assert_eq!(parse("k+00000000+!"), form);
    assert_eq!(parse("k+00000000+"), form);
    assert_eq!(parse("k+00000000+AQ=="), form);
    assert_eq!(parse("k+00000000+AgAA"), KeyError::Algorithm(2, 1));
    assert_eq!(parse(&format!("k+00000000+{public}")), KeyError::Id);
    assert_eq!(parse(&good.replacen('k', "other", 1)), KeyError::Id);
    assert_eq!(parse(&format!("+{}+{public}", key.id())), KeyError::Name);
    let form = Err(KeyError::Form("PRIVATE+KEY+name+id+base64"));
    for text in ["", "PRIVATE+KEY+", &good, &format!("PRIVATE+KEY+k+0000+{public}")] {
        assert_eq!(text.parse::<SignerKey>(), form.clone(), "{text}");
    }
}

#[test]
fn a_signer_key_is_not_printed() {
    let text = "PRIVATE+KEY+k+01020304+AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";
    let key: SignerKey = text.parse().expect("a signer key");
    assert_eq!(key.seed, [7; 32]);
    assert_eq!(format!("{key:?}"), "SignerKey(k 01020304)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn notes_signed_here_verify_elsewhere(
        text in "[^\u{0}-\u{1f}]{1,80}(\n[^\u{0}-\u{1f}]{0,20}){0,3}\n", name in "[a-z][a-z0-9./-]{0,30}", seed: [u8; 32],
    ) {
        let (note, key) = signed(&text, &name, seed);
        let read = Note::parse(note.as_bytes()).expect("our own note");
        prop_assert_eq!(read.text(), &text);
        prop_assert!(oracle_accepts(&note, &key));
        prop_assert!(we_accept(&note, &key));
    }

    #[test]
    fn a_changed_character_ends_the_signature(
        at: prop::sample::Index, to in "[!-~]",
    ) {
        let (mut note, key) = signed("audit-batch/v1\ntenant acme\nseq 1\n", "k", [3; 32]);
        let at = at.index(note.len());
        prop_assume!(note.is_char_boundary(at) && note.is_char_boundary(at + 1) && note[at..=at] != to);
        note.replace_range(at..=at, &to);
        prop_assert!(!we_accept(&note, &key));
        prop_assert!(!oracle_accepts(&note, &key));
    }

    #[test]
    fn keys_survive_their_text(name in "[!-*,-~]{1,40}", public: [u8; 32]) {
        let key = VerifierKey { name: KeyName::try_from(name).expect("a name"), public };
        prop_assert_eq!(key.to_string().parse(), Ok(key.clone()));
        let signer = SignerKey { name: key.name.clone(), id: key.id(), seed: public };
        prop_assert_eq!(signer.reveal().parse(), Ok(signer));
    }
}
