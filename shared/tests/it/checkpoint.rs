//! Checkpoints, held against `tlog_tiles`.

use proptest::prelude::*;
use shared::note::{Checkpoint, MAX_NOTE_LEN, Note};

use crate::note::signed;

const ROOT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[test]
fn a_signed_checkpoint_is_understood_by_other_tools() {
    let ours =
        Checkpoint { origin: "audit.example.com/log/2026".to_owned(), size: 20_852_163, root: [7; 32] };
    let (note, _) = signed(&ours.to_string(), &ours.origin, [1; 32]);
    let note = Note::parse(note.as_bytes()).expect("a note");
    let theirs = tlog_tiles::Checkpoint::from_bytes(note.text().as_bytes()).expect("a checkpoint");
    assert_eq!(theirs.origin(), ours.origin);
    assert_eq!((theirs.size(), theirs.hash().0), (ours.size, ours.root));
    assert_eq!(theirs.extension(), "");
    assert!(note.text().len() < MAX_NOTE_LEN);
}

#[test]
fn extension_lines_are_ignored() {
    let read: Checkpoint = format!("o\n1\n{ROOT}\nmore\nlines\n").parse().expect("a checkpoint");
    assert_eq!(read.to_string(), format!("o\n1\n{ROOT}\n"));
}

#[test]
fn a_malformed_line_is_named() {
    for (text, line) in [
        (String::new(), "origin"),
        (format!("\n1\n{ROOT}\n"), "origin"),
        ("o".to_owned(), "size"),
        (format!("o\n\n{ROOT}\n"), "size"),
        (format!("o\n01\n{ROOT}\n"), "size"),
        (format!("o\n+1\n{ROOT}\n"), "size"),
        (format!("o\n-1\n{ROOT}\n"), "size"),
        (format!("o\n1 \n{ROOT}\n"), "size"),
        (format!("o\n18446744073709551616\n{ROOT}\n"), "size"),
        ("o\n1".to_owned(), "root"),
        ("o\n1\n\n".to_owned(), "root"),
        ("o\n1\nAAAA\n".to_owned(), "root"),
        (format!("o\n1\n{}\n", ROOT.trim_end_matches('=')), "root"),
    ] {
        let error = text.parse::<Checkpoint>().expect_err("refused");
        assert_eq!(error.to_string(), format!("checkpoint has no well-formed {line}"), "{text:?}");
    }
}

proptest! {
    #[test]
    fn a_checkpoint_survives_its_text(origin in "[!-~]{1,60}", size: u64, root: [u8; 32]) {
        let ours = Checkpoint { origin, size, root };
        let text = ours.to_string();
        prop_assert_eq!(text.parse(), Ok(ours.clone()));
        let theirs = tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).expect("understood");
        prop_assert_eq!((theirs.origin(), theirs.size(), theirs.hash().0), (&*ours.origin, size, root));
    }

    #[test]
    fn what_others_read_as_a_checkpoint_we_read_alike(
        text in "[a-z]{0,4}\n(0|[1-9]|[0-9]{1,20})\n([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=|[A-Za-z=]{40,48})\n([a-z]{1,3}\n)?",
    ) {
        if let Ok(theirs) = tlog_tiles::Checkpoint::from_bytes(text.as_bytes()) {
            let ours: Checkpoint = text.parse().expect("understood by others");
            prop_assert_eq!((theirs.origin(), theirs.size(), theirs.hash().0), (&*ours.origin, ours.size, ours.root));
        }
    }
}
