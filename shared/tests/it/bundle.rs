//! The files of a bundle: what is written reads back, what is wrong is refused in words, and nothing panics.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use shared::bundle::{
    FORMAT, Kind, LogId, LogItem, MAX_LINE_LEN, MAX_MANIFEST_LEN, MAX_PROOF_LEN, Manifest, OpeningLine,
    ProofFile, entries_of, tar, tiles_of,
};
use shared::leaf::ENTRY_LEN;
use shared::note::{KeyId, KeyName, VerifierKey, assemble};
use shared::tree::encode_bundle;

fn checkpoint(size: u64) -> String {
    let name = KeyName::try_from("log.example/1".to_owned()).expect("a name");
    let text = format!("{name}\n{size}\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    assemble(&text, &name, KeyId([1, 2, 3, 4]), &[9; 64])
}

fn log(byte: u8, size: u64, previous: Option<LogId>) -> LogItem {
    let log_id = LogId([byte; 16]);
    let origin = format!("log.example/{log_id}");
    let name = KeyName::try_from(origin.clone()).expect("a name");
    LogItem {
        others: Vec::new(),
        log_id,
        origin,
        key: VerifierKey { name, public: [byte; 32] },
        size,
        previous,
    }
}

fn manifest() -> Manifest {
    Manifest {
        kind: Kind::Log,
        tenant: "acme".parse().expect("a slug"),
        made_at: "2026-11-25T00:00:00.000Z".to_owned(),
        logs: vec![log(1, 600, None), log(2, 7, Some(LogId([1; 16])))],
    }
}

fn line() -> impl Strategy<Value = OpeningLine> {
    let place = of((any::<[u8; 16]>(), any::<u64>()).prop_map(|(log, index)| (LogId(log), index)));
    let columns = proptest::collection::btree_map("[a-z_]{1,12}", of("\\PC{0,20}"), 0..3);
    let entry = of(vec(any::<u8>(), ENTRY_LEN).prop_map(|entry| entry.try_into().expect("42 bytes")));
    let opening = of(vec(any::<u8>(), 0..200));
    (place, any::<u128>(), opening, of("\\PC{0,20}"), columns, entry, of("(\\PC|\n){0,80}")).prop_map(
        |(place, id, opening, set_aside, columns, entry, proof)| OpeningLine {
            place,
            id: Some(uuid::Uuid::from_u128(id)),
            opening,
            set_aside,
            columns,
            entry,
            proof,
        },
    )
}

proptest! {
    #[test]
    fn a_line_reads_back(line in line()) {
        prop_assert_eq!(OpeningLine::parse(line.to_json().trim_end().as_bytes()), Ok(line));
    }

    #[test]
    fn a_proof_reads_back_and_has_one_spelling(
        index in any::<u64>(), hashes in vec(any::<[u8; 32]>(), 0..64), extra in of(vec(any::<u8>(), 0..60)), size in any::<u64>(),
    ) {
        let proof = ProofFile { extra, index, hashes, checkpoint: checkpoint(size) };
        let text = proof.to_string();
        prop_assert_eq!(text.parse::<ProofFile>(), Ok(proof));
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in vec(any::<u8>(), 0..300), text in "(\\PC|\n){0,120}") {
        let _ = (Manifest::parse(&bytes), OpeningLine::parse(&bytes), entries_of(&bytes));
        let _ = (Manifest::parse(text.as_bytes()), OpeningLine::parse(text.as_bytes()), text.parse::<ProofFile>());
        let _ = format!("c2sp.org/tlog-proof@v1\n{text}").parse::<ProofFile>();
    }

    #[test]
    fn a_damaged_proof_is_refused_or_says_exactly_what_it_spells(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let proof = ProofFile { extra: Some(vec![7; 5]), index: 12, hashes: vec![[3; 32]; 4], checkpoint: checkpoint(99) };
        let mut bytes = proof.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(read) = text.parse::<ProofFile>()
        {
            prop_assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn a_tar_header_reads_back_and_damage_is_noticed(
        name in "[a-z0-9/._-]{1,100}", size in 0_u64..1 << 33, at in 0_usize..512, to in any::<u8>(),
    ) {
        let mut header = tar::header(&name, size).expect("short");
        let plain = name.strip_prefix("./").unwrap_or(&name).to_owned();
        prop_assert_eq!(tar::read(&header), Ok(tar::Member::File(plain, size)));
        header[at] = to;
        let _ = tar::read(&header);
        prop_assert_eq!((tar::padding(size) as u64 + size) % 512, 0);
    }

    #[test]
    fn any_block_is_read_as_a_tar_header_or_refused(bytes in vec(any::<u8>(), 512)) {
        let _ = tar::read(bytes.as_slice().try_into().expect("512 bytes"));
    }
}

#[test]
fn a_manifest_reads_back_and_refusals_name_the_reason() {
    let written = manifest().to_json();
    assert_eq!(Manifest::parse(written.as_bytes()), Ok(manifest()));
    assert!(written.contains(FORMAT));
    let refused = |from: &str, to: &str| {
        let text = written.replace(from, to);
        assert_ne!(text, written, "{from}");
        Manifest::parse(text.as_bytes()).expect_err(to).to_string()
    };
    let id = LogId([2; 16]).to_string();
    assert!(refused("bundle/v1", "bundle/v9").contains("format \"edgetrail-bundle/v9\" is not"));
    assert!(refused(&id, &"zz".repeat(16)).contains("32 lower-case hex"));
    assert!(refused(&id, &LogId([1; 16]).to_string()).contains("named twice"));
    assert!(
        refused("\"previous\": null", &format!("\"previous\": \"{id}\"")).contains("does not stand after")
    );
    assert!(refused(&format!("log.example/{id}"), "log.example/other").contains("key"));
    assert!(refused("\"log\"", "\"attic\"").contains("attic"));
    assert!(refused("600", "-1").contains("manifest: "));
    let long = [written.as_bytes(), &vec![b' '; MAX_MANIFEST_LEN]].concat();
    assert!(Manifest::parse(&long).expect_err("long").to_string().contains("over the limit"));
}

#[test]
fn lines_and_proofs_that_bend_the_format_are_refused() {
    let bad_line = |text: &str| OpeningLine::parse(text.as_bytes()).expect_err(text).to_string();
    let id = LogId([1; 16]);
    assert!(bad_line("{\"log\":null,\"index\":3,\"id\":null,\"opening\":null}").contains("go together"));
    // Not padded, and padded with bits that mean nothing.
    for opening in ["YQ", "YR==", "Y Q=", "YQ==\\n"] {
        let text = format!("{{\"log\":\"{id}\",\"index\":3,\"id\":null,\"opening\":\"{opening}\"}}");
        assert_eq!(bad_line(&text), "opening is not canonical base64");
    }
    assert!(
        bad_line(&format!(
            "{{\"log\":\"{id}\",\"index\":3,\"id\":null,\"opening\":null,\"entry\":\"YQ==\"}}"
        ))
        .contains("entry of 1 bytes")
    );
    assert!(bad_line(&" ".repeat(MAX_LINE_LEN + 1)).contains("over the limit"));

    let proof = ProofFile { extra: None, index: 12, hashes: vec![[3; 32]; 2], checkpoint: checkpoint(99) };
    let text = proof.to_string();
    let bad_proof =
        |from: &str, to: &str| text.replacen(from, to, 1).parse::<ProofFile>().expect_err(to).to_string();
    assert!(bad_proof("v1", "v2").contains("first line"));
    assert_eq!(bad_proof("index 12", "index 012"), "line 2 is malformed");
    assert_eq!(bad_proof("AwM=\n", "AwN=\n"), "line 3 is malformed", "bits that mean nothing");
    assert!(bad_proof("\n\u{2014}", "\n-").contains("checkpoint: "));
    assert!(bad_proof("\n99\n", "\n099\n").contains("size"));
    let hashes = ProofFile { hashes: vec![[3; 32]; 65], ..proof }.to_string();
    assert_eq!(hashes.parse::<ProofFile>().expect_err("65 hashes").to_string(), "line 67 is malformed");
    assert!("x".repeat(MAX_PROOF_LEN + 1).parse::<ProofFile>().is_err());
}

#[test]
fn the_tiles_of_a_log_are_those_that_the_specification_names() {
    let names = |size| tiles_of(size).map(|tile| tile.to_string()).collect::<Vec<_>>();
    assert_eq!(names(0), Vec::<String>::new());
    assert_eq!(
        names(515),
        [
            "tile/entries/000",
            "tile/entries/001",
            "tile/entries/002.p/3",
            "tile/0/000",
            "tile/0/001",
            "tile/0/002.p/3",
            "tile/1/000.p/2",
        ]
    );
    assert_eq!(names(65_536).last().map(String::as_str), Some("tile/2/000.p/1"));
}

#[test]
fn a_bundle_of_entries_has_entries_of_one_length() {
    let entries = [[7_u8; ENTRY_LEN]; 3];
    let bytes = encode_bundle(entries.iter().map(<[u8; ENTRY_LEN]>::as_slice));
    assert_eq!(entries_of(&bytes).map(|all| all.len()), Some(3));
    assert_eq!(entries_of(&bytes[1..]), None);
    assert_eq!(entries_of(&[&[0, 41], &bytes[2..]].concat()), None);
    assert_eq!(entries_of(&[0; 44 * 257]), None);
}
