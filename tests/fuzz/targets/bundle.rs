//! The files of a bundle: manifest, lines, entry bundles, tar headers, lists of absences.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::absence::AbsenceList;
use shared::bundle::{Manifest, OpeningLine, entries_of, tar};
use shared::leaf::{Glance, StoredOpening};
use shared::verify::KnownHead;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::parse(bytes) {
        assert_eq!(
            Manifest::parse(manifest.to_json().as_bytes()),
            Ok(manifest),
            "what was read is written alike"
        );
    }
    if let Ok(line) = OpeningLine::parse(bytes) {
        assert_eq!(
            OpeningLine::parse(line.to_json().trim_end().as_bytes()),
            Ok(line),
            "what was read is written alike"
        );
    }
    if let Ok(list) = AbsenceList::decode(bytes) {
        assert_eq!(list.encode(), bytes, "one encoding per list");
        assert!(list.leaves() >= list.runs().len() as u64);
    }
    let read = StoredOpening::decode(bytes).map(|stored| stored.digest());
    assert_eq!(Glance::at(bytes).map(|glance| glance.digest), read, "a glance shows what reading shows");
    let _ = entries_of(bytes);
    let _ = KnownHead::read("kept", bytes);
    if let Some(header) = bytes.first_chunk::<{ tar::BLOCK }>() {
        let _ = tar::read(header);
    }
});
