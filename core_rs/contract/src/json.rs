//! JSON read strictly, so that what is validated is what is meant: no key twice, no number that is not held exactly.

mod fault;
mod mend;
mod twice;

use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

pub use fault::{Fault, JsonError};

/// Deepest nesting that is read.
pub const MAX_DEPTH: u32 = 64;

/// Whole numbers from here on have no exact form.
const INEXACT: f64 = 18_446_744_073_709_551_616.0;

/// Whole numbers below are held exactly in a double, and so are their neighbours.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Parses one JSON value. A whole number is one however it is written: `1.0` and `1e0` are 1, as JSON Schema has it.
///
/// # Errors
/// What is wrong and where: syntax, a key that stands twice, a number that cannot be held exactly, or nesting
/// beyond [`MAX_DEPTH`].
pub fn parse(text: &str) -> Result<Value, JsonError> {
    fault::check_start(text)?;
    let noticed = Cell::new(None);
    read(text, &noticed).map_err(|error| JsonError::of(text, &error, noticed.get()))
}

fn read(text: &str, noticed: &Cell<Option<Fault>>) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: MAX_DEPTH, noticed }.deserialize(&mut reader)?;
    reader.end().map(|()| value)
}

/// Parses one JSON value from bytes that somebody hands over as JSON.
///
/// # Errors
/// As [`parse`], and for bytes that are not UTF-8.
pub fn parse_bytes(bytes: &[u8]) -> Result<Value, JsonError> {
    parse(std::str::from_utf8(bytes).map_err(|error| JsonError::not_utf8(bytes, error))?)
}

#[derive(Clone, Copy)]
struct Strict<'n> {
    depth: u32,
    /// What serde cannot tell apart from other errors of a visitor.
    noticed: &'n Cell<Option<Fault>>,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        let message = || self.fault(Fault::TooDeep, &format!("nested deeper than {MAX_DEPTH} levels"));
        depth.map(|depth| Self { depth, ..*self }).ok_or_else(message)
    }

    fn fault<E: serde::de::Error>(&self, fault: Fault, message: &str) -> E {
        self.noticed.set(Some(fault));
        E::custom(message)
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        // A whole number that does not fit into 64 bits arrives here rounded.
        if value.abs() >= INEXACT {
            return Err(self.fault(Fault::NumberTooLarge, "number too large to be held exactly"));
        }
        if value.fract() == 0.0 && value.abs() < EXACT {
            #[allow(clippy::cast_possible_truncation)] // It is whole and small enough.
            let whole = value as i64;
            return Ok(Value::Number(whole.into()));
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.fault(Fault::NotFinite, "not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(self.deeper()?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = from.next_key::<Key>()? {
            if map.contains_key(&key.0) {
                let message = format!("the key `{}` stands twice in one object", fault::shown(&key.0));
                return Err(self.fault(Fault::Twice, &message));
            }
            let value = from.next_value_seed(self.deeper()?)?;
            map.insert(key.0, value);
        }
        Ok(Value::Object(map))
    }
}

struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self)
    }
}

#[cfg(test)]
mod tests;
