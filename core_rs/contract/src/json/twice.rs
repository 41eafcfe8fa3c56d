//! Where in a text a key stands twice, as a JSON pointer: found by a second reading, which only a faulty text costs.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Reads a value and keeps the way to the first key that stands twice.
struct Way<'w>(&'w mut Vec<String>);

/// The JSON pointer (RFC 6901) of the second of two keys in one object.
pub(super) fn pointer(text: &str) -> Option<String> {
    let mut way = Vec::new();
    // Reading ends with an error at the place that is looked for, and the way there is left.
    let read = Way(&mut way).deserialize(&mut serde_json::Deserializer::from_str(text));
    let token = |step: &String| format!("/{}", step.replace('~', "~0").replace('/', "~1"));
    read.is_err().then(|| way.iter().map(token).collect())
}

impl Way<'_> {
    fn next(&mut self) -> Way<'_> {
        Way(self.0)
    }
}

impl<'de> DeserializeSeed<'de> for Way<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Way<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut from: A) -> Result<(), A::Error> {
        for index in 0.. {
            self.0.push(index.to_string());
            if from.next_element_seed(self.next())?.is_none() {
                break;
            }
            self.0.pop();
        }
        self.0.pop();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut from: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = from.next_key::<String>()? {
            self.0.push(key.clone());
            if !keys.insert(key) {
                return Err(A::Error::custom("twice"));
            }
            from.next_value_seed(self.next())?;
            self.0.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_found_at_any_depth() {
        for (text, found) in [
            (r#"{"a":1,"a":2}"#, Some("/a")),
            (r#"{"a":[{"b":1},{"c/d":1,"c/d":2}]}"#, Some("/a/1/c~1d")),
            (r#"{"x":{"y":1,"z":[1,2],"y":[]}}"#, Some("/x/y")),
            (r#"{"a":[1,2,{"b":null}],"b":1.5,"c":true}"#, None),
        ] {
            assert_eq!(pointer(text).as_deref(), found, "{text}");
        }
    }
}
