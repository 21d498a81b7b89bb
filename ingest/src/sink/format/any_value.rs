//! What is serialised as an `AnyValue` of OTLP (opentelemetry-proto, `common.proto`; its form in JSON), written as it goes along: a tree
//! of values in between costs more than everything else about a record.

use std::fmt;
use std::io::Write as _;

use serde::Serialize;
use serde::ser::{Impossible, SerializeMap, SerializeSeq, SerializeStruct, Serializer};

/// Writes one value. Whole numbers are texts, as JSON has none of 64 bits; bytes, tuples and variants that hold something are refused.
pub(super) struct AnyValue<'a>(pub(super) &'a mut Vec<u8>);

/// The values of a list, or the members of an object.
pub(super) struct Values<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

/// Writes a text of JSON.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    // Without a branch for each byte, so that many are looked at together.
    let is_escaped = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    if text.bytes().fold(false, |any, byte| any | is_escaped(byte)) {
        serde_json::to_writer(out, text).expect("memory takes everything");
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

impl<'a> AnyValue<'a> {
    fn of(self, kind: &str, value: fmt::Arguments<'_>) -> Result<(), fmt::Error> {
        write!(self.0, r#"{{"{kind}":{value}}}"#).map_err(|_| fmt::Error)
    }

    fn whole(self, number: i64) -> Result<(), fmt::Error> {
        self.of("intValue", format_args!("\"{number}\""))
    }

    fn values(self, kind: &[u8]) -> Values<'a> {
        self.0.extend_from_slice(kind);
        Values { out: self.0, is_empty: true }
    }

    fn list(self) -> Values<'a> {
        self.values(br#"{"arrayValue":{"values":["#)
    }

    fn object(self) -> Values<'a> {
        self.values(br#"{"kvlistValue":{"values":["#)
    }
}

impl Values<'_> {
    fn next(&mut self) {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
    }

    fn key(&mut self, key: &str) {
        self.next();
        self.out.extend_from_slice(br#"{"key":"#);
        text(self.out, key);
        self.out.extend_from_slice(br#","value":"#);
    }

    fn value(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), fmt::Error> {
        value.serialize(AnyValue(self.out))?;
        self.out.push(b'}');
        Ok(())
    }

    fn close(self) {
        self.out.extend_from_slice(b"]}}");
    }
}

/// The attributes of a record.
pub(super) struct Attributes<'a>(Values<'a>);

impl<'a> Attributes<'a> {
    pub(super) fn of(out: &'a mut Vec<u8>) -> Self {
        Self(Values { out, is_empty: true })
    }

    /// Another one, if it is there.
    ///
    /// # Errors
    /// If a value is of no kind that OTLP has.
    pub(super) fn put(&mut self, key: &str, value: Option<impl Serialize>) -> Result<(), fmt::Error> {
        let Some(value) = value else { return Ok(()) };
        self.0.key(key);
        self.0.value(&value)
    }
}

impl SerializeSeq for Values<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.next();
        value.serialize(AnyValue(self.out))
    }

    fn end(self) -> Result<(), fmt::Error> {
        self.close();
        Ok(())
    }
}

impl SerializeStruct for Values<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), fmt::Error> {
        self.key(key);
        self.value(value)
    }

    fn end(self) -> Result<(), fmt::Error> {
        self.close();
        Ok(())
    }
}

impl SerializeMap for Values<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), fmt::Error> {
        self.next();
        self.out.extend_from_slice(br#"{"key":"#);
        serde_json::to_writer(&mut *self.out, key).map_err(|_| fmt::Error)?;
        self.out.extend_from_slice(br#","value":"#);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.value(value)
    }

    fn end(self) -> Result<(), fmt::Error> {
        self.close();
        Ok(())
    }
}

type No = Impossible<(), fmt::Error>;

impl<'a> Serializer for AnyValue<'a> {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Values<'a>;
    type SerializeTuple = No;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = No;
    type SerializeMap = Values<'a>;
    type SerializeStruct = Values<'a>;
    type SerializeStructVariant = No;

    fn serialize_bool(self, truth: bool) -> Result<(), fmt::Error> {
        self.of("boolValue", format_args!("{truth}"))
    }

    fn serialize_i8(self, number: i8) -> Result<(), fmt::Error> {
        self.whole(number.into())
    }

    fn serialize_i16(self, number: i16) -> Result<(), fmt::Error> {
        self.whole(number.into())
    }

    fn serialize_i32(self, number: i32) -> Result<(), fmt::Error> {
        self.whole(number.into())
    }

    fn serialize_i64(self, number: i64) -> Result<(), fmt::Error> {
        self.whole(number)
    }

    fn serialize_u8(self, number: u8) -> Result<(), fmt::Error> {
        self.whole(number.into())
    }

    fn serialize_u16(self, number: u16) -> Result<(), fmt::Error> {
        self.whole(number.into())
    }

    fn serialize_u32(self, number: u32) -> Result<(), fmt::Error> {
        self.whole(number.into())
    }

    fn serialize_u64(self, number: u64) -> Result<(), fmt::Error> {
        match i64::try_from(number) {
            Ok(whole) => self.whole(whole),
            Err(_) => self.serialize_f64(number as f64),
        }
    }

    fn serialize_f32(self, number: f32) -> Result<(), fmt::Error> {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result<(), fmt::Error> {
        let number = serde_json::Number::from_f64(number).ok_or(fmt::Error)?;
        self.of("doubleValue", format_args!("{number}"))
    }

    fn serialize_char(self, letter: char) -> Result<(), fmt::Error> {
        self.serialize_str(letter.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), fmt::Error> {
        self.0.extend_from_slice(br#"{"stringValue":"#);
        text(self.0, value);
        self.0.push(b'}');
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_none(self) -> Result<(), fmt::Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), fmt::Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), fmt::Error> {
        self.0.extend_from_slice(b"{}");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), fmt::Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), fmt::Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), fmt::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Values<'a>, fmt::Error> {
        Ok(self.list())
    }

    fn serialize_tuple(self, _: usize) -> Result<No, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<No, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<No, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Values<'a>, fmt::Error> {
        Ok(self.object())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Values<'a>, fmt::Error> {
        Ok(self.object())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<No, fmt::Error> {
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn written(value: &impl Serialize) -> Value {
        let mut out = Vec::new();
        value.serialize(AnyValue(&mut out)).expect("a value that OTLP has");
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn every_value_of_json_has_one_of_otlp() {
        assert_eq!(
            written(&json!({"a": [1, true, null, 1.5, "x"], "b": u64::MAX, "c": {}, "d": []})),
            json!({"kvlistValue": {"values": [
                {"key": "a", "value": {"arrayValue": {"values": [
                    {"intValue": "1"}, {"boolValue": true}, {}, {"doubleValue": 1.5}, {"stringValue": "x"},
                ]}}},
                {"key": "b", "value": {"doubleValue": 18_446_744_073_709_551_615.0}},
                {"key": "c", "value": {"kvlistValue": {"values": []}}},
                {"key": "d", "value": {"arrayValue": {"values": []}}},
            ]}})
        );
    }

    #[test]
    fn what_otlp_has_no_kind_for_is_refused() {
        assert!((1, 2).serialize(AnyValue(&mut Vec::new())).is_err());
        assert!(Ok::<u8, ()>(1).serialize(AnyValue(&mut Vec::new())).is_err());
        assert!(f64::NAN.serialize(AnyValue(&mut Vec::new())).is_err());
    }

    proptest! {
        #[test]
        fn a_text_is_the_one_that_is_read(value in any::<String>()) {
            let mut out = Vec::new();
            text(&mut out, &value);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), value.clone());
            prop_assert_eq!(written(&json!({ &value: value })), json!({"kvlistValue": {"values": [
                {"key": value, "value": {"stringValue": value}},
            ]}}));
        }
    }
}
