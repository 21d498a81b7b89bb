//! A search as a person types it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::search::{MAX_TEXT_LEN, add, complete, parse, remove};

fuzz_target!(|input: (&str, usize)| {
    let (text, cursor) = input;
    let parsed = parse(text);
    for it in &parsed.diagnostics {
        assert!(it.start < it.end && text.get(it.start..it.end).is_some(), "a place in the text");
    }
    let printed = parsed.query.to_string();
    if printed.len() <= MAX_TEXT_LEN {
        let again = parse(&printed);
        assert_eq!(again.query, parsed.query, "one meaning per canonical text");
        assert!(again.diagnostics.is_empty(), "it is understood as a whole");
    }
    let completion = complete(text, cursor);
    assert!(text.get(completion.start..completion.end).is_some());
    if let Some(chip) = parsed.chips.first() {
        let without = remove(text, &chip.expr);
        assert!(parse(&without).chips.iter().all(|it| it.expr != chip.expr), "what was removed is gone");
        add(&without, &chip.expr);
    }
});
