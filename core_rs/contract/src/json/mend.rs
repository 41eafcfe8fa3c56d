//! A text that is nearly JSON, read as the only thing that it can mean.

use std::cell::Cell;

use serde_json::{Map, Value};

use super::MAX_DEPTH;

/// Longest text that is read so.
const MAX_BYTES: usize = 64 * 1024;
/// Brackets too many at the end that are looked past.
const MAX_SPARE: usize = 4;

/// The JSON text that this one can only mean, although it is none: with comments, commas before a closing bracket,
/// quotes of other languages, words of Python, keys without quotes, line breaks in strings, or a fence around it.
///
/// None where it could mean something else: cut off, a key twice with two values, an escape that languages read
/// differently, a number that nobody holds exactly.
pub(super) fn mend(text: &str) -> Option<String> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let mut reader = Reader { rest: unfenced(text.trim_start_matches('\u{feff}')) };
    let value = reader.value(MAX_DEPTH)?;
    reader.skip_blanks()?;
    let spare = reader.rest.chars().filter(|character| !character.is_whitespace());
    if spare.clone().count() > MAX_SPARE || spare.clone().any(|character| !matches!(character, '}' | ']' | ';')) {
        return None;
    }
    let mended = value.to_string();
    strictly(&mended).map(|_| mended)
}

fn strictly(text: &str) -> Option<Value> {
    super::read(text, &Cell::new(None)).ok()
}

/// What stands in a fence of Markdown, if all of the text does.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```").and_then(|inner| inner.strip_suffix("```"));
    inner.and_then(|inner| inner.split_once('\n')).map_or(text, |(_, inner)| inner)
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Skips blanks and comments; none if a comment has no end.
    fn skip_blanks(&mut self) -> Option<()> {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with("//") || self.rest.starts_with('#') {
                self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
            } else if self.take("/*") {
                self.rest = self.rest.split_once("*/")?.1;
            } else {
                return Some(());
            }
        }
    }

    fn value(&mut self, depth: u32) -> Option<Value> {
        let deeper = depth.checked_sub(1)?;
        self.skip_blanks()?;
        match self.rest.chars().next()? {
            '{' => self.object(deeper),
            '[' => self.array(deeper),
            '"' | '\'' | '“' => self.string().map(Value::String),
            '0'..='9' | '-' | '+' => self.number(),
            _ => match self.word() {
                "true" | "True" => Some(Value::Bool(true)),
                "false" | "False" => Some(Value::Bool(false)),
                "null" | "None" => Some(Value::Null),
                _ => None,
            },
        }
    }

    fn object(&mut self, depth: u32) -> Option<Value> {
        self.take("{");
        let mut map = Map::new();
        loop {
            self.skip_blanks()?;
            if self.take("}") {
                return Some(Value::Object(map));
            }
            let key = if self.rest.starts_with(['"', '\'', '“']) {
                self.string()?
            } else {
                Some(self.word()).filter(|word| !word.is_empty())?.to_owned()
            };
            self.skip_blanks()?;
            if !self.take(":") {
                return None;
            }
            let value = self.value(depth)?;
            // Said twice alike it is said once.
            if map.get(&key).is_some_and(|known| *known != value) {
                return None;
            }
            map.insert(key, value);
            self.separator('}')?;
        }
    }

    fn array(&mut self, depth: u32) -> Option<Value> {
        self.take("[");
        let mut items = Vec::new();
        loop {
            self.skip_blanks()?;
            if self.take("]") {
                return Some(Value::Array(items));
            }
            items.push(self.value(depth)?);
            self.separator(']')?;
        }
    }

    /// One comma, or the end that comes next.
    fn separator(&mut self, end: char) -> Option<()> {
        self.skip_blanks()?;
        (self.take(",") || self.rest.starts_with(end)).then_some(())
    }

    fn number(&mut self) -> Option<Value> {
        self.take("+");
        let is_part = |character: char| character.is_ascii_digit() || matches!(character, '-' | '+' | '.' | 'e' | 'E');
        let (number, rest) = self.rest.split_at(self.rest.find(|it| !is_part(it)).unwrap_or(self.rest.len()));
        self.rest = rest;
        strictly(number)
    }

    fn word(&mut self) -> &str {
        let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '$');
        let (word, rest) = self.rest.split_at(self.rest.find(|it| !is_part(it)).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn string(&mut self) -> Option<String> {
        let mut characters = self.rest.chars();
        let end = match characters.next()? {
            '“' => '”',
            quote => quote,
        };
        let mut text = String::new();
        loop {
            match characters.next()? {
                '\\' => match characters.next()? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'u' => {
                        let digits: String = characters.by_ref().take(4).collect();
                        // Half of a pair is no character, and which other half was meant nobody knows.
                        text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                    }
                    escaped @ ('"' | '\'' | '\\' | '/') => text.push(escaped),
                    _ => return None,
                },
                character if character == end => break,
                character => text.push(character),
            }
        }
        self.rest = characters.as_str();
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_only_mean_one_thing_is_read_as_that() {
        for (text, meant) in [
            (r#"{"path": "/a",}"#, r#"{"path":"/a"}"#),
            (r"{'path': '/a'}", r#"{"path":"/a"}"#),
            (r#"{path: "/a", recursive: True, limit: None}"#, r#"{"limit":null,"path":"/a","recursive":true}"#),
            ("{\"path\": \"/a\" // the file\n}", r#"{"path":"/a"}"#),
            ("{\"a\": 1, /* why */ \"b\": [1, 2,],}", r#"{"a":1,"b":[1,2]}"#),
            ("```json\n{\"a\": 1}\n```", r#"{"a":1}"#),
            ("\u{feff}{\"a\": 1}", r#"{"a":1}"#),
            ("{\"command\": \"a\nb\tc\"}", r#"{"command":"a\nb\tc"}"#),
            (r#"{"a": 1}}"#, r#"{"a":1}"#),
            (r#"{"a": 1, "a": 1}"#, r#"{"a":1}"#),
            (r#"{“a”: “it's”}"#, r#"{"a":"it's"}"#),
            (r#"{"a": "it\'s"}"#, r#"{"a":"it's"}"#),
        ] {
            let mended = mend(text).unwrap_or_else(|| panic!("{text}"));
            let value = |text: &str| super::super::parse(text).expect("JSON");
            assert_eq!(value(&mended), value(meant), "{text}");
        }
    }

    #[test]
    fn what_could_mean_something_else_is_left_alone() {
        for text in [
            "",
            "{",
            r#"{"path": "/a""#,
            r#"{"command": "rm -rf ./lo"#,
            r#"{"a": 1, "a": 2}"#,
            r#"{"a": NaN}"#,
            r#"{"a": 123456789012345678901234567890}"#,
            r#"{"a": 010}"#,
            r#"{"a": "\d+"}"#,
            r#"{"a": "\ud83d"}"#,
            r"{'command': 'echo don't'}",
            r#"{"command": "echo "a""}"#,
            r#"{"a": 1} {"b": 2}"#,
            r#"{"a": 1 "b": 2}"#,
            "{\"a\": 1 /* no end",
            "rm -rf /",
            &"[".repeat(70_000),
            &"[".repeat(70),
        ] {
            assert_eq!(mend(text), None, "{text}");
        }
    }
}
