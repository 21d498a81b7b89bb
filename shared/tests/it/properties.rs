//! What the fuzzer holds every reader of foreign bytes to, on every build: over the inputs that it kept because each showed something
//! new, over damage of them, and over bytes of no kind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

#[expect(unreachable_pub, reason = "the same file is a library for the fuzzer")]
#[path = "../../../tests/fuzz/properties.rs"]
mod doors;

/// What the fuzzer kept of a door, each input in base64 on a line.
fn kept(door: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/../tests/fuzz/kept/{door}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines().map(|line| STANDARD.decode(line).expect("base64")).collect()
}

#[test]
fn what_the_fuzzer_kept_is_held_to_the_same() {
    for (door, holds) in doors::ALL {
        let inputs = kept(door);
        assert!(inputs.len() >= 10, "{door}: {} inputs", inputs.len());
        inputs.iter().for_each(|input| holds(input));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Many times for each door, so that what was kept is read once.
    #[test]
    fn damage_of_what_the_fuzzer_kept_is_held_to_the_same(
        (door, holds) in select(doors::ALL.to_vec()),
        hits in vec((any::<Index>(), vec((any::<Index>(), any::<u8>()), 1..6), any::<Index>()), 40),
    ) {
        let inputs = kept(door);
        for (which, damage, end) in hits {
            let mut input = which.get(&inputs).clone();
            for (at, to) in damage {
                if !input.is_empty() {
                    let at = at.index(input.len());
                    input[at] = to;
                }
            }
            holds(&input);
            input.truncate(end.index(input.len() + 1));
            holds(&input);
        }
    }

    #[test]
    fn bytes_of_no_kind_are_held_to_the_same(bytes in vec(any::<u8>(), 0..300), text in "\\PC{0,80}") {
        for (_, holds) in doors::ALL {
            holds(&bytes);
            holds(text.as_bytes());
        }
    }
}
