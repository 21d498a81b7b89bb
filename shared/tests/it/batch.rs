//! Headers, bodies, frames and their limits.

use proptest::collection::vec;
use proptest::prelude::*;
use shared::batch::{
    Body, BodyError, FrameError, Framed, Header, HeaderError, MAX_BATCH_LEN, MAX_BATCHES_PER_REQUEST,
    MAX_EVENT_LEN, MAX_EVENTS_PER_BATCH, MAX_REQUEST_LEN, encode_body, events_hash, frame, unframe,
};
use shared::event::Event;
use shared::leaf::{Hash, Opening, digest};
use shared::note::{self, MAX_NOTE_LEN, Note};

use crate::arbitrary;
use crate::vectors::{self, array, bytes, list, number, text, word};

/// A body of these events under made-up digests.
fn body(events: &[Vec<u8>]) -> (Vec<Hash>, Vec<u8>) {
    let digests: Vec<Hash> = (0..events.len()).map(|at| [at.to_le_bytes()[0]; 32]).collect();
    let parts: Vec<_> = digests.iter().zip(events.iter().map(Vec::as_slice)).collect();
    let body = encode_body(parts.into_iter());
    (digests, body)
}

fn header() -> Header {
    let all = vectors::batch();
    word(&list(&all["batches"])[1]["header"])
}

/// The pinned header with one line replaced, or dropped for none.
fn with_line(line: &str, replacement: Option<&str>) -> Result<Header, HeaderError> {
    let text = header().to_string();
    let changed: String = text
        .lines()
        .filter_map(|old| match old.strip_prefix(line) {
            Some(_) => replacement.map(|new| format!("{new}\n")),
            None => Some(format!("{old}\n")),
        })
        .collect();
    assert_ne!(changed, text, "no line {line}");
    changed.parse()
}

/// The line a malformed value is blamed on.
fn blamed(result: Result<Header, HeaderError>) -> &'static str {
    match result {
        Err(HeaderError::Value { line, .. }) => line,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_byte_of_a_batch_is_pinned() {
    let all = vectors::batch();
    for vector in list(&all["batches"]) {
        let name = text(&vector["name"]);
        let openings: Vec<Vec<u8>> = list(&vector["openings"]).iter().map(bytes).collect();
        let digests: Vec<Hash> =
            openings.iter().map(|bytes| digest(&Opening::decode(bytes).expect("an opening"))).collect();
        let events = events_hash(&digests);
        assert_eq!(events, array(&vector["events_hash"]), "{name}");

        let header = Header {
            tenant: word(&vector["tenant"]),
            stream: shared::batch::StreamId(array(&vector["stream"])),
            seq: number(&vector["seq"]),
            prev: array(&vector["prev"]),
            sent: number(&vector["sent"]).try_into().expect("a time"),
            count: u16::try_from(openings.len()).expect("few"),
            dropped: number(&vector["dropped"]),
            events,
        };
        assert_eq!(header.to_string(), text(&vector["header"]), "{name}");
        assert_eq!(header.hash(), array(&vector["header_hash"]), "{name}");
        assert_eq!(text(&vector["header"]).parse(), Ok(header), "{name}");

        let parts: Vec<_> = digests.iter().zip(openings.iter().map(Vec::as_slice)).collect();
        let body = encode_body(parts.into_iter());
        assert_eq!(body, bytes(&vector["body"]), "{name}");
        let framed = frame(text(&vector["note"]), &body);
        assert_eq!(framed, bytes(&vector["frame"]), "{name}");
    }
}

#[test]
fn a_request_is_read_down_to_its_events() {
    let all = vectors::batch();
    let request: Vec<u8> = list(&all["batches"]).iter().flat_map(|vector| bytes(&vector["frame"])).collect();
    let mut prev = [0; 32];
    for framed in unframe(&request).expect("two frames") {
        let note = Note::parse(framed.note).expect("a note");
        let header: Header = note.text().parse().expect("a header");
        assert_eq!(header.prev, prev, "each batch names the one before");
        prev = header.hash();
        let body = Body::parse(framed.body).expect("a body");
        assert_eq!(usize::from(header.count), body.events.len());
        assert_eq!(header.events, events_hash(&body.digests));
        for (claimed, event) in body.digests.iter().zip(body.events) {
            let opening = Opening::decode(event.expect("whole")).expect("an opening");
            assert_eq!(digest(&opening), *claimed);
            assert!(Event::from_opening(&opening).is_ok());
        }
    }
}

#[test]
fn a_missing_line_is_named() {
    for line in ["tenant", "stream", "seq", "prev", "sent", "count", "dropped", "events"] {
        assert_eq!(with_line(line, None), Err(HeaderError::Line(line)));
    }
    assert_eq!(with_line("audit-batch/v1", None), Err(HeaderError::Version));
    let next = with_line("audit-batch/v1", Some("audit-batch/v2"));
    assert_eq!(next, Err(HeaderError::Version));
    assert_eq!("".parse::<Header>(), Err(HeaderError::Version));
}

#[test]
fn lines_out_of_order_are_refused() {
    let swapped = with_line("count", Some("dropped 0\ncount 2"));
    assert_eq!(swapped, Err(HeaderError::Line("count")));
}

#[test]
fn lines_after_the_last_are_refused() {
    for more in ["", "more", "events"] {
        let text = format!("{}{more}\n", header());
        assert_eq!(text.parse::<Header>(), Err(HeaderError::Trailing("events")));
    }
}

#[test]
fn a_malformed_value_is_blamed_on_its_line() {
    let hash = "00".repeat(32);
    let too_large = (1_u64 << 63).to_string();
    for (line, values) in [
        ("tenant", vec!["", "Acme", "a b"]),
        ("stream", vec!["", "00", "6F1C000102030405060708090A0B0C0D", "zz1c000102030405060708090a0b0c0d"]),
        ("seq", vec!["", "-1", "+1", "01", " 1", "1 ", "1.0", "18446744073709551616", &too_large]),
        ("prev", vec!["", "00", &hash[..63]]),
        ("sent", vec!["", "253402300800000", "-1", "1e3"]),
        ("count", vec!["", "0", "101", "65536", "02"]),
        ("dropped", vec!["", "x", "00", &too_large]),
        (
            "events",
            vec![
                "",
                "AAAA",
                "fs2RU44bf9KBcxS8YK8/E966zm/ZSldvWc3351JmvlM",
                "fs2RU44bf9KBcxS8YK8/E966zm/ZSldvWc3351JmvlN=",
                "fs2RU44bf9KBcxS8YK8_E966zm_ZSldvWc3351JmvlM=",
            ],
        ),
    ] {
        for value in values {
            let result = with_line(line, Some(&format!("{line} {value}")));
            assert_eq!(blamed(result), line, "{value:?}");
        }
    }
}

#[test]
fn carriage_returns_are_refused() {
    let text = header().to_string().replace('\n', "\r\n");
    assert!(text.parse::<Header>().is_err());
}

#[test]
fn the_first_batch_of_a_stream_has_no_previous_one() {
    let first = |prev: &str| {
        let text = header().to_string();
        let old = hex::encode(header().prev);
        text.replace("seq 1\n", "seq 0\n").replace(&old, prev).parse::<Header>()
    };
    assert!(first(&"00".repeat(32)).is_ok());
    assert_eq!(blamed(first(&"11".repeat(32))), "prev");
}

#[test]
fn the_hash_over_digests_depends_on_their_order() {
    let (a, b) = ([1; 32], [2; 32]);
    assert_ne!(events_hash(&[a, b]), events_hash(&[b, a]));
    assert_ne!(events_hash(&[a]), events_hash(&[a, a]));
}

#[test]
fn a_body_cut_inside_its_digests_is_refused() {
    let (_, bytes) = body(&[b"one".to_vec(), b"two".to_vec()]);
    for cut in 0..2 + 2 * 32 {
        assert_eq!(Body::parse(&bytes[..cut]), Err(BodyError::Cut), "{cut}");
    }
}

#[test]
fn a_body_cut_inside_an_event_keeps_the_events_before() {
    let (digests, bytes) = body(&[b"one".to_vec(), b"two".to_vec()]);
    let first_end = 2 + 64 + 4 + 3;
    for cut in first_end..bytes.len() {
        let read = Body::parse(&bytes[..cut]).expect("the digests are whole");
        assert_eq!(read.digests, digests);
        assert_eq!(read.events, [Some(&b"one"[..]), None], "{cut}");
    }
}

#[test]
fn a_length_beyond_the_body_costs_this_event_and_the_rest_alone() {
    let (_, mut bytes) = body(&[b"one".to_vec(), b"two".to_vec(), b"six".to_vec()]);
    let second = 2 + 3 * 32 + 7;
    bytes[second] = 0xff;
    let read = Body::parse(&bytes).expect("the digests are whole");
    assert_eq!(read.events, [Some(&b"one"[..]), None, None]);
}

#[test]
fn an_event_over_the_limit_costs_itself_alone() {
    let events = [vec![1; MAX_EVENT_LEN], vec![2; MAX_EVENT_LEN + 1], vec![3]];
    let (_, bytes) = body(&events);
    let read = Body::parse(&bytes).expect("the digests are whole");
    assert_eq!(read.events, [Some(&events[0][..]), None, Some(&[3][..])]);
}

#[test]
fn a_body_of_more_events_than_allowed_is_refused_before_its_digests_are_read() {
    let over = MAX_EVENTS_PER_BATCH + 1;
    let count = u16::try_from(over).expect("small").to_be_bytes();
    assert_eq!(Body::parse(&count), Err(BodyError::TooMany(over)));
    let (_, most) = body(&vec![vec![1]; MAX_EVENTS_PER_BATCH]);
    let read = Body::parse(&most).expect("the limit itself is allowed");
    assert_eq!(read.events.len(), MAX_EVENTS_PER_BATCH);
}

#[test]
#[should_panic(expected = "split before encoding")]
fn a_producer_that_does_not_split_is_stopped() {
    body(&vec![vec![1]; MAX_EVENTS_PER_BATCH + 1]);
}

#[test]
fn a_request_without_a_frame_is_refused() {
    assert_eq!(unframe(&[]), Err(FrameError::Empty));
}

#[test]
fn a_request_of_more_frames_than_allowed_is_refused() {
    let most = frame("", &[]).repeat(MAX_BATCHES_PER_REQUEST);
    assert_eq!(unframe(&most).map(|frames| frames.len()), Ok(MAX_BATCHES_PER_REQUEST));
    let over = frame("", &[]).repeat(MAX_BATCHES_PER_REQUEST + 1);
    assert_eq!(unframe(&over), Err(FrameError::TooMany));
}

#[test]
fn a_batch_is_oversized_by_its_frame() {
    let fits = vec![0; MAX_BATCH_LEN - 8 - 10];
    let note = [0; 10];
    let over = vec![0; fits.len() + 1];
    assert!(!Framed { note: &note, body: &fits }.is_oversized());
    assert!(Framed { note: &note, body: &over }.is_oversized());
}

#[test]
fn the_limits_fit_into_each_other() {
    let digests = 2 + 32 * MAX_EVENTS_PER_BATCH;
    assert!(8 + MAX_NOTE_LEN + digests + 2 * (4 + MAX_EVENT_LEN) <= MAX_BATCH_LEN);
    const { assert!(MAX_BATCH_LEN < 128_000) };
    assert_eq!(MAX_REQUEST_LEN, 11_000_000);
}

proptest! {
    #[test]
    fn a_header_survives_its_text(header in arbitrary::header()) {
        let text = header.to_string();
        prop_assert_eq!(text.parse(), Ok(header.clone()));
        // As a note, too: no value can smuggle in a line.
        let name = note::KeyName::try_from("k".to_owned()).expect("a name");
        let note = note::assemble(&text, &name, note::KeyId([0; 4]), &[0; 64]);
        let note = Note::parse(note.as_bytes()).expect("a note");
        prop_assert_eq!(note.text(), text);
    }

    #[test]
    fn a_header_has_no_second_text(
        header in arbitrary::header(), at: prop::sample::Index, to in "[ -~\n]",
    ) {
        let mut text = header.to_string();
        let at = at.index(text.len() - 1);
        text.replace_range(at..=at, &to);
        if let Ok(read) = text.parse::<Header>() {
            prop_assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn a_body_survives_its_bytes(events in vec(vec(any::<u8>(), 0..60), 0..12)) {
        let (digests, bytes) = body(&events);
        let read = Body::parse(&bytes).expect("its own bytes");
        prop_assert_eq!(read.digests, digests);
        prop_assert_eq!(read.events, events.iter().map(|event| Some(event.as_slice())).collect::<Vec<_>>());
    }

    #[test]
    fn damage_inside_one_event_leaves_the_others_as_they_were(
        events in vec(vec(any::<u8>(), 1..60), 1..12), which: prop::sample::Index,
        at: prop::sample::Index, flip in 1_u8..,
    ) {
        let (_, mut bytes) = body(&events);
        let which = which.index(events.len());
        let start = 2 + 32 * events.len() + events[..which].iter().map(|event| 4 + event.len()).sum::<usize>() + 4;
        bytes[start + at.index(events[which].len())] ^= flip;
        let read = Body::parse(&bytes).expect("the digests are whole");
        for (nth, (read, event)) in read.events.iter().zip(&events).enumerate() {
            prop_assert_eq!(*read == Some(event.as_slice()), nth != which);
        }
    }

    #[test]
    fn frames_survive_their_bytes(batches in vec(("[a-z\n]{0,40}", vec(any::<u8>(), 0..40)), 1..6)) {
        let request: Vec<u8> = batches.iter().flat_map(|(note, body)| frame(note, body)).collect();
        let read = unframe(&request).expect("its own bytes");
        let want: Vec<_> = batches.iter().map(|(note, body)| Framed { note: note.as_bytes(), body }).collect();
        prop_assert_eq!(read, want);
    }

    #[test]
    fn a_cut_request_is_refused_with_the_frame_named(
        batches in vec(("[a-z\n]{0,40}", vec(any::<u8>(), 0..40)), 1..6), at: prop::sample::Index,
    ) {
        let frames: Vec<Vec<u8>> = batches.iter().map(|(note, body)| frame(note, body)).collect();
        let request = frames.concat();
        let cut = 1 + at.index(request.len() - 1);
        let mut whole = 0;
        let mut end = 0;
        while end + frames[whole].len() <= cut {
            end += frames[whole].len();
            whole += 1;
        }
        let read = unframe(&request[..cut]);
        if end == cut {
            prop_assert_eq!(read.map(|frames| frames.len()), Ok(whole));
        } else {
            prop_assert_eq!(read, Err(FrameError::Cut(whole + 1)));
        }
    }
}
