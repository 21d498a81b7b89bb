//! Bytes as an opening, and the opening as an event.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::event::Event;
use shared::leaf::{Opening, StoredOpening, digest};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(stored) = StoredOpening::decode(bytes) {
        assert_eq!(stored.encode(), bytes, "one encoding of what is stored");
    }
    let Ok(opening) = Opening::decode(bytes) else {
        return;
    };
    assert_eq!(opening.encode(), bytes, "one encoding per opening");
    digest(&opening);
    if let Ok(event) = Event::from_opening(&opening) {
        let again = event.to_opening(*opening.seed());
        assert_eq!(Event::from_opening(&again), Ok(event), "an event survives its opening");
    }
});
