//! Reading JSON that may have been cut off.
//!
//! A body is captured up to a cap, so its JSON may end anywhere. Everything before the cut is still worth reading:
//! [`read`] gives the value as far as it was complete, and says whether it was.

use core::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Values in one document, so that a hostile body costs a bounded time. A 128 KiB body of agents has about 3,000.
const MAX_VALUES: usize = 20_000;

/// How a document ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was whole.
    Complete,
    /// It was cut, or held over [`MAX_VALUES`] values; what came before is there.
    Truncated,
    /// It is not JSON; nothing of it is used.
    Unparsable,
}

/// Reads JSON; `cut` says that bytes are known to be missing at the end.
pub fn read(bytes: &[u8], cut: bool) -> (Value, Ending) {
    let mut tree = Tree::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let result = Node(&mut tree).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match result {
        Ok(()) if cut => (tree.finish(), Ending::Truncated),
        Ok(()) => (tree.finish(), Ending::Complete),
        Err(error) if tree.full || (cut && error.is_eof()) => (tree.finish(), Ending::Truncated),
        Err(_) => (Value::Null, Ending::Unparsable),
    }
}

/// The part that a JSON pointer (RFC 6901) names. Most pointers have no escapes, and those are not copied to be looked up.
pub(crate) fn part<'v>(value: &'v Value, pointer: &str) -> Option<&'v Value> {
    if pointer.contains('~') {
        return value.pointer(pointer);
    }
    let mut at = value;
    for name in pointer.strip_prefix('/').into_iter().flat_map(|names| names.split('/')) {
        at = match at {
            Value::Object(members) => members.get(name)?,
            Value::Array(items) if is_index(name) => items.get(name.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    (pointer.is_empty() || pointer.starts_with('/')).then_some(at)
}

/// Digits, without a zero before others (RFC 6901, section 4).
fn is_index(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit()) && (name.len() == 1 || !name.starts_with('0'))
}

/// The value as it grows; it outlives the error that ends the reading.
#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    root: Option<Value>,
    values: usize,
    full: bool,
}

enum Open {
    Array(Vec<Value>),
    Object(Map<String, Value>, Option<String>),
}

impl Tree {
    fn put(&mut self, value: Value) {
        match self.open.last_mut() {
            Some(Open::Array(items)) => items.push(value),
            Some(Open::Object(members, key)) => {
                if let Some(key) = key.take() {
                    members.insert(key, value);
                }
            }
            None => self.root = Some(value),
        }
    }

    fn close(&mut self) {
        match self.open.pop() {
            Some(Open::Array(items)) => self.put(Value::Array(items)),
            Some(Open::Object(members, _)) => self.put(Value::Object(members)),
            None => {}
        }
    }

    fn finish(mut self) -> Value {
        while !self.open.is_empty() {
            self.close();
        }
        self.root.unwrap_or(Value::Null)
    }

    fn count<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.values += 1;
        if self.values > MAX_VALUES {
            self.full = true;
            return Err(E::custom("too many values"));
        }
        Ok(())
    }
}

struct Node<'t>(&'t mut Tree);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.0.count()?;
        self.0.put(Value::Null);
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.0.count()?;
        self.0.put(Value::Bool(value));
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.0.count()?;
        self.0.put(Value::Number(value.into()));
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.0.count()?;
        self.0.put(Value::Number(value.into()));
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.0.count()?;
        self.0.put(Number::from_f64(value).map_or(Value::Null, Value::Number));
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.0.count()?;
        self.0.put(Value::String(value.to_owned()));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.count()?;
        self.0.open.push(Open::Array(Vec::new()));
        while items.next_element_seed(Node(self.0))?.is_some() {}
        self.0.close();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        self.0.count()?;
        self.0.open.push(Open::Object(Map::new(), None));
        while let Some(name) = members.next_key::<String>()? {
            match self.0.open.last_mut() {
                Some(Open::Object(_, key)) => *key = Some(name),
                _ => return Err(A::Error::custom("no open object")),
            }
            members.next_value_seed(Node(self.0))?;
        }
        self.0.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_whole_document_is_read_whole() {
        let (value, ending) = read(br#"{"a":[1,-2,3.5,true,null,"x"],"b":{"c":{}}}"#, false);
        assert_eq!(ending, Ending::Complete);
        assert_eq!(value, json!({"a": [1, -2, 3.5, true, null, "x"], "b": {"c": {}}}));
    }

    #[test]
    fn fields_before_the_cut_are_there_and_the_cut_one_is_not() {
        let (value, ending) = read(br#"{"success":true,"agent":{"id":"a1","name":"half a na"#, true);
        assert_eq!(ending, Ending::Truncated);
        assert_eq!(value, json!({"success": true, "agent": {"id": "a1"}}));
    }

    #[test]
    fn what_is_not_json_gives_nothing() {
        for text in ["<html>", "{\"a\":1} trailing", "{\"a\":", "{'a':1}", ""] {
            assert_eq!(read(text.as_bytes(), false), (Value::Null, Ending::Unparsable), "{text}");
        }
        assert_eq!(read(b"{\"a\":1,\"b\":oops", true).1, Ending::Unparsable);
        assert_eq!(read(b"{\"a\":\"\xff\xfe\"}", false).1, Ending::Unparsable);
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
        assert_eq!(read(deep.as_bytes(), false).1, Ending::Unparsable);
        let wide = format!("[{}1]", "1,".repeat(100_000));
        let (value, ending) = read(wide.as_bytes(), false);
        assert_eq!(ending, Ending::Truncated);
        assert_eq!(value.as_array().map(Vec::len), Some(MAX_VALUES - 1));
    }

    #[test]
    fn the_last_of_repeated_keys_counts() {
        assert_eq!(read(br#"{"a":1,"a":2}"#, false).0, json!({"a": 2}));
    }

    #[test]
    fn a_pointer_finds_what_serde_json_finds_by_it() {
        let value = json!({"a": [{"b": 1}, [2, 3]], "": {"": 4}, "x/y": 5, "0": 6, "~": 7});
        for pointer in [
            "",
            "/",
            "//",
            "/a",
            "/a/0/b",
            "/a/1/1",
            "/a/01",
            "/a/+1",
            "/a/",
            "/a/9",
            "/a/b",
            "a",
            "/x~1y",
            "/~0",
            "/0",
            "/a/0/b/c",
            "/a/18446744073709551616",
        ] {
            assert_eq!(part(&value, pointer), value.pointer(pointer), "{pointer:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_and_any_cut_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut: bool) {
            let _ = read(&bytes, cut);
        }

        #[test]
        fn every_prefix_of_a_document_is_readable(at in 1_usize..70) {
            let text = br#"{"agent":{"id":"a1","steps":[{"n":1},{"n":2}],"on":true},"ok":false}"#;
            let at = at.min(text.len() - 1);
            prop_assert_eq!(read(&text[..at], true).1, Ending::Truncated);
        }
    }
}
