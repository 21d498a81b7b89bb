//! A recording as a user hands it to the command line: lines, or a browser's archive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::recording::{Exchange, parse_any};

fuzz_target!(|text: &str| match parse_any(text) {
    Ok(exchanges) => {
        for exchange in exchanges {
            let line = serde_json::to_string(&exchange).expect("texts and numbers are JSON");
            let again: Exchange = serde_json::from_str(&line).expect("its own text");
            assert_eq!(again, exchange);
            assert!(!line.contains('\n'), "one exchange a line");
        }
    }
    Err(error) => {
        assert!((1..=text.split('\n').count()).contains(&error.line));
        assert!(error.column >= 1);
    }
});
