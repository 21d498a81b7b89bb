//! A stream of server-sent events (HTML Living Standard, section 9.2), scanned as it passes.
//!
//! Of each kind of event the last one is kept: a run ends with the event that tells its result. Memory is bounded by
//! one line, one event and a few kinds, however long the stream is.

use serde_json::{Map, Value};

/// Bytes of one event's data; a longer event is skipped and counted.
const MAX_EVENT: usize = 64 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Kinds of events that are kept.
const MAX_KINDS: usize = 16;

/// Reads a stream chunk by chunk.
#[derive(Debug, Default)]
pub struct Scanner {
    line: Vec<u8>,
    data: Vec<u8>,
    kind: Option<String>,
    skipping_line: bool,
    oversized: bool,
    kept: Map<String, Value>,
    skipped: u32,
    /// The first line is over; a byte order mark counts only there.
    started: bool,
    /// The last byte was a carriage return: a line feed right after it belongs to it.
    returned: bool,
}

impl Scanner {
    /// A scanner at the stream's beginning.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next bytes; they may end anywhere.
    pub fn feed(&mut self, mut chunk: &[u8]) {
        if chunk.is_empty() {
            return;
        }
        if core::mem::take(&mut self.returned) {
            chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
        }
        while let Some(end) = chunk.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend_line(&chunk[..end]);
            self.end_line();
            self.returned = chunk[end] == b'\r' && chunk.len() == end + 1;
            let pair = chunk[end] == b'\r' && chunk.get(end + 1) == Some(&b'\n');
            chunk = &chunk[end + 1 + usize::from(pair)..];
        }
        self.extend_line(chunk);
    }

    /// What was found: `{kind: the data of its last event}`, as JSON text.
    ///
    /// A kind is the event's name, or the `type` that its data names, or `message`. Events that were too long stand
    /// under `…` as a number.
    pub fn finish(mut self) -> Vec<u8> {
        if self.skipped > 0 {
            self.kept.insert("…".to_owned(), Value::from(self.skipped));
        }
        Value::Object(self.kept).to_string().into_bytes()
    }

    fn extend_line(&mut self, bytes: &[u8]) {
        if self.skipping_line || self.line.len() + bytes.len() > MAX_EVENT {
            self.skipping_line = true;
            self.oversized = true;
            self.line.clear();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self) {
        let mut line = core::mem::take(&mut self.line);
        if !core::mem::replace(&mut self.started, true) && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        if core::mem::take(&mut self.skipping_line) {
            return;
        }
        if line.is_empty() {
            self.end_event();
            return;
        }
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => {
                let value = &line[at + 1..];
                (&line[..at], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line.as_slice(), [].as_slice()),
        };
        match name {
            b"data" if self.data.len() + value.len() > MAX_EVENT => self.oversized = true,
            b"data" => {
                if !self.data.is_empty() {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.kind = Some(String::from_utf8_lossy(value).chars().take(64).collect()),
            _ => {}
        }
    }

    fn end_event(&mut self) {
        let data = core::mem::take(&mut self.data);
        let kind = self.kind.take();
        if core::mem::take(&mut self.oversized) {
            self.skipped = self.skipped.saturating_add(1);
            return;
        }
        if data.is_empty() {
            return;
        }
        let value = serde_json::from_slice::<Value>(&data).unwrap_or(Value::Null);
        let named = kind.or_else(|| value.get("type")?.as_str().map(|kind| kind.chars().take(64).collect()));
        let kind = named.unwrap_or_else(|| "message".to_owned());
        if self.kept.len() < MAX_KINDS || self.kept.contains_key(&kind) {
            self.kept.insert(kind, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn scan<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Value {
        let mut scanner = Scanner::new();
        for chunk in chunks {
            scanner.feed(chunk);
        }
        serde_json::from_slice(&scanner.finish()).expect("JSON")
    }

    const STREAM: &[u8] =
        b": hello\n\ndata: {\"type\":\"start\"}\n\nevent: execution_complete\ndata: {\"success\":true,\n\
        data: \"n\":1}\n\nevent: step\ndata: {\"i\":1}\n\nevent: step\ndata: {\"i\":2}\n\ndata: half";

    #[test]
    fn the_last_event_of_each_kind_is_kept_and_an_unfinished_one_is_not() {
        assert_eq!(
            scan([STREAM]),
            json!({"start": {"type": "start"}, "execution_complete": {"success": true, "n": 1}, "step": {"i": 2}})
        );
    }

    #[test]
    fn an_event_over_the_window_is_skipped_and_said_so() {
        let long = format!("data: {}\n\nevent: end\ndata: {{\"ok\":true}}\n\n", "x".repeat(MAX_EVENT + 1));
        assert_eq!(scan([long.as_bytes()]), json!({"…": 1, "end": {"ok": true}}));
    }

    #[test]
    fn lines_may_end_in_either_way() {
        let parts = [&b"event: a\r"[..], b"\ndata: {\"n\":1}\r", b"\n\r\nevent: b\rdata: 2\r\r"];
        assert_eq!(scan(parts), json!({"a": {"n": 1}, "b": 2}));
    }

    /// Found by the fuzzer.
    #[test]
    fn a_byte_order_mark_counts_however_it_is_cut_and_only_at_the_beginning() {
        for parts in [
            &["\u{feff}event: a\ndata: 1\n\n".as_bytes()][..],
            &[b"\xef", b"", b"\xbb\xbfevent: a\n", b"data: 1\n\n"],
        ] {
            assert_eq!(scan(parts.iter().copied()), json!({"a": 1}));
        }
        assert_eq!(scan(["\n\u{feff}event: a\ndata: 1\n\n".as_bytes()]), json!({"message": 1}));
        assert_eq!(scan([&b"event: a\r"[..], b"", b"\ndata: 1\r\n\r\n"]), json!({"a": 1}));
    }

    proptest! {
        #[test]
        fn chunks_may_be_cut_anywhere(cuts in proptest::collection::vec(1_usize..20, 1..40)) {
            let mut rest = STREAM;
            let mut chunks = Vec::new();
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            chunks.push(rest);
            prop_assert_eq!(scan(chunks), scan([STREAM]));
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            scan([bytes.as_slice()]);
        }
    }
}
