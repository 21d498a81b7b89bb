//! The body of a request to the backend, read down to its events.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::batch::{Body, Framed, Header, events_hash, unframe};
use shared::event::Event;
use shared::leaf::{Opening, digest};
use shared::note::Note;

fuzz_target!(|bytes: &[u8]| {
    let Ok(frames) = unframe(bytes) else {
        return;
    };
    for framed in frames {
        read(framed);
    }
});

fn read(framed: Framed<'_>) {
    framed.is_oversized();
    if let Ok(note) = Note::parse(framed.note) {
        assert!(note.text().ends_with('\n') && !note.signatures().is_empty());
        if let Ok(header) = note.text().parse::<Header>() {
            assert_eq!(header.to_string(), note.text(), "one text per header");
            header.hash();
        }
    }
    let Ok(body) = Body::parse(framed.body) else {
        return;
    };
    assert_eq!(body.digests.len(), body.events.len());
    events_hash(&body.digests);
    for event in body.events.into_iter().flatten() {
        let Ok(opening) = Opening::decode(event) else {
            continue;
        };
        let fields = opening.fields().iter().rev().cloned().collect();
        let held_otherwise = Opening::new(*opening.seed(), fields);
        assert_eq!(digest(&held_otherwise), digest(&opening));
        let _ = Event::from_opening(&opening);
    }
}
