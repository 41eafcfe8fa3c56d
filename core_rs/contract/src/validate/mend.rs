//! What mends an argument, where that is certain and lets the call do nothing more than it said.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError};
use serde_json::{Map, Value};

use crate::path::normalise;
use crate::reason::{self, Change};
use crate::tool::Tool;
use crate::v1::Idempotency;
use crate::{json, near};

/// What others call some arguments.
const ALSO: &[(&str, &str)] = &[
    ("arguments", "argv"),
    ("args", "argv"),
    ("body", "content"),
    ("cmd", "command"),
    ("contents", "content"),
    ("dest", "to"),
    ("destination", "to"),
    ("dir", "path"),
    ("dir", "cwd"),
    ("directory", "path"),
    ("directory", "cwd"),
    ("dst", "to"),
    ("environment", "env"),
    ("file", "path"),
    ("file_path", "path"),
    ("filename", "path"),
    ("filepath", "path"),
    ("input", "stdin"),
    ("new_string", "new"),
    ("old_string", "old"),
    ("permissions", "mode"),
    ("regex", "pattern"),
    ("service", "name"),
    ("src", "from"),
    ("source", "from"),
    ("target", "to"),
    ("text", "content"),
    ("unit", "name"),
    ("workdir", "cwd"),
    ("working_directory", "cwd"),
];

/// Members that only explain. Any other that a tool does not know may have been meant to hold it back.
const TALK: &[&str] = &[
    "comment",
    "comments",
    "description",
    "explanation",
    "intent",
    "note",
    "notes",
    "purpose",
    "rationale",
    "reason",
    "reasoning",
    "summary",
    "thought",
    "thoughts",
    "title",
    "why",
];

/// Longest name that a pointer holds whole.
const MAX_NAME: usize = super::MAX_FOUND;

/// What is known around an argument.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) tool: &'a Tool,
    pub(super) arguments: &'a Value,
    /// Home directory of the user on the host.
    pub(super) home: Option<&'a str>,
}

impl Around<'_> {
    /// What mends a broken rule about one value. `schema` is the object in which the rule stands.
    pub(super) fn change(&self, error: &ValidationError<'_>, schema: &Map<String, Value>) -> Option<Change> {
        let (at, value) = (error.instance_path().as_str(), error.instance().as_ref());
        if value.is_null() {
            return self.fits_without(at).then_some(Change::Remove(true));
        }
        match error.kind() {
            ValidationErrorKind::Type { kind: TypeKind::Single(JsonType::Null) } => {
                self.is_said_twice(at, value).then_some(Change::Remove(true))
            }
            ValidationErrorKind::Type { kind }
                if at == "/command" && value.is_array() && accepts(kind, JsonType::String) =>
            {
                self.arguments.get("argv").is_none().then(|| Change::Rename("argv".to_owned()))
            }
            ValidationErrorKind::Type { kind } => self.first(at, typed(at, kind, value, schema)),
            ValidationErrorKind::Pattern { .. } => {
                let text = value.as_str()?;
                self.first(at, self.meant_path(text).into_iter().map(Value::from).chain(respelt(text)))
            }
            ValidationErrorKind::Enum { options } => self.first(at, option(options, value.as_str()?)),
            // Only of what tunes a call: it may be left out, so nothing is named by it.
            ValidationErrorKind::Minimum { limit } | ValidationErrorKind::Maximum { limit } => {
                schema.get("default").and_then(|_| self.first(at, [limit.clone()]))
            }
            _ => None,
        }
    }

    /// What mends a member that the schema does not know; `known` are those that it does.
    pub(super) fn unknown(&self, object: &Value, name: &str, known: &Map<String, Value>) -> Option<Change> {
        if name.len() > MAX_NAME {
            return None;
        }
        let meant = meant(name, known);
        if let Some(meant) = meant.filter(|meant| object.get(meant).is_none()) {
            return Some(Change::Rename(meant.to_owned()));
        }
        let is_repeated = meant.is_some_and(|meant| object.get(meant) == object.get(name));
        // The path is taken from there, or starts at the root anyway.
        let is_settled = name == "cwd" && object.get("path").is_some_and(Value::is_string);
        let is_idle = object.get(name).is_none_or(Value::is_null) || TALK.contains(&name) || is_settled;
        (is_idle || is_repeated || self.tool.contract().idempotency() == Idempotency::Pure)
            .then_some(Change::Remove(true))
    }

    /// Is a member still missing when others have got the names that were meant?
    pub(super) fn lacks(&self, renamed: &[(String, String, String)], object: &str, name: &str) -> bool {
        let mut tried = self.arguments.clone();
        for (object, from, to) in renamed {
            if let Some(members) = tried.pointer_mut(object).and_then(Value::as_object_mut)
                && let Some(value) = members.remove(from)
            {
                members.insert(to.clone(), value);
            }
        }
        self.tool.validator().iter_errors(&tried).any(|error| match error.kind() {
            ValidationErrorKind::Required { property } => {
                error.instance_path().as_str() == object && property.as_str() == Some(name)
            }
            _ => false,
        })
    }

    /// The absolute, normalised path that a text means.
    pub(super) fn meant_path(&self, text: &str) -> Option<String> {
        let text = text.trim_start().trim_end_matches(['\n', '\r', '\0']);
        let cwd = self.arguments.get("cwd").and_then(Value::as_str).filter(|cwd| cwd.starts_with('/') && *cwd != text);
        let whole = match (text.strip_prefix("file://"), text.strip_prefix('~')) {
            (Some(path), _) => path.to_owned(),
            (_, Some(rest)) if rest.is_empty() || rest.starts_with('/') => {
                format!("{}{rest}", self.home.filter(|home| home.starts_with('/'))?.trim_end_matches('/'))
            }
            (_, None) if !text.starts_with('/') && !text.is_empty() => format!("{}/{text}", cwd?),
            _ => text.to_owned(),
        };
        let normal = whole.starts_with('/').then(|| normalise(whole.as_bytes()))?;
        String::from_utf8(normal).ok().filter(|path| !path.contains('\0'))
    }

    /// The first of some values that the schema takes there.
    fn first(&self, at: &str, candidates: impl IntoIterator<Item = Value>) -> Option<Change> {
        candidates.into_iter().find(|candidate| self.fits(at, candidate)).map(reason::value)
    }

    fn fits(&self, at: &str, candidate: &Value) -> bool {
        let mut tried = self.arguments.clone();
        let Some(place) = tried.pointer_mut(at) else { return false };
        candidate.clone_into(place);
        let beneath = format!("{at}/");
        let is_there = |path: &str| path == at || path.starts_with(&beneath);
        !self.tool.validator().iter_errors(&tried).any(|error| is_there(error.instance_path().as_str()))
    }

    fn fits_without(&self, at: &str) -> bool {
        let mut tried = self.arguments.clone();
        let Some((object, name)) = at.rsplit_once('/') else { return false };
        let name = name.replace("~1", "/").replace("~0", "~");
        let Some(members) = tried.pointer_mut(object).and_then(Value::as_object_mut) else { return false };
        members.remove(&name);
        let is_new = |error: ValidationError<'_>| match error.kind() {
            ValidationErrorKind::Required { property } => {
                error.instance_path().as_str() == object && property.as_str() == Some(&name)
            }
            _ => false,
        };
        !self.tool.validator().iter_errors(&tried).any(is_new)
    }

    /// Is a command line the words that stand beside it, which no shell would read otherwise?
    fn is_said_twice(&self, at: &str, value: &Value) -> bool {
        let plain = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./-:,=@+%".contains(&byte))
        };
        let words = self.arguments.get("argv").and_then(Value::as_array);
        let words: Option<Vec<&str>> = words.and_then(|all| all.iter().map(Value::as_str).collect());
        let line = value.as_str().filter(|_| at == "/command");
        line.zip(words).is_some_and(|(line, words)| {
            words.iter().all(|word| plain(word)) && line.split_ascii_whitespace().eq(words.iter().copied())
        })
    }
}

/// The member that was meant by an unknown one.
pub(super) fn meant<'a>(name: &str, known: &'a Map<String, Value>) -> Option<&'a str> {
    let of = |text: &str| known.get_key_value(text).map(|(name, _)| name.as_str());
    let folded = |text: &str| text.to_lowercase().replace(['-', '_', ' ', '.'], "");
    let alike = || known.keys().find(|each| folded(each) == folded(name)).map(String::as_str);
    let also = || ALSO.iter().filter(|(other, _)| *other == name).find_map(|(_, meant)| of(meant));
    alike().or_else(also).or_else(|| near::surely(name, known.keys().map(String::as_str)))
}

fn accepts(kind: &TypeKind, one: JsonType) -> bool {
    match kind {
        TypeKind::Single(single) => *single == one,
        TypeKind::Multiple(many) => many.contains(one),
    }
}

/// What a value of another type can only have meant.
fn typed(at: &str, kind: &TypeKind, value: &Value, schema: &Map<String, Value>) -> Vec<Value> {
    let wants = |one: JsonType| accepts(kind, one);
    let mut found = Vec::new();
    match value {
        Value::String(text) => {
            let text = text.trim();
            let is_text = |value: &Value| value.is_string();
            found.extend(json::parse(text).ok().map(whole).filter(|value| !is_text(value)));
            found.extend(quantity(at, text).map(Value::from));
            if wants(JsonType::Boolean) {
                found.extend(text.to_ascii_lowercase().parse::<bool>().map(Value::from));
            }
            if wants(JsonType::Array) && !text.is_empty() && !text.contains(char::is_whitespace) {
                found.push(Value::from(vec![text]));
            }
        }
        // Octal digits that were written as a number may have been a number.
        Value::Number(number) if wants(JsonType::String) && !is_octal(schema) => found.push(number.to_string().into()),
        Value::Number(number) if wants(JsonType::Boolean) => {
            found.extend(number.as_u64().filter(|bit| *bit < 2).map(|bit| Value::from(bit == 1)));
        }
        Value::Number(number) => found.extend(number.as_f64().map(|number| whole(number.floor().into()))),
        Value::Object(_) if wants(JsonType::Array) => found.push(Value::from(vec![value.clone()])),
        Value::Array(items) if wants(JsonType::Object) => found.extend(pairs(items)),
        Value::Array(items) if wants(JsonType::String) => {
            if let [one @ Value::String(_)] = items.as_slice() {
                found.push(one.clone());
            }
        }
        _ => {}
    }
    found
}

fn is_octal(schema: &Map<String, Value>) -> bool {
    schema.get("pattern").and_then(Value::as_str).is_some_and(|pattern| pattern.contains("[0-7]"))
}

/// A number without a fraction as a whole number.
fn whole(value: Value) -> Value {
    let exact = |number: f64| number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
    match value.as_f64().filter(|number| value.is_f64() && exact(*number)) {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53 is exact")]
        Some(number) => (number as i64).into(),
        None => value,
    }
}

/// `30s` where seconds are meant, `1 GB` where MiB are.
fn quantity(at: &str, text: &str) -> Option<u64> {
    let split = text.find(|character: char| !character.is_ascii_digit())?;
    let number: u64 = text[..split].parse().ok()?;
    let unit = text[split..].trim().to_ascii_lowercase();
    let factor = match (at.rsplit_once('_')?.1, unit.as_str()) {
        ("s", "s" | "sec" | "secs" | "second" | "seconds") | ("ms", "ms") | ("mb", "m" | "mb" | "mib") => 1,
        ("s", "m" | "min" | "mins" | "minute" | "minutes") => 60,
        ("s", "h" | "hour" | "hours") => 3_600,
        ("ms", "s" | "sec" | "secs" | "second" | "seconds") => 1_000,
        ("mb", "g" | "gb" | "gib") => 1_024,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// `["A=1"]` or `[{"name": "A", "value": "1"}]` as an object.
fn pairs(items: &[Value]) -> Option<Value> {
    let mut map = Map::new();
    for item in items {
        let (name, value) = match item {
            Value::String(pair) => pair.split_once('=').map(|(name, value)| (name, value.into()))?,
            Value::Object(pair) if pair.len() == 2 => (pair.get("name")?.as_str()?, pair.get("value")?.clone()),
            _ => return None,
        };
        if map.insert(name.to_owned(), value).is_some() {
            return None;
        }
    }
    Some(Value::Object(map))
}

/// Other spellings of the same text.
fn respelt(text: &str) -> Vec<Value> {
    let trimmed = text.trim();
    let spellings = [
        Some(trimmed.to_owned()),
        trimmed.strip_prefix("0o").map(str::to_owned),
        symbolic(trimmed),
        Some(trimmed.strip_prefix("sha256:").unwrap_or(trimmed).to_ascii_lowercase()).filter(|text| text.len() == 64),
    ];
    spellings.into_iter().flatten().map(Value::from).collect()
}

/// `rw-r--r--`, as `ls` shows permission bits, in octal digits.
fn symbolic(text: &str) -> Option<String> {
    let text = if text.len() == 10 { text.strip_prefix(['-', 'd'])? } else { text };
    let bits = text.bytes().enumerate().map(|(at, byte)| match (byte, b"rwx"[at % 3]) {
        (b'-', _) => Some(false),
        (byte, meant) => (byte == meant).then_some(true),
    });
    let bits: Vec<bool> = bits.collect::<Option<_>>().filter(|bits: &Vec<bool>| bits.len() == 9)?;
    let digit = |three: &[bool]| three.iter().fold(0, |digit, bit| digit * 2 + u32::from(*bit)).to_string();
    Some(bits.chunks(3).map(digit).collect())
}

/// The option that a word can only have meant.
fn option(options: &Value, text: &str) -> Option<Value> {
    let options = options.as_array()?;
    let folded = |text: &str| text.to_uppercase().replace(|it: char| !it.is_ascii_alphanumeric(), "");
    let given = folded(text);
    let given = given.strip_prefix("SIG").unwrap_or(&given);
    let words = options.iter().filter_map(Value::as_str);
    let alike = words.clone().find(|word| folded(word) == given);
    alike.or_else(|| near::surely(text, words)).map(Value::from)
}

#[cfg(test)]
mod tests;
