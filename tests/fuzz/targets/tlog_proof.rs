//! A proof file (c2sp.org/tlog-proof).
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::bundle::ProofFile;
use shared::note::Checkpoint;

fuzz_target!(|text: &str| {
    let Ok(proof) = text.parse::<ProofFile>() else {
        return;
    };
    assert_eq!(proof.to_string(), text, "one spelling per proof");
    let note = proof.note().expect("read before");
    let head: Checkpoint = note.text().parse().expect("read before");
    let _ = proof.verify(&[0; 42], &head);
});
